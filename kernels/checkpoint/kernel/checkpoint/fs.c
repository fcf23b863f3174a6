// SPDX-License-Identifier: GPL-2.0-only
/*
 * Root, working directory and umask; names of paths.
 *
 * A name is only worth something if it leads back: each is looked up again
 * when it is written, so that what is covered by a mount or was replaced under
 * its name is refused instead of restored as something else.
 */
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/fs_struct.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include "internal.h"

void ckpt_fs_grab(void *obj)
{
	struct fs_struct *fs = obj;

	spin_lock(&fs->lock);
	fs->users++;
	spin_unlock(&fs->lock);
}

void ckpt_fs_drop(void *obj)
{
	struct fs_struct *fs = obj;
	int left;

	spin_lock(&fs->lock);
	left = --fs->users;
	spin_unlock(&fs->lock);
	if (!left)
		free_fs_struct(fs);
}

int ckpt_fs_users(void *obj)
{
	struct fs_struct *fs = obj;

	guard(spinlock)(&fs->lock);
	return fs->users - 1;
}

/* Names in an image begin at the root directory of the tree's root. */
int ckpt_take_root_path(struct ckpt_ctx *ctx)
{
	bool found;

	task_lock(ctx->root);
	found = ctx->root->fs;
	if (found)
		get_fs_root(ctx->root->fs, &ctx->root_path);
	task_unlock(ctx->root);
	return found ? 0 : ckpt_err(ctx, -ESRCH, "the root of the tree has exited");
}

char *ckpt_path_name(struct ckpt_ctx *ctx, const struct path *path, char *buf,
		     const struct ckpt_holder *holder)
{
	struct path found;
	char *name;
	bool same;
	int err;

	if (d_unlinked(path->dentry)) {
		ckpt_err(ctx, holder->err, "%s: %pd was deleted", holder->name, path->dentry);
		return ERR_PTR(holder->err);
	}
	name = __d_path(path, &ctx->root_path, buf, PATH_MAX);
	if (!name)
		name = ERR_PTR(holder->err);
	if (IS_ERR(name)) {
		ckpt_err(ctx, PTR_ERR(name), "%s: %pd cannot be reached from the tree's root directory",
			 holder->name, path->dentry);
		return name;
	}
	err = vfs_path_lookup(ctx->root_path.dentry, ctx->root_path.mnt, name, 0, &found);
	if (err) {
		ckpt_err(ctx, err, "%s: %s cannot be looked up", holder->name, name);
		return ERR_PTR(err);
	}
	same = path_equal(&found, path);
	path_put(&found);
	if (!same) {
		ckpt_err(ctx, holder->err, "%s: %s leads to something else by now",
			 holder->name, name);
		return ERR_PTR(holder->err);
	}
	return name;
}

static const struct ckpt_holder root_holder = { "root directory", -EBUSY };
static const struct ckpt_holder cwd_holder = { "working directory", -EBUSY };

/* The task's fs context with a counted reference; NULL when it exits. */
static struct fs_struct *task_fs(struct task_struct *task)
{
	struct fs_struct *fs;

	task_lock(task);
	fs = task->fs;
	if (fs)
		ckpt_fs_grab(fs);
	task_unlock(task);
	return fs;
}

int ckpt_fs_save(struct ckpt_ctx *ctx, struct task_struct *task)
{
	char *buf __free(kfree) = kmalloc(2 * PATH_MAX, GFP_KERNEL);
	struct ckpt_rec_fs *rec __free(kfree) = NULL;
	struct fs_struct *fs = task_fs(task);
	struct path root, cwd;
	char *root_name, *cwd_name;
	size_t len;
	bool first;
	int objref, err;

	if (!fs)
		return ckpt_err(ctx, -EBUSY, "exits");
	objref = ckpt_obj_ref(ctx, fs, CKPT_OBJ_FS, &first);
	/* From here on the hash holds it. */
	ckpt_fs_drop(fs);
	if (objref < 0 || !first)
		return objref;
	if (!buf)
		return ckpt_nomem(ctx, "names");
	get_fs_root(fs, &root);
	get_fs_pwd(fs, &cwd);
	root_name = ckpt_path_name(ctx, &root, buf, &root_holder);
	cwd_name = IS_ERR(root_name) ? root_name :
		   ckpt_path_name(ctx, &cwd, buf + PATH_MAX, &cwd_holder);
	path_put(&cwd);
	path_put(&root);
	if (IS_ERR(cwd_name))
		return PTR_ERR(cwd_name);

	len = strlen(root_name) + 1 + strlen(cwd_name) + 1;
	rec = kzalloc(sizeof(*rec) + ALIGN(len, 8), GFP_KERNEL);
	if (!rec)
		return ckpt_nomem(ctx, "a record");
	rec->objref = objref;
	rec->umask = fs->umask;
	rec->root_len = strlen(root_name) + 1;
	rec->cwd_len = strlen(cwd_name) + 1;
	memcpy(rec->paths, root_name, rec->root_len);
	memcpy(rec->paths + rec->root_len, cwd_name, rec->cwd_len);
	err = ckpt_write_record(ctx, CKPT_REC_FS, rec, sizeof(*rec) + ALIGN(len, 8));
	return err ?: objref;
}

/* The directory that a name in the image means, if the caller may go there. */
static int lookup_dir(struct ckpt_ctx *ctx, const char *name, size_t len, struct path *path)
{
	int err;

	if (!ckpt_is_path(name, len))
		return ckpt_err(ctx, -EINVAL, "a name is not an absolute path of %zu bytes", len);
	err = vfs_path_lookup(ctx->root_path.dentry, ctx->root_path.mnt, name,
			      LOOKUP_DIRECTORY, path);
	if (err)
		return ckpt_err(ctx, err, "directory %s", name);
	err = inode_permission(mnt_idmap(path->mnt), d_inode(path->dentry),
			       MAY_EXEC | MAY_CHDIR);
	if (err) {
		path_put(path);
		return ckpt_err(ctx, err, "directory %s", name);
	}
	return 0;
}

int ckpt_fs_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_fs *rec = (struct ckpt_rec_fs *)ctx->rec;
	size_t len = (size_t)rec->root_len + rec->cwd_len;
	struct path root, cwd;
	int err;

	ctx->current_objref = rec->objref;
	if (ctx->member->own_fs)
		return ckpt_err(ctx, -EINVAL, "a second record for one task");
	if (rec->root_len > PATH_MAX || rec->cwd_len > PATH_MAX ||
	    sizeof(*rec) + ALIGN(len, 8) != rec->h.len ||
	    !ckpt_is_padded(&rec->h, sizeof(*rec) + len) || rec->umask & ~0777)
		return ckpt_err(ctx, -EINVAL, "names of %u and %u bytes, umask %#o",
				rec->root_len, rec->cwd_len, rec->umask);
	err = lookup_dir(ctx, rec->paths, rec->root_len, &root);
	if (err)
		return err;
	err = lookup_dir(ctx, rec->paths + rec->root_len, rec->cwd_len, &cwd);
	if (err)
		goto out_root;
	if (!path_equal(&root, &ctx->root_path) && !ns_capable(current_user_ns(), CAP_SYS_CHROOT)) {
		err = ckpt_err(ctx, -EPERM, "the caller may not change its root directory");
		goto out;
	}
	err = unshare_fs_struct();
	if (err) {
		ckpt_err(ctx, err, "no memory for an fs context");
		goto out;
	}
	set_fs_root(current->fs, &root);
	set_fs_pwd(current->fs, &cwd);
	current->fs->umask = rec->umask;
	ctx->member->own_fs = rec->objref;
	err = ckpt_obj_add(ctx, rec->objref, current->fs, CKPT_OBJ_FS);
out:
	path_put(&cwd);
out_root:
	path_put(&root);
	return err;
}

/* Share the fs context of a task that was restored before, as CLONE_FS does. */
int ckpt_fs_install(struct ckpt_ctx *ctx, int objref)
{
	struct fs_struct *fs = ckpt_obj_get(ctx, objref, CKPT_OBJ_FS);
	struct fs_struct *old;

	if (IS_ERR(fs))
		return PTR_ERR(fs);
	ckpt_fs_grab(fs);
	scoped_guard(task_lock, current) {
		old = current->fs;
		current->fs = fs;
	}
	ckpt_fs_drop(old);
	return 0;
}
