// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owners of open files: who gets a signal when something happens to one
 * (F_SETOWN, F_SETSIG, O_ASYNC).
 *
 * The owner may be any task, process or process group of the tree, so it comes
 * behind the last task.  Until all of the tree is there nobody is told of
 * anything: what a restart does to pipes is none of the owner's business.  So
 * the owner itself is set last, when nothing may fail any more.
 */
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/fcntl.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/memcontrol.h>
#include <linux/pid.h>
#include <linux/sched/signal.h>
#include <linux/security.h>
#include <linux/slab.h>

#include "internal.h"

static_assert(F_OWNER_TID == (int)PIDTYPE_PID && F_OWNER_PID == (int)PIDTYPE_TGID &&
	      F_OWNER_PGRP == (int)PIDTYPE_PGID);

/* Restart: an open file whose owner is to be set */
struct ckpt_owner {
	struct list_head list;	/* of ctx->owners */
	int objref;
	struct file *file;	/* held */
	enum pid_type type;
	pid_t pid;		/* as the image calls it; 0 is nobody */
	kuid_t uid, euid;
};

/* A task whose process group has the number @nr, or NULL */
static const struct ckpt_task *in_group(struct ckpt_ctx *ctx, pid_t nr)
{
	for (unsigned int i = 0; i < ctx->nr_tasks; i++)
		if (ctx->tasks[i].pgid == nr)
			return &ctx->tasks[i];
	return NULL;
}

/* --- checkpoint --- */

/* Does it send signals?  O_ASYNC of open(2) does nothing, and that of a lease is its own. */
bool ckpt_tells_owner(struct file *file)
{
	if (!(file->f_flags & FASYNC) || !file->f_op->fasync)
		return false;
	return ckpt_pipe_kind(file) ? ckpt_pipe_async_fd(file) >= 0 :
				      S_ISCHR(file_inode(file)->i_mode);
}

/* What the root calls it; 0 if it is not of the tree. */
static pid_t number_of(struct ckpt_ctx *ctx, struct pid *pid, enum pid_type type)
{
	pid_t nr = pid_nr_ns(pid, ctx->pid_ns);
	const struct ckpt_task *t = nr ? ckpt_tree_task(ctx, nr) : NULL;

	guard(rcu)();
	if (t && task_pid(t->task) == pid)
		return nr;
	if (!nr || type != PIDTYPE_PGID)
		return 0;
	t = in_group(ctx, nr);
	return t && task_pgrp(t->task) == pid ? nr : 0;
}

/* A signal finds a task by the number of any of its threads, whatever F_GETOWN says. */
static bool is_alive(struct pid *pid, enum pid_type type)
{
	guard(rcu)();
	return pid_task(pid, type == PIDTYPE_PGID ? PIDTYPE_PGID : PIDTYPE_PID);
}

static int save_owner(struct ckpt_ctx *ctx, struct file *file, int objref)
{
	struct ckpt_rec_owner rec = { .file = objref, .fd = -1 };
	struct fown_struct *owner = READ_ONCE(file->f_owner);
	struct pid *pid = NULL;
	int err = 0;

	if (ckpt_tells_owner(file)) {
		rec.flags |= CKPT_OWNER_ASYNC;
		rec.fd = ckpt_pipe_kind(file) ? ckpt_pipe_async_fd(file) : -1;
	}
	if (owner) {
		scoped_guard(read_lock_irq, &owner->lock) {
			pid = get_pid(owner->pid);
			rec.kind = owner->pid_type;
			rec.uid = from_kuid(ctx->user_ns, owner->uid);
			rec.euid = from_kuid(ctx->user_ns, owner->euid);
		}
		rec.signal = READ_ONCE(owner->signum);
	}
	if (pid) {
		rec.pid = number_of(ctx, pid, rec.kind);
		if (!rec.pid && is_alive(pid, rec.kind))
			err = ckpt_err(ctx, -EBUSY,
				       "its owner for signals (F_SETOWN) is outside of the tree");
		else if (rec.pid && (rec.uid == (u32)-1 || rec.euid == (u32)-1))
			err = ckpt_err(ctx, -EBUSY,
				       "who has set its owner for signals has no id in the user namespace");
		put_pid(pid);
	}
	if (err || !(rec.flags || rec.kind || rec.pid || rec.uid || rec.euid || rec.signal))
		return err;
	return ckpt_write_record(ctx, CKPT_REC_OWNER, &rec, sizeof(rec));
}

/* When all files are known. */
int ckpt_owners_save(struct ckpt_ctx *ctx)
{
	return ckpt_for_each_file(ctx, save_owner);
}

/* --- restart --- */

static int check_owner(struct ckpt_ctx *ctx, const struct ckpt_rec_owner *rec,
		       struct file *file)
{
	bool async = rec->flags & CKPT_OWNER_ASYNC, numbered = async && ckpt_pipe_kind(file);

	if (rec->kind > F_OWNER_PGRP || rec->signal > _NSIG)
		return ckpt_err(ctx, -EINVAL, "an owner of kind %u, signal %u", rec->kind,
				rec->signal);
	if (rec->pid && !ckpt_tree_task(ctx, rec->pid) &&
	    (rec->kind != F_OWNER_PGRP || !in_group(ctx, rec->pid)))
		return ckpt_err(ctx, -EINVAL, "the owner %d is not in the tree", rec->pid);
	if (rec->flags & ~CKPT_OWNER_ASYNC || (async && !file->f_op->fasync))
		return ckpt_err(ctx, -EINVAL, "an owner with flags %#x", rec->flags);
	if (numbered ? rec->fd < 0 || rec->fd >= sysctl_nr_open : rec->fd != -1)
		return ckpt_err(ctx, -EINVAL, "an owner that is told of fd %d", rec->fd);
	return 0;
}

/* Who sends the signals: somebody that the caller could become. */
static int get_users(struct ckpt_ctx *ctx, const struct ckpt_rec_owner *rec, struct ckpt_owner *o)
{
	o->uid = make_kuid(ctx->user_ns, rec->uid);
	o->euid = make_kuid(ctx->user_ns, rec->euid);
	if (ckpt_may_be_user(ctx, o->uid) && ckpt_may_be_user(ctx, o->euid))
		return 0;
	if (!rec->pid) {
		/* Nobody has set any, so that nothing is sent: they are only to be looked at. */
		o->uid = INVALID_UID;
		o->euid = INVALID_UID;
		return 0;
	}
	if (!uid_valid(o->uid) || !uid_valid(o->euid))
		return ckpt_err(ctx, -EINVAL, "who has set its owner is not mapped");
	return ckpt_err(ctx, -EPERM, "the caller may not set its owner as user %u does", rec->uid);
}

static int prepare(const struct ckpt_rec_owner *rec, struct file *file)
{
	int err = file_f_owner_allocate(file);

	if (err)
		return err;
	WRITE_ONCE(file->f_owner->signum, rec->signal);
	if (rec->flags & CKPT_OWNER_ASYNC)
		err = file->f_op->fasync(rec->fd, file, 1);
	return min(err, 0);
}

int ckpt_owner_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_owner *rec = (struct ckpt_rec_owner *)ctx->rec;
	struct file *file = ckpt_obj_get(ctx, rec->file, CKPT_OBJ_FILE);
	struct ckpt_owner *o __free(kfree) = NULL;
	struct mem_cgroup *memcg, *old;
	int err;

	if (IS_ERR(file))
		return PTR_ERR(file);
	ctx->current_objref = rec->file;
	if (!list_empty(&ctx->owners) &&
	    list_last_entry(&ctx->owners, struct ckpt_owner, list)->objref >= rec->file)
		return ckpt_err(ctx, -EINVAL, "a second owner, or out of order");
	err = check_owner(ctx, rec, file);
	if (err)
		return err;
	o = kzalloc(sizeof(*o), GFP_KERNEL_ACCOUNT);
	if (!o)
		return ckpt_nomem(ctx, "an owner");
	err = get_users(ctx, rec, o);
	if (err)
		return err;
	memcg = ckpt_memcg_of(ctx->root);
	old = set_active_memcg(memcg);
	err = prepare(rec, file);
	set_active_memcg(old);
	mem_cgroup_put(memcg);
	if (err)
		return ckpt_err(ctx, err, "it cannot have an owner");
	o->objref = rec->file;
	o->file = get_file(file);
	o->type = rec->kind;
	o->pid = rec->pid;
	list_add_tail(&no_free_ptr(o)->list, &ctx->owners);
	ctx->current_objref = 0;
	return 0;
}

/* A task or a group of the tree; it may have been killed meanwhile. */
static struct pid *find_owner(struct ckpt_ctx *ctx, const struct ckpt_owner *o)
{
	const struct ckpt_task *t = o->pid ? ckpt_tree_task(ctx, o->pid) : NULL;

	if (t)
		return task_pid(t->task);
	t = o->pid ? in_group(ctx, o->pid) : NULL;
	return t ? task_pgrp(t->task) : NULL;
}

static void set_owner(struct ckpt_ctx *ctx, const struct ckpt_owner *o)
{
	struct fown_struct *owner = o->file->f_owner;
	const struct cred *old = override_creds(o->file->f_cred);
	struct pid *pid;

	scoped_guard(rcu)
		pid = get_pid(find_owner(ctx, o));
	scoped_guard(write_lock_irq, &owner->lock) {
		swap(owner->pid, pid);
		owner->pid_type = o->type;
		if (owner->pid)
			security_file_set_fowner(o->file);
		if (uid_valid(o->uid))
			owner->uid = o->uid;
		if (uid_valid(o->euid))
			owner->euid = o->euid;
	}
	put_pid(pid);
	revert_creds(old);
}

/* All of the tree is there, and holds still. */
void ckpt_owners_apply(struct ckpt_ctx *ctx)
{
	const struct ckpt_owner *o;

	list_for_each_entry(o, &ctx->owners, list) {
		set_owner(ctx, o);
		cond_resched();
	}
}

void ckpt_owners_free(struct ckpt_ctx *ctx)
{
	struct ckpt_owner *o, *next;

	list_for_each_entry_safe(o, next, &ctx->owners, list) {
		list_del(&o->list);
		fput(o->file);
		kfree(o);
	}
}
