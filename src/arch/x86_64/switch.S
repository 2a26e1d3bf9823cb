/*
 * switch.S - x86-64 System V: from one stack to another.
 *
 * A call leaves to the callee: rbx rbp r12-r15 rsp, the control bits of MXCSR and the x87 control
 * word. Nothing else survives a call, so nothing else is kept here. A context that does not run
 * is a frame on its own stack, the same whoever saved it:
 *
 *     sp+0   MXCSR (4 bytes), x87 control word (2)     sp+8   r15   r14   r13   r12
 *     sp+40  rbx                                       sp+48  rbp
 *     sp+56  the address to go on at                   sp is a multiple of 16
 *
 * - Only control bits are compared. Sticky flags do not survive a call by the ABI, so they stay with
 *   the thread, as x87's status and AArch64's FPSR do: writing them costs 50 ns, at each switch
 *   between a goroutine that has computed and one that has not. ldmxcsr and fldcw cost more than
 *   all the rest, so they run only where something differs; with fnclex before, or a flag that another goroutine raised would trap once the new
 *   word unmasks it. Each field is read as wide as it was written: one 8-byte load across two
 *   smaller stores waits for both to reach the cache.
 * - The way out is a jump, not ret: the processor's return stack predicts the caller that came in,
 *   and here another one goes out. The jump is notrack because its target, C code behind a call,
 *   has no endbr64. Marked for IBT, not for SHSTK: no return here matches its call.
 * - The frame has one shape, so the CFI holds before and after rsp changes stacks; what changes
 *   shape at once is put in an FDE of its own. A handler may unwind from any instruction.
 * - An unwinder looks up return addresses minus one: hence the nop at gort__context_start.
 */
	.text

	.macro FUNCTION name
	.globl	\name; .hidden \name; .type \name, @function
	.p2align 4
\name:	.cfi_startproc
	endbr64
	.endm

	.macro END name
	.cfi_endproc; .size \name, . - \name
	.endm

	.macro FRAME_CFI
	.cfi_def_cfa rsp, 64
	.cfi_offset r15, -56; .cfi_offset r14, -48; .cfi_offset r13, -40; .cfi_offset r12, -32
	.cfi_offset rbx, -24; .cfi_offset rbp, -16; .cfi_offset rip, -8
	.endm

	.macro SAVE
	subq	$56, %rsp
	.cfi_def_cfa_offset 64
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)
	movq	%r15, 8(%rsp); movq %r14, 16(%rsp); movq %r13, 24(%rsp)
	movq	%r12, 32(%rsp); movq %rbx, 40(%rsp); movq %rbp, 48(%rsp)
	FRAME_CFI
	movq	%rsp, (%rdi)
	.endm

FUNCTION gort_switch			/* (save_sp, to_sp) */
	SAVE
	movl	(%rsp), %eax
	movzwl	4(%rsp), %ecx
	movq	%rsi, %rsp
.Lrestore:				/* eax, cx: what MXCSR and the x87 word are now */
	xorl	(%rsp), %eax
	testl	$0xffc0, %eax
	jne	.Lmxcsr
.Lrestore_x87:
	cmpw	4(%rsp), %cx
	jne	.Lx87
.Lrestore_rest:
	movq	8(%rsp), %r15; movq 16(%rsp), %r14; movq 24(%rsp), %r13
	movq	32(%rsp), %r12; movq 40(%rsp), %rbx; movq 48(%rsp), %rbp
	movq	56(%rsp), %rdx
	.cfi_remember_state
	.cfi_register rip, rdx
	.cfi_restore r15; .cfi_restore r14; .cfi_restore r13; .cfi_restore r12
	.cfi_restore rbx; .cfi_restore rbp
	addq	$64, %rsp
	.cfi_def_cfa_offset 0
	notrack jmp *%rdx
	.cfi_restore_state
.Lmxcsr:
	ldmxcsr	(%rsp)
	jmp	.Lrestore_x87
.Lx87:
	fnclex
	fldcw	4(%rsp)
	jmp	.Lrestore_rest
END gort_switch

FUNCTION gort_gogo			/* (to_sp) */
	stmxcsr	-8(%rsp)
	fnstcw	-4(%rsp)
	movl	-8(%rsp), %eax
	movzwl	-4(%rsp), %ecx
	movq	%rdi, %rsp
	FRAME_CFI
	jmp	.Lrestore
END gort_gogo

FUNCTION gort_mcall			/* (save_sp, stack_sp, fn, arg) */
	SAVE
	andq	$-16, %rsi
	movq	%rsi, %rsp
	.cfi_endproc; .cfi_startproc	/* another stack: nobody called us here */
	.cfi_undefined rip
	xorl	%ebp, %ebp
	movq	%rcx, %rdi
	call	*%rdx
	ud2
END gort_mcall

FUNCTION gort_enter			/* (save_sp, fn, arg) */
	SAVE
	movq	%rdx, %rdi
	call	*%rsi
	ud2
END gort_enter

FUNCTION gort_systemstack		/* (stack_sp, fn, arg) */
	pushq	%rbp
	.cfi_def_cfa_offset 16; .cfi_offset rbp, -16
	movq	%rsp, %rbp
	.cfi_def_cfa_register rbp
	andq	$-16, %rdi
	movq	%rdi, %rsp
	movq	%rdx, %rdi
__morestack:				/* the name under which gdb goes on to another stack */
	call	*%rsi
	.size	__morestack, . - __morestack
	movq	%rbp, %rsp
	popq	%rbp
	.cfi_def_cfa rsp, 8; .cfi_restore rbp
	ret
END gort_systemstack

FUNCTION __x86_return_thunk
	popq	%rcx
	notrack jmp *%rcx
END __x86_return_thunk

	.globl	gort__context_resume; .hidden gort__context_resume
	.type	gort__context_start, @function
gort__context_start:
	.cfi_startproc			/* a new context: r12(r13), and nobody to return to */
	.cfi_undefined rip
	nop
gort__context_resume:
	endbr64
	movq	%r13, %rdi
	call	*%r12
	ud2
END gort__context_start

	.section .note.GNU-stack, "", @progbits
	.section .note.gnu.property, "a", @note
	.p2align 3
	.long	4, 16, 5, 0x554e47		/* "GNU", NT_GNU_PROPERTY_TYPE_0 */
	.long	0xc0000002, 4, 1, 0		/* GNU_PROPERTY_X86_FEATURE_1_AND: IBT */
