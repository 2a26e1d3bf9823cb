/*
 * preempt.c - goroutines that run on and on: the others get their turns all the same.
 */
#include "hogs.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

// variants: maxprocs
// not: tsan
TEST(sleepers_go_on_among_hogs)
{
	struct hogs h = { 0 };

	hogs_start(&h, 4);
	for (int i = 0; i < SCALE(50); i++)
		CHECK_EQ(gort_sleep(GORT_MS), 0);
	hogs_stop(&h);
}

// variants: maxprocs
// not: tsan
TEST(channels_go_on_among_hogs)
{
	gort_chan *c[2] = { gort_chan_make(sizeof(int), 0), gort_chan_make(sizeof(int), 0) };
	gort_waitgroup ended = { 0 };
	struct hogs h = { 0 };

	CHECK_EQ(gort_waitgroup_go(&ended, hogs_echo, c), 0);
	hogs_start(&h, 4);
	for (int i = 0, n = -1; i < SCALE(1000); i++) {
		CHECK_EQ(gort_chan_send(c[0], &i), 0);
		CHECK_EQ(gort_chan_recv(c[1], &n), 0);
		CHECK_EQ(n, i);
	}
	hogs_stop(&h);
	CHECK_EQ(gort_chan_close(c[0]), 0);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	gort_chan_release(c[0]);
	gort_chan_release(c[1]);
}

// variants: maxprocs
// not: tsan
TEST(timers_fire_among_hogs)
{
	gort_timer *t = gort_timer_start(gort_in(GORT_MS), GORT_MS, NULL, NULL);
	struct hogs h = { 0 };
	int64_t at;

	CHECK(t != NULL);
	hogs_start(&h, 4);
	for (int i = 0; i < SCALE(20); i++)
		CHECK_EQ(gort_chan_recv(gort_timer_chan(t), &at), 0);
	hogs_stop(&h);
	gort_timer_release(t);
}

TEST_DIES(preempt_on_without_off, "gort_preempt_on")
{
	gort_preempt_on();
}

TEST_PLAIN(preempt_off_does_nothing_on_a_plain_thread)
{
	gort_preempt_off();
	gort_preempt_on();
	gort_preempt_on();
}

/* ---- hogs in libraries: stopped with whatever lock they hold there */
struct storm {
	atomic_bool stop;
	atomic_int rounds;
	gort_waitgroup ended;
	void (*once)(struct storm *s);
	FILE *file;
	pthread_mutex_t mutex;
	void *blocks;
};

static void rage(void *arg)
{
	struct storm *s = arg;

	while (!atomic_load(&s->stop)) {
		s->once(s);
		atomic_fetch_add(&s->rounds, 1);
	}
}

static void storm_start(struct storm *s, void (*once)(struct storm *s), int n)
{
	s->once = once;
	for (int i = 0; i < n; i++)
		CHECK_EQ(gort_waitgroup_go(&s->ended, rage, s), 0);
}

static void storm_end(struct storm *s)
{
	EVENTUALLY(atomic_load(&s->rounds) > 3); /* it was one */
	atomic_store(&s->stop, true);
	CHECK_EQ(gort_waitgroup_wait(&s->ended), 0);
}

/* Main allocates as well: it waits for the lock in the kernel, which a stopped one holds. */
static void weather(void (*once)(struct storm *s))
{
	struct storm s = { .file = tmpfile(), .mutex = PTHREAD_MUTEX_INITIALIZER };

	CHECK(s.file != NULL);
	storm_start(&s, once, 4);
	for (int i = 0; i < SCALE(20); i++) {
		make_progress(SCALE(10));
		once(&s);
	}
	storm_end(&s);
	fclose(s.file);
}

static void allocate(struct storm *s)
{
	void *p[64];

	(void)s;
	for (int i = 0; i < 64; i++) {
		p[i] = malloc((size_t)(i * 97 % 5000 + 1));
		CHECK(p[i] != NULL);
	}
	for (int i = 0; i < 64; i++)
		free(p[i * 7 % 64]);
}

// variants: maxprocs
// not: tsan
TEST(hogs_in_malloc)
{
	mallopt(M_ARENA_MAX, 1); /* one lock for all */
	weather(allocate);
}

static void print(struct storm *s)
{
	for (int i = 0; i < 100; i++)
		CHECK(fprintf(s->file, "%d %s %f\n", i, "a line of some length", i / 3.0) > 0);
	if (ftell(s->file) > 1 << 22)
		rewind(s->file);
}

// variants: maxprocs
// not: tsan
TEST(hogs_in_printf_to_one_file)
{
	weather(print);
}

/* Stopped in its own code, and so without delay, while it has the FILE. */
static void hold_file(struct storm *s)
{
	flockfile(s->file);
	for (volatile int i = 0; i < 100000; i = i + 1)
		continue;
	fputs("x", s->file);
	funlockfile(s->file);
}

// variants: maxprocs
// not: tsan
TEST(hogs_that_hold_a_file)
{
	weather(hold_file);
}

static void load_library(struct storm *s)
{
	void *lib = dlopen("libm.so.6", RTLD_NOW);

	(void)s;
	if (!lib)
		return; /* a static program */
	CHECK(dlsym(lib, "cos") != NULL);
	dlclose(lib);
}

// variants: maxprocs
// not: tsan
TEST(hogs_in_the_loader)
{
	weather(load_library);
}

static int burn_in_callback(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)info;
	(void)size;
	(void)arg;
	for (volatile int i = 0; i < 100000; i = i + 1)
		continue;
	return 0;
}

static void hold_loader(struct storm *s)
{
	(void)s;
	dl_iterate_phdr(burn_in_callback, NULL);
}

// variants: maxprocs
// not: tsan
TEST(hogs_that_hold_the_loaders_lock)
{
	weather(hold_loader);
}

static int compare_slowly(const void *a, const void *b)
{
	int x, y;

	memcpy(&x, a, sizeof x);
	memcpy(&y, b, sizeof y);
	for (volatile int i = 0; i < 100; i = i + 1)
		continue;
	return (x > y) - (x < y);
}

static void sort(struct storm *s)
{
	static const unsigned many = 2000;
	unsigned seed = (unsigned)gort_self();
	int *all = malloc(many * sizeof *all);

	(void)s;
	CHECK(all != NULL);
	for (unsigned i = 0; i < many; i++)
		all[i] = rand_r(&seed);
	qsort(all, many, sizeof *all, compare_slowly);
	for (unsigned i = 1; i < many; i++)
		CHECK(all[i - 1] <= all[i]);
	free(all);
}

// variants: maxprocs
// not: tsan
TEST(hogs_in_qsort)
{
	weather(sort);
}

static void format(struct storm *s)
{
	char text[64];

	(void)s;
	for (int i = 0; i < 200; i++) {
		CHECK_EQ(snprintf(text, sizeof text, "%.10Lf", (long double)i / 7),
			 i < 70 ? 12 : 13);
		CHECK_EQ((int)(strtod(text, NULL) * 7 + 0.5), i);
	}
}

// variants: maxprocs
// not: tsan
TEST(hogs_in_long_double_formatting)
{
	weather(format);
}

static void run_program(struct storm *s)
{
	int status = -1;
	pid_t child = fork();

	(void)s;
	CHECK(child >= 0);
	if (child == 0) {
		execl("/bin/true", "true", (char *)NULL);
		_exit(127);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 0);
}

// variants: maxprocs
// not: tsan
TEST(hogs_that_fork_and_exec)
{
	weather(run_program);
}

static void hold_mutex(struct storm *s)
{
	CHECK_EQ(pthread_mutex_lock(&s->mutex), 0);
	for (volatile int i = 0; i < 100000; i = i + 1)
		continue;
	CHECK_EQ(pthread_mutex_unlock(&s->mutex), 0);
}

// variants: maxprocs
// not: tsan
TEST(hogs_that_hold_a_pthread_mutex)
{
	weather(hold_mutex);
}

/* ---- the rule of foreign locks: no call of gort needs a lock that a stopped one may hold */
static int one(void *arg)
{
	(void)arg;
	return 1;
}

static void panic(void *arg)
{
	(void)arg;
	gort_panic("%d", 5);
}

static void *make_object(void *arg)
{
	return arg;
}

static int in_scope(void *arg)
{
	(void)arg;
	gort_yield();
	return 0;
}

static void use_all(void)
{
	static gort_once once;
	gort_mutex mutex = { 0 };
	gort_rwmutex rw = { 0 };
	gort_cond cond = { 0 };
	gort_sem sem = { 0 };
	gort_waitgroup group = { 0 };
	gort_chan *c = gort_chan_make(sizeof(int), 1), *tick;
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background()), *old;
	gort_flight *flight = gort_flight_make();
	gort_pool *pool = gort_pool_make(make_object, NULL, &mutex);
	gort_after *after;
	gort_scope *scope;
	gort_timer *timer;
	gort_task *task;
	gort_key key;
	char text[16];
	bool shared;
	int n = 3;

	CHECK_EQ(gort_chan_send(c, &n), 0);
	CHECK_EQ(gort_select((gort_case[]){ GORT_CASE_RECV(c, &n), GORT_CASE_TIME(GORT_FOREVER) },
			     2, GORT_FOREVER),
		 0);
	task = gort_spawn(one, NULL, &(gort_attr){ .name = "one" });
	CHECK_EQ(gort_join(task, &n), 0);
	CHECK_EQ(n, 1);
	gort_mutex_lock(&mutex);
	CHECK_EQ(gort_cond_wait_until(&cond, &mutex, gort_in(GORT_US)), -ETIMEDOUT);
	gort_mutex_unlock(&mutex);
	gort_rwmutex_rlock(&rw);
	gort_rwmutex_runlock(&rw);
	gort_sem_release(&sem, 1);
	CHECK_EQ(gort_sem_acquire(&sem, 1), 0);
	gort_once_do(&once, do_nothing, NULL);
	CHECK_EQ(gort_waitgroup_go(&group, do_nothing, NULL), 0);
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
	CHECK_EQ(gort_flight_do(flight, "key", one, NULL, &shared), 1);
	gort_pool_put(pool, gort_pool_get(pool));
	gort_pool_trim(pool);
	after = gort_ctx_after_func(ctx, do_nothing, NULL);
	old = gort_ctx_enter(ctx);
	gort_ctx_cancel(ctx, 0);
	CHECK_EQ(gort_sleep(GORT_SEC), -ECANCELED);
	gort_ctx_leave(old);
	gort_ctx_after_stop(after);
	scope = gort_scope_open(2);
	CHECK_EQ(gort_scope_go(scope, in_scope, NULL), 0);
	CHECK_EQ(gort_scope_go(scope, in_scope, NULL), 0);
	CHECK_EQ(gort_scope_close(scope), 0);
	timer = gort_timer_start(gort_in(GORT_US), 0, NULL, NULL);
	CHECK_EQ(gort_chan_recv(gort_timer_chan(timer), NULL), 0);
	gort_timer_release(timer);
	tick = gort_after_chan(GORT_US);
	CHECK_EQ(gort_chan_recv(tick, NULL), 0);
	CHECK_EQ(gort_try(panic, NULL, text, sizeof text), -EOWNERDEAD);
	CHECK_STR(text, "5");
	CHECK_EQ(gort_key_create(&key, NULL), 0);
	CHECK_EQ(gort_key_set(key, &n), 0);
	gort_key_delete(key);
	CHECK_EQ(gort_defer(do_nothing, NULL), 0);
	gort_lock_thread();
	gort_unlock_thread();
	gort_preempt_off();
	gort_preempt_on();
	CHECK_EQ(gort_blocking(one, NULL), 1);
	CHECK_EQ(gort_signal_notify(c, SIGUSR2), 0);
	CHECK_EQ(gort_signal_stop(c), 0);
	gort_yield();
	gort_chan_release(tick);
	gort_chan_release(c);
	gort_flight_release(flight);
	gort_pool_release(pool);
	gort_ctx_release(ctx);
}

/* It walks all free blocks under the arena's lock, which takes longer than any patience. */
static void walk_heap(struct storm *s)
{
	(void)s;
	CHECK(mallinfo2().arena > 0);
}

// Valgrind has a malloc of its own.
// variants: maxprocs
// not: tsan asan valgrind
TEST(all_calls_while_malloc_is_held_by_stopped_ones)
{
	enum { BLOCKS = 200000 };
	static void *blocks[BLOCKS];
	struct storm s = { 0 };

	mallopt(M_ARENA_MAX, 1);
	for (int i = 0; i < BLOCKS; i++)
		blocks[i] = malloc(1100);
	for (int i = 0; i < BLOCKS; i += 2)
		free(blocks[i]);
	storm_start(&s, walk_heap, 3);
	for (int i = 0; i < 20; i++)
		use_all();
	storm_end(&s);
	for (int i = 1; i < BLOCKS; i += 2)
		free(blocks[i]);
}

// variants: maxprocs
// not: tsan
TEST(all_calls_while_the_loader_is_held_by_stopped_ones)
{
	struct storm s = { 0 };

	storm_start(&s, hold_loader, 3);
	for (int i = 0; i < SCALE(50); i++)
		use_all();
	storm_end(&s);
}

/* ---- convoys */
struct printers {
	FILE *file;
	atomic_bool stop;
	atomic_int done;
	gort_waitgroup ended;
};

static void print_on_and_on(void *arg)
{
	struct printers *p = arg;

	while (!atomic_load(&p->stop))
		fprintf(p->file, "%s\n", "hog");
}

static void print_one(void *arg)
{
	struct printers *p = arg;

	CHECK_EQ(fprintf(p->file, "%09llu\n", (unsigned long long)gort_self()), 10);
	atomic_fetch_add(&p->done, 1);
}

// variants: maxprocs
// not: tsan
TEST(printing_hog_among_many_who_print)
{
	enum { MANY = SCALE(20000) };
	struct printers p = { .file = fopen("/dev/null", "we") };
	gort_waitgroup hog_ended = { 0 };
	int most = 0, n;

	CHECK(p.file != NULL);
	CHECK_EQ(gort_waitgroup_go(&hog_ended, print_on_and_on, &p), 0);
	for (int i = 0; i < MANY; i++) {
		CHECK_EQ(gort_waitgroup_go(&p.ended, print_one, &p), 0);
		if (i % 100 == 0 && (n = count_threads()) > most)
			most = n;
	}
	while (gort_waitgroup_wait_until(&p.ended, gort_in(5 * GORT_MS)) != 0)
		if ((n = count_threads()) > most)
			most = n;
	atomic_store(&p.stop, true);
	CHECK_EQ(gort_waitgroup_wait(&hog_ended), 0);
	CHECK_EQ(atomic_load(&p.done), MANY);
	CHECK(most <= 400); /* of 20,000 */
	fclose(p.file);
}

/* ---- how many threads, and whose turn */
static void burn_20ms(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
	burn(20 * GORT_MS);
}

// variants: maxprocs
// not: tsan
TEST(computing_goroutines_stop_a_bounded_number_of_threads)
{
	enum { MANY = SCALE(400) };
	gort_waitgroup ended = { 0 };
	atomic_int began = 0;
	int most = 0, n;

	for (int i = 0; i < MANY; i++)
		CHECK_EQ(gort_waitgroup_go(&ended, burn_20ms, &began), 0);
	while (gort_waitgroup_wait_until(&ended, gort_in(5 * GORT_MS)) != 0)
		if ((n = count_threads()) > most)
			most = n;
	CHECK_EQ(atomic_load(&began), MANY);
	n = retakes();
	if (most > 256 + gort_maxprocs(0) + 8 + n)
		test_fail_(__FILE__, __LINE__, "%d threads, %d retakes", most, n);
}

enum { EQUALS = 6 };

struct equals {
	atomic_bool stop;
	_Atomic int64_t cpu[EQUALS];
	atomic_int next;
	gort_waitgroup ended;
};

static void count_cpu(void *arg)
{
	struct equals *e = arg;
	int own = atomic_fetch_add(&e->next, 1);
	int64_t start = thread_cpu();

	while (!atomic_load(&e->stop)) {
		for (volatile int i = 0; i < 20000; i = i + 1)
			continue;
		atomic_store(&e->cpu[own], thread_cpu() - start);
	}
}

static int64_t least(struct equals *e, int64_t *most)
{
	int64_t min = INT64_MAX;

	*most = 0;
	for (int i = 0; i < EQUALS; i++) {
		int64_t cpu = atomic_load(&e->cpu[i]);

		min = cpu < min ? cpu : min;
		*most = cpu > *most ? cpu : *most;
	}
	return min;
}

// variants: maxprocs
// not: tsan
TEST(equal_hogs_get_equal_shares)
{
	struct equals e = { 0 };
	int64_t most;

	if (gort_maxprocs(0) > 2) /* the shares that threads get are the kernel's business */
		gort_maxprocs(2);
	for (int i = 0; i < EQUALS; i++)
		CHECK_EQ(gort_waitgroup_go(&e.ended, count_cpu, &e), 0);
	/* In the end, whatever the kernel makes of it at first. */
	EVENTUALLY(least(&e, &most) >= 300 * GORT_MS && most <= 2 * least(&e, &most));
	atomic_store(&e.stop, true);
	CHECK_EQ(gort_waitgroup_wait(&e.ended), 0);
}

struct turns {
	gort_chan *c[2];
	atomic_bool stop;
	atomic_int others;
	gort_waitgroup ended;
};

static void long_turns(struct turns *t, int from, int to)
{
	while (gort_chan_recv(t->c[from], NULL) == 0) {
		burn(3 * GORT_MS);
		if (atomic_load(&t->stop))
			break;
		CHECK_EQ(gort_chan_send(t->c[to], NULL), 0);
	}
	gort_chan_close(t->c[to]);
}

static void ping(void *arg)
{
	long_turns(arg, 0, 1);
}

static void pong(void *arg)
{
	long_turns(arg, 1, 0);
}

static void yield_and_count(void *arg)
{
	struct turns *t = arg;

	while (!atomic_load(&t->stop)) {
		atomic_fetch_add(&t->others, 1);
		gort_yield();
	}
}

// variants: maxprocs
// not: tsan
TEST(pair_of_long_turns_does_not_starve_a_queue)
{
	struct turns t = { .c = { gort_chan_make(0, 1), gort_chan_make(0, 1) } };

	CHECK_EQ(gort_waitgroup_go(&t.ended, ping, &t), 0);
	CHECK_EQ(gort_waitgroup_go(&t.ended, pong, &t), 0);
	CHECK_EQ(gort_chan_send(t.c[0], NULL), 0);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(gort_waitgroup_go(&t.ended, yield_and_count, &t), 0);
	EVENTUALLY(atomic_load(&t.others) >= 400);
	atomic_store(&t.stop, true);
	CHECK_EQ(gort_waitgroup_wait(&t.ended), 0);
	gort_chan_release(t.c[0]);
	gort_chan_release(t.c[1]);
}

/* ---- no preemption where none is wanted */
struct alone {
	atomic_int others;
	atomic_bool stop;
	gort_waitgroup ended;
};

static void count_turns(void *arg)
{
	struct alone *a = arg;

	while (!atomic_load(&a->stop)) {
		atomic_fetch_add(&a->others, 1);
		gort_yield();
	}
}

/* With one P: nobody else moves while this one computes. */
static void check_alone(struct alone *a)
{
	int before = atomic_load(&a->others);

	burn(50 * GORT_MS);
	CHECK_EQ(atomic_load(&a->others), before);
}

static void alone_start(struct alone *a)
{
	gort_maxprocs(1);
	CHECK_EQ(gort_waitgroup_go(&a->ended, count_turns, a), 0);
	EVENTUALLY(atomic_load(&a->others) > 0);
}

static void alone_end(struct alone *a)
{
	atomic_store(&a->stop, true);
	CHECK_EQ(gort_waitgroup_wait(&a->ended), 0);
}

// not: tsan
TEST(preempt_off_nests_and_on_gives_way)
{
	struct alone a = { 0 };
	int before;

	alone_start(&a);
	gort_preempt_off();
	check_alone(&a);
	gort_preempt_off();
	check_alone(&a);
	gort_preempt_on();
	check_alone(&a);
	before = atomic_load(&a.others);
	gort_preempt_on();
	while (atomic_load(&a.others) == before) /* for ever if it is not preempted */
		continue;
	alone_end(&a);
}

// not: tsan
TEST(preempt_off_does_not_keep_it_from_waiting)
{
	struct alone a = { 0 };

	alone_start(&a);
	gort_preempt_off();
	for (int i = 0; i < 20; i++) {
		int before = atomic_load(&a.others);

		while (atomic_load(&a.others) == before)
			gort_yield();
		CHECK_EQ(gort_sleep(GORT_MS), 0);
		check_alone(&a);
	}
	gort_preempt_on();
	alone_end(&a);
}

static int alone_in_task(void *arg)
{
	check_alone(arg);
	return 0;
}

// not: tsan
TEST(attribute_off_is_never_preempted)
{
	struct alone a = { 0 };
	gort_task *task;

	alone_start(&a);
	task = gort_spawn(alone_in_task, &a, &(gort_attr){ .preempt = GORT_PREEMPT_OFF });
	CHECK(task != NULL);
	CHECK_EQ(gort_join(task, NULL), 0);
	alone_end(&a);
}

TEST(attribute_preempt_of_nonsense_is_refused)
{
	CHECK(gort_spawn(one, NULL, &(gort_attr){ .preempt = 3 }) == NULL);
	CHECK(gort_spawn(one, NULL, &(gort_attr){ .preempt = -1 }) == NULL);
}

static int slice_off(void *arg)
{
	struct alone *a = arg;

	alone_start(a);
	check_alone(a);
	alone_end(a);
	return 0;
}

// not: tsan
TEST_PLAIN(slice_below_zero_is_no_preemption)
{
	CHECK_EQ(gort_run(slice_off, &(struct alone){ 0 },
			  &(gort_options){ .preempt_slice_us = -1 }),
		 0);
	CHECK_EQ(gort_run(slice_off, &(struct alone){ 0 },
			  &(gort_options){ .preempt_slice_us = INT32_MIN }),
		 0);
}

static int among_hogs(void *arg)
{
	struct hogs h = { 0 };

	(void)arg;
	hogs_start(&h, 4);
	make_progress(SCALE(200));
	hogs_stop(&h);
	return 0;
}

// variants: maxprocs
// not: tsan
TEST_PLAIN(slices_of_all_lengths)
{
	const int us[] = { 1, 10, 1000, 100000, INT32_MAX };

	for (size_t i = 0; i < sizeof us / sizeof us[0]; i++)
		CHECK_EQ(gort_run(among_hogs, NULL, &(gort_options){ .preempt_slice_us = us[i] }),
			 0);
}

/* ---- how hogs end */
static void burn_and_panic(void *arg)
{
	burn(15 * GORT_MS);
	gort_panic("%s", (const char *)arg);
}

static void panic_and_be_caught(void *arg)
{
	char text[16];

	CHECK_EQ(gort_try(burn_and_panic, arg, text, sizeof text), -EOWNERDEAD);
	CHECK_STR(text, arg);
}

static void burn_and_exit(void *arg)
{
	(void)arg;
	burn(15 * GORT_MS);
	gort_goexit();
}

static int burn_and_give(void *arg)
{
	burn(15 * GORT_MS);
	return *(int *)arg;
}

static int burn_till_cancelled(void *arg)
{
	(void)arg;
	while (gort_ctx_err(gort_ctx_current()) == 0)
		for (volatile int i = 0; i < 10000; i = i + 1)
			continue;
	return gort_sleep(GORT_SEC);
}

// variants: maxprocs
// not: tsan
TEST(hogs_end_in_every_way)
{
	enum { EACH = SCALE(20) };
	gort_task *joined[EACH], *cancelled[EACH];
	gort_waitgroup ended = { 0 };
	int numbers[EACH], result;

	for (int i = 0; i < EACH; i++) {
		numbers[i] = i;
		CHECK_EQ(gort_waitgroup_go(&ended, panic_and_be_caught, "caught"), 0);
		CHECK_EQ(gort_waitgroup_go(&ended, burn_and_exit, NULL), 0);
		joined[i] = gort_spawn(burn_and_give, &numbers[i], NULL);
		cancelled[i] = gort_spawn(burn_till_cancelled, NULL, NULL);
		CHECK(joined[i] && cancelled[i]);
	}
	for (int i = 0; i < EACH; i++) {
		CHECK_EQ(gort_join(joined[i], &result), 0);
		CHECK_EQ(result, i);
		gort_task_cancel(cancelled[i], 0);
	}
	for (int i = 0; i < EACH; i++) {
		CHECK_EQ(gort_join(cancelled[i], &result), 0);
		CHECK_EQ(result, -ECANCELED);
	}
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
}

// not: tsan
TEST(maxprocs_changes_among_hogs)
{
	static const int to[] = { 1, 8, 2, 1, 4, 64, 1, 3 };
	struct hogs h = { 0 };

	hogs_start(&h, 6);
	for (int i = 0; i < SCALE(100); i++) {
		gort_maxprocs(to[i % 8]);
		make_progress(5);
		if (i % 3 == 0)
			burn(2 * GORT_MS);
	}
	hogs_stop(&h);
}

/* ---- all of it at once: nothing is lost, nothing comes twice */
struct mix {
	gort_chan *c;
	atomic_bool stop;
	atomic_long sent, received, sum_sent, sum_received;
	gort_waitgroup senders, receivers, others;
	int fd[2];
	int rounds;
};

static void mix_send(void *arg)
{
	struct mix *m = arg;
	unsigned seed = (unsigned)gort_self();

	for (int i = 0; i < m->rounds; i++) {
		int value = rand_r(&seed) % 1000;

		if (value % 50 == 0)
			burn(GORT_MS);
		else if (value % 50 == 1)
			usleep(100);
		else if (value % 50 == 2)
			gort_sleep(50 * GORT_US);
		if (value % 3 == 0) {
			while (gort_chan_send_until(m->c, &value, gort_in(200 * GORT_US)) != 0)
				continue;
		} else {
			CHECK_EQ(gort_chan_send(m->c, &value), 0);
		}
		atomic_fetch_add(&m->sent, 1);
		atomic_fetch_add(&m->sum_sent, value);
	}
}

static void mix_receive(void *arg)
{
	struct mix *m = arg;
	int value, err;

	for (long i = 0;; i++) {
		err = i % 3 ? gort_chan_recv(m->c, &value)
			    : gort_chan_recv_until(m->c, &value, gort_in(300 * GORT_US));
		if (err == -EPIPE)
			break;
		if (err == -ETIMEDOUT)
			continue;
		CHECK_EQ(err, 0);
		atomic_fetch_add(&m->received, 1);
		atomic_fetch_add(&m->sum_received, value);
		if (i % 64 == 0)
			burn(500 * GORT_US);
	}
}

static int mix_read(void *arg)
{
	struct mix *m = arg;
	char byte;

	return (int)read(m->fd[0], &byte, 1);
}

static void mix_block(void *arg)
{
	struct mix *m = arg;

	for (int i = 0; !atomic_load(&m->stop); i++) {
		CHECK_EQ(i % 2 ? gort_blocking(mix_read, m) : mix_read(m), 1);
		gort_yield();
	}
}

static void mix_feed(void *arg)
{
	struct mix *m = arg;

	while (!atomic_load(&m->stop)) {
		CHECK_EQ(write(m->fd[1], "x", 1), 1);
		gort_sleep(200 * GORT_US);
	}
	CHECK_EQ(write(m->fd[1], "xxxxxxxxxxxxxxxx", 16), 16);
}

static void mix_locked(void *arg)
{
	struct mix *m = arg;
	pid_t tid;

	gort_lock_thread();
	tid = gettid();
	while (!atomic_load(&m->stop)) {
		gort_sleep(100 * GORT_US);
		CHECK_EQ(gettid(), tid);
		burn(200 * GORT_US);
		CHECK_EQ(gettid(), tid);
		gort_yield();
	}
	gort_unlock_thread();
}

static void mix_all(int rounds)
{
	struct mix m = { .c = gort_chan_make(sizeof(int), 5), .rounds = rounds };
	struct hogs h = { 0 };

	CHECK_EQ(pipe(m.fd), 0);
	hogs_start(&h, 3);
	for (int i = 0; i < 8; i++) {
		CHECK_EQ(gort_waitgroup_go(&m.senders, mix_send, &m), 0);
		CHECK_EQ(gort_waitgroup_go(&m.receivers, mix_receive, &m), 0);
		CHECK_EQ(gort_waitgroup_go(&m.others, mix_block, &m), 0);
		CHECK_EQ(gort_waitgroup_go(&m.others, mix_locked, &m), 0);
	}
	CHECK_EQ(gort_waitgroup_go(&m.others, mix_feed, &m), 0);
	CHECK_EQ(gort_waitgroup_wait(&m.senders), 0);
	CHECK_EQ(gort_chan_close(m.c), 0);
	CHECK_EQ(gort_waitgroup_wait(&m.receivers), 0);
	atomic_store(&m.stop, true);
	hogs_stop(&h);
	CHECK_EQ(gort_waitgroup_wait(&m.others), 0);
	CHECK_EQ(atomic_load(&m.received), 8L * rounds);
	CHECK_EQ(atomic_load(&m.sum_received), atomic_load(&m.sum_sent));
	gort_chan_release(m.c);
	close(m.fd[0]);
	close(m.fd[1]);
}

// variants: maxprocs
// not: tsan
TEST(messages_are_kept_among_all_that_disturbs)
{
	mix_all(SCALE(100));
}

// variants: maxprocs
// label: full
// not: tsan
TEST(messages_are_kept_for_long)
{
	mix_all(SCALE(10000));
}
