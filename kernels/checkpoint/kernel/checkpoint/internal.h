/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What only the files of this folder share.
 */
#ifndef _KERNEL_CHECKPOINT_INTERNAL_H
#define _KERNEL_CHECKPOINT_INTERNAL_H

#include <linux/checkpoint.h>
#include <linux/mm_types.h>
#include <linux/rseq.h>
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include <linux/sizes.h>
#include <linux/string.h>
#include <uapi/linux/futex.h>

/* Bytes gathered for one write, or read ahead */
#define CKPT_BUF_SIZE	SZ_64K
/* Pages of one record, and that one call of the file system gets, at most */
#define CKPT_RUN_PAGES	(CKPT_PAGES_MAX_BYTES >> PAGE_SHIFT)

/* restart.c: the two sides of restart(2) */
long ckpt_restart_member(pid_t pid);
long ckpt_restart_tree(struct ckpt_ctx *ctx, pid_t pid);
/* ... and how a thread becomes a member */
struct ckpt_member *ckpt_member_alloc_thread(struct ckpt_ctx *ctx, pid_t pid);
void ckpt_member_free_thread(struct ckpt_member *m);
void ckpt_member_start_thread(struct ckpt_ctx *ctx, unsigned int place, struct ckpt_member *m,
			      struct task_struct *task);
/* ... what is allocated for a member by the coordinator is charged to this; to be put, may be NULL */
struct mem_cgroup *ckpt_memcg_of(struct task_struct *task);
/* tree.c: is it one of the tree's tasks? */
bool ckpt_is_member(struct ckpt_ctx *ctx, struct task_struct *task);
/* ... the task that the image calls @pid, the leader of its group; NULL if there is none */
struct ckpt_task *ckpt_tree_task(struct ckpt_ctx *ctx, int pid);
struct ckpt_task *ckpt_tree_leader(struct ckpt_ctx *ctx, int pid);
/* ... are numbers that the member knows tasks by new?  Further below they stay. */
bool ckpt_knows_new_pids(struct ckpt_ctx *ctx);
/* task.c: what a released member does for itself, last of all */
void ckpt_task_finish(struct ckpt_member *m);
/* threads.c: is the task with this pid the first of its group that lives? */
bool ckpt_has_group(struct ckpt_ctx *ctx, int pid);
/* ... and how many are in the group of the member whose turn it is */
unsigned int ckpt_group_size(struct ckpt_ctx *ctx);
/* ... and the member that has what is the group's of a member */
struct ckpt_member *ckpt_group_member(struct ckpt_ctx *ctx, struct ckpt_member *m);
/* namespaces.c: those of a task, with a counted reference; NULL when it has exited */
struct nsproxy *ckpt_task_nsproxy(struct task_struct *task);
/* mounts.c: how those of the tree differ from the caller's: found, written, read, compared */
int ckpt_mounts_collect(struct ckpt_ctx *ctx);
int ckpt_mounts_save(struct ckpt_ctx *ctx);
int ckpt_mounts_read(struct ckpt_ctx *ctx);
int ckpt_mounts_check(struct ckpt_ctx *ctx);
void ckpt_mounts_free(struct ckpt_ctx *ctx);
bool ckpt_mounts_has(struct ckpt_ctx *ctx, const struct super_block *sb);
/* tmpfs.c: what is in one: found, written, and passed over */
struct ckpt_tmpfs *ckpt_tmpfs_collect(struct ckpt_ctx *ctx, struct vfsmount *mnt, u32 *nr);
int ckpt_tmpfs_save(struct ckpt_ctx *ctx, struct ckpt_tmpfs *t);
void ckpt_tmpfs_free(struct ckpt_tmpfs *t);
int ckpt_tmpfs_pass(struct ckpt_ctx *ctx, u32 nr);
bool ckpt_tmpfs_keeps_position(struct ckpt_ctx *ctx, const struct file *file);
/* cred.c: refuse what credentials hold beyond ids and capabilities */
int ckpt_cred_check(struct ckpt_ctx *ctx, const struct cred *cred);

/* pages.c: write a run of pages; of shared memory, @start is an offset */
int ckpt_pages_write(struct ckpt_ctx *ctx, u64 start, struct page **pages, unsigned int nr);
struct page *ckpt_page_get(struct ckpt_ctx *ctx, struct mm_struct *mm, unsigned long addr);
/* shmem.c: is this the file behind shared anonymous memory? */
bool ckpt_is_shmem(const struct file *file);
/* ... write its pages up to @size, and SHMEM_END; or those of another file like it */
int ckpt_shmem_save_contents(struct ckpt_ctx *ctx, struct inode *inode, loff_t size, int objref);
/* ... the pages that follow are of it; read a run of them, @pages is room for it */
void ckpt_shmem_begin(struct ckpt_member *m, int objref, struct inode *inode, u64 size);
int ckpt_shmem_fill(struct ckpt_ctx *ctx, const struct ckpt_rec_pages *rec, struct page **pages);

/* ... of a memfd, or another file whose contents are in the image: as who restarts it could make it */
#define CKPT_SHMEM_MODE	(S_IRWXUGO | S_ISVTX)
int ckpt_shmem_check_size(struct ckpt_ctx *ctx, u64 size);
int ckpt_shmem_get_owner(struct ckpt_ctx *ctx, const struct inode *inode, u32 *owner, u32 *group,
			 u32 *mode, const struct ckpt_holder *holder);
int ckpt_shmem_set_owner(struct ckpt_ctx *ctx, struct inode *inode, u32 owner, u32 group, u32 mode);

/* unlinked.c: has it no name any more; what it was; what it holds, its objref */
bool ckpt_is_unlinked(const struct file *file);
char *ckpt_unlinked_name(struct ckpt_ctx *ctx, const struct path *path, char *buf,
			 const struct ckpt_holder *holder);
int ckpt_unlinked_save(struct ckpt_ctx *ctx, struct file *file, const char *name,
		       const struct ckpt_holder *holder);
struct file *ckpt_unlinked_open(struct ckpt_ctx *ctx, const struct ckpt_rec_file *rec,
				const struct cred *cred);

/* memfd.c: is it a file of memory; how was it opened; what it holds, its objref */
bool ckpt_is_memfd(const struct file *file);
bool ckpt_has_xattrs(struct dentry *dentry);
const char *ckpt_memfd_odd(struct dentry *dentry);
u32 ckpt_memfd_kind(const struct file *file);
int ckpt_memfd_save(struct ckpt_ctx *ctx, struct file *file, const struct ckpt_holder *holder);
int ckpt_memfd_end(struct ckpt_ctx *ctx, struct inode *inode);
struct file *ckpt_memfd_open(struct ckpt_ctx *ctx, const struct ckpt_rec_file *rec,
			     const struct cred *cred);
/* ... for the time of an mmap, if it must be; then ckpt_memfd_seal() */
bool ckpt_memfd_unseal(struct file *file, const struct ckpt_rec_vma *rec);
void ckpt_memfd_seal(struct file *file);

/* pipes.c: is it an end of one; what it has beside flags; what is in the pipe, its objref */
u32 ckpt_pipe_kind(struct file *file);
u32 ckpt_pipe_state(struct file *file);
int ckpt_pipe_async_fd(struct file *file);
int ckpt_pipe_save(struct ckpt_ctx *ctx, struct file *file, const char *path, int cred,
		   const struct ckpt_holder *holder);
struct file *ckpt_pipe_open(struct ckpt_ctx *ctx, const struct ckpt_rec_file *rec,
			    const struct cred *cred);
/* ... the image does not go into one of the tree's; nobody used those that were saved */
int ckpt_pipes_check_own(struct ckpt_ctx *ctx);
int ckpt_pipes_recheck(struct ckpt_ctx *ctx);
void ckpt_pipes_free(struct ckpt_ctx *ctx);

/* eventfds.c, signalfds.c: what one holds, in the record of its file, and a file that holds it */
#ifdef CONFIG_EVENTFD
void ckpt_eventfd_save(struct file *file, struct ckpt_rec_file *rec);
struct file *ckpt_eventfd_open(const struct ckpt_rec_file *rec);
#else
static inline bool is_eventfd(const struct file *file)
{
	return false;
}

static inline bool eventfd_is_held(const struct file *file)
{
	return false;
}

static inline void ckpt_eventfd_save(struct file *file, struct ckpt_rec_file *rec)
{
}

static inline struct file *ckpt_eventfd_open(const struct ckpt_rec_file *rec)
{
	return ERR_PTR(-EOPNOTSUPP);
}
#endif
#ifdef CONFIG_SIGNALFD
void ckpt_signalfd_save(const struct file *file, struct ckpt_rec_file *rec);
struct file *ckpt_signalfd_open(const struct ckpt_rec_file *rec);
#else
static inline void ckpt_signalfd_save(const struct file *file, struct ckpt_rec_file *rec)
{
}

static inline struct file *ckpt_signalfd_open(const struct ckpt_rec_file *rec)
{
	return ERR_PTR(-EOPNOTSUPP);
}
#endif

/* pidfds.c: is the file one; whose, by number, or the objref of another one of who is gone */
bool ckpt_is_pidfd(const struct file *file);
int ckpt_pidfd_save(struct ckpt_ctx *ctx, struct file *file, const struct ckpt_holder *holder,
		    u64 *size);
struct file *ckpt_pidfd_open(struct ckpt_ctx *ctx, const struct ckpt_rec_file *rec,
			     const struct cred *cred);

/* timerfds.c: the record before that of the file, and the file by both */
#ifdef CONFIG_TIMERFD
int ckpt_timerfd_save(struct ckpt_ctx *ctx, struct file *file, int objref);
struct file *ckpt_timerfd_open(struct ckpt_ctx *ctx, const struct ckpt_rec_file *rec);
/* ... when everything is there: until then it does not run */
void ckpt_timerfds_go_on(struct ckpt_ctx *ctx);
void ckpt_timerfds_free(struct ckpt_ctx *ctx);
#else
static inline bool is_timerfd(const struct file *file)
{
	return false;
}

static inline int ckpt_timerfd_save(struct ckpt_ctx *ctx, struct file *file, int objref)
{
	return -EOPNOTSUPP;
}

static inline int ckpt_timerfd_restore(struct ckpt_ctx *ctx)
{
	return ckpt_err(ctx, -EOPNOTSUPP, "this kernel has no timers with a descriptor");
}

static inline struct file *ckpt_timerfd_open(struct ckpt_ctx *ctx, const struct ckpt_rec_file *rec)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static inline void ckpt_timerfds_go_on(struct ckpt_ctx *ctx)
{
}

static inline void ckpt_timerfds_free(struct ckpt_ctx *ctx)
{
}
#endif

/* epoll.c: a set that is open; what all of them watch, when all files are known */
#ifdef CONFIG_EPOLL
int ckpt_epoll_note(struct ckpt_ctx *ctx, struct file *file, int objref);
struct file *ckpt_epoll_open(void);
int ckpt_epolls_save(struct ckpt_ctx *ctx);
int ckpt_epoll_restore(struct ckpt_ctx *ctx);
void ckpt_epolls_free(struct ckpt_ctx *ctx);
#else
static inline bool is_epoll(const struct file *file)
{
	return false;
}

static inline int ckpt_epoll_note(struct ckpt_ctx *ctx, struct file *file, int objref)
{
	return -EOPNOTSUPP;
}

static inline struct file *ckpt_epoll_open(void)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static inline int ckpt_epolls_save(struct ckpt_ctx *ctx)
{
	return 0;
}

static inline int ckpt_epoll_restore(struct ckpt_ctx *ctx)
{
	return ckpt_err(ctx, -EOPNOTSUPP, "this kernel has no epoll sets");
}

static inline void ckpt_epolls_free(struct ckpt_ctx *ctx)
{
}
#endif

/* files.c: what belongs to an open file and is saved when all of them are known */
int ckpt_for_each_file(struct ckpt_ctx *ctx, int (*save)(struct ckpt_ctx *ctx, struct file *file,
							 int objref));

/* locks.c: those on files, when all tables of descriptors are there */
int ckpt_locks_save(struct ckpt_ctx *ctx);
int ckpt_lock_restore(struct ckpt_ctx *ctx);
/* ... the process that has asked for a lock, as the root knows it; 0 if it is not in the tree */
int ckpt_lock_pid(struct ckpt_ctx *ctx, int outer);
/* ... who has asked for one and is gone: nobody has this number, and the lock is listed */
#define CKPT_LOCK_GONE	PID_MAX_LIMIT

/* leases.c: those on files, when all open files are there */
int ckpt_leases_save(struct ckpt_ctx *ctx);
int ckpt_lease_restore(struct ckpt_ctx *ctx);
void ckpt_leases_apply(struct ckpt_ctx *ctx);
void ckpt_leases_free(struct ckpt_ctx *ctx);

/* owners.c: who gets the signals of an open file, if it sends any; nobody does before the end of a restart */
bool ckpt_tells_owner(struct file *file);
int ckpt_owners_save(struct ckpt_ctx *ctx);
int ckpt_owner_restore(struct ckpt_ctx *ctx);
void ckpt_owners_apply(struct ckpt_ctx *ctx);
void ckpt_owners_free(struct ckpt_ctx *ctx);

/* cred.c: could the caller become that user in the namespace of the tree? */
bool ckpt_may_be_user(struct ckpt_ctx *ctx, kuid_t uid);

/* signals.c: a queued signal as it was */
void ckpt_siginfo_from_image(const struct ckpt_siginfo *in, kernel_siginfo_t *info);

/* files.c: is this a path, absolute and terminated, with nothing behind it? */
bool ckpt_is_path(const char *path, size_t len);
/* ... is that, or nothing where it is to have no name, all that follows the @fixed part of a record? */
int ckpt_check_path(struct ckpt_ctx *ctx, const struct ckpt_hdr *h, size_t fixed, const char *path,
		    u32 len, bool has_name);

/* What pads a record from @used bytes on is zero. */
static inline bool ckpt_is_padded(const struct ckpt_hdr *h, size_t used)
{
	return !memchr_inv((const u8 *)h + used, 0, h->len - used);
}

/* Text that is padded with zeros to the size of its field */
static inline bool ckpt_is_text(const char *text, size_t size)
{
	size_t len = strnlen(text, size);

	return len < size && !memchr_inv(text + len, 0, size - len);
}

/* Callbacks of the table of objects in ops.c, each defined where the object is. */
void ckpt_file_grab(void *obj);
void ckpt_file_drop(void *obj);
int ckpt_file_users(void *obj);
bool ckpt_file_is_whole(void *obj);
void ckpt_files_grab(void *obj);
void ckpt_files_drop(void *obj);
int ckpt_files_users(void *obj);
void ckpt_fs_grab(void *obj);
void ckpt_fs_drop(void *obj);
int ckpt_fs_users(void *obj);
void ckpt_mm_grab(void *obj);
void ckpt_mm_drop(void *obj);
int ckpt_mm_users(void *obj);
void ckpt_sighand_grab(void *obj);
void ckpt_sighand_drop(void *obj);
int ckpt_sighand_users(void *obj);
void ckpt_cred_grab(void *obj);
void ckpt_cred_drop(void *obj);
void ckpt_uts_ns_grab(void *obj);
void ckpt_uts_ns_drop(void *obj);
void ckpt_ipc_ns_grab(void *obj);
void ckpt_ipc_ns_drop(void *obj);
void ckpt_time_ns_grab(void *obj);
void ckpt_time_ns_drop(void *obj);
void ckpt_seccomp_grab(void *obj);
void ckpt_seccomp_drop(void *obj);
void ckpt_memfd_grab(void *obj);
void ckpt_memfd_drop(void *obj);
int ckpt_memfd_users(void *obj);
void ckpt_unlinked_grab(void *obj);
void ckpt_unlinked_drop(void *obj);
int ckpt_unlinked_users(void *obj);
void ckpt_pipe_grab(void *obj);
void ckpt_pipe_drop(void *obj);
int ckpt_pipe_users(void *obj);
bool ckpt_pipe_is_whole(void *obj);

/* Masks are 64 bits in the image; bit N-1 is signal N. */
static inline u64 ckpt_mask_from_sigset(const sigset_t *set)
{
	u64 mask = set->sig[0];

	if (_NSIG_WORDS > 1)
		mask |= (u64)set->sig[_NSIG_WORDS - 1] << 32;
	return mask;
}

static inline void ckpt_mask_to_sigset(u64 mask, sigset_t *set)
{
	set->sig[0] = mask;
	if (_NSIG_WORDS > 1)
		set->sig[_NSIG_WORDS - 1] = mask >> 32;
}

/*
 * What was checked of a frozen task holds as long as it has not run.  To be
 * asked in task_call_func(), which holds off its wake-up.
 */
static inline bool ckpt_stands_still(const struct ckpt_task *t)
{
	const struct task_struct *task = t->task;

	return READ_ONCE(task->__state) & CKPT_FROZEN_STATES && !task->on_rq &&
	       (task->nvcsw | LONG_MIN) == t->switches;
}

/* What a task may hold only where the configuration has it. */
#ifdef CONFIG_NUMA
static inline bool ckpt_has_mempolicy(struct task_struct *t)
{
	return t->mempolicy;
}
#else
static inline bool ckpt_has_mempolicy(struct task_struct *t)
{
	return false;
}
#endif

#ifdef CONFIG_NUMA
static inline bool ckpt_vma_has_policy(struct vm_area_struct *vma)
{
	return vma->vm_policy;
}
#else
static inline bool ckpt_vma_has_policy(struct vm_area_struct *vma)
{
	return false;
}
#endif

#ifdef CONFIG_AIO
static inline bool ckpt_mm_has_aio(struct mm_struct *mm)
{
	return rcu_access_pointer(mm->ioctx_table);
}
#else
static inline bool ckpt_mm_has_aio(struct mm_struct *mm)
{
	return false;
}
#endif

#ifdef CONFIG_IO_URING
static inline bool ckpt_uses_io_uring(struct task_struct *t)
{
	return t->io_uring;
}
#else
static inline bool ckpt_uses_io_uring(struct task_struct *t)
{
	return false;
}
#endif

#ifdef CONFIG_KEYS
static inline bool ckpt_has_keyrings(const struct cred *cred)
{
	return cred->session_keyring || cred->process_keyring || cred->thread_keyring;
}
#else
static inline bool ckpt_has_keyrings(const struct cred *cred)
{
	return false;
}
#endif

#ifdef CONFIG_FUTEX
static inline bool ckpt_holds_pi_futex(struct task_struct *t)
{
	return IS_ENABLED(CONFIG_FUTEX_PI) && !list_empty(&t->pi_state_list);
}

static inline void ckpt_robust_list_get(struct task_struct *t, u64 *head, u32 *len)
{
	*head = (unsigned long)t->robust_list;
	*len = t->robust_list ? sizeof(struct robust_list_head) : 0;
}

static inline void ckpt_robust_list_set(struct task_struct *t, u64 head)
{
	t->robust_list = (struct robust_list_head __user *)(unsigned long)head;
}
#else
static inline bool ckpt_holds_pi_futex(struct task_struct *t)
{
	return false;
}

static inline void ckpt_robust_list_get(struct task_struct *t, u64 *head, u32 *len)
{
	*head = 0;
	*len = 0;
}

static inline void ckpt_robust_list_set(struct task_struct *t, u64 head)
{
}
#endif

#if defined(CONFIG_FUTEX) && defined(CONFIG_COMPAT)
static inline bool ckpt_has_compat_robust_list(struct task_struct *t)
{
	return t->compat_robust_list;
}
#else
static inline bool ckpt_has_compat_robust_list(struct task_struct *t)
{
	return false;
}
#endif

#ifdef CONFIG_RSEQ
static inline void ckpt_rseq_get(struct task_struct *t, struct ckpt_rec_task *rec)
{
	rec->rseq = (unsigned long)t->rseq;
	rec->rseq_len = t->rseq_len;
	rec->rseq_sig = t->rseq_sig;
}

/*
 * As if preempted: the next return to user mode aborts a critical section and
 * writes the CPU's number.
 */
static inline void ckpt_rseq_set(struct task_struct *t, const struct ckpt_rec_task *rec)
{
	t->rseq = (struct rseq __user *)(unsigned long)rec->rseq;
	t->rseq_len = rec->rseq_len;
	t->rseq_sig = rec->rseq_sig;
	rseq_preempt(t);
}
#else
static inline void ckpt_rseq_get(struct task_struct *t, struct ckpt_rec_task *rec)
{
}

static inline void ckpt_rseq_set(struct task_struct *t, const struct ckpt_rec_task *rec)
{
}
#endif

#ifdef CONFIG_GENERIC_ENTRY
static inline bool ckpt_has_user_dispatch(struct task_struct *t)
{
	return test_task_syscall_work(t, SYSCALL_USER_DISPATCH);
}
#else
static inline bool ckpt_has_user_dispatch(struct task_struct *t)
{
	return false;
}
#endif

/* Where the architecture has no sa_restorer, the image has 0. */
#ifdef __ARCH_HAS_SA_RESTORER
static inline u64 ckpt_restorer_get(const struct sigaction *sa)
{
	return (unsigned long)sa->sa_restorer;
}

static inline bool ckpt_restorer_set(struct sigaction *sa, u64 restorer)
{
	sa->sa_restorer = (__sigrestore_t)(unsigned long)restorer;
	return (unsigned long)restorer == restorer;
}
#else
static inline u64 ckpt_restorer_get(const struct sigaction *sa)
{
	return 0;
}

static inline bool ckpt_restorer_set(struct sigaction *sa, u64 restorer)
{
	return !restorer;
}
#endif

#endif /* _KERNEL_CHECKPOINT_INTERNAL_H */
