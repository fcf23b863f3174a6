// SPDX-License-Identifier: GPL-2.0-only
/*
 * restart(2): a coordinator and its members.
 *
 * User space forks the tree with the pids that the image has.  Each of these
 * tasks calls restart(2) with RESTART_MEMBER and the pid that the image calls
 * it by, and waits on the list of members.  The coordinator, which is not in
 * the tree, reads the head of the image, adopts the members that descend from
 * the root it was given, and passes the context from one to the next in the
 * order of the image: each member reads its own section and becomes what it
 * says, in its own context, since only a task itself can map memory or open
 * files for itself.  Then the coordinator compares the checksum, puts
 * registers, sessions and process groups into the parked members, and lets all
 * of them go at once.
 *
 * On any failure all tasks below the root are killed: a member whose memory is
 * half replaced has nowhere to return to.
 *
 * Locking: members_lock protects the list and the ->ctx of each member on it.
 * ->state changes are published with smp_store_release() before the wake-up.
 * Whoever has the state MEMBER_RUN owns the context, otherwise the coordinator
 * does; the hand-over is ordered by ->state.  A member and a context live as
 * long as somebody counts a reference on them; a dying member leaves its state
 * MEMBER_DEAD behind.
 */
#include <linux/checkpoint.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fs_struct.h>
#include <linux/pid_namespace.h>
#include <linux/ptrace.h>
#include <linux/rseq.h>
#include <linux/sched/coredump.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/tty.h>
#include <linux/user_namespace.h>
#include <linux/utsname.h>

#include "internal.h"

enum member_state {
	MEMBER_WAITS,		/* for a coordinator, or for its turn */
	MEMBER_RUN,		/* reads its section, owns the context */
	MEMBER_PARKED,		/* has become the task, waits for the others */
	MEMBER_HOLD,		/* is told to hold still */
	MEMBER_HELD,		/* sleeps, and no signal wakes it: its registers can be set */
	MEMBER_GO,		/* returns to user mode */
	MEMBER_FAILED,		/* ->error says why */
	MEMBER_DEAD,		/* was killed */
};

static DEFINE_SPINLOCK(members_lock);
static LIST_HEAD(members);
/* Coordinators wait here for members to arrive. */
static DECLARE_WAIT_QUEUE_HEAD(members_wait);

static void member_put(struct ckpt_member *m)
{
	if (!refcount_dec_and_test(&m->refs))
		return;
	ckpt_cpu_free(m);
	if (m->ctx)
		ckpt_ctx_put(m->ctx);
	put_task_struct(m->task);
	kfree(m);
}

static int member_state(struct ckpt_member *m)
{
	/* Pairs with the release in member_set_state() */
	return smp_load_acquire(&m->state);
}

static void member_set_state(struct ckpt_member *m, int state)
{
	/* What the task did to itself and to the context is seen before its state */
	smp_store_release(&m->state, state);
}

/* Called by the member: hand the context back, or say that there is no need to wait. */
static void member_report(struct ckpt_member *m, int state)
{
	struct ckpt_ctx *ctx = m->ctx;

	member_set_state(m, state);
	if (ctx)
		wake_up_all(&ctx->wait);
	wake_up_all(&members_wait);
}

/* Read and restore one task's section, from TASK to TASK_END. */
static int member_restore(struct ckpt_member *m)
{
	struct ckpt_ctx *ctx = m->ctx;
	u32 type = 0;
	int err;

	ctx->member = m;
	ctx->current_task = current;
	ctx->current_pid = m->pid;
	do {
		if (fatal_signal_pending(current))
			return ckpt_err(ctx, -EINTR, "the task was killed");
		err = ckpt_read_record(ctx);
		if (err)
			return err;
		type = ctx->rec->type;
		if (!ckpt_record_ops[type].restore)
			return ckpt_err(ctx, -EINVAL, "not expected in a task's section");
		if (type == CKPT_REC_TASK ? m->have_task : !m->have_task)
			return ckpt_err(ctx, -EINVAL,
					"a task's section begins with one TASK record");
		err = ckpt_record_ops[type].restore(ctx);
		if (err)
			return ctx->err ? err : ckpt_err(ctx, err, "cannot be restored");
		cond_resched();
	} while (type != CKPT_REC_TASK_END);
	ctx->current_objref = 0;
	ctx->current_task = NULL;
	return 0;
}

/*
 * Wait until all members have become their tasks.  Then the coordinator has the
 * member hold still, which does not take long: nobody can kill it meanwhile.
 * Says whether it was let go.
 */
static bool member_park(struct ckpt_member *m)
{
	int err;

	member_report(m, MEMBER_PARKED);
	err = wait_event_killable(m->wait, member_state(m) != MEMBER_PARKED);
	if (err && cmpxchg(&m->state, MEMBER_PARKED, MEMBER_DEAD) == MEMBER_PARKED)
		return false;
	if (cmpxchg(&m->state, MEMBER_HOLD, MEMBER_HELD) == MEMBER_HOLD) {
		wake_up_all(&m->ctx->wait);
		wait_event(m->wait, member_state(m) != MEMBER_HELD);
	}
	return member_state(m) == MEMBER_GO;
}

/* What a member does between its release and user mode. */
static long member_leave(struct ckpt_member *m)
{
	struct pt_regs *regs = current_pt_regs();
	long ret;

	ckpt_task_finish(m);
	ret = ckpt_arch_resume(regs);
	member_put(m);
	/*
	 * Last of all: the way to user mode goes through the signal code, where
	 * the freezer waits and interrupted system calls are restarted.
	 */
	set_tsk_thread_flag(current, TIF_SIGPENDING);
	return ret;
}

/**
 * ckpt_restart_member - become a task of the image
 * @pid: what the image calls it
 *
 * Return: what the interrupted system call of that task returns; if the
 * restart fails the task is killed.
 */
long ckpt_restart_member(pid_t pid)
{
	struct ckpt_member *m;
	int err;

	if (pid <= 0)
		return -EINVAL;
	if (!thread_group_empty(current) || !thread_group_leader(current))
		return -EBUSY;
	m = kzalloc(sizeof(*m), GFP_KERNEL_ACCOUNT);
	if (!m)
		return -ENOMEM;
	m->task = get_task_struct(current);
	m->pid = pid;
	m->state = MEMBER_WAITS;
	refcount_set(&m->refs, 1);
	init_waitqueue_head(&m->wait);
	INIT_LIST_HEAD(&m->regsets);

	spin_lock(&members_lock);
	list_add_tail(&m->list, &members);
	spin_unlock(&members_lock);
	wake_up_all(&members_wait);

	err = wait_event_killable(m->wait, member_state(m) != MEMBER_WAITS);

	spin_lock(&members_lock);
	list_del_init(&m->list);
	spin_unlock(&members_lock);
	if (err) {
		/* The coordinator may give the turn to a task that is being killed. */
		if (member_state(m) == MEMBER_RUN)
			ckpt_err(m->ctx, -EINTR, "the task was killed");
		goto dead;
	}
	if (member_state(m) != MEMBER_RUN)
		goto dead;

	err = member_restore(m);
	if (err) {
		m->error = err;
		member_report(m, MEMBER_FAILED);
		goto kill;
	}
	if (!member_park(m))
		goto dead;
	return member_leave(m);

dead:
	member_report(m, MEMBER_DEAD);
kill:
	member_put(m);
	force_fatal_sig(SIGKILL);
	return -EINTR;
}

/* --- coordinator --- */

static bool descends_from(struct task_struct *task, struct task_struct *root)
{
	guard(rcu)();
	for (; task && task != &init_task; task = rcu_dereference(task->real_parent))
		if (task->group_leader == root)
			return true;
	return false;
}

/* Take the member that says it is @pid, descends from the root and has no coordinator. */
static struct ckpt_member *adopt(struct ckpt_ctx *ctx, pid_t pid)
{
	struct ckpt_member *m;

	guard(spinlock)(&members_lock);
	list_for_each_entry(m, &members, list) {
		if (m->pid != pid || m->ctx || !descends_from(m->task, ctx->root))
			continue;
		refcount_inc(&m->refs);
		refcount_inc(&ctx->refs);
		m->ctx = ctx;
		return m;
	}
	return NULL;
}

/*
 * Wait until the task has arrived.  A task that dies on its way wakes nobody,
 * so the root is looked at from time to time.
 */
static struct ckpt_member *wait_for_member(struct ckpt_ctx *ctx, pid_t pid)
{
	struct ckpt_member *m = NULL;
	long ret;

	do {
		ret = wait_event_interruptible_timeout(members_wait, (m = adopt(ctx, pid)),
						       HZ / 10);
	} while (!ret && !READ_ONCE(ctx->root->exit_state));
	if (ret < 0)
		ckpt_err(ctx, -EINTR, "a signal came before all tasks had arrived");
	else if (!m)
		ckpt_err(ctx, -ESRCH, "the root of the tree has exited before this task arrived");
	return m;
}

static int find_members(struct ckpt_ctx *ctx)
{
	ctx->members = kvcalloc(ctx->nr_tasks, sizeof(*ctx->members), GFP_KERNEL_ACCOUNT);
	if (!ctx->members)
		return ckpt_nomem(ctx, "%u members", ctx->nr_tasks);
	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		struct ckpt_task *t = &ctx->tasks[i];
		struct ckpt_member *m;
		struct task_struct *parent;

		ctx->current_pid = t->pid;
		m = wait_for_member(ctx, t->pid);
		if (!m)
			return ctx->err;
		ctx->members[i] = m;
		t->task = get_task_struct(m->task);
		if (task_pid_nr_ns(m->task, ctx->pid_ns) != t->pid)
			return ckpt_err(ctx, -ESRCH, "the task that came has pid %d",
					task_pid_nr_ns(m->task, ctx->pid_ns));
		if (!i && m->task != ctx->root)
			return ckpt_err(ctx, -ESRCH, "is not the root of the tree");
		if (!ptrace_may_access(m->task, PTRACE_MODE_ATTACH_REALCREDS))
			return ckpt_err(ctx, -EPERM, "the caller may not trace it");
		if (READ_ONCE(m->task->nsproxy) != READ_ONCE(ctx->root->nsproxy) ||
		    task_cred_xxx(m->task, user_ns) != task_cred_xxx(ctx->root, user_ns))
			return ckpt_err(ctx, -EPERM,
					"is not in the namespaces of the root of the tree");
		if (i) {
			rcu_read_lock();
			parent = rcu_dereference(m->task->real_parent)->group_leader;
			rcu_read_unlock();
			for (unsigned int k = 0; k < i; k++)
				if (ctx->tasks[k].pid == t->ppid && ctx->tasks[k].task != parent)
					return ckpt_err(ctx, -ESRCH, "is not a child of pid %d",
							t->ppid);
		}
	}
	ctx->current_pid = 0;
	return 0;
}

/* Let the members become their tasks, one after the other. */
static int run_members(struct ckpt_ctx *ctx)
{
	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		struct ckpt_member *m = ctx->members[i];
		int err;

		if (cmpxchg(&m->state, MEMBER_WAITS, MEMBER_RUN) != MEMBER_WAITS)
			goto gone;
		wake_up_all(&m->wait);
		err = wait_event_interruptible(ctx->wait, member_state(m) != MEMBER_RUN);
		if (err) {
			/* The context comes back when the member has died. */
			send_sig_info(SIGKILL, SEND_SIG_PRIV, m->task);
			wait_event(ctx->wait, member_state(m) != MEMBER_RUN);
			return ckpt_err(ctx, -EINTR, "a signal came");
		}
		ctx->member = NULL;
		switch (member_state(m)) {
		case MEMBER_PARKED:
			continue;
		case MEMBER_FAILED:
			return m->error;
		}
gone:
		ctx->current_pid = m->pid;
		return ckpt_err(ctx, -EINTR, "was killed");
	}
	ctx->current_pid = 0;
	return 0;
}

static int check_header(struct ckpt_ctx *ctx)
{
	struct ckpt_rec_header *rec;
	int err;

	err = ckpt_read_record(ctx);
	if (err)
		return err;
	rec = (struct ckpt_rec_header *)ctx->rec;
	if (rec->h.type != CKPT_REC_HEADER || memcmp(rec->magic, CKPT_MAGIC, sizeof(rec->magic)))
		return ckpt_err(ctx, -EINVAL, "this is not an image");
	if (rec->byte_order != CKPT_BYTE_ORDER)
		return ckpt_err(ctx, -EINVAL, "byte order %#x instead of %#x",
				rec->byte_order, CKPT_BYTE_ORDER);
	if (rec->version != CKPT_FORMAT_VERSION)
		return ckpt_err(ctx, -EINVAL, "format version %u, this kernel knows %u",
				rec->version, CKPT_FORMAT_VERSION);
	if (rec->arch != ckpt_arch_id())
		return ckpt_err(ctx, -EINVAL, "architecture %u, this kernel is %u",
				rec->arch, ckpt_arch_id());
	if (rec->word_size != sizeof(long) || rec->page_size != PAGE_SIZE)
		return ckpt_err(ctx, -EINVAL,
				"words of %u and pages of %u bytes, here they have %zu and %lu",
				rec->word_size, rec->page_size, sizeof(long), PAGE_SIZE);
	if (rec->flags & ~CHECKPOINT_SUBTREE || rec->features || rec->pad || !rec->id)
		return ckpt_err(ctx, -EINVAL, "flags %#x, features %#llx, id %u",
				rec->flags, rec->features, rec->id);
	if (!ckpt_is_text(rec->release, sizeof(rec->release)) ||
	    !ckpt_is_text(rec->build, sizeof(rec->build)) ||
	    !ckpt_is_text(rec->machine, sizeof(rec->machine)))
		return ckpt_err(ctx, -EINVAL, "release, build or machine is not text");
	if (strncmp(rec->release, init_utsname()->release, sizeof(rec->release)) ||
	    strncmp(rec->machine, init_utsname()->machine, sizeof(rec->machine)))
		return ckpt_err(ctx, -EINVAL, "kernel %s %s, this is %s %s",
				rec->release, rec->machine,
				init_utsname()->release, init_utsname()->machine);
	ctx->id = rec->id;
	return 0;
}

/*
 * Sessions and process groups as the image has them; the ids were checked
 * against each other when they were read.
 */
static void apply_groups(struct ckpt_ctx *ctx)
{
	for (unsigned int i = 0; i < ctx->nr_tasks; i++)
		if (ctx->tasks[i].sid)
			proc_clear_tty(ctx->tasks[i].task);

	write_lock_irq(&tasklist_lock);
	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		struct ckpt_task *t = &ctx->tasks[i];
		struct task_struct *task = t->task;
		struct pid *pid;

		/* A task that was killed meanwhile has left its groups, or will. */
		if (!task->sighand || task->exit_state)
			continue;
		task->exit_signal = t->exit_signal;
		pid = t->sid ? find_pid_ns(t->sid, ctx->pid_ns) : NULL;
		if (pid && task_session(task) != pid)
			change_pid(task, PIDTYPE_SID, pid);
		if (t->sid)
			task->signal->leader = t->sid == t->pid;
		pid = t->pgid ? find_pid_ns(t->pgid, ctx->pid_ns) : NULL;
		if (pid && task_pgrp(task) != pid)
			change_pid(task, PIDTYPE_PGID, pid);
	}
	write_unlock_irq(&tasklist_lock);
}

/*
 * Have a parked member hold still.  From here on it only goes on when it is
 * told to: release() or let_die() does that, whatever happens.
 */
static int hold_member(struct ckpt_ctx *ctx, struct ckpt_member *m)
{
	if (cmpxchg(&m->state, MEMBER_PARKED, MEMBER_HOLD) != MEMBER_PARKED)
		return ckpt_err(ctx, -EINTR, "was killed");
	wake_up_all(&m->wait);
	wait_event(ctx->wait, member_state(m) != MEMBER_HOLD);
	/* On its way to sleep: its registers are in memory then. */
	while (!wait_task_inactive(m->task, TASK_UNINTERRUPTIBLE))
		usleep_range(20, 100);
	return 0;
}

/* Everything was read and the checksum is right: now act. */
static int apply(struct ckpt_ctx *ctx)
{
	int err;

	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		struct ckpt_member *m = ctx->members[i];

		ctx->current_pid = m->pid;
		err = hold_member(ctx, m);
		if (!err)
			err = ckpt_cpu_apply(ctx, m);
		if (err)
			return err;
	}
	ctx->current_pid = 0;
	apply_groups(ctx);
	if (ctx->flags & RESTART_FROZEN) {
		err = ckpt_freeze_members(ctx);
		if (err)
			return err;
	}
	return 0;
}

/* Kill what was to become the tree, however far it came. */
static void kill_tree(struct ckpt_ctx *ctx)
{
	struct task_struct *p;

	read_lock(&tasklist_lock);
	for_each_process(p)
		if (descends_from(p, ctx->root))
			group_send_sig_info(SIGKILL, SEND_SIG_NOINFO, p, PIDTYPE_TGID);
	read_unlock(&tasklist_lock);
	/* Those whose parent is gone already are no descendants any more. */
	for (unsigned int i = 0; ctx->members && i < ctx->nr_tasks; i++)
		if (ctx->members[i])
			send_sig_info(SIGKILL, SEND_SIG_PRIV, ctx->members[i]->task);
}

static void put_members(struct ckpt_ctx *ctx)
{
	for (unsigned int i = 0; ctx->members && i < ctx->nr_tasks; i++)
		if (ctx->members[i])
			member_put(ctx->members[i]);
	kvfree(ctx->members);
	ctx->members = NULL;
}

/* All members are held: let them go. */
static void release(struct ckpt_ctx *ctx)
{
	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		struct ckpt_member *m = ctx->members[i];

		WARN_ON_ONCE(member_state(m) != MEMBER_HELD);
		member_set_state(m, MEMBER_GO);
		wake_up_all(&m->wait);
	}
}

/* They were killed, and those that hold still are to notice. */
static void let_die(struct ckpt_ctx *ctx)
{
	for (unsigned int i = 0; ctx->members && i < ctx->nr_tasks; i++) {
		struct ckpt_member *m = ctx->members[i];

		if (m && cmpxchg(&m->state, MEMBER_HELD, MEMBER_DEAD) == MEMBER_HELD)
			wake_up_all(&m->wait);
	}
}

static int find_root(struct ckpt_ctx *ctx, pid_t pid)
{
	scoped_guard(rcu) {
		struct task_struct *root = find_task_by_vpid(pid);

		if (root)
			ctx->root = get_task_struct(root);
	}
	if (!ctx->root)
		return ckpt_err(ctx, -ESRCH, "there is no task %d", pid);
	if (!thread_group_leader(ctx->root) || same_thread_group(ctx->root, current))
		return ckpt_err(ctx, -EINVAL, "task %d cannot be the root of a tree to restart",
				pid);
	scoped_guard(rcu) {
		if (!same_thread_group(rcu_dereference(ctx->root->real_parent), current))
			return ckpt_err(ctx, -ESRCH, "task %d is not a child of the caller", pid);
	}
	if (!ptrace_may_access(ctx->root, PTRACE_MODE_ATTACH_REALCREDS))
		return ckpt_err(ctx, -EPERM, "the caller may not trace task %d", pid);
	ctx->pid_ns = ckpt_task_pid_ns(ctx->root);
	if (!ctx->pid_ns)
		return ckpt_err(ctx, -ESRCH, "task %d has exited", pid);
	ctx->user_ns = get_user_ns(current_user_ns());
	return 0;
}

/**
 * ckpt_restart_tree - coordinate a restart
 * @ctx: the context
 * @pid: root of the tree of members, a child of the caller
 *
 * Return: 0, or a negative errno after all tasks of the tree were killed.
 */
long ckpt_restart_tree(struct ckpt_ctx *ctx, pid_t pid)
{
	int err;

	err = find_root(ctx, pid);
	if (err)
		return err;
	err = check_header(ctx);
	if (!err)
		err = ckpt_tree_read(ctx);
	if (!err)
		err = find_members(ctx);
	if (!err)
		err = ckpt_take_root_path(ctx);
	if (!err)
		err = run_members(ctx);
	if (!err) {
		ctx->current_pid = 0;
		err = ckpt_read_trailer(ctx);
	}
	if (!err) {
		ctx->rec_name = NULL;
		err = apply(ctx);
	}
	if (err) {
		kill_tree(ctx);
		let_die(ctx);
	} else {
		release(ctx);
	}
	put_members(ctx);
	if (!err && ctx->flags & RESTART_FROZEN)
		ckpt_wait_frozen(ctx);
	return err;
}
