/*
 * atomic.h - every atomic step of gort as a scheduling point of the simulator: stands in for
 * src/base/atomic.h, with the same names and meanings.
 *
 * Each use has a constant record of its own, the site: where it stands, how it is written, which
 * order it asks for. The engine gets the site and the address, lets others run first as it likes,
 * then does the step on one real thread. Values travel as 64 bits.
 */
#ifndef SIM_BASE_ATOMIC_H
#define SIM_BASE_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

enum sim_op {
	SIM_LOAD,
	SIM_STORE,
	SIM_SWAP,
	SIM_ADD,
	SIM_SUB,
	SIM_OR,
	SIM_AND,
	SIM_CAS,
	SIM_FENCE,
	SIM_PAUSE,
	SIM_OS,   /* a call of os.h that touches no word of gort's */
	SIM_WORD, /* one that does: futexes */
	SIM_NOTE  /* a line for the reader of a trace */
};

enum sim_order { SIM_RELAXED, SIM_ACQUIRE, SIM_RELEASE, SIM_ACQ_REL, SIM_SEQ };

struct sim_site {
	const char *file, *function, *text;
	uint16_t line;
	uint8_t op, order, size;
};

uint64_t sim_load(const void *p, const struct sim_site *site);
void sim_store(void *p, uint64_t v, const struct sim_site *site);
uint64_t sim_rmw(void *p, uint64_t v, const struct sim_site *site); /* the value from before */
bool sim_cas(void *p, void *old, uint64_t v, const struct sim_site *site);
void sim_fence(const struct sim_site *site);

#define SIM_SITE_(op, order, text, size) \
	static const struct sim_site site_ = { __FILE__, __func__, text, __LINE__, op, order, size }
#define SIM_TYPED_(p, value) ((__typeof__(*(p)))(uintptr_t)(value))

#define SIM_LOAD_(p, order, text) \
	__extension__({ \
		__auto_type p_ = (p); \
		SIM_SITE_(SIM_LOAD, order, text, sizeof *p_); \
		SIM_TYPED_(p_, sim_load(p_, &site_)); \
	})
#define SIM_STORE_(p, v, order, text) \
	__extension__({ \
		__auto_type p_ = (p); \
		SIM_SITE_(SIM_STORE, order, text, sizeof *p_); \
		sim_store(p_, (uint64_t)(uintptr_t)(v), &site_); \
	})
#define SIM_RMW_(op, p, v, order, text) \
	__extension__({ \
		__auto_type p_ = (p); \
		SIM_SITE_(op, order, text, sizeof *p_); \
		SIM_TYPED_(p_, sim_rmw(p_, (uint64_t)(uintptr_t)(v), &site_)); \
	})
#define SIM_CAS_(p, old, v, order, text) \
	__extension__({ \
		__auto_type p_ = (p); \
		SIM_SITE_(SIM_CAS, order, text, sizeof *p_); \
		sim_cas(p_, (old), (uint64_t)(uintptr_t)(v), &site_); \
	})

#define load_relaxed(p) SIM_LOAD_(p, SIM_RELAXED, "load_relaxed(" #p ")")
#define load_acquire(p) SIM_LOAD_(p, SIM_ACQUIRE, "load_acquire(" #p ")")
#define load_seq(p) SIM_LOAD_(p, SIM_SEQ, "load_seq(" #p ")")
#define store_relaxed(p, v) SIM_STORE_(p, v, SIM_RELAXED, "store_relaxed(" #p ")")
#define store_release(p, v) SIM_STORE_(p, v, SIM_RELEASE, "store_release(" #p ")")
#define store_seq(p, v) SIM_STORE_(p, v, SIM_SEQ, "store_seq(" #p ")")

#define swap_relaxed(p, v) SIM_RMW_(SIM_SWAP, p, v, SIM_RELAXED, "swap_relaxed(" #p ")")
#define swap_acquire(p, v) SIM_RMW_(SIM_SWAP, p, v, SIM_ACQUIRE, "swap_acquire(" #p ")")
#define swap_release(p, v) SIM_RMW_(SIM_SWAP, p, v, SIM_RELEASE, "swap_release(" #p ")")
#define swap_acq_rel(p, v) SIM_RMW_(SIM_SWAP, p, v, SIM_ACQ_REL, "swap_acq_rel(" #p ")")
#define swap_seq(p, v) SIM_RMW_(SIM_SWAP, p, v, SIM_SEQ, "swap_seq(" #p ")")

#define add_relaxed(p, v) SIM_RMW_(SIM_ADD, p, v, SIM_RELAXED, "add_relaxed(" #p ")")
#define add_acq_rel(p, v) SIM_RMW_(SIM_ADD, p, v, SIM_ACQ_REL, "add_acq_rel(" #p ")")
#define add_seq(p, v) SIM_RMW_(SIM_ADD, p, v, SIM_SEQ, "add_seq(" #p ")")
#define sub_relaxed(p, v) SIM_RMW_(SIM_SUB, p, v, SIM_RELAXED, "sub_relaxed(" #p ")")
#define sub_release(p, v) SIM_RMW_(SIM_SUB, p, v, SIM_RELEASE, "sub_release(" #p ")")
#define sub_acq_rel(p, v) SIM_RMW_(SIM_SUB, p, v, SIM_ACQ_REL, "sub_acq_rel(" #p ")")
#define or_relaxed(p, v) SIM_RMW_(SIM_OR, p, v, SIM_RELAXED, "or_relaxed(" #p ")")
#define or_acq_rel(p, v) SIM_RMW_(SIM_OR, p, v, SIM_ACQ_REL, "or_acq_rel(" #p ")")
#define and_acq_rel(p, v) SIM_RMW_(SIM_AND, p, v, SIM_ACQ_REL, "and_acq_rel(" #p ")")

#define cas_relaxed(p, old, v) SIM_CAS_(p, old, v, SIM_RELAXED, "cas_relaxed(" #p ")")
#define cas_acquire(p, old, v) SIM_CAS_(p, old, v, SIM_ACQUIRE, "cas_acquire(" #p ")")
#define cas_release(p, old, v) SIM_CAS_(p, old, v, SIM_RELEASE, "cas_release(" #p ")")
#define cas_acq_rel(p, old, v) SIM_CAS_(p, old, v, SIM_ACQ_REL, "cas_acq_rel(" #p ")")
#define cas_seq(p, old, v) SIM_CAS_(p, old, v, SIM_SEQ, "cas_seq(" #p ")")

#define fence_seq() \
	__extension__({ \
		SIM_SITE_(SIM_FENCE, SIM_SEQ, "fence_seq()", 0); \
		sim_fence(&site_); \
	})

static inline void fence_compiler(void)
{
	__asm__ volatile("" ::: "memory");
}

/* Chosen by the explorer for each schedule. */
extern bool gort__asymmetric;

#define fence_light() \
	__extension__({ \
		if (gort__asymmetric) \
			fence_compiler(); \
		else \
			fence_seq(); \
	})

#endif
