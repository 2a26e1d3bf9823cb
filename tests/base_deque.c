/*
 * base_deque.c - base/deque.h: the owner takes the newest, thieves the oldest, each entry once,
 * also while the array grows.
 */
#include "harness.h"

#include "base/alloc.h"
#include "base/deque.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#define ITEM(n) ((void *)((uintptr_t)(n) + 1))

static uint64_t number(const void *item)
{
	return (uintptr_t)item - 1;
}

static void fill(struct deque *d, uint64_t from, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		CHECK(deque_push(d, ITEM(from + i)));
}

TEST_PLAIN(owner_takes_the_newest)
{
	static struct deque d;

	CHECK(deque_init(&d));
	CHECK(deque_pop(&d) == NULL);
	fill(&d, 0, 50);
	CHECK_EQ(deque_len(&d), 50);
	for (uint64_t i = 50; i-- > 0;)
		CHECK_EQ(number(deque_pop(&d)), i);
	CHECK(deque_pop(&d) == NULL);
	CHECK_EQ(deque_len(&d), 0);
	fill(&d, 7, 1);
	CHECK_EQ(number(deque_pop(&d)), 7);
	CHECK(deque_pop(&d) == NULL);
	deque_fini(&d);
}

TEST_PLAIN(thieves_take_the_oldest)
{
	static struct deque d;

	CHECK(deque_init(&d));
	CHECK(deque_steal(&d) == NULL);
	fill(&d, 0, 5);
	CHECK_EQ(deque_top(&d), 0);
	CHECK_EQ(number(deque_steal(&d)), 0);
	CHECK_EQ(deque_top(&d), 1);
	CHECK_EQ(number(deque_pop_oldest(&d)), 1);
	CHECK_EQ(number(deque_pop(&d)), 4);
	CHECK_EQ(deque_top(&d), 2);
	CHECK_EQ(number(deque_steal(&d)), 2);
	CHECK_EQ(number(deque_pop(&d)), 3);
	CHECK(deque_steal(&d) == NULL);
	CHECK(deque_pop_oldest(&d) == NULL);
	deque_fini(&d);
}

TEST_PLAIN(grows_and_keeps_both_orders)
{
	static struct deque d;
	size_t before = mem_in_use();

	CHECK(deque_init(&d));
	fill(&d, 0, 40);
	for (uint64_t i = 0; i < 30; i++) /* so that the array wraps when it grows */
		CHECK_EQ(number(deque_steal(&d)), i);
	fill(&d, 40, 100000);
	CHECK_EQ(deque_len(&d), 100010);
	for (uint64_t i = 30; i < 1000; i++)
		CHECK_EQ(number(deque_steal(&d)), i);
	for (uint64_t i = 100040; i-- > 1000;)
		CHECK_EQ(number(deque_pop(&d)), i);
	CHECK(deque_pop(&d) == NULL);
	CHECK(mem_in_use() > before);
	deque_fini(&d);
	CHECK_EQ(mem_in_use(), before);
}

TEST_PLAIN(without_memory_push_fails_and_nothing_changes)
{
	static struct deque d;

	mem_fail_after(1);
	CHECK(!deque_init(&d));
	CHECK(deque_init(&d));
	fill(&d, 0, 64);
	mem_fail_after(1);
	CHECK(!deque_push(&d, ITEM(64)));
	CHECK_EQ(deque_len(&d), 64);
	CHECK(deque_push(&d, ITEM(64)));
	for (uint64_t i = 0; i < 65; i++)
		CHECK_EQ(number(deque_steal(&d)), i);
	deque_fini(&d);
}

/* ---- one owner, three thieves -------------------------------------------------------------- */

#define THIEVES 3

struct shared {
	struct deque deque;
	uint8_t *taken;  /* atomic */
	uint32_t done;   /* atomic */
	uint64_t stolen; /* atomic */
};

static void take(struct shared *s, void *item)
{
	CHECK(item != NULL);
	CHECK_EQ(add_relaxed(&s->taken[number(item)], 1), 0);
}

static void *thief(void *arg)
{
	struct shared *s = arg;
	uint64_t last = 0;
	uint32_t idle = 0;

	for (;;) {
		bool done = load_acquire(&s->done);
		void *item = deque_steal(&s->deque);

		if (item) {
			CHECK(number(item) + 1 > last); /* the oldest first, for each thief */
			last = number(item) + 1;
			take(s, item);
			add_relaxed(&s->stolen, 1);
		} else if (done) {
			return NULL;
		} else if (++idle % 64 == 0) {
			sched_yield();
		}
	}
}

/* most: how far it is filled. 1: every pop is a fight for the last entry. */
static void own(struct shared *s, uint64_t items, uint64_t most)
{
	uint64_t random = 1;
	void *item;

	for (uint64_t i = 0; i < items - 1;) {
		random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
		for (uint64_t n = 1 + (random >> 33) % most; n > 0 && i < items - 1; n--)
			CHECK(deque_push(&s->deque, ITEM(i++)));
		for (uint64_t n = 1 + (random >> 13) % most; n > 0; n--) {
			item = (random >> n % 60 & 15) ? deque_pop(&s->deque)
						       : deque_pop_oldest(&s->deque);
			if (!item)
				break;
			take(s, item);
		}
		if ((random >> 40 & 31) == 0) { /* a feast for all */
			for (uint64_t n = 0; n < 200 && i < items - 1; n++)
				CHECK(deque_push(&s->deque, ITEM(i++)));
			while (deque_len(&s->deque)) {
				if (random & 1 && (item = deque_pop(&s->deque)) != NULL)
					take(s, item);
				else
					sched_yield();
				random = random >> 1 | random << 63;
			}
		}
	}
	while ((item = deque_pop(&s->deque)) != NULL)
		take(s, item);
	CHECK(deque_push(&s->deque, ITEM(items - 1)));
	while (load_relaxed(&s->stolen) == 0) /* else nothing was tried */
		sched_yield();
	if ((item = deque_pop(&s->deque)) != NULL)
		take(s, item);
}

static void each_once(uint64_t items, uint64_t most)
{
	struct shared *s = aligned_alloc(64, sizeof *s);
	pthread_t threads[THIEVES];

	CHECK(s != NULL);
	*s = (struct shared){ .taken = calloc(items, 1) };
	CHECK(s->taken != NULL);
	CHECK(deque_init(&s->deque));
	for (int i = 0; i < THIEVES; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, thief, s), 0);
	own(s, items, most);
	store_release(&s->done, 1);
	for (int i = 0; i < THIEVES; i++)
		pthread_join(threads[i], NULL);
	for (uint64_t i = 0; i < items; i++)
		CHECK_EQ(s->taken[i], 1);
	deque_fini(&s->deque);
	free(s->taken);
	free(s);
}

TEST_PLAIN(each_entry_is_taken_once)
{
	each_once(SCALE(UINT64_C(5000000)), 16);
}

TEST_PLAIN(the_last_entry_is_taken_once)
{
	each_once(SCALE(UINT64_C(5000000)), 1);
}

TEST_PLAIN(each_entry_is_taken_once_while_it_grows)
{
	for (uint64_t i = 0; i < 20; i++)
		each_once(SCALE(UINT64_C(100000)), 1000);
}
