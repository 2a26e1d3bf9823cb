/*
 * self.c - this thread's own word: what gort keeps per thread hangs off it (sched's M).
 *
 * Read and written only by arch_self() and arch_self_set() of <arch>/cpu.h, never as a C
 * variable: the compiler would be free to keep its address in a register across a switch, and
 * after migration two threads would share one word.
 *
 * Initial-exec, because signal handlers read it: no call into the loader, no lazy allocation.
 * Used, because only assembly names it: link-time optimisation would drop or rename it.
 */
#include "arch/arch.h"

extern __thread void *gort__self;

__attribute__((used, visibility("hidden"), tls_model("initial-exec"))) __thread void *gort__self;
