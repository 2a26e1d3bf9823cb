/*
 * chan.c - channels, one goroutine's view at a time, then all at once: rendezvous, buffers,
 * closing in every state, deadlines, queues, memory. Values are conserved whatever races.
 *
 * Where a test needs another goroutine to be waiting, it gives way until that waits (await).
 */
#include "crowd.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static gort_waitgroup group;

/* Until n more have joined the crowd, and wait. */
static void await(uint32_t n)
{
	while (!crowd_all_wait(n))
		gort_yield();
	crowd_forget();
}

/* One call on a channel by another goroutine, and its result. */
struct call {
	gort_chan *c;
	int64_t value, deadline;
	int err;
	atomic_bool done;
};

static void call_send(void *arg)
{
	struct call *call = arg;

	crowd_join();
	call->err = gort_chan_send_until(call->c, &call->value, call->deadline);
	call->done = true;
}

static void call_recv(void *arg)
{
	struct call *call = arg;

	crowd_join();
	call->err = gort_chan_recv_until(call->c, &call->value, call->deadline);
	call->done = true;
}

static struct call call_make(gort_chan *c, int64_t value)
{
	return (struct call){ .c = c, .value = value, .deadline = GORT_FOREVER, .err = 1 };
}

static void waiting(gort_func fn, struct call *call)
{
	call->done = false;
	CHECK_EQ(gort_waitgroup_go(&group, fn, call), 0);
	await(1);
	CHECK(!call->done);
}

static void send_value(gort_chan *c, int64_t value)
{
	CHECK_EQ(gort_chan_send(c, &value), 0);
}

static int64_t recv_value(gort_chan *c)
{
	int64_t value = -1;

	CHECK_EQ(gort_chan_recv(c, &value), 0);
	return value;
}

static gort_chan *make(size_t capacity)
{
	gort_chan *c = gort_chan_make(sizeof(int64_t), capacity);

	CHECK(c != NULL);
	CHECK_EQ(gort_chan_cap(c), capacity);
	CHECK_EQ(gort_chan_len(c), 0);
	return c;
}

/* ---- rendezvous and buffers */
TEST(rendezvous_with_whoever_waits)
{
	gort_chan *c = make(0);
	struct call r = call_make(c, 0), s = call_make(c, 43);

	gort_maxprocs(1);
	waiting(call_recv, &r);
	send_value(c, 42);
	gort_waitgroup_wait(&group);
	CHECK_EQ(r.err, 0);
	CHECK_EQ(r.value, 42);
	waiting(call_send, &s);
	CHECK_EQ(gort_chan_len(c), 0);
	CHECK_EQ(recv_value(c), 43);
	gort_waitgroup_wait(&group);
	CHECK_EQ(s.err, 0);
	gort_chan_release(c);
}

TEST_PLAIN(buffer_is_fifo_and_wraps_around)
{
	for (size_t capacity = 1; capacity < 9; capacity++) {
		gort_chan *c = make(capacity);
		int64_t in = 0, out = 0;

		for (int i = 0; i < 200; i++) {
			size_t fill = (size_t)i % (capacity + 1);

			while (gort_chan_len(c) < fill)
				send_value(c, in++);
			while (gort_chan_len(c) > fill / 2)
				CHECK_EQ(recv_value(c), out++);
			CHECK_EQ(gort_chan_len(c), (size_t)(in - out));
		}
		while (gort_chan_len(c) < capacity)
			send_value(c, in++);
		CHECK_EQ(gort_chan_try_send(c, &in), -EAGAIN);
		while (out < in)
			CHECK_EQ(recv_value(c), out++);
		CHECK_EQ(gort_chan_try_recv(c, &in), -EAGAIN);
		gort_chan_release(c);
	}
}

TEST(sender_that_waits_goes_behind_the_buffer)
{
	gort_chan *c = make(2);
	struct call s[3];

	gort_maxprocs(1);
	send_value(c, 0);
	send_value(c, 1);
	for (int i = 0; i < 3; i++) {
		s[i] = call_make(c, i + 2);
		waiting(call_send, &s[i]);
	}
	CHECK_EQ(gort_chan_len(c), 2);
	for (int i = 0; i < 5; i++)
		CHECK_EQ(recv_value(c), i);
	CHECK_EQ(gort_chan_try_recv(c, NULL), -EAGAIN);
	gort_waitgroup_wait(&group);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(s[i].err, 0);
	gort_chan_release(c);
}

TEST(waiting_senders_and_receivers_are_served_in_order)
{
	enum { N = 10 };
	gort_chan *c = make(0);
	struct call calls[N];

	gort_maxprocs(1);
	for (int i = 0; i < N; i++) {
		calls[i] = call_make(c, i);
		waiting(call_send, &calls[i]);
	}
	for (int i = 0; i < N; i++)
		CHECK_EQ(recv_value(c), i);
	gort_waitgroup_wait(&group);
	for (int i = 0; i < N; i++) {
		calls[i] = call_make(c, -1);
		waiting(call_recv, &calls[i]);
	}
	for (int i = 0; i < N; i++)
		send_value(c, 100 + i);
	gort_waitgroup_wait(&group);
	for (int i = 0; i < N; i++)
		CHECK_EQ(calls[i].value, 100 + i);
	gort_chan_release(c);
}

/* ---- elements of all sizes, by each of the three ways */
struct sized {
	gort_chan *c;
	unsigned char *bytes; /* 16 more before and behind */
	size_t size;
};

static void fill(unsigned char *p, size_t size, int seed)
{
	for (size_t i = 0; i < size; i++)
		p[i] = (unsigned char)(i * 13 + (size_t)seed);
}

static void check_filled(const unsigned char *p, size_t size, int seed)
{
	for (size_t i = 0; i < size; i++)
		if (p[i] != (unsigned char)(i * 13 + (size_t)seed))
			CHECK_EQ(p[i], (unsigned char)(i * 13 + (size_t)seed));
	for (int i = 0; i < 16; i++) {
		CHECK_EQ(p[-1 - i], 0xcc);
		CHECK_EQ(p[size + (size_t)i], 0xcc);
	}
}

static void sized_make(struct sized *s, gort_chan *c, size_t size)
{
	s->c = c;
	s->size = size;
	s->bytes = malloc(size + 32);
	CHECK(s->bytes != NULL);
	memset(s->bytes, 0xcc, size + 32);
	s->bytes += 16;
}

static void sized_send(void *arg)
{
	struct sized *s = arg;

	crowd_join();
	CHECK_EQ(gort_chan_send(s->c, s->bytes), 0);
}

static void sized_recv(void *arg)
{
	struct sized *s = arg;

	crowd_join();
	CHECK_EQ(gort_chan_recv(s->c, s->bytes), 0);
}

static void check_size(size_t size)
{
	gort_chan *direct = gort_chan_make(size, 0), *buffered = gort_chan_make(size, 3);
	struct sized a, b;

	CHECK(direct && buffered);
	sized_make(&a, direct, size);
	sized_make(&b, direct, size);
	fill(a.bytes, size, 1);
	CHECK_EQ(gort_waitgroup_go(&group, sized_recv, &b), 0);
	await(1);
	CHECK_EQ(gort_chan_send(direct, a.bytes), 0);
	gort_waitgroup_wait(&group);
	check_filled(b.bytes, size, 1);

	fill(a.bytes, size, 2);
	CHECK_EQ(gort_waitgroup_go(&group, sized_send, &a), 0);
	await(1);
	CHECK_EQ(gort_chan_recv(direct, b.bytes), 0);
	gort_waitgroup_wait(&group);
	check_filled(b.bytes, size, 2);

	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 3; i++) {
			fill(a.bytes, size, round + i);
			CHECK_EQ(gort_chan_try_send(buffered, a.bytes), 0);
		}
		CHECK_EQ(gort_chan_try_send(buffered, a.bytes), -EAGAIN);
		for (int i = 0; i < 3 - (round == 4); i++) {
			CHECK_EQ(gort_chan_try_recv(buffered, b.bytes), 0);
			check_filled(b.bytes, size, round + i);
		}
	}
	CHECK_EQ(gort_chan_close(buffered), 0);
	CHECK_EQ(gort_chan_recv(buffered, NULL), 0);
	CHECK_EQ(gort_chan_recv(buffered, b.bytes), -EPIPE);
	for (size_t i = 0; i < size; i++)
		CHECK_EQ(b.bytes[i], 0);
	free(a.bytes - 16);
	free(b.bytes - 16);
	gort_chan_release(direct);
	gort_chan_release(buffered);
}

TEST(elements_of_all_sizes)
{
	const size_t sizes[] = { 0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 24, 100, 4096, 4097, 1 << 20 };

	gort_maxprocs(1);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
		check_size(sizes[i]);
}

TEST_PLAIN(product_that_overflows_gives_null)
{
	const size_t half = SIZE_MAX / 2 + 1;

	CHECK(gort_chan_make(SIZE_MAX, 2) == NULL);
	CHECK(gort_chan_make(2, SIZE_MAX) == NULL);
	CHECK(gort_chan_make(half, 2) == NULL); /* 0 */
	CHECK(gort_chan_make((size_t)1 << 32, (size_t)1 << 32) == NULL);
	CHECK(gort_chan_make(1, SIZE_MAX) == NULL);
	CHECK(gort_chan_make(SIZE_MAX, 1) == NULL);
	CHECK(gort_chan_make(1, PTRDIFF_MAX) == NULL);
	CHECK(gort_chan_make(1, SIZE_MAX - 100) == NULL);
	CHECK(gort_chan_make((size_t)1 << 30, (size_t)1 << 25) == NULL); /* beyond any memory */
}

TEST_PLAIN(tokens_take_no_room)
{
	gort_chan *c = gort_chan_make(0, SIZE_MAX);

	CHECK(c != NULL);
	CHECK_EQ(gort_chan_cap(c), SIZE_MAX);
	for (int i = 0; i < 1000; i++)
		CHECK_EQ(gort_chan_send(c, NULL), 0);
	CHECK_EQ(gort_chan_len(c), 1000);
	for (int i = 0; i < 1000; i++)
		CHECK_EQ(gort_chan_recv(c, NULL), 0);
	CHECK_EQ(gort_chan_try_recv(c, NULL), -EAGAIN);
	gort_chan_release(c);
}

TEST(receiving_into_null_discards)
{
	gort_chan *direct = make(0), *buffered = make(1);
	struct call s = call_make(direct, 1);

	gort_maxprocs(1);
	waiting(call_send, &s);
	CHECK_EQ(gort_chan_recv(direct, NULL), 0);
	gort_waitgroup_wait(&group);
	send_value(buffered, 1);
	CHECK_EQ(gort_chan_try_recv(buffered, NULL), 0);
	CHECK_EQ(gort_chan_len(buffered), 0);
	send_value(buffered, 2);
	CHECK_EQ(gort_chan_recv_until(buffered, NULL, GORT_NOW), 0);
	CHECK_EQ(gort_chan_close(direct), 0);
	CHECK_EQ(gort_chan_recv(direct, NULL), -EPIPE);
	gort_chan_release(direct);
	gort_chan_release(buffered);
}

/* ---- NULL channels */
TEST_PLAIN(null_channel_is_never_ready)
{
	int64_t value = 5, deadline;

	CHECK_EQ(gort_chan_try_send(NULL, &value), -EAGAIN);
	CHECK_EQ(gort_chan_try_recv(NULL, &value), -EAGAIN);
	CHECK_EQ(gort_chan_send_until(NULL, &value, GORT_NOW), -ETIMEDOUT);
	CHECK_EQ(gort_chan_recv_until(NULL, &value, GORT_NOW), -ETIMEDOUT);
	CHECK_EQ(gort_chan_recv_until(NULL, &value, gort_now() - 1), -ETIMEDOUT);
	deadline = gort_in(2 * GORT_MS);
	CHECK_EQ(gort_chan_send_until(NULL, &value, deadline), -ETIMEDOUT);
	CHECK(gort_now() >= deadline);
	CHECK_EQ(gort_chan_close(NULL), -EINVAL);
	gort_chan_release(NULL);
	CHECK_EQ(value, 5);
}

static void block_for_ever(void *send)
{
	int64_t value = 0;

	crowd_join();
	if (send)
		gort_chan_send(NULL, &value);
	else
		gort_chan_recv(NULL, &value);
	CHECK(false && "a NULL channel was ready");
}

// variants: maxprocs
TEST(null_channel_blocks_for_ever)
{
	test_leaves_goroutines();
	CHECK_EQ(gort_go(block_for_ever, NULL), 0);
	CHECK_EQ(gort_go(block_for_ever, &group), 0);
	await(2);
	CHECK_EQ(gort_chan_recv_until(NULL, NULL, gort_in(2 * GORT_MS)), -ETIMEDOUT);
	CHECK_EQ(gort_count(), 3);
}

/* ---- closing */
TEST_PLAIN(close_then_every_call)
{
	gort_chan *c = make(3);
	int64_t value = 1;

	send_value(c, 7);
	send_value(c, 8);
	CHECK_EQ(gort_chan_close(c), 0);
	CHECK_EQ(gort_chan_close(c), -EPIPE);
	CHECK_EQ(gort_chan_send(c, &value), -EPIPE);
	CHECK_EQ(gort_chan_try_send(c, &value), -EPIPE);
	CHECK_EQ(gort_chan_send_until(c, &value, GORT_NOW), -EPIPE); /* not -ETIMEDOUT */
	CHECK_EQ(gort_chan_send_until(c, &value, gort_in(GORT_SEC)), -EPIPE);
	CHECK_EQ(gort_chan_len(c), 2);
	CHECK_EQ(recv_value(c), 7);
	CHECK_EQ(gort_chan_recv_until(c, &value, GORT_NOW), 0);
	CHECK_EQ(value, 8);
	CHECK_EQ(gort_chan_recv(c, &value), -EPIPE);
	CHECK_EQ(value, 0);
	value = 1;
	CHECK_EQ(gort_chan_try_recv(c, &value), -EPIPE);
	CHECK_EQ(value, 0);
	value = 1;
	CHECK_EQ(gort_chan_recv_until(c, &value, GORT_NOW), -EPIPE);
	CHECK_EQ(value, 0);
	CHECK_EQ(gort_chan_close(c), -EPIPE);
	gort_chan_release(c);
}

TEST(close_wakes_all_receivers_with_zero)
{
	gort_chan *c = make(2);
	struct call r[5];

	gort_maxprocs(1);
	for (int i = 0; i < 5; i++) {
		r[i] = call_make(c, 99);
		r[i].deadline = i % 2 ? GORT_FOREVER : gort_in(60 * GORT_SEC);
		waiting(call_recv, &r[i]);
	}
	CHECK_EQ(gort_chan_close(c), 0);
	gort_waitgroup_wait(&group);
	for (int i = 0; i < 5; i++) {
		CHECK_EQ(r[i].err, -EPIPE);
		CHECK_EQ(r[i].value, 0);
	}
	gort_chan_release(c);
}

TEST(close_turns_senders_away_and_their_values_are_not_received)
{
	for (int capacity = 0; capacity < 3; capacity++) {
		gort_chan *c = make((size_t)capacity);
		struct call s[4];

		gort_maxprocs(1);
		for (int i = 0; i < capacity; i++)
			send_value(c, i);
		for (int i = 0; i < 4; i++) {
			s[i] = call_make(c, 666);
			s[i].deadline = i % 2 ? GORT_FOREVER : gort_in(60 * GORT_SEC);
			waiting(call_send, &s[i]);
		}
		CHECK_EQ(gort_chan_close(c), 0);
		gort_waitgroup_wait(&group);
		for (int i = 0; i < 4; i++)
			CHECK_EQ(s[i].err, -EPIPE);
		for (int i = 0; i < capacity; i++)
			CHECK_EQ(recv_value(c), i);
		CHECK_EQ(gort_chan_try_recv(c, NULL), -EPIPE);
		gort_chan_release(c);
	}
}

/* ---- deadlines */
TEST_PLAIN(complete_without_waiting_though_the_deadline_has_passed)
{
	const int64_t past[] = { GORT_NOW, GORT_NOW + 1, -1, 0, 1 };
	gort_chan *c = make(1);

	for (size_t i = 0; i < sizeof past / sizeof past[0]; i++) {
		int64_t value = (int64_t)i + 10;

		CHECK_EQ(gort_chan_recv_until(c, &value, past[i]), -ETIMEDOUT);
		CHECK_EQ(value, (int64_t)i + 10); /* untouched */
		CHECK_EQ(gort_chan_send_until(c, &value, past[i]), 0);
		CHECK_EQ(gort_chan_send_until(c, &value, past[i]), -ETIMEDOUT);
		value = 0;
		CHECK_EQ(gort_chan_recv_until(c, &value, past[i]), 0);
		CHECK_EQ(value, (int64_t)i + 10);
	}
	gort_chan_release(c);
}

TEST(partner_that_waits_is_met_though_the_deadline_has_passed)
{
	gort_chan *c = make(0);
	struct call r = call_make(c, 0), s = call_make(c, 6);
	int64_t value = 5;

	gort_maxprocs(1);
	waiting(call_recv, &r);
	CHECK_EQ(gort_chan_send_until(c, &value, GORT_NOW), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(r.value, 5);
	waiting(call_send, &s);
	CHECK_EQ(gort_chan_recv_until(c, &value, 0), 0);
	CHECK_EQ(value, 6);
	gort_waitgroup_wait(&group);
	waiting(call_recv, &r);
	CHECK_EQ(gort_chan_try_send(c, &value), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(r.value, 6);
	gort_chan_release(c);
}

static void check_timeouts(void *arg)
{
	gort_chan *empty = make(0), *full = make(1);
	int64_t value = 3;

	(void)arg;
	send_value(full, 3);
	for (int64_t d = 1; d < 5 * GORT_MS; d *= 3) {
		int64_t deadline = gort_in(d);

		CHECK_EQ(gort_chan_recv_until(empty, &value, deadline), -ETIMEDOUT);
		CHECK(gort_now() >= deadline);
		CHECK_EQ(value, 3);
		deadline = gort_in(d);
		CHECK_EQ(gort_chan_send_until(full, &value, deadline), -ETIMEDOUT);
		CHECK(gort_now() >= deadline);
	}
	/* No node was left in a queue. */
	CHECK_EQ(gort_chan_try_send(empty, &value), -EAGAIN);
	CHECK_EQ(recv_value(full), 3);
	CHECK_EQ(gort_chan_try_recv(full, &value), -EAGAIN);
	gort_chan_release(empty);
	gort_chan_release(full);
}

// variants: maxprocs
TEST(deadlines_time_out_not_early_and_leave_the_queue)
{
	check_timeouts(NULL);
	on_guest(check_timeouts, NULL);
}

TEST_PLAIN(deadlines_without_a_runtime)
{
	check_timeouts(NULL);
}

TEST(far_deadlines_wait)
{
	const int64_t far[] = { GORT_FOREVER, GORT_FOREVER - 1, GORT_FOREVER / 2 };
	gort_chan *c = make(0);

	gort_maxprocs(1);
	for (size_t i = 0; i < sizeof far / sizeof far[0]; i++) {
		struct call r = call_make(c, 0), s = call_make(c, 2);

		r.deadline = s.deadline = far[i];
		waiting(call_recv, &r);
		gort_sleep(GORT_MS);
		CHECK(!r.done);
		send_value(c, 1);
		gort_waitgroup_wait(&group);
		CHECK_EQ(r.value, 1);
		waiting(call_send, &s);
		gort_sleep(GORT_MS);
		CHECK(!s.done);
		CHECK_EQ(recv_value(c), 2);
		gort_waitgroup_wait(&group);
	}
	gort_chan_release(c);
}

/* Those whose deadline ends wait in the middle, the front and the back of one queue. */
static int time_out_in_a_queue(void *arg)
{
	enum { N = 9 };
	gort_chan *c = make(0);
	struct call r[N];

	(void)arg;
	for (int i = 0; i < N; i++) {
		r[i] = call_make(c, 0);
		if (i % 4 == 0)
			r[i].deadline = gort_in(5 * GORT_MS);
		waiting(call_recv, &r[i]);
	}
	EVENTUALLY(r[0].done && r[4].done && r[8].done);
	for (int i = 0; i < N; i++)
		if (i % 4)
			send_value(c, i);
	CHECK_EQ(gort_chan_try_send(c, &r[0].value), -EAGAIN);
	gort_waitgroup_wait(&group);
	for (int i = 0; i < N; i++) {
		CHECK_EQ(r[i].err, i % 4 ? 0 : -ETIMEDOUT);
		CHECK_EQ(r[i].value, i % 4 ? i : 0);
	}
	gort_chan_release(c);
	return 0;
}

/* In a bubble, so that all wait before the first deadline passes. */
TEST(timed_out_waiter_leaves_the_others_in_order)
{
	gort_maxprocs(1);
	CHECK_EQ(gort_bubble(time_out_in_a_queue, NULL), 0);
}

/* ---- references and drops */
static int dropped[100];

static void drop(void *elem)
{
	int64_t value;

	memcpy(&value, elem, sizeof value);
	dropped[value]++;
}

TEST(last_release_drops_what_was_not_received)
{
	for (int closed = 0; closed < 2; closed++) {
		gort_chan *c = make(10);

		gort_chan_on_drop(c, drop);
		memset(dropped, 0, sizeof dropped);
		for (int i = 0; i < 13; i++) { /* beyond the buffer's end */
			send_value(c, i);
			if (i < 5)
				CHECK_EQ(recv_value(c), i);
		}
		if (closed)
			CHECK_EQ(gort_chan_close(c), 0);
		CHECK(gort_chan_retain(c) == c);
		gort_chan_retain(c);
		gort_chan_release(c);
		gort_chan_release(c);
		for (int i = 0; i < 13; i++)
			CHECK_EQ(dropped[i], 0);
		CHECK_EQ(recv_value(c), 5);
		gort_chan_release(c);
		for (int i = 0; i < 100; i++)
			CHECK_EQ(dropped[i], i > 5 && i < 13);
	}
}

TEST(values_of_senders_turned_away_are_not_dropped)
{
	gort_chan *c = make(1);
	struct call s = call_make(c, 2);
	int64_t late = 3;

	gort_maxprocs(1);
	gort_chan_on_drop(c, drop);
	send_value(c, 1);
	waiting(call_send, &s);
	CHECK_EQ(gort_chan_send_until(c, &late, gort_in(GORT_MS)), -ETIMEDOUT);
	CHECK_EQ(gort_chan_close(c), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(s.err, -EPIPE);
	gort_chan_release(c);
	CHECK_EQ(dropped[1], 1);
	CHECK_EQ(dropped[2] + dropped[3], 0);
}

/* Each side has a reference of its own and gives it up as soon as its call is over. */
static void send_and_release(void *arg)
{
	gort_chan *c = arg;
	int64_t value = 1;

	CHECK_EQ(gort_chan_send(c, &value), 0);
	gort_chan_release(c);
}

// variants: maxprocs
TEST(receiver_may_release_at_once)
{
	for (int i = 0; i < SCALE(5000); i++) {
		gort_chan *c = make((size_t)i % 2);

		gort_chan_retain(c);
		CHECK_EQ(gort_waitgroup_go(&group, send_and_release, c), 0);
		CHECK_EQ(recv_value(c), 1);
		gort_chan_release(c);
	}
	gort_waitgroup_wait(&group);
}

TEST_DIES(release_of_the_last_reference_with_a_waiter_is_misuse, "gort_chan_release")
{
	gort_chan *c = make(0);
	struct call r = call_make(c, 0);

	gort_maxprocs(1);
	waiting(call_recv, &r);
	gort_chan_release(c);
}

/* ---- conservation: each value sent is received once; one whose send failed, never */
enum { PRODUCERS = 4, CONSUMERS = 4, GUESTS = 2, EACH = 12500 };
static gort_chan *traffic;
static atomic_uchar received[(PRODUCERS + GUESTS) * EACH], sent[(PRODUCERS + GUESTS) * EACH];
static atomic_int producer_id;
static bool hurried, through_close;

static int64_t soon(unsigned *random)
{
	*random = *random * 1103515245 + 12345;
	if (!hurried)
		return GORT_FOREVER;
	if (*random >> 16 & 1)
		return gort_in((int64_t)(*random >> 17 & 127) * 100);
	return (*random >> 17 & 15) == 0 ? GORT_NOW
					 : gort_in((int64_t)(*random >> 17 & 63) * GORT_US);
}

static void produce(void *arg)
{
	int me = atomic_fetch_add(&producer_id, 1), err;
	unsigned random = (unsigned)me * 77 + 1;

	(void)arg;
	for (int64_t i = me * EACH; i < me * EACH + SCALE(EACH); i++) {
		err = gort_chan_send_until(traffic, &i, soon(&random));
		if (err == -EPIPE && through_close)
			break;
		CHECK(err == 0 || (hurried && err == -ETIMEDOUT));
		atomic_store(&sent[i], err == 0);
		if (err)
			gort_yield();
	}
}

static void consume(void *arg)
{
	unsigned random = (unsigned)(uintptr_t)arg * 99 + 5;
	int64_t value;
	int err;

	while ((err = gort_chan_recv_until(traffic, &value, soon(&random))) != -EPIPE) {
		CHECK(err == 0 || (hurried && err == -ETIMEDOUT));
		if (err == 0)
			CHECK_EQ(atomic_fetch_add(&received[value], 1), 0);
		else
			gort_yield();
	}
	CHECK_EQ(value, 0);
}

static void guest_produces(void *arg)
{
	produce(arg);
	gort_waitgroup_done(arg);
}

static void guest_consumes(void *arg)
{
	consume(arg);
	gort_waitgroup_done(arg);
}

static void conserve(size_t capacity)
{
	struct guest *guests[2 * GUESTS];
	gort_waitgroup consumers = { 0 };

	for (int i = 0; i < (PRODUCERS + GUESTS) * EACH; i++) {
		atomic_store(&sent[i], 0);
		atomic_store(&received[i], 0);
	}
	atomic_store(&producer_id, 0);
	traffic = make(capacity);
	gort_waitgroup_add(&group, GUESTS);
	gort_waitgroup_add(&consumers, GUESTS);
	for (int i = 0; i < GUESTS; i++) {
		guests[i] = guest_start(guest_produces, &group);
		guests[GUESTS + i] = guest_start(guest_consumes, &consumers);
	}
	for (int i = 0; i < CONSUMERS; i++)
		CHECK_EQ(gort_waitgroup_go(&consumers, consume, &guests[i]), 0);
	for (int i = 0; i < PRODUCERS; i++)
		CHECK_EQ(gort_waitgroup_go(&group, produce, NULL), 0);
	if (through_close)
		gort_sleep(2 * GORT_MS);
	else
		gort_waitgroup_wait(&group);
	CHECK_EQ(gort_chan_close(traffic), 0);
	gort_waitgroup_wait(&consumers);
	gort_waitgroup_wait(&group);
	for (int i = 0; i < 2 * GUESTS; i++)
		guest_join(guests[i]);
	for (int i = 0; i < (PRODUCERS + GUESTS) * EACH; i++)
		if (atomic_load(&sent[i]) != atomic_load(&received[i]))
			CHECK_EQ(atomic_load(&sent[i]), atomic_load(&received[i]));
	gort_chan_release(traffic);
}

// variants: maxprocs
TEST(conservation)
{
	conserve(0);
	conserve(7);
}

// variants: maxprocs
TEST(conservation_with_deadlines_that_race)
{
	hurried = true;
	conserve(0);
	conserve(2);
}

// variants: maxprocs
TEST(conservation_when_closed_in_the_middle)
{
	through_close = true;
	conserve(3);
	hurried = true;
	conserve(0);
}
