/*
 * select.c - gort_select, one wait at a time: channels at once and after waiting, closing,
 * deadlines, misuse. By goroutines and by guests, on both sides. Times, tasks and contexts are in
 * select_ends.c, chance in select_chance.c, queues, width, memory and the runtime's end in
 * select_queues.c, many at once in select_stress.c.
 */
#include "select.h"

#include <poll.h>

/* ---- ready at once */
static void recv_and_send_at_once(int how)
{
	gort_chan *direct = make(0), *buffered = make(1);

	for (size_t at = 0; at < AMONG; at++) {
		int64_t there = (int64_t)at, here = -1;
		gort_case send = GORT_CASE_SEND(direct, &there),
			  recv = GORT_CASE_RECV(direct, &here);
		struct call partner;

		choose_at_once(at, GORT_CASE_SEND(buffered, &there), 0);
		choose_at_once(at, GORT_CASE_RECV(buffered, &here), 0);
		CHECK_EQ(here, at);

		partner = call_of(&send, 1, how);
		begin(&partner);
		here = -1;
		choose_at_once(at, GORT_CASE_RECV(direct, &here), 0);
		CHECK_EQ(end(&partner), 0);
		CHECK_EQ(send.status, 0);
		CHECK_EQ(here, at);

		begin(&partner);
		choose_at_once(at, GORT_CASE_RECV(direct, NULL), 0);
		CHECK_EQ(end(&partner), 0);

		partner = call_of(&recv, 1, how);
		begin(&partner);
		here = -1;
		choose_at_once(at, GORT_CASE_SEND(direct, &there), 0);
		CHECK_EQ(end(&partner), 0);
		CHECK_EQ(here, at);
	}
	gort_chan_release(direct);
	gort_chan_release(buffered);
}

// variants: maxprocs
TEST(recv_and_send_that_need_not_wait)
{
	check_both(recv_and_send_at_once, WAYS);
}

static void closed_at_once(int how)
{
	gort_chan *c = make(2);
	int64_t value;

	(void)how;
	send_value(c, 5);
	CHECK_EQ(gort_chan_close(c), 0);
	value = 9;
	choose_at_once(0, GORT_CASE_SEND(c, &value), -EPIPE);
	choose_at_once(1, GORT_CASE_RECV(c, &value), 0);
	CHECK_EQ(value, 5);
	for (size_t at = 0; at < AMONG; at++) {
		value = 9;
		choose_at_once(at, GORT_CASE_SEND(c, &value), -EPIPE);
		CHECK_EQ(value, 9);
		choose_at_once(at, GORT_CASE_RECV(c, &value), -EPIPE);
		CHECK_EQ(value, 0);
		choose_at_once(at, GORT_CASE_RECV(c, NULL), -EPIPE);
	}
	gort_chan_release(c);
}

// variants: maxprocs
TEST(closed_before)
{
	check_both(closed_at_once, 1);
}

/* Those that wait go before the buffer's end: a select takes the oldest value as a receive does. */
static void full_buffer_with_a_sender(int how)
{
	gort_chan *c = make(1);
	int64_t second = 2, value = -1;
	gort_case send = GORT_CASE_SEND(c, &second);
	struct call sender = call_of(&send, 1, how);

	send_value(c, 1);
	begin(&sender);
	choose_at_once(2, GORT_CASE_RECV(c, &value), 0);
	CHECK_EQ(value, 1);
	CHECK_EQ(end(&sender), 0);
	CHECK_EQ(gort_chan_len(c), 1);
	choose_at_once(3, GORT_CASE_RECV(c, &value), 0);
	CHECK_EQ(value, 2);
	gort_chan_release(c);
}

// variants: maxprocs
TEST(recv_takes_the_oldest_of_a_full_buffer)
{
	check_both(full_buffer_with_a_sender, WAYS);
}

/* ---- after waiting */
static void recv_after_waiting(int how)
{
	gort_chan *direct = make(0), *buffered = make(3);

	for (size_t at = 0; at < AMONG; at++) {
		int64_t sent = (int64_t)at + 100, got = -1;
		gort_chan *c = at % 2 ? direct : buffered;
		struct among *a = among(at, GORT_CASE_RECV(c, at == 5 ? NULL : &got));
		struct call waiter;

		wait_among(&waiter, a, how);
		CHECK_EQ(meet(GORT_CASE_SEND(c, &sent), at / 2 % 2), 0);
		CHECK_EQ(gort_chan_len(c), 0);
		among_end(a, end(&waiter), 0);
		CHECK_EQ(got, at == 5 ? -1 : sent);
	}
	CHECK(is_empty(direct) && is_empty(buffered));
	gort_chan_release(direct);
	gort_chan_release(buffered);
}

// variants: maxprocs
TEST(recv_that_waited)
{
	check_both(recv_after_waiting, 2);
}

static void send_after_waiting(int how)
{
	gort_chan *direct = make(0), *buffered = make(1);

	send_value(buffered, 99);
	for (size_t at = 0; at < AMONG; at++) {
		int64_t sent = (int64_t)at + 100, got = -1;
		gort_chan *c = at % 2 ? direct : buffered;
		struct among *a = among(at, GORT_CASE_SEND(c, &sent));
		struct call waiter;

		wait_among(&waiter, a, how);
		CHECK_EQ(meet(GORT_CASE_RECV(c, &got), at / 2 % 2), 0);
		CHECK_EQ(gort_chan_len(c), c == buffered);
		among_end(a, end(&waiter), 0);
		CHECK_EQ(got, at % 2 ? sent : at == 0 ? 99 : sent - 2);
	}
	CHECK_EQ(recv_value(buffered), 104);
	gort_chan_release(direct);
	gort_chan_release(buffered);
}

// variants: maxprocs
TEST(send_that_waited)
{
	check_both(send_after_waiting, 2);
}

static void closed_while_waiting(int how)
{
	for (size_t at = 0; at < AMONG; at++) {
		for (size_t capacity = 0; capacity < 2; capacity++) {
			gort_chan *c = make(capacity), *r = make(capacity);
			int64_t value = 666, got = 5;
			struct among *a, *b;
			struct call sender, receiver;

			if (capacity)
				send_value(c, 1);
			a = among(at, GORT_CASE_SEND(c, &value));
			wait_among(&sender, a, how);
			CHECK_EQ(gort_chan_close(c), 0);
			among_end(a, end(&sender), -EPIPE);
			if (capacity) /* what was sent comes, what was not does not */
				CHECK_EQ(recv_value(c), 1);
			CHECK_EQ(gort_chan_recv(c, &got), -EPIPE);
			CHECK_EQ(value, 666);

			got = 5;
			b = among(at, GORT_CASE_RECV(r, at == 3 ? NULL : &got));
			wait_among(&receiver, b, how);
			CHECK_EQ(gort_chan_close(r), 0);
			among_end(b, end(&receiver), -EPIPE);
			CHECK_EQ(got, at == 3 ? 5 : 0);
			gort_chan_release(c);
			gort_chan_release(r);
		}
	}
}

// variants: maxprocs
TEST(closed_while_waiting_is_told_and_nothing_is_sent)
{
	check_both(closed_while_waiting, 2);
}

/* More than close wakes at a time; each waits on a second channel, too, which stays. */
// variants: maxprocs
TEST(close_wakes_many)
{
	enum { N = 1300 };
	static struct call calls[N];
	static gort_case cases[N][2];
	static int64_t got[N];
	gort_chan *c = make(0), *other = make(0);

	for (int i = 0; i < N; i++) {
		got[i] = 1;
		cases[i][i % 2] = GORT_CASE_RECV(c, &got[i]);
		cases[i][1 - i % 2] = GORT_CASE_RECV(other, NULL);
		calls[i] = call_of(cases[i], 2, 0);
		begin(&calls[i]);
	}
	CHECK_EQ(gort_chan_close(c), 0);
	for (int i = 0; i < N; i++) {
		CHECK_EQ(end(&calls[i]), i % 2);
		CHECK_EQ(cases[i][i % 2].status, -EPIPE);
		CHECK_EQ(got[i], 0);
	}
	CHECK(is_empty(other));
	gort_chan_release(c);
	gort_chan_release(other);
}

/* ---- elements of all sizes, by each of the ways a value can go */
static unsigned char *bytes_of(size_t size, int seed)
{
	unsigned char *bytes = malloc(size + 32);

	CHECK(bytes != NULL);
	memset(bytes, 0xcc, size + 32);
	for (size_t i = 0; i < size; i++)
		bytes[16 + i] = (unsigned char)(i * 13 + (size_t)seed);
	return bytes;
}

static void elements_of(size_t size, int how)
{
	unsigned char *a = bytes_of(size, 1), *b = bytes_of(size, 2), *zero = bytes_of(size, 0);
	gort_chan *direct = gort_chan_make(size, 0), *buffered = gort_chan_make(size, 2);
	gort_case send = GORT_CASE_SEND(direct, a + 16), recv = GORT_CASE_RECV(direct, b + 16);
	struct call partner;

	CHECK(direct && buffered);
	partner = call_of(&recv, 1, how);
	begin(&partner);
	CHECK_EQ(select1(GORT_CASE_SEND(direct, a + 16), GORT_NOW), 0);
	CHECK_EQ(end(&partner), 0);
	CHECK_EQ(memcmp(a, b, size + 32), 0);

	memset(b + 16, 0, size);
	partner = call_of(&send, 1, how);
	begin(&partner);
	CHECK_EQ(select1(GORT_CASE_RECV(direct, b + 16), GORT_NOW), 0);
	CHECK_EQ(end(&partner), 0);
	CHECK_EQ(memcmp(a, b, size + 32), 0);

	memset(b + 16, 0, size);
	CHECK_EQ(select1(GORT_CASE_SEND(buffered, a + 16), GORT_NOW), 0);
	CHECK_EQ(select1(GORT_CASE_RECV(buffered, b + 16), GORT_NOW), 0);
	CHECK_EQ(memcmp(a, b, size + 32), 0);

	CHECK_EQ(gort_chan_close(buffered), 0);
	CHECK_EQ(select1(GORT_CASE_RECV(buffered, b + 16), GORT_NOW), -EPIPE);
	memset(zero + 16, 0, size);
	CHECK_EQ(memcmp(zero, b, size + 32), 0);
	gort_chan_release(direct);
	gort_chan_release(buffered);
	free(a);
	free(b);
	free(zero);
}

TEST(elements_of_all_sizes)
{
	const size_t sizes[] = { 0, 1, 3, 4, 8, 9, 16, 17, 100, 4097 };

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
		for (int how = 0; how < WAYS; how++)
			elements_of(sizes[i], how);
}

/* ---- nothing to choose */
static void wait_for_nothing(gort_case *cases, size_t n)
{
	for (int64_t d = 1; d < 3 * GORT_MS; d *= 7) {
		int64_t deadline = gort_in(d);

		CHECK_EQ(gort_select(cases, n, deadline), -ETIMEDOUT);
		CHECK(gort_now() >= deadline);
	}
	CHECK_EQ(gort_select(cases, n, GORT_NOW), -EAGAIN);
	CHECK_EQ(gort_select(cases, n, GORT_NOW + 1), -ETIMEDOUT);
	CHECK_EQ(gort_select(cases, n, -1), -ETIMEDOUT);
	CHECK_EQ(gort_select(cases, n, 0), -ETIMEDOUT);
	CHECK_EQ(gort_select(cases, n, gort_now()), -ETIMEDOUT);
}

/* Also the deadlines of those that could become ready; they leave no node behind. */
static void nothing(int how)
{
	gort_chan *empty = make(0), *full = make(1);
	int64_t value = 3, got = 4;
	gort_case cases[] = {
		GORT_CASE_RECV(empty, &got),  GORT_CASE_SEND(empty, &value),
		GORT_CASE_SEND(full, &value), GORT_CASE_RECV(NULL, &got),
		GORT_CASE_SEND(NULL, &value), GORT_CASE_RECV(empty, &got),
		GORT_CASE_TIME(GORT_FOREVER), GORT_CASE_TIME(gort_in(GORT_SEC * 99))
	};
	const size_t n = sizeof cases / sizeof cases[0];

	(void)how;
	send_value(full, 1);
	for (size_t i = 0; i < n; i++)
		cases[i].status = UNTOUCHED;
	wait_for_nothing(NULL, 0);
	wait_for_nothing(cases, 0);
	wait_for_nothing(&cases[3], 2);
	for (size_t i = 0; i < n; i++)
		wait_for_nothing(&cases[i], 1);
	wait_for_nothing(cases, n);
	for (size_t i = 0; i < n; i++)
		CHECK_EQ(cases[i].status, UNTOUCHED);
	CHECK_EQ(value, 3);
	CHECK_EQ(got, 4);
	CHECK(is_empty(empty) && is_empty(full));
	CHECK_EQ(gort_chan_try_send(empty, &value), -EAGAIN);
	CHECK_EQ(recv_value(full), 1);
	CHECK_EQ(gort_chan_try_recv(full, &value), -EAGAIN);
	gort_chan_release(empty);
	gort_chan_release(full);
}

// variants: maxprocs
TEST(deadlines_end_not_early_and_leave_the_queues)
{
	check_both(nothing, 1);
}

TEST_PLAIN(deadlines_without_a_runtime)
{
	nothing(0);
}

static atomic_int arrived;

static void block_for_ever(void *arg)
{
	gort_case none[] = { GORT_CASE_RECV(NULL, NULL), GORT_CASE_SEND(NULL, NULL),
			     GORT_CASE_TIME(GORT_FOREVER) };

	atomic_fetch_add(&arrived, 1);
	gort_select(none, arg ? 3 : 0, GORT_FOREVER);
	CHECK(false && "nothing was ready");
}

// variants: maxprocs
TEST(nothing_blocks_for_ever)
{
	test_leaves_goroutines();
	CHECK_EQ(gort_go(block_for_ever, NULL), 0);
	CHECK_EQ(gort_go(block_for_ever, &arrived), 0);
	UNTIL(atomic_load(&arrived) == 2);
	gort_sleep(5 * GORT_MS);
	CHECK_EQ(gort_count(), 3);
}

static void far_deadline(int how)
{
	const int64_t far[] = { GORT_FOREVER - 1, GORT_FOREVER / 2, gort_in(3600 * GORT_SEC) };
	gort_chan *c = make(0);

	for (size_t i = 0; i < sizeof far / sizeof far[0]; i++) {
		int64_t got = 0;
		gort_case k[2] = { GORT_CASE_RECV(c, &got), GORT_CASE_TIME(far[i]) };
		struct call waiter = call_of(k, 2, how);

		waiter.deadline = far[i];
		begin(&waiter);
		gort_sleep(GORT_MS);
		CHECK(!atomic_load(&waiter.done));
		send_value(c, 8);
		CHECK_EQ(end(&waiter), 0);
		CHECK_EQ(got, 8);
	}
	gort_chan_release(c);
}

// variants: maxprocs
TEST(far_deadlines_wait)
{
	check_both(far_deadline, 2);
}

/* ---- what is no case */
static void refuse(gort_case bad, int err)
{
	gort_chan *ready = make(1);
	int64_t value = 0;
	gort_case cases[20];

	send_value(ready, 5);
	for (size_t at = 0; at < 20; at += 19) {
		for (size_t i = 0; i < 20; i++)
			cases[i] = GORT_CASE_RECV(ready, &value);
		cases[at] = bad;
		for (size_t n = at + 1; n < 21; n++) {
			CHECK_EQ(gort_select(cases, n, GORT_NOW), err);
			CHECK_EQ(gort_select(cases, n, GORT_FOREVER), err);
			CHECK_EQ(gort_select(cases, n, 1), err);
		}
	}
	CHECK_EQ(gort_chan_len(ready), 1);
	CHECK_EQ(value, 0);
	gort_chan_release(ready);
}

static void refused(int how)
{
	const int bad[] = { -1, 5, 99, INT32_MAX, INT32_MIN };
	gort_case k = GORT_CASE_RECV(NULL, NULL);

	(void)how;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		refuse((gort_case){ .op = bad[i] }, -EINVAL);
	refuse(GORT_CASE_FD(0, 0), -EINVAL);
	refuse(GORT_CASE_FD(0, POLLIN | 0x4000), -EINVAL);
	refuse(GORT_CASE_FD(-1, POLLIN), -EBADF);
	refuse(GORT_CASE_FD(INT32_MAX, POLLIN), -EBADF);
	CHECK_EQ(gort_select(&k, (size_t)INT32_MAX + 1, GORT_FOREVER), -EINVAL);
	CHECK_EQ(gort_select(NULL, SIZE_MAX, GORT_NOW), -EINVAL);
}

TEST(bad_cases_are_refused_and_nothing_is_done)
{
	check_both(refused, 1);
}

TEST_DIES(no_task_is_misuse, "gort_select: no task")
{
	gort_case k = GORT_CASE_TASK(NULL);

	gort_select(&k, 1, GORT_NOW);
}
