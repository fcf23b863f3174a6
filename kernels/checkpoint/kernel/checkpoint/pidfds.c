// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pidfds: descriptors of processes.
 *
 * All processes of the tree are there, with their pids, before the first file is
 * opened, so one is made like that of pidfd_open(2).  A process that is gone for
 * good has no number any more, and all that is left of it is which descriptors
 * were its: on restart it is a high number that is free again at once.
 *
 * The threads of a process that comes later do not exist yet, so that a
 * descriptor of a thread that leads no process is refused.
 */
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/pidfs.h>
#include <linux/sched/task.h>

#include "internal.h"

bool ckpt_is_pidfd(const struct file *file)
{
	return !IS_ERR(pidfd_pid(file));
}

static bool has_task(struct pid *pid)
{
	guard(rcu)();
	return pid_task(pid, PIDTYPE_PID);
}

/* A signal still reaches it by the descriptor of its first process. */
static bool has_group(struct pid *pid)
{
	guard(rcu)();
	return pid_task(pid, PIDTYPE_PGID);
}

/* The first that is a descriptor of the same process; 0 if this is. */
static int first_of(struct ckpt_ctx *ctx, const struct file *file)
{
	struct file *other;
	int objref = 0;

	while ((other = ckpt_obj_next(ctx, &objref, CKPT_OBJ_FILE)) && other != file)
		if (ckpt_is_pidfd(other) && pidfd_pid(other) == pidfd_pid(file))
			return objref;
	return 0;
}

/* What it is of is said by rec->size, or, of one that is gone, by the objref that is returned. */
int ckpt_pidfd_save(struct ckpt_ctx *ctx, struct file *file, const struct ckpt_holder *holder,
		    u64 *size)
{
	struct pid *pid = pidfd_pid(file);
	pid_t nr = pid_nr_ns(pid, ctx->pid_ns);
	const struct ckpt_task *t = nr ? ckpt_tree_task(ctx, nr) : NULL;

	*size = 0;
	if (!has_task(pid)) {
		if (has_group(pid))
			return ckpt_err(ctx, holder->err,
					"%s: a pidfd of a process that is gone, and its process group is not",
					holder->name);
		if (ns_of_pid(pid) == ctx->pid_ns)
			return first_of(ctx, file);
		return ckpt_err(ctx, holder->err,
				"%s: a pidfd of a process of another pid namespace that is gone",
				holder->name);
	}
	if (!t || task_pid(t->task) != pid)
		return ckpt_err(ctx, -EBUSY, "%s: a pidfd of a process outside of the tree",
				holder->name);
	if (t->pid != t->tgid)
		return ckpt_err(ctx, holder->err, "%s: a pidfd of a thread is not supported",
				holder->name);
	*size = nr;
	return 0;
}

/* Held; with the pids of before, the next process gets the one that it would have got. */
static struct pid *gone_pid(struct ckpt_ctx *ctx)
{
	pid_t nr = READ_ONCE(pid_max);
	struct pid *pid;

	if (ctx->flags & RESTART_NEW_PIDS)
		pid = alloc_pid(ctx->pid_ns, NULL, 0);
	else
		do {
			nr--;
			pid = alloc_pid(ctx->pid_ns, &nr, 1);
		} while (pid == ERR_PTR(-EEXIST) && nr > RESERVED_PIDS);
	if (IS_ERR(pid))
		return pid;
	get_pid(pid);
	free_pid(pid);
	return pid;
}

/* Held, or an ERR_PTR with a line in the log */
static struct pid *find_pid(struct ckpt_ctx *ctx, const struct ckpt_rec_file *rec)
{
	const struct ckpt_task *t;
	struct file *first;
	struct pid *pid;

	if (rec->object) {
		first = ckpt_obj_get(ctx, rec->object, CKPT_OBJ_FILE);
		if (IS_ERR(first))
			return ERR_CAST(first);
		if (rec->size || !ckpt_is_pidfd(first) || has_task(pidfd_pid(first))) {
			ckpt_err(ctx, -EINVAL, "object %d is no pidfd of a process that is gone",
				 rec->object);
			return ERR_PTR(-EINVAL);
		}
		return get_pid(pidfd_pid(first));
	}
	if (rec->size) {
		t = rec->size <= INT_MAX ? ckpt_tree_task(ctx, rec->size) : NULL;
		if (!t || t->pid != t->tgid) {
			ckpt_err(ctx, -EINVAL, "a pidfd of %lld, which is no process of the tree",
				 rec->size);
			return ERR_PTR(-EINVAL);
		}
		scoped_guard(rcu)
			pid = get_pid(task_pid(t->task));
		if (pid)
			return pid;
		ckpt_err(ctx, -ESRCH, "a pidfd of %lld, which was killed", rec->size);
		return ERR_PTR(-ESRCH);
	}
	pid = gone_pid(ctx);
	if (IS_ERR(pid))
		ckpt_err(ctx, PTR_ERR(pid), "a pidfd of a process that is gone");
	return pid;
}

struct file *ckpt_pidfd_open(struct ckpt_ctx *ctx, const struct ckpt_rec_file *rec,
			     const struct cred *cred)
{
	struct pid *pid = find_pid(ctx, rec);
	const struct cred *old;
	struct file *file;

	if (IS_ERR(pid))
		return ERR_CAST(pid);
	old = override_creds(cred);
	file = pidfs_alloc_file(pid, O_RDWR);
	revert_creds(old);
	put_pid(pid);
	if (IS_ERR(file))
		ckpt_err(ctx, PTR_ERR(file), "a pidfd cannot be made");
	else
		file->f_flags = rec->flags;
	return file;
}
