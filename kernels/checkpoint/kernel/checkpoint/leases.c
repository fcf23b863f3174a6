// SPDX-License-Identifier: GPL-2.0-only
/*
 * Leases on files: the holder is told before somebody else opens one.
 *
 * A lease belongs to an open file, and is only given while nobody else has the
 * file open in a way that would end it.  So it comes behind the last task, when
 * all that is open is.  Who is told is the file's owner, see owners.c.  One that
 * is about to be broken goes on with what is left of its time; who waits for
 * that opens the file again.
 */
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/fcntl.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/filelock.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/memcontrol.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>

#include "internal.h"

/* Restart: one whose holder cannot be told of its end yet */
struct ckpt_lease {
	struct list_head list;	/* of ctx->leases */
	struct file *file;	/* held */
	struct lease_state lease;
};

/* --- checkpoint --- */

static s64 time_of(s64 left)
{
	return left < 0 ? -1 : jiffies64_to_nsecs(left);
}

static int save_lease(struct ckpt_ctx *ctx, struct file *file, int objref)
{
	struct ckpt_rec_lease rec = { .file = objref };
	struct lease_state lease;
	int err = lease_get(file, &lease);

	if (err == -ENOENT)
		return 0;
	if (err)
		return ckpt_err(ctx, err, "a server of files holds a lease");
	/* The signal may have come when those that are pending were in the image. */
	if (lease.ago >= 0 && lease.ago <= (s64)(jiffies - ctx->begun))
		return ckpt_err(ctx, -EAGAIN, "its lease was broken meanwhile");
	rec.pid = ckpt_lock_pid(ctx, lease.pid);
	if (lease.type == F_WRLCK)
		rec.flags |= CKPT_LEASE_EXCLUSIVE;
	rec.fd = lease.fd;
	rec.break_left = -1;
	rec.downgrade_left = -1;
	if (lease.pending & FL_UNLOCK_PENDING) {
		rec.flags |= CKPT_LEASE_UNLOCK;
		rec.break_left = time_of(lease.break_left);
	}
	if (lease.pending & FL_DOWNGRADE_PENDING) {
		rec.flags |= CKPT_LEASE_DOWNGRADE;
		rec.downgrade_left = time_of(lease.downgrade_left);
	}
	return ckpt_write_record(ctx, CKPT_REC_LEASE, &rec, sizeof(rec));
}

/* When all files are known. */
int ckpt_leases_save(struct ckpt_ctx *ctx)
{
	return ckpt_for_each_file(ctx, save_lease);
}

/* --- restart --- */

/* In jiffies; -1 is no time, and the only one of what is not to come. */
static bool get_time(s64 left, bool pending, s64 *jiffies_left)
{
	*jiffies_left = left < 0 ? -1 : nsecs_to_jiffies64(left);
	return left == -1 || (left >= 0 && pending);
}

static int check_lease(struct ckpt_ctx *ctx, const struct ckpt_rec_lease *rec,
		       struct lease_state *lease)
{
	const struct ckpt_task *t = rec->pid ? ckpt_tree_task(ctx, rec->pid) : NULL;
	u32 flags = CKPT_LEASE_EXCLUSIVE | CKPT_LEASE_UNLOCK | CKPT_LEASE_DOWNGRADE;

	if (rec->flags & ~flags ||
	    (rec->flags & CKPT_LEASE_DOWNGRADE && !(rec->flags & CKPT_LEASE_EXCLUSIVE)))
		return ckpt_err(ctx, -EINVAL, "a lease with flags %#x", rec->flags);
	if (rec->fd < 0 || rec->fd >= sysctl_nr_open)
		return ckpt_err(ctx, -EINVAL, "a lease of fd %d", rec->fd);
	if (rec->pid && (!t || t->pid != t->tgid))
		return ckpt_err(ctx, -EINVAL, "a lease of process %d", rec->pid);
	if (!get_time(rec->break_left, rec->flags & CKPT_LEASE_UNLOCK, &lease->break_left) ||
	    !get_time(rec->downgrade_left, rec->flags & CKPT_LEASE_DOWNGRADE,
		      &lease->downgrade_left))
		return ckpt_err(ctx, -EINVAL, "a lease that ends in %lld and %lld ns",
				rec->break_left, rec->downgrade_left);
	lease->type = rec->flags & CKPT_LEASE_EXCLUSIVE ? F_WRLCK : F_RDLCK;
	lease->pending = (rec->flags & CKPT_LEASE_UNLOCK ? FL_UNLOCK_PENDING : 0) |
			 (rec->flags & CKPT_LEASE_DOWNGRADE ? FL_DOWNGRADE_PENDING : 0);
	lease->pid = t ? task_tgid_nr(t->task) : CKPT_LOCK_GONE;
	lease->fd = rec->fd;
	return 0;
}

static bool may_lease(struct file *file)
{
	vfsuid_t owner = i_uid_into_vfsuid(file_mnt_idmap(file), file_inode(file));

	return vfsuid_eq_kuid(owner, current_fsuid()) || capable(CAP_LEASE);
}

/* If the holder can, or who has opened the file could: the caller may be more than the tree. */
static int set_lease(struct file *file, const struct lease_state *lease,
		     struct task_struct *holder)
{
	const struct cred *cred = get_task_cred(holder);
	const struct cred *old = override_creds(cred);
	bool may = may_lease(file);
	int err;

	override_creds(file->f_cred);
	err = may || may_lease(file) ? lease_set_again(file, lease) : -EACCES;
	revert_creds(old);
	put_cred(cred);
	return err;
}

int ckpt_lease_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_lease *rec = (struct ckpt_rec_lease *)ctx->rec;
	struct file *file = ckpt_obj_get(ctx, rec->file, CKPT_OBJ_FILE);
	struct ckpt_lease *l __free(kfree) = NULL;
	struct mem_cgroup *memcg, *old;
	struct task_struct *holder;
	int err;

	if (IS_ERR(file))
		return PTR_ERR(file);
	ctx->current_objref = rec->file;
	l = kzalloc(sizeof(*l), GFP_KERNEL_ACCOUNT);
	if (!l)
		return ckpt_nomem(ctx, "a lease");
	err = check_lease(ctx, rec, &l->lease);
	if (err)
		return err;
	holder = rec->pid ? ckpt_tree_task(ctx, rec->pid)->task : ctx->root;
	memcg = ckpt_memcg_of(holder);
	old = set_active_memcg(memcg);
	err = set_lease(file, &l->lease, holder);
	set_active_memcg(old);
	mem_cgroup_put(memcg);
	if (err == -EAGAIN)
		return ckpt_err(ctx, err, "it is open elsewhere, as its lease does not allow");
	if (err == -EEXIST)
		return ckpt_err(ctx, -EINVAL, "a second lease on it");
	if (err)
		return ckpt_err(ctx, err, "no lease can be taken on it");
	l->file = get_file(file);
	list_add_tail(&no_free_ptr(l)->list, &ctx->leases);
	ctx->current_objref = 0;
	return 0;
}

/* Who opened the file meanwhile could not tell anybody. */
void ckpt_leases_apply(struct ckpt_ctx *ctx)
{
	const struct ckpt_lease *l;

	list_for_each_entry(l, &ctx->leases, list) {
		lease_tell(l->file, &l->lease);
		cond_resched();
	}
}

void ckpt_leases_free(struct ckpt_ctx *ctx)
{
	struct ckpt_lease *l, *next;

	list_for_each_entry_safe(l, next, &ctx->leases, list) {
		list_del(&l->list);
		fput(l->file);
		kfree(l);
	}
}
