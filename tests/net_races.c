/*
 * net_races.c - what may come between two steps of a wait for a descriptor: who polls and whom the
 * bell was meant for, turns that end while others come, numbers that are used again, registrations
 * that get into each other's way, and the runtime's end.
 */
#include "harness.h"
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static void make_pipe(gort_file **r, gort_file **w)
{
	CHECK_EQ(gort_pipe(r, w), 0);
}

static void read_one(void *arg)
{
	gort_file *f = arg;
	char c;

	(void)gort_read(f, &c, 1);
	gort_close(f);
}

/* ---- the bell */
static struct os_poll poll_of_bell;
static atomic_uint rung, heard;
static atomic_bool over;

static void *sleep_in_poll(void *arg)
{
	struct os_poll_event e;

	(void)arg;
	for (unsigned next = 1; !atomic_load(&over); next++) {
		while (atomic_load(&rung) < next && !atomic_load(&over))
			(void)os_poll_wait(&poll_of_bell, &e, 1, OS_FOREVER);
		atomic_store(&heard, next);
	}
	return NULL;
}

static void *look_on_and_on(void *arg)
{
	struct os_poll_event e;

	(void)arg;
	while (!atomic_load(&over))
		(void)os_poll_wait(&poll_of_bell, &e, 1, OS_POLL_NOW);
	return NULL;
}

TEST_PLAIN(who_only_looks_does_not_take_the_bell_from_who_sleeps)
{
	pthread_t sleeper, looker;

	CHECK_EQ(os_poll_open(&poll_of_bell), 0);
	CHECK_EQ(pthread_create(&sleeper, NULL, sleep_in_poll, NULL), 0);
	CHECK_EQ(pthread_create(&looker, NULL, look_on_and_on, NULL), 0);
	for (unsigned i = 1; i <= SCALE(2000); i++) {
		usleep(20);
		atomic_store(&rung, i);
		os_poll_ring(&poll_of_bell);
		for (int k = 0; k < 1000 && atomic_load(&heard) < i; k++)
			usleep(10);
		EVENTUALLY(atomic_load(&heard) >= i);
	}
	atomic_store(&over, true);
	CHECK_EQ(pthread_join(looker, NULL), 0);
	os_poll_ring(&poll_of_bell);
	CHECK_EQ(pthread_join(sleeper, NULL), 0);
	os_poll_close(&poll_of_bell);
}

/* ---- turns */
static void ends_at_the_gate(gort_file *r)
{
	char c;

	gort_set_deadline(gort_in(5 * GORT_MS));
	CHECK_EQ(gort_read(r, &c, 1), -ETIMEDOUT);
	gort_set_deadline(GORT_FOREVER);
}

static void wait_at_gate(void *arg)
{
	ends_at_the_gate(arg);
}

/* Who gives up at the gate leaves gort once. */
TEST(a_goroutine_gives_up_at_the_gate)
{
	gort_file *r, *w;

	make_pipe(&r, &w);
	CHECK_EQ(gort_go(read_one, gort_file_retain(r)), 0);
	gort_sleep(5 * GORT_MS);
	for (int i = 0; i < 5; i++)
		ends_at_the_gate(r);
	CHECK_EQ(gort_close(w), 0);
	gort_close(r);
	EVENTUALLY(gort_count() == 1);
}

/* Guests are counted: too few, and the runtime's end waits for ever. */
TEST(a_guest_gives_up_at_the_gate)
{
	gort_file *r, *w;

	make_pipe(&r, &w);
	CHECK_EQ(gort_go(read_one, gort_file_retain(r)), 0);
	gort_sleep(5 * GORT_MS);
	on_guest(wait_at_gate, r);
	CHECK_EQ(gort_close(w), 0);
	gort_close(r);
	EVENTUALLY(gort_count() == 1);
}

/* The slot that was freed last is used first: so there are few. */
TEST(a_file_whose_reader_is_the_last_to_leave_is_freed)
{
	enum { ROUNDS = 200, MOST = 8 };
	gort_file *seen[MOST], *r, *w;
	int count = 0, k;

	for (int i = 0; i < ROUNDS; i++) {
		make_pipe(&r, &w);
		for (k = 0; k < count && seen[k] != r; k++)
			;
		CHECK(k < MOST);
		if (k == count)
			seen[count++] = r;
		CHECK_EQ(gort_go(read_one, gort_file_retain(r)), 0);
		gort_sleep(50 * GORT_US);
		CHECK_EQ(gort_close(r), 0);
		CHECK_EQ(gort_close(w), 0);
		EVENTUALLY(gort_count() == 1);
	}
}

/* ---- registrations */
struct wait {
	gort_file *f;
	int fd;
	int64_t deadline;
	atomic_int got;
};

static void wait_for_fd(void *arg)
{
	struct wait *w = arg;

	atomic_store(&w->got, gort_wait_fd(w->fd, POLLIN, w->deadline));
}

static void read_it(void *arg)
{
	struct wait *w = arg;
	char c;

	atomic_store(&w->got, (int)gort_read(w->f, &c, 1));
}

/* A pipe whose descriptor a waits for, and then, until the deadline, b reads from. */
static void wait_and_read(struct wait *a, struct wait *b, int64_t most, gort_file *p[2])
{
	make_pipe(&p[0], &p[1]);
	a->fd = gort_file_fd(p[0]);
	b->f = p[0];
	CHECK_EQ(gort_go(wait_for_fd, a), 0);
	gort_sleep(5 * GORT_MS);
	CHECK_EQ(gort_set_read_deadline(p[0], gort_in(most)), 0);
	CHECK_EQ(gort_go(read_it, b), 0);
}

/* Others wait for a file's descriptor before any call on the file has waited. */
TEST(a_file_is_watched_though_its_descriptor_is_already)
{
	struct wait a = { .deadline = GORT_FOREVER }, b = { 0 };
	gort_file *p[2];

	wait_and_read(&a, &b, 20 * GORT_SEC, p);
	gort_sleep(5 * GORT_MS);
	CHECK_EQ(gort_write(p[1], "x", 1), 1);
	EVENTUALLY(atomic_load(&b.got));
	CHECK_EQ(b.got, 1);
	CHECK_EQ(gort_close(p[1]), 0);
	EVENTUALLY(atomic_load(&a.got)); /* it has been told before, or is by the end */
	CHECK_EQ(gort_close(p[0]), 0);
}

/* And the other way round: who waits for the descriptor is not forgotten. */
TEST(who_waits_for_a_descriptor_stays_when_its_file_comes)
{
	struct wait a = { .deadline = GORT_FOREVER }, b = { 0 };
	gort_file *p[2];

	wait_and_read(&a, &b, 5 * GORT_MS, p);
	EVENTUALLY(atomic_load(&b.got));
	CHECK_EQ(b.got, -ETIMEDOUT);
	CHECK_EQ(gort_write(p[1], "x", 1), 1);
	EVENTUALLY(atomic_load(&a.got));
	CHECK_EQ(a.got, POLLIN);
	CHECK_EQ(gort_close(p[1]), 0);
	CHECK_EQ(gort_close(p[0]), 0);
}

/* One waits, somebody closes the descriptor under it, and the number is another's: who waits for that
 * is told. */
TEST(a_number_is_used_again_while_somebody_waits_for_the_old_one)
{
	struct wait a = { .deadline = gort_in(10 * GORT_SEC) }, b = a;
	int old[2], new[2];

	CHECK_EQ(pipe2(old, O_CLOEXEC), 0);
	CHECK_EQ(pipe2(new, O_CLOEXEC), 0);
	a.fd = b.fd = old[0];
	CHECK_EQ(gort_go(wait_for_fd, &a), 0);
	gort_sleep(5 * GORT_MS);
	CHECK_EQ(dup2(new[0], old[0]), old[0]);
	CHECK_EQ(gort_go(wait_for_fd, &b), 0);
	gort_sleep(5 * GORT_MS);
	CHECK_EQ(write(new[1], "x", 1), 1);
	EVENTUALLY(atomic_load(&b.got));
	CHECK_EQ(b.got, POLLIN);
	EVENTUALLY(atomic_load(&a.got));
	for (int i = 0; i < 2; i++) {
		close(old[i]);
		close(new[i]);
	}
}

/* Who shares a socket may have made it block: no thread may sleep inside gort, here for ever. */
TEST(a_socket_that_others_made_to_block)
{
	struct iovec v;
	gort_file *f;
	int s[2];
	char c;

	v = (struct iovec){ &c, 1 };
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	CHECK_EQ(gort_file_from_fd(&f, s[0]), 0);
	CHECK_EQ(fcntl(s[0], F_SETFL, fcntl(s[0], F_GETFL) & ~O_NONBLOCK), 0);
	CHECK_EQ(gort_set_read_deadline(f, gort_in(20 * GORT_MS)), 0);
	CHECK_EQ(gort_read(f, &c, 1), -ETIMEDOUT);
	CHECK_EQ(gort_set_read_deadline(f, gort_in(20 * GORT_MS)), 0);
	CHECK_EQ(gort_readv(f, &v, 1), -ETIMEDOUT);
	CHECK_EQ(gort_close(f), 0);
	close(s[1]);
}

static atomic_int at_start;

static void *first_std(void *arg)
{
	(void)arg;
	atomic_fetch_add(&at_start, 1);
	while (atomic_load(&at_start) < 4)
		;
	for (int i = 0; i < 3; i++)
		CHECK(gort_std(i) != NULL);
	return NULL;
}

static void read_std(void *arg)
{
	struct wait *w = arg;
	char c;

	atomic_store(&w->got, (int)gort_read(gort_std(w->fd), &c, 1));
}

/* Several ask for a standard file for the first time: one is kept, and it is watched. */
TEST(standard_files_that_several_ask_for_first)
{
	struct wait wait[3] = { { .fd = 0 }, { .fd = 1 }, { .fd = 2 } };
	int kept[3], to[3][2];
	pthread_t t[4];

	for (int i = 0; i < 3; i++) {
		kept[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
		CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, to[i]), 0);
		CHECK_EQ(dup2(to[i][0], i), i);
	}
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, first_std, NULL), 0);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_join(t[i], NULL), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(gort_go(read_std, &wait[i]), 0);
	gort_sleep(10 * GORT_MS);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(write(to[i][1], "x", 1), 1);
	for (int i = 0; i < 1000 && gort_count() > 1; i++)
		gort_sleep(5 * GORT_MS);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(dup2(kept[i], i), i);
		close(kept[i]);
		close(to[i][0]);
		close(to[i][1]);
	}
	for (int i = 0; i < 3; i++)
		CHECK_EQ(wait[i].got, 1);
}

static void write_late(void *arg)
{
	gort_sleep(10 * GORT_MS);
	CHECK_EQ(write(*(int *)arg, "x", 1), 1);
}

/* Programs put another descriptor in a standard one's place (dup2): who waits then waits for that. */
TEST(a_standard_file_is_another_after_dup2)
{
	int kept = fcntl(0, F_DUPFD_CLOEXEC, 10), a[2], b[2];
	char c = 0;
	ssize_t n;

	CHECK_EQ(pipe2(a, O_CLOEXEC), 0);
	CHECK_EQ(pipe2(b, O_CLOEXEC), 0);
	CHECK_EQ(dup2(a[0], 0), 0);
	gort_set_read_deadline(gort_std(0), gort_in(5 * GORT_MS));
	CHECK_EQ(gort_read(gort_std(0), &c, 1), -ETIMEDOUT);
	CHECK_EQ(dup2(b[0], 0), 0);
	close(a[0]);
	gort_set_read_deadline(gort_std(0), gort_in(10 * GORT_SEC));
	CHECK_EQ(gort_go(write_late, &b[1]), 0);
	n = gort_read(gort_std(0), &c, 1);
	gort_set_read_deadline(gort_std(0), GORT_FOREVER);
	CHECK_EQ(dup2(kept, 0), 0);
	close(kept);
	close(a[1]);
	close(b[0]);
	close(b[1]);
	CHECK_EQ(n, 1);
}

/* ---- the runtime's end */
static gort_file *shared;

static void write_on_and_on(void *arg)
{
	static char text[1 << 16];

	(void)arg;
	while (gort_write(shared, text, sizeof text) > 0)
		;
}

static int leave_it_writing(void *arg)
{
	for (int i = 0; i < 4; i++)
		CHECK_EQ(gort_go(write_on_and_on, arg), 0);
	gort_sleep(500 * GORT_US);
	return 0;
}

static int write_once(void *arg)
{
	(void)arg;
	CHECK_EQ(gort_set_write_deadline(shared, gort_in(20 * GORT_SEC)), 0);
	CHECK_EQ(gort_write(shared, "x", 1), 1);
	CHECK_EQ(gort_set_write_deadline(shared, GORT_FOREVER), 0);
	return 0;
}

static int open_null(void *arg)
{
	return gort_open(&shared, arg, O_WRONLY, 0);
}

/* A goroutine that is in the kernel with its turn as the runtime ends gives that up when it comes
 * back. */
TEST_PLAIN(a_turn_survives_no_runtime)
{
	CHECK_EQ(gort_run(open_null, (void *)(uintptr_t) "/dev/null", NULL), 0);
	for (int i = 0; i < 100; i++) {
		CHECK_EQ(gort_run(leave_it_writing, NULL, NULL), 0);
		CHECK_EQ(gort_run(write_once, NULL, NULL), 0);
	}
	CHECK_EQ(gort_close(shared), 0);
}

static gort_file *from_a, *from_b, *to_a, *to_b;

static void copy_it(void *arg)
{
	(void)arg;
	gort_copy(to_a, from_b, -1, NULL);
}

static int leave_it_copying(void *arg)
{
	(void)arg;
	make_pipe(&from_b, &from_a);
	make_pipe(&to_b, &to_a);
	CHECK_EQ(gort_go(copy_it, NULL), 0);
	gort_sleep(10 * GORT_MS);
	return 0;
}

static int open_descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) != -1;
	return n;
}

/* A copy that waits as the runtime ends keeps no descriptor open, neither the files' nor its own. */
TEST_PLAIN(a_copy_ends_with_its_runtime)
{
	int before = open_descriptors();

	CHECK_EQ(gort_run(leave_it_copying, NULL, NULL), 0);
	CHECK_EQ(gort_close(from_a), 0);
	CHECK_EQ(gort_close(from_b), 0);
	CHECK_EQ(gort_close(to_a), 0);
	CHECK_EQ(gort_close(to_b), 0);
	CHECK_EQ(open_descriptors(), before);
}

TEST(copies_are_appended)
{
	char path[] = "/tmp/gort-append-XXXXXX", text[8];
	int fd = mkstemp(path), n = 0;
	gort_file *from, *to;

	CHECK(fd >= 0);
	CHECK_EQ(write(fd, "abc", 3), 3);
	CHECK_EQ(gort_open(&from, path, O_RDONLY, 0), 0);
	CHECK_EQ(gort_open(&to, path, O_WRONLY | O_APPEND, 0), 0);
	CHECK_EQ(unlink(path), 0);
	n = gort_copy(to, from, 3, NULL);
	CHECK_EQ(n, 0);
	CHECK_EQ(gort_close(from), 0);
	CHECK_EQ(gort_close(to), 0);
	CHECK_EQ(pread(fd, text, sizeof text, 0), 6);
	CHECK_EQ(memcmp(text, "abcabc", 6), 0);
	close(fd);
}

/* ---- deadlocks */
static int main_waits(void *c)
{
	return gort_chan_recv(c, NULL);
}

struct late {
	gort_chan *c;
	gort_file *r, *w;
};

static int make_late(void *arg)
{
	struct late *l = arg;

	return gort_pipe(&l->r, &l->w);
}

static void *wait_for_a_while(void *arg)
{
	struct late *l = arg;
	char c;

	usleep(100000);
	CHECK_EQ(gort_set_read_deadline(l->r, gort_in(2500 * GORT_MS)), 0);
	CHECK_EQ(gort_read(l->r, &c, 1), -ETIMEDOUT);
	return NULL;
}

// A plain thread waited for a descriptor, and ends: then nobody is left.
// TSan has a thread of its own
// not: tsan
TEST_PLAIN(a_plain_thread_that_waited_ends_and_all_is_a_deadlock)
{
	static const gort_options returns = { .on_deadlock = GORT_DEADLOCK_RETURN };
	struct late l = { .c = gort_chan_make(0, 0) };
	pthread_t t;

	CHECK_EQ(gort_run(make_late, &l, NULL), 0);
	CHECK_EQ(pthread_create(&t, NULL, wait_for_a_while, &l), 0);
	CHECK_EQ(gort_run(main_waits, l.c, &returns), -EDEADLK);
	CHECK_EQ(pthread_join(t, NULL), 0);
	CHECK_EQ(gort_close(l.r), 0);
	CHECK_EQ(gort_close(l.w), 0);
	gort_chan_release(l.c);
}

/* ---- pthread_cancel */
static void *read_as_guest(void *arg)
{
	char c;

	return (void *)gort_read(arg, &c, 1);
}

static void *look_as_guest(void *arg)
{
	while (gort_wait_fd(gort_file_fd(arg), POLLIN, GORT_NOW) != POLLIN)
		;
	return NULL;
}

static void cancel_while_it(void *(*what)(void *), gort_file *r, gort_file *w)
{
	pthread_t t;

	CHECK_EQ(pthread_create(&t, NULL, what, r), 0);
	gort_sleep(10 * GORT_MS);
	CHECK_EQ(pthread_cancel(t), 0);
	CHECK_EQ(gort_write(w, "x", 1), 1);
	CHECK_EQ(pthread_join(t, NULL), 0);
}

/* A plain thread that is cancelled does not end inside gort: it would have a turn for ever, and the
 * runtime's end would wait for it. */
TEST(a_plain_thread_is_not_cancelled_inside)
{
	gort_file *r, *w;
	char c;

	make_pipe(&r, &w);
	cancel_while_it(read_as_guest, r, w);
	cancel_while_it(look_as_guest, r, w);
	CHECK_EQ(gort_set_read_deadline(r, gort_in(10 * GORT_SEC)), 0);
	CHECK_EQ(gort_read(r, &c, 1), 1);
	CHECK_EQ(gort_close(r), 0);
	CHECK_EQ(gort_close(w), 0);
}
