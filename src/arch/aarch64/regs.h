/*
 * regs.h - AArch64: what an unwinder must know. Registers by their DWARF numbers.
 */
#ifndef GORT_ARCH_AARCH64_REGS_H
#define GORT_ARCH_AARCH64_REGS_H

#include "arch/arch.h"
#include "os/os.h"

enum { ARCH_REG_FP = 29, ARCH_REG_SP = 31, ARCH_REG_RETURN = 30 };

/* Where the caller is. */
static inlined void arch_regs_here(struct os_context *c)
{
	__asm__ volatile("adr x16, .\n\tstr x16, %0\n\t"
			 "stp x19, x20, [%1, #152]\n\tstp x21, x22, [%1, #168]\n\t"
			 "stp x23, x24, [%1, #184]\n\tstp x25, x26, [%1, #200]\n\t"
			 "stp x27, x28, [%1, #216]\n\tstp x29, x30, [%1, #232]\n\t"
			 "mov x16, sp\n\tstr x16, [%1, #248]"
			 : "=m"(c->pc)
			 : "r"(c->reg)
			 : "x16", "memory");
}

static inline void arch_regs_ready(struct os_context *c)
{
	(void)c;
}

/* Where a saved context goes on, from a copy of its frame. */
static inline void arch_regs_saved(struct os_context *c, const struct arch_frame *f, uintptr_t sp)
{
	c->reg[19] = (uintptr_t)f->x19;
	c->reg[20] = (uintptr_t)f->x20;
	for (int i = 0; i < 8; i++)
		c->reg[21 + i] = (uintptr_t)f->x21_to_x28[i];
	c->reg[29] = (uintptr_t)f->x29;
	c->reg[30] = (uintptr_t)f->x30;
	c->reg[31] = sp + sizeof *f;
	c->pc = (uintptr_t)f->x30;
}

/* A program's may be signed: xpaclri, a nop where the processor cannot. */
static inline uintptr_t arch_return_address(uintptr_t address)
{
	register uintptr_t x30 __asm__("x30") = address;

	__asm__("hint #7" : "+r"(x30));
	return x30;
}

#endif
