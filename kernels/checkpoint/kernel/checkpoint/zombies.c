// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tasks that have exited and were not waited for.
 *
 * All that is left of one is its place in the tree, its name, what /proc still
 * shows of it, and how it ended.  A leader may have exited before the other threads of its
 * group; what is the group's is in the section of the first that lives then.
 *
 * On restart the member ends once more, when everybody else holds still: its
 * parent gets no signal for it, since the one of that time was delivered or is
 * among the pending ones.
 */
#include <linux/checkpoint.h>
#include <linux/delay.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>

#include "internal.h"

/* Low bits of a wait status */
#define STATUS_SIGNAL	0x7f
#define STATUS_CORE	0x80
#define STATUS_CODE	0xff00
#define STATUS_STOPPED	0x7f

/* As wait(2) reports it. */
static int exit_status(struct task_struct *task)
{
	if (thread_group_empty(task) && task->signal->flags & SIGNAL_GROUP_EXIT)
		return task->signal->group_exit_code;
	return task->exit_code;
}

/* Of a leader whose threads live, they have them. */
static u64 shared_pending(struct task_struct *task)
{
	return thread_group_empty(task) ?
	       ckpt_mask_from_sigset(&task->signal->shared_pending.signal) : 0;
}

int ckpt_zombie_save(struct ckpt_ctx *ctx, struct task_struct *task)
{
	struct ckpt_rec_exit rec = {};
	const struct cred *cred;

	if (task->pdeath_signal && !thread_group_empty(task))
		return ckpt_err(ctx, -EBUSY,
				"has exited, and its threads get signal %d when their parent ends",
				task->pdeath_signal);
	cred = get_task_cred(task);
	rec.cred = ckpt_cred_save(ctx, cred);
	put_cred(cred);
	if (rec.cred < 0)
		return rec.cred;
	rec.sighand = ckpt_sighand_save(ctx, task);
	if (rec.sighand < 0)
		return rec.sighand;
	ctx->current_objref = 0;
	/* Its parent is frozen and cannot reap it, but may be killed, and then it is reaped. */
	read_lock(&tasklist_lock);
	if (task->exit_state == EXIT_ZOMBIE && task->sighand) {
		rec.status = exit_status(task);
		rec.blocked = ckpt_mask_from_sigset(&task->blocked);
		rec.pending = ckpt_mask_from_sigset(&task->pending.signal);
		rec.shared_pending = shared_pending(task);
	} else {
		rec.cred = 0;
	}
	read_unlock(&tasklist_lock);
	if (!rec.cred)
		return ckpt_err(ctx, -EBUSY, "did not stay a zombie");
	return ckpt_write_record(ctx, CKPT_REC_EXIT, &rec, sizeof(rec));
}

static bool has_children(struct ckpt_ctx *ctx, int pid)
{
	for (unsigned int i = 0; i < ctx->nr_tasks; i++)
		if (ctx->tasks[i].ppid == pid)
			return true;
	return false;
}

int ckpt_exit_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_exit *rec = (struct ckpt_rec_exit *)ctx->rec;
	struct ckpt_member *m = ctx->member;
	int signal = rec->status & STATUS_SIGNAL;

	if (m->own_files || m->own_fs || m->mm_rec.objref || m->have_objs || rec->pad)
		return ckpt_err(ctx, -EINVAL, "a task that has exited has no such objects");
	if (m->is_thread || m->task == ctx->root || has_children(ctx, m->pid))
		return ckpt_err(ctx, -EINVAL,
				"the root, a thread or a task with children cannot have exited");
	if (rec->status & ~(STATUS_SIGNAL | STATUS_CORE | STATUS_CODE) ||
	    signal == STATUS_STOPPED || (signal && rec->status & STATUS_CODE) ||
	    (!signal && rec->status & STATUS_CORE))
		return ckpt_err(ctx, -EINVAL, "status %#x is of no task that has exited",
				rec->status);
	if (IS_ERR(ckpt_obj_get(ctx, rec->cred, CKPT_OBJ_CRED)))
		return -EINVAL;
	m->own_cred = rec->cred;
	m->exit_rec = *rec;
	m->has_exited = true;
	m->has_group = false;
	return m->own_sighand == rec->sighand ? 0 : ckpt_sighand_install(ctx, rec->sighand);
}

/* Coordinator: the member was told to go; it is a zombie afterwards, and its parent has no signal. */
void ckpt_zombie_wait(struct ckpt_member *m, unsigned int exit_signal)
{
	struct task_struct *task = m->task;

	while (!READ_ONCE(task->exit_state)) {
		/* Something that is no member may keep it from its end. */
		if (fatal_signal_pending(current))
			return;
		usleep_range(20, 100);
	}
	/* Without what its end took, which is not over yet. */
	while (!wait_task_inactive(task, TASK_DEAD) && !fatal_signal_pending(current))
		usleep_range(20, 100);
	ckpt_usage_apply(m);
	write_lock_irq(&tasklist_lock);
	task->exit_signal = exit_signal;
	/* Without a queue: bits are all that anybody can see of them. */
	ckpt_mask_to_sigset(m->exit_rec.pending, &task->pending.signal);
	if (thread_group_empty(task))
		ckpt_mask_to_sigset(m->exit_rec.shared_pending,
				    &task->signal->shared_pending.signal);
	write_unlock_irq(&tasklist_lock);
}

/* The member's last act; nothing of the restart is its own any more. */
void __noreturn ckpt_zombie_exit(const struct ckpt_rec_exit *rec)
{
	int status = rec->status;
	sigset_t mask;

	/* What user space asked for while the tree was made would kill its group. */
	current->pdeath_signal = 0;
	ckpt_mask_to_sigset(rec->blocked, &mask);
	set_current_blocked(&mask);
	if (thread_group_empty(current))
		do_group_exit(status);
	do_exit(status);
}
