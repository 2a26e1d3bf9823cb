/*
 * select_stress.c - many goroutines and guests select over the same few channels, among plain
 * calls, deadlines and closings: each value that was sent is received once, all others are still
 * with their senders. Tasks that end meanwhile. A runtime that ends meanwhile.
 */
#include "select.h"

/* ---- conservation */
enum { CHANS = 5, MOST_CASES = 24, EACH = 4000, MOST_WORKERS = 24 };
enum kind { SELECT_SEND, SELECT_RECV, SELECT_BOTH, PLAIN_SEND, PLAIN_RECV, KINDS };

static struct {
	gort_chan *chans[CHANS];
	gort_waitgroup sending, all;
	bool hurried;         /* deadlines and times in all waits */
	bool closing;         /* channels are closed meanwhile: what cannot be sent is kept */
	gort_chan *to_cancel; /* if not NULL: contexts end meanwhile */
	atomic_uchar sent[MOST_WORKERS * EACH], received[MOST_WORKERS * EACH];
} traffic;

struct worker {
	enum kind kind;
	int64_t next, last; /* values to send */
	unsigned random;
	gort_chan *open[CHANS]; /* NULL: it has seen it closed */
	bool counted;           /* among those that send */
};

static unsigned chance(struct worker *w, unsigned n)
{
	w->random = w->random * 1103515245 + 12345;
	return (w->random >> 16) % n;
}

static int64_t soon(struct worker *w)
{
	if (!traffic.hurried)
		return GORT_FOREVER;
	switch (chance(w, 4)) {
	case 0:
		return chance(w, 4) ? gort_in(chance(w, 100) * 100) : GORT_NOW;
	case 1:
		return gort_in(chance(w, 60) * GORT_US);
	default:
		return gort_in(GORT_SEC);
	}
}

static void was_sent(int64_t value)
{
	CHECK_EQ(atomic_fetch_add(&traffic.sent[value], 1), 0);
}

static void was_received(int64_t value)
{
	CHECK(value >= 0 && value < MOST_WORKERS * EACH);
	CHECK_EQ(atomic_fetch_add(&traffic.received[value], 1), 0);
}

static bool all_closed(const struct worker *w)
{
	for (int i = 0; i < CHANS; i++)
		if (w->open[i])
			return false;
	return true;
}

static void has_closed(struct worker *w, const gort_chan *c)
{
	for (int i = 0; i < CHANS; i++)
		if (w->open[i] == c)
			w->open[i] = NULL;
}

/* It has nothing to send any more. */
static void sent_all(struct worker *w)
{
	if (w->counted)
		gort_waitgroup_done(&traffic.sending);
	w->counted = false;
}

/* All channels from a random one on, some of them in several cases. Who has something to send
 * tries to. */
static size_t make_cases(struct worker *w, gort_case *cases, int64_t *out, int64_t *in)
{
	size_t n = CHANS + chance(w, chance(w, 8) ? 6 : MOST_CASES - CHANS),
	       first = chance(w, CHANS);

	for (size_t i = 0; i < n; i++) {
		gort_chan *c = w->open[(first + i) % CHANS];
		bool send = w->next < w->last && (w->kind == SELECT_SEND || i == 0 || chance(w, 2));

		if (!send && w->kind == SELECT_SEND)
			c = NULL;
		if (i >= CHANS && chance(w, 8) == 0 && traffic.hurried)
			cases[i] = GORT_CASE_TIME(soon(w));
		else if (send)
			cases[i] = GORT_CASE_SEND(c, out);
		else
			cases[i] = GORT_CASE_RECV(c, in);
	}
	return n;
}

/* Under a context that somebody cancels, or whose deadline passes, just then. */
static int select_canceled(struct worker *w, gort_case *cases, size_t n)
{
	bool late = chance(w, 2);
	gort_ctx *ctx = late ? gort_ctx_with_deadline(gort_ctx_background(), soon(w))
			     : gort_ctx_with_cancel(gort_ctx_background());
	gort_ctx *previous = gort_ctx_enter(ctx), *theirs = gort_ctx_retain(ctx);
	int which;

	if (gort_chan_send_until(traffic.to_cancel, &theirs, GORT_NOW) < 0)
		gort_ctx_release(theirs);
	which = gort_select(cases, n, soon(w));
	gort_ctx_leave(previous);
	gort_ctx_release(ctx);
	return which;
}

static void cancel_all(void *arg)
{
	gort_ctx *ctx;

	for (unsigned i = 0; gort_chan_recv(traffic.to_cancel, &ctx) == 0; i++) {
		if (i % 4 == 0)
			gort_yield();
		gort_ctx_cancel(ctx, 0);
		gort_ctx_release(ctx);
	}
	gort_waitgroup_done(arg);
}

static void one_select(struct worker *w)
{
	gort_case cases[MOST_CASES];
	int64_t out = w->next, in = -1;
	size_t n = make_cases(w, cases, &out, &in);
	int which = traffic.to_cancel && chance(w, 3) ? select_canceled(w, cases, n)
						      : gort_select(cases, n, soon(w));
	const gort_case *k = &cases[which < 0 ? 0 : which];

	if (which < 0) {
		CHECK(traffic.hurried &&
		      (which == -ETIMEDOUT || which == -EAGAIN ||
		       (which == -ECANCELED && traffic.to_cancel)));
		gort_yield();
	} else if (k->op == GORT_OP_TIME) {
		CHECK(gort_now() >= k->deadline);
		gort_yield();
	} else if (k->status == -EPIPE) {
		has_closed(w, k->chan);
	} else if (k->op == GORT_OP_SEND) {
		was_sent(out);
		w->next++;
	} else {
		was_received(in);
		if (w->next < w->last)
			CHECK(in != out); /* not from itself */
	}
	CHECK_EQ(out, w->next - (which >= 0 && k->op == GORT_OP_SEND && k->status == 0));
}

static void one_plain_call(struct worker *w)
{
	unsigned i = chance(w, CHANS);
	int64_t in = -1, until = soon(w);
	int err;

	if (!w->open[i])
		return;
	if (!traffic.hurried && w->kind == PLAIN_RECV)
		until = gort_in(200 * GORT_US); /* so that it looks at all of them */
	err = w->kind == PLAIN_SEND ? gort_chan_send_until(w->open[i], &w->next, until)
				    : gort_chan_recv_until(w->open[i], &in, until);
	if (err == -EPIPE) {
		has_closed(w, w->open[i]);
	} else if (err) {
		CHECK_EQ(err, -ETIMEDOUT);
		gort_yield();
	} else if (w->kind == PLAIN_SEND) {
		was_sent(w->next++);
	} else {
		was_received(in);
	}
}

static bool sends(enum kind kind)
{
	return kind != SELECT_RECV && kind != PLAIN_RECV;
}

static void work(void *arg)
{
	struct worker *w = arg;

	memcpy(w->open, traffic.chans, sizeof w->open);
	while (!all_closed(w)) {
		if (w->next == w->last)
			sent_all(w);
		if (w->next == w->last && (w->kind == SELECT_SEND || w->kind == PLAIN_SEND))
			break;
		if (w->kind == PLAIN_SEND || w->kind == PLAIN_RECV)
			one_plain_call(w);
		else
			one_select(w);
	}
	CHECK(traffic.closing || w->next == w->last);
	sent_all(w);
	gort_waitgroup_done(&traffic.all);
}

static void close_all(void)
{
	for (int i = 0; i < CHANS; i++) {
		if (traffic.closing)
			gort_sleep(2 * GORT_MS);
		CHECK_EQ(gort_chan_close(traffic.chans[i]), 0);
	}
}

/* So many workers of each kind, every fourth of them a guest. */
static void conserve(const size_t capacities[CHANS], const int counts[KINDS])
{
	static struct worker workers[MOST_WORKERS];
	struct guest *guests[MOST_WORKERS];
	int n = 0, guest_count = 0;

	memset(traffic.sent, 0, sizeof traffic.sent);
	memset(traffic.received, 0, sizeof traffic.received);
	for (int i = 0; i < CHANS; i++)
		traffic.chans[i] = make(capacities[i]);
	for (enum kind kind = 0; kind < KINDS; kind++) {
		for (int i = 0; i < counts[kind]; i++, n++) {
			struct worker *w = &workers[n];
			int64_t each = sends(kind) ? SCALE(EACH) : 0;

			*w = (struct worker){ .kind = kind,
					      .next = n * EACH,
					      .last = n * EACH + each,
					      .random = (unsigned)n * 7919 + 1,
					      .counted = sends(kind) };
			gort_waitgroup_add(&traffic.all, 1);
			gort_waitgroup_add(&traffic.sending, w->counted);
		}
	}
	for (int i = 0; i < n; i++) {
		if (i % 4 == 3)
			guests[guest_count++] = guest_start(work, &workers[i]);
		else
			CHECK_EQ(gort_go(work, &workers[i]), 0);
	}
	if (!traffic.closing)
		gort_waitgroup_wait(&traffic.sending);
	close_all();
	gort_waitgroup_wait(&traffic.all);
	for (int i = 0; i < guest_count; i++)
		guest_join(guests[i]);
	for (int i = 0; i < n * EACH; i++)
		if (traffic.sent[i] != traffic.received[i])
			CHECK_EQ(traffic.sent[i], traffic.received[i]);
	for (int i = 0; i < CHANS; i++) {
		CHECK_EQ(gort_chan_len(traffic.chans[i]), 0);
		CHECK(is_empty(traffic.chans[i]));
		gort_chan_release(traffic.chans[i]);
	}
}

static const size_t direct[CHANS] = { 0 }, mixed[CHANS] = { 0, 1, 0, 7, 2 };
static const int everybody[KINDS] = { 5, 5, 4, 4, 4 }, selects_only[KINDS] = { 5, 5, 6, 0, 0 },
		 only_both[KINDS] = { 0, 0, 10, 0, 0 };

// variants: maxprocs
TEST(conservation)
{
	conserve(mixed, everybody);
	conserve(direct, everybody);
	conserve(direct, selects_only);
}

// variants: maxprocs
TEST(conservation_with_deadlines_that_race)
{
	traffic.hurried = true;
	conserve(mixed, everybody);
	conserve(direct, selects_only);
}

// variants: maxprocs
TEST(conservation_when_closed_in_the_middle)
{
	traffic.closing = true;
	for (int i = 0; i < 6; i++) {
		traffic.hurried = i % 2;
		conserve(i % 3 ? mixed : direct, everybody);
	}
}

// variants: maxprocs
TEST(conservation_with_contexts_that_end)
{
	gort_waitgroup cancelers = { 0 };
	struct guest *guest;

	traffic.hurried = true;
	traffic.to_cancel = gort_chan_make(sizeof(gort_ctx *), 4);
	gort_waitgroup_add(&cancelers, 3);
	CHECK_EQ(gort_go(cancel_all, &cancelers), 0);
	CHECK_EQ(gort_go(cancel_all, &cancelers), 0);
	guest = guest_start(cancel_all, &cancelers);
	conserve(mixed, everybody);
	conserve(direct, selects_only);
	CHECK_EQ(gort_chan_close(traffic.to_cancel), 0);
	gort_waitgroup_wait(&cancelers);
	guest_join(guest);
	gort_chan_release(traffic.to_cancel);
}

/* Each sends and receives in every select: who finds another that has not gone to sleep yet. The
 * last values have no partner: they are closed out. */
// variants: maxprocs
TEST(conservation_among_those_that_do_both)
{
	traffic.closing = true;
	for (int i = 0; i < 4; i++) {
		traffic.hurried = i % 2;
		conserve(direct, only_both);
	}
}

/* ---- tasks that end while they are waited for, or something else is ready */
struct race {
	gort_task *task;
	gort_chan *chan;
	gort_waitgroup *seen;
};

static int end_soon(void *arg)
{
	for (intptr_t i = (intptr_t)arg; i > 0; i--)
		gort_yield();
	return 42;
}

static void see_the_end(const struct race *r)
{
	gort_case cases[3] = { GORT_CASE_RECV(r->chan, NULL), GORT_CASE_TASK(r->task),
			       GORT_CASE_TASK(r->task) };

	while (gort_select(cases, 3, GORT_FOREVER) == 0)
		continue;
	gort_waitgroup_done(r->seen);
}

static void see_one_end(void *arg)
{
	see_the_end(arg);
}

static void see_all_ends(void *races)
{
	struct race r;

	while (gort_chan_recv(races, &r) == 0)
		see_the_end(&r);
}

// variants: maxprocs
TEST(tasks_end_while_many_select)
{
	gort_chan *races = gort_chan_make(sizeof(struct race), 0), *chan = make(0);
	struct guest *guest = guest_start(see_all_ends, races);
	int64_t value = 0;

	for (intptr_t i = 0; i < SCALE(3000); i++) {
		gort_waitgroup seen = { 0 };
		struct race r = { gort_spawn(end_soon, (void *)(i % 7), NULL), chan, &seen };
		int result = 0;

		CHECK(r.task != NULL);
		gort_waitgroup_add(&seen, 3);
		CHECK_EQ(gort_chan_send(races, &r), 0);
		CHECK_EQ(gort_go(see_one_end, &r), 0);
		CHECK_EQ(gort_go(see_one_end, &r), 0);
		for (int k = 0; k < i % 5; k++)
			(void)gort_chan_try_send(chan, &value);
		gort_waitgroup_wait(&seen);
		CHECK_EQ(gort_join(r.task, &result), 0);
		CHECK_EQ(result, 42);
	}
	CHECK_EQ(gort_chan_close(races), 0);
	guest_join(guest);
	CHECK(is_empty(chan));
	gort_chan_release(races);
	gort_chan_release(chan);
}

/* ---- the runtime ends in the middle of it. Guests go on until the channels are closed */
static gort_chan *shared[CHANS];

static void select_until_closed(void *arg)
{
	struct worker w = { .kind = SELECT_BOTH, .random = (unsigned)(uintptr_t)arg, .last = 1 };
	gort_case cases[MOST_CASES];
	int64_t out = 5, in;

	memcpy(w.open, shared, sizeof w.open);
	while (!all_closed(&w)) {
		size_t n = make_cases(&w, cases, &out, &in);
		int which = gort_select(cases, n, soon(&w));

		if (which >= 0 && cases[which].op != GORT_OP_TIME && cases[which].status == -EPIPE)
			has_closed(&w, cases[which].chan);
	}
}

static int select_for_a_moment(void *arg)
{
	for (uintptr_t i = 0; i < 20; i++)
		CHECK_EQ(gort_go(select_until_closed, (void *)(i * 77 + (uintptr_t)arg)), 0);
	gort_sleep((int64_t)(uintptr_t)arg * 100 * GORT_US);
	return 7;
}

// variants: maxprocs
TEST_PLAIN(runtime_ends_in_the_middle)
{
	size_t memory = memory_but_for_threads();
	struct guest *guests[3];

	traffic.hurried = true;
	for (uintptr_t i = 0; i < CHANS; i++)
		shared[i] = make(mixed[i]);
	for (uintptr_t i = 0; i < 3; i++)
		guests[i] = guest_start(select_until_closed, (void *)(i * 99));
	for (uintptr_t round = 0; round < 15; round++)
		CHECK_EQ(gort_run(select_for_a_moment, (void *)round, NULL), 7);
	for (int i = 0; i < CHANS; i++)
		CHECK_EQ(gort_chan_close(shared[i]), 0);
	for (int i = 0; i < 3; i++)
		guest_join(guests[i]);
	for (int i = 0; i < CHANS; i++) {
		CHECK(is_empty(shared[i]));
		gort_chan_release(shared[i]);
	}
	CHECK_EQ(memory_but_for_threads(), memory);
}
