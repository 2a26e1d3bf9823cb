/*
 * arch.h - the same names on every processor: stack switching, the thread's own word, pause.
 *
 * A context that does not run is one pointer: its stack pointer. Everything else lies on its own
 * stack, as gort_switch left it: callee-saved registers, floating-point control state, and the
 * address to go on at.
 *
 * Layout (the asm essay in <arch>/switch.S says why): gort_switch, gort_mcall and gort_enter save
 * the same frame; gort_switch and gort_gogo restore it. Control state (x86-64: MXCSR and x87
 * control word; AArch64: FPCR) is written only where it differs from what is in the processor.
 * On x86-64 the way out is an indirect jump, because ret would be mispredicted each time (2.5 against
 * 7.2 ns). On AArch64 it is ret: br to a place behind a call has no landing pad on BTI-guarded pages.
 */
#ifndef GORT_ARCH_ARCH_H
#define GORT_ARCH_ARCH_H

#include "base/base.h"

/* Save the running context, *save_sp = its stack pointer, and resume the one at to_sp. Returns
 * when someone resumes what was saved, maybe on another thread. */
void gort_switch(void **save_sp, void *to_sp);

/* Resume the context at to_sp; what runs now is not saved. Go's gogo. */
_Noreturn void gort_gogo(void *to_sp);

/* Save the running context in *save_sp, then call fn(arg) on the stack whose lowest used address
 * is stack_sp (g0's). fn never returns. Go's mcall. Unwinding from fn ends here. */
void gort_mcall(void **save_sp, void *stack_sp, void (*fn)(void *), void *arg);

/* As gort_mcall, but fn goes on below on the stack that runs now: so a thread enters its
 * scheduler. gort_gogo(*save_sp) makes it return. Unwinding passes through it to the caller. */
void gort_enter(void **save_sp, void (*fn)(void *), void *arg);

/* Call fn(arg) on the stack whose lowest used address is stack_sp, come back. Go's systemstack.
 * Unwinding passes through it to the caller. */
void gort_systemstack(void *stack_sp, void (*fn)(void *), void *arg);

/* Bounds of gort's own code, and of what is called seldom; for addresses only. */
void gort__text_begin(void);
void gort__text_end(void);
void gort__seldom_begin(void);
void gort__seldom_end(void);

/* From <arch>/cpu.h:
 *   static inline void arch_pause(void)             spin-wait hint
 *   static inline uint64_t arch_cycles(void)        a cheap counter, any unit, for seeds and hints
 *   static inline void *arch_self(void)             this thread's word, re-read on every call: the
 *   static inline void arch_self_set(void *)        compiler cannot keep it across a switch
 * The word is a hidden initial-exec thread-local, gort__self, defined in arch/self.c. */
#include "cpu.h"

/* From <arch>/context.h:
 *   static inline void *arch_context_make(void *top, void (*entry)(void *), void *arg)
 * A context that, when first resumed, calls entry(arg) on the stack that ends (exclusive, any
 * alignment) at top. entry never returns. It starts with the caller's floating-point control
 * state (sticky flags are no control state: they stay with the thread). Unwinding ends at the entry: its return
 * address is undefined, the frame pointer 0. The result is the stack pointer to resume.
 *   static inline uint64_t arch_control(void)       the caller's floating-point control state
 *   static inline void arch_context_control(void *sp, uint64_t control)
 * Another control state for a context that has not run yet: one that g0 makes is not to start with that of
 * whichever goroutine ran there last. */
#include "context.h"

#endif
