// SPDX-License-Identifier: GPL-2.0-only
/*
 * Cgroups: who is in which one below that of the tree.
 *
 * The tree's own cgroup is the root of its cgroup namespace, if it has one of
 * its own, and otherwise the lowest one that all of its tasks are in or below.
 * A record for each cgroup between that and a task, parents first, has its
 * name; a task has the number of the one that it is in.  Settings, and cgroups
 * that no task is in or below, are not in the image: like a folder they belong
 * to what the tree is restarted in.
 *
 * On restart user space makes the cgroups, below the one that it has for the
 * tree, and forks the processes into them.  The coordinator finds out that each
 * one came to be where it should.
 *
 * Locking: cgroup_mutex keeps tasks where they are.  Between two holds a task
 * can be moved by anybody who may; ckpt_tree_recheck() looks again.
 */
#include <linux/cgroup.h>
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/nsproxy.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "internal.h"

static struct ckpt_cgroup *add_cgroup(struct ckpt_ctx *ctx, unsigned int parent)
{
	struct ckpt_cgroup *all;

	all = krealloc_array(ctx->cgroups, ctx->nr_cgroups + 1, sizeof(*all), GFP_KERNEL_ACCOUNT);
	if (!all)
		return NULL;
	ctx->cgroups = all;
	all[ctx->nr_cgroups] = (struct ckpt_cgroup) { .parent = parent };
	return &all[ctx->nr_cgroups++];
}

void ckpt_cgroups_free(struct ckpt_ctx *ctx)
{
	for (unsigned int i = 0; i < ctx->nr_cgroups; i++) {
		kfree(ctx->cgroups[i].name);
		if (ctx->cgroups[i].cgrp)
			cgroup_put(ctx->cgroups[i].cgrp);
	}
	kfree(ctx->cgroups);
	ctx->cgroups = NULL;
	ctx->nr_cgroups = 0;
	if (ctx->cgroup)
		cgroup_put(ctx->cgroup);
	ctx->cgroup = NULL;
}

/*
 * The lowest cgroup that all tasks are in or below.  Who has exited is where it
 * was then, and who checkpoints itself cannot be in one that is frozen: they do
 * not count.
 */
static struct cgroup *common_cgroup(struct ckpt_ctx *ctx)
{
	struct cgroup *common = NULL;

	lockdep_assert_held(&cgroup_mutex);
	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		const struct ckpt_task *t = &ctx->tasks[i];
		struct cgroup *its;

		if (!t->task || t->task == current || t->has_exited)
			continue;
		its = task_dfl_cgroup(t->task);
		while (common && !cgroup_is_descendant(its, common))
			common = cgroup_parent(common);
		if (!common)
			common = its;
	}
	return common ?: task_dfl_cgroup(current);
}

/* --- checkpoint --- */

/* The tree's cgroup namespace with a counted reference, if it is below that of the caller. */
static struct cgroup_namespace *own_namespace(struct ckpt_ctx *ctx)
{
	struct cgroup_namespace *mine = current->nsproxy->cgroup_ns, *its = NULL;

	guard(task_lock)(ctx->root);
	if (ctx->root->nsproxy)
		its = ctx->root->nsproxy->cgroup_ns;
	if (!its || its == mine || !cgroup_is_descendant(its->root_cset->dfl_cgrp,
							 mine->root_cset->dfl_cgrp))
		return NULL;
	get_cgroup_ns(its);
	return its;
}

/* Find the tree's own cgroup. */
static int find_top(struct ckpt_ctx *ctx)
{
	struct cgroup_namespace *ns = own_namespace(ctx);
	int err = 0;

	cgroup_lock();
	ctx->cgroup = ns ? ns->root_cset->dfl_cgrp : common_cgroup(ctx);
	cgroup_get(ctx->cgroup);
	cgroup_unlock();
	if (!ns)
		return 0;
	ctx->own_cgroup_ns = true;
	if (ns->user_ns != ctx->user_ns)
		err = ckpt_err(ctx, -EPERM,
			       "its cgroup namespace belongs to another user namespace");
	put_cgroup_ns(ns);
	return err;
}

/* The number of a cgroup that was noted, 0 for others. */
static unsigned int number_of(struct ckpt_ctx *ctx, const struct cgroup *cgrp)
{
	for (unsigned int i = 0; i < ctx->nr_cgroups; i++)
		if (ctx->cgroups[i].cgrp == cgrp)
			return i + 1;
	return 0;
}

static const char *in_the_way(struct ckpt_ctx *ctx, struct cgroup *cgrp)
{
	bool frozen = test_bit(CGRP_FREEZE, &ctx->cgroup->flags);

	if (!cgroup_is_descendant(cgrp, ctx->cgroup))
		return "is not in the cgroup of the tree, nor below it";
	if (cgrp == ctx->cgroup)
		return NULL;
	if (cgrp->dom_cgrp != cgrp)
		return "is in a threaded cgroup, which is not supported";
	/* It would not be thawed with the tree's. */
	for (; frozen && cgrp != ctx->cgroup; cgrp = cgroup_parent(cgrp))
		if (cgrp->freezer.freeze)
			return "is in a cgroup that is frozen by itself, too";
	return NULL;
}

/* Note a cgroup and those between it and the tree's: its number, ENOMEM, or E2BIG. */
static int note_cgroups(struct ckpt_ctx *ctx, struct cgroup *its)
{
	int nr = number_of(ctx, its);

	lockdep_assert_held(&cgroup_mutex);
	if (nr || its == ctx->cgroup)
		return nr;
	for (int level = ctx->cgroup->level + 1; level <= its->level; level++) {
		struct cgroup *cgrp = cgroup_ancestor(its, level);
		unsigned int above = nr;
		struct ckpt_cgroup *new;

		nr = number_of(ctx, cgrp);
		if (nr)
			continue;
		if (ctx->nr_cgroups == CKPT_CGROUPS_MAX)
			return -E2BIG;
		new = add_cgroup(ctx, above);
		if (!new)
			return -ENOMEM;
		cgroup_get(cgrp);
		new->cgrp = cgrp;
		nr = ctx->nr_cgroups;
	}
	return nr;
}

/* The number of a task's cgroup, or EBUSY where a restart could not have it there. */
static int number_of_task(struct ckpt_ctx *ctx, const struct ckpt_task *t)
{
	struct cgroup *its;
	const char *what;
	int nr = 0;

	/* The log may be any file, one that wants this lock among them. */
	cgroup_lock();
	its = task_dfl_cgroup(t->task);
	/* It may have been removed if all in it had exited. */
	while (!(its->self.flags & CSS_ONLINE) && cgroup_parent(its))
		its = cgroup_parent(its);
	what = in_the_way(ctx, its);
	if (!what)
		nr = note_cgroups(ctx, its);
	cgroup_unlock();
	/* It stays where it was, even if all others were moved away. */
	if (what && t->has_exited)
		return 0;
	if (what)
		return ckpt_err(ctx, -EBUSY, "%s", what);
	if (nr == -ENOMEM)
		return ckpt_nomem(ctx, "a cgroup");
	if (nr < 0)
		return ckpt_err(ctx, nr, "is in one of more than %u cgroups", CKPT_CGROUPS_MAX);
	return nr;
}

/* Whose cgroup is that of a process: its leader's, or if that has exited the next thread's. */
static const struct ckpt_task *living(struct ckpt_ctx *ctx, const struct ckpt_task *leader)
{
	const struct ckpt_task *end = ctx->tasks + ctx->nr_tasks;

	for (const struct ckpt_task *t = leader; t < end && t->tgid == leader->tgid; t++)
		if (!t->has_exited)
			return t;
	return leader;
}

/**
 * ckpt_cgroups_collect - find out who is in which cgroup
 * @ctx: the context, its tasks are known
 *
 * Return: 0, or a negative errno where a restart could not have it so again.
 */
int ckpt_cgroups_collect(struct ckpt_ctx *ctx)
{
	int err = find_top(ctx);

	for (unsigned int i = 0; !err && i < ctx->nr_tasks; i++) {
		struct ckpt_task *t = &ctx->tasks[i];
		const struct ckpt_task *leader = ckpt_tree_leader(ctx, t->pid);
		const struct ckpt_task *from = t == leader ? living(ctx, t) : t;
		int nr;

		ctx->current_pid = t->pid;
		t->cgroup = leader->cgroup;
		if (from->task == current)
			continue;
		nr = number_of_task(ctx, from);
		if (nr < 0)
			err = nr;
		else if (t == leader)
			t->cgroup = nr;
		else if (t->cgroup != nr)
			err = ckpt_err(ctx, -EBUSY, "is in another cgroup than its process");
	}
	ctx->current_pid = 0;
	return err;
}

/* The cgroup with this number. */
static struct cgroup *cgroup_at(struct ckpt_ctx *ctx, unsigned int number)
{
	return number ? ctx->cgroups[number - 1].cgrp : ctx->cgroup;
}

/* Is a task still where it was noted? */
bool ckpt_cgroup_is_the_same(struct ckpt_ctx *ctx, const struct ckpt_task *t)
{
	guard(rcu)();
	return t->task == current || t->has_exited ||
	       task_dfl_cgroup(t->task) == cgroup_at(ctx, t->cgroup);
}

int ckpt_cgroups_save(struct ckpt_ctx *ctx)
{
	int err = 0;

	for (unsigned int i = 0; !err && i < ctx->nr_cgroups; i++) {
		struct ckpt_rec_cgroup rec = { .parent = ctx->cgroups[i].parent };

		BUILD_BUG_ON(CKPT_CGROUP_NAME_LEN <= NAME_MAX);
		cgroup_name(ctx->cgroups[i].cgrp, rec.name, sizeof(rec.name));
		err = ckpt_write_record(ctx, CKPT_REC_CGROUP, &rec, sizeof(rec));
	}
	return err;
}

/* --- restart --- */

/* What mkdir(2) makes in a cgroup, and no other folder than that */
static bool is_name(const struct ckpt_rec_cgroup *rec)
{
	return ckpt_is_text(rec->name, sizeof(rec->name)) && rec->name[0] &&
	       !strpbrk(rec->name, "/\n") && strcmp(rec->name, ".") && strcmp(rec->name, "..");
}

static int read_cgroup(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_cgroup *rec;
	struct ckpt_cgroup *new;
	int err;

	err = ckpt_read_record(ctx);
	if (err)
		return err;
	rec = (struct ckpt_rec_cgroup *)ctx->rec;
	if (rec->h.type != CKPT_REC_CGROUP)
		return ckpt_err(ctx, -EINVAL, "a CGROUP record is expected here");
	if (rec->pad || !is_name(rec))
		return ckpt_err(ctx, -EINVAL, "padding, or a name that no cgroup has");
	if (rec->parent > ctx->nr_cgroups)
		return ckpt_err(ctx, -EINVAL, "cgroup %u is not before it", rec->parent);
	for (unsigned int i = 0; i < ctx->nr_cgroups; i++)
		if (ctx->cgroups[i].parent == rec->parent &&
		    !strcmp(ctx->cgroups[i].name, rec->name))
			return ckpt_err(ctx, -EINVAL, "cgroup %s is there twice", rec->name);
	if (fatal_signal_pending(current))
		return ckpt_err(ctx, -EINTR, "a signal came");
	new = add_cgroup(ctx, rec->parent);
	if (!new)
		return ckpt_nomem(ctx, "a cgroup");
	new->name = kstrdup(rec->name, GFP_KERNEL_ACCOUNT);
	return new->name ? 0 : ckpt_nomem(ctx, "the name of a cgroup");
}

/* Each is that of a task, or above one that is. */
static int check_use(struct ckpt_ctx *ctx)
{
	unsigned int nr = ctx->nr_cgroups;
	bool *used __free(kvfree) = kvcalloc(nr ?: 1, sizeof(*used), GFP_KERNEL_ACCOUNT);

	if (!used)
		return ckpt_nomem(ctx, "%u cgroups", nr);
	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		const struct ckpt_task *t = &ctx->tasks[i];

		if (t->cgroup > nr)
			return ckpt_err(ctx, -EINVAL, "pid %d: there is no cgroup %u", t->pid,
					t->cgroup);
		for (unsigned int c = t->cgroup; c && !used[c - 1]; c = ctx->cgroups[c - 1].parent)
			used[c - 1] = true;
	}
	for (unsigned int i = 0; i < nr; i++)
		if (!used[i])
			return ckpt_err(ctx, -EINVAL, "no task is in cgroup %s, or below",
					ctx->cgroups[i].name);
	return 0;
}

/* Read the records behind TREE; the cgroups are found later. */
int ckpt_cgroups_read(struct ckpt_ctx *ctx, unsigned int nr)
{
	int err = 0;

	if (nr > CKPT_CGROUPS_MAX)
		return ckpt_err(ctx, -EINVAL, "%u cgroups", nr);
	for (unsigned int i = 0; !err && i < nr; i++) {
		err = read_cgroup(ctx);
		cond_resched();
	}
	return err ?: check_use(ctx);
}

/* What is as far above @cgrp as the tree's is above this number; NULL where a name differs. */
static struct cgroup *climb(struct ckpt_ctx *ctx, struct cgroup *cgrp, unsigned int number)
{
	char name[CKPT_CGROUP_NAME_LEN];

	for (; number; number = ctx->cgroups[number - 1].parent) {
		cgroup_name(cgrp, name, sizeof(name));
		cgrp = cgroup_parent(cgrp);
		if (!cgrp || strcmp(name, ctx->cgroups[number - 1].name))
			return NULL;
	}
	return cgrp;
}

/**
 * ckpt_cgroups_top - the cgroup that the members are in, each where the image has it
 * @ctx: the context; all processes have come
 *
 * Return: the cgroup, no reference taken; NULL where ctx->current_pid is elsewhere.
 */
struct cgroup *ckpt_cgroups_top(struct ckpt_ctx *ctx)
{
	struct cgroup *top = NULL;

	lockdep_assert_held(&cgroup_mutex);
	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		const struct ckpt_task *t = &ctx->tasks[i];
		struct cgroup *its;

		/* A thread that is not there yet will be where its process is. */
		if (!t->task)
			continue;
		its = climb(ctx, task_dfl_cgroup(t->task), t->cgroup);
		top = top ?: its;
		ctx->current_pid = t->pid;
		if (!its || its != top)
			return NULL;
	}
	ctx->current_pid = 0;
	/* One further above is nobody's that an image could name. */
	return ctx->own_cgroup_ns || top == common_cgroup(ctx) ? top : NULL;
}

/* All processes have come: are they in the cgroups that the image says? */
int ckpt_cgroups_check(struct ckpt_ctx *ctx)
{
	struct cgroup_namespace *ns = ctx->namespaces->cgroup_ns;
	struct cgroup *top;

	if (ctx->own_cgroup_ns &&
	    (ns == current->nsproxy->cgroup_ns || ns->user_ns != ctx->user_ns))
		return ckpt_err(ctx, -EINVAL,
				"the tree had a cgroup namespace of its own, and its root has none");
	/* All that are in one place are where the caller has put them. */
	if (!ctx->nr_cgroups && !ctx->own_cgroup_ns)
		return 0;
	cgroup_lock();
	top = ckpt_cgroups_top(ctx);
	cgroup_unlock();
	if (!top)
		return ckpt_err(ctx, -ESRCH, "the task that came is in another cgroup");
	if (ctx->own_cgroup_ns && ns->root_cset->dfl_cgrp != top)
		return ckpt_err(ctx, -ESRCH,
				"the tree's cgroup is not the root of its cgroup namespace");
	return 0;
}
