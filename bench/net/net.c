/*
 * net.c - failures, numbers, limits: see net.h.
 */
#include "net.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

const char *program_name = "bench/net";

/* _Exit: echo_gort has other threads. */
void fail(const char *what)
{
	fprintf(stderr, "%s: failed: %s\n", program_name, what);
	_Exit(EXIT_FAILURE);
}

void expect(bool right, const char *what)
{
	if (!right)
		fail(what);
}

int expect_call(int result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s: %s\n", program_name, what, strerror(errno));
		_Exit(EXIT_FAILURE);
	}
	return result;
}

void *zeroed(size_t n, size_t size)
{
	void *p = calloc(n, size);

	expect(p != NULL, "memory");
	return p;
}

long parse_number(const char *text, long least, long most)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (end == text || *end != '\0' || n < least || n > most) {
		fprintf(stderr, "%s: not a number from %ld to %ld: '%s'\n", program_name, least,
			most, text);
		_Exit(2);
	}
	return n;
}

void raise_files(size_t n)
{
	struct rlimit l;

	expect_call(getrlimit(RLIMIT_NOFILE, &l), "getrlimit");
	if (l.rlim_cur >= n)
		return;
	l.rlim_cur = n;
	if (l.rlim_max < n)
		l.rlim_max = n;
	expect_call(setrlimit(RLIMIT_NOFILE, &l), "to raise the limit of descriptors");
}

void tell_port(int port)
{
	printf("%d\n", port);
	fflush(stdout);
}

int listen_and_tell(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t length = sizeof a;

	expect_call(fd, "socket");
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	expect_call(bind(fd, (struct sockaddr *)&a, length), "bind");
	expect_call(listen(fd, 65535), "listen");
	expect_call(getsockname(fd, (struct sockaddr *)&a, &length), "getsockname");
	tell_port(ntohs(a.sin_port));
	return fd;
}
