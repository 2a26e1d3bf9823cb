/*
 * select.c - what a select over 2, 8, 64 and 1000 channels costs. bench/go/select.go is its twin:
 * there a select statement, for 1000 cases reflect.Select, since nobody writes so many.
 *
 * Two figures each. selectN: unbuffered channels; one goroutine sends each value through a
 * channel that chance picks, another selects over all of them. Every second select or so has to
 * wait: queues and unqueues N nodes. selectN_ready: one goroutine puts a value into one of N
 * buffered channels and selects, so there is always one ready. All check that what came is what
 * was sent, and by which case.
 */
#include "bench.h"

#define MOST 1000

struct traffic {
	gort_chan *chans[MOST];
	uint32_t width;
	long count;
};

/* Through which channel the value i goes. */
static uint32_t way_of(long i, uint32_t width)
{
	return (uint32_t)((uint64_t)((uint32_t)i * 2654435769u) * width >> 32); /* Knuth's hash */
}

static void open_all(struct traffic *t, uint32_t width, size_t capacity, gort_case *cases,
		     int *into)
{
	t->width = width;
	for (uint32_t i = 0; i < width; i++) {
		t->chans[i] = make_ints(capacity).chan;
		cases[i] = GORT_CASE_RECV(t->chans[i], into);
	}
}

static void release_all(struct traffic *t)
{
	for (uint32_t i = 0; i < t->width; i++)
		gort_chan_release(t->chans[i]);
}

/* ---- selectN ----------------------------------------------------------------------------- */

static void send_all(void *arg)
{
	struct traffic *t = arg;

	for (long i = 0; i < t->count; i++) {
		int v = (int)i;

		gort_chan_send(t->chans[way_of(i, t->width)], &v);
	}
}

static void select_from(uint32_t width, long n)
{
	static struct traffic t;
	static gort_case cases[MOST];
	gort_waitgroup ended = { 0 };
	int v;

	open_all(&t, width, 0, cases, &v);
	t.count = n;
	go_many(&ended, 1, send_all, &t);
	for (long i = 0; i < n; i++) {
		int which = gort_select(cases, width, GORT_FOREVER);

		expect(v == (int)i && which == (int)way_of(i, width), "the value that was sent");
	}
	gort_waitgroup_wait(&ended);
	release_all(&t);
}

/* ---- selectN_ready ----------------------------------------------------------------------- */

static void select_ready(uint32_t width, long n)
{
	static struct traffic t;
	static gort_case cases[MOST];
	int v = -1;

	open_all(&t, width, 1, cases, &v);
	for (long i = 0; i < n; i++) {
		uint32_t way = way_of(i, width);
		int sent = (int)i, which;

		gort_chan_send(t.chans[way], &sent);
		which = gort_select(cases, width, GORT_FOREVER);
		expect(v == sent && which == (int)way, "the value that was sent");
	}
	release_all(&t);
}

/* ---- the widths -------------------------------------------------------------------------- */

#define WIDTH(n, count) \
	static void select##n(long times) \
	{ \
		select_from(n, times); \
	} \
	static void select##n##_ready(long times) \
	{ \
		select_ready(n, times); \
	} \
	void bench_select##n(void) \
	{ \
		measure_each("select" #n, select##n, (count)); \
		measure_each("select" #n "_ready", select##n##_ready, (count)); \
	}

WIDTH(2, 5000000)
WIDTH(8, 2000000)
WIDTH(64, 300000)
WIDTH(1000, 20000)
