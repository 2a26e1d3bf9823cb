/*
 * fault.c - what a SIGSEGV or SIGBUS means: the overflow of a goroutine's stack is reported, with
 * the goroutine, the stack's size and how to raise it; anything else is not ours.
 *
 * It is judged by the address of the fault (in the guard), and by the stack pointer: where no
 * room is left for a frame the kernel may give no address. Runs on the M's alternate stack, in a
 * signal handler: write(2) only, no lock, nothing of the goroutine's is changed.
 */
#include "sched/config.h"
#include "sched/stack.h"

bool gort__fault(uintptr_t address, uintptr_t sp, uintptr_t pc, int code)
{
	struct m *m = m_self();
	struct g *g = m ? m->g : NULL;
	char label[LABEL_SIZE];

	(void)code;
	if (!g || !stack_overflowed(g, address, sp))
		return false;
	gort__report("stack overflow: goroutine %s at pc 0x%x used more than its stack of %u KiB; "
		     "raise it by gort_attr.stack_size, gort_options.stack_size or GORT_STACK",
		     g_label(g, label), (uint64_t)pc, (uint64_t)(g->stack_size >> 10));
	gort__dump_dying();
	return true;
}
