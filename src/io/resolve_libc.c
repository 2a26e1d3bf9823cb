/*
 * resolve_libc.c - names by libc's getaddrinfo.
 *
 * getaddrinfo blocks for as long as the network likes, and knows no cancellation: it keeps its
 * goroutine's thread till it ends, whether or not anybody still asks, and beyond the runtime's end.
 *
 * Callers: a job's goroutine.
 */
#include "io/resolve.h"

#include <errno.h>

static int error_of(int eai, int system)
{
	switch (eai) {
	case EAI_NONAME:
	case EAI_NODATA:
	case EAI_ADDRFAMILY:
	case EAI_SERVICE:
		return -ENXIO;
	case EAI_MEMORY:
		return -ENOMEM;
	case EAI_FAMILY:
	case EAI_SOCKTYPE:
	case EAI_BADFLAGS:
	case EAI_OVERFLOW:
		return -EINVAL;
	case EAI_SYSTEM:
		return system > 0 ? -system : -EREMOTEIO;
	default: /* EAI_AGAIN, EAI_FAIL */
		return -EREMOTEIO;
	}
}

static int take(struct found *f, const struct addrinfo *list)
{
	size_t n = 0;

	for (const struct addrinfo *a = list; a; a = a->ai_next)
		n++;
	if (gort__found_room(f, n) < 0)
		return -ENOMEM;
	for (const struct addrinfo *a = list; a; a = a->ai_next)
		gort__found_add(f, a->ai_addr, a->ai_addrlen);
	return 0;
}

int gort__look_up(const struct query *q, struct found *f)
{
	struct addrinfo hints = { .ai_family = q->family, .ai_socktype = q->type };
	struct addrinfo *list = NULL;
	int eai = getaddrinfo(q->host, q->service, &hints, &list), system = errno, err;

	err = eai ? error_of(eai, system) : take(f, list);
	if (list)
		freeaddrinfo(list);
	return err;
}
