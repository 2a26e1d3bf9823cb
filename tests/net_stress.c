/*
 * net_stress.c - many files and many goroutines: descriptors that are closed and used again under
 * readers, thousands of connections, storms, the runtime's end in the middle of it, hogs beside
 * those who wait for descriptors, deadlocks and what is none.
 */
#include "hogs.h"
#include "io.h"
#include "sched/sched.h"

#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/timerfd.h>

static gort_waitgroup group;

static void wait_for_group(void)
{
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
}

static unsigned next_random(unsigned *state)
{
	*state = *state * 1103515245 + 12345;
	return *state >> 16;
}

/* ---- descriptors that are used again ------------------------------------------------------------- */

struct channel {
	gort_file *from;
	int64_t id;
};

static atomic_int_fast64_t ids, seen;

/* All that comes has its number. */
static void read_ids(void *arg)
{
	struct channel *c = arg;
	int64_t got;
	ssize_t n;

	while ((n = gort_read_full(c->from, &got, sizeof got)) == sizeof got) {
		CHECK_EQ(got, c->id);
		atomic_fetch_add(&seen, 1);
	}
	CHECK(n == 0 || n == -EBADF || n == -ECONNRESET);
	gort_close(c->from); /* it is a holder, too */
	free(c);
}

static void close_later(void *arg)
{
	gort_close(arg);
}

static void open_and_close(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	for (int i = 0; i < SCALE(1500); i++) {
		struct channel *c = malloc(sizeof *c);
		unsigned r = next_random(&seed);
		gort_file *p[2];
		int64_t id;

		if (r % 3 == 0)
			socket_pair(SOCK_STREAM, p);
		else
			pipe_pair(p);
		id = atomic_fetch_add(&ids, 1);
		*c = (struct channel){ p[0], id }; /* its reader frees it */
		gort_file_retain(p[0]);
		CHECK_EQ(gort_waitgroup_go(&group, read_ids, c), 0);
		if (r & 4)
			gort_yield();
		for (unsigned k = 0; k < r / 8 % 4; k++)
			if (gort_write(p[1], &id, sizeof id) < 0)
				break;
		if (r & 32)
			CHECK_EQ(gort_close(p[1]), 0);
		if (r & 64)
			gort_close(p[0]);
		else
			CHECK_EQ(gort_waitgroup_go(&group, close_later, p[0]), 0);
		if (!(r & 32))
			CHECK_EQ(gort_close(p[1]), 0);
	}
}

static void open_and_close_on_guest(void *arg)
{
	open_and_close(arg);
	gort_waitgroup_done(&group);
}

// variants: maxprocs
TEST(no_byte_goes_to_a_wrong_one)
{
	struct guest *g[2];

	for (uintptr_t i = 0; i < 8; i++)
		CHECK_EQ(gort_waitgroup_go(&group, open_and_close, (void *)(i * 7919 + 1)), 0);
	for (uintptr_t i = 0; i < 2; i++) {
		gort_waitgroup_add(&group, 1);
		g[i] = guest_start(open_and_close_on_guest, (void *)(i * 104729 + 3));
	}
	wait_for_group();
	guest_join(g[0]);
	guest_join(g[1]);
	CHECK(atomic_load(&seen) > 0);
}

/* ---- connections ------------------------------------------------------------------------------------ */

static int connections;

static int count_connections(void)
{
	struct rlimit r;

	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &r), 0);
	r.rlim_cur = r.rlim_max;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &r), 0);
	return r.rlim_cur > 4200 ? SCALE(2000) : 100;
}

static void echo(void *arg)
{
	char buf[512];
	ssize_t n;

	while ((n = gort_read(arg, buf, sizeof buf)) > 0)
		if (gort_write(arg, buf, (size_t)n) < 0)
			break;
	CHECK_EQ(gort_close(arg), 0);
}

/* As one more holder. */
static void serve(void *arg)
{
	gort_file *f;
	int err;

	while ((err = gort_accept(arg, &f)) == 0)
		CHECK_EQ(gort_waitgroup_go(&group, echo, f), 0);
	CHECK_EQ(err, -EBADF);
	CHECK_EQ(gort_close(arg), -EBADF);
}

static void start_server(gort_file *l)
{
	CHECK_EQ(gort_waitgroup_go(&group, serve, gort_file_retain(l)), 0);
}

static void talk(void *arg)
{
	gort_file *f = arg;
	char text[64], got[64];

	for (int i = 0; i < 10; i++) {
		int n = snprintf(text, sizeof text, "%p %d", arg, i);

		CHECK_EQ(gort_write(f, text, (size_t)n), n);
		CHECK_EQ(gort_read_full(f, got, (size_t)n), n);
		CHECK(memcmp(text, got, (size_t)n) == 0);
	}
	CHECK_EQ(gort_close(f), 0);
}

static gort_sem dialing = GORT_SEM_INIT(64);
static atomic_int dialed;

static void dial_and_talk(void *arg)
{
	gort_file *f;

	CHECK_EQ(gort_sem_acquire(&dialing, 1), 0);
	f = dial_to("tcp", arg);
	gort_sem_release(&dialing, 1);
	atomic_fetch_add(&dialed, 1);
	EVENTUALLY(atomic_load(&dialed) >= connections); /* all are there at once */
	talk(f);
}

// variants: maxprocs
TEST(two_thousand_connections_at_once)
{
	gort_file *l = listen_at("tcp", "127.0.0.1:0");
	gort_waitgroup talkers = { 0 };

	connections = count_connections();
	start_server(l);
	for (int i = 0; i < connections; i++)
		CHECK_EQ(gort_waitgroup_go(&talkers, dial_and_talk, l), 0);
	CHECK_EQ(gort_waitgroup_wait(&talkers), 0);
	CHECK_EQ(gort_close(l), 0);
	wait_for_group();
}

static void dial_and_hang_up(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	struct linger hard = { .l_onoff = 1 };
	char at[64];

	for (int i = 0; i < SCALE(500); i++) {
		gort_file *f;

		CHECK(gort_local_address(arg, at, sizeof at) > 0);
		CHECK_EQ(gort_dial(&f, "tcp", at), 0);
		setsockopt(gort_file_fd(f), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
		if (next_random(&seed) & 1)
			gort_write(f, "x", 1);
		CHECK_EQ(gort_close(f), 0);
	}
}

// variants: maxprocs
TEST(storms_of_connections)
{
	gort_file *l = listen_at("tcp", "127.0.0.1:0");
	gort_waitgroup dialers = { 0 };

	for (int i = 0; i < 4; i++)
		start_server(l);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(gort_waitgroup_go(&dialers, dial_and_hang_up, l), 0);
	CHECK_EQ(gort_waitgroup_wait(&dialers), 0);
	CHECK_EQ(gort_close(l), 0);
	wait_for_group();
}

static void dial_in_vain(void *arg)
{
	gort_file *f;

	for (int i = 0; i < SCALE(300); i++)
		if (gort_dial(&f, "unix", arg) == 0)
			CHECK_EQ(gort_close(f), 0);
}

// variants: maxprocs
TEST(listeners_that_come_and_go)
{
	char at[80];
	gort_waitgroup dialers = { 0 };

	snprintf(at, sizeof at, "%s", local_name("storm"));
	for (int i = 0; i < 4; i++)
		CHECK_EQ(gort_waitgroup_go(&dialers, dial_in_vain, at), 0);
	while (gort_waitgroup_wait_until(&dialers, gort_in(50 * GORT_US)) == -ETIMEDOUT) {
		gort_file *l = listen_at("unix", at);

		start_server(l);
		start_server(l);
		gort_sleep(100 * GORT_US);
		CHECK_EQ(gort_close(l), 0);
		wait_for_group();
	}
}

/* ---- the runtime's end in the middle of it --------------------------------------------------------------- */

#define SHARED 6

static struct {
	gort_file *p[SHARED][2];
	gort_file *regular, *zero;
	atomic_uint round;
} pool;

static void use_pool(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg + atomic_load(&pool.round) * 31;
	static char block[70000];
	char buf[5000];

	for (;;) {
		unsigned r = next_random(&seed);
		gort_file **p = pool.p[r % SHARED];

		switch (r / 8 % 8) {
		case 0:
		case 1:
			gort_read(p[0], buf, r / 64 % sizeof buf);
			break;
		case 2:
			gort_write(p[1], block, r / 64 % 9000 * 7);
			break;
		case 3:
			gort_copy(pool.zero, p[0], r / 64 % 5000, NULL);
			break;
		case 4:
			gort_copy(p[1], pool.zero, r / 64 % 5000, NULL);
			break;
		case 5:
			gort_copy(pool.p[(r + 1) % SHARED][1], p[0], r / 64 % 5000, NULL);
			break;
		case 6:
			gort_pwrite(pool.regular, block, r / 64 % 5000, 0);
			gort_set_read_deadline(p[0], r & 64 ? GORT_FOREVER : gort_in(GORT_US));
			break;
		default:
			gort_set_write_deadline(p[1], r & 64 ? GORT_FOREVER : gort_in(GORT_US));
			gort_write(pool.regular, block, r / 64 % 5000);
			gort_wait_fd(gort_file_fd(p[0]), POLLIN, gort_in(10 * GORT_US));
		}
	}
}

static int open_pool(void *arg)
{
	(void)arg;
	for (int i = 0; i < SHARED; i++) {
		if (i % 3 == 0)
			tcp_pair(pool.p[i]);
		else if (i % 3 == 1)
			socket_pair(SOCK_STREAM, pool.p[i]);
		else
			pipe_pair(pool.p[i]);
	}
	pool.regular = scratch_file();
	CHECK_EQ(gort_open(&pool.zero, "/dev/zero", O_RDWR, 0), 0);
	return 0;
}

static int use_and_end(void *arg)
{
	(void)arg;
	for (uintptr_t i = 0; i < 20; i++)
		CHECK_EQ(gort_go(use_pool, (void *)(i * 7919)), 0);
	gort_sleep((int64_t)atomic_fetch_add(&pool.round, 1) % 20 * 100 * GORT_US);
	return 0;
}

/* Who slept in the kernel as the runtime ended, on regular files, has its turn until it is back. */
static void pool_comes_to_rest(void)
{
	for (int i = 0; i < SHARED; i++)
		for (int k = 0; k < 2; k++) {
			EVENTUALLY(is_at_rest(pool.p[i][k]));
			gort_set_read_deadline(pool.p[i][k], GORT_FOREVER);
			gort_set_write_deadline(pool.p[i][k], GORT_FOREVER);
		}
	EVENTUALLY(is_at_rest(pool.regular));
	EVENTUALLY(is_at_rest(pool.zero));
}

// variants: maxprocs
TEST_PLAIN(runtime_ends_at_any_moment)
{
	CHECK_EQ(gort_run(open_pool, NULL, NULL), 0);
	for (int i = 0; i < SCALE(100); i++) {
		CHECK_EQ(gort_run(use_and_end, NULL, NULL), 0);
		pool_comes_to_rest();
	}
	for (int i = 0; i < SHARED; i++)
		close_both(pool.p[i]);
	CHECK_EQ(gort_close(pool.regular), 0);
	CHECK_EQ(gort_close(pool.zero), 0);
}

/* ---- deadlocks, and what is none ---------------------------------------------------------------------------- */

static const gort_options returns = { .on_deadlock = GORT_DEADLOCK_RETURN };

static int timer_in(int64_t ns)
{
	struct itimerspec t = { .it_value = { ns / GORT_SEC, ns % GORT_SEC } };
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	CHECK_EQ(timerfd_settime(fd, 0, &t, NULL), 0);
	return fd;
}

static int read_timer(void *arg)
{
	gort_file *f;
	uint64_t n;

	(void)arg;
	CHECK_EQ(gort_file_from_fd(&f, timer_in(1500 * GORT_MS)), 0);
	CHECK_EQ(gort_read(f, &n, sizeof n), sizeof n);
	return gort_close(f);
}

static int wait_for_timer(void *arg)
{
	int fd = timer_in(1500 * GORT_MS);

	(void)arg;
	CHECK_EQ(gort_wait_fd(fd, POLLIN, GORT_FOREVER), POLLIN);
	return close(fd);
}

static void read_timer_for(void *c)
{
	read_timer(NULL);
	CHECK_EQ(gort_chan_close(c), 0);
}

static int wait_for_who_reads(void *c)
{
	CHECK_EQ(gort_go(read_timer_for, c), 0);
	return gort_chan_recv(c, NULL);
}

/* Longer than it takes to notice a deadlock, and no thread and no timer of gort's is there. */
// not: tsan
// variants: maxprocs
TEST_PLAIN(who_waits_for_a_descriptor_is_no_deadlock)
{
	gort_chan *c = gort_chan_make(0, 0);

	CHECK_EQ(gort_run(read_timer, NULL, &returns), 0);
	CHECK_EQ(gort_run(wait_for_timer, NULL, &returns), 0);
	CHECK_EQ(gort_run(wait_for_who_reads, c, &returns), -EPIPE);
	gort_chan_release(c);
}

static gort_file *idle_pair[2];

static void read_forever(void *arg)
{
	char byte;

	gort_read(arg, &byte, 1);
}

static int close_and_wait(void *arg)
{
	gort_file *l = listen_at("tcp", "127.0.0.1:0"), *f = dial_to("tcp", l);

	CHECK_EQ(gort_close(f), 0);
	CHECK_EQ(gort_close(l), 0);
	pipe_pair(idle_pair);
	CHECK_EQ(gort_go(read_forever, idle_pair[0]), 0);
	CHECK_EQ(gort_go(read_forever, idle_pair[0]), 0);
	EVENTUALLY(waits_at_gate(idle_pair[0], POLL_READ));
	CHECK_EQ(gort_wait_fd(gort_file_fd(idle_pair[0]), POLLIN, gort_in(GORT_MS)), -ETIMEDOUT);
	close_both(idle_pair);
	return gort_chan_recv(arg, NULL);
}

// not: tsan
// variants: maxprocs
TEST_PLAIN(deadlock_when_nobody_waits_for_a_descriptor_any_more)
{
	gort_chan *c = gort_chan_make(0, 0);

	for (int i = 0; i < 2; i++)
		CHECK_EQ(gort_run(close_and_wait, c, &returns), -EDEADLK);
	gort_chan_release(c);
}

/* ---- beside hogs ---------------------------------------------------------------------------------------------- */

static struct {
	int there[2], back[2];
} ping;

static void answer(void *arg)
{
	gort_file **p = arg;
	char byte;

	while (gort_read(p[0], &byte, 1) == 1)
		CHECK_EQ(gort_write(p[1], &byte, 1), 1);
}

static void ask(void *arg)
{
	char byte = 'a';

	for (int i = 0; i < 50; i++) {
		CHECK_EQ(write(ping.there[1], &byte, 1), 1);
		CHECK_EQ(read(ping.back[0], &byte, 1), 1);
	}
	close(ping.there[1]);
	atomic_store((atomic_bool *)arg, true);
}

static void check_answers(void)
{
	gort_file *p[2];
	atomic_bool ended = false;
	struct guest *g;

	CHECK_EQ(pipe(ping.there), 0);
	CHECK_EQ(pipe(ping.back), 0);
	CHECK_EQ(gort_file_from_fd(&p[0], ping.there[0]), 0);
	CHECK_EQ(gort_file_from_fd(&p[1], ping.back[1]), 0);
	CHECK_EQ(gort_waitgroup_go(&group, answer, p), 0);
	g = guest_start(ask, &ended);
	EVENTUALLY(atomic_load(&ended));
	guest_join(g);
	wait_for_group();
	close_both(p);
	close(ping.back[0]);
}

/* However many hogs there are, who waits for descriptors has its turn. */
// variants: maxprocs
TEST(hogs_beside_those_who_wait_for_descriptors)
{
	struct hogs h = { 0 };

	hogs_start(&h, 1);
	check_answers();
	hogs_start(&h, 3);
	check_answers();
	hogs_stop(&h);
}

/* What an event has woken computes on and on: another event must not wait for it. */
static struct {
	atomic_bool stop, woken;
	gort_file *pair[2];
} busy;

static int be_busy(void *arg)
{
	char byte;

	(void)arg;
	CHECK_EQ(gort_read(busy.pair[0], &byte, 1), 1);
	atomic_store(&busy.woken, true);
	while (!atomic_load(&busy.stop))
		continue;
	return 0;
}

static void check_beside_busy(void *arg)
{
	int64_t end = gort_in(30 * GORT_SEC);

	(void)arg;
	usleep(20000); /* all idle */
	CHECK_EQ(write(busy.pair[1]->poll.fd, "x", 1), 1);
	while (!atomic_load(&busy.woken) && gort_now() < end)
		usleep(100);
	for (int i = 0; i < 30; i++) {
		char byte = 'b';

		usleep((useconds_t)i * 200);
		CHECK_EQ(write(ping.there[1], &byte, 1), 1);
		CHECK_EQ(read(ping.back[0], &byte, 1), 1);
	}
	atomic_store(&busy.stop, true);
	close(ping.there[1]);
}

// variants: maxprocs
TEST(events_beside_one_that_an_event_has_woken)
{
	gort_attr attr = { .preempt = gort_maxprocs(0) > 1 ? GORT_PREEMPT_OFF : 0 };
	gort_file *p[2];
	struct guest *g;
	gort_task *t;

	pipe_pair(busy.pair);
	CHECK_EQ(pipe(ping.there), 0);
	CHECK_EQ(pipe(ping.back), 0);
	CHECK_EQ(gort_file_from_fd(&p[0], ping.there[0]), 0);
	CHECK_EQ(gort_file_from_fd(&p[1], ping.back[1]), 0);
	t = gort_spawn(be_busy, NULL, &attr);
	CHECK(t != NULL);
	CHECK_EQ(gort_waitgroup_go(&group, answer, p), 0);
	EVENTUALLY(waits_at(busy.pair[0], POLL_READ));
	g = guest_start(check_beside_busy, NULL);
	wait_for_group(); /* without a timer: nobody but netpoll wakes anybody */
	guest_join(g);
	CHECK_EQ(gort_join(t, NULL), 0);
	close_both(p);
	close_both(busy.pair);
	close(ping.back[0]);
}

/* ---- events, timers and channels at once -------------------------------------------------------------------------- */

static void pass_on(void *arg)
{
	gort_file **p = arg;
	char byte;

	for (int i = 0; i < SCALE(1000); i++) {
		CHECK_EQ(gort_read(p[0], &byte, 1), 1);
		if (i % 16 == 0)
			gort_sleep(GORT_US * (i % 7));
		CHECK_EQ(gort_write(p[1], &byte, 1), 1);
	}
}

static void bounce(void *arg)
{
	gort_chan **c = arg;
	char byte = 0;

	for (int i = 0; i < SCALE(3000); i++) {
		CHECK_EQ(gort_chan_send(c[0], &byte), 0);
		CHECK_EQ(gort_chan_recv(c[1], &byte), 0);
		if (i % 64 == 0)
			gort_sleep(20 * GORT_US); /* Ms go idle, and are called */
	}
}

/* Ms that wait for events are called for other work all the time: none sleeps on. */
// variants: maxprocs
TEST(calls_of_those_who_wait_for_events)
{
	enum { RINGS = 4, LENGTH = 3, BOUNCERS = 4 };
	gort_file *pipes[RINGS][LENGTH][2], *legs[RINGS][LENGTH][2];
	gort_chan *c[BOUNCERS][2];

	for (int r = 0; r < RINGS; r++) {
		for (int i = 0; i < LENGTH; i++)
			pipe_pair(pipes[r][i]);
		for (int i = 0; i < LENGTH; i++) {
			legs[r][i][0] = pipes[r][i][0];
			legs[r][i][1] = pipes[r][(i + 1) % LENGTH][1];
			CHECK_EQ(gort_waitgroup_go(&group, pass_on, legs[r][i]), 0);
		}
		CHECK_EQ(gort_write(pipes[r][0][1], "t", 1), 1);
	}
	for (int i = 0; i < BOUNCERS; i++) {
		c[i][0] = c[i][1] = gort_chan_make(1, 1);
		CHECK_EQ(gort_waitgroup_go(&group, bounce, c[i]), 0);
	}
	wait_for_group();
	for (int r = 0; r < RINGS; r++)
		for (int i = 0; i < LENGTH; i++)
			close_both(pipes[r][i]);
	for (int i = 0; i < BOUNCERS; i++)
		gort_chan_release(c[i][0]);
}
