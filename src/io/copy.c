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

/* S_IFREG, S_IFIFO, S_IFSOCK of a stream; 0: the kernel is of no help. */
static mode_t mode_of(const struct gort_file *f)
{
	struct stat st;

	if (f->kind == FILE_SOCKET)
		return gort__file_socket_type(f) == SOCK_STREAM ? S_IFSOCK : 0;
	if (f->kind == FILE_SHARED || fstat(f->poll.fd, &st) < 0)
		return 0;
	return S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode) ? st.st_mode & S_IFMT : 0;
}

/* The kernel does not append. (To what is no regular file it says so: a refusal.) */
static bool appends(const struct gort_file *f)
{
	int flags = fcntl(f->poll.fd, F_GETFL);

	return flags >= 0 && flags & O_APPEND;
}

/* 0, or why nothing is to be done. Two files may be the two ends of one thing, or the same: the kernel
 * judges. */
static int choose_way(struct copy *c)
{
	int err = gort__file_use(c->to, "gort_copy");
	mode_t to, from = 0;

	if (err < 0)
		return err;
	to = mode_of(c->to);
	if (to == S_IFREG && appends(c->to))
		to = 0;
	gort__file_unuse(c->to);
	err = gort__file_use(c->from, "gort_copy");
	if (err < 0)
		return err;
	from = mode_of(c->from);
	gort__file_unuse(c->from);
	c->way = !to || !from     ? BY_BUFFER
		: from != S_IFREG ? BY_PIPE
		: to == S_IFREG   ? BY_RANGE
				  : BY_SENDFILE;
	return gort__file_may_begin();
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

/* The goroutine is through with it, or will never run again. In gort. */
static void drop(void *copy)
{
	struct copy *c = copy;

	if (c->pipe[0] >= 0) {
		os_fd_close(c->pipe[0]);
		os_fd_close(c->pipe[1]);
	}
	if (c->buffer)
		mem_free(NULL, c->buffer, BUFFER);
}

/* ---- from a regular file --------------------------------------------------------------------- */

/* In call: buf is the copy. Has to's turn, in user code. */
static ssize_t try_inside(struct gort_file *to, struct call *call)
{
	const struct copy *c = call->buf;
	ssize_t n = gort__file_use(c->from, "gort_copy");
	int out = to->poll.fd, in = c->from->poll.fd;

	if (n < 0)
		return n;
	n = RESULT_OF(c->way == BY_RANGE ? copy_file_range(in, NULL, out, NULL, call->n, 0)
					 : sendfile(out, in, NULL, call->n));
	gort__file_unuse(c->from);
	return n;
}

/* What was written; 0: the end. */
static ssize_t step_inside(struct copy *c)
{
	struct call call = { .try = try_inside,
			     .side = POLL_WRITE,
			     .why = WHY_WRITE,
			     .outside = true,
			     .sigpipe = true,
			     .drop = drop,
			     .of = c,
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

	from->dry = false;
	return RESULT_OF(splice(from->poll.fd, NULL, c->pipe[1], NULL, call->n,
				SPLICE_F_NONBLOCK | SPLICE_F_MOVE));
}

static ssize_t try_drain(struct gort_file *to, struct call *call)
{
	const struct copy *c = call->buf;

	return RESULT_OF(splice(c->pipe[0], NULL, to->poll.fd, NULL, call->n,
				SPLICE_F_NONBLOCK | SPLICE_F_MOVE));
}

static ssize_t write_buffer(struct copy *c, size_t n)
{
	size_t put;
	struct call call = gort__call_to_write(c->buffer, n);
	ssize_t err;

	call.drop = drop;
	call.of = c;
	err = gort__write_counted(c->to, &call, &put);

	count(c, (ssize_t)put);
	return err;
}

static int make_buffer(struct copy *c)
{
	struct m *m;

	if (c->buffer)
		return 0;
	m = rt_enter_midway();
	if (m_stops(m))
		drop(c);
	else
		c->buffer = mem_alloc(cache_of(m), BUFFER);
	rt_leave_midway(m);
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
	struct call call = { .try = try_drain,
			     .side = POLL_WRITE,
			     .why = WHY_WRITE,
			     .sigpipe = true,
			     .drop = drop,
			     .of = c,
			     .buf = c };
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
			     .drop = drop,
			     .of = c,
			     .buf = c,
			     .n = next_step(c, PIPE_SIZE) };
	ssize_t got = gort__file_call(c->from, &call, "gort_copy");

	return got > 0 ? drain(c, (size_t)got) : got;
}

/* ---- through a buffer ------------------------------------------------------------------------ */

static ssize_t step_by_buffer(struct copy *c)
{
	ssize_t got = make_buffer(c);
	struct call call;

	if (got < 0)
		return got;
	call = gort__call_to_read(c->buffer, next_step(c, BUFFER));
	call.drop = drop;
	call.of = c;
	got = gort__file_call(c->from, &call, "gort_copy");
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
	ssize_t err = choose_way(&c);
	struct m *m;

	if (err == 0) {
		make_pipe(&c);
		err = copy(&c);
	}
	m = rt_enter_midway();
	drop(&c);
	rt_leave_midway(m);
	if (done)
		*done = c.done;
	return (int)err;
}
