// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a task was told about itself: how it is scheduled, what becomes of it
 * when its parent or memory ends, and what it gave up.
 *
 * A member gives itself most of it before it gives up the credentials of the
 * restarting user, by the functions that the system calls use, which ask that
 * user's privileges.  The signal for a parent's death and no_new_privs come
 * after the credentials, which reset the one, and are checked less with the
 * other.
 */
#include <linux/checkpoint.h>
#include <linux/cpumask.h>
#include <linux/iocontext.h>
#include <linux/ioprio.h>
#include <linux/oom.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/rt.h>
#include <linux/seccomp.h>
#include <linux/signal.h>
#include <uapi/linux/sched/types.h>

#include "internal.h"

/* Flags of the task, and what they are in the image */
static const struct {
	unsigned int task;
	u32 image;
} task_flags[] = {
	{ PF_MCE_PROCESS,	CKPT_ATTR_MCE_SET },
	{ PF_MCE_EARLY,		CKPT_ATTR_MCE_EARLY },
	{ PF_MEMALLOC_NOIO | PF_LOCAL_THROTTLE, CKPT_ATTR_IO_FLUSHER },
};

/* The CPUs that the task was told to use, whichever of them there are. */
static int save_cpus(struct ckpt_ctx *ctx, struct task_struct *task, u64 *cpus)
{
	unsigned int last = 0, cpu;

	scoped_guard (raw_spinlock_irqsave, &task->pi_lock) {
		if (!task->user_cpus_ptr)
			return 0;
		last = cpumask_last(task->user_cpus_ptr);
		for_each_cpu(cpu, task->user_cpus_ptr)
			if (cpu < 64)
				*cpus |= 1ULL << cpu;
	}
	if (last >= 64 && last < nr_cpu_ids)
		return ckpt_err(ctx, -EBUSY, "has an affinity to CPU %u; 64 are supported", last);
	return 0;
}

/* What ioprio_set(2) set, and not what the nice value stands for. */
static int io_priority(struct task_struct *task, bool *shared)
{
	int priority = 0;

	*shared = false;
#ifdef CONFIG_BLOCK
	task_lock(task);
	if (task->io_context) {
		priority = task->io_context->ioprio;
		*shared = atomic_read(&task->io_context->active_ref) > 1;
	}
	task_unlock(task);
#endif
	return priority;
}

int ckpt_attributes_save(struct ckpt_ctx *ctx, struct ckpt_task *t)
{
	struct task_struct *task = t->task;
	struct ckpt_rec_attributes rec = {
		.policy = task->policy,
		.nice = task_nice(task),
		.rt_priority = task->rt_priority,
		.slice = task->se.custom_slice ? task->se.slice : 0,
		.timer_slack = task->timer_slack_ns,
		.default_timer_slack = task->default_timer_slack_ns,
		.parent_death_signal = task->pdeath_signal,
	};
	bool shared;
	int err;

	if (task->policy == SCHED_DEADLINE)
		return ckpt_err(ctx, -EBUSY, "has the scheduling policy SCHED_DEADLINE");
	rec.io_priority = io_priority(task, &shared);
	if (shared)
		return ckpt_err(ctx, -EBUSY, "shares its I/O context (CLONE_IO)");
	if (task->sched_reset_on_fork)
		rec.flags |= CKPT_ATTR_RESET_ON_FORK;
	for (int i = 0; i < ARRAY_SIZE(task_flags); i++)
		if (task->flags & task_flags[i].task)
			rec.flags |= task_flags[i].image;
	if (task_no_new_privs(task))
		rec.flags |= CKPT_ATTR_NO_NEW_PRIVS;
	if (seccomp_mode(&task->seccomp) == SECCOMP_MODE_STRICT)
		rec.flags |= CKPT_ATTR_SECCOMP_STRICT;
	if (ckpt_has_group(ctx, t->pid)) {
		rec.oom_score_adj = task->signal->oom_score_adj;
		if (task->signal->is_child_subreaper)
			rec.flags |= CKPT_ATTR_SUBREAPER;
	}
	err = save_cpus(ctx, task, &rec.cpus);
	return err ?: ckpt_write_record(ctx, CKPT_REC_ATTRIBUTES, &rec, sizeof(rec));
}

int ckpt_attributes_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_attributes *rec = (struct ckpt_rec_attributes *)ctx->rec;
	struct ckpt_member *m = ctx->member;

	if (m->have_attributes)
		return ckpt_err(ctx, -EINVAL, "a second record for one task");
	if (rec->flags & ~CKPT_ATTR_ALL ||
	    (!m->has_group && (rec->flags & CKPT_ATTR_SUBREAPER || rec->oom_score_adj)))
		return ckpt_err(ctx, -EINVAL, "flags %#x, oom_score_adj %d", rec->flags,
				rec->oom_score_adj);
	if (rec->policy == SCHED_DEADLINE || rec->nice < MIN_NICE || rec->nice > MAX_NICE)
		return ckpt_err(ctx, -EINVAL, "policy %u, nice %d", rec->policy, rec->nice);
	if (rec->oom_score_adj < OOM_SCORE_ADJ_MIN || rec->oom_score_adj > OOM_SCORE_ADJ_MAX)
		return ckpt_err(ctx, -EINVAL, "oom_score_adj %d", rec->oom_score_adj);
	if (rec->io_priority > U16_MAX || rec->pad)
		return ckpt_err(ctx, -EINVAL, "I/O priority %#x", rec->io_priority);
	if (!valid_signal(rec->parent_death_signal))
		return ckpt_err(ctx, -EINVAL, "parent death signal %u", rec->parent_death_signal);
	if (rec->timer_slack > ULONG_MAX || rec->default_timer_slack > ULONG_MAX)
		return ckpt_err(ctx, -EINVAL, "timer slack of %llu ns", rec->timer_slack);
	m->attributes = *rec;
	m->have_attributes = true;
	return 0;
}

static int set_scheduling(struct ckpt_ctx *ctx, const struct ckpt_rec_attributes *rec)
{
	struct sched_attr attr = {
		.size = sizeof(attr),
		.sched_policy = rec->policy,
		.sched_flags = rec->flags & CKPT_ATTR_RESET_ON_FORK ? SCHED_FLAG_RESET_ON_FORK : 0,
		.sched_nice = rec->nice,
		.sched_priority = rec->rt_priority,
		.sched_runtime = rec->slice,
	};
	int err = 0;

	if (rec->policy != current->policy || rec->nice != task_nice(current) || rec->slice ||
	    rec->rt_priority || attr.sched_flags)
		err = sched_setattr(current, &attr);
	/* Real-time policies ignore the nice value, and keep it. */
	if (!err && rec->nice != task_nice(current)) {
		if (rec->nice < task_nice(current) && !can_nice(current, rec->nice))
			err = -EPERM;
		else
			set_user_nice(current, rec->nice);
	}
	if (err)
		return ckpt_err(ctx, err, "policy %u, nice %d, priority %u",
				rec->policy, rec->nice, rec->rt_priority);
	return 0;
}

/* A CPU that is not there is no error as long as another one is. */
static int set_cpus(struct ckpt_ctx *ctx, const struct ckpt_rec_attributes *rec)
{
	cpumask_var_t mask;
	int err;

	if (!rec->cpus)
		return 0;
	if (!zalloc_cpumask_var(&mask, GFP_KERNEL))
		return ckpt_nomem(ctx, "a set of CPUs");
	for (unsigned int cpu = 0; cpu < min(nr_cpu_ids, 64U); cpu++)
		if (rec->cpus & 1ULL << cpu)
			cpumask_set_cpu(cpu, mask);
	err = sched_setaffinity(0, mask);
	free_cpumask_var(mask);
	return err ? ckpt_err(ctx, err, "none of the CPUs %#llx can be used", rec->cpus) : 0;
}

static int set_oom_score(struct ckpt_ctx *ctx, const struct ckpt_rec_attributes *rec)
{
	struct signal_struct *sig = current->signal;

	guard(mutex)(&oom_adj_mutex);
	if (rec->oom_score_adj < sig->oom_score_adj_min && !capable(CAP_SYS_RESOURCE))
		return ckpt_err(ctx, -EPERM, "the caller may not set oom_score_adj to %d",
				rec->oom_score_adj);
	sig->oom_score_adj = rec->oom_score_adj;
	return 0;
}

static int set_flags(struct ckpt_ctx *ctx, const struct ckpt_rec_attributes *rec)
{
	if (rec->flags & CKPT_ATTR_IO_FLUSHER && !capable(CAP_SYS_RESOURCE))
		return ckpt_err(ctx, -EPERM, "the caller may not be an I/O flusher");
	for (int i = 0; i < ARRAY_SIZE(task_flags); i++) {
		if (rec->flags & task_flags[i].image)
			current->flags |= task_flags[i].task;
		else
			current->flags &= ~task_flags[i].task;
	}
	return 0;
}

static int set_io_priority(struct ckpt_ctx *ctx, const struct ckpt_rec_attributes *rec)
{
	int priority = rec->io_priority, now, err;
	bool shared;

	now = io_priority(current, &shared);
	if (shared)
		return ckpt_err(ctx, -EBUSY, "the restarting task shares its I/O context");
	if (priority == now)
		return 0;
	err = ioprio_check_cap(priority);
	if (!err)
		err = set_task_ioprio(current, priority);
	return err ? ckpt_err(ctx, err, "I/O priority %#x", priority) : 0;
}

/* The caller's credentials are still there. */
int ckpt_attributes_apply(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_attributes *rec = &ctx->member->attributes;
	int err;

	err = set_scheduling(ctx, rec);
	if (!err)
		err = set_cpus(ctx, rec);
	if (!err)
		err = set_flags(ctx, rec);
	if (!err)
		err = set_io_priority(ctx, rec);
	if (!err && ctx->member->has_group)
		err = set_oom_score(ctx, rec);
	if (err)
		return err;
	current->timer_slack_ns = rec->timer_slack;
	current->default_timer_slack_ns = rec->default_timer_slack;
	return 0;
}

/* The credentials are those of the image. */
void ckpt_attributes_finish(const struct ckpt_member *m)
{
	const struct ckpt_rec_attributes *rec = &m->attributes;

	current->pdeath_signal = rec->parent_death_signal;
	if (rec->flags & CKPT_ATTR_NO_NEW_PRIVS)
		task_set_no_new_privs(current);
	/* Its descendants are told of it when all relations are right. */
	if (rec->flags & CKPT_ATTR_SUBREAPER)
		current->signal->is_child_subreaper = 1;
}
