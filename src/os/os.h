/*
 * os.h - the contract between gort and the operating system.
 *
 * Everything that waits, tells time, starts threads, maps memory or talks to signals stands
 * here; os/linux/ fulfils it. A test build replaces this layer to explore schedules. All sizes
 * are bytes, all times nanoseconds on CLOCK_MONOTONIC. Functions give >= 0 or -errno. Nothing
 * here takes a lock of libc's, except where it says "may lock in libc": those are called with no
 * lock of gort's held, and never by a thread that others wait for.
 *
 * This header may be included by every layer.
 */
#ifndef GORT_OS_OS_H
#define GORT_OS_OS_H

#include "base/base.h"

#include <signal.h>
#include <sys/types.h>

/* Probe the kernel, once, before any other thread of gort's exists: page size, membarrier (sets
 * gort__asymmetric of base/atomic.h), guards. Safe to call again. */
void os_init(void);

/* ---- clock.c */
int64_t os_now(void);

/* ---- futex.c */
#define OS_FOREVER INT64_MAX
/* Wait while *word == expected, until an absolute deadline. 0 (woken, or spuriously), -EAGAIN (the
 * word differs), -ETIMEDOUT, -EINTR. */
int os_futex_wait(uint32_t *word, uint32_t expected, int64_t deadline);
void os_futex_wake(uint32_t *word, int count);
/* A full fence on every running thread of the process; pairs with fence_light(). */
void os_membarrier(void);
void os_yield_thread(void); /* sched_yield */

/* ---- thread.c */
typedef struct os_thread {
	uintptr_t handle; /* pthread_t */
} os_thread;
/* May lock in libc. The thread starts with every signal blocked (os_signals_*). stack_size 0:
 * libc's default. -EAGAIN. */
int os_thread_start(os_thread *t, void (*fn)(void *), void *arg, size_t stack_size);
void os_thread_join(os_thread *t);   /* may lock in libc */
void os_thread_detach(os_thread *t); /* may lock in libc */
os_thread os_thread_self(void);
void os_thread_name(const char *name);  /* of the calling thread; first 15 bytes kept */
void os_thread_timer_slack(int64_t ns); /* of the calling thread */
int32_t os_thread_id(void);             /* gettid */
/* How many threads the process has, but for the kernel's workers and an emulator's. Exact only if more than most; -errno: the system does not say. */
int os_threads(int most);
/* fn runs when the calling thread ends: one fn in the program. May lock in libc. -EAGAIN,
 * -ENOMEM. */
int os_thread_on_exit(void (*fn)(void));

/* ---- cpus.c. May lock in libc; called at start only. */
/* CPUs usable: affinity, limited by the cgroup quota (v1 and v2) as Go 1.25 does. At least 1. */
int os_cpus(void);

/* ---- stackmem.c: address space for stacks, and pages for everything else */
size_t os_page_size(void);
void *os_map(size_t size); /* zeroed, read-write; NULL: out of memory */
void os_unmap(void *p, size_t size);
void *os_reserve(size_t size);         /* address space, no access, commits nothing; NULL */
int os_commit(void *p, size_t size);   /* read-write, pages come on first touch, no huge pages,
                                            also under mlockall(MCL_FUTURE); -ENOMEM */
void os_discard(void *p, size_t size); /* give pages back; they read as zero again */

enum os_guard {
	OS_GUARD_MADVISE,  /* MADV_GUARD_INSTALL */
	OS_GUARD_MPROTECT, /* costs a mapping each: only while far from vm.max_map_count */
	OS_GUARD_NONE,     /* the caller keeps a canary */
};
/* Make n guards of size bytes, the first at p, each stride further on. All of them or none. The
 * kind that was used: OS_GUARD_NONE if none could be made. */
enum os_guard os_guard_many(void *p, size_t stride, size_t size, unsigned n);
void os_guard_forget(enum os_guard kind, unsigned n); /* n of them were unmapped */

/* ---- signal.c */
/* The calling thread's mask, kept at the runtime's start and given to each M: without the signals
 * of preemption. */
void os_signals_get(sigset_t *mask);
void os_signals_set(const sigset_t *mask);
void os_signals_block(void); /* all of them, for good: the thread ends */

/* An alternate signal stack for the calling thread; the one it had is kept in *old (opaque) and
 * put back by os_altstack_leave. -ENOMEM. */
struct os_altstack {
	void *memory;
	size_t size;
	stack_t before;
};
int os_altstack_enter(struct os_altstack *a);
void os_altstack_leave(struct os_altstack *a);

/* Faults. fn(address, sp, pc, code) runs on the alternate stack inside the SIGSEGV or SIGBUS
 * handler. If it returns true it has reported: the signal's default action follows (core dump).
 * False: not ours, the handler that was there before is called, with its flags honoured, or the
 * default action follows. install keeps what was there; remove puts it back, unless someone else
 * has replaced ours meanwhile. Each is called with the runtime not running threads of its own. */
typedef bool (*os_fault_fn)(uintptr_t address, uintptr_t sp, uintptr_t pc, int code);
int os_faults_install(os_fault_fn fn);
void os_faults_remove(void);
/* For fn: where the fault was. False: nothing is known. */
struct os_context;
bool os_fault_context(struct os_context *at);

/* Where a thread was: pc, and the general registers by their DWARF numbers, as unwinders count them.
 * A copy of the stack from its pointer up comes along if low and high, set by the asker, hold that
 * between them. */
#define OS_REGS 32
#define OS_STACK_COPY 1024
struct os_context {
	uintptr_t pc, reg[OS_REGS];
	uintptr_t low, high;
	uint32_t copied; /* words */
	uintptr_t stack[OS_STACK_COPY];
};

/* ---- sample.c. Signal handlers may call these, but for the installing ones. */
/* Ask a thread of the process where it is; out->low and high are set. False: no answer in that
 * time (in nanoseconds). */
bool os_thread_sample(int32_t tid, struct os_context *out, int64_t timeout);
/* For SIGURG's handler: true if the signal was such a question, and is answered. */
bool os_sample_handle(const siginfo_t *info, const void *ucontext);
/* SIGQUIT calls fn(where it interrupted the thread), and nothing else happens. As for faults. */
int os_quit_install(void (*fn)(const struct os_context *at));
void os_quit_remove(void);
/* The bounds of the alternate stack that the calling thread runs on. False: it does not. */
bool os_altstack_bounds(uintptr_t *low, uintptr_t *high);

/* ---- image.c: for reports. No lock of libc's, no allocation; signal handlers. */
struct os_image {
	uintptr_t start, end; /* code */
	uint64_t offset;      /* of start in the file */
	const void *file;     /* all of it; NULL: it is not to be had any more */
	size_t size;
	bool mapped;   /* by us */
	char name[46]; /* the last part of its path */
};
/* The code that is mapped now, of most files at most: how many. */
int os_images_open(struct os_image *images, int most);
void os_images_close(struct os_image *images, int count);
/* All of it; -errno. Waits for a moment where a descriptor does not want to. */
int os_write_all(int fd, const void *data, size_t size);

/* ---- preempt.c: another thread of the process, looked at and interrupted */
/* CPU time that it has used. -ESRCH. */
int64_t os_thread_cpu(int32_t tid);
/* 1: it sleeps in the kernel; 0: it runs, or would; -errno: the system does not say. */
int os_thread_asleep(int32_t tid);
/* Where a signal has met the calling thread. */
struct os_interrupted {
	uintptr_t pc, sp;
	void *uc;    /* the system's own */
	bool asleep; /* in a call that was about to sleep, and is made again where fn says true */
};
/* The signal of preemption. fn runs on the alternate stack, with every signal blocked but libc's own
 * and those of faults; it may wait, and returns false for a signal that is not its. Then, and
 * while nothing is installed, it goes to the handler that was there before. install keeps that;
 * remove puts it back, unless someone else has replaced ours meanwhile. Calls that the signal
 * interrupts go on (SA_RESTART). */
typedef bool (*os_preempt_fn)(const struct os_interrupted *at);
int os_preempt_install(os_preempt_fn fn);
void os_preempt_remove(void);
void os_preempt_send(int32_t tid);
/* Of the calling thread: neither blocked nor taken over by somebody else. */
void os_preempt_repair(void);
/* Preemption by switching stacks. The calling thread gets a second signal, when the handler that it
 * is in has returned: where it was, on the stack that it was on. fn(sp) may leave that for other
 * contexts, and come back on another thread; the return restores all registers. usable: fn may be
 * called for code at pc: the program's own, neither gort's nor libc's. Installed once, till the end
 * of the process: -EBUSY if somebody uses the signal, -ENOTSUP with a static libc. */
int os_switch_install(void (*fn)(uintptr_t sp));
bool os_switch_usable(uintptr_t pc);
void os_switch_self(void);
size_t os_signal_frame(void); /* what a signal needs of the stack at least */
/* pc lies in libc or the loader. */
/* On a thread that is an M for a while: let the signals of preemption through; those that were
 * blocked are blocked again afterwards. */
uint32_t os_preempt_unblock(void);
void os_preempt_block(uint32_t which);
bool os_in_libc(uintptr_t pc);
bool os_in_gort(uintptr_t pc); /* gort's own code, linked into the program */

/* ---- poll.c: descriptors. Nothing here but os_poll_wait waits. */
enum {
	OS_POLL_IN = 0x1,
	OS_POLL_PRI = 0x2,
	OS_POLL_OUT = 0x4,
	OS_POLL_ERR = 0x8,
	OS_POLL_HUP = 0x10,
	OS_POLL_RDHUP = 0x2000,
	OS_POLL_ONCE = 1 << 30, /* told once, then not until os_poll_change */
};
#define OS_POLL_EDGE (UINT32_C(1) << 31) /* told when it becomes so */
#define OS_POLL_MOST 128                 /* at one wait */
#define OS_POLL_NOW INT64_MIN
#define OS_POLL_BELL UINT64_MAX /* no data of the callers' */
struct os_poll {
	int fd, bell;
};
struct os_poll_event {
	uint64_t data;
	uint32_t events;
};
int os_poll_open(struct os_poll *p); /* -EMFILE and the like */
void os_poll_close(struct os_poll *p);
/* -EEXIST, -EPERM: of a kind that is always ready, -EBADF, -ENOSPC, -ENOMEM. */
int os_poll_add(const struct os_poll *p, int fd, uint32_t events, uint64_t data);
int os_poll_change(const struct os_poll *p, int fd, uint32_t events, uint64_t data);
int os_poll_remove(const struct os_poll *p, int fd);
/* How many there are; 0: it rang, or until has come, or for no reason. One at a time sleeps; others
 * may look meanwhile (OS_POLL_NOW). */
int os_poll_wait(const struct os_poll *p, struct os_poll_event *events, int most, int64_t until);
/* End a sleep there, or the next one; a look does not hear it. Signal handlers. */
void os_poll_ring(const struct os_poll *p);
/* What of events, and errors, is true of fd now: a bad descriptor gives POLLNVAL, as poll(2). */
int os_poll_look(int fd, uint32_t events);
void os_fd_close(int fd);
/* The calling thread is not cancelled (pthread_cancel) between the two. */
int os_cancel_off(void);
void os_cancel_back(int before);

/* ---- notify.c: signals that the program wants to be told of */
/* It may be watched: not SIGKILL and SIGSTOP, those that gort uses, and libc's own. */
bool os_notify_allowed(int signo);
/* From now on fn(signo) is called inside the handler, on any thread, at any point: with signals
 * of that number, whoever sent them, but not with faults of the program's own. One fn in the
 * program. install keeps what was there; remove puts it back, unless someone else has replaced ours
 * meanwhile, and does nothing where ours is not installed. fn may still be running then. For one
 * caller at a time. -EINVAL. */
typedef void (*os_notify_fn)(int signo);
int os_notify_install(int signo, os_notify_fn fn);
void os_notify_remove(int signo);

/* ---- event.c: a descriptor that is readable while it is set, for poll(2) and the like */
int os_event_make(void); /* clear, close-on-exec; -EMFILE, -ENFILE, -ENOMEM */
/* These do not block and are not cancelled (pthread_cancel). One clear undoes all sets before it. */
void os_event_set(int fd);
void os_event_clear(int fd);
void os_event_close(int fd);

/* ---- mutexes.c: only in builds with that check (GORT_CHECKS_MUTEXES) */
/* From now on fn(mutex, locked) is called after each pthread mutex that the program, or a library
 * other than libc, has locked or unlocked. Not in fully static programs. */
void os_mutexes_watch(void (*fn)(const void *mutex, bool locked));

/* ---- uring.c: calls on files, made by the kernel meanwhile. For one thread, but for ring. */
enum os_uring_what { OS_URING_READ, OS_URING_WRITE, OS_URING_FSYNC };
struct os_uring_call {
	enum os_uring_what what;
	int fd;
	void *buf;
	uint32_t n;
	int32_t result; /* when it has ended: -errno, or what the call gives */
	int64_t at;
};
struct os_uring {
	int fd, bell;
	bool bell_heard;
	void *rings;
	size_t rings_size;
	uint32_t sq_entries, cq_mask;
	uint32_t *sq_head, *sq_tail, *cq_head, *cq_tail; /* atomic */
	struct os_uring_submission *submissions;
	struct os_uring_completion *completions;
};
int os_uring_open(struct os_uring *r); /* -ENOSYS, -EPERM: not here; -EMFILE, -ENOMEM */
void os_uring_close(struct os_uring *r);
/* c stays where it is till it has ended. False: no room before the next wait. */
bool os_uring_put(struct os_uring *r, const struct os_uring_call *c);
/* Hands over what was put. sleeps: until something has ended, or it rang, or for no reason. False: the
 * system does not do that any more. Then one that was put, and is not handed over, may be taken back; NULL:
 * there is none. */
bool os_uring_wait(struct os_uring *r, bool sleeps);
struct os_uring_call *os_uring_take_back(struct os_uring *r);
struct os_uring_call *os_uring_take(struct os_uring *r); /* one that has ended, or NULL */
void os_uring_ring(const struct os_uring *r);            /* end a sleep, or the next one */

/* ---- fork.c */
/* fn is called in the child of each fork from now on, on its only thread, before fork returns
 * there, and may do what a signal handler may. (Not in that of vfork and posix_spawn, which runs in
 * the parent's memory.) May lock in libc. -ENOMEM. */
int os_fork_child(void (*fn)(void));

/* ---- misc.c */
void os_write_err(const char *text, size_t size); /* all of it to descriptor 2, EINTR handled */
_Noreturn void os_abort(void);
_Noreturn void os_exit(int status); /* at once: _exit */
uint64_t os_random(void);           /* seed; getrandom, else clock and address */
/* Environment at start: NULL if unset. */
const char *os_getenv(const char *name);
bool os_has_ipv6(void); /* sockets of that family can be made */

#endif
