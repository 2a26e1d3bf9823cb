/*
 * latency.c - times in buckets: 64 of equal width between a power of two and the next, one a
 * nanosecond below 128. A fixed size, whatever the rate, so that counting does not disturb the cache
 * more and more as the run goes on.
 */
#include "load.h"

#define STEPS (1 << LATENCY_BITS)

static unsigned bucket_of(uint64_t ns)
{
	unsigned shift = 0;

	if (ns >= 2 * STEPS)
		shift = 63 - LATENCY_BITS - (unsigned)__builtin_clzll(ns);
	return shift * STEPS + (unsigned)(ns >> shift);
}

/* The middle of a bucket. */
static double value_of(unsigned bucket)
{
	unsigned shift = bucket < 2 * STEPS ? 0 : bucket / STEPS - 1;

	return ((double)(bucket - shift * STEPS) + 0.5) * (double)(1ULL << shift);
}

void latency_add(struct latencies *all, int64_t ns)
{
	all->count++;
	all->bucket[bucket_of((uint64_t)ns)]++;
	if (ns > all->most)
		all->most = ns;
}

static double percentile(const struct latencies *all, double part)
{
	double below = 0, wanted = part * (double)all->count;
	unsigned i = 0;

	while (i < sizeof all->bucket / sizeof all->bucket[0] - 1 &&
	       below + all->bucket[i] <= wanted)
		below += all->bucket[i++];
	return value_of(i);
}

void latency_report(const struct latencies *all)
{
	figure("p50", percentile(all, 0.50) / 1e3, "us");
	figure("p99", percentile(all, 0.99) / 1e3, "us");
	figure("max", (double)all->most / 1e3, "us");
}
