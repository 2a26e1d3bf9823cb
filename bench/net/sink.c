/*
 * sink.c - the server behind a proxy: drops what comes, and never answers. The kernel drops it
 * (MSG_TRUNC): so the sink takes little of the processors, which it shares with the proxy.
 */
#include "load.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 256
#define DROP (1 << 20) /* bytes at a time */

static int epoll;

static void watch(int fd)
{
	struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };

	expect_call(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e), "epoll_ctl");
}

static void greet(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd >= 0)
		watch(fd);
	else if (errno != EAGAIN && errno != ECONNABORTED)
		expect_call(fd, "accept");
}

static void drop(int fd)
{
	ssize_t n = recv(fd, NULL, DROP, MSG_TRUNC);

	if (n == 0 || (n < 0 && errno != EAGAIN))
		close(fd);
}

_Noreturn void serve_sink(void)
{
	struct epoll_event e[EVENTS];
	int listener = listen_and_tell();

	epoll = expect_call(epoll_create1(EPOLL_CLOEXEC), "epoll_create");
	watch(listener);
	for (;;) {
		int n = expect_call(epoll_wait(epoll, e, EVENTS, -1), "epoll_wait");

		for (int i = 0; i < n; i++) {
			if (e[i].data.fd == listener)
				greet(listener);
			else
				drop(e[i].data.fd);
		}
	}
}
