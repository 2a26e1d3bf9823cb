/*
 * arch_aarch64.S - what tests/switch.c cannot say in C: registers that hold known values.
 *
 * struct test_registers (tests/switch.c): fp (FPCR), then x19 ... x29, then d8 ... d15.
 */
	.text

	.macro FUNCTION name
	.globl	\name; .hidden \name; .type \name, %function
	.p2align 4
\name:
	.cfi_startproc
	hint	#34
	.endm

	.macro END name
	.cfi_endproc
	.size	\name, . - \name
	.endm

	.macro REGISTERS pair, single, base, at
	\pair	x19, x20, [\base, #\at]
	\pair	x21, x22, [\base, #\at + 16]
	\pair	x23, x24, [\base, #\at + 32]
	\pair	x25, x26, [\base, #\at + 48]
	\pair	x27, x28, [\base, #\at + 64]
	\single	x29, [\base, #\at + 80]
	\pair	d8, d9, [\base, #\at + 88]
	\pair	d10, d11, [\base, #\at + 104]
	\pair	d12, d13, [\base, #\at + 120]
	\pair	d14, d15, [\base, #\at + 136]
	.endm

	/* (in, out, call): with in's registers, call[0](call[1], ..., call[4]); out is what they
	 * hold when it comes back. sp is checked, too: a wrong one crashes here. */
FUNCTION test_call
	sub	sp, sp, #192
	.cfi_def_cfa_offset 192
	REGISTERS stp, str, sp, 8
	str	x30, [sp, #160]
	.cfi_offset x19, -184; .cfi_offset x20, -176; .cfi_offset x21, -168; .cfi_offset x22, -160
	.cfi_offset x23, -152; .cfi_offset x24, -144; .cfi_offset x25, -136; .cfi_offset x26, -128
	.cfi_offset x27, -120; .cfi_offset x28, -112; .cfi_offset x29, -104; .cfi_offset x30, -32
	.cfi_offset 72, -96; .cfi_offset 73, -88; .cfi_offset 74, -80; .cfi_offset 75, -72
	.cfi_offset 76, -64; .cfi_offset 77, -56; .cfi_offset 78, -48; .cfi_offset 79, -40
	mov	x9, sp
	mrs	x10, fpcr
	str	x10, [sp]
	stp	x1, x9, [sp, #168]
	ldr	x10, [x0]
	msr	fpcr, x10
	REGISTERS ldp, ldr, x0, 8
	mov	x9, x2
	ldp	x0, x1, [x9, #8]
	ldp	x2, x3, [x9, #24]
	ldr	x9, [x9]
	blr	x9
	.globl	test_call_return; .hidden test_call_return
test_call_return:
	ldp	x1, x9, [sp, #168]
	mov	x10, sp
	cmp	x9, x10
	b.ne	.Lwrong
	REGISTERS stp, str, x1, 8
	mrs	x10, fpcr
	str	x10, [x1]
	ldr	x10, [sp]
	msr	fpcr, x10
	REGISTERS ldp, ldr, sp, 8
	ldr	x30, [sp, #160]
	.cfi_remember_state
	add	sp, sp, #192
	.cfi_def_cfa_offset 0
	.irp	reg, 72, 73, 74, 75, 76, 77, 78, 79, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
	.cfi_restore \reg
	.endr
	ret
	.cfi_restore_state
.Lwrong:
	brk	#1
END test_call

	/* (arg): *arg = the stack pointer as a call leaves it, then arg[1](arg). */
FUNCTION test_entry
	mov	x9, sp
	ldr	x16, [x0, #8]
	str	x9, [x0]
	br	x16
END test_entry

FUNCTION test_fp_get
	mrs	x0, fpcr
	ret
END test_fp_get

FUNCTION test_fp_set
	msr	fpcr, x0
	ret
END test_fp_set

FUNCTION test_fp_raise			/* no unit apart, as x87 is */
	ret
END test_fp_raise

FUNCTION test_fp_wait
	ret
END test_fp_wait

FUNCTION test_trap			/* a user program cannot step itself */
	mov	w0, wzr
	ret
END test_trap

	.macro CONSTANT name, value:vararg
	.globl	\name; .hidden \name; .type \name, %object
	.p2align 3
\name:	.quad	\value
	.size	\name, . - \name
	.endm

	.section .rodata
	CONSTANT test_count, 19			/* registers of struct test_registers */
	CONSTANT test_dwarf, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29
	CONSTANT test_dwarf_count, 11
	CONSTANT test_fp_base, 0
	CONSTANT test_fp_bits, 0x07c00000	/* rounding, FZ, DN, AHP */
	CONSTANT test_fp_rounding, 0x00c00000
	CONSTANT test_fp_sticky, 0
	CONSTANT test_fp_unmask, 0
	CONSTANT test_entry_bias, 0		/* sp at a function's entry, mod 16 */

	.section .note.GNU-stack, "", %progbits
	.section .note.gnu.property, "a", %note
	.p2align 3
	.long	4, 16, 5, 0x554e47		/* "GNU", NT_GNU_PROPERTY_TYPE_0 */
	.long	0xc0000000, 4, 1, 0		/* GNU_PROPERTY_AARCH64_FEATURE_1_AND: BTI */
