/*
 * switch.c - arch/: nothing is lost from one stack to another, and whoever looks at a stack in the
 * middle of it (a profiler, gdb, C++) can read it. arch_<processor>.S fills the registers.
 *
 * What is processor's own (which registers, which control bits) stands as constants there.
 */
#include "harness.h"

#include "arch/arch.h"
#include "base/atomic.h"
#include "fiber.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unwind.h>

/* ---- arch_<processor>.S */
struct test_registers {
	uint64_t fp;
	uint64_t r[19];
};

typedef void (*any_fn)(void);

struct test_entry_arg {
	void *sp;
	void (*then)(void *arg);
};

void test_call(const struct test_registers *in, struct test_registers *out, void *const call[5]);
void test_entry(void *arg);
uint64_t test_fp_get(void);
void test_fp_set(uint64_t fp);
void test_fp_raise(void);
void test_fp_wait(void);
int test_trap(int on);
extern char test_call_return[];
extern const uint64_t test_count, test_dwarf[], test_dwarf_count;
extern const uint64_t test_fp_base, test_fp_bits, test_fp_rounding, test_fp_sticky, test_fp_unmask;
extern const uint64_t test_entry_bias;

extern char gort__context_resume[];

/* ---- contexts */
#define STACK_SIZE ((size_t)256 * 1024)
#define VALUE(fn) ((void *)(uintptr_t)(fn))

struct context {
	void *sp;
	struct fiber fiber;
	char *stack; /* NULL: a thread's own */
	void (*body)(struct context *me);
	struct context *other;    /* whom to switch to */
	struct test_registers in; /* what test_call loads now */
	uint64_t random;
	uint64_t fp_bits;
	int64_t rounds;
	int64_t moves; /* between threads */
};

/* What may be flipped of the control words. Valgrind keeps nothing but the rounding. */
static uint64_t fp_bits(void)
{
	uint64_t before = test_fp_get(), flipped = test_fp_base ^ test_fp_bits;
	test_fp_set(flipped);
	bool kept = test_fp_get() == flipped;
	test_fp_set(before);
	return kept ? test_fp_bits : test_fp_rounding;
}

static uint64_t context_random(struct context *c)
{
	c->random ^= c->random << 13;
	c->random ^= c->random >> 7;
	c->random ^= c->random << 17;
	return c->random;
}

static void context_adopt(struct context *c)
{
	*c = (struct context){ .random = 88172645463325252u, .fp_bits = fp_bits() };
	fiber_adopt_thread(&c->fiber);
}

static void context_run(void *arg)
{
	struct context *me = arg;
	fiber_arrive(&me->fiber);
	me->body(me);
	fiber_leave(&me->fiber, &me->other->fiber, true);
	gort_gogo(me->other->sp);
}

static void context_open(struct context *c, void (*body)(struct context *), struct context *other)
{
	static uint64_t seed = 1;
	*c = (struct context){ .body = body, .other = other, .fp_bits = fp_bits() };
	c->random = ++seed * 0x9e3779b97f4a7c15u;
	c->stack = malloc(STACK_SIZE);
	CHECK(c->stack != NULL);
	CHECK(fiber_create(&c->fiber, c->stack, STACK_SIZE));
	c->sp = arch_context_make(c->stack + STACK_SIZE, context_run, c);
}

static void context_close(struct context *c)
{
	fiber_destroy(&c->fiber);
	fiber_forget(&c->fiber);
	free(c->stack);
}

static bool context_has(const struct context *c, uintptr_t sp)
{
	return c->stack != NULL && sp - (uintptr_t)c->stack < STACK_SIZE;
}

static noinline void context_switch(struct context *from, struct context *to)
{
	fiber_leave(&from->fiber, &to->fiber, false);
	gort_switch(&from->sp, to->sp);
	fiber_arrive(&from->fiber);
}

/* Random registers, and control words that differ from the default in the bits of flip. */
static void registers_fill(struct context *c, uint64_t flip)
{
	c->in.fp = test_fp_base ^ (context_random(c) & flip);
	for (uint64_t i = 0; i < test_count; i++)
		c->in.r[i] = context_random(c);
}

/* Every register loaded, switch, every register compared when we are back. */
static noinline void context_switch_filled(struct context *from, struct context *to)
{
	struct test_registers out;
	void *const call[5] = { VALUE(gort_switch), &from->sp, to->sp };
	registers_fill(from, from->fp_bits);
	fiber_leave(&from->fiber, &to->fiber, false);
	test_call(&from->in, &out, call);
	fiber_arrive(&from->fiber);
	CHECK_EQ(out.fp & ~test_fp_sticky, from->in.fp & ~test_fp_sticky);
	for (uint64_t i = 0; i < test_count; i++)
		CHECK_EQ(out.r[i], from->in.r[i]);
}

/* The same for a call that gets back here by itself. */
static noinline void call_filled(struct context *me, void *const call[5])
{
	struct test_registers out;
	registers_fill(me, test_fp_rounding);
	test_call(&me->in, &out, call);
	CHECK_EQ(out.fp, me->in.fp);
	for (uint64_t i = 0; i < test_count; i++)
		CHECK_EQ(out.r[i], me->in.r[i]);
}

/* ---- registers */
static void switch_rounds(struct context *me)
{
	while (me->rounds-- > 0)
		context_switch_filled(me, me->other);
}

TEST_PLAIN(registers_survive)
{
	struct context main, c;
	int64_t n = SCALE(20000);
	context_adopt(&main);
	context_open(&c, switch_rounds, &main);
	c.rounds = n;
	for (int64_t i = 0; i <= n; i++)
		context_switch_filled(&main, &c);
	CHECK_EQ(c.rounds, -1);
	context_close(&c);
}

/* A thread's own word: the context that it runs under. */
struct mover {
	struct context home;
	pthread_t thread;
	int64_t done; /* contexts that ended */
};

static struct {
	pthread_mutex_t lock;
	struct context *ready[8]; /* under lock */
	int count;
	int alive;
} moves = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* One function before and after: a compiler that kept arch_self's address, or its value, would
 * see the old thread's. */
static noinline void move_once(struct context *me)
{
	struct mover *before = arch_self();
	CHECK(&before->home == me->other);
	context_switch_filled(me, me->other);
	struct mover *after = arch_self();
	CHECK(&after->home == me->other);
	if (after != before)
		me->moves++;
}

static void move_rounds(struct context *me)
{
	while (me->rounds-- > 0)
		move_once(me);
}

/* Under the lock: one that this thread did not run last, so that every step is a move. */
static struct context *mover_take(struct mover *m)
{
	for (int i = 0; i < moves.count; i++) {
		struct context *c = moves.ready[i];
		if (c->other == &m->home)
			continue;
		moves.count--;
		memmove(&moves.ready[i], &moves.ready[i + 1],
			(size_t)(moves.count - i) * sizeof moves.ready[0]);
		return c;
	}
	return NULL;
}

static void *mover_main(void *arg)
{
	struct mover *m = arg;
	CHECK(arch_self() == NULL);
	arch_self_set(m);
	CHECK(arch_self() == m);
	context_adopt(&m->home);
	pthread_mutex_lock(&moves.lock);
	while (moves.alive > 0) {
		struct context *c = mover_take(m);
		pthread_mutex_unlock(&moves.lock);
		if (c == NULL) {
			sched_yield();
			pthread_mutex_lock(&moves.lock);
			continue;
		}
		c->other = &m->home;
		context_switch_filled(&m->home, c);
		pthread_mutex_lock(&moves.lock);
		if (c->rounds < 0)
			moves.alive--;
		else
			moves.ready[moves.count++] = c;
	}
	pthread_mutex_unlock(&moves.lock);
	CHECK(arch_self() == m);
	return NULL;
}

TEST_PLAIN(registers_survive_on_another_thread)
{
	struct context c[5];
	static struct mover m[3];
	int64_t moved = 0, rounds = SCALE(2000);
	arch_self_set(&moved);
	for (int i = 0; i < 5; i++) {
		context_open(&c[i], move_rounds, NULL);
		c[i].rounds = rounds;
		moves.ready[i] = &c[i];
	}
	moves.count = moves.alive = 5;
	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_create(&m[i].thread, NULL, mover_main, &m[i]), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_join(m[i].thread, NULL), 0);
	for (int i = 0; i < 5; i++) {
		moved += c[i].moves;
		context_close(&c[i]);
	}
	CHECK_EQ(moved, 5 * rounds);
	CHECK(arch_self() == &moved);
}

/* A context that began on one thread goes on after that thread has ended. */
static void *resume_main(void *arg)
{
	struct context *c = arg;
	struct mover m;
	context_adopt(&m.home);
	arch_self_set(&m);
	c->other = &m.home;
	context_switch_filled(&m.home, c);
	return NULL;
}

TEST_PLAIN(context_outlives_its_thread)
{
	struct context c;
	context_open(&c, move_rounds, NULL);
	c.rounds = 50;
	for (int i = 0; i <= 50; i++) {
		pthread_t t;
		CHECK_EQ(pthread_create(&t, NULL, resume_main, &c), 0);
		CHECK_EQ(pthread_join(t, NULL), 0);
	}
	CHECK_EQ(c.rounds, -1);
	context_close(&c);
}

/* ---- control words */
static void note_fp(struct context *me)
{
	me->in.fp = test_fp_get();
}

TEST_PLAIN(context_starts_with_the_makers_control_words)
{
	struct context main, c;
	context_adopt(&main);
	test_fp_set((test_fp_base ^ test_fp_rounding) | test_fp_sticky);
	context_open(&c, note_fp, &main);
	test_fp_set(test_fp_base);
	context_switch(&main, &c);
	CHECK_EQ(c.in.fp & ~test_fp_sticky, test_fp_base ^ test_fp_rounding);
	CHECK_EQ(test_fp_get() & ~test_fp_sticky, test_fp_base);
	context_close(&c);
}

/* Each counts on its own rounding, changed in C, not only across one switch. */
static void fp_rounds(struct context *me)
{
	uint64_t mine = test_fp_base ^ (me->fp_bits & test_fp_rounding);
	test_fp_set(mine);
	while (me->rounds-- > 0) {
		context_switch(me, me->other);
		CHECK_EQ(test_fp_get() & ~test_fp_sticky, mine);
	}
}

TEST_PLAIN(control_words_belong_to_the_context)
{
	struct context main, c;
	context_adopt(&main);
	context_open(&c, fp_rounds, &main);
	c.rounds = 10;
	test_fp_set(test_fp_base);
	for (int i = 0; i <= 10; i++) {
		context_switch(&main, &c);
		CHECK_EQ(test_fp_get() & ~test_fp_sticky, test_fp_base);
	}
	context_close(&c);
}

static void unmask_then_wait(struct context *me)
{
	test_fp_set(test_fp_base ^ test_fp_unmask);
	context_switch(me, me->other);
	test_fp_wait();
	test_fp_set(test_fp_base);
}

TEST_PLAIN(masked_exception_does_not_trap_another_context)
{
	struct context main, c;
	context_adopt(&main);
	context_open(&c, unmask_then_wait, &main);
	context_switch(&main, &c);
	test_fp_raise();
	context_switch(&main, &c);
	context_close(&c);
}

/* ---- alignment */
struct aligned {
	struct test_entry_arg entry; /* first: what test_entry is handed */
	struct context *me;
};

static struct context *aligned_main; /* whom they come back to */

/* ASan would clear the redzones of a stack that it has not been told of. */
__attribute__((no_sanitize_address)) static void aligned_gogo(void *arg)
{
	(void)arg;
	gort_gogo(aligned_main->sp);
}

static void aligned_return(void *arg)
{
	(void)arg;
}

static void aligned_check(const struct aligned *a, uintptr_t top)
{
	uintptr_t sp = (uintptr_t)a->entry.sp;
	CHECK_EQ(sp % 16, test_entry_bias);
	CHECK(sp <= top && sp >= top - 256);
}

/* No fiber calls here: what runs on these stacks is one function without locals. */
TEST_PLAIN(stack_pointer_is_aligned_at_entry)
{
	struct context main = { 0 };
	struct aligned a = { .me = &main };
	char *stack = malloc(STACK_SIZE);
	CHECK(stack != NULL);
	aligned_main = &main;
	for (size_t i = 0; i < 32; i++) {
		char *top = stack + STACK_SIZE - i;
		a.entry.then = aligned_gogo;
		gort_switch(&main.sp, arch_context_make(top, test_entry, &a));
		aligned_check(&a, (uintptr_t)top);
		gort_mcall(&main.sp, top, test_entry, &a);
		aligned_check(&a, (uintptr_t)top);
		gort_enter(&main.sp, test_entry, &a);
		aligned_check(&a, (uintptr_t)main.sp);
		a.entry.then = aligned_return;
		gort_systemstack(top, test_entry, &a);
		aligned_check(&a, (uintptr_t)top);
	}
	free(stack);
}

/* ---- unwinding */
struct trace {
	int depth;
	int found; /* frames of test_call, their registers right */
	_Unwind_Reason_Code code;
	uintptr_t last;   /* where the outermost frame stands */
	uintptr_t wanted; /* a function, by its start */
	bool wanted_found;
	bool wrong;               /* a frame of test_call with wrong registers */
	struct context *known[2]; /* whose registers those are, by the stack; the last: elsewhere */
};

static _Unwind_Reason_Code trace_frame(struct _Unwind_Context *frame, void *arg)
{
	struct trace *t = arg;
	uintptr_t ip = _Unwind_GetIP(frame);
	if (ip != 0) /* libgcc shows one frame more, at 0 */
		t->last = ip;
	if (++t->depth > 100)
		return _URC_NORMAL_STOP;
	if (t->wanted != 0 && (uintptr_t)_Unwind_FindEnclosingFunction((void *)ip) == t->wanted)
		t->wanted_found = true;
	if (ip != (uintptr_t)test_call_return)
		return _URC_NO_REASON;
	struct context *c = t->known[context_has(t->known[0], _Unwind_GetCFA(frame)) ? 0 : 1];
	for (uint64_t i = 0; i < test_dwarf_count; i++)
		if (_Unwind_GetGR(frame, (int)test_dwarf[i]) != c->in.r[i])
			t->wrong = true;
	t->found++;
	return _URC_NO_REASON;
}

static noinline void trace_take(struct trace *t)
{
	t->code = _Unwind_Backtrace(trace_frame, t);
	fence_compiler(); /* no tail call: the frames above us are part of what is looked at */
}

static bool trace_ends_at(const struct trace *t, const void *start)
{
	return t->code == _URC_END_OF_STACK && t->last - (uintptr_t)start < 256;
}

static struct trace backtrace_result;

/* Where tests/gdb_backtrace.sh stops. */
noinline void switch_backtrace_here(int depth)
{
	if (depth > 0)
		switch_backtrace_here(depth - 1);
	else
		trace_take(&backtrace_result);
	fence_compiler();
}

static void backtrace_body(struct context *me)
{
	(void)me;
	switch_backtrace_here(3);
	fence_compiler();
}

TEST_PLAIN(backtrace_ends_at_the_entry)
{
	struct context main, c;
	context_adopt(&main);
	context_open(&c, backtrace_body, &main);
	backtrace_result.wanted = (uintptr_t)backtrace_body;
	context_switch(&main, &c);
	CHECK(backtrace_result.wanted_found);
	CHECK(trace_ends_at(&backtrace_result, gort__context_resume));
	context_close(&c);
}

/* ---- mcall, enter, gogo, systemstack: a thread's scheduler and one goroutine, in miniature */
struct mini {
	struct context g0, g;
	struct trace enter, mcall, system;
	void *arg_seen[3];
	int steps;
};

static struct mini mini;

static noinline void mini_system(void *arg)
{
	mini.arg_seen[2] = arg;
	mini.steps++;
	char here;
	CHECK((uintptr_t)&here < (uintptr_t)mini.g0.sp);
	CHECK(!context_has(&mini.g, (uintptr_t)__builtin_frame_address(0)));
	trace_take(&mini.system);
}

static noinline void mini_mcall(void *arg)
{
	fiber_arrive(&mini.g0.fiber);
	mini.arg_seen[1] = arg;
	mini.steps++;
	CHECK(!context_has(&mini.g, (uintptr_t)__builtin_frame_address(0)));
	CHECK((uintptr_t)__builtin_frame_address(0) < (uintptr_t)mini.g0.sp);
	CHECK(context_has(&mini.g, (uintptr_t)mini.g.sp));
	trace_take(&mini.mcall);
	fiber_leave(&mini.g0.fiber, &mini.g.fiber, false); /* g0 comes back */
	gort_gogo(mini.g.sp);
}

/* systemstack is a call and a return: the sanitizers follow it as one, and are told nothing. */
static noinline void mini_body(struct context *me)
{
	void *const system[5] = { VALUE(gort_systemstack), mini.g0.sp, VALUE(mini_system), me };
	void *const mcall[5] = { VALUE(gort_mcall), &me->sp, mini.g0.sp, VALUE(mini_mcall), me };
	call_filled(me, system);
	fiber_leave(&me->fiber, &mini.g0.fiber, false);
	call_filled(me, mcall);
	fiber_arrive(&me->fiber);
	call_filled(me, system);
	mini.steps++;
}

static noinline void mini_enter(void *arg)
{
	mini.arg_seen[0] = arg;
	mini.steps++;
	CHECK((uintptr_t)__builtin_frame_address(0) < (uintptr_t)mini.g0.sp);
	trace_take(&mini.enter);
	fiber_leave(&mini.g0.fiber, &mini.g.fiber, false); /* g0 comes back */
	gort_gogo(mini.g.sp);
}

static noinline void mini_run(void)
{
	void *const enter[5] = { VALUE(gort_enter), &mini.g0.sp, VALUE(mini_enter), &mini.steps };
	context_adopt(&mini.g0);
	context_open(&mini.g, mini_body, &mini.g0);
	mini.enter = mini.mcall = mini.system = (struct trace){ .known = { &mini.g, &mini.g0 } };
	mini.enter.wanted = (uintptr_t)mini_run;
	mini.mcall.wanted = (uintptr_t)mini_body;
	mini.system.wanted = (uintptr_t)mini_body;
	mini.steps = 0;
	call_filled(&mini.g0, enter);
	fiber_arrive(&mini.g0.fiber);
	context_close(&mini.g);
}

TEST_PLAIN(mcall_enter_gogo_systemstack)
{
	for (int64_t i = 0; i < SCALE(200); i++) {
		mini_run();
		CHECK_EQ(mini.steps, 5);
		CHECK(mini.arg_seen[0] == &mini.steps);
		CHECK(mini.arg_seen[1] == &mini.g);
		CHECK(mini.arg_seen[2] == &mini.g);
	}
}

TEST_PLAIN(backtraces_pass_through_enter_and_systemstack_and_end_at_mcall)
{
	mini_run();
	CHECK(mini.enter.wanted_found && !mini.enter.wrong && mini.enter.found == 1);
	CHECK_EQ(mini.enter.code, _URC_END_OF_STACK);
	CHECK(mini.system.wanted_found && !mini.system.wrong && mini.system.found == 2);
	CHECK(trace_ends_at(&mini.system, gort__context_resume));
	CHECK(!mini.mcall.wanted_found && mini.mcall.found == 0);
	CHECK(trace_ends_at(&mini.mcall, VALUE(gort_mcall)));
}

/* ---- profilers: unwinding from a signal in the middle */
static struct context *prof_known[2];
static int64_t prof_count, prof_wrong, prof_found; /* atomic */
static unsigned char prof_seen[1024];              /* instructions of switch.S that were hit */
static timer_t prof_timer;

/* Armed again by each signal's handler: however slow that is, the program goes on in between. */
static const struct itimerspec prof_soon = { .it_value = { 0, 30000 } };

static void prof_handler(int sig, siginfo_t *info, void *ucontext)
{
	(void)sig, (void)info, (void)ucontext;
	struct trace t = { .known = { prof_known[0], prof_known[1] } };
	trace_take(&t);
	(void)add_relaxed(&prof_count, 1);
	(void)add_relaxed(&prof_found, t.found);
	if (t.code != _URC_END_OF_STACK || t.wrong)
		(void)add_relaxed(&prof_wrong, 1);
}

static _Unwind_Reason_Code note_pc(struct _Unwind_Context *frame, void *arg)
{
	(void)arg;
	uintptr_t at = _Unwind_GetIP(frame) - (uintptr_t)gort_switch;
	if (at < (uintptr_t)gort__context_resume + 16 - (uintptr_t)gort_switch)
		prof_seen[at % sizeof prof_seen] = 1;
	return _URC_NO_REASON;
}

static void timer_handler(int sig, siginfo_t *info, void *ucontext)
{
	prof_handler(sig, info, ucontext);
	(void)timer_settime(prof_timer, 0, &prof_soon, NULL);
}

static void step_handler(int sig, siginfo_t *info, void *ucontext)
{
	prof_handler(sig, info, ucontext);
	(void)_Unwind_Backtrace(note_pc, NULL);
}

static void prof_install(int sig, void (*handler)(int, siginfo_t *, void *))
{
	struct trace warm = { .wanted = 0 };
	trace_take(&warm); /* the unwinder allocates on first use */
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART };
	sigemptyset(&sa.sa_mask);
	CHECK_EQ(sigaction(sig, &sa, NULL), 0);
}

/* Registers are compared where their values are known for the whole of test_call; the context's
 * own pattern is written before and compared after. */
TEST_PLAIN(signals_unwind_in_the_middle_of_switches)
{
	struct context main, c;
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGPROF };
	int64_t enough = sizeof(struct fiber) == 0 ? 100 : 0;
	context_adopt(&main);
	context_open(&c, switch_rounds, &main);
	c.rounds = INT64_MAX;
	prof_known[0] = &c;
	prof_known[1] = &main;
	prof_install(SIGPROF, timer_handler);
	/* Each function of libc's has been called before the first signal: unwinding out of the
	 * loader while it binds one is a gamble on the loader's CFI. */
	struct timespec start, now;
	clock_gettime(CLOCK_MONOTONIC, &start);
	CHECK_EQ(timer_create(CLOCK_MONOTONIC, &event, &prof_timer), 0);
	CHECK_EQ(timer_delete(prof_timer), 0);
	CHECK_EQ(timer_create(CLOCK_MONOTONIC, &event, &prof_timer), 0);
	CHECK_EQ(timer_settime(prof_timer, 0, &prof_soon, NULL), 0);
	do { /* ThreadSanitizer delivers few signals to a loop like this: the time bounds it */
		for (int i = 0; i < 1000; i++)
			context_switch_filled(&main, &c);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (load_relaxed(&prof_count) < SCALE(5000) &&
		 (now.tv_sec - start.tv_sec < 5 || load_relaxed(&prof_found) < enough));
	CHECK_EQ(timer_delete(prof_timer), 0);
	CHECK(load_relaxed(&prof_found) >= enough);
	CHECK_EQ(load_relaxed(&prof_wrong), 0);
	context_close(&c);
}

static void step_body(struct context *me)
{
	while (me->rounds-- > 0)
		context_switch_filled(me, me->other);
}

/* The same from every instruction there is, where the processor can step. Sanitizers change no
 * instruction of switch.S, and TSan's signals come late: plain builds only. */
TEST_PLAIN(every_instruction_can_be_unwound)
{
	if (sizeof(struct fiber) != 0)
		return;
	struct context main, c;
	context_adopt(&main);
	context_open(&c, step_body, &main);
	c.rounds = 8;
	prof_known[0] = &c;
	prof_known[1] = &main;
	prof_install(SIGTRAP, step_handler);
	if (!test_trap(1))
		return;
	for (int i = 0; i <= 8; i++)
		context_switch_filled(&main, &c);
	test_trap(0);
	context_close(&c);

	prof_known[0] = &mini.g;
	prof_known[1] = &mini.g0;
	test_trap(1);
	mini_run();
	test_trap(0);
	int seen = 0;
	for (size_t i = 0; i < sizeof prof_seen; i++)
		seen += prof_seen[i];
	CHECK(load_relaxed(&prof_found) > 0);
	CHECK(seen > 80); /* switch.S has 84 that a step can show */
	CHECK_EQ(load_relaxed(&prof_wrong), 0);
}
