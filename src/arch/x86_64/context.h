/*
 * context.h - x86-64: the frame of a context that has not run yet. switch.S draws the frame. Inline: each spawn makes one.
 */
#ifndef GORT_ARCH_X86_64_CONTEXT_H
#define GORT_ARCH_X86_64_CONTEXT_H

#include "base/base.h"

/* As gort_switch leaves it on a stack. */
struct arch_frame {
	uint32_t mxcsr; /* written and read as they stand, never as one word: see switch.S */
	uint16_t x87_control;
	uint16_t unused;
	void *r15, *r14, *r13, *r12, *rbx, *rbp;
	void *resume_at;
};

/* In switch.S: calls r12(r13). Not a function of C's. */
extern char gort__context_resume[] __attribute__((visibility("hidden")));

static inline void *arch_context_make(void *top, void (*entry)(void *), void *arg)
{
	uint32_t mxcsr;
	uint16_t x87_control;
	__asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(mxcsr), "=m"(x87_control));

	struct arch_frame *f = (struct arch_frame *)((char *)top - ((uintptr_t)top & 15)) - 1;
	*f = (struct arch_frame){
		.mxcsr = mxcsr,
		.x87_control = x87_control,
		.r12 = (void *)(uintptr_t)entry,
		.r13 = arg,
		.resume_at = gort__context_resume,
	};
	return f;
}

static inline uint64_t arch_control(void)
{
	uint32_t mxcsr;
	uint16_t x87_control;
	__asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(mxcsr), "=m"(x87_control));

	return (uint64_t)x87_control << 32 | mxcsr;
}

static inline void arch_context_control(void *sp, uint64_t control)
{
	struct arch_frame *f = sp;

	f->mxcsr = (uint32_t)control;
	f->x87_control = (uint16_t)(control >> 32);
}

#endif
