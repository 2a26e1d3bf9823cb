/*
 * engine.h - between the files of the simulator. docs/SIMULATOR.md is the way in.
 *
 *   main.c      command line, smoke, long runs      run.c       one schedule from one seed
 *   step.c      points, atomic steps                buffer.c    store buffers
 *   strategy.c  who runs next                       dfs.c       all schedules, one after the other
 *   thread.c    simulated threads                   os.c        os.h on top of them
 *   memory.c    mappings, what may be touched       check.c     what must hold of G, M and P
 *   trace.c     the last steps, reports             symbols.c   names of addresses
 *
 * Invariants:
 *  1. All simulated threads are coroutines on one real thread. One of them runs: sim.self. They
 *     change places only in sim_switch, which is called only at points and where a thread waits.
 *  2. Whatever decides anything comes from the seed: sim_random, addresses of the arena and of
 *     static data, simulated time. No value of the real machine enters a schedule.
 *  3. What a schedule has changed is put back before the next one (run.c): the sections sim_data
 *     and sim_bss, which hold all variables of gort and of the scenarios; the thread-locals; the
 *     arena; the engine's struct sim. The engine's other variables hold nothing that a schedule
 *     reads.
 *  4. Code of the engine that runs on a goroutine's stack is frugal. What prints runs on the real
 *     thread's own stack: sim_fail goes there.
 */
#ifndef SIM_ENGINE_H
#define SIM_ENGINE_H

#include "base/atomic.h"
#include "os/os.h"
#include "sim.h"

#define MAX_THREADS SIM_MAX_THREADS
#define BUFFER 8u
#define MAX_CHANGES 64u
#define MAX_EVENTS 4u
#define LOCALS 512u
#define SLICE_STEPS 3000u   /* every so many, who runs is lowered */
#define STEP_LIMIT 3000000u /* more is no progress */
#define NEVER UINT64_MAX

enum strategy { BY_SEED, RANDOM, PCT, DELAY, DFS, STRATEGIES };
enum memory_mode { MEMORY_BY_SEED, SC, TSO, WEAK, MEMORY_MODES };
enum fault {
	FAULT_SPURIOUS = 1,
	FAULT_THREADS = 2,
	FAULT_MEMORY = 4,
	FAULT_LEAPS = 8,
	FAULT_FREEZE = 16,
	FAULTS = 31,
	FAULTS_BY_SEED = 32
};

/* What decides a schedule besides the scenario. In options: what the user fixed. */
struct plan {
	uint64_t seed;
	enum strategy strategy;
	enum memory_mode memory;
	unsigned faults;
	int asymmetric; /* -1: by seed */
	int procs;      /* 0: by seed */
	/* by seed only */
	uint64_t step_ns;
	uint32_t stay;       /* of 2^32: random runs on with the same thread */
	unsigned changes;    /* priority changes (PCT), or delays */
	uint64_t horizon;    /* they fall into the first so many steps */
	uint32_t leave_rate; /* a store leaves every so many steps */
	bool unguarded;      /* stacks have canaries */
};

struct store {
	void *p;
	uint64_t value, under; /* what others see meanwhile; current while the thread runs */
	const struct sim_site *site;
	bool release;
};

enum thread_state { UNUSED, READY, WAITS, JOINS, ENDED };

struct thread {
	void *sp;
	enum thread_state state;
	bool detached, joined;
	int32_t id;    /* the how many-th of the schedule */
	unsigned slot; /* in sim.threads */
	const char *name;
	const struct sim_site *at; /* the step that it is about to do, or waits in */
	const void *address;
	uint32_t *word; /* WAITS: the futex */
	int64_t deadline;
	int result;     /* of the wait */
	uint64_t order; /* of the wait: futexes wake in the order of coming */
	struct thread *joins;
	void (*fn)(void *);
	void *arg;
	void (*on_exit)(void);
	bool paused; /* its last step was a pause */
	bool in_handler;
	bool signaled; /* the signal of preemption comes before its next step */
	uint64_t cpu;  /* ns that it has run */
	uint32_t priority;
	struct store buffer[BUFFER];
	unsigned buffered;
	struct fiber *fiber; /* whose stack it is on */
	void *fake;          /* AddressSanitizer's, while it does not run */
	struct fiber *dying;
	uint64_t g; /* number of the goroutine, 0 on g0 and on others' threads */
	char locals[LOCALS];
};

struct sim {
	/* every step */
	struct thread *self;
	uint64_t steps, now, step_ns;
	uint64_t next_deadline; /* the earliest of all that wait */
	uint64_t next_event;    /* the step at which something else is to be done */
	uint32_t ready, spinning, frozen, buffers; /* bits: slots of threads */
	enum strategy strategy;
	enum memory_mode memory;
	uint64_t hash;
	uint64_t random[2]; /* the explorer's and the scenario's are two sequences */
	bool on;            /* a schedule runs; else steps are done as they come */
	bool failed, finished;
	/* events: the steps at which they are due */
	uint64_t leave_at, fault_at, thaw_at, slice_at, change_at, signal_at;
	struct plan plan;
	unsigned faults;                      /* still possible */
	unsigned spurious, refused, unmapped; /* how often it happened */
	uint64_t leapt;                       /* ns */
	bool memory_may_fail, may_leave;
	uint64_t idle_step;
	unsigned spun; /* choices running in which all only spun */
	uint64_t changes[MAX_CHANGES];
	unsigned next_change;
	uint32_t lowest; /* the next priority below all */
	int32_t thread_count;
	uint64_t waits;
	void (*handler)(void);
	void *explorer_sp; /* the real thread's own stack */
	const struct scenario *scenario;
	int faults_installed, altstacks;
	unsigned events_made, events_open;
	bool event_set[MAX_EVENTS]; /* by descriptor */
	os_preempt_fn preempt;
	int result;      /* of the SCENARIO's gort_run */
	char text[1024]; /* why it failed */
	char said[512];  /* what gort wrote to the standard error */
	size_t said_size;
	struct thread threads[MAX_THREADS];
};

extern struct sim sim;

/* ---- run.c */
struct outcome {
	bool failed;
	uint64_t steps, hash;
};
void sim_prepare(void); /* once, before the first schedule */
struct outcome sim_run(const struct scenario *s, const struct plan *options, uint64_t seed);
const char *sim_plan_text(void);
_Noreturn void sim_abandon(void); /* this schedule shows nothing new */
_Noreturn void explorer_go(void); /* back to the real thread's own stack */

/* ---- strategy.c */
extern const char *const strategy_names[], *const memory_names[], *const fault_names[];
uint64_t sim_random(void);
static inline unsigned sim_below(unsigned n)
{
	return (unsigned)((sim_random() >> 32) * n >> 32);
}
void strategy_begin(void);
void strategy_thread(struct thread *t); /* a new one */
void strategy_paused(struct thread *t); /* it waits for others */
void strategy_slice(void);              /* self may have kept others from running for long */
void strategy_change(void);             /* a change of priorities is due */
struct thread *sim_choose(void);        /* self is not ready, or at a point */

/* ---- dfs.c */
unsigned dfs_choose(uint64_t actors); /* bits: threads, and above them their buffers */
void dfs_begin(void);
bool dfs_next(void); /* after a schedule: there is another */
void dfs_reset(unsigned bound);
uint64_t dfs_pruned(void);

/* ---- step.c */
void sim_point(const struct sim_site *site, const void *address);
void sim_event_at(uint64_t step);
void sim_progress(void); /* memory or a thread's state has changed: spinning may be over */
void sim_wait(void);     /* self's state is set: run others until it is READY again */
uint64_t memory_read(const void *p, unsigned size);
void memory_write(void *p, unsigned size, uint64_t v);

/* ---- buffer.c */
void buffer_put(void *p, uint64_t v, const struct sim_site *site);
void buffer_take_out(struct thread *t); /* it stops running: memory is as others see it */
void buffer_put_in(struct thread *t);
void buffer_leave(struct thread *t, unsigned which);
void buffer_leave_some(struct thread *t);
void buffer_flush(struct thread *t);
void buffer_flush_for(struct thread *t, const void *p); /* what a step on p must come after */
void buffer_flush_all(void);

/* ---- thread.c */
extern void *volatile sim_self;
void threads_begin(void);
struct thread *thread_new(void (*fn)(void *), void *arg, const char *name);
void sim_switch(struct thread *to);
void thread_leave_to(void **fake, const struct thread *to); /* tell the sanitizer */
void threads_wake_due(void);
void thread_ready(struct thread *t, int result);
void thread_note_deadline(int64_t deadline);
void thread_run_handler(void);
void thread_take_signal(void);
struct m;
const struct m *thread_m(const struct thread *t); /* NULL: none */

/* ---- memory.c */
void memory_begin(void);
void memory_verify(void);      /* scrapped memory is as it was left */
const char *memory_left(void); /* NULL, or what is still mapped that should not be */
void memory_check(const void *p, const struct sim_site *site);
void *memory_stack(unsigned slot, size_t *size); /* for a new thread */
void *memory_stack_of(unsigned slot, size_t *size);
void memory_prepare(void);
const char *memory_name(uintptr_t p, char *text, size_t size);

/* ---- check.c */
void checks_begin(void);
void check_all_wait(uint64_t until); /* time is about to jump there; NEVER: they wait for ever */
const char *check_end(void);
void check_report(void); /* print what goroutines wait for */
const char *check_name(uintptr_t p, char *text, size_t size);

/* ---- trace.c */
enum record_kind { DONE, BUFFERED, LEFT };
void trace(const struct sim_site *site, const void *p, uint64_t old, uint64_t new);
void trace_buffer(const struct thread *t, const struct store *s, enum record_kind kind);
void trace_begin(void);
void trace_room(size_t records);
void trace_print(size_t last);
void report_failure(void);
void print_stack(const void *sp);

/* ---- symbols.c */
const char *symbol_name(uintptr_t p, char *text, size_t size);

#endif
