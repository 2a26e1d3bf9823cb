/*
 * chan_typed.c - the typed face of channels: macros that check at compile time and evaluate once.
 */
#include "harness.h"

#include <string.h>

struct point {
	int x, y;
};

struct big {
	char bytes[5000];
};

typedef gort_chan_of(int) int_chan;
typedef gort_chan_of(struct point) point_chan;
typedef gort_chan_of(const char *) text_chan;
typedef gort_chan_of(struct big) big_chan;
typedef gort_chan_of(int[4]) row_chan;
typedef gort_chan_of(int_chan) int_chan_chan;

static int calls;

static int_chan counted(int_chan c)
{
	calls++;
	return c;
}

TEST_PLAIN(typed_send_and_recv)
{
	int_chan c = GORT_MAKE(int_chan, 8);
	int x = 0;

	CHECK(c.chan != NULL);
	CHECK_EQ(gort_chan_cap(c.chan), 8);
	CHECK_EQ(gort_send(c, 42), 0);
	CHECK_EQ(gort_try_send(c, 43), 0);
	CHECK_EQ(gort_chan_len(c.chan), 2);
	CHECK_EQ(gort_recv(c, &x), 0);
	CHECK_EQ(x, 42);
	CHECK_EQ(gort_try_recv(c, &x), 0);
	CHECK_EQ(x, 43);
	CHECK_EQ(gort_try_recv(c, &x), -EAGAIN);
	CHECK_EQ(gort_send(c, 1), 0);
	CHECK_EQ(gort_recv(c, NULL), 0);
	CHECK_EQ(gort_chan_close(c.chan), 0);
	CHECK_EQ(gort_send(c, 1), -EPIPE);
	CHECK_EQ(gort_recv(c, &x), -EPIPE);
	CHECK_EQ(x, 0);
	gort_chan_release(c.chan);
}

TEST_PLAIN(value_is_converted_to_the_elements_type)
{
	typedef gort_chan_of(int64_t) long_chan;
	typedef gort_chan_of(unsigned char) byte_chan;
	long_chan l = GORT_MAKE(long_chan, 1);
	byte_chan b = GORT_MAKE(byte_chan, 2);
	int64_t got = 0;
	unsigned char byte = 0;

	CHECK_EQ(gort_send(l, -1), 0);
	CHECK_EQ(gort_recv(l, &got), 0);
	CHECK_EQ(got, -1);
	CHECK_EQ(gort_send(b, 255), 0);
	CHECK_EQ(gort_send(b, 'x'), 0);
	CHECK_EQ(gort_recv(b, &byte), 0);
	CHECK_EQ(byte, 255);
	gort_chan_release(l.chan);
	gort_chan_release(b.chan);
}

TEST_PLAIN(value_may_contain_commas)
{
	point_chan c = GORT_MAKE(point_chan, 2);
	struct point p = { 0, 0 };

	CHECK_EQ(gort_send(c, (struct point){ 1, 2 }), 0);
	CHECK_EQ(gort_try_send(c, (struct point){ .x = 3, .y = 4 }), 0);
	CHECK_EQ(gort_recv(c, &p), 0);
	CHECK(p.x == 1 && p.y == 2);
	CHECK_EQ(gort_recv(c, &p), 0);
	CHECK(p.x == 3 && p.y == 4);
	gort_chan_release(c.chan);
}

TEST_PLAIN(macros_evaluate_once)
{
	int_chan c = GORT_MAKE(int_chan, 4);
	int n = 10, got[4] = { 0 }, *to = got;

	CHECK_EQ(gort_send(counted(c), n++), 0);
	CHECK_EQ(calls, 1);
	CHECK_EQ(n, 11);
	CHECK_EQ(gort_try_send(c, n++), 0);
	CHECK_EQ(n, 12);
	CHECK_EQ(gort_recv(counted(c), to++), 0);
	CHECK_EQ(calls, 2);
	CHECK(to == got + 1);
	CHECK_EQ(gort_try_recv(c, to++), 0);
	CHECK(to == got + 2);
	CHECK_EQ(got[0], 10);
	CHECK_EQ(got[1], 11);
	gort_chan_release(c.chan);
}

/* Names in the user's expression are not the macro's own, also where one stands inside another. */
TEST_PLAIN(macros_nest_and_hide_no_name)
{
	int_chan c = GORT_MAKE(int_chan, 4);
	int v = 5, gort_value_ = 6, c_ = 7, x = 0;

	CHECK_EQ(gort_send(c, v), 0);
	CHECK_EQ(gort_send(c, gort_value_ + c_), 0);
	CHECK_EQ(gort_send(c, gort_send(c, 9)), 0);
	CHECK_EQ(gort_recv(c, &x), 0);
	CHECK_EQ(x, 5);
	CHECK_EQ(gort_recv(c, &x), 0);
	CHECK_EQ(x, 13);
	CHECK_EQ(gort_recv(c, &x), 0);
	CHECK_EQ(x, 9);
	CHECK_EQ(gort_recv(c, &x), 0);
	CHECK_EQ(x, 0);
	gort_chan_release(c.chan);
}

TEST_PLAIN(elements_of_other_types)
{
	text_chan t = GORT_MAKE(text_chan, 1);
	big_chan b = GORT_MAKE(big_chan, 1);
	row_chan r = GORT_MAKE(row_chan, 1);
	static struct big in, out;
	int row[4] = { 1, 2, 3, 4 }, got[4] = { 0 };
	const char *text = NULL;

	CHECK_EQ(gort_send(t, "hello"), 0);
	CHECK_EQ(gort_recv(t, &text), 0);
	CHECK_STR(text, "hello");
	memset(in.bytes, 'b', sizeof in.bytes);
	CHECK_EQ(gort_send(b, in), 0);
	CHECK_EQ(gort_recv(b, &out), 0);
	CHECK_EQ(memcmp(&in, &out, sizeof in), 0);
	CHECK_EQ(gort_chan_send(r.chan, row), 0); /* arrays go by c.chan */
	CHECK_EQ(gort_recv(r, &got), 0);
	CHECK_EQ(memcmp(row, got, sizeof row), 0);
	gort_chan_release(t.chan);
	gort_chan_release(b.chan);
	gort_chan_release(r.chan);
}

TEST_PLAIN(null_typed_channel)
{
	int_chan none = { 0 };
	int x = 4;

	CHECK_EQ(gort_try_send(none, 1), -EAGAIN);
	CHECK_EQ(gort_try_recv(none, &x), -EAGAIN);
	CHECK_EQ(x, 4);
}

/* Channels that travel through channels: a request with its way back. */
static void serve(void *arg)
{
	int_chan_chan requests = *(int_chan_chan *)arg;
	int_chan answer;

	for (int i = 0; gort_recv(requests, &answer) == 0; i++)
		CHECK_EQ(gort_send(answer, i * i), 0);
}

// variants: maxprocs
TEST(channels_travel_through_channels)
{
	int_chan_chan requests = GORT_MAKE(int_chan_chan, 0);
	int_chan answer = GORT_MAKE(int_chan, 0);
	gort_waitgroup group = { 0 };

	CHECK_EQ(gort_waitgroup_go(&group, serve, &requests), 0);
	for (int i = 0, got = -1; i < SCALE(1000); i++) {
		CHECK_EQ(gort_send(requests, answer), 0);
		CHECK_EQ(gort_recv(answer, &got), 0);
		CHECK_EQ(got, i * i);
	}
	CHECK_EQ(gort_chan_close(requests.chan), 0);
	gort_waitgroup_wait(&group);
	gort_chan_release(requests.chan);
	gort_chan_release(answer.chan);
}
