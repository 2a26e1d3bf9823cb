/*
 * bench.h - what the benchmarks share: clocks, reports, helpers. bench/go/harness.go is its twin.
 *
 * Every benchmark has a twin in Go that does the same work in the same shape; who changes one
 * changes the other. Both programs run one benchmark a process and print lines
 *
 *	NAME VALUE UNIT          elapsed time: ns an operation, or ms in all
 *	NAME.cpu VALUE UNIT      user and system time of the process meanwhile, likewise
 *
 * The CPU time is the process's: what a monitor thread or a garbage collector uses counts.
 */
#ifndef GORT_BENCH_H
#define GORT_BENCH_H

#include <gort.h>

typedef gort_chan_of(int) int_chan;

struct stopwatch { /* started: the clocks' readings; stopped: what has passed. ns */
	int64_t wall, cpu;
};

struct stopwatch stopwatch_start(void);
void stopwatch_stop(struct stopwatch *w);

/* Do a tenth of the work, so that threads, stacks and caches are there; then all n operations
 * of it, measured, and report the time of each. */
void measure_each(const char *name, void (*work)(long n), long n);

/* Warm up with work(warm), measure work(n), report its time as a whole. */
void measure_whole(const char *name, void (*work)(long n), long warm, long n);

void report_whole(const char *name, const struct stopwatch *w);
void report_bytes(const char *name, double bytes);
void report_value(const char *name, double value, const char *unit);

/* Of times in ns; sorts them. */
void report_percentiles(const char *p50, const char *p99, int64_t *values, size_t n);

/* A line of /proc/self/status, in bytes: "VmRSS", "VmPTE". */
double memory_of(const char *what);

_Noreturn void fail(const char *what);

/* A benchmark whose result is wrong measures nothing. */
static inline void expect(bool right, const char *what)
{
	if (!right)
		fail(what);
}

int_chan make_ints(size_t capacity);

/* n goroutines, each fn(arg), counted by group. */
void go_many(gort_waitgroup *group, int n, gort_func fn, void *arg);

/* channels.c */
void bench_pingpong_unbuf(void);
void bench_chan_buf(void);
void bench_prodcons(void);
void bench_mpmc(void);
void bench_primes(void);
void pingpong(long n);       /* as pingpong_unbuf */
void fill_and_drain(long n); /* as chan_buf */

/* ctx.c */
void bench_ctx_cancel_tree(void);
void bench_ctx_ambient(void);

/* goroutines.c */
void bench_yield(void);
void bench_spawn(void);
void bench_spawn_join(void);
void bench_park1m(void);
void bench_sleepers(void);

/* forkjoin.c */
void bench_skynet(void);
void bench_parfib(void);

/* locks.c */
void bench_mutex_uncontended(void);
void bench_mutex_contended(void);
void bench_rwmutex_read(void);
void bench_cond_pingpong(void);
void bench_sem(void);
void bench_waitgroup(void);

/* timers.c */
void bench_timer_reset(void);
void bench_timers1m(void);
void bench_sleepers100(void);

/* preempt.c */
void bench_fairness(void);
void bench_preempt_cost(void);
void bench_blocked_call(void);
void bench_pipes10k(void);

/* select.c */
void bench_select2(void);
void bench_select8(void);
void bench_select64(void);
void bench_select1000(void);

#endif
