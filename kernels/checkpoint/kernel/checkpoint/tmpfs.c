// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is in a tmpfs that only the tree has mounted.
 *
 * All of it is in memory, and each name has a dentry: a walk over these finds
 * the files, breadth first, so that a directory comes before what is in it, and
 * in each directory the oldest name first.  Behind the record of the mount there
 * is one for each, and behind that of a regular file its contents.
 *
 * On restart user space makes them, in their order, when it has mounted the tmpfs:
 * by system calls, which know what the user may do.  The kernel passes over them.
 */
#include <linux/capability.h>
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/mnt_idmapping.h>
#include <linux/mount.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/xarray.h>
#include <linux/xattr.h>

#include "internal.h"

/* DIR_OFFSET_MIN and DIR_OFFSET_EOD of fs/libfs.c */
#define FIRST_NAME	3
#define END_OF_NAMES	S32_MAX

/**
 * struct tmpfs_name - a name
 * @dentry: its entry, a counted reference
 * @name:   what it was called when it was found; NULL for the root directory
 * @folder: which node is its directory, from 1 on; 0 for the root directory
 * @same:   which node is an earlier name of the same file; 0 for none
 */
struct tmpfs_name {
	struct dentry *dentry;
	char *name;
	u32 folder;
	u32 same;
};

/**
 * struct ckpt_tmpfs - what is in one
 * @mnt:   a mount of it, a counted reference
 * @nodes: all names
 * @nr:    how many they are
 * @room:  how many fit
 * @names: the first node of each file that has several names, by its inode
 */
struct ckpt_tmpfs {
	struct vfsmount *mnt;
	struct tmpfs_name *nodes;
	unsigned int nr;
	unsigned int room;
	struct xarray names;
};

/* --- checkpoint: the walk --- */

/* What no record could tell of a file, or NULL */
static const char *odd_node(struct ckpt_ctx *ctx, struct dentry *dentry)
{
	struct inode *inode = d_inode(dentry);
	struct timespec64 mtime = inode_get_mtime(inode);
	struct timespec64 saved = ns_to_timespec64(timespec64_to_ns(&mtime));

	if (SHMEM_I(inode)->fsflags)
		return "it has attributes (chattr)";
	if (ckpt_has_xattrs(dentry))
		return "it has extended attributes";
	if (!timespec64_equal(&mtime, &saved))
		return "it was changed some centuries from now";
	if (from_kuid(ctx->user_ns, inode->i_uid) == (uid_t)-1 ||
	    from_kgid(ctx->user_ns, inode->i_gid) == (gid_t)-1)
		return "its owner has no id in the user namespace";
	return NULL;
}

/* What the caller could not read is in no image of theirs. */
static bool may_read(struct dentry *dentry)
{
	struct inode *inode = d_inode(dentry);

	if (ns_capable(inode->i_sb->s_user_ns, CAP_DAC_READ_SEARCH))
		return true;
	/* Something is mounted on it. */
	if (d_mountpoint(dentry) && !IS_ROOT(dentry))
		return d_is_dir(dentry) ? simple_empty(dentry) : !i_size_read(inode);
	if (d_is_dir(dentry))
		return !inode_permission(&nop_mnt_idmap, inode, MAY_READ | MAY_EXEC);
	return !d_is_reg(dentry) || !inode_permission(&nop_mnt_idmap, inode, MAY_READ);
}

static int make_room(struct ckpt_tmpfs *t, unsigned int more)
{
	unsigned int room = max(t->nr + more, 2 * t->room);
	struct tmpfs_name *nodes;

	if (more > CKPT_NODES_MAX - t->nr)
		return -E2BIG;
	if (t->nr + more <= t->room)
		return 0;
	nodes = kvrealloc(t->nodes, array_size(room, sizeof(*nodes)), GFP_KERNEL_ACCOUNT);
	if (!nodes)
		return -ENOMEM;
	t->nodes = nodes;
	t->room = room;
	return 0;
}

/* Nobody makes or removes a name meanwhile; names that are only looked for may come. */
static unsigned int count_children(struct dentry *dir)
{
	struct dentry *child;
	unsigned int nr = 0;

	guard(spinlock)(&dir->d_lock);
	hlist_for_each_entry(child, &dir->d_children, d_sib) {
		nr += simple_positive(child);
		if (nr > CKPT_NODES_MAX)
			break;
	}
	return nr;
}

/* The newest is the first in the list. */
static void take_children(struct ckpt_tmpfs *t, unsigned int nr, u32 folder)
{
	struct dentry *dir = t->nodes[folder - 1].dentry, *child;
	struct tmpfs_name *node = &t->nodes[t->nr + nr];

	guard(spinlock)(&dir->d_lock);
	hlist_for_each_entry(child, &dir->d_children, d_sib) {
		if (!simple_positive(child) || node == &t->nodes[t->nr])
			continue;
		spin_lock_nested(&child->d_lock, DENTRY_D_LOCK_NESTED);
		*--node = (struct tmpfs_name){ .dentry = dget_dlock(child), .folder = folder };
		spin_unlock(&child->d_lock);
	}
	t->nr += nr;
}

static int take_names(struct tmpfs_name *nodes, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++) {
		nodes[i].name = kstrdup(nodes[i].dentry->d_name.name, GFP_KERNEL_ACCOUNT);
		if (!nodes[i].name)
			return -ENOMEM;
		cond_resched();
	}
	return 0;
}

static int add_children(struct ckpt_ctx *ctx, struct ckpt_tmpfs *t, u32 folder)
{
	struct dentry *dir = t->nodes[folder - 1].dentry;
	unsigned int nr;
	int err;

	inode_lock_shared(d_inode(dir));
	nr = count_children(dir);
	err = make_room(t, nr);
	if (!err) {
		take_children(t, nr, folder);
		err = take_names(&t->nodes[t->nr - nr], nr);
	}
	inode_unlock_shared(d_inode(dir));
	/* Who reads the log may need the directory. */
	if (err == -E2BIG)
		return ckpt_err(ctx, err, "more than %u files in a tmpfs", CKPT_NODES_MAX);
	return err ? ckpt_nomem(ctx, "%u files in a tmpfs", nr) : 0;
}

/* Is it another name of one that is there already? */
static int find_same(struct ckpt_ctx *ctx, struct ckpt_tmpfs *t, u32 nr)
{
	struct tmpfs_name *node = &t->nodes[nr - 1];
	struct inode *inode = d_inode(node->dentry);
	unsigned long key = (unsigned long)inode / L1_CACHE_BYTES;
	void *first;
	int err;

	if (S_ISDIR(inode->i_mode) || inode->i_nlink < 2)
		return 0;
	first = xa_load(&t->names, key);
	if (first) {
		node->same = xa_to_value(first);
		return 0;
	}
	err = xa_err(xa_store(&t->names, key, xa_mk_value(nr), GFP_KERNEL_ACCOUNT));
	return err ? ckpt_nomem(ctx, "a name of a file") : 0;
}

static int add_all(struct ckpt_ctx *ctx, struct ckpt_tmpfs *t)
{
	int err = make_room(t, 1);

	if (err)
		return ckpt_nomem(ctx, "a file in a tmpfs");
	t->nodes[t->nr++] = (struct tmpfs_name){ .dentry = dget(t->mnt->mnt_sb->s_root) };
	for (u32 nr = 1; nr <= t->nr; nr++) {
		struct dentry *dentry = t->nodes[nr - 1].dentry;
		const char *what = odd_node(ctx, dentry);

		if (what)
			return ckpt_err(ctx, -EBUSY, "a tmpfs of the tree's own: %pd: %s", dentry,
					what);
		if (!may_read(dentry))
			return ckpt_err(ctx, -EPERM,
					"a tmpfs of the tree's own: %pd: the caller may not read it",
					dentry);
		err = find_same(ctx, t, nr);
		if (!err && d_is_dir(dentry))
			err = add_children(ctx, t, nr);
		if (!err && fatal_signal_pending(current))
			err = ckpt_err(ctx, -EINTR, "a signal came");
		if (err)
			return err;
		cond_resched();
	}
	return 0;
}

void ckpt_tmpfs_free(struct ckpt_tmpfs *t)
{
	if (!t)
		return;
	for (unsigned int i = 0; i < t->nr; i++) {
		dput(t->nodes[i].dentry);
		kfree(t->nodes[i].name);
		cond_resched();
	}
	kvfree(t->nodes);
	xa_destroy(&t->names);
	mntput(t->mnt);
	kfree(t);
}

/**
 * ckpt_tmpfs_collect - find what is in a tmpfs
 * @ctx: the context
 * @mnt: a mount of it
 * @nr: how many names it has is stored here
 *
 * Return: what was found, or an ERR_PTR with a line in the log.
 */
struct ckpt_tmpfs *ckpt_tmpfs_collect(struct ckpt_ctx *ctx, struct vfsmount *mnt, u32 *nr)
{
	struct ckpt_tmpfs *t = kzalloc(sizeof(*t), GFP_KERNEL_ACCOUNT);
	int err;

	if (!t)
		return ERR_PTR(ckpt_nomem(ctx, "a tmpfs"));
	t->mnt = mntget(mnt);
	xa_init_flags(&t->names, XA_FLAGS_ACCOUNT);
	err = add_all(ctx, t);
	*nr = t->nr;
	if (!err)
		return t;
	ckpt_tmpfs_free(t);
	return ERR_PTR(err);
}

/**
 * ckpt_tmpfs_keeps_position - does a position in a directory mean the same in a restored one?
 * @ctx: the context
 * @file: the directory that is open
 *
 * A position is the number of a name: names are numbered as they are made, from FIRST_NAME on
 * (simple_offset_add()), and those that were removed leave gaps, which a restored one has not.
 * The newest name is read first.
 */
bool ckpt_tmpfs_keeps_position(struct ckpt_ctx *ctx, const struct file *file)
{
	struct dentry *dir = file->f_path.dentry, *child;
	loff_t pos = file->f_pos;
	long next = 0, older = 0;
	bool empty = true;

	if (pos < FIRST_NAME || pos == END_OF_NAMES || !ckpt_mounts_has(ctx, dir->d_sb))
		return true;
	guard(spinlock)(&dir->d_lock);
	hlist_for_each_entry(child, &dir->d_children, d_sib) {
		long number = (long)child->d_fsdata;

		if (!simple_positive(child))
			continue;
		empty = false;
		older++;
		if (number <= pos && number > next) {
			next = number;
			older = 0;
		}
	}
	return empty || (next == pos && next == FIRST_NAME + older);
}

/* --- checkpoint: the records --- */

/* Another name of one that came before says no more than that. */
static void fill_in(struct ckpt_ctx *ctx, struct ckpt_rec_node *rec, struct inode *inode)
{
	struct timespec64 mtime = inode_get_mtime(inode);

	rec->mode = inode->i_mode;
	rec->uid = from_kuid(ctx->user_ns, inode->i_uid);
	rec->gid = from_kgid(ctx->user_ns, inode->i_gid);
	rec->mtime = timespec64_to_ns(&mtime);
	if (S_ISREG(inode->i_mode))
		rec->size = i_size_read(inode);
	if (S_ISCHR(inode->i_mode) || S_ISBLK(inode->i_mode)) {
		rec->major = MAJOR(inode->i_rdev);
		rec->minor = MINOR(inode->i_rdev);
	}
}

static int save_node(struct ckpt_ctx *ctx, const struct tmpfs_name *node, const char *target)
{
	struct inode *inode = d_inode(node->dentry);
	const char *name = node->name ?: "/";
	size_t name_len = strlen(name) + 1;
	size_t target_len = target ? strlen(target) + 1 : 0;
	size_t len = ALIGN(name_len + target_len, 8);
	struct ckpt_rec_node *rec __free(kfree) = NULL;
	int err;

	rec = kzalloc(struct_size(rec, names, len), GFP_KERNEL);
	if (!rec)
		return ckpt_nomem(ctx, "a record");
	memcpy(rec->names, name, name_len);
	if (target)
		memcpy(rec->names + name_len, target, target_len);
	rec->folder = node->folder;
	rec->same = node->same;
	rec->name_len = name_len;
	rec->target_len = target_len;
	if (node->same)
		rec->mode = inode->i_mode & S_IFMT;
	else
		fill_in(ctx, rec, inode);
	err = ckpt_write_record(ctx, CKPT_REC_NODE, rec, sizeof(*rec) + len);
	if (!err && S_ISREG(inode->i_mode) && !node->same)
		err = ckpt_shmem_save_contents(ctx, inode, rec->size, 0);
	return err;
}

static int save_link(struct ckpt_ctx *ctx, const struct tmpfs_name *node)
{
	DEFINE_DELAYED_CALL(done);
	const char *target = vfs_get_link(node->dentry, &done);
	int err;

	if (IS_ERR(target))
		return ckpt_err(ctx, PTR_ERR(target), "%pd cannot be read", node->dentry);
	err = save_node(ctx, node, target);
	do_delayed_call(&done);
	return err;
}

int ckpt_tmpfs_save(struct ckpt_ctx *ctx, struct ckpt_tmpfs *t)
{
	int err = 0;

	for (unsigned int i = 0; i < t->nr && !err; i++) {
		struct tmpfs_name *node = &t->nodes[i];

		err = d_is_symlink(node->dentry) && !node->same ? save_link(ctx, node) :
								  save_node(ctx, node, NULL);
		if (!err && fatal_signal_pending(current))
			err = ckpt_err(ctx, -EINTR, "a signal came");
		cond_resched();
	}
	return err;
}

/* --- restart --- */

/**
 * struct reading - of the names in a tmpfs
 * @ctx:   the context
 * @page:  room for what is passed over
 * @nr:    how many names have come
 * @kinds: what they are, as in the mode; 0 for another name of one
 */
struct reading {
	struct ckpt_ctx *ctx;
	struct page *page;
	u32 nr;
	u16 *kinds;
};

static int pass_pages(struct reading *r, u64 size, u64 *at)
{
	struct ckpt_ctx *ctx = r->ctx;
	const struct ckpt_rec_pages *rec = (struct ckpt_rec_pages *)ctx->rec;
	u64 start = rec->start, bytes = (u64)rec->nr_pages << PAGE_SHIFT;
	u32 nr = rec->nr_pages;
	int err = 0;

	if (!nr || rec->pad || rec->h.len != sizeof(*rec) + bytes)
		return ckpt_err(ctx, -EINVAL, "%u pages in %u bytes", nr, rec->h.len);
	if (!PAGE_ALIGNED(start) || start < *at || start >= size || bytes > size - start)
		return ckpt_err(ctx, -EINVAL,
				"%u pages at %#llx, the last run ended at %#llx, the file at %#llx",
				nr, start, *at, size);
	*at = start + bytes;
	while (nr-- && !err) {
		err = ckpt_read_pages(ctx, &r->page, 1);
		if (!err && fatal_signal_pending(current))
			err = ckpt_err(ctx, -EINTR, "a signal came");
		cond_resched();
	}
	return err;
}

/* Up to the end of a regular file */
static int pass_contents(struct reading *r, u64 size)
{
	struct ckpt_ctx *ctx = r->ctx;
	const struct ckpt_rec_shmem_end *end;
	u64 at = 0;
	int err;

	for (;;) {
		err = ckpt_read_record(ctx);
		if (err)
			return err;
		if (ctx->rec->type != CKPT_REC_PAGES)
			break;
		err = pass_pages(r, PAGE_ALIGN(size), &at);
		if (err)
			return err;
	}
	end = (struct ckpt_rec_shmem_end *)ctx->rec;
	if (end->h.type != CKPT_REC_SHMEM_END || end->objref || end->pad)
		return ckpt_err(ctx, -EINVAL, "the contents of a file on tmpfs do not end");
	return 0;
}

/* Is what @nr says one that has come? */
static u16 kind_of(struct reading *r, u32 nr)
{
	return nr && nr <= r->nr ? r->kinds[nr - 1] : 0;
}

static bool has_good_names(struct reading *r, const struct ckpt_rec_node *rec)
{
	size_t len = sizeof(*rec) + (size_t)rec->name_len + rec->target_len;
	const char *name = rec->names, *target = name + rec->name_len;

	if (!rec->name_len || rec->name_len > NAME_MAX + 1 || rec->target_len > PATH_MAX ||
	    rec->h.len != ALIGN(len, 8) || !ckpt_is_padded(&rec->h, len) ||
	    strnlen(name, rec->name_len) != rec->name_len - 1)
		return false;
	if (S_ISLNK(rec->mode) && !rec->same ?
	    rec->target_len < 2 || strnlen(target, rec->target_len) != rec->target_len - 1 :
	    rec->target_len)
		return false;
	if (!r->nr)
		return !strcmp(name, "/");
	return *name && !strchr(name, '/') && strcmp(name, ".") && strcmp(name, "..");
}

static int check_record(struct reading *r, const struct ckpt_rec_node *rec)
{
	struct ckpt_ctx *ctx = r->ctx;
	umode_t mode = rec->mode;
	bool is_device = S_ISCHR(mode) || S_ISBLK(mode);
	u16 kind = mode & S_IFMT;

	if (!has_good_names(r, rec))
		return ckpt_err(ctx, -EINVAL, "names of %u and %u bytes", rec->name_len,
				rec->target_len);
	if (rec->mode != mode || (!S_ISREG(mode) && !S_ISDIR(mode) && !S_ISLNK(mode) &&
				  !S_ISFIFO(mode) && !S_ISSOCK(mode) && !is_device))
		return ckpt_err(ctx, -EINVAL, "%s: mode %#o", rec->names, rec->mode);
	if (r->nr ? kind_of(r, rec->folder) != S_IFDIR : rec->folder || !S_ISDIR(mode))
		return ckpt_err(ctx, -EINVAL, "%s: %u is no folder before it", rec->names,
				rec->folder);
	if (rec->same && (S_ISDIR(mode) || kind_of(r, rec->same) != kind))
		return ckpt_err(ctx, -EINVAL, "%s: %u is no other name before it", rec->names,
				rec->same);
	if (rec->size > (S_ISREG(mode) ? MAX_LFS_FILESIZE : 0) || rec->pad ||
	    rec->major >> (is_device ? 12 : 0) || rec->minor >> (is_device ? MINORBITS : 0) ||
	    rec->uid == (uid_t)-1 || rec->gid == (gid_t)-1)
		return ckpt_err(ctx, -EINVAL, "%s: size %#llx, device %u:%u, of %u:%u", rec->names,
				rec->size, rec->major, rec->minor, rec->uid, rec->gid);
	if (rec->same && (mode != kind || rec->uid || rec->gid || rec->size || rec->major ||
			  rec->minor || rec->mtime))
		return ckpt_err(ctx, -EINVAL, "%s: it is %u, and is more than that", rec->names,
				rec->same);
	r->kinds[r->nr++] = rec->same ? 0 : kind;
	return 0;
}

static int pass_node(struct reading *r)
{
	const struct ckpt_rec_node *rec;
	int err;

	err = ckpt_read_record(r->ctx);
	if (err)
		return err;
	rec = (struct ckpt_rec_node *)r->ctx->rec;
	if (rec->h.type != CKPT_REC_NODE)
		return ckpt_err(r->ctx, -EINVAL, "a NODE record is expected here");
	err = check_record(r, rec);
	if (err)
		return err;
	return S_ISREG(rec->mode) && !rec->same ? pass_contents(r, rec->size) : 0;
}

/* Pass over the records of @nr names: they are for user space. */
int ckpt_tmpfs_pass(struct ckpt_ctx *ctx, u32 nr)
{
	struct reading r = { .ctx = ctx };
	int err = 0;

	if (!nr || nr > CKPT_NODES_MAX)
		return ckpt_err(ctx, -EINVAL, "%u files in a tmpfs", nr);
	r.page = alloc_page(GFP_KERNEL_ACCOUNT);
	r.kinds = kvcalloc(nr, sizeof(*r.kinds), GFP_KERNEL_ACCOUNT);
	if (!r.page || !r.kinds)
		err = ckpt_nomem(ctx, "%u files in a tmpfs", nr);
	while (nr-- && !err) {
		err = pass_node(&r);
		if (!err && fatal_signal_pending(current))
			err = ckpt_err(ctx, -EINTR, "a signal came");
		cond_resched();
	}
	kvfree(r.kinds);
	if (r.page)
		put_page(r.page);
	return err;
}
