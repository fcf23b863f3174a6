/*
 * Registers held across a freeze, s390x; see x86_64.S for how it works.
 *
 * gpr: r0 to r15 (r14 belongs to the gate), at byte 128 condition code and
 * program mask as SPM takes them, from byte 136 on the access registers a0 to
 * a15 (a0 and a1 are the thread pointer).
 * fpu: f0 to f15, at byte 128 the floating point control register.
 * vec: v0 to v31, 16 bytes each.
 */
	.machine z13

	.bss
	.balign 64
	.globl ct_in, ct_out, ct_gate, ct_gate_open, ct_mask
ct_in:		.skip 2048
ct_out:		.skip 2048
ct_gate:	.skip 8
ct_gate_open:	.skip 8
ct_mask:	.skip 8

	.text

.macro ENTER
	stmg %r6, %r15, 48(%r15)
	lay %r15, -224(%r15)
	std %f8, 160(%r15)
	std %f9, 168(%r15)
	std %f10, 176(%r15)
	std %f11, 184(%r15)
	std %f12, 192(%r15)
	std %f13, 200(%r15)
	std %f14, 208(%r15)
	std %f15, 216(%r15)
.endm

.macro LEAVE
	ld %f8, 160(%r15)
	ld %f9, 168(%r15)
	ld %f10, 176(%r15)
	ld %f11, 184(%r15)
	ld %f12, 192(%r15)
	ld %f13, 200(%r15)
	ld %f14, 208(%r15)
	ld %f15, 216(%r15)
	lmg %r6, %r15, 272(%r15)
	br %r14
.endm

.macro SET_GATE
	larl %r1, 1f
	stgrl %r1, ct_gate
	larl %r1, 2f
	stgrl %r1, ct_gate_open
.endm

.macro LOAD_GPR
	larl %r14, ct_in
	stg %r15, 120(%r14)
	lam %a2, %a15, 144(%r14)
	lg %r1, 128(%r14)
	spm %r1
	lmg %r0, %r13, 0(%r14)
.endm

.macro STORE_GPR
	larl %r14, ct_out
	stmg %r0, %r15, 0(%r14)
	stam %a0, %a15, 136(%r14)
	lghi %r0, 0
	ipm %r0
	stg %r0, 128(%r14)
	lghi %r0, 0
	spm %r0
	larl %r14, ct_zero
	lam %a2, %a15, 0(%r14)
.endm

.macro SUSPEND
	lghi %r1, 179
	larl %r2, ct_mask
	lghi %r3, 8
	svc 0
.endm

	.globl ct_hold_gpr_spin
	.type ct_hold_gpr_spin, @function
ct_hold_gpr_spin:
	ENTER
	SET_GATE
	LOAD_GPR
1:	lgrl %r14, ct_gate
	br %r14
2:	STORE_GPR
	LEAVE

	.globl ct_hold_gpr_blocked
	.type ct_hold_gpr_blocked, @function
ct_hold_gpr_blocked:
	ENTER
	LOAD_GPR
	svc 0
	STORE_GPR
	LEAVE

.macro EACH16 op
	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	\op \n
	.endr
.endm

.macro LOAD_F n
	ld %f\n, 8*\n(%r14)
.endm

.macro STORE_F n
	std %f\n, 8*\n(%r14)
.endm

.macro LOAD_FPU
	larl %r14, ct_in
	lfpc 128(%r14)
	EACH16 LOAD_F
.endm

.macro STORE_FPU
	larl %r14, ct_out
	EACH16 STORE_F
	stfpc 128(%r14)
	larl %r14, ct_zero
	lfpc 0(%r14)
.endm

	.globl ct_hold_fpu_spin
	.type ct_hold_fpu_spin, @function
ct_hold_fpu_spin:
	ENTER
	SET_GATE
	LOAD_FPU
1:	lgrl %r14, ct_gate
	br %r14
2:	STORE_FPU
	LEAVE

	.globl ct_hold_fpu_blocked
	.type ct_hold_fpu_blocked, @function
ct_hold_fpu_blocked:
	ENTER
	LOAD_FPU
	SUSPEND
	STORE_FPU
	LEAVE

.macro LOAD_VEC
	larl %r14, ct_in
	vlm %v0, %v15, 0(%r14)
	vlm %v16, %v31, 256(%r14)
.endm

.macro STORE_VEC
	larl %r14, ct_out
	vstm %v0, %v15, 0(%r14)
	vstm %v16, %v31, 256(%r14)
.endm

	.globl ct_hold_vec_spin
	.type ct_hold_vec_spin, @function
ct_hold_vec_spin:
	ENTER
	SET_GATE
	LOAD_VEC
1:	lgrl %r14, ct_gate
	br %r14
2:	STORE_VEC
	LEAVE

	.globl ct_hold_vec_blocked
	.type ct_hold_vec_blocked, @function
ct_hold_vec_blocked:
	ENTER
	LOAD_VEC
	SUSPEND
	STORE_VEC
	LEAVE

/* The thread pointer. */
	.globl ct_thread_pointer
	.type ct_thread_pointer, @function
ct_thread_pointer:
	ear %r2, %a0
	sllg %r2, %r2, 32
	ear %r2, %a1
	br %r14

/* Calls the code at an address. */
	.globl ct_call
	.type ct_call, @function
ct_call:
	stg %r14, 112(%r15)
	lay %r15, -160(%r15)
	basr %r14, %r2
	lay %r15, 160(%r15)
	lg %r14, 112(%r15)
	br %r14

	.section .rodata
	.balign 8
ct_zero:
	.fill 8, 8, 0

	.section .note.GNU-stack, "", @progbits
