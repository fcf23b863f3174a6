// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files on tmpfs that have no name any more, or never had one (O_TMPFILE).
 *
 * Their contents are in the image, before the first open file of them.  The
 * object is the dentry that all of them refer to: descriptors, mappings,
 * programs.  It still tells directory and name, which are what /proc shows.
 *
 * On restart a file without a name is made in that directory and filled; its
 * dentry is one more, which has the old name and is in no directory, so that it
 * is in nobody's way.
 */
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>

#include "internal.h"

/* On restart nothing else may hold the file system for a while, and it must not go first. */
void ckpt_unlinked_grab(void *obj)
{
	struct dentry *dentry = dget(obj);

	atomic_inc(&dentry->d_sb->s_active);
}

void ckpt_unlinked_drop(void *obj)
{
	struct super_block *sb = ((struct dentry *)obj)->d_sb;

	dput(obj);
	deactivate_super(sb);
}

int ckpt_unlinked_users(void *obj)
{
	return d_count((struct dentry *)obj) - 1;
}

static bool is_tmpfs(const struct inode *inode)
{
	return inode->i_sb->s_magic == TMPFS_MAGIC && shmem_mapping(inode->i_mapping);
}

/* Is it one of the files that this is about?  They are regular ones. */
bool ckpt_is_unlinked(const struct file *file)
{
	return d_unlinked(file->f_path.dentry) && is_tmpfs(file_inode(file)) &&
	       !(file->f_path.mnt->mnt_flags & MNT_INTERNAL);
}

/* --- checkpoint --- */

static bool has_aliases(struct inode *inode)
{
	guard(spinlock)(&inode->i_lock);
	return !hlist_empty(&inode->i_dentry) && !hlist_is_singular_node(inode->i_dentry.first,
									  &inode->i_dentry);
}

static const char *in_the_way(const struct path *path)
{
	if (path->dentry == path->mnt->mnt_root)
		return "it was deleted and is mounted";
	if (is_idmapped_mnt(path->mnt))
		return "it was deleted on an idmapped mount";
	if (d_inode(path->dentry)->i_nlink)
		return "it was deleted and has another name";
	if (has_aliases(d_inode(path->dentry)))
		return "it had several names, which were deleted";
	return ckpt_memfd_odd(path->dentry);
}

/**
 * ckpt_unlinked_name - the name that a file had
 * @ctx: the context
 * @path: where it was
 * @buf: PATH_MAX bytes
 * @holder: who holds it
 *
 * Return: the name, in @buf; an ERR_PTR where it was in no directory that a restart could find.
 */
char *ckpt_unlinked_name(struct ckpt_ctx *ctx, const struct path *path, char *buf,
			 const struct ckpt_holder *holder)
{
	struct path dir = { .mnt = path->mnt, .dentry = dget_parent(path->dentry) };
	const char *what = in_the_way(path);
	struct name_snapshot old;
	size_t len;
	char *name;

	if (what) {
		ckpt_err(ctx, holder->err, "%s: %pd: %s", holder->name, path->dentry, what);
		name = ERR_PTR(holder->err);
	} else {
		name = ckpt_path_name(ctx, &dir, buf, holder);
	}
	dput(dir.dentry);
	if (IS_ERR(name))
		return name;
	len = strlen(name);
	memmove(buf, name, len + 1);
	take_dentry_name_snapshot(&old, path->dentry);
	len += scnprintf(buf + len, PATH_MAX - len, "%s%s", len > 1 ? "/" : "", old.name.name);
	release_dentry_name_snapshot(&old);
	if (len < PATH_MAX - 1)
		return buf;
	ckpt_err(ctx, -ENAMETOOLONG, "%s: %pd: its name is too long", holder->name, path->dentry);
	return ERR_PTR(-ENAMETOOLONG);
}

int ckpt_unlinked_save(struct ckpt_ctx *ctx, struct file *file, const char *name,
		       const struct ckpt_holder *holder)
{
	struct inode *inode = file_inode(file);
	struct timespec64 mtime = inode_get_mtime(inode);
	size_t name_len = strlen(name) + 1, len = ALIGN(name_len, 8);
	struct ckpt_rec_unlinked *rec __free(kfree) = NULL;
	int objref, err;
	bool first;

	objref = ckpt_obj_ref(ctx, file->f_path.dentry, CKPT_OBJ_UNLINKED, &first);
	if (objref < 0 || !first)
		return objref;
	len += sizeof(*rec);
	rec = kzalloc(len, GFP_KERNEL);
	if (!rec)
		return ckpt_nomem(ctx, "a record");
	rec->objref = objref;
	if (READ_ONCE(inode->i_state) & I_LINKABLE)
		rec->flags |= CKPT_UNLINKED_LINKABLE;
	rec->size = i_size_read(inode);
	rec->mtime = timespec64_to_ns(&mtime);
	rec->path_len = name_len;
	memcpy(rec->path, name, name_len);
	err = ckpt_shmem_get_owner(ctx, inode, &rec->uid, &rec->gid, &rec->mode, holder);
	if (err)
		return err;
	err = ckpt_write_record(ctx, CKPT_REC_UNLINKED, rec, len);
	if (!err)
		err = ckpt_shmem_save_contents(ctx, inode, rec->size, objref);
	return err ?: objref;
}

/* --- restart --- */

/* The directory of a file, and the name that it has there; to be put by the caller. */
static int find_directory(struct ckpt_ctx *ctx, const char *name, struct path *dir,
			  const char **last)
{
	size_t len = strrchr(name, '/') - name;
	char *above __free(kfree) = kstrndup(name, max_t(size_t, len, 1), GFP_KERNEL);
	int err;

	*last = name + len + 1;
	if (!**last || strlen(*last) > NAME_MAX || !strcmp(*last, ".") || !strcmp(*last, ".."))
		return ckpt_err(ctx, -EINVAL, "%s is no name of a file", name);
	if (!above)
		return ckpt_nomem(ctx, "a name");
	err = vfs_path_lookup(ctx->root_path.dentry, ctx->root_path.mnt, above, LOOKUP_DIRECTORY,
			      dir);
	return err ? ckpt_err(ctx, err, "%s cannot be found", above) : 0;
}

static int check_record(struct ckpt_ctx *ctx, const struct ckpt_rec_unlinked *rec)
{
	int err = ckpt_check_path(ctx, &rec->h, sizeof(*rec), rec->path, rec->path_len, true);

	if (err)
		return err;
	if (rec->flags & ~CKPT_UNLINKED_LINKABLE || rec->mode & ~CKPT_SHMEM_MODE)
		return ckpt_err(ctx, -EINVAL, "%s: flags %#x, mode %#o", rec->path, rec->flags,
				rec->mode);
	return ckpt_shmem_check_size(ctx, rec->size);
}

/* A file without a name in the directory, as open(2) makes one. */
static struct file *make_file(struct ckpt_ctx *ctx, const struct path *dir, u32 flags)
{
	/* Not to be written to: it may be a program. */
	int how = O_RDONLY | O_LARGEFILE;
	struct file *file;
	int err;

	if (dir->dentry->d_sb->s_magic != TMPFS_MAGIC || is_idmapped_mnt(dir->mnt))
		return ERR_PTR(-EINVAL);
	if (!(flags & CKPT_UNLINKED_LINKABLE))
		how |= O_EXCL;
	err = mnt_want_write(dir->mnt);
	if (err)
		return ERR_PTR(err);
	file = kernel_tmpfile_open(mnt_idmap(dir->mnt), dir, S_IFREG | 0600, how, current_cred());
	mnt_drop_write(dir->mnt);
	return file;
}

/* Another dentry of a file, with a name that is no entry of the directory. */
static struct dentry *name_file(struct dentry *dir, const char *name, struct inode *inode)
{
	struct qstr qname = QSTR_INIT(name, strlen(name));
	struct dentry *dentry = d_alloc(dir, &qname);

	if (dentry) {
		ihold(inode);
		d_instantiate(dentry, inode);
	}
	return dentry;
}

static int fill_in(struct ckpt_ctx *ctx, const struct ckpt_rec_unlinked *rec, struct inode *inode,
		   struct dentry *dentry)
{
	struct ckpt_member *m = ctx->member;
	int err;

	if (!dentry)
		return ckpt_nomem(ctx, "a name");
	/* A directory may give its files access control lists. */
	if (ckpt_memfd_odd(dentry))
		return ckpt_err(ctx, -EINVAL, "%s: %s", rec->path, ckpt_memfd_odd(dentry));
	err = ckpt_shmem_set_owner(ctx, inode, rec->uid, rec->gid, rec->mode);
	if (!err)
		err = ckpt_obj_add(ctx, rec->objref, dentry, CKPT_OBJ_UNLINKED);
	if (err)
		return err;
	i_size_write(inode, rec->size);
	ckpt_shmem_begin(m, rec->objref, inode, PAGE_ALIGN(rec->size));
	m->memfd_seals = SHMEM_I(inode)->seals;
	m->memfd_mtime = rec->mtime;
	return 0;
}

int ckpt_unlinked_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_unlinked *rec = (struct ckpt_rec_unlinked *)ctx->rec;
	struct ckpt_member *m = ctx->member;
	struct dentry *dentry;
	const char *name;
	struct file *file;
	struct path dir;
	int err;

	ctx->current_objref = rec->objref;
	if (m->shmem_rec.objref || (m->mm_rec.objref && !m->own_mm))
		return ckpt_err(ctx, -EINVAL, "a deleted file begins within another object");
	err = check_record(ctx, rec);
	if (!err)
		err = find_directory(ctx, rec->path, &dir, &name);
	if (err)
		return err;
	file = make_file(ctx, &dir, rec->flags);
	if (IS_ERR(file)) {
		err = ckpt_err(ctx, PTR_ERR(file), "%s cannot be made", rec->path);
	} else if (!is_tmpfs(file_inode(file))) {
		err = ckpt_err(ctx, -EINVAL, "%s was on tmpfs", rec->path);
		fput(file);
	} else {
		dentry = name_file(dir.dentry, name, file_inode(file));
		err = fill_in(ctx, rec, file_inode(file), dentry);
		dput(dentry);
		/* At once: whoever has a lease is the only one who has it open. */
		__fput_sync(file);
	}
	path_put(&dir);
	return err;
}

/**
 * ckpt_unlinked_open - open a file that has no name any more
 * @ctx: the context
 * @rec: how, checked
 * @cred: the credentials it was opened with
 *
 * Return: the file, or an ERR_PTR with a line in the log.
 */
struct file *ckpt_unlinked_open(struct ckpt_ctx *ctx, const struct ckpt_rec_file *rec,
				const struct cred *cred)
{
	struct dentry *dentry = ckpt_obj_get(ctx, rec->object, CKPT_OBJ_UNLINKED);
	struct file *file = ERR_PTR(-EINVAL);
	const char *name;
	struct path dir;
	int err;

	if (IS_ERR(dentry))
		return ERR_CAST(dentry);
	err = find_directory(ctx, rec->path, &dir, &name);
	if (err)
		return ERR_PTR(err);
	if (ctx->member->shmem_rec.objref) {
		ckpt_err(ctx, -EINVAL, "deleted file %d has not ended", rec->object);
	} else if (dir.dentry != dentry->d_parent) {
		ckpt_err(ctx, -EINVAL, "deleted file %d was not at %s", rec->object, rec->path);
	} else {
		struct path path = { .mnt = dir.mnt, .dentry = dentry };

		file = dentry_open(&path, rec->flags, cred);
		if (IS_ERR(file))
			ckpt_err(ctx, PTR_ERR(file), "%s with flags %#x", rec->path, rec->flags);
	}
	path_put(&dir);
	return file;
}
