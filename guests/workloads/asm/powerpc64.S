/*
 * Registers held across a freeze, ppc64 (big-endian, ELFv1: a function's
 * symbol is a descriptor of entry point, TOC and environment); see x86_64.S
 * for how it works.
 *
 * gpr: r0 to r31 (r30, r31 and CTR belong to the gate), CR at byte 256, XER at
 * 264, LR at 272.
 * fpu: f0 to f31, FPSCR at byte 256.
 * vec: vs0 to vs31 and v0 to v31 (vs32 to vs63), 16 bytes each; VSCR at byte
 * 1024 (16 bytes), VRSAVE at 1040, TAR at 1048.
 */
	.machine power8

	.bss
	.balign 64
	.globl ct_in, ct_out, ct_gate, ct_gate_open, ct_mask
ct_in:		.skip 2048
	/* These three lie together: r31 points at the first. */
ct_gate:	.skip 8
ct_gate_open:	.skip 8
		.skip 48
ct_out:		.skip 2048
ct_mask:	.skip 8

	.set OUT, 64
	.set FRAME, 592
	.set GPRS, 112
	.set FPRS, 256
	.set VRS, 400

.macro FUNCTION name
	.section ".opd", "aw"
	.balign 8
	.globl \name
\name:
	.quad .L.\name, .TOC.@tocbase, 0
	.size \name, 24
	.type \name, @function
	.text
.L.\name:
.endm

.macro EACH_SAVED op
	.irp n, 14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
	\op \n
	.endr
.endm

.macro EACH_SAVED_VR op
	.irp n, 20,21,22,23,24,25,26,27,28,29,30,31
	\op \n
	.endr
.endm

.macro EACH32 op
	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
	\op \n
	.endr
.endm

.macro SAVE_R n
	std \n, GPRS+8*(\n-14)(1)
.endm

.macro RESTORE_R n
	ld \n, GPRS+8*(\n-14)(1)
.endm

.macro SAVE_F n
	stfd \n, FPRS+8*(\n-14)(1)
.endm

.macro RESTORE_F n
	lfd \n, FPRS+8*(\n-14)(1)
.endm

.macro SAVE_V n
	li 10, VRS+16*(\n-20)
	stvx \n, 10, 1
.endm

.macro RESTORE_V n
	li 10, VRS+16*(\n-20)
	lvx \n, 10, 1
.endm

.macro ENTER
	mflr 0
	std 0, 16(1)
	mfcr 0
	std 0, 8(1)
	stdu 1, -FRAME(1)
	std 2, 40(1)
	EACH_SAVED SAVE_R
	EACH_SAVED SAVE_F
	EACH_SAVED_VR SAVE_V
.endm

.macro LEAVE
	EACH_SAVED RESTORE_R
	EACH_SAVED RESTORE_F
	EACH_SAVED_VR RESTORE_V
	ld 2, 40(1)
	addi 1, 1, FRAME
	ld 0, 8(1)
	mtcr 0
	ld 0, 16(1)
	mtlr 0
	blr
.endm

.macro ADDRESS reg, symbol
	addis \reg, 2, \symbol@toc@ha
	addi \reg, \reg, \symbol@toc@l
.endm

/* Leaves r31 at ct_in and r30 at ct_gate. */
.macro SET_GATE name
	.section ".data.rel.ro", "aw"
	.balign 8
.Lway_\name:
	.quad .Lclosed_\name, .Lopen_\name
	.text
	ADDRESS 30, ct_gate
	ADDRESS 31, .Lway_\name
	ld 0, 0(31)
	std 0, 0(30)
	ld 0, 8(31)
	std 0, 8(30)
	ADDRESS 31, ct_in
.endm

.macro SPIN name
.Lclosed_\name:
	ld 30, 0(31)
	mtctr 30
	bctr
.Lopen_\name:
.endm

.macro NO_SPIN name
.Lclosed_\name:
	sc
.Lopen_\name:
.endm

.macro SUSPEND_ARGUMENTS
	li 0, 178
	ADDRESS 3, ct_mask
	li 4, 8
.endm

.macro LOAD_R n
	.if \n != 1 && \n != 13 && \n < 30
	ld \n, 8*\n(31)
	.endif
.endm

.macro STORE_R n
	std \n, OUT+8*\n(31)
.endm

.macro LOAD_GPR
	std 1, 8(31)
	std 13, 104(31)
	ld 0, 256(31)
	mtcr 0
	ld 0, 264(31)
	mtxer 0
	ld 0, 272(31)
	mtlr 0
	EACH32 LOAD_R
	mr 31, 30
.endm

.macro STORE_GPR
	EACH32 STORE_R
	mfcr 0
	std 0, OUT+256(31)
	mfxer 0
	std 0, OUT+264(31)
	mflr 0
	std 0, OUT+272(31)
	li 0, 0
	mtxer 0
.endm

.macro LOAD_F n
	lfd \n, 8*\n(31)
.endm

.macro STORE_F n
	stfd \n, OUT+8*\n(31)
.endm

.macro LOAD_FPU
	lfd 0, 256(31)
	mtfsf 0xff, 0
	EACH32 LOAD_F
	mr 31, 30
.endm

.macro STORE_FPU
	EACH32 STORE_F
	mffs 0
	stfd 0, OUT+256(31)
	li 0, 0
	std 0, OUT+264(31)
	lfd 0, OUT+264(31)
	mtfsf 0xff, 0
.endm

.macro LOAD_VS n
	li 10, 16*\n
	lxvd2x \n, 10, 31
.endm

.macro LOAD_V n
	li 10, 512+16*\n
	lvx \n, 10, 31
.endm

.macro STORE_VS n
	li 10, OUT+16*\n
	stxvd2x \n, 10, 31
.endm

.macro STORE_V n
	li 10, OUT+512+16*\n
	stvx \n, 10, 31
.endm

/* r0, r3 and r4 are left for the arguments of a system call. */
.macro LOAD_VEC
	li 10, 1024
	lvx 0, 10, 31
	mtvscr 0
	ld 5, 1040(31)
	mtspr 256, 5
	ld 5, 1048(31)
	mtspr 815, 5
	EACH32 LOAD_VS
	EACH32 LOAD_V
	mr 31, 30
.endm

.macro STORE_VEC
	EACH32 STORE_VS
	EACH32 STORE_V
	mfvscr 0
	li 10, OUT+1024
	stvx 0, 10, 31
	mfspr 5, 256
	std 5, OUT+1040(31)
	mfspr 5, 815
	std 5, OUT+1048(31)
	vxor 0, 0, 0
	mtvscr 0
.endm

FUNCTION ct_hold_gpr_spin
	ENTER
	SET_GATE gpr_spin
	LOAD_GPR
	SPIN gpr_spin
	STORE_GPR
	LEAVE

FUNCTION ct_hold_gpr_blocked
	ENTER
	SET_GATE gpr_blocked
	LOAD_GPR
	NO_SPIN gpr_blocked
	STORE_GPR
	LEAVE

FUNCTION ct_hold_fpu_spin
	ENTER
	SET_GATE fpu_spin
	LOAD_FPU
	SPIN fpu_spin
	STORE_FPU
	LEAVE

FUNCTION ct_hold_fpu_blocked
	ENTER
	SET_GATE fpu_blocked
	LOAD_FPU
	SUSPEND_ARGUMENTS
	NO_SPIN fpu_blocked
	STORE_FPU
	LEAVE

FUNCTION ct_hold_vec_spin
	ENTER
	SET_GATE vec_spin
	LOAD_VEC
	SPIN vec_spin
	STORE_VEC
	LEAVE

FUNCTION ct_hold_vec_blocked
	ENTER
	SET_GATE vec_blocked
	LOAD_VEC
	SUSPEND_ARGUMENTS
	NO_SPIN vec_blocked
	STORE_VEC
	LEAVE

/* The thread pointer. */
FUNCTION ct_thread_pointer
	mr 3, 13
	blr

/* Calls the code at an address. */
FUNCTION ct_call
	mflr 0
	std 0, 16(1)
	stdu 1, -112(1)
	mtctr 3
	bctrl
	addi 1, 1, 112
	ld 0, 16(1)
	mtlr 0
	blr

	.section .note.GNU-stack, "", @progbits
