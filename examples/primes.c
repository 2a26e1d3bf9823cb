/*
 * primes - the first n primes (default 100) by a sieve of goroutines, after the one in Go's
 * tutorial: each prime found adds a goroutine that filters out its multiples.
 *
 * When main returns the filters are still at work; gort_run drops them. Whether n goroutines
 * cost little is easily seen: try 5000.
 */
#include <gort.h>
#include <stdio.h>
#include <stdlib.h>

typedef gort_chan_of(long) long_chan;

struct filter {
	long_chan in, out;
	long prime;
};

static void generate(void *arg)
{
	long_chan *out = arg;

	for (long i = 2;; i++)
		gort_send(*out, i);
}

static void filter(void *arg)
{
	struct filter *f = arg;
	long i;

	while (gort_recv(f->in, &i) == 0)
		if (i % f->prime != 0)
			gort_send(f->out, i);
}

static int usage(const char *name)
{
	fprintf(stderr, "Usage: %s [N]\nPrint the first N primes, 1 to 100000.\n", name);
	return 2;
}

GORT_MAIN(argc, argv)
{
	char *end = NULL;
	long n = argc > 1 ? strtol(argv[1], &end, 10) : 100;

	if (argc > 2 || (end && (end == argv[1] || *end)) || n < 1 || n > 100000)
		return usage(argv[0]);

	long_chan numbers = GORT_MAKE(long_chan, 0);
	gort_go_with(generate, long_chan, .chan = numbers.chan);
	while (n-- > 0) {
		long prime;
		gort_recv(numbers, &prime);
		printf("%ld\n", prime);
		/* Not released: the filters use them to the program's end. */
		long_chan rest = GORT_MAKE(long_chan, 0);
		if (!rest.chan ||
		    gort_go_with(filter, struct filter, .in = numbers, .out = rest,
				 .prime = prime) != 0) {
			fputs("primes: out of memory\n", stderr);
			return 1;
		}
		numbers = rest;
	}
	return 0;
}
