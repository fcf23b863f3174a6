// SPDX-License-Identifier: GPL-2.0-only
/*
 * A task's own signal state: blocked signals, the mask that an interrupted
 * system call puts back, the alternate stack; and pending signals, the task's
 * own and those of its process; and whether the process is stopped.
 *
 * A queue is put back as it was, entry by entry: sending the signals again
 * would drop those that are ignored, and stop or continue somebody.  A member
 * makes the entries when it has the user ids that they are charged to; the
 * coordinator puts them in place while nobody runs.
 */
#include <linux/checkpoint.h>
#include <linux/sched/jobctl.h>
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include <linux/signalfd.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "internal.h"

/* More than a queue of the usual limit has; bounds what is allocated for one. */
#define PENDING_MAX	((CKPT_RECORD_MAX - sizeof(struct ckpt_rec_pending)) / \
			 sizeof(struct ckpt_siginfo))

static void info_to_image(const kernel_siginfo_t *info, struct ckpt_siginfo *out)
{
	BUILD_BUG_ON(sizeof(info->_sifields) > CKPT_SIGINFO_BYTES);
	*out = (struct ckpt_siginfo) {
		.signo = info->si_signo,
		.error = info->si_errno,
		.code = info->si_code,
	};
	memcpy(out->fields, &info->_sifields, sizeof(info->_sifields));
}

void ckpt_siginfo_from_image(const struct ckpt_siginfo *in, kernel_siginfo_t *info)
{
	clear_siginfo(info);
	info->si_signo = in->signo;
	info->si_errno = in->error;
	info->si_code = in->code;
	memcpy(&info->_sifields, in->fields, sizeof(info->_sifields));
}

/* Copy a queue of at most @max entries; says how many there are. */
static unsigned int copy_queue(struct ckpt_ctx *ctx, struct sigpending *pending,
			       struct ckpt_rec_pending *rec, unsigned int max)
{
	u64 kept = 0, dropped = 0;
	unsigned int nr = 0;
	struct sigqueue *q;

	rec->mask = ckpt_mask_from_sigset(&pending->signal);
	list_for_each_entry(q, &pending->list, list) {
		bool of_timer = q->flags & SIGQUEUE_PREALLOC;

		/* Of a timer that has expired since, and is still armed in the image. */
		if (of_timer && !ckpt_posix_timer_queued(ctx, q)) {
			dropped |= 1ULL << (q->info.si_signo - 1);
			continue;
		}
		kept |= 1ULL << (q->info.si_signo - 1);
		if (nr < max) {
			info_to_image(&q->info, &rec->infos[nr]);
			rec->infos[nr].flags = of_timer ? CKPT_SIGINFO_TIMER : 0;
		}
		nr++;
	}
	rec->mask &= ~(dropped & ~kept);
	return nr;
}

/* With the process's queue, where @itimers is given: the one that expires meanwhile is in one of both. */
static int save_pending(struct ckpt_ctx *ctx, struct task_struct *task,
			struct ckpt_rec_itimers *itimers)
{
	struct ckpt_rec_pending *rec __free(kvfree) = NULL;
	bool shared = itimers;
	unsigned int max = 8, nr = 0;
	unsigned long flags;
	int err = 0;

	for (;;) {
		rec = kvzalloc(struct_size(rec, infos, max), GFP_KERNEL_ACCOUNT);
		if (!rec)
			return ckpt_nomem(ctx, "%u pending signals", max);
		if (!lock_task_sighand(task, &flags))
			return ckpt_err(ctx, -EBUSY, "has exited");
		if (shared) {
			ckpt_itimers_sample(task, itimers);
			err = ckpt_posix_timers_sample(ctx, task);
		}
		if (!err)
			nr = copy_queue(ctx, shared ? &task->signal->shared_pending :
					&task->pending, rec, max);
		unlock_task_sighand(task, &flags);
		if (!err && nr <= max)
			break;
		if (err && ckpt_posix_timers_room(ctx))
			return ctx->err;
		max = max(max, nr);
		kvfree(rec);
		rec = NULL;
		cond_resched();
		if (max > PENDING_MAX)
			return ckpt_err(ctx, -EBUSY, "%u signals are pending", max);
	}
	if (rec->mask & sigmask(SIGKILL))
		return ckpt_err(ctx, -EBUSY, "is being killed");
	if (!rec->mask)
		return 0;
	rec->flags = shared ? CKPT_PENDING_SHARED : 0;
	rec->nr_infos = nr;
	return ckpt_write_record(ctx, CKPT_REC_PENDING, rec, struct_size(rec, infos, nr));
}

/* Job control: under siglock. */
static void save_stop(struct ckpt_ctx *ctx, struct ckpt_task *t, struct ckpt_rec_signals *rec)
{
	struct signal_struct *sig = t->task->signal;

	rec->stop_signal = t->task->jobctl & JOBCTL_STOP_SIGMASK;
	if (!ckpt_has_group(ctx, t->pid))
		return;
	if (sig->flags & SIGNAL_STOP_STOPPED) {
		rec->flags |= CKPT_SIGNALS_STOPPED;
		rec->stop_status = sig->group_exit_code;
	}
	if (sig->flags & SIGNAL_STOP_CONTINUED)
		rec->flags |= CKPT_SIGNALS_CONTINUED;
}

int ckpt_signals_save(struct ckpt_ctx *ctx, struct ckpt_task *t)
{
	struct task_struct *task = t->task;
	struct ckpt_rec_signals rec = {
		/* SS_ONSTACK, which sigaltstack(2) takes, means nothing. */
		.altstack_flags = task->sas_ss_flags & (SS_DISABLE | SS_AUTODISARM),
		.altstack_sp = task->sas_ss_sp,
		.altstack_size = task->sas_ss_size,
	};
	struct ckpt_rec_itimers itimers = {};
	unsigned long flags;
	int err;

	if (!lock_task_sighand(task, &flags))
		return ckpt_err(ctx, -EBUSY, "has exited");
	rec.blocked = ckpt_mask_from_sigset(&task->blocked);
	if (test_tsk_restore_sigmask(task)) {
		rec.flags |= CKPT_SIGNALS_RESTORE_MASK;
		rec.saved_mask = ckpt_mask_from_sigset(&task->saved_sigmask);
	}
	save_stop(ctx, t, &rec);
	unlock_task_sighand(task, &flags);
	err = ckpt_write_record(ctx, CKPT_REC_SIGNALS, &rec, sizeof(rec));
	if (!err && ckpt_has_group(ctx, t->pid))
		err = save_pending(ctx, task, &itimers);
	if (!err)
		err = save_pending(ctx, task, NULL);
	if (!err && ckpt_has_group(ctx, t->pid))
		err = ckpt_itimers_save(ctx, &itimers) ?: ckpt_posix_timers_save(ctx);
	return err;
}

int ckpt_signals_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_signals *rec = (struct ckpt_rec_signals *)ctx->rec;
	const u32 of_group = CKPT_SIGNALS_STOPPED | CKPT_SIGNALS_CONTINUED;
	struct ckpt_member *m = ctx->member;

	if (m->have_signals)
		return ckpt_err(ctx, -EINVAL, "a second record for one task");
	if (rec->flags & ~(CKPT_SIGNALS_RESTORE_MASK | of_group) ||
	    (!m->has_group && rec->flags & of_group) || (rec->flags & of_group) == of_group)
		return ckpt_err(ctx, -EINVAL, "flags %#x", rec->flags);
	if (!valid_signal(rec->stop_signal) || !valid_signal(rec->stop_status) ||
	    (rec->stop_status && !(rec->flags & CKPT_SIGNALS_STOPPED)))
		return ckpt_err(ctx, -EINVAL, "stopped by signal %u, status %u",
				rec->stop_signal, rec->stop_status);
	if (rec->saved_mask && !(rec->flags & CKPT_SIGNALS_RESTORE_MASK))
		return ckpt_err(ctx, -EINVAL, "a saved mask without its flag");
	/* SS_ONSTACK is no state, SS_DISABLE and SS_AUTODISARM are. */
	if (rec->altstack_flags & ~(SS_DISABLE | SS_AUTODISARM) ||
	    (unsigned long)rec->altstack_sp != rec->altstack_sp ||
	    (unsigned long)rec->altstack_size != rec->altstack_size)
		return ckpt_err(ctx, -EINVAL, "alternate stack at %#llx, %llu bytes, flags %#x",
				rec->altstack_sp, rec->altstack_size, rec->altstack_flags);
	if (rec->altstack_size && rec->altstack_size < MINSIGSTKSZ)
		return ckpt_err(ctx, -EINVAL, "alternate stack of %llu bytes", rec->altstack_size);
	m->signals = *rec;
	m->have_signals = true;
	return 0;
}

/* --- restart: pending signals --- */

static int check_pending(struct ckpt_ctx *ctx, const struct ckpt_rec_pending *rec)
{
	if (rec->flags & ~CKPT_PENDING_SHARED || !rec->mask || rec->mask & sigmask(SIGKILL))
		return ckpt_err(ctx, -EINVAL, "signals %#llx, flags %#x", rec->mask, rec->flags);
	if (rec->nr_infos > PENDING_MAX || struct_size(rec, infos, rec->nr_infos) != rec->h.len)
		return ckpt_err(ctx, -EINVAL, "%u signals in %u bytes", rec->nr_infos, rec->h.len);
	for (u32 i = 0; i < rec->nr_infos; i++) {
		const struct ckpt_siginfo *info = &rec->infos[i];

		if (!valid_signal(info->signo) || !info->signo ||
		    !(rec->mask & 1ULL << (info->signo - 1)))
			return ckpt_err(ctx, -EINVAL, "signal %d is not among those pending",
					info->signo);
		if (info->flags & ~CKPT_SIGINFO_TIMER || memchr_inv(info->fields + sizeof_field(kernel_siginfo_t, _sifields),
					    0, CKPT_SIGINFO_BYTES -
					       sizeof_field(kernel_siginfo_t, _sifields)))
			return ckpt_err(ctx, -EINVAL, "signal %d: flags %#x, or padding",
					info->signo, info->flags);
	}
	return 0;
}

int ckpt_pending_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_pending *rec = (struct ckpt_rec_pending *)ctx->rec;
	bool shared = rec->flags & CKPT_PENDING_SHARED;
	struct ckpt_member *m = ctx->member;
	struct ckpt_pending *pending = shared ? &m->shared_pending : &m->pending;
	int err;

	if (!m->have_signals || pending->rec || (shared && !m->has_group))
		return ckpt_err(ctx, -EINVAL, "a second queue, or one before the SIGNALS record");
	err = check_pending(ctx, rec);
	if (err)
		return err;
	pending->rec = kvmemdup(rec, rec->h.len, GFP_KERNEL_ACCOUNT);
	return pending->rec ? 0 : ckpt_nomem(ctx, "%u pending signals", rec->nr_infos);
}

/* Who sent it, where that is a process of the tree and has got another pid. */
static void renew_sender(struct ckpt_ctx *ctx, kernel_siginfo_t *info)
{
	enum siginfo_layout layout = siginfo_layout(info->si_signo, info->si_code);
	const struct ckpt_task *t;

	if (!ckpt_knows_new_pids(ctx) ||
	    (layout != SIL_KILL && layout != SIL_RT && layout != SIL_CHLD))
		return;
	t = ckpt_tree_task(ctx, info->si_pid);
	/* Threads are not signalled from; those of others may be still to be made. */
	if (t && t->pid == t->tgid)
		info->si_pid = task_pid_nr_ns(t->task, ctx->pid_ns);
}

static int make_queue(struct ckpt_ctx *ctx, struct ckpt_pending *pending, bool shared)
{
	const struct ckpt_rec_posix_timers *timers;
	u32 left;

	if (!pending->rec)
		return 0;
	timers = ckpt_group_member(ctx, ctx->member)->posix_timers;
	left = timers ? timers->nr_timers : 0;
	for (u32 i = 0; i < pending->rec->nr_infos; i++) {
		const struct ckpt_siginfo *info = &pending->rec->infos[i];
		struct sigqueue *q;
		int err;

		if (info->flags & CKPT_SIGINFO_TIMER) {
			if (!left--)
				return ckpt_err(ctx, -EINVAL, "more signals of timers than timers");
			err = ckpt_posix_timer_check_queued(ctx, info, shared);
			if (err)
				return err;
			continue;
		}
		q = sigqueue_alloc();
		if (!q)
			return ckpt_err(ctx, -EAGAIN,
					"no memory for a pending signal, or the limit of them is reached");
		ckpt_siginfo_from_image(info, &q->info);
		renew_sender(ctx, &q->info);
		list_add_tail(&q->list, &pending->queue);
	}
	return 0;
}

int ckpt_pending_make(struct ckpt_ctx *ctx)
{
	struct ckpt_member *m = ctx->member;

	return make_queue(ctx, &m->shared_pending, true) ?: make_queue(ctx, &m->pending, false);
}

static void put_in_place(struct task_struct *task, struct sigpending *to,
			 struct ckpt_pending *from)
{
	sigset_t mask;

	if (!from->rec)
		return;
	for (u32 i = 0; i < from->rec->nr_infos; i++) {
		const struct ckpt_siginfo *info = &from->rec->infos[i];
		struct sigqueue *q;

		if (info->flags & CKPT_SIGINFO_TIMER) {
			q = ckpt_posix_timer_entry(task, info);
		} else {
			q = list_first_entry(&from->queue, struct sigqueue, list);
			/* From here on it is the task's, and freed when it is taken. */
			q->flags &= ~SIGQUEUE_PREALLOC;
		}
		if (q)
			list_move_tail(&q->list, &to->list);
	}
	ckpt_mask_to_sigset(from->rec->mask, &mask);
	sigorsets(&to->signal, &to->signal, &mask);
}

void ckpt_pending_apply(struct ckpt_member *m)
{
	unsigned long flags;

	if (!lock_task_sighand(m->task, &flags))
		return;
	/* What has come since its restart may have come before its signalfds were watched. */
	if (!sigisemptyset(&m->task->signal->shared_pending.signal) ||
	    !sigisemptyset(&m->task->pending.signal))
		signalfd_notify(m->task, 0);
	put_in_place(m->task, &m->task->signal->shared_pending, &m->shared_pending);
	put_in_place(m->task, &m->task->pending, &m->pending);
	unlock_task_sighand(m->task, &flags);
}

/*
 * The way to user mode finds that its group stops, as a new thread of a stopped
 * process does: nobody is told of it again.
 */
void ckpt_stop_apply(struct ckpt_ctx *ctx, struct ckpt_member *m)
{
	const struct ckpt_rec_signals *group = &ckpt_group_member(ctx, m)->signals;
	unsigned long jobctl = m->signals.stop_signal, flags;
	struct signal_struct *sig = m->task->signal;

	if (!lock_task_sighand(m->task, &flags))
		return;
	if (group->flags & CKPT_SIGNALS_STOPPED) {
		signal_set_stop_flags(sig, SIGNAL_STOP_STOPPED);
		sig->group_exit_code = group->stop_status;
		jobctl |= JOBCTL_STOP_PENDING;
	} else if (group->flags & CKPT_SIGNALS_CONTINUED) {
		signal_set_stop_flags(sig, SIGNAL_STOP_CONTINUED);
	}
	if (jobctl)
		task_set_jobctl_pending(m->task, jobctl);
	unlock_task_sighand(m->task, &flags);
}

static void free_pending(struct ckpt_pending *pending)
{
	struct sigqueue *q, *next;

	list_for_each_entry_safe(q, next, &pending->queue, list) {
		list_del_init(&q->list);
		sigqueue_free(q);
	}
	kvfree(pending->rec);
}

void ckpt_pending_free(struct ckpt_member *m)
{
	free_pending(&m->shared_pending);
	free_pending(&m->pending);
	kvfree(m->posix_timers);
}
