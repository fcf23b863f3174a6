// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mounts of a tree that has a mount namespace of its own.
 *
 * Such a namespace begins as a copy of another one.  Both trees of mounts, that
 * of the tree and that of the caller of checkpoint(2), are walked side by side,
 * and a record tells each difference: what is not there, what has other options,
 * what is bound elsewhere, and each new tmpfs, with what is in it (tmpfs.c).  Only
 * what can be seen counts: where one is mounted on another's root, the one below is
 * no matter, and neither is what the caller's namespace has got later.  A mount that
 * nothing of the caller's namespace could be bound to again is refused.
 *
 * On restart user space makes a copy of its own namespace, and the differences
 * in it, in the order of the records.  The coordinator walks again, and the root
 * of the tree has to have exactly these.
 *
 * Where the root directory is on a mount that the caller does not have, as
 * after pivot_root(2), there is nothing to compare with: all mounts are up to
 * user space.
 */
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/list_sort.h>
#include <linux/magic.h>
#include <linux/mnt_idmapping.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/nsproxy.h>
#include <linux/pid_namespace.h>
#include <linux/proc_fs.h>
#include <linux/proc_ns.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <uapi/linux/mount.h>

#include "../../fs/mount.h"
#include "internal.h"

/* Nobody can mount anything meanwhile: a second or two of looking at the caller's mounts */
#define STEPS_MAX	(10 * 1000 * 1000)

/* What mount(2) sets of one mount */
#define MOUNT_FLAGS	(MNT_READONLY | MNT_NOSUID | MNT_NODEV | MNT_NOEXEC | MNT_NOATIME | \
			 MNT_NODIRATIME | MNT_RELATIME | MNT_NOSYMFOLLOW)
/* ... and what restart sets of the /proc that it mounts */
#define PROC_FLAGS	(MNT_NOSUID | MNT_NODEV | MNT_NOEXEC | MNT_RELATIME)

/* What mount(2) sets of a whole file system, tmpfs among them */
#define TMPFS_FLAGS	(SB_RDONLY | SB_SYNCHRONOUS | SB_DIRSYNC | SB_MANDLOCK | SB_LAZYTIME)

/* Bytes that fsconfig(2) takes for a string */
#define FSCONFIG_LEN	256

#define ONLY_THERE	"mounted in the mount namespace of the tree alone"

/**
 * struct ckpt_mount - a difference
 * @node:  in the list of a context
 * @order: when a new one is made: by its unique id, on restart by its place in the image;
 *	0 for what concerns one of the caller's
 * @found: the tree has it; of a record of the image
 * @sb:    of a new tmpfs, or of what is bound of one; only compared
 * @part:  which part of it; NULL for its root directory
 * @mnt:   at a checkpoint, a counted reference
 * @contents: what is in it
 * @rec:   the record, with its names
 */
struct ckpt_mount {
	struct list_head node;
	u64 order;
	bool found;
	const struct super_block *sb;
	char *part;
	struct vfsmount *mnt;
	struct ckpt_tmpfs *contents;
	struct ckpt_rec_mount rec;
};

/**
 * struct comparison - of the mounts below one root directory in two namespaces
 * @ctx:    the context
 * @its:    the tree's namespace
 * @mine:   the caller's
 * @top:    the mount with the tree's root directory
 * @original_top: ... and the caller's that is the same
 * @before: what the caller's namespace has got later has unique ids from here on
 * @own_pids: restart mounts a /proc, of the tree's own pid namespace
 * @proc:   what that is in the tree; the mount is NULL if there is none
 * @proc_point: the directory that it covers; only compared
 * @found:  the differences
 * @nr:     how many they are
 * @steps:  how much was looked at for them
 * @buf:    room for three names
 * @err:    why it was given up: ENOMEM, E2BIG, or EBUSY with @what
 * @what:   what is refused
 * @where:  ... and where it is; counted references
 */
struct comparison {
	struct ckpt_ctx *ctx;
	struct mnt_namespace *its;
	struct mnt_namespace *mine;
	struct mount *top;
	struct mount *original_top;
	u64 before;
	bool own_pids;
	struct path proc;
	const struct dentry *proc_point;
	struct list_head found;
	unsigned int nr;
	unsigned int steps;
	char *buf;
	int err;
	const char *what;
	struct path where;
};

static void give_up(struct comparison *c, const char *what, struct mount *m,
		    struct dentry *dentry)
{
	c->err = -EBUSY;
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

/* Does the kernel mount and unmount it by itself, where somebody looks? */
static bool is_automount(const struct mount *m)
{
	return m->mnt.mnt_flags & MNT_SHRINKABLE && list_empty(&m->mnt_mounts) &&
	       m->mnt_mountpoint->d_flags & DCACHE_NEED_AUTOMOUNT;
}

/* Can it be seen by name?  Automounts are no matter. */
static bool is_visible(struct comparison *c, struct mount *parent, struct mount *child)
{
	struct dentry *root = c->ctx->root_path.dentry;

	if (is_automount(child))
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

/* Options of a mount as mount_setattr(2) has them */
static u32 attrs_of(const struct mount *m)
{
	static const struct {
		unsigned int flag;
		u32 attr;
	} all[] = {
		{ MNT_READONLY, MOUNT_ATTR_RDONLY },
		{ MNT_NOSUID, MOUNT_ATTR_NOSUID },
		{ MNT_NODEV, MOUNT_ATTR_NODEV },
		{ MNT_NOEXEC, MOUNT_ATTR_NOEXEC },
		{ MNT_NODIRATIME, MOUNT_ATTR_NODIRATIME },
		{ MNT_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW },
	};
	unsigned int flags = m->mnt.mnt_flags;
	u32 attrs = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(all); i++)
		if (flags & all[i].flag)
			attrs |= all[i].attr;
	if (flags & MNT_NOATIME)
		return attrs | MOUNT_ATTR_NOATIME;
	return flags & MNT_RELATIME ? attrs : attrs | MOUNT_ATTR_STRICTATIME;
}

/* A name as seen from a root directory, in @buf of PATH_MAX bytes; NULL where it has none. */
static const char *name_of(struct comparison *c, struct mount *m, struct dentry *dentry,
			   struct mount *top, char *buf)
{
	struct path path = { .mnt = &m->mnt, .dentry = dentry };
	struct path root = { .mnt = &top->mnt, .dentry = c->ctx->root_path.dentry };
	char *name = __d_path(&path, &root, buf, PATH_MAX);

	return IS_ERR(name) ? NULL : name;
}

/* Count what was looked at; false where that is too much, or not wanted any more. */
static bool goes_on(struct comparison *c, unsigned int steps)
{
	c->steps += steps;
	if (c->steps > STEPS_MAX)
		c->err = -E2BIG;
	cond_resched();
	return !c->err && !fatal_signal_pending(current);
}

/* A record with its names; the second may be NULL. */
static struct ckpt_mount *new_mount(u32 kind, const char *name, const char *source)
{
	size_t path_len = strlen(name) + 1;
	size_t source_len = source ? strlen(source) + 1 : 0;
	size_t len = ALIGN(path_len + source_len, 8);
	struct ckpt_mount *new = kzalloc(struct_size(new, rec.names, len), GFP_KERNEL_ACCOUNT);

	if (!new)
		return NULL;
	new->rec.h.type = CKPT_REC_MOUNT;
	new->rec.h.len = sizeof(new->rec) + len;
	new->rec.kind = kind;
	new->rec.path_len = path_len;
	new->rec.source_len = source_len;
	memcpy(new->rec.names, name, path_len);
	if (source)
		memcpy(new->rec.names + path_len, source, source_len);
	return new;
}

static void free_mount(struct ckpt_mount *m)
{
	list_del(&m->node);
	ckpt_tmpfs_free(m->contents);
	mntput(m->mnt);
	kfree(m->part);
	kfree(m);
}

/* Note a difference at a place of the tree. */
static struct ckpt_mount *note(struct comparison *c, u32 kind, struct mount *m,
			       struct dentry *dentry, const char *source)
{
	const char *name = name_of(c, m, dentry, c->top, c->buf);
	struct ckpt_mount *new;

	if (!name) {
		give_up(c, "a mount without a name, or with one that is too long", m, dentry);
		return NULL;
	}
	if (++c->nr > CKPT_MOUNTS_MAX) {
		c->err = -E2BIG;
		return NULL;
	}
	new = new_mount(kind, name, source);
	if (!new) {
		c->err = -ENOMEM;
		return NULL;
	}
	list_add_tail(&new->node, &c->found);
	return new;
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

/* What no record could tell of a mount, or NULL */
static const char *odd_mount(struct comparison *c, struct mount *m, struct mount *original)
{
	/* Restart makes all private. */
	if (m->mnt.mnt_flags & (MNT_SHARED | MNT_UNBINDABLE) || m->mnt_master)
		return "a shared, slave or unbindable mount";
	if (is_proc(c, m))
		return odd_proc(m);
	if (mnt_idmap(&m->mnt) != (original ? mnt_idmap(&original->mnt) : &nop_mnt_idmap))
		return "mounted with other ids than outside of the tree";
	return NULL;
}

/* --- ... of one that the caller has, too --- */

/* A file that is a namespace of mounts; such are not copied with a namespace. */
static bool is_mount_namespace(struct mount *m)
{
	return m->mnt.mnt_sb->s_magic == NSFS_MAGIC &&
	       get_proc_ns(d_inode(m->mnt.mnt_root))->ops == &mntns_operations;
}

/* Is one of those that are mounted on each other there the same? */
static bool is_below(struct mount *lowest, struct mount *original)
{
	for (struct mount *m = lowest; m; m = child_at(m, m->mnt.mnt_root))
		if (is_copy(m, original))
			return true;
	return false;
}

/* Is something not on @m that was on @original when the tree's namespace was made? */
static void find_missing(struct comparison *c, struct mount *m, struct mount *original)
{
	struct mount *child;

	list_for_each_entry(child, &original->mnt_mounts, mnt_child) {
		struct mount *lowest = child_at(m, child->mnt_mountpoint);

		if (child->mnt_id_unique < c->before && is_visible(c, m, child) &&
		    !is_mount_namespace(child) &&
		    !(lowest && is_below(lowest, uppermost(child, c->before))) &&
		    !note(c, CKPT_MOUNT_GONE, m, child->mnt_mountpoint, NULL))
			return;
		cond_resched();
	}
}

static void compare_with(struct comparison *c, struct mount *m, struct mount *original)
{
	if ((m->mnt.mnt_flags ^ original->mnt.mnt_flags) & MOUNT_FLAGS) {
		struct ckpt_mount *new = note(c, CKPT_MOUNT_ATTRS, m, m->mnt.mnt_root, NULL);

		if (!new)
			return;
		new->rec.attrs = attrs_of(m);
	}
	find_missing(c, m, original);
}

/* --- ... of one that is new --- */

/*
 * Does the name of @dentry on @m, a mount of the caller's, lead there from the root directory,
 * also where restart has mounted /proc?  Names are no longer than PATH_MAX.
 */
static bool is_reachable(struct comparison *c, struct mount *m, struct dentry *dentry)
{
	struct dentry *root = c->ctx->root_path.dentry;
	bool comes_from_it = false;

	guard(rcu)();
	for (int i = 0; i < PATH_MAX && dentry != c->proc_point; i++) {
		struct mount *on_it = comes_from_it ? NULL : __lookup_mnt(&m->mnt, dentry);

		if (on_it && on_it->mnt_id_unique < c->before)
			return false;
		if (m == c->original_top && dentry == root)
			return !comes_from_it;
		if (dentry == m->mnt.mnt_root) {
			if (m == m->mnt_parent)
				return false;
			dentry = m->mnt_mountpoint;
			m = m->mnt_parent;
			comes_from_it = true;
		} else {
			if (IS_ROOT(dentry))
				return false;
			dentry = READ_ONCE(dentry->d_parent);
			comes_from_it = false;
		}
		c->steps++;
	}
	return false;
}

/* Does the image say that @source is bound at @name? */
static bool is_in_image(struct ckpt_ctx *ctx, const char *name, const char *source)
{
	struct ckpt_mount *m;

	list_for_each_entry(m, &ctx->mounts, node)
		if (m->rec.kind == CKPT_MOUNT_BIND && !strcmp(m->rec.names, name) &&
		    !strcmp(m->rec.names + m->rec.path_len, source))
			return true;
	return false;
}

/*
 * The name by which the caller reaches what @m has as its root: the shortest, and of
 * those the first, so that the order of mounts does not matter.  NULL if there is none.
 * On restart that of the image, if it is one of them: there may be shorter ones by now.
 */
static const char *find_source(struct comparison *c, struct mount *m)
{
	const char *where = name_of(c, m, m->mnt.mnt_root, c->top, c->buf);
	char *best = c->buf + PATH_MAX, *buf = best + PATH_MAX;
	struct dentry *dentry = m->mnt.mnt_root;
	bool any = false;

	for (struct rb_node *node = rb_first(&c->mine->mounts); node; node = rb_next(node)) {
		struct mount *o = rb_entry(node, struct mount, mnt_node);
		const char *name;

		if (!goes_on(c, 1))
			return NULL;
		if (o->mnt.mnt_sb != m->mnt.mnt_sb || o->mnt_id_unique >= c->before ||
		    !is_subdir(dentry, o->mnt.mnt_root) || !is_reachable(c, o, dentry))
			continue;
		name = name_of(c, o, dentry, c->original_top, buf);
		if (!name)
			continue;
		if (c->ctx->restart && where && is_in_image(c->ctx, where, name))
			return name;
		if (!any || strlen(name) < strlen(best) ||
		    (strlen(name) == strlen(best) && strcmp(name, best) < 0))
			strscpy(best, name, PATH_MAX);
		any = true;
	}
	return any ? best : NULL;
}

static bool is_mine(struct comparison *c, const struct super_block *sb)
{
	for (struct rb_node *node = rb_first(&c->mine->mounts); node; node = rb_next(node))
		if (rb_entry(node, struct mount, mnt_node)->mnt.mnt_sb == sb || !goes_on(c, 1))
			return true;
	return false;
}

/* Is it mounted in the tree's namespace, and nowhere else? */
static bool is_its_alone(struct comparison *c, const struct super_block *sb)
{
	int its = 0;

	for (struct rb_node *node = rb_first(&c->its->mounts); node; node = rb_next(node)) {
		its += rb_entry(node, struct mount, mnt_node)->mnt.mnt_sb == sb;
		if (!goes_on(c, 1))
			break;
	}
	return atomic_read(&sb->s_active) == its;
}

static const char *odd_tmpfs(struct comparison *c, struct super_block *sb)
{
	const struct shmem_sb_info *info = sb->s_fs_info;

	/* On restart the tree may have had files open in it. */
	if (!c->ctx->restart && !is_its_alone(c, sb))
		return "a tmpfs that is mounted elsewhere, too";
	if (sb->s_user_ns != c->ctx->user_ns)
		return "a tmpfs of another user namespace";
	if (sb->s_flags & TMPFS_FLAGS || info->huge || info->mpol || info->noswap ||
	    info->full_inums != IS_ENABLED(CONFIG_TMPFS_INODE64) || sb->s_quota_types)
		return "a tmpfs with options that are not supported";
	return NULL;
}

/* A new tmpfs, or a part of one */
static void note_tmpfs(struct comparison *c, struct mount *m, u64 order)
{
	struct super_block *sb = m->mnt.mnt_sb;
	const struct shmem_sb_info *info = sb->s_fs_info;
	const char *what = odd_tmpfs(c, sb);
	struct ckpt_mount *new;

	if (!what && m->mnt_devname && strlen(m->mnt_devname) >= FSCONFIG_LEN)
		what = "a tmpfs whose name is too long";
	if (what) {
		give_up(c, what, m, m->mnt.mnt_root);
		return;
	}
	new = note(c, CKPT_MOUNT_TMPFS, m, m->mnt.mnt_root, m->mnt_devname ?: "none");
	if (!new)
		return;
	new->sb = sb;
	new->order = order;
	if (m->mnt.mnt_root != sb->s_root) {
		const char *part = dentry_path_raw(m->mnt.mnt_root, c->buf, PATH_MAX);

		if (IS_ERR(part)) {
			give_up(c, "a part of a tmpfs whose name is too long", m,
				m->mnt.mnt_root);
			return;
		}
		new->part = kstrdup(part, GFP_KERNEL_ACCOUNT);
		if (!new->part) {
			c->err = -ENOMEM;
			return;
		}
	}
	if (!c->ctx->restart)
		new->mnt = mntget(&m->mnt);
	new->rec.attrs = attrs_of(m);
	new->rec.size = (u64)info->max_blocks << PAGE_SHIFT;
	new->rec.inodes = info->max_inodes;
	new->rec.uid = from_kuid(c->ctx->user_ns, info->uid);
	new->rec.gid = from_kgid(c->ctx->user_ns, info->gid);
	new->rec.mode = info->mode & 07777;
	if (new->rec.uid == (uid_t)-1 || new->rec.gid == (gid_t)-1)
		give_up(c, "a tmpfs whose owner has no id in the user namespace", m,
			m->mnt.mnt_root);
}

/* Is something with an id below @before mounted between the root of @m and @dentry? */
static bool has_between(struct comparison *c, struct mount *m, struct dentry *dentry, u64 before)
{
	guard(rcu)();
	while (dentry != m->mnt.mnt_root && !IS_ROOT(dentry)) {
		struct mount *around;

		c->steps++;
		dentry = READ_ONCE(dentry->d_parent);
		if (dentry == m->mnt.mnt_root)
			break;
		around = __lookup_mnt(&m->mnt, dentry);
		if (around && around->mnt_id_unique < before)
			return true;
	}
	return false;
}

/* Was something mounted around it before, so that nobody could have mounted it by name? */
static bool is_below_older(struct comparison *c, struct mount *m)
{
	struct mount *at = m;

	do {
		at = lowermost(at);
		if (has_between(c, at->mnt_parent, at->mnt_mountpoint, m->mnt_id_unique))
			return true;
		at = at->mnt_parent;
	} while (at != c->top && goes_on(c, 1));
	return false;
}

/*
 * When to make a mount that is on @below others that are new: in the order of ids,
 * but where one was moved to a younger one behind that.
 */
static u64 order_of(struct comparison *c, struct mount *m, unsigned int below)
{
	u64 order = m->mnt_id_unique;

	for (; below; below--) {
		m = lowermost(m)->mnt_parent;
		/* Made by restart before all others */
		if (!is_proc(c, m))
			order = max(order, m->mnt_id_unique);
	}
	return order;
}

static void note_new(struct comparison *c, struct mount *m, unsigned int below)
{
	const char *source;
	struct ckpt_mount *new;

	if (d_unlinked(m->mnt.mnt_root)) {
		give_up(c, "mounted, and deleted since", m, m->mnt.mnt_root);
		return;
	}
	if (!c->ctx->restart && is_below_older(c, m)) {
		give_up(c, "covered by what was moved", m, m->mnt.mnt_root);
		return;
	}
	if (!strcmp(m->mnt.mnt_sb->s_type->name, "tmpfs") && !is_mine(c, m->mnt.mnt_sb)) {
		note_tmpfs(c, m, order_of(c, m, below));
		return;
	}
	source = find_source(c, m);
	if (!source) {
		if (!c->err)
			give_up(c, ONLY_THERE, m, m->mnt.mnt_root);
		return;
	}
	new = note(c, CKPT_MOUNT_BIND, m, m->mnt.mnt_root, source);
	if (!new)
		return;
	new->order = order_of(c, m, below);
	new->rec.attrs = attrs_of(m);
}

/* Note how @m, on @below others that are new, differs from what the caller has; is it another? */
static bool find_difference(struct comparison *c, struct mount *m, struct mount *original,
			    unsigned int below)
{
	bool same = original && is_copy(m, original) && !is_proc(c, m);
	const char *what = odd_mount(c, m, same ? original : NULL);

	if (what)
		give_up(c, what, m, m->mnt.mnt_root);
	else if (same)
		compare_with(c, m, original);
	else if (!is_proc(c, m))
		note_new(c, m, below);
	return !same;
}

/*
 * Each mount, and those on it before the next.  @below counts those that @m is on,
 * it among them, which the caller has not.
 */
static void compare(struct comparison *c)
{
	struct mount *m = c->top, *last = NULL, *original = c->original_top;
	unsigned int below = 0;

	find_difference(c, m, original, 0);
	while (!c->err && !fatal_signal_pending(current)) {
		struct mount *child = next_child(c, m, last);
		struct mount *its = NULL;

		if (!child && m == c->top)
			return;
		if (!child) {
			last = lowermost(m);
			m = last->mnt_parent;
			if (below)
				below--;
			else
				original = lowermost(original)->mnt_parent;
			continue;
		}
		if (!below)
			its = child_at(original, child->mnt_mountpoint);
		its = its && its->mnt_id_unique < c->before ? uppermost(its, c->before) : NULL;
		child = uppermost(child, U64_MAX);
		if (find_difference(c, child, its, below))
			below++;
		else
			original = its;
		m = child;
		last = NULL;
	}
}

/* --- the list --- */

/* First what concerns the caller's, by name, then the new ones, in the order of making. */
static int in_order(void *unused, const struct list_head *a, const struct list_head *b)
{
	const struct ckpt_mount *x = list_entry(a, struct ckpt_mount, node);
	const struct ckpt_mount *y = list_entry(b, struct ckpt_mount, node);

	if (x->order != y->order)
		return x->order < y->order ? -1 : 1;
	return x->order ? 0 : strcmp(x->rec.names, y->rec.names);
}

/* The first of the same new tmpfs; which is known when they are in order */
static unsigned int first_of(struct comparison *c, const struct ckpt_mount *m)
{
	struct ckpt_mount *before;
	unsigned int nr = 0;

	list_for_each_entry(before, &c->found, node) {
		nr++;
		if (before == m)
			return 0;
		if (before->rec.kind == CKPT_MOUNT_TMPFS && before->sb == m->sb)
			return nr;
	}
	return 0;
}

/*
 * They were made in the order of the image, and need not have such ids: the place of the
 * first with this name that no other has.
 */
static u64 place_in_image(struct ckpt_ctx *ctx, const struct ckpt_mount *m)
{
	struct ckpt_mount *its;

	cond_resched();
	list_for_each_entry(its, &ctx->mounts, node) {
		if (its->rec.kind >= CKPT_MOUNT_BIND && !its->found &&
		    !strcmp(its->rec.names, m->rec.names)) {
			its->found = true;
			return its->order;
		}
	}
	return U64_MAX;
}

/* What is mounted a second time of a new tmpfs, or in part, is bound. */
static int bind_instead(struct comparison *c, struct ckpt_mount **m, unsigned int source)
{
	struct ckpt_mount *old = *m;
	struct ckpt_mount *new = new_mount(CKPT_MOUNT_BIND, old->rec.names, old->part ?: "/");

	if (!new)
		return ckpt_nomem(c->ctx, "a mount");
	new->sb = old->sb;
	new->order = old->order;
	new->rec.attrs = old->rec.attrs;
	new->rec.source = source;
	list_add(&new->node, &old->node);
	free_mount(old);
	*m = new;
	return 0;
}

static int finish(struct comparison *c)
{
	struct ckpt_mount *m;
	int err;

	list_sort(NULL, &c->found, in_order);
	if (c->ctx->restart) {
		list_for_each_entry(m, &c->found, node)
			if (m->order)
				m->order = place_in_image(c->ctx, m);
		list_sort(NULL, &c->found, in_order);
	}
	list_for_each_entry(m, &c->found, node) {
		unsigned int source = m->rec.kind == CKPT_MOUNT_TMPFS ? first_of(c, m) : 0;

		if (m->part && !source)
			return ckpt_err(c->ctx, -EBUSY,
					"a part of a tmpfs that is not mounted as a whole before it: %s",
					m->rec.names);
		err = source ? bind_instead(c, &m, source) : 0;
		if (err)
			return err;
		m->rec.more = !list_is_last(&m->node, &c->found);
	}
	return 0;
}

static void free_list(struct list_head *list)
{
	struct ckpt_mount *m, *next;

	list_for_each_entry_safe(m, next, list, node)
		free_mount(m);
}

/* Is this a tmpfs whose contents are in the image? */
bool ckpt_mounts_has(struct ckpt_ctx *ctx, const struct super_block *sb)
{
	struct ckpt_mount *m;

	list_for_each_entry(m, &ctx->mounts, node)
		if (m->contents && m->sb == sb)
			return true;
	return false;
}

void ckpt_mounts_free(struct ckpt_ctx *ctx)
{
	free_list(&ctx->mounts);
}

/* --- */

static int find_proc(struct comparison *c)
{
	struct ckpt_ctx *ctx = c->ctx;
	struct super_block *sb;
	int err;

	c->own_pids = ctx->container && ctx->pid_ns != task_active_pid_ns(current);
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
	c->top = real_mount(c->ctx->root_path.mnt);
	if (c->top->mnt_ns != c->its) {
		c->err = -EBUSY;
		c->what = "its root directory is on no mount of its namespace";
		return;
	}
	/* A namespace that is older than the caller's is no copy of it. */
	c->before = c->its->root->mnt_id_unique;
	if (c->before < c->mine->root->mnt_id_unique)
		c->before = U64_MAX;
	if (c->proc.mnt)
		c->proc_point = lowermost(real_mount(c->proc.mnt))->mnt_mountpoint;
	c->original_top = original_of_top(c);
	if (!c->original_top)
		return;
	compare(c);
	if (!c->err && c->own_pids && !c->proc.mnt) {
		c->err = -EBUSY;
		c->what = "/proc is not that of the tree's pid namespace";
	}
}

static int refuse(struct comparison *c)
{
	char *name;

	if (c->err == -ENOMEM)
		return ckpt_nomem(c->ctx, "a mount");
	if (c->err == -E2BIG)
		return ckpt_err(c->ctx, c->err,
				"more than %u mounts differ, or the caller has too many",
				CKPT_MOUNTS_MAX);
	if (!c->where.mnt)
		return ckpt_err(c->ctx, c->err, "%s", c->what);
	name = __d_path(&c->where, &c->ctx->root_path, c->buf, PATH_MAX);
	return ckpt_err(c->ctx, c->err, "%s: %s", c->what,
			IS_ERR_OR_NULL(name) ? "a file system" : name);
}

/* Find the differences of a mount namespace from that of the caller; none if it is the same. */
static int find_all(struct comparison *c, struct mnt_namespace *its)
{
	int err;

	INIT_LIST_HEAD(&c->found);
	c->its = its;
	c->mine = current->nsproxy->mnt_ns;
	if (its == c->mine)
		return 0;
	c->buf = kvmalloc(3 * PATH_MAX, GFP_KERNEL);
	if (!c->buf)
		return ckpt_nomem(c->ctx, "names");
	err = find_proc(c);
	if (!err) {
		mounts_lock_shared();
		compare_all(c);
		mounts_unlock_shared();
		if (c->err)
			err = refuse(c);
		else if (fatal_signal_pending(current))
			err = ckpt_err(c->ctx, -EINTR, "a signal came");
		else
			err = finish(c);
	}
	path_put(&c->where);
	path_put(&c->proc);
	kvfree(c->buf);
	return err;
}

/* --- checkpoint --- */

/* Could the caller get to its root directory?  Else what is in it is not for them. */
static bool may_reach(struct ckpt_ctx *ctx, const struct ckpt_mount *m)
{
	struct path path;
	bool may;

	if (ns_capable(m->sb->s_user_ns, CAP_DAC_READ_SEARCH))
		return true;
	if (vfs_path_lookup(ctx->root_path.dentry, ctx->root_path.mnt, m->rec.names, 0, &path))
		return false;
	may = path.mnt == m->mnt;
	path_put(&path);
	return may;
}

/* What is in each new tmpfs */
static int collect_contents(struct ckpt_ctx *ctx)
{
	struct ckpt_mount *m;

	list_for_each_entry(m, &ctx->mounts, node) {
		struct ckpt_tmpfs *contents;

		if (m->rec.kind != CKPT_MOUNT_TMPFS)
			continue;
		if (!may_reach(ctx, m))
			return ckpt_err(ctx, -EPERM,
					"a tmpfs of the tree's own: the caller cannot reach it: %s",
					m->rec.names);
		contents = ckpt_tmpfs_collect(ctx, m->mnt, &m->rec.nodes);
		if (IS_ERR(contents))
			return PTR_ERR(contents);
		m->contents = contents;
	}
	return 0;
}

/* Find what a restart has to make, and refuse what it could not. */
int ckpt_mounts_collect(struct ckpt_ctx *ctx)
{
	struct comparison c = { .ctx = ctx };
	struct nsproxy *its = ckpt_task_nsproxy(ctx->root);
	int err;

	if (!its)
		return ckpt_err(ctx, -ESRCH, "the root of the tree has exited");
	err = find_all(&c, its->mnt_ns);
	/* Where there was nothing to compare with, restart does not compare either. */
	ctx->own_mnt_ns = c.original_top;
	list_splice(&c.found, &ctx->mounts);
	put_nsproxy(its);
	return err ?: collect_contents(ctx);
}

int ckpt_mounts_save(struct ckpt_ctx *ctx)
{
	struct ckpt_mount *m;
	int err = 0;

	list_for_each_entry(m, &ctx->mounts, node) {
		err = ckpt_write_record(ctx, CKPT_REC_MOUNT, &m->rec, m->rec.h.len);
		if (!err && m->contents)
			err = ckpt_tmpfs_save(ctx, m->contents);
		if (err)
			break;
	}
	return err;
}

/* --- restart --- */

static int check_record(struct ckpt_ctx *ctx, const struct ckpt_rec_mount *rec, unsigned int nr)
{
	size_t len = sizeof(*rec) + rec->path_len + rec->source_len;
	bool is_new = rec->kind == CKPT_MOUNT_BIND || rec->kind == CKPT_MOUNT_TMPFS;
	const char *source = rec->names + rec->path_len;

	if (rec->path_len > PATH_MAX || rec->source_len > PATH_MAX ||
	    rec->h.len != ALIGN(len, 8) || !ckpt_is_path(rec->names, rec->path_len) ||
	    !ckpt_is_padded(&rec->h, len))
		return ckpt_err(ctx, -EINVAL, "the name is not an absolute path of %u bytes",
				rec->path_len);
	if (rec->source_len && strnlen(source, rec->source_len) != rec->source_len - 1)
		return ckpt_err(ctx, -EINVAL, "%s: the source is not of %u bytes", rec->names,
				rec->source_len);
	if (rec->kind < CKPT_MOUNT_GONE || rec->kind > CKPT_MOUNT_TMPFS || rec->more > 1 ||
	    is_new != !!rec->source_len || (rec->kind == CKPT_MOUNT_TMPFS) != !!rec->nodes)
		return ckpt_err(ctx, -EINVAL,
				"%s: kind %u, source of %u bytes, %u files, %u more", rec->names,
				rec->kind, rec->source_len, rec->nodes, rec->more);
	if (rec->source >= nr)
		return ckpt_err(ctx, -EINVAL, "%s: mount %u is not before it", rec->names,
				rec->source);
	return 0;
}

static int read_mount(struct ckpt_ctx *ctx, unsigned int nr)
{
	const struct ckpt_rec_mount *rec;
	struct ckpt_mount *new;
	u32 nodes;
	int err;

	err = ckpt_read_record(ctx);
	if (err)
		return err;
	rec = (struct ckpt_rec_mount *)ctx->rec;
	if (rec->h.type != CKPT_REC_MOUNT)
		return ckpt_err(ctx, -EINVAL, "a MOUNT record is expected here");
	if (nr > CKPT_MOUNTS_MAX)
		return ckpt_err(ctx, -EINVAL, "more than %u mounts", CKPT_MOUNTS_MAX);
	err = check_record(ctx, rec, nr);
	if (err)
		return err;
	if (fatal_signal_pending(current))
		return ckpt_err(ctx, -EINTR, "a signal came");
	new = kzalloc(sizeof(*new) + rec->h.len - sizeof(*rec), GFP_KERNEL_ACCOUNT);
	if (!new)
		return ckpt_nomem(ctx, "a mount");
	new->rec = *rec;
	new->order = nr;
	memcpy(new->rec.names, rec->names, rec->h.len - sizeof(*rec));
	list_add_tail(&new->node, &ctx->mounts);
	/* How many they are is not compared. */
	nodes = rec->nodes;
	new->rec.nodes = 0;
	err = nodes ? ckpt_tmpfs_pass(ctx, nodes) : 0;
	return err ?: new->rec.more;
}

/* Read the records behind the cgroups. */
int ckpt_mounts_read(struct ckpt_ctx *ctx)
{
	unsigned int nr = 0;
	int more;

	do {
		more = read_mount(ctx, ++nr);
		cond_resched();
	} while (more > 0);
	return more;
}

static bool is_the_same(const struct ckpt_mount *a, const struct ckpt_mount *b)
{
	return a->rec.h.len == b->rec.h.len && !memcmp(&a->rec, &b->rec, a->rec.h.len);
}

/* The first of one list that is not in its place in the other; NULL if all are. */
static struct ckpt_mount *first_other(struct list_head *list, struct list_head *other)
{
	struct ckpt_mount *m, *o = list_first_entry(other, struct ckpt_mount, node);

	list_for_each_entry(m, list, node) {
		if (list_entry_is_head(o, other, node) || !is_the_same(m, o))
			return m;
		o = list_next_entry(o, node);
	}
	return NULL;
}

/* All members have come: does the root of the tree have the mounts that the image says? */
int ckpt_mounts_check(struct ckpt_ctx *ctx)
{
	struct comparison c = { .ctx = ctx };
	struct ckpt_mount *m;
	int err;

	if (!ctx->own_mnt_ns)
		return 0;
	if (ctx->namespaces->mnt_ns == current->nsproxy->mnt_ns)
		return ckpt_err(ctx, -EINVAL,
				"the tree had a mount namespace of its own, and its root has none");
	err = find_all(&c, ctx->namespaces->mnt_ns);
	m = err ? NULL : first_other(&ctx->mounts, &c.found);
	if (m) {
		err = ckpt_err(ctx, -EINVAL,
			       "the root of the tree has not the mount of the image: %s",
			       m->rec.names);
	} else if (!err) {
		m = first_other(&c.found, &ctx->mounts);
		if (m)
			err = ckpt_err(ctx, -EINVAL,
				       "the root of the tree has a mount that the image has not: %s",
				       m->rec.names);
	}
	free_list(&c.found);
	return err;
}
