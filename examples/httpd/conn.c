/*
 * conn.c - a connection: its deadlines, reading and writing, and its requests, one after the other.
 */
#include "httpd.h"

#include <poll.h>
#include <string.h>
#include <sys/uio.h>

#define LINGER (2 * GORT_SEC)
#define LINGER_MOST (1 << 20)

/* A deadline that is nearly right already is left alone: for quick requests it need not be exact. */
static void renew(int64_t *until, int64_t timeout, gort_file *f, int (*set)(gort_file *, int64_t))
{
	int64_t now = gort_now();

	if (*until <= now + timeout && *until > now + timeout - timeout / 8)
		return;
	*until = now + timeout;
	set(f, *until);
}

void renew_write(struct conn *c)
{
	renew(&c->write_until, c->server->options->write, c->socket, gort_set_write_deadline);
}

int flush(struct conn *c)
{
	ssize_t n = 0;

	if (c->out_len) {
		renew_write(c);
		n = gort_write(c->socket, c->out, c->out_len);
		c->out_len = 0;
	}
	return n < 0 ? (int)n : 0;
}

/* The answers so far, with a hint that more follows at once. */
int flush_with_more(struct conn *c)
{
	struct iovec all = { c->out, c->out_len };
	struct msghdr m = { .msg_iov = &all, .msg_iovlen = 1 };
	ssize_t n;

	renew_write(c);
	n = gort_sendmsg(c->socket, &m, MSG_MORE);
	if (n >= 0 && (size_t)n < c->out_len)
		n = gort_write(c->socket, c->out + n, c->out_len - (size_t)n);
	c->out_len = 0;
	return n < 0 ? (int)n : 0;
}

/* The server stops, and nobody may be idle any more; but what has come already is answered. */
static ssize_t read_last(struct conn *c)
{
	if (gort_wait_fd(gort_file_fd(c->socket), POLLIN, GORT_NOW) <= 0)
		return -ECANCELED;
	return gort_read(c->socket, c->in + c->end, HEAD_MOST - c->end);
}

/* The first bytes of a request: for as long as a client may be idle, and until the server stops. */
static ssize_t read_first(struct conn *c)
{
	const struct options *o = c->server->options;
	gort_ctx *before = gort_ctx_enter(c->server->stop);
	ssize_t n;

	renew(&c->read_until, c->first ? o->request : o->idle, c->socket, gort_set_read_deadline);
	n = gort_read(c->socket, c->in + c->end, HEAD_MOST - c->end);
	gort_ctx_leave(before);
	return n == -ECANCELED ? read_last(c) : n;
}

/* What there is, up to a place in in. *timed: the time for the request runs. */
int read_some(struct conn *c, size_t limit, bool *timed)
{
	ssize_t n = flush(c);

	if (n < 0)
		return (int)n;
	if (c->end == c->start && !c->request.head_done) {
		n = read_first(c);
	} else {
		if (!*timed) {
			c->read_until = gort_in(c->server->options->request);
			gort_set_read_deadline(c->socket, c->read_until);
			*timed = true;
		}
		n = gort_read(c->socket, c->in + c->end, limit - c->end);
		if (n == -ETIMEDOUT)
			return 408;
	}
	c->end += n > 0 ? (size_t)n : 0;
	return n > 0 ? 0 : n == 0 ? -EPIPE : (int)n;
}

/* So that closing does not reset the connection before the client has read the answer. */
static void linger(struct conn *c)
{
	ssize_t n = gort_shutdown(c->socket, SHUT_WR);
	size_t all = 0;

	gort_set_read_deadline(c->socket, gort_in(LINGER));
	while (n >= 0 && all < LINGER_MOST) {
		n = gort_read(c->socket, c->in, sizeof c->in);
		if (n == 0)
			break;
		all += n > 0 ? (size_t)n : 0;
	}
}

void conn_begin(struct conn *c, struct server *s, gort_file *socket)
{
	c->server = s;
	c->socket = socket;
	c->read_until = c->write_until = GORT_FOREVER;
	c->date_of = 0;
	format_date(c->date, 0);
	c->first = true;
	c->linger = false;
	c->start = c->end = c->body = c->out_len = 0;
	if (s->log && gort_peer_address(socket, c->peer, sizeof c->peer) < 0)
		strcpy(c->peer, "-");
}

static int answer_requests(struct conn *c)
{
	int rc;

	do {
		rc = read_request(c);
		if (rc > 0) {
			c->request.keep = false;
			c->linger = true;
			rc = answer_status(c, (struct answer){ .status = rc });
		} else if (rc == 0) {
			rc = answer(c);
		}
		c->start = c->body;
		c->first = false;
		if (c->start == c->end)
			c->start = c->end = c->body = 0;
	} while (rc == 0 && c->request.keep);
	return rc < 0 ? rc : flush(c);
}

void conn_serve(struct conn *c)
{
	if (answer_requests(c) == 0 && (c->linger || c->end > c->start))
		linger(c);
	gort_close(c->socket);
}
