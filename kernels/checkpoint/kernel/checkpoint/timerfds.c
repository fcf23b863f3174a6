// SPDX-License-Identifier: GPL-2.0-only
/*
 * Timerfds: when they expire, how often they have, and who was not told yet.
 *
 * The record of the timer comes before that of its open file: nobody can open
 * one a second time.  Its time goes on from the moment in which it is made
 * again; only what was to expire at a time of the day still does.
 */
#include <linux/checkpoint.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/timerfd.h>

#include "internal.h"

/* So far from now no sum of times overflows. */
#define LONG_AGO	(KTIME_MAX / 2)

#ifdef CONFIG_TIMERFD
int ckpt_timerfd_save(struct ckpt_ctx *ctx, struct file *file, int objref)
{
	struct ckpt_rec_timerfd rec = { .objref = objref };

	timerfd_get(file, &rec);
	return ckpt_write_record(ctx, CKPT_REC_TIMERFD, &rec, sizeof(rec));
}

int ckpt_timerfd_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_timerfd *rec = (struct ckpt_rec_timerfd *)ctx->rec;
	const u32 timed = CKPT_TIMERFD_ARMED | CKPT_TIMERFD_EXPIRED;

	ctx->current_objref = rec->objref;
	if (ctx->member->timerfd.objref)
		return ckpt_err(ctx, -EINVAL, "the file of timer %d is missing",
				ctx->member->timerfd.objref);
	if (rec->flags & ~CKPT_TIMERFD_ALL || rec->settime_flags & ~TFD_SETTIME_FLAGS)
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
	int objref = timer->objref;

	timer->objref = 0;
	return objref == rec->objref ? timerfd_restore(timer) : ERR_PTR(-EINVAL);
}
#endif
