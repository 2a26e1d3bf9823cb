/*
 * cpu.h - stands in for src/arch/<arch>/cpu.h in the simulator. A pause is a scheduling point, the
 * cycle counter is simulated, and the thread's own word is a plain variable that the engine
 * swaps with all other thread-locals (thread.c).
 */
#ifndef SIM_CPU_H
#define SIM_CPU_H

#include <stdint.h>

/* How a function returns makes no difference here. */
#define returns_by_jump noinline

extern void *volatile sim_self;

void sim_pause(void);
uint64_t sim_cycles(void);

static inline void arch_pause(void)
{
	sim_pause();
}

static inline uint64_t arch_cycles(void)
{
	return sim_cycles();
}

static inline void *arch_self(void)
{
	return sim_self;
}

static inline void arch_self_set(void *self)
{
	sim_self = self;
}

#endif
