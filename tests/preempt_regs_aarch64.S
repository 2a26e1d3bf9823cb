/*
 * preempt_regs_aarch64.S - what tests/preempt_regs.c cannot say in C: all registers hold known
 * values while nothing is called. The offsets are those of struct regs_job and struct image there.
 */
	.arch	armv8-a+sve
	.text

#define GO	0
#define LEFT	8
#define BAD	16
#define FEATURES 24
#define SP_BEFORE 32
#define SP_AFTER 40
#define SAVED	48
#define IN	64
#define OUT	(IN + 9344)
	/* of an image */
#define CONTROL	256
#define MASKS	576
#define VECTORS	1152

	/* All but x9, the loop's own, and x28, the job. */
	.macro GENERAL op, at
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18
	\op	x\n, [x28, #(\at + 8 * \n)]
	.endr
	.irp	n, 19, 20, 21, 22, 23, 24, 25, 26, 27, 29, 30
	\op	x\n, [x28, #(\at + 8 * \n)]
	.endr
	.endm

	.macro VECTORS128 op, at
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	\op	q\n, [x28, #(\at + 16 * \n)]
	.endr
	.irp	n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	\op	q\n, [x28, #(\at + 16 * \n)]
	.endr
	.endm

	.macro SCALABLE op, vectors, masks
	.irp	n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	\op	z\n, [\vectors, #\n, mul vl]
	\op	p\n, [\masks, #\n, mul vl]
	.endr
	.irp	n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	\op	z\n, [\vectors, #\n, mul vl]
	.endr
	.endm

	.macro CALLEE_SAVED op, single
	\op	x18, x19, [sp, #0]
	\op	x20, x21, [sp, #16]
	\op	x22, x23, [sp, #32]
	\op	x24, x25, [sp, #48]
	\op	x26, x27, [sp, #64]
	\op	x28, x29, [sp, #80]
	\op	d8, d9, [sp, #96]
	\op	d10, d11, [sp, #112]
	\op	d12, d13, [sp, #128]
	\op	d14, d15, [sp, #144]
	\single	x30, [sp, #160]
	.endm

	/* (job): with in's registers, spin until job->go is 0, job->left has been counted down, or
	 * a look at x9 fails, which sets job->bad. out: what they hold then. Nothing in the loop
	 * changes a flag. x28 is the job all the time, and x9 the loop's own: in its longest part it
	 * holds what makes 0 with x10. */
	.globl	regs_spin; .hidden regs_spin; .type regs_spin, %function
	.p2align 4
regs_spin:
	.cfi_startproc
	hint	#34
	sub	sp, sp, #176
	.cfi_def_cfa_offset 176
	CALLEE_SAVED stp, str
	.cfi_offset x30, -16
	mov	x28, x0
	mov	x9, sp
	str	x9, [x28, #SP_BEFORE]
	mrs	x9, fpcr
	str	x9, [x28, #SAVED]
	ldr	x9, [x28, #FEATURES]
	cbnz	x9, .Lload_scalable
	VECTORS128 ldr, (IN + VECTORS)
	b	.Lloaded
.Lload_scalable:
	add	x10, x28, #(IN + VECTORS)
	add	x11, x28, #(IN + MASKS)
	ldr	p0, [x11, #16, mul vl]
	wrffr	p0.b
	SCALABLE ldr, x10, x11
.Lloaded:
	ldr	x9, [x28, #(IN + CONTROL + 8)]
	msr	fpcr, x9
	ldr	x9, [x28, #(IN + CONTROL + 16)]
	msr	fpsr, x9
	ldr	x9, [x28, #(IN + CONTROL)]
	msr	nzcv, x9
	GENERAL	ldr, IN
.Lspin:
	ldr	x9, [x28, #(IN + 8 * 9)]
	.rept	32
	nop
	.endr
	add	x9, x9, x10
	cbnz	x9, .Lbad
	ldr	x9, [x28, #LEFT]
	sub	x9, x9, #1
	str	x9, [x28, #LEFT]
	cbz	x9, .Lout
	ldr	x9, [x28, #GO]
	cbnz	x9, .Lspin
	b	.Lout
.Lbad:
	mov	x9, #1
	str	x9, [x28, #BAD]
.Lout:
	GENERAL	str, OUT
	mov	x9, sp
	str	x9, [x28, #SP_AFTER]
	ldr	x9, [x28, #SP_BEFORE]
	mov	sp, x9
	mrs	x9, nzcv
	str	x9, [x28, #(OUT + CONTROL)]
	mrs	x9, fpcr
	str	x9, [x28, #(OUT + CONTROL + 8)]
	mrs	x9, fpsr
	str	x9, [x28, #(OUT + CONTROL + 16)]
	ldr	x9, [x28, #FEATURES]
	cbnz	x9, .Lstore_scalable
	VECTORS128 str, (OUT + VECTORS)
	b	.Lstored
.Lstore_scalable:
	mov	x12, #OUT
	add	x12, x28, x12
	add	x10, x12, #VECTORS
	add	x11, x12, #MASKS
	SCALABLE str, x10, x11
	rdffr	p0.b
	str	p0, [x11, #16, mul vl]
.Lstored:
	ldr	x9, [x28, #SAVED]
	msr	fpcr, x9
	CALLEE_SAVED ldp, ldr
	add	sp, sp, #176
	.cfi_def_cfa_offset 0
	.cfi_restore x30
	ret
	.cfi_endproc
	.size	regs_spin, . - regs_spin

	.section .note.GNU-stack, "", %progbits
	.section .note.gnu.property, "a", %note
	.p2align 3
	.long	4, 16, 5, 0x554e47		/* "GNU", NT_GNU_PROPERTY_TYPE_0 */
	.long	0xc0000000, 4, 1, 0		/* GNU_PROPERTY_AARCH64_FEATURE_1_AND: BTI */
