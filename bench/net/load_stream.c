/*
 * load_stream.c - stream: on each connection as much as it takes, in writes of one size, through a
 * proxy to a sink. What counts is what the connections took: what lies between is a few MB, as much
 * at the window's start as at its end.
 */
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define EVENTS 256

static int epoll;
static char *message;
static uint64_t taken; /* bytes */

/* One write for each connection that has room: all are served alike. */
static void push(int fd, size_t size)
{
	ssize_t n = send(fd, message, size, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	expect_call((int)n, "send");
	taken += (uint64_t)n;
}

static void run_until(const struct load *l, int64_t end)
{
	struct epoll_event e[EVENTS];

	while (now() < end) {
		int n = expect_call(epoll_wait(epoll, e, EVENTS, ANSWER_MS), "epoll_wait");

		expect(n > 0, "nothing is taken any more");
		for (int i = 0; i < n; i++)
			push(e[i].data.fd, l->size);
	}
}

void load_stream(const struct load *l)
{
	struct window w;

	message = zeroed(1, l->size);
	make_message(message, l->size);
	epoll = expect_call(epoll_create1(EPOLL_CLOEXEC), "epoll_create");
	for (int i = 0; i < l->connections; i++) {
		int fd = dial(l, i);
		struct epoll_event e = { .events = EPOLLOUT, .data.fd = fd };

		expect_call(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e), "epoll_ctl");
	}
	run_until(l, now() + l->warm_up);
	taken = 0;
	w = window_begin(l);
	run_until(l, w.start + l->length);
	window_end_bytes(&w, l, taken);
	free(message);
}
