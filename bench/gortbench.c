/*
 * gortbench.c - runs one benchmark by its name. bench/go/main.go is its twin; bench/run runs
 * both and compares.
 *
 * One a process: what one leaves behind (warm stacks, grown heaps, threads) is not the next
 * one's. GORT_MAXPROCS sets the processors.
 */
#include "bench.h"

#include <stdio.h>
#include <string.h>

static const struct bench {
	const char *name;
	void (*run)(void);
} table[] = {
	{ "yield", bench_yield },
	{ "pingpong_unbuf", bench_pingpong_unbuf },
	{ "chan_buf", bench_chan_buf },
	{ "prodcons", bench_prodcons },
	{ "mpmc", bench_mpmc },
	{ "spawn", bench_spawn },
	{ "spawn_join", bench_spawn_join },
	{ "select2", bench_select2 },
	{ "select8", bench_select8 },
	{ "select64", bench_select64 },
	{ "select1000", bench_select1000 },
	{ "ctx_cancel_tree", bench_ctx_cancel_tree },
	{ "ctx_ambient", bench_ctx_ambient },
	{ "mutex_uncontended", bench_mutex_uncontended },
	{ "mutex_contended", bench_mutex_contended },
	{ "rwmutex_read", bench_rwmutex_read },
	{ "cond_pingpong", bench_cond_pingpong },
	{ "sem", bench_sem },
	{ "waitgroup", bench_waitgroup },
	{ "skynet", bench_skynet },
	{ "park1m", bench_park1m },
	{ "primes", bench_primes },
	{ "parfib", bench_parfib },
	{ "sleepers", bench_sleepers },
	{ "sleepers100", bench_sleepers100 },
	{ "timer_reset", bench_timer_reset },
	{ "timers1m", bench_timers1m },
	{ "fairness", bench_fairness },
	{ "preempt_cost", bench_preempt_cost },
	{ "blocked_call", bench_blocked_call },
	{ "pipes10k", bench_pipes10k },
};

#define BENCHES (sizeof table / sizeof table[0])

static int list(void)
{
	for (size_t i = 0; i < BENCHES; i++)
		puts(table[i].name);
	return 0;
}

/* pipes10k has ten thousand threads that block. */
static const gort_options options = { .max_threads = 20000 };

GORT_MAIN_WITH(argc, argv, &options)
{
	if (argc == 2 && strcmp(argv[1], "--list") == 0)
		return list();
	for (size_t i = 0; argc == 2 && i < BENCHES; i++) {
		if (strcmp(argv[1], table[i].name) == 0) {
			table[i].run();
			return 0;
		}
	}
	fprintf(stderr, "Usage: gortbench NAME\n       gortbench --list\n");
	return 2;
}
