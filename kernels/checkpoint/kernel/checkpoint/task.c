// SPDX-License-Identifier: GPL-2.0-only
/*
 * A task: what it is, what it registered with the kernel, its limits, and the
 * objects that it uses.
 *
 * What a task may hold and no record describes is refused here or where the
 * object is, by name.  On restart the section is read into the member and the
 * objects are restored in the task itself; what would be in the way of that,
 * credentials and limits, comes last, and what touches user memory is put back
 * when the task is let go, see ckpt_task_finish().
 */
#include <linux/checkpoint.h>
#include <linux/fdtable.h>
#include <linux/fs_struct.h>
#include <linux/pid.h>
#include <linux/posix-timers.h>
#include <linux/ptrace.h>
#include <linux/rseq.h>
#include <linux/sched/coredump.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/uaccess.h>

#include "internal.h"

/* What belongs to the thread group. */
static const char *group_in_the_way(struct task_struct *task)
{
	struct signal_struct *sig = task->signal;

	if (sig->flags & (SIGNAL_GROUP_EXIT | SIGNAL_CLD_MASK) || sig->group_stop_count)
		return "exits, or is just being stopped or continued";
	if (sig->tty)
		return "has a controlling terminal";
	return NULL;
}

/* What belongs to the task itself. */
static const char *task_in_the_way(struct task_struct *task)
{
	if (ckpt_uses_io_uring(task))
		return "uses io_uring";
	if (task->vfork_done)
		return "was made by vfork and has not called exec";
	if (!list_empty(&task->ptraced))
		return "traces another task";
	if (ckpt_has_mempolicy(task))
		return "has a memory policy";
	if (task->atomic_flags & ~BIT(PFA_NO_NEW_PRIVS))
		return "has a policy for speculative execution, or another of prctl's flags";
	if (ckpt_has_user_dispatch(task))
		return "has syscall user dispatch";
	if (ckpt_holds_pi_futex(task))
		return "holds a PI futex that others wait for";
	if (ckpt_has_compat_robust_list(task))
		return "has a 32-bit robust list";
	return NULL;
}

/* The list lives as long as the task does not run. */
static int has_undos(struct task_struct *task, void *t)
{
	if (task != current && !ckpt_stands_still(t))
		return -EAGAIN;
	return sem_has_undos(task);
}

static int check_undos(struct ckpt_ctx *ctx, struct ckpt_task *t)
{
	int ret = t->task == current ? has_undos(t->task, t) :
				       task_call_func(t->task, has_undos, t);

	if (ret < 0)
		return ckpt_err(ctx, -EBUSY, "did not stay frozen");
	return ret ? ckpt_err(ctx, -EBUSY, "has semaphores to undo") : 0;
}

/*
 * Processes can share memory and signal actions without being threads.  On
 * restart a process takes to those of another one before it has threads, which
 * the threads of a leader that has exited are too late for.
 */
static int check_sharing(struct ckpt_ctx *ctx, struct ckpt_task *t)
{
	struct task_struct *task = t->task;

	if (!ckpt_tree_leader(ctx, t->pid)->has_exited)
		return 0;
	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		const struct ckpt_task *other = &ctx->tasks[i];

		if (other->has_exited || other->tgid == t->tgid || other->task->mm != task->mm)
			continue;
		return ckpt_err(ctx, -EBUSY,
				"shares its memory with pid %d, and its leader has exited",
				other->pid);
	}
	return 0;
}

static int check_task(struct ckpt_ctx *ctx, struct ckpt_task *t)
{
	struct task_struct *task = t->task;
	const char *what = group_in_the_way(task) ?: task_in_the_way(task);
	int err;

	if (what)
		return ckpt_err(ctx, -EBUSY, "%s", what);
	err = check_undos(ctx, t);
	if (err)
		return err;
	if (!task->mm || !task->files || !task->fs)
		return ckpt_err(ctx, -EBUSY, "exits");
	err = check_sharing(ctx, t);
	return err ?: ckpt_arch_check_task(ctx, task);
}

static int save_task(struct ckpt_ctx *ctx, struct ckpt_task *t)
{
	struct task_struct *task = t->task;
	struct ckpt_rec_task rec = {
		.pid = t->pid,
		.personality = task->personality,
		.set_child_tid = (unsigned long)task->set_child_tid,
		.clear_child_tid = (unsigned long)task->clear_child_tid,
	};

	BUILD_BUG_ON(TASK_COMM_LEN != CKPT_COMM_LEN);
	get_task_comm(rec.comm, task);
	ckpt_robust_list_get(task, &rec.robust_list, &rec.robust_list_len);
	ckpt_rseq_get(task, &rec);
	return ckpt_write_record(ctx, CKPT_REC_TASK, &rec, sizeof(rec));
}

static int save_objs(struct ckpt_ctx *ctx, const struct ckpt_task *t)
{
	struct task_struct *task = t->task;
	struct ckpt_rec_task_objs rec = {};
	const struct cred *cred;
	int err;

	if (rcu_access_pointer(task->cred) != rcu_access_pointer(task->real_cred) &&
	    task != current)
		return ckpt_err(ctx, -EBUSY, "acts under other credentials");
	cred = get_task_cred(task);
	rec.cred = ckpt_cred_save(ctx, cred);
	put_cred(cred);
	if (rec.cred < 0)
		return rec.cred;
	rec.files = ckpt_files_save(ctx, task);
	if (rec.files < 0)
		return rec.files;
	rec.fs = ckpt_fs_save(ctx, task);
	if (rec.fs < 0)
		return rec.fs;
	rec.sighand = ckpt_sighand_save(ctx, task);
	if (rec.sighand < 0)
		return rec.sighand;
	rec.mm = ckpt_mm_save(ctx, task);
	if (rec.mm < 0)
		return rec.mm;
	err = ckpt_namespaces_save(ctx, t, &rec);
	if (err)
		return err;
	rec.seccomp = ckpt_seccomp_save(ctx, task);
	if (rec.seccomp < 0)
		return rec.seccomp;
	ctx->current_objref = 0;
	return ckpt_write_record(ctx, CKPT_REC_TASK_OBJS, &rec, sizeof(rec));
}

static u64 limit_to_image(unsigned long limit)
{
	return limit == RLIM_INFINITY ? CKPT_RLIM_INFINITY : limit;
}

static int save_rlimits(struct ckpt_ctx *ctx, struct task_struct *task)
{
	struct ckpt_rec_rlimits rec = {};

	BUILD_BUG_ON(RLIM_NLIMITS != CKPT_RLIMITS);
	scoped_guard(task_lock, task->group_leader) {
		for (int i = 0; i < RLIM_NLIMITS; i++) {
			rec.limits[i].soft = limit_to_image(task->signal->rlim[i].rlim_cur);
			rec.limits[i].hard = limit_to_image(task->signal->rlim[i].rlim_max);
		}
	}
	return ckpt_write_record(ctx, CKPT_REC_RLIMITS, &rec, sizeof(rec));
}

/* A frozen task can be thawed or killed at any time; what was checked of it holds if it has not run. */
static int check_still_frozen(struct ckpt_ctx *ctx, const struct ckpt_task *t)
{
	if (t->task == current || wait_task_inactive(t->task, CKPT_FROZEN_STATES) == t->switches)
		return 0;
	return ckpt_err(ctx, -EBUSY, "did not stay frozen");
}

static int save_section(struct ckpt_ctx *ctx, struct ckpt_task *t)
{
	struct ckpt_rec_task_end end = { .pid = t->pid };
	int err;

	err = check_still_frozen(ctx, t);
	if (!err)
		err = check_task(ctx, t);
	if (!err)
		err = save_task(ctx, t);
	if (!err)
		err = ckpt_usage_save(ctx, t);
	if (!err)
		err = save_objs(ctx, t);
	ctx->current_objref = 0;
	if (!err)
		err = ckpt_has_group(ctx, t->pid) ? save_rlimits(ctx, t->task) : 0;
	if (!err)
		err = ckpt_attributes_save(ctx, t);
	if (!err)
		err = ckpt_signals_save(ctx, t);
	if (!err)
		err = ckpt_restart_block_save(ctx, t->task);
	if (!err)
		err = ckpt_cpu_save(ctx, t);
	if (!err)
		err = ckpt_write_record(ctx, CKPT_REC_TASK_END, &end, sizeof(end));
	return err;
}

static int save_zombie_section(struct ckpt_ctx *ctx, struct ckpt_task *t)
{
	struct ckpt_rec_task rec = { .pid = t->pid, .personality = t->task->personality };
	struct ckpt_rec_task_end end = { .pid = t->pid };
	int err;

	get_task_comm(rec.comm, t->task);
	err = ckpt_write_record(ctx, CKPT_REC_TASK, &rec, sizeof(rec));
	if (!err)
		err = ckpt_usage_save(ctx, t);
	if (!err)
		err = ckpt_zombie_save(ctx, t->task);
	return err ?: ckpt_write_record(ctx, CKPT_REC_TASK_END, &end, sizeof(end));
}

int ckpt_task_save(struct ckpt_ctx *ctx, struct ckpt_task *t)
{
	int err;

	ctx->current_task = t->task;
	ctx->current_pid = t->pid;
	ctx->current_objref = 0;
	if (t->has_exited) {
		err = save_zombie_section(ctx, t);
		if (!err)
			ctx->current_pid = 0;
		return err;
	}
	/* Its registers lie on its stack, which goes when it is killed. */
	if (!try_get_task_stack(t->task))
		return ckpt_err(ctx, -EBUSY, "has exited");
	err = save_section(ctx, t);
	put_task_stack(t->task);
	if (!err)
		ctx->current_pid = 0;
	return err;
}

/* --- restart --- */

/* User addresses are only stored: what is wrong with one shows when the task uses it. */
static bool is_address(u64 addr)
{
	return (unsigned long)addr == addr && addr <= TASK_SIZE;
}

static int check_rseq(struct ckpt_ctx *ctx, const struct ckpt_rec_task *rec)
{
	if (!rec->rseq && !rec->rseq_len && !rec->rseq_sig)
		return 0;
	/* As rseq(2) asks for; 20 bytes are the fields of the first version, 32 its size. */
	if (!IS_ENABLED(CONFIG_RSEQ) || !rec->rseq || !is_address(rec->rseq) ||
	    rec->rseq_len < sizeof(struct rseq) ||
	    !IS_ALIGNED(rec->rseq, __alignof__(struct rseq)) ||
	    !access_ok((void __user *)(unsigned long)rec->rseq, rec->rseq_len))
		return ckpt_err(ctx, -EINVAL, "rseq area at %#llx, %u bytes",
				rec->rseq, rec->rseq_len);
	return 0;
}

int ckpt_task_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_task *rec = (struct ckpt_rec_task *)ctx->rec;
	struct ckpt_member *m = ctx->member;
	int err;

	if (rec->pid != m->pid)
		return ckpt_err(ctx, -EINVAL, "section of pid %d", rec->pid);
	m->has_group = ckpt_has_group(ctx, m->pid);
	if (rec->pad || !ckpt_is_text(rec->comm, sizeof(rec->comm)))
		return ckpt_err(ctx, -EINVAL, "padding, or a name that does not end");
	if (rec->personality != current->personality)
		return ckpt_err(ctx, -EINVAL, "personality %#x, the restarting task has %#x",
				rec->personality, current->personality);
	if (!is_address(rec->set_child_tid) || !is_address(rec->clear_child_tid) ||
	    !is_address(rec->robust_list))
		return ckpt_err(ctx, -EINVAL, "a registered address is not one of user space");
	if (rec->robust_list ? rec->robust_list_len != sizeof(struct robust_list_head) :
	    rec->robust_list_len)
		return ckpt_err(ctx, -EINVAL, "robust list of %u bytes", rec->robust_list_len);
	err = check_rseq(ctx, rec);
	if (err)
		return err;
	m->task_rec = *rec;
	m->have_task = true;

	/* The tool's own registrations go before its memory does. */
	current->set_child_tid = NULL;
	current->clear_child_tid = NULL;
	ckpt_robust_list_set(current, 0);
	rseq_execve(current);
	/* So do its timers; threads are made without. */
	if (!m->is_thread) {
		exit_itimers(current);
		flush_itimer_signals();
		current->signal->next_posix_timer_id = 0;
	}
	set_task_comm(current, rec->comm);
	return 0;
}

/* Is what has records of its own there with all of them? */
static int check_ended(struct ckpt_ctx *ctx, const struct ckpt_member *m)
{
	if (m->shmem_rec.objref)
		return ckpt_err(ctx, -EINVAL, "memory %d has not ended", m->shmem_rec.objref);
	if (m->pipe_left)
		return ckpt_err(ctx, -EINVAL, "%u slots of pipe %d are missing", m->pipe_left,
				m->pipe_objref);
	if (m->timerfd.objref)
		return ckpt_err(ctx, -EINVAL, "the file of timer %d is missing", m->timerfd.objref);
	return 0;
}

/* Objects that came in this section are in place already, earlier ones are taken from the hash. */
int ckpt_task_objs_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_task_objs *rec = (struct ckpt_rec_task_objs *)ctx->rec;
	struct ckpt_member *m = ctx->member;
	int err;

	if (m->have_objs)
		return ckpt_err(ctx, -EINVAL, "a second record for one task");
	err = check_ended(ctx, m);
	if (err)
		return err;
	if (rec->files <= 0 || rec->fs <= 0 || rec->sighand <= 0 || rec->mm <= 0)
		return ckpt_err(ctx, -EINVAL, "an objref is not positive");
	if (IS_ERR(ckpt_obj_get(ctx, rec->cred, CKPT_OBJ_CRED)))
		return -EINVAL;
	m->own_cred = rec->cred;
	if (m->own_mm != rec->mm)
		err = ckpt_mm_install(ctx, rec->mm);
	if (!err && m->own_sighand != rec->sighand)
		err = ckpt_sighand_install(ctx, rec->sighand);
	if (!err && m->own_files != rec->files)
		err = ckpt_files_install(ctx, rec->files);
	if (!err && m->own_fs != rec->fs)
		err = ckpt_fs_install(ctx, rec->fs);
	if (!err)
		err = ckpt_namespaces_install(ctx, rec);
	if (!err)
		err = ckpt_seccomp_install(ctx, rec->seccomp);
	m->have_objs = !err;
	return err;
}

static bool limit_from_image(u64 value, unsigned long *limit)
{
	*limit = value == CKPT_RLIM_INFINITY ? RLIM_INFINITY : value;
	return value == CKPT_RLIM_INFINITY || *limit == value;
}

int ckpt_rlimits_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_rlimits *rec = (struct ckpt_rec_rlimits *)ctx->rec;
	struct ckpt_member *m = ctx->member;

	if (m->have_rlimits || !m->has_group)
		return ckpt_err(ctx, -EINVAL, "a second record for one process");
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		unsigned long soft, hard;

		if (!limit_from_image(rec->limits[i].soft, &soft) ||
		    !limit_from_image(rec->limits[i].hard, &hard) || soft > hard)
			return ckpt_err(ctx, -EINVAL, "limit %d is %llu of at most %llu", i,
					rec->limits[i].soft, rec->limits[i].hard);
		if (hard > rlimit_max(i) && !capable(CAP_SYS_RESOURCE))
			return ckpt_err(ctx, -EPERM, "the caller may not raise limit %d to %llu",
					i, rec->limits[i].hard);
		if (i == RLIMIT_NOFILE && hard > sysctl_nr_open)
			return ckpt_err(ctx, -EPERM, "limit %d is above fs.nr_open", i);
	}
	m->rlimits = *rec;
	m->have_rlimits = true;
	return 0;
}

static void set_rlimits(const struct ckpt_rec_rlimits *rec)
{
	guard(task_lock)(current->group_leader);
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		struct rlimit *limit = &current->signal->rlim[i];

		limit_from_image(rec->limits[i].soft, &limit->rlim_cur);
		limit_from_image(rec->limits[i].hard, &limit->rlim_max);
	}
}

/*
 * The C library keeps a thread's number where the kernel is to clear it.  If
 * the image has it there, and the thread has got another one, that is put in
 * its place, before anybody of the tree runs.  What else a program has written
 * down stays.
 */
static void renew_tid(struct ckpt_ctx *ctx)
{
	const struct ckpt_member *m = ctx->member;
	int __user *word = (int __user *)(unsigned long)m->task_rec.clear_child_tid;
	int tid;

	if (!ckpt_knows_new_pids(ctx) || !word)
		return;
	/* It may point to anything, which its end would not mind either. */
	if (!get_user(tid, word) && tid == m->pid)
		put_user(task_pid_vnr(current), word);
}

/*
 * The section is complete: now the steps that take power away from the task.
 * After them it reads nothing more of the image.
 */
int ckpt_task_end_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_task_end *rec = (struct ckpt_rec_task_end *)ctx->rec;
	struct ckpt_member *m = ctx->member;
	const struct cred *cred;
	int dumpable, err;
	sigset_t all;

	if (rec->pid != m->pid || rec->pad)
		return ckpt_err(ctx, -EINVAL, "end of the section of pid %d", rec->pid);
	err = check_ended(ctx, m);
	if (err)
		return err;
	if (!m->have_usage)
		return ckpt_err(ctx, -EINVAL, "the section lacks a USAGE record");
	if (!m->has_exited &&
	    (!m->have_objs || !m->have_attributes || !m->have_signals ||
	     !m->have_restart_block || !m->have_cpu || list_empty(&m->regsets) ||
	     (m->has_group && !m->have_rlimits)))
		return ckpt_err(ctx, -EINVAL, "the section lacks a record");
	cred = ckpt_obj_get(ctx, m->own_cred, CKPT_OBJ_CRED);
	if (IS_ERR(cred))
		return PTR_ERR(cred);
	err = m->is_thread ? 0 : ckpt_threads_make(ctx);
	if (err)
		return err;
	if (!m->has_exited) {
		renew_tid(ctx);
		err = ckpt_seccomp_check(ctx) ?: ckpt_attributes_apply(ctx);
	}
	if (err)
		return err;
	/* Changing credentials resets it. With whom it shares its memory, they have it by now. */
	dumpable = m->own_mm ? m->mm_rec.dumpable : get_dumpable(current->mm);
	err = ckpt_cred_install(ctx, cred);
	if (err)
		return err;
	set_dumpable(current->mm, dumpable);
	err = ckpt_posix_timers_make(ctx) ?: ckpt_pending_make(ctx);
	if (err)
		return err;
	if (!m->has_exited)
		ckpt_attributes_finish(m);
	if (m->has_group)
		set_rlimits(&m->rlimits);
	/* Timers expire from before it has its own mask on. */
	sigfillset(&all);
	set_current_blocked(&all);
	return 0;
}

void ckpt_task_finish(struct ckpt_member *m)
{
	const struct ckpt_rec_task *rec = &m->task_rec;
	const struct ckpt_rec_signals *sig = &m->signals;
	sigset_t mask;

	current->set_child_tid = (int __user *)(unsigned long)rec->set_child_tid;
	current->clear_child_tid = (int __user *)(unsigned long)rec->clear_child_tid;
	ckpt_robust_list_set(current, rec->robust_list);
	ckpt_rseq_set(current, rec);
	ckpt_restart_block_arm(m);

	current->sas_ss_sp = sig->altstack_sp;
	current->sas_ss_size = sig->altstack_size;
	current->sas_ss_flags = sig->altstack_flags;
	ckpt_mask_to_sigset(sig->blocked, &mask);
	set_current_blocked(&mask);
	if (sig->flags & CKPT_SIGNALS_RESTORE_MASK) {
		ckpt_mask_to_sigset(sig->saved_mask, &current->saved_sigmask);
		sigdelsetmask(&current->saved_sigmask, sigmask(SIGKILL) | sigmask(SIGSTOP));
		set_restore_sigmask();
	}
}
