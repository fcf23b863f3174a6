// SPDX-License-Identifier: GPL-2.0-only
/*
 * checkpoint(2) and restart(2): entry, context, order of work.
 */
#include <linux/bvec.h>
#include <linux/capability.h>
#include <linux/checkpoint.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fs_struct.h>
#include <linux/nsproxy.h>
#include <linux/pid_namespace.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/syscalls.h>
#include <linux/sysctl.h>
#include <linux/timekeeping.h>
#include <linux/user_namespace.h>
#include <linux/utsname.h>

#include "internal.h"

static atomic_t last_id = ATOMIC_INIT(0);

/* May who has no privilege call checkpoint(2) and restart(2)?  What they may do there is another question. */
static int unprivileged __read_mostly = 1;

static struct ctl_table sysctls[] = {
	{
		.procname	= "unprivileged_checkpoint",
		.data		= &unprivileged,
		.maxlen		= sizeof(unprivileged),
		.mode		= 0644,
		.proc_handler	= proc_dointvec_minmax,
		.extra1		= SYSCTL_ZERO,
		.extra2		= SYSCTL_ONE,
	},
};

static int __init ckpt_init_sysctls(void)
{
	register_sysctl_init("kernel", sysctls);
	return 0;
}
late_initcall(ckpt_init_sysctls);

static bool may_call(void)
{
	return READ_ONCE(unprivileged) || checkpoint_restore_ns_capable(&init_user_ns);
}

/**
 * ckpt_ctx_alloc - begin a checkpoint or a restart
 * @fd: the image
 * @flags: of the system call
 * @logfd: the log, or -1
 * @restart: which of the two
 *
 * Return: the context, EBADF where a descriptor does not serve.
 */
struct ckpt_ctx *ckpt_ctx_alloc(int fd, unsigned long flags, int logfd, bool restart)
{
	struct ckpt_ctx *ctx = kzalloc(sizeof(*ctx), GFP_KERNEL_ACCOUNT);
	int err = -ENOMEM;

	if (!ctx)
		return ERR_PTR(-ENOMEM);
	refcount_set(&ctx->refs, 1);
	init_waitqueue_head(&ctx->wait);
	INIT_LIST_HEAD(&ctx->mounts);
	INIT_LIST_HEAD(&ctx->pipes);
	INIT_LIST_HEAD(&ctx->epolls);
	INIT_LIST_HEAD(&ctx->timerfds);
	INIT_LIST_HEAD(&ctx->leases);
	INIT_LIST_HEAD(&ctx->owners);
	ctx->begun = jiffies;
	ctx->flags = flags;
	ctx->restart = restart;
	xxh64_reset(&ctx->checksum, 0);
	ctx->objs = ckpt_objhash_alloc();
	ctx->buf = kvmalloc(CKPT_BUF_SIZE, GFP_KERNEL_ACCOUNT);
	ctx->bvec = kvmalloc_array(CKPT_RUN_PAGES, sizeof(*ctx->bvec), GFP_KERNEL_ACCOUNT);
	if (!ctx->objs || !ctx->buf || !ctx->bvec)
		goto err;
	err = -EBADF;
	ctx->file = fget(fd);
	if (!ctx->file || !(ctx->file->f_mode & (restart ? FMODE_READ : FMODE_WRITE)))
		goto err;
	if (logfd != -1) {
		ctx->logfile = fget(logfd);
		if (!ctx->logfile || !(ctx->logfile->f_mode & FMODE_WRITE))
			goto err;
	}
	ctx->pos = ctx->file->f_pos;
	return ctx;
err:
	ckpt_ctx_put(ctx);
	return ERR_PTR(err);
}

void ckpt_ctx_put(struct ckpt_ctx *ctx)
{
	if (!refcount_dec_and_test(&ctx->refs))
		return;
	ckpt_tree_free(ctx);
	ckpt_pipes_free(ctx);
	ckpt_epolls_free(ctx);
	ckpt_timerfds_free(ctx);
	ckpt_leases_free(ctx);
	ckpt_owners_free(ctx);
	ckpt_objhash_free(ctx->objs);
	ckpt_posix_timers_free(ctx);
	if (ctx->root)
		put_task_struct(ctx->root);
	if (ctx->pid_ns)
		put_pid_ns(ctx->pid_ns);
	if (ctx->namespaces)
		put_nsproxy(ctx->namespaces);
	put_user_ns(ctx->user_ns);
	path_put(&ctx->root_path);
	if (ctx->file)
		fput(ctx->file);
	if (ctx->logfile)
		fput(ctx->logfile);
	kvfree(ctx->buf);
	kvfree(ctx->bvec);
	kvfree(ctx->rec);
	kfree(ctx);
}

/* Where the next reader or writer of the same open file goes on. */
static void ctx_set_file_pos(struct ckpt_ctx *ctx)
{
	loff_t ahead = ctx->restart ? ctx->buf_len - ctx->buf_off : 0;

	if (ctx->file->f_mode & FMODE_LSEEK)
		ctx->file->f_pos = ctx->pos - ahead;
}

static int write_header(struct ckpt_ctx *ctx)
{
	struct ckpt_rec_header *rec __free(kfree) = kzalloc(sizeof(*rec), GFP_KERNEL);

	if (!rec)
		return ckpt_nomem(ctx, "a record");
	memcpy(rec->magic, CKPT_MAGIC, sizeof(rec->magic));
	rec->byte_order = CKPT_BYTE_ORDER;
	rec->version = CKPT_FORMAT_VERSION;
	rec->arch = ckpt_arch_id();
	rec->word_size = sizeof(long);
	rec->page_size = PAGE_SIZE;
	rec->flags = ctx->flags;
	rec->id = ctx->id;
	rec->time = ktime_get_real_ns();
	strscpy(rec->release, init_utsname()->release);
	strscpy(rec->build, init_utsname()->version);
	strscpy(rec->machine, init_utsname()->machine);
	return ckpt_write_record(ctx, CKPT_REC_HEADER, rec, sizeof(*rec));
}

static int save_tree(struct ckpt_ctx *ctx, struct task_struct *root)
{
	int err;

	/* First the header, so that a refusal too leaves an image that can be read. */
	err = write_header(ctx);
	if (!err)
		err = ckpt_tree_collect(ctx, root);
	/* Also what is refused is told to nobody who is frozen. */
	err = ckpt_pipes_check_own(ctx) ?: err;
	if (!err)
		err = ckpt_take_root_path(ctx) ?: ckpt_mounts_collect(ctx);
	if (!err)
		err = ckpt_tree_save(ctx);
	for (unsigned int i = 0; !err && i < ctx->nr_tasks; i++)
		err = ckpt_task_save(ctx, &ctx->tasks[i]);
	ctx->current_task = NULL;
	if (!err)
		err = ckpt_epolls_save(ctx) ?: ckpt_locks_save(ctx) ?: ckpt_leases_save(ctx);
	if (!err)
		err = ckpt_owners_save(ctx);
	if (!err)
		err = ckpt_tree_recheck(ctx);
	if (!err)
		err = ckpt_pipes_recheck(ctx) ?: ckpt_obj_check_users(ctx);
	if (!err)
		return ckpt_write_trailer(ctx);
	if (!ctx->err)
		ckpt_err(ctx, err, "failed");
	ckpt_write_error(ctx);
	return err;
}

/**
 * sys_checkpoint - write the state of a tree of frozen tasks to a file
 * @pid: root of the tree, 0 for the caller
 * @fd: where the image goes: anything that can be written to
 * @flags: CHECKPOINT_*
 * @logfd: where refusals are explained, or -1
 *
 * Return: an id above 0; 0 in a task that was restarted from an image that it
 * wrote of itself; EBUSY, EBADF, EPERM ... where something cannot be saved.
 */
SYSCALL_DEFINE4(checkpoint, pid_t, pid, int, fd, unsigned long, flags, int, logfd)
{
	struct task_struct *root = NULL;
	struct ckpt_ctx *ctx;
	long ret;

	if (!may_call())
		return -EPERM;
	if (flags & ~CHECKPOINT_SUBTREE || pid < 0)
		return -EINVAL;
	scoped_guard(rcu) {
		root = pid ? find_task_by_vpid(pid) : current->group_leader;
		if (root)
			get_task_struct(root);
	}
	if (!root)
		return -ESRCH;
	ctx = ckpt_ctx_alloc(fd, flags, logfd, false);
	if (IS_ERR(ctx)) {
		put_task_struct(root);
		return PTR_ERR(ctx);
	}
	do {
		ctx->id = atomic_inc_return(&last_id) & INT_MAX;
	} while (!ctx->id);
	ctx->container = !(flags & CHECKPOINT_SUBTREE);
	ret = save_tree(ctx, root);
	if (!ret)
		ret = ctx->id;
	ctx_set_file_pos(ctx);
	ckpt_ctx_put(ctx);
	put_task_struct(root);
	return ret;
}

/**
 * sys_restart - rebuild a tree of tasks from an image
 * @pid: root of the tree, a child of the caller; with RESTART_MEMBER the pid of the image
 * @fd: the image; -1 with RESTART_MEMBER
 * @flags: RESTART_*
 * @logfd: where refusals are explained, or -1
 *
 * Return: 0; in a member what its interrupted system call returns.
 */
SYSCALL_DEFINE4(restart, pid_t, pid, int, fd, unsigned long, flags, int, logfd)
{
	struct ckpt_ctx *ctx;
	long ret;

	if (!may_call())
		return -EPERM;
	if (flags & RESTART_MEMBER) {
		if (flags != RESTART_MEMBER || fd != -1 || logfd != -1)
			return -EINVAL;
		return ckpt_restart_member(pid);
	}
	if (flags & ~(RESTART_FROZEN | RESTART_NEW_PIDS) || pid <= 0)
		return -EINVAL;
	ctx = ckpt_ctx_alloc(fd, flags, logfd, true);
	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	ret = ckpt_restart_tree(ctx, pid);
	ctx_set_file_pos(ctx);
	ckpt_ctx_put(ctx);
	return ret;
}
