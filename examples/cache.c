/*
 * cache - a table that many read at once, and that fills itself, each entry by one computation.
 *
 * A hundred goroutines look numbers up. What is in the table they read side by side (rwmutex). What
 * is not there is computed: by the first to ask, while all others who want the same wait for its
 * result (flight), and by no more than two at a time for all numbers (semaphore).
 */
#include <gort.h>
#include <stdio.h>

#define ENTRIES 10
#define USERS 100

static struct {
	gort_rwmutex lock;
	int value[ENTRIES]; /* lock; 0: not known yet */
	gort_flight *computing;
	gort_sem places;
	gort_mutex counting;
	int computed; /* counting */
} cache = { .places = GORT_SEM_INIT(2) };

static int known(int n)
{
	int value;

	gort_rwmutex_rlock(&cache.lock);
	value = cache.value[n];
	gort_rwmutex_runlock(&cache.lock);
	return value;
}

/* Whoever asked just before the last computation ended finds the result when it looks again. */
static int compute(void *arg)
{
	int n = *(int *)arg, value = known(n);

	if (value)
		return value;
	gort_sem_acquire(&cache.places, 1);
	gort_sleep(GORT_MS); /* it takes a while */
	value = n * n + 1;
	gort_sem_release(&cache.places, 1);
	gort_rwmutex_lock(&cache.lock);
	cache.value[n] = value;
	gort_rwmutex_unlock(&cache.lock);
	gort_mutex_lock(&cache.counting);
	cache.computed++;
	gort_mutex_unlock(&cache.counting);
	return value;
}

static int look_up(int n)
{
	char key[16];
	int value = known(n);

	if (value)
		return value;
	snprintf(key, sizeof key, "%d", n);
	return gort_flight_do(cache.computing, key, compute, &n, NULL);
}

/* The sum of all entries, beginning with a different one each. */
static int use(void *arg)
{
	int first = *(int *)arg, sum = 0;

	for (int i = 0; i < ENTRIES; i++)
		sum += look_up((first + i) % ENTRIES);
	return sum;
}

GORT_MAIN(argc, argv)
{
	gort_task *users[USERS];
	int right = 0, sum, rc = 0;

	cache.computing = gort_flight_make();
	for (int i = 0; i < USERS; i++)
		users[i] = gort_spawn(use, &i, &(gort_attr){ .copy = sizeof i });
	for (int i = 0; i < USERS; i++) {
		if (!users[i] || !cache.computing || gort_join(users[i], &sum) < 0)
			rc = 1;
		else
			right += sum == 285 + ENTRIES;
	}
	printf("%d users got the right sum\n", right);
	printf("%d entries were computed, each once: %d\n", ENTRIES, cache.computed);
	gort_flight_release(cache.computing);
	return rc;
}
