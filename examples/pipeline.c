/*
 * pipeline - stages joined by channels: numbers -> squares -> their sum.
 *
 * Each stage closes its output when its input has ended, so that the end travels downstream by
 * itself. gort_go_with hands a stage its two ends, copied to the new goroutine's own stack; each
 * user of a channel has a reference of its own, and releases it.
 */
#include <gort.h>
#include <inttypes.h>
#include <stdio.h>

typedef gort_chan_of(uint64_t) number_chan;

struct stage {
	number_chan in, out;
	uint64_t n;
};

static void finish(struct stage *s)
{
	gort_chan_close(s->out.chan);
	gort_chan_release(s->out.chan);
	gort_chan_release(s->in.chan);
}

static number_chan retain(number_chan c)
{
	gort_chan_retain(c.chan);
	return c;
}

static void generate(void *arg)
{
	struct stage *s = arg;

	for (uint64_t i = 1; i <= s->n; i++)
		gort_send(s->out, i);
	finish(s);
}

static void square(void *arg)
{
	struct stage *s = arg;
	uint64_t x;

	while (gort_recv(s->in, &x) == 0)
		gort_send(s->out, x * x);
	finish(s);
}

GORT_MAIN(argc, argv)
{
	number_chan numbers = GORT_MAKE(number_chan, 0);
	number_chan squares = GORT_MAKE(number_chan, 16);
	uint64_t x, sum = 0;

	gort_go_with(generate, struct stage, .out = retain(numbers), .n = 1000);
	gort_go_with(square, struct stage, .in = retain(numbers), .out = retain(squares));
	while (gort_recv(squares, &x) == 0)
		sum += x;
	printf("sum of the squares of 1 to 1000: %" PRIu64 "\n", sum);
	gort_chan_release(numbers.chan);
	gort_chan_release(squares.chan);
	return 0;
}
