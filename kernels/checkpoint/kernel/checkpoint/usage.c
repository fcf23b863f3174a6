// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a task has used so far: CPU time, context switches, page faults; and how
 * old it is.
 *
 * It goes on from where it was, as getrusage(2), times(2), the clocks of CPU time
 * and /proc show it, and so does RLIMIT_CPU.  What exited threads and awaited
 * children of a process have used is kept with its leader.  What begins anew is
 * I/O accounting, time as a guest, and the peaks of an address space.
 *
 * On restart the coordinator sets it while the member is held, off its CPU:
 * what the restart took is nobody's.  Timers on CPU time are armed later.
 *
 * Hostile images: the times of a process add up without overflow, since the
 * kernel divides by their sum.  With its pid the time at which a task began
 * stands for a task, so only the privileged choose it.
 */
#include <linux/atomic.h>
#include <linux/capability.h>
#include <linux/checkpoint.h>
#include <linux/overflow.h>
#include <linux/posix-timers.h>
#include <linux/sched/cputime.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/seqlock.h>
#include <linux/string.h>
#include <linux/timekeeping.h>
#include <linux/user_namespace.h>

#include "internal.h"

/* What times may add up to: 146 years */
#define TIME_LIMIT	((u64)KTIME_MAX / 2)

/* Times as they were shown last: they never go backwards, though they are estimates. */
#ifdef CONFIG_VIRT_CPU_ACCOUNTING_NATIVE
static void save_shown(struct ckpt_rec_usage *rec, struct task_struct *task, bool group)
{
}

static void apply_shown(const struct ckpt_rec_usage *rec, struct task_struct *task, bool group)
{
}
#else
static void get_shown(struct prev_cputime *prev, u64 *utime, u64 *stime)
{
	guard(raw_spinlock_irqsave)(&prev->lock);
	*utime = prev->utime;
	*stime = prev->stime;
}

static void save_shown(struct ckpt_rec_usage *rec, struct task_struct *task, bool group)
{
	get_shown(&task->prev_cputime, &rec->shown_utime, &rec->shown_stime);
	if (group)
		get_shown(&task->signal->prev_cputime, &rec->group_shown_utime,
			  &rec->group_shown_stime);
}

static void set_shown(struct prev_cputime *prev, u64 utime, u64 stime)
{
	guard(raw_spinlock_irqsave)(&prev->lock);
	prev->utime = utime;
	prev->stime = stime;
}

static void apply_shown(const struct ckpt_rec_usage *rec, struct task_struct *task, bool group)
{
	set_shown(&task->prev_cputime, rec->shown_utime, rec->shown_stime);
	if (group)
		set_shown(&task->signal->prev_cputime, rec->group_shown_utime,
			  rec->group_shown_stime);
}
#endif

/* --- checkpoint --- */

/* Of the first of them that lives: a leader may have exited.  NULL of a zombie. */
static struct mm_struct *group_mm(struct ckpt_ctx *ctx, const struct ckpt_task *leader)
{
	for (unsigned int i = leader - ctx->tasks; i < ctx->nr_tasks; i++) {
		if (ctx->tasks[i].tgid != leader->pid)
			break;
		if (!ctx->tasks[i].has_exited)
			return get_task_mm(ctx->tasks[i].task);
	}
	return NULL;
}

static void save_group(struct ckpt_ctx *ctx, struct ckpt_rec_usage *rec,
		       const struct ckpt_task *leader)
{
	struct signal_struct *sig = leader->task->signal;
	struct mm_struct *mm = group_mm(ctx, leader);
	unsigned long max_rss, flags;

	read_seqlock_excl_irqsave(&sig->stats_lock, flags);
	rec->exited = (struct ckpt_usage) {
		.utime = sig->utime,
		.stime = sig->stime,
		.voluntary = sig->nvcsw,
		.involuntary = sig->nivcsw,
		.minor_faults = sig->min_flt,
		.major_faults = sig->maj_flt,
	};
	rec->exited_runtime = sig->sum_sched_runtime;
	rec->children = (struct ckpt_usage) {
		.utime = sig->cutime,
		.stime = sig->cstime,
		.voluntary = sig->cnvcsw,
		.involuntary = sig->cnivcsw,
		.minor_faults = sig->cmin_flt,
		.major_faults = sig->cmaj_flt,
	};
	max_rss = sig->maxrss;
	rec->children_max_rss = (u64)sig->cmaxrss << PAGE_SHIFT;
	read_sequnlock_excl_irqrestore(&sig->stats_lock, flags);
	if (mm) {
		setmax_mm_hiwater_rss(&max_rss, mm);
		mmput(mm);
	}
	rec->max_rss = (u64)max_rss << PAGE_SHIFT;
}

int ckpt_usage_save(struct ckpt_ctx *ctx, const struct ckpt_task *t)
{
	struct task_struct *task = t->task;
	struct ckpt_rec_usage rec = {
		.runtime = task_sched_runtime(task),
		.age = ktime_get_ns() - task->start_time,
		.boot_age = ktime_get_boottime_ns() - task->start_boottime,
		.task = {
			.voluntary = task->nvcsw,
			.involuntary = task->nivcsw,
			.minor_faults = task->min_flt,
			.major_faults = task->maj_flt,
		},
	};
	bool group = t->pid == t->tgid;

	task_cputime(task, &rec.task.utime, &rec.task.stime);
	save_shown(&rec, task, group);
	if (group)
		save_group(ctx, &rec, t);
	return ckpt_write_record(ctx, CKPT_REC_USAGE, &rec, sizeof(rec));
}

/* --- restart --- */

static bool are_counts(const struct ckpt_usage *u)
{
	return u->voluntary == (unsigned long)u->voluntary &&
	       u->involuntary == (unsigned long)u->involuntary &&
	       u->minor_faults == (unsigned long)u->minor_faults &&
	       u->major_faults == (unsigned long)u->major_faults;
}

static bool is_rss(u64 bytes)
{
	return PAGE_ALIGNED(bytes) && bytes >> PAGE_SHIFT == (unsigned long)(bytes >> PAGE_SHIFT);
}

static bool add_up(u64 *sum, u64 time)
{
	return !check_add_overflow(*sum, time, sum) && *sum <= TIME_LIMIT;
}

int ckpt_usage_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_usage *rec = (struct ckpt_rec_usage *)ctx->rec;
	const size_t group = offsetof(struct ckpt_rec_usage, exited);
	struct ckpt_member *m = ctx->member;
	u64 *sum = &ctx->members[ckpt_tree_leader(ctx, m->pid) - ctx->tasks]->used;

	if (m->have_usage)
		return ckpt_err(ctx, -EINVAL, "a second record for one task");
	if (m->is_thread && memchr_inv((char *)rec + group, 0, sizeof(*rec) - group))
		return ckpt_err(ctx, -EINVAL, "what a process has used, in the record of a thread");
	if (!are_counts(&rec->task) || !are_counts(&rec->exited) || !are_counts(&rec->children) ||
	    !is_rss(rec->max_rss) || !is_rss(rec->children_max_rss))
		return ckpt_err(ctx, -EINVAL, "more than any task can have used");
	if (!add_up(sum, rec->task.utime) || !add_up(sum, rec->task.stime) ||
	    !add_up(sum, rec->runtime) || !add_up(sum, rec->exited.utime) ||
	    !add_up(sum, rec->exited.stime) || !add_up(sum, rec->exited_runtime))
		return ckpt_err(ctx, -EINVAL, "times of the process add up to more than %llu ns",
				TIME_LIMIT);
	if (rec->age > TIME_LIMIT || rec->boot_age > TIME_LIMIT ||
	    rec->shown_utime > TIME_LIMIT || rec->shown_stime > TIME_LIMIT ||
	    rec->group_shown_utime > TIME_LIMIT || rec->group_shown_stime > TIME_LIMIT)
		return ckpt_err(ctx, -EINVAL, "a time of more than %llu ns", TIME_LIMIT);
	m->usage = *rec;
	m->may_be_old = checkpoint_restore_ns_capable(&init_user_ns);
	m->have_usage = true;
	return 0;
}

static void apply_group(const struct ckpt_rec_usage *rec, struct signal_struct *sig)
{
	write_seqlock_irq(&sig->stats_lock);
	sig->utime = rec->exited.utime;
	sig->stime = rec->exited.stime;
	sig->nvcsw = rec->exited.voluntary;
	sig->nivcsw = rec->exited.involuntary;
	sig->min_flt = rec->exited.minor_faults;
	sig->maj_flt = rec->exited.major_faults;
	sig->sum_sched_runtime = rec->exited_runtime;
	sig->cutime = rec->children.utime;
	sig->cstime = rec->children.stime;
	sig->cnvcsw = rec->children.voluntary;
	sig->cnivcsw = rec->children.involuntary;
	sig->cmin_flt = rec->children.minor_faults;
	sig->cmaj_flt = rec->children.major_faults;
	sig->maxrss = rec->max_rss >> PAGE_SHIFT;
	sig->cmaxrss = rec->children_max_rss >> PAGE_SHIFT;
	write_sequnlock_irq(&sig->stats_lock);
}

/* When it began; who is older than this kernel began with it. */
static u64 begun(u64 now, u64 age)
{
	return now - min(now, age);
}

/* What stands for a moment on the clock of a task's CPU time stays behind it. */
static void move_stamps(struct task_struct *task, u64 more)
{
#ifdef CONFIG_NUMA_BALANCING
	task->node_stamp += more;
	task->last_sum_exec_runtime += more;
#endif
}

/* Called by the coordinator; the member is held, or has become a zombie. */
void ckpt_usage_apply(const struct ckpt_member *m)
{
	const struct ckpt_rec_usage *rec = &m->usage;
	struct task_struct *task = m->task;
	u64 more = rec->runtime - task->se.sum_exec_runtime;

	/* The scheduler goes by the difference between the two. */
	task->se.sum_exec_runtime += more;
	task->se.prev_sum_exec_runtime += more;
	move_stamps(task, more);
	task->utime = rec->task.utime;
	task->stime = rec->task.stime;
	task->nvcsw = rec->task.voluntary;
	task->nivcsw = rec->task.involuntary;
	task->min_flt = rec->task.minor_faults;
	task->maj_flt = rec->task.major_faults;
	if (m->may_be_old) {
		task->start_time = begun(ktime_get_ns(), rec->age);
		task->start_boottime = begun(ktime_get_boottime_ns(), rec->boot_age);
	}
	if (!m->is_thread)
		apply_group(rec, task->signal);
	apply_shown(rec, task, !m->is_thread);
}

/*
 * All members were told.  Where timers on CPU time run, the
 * process's clock was sampled when the first was set, and counts on from there.
 */
void ckpt_usage_arm(const struct ckpt_member *m)
{
	struct task_cputime_atomic *count = &m->task->signal->cputimer.cputime_atomic;
	unsigned long limit = task_rlimit(m->task, RLIMIT_CPU);
	struct task_cputime sum;

	if (!m->has_group)
		return;
	thread_group_cputime(m->task, &sum);
	atomic64_set(&count->utime, sum.utime);
	atomic64_set(&count->stime, sum.stime);
	atomic64_set(&count->sum_exec_runtime, sum.sum_exec_runtime);
	if (limit != RLIM_INFINITY)
		update_rlimit_cpu(m->task, limit);
}
