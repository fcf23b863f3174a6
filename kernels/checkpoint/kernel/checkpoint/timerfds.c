// SPDX-License-Identifier: GPL-2.0-only
/*
 * Timerfds: when they expire, how often they have, and who was not told yet.
 *
 * The record of the timer comes before that of its open file: nobody can open
 * one a second time.  Its time goes on when all tasks are there, so that whoever
 * waits for it or watches it does so before it can expire; only what was to
 * expire at a time of the day still does.
 */
#include <linux/checkpoint.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/slab.h>
#include <linux/timerfd.h>

#include "internal.h"

/* So far from now no sum of times overflows. */
#define LONG_AGO	(KTIME_MAX / 2)

#ifdef CONFIG_TIMERFD
/* One that is to go on */
struct ckpt_timerfd {
	struct list_head list;
	struct file *file;		/* held by the object hash */
	struct ckpt_rec_timerfd rec;
};

int ckpt_timerfd_save(struct ckpt_ctx *ctx, struct file *file, int objref)
{
	struct ckpt_rec_timerfd rec = { .objref = objref };

	timerfd_get(file, &rec);
	return ckpt_write_record(ctx, CKPT_REC_TIMERFD, &rec, sizeof(rec));
}

/* Does it expire at a time of the day? */
static bool is_of_day(const struct ckpt_rec_timerfd *rec)
{
	return (rec->clock == CLOCK_REALTIME || rec->clock == CLOCK_REALTIME_ALARM) &&
	       rec->settime_flags & TFD_TIMER_ABSTIME;
}

int ckpt_timerfd_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_timerfd *rec = (struct ckpt_rec_timerfd *)ctx->rec;
	const u32 timed = CKPT_TIMERFD_ARMED | CKPT_TIMERFD_EXPIRED;

	ctx->current_objref = rec->objref;
	if (ctx->member->timerfd.objref)
		return ckpt_err(ctx, -EINVAL, "the file of timer %d is missing",
				ctx->member->timerfd.objref);
	if (rec->flags & ~CKPT_TIMERFD_ALL || rec->settime_flags & ~TFD_SETTIME_FLAGS ||
	    (rec->flags & CKPT_TIMERFD_ABSOLUTE && !is_of_day(rec)) ||
	    (rec->flags & CKPT_TIMERFD_CANCELED &&
	     !(is_of_day(rec) && rec->settime_flags & TFD_TIMER_CANCEL_ON_SET)))
		return ckpt_err(ctx, -EINVAL, "flags %#x and %#x", rec->flags, rec->settime_flags);
	if (rec->interval < 0 || (rec->flags & timed) == timed ||
	    (rec->time_left && !(rec->flags & timed)) || rec->time_left < -LONG_AGO ||
	    (rec->time_left < 0 && rec->flags & CKPT_TIMERFD_ABSOLUTE))
		return ckpt_err(ctx, -EINVAL, "%lld ns are left, the interval is %lld ns",
				rec->time_left, rec->interval);
	ctx->member->timerfd = *rec;
	return 0;
}

struct file *ckpt_timerfd_open(struct ckpt_ctx *ctx, const struct ckpt_rec_file *rec)
{
	struct ckpt_rec_timerfd *timer = &ctx->member->timerfd;
	struct ckpt_timerfd *t __free(kfree) = NULL;
	struct file *file;

	if (timer->objref != rec->objref)
		return ERR_PTR(-EINVAL);
	t = kmalloc(sizeof(*t), GFP_KERNEL_ACCOUNT);
	if (!t)
		return ERR_PTR(-ENOMEM);
	file = timerfd_restore(timer);
	if (IS_ERR(file))
		return file;
	t->file = file;
	t->rec = *timer;
	timer->objref = 0;
	list_add_tail(&no_free_ptr(t)->list, &ctx->timerfds);
	return file;
}

void ckpt_timerfds_go_on(struct ckpt_ctx *ctx)
{
	const struct ckpt_timerfd *t;

	list_for_each_entry(t, &ctx->timerfds, list)
		timerfd_go_on(t->file, &t->rec);
}

void ckpt_timerfds_free(struct ckpt_ctx *ctx)
{
	struct ckpt_timerfd *t, *next;

	list_for_each_entry_safe(t, next, &ctx->timerfds, list)
		kfree(t);
}
#endif
