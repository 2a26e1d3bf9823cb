/*
 * echo_gort.c - the echo server in gort: a goroutine for each connection, with its buffer on its
 * stack. bench/go/echo is its twin.
 *
 *	echo_gort [512 | 4096]          the buffer's size; GORT_MAXPROCS as ever
 */
#include "net.h"

#include <gort.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void echo(gort_file *f, char *buffer, size_t size)
{
	ssize_t n;

	while ((n = gort_read(f, buffer, size)) > 0 && gort_write(f, buffer, (size_t)n) == n)
		continue;
	gort_close(f);
}

static void serve_small(void *f)
{
	char buffer[512];

	echo(f, buffer, sizeof buffer);
}

static void serve_large(void *f)
{
	char buffer[4096];

	echo(f, buffer, sizeof buffer);
}

static void expect_ok(int err, const char *what)
{
	if (err < 0) {
		fprintf(stderr, "echo_gort: %s: %s\n", what, strerror(-err));
		_Exit(EXIT_FAILURE);
	}
}

static gort_file *listen_anywhere(void)
{
	char address[64], *colon;
	gort_file *listener;

	expect_ok(gort_listen(&listener, "tcp", "127.0.0.1:0", NULL), "gort_listen");
	expect_ok(gort_local_address(listener, address, sizeof address), "gort_local_address");
	colon = strrchr(address, ':');
	expect(colon != NULL, "an address with a port");
	tell_port((int)parse_number(colon + 1, 1, 65535));
	return listener;
}

GORT_MAIN(argc, argv)
{
	gort_func serve = argc > 1 && strcmp(argv[1], "512") == 0 ? serve_small : serve_large;
	gort_file *listener, *f;
	int err;

	program_name = "echo_gort";
	raise_files(SERVER_FILES);
	listener = listen_anywhere();
	while ((err = gort_accept(listener, &f)) == 0)
		expect_ok(gort_go(serve, f), "gort_go");
	expect_ok(err, "gort_accept");
	return 0;
}
