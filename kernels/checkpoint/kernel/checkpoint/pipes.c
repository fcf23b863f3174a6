// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pipes and fifos.
 *
 * What is in one is written before the first open file of it, slot by slot, so
 * that packets stay packets and a writer finds the room that it had.  The
 * object is the dentry that all its open files refer to.  The hash counts as
 * one more open file of it, which neither reads nor writes: so a pipe whose
 * ends are opened one after the other stays meanwhile, and one that has lost an
 * end is restarted without it.
 *
 * A pipe that goes out of the tree would be cut, so it is refused of a subtree,
 * too.  So is one that the image is written to: its reader would be frozen.
 */
#include <linux/checkpoint.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/fcntl.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/pipe_fs_i.h>
#include <linux/slab.h>

#include "internal.h"

static struct pipe_inode_info *pipe_of(const struct dentry *dentry)
{
	return d_inode(dentry)->i_pipe;
}

static bool is_pipefs(const struct dentry *dentry)
{
	return dentry->d_sb->s_magic == PIPEFS_MAGIC;
}

/* By somebody who has it already: a pipe without files is gone. */
void ckpt_pipe_grab(void *obj)
{
	struct dentry *dentry = obj;

	ckpt_unlinked_grab(dentry);
	guard(spinlock)(&d_inode(dentry)->i_lock);
	pipe_of(dentry)->files++;
}

void ckpt_pipe_drop(void *obj)
{
	struct dentry *dentry = obj;
	struct pipe_inode_info *pipe = pipe_of(dentry);
	bool last;

	scoped_guard(spinlock, &d_inode(dentry)->i_lock) {
		last = !--pipe->files;
		if (last)
			d_inode(dentry)->i_pipe = NULL;
	}
	if (last)
		free_pipe_info(pipe);
	ckpt_unlinked_drop(dentry);
}

int ckpt_pipe_users(void *obj)
{
	return READ_ONCE(pipe_of(obj)->files) - 1;
}

/* A subtree's is cut like that of a container. */
bool ckpt_pipe_is_whole(void *obj)
{
	return true;
}

/* --- checkpoint --- */

/* CKPT_FILE_PIPE, CKPT_FILE_FIFO, or 0 for what is neither. */
u32 ckpt_pipe_kind(struct file *file)
{
	if (!get_pipe_info(file, false))
		return 0;
	return is_pipefs(file->f_path.dentry) ? CKPT_FILE_PIPE : CKPT_FILE_FIFO;
}

/* The descriptor that a signal tells of (O_ASYNC). */
int ckpt_pipe_async_fd(struct file *file)
{
	const struct pipe_inode_info *pipe = get_pipe_info(file, false);
	const struct fasync_struct *lists[2], *fa;

	guard(rcu)();
	lists[0] = READ_ONCE(pipe->fasync_readers);
	lists[1] = READ_ONCE(pipe->fasync_writers);
	for (int i = 0; i < ARRAY_SIZE(lists); i++)
		for (fa = lists[i]; fa; fa = READ_ONCE(fa->fa_next))
			if (fa->fa_file == file)
				return fa->fa_fd;
	return -1;
}

/* What an end has beside its flags. */
u32 ckpt_pipe_state(struct file *file)
{
	const struct pipe_inode_info *pipe = get_pipe_info(file, false);
	u32 state = 0;

	if (file->f_mode & FMODE_NOWAIT)
		state |= CKPT_FILE_CREATED;
	/* poll(2) does not say that the writers are gone before there was one. */
	if (file->f_pipe && file->f_pipe == pipe->w_counter)
		state |= CKPT_FILE_NO_WRITER_YET;
	return state;
}

/* Has a task of the tree the other end of @own open?  It is NULL or a file that is written to. */
static int find_own(struct ckpt_ctx *ctx, struct file *own, unsigned int *task)
{
	if (!own || !get_pipe_info(own, false))
		return -ENOENT;
	for (*task = 0; *task < ctx->nr_tasks; ++*task) {
		for (unsigned int fd = 0; ; fd++) {
			struct file *file;
			bool same;

			scoped_guard(rcu)
				file = task_lookup_next_fdget_rcu(ctx->tasks[*task].task, &fd);
			if (!file)
				break;
			same = file != ctx->file && file != ctx->logfile &&
			       file_inode(file) == file_inode(own);
			fput(file);
			if (same)
				return fd;
		}
		cond_resched();
	}
	return -ENOENT;
}

/*
 * Refuse to write to a pipe of the tree's, whose reader is frozen, before the
 * first byte is on its way there; nor is it told there.
 */
int ckpt_pipes_check_own(struct ckpt_ctx *ctx)
{
	unsigned int image_task, log_task;
	int image = find_own(ctx, ctx->file, &image_task);
	int log = find_own(ctx, ctx->logfile, &log_task);

	if (image < 0 && log < 0)
		return 0;
	if (log >= 0) {
		fput(ctx->logfile);
		ctx->logfile = NULL;
	}
	ctx->is_mute = image >= 0;
	ctx->current_task = ctx->tasks[image >= 0 ? image_task : log_task].task;
	return ckpt_err(ctx, -EBUSY, "fd %d: the image or its log goes into that pipe",
			image >= 0 ? image : log);
}

/* One slot into a record that has room for a page. */
static int copy_slot(struct pipe_inode_info *pipe, unsigned int slot, struct ckpt_rec_pipe_buf *rec)
{
	struct pipe_buffer *buf = pipe_buf(pipe, slot);
	int err = pipe_buf_confirm(pipe, buf);

	if (err)
		return err;
	/* Of a socket's memory, by splice(2) */
	if (buf->offset + buf->len > PAGE_SIZE)
		return -E2BIG;
	rec->offset = buf->offset;
	rec->len = buf->len;
	rec->flags = buf->flags & PIPE_BUF_FLAG_PACKET ? CKPT_PIPE_BUF_PACKET :
		     buf->flags & PIPE_BUF_FLAG_CAN_MERGE ? CKPT_PIPE_BUF_MERGE : 0;
	memcpy_from_page(rec->data, buf->page, buf->offset, buf->len);
	return 0;
}

/* The image may go to another pipe, so nothing is written while this one is locked. */
static int save_slots(struct ckpt_ctx *ctx, struct ckpt_pipe *p, const struct ckpt_holder *holder)
{
	struct ckpt_rec_pipe_buf *rec __free(kvfree) = NULL;
	struct pipe_inode_info *pipe = pipe_of(p->dentry);
	int err = 0;

	rec = kvmalloc(sizeof(*rec) + PAGE_SIZE, GFP_KERNEL_ACCOUNT);
	if (!rec)
		return ckpt_nomem(ctx, "a page of a pipe");
	for (unsigned int slot = p->tail; slot != p->head && !err; slot++) {
		memset(rec, 0, sizeof(*rec) + PAGE_SIZE);
		rec->objref = p->objref;
		scoped_guard(mutex, &pipe->mutex)
			err = pipe->head == p->head && pipe->tail == p->tail ?
			      copy_slot(pipe, slot, rec) : -EBUSY;
		if (err == -EBUSY)
			ckpt_err(ctx, err, "%s: the pipe was used meanwhile", holder->name);
		else if (err)
			err = ckpt_err(ctx, err == -E2BIG ? holder->err : err,
				       "%s: a piece of a pipe is not supported, or cannot be read",
				       holder->name);
		else
			err = ckpt_write_record(ctx, CKPT_REC_PIPE_BUF, rec,
						sizeof(*rec) + ALIGN(rec->len, 8));
		p->bytes += rec->len;
	}
	return err;
}

static int save_pipe(struct ckpt_ctx *ctx, struct ckpt_pipe *p, const char *path, int cred,
		     const struct ckpt_holder *holder)
{
	struct inode *inode = d_inode(p->dentry);
	struct pipe_inode_info *pipe = pipe_of(p->dentry);
	struct ckpt_rec_pipe *rec __free(kfree) = NULL;
	size_t path_len = path ? strlen(path) + 1 : 0, len = sizeof(*rec) + ALIGN(path_len, 8);
	struct timespec64 atime = inode_get_atime(inode), mtime = inode_get_mtime(inode);
	int err;

	rec = kzalloc(len, GFP_KERNEL);
	if (!rec)
		return ckpt_nomem(ctx, "a record");
	scoped_guard(mutex, &pipe->mutex) {
		p->head = pipe->head;
		p->tail = pipe->tail;
		rec->slots = pipe->max_usage;
	}
	rec->objref = p->objref;
	rec->nr_bufs = pipe_occupancy(p->head, p->tail);
	rec->cred = cred;
	rec->path_len = path_len;
	if (path) {
		/* Its directory has the rest. */
		memcpy(rec->path, path, path_len);
	} else {
		err = ckpt_shmem_get_owner(ctx, inode, &rec->uid, &rec->gid, &rec->mode, holder);
		if (err)
			return err;
		rec->atime = timespec64_to_ns(&atime);
		rec->mtime = timespec64_to_ns(&mtime);
	}
	err = ckpt_write_record(ctx, CKPT_REC_PIPE, rec, len);
	return err ?: save_slots(ctx, p, holder);
}

/**
 * ckpt_pipe_save - write what is in a pipe or a fifo
 * @ctx: the context
 * @file: one of its ends
 * @path: the name of a fifo, NULL for a pipe
 * @cred: objref of the credentials that it was opened with
 * @holder: who holds that end
 *
 * Return: its objref, or a negative errno.
 */
int ckpt_pipe_save(struct ckpt_ctx *ctx, struct file *file, const char *path, int cred,
		   const struct ckpt_holder *holder)
{
	struct dentry *dentry = file->f_path.dentry;
	struct ckpt_pipe *p;
	int objref, err;
	bool first;

	objref = ckpt_obj_ref(ctx, dentry, CKPT_OBJ_PIPE, &first);
	if (objref < 0 || !first)
		return objref;
	if (pipe_has_watch_queue(get_pipe_info(file, false)))
		return ckpt_err(ctx, holder->err, "%s: a pipe of notifications is not supported",
				holder->name);
	if (path && d_inode(dentry)->i_nlink > 1)
		return ckpt_err(ctx, holder->err, "%s: a fifo with several names is not supported",
				holder->name);
	p = kzalloc(sizeof(*p), GFP_KERNEL_ACCOUNT);
	if (!p)
		return ckpt_nomem(ctx, "a pipe");
	/* The hash holds it for as long. */
	p->dentry = dentry;
	p->objref = objref;
	list_add_tail(&p->list, &ctx->pipes);
	err = save_pipe(ctx, p, path, cred, holder);
	return err ?: objref;
}

static bool is_unchanged(const struct ckpt_pipe *p)
{
	struct pipe_inode_info *pipe = pipe_of(p->dentry);
	size_t bytes = 0;

	guard(mutex)(&pipe->mutex);
	if (pipe->head != p->head || pipe->tail != p->tail)
		return false;
	for (unsigned int slot = p->tail; slot != p->head; slot++)
		bytes += pipe_buf(pipe, slot)->len;
	return bytes == p->bytes;
}

/* Has nobody used them since?  Somebody outside may have had one open for a while. */
int ckpt_pipes_recheck(struct ckpt_ctx *ctx)
{
	struct ckpt_pipe *p;

	list_for_each_entry(p, &ctx->pipes, list) {
		ctx->current_objref = p->objref;
		if (!is_unchanged(p))
			return ckpt_err(ctx, -EBUSY, "a pipe was used meanwhile");
		cond_resched();
	}
	ctx->current_objref = 0;
	return 0;
}

void ckpt_pipes_free(struct ckpt_ctx *ctx)
{
	struct ckpt_pipe *p, *next;

	list_for_each_entry_safe(p, next, &ctx->pipes, list)
		kfree(p);
}

/* --- restart --- */

static int check_record(struct ckpt_ctx *ctx, const struct ckpt_rec_pipe *rec)
{
	int err = ckpt_check_path(ctx, &rec->h, sizeof(*rec), rec->path, rec->path_len,
				  rec->path_len);

	if (err)
		return err;
	if (!is_power_of_2(rec->slots) || rec->slots > (1U << 31) >> PAGE_SHIFT ||
	    rec->nr_bufs > rec->slots)
		return ckpt_err(ctx, -EINVAL, "%u slots of %u are used", rec->nr_bufs, rec->slots);
	if (rec->mode & ~CKPT_SHMEM_MODE ||
	    (rec->path_len && (rec->uid || rec->gid || rec->mode || rec->atime || rec->mtime)))
		return ckpt_err(ctx, -EINVAL, "owner %u:%u, mode %#o, times %lld and %lld",
				rec->uid, rec->gid, rec->mode, rec->atime, rec->mtime);
	return 0;
}

/* A pipe without ends; the dentry is held as the hash does. */
static struct dentry *make_pipe(struct ckpt_ctx *ctx, const struct ckpt_rec_pipe *rec,
				const struct cred *cred)
{
	const struct cred *old = override_creds(cred);
	struct dentry *dentry;
	struct inode *inode;
	struct file *ends[2];
	int err = create_pipe_files(ends, 0);

	revert_creds(old);
	/* What pipe(2) says when there is no memory, too. */
	if (err == -ENFILE)
		return ERR_PTR(ckpt_err(ctx, err, "a pipe: no memory, or too many files or pages of pipes"));
	if (err)
		return ERR_PTR(ckpt_err(ctx, err, "a pipe"));
	/* The kernel's own, which does not go away. */
	ctx->pipe_mnt = ends[0]->f_path.mnt;
	dentry = ends[0]->f_path.dentry;
	inode = d_inode(dentry);
	ckpt_pipe_grab(dentry);
	/* At once: as long as they are open, no reader would see that its writers are gone. */
	__fput_sync(ends[0]);
	__fput_sync(ends[1]);
	err = ckpt_shmem_set_owner(ctx, inode, rec->uid, rec->gid, rec->mode);
	if (err) {
		ckpt_pipe_drop(dentry);
		return ERR_PTR(err);
	}
	inode_set_atime_to_ts(inode, ns_to_timespec64(rec->atime));
	inode_set_mtime_to_ts(inode, ns_to_timespec64(rec->mtime));
	return dentry;
}

/* Have nothing in a fifo that nobody has open; the dentry is held as the hash does. */
static int take_fifo(struct dentry *dentry, const struct cred *cred)
{
	struct inode *inode = d_inode(dentry);
	const struct cred *old = override_creds(cred);
	struct pipe_inode_info *pipe = alloc_pipe_info();
	bool taken;

	revert_creds(old);
	if (!pipe)
		return -ENOMEM;
	pipe->files = 1;
	ckpt_unlinked_grab(dentry);
	scoped_guard(spinlock, &inode->i_lock) {
		taken = inode->i_pipe;
		if (!taken)
			inode->i_pipe = pipe;
	}
	if (!taken)
		return 0;
	free_pipe_info(pipe);
	ckpt_unlinked_drop(dentry);
	return -EBUSY;
}

/* Who puts something into a fifo must be allowed to, and who does not, to open it at all. */
static struct dentry *find_fifo(struct ckpt_ctx *ctx, const struct ckpt_rec_pipe *rec,
				const struct cred *cred)
{
	struct path path;
	int err = vfs_path_lookup(ctx->root_path.dentry, ctx->root_path.mnt, rec->path, 0, &path);

	if (err)
		return ERR_PTR(ckpt_err(ctx, err, "%s cannot be found", rec->path));
	if (!S_ISFIFO(d_inode(path.dentry)->i_mode)) {
		err = ckpt_err(ctx, -EINVAL, "%s is no fifo", rec->path);
		goto put;
	}
	err = path_permission(&path, MAY_WRITE);
	if (err && !rec->nr_bufs)
		err = path_permission(&path, MAY_READ);
	if (!err)
		err = take_fifo(path.dentry, cred);
	if (err == -EBUSY)
		ckpt_err(ctx, err, "%s is in use", rec->path);
	else if (err)
		ckpt_err(ctx, err, "%s cannot be filled", rec->path);
put:
	path_put(&path);
	return err ? ERR_PTR(err) : path.dentry;
}

int ckpt_pipe_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_pipe *rec = (struct ckpt_rec_pipe *)ctx->rec;
	struct ckpt_member *m = ctx->member;
	struct pipe_inode_info *pipe;
	const struct cred *cred;
	struct dentry *dentry;
	long size;
	int err;

	ctx->current_objref = rec->objref;
	if (m->pipe_left)
		return ckpt_err(ctx, -EINVAL, "a pipe begins within another one");
	err = check_record(ctx, rec);
	if (err)
		return err;
	/* Whose account its pages are on */
	cred = ckpt_obj_get(ctx, rec->cred, CKPT_OBJ_CRED);
	if (IS_ERR(cred))
		return PTR_ERR(cred);
	err = ckpt_cred_check_power(ctx, cred);
	if (err)
		return err;
	dentry = rec->path_len ? find_fifo(ctx, rec, cred) : make_pipe(ctx, rec, cred);
	if (IS_ERR(dentry))
		return PTR_ERR(dentry);
	pipe = pipe_of(dentry);
	scoped_guard(mutex, &pipe->mutex)
		size = pipe_set_size(pipe, rec->slots << PAGE_SHIFT);
	if (size < 0)
		err = ckpt_err(ctx, size, "a pipe of %u slots", rec->slots);
	else
		err = ckpt_obj_add(ctx, rec->objref, dentry, CKPT_OBJ_PIPE);
	if (!err) {
		m->pipe_objref = rec->objref;
		m->pipe_left = rec->nr_bufs;
	}
	ckpt_pipe_drop(dentry);
	return err;
}

static int add_slot(struct pipe_inode_info *pipe, const struct pipe_buffer *buf)
{
	guard(mutex)(&pipe->mutex);
	if (pipe_full(pipe->head, pipe->tail, pipe->max_usage))
		return -EBUSY;
	*pipe_head_buf(pipe) = *buf;
	pipe->head++;
	return 0;
}

int ckpt_pipe_buf_restore(struct ckpt_ctx *ctx)
{
	const struct ckpt_rec_pipe_buf *rec = (struct ckpt_rec_pipe_buf *)ctx->rec;
	static const unsigned int flags[] = {
		[CKPT_PIPE_BUF_PACKET] = PIPE_BUF_FLAG_PACKET,
		[CKPT_PIPE_BUF_MERGE] = PIPE_BUF_FLAG_CAN_MERGE,
	};
	struct ckpt_member *m = ctx->member;
	struct pipe_buffer buf = { .ops = &anon_pipe_buf_ops };
	struct dentry *dentry;
	int err;

	ctx->current_objref = rec->objref;
	if (!m->pipe_left || rec->objref != m->pipe_objref)
		return ckpt_err(ctx, -EINVAL, "a slot more than the pipe has");
	if (rec->len > PAGE_SIZE || rec->offset > PAGE_SIZE - rec->len ||
	    rec->h.len != sizeof(*rec) + ALIGN(rec->len, 8) ||
	    !ckpt_is_padded(&rec->h, sizeof(*rec) + rec->len) || rec->flags >= ARRAY_SIZE(flags))
		return ckpt_err(ctx, -EINVAL, "%u bytes at %u of a page, flags %#x",
				rec->len, rec->offset, rec->flags);
	dentry = ckpt_obj_get(ctx, rec->objref, CKPT_OBJ_PIPE);
	if (IS_ERR(dentry))
		return PTR_ERR(dentry);
	buf.page = alloc_page(GFP_HIGHUSER | __GFP_ACCOUNT | __GFP_ZERO);
	if (!buf.page)
		return ckpt_nomem(ctx, "a page of a pipe");
	memcpy_to_page(buf.page, rec->offset, rec->data, rec->len);
	buf.offset = rec->offset;
	buf.len = rec->len;
	buf.flags = flags[rec->flags];
	m->pipe_left--;
	err = add_slot(pipe_of(dentry), &buf);
	if (!err)
		return 0;
	put_page(buf.page);
	return ckpt_err(ctx, err, "the fifo is in use");
}

/* A writer that does not wait is not let in without a reader. */
static struct file *open_end(struct pipe_inode_info *pipe, const struct path *path,
			     unsigned int flags, const struct cred *cred)
{
	bool writes = (flags & O_ACCMODE) == O_WRONLY;
	struct file *file;

	scoped_guard(mutex, &pipe->mutex)
		pipe->readers += writes;
	file = dentry_open(path, (flags & ~O_DIRECT) | O_NONBLOCK, cred);
	scoped_guard(mutex, &pipe->mutex)
		pipe->readers -= writes;
	/* Somebody outside may have found it full meanwhile. */
	if (writes)
		wake_up_interruptible_all(&pipe->wr_wait);
	return file;
}

static struct file *open_fifo(struct ckpt_ctx *ctx, const struct ckpt_rec_file *rec,
			      struct dentry *dentry, const struct cred *cred)
{
	const struct cred *old = override_creds(cred);
	struct file *file;
	struct path path;
	int err = vfs_path_lookup(ctx->root_path.dentry, ctx->root_path.mnt, rec->path, 0, &path);

	if (!err) {
		if (path.dentry != dentry)
			err = -EINVAL;
		else
			err = path_permission(&path, ACC_MODE(rec->flags));
		file = err ? NULL : open_end(pipe_of(dentry), &path, rec->flags, cred);
		path_put(&path);
	}
	revert_creds(old);
	return err ? ERR_PTR(err) : file;
}

/**
 * ckpt_pipe_open - open an end of a pipe or a fifo
 * @ctx: the context
 * @rec: which, checked
 * @cred: the credentials it was opened with
 *
 * Return: the file, or an ERR_PTR with a line in the log.
 */
struct file *ckpt_pipe_open(struct ckpt_ctx *ctx, const struct ckpt_rec_file *rec,
			    const struct cred *cred)
{
	struct dentry *dentry = ckpt_obj_get(ctx, rec->object, CKPT_OBJ_PIPE);
	struct path path = { .mnt = ctx->pipe_mnt, .dentry = dentry };
	struct file *file = ERR_PTR(-EINVAL);

	if (IS_ERR(dentry))
		return ERR_CAST(dentry);
	if (rec->kind == CKPT_FILE_FIFO && !is_pipefs(dentry))
		file = open_fifo(ctx, rec, dentry, cred);
	else if (rec->kind == CKPT_FILE_PIPE && is_pipefs(dentry))
		file = dentry_open(&path, rec->flags & O_ACCMODE, cred);
	if (IS_ERR(file)) {
		ckpt_err(ctx, PTR_ERR(file), "an end of pipe %d with flags %#x", rec->object,
			 rec->flags);
		return file;
	}
	file->f_flags = rec->flags;
	if (rec->state & CKPT_FILE_CREATED)
		file->f_mode |= FMODE_NOWAIT;
	file->f_pipe = rec->state & CKPT_FILE_NO_WRITER_YET ? pipe_of(dentry)->w_counter : 0;
	return file;
}
