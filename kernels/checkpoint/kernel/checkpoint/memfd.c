// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files of memory: memfd_create(2).
 *
 * No name opens one again: what it holds is in the image, before the first
 * open file of it.  The object is its dentry, which everything that is open of
 * it refers to: descriptors, mappings, programs.  The file that
 * memfd_create(2) itself made does not count as a writer, others do, and a
 * program that is written to cannot run: so the two are told apart.
 *
 * On restart the first member that comes to it makes it and fills it.  Seals
 * are put on when it is full and before anybody maps it; what was mapped
 * before F_SEAL_FUTURE_WRITE came may be written to, and is mapped as if it
 * were not there.
 */
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/pid_namespace.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/xattr.h>

#include "internal.h"

/* The kernel's name is this, and then the user's. */
#define PREFIX		"memfd:"
#define PREFIX_LEN	(sizeof(PREFIX) - 1)
#define SEALS		(F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | \
			 F_SEAL_FUTURE_WRITE | F_SEAL_EXEC)

void ckpt_memfd_grab(void *obj)
{
	dget(obj);
}

void ckpt_memfd_drop(void *obj)
{
	dput(obj);
}

int ckpt_memfd_users(void *obj)
{
	return d_count((struct dentry *)obj) - 1;
}

/* Is it one of the files that this is about?  Those of huge pages are not. */
bool ckpt_is_memfd(const struct file *file)
{
	const struct dentry *dentry = file->f_path.dentry;

	return shmem_mapping(file->f_mapping) && !IS_PRIVATE(file_inode(file)) &&
	       file->f_path.mnt->mnt_flags & MNT_INTERNAL &&
	       !strncmp(dentry->d_name.name, PREFIX, PREFIX_LEN);
}

/* Also those that the caller cannot see */
bool ckpt_has_xattrs(struct dentry *dentry)
{
	return !RB_EMPTY_ROOT(&SHMEM_I(d_inode(dentry))->xattrs.rb_root) ||
	       vfs_listxattr(dentry, NULL, 0) > 0;
}

/* What a file of memory, or one on tmpfs, may have beside what a record holds */
const char *ckpt_memfd_odd(struct dentry *dentry)
{
	struct inode *inode = d_inode(dentry);

	if (inode->i_mode & (S_ISUID | S_ISGID))
		return "it is set-user-id or set-group-id";
	if (SHMEM_I(inode)->fsflags)
		return "it has attributes (chattr)";
	if (ckpt_has_xattrs(dentry))
		return "it has extended attributes";
	return NULL;
}

int ckpt_memfd_save(struct ckpt_ctx *ctx, struct file *file, const struct ckpt_holder *holder)
{
	struct dentry *dentry = file->f_path.dentry;
	struct inode *inode = file_inode(file);
	const char *name = dentry->d_name.name + PREFIX_LEN;
	struct timespec64 mtime = inode_get_mtime(inode);
	struct ckpt_rec_memfd *rec __free(kfree) = NULL;
	const char *what = ckpt_memfd_odd(dentry);
	size_t len = sizeof(*rec) + ALIGN(strlen(name) + 1, 8);
	int objref, err;
	bool first;

	objref = ckpt_obj_ref(ctx, dentry, CKPT_OBJ_MEMFD, &first);
	if (objref < 0 || !first)
		return objref;
	if (what)
		return ckpt_err(ctx, holder->err, "%s: %s", holder->name, what);
	rec = kzalloc(len, GFP_KERNEL);
	if (!rec)
		return ckpt_nomem(ctx, "a record");
	rec->objref = objref;
	rec->seals = SHMEM_I(inode)->seals;
	rec->size = i_size_read(inode);
	rec->mtime = timespec64_to_ns(&mtime);
	rec->name_len = strlen(name) + 1;
	memcpy(rec->name, name, rec->name_len);
	err = ckpt_shmem_get_owner(ctx, inode, &rec->uid, &rec->gid, &rec->mode, holder);
	if (err)
		return err;
	err = ckpt_write_record(ctx, CKPT_REC_MEMFD, rec, len);
	if (!err)
		err = ckpt_shmem_save_contents(ctx, inode, rec->size, objref);
	return err ?: objref;
}

/* Did memfd_create(2) open it, or was it opened once more? */
u32 ckpt_memfd_kind(const struct file *file)
{
	const fmode_t writes = FMODE_WRITE | FMODE_WRITER;

	return (file->f_mode & writes) == FMODE_WRITE ? CKPT_FILE_MEMFD : CKPT_FILE_MEMFD_AGAIN;
}

/* --- restart --- */

/* As memfd_create(2) finds it in vm.memfd_noexec */
static bool may_be_program(void)
{
#if defined(CONFIG_SYSCTL) && defined(CONFIG_MEMFD_CREATE)
	return pidns_memfd_noexec_scope(task_active_pid_ns(current)) <
	       MEMFD_NOEXEC_SCOPE_NOEXEC_ENFORCED;
#else
	return true;
#endif
}

static int check_record(struct ckpt_ctx *ctx, const struct ckpt_rec_memfd *rec)
{
	if (rec->name_len < 1 || rec->name_len > NAME_MAX - PREFIX_LEN + 1 ||
	    rec->h.len != sizeof(*rec) + ALIGN(rec->name_len, 8) ||
	    strnlen(rec->name, rec->name_len) != rec->name_len - 1 ||
	    !ckpt_is_padded(&rec->h, sizeof(*rec) + rec->name_len))
		return ckpt_err(ctx, -EINVAL, "the name is not text of %u bytes", rec->name_len);
	if (rec->seals & ~SEALS || rec->mode & ~CKPT_SHMEM_MODE)
		return ckpt_err(ctx, -EINVAL, "seals %#x, mode %#o", rec->seals, rec->mode);
	if ((rec->mode & S_IXUGO || !(rec->seals & F_SEAL_EXEC)) && !may_be_program())
		return ckpt_err(ctx, -EACCES, "vm.memfd_noexec does not allow mode %#o, seals %#x",
				rec->mode, rec->seals);
	return ckpt_shmem_check_size(ctx, rec->size);
}

int ckpt_memfd_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_memfd *rec = (struct ckpt_rec_memfd *)ctx->rec;
	struct ckpt_member *m = ctx->member;
	char *name __free(kfree) = NULL;
	struct file *file;
	int err;

	ctx->current_objref = rec->objref;
	if (m->shmem_rec.objref || (m->mm_rec.objref && !m->own_mm))
		return ckpt_err(ctx, -EINVAL, "a file of memory begins within another object");
	err = check_record(ctx, rec);
	if (err)
		return err;
	name = kasprintf(GFP_KERNEL, PREFIX "%s", rec->name);
	if (!name)
		return ckpt_nomem(ctx, "a name");
	file = shmem_file_setup(name, rec->size, VM_NORESERVE);
	if (IS_ERR(file))
		return ckpt_err(ctx, PTR_ERR(file), "%s", name);
	err = ckpt_shmem_set_owner(ctx, file_inode(file), rec->uid, rec->gid, rec->mode);
	if (!err)
		err = ckpt_obj_add(ctx, rec->objref, file->f_path.dentry, CKPT_OBJ_MEMFD);
	if (!err) {
		/* The kernel's own, which does not go away. */
		ctx->memfd_mnt = file->f_path.mnt;
		ckpt_shmem_begin(m, rec->objref, file_inode(file), PAGE_ALIGN(rec->size));
		m->memfd_seals = rec->seals;
		m->memfd_mtime = rec->mtime;
	}
	fput(file);
	return err;
}

/* All of its contents are there. */
int ckpt_memfd_end(struct ckpt_ctx *ctx, struct inode *inode)
{
	struct ckpt_member *m = ctx->member;

	/* As F_ADD_SEALS */
	if (m->memfd_seals & F_SEAL_WRITE && mapping_deny_writable(inode->i_mapping))
		return ckpt_err(ctx, -EBUSY, "it is in use");
	SHMEM_I(inode)->seals = m->memfd_seals;
	inode_set_mtime_to_ts(inode, ns_to_timespec64(m->memfd_mtime));
	return 0;
}

/* The file that memfd_create(2) returns. */
static struct file *as_created(const struct path *path, unsigned int flags,
			       const struct cred *cred)
{
	struct inode *inode = d_inode(path->dentry);
	struct file like = { .f_path = *path, .f_mapping = inode->i_mapping };
	const struct cred *old = override_creds(cred);
	struct file *file = alloc_file_clone(&like, flags, inode->i_fop);

	revert_creds(old);
	if (!IS_ERR(file))
		file->f_mode |= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE;
	return file;
}

/**
 * ckpt_memfd_open - open a file of memory
 * @ctx: the context
 * @rec: how, checked
 * @cred: the credentials it was opened with
 *
 * Return: the file, or an ERR_PTR with a line in the log.
 */
struct file *ckpt_memfd_open(struct ckpt_ctx *ctx, const struct ckpt_rec_file *rec,
			     const struct cred *cred)
{
	struct dentry *dentry = ckpt_obj_get(ctx, rec->object, CKPT_OBJ_MEMFD);
	struct path path = { .mnt = ctx->memfd_mnt, .dentry = dentry };
	struct file *file = ERR_PTR(-EINVAL);

	if (IS_ERR(dentry))
		return ERR_CAST(dentry);
	if (ctx->member->shmem_rec.objref)
		ckpt_err(ctx, -EINVAL, "file of memory %d has not ended", rec->object);
	else if (rec->kind == CKPT_FILE_MEMFD_AGAIN)
		file = dentry_open(&path, rec->flags, cred);
	else if ((rec->flags & O_ACCMODE) == O_RDWR)
		file = as_created(&path, rec->flags, cred);
	if (IS_ERR(file))
		ckpt_err(ctx, PTR_ERR(file), "file of memory %d with flags %#x", rec->object,
			 rec->flags);
	return file;
}

/*
 * Take F_SEAL_FUTURE_WRITE off for a mapping from before its time; to be put on
 * again by the caller.  Nobody but a tracer has the file before the restart is
 * over.
 */
bool ckpt_memfd_unseal(struct file *file, const struct ckpt_rec_vma *rec)
{
	const u32 both = CKPT_VMA_SHARED | CKPT_VMA_MAYWRITE;
	struct shmem_inode_info *info;

	if (!file || !ckpt_is_memfd(file) || (rec->flags & both) != both)
		return false;
	info = SHMEM_I(file_inode(file));
	guard(rwsem_write)(&file_inode(file)->i_rwsem);
	if (!(info->seals & F_SEAL_FUTURE_WRITE))
		return false;
	info->seals &= ~F_SEAL_FUTURE_WRITE;
	return true;
}

void ckpt_memfd_seal(struct file *file)
{
	guard(rwsem_write)(&file_inode(file)->i_rwsem);
	SHMEM_I(file_inode(file))->seals |= F_SEAL_FUTURE_WRITE;
}
