/*
 * resolve_ares.c - names by c-ares: no thread waits for the network, and who is cancelled leaves
 * nothing behind.
 *
 * Each look-up has a channel of its own, so it needs no lock and reads /etc/resolv.conf anew. Its
 * goroutine starts the search, parks till one of the channel's sockets is ready or c-ares wants to try
 * again, and lets c-ares go on.
 *
 *  1. c-ares calls back (answered, socket_changed) on this goroutine while that is inside of it, or on the
 *     thread that ends the runtime. What is called back notes something, and never waits.
 *  2. c-ares closes its sockets, and uses their numbers again, only while its goroutine is inside of it:
 *     nobody waits for them then (sched/wait_fd.c).
 *  3. The channel stands among the goroutine's defers, for one that the runtime's end drops while it is
 *     parked. One that was inside of c-ares, where a file system may make it wait, asks whether the
 *     runtime has ended before it would park, and cleans up first: its next call into gort does not
 *     return.
 *
 * Services are looked up here: c-ares knows those of TCP alone, and takes "0x50" for one.
 *
 * Rejected: a channel for all, which would serve but one goroutine at a time, under a lock, and know no
 * cancellation of a single search; c-ares' own thread (newer versions have one), which would have to
 * wake goroutines.
 *
 * Callers: a job's goroutine.
 */
#include "io/resolve.h"

#include "base/atomic.h"
#include "sched/sched.h"

#include <ares.h>
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#define MOST_SOCKETS 16         /* two for a server; further ones are left to the next try */
#define LONGEST (10 * GORT_SEC) /* between looks, should c-ares wait for nothing */
#define SERVICE_ROOM 4096

/* Before 1.22 c-ares reads no "attempts:" in resolv.conf, and asks a dead server for 75 s. */
#define OPTIONS (ARES_OPT_SOCK_STATE_CB | (ARES_VERSION < 0x011600 ? ARES_OPT_TRIES : 0))
#define TRIES 2 /* resolv.conf(5) */

struct search {
	ares_channel channel;
	struct defer end;
	gort_case socket[MOST_SOCKETS]; /* those that are open */
	size_t sockets;
	bool done;
	int status;                 /* once done: ARES_ */
	struct ares_addrinfo *list; /* likewise; ours to free, or NULL */
};

static int error_of(int status)
{
	switch (status) {
	case ARES_SUCCESS:
		return 0;
	case ARES_ENODATA:
	case ARES_ENOTFOUND:
	case ARES_EBADNAME:
	case ARES_ENONAME:
		return -ENXIO;
	case ARES_ENOMEM:
		return -ENOMEM;
	case ARES_EBADFAMILY:
	case ARES_EBADFLAGS:
	case ARES_EBADHINTS:
		return -EINVAL;
	default: /* no answer, or none that says anything */
		return -EREMOTEIO;
	}
}

/* ---- called back (1) ------------------------------------------------------------------------- */

static void answered(void *arg, int status, int timeouts, struct ares_addrinfo *list)
{
	struct search *s = arg;

	(void)timeouts;
	s->done = true;
	s->status = status;
	s->list = list;
}

static void socket_changed(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct search *s = arg;
	int events = (readable ? POLLIN : 0) | (writable ? POLLOUT : 0);
	size_t i = 0;

	while (i < s->sockets && s->socket[i].fd != fd)
		i++;
	if (i == MOST_SOCKETS || (i == s->sockets && !events))
		return;
	if (i == s->sockets)
		s->sockets++;
	s->socket[i] = events ? GORT_CASE_FD(fd, events) : s->socket[--s->sockets];
}

/* ---- a search -------------------------------------------------------------------------------- */

static void search_end(void *arg)
{
	struct search *s = arg;

	ares_destroy(s->channel);
	if (s->list)
		ares_freeaddrinfo(s->list);
}

/* On Linux it sets nothing up that a channel needs: so nobody waits for who calls it. */
static void library_init(void)
{
	static uint32_t begun;

	if (!load_relaxed(&begun) && !swap_relaxed(&begun, 1))
		ares_library_init(ARES_LIB_INIT_ALL);
}

static int search_begin(struct search *s)
{
	struct ares_options options = { .sock_state_cb = socket_changed,
					.sock_state_cb_data = s,
					.tries = TRIES };
	int status;

	library_init();
	status = ares_init_options(&s->channel, &options, OPTIONS);
	if (status != ARES_SUCCESS)
		return status == ARES_ENOMEM ? -ENOMEM : -EREMOTEIO;
	gort__defer_push(gort__local(), &s->end, search_end, s);
	s->end.drop = search_end;
	return 0;
}

/* When c-ares wants to go on without an event. It tells milliseconds, rounded down. */
static int64_t next_look(struct search *s)
{
	struct timeval most = { .tv_sec = LONGEST / GORT_SEC }, left = most;
	struct timeval *next = ares_timeout(s->channel, &most, &left);

	return gort_in(next->tv_sec * GORT_SEC + next->tv_usec * GORT_US + GORT_MS);
}

static int search_step(struct search *s)
{
	ares_socket_t readable = ARES_SOCKET_BAD, writable = ARES_SOCKET_BAD;
	int i = gort_select(s->socket, s->sockets, next_look(s));

	if (i < 0 && i != -ETIMEDOUT)
		return i;
	if (i >= 0 && s->socket[i].status & ~POLLOUT)
		readable = s->socket[i].fd;
	if (i >= 0 && s->socket[i].status & ~POLLIN)
		writable = s->socket[i].fd;
	ares_process_fd(s->channel, readable, writable);
	return 0;
}

static int search(struct search *s, const struct query *q)
{
	struct ares_addrinfo_hints hints = { .ai_family = q->family, .ai_socktype = q->type };
	int err = 0;

	ares_getaddrinfo(s->channel, q->host, NULL, &hints, answered, s);
	while (err == 0 && !s->done)
		err = rt_is_over() ? -ECANCELED : search_step(s); /* rule 3 */
	return err < 0 ? err : error_of(s->status);
}

static int take(struct found *f, const struct ares_addrinfo *list)
{
	const struct ares_addrinfo_node *nodes = list ? list->nodes : NULL;
	size_t n = 0;

	for (const struct ares_addrinfo_node *a = nodes; a; a = a->ai_next)
		n++;
	if (gort__found_room(f, n) < 0)
		return -ENOMEM;
	for (const struct ares_addrinfo_node *a = nodes; a; a = a->ai_next)
		gort__found_add(f, a->ai_addr, (size_t)a->ai_addrlen);
	return 0;
}

static int find_host(const struct query *q, struct found *f)
{
	struct search s = { .sockets = 0 };
	int err = search_begin(&s);

	if (err < 0)
		return err;
	err = search(&s, q);
	if (err == 0)
		err = take(f, s.list);
	gort__defer_end(gort__local(), &s.end);
	return err;
}

/* ---- what getaddrinfo knows besides ---------------------------------------------------------- */

static int add_v4(struct found *f, struct in_addr addr)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = addr };

	if (gort__found_room(f, 1) < 0)
		return -ENOMEM;
	gort__found_add(f, (const struct sockaddr *)&a, sizeof a);
	return 0;
}

/* In network order. */
static int find_service(const struct query *q, int *port)
{
	const char *proto = q->type == SOCK_DGRAM ? "udp" : "tcp";
	char room[SERVICE_ROOM];
	struct servent entry, *is = NULL;
	int err = getservbyname_r(q->service, proto, &entry, room, sizeof room, &is);

	if (err && err != ENOENT)
		return err == ENOMEM ? -ENOMEM : -EREMOTEIO;
	if (!is)
		return -ENXIO;
	*port = is->s_port;
	return 0;
}

/* "127.1", "0x7f000001" */
static bool is_old_v4(const char *host, struct in_addr *out)
{
	return !host[strspn(host, "0123456789abcdefABCDEFxX.")] && inet_aton(host, out);
}

static int find(const struct query *q, struct found *f)
{
	struct in_addr v4 = { htonl(INADDR_LOOPBACK) };

	if (q->host && !is_old_v4(q->host, &v4))
		return find_host(q, f);
	return q->host && q->family == AF_INET6 ? -ENXIO : add_v4(f, v4);
}

int gort__look_up(const struct query *q, struct found *f)
{
	int port = 0, err = q->service ? find_service(q, &port) : 0;

	if (err == 0)
		err = find(q, f);
	for (size_t i = 0; err == 0 && i < f->count; i++)
		gort__port_set(&f->addr[i], ntohs((in_port_t)port));
	return err;
}
