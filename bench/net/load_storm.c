/*
 * load_storm.c - storm: connections that come and go, some at a time. Each is opened, sends its end
 * of stream at once, and has the server's to wait for; so the server has accepted, read and closed
 * it, and none piles up in the backlog.
 */
#include "load.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 256

static int epoll;
static uint64_t opened, closed;

static void open_one(const struct load *l)
{
	int fd = dial(l, (int)(opened++ % 1000000));
	struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };

	expect_call(shutdown(fd, SHUT_WR), "shutdown");
	expect_call(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e), "epoll_ctl");
}

static void close_one(int fd)
{
	char byte;

	expect(recv(fd, &byte, 1, MSG_DONTWAIT) == 0, "the server's end of stream");
	close(fd);
	closed++;
}

static void run_until(const struct load *l, int64_t end)
{
	struct epoll_event e[EVENTS];

	while (now() < end) {
		int n = expect_call(epoll_wait(epoll, e, EVENTS, ANSWER_MS), "epoll_wait");

		expect(n > 0, "no answer");
		for (int i = 0; i < n; i++) {
			close_one(e[i].data.fd);
			open_one(l);
		}
	}
}

void load_storm(const struct load *l)
{
	struct window w;

	epoll = expect_call(epoll_create1(EPOLL_CLOEXEC), "epoll_create");
	for (int i = 0; i < l->connections; i++)
		open_one(l);
	run_until(l, now() + l->warm_up);
	closed = 0;
	w = window_begin(l);
	run_until(l, w.start + l->length);
	window_end(&w, l, closed, true);
}
