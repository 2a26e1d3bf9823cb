/*
 * stats.c - counters: gort_read_stats, and the line that GORT_DEBUG=sched=MS has sysmon write.
 *
 *  1. No lock is taken and nobody stopped: every counter is read as it stands. Each has one writer at
 *     a time, by a plain store: a P's is its M's, those of sched are written under its lock. So what
 *     belongs together may differ by what happens during the call, and differences stop at 0.
 *  2. What is looked at stays mapped by peek_begin, as for reports (dump.c). Ms come and go: the walk
 *     over their list counts its steps, since one that is used again leads to the list's head.
 *  3. A G runs if it is some M's (m->g), with a P or without one (a blocking call, or its P was
 *     taken), and that M does not wait for a P. One whose M does (m->waits) stands in fresh or
 *     tired, and is among the runnable ones, which are those in queues. The rest waits.
 *  4. Parks are not counted where they happen: each switch begins a stay of a G on an M, and a stay
 *     ends by a wait, a yield or the G's end, or lasts. picks also counts where a stay merely goes
 *     on (gives). So
 *         parks = picks - gives - yields - ended - stays that last (Ms that have a G).
 *     That leaves the path of channels as it is. (A yield is counted in the call that it makes
 *     anyway, when the next one has been picked: in yield_to it took 0.4 ns of 25.) What is taken
 *     away is read later than picks, so there may be a few too few, or, where a yield is under way
 *     on another M, one too many.
 *
 * Callers: anyone, signal handlers too; gort__trace: sysmon.
 */
#include "sched/stack.h"

#include <string.h>

#define sched gort__sched
#define ROOM 4096u
#define TAIL 128u /* of the line, behind the Ps */

struct census {
	gort_stats s;
	uint64_t away, stopped; /* Ms without a P: in user code; waiting for one, G in hand */
	uint64_t idle_ms;
};

static uint64_t queued(struct p *p)
{
	return (load_relaxed(&p->runnext) != NULL) + ring_len(&p->ring) + deque_len(&p->deque);
}

racy static uint64_t timers_of(const struct p *p)
{
	return p->timers.live;
}

static void count_ps(gort_stats *s)
{
	uint32_t n = load_acquire(&sched.p_count);

	for (uint32_t i = 0; i < n; i++) {
		struct p *p = load_relaxed(&sched.all_p[i]);

		s->switches += load_acquire(&p->picks);
		s->steals += load_relaxed(&p->steals);
		s->preemptions += load_relaxed(&p->preemptions);
		s->timers += timers_of(p);
		s->runnable += queued(p);
	}
}

static uint64_t yields(void)
{
	uint32_t n = load_acquire(&sched.p_count);
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += load_relaxed(&load_relaxed(&sched.all_p[i])->yields);
	return sum;
}

/* 2, 3 */
racy static void count_ms(struct census *c)
{
	const struct m *m = load_acquire(&sched.all_m);

	c->s.threads = sched.threads;
	for (uint64_t left = c->s.threads; m && left; left--, m = m->all_next) {
		bool has_g = load_relaxed(&m->g) != NULL, waits = has_g && m->waits;

		c->s.running += has_g && !waits;
		c->stopped += waits;
		c->away += !waits && load_relaxed(&m->away) != AWAY_NO;
		c->idle_ms += m->idle;
	}
}

static uint64_t difference(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

racy static void count(struct census *c)
{
	gort_stats *s = &c->s;

	memset(c, 0, sizeof *c);
	count_ps(s);
	count_ms(c);
	s->goroutines = gort__g_count(&s->created);
	s->runnable += load_relaxed(&sched.global_count);
	s->waiting = difference(s->goroutines, s->running + s->runnable);
	s->parks = difference(s->switches,
			      sched.gives + yields() + s->created - s->goroutines + s->running +
				      c->stopped); /* 4 */
	s->threads_blocked = c->away + c->stopped;
	s->procs = load_relaxed(&sched.procs);
	s->procs_idle = load_relaxed(&sched.idle_ps);
	s->retakes = sched.retakes;
	s->polls = sched.polls;
	gort__stacks_size(&s->stack_reserved, &s->stack_resident);
}

GORT_API void gort_read_stats(gort_stats *out, size_t size)
{
	struct census c;

	if (!out)
		gort__misuse("gort_read_stats", "nowhere to write to");
	memset(out, 0, size);
	if (gort__forked || !peek_begin())
		return;
	count(&c);
	peek_end();
	memcpy(out, &c.s, size < sizeof c.s ? size : sizeof c.s);
}

static size_t say_ps(char *text, size_t used)
{
	uint32_t n = load_relaxed(&sched.procs), i = 0;

	for (; i < n && used < ROOM - TAIL - 24; i++)
		used += gort__format(text + used, ROOM - used, i ? " %u" : "[%u",
				     queued(load_relaxed(&sched.all_p[i])));
	return used + gort__format(text + used, ROOM - used, i < n ? " ...]" : "]");
}

/* One write(2), so that lines of several processes do not mix. */
racy void gort__trace(int64_t since)
{
	struct census c;
	char text[ROOM];
	size_t used;

	if (!peek_begin())
		return;
	count(&c);
	used = gort__format(
		text, ROOM,
		"gort: sched %d ms: procs=%u idleprocs=%u threads=%u spinning=%u idlethreads=%u "
		"blocked=%u stopped=%u runqueue=%u fresh=%u tired=%u ",
		since / GORT_MS, c.s.procs, c.s.procs_idle, c.s.threads,
		(uint64_t)load_relaxed(&sched.spinning), c.idle_ms, c.away, c.stopped,
		(uint64_t)sched.global.count, (uint64_t)sched.fresh.count,
		(uint64_t)sched.tired.count);
	used = say_ps(text, used);
	used += gort__format(text + used, ROOM - used,
			     " goroutines=%u switches=%u preemptions=%u retakes=%u\n",
			     c.s.goroutines, c.s.switches, c.s.preemptions, c.s.retakes);
	peek_end();
	os_write_err(text, used);
}
