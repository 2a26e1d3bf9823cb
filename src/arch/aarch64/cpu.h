/*
 * cpu.h - AArch64: the few instructions that C cannot say. See arch.h.
 */
#ifndef GORT_ARCH_AARCH64_CPU_H
#define GORT_ARCH_AARCH64_CPU_H

/* x86-64's cpu.h says what for. Here it means nothing. */
#define returns_by_jump noinline

/* isb, not yield: yield is a nop on nearly every core, isb waits some tens of cycles. */
static inline void arch_pause(void)
{
	__asm__ volatile("isb" : : : "memory");
}

static inline uint64_t arch_cycles(void)
{
	uint64_t ticks;
	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
	return ticks;
}

/* Volatile: once per call, in order. Between mrs and ldr the goroutine must not change threads:
 * that holds, because nothing switches inside gort's own text without a call. */
static inline void *arch_self(void)
{
	void *self, *offset;
	__asm__ volatile("mrs %0, tpidr_el0\n\t"
			 "adrp %1, :gottprel:gort__self\n\t"
			 "ldr %1, [%1, :gottprel_lo12:gort__self]\n\t"
			 "ldr %0, [%0, %1]"
			 : "=&r"(self), "=&r"(offset));
	return self;
}

static inline void arch_self_set(void *self)
{
	void *thread, *offset;
	__asm__ volatile("mrs %0, tpidr_el0\n\t"
			 "adrp %1, :gottprel:gort__self\n\t"
			 "ldr %1, [%1, :gottprel_lo12:gort__self]\n\t"
			 "str %2, [%0, %1]"
			 : "=&r"(thread), "=&r"(offset)
			 : "r"(self)
			 : "memory");
}

#endif
