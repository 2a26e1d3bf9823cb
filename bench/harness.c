/*
 * harness.c - clocks, reports and helpers of the benchmarks.
 *
 * Callers: the benchmarks, from their main goroutine; fail from any.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>

static int64_t timeval_ns(struct timeval t)
{
	return (int64_t)t.tv_sec * GORT_SEC + (int64_t)t.tv_usec * GORT_US;
}

static int64_t cpu_now(void)
{
	struct rusage u;

	expect(getrusage(RUSAGE_SELF, &u) == 0, "getrusage");
	return timeval_ns(u.ru_utime) + timeval_ns(u.ru_stime);
}

/* The elapsed time is read innermost: reading the other is not part of it. */
struct stopwatch stopwatch_start(void)
{
	struct stopwatch w;

	w.cpu = cpu_now();
	w.wall = gort_now();
	return w;
}

void stopwatch_stop(struct stopwatch *w)
{
	w->wall = gort_now() - w->wall;
	w->cpu = cpu_now() - w->cpu;
}

static void report(const char *name, const struct stopwatch *w, double divisor, const char *unit)
{
	printf("%s %.3f %s\n", name, (double)w->wall / divisor, unit);
	printf("%s.cpu %.3f %s\n", name, (double)w->cpu / divisor, unit);
}

void report_whole(const char *name, const struct stopwatch *w)
{
	report(name, w, (double)GORT_MS, "ms");
}

void report_value(const char *name, double value, const char *unit)
{
	printf("%s %.1f %s\n", name, value, unit);
}

void report_bytes(const char *name, double bytes)
{
	report_value(name, bytes, "bytes");
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

void report_percentiles(const char *p50, const char *p99, int64_t *values, size_t n)
{
	qsort(values, n, sizeof *values, by_value);
	report_value(p50, (double)values[n / 2] / GORT_US, "us");
	report_value(p99, (double)values[n / 100 * 99] / GORT_US, "us");
}

void measure_each(const char *name, void (*work)(long n), long n)
{
	struct stopwatch w;

	work(n / 10);
	w = stopwatch_start();
	work(n);
	stopwatch_stop(&w);
	report(name, &w, (double)n, "ns");
}

void measure_whole(const char *name, void (*work)(long n), long warm, long n)
{
	struct stopwatch w;

	work(warm);
	w = stopwatch_start();
	work(n);
	stopwatch_stop(&w);
	report_whole(name, &w);
}

double memory_of(const char *what)
{
	FILE *f = fopen("/proc/self/status", "r");
	size_t len = strlen(what);
	double bytes = -1;
	char line[256];

	expect(f != NULL, "/proc/self/status");
	while (fgets(line, sizeof line, f))
		if (strncmp(line, what, len) == 0 && line[len] == ':')
			bytes = strtod(line + len + 1, NULL) * 1024;
	fclose(f);
	expect(bytes >= 0, what);
	return bytes;
}

/* _Exit: other threads are at work, and what exit runs may be in their hands. */
void fail(const char *what)
{
	fprintf(stderr, "gortbench: failed: %s\n", what);
	_Exit(EXIT_FAILURE);
}

int_chan make_ints(size_t capacity)
{
	int_chan c = GORT_MAKE(int_chan, capacity);

	expect(c.chan != NULL, "memory for a channel");
	return c;
}

void go_many(gort_waitgroup *group, int n, gort_func fn, void *arg)
{
	for (int i = 0; i < n; i++)
		expect(gort_waitgroup_go(group, fn, arg) == 0, "a goroutine");
}
