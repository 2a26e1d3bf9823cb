/*
 * load_idle.c - idle: connections that each had one message echoed, and then say nothing. How much
 * the server has grown by then, for each. What the kernel holds for them is not in it.
 */
#include "load.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define SETTLE_US 300000

/* Every connection has come as far as its second read, or is about to. */
static void echo_once(int fd, const char *message, size_t size)
{
	struct timeval limit = { .tv_sec = ANSWER_MS / 1000 };
	char echo[size];

	expect_call(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), "SO_RCVTIMEO");
	expect(send(fd, message, size, MSG_NOSIGNAL) == (ssize_t)size, "send");
	expect(recv(fd, echo, size, MSG_WAITALL) == (ssize_t)size, "no answer");
	expect(memcmp(echo, message, size) == 0, "the echo is not what was sent");
}

/* The first connection is the warm-up: what comes with it is not counted. */
void load_idle(const struct load *l)
{
	char message[l->size];
	double before = 0;

	make_message(message, l->size);
	for (int i = 0; i <= l->connections; i++) {
		echo_once(dial(l, i), message, l->size);
		if (i == 0) {
			usleep(SETTLE_US);
			before = server_rss(l->server);
		}
	}
	usleep(SETTLE_US);
	figure("rss", (server_rss(l->server) - before) / l->connections, "bytes");
}
