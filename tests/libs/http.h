/*
 * http.h - a small HTTP/1.1 server of goroutines, for clients in the same process.
 *
 *     GET /N       body_size(N) bytes, body_byte(N, i) each
 *     GET /never   no answer, until the client goes
 *
 * It can hold all answers back until so many requests have come: then so many clients were at it
 * at once.
 */
#ifndef GORT_TESTS_LIBS_HTTP_H
#define GORT_TESTS_LIBS_HTTP_H

#include "harness.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct http {
	gort_file *listener;
	char address[64];
	int hold;            /* requests to wait for */
	atomic_int requests; /* that have come */
	gort_chan *open;     /* closed once all have */
	gort_waitgroup ended;
};

struct http_conn {
	struct http *server;
	gort_file *file;
};

static inline size_t body_size(int n)
{
	return 1 + (size_t)n * 7919 % 30000;
}

static inline char body_byte(int n, size_t at)
{
	return (char)('a' + ((size_t)n * 31 + at * 7 + at / 1000) % 26);
}

/* The head of the next request; false: the client has gone. */
static inline bool http_request(gort_file *f, char *head, size_t size)
{
	size_t n = 0;

	do {
		ssize_t got = gort_read(f, head + n, size - 1 - n);

		if (got <= 0)
			return false;
		n += (size_t)got;
		head[n] = '\0';
	} while (!strstr(head, "\r\n\r\n"));
	return true;
}

static inline bool http_answer(gort_file *f, int n)
{
	size_t size = body_size(n), head;
	char *all = malloc(size + 100);
	bool gone;

	CHECK(all != NULL);
	head = (size_t)sprintf(all, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", size);
	for (size_t i = 0; i < size; i++)
		all[head + i] = body_byte(n, i);
	gone = gort_write(f, all, head + size) < 0;
	free(all);
	return !gone;
}

static inline void http_converse(void *arg)
{
	struct http_conn c = *(struct http_conn *)arg;
	char head[2048];

	while (http_request(c.file, head, sizeof head)) {
		if (atomic_fetch_add(&c.server->requests, 1) + 1 == c.server->hold)
			CHECK_EQ(gort_chan_close(c.server->open), 0);
		if (strncmp(head, "GET /never ", 11) == 0)
			continue;
		CHECK_EQ(strncmp(head, "GET /", 5), 0);
		CHECK_EQ(gort_chan_recv(c.server->open, NULL), -EPIPE);
		if (!http_answer(c.file, atoi(head + 5)))
			break;
	}
	CHECK_EQ(gort_close(c.file), 0);
	gort_waitgroup_done(&c.server->ended);
}

static inline void http_accept(void *arg)
{
	struct http *s = arg;
	struct http_conn c = { .server = s };
	int err;

	while ((err = gort_accept(s->listener, &c.file)) == 0) {
		gort_waitgroup_add(&s->ended, 1);
		CHECK_EQ(gort_go_copy(http_converse, &c, sizeof c), 0);
	}
	CHECK_EQ(err, -EBADF);
	CHECK_EQ(gort_close(s->listener), -EBADF);
}

static inline void http_start(struct http *s, int hold)
{
	*s = (struct http){ .hold = hold };
	CHECK((s->open = gort_chan_make(0, 0)) != NULL);
	if (!hold)
		CHECK_EQ(gort_chan_close(s->open), 0);
	CHECK_EQ(gort_listen(&s->listener, "tcp", "127.0.0.1:0", NULL), 0);
	CHECK(gort_local_address(s->listener, s->address, sizeof s->address) > 0);
	gort_file_retain(s->listener);
	CHECK_EQ(gort_waitgroup_go(&s->ended, http_accept, s), 0);
}

/* When its clients have closed their connections, or will. */
static inline void http_stop(struct http *s)
{
	CHECK_EQ(gort_close(s->listener), 0);
	CHECK_EQ(gort_waitgroup_wait(&s->ended), 0);
	gort_chan_release(s->open);
}

#endif
