/*
 * socket.c - sockets: connecting, listening, accepting, their ends and addresses.
 *
 * TCP sockets have TCP_NODELAY and keepalive (as Go: idle 15 s, then every 15 s, nine times). Those that
 * a listener accepts inherit both from it. All are closed by exec.
 *
 * accept at EMFILE, ENFILE and where memory is short: it waits first, 5 ms, then twice as long each
 * time up to 1 s, then says so; what it cannot accept stays in the queue. Who has no patience has a
 * deadline, or closes the listener.
 *
 * Callers: goroutines and guests, from user code.
 */
#include "io/socket.h"

#include "io/address.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEEPALIVE 15 /* seconds */
#define KEEPALIVE_COUNT 9
#define BACKOFF_LEAST (5 * GORT_MS)
#define BACKOFF_MOST (1 * GORT_SEC)
#define FULL_LEAST (1 * GORT_MS) /* a local listener's queue is full: try again */
#define FULL_MOST (50 * GORT_MS)

static bool is_tcp(int family, int type)
{
	return type == SOCK_STREAM && (family == AF_INET || family == AF_INET6);
}

static void set(int fd, int level, int option, int value)
{
	(void)setsockopt(fd, level, option, &value, sizeof value);
}

static void set_tcp(int fd)
{
	set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE);
	set(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE);
	set(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
}

static int make(struct gort_file **out, int family, int type)
{
	int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	err = gort__file_make(out, fd, FILE_SOCKET);
	if (err < 0) {
		close(fd);
		return err;
	}
	if (is_tcp(family, type)) {
		(*out)->stream = true;
		set_tcp(fd);
	} else if (type == SOCK_DGRAM) {
		set(fd, SOL_SOCKET, SO_BROADCAST, 1);
	}
	return 0;
}

/* ---- connecting ------------------------------------------------------------------------------ */

/* How the attempt under way has gone: 0, -EAGAIN, -errno. Who is woken for no reason finds no
 * error, and no peer. */
static int connected(int fd)
{
	struct sockaddr_storage peer;
	socklen_t size = sizeof(int), peer_size = sizeof peer;
	int err = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &size) < 0)
		return -errno;
	if (err && err != EINPROGRESS && err != EALREADY && err != EINTR)
		return err == EISCONN ? 0 : -err;
	if (getpeername(fd, (struct sockaddr *)&peer, &peer_size) == 0)
		return 0;
	return errno == ENOTCONN ? -EAGAIN : -errno;
}

static ssize_t try_connect(struct gort_file *f, struct call *c)
{
	const gort_addr *a = c->buf;

	if (c->count++ > 0)
		return connected(f->poll.fd);
	if (connect(f->poll.fd, (const struct sockaddr *)&a->addr, a->len) == 0)
		return 0;
	switch (errno) {
	case EAGAIN: /* a local one, whose queue is full: nothing tells when it is not */
		return -ENOBUFS;
	case EINPROGRESS:
	case EALREADY:
	case EINTR:
		return -EAGAIN;
	default:
		return errno == EISCONN ? 0 : -errno;
	}
}

/* Two ends of the same port that dialled each other, by chance: nobody listens there (Go's
 * spuriousENOTAVAIL and selfConnect). */
static bool is_self(int fd)
{
	struct sockaddr_storage own, peer;
	socklen_t own_size = sizeof own, peer_size = sizeof peer;

	if (getsockname(fd, (struct sockaddr *)&own, &own_size) < 0 ||
	    getpeername(fd, (struct sockaddr *)&peer, &peer_size) < 0)
		return false;
	return own_size == peer_size && memcmp(&own, &peer, own_size) == 0;
}

static int connect_once(struct gort_file **out, const gort_addr *a, int type, int64_t deadline)
{
	struct call c = { .try = try_connect,
			  .side = POLL_WRITE,
			  .why = WHY_CONNECT,
			  .buf = (void *)(uintptr_t)a };
	struct gort_file *f;
	int err = make(&f, a->addr.ss_family, type);

	if (err < 0)
		return err;
	c.drop = gort__file_abandon;
	c.of = f; /* NOLINT(*.uninitialized.Assign): errno is not 0 where socket() failed */
	if (deadline != GORT_FOREVER)
		gort_set_write_deadline(f, deadline);
	err = (int)gort__file_call(f, &c, "gort_dial");
	if (err == 0 && f->stream && is_self(f->poll.fd))
		err = -ECONNREFUSED;
	if (err < 0) {
		gort_close(f);
		return err;
	}
	gort_set_write_deadline(f, GORT_FOREVER);
	*out = f;
	return 0;
}

int gort__connect(struct gort_file **out, const gort_addr *a, int type, int64_t deadline)
{
	int64_t pause = FULL_LEAST, until;
	int err;

	for (;;) {
		err = connect_once(out, a, type, deadline);
		if (err != -ENOBUFS || a->addr.ss_family != AF_UNIX)
			return err;
		until = gort_in(pause);
		if (until >= deadline)
			return -ETIMEDOUT;
		err = gort_sleep_until(until);
		if (err < 0)
			return err;
		pause = pause < FULL_MOST ? 2 * pause : pause;
	}
}

/* ---- listening ------------------------------------------------------------------------------- */

static int set_up(int fd, const gort_addr *a, int type, const gort_listen_options *o)
{
	int family = a->addr.ss_family;

	if (family == AF_INET6)
		set(fd, IPPROTO_IPV6, IPV6_V6ONLY, o->only_v6);
	if (is_tcp(family, type))
		set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (o->reuse_port)
		set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (bind(fd, (const struct sockaddr *)&a->addr, a->len) < 0)
		return -errno;
	/* The kernel cuts it to net.core.somaxconn. */
	if (type != SOCK_DGRAM && listen(fd, o->backlog > 0 ? o->backlog : INT32_MAX) < 0)
		return -errno;
	return 0;
}

int gort__listen(struct gort_file **out, const gort_addr *a, int type,
		 const gort_listen_options *options)
{
	static const gort_listen_options defaults;
	struct gort_file *f;
	int err = make(&f, a->addr.ss_family, type);

	if (err < 0)
		return err;
	/* NOLINTNEXTLINE(*.NullDereference): errno is not 0 where socket() failed */
	err = set_up(f->poll.fd, a, type, options ? options : &defaults);
	if (err < 0)
		gort_close(f);
	else
		*out = f;
	return err;
}

/* What accept(2) says of a connection that is gone already, or of the network. */
static bool is_passing(int err)
{
	switch (err) {
	case EINTR:
	case ECONNABORTED:
	case EPROTO:
	case ENETDOWN:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case ENETUNREACH:
		return true;
	default:
		return false;
	}
}

static ssize_t try_accept(struct gort_file *f, struct call *c)
{
	int fd;

	(void)c;
	do
		fd = accept4(f->poll.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	while (fd < 0 && is_passing(errno));
	return fd < 0 ? -errno : fd;
}

static bool is_short_of_something(ssize_t err)
{
	return err == -EMFILE || err == -ENFILE || err == -ENOBUFS || err == -ENOMEM;
}

/* Has the turn. err, or what ended the wait. */
static ssize_t back_off(struct gort_file *f, const struct call *c, ssize_t err)
{
	int ended;

	f->backoff = f->backoff == 0            ? BACKOFF_LEAST
		: f->backoff < BACKOFF_MOST / 2 ? 2 * f->backoff
						: BACKOFF_MOST;
	ended = gort__poll_pause(&f->poll, POLL_READ, gort__file_waits(c), rt_now() + f->backoff,
				 WHY_ACCEPT);
	return ended < 0 ? ended : err;
}

GORT_API int gort_accept(gort_file *listener, gort_file **out)
{
	struct call c = { .try = try_accept, .side = POLL_READ, .why = WHY_ACCEPT };
	ssize_t fd = gort__file_begin(listener, &c, "gort_accept");
	bool stream;
	int err;

	if (fd < 0)
		return (int)fd;
	fd = gort__file_perform(listener, &c);
	if (is_short_of_something(fd))
		fd = back_off(listener, &c, fd);
	else if (fd >= 0)
		listener->backoff = 0;
	stream = listener->stream;
	gort__file_end(listener, POLL_READ, 0);
	if (fd < 0)
		return (int)fd;
	err = gort__file_make(out, (int)fd, FILE_SOCKET);
	if (err < 0)
		close((int)fd);
	else
		(*out)->stream = stream;
	return err;
}

/* ---- ends and addresses ---------------------------------------------------------------------- */

GORT_API int gort_shutdown(gort_file *f, int how)
{
	int err = gort__file_use(f, "gort_shutdown");

	if (err < 0)
		return err;
	if (shutdown(f->poll.fd, how) < 0)
		err = -errno;
	gort__file_unuse(f);
	return err;
}

static int address(const gort_file *f, char *text, size_t size, const char *name,
		   int (*get)(int, struct sockaddr *, socklen_t *))
{
	gort_file *file = (gort_file *)(uintptr_t)f;
	struct sockaddr_storage a;
	socklen_t len = sizeof a;
	int err = gort__file_use(file, name);

	if (err < 0)
		return err;
	if (get(f->poll.fd, (struct sockaddr *)&a, &len) < 0)
		err = -errno;
	gort__file_unuse(file);
	return err < 0 ? err : gort__address_text((const struct sockaddr *)&a, len, text, size);
}

static int own(int fd, struct sockaddr *a, socklen_t *len)
{
	return getsockname(fd, a, len);
}

static int peers(int fd, struct sockaddr *a, socklen_t *len)
{
	return getpeername(fd, a, len);
}

GORT_API int gort_local_address(const gort_file *f, char *text, size_t size)
{
	return address(f, text, size, "gort_local_address", own);
}

GORT_API int gort_peer_address(const gort_file *f, char *text, size_t size)
{
	return address(f, text, size, "gort_peer_address", peers);
}
