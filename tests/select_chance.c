/*
 * select_chance.c - among several that are ready each is as likely: for one goroutine, across
 * many, for guests, for all kinds of cases, and for those woken.
 */
#include "select.h"

#include <math.h>

/* ---- chance */

/* Far beyond what chance gives once in a million runs, for any number of cells. */
static void check_uniform(const int *counts, size_t cells, int draws)
{
	double expected = (double)draws / (double)cells, chi = 0, freedom = (double)cells - 1;

	for (size_t i = 0; i < cells; i++)
		chi += (counts[i] - expected) * (counts[i] - expected) / expected;
	if (chi > freedom + 8 * sqrt(2 * freedom) + 12)
		test_fail_(__FILE__, __LINE__, "chi-square %.1f for %zu cells, %d draws", chi,
			   cells, draws);
}

enum { DRAWS = 100000 };

static int draw_among(gort_case *cases, size_t n)
{
	int which = gort_select(cases, n, GORT_FOREVER);

	CHECK(which >= 0 && which < (int)n);
	return which;
}

/* A draw must not depend on the one before, either. */
static void draws_are_even(gort_case *cases, size_t n)
{
	int *single = calloc(n, sizeof *single), *pairs = calloc(n * n, sizeof *pairs), before = 0;

	CHECK(single && pairs);
	for (int i = 0; i < SCALE(DRAWS); i++) {
		int which = draw_among(cases, n);

		single[which]++;
		if (i % 2)
			pairs[before * (int)n + which]++;
		before = which;
	}
	check_uniform(single, n, SCALE(DRAWS));
	if (n <= 17)
		check_uniform(pairs, n * n, SCALE(DRAWS) / 2);
	free(single);
	free(pairs);
}

static void even_draws(int how)
{
	const size_t widths[] = { 2, 3, 8, 17, 64 };
	gort_chan *closed[64];
	gort_case cases[64];

	(void)how;
	for (size_t i = 0; i < 64; i++) {
		closed[i] = make(0);
		CHECK_EQ(gort_chan_close(closed[i]), 0);
		cases[i] =
			i % 2 ? GORT_CASE_RECV(closed[i], NULL) : GORT_CASE_SEND(closed[i], NULL);
	}
	for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++)
		draws_are_even(cases, widths[i]);
	for (size_t i = 0; i < 64; i++)
		gort_chan_release(closed[i]);
}

// variants: maxprocs
TEST(each_ready_case_is_as_likely)
{
	check_both(even_draws, 1);
}

static void even_kinds(int how)
{
	gort_task *t = gort_spawn(end_at_once, NULL, NULL);
	gort_chan *closed = make(0), *buffered = make(2), *empty = make(0);
	int64_t value = 0;
	gort_case cases[] = { GORT_CASE_RECV(closed, NULL), GORT_CASE_TASK(t),
			      GORT_CASE_TIME(GORT_NOW),     GORT_CASE_SEND(closed, NULL),
			      GORT_CASE_TIME(gort_now()),   GORT_CASE_RECV(buffered, &value),
			      GORT_CASE_RECV(empty, &value) };
	int counts[6] = { 0 };

	(void)how;
	CHECK_EQ(gort_chan_close(closed), 0);
	await_task(t);
	send_value(buffered, 1);
	for (int i = 0; i < SCALE(DRAWS); i++) {
		int which = draw_among(cases, 7);

		CHECK(which < 6);
		CHECK_EQ(cases[which].status, which == 0 || which == 3 ? -EPIPE : 0);
		counts[which]++;
		if (which == 5)
			send_value(buffered, 1);
	}
	check_uniform(counts, 6, SCALE(DRAWS));
	CHECK_EQ(gort_join(t, NULL), 0);
	gort_chan_release(closed);
	gort_chan_release(buffered);
	gort_chan_release(empty);
}

// variants: maxprocs
TEST(each_kind_of_ready_case_is_as_likely)
{
	check_both(even_kinds, 1);
}

/* The first draw of each of very many goroutines. */
static gort_case crowd_cases[5];
static atomic_int crowd_counts[5];

static void draw_once(void *arg)
{
	gort_case cases[5];

	(void)arg;
	memcpy(cases, crowd_cases, sizeof cases);
	atomic_fetch_add(&crowd_counts[draw_among(cases, 5)], 1);
}

// variants: maxprocs
TEST(each_ready_case_is_as_likely_across_goroutines)
{
	gort_chan *closed[5];
	gort_waitgroup group = { 0 };
	int counts[5];

	for (int i = 0; i < 5; i++) {
		closed[i] = make(0);
		CHECK_EQ(gort_chan_close(closed[i]), 0);
		crowd_cases[i] = GORT_CASE_RECV(closed[i], NULL);
	}
	for (int i = 0; i < SCALE(DRAWS); i++) {
		CHECK_EQ(gort_waitgroup_go(&group, draw_once, NULL), 0);
		if (i % 1000 == 999)
			gort_waitgroup_wait(&group);
	}
	gort_waitgroup_wait(&group);
	for (int i = 0; i < 5; i++) {
		counts[i] = crowd_counts[i];
		gort_chan_release(closed[i]);
	}
	check_uniform(counts, 5, SCALE(DRAWS));
}

/* Woken by a channel that stands in several cases: each of them is as likely as well. */
struct woken {
	gort_chan *a, *b;
	int counts[8], draws;
};

static void count_wakes(void *arg)
{
	struct woken *w = arg;
	gort_chan *of[8] = { w->a, w->a, w->b, w->a, w->b, w->b, w->b, w->b };
	gort_case cases[8];
	int64_t got = 0;

	for (int i = 0; i < 8; i++)
		cases[i] = GORT_CASE_RECV(of[i], &got);
	for (;;) {
		int which = draw_among(cases, 8);

		if (cases[which].status == -EPIPE)
			break;
		CHECK(of[which] == (got ? w->a : w->b));
		w->counts[which]++;
	}
}

TEST(each_case_of_the_channel_that_wakes_is_as_likely)
{
	struct woken w = { .a = make(0), .b = make(0), .draws = SCALE(DRAWS) };
	const int of_a[] = { 0, 1, 3 }, of_b[] = { 2, 4, 5, 6, 7 };
	int a[3], b[5];
	gort_waitgroup group = { 0 };

	gort_maxprocs(1);
	CHECK_EQ(gort_waitgroup_go(&group, count_wakes, &w), 0);
	for (int i = 0; i < 2 * w.draws; i++) {
		gort_yield();
		UNTIL(!is_empty(i % 2 ? w.a : w.b)); /* it waits again */
		send_value(i % 2 ? w.a : w.b, i % 2);
	}
	gort_yield();
	CHECK_EQ(gort_chan_close(w.a), 0);
	gort_waitgroup_wait(&group);
	for (int i = 0; i < 3; i++)
		a[i] = w.counts[of_a[i]];
	for (int i = 0; i < 5; i++)
		b[i] = w.counts[of_b[i]];
	check_uniform(a, 3, w.draws);
	check_uniform(b, 5, w.draws);
	gort_chan_release(w.a);
	gort_chan_release(w.b);
}

/* Two that are both ready at each draw, whoever has just been served. */
static void send_until_closed(void *c)
{
	int64_t value = 1;

	while (gort_chan_send(c, &value) == 0)
		continue;
	gort_chan_release(c);
}

// variants: maxprocs
TEST(two_busy_channels_are_served_alike)
{
	gort_chan *c[2] = { make(0), make(0) };
	gort_case cases[2] = { GORT_CASE_RECV(c[0], NULL), GORT_CASE_RECV(c[1], NULL) };
	int counts[2] = { 0 };

	for (int i = 0; i < 4; i++)
		CHECK_EQ(gort_go(send_until_closed, gort_chan_retain(c[i % 2])), 0);
	for (int i = 0; i < SCALE(20000); i++) {
		UNTIL(!is_empty(c[0]) && !is_empty(c[1]));
		counts[draw_among(cases, 2)]++;
	}
	check_uniform(counts, 2, SCALE(20000));
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(gort_chan_close(c[i]), 0);
		gort_chan_release(c[i]);
	}
}
