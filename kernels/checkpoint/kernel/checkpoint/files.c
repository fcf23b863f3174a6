// SPDX-License-Identifier: GPL-2.0-only
/*
 * Open files and tables of descriptors.
 *
 * A file is written as the name that opens it again, with its flags and its
 * offset; contents are not part of an image.  A file of memory has no name, and
 * refers to a record of what it holds, see memfd.c, as does one whose name was
 * deleted, see unlinked.c, and an end of a pipe, see pipes.c.  Of an eventfd, a
 * signalfd or a pidfd the record of the file says it all; that of a timerfd follows its
 * timer; what an epoll set watches, locks, leases and owners for signals come last of
 * all, see epoll.c, locks.c, leases.c and owners.c.  What cannot be opened again,
 * or holds more than flags and an offset, is refused by name: only file systems and
 * devices that are known to serve are accepted.
 *
 * The table is only read while its task is frozen.  On restart a task opens
 * its files itself, under the credentials they were opened with, and only if
 * it could have those.
 */
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/major.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/pid.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <uapi/linux/pidfd.h>

#include "internal.h"

/* F_GETFL's flags that open(2) takes again */
#define FILE_FLAGS	(O_ACCMODE | O_APPEND | O_NONBLOCK | O_SYNC | O_DIRECT | O_LARGEFILE | \
			 O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | FASYNC)
/* What the kernel keeps among them for itself */
#define INNER_FLAGS	((__force unsigned int)(FMODE_EXEC | FMODE_NONOTIFY))
/* What is added to open a name that may lead to anything today */
#define CAREFUL_FLAGS	(O_NONBLOCK | O_NOFOLLOW | O_DIRECTORY)

void ckpt_file_grab(void *obj)
{
	get_file(obj);
}

void ckpt_file_drop(void *obj)
{
	fput(obj);
}

int ckpt_file_users(void *obj)
{
	return file_count((struct file *)obj) - 1;
}

/* Would what somebody outside of a subtree does with the same one be lost to it? */
bool ckpt_file_is_whole(void *obj)
{
	return ckpt_pipe_kind(obj) || is_eventfd(obj) || is_timerfd(obj) || is_epoll(obj);
}

void ckpt_files_grab(void *obj)
{
	struct files_struct *files = obj;

	atomic_inc(&files->count);
}

void ckpt_files_drop(void *obj)
{
	put_files_struct(obj);
}

int ckpt_files_users(void *obj)
{
	struct files_struct *files = obj;

	return atomic_read(&files->count) - 1;
}

/* Devices that hold no state of the descriptor's: null, zero, full, random, urandom. */
static bool is_plain_device(dev_t dev)
{
	if (MAJOR(dev) != MEM_MAJOR)
		return false;
	switch (MINOR(dev)) {
	case 3:
	case 5:
	case 7:
	case 8:
	case 9:
		return true;
	}
	return false;
}

/* File systems whose files are opened again by name; everything else is refused. */
static bool is_named_fs(const struct file *file)
{
	if (file->f_path.mnt->mnt_flags & MNT_INTERNAL)
		return false;
	switch (file_inode(file)->i_sb->s_magic) {
	case TMPFS_MAGIC:
	case RAMFS_MAGIC:
	case EXT4_SUPER_MAGIC:
	case OVERLAYFS_SUPER_MAGIC:
	case V9FS_MAGIC:
	case FUSE_SUPER_MAGIC:
		return true;
	}
	return false;
}

/* The file's kind, or 0 for one that has no record. */
static u32 file_kind(struct file *file)
{
	const struct inode *inode = file_inode(file);

	if (file->f_mode & FMODE_PATH)
		return 0;
	switch (inode->i_mode & S_IFMT) {
	case S_IFREG:
		if (ckpt_is_memfd(file))
			return ckpt_memfd_kind(file);
		if (ckpt_is_pidfd(file))
			return CKPT_FILE_PIDFD;
		if (!is_named_fs(file))
			return 0;
		return ckpt_is_unlinked(file) ? CKPT_FILE_UNLINKED : CKPT_FILE_REG;
	case S_IFDIR:
		return is_named_fs(file) ? CKPT_FILE_DIR : 0;
	case S_IFCHR:
		return is_plain_device(inode->i_rdev) ? CKPT_FILE_CHR : 0;
	case S_IFIFO:
		if (ckpt_pipe_kind(file) == CKPT_FILE_FIFO && !is_named_fs(file))
			return 0;
		return ckpt_pipe_kind(file);
	case 0:
		if (is_eventfd(file))
			return CKPT_FILE_EVENTFD;
		if (is_timerfd(file))
			return CKPT_FILE_TIMERFD;
		if (is_epoll(file))
			return CKPT_FILE_EPOLL;
		return is_signalfd(file) ? CKPT_FILE_SIGNALFD : 0;
	}
	return 0;
}

/* The flags that a file of this kind can have; that of O_TMPFILE stays with it. */
static unsigned int flags_of(u32 kind)
{
	switch (kind) {
	case CKPT_FILE_UNLINKED:
		return FILE_FLAGS | __O_TMPFILE;
	case CKPT_FILE_PIDFD:
		return FILE_FLAGS | PIDFD_THREAD;
	}
	return FILE_FLAGS;
}

/* Is it a file that only a record of its own describes, and no name? */
static bool is_nameless(u32 kind)
{
	switch (kind) {
	case CKPT_FILE_MEMFD:
	case CKPT_FILE_MEMFD_AGAIN:
	case CKPT_FILE_PIPE:
	case CKPT_FILE_EVENTFD:
	case CKPT_FILE_SIGNALFD:
	case CKPT_FILE_TIMERFD:
	case CKPT_FILE_EPOLL:
	case CKPT_FILE_PIDFD:
		return true;
	}
	return false;
}

/* Is it a file that nobody can open a second time? */
static bool is_anonymous(u32 kind)
{
	return kind == CKPT_FILE_EVENTFD || kind == CKPT_FILE_SIGNALFD ||
	       kind == CKPT_FILE_TIMERFD || kind == CKPT_FILE_EPOLL ||
	       kind == CKPT_FILE_PIDFD;
}

static bool is_pipe(u32 kind)
{
	return kind == CKPT_FILE_PIPE || kind == CKPT_FILE_FIFO;
}

/* Does a record of its own say what is in it? */
static bool has_object(u32 kind)
{
	return (is_nameless(kind) && !is_anonymous(kind)) || is_pipe(kind) ||
	       kind == CKPT_FILE_UNLINKED || kind == CKPT_FILE_PIDFD;
}

/* Say what it is instead, by the name that /proc/PID/fd shows. */
static int refuse_file(struct ckpt_ctx *ctx, struct file *file, const struct ckpt_holder *holder,
		       char *buf)
{
	const struct inode *inode = file_inode(file);
	const char *name = d_path(&file->f_path, buf, PATH_MAX);
	const char *kind = "a file";

	if (IS_ERR(name))
		name = "(a long name)";
	if (file->f_mode & FMODE_PATH)
		kind = "a descriptor opened with O_PATH";
	else if (S_ISCHR(inode->i_mode))
		kind = "a character device";
	else if (S_ISFIFO(inode->i_mode))
		kind = inode->i_sb->s_magic == PIPEFS_MAGIC ? "a pipe" : "a fifo";
	else if (S_ISSOCK(inode->i_mode))
		kind = "a socket";
	return ckpt_err(ctx, holder->err, "%s: %s (%s on %s) is not supported", holder->name, kind,
			name, inode->i_sb->s_type->name);
}

/* What fcntl(F_GETFL) shows, but for what is in the file's LEASE or OWNER */
static unsigned int shown_flags(struct file *file)
{
	struct lease_state lease;

	if (ckpt_tells_owner(file) || lease_get(file, &lease) != -ENOENT)
		return file->f_flags & ~FASYNC;
	return file->f_flags;
}

/* What an open file may hold beside flags and an offset. */
static int check_file(struct ckpt_ctx *ctx, struct file *file, u32 kind, const char *what)
{
	struct fown_struct *owner = READ_ONCE(file->f_owner);
	unsigned int odd = file->f_flags & ~(flags_of(kind) | INNER_FLAGS);

	/* On a directory it also stands for dnotify, which may have lost its owner. */
	if (owner && S_ISDIR(file_inode(file)->i_mode))
		return ckpt_err(ctx, -EBUSY, "%s: it has an owner for signals (F_SETOWN, dnotify)",
				what);
	if (kind == CKPT_FILE_DIR && !ckpt_tmpfs_keeps_position(ctx, file))
		return ckpt_err(ctx, -EBUSY,
				"%s: it is being read, and names in it were removed or exchanged",
				what);
	if (kind == CKPT_FILE_EVENTFD && eventfd_is_held(file))
		return ckpt_err(ctx, -EBUSY, "%s: the kernel writes to it, too", what);
	if ((file->f_flags & O_ACCMODE) == O_ACCMODE)
		return ckpt_err(ctx, -EBUSY, "%s: it is open for ioctl(2) only", what);
	if (odd)
		return ckpt_err(ctx, -EBUSY, "%s: flags %#o are not supported", what, odd);
	if (filemap_check_wb_err(file->f_mapping, file->f_wb_err))
		return ckpt_err(ctx, -EBUSY, "%s: a write-back error was not reported yet", what);
	return 0;
}

/**
 * ckpt_file_save - write an open file
 * @ctx: the context
 * @file: the file
 * @holder: who holds it
 *
 * Return: its objref, or EBADF or EBUSY where it cannot be opened again as it is.
 */
int ckpt_file_save(struct ckpt_ctx *ctx, struct file *file, const struct ckpt_holder *holder)
{
	char *buf __free(kfree) = NULL;
	struct ckpt_rec_file *rec __free(kfree) = NULL;
	const struct inode *inode = file_inode(file);
	int objref, cred, err, object = 0;
	char *name = NULL;
	size_t name_len = 0, len;
	u64 size = 0;
	bool first;
	u32 kind;

	objref = ckpt_obj_ref(ctx, file, CKPT_OBJ_FILE, &first);
	if (objref < 0 || !first)
		return objref;
	buf = kmalloc(PATH_MAX, GFP_KERNEL);
	if (!buf)
		return ckpt_nomem(ctx, "a name");
	kind = file_kind(file);
	if (!kind)
		return refuse_file(ctx, file, holder, buf);
	err = check_file(ctx, file, kind, holder->name);
	if (err)
		return err;
	cred = ckpt_cred_save(ctx, file->f_cred);
	if (cred < 0)
		return cred;
	if (!is_nameless(kind)) {
		if (kind == CKPT_FILE_UNLINKED)
			name = ckpt_unlinked_name(ctx, &file->f_path, buf, holder);
		else
			name = ckpt_path_name(ctx, &file->f_path, buf, holder);
		if (IS_ERR(name))
			return PTR_ERR(name);
		name_len = strlen(name) + 1;
	}
	if (is_pipe(kind))
		object = ckpt_pipe_save(ctx, file, name, cred, holder);
	else if (kind == CKPT_FILE_UNLINKED)
		object = ckpt_unlinked_save(ctx, file, name, holder);
	else if (kind == CKPT_FILE_TIMERFD)
		object = ckpt_timerfd_save(ctx, file, objref);
	else if (kind == CKPT_FILE_PIDFD)
		object = ckpt_pidfd_save(ctx, file, holder, &size);
	else if (has_object(kind))
		object = ckpt_memfd_save(ctx, file, holder);
	if (object < 0)
		return object;

	len = sizeof(*rec) + ALIGN(name_len, 8);
	rec = kzalloc(len, GFP_KERNEL);
	if (!rec)
		return ckpt_nomem(ctx, "a record");
	rec->objref = objref;
	rec->kind = kind;
	rec->flags = shown_flags(file) & flags_of(kind);
	if (kind == CKPT_FILE_CHR) {
		rec->rdev_major = MAJOR(inode->i_rdev);
		rec->rdev_minor = MINOR(inode->i_rdev);
	}
	rec->cred = cred;
	rec->mode = inode->i_mode;
	rec->path_len = name_len;
	rec->pos = file->f_pos;
	rec->size = kind == CKPT_FILE_REG ? i_size_read(inode) : size;
	rec->object = object;
	if (is_pipe(kind))
		rec->state = ckpt_pipe_state(file);
	else if (kind == CKPT_FILE_EVENTFD)
		ckpt_eventfd_save(file, rec);
	else if (kind == CKPT_FILE_SIGNALFD)
		ckpt_signalfd_save(file, rec);
	if (name)
		memcpy(rec->path, name, name_len);
	err = ckpt_write_record(ctx, CKPT_REC_FILE, rec, len);
	if (!err && kind == CKPT_FILE_EPOLL)
		err = ckpt_epoll_note(ctx, file, objref);
	return err ?: objref;
}

int ckpt_for_each_file(struct ckpt_ctx *ctx,
		       int (*save)(struct ckpt_ctx *ctx, struct file *file, int objref))
{
	struct file *file;
	int objref = 0, err;

	while ((file = ckpt_obj_next(ctx, &objref, CKPT_OBJ_FILE))) {
		ctx->current_objref = objref;
		err = save(ctx, file, objref);
		if (!err && fatal_signal_pending(current))
			err = ckpt_err(ctx, -EINTR, "a signal came");
		if (err)
			return err;
		cond_resched();
	}
	ctx->current_objref = 0;
	return 0;
}

/* Is this a path, absolute and terminated, with nothing behind it? */
bool ckpt_is_path(const char *path, size_t len)
{
	return len >= 2 && path[0] == '/' && strnlen(path, len) == len - 1;
}

/* What an open file of this kind can have beside flags and offset */
static u32 state_of(u32 kind)
{
	switch (kind) {
	case CKPT_FILE_PIPE:
		return CKPT_FILE_CREATED;
	case CKPT_FILE_FIFO:
		return CKPT_FILE_NO_WRITER_YET;
	case CKPT_FILE_EVENTFD:
		return CKPT_FILE_SEMAPHORE;
	}
	return 0;
}

int ckpt_check_path(struct ckpt_ctx *ctx, const struct ckpt_hdr *h, size_t fixed, const char *path,
		    u32 len, bool has_name)
{
	if (len <= PATH_MAX && h->len == fixed + ALIGN(len, 8) &&
	    (has_name ? ckpt_is_path(path, len) : !len) && ckpt_is_padded(h, fixed + len))
		return 0;
	return ckpt_err(ctx, -EINVAL, "the name is not an absolute path of %u bytes", len);
}

/* Is there an offset to go on from? */
static bool has_offset(u32 kind)
{
	return !is_pipe(kind) && !is_anonymous(kind);
}

static int check_file_record(struct ckpt_ctx *ctx, const struct ckpt_rec_file *rec)
{
	static const umode_t types[] = {
		[CKPT_FILE_REG] = S_IFREG,
		[CKPT_FILE_DIR] = S_IFDIR,
		[CKPT_FILE_CHR] = S_IFCHR,
		[CKPT_FILE_MEMFD] = S_IFREG,
		[CKPT_FILE_MEMFD_AGAIN] = S_IFREG,
		[CKPT_FILE_UNLINKED] = S_IFREG,
		[CKPT_FILE_PIPE] = S_IFIFO,
		[CKPT_FILE_FIFO] = S_IFIFO,
		[CKPT_FILE_EVENTFD] = 0,
		[CKPT_FILE_SIGNALFD] = 0,
		[CKPT_FILE_TIMERFD] = 0,
		[CKPT_FILE_EPOLL] = 0,
		[CKPT_FILE_PIDFD] = S_IFREG,
	};
	const char *name = rec->path;
	int err;

	if (!rec->kind || rec->kind >= ARRAY_SIZE(types) ||
	    (rec->mode & S_IFMT) != types[rec->kind] || rec->mode & ~(S_IFMT | S_IALLUGO))
		return ckpt_err(ctx, -EINVAL, "kind %u with mode %#o", rec->kind, rec->mode);
	err = ckpt_check_path(ctx, &rec->h, sizeof(*rec), name, rec->path_len,
			      !is_nameless(rec->kind));
	if (err)
		return err;
	if (is_nameless(rec->kind))
		name = "a file without a name";
	if (rec->object && !has_object(rec->kind))
		return ckpt_err(ctx, -EINVAL, "%s: object %d", name, rec->object);
	if (rec->state & ~state_of(rec->kind))
		return ckpt_err(ctx, -EINVAL, "%s: state %#x", name, rec->state);
	if (rec->flags & ~flags_of(rec->kind) || (rec->flags & O_ACCMODE) == O_ACCMODE ||
	    (is_anonymous(rec->kind) && (rec->flags & O_ACCMODE) != O_RDWR))
		return ckpt_err(ctx, -EINVAL, "%s: flags %#x", name, rec->flags);
	if (rec->pos < 0 || (rec->pos && !has_offset(rec->kind)))
		return ckpt_err(ctx, -EINVAL, "%s: offset %lld", name, rec->pos);
	if (rec->kind == CKPT_FILE_CHR ?
	    !is_plain_device(MKDEV(rec->rdev_major, rec->rdev_minor)) :
	    rec->rdev_major || rec->rdev_minor)
		return ckpt_err(ctx, -EINVAL, "%s: device %u:%u", name,
				rec->rdev_major, rec->rdev_minor);
	return 0;
}

static struct file *make_file(struct ckpt_ctx *ctx, const struct ckpt_rec_file *rec,
			      const struct cred *cred)
{
	const struct cred *old = override_creds(cred);
	struct file *file;

	if (rec->kind == CKPT_FILE_EVENTFD)
		file = ckpt_eventfd_open(rec);
	else if (rec->kind == CKPT_FILE_SIGNALFD)
		file = ckpt_signalfd_open(rec);
	else if (rec->kind == CKPT_FILE_EPOLL)
		file = ckpt_epoll_open();
	else
		file = ckpt_timerfd_open(ctx, rec);
	revert_creds(old);
	if (IS_ERR(file))
		ckpt_err(ctx, PTR_ERR(file), "a file of kind %u with %#llx in it cannot be made",
			 rec->kind, rec->size);
	else
		file->f_flags = rec->flags;
	return file;
}

/* Open the file as its record says; a name may lead to anything today. */
static struct file *open_file(struct ckpt_ctx *ctx, const struct ckpt_rec_file *rec)
{
	const struct cred *cred = ckpt_obj_get(ctx, rec->cred, CKPT_OBJ_CRED);
	const struct cred *old;
	struct file *file;
	struct inode *inode;
	int flags = rec->flags | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW;
	int err;

	if (IS_ERR(cred))
		return ERR_CAST(cred);
	err = ckpt_cred_check_power(ctx, cred);
	if (err)
		return ERR_PTR(err);
	if (is_pipe(rec->kind))
		return ckpt_pipe_open(ctx, rec, cred);
	if (rec->kind == CKPT_FILE_PIDFD)
		return ckpt_pidfd_open(ctx, rec, cred);
	if (is_anonymous(rec->kind))
		return make_file(ctx, rec, cred);
	if (is_nameless(rec->kind))
		return ckpt_memfd_open(ctx, rec, cred);
	if (rec->kind == CKPT_FILE_UNLINKED)
		return ckpt_unlinked_open(ctx, rec, cred);
	if (rec->kind == CKPT_FILE_DIR)
		flags |= O_DIRECTORY;
	old = override_creds(cred);
	file = file_open_root(&ctx->root_path, rec->path, flags, 0);
	revert_creds(old);
	if (IS_ERR(file)) {
		ckpt_err(ctx, PTR_ERR(file), "%s cannot be opened", rec->path);
		return file;
	}
	inode = file_inode(file);
	if ((inode->i_mode & S_IFMT) != (rec->mode & S_IFMT) ||
	    (rec->kind == CKPT_FILE_CHR &&
	     inode->i_rdev != MKDEV(rec->rdev_major, rec->rdev_minor))) {
		ckpt_err(ctx, -EINVAL, "%s has mode %#o instead of %#o, or is another device",
			 rec->path, inode->i_mode, rec->mode);
		fput(file);
		return ERR_PTR(-EINVAL);
	}
	return file;
}

static int set_position(struct ckpt_ctx *ctx, struct file *file, const struct ckpt_rec_file *rec)
{
	loff_t pos;

	if (!has_offset(rec->kind))
		return 0;
	if (rec->kind == CKPT_FILE_CHR) {
		file->f_pos = rec->pos;
		return 0;
	}
	pos = vfs_llseek(file, rec->pos, SEEK_SET);
	if (pos == rec->pos)
		return 0;
	return ckpt_err(ctx, pos < 0 ? pos : -EINVAL, "cannot be set to offset %lld", rec->pos);
}

int ckpt_file_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_file *rec = (struct ckpt_rec_file *)ctx->rec;
	struct file *file;
	int err;

	ctx->current_objref = rec->objref;
	err = check_file_record(ctx, rec);
	if (err)
		return err;
	file = open_file(ctx, rec);
	if (IS_ERR(file))
		return PTR_ERR(file);
	spin_lock(&file->f_lock);
	file->f_flags = (file->f_flags & ~CAREFUL_FLAGS) | (rec->flags & CAREFUL_FLAGS);
	spin_unlock(&file->f_lock);
	err = set_position(ctx, file, rec);
	if (!err)
		err = ckpt_obj_add(ctx, rec->objref, file, CKPT_OBJ_FILE);
	if (!err && rec->kind == CKPT_FILE_EPOLL)
		err = ckpt_epoll_note(ctx, file, rec->objref);
	fput(file);
	return err;
}

/* --- tables --- */

/*
 * The next descriptor from *@fd on; the image and the log of a task that saves
 * itself are none of its state.
 */
static struct file *next_file(struct ckpt_ctx *ctx, struct task_struct *task, unsigned int *fd)
{
	struct file *file;

	for (;; (*fd)++) {
		rcu_read_lock();
		file = task_lookup_next_fdget_rcu(task, fd);
		rcu_read_unlock();
		if (!file || (file != ctx->file && file != ctx->logfile))
			return file;
		fput(file);
	}
}

/* With a counted reference; NULL when the task exits: a frozen one may be killed. */
static struct files_struct *task_files(struct task_struct *task)
{
	struct files_struct *files;

	task_lock(task);
	files = task->files;
	if (files)
		ckpt_files_grab(files);
	task_unlock(task);
	return files;
}

static bool fd_cloexec(struct files_struct *files, unsigned int fd)
{
	guard(rcu)();
	return close_on_exec(fd, files);
}

static int save_fds(struct ckpt_ctx *ctx, struct task_struct *task, struct files_struct *files,
		    struct ckpt_fd *fds, u32 nr)
{
	unsigned int fd = 0;
	struct file *file;
	char name[16];
	struct ckpt_holder holder = { .name = name, .err = -EBADF };
	u32 i = 0;

	for (; (file = next_file(ctx, task, &fd)); fd++) {
		int objref;

		snprintf(name, sizeof(name), "fd %u", fd);
		if (i == nr)
			objref = ckpt_err(ctx, -EBUSY, "the table of descriptors has changed");
		else if (fatal_signal_pending(current))
			objref = ckpt_err(ctx, -EINTR, "a signal came");
		else
			objref = ckpt_file_save(ctx, file, &holder);
		fput(file);
		if (objref < 0)
			return objref;
		fds[i].fd = fd;
		fds[i].file = objref;
		fds[i].flags = fd_cloexec(files, fd) ? CKPT_FD_CLOEXEC : 0;
		i++;
		cond_resched();
	}
	return i == nr ? 0 : ckpt_err(ctx, -EBUSY, "the table of descriptors has changed");
}

int ckpt_files_save(struct ckpt_ctx *ctx, struct task_struct *task)
{
	struct ckpt_rec_files *rec __free(kvfree) = NULL;
	struct files_struct *files = task_files(task);
	unsigned int fd = 0;
	struct file *file;
	int objref, err;
	bool first;
	u32 nr = 0;

	if (!files)
		return ckpt_err(ctx, -EBUSY, "exits");
	objref = ckpt_obj_ref(ctx, files, CKPT_OBJ_FILES, &first);
	/* From here on the hash holds it. */
	ckpt_files_drop(files);
	if (objref < 0 || !first)
		return objref;
	for (; (file = next_file(ctx, task, &fd)); fd++) {
		fput(file);
		nr++;
	}
	rec = kvzalloc(struct_size(rec, fds, nr), GFP_KERNEL_ACCOUNT);
	if (!rec)
		return ckpt_nomem(ctx, "%u descriptors", nr);
	err = save_fds(ctx, task, files, rec->fds, nr);
	if (err)
		return err;
	rec->objref = objref;
	rec->nr_fds = nr;
	err = ckpt_write_record(ctx, CKPT_REC_FILES, rec, struct_size(rec, fds, nr));
	return err ?: objref;
}

static int check_fds(struct ckpt_ctx *ctx, const struct ckpt_rec_files *rec)
{
	int last = -1;

	if (struct_size(rec, fds, rec->nr_fds) != rec->h.len)
		return ckpt_err(ctx, -EINVAL, "%u descriptors in %u bytes",
				rec->nr_fds, rec->h.len);
	for (u32 i = 0; i < rec->nr_fds; i++) {
		const struct ckpt_fd *fd = &rec->fds[i];

		if (fd->fd <= last || fd->fd >= sysctl_nr_open)
			return ckpt_err(ctx, -EINVAL, "fd %d after fd %d", fd->fd, last);
		if (fd->flags & ~CKPT_FD_CLOEXEC || fd->pad)
			return ckpt_err(ctx, -EINVAL, "fd %d: flags %#x", fd->fd, fd->flags);
		if (IS_ERR(ckpt_obj_get(ctx, fd->file, CKPT_OBJ_FILE)))
			return -EINVAL;
		last = fd->fd;
	}
	if (last >= 0 && last >= rlimit_max(RLIMIT_NOFILE) && !capable(CAP_SYS_RESOURCE))
		return ckpt_err(ctx, -EPERM, "fd %d is above the caller's limit", last);
	return 0;
}

/* The limits of the image come later, and may be lower than its highest descriptor. */
static unsigned long swap_nofile_limit(unsigned long limit)
{
	guard(task_lock)(current->group_leader);
	swap(current->signal->rlim[RLIMIT_NOFILE].rlim_cur, limit);
	return limit;
}

static int install_fds(struct ckpt_ctx *ctx, const struct ckpt_rec_files *rec)
{
	unsigned long limit = swap_nofile_limit(sysctl_nr_open);
	int err = 0;

	for (u32 i = 0; i < rec->nr_fds && err >= 0; i++) {
		const struct ckpt_fd *fd = &rec->fds[i];

		err = replace_fd(fd->fd, ckpt_obj_get(ctx, fd->file, CKPT_OBJ_FILE),
				 fd->flags & CKPT_FD_CLOEXEC ? O_CLOEXEC : 0);
		if (err < 0)
			ckpt_err(ctx, err, "fd %d", fd->fd);
	}
	swap_nofile_limit(limit);
	return min(err, 0);
}

int ckpt_files_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_files *rec = (struct ckpt_rec_files *)ctx->rec;
	int err;

	ctx->current_objref = rec->objref;
	if (ctx->member->own_files)
		return ckpt_err(ctx, -EINVAL, "a second table for one task");
	err = check_fds(ctx, rec);
	if (err)
		return err;
	err = unshare_files();
	if (!err)
		err = __close_range(0, ~0U, 0);
	if (err)
		return ckpt_err(ctx, err, "the restarting task's own descriptors");
	err = install_fds(ctx, rec);
	if (err)
		return err;
	ctx->member->own_files = rec->objref;
	return ckpt_obj_add(ctx, rec->objref, current->files, CKPT_OBJ_FILES);
}

/* Share the table of a task that was restored before, as CLONE_FILES does. */
int ckpt_files_install(struct ckpt_ctx *ctx, int objref)
{
	struct files_struct *files = ckpt_obj_get(ctx, objref, CKPT_OBJ_FILES);
	struct files_struct *old;

	if (IS_ERR(files))
		return PTR_ERR(files);
	ckpt_files_grab(files);
	scoped_guard(task_lock, current) {
		old = current->files;
		current->files = files;
	}
	put_files_struct(old);
	return 0;
}
