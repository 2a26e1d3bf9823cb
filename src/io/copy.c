/*
 * copy.c - gort_copy: from one file to another, inside the kernel where it can.
 *
 *     from           to               by
 *     regular file   regular file     copy_file_range
 *     regular file   something else   sendfile
 *     something else anything         splice, into a pipe of ours, and out of it
 *
 * Where the kernel does not want to (-EINVAL and the like), and for datagrams and terminals, by read
 * and write, through a buffer. What has been read is written, all of it, before more is read: a
 * deadline of from's, or its end, loses nothing. A turn is taken for each step, at the file that may
 * have to be waited for: others may read and write in between, as between two calls of gort_read.
 *
 * Callers: goroutines and guests, from user code.
 */
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER 32768
#define PIPE_SIZE (1 << 18)
#define STEP (1 << 20)

enum way { BY_BUFFER, BY_RANGE, BY_SENDFILE, BY_PIPE };

struct copy {
	struct gort_file *to, *from;
	int64_t left; /* < 0: no limit */
	int64_t done; /* written */
	enum way way;
	int pipe[2];
	char *buffer;
};

/* ---- how ------------------------------------------------------------------------------------- */

static mode_t mode_of(const struct gort_file *f)
{
	struct stat st;

	return fstat(f->poll.fd, &st) == 0 ? st.st_mode & S_IFMT : 0;
}

static bool may_splice(const struct gort_file *f, mode_t mode)
{
	int type = 0;
	socklen_t size = sizeof type;

	if (mode != S_IFSOCK)
		return mode == S_IFIFO || mode == S_IFREG;
	return getsockopt(f->poll.fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
		type == SOCK_STREAM;
}

/* Two files may be the two ends of one thing, or the same: the kernel judges. */
static enum way way_for(const struct gort_file *to, const struct gort_file *from)
{
	mode_t to_mode = mode_of(to), from_mode = mode_of(from);

	if (to->kind == FILE_SHARED || from->kind == FILE_SHARED || !may_splice(to, to_mode) ||
	    !may_splice(from, from_mode))
		return BY_BUFFER;
	if (from_mode != S_IFREG)
		return BY_PIPE;
	return to_mode == S_IFREG ? BY_RANGE : BY_SENDFILE;
}

/* The kernel does not do this with these files: nothing has moved. */
static bool is_refusal(ssize_t err)
{
	return err == -EINVAL || err == -EXDEV || err == -ENOSYS || err == -EOPNOTSUPP ||
		err == -EPERM || err == -ETXTBSY || err == -EISDIR;
}

static size_t next_step(const struct copy *c, size_t most)
{
	return c->left >= 0 && (uint64_t)c->left < most ? (size_t)c->left : most;
}

static void count(struct copy *c, ssize_t n)
{
	c->done += n;
	if (c->left >= 0)
		c->left -= n;
}

/* ---- from a regular file --------------------------------------------------------------------- */

/* In call: buf is the copy. */
static ssize_t try_range(struct gort_file *to, struct call *call)
{
	const struct copy *c = call->buf;
	ssize_t n;

	do
		n = copy_file_range(c->from->poll.fd, NULL, to->poll.fd, NULL, call->n, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t try_sendfile(struct gort_file *to, struct call *call)
{
	const struct copy *c = call->buf;
	ssize_t n;

	do
		n = sendfile(to->poll.fd, c->from->poll.fd, NULL, call->n);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* What was written; 0: the end. */
static ssize_t step_inside(struct copy *c)
{
	struct call call = { .try = c->way == BY_RANGE ? try_range : try_sendfile,
			     .side = POLL_WRITE,
			     .why = WHY_WRITE,
			     .outside = true,
			     .sigpipe = true,
			     .buf = c,
			     .n = next_step(c, STEP) };
	ssize_t n = gort__file_call(c->to, &call, "gort_copy");

	if (n > 0)
		count(c, n);
	return n;
}

/* ---- through a pipe -------------------------------------------------------------------------- */

static ssize_t try_fill(struct gort_file *from, struct call *call)
{
	const struct copy *c = call->buf;
	ssize_t n;

	do
		n = splice(from->poll.fd, NULL, c->pipe[1], NULL, call->n,
			   SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
	while (n < 0 && errno == EINTR);
	from->dry = false;
	return n < 0 ? -errno : n;
}

static ssize_t try_drain(struct gort_file *to, struct call *call)
{
	const struct copy *c = call->buf;
	ssize_t n;

	do
		n = splice(c->pipe[0], NULL, to->poll.fd, NULL, call->n,
			   SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t write_buffer(struct copy *c, size_t n)
{
	ssize_t put = gort_write(c->to, c->buffer, n);

	if (put > 0)
		count(c, put);
	return put;
}

static int make_buffer(struct copy *c)
{
	if (!c->buffer)
		c->buffer = malloc(BUFFER);
	return c->buffer ? 0 : -ENOMEM;
}

/* n bytes that are in the pipe, which the kernel does not bring to to. */
static ssize_t drain_by_buffer(struct copy *c, size_t n)
{
	ssize_t got, err = make_buffer(c);

	c->way = BY_BUFFER;
	while (err >= 0 && n > 0) {
		got = read(c->pipe[0], c->buffer, n < BUFFER ? n : BUFFER);
		if (got <= 0)
			return got < 0 ? -errno : -EIO;
		err = write_buffer(c, (size_t)got);
		n -= (size_t)got;
	}
	return err;
}

static ssize_t drain(struct copy *c, size_t n)
{
	struct call call = {
		.try = try_drain, .side = POLL_WRITE, .why = WHY_WRITE, .sigpipe = true, .buf = c
	};
	ssize_t put = 1;

	for (; n > 0; n -= (size_t)put) {
		call.n = n;
		put = gort__file_call(c->to, &call, "gort_copy");
		if (put < 0)
			return is_refusal(put) ? drain_by_buffer(c, n) : put;
		if (put == 0)
			return -EIO;
		count(c, put);
	}
	return put;
}

static ssize_t step_by_pipe(struct copy *c)
{
	struct call call = { .try = try_fill,
			     .side = POLL_READ,
			     .why = WHY_READ,
			     .buf = c,
			     .n = next_step(c, PIPE_SIZE) };
	ssize_t got = gort__file_call(c->from, &call, "gort_copy");

	return got > 0 ? drain(c, (size_t)got) : got;
}

/* ---- through a buffer ------------------------------------------------------------------------ */

static ssize_t step_by_buffer(struct copy *c)
{
	ssize_t got = make_buffer(c);

	if (got == 0)
		got = gort_read(c->from, c->buffer, next_step(c, BUFFER));
	return got > 0 ? write_buffer(c, (size_t)got) : got;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static ssize_t step(struct copy *c)
{
	switch (c->way) {
	case BY_RANGE:
	case BY_SENDFILE:
		return step_inside(c);
	case BY_PIPE:
		return step_by_pipe(c);
	default:
		return step_by_buffer(c);
	}
}

/* A file of /proc has no size, and the kernel then copies nothing of it: so the first end is not
 * believed. */
static ssize_t copy(struct copy *c)
{
	ssize_t n = 1;

	while (n > 0 && c->left != 0) {
		n = step(c);
		if (c->way != BY_BUFFER && (is_refusal(n) || (n == 0 && c->done == 0))) {
			c->way = BY_BUFFER;
			n = 1;
		}
	}
	return n < 0 ? n : 0;
}

static void make_pipe(struct copy *c)
{
	if (c->way != BY_PIPE)
		return;
	if (pipe2(c->pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
		c->pipe[0] = c->pipe[1] = -1;
		c->way = BY_BUFFER;
		return;
	}
	(void)fcntl(c->pipe[1], F_SETPIPE_SZ, PIPE_SIZE); /* as large as we may */
}

GORT_API int gort_copy(gort_file *to, gort_file *from, int64_t limit, int64_t *done)
{
	struct copy c = { .to = to, .from = from, .left = limit, .pipe = { -1, -1 } };
	ssize_t err = gort__file_use(to, "gort_copy");

	if (err == 0) {
		err = gort__file_use(from, "gort_copy");
		if (err == 0) {
			c.way = way_for(to, from);
			make_pipe(&c);
			err = copy(&c);
			gort__file_unuse(from);
		}
		gort__file_unuse(to);
	}
	if (c.pipe[0] >= 0) {
		close(c.pipe[0]);
		close(c.pipe[1]);
	}
	free(c.buffer);
	if (done)
		*done = c.done;
	return (int)err;
}
