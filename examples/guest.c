/*
 * guest - plain threads and goroutines together, in a program whose main() is its own.
 *
 * gort_start starts the runtime and leaves main() a plain thread. Any thread may use channels
 * with goroutines; a wait then blocks that thread, as it would on a condition variable.
 */
#include <gort.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define COUNT 1000

typedef gort_chan_of(int) int_chan;

struct pair {
	int_chan numbers, doubles;
};

static int doubler(void *arg) /* a goroutine */
{
	struct pair *p = arg;
	int n;

	while (gort_recv(p->numbers, &n) == 0)
		gort_send(p->doubles, 2 * n);
	gort_chan_close(p->doubles.chan);
	return 0;
}

static void *producer(void *arg) /* a thread of the program's own */
{
	struct pair *p = arg;

	for (int i = 1; i <= COUNT; i++)
		gort_send(p->numbers, i);
	gort_chan_close(p->numbers.chan);
	return NULL;
}

static int talk(void)
{
	struct pair p = { GORT_MAKE(int_chan, 0), GORT_MAKE(int_chan, 4) };
	pthread_t thread;
	gort_task *task = gort_spawn(doubler, &p, NULL);
	long sum = 0;
	int n, rc;

	if (!task)
		return -ENOMEM;
	rc = -pthread_create(&thread, NULL, producer, &p);
	if (rc != 0)
		return rc;
	while (gort_recv(p.doubles, &n) == 0)
		sum += n;
	pthread_join(thread, NULL);
	gort_join(task, NULL);
	printf("%d numbers went by, doubled they make %ld\n", COUNT, sum);
	gort_chan_release(p.numbers.chan);
	gort_chan_release(p.doubles.chan);
	return 0;
}

int main(void)
{
	int rc = gort_start(NULL);

	if (rc == 0)
		rc = talk();
	if (rc == 0)
		rc = gort_stop();
	if (rc != 0)
		fprintf(stderr, "guest: %s\n", strerror(-rc));
	return rc != 0;
}
