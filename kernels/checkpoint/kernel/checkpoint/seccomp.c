// SPDX-License-Identifier: GPL-2.0-only
/*
 * Filters on system calls, and strict mode.
 *
 * The filters of a task are a chain, of which tasks share what they inherited.
 * Each is an object that names the one before it, and is written as the classic
 * program it was made from.  A restored task gets its chain when all tasks are
 * there, while it waits in restart(2), which no filter sees.
 */
#include <linux/capability.h>
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/slab.h>

#include "internal.h"

#ifdef CONFIG_SECCOMP_FILTER

/* Of all its filters together, as seccomp(2) has it */
#define INSNS_PER_TASK	((1 << 18) / sizeof(struct sock_filter))

void ckpt_seccomp_grab(void *obj)
{
	seccomp_filter_hold(obj);
}

void ckpt_seccomp_drop(void *obj)
{
	seccomp_filter_unhold(obj);
}

static int save_filter(struct ckpt_ctx *ctx, struct seccomp_filter *filter, int before)
{
	struct ckpt_rec_seccomp *rec __free(kvfree) = NULL;
	const struct sock_fprog_kern *program;
	bool first, log;
	int objref, err;

	objref = ckpt_obj_ref(ctx, filter, CKPT_OBJ_SECCOMP, &first);
	if (objref < 0 || !first)
		return objref;
	program = seccomp_filter_program(filter, &log);
	if (!program)
		return ckpt_err(ctx, -EBUSY,
				"has a seccomp filter that asks a listener, or is no classic program");
	rec = kvzalloc(struct_size(rec, insns, program->len), GFP_KERNEL);
	if (!rec)
		return ckpt_nomem(ctx, "a record");
	rec->objref = objref;
	rec->before = before;
	rec->flags = log ? CKPT_SECCOMP_LOG : 0;
	rec->nr_insns = program->len;
	for (unsigned int i = 0; i < program->len; i++) {
		const struct sock_filter *insn = &program->filter[i];

		rec->insns[i] = (struct ckpt_insn) { insn->code, insn->jt, insn->jf, insn->k };
	}
	err = ckpt_write_record(ctx, CKPT_REC_SECCOMP, rec,
				struct_size(rec, insns, program->len));
	return err ?: objref;
}

/* The eldest first: each names the one before it. */
static int save_chain(struct ckpt_ctx *ctx, struct seccomp_filter *last)
{
	struct seccomp_filter **chain __free(kvfree) = NULL;
	struct seccomp_filter *filter;
	unsigned int nr = 0;
	int objref = 0;

	for (filter = last; filter; filter = seccomp_filter_before(filter))
		nr++;
	chain = kvcalloc(nr, sizeof(*chain), GFP_KERNEL);
	if (!chain)
		return ckpt_nomem(ctx, "%u filters", nr);
	filter = last;
	for (unsigned int i = nr; i; filter = seccomp_filter_before(filter))
		chain[--i] = filter;
	for (unsigned int i = 0; i < nr && objref >= 0; i++)
		objref = save_filter(ctx, chain[i], objref);
	return objref;
}

int ckpt_seccomp_save(struct ckpt_ctx *ctx, struct task_struct *task)
{
	struct seccomp_filter *last;
	int objref, mode = seccomp_mode(&task->seccomp);

	if (mode == SECCOMP_MODE_DISABLED || mode == SECCOMP_MODE_STRICT)
		return 0;
	last = seccomp_filter_of(task);
	if (!last)
		return ckpt_err(ctx, -EBUSY, "is killed by seccomp, or exits");
	objref = save_chain(ctx, last);
	seccomp_filter_unhold(last);
	return objref;
}

/* --- restart --- */

int ckpt_seccomp_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_seccomp *rec = (struct ckpt_rec_seccomp *)ctx->rec;
	struct sock_filter *insns __free(kvfree) = NULL;
	struct seccomp_filter *before = NULL, *filter;
	struct sock_fprog_kern program;
	int err;

	ctx->current_objref = rec->objref;
	if (rec->flags & ~CKPT_SECCOMP_LOG || !rec->nr_insns || rec->nr_insns > BPF_MAXINSNS ||
	    struct_size(rec, insns, rec->nr_insns) != rec->h.len)
		return ckpt_err(ctx, -EINVAL, "filter of %u instructions, flags %#x",
				rec->nr_insns, rec->flags);
	ctx->nr_insns += rec->nr_insns;
	if (ctx->nr_insns > (u64)ctx->nr_tasks * INSNS_PER_TASK)
		return ckpt_err(ctx, -EINVAL, "more filters than %u tasks can have", ctx->nr_tasks);
	if (rec->before)
		before = ckpt_obj_get(ctx, rec->before, CKPT_OBJ_SECCOMP);
	if (IS_ERR(before))
		return PTR_ERR(before);
	insns = kvmalloc_array(rec->nr_insns, sizeof(*insns), GFP_KERNEL);
	if (!insns)
		return ckpt_nomem(ctx, "a filter");
	for (unsigned int i = 0; i < rec->nr_insns; i++) {
		const struct ckpt_insn *insn = &rec->insns[i];

		insns[i] = (struct sock_filter) { insn->code, insn->jt, insn->jf, insn->k };
	}
	program = (struct sock_fprog_kern) { .len = rec->nr_insns, .filter = insns };
	filter = seccomp_filter_restore(before, &program, rec->flags & CKPT_SECCOMP_LOG);
	if (IS_ERR(filter))
		return ckpt_err(ctx, PTR_ERR(filter), "filter of %u instructions", rec->nr_insns);
	err = ckpt_obj_add(ctx, rec->objref, filter, CKPT_OBJ_SECCOMP);
	seccomp_filter_unhold(filter);
	return err;
}

int ckpt_seccomp_install(struct ckpt_ctx *ctx, int objref)
{
	struct seccomp_filter *filter;

	if (!objref)
		return 0;
	filter = ckpt_obj_get(ctx, objref, CKPT_OBJ_SECCOMP);
	if (IS_ERR(filter))
		return PTR_ERR(filter);
	seccomp_filter_hold(filter);
	ctx->member->seccomp = filter;
	return 0;
}

void ckpt_seccomp_free(struct ckpt_member *m)
{
	if (m->seccomp)
		seccomp_filter_unhold(m->seccomp);
	m->seccomp = NULL;
}

#else /* !CONFIG_SECCOMP_FILTER */

void ckpt_seccomp_grab(void *obj)
{
}

void ckpt_seccomp_drop(void *obj)
{
}

int ckpt_seccomp_save(struct ckpt_ctx *ctx, struct task_struct *task)
{
	return 0;
}

int ckpt_seccomp_restore(struct ckpt_ctx *ctx)
{
	return ckpt_err(ctx, -EINVAL, "this kernel has no filters on system calls");
}

int ckpt_seccomp_install(struct ckpt_ctx *ctx, int objref)
{
	return objref ? ckpt_err(ctx, -EINVAL, "this kernel has no filters on system calls") : 0;
}

void ckpt_seccomp_free(struct ckpt_member *m)
{
}

#endif

/*
 * What seccomp(2) asks for; the task has its credentials not yet, and no_new_privs of its own.
 * A filter that is there already is the restarting user's, and stays.
 */
int ckpt_seccomp_check(struct ckpt_ctx *ctx)
{
	const struct ckpt_member *m = ctx->member;
	bool strict = m->attributes.flags & CKPT_ATTR_SECCOMP_STRICT;

	if (strict && (m->seccomp || !IS_ENABLED(CONFIG_SECCOMP)))
		return ckpt_err(ctx, -EINVAL, "strict mode and a filter, or no such mode");
	if ((strict || m->seccomp) && seccomp_mode(&current->seccomp) != SECCOMP_MODE_DISABLED)
		return ckpt_err(ctx, -EPERM, "the restarting task is under seccomp itself");
	if (m->seccomp && !(m->attributes.flags & CKPT_ATTR_NO_NEW_PRIVS) &&
	    !ns_capable(current_user_ns(), CAP_SYS_ADMIN))
		return ckpt_err(ctx, -EPERM, "the caller may not filter the system calls of a task that can gain privileges");
	return 0;
}

/*
 * Coordinator: from its next system call on the kernel looks at what the
 * member does.  All have theirs before the first goes on: a thread may give
 * its filters to the others.
 */
void ckpt_seccomp_apply(struct ckpt_member *m)
{
	if (IS_ENABLED(CONFIG_SECCOMP_FILTER) && m->seccomp)
		seccomp_filter_apply(m->task, m->seccomp);
	else if (IS_ENABLED(CONFIG_SECCOMP) && m->attributes.flags & CKPT_ATTR_SECCOMP_STRICT)
		seccomp_strict_apply(m->task);
	ckpt_seccomp_free(m);
}
