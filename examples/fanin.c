/*
 * fanin - several stations, one collector: select takes whatever comes first.
 *
 * One select has all of it: values from the stations, the one value that is to be passed on, a
 * time that comes again and again. What must not be chosen just now has no channel, for NULL is
 * never ready: a station that has closed; the stations, as long as a value is held; the way out,
 * as long as none is.
 */
#include <gort.h>
#include <stdbool.h>
#include <stdio.h>

#define STATIONS 3

enum { PASS_ON = STATIONS, HEARTBEAT, CASES };

typedef gort_chan_of(int) int_chan;

struct station {
	int_chan out;
	int first, count;
	int64_t pause;
};

static void measure(void *arg)
{
	struct station *s = arg;

	for (int i = s->first; i < s->first + s->count; i++) {
		gort_sleep(s->pause);
		gort_send(s->out, i);
	}
	gort_chan_close(s->out.chan);
}

struct archive {
	int_chan in;
	int count, sum;
};

static int keep(void *arg)
{
	struct archive *a = arg;
	int n;

	for (; gort_recv(a->in, &n) == 0; a->count++)
		a->sum += n;
	return 0;
}

/* Gives how often the heart has beaten until all stations had closed. */
static int collect(struct station *stations, int_chan out)
{
	int open = STATIONS, beats = 0, held, which;
	gort_chan *from[STATIONS];
	gort_case cases[CASES];
	bool full = false;

	for (int i = 0; i < STATIONS; i++)
		from[i] = stations[i].out.chan;
	cases[HEARTBEAT] = GORT_CASE_TIME(gort_in(GORT_MS));
	while (open > 0 || full) {
		for (int i = 0; i < STATIONS; i++)
			cases[i] = GORT_CASE_RECV(full ? NULL : from[i], &held);
		cases[PASS_ON] = GORT_CASE_SEND(full ? out.chan : NULL, &held);
		which = gort_select(cases, CASES, GORT_FOREVER);
		if (which == HEARTBEAT) {
			cases[HEARTBEAT].deadline += GORT_MS;
			beats++;
		} else if (which == PASS_ON) {
			full = false;
		} else if (cases[which].status == -EPIPE) {
			from[which] = NULL;
			open--;
		} else {
			full = true;
		}
	}
	return beats;
}

GORT_MAIN(argc, argv)
{
	struct archive archive = { .in = GORT_MAKE(int_chan, 0) };
	struct station stations[STATIONS] = { { GORT_MAKE(int_chan, 0), 1, 100, 50 * GORT_US },
					      { GORT_MAKE(int_chan, 4), 1001, 10, GORT_MS },
					      { GORT_MAKE(int_chan, 4), 5000, 1, 5 * GORT_MS } };
	gort_waitgroup measuring = { 0 };
	gort_task *keeper = gort_spawn(keep, &archive, NULL);
	gort_case ended = GORT_CASE_TASK(keeper);
	int beats;

	for (int i = 0; i < STATIONS; i++)
		gort_waitgroup_go(&measuring, measure, &stations[i]);
	beats = collect(stations, archive.in);
	gort_chan_close(archive.in.chan);
	if (gort_select(&ended, 1, gort_in(30 * GORT_SEC)) != 0)
		return 1;
	gort_join(keeper, NULL);
	printf("%d readings, in all %d\n", archive.count, archive.sum);
	printf("the heart has beaten: %s\n", beats > 0 ? "yes" : "no");
	gort_waitgroup_wait(&measuring);
	for (int i = 0; i < STATIONS; i++)
		gort_chan_release(stations[i].out.chan);
	gort_chan_release(archive.in.chan);
	return 0;
}
