/*
 * cpu.h - x86-64: the few instructions that C cannot say. See arch.h.
 */
#ifndef GORT_ARCH_X86_64_CPU_H
#define GORT_ARCH_X86_64_CPU_H

/* What switches stacks comes back by a jump through __x86_return_thunk (switch.S): the processor's return
 * stack holds another goroutine's calls then, and would mispredict each ret. */
#if __has_attribute(function_return)
#define returns_by_jump __attribute__((__noinline__, function_return("thunk-extern")))
#else
#define returns_by_jump noinline
#endif

static inline void arch_pause(void)
{
	__builtin_ia32_pause();
}

static inline uint64_t arch_cycles(void)
{
	return __builtin_ia32_rdtsc();
}

/* The offset from %fs is the same in all threads, so this is right even where the goroutine
 * moves to another thread between the two instructions. Volatile: once per call, in order. */
static inline void *arch_self(void)
{
	void *self;
	__asm__ volatile("movq gort__self@gottpoff(%%rip), %0\n\tmovq %%fs:(%0), %0" : "=r"(self));
	return self;
}

static inline void arch_self_set(void *self)
{
	void *offset;
	__asm__ volatile("movq gort__self@gottpoff(%%rip), %0\n\tmovq %1, %%fs:(%0)"
			 : "=&r"(offset)
			 : "r"(self)
			 : "memory");
}

#endif
