/*
 * ctx_race.c - one wait and all who may end it at once: sender, receiver, closer, canceller,
 * deadline. One of them wins, and what the caller and the others are told agrees: no value is
 * lost or comes twice, nobody waits for ever. Each under GOMAXPROCS that change, too, and without
 * membarrier(2).
 */
#include "harness.h"

#include "arch/arch.h"
#include "base/atomic.h"

#include <errno.h>
#include <stdatomic.h>

static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* As long as one step of another takes, more or less; now and then it lets others run. */
static void dawdle(uint32_t *random)
{
	uint32_t n = next_random(random);

	for (uint32_t i = n % 64; i > 0; i--)
		arch_pause();
	if (n >> 16 & 3)
		gort_yield();
}

/* ---- both ends of a channel are cancelled, again and again ----------------------------------- */

enum { SENDER, RECEIVER, ENDS };

static struct {
	gort_chan *c;
	gort_ctx *_Atomic under[ENDS]; /* who takes it cancels it */
	int64_t values;
	atomic_int talking;
	atomic_llong canceled;
	gort_waitgroup all;
} talk;

static void leave_context(int end)
{
	gort_ctx *ctx = atomic_exchange(&talk.under[end], NULL);

	gort_ctx_leave(gort_ctx_background());
	gort_ctx_release(ctx);
}

static void enter_new_context(int end)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background());

	CHECK(ctx != NULL);
	CHECK(gort_ctx_enter(ctx) == gort_ctx_background());
	CHECK(atomic_exchange(&talk.under[end], ctx) == NULL);
}

/* The three ways to wait for a channel: light, with a deadline, by several cases. */
static int send_somehow(int64_t *value, int64_t way)
{
	gort_case k = GORT_CASE_SEND(talk.c, value);

	if (way % 3 == 0)
		return gort_chan_send(talk.c, value);
	if (way % 3 == 1)
		return gort_chan_send_until(talk.c, value, gort_in(3600 * GORT_SEC));
	return gort_select(&k, 1, GORT_FOREVER);
}

static int recv_somehow(int64_t *value, int64_t way)
{
	gort_case k = GORT_CASE_RECV(talk.c, value);

	if (way % 3 == 0)
		return gort_chan_recv(talk.c, value);
	if (way % 3 == 1)
		return gort_chan_recv_until(talk.c, value, gort_in(3600 * GORT_SEC));
	return gort_select(&k, 1, GORT_FOREVER);
}

static void talker(int end)
{
	int64_t n = 0, value, tries = end;
	int err;

	enter_new_context(end);
	while (n < talk.values) {
		value = end == SENDER ? n : -1;
		err = end == SENDER ? send_somehow(&value, tries++ / 7)
				    : recv_somehow(&value, tries++ / 5);
		if (err == 0) {
			CHECK_EQ(value, n);
			n++;
			continue;
		}
		CHECK_EQ(err, -ECANCELED);
		CHECK_EQ(value, end == SENDER ? n : -1);
		atomic_fetch_add(&talk.canceled, 1);
		leave_context(end);
		enter_new_context(end);
	}
	leave_context(end);
	atomic_fetch_sub(&talk.talking, 1);
	gort_waitgroup_done(&talk.all);
}

static void sender(void *arg)
{
	(void)arg;
	talker(SENDER);
}

static void receiver(void *arg)
{
	(void)arg;
	talker(RECEIVER);
}

static void canceller(void *arg)
{
	uint32_t random = 1 + (uint32_t)(uintptr_t)arg;

	while (atomic_load(&talk.talking)) {
		gort_ctx *ctx = atomic_exchange(&talk.under[random >> 8 & 1], NULL);

		dawdle(&random);
		if (!ctx)
			continue;
		gort_ctx_cancel(ctx, 0);
		gort_ctx_release(ctx);
	}
	gort_waitgroup_done(&talk.all);
}

enum { GUEST_SENDER = 1, GUEST_RECEIVER = 2, GUEST_CANCELLER = 4 };

static struct guest *start(bool on_guest, gort_func fn, intptr_t arg)
{
	if (on_guest)
		return guest_start(fn, (void *)arg);
	CHECK_EQ(gort_go(fn, (void *)arg), 0);
	return NULL;
}

static void talks(int64_t values, size_t capacity, int guests)
{
	struct guest *g[4];

	talk.c = gort_chan_make(sizeof(int64_t), capacity);
	talk.values = values;
	atomic_store(&talk.talking, ENDS);
	gort_waitgroup_add(&talk.all, 4);
	g[0] = start(guests & GUEST_SENDER, sender, 0);
	g[1] = start(guests & GUEST_RECEIVER, receiver, 0);
	g[2] = start(guests & GUEST_CANCELLER, canceller, 1);
	g[3] = start(false, canceller, 2);
	CHECK_EQ(gort_waitgroup_wait(&talk.all), 0);
	for (int i = 0; i < 4; i++)
		if (g[i])
			guest_join(g[i]);
	CHECK_EQ(gort_chan_len(talk.c), 0);
	CHECK_EQ(gort_chan_try_send(talk.c, &values), capacity ? 0 : -EAGAIN);
	gort_chan_release(talk.c);
}

static void talks_of_all_kinds(int64_t values)
{
	for (int guests = 0; guests < 8; guests++)
		for (size_t capacity = 0; capacity < 3; capacity++)
			talks(guests ? values / 8 + 1 : values, capacity, guests);
	CHECK(atomic_load(&talk.canceled) > 0);
}

// variants: maxprocs
TEST(values_come_once_and_in_order_while_both_ends_are_cancelled)
{
	talks_of_all_kinds(SCALE(20000));
}

// label: full
// variants: maxprocs
TEST(values_come_once_and_in_order_for_long)
{
	talks_of_all_kinds(SCALE(400000));
}

/* ---- all enders at one wait ------------------------------------------------------------------ */

enum { PARTNER, CLOSER, CANCELLER, HELPERS };

static struct {
	gort_chan *c;
	gort_ctx *ctx;
	int64_t rounds;
	gort_chan *begin[HELPERS]; /* the round's number, to each */
	gort_waitgroup ended;      /* the helpers' round */
	bool sends;                /* the one that waits; else it receives */
	int partner;               /* what the partner was told */
	int64_t received;          /* by whoever received */
	gort_waitgroup all;
} duel;

static void meet(int64_t value)
{
	if (duel.sends)
		duel.partner = gort_chan_try_recv(duel.c, &duel.received);
	else
		duel.partner = gort_chan_try_send(duel.c, &value);
}

static void helper(void *arg)
{
	int me = (int)(intptr_t)arg;
	uint32_t random = 77 + (uint32_t)me;
	int64_t i;

	while (gort_chan_recv(duel.begin[me], &i) == 0) {
		dawdle(&random);
		if (me == PARTNER)
			meet(i);
		else if (me == CLOSER)
			CHECK_EQ(gort_chan_close(duel.c), 0);
		else
			gort_ctx_cancel(duel.ctx, -EIO);
		gort_waitgroup_done(&duel.ended);
	}
	gort_waitgroup_done(&duel.all);
}

static int wait_once(int64_t i, bool select)
{
	gort_case k =
		duel.sends ? GORT_CASE_SEND(duel.c, &i) : GORT_CASE_RECV(duel.c, &duel.received);
	int err;

	if (!select)
		return duel.sends ? gort_chan_send(duel.c, &i)
				  : gort_chan_recv(duel.c, &duel.received);
	err = gort_select(&k, 1, GORT_FOREVER);
	return err < 0 ? err : k.status;
}

/* What it was told, and what the partner was. */
static void judge(int err, int64_t i, bool deadline)
{
	CHECK(err == 0 || err == -EPIPE || err == -ECANCELED || (err == -ETIMEDOUT && deadline));
	CHECK_EQ(duel.partner == 0, err == 0);
	if (err == 0)
		CHECK_EQ(duel.received, i);
	else
		CHECK(duel.partner == -EPIPE || duel.partner == -EAGAIN);
	if (err == -EPIPE && !duel.sends)
		CHECK_EQ(duel.received, 0);
	else if (err != 0 && duel.partner != -EPIPE)
		CHECK_EQ(duel.received, -1);
}

static void one_round(int64_t i, uint32_t *random)
{
	bool deadline = i / 3 % 2;
	int err;

	duel.c = gort_chan_make(sizeof i, 0);
	duel.ctx = gort_ctx_with_cancel(gort_ctx_background());
	duel.sends = i % 2;
	duel.received = -1;
	gort_waitgroup_add(&duel.ended, HELPERS);
	for (int k = 0; k < HELPERS; k++)
		CHECK_EQ(gort_chan_send(duel.begin[k], &i), 0);
	CHECK(gort_ctx_enter(duel.ctx) == gort_ctx_background());
	if (deadline)
		gort_set_deadline(gort_in(next_random(random) % 20 * GORT_US));
	dawdle(random);
	err = wait_once(i, i % 5 == 0);
	gort_set_deadline(GORT_FOREVER);
	gort_ctx_leave(gort_ctx_background());
	CHECK_EQ(gort_waitgroup_wait(&duel.ended), 0);
	judge(err, i, deadline);
	CHECK_EQ(gort_ctx_cause(duel.ctx), -EIO);
	gort_ctx_release(duel.ctx);
	gort_chan_release(duel.c);
}

static void rounds(void *arg)
{
	uint32_t random = 4711;

	(void)arg;
	for (int64_t i = 1; i <= duel.rounds; i++)
		one_round(i, &random);
	for (int i = 0; i < HELPERS; i++)
		CHECK_EQ(gort_chan_close(duel.begin[i]), 0);
	gort_waitgroup_done(&duel.all);
}

/* Which of them are guests. The waiting one is the last. */
static void duels(int64_t n, int guests)
{
	struct guest *g[HELPERS + 1];

	duel.rounds = n;
	for (int i = 0; i < HELPERS; i++)
		duel.begin[i] = gort_chan_make(sizeof(int64_t), 1);
	gort_waitgroup_add(&duel.all, HELPERS + 1);
	for (int i = 0; i < HELPERS; i++)
		g[i] = start(guests >> i & 1, helper, i);
	g[HELPERS] = start(guests >> HELPERS & 1, rounds, 0);
	CHECK_EQ(gort_waitgroup_wait(&duel.all), 0);
	for (int i = 0; i <= HELPERS; i++)
		if (g[i])
			guest_join(g[i]);
	for (int i = 0; i < HELPERS; i++)
		gort_chan_release(duel.begin[i]);
}

static void duels_of_all_kinds(int64_t n)
{
	duels(n, 0);
	for (int guests = 1; guests < 16; guests++)
		duels(n / 20 + 1, guests);
}

// variants: maxprocs
TEST(one_of_all_enders_wins)
{
	duels_of_all_kinds(SCALE(20000));
}

// label: full
// variants: maxprocs
TEST(one_of_all_enders_wins_for_long)
{
	duels_of_all_kinds(SCALE(500000));
}

/* ---- under other conditions ------------------------------------------------------------------ */

static atomic_bool over;

static void change_maxprocs(void *arg)
{
	uint32_t random = 5;

	(void)arg;
	while (!atomic_load(&over)) {
		gort_maxprocs(1 + (int)(next_random(&random) % 8));
		gort_sleep(50 * GORT_US);
	}
	gort_maxprocs(2);
}

TEST(races_while_gomaxprocs_changes)
{
	gort_waitgroup changer = { 0 };

	CHECK_EQ(gort_waitgroup_go(&changer, change_maxprocs, NULL), 0);
	talks_of_all_kinds(SCALE(5000));
	duels_of_all_kinds(SCALE(5000));
	atomic_store(&over, true);
	CHECK_EQ(gort_waitgroup_wait(&changer), 0);
}

static int races(void *arg)
{
	(void)arg;
	talks_of_all_kinds(SCALE(10000));
	duels_of_all_kinds(SCALE(10000));
	return 0;
}

/* Light fences are full ones then. No other thread runs yet. */
// variants: maxprocs
TEST_PLAIN(races_without_membarrier)
{
	gort__asymmetric = false;
	CHECK_EQ(gort_run(races, NULL, NULL), 0);
}

/* ---- going under a context while it ends ----------------------------------------------------- */

static struct {
	gort_chan *never;
	gort_ctx *_Atomic ctx;
	gort_mutex held;
	atomic_bool held_now;
	int64_t rounds;
	gort_waitgroup all;
} in;

static void cancel_each(void *arg)
{
	uint32_t random = 3;

	(void)arg;
	for (int64_t i = 0; i < in.rounds; i++) {
		gort_ctx *ctx;

		for (int tries = 0; (ctx = atomic_exchange(&in.ctx, NULL)) == NULL; tries++)
			tries < 200 ? arch_pause() : (void)gort_sleep(GORT_US);
		for (uint32_t k = next_random(&random) % 128; k > 0; k--)
			arch_pause();
		gort_ctx_cancel(ctx, 0);
		gort_ctx_release(ctx);
	}
	gort_waitgroup_done(&in.all);
}

static void enter_each(void *arg)
{
	(void)arg;
	for (int64_t i = 0; i < in.rounds; i++) {
		gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background());

		gort_ctx_retain(ctx);
		atomic_store(&in.ctx, ctx);
		CHECK(gort_ctx_enter(ctx) == gort_ctx_background());
		CHECK_EQ(gort_chan_recv(in.never, NULL), -ECANCELED);
		gort_ctx_leave(gort_ctx_background());
		CHECK_EQ(gort_ctx_err(ctx), -ECANCELED);
		gort_ctx_release(ctx);
	}
	gort_waitgroup_done(&in.all);
}

static void enter_and_cancel(int64_t n, int guests)
{
	struct guest *g[2];

	in.never = gort_chan_make(0, 0);
	in.rounds = n;
	gort_waitgroup_add(&in.all, 2);
	g[0] = start(guests & 1, cancel_each, 0);
	g[1] = start(guests & 2, enter_each, 0);
	CHECK_EQ(gort_waitgroup_wait(&in.all), 0);
	for (int i = 0; i < 2; i++)
		if (g[i])
			guest_join(g[i]);
	gort_chan_release(in.never);
}

// variants: maxprocs
TEST(contexts_entered_while_they_end)
{
	for (int guests = 0; guests < 4; guests++)
		enter_and_cancel(SCALE(20000), guests);
}

/* A guest whose first wait is refused at once begins another, which only the mutex's holder may
 * end. */
static void refused_then_locks(void *arg)
{
	(void)arg;
	for (int64_t i = 0; i < in.rounds; i++) {
		gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background());

		gort_ctx_retain(ctx);
		CHECK(gort_ctx_enter(ctx) == gort_ctx_background());
		atomic_store(&in.ctx, ctx);
		CHECK_EQ(gort_chan_recv(in.never, NULL), -ECANCELED);
		gort_mutex_lock(&in.held);
		CHECK(!atomic_load(&in.held_now));
		gort_mutex_unlock(&in.held);
		gort_ctx_leave(gort_ctx_background());
		gort_ctx_release(ctx);
	}
	gort_waitgroup_done(&in.all);
}

static void hold(void *arg)
{
	uint32_t random = 9;

	(void)arg;
	while (!atomic_load(&over)) {
		gort_mutex_lock(&in.held);
		atomic_store(&in.held_now, true);
		dawdle(&random);
		atomic_store(&in.held_now, false);
		gort_mutex_unlock(&in.held);
		dawdle(&random);
	}
}

// variants: maxprocs
TEST(guests_that_are_cancelled_as_they_begin_to_wait)
{
	gort_waitgroup holder = { 0 };
	struct guest *g[2];

	in.never = gort_chan_make(0, 0);
	in.rounds = SCALE(20000);
	CHECK_EQ(gort_waitgroup_go(&holder, hold, NULL), 0);
	gort_waitgroup_add(&in.all, 2);
	g[0] = guest_start(cancel_each, NULL);
	g[1] = guest_start(refused_then_locks, NULL);
	CHECK_EQ(gort_waitgroup_wait(&in.all), 0);
	atomic_store(&over, true);
	CHECK_EQ(gort_waitgroup_wait(&holder), 0);
	guest_join(g[0]);
	guest_join(g[1]);
	gort_chan_release(in.never);
}

/* ---- what is seen ---------------------------------------------------------------------------- */

/* What was done before a context was ended is seen by whoever is told of it. ThreadSanitizer
 * judges. */
static struct {
	int letter;         /* plain */
	atomic_bool posted; /* relaxed: it orders nothing */
	int64_t deadline;
	gort_chan *never;
	gort_ctx *ctx;
	gort_waitgroup all;
} mail;

static void post(void *arg)
{
	mail.letter = 42;
	gort_ctx_cancel(mail.ctx, -EIO);
	atomic_store_explicit(&mail.posted, true, memory_order_relaxed);
	gort_waitgroup_done(arg);
}

static void read_letter(void *arg)
{
	gort_ctx_enter(mail.ctx);
	gort_set_deadline(mail.deadline);
	while (!atomic_load_explicit(&mail.posted, memory_order_relaxed))
		gort_yield();
	CHECK_EQ(gort_chan_recv(mail.never, NULL), -ECANCELED);
	CHECK_EQ(mail.letter, 42);
	CHECK_EQ(gort_ctx_cause(mail.ctx), -EIO);
	gort_set_deadline(GORT_FOREVER);
	gort_ctx_leave(gort_ctx_background());
	gort_waitgroup_done(arg);
}

// variants: maxprocs
TEST(what_was_done_before_a_cancellation_is_seen_after_it)
{
	mail.never = gort_chan_make(0, 0);
	for (int kind = 0; kind < 4; kind++) {
		struct guest *g[2] = { NULL, NULL };

		mail.ctx = gort_ctx_with_cancel(gort_ctx_background());
		mail.deadline = kind % 2 ? gort_in(3600 * GORT_SEC) : GORT_FOREVER;
		mail.letter = 0;
		atomic_store(&mail.posted, false);
		gort_waitgroup_add(&mail.all, 2);
		g[0] = start(kind & 2, read_letter, (intptr_t)&mail.all);
		g[1] = guest_start(post, &mail.all);
		CHECK_EQ(gort_waitgroup_wait(&mail.all), 0);
		for (int i = 0; i < 2; i++)
			if (g[i])
				guest_join(g[i]);
		gort_ctx_release(mail.ctx);
	}
	gort_chan_release(mail.never);
}

static _Atomic(gort_ctx *) to_cancel;

static void cancel_what_comes(void *arg)
{
	gort_ctx *ctx;

	(void)arg;
	for (int i = 0; i < SCALE(3000); i++) {
		while ((ctx = atomic_exchange(&to_cancel, NULL)) == NULL)
			arch_pause();
		gort_ctx_cancel(ctx, 0);
	}
}

/* The last reference goes while the one who cancels is still at it. */
// variants: maxprocs
TEST(those_whom_a_cancel_wakes_release_it)
{
	struct guest *canceler = guest_start(cancel_what_comes, NULL);

	for (int i = 0; i < SCALE(3000); i++) {
		gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background()), *before;

		before = gort_ctx_enter(ctx);
		atomic_store(&to_cancel, ctx);
		CHECK_EQ(gort_sleep(100 * GORT_SEC), -ECANCELED);
		gort_ctx_leave(before);
		gort_ctx_release(ctx);
	}
	guest_join(canceler);
}
