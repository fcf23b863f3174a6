// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interval timers of a process: real, virtual and profiling.
 *
 * Kept is the time that is left, not the time on a clock.  A real timer that
 * expires makes its signal pending under siglock: the timers are sampled
 * together with the queue, so that a signal is found in one of the two, once.
 */
#include <linux/checkpoint.h>
#include <linux/hrtimer.h>
#include <linux/posix-timers.h>
#include <linux/sched/cputime.h>
#include <linux/sched/signal.h>

#include "internal.h"

static const int cpu_clocks[] = {
	[CKPT_ITIMER_VIRTUAL] = CPUCLOCK_VIRT,
	[CKPT_ITIMER_PROF] = CPUCLOCK_PROF,
};

static void sample_real(struct signal_struct *sig, struct ckpt_itimer *timer)
{
	timer->interval = ktime_to_ns(sig->it_real_incr);
	/* One that expires now waits for siglock. */
	if (hrtimer_active(&sig->real_timer))
		timer->value = max_t(s64, __hrtimer_get_remaining(&sig->real_timer, true), 1);
}

static void sample_cpu(struct task_struct *task, int which, struct ckpt_itimer *timer)
{
	const struct cpu_itimer *it = &task->signal->it[cpu_clocks[which]];
	u64 samples[CPUCLOCK_MAX], now;

	timer->interval = it->incr;
	if (!it->expires)
		return;
	thread_group_sample_cputime(task, samples);
	now = samples[cpu_clocks[which]];
	timer->value = it->expires > now ? it->expires - now : 1;
}

void ckpt_itimers_sample(struct task_struct *task, struct ckpt_rec_itimers *rec)
{
	lockdep_assert_held(&task->sighand->siglock);
	memset(rec->timers, 0, sizeof(rec->timers));
	sample_real(task->signal, &rec->timers[CKPT_ITIMER_REAL]);
	sample_cpu(task, CKPT_ITIMER_VIRTUAL, &rec->timers[CKPT_ITIMER_VIRTUAL]);
	sample_cpu(task, CKPT_ITIMER_PROF, &rec->timers[CKPT_ITIMER_PROF]);
}

int ckpt_itimers_save(struct ckpt_ctx *ctx, struct ckpt_rec_itimers *rec)
{
	if (!memchr_inv(rec->timers, 0, sizeof(rec->timers)))
		return 0;
	return ckpt_write_record(ctx, CKPT_REC_ITIMERS, rec, sizeof(*rec));
}

int ckpt_itimers_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_itimers *rec = (struct ckpt_rec_itimers *)ctx->rec;
	struct ckpt_member *m = ctx->member;

	if (!m->have_signals || m->have_itimers || !m->has_group)
		return ckpt_err(ctx, -EINVAL,
				"a second record for one process, or one before the SIGNALS record");
	for (int i = 0; i < CKPT_ITIMERS; i++) {
		const struct ckpt_itimer *timer = &rec->timers[i];

		if (timer->value > KTIME_MAX || timer->interval > KTIME_MAX)
			return ckpt_err(ctx, -EINVAL, "timer %d: %llu ns, then every %llu", i,
					timer->value, timer->interval);
		/* A CPU timer without a value is disarmed, and has no interval then. */
		if (i != CKPT_ITIMER_REAL && !timer->value && timer->interval)
			return ckpt_err(ctx, -EINVAL, "timer %d has an interval and no value", i);
	}
	m->itimers = *rec;
	m->have_itimers = true;
	return 0;
}

static void arm_cpu(struct task_struct *task, int which, const struct ckpt_itimer *timer)
{
	struct cpu_itimer *it = &task->signal->it[cpu_clocks[which]];
	u64 value = timer->value, old = 0;

	if (!value)
		return;
	set_process_cpu_timer(task, cpu_clocks[which], &value, &old);
	it->expires = value;
	it->incr = timer->interval;
}

static void arm_itimers(const struct ckpt_member *m)
{
	const struct ckpt_itimer *real = &m->itimers.timers[CKPT_ITIMER_REAL];
	struct signal_struct *sig = m->task->signal;

	if (!m->have_itimers)
		return;
	spin_lock_irq(&m->task->sighand->siglock);
	sig->it_real_incr = ns_to_ktime(real->interval);
	if (real->value)
		hrtimer_start(&sig->real_timer, ns_to_ktime(real->value), HRTIMER_MODE_REL);
	arm_cpu(m->task, CKPT_ITIMER_VIRTUAL, &m->itimers.timers[CKPT_ITIMER_VIRTUAL]);
	arm_cpu(m->task, CKPT_ITIMER_PROF, &m->itimers.timers[CKPT_ITIMER_PROF]);
	spin_unlock_irq(&m->task->sighand->siglock);
}

/* Called by the coordinator while all members are held: the time that is left runs from here on. */
void ckpt_timers_arm(const struct ckpt_member *m)
{
	arm_itimers(m);
	ckpt_posix_timers_arm(m);
}
