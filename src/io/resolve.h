/*
 * resolve.h - between resolve.c, which keeps jobs and places, and what asks: resolve_ares.c, where the
 * build has c-ares, or else resolve_libc.c.
 *
 * Callers: a job's goroutine, outside rt_enter and rt_leave.
 */
#ifndef GORT_IO_RESOLVE_H
#define GORT_IO_RESOLVE_H

#include "io/address.h"

/* What one look-up has found. Its goroutine's. */
struct found {
	gort_addr *addr; /* NULL, or malloc'ed */
	size_t count;
};

/* Room for as many, of none. 0; -ENOMEM. */
int gort__found_room(struct found *f, size_t most);

/* As the last, unless it is there already, or of another family than IPv4 and IPv6. */
void gort__found_add(struct found *f, const struct sockaddr *a, size_t len);

/* Look q up: a host that is no literal, a service that is no number, or both; either may be NULL. A
 * service alone: some address with its port. 0, also if it found nothing; or what gort_resolve
 * gives. May have filled f in any case. */
int gort__look_up(const struct query *q, struct found *f);

#endif
