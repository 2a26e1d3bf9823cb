/*
 * glist.c - sched/glist.h: first in, first out, at every length, also where lists are joined.
 */
#include "harness.h"

#include "sched/sched.h"

#define MOST 200u

static struct g gs[2 * MOST];

static void push(struct glist *l, uint32_t from, uint32_t n)
{
	for (uint32_t i = from; i < from + n; i++)
		glist_push(l, &gs[i]);
}

static void pop(struct glist *l, uint32_t from, uint32_t n)
{
	for (uint32_t i = from; i < from + n; i++)
		CHECK_EQ(glist_pop(l) - gs, i);
}

TEST_PLAIN(pops_in_the_order_of_pushes)
{
	for (uint32_t n = 0; n <= MOST; n++) {
		struct glist l = { 0 };

		push(&l, 0, n);
		CHECK_EQ(l.count, n);
		pop(&l, 0, n);
		CHECK(glist_pop(&l) == NULL);
		CHECK_EQ(l.count, 0);
	}
}

TEST_PLAIN(pushes_and_pops_take_turns)
{
	for (uint32_t in = 1; in <= 40; in++) {
		struct glist l = { 0 };
		uint32_t pushed = 0, popped = 0;

		while (pushed + in <= MOST) {
			push(&l, pushed, in);
			pushed += in;
			pop(&l, popped, in / 2);
			popped += in / 2;
		}
		CHECK_EQ(l.count, pushed - popped);
		pop(&l, popped, pushed - popped);
		CHECK(glist_pop(&l) == NULL);
	}
}

TEST_PLAIN(joined_lists_keep_the_order)
{
	for (uint32_t a = 0; a <= 50; a++)
		for (uint32_t b = 0; b <= 50; b++) {
			struct glist l = { 0 }, more = { 0 };

			push(&l, 0, a);
			push(&more, a, b + 3);
			pop(&more, a, 3); /* its front is half gone */
			glist_append(&l, &more);
			CHECK_EQ(l.count, a + b);
			CHECK_EQ(more.count, 0);
			CHECK(glist_pop(&more) == NULL);
			push(&l, a + b + 3, 1);
			pop(&l, 0, a);
			pop(&l, a + 3, b + 1);
			CHECK(glist_pop(&l) == NULL);
		}
}
