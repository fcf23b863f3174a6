/*
 * Registers held across a freeze, x86_32; see x86_64.S for how it works.
 *
 * gpr: eax ebx ecx edx esi edi ebp, then eflags, then esp; 4 bytes each.
 * fpu: the FXSAVE area.  vec: ymm0 to ymm7 from byte 512 on.
 */
	.bss
	.balign 64
	.globl ct_in, ct_out, ct_gate, ct_gate_open, ct_mask
ct_in:		.skip 2048
ct_out:		.skip 2048
ct_gate:	.skip 4
ct_gate_open:	.skip 4
ct_mask:	.skip 8

	.text

.macro SAVE_CALLEE
	pushl %ebx
	pushl %esi
	pushl %edi
	pushl %ebp
.endm

.macro RESTORE_CALLEE
	popl %ebp
	popl %edi
	popl %esi
	popl %ebx
.endm

.macro SET_GATE
	movl $1f, ct_gate
	movl $2f, ct_gate_open
.endm

.macro LOAD_GPR
	movl %esp, ct_in+32
	pushl ct_in+28
	popfl
	movl ct_in+0, %eax
	movl ct_in+4, %ebx
	movl ct_in+8, %ecx
	movl ct_in+12, %edx
	movl ct_in+16, %esi
	movl ct_in+20, %edi
	movl ct_in+24, %ebp
.endm

.macro STORE_GPR
	movl %eax, ct_out+0
	movl %ebx, ct_out+4
	movl %ecx, ct_out+8
	movl %edx, ct_out+12
	movl %esi, ct_out+16
	movl %edi, ct_out+20
	movl %ebp, ct_out+24
	movl %esp, ct_out+32
	pushfl
	popl ct_out+28
	cld
.endm

.macro SUSPEND
	pushl %ebx
	movl $179, %eax
	movl $ct_mask, %ebx
	movl $8, %ecx
	int $0x80
	popl %ebx
.endm

	.globl ct_hold_gpr_spin
	.type ct_hold_gpr_spin, @function
ct_hold_gpr_spin:
	SAVE_CALLEE
	SET_GATE
	LOAD_GPR
1:	jmp *ct_gate
2:	STORE_GPR
	RESTORE_CALLEE
	ret

	.globl ct_hold_gpr_blocked
	.type ct_hold_gpr_blocked, @function
ct_hold_gpr_blocked:
	SAVE_CALLEE
	LOAD_GPR
	int $0x80
	STORE_GPR
	RESTORE_CALLEE
	ret

.macro LOAD_FX
	fxsave ct_out+1024
	fxrstor ct_in
.endm

.macro STORE_FX
	fxsave ct_out
	fninit
	fxrstor ct_out+1024
.endm

	.globl ct_hold_fpu_spin
	.type ct_hold_fpu_spin, @function
ct_hold_fpu_spin:
	SET_GATE
	LOAD_FX
1:	jmp *ct_gate
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
	.irp n, 0,1,2,3,4,5,6,7
	\op \n
	.endr
.endm

.macro LOAD_YMM n
	vmovups ct_in+512+32*\n, %ymm\n
.endm

.macro STORE_YMM n
	vmovups %ymm\n, ct_out+512+32*\n
.endm

	.globl ct_hold_vec_spin
	.type ct_hold_vec_spin, @function
ct_hold_vec_spin:
	SET_GATE
	EACH_YMM LOAD_YMM
1:	jmp *ct_gate
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
	movl %gs:0, %eax
	ret

/* Loads %fs with a selector; stays loaded. */
	.globl ct_set_fs
	.type ct_set_fs, @function
ct_set_fs:
	movl 4(%esp), %eax
	movw %ax, %fs
	ret

/* The selector in %fs. */
	.globl ct_fs_selector
	.type ct_fs_selector, @function
ct_fs_selector:
	xorl %eax, %eax
	movw %fs, %ax
	ret

/* The word that %fs points at. */
	.globl ct_fs_word
	.type ct_fs_word, @function
ct_fs_word:
	movl %fs:0, %eax
	ret

/* Calls the code at an address. */
	.globl ct_call
	.type ct_call, @function
ct_call:
	subl $12, %esp
	call *16(%esp)
	addl $12, %esp
	ret

	.section .note.GNU-stack, "", @progbits
