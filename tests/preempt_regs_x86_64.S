/*
 * preempt_regs_x86_64.S - what tests/preempt_regs.c cannot say in C: all registers hold known
 * values while nothing is called. The offsets are those of struct regs_job and struct image there.
 */
	.text

#define GO	0
#define LEFT	8
#define BAD	16
#define FEATURES 24
#define SP	32
#define SP_AFTER 40
#define SAVED	48
#define IN	64
#define OUT	(IN + 9344)
	/* of an image */
#define CONTROL	256
#define RED	320
#define X87	448
#define MASKS	576
#define VECTORS	1152

#define FLAGS	0xcd5			/* CF PF AF ZF SF DF OF */

	.macro SAVE reg
	pushq	%\reg
	.cfi_adjust_cfa_offset 8; .cfi_rel_offset \reg, 0
	.endm

	.macro RESTORE reg
	popq	%\reg
	.cfi_adjust_cfa_offset -8; .cfi_restore \reg
	.endm

	.macro MOVE op, load, reg, place
	.if	\load
	\op	\place, %\reg
	.else
	\op	%\reg, \place
	.endif
	.endm

	/* The order of the image's words. */
	.macro GENERAL load, at
	MOVE	movq, \load, rax, (\at)(%rbp)
	MOVE	movq, \load, rdx, (\at + 8)(%rbp)
	MOVE	movq, \load, rbx, (\at + 16)(%rbp)
	MOVE	movq, \load, rsi, (\at + 24)(%rbp)
	MOVE	movq, \load, rdi, (\at + 32)(%rbp)
	.irp	n, 8, 9, 10, 11, 12, 13, 14, 15
	MOVE	movq, \load, r\n, (\at + 8 * (\n - 3))(%rbp)
	.endr
	.endm

	.macro VECTORS16 op, load, kind, at
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	MOVE	\op, \load, \kind\n, (\at + 64 * \n)(%rbp)
	.endr
	.endm

	.macro VECTORS512 load, at
	VECTORS16 vmovdqu64, \load, zmm, \at
	.irp	n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	MOVE	vmovdqu64, \load, zmm\n, (\at + 64 * \n)(%rbp)
	.endr
	.endm

	.macro MASKS8 load, at
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7
	MOVE	kmovq, \load, k\n, (\at + 8 * \n)(%rbp)
	.endr
	.endm

	/* (job): with in's registers, spin until job->go is 0, job->left has been counted down, or
	 * a look at rcx fails, which sets job->bad. out: what they hold then. Nothing in the loop
	 * changes a flag. rbp is the job all the time, and rcx the loop's own: in its longest part it
	 * holds what makes 0 with rdx. */
	.globl	regs_spin; .hidden regs_spin; .type regs_spin, @function
	.p2align 4
regs_spin:
	.cfi_startproc
	endbr64
	SAVE	rbp
	SAVE	rbx
	SAVE	r12
	SAVE	r13
	SAVE	r14
	SAVE	r15
	movq	%rdi, %rbp
	movq	%rsp, SP(%rbp)
	stmxcsr	SAVED(%rbp)
	fnstcw	SAVED + 4(%rbp)
	fninit
	.irp	n, 7, 6, 5, 4, 3, 2, 1, 0
	fldt	(IN + X87 + 10 * \n)(%rbp)
	.endr
	fldcw	(IN + CONTROL + 16)(%rbp)
	ldmxcsr	(IN + CONTROL + 8)(%rbp)
	testl	$2, FEATURES(%rbp)
	jnz	.Lload512
	testl	$1, FEATURES(%rbp)
	jnz	.Lload256
	VECTORS16 movdqu, 1, xmm, (IN + VECTORS)
	jmp	.Lloaded
.Lload256:
	VECTORS16 vmovdqu, 1, ymm, (IN + VECTORS)
	jmp	.Lloaded
.Lload512:
	VECTORS512 1, (IN + VECTORS)
	MASKS8	1, (IN + MASKS)
.Lloaded:
	pushq	(IN + CONTROL)(%rbp)
	popfq				/* before the red zone is filled: this was in it */
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movq	(IN + RED + 8 * \n)(%rbp), %rcx
	movq	%rcx, (-128 + 8 * \n)(%rsp)
	.endr
	GENERAL	1, IN
.Lspin:
	movq	(IN + 13 * 8)(%rbp), %rcx
	.rept	16
	pause
	.endr
	leaq	(%rcx, %rdx), %rcx
	jrcxz	1f
	movq	$1, BAD(%rbp)
	jmp	.Lout
1:	movq	LEFT(%rbp), %rcx
	leaq	-1(%rcx), %rcx
	movq	%rcx, LEFT(%rbp)
	jrcxz	.Lout
	movq	GO(%rbp), %rcx
	jrcxz	.Lout
	jmp	.Lspin
.Lout:
	GENERAL	0, OUT
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movq	(-128 + 8 * \n)(%rsp), %rcx
	movq	%rcx, (OUT + RED + 8 * \n)(%rbp)
	.endr
	movq	%rsp, SP_AFTER(%rbp)
	movq	SP(%rbp), %rsp
	pushfq
	popq	(OUT + CONTROL)(%rbp)
	cld
	andq	$FLAGS, (OUT + CONTROL)(%rbp)
	stmxcsr	(OUT + CONTROL + 8)(%rbp)
	fnstcw	(OUT + CONTROL + 16)(%rbp)
	fnstsw	(OUT + CONTROL + 24)(%rbp)
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7
	fstpt	(OUT + X87 + 10 * \n)(%rbp)
	.endr
	testl	$2, FEATURES(%rbp)
	jnz	.Lstore512
	testl	$1, FEATURES(%rbp)
	jnz	.Lstore256
	VECTORS16 movdqu, 0, xmm, (OUT + VECTORS)
	jmp	.Lstored
.Lstore512:
	MASKS8	0, (OUT + MASKS)
	VECTORS512 0, (OUT + VECTORS)
	vzeroupper
	jmp	.Lstored
.Lstore256:
	VECTORS16 vmovdqu, 0, ymm, (OUT + VECTORS)
	vzeroupper
.Lstored:
	fninit				/* whatever a clobber left there */
	fldcw	SAVED + 4(%rbp)
	ldmxcsr	SAVED(%rbp)
	RESTORE	r15
	RESTORE	r14
	RESTORE	r13
	RESTORE	r12
	RESTORE	rbx
	RESTORE	rbp
	ret
	.cfi_endproc
	.size	regs_spin, . - regs_spin

	.section .note.GNU-stack, "", @progbits
	.section .note.gnu.property, "a", @note
	.p2align 3
	.long	4, 16, 5, 0x554e47		/* "GNU", NT_GNU_PROPERTY_TYPE_0 */
	.long	0xc0000002, 4, 1, 0		/* GNU_PROPERTY_X86_FEATURE_1_AND: IBT */
