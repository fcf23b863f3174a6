/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Checkpoint/restart: what depends on the configuration.  Functions called
 * *_in_use say what cannot be saved.
 */
#ifndef _ASM_POWERPC_CHECKPOINT_H
#define _ASM_POWERPC_CHECKPOINT_H

#include <linux/sched.h>
#include <linux/string.h>
#include <asm/mmu.h>
#include <asm/pkeys.h>
#include <asm/processor.h>
#include <asm/reg.h>
#include <asm-generic/checkpoint.h>

static inline bool ckpt_watchpoints_in_use(struct task_struct *task)
{
	for (int i = 0; i < HBP_NUM_MAX; i++)
		if (task->thread.hw_brk[i].address)
			return true;
	return false;
}

#ifdef CONFIG_HAVE_HW_BREAKPOINT
static inline bool ckpt_breakpoints_in_use(struct task_struct *task)
{
	for (int i = 0; i < HBP_NUM_MAX; i++)
		if (task->thread.ptrace_bps[i])
			return true;
	return ckpt_watchpoints_in_use(task);
}
#else
static inline bool ckpt_breakpoints_in_use(struct task_struct *task)
{
	return ckpt_watchpoints_in_use(task);
}
#endif

#ifdef CONFIG_PPC_MEM_KEYS
/* Key 0 is everybody's. */
static inline bool ckpt_pkeys_in_use(struct mm_struct *mm)
{
	return mmu_has_feature(MMU_FTR_PKEY) &&
	       mm_pkey_allocation_map(mm) & ~(reserved_allocation_mask | 1);
}
#else
static inline bool ckpt_pkeys_in_use(struct mm_struct *mm)
{
	return false;
}
#endif

#ifdef CONFIG_PPC_SUBPAGE_PROT
static inline bool ckpt_subpages_in_use(struct mm_struct *mm)
{
	return !radix_enabled() && mm_ctx_subpage_prot(&mm->context);
}
#else
static inline bool ckpt_subpages_in_use(struct mm_struct *mm)
{
	return false;
}
#endif

/* Which units the task has used: bits of CKPT_PPC_USED_* */
#define CKPT_PPC_USED_VMX	0x1
#define CKPT_PPC_USED_VSX	0x2

#ifdef CONFIG_ALTIVEC
static inline unsigned int ckpt_vmx_used(struct task_struct *task)
{
	return task->thread.used_vr ? CKPT_PPC_USED_VMX : 0;
}

static inline u32 ckpt_vrsave_get(struct task_struct *task)
{
	return task->thread.vrsave;
}

/* What save_sprs() does when current is switched away from */
static inline void ckpt_vrsave_sync(void)
{
	if (cpu_has_feature(CPU_FTR_ALTIVEC))
		current->thread.vrsave = mfspr(SPRN_VRSAVE);
}

/* As exec leaves the unit */
static inline void ckpt_vmx_reset(struct task_struct *task)
{
	memset(&task->thread.vr_state, 0, sizeof(task->thread.vr_state));
	task->thread.vr_state.vscr.u[3] = 0x00010000; /* Java mode disabled */
	task->thread.vr_save_area = NULL;
	task->thread.used_vr = 0;
	task->thread.load_vec = 0;
}

static inline void ckpt_vmx_set(struct task_struct *task, bool used, u32 vrsave)
{
	task->thread.used_vr = used;
	task->thread.vrsave = vrsave;
}
#else
static inline unsigned int ckpt_vmx_used(struct task_struct *task)
{
	return 0;
}

static inline u32 ckpt_vrsave_get(struct task_struct *task)
{
	return 0;
}

static inline void ckpt_vrsave_sync(void)
{
}

static inline void ckpt_vmx_reset(struct task_struct *task)
{
}

static inline void ckpt_vmx_set(struct task_struct *task, bool used, u32 vrsave)
{
}
#endif

#ifdef CONFIG_VSX
static inline unsigned int ckpt_vsx_used(struct task_struct *task)
{
	return task->thread.used_vsr ? CKPT_PPC_USED_VSX : 0;
}

static inline void ckpt_vsx_set(struct task_struct *task, bool used)
{
	task->thread.used_vsr = used;
}
#else
static inline unsigned int ckpt_vsx_used(struct task_struct *task)
{
	return 0;
}

static inline void ckpt_vsx_set(struct task_struct *task, bool used)
{
}
#endif

#ifdef CONFIG_PPC_FPU_REGS
static inline void ckpt_fpu_reset(struct task_struct *task)
{
	memset(&task->thread.fp_state, 0, sizeof(task->thread.fp_state));
	task->thread.fp_save_area = NULL;
	task->thread.load_fp = 0;
}
#else
static inline void ckpt_fpu_reset(struct task_struct *task)
{
}
#endif

#endif /* _ASM_POWERPC_CHECKPOINT_H */
