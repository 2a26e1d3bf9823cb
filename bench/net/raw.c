/*
 * raw.c - the echo server that the others are measured by: one thread, epoll, no library.
 *
 *	echo_raw [BUFFER]
 *
 * The honest simple one: level-triggered, for each event one read and one write. What a write does
 * not take is kept, and nothing more is read from that peer until it has. Each call is needed by
 * any server that waits with epoll, so what another takes more than this one is its own.
 */
#include "net.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 256

struct conn {
	int fd;
	size_t length; /* of kept; 0: EPOLLIN is watched, else EPOLLOUT */
	char *kept;
};

static int epoll;
static char *buffer;
static size_t buffer_size;

static void watch(int operation, uint32_t events, int fd, struct conn *c)
{
	struct epoll_event e = { .events = events, .data.ptr = c };

	expect_call(epoll_ctl(epoll, operation, fd, &e), "epoll_ctl");
}

static void hang_up(struct conn *c)
{
	close(c->fd);
	free(c->kept);
	free(c);
}

static void keep(struct conn *c, const char *rest, size_t n)
{
	c->kept = malloc(n);
	expect(c->kept != NULL, "memory");
	memcpy(c->kept, rest, n);
	c->length = n;
	watch(EPOLL_CTL_MOD, EPOLLOUT, c->fd, c);
}

static void readable(struct conn *c)
{
	ssize_t n = read(c->fd, buffer, buffer_size), written;

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		hang_up(c);
		return;
	}
	written = write(c->fd, buffer, (size_t)n);
	if (written == n)
		return;
	if (written >= 0 || errno == EAGAIN) {
		written = written < 0 ? 0 : written;
		keep(c, buffer + written, (size_t)(n - written));
	} else {
		hang_up(c);
	}
}

static void writable(struct conn *c)
{
	ssize_t n = write(c->fd, c->kept, c->length);

	if (n < 0) {
		if (errno != EAGAIN)
			hang_up(c);
		return;
	}
	c->length -= (size_t)n;
	memmove(c->kept, c->kept + n, c->length);
	if (c->length > 0)
		return;
	free(c->kept);
	c->kept = NULL;
	watch(EPOLL_CTL_MOD, EPOLLIN, c->fd, c);
}

static void greet(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
	struct conn *c;

	if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED))
		return;
	expect_call(fd, "accept");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	c = zeroed(1, sizeof *c);
	c->fd = fd;
	watch(EPOLL_CTL_ADD, EPOLLIN, fd, c);
}

static _Noreturn void serve(int listener)
{
	struct epoll_event e[EVENTS];

	for (;;) {
		int n = expect_call(epoll_wait(epoll, e, EVENTS, -1), "epoll_wait");

		for (int i = 0; i < n; i++) {
			struct conn *c = e[i].data.ptr;

			if (!c)
				greet(listener);
			else if (c->length > 0)
				writable(c);
			else
				readable(c);
		}
	}
}

int main(int argc, char **argv)
{
	int listener;

	program_name = "echo_raw";
	buffer_size = (size_t)parse_number(argc > 1 ? argv[1] : "4096", 1, 1 << 20);
	buffer = zeroed(1, buffer_size);
	raise_files(SERVER_FILES);
	signal(SIGPIPE, SIG_IGN);
	epoll = expect_call(epoll_create1(EPOLL_CLOEXEC), "epoll_create");
	listener = listen_and_tell();
	watch(EPOLL_CTL_ADD, EPOLLIN, listener, NULL);
	serve(listener);
}
