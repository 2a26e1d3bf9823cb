/*
 * scope.c - scopes: close waits for all members, whatever happens; the first failure ends the
 * others; limits, cancellation, grace, nesting; and a scenario into which each kind of failure is
 * put at each step.
 */
#include "crowd.h"

#include "base/alloc.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

static gort_chan *never, *gate;
static atomic_int alive, most_alive, ended;
static gort_scope *shared;
static gort_waitgroup users;

static void begin(void)
{
	never = gort_chan_make(0, 0);
	gate = gort_chan_make(0, 0);
	CHECK(never && gate);
}

static void end(void)
{
	gort_chan_release(never);
	gort_chan_release(gate);
}

static gort_scope *open_scope(int limit)
{
	gort_scope *s = gort_scope_open(limit);

	CHECK(s != NULL);
	return s;
}

static void go(gort_scope *s, int (*fn)(void *arg), intptr_t arg)
{
	CHECK_EQ(gort_scope_go(s, fn, (void *)arg), 0);
}

/* ---- members --------------------------------------------------------------------------------- */

static void enter(void)
{
	int now = atomic_fetch_add(&alive, 1) + 1, most = atomic_load(&most_alive);

	while (now > most && !atomic_compare_exchange_weak(&most_alive, &most, now))
		;
}

static int leave(int result)
{
	atomic_fetch_sub(&alive, 1);
	atomic_fetch_add(&ended, 1);
	return result;
}

static int give(void *arg)
{
	enter();
	return leave((int)(intptr_t)arg);
}

static int give_at_the_gate(void *arg)
{
	enter();
	CHECK_EQ(gort_chan_recv(gate, NULL), 0);
	return leave((int)(intptr_t)arg);
}

static int wait_for_ever(void *arg)
{
	enter();
	CHECK_EQ(gort_chan_recv(never, NULL), -ECANCELED);
	CHECK_EQ(gort_ctx_err(gort_ctx_current()), -ECANCELED);
	if (arg)
		CHECK_EQ(gort_ctx_cause(gort_ctx_current()), (int)(intptr_t)arg);
	return leave(-EINTR);
}

/* It is cancelled, and takes its time. */
static int wait_on(void *arg)
{
	enter();
	CHECK_EQ(gort_chan_recv(never, NULL), -ECANCELED);
	for (int i = 0; i < 3; i++)
		gort_yield();
	gort_ctx_leave(gort_ctx_enter(gort_ctx_background()));
	return leave((int)(intptr_t)arg);
}

static int goes_on(void *arg)
{
	gort_ctx *before = gort_ctx_enter(gort_ctx_background());

	enter();
	CHECK_EQ(gort_chan_recv(gate, NULL), 0);
	gort_ctx_leave(before);
	return leave((int)(intptr_t)arg);
}

static int exits(void *arg)
{
	(void)arg;
	enter();
	leave(0);
	gort_goexit();
	return -EIO;
}

/* ---- results --------------------------------------------------------------------------------- */

static void use(void *arg)
{
	gort_scope *s = open_scope(0);

	(void)arg;
	CHECK_EQ(gort_scope_close(s), 0);
	s = open_scope(0);
	for (int i = 0; i < 100; i++)
		go(s, give, i);
	go(s, exits, 0);
	CHECK_EQ(gort_scope_close(s), 0);
	CHECK_EQ(atomic_load(&alive), 0);
	CHECK_EQ(atomic_load(&ended), 101);
	atomic_store(&ended, 0);
	gort_waitgroup_done(&users);
}

// variants: maxprocs
TEST(close_waits_for_all)
{
	struct guest *g;

	gort_waitgroup_add(&users, 1);
	use(NULL);
	gort_waitgroup_add(&users, 1);
	g = guest_start(use, NULL);
	CHECK_EQ(gort_waitgroup_wait(&users), 0);
	guest_join(g);
}

// variants: maxprocs bubble
TEST(first_failure_ends_the_others)
{
	begin();
	for (int i = 0; i < SCALE(200); i++) {
		gort_scope *s = open_scope(i % 2 ? 50 : 0);

		for (int k = 0; k < 20; k++)
			go(s, k % 2 ? wait_for_ever : wait_on, k % 2 ? -EXDEV : -ENOENT);
		go(s, give, -EXDEV);
		CHECK_EQ(gort_scope_close(s), -EXDEV);
		CHECK_EQ(atomic_load(&alive), 0);
	}
	end();
}

// variants: bubble
TEST(first_of_several_failures_is_told)
{
	gort_scope *s = open_scope(0);

	begin();
	go(s, give_at_the_gate, -EIO);
	CHECK_EQ(gort_chan_send(gate, NULL), 0);
	EVENTUALLY(gort_ctx_err(gort_scope_ctx(s)) != 0);
	CHECK_EQ(gort_ctx_cause(gort_scope_ctx(s)), -EIO);
	CHECK_EQ(gort_scope_go(s, give, (void *)-EPERM), -ECANCELED);
	gort_scope_cancel(s, -EPERM);
	CHECK_EQ(gort_scope_close(s), -EIO);
	end();
}

/* Positive results are no failures. */
// variants: bubble
TEST(only_negative_results_count)
{
	gort_scope *s = open_scope(0);

	go(s, give, 1);
	go(s, give, INT32_MAX);
	CHECK_EQ(gort_scope_wait_until(s, GORT_FOREVER), 0);
	CHECK_EQ(gort_ctx_err(gort_scope_ctx(s)), 0);
	go(s, give, INT32_MIN);
	CHECK_EQ(gort_scope_close(s), INT32_MIN);
}

static int panics(void *arg)
{
	enter();
	leave(0);
	gort_panic("member %d", (int)(intptr_t)arg);
}

static atomic_int panicked;

static void note_panic(const char *message, uint64_t goroutine)
{
	CHECK(strncmp(message, "member 7", 8) == 0);
	CHECK(goroutine > 1);
	atomic_fetch_add(&panicked, 1);
}

static int panics_in_a_scope(void *arg)
{
	gort_scope *s = open_scope(0);

	(void)arg;
	begin();
	go(s, wait_for_ever, -EOWNERDEAD);
	go(s, panics, 7);
	CHECK_EQ(gort_scope_close(s), -EOWNERDEAD);
	CHECK_EQ(atomic_load(&panicked), 1);
	CHECK_EQ(atomic_load(&alive), 0);
	end();
	return 3;
}

// variants: maxprocs
TEST_PLAIN(panic_is_eownerdead)
{
	CHECK_EQ(gort_run(panics_in_a_scope, NULL, &(gort_options){ .on_panic = note_panic }), 3);
}

TEST_DIES(panic_of_a_member_dies_without_on_panic, "panic: member 4")
{
	gort_scope *s = open_scope(0);

	go(s, panics, 4);
	gort_scope_close(s);
}

/* ---- limits ---------------------------------------------------------------------------------- */

static int run_a_little(void *arg)
{
	enter();
	for (intptr_t i = (intptr_t)arg % 4; i > 0; i--)
		gort_yield();
	if ((intptr_t)arg % 16 == 0)
		gort_sleep(GORT_US);
	return leave(0);
}

static void go_on(void *arg)
{
	for (int i = 0; i < SCALE(300); i++)
		go(shared, run_a_little, i + (intptr_t)arg);
	gort_waitgroup_done(&users);
}

// variants: maxprocs
TEST(limit_holds)
{
	for (int limit = 1; limit <= 9; limit += 4) {
		struct guest *g;

		shared = open_scope(limit);
		atomic_store(&most_alive, 0);
		atomic_store(&ended, 0);
		gort_waitgroup_add(&users, 5);
		g = guest_start(go_on, NULL);
		for (intptr_t i = 0; i < 3; i++)
			CHECK_EQ(gort_go(go_on, (void *)i), 0);
		go_on(NULL);
		CHECK_EQ(gort_waitgroup_wait(&users), 0);
		guest_join(g);
		CHECK_EQ(gort_scope_close(shared), 0);
		CHECK_EQ(atomic_load(&ended), 5 * SCALE(300));
		CHECK(atomic_load(&most_alive) <= limit);
	}
}

// variants: bubble
TEST(try_go_gives_eagain_at_the_limit)
{
	gort_scope *s = open_scope(2), *all = open_scope(-1);

	begin();
	CHECK_EQ(gort_scope_try_go(s, give_at_the_gate, NULL), 0);
	CHECK_EQ(gort_scope_try_go(s, give_at_the_gate, NULL), 0);
	CHECK_EQ(gort_scope_try_go(s, give, NULL), -EAGAIN);
	CHECK_EQ(gort_scope_try_go(s, give, NULL), -EAGAIN);
	CHECK_EQ(gort_chan_send(gate, NULL), 0);
	EVENTUALLY(gort_scope_try_go(s, give, NULL) == 0);
	CHECK_EQ(gort_chan_send(gate, NULL), 0);
	CHECK_EQ(gort_scope_close(s), 0);
	for (int i = 0; i < 1000; i++)
		CHECK_EQ(gort_scope_try_go(all, give, NULL), 0);
	CHECK_EQ(gort_scope_close(all), 0);
	end();
}

/* A place goes to who has waited longest. */
static atomic_int order, waiting;

static int take_number(void *arg)
{
	CHECK_EQ(atomic_fetch_add(&order, 1), (int)(intptr_t)arg);
	return 0;
}

static void wait_for_place(void *arg)
{
	atomic_fetch_add(&waiting, 1);
	go(shared, take_number, (intptr_t)arg);
}

static bool only_this_one_runs(void)
{
	gort_stats s;

	gort_read_stats(&s, sizeof s);
	return s.running == 1 && s.runnable == 0;
}

// variants: bubble
TEST(places_are_given_in_order)
{
	begin();
	shared = open_scope(1);
	go(shared, give_at_the_gate, 0);
	for (intptr_t i = 0; i < 50; i++) {
		CHECK_EQ(gort_waitgroup_go(&users, wait_for_place, (void *)i), 0);
		EVENTUALLY(atomic_load(&waiting) == i + 1 && only_this_one_runs());
	}
	CHECK_EQ(gort_chan_send(gate, NULL), 0);
	CHECK_EQ(gort_waitgroup_wait(&users), 0);
	CHECK_EQ(gort_scope_close(shared), 0);
	CHECK_EQ(atomic_load(&order), 50);
	end();
}

/* Who waits for a place is told of the scope's end, though no place becomes free. */
static void refused(void *arg)
{
	gort_scope *s = arg;

	atomic_fetch_add(&waiting, 1);
	CHECK_EQ(gort_scope_go(s, give, NULL), -ECANCELED);
	CHECK_EQ(gort_scope_try_go(s, give, NULL), -ECANCELED);
	CHECK_EQ(gort_scope_spawn(s, give, NULL, NULL), -ECANCELED);
}

// variants: maxprocs bubble
TEST(no_place_in_a_cancelled_scope)
{
	begin();
	for (int i = 0; i < SCALE(300); i++) {
		gort_scope *s = open_scope(1);
		struct guest *g;

		atomic_store(&waiting, 0);
		go(s, goes_on, 0);
		for (int k = 0; k < 5; k++)
			CHECK_EQ(gort_waitgroup_go(&users, refused, s), 0);
		g = guest_start(refused, s);
		while (i % 2 && atomic_load(&waiting) < 6)
			gort_yield(); /* a bubble's time would not wait for the guest */
		for (int k = i % 5; k > 0; k--)
			gort_yield();
		gort_scope_cancel(s, -EIO);
		CHECK_EQ(gort_waitgroup_wait(&users), 0);
		guest_join(g);
		CHECK_EQ(gort_scope_wait_until(s, GORT_NOW), -ETIMEDOUT);
		CHECK_EQ(gort_chan_send(gate, NULL), 0);
		CHECK_EQ(gort_scope_close(s), 0);
	}
	end();
}

/* ---- members that add members ---------------------------------------------------------------- */

static int grow(void *arg)
{
	intptr_t depth = (intptr_t)arg;

	enter();
	for (int i = 0; depth > 0 && i < 3; i++)
		go(shared, grow, depth - 1);
	return leave(0);
}

static void grow_all(int limit, int (*fn)(void *arg))
{
	shared = open_scope(limit);
	atomic_store(&ended, 0);
	go(shared, fn, 6);
	CHECK_EQ(gort_scope_close(shared), 0);
	CHECK_EQ(atomic_load(&ended), 1 + 3 + 9 + 27 + 81 + 243 + 729);
}

// variants: maxprocs bubble
TEST(members_add_members)
{
	grow_all(0, grow);
}

/* With try_go under a limit, and by oneself where there is no place. */
static int try_grow(void *arg)
{
	intptr_t depth = (intptr_t)arg;
	int err;

	enter();
	for (int i = 0; depth > 0 && i < 3; i++) {
		err = gort_scope_try_go(shared, try_grow, (void *)(depth - 1));
		CHECK(err == 0 || err == -EAGAIN);
		if (err) {
			atomic_fetch_sub(&alive, 1);
			CHECK_EQ(try_grow((void *)(depth - 1)), 0);
			atomic_fetch_add(&alive, 1);
		}
	}
	return leave(0);
}

// variants: maxprocs bubble
TEST(members_try_to_add_members_under_a_limit)
{
	grow_all(4, try_grow);
	CHECK(atomic_load(&most_alive) <= 4);
}

/* ---- attributes, contexts -------------------------------------------------------------------- */

static int see_copy(void *arg)
{
	char deep[100 << 10];

	memset(deep, 1, sizeof deep);
	CHECK_STR(arg, "a copy");
	return deep[*(unsigned char *)arg] == 1 ? 0 : -EIO;
}

// variants: bubble
TEST(spawn_with_attributes)
{
	gort_scope *s = open_scope(0);
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background());
	char text[8] = "a copy";

	CHECK_EQ(gort_scope_spawn(s, see_copy, text,
				  &(gort_attr){ .name = "reader",
						.stack_size = 512 << 10,
						.copy = sizeof text }),
		 0);
	memset(text, 0, sizeof text);
	CHECK_EQ(gort_scope_spawn(s, give, NULL, NULL), 0);
	CHECK_EQ(gort_scope_spawn(s, give, NULL, &(gort_attr){ .ctx = ctx }), -EINVAL);
	CHECK_EQ(gort_scope_spawn(s, give, NULL, &(gort_attr){ .stack_size = 1 }), -EINVAL);
	CHECK_EQ(gort_scope_spawn(s, give, NULL, &(gort_attr){ .reserved_ = { 1 } }), -EINVAL);
	CHECK_EQ(gort_scope_close(s), 0);
	gort_ctx_release(ctx);
}

static int look_at_context(void *arg)
{
	CHECK(gort_ctx_current() == arg);
	CHECK(gort_ctx_value(arg, &gate) == &never);
	return 0;
}

// variants: maxprocs bubble
TEST(members_are_under_the_scopes_context)
{
	gort_ctx *top = gort_ctx_with_cancel(gort_ctx_background());
	gort_ctx *value = gort_ctx_with_value(top, &gate, &never);
	gort_scope *s;

	begin();
	gort_ctx_enter(value);
	s = open_scope(0);
	gort_ctx_leave(gort_ctx_background());
	gort_ctx_release(value);
	CHECK(gort_scope_ctx(s) == gort_scope_ctx(s));
	CHECK(gort_ctx_current() == gort_ctx_background());
	go(s, look_at_context, (intptr_t)gort_scope_ctx(s));
	go(s, wait_for_ever, -EIO);
	CHECK_EQ(gort_ctx_err(gort_scope_ctx(s)), 0);
	gort_ctx_cancel(top, -EIO);
	CHECK_EQ(gort_scope_go(s, give, NULL), -ECANCELED);
	CHECK_EQ(gort_scope_close(s), -EINTR); /* what the member made of it */
	gort_ctx_release(top);
	end();
}

/* One that lives on elsewhere ends with the scope's close. */
// variants: bubble
TEST(context_ends_with_the_scope)
{
	gort_scope *s = open_scope(0);
	gort_ctx *low = gort_ctx_with_cancel(gort_scope_ctx(s));
	gort_ctx *ctx = gort_ctx_retain(gort_scope_ctx(s));

	CHECK_EQ(gort_scope_close(s), 0);
	gort_ctx_cancel(ctx, -EIO);
	CHECK_EQ(gort_ctx_cause(low), -EIO);
	gort_ctx_release(low);
	gort_ctx_release(ctx);
}

/* ---- cancellation, deadlines, grace ---------------------------------------------------------- */

// variants: maxprocs bubble
TEST(cancel_has_the_cause)
{
	gort_scope *s = open_scope(0);

	begin();
	for (int i = 0; i < 10; i++)
		go(s, wait_for_ever, -EPERM);
	gort_scope_cancel(s, -EPERM);
	gort_scope_cancel(s, -EIO);
	CHECK_EQ(gort_scope_close(s), -EINTR);
	s = open_scope(0);
	go(s, wait_on, 0);
	gort_ctx_cancel(gort_scope_ctx(s), 0); /* the same by its context */
	CHECK_EQ(gort_scope_close(s), 0);
	end();
}

struct closer {
	gort_ctx *ctx;
	gort_scope *scope;
	struct waits *waits;
	int64_t deadline;
	int (*member)(void *arg);
	int result; /* of the member */
	int expect;
};

static void close_it(void *arg)
{
	struct closer *c = arg;
	gort_ctx *before = c->ctx ? gort_ctx_enter(c->ctx) : NULL;
	gort_scope *s = open_scope(0);

	go(s, c->member, c->result);
	EVENTUALLY(atomic_load(&alive) == 1);
	c->scope = s;
	c->waits = own_waits();
	atomic_fetch_add(&waiting, 1);
	if (c->deadline)
		gort_set_deadline(gort_in(c->deadline));
	CHECK_EQ(gort_scope_close(s), c->expect);
	gort_set_deadline(GORT_FOREVER);
	CHECK_EQ(atomic_load(&alive), 0);
	if (before)
		gort_ctx_leave(before);
	gort_waitgroup_done(&users);
}

static void close_and_cancel(struct closer *c, bool on_guest)
{
	struct guest *g = NULL;

	atomic_store(&waiting, 0);
	c->ctx = gort_ctx_with_cancel(gort_ctx_background());
	gort_waitgroup_add(&users, 1);
	if (on_guest)
		g = guest_start(close_it, c);
	else
		CHECK_EQ(gort_go(close_it, c), 0);
	EVENTUALLY(atomic_load(&waiting) == 1);
	if (!c->deadline) {
		EVENTUALLY(sleeps_now(c->waits)); /* in close */
		gort_ctx_cancel(c->ctx, -EIO);
	} else if (c->member == goes_on) { /* so the scope is there still */
		EVENTUALLY(gort_ctx_err(gort_scope_ctx(c->scope)) != 0);
	}
	if (c->member == goes_on) {
		CHECK_EQ(gort_waitgroup_wait_until(&users, gort_in(5 * GORT_MS)), -ETIMEDOUT);
		CHECK_EQ(gort_chan_send(gate, NULL), 0);
	}
	CHECK_EQ(gort_waitgroup_wait(&users), 0);
	if (g)
		guest_join(g);
	gort_ctx_release(c->ctx);
}

/* The caller of close is cancelled, or its deadline passes: the members are, too, and it waits
 * for all. */
// variants: maxprocs
TEST(close_under_a_context_that_ends)
{
	struct closer all[] = {
		{ .member = wait_on, .expect = -ECANCELED },
		{ .member = wait_on, .result = -EIO, .expect = -EIO },
		{ .member = goes_on, .expect = -ECANCELED },
		{ .member = goes_on, .result = -EIO, .expect = -EIO },
		{ .member = wait_on, .deadline = GORT_MS, .expect = -ETIMEDOUT },
		{ .member = wait_on, .result = -EIO, .deadline = GORT_MS, .expect = -EIO },
		{ .member = goes_on, .deadline = GORT_MS, .expect = -ETIMEDOUT },
	};

	begin();
	for (size_t i = 0; i < 2 * sizeof all / sizeof all[0]; i++)
		close_and_cancel(&all[i / 2], i % 2);
	end();
}

/* It tells of its caller's end only if it had to wait. */
// variants: bubble
TEST(close_without_a_wait_under_a_context_that_has_ended)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background());
	gort_scope *s = open_scope(0), *low;

	go(s, give, 0);
	CHECK_EQ(gort_scope_wait_until(s, GORT_FOREVER), 0);
	gort_ctx_enter(ctx);
	gort_ctx_cancel(ctx, 0);
	CHECK_EQ(gort_scope_close(s), 0);
	low = open_scope(0);
	CHECK_EQ(gort_ctx_err(gort_scope_ctx(low)), -ECANCELED);
	CHECK_EQ(gort_scope_go(low, give, NULL), -ECANCELED);
	CHECK_EQ(gort_scope_close(low), 0);
	gort_ctx_leave(gort_ctx_background());
	gort_ctx_release(ctx);
}

// variants: maxprocs bubble
TEST(wait_until_gives_a_time_of_grace)
{
	gort_scope *s = open_scope(0);
	int64_t until = gort_in(2 * GORT_MS);

	begin();
	CHECK_EQ(gort_scope_wait_until(s, GORT_NOW), 0);
	go(s, wait_for_ever, -EPERM);
	go(s, give_at_the_gate, 0);
	CHECK_EQ(gort_chan_send(gate, NULL), 0);
	CHECK_EQ(gort_scope_wait_until(s, GORT_NOW), -ETIMEDOUT);
	CHECK_EQ(gort_scope_wait_until(s, gort_now() - 1), -ETIMEDOUT);
	CHECK_EQ(gort_scope_wait_until(s, until), -ETIMEDOUT);
	CHECK(gort_now() >= until);
	gort_scope_cancel(s, -EPERM);
	CHECK_EQ(gort_scope_wait_until(s, GORT_FOREVER), 0);
	CHECK_EQ(gort_scope_close(s), -EINTR);
	end();
}

/* ---- scopes in scopes ------------------------------------------------------------------------ */

static int opens_one(void *arg)
{
	gort_scope *s = open_scope(2);
	intptr_t depth = (intptr_t)arg;
	int err = gort_scope_go(s, depth > 0 ? opens_one : wait_for_ever,
				(void *)(depth > 0 ? depth - 1 : 0));

	CHECK(err == 0 || err == -ECANCELED);
	return gort_scope_close(s);
}

// variants: maxprocs bubble
TEST(scopes_in_scopes_end_from_the_outside)
{
	begin();
	for (int i = 0; i < SCALE(100); i++) {
		gort_scope *s = open_scope(0);

		for (intptr_t k = 0; k < 5; k++)
			go(s, opens_one, k);
		for (int k = i % 10; k > 0; k--)
			gort_yield();
		if (i % 2)
			EVENTUALLY(atomic_load(&alive) == 5);
		gort_scope_cancel(s, 0);
		CHECK(gort_scope_close(s) < 0 || i % 2 == 0);
		CHECK_EQ(atomic_load(&alive), 0);
	}
	end();
}

/* An inner failure ends the inner scope alone, if its owner makes nothing of it. */
static int swallows(void *arg)
{
	gort_scope *s = open_scope(0);

	(void)arg;
	go(s, wait_for_ever, -EIO);
	go(s, give, -EIO);
	CHECK_EQ(gort_scope_close(s), -EIO);
	CHECK_EQ(gort_ctx_err(gort_ctx_current()), 0);
	return 0;
}

// variants: bubble
TEST(inner_failure_ends_the_inner_scope)
{
	gort_scope *s = open_scope(0);

	begin();
	go(s, swallows, 0);
	CHECK_EQ(gort_scope_close(s), 0);
	end();
}

/* ---- many ------------------------------------------------------------------------------------ */

// variants: maxprocs bubble
TEST(hundred_thousand_members_and_scopes_in_flat_memory)
{
	uint64_t memory = 0;

	for (int i = 0; i < 10; i++) {
		gort_scope *s = open_scope(i % 2 ? 100 : 0);

		for (int k = 0; k < SCALE(10000); k++)
			go(s, give, 0);
		CHECK_EQ(gort_scope_close(s), 0);
		for (int k = 0; k < SCALE(1000); k++)
			CHECK_EQ(gort_scope_close(open_scope(k)), 0);
		if (i == 1)
			memory = mem_in_use();
	}
	/* Queues of other Ps may have grown, and the last members may yet have to be freed. */
	EVENTUALLY(mem_in_use() <= memory + (2 << 20));
}

/* ---- a runtime that is not there, or ends ---------------------------------------------------- */

TEST_PLAIN(without_a_runtime)
{
	gort_scope *s = open_scope(1);

	CHECK_EQ(gort_scope_go(s, give, NULL), -ESRCH);
	CHECK_EQ(gort_scope_try_go(s, give, NULL), -ESRCH);
	CHECK_EQ(gort_scope_spawn(s, give, NULL, NULL), -ESRCH);
	CHECK_EQ(gort_scope_wait_until(s, GORT_FOREVER), 0);
	gort_scope_cancel(s, 0);
	CHECK_EQ(gort_scope_close(s), 0);
}

static void goes_by_place(void *arg)
{
	int err = gort_scope_go(shared, arg ? wait_for_ever : give, NULL);

	CHECK(err == 0 || err == -ECANCELED || err == -ESRCH);
}

/* Goroutines are dropped as they are members, wait for places, or have just got one. */
// variants: maxprocs
TEST_PLAIN(runtime_ends_under_a_scope_of_a_guest)
{
	begin();
	for (int i = 0; i < SCALE(200); i++) {
		struct guest *g[2];
		int err;

		shared = open_scope(1 + i % 3);
		CHECK_EQ(gort_start(NULL), 0);
		for (intptr_t k = 0; k < 6; k++)
			CHECK_EQ(gort_go(goes_by_place, (void *)(k % 3 == i % 4 ? k : 0)), 0);
		for (intptr_t k = 0; k < 2; k++)
			g[k] = guest_start(goes_by_place, (void *)k);
		gort_sleep(i % 8 * 10 * GORT_US);
		CHECK_EQ(gort_stop(), 0);
		for (int k = 0; k < 2; k++)
			guest_join(g[k]);
		err = gort_scope_close(shared);
		CHECK(err == 0 || err == -ECANCELED);
		atomic_store(&alive, 0);
	}
	end();
}

/* ---- misuse ---------------------------------------------------------------------------------- */

static int closes_its_own(void *arg)
{
	return gort_scope_close(arg);
}

TEST_DIES(close_by_a_member, "gort_scope_close: a member closes its own scope")
{
	gort_scope *s = open_scope(0);

	go(s, closes_its_own, (intptr_t)s);
	gort_scope_close(s);
}

TEST_DIES(close_of_no_scope, "gort_scope_close: no scope")
{
	gort_scope_close(NULL);
}

TEST_DIES(go_without_a_function, "gort_scope_try_go: no function")
{
	gort_scope_try_go(open_scope(0), NULL, NULL);
}

TEST_DIES(go_in_no_scope, "gort_scope_go: no scope")
{
	gort_scope_go(NULL, give, NULL);
}
