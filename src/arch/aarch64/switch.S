/*
 * switch.S - AArch64 AAPCS64: from one stack to another.
 *
 * A call leaves to the callee: x19-x29, sp, the low halves of v8-v15, and FPCR. x30 is where to go
 * on. x18 belongs to the platform and is left alone. FPSR's sticky flags do not survive a call and
 * are not kept. A context that does not run is a frame on its own stack, the same whoever saved it:
 *
 *     sp+0   FPCR   (unused)      sp+16  d8 ... d15
 *     sp+80  x19 ... x28          sp+160 x29   x30, the address to go on at
 *
 * - FPCR is written only where it differs: the write waits for all that the core has begun.
 * - The way out is ret. A br into the middle of C code needs a landing pad there on pages guarded
 *   for BTI, and compilers put none behind a call; ret needs none. The core's return stack
 *   predicts it right where both contexts called from the same place, and that is the usual case:
 *   few places park. Marked for BTI; neither for PAC nor for GCS (no return here matches its call).
 * - hint 34 is bti c, hint 38 bti jc: assemblers below ARMv8.5 do not know the names.
 * - The frame has one shape, so the CFI holds before and after sp changes stacks; what changes
 *   shape at once is put in an FDE of its own. A handler may unwind from any instruction.
 * - An unwinder looks up return addresses minus one: hence the nop at gort__context_start.
 */
	.text

	.macro FUNCTION name
	.globl	\name; .hidden \name; .type \name, %function
	.p2align 4
\name:	.cfi_startproc
	hint	#34
	.endm

	.macro END name
	.cfi_endproc; .size \name, . - \name
	.endm

	.macro FRAME_CFI		/* 72 to 79 are d8 to d15 */
	.cfi_def_cfa sp, 176
	.cfi_offset 72, -160; .cfi_offset 73, -152; .cfi_offset 74, -144; .cfi_offset 75, -136
	.cfi_offset 76, -128; .cfi_offset 77, -120; .cfi_offset 78, -112; .cfi_offset 79, -104
	.cfi_offset x19, -96; .cfi_offset x20, -88; .cfi_offset x21, -80; .cfi_offset x22, -72
	.cfi_offset x23, -64; .cfi_offset x24, -56; .cfi_offset x25, -48; .cfi_offset x26, -40
	.cfi_offset x27, -32; .cfi_offset x28, -24; .cfi_offset x29, -16; .cfi_offset x30, -8
	.endm

	.macro REGISTERS pair, base
	\pair	d8, d9, [\base, #16]
	\pair	d10, d11, [\base, #32]
	\pair	d12, d13, [\base, #48]
	\pair	d14, d15, [\base, #64]
	\pair	x19, x20, [\base, #80]
	\pair	x21, x22, [\base, #96]
	\pair	x23, x24, [\base, #112]
	\pair	x25, x26, [\base, #128]
	\pair	x27, x28, [\base, #144]
	\pair	x29, x30, [\base, #160]
	.endm

	.macro SAVE			/* leaves FPCR in x9, sp in x10 */
	sub	sp, sp, #176
	.cfi_def_cfa_offset 176
	mrs	x9, fpcr
	mov	x10, sp
	str	x9, [sp]
	REGISTERS stp, sp
	FRAME_CFI
	str	x10, [x0]
	.endm

FUNCTION gort_switch			/* (save_sp, to_sp) */
	SAVE
	mov	sp, x1
.Lrestore:				/* x9: what FPCR is now */
	ldr	x11, [sp]
	cmp	x9, x11
	b.ne	.Lfpcr
.Lrestore_rest:
	REGISTERS ldp, sp
	.cfi_remember_state
	add	sp, sp, #176
	.cfi_def_cfa_offset 0
	.irp	reg, 72, 73, 74, 75, 76, 77, 78, 79, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
	.cfi_restore \reg
	.endr
	ret
	.cfi_restore_state
.Lfpcr:
	msr	fpcr, x11
	b	.Lrestore_rest
END gort_switch

FUNCTION gort_gogo			/* (to_sp) */
	mrs	x9, fpcr
	mov	sp, x0
	FRAME_CFI
	b	.Lrestore
END gort_gogo

FUNCTION gort_mcall			/* (save_sp, stack_sp, fn, arg) */
	SAVE
	and	sp, x1, #-16
	.cfi_endproc; .cfi_startproc	/* another stack: nobody called us here */
	.cfi_undefined x30
	mov	x29, xzr
	mov	x0, x3
	blr	x2
	brk	#1
END gort_mcall

FUNCTION gort_enter			/* (save_sp, fn, arg) */
	SAVE
	mov	x0, x2
	blr	x1
	brk	#1
END gort_enter

FUNCTION gort_systemstack		/* (stack_sp, fn, arg) */
	stp	x29, x30, [sp, #-16]!
	.cfi_def_cfa_offset 16; .cfi_offset x29, -16; .cfi_offset x30, -8
	mov	x29, sp
	.cfi_def_cfa_register x29
	and	sp, x0, #-16
	mov	x0, x2
__morestack:				/* the name under which gdb goes on to another stack */
	blr	x1
	.size	__morestack, . - __morestack
	mov	sp, x29
	.cfi_def_cfa_register sp
	ldp	x29, x30, [sp], #16
	.cfi_def_cfa_offset 0; .cfi_restore x29; .cfi_restore x30
	ret
END gort_systemstack

	.globl	gort__context_resume; .hidden gort__context_resume
	.type	gort__context_start, %function
gort__context_start:
	.cfi_startproc			/* a new context: x19(x20), and nobody to return to */
	.cfi_undefined x30
	nop
gort__context_resume:
	hint	#38
	mov	x0, x20
	blr	x19
	brk	#1
END gort__context_start

	.section .note.GNU-stack, "", %progbits
	.section .note.gnu.property, "a", %note
	.p2align 3
	.long	4, 16, 5, 0x554e47		/* "GNU", NT_GNU_PROPERTY_TYPE_0 */
	.long	0xc0000000, 4, 1, 0		/* GNU_PROPERTY_AARCH64_FEATURE_1_AND: BTI */
