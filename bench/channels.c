/*
 * channels.c - what a value through a channel costs. bench/go/channels.go is its twin.
 *
 * All but chan_buf check what arrived: lost or doubled values end the program.
 */
#include "bench.h"

#include <stdatomic.h>

#define CAPACITY 128

/* ---- pingpong_unbuf: the round trip of one value between two goroutines ---------- */

struct pingpong {
	int_chan ping, pong;
};

static void echo(void *arg)
{
	struct pingpong *p = arg;
	int v;

	while (gort_recv(p->ping, &v) == 0)
		gort_send(p->pong, v);
}

void pingpong(long n)
{
	struct pingpong p = { make_ints(0), make_ints(0) };
	gort_waitgroup ended = { 0 };
	int back = 0;

	go_many(&ended, 1, echo, &p);
	for (long i = 0; i < n; i++) {
		gort_send(p.ping, (int)i);
		gort_recv(p.pong, &back);
		expect(back == (int)i, "the value that was sent");
	}
	gort_chan_close(p.ping.chan);
	gort_waitgroup_wait(&ended);
	gort_chan_release(p.ping.chan);
	gort_chan_release(p.pong.chan);
}

void bench_pingpong_unbuf(void)
{
	measure_each("pingpong_unbuf", pingpong, 2000000);
}

/* ---- chan_buf: a send and a receive that never wait, by one goroutine -------------- */

#define FILL 64

void fill_and_drain(long n)
{
	int_chan c = make_ints(CAPACITY);
	int v;

	for (long i = 0; i < n; i += FILL) {
		for (int j = 0; j < FILL; j++)
			gort_send(c, j);
		for (int j = 0; j < FILL; j++)
			gort_recv(c, &v);
	}
	gort_chan_release(c.chan);
}

void bench_chan_buf(void)
{
	measure_each("chan_buf", fill_and_drain, 20000000);
}

/* ---- prodcons: a value through a buffered channel, one producer, one consumer -------- */

struct production {
	int_chan c;
	long each;           /* values a producer sends */
	_Atomic int64_t sum; /* of what was received */
};

static void produce(void *arg)
{
	struct production *p = arg;

	for (long i = 0; i < p->each; i++)
		gort_send(p->c, (int)i);
}

static void consume(void *arg)
{
	struct production *p = arg;
	int64_t sum = 0;
	int v;

	while (gort_recv(p->c, &v) == 0)
		sum += v;
	atomic_fetch_add(&p->sum, sum);
}

/* n values by so many producers to so many consumers. */
static void production(long n, int producers, int consumers)
{
	struct production p = { .c = make_ints(CAPACITY), .each = n / producers };
	gort_waitgroup producing = { 0 }, consuming = { 0 };

	go_many(&consuming, consumers, consume, &p);
	go_many(&producing, producers, produce, &p);
	gort_waitgroup_wait(&producing);
	gort_chan_close(p.c.chan);
	gort_waitgroup_wait(&consuming);
	expect(atomic_load(&p.sum) == producers * (p.each * (p.each - 1) / 2), "all values");
	gort_chan_release(p.c.chan);
}

static void prodcons(long n)
{
	production(n, 1, 1);
}

void bench_prodcons(void)
{
	measure_each("prodcons", prodcons, 10000000);
}

/* ---- mpmc: the same with four of each: who waits, waits with others ------------------ */

static void mpmc(long n)
{
	production(n, 4, 4);
}

void bench_mpmc(void)
{
	measure_each("mpmc", mpmc, 10000000);
}

/* ---- primes: the sieve of goroutines, a long pipeline over unbuffered channels --------- */

struct stage { /* each end holds a reference to its channel */
	int_chan in, out;
	int number; /* generate: the limit; filter: its prime */
};

static void generate(void *arg)
{
	struct stage *s = arg;

	for (int i = 2; i <= s->number; i++)
		gort_send(s->out, i);
	gort_chan_close(s->out.chan);
	gort_chan_release(s->out.chan);
}

static void filter(void *arg)
{
	struct stage *s = arg;
	int i;

	while (gort_recv(s->in, &i) == 0)
		if (i % s->number != 0)
			gort_send(s->out, i);
	gort_chan_release(s->in.chan);
	gort_chan_close(s->out.chan);
	gort_chan_release(s->out.chan);
}

/* Start fn before a new channel that it writes to; gives that channel. */
static int_chan add_stage(gort_func fn, int_chan in, int number)
{
	struct stage s = { .in = in, .out = make_ints(0), .number = number };
	int_chan out = { .chan = gort_chan_retain(s.out.chan) };

	expect(gort_go_copy(fn, &s, sizeof s) == 0, "a goroutine");
	return out;
}

/* Numbers up to the nth prime, one more stage for each prime; all stages end when the numbers
 * do, so that a warm-up leaves nothing behind. */
static void sieve(int limit, int expected)
{
	int_chan numbers = add_stage(generate, (int_chan){ 0 }, limit);
	int prime, primes = 0;

	while (gort_recv(numbers, &prime) == 0) {
		numbers = add_stage(filter, numbers, prime);
		primes++;
	}
	gort_chan_release(numbers.chan);
	expect(primes == expected, "the number of primes");
}

void bench_primes(void)
{
	struct stopwatch w;

	sieve(541, 100);
	w = stopwatch_start();
	sieve(22307, 2500);
	stopwatch_stop(&w);
	report_whole("primes", &w);
}
