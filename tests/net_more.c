/*
 * net_more.c - sockets, further: many who accept, listeners that are taken over, dialling that is
 * cancelled just as it succeeds, senders without names, deadlines that are put off again and again, or
 * pass while there is always more, writes of more than 2 GiB. Go's tests of package net that mean the
 * same are named.
 */
#include "io.h"

#include <stdatomic.h>
#include <sys/mman.h>

static gort_waitgroup group;

static void wait_for_group(void)
{
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
}

/* ---- many who accept ----------------------------------------------------------------------------- */

#define ACCEPTORS 10

static atomic_int served;

/* Each connection goes to one of them. */
static void accept_and_answer(void *arg)
{
	gort_file *f;
	char byte;
	int err;

	while ((err = gort_accept(arg, &f)) == 0) {
		CHECK_EQ(gort_read(f, &byte, 1), 1);
		CHECK_EQ(gort_write(f, &byte, 1), 1);
		CHECK_EQ(gort_read(f, &byte, 1), 0);
		CHECK_EQ(gort_close(f), 0);
		atomic_fetch_add(&served, 1);
	}
	CHECK_EQ(err, -EBADF);
}

/* TestTCPConcurrentAccept. */
// variants: maxprocs
TEST(many_accept_at_once)
{
	gort_file *l = listen_at("tcp", "127.0.0.1:0");
	char byte = 'x';

	for (int i = 0; i < ACCEPTORS; i++)
		CHECK_EQ(gort_waitgroup_go(&group, accept_and_answer, l), 0);
	EVENTUALLY(gate_length(l, POLL_READ) == ACCEPTORS - 1);
	for (int i = 0; i < 10 * ACCEPTORS; i++) {
		gort_file *f = dial_to("tcp", l);

		CHECK_EQ(gort_write(f, &byte, 1), 1);
		CHECK_EQ(gort_read(f, &byte, 1), 1);
		CHECK_EQ(gort_close(f), 0);
	}
	EVENTUALLY(atomic_load(&served) == 10 * ACCEPTORS);
	CHECK_EQ(gort_close(l), 0);
	wait_for_group();
}

/* ---- what is taken over ------------------------------------------------------------------------------ */

static gort_file *copy_of(gort_file *f)
{
	int fd = fcntl(gort_file_fd(f), F_DUPFD_CLOEXEC, 0);
	gort_file *copy;

	CHECK(fd >= 0);
	CHECK_EQ(gort_file_from_fd(&copy, fd), 0);
	return copy;
}

static void check_pair(gort_file *p[2])
{
	char buf[8];

	for (int i = 0; i < 2; i++) {
		CHECK_EQ(gort_write(p[i], "hello", 5), 5);
		CHECK_EQ(gort_read_full(p[!i], buf, 5), 5);
	}
}

static void accept_late(void *arg)
{
	gort_file *f;

	CHECK_EQ(gort_accept(arg, &f), -EBADF);
}

/* TestFileListener, TestFileConn, TestTCPListenAfterClose: each copy is a file of its own. */
static void check_copies(const char *network, const char *address)
{
	gort_file *l = listen_at(network, address), *copy = copy_of(l), *p[2], *ends[2];

	CHECK_EQ(gort_waitgroup_go(&group, accept_late, l), 0);
	EVENTUALLY(waits_at(l, POLL_READ));
	CHECK_EQ(gort_close(l), 0); /* ends who waits at it, and not the listening */
	wait_for_group();
	p[0] = dial_to(network, copy);
	p[1] = accepted(copy);
	check_pair(p);
	CHECK_EQ(gort_set_read_deadline(copy, gort_in(GORT_MS)), 0);
	CHECK_EQ(gort_accept(copy, &l), -ETIMEDOUT);
	CHECK_EQ(gort_close(copy), 0);
	ends[0] = copy_of(p[0]);
	ends[1] = copy_of(p[1]);
	close_both(p); /* no end yet: there are copies */
	check_pair(ends);
	CHECK_EQ(gort_close(ends[0]), 0);
	CHECK_EQ(gort_read(ends[1], &(char){ 0 }, 1), 0);
	CHECK_EQ(gort_close(ends[1]), 0);
}

// variants: maxprocs
TEST(listeners_and_connections_that_are_taken_over)
{
	check_copies("tcp", "127.0.0.1:0");
	check_copies("unix", local_name("copies"));
	check_copies("unixpacket", local_name("copies"));
}

/* ---- cancelled as it succeeds ---------------------------------------------------------------------------- */

static atomic_int dialled, cancelled;

static void dial_cancelled(void *arg)
{
	gort_file here, *f = &here;
	char at[64];
	int err;

	CHECK(gort_local_address(arg, at, sizeof at) > 0);
	err = gort_dial(&f, "tcp", at);
	if (err == 0) {
		atomic_fetch_add(&dialled, 1);
		CHECK_EQ(gort_close(f), 0);
	} else {
		CHECK_EQ(err, -ECANCELED);
		CHECK(f == &here);
		atomic_fetch_add(&cancelled, 1);
	}
}

static void accept_and_close(void *arg)
{
	gort_file *f;

	while (gort_accept(arg, &f) == 0)
		CHECK_EQ(gort_close(f), 0);
}

/* TestDialContextCancelRace, TestTCPSpuriousConnSetupCompletionWithCancel: one or the other, and no
 * descriptor stays. */
// variants: maxprocs
TEST(dialling_is_cancelled_as_it_succeeds)
{
	gort_file *l = listen_at("tcp", "127.0.0.1:0");
	gort_waitgroup dialers = { 0 };

	CHECK_EQ(gort_waitgroup_go(&group, accept_and_close, l), 0);
	for (int i = 0; i < SCALE(1000); i++) {
		gort_ctx *c = gort_ctx_with_cancel(gort_ctx_current()), *before = gort_ctx_enter(c);

		CHECK_EQ(gort_waitgroup_go(&dialers, dial_cancelled, l), 0);
		gort_ctx_leave(before);
		if (i % 4 == 3)
			CHECK_EQ(gort_waitgroup_wait(&dialers), 0);
		else if (i % 4 > 0)
			gort_sleep(i % 64 * GORT_US);
		gort_ctx_cancel(c, -ECANCELED);
		gort_ctx_release(c);
	}
	CHECK_EQ(gort_waitgroup_wait(&dialers), 0);
	CHECK(atomic_load(&dialled) >= SCALE(1000) / 4);
	CHECK_EQ(atomic_load(&dialled) + atomic_load(&cancelled), SCALE(1000));
	CHECK_EQ(gort_close(l), 0);
	wait_for_group();
}

/* ---- senders without a name -------------------------------------------------------------------------------- */

/* TestReadUnixgramWithUnnamedSocket, TestUnixgramConnLocalAndRemoteNames. */
TEST(datagrams_from_nobody)
{
	gort_file *l = listen_at("unixgram", local_name("nobody")), *f = dial_to("unixgram", l);
	struct sockaddr_storage from;
	char buf[16], text[16] = "x";
	struct iovec iov = { buf, sizeof buf };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_name = &from, .msg_namelen = sizeof from
	};

	CHECK_EQ(gort_write(f, "anonymous", 9), 9);
	CHECK_EQ(gort_recvmsg(l, &m, 0), 9);
	CHECK_EQ(m.msg_namelen, 0); /* nobody to answer to */
	CHECK_EQ(gort_local_address(f, text, sizeof text), 0);
	CHECK_STR(text, "");
	CHECK_EQ(gort_close(f), 0);
	CHECK_EQ(gort_close(l), 0);
}

/* ---- deadlines that are put off ------------------------------------------------------------------------------ */

static atomic_bool silent;

static void write_slowly(void *arg)
{
	for (int i = 0; i < SCALE(200); i++) {
		CHECK_EQ(gort_set_write_deadline(arg, gort_in(LONG_TIME)), 0);
		CHECK_EQ(gort_write(arg, "x", 1), 1);
		gort_sleep(200 * GORT_US);
	}
	atomic_store(&silent, true);
}

/* TestReadWriteProlongedTimeout: two who read, each of whom puts the deadline off for both. It passes
 * when nobody does any more, and not before. */
static void read_prolonged(void *arg)
{
	char byte;
	ssize_t n;

	do {
		CHECK_EQ(gort_set_read_deadline(arg, gort_in(20 * GORT_SEC)), 0);
		n = gort_read(arg, &byte, 1);
	} while (n == 1);
	CHECK_EQ(n, -ETIMEDOUT);
	CHECK(atomic_load(&silent));
}

// variants: maxprocs
TEST(deadlines_that_are_put_off_by_each_read)
{
	gort_file *p[2];

	tcp_pair(p);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(gort_waitgroup_go(&group, read_prolonged, p[0]), 0);
	CHECK_EQ(gort_waitgroup_go(&group, write_slowly, p[1]), 0);
	EVENTUALLY(atomic_load(&silent) && waits_at(p[0], POLL_READ) &&
		   waits_at_gate(p[0], POLL_READ) &&
		   gort_wait_fd(gort_file_fd(p[0]), POLLIN, GORT_NOW) == -ETIMEDOUT);
	CHECK_EQ(gort_set_read_deadline(p[0], GORT_NOW), 0); /* and put forward, for all */
	wait_for_group();
	close_both(p);
}

/* ---- deadlines in the midst of it ------------------------------------------------------------------------------ */

static const int64_t soon[] = {
	1, 10 * GORT_US, 100 * GORT_US, GORT_MS, 15 * GORT_MS, 100 * GORT_MS
};

static void write_without_end(void *arg)
{
	static const char block[4096];

	while (gort_write(arg, block, sizeof block) == sizeof block)
		;
}

static void read_without_end(void *arg)
{
	char block[4096];

	while (gort_read(arg, block, sizeof block) > 0)
		;
}

/* TestVariousDeadlines: there is always something to read, room for what is written, and the deadline
 * ends it, not before its time. */
static void end_in_the_midst(gort_file *p[2], int64_t limit)
{
	char block[4096] = "";
	int64_t end = gort_in(limit);
	ssize_t n;

	CHECK_EQ(gort_set_read_deadline(p[0], end), 0);
	while ((n = gort_read(p[0], block, sizeof block)) > 0)
		;
	CHECK_EQ(n, -ETIMEDOUT);
	CHECK(gort_now() >= end);
	end = gort_in(limit);
	CHECK_EQ(gort_set_write_deadline(p[0], end), 0);
	while ((n = gort_write(p[0], block, sizeof block)) == sizeof block)
		;
	CHECK(n == -ETIMEDOUT || (n > 0 && (size_t)n < sizeof block)); /* of a part, how much */
	CHECK(gort_now() >= end);
}

// variants: maxprocs
TEST(deadlines_while_there_is_always_more)
{
	for (size_t i = 0; i < sizeof soon / sizeof *soon; i++) {
		gort_file *p[2];

		tcp_pair(p);
		CHECK_EQ(gort_waitgroup_go(&group, write_without_end, p[1]), 0);
		CHECK_EQ(gort_waitgroup_go(&group, read_without_end, p[1]), 0);
		end_in_the_midst(p, soon[i]);
		CHECK_EQ(gort_close(p[0]), 0);
		wait_for_group();
		CHECK_EQ(gort_close(p[1]), 0);
	}
}

/* ---- more than 2 GiB ------------------------------------------------------------------------------------------- */

#define BIG ((UINT64_C(1) << 31) + (1 << 20) + 7)

static const uint64_t marks[] = { 0, (UINT64_C(1) << 31) - 4097, (UINT64_C(1) << 31) - 1,
				  UINT64_C(1) << 31, BIG - 1 };

static void read_big(void *arg)
{
	static char buf[1 << 20], zeros[1 << 20];
	uint64_t at = 0;
	ssize_t n;

	while ((n = gort_read(arg, buf, sizeof buf)) > 0) {
		for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
			if (marks[i] >= at && marks[i] < at + (uint64_t)n) {
				CHECK_EQ(buf[marks[i] - at], i + 1);
				buf[marks[i] - at] = 0;
			}
		CHECK(memcmp(buf, zeros, (size_t)n) == 0);
		at += (uint64_t)n;
	}
	CHECK_EQ(n, 0);
	CHECK_EQ(at, BIG);
}

/* TestTCPBig: a system call takes less. The pages are one of zeros, but for the marks. */
// label: full
TEST(a_write_of_more_than_2_GiB)
{
	char *all = mmap(NULL, BIG, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	gort_file *p[2];

	if (all == MAP_FAILED)
		SKIP("no room for it");
	madvise(all, BIG, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
		all[marks[i]] = (char)(i + 1);
	tcp_pair(p);
	CHECK_EQ(gort_waitgroup_go(&group, read_big, p[1]), 0);
	CHECK_EQ(gort_write(p[0], all, BIG), BIG);
	CHECK_EQ(gort_shutdown(p[0], SHUT_WR), 0);
	wait_for_group();
	close_both(p);
	CHECK_EQ(munmap(all, BIG), 0);
}
