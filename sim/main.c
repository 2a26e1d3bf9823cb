/*
 * main.c - the command line. usage() below says what there is; docs/SIMULATOR.md says more.
 */
#include "campaign.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static void list_scenarios(void)
{
	static const char *const kinds[] = { "", "plain", "tiny", "must fail" };

	for (const struct scenario *s = scenarios; s; s = s->next)
		printf("  %-22s %-9s %s\n", s->name, kinds[s->kind], s->about);
}

static void usage(void)
{
	puts("usage: sim NAME [OPTION...]      one scenario, again and again, until a schedule fails\n"
	     "       sim --smoke [SECONDS]     all, fixed seeds and fresh ones; tiny ones exhaustively\n"
	     "       sim --long [POINTS]       all, fresh seeds, 1 000 000 000 points by default\n"
	     "       sim --selftest            the simulator's own tests\n"
	     "options:\n"
	     "  --seed N          this schedule alone; with --count, the first of so many\n"
	     "  --count N         schedules (default: 10 000)\n"
	     "  --strategy S      random, pct, delay, dfs (tiny ones: every schedule)\n"
	     "  --memory M        sc, tso, weak\n"
	     "  --fences F        asymmetric (light fences and membarrier), full\n"
	     "  --faults LIST     none, or of spurious,threads,memory,leaps,freeze\n"
	     "  --procs N         GOMAXPROCS\n"
	     "  --bound N         dfs: at most so many preemptions\n"
	     "  --trace [K]       print the last K steps (default 200) also of a good schedule\n"
	     "What is not fixed, the seed decides. Scenarios:");
	list_scenarios();
}

static void die(const char *what, const char *which)
{
	fprintf(stderr, "sim: %s %s; sim --help lists what there is\n", what, which);
	exit(2);
}

static const struct scenario *find(const char *name)
{
	for (const struct scenario *s = scenarios; s; s = s->next)
		if (strcmp(s->name, name) == 0)
			return s;
	die("there is no scenario", name);
	return NULL;
}

static int one_of(const char *const *names, const char *name)
{
	for (int i = 0; names[i]; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	die("what is", name);
	return 0;
}

static unsigned fault_list(char *list)
{
	unsigned faults = 0;

	if (strcmp(list, "none") == 0)
		return 0;
	for (char *name = strtok(list, ","); name; name = strtok(NULL, ","))
		faults |= 1u << one_of(fault_names, name);
	return faults;
}

static bool is_number(const char *text)
{
	return text && *text >= '0' && *text <= '9';
}

static uint64_t number(const char *text)
{
	if (!is_number(text))
		die("a number is needed, not", text ? text : "nothing");
	return strtoull(text, NULL, 0);
}

/* Options of one scenario, from argv[i] on. */
static void parse(struct campaign *c, char **argv)
{
	static const char *const fences[] = { "full", "asymmetric", NULL };
	bool counted = false;

	for (; *argv; argv++) {
		const char *name = *argv;
		char *value = argv[1];

		if (strcmp(name, "--trace") == 0) {
			c->trace = is_number(value) ? (size_t)number(*++argv) : 200;
			continue;
		}
		if (!value)
			die("a value is missing behind", name);
		argv++;
		if (strcmp(name, "--seed") == 0) {
			c->seed = number(value);
			c->count = counted ? c->count : 1;
		} else if (strcmp(name, "--count") == 0) {
			c->count = number(value);
			counted = true;
		} else if (strcmp(name, "--strategy") == 0) {
			c->options.strategy = (enum strategy)one_of(strategy_names, value);
		} else if (strcmp(name, "--memory") == 0) {
			c->options.memory = (enum memory_mode)one_of(memory_names, value);
		} else if (strcmp(name, "--fences") == 0) {
			c->options.asymmetric = one_of(fences, value);
		} else if (strcmp(name, "--faults") == 0) {
			c->options.faults = fault_list(value);
		} else if (strcmp(name, "--procs") == 0) {
			c->options.procs = (int)number(value);
		} else if (strcmp(name, "--bound") == 0) {
			c->bound = (unsigned)number(value);
		} else {
			die("what is", name);
		}
	}
}

static uint64_t fresh_seed(void)
{
	uint64_t seed = 1;

	if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
		die("no random numbers from", "the system");
	return seed >> 16; /* shorter to type */
}

int main(int argc, char **argv)
{
	struct campaign c = { .options = { .faults = FAULTS_BY_SEED, .asymmetric = -1 },
			      .count = 10000 };

	sim_prepare();
	if (argc < 2 || strcmp(argv[1], "--help") == 0) {
		usage();
		return 0;
	}
	c.seed = fresh_seed();
	if (strcmp(argv[1], "--selftest") == 0)
		return selftest();
	if (strcmp(argv[1], "--smoke") == 0)
		return smoke(argc > 2 ? number(argv[2]) : 200, c.seed);
	if (strcmp(argv[1], "--long") == 0)
		return long_run(argc > 2 ? number(argv[2]) : 1000000000, c.seed);
	c.scenario = find(argv[1]);
	parse(&c, argv + 2);
	return campaign(&c);
}
