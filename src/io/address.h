/*
 * address.h - where to dial and to listen: text to addresses and back (address.c), and names to
 * addresses (resolve.c).
 *
 * Callers: goroutines and guests, outside rt_enter and rt_leave: malloc is called.
 */
#ifndef GORT_IO_ADDRESS_H
#define GORT_IO_ADDRESS_H

#include "base/base.h"

#include <gort.h>
#include <netdb.h>

/* Longer names of hosts and services are bad text. */
#define NAME_MOST (NI_MAXHOST - 1)

struct addresses {
	int type;        /* SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET */
	int family;      /* AF_UNSPEC: IPv4 and IPv6; AF_INET, AF_INET6, AF_UNIX: only this one */
	gort_addr *addr; /* in the order in which to try them; malloc'ed, the caller's */
	size_t count;    /* 1 at least */
};

/* What gort_dial, or with listening gort_listen, means by network and address; IPv6's wildcard of
 * "tcp" and "udp" stands for both families. 0, and as gort_resolve; NULL is misuse. [c] Names of
 * hosts and services alone are looked up, numbers never wait. */
int gort__addresses(const char *network, const char *address, bool listening,
		    struct addresses *out);

/* "127.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80", a path, "@abstract" (a NUL byte inside is shown
 * as @), or "" if unnamed. The length as snprintf's. Takes no lock of libc's, but asks the kernel
 * for the name of a zone; may be called from inside as well. */
int gort__address_text(const struct sockaddr *a, socklen_t len, char *text, size_t size);

/* Text that is a number. 1: *out is its value; 0: it is something else; -EINVAL: over most. */
int gort__number(const char *text, uint32_t most, uint32_t *out);

/* A host that is an address itself: 1, and *out, with port 0. 0: it may be a name; -EINVAL: it is
 * neither; -ENXIO: there is no such zone. */
int gort__literal(const char *host, gort_addr *out);

uint16_t gort__port(const gort_addr *a); /* of one of IPv4 or IPv6 */
void gort__port_set(gort_addr *a, uint16_t port);

/* resolve.c: what gort_resolve does, for one family or all (AF_UNSPEC), and one type of socket. host
 * may be NULL or empty: loopback; service too: port 0. */
struct query {
	const char *host, *service;
	int family, type;
};
int gort__resolve(const struct query *q, gort_addr **out, size_t *count);

#endif
