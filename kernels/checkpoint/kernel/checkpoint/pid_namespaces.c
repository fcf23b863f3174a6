// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pid namespaces below that of the tree's root.
 *
 * The tree and everything else in an image calls tasks by their numbers in the
 * namespace of the root.  A record for each namespace below it, parents first,
 * says which of these numbers have others there.  Its init comes first; who is
 * in it descends from the init, and nobody has come in from outside.
 *
 * On restart user space forks the processes with all of their numbers, and so
 * makes the namespaces.  The coordinator finds them by their inits, and that
 * each process has the numbers it should.  With RESTART_NEW_PIDS this does not
 * hold for the namespace of the root: what the image calls a task there is
 * only its name in the image.
 */
#include <linux/capability.h>
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/nsproxy.h>
#include <linux/pid_namespace.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>

#include "internal.h"

void ckpt_pid_ns_grab(void *obj)
{
	get_pid_ns(obj);
}

void ckpt_pid_ns_drop(void *obj)
{
	put_pid_ns(obj);
}

/* 0 is that of the root, others are one more than their place in ctx->pid_nss. */
static struct pid_namespace *namespace_at(struct ckpt_ctx *ctx, unsigned int level)
{
	return level ? ctx->pid_nss[level - 1].ns : ctx->pid_ns;
}

static struct ckpt_pid_ns *add_namespace(struct ckpt_ctx *ctx, unsigned int parent)
{
	struct ckpt_pid_ns *all;

	all = krealloc_array(ctx->pid_nss, ctx->nr_pid_nss + 1, sizeof(*all), GFP_KERNEL_ACCOUNT);
	if (!all)
		return NULL;
	ctx->pid_nss = all;
	all[ctx->nr_pid_nss] = (struct ckpt_pid_ns) { .parent = parent };
	return &all[ctx->nr_pid_nss++];
}

void ckpt_pid_namespaces_free(struct ckpt_ctx *ctx)
{
	for (unsigned int i = 0; i < ctx->nr_pid_nss; i++) {
		kvfree(ctx->pid_nss[i].ids);
		if (ctx->pid_nss[i].ns)
			put_pid_ns(ctx->pid_nss[i].ns);
	}
	kfree(ctx->pid_nss);
	ctx->pid_nss = NULL;
	ctx->nr_pid_nss = 0;
}

/* --- checkpoint --- */

/* A namespace that begins with its init, which is in the tree. */
static int note_namespace(struct ckpt_ctx *ctx, struct ckpt_task *t, struct pid_namespace *ns,
			  unsigned int parent)
{
	struct ckpt_pid_ns *new;

	if (ns->user_ns != ctx->user_ns)
		return ckpt_err(ctx, -EPERM,
				"is in a pid namespace that belongs to another user namespace");
	new = add_namespace(ctx, parent);
	if (!new)
		return ckpt_nomem(ctx, "a pid namespace");
	new->ns = get_pid_ns(ns);
	t->pid_ns = ctx->nr_pid_nss;
	return 0;
}

/**
 * ckpt_pid_namespace_note - find out in which pid namespace a task is
 * @ctx: the context
 * @t: the task, those before it in the tree were noted
 *
 * Return: 0, or a negative errno where a restart could not make it again.
 */
int ckpt_pid_namespace_note(struct ckpt_ctx *ctx, struct ckpt_task *t)
{
	struct pid_namespace *ns = ckpt_task_pid_ns(t->task);
	struct ckpt_task *above;
	int err = 0;

	if (!ns)
		return ckpt_err(ctx, -EBUSY, "was reaped meanwhile");
	above = ckpt_tree_task(ctx, t->pid == t->tgid ? t->ppid : t->tgid);
	t->pid_ns = above ? above->pid_ns : 0;
	if (ns == namespace_at(ctx, t->pid_ns))
		;
	else if (t->pid == t->tgid && ns->parent == namespace_at(ctx, t->pid_ns) &&
		 task_pid_nr_ns(t->task, ns) == 1)
		err = note_namespace(ctx, t, ns, t->pid_ns);
	else
		err = ckpt_err(ctx, -EBUSY,
			       "has entered its pid namespace from outside, which is not supported");
	put_pid_ns(ns);
	return err;
}

/* That of the children which @task is to have: 0 its own, -1 one that is not in the tree. */
static int for_children(struct ckpt_ctx *ctx, const struct ckpt_task *t)
{
	struct pid_namespace *ns = NULL;

	scoped_guard(task_lock, t->task)
		if (t->task->nsproxy)
			ns = t->task->nsproxy->pid_ns_for_children;
	if (!ns || ns == namespace_at(ctx, t->pid_ns))
		return 0;
	for (unsigned int i = 0; i < ctx->nr_pid_nss; i++)
		if (ctx->pid_nss[i].ns == ns)
			return i + 1;
	return -1;
}

/* All tasks were noted: do their children come into namespaces of the tree? */
int ckpt_pid_namespaces_check(struct ckpt_ctx *ctx)
{
	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		const struct ckpt_task *t = &ctx->tasks[i];
		int level = t->has_exited ? 0 : for_children(ctx, t);

		ctx->current_pid = t->pid;
		if (level < 0)
			return ckpt_err(ctx, -EPERM,
					"is in (for its children) another pid namespace than the root of the tree");
		/* Whose children are elsewhere cannot make threads. */
		if (level && !thread_group_empty(t->task))
			return ckpt_err(ctx, -EBUSY,
					"has threads, and children in another pid namespace");
	}
	ctx->current_pid = 0;
	return 0;
}

/* The number here of what the root's namespace calls @nr, 0 if it has none. */
static int number_in(struct ckpt_ctx *ctx, struct pid_namespace *ns, int nr)
{
	guard(rcu)();
	return pid_nr_ns(find_pid_ns(nr, ctx->pid_ns), ns);
}

static void add_id(struct ckpt_ctx *ctx, struct pid_namespace *ns, struct ckpt_rec_pid_ns *rec,
		   int nr)
{
	int inner = nr ? number_in(ctx, ns, nr) : 0;

	if (inner)
		rec->ids[rec->nr_ids++] = (struct ckpt_pid_id) { .pid = nr, .inner = inner };
}

/* Those of the tasks, and of groups and sessions whose leader is gone. */
static void fill_numbers(struct ckpt_ctx *ctx, struct pid_namespace *ns,
			 struct ckpt_rec_pid_ns *rec)
{
	for (unsigned int i = 0; i < ctx->nr_tasks; i++)
		add_id(ctx, ns, rec, ctx->tasks[i].pid);
	for (unsigned int i = 0; i < ctx->nr_tasks && !fatal_signal_pending(current); i++) {
		const struct ckpt_task *t = &ctx->tasks[i];
		bool group = !ckpt_tree_task(ctx, t->pgid);
		bool session = t->sid != t->pgid && !ckpt_tree_task(ctx, t->sid);

		for (unsigned int j = 0; j < i; j++) {
			group &= ctx->tasks[j].pgid != t->pgid && ctx->tasks[j].sid != t->pgid;
			session &= ctx->tasks[j].pgid != t->sid && ctx->tasks[j].sid != t->sid;
		}
		if (group)
			add_id(ctx, ns, rec, t->pgid);
		if (session)
			add_id(ctx, ns, rec, t->sid);
		cond_resched();
	}
}

/* Its own vm.memfd_noexec; what holds in it is the strictest of this and of those around it. */
u32 ckpt_pid_namespace_noexec(struct pid_namespace *ns)
{
#if defined(CONFIG_SYSCTL) && defined(CONFIG_MEMFD_CREATE)
	return READ_ONCE(ns->memfd_noexec_scope);
#else
	return 0;
#endif
}

static int save_namespace(struct ckpt_ctx *ctx, struct ckpt_pid_ns *p)
{
	size_t room = struct_size_t(struct ckpt_rec_pid_ns, ids, 3 * (size_t)ctx->nr_tasks);
	struct ckpt_rec_pid_ns *rec __free(kvfree) = kvzalloc(room, GFP_KERNEL_ACCOUNT);
	bool first;

	if (!rec)
		return ckpt_nomem(ctx, "%u numbers", 3 * ctx->nr_tasks);
	p->objref = ckpt_obj_ref(ctx, p->ns, CKPT_OBJ_PID_NS, &first);
	if (p->objref < 0)
		return p->objref;
	rec->objref = p->objref;
	rec->parent = p->parent ? ctx->pid_nss[p->parent - 1].objref : 0;
	rec->memfd_noexec = ckpt_pid_namespace_noexec(p->ns);
	/* The init is the first of those that are in it. */
	fill_numbers(ctx, p->ns, rec);
	if (fatal_signal_pending(current))
		return ckpt_err(ctx, -EINTR, "a signal came");
	if (!rec->nr_ids || rec->ids[0].inner != 1)
		return ckpt_err(ctx, -EBUSY, "the init of a pid namespace is gone");
	return ckpt_write_record(ctx, CKPT_REC_PID_NS, rec, struct_size(rec, ids, rec->nr_ids));
}

int ckpt_pid_namespaces_save(struct ckpt_ctx *ctx)
{
	int err = 0;

	for (unsigned int i = 0; !err && i < ctx->nr_pid_nss; i++)
		err = save_namespace(ctx, &ctx->pid_nss[i]);
	return err;
}

/* The objref of the namespace that the task's children come into, 0 for its own. */
int ckpt_pid_namespace_of_children(struct ckpt_ctx *ctx, const struct ckpt_task *t)
{
	int level = for_children(ctx, t);

	if (level < 0)
		return ckpt_err(ctx, -EAGAIN, "has changed its pid namespace");
	return level ? ctx->pid_nss[level - 1].objref : 0;
}

/* --- restart --- */

/* Number of @nr in a namespace, 0 if it has none. */
static int inner_number(const struct ckpt_pid_ns *p, int nr)
{
	for (unsigned int i = 0; i < p->nr_ids; i++)
		if (p->ids[i].pid == nr)
			return p->ids[i].inner;
	return 0;
}

/* The innermost of the first @nr_nss namespaces that has the number @nr. */
static unsigned int innermost(struct ckpt_ctx *ctx, int nr, unsigned int nr_nss)
{
	for (unsigned int i = nr_nss; i; i--)
		if (inner_number(&ctx->pid_nss[i - 1], nr))
			return i;
	return 0;
}

static unsigned int depth_of(struct ckpt_ctx *ctx, unsigned int level)
{
	unsigned int depth = 0;

	for (; level; level = ctx->pid_nss[level - 1].parent)
		depth++;
	return depth;
}

static int check_ids(struct ckpt_ctx *ctx, const struct ckpt_rec_pid_ns *rec, unsigned int parent)
{
	for (u32 i = 0; i < rec->nr_ids; i++) {
		const struct ckpt_pid_id *id = &rec->ids[i];

		if (id->pid <= 0 || id->pid > PID_MAX_LIMIT || id->inner <= 0 ||
		    id->inner > PID_MAX_LIMIT || (i == 0) != (id->inner == 1))
			return ckpt_err(ctx, -EINVAL, "number %u: pid %d is %d", i, id->pid,
					id->inner);
		for (u32 j = 0; j < i; j++)
			if (rec->ids[j].pid == id->pid || rec->ids[j].inner == id->inner)
				return ckpt_err(ctx, -EINVAL, "pid %d or %d is there twice",
						id->pid, id->inner);
		if (innermost(ctx, id->pid, ctx->nr_pid_nss) != parent)
			return ckpt_err(ctx, -EINVAL, "pid %d is in another namespace", id->pid);
		if (fatal_signal_pending(current))
			return ckpt_err(ctx, -EINTR, "a signal came");
		cond_resched();
	}
	return 0;
}

static int read_namespace(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_pid_ns *rec;
	struct ckpt_pid_ns *new;
	unsigned int parent = 0;
	int err;

	err = ckpt_read_record(ctx);
	if (err)
		return err;
	rec = (struct ckpt_rec_pid_ns *)ctx->rec;
	if (rec->h.type != CKPT_REC_PID_NS)
		return ckpt_err(ctx, -EINVAL, "a PID_NS record is expected here");
	ctx->current_objref = rec->objref;
	if (!rec->nr_ids || rec->nr_ids > 3 * (u64)ctx->nr_tasks ||
	    struct_size(rec, ids, rec->nr_ids) != rec->h.len)
		return ckpt_err(ctx, -EINVAL, "%u numbers in %u bytes", rec->nr_ids, rec->h.len);
	if (rec->memfd_noexec > CKPT_MEMFD_NOEXEC_MAX)
		return ckpt_err(ctx, -EINVAL, "vm.memfd_noexec is %u", rec->memfd_noexec);
	for (unsigned int i = 0; i < ctx->nr_pid_nss; i++) {
		if (ctx->pid_nss[i].objref == rec->objref)
			return ckpt_err(ctx, -EINVAL, "objref %d is taken", rec->objref);
		if (ctx->pid_nss[i].objref == rec->parent)
			parent = i + 1;
	}
	if (rec->objref <= 0 || (rec->parent && !parent))
		return ckpt_err(ctx, -EINVAL, "number %d, and the namespace above it %d",
				rec->objref, rec->parent);
	if (ctx->pid_ns->level + depth_of(ctx, parent) >= MAX_PID_NS_LEVEL)
		return ckpt_err(ctx, -EINVAL, "pid namespaces are too deep here");
	err = check_ids(ctx, rec, parent);
	if (err)
		return err;
	new = add_namespace(ctx, parent);
	if (!new)
		return ckpt_nomem(ctx, "a pid namespace");
	new->objref = rec->objref;
	new->memfd_noexec = rec->memfd_noexec;
	new->ids = kvmemdup(rec->ids, rec->nr_ids * sizeof(*rec->ids), GFP_KERNEL_ACCOUNT);
	if (!new->ids)
		return ckpt_nomem(ctx, "%u numbers", rec->nr_ids);
	new->nr_ids = rec->nr_ids;
	return 0;
}

static bool is_init(struct ckpt_ctx *ctx, const struct ckpt_task *t)
{
	return t->pid_ns && ctx->pid_nss[t->pid_ns - 1].ids[0].pid == t->pid;
}

/* The init is a process whose parent is in the namespace above, others are where their parent is. */
static int check_places(struct ckpt_ctx *ctx)
{
	unsigned int inits = 0;

	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		struct ckpt_task *t = &ctx->tasks[i], *above;
		unsigned int expected;

		t->pid_ns = innermost(ctx, t->pid, ctx->nr_pid_nss);
		above = ckpt_tree_task(ctx, t->pid == t->tgid ? t->ppid : t->tgid);
		expected = above ? above->pid_ns : 0;
		if (i && is_init(ctx, t) && t->pid == t->tgid) {
			expected = ctx->pid_nss[t->pid_ns - 1].parent == expected ? t->pid_ns : -1;
			inits++;
		}
		if (t->pid_ns != expected)
			return ckpt_err(ctx, -EINVAL,
					"pid %d is in a namespace that it cannot have come into",
					t->pid);
		if (fatal_signal_pending(current))
			return ckpt_err(ctx, -EINTR, "a signal came");
		cond_resched();
	}
	if (inits != ctx->nr_pid_nss)
		return ckpt_err(ctx, -EINVAL, "a pid namespace has no init");
	return 0;
}

/* Read the records behind TREE; the namespaces are found later. */
int ckpt_pid_namespaces_read(struct ckpt_ctx *ctx, unsigned int nr)
{
	int err = 0;

	for (unsigned int i = 0; !err && i < nr; i++)
		err = read_namespace(ctx);
	if (!err && nr)
		err = check_places(ctx);
	ctx->current_objref = 0;
	return err;
}

/* A process has come: is it where it should be, and called what it should be? */
int ckpt_pid_namespace_find(struct ckpt_ctx *ctx, const struct ckpt_task *t)
{
	struct pid_namespace *ns = ckpt_task_pid_ns(t->task);
	int err = 0;

	if (!ns)
		return ckpt_err(ctx, -ESRCH, "has exited");
	if (is_init(ctx, t)) {
		struct ckpt_pid_ns *p = &ctx->pid_nss[t->pid_ns - 1];

		if (ns->parent == namespace_at(ctx, p->parent) && ns->user_ns == ctx->user_ns)
			err = ckpt_obj_add(ctx, p->objref, ns, CKPT_OBJ_PID_NS);
		else
			err = -ESRCH;
		if (!err)
			p->ns = get_pid_ns(ns);
	}
	if (!err && namespace_at(ctx, t->pid_ns) != ns)
		err = -ESRCH;
	for (unsigned int level = t->pid_ns; !err && level; level = ctx->pid_nss[level - 1].parent) {
		const struct ckpt_pid_ns *p = &ctx->pid_nss[level - 1];

		if (task_pid_nr_ns(t->task, p->ns) != inner_number(p, t->pid))
			err = -ESRCH;
	}
	put_pid_ns(ns);
	if (err == -ESRCH)
		return ckpt_err(ctx, err, "the task that came is in another pid namespace");
	return err;
}

/**
 * ckpt_pid_numbers - the numbers that are to be asked for
 * @ctx: the context
 * @nr: what the image calls it
 * @numbers: room for MAX_PID_NS_LEVEL: all it is called, in the innermost namespace that has it first
 * @ns: that namespace; no reference taken
 *
 * Return: how many numbers these are; in the namespaces above any are good.
 */
unsigned int ckpt_pid_numbers(struct ckpt_ctx *ctx, int nr, pid_t *numbers,
			      struct pid_namespace **ns)
{
	unsigned int level = innermost(ctx, nr, ctx->nr_pid_nss), n = 0;

	*ns = namespace_at(ctx, level);
	for (; level && n < MAX_PID_NS_LEVEL - 1; level = ctx->pid_nss[level - 1].parent)
		numbers[n++] = inner_number(&ctx->pid_nss[level - 1], nr);
	if (!(ctx->flags & RESTART_NEW_PIDS))
		numbers[n++] = nr;
	return n;
}

/* The namespace that the children of current are to come into, as setns(2) allows it; NULL is its own. */
struct pid_namespace *ckpt_pid_namespace_for_children(struct ckpt_ctx *ctx, int objref)
{
	struct pid_namespace *own = task_active_pid_ns(current), *ns, *above;

	if (!objref)
		return NULL;
	ns = ckpt_obj_get(ctx, objref, CKPT_OBJ_PID_NS);
	if (IS_ERR(ns))
		return ns;
	for (above = ns->parent; above && above != own; above = above->parent)
		;
	if (!above || !ckpt_group_is_single(ctx)) {
		ckpt_err(ctx, -EINVAL, "children cannot come into pid namespace %d", objref);
		return ERR_PTR(-EINVAL);
	}
	if (!ns_capable(ns->user_ns, CAP_SYS_ADMIN) ||
	    !ns_capable(current_user_ns(), CAP_SYS_ADMIN)) {
		ckpt_err(ctx, -EPERM, "the caller may not send children into pid namespace %d",
			 objref);
		return ERR_PTR(-EPERM);
	}
	return ns;
}

/* As whoever may write to the sysctl.  What it got from those around it stays. */
static int set_noexec(struct ckpt_ctx *ctx, struct pid_namespace *ns, unsigned int scope)
{
	if (scope <= ckpt_pid_namespace_noexec(ns))
		return 0;
	if (!ns_capable(ns->user_ns, CAP_SYS_ADMIN))
		return ckpt_err(ctx, -EPERM, "the caller may not set vm.memfd_noexec to %u", scope);
#if defined(CONFIG_SYSCTL) && defined(CONFIG_MEMFD_CREATE)
	WRITE_ONCE(ns->memfd_noexec_scope, scope);
	return 0;
#else
	return ckpt_err(ctx, -EINVAL, "this kernel has no vm.memfd_noexec");
#endif
}

/* Settings of the namespaces, when all files are made: some might not be with them. */
int ckpt_pid_namespaces_apply(struct ckpt_ctx *ctx)
{
	int err = set_noexec(ctx, ctx->pid_ns, ctx->memfd_noexec);

	for (unsigned int i = 0; !err && i < ctx->nr_pid_nss; i++)
		err = set_noexec(ctx, ctx->pid_nss[i].ns, ctx->pid_nss[i].memfd_noexec);
	return err;
}

/* An init ends when nobody else is in its namespace, and whoever is does not end before it is let go. */
int ckpt_pid_namespaces_check_exits(struct ckpt_ctx *ctx)
{
	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		const struct ckpt_task *t = &ctx->tasks[i];
		bool alone = i + 1 == ctx->nr_tasks || ctx->tasks[i + 1].tgid != t->pid;

		if (!ctx->members[i]->has_exited || !alone || !is_init(ctx, t))
			continue;
		ctx->current_pid = t->pid;
		if (READ_ONCE(namespace_at(ctx, t->pid_ns)->pid_allocated) != (PIDNS_ADDING | 1))
			return ckpt_err(ctx, -EINVAL,
					"has exited, and its pid namespace is in use");
	}
	ctx->current_pid = 0;
	return 0;
}
