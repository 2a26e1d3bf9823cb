/*
 * load_echo.c - echo: on each connection a message, its whole echo, the next message.
 *
 * A closed loop: it asks no faster than is answered. The latency is from before a message is sent
 * until all of its echo has been read; one look at the clock ends a request and begins the next.
 */
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 256

struct conn {
	int fd;
	bool full; /* EPOLLOUT is watched, too */
	size_t sent, got;
	int64_t asked;
};

static int epoll;
static const struct load *load;
static char *message;
static struct latencies all;
static int64_t time_now; /* of the last answer */

static void watch(struct conn *c, int operation, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = c };

	expect_call(epoll_ctl(epoll, operation, c->fd, &e), "epoll_ctl");
}

/* As much of the message as the socket takes. */
static void push(struct conn *c)
{
	ssize_t n =
		send(c->fd, message + c->sent, load->size - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
	bool full;

	if (n < 0 && errno != EAGAIN)
		expect_call(-1, "send");
	c->sent += n < 0 ? 0 : (size_t)n;
	full = c->sent < load->size;
	if (full != c->full)
		watch(c, EPOLL_CTL_MOD, full ? EPOLLIN | EPOLLOUT : EPOLLIN);
	c->full = full;
}

static void ask(struct conn *c)
{
	c->sent = c->got = 0;
	c->asked = time_now;
	push(c);
}

static void pull(struct conn *c)
{
	static char echo[65536];
	ssize_t n = recv(c->fd, echo, sizeof echo, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	expect_call((int)n, "recv");
	expect(n > 0, "the server hung up");
	expect(c->got + (size_t)n <= c->sent && memcmp(echo, message + c->got, (size_t)n) == 0,
	       "the echo is not what was sent");
	c->got += (size_t)n;
	if (c->got < load->size)
		return;
	time_now = now();
	latency_add(&all, time_now - c->asked);
	ask(c);
}

static void run_until(int64_t end)
{
	struct epoll_event e[EVENTS];

	while (time_now < end) {
		int n = expect_call(epoll_wait(epoll, e, EVENTS, ANSWER_MS), "epoll_wait");

		expect(n > 0, "no answer");
		for (int i = 0; i < n; i++) {
			struct conn *c = e[i].data.ptr;

			if (c->full)
				push(c);
			if (e[i].events & ~(uint32_t)EPOLLOUT)
				pull(c);
		}
	}
}

static struct conn *connect_all(void)
{
	struct conn *conns = zeroed((size_t)load->connections, sizeof *conns);

	for (int i = 0; i < load->connections; i++) {
		conns[i].fd = dial(load, i);
		watch(&conns[i], EPOLL_CTL_ADD, EPOLLIN);
	}
	time_now = now();
	for (int i = 0; i < load->connections; i++)
		ask(&conns[i]);
	return conns;
}

void load_echo(const struct load *l)
{
	struct window w;
	struct conn *conns;

	load = l;
	message = zeroed(1, l->size);
	make_message(message, l->size);
	epoll = expect_call(epoll_create1(EPOLL_CLOEXEC), "epoll_create");
	conns = connect_all();
	run_until(time_now + l->warm_up);
	memset(&all, 0, sizeof all);
	w = window_begin(l);
	run_until(w.start + l->length);
	window_end(&w, l, all.count, false);
	latency_report(&all);
	free(conns);
	free(message);
}
