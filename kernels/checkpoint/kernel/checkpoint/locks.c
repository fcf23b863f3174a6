// SPDX-License-Identifier: GPL-2.0-only
/*
 * Locks on files: of flock(2), of fcntl(2) for a process (POSIX) and for an open
 * file description.
 *
 * The first and the last belong to an open file, a POSIX lock to a table of
 * descriptors, which loses it as soon as it closes any of the same file.  So all
 * of them are put back behind the last task, when nobody closes anything any
 * more.  Who waits for a lock asks for it again.
 */
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/fdtable.h>
#include <linux/filelock.h>
#include <linux/fs.h>
#include <linux/memcontrol.h>
#include <linux/pid.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "internal.h"

/* --- checkpoint --- */

/* Those of one open file, and of the tables that have locked by it */
struct found_locks {
	struct ckpt_rec_lock *recs;
	unsigned int nr, room;
	const char *odd;	/* what cannot be saved, or NULL */
};

/* As the root knows it; 0 if it is not in the tree. */
int ckpt_lock_pid(struct ckpt_ctx *ctx, int outer)
{
	const struct ckpt_task *t;
	struct pid *pid;
	int nr;

	guard(rcu)();
	pid = find_pid_ns(outer, &init_pid_ns);
	nr = pid_nr_ns(pid, ctx->pid_ns);
	t = nr ? ckpt_tree_task(ctx, nr) : NULL;
	return t && t->pid == t->tgid && task_pid(t->task) == pid ? nr : 0;
}

static void add_lock(struct found_locks *l, const struct file_lock *fl, int file, int owner,
		     u32 kind)
{
	struct ckpt_rec_lock *rec;

	if (fl->fl_ops || fl->fl_lmops)
		l->odd = "a file system or a server of files holds a part of a lock";
	if (l->nr++ >= l->room)
		return;
	rec = &l->recs[l->nr - 1];
	rec->file = file;
	rec->owner = owner;
	rec->kind = kind;
	rec->flags = fl->c.flc_type == F_WRLCK ? CKPT_LOCK_EXCLUSIVE : 0;
	rec->start = fl->fl_start;
	rec->end = fl->fl_end;
	/* As the first namespace has it; it is translated when the list may change again. */
	rec->pid = kind == CKPT_LOCK_OFD ? 0 : fl->c.flc_pid;
}

static void find_locks(struct ckpt_ctx *ctx, struct found_locks *l, struct file_lock_context *flctx,
		       struct file *file, int objref)
{
	const struct file_lock *fl;
	int owner;

	l->nr = 0;
	guard(spinlock)(&flctx->flc_lock);
	list_for_each_entry(fl, &flctx->flc_flock, c.flc_list)
		if (fl->c.flc_file == file)
			add_lock(l, fl, objref, 0, CKPT_LOCK_FLOCK);
	list_for_each_entry(fl, &flctx->flc_posix, c.flc_list) {
		if (fl->c.flc_file != file)
			continue;
		if (fl->c.flc_flags & FL_OFDLCK) {
			add_lock(l, fl, objref, 0, CKPT_LOCK_OFD);
			continue;
		}
		/* The 9p file system makes it of one of flock(2). */
		if (fl->c.flc_owner == file) {
			add_lock(l, fl, objref, 0, CKPT_LOCK_FLOCK);
			continue;
		}
		/* Of one who is outside of a subtree, and has the same file open */
		owner = ckpt_obj_find(ctx, fl->c.flc_owner, CKPT_OBJ_FILES);
		if (owner)
			add_lock(l, fl, objref, owner, CKPT_LOCK_POSIX);
	}
}

/* Those of one kind and owner do not overlap. */
static int compare_locks(const void *a, const void *b)
{
	const struct ckpt_rec_lock *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	if (x->owner != y->owner)
		return x->owner < y->owner ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

static int save_locks(struct ckpt_ctx *ctx, struct file *file, int objref)
{
	struct file_lock_context *flctx = locks_inode_context(file_inode(file));
	struct ckpt_rec_lock *recs __free(kvfree) = NULL;
	struct found_locks l = {};
	int err = 0, outer = 0, pid = 0;

	if (!flctx)
		return 0;
	find_locks(ctx, &l, flctx, file, objref);
	if (!l.nr)
		return 0;
	recs = kvcalloc(l.nr, sizeof(*recs), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!recs)
		return ckpt_nomem(ctx, "%u locks", l.nr);
	l.recs = recs;
	l.room = l.nr;
	find_locks(ctx, &l, flctx, file, objref);
	if (l.nr != l.room)
		return ckpt_err(ctx, -EBUSY, "its locks have changed");
	if (l.odd)
		return ckpt_err(ctx, -EBUSY, "%s", l.odd);
	sort(recs, l.nr, sizeof(*recs), compare_locks, NULL);
	for (unsigned int i = 0; !err && i < l.nr; i++) {
		if (recs[i].pid != outer) {
			outer = recs[i].pid;
			pid = ckpt_lock_pid(ctx, outer);
		}
		recs[i].pid = outer ? pid : 0;
		err = ckpt_write_record(ctx, CKPT_REC_LOCK, &recs[i], sizeof(recs[i]));
		if (!err && fatal_signal_pending(current))
			err = ckpt_err(ctx, -EINTR, "a signal came");
		cond_resched();
	}
	return err;
}

/* When all tables have been saved. */
int ckpt_locks_save(struct ckpt_ctx *ctx)
{
	return ckpt_for_each_file(ctx, save_locks);
}

/* --- restart --- */

static int is_file(const void *file, struct file *other, unsigned int fd)
{
	return file == other;
}

static int check_lock(struct ckpt_ctx *ctx, const struct ckpt_rec_lock *rec)
{
	const struct ckpt_task *t = rec->pid ? ckpt_tree_task(ctx, rec->pid) : NULL;
	bool whole = !rec->start && rec->end == OFFSET_MAX;

	if (!rec->kind || rec->kind > CKPT_LOCK_OFD || rec->flags & ~CKPT_LOCK_EXCLUSIVE ||
	    rec->pad)
		return ckpt_err(ctx, -EINVAL, "a lock of kind %u, flags %#x, padding %#x",
				rec->kind, rec->flags, rec->pad);
	if (rec->start < 0 || rec->end < rec->start || (rec->kind == CKPT_LOCK_FLOCK && !whole))
		return ckpt_err(ctx, -EINVAL, "a lock from %lld to %lld", rec->start, rec->end);
	if (!rec->owner == (rec->kind == CKPT_LOCK_POSIX))
		return ckpt_err(ctx, -EINVAL, "a lock of kind %u of table %d", rec->kind,
				rec->owner);
	if (rec->pid && (rec->kind == CKPT_LOCK_OFD || !t || t->pid != t->tgid))
		return ckpt_err(ctx, -EINVAL, "a lock of process %d", rec->pid);
	return 0;
}

static int set_lock(const struct ckpt_rec_lock *rec, struct file *file, void *owner, pid_t pid)
{
	struct file_lock *fl = locks_alloc_lock();
	unsigned int cmd = F_SETLK;
	int err;

	if (!fl)
		return -ENOMEM;
	fl->c.flc_file = file;
	fl->c.flc_owner = owner;
	fl->c.flc_pid = pid;
	fl->c.flc_type = rec->flags & CKPT_LOCK_EXCLUSIVE ? F_WRLCK : F_RDLCK;
	fl->fl_start = rec->start;
	fl->fl_end = rec->end;
	err = security_file_lock(file, fl->c.flc_type);
	if (!err && rec->kind == CKPT_LOCK_FLOCK) {
		fl->c.flc_flags = FL_FLOCK;
		err = file->f_op->flock ? file->f_op->flock(file, cmd, fl) :
					  locks_lock_file_wait(file, fl);
	} else if (!err) {
		fl->c.flc_flags = FL_POSIX;
		if (rec->kind == CKPT_LOCK_OFD)
			fl->c.flc_flags |= FL_OFDLCK;
		err = vfs_lock_file(file, cmd, fl, NULL);
	}
	locks_free_lock(fl);
	return err;
}

/* Is the file open for what the lock is to allow? */
static bool may_lock(const struct ckpt_rec_lock *rec, const struct file *file)
{
	if (rec->kind == CKPT_LOCK_FLOCK)
		return file->f_mode & (FMODE_READ | FMODE_WRITE);
	return file->f_mode & (rec->flags & CKPT_LOCK_EXCLUSIVE ? FMODE_WRITE : FMODE_READ);
}

int ckpt_lock_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_lock *rec = (struct ckpt_rec_lock *)ctx->rec;
	struct file *file = ckpt_obj_get(ctx, rec->file, CKPT_OBJ_FILE);
	struct task_struct *task;
	struct mem_cgroup *memcg, *old_memcg;
	const struct cred *old;
	void *owner = file;
	int err;

	if (IS_ERR(file))
		return PTR_ERR(file);
	ctx->current_objref = rec->file;
	err = check_lock(ctx, rec);
	if (err)
		return err;
	if (!may_lock(rec, file))
		return ckpt_err(ctx, -EINVAL, "it is not open for such a lock");
	if (rec->kind == CKPT_LOCK_POSIX) {
		owner = ckpt_obj_get(ctx, rec->owner, CKPT_OBJ_FILES);
		if (IS_ERR(owner))
			return PTR_ERR(owner);
		/* What is not open there would not be unlocked at its end. */
		if (!iterate_fd(owner, 0, is_file, file))
			return ckpt_err(ctx, -EINVAL, "table %d has a lock on it, and not the file",
					rec->owner);
	}
	task = rec->pid ? ckpt_tree_task(ctx, rec->pid)->task : ctx->root;
	memcg = ckpt_memcg_of(task);
	old_memcg = set_active_memcg(memcg);
	old = override_creds(file->f_cred);
	err = set_lock(rec, file, owner, rec->pid ? task_tgid_nr(task) : CKPT_LOCK_GONE);
	revert_creds(old);
	set_active_memcg(old_memcg);
	mem_cgroup_put(memcg);
	/* A server of files was interrupted: this call is not made again. */
	if (err == -ERESTARTSYS)
		err = -EINTR;
	if (err == -EAGAIN)
		return ckpt_err(ctx, err, "somebody else has a lock on it");
	if (err)
		return ckpt_err(ctx, err, "it cannot be locked");
	ctx->current_objref = 0;
	return 0;
}
