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
void os_thread_join(os_thread *t);      /* may lock in libc */
void os_thread_detach(os_thread *t);    /* may lock in libc */
void os_thread_name(const char *name);  /* of the calling thread; first 15 bytes kept */
void os_thread_timer_slack(int64_t ns); /* of the calling thread */
int32_t os_thread_id(void);             /* gettid */
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
/* The calling thread's mask, kept at the runtime's start and given to each M. */
void os_signals_get(sigset_t *mask);
void os_signals_set(const sigset_t *mask);

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

/* ---- misc.c */
void os_write_err(const char *text, size_t size); /* all of it to descriptor 2, EINTR handled */
_Noreturn void os_abort(void);
uint64_t os_random(void); /* seed; getrandom, else clock and address */
/* Environment at start: NULL if unset. */
const char *os_getenv(const char *name);

#endif
