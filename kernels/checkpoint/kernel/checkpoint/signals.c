// SPDX-License-Identifier: GPL-2.0-only
/*
 * A task's own signal state: blocked signals, the mask that an interrupted
 * system call puts back, the alternate stack.  Pending signals are refused.
 */
#include <linux/checkpoint.h>
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include <linux/uaccess.h>

#include "internal.h"

static int first_pending(struct sigpending *pending)
{
	for (int sig = 1; sig <= _NSIG; sig++)
		if (sigismember(&pending->signal, sig))
			return sig;
	return 0;
}

int ckpt_signals_save(struct ckpt_ctx *ctx, struct task_struct *task)
{
	struct ckpt_rec_signals rec = {
		/* SS_ONSTACK, which sigaltstack(2) takes, means nothing. */
		.altstack_flags = task->sas_ss_flags & (SS_DISABLE | SS_AUTODISARM),
		.altstack_sp = task->sas_ss_sp,
		.altstack_size = task->sas_ss_size,
	};
	unsigned long flags;
	int sig;

	if (!lock_task_sighand(task, &flags))
		return ckpt_err(ctx, -EBUSY, "has exited");
	sig = first_pending(&task->pending) ?: first_pending(&task->signal->shared_pending);
	rec.blocked = ckpt_mask_from_sigset(&task->blocked);
	if (test_tsk_restore_sigmask(task)) {
		rec.flags = CKPT_SIGNALS_RESTORE_MASK;
		rec.saved_mask = ckpt_mask_from_sigset(&task->saved_sigmask);
	}
	unlock_task_sighand(task, &flags);
	if (sig)
		return ckpt_err(ctx, -EBUSY, "signal %d is pending", sig);
	return ckpt_write_record(ctx, CKPT_REC_SIGNALS, &rec, sizeof(rec));
}

int ckpt_signals_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_signals *rec = (struct ckpt_rec_signals *)ctx->rec;
	struct ckpt_member *m = ctx->member;

	if (m->have_signals)
		return ckpt_err(ctx, -EINVAL, "a second record for one task");
	if (rec->flags & ~CKPT_SIGNALS_RESTORE_MASK)
		return ckpt_err(ctx, -EINVAL, "flags %#x", rec->flags);
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
