/*
 * ctx.c - what contexts cost. bench/go/ctx.go is its twin.
 */
#include "bench.h"

/* ---- ctx_cancel_tree: a tree of contexts, ten below each, is made, cancelled, and let go ---- */

#define CONTEXTS 100000
#define BELOW 10
#define TREES 10

static gort_ctx *tree[CONTEXTS];

static void make_tree(int n)
{
	tree[0] = gort_ctx_with_cancel(gort_ctx_background());
	for (int i = 1; i < n; i++)
		tree[i] = gort_ctx_with_cancel(tree[(i - 1) / BELOW]);
	expect(tree[n - 1] != NULL, "memory for contexts");
}

/* All of them have ended by then; whose handle is dropped first does not matter. */
static void drop_tree(int n)
{
	for (int i = 0; i < n; i++) {
		expect(gort_ctx_err(tree[i]) == -ECANCELED, "a context that has ended");
		gort_ctx_release(tree[i]);
	}
}

static void add(struct stopwatch *sum, struct stopwatch w)
{
	stopwatch_stop(&w);
	sum->wall += w.wall;
	sum->cpu += w.cpu;
}

static void per_tree(const char *name, struct stopwatch w)
{
	w.wall /= TREES;
	w.cpu /= TREES;
	report_whole(name, &w);
}

void bench_ctx_cancel_tree(void)
{
	struct stopwatch made = { 0 }, canceled = { 0 }, all = { 0 }, w, part;

	for (int i = 0; i <= TREES; i++) {
		if (i == 1) /* the first was to warm up */
			made = canceled = all = (struct stopwatch){ 0 };
		w = part = stopwatch_start();
		make_tree(CONTEXTS);
		add(&made, part);
		part = stopwatch_start();
		gort_ctx_cancel(tree[0], 0);
		add(&canceled, part);
		drop_tree(CONTEXTS);
		add(&all, w);
	}
	per_tree("ctx_tree_make", made);
	per_tree("ctx_tree_cancel", canceled);
	per_tree("ctx_cancel_tree", all);
}

/* ---- ctx_ambient: chan_buf and pingpong_unbuf under a context that may end, and under none,
 * in turns. Go has no current context: its twin asks for both in a select ---- */

#define TURNS 20

/* Under ctx, and so is whoever work starts. */
static void under(gort_ctx *ctx, void (*work)(long n), long n, struct stopwatch *sum)
{
	gort_ctx *before = gort_ctx_enter(ctx);
	struct stopwatch w = stopwatch_start();

	work(n);
	add(sum, w);
	gort_ctx_leave(before);
}

static void report_ns(const char *name, const char *cpu, const struct stopwatch *w, long n)
{
	report_value(name, (double)w->wall / (double)n, "ns");
	report_value(cpu, (double)w->cpu / (double)n, "ns");
}

static struct stopwatch plain, ambient;

static void in_turns(void (*work)(long n), long n)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background());

	expect(ctx != NULL, "memory for a context");
	under(ctx, work, n / 10, &ambient);
	plain = ambient = (struct stopwatch){ 0 };
	for (int i = 0; i < TURNS; i++) {
		under(gort_ctx_background(), work, n / TURNS, &plain);
		under(ctx, work, n / TURNS, &ambient);
	}
	gort_ctx_release(ctx);
}

/* 100: a context costs nothing. */
static double percent(void)
{
	return 100 * (double)ambient.wall / (double)plain.wall;
}

void bench_ctx_ambient(void)
{
	in_turns(fill_and_drain, 20000000);
	report_ns("ctx_none_chan", "ctx_none_chan.cpu", &plain, 20000000);
	report_ns("ctx_chan_buf", "ctx_chan_buf.cpu", &ambient, 20000000);
	report_value("ctx_chan_percent", percent(), "%");
	in_turns(pingpong, 2000000);
	report_ns("ctx_none_pingpong", "ctx_none_pingpong.cpu", &plain, 2000000);
	report_ns("ctx_pingpong", "ctx_pingpong.cpu", &ambient, 2000000);
	report_value("ctx_pingpong_percent", percent(), "%");
}
