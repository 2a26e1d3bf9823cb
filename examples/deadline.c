/*
 * deadline - waiting no longer than one is willing to.
 *
 * Deadlines are absolute, so that one deadline covers a whole sequence of waits: the last wait
 * below gets the time that the one before it has left.
 */
#include <gort.h>
#include <stdio.h>

struct desk {
	gort_chan *questions, *answers;
};

static int answer_slowly(void *arg)
{
	struct desk *d = arg;
	int n;

	while (gort_chan_recv(d->questions, &n) == 0) {
		gort_sleep(20 * GORT_MS);
		n *= 2;
		gort_chan_send(d->answers, &n);
	}
	gort_chan_close(d->answers);
	return 0;
}

static const char *outcome(int rc)
{
	return rc == 0 ? "an answer" : rc == -ETIMEDOUT ? "too late" : "closed";
}

GORT_MAIN(argc, argv)
{
	struct desk d = { gort_chan_make(sizeof(int), 1), gort_chan_make(sizeof(int), 1) };
	gort_task *clerk = gort_spawn(answer_slowly, &d, NULL);
	int64_t start = gort_now(), deadline;
	int n = 21, rc;

	rc = gort_chan_recv_until(d.answers, NULL, gort_in(10 * GORT_MS));
	printf("nothing asked, waited 10 ms: %s\n", outcome(rc));
	printf("not before its time: %s\n", gort_now() - start >= 10 * GORT_MS ? "yes" : "no");
	rc = gort_chan_recv_until(d.answers, NULL, GORT_NOW);
	printf("without waiting: %s\n", outcome(rc));

	gort_chan_send(d.questions, &n);
	gort_chan_close(d.questions);
	deadline = gort_in(30 * GORT_SEC);
	rc = gort_chan_recv_until(d.answers, &n, deadline);
	printf("asked, within 30 s: %s, %d\n", outcome(rc), n);
	rc = gort_chan_recv_until(d.answers, &n, deadline);
	printf("in the time left: %s\n", outcome(rc));

	gort_join(clerk, NULL);
	gort_chan_release(d.questions);
	gort_chan_release(d.answers);
	return 0;
}
