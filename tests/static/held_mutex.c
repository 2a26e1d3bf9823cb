/*
 * static/held_mutex.c - in a fully static program the functions that watch pthread mutexes
 * (src/os/linux/mutexes.c) do as libc's do, and tell nobody. Without the harness: exit 0.
 */
#include <errno.h>
#include <gort.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define CHECK_EQ(a, b) ((a) == (b) ? (void)0 : (fprintf(stdout, "line %d\n", __LINE__), exit(1)))

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void lock_in_all_ways(void)
{
	struct timespec past = { 0, 0 };

	CHECK_EQ(pthread_mutex_lock(&mutex), 0);
	CHECK_EQ(pthread_mutex_trylock(&mutex), EBUSY);
	CHECK_EQ(pthread_mutex_timedlock(&mutex, &past), ETIMEDOUT);
	CHECK_EQ(pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &past), ETIMEDOUT);
	CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
	CHECK_EQ(pthread_mutex_trylock(&mutex), 0);
	CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
	CHECK_EQ(pthread_mutex_timedlock(&mutex, &past), 0);
	CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
	CHECK_EQ(pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &past), 0);
	CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
}

static int with_goroutines(void *arg)
{
	(void)arg;
	lock_in_all_ways();
	CHECK_EQ(pthread_mutex_lock(&mutex), 0);
	CHECK_EQ(gort_sleep(GORT_MS), 0);
	CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
	return 7;
}

int main(void)
{
	int said[2];

	CHECK_EQ(pipe(said), 0);
	CHECK_EQ(dup2(said[1], 2), 2);
	lock_in_all_ways();
	CHECK_EQ(gort_run(with_goroutines, NULL, NULL), 7);
	close(2);
	close(said[1]);
	CHECK_EQ(read(said[0], &said[1], 1), 0);
	return 0;
}
