/*
 * address.c - the text forms of addresses: parsed for gort_dial and gort_listen, and written.
 *
 *  1. What is written as numbers is never looked up: inet_pton reads addresses, so no resolver, no
 *     file and no lock of libc's is in the way of "127.0.0.1:80".
 *  2. What would mean something else to getaddrinfo than it says here ("-1", "+80", "80:90", a zone
 *     on a name) is bad text, and never gets there.
 *  3. Addresses are copied into a gort_addr and out of it, never looked at in place: a
 *     sockaddr_storage may not be read as a sockaddr_in.
 *
 * The forms are Go's (net.Dial, net.SplitHostPort). Nothing here keeps state. Callers: see
 * address.h.
 */
#include "io/address.h"

#include "base/fatal.h"
#include "os/os.h"
#include "sched/sched.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define PATH_AT offsetof(struct sockaddr_un, sun_path)
#define TEXT_MOST 128 /* of an address: a path is the longest */

static void set(gort_addr *out, const void *a, size_t size)
{
	*out = (gort_addr){ .len = (socklen_t)size };
	memcpy(&out->addr, a, size);
}

/* ---- numbers --------------------------------------------------------------------------------- */

int gort__number(const char *text, uint32_t most, uint32_t *out)
{
	uint64_t n = 0;

	if (!*text || text[strspn(text, "0123456789")])
		return 0;
	for (; *text; text++) {
		n = n * 10 + (uint64_t)(*text - '0');
		if (n > most)
			return -EINVAL;
	}
	*out = (uint32_t)n;
	return 1;
}

static int literal_v4(const char *host, gort_addr *out)
{
	struct sockaddr_in a = { .sin_family = AF_INET };

	if (inet_pton(AF_INET, host, &a.sin_addr) != 1)
		return 0;
	set(out, &a, sizeof a);
	return 1;
}

/* An interface, by its number or name. */
static int zone_of(const char *text, uint32_t *zone)
{
	int is = gort__number(text, UINT32_MAX, zone);

	if (is || !*text)
		return is > 0 ? 0 : -EINVAL;
	*zone = if_nametoindex(text);
	return *zone ? 0 : -ENXIO;
}

static int literal_v6(const char *host, gort_addr *out)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6 };
	size_t n = strcspn(host, "%");
	char text[INET6_ADDRSTRLEN];
	int err = 0;

	if (n >= sizeof text)
		return 0;
	memcpy(text, host, n);
	text[n] = 0;
	if (inet_pton(AF_INET6, text, &a.sin6_addr) != 1)
		return 0;
	if (host[n])
		err = zone_of(host + n + 1, &a.sin6_scope_id);
	if (err < 0)
		return err;
	set(out, &a, sizeof a);
	return 1;
}

int gort__literal(const char *host, gort_addr *out)
{
	int is = literal_v4(host, out);

	if (!is)
		is = literal_v6(host, out);
	if (!is && (host[strcspn(host, ":%")] || strlen(host) > NAME_MOST))
		return -EINVAL;
	return is;
}

/* ---- ports ----------------------------------------------------------------------------------- */

/* The port is at the same place in both families. */
_Static_assert(offsetof(struct sockaddr_in, sin_port) == offsetof(struct sockaddr_in6, sin6_port),
	       "a port is a port");

static char *port_in(const gort_addr *a)
{
	return (char *)(uintptr_t)&a->addr + offsetof(struct sockaddr_in, sin_port);
}

uint16_t gort__port(const gort_addr *a)
{
	in_port_t port;

	memcpy(&port, port_in(a), sizeof port);
	return ntohs(port);
}

void gort__port_set(gort_addr *a, uint16_t port)
{
	in_port_t there = htons(port);

	memcpy(port_in(a), &there, sizeof there);
}

/* ---- host:port ------------------------------------------------------------------------------- */

/* In place. The host may be empty, but for that in brackets. */
static int split_brackets(char *text, struct query *q)
{
	char *end = strchr(text, ']');

	if (!end || end == text + 1 || end[1] != ':' || strchr(end + 2, ':'))
		return -EINVAL;
	*end = 0;
	q->host = text + 1;
	q->service = end + 2;
	return 0;
}

static int split(char *text, struct query *q)
{
	char *colon = strchr(text, ':');

	if (text[0] == '[')
		return split_brackets(text, q);
	if (!colon || text[strcspn(text, "[]")] || strchr(colon + 1, ':'))
		return -EINVAL;
	*colon = 0;
	q->host = text;
	q->service = colon + 1;
	return 0;
}

static const char *wildcard(int family)
{
	if (family == AF_INET)
		return "0.0.0.0";
	return family == AF_INET6 || os_has_ipv6() ? "::" : "0.0.0.0";
}

static int find_internet(const char *address, bool listening, struct addresses *out)
{
	struct query q = { .family = out->family, .type = out->type };
	char text[2 * NAME_MOST + 4]; /* []: and the end */
	size_t n = strlen(address);
	int err;

	if (n >= sizeof text)
		return -EINVAL;
	memcpy(text, address, n + 1);
	err = split(text, &q);
	if (err < 0)
		return err;
	if (listening && !*q.host)
		q.host = wildcard(q.family);
	return gort__resolve(&q, &out->addr, &out->count);
}

/* ---- unix ------------------------------------------------------------------------------------ */

/* Only a path ends with a NUL. Without any name the kernel gives a listener an abstract one. */
static int parse_unix(const char *path, bool listening, gort_addr *out)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	bool abstract = path[0] == '@';
	size_t n = strlen(path), used = n + !abstract;

	if (n == abstract) {
		set(out, &a, PATH_AT);
		return listening ? 0 : -EINVAL;
	}
	if (used > sizeof a.sun_path)
		return -EINVAL;
	memcpy(a.sun_path, path, n);
	if (abstract)
		a.sun_path[0] = 0;
	set(out, &a, PATH_AT + used);
	return 0;
}

static int find_unix(const char *path, bool listening, struct addresses *out)
{
	gort_addr a, *copy;
	int err = parse_unix(path, listening, &a);

	if (err < 0)
		return err;
	copy = malloc(sizeof *copy);
	if (!copy)
		return -ENOMEM;
	*copy = a;
	out->addr = copy;
	out->count = 1;
	return 0;
}

/* ---- networks -------------------------------------------------------------------------------- */

static const struct network {
	char name[12];
	int type, family;
} networks[] = {
	{ "tcp", SOCK_STREAM, AF_UNSPEC },         { "tcp4", SOCK_STREAM, AF_INET },
	{ "tcp6", SOCK_STREAM, AF_INET6 },         { "udp", SOCK_DGRAM, AF_UNSPEC },
	{ "udp4", SOCK_DGRAM, AF_INET },           { "udp6", SOCK_DGRAM, AF_INET6 },
	{ "unix", SOCK_STREAM, AF_UNIX },          { "unixgram", SOCK_DGRAM, AF_UNIX },
	{ "unixpacket", SOCK_SEQPACKET, AF_UNIX },
};

static const struct network *network_of(const char *name)
{
	for (size_t i = 0; i < sizeof networks / sizeof networks[0]; i++)
		if (strcmp(networks[i].name, name) == 0)
			return &networks[i];
	return NULL;
}

int gort__addresses(const char *network, const char *address, bool listening, struct addresses *out)
{
	const struct network *of;
	struct addresses found;
	int err;

	if (!network || !address)
		gort__misuse(listening ? "gort_listen" : "gort_dial",
			     network ? "no address" : "no network");
	of = network_of(network);
	if (!of)
		return -EINVAL;
	found = (struct addresses){ .type = of->type, .family = of->family };
	err = of->family == AF_UNIX ? find_unix(address, listening, &found)
				    : find_internet(address, listening, &found);
	if (err == 0)
		*out = found;
	return err;
}

/* ---- and back -------------------------------------------------------------------------------- */

static size_t text_v4(const struct sockaddr *from, char *text)
{
	struct sockaddr_in a;
	char host[INET_ADDRSTRLEN];

	memcpy(&a, from, sizeof a);
	inet_ntop(AF_INET, &a.sin_addr, host, sizeof host);
	return gort__format(text, TEXT_MOST, "%s:%u", host, (uint64_t)ntohs(a.sin_port));
}

/* zone: with its %. */
static void text_zone(uint32_t zone, char *text, size_t size)
{
	char name[IF_NAMESIZE];

	if (zone == 0)
		text[0] = 0;
	else if (if_indextoname(zone, name))
		gort__format(text, size, "%%%s", name);
	else
		gort__format(text, size, "%%%u", (uint64_t)zone);
}

static size_t text_v6(const struct sockaddr *from, char *text)
{
	struct sockaddr_in6 a;
	char host[INET6_ADDRSTRLEN], zone[IF_NAMESIZE + 1];

	memcpy(&a, from, sizeof a);
	inet_ntop(AF_INET6, &a.sin6_addr, host, sizeof host);
	text_zone(a.sin6_scope_id, zone, sizeof zone);
	return gort__format(text, TEXT_MOST, "[%s%s]:%u", host, zone, (uint64_t)ntohs(a.sin6_port));
}

/* A path may fill all there is, without a NUL. */
static size_t text_unix(const struct sockaddr *from, socklen_t len, char *text)
{
	const char *path = (const char *)from + PATH_AT;
	size_t n = len > PATH_AT ? len - PATH_AT : 0;

	if (n > TEXT_MOST)
		n = TEXT_MOST;
	if (n && path[0])
		n = strnlen(path, n);
	for (size_t i = 0; i < n; i++)
		text[i] = path[i] ? path[i] : '@';
	return n;
}

int gort__address_text(const struct sockaddr *a, socklen_t len, char *text, size_t size)
{
	char full[TEXT_MOST];
	size_t n = 0, fits;

	if (len >= sizeof(struct sockaddr_in) && a->sa_family == AF_INET)
		n = text_v4(a, full);
	else if (len >= sizeof(struct sockaddr_in6) && a->sa_family == AF_INET6)
		n = text_v6(a, full);
	else if (len > PATH_AT && a->sa_family == AF_UNIX)
		n = text_unix(a, len, full);
	if (size) {
		fits = n < size ? n : size - 1;
		memcpy(text, full, fits);
		text[fits] = 0;
	}
	return (int)n;
}
