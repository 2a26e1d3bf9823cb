/*
 * arch_x86_64.S - what tests/switch.c cannot say in C: registers that hold known values.
 *
 * struct test_registers (tests/switch.c): fp (MXCSR, then the x87 control word), then rbx rbp r12
 * r13 r14 r15.
 */
	.text

	.macro FUNCTION name
	.globl	\name; .hidden \name; .type \name, @function
	.p2align 4
\name:
	.cfi_startproc
	endbr64
	.endm

	.macro END name
	.cfi_endproc
	.size	\name, . - \name
	.endm

	.macro SAVE reg
	pushq	%\reg
	.cfi_adjust_cfa_offset 8; .cfi_rel_offset \reg, 0
	.endm

	.macro RESTORE reg
	popq	%\reg
	.cfi_adjust_cfa_offset -8; .cfi_restore \reg
	.endm

	/* (in, out, call): with in's registers, call[0](call[1], ..., call[4]); out is what they
	 * hold when it comes back. rsp is checked, too: a wrong one crashes here. */
FUNCTION test_call
	SAVE	rbp
	SAVE	rbx
	SAVE	r12
	SAVE	r13
	SAVE	r14
	SAVE	r15
	subq	$40, %rsp
	.cfi_adjust_cfa_offset 40
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)
	movq	%rsi, 8(%rsp)
	movq	%rsp, 16(%rsp)
	ldmxcsr	(%rdi)
	fldcw	4(%rdi)
	movq	8(%rdi), %rbx
	movq	16(%rdi), %rbp
	movq	24(%rdi), %r12
	movq	32(%rdi), %r13
	movq	40(%rdi), %r14
	movq	48(%rdi), %r15
	movq	%rdx, %rax
	movq	8(%rax), %rdi
	movq	16(%rax), %rsi
	movq	24(%rax), %rdx
	movq	32(%rax), %rcx
	call	*(%rax)
	.globl	test_call_return; .hidden test_call_return
test_call_return:
	cmpq	%rsp, 16(%rsp)
	jne	.Lwrong
	movq	8(%rsp), %rax
	stmxcsr	(%rax)
	fnstcw	4(%rax)
	movw	$0, 6(%rax)
	movq	%rbx, 8(%rax)
	movq	%rbp, 16(%rax)
	movq	%r12, 24(%rax)
	movq	%r13, 32(%rax)
	movq	%r14, 40(%rax)
	movq	%r15, 48(%rax)
	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	addq	$40, %rsp
	.cfi_adjust_cfa_offset -40
	.cfi_remember_state
	RESTORE	r15
	RESTORE	r14
	RESTORE	r13
	RESTORE	r12
	RESTORE	rbx
	RESTORE	rbp
	ret
	.cfi_restore_state
.Lwrong:
	ud2
END test_call

	/* (arg): *arg = the stack pointer as a call leaves it, then arg[1](arg). */
FUNCTION test_entry
	movq	%rsp, (%rdi)
	jmp	*8(%rdi)
END test_entry

FUNCTION test_fp_get
	stmxcsr	-8(%rsp)
	fnstcw	-4(%rsp)
	movl	-8(%rsp), %eax
	movzwl	-4(%rsp), %ecx
	shlq	$32, %rcx
	orq	%rcx, %rax
	ret
END test_fp_get

FUNCTION test_fp_set
	movq	%rdi, -8(%rsp)
	ldmxcsr	-8(%rsp)
	fldcw	-4(%rsp)
	ret
END test_fp_set

	/* A flag of x87's (division by zero) left raised, as code with a masked exception does. */
FUNCTION test_fp_raise
	fld1
	fldz
	fdivrp	%st, %st(1)
	fstp	%st(0)
	ret
END test_fp_raise

	/* An x87 instruction that reports what is pending and unmasked. */
FUNCTION test_fp_wait
	fwait
	ret
END test_fp_wait

	/* (on): SIGTRAP after every instruction from the next one on. True: the processor can. */
FUNCTION test_trap
	pushfq
	.cfi_adjust_cfa_offset 8
	andq	$~0x100, (%rsp)
	testl	%edi, %edi
	jz	1f
	orq	$0x100, (%rsp)
1:	popfq
	.cfi_adjust_cfa_offset -8
	movl	$1, %eax
	ret
END test_trap

	.macro CONSTANT name, value:vararg
	.globl	\name; .hidden \name; .type \name, @object
	.p2align 3
\name:	.quad	\value
	.size	\name, . - \name
	.endm

	.section .rodata
	CONSTANT test_count, 6			/* registers of struct test_registers */
	CONSTANT test_dwarf, 3, 6, 12, 13, 14, 15
	CONSTANT test_dwarf_count, 6
	CONSTANT test_fp_base, 0x037f00001f80	/* all masked, to nearest */
	CONSTANT test_fp_bits, 0x0f3f0000ffff	/* what may be flipped */
	CONSTANT test_fp_rounding, 0x0c0000006000
	CONSTANT test_fp_sticky, 0x3f
	CONSTANT test_fp_unmask, 0x000400000000	/* x87 traps on division by zero: flip this */
	CONSTANT test_entry_bias, 8		/* sp at a function's entry, mod 16 */

	.section .note.GNU-stack, "", @progbits
	.section .note.gnu.property, "a", @note
	.p2align 3
	.long	4, 16, 5, 0x554e47		/* "GNU", NT_GNU_PROPERTY_TYPE_0 */
	.long	0xc0000002, 4, 1, 0		/* GNU_PROPERTY_X86_FEATURE_1_AND: IBT */
