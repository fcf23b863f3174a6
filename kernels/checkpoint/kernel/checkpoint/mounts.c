// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mounts of a tree that has a mount namespace of its own.
 *
 * No record describes a mount: user space makes the namespace to restart in,
 * which is a copy of its own with a /proc of the new pid namespace.  So what
 * the tree has mounted, unmounted or changed since its namespace was a copy of
 * the caller's would be lost, and is refused.  Both trees of mounts are walked
 * side by side: a copy is where the original is.
 *
 * Of a root directory on a mount that the caller does not have, as after
 * pivot_root(2), the caller has no mounts to compare with: all are up to user
 * space.
 */
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/magic.h>
#include <linux/mnt_idmapping.h>
#include <linux/mnt_namespace.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/nsproxy.h>
#include <linux/pid_namespace.h>
#include <linux/proc_fs.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include "../../fs/mount.h"
#include "internal.h"

/* What mount(2) sets of one mount */
#define MOUNT_FLAGS	(MNT_READONLY | MNT_NOSUID | MNT_NODEV | MNT_NOEXEC | MNT_NOATIME | \
			 MNT_NODIRATIME | MNT_RELATIME | MNT_NOSYMFOLLOW)
/* ... and what restart sets of the /proc that it mounts */
#define PROC_FLAGS	(MNT_NOSUID | MNT_NODEV | MNT_NOEXEC | MNT_RELATIME)

#define ONLY_THERE	"is mounted in the mount namespace of the tree alone"

/**
 * struct comparison - of the mounts below one root directory in two namespaces
 * @ctx:   the context
 * @its:   the tree's namespace
 * @mine:  the caller's
 * @proc:  what the tree's /proc is; the mount is NULL without a pid namespace of its own
 * @what:  the first difference, NULL for none
 * @where: ... and where it is; counted references
 */
struct comparison {
	struct ckpt_ctx *ctx;
	struct mnt_namespace *its;
	struct mnt_namespace *mine;
	struct path proc;
	const char *what;
	struct path where;
};

static bool is_copy(struct mount *copy, struct mount *original)
{
	return copy->mnt.mnt_sb == original->mnt.mnt_sb &&
	       copy->mnt.mnt_root == original->mnt.mnt_root;
}

static struct mount *child_at(struct mount *parent, struct dentry *dentry)
{
	guard(rcu)();
	return __lookup_mnt(&parent->mnt, dentry);
}

/* Of the caller's mounts the one where @top is; if none is there, any of the same directory. */
static struct mount *original_of(struct comparison *c, struct mount *top)
{
	struct mount *found = NULL, *m;

	read_seqlock_excl(&mount_lock);
	list_for_each_entry(m, &top->mnt.mnt_sb->s_mounts, mnt_instance) {
		if (m->mnt_ns != c->mine || !is_copy(top, m))
			continue;
		found = m;
		if (m->mnt_mountpoint == top->mnt_mountpoint)
			break;
	}
	read_sequnlock_excl(&mount_lock);
	return found;
}

/* Does restart mount it? */
static bool is_proc(struct comparison *c, struct mount *m)
{
	return &m->mnt == c->proc.mnt && c->proc.dentry == m->mnt.mnt_root;
}

static const char *odd_proc(struct mount *m)
{
	const struct proc_fs_info *info = proc_sb_info(m->mnt.mnt_sb);

	if ((m->mnt.mnt_flags & MOUNT_FLAGS) != PROC_FLAGS || info->hide_pid != HIDEPID_OFF ||
	    info->pidonly != PROC_PIDONLY_OFF || !gid_eq(info->pid_gid, GLOBAL_ROOT_GID))
		return "is mounted with other options than by restart";
	return NULL;
}

/* How a mount of the tree differs from the one that the caller has there */
static const char *odd_mount(struct comparison *c, struct mount *m, struct mount *original)
{
	if (m->mnt.mnt_flags & (MNT_SHARED | MNT_UNBINDABLE) || m->mnt_master)
		return "is a shared, slave or unbindable mount";
	if (is_proc(c, m))
		return odd_proc(m);
	if (!original || !is_copy(m, original))
		return ONLY_THERE;
	if ((m->mnt.mnt_flags ^ original->mnt.mnt_flags) & MOUNT_FLAGS)
		return "is mounted with other options than outside of the tree";
	if (mnt_idmap(&m->mnt) != mnt_idmap(&original->mnt))
		return "is mounted with other ids than outside of the tree";
	return NULL;
}

static bool found(struct comparison *c, const char *what, struct mount *m, struct dentry *dentry)
{
	c->what = what;
	c->where.mnt = mntget(&m->mnt);
	c->where.dentry = dget(dentry);
	return true;
}

/* Is it below the root directory of the tree? */
static bool is_visible(struct comparison *c, struct mount *parent, struct dentry *mountpoint)
{
	return &parent->mnt != c->ctx->root_path.mnt ||
	       is_subdir(mountpoint, c->ctx->root_path.dentry);
}

/* What is mounted on @m after @last, or first for NULL */
static struct mount *next_child(struct comparison *c, struct mount *m, struct mount *last)
{
	struct mount *child = last ?: list_entry(&m->mnt_mounts, struct mount, mnt_child);

	list_for_each_entry_continue(child, &m->mnt_mounts, mnt_child)
		if (is_visible(c, m, child->mnt_mountpoint))
			return child;
	return NULL;
}

/*
 * Is something not on @m that was on @original when the tree's namespace was
 * made?  Files that are namespaces of mounts are not copied.
 */
static bool find_missing(struct comparison *c, struct mount *m, struct mount *original)
{
	struct mount *child;

	list_for_each_entry(child, &original->mnt_mounts, mnt_child)
		if (child->mnt_id_unique < c->its->root->mnt_id_unique &&
		    child->mnt.mnt_sb->s_magic != NSFS_MAGIC &&
		    is_visible(c, m, child->mnt_mountpoint) && !child_at(m, child->mnt_mountpoint))
			return found(c, "is mounted outside of the tree and not inside",
				     m, child->mnt_mountpoint);
	return false;
}

static bool find_difference(struct comparison *c, struct mount *m, struct mount *original)
{
	const char *what = odd_mount(c, m, original);
	struct mount *child;

	if (what)
		return found(c, what, m, m->mnt.mnt_root);
	if (!is_proc(c, m))
		return find_missing(c, m, original);
	child = next_child(c, m, NULL);
	return child && found(c, ONLY_THERE, child, child->mnt.mnt_root);
}

/* Each mount, and those on it before the next. */
static void compare(struct comparison *c, struct mount *top)
{
	struct mount *original = original_of(c, top), *m = top, *last = NULL;

	if (!original || find_difference(c, top, original))
		return;
	for (;;) {
		struct mount *child = next_child(c, m, last);

		if (child) {
			struct mount *its = child_at(original, child->mnt_mountpoint);

			last = child;
			if (find_difference(c, child, its))
				return;
			if (is_proc(c, child))
				continue;
			m = child;
			original = its;
			last = NULL;
		} else {
			if (m == top)
				return;
			last = m;
			m = m->mnt_parent;
			original = original->mnt_parent;
		}
		cond_resched();
	}
}

/* Restart mounts a /proc where a pid namespace is the tree's own. */
static int find_proc(struct comparison *c)
{
	struct ckpt_ctx *ctx = c->ctx;
	struct super_block *sb;
	int err;

	if (ctx->pid_ns == task_active_pid_ns(current))
		return 0;
	err = vfs_path_lookup(ctx->root_path.dentry, ctx->root_path.mnt, "/proc", 0, &c->proc);
	if (err)
		return ckpt_err(ctx, -EBUSY, "/proc cannot be looked up: error %d", -err);
	sb = c->proc.dentry->d_sb;
	if (sb->s_magic != PROC_SUPER_MAGIC || proc_sb_info(sb)->pid_ns != ctx->pid_ns ||
	    c->proc.dentry != sb->s_root || c->proc.dentry != c->proc.mnt->mnt_root)
		return ckpt_err(ctx, -EBUSY, "/proc is not that of the tree's pid namespace");
	return 0;
}

static int refuse(struct comparison *c)
{
	char *buf __free(kfree) = kmalloc(PATH_MAX, GFP_KERNEL);
	char *name = buf ? __d_path(&c->where, &c->ctx->root_path, buf, PATH_MAX) : NULL;

	if (IS_ERR_OR_NULL(name))
		name = "a file system";
	return ckpt_err(c->ctx, -EBUSY, "%s %s", name, c->what);
}

/* Refuse the mounts of a tree that a copy of the caller's would not have. */
int ckpt_mounts_check(struct ckpt_ctx *ctx)
{
	struct comparison c = { .ctx = ctx, .mine = current->nsproxy->mnt_ns };
	int err = 0;

	scoped_guard(task_lock, ctx->root) {
		c.its = ctx->root->nsproxy ? ctx->root->nsproxy->mnt_ns : NULL;
		if (c.its)
			get_mnt_ns(c.its);
	}
	if (!c.its)
		return ckpt_err(ctx, -ESRCH, "the root of the tree has exited");
	if (c.its == c.mine)
		goto out;
	err = find_proc(&c);
	if (!err) {
		mounts_lock_shared();
		compare(&c, real_mount(ctx->root_path.mnt));
		mounts_unlock_shared();
		if (c.what)
			err = refuse(&c);
	}
	path_put(&c.where);
	path_put(&c.proc);
out:
	put_mnt_ns(c.its);
	return err;
}
