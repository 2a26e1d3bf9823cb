/*
 * net_loss.c - a network that delays and loses packets (wire.h): what TCP makes good shows as waits, and
 * as nothing else. All bytes come, once and in order, also to who gives up reading again and again.
 */
#include "io.h"
#include "wire.h"

#define DELAY (10 * GORT_MS) /* one way */
#define LOSS 50              /* of 1000 packets */
#define LESS 30              /* where 1 of 100 connections must not need a minute */

static gort_waitgroup group;
static char there[64]; /* of the listener, beyond the wire */

static void wait_for_group(void)
{
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
}

static gort_file *dial_there(void)
{
	gort_file *f;

	CHECK_EQ(gort_dial(&f, "tcp", there), 0);
	return f;
}

/* ---- servers */

/* Inside the kernel. */
static void echo_by_copy(void *arg)
{
	int64_t done;

	CHECK_EQ(gort_copy(arg, arg, -1, &done), 0);
	CHECK_EQ(gort_shutdown(arg, SHUT_WR), 0);
	CHECK_EQ(gort_close(arg), 0);
}

static void echo_by_read(void *arg)
{
	char buf[5000];
	ssize_t n;

	while ((n = gort_read(arg, buf, sizeof buf)) > 0)
		CHECK_EQ(gort_write(arg, buf, (size_t)n), n);
	CHECK_EQ(n, 0);
	CHECK_EQ(gort_shutdown(arg, SHUT_WR), 0);
	CHECK_EQ(gort_close(arg), 0);
}

static void serve(void *arg)
{
	gort_file *f;
	int err;

	for (int i = 0; (err = gort_accept(arg, &f)) == 0; i++)
		CHECK_EQ(gort_waitgroup_go(&group, i % 2 ? echo_by_copy : echo_by_read, f), 0);
	CHECK_EQ(err, -EBADF);
}

static gort_file *start_server(void)
{
	gort_file *l = listen_at("tcp", ":0");
	char at[64];

	CHECK(gort_local_address(l, at, sizeof at) > 0);
	snprintf(there, sizeof there, "[" FAR6 "]%s", strrchr(at, ':'));
	CHECK_EQ(gort_waitgroup_go(&group, serve, l), 0);
	return l;
}

static void run_with_loss(int (*fn)(void *), int loss)
{
	wire_start(V6);
	for (int i = 0; i < FAMILIES; i++)
		wire_set_delay(i, DELAY);
	wire_set_loss(loss);
	CHECK_EQ(gort_run(fn, NULL, NULL), 0);
	CHECK(atomic_load(&wire.lost) > 0);
	wire_stop();
}

/* ---- transfers */

#define STREAMS 8
#define LENGTH SCALE(512 << 10)

static atomic_int late;

static void send_pattern(void *arg)
{
	unsigned char *all = malloc(LENGTH);

	fill_pattern(all, LENGTH, (int64_t)(uintptr_t)arg);
	CHECK_EQ(gort_write(arg, all, LENGTH), LENGTH);
	CHECK_EQ(gort_shutdown(arg, SHUT_WR), 0); /* the other direction goes on */
	free(all);
}

/* By many short deadlines, each of which may pass with bytes on their way. */
static void receive_pattern(gort_file *f, int64_t patience)
{
	unsigned char buf[4096];
	int64_t at = 0;
	ssize_t n;

	do {
		if (patience)
			gort_set_read_deadline(f, gort_in(patience));
		n = gort_read(f, buf, sizeof buf);
		if (n == -ETIMEDOUT)
			atomic_fetch_add(&late, 1);
		else if (n > 0)
			check_pattern(buf, (size_t)n, (int64_t)(uintptr_t)f + at);
		at += n > 0 ? n : 0;
	} while (n > 0 || (n == -ETIMEDOUT && patience));
	CHECK_EQ(n, 0);
	CHECK_EQ(at, LENGTH);
}

static void exchange(void *arg)
{
	gort_file *f = dial_there();

	CHECK_EQ(gort_waitgroup_go(&group, send_pattern, f), 0);
	receive_pattern(f, (int64_t)(uintptr_t)arg);
	CHECK_EQ(gort_close(f), 0);
}

static int exchange_all(void *patience)
{
	gort_file *l = start_server();
	gort_waitgroup clients = { 0 };

	for (int i = 0; i < STREAMS; i++)
		CHECK_EQ(gort_waitgroup_go(&clients, exchange, patience), 0);
	CHECK_EQ(gort_waitgroup_wait(&clients), 0);
	CHECK_EQ(gort_close(l), 0);
	wait_for_group();
	return 0;
}

static int exchange_patiently(void *arg)
{
	(void)arg;
	return exchange_all(NULL);
}

TEST_PLAIN(streams_come_whole)
{
	run_with_loss(exchange_patiently, LOSS);
}

static int exchange_hastily(void *arg)
{
	(void)arg;
	exchange_all((void *)(uintptr_t)(2 * GORT_MS));
	CHECK(atomic_load(&late) > 0);
	return 0;
}

// variants: maxprocs
TEST_PLAIN(deadlines_of_readers_lose_nothing)
{
	run_with_loss(exchange_hastily, LOSS);
}

/* ---- a copy that gives up */

/* What has been read is written, and counted: the next goes on behind it. */
static void copy_hastily(void *arg)
{
	gort_file **p = arg;
	int64_t all = 0, done;
	int err;

	do {
		gort_set_read_deadline(p[0], gort_in(2 * GORT_MS));
		err = gort_copy(p[1], p[0], -1, &done);
		all += done;
		atomic_fetch_add(&late, err == -ETIMEDOUT);
	} while (err == -ETIMEDOUT);
	CHECK_EQ(err, 0);
	CHECK_EQ(all, LENGTH);
	CHECK_EQ(gort_close(p[1]), 0);
}

static void receive_at(gort_file *f, int64_t from)
{
	unsigned char buf[4096];
	int64_t at = 0;
	ssize_t n;

	while ((n = gort_read(f, buf, sizeof buf)) > 0) {
		check_pattern(buf, (size_t)n, from + at);
		at += n;
	}
	CHECK_EQ(n, 0);
	CHECK_EQ(at, LENGTH);
}

static int pass_on_hastily(void *arg)
{
	gort_file *l = start_server(), *pipe[2], *p[2];

	(void)arg;
	p[0] = dial_there();
	pipe_pair(pipe);
	p[1] = pipe[1];
	CHECK_EQ(gort_waitgroup_go(&group, send_pattern, p[0]), 0);
	CHECK_EQ(gort_waitgroup_go(&group, copy_hastily, p), 0);
	receive_at(pipe[0], (int64_t)(uintptr_t)p[0]);
	CHECK_EQ(gort_close(l), 0);
	wait_for_group();
	CHECK_EQ(gort_close(p[0]), 0);
	CHECK_EQ(gort_close(pipe[0]), 0);
	CHECK(atomic_load(&late) > 0);
	return 0;
}

// variants: maxprocs
TEST_PLAIN(copies_that_give_up_lose_nothing)
{
	run_with_loss(pass_on_hastily, LOSS);
}

/* ---- many */

#define MANY SCALE(100)

static atomic_int connected;

static void dial_and_talk(void *arg)
{
	char text[32], got[32];
	gort_file *f = dial_there();
	int n = snprintf(text, sizeof text, "%p", (void *)f);

	(void)arg;
	atomic_fetch_add(&connected, 1);
	EVENTUALLY(atomic_load(&connected) == MANY);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(gort_write(f, text, (size_t)n), n);
		CHECK_EQ(gort_read_full(f, got, (size_t)n), n);
		CHECK(memcmp(got, text, (size_t)n) == 0);
	}
	CHECK_EQ(gort_close(f), 0);
}

static int dial_many(void *arg)
{
	gort_file *l = start_server();
	gort_waitgroup dialers = { 0 };

	(void)arg;
	for (int i = 0; i < MANY; i++)
		CHECK_EQ(gort_waitgroup_go(&dialers, dial_and_talk, NULL), 0);
	CHECK_EQ(gort_waitgroup_wait(&dialers), 0);
	CHECK_EQ(gort_close(l), 0);
	wait_for_group();
	return 0;
}

// variants: maxprocs
TEST_PLAIN(many_connections_at_once)
{
	run_with_loss(dial_many, LESS);
}
