// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mounts of a tree that has a mount namespace of its own.
 *
 * No record describes a mount: user space makes the namespace to restart in,
 * which is a copy of its own with a /proc of the new pid namespace.  So what
 * such a copy of the caller's namespace would not have, or has and the tree has
 * not, would be lost, and is refused.  Both trees of mounts are walked side by
 * side.  Only what can be seen counts: where one is mounted on another's root,
 * the one below is no matter.
 *
 * Where the root directory is on a mount that the caller does not have, as
 * after pivot_root(2), there is nothing to compare with: all mounts are up to
 * user space.
 */
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/magic.h>
#include <linux/mnt_idmapping.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/nsproxy.h>
#include <linux/pid_namespace.h>
#include <linux/proc_fs.h>
#include <linux/proc_ns.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "../../fs/mount.h"
#include "internal.h"

/* What mount(2) sets of one mount */
#define MOUNT_FLAGS	(MNT_READONLY | MNT_NOSUID | MNT_NODEV | MNT_NOEXEC | MNT_NOATIME | \
			 MNT_NODIRATIME | MNT_RELATIME | MNT_NOSYMFOLLOW)
/* ... and what restart sets of the /proc that it mounts */
#define PROC_FLAGS	(MNT_NOSUID | MNT_NODEV | MNT_NOEXEC | MNT_RELATIME)

#define ONLY_THERE	"mounted in the mount namespace of the tree alone"

/**
 * struct comparison - of the mounts below one root directory in two namespaces
 * @ctx:    the context
 * @its:    the tree's namespace
 * @mine:   the caller's
 * @top:    the mount with the tree's root directory
 * @before: what the caller's namespace has got later has unique ids from here on
 * @own_pids: restart mounts a /proc, of the tree's own pid namespace
 * @proc:   what that is in the tree; the mount is NULL if there is none
 * @what:   the first difference, NULL for none
 * @where:  ... and where it is; counted references
 */
struct comparison {
	struct ckpt_ctx *ctx;
	struct mnt_namespace *its;
	struct mnt_namespace *mine;
	struct mount *top;
	u64 before;
	bool own_pids;
	struct path proc;
	const char *what;
	struct path where;
};

static void found(struct comparison *c, const char *what, struct mount *m, struct dentry *dentry)
{
	c->what = what;
	c->where.mnt = mntget(&m->mnt);
	c->where.dentry = dget(dentry);
}

/* --- the tree of mounts --- */

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

/*
 * Of those that are mounted on each other's root the one that can be seen, if
 * only those with an id below @before are there
 */
static struct mount *uppermost(struct mount *m, u64 before)
{
	for (;;) {
		struct mount *on_it = child_at(m, m->mnt.mnt_root);

		if (!on_it || on_it->mnt_id_unique >= before)
			return m;
		m = on_it;
	}
}

/* ... and the one that is mounted on something else */
static struct mount *lowermost(struct mount *m)
{
	while (m->mnt_mountpoint == m->mnt_parent->mnt.mnt_root)
		m = m->mnt_parent;
	return m;
}

/*
 * Can it be seen by name?  What the kernel mounts and unmounts by itself, where
 * somebody looks, is no matter.
 */
static bool is_visible(struct comparison *c, struct mount *parent, struct mount *child)
{
	struct dentry *root = c->ctx->root_path.dentry;

	if (child->mnt.mnt_flags & MNT_SHRINKABLE)
		return false;
	return parent != c->top ||
	       (child->mnt_mountpoint != root && is_subdir(child->mnt_mountpoint, root));
}

/* What is mounted on @m after @last, or first for NULL */
static struct mount *next_child(struct comparison *c, struct mount *m, struct mount *last)
{
	struct mount *child = last ?: list_entry(&m->mnt_mounts, struct mount, mnt_child);

	list_for_each_entry_continue(child, &m->mnt_mounts, mnt_child) {
		if (is_visible(c, m, child))
			return child;
		cond_resched();
	}
	return NULL;
}

/* The mount of the caller's that is where the tree's root directory is */
static struct mount *original_of_top(struct comparison *c)
{
	struct mount *top = c->top;

	for (struct rb_node *node = rb_first(&c->mine->mounts); node; node = rb_next(node)) {
		struct mount *m = rb_entry(node, struct mount, mnt_node);

		if (is_copy(top, m) && top->mnt_mountpoint == m->mnt_mountpoint &&
		    is_copy(top->mnt_parent, m->mnt_parent))
			return m;
		cond_resched();
	}
	return NULL;
}

/* --- differences --- */

/* Does restart mount it? */
static bool is_proc(struct comparison *c, struct mount *m)
{
	return &m->mnt == c->proc.mnt;
}

static const char *odd_proc(struct mount *m)
{
	const struct proc_fs_info *info = proc_sb_info(m->mnt.mnt_sb);

	if ((m->mnt.mnt_flags & MOUNT_FLAGS) != PROC_FLAGS || sb_rdonly(m->mnt.mnt_sb) ||
	    info->hide_pid != HIDEPID_OFF || info->pidonly != PROC_PIDONLY_OFF ||
	    !gid_eq(info->pid_gid, GLOBAL_ROOT_GID))
		return "mounted with other options than by restart";
	return NULL;
}

/* How a mount of the tree differs from the one that the caller has there, or NULL */
static const char *odd_mount(struct comparison *c, struct mount *m, struct mount *original)
{
	/* In a container restart makes all private. */
	if (!(c->ctx->flags & CHECKPOINT_SUBTREE) &&
	    (m->mnt.mnt_flags & (MNT_SHARED | MNT_UNBINDABLE) || m->mnt_master))
		return "a shared, slave or unbindable mount";
	if (is_proc(c, m))
		return odd_proc(m);
	if (!original || !is_copy(m, original))
		return ONLY_THERE;
	if ((m->mnt.mnt_flags ^ original->mnt.mnt_flags) & MOUNT_FLAGS)
		return "mounted with other options than outside of the tree";
	if (mnt_idmap(&m->mnt) != mnt_idmap(&original->mnt))
		return "mounted with other ids than outside of the tree";
	return NULL;
}

/* A file that is a namespace of mounts; such are not copied with a namespace. */
static bool is_mount_namespace(struct mount *m)
{
	return m->mnt.mnt_sb->s_magic == NSFS_MAGIC &&
	       get_proc_ns(d_inode(m->mnt.mnt_root))->ops == &mntns_operations;
}

/* Is something not on @m that was on @original when the tree's namespace was made? */
static void find_missing(struct comparison *c, struct mount *m, struct mount *original)
{
	struct mount *child;

	list_for_each_entry(child, &original->mnt_mounts, mnt_child) {
		if (child->mnt_id_unique < c->before && is_visible(c, m, child) &&
		    !is_mount_namespace(child) && !child_at(m, child->mnt_mountpoint)) {
			found(c, "mounted outside of the tree and not inside", m,
			      child->mnt_mountpoint);
			return;
		}
		cond_resched();
	}
}

static void find_difference(struct comparison *c, struct mount *m, struct mount *original)
{
	const char *what = odd_mount(c, m, original);
	struct mount *child;

	if (what) {
		found(c, what, m, m->mnt.mnt_root);
	} else if (!is_proc(c, m)) {
		find_missing(c, m, original);
	} else {
		child = next_child(c, m, NULL);
		if (child)
			found(c, ONLY_THERE, child, child->mnt.mnt_root);
	}
}

/* Each mount, and those on it before the next */
static void compare(struct comparison *c, struct mount *original)
{
	struct mount *m = c->top, *last = NULL;

	find_difference(c, m, original);
	while (!c->what && !fatal_signal_pending(current)) {
		struct mount *child = next_child(c, m, last);
		struct mount *its;

		if (!child && m == c->top)
			return;
		if (!child) {
			last = lowermost(m);
			m = last->mnt_parent;
			original = lowermost(original)->mnt_parent;
			continue;
		}
		last = child;
		its = child_at(original, child->mnt_mountpoint);
		its = its ? uppermost(its, c->before) : NULL;
		child = uppermost(child, U64_MAX);
		find_difference(c, child, its);
		/* What is on /proc was looked at. */
		if (is_proc(c, child))
			continue;
		m = child;
		original = its;
		last = NULL;
	}
}

/* --- */

static int find_proc(struct comparison *c)
{
	struct ckpt_ctx *ctx = c->ctx;
	struct super_block *sb;
	int err;

	c->own_pids = !(ctx->flags & CHECKPOINT_SUBTREE) &&
		      ctx->pid_ns != task_active_pid_ns(current);
	if (!c->own_pids)
		return 0;
	err = vfs_path_lookup(ctx->root_path.dentry, ctx->root_path.mnt, "/proc", 0, &c->proc);
	if (err)
		return err == -ENOMEM ? ckpt_nomem(ctx, "a name") : 0;
	sb = c->proc.dentry->d_sb;
	if (sb->s_magic == PROC_SUPER_MAGIC && proc_sb_info(sb)->pid_ns == ctx->pid_ns &&
	    c->proc.dentry == sb->s_root && c->proc.dentry == c->proc.mnt->mnt_root)
		return 0;
	path_put(&c->proc);
	c->proc = (struct path){};
	return 0;
}

/* Compare with the caller's mounts, if the root directory is on one of them. */
static void compare_all(struct comparison *c)
{
	struct mount *original;

	c->top = real_mount(c->ctx->root_path.mnt);
	if (c->top->mnt_ns != c->its) {
		c->what = "its root directory is on no mount of its namespace";
		return;
	}
	/* A namespace that is older than the caller's is no copy of it. */
	c->before = c->its->root->mnt_id_unique;
	if (c->before < c->mine->root->mnt_id_unique)
		c->before = U64_MAX;
	original = original_of_top(c);
	if (!original)
		return;
	compare(c, original);
	if (!c->what && c->own_pids && !c->proc.mnt)
		c->what = "/proc is not that of the tree's pid namespace";
}

static int refuse(struct comparison *c)
{
	char *buf __free(kfree) = NULL;
	char *name;

	if (!c->where.mnt)
		return ckpt_err(c->ctx, -EBUSY, "%s", c->what);
	buf = kmalloc(PATH_MAX, GFP_KERNEL);
	if (!buf)
		return ckpt_nomem(c->ctx, "a name");
	name = __d_path(&c->where, &c->ctx->root_path, buf, PATH_MAX);
	return ckpt_err(c->ctx, -EBUSY, "%s: %s", c->what,
			IS_ERR_OR_NULL(name) ? "a file system" : name);
}

/* Refuse the mounts of a tree that a copy of the caller's would not have. */
int ckpt_mounts_check(struct ckpt_ctx *ctx)
{
	struct comparison c = { .ctx = ctx, .mine = current->nsproxy->mnt_ns };
	struct nsproxy *its = ckpt_task_nsproxy(ctx->root);
	int err;

	if (!its)
		return ckpt_err(ctx, -ESRCH, "the root of the tree has exited");
	c.its = its->mnt_ns;
	if (c.its == c.mine) {
		put_nsproxy(its);
		return 0;
	}
	err = find_proc(&c);
	if (!err) {
		mounts_lock_shared();
		compare_all(&c);
		mounts_unlock_shared();
		if (c.what)
			err = refuse(&c);
		else if (fatal_signal_pending(current))
			err = ckpt_err(ctx, -EINTR, "a signal came");
	}
	path_put(&c.where);
	path_put(&c.proc);
	put_nsproxy(its);
	return err;
}
