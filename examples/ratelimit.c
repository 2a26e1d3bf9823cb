/*
 * ratelimit - a token bucket that a ticker fills.
 *
 * Requests take a token from a channel, which holds as many as may come at once. Each tick adds
 * one. A timer with a period skips ticks that nobody could take in time, and the bucket takes no
 * more than it holds: so a pause saves up a burst, but not more.
 */
#include <gort.h>
#include <stdio.h>

#define BURST 3
#define EACH (2 * GORT_MS)
#define REQUESTS 12

struct bucket {
	gort_chan *tokens; /* no values: they are alike */
	gort_chan *closed;
	gort_timer *ticker;
};

static void fill(void *arg)
{
	struct bucket *b = arg;
	gort_case wait[] = { GORT_CASE_RECV(gort_timer_chan(b->ticker), NULL),
			     GORT_CASE_RECV(b->closed, NULL) };

	while (gort_select(wait, 2, GORT_FOREVER) == 0)
		gort_chan_try_send(b->tokens, NULL); /* full: it is lost */
}

static int serve(void *arg)
{
	struct bucket *b = arg;
	int served = 0;

	while (served < REQUESTS && gort_chan_recv(b->tokens, NULL) == 0)
		served++;
	return served;
}

GORT_MAIN(argc, argv)
{
	struct bucket b = { gort_chan_make(0, BURST), gort_chan_make(0, 0), NULL };
	gort_waitgroup filler = { 0 };
	int64_t start = gort_now();
	int served;

	for (int i = 0; i < BURST; i++)
		gort_chan_try_send(b.tokens, NULL);
	b.ticker = gort_timer_start(start + EACH, EACH, NULL, NULL);
	if (!b.ticker || gort_waitgroup_go(&filler, fill, &b) < 0)
		return 1;
	served = serve(&b);
	printf("%d requests, %d of them at once\n", served, BURST);
	printf("the others 2 ms apart: %s\n",
	       gort_now() - start >= (REQUESTS - BURST) * EACH ? "yes" : "no");

	gort_chan_close(b.closed);
	gort_waitgroup_wait(&filler);
	gort_timer_release(b.ticker);
	gort_chan_release(b.tokens);
	gort_chan_release(b.closed);
	return 0;
}
