/*
 * pool - a fixed number of workers take jobs from one channel and send results to another.
 *
 * Shows a wait group that tells when the last worker is done, so that the results can be closed;
 * tasks, whose results gort_join collects; and results in any order, sorted out by their index.
 * The job: how many steps n takes to 1 by Collatz's rule.
 */
#include <gort.h>
#include <stdio.h>

#define JOBS 1000
#define WORKERS 4

struct job {
	int index, steps;
};

typedef gort_chan_of(struct job) job_chan;

struct pool {
	job_chan jobs, results;
	gort_waitgroup workers;
};

static int collatz(uint64_t n)
{
	int steps = 0;

	for (; n != 1; steps++)
		n = n % 2 ? 3 * n + 1 : n / 2;
	return steps;
}

/* A task: how many jobs this worker did. */
static int work(void *arg)
{
	struct pool *p = arg;
	struct job j;
	int done = 0;

	for (; gort_recv(p->jobs, &j) == 0; done++) {
		j.steps = collatz((uint64_t)j.index + 1);
		gort_send(p->results, j);
	}
	gort_waitgroup_done(&p->workers);
	return done;
}

/* The results end when the last worker has: only then may they be closed. */
static int feed(void *arg)
{
	struct pool *p = arg;

	for (int i = 0; i < JOBS; i++)
		gort_send(p->jobs, (struct job){ .index = i });
	gort_chan_close(p->jobs.chan);
	gort_waitgroup_wait(&p->workers);
	gort_chan_close(p->results.chan);
	return 0;
}

GORT_MAIN(argc, argv)
{
	struct pool p = { GORT_MAKE(job_chan, 8), GORT_MAKE(job_chan, 8), { 0 } };
	gort_task *workers[WORKERS], *feeder;
	static int steps[JOBS];
	int longest = 0, total = 0;
	struct job j;

	gort_waitgroup_add(&p.workers, WORKERS);
	for (int i = 0; i < WORKERS; i++)
		workers[i] = gort_spawn(work, &p, NULL);
	feeder = gort_spawn(feed, &p, NULL);
	while (gort_recv(p.results, &j) == 0)
		steps[j.index] = j.steps;

	gort_join(feeder, NULL);
	for (int i = 0; i < WORKERS; i++) {
		int done = 0;
		gort_join(workers[i], &done);
		total += done;
	}
	for (int i = 0; i < JOBS; i++)
		if (steps[i] > steps[longest])
			longest = i;
	printf("%d jobs done\n", total);
	printf("longest way to 1: from %d, %d steps\n", longest + 1, steps[longest]);
	gort_chan_release(p.jobs.chan);
	gort_chan_release(p.results.chan);
	return 0;
}
