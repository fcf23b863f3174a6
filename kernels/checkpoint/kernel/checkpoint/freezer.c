// SPDX-License-Identifier: GPL-2.0-only
/*
 * The cgroup v2 freezer, as seen from a checkpoint and a restart.
 *
 * A frozen task waits in get_signal(), with the registers that it will return
 * to user mode with, and so does a stopped one.  task->frozen alone does not say
 * that: it is also set for a vfork parent, in the middle of its system call, and
 * for traced tasks.
 */
#include <linux/cgroup.h>
#include <linux/checkpoint.h>
#include <linux/delay.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>

#include "internal.h"

static bool in_frozen_cgroup(struct task_struct *task)
{
	guard(rcu)();
	return test_bit(CGRP_FREEZE, &task_dfl_cgroup(task)->flags);
}

int ckpt_task_check_frozen(struct ckpt_ctx *ctx, struct ckpt_task *t)
{
	struct task_struct *task = t->task;
	unsigned int state;

	if (task == current)
		return 0;
	if (task->flags & (PF_KTHREAD | PF_USER_WORKER))
		return ckpt_err(ctx, -EINVAL, "is a kernel thread");
	if (task->ptrace)
		return ckpt_err(ctx, -EBUSY, "is traced");
	/* Its cgroup counts as frozen when it has left it, which is just before its end. */
	for (int i = 0; task->flags & PF_EXITING && !READ_ONCE(task->exit_state); i++) {
		if (i == CKPT_LOOKS)
			return ckpt_err(ctx, -EBUSY, "exits");
		usleep_range(200, 1000);
	}
	t->has_exited = READ_ONCE(task->exit_state) == EXIT_ZOMBIE;
	if (t->has_exited)
		return 0;
	if (task->exit_state)
		return ckpt_err(ctx, -EBUSY, "exits");
	/*
	 * A cgroup that has others below it counts as frozen when these are, or
	 * when its own tasks are: the task may be on its way.
	 */
	for (int i = 0; !task->frozen && in_frozen_cgroup(task) && i < CKPT_LOOKS; i++)
		usleep_range(200, 1000);
	state = READ_ONCE(task->__state);
	if (!task->frozen || !in_frozen_cgroup(task))
		return ckpt_err(ctx, -EBUSY, "is not frozen by the cgroup v2 freezer");
	if (state & TASK_WAKEKILL && !(state & __TASK_STOPPED))
		return ckpt_err(ctx, -EBUSY, "waits in vfork for its child");
	t->switches = wait_task_inactive(task, CKPT_FROZEN_STATES);
	if (!t->switches)
		return ckpt_err(ctx, -EBUSY, "is not frozen, it runs");
	return 0;
}

/* Does a cgroup hold anybody but members? */
static bool has_others(struct ckpt_ctx *ctx, struct cgroup *cgrp)
{
	struct css_task_iter it;
	struct task_struct *task;
	bool others = false;

	css_task_iter_start(&cgrp->self, 0, &it);
	while (!others && (task = css_task_iter_next(&it)))
		others = !ckpt_is_member(ctx, task);
	css_task_iter_end(&it);
	return others;
}

/* The cgroup of the members, if nobody else is in or below it, nor could come to be. */
static struct cgroup *find_own(struct ckpt_ctx *ctx)
{
	struct cgroup *top = ckpt_cgroups_top(ctx);
	struct cgroup_subsys_state *css;
	bool others = false;

	if (!top || !cgroup_parent(top) || top->nr_descendants != ctx->nr_cgroups)
		return NULL;
	css_for_each_descendant_pre(css, &top->self)
		others = others || has_others(ctx, css->cgroup);
	return others ? NULL : top;
}

/*
 * Freezing is stopping: a caller may do it to the tasks that it restarts, and
 * so the cgroup, and those below it, must hold nobody else.
 */
int ckpt_freeze_members(struct ckpt_ctx *ctx)
{
	struct cgroup *own;

	cgroup_lock();
	own = find_own(ctx);
	if (own)
		cgroup_freeze(own, true);
	cgroup_unlock();
	ctx->current_pid = 0;
	if (!own)
		return ckpt_err(ctx, -EPERM,
				"RESTART_FROZEN needs all tasks, and nobody else, in one cgroup below the root, or in those below it that the image has");
	return 0;
}

/*
 * A member is on its way from restart(2) to the freezer.  There is nothing to
 * be done about one that is killed or thawed meanwhile, nor about a signal: the
 * restart is over.
 */
static bool wait_frozen(struct task_struct *task)
{
	while (!task->frozen || !wait_task_inactive(task, CKPT_FROZEN_STATES)) {
		if (READ_ONCE(task->flags) & PF_EXITING || !in_frozen_cgroup(task))
			return true;
		if (signal_pending(current))
			return false;
		usleep_range(50, 200);
	}
	return true;
}

void ckpt_wait_frozen(struct ckpt_ctx *ctx)
{
	for (unsigned int i = 0; i < ctx->nr_tasks; i++)
		if (!wait_frozen(ctx->tasks[i].task))
			return;
}
