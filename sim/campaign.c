/*
 * campaign.c - many schedules: of one scenario, of all for a while (smoke), of all for long.
 *
 * The first schedule that fails ends its scenario, with a report and the command that repeats it.
 */
#include "campaign.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define SMOKE_POINTS UINT64_C(72000000)
#define SHOWN 60
#define MOST_EXHAUSTIVE 300000

struct scenario *scenarios;

struct tally {
	uint64_t schedules, points, pruned;
	double seconds;
	bool complete;
};

/* In the order of the files and the lines. */
void sim_register(struct scenario *s)
{
	struct scenario **at = &scenarios;

	while (*at)
		at = &(*at)->next;
	*at = s;
}

static double seconds_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* ---- one scenario ---------------------------------------------------------------------------- */

static void print_replay(const struct campaign *c)
{
	const struct plan *o = &c->options;

	printf("replay: ./dev sim %s --seed %llu", c->scenario->name,
	       (unsigned long long)sim.plan.seed);
	if (o->strategy != BY_SEED)
		printf(" --strategy %s", strategy_names[o->strategy]);
	if (o->memory != MEMORY_BY_SEED)
		printf(" --memory %s", memory_names[o->memory]);
	if (o->asymmetric >= 0)
		printf(" --fences %s", o->asymmetric ? "asymmetric" : "full");
	if (o->procs)
		printf(" --procs %d", o->procs);
	if (o->faults != FAULTS_BY_SEED) {
		printf(" --faults %s", o->faults ? "" : "none");
		for (unsigned i = 0, n = 0; fault_names[i]; i++)
			if (o->faults >> i & 1)
				printf("%s%s", n++ ? "," : "", fault_names[i]);
	}
	printf("\n");
}

static void report(const struct campaign *c)
{
	report_failure();
	trace_print(c->trace ? c->trace : SHOWN);
	print_replay(c);
}

static bool expected(const struct scenario *s)
{
	return s->kind == SIM_FAILS && strstr(sim.text, s->fails);
}

/* One schedule. False: it ends the campaign. */
static bool go(const struct campaign *c, uint64_t seed, struct tally *t)
{
	struct outcome o = sim_run(c->scenario, &c->options, seed);

	t->schedules++;
	t->points += o.steps;
	if (o.failed && !expected(c->scenario)) {
		printf("schedule %llu of this run:\n", (unsigned long long)t->schedules);
		report(c);
	} else if (c->trace) {
		if (o.failed)
			report_failure();
		trace_print(c->trace);
	}
	return !o.failed;
}

static struct tally run_seeds(const struct campaign *c, uint64_t most_points, double until)
{
	struct tally t = { 0 };
	double start = seconds_now();

	while (t.schedules < c->count && t.points < most_points) {
		if (!go(c, c->seed + t.schedules, &t))
			break;
		if (t.schedules % 64 == 0 && seconds_now() > until)
			break;
	}
	t.seconds = seconds_now() - start;
	return t;
}

static struct tally run_all(const struct campaign *c)
{
	struct tally t = { 0 };
	double start = seconds_now();

	dfs_reset(c->bound);
	t.complete = true;
	do {
		if (!go(c, 1, &t))
			break;
		t.complete = dfs_next();
	} while (t.complete && t.schedules < c->count);
	t.complete = !t.complete && !sim.failed;
	t.pruned = dfs_pruned();
	t.seconds = seconds_now() - start;
	return t;
}

static double rate(const struct tally *t)
{
	return t->seconds > 0 ? (double)t->points / t->seconds / 1e6 : 0;
}

int campaign(const struct campaign *c)
{
	const struct scenario *s = c->scenario;
	struct tally t;

	if (c->trace)
		trace_room(c->trace);
	t = c->options.strategy == DFS ? run_all(c) : run_seeds(c, NEVER, 1e18);
	printf("%s: %llu schedules, %llu points, %.1f million a second, ", s->name,
	       (unsigned long long)t.schedules, (unsigned long long)t.points, rate(&t));
	if (c->options.strategy == DFS)
		printf("%llu redundant, %s, ", (unsigned long long)t.pruned,
		       t.complete ? "all there are" : "not all");
	if (t.schedules == 1)
		printf("hash %016llx, ", (unsigned long long)sim.hash);
	else
		printf("seeds from %llu, ", (unsigned long long)c->seed);
	if (s->kind == SIM_FAILS && c->count > 1) {
		printf(sim.failed ? "fails, as it must\n" : "SHOULD HAVE FAILED\n");
		return !sim.failed;
	}
	printf(sim.failed && !expected(s) ? "FAILED\n" : "ok\n");
	return sim.failed && !expected(s);
}

/* ---- all scenarios --------------------------------------------------------------------------- */

static unsigned scenario_count(void)
{
	unsigned n = 0;

	for (const struct scenario *s = scenarios; s; s = s->next)
		n++;
	return n;
}

static void add(struct tally *sum, const struct tally *t)
{
	sum->schedules += t->schedules;
	sum->points += t->points;
	sum->seconds += t->seconds;
}

static void print_tally(const char *name, const char *how, const struct tally *t)
{
	printf("%-22s %-12s %9llu schedules %12llu points %6.1f M/s%s\n", name, how,
	       (unsigned long long)t->schedules, (unsigned long long)t->points, rate(t),
	       t->complete ? "  all there are" : "");
	fflush(stdout);
}

static bool run_and_print(const struct campaign *c, const char *how, uint64_t points, double until,
			  struct tally *sum)
{
	bool exhaustive = c->options.strategy == DFS;
	struct tally t = exhaustive ? run_all(c) : run_seeds(c, points, until);
	bool must_fail = c->scenario->kind == SIM_FAILS;

	add(sum, &t);
	if (sim.failed == must_fail)
		print_tally(c->scenario->name, how, &t);
	else if (must_fail)
		printf("FAILED: %s should have failed\n", c->scenario->name);
	return sim.failed == must_fail;
}

static const struct campaign by_seed = { .options = { .faults = FAULTS_BY_SEED, .asymmetric = -1 },
					 .count = NEVER };

static bool smoke_one(const struct scenario *s, uint64_t seed, uint64_t points, double seconds,
		      struct tally *sum)
{
	struct campaign c = by_seed;
	double now = seconds_now();

	c.scenario = s;
	c.seed = 1;
	if (!run_and_print(&c, "fixed", points / 2, now + seconds / 2, sum))
		return false;
	if (s->kind == SIM_FAILS)
		return true;
	c.seed = seed;
	if (!run_and_print(&c, "fresh", points / 2, now + seconds, sum))
		return false;
	if (s->kind != SIM_TINY)
		return true;
	c.options.strategy = DFS;
	c.count = MOST_EXHAUSTIVE;
	c.options.memory = SC;
	if (!run_and_print(&c, "dfs, sc", 0, 0, sum))
		return false;
	c.options.memory = TSO;
	c.options.asymmetric = 1;
	return run_and_print(&c, "dfs, tso", 0, 0, sum);
}

static int all_of_them(uint64_t points, double seconds, uint64_t seed)
{
	unsigned n = scenario_count(), failed = 0;
	struct tally sum = { 0 };

	printf("fresh seeds from %llu on\n", (unsigned long long)seed);
	for (const struct scenario *s = scenarios; s; s = s->next)
		failed += !smoke_one(s, seed, points / n, seconds / n, &sum);
	print_tally("all", "", &sum);
	printf("note: %u scenarios, %u failed, %llu schedules, %llu points, %.1f million a second, fresh "
	       "seeds from %llu\n",
	       n, failed, (unsigned long long)sum.schedules, (unsigned long long)sum.points,
	       rate(&sum), (unsigned long long)seed);
	return failed != 0;
}

int smoke(uint64_t seconds, uint64_t seed)
{
	return all_of_them(SMOKE_POINTS, (double)seconds, seed);
}

int long_run(uint64_t points, uint64_t seed)
{
	return all_of_them(points, 1e9, seed);
}

/* ---- the simulator itself -------------------------------------------------------------------- */

/* The same seed gives the same run, whatever ran before; another gives another. */
static bool repeats(const struct scenario *s)
{
	enum { SEEDS = 20 };
	uint64_t hashes[SEEDS];
	unsigned same = 0;

	for (unsigned i = 0; i < SEEDS; i++)
		hashes[i] = sim_run(s, &by_seed.options, i).hash;
	for (unsigned i = SEEDS; i-- > 0;)
		if (sim_run(s, &by_seed.options, i).hash != hashes[i]) {
			printf("FAILED: %s: seed %u gives another run the second time\n", s->name,
			       i);
			return false;
		}
	for (unsigned i = 1; i < SEEDS; i++)
		same += hashes[i] == hashes[0];
	if (same < SEEDS - 1 || s->kind == SIM_FAILS) /* some of these have but one thread */
		return true;
	printf("FAILED: %s: all seeds give the same run\n", s->name);
	return false;
}

int selftest(void)
{
	unsigned failed = 0, passed = 0;
	struct tally sum = { 0 };

	for (const struct scenario *s = scenarios; s; s = s->next) {
		bool good = repeats(s);

		if (s->kind == SIM_FAILS)
			good = good && smoke_one(s, 1, 20000000, 20, &sum);
		passed += good;
		failed += !good;
	}
	printf("%u passed, %u failed\n", passed, failed);
	return failed != 0;
}
