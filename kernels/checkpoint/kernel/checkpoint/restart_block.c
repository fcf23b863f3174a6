// SPDX-License-Identifier: GPL-2.0-only
/*
 * How an interrupted system call goes on with the time that it had left.
 *
 * The kernel keeps deadlines; the image has the time that is left until one,
 * since no clock but CLOCK_REALTIME goes on over a restart.  It becomes a
 * deadline again when the task is let go.  The kind of restart block is known
 * by its function.
 */
#include <linux/checkpoint.h>
#include <linux/futex.h>
#include <linux/ktime.h>
#include <linux/limits.h>
#include <linux/restart_block.h>
#include <linux/sched.h>
#include <linux/timekeeping.h>

#include "../futex/futex.h"
#include "internal.h"

/* Of futex(2)'s operations, what ->futex_flags has */
#define FUTEX_OP_FLAGS	(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)

static bool read_clock(clockid_t clock, ktime_t *now)
{
	switch (clock) {
	case CLOCK_MONOTONIC:
		*now = ktime_get();
		return true;
	case CLOCK_BOOTTIME:
		*now = ktime_get_boottime();
		return true;
	case CLOCK_TAI:
		*now = ktime_get_clocktai();
		return true;
	case CLOCK_REALTIME:
		*now = ktime_get_real();
		return true;
	}
	return false;
}

/* --- checkpoint --- */

static int save_deadline(struct ckpt_ctx *ctx, struct ckpt_rec_restart_block *rec,
			 clockid_t clock, ktime_t deadline)
{
	ktime_t now;

	if (!read_clock(clock, &now))
		return ckpt_err(ctx, -EBUSY, "waits for clock %d", clock);
	rec->clock = clock;
	rec->flags = CKPT_RESTART_TIMEOUT;
	if (clock == CLOCK_REALTIME) {
		rec->flags |= CKPT_RESTART_ABSOLUTE;
		rec->time_left = deadline;
	} else {
		rec->time_left = max(ktime_sub(deadline, now), 0);
	}
	return 0;
}

static int save_nanosleep(struct ckpt_ctx *ctx, struct ckpt_rec_restart_block *rec,
			  const struct restart_block *block)
{
	rec->kind = CKPT_RESTART_NANOSLEEP;
	rec->type = block->nanosleep.type;
	rec->uaddr = block->nanosleep.type ? (unsigned long)block->nanosleep.rmtp : 0;
	return save_deadline(ctx, rec, block->nanosleep.clockid, block->nanosleep.expires);
}

static int save_poll(struct ckpt_ctx *ctx, struct ckpt_rec_restart_block *rec,
		     const struct restart_block *block)
{
	rec->kind = CKPT_RESTART_POLL;
	rec->uaddr = (unsigned long)block->poll.ufds;
	rec->type = block->poll.nfds;
	if (!block->poll.has_timeout)
		return 0;
	return save_deadline(ctx, rec, CLOCK_MONOTONIC,
			     ktime_set(block->poll.tv_sec, block->poll.tv_nsec));
}

static int save_futex(struct ckpt_ctx *ctx, struct ckpt_rec_restart_block *rec,
		      const struct restart_block *block)
{
	u32 flags = block->futex.flags;

	rec->kind = CKPT_RESTART_FUTEX;
	rec->uaddr = (unsigned long)block->futex.uaddr;
	rec->val = block->futex.val;
	rec->bitset = block->futex.bitset;
	if (!(flags & FLAGS_SHARED))
		rec->futex_flags |= FUTEX_PRIVATE_FLAG;
	if (flags & FLAGS_CLOCKRT)
		rec->futex_flags |= FUTEX_CLOCK_REALTIME;
	if ((flags & ~FLAGS_HAS_TIMEOUT) != futex_to_flags(rec->futex_flags))
		return ckpt_err(ctx, -EBUSY, "waits for a futex with flags %#x", flags);
	if (!(flags & FLAGS_HAS_TIMEOUT))
		return 0;
	return save_deadline(ctx, rec, flags & FLAGS_CLOCKRT ? CLOCK_REALTIME : CLOCK_MONOTONIC,
			     block->futex.time);
}

int ckpt_restart_block_save(struct ckpt_ctx *ctx, struct task_struct *task)
{
	const struct restart_block *block = &task->restart_block;
	struct ckpt_rec_restart_block rec = { .arch_data = block->arch_data };
	int err = 0;

	if (block->fn == hrtimer_nanosleep_restart)
		err = save_nanosleep(ctx, &rec, block);
	else if (block->fn == do_restart_poll)
		err = save_poll(ctx, &rec, block);
	else if (IS_ENABLED(CONFIG_FUTEX) && block->fn == futex_wait_restart)
		err = save_futex(ctx, &rec, block);
	else if (block->fn != do_no_restart_syscall && ckpt_arch_in_restart(task))
		/* One that is only left over from an earlier system call is dropped. */
		return ckpt_err(ctx, -EBUSY, "sleeps on a CPU or alarm clock (%ps)", block->fn);
	return err ?: ckpt_write_record(ctx, CKPT_REC_RESTART_BLOCK, &rec, sizeof(rec));
}

/* --- restart --- */

static bool fits(u64 addr)
{
	return (unsigned long)addr == addr;
}

static bool deadline_is_valid(const struct ckpt_rec_restart_block *rec)
{
	bool absolute = rec->flags & CKPT_RESTART_ABSOLUTE;
	ktime_t now;

	if (!(rec->flags & CKPT_RESTART_TIMEOUT))
		return !rec->flags && !rec->clock && !rec->time_left;
	return rec->time_left >= 0 && read_clock(rec->clock, &now) &&
	       absolute == (rec->clock == CLOCK_REALTIME);
}

static bool nanosleep_is_valid(const struct ckpt_rec_restart_block *rec)
{
	if (!(rec->flags & CKPT_RESTART_TIMEOUT) || rec->val || rec->bitset || rec->futex_flags)
		return false;
	switch (rec->type) {
	case TT_NONE:
		return !rec->uaddr;
	case TT_NATIVE:
		return true;
	case TT_COMPAT:
		return IS_ENABLED(CONFIG_COMPAT_32BIT_TIME);
	}
	return false;
}

static bool poll_is_valid(const struct ckpt_rec_restart_block *rec)
{
	return rec->type <= INT_MAX && !rec->val && !rec->bitset && !rec->futex_flags &&
	       (!(rec->flags & CKPT_RESTART_TIMEOUT) || rec->clock == CLOCK_MONOTONIC);
}

static bool futex_is_valid(const struct ckpt_rec_restart_block *rec)
{
	clockid_t clock = CLOCK_MONOTONIC;

	if (rec->futex_flags & FUTEX_CLOCK_REALTIME)
		clock = CLOCK_REALTIME;
	return IS_ENABLED(CONFIG_FUTEX) && !rec->type && rec->bitset &&
	       !(rec->futex_flags & ~FUTEX_OP_FLAGS) &&
	       (!(rec->flags & CKPT_RESTART_TIMEOUT) || rec->clock == clock);
}

static bool block_is_valid(const struct ckpt_rec_restart_block *rec)
{
	if (rec->pad || !fits(rec->uaddr) || !fits(rec->arch_data) ||
	    rec->flags & ~(CKPT_RESTART_TIMEOUT | CKPT_RESTART_ABSOLUTE) ||
	    !deadline_is_valid(rec))
		return false;
	switch (rec->kind) {
	case CKPT_RESTART_NONE:
		return !rec->flags && !rec->uaddr && !rec->type && !rec->val && !rec->bitset &&
		       !rec->futex_flags;
	case CKPT_RESTART_NANOSLEEP:
		return nanosleep_is_valid(rec);
	case CKPT_RESTART_POLL:
		return poll_is_valid(rec);
	case CKPT_RESTART_FUTEX:
		return futex_is_valid(rec);
	}
	return false;
}

int ckpt_restart_block_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_restart_block *rec = (struct ckpt_rec_restart_block *)ctx->rec;
	struct ckpt_member *m = ctx->member;

	if (m->have_restart_block)
		return ckpt_err(ctx, -EINVAL, "a second record for one task");
	if (!block_is_valid(rec))
		return ckpt_err(ctx, -EINVAL,
				"kind %u, flags %#x, clock %d, time %lld, type %u, futex flags %#x",
				rec->kind, rec->flags, rec->clock, rec->time_left, rec->type,
				rec->futex_flags);
	m->restart_block = *rec;
	m->have_restart_block = true;
	return 0;
}

static ktime_t deadline_of(const struct ckpt_rec_restart_block *rec)
{
	ktime_t now;

	if (rec->flags & CKPT_RESTART_ABSOLUTE)
		return rec->time_left;
	read_clock(rec->clock, &now);
	return ktime_add_safe(now, rec->time_left);
}

static void arm_nanosleep(struct restart_block *block, const struct ckpt_rec_restart_block *rec)
{
	unsigned long rmtp = rec->uaddr;

	block->nanosleep.clockid = rec->clock;
	block->nanosleep.type = rec->type;
	block->nanosleep.rmtp = (struct __kernel_timespec __user *)rmtp;
	block->nanosleep.expires = deadline_of(rec);
	block->fn = hrtimer_nanosleep_restart;
}

static void arm_poll(struct restart_block *block, const struct ckpt_rec_restart_block *rec)
{
	struct timespec64 ts = {};

	block->poll.ufds = (struct pollfd __user *)(unsigned long)rec->uaddr;
	block->poll.nfds = rec->type;
	block->poll.has_timeout = !!(rec->flags & CKPT_RESTART_TIMEOUT);
	/* poll(2) knows a time that is over by its zero. */
	if (block->poll.has_timeout && rec->time_left)
		ts = ktime_to_timespec64(deadline_of(rec));
	block->poll.tv_sec = ts.tv_sec;
	block->poll.tv_nsec = ts.tv_nsec;
	block->fn = do_restart_poll;
}

static void arm_futex(struct restart_block *block, const struct ckpt_rec_restart_block *rec)
{
	bool timeout = rec->flags & CKPT_RESTART_TIMEOUT;

	block->futex.uaddr = (u32 __user *)(unsigned long)rec->uaddr;
	block->futex.val = rec->val;
	block->futex.bitset = rec->bitset;
	block->futex.flags = futex_to_flags(rec->futex_flags) | (timeout ? FLAGS_HAS_TIMEOUT : 0);
	block->futex.time = timeout ? deadline_of(rec) : 0;
	block->futex.uaddr2 = NULL;
	if (IS_ENABLED(CONFIG_FUTEX))
		block->fn = futex_wait_restart;
}

/**
 * ckpt_restart_block_arm - let the time that is left begin to run
 * @m: the member, current
 */
void ckpt_restart_block_arm(struct ckpt_member *m)
{
	const struct ckpt_rec_restart_block *rec = &m->restart_block;
	struct restart_block *block = &current->restart_block;

	block->fn = do_no_restart_syscall;
	switch (rec->kind) {
	case CKPT_RESTART_NANOSLEEP:
		arm_nanosleep(block, rec);
		break;
	case CKPT_RESTART_POLL:
		arm_poll(block, rec);
		break;
	case CKPT_RESTART_FUTEX:
		arm_futex(block, rec);
		break;
	}
	block->arch_data = rec->arch_data;
}
