/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Checkpoint/restart: what exists on one of the two kernels only, or depends on
 * the configuration.  Functions called *_in_use say what cannot be saved.
 */
#ifndef _ASM_X86_CHECKPOINT_H
#define _ASM_X86_CHECKPOINT_H

#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <asm/desc_defs.h>
#include <asm/mmu_context.h>
#include <asm/processor.h>
#include <asm/ptrace.h>
#include <asm/vdso.h>
#include <asm-generic/checkpoint.h>

#ifdef CONFIG_X86_64
#define ckpt_vdso_image		vdso_image_64

/* Another mode than the kernel's own: i386 and x32 code, or int $0x80 from 64-bit code. */
static inline bool ckpt_compat_in_use(struct task_struct *task)
{
	return test_tsk_thread_flag(task, TIF_ADDR32) ||
	       task->thread_info.status & (TS_COMPAT | TS_I386_REGS_POKED);
}

/* Thread local segments: the 64-bit view of the registers does not show them. */
static inline bool ckpt_tls_in_use(struct task_struct *task)
{
	for (int i = 0; i < GDT_ENTRY_TLS_ENTRIES; i++)
		if (!desc_empty(&task->thread.tls_array[i]))
			return true;
	return false;
}

static inline bool ckpt_sysexit_hides(struct pt_regs *regs)
{
	return false;
}
#else
#define ckpt_vdso_image		vdso_image_32

static inline bool ckpt_compat_in_use(struct task_struct *task)
{
	return false;
}

static inline bool ckpt_tls_in_use(struct task_struct *task)
{
	return false;
}

/*
 * SYSEXIT loses ECX and EDX, and do_fast_syscall_32() takes it if the task goes
 * on at the landing pad: of the vdso that was mapped when it entered the kernel.
 */
static inline bool ckpt_sysexit_hides(struct pt_regs *regs)
{
	return regs->ip != (unsigned long)current->mm->context.vdso +
			   vdso_image_32.sym_int80_landing_pad;
}
#endif

#ifdef CONFIG_VM86
static inline bool ckpt_vm86_in_use(struct task_struct *task)
{
	return task->thread.vm86 || v8086_mode(task_pt_regs(task));
}
#else
static inline bool ckpt_vm86_in_use(struct task_struct *task)
{
	return false;
}
#endif

#ifdef CONFIG_X86_IOPL_IOPERM
static inline bool ckpt_ioports_in_use(struct task_struct *task)
{
	return task->thread.io_bitmap || task->thread.iopl_emul;
}
#else
static inline bool ckpt_ioports_in_use(struct task_struct *task)
{
	return false;
}
#endif

#ifdef CONFIG_X86_USER_SHADOW_STACK
static inline bool ckpt_shstk_in_use(struct task_struct *task)
{
	return task->thread.features || task->thread.features_locked;
}
#else
static inline bool ckpt_shstk_in_use(struct task_struct *task)
{
	return false;
}
#endif

#ifdef CONFIG_MODIFY_LDT_SYSCALL
/* Make the table of current->mm, which has none: EINVAL if modify_ldt(2) would not. */
int ldt_restore(const struct desc_struct *entries, unsigned int nr_entries);

static inline bool ckpt_ldt_in_use(struct mm_struct *mm)
{
	return READ_ONCE(mm->context.ldt);
}
#else
static inline bool ckpt_ldt_in_use(struct mm_struct *mm)
{
	return false;
}
#endif

#endif /* _ASM_X86_CHECKPOINT_H */
