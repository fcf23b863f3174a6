// SPDX-License-Identifier: GPL-2.0-only
/*
 * Checkpoint/restart of 64-bit s390 tasks.
 *
 * Register sets: NT_PRSTATUS (PSW, general and access registers, orig_gpr2),
 * NT_PRFPREG, and where the machine has them NT_S390_VXRS_LOW and _HIGH.
 *
 * Words of the CPU record:
 *	0	interruption code: of a system call its length and number
 *	1	address of the last breaking event, which signal handlers get
 *
 * A task is in a system call (PIF_SYSCALL) if ->syscall is not -1.  What
 * restart_block.arch_data has, the PSW that the vdso's restart_syscall stub
 * stands for, travels in the RESTART_BLOCK record.
 *
 * The way back to user mode: do_syscall() stores what restart(2) returns in
 * gprs[2], so it is the restored one.  The system call's exit loads all general
 * registers and the PSW from pt_regs.  Access registers are loaded from the
 * thread when the scheduler switches to the parked task; floating point and
 * vector registers were saved when it switched away, and so are loaded from the
 * thread on the way out.
 *
 * Hostile images: the PSW mask may differ from PSW_USER_BITS only in the bits
 * that a problem state program can change, with valid address space and
 * addressing mode, as ptrace has it; an invalid FPC is replaced when it is
 * loaded; invalid addresses cause a program check of the task.
 */
#include <linux/checkpoint.h>
#include <linux/elf.h>
#include <linux/regset.h>
#include <linux/sched/task_stack.h>
#include <asm-generic/checkpoint.h>
#include <asm/pgtable.h>
#include <asm/ptrace.h>
#include <asm/syscall.h>
#include <asm/vdso.h>

#define INT_CODE_LENGTH_SHIFT	16

enum cpu_word {
	WORD_INT_CODE,
	WORD_LAST_BREAK,
	WORD_FIRST_UNUSED,
};

u32 ckpt_arch_id(void)
{
	return CKPT_ARCH_S390X;
}

/* --- what cannot be carried --- */

static const char *in_the_way(struct task_struct *task)
{
	struct thread_struct *thread = &task->thread;

	if (test_tsk_thread_flag(task, TIF_31BIT))
		return "is a 31-bit task";
	if (!user_mode(task_pt_regs(task)))
		return "is not in user mode";
	if (test_tsk_thread_flag(task, TIF_SINGLE_STEP) ||
	    test_tsk_thread_flag(task, TIF_BLOCK_STEP) ||
	    test_tsk_thread_flag(task, TIF_UPROBE_SINGLESTEP))
		return "is single-stepped";
	if (thread->per_user.control || thread->per_flags)
		return "uses program event recording";
	if (thread->ri_cb)
		return "uses runtime instrumentation";
	if (thread->gs_cb || thread->gs_bc_cb)
		return "uses guarded storage";
	return NULL;
}

int ckpt_arch_check_task(struct ckpt_ctx *ctx, struct task_struct *task)
{
	const char *what = in_the_way(task);

	return what ? ckpt_err(ctx, -EBUSY, "%s", what) : 0;
}

int ckpt_arch_check_mm(struct ckpt_ctx *ctx, struct mm_struct *mm)
{
	if (mm_has_pgste(mm) || !list_empty(&mm->context.gmap_list) ||
	    atomic_read(&mm->context.protected_count))
		return ckpt_err(ctx, -EBUSY, "is the memory of a virtual machine");
	if (mm_uses_skeys(mm))
		return ckpt_err(ctx, -EBUSY, "uses storage keys");
	return 0;
}

/* --- registers --- */

enum ckpt_regset_action ckpt_arch_regset(const struct user_regset *regset)
{
	switch (regset->core_note_type) {
	case NT_PRSTATUS:
	case NT_PRFPREG:
	case NT_S390_VXRS_LOW:
	case NT_S390_VXRS_HIGH:
		return CKPT_REGSET_SAVE;
	}
	/* Refused if in use, without a set function, or in the CPU record. */
	return CKPT_REGSET_SKIP;
}

void ckpt_arch_regset_clean(u32 note, void *data)
{
}

void ckpt_arch_self_begin(struct pt_regs *regs, unsigned long saved[CKPT_ARCH_SELF_WORDS])
{
	saved[0] = regs->gprs[2];
	saved[1] = regs->flags;
	regs->gprs[2] = 0;
	clear_pt_regs_flag(regs, PIF_SYSCALL);
	/* The register set functions save the rest of current's registers. */
}

void ckpt_arch_self_end(struct pt_regs *regs, const unsigned long saved[CKPT_ARCH_SELF_WORDS])
{
	regs->gprs[2] = saved[0];
	regs->flags = saved[1];
}

int ckpt_arch_cpu_save(struct ckpt_ctx *ctx, struct task_struct *task, struct ckpt_rec_cpu *cpu)
{
	struct pt_regs *regs = task_pt_regs(task);

	cpu->syscall = syscall_get_nr(task, regs);
	cpu->word[WORD_INT_CODE] = regs->int_code;
	cpu->word[WORD_LAST_BREAK] = task->thread.last_break;
	return 0;
}

bool ckpt_arch_in_restart(struct task_struct *task)
{
	struct pt_regs *regs = task_pt_regs(task);

	/* Either on its way there, or at the stub in the vdso. */
	return (syscall_get_nr(task, regs) != -1 &&
		syscall_get_error(task, regs) == -ERESTART_RESTARTBLOCK) ||
	       !(task->restart_block.arch_data & 1);
}

int ckpt_arch_cpu_check(struct ckpt_ctx *ctx, const struct ckpt_rec_cpu *cpu)
{
	u64 int_code = cpu->word[WORD_INT_CODE];
	unsigned int length = int_code >> INT_CODE_LENGTH_SHIFT;

	if (int_code > U32_MAX || cpu->syscall < -1)
		return ckpt_err(ctx, -EINVAL, "interruption code %#llx, system call %d",
				int_code, cpu->syscall);
	/* The call is restarted by going back by the length of its instruction. */
	if (cpu->syscall != -1 &&
	    ((int_code & 0xffff) != cpu->syscall || !length || length > 6 || length % 2))
		return ckpt_err(ctx, -EINVAL, "interruption code %#llx of system call %d",
				int_code, cpu->syscall);
	for (int i = WORD_FIRST_UNUSED; i < ARRAY_SIZE(cpu->word); i++)
		if (cpu->word[i])
			return ckpt_err(ctx, -EINVAL, "word %d is not zero", i);
	/* Nothing of what a task cannot be saved with may be left in the member. */
	return ckpt_arch_check_task(ctx, current);
}

static int check_general(struct ckpt_ctx *ctx, const s390_regs *regs)
{
	unsigned long mask = regs->psw.mask;

	if ((mask ^ PSW_USER_BITS) & ~PSW_MASK_USER ||
	    (mask & PSW_MASK_ASC) == PSW_ASC_HOME ||
	    (mask & PSW_MASK_EA && !(mask & PSW_MASK_BA)))
		return ckpt_err(ctx, -EINVAL, "PSW mask %#lx", mask);
	return 0;
}

int ckpt_arch_regset_check(struct ckpt_ctx *ctx, u32 note, const void *data, size_t size)
{
	return note == NT_PRSTATUS ? check_general(ctx, data) : 0;
}

void ckpt_arch_cpu_apply_begin(struct task_struct *task, const struct ckpt_rec_cpu *cpu)
{
	/* In a system call, setting gprs[2] would mean another one. */
	clear_pt_regs_flag(task_pt_regs(task), PIF_SYSCALL);
}

void ckpt_arch_cpu_apply_end(struct task_struct *task, const struct ckpt_rec_cpu *cpu)
{
	struct pt_regs *regs = task_pt_regs(task);

	regs->int_code = cpu->word[WORD_INT_CODE];
	if (cpu->syscall != -1)
		set_pt_regs_flag(regs, PIF_SYSCALL);
	task->thread.last_break = cpu->word[WORD_LAST_BREAK];
}

long ckpt_arch_resume(struct pt_regs *regs, bool in_syscall)
{
	/* As arch_do_signal_or_restart() has it, in the middle of which a thread is. */
	if (!in_syscall)
		current->thread.system_call =
			test_pt_regs_flag(regs, PIF_SYSCALL) ? regs->int_code : 0;
	return regs->gprs[2];
}

/* All registers are loaded from pt_regs anyway. */
void ckpt_arch_new_thread(struct task_struct *task)
{
}

/* --- vdso --- */

u32 ckpt_arch_vma_kind(struct vm_area_struct *vma)
{
	return ckpt_vma_kind_by_name(vma);
}

int ckpt_arch_map_vdso(unsigned long start)
{
	return vdso_map_at(start);
}

void ckpt_arch_mm_reset(struct mm_struct *mm)
{
	mm->context.vdso_base = 0;
}
