// SPDX-License-Identifier: GPL-2.0-only
/*
 * Thread groups.
 *
 * In the tree the threads of a group follow their leader, each with a section
 * of its own.  Memory and signal actions are the group's by definition;
 * descriptors, directories and credentials are each thread's, and mostly shared.
 *
 * On restart user space forks leaders only.  When a leader has restored its
 * section, and before it gives up the power to choose ids, it makes the other
 * threads as clone(2) would, with its memory, signal actions and everything
 * else shared.  A new thread goes to user mode by way of its task work, and
 * that is where it serves as a member: it reads its own section, and leaves
 * for user mode with its own registers.
 */
#include <linux/checkpoint.h>
#include <linux/numa.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/signal.h>

#include "internal.h"

#define THREAD_FLAGS	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | \
			 CLONE_SYSVSEM)

/*
 * A leader that has exited has no memory: then the next thread stands for the
 * group.  Known from the tasks on checkpoint, from their sections on restart.
 */
bool ckpt_has_group(struct ckpt_ctx *ctx, int pid)
{
	struct ckpt_task *leader = ckpt_tree_leader(ctx, pid);
	unsigned int place = leader - ctx->tasks;

	if (ctx->restart ? ctx->members[place]->has_exited : leader->has_exited)
		return place + 1 < ctx->nr_tasks && ctx->tasks[place + 1].pid == pid;
	return leader->pid == pid;
}

unsigned int ckpt_group_size(struct ckpt_ctx *ctx)
{
	int tgid = ckpt_tree_task(ctx, ctx->member->pid)->tgid;
	unsigned int nr = 0;

	/* They do not exist before the leader has made them. */
	if (!ctx->member->is_thread)
		return 1;
	for (unsigned int i = 0; i < ctx->nr_tasks; i++)
		nr += ctx->tasks[i].tgid == tgid;
	return nr;
}

bool ckpt_group_is_single(struct ckpt_ctx *ctx)
{
	unsigned int place = ckpt_tree_leader(ctx, ctx->member->pid) - ctx->tasks;

	return !ctx->member->is_thread && (place + 1 == ctx->nr_tasks ||
					   ctx->tasks[place + 1].tgid != ctx->member->pid);
}

struct ckpt_member *ckpt_group_member(struct ckpt_ctx *ctx, struct ckpt_member *m)
{
	unsigned int place = ckpt_tree_leader(ctx, m->pid) - ctx->tasks;

	return ctx->members[place]->has_exited ? ctx->members[place + 1] : ctx->members[place];
}

static int make_thread(struct ckpt_ctx *ctx, unsigned int place)
{
	pid_t pid = ctx->tasks[place].pid, numbers[MAX_PID_NS_LEVEL];
	struct pid_namespace *ns;
	struct kernel_clone_args args = {
		.flags = THREAD_FLAGS,
		.set_tid = numbers,
		.set_tid_size = ckpt_pid_numbers(ctx, pid, numbers, &ns),
	};
	struct ckpt_member *m = ckpt_member_alloc_thread(ctx, pid);
	struct task_struct *task;

	if (!m)
		return ckpt_nomem(ctx, "a thread");
	task = copy_process(NULL, 0, NUMA_NO_NODE, &args);
	if (IS_ERR(task)) {
		int err = PTR_ERR(task);

		ckpt_member_free_thread(m);
		if (err == -ERESTARTNOINTR)
			return ckpt_err(ctx, -EINTR, "thread %d: the task was killed or frozen",
					pid);
		return ckpt_err(ctx, err, "thread %d cannot be made", pid);
	}
	ckpt_member_start_thread(ctx, place, m, task);
	return 0;
}

/* Called by the leader of a group, the context's owner. */
int ckpt_threads_make(struct ckpt_ctx *ctx)
{
	sigset_t most, blocked;
	int err = 0;

	/*
	 * A signal that could be handled keeps a task from being made.  The threads
	 * begin with this mask, and must be killed if the restart fails.
	 */
	siginitsetinv(&most, sigmask(SIGKILL));
	sigprocmask(SIG_SETMASK, &most, &blocked);
	for (unsigned int i = 0; !err && i < ctx->nr_tasks; i++) {
		const struct ckpt_task *t = &ctx->tasks[i];

		if (t->tgid == ctx->member->pid && t->pid != t->tgid)
			err = make_thread(ctx, i);
	}
	set_current_blocked(&blocked);
	return err;
}
