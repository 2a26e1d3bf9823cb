/*
 * forkjoin.c - trees of goroutines: each starts others and waits for what they give.
 * bench/go/forkjoin.go is its twin.
 */
#include "bench.h"

/* ---- skynet: a million leaves, ten children a node, sums up through channels ------------ */

/* As in github.com/atemerev/skynet, whose Go version this is: an unbuffered channel a node. */
#define DIV 10

typedef gort_chan_of(int64_t) sum_chan;

struct node {
	sum_chan up;
	int64_t num, size;
};

static void skynet_node(void *arg);

/* A child may still be inside its send when its parent has the value: it holds a reference. */
static void start_node(sum_chan up, int64_t num, int64_t size)
{
	struct node n = { .num = num, .size = size };

	n.up.chan = gort_chan_retain(up.chan);
	expect(gort_go_copy(skynet_node, &n, sizeof n) == 0, "a goroutine");
}

static sum_chan make_sums(void)
{
	sum_chan c = GORT_MAKE(sum_chan, 0);

	expect(c.chan != NULL, "memory for a channel");
	return c;
}

static int64_t sum_of_children(const struct node *n)
{
	sum_chan c = make_sums();
	int64_t sum = 0, part = 0;

	for (int i = 0; i < DIV; i++)
		start_node(c, n->num + i * (n->size / DIV), n->size / DIV);
	for (int i = 0; i < DIV; i++) {
		gort_recv(c, &part);
		sum += part;
	}
	gort_chan_release(c.chan);
	return sum;
}

static void skynet_node(void *arg)
{
	struct node *n = arg;

	gort_send(n->up, n->size == 1 ? n->num : sum_of_children(n));
	gort_chan_release(n->up.chan);
}

static void skynet(long leaves)
{
	sum_chan c = make_sums();
	int64_t sum = 0;

	start_node(c, 0, leaves);
	gort_recv(c, &sum);
	gort_chan_release(c.chan);
	expect(sum == (int64_t)leaves * (leaves - 1) / 2, "skynet's sum");
}

void bench_skynet(void)
{
	measure_whole("skynet", skynet, 1000, 1000000);
}

/* ---- parfib: fork and join with a microsecond's work in each leaf ------------------------- */

/* The leaves' code is the compiler's, not ours: parfib_seq is the same sum without a goroutine,
 * to compare by. */
#define FIB 40
#define CUTOFF 12

struct fork {
	int n;
	int64_t result;
	gort_waitgroup joined;
};

static __attribute__((noinline)) int64_t fib(int n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static int64_t fib_parallel(int n);

static void fork_half(void *arg)
{
	struct fork *f = arg;

	f->result = fib_parallel(f->n);
	gort_waitgroup_done(&f->joined);
}

static int64_t fib_parallel(int n)
{
	struct fork f = { .n = n - 1 };
	int64_t other;

	if (n <= CUTOFF)
		return fib(n);
	gort_waitgroup_add(&f.joined, 1);
	expect(gort_go(fork_half, &f) == 0, "a goroutine");
	other = fib_parallel(n - 2);
	gort_waitgroup_wait(&f.joined);
	return f.result + other;
}

static int64_t results[2];

static void parfib(long n)
{
	results[0] = fib_parallel((int)n);
}

static void seqfib(long n)
{
	results[1] = fib((int)n);
}

void bench_parfib(void)
{
	measure_whole("parfib", parfib, 20, FIB);
	measure_whole("parfib_seq", seqfib, 20, FIB);
	expect(results[0] == results[1], "the same number both ways");
}
