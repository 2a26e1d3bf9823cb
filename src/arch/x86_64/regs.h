/*
 * regs.h - x86-64: what an unwinder must know. Registers by their DWARF numbers.
 */
#ifndef GORT_ARCH_X86_64_REGS_H
#define GORT_ARCH_X86_64_REGS_H

#include "arch/arch.h"
#include "os/os.h"

enum { ARCH_REG_FP = 6, ARCH_REG_SP = 7, ARCH_REG_RETURN = 16 };

/* Where the caller is. */
static inlined void arch_regs_here(struct os_context *c)
{
	__asm__ volatile("leaq 0f(%%rip), %%rax\n"
			 "0:\tmovq %%rax, %0\n\t"
			 "movq %%rbx, 24(%1)\n\tmovq %%rbp, 48(%1)\n\tmovq %%rsp, 56(%1)\n\t"
			 "movq %%r12, 96(%1)\n\tmovq %%r13, 104(%1)\n\tmovq %%r14, 112(%1)\n\t"
			 "movq %%r15, 120(%1)"
			 : "=m"(c->pc)
			 : "r"(c->reg)
			 : "rax", "memory");
}

/* For expressions: the number of the return address means the frame's own place in them. */
static inline void arch_regs_ready(struct os_context *c)
{
	c->reg[ARCH_REG_RETURN] = c->pc;
}

/* Where a saved context goes on, from a copy of its frame. */
static inline void arch_regs_saved(struct os_context *c, const struct arch_frame *f, uintptr_t sp)
{
	c->reg[3] = (uintptr_t)f->rbx;
	c->reg[6] = (uintptr_t)f->rbp;
	c->reg[7] = sp + sizeof *f;
	c->reg[12] = (uintptr_t)f->r12;
	c->reg[13] = (uintptr_t)f->r13;
	c->reg[14] = (uintptr_t)f->r14;
	c->reg[15] = (uintptr_t)f->r15;
	c->pc = (uintptr_t)f->resume_at;
}

/* A return address may be signed. Not here. */
static inline uintptr_t arch_return_address(uintptr_t address)
{
	return address;
}

#endif
