// SPDX-License-Identifier: GPL-2.0-only
/*
 * Checkpoint/restart of x86 tasks: 32 bits on a 32-bit kernel, 64 bits on a
 * 64-bit one.
 *
 * Register sets: NT_PRSTATUS (all of pt_regs, segments and their bases), the
 * FPU in the largest format that the CPU has, on 32 bits NT_386_TLS.
 *
 * Words of the CPU record:
 *	0	flags: ID and, where the general set leaves it out, NT
 *
 * The way back to user mode: do_syscall_64() and its 32-bit brothers store what
 * restart(2) returns in ax, so it is the restored ax.  orig_ax is restored too:
 * arch_do_signal_or_restart() goes by it.  A restored ip, flags, cs or ss that
 * SYSRET or SYSEXIT could not bring back makes them return by IRET, which loads
 * every register from pt_regs.
 *
 * Hostile images: the set functions give user selectors only RPL 3, let no
 * reserved or system bit into flags or MXCSR, keep segment bases below
 * TASK_SIZE_MAX, TLS descriptors harmless, and compare the xstate header with
 * what the task may use.  Here cs and ss are checked, and that selectors of a
 * local descriptor table are there where there is one, which holds what
 * modify_ldt(2) could have put into it.  A selector without a descriptor is 0
 * when it is loaded.  What remains is what the task could have loaded itself.
 */
#include <linux/checkpoint.h>
#include <linux/elf.h>
#include <linux/perf_event.h>
#include <linux/pkeys.h>
#include <linux/regset.h>
#include <linux/sched/task_stack.h>
#include <linux/seccomp.h>
#include <asm/checkpoint.h>
#include <asm/cpufeature.h>
#include <asm/desc.h>
#include <asm/fpu/types.h>
#include <asm/ldt.h>
#include <asm/pkru.h>
#include <asm/segment.h>
#include <asm/sighandling.h>
#include <asm/syscall.h>
#include <asm/unistd.h>
#include <asm/user.h>

/* Flags that a program can set and ptrace does not */
#define EXTRA_FLAGS	(X86_EFLAGS_ID | X86_EFLAGS_NT)

enum cpu_word {
	WORD_FLAGS,
	WORD_FIRST_UNUSED,
};

u32 ckpt_arch_id(void)
{
	return IS_ENABLED(CONFIG_X86_64) ? CKPT_ARCH_X86_64 : CKPT_ARCH_X86_32;
}

/* --- what cannot be carried --- */

static bool is_debugged(struct task_struct *task)
{
	for (int i = 0; i < HBP_NUM; i++)
		if (task->thread.ptrace_bps[i])
			return true;
	return task->thread.ptrace_dr7;
}

static const char *in_the_way(struct task_struct *task)
{
	struct pt_regs *regs = task_pt_regs(task);

	if (ckpt_compat_in_use(task))
		return "is a 32-bit task on a 64-bit kernel, or in one of its system calls";
	if (ckpt_vm86_in_use(task))
		return "uses vm86 mode";
	if (!user_mode(regs) || regs->cs != __USER_CS)
		return "runs in a code segment of its own";
	if (regs->ss & SEGMENT_TI_MASK)
		return "has its stack in a segment of its own";
	if (ckpt_tls_in_use(task))
		return "has thread local segments";
	if (is_debugged(task))
		return "has hardware breakpoints";
	if (test_tsk_thread_flag(task, TIF_SINGLESTEP) ||
	    test_tsk_thread_flag(task, TIF_FORCED_TF) ||
	    test_tsk_thread_flag(task, TIF_BLOCKSTEP))
		return "is single-stepped";
	if (ckpt_ioports_in_use(task))
		return "may access I/O ports";
	/* Strict mode takes it away, and gives it back to nobody. */
	if (test_tsk_thread_flag(task, TIF_NOTSC) &&
	    seccomp_mode(&task->seccomp) != SECCOMP_MODE_STRICT)
		return "may not read the time stamp counter (PR_SET_TSC)";
	if (test_tsk_thread_flag(task, TIF_NOCPUID))
		return "may not execute CPUID (ARCH_SET_CPUID)";
	if (ckpt_shstk_in_use(task))
		return "has a shadow stack";
	if (task->group_leader->thread.fpu.perm.__state_perm & ~fpu_kernel_cfg.default_features)
		return "has a permission for extended states (AMX)";
	return NULL;
}

int ckpt_arch_check_task(struct ckpt_ctx *ctx, struct task_struct *task)
{
	const char *what = in_the_way(task);

	return what ? ckpt_err(ctx, -EBUSY, "%s", what) : 0;
}

int ckpt_arch_check_mm(struct ckpt_ctx *ctx, struct mm_struct *mm)
{
	if (mm_lam_cr3_mask(mm))
		return ckpt_err(ctx, -EBUSY, "uses linear address masking");
	return 0;
}

#ifdef CONFIG_X86_INTEL_MEMORY_PROTECTION_KEYS
u32 ckpt_arch_pkeys(struct mm_struct *mm, u32 *execute_only)
{
	*execute_only = max(mm->context.execute_only_pkey, 0);
	return mm->context.pkey_allocation_map & ~1;
}

int ckpt_arch_set_pkeys(struct mm_struct *mm, u32 keys, u32 execute_only)
{
	if (!cpu_feature_enabled(X86_FEATURE_OSPKE))
		return keys ? -EINVAL : 0;
	mm->context.pkey_allocation_map = keys | 1;
	mm->context.execute_only_pkey = execute_only ?: -1;
	return 0;
}

u32 ckpt_arch_nr_pkeys(void)
{
	return arch_max_pkey();
}

void ckpt_arch_hold_pkeys(struct mm_struct *mm)
{
	ckpt_arch_set_pkeys(mm, GENMASK(arch_max_pkey() - 1, 0), 0);
	write_pkru(0);
}
#endif

/* --- local descriptor table --- */

#ifdef CONFIG_MODIFY_LDT_SYSCALL
int ckpt_arch_ldt_save(struct ckpt_ctx *ctx, struct mm_struct *mm)
{
	struct ckpt_rec_ldt *rec __free(kvfree) = NULL;
	u32 nr = 0;

	BUILD_BUG_ON(LDT_ENTRIES != CKPT_LDT_ENTRIES_MAX);
	BUILD_BUG_ON(sizeof(rec->entries[0]) != LDT_ENTRY_SIZE);
	/* Whoever has this memory is frozen, or dies: but who sleeps here may wait for it. */
	scoped_guard(mutex, &mm->context.lock) {
		const struct ldt_struct *ldt = mm->context.ldt;

		if (!ldt)
			return 0;
		nr = ldt->nr_entries;
		rec = kvzalloc(struct_size(rec, entries, nr), GFP_KERNEL_ACCOUNT);
		if (rec)
			memcpy(rec->entries, ldt->entries, nr * sizeof(rec->entries[0]));
	}
	if (!rec)
		return ckpt_nomem(ctx, "%u descriptors", nr);
	rec->nr_entries = nr;
	return ckpt_write_record(ctx, CKPT_REC_LDT, rec, struct_size(rec, entries, nr));
}

int ckpt_arch_ldt_restore(struct ckpt_ctx *ctx, const struct ckpt_rec_ldt *rec)
{
	int err = ldt_restore((const struct desc_struct *)rec->entries, rec->nr_entries);

	return err ? ckpt_err(ctx, err, "the table of %u descriptors cannot be made",
			      rec->nr_entries) : 0;
}
#endif

/* --- registers --- */

/* The FPU's sets are views of one state: take the one that shows all of it. */
static u32 fpu_note(void)
{
	if (cpu_feature_enabled(X86_FEATURE_XSAVE))
		return NT_X86_XSTATE;
	/* On 64 bits FXSAVE's format goes by the name of the old one. */
	if (cpu_feature_enabled(X86_FEATURE_FXSR) && IS_ENABLED(CONFIG_X86_32))
		return NT_PRXFPREG;
	return NT_PRFPREG;
}

enum ckpt_regset_action ckpt_arch_regset(const struct user_regset *regset)
{
	if (regset->core_note_type == NT_PRSTATUS || regset->core_note_type == NT_386_TLS ||
	    regset->core_note_type == fpu_note())
		return CKPT_REGSET_SAVE;
	return CKPT_REGSET_SKIP;
}

/* RF only means something with a breakpoint: faults leave it behind, and ckpt_arch_resume(). */
void ckpt_arch_regset_clean(u32 note, void *data)
{
	struct user_regs_struct *regs = data;

	if (note == NT_PRSTATUS)
		regs->flags &= ~X86_EFLAGS_RF;
}

void ckpt_arch_self_begin(struct pt_regs *regs, unsigned long saved[CKPT_ARCH_SELF_WORDS])
{
	saved[0] = regs->ax;
	saved[1] = regs->orig_ax;
	regs->ax = 0;
	regs->orig_ax = -1;
	/* The register set functions take it from here. */
	current->thread.pkru = read_pkru();
}

void ckpt_arch_self_end(struct pt_regs *regs, const unsigned long saved[CKPT_ARCH_SELF_WORDS])
{
	regs->ax = saved[0];
	regs->orig_ax = saved[1];
}

int ckpt_arch_cpu_save(struct ckpt_ctx *ctx, struct task_struct *task, struct ckpt_rec_cpu *cpu)
{
	struct pt_regs *regs = task_pt_regs(task);

	cpu->syscall = syscall_get_nr(task, regs);
	cpu->word[WORD_FLAGS] = regs->flags & EXTRA_FLAGS;
	return 0;
}

bool ckpt_arch_in_restart(struct task_struct *task)
{
	struct pt_regs *regs = task_pt_regs(task);

	/* Either on its way there, or already about to execute the instruction. */
	return syscall_get_error(task, regs) == -ERESTART_RESTARTBLOCK ||
	       regs->ax == __NR_restart_syscall;
}

int ckpt_arch_cpu_check(struct ckpt_ctx *ctx, const struct ckpt_rec_cpu *cpu)
{
	if (cpu->word[WORD_FLAGS] & ~(u64)EXTRA_FLAGS)
		return ckpt_err(ctx, -EINVAL, "flags %#llx", cpu->word[WORD_FLAGS]);
	for (int i = WORD_FIRST_UNUSED; i < ARRAY_SIZE(cpu->word); i++)
		if (cpu->word[i])
			return ckpt_err(ctx, -EINVAL, "word %d is not zero", i);
	/* Nothing of what a task cannot be saved with may be left in the member. */
	return ckpt_arch_check_task(ctx, current);
}

static int check_general(struct ckpt_ctx *ctx, const struct user_regs_struct *regs)
{
	u16 data = regs->ds | regs->es | regs->fs | regs->gs;

	if ((u16)regs->cs != __USER_CS)
		return ckpt_err(ctx, -EINVAL, "cs is %#lx", regs->cs);
	if ((IS_ENABLED(CONFIG_X86_64) && (u16)regs->ss != __USER_DS) ||
	    regs->ss & SEGMENT_TI_MASK)
		return ckpt_err(ctx, -EINVAL, "ss is %#lx", regs->ss);
	if (regs->flags & X86_EFLAGS_RF)
		return ckpt_err(ctx, -EINVAL, "flags are %#lx", regs->flags);
	if (data & SEGMENT_TI_MASK && !ckpt_ldt_in_use(current->mm))
		return ckpt_err(ctx, -EINVAL,
				"a selector is one of a local descriptor table, and there is none");
	return 0;
}

int ckpt_arch_regset_check(struct ckpt_ctx *ctx, u32 note, const void *data, size_t size)
{
	return note == NT_PRSTATUS ? check_general(ctx, data) : 0;
}

void ckpt_arch_cpu_apply_begin(struct task_struct *task, const struct ckpt_rec_cpu *cpu)
{
	memset(task->thread.tls_array, 0, sizeof(task->thread.tls_array));
}

void ckpt_arch_cpu_apply_end(struct task_struct *task, const struct ckpt_rec_cpu *cpu)
{
	struct pt_regs *regs = task_pt_regs(task);

	regs->flags = (regs->flags & ~(unsigned long)EXTRA_FLAGS) | cpu->word[WORD_FLAGS];
}

long ckpt_arch_resume(struct pt_regs *regs, bool in_syscall)
{
	prevent_single_step_upon_eretu(regs);
	/* RF sends the task through IRET, and is gone after its first instruction. */
	if (ckpt_sysexit_hides(regs))
		regs->flags |= X86_EFLAGS_RF;
	return regs->ax;
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
	return map_vdso_once(&ckpt_vdso_image, start);
}

void ckpt_arch_mm_reset(struct mm_struct *mm)
{
	mm->context.vdso = NULL;
	mm->context.vdso_image = NULL;
}
