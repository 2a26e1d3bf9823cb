/*
 * panic.c - gort_panic and gort_try: what is caught, where it goes on, what is said when nobody
 * catches.
 */
#include "harness.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static gort_waitgroup group;

static void nothing(void *arg)
{
	(void)arg;
}

static void panic_with(void *arg)
{
	gort_panic("%s", (const char *)arg);
}

static void panic_formatted(void *arg)
{
	gort_panic("%d of %s: %05.1f%% %c", 7, (const char *)arg, 12.5, 'x');
}

/* ---- gort_try */
static void check_try(void *arg)
{
	char message[64];

	(void)arg;
	strcpy(message, "untouched");
	CHECK_EQ(gort_try(nothing, NULL, message, sizeof message), 0);
	CHECK_STR(message, "untouched");
	CHECK_EQ(gort_try(panic_with, "lost", message, sizeof message), -EOWNERDEAD);
	CHECK_STR(message, "lost");
	CHECK_EQ(gort_try(panic_formatted, "ten", message, sizeof message), -EOWNERDEAD);
	CHECK_STR(message, "7 of ten: 012.5% x");
	CHECK_EQ(gort_try(panic_with, "", message, sizeof message), -EOWNERDEAD);
	CHECK_STR(message, "");
	CHECK_EQ(gort_try(panic_with, "lost", NULL, 0), -EOWNERDEAD);
}

// variants: maxprocs
TEST(try_comes_back_with_the_message)
{
	check_try(NULL);
	on_guest(check_try, NULL);
}

TEST_PLAIN(try_on_a_plain_thread)
{
	check_try(NULL);
}

TEST(message_is_cut_to_size)
{
	char message[16], text[10000];

	for (size_t size = 1; size < sizeof message; size++) {
		memset(message, '#', sizeof message);
		CHECK_EQ(gort_try(panic_with, "0123456789", message, size), -EOWNERDEAD);
		CHECK_EQ(strlen(message), size - 1 < 10 ? size - 1 : 10);
		CHECK_EQ(strncmp(message, "0123456789", strlen(message)), 0);
		for (size_t i = size; i < sizeof message; i++)
			CHECK_EQ(message[i], '#');
	}
	message[0] = '#';
	CHECK_EQ(gort_try(panic_with, "0123456789", message, 0), -EOWNERDEAD);
	CHECK_EQ(message[0], '#');
	memset(text, 'y', sizeof text);
	text[sizeof text - 1] = '\0';
	CHECK_EQ(gort_try(panic_with, text, message, sizeof message), -EOWNERDEAD);
	CHECK_STR(message, "yyyyyyyyyyyyyyy");
}

static void check_small(void *arg)
{
	char message[8];

	(void)arg;
	CHECK_EQ(gort_try(panic_with, "on a small stack", message, sizeof message), -EOWNERDEAD);
	CHECK_STR(message, "on a sm");
}

static int small_task(void *arg)
{
	check_small(arg);
	return 1;
}

TEST(panic_on_the_smallest_stack)
{
	int got = 0;

	CHECK_EQ(gort_join(gort_spawn(small_task, NULL, &(gort_attr){ .stack_size = 16 << 10 }),
			   &got),
		 0);
	CHECK_EQ(got, 1);
}

static atomic_int came_back;
static void panic_below(int depth);
static void (*volatile deeper)(int depth) = panic_below; /* gcc calls it an infinite recursion */

static void panic_below(int depth)
{
	if (depth > 0)
		deeper(depth - 1);
	else
		gort_panic("from the depth");
	atomic_fetch_add(&came_back, 1);
}

static void panic_from_depth(void *arg)
{
	panic_below(*(int *)arg);
}

/* A try's frame is the goroutine's, whatever thread it runs on when the panic comes. */
static void park_and_panic(void *arg)
{
	for (int i = 0; i < 10; i++) {
		gort_yield();
		gort_sleep(1);
	}
	panic_from_depth(arg);
}

static void try_and_move(void *arg)
{
	char message[32] = "";
	int depth = 100;

	(void)arg;
	for (int i = 0; i < 5; i++) {
		CHECK_EQ(gort_try(park_and_panic, &depth, message, sizeof message), -EOWNERDEAD);
		CHECK_STR(message, "from the depth");
		CHECK_EQ(atomic_load(&came_back), 0);
	}
}

// variants: maxprocs
TEST(try_across_parks_and_threads)
{
	for (int i = 0; i < SCALE(200); i++)
		CHECK_EQ(gort_waitgroup_go(&group, try_and_move, NULL), 0);
	gort_waitgroup_wait(&group);
}

/* ---- within each other */
static void inner_fails(void *arg)
{
	char message[32];

	(void)arg;
	CHECK_EQ(gort_try(panic_with, "inner", message, sizeof message), -EOWNERDEAD);
	CHECK_STR(message, "inner");
	gort_panic("outer after %s", message);
}

static void tries_deeply(void *arg)
{
	intptr_t depth = (intptr_t)arg;
	char message[32];

	if (depth > 0) {
		CHECK_EQ(gort_try(tries_deeply, (void *)(depth - 1), message, sizeof message),
			 -EOWNERDEAD);
		CHECK_STR(message, "again");
	}
	gort_panic("again");
}

TEST(tries_nest)
{
	char message[32];

	CHECK_EQ(gort_try(inner_fails, NULL, message, sizeof message), -EOWNERDEAD);
	CHECK_STR(message, "outer after inner");
	CHECK_EQ(gort_try(tries_deeply, (void *)(intptr_t)50, message, sizeof message),
		 -EOWNERDEAD);
	CHECK_EQ(gort_try(nothing, NULL, message, sizeof message), 0);
}

/* ---- panics in defers */
static int ran;

static void count(void *arg)
{
	(void)arg;
	ran++;
}

static void count_and_panic(void *arg)
{
	count(arg);
	gort_panic("in a defer");
}

static void defers_panic(void *arg)
{
	for (int i = 0; i < 6; i++)
		CHECK_EQ(gort_defer(i % 2 ? count_and_panic : count, NULL), 0);
	if (arg)
		gort_panic("first");
}

/* Each defer runs once, whichever of them panic. */
TEST(panic_in_a_defer_goes_on_with_the_rest)
{
	char message[32] = "";

	CHECK_EQ(gort_try(defers_panic, NULL, message, sizeof message), -EOWNERDEAD);
	CHECK_EQ(ran, 6);
	CHECK_STR(message, "in a defer");
	CHECK_EQ(gort_try(defers_panic, message, message, sizeof message), -EOWNERDEAD);
	CHECK_EQ(ran, 12);
}

static void try_in_defer(void *arg)
{
	char message[32] = "";

	CHECK_EQ(gort_try(panic_with, "small one", message, sizeof message), -EOWNERDEAD);
	CHECK_STR(message, "small one");
	CHECK_EQ(gort_try(nothing, NULL, NULL, 0), 0);
	count(arg);
}

static void panics_over_a_try(void *arg)
{
	CHECK_EQ(gort_defer(count, NULL), 0);
	CHECK_EQ(gort_defer(try_in_defer, NULL), 0);
	gort_panic("%s", (const char *)arg);
}

/* What a defer catches is its own; the panic that it runs for goes on. */
TEST(try_in_a_defer_catches_only_its_own)
{
	char message[32] = "";

	CHECK_EQ(gort_try(panics_over_a_try, "large one", message, sizeof message), -EOWNERDEAD);
	CHECK_EQ(ran, 2);
	CHECK_STR(message, "large one");
}

/* ---- nobody catches it */
static atomic_uint_least64_t told;
static atomic_int tellings;
static char told_message[600];

static void note_panic(const char *message, uint64_t goroutine)
{
	snprintf(told_message, sizeof told_message, "%s", message);
	atomic_store(&told, goroutine);
	atomic_fetch_add(&tellings, 1);
}

static atomic_uint_least64_t panicker;

static void say_who_and_panic(void *arg)
{
	atomic_store(&panicker, gort_self());
	CHECK_EQ(gort_defer(count, NULL), 0);
	gort_yield();
	panic_with(arg);
}

static int told_of(void *arg)
{
	(void)arg;
	for (int i = 1; i <= 50; i++) {
		CHECK_EQ(gort_waitgroup_go(&group, say_who_and_panic, "uncaught"), 0);
		gort_waitgroup_wait(&group);
		EVENTUALLY(atomic_load(&tellings) == i);
		CHECK_EQ(atomic_load(&told), atomic_load(&panicker));
		CHECK_STR(told_message, "uncaught");
		CHECK_EQ(ran, i);
	}
	EVENTUALLY(gort_count() == 1);
	CHECK_EQ(gort_waitgroup_go(&group, defers_panic, NULL),
		 0); /* not after a panic, but at its end */
	gort_waitgroup_wait(&group);
	EVENTUALLY(gort_count() == 1);
	CHECK_EQ(ran, 56);
	CHECK(atomic_load(&tellings) > 50);
	CHECK_STR(told_message, "in a defer");
	return 2;
}

// variants: maxprocs
TEST_PLAIN(on_panic_is_told_and_the_others_go_on)
{
	CHECK_EQ(gort_run(told_of, NULL, &(gort_options){ .on_panic = note_panic }), 2);
}

static int panics_in_try(void *arg)
{
	check_try(arg);
	return 0;
}

TEST_PLAIN(on_panic_is_not_told_of_what_was_caught)
{
	CHECK_EQ(gort_run(panics_in_try, NULL, &(gort_options){ .on_panic = note_panic }), 0);
	CHECK_EQ(atomic_load(&tellings), 0);
}

TEST_DIES(uncaught_says_the_message, "all is lost")
{
	gort_panic("all is %s", "lost");
}

static int named_panic(void *arg)
{
	(void)arg;
	gort_panic("lost");
}

TEST_DIES(uncaught_names_the_goroutine, "unlucky")
{
	gort_join(gort_spawn(named_panic, NULL, &(gort_attr){ .name = "unlucky" }), NULL);
}

TEST_DIES(uncaught_numbers_the_goroutine, "goroutine 1")
{
	gort_panic("lost");
}

static void say_defer(void *arg)
{
	fputs(arg, stderr);
}

TEST_DIES(uncaught_runs_the_defers_first, "deferred words")
{
	CHECK_EQ(gort_defer(say_defer, "deferred words\n"), 0);
	gort_panic("lost");
}

TEST_PLAIN_DIES(uncaught_on_a_plain_thread, "lost here")
{
	gort_panic("lost %s", "here");
}

TEST_DIES(uncaught_on_a_guest, "lost guest")
{
	on_guest(panic_with, "lost guest");
}

TEST_DIES(try_without_a_function_is_misuse, "gort_try")
{
	gort_try(NULL, NULL, NULL, 0);
}
