/*
 * pingpong - two goroutines that hand a counter to and fro over two channels without buffer.
 *
 * Each hand-over switches straight from one goroutine to the other: time it to see what a
 * switch costs.
 */
#include <gort.h>
#include <stdio.h>

#define ROUNDS 100000

typedef gort_chan_of(int) int_chan;

struct table {
	int_chan ping, pong;
};

static int player(void *arg)
{
	struct table *t = arg;
	int ball, hits = 0;

	for (; gort_recv(t->ping, &ball) == 0; hits++)
		gort_send(t->pong, ball + 1);
	return hits;
}

GORT_MAIN(argc, argv)
{
	struct table t = { GORT_MAKE(int_chan, 0), GORT_MAKE(int_chan, 0) };
	gort_task *other = gort_spawn(player, &t, NULL);
	int ball = 0, hits = 0;

	for (int i = 0; i < ROUNDS; i++) {
		gort_send(t.ping, ball + 1);
		gort_recv(t.pong, &ball);
	}
	gort_chan_close(t.ping.chan);
	gort_join(other, &hits); /* it is done with the table, too */
	printf("the ball was hit %d times, %d of them by the other\n", ball, hits);
	gort_chan_release(t.ping.chan);
	gort_chan_release(t.pong.chan);
	return 0;
}
