/*
 * run.c - one schedule: what the seed decides, everything put back as it was, the scenario's
 * thread, the end.
 */
#include "arch/arch.h"
#include "engine.h"
#include "sanitize.h"

#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define START ((uint64_t)1000000000)

/* The linker's: all variables of gort and of the scenarios (cmake/sim.cmake). */
extern char __start_sim_data[], __stop_sim_data[], __start_sim_bss[], __stop_sim_bss[];
static char *data_at_start;
static uint64_t schedules; /* begun */

/* ---- what the seed decides ------------------------------------------------------------------- */

static unsigned some_faults(void)
{
	return sim_below(2) ? 0 : sim_below(FAULTS + 1);
}

static enum strategy some_strategy(void)
{
	unsigned n = sim_below(8);

	return n < 4 ? RANDOM : n < 7 ? PCT : DELAY;
}

/* Each is drawn whether it is needed or not: what is fixed by an option does not change the
 * rest. */
static void plan_by_seed(struct plan *p, const struct scenario *s)
{
	static const uint32_t stay[] = { 0, 0x80000000, 0xc0000000, 0xf0000000, 0xfc000000 };
	static const enum memory_mode modes[] = { SC, TSO, TSO, WEAK };
	enum strategy strategy = some_strategy();
	enum memory_mode memory = modes[sim_below(4)];
	unsigned faults = some_faults();
	bool asymmetric = sim_below(4) != 0;
	unsigned procs = 1 + sim_below(4);

	p->step_ns = (UINT64_C(1) << sim_below(10)) + sim_below(16);
	p->stay = stay[sim_below(5)];
	p->changes = sim_below(6);
	p->horizon = UINT64_C(64) << sim_below(10);
	p->leave_rate = 1u << (1 + sim_below(6));
	p->unguarded = sim_below(4) == 0;
	if (p->strategy == BY_SEED)
		p->strategy = strategy;
	if (p->memory == MEMORY_BY_SEED)
		p->memory = memory;
	if (p->faults == FAULTS_BY_SEED)
		p->faults = s->kind == SIM_FAILS ? 0 : faults;
	if (p->asymmetric < 0)
		p->asymmetric = asymmetric;
	if (!p->procs)
		p->procs = (int)procs;
	if (p->strategy == DFS) {
		p->faults = 0;
		p->step_ns = 1;
	}
}

const char *sim_plan_text(void)
{
	static char text[256];
	const struct plan *p = &sim.plan;
	size_t n = (size_t)snprintf(
		text, sizeof text,
		"strategy %s, memory %s, %s fences, %d procs, %llu ns a step, faults",
		strategy_names[p->strategy], memory_names[p->memory],
		p->asymmetric ? "asymmetric" : "full", p->procs, (unsigned long long)p->step_ns);

	for (unsigned i = 0; fault_names[i]; i++)
		if (p->faults >> i & 1)
			n += (size_t)snprintf(text + n, sizeof text - n, " %s", fault_names[i]);
	if (!p->faults)
		snprintf(text + n, sizeof text - n, " none");
	return text;
}

/* ---- the scenario's thread ------------------------------------------------------------------- */

int sim_procs(void)
{
	return sim.plan.procs;
}

/* From shorter than what a goroutine does between two waits to longer than the schedule. */
static int slice_us(void)
{
	static const int choice[] = { 20, 100, 1000, 10000 };

	return choice[sim.plan.seed / 8 % 4];
}

gort_options sim_options(void)
{
	return (gort_options){ .maxprocs = sim.plan.procs,
			       .stack_size = SIM_STACK_MIN,
			       .main_stack_size = 2 * SIM_STACK_MIN,
			       .max_threads = 20,
			       .preempt_slice_us = slice_us() };
}

static int main_goroutine(void *arg)
{
	(void)arg;
	sim.scenario->body();
	faults_over();
	return 0;
}

static void main_thread(void *arg)
{
	gort_options options = sim_options();

	(void)arg;
	if (sim.scenario->kind == SIM_RUN) {
		sim.result = gort_run(main_goroutine, NULL, &options);
		if (sim.result != 0 && !(sim.result == -11 /* EAGAIN */ && sim.refused))
			sim_fail("gort_run gives %d", sim.result);
	} else {
		sim.scenario->body();
		faults_over();
	}
	sim.finished = true;
}

/* ---- to and from the real thread's own stack ------------------------------------------------- */

static void *own_low, *own_fake;
static size_t own_size;

static void find_own_stack(void)
{
	pthread_attr_t attr;

	pthread_getattr_np(pthread_self(), &attr);
	pthread_attr_getstack(&attr, &own_low, &own_size);
	pthread_attr_destroy(&attr);
}

static void go_to(struct thread *t, void *sp)
{
	thread_leave_to(&own_fake, t);
	gort_switch(&sim.explorer_sp, sp);
	sanitize_arrive(own_fake);
}

void explorer_go(void)
{
	sanitize_leave(NULL, own_low, own_size);
	gort_gogo(sim.explorer_sp);
}

/* ---- the end of a schedule, good or bad ------------------------------------------------------ */

void sim_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(sim.text, sizeof sim.text, format, args);
	va_end(args);
	sim.failed = true;
	sim.on = false;
	explorer_go();
}

void sim_abandon(void)
{
	sim.on = false;
	explorer_go();
}

/* On the alternate stack. Leaving it by a switch is fine: the kernel looks at the stack pointer. */
static void on_crash(int signo, siginfo_t *info, void *context)
{
	char name[96];

	(void)context;
	if (!sim.explorer_sp)
		_Exit(2);
	if (!check_name((uintptr_t)info->si_addr, name, sizeof name) &&
	    !memory_name((uintptr_t)info->si_addr, name, sizeof name))
		snprintf(name, sizeof name, "%p", info->si_addr);
	sim_fail("signal %d at address %s", signo, name);
}

/* The one thing that real (processor) time decides: a loop in which there is no step is ended. */
static void on_alarm(int signo)
{
	static uint64_t last;
	uint64_t now = schedules * STEP_LIMIT + sim.steps;

	(void)signo;
	if (sim.on && now == last)
		sim_fail("a loop without any step: none for seconds");
	last = now;
}

static void catch_crashes(void)
{
	static char memory[64 << 10];
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };
	stack_t stack = { .ss_sp = memory, .ss_size = sizeof memory };
	struct sigaction sa = { .sa_sigaction = on_crash,
				.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

	struct sigaction alarm = { .sa_handler = on_alarm,
				   .sa_flags = SA_ONSTACK | SA_NODEFER | SA_RESTART };
	struct itimerval often = { { 4, 0 }, { 4, 0 } };

	sigaltstack(&stack, NULL);
	sigaction(SIGVTALRM, &alarm, NULL);
	setitimer(ITIMER_VIRTUAL, &often, NULL);
	for (unsigned i = 0; i < sizeof signals / sizeof signals[0]; i++)
		sigaction(signals[i], &sa, NULL);
}

/* AddressSanitizer calls it before it reports and ends the process. */
void __asan_on_error(void);
void __asan_on_error(void)
{
	printf("FAILED: %s under seed %llu, by AddressSanitizer; %s\n", sim.scenario->name,
	       (unsigned long long)sim.plan.seed, sim_plan_text());
	fflush(stdout);
}

static void check_end_entry(void *arg)
{
	const char *left;

	(void)arg;
	sanitize_arrive(NULL);
	left = check_end();
	if (left)
		sim_fail("at the end %s", left);
	explorer_go();
}

/* With steps done as they come, on a stack of its own, so that it can fail. */
static void check_after(void)
{
	size_t size;
	char *stack = memory_stack(MAX_THREADS - 1, &size);

	sim.on = false;
	sim_self = NULL;
	sim.self = &sim.threads[MAX_THREADS - 1];
	*sim.self = (struct thread){ .slot = MAX_THREADS - 1 };
	sim_slot = sim.self->slot;
	go_to(sim.self, arch_context_make(stack + size, check_end_entry, NULL));
}

/* ---- one schedule ---------------------------------------------------------------------------- */

static size_t data_size(void)
{
	return (size_t)(__stop_sim_data - __start_sim_data);
}

static size_t bss_size(void)
{
	return (size_t)(__stop_sim_bss - __start_sim_bss);
}

/* Registering scenarios has changed the data: so it is kept from here on. */
void sim_prepare(void)
{
	data_at_start = malloc(data_size() + bss_size());
	if (!data_at_start)
		abort();
	sanitize_copy(data_at_start, __start_sim_data, data_size());
	sanitize_copy(data_at_start + data_size(), __start_sim_bss, bss_size());
	find_own_stack();
	memory_prepare();
	catch_crashes();
}

static void put_back(void)
{
	sanitize_copy(__start_sim_data, data_at_start, data_size());
	sanitize_copy(__start_sim_bss, data_at_start + data_size(), bss_size());
	memset(&sim, 0, sizeof sim);
}

struct outcome sim_run(const struct scenario *s, const struct plan *options, uint64_t seed)
{
	schedules++;
	put_back();
	memory_begin();
	trace_begin();
	checks_begin();
	sim.scenario = s;
	sim.plan = *options;
	sim.plan.seed = sim.random[0] = seed;
	sim.random[1] = ~seed;
	plan_by_seed(&sim.plan, s);
	sim.strategy = sim.plan.strategy;
	sim.memory = sim.plan.memory;
	sim.faults = sim.plan.faults;
	sim.step_ns = sim.plan.step_ns;
	sim.now = START;
	gort__asymmetric = sim.plan.asymmetric;
	sim.slice_at = SLICE_STEPS;
	sim.leave_at = sim.memory == SC || sim.strategy == DFS ? NEVER : 1;
	sim.fault_at = sim.faults ? 1 : NEVER;
	sim.thaw_at = sim.signal_at = NEVER;
	strategy_begin();
	threads_begin();
	if (sim.strategy == DFS)
		dfs_begin();
	sim.self = thread_new(main_thread, NULL, "main");
	sim.on = true;
	go_to(sim.self, sim.self->sp);
	if (!sim.failed && sim.finished)
		check_after();
	sim.on = false;
	return (struct outcome){ sim.failed, sim.steps, sim.hash };
}
