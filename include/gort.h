/*
 * gort.h - goroutines for C.
 *
 * This header is the manual. docs/HACKING.md says how it works inside.
 *
 * Conventions
 *  - A call that can fail returns a negative errno value (-ETIMEDOUT); 0 or more is
 *    success. errno itself is never part of the contract: a goroutine may resume on
 *    another thread, and compilers cache errno's address.
 *  - Types marked "zero value ready" need no initialiser. Structs that may grow end in
 *    reserved words: zero them.
 *  - Times are int64_t nanoseconds. Deadlines are absolute on gort_now()'s clock. GORT_NOW
 *    never waits: the *_until calls give -ETIMEDOUT, as for any deadline passed.
 *  - Unless a comment says otherwise, every function may be called from any thread,
 *    goroutine or not. On a plain thread (a "guest") a blocking call blocks that thread.
 *  - [c] marks a cancellable call. It gives -ECANCELED, or -ETIMEDOUT if it was a deadline that
 *    passed, once the calling goroutine's (or thread's) context, or its gort_set_deadline, has
 *    ended; why, says gort_ctx_cause. It has done nothing then. Channels and sync complete if they
 *    can without waiting, even then, and even when the call's own deadline has passed.
 *  - Misuse that no caller can handle (unlocking what is not locked, a wait group below
 *    zero, a NULL object where none makes sense) prints which goroutine did what, and
 *    aborts. A stack overflow prints the goroutine, its stack's size and how to raise it,
 *    and dies of SIGSEGV. NULL channels are never ready; releasing NULL does nothing.
 *  - Channels, sync, contexts and gort_now need no running runtime (a context's deadline then
 *    shows when it is looked at; a plain thread that waits under it, or on its done channel,
 *    wakes); goroutines and timers do: -ESRCH, or NULL from a call that gives an object.
 *  - After fork, the child may exec or _exit. In a child of a process whose runtime was up, a call
 *    that starts something gives -ESRCH, or NULL; any other that touches what goroutines share,
 *    and the end of the goroutine that called fork, print who did it, and abort.
 *  - Macros that build values are C only.
 */
#ifndef GORT_H
#define GORT_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GORT_VERSION "0.1.0"

/* errno re-read on every use, so that it is right across a switch (see above). */
int *gort_errno_location(void);
#undef errno
#define errno (*gort_errno_location())

/* ---- time ------------------------------------------------------------------- */

#define GORT_US 1000LL
#define GORT_MS 1000000LL
#define GORT_SEC 1000000000LL
#define GORT_NOW INT64_MIN
#define GORT_FOREVER INT64_MAX

int64_t gort_now(void);            /* CLOCK_MONOTONIC, or a test bubble's clock */
int64_t gort_in(int64_t duration); /* deadline that far away, saturating; never GORT_NOW */

/* Park the goroutine (a plain thread sleeps) for a duration or until a deadline. <= 0, or a
 * deadline passed, yields once. [c] 0, or -ENOMEM. It never ends early but by cancellation. */
int gort_sleep(int64_t duration);
int gort_sleep_until(int64_t deadline);

/* ---- running the runtime ----------------------------------------------------- */

typedef struct gort_options {
	int maxprocs;           /* 0: GORT_MAXPROCS, else usable CPUs (affinity, cgroup quota);
	                              over 1024 is 1024 */
	size_t stack_size;      /* 0: GORT_STACK or 256 KiB; usable bytes, guard not counted;
	                              16 KiB to 1 GiB. GORT_STACK is bytes, or with K, M or G */
	size_t main_stack_size; /* 0: RLIMIT_STACK, or 8 MiB if unlimited: C's main expects it */
	/* Told of every panic that no gort_try caught; NULL: print it and abort. When it returns,
	 * the goroutine has ended, as a task with -EOWNERDEAD. */
	void (*on_panic)(const char *message, uint64_t goroutine);
	int max_threads;      /* 0: GORT_MAXTHREADS or 10000. Beyond it goroutines wait for a thread;
	                         a fatal message only when nothing could ever run */
	int preempt_slice_us; /* 0: 10 ms; <0: no preemption */
	int on_deadlock;      /* GORT_DEADLOCK_EXIT (0): dump all goroutines, exit status 2; or
	                         GORT_DEADLOCK_RETURN */
	int reserved_[13];
} gort_options; /* zero value: all defaults. Nonsense here or in a GORT_*
                                      variable: -EINVAL */

enum { GORT_DEADLOCK_EXIT, GORT_DEADLOCK_RETURN };

/* A deadlock: no goroutine can run, and nobody is left who could wake one: no timer, no file
 * or signal wait, no thread in a blocking call, no living thread that gort did not start
 * (other than gort_run's caller). It is noticed within a second, also after the last such
 * thread has ended. */

/* Start the runtime, run fn(arg) as the first goroutine, on the calling thread at first; stop
 * the runtime when fn returns, give back fn's result. Goroutines still alive then never run
 * again: their waits are withdrawn from whatever they waited on (which must be there till gort_run
 * returns), their stacks freed, nothing of theirs is called. One that is running at that moment stops at its next call into gort;
 * gort_run waits for that, one second at most, then leaves the thread and its stack alone, and
 * the runtime cannot be started again while one lives (-EBUSY); if it runs on gort_run's own
 * thread, gort_run cannot return before it calls gort. Otherwise it can, any number of
 * times. -EBUSY also if already running, -EINVAL, -ENOMEM, -EAGAIN (no threads), -EOWNERDEAD if
 * fn panicked and on_panic returned; 0 after gort_goexit in fn. options may be NULL. */
int gort_run(int (*fn)(void *arg), void *arg, const gort_options *options);

/* For programs whose main loop is not ours: start the runtime and return; the caller stays a
 * plain thread. stop ends it as gort_run's end does. Counted: the last stop counts. Inside
 * gort_run: -EBUSY. The last stop from a goroutine: -EDEADLK. stop without start: -ESRCH. The
 * options of a start that finds the runtime running are checked, and otherwise ignored. */
int gort_start(const gort_options *options);
int gort_stop(void);

int gort_main_run_(int (*fn)(void *arg), void *arg, const gort_options *options);

/* GORT_MAIN(argc, argv) { ...; return 0; } defines main() as the first goroutine; when the
 * runtime cannot start, it says why on stderr and exits with 1. */
#define GORT_MAIN(argc, argv) GORT_MAIN_WITH(argc, argv, NULL)
#define GORT_MAIN_WITH(argc, argv, options) \
	static int gort_main_(int, char **); \
	struct gort_main_args_ { \
		int argc_; \
		char **argv_; \
	}; \
	static int gort_main_start_(void *p_) \
	{ \
		struct gort_main_args_ *a_ = (struct gort_main_args_ *)p_; \
		return gort_main_(a_->argc_, a_->argv_); \
	} \
	int main(int argc_, char **argv_) \
	{ \
		struct gort_main_args_ a_ = { argc_, argv_ }; \
		return gort_main_run_(gort_main_start_, &a_, options); \
	} \
	static int gort_main_(int argc __attribute__((unused)), char **argv __attribute__((unused)))

int gort_maxprocs(int n); /* set if n > 0; returns the previous value (without
                                              a runtime: the default). Up takes effect at once,
                                              down when those beyond n next call gort; over
                                              1024 is 1024. -ENOMEM: nothing has changed */
const char *gort_version(void);

/* ---- goroutines --------------------------------------------------------------- */

typedef void (*gort_func)(void *arg);

int gort_go(gort_func fn, void *arg); /* 0, -ENOMEM, -ESRCH if no runtime runs */

/* Start fn with a copy of size bytes at args, kept on the new goroutine's own stack,
 * 16-byte aligned, valid until fn returns. -E2BIG if over a quarter of the stack. */
int gort_go_copy(gort_func fn, const void *args, size_t size);

/* gort_go_with(worker, struct job, .n = 3, .out = c): worker(void *) gets a struct job *. */
#define gort_go_with(fn, T, ...) gort_go_copy((fn), &(T){ __VA_ARGS__ }, sizeof(T))

typedef struct gort_attr {
	const char *name;  /* copied, first 31 bytes kept; shown in reports */
	size_t stack_size; /* 0: the runtime's default; 16 KiB to 1 GiB; at least so much is had */
	struct gort_ctx *ctx; /* its context's parent; NULL: the spawning goroutine's current one */
	size_t copy;          /* if not 0, arg points to so many bytes to copy, as gort_go_copy */
	int preempt; /* GORT_PREEMPT_THREAD (0), _SWITCH, _OFF: see below */
	int reserved_[7];
} gort_attr; /* zero value: all defaults */

/* How a goroutine that runs on and on gives way to others. THREAD: its thread stops, with all
 * that it holds, until it is its turn again; sound in any code. SWITCH: for computations, many
 * more than there may be threads: its thread goes on with another goroutine, and it resumes on
 * any thread; only in the program's own code, which must hold no lock of a thread's then (pthread
 * mutexes), no address of a thread-local, and be called by no library (qsort's comparator). OFF:
 * it is never preempted. */
enum { GORT_PREEMPT_THREAD, GORT_PREEMPT_SWITCH, GORT_PREEMPT_OFF };

/* A goroutine that can be joined. NULL: out of memory, no runtime, or attributes out of range.
 * The task is released by a successful join (0 or -EOWNERDEAD), once, or by detach. */
typedef struct gort_task gort_task;
gort_task *gort_spawn(int (*fn)(void *arg), void *arg, const gort_attr *attr);
int gort_join(gort_task *t, int *result); /* [c] blocks. 0; -EOWNERDEAD: it panicked. *result is fn's
                                              result, 0 after goexit; result may be NULL.
                                              -EDEADLK: the goroutine itself. Cancelled: still
                                              ours; but -ECANCELED to a plain thread may
                                              also mean that the runtime stopped before
                                              it ended, which releases it */
int gort_join_until(gort_task *t, int *result, int64_t deadline); /* [c] + -ETIMEDOUT: still ours */
void gort_detach(gort_task *t);
void gort_task_cancel(gort_task *t, int cause); /* ends the context that it was given at spawn:
                                              its own, a child of the current one or attr's */

void gort_yield(void);                            /* let others run; this one goes to the back. On a
                                              plain thread sched_yield(2) */
void gort_goexit(void) __attribute__((noreturn)); /* run the defers, end this goroutine; misuse
                                                     on a plain thread */
uint64_t gort_self(void);                         /* its number, 1 is main; 0 on a plain thread */
void gort_set_name(const char *name); /* first 31 bytes kept; nothing on a plain thread */

/* The calling goroutine keeps its thread from now on, and the thread runs nothing else; nestable.
 * A goroutine that ends with its thread locked ends the thread. No effect on a plain thread. */
void gort_lock_thread(void);
void gort_unlock_thread(void); /* misuse without lock */

/* Tell the scheduler that fn will block in the kernel or burn CPU in foreign code: other
 * goroutines keep all GOMAXPROCS slots. Never needed for correctness. Returns fn's result. */
int gort_blocking(int (*fn)(void *arg), void *arg);

/* No preemption between the two; nestable. No effect on a plain thread. */
void gort_preempt_off(void);
void gort_preempt_on(void); /* misuse without off */

uint64_t gort_count(void);            /* goroutines alive */

/* Run at the end of the innermost gort_try, else of this goroutine, last first: on return,
 * goexit and panic. -ENOMEM; -EPERM on a plain thread outside gort_try. A new goroutine starts
 * with its spawner's floating-point control state, as POSIX says of threads. */
int gort_defer(gort_func fn, void *arg);

/* Goroutine-local storage, thread-local on a plain thread. The destructor runs at the end, for
 * non-NULL values, in no particular order; values set by destructors are looked at again, four
 * rounds at most, as POSIX does. create: -EAGAIN beyond 1024 keys. set: -EINVAL no such key,
 * -ENOMEM. get of a key that does not exist gives NULL. */
typedef uint32_t gort_key;
int gort_key_create(gort_key *key, void (*destructor)(void *value));
void *gort_key_get(gort_key key);
int gort_key_set(gort_key key, void *value);
void gort_key_delete(gort_key key); /* runs no destructor */

/* Panic: run the defers registered since the innermost gort_try, then come back from it;
 * outside gort_try, run all defers, then options.on_panic. Frames are not unwound. */
void gort_panic(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
int gort_try(gort_func fn, void *arg, char *message, size_t size); /* 0 or -EOWNERDEAD; the
                                              panic's message goes to message if size > 0 */

/* ---- channels ------------------------------------------------------------------ */

typedef struct gort_chan gort_chan;

/* Elements of elem_size bytes (0 is fine), room for capacity of them (0: rendezvous).
 * NULL: out of memory, or the product overflows. Reference counted, starts at 1. A call on a
 * channel needs a reference that outlives the call. */
gort_chan *gort_chan_make(size_t elem_size, size_t capacity);
gort_chan *gort_chan_retain(gort_chan *c);
void gort_chan_release(gort_chan *c); /* the last one drops unreceived elements */
void gort_chan_on_drop(gort_chan *c, void (*drop)(void *elem)); /* called for each of those */

/* Blocks. 0 sent; -EPIPE closed. A NULL channel blocks for ever. -ETIMEDOUT. */
int gort_chan_send(gort_chan *c, const void *elem);                         /* [c] */
int gort_chan_send_until(gort_chan *c, const void *elem, int64_t deadline); /* [c] */
int gort_chan_try_send(gort_chan *c, const void *elem); /* never blocks: -EAGAIN */

/* 0 received; -EPIPE closed and drained (*elem zeroed). elem may be NULL: discard. */
int gort_chan_recv(gort_chan *c, void *elem);                               /* [c] */
int gort_chan_recv_until(gort_chan *c, void *elem, int64_t deadline);       /* [c] */
int gort_chan_try_recv(gort_chan *c, void *elem); /* never blocks: -EAGAIN */

int gort_chan_close(gort_chan *c);        /* 0; -EPIPE already closed; -EINVAL NULL. Senders that
                                              wait get -EPIPE, their values are not sent */
size_t gort_chan_len(const gort_chan *c); /* elements in the buffer */
size_t gort_chan_cap(const gort_chan *c);

/* For a foreign event loop: a descriptor that is readable (POLLIN, level-triggered) while a receive
 * would not block: an element is in the buffer, a sender waits, or c is closed. Borrowed: the same
 * on each call, closed by c's last release; never read, write or close it. Readable is a hint as
 * with any descriptor: while calls are under way it may be wrong for a moment, and others may be
 * faster; so receive by gort_chan_try_recv. From the first call on, calls on c are slower, those
 * that change the answer by a system call. -EINVAL if c is NULL, -EMFILE, -ENFILE, -ENOMEM. */
int gort_chan_pollfd(gort_chan *c);

/* Typed face, checked at compile time:
 *   typedef gort_chan_of(int) int_chan;
 *   int_chan c = GORT_MAKE(int_chan, 8);  gort_send(c, 42);  gort_recv(c, &x);
 * c.chan is the channel, for everything else (arrays are sent through it, too). */
#define gort_chan_of(T) \
	union { \
		gort_chan *chan; \
		__typeof__(T) *type_; \
	}
#define GORT_MAKE(C, capacity) \
	((C){ .chan = gort_chan_make(sizeof(*((C){ 0 }).type_), (capacity)) })
#define gort_send(c, ...) \
	GORT_SEND_(GORT_CAT_(gort_value_, __COUNTER__), gort_chan_send, c, __VA_ARGS__)
#define gort_try_send(c, ...) \
	GORT_SEND_(GORT_CAT_(gort_value_, __COUNTER__), gort_chan_try_send, c, __VA_ARGS__)
#define gort_recv(c, ptr) gort_chan_recv((c).chan, (1 ? (ptr) : (c).type_))
#define gort_try_recv(c, ptr) gort_chan_try_recv((c).chan, (1 ? (ptr) : (c).type_))
#define GORT_CAT_(a, b) GORT_CAT2_(a, b)
#define GORT_CAT2_(a, b) a##b
#define GORT_SEND_(v, call, c, ...) \
	__extension__({ \
		__typeof__(*(c).type_) v = (__VA_ARGS__); \
		call((c).chan, &v); \
	})

/* ---- select --------------------------------------------------------------------- */

typedef struct gort_case {
	int op;     /* GORT_OP_* */
	int events; /* of FD: POLLIN, POLLOUT, POLLPRI, POLLRDHUP (<poll.h>) */
	union {
		gort_chan *chan; /* of RECV and SEND; NULL: never ready */
		gort_task *
			task; /* of TASK: ready once it has ended (gort_join then gives its result) */
		int fd;       /* of FD: any descriptor, borrowed */
		int64_t deadline; /* of TIME: ready from then on */
	};
	void *elem; /* source of a SEND, destination of a RECV (or NULL: discard) */
	int status; /* out, of the chosen case: 0; -EPIPE: the channel is closed; of FD: what is
	               true of it: some of events, POLLERR, POLLHUP */
} gort_case;

enum { GORT_OP_RECV, GORT_OP_SEND, GORT_OP_TASK, GORT_OP_FD, GORT_OP_TIME };
#define GORT_CASE_RECV(c, ptr) ((gort_case){ .op = GORT_OP_RECV, .chan = (c), .elem = (ptr) })
#define GORT_CASE_SEND(c, ptr) \
	((gort_case){ .op = GORT_OP_SEND, .chan = (c), .elem = (void *)(ptr) })
#define GORT_CASE_TASK(t) ((gort_case){ .op = GORT_OP_TASK, .task = (t) })
#define GORT_CASE_FD(f, ev) ((gort_case){ .op = GORT_OP_FD, .events = (ev), .fd = (f) })
#define GORT_CASE_TIME(at) ((gort_case){ .op = GORT_OP_TIME, .deadline = (at) })

/* Go's select. Wait until one of n cases can go on, do that one, return its index; among several ready, each
 * is as likely. A channel may stand in several cases, in both directions. With GORT_NOW it never waits:
 * -EAGAIN when none is ready. n = 0 waits for the deadline or the cancellation alone. [c]
 * -ETIMEDOUT; -EINVAL a bad op, or bad events of an FD; -EBADF an FD that is none; -ESRCH an FD to wait
 * for without a runtime; -ENOMEM (over 16 cases, or no memory for the deadline or an FD). */
int gort_select(gort_case *cases, size_t n, int64_t deadline);

/* ---- sync (zero value ready; never copied once used) ------------------------------ */

typedef struct { uint32_t state_, sema_; void *wait_[2]; } gort_mutex;
typedef struct { gort_mutex writer_; int32_t readers_[3], pad_; void *wait_[4]; } gort_rwmutex;
typedef struct { uint64_t seq_; void *wait_[2]; } gort_cond;
typedef struct { uint64_t state_; void *wait_[2]; } gort_waitgroup;
typedef struct { uint32_t done_, pad_; gort_mutex lock_; } gort_once;
typedef struct { int64_t count_; void *wait_[3]; } gort_sem;

void gort_mutex_lock(gort_mutex *m);       /* blocks; waiters of over 1 ms go first */
int gort_mutex_try_lock(gort_mutex *m);    /* 0, or -EAGAIN */
int gort_mutex_lock_until(gort_mutex *m, int64_t deadline); /* [c] + -ETIMEDOUT */
void gort_mutex_unlock(gort_mutex *m);     /* by any goroutine */

/* Many readers, or one writer. A waiting writer stops new readers, so that it gets its turn: who
 * reads must not read-lock again inside. When a writer unlocks, the readers that waited go
 * before the next writer. try: 0, or -EAGAIN. until: 0 or -ETIMEDOUT; a writer that gives up lets
 * the readers in that waited for it. Unlocking may be done by any goroutine; what is not locked so
 * is misuse. */
void gort_rwmutex_lock(gort_rwmutex *l);   /* for writing; blocks */
int gort_rwmutex_try_lock(gort_rwmutex *l);
int gort_rwmutex_lock_until(gort_rwmutex *l, int64_t deadline);  /* [c] */
void gort_rwmutex_unlock(gort_rwmutex *l);
void gort_rwmutex_rlock(gort_rwmutex *l);  /* for reading; blocks */
int gort_rwmutex_try_rlock(gort_rwmutex *l);
int gort_rwmutex_rlock_until(gort_rwmutex *l, int64_t deadline); /* [c] */
void gort_rwmutex_runlock(gort_rwmutex *l);

/* Wait until somebody signals that what m protects has changed. wait gives m up, blocks, and locks
 * m again before it returns, whatever it gives: 0, -ETIMEDOUT, -ENOMEM. It never returns 0 without a
 * signal, but by then another goroutine may have been faster: look at the condition in a loop.
 * With a deadline that has passed it does not wait, but lets others have m for a moment.
 * signal wakes the one that has waited longest, broadcast all that wait; with or without m held. */
int gort_cond_wait(gort_cond *c, gort_mutex *m);                         /* [c] */
int gort_cond_wait_until(gort_cond *c, gort_mutex *m, int64_t deadline); /* [c] */
void gort_cond_signal(gort_cond *c);
void gort_cond_broadcast(gort_cond *c);

/* Go's sync.WaitGroup. Once a wait has returned 0 the wait group may be freed or used again. */
void gort_waitgroup_add(gort_waitgroup *g, int delta);
void gort_waitgroup_done(gort_waitgroup *g);
int gort_waitgroup_wait(gort_waitgroup *g);                 /* [c] blocks; 0 */
int gort_waitgroup_wait_until(gort_waitgroup *g, int64_t deadline); /* [c] + -ETIMEDOUT */
int gort_waitgroup_go(gort_waitgroup *g, gort_func fn, void *arg); /* add, go, done at end,
                                              also after a panic or goexit; errors of gort_go */

void gort_once_do(gort_once *o, gort_func fn, void *arg); /* all callers return after fn did;
                                                             a panic in fn counts as done. From
                                                             inside fn: misuse */

/* A number of places, taken and given back any number at a time, not below 0. First come first
 * served: who waits for many is not overtaken by those who want few. acquire blocks; 0. try: 0, or
 * -EAGAIN. n is at least 1. Once it has what was released, the semaphore may be freed. */
#define GORT_SEM_INIT(n) { .count_ = (n) }                  /* the zero value holds 0 */
int gort_sem_acquire(gort_sem *s, int64_t n);               /* [c] */
int gort_sem_acquire_until(gort_sem *s, int64_t n, int64_t deadline); /* [c] + -ETIMEDOUT */
int gort_sem_try_acquire(gort_sem *s, int64_t n);
void gort_sem_release(gort_sem *s, int64_t n);              /* also by others, also more than was
                                                               taken; never blocks */

/* One call of fn at a time for a key (a string, copied): who asks for the same key meanwhile
 * waits, and gets its result. *shared, if given: it is the result of several. Gives fn's result;
 * -EOWNERDEAD to those who waited if fn panicked or left by goexit, which go on in its caller;
 * -ENOMEM; -EDEADLK from inside fn for the same key; -ECANCELED if the runtime stopped before fn
 * was through. [c] while it waits: fn goes on for the others. NULL from make: out of memory.
 * Release it when no call runs. */
typedef struct gort_flight gort_flight;
gort_flight *gort_flight_make(void);
int gort_flight_do(gort_flight *f, const char *key, int (*fn)(void *arg), void *arg, bool *shared);
void gort_flight_release(gort_flight *f);

/* Idle objects, kept for the next who needs one: a cache for each P, and one for all. get gives one
 * of them, or what make(arg) gives (NULL without make, or if make says so). put takes any object;
 * how many are kept is bounded, and those not needed for a second go as others come: by
 * destroy, if there is one. trim destroys all that are idle. release does, and frees the pool; by
 * then nobody may use it any more. Objects survive the runtime's end. make and destroy are called
 * by whoever calls in, and may block. NULL from make: out of memory. */
typedef struct gort_pool gort_pool;
gort_pool *gort_pool_make(void *(*make)(void *arg), void (*destroy)(void *object), void *arg);
void *gort_pool_get(gort_pool *p);
void gort_pool_put(gort_pool *p, void *object);
void gort_pool_trim(gort_pool *p);
void gort_pool_release(gort_pool *p);

/* ---- contexts: cancellation, deadlines, values -------------------------------------- */

/* Go's context.Context. Reference counted; children, and goroutines under it, hold theirs. Children end with
 * their parents. NULL from the calls that make one: out of memory. */
typedef struct gort_ctx gort_ctx;

gort_ctx *gort_ctx_background(void); /* never ends; needs no release */
gort_ctx *gort_ctx_with_cancel(gort_ctx *parent);
gort_ctx *gort_ctx_with_deadline(gort_ctx *parent, int64_t deadline);
gort_ctx *gort_ctx_with_value(gort_ctx *parent, const void *key, void *value);
gort_ctx *gort_ctx_without_cancel(gort_ctx *parent); /* keeps the values only */
gort_ctx *gort_ctx_retain(gort_ctx *ctx);
void gort_ctx_release(gort_ctx *ctx); /* the last release of a live one cancels it */

/* End it, all below it, and the waits of all goroutines under them. The first end wins. cause: a negative
 * errno, else -ECANCELED. Those whom it wakes may release ctx at once. Of one that with_value or
 * without_cancel made: misuse. */
void gort_ctx_cancel(gort_ctx *ctx, int cause);
int gort_ctx_err(gort_ctx *ctx);   /* 0 while it lives, -ECANCELED, -ETIMEDOUT */
int gort_ctx_cause(gort_ctx *ctx); /* 0, or the cause given: the parent's if it ended first */
int64_t gort_ctx_deadline(gort_ctx *ctx); /* the earliest on the way up; GORT_FOREVER if none */
void *gort_ctx_value(gort_ctx *ctx, const void *key); /* nearest; by key's address; NULL: none */
gort_chan *gort_ctx_done(gort_ctx *ctx); /* closed when it ends; for select; borrowed. NULL of a
                                              context that never ends, or when memory is out */

/* Run fn(arg) in its own goroutine, under the background context, once ctx ends; stop returns
 * true if it prevented that. Call stop exactly once, also afterwards: it frees. NULL: out of memory, or
 * no runtime runs. */
typedef struct gort_after gort_after;
gort_after *gort_ctx_after_func(gort_ctx *ctx, gort_func fn, void *arg);
bool gort_ctx_after_stop(gort_after *a);

/* The calling goroutine's (or thread's) current context: inherited at spawn, obeyed by every call marked [c],
 * which then gives -ECANCELED, or -ETIMEDOUT if it was a deadline. What can be done without waiting
 * is done even then. enter returns the one to give back to leave. */
gort_ctx *gort_ctx_current(void);        /* borrowed */
gort_ctx *gort_ctx_enter(gort_ctx *ctx); /* keeps a reference until leave */
void gort_ctx_leave(gort_ctx *previous);

/* A deadline of the calling goroutine alone, for every [c] call until set again; gives the
 * previous one (GORT_FOREVER: none) to put back:
 *   int64_t old = gort_set_deadline(gort_in(5 * GORT_SEC)); ... gort_set_deadline(old); */
int64_t gort_set_deadline(int64_t deadline);

/* ---- scopes: goroutines that cannot outlive a block ---------------------------------- */

typedef struct gort_scope gort_scope;

/* A context of its own under the current one. limit: most of them at once (0: no limit).
 * NULL: out of memory. */
gort_scope *gort_scope_open(int limit);

/* fn runs under the scope's context. The first negative result (or a panic: -EOWNERDEAD) cancels
 * the others, whose calls then give -ECANCELED. Waits for a place if limit are running [c];
 * -ECANCELED once cancelled; -ENOMEM, -ESRCH, -EINVAL (attributes out of range, or a context in them). Members
 * may add members until they return, with try_go under a limit (-EAGAIN: no place), else all could wait
 * for each other. */
int gort_scope_go(gort_scope *s, int (*fn)(void *arg), void *arg); /* [c] */
int gort_scope_try_go(gort_scope *s, int (*fn)(void *arg), void *arg);
int gort_scope_spawn(gort_scope *s, int (*fn)(void *arg), void *arg, const gort_attr *attr); /* [c] */
gort_ctx *gort_scope_ctx(gort_scope *s); /* borrowed */
void gort_scope_cancel(gort_scope *s, int cause);
int gort_scope_wait_until(gort_scope *s,
			  int64_t deadline); /* 0 when all have returned, -ETIMEDOUT; for
                                              grace periods, so no cancellation ends it */

/* Wait for all of them, free the scope, return the first negative result, else the caller's
 * cancellation if it had to wait, else 0. If the caller is cancelled, so is the scope, and the wait goes on until
 * all have returned. By a member: misuse. */
int gort_scope_close(gort_scope *s);

/* ---- timers ------------------------------------------------------------------------- */

/* Something that happens at a time: once, or every period from then on. It starts fn(arg) in a
 * goroutine of its own, or, with fn NULL, puts the time (int64_t, as of gort_now) into its channel.
 *
 * deadline: absolute; one that has passed is due at once, GORT_FOREVER never. period: <= 0 is once.
 * Ticks that could not be had in time are skipped, and the phase is kept: they come at
 * deadline + n * period. The channel has room for one tick; who is slow finds the latest there.
 * fn's goroutine is late, but never lost, when memory for it is short; with a period it may still run
 * when the next one starts. NULL: out of memory, or no runtime runs. A timer lives as long as the
 * runtime that it was started in; then it never fires any more. None of these blocks. */
typedef struct gort_timer gort_timer;
gort_timer *gort_timer_start(int64_t deadline, int64_t period, gort_func fn, void *arg);
gort_chan *gort_timer_chan(gort_timer *t); /* borrowed; retain it if it must outlive the timer. NULL
                                              of a timer with fn */
/* True if it was pending, or its tick not received yet. Afterwards nothing that was on its way
 * comes any more: no tick from before is received, and fn is not started; one that was started
 * before runs on. It can be set again with reset. */
bool gort_timer_stop(gort_timer *t);
bool gort_timer_reset(gort_timer *t, int64_t deadline); /* fires then, pending or not; keeps the
                                              period. As stop: takes back, and returns, the same */
void gort_timer_release(gort_timer *t); /* stops it, too; also after the runtime's end, and
                                              from fn. Frees it */

/* A channel that gets one tick after the duration; for select. Release it; early stops the timer.
 * NULL as gort_timer_start. Where the same wait comes again and again, GORT_CASE_TIME, or a timer
 * and gort_timer_reset, are cheaper. */
gort_chan *gort_after_chan(int64_t duration);

/* ---- signals ------------------------------------------------------------------------- */

/* Signals as elements (int) of c, from the next one on; a full channel drops them: give it room.
 * Go's os/signal.Notify and Stop. A channel may watch several signals, and a signal have several
 * channels; each gets it. c is held until stop. What comes more than once before it is delivered
 * may come as one, as with signals anyway (here also real-time ones); the last is never lost.
 *
 * While a signal is watched, what was installed for it before is not called, nor its default action
 * taken; it comes back when the last watcher goes, unless someone else has replaced gort's handler
 * meanwhile. A fault of the program's own (SIGFPE, SIGILL, SIGTRAP, SIGSYS) is not told: what was
 * there before gets it, and is back from then on. A signal that every thread blocks waits, as
 * always. Handlers run with SA_RESTART and SA_ONSTACK. The runtime's end stops all.
 *
 * 0; -EINVAL for SIGKILL, SIGSTOP, those that the runtime uses (SIGSEGV, SIGBUS, SIGURG), what is
 * no signal or libc's own, no channel, and one of other elements; -ESRCH if no runtime runs;
 * -ENOMEM; -EAGAIN: no thread to be had (the first call makes one). Does not block. */
int gort_signal_notify(gort_chan *c, int signo);
/* c watches nothing any more, and no signal goes to it once this has returned; what it holds stays.
 * 0; -ENOENT if it watched nothing, -EINVAL if c is NULL. */
int gort_signal_stop(gort_chan *c);

/* ---- I/O: sockets, pipes, terminals, files ---------------------------------------------- */

/* One handle for each, reference counted. A call that would have to wait parks its goroutine, and no
 * thread (plain threads sleep). Any number of goroutines may use a file at once: at each side, reading
 * and writing, their calls are made one after the other, in the order in which they came (unless a
 * deadline is set while they wait for their turn), so a write of any length stays in one piece. Descriptors are closed by exec. No call raises SIGPIPE,
 * or gives -EINTR or -EAGAIN.
 *
 * Calls that are made for each file, if nothing else is said: [c], and that comes first: a call under
 * what has ended does nothing, even if it could go on. -EBADF once the file is closed, -ESRCH without
 * a runtime, -ENOMEM (no memory for a deadline, or for watching the descriptor: -ENOSPC, see
 * epoll_ctl(2)), or the system's error. A file is of no use to, but survives, the end of the runtime.
 *
 * Regular files, and what else always is ready, wait in the kernel, and others go on; but neither
 * cancellation, nor a deadline, nor gort_close ends such a call. gort_read, gort_read_full and
 * gort_pread of what the page cache does not have, gort_fsync, and gort_pwrite to files opened with
 * O_DIRECT or O_SYNC park the goroutine, where there is io_uring (GORT_DEBUG=uring=0: not used); the
 * rest keeps a thread, as gort_blocking does: also gort_readv, gort_copy, and gort_read with O_DIRECT.
 * So does a write to a terminal, or to another file of gort_std. */
typedef struct gort_file gort_file;
struct iovec; /* <sys/uio.h> */

/* One more holder, who must call gort_close, too. */
gort_file *gort_file_retain(gort_file *f);

/* Close f for all: calls that wait give -EBADF, and so do all later ones. The descriptor is closed when
 * the last call inside has ended: none can hit another's that has its number. The caller is no
 * holder any more; those that are left call gort_close as well (-EBADF), and f is gone after the
 * last. 0; -EINVAL: it is gort_std's. Not cancellable. */
int gort_close(gort_file *f);

typedef struct gort_listen_options {
	int backlog;     /* 0: the system's most */
	bool reuse_port; /* SO_REUSEPORT */
	bool only_v6;    /* IPV6_V6ONLY, where IPv6 would stand for both */
	int reserved_[8];
} gort_listen_options; /* zero value: all defaults */

/* A connection; for datagrams, a socket with a peer. networks: tcp tcp4 tcp6 udp udp4 udp6 unix
 * unixgram unixpacket. addresses: "host:port", "[::1]:80", "[fe80::1%eth0]:80", ":http" (this
 * machine), a path, "@abstract"; names as gort_resolve. All addresses of a name are tried: those of the
 * first one's family one after the other, and 300 ms later, or when they have failed, those of the
 * other family beside them (RFC 8305); a deadline is divided among them. TCP sockets have TCP_NODELAY
 * and keepalive (15 s), as in Go.
 * 0; -EINVAL bad text; -ENXIO no such host or service; -EREMOTEIO its resolver failed; else the
 * error of the first address. [c] */
int gort_dial(gort_file **out, const char *network, const char *address);

/* A listener; for datagrams, a socket with a name. Networks and addresses as gort_dial; without a host
 * all of this machine's, of both families (tcp, udp); port 0: a free one (gort_local_address
 * tells). TCP has SO_REUSEADDR. options may be NULL. Errors as gort_dial; -EADDRINUSE. [c] while it
 * looks a name up. */
int gort_listen(gort_file **out, const char *network, const char *address,
		const gort_listen_options *options);

/* The next connection. What is no fault of the listener's (-ECONNABORTED and the like) is not told. At
 * -EMFILE, -ENFILE, -ENOBUFS and -ENOMEM it waits before it says so, 5 ms, growing to 1 s when that
 * goes on: a careless loop does not spin. -EINVAL: it is no listener. */
int gort_accept(gort_file *listener, gort_file **out);

/* open(2), as user code: it may block. */
int gort_open(gort_file **out, const char *path, int flags, mode_t mode);
int gort_pipe(gort_file **reader, gort_file **writer);

/* Take a descriptor over; where that fails (-EBADF, -ENOMEM, -ESRCH) it stays the caller's. It is
 * made not to block, but for terminals, and to be closed by exec. */
int gort_file_from_fd(gort_file **out, int fd);

/* Descriptors 0, 1 and 2: borrowed, never closed, with their flags as they are (others share them).
 * NULL: another number, not open, no runtime, or out of memory. */
gort_file *gort_std(int fd);

/* Its descriptor, borrowed: for setsockopt, gort_wait_fd and the like. -EBADF once it is closed. */
int gort_file_fd(const gort_file *f);

/* What there is, at most n bytes; waits until there is some. 0: the end of the stream (or an empty
 * datagram, or n is 0). read_full goes on until it has n bytes, or the stream ends (fewer): after
 * an error what it has got is lost. */
ssize_t gort_read(gort_file *f, void *buf, size_t n);
ssize_t gort_read_full(gort_file *f, void *buf, size_t n);
ssize_t gort_readv(gort_file *f, const struct iovec *iov, int n); /* 1024 of them at most */

/* All of it: n, or the error, and then some of it may have been written. write_some: what goes at
 * once, 1 byte at least, for who must know how far it came. -EPIPE: nobody reads. writev takes any
 * number of buffers; of a datagram, 1024. */
ssize_t gort_write(gort_file *f, const void *buf, size_t n);
ssize_t gort_write_some(gort_file *f, const void *buf, size_t n);
ssize_t gort_writev(gort_file *f, const struct iovec *iov, int n);

/* At an offset of a regular file, as pread(2) and pwrite(2); pwrite goes on until all is written, or
 * gives what it could if there is an error behind that. Any number at once. */
ssize_t gort_pread(gort_file *f, void *buf, size_t n, off_t at);
ssize_t gort_pwrite(gort_file *f, const void *buf, size_t n, off_t at);
int gort_fsync(gort_file *f);

/* recvmsg(2) and sendmsg(2): addresses, ancillary data. Descriptors that come are closed by exec. */
ssize_t gort_recvmsg(gort_file *f, struct msghdr *m, int flags);
ssize_t gort_sendmsg(gort_file *f, const struct msghdr *m, int flags);

/* From one file to the other: limit bytes, or (limit < 0) until the end; inside the kernel where it
 * can (sendfile, copy_file_range, splice). *done, if given: the bytes that were written, after an
 * error, too. 0, also when the end came before limit; else the first error of either side. */
int gort_copy(gort_file *to, gort_file *from, int64_t limit, int64_t *done);

/* SHUT_RD, SHUT_WR, SHUT_RDWR: for all who use the socket, at once. Not cancellable. */
int gort_shutdown(gort_file *f, int how);

/* For each call at that side, those that wait now included: from then on -ETIMEDOUT, even if it could go
 * on. GORT_FOREVER: none. May be set at any time, again and again, also after it has passed. */
int gort_set_read_deadline(gort_file *f, int64_t deadline);
int gort_set_write_deadline(gort_file *f, int64_t deadline);

/* "127.0.0.1:80", "[::1]:80", a path, "@abstract", "" if unnamed: its length, as snprintf. Not
 * cancellable. */
int gort_local_address(const gort_file *f, char *text, size_t size);
int gort_peer_address(const gort_file *f, char *text, size_t size);

/* Any descriptor of somebody else's, not taken over: park until it is ready, or the deadline (GORT_NOW:
 * look once). events: POLLIN, POLLOUT, POLLPRI, POLLRDHUP (<poll.h>). Any number may wait for one
 * descriptor. Who closes it meanwhile leaves them waiting. [c] What is true: of events, and POLLERR,
 * POLLHUP; -ETIMEDOUT; -EBADF; -EINVAL other events. */
int gort_wait_fd(int fd, int events, int64_t deadline);
/* ---- names ---------------------------------------------------------------------------- */

typedef struct gort_addr {
	socklen_t len; /* of what is used of addr, for bind and connect */
	struct sockaddr_storage addr;
} gort_addr;

/* The addresses of a host, with the port of a service: one array of *count, which the caller frees
 * with free(), in the order of RFC 6724, each once. Who looks names up is the build's choice
 * (GORT_CARES): c-ares, by /etc/hosts and the name servers of /etc/resolv.conf; or getaddrinfo, by
 * whatever the system is set up to ask. host: a name, an IPv4 or IPv6 address (with a zone:
 * "fe80::1%eth0", "fe80::1%2"), or NULL or "": this machine, 127.0.0.1 and ::1. service: a number, the
 * name of one of TCP ("https"), or NULL or "": port 0.
 *
 * Names block the caller, and nobody else: 64 are looked up at once, each in a goroutine of its own,
 * and the others wait for their turn. Who is cancelled goes at once; getaddrinfo is left to end
 * by itself, c-ares ends at once. Numbers for both are answered without waiting, and need no runtime. [c]
 *
 * 0; -EINVAL: neither host nor service, or text that can be neither a name nor a number; -ENXIO: no
 * such host, service or zone; -EREMOTEIO: nobody could tell (no answer, a broken one);
 * -ENOMEM; -ESRCH: a name, and no runtime runs; another of the system's. -ECANCELED also
 * to a plain thread when the runtime stops meanwhile. */
int gort_resolve(const char *host, const char *service, gort_addr **out, size_t *count);

/* ---- seeing what happens ------------------------------------------------------------- */

/* Counters, since the runtime's start, and how things stand, as of about now: nobody is stopped, no
 * lock taken, so what happens during the call may show in one number and not in another. Any thread,
 * signal handlers too; takes a tenth of a microsecond, and more with many Ps or threads. All 0
 * where no runtime runs. size: sizeof *out; a smaller one gets the first so many bytes, and what is
 * beyond all that this version knows is 0. */
typedef struct gort_stats {
	uint64_t goroutines, created, running, runnable, waiting; /* now; ever; by state: running also in
	                              a blocking call, runnable in a queue, waiting: the rest */
	uint64_t threads;          /* that run goroutines, or may; not gort's few helpers */
	uint64_t threads_blocked;  /* of these, with a goroutine and without the right to run it: in a
	                              blocking call, or preempted and waiting for their turn */
	uint64_t procs, procs_idle; /* GOMAXPROCS; of these, without work */
	uint64_t switches;         /* a goroutine began to run, or went on */
	uint64_t steals;           /* a P without work took some of another's */
	uint64_t preemptions;      /* a goroutine was stopped after its slice */
	uint64_t retakes;          /* a thread slept in the kernel, and its P went to others */
	uint64_t parks;            /* a goroutine began to wait */
	uint64_t polls;            /* an idle thread slept until the next timer */
	uint64_t timers;           /* that are set: sleeps, deadlines, gort_timers; not of bubbles */
	uint64_t stack_reserved;   /* address space for stacks, bytes */
	uint64_t stack_resident;   /* of goroutines and those kept for new ones, in full; what they have
	                              touched of it, a page at least, is resident; the rest is
	                              not, or was given back */
} gort_stats;
void gort_read_stats(gort_stats *out, size_t size);

/* All goroutines: number, name, state, what it waits for and for how long, where it was
 * started, call stack. Safe from a signal handler, stops nothing for longer than a copy. Takes no
 * lock. GORT_SIGQUIT=1 in the environment: SIGQUIT does it, to descriptor 2. -ESRCH: no runtime
 * runs, or it ends; -ENOMEM; or why fd cannot be written. */
int gort_dump(int fd);

/* ---- tests with a clock of their own ------------------------------------------------ */

/* Run fn(arg) and all that it starts in a bubble: gort_now() starts at 0, stands still while any of them
 * can go on, and jumps to the next timer when every goroutine of the bubble waits on something of the
 * bubble: a channel, select, time, cond, wait group, semaphore, scope or task made in it; not a mutex, a
 * file, a blocking call. fn starts under the background context. Blocks. Gives fn's result (0 after goexit,
 * -EOWNERDEAD after a panic) once all have ended, time going on till then; -EDEADLK if all wait and no
 * timer is left (who waits for what is printed, and they never run again); -EPERM on a plain thread;
 * -ENOMEM. Objects made in a bubble are for the bubble. */
int gort_bubble(int (*fn)(void *arg), void *arg);
void gort_bubble_wait(void); /* until all others of the bubble wait; one at a time */

#ifdef __cplusplus
}
#endif

#endif
