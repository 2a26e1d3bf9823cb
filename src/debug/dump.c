/*
 * dump.c - what all goroutines do, told while they do it.
 *
 * It must work when nothing else does: in a signal handler, on any stack, while somebody stands
 * still with any lock, ours or libc's. So it takes none, and allocates with mmap alone.
 *
 *  1. Chunks of stacks, Ms and Ps stay mapped while sched.dumpers counts us (peek_begin): the
 *     runtime's end (init.c), and chunks that are dropped (stack.c), wait for that or leave it to
 *     later. Who finds the end under way goes at once, since it may have interrupted the very thread
 *     that ends it.
 *  2. Goroutines go on meanwhile. What is read of one may be torn, or of its next life: every pointer
 *     is held against the bounds of its stack before it is followed, so that garbage is a wrong
 *     line at worst. Its number and state are read again at the end: if they have moved, it is read
 *     anew, some times.
 *  3. A goroutine that runs has its registers in its thread, which is asked (os_thread_sample) and
 *     answers with a copy of the stack's end. That of the caller is known.
 *  4. Beyond DETAILED goroutines, those with the same stack, reason and origin become one entry with a
 *     count, in a table of bounded size; what does not fit is counted.
 *  5. When the process is about to end for a fault, it is told of once: a fault in the telling does
 *     not come here again.
 *
 * Callers: anyone, signal handlers too.
 */
#include "debug/unwind.h"
#include "sched/config.h"
#include "sched/park.h"
#include "sched/stack.h"
#include "sync/task.h"

#include "regs.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define sched gort__sched
#define DETAILED 1000
#define TOP 32u    /* frames that are told of a deep stack: the innermost ... */
#define BOTTOM 16u /* ... and the outermost */
#define STEPS (1u << 20)
#define ENTRIES 2048u
#define ANSWER (100 * GORT_MS) /* of a thread */
#define ANSWERS (2 * GORT_SEC) /* of all */
#define TRIES 3
#define ROOM 6144u /* more than the telling takes of a stack */

struct trace {
	uint32_t count;  /* all frames */
	bool whole;      /* it reached the goroutine's first */
	uint64_t called; /* bit of pc: it is behind a call */
	uintptr_t pc[TOP + BOTTOM];
};

/* A goroutine, as it was seen. */
struct sight {
	const struct g *g;
	uintptr_t low, sp;
	uint64_t id;
	uint32_t state, since, cases;
	uint16_t why;
	char name[NAME_SIZE];
	gort_func fn;
	uintptr_t spawned_at, waiting, object;
	const char *note; /* about its stack */
	bool unstarted;
	struct trace trace;
};

struct entry {
	uint64_t hash; /* 0: free */
	uint64_t count, oldest, newest;
	struct sight first;
	bool same_object;
};

struct dump {
	int fd, err;
	bool summary;
	uint32_t now; /* in COARSE_TICKs */
	int64_t budget;
	struct os_context *self; /* of the calling thread */
	const struct m *m;       /* the same, or NULL */
	uint64_t states[G_DEAD + 1];
	struct entry *table;
	uint64_t others; /* goroutines that did not fit */
	struct sight sight;
	size_t used;
	char text[4096];
	struct os_context here, sample;
	struct images images;
};

/* ---- writing --------------------------------------------------------------------------------- */

static void flush(struct dump *d)
{
	if (d->used && d->err == 0)
		d->err = os_write_all(d->fd, d->text, d->used);
	d->used = 0;
}

static void say(struct dump *d, const char *format, ...)
{
	va_list args;

	if (sizeof d->text - d->used < 512)
		flush(d);
	va_start(args, format);
	d->used += gort__vformat(d->text + d->used, sizeof d->text - d->used, format, args);
	va_end(args);
}

/* "f+0x12 (file)"; of what has no name, where it is in the file. */
static void say_place(struct dump *d, uintptr_t pc, bool called)
{
	uintptr_t at = pc - called;
	const struct image *i = gort__image_of(&d->images, at);
	const struct symbol *s = gort__symbol(&d->images, at);
	char name[256];

	if (s->name) {
		size_t n = s->length < sizeof name - 1 ? s->length : sizeof name - 1;

		memcpy(name, s->name, n);
		name[n] = 0;
		say(d, "%s+0x%x (%s)\n", name, (uint64_t)s->offset + called, i->name);
	} else if (i) {
		say(d, "0x%x (%s+0x%x)\n", (uint64_t)pc, i->name, (uint64_t)(pc - i->bias));
	} else {
		say(d, "0x%x\n", (uint64_t)pc);
	}
}

static void say_frame(struct dump *d, const struct trace *t, uint32_t i)
{
	say(d, "    ");
	say_place(d, t->pc[i], t->called >> i & 1);
}

static void say_trace(struct dump *d, const struct trace *t)
{
	uint32_t kept = t->count < TOP + BOTTOM ? t->count : TOP + BOTTOM;
	uint32_t left_out = t->count - kept;

	for (uint32_t i = 0; i < kept; i++) {
		if (left_out && i == TOP)
			say(d, "    ... %u more\n", (uint64_t)left_out);
		say_frame(d, t, i < TOP ? i : TOP + (i - TOP + left_out) % BOTTOM);
	}
	if (t->count && !t->whole)
		say(d, "    (from here on it is not known)\n");
}

static void say_age(struct dump *d, uint64_t ticks)
{
	uint64_t ms = ticks * COARSE_TICK / GORT_MS;

	if (ms < 1000)
		say(d, "%u ms", ms);
	else if (ms < 120 * 1000)
		say(d, "%u s", ms / 1000);
	else
		say(d, "%u min", ms / 60000);
}

static uint64_t age(const struct dump *d, const struct sight *s)
{
	int32_t ticks = (int32_t)(d->now - s->since);

	return ticks > 0 ? (uint64_t)ticks : 0;
}

const char *gort__reason(uint32_t why)
{
	static const char *const text[] = {
		[WHY_SLEEP] = "sleep",
		[WHY_SEND] = "chan send",
		[WHY_RECV] = "chan receive",
		[WHY_MUTEX] = "mutex lock",
		[WHY_RLOCK] = "rwmutex read lock",
		[WHY_WLOCK] = "rwmutex write lock",
		[WHY_COND] = "cond wait",
		[WHY_SEM] = "semaphore",
		[WHY_FLIGHT] = "flight",
		[WHY_WAITGROUP] = "wait group",
		[WHY_JOIN] = "task join",
		[WHY_SELECT] = "select",
		[WHY_SCOPE] = "scope",
		[WHY_FOREVER] = "NULL chan",
		[WHY_BUBBLE] = "bubble",
		[WHY_READ] = "read",
		[WHY_WRITE] = "write",
		[WHY_ACCEPT] = "accept",
		[WHY_CONNECT] = "connect",
		[WHY_RESOLVER] = "resolver",
		[WHY_OUTSIDE] = "select outside its bubble",
	};

	return why < sizeof text / sizeof text[0] && text[why] ? text[why] : "waits";
}

/* "chan receive 0x12", "runnable". */
static void say_state(struct dump *d, const struct sight *s, bool object)
{
	if (s->state == G_WAITING)
		say(d, "%s", gort__reason(s->why));
	else
		say(d, "%s", s->state == G_RUNNING ? "running" : "runnable");
	if (s->cases)
		say(d, " of %u", (uint64_t)s->cases);
	if (s->object && object)
		say(d, " 0x%x", (uint64_t)s->object);
	if (s->unstarted)
		say(d, ", not started");
	if (s->note)
		say(d, ", %s", s->note);
}

static void say_body(struct dump *d, const struct sight *s)
{
	say_trace(d, &s->trace);
	if (s->unstarted) {
		say(d, "    ");
		say_place(d, (uintptr_t)s->fn, false);
	}
	if (s->spawned_at) {
		say(d, "  created by ");
		say_place(d, s->spawned_at, true);
	}
	say(d, "\n");
}

static void say_label(struct dump *d, const struct sight *s)
{
	say(d, s->name[0] ? "%u (%s)" : "%u", s->id, s->name);
}

static void say_one(struct dump *d, const struct sight *s)
{
	say(d, "goroutine ");
	say_label(d, s);
	say(d, " [");
	say_state(d, s, true);
	if (s->state == G_WAITING) {
		say(d, ", ");
		say_age(d, age(d, s));
	}
	say(d, "]:\n");
	say_body(d, s);
}

/* ---- looking --------------------------------------------------------------------------------- */

typedef uintptr_t __attribute__((may_alias)) any_word;

racy static void copy_words(void *to, uintptr_t from, size_t size)
{
	for (size_t i = 0; i < size / sizeof(any_word); i++)
		((any_word *)to)[i] = ((const volatile any_word *)from)[i];
}

racy static void read_g(struct sight *s, const struct g *g, char *low)
{
	bool named = g->named;

	s->g = g;
	s->low = (uintptr_t)low;
	s->sp = (uintptr_t)g->sp;
	s->id = g->id;
	s->state = load_acquire(&g->state);
	s->why = load_relaxed(&g->why);
	s->since = load_relaxed(&g->since);
	s->fn = g->fn;
	s->spawned_at = (uintptr_t)g->spawned_at;
	s->waiting = (uintptr_t)g->waiting;
	s->cases = g->waiting_count;
	for (uint32_t i = 0; i < NAME_SIZE; i++)
		s->name[i] = named && i < NAME_SIZE - 1 ? ((const volatile char *)g->name)[i] : 0;
	s->object = 0;
	s->note = NULL;
	s->unstarted = false;
	s->trace.count = 0;
	s->trace.whole = false;
}

/* Lies it on the stack, aligned? */
static bool on_stack(const struct sight *s, uintptr_t at, size_t size)
{
	uintptr_t high = (uintptr_t)s->g;

	return at >= s->low && at < high && high - at >= size && at % sizeof at == 0;
}

/* What it waits on, by where its node is queued. */
static void find_object(struct sight *s)
{
	struct waiter w;

	if (s->state != G_WAITING || s->why != WHY_SELECT)
		s->cases = 0;
	if (s->state != G_WAITING || s->cases || !on_stack(s, s->waiting, sizeof w))
		return;
	copy_words(&w, s->waiting, sizeof w);
	switch (s->why) {
	case WHY_MUTEX:
	case WHY_RLOCK:
	case WHY_WLOCK:
	case WHY_COND:
	case WHY_SEM:
	case WHY_READ:
	case WHY_WRITE:
	case WHY_ACCEPT:
	case WHY_CONNECT:
		s->object = (uintptr_t)w.elem;
		break;
	case WHY_SEND: /* what has a lock of its own begins with it */
	case WHY_RECV:
	case WHY_FLIGHT:
	case WHY_SCOPE:
		s->object = (uintptr_t)w.lock;
		break;
	case WHY_WAITGROUP:
		s->object = (uintptr_t)w.queue - offsetof(gort_waitgroup, wait_);
		break;
	case WHY_JOIN:
		s->object = (uintptr_t)w.queue - offsetof(struct gort_task, joiners);
		break;
	default:
		break;
	}
}

static void trace_add(struct trace *t, uintptr_t pc, bool called)
{
	uint32_t i = t->count < TOP ? t->count : TOP + (t->count - TOP) % BOTTOM;

	t->count++;
	t->pc[i] = pc;
	t->called = (t->called & ~(UINT64_C(1) << i)) | (uint64_t)called << i;
}

/* The goroutine's first frames are ours, and not shown: gort__context_start, and gort__g_entry, which
 * that calls. So each frame is added when the next one is known. */
static void walk(struct unwind *u, struct trace *t)
{
	bool more = true;

	t->count = 0;
	for (uint32_t i = 0; more && !t->whole && i < STEPS; i++) {
		uintptr_t pc = u->at->pc;
		bool called = u->called;

		more = gort__unwind(u);
		t->whole = more && u->at->pc - (uintptr_t)gort__context_resume < 32;
		if (!t->whole)
			trace_add(t, pc, called);
	}
}

/* Named gort_x, or gort__x if inner. */
static bool is_ours(struct dump *d, const struct trace *t, uint32_t i, bool inner)
{
	const struct symbol *s = gort__symbol(&d->images, t->pc[i] - (t->called >> i & 1));

	return s->name && strncmp(s->name, "gort_", 5) == 0 && (s->name[5] == '_') == inner;
}

/* A wait is shown from the public call on: how that goes on inside depends on chance. Its last call
 * may have taken its place. */
static void hide_inner(struct dump *d, struct trace *t)
{
	uint32_t kept = t->count < TOP ? t->count : TOP, n = 0;

	while (n < kept && !is_ours(d, t, n, false))
		n++;
	if (n == kept)
		for (n = 0; n < kept && is_ours(d, t, n, true);)
			n++;
	if (n == 0 || n == kept || t->count > TOP)
		return;
	t->count -= n;
	t->called >>= n;
	memmove(t->pc, t->pc + n, t->count * sizeof t->pc[0]);
}

static struct unwind unwind_of(struct dump *d, const struct sight *s, struct os_context *at)
{
	return (struct unwind){ .images = &d->images,
				.at = at,
				.copied_at = at->reg[ARCH_REG_SP],
				.spans = { { s->low, (uintptr_t)s->g } } };
}

static void trace_parked(struct dump *d, struct sight *s)
{
	struct os_context *at = &d->sample;
	struct arch_frame frame;
	struct unwind u;

	if (!on_stack(s, s->sp, sizeof frame))
		return;
	copy_words(&frame, s->sp, sizeof frame);
	memset(at->reg, 0, sizeof at->reg);
	arch_regs_saved(at, &frame, s->sp);
	at->copied = 0;
	s->unstarted = at->pc == (uintptr_t)gort__context_resume;
	if (s->unstarted)
		return; /* if it waits, it is on its way there: see is_still */
	u = unwind_of(d, s, at);
	u.called = true;
	walk(&u, &s->trace);
	hide_inner(d, &s->trace);
}

static void trace_self(struct dump *d, struct sight *s)
{
	struct unwind u = unwind_of(d, s, d->self);

	os_altstack_bounds(&u.spans[1].low, &u.spans[1].high);
	walk(&u, &s->trace);
}

/* Whoever runs g, as it seems. Ms are put into the list by a release, and stay (1). */
racy static const struct m *runner(const struct g *g, int32_t *tid, struct span *altstack)
{
	const struct m *m = load_acquire(&sched.all_m);

	while (m && load_relaxed(&m->g) != g)
		m = m->all_next;
	*tid = m ? load_relaxed(&m->tid) : 0;
	if (m && m->altstack.memory) {
		altstack->low = (uintptr_t)m->altstack.memory + os_page_size();
		altstack->high = (uintptr_t)m->altstack.memory + m->altstack.size;
	}
	return m;
}

racy static bool runs(const struct m *m, const struct g *g)
{
	return load_relaxed(&m->g) == g;
}

static void trace_running(struct dump *d, struct sight *s)
{
	struct span altstack = { 0 };
	int32_t tid;
	const struct m *m = runner(s->g, &tid, &altstack);
	int64_t begin = os_now(), wait = d->budget < ANSWER ? d->budget : ANSWER;
	struct os_context *at = &d->sample;
	struct unwind u;

	at->low = s->low;
	at->high = (uintptr_t)s->g;
	if (!tid)
		return;
	if (!os_thread_sample(tid, at, wait)) {
		s->note = "does not answer";
		d->budget -= os_now() - begin;
		return;
	}
	if (!runs(m, s->g) && !on_stack(s, at->reg[ARCH_REG_SP], 1)) {
		s->note = "no more";
		return;
	}
	u = unwind_of(d, s, at);
	u.spans[1] = altstack;
	walk(&u, &s->trace);
}

racy static bool is_still(const struct sight *s)
{
	return !(s->unstarted && s->state == G_WAITING) && load_acquire(&s->g->state) == s->state &&
		load_relaxed(&s->g->why) == s->why && s->g->id == s->id;
}

/* As it is; false: it is gone. */
static bool look(struct dump *d, const struct g *g, char *low, struct sight *s)
{
	for (int i = 0; i < TRIES; i++) {
		read_g(s, g, low);
		if (s->state == G_FREE || s->state >= G_DEAD)
			return false;
		find_object(s);
		if (s->state != G_RUNNING)
			trace_parked(d, s);
		else if (d->m && runs(d->m, g))
			trace_self(d, s);
		else
			trace_running(d, s);
		if (is_still(s))
			break; /* 2 */
	}
	return true;
}

/* ---- many ------------------------------------------------------------------------------------ */

static uint64_t mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
	return hash ^ hash >> 32;
}

static uint64_t hash_of(const struct sight *s)
{
	const struct trace *t = &s->trace;
	uint64_t hash = mix(s->state, s->why);

	hash = mix(hash, s->spawned_at);
	hash = mix(hash, t->count);
	for (uint32_t i = 0; i < t->count && i < TOP + BOTTOM; i++)
		hash = mix(hash, t->pc[i]);
	if (s->unstarted)
		hash = mix(hash, (uintptr_t)s->fn);
	return hash | 1;
}

static void merge(struct dump *d, const struct sight *s)
{
	uint64_t hash = hash_of(s), now = age(d, s);
	struct entry *e;
	uint32_t i = 0;

	do {
		e = &d->table[(hash + i) % ENTRIES];
	} while (e->hash && e->hash != hash && ++i < ENTRIES / 8);
	if (e->hash && e->hash != hash) {
		d->others++;
		return;
	}
	if (e->hash == 0)
		*e = (struct entry){
			.hash = hash, .first = *s, .oldest = now, .newest = now, .same_object = true
		};
	e->count++;
	e->oldest = now > e->oldest ? now : e->oldest;
	e->newest = now < e->newest ? now : e->newest;
	e->same_object &= e->first.object == s->object;
}

static void say_entry(struct dump *d, const struct entry *e)
{
	const struct sight *s = &e->first;

	if (e->count == 1) {
		say_one(d, s);
		return;
	}
	say(d, "%u goroutines, one is ", e->count);
	say_label(d, s);
	say(d, " [");
	say_state(d, s, e->same_object);
	if (s->state == G_WAITING) {
		say(d, ", ");
		say_age(d, e->newest);
		say(d, " to ");
		say_age(d, e->oldest);
	}
	say(d, "]:\n");
	say_body(d, s);
}

/* The most frequent first. */
static void say_table(struct dump *d)
{
	struct entry *most;

	do {
		most = NULL;
		for (struct entry *e = d->table; e < d->table + ENTRIES; e++)
			if (e->count && (!most || e->count > most->count))
				most = e;
		if (most)
			say_entry(d, most);
		if (most)
			most->count = 0;
	} while (most && d->err == 0);
	if (d->others)
		say(d, "%u goroutines with more stacks than fit here\n\n", d->others);
}

/* ---- all ------------------------------------------------------------------------------------- */

racy static void count(void *arg, struct g *g, char *low)
{
	struct dump *d = arg;
	uint32_t state = load_relaxed(&g->state);

	(void)low;
	if (state <= G_DEAD)
		d->states[state]++;
}

static void tell(void *arg, struct g *g, char *low)
{
	struct dump *d = arg;

	if (d->err || !look(d, g, low, &d->sight))
		return;
	if (d->summary)
		merge(d, &d->sight);
	else
		say_one(d, &d->sight);
}

static void tell_all(struct dump *d)
{
	uint64_t n;

	gort__stacks_peek(count, d);
	n = d->states[G_RUNNABLE] + d->states[G_RUNNING] + d->states[G_WAITING];
	say(d, "%u goroutines: %u running, %u runnable, %u waiting; GOMAXPROCS %u\n\n", n,
	    d->states[G_RUNNING], d->states[G_RUNNABLE], d->states[G_WAITING],
	    (uint64_t)load_relaxed(&sched.procs));
	if (n > DETAILED)
		d->table = os_map(ENTRIES * sizeof *d->table);
	d->summary = d->table != NULL;
	gort__stacks_peek(tell, d);
	if (d->summary) {
		say_table(d);
		os_unmap(d->table, ENTRIES * sizeof *d->table);
	}
}

static struct dump *begin(int fd)
{
	struct dump *d = os_map(sizeof *d);

	if (!d)
		return NULL;
	d->fd = fd;
	d->now = (uint32_t)(os_now() / COARSE_TICK);
	d->budget = ANSWERS;
	d->m = m_self();
	d->self = &d->here;
	gort__images_open(&d->images);
	return d;
}

static int end(struct dump *d)
{
	int err;

	flush(d);
	err = d->err;
	gort__images_close(&d->images);
	os_unmap(d, sizeof *d);
	return err;
}

/* No call at its end may take its frame away: the caller's is found through it. */
GORT_API noinline int gort_dump(int fd)
{
	struct dump *d;
	int err = -ENOMEM;

	if (!peek_begin())
		return -ESRCH;
	d = begin(fd);
	if (d) {
		arch_regs_here(&d->here);
		tell_all(d);
		err = end(d);
	}
	peek_end();
	return err;
}

void gort__dump_quit(const struct os_context *at)
{
	struct dump *d;

	if (!peek_begin())
		return;
	d = begin(2);
	if (d) {
		memcpy(&d->here, at, offsetof(struct os_context, stack));
		tell_all(d);
		end(d);
	}
	peek_end();
}

/* 5 */
static bool first_death(void)
{
	static uint32_t dying;

	return swap_acq_rel(&dying, 1) == 0;
}

static void tell_self(struct dump *d, bool public)
{
	struct g *g = d->m->g;

	read_g(&d->sight, g, g->low);
	find_object(&d->sight);
	trace_self(d, &d->sight);
	if (public)
		hide_inner(d, &d->sight.trace);
	say_one(d, &d->sight);
	end(d);
	fence_compiler(); /* no call at the end: see gort_dump */
}

void gort__dump_dying(void)
{
	struct m *m = m_self();
	struct dump *d;

	if (!m || !m->g || !first_death() || !(d = begin(2)))
		return;
	if (os_fault_context(&d->here))
		tell_self(d, false);
	else
		end(d);
}

/* An overflow in here would hide what has been said. */
static bool has_room(const struct g *g)
{
	uintptr_t sp = (uintptr_t)__builtin_frame_address(0);

	return sp - (uintptr_t)g->low >= ROOM;
}

noinline void gort__dump_here(bool public)
{
	struct m *m = m_self();
	struct dump *d;

	if (!m || !m->g || !has_room(m->g) || !(d = begin(2)))
		return;
	arch_regs_here(&d->here);
	tell_self(d, public);
	fence_compiler(); /* no call at the end: see gort_dump */
}

noinline void gort__dump_fatal(void)
{
	if (first_death())
		gort__dump_here(false);
	fence_compiler();
}
