/*
 * atomic.h - every atomic step of gort.
 *
 * The order is spelled in the name of each operation. A release names, in the comment beside
 * it, the acquire it meets. No other file uses __atomic or stdatomic.h: a test build replaces
 * this header (and os/os.h) to explore schedules.
 *
 * Fields touched by these are plain integers and pointers whose comment in the struct says
 * "atomic"; they are never accessed without these macros once shared.
 *
 * Asymmetric fences: fence_light() on the frequent side pairs with os_membarrier() on the rare
 * side. Where the kernel has no membarrier, light is a full fence and the heavy side is one too.
 */
#ifndef GORT_BASE_ATOMIC_H
#define GORT_BASE_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#define load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define load_seq(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define store_seq(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)

#define swap_relaxed(p, v) __atomic_exchange_n((p), (v), __ATOMIC_RELAXED)
#define swap_acquire(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQUIRE)
#define swap_release(p, v) __atomic_exchange_n((p), (v), __ATOMIC_RELEASE)
#define swap_acq_rel(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL)
#define swap_seq(p, v) __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)

/* These give the value from before. */
#define add_relaxed(p, v) __atomic_fetch_add((p), (v), __ATOMIC_RELAXED)
#define add_acq_rel(p, v) __atomic_fetch_add((p), (v), __ATOMIC_ACQ_REL)
#define add_seq(p, v) __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
#define sub_relaxed(p, v) __atomic_fetch_sub((p), (v), __ATOMIC_RELAXED)
#define sub_release(p, v) __atomic_fetch_sub((p), (v), __ATOMIC_RELEASE)
#define sub_acq_rel(p, v) __atomic_fetch_sub((p), (v), __ATOMIC_ACQ_REL)
#define or_relaxed(p, v) __atomic_fetch_or((p), (v), __ATOMIC_RELAXED)
#define or_acq_rel(p, v) __atomic_fetch_or((p), (v), __ATOMIC_ACQ_REL)
#define and_acq_rel(p, v) __atomic_fetch_and((p), (v), __ATOMIC_ACQ_REL)

/* Strong compare-and-swap: true if *p was *old and now is v; else *old is what it was. The
 * failure order is relaxed, but for _seq and _acq_rel, where it is acquire. */
#define cas_relaxed(p, old, v) \
	__atomic_compare_exchange_n((p), (old), (v), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)
#define cas_acquire(p, old, v) \
	__atomic_compare_exchange_n((p), (old), (v), false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)
#define cas_release(p, old, v) \
	__atomic_compare_exchange_n((p), (old), (v), false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)
#define cas_acq_rel(p, old, v) \
	__atomic_compare_exchange_n((p), (old), (v), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
#define cas_seq(p, old, v) \
	__atomic_compare_exchange_n((p), (old), (v), false, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE)

/* ThreadSanitizer does not model fences (gcc warns). gort uses them for StoreLoad ordering
 * only; happens-before always travels by a release that meets an acquire, so nothing is lost. */
static inline void fence_seq(void)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wunknown-warning-option"
#pragma GCC diagnostic ignored "-Wtsan"
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#pragma GCC diagnostic pop
}

/* The compiler may not move memory accesses across; the processor may. */
static inline void fence_compiler(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* Set once before any other thread exists (os_init), then never changes. */
extern __attribute__((visibility("hidden"))) bool gort__asymmetric;

static inline void fence_light(void)
{
	if (__builtin_expect(gort__asymmetric, 1))
		fence_compiler();
	else
		fence_seq();
}

#endif
