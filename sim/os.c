/*
 * os.c - os/os.h on simulated threads, memory and time. See os.h for what is promised.
 *
 * Each call that waits, tells time, wakes, or starts and ends a thread is a scheduling point. Futex
 * calls and membarrier act on store buffers as the kernel's own locked steps would. Masks, names,
 * alternate stacks and fault handlers are only counted: nothing runs on them here.
 */
#include "engine.h"

#include <errno.h>
#include <string.h>

#undef errno

#define OS_POINT(op, text, address) \
	static const struct sim_site site = { __FILE__, __func__, text, __LINE__, op, 0, 4 }; \
	sim_point(&site, address)

void os_init(void)
{
}

/* ---- clock, futex ---------------------------------------------------------------------------- */

int64_t os_now(void)
{
	OS_POINT(SIM_OS, "os_now()", NULL);
	trace(&site, NULL, sim.now, sim.now);
	return (int64_t)sim.now;
}

int os_futex_wait(uint32_t *word, uint32_t expected, int64_t deadline)
{
	struct thread *t = sim.self;

	OS_POINT(SIM_WORD, "os_futex_wait", word);
	if (!sim.on)
		__builtin_trap(); /* what the engine asks for never waits */
	memory_check(word, &site);
	buffer_flush(t);
	trace(&site, word, *word, expected);
	if (*word != expected)
		return -EAGAIN;
	if (deadline != OS_FOREVER && deadline <= (int64_t)sim.now)
		return -ETIMEDOUT;
	t->state = WAITS;
	t->word = word;
	t->deadline = deadline;
	t->order = sim.waits++;
	sim.ready &= ~(1u << t->slot);
	thread_note_deadline(deadline);
	sim_wait();
	return t->result;
}

static struct thread *first_waiter(const uint32_t *word)
{
	struct thread *first = NULL;

	for (unsigned i = 0; i < MAX_THREADS; i++) {
		struct thread *t = &sim.threads[i];

		if (t->state == WAITS && t->word == word && (!first || t->order < first->order))
			first = t;
	}
	return first;
}

/* The word may be gone already: only its address counts. */
void os_futex_wake(uint32_t *word, int count)
{
	struct thread *t;
	uint64_t woken = 0;

	OS_POINT(SIM_WORD, "os_futex_wake", word);
	if (!sim.on)
		return;
	buffer_flush(sim.self);
	while (count-- > 0 && (t = first_waiter(word)) != NULL) {
		thread_ready(t, 0);
		woken++;
	}
	trace(&site, word, 0, woken);
}

void os_membarrier(void)
{
	OS_POINT(SIM_FENCE, "os_membarrier()", NULL);
	if (!sim.on)
		return;
	if (gort__asymmetric)
		buffer_flush_all();
	else
		buffer_flush(sim.self);
	trace(&site, NULL, 0, 0);
}

void os_yield_thread(void)
{
	if (!sim.on)
		return;
	strategy_paused(sim.self);
	sim.now += 20 * sim.step_ns;
	OS_POINT(SIM_PAUSE, "os_yield_thread()", NULL);
	trace(&site, NULL, 0, 0);
}

/* ---- threads --------------------------------------------------------------------------------- */

static bool refused(void)
{
	if (!(sim.faults & FAULT_THREADS) || sim.refused >= 3 || sim_below(4) != 0)
		return false;
	sim.refused++;
	return true;
}

int os_thread_start(os_thread *t, void (*fn)(void *), void *arg, size_t stack_size)
{
	struct thread *new;

	(void)stack_size;
	OS_POINT(SIM_OS, "os_thread_start", NULL);
	if (refused()) {
		trace(&site, NULL, 0, (uint64_t)-EAGAIN);
		return -EAGAIN;
	}
	buffer_flush(sim.self);
	new = thread_new(fn, arg, "thread");
	sim_progress();
	trace(&site, NULL, 0, (uint64_t) new->id);
	t->handle = (uintptr_t) new;
	return 0;
}

void os_thread_join(os_thread *handle)
{
	struct thread *t = (struct thread *)handle->handle, *self = sim.self;

	OS_POINT(SIM_OS, "os_thread_join", NULL);
	buffer_flush(self);
	trace(&site, NULL, 0, (uint64_t)t->id);
	if (t->joined || t->detached)
		sim_fail("thread T%d is joined twice, or after it was detached", t->id);
	if (t->state != ENDED) {
		self->state = JOINS;
		self->joins = t;
		sim.ready &= ~(1u << self->slot);
		sim_wait();
	}
	t->joined = true;
}

void os_thread_detach(os_thread *handle)
{
	struct thread *t = (struct thread *)handle->handle;

	OS_POINT(SIM_OS, "os_thread_detach", NULL);
	t->detached = true;
}

os_thread os_thread_self(void)
{
	return (os_thread){ (uintptr_t)sim.self };
}

void os_thread_name(const char *name)
{
	sim.self->name = name;
}

void os_thread_timer_slack(int64_t ns)
{
	(void)ns;
}

int32_t os_thread_id(void)
{
	return 1000 + sim.self->id;
}

/* All that are there. */
int os_threads(int most)
{
	int n = 0;

	(void)most;
	OS_POINT(SIM_OS, "os_threads", NULL);
	for (unsigned i = 0; i < MAX_THREADS; i++)
		n += sim.threads[i].state != UNUSED && sim.threads[i].state != ENDED;
	trace(&site, NULL, 0, (uint64_t)n);
	return n;
}

int os_thread_on_exit(void (*fn)(void))
{
	sim.self->on_exit = fn;
	return 0;
}

int os_cpus(void)
{
	return 2;
}

/* ---- signals --------------------------------------------------------------------------------- */

void os_signals_get(sigset_t *mask)
{
	sigemptyset(mask);
}

void os_signals_set(const sigset_t *mask)
{
	(void)mask;
}

void os_signals_block(void)
{
}

int os_altstack_enter(struct os_altstack *a)
{
	a->size = 4096;
	a->memory = os_map(a->size);
	if (!a->memory)
		return -ENOMEM;
	sim.altstacks++;
	return 0;
}

void os_altstack_leave(struct os_altstack *a)
{
	sim.altstacks--;
	os_unmap(a->memory, a->size);
}

int os_faults_install(os_fault_fn handler)
{
	(void)handler;
	sim.faults_installed++;
	return 0;
}

void os_faults_remove(void)
{
	sim.faults_installed--;
}

static os_notify_fn told;

bool os_notify_allowed(int signo)
{
	return signo > 0 && signo < 65;
}

int os_notify_install(int signo, os_notify_fn fn)
{
	(void)signo;
	told = fn;
	sim.faults_installed++;
	return 0;
}

void os_notify_remove(int signo)
{
	(void)signo;
	sim.faults_installed--;
}

void sim_raise(int signo)
{
	if (told)
		told(signo);
}

int os_event_make(void)
{
	OS_POINT(SIM_OS, "os_event_make", NULL);
	if (sim.events_made == MAX_EVENTS)
		return -EMFILE;
	trace(&site, NULL, 0, sim.events_made);
	sim.events_open++;
	return (int)sim.events_made++;
}

void os_event_set(int fd)
{
	OS_POINT(SIM_OS, "os_event_set", NULL);
	trace(&site, NULL, (uint64_t)fd, 1);
	if (sim.event_set[fd])
		sim_fail("the event of descriptor %d is set twice", fd);
	sim.event_set[fd] = true;
}

void os_event_clear(int fd)
{
	OS_POINT(SIM_OS, "os_event_clear", NULL);
	trace(&site, NULL, (uint64_t)fd, 0);
	if (!sim.event_set[fd])
		sim_fail("the event of descriptor %d is cleared twice", fd);
	sim.event_set[fd] = false;
}

void os_event_close(int fd)
{
	OS_POINT(SIM_OS, "os_event_close", NULL);
	trace(&site, NULL, (uint64_t)fd, 0);
	sim.events_open--;
}

bool sim_readable(int fd)
{
	return sim.event_set[fd];
}

int os_fork_child(void (*fn)(void))
{
	(void)fn;
	return 0;
}

/* ---- preemption ------------------------------------------------------------------------------ */

static struct thread *by_tid(int32_t tid)
{
	for (unsigned i = 0; i < MAX_THREADS; i++)
		if (sim.threads[i].state != UNUSED && sim.threads[i].id == tid - 1000)
			return &sim.threads[i];
	return NULL;
}

int64_t os_thread_cpu(int32_t tid)
{
	struct thread *t = by_tid(tid);

	OS_POINT(SIM_OS, "os_thread_cpu", NULL);
	trace(&site, NULL, (uint64_t)tid, t ? t->cpu : 0);
	return t ? (int64_t)t->cpu : -ESRCH;
}

int os_thread_asleep(int32_t tid)
{
	struct thread *t = by_tid(tid);

	OS_POINT(SIM_OS, "os_thread_asleep", NULL);
	trace(&site, NULL, (uint64_t)tid, t ? t->state : 0);
	if (sim.plan.seed % 8 == 0)
		return -EACCES; /* no /proc there */
	return t ? t->state == WAITS || t->state == JOINS || t->state == ENDED : -ESRCH;
}

int os_preempt_install(os_preempt_fn fn)
{
	sim.preempt = fn;
	sim.faults_installed++;
	return 0;
}

void os_preempt_remove(void)
{
	sim.preempt = NULL;
	sim.faults_installed--;
}

void os_preempt_repair(void)
{
}

uint32_t os_preempt_unblock(void)
{
	return 0;
}

void os_preempt_block(uint32_t which)
{
	(void)which;
}

void os_preempt_send(int32_t tid)
{
	struct thread *t = by_tid(tid);

	OS_POINT(SIM_OS, "os_preempt_send", NULL);
	trace(&site, NULL, 0, (uint64_t)tid);
	if (t)
		t->signaled = true;
}

int os_switch_install(void (*fn)(uintptr_t sp))
{
	(void)fn;
	return -ENOTSUP;
}

bool os_switch_usable(uintptr_t pc)
{
	(void)pc;
	return false;
}

void os_switch_self(void)
{
}

size_t os_signal_frame(void)
{
	return 2048;
}

bool os_in_libc(uintptr_t pc)
{
	(void)pc;
	return sim_below(4) == 0;
}

bool os_in_gort(uintptr_t pc)
{
	(void)pc;
	return sim_below(4) == 0;
}

/* ---- the rest -------------------------------------------------------------------------------- */

/* What gort says goes into the report: it is about to abort, or a scenario wants to see it. */
void os_write_err(const char *text, size_t size)
{
	if (size > sizeof sim.said - 1 - sim.said_size)
		size = sizeof sim.said - 1 - sim.said_size;
	memcpy(sim.said + sim.said_size, text, size);
	sim.said_size += size;
}

void os_abort(void)
{
	sim_fail("abort: %s", sim.said);
}

void os_exit(int status)
{
	sim_fail("exit %d: %s", status, sim.said);
}

uint64_t os_random(void)
{
	return sim_random();
}

const char *os_getenv(const char *name)
{
	(void)name;
	return NULL;
}

bool os_has_ipv6(void)
{
	return true;
}

int *gort_errno_location(void)
{
	static int number;

	return &number;
}

/* ---- what scenarios use ---------------------------------------------------------------------- */

struct guest_thread *guest_start(void (*fn)(void *), void *arg)
{
	struct thread *t;

	OS_POINT(SIM_OS, "guest_start", NULL);
	buffer_flush(sim.self);
	t = thread_new(fn, arg, "guest");
	sim_progress();
	trace(&site, NULL, 0, (uint64_t)t->id);
	return (struct guest_thread *)t;
}

void guest_join(struct guest_thread *g)
{
	os_thread t = { (uintptr_t)g };

	os_thread_join(&t);
}

void thread_sleep(int64_t ns)
{
	uint32_t word = 0;
	int64_t until = (int64_t)sim.now + ns;

	while (os_futex_wait(&word, 0, until) != -ETIMEDOUT)
		;
}

void thread_wait(uint32_t *word, uint32_t while_it_is)
{
	while (load_acquire(word) == while_it_is)
		os_futex_wait(word, while_it_is, OS_FOREVER);
}

void thread_wake(uint32_t *word)
{
	os_futex_wake(word, INT32_MAX);
}

void give_way(void)
{
	os_yield_thread();
	gort_yield();
}

void compute(int64_t ns)
{
	for (int64_t part = ns / 16 + 1; ns > 0; ns -= part) {
		OS_POINT(SIM_OS, "compute", NULL);
		sim.now += (uint64_t)part;
		sim.self->cpu += (uint64_t)part;
		trace(&site, NULL, 0, (uint64_t)part);
	}
}

void note(const char *text, uint64_t a, uint64_t b)
{
	static const struct sim_site site = { __FILE__, "note", "note", 0, SIM_NOTE, 0, 0 };

	trace(&site, text, a, b);
}

/* ---- descriptors: there are none --------------------------------------------------------------- */

int os_poll_open(struct os_poll *p)
{
	(void)p;
	return -ENOSYS;
}

void os_poll_close(struct os_poll *p)
{
	(void)p;
}

int os_poll_add(const struct os_poll *p, int fd, uint32_t events, uint64_t data)
{
	(void)p, (void)fd, (void)events, (void)data;
	return -ENOSYS;
}

int os_poll_change(const struct os_poll *p, int fd, uint32_t events, uint64_t data)
{
	return os_poll_add(p, fd, events, data);
}

int os_poll_remove(const struct os_poll *p, int fd)
{
	return os_poll_add(p, fd, 0, 0);
}

int os_poll_wait(const struct os_poll *p, struct os_poll_event *events, int most, int64_t until)
{
	(void)p, (void)events, (void)most, (void)until;
	return 0;
}

void os_poll_ring(const struct os_poll *p)
{
	(void)p;
}

int os_poll_look(int fd, uint32_t events)
{
	(void)fd, (void)events;
	return -EBADF;
}

void os_fd_close(int fd)
{
	(void)fd;
}

/* io/ is not there, either. */
struct waiter;
void gort__file_forsake(struct waiter *w);
void gort__file_forsake(struct waiter *w)
{
	(void)w;
}

void gort__uring_start(void);
void gort__uring_start(void)
{
}

void gort__uring_end(void);
void gort__uring_end(void)
{
}
