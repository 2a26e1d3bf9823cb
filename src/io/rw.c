/*
 * rw.c - reading and writing a gort_file. Turns, waits and errors: file.c.
 *
 * A write of any length is made in one turn, call by call, so that it stays in one piece. No call
 * raises SIGPIPE: sockets are told so; for others the kernel is (RWF_NOSIGNAL, Linux 6.18), or else
 * the signal is blocked on this thread meanwhile, and taken back if it came.
 *
 * Callers: goroutines and guests, from user code.
 */
#include "io/file.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x100
#endif

#define WINDOW 64 /* buffers that one call of the system gets */

/* FILE_SHARED: its calls would sleep: ask first. */
static inline bool must_wait(const struct gort_file *f, int side)
{
	return unlikely(f->kind == FILE_SHARED) &&
		os_poll_look(f->poll.fd, side == POLL_READ ? OS_POLL_IN : OS_POLL_OUT) == 0;
}

/* ---- no SIGPIPE ------------------------------------------------------------------------------ */

static sigset_t only_sigpipe(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	return set;
}

/* Where it was not blocked, none was pending. */
void gort__quiet_begin(struct quiet *q)
{
	sigset_t pipe = only_sigpipe(), pending;

	pthread_sigmask(SIG_BLOCK, &pipe, &q->before);
	q->pending = unlikely(sigismember(&q->before, SIGPIPE)) && sigpending(&pending) == 0 &&
		sigismember(&pending, SIGPIPE);
}

void gort__quiet_end(struct quiet *q, bool raised)
{
	const struct timespec at_once = { 0 };
	sigset_t pipe = only_sigpipe();

	if (raised && !q->pending)
		(void)sigtimedwait(&pipe, NULL, &at_once);
	pthread_sigmask(SIG_SETMASK, &q->before, NULL);
}

static ssize_t writev_masked(int fd, const struct iovec *iov, int count)
{
	struct quiet q;
	ssize_t n;
	int err;

	gort__quiet_begin(&q);
	n = writev(fd, iov, count);
	err = errno;
	gort__quiet_end(&q, n >= 0 || err == EPIPE);
	errno = err;
	return n;
}

static ssize_t writev_quietly(int fd, const struct iovec *iov, int count)
{
	static uint32_t unknown; /* atomic: the kernel does not know the flag */
	ssize_t n;

	if (fiber_is_plain && !load_relaxed(&unknown)) { /* sanitizers want to see the call */
		n = syscall(SYS_pwritev2, fd, iov, count, -1L, -1L,
			    RWF_NOSIGNAL); /* not every libc has it */
		if (n >= 0 || (errno != EOPNOTSUPP && errno != EINVAL && errno != ENOSYS))
			return n;
		store_relaxed(&unknown, 1);
	}
	return writev_masked(fd, iov, count);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Who shares a socket's description may make it block again: it must not, inside gort. Of nothing read
 * takes nothing, recv a datagram. */
static inline ssize_t read_once(const struct gort_file *f, void *buf, size_t n)
{
	return likely(f->kind == FILE_SOCKET) && likely(n) ? recv(f->poll.fd, buf, n, MSG_DONTWAIT)
							   : read(f->poll.fd, buf, n);
}

static ssize_t readv_once(const struct gort_file *f, const struct iovec *iov, int count)
{
	struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)iov,
			    .msg_iovlen = (size_t)count };

	return f->kind == FILE_SOCKET ? recvmsg(f->poll.fd, &m, MSG_DONTWAIT)
				      : readv(f->poll.fd, iov, count);
}

static ssize_t try_read(struct gort_file *f, struct call *c)
{
	ssize_t n;

	if (unlikely(f->kind >= FILE_SHARED)) {
		if (f->kind == FILE_PLAIN)
			return gort__plain_read(f, c);
		if (must_wait(f, POLL_READ))
			return -EAGAIN;
	}
	n = RESULT_OF(read_once(f, c->buf, c->n));
	if (f->stream)
		f->dry = n > 0 && (size_t)n < c->n && !load_relaxed(&f->exposed);
	return n;
}

struct call gort__call_to_read(void *buf, size_t n)
{
	return (struct call){
		.try = try_read, .side = POLL_READ, .why = WHY_READ, .at = -1, .buf = buf, .n = n
	};
}

GORT_API ssize_t gort_read(gort_file *f, void *buf, size_t n)
{
	struct call c = gort__call_to_read(buf, n);

	return gort__file_call(f, &c, "gort_read");
}

GORT_API ssize_t gort_read_full(gort_file *f, void *buf, size_t n)
{
	struct call c = gort__call_to_read(buf, n);
	ssize_t got = gort__file_begin(f, &c, "gort_read_full");

	if (got < 0)
		return got;
	while (c.n && (got = gort__file_perform(f, &c)) > 0) {
		c.buf = (char *)c.buf + got;
		c.n -= (size_t)got;
	}
	return gort__file_end(f, POLL_READ, got < 0 ? got : (ssize_t)(n - c.n));
}

static ssize_t try_readv(struct gort_file *f, struct call *c)
{
	ssize_t n;

	if (must_wait(f, POLL_READ))
		return -EAGAIN;
	n = RESULT_OF(readv_once(f, c->iov, c->count < IOV_MAX ? c->count : IOV_MAX));
	f->dry = false;
	return n;
}

GORT_API ssize_t gort_readv(gort_file *f, const struct iovec *iov, int n)
{
	struct call c = {
		.try = try_readv, .side = POLL_READ, .why = WHY_READ, .iov = iov, .count = n
	};

	return n < 0 ? -EINVAL : gort__file_call(f, &c, "gort_readv");
}

static ssize_t try_recvmsg(struct gort_file *f, struct call *c)
{
	ssize_t n;

	n = RESULT_OF(recvmsg(f->poll.fd, c->msg, c->flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
	f->dry = false;
	return n;
}

GORT_API ssize_t gort_recvmsg(gort_file *f, struct msghdr *m, int flags)
{
	struct call c = {
		.try = try_recvmsg, .side = POLL_READ, .why = WHY_READ, .msg = m, .flags = flags
	};

	return gort__file_call(f, &c, "gort_recvmsg");
}

/* ---- writing --------------------------------------------------------------------------------- */

/* c's buffers at once, as many as go: without SIGPIPE. */
static ssize_t writev_once(struct gort_file *f, const struct call *c)
{
	struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)c->iov,
			    .msg_iovlen = (size_t)c->count };

	if (f->kind == FILE_SOCKET)
		return sendmsg(f->poll.fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (f->kind == FILE_PLAIN)
		return writev(f->poll.fd, c->iov, c->count);
	return writev_quietly(f->poll.fd, c->iov, c->count);
}

static ssize_t try_writev(struct gort_file *f, struct call *c)
{
	if (must_wait(f, POLL_WRITE))
		return -EAGAIN;
	return RESULT_OF(writev_once(f, c));
}

static ssize_t try_write(struct gort_file *f, struct call *c)
{
	struct iovec one = { c->buf, c->n };

	if (likely(f->kind == FILE_SOCKET))
		return RESULT_OF(send(f->poll.fd, c->buf, c->n, MSG_NOSIGNAL | MSG_DONTWAIT));
	c->iov = &one;
	c->count = 1;
	return try_writev(f, c);
}

struct call gort__call_to_write(const void *buf, size_t n)
{
	return (struct call){ .try = try_write,
			      .side = POLL_WRITE,
			      .why = WHY_WRITE,
			      .buf = (void *)(uintptr_t)buf,
			      .n = n };
}

GORT_API ssize_t gort_write_some(gort_file *f, const void *buf, size_t n)
{
	struct call c = gort__call_to_write(buf, n);

	return gort__file_call(f, &c, "gort_write_some");
}

ssize_t gort__write_counted(struct gort_file *f, struct call *c, size_t *put)
{
	ssize_t some = gort__file_begin(f, c, "gort_write");
	size_t n = c->n;

	*put = 0;
	if (some < 0)
		return some;
	do {
		some = gort__file_perform(f, c);
		if (some > 0) {
			c->buf = (char *)c->buf + some;
			c->n -= (size_t)some;
		}
	} while (some > 0 && c->n);
	*put = n - c->n;
	return gort__file_end(f, POLL_WRITE, some < 0 ? some : (ssize_t)*put);
}

GORT_API ssize_t gort_write(gort_file *f, const void *buf, size_t n)
{
	struct call c = gort__call_to_write(buf, n);
	size_t put;

	return gort__write_counted(f, &c, &put);
}

/* Where the next call of the system goes on. */
struct cursor {
	const struct iovec *iov;
	int count;
	size_t skip; /* of the first */
};

/* What is left of it, some buffers at a time. */
static int open_window(const struct cursor *at, struct iovec window[WINDOW])
{
	int n = at->count < WINDOW ? at->count : WINDOW;

	window[0].iov_base = (char *)at->iov[0].iov_base + at->skip;
	window[0].iov_len = at->iov[0].iov_len - at->skip;
	for (int i = 1; i < n; i++)
		window[i] = at->iov[i];
	return n;
}

static void advance(struct cursor *at, size_t n)
{
	while (at->count && n >= at->iov->iov_len - at->skip) {
		n -= at->iov->iov_len - at->skip;
		at->iov++;
		at->count--;
		at->skip = 0;
	}
	at->skip += n;
}

/* Has the turn. */
static ssize_t write_all(struct gort_file *f, struct call *c)
{
	struct cursor at = { c->iov, c->count, 0 };
	struct iovec window[WINDOW];
	ssize_t all = 0, n;

	do {
		c->iov = window;
		c->count = open_window(&at, window);
		n = gort__file_perform(f, c);
		if (n < 0)
			return n;
		all += n;
		advance(&at, (size_t)n);
	} while (at.count);
	return all;
}

int gort__file_socket_type(const struct gort_file *f)
{
	int type = 0;
	socklen_t size = sizeof type;

	if (f->stream)
		return SOCK_STREAM;
	if (f->kind == FILE_SOCKET)
		(void)getsockopt(f->poll.fd, SOL_SOCKET, SO_TYPE, &type, &size);
	return type;
}

/* A datagram, which goes whole. */
static bool is_datagram(const struct gort_file *f)
{
	int type = gort__file_socket_type(f);

	return type && type != SOCK_STREAM;
}

static ssize_t total_of(const struct iovec *iov, int n)
{
	size_t all = 0;

	for (int i = 0; i < n; i++)
		if (iov[i].iov_len > (size_t)SSIZE_MAX - all)
			return -EINVAL;
		else
			all += iov[i].iov_len;
	return (ssize_t)all;
}

GORT_API ssize_t gort_writev(gort_file *f, const struct iovec *iov, int n)
{
	struct call c = {
		.try = try_writev, .side = POLL_WRITE, .why = WHY_WRITE, .iov = iov, .count = n
	};
	ssize_t result = n < 0 ? -EINVAL : total_of(iov, n);

	if (result >= 0)
		result = gort__file_begin(f, &c, "gort_writev");
	if (result < 0)
		return result;
	if (n == 0)
		result = 0;
	else
		result = is_datagram(f) ? gort__file_perform(f, &c) : write_all(f, &c);
	return gort__file_end(f, POLL_WRITE, result);
}

static ssize_t try_sendmsg(struct gort_file *f, struct call *c)
{
	return RESULT_OF(sendmsg(f->poll.fd, c->msg, c->flags | MSG_NOSIGNAL | MSG_DONTWAIT));
}

GORT_API ssize_t gort_sendmsg(gort_file *f, const struct msghdr *m, int flags)
{
	struct call c = { .try = try_sendmsg,
			  .side = POLL_WRITE,
			  .why = WHY_WRITE,
			  .msg = (struct msghdr *)(uintptr_t)m,
			  .flags = flags };

	return gort__file_call(f, &c, "gort_sendmsg");
}

/* ---- at a place of a regular file ------------------------------------------------------------ */

/* No turn: places do not get into each other's way. It may sleep: as user code, which we are. */
static ssize_t call_freely(gort_file *f, struct call *c, const char *name)
{
	ssize_t result = gort__file_use_first(f, name);
	int cancel = 0;

	if (result < 0)
		return result;
	if (!m_self())
		cancel = os_cancel_off(); /* file.c */
	result = c->try(f, c);
	if (!m_self())
		os_cancel_back(cancel);
	gort__file_unuse(f);
	return result;
}

static ssize_t at_place(gort_file *f, struct call *c, const char *name)
{
	return c->at < 0 ? -EINVAL : call_freely(f, c, name);
}

GORT_API ssize_t gort_pread(gort_file *f, void *buf, size_t n, off_t at)
{
	struct call c = { .try = gort__plain_read, .side = -1, .buf = buf, .n = n, .at = at };

	return at_place(f, &c, "gort_pread");
}

GORT_API ssize_t gort_pwrite(gort_file *f, const void *buf, size_t n, off_t at)
{
	struct call c = { .try = gort__plain_write, .side = -1, .n = n, .at = at };
	size_t done = 0;
	ssize_t put;

	do {
		c.buf = (char *)(uintptr_t)buf + done;
		c.n = n - done;
		c.at = at + (off_t)done;
		put = at_place(f, &c, "gort_pwrite");
		done += put > 0 ? (size_t)put : 0;
	} while (put > 0 && done < n);
	return done == 0 ? put : (ssize_t)done;
}

GORT_API int gort_fsync(gort_file *f)
{
	struct call c = { .try = gort__plain_sync, .side = -1 };

	return (int)call_freely(f, &c, "gort_fsync");
}
