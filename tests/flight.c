/*
 * flight.c - one call at a time for a key: who shares it, what ends it, many keys at once.
 */
#include "base/alloc.h"
#include "crowd.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static gort_flight *flight;
static gort_waitgroup group;
static gort_chan *gate;
static atomic_int calls, arrived, shares, alone;

static void open_flight(void)
{
	flight = gort_flight_make();
	gate = gort_chan_make(0, 0);
	CHECK(flight && gate);
}

static void close_flight(void)
{
	gort_flight_release(flight);
	gort_chan_release(gate);
	calls = arrived = shares = alone = 0;
}

static int answer(void *arg)
{
	atomic_fetch_add(&calls, 1);
	return *(int *)arg;
}

static int answer_at_the_gate(void *arg)
{
	atomic_fetch_add(&calls, 1);
	CHECK_EQ(gort_chan_recv(gate, NULL), -EPIPE);
	return *(int *)arg;
}

/* ---- nobody else about */
static void check_alone(void *arg)
{
	int values[] = { 0, 1, 42, -7, INT32_MAX, INT32_MIN };
	bool shared = true;

	(void)arg;
	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
		int before = atomic_load(&calls);

		CHECK_EQ(gort_flight_do(flight, i % 2 ? "key" : "", answer, &values[i], &shared),
			 values[i]);
		CHECK(!shared);
		CHECK_EQ(atomic_load(&calls), before + 1);
		CHECK_EQ(gort_flight_do(flight, "key", answer, &values[i], NULL), values[i]);
	}
}

TEST_PLAIN(one_after_the_other)
{
	open_flight();
	check_alone(NULL);
	on_guest(check_alone, NULL);
	close_flight();
	gort_flight_release(NULL);
}

TEST(one_after_the_other_on_goroutines)
{
	open_flight();
	check_alone(NULL);
	close_flight();
}

/* ---- shared */
static int value = 42;

static void ask(void *arg)
{
	char key[16];
	bool shared = false;

	snprintf(key, sizeof key, "%s", (char *)arg);
	CHECK_EQ(gort_flight_do(flight, key, answer_at_the_gate, &value, &shared), 42);
	memset(key, 0, sizeof key);
	atomic_fetch_add(shared ? &shares : &alone, 1);
}

/* A guest is seen to wait if its wait could be ended by a deadline, too. */
static bool bounded;
static struct waits *_Atomic guests[5];

static void guest_begins(void)
{
	if (bounded)
		gort_set_deadline(gort_in(3600 * GORT_SEC));
	atomic_store(&guests[atomic_fetch_add(&arrived, 1)], own_waits());
}

static bool guests_wait(int n)
{
	if (atomic_load(&arrived) < n)
		return false;
	for (int i = 0; i < n; i++)
		if (!guests[i] || !sleeps_now(guests[i]))
			return false;
	return true;
}

/* Those who are not seen have time to wait. */
static void await_guests(int n)
{
	if (bounded) {
		EVENTUALLY(guests_wait(n));
		return;
	}
	EVENTUALLY(atomic_load(&arrived) == n);
	gort_sleep(20 * GORT_MS);
}

static void guest_asks(void *arg)
{
	guest_begins();
	ask(arg);
	gort_waitgroup_done(&group);
}

static void goroutine_asks(void *arg)
{
	crowd_join();
	ask(arg);
}

// variants: maxprocs
TEST(all_who_ask_meanwhile_share)
{
	const int n = SCALE(1000); /* more than are woken at once */
	static char key[] = "key", other[] = "other";

	open_flight();
	CHECK_EQ(gort_waitgroup_go(&group, ask, key), 0);
	CHECK_EQ(gort_waitgroup_go(&group, ask, other), 0);
	EVENTUALLY(atomic_load(&calls) == 2);
	for (int i = 0; i < n; i++)
		CHECK_EQ(gort_waitgroup_go(&group, goroutine_asks, key), 0);
	EVENTUALLY(crowd_waits((uint32_t)n, WHY_FLIGHT));
	CHECK_EQ(atomic_load(&shares) + atomic_load(&alone), 0);
	CHECK_EQ(gort_chan_close(gate), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(atomic_load(&calls), 2);
	CHECK_EQ(atomic_load(&shares), n + 1);
	CHECK_EQ(atomic_load(&alone), 1);
	close_flight();
}

/* One of them waits at the gate. Of those who are not seen to wait one may come too late, and lead
 * another call. */
static void some_guests_share(void)
{
	struct guest *g[5];
	static char key[] = "key";

	open_flight();
	gort_waitgroup_add(&group, 5);
	for (int i = 0; i < 5; i++)
		g[i] = guest_start(guest_asks, key);
	await_guests(5);
	EVENTUALLY(atomic_load(&calls) == 1);
	CHECK_EQ(gort_chan_close(gate), 0);
	gort_waitgroup_wait(&group);
	for (int i = 0; i < 5; i++)
		guest_join(g[i]);
	if (bounded)
		CHECK_EQ(atomic_load(&calls), 1);
	CHECK(atomic_load(&shares) >= (bounded ? 5 : 2) || atomic_load(&calls) == 5);
	CHECK_EQ(atomic_load(&shares) + atomic_load(&alone), 5);
	close_flight();
}

static void guests_share(void)
{
	for (int i = 0; i < 2; i++) {
		bounded = i;
		for (int k = 0; k < 5; k++)
			guests[k] = NULL;
		some_guests_share();
	}
}

TEST_PLAIN(guests_share_without_a_runtime)
{
	guests_share();
}

// variants: maxprocs
TEST(guests_share_with_a_runtime)
{
	guests_share();
}

/* ---- many keys, come and gone in all orders: at no time two calls for one */
#define KEYS 37

static atomic_int running[KEYS];

static int run_alone(void *arg)
{
	int k = *(int *)arg;

	CHECK_EQ(atomic_fetch_add(&running[k], 1), 0);
	for (int i = 0; i < k % 5; i++)
		gort_yield();
	if (k % 11 == 0)
		gort_sleep(1);
	CHECK_EQ(atomic_fetch_sub(&running[k], 1), 1);
	return k * 1000;
}

static uint32_t next_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static void ask_for_many(void *arg)
{
	uint32_t random = *(uint32_t *)arg;
	char text[16];

	for (int i = 0; i < SCALE(2000); i++) {
		int k = (int)(next_random(&random) % KEYS);

		snprintf(text, sizeof text, "key %d", k);
		CHECK_EQ(gort_flight_do(flight, text, run_alone, &k, NULL), k * 1000);
	}
}

static void guest_asks_for_many(void *arg)
{
	ask_for_many(arg);
	gort_waitgroup_done(&group);
}

// variants: maxprocs
TEST(one_call_for_each_of_many_keys)
{
	uint32_t seeds[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };
	struct guest *g[2];

	open_flight();
	gort_waitgroup_add(&group, 2);
	for (int i = 0; i < 2; i++)
		g[i] = guest_start(guest_asks_for_many, &seeds[8 + i]);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(gort_waitgroup_go(&group, ask_for_many, &seeds[i]), 0);
	gort_waitgroup_wait(&group);
	for (int i = 0; i < 2; i++)
		guest_join(g[i]);
	close_flight();
}

/* All of them at once. */
static void ask_for_one(void *arg)
{
	char text[16];

	snprintf(text, sizeof text, "%d", *(int *)arg);
	atomic_fetch_add(&arrived, 1);
	CHECK_EQ(gort_flight_do(flight, text, answer_at_the_gate, arg, NULL), *(int *)arg);
}

// variants: maxprocs
TEST(thousands_of_keys_at_once)
{
	enum { N = 5000 };
	static int id[N];
	const int n = SCALE(N);

	open_flight();
	for (int i = 0; i < n; i++) {
		id[i] = i % (n / 2 + 1); /* most of them twice */
		CHECK_EQ(gort_waitgroup_go(&group, ask_for_one, &id[i]), 0);
	}
	EVENTUALLY(atomic_load(&arrived) == n);
	EVENTUALLY(atomic_load(&calls) == n / 2 + 1);
	CHECK_EQ(gort_chan_close(gate), 0);
	gort_waitgroup_wait(&group);
	close_flight();
}

/* ---- how fn may end */
static int panic_at_the_gate(void *arg)
{
	answer_at_the_gate(arg);
	gort_panic("no answer");
}

static int goexit_at_the_gate(void *arg)
{
	answer_at_the_gate(arg);
	gort_goexit();
}

static void lead_to_panic(void *arg)
{
	(void)arg;
	gort_flight_do(flight, "key", panic_at_the_gate, &value, NULL);
	CHECK(false);
}

static void try_to_lead(void *arg)
{
	char message[20] = "";

	(void)arg;
	CHECK_EQ(gort_try(lead_to_panic, NULL, message, sizeof message), -EOWNERDEAD);
	CHECK_STR(message, "no answer");
}

static void lead_to_goexit(void *arg)
{
	(void)arg;
	gort_flight_do(flight, "key", goexit_at_the_gate, &value, NULL);
	CHECK(false);
}

static void follow(void *arg)
{
	bool shared = false;

	(void)arg;
	crowd_join();
	CHECK_EQ(gort_flight_do(flight, "key", answer, &value, &shared), -EOWNERDEAD);
	CHECK(shared);
}

static void lead_and_follow(gort_func lead)
{
	open_flight();
	CHECK_EQ(gort_waitgroup_go(&group, lead, NULL), 0);
	EVENTUALLY(atomic_load(&calls) == 1);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(gort_waitgroup_go(&group, follow, NULL), 0);
	EVENTUALLY(crowd_waits(20, WHY_FLIGHT));
	CHECK_EQ(gort_chan_close(gate), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(atomic_load(&calls), 1);
	check_alone(NULL); /* the key is free again */
	close_flight();
}

// variants: maxprocs
TEST(panic_goes_on_in_its_caller_alone)
{
	lead_and_follow(try_to_lead);
}

// variants: maxprocs
TEST(goexit_ends_its_caller_alone)
{
	lead_and_follow(lead_to_goexit);
}

TEST_PLAIN(panic_on_a_plain_thread)
{
	open_flight();
	CHECK_EQ(gort_chan_close(gate), 0);
	try_to_lead(NULL);
	check_alone(NULL);
	close_flight();
}

/* ---- contexts: who waits goes, the call goes on */
static void follow_for_a_while(void *arg)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background()), *before = gort_ctx_enter(ctx);
	int64_t old = gort_set_deadline(gort_in(2 * GORT_MS));
	bool shared = false;

	(void)arg;
	CHECK_EQ(gort_flight_do(flight, "key", answer, &value, &shared), -ETIMEDOUT);
	gort_set_deadline(old);
	gort_ctx_cancel(ctx, 0);
	CHECK_EQ(gort_flight_do(flight, "key", answer, &value, &shared), -ECANCELED);
	CHECK(!shared);
	CHECK_EQ(gort_flight_do(flight, "other", answer, &value, &shared), 42);
	gort_ctx_leave(before);
	gort_ctx_release(ctx);
}

// variants: maxprocs
TEST(contexts_end_waits_and_no_calls)
{
	static char key[] = "key";

	open_flight();
	CHECK_EQ(gort_waitgroup_go(&group, ask, key), 0);
	EVENTUALLY(atomic_load(&calls) == 1);
	follow_for_a_while(NULL);
	on_guest(follow_for_a_while, NULL);
	CHECK_EQ(gort_waitgroup_go(&group, goroutine_asks, key), 0);
	EVENTUALLY(crowd_waits(1, WHY_FLIGHT));
	CHECK_EQ(gort_chan_close(gate), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(atomic_load(&shares), 2);
	close_flight();
}

/* ---- from inside */
static int ask_from_inside(void *arg)
{
	CHECK_EQ(gort_flight_do(flight, "key", answer, arg, NULL), -EDEADLK);
	return gort_flight_do(flight, "other", answer, arg, NULL) + 1;
}

static void check_inside(void *arg)
{
	(void)arg;
	CHECK_EQ(gort_flight_do(flight, "key", ask_from_inside, &value, NULL), 43);
}

TEST(asking_for_the_same_from_inside)
{
	open_flight();
	check_inside(NULL);
	on_guest(check_inside, NULL);
	close_flight();
}

/* ---- memory */
TEST(out_of_memory)
{
	char key[100];

	memset(key, 'k', sizeof key - 1);
	key[sizeof key - 1] = 0;
	open_flight();
	mem_fail_after(1);
	if (gort_flight_do(flight, key, answer, &value, NULL) == -ENOMEM)
		CHECK_EQ(atomic_load(&calls), 0);
	mem_fail_after(0);
	CHECK_EQ(gort_flight_do(flight, key, answer, &value, NULL), 42);
	close_flight();
}

/* ---- the runtime ends */
static int ask_and_end(void *arg)
{
	(void)arg;
	CHECK_EQ(gort_go(lead_to_goexit, NULL), 0);
	EVENTUALLY(atomic_load(&calls) == 1);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(gort_go(follow, NULL), 0);
	EVENTUALLY(crowd_waits(5, WHY_FLIGHT));
	await_guests(1);
	return 0;
}

static void guest_waits(void *arg)
{
	bool shared = true;

	EVENTUALLY(atomic_load(&calls) == 1);
	guest_begins();
	*(int *)arg = gort_flight_do(flight, "key", answer, &value, &shared);
}

static void end_while_one_leads(void)
{
	int result = 1;
	struct guest *g;

	open_flight();
	g = guest_start(guest_waits, &result);
	CHECK_EQ(gort_run(ask_and_end, NULL, NULL), 0);
	guest_join(g);
	if (result == 42 && !bounded) { /* it came too late, and led a call of its own */
		CHECK_EQ(atomic_load(&calls), 2);
	} else {
		CHECK_EQ(result, -ECANCELED);
		CHECK_EQ(atomic_load(&calls), 1);
	}
	check_alone(NULL);
	close_flight();
	crowd_forget();
}

TEST_PLAIN(runtime_ends_while_one_leads)
{
	for (int i = 0; i < 2; i++) {
		bounded = i;
		guests[0] = NULL;
		end_while_one_leads();
	}
}

/* ---- misuse */
TEST_DIES(do_without_a_flight, "gort_flight_do: no flight")
{
	gort_flight_do(NULL, "key", answer, &value, NULL);
}

TEST_DIES(do_without_a_key_names_the_goroutine, "goroutine 1")
{
	open_flight();
	gort_flight_do(flight, NULL, answer, &value, NULL);
}

TEST_PLAIN_DIES(do_without_a_function, "gort_flight_do: no function")
{
	open_flight();
	gort_flight_do(flight, "key", NULL, &value, NULL);
}

static int release_inside(void *arg)
{
	gort_flight_release(flight);
	return *(int *)arg;
}

TEST_DIES(release_while_a_call_runs, "gort_flight_release")
{
	open_flight();
	gort_flight_do(flight, "key", release_inside, &value, NULL);
}
