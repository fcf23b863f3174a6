/*
 * Registers held across a freeze, x86_64.
 *
 * ct_hold_WHAT_HOW() loads every register of a kind from ct_in, stays there
 * until the handler of a signal opens the gate, and stores them to ct_out.
 * HOW "spin" jumps through ct_gate and back to itself, which changes neither
 * registers nor flags and makes no system call; "blocked" sleeps in
 * rt_sigsuspend(2), whose number and arguments are part of ct_in.
 *
 * gpr: 15 registers in the order of the list below, then rflags, then rsp.
 * fpu, vec: the FXSAVE area.  vec behind it: ymm0 to ymm15 from byte 512 on.
 */
	.bss
	.balign 64
	.globl ct_in, ct_out, ct_gate, ct_gate_open, ct_mask
ct_in:		.skip 2048
ct_out:		.skip 2048
ct_gate:	.skip 8
ct_gate_open:	.skip 8
ct_mask:	.skip 8

	.text

.macro SAVE_CALLEE
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
.endm

.macro RESTORE_CALLEE
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
.endm

/* 1: is the closed gate, 2: the way out. */
.macro SET_GATE
	leaq 1f(%rip), %rax
	movq %rax, ct_gate(%rip)
	leaq 2f(%rip), %rax
	movq %rax, ct_gate_open(%rip)
.endm

.macro LOAD_GPR
	movq %rsp, ct_in+128(%rip)
	pushq ct_in+120(%rip)
	popfq
	movq ct_in+0(%rip), %rax
	movq ct_in+8(%rip), %rbx
	movq ct_in+16(%rip), %rcx
	movq ct_in+24(%rip), %rdx
	movq ct_in+32(%rip), %rsi
	movq ct_in+40(%rip), %rdi
	movq ct_in+48(%rip), %rbp
	movq ct_in+56(%rip), %r8
	movq ct_in+64(%rip), %r9
	movq ct_in+72(%rip), %r10
	movq ct_in+80(%rip), %r11
	movq ct_in+88(%rip), %r12
	movq ct_in+96(%rip), %r13
	movq ct_in+104(%rip), %r14
	movq ct_in+112(%rip), %r15
.endm

.macro STORE_GPR
	movq %rax, ct_out+0(%rip)
	movq %rbx, ct_out+8(%rip)
	movq %rcx, ct_out+16(%rip)
	movq %rdx, ct_out+24(%rip)
	movq %rsi, ct_out+32(%rip)
	movq %rdi, ct_out+40(%rip)
	movq %rbp, ct_out+48(%rip)
	movq %r8, ct_out+56(%rip)
	movq %r9, ct_out+64(%rip)
	movq %r10, ct_out+72(%rip)
	movq %r11, ct_out+80(%rip)
	movq %r12, ct_out+88(%rip)
	movq %r13, ct_out+96(%rip)
	movq %r14, ct_out+104(%rip)
	movq %r15, ct_out+112(%rip)
	movq %rsp, ct_out+128(%rip)
	pushfq
	popq ct_out+120(%rip)
	cld
.endm

.macro SUSPEND
	movl $130, %eax
	leaq ct_mask(%rip), %rdi
	movl $8, %esi
	syscall
.endm

	.globl ct_hold_gpr_spin
	.type ct_hold_gpr_spin, @function
ct_hold_gpr_spin:
	SAVE_CALLEE
	SET_GATE
	LOAD_GPR
1:	jmp *ct_gate(%rip)
2:	STORE_GPR
	RESTORE_CALLEE
	ret

	.globl ct_hold_gpr_blocked
	.type ct_hold_gpr_blocked, @function
ct_hold_gpr_blocked:
	SAVE_CALLEE
	LOAD_GPR
	syscall
	STORE_GPR
	RESTORE_CALLEE
	ret

.macro LOAD_FX
	fxsave64 ct_out+1024(%rip)
	fxrstor64 ct_in(%rip)
.endm

/* What the caller had in the control words goes back. */
.macro STORE_FX
	fxsave64 ct_out(%rip)
	fninit
	fxrstor64 ct_out+1024(%rip)
.endm

	.globl ct_hold_fpu_spin
	.type ct_hold_fpu_spin, @function
ct_hold_fpu_spin:
	SET_GATE
	LOAD_FX
1:	jmp *ct_gate(%rip)
2:	STORE_FX
	ret

	.globl ct_hold_fpu_blocked
	.type ct_hold_fpu_blocked, @function
ct_hold_fpu_blocked:
	LOAD_FX
	SUSPEND
	STORE_FX
	ret

.macro EACH_YMM op
	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	\op \n
	.endr
.endm

.macro LOAD_YMM n
	vmovups ct_in+512+32*\n(%rip), %ymm\n
.endm

.macro STORE_YMM n
	vmovups %ymm\n, ct_out+512+32*\n(%rip)
.endm

	.globl ct_hold_vec_spin
	.type ct_hold_vec_spin, @function
ct_hold_vec_spin:
	SET_GATE
	EACH_YMM LOAD_YMM
1:	jmp *ct_gate(%rip)
2:	EACH_YMM STORE_YMM
	vzeroupper
	ret

	.globl ct_hold_vec_blocked
	.type ct_hold_vec_blocked, @function
ct_hold_vec_blocked:
	EACH_YMM LOAD_YMM
	SUSPEND
	EACH_YMM STORE_YMM
	vzeroupper
	ret

/* The thread pointer. */
	.globl ct_thread_pointer
	.type ct_thread_pointer, @function
ct_thread_pointer:
	movq %fs:0, %rax
	ret

/* The word that %gs points at. */
	.globl ct_gs_word
	.type ct_gs_word, @function
ct_gs_word:
	movq %gs:0, %rax
	ret

/* Calls the code at an address. */
	.globl ct_call
	.type ct_call, @function
ct_call:
	subq $8, %rsp
	call *%rdi
	addq $8, %rsp
	ret

	.section .note.GNU-stack, "", @progbits
