/*
 * base_ring.c - base/ring.h: first in first out, and every entry taken exactly once.
 */
#include "harness.h"

#include "base/ring.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#define ITEM(n) ((void *)((uintptr_t)(n) + 1))

static uint64_t number(const void *item)
{
	return (uintptr_t)item - 1;
}

static void fill(struct ring *r, uint64_t from, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		CHECK(ring_push(r, ITEM(from + i)));
}

TEST_PLAIN(pops_in_the_order_of_pushes)
{
	static struct ring r;

	CHECK(ring_pop(&r) == NULL);
	for (uint64_t round = 0; round < 1000; round++) {
		fill(&r, round * 100, round % 100);
		CHECK_EQ(ring_len(&r), round % 100);
		for (uint64_t i = 0; i < round % 100; i++)
			CHECK_EQ(number(ring_pop(&r)), round * 100 + i);
		CHECK(ring_pop(&r) == NULL);
		CHECK_EQ(ring_len(&r), 0);
	}
}

TEST_PLAIN(full_ring_refuses_and_loses_nothing)
{
	static struct ring r;

	fill(&r, 0, RING_SIZE);
	CHECK(!ring_push(&r, ITEM(999)));
	CHECK_EQ(ring_len(&r), RING_SIZE);
	CHECK_EQ(number(ring_pop(&r)), 0);
	CHECK(ring_push(&r, ITEM(RING_SIZE)));
	for (uint64_t i = 1; i <= RING_SIZE; i++)
		CHECK_EQ(number(ring_pop(&r)), i);
	CHECK(ring_pop(&r) == NULL);
}

TEST_PLAIN(grab_takes_the_older_half_rounded_up)
{
	static struct ring r;
	void *out[RING_SIZE];

	CHECK_EQ(ring_grab(&r, out, RING_SIZE / 2), 0);
	fill(&r, 0, 7);
	CHECK_EQ(ring_grab(&r, out, RING_SIZE / 2), 4);
	for (uint64_t i = 0; i < 4; i++)
		CHECK_EQ(number(out[i]), i);
	CHECK_EQ(ring_grab(&r, out, 1), 1);
	CHECK_EQ(number(out[0]), 4);
	CHECK_EQ(ring_grab(&r, out, 0), 0);
	CHECK_EQ(ring_len(&r), 2);
	CHECK_EQ(ring_grab(&r, out, RING_SIZE / 2), 1);
	CHECK_EQ(ring_grab(&r, out, RING_SIZE / 2), 1);
	CHECK_EQ(number(out[0]), 6);
	CHECK_EQ(ring_grab(&r, out, RING_SIZE / 2), 0);
	fill(&r, 0, RING_SIZE);
	CHECK_EQ(ring_grab(&r, out, RING_SIZE / 2), RING_SIZE / 2);
}

TEST_PLAIN(pop_half_makes_room)
{
	static struct ring r;
	void *out[RING_SIZE / 2];

	fill(&r, 0, RING_SIZE);
	CHECK_EQ(ring_pop_half(&r, out), RING_SIZE / 2);
	for (uint64_t i = 0; i < RING_SIZE / 2; i++)
		CHECK_EQ(number(out[i]), i);
	CHECK_EQ(ring_head(&r), RING_SIZE / 2);
	fill(&r, RING_SIZE, RING_SIZE / 2);
	CHECK_EQ(number(ring_pop(&r)), RING_SIZE / 2);
}

TEST_PLAIN(indices_wrap)
{
	static struct ring r;
	void *out[RING_SIZE / 2];
	uint64_t next = 0;

	r.head = r.tail = UINT32_MAX - 100;
	fill(&r, 0, RING_SIZE);
	CHECK(!ring_push(&r, ITEM(0)));
	CHECK_EQ(ring_len(&r), RING_SIZE);
	for (unsigned n; (n = ring_grab(&r, out, 50)) != 0;)
		for (unsigned i = 0; i < n; i++)
			CHECK_EQ(number(out[i]), next++);
	CHECK_EQ(next, RING_SIZE);
}

/* ---- one owner, three thieves -------------------------------------------------------------- */

#define THIEVES 3

struct shared {
	struct ring ring;
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
	void *out[RING_SIZE / 2];
	uint64_t last = 0;
	uint32_t idle = 0;
	unsigned n;

	for (;;) {
		bool done = load_acquire(&s->done);

		n = ring_grab(&s->ring, out, RING_SIZE / 2);
		for (unsigned i = 0; i < n; i++) {
			CHECK(number(out[i]) + 1 > last); /* FIFO, for each taker */
			last = number(out[i]) + 1;
			take(s, out[i]);
		}
		add_relaxed(&s->stolen, n);
		if (n == 0 && done)
			return NULL;
		if (n == 0 && ++idle % 64 == 0)
			sched_yield();
	}
}

static void overflow(struct shared *s)
{
	void *half[RING_SIZE / 2];
	unsigned n = ring_pop_half(&s->ring, half);

	for (unsigned i = 0; i < n; i++)
		take(s, half[i]);
}

static void own(struct shared *s, uint64_t items)
{
	uint64_t random = 1;
	void *item;

	for (uint64_t i = 0; i < items - 1;) {
		random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
		for (uint64_t n = random >> 60; n > 0 && i < items - 1; n--) {
			if (ring_push(&s->ring, ITEM(i)))
				i++;
			else
				overflow(s);
		}
		for (uint64_t n = random >> 55 & 15; n > 0 && (item = ring_pop(&s->ring)) != NULL;
		     n--)
			take(s, item);
		if ((random >> 40 & 63) == 0) { /* a feast for all */
			while (i < items - 1 && ring_push(&s->ring, ITEM(i)))
				i++;
			while (ring_len(&s->ring)) {
				if (random & 1 && (item = ring_pop(&s->ring)) != NULL)
					take(s, item);
				else
					sched_yield();
				random = random >> 1 | random << 63;
			}
		}
	}
	while ((item = ring_pop(&s->ring)) != NULL)
		take(s, item);
	CHECK(ring_push(&s->ring, ITEM(items - 1)));
	while (load_relaxed(&s->stolen) == 0) /* else nothing was tried */
		sched_yield();
	if ((item = ring_pop(&s->ring)) != NULL)
		take(s, item);
}

TEST_PLAIN(each_entry_is_taken_once)
{
	uint64_t items = SCALE(UINT64_C(5000000));
	struct shared *s = aligned_alloc(64, sizeof *s);
	pthread_t threads[THIEVES];

	CHECK(s != NULL);
	*s = (struct shared){ .taken = calloc(items, 1) };
	CHECK(s->taken != NULL);
	for (int i = 0; i < THIEVES; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, thief, s), 0);
	own(s, items);
	store_release(&s->done, 1);
	for (int i = 0; i < THIEVES; i++)
		pthread_join(threads[i], NULL);
	for (uint64_t i = 0; i < items; i++)
		CHECK_EQ(s->taken[i], 1);
	free(s->taken);
	free(s);
}
