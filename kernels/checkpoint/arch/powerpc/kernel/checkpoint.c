// SPDX-License-Identifier: GPL-2.0-only
/*
 * Checkpoint/restart of 64-bit tasks on Book3S-64.
 *
 * Register sets: NT_PRSTATUS, NT_PRFPREG, NT_PPC_VMX and _VSX of tasks that
 * used these units, and what the CPU has of NT_PPC_TAR, _DSCR, _TM_SPR and
 * _HASHKEYR.  NT_PPC_PPR is not kept: a system call ends with the priority set
 * to medium-low, and so does restart(2).
 *
 * Words of the CPU record:
 *	0	trap, with bit 0: the system call is not to be restarted
 *	1	WORD_FLAGS: see FLAG_*
 *	2	VRSAVE, also of a task that did not use the unit otherwise
 *	3	floating point exception mode, MSR[FE0] and MSR[FE1]
 *	4	alignment control, as PR_SET_UNALIGN has it
 *	5	DEXCR in the lower half, the one for exec in the upper half
 *
 * The way back to user mode: TIF_RESTOREALL keeps syscall_exit_prepare() from
 * touching r3 and CR0.SO, and makes both ways out, sc and scv, load all
 * registers from pt_regs.  trap, orig_gpr3, r3 and CR0.SO are the frozen
 * task's, so check_syscall_restart() does what it would have done there.
 * Cached SRR0 and SRR1 are forgotten.  Special purpose and floating point
 * registers are loaded from the thread by the switch to the parked task, by
 * restore_math(), or when the unit is used next.
 *
 * Hostile images: of the MSR, ptrace's set functions take the stepping bits
 * only, and those are refused here; privileged registers are in no set.  The
 * trap is checked to be one that comes from user mode.  The other words have
 * the bits that prctl(2) would let the task set.
 */
#include <linux/checkpoint.h>
#include <linux/elf.h>
#include <linux/prctl.h>
#include <linux/preempt.h>
#include <linux/regset.h>
#include <linux/sched/task_stack.h>
#include <asm/checkpoint.h>
#include <asm/cputable.h>
#include <asm/interrupt.h>
#include <asm/mmu_context.h>
#include <asm/reg.h>
#include <asm/syscall.h>
#include <asm/tm.h>
#include <asm/unistd.h>
#include <asm/vdso.h>

#define CR0_SO			0x10000000UL
#define STEPPING_BITS		(MSR_SE | MSR_BE)
#define FPEXC_MODES		(MSR_FE0 | MSR_FE1)
#define UNALIGN_MODES		(PR_UNALIGN_NOPRINT | PR_UNALIGN_SIGBUS)

/* Interrupt vectors are multiples of 0x10 below this. */
#define TRAP_VECTORS		0x7ff0UL
#define TRAP_NORESTART		0x1UL
#define TRAP_SCV_SIGILL		0x7ff0UL

#define FLAG_USED_VMX		CKPT_PPC_USED_VMX
#define FLAG_USED_VSX		CKPT_PPC_USED_VSX
#define FLAG_ELF2ABI		0x4	/* TIF_ELF2ABI: no function descriptors */
#define FLAG_DSCR_INHERIT	0x8	/* the DSCR is the task's own */
#define FLAGS_ALL		0xf

enum cpu_word {
	WORD_TRAP,
	WORD_FLAGS,
	WORD_VRSAVE,
	WORD_FPEXC_MODE,
	WORD_ALIGN_CTL,
	WORD_DEXCR,
};

u32 ckpt_arch_id(void)
{
	return CKPT_ARCH_PPC64;
}

/* --- what cannot be carried --- */

static const char *in_the_way(struct task_struct *task)
{
	struct thread_struct *thread = &task->thread;
	struct pt_regs *regs = thread->regs;
	unsigned long byte_order = IS_ENABLED(CONFIG_CPU_LITTLE_ENDIAN) ? MSR_LE : 0;

	if (!regs || !user_mode(regs))
		return "is not in user mode";
	if (is_tsk_32bit_task(task) || !(regs->msr & MSR_SF))
		return "is a 32-bit task";
	if ((regs->msr & MSR_LE) != byte_order)
		return "runs in the other byte order";
	if (MSR_TM_ACTIVE(regs->msr))
		return "is in a memory transaction";
	if (ckpt_breakpoints_in_use(task))
		return "has hardware breakpoints";
	if (test_tsk_thread_flag(task, TIF_SINGLESTEP) || regs->msr & STEPPING_BITS)
		return "is single-stepped";
	if (thread->used_ebb)
		return "uses event-based branches";
	if (thread->tidr)
		return "has a thread id that hardware knows";
	return NULL;
}

int ckpt_arch_check_task(struct ckpt_ctx *ctx, struct task_struct *task)
{
	const char *what = in_the_way(task);

	return what ? ckpt_err(ctx, -EBUSY, "%s", what) : 0;
}

int ckpt_arch_check_mm(struct ckpt_ctx *ctx, struct mm_struct *mm)
{
	if (ckpt_pkeys_in_use(mm))
		return ckpt_err(ctx, -EBUSY, "uses protection keys");
	if (ckpt_subpages_in_use(mm))
		return ckpt_err(ctx, -EBUSY, "uses subpage protection");
	if (atomic_read(&mm->context.copros) || atomic_read(&mm->context.vas_windows))
		return ckpt_err(ctx, -EBUSY, "is open to an accelerator");
	return 0;
}

/* --- registers --- */

enum ckpt_regset_action ckpt_arch_regset(const struct user_regset *regset)
{
	switch (regset->core_note_type) {
	case NT_PRSTATUS:
	case NT_PRFPREG:
	case NT_PPC_VMX:
	case NT_PPC_VSX:
	case NT_PPC_TAR:
	case NT_PPC_DSCR:
	case NT_PPC_TM_SPR:
	case NT_PPC_HASHKEYR:
		return CKPT_REGSET_SAVE;
	}
	/* Refused if in use (TM, EBB, keys), or said above. */
	return CKPT_REGSET_SKIP;
}

/* Of the last interrupt, and the kernel's own: nothing that the task could tell. */
void ckpt_arch_regset_clean(u32 note, void *data)
{
	struct user_pt_regs *regs = data;

	if (note != NT_PRSTATUS)
		return;
	/* Some interrupts say in bits of it what they are. */
	regs->msr &= SRR1_MSR_BITS;
	regs->dar = 0;
	regs->dsisr = 0;
	regs->result = 0;
}

/* What save_sprs() does when current is switched away from, as far as a register set shows it. */
static void sync_sprs(void)
{
	struct thread_struct *thread = &current->thread;

	guard(preempt)();
	ckpt_vrsave_sync();
	if (cpu_has_feature(CPU_FTR_DSCR))
		thread->dscr = mfspr(SPRN_DSCR);
	if (cpu_has_feature(CPU_FTR_ARCH_207S))
		thread->tar = mfspr(SPRN_TAR);
	if (cpu_has_feature(CPU_FTR_DEXCR_NPHIE))
		thread->hashkeyr = mfspr(SPRN_HASHKEYR);
}

void ckpt_arch_self_begin(struct pt_regs *regs, unsigned long saved[CKPT_ARCH_SELF_WORDS])
{
	saved[0] = regs->gpr[3];
	saved[1] = regs->ccr;
	saved[2] = regs->trap;
	regs->gpr[3] = 0;
	regs->ccr &= ~CR0_SO;
	regs->trap = TRAP_NORESTART;
	sync_sprs();
}

void ckpt_arch_self_end(struct pt_regs *regs, const unsigned long saved[CKPT_ARCH_SELF_WORDS])
{
	regs->gpr[3] = saved[0];
	regs->ccr = saved[1];
	regs->trap = saved[2];
}

static u64 dexcr_word(struct task_struct *task)
{
	return lower_32_bits(task->thread.dexcr) |
	       (u64)lower_32_bits(task->thread.dexcr_onexec) << 32;
}

int ckpt_arch_cpu_save(struct ckpt_ctx *ctx, struct task_struct *task, struct ckpt_rec_cpu *cpu)
{
	struct thread_struct *thread = &task->thread;
	struct pt_regs *regs = thread->regs;

	cpu->syscall = syscall_get_nr(task, regs);
	cpu->word[WORD_TRAP] = regs->trap;
	cpu->word[WORD_FLAGS] = ckpt_vmx_used(task) | ckpt_vsx_used(task);
	if (test_tsk_thread_flag(task, TIF_ELF2ABI))
		cpu->word[WORD_FLAGS] |= FLAG_ELF2ABI;
	if (thread->dscr_inherit)
		cpu->word[WORD_FLAGS] |= FLAG_DSCR_INHERIT;
	cpu->word[WORD_VRSAVE] = ckpt_vrsave_get(task);
	cpu->word[WORD_FPEXC_MODE] = thread->fpexc_mode;
	cpu->word[WORD_ALIGN_CTL] = thread->align_ctl;
	cpu->word[WORD_DEXCR] = dexcr_word(task);
	return 0;
}

bool ckpt_arch_in_restart(struct task_struct *task)
{
	struct pt_regs *regs = task->thread.regs;

	/* Either on its way there, or already about to execute the instruction. */
	return syscall_get_error(task, regs) == -ERESTART_RESTARTBLOCK ||
	       regs->gpr[0] == __NR_restart_syscall;
}

static bool trap_is_valid(u64 trap)
{
	return !(trap & ~(TRAP_VECTORS | TRAP_NORESTART)) &&
	       (trap & TRAP_VECTORS) != TRAP_SCV_SIGILL;
}

int ckpt_arch_cpu_check(struct ckpt_ctx *ctx, const struct ckpt_rec_cpu *cpu)
{
	if (!trap_is_valid(cpu->word[WORD_TRAP]))
		return ckpt_err(ctx, -EINVAL, "trap %#llx", cpu->word[WORD_TRAP]);
	if (cpu->word[WORD_FLAGS] & ~(u64)FLAGS_ALL || cpu->word[WORD_VRSAVE] > U32_MAX ||
	    cpu->word[WORD_FPEXC_MODE] & ~(u64)FPEXC_MODES ||
	    cpu->word[WORD_ALIGN_CTL] & ~(u64)UNALIGN_MODES)
		return ckpt_err(ctx, -EINVAL, "flags %#llx, vrsave %#llx, fpexc %#llx, align %#llx",
				cpu->word[WORD_FLAGS], cpu->word[WORD_VRSAVE],
				cpu->word[WORD_FPEXC_MODE], cpu->word[WORD_ALIGN_CTL]);
	if (cpu->word[WORD_DEXCR] != dexcr_word(current))
		return ckpt_err(ctx, -EINVAL, "DEXCR %#llx, the restarting task has %#llx",
				cpu->word[WORD_DEXCR], dexcr_word(current));
	/* Nothing of what a task cannot be saved with may be left in the member. */
	return ckpt_arch_check_task(ctx, current);
}

static int check_general(struct ckpt_ctx *ctx, const struct user_pt_regs *regs)
{
	if (regs->msr & STEPPING_BITS)
		return ckpt_err(ctx, -EINVAL, "MSR %#lx", regs->msr);
	if (regs->dar || regs->dsisr || regs->result)
		return ckpt_err(ctx, -EINVAL, "dar %#lx, dsisr %#lx, result %#lx are not zero",
				regs->dar, regs->dsisr, regs->result);
	return 0;
}

int ckpt_arch_regset_check(struct ckpt_ctx *ctx, u32 note, const void *data, size_t size)
{
	return note == NT_PRSTATUS ? check_general(ctx, data) : 0;
}

/* Units that the task did not use come without a record: as after exec. */
void ckpt_arch_cpu_apply_begin(struct task_struct *task, const struct ckpt_rec_cpu *cpu)
{
	ckpt_fpu_reset(task);
	ckpt_vmx_reset(task);
	ckpt_vsx_set(task, false);
}

void ckpt_arch_cpu_apply_end(struct task_struct *task, const struct ckpt_rec_cpu *cpu)
{
	struct thread_struct *thread = &task->thread;
	u64 flags = cpu->word[WORD_FLAGS];

	/* The general set leaves bit 0 as it was, and these three. */
	thread->regs->trap = cpu->word[WORD_TRAP];
	thread->regs->dar = 0;
	thread->regs->dsisr = 0;
	thread->regs->result = 0;
	ckpt_vmx_set(task, flags & FLAG_USED_VMX, cpu->word[WORD_VRSAVE]);
	ckpt_vsx_set(task, flags & FLAG_USED_VSX);
	thread->dscr_inherit = !!(flags & FLAG_DSCR_INHERIT);
	thread->fpexc_mode = cpu->word[WORD_FPEXC_MODE];
	thread->align_ctl = cpu->word[WORD_ALIGN_CTL];
	update_tsk_thread_flag(task, TIF_ELF2ABI, flags & FLAG_ELF2ABI);
}

long ckpt_arch_resume(struct pt_regs *regs, bool in_syscall)
{
	set_return_regs_changed();
	/* Cleared by the end of a system call, which a new thread is past. */
	if (in_syscall)
		set_thread_flag(TIF_RESTOREALL);
	return 0;
}

/* Its way to user mode is the end of a system call. */
void ckpt_arch_new_thread(struct task_struct *task)
{
	set_tsk_thread_flag(task, TIF_RESTOREALL);
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
	mm->context.vdso = NULL;
}
