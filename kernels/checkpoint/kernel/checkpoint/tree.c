// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tree of tasks: who belongs to it, and that it stands still.
 *
 * tasklist_lock is only held to collect counted references.  What keeps the
 * tasks where they are is the freezer, and that is user space's to undo: so
 * each task is found off its CPU before it is saved, and ckpt_tree_recheck()
 * finds it there with the same count of switches afterwards.
 */
#include <linux/capability.h>
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/pid_namespace.h>
#include <linux/ptrace.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>

#include "internal.h"

/* A process: its leader, then its other threads. */
static unsigned int add_group(struct task_struct *leader, struct ckpt_task *tasks,
			      unsigned int nr, unsigned int max)
{
	struct task_struct *thread;

	if (nr < max)
		tasks[nr].task = leader;
	nr++;
	for_each_thread(leader, thread) {
		if (thread == leader)
			continue;
		if (nr < max)
			tasks[nr].task = thread;
		nr++;
	}
	return nr;
}

/* Parents before children; returns how many there are, of which at most @max are filled in. */
static unsigned int walk(struct task_struct *root, struct ckpt_task *tasks, unsigned int max)
{
	unsigned int nr;

	lockdep_assert_held(&tasklist_lock);
	nr = add_group(root, tasks, 0, max);
	for (unsigned int i = 0; i < min(nr, max); i++) {
		struct task_struct *child;

		list_for_each_entry(child, &tasks[i].task->children, sibling)
			nr = add_group(child, tasks, nr, max);
	}
	return nr;
}

static int collect_tasks(struct ckpt_ctx *ctx, struct task_struct *root)
{
	unsigned int max = 64, nr;

	for (;;) {
		struct ckpt_task *tasks;

		tasks = kvcalloc(max, sizeof(*tasks), GFP_KERNEL_ACCOUNT);
		if (!tasks)
			return ckpt_nomem(ctx, "%u tasks", max);
		read_lock(&tasklist_lock);
		nr = walk(root, tasks, max);
		if (nr <= max) {
			for (unsigned int i = 0; i < nr; i++)
				get_task_struct(tasks[i].task);
		}
		read_unlock(&tasklist_lock);
		if (nr <= max) {
			ctx->tasks = tasks;
			ctx->nr_tasks = nr;
			return 0;
		}
		kvfree(tasks);
		max = nr + 16;
	}
}

struct ckpt_task *ckpt_tree_task(struct ckpt_ctx *ctx, int pid)
{
	for (unsigned int i = 0; i < ctx->nr_tasks; i++)
		if (ctx->tasks[i].pid == pid)
			return &ctx->tasks[i];
	return NULL;
}

struct ckpt_task *ckpt_tree_leader(struct ckpt_ctx *ctx, int pid)
{
	struct ckpt_task *t = ckpt_tree_task(ctx, pid);

	return t ? ckpt_tree_task(ctx, t->tgid) : NULL;
}

bool ckpt_knows_new_pids(struct ckpt_ctx *ctx)
{
	return ctx->flags & RESTART_NEW_PIDS && !ckpt_tree_task(ctx, ctx->member->pid)->pid_ns;
}

/* The namespaces of its own pid, and of its user and group ids. */
static int check_ids(struct ckpt_ctx *ctx, struct ckpt_task *t)
{
	if (task_cred_xxx(t->task, user_ns) != ctx->user_ns)
		return ckpt_err(ctx, -EPERM,
				"is in another user namespace than the root of the tree");
	return ckpt_pid_namespace_note(ctx, t);
}

static int fill_ids(struct ckpt_ctx *ctx)
{
	read_lock(&tasklist_lock);
	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		struct ckpt_task *t = &ctx->tasks[i];
		struct task_struct *parent;

		parent = rcu_dereference_protected(t->task->real_parent,
						   lockdep_is_held(&tasklist_lock));
		t->pid = task_pid_nr_ns(t->task, ctx->pid_ns);
		t->tgid = task_tgid_nr_ns(t->task, ctx->pid_ns);
		t->ppid = same_thread_group(t->task, ctx->root) ?
			  0 : task_pid_nr_ns(parent, ctx->pid_ns);
		t->pgid = task_pgrp_nr_ns(t->task, ctx->pid_ns);
		t->sid = task_session_nr_ns(t->task, ctx->pid_ns);
	}
	read_unlock(&tasklist_lock);
	return 0;
}

bool ckpt_is_member(struct ckpt_ctx *ctx, struct task_struct *task)
{
	for (unsigned int i = 0; i < ctx->nr_tasks; i++)
		if (ctx->tasks[i].task == task)
			return true;
	return false;
}

/*
 * Has the group or session lost its leader, and nobody outside of the tree?
 * @roots is what the root is in: that of a subtree is from outside, whoever
 * else has left it.
 */
static bool has_dead_leader(struct ckpt_ctx *ctx, int nr, int roots, enum pid_type type)
{
	struct task_struct *task;
	bool dead = false;
	struct pid *pid;

	if (ctx->flags & CHECKPOINT_SUBTREE && nr == roots)
		return false;
	read_lock(&tasklist_lock);
	pid = nr ? find_pid_ns(nr, ctx->pid_ns) : NULL;
	if (pid && !pid_has_task(pid, PIDTYPE_PID)) {
		dead = true;
		do_each_pid_task(pid, type, task) {
			if (!ckpt_is_member(ctx, task))
				dead = false;
		} while_each_pid_task(pid, type, task);
	}
	read_unlock(&tasklist_lock);
	return dead;
}

/*
 * Groups and sessions are kept when their leader is in the tree or nowhere,
 * inherited when the root has them from outside.
 */
static int resolve_groups(struct ckpt_ctx *ctx)
{
	int pgid = ctx->tasks[0].pgid, sid = ctx->tasks[0].sid;

	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		struct ckpt_task *t = &ctx->tasks[i];

		ctx->current_pid = t->pid;
		if (!ckpt_tree_task(ctx, t->pgid) &&
		    !has_dead_leader(ctx, t->pgid, pgid, PIDTYPE_PGID)) {
			if (t->pgid != pgid)
				return ckpt_err(ctx, -EBUSY,
						"process group %d has members outside of the tree",
						t->pgid);
			t->pgid = 0;
		}
		if (!ckpt_tree_task(ctx, t->sid) &&
		    !has_dead_leader(ctx, t->sid, sid, PIDTYPE_SID)) {
			if (t->sid != sid)
				return ckpt_err(ctx, -EBUSY,
						"session %d has members outside of the tree", t->sid);
			t->sid = 0;
		}
	}
	ctx->current_pid = 0;
	return 0;
}

/* The task's pid namespace with a counted reference; NULL when it was reaped. */
struct pid_namespace *ckpt_task_pid_ns(struct task_struct *task)
{
	struct pid *pid = get_task_pid(task, PIDTYPE_PID);
	struct pid_namespace *ns = NULL;

	if (pid)
		ns = get_pid_ns(ns_of_pid(pid));
	put_pid(pid);
	return ns;
}

static bool is_container_init(struct task_struct *task)
{
	struct pid *pid = get_task_pid(task, PIDTYPE_PID);
	bool init = pid && is_child_reaper(pid);

	put_pid(pid);
	return init;
}

/*
 * Who could trace it.  Of one that has exited the kernel does not know any more
 * whose its memory was, and asks for privileges in the first user namespace
 * where it was not to be dumped; but the memory is gone, and the rest belongs
 * to its credentials.
 */
static bool may_checkpoint(struct task_struct *task)
{
	const struct cred *cred;
	bool may;

	if (ptrace_may_access(task, PTRACE_MODE_ATTACH_REALCREDS))
		return true;
	if (READ_ONCE(task->exit_state) != EXIT_ZOMBIE ||
	    security_ptrace_access_check(task, PTRACE_MODE_ATTACH_REALCREDS))
		return false;
	cred = get_task_cred(task);
	may = ns_capable(cred->user_ns, CAP_SYS_PTRACE);
	put_cred(cred);
	return may;
}

/**
 * ckpt_tree_collect - find the tasks of a tree and check that they can be saved
 * @ctx: the context
 * @root: its root
 *
 * Return: 0, EPERM where the caller could not trace a task, EBUSY where one is not frozen.
 */
int ckpt_tree_collect(struct ckpt_ctx *ctx, struct task_struct *root)
{
	int err;

	ctx->root = get_task_struct(root);
	ctx->current_pid = task_pid_vnr(root);
	if (!thread_group_leader(root))
		return ckpt_err(ctx, -EINVAL, "is not the leader of its thread group");
	ctx->pid_ns = ckpt_task_pid_ns(root);
	if (!ctx->pid_ns)
		return ckpt_err(ctx, -ESRCH, "has exited");
	rcu_read_lock();
	ctx->user_ns = get_user_ns(__task_cred(root)->user_ns);
	rcu_read_unlock();

	if (!(ctx->flags & CHECKPOINT_SUBTREE) && !is_container_init(root))
		return ckpt_err(ctx, -EINVAL,
				"is not the init of a container, and CHECKPOINT_SUBTREE is not given");

	err = collect_tasks(ctx, root);
	if (err)
		return err;
	fill_ids(ctx);
	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		struct ckpt_task *t = &ctx->tasks[i];

		ctx->current_pid = t->pid;
		if (!may_checkpoint(t->task))
			return ckpt_err(ctx, -EPERM, "the caller may not trace it");
		err = ckpt_task_check_frozen(ctx, t);
		if (err)
			return err;
		/* Thawed meanwhile, it may have become what the caller may not trace. */
		if (!may_checkpoint(t->task))
			return ckpt_err(ctx, -EPERM, "the caller may not trace it");
		if (!i && t->has_exited)
			return ckpt_err(ctx, -EBUSY, "has exited");
		/* A zombie is in none any more, but for those that its ids are from. */
		err = check_ids(ctx, t);
		if (!err && !t->has_exited)
			err = ckpt_namespaces_check(ctx, t->task);
		if (err)
			return err;
	}
	err = ckpt_pid_namespaces_check(ctx) ?: ckpt_cgroups_collect(ctx);
	return err ?: resolve_groups(ctx);
}

int ckpt_tree_recheck(struct ckpt_ctx *ctx)
{
	unsigned int nr;
	struct ckpt_task *now __free(kvfree) =
		kvcalloc(ctx->nr_tasks, sizeof(*now), GFP_KERNEL_ACCOUNT);

	if (!now)
		return ckpt_nomem(ctx, "%u tasks", ctx->nr_tasks);
	read_lock(&tasklist_lock);
	nr = walk(ctx->root, now, ctx->nr_tasks);
	read_unlock(&tasklist_lock);
	if (nr != ctx->nr_tasks)
		return ckpt_err(ctx, -EBUSY, "the tree had %u tasks and now has %u",
				ctx->nr_tasks, nr);
	for (unsigned int i = 0; i < nr; i++) {
		struct ckpt_task *t = &ctx->tasks[i];
		unsigned long switches = t->switches;
		bool had_exited = t->has_exited;
		int err;

		ctx->current_pid = t->pid;
		if (now[i].task != t->task)
			return ckpt_err(ctx, -EBUSY, "the tree has changed");
		err = ckpt_task_check_frozen(ctx, t);
		if (err)
			return err;
		if (t->switches != switches || t->has_exited != had_exited)
			return ckpt_err(ctx, -EAGAIN, "ran while it was saved");
		if (!ckpt_cgroup_is_the_same(ctx, t))
			return ckpt_err(ctx, -EAGAIN, "was moved to another cgroup");
	}
	ctx->current_pid = 0;
	return 0;
}

int ckpt_tree_save(struct ckpt_ctx *ctx)
{
	size_t len = sizeof(struct ckpt_rec_tree) +
		     ctx->nr_tasks * sizeof(struct ckpt_tree_task);
	struct ckpt_rec_tree *rec __free(kvfree) = kvzalloc(len, GFP_KERNEL_ACCOUNT);
	int err;

	if (!rec)
		return ckpt_nomem(ctx, "%u tasks", ctx->nr_tasks);
	rec->nr_tasks = ctx->nr_tasks;
	if (ctx->user_ns != &init_user_ns)
		rec->flags |= CKPT_TREE_USER_NS;
	if (ctx->own_cgroup_ns)
		rec->flags |= CKPT_TREE_CGROUP_NS;
	if (ctx->own_mnt_ns)
		rec->flags |= CKPT_TREE_MOUNT_NS;
	if (!list_empty(&ctx->mounts))
		rec->flags |= CKPT_TREE_MOUNTS;
	if (!(ctx->flags & CHECKPOINT_SUBTREE))
		rec->flags |= ckpt_pid_namespace_noexec(ctx->pid_ns) <<
			      CKPT_TREE_MEMFD_NOEXEC_SHIFT;
	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		const struct ckpt_task *t = &ctx->tasks[i];

		rec->tasks[i] = (struct ckpt_tree_task) {
			.pid = t->pid,
			.tgid = t->tgid,
			.ppid = t->ppid,
			.pgid = t->pgid,
			.sid = t->sid,
			.exit_signal = t->pid == t->tgid ? t->task->exit_signal : 0,
			.cgroup = t->cgroup,
		};
	}
	rec->nr_pid_ns = ctx->nr_pid_nss;
	rec->nr_cgroups = ctx->nr_cgroups;
	err = ckpt_write_record(ctx, CKPT_REC_TREE, rec, len);
	err = err ?: ckpt_pid_namespaces_save(ctx);
	err = err ?: ckpt_cgroups_save(ctx);
	return err ?: ckpt_mounts_save(ctx);
}

/* Position of @pid among the first @nr tasks, or -1. */
static int find_pid(const struct ckpt_rec_tree *rec, unsigned int nr, int pid)
{
	for (unsigned int i = 0; pid && i < nr; i++)
		if (rec->tasks[i].pid == pid)
			return i;
	return -1;
}

/* Its leader and the threads between are before it, and what is the group's is the leader's. */
static int check_tree_thread(struct ckpt_ctx *ctx, const struct ckpt_rec_tree *rec,
			     unsigned int i)
{
	const struct ckpt_tree_task *t = &rec->tasks[i];
	const struct ckpt_tree_task *before = i ? &rec->tasks[i - 1] : NULL;

	if (!before || before->tgid != t->tgid)
		return ckpt_err(ctx, -EINVAL, "thread %d does not come after a task of group %d",
				t->pid, t->tgid);
	if (t->ppid != before->ppid || t->pgid != before->pgid || t->sid != before->sid ||
	    t->cgroup != before->cgroup)
		return ckpt_err(ctx, -EINVAL,
				"thread %d: parent %d, process group %d, session %d or cgroup %u is not its group's",
				t->pid, t->ppid, t->pgid, t->sid, t->cgroup);
	if (t->exit_signal)
		return ckpt_err(ctx, -EINVAL, "thread %d has exit signal %u", t->pid,
				t->exit_signal);
	return 0;
}

static bool leads_session(const struct ckpt_tree_task *t)
{
	return t->tgid == t->pid && t->sid == t->pid;
}

static bool leads_group(const struct ckpt_tree_task *t, int sid)
{
	return t->tgid == t->pid && t->pgid == t->pid && t->sid == sid;
}

/* Are all of this group, whose leader is gone, in this session? */
static bool same_session(const struct ckpt_rec_tree *rec, int pgid, int sid)
{
	for (unsigned int i = 0; pgid && i < rec->nr_tasks; i++)
		if (rec->tasks[i].pgid == pgid && rec->tasks[i].sid != sid)
			return false;
	return true;
}

static int check_tree_task(struct ckpt_ctx *ctx, const struct ckpt_rec_tree *rec, unsigned int i)
{
	const struct ckpt_tree_task *t = &rec->tasks[i];
	int leader;

	if (t->pid <= 0 || t->pid > PID_MAX_LIMIT)
		return ckpt_err(ctx, -EINVAL, "task %u has pid %d", i, t->pid);
	if (t->pad)
		return ckpt_err(ctx, -EINVAL, "pid %d: padding %#x", t->pid, t->pad);
	if (find_pid(rec, i, t->pid) >= 0)
		return ckpt_err(ctx, -EINVAL, "pid %d is there twice", t->pid);
	if (t->tgid != t->pid)
		return check_tree_thread(ctx, rec, i);
	if (i ? find_pid(rec, i, t->ppid) < 0 : t->ppid != 0)
		return ckpt_err(ctx, -EINVAL, "pid %d: parent %d is not before it",
				t->pid, t->ppid);
	if (!valid_signal(t->exit_signal))
		return ckpt_err(ctx, -EINVAL, "pid %d has exit signal %u", t->pid, t->exit_signal);
	if (t->sid < 0 || t->sid > PID_MAX_LIMIT || t->pgid < 0 || t->pgid > PID_MAX_LIMIT)
		return ckpt_err(ctx, -EINVAL, "pid %d: process group %d in session %d",
				t->pid, t->pgid, t->sid);
	/* Its leader may be gone; a task of that number is the leader. */
	leader = find_pid(rec, rec->nr_tasks, t->sid);
	if (leader >= 0 && !leads_session(&rec->tasks[leader]))
		return ckpt_err(ctx, -EINVAL, "pid %d: session %d has no leader", t->pid, t->sid);
	leader = find_pid(rec, rec->nr_tasks, t->pgid);
	if (leader >= 0 ? !leads_group(&rec->tasks[leader], t->sid) :
	    !same_session(rec, t->pgid, t->sid))
		return ckpt_err(ctx, -EINVAL,
				"pid %d: process group %d has no leader in its session",
				t->pid, t->pgid);
	/* A session leader leads its group; no group is from outside of a session of the tree. */
	if (t->sid ? (t->sid == t->pid && t->pgid != t->pid) || !t->pgid : t->sid == t->pid)
		return ckpt_err(ctx, -EINVAL, "pid %d: process group %d in session %d",
				t->pid, t->pgid, t->sid);
	return 0;
}

/* Read and check the TREE record; ctx->tasks get the ids, the tasks are found later. */
int ckpt_tree_read(struct ckpt_ctx *ctx)
{
	struct ckpt_rec_tree *rec;
	unsigned int nr_cgroups;
	bool has_mounts;
	int err;

	err = ckpt_read_record(ctx);
	if (err)
		return err;
	rec = (struct ckpt_rec_tree *)ctx->rec;
	if (rec->h.type != CKPT_REC_TREE)
		return ckpt_err(ctx, -EINVAL, "a TREE record is expected here");
	ctx->memfd_noexec = (rec->flags & CKPT_TREE_MEMFD_NOEXEC) >> CKPT_TREE_MEMFD_NOEXEC_SHIFT;
	if (!rec->nr_tasks || ctx->memfd_noexec > CKPT_MEMFD_NOEXEC_MAX ||
	    rec->flags & ~(CKPT_TREE_USER_NS | CKPT_TREE_CGROUP_NS | CKPT_TREE_MEMFD_NOEXEC |
			   CKPT_TREE_MOUNT_NS | CKPT_TREE_MOUNTS) ||
	    (rec->flags & CKPT_TREE_MOUNTS && !(rec->flags & CKPT_TREE_MOUNT_NS)) ||
	    struct_size(rec, tasks, rec->nr_tasks) != rec->h.len)
		return ckpt_err(ctx, -EINVAL, "%u tasks in %u bytes, flags %#x", rec->nr_tasks,
				rec->h.len, rec->flags);
	/* Each has an init. */
	if (rec->nr_pid_ns >= rec->nr_tasks)
		return ckpt_err(ctx, -EINVAL, "%u pid namespaces of %u tasks", rec->nr_pid_ns,
				rec->nr_tasks);
	/* Nor may an image say what holds in a namespace that is not the tree's own. */
	if (ctx->memfd_noexec && !is_child_reaper(task_pid(ctx->root)))
		return ckpt_err(ctx, -EINVAL,
				"vm.memfd_noexec is %u, and the root has no pid namespace of its own",
				ctx->memfd_noexec);
	/* Who was root there must not become root here. */
	if (rec->flags & CKPT_TREE_USER_NS && ctx->user_ns == &init_user_ns)
		return ckpt_err(ctx, -EPERM,
				"its ids are those of a user namespace, and the task that is to be its root is in none of its own");
	for (unsigned int i = 0; i < rec->nr_tasks; i++) {
		err = check_tree_task(ctx, rec, i);
		if (!err && fatal_signal_pending(current))
			err = ckpt_err(ctx, -EINTR, "a signal came");
		if (err)
			return err;
		cond_resched();
	}
	ctx->tasks = kvcalloc(rec->nr_tasks, sizeof(*ctx->tasks), GFP_KERNEL_ACCOUNT);
	if (!ctx->tasks)
		return ckpt_nomem(ctx, "%u tasks", rec->nr_tasks);
	ctx->nr_tasks = rec->nr_tasks;
	for (unsigned int i = 0; i < rec->nr_tasks; i++) {
		ctx->tasks[i].pid = rec->tasks[i].pid;
		ctx->tasks[i].tgid = rec->tasks[i].tgid;
		ctx->tasks[i].ppid = rec->tasks[i].ppid;
		ctx->tasks[i].pgid = rec->tasks[i].pgid;
		ctx->tasks[i].sid = rec->tasks[i].sid;
		ctx->tasks[i].exit_signal = rec->tasks[i].exit_signal;
		ctx->tasks[i].cgroup = rec->tasks[i].cgroup;
	}
	ctx->own_cgroup_ns = rec->flags & CKPT_TREE_CGROUP_NS;
	ctx->own_mnt_ns = rec->flags & CKPT_TREE_MOUNT_NS;
	/* The record is gone when the next one is read. */
	nr_cgroups = rec->nr_cgroups;
	has_mounts = rec->flags & CKPT_TREE_MOUNTS;
	err = ckpt_pid_namespaces_read(ctx, rec->nr_pid_ns);
	err = err ?: ckpt_cgroups_read(ctx, nr_cgroups);
	if (!err && has_mounts)
		err = ckpt_mounts_read(ctx);
	return err;
}

void ckpt_tree_free(struct ckpt_ctx *ctx)
{
	for (unsigned int i = 0; i < ctx->nr_tasks; i++)
		if (ctx->tasks[i].task)
			put_task_struct(ctx->tasks[i].task);
	ckpt_pid_namespaces_free(ctx);
	ckpt_cgroups_free(ctx);
	ckpt_mounts_free(ctx);
	kvfree(ctx->tasks);
	ctx->tasks = NULL;
	ctx->nr_tasks = 0;
}
