/*
 * work.c - a program for tools/link-test: one P, and goroutines that never give way by themselves, in
 * their own code, in malloc and in stdio. It ends, with 0, only where they are preempted, and all
 * go on; whatever gort and this are linked to, and however they came to be loaded.
 */
#include <gort.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EACH 3
#define LINES 400
#define ROUNDS 10 /* naps of the one that sleeps among them */

#define CHECK(cond) \
	do { \
		if (!(cond)) { \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
			abort(); \
		} \
	} while (0)

int work(void);

struct storm {
	atomic_bool stop;
	atomic_int rounds;
	gort_waitgroup ended;
	FILE *file;
};

static int burn(void *arg)
{
	struct storm *s = arg;

	while (!atomic_load_explicit(&s->stop, memory_order_relaxed))
		continue;
	return 3;
}

static void allocate(void *arg)
{
	struct storm *s = arg;
	char *p[64];

	while (!atomic_load(&s->stop)) {
		for (int i = 0; i < 64; i++) {
			p[i] = malloc((size_t)(i * 97 % 5000 + 1));
			CHECK(p[i] != NULL);
			memset(p[i], i, (size_t)(i * 97 % 5000 + 1));
		}
		for (int i = 0; i < 64; i++) {
			CHECK(p[i * 7 % 64][0] == i * 7 % 64);
			free(p[i * 7 % 64]);
		}
		atomic_fetch_add(&s->rounds, 1);
	}
}

static void print(void *arg)
{
	struct storm *s = arg;

	for (int i = 0; i < LINES; i++)
		CHECK(fprintf(s->file, "%d %s %.3f\n", i, "is a line", i / 8.0) > 0);
	atomic_fetch_add(&s->rounds, 1);
	burn(s);
}

static void check_lines(FILE *file, int count)
{
	char line[128], want[128], rest[128];
	int n, seen = 0;

	rewind(file);
	for (; fgets(line, sizeof line, file); seen++) {
		CHECK(sscanf(line, "%d %127[^\n]", &n, rest) == 2);
		snprintf(want, sizeof want, "%d %s %.3f\n", n, "is a line", n / 8.0);
		CHECK(strcmp(line, want) == 0);
	}
	CHECK(seen == count);
}

static void nap(void)
{
	for (int i = 0; i < ROUNDS; i++)
		CHECK(gort_sleep(GORT_MS) == 0);
}

static void end(struct storm *s)
{
	atomic_store(&s->stop, true);
	CHECK(gort_waitgroup_wait(&s->ended) == 0);
}

static void among_hogs(int preempt)
{
	struct storm s = { .stop = false };
	gort_task *tasks[EACH];
	int result;

	for (int i = 0; i < EACH; i++) {
		tasks[i] = gort_spawn(burn, &s, &(gort_attr){ .preempt = preempt });
		CHECK(tasks[i] != NULL);
	}
	nap();
	end(&s);
	for (int i = 0; i < EACH; i++)
		CHECK(gort_join(tasks[i], &result) == 0 && result == 3);
}

static void among_those(void (*fn)(void *arg), FILE *file)
{
	struct storm s = { .file = file };

	for (int i = 0; i < EACH; i++)
		CHECK(gort_waitgroup_go(&s.ended, fn, &s) == 0);
	for (int i = 0; i < ROUNDS || atomic_load(&s.rounds) < EACH; i++) {
		void *p = malloc(1000); /* its lock may be with one that was stopped */

		CHECK(p != NULL);
		free(p);
		nap();
	}
	end(&s);
}

static int run(void *arg)
{
	FILE *file = arg;
	gort_stats stats;

	among_hogs(GORT_PREEMPT_THREAD);
	among_hogs(GORT_PREEMPT_SWITCH);
	among_those(allocate, file);
	among_those(print, file);
	check_lines(file, EACH * LINES);
	gort_read_stats(&stats, sizeof stats);
	CHECK(stats.preemptions > 0);
	return 7;
}

int work(void)
{
	const gort_options options = { .maxprocs = 1, .preempt_slice_us = 1000 };

	for (int i = 0; i < 2; i++) {
		FILE *file = tmpfile();

		CHECK(file != NULL);
		CHECK(gort_run(run, file, &options) == 7);
		fclose(file);
	}
	puts("worked");
	return 0;
}
