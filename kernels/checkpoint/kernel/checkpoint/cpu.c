// SPDX-License-Identifier: GPL-2.0-only
/*
 * Registers: one CPU record for what the architecture's register sets do not
 * show, then one REGSET record for each set, as in a core dump.
 *
 * A member cannot put registers into itself, since that is not what the set
 * functions are made for: it keeps the records, and the coordinator gives them
 * to the parked member as a debugger would.
 *
 * Locking: a frozen task can be thawed at any time, and no register set may be
 * touched while its task runs.  So they are read in task_call_func(), which
 * holds off the wake-up; there the task is found asleep or not at all.  The
 * functions that set may sleep; they get a member that holds still.
 */
#include <linux/checkpoint.h>
#include <linux/elf.h>
#include <linux/regset.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "internal.h"

/* A register set as it was read from the image. */
struct kept_regset {
	struct list_head list;
	const struct user_regset *regset;
	u8 data[];
};

/* --- checkpoint --- */

struct get_args {
	const struct ckpt_task *t;
	const struct user_regset *regset;
	unsigned int size;
	void *data;
};

static int get_regset(struct task_struct *task, void *arg)
{
	const struct get_args *get = arg;
	const struct user_regset *regset = get->regset;

	if (task != current && !ckpt_stands_still(get->t))
		return -EAGAIN;
	if (regset->active && regset->active(task, regset) <= 0)
		return -ENODATA;
	return regset_get(task, regset, get->size, get->data);
}

static int save_regset(struct ckpt_ctx *ctx, struct ckpt_task *t, const struct user_regset *regset)
{
	struct ckpt_rec_regset rec = {
		.note = regset->core_note_type,
		.size = regset->n * regset->size,
	};
	struct get_args get = { .t = t, .regset = regset, .size = rec.size };
	size_t len = ALIGN(rec.size, 8);
	int ret;

	void *data __free(kvfree) = kvzalloc(len, GFP_KERNEL);

	if (!data)
		return ckpt_nomem(ctx, "register set %#x", rec.note);
	get.data = data;
	if (t->task == current)
		ret = get_regset(current, &get);
	else
		ret = task_call_func(t->task, get_regset, &get);
	if (ret == -EAGAIN)
		return ckpt_err(ctx, -EBUSY, "did not stay frozen");
	/* The machine has no such registers, or the task never used them. */
	if (ret == -ENODEV || ret == -ENODATA)
		return 0;
	if (ret < 0)
		return ckpt_err(ctx, ret, "register set %#x cannot be read", rec.note);
	ckpt_arch_regset_clean(rec.note, data);
	ret = ckpt_write_begin(ctx, CKPT_REC_REGSET, &rec, sizeof(rec), sizeof(rec) + len);
	return ret ?: ckpt_write_data(ctx, data, len);
}

static int save_registers(struct ckpt_ctx *ctx, struct ckpt_task *t)
{
	const struct user_regset_view *view = task_user_regset_view(t->task);
	struct ckpt_rec_cpu rec = {};
	int err;

	if (t->task == current)
		rec.flags = CKPT_CPU_SELF;
	err = ckpt_arch_cpu_save(ctx, t->task, &rec);
	if (!err)
		err = ckpt_write_record(ctx, CKPT_REC_CPU, &rec, sizeof(rec));
	for (unsigned int i = 0; !err && i < view->n; i++) {
		const struct user_regset *regset = &view->regsets[i];

		if (regset->n && ckpt_arch_regset(regset) == CKPT_REGSET_SAVE)
			err = save_regset(ctx, t, regset);
	}
	return err;
}

int ckpt_cpu_save(struct ckpt_ctx *ctx, struct ckpt_task *t)
{
	unsigned long saved[CKPT_ARCH_SELF_WORDS];
	int err;

	if (t->task != current)
		return save_registers(ctx, t);
	ckpt_arch_self_begin(current_pt_regs(), saved);
	err = save_registers(ctx, t);
	ckpt_arch_self_end(current_pt_regs(), saved);
	return err;
}

/* --- restart --- */

int ckpt_cpu_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_cpu *rec = (struct ckpt_rec_cpu *)ctx->rec;
	struct ckpt_member *m = ctx->member;
	int err;

	if (m->have_cpu)
		return ckpt_err(ctx, -EINVAL, "a second record for one task");
	if (rec->flags & ~CKPT_CPU_SELF)
		return ckpt_err(ctx, -EINVAL, "flags %#x", rec->flags);
	err = ckpt_arch_cpu_check(ctx, rec);
	if (err)
		return err;
	m->cpu = *rec;
	m->have_cpu = true;
	return 0;
}

static const struct user_regset *find_regset(u32 note)
{
	const struct user_regset_view *view = task_user_regset_view(current);

	for (unsigned int i = 0; i < view->n; i++) {
		const struct user_regset *regset = &view->regsets[i];

		if (regset->core_note_type == note && regset->n && regset->set &&
		    ckpt_arch_regset(regset) == CKPT_REGSET_SAVE)
			return regset;
	}
	return NULL;
}

static struct kept_regset *find_kept(struct ckpt_member *m, u32 note)
{
	struct kept_regset *kept;

	list_for_each_entry(kept, &m->regsets, list)
		if (kept->regset->core_note_type == note)
			return kept;
	return NULL;
}

int ckpt_regset_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_regset *rec = (struct ckpt_rec_regset *)ctx->rec;
	const struct user_regset *regset = find_regset(rec->note);
	struct ckpt_member *m = ctx->member;
	struct kept_regset *kept;
	int err;

	if (!m->have_cpu)
		return ckpt_err(ctx, -EINVAL, "comes before the CPU record");
	if (!regset)
		return ckpt_err(ctx, -EINVAL, "there is no register set %#x here", rec->note);
	if (find_kept(m, rec->note))
		return ckpt_err(ctx, -EINVAL, "register set %#x for the second time", rec->note);
	if (rec->size != regset->n * regset->size)
		return ckpt_err(ctx, -EINVAL, "register set %#x of %u bytes, here it has %u",
				rec->note, rec->size, regset->n * regset->size);
	if (rec->h.len != sizeof(*rec) + ALIGN(rec->size, 8) ||
	    !ckpt_is_padded(&rec->h, sizeof(*rec) + rec->size))
		return ckpt_err(ctx, -EINVAL, "register set %#x: length %u, or padding",
				rec->note, rec->h.len);
	err = ckpt_arch_regset_check(ctx, rec->note, rec->data, rec->size);
	if (err)
		return err;
	kept = kvmalloc(sizeof(*kept) + rec->size, GFP_KERNEL_ACCOUNT);
	if (!kept)
		return ckpt_nomem(ctx, "register set %#x", rec->note);
	kept->regset = regset;
	memcpy(kept->data, rec->data, rec->size);
	list_add_tail(&kept->list, &m->regsets);
	return 0;
}

int ckpt_cpu_apply(struct ckpt_ctx *ctx, struct ckpt_member *m)
{
	struct kept_regset *kept;

	if (!find_kept(m, NT_PRSTATUS))
		return ckpt_err(ctx, -EINVAL, "the image has no general registers of it");
	ckpt_arch_cpu_apply_begin(m->task, &m->cpu);
	list_for_each_entry(kept, &m->regsets, list) {
		const struct user_regset *regset = kept->regset;
		int err;

		err = regset->set(m->task, regset, 0, regset->n * regset->size, kept->data, NULL);
		if (err)
			return ckpt_err(ctx, -EINVAL, "register set %#x cannot be set (error %d)",
					regset->core_note_type, -err);
	}
	ckpt_arch_cpu_apply_end(m->task, &m->cpu);
	return 0;
}

void ckpt_cpu_free(struct ckpt_member *m)
{
	struct kept_regset *kept, *next;

	list_for_each_entry_safe(kept, next, &m->regsets, list) {
		list_del(&kept->list);
		kvfree(kept);
	}
}
