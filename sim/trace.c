/*
 * trace.c - the last steps of a schedule, its hash, and the report of one that has failed.
 *
 * A step's record is raw; text is made only when it is printed. Two schedules whose hashes are
 * equal did the same steps, by the same threads, with the same values.
 */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct record {
	const struct sim_site *site;
	const void *p;
	uint64_t old, new, step, now;
	uint64_t g;
	int16_t thread;
	uint8_t kind;
};

static struct record few[4096];
static struct record *records = few;
static size_t mask = 4095;
static uint64_t recorded;

void trace_begin(void)
{
	recorded = 0;
	sim.hash = 0;
}

void trace_room(size_t want)
{
	size_t n = 4096;

	while (n < want)
		n *= 2;
	records = calloc(n, sizeof *records);
	if (!records) {
		fprintf(stderr, "sim: no memory for a trace of %zu steps\n", n);
		exit(2);
	}
	mask = n - 1;
}

static inline void record(const struct thread *t, const struct sim_site *site, const void *p,
			  uint64_t old, uint64_t new, enum record_kind kind)
{
	struct record *r = &records[recorded++ & mask];

	r->site = site;
	r->p = p;
	r->old = old;
	r->new = new;
	r->step = sim.steps;
	r->now = sim.now;
	r->thread = (int16_t)t->id;
	r->g = t->g;
	r->kind = kind;
	sim.hash ^= (uintptr_t)p + ((uint64_t)(uint32_t)t->id << 40) + ((uint64_t)kind << 48) +
		((uint64_t)site->line << 52);
	sim.hash *= UINT64_C(0x9fb21c651e98df25);
	sim.hash ^= sim.hash >> 29 ^ old ^ new * 3;
	sim.hash *= UINT64_C(0xd6e8feb86659fd93);
}

void trace(const struct sim_site *site, const void *p, uint64_t old, uint64_t new)
{
	record(sim.self, site, p, old, new, DONE);
}

void trace_buffer(const struct thread *t, const struct store *s, enum record_kind kind)
{
	record(t, s->site, s->p, s->under, s->value, kind);
}

/* ---- text ------------------------------------------------------------------------------------ */

static const char *name_of(const void *p, char *text, size_t size)
{
	if (!check_name((uintptr_t)p, text, size) && !symbol_name((uintptr_t)p, text, size) &&
	    !memory_name((uintptr_t)p, text, size))
		snprintf(text, size, "%p", p);
	return text;
}

static const char *file_of(const struct sim_site *site)
{
	return strncmp(site->file, "src/", 4) == 0 ? site->file + 4 : site->file;
}

static const char *value(uint64_t v, unsigned size, char *text, size_t room)
{
	char name[96];

	if (size == 8 && v > 0x10000 &&
	    (check_name(v, name, sizeof name) || symbol_name(v, name, sizeof name)))
		snprintf(text, room, "&%s", name);
	else if (v < 100000 || (size == 8 && v >> 63 && (int64_t)v > -100000))
		snprintf(text, room, "%lld", (long long)v);
	else
		snprintf(text, room, "0x%llx", (unsigned long long)v);
	return text;
}

static void print_effect(const struct record *r)
{
	char old[128], new[128];
	unsigned size = r->site->size;

	value(r->old, size, old, sizeof old);
	value(r->new, size, new, sizeof new);
	if (r->kind == BUFFERED)
		printf("  %s, in its buffer", new);
	else if (r->kind == LEFT)
		printf("  %s -> %s, leaves the buffer", old, new);
	else if (r->site->op == SIM_LOAD)
		printf("  is %s", new);
	else if (r->site->op == SIM_WORD)
		printf("  %s, %s", old, new);
	else if (r->site->op == SIM_CAS && r->old == r->new)
		printf("  stays %s", old);
	else if (r->site->op < SIM_FENCE)
		printf("  %s -> %s", old, new);
	else if (r->site->op == SIM_OS || r->site->op == SIM_NOTE)
		printf("  %s", new);
}

static void print_record(const struct record *r)
{
	char who[48], where[96], name[128];

	snprintf(who, sizeof who, r->g ? "T%d G%llu" : "T%d", r->thread, (unsigned long long)r->g);
	snprintf(where, sizeof where, "%s:%u %s", file_of(r->site), r->site->line,
		 r->site->function);
	printf("%9llu  %-8s %-40s %s", (unsigned long long)r->step, who, where, r->site->text);
	if (r->site->op == SIM_NOTE)
		printf(" %s %lld", (const char *)r->p, (long long)r->old);
	else if (r->p)
		printf("  [%s]", name_of(r->p, name, sizeof name));
	print_effect(r);
	printf("\n");
}

void trace_print(size_t last)
{
	uint64_t from = recorded > last ? recorded - last : 0;

	if (recorded > mask + 1 && from < recorded - mask - 1)
		from = recorded - mask - 1;
	printf("the last %llu steps (step, thread and goroutine, place, what, [where], value):\n",
	       (unsigned long long)(recorded - from));
	for (; from < recorded; from++)
		print_record(&records[from & mask]);
}

/* ---- reports --------------------------------------------------------------------------------- */

static bool readable(uintptr_t p)
{
	return p % 8 == 0 && p - 0x200000000000 < (UINT64_C(2) << 30);
}

/* The calls of a context that does not run, by frame pointers. NULL: it has not run yet. */
void print_stack(const void *sp)
{
	const uintptr_t *frame;
	char name[128];

	if (!sp) {
		printf(" not started\n");
		return;
	}
	frame = (const uintptr_t *)sp + SIM_FRAME_WORD;
	for (unsigned depth = 0; depth < 12 && readable((uintptr_t)frame) && frame[1]; depth++) {
		const char *function = symbol_name(frame[1], name, sizeof name);

		if (strchr(name, '+'))
			*strchr(name, '+') = 0;
		if (function && strncmp(name, "sim_", 4) != 0)
			printf(" < %s" + (depth == 0), name);
		if ((uintptr_t)frame[0] <= (uintptr_t)frame)
			break;
		frame = (const uintptr_t *)frame[0];
	}
	printf("\n");
}

static void print_thread(const struct thread *t)
{
	char name[128];

	printf("  T%d %s", t->id, t->name);
	if (t->g)
		printf(" runs G%llu", (unsigned long long)t->g);
	if (t->state == WAITS) {
		printf(", waits on %s", name_of(t->word, name, sizeof name));
		if (t->deadline != OS_FOREVER)
			printf(" for %lld us", (long long)(t->deadline - (int64_t)sim.now) / 1000);
	} else if (t->state == JOINS) {
		printf(", joins T%d", t->joins->id);
	} else {
		printf(", %s %s", t == sim.self ? "was at" : "ready, before",
		       t->at ? t->at->text : "its start");
		if (t->at && t->at->line)
			printf(" (%s:%u)", file_of(t->at), t->at->line);
	}
	if (t->buffered)
		printf(", %u stores in its buffer", t->buffered);
	printf(":");
	print_stack(t->at ? t->sp : NULL);
}

void report_failure(void)
{
	printf("FAILED: %s: %s\n", sim.scenario->name, sim.text);
	printf("after %llu steps, %llu us; %s\n", (unsigned long long)sim.steps,
	       (unsigned long long)(sim.now - UINT64_C(1000000000)) / 1000, sim_plan_text());
	printf("threads:\n");
	for (unsigned i = 0; i < MAX_THREADS; i++)
		if (sim.threads[i].state != UNUSED && sim.threads[i].state != ENDED)
			print_thread(&sim.threads[i]);
	printf("goroutines:\n");
	check_report();
}
