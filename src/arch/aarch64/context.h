/*
 * context.h - AArch64: the frame of a context that has not run yet. switch.S draws the frame. Inline: each spawn makes one.
 */
#ifndef GORT_ARCH_AARCH64_CONTEXT_H
#define GORT_ARCH_AARCH64_CONTEXT_H

#include "base/base.h"

/* As gort_switch leaves it on a stack. */
struct arch_frame {
	uint64_t fpcr, unused;
	uint64_t d8_to_d15[8];
	void *x19, *x20, *x21_to_x28[8];
	void *x29, *x30;
};

/* In switch.S: calls x19(x20). Not a function of C's. */
extern char gort__context_resume[] __attribute__((visibility("hidden")));

static inline void *arch_context_make(void *top, void (*entry)(void *), void *arg)
{
	uint64_t fpcr;
	__asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));

	struct arch_frame *f = (struct arch_frame *)((char *)top - ((uintptr_t)top & 15)) - 1;
	*f = (struct arch_frame){
		.fpcr = fpcr,
		.x19 = (void *)(uintptr_t)entry,
		.x20 = arg,
		.x30 = gort__context_resume,
	};
	return f;
}

static inline uint64_t arch_control(void)
{
	uint64_t fpcr;
	__asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));

	return fpcr;
}

static inline void arch_context_control(void *sp, uint64_t control)
{
	struct arch_frame *f = sp;

	f->fpcr = control;
}

#endif
