/*
 * wait_fd.c - gort_wait_fd, and the FD case of gort_select: descriptors that are somebody else's.
 */
#include "alone.h"
#include "base/alloc.h"
#include "io.h"

#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/timerfd.h>

static gort_waitgroup group;

static void wait_for_group(void)
{
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
}

struct wait_job {
	int fd, events;
	int64_t deadline;
	atomic_int result;
};

static void wait_one(void *arg)
{
	struct wait_job *j = arg;

	int result = gort_wait_fd(j->fd, j->events, j->deadline);

	atomic_store(&j->result, result);
}

static void start_wait(struct wait_job *j, int fd, int events)
{
	*j = (struct wait_job){ .fd = fd, .events = events, .deadline = GORT_FOREVER };
	CHECK_EQ(gort_waitgroup_go(&group, wait_one, j), 0);
}

static uint64_t parked(void)
{
	gort_stats s;

	gort_read_stats(&s, sizeof s);
	return s.waiting;
}

/* Numbers that others do not come by: sysmon, too, opens what it reads of /proc, and gets the lowest. */
#define NUMBER 300
#define NO_NUMBER 301

/* As NUMBER. */
static int moved(int fd)
{
	CHECK_EQ(dup2(fd, NUMBER), NUMBER);
	close(fd);
	return NUMBER;
}

/* ---- what there is to wait for ------------------------------------------------------------------- */

static void check_pipe(void *arg)
{
	int p[2];
	char byte;

	(void)arg;
	CHECK_EQ(pipe(p), 0);
	CHECK_EQ(gort_wait_fd(p[0], POLLIN, GORT_NOW), -ETIMEDOUT);
	CHECK_EQ(gort_wait_fd(p[0], POLLIN, gort_now()), -ETIMEDOUT);
	CHECK_EQ(gort_wait_fd(p[0], POLLIN, gort_in(GORT_MS)), -ETIMEDOUT);
	CHECK_EQ(gort_wait_fd(p[1], POLLOUT, GORT_NOW), POLLOUT);
	CHECK_EQ(gort_wait_fd(p[1], POLLOUT, GORT_FOREVER), POLLOUT);
	CHECK_EQ(write(p[1], "x", 1), 1);
	CHECK_EQ(gort_wait_fd(p[0], POLLIN, GORT_NOW), POLLIN);
	CHECK_EQ(gort_wait_fd(p[0], POLLIN | POLLPRI, GORT_FOREVER), POLLIN);
	CHECK_EQ(gort_wait_fd(p[0], POLLIN, gort_now()), POLLIN); /* what can be done is done */
	CHECK_EQ(read(p[0], &byte, 1), 1);
	CHECK_EQ(gort_wait_fd(p[0], POLLIN, GORT_NOW), -ETIMEDOUT);
	close(p[1]);
	CHECK_EQ(gort_wait_fd(p[0], POLLIN, GORT_FOREVER), POLLHUP);
	close(p[0]);
	CHECK_EQ(pipe(p), 0);
	close(p[0]);
	CHECK_EQ(gort_wait_fd(p[1], POLLOUT, GORT_FOREVER), POLLOUT | POLLERR);
	close(p[1]);
}

// variants: maxprocs
TEST(pipes)
{
	check_pipe(NULL);
	on_guest(check_pipe, NULL);
}

// variants: maxprocs
TEST(pipe_that_becomes_ready)
{
	struct wait_job in, out;
	static char block[1 << 20];
	int p[2];

	CHECK_EQ(pipe2(p, O_NONBLOCK), 0);
	start_wait(&in, p[0], POLLIN);
	EVENTUALLY(gort__netpoll_waits());
	CHECK_EQ(write(p[1], "x", 1), 1);
	wait_for_group();
	CHECK_EQ(in.result, POLLIN);
	CHECK(write(p[1], block, sizeof block) > 0);
	start_wait(&out, p[1], POLLOUT);
	EVENTUALLY(gort__netpoll_waits());
	CHECK(read(p[0], block, sizeof block) > 0);
	wait_for_group();
	EVENTUALLY(out.result == POLLOUT);
	CHECK_EQ(read(p[0], block, sizeof block), -1);
	start_wait(&in, p[0], POLLIN);
	EVENTUALLY(gort__netpoll_waits());
	close(p[1]);
	wait_for_group();
	CHECK_EQ(in.result, POLLHUP);
	close(p[0]);
	CHECK(!gort__netpoll_waits());
}

// variants: maxprocs
TEST(eventfd_and_timerfd)
{
	int e = eventfd(0, EFD_NONBLOCK), t = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	struct itimerspec soon = { .it_value.tv_nsec = 2000000 };
	struct wait_job j;
	uint64_t n;

	start_wait(&j, e, POLLIN);
	EVENTUALLY(gort__netpoll_waits());
	CHECK_EQ(eventfd_write(e, 1), 0);
	wait_for_group();
	CHECK_EQ(j.result, POLLIN);
	CHECK_EQ(gort_wait_fd(e, POLLIN | POLLOUT, GORT_FOREVER), POLLIN | POLLOUT);
	for (int i = 0; i < 5; i++) {
		CHECK_EQ(gort_wait_fd(t, POLLIN, GORT_NOW), -ETIMEDOUT);
		CHECK_EQ(timerfd_settime(t, 0, &soon, NULL), 0);
		CHECK_EQ(gort_wait_fd(t, POLLIN, GORT_FOREVER), POLLIN);
		CHECK_EQ(read(t, &n, sizeof n), sizeof n);
	}
	close(e);
	close(t);
}

TEST(regular_files_are_always_ready)
{
	int fd = memfd_create("ready", 0);
	int null = open("/dev/null", O_RDWR);

	CHECK_EQ(gort_wait_fd(fd, POLLIN, GORT_FOREVER), POLLIN);
	CHECK_EQ(gort_wait_fd(fd, POLLIN | POLLOUT, GORT_NOW), POLLIN | POLLOUT);
	CHECK_EQ(gort_wait_fd(null, POLLOUT, GORT_FOREVER), POLLOUT);
	CHECK_EQ(gort_wait_fd(fd, POLLPRI, gort_in(2 * GORT_MS)), -ETIMEDOUT); /* never so */
	close(fd);
	close(null);
}

static void check_bad(void *arg)
{
	gort_case cases[2] = { GORT_CASE_FD(-1, POLLIN), GORT_CASE_TIME(gort_in(LONG_TIME)) };

	(void)arg;
	CHECK_EQ(gort_wait_fd(NO_NUMBER, POLLIN, GORT_FOREVER), -EBADF);
	CHECK_EQ(gort_wait_fd(-1, POLLIN, GORT_FOREVER), -EBADF);
	CHECK_EQ(gort_wait_fd(1 << 30, POLLIN, GORT_NOW), -EBADF);
	CHECK_EQ(gort_wait_fd(0, 0, GORT_FOREVER), -EINVAL);
	CHECK_EQ(gort_wait_fd(0, POLLHUP, GORT_FOREVER), -EINVAL);
	CHECK_EQ(gort_wait_fd(0, POLLIN | 0x1000, GORT_FOREVER), -EINVAL);
	CHECK_EQ(gort_select(cases, 2, GORT_FOREVER), -EBADF);
	cases[0] = GORT_CASE_FD(0, 0);
	CHECK_EQ(gort_select(cases, 2, GORT_FOREVER), -EINVAL);
}

TEST(bad_descriptors_and_events)
{
	check_bad(NULL);
	on_guest(check_bad, NULL);
}

TEST_PLAIN(without_a_runtime)
{
	int p[2];

	CHECK_EQ(pipe(p), 0);
	CHECK_EQ(gort_wait_fd(p[1], POLLOUT, GORT_FOREVER), POLLOUT);
	CHECK_EQ(gort_wait_fd(p[0], POLLIN, GORT_NOW), -ETIMEDOUT);
	CHECK_EQ(gort_wait_fd(p[0], POLLIN, GORT_FOREVER), -ESRCH);
	close(p[0]);
	close(p[1]);
}

TEST(out_of_memory)
{
	int p[2];

	if (!CHECKED)
		SKIP("memory is never short");
	CHECK_EQ(pipe(p), 0);
	CHECK_EQ(gort_wait_fd(p[0], POLLIN, gort_in(GORT_MS)), -ETIMEDOUT);
	EVENTUALLY(no_thread_is_made());
	mem_fail_after(1);
	CHECK_EQ(gort_wait_fd(p[0], POLLIN, GORT_FOREVER), -ENOMEM);
	mem_fail_after(0);
	CHECK_EQ(gort_wait_fd(p[0], POLLIN, gort_in(GORT_MS)), -ETIMEDOUT);
	close(p[0]);
	close(p[1]);
}

/* ---- several at one number ----------------------------------------------------------------------- */

// variants: maxprocs
TEST(several_wait_for_different_events)
{
	int s[2];
	struct wait_job in[5], out[3], end[2];
	static char block[1 << 20];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s), 0);
	while (write(s[0], block, sizeof block) > 0)
		continue;
	for (int i = 0; i < 5; i++)
		start_wait(&in[i], s[0], POLLIN);
	for (int i = 0; i < 3; i++)
		start_wait(&out[i], s[0], POLLOUT);
	for (int i = 0; i < 2; i++)
		start_wait(&end[i], s[0], POLLRDHUP);
	EVENTUALLY(parked() == 10);
	for (int i = 0; i < 5; i++)
		in[i].result = 0;
	CHECK_EQ(write(s[1], "x", 1), 1);
	EVENTUALLY(parked() == 5);
	for (int i = 0; i < 5; i++)
		EVENTUALLY(in[i].result == POLLIN);
	while (read(s[1], block, sizeof block) > 0)
		continue;
	EVENTUALLY(parked() == 2);
	for (int i = 0; i < 3; i++)
		EVENTUALLY(out[i].result == POLLOUT);
	CHECK_EQ(shutdown(s[1], SHUT_WR), 0);
	wait_for_group();
	for (int i = 0; i < 2; i++)
		CHECK_EQ(end[i].result, POLLRDHUP);
	close(s[0]);
	close(s[1]);
}

/* Who comes later for another event arms it anew. */
// variants: maxprocs
TEST(who_comes_later)
{
	int s[2];
	struct wait_job in, out;
	static char block[1 << 20];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s), 0);
	for (int i = 0; i < 20; i++) {
		while (write(s[0], block, sizeof block) > 0)
			continue;
		start_wait(&in, s[0], POLLIN);
		EVENTUALLY(parked() == 1);
		start_wait(&out, s[0], POLLOUT);
		EVENTUALLY(parked() == 2);
		while (read(s[1], block, sizeof block) > 0)
			continue;
		EVENTUALLY(parked() == 1);
		EVENTUALLY(out.result == POLLOUT);
		CHECK_EQ(write(s[1], "x", 1), 1);
		wait_for_group();
		CHECK_EQ(in.result, POLLIN);
		CHECK_EQ(read(s[0], block, sizeof block), 1);
	}
	close(s[0]);
	close(s[1]);
}

static void wait_as_guest(void *arg)
{
	wait_one(arg);
	gort_waitgroup_done(&group);
}

// variants: maxprocs
TEST(guests_beside_goroutines)
{
	struct wait_job jobs[8];
	struct guest *g[4];
	int e = eventfd(0, EFD_NONBLOCK);

	for (int i = 0; i < 4; i++) {
		start_wait(&jobs[i], e, POLLIN);
		jobs[4 + i] =
			(struct wait_job){ .fd = e, .events = POLLIN, .deadline = GORT_FOREVER };
		gort_waitgroup_add(&group, 1);
		g[i] = guest_start(wait_as_guest, &jobs[4 + i]);
	}
	EVENTUALLY(parked() == 4);
	gort_sleep(5 * GORT_MS);
	CHECK_EQ(eventfd_write(e, 1), 0);
	wait_for_group();
	for (int i = 0; i < 8; i++)
		CHECK_EQ(jobs[i].result, POLLIN);
	for (int i = 0; i < 4; i++)
		guest_join(g[i]);
	close(e);
}

/* ---- a file's own descriptor ------------------------------------------------------------------------ */

static atomic_int read_result;

static void read_file(void *arg)
{
	char byte;

	atomic_store(&read_result, (int)gort_read(arg, &byte, 1));
}

// variants: maxprocs
TEST(descriptor_of_a_file_beside_its_reader)
{
	gort_file *p[2];
	struct wait_job j[3];

	for (int i = 0; i < 50; i++) {
		tcp_pair(p);
		CHECK_EQ(gort_waitgroup_go(&group, read_file, p[0]), 0);
		EVENTUALLY(waits_at(p[0], POLL_READ));
		for (int k = 0; k < 3; k++)
			start_wait(&j[k], gort_file_fd(p[0]), k < 2 ? POLLIN : POLLRDHUP);
		EVENTUALLY(parked() == 4);
		CHECK_EQ(gort_write(p[1], "xy", 2), 2);
		CHECK_EQ(gort_close(p[1]), 0);
		wait_for_group();
		CHECK_EQ(atomic_load(&read_result), 1);
		CHECK(j[0].result & POLLIN && j[1].result & POLLIN);
		CHECK_EQ(j[2].result & POLLRDHUP, POLLRDHUP);
		read_file(p[0]);
		CHECK_EQ(atomic_load(&read_result), 1);
		read_file(p[0]);
		CHECK_EQ(atomic_load(&read_result), 0);
		CHECK_EQ(gort_close(p[0]), 0);
	}
}

/* Waited for first, taken over then. */
// variants: maxprocs
TEST(descriptor_that_becomes_a_file_meanwhile)
{
	struct wait_job j;
	gort_file *f;
	int p[2];

	CHECK_EQ(pipe(p), 0);
	start_wait(&j, p[0], POLLIN);
	EVENTUALLY(parked() == 1);
	CHECK_EQ(gort_file_from_fd(&f, p[0]), 0);
	CHECK_EQ(gort_waitgroup_go(&group, read_file, f), 0);
	EVENTUALLY(waits_at(f, POLL_READ));
	CHECK_EQ(write(p[1], "xy", 2), 2);
	wait_for_group();
	CHECK_EQ(j.result, POLLIN);
	CHECK_EQ(atomic_load(&read_result), 1);
	CHECK_EQ(gort_close(f), 0);
	close(p[1]);
}

/* ---- numbers that are closed and used again ------------------------------------------------------------ */

// variants: maxprocs
TEST(closed_and_opened_again_between_waits)
{
	for (int i = 0; i < SCALE(5000); i++) {
		struct wait_job j;
		int e = moved(eventfd(0, EFD_NONBLOCK));

		if (i % 3 == 0)
			CHECK_EQ(gort_wait_fd(e, POLLIN, gort_in(GORT_US)), -ETIMEDOUT);
		start_wait(&j, e, POLLIN);
		if (i % 2)
			EVENTUALLY(gort__netpoll_waits());
		CHECK_EQ(eventfd_write(e, 1), 0);
		wait_for_group();
		CHECK_EQ(j.result, POLLIN);
		close(e);
	}
}

/* Somebody has left one waiting there, whom nobody wakes. The next one's number is the same. (TSan calls
 * that a race, and is right.) */
// variants: maxprocs
// not: tsan
TEST(number_of_one_that_was_closed_while_somebody_waited)
{
	for (int i = 0; i < 20; i++) {
		struct wait_job lost, j;
		int e = moved(eventfd(0, EFD_NONBLOCK)), again;

		start_wait(&lost, e, POLLIN);
		EVENTUALLY(parked() == 1);
		close(e);
		again = moved(eventfd(0, EFD_NONBLOCK));
		start_wait(&j, again, i % 2 ? POLLIN : POLLIN | POLLPRI);
		EVENTUALLY(parked() == 2);
		CHECK_EQ(eventfd_write(again, 1), 0);
		EVENTUALLY(j.result == POLLIN);
		wait_for_group(); /* both: it is true of the number now */
		CHECK_EQ(lost.result, POLLIN);
		close(again);
	}
}

/* Who comes later finds another descriptor at the number, and those who wait are told of that one, one
 * event after the other. */
// variants: maxprocs
TEST(number_that_changes_hands_while_several_wait)
{
	struct wait_job in[2], out;
	static char block[1 << 20];
	int s[2], t[2];

	for (int i = 0; i < 20; i++) {
		CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s), 0);
		CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, t), 0);
		while (write(s[0], block, sizeof block) > 0)
			continue;
		while (write(t[0], block, sizeof block) > 0)
			continue;
		start_wait(&in[0], s[0], POLLIN);
		start_wait(&out, s[0], POLLOUT);
		EVENTUALLY(parked() == 2);
		CHECK_EQ(dup2(t[0], s[0]), s[0]);
		start_wait(&in[1], s[0], POLLIN);
		EVENTUALLY(parked() == 3);
		while (read(t[1], block, sizeof block) > 0)
			continue;
		EVENTUALLY(parked() == 2);
		EVENTUALLY(out.result == POLLOUT);
		CHECK_EQ(write(t[1], "x", 1), 1);
		wait_for_group();
		CHECK_EQ(in[0].result, POLLIN);
		CHECK_EQ(in[1].result, POLLIN);
		for (int k = 0; k < 2; k++) {
			close(s[k]);
			close(t[k]);
		}
	}
}

/* Closed while somebody waits; then a file has the number. It is told of its events, also once the one
 * who waited has gone. */
// variants: maxprocs
// not: tsan
TEST(number_that_becomes_a_files_while_somebody_waits)
{
	for (int i = 0; i < 20; i++) {
		gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background()), *before;
		struct wait_job lost;
		gort_file *p[2];
		int ends[2];

		before = gort_ctx_enter(ctx);
		start_wait(&lost, moved(eventfd(0, EFD_NONBLOCK)), POLLIN);
		gort_ctx_leave(before);
		EVENTUALLY(parked() == 1);
		close(lost.fd);
		CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
		CHECK_EQ(gort_file_from_fd(&p[0], moved(ends[0])), 0);
		CHECK_EQ(gort_file_from_fd(&p[1], ends[1]), 0);
		CHECK_EQ(gort_waitgroup_go(&group, read_file, p[0]), 0);
		EVENTUALLY(waits_at(p[0], POLL_READ));
		gort_ctx_cancel(ctx, 0);
		EVENTUALLY(lost.result == -ECANCELED);
		CHECK_EQ(gort_write(p[1], "x", 1), 1);
		wait_for_group();
		CHECK_EQ(atomic_load(&read_result), 1);
		close_both(p);
		gort_ctx_release(ctx);
	}
}

/* ---- select ------------------------------------------------------------------------------------------- */

static void send_late(void *arg)
{
	int n = 7;

	gort_sleep(2 * GORT_MS);
	CHECK_EQ(gort_chan_send(arg, &n), 0);
}

// variants: maxprocs
TEST(select_of_channels_times_and_descriptors)
{
	gort_chan *c = gort_chan_make(sizeof(int), 1);
	int e = eventfd(0, EFD_NONBLOCK), p[2], n = 0;

	CHECK_EQ(pipe(p), 0);
	for (int i = 0; i < 50; i++) {
		gort_case cases[] = { GORT_CASE_FD(e, POLLIN), GORT_CASE_RECV(c, &n),
				      GORT_CASE_FD(p[0], POLLIN),
				      GORT_CASE_TIME(gort_in(LONG_TIME)),
				      GORT_CASE_FD(p[0], POLLIN | POLLPRI) };
		eventfd_t count;

		CHECK_EQ(gort_select(cases, 5, GORT_NOW), -EAGAIN);
		CHECK_EQ(gort_select(cases, 5, gort_in(100 * GORT_US)), -ETIMEDOUT);
		CHECK_EQ(gort_waitgroup_go(&group, send_late, c), 0);
		CHECK_EQ(gort_select(cases, 5, GORT_FOREVER), 1);
		CHECK_EQ(n, 7);
		wait_for_group();
		CHECK_EQ(eventfd_write(e, 1), 0);
		CHECK_EQ(gort_select(cases, 5, GORT_FOREVER), 0);
		CHECK_EQ(cases[0].status, POLLIN);
		CHECK_EQ(eventfd_read(e, &count), 0);
		cases[3].deadline = gort_in(GORT_MS);
		CHECK_EQ(gort_select(cases, 5, GORT_FOREVER), 3);
		CHECK_EQ(cases[3].status, 0);
	}
	close(p[0]);
	close(p[1]);
	close(e);
	gort_chan_release(c);
}

/* Among several that are ready each has its chance. */
TEST(select_is_fair_to_descriptors)
{
	gort_chan *c = gort_chan_make(0, 1000);
	int e = eventfd(1, EFD_NONBLOCK), chosen[3] = { 0 };

	for (int i = 0; i < 1000; i++)
		CHECK_EQ(gort_chan_send(c, NULL), 0);
	for (int i = 0; i < 900; i++) {
		gort_case cases[] = { GORT_CASE_FD(e, POLLIN), GORT_CASE_RECV(c, NULL),
				      GORT_CASE_FD(e, POLLOUT) };

		chosen[gort_select(cases, 3, GORT_FOREVER)]++;
	}
	for (int i = 0; i < 3; i++)
		CHECK(chosen[i] > 200);
	CHECK_EQ(gort_chan_close(c), 0);
	gort_chan_release(c);
	close(e);
}

static void select_many(void *arg)
{
	int *fds = arg;
	gort_case cases[40];

	for (int i = 0; i < 40; i++)
		cases[i] = GORT_CASE_FD(fds[i], POLLIN);
	CHECK_EQ(gort_select(cases, 40, GORT_FOREVER), 33);
	CHECK_EQ(cases[33].status, POLLIN);
}

// variants: maxprocs
TEST(select_of_many)
{
	int fds[40];

	for (int i = 0; i < 40; i++)
		fds[i] = eventfd(0, EFD_NONBLOCK);
	for (int k = 0; k < 10; k++)
		CHECK_EQ(gort_waitgroup_go(&group, select_many, fds), 0);
	EVENTUALLY(parked() == 10);
	CHECK_EQ(eventfd_write(fds[33], 1), 0);
	wait_for_group();
	for (int i = 0; i < 40; i++)
		close(fds[i]);
}

/* A descriptor that is none among others that are not ready: nothing stays behind. */
// variants: maxprocs
TEST(select_with_a_bad_one)
{
	int e = eventfd(0, EFD_NONBLOCK);
	struct wait_job j;

	for (int i = 0; i < 100; i++) {
		gort_case cases[] = { GORT_CASE_FD(e, POLLIN), GORT_CASE_FD(NO_NUMBER, POLLIN),
				      GORT_CASE_FD(e, POLLPRI) };

		CHECK_EQ(gort_select(cases, 3, GORT_FOREVER), -EBADF);
	}
	CHECK(!gort__netpoll_waits());
	start_wait(&j, e, POLLIN);
	EVENTUALLY(parked() == 1);
	CHECK_EQ(eventfd_write(e, 1), 0);
	wait_for_group();
	close(e);
}

/* ---- many at once --------------------------------------------------------------------------------------- */

#define PAIRS 20

static struct {
	int to, from;
} rings[PAIRS];

static void pass_around(void *arg)
{
	uintptr_t i = (uintptr_t)arg;
	char byte;

	for (int k = 0; k < SCALE(2000); k++) {
		int got = gort_wait_fd(rings[i].from, POLLIN, GORT_FOREVER);

		CHECK_EQ(got, POLLIN);
		CHECK_EQ(read(rings[i].from, &byte, 1), 1);
		CHECK_EQ(write(rings[i].to, &byte, 1), 1);
	}
}

/* Tokens go round through pipes: a lost event stops them. */
// variants: maxprocs
TEST(tokens_through_pipes)
{
	int p[2];
	char byte;

	for (int i = 0; i < PAIRS; i++) {
		CHECK_EQ(pipe2(p, O_NONBLOCK), 0);
		rings[i].from = p[0];
		rings[(i + PAIRS - 1) % PAIRS].to = p[1];
	}
	for (uintptr_t i = 0; i < PAIRS; i++)
		CHECK_EQ(gort_waitgroup_go(&group, pass_around, (void *)i), 0);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(write(rings[i * 3].to, "t", 1), 1);
	wait_for_group();
	for (int i = 0; i < PAIRS; i++) {
		while (read(rings[i].from, &byte, 1) == 1)
			continue;
		close(rings[i].from);
		close(rings[i].to);
	}
}

static void time_out_often(void *arg)
{
	int fd = *(int *)arg;

	for (int i = 0; i < SCALE(500); i++) {
		int got = gort_wait_fd(fd, i % 2 ? POLLIN : POLLIN | POLLPRI,
				       gort_in(i % 50 * GORT_US));

		CHECK(got == -ETIMEDOUT || got == POLLIN);
		if (got == POLLIN) {
			eventfd_t n;

			(void)eventfd_read(fd, &n);
		}
	}
}

// variants: maxprocs
TEST(deadlines_in_a_race_with_events)
{
	int e = eventfd(0, EFD_NONBLOCK);

	for (int i = 0; i < 10; i++)
		CHECK_EQ(gort_waitgroup_go(&group, time_out_often, &e), 0);
	while (gort_waitgroup_wait_until(&group, gort_in(20 * GORT_US)) == -ETIMEDOUT)
		CHECK_EQ(eventfd_write(e, 1), 0);
	close(e);
	CHECK(!gort__netpoll_waits());
}
