// SPDX-License-Identifier: GPL-2.0-only
/*
 * POSIX timers of a process.
 *
 * Kept is the time that is left, but for deadlines on the wall clock, which
 * stay where they are.  Each timer owns the entry that it queues when it
 * expires, and goes on only when that is taken from the queue; the entry is
 * found in a queue of signals by the timer's number, and put there again.
 *
 * All timers are sampled under siglock, together with the process's queue: a
 * timer is either yet to expire or has its entry in a queue, once.  Those that
 * expire later than that are still armed in the image.
 */
#include <linux/checkpoint.h>
#include <linux/hrtimer.h>
#include <linux/pid.h>
#include <linux/posix-timers.h>
#include <linux/sched/cputime.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "internal.h"

/* Bounds what is allocated for them, and how long they are looked for with interrupts off. */
#define TIMERS_MAX	1024
/* How long ago a timer may have expired: no sum with it is out of range. */
#define TIME_MIN	(-(KTIME_MAX / 2))

/* Clocks whose timers are timers of the kernel; those of CPU time are negative. */
static bool is_supported(clockid_t clock)
{
	switch (clock) {
	case CLOCK_REALTIME:
	case CLOCK_MONOTONIC:
	case CLOCK_BOOTTIME:
	case CLOCK_TAI:
		return true;
	}
	return clock < 0 && CPUCLOCK_WHICH(clock) < CPUCLOCK_MAX;
}

static enum pid_type clock_type(clockid_t clock)
{
	return CPUCLOCK_PERTHREAD(clock) ? PIDTYPE_PID : PIDTYPE_TGID;
}

/* A timer of the kernel is left as it is, also when it has expired: what it has missed is counted later. */
static void sample_time(struct k_itimer *timr, struct ckpt_posix_timer *out)
{
	const struct hrtimer *timer = &timr->it.real.timer;
	s64 expires = ktime_to_ns(hrtimer_get_expires(timer));
	bool waits = timr->it_interval && timr->it_requeue_pending & REQUEUE_PENDING;

	if (!expires || !(timr->it_active || waits || timr->it_sigev_notify == SIGEV_NONE))
		return;
	if (timr->it_clock == CLOCK_REALTIME && timer->base->clockid == CLOCK_REALTIME) {
		out->flags |= CKPT_POSIX_TIMER_ABSOLUTE;
		out->time_left = expires;
	} else {
		/* 0 would be none. */
		out->time_left = (expires - ktime_to_ns(timer->base->get_time())) ?: 1;
	}
}

/* CPU time is that of a task that stands still: timer_gettime(2) may count what was missed now. */
static void sample_cpu_time(struct k_itimer *timr, struct ckpt_posix_timer *out)
{
	struct itimerspec64 left;

	posix_timer_get(timr, &left);
	out->time_left = timespec64_to_ns(&left.it_value);
}

/* Under it_lock and siglock; says what is in the way, if anything is. */
static const char *sample(struct ckpt_ctx *ctx, struct task_struct *task, struct k_itimer *timr,
			  struct ckpt_posix_timer *out)
{
	bool to_thread = timr->it_sigev_notify & SIGEV_THREAD_ID;
	struct task_struct *target;

	guard(rcu)();
	if (!is_supported(timr->it_clock))
		return "a timer on an alarm clock or a device";
	target = pid_task(timr->it_pid, to_thread ? PIDTYPE_PID : PIDTYPE_TGID);
	if (!target || !same_thread_group(target, task))
		return "a timer that tells a thread that has exited";
	*out = (struct ckpt_posix_timer) {
		.id = timr->it_id,
		.clock = timr->it_clock,
		.notify = timr->it_sigev_notify,
		.signo = timr->sigq->info.si_signo,
		.value = (unsigned long)timr->sigq->info.si_value.sival_ptr,
		.target = pid_nr_ns(timr->it_pid, ctx->pid_ns),
		.requeue = timr->it_requeue_pending,
	};
	if (timr->it_clock < 0) {
		target = pid_task(timr->it.cpu.pid, clock_type(timr->it_clock));
		if (!target || !same_thread_group(target, task))
			return "a timer on the CPU time of another process or of a thread that has exited";
		out->clock_target = pid_nr_ns(timr->it.cpu.pid, ctx->pid_ns);
	}
	if (timr->it_active)
		out->flags |= CKPT_POSIX_TIMER_ARMED;
	if (!list_empty(&timr->sigq->list))
		out->flags |= CKPT_POSIX_TIMER_PENDING;
	if (timr->it_clock < 0)
		sample_cpu_time(timr, out);
	else
		sample_time(timr, out);
	out->interval = ktime_to_ns(timr->it_interval);
	out->overrun = timr->it_overrun;
	out->overrun_last = timr->it_overrun_last;
	return NULL;
}

/*
 * Sample all timers of the process of @task, whose siglock is held, into
 * ctx->posix_timers.  EAGAIN: one of them is about to expire, or the room does
 * not suffice; the caller tries again without the lock.
 */
int ckpt_posix_timers_sample(struct ckpt_ctx *ctx, struct task_struct *task)
{
	struct ckpt_posix_timers *all = &ctx->posix_timers;
	struct k_itimer *timr;
	const char *odd;

	lockdep_assert_held(&task->sighand->siglock);
	all->nr = 0;
	all->odd = NULL;
	all->next_id = task->signal->next_posix_timer_id;
	hlist_for_each_entry(timr, &task->signal->posix_timers, list) {
		if (all->nr++ >= all->room)
			continue;
		/* It is taken before siglock elsewhere, where a timer expires. */
		if (!spin_trylock(&timr->it_lock))
			return -EAGAIN;
		odd = sample(ctx, task, timr, &all->timers[all->nr - 1]);
		spin_unlock(&timr->it_lock);
		if (odd)
			all->odd = odd;
	}
	return all->nr > all->room ? -EAGAIN : 0;
}

/* Make room for as many timers as the last sample has found. */
int ckpt_posix_timers_room(struct ckpt_ctx *ctx)
{
	struct ckpt_posix_timers *all = &ctx->posix_timers;

	if (all->nr > TIMERS_MAX)
		return ckpt_err(ctx, -EBUSY, "%u POSIX timers", all->nr);
	if (all->nr <= all->room)
		return 0;
	kvfree(all->timers);
	all->room = 0;
	all->timers = kvcalloc(all->nr, sizeof(*all->timers), GFP_KERNEL_ACCOUNT);
	if (!all->timers)
		return ckpt_nomem(ctx, "%u POSIX timers", all->nr);
	all->room = all->nr;
	return 0;
}

void ckpt_posix_timers_free(struct ckpt_ctx *ctx)
{
	kvfree(ctx->posix_timers.timers);
}

/* Is this the entry of a timer that had expired when the timers were sampled? */
bool ckpt_posix_timer_queued(struct ckpt_ctx *ctx, const struct sigqueue *q)
{
	const struct ckpt_posix_timers *all = &ctx->posix_timers;

	for (unsigned int i = 0; i < all->nr; i++)
		if (all->timers[i].id == q->info.si_tid)
			return all->timers[i].flags & CKPT_POSIX_TIMER_PENDING;
	return false;
}

int ckpt_posix_timers_save(struct ckpt_ctx *ctx)
{
	struct ckpt_posix_timers *all = &ctx->posix_timers;
	struct ckpt_rec_posix_timers *rec __free(kvfree) = NULL;
	size_t len = struct_size(rec, timers, all->nr);

	if (all->odd)
		return ckpt_err(ctx, -EBUSY, "%s is not supported", all->odd);
	if (!all->nr && !all->next_id)
		return 0;
	rec = kvzalloc(len, GFP_KERNEL_ACCOUNT);
	if (!rec)
		return ckpt_nomem(ctx, "%u POSIX timers", all->nr);
	rec->nr_timers = all->nr;
	rec->next_id = all->next_id;
	memcpy(rec->timers, all->timers, all->nr * sizeof(*all->timers));
	return ckpt_write_record(ctx, CKPT_REC_POSIX_TIMERS, rec, len);
}

/* --- restart --- */

static int check_timer(struct ckpt_ctx *ctx, const struct ckpt_posix_timer *t)
{
	const u32 notify = t->notify & ~SIGEV_THREAD_ID;

	if (t->id < 0 || !is_supported(t->clock))
		return ckpt_err(ctx, -EINVAL, "timer %d on clock %d", t->id, t->clock);
	if (t->flags & ~CKPT_POSIX_TIMER_ALL ||
	    (t->flags & CKPT_POSIX_TIMER_ABSOLUTE && t->clock != CLOCK_REALTIME))
		return ckpt_err(ctx, -EINVAL, "timer %d: flags %#x", t->id, t->flags);
	if ((notify != SIGEV_SIGNAL && notify != SIGEV_NONE && notify != SIGEV_THREAD) ||
	    (t->notify & SIGEV_THREAD_ID && notify != SIGEV_SIGNAL) ||
	    (notify == SIGEV_NONE && t->flags & ~CKPT_POSIX_TIMER_ABSOLUTE))
		return ckpt_err(ctx, -EINVAL, "timer %d: notification %#x", t->id, t->notify);
	/* Where nobody is told, timer_create(2) takes any number for a signal. */
	if ((notify != SIGEV_NONE && (!t->signo || !valid_signal(t->signo))) ||
	    (unsigned long)t->value != t->value)
		return ckpt_err(ctx, -EINVAL, "timer %d: signal %d with value %#llx", t->id,
				t->signo, t->value);
	if ((t->time_left < 0 && (t->flags & CKPT_POSIX_TIMER_ABSOLUTE || t->clock < 0)) ||
	    (t->flags & CKPT_POSIX_TIMER_ARMED && !t->time_left) || t->time_left < TIME_MIN ||
	    (t->interval && !t->time_left && notify != SIGEV_NONE) || t->interval > KTIME_MAX)
		return ckpt_err(ctx, -EINVAL, "timer %d: %lld ns, then every %llu", t->id,
				t->time_left, t->interval);
	/* One that runs is not to be started by the signal of its last expiration. */
	if (t->flags & CKPT_POSIX_TIMER_ARMED && t->requeue & REQUEUE_PENDING)
		return ckpt_err(ctx, -EINVAL, "timer %d runs, and waits for its signal %u", t->id,
				t->requeue);
	return 0;
}

int ckpt_posix_timers_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_posix_timers *rec = (struct ckpt_rec_posix_timers *)ctx->rec;
	struct ckpt_member *m = ctx->member;
	int err = 0;

	if (!m->have_signals || m->posix_timers || !m->has_group)
		return ckpt_err(ctx, -EINVAL,
				"a second record for one process, or one before the SIGNALS record");
	if (rec->nr_timers > TIMERS_MAX || struct_size(rec, timers, rec->nr_timers) != rec->h.len)
		return ckpt_err(ctx, -EINVAL, "%u timers in %u bytes", rec->nr_timers, rec->h.len);
	if (rec->next_id > INT_MAX)
		return ckpt_err(ctx, -EINVAL, "next id %u", rec->next_id);
	for (u32 i = 0; i < rec->nr_timers && !err; i++)
		err = check_timer(ctx, &rec->timers[i]);
	if (err)
		return err;
	m->posix_timers = kvmemdup(rec, rec->h.len, GFP_KERNEL_ACCOUNT);
	return m->posix_timers ? 0 : ckpt_nomem(ctx, "%u POSIX timers", rec->nr_timers);
}

/* A task of current's group; a reference, or NULL. */
static struct pid *find_in_group(struct ckpt_ctx *ctx, int nr, enum pid_type type)
{
	struct ckpt_task *t = ckpt_tree_task(ctx, nr);

	if (!t || !t->task || !same_thread_group(t->task, current) ||
	    (type != PIDTYPE_PID && t->pid != t->tgid))
		return NULL;
	return get_task_pid(t->task, PIDTYPE_PID);
}

/* The clock of another task has its number in it, as whoever made the timer called it. */
static s32 renew_clock(struct ckpt_ctx *ctx, s32 id, struct pid *clock)
{
	if (!ckpt_knows_new_pids(ctx) || !clock || !CPUCLOCK_PID(id))
		return id;
	return make_process_cpuclock(pid_nr_ns(clock, ctx->pid_ns), id & CLOCKFD_MASK);
}

static int make_timer(struct ckpt_ctx *ctx, const struct ckpt_posix_timer *t)
{
	bool to_thread = t->notify & SIGEV_THREAD_ID;
	struct ckpt_posix_timer renewed = *t;
	struct pid *target, *clock = NULL;
	int err = -EINVAL;

	target = find_in_group(ctx, t->target, to_thread ? PIDTYPE_PID : PIDTYPE_TGID);
	if (t->clock < 0)
		clock = find_in_group(ctx, t->clock_target, clock_type(t->clock));
	if (!target) {
		ckpt_err(ctx, err, "timer %d tells task %d, which is not of its process", t->id,
			 t->target);
	} else if (t->clock < 0 ? !clock : t->clock_target) {
		ckpt_err(ctx, err, "timer %d is on the CPU time of task %d", t->id,
			 t->clock_target);
	} else {
		renewed.clock = renew_clock(ctx, t->clock, clock);
		err = posix_timer_restore(&renewed, target, clock);
	}
	put_pid(clock);
	put_pid(target);
	return err ? ckpt_err(ctx, err, "timer %d cannot be made", t->id) : 0;
}

/* Make the timers, in the order in which they were made first; none runs yet. */
int ckpt_posix_timers_make(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_posix_timers *rec = ctx->member->posix_timers;
	int err = 0;

	if (!rec)
		return 0;
	for (u32 i = rec->nr_timers; i > 0 && !err; i--)
		err = make_timer(ctx, &rec->timers[i - 1]);
	current->signal->next_posix_timer_id = rec->next_id;
	return err;
}

static struct k_itimer *find_timer(struct signal_struct *sig, int id)
{
	struct k_itimer *timr;

	hlist_for_each_entry(timr, &sig->posix_timers, list)
		if (timr->it_id == id)
			return timr;
	return NULL;
}

/* Check that the entry @info of the queue that is @shared or current's own is one of a timer that has expired. */
int ckpt_posix_timer_check_queued(struct ckpt_ctx *ctx, const struct ckpt_siginfo *info,
				  bool shared)
{
	const struct ckpt_member *group = ckpt_group_member(ctx, ctx->member);
	const struct ckpt_rec_posix_timers *rec = group->posix_timers;
	kernel_siginfo_t of;

	ckpt_siginfo_from_image(info, &of);
	/* 0, or what @requeue was when it expired */
	if (of.si_sys_private && !(of.si_sys_private & REQUEUE_PENDING))
		return ckpt_err(ctx, -EINVAL, "signal %d is of no expiration", info->signo);
	for (u32 i = 0; rec && i < rec->nr_timers; i++) {
		const struct ckpt_posix_timer *t = &rec->timers[i];

		if (t->id != of.si_tid)
			continue;
		if (!(t->flags & CKPT_POSIX_TIMER_PENDING) || t->signo != info->signo ||
		    info->code != SI_TIMER || shared != !(t->notify & SIGEV_THREAD_ID) ||
		    (!shared && t->target != ctx->member->pid))
			break;
		return 0;
	}
	return ckpt_err(ctx, -EINVAL, "signal %d is of no timer that has expired", info->signo);
}

/* The entry of an expired timer of @task, to be put into a queue; under siglock. */
struct sigqueue *ckpt_posix_timer_entry(struct task_struct *task, const struct ckpt_siginfo *info)
{
	struct k_itimer *timr;
	kernel_siginfo_t of;

	ckpt_siginfo_from_image(info, &of);
	timr = find_timer(task->signal, of.si_tid);
	/* An entry that the image has twice is there once. */
	if (!timr || !list_empty(&timr->sigq->list))
		return NULL;
	copy_siginfo(&timr->sigq->info, &of);
	return timr->sigq;
}

/* Called while all members are held: the time that is left runs from here on. */
void ckpt_posix_timers_arm(const struct ckpt_member *m)
{
	const struct ckpt_rec_posix_timers *rec = m->posix_timers;
	struct k_itimer *timr;
	unsigned long flags;
	u32 i = 0;

	if (!rec)
		return;
	/* They were made from the last one on, and each comes before those that were there. */
	hlist_for_each_entry(timr, &m->task->signal->posix_timers, list) {
		if (WARN_ON_ONCE(i == rec->nr_timers || timr->it_id != rec->timers[i].id))
			return;
		spin_lock_irqsave(&timr->it_lock, flags);
		posix_timer_restore_time(timr, &rec->timers[i++]);
		spin_unlock_irqrestore(&timr->it_lock, flags);
	}
}
