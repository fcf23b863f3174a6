// SPDX-License-Identifier: GPL-2.0-only
/*
 * restart(2): a coordinator and its members.
 *
 * User space forks the processes of the tree with the pids that the image has,
 * or, with RESTART_NEW_PIDS, with any.
 * Each of these tasks calls restart(2) with RESTART_MEMBER and the pid that the
 * image calls it by, and waits on the list of members.  The coordinator, which is not in
 * the tree, reads the head of the image, adopts the members that descend from
 * the root it was given, and passes the context from one to the next in the
 * order of the image: each member reads its own section and becomes what it
 * says, in its own context, since only a task itself can map memory or open
 * files for itself.  The leader of a thread group makes the other threads at the
 * end of its section: they begin as members on their way to user mode.  Then the coordinator
 * reads what belongs to no single task, compares the checksum, puts registers, sessions and process groups into the parked members, and lets all
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
#include <linux/memcontrol.h>
#include <linux/pid_namespace.h>
#include <linux/ptrace.h>
#include <linux/rseq.h>
#include <linux/sched/coredump.h>
#include <linux/sched/mm.h>
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

/* For a task that is still to come when @task is NULL. */
static struct ckpt_member *member_alloc(pid_t pid, struct task_struct *task)
{
	struct ckpt_member *m = kzalloc(sizeof(*m), GFP_KERNEL_ACCOUNT);

	if (!m)
		return NULL;
	m->task = task ? get_task_struct(task) : NULL;
	m->pid = pid;
	m->state = MEMBER_WAITS;
	refcount_set(&m->refs, 1);
	init_waitqueue_head(&m->wait);
	INIT_LIST_HEAD(&m->list);
	INIT_LIST_HEAD(&m->regsets);
	INIT_LIST_HEAD(&m->pending.queue);
	INIT_LIST_HEAD(&m->shared_pending.queue);
	return m;
}

static void member_put(struct ckpt_member *m)
{
	if (!refcount_dec_and_test(&m->refs))
		return;
	ckpt_cpu_free(m);
	ckpt_pending_free(m);
	ckpt_seccomp_free(m);
	if (m->ctx)
		ckpt_ctx_put(m->ctx);
	if (m->task)
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
		if (m->has_exited && type != CKPT_REC_TASK_END)
			return ckpt_err(ctx, -EINVAL, "a task that has exited has nothing more");
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

/*
 * Wait for the turn, become the task, wait for the others.  Says whether the
 * member was let go; otherwise the task is to be killed.
 */
static bool member_serve(struct ckpt_member *m)
{
	int err = -EINTR;

	/* One that is killed before it begins only says so. */
	if (!(current->flags & PF_EXITING))
		err = wait_event_killable(m->wait, member_state(m) != MEMBER_WAITS);
	spin_lock(&members_lock);
	list_del_init(&m->list);
	spin_unlock(&members_lock);
	/* The coordinator may give the turn to a task that is being killed. */
	if (err && member_state(m) == MEMBER_RUN)
		ckpt_err(m->ctx, -EINTR, "the task was killed");
	if (err || member_state(m) != MEMBER_RUN) {
		member_report(m, MEMBER_DEAD);
		return false;
	}
	err = member_restore(m);
	if (err) {
		m->error = err;
		member_report(m, MEMBER_FAILED);
		return false;
	}
	if (member_park(m))
		return true;
	member_report(m, MEMBER_DEAD);
	return false;
}

/* What a member does between its release and user mode. */
static long member_leave(struct ckpt_member *m)
{
	struct pt_regs *regs = current_pt_regs();
	long ret;

	if (m->has_exited) {
		struct ckpt_rec_exit rec = m->exit_rec;

		member_put(m);
		ckpt_zombie_exit(&rec);
	}
	ckpt_task_finish(m);
	ret = ckpt_arch_resume(regs, !m->is_thread);
	member_put(m);
	/*
	 * Last of all: the way to user mode goes through the signal code, where
	 * the freezer waits and interrupted system calls are restarted.
	 */
	set_tsk_thread_flag(current, TIF_SIGPENDING);
	return ret;
}

/* Serve as a member, and become the task or be killed. */
static long member_run(struct ckpt_member *m)
{
	if (member_serve(m))
		return member_leave(m);
	member_put(m);
	if (!(current->flags & PF_EXITING))
		force_fatal_sig(SIGKILL);
	return -EINTR;
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

	if (pid <= 0)
		return -EINVAL;
	if (!thread_group_empty(current) || !thread_group_leader(current))
		return -EBUSY;
	m = member_alloc(pid, current);
	if (!m)
		return -ENOMEM;
	spin_lock(&members_lock);
	list_add_tail(&m->list, &members);
	spin_unlock(&members_lock);
	wake_up_all(&members_wait);

	return member_run(m);
}

/* A thread has been made, and is about to go to user mode for the first time. */
static void thread_serve(struct callback_head *work)
{
	member_run(container_of(work, struct ckpt_member, work));
}

/**
 * ckpt_member_alloc_thread - prepare a thread of the group that current leads
 * @ctx: the context
 * @pid: what the image calls it
 *
 * Return: what ckpt_member_start_thread() or ckpt_member_free_thread() takes, or NULL.
 */
struct ckpt_member *ckpt_member_alloc_thread(struct ckpt_ctx *ctx, pid_t pid)
{
	struct ckpt_member *m = member_alloc(pid, NULL);

	if (!m)
		return NULL;
	m->is_thread = true;
	refcount_inc(&ctx->refs);
	m->ctx = ctx;
	return m;
}

void ckpt_member_free_thread(struct ckpt_member *m)
{
	member_put(m);
}

/**
 * ckpt_member_start_thread - have a new task begin as a member
 * @ctx: the context
 * @place: where it is in the tree
 * @m: what ckpt_member_alloc_thread() returned
 * @task: the task, which has not run yet
 */
void ckpt_member_start_thread(struct ckpt_ctx *ctx, unsigned int place, struct ckpt_member *m,
			      struct task_struct *task)
{
	m->task = get_task_struct(task);
	ctx->tasks[place].task = get_task_struct(task);
	refcount_inc(&m->refs);
	ctx->members[place] = m;
	init_task_work(&m->work, thread_serve);
	/*
	 * The signal code, where the freezer is, runs it first of all: so the
	 * thread comes to the freezer before anything else is done for it.  Fails
	 * only for one that exits.
	 */
	WARN_ON_ONCE(task_work_add(task, &m->work, TWA_SIGNAL));
	ckpt_arch_new_thread(task);
	wake_up_new_task(task);
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

static bool ended_below_root(struct ckpt_ctx *ctx, struct task_struct *task)
{
	return READ_ONCE(task->exit_state) && descends_from(task, ctx->root);
}

/*
 * Has the task ended that was to be @pid, or where nobody knows its number, one
 * that was to be any? Its parent is a member, or is to be one, and does not
 * wait for it.
 */
static bool has_ended(struct ckpt_ctx *ctx, pid_t pid)
{
	struct task_struct *task;

	guard(rcu)();
	if (ctx->flags & RESTART_NEW_PIDS) {
		for_each_process(task)
			if (ended_below_root(ctx, task) && !ckpt_is_member(ctx, task))
				return true;
		return false;
	}
	task = find_task_by_pid_ns(pid, ctx->pid_ns);
	return task && ended_below_root(ctx, task);
}

/* One of those that were here was killed: who descends from it may never come. */
static struct ckpt_member *dead_member(struct ckpt_ctx *ctx)
{
	for (unsigned int i = 0; i < ctx->nr_tasks; i++)
		if (ctx->members[i] && member_state(ctx->members[i]) == MEMBER_DEAD)
			return ctx->members[i];
	return NULL;
}

/*
 * Wait until the task has arrived.  A task that dies on its way wakes nobody,
 * so it and the root are looked at from time to time.
 */
static struct ckpt_member *wait_for_member(struct ckpt_ctx *ctx, pid_t pid)
{
	struct ckpt_member *m = NULL, *dead = NULL;
	long ret;

	do {
		ret = wait_event_interruptible_timeout(members_wait,
						       (dead = dead_member(ctx)) ||
						       (m = adopt(ctx, pid)), HZ / 10);
	} while (!ret && !has_ended(ctx, pid) && !READ_ONCE(ctx->root->exit_state));
	if (dead)
		ctx->current_pid = dead->pid;
	else if (!m && ctx->flags & RESTART_NEW_PIDS)
		ctx->current_pid = 0;
	if (ret < 0)
		ckpt_err(ctx, -EINTR, "a signal came before all tasks had arrived");
	else if (dead)
		ckpt_err(ctx, -EINTR, "was killed");
	else if (!m && READ_ONCE(ctx->root->exit_state))
		ckpt_err(ctx, -ESRCH, "the root of the tree has exited before this task arrived");
	else if (!m && ctx->flags & RESTART_NEW_PIDS)
		ckpt_err(ctx, -ESRCH, "a task of the tree has exited before all had arrived");
	else if (!m)
		ckpt_err(ctx, -ESRCH, "has exited before it arrived");
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
		int err;

		/* Made by the leader of their group when it is their turn. */
		if (t->pid != t->tgid)
			continue;
		ctx->current_pid = t->pid;
		m = wait_for_member(ctx, t->pid);
		if (!m)
			return ctx->err;
		ctx->members[i] = m;
		t->task = get_task_struct(m->task);
		if (!(ctx->flags & RESTART_NEW_PIDS) &&
		    task_pid_nr_ns(m->task, ctx->pid_ns) != t->pid)
			return ckpt_err(ctx, -ESRCH, "the task that came has pid %d",
					task_pid_nr_ns(m->task, ctx->pid_ns));
		if (!i && m->task != ctx->root)
			return ckpt_err(ctx, -ESRCH, "is not the root of the tree");
		if (!i && ckpt_namespaces_begin(ctx))
			return ctx->err;
		if (!ptrace_may_access(m->task, PTRACE_MODE_ATTACH_REALCREDS))
			return ckpt_err(ctx, -EPERM, "the caller may not trace it");
		err = ckpt_pid_namespace_find(ctx, t);
		if (err)
			return err;
		if (!ckpt_namespaces_are_the_roots(ctx, m->task) ||
		    task_cred_xxx(m->task, user_ns) != task_cred_xxx(ctx->root, user_ns))
			return ckpt_err(ctx, -EPERM,
					"is not in the namespaces of the root of the tree");
		if (i) {
			rcu_read_lock();
			parent = rcu_dereference(m->task->real_parent)->group_leader;
			rcu_read_unlock();
			if (ckpt_tree_leader(ctx, t->ppid)->task != parent)
				return ckpt_err(ctx, -ESRCH, "is not a child of pid %d", t->ppid);
		}
	}
	ctx->current_pid = 0;
	return ckpt_cgroups_check(ctx);
}

/* Let the members become their tasks, one after the other. */
static int run_members(struct ckpt_ctx *ctx)
{
	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		struct ckpt_member *m = ctx->members[i];
		int err;

		if (!m) {
			ctx->current_pid = ctx->tasks[i].pid;
			return ckpt_err(ctx, -EINVAL, "its group was not made");
		}
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
	ctx->container = !(rec->flags & CHECKPOINT_SUBTREE);
	if (ctx->flags & RESTART_NEW_PIDS && ctx->container)
		return ckpt_err(ctx, -EINVAL, "this is a container, which has its own pids");
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

/* User space forks from the leaders of thread groups: give a child to the thread that had it. */
static void apply_parent(struct ckpt_ctx *ctx, struct ckpt_task *t)
{
	struct task_struct *parent = t->ppid ? ckpt_tree_task(ctx, t->ppid)->task : NULL;
	struct task_struct *task = t->task, *thread;

	if (!parent || rcu_access_pointer(task->real_parent) == parent)
		return;
	/*
	 * Each thread has it, too, but only the leader is on its list.  A tracer
	 * stays, also one that is the parent.
	 */
	for_each_thread(task, thread) {
		if (!thread->ptrace)
			rcu_assign_pointer(thread->parent, parent);
		rcu_assign_pointer(thread->real_parent, parent);
	}
	list_move_tail(&task->sibling, &parent->children);
}

/* What a process is in. */
struct links {
	struct pid *sid, *pgid;	/* NULL: from outside of the tree, as it is */
};

/* The id of a group or session whose leader is gone. */
struct made_id {
	pid_t nr;		/* what the image calls it */
	struct pid *pid;
};

/* Make it, unless there is a task or an id of that number. */
static int make_id(struct ckpt_ctx *ctx, pid_t nr, struct made_id *ids, unsigned int *nr_ids)
{
	pid_t numbers[MAX_PID_NS_LEVEL];
	struct pid_namespace *ns;
	unsigned int n;
	struct pid *pid;

	if (!nr || ckpt_tree_task(ctx, nr))
		return 0;
	for (unsigned int i = 0; i < *nr_ids; i++)
		if (ids[i].nr == nr)
			return 0;
	n = ckpt_pid_numbers(ctx, nr, numbers, &ns);
	pid = alloc_pid(ns, numbers, n);
	if (IS_ERR(pid))
		return ckpt_err(ctx, PTR_ERR(pid), "the id %d of a process group or session", nr);
	ids[(*nr_ids)++] = (struct made_id) { .nr = nr, .pid = get_pid(pid) };
	return 0;
}

/* They live as long as a task is in the group or session. */
static void put_ids(struct made_id *ids, unsigned int nr_ids)
{
	for (unsigned int i = 0; i < nr_ids; i++) {
		struct pid *pid = ids[i].pid;

		write_lock_irq(&tasklist_lock);
		if (!pid_has_task(pid, PIDTYPE_PGID) && !pid_has_task(pid, PIDTYPE_SID))
			free_pid(pid);
		write_unlock_irq(&tasklist_lock);
		put_pid(pid);
	}
}

/* What the image calls @nr: the pid of a task, which holds still, or one that was made; or NULL. */
static struct pid *find_id(struct ckpt_ctx *ctx, pid_t nr, const struct made_id *ids,
			   unsigned int nr_ids)
{
	const struct ckpt_task *t = nr ? ckpt_tree_task(ctx, nr) : NULL;

	if (t)
		return task_pid(t->task);
	for (unsigned int i = 0; i < nr_ids; i++)
		if (ids[i].nr == nr)
			return ids[i].pid;
	return NULL;
}

/*
 * Parents, sessions and process groups as the image has them; the ids were
 * checked against each other when they were read.  All of these belong to the
 * group, and hang on its leader.
 */
static int apply_relations(struct ckpt_ctx *ctx)
{
	struct made_id *ids __free(kvfree) = kvcalloc(ctx->nr_tasks, 2 * sizeof(*ids),
						      GFP_KERNEL_ACCOUNT);
	struct links *links __free(kvfree) = kvcalloc(ctx->nr_tasks, sizeof(*links),
						      GFP_KERNEL_ACCOUNT);
	unsigned int nr_ids = 0;
	int err = 0;

	if (!ids || !links)
		return ckpt_nomem(ctx, "%u ids", 3 * ctx->nr_tasks);
	for (unsigned int i = 0; !err && i < ctx->nr_tasks; i++) {
		err = make_id(ctx, ctx->tasks[i].sid, ids, &nr_ids);
		if (!err)
			err = make_id(ctx, ctx->tasks[i].pgid, ids, &nr_ids);
	}
	if (err) {
		put_ids(ids, nr_ids);
		return err;
	}
	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		links[i].sid = find_id(ctx, ctx->tasks[i].sid, ids, nr_ids);
		links[i].pgid = find_id(ctx, ctx->tasks[i].pgid, ids, nr_ids);
		if (ctx->tasks[i].sid)
			proc_clear_tty(ctx->tasks[i].task);
		cond_resched();
	}

	write_lock_irq(&tasklist_lock);
	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		struct ckpt_task *t = &ctx->tasks[i];
		struct task_struct *task = t->task;
		struct signal_struct *parent;

		/* A task that was killed meanwhile has left its groups, or will. */
		if (!task->sighand || task->exit_state || t->pid != t->tgid)
			continue;
		apply_parent(ctx, t);
		/* Parents come first. */
		parent = rcu_dereference_protected(task->real_parent,
						   lockdep_is_held(&tasklist_lock))->signal;
		if (parent->is_child_subreaper || parent->has_child_subreaper)
			task->signal->has_child_subreaper = 1;
		/* Of one that ends the parent has been told. */
		task->exit_signal = ctx->members[i]->has_exited ? 0 : t->exit_signal;
		if (links[i].sid && task_session(task) != links[i].sid)
			change_pid(task, PIDTYPE_SID, links[i].sid);
		if (t->sid)
			task->signal->leader = t->sid == t->pid;
		if (links[i].pgid && task_pgrp(task) != links[i].pgid)
			change_pid(task, PIDTYPE_PGID, links[i].pgid);
	}
	write_unlock_irq(&tasklist_lock);
	/* All tasks hold still: none has left its group. */
	put_ids(ids, nr_ids);
	return 0;
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
		if (!err && !m->has_exited)
			err = ckpt_cpu_apply(ctx, m);
		if (err)
			return err;
		/* Those that are to end use something for that. */
		if (!m->has_exited)
			ckpt_usage_apply(m);
	}
	ctx->current_pid = 0;
	err = apply_relations(ctx) ?: ckpt_pid_namespaces_check_exits(ctx);
	if (!err)
		err = ckpt_pid_namespaces_apply(ctx);
	if (err)
		return err;
	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		if (ctx->members[i]->has_exited)
			continue;
		ckpt_pending_apply(ctx->members[i]);
		ckpt_stop_apply(ctx, ctx->members[i]);
	}
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

static void let_go(struct ckpt_member *m)
{
	WARN_ON_ONCE(member_state(m) != MEMBER_HELD);
	member_set_state(m, MEMBER_GO);
	wake_up_all(&m->wait);
}

/* All members are held: let them go, first those that are to end. */
static void release(struct ckpt_ctx *ctx)
{
	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		if (!ctx->members[i]->has_exited)
			continue;
		let_go(ctx->members[i]);
		ckpt_zombie_wait(ctx->members[i], ctx->tasks[i].exit_signal);
	}
	/*
	 * All of them, before the first can give its filters to the others, or
	 * have a timer expire, set it or delete it.
	 */
	for (unsigned int i = 0; i < ctx->nr_tasks; i++) {
		if (ctx->members[i]->has_exited)
			continue;
		ckpt_seccomp_apply(ctx->members[i]);
		ckpt_usage_arm(ctx->members[i]);
		ckpt_timers_arm(ctx->members[i]);
	}
	for (unsigned int i = 0; i < ctx->nr_tasks; i++)
		if (!ctx->members[i]->has_exited)
			let_go(ctx->members[i]);
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

struct mem_cgroup *ckpt_memcg_of(struct task_struct *task)
{
	struct mm_struct *mm = get_task_mm(task);
	struct mem_cgroup *memcg = get_mem_cgroup_from_mm(mm);

	if (mm)
		mmput(mm);
	return memcg;
}

/* All members have become their tasks: what may be of any of them, and the trailer. */
static int read_rest(struct ckpt_ctx *ctx)
{
	const struct ckpt_record_ops *ops;
	u32 last = 0;
	int err;

	for (;;) {
		err = ckpt_read_record(ctx);
		if (err)
			return err;
		if (fatal_signal_pending(current))
			return ckpt_err(ctx, -EINTR, "a signal came");
		if (ctx->rec->type != CKPT_REC_EPOLL && !list_empty(&ctx->epolls))
			return ckpt_err(ctx, -EINVAL, "the EPOLL record of an epoll set is expected here");
		if (ctx->rec->type == CKPT_REC_TRAILER)
			return ckpt_check_trailer(ctx);
		ops = &ckpt_record_ops[ctx->rec->type];
		if (!ops->restore_rest || ctx->rec->type < last)
			return ckpt_err(ctx, -EINVAL,
					"a LOCK, LEASE, OWNER or TRAILER record is expected here");
		last = ctx->rec->type;
		err = ops->restore_rest(ctx);
		if (err)
			return err;
		cond_resched();
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
	/* The caller's, or one below it. */
	scoped_guard(rcu)
		ctx->user_ns = get_user_ns(__task_cred(ctx->root)->user_ns);
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
		err = ckpt_take_root_path(ctx) ?: ckpt_mounts_check(ctx);
	if (!err)
		err = run_members(ctx);
	if (!err) {
		ctx->current_pid = 0;
		err = read_rest(ctx);
	}
	if (!err)
		err = apply(ctx);
	if (err) {
		kill_tree(ctx);
		let_die(ctx);
	} else {
		/* All who watch them do so again. */
		ckpt_timerfds_go_on(ctx);
		/* What a task gives up is gone at once, and readers see that their writers are. */
		ckpt_objhash_free(ctx->objs);
		ctx->objs = NULL;
		/* What all that did to a file is none of its owner's business. */
		ckpt_owners_apply(ctx);
		ckpt_leases_apply(ctx);
		/* The context may live as long as the tree holds still: no file is to stay open for that. */
		ckpt_owners_free(ctx);
		ckpt_leases_free(ctx);
		release(ctx);
	}
	put_members(ctx);
	if (!err && ctx->flags & RESTART_FROZEN)
		ckpt_wait_frozen(ctx);
	return err;
}
