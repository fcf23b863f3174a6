/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Checkpoint/restart: what the files of kernel/checkpoint/ and the
 * architectures share.
 *
 * Each kind of record has one .c file and one row in the table of
 * kernel/checkpoint/ops.c.  A checkpoint runs in the caller's context on
 * frozen tasks.  On restart one task at a time, the coordinator or one of the
 * members, reads the image and holds the context; nothing in struct ckpt_ctx
 * needs a lock.  See kernel/checkpoint/restart.c for how it is passed on.
 */
#ifndef _LINUX_CHECKPOINT_H
#define _LINUX_CHECKPOINT_H

#include <linux/list.h>
#include <linux/path.h>
#include <linux/ptrace.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/task_work.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/xxhash.h>
#include <uapi/linux/checkpoint.h>

struct bio_vec;
struct bpf_prog;
struct cgroup;
struct ckpt_ctx;
struct ckpt_member;
struct cred;
struct epoll_params;
struct file;
struct mm_struct;
struct nsproxy;
struct pid_namespace;
struct pt_regs;
struct seccomp_filter;
struct sock_filter;
struct sock_fprog_kern;
struct user_regset;
struct vm_area_struct;

/* Largest record, the data of PAGES aside; bounds what a reader allocates. */
#define CKPT_RECORD_MAX		0x100000U

/* Looks at a count of users that a reader of /proc may have raised for a moment */
#define CKPT_LOOKS	20

/* Collected by the walk over the tree, in the order of the TREE record. */
struct ckpt_task {
	struct task_struct *task;	/* counted reference */
	unsigned long	    switches;	/* nvcsw when it was found to be off its CPU */
	int		    pid;	/* in ctx->pid_ns, as below */
	int		    tgid, ppid, pgid, sid;
	unsigned int	    exit_signal;	/* restart only */
	unsigned int	    pid_ns;	/* 0: the root's; others as in ctx->pid_nss, from 1 on */
	unsigned int	    cgroup;	/* 0: the tree's; others as in ctx->cgroups, from 1 on */
	bool		    has_exited;		/* checkpoint only */
};

/* A pid namespace below that of the root, see pid_namespaces.c */
struct ckpt_pid_ns {
	struct pid_namespace *ns;	/* counted reference; restart: NULL until its init has come */
	unsigned int	      parent;	/* as ckpt_task.pid_ns */
	int		      objref;
	struct ckpt_pid_id   *ids;	/* restart only, as all below */
	unsigned int	      nr_ids;
	unsigned int	      memfd_noexec;
};

/* A pipe as it was saved, see pipes.c */
struct ckpt_pipe {
	struct list_head list;
	struct dentry	*dentry;	/* held by the object hash */
	int		 objref;
	unsigned int	 head, tail;
	size_t		 bytes;
};

/* A cgroup below that of the tree, see cgroups.c */
struct ckpt_cgroup {
	struct cgroup *cgrp;	/* checkpoint only; counted reference */
	unsigned int   parent;	/* as ckpt_task.cgroup */
	char	      *name;	/* restart only */
};

/* The POSIX timers of the process that is being saved, as they were when its queue was copied. */
struct ckpt_posix_timers {
	struct ckpt_posix_timer *timers;
	unsigned int nr, room;
	u32 next_id;
	const char *odd;	/* what is not supported, or NULL */
};

/**
 * struct ckpt_ctx - one checkpoint or one restart
 * @file:	where the image is written to or read from
 * @logfile:	where lines of the log go, or NULL
 * @pos:	position in @file
 * @total:	bytes of the image so far
 * @checksum:	running checksum over these bytes
 * @buf, @buf_len, @buf_off: records gathered for one write, or read ahead
 * @bvec:	the pages that are being written or read
 * @rec, @rec_size: restart: the record that is being restored, and the memory it has
 * @rec_name, @rec_at: its type and its offset in the image, for messages
 * @flags:	flags of the system call
 * @restart:	this is a restart
 * @objs:	object hash, see objhash.c
 * @root:	root task of the tree; counted reference
 * @pid_ns:	its pid namespace; counted reference
 * @namespaces:	restart: its namespaces as it came, and so those of all members; counted
 * @user_ns:	its user namespace: ids and capabilities are written as seen in it; counted
 * @root_path:	its root directory: paths are written as seen from it; counted
 * @memfd_mnt:	restart: where the kernel has files of memory; NULL before there is one
 * @tasks, @nr_tasks: the tree
 * @pid_nss, @nr_pid_nss: pid namespaces below @pid_ns, parents first
 * @cgroup:	checkpoint: the cgroup of the tree; counted reference
 * @cgroups, @nr_cgroups: those below it, parents first
 * @container:	the tree is a container, and no subtree
 * @own_mnt_ns: the tree has a mount namespace of its own, compared with the caller's
 * @mounts:	how its mounts differ from the caller's, see mounts.c
 * @pipes:	checkpoint: those that were saved, see pipes.c
 * @begun:	jiffies when it was made
 * @epolls:	the epoll sets so far, see epoll.c
 * @timerfds:	restart: timers that do not run yet, see timerfds.c
 * @leases:	restart: those whose holders cannot be told of their end yet, see leases.c
 * @owners:	restart: open files whose owners are not set yet, see owners.c
 * @is_mute:	checkpoint: nothing may be written to @file, which a frozen task reads
 * @pipe_mnt:	restart: where the kernel has pipes; NULL before there is one
 * @own_cgroup_ns: the tree has a cgroup namespace of its own
 * @memfd_noexec: restart: vm.memfd_noexec of @pid_ns; 0 of a subtree
 * @nr_insns:	restart: instructions of all filters so far
 * @current_task: the task that is being saved or restored, for messages
 * @current_objref: the object that is being saved or restored, or 0, for messages
 * @err:	first error, negative errno, or 0
 * @err_text:	the line that reported it
 */
struct ckpt_ctx {
	struct file *file;
	struct file *logfile;
	loff_t pos;
	u64 total;
	struct xxh64_state checksum;
	void *buf;
	size_t buf_len;
	size_t buf_off;
	struct bio_vec *bvec;
	struct ckpt_hdr *rec;
	size_t rec_size;
	const char *rec_name;
	u64 rec_at;
	unsigned long flags;
	bool restart;
	u32 id;

	struct ckpt_objhash *objs;

	struct task_struct *root;
	struct pid_namespace *pid_ns;
	struct nsproxy *namespaces;
	struct user_namespace *user_ns;
	struct path root_path;
	struct vfsmount *memfd_mnt;
	struct ckpt_task *tasks;
	unsigned int nr_tasks;
	struct ckpt_pid_ns *pid_nss;
	unsigned int nr_pid_nss;
	struct cgroup *cgroup;
	struct ckpt_cgroup *cgroups;
	unsigned int nr_cgroups;
	bool container;
	bool own_mnt_ns;
	struct list_head mounts;
	struct list_head pipes;
	unsigned long begun;
	struct list_head epolls;
	struct list_head timerfds;
	struct list_head leases;
	struct list_head owners;
	bool is_mute;
	struct vfsmount *pipe_mnt;
	bool own_cgroup_ns;
	unsigned int memfd_noexec;

	struct ckpt_posix_timers posix_timers;
	u64 nr_insns;

	struct task_struct *current_task;
	int current_pid;
	int current_objref;
	int err;
	char err_text[256];

	/* restart only, see restart.c */
	refcount_t refs;
	wait_queue_head_t wait;
	struct ckpt_member **members;
	struct ckpt_member *member;	/* the one whose turn it is */
};

/* --- sys.c: life of a context --- */
struct ckpt_ctx *ckpt_ctx_alloc(int fd, unsigned long flags, int logfd, bool restart);
void ckpt_ctx_put(struct ckpt_ctx *ctx);

/* --- log.c --- */

/**
 * ckpt_err - report why a checkpoint or a restart cannot go on
 * @ctx: the context; its current task and object are named in the line
 * @err: negative errno
 * @fmt: what is in the way, without a full stop: "fd 7: flock held"
 *
 * The first report is kept for the ERROR record; all go to the log.
 * Return: @err, so that callers can say return ckpt_err(...).
 */
__printf(3, 4) int ckpt_err(struct ckpt_ctx *ctx, int err, const char *fmt, ...);

#define ckpt_nomem(ctx, fmt, ...) \
	ckpt_err(ctx, -ENOMEM, "no memory for " fmt, ##__VA_ARGS__)

/* --- io.c: records --- */

/* Write a whole record: @rec begins with struct ckpt_hdr; its type and len are set here. */
int ckpt_write_record(struct ckpt_ctx *ctx, enum ckpt_record type, void *rec, size_t len);
/* Write the fixed part of a record of @len bytes in all; the rest follows by ckpt_write_data(). */
int ckpt_write_begin(struct ckpt_ctx *ctx, enum ckpt_record type, void *rec, size_t fixed,
		     size_t len);
int ckpt_write_data(struct ckpt_ctx *ctx, const void *data, size_t len);
/* Write whole pages, the payload of a record begun by ckpt_write_begin(). */
int ckpt_write_pages(struct ckpt_ctx *ctx, struct page **pages, unsigned int nr);
int ckpt_write_trailer(struct ckpt_ctx *ctx);
void ckpt_write_error(struct ckpt_ctx *ctx);
int ckpt_write_flush(struct ckpt_ctx *ctx);

/*
 * Read the next record into ctx->rec: type, length and shape are checked
 * against the table of operations.  Of a PAGES record only the fixed part is
 * read; its restore function reads the rest with ckpt_read_pages().
 */
int ckpt_read_record(struct ckpt_ctx *ctx);
int ckpt_read_pages(struct ckpt_ctx *ctx, struct page **pages, unsigned int nr);
/* The record is the trailer: compare the checksum. */
int ckpt_check_trailer(struct ckpt_ctx *ctx);

/* --- ops.c: one row a record type --- */

/**
 * struct ckpt_record_ops - what is known of one record type
 * @name:	for messages
 * @fixed:	size of its fixed part
 * @variable:	more may follow the fixed part
 * @payload:	what follows is read by @restore itself
 * @restore:	bring the record's state into the calling member; NULL for records
 *		that the coordinator reads.  The record is ctx->rec.  Everything
 *		is validated before it is used.
 * @restore_rest: the same in the coordinator, for what comes behind the last task
 */
struct ckpt_record_ops {
	const char *name;
	u16 fixed;
	bool variable;
	bool payload;
	int (*restore)(struct ckpt_ctx *ctx);
	int (*restore_rest)(struct ckpt_ctx *ctx);
};

extern const struct ckpt_record_ops ckpt_record_ops[CKPT_REC_MAX + 1];

/* --- objhash.c: objects that tasks share --- */

enum ckpt_obj_type {
	CKPT_OBJ_FILE = 1,	/* struct file */
	CKPT_OBJ_FILES,		/* struct files_struct */
	CKPT_OBJ_FS,		/* struct fs_struct */
	CKPT_OBJ_SIGHAND,	/* struct sighand_struct */
	CKPT_OBJ_CRED,		/* struct cred */
	CKPT_OBJ_MM,		/* struct mm_struct */
	CKPT_OBJ_SHMEM,		/* struct file behind shared anonymous memory */
	CKPT_OBJ_UTS_NS,	/* struct uts_namespace */
	CKPT_OBJ_IPC_NS,	/* struct ipc_namespace */
	CKPT_OBJ_TIME_NS,	/* struct time_namespace */
	CKPT_OBJ_SECCOMP,	/* struct seccomp_filter */
	CKPT_OBJ_MEMFD,		/* struct dentry of a memfd */
	CKPT_OBJ_UNLINKED,	/* struct dentry of a file without a name */
	CKPT_OBJ_PIPE,		/* struct dentry of a pipe or a fifo */
	CKPT_OBJ_PID_NS,	/* struct pid_namespace below that of the root */
	CKPT_OBJ_MAX,
};

/**
 * struct ckpt_obj_ops - what is known of one kind of shared object
 * @name:	for messages
 * @grab:	take a reference
 * @drop:	give it back
 * @users:	how many references there are, the hash's own not counted; NULL
 *		where that number says nothing
 * @whole:	must a subtree, too, have all that use it?  NULL where it need not
 */
struct ckpt_obj_ops {
	const char *name;
	void (*grab)(void *obj);
	void (*drop)(void *obj);
	int (*users)(void *obj);
	bool (*whole)(void *obj);
};

extern const struct ckpt_obj_ops ckpt_obj_ops[CKPT_OBJ_MAX];

struct ckpt_objhash *ckpt_objhash_alloc(void);
void ckpt_objhash_free(struct ckpt_objhash *objs);
/*
 * Checkpoint: the objref of @obj, negative errno on failure.  *@first says
 * whether it is new, so that the caller writes its record.  Counts one use.
 */
int ckpt_obj_ref(struct ckpt_ctx *ctx, void *obj, enum ckpt_obj_type type, bool *first);
/* Checkpoint: the objref of @obj, which may be gone, or 0 if it was not met. */
int ckpt_obj_find(struct ckpt_ctx *ctx, const void *obj, enum ckpt_obj_type type);
/* Checkpoint: the next object of a type, by rising objref; NULL behind the last. */
void *ckpt_obj_next(struct ckpt_ctx *ctx, int *objref, enum ckpt_obj_type type);
/* Checkpoint: compare the uses that were counted with the objects' own counts. */
int ckpt_obj_check_users(struct ckpt_ctx *ctx);
/*
 * Restart: remember @obj under @objref, taking a reference.  EINVAL if the
 * number is taken or not positive.
 */
int ckpt_obj_add(struct ckpt_ctx *ctx, int objref, void *obj, enum ckpt_obj_type type);
/*
 * Restart: the object, no reference taken; ERR_PTR(-EINVAL) and a log line if
 * there is none or one of another type.
 */
void *ckpt_obj_get(struct ckpt_ctx *ctx, int objref, enum ckpt_obj_type type);

/* --- pid_namespaces.c --- */
void ckpt_pid_ns_grab(void *obj);
void ckpt_pid_ns_drop(void *obj);
int ckpt_pid_namespace_note(struct ckpt_ctx *ctx, struct ckpt_task *t);
int ckpt_pid_namespaces_check(struct ckpt_ctx *ctx);
int ckpt_pid_namespaces_save(struct ckpt_ctx *ctx);
int ckpt_pid_namespace_of_children(struct ckpt_ctx *ctx, const struct ckpt_task *t);
int ckpt_pid_namespaces_read(struct ckpt_ctx *ctx, unsigned int nr);
int ckpt_pid_namespace_find(struct ckpt_ctx *ctx, const struct ckpt_task *t);
unsigned int ckpt_pid_numbers(struct ckpt_ctx *ctx, int nr, pid_t *numbers,
			      struct pid_namespace **ns);
struct pid_namespace *ckpt_pid_namespace_for_children(struct ckpt_ctx *ctx, int objref);
u32 ckpt_pid_namespace_noexec(struct pid_namespace *ns);
int ckpt_pid_namespaces_apply(struct ckpt_ctx *ctx);
int ckpt_pid_namespaces_check_exits(struct ckpt_ctx *ctx);
void ckpt_pid_namespaces_free(struct ckpt_ctx *ctx);

/* --- cgroups.c --- */
int ckpt_cgroups_collect(struct ckpt_ctx *ctx);
bool ckpt_cgroup_is_the_same(struct ckpt_ctx *ctx, const struct ckpt_task *t);
int ckpt_cgroups_save(struct ckpt_ctx *ctx);
int ckpt_cgroups_read(struct ckpt_ctx *ctx, unsigned int nr);
struct cgroup *ckpt_cgroups_top(struct ckpt_ctx *ctx);
int ckpt_cgroups_check(struct ckpt_ctx *ctx);
void ckpt_cgroups_free(struct ckpt_ctx *ctx);

/* --- tree.c, freezer.c --- */

struct pid_namespace *ckpt_task_pid_ns(struct task_struct *task);
int ckpt_tree_collect(struct ckpt_ctx *ctx, struct task_struct *root);
int ckpt_tree_save(struct ckpt_ctx *ctx);
/* The tasks of the tree are still where they were found: none ran, none came, none went. */
int ckpt_tree_recheck(struct ckpt_ctx *ctx);
int ckpt_tree_read(struct ckpt_ctx *ctx);
void ckpt_tree_free(struct ckpt_ctx *ctx);
/* What a frozen task sleeps as. */
#define CKPT_FROZEN_STATES	(TASK_INTERRUPTIBLE | __TASK_STOPPED)
/* Is the task parked by the cgroup v2 freezer at the point where signals are delivered? */
int ckpt_task_check_frozen(struct ckpt_ctx *ctx, struct ckpt_task *t);
/* Freeze the cgroup that the members, and nobody else, are in or below. */
int ckpt_freeze_members(struct ckpt_ctx *ctx);
/* Wait until the members that were let go are where the freezer holds them. */
void ckpt_wait_frozen(struct ckpt_ctx *ctx);

/* ipc/sem.c: has the task, which must not run meanwhile, anything to undo when it exits? */
#ifdef CONFIG_SYSVIPC
bool sem_has_undos(struct task_struct *tsk);
#else
static inline bool sem_has_undos(struct task_struct *tsk)
{
	return false;
}
#endif

/* fs/eventfd.c, signalfd.c, timerfd.c: is the file one; what it holds; one more, as the system call makes it */
#ifdef CONFIG_EVENTFD
bool is_eventfd(const struct file *file);
u64 eventfd_count(struct file *file, bool *semaphore);
bool eventfd_is_held(const struct file *file);
struct file *eventfd_make(u64 count, int flags);
#endif
#ifdef CONFIG_TIMERFD
bool is_timerfd(const struct file *file);
void timerfd_get(struct file *file, struct ckpt_rec_timerfd *rec);
struct file *timerfd_restore(const struct ckpt_rec_timerfd *rec);
/* ... which does not run until then */
void timerfd_go_on(struct file *file, const struct ckpt_rec_timerfd *rec);
int ckpt_timerfd_restore(struct ckpt_ctx *ctx);
#endif
#ifdef CONFIG_SIGNALFD
bool is_signalfd(const struct file *file);
sigset_t signalfd_signals(const struct file *file);
struct file *signalfd_make(const sigset_t *signals, int flags);
#else
static inline bool is_signalfd(const struct file *file)
{
	return false;
}
#endif

/* fs/eventpoll.c: what a set watches */
struct epoll_item {
	struct file *file;		/* not held: it leaves the set when it is closed */
	int fd;
	__poll_t events;
	u64 data;
	bool ready;
	wait_queue_head_t *signals;	/* of a signalfd: whose signals; NULL when they are gone */
};

#ifdef CONFIG_EPOLL
bool is_epoll(const struct file *file);
struct file *epoll_make(int flags);
/* Up to @room items, ready ones first in their order, and how many there are */
unsigned int epoll_get(struct file *file, struct epoll_params *params, struct epoll_item *items,
		       unsigned int room);
int epoll_set_params(struct file *file, const struct epoll_params *params);
int epoll_add(struct file *file, const struct epoll_item *item);
#endif

/* fs/locks.c: a lease that an open file has; times are what is left in jiffies, -1 is for ever */
struct lease_state {
	int type;		/* F_RDLCK or F_WRLCK */
	unsigned int pending;	/* FL_UNLOCK_PENDING, FL_DOWNGRADE_PENDING */
	pid_t pid;		/* who has asked for it, as the first namespace has it */
	int fd;			/* what a signal tells of */
	s64 break_left, downgrade_left;
	s64 ago;		/* when the holder was told; -1 is not known */
};

int lease_get(struct file *filp, struct lease_state *lease);
int lease_set_again(struct file *filp, const struct lease_state *lease);
/* ... whoever is told of its end is set */
void lease_tell(struct file *filp, const struct lease_state *lease);

/* kernel/nsproxy.c: the namespaces of current once more, to be changed before anybody uses them; ERR_PTR */
struct nsproxy *nsproxy_copy(void);

/* kernel/seccomp.c: the last filter of a task that does not run, held; NULL if it has none */
struct seccomp_filter *seccomp_filter_of(struct task_struct *task);
void seccomp_filter_hold(struct seccomp_filter *filter);
void seccomp_filter_unhold(struct seccomp_filter *filter);
struct seccomp_filter *seccomp_filter_before(struct seccomp_filter *filter);
/* ... the program it was made from; NULL if there is none, or if that is not all of it */
const struct sock_fprog_kern *seccomp_filter_program(struct seccomp_filter *filter, bool *log);
/* ... a filter behind @before, held; ERR_PTR */
struct seccomp_filter *seccomp_filter_restore(struct seccomp_filter *before,
					      struct sock_fprog_kern *program, bool log);
/* ... the modes of seccomp for a task that is in the kernel and has none */
void seccomp_filter_apply(struct task_struct *task, struct seccomp_filter *filter);
void seccomp_strict_apply(struct task_struct *task);

/* net/core/filter.c: as bpf_prog_create_from_user() of instructions that the kernel has */
int bpf_prog_create_checked(struct bpf_prog **pfp, struct sock_fprog_kern *fprog,
			    int (*trans)(struct sock_filter *filter, unsigned int flen));

/* kernel/time/posix-timers.c, posix-cpu-timers.c */
/* What timer_gettime(2) says; under it_lock. */
void posix_timer_get(struct k_itimer *timr, struct itimerspec64 *setting);
/* Make a timer of current's with its number; none of its time runs yet. */
int posix_timer_restore(const struct ckpt_posix_timer *t, struct pid *target, struct pid *clock);
/* Give it its time, and let it run if it ran; under it_lock. */
void posix_timer_restore_time(struct k_itimer *timr, const struct ckpt_posix_timer *t);
void posix_cpu_timer_restore_time(struct k_itimer *timr, u64 left, bool armed);

/* kernel/sched/membarrier.c: what is registered, as MEMBARRIER_CMD_REGISTER_*; register it, in current */
#ifdef CONFIG_MEMBARRIER
int membarrier_registrations(struct mm_struct *mm);
int membarrier_register_again(int registrations);
#else
static inline int membarrier_registrations(struct mm_struct *mm)
{
	return 0;
}

static inline int membarrier_register_again(int registrations)
{
	return registrations ? -EINVAL : 0;
}
#endif

/* --- zombies.c --- */
int ckpt_zombie_save(struct ckpt_ctx *ctx, struct task_struct *task);
int ckpt_exit_restore(struct ckpt_ctx *ctx);		/* CKPT_REC_EXIT */
void ckpt_zombie_wait(struct ckpt_member *m, unsigned int exit_signal);
void __noreturn ckpt_zombie_exit(const struct ckpt_rec_exit *rec);

/* --- threads.c: a thread makes the others of its group --- */
int ckpt_threads_make(struct ckpt_ctx *ctx);
bool ckpt_group_is_single(struct ckpt_ctx *ctx);	/* current is to have no other threads */

/* --- task.c --- */
int ckpt_task_save(struct ckpt_ctx *ctx, struct ckpt_task *t);
int ckpt_task_restore(struct ckpt_ctx *ctx);		/* CKPT_REC_TASK */
int ckpt_task_objs_restore(struct ckpt_ctx *ctx);	/* CKPT_REC_TASK_OBJS */
int ckpt_task_end_restore(struct ckpt_ctx *ctx);	/* CKPT_REC_TASK_END */
int ckpt_rlimits_restore(struct ckpt_ctx *ctx);

/* --- one pair each: _save writes the object, if new, and returns its objref or an errno --- */
int ckpt_cred_save(struct ckpt_ctx *ctx, const struct cred *cred);
int ckpt_cred_restore(struct ckpt_ctx *ctx);		/* builds a struct cred for the hash */
int ckpt_cred_install(struct ckpt_ctx *ctx, const struct cred *cred);	/* on current */
/* Could current give itself these credentials?  EPERM and a log line if not. */
int ckpt_cred_check_power(struct ckpt_ctx *ctx, const struct cred *cred);
int ckpt_sighand_save(struct ckpt_ctx *ctx, struct task_struct *task);
int ckpt_sighand_restore(struct ckpt_ctx *ctx);		/* into current->sighand */
int ckpt_sighand_install(struct ckpt_ctx *ctx, int objref);	/* make current use those */
int ckpt_signals_save(struct ckpt_ctx *ctx, struct ckpt_task *t);
int ckpt_signals_restore(struct ckpt_ctx *ctx);
int ckpt_pending_restore(struct ckpt_ctx *ctx);		/* CKPT_REC_PENDING */
/* Make what the queues hold, on behalf of the user that current is by now. */
int ckpt_pending_make(struct ckpt_ctx *ctx);
/* Coordinator: give the member, which holds still, its pending signals. */
void ckpt_pending_apply(struct ckpt_member *m);
/* Coordinator: have the member stop when it is let go, if its process is stopped. */
void ckpt_stop_apply(struct ckpt_ctx *ctx, struct ckpt_member *m);
void ckpt_pending_free(struct ckpt_member *m);
/* attributes.c */
int ckpt_attributes_save(struct ckpt_ctx *ctx, struct ckpt_task *t);
int ckpt_attributes_restore(struct ckpt_ctx *ctx);	/* CKPT_REC_ATTRIBUTES */
int ckpt_attributes_apply(struct ckpt_ctx *ctx);
void ckpt_attributes_finish(const struct ckpt_member *m);
/* usage.c; what was used is applied to a held member, and armed when all are */
int ckpt_usage_save(struct ckpt_ctx *ctx, const struct ckpt_task *t);
int ckpt_usage_restore(struct ckpt_ctx *ctx);		/* CKPT_REC_USAGE */
void ckpt_usage_apply(const struct ckpt_member *m);
void ckpt_usage_arm(const struct ckpt_member *m);
/* timers.c; sampled under siglock, together with pending signals */
void ckpt_itimers_sample(struct task_struct *task, struct ckpt_rec_itimers *rec);
int ckpt_itimers_save(struct ckpt_ctx *ctx, struct ckpt_rec_itimers *rec);
int ckpt_itimers_restore(struct ckpt_ctx *ctx);		/* CKPT_REC_ITIMERS */
/* All timers of a member. */
void ckpt_timers_arm(const struct ckpt_member *m);
/* posix_timers.c; likewise */
int ckpt_posix_timers_sample(struct ckpt_ctx *ctx, struct task_struct *task);
int ckpt_posix_timers_room(struct ckpt_ctx *ctx);
bool ckpt_posix_timer_queued(struct ckpt_ctx *ctx, const struct sigqueue *q);
int ckpt_posix_timers_save(struct ckpt_ctx *ctx);
int ckpt_posix_timers_restore(struct ckpt_ctx *ctx);	/* CKPT_REC_POSIX_TIMERS */
int ckpt_posix_timers_make(struct ckpt_ctx *ctx);
int ckpt_posix_timer_check_queued(struct ckpt_ctx *ctx, const struct ckpt_siginfo *info,
				  bool shared);
struct sigqueue *ckpt_posix_timer_entry(struct task_struct *task, const struct ckpt_siginfo *info);
void ckpt_posix_timers_arm(const struct ckpt_member *m);
void ckpt_posix_timers_free(struct ckpt_ctx *ctx);
int ckpt_restart_block_save(struct ckpt_ctx *ctx, struct task_struct *task);
int ckpt_restart_block_restore(struct ckpt_ctx *ctx);
/* Last step of a member: turn the time that is left into a deadline. */
void ckpt_restart_block_arm(struct ckpt_member *m);

/**
 * struct ckpt_holder - what a file or a path is held by
 * @name:	for messages: "fd 3", "working directory"
 * @err:	what a refusal of the file or the path returns: EBADF of a descriptor, EBUSY else
 */
struct ckpt_holder {
	const char *name;
	int err;
};

/* files.c: files and tables of descriptors; refuses what it cannot write, naming pid and fd */
int ckpt_file_save(struct ckpt_ctx *ctx, struct file *file, const struct ckpt_holder *holder);
int ckpt_file_restore(struct ckpt_ctx *ctx);		/* opens it, adds it to the hash */
int ckpt_files_save(struct ckpt_ctx *ctx, struct task_struct *task);
int ckpt_files_restore(struct ckpt_ctx *ctx);		/* into a table of current's own */
int ckpt_files_install(struct ckpt_ctx *ctx, int objref);	/* make current use that table */

/* fs.c: root, working directory, umask; path names */
int ckpt_take_root_path(struct ckpt_ctx *ctx);
int ckpt_fs_save(struct ckpt_ctx *ctx, struct task_struct *task);
int ckpt_fs_restore(struct ckpt_ctx *ctx);
int ckpt_fs_install(struct ckpt_ctx *ctx, int objref);
/*
 * The absolute name of @path below the root task's root in @buf (PATH_MAX
 * bytes), checked to lead back to @path; ERR_PTR and a log line if it was
 * deleted, is unreachable or covered.
 */
char *ckpt_path_name(struct ckpt_ctx *ctx, const struct path *path, char *buf,
		     const struct ckpt_holder *holder);

/* namespaces.c: may the task's differ from the root's as they do? */
int ckpt_namespaces_check(struct ckpt_ctx *ctx, struct task_struct *task);
/* ... write those that are not the caller's, and fill in their objrefs */
int ckpt_namespaces_save(struct ckpt_ctx *ctx, const struct ckpt_task *t,
			 struct ckpt_rec_task_objs *rec);
int ckpt_namespaces_begin(struct ckpt_ctx *ctx);	/* coordinator: where the members come from */
bool ckpt_namespaces_are_the_roots(struct ckpt_ctx *ctx, struct task_struct *task);
int ckpt_uts_ns_restore(struct ckpt_ctx *ctx);		/* CKPT_REC_UTS_NS */
int ckpt_ipc_ns_restore(struct ckpt_ctx *ctx);		/* CKPT_REC_IPC_NS */
int ckpt_time_ns_restore(struct ckpt_ctx *ctx);		/* CKPT_REC_TIME_NS */
int ckpt_namespaces_install(struct ckpt_ctx *ctx, const struct ckpt_rec_task_objs *rec);

/* seccomp.c: filters on system calls */
int ckpt_seccomp_save(struct ckpt_ctx *ctx, struct task_struct *task);
int ckpt_seccomp_restore(struct ckpt_ctx *ctx);		/* CKPT_REC_SECCOMP */
int ckpt_seccomp_install(struct ckpt_ctx *ctx, int objref);	/* kept in the member */
int ckpt_seccomp_check(struct ckpt_ctx *ctx);
void ckpt_seccomp_apply(struct ckpt_member *m);
void ckpt_seccomp_free(struct ckpt_member *m);

/* mm.c, pages.c: address spaces */
int ckpt_mm_save(struct ckpt_ctx *ctx, struct task_struct *task);
int ckpt_mm_restore(struct ckpt_ctx *ctx);		/* empties current->mm and lays it out */
int ckpt_vma_restore(struct ckpt_ctx *ctx);
int ckpt_ldt_restore(struct ckpt_ctx *ctx);
int ckpt_mm_end_restore(struct ckpt_ctx *ctx);
int ckpt_mm_install(struct ckpt_ctx *ctx, int objref);	/* make current use it */
int ckpt_pages_save(struct ckpt_ctx *ctx, struct mm_struct *mm, unsigned long addr,
		    unsigned long end, u32 kind);
int ckpt_pages_restore(struct ckpt_ctx *ctx);

/* shmem.c: shared anonymous memory */
int ckpt_shmem_save(struct ckpt_ctx *ctx, struct file *file);
int ckpt_shmem_restore(struct ckpt_ctx *ctx);		/* CKPT_REC_SHMEM */
int ckpt_shmem_end_restore(struct ckpt_ctx *ctx);	/* CKPT_REC_SHMEM_END */

/* memfd.c: files of memory; their pages and end are as those of shared memory */
int ckpt_memfd_restore(struct ckpt_ctx *ctx);		/* CKPT_REC_MEMFD */
int ckpt_pipe_restore(struct ckpt_ctx *ctx);		/* CKPT_REC_PIPE */
int ckpt_pipe_buf_restore(struct ckpt_ctx *ctx);	/* CKPT_REC_PIPE_BUF */

/* unlinked.c: files without a name; the same holds for their pages */
int ckpt_unlinked_restore(struct ckpt_ctx *ctx);	/* CKPT_REC_UNLINKED */

/* cpu.c: registers, by the architecture's register sets */
int ckpt_cpu_save(struct ckpt_ctx *ctx, struct ckpt_task *t);
int ckpt_cpu_restore(struct ckpt_ctx *ctx);		/* CKPT_REC_CPU: kept in the member */
int ckpt_regset_restore(struct ckpt_ctx *ctx);		/* CKPT_REC_REGSET: likewise */
/* Coordinator: put the kept registers into a member that holds still. */
int ckpt_cpu_apply(struct ckpt_ctx *ctx, struct ckpt_member *m);
void ckpt_cpu_free(struct ckpt_member *m);

/* Signals that are to be pending; the queue is made of @rec. */
struct ckpt_pending {
	struct ckpt_rec_pending *rec;
	struct list_head queue;
};

/**
 * struct ckpt_member - a task that waits to become a task of the image
 * See restart.c; the fields here are what other files use.
 */
struct ckpt_member {
	struct list_head list;
	struct task_struct *task;	/* counted reference */
	pid_t pid;			/* the task of the image */
	bool is_thread;			/* of a group that another member leads */
	bool has_group;			/* its section has what is the group's */
	bool has_exited;		/* and is to end again, see exit_rec */
	struct callback_head work;	/* where a thread begins to be a member */
	refcount_t refs;
	int state;
	int error;
	wait_queue_head_t wait;
	struct ckpt_ctx *ctx;

	/* read by the member, applied by the coordinator */
	struct ckpt_rec_cpu cpu;
	struct list_head regsets;
	bool have_cpu;

	/* objrefs of TASK_OBJS as far as they were restored in this task */
	int own_cred, own_files, own_fs, own_sighand, own_mm, own_time_ns;
	/* Registrations that may only be put back when the memory is there */
	struct ckpt_rec_task task_rec;
	bool have_task, have_usage, have_objs, have_rlimits, have_signals, have_restart_block;
	bool have_itimers, have_attributes;
	struct ckpt_rec_mm mm_rec;	/* fixed part of the MM that is being read */
	unsigned int mm_vmas;		/* VMA records read of it */
	bool have_ldt;			/* ... and its LDT */
	struct ckpt_rec_vma vma_rec;	/* the last of them */
	struct ckpt_rec_shmem shmem_rec; /* shared memory that is being read, or objref 0 */
	struct inode *shmem_inode;	/* ... and what is behind it */
	u32 memfd_seals;		/* of a memfd that is being read ... */
	s64 memfd_mtime;		/* ... and when it was written to last, in ns */
	struct ckpt_rec_timerfd timerfd; /* the timer of the next file, or objref 0 */
	int pipe_objref;		/* of the pipe that is being read ... */
	u32 pipe_left;			/* ... and how many slots are to come */
	u64 pages_end;			/* where the last run of pages in either ended */
	struct ckpt_rec_rlimits rlimits;
	struct ckpt_rec_signals signals;
	struct ckpt_rec_restart_block restart_block;
	struct ckpt_pending pending, shared_pending;
	struct ckpt_rec_usage usage;
	u64 used;		/* leader: sum of the times of its process */
	bool may_be_old;	/* it may choose when it began */
	struct ckpt_rec_itimers itimers;
	struct ckpt_rec_posix_timers *posix_timers;	/* or NULL */
	struct seccomp_filter *seccomp;	/* held; or NULL */
	struct ckpt_rec_exit exit_rec;
	struct ckpt_rec_attributes attributes;
};

/* --- arch/.../kernel/checkpoint.c: the same functions on each architecture --- */

/* This kernel's enum ckpt_arch. */
u32 ckpt_arch_id(void);

/* Refuse what the architecture cannot carry: debug registers, compat tasks ... */
int ckpt_arch_check_task(struct ckpt_ctx *ctx, struct task_struct *task);
int ckpt_arch_check_mm(struct ckpt_ctx *ctx, struct mm_struct *mm);

/*
 * Protection keys but key 0, which is everybody's: those that are given out, a
 * bit each, and the one of memory that may only be executed, 0 where there is
 * none.  Where the machine has no such keys, setting any is EINVAL.
 */
u32 ckpt_arch_pkeys(struct mm_struct *mm, u32 *execute_only);
int ckpt_arch_set_pkeys(struct mm_struct *mm, u32 keys, u32 execute_only);
u32 ckpt_arch_nr_pkeys(void);	/* with key 0: those that memory may have */
/* As if all were given out, and the task may go to all memory: until the image says otherwise. */
void ckpt_arch_hold_pkeys(struct mm_struct *mm);

/*
 * The local descriptor table: write an LDT record if there is one; install what
 * one says in current->mm, which has none.
 */
int ckpt_arch_ldt_save(struct ckpt_ctx *ctx, struct mm_struct *mm);
int ckpt_arch_ldt_restore(struct ckpt_ctx *ctx, const struct ckpt_rec_ldt *rec);

/*
 * Bring what current still has in the CPU into memory, and arrange that its
 * saved registers show checkpoint(2) returning 0 outside of any system call;
 * _end undoes the latter.  @saved holds what _end needs.
 */
#define CKPT_ARCH_SELF_WORDS	4
void ckpt_arch_self_begin(struct pt_regs *regs, unsigned long saved[CKPT_ARCH_SELF_WORDS]);
void ckpt_arch_self_end(struct pt_regs *regs, const unsigned long saved[CKPT_ARCH_SELF_WORDS]);

enum ckpt_regset_action {
	CKPT_REGSET_SAVE,	/* saved and restored */
	CKPT_REGSET_SKIP,	/* a view of something else, or without meaning for another run */
};

enum ckpt_regset_action ckpt_arch_regset(const struct user_regset *regset);
/* Zero what a register set shows and the task does not have: it would differ with each run. */
void ckpt_arch_regset_clean(u32 note, void *data);

/* Fill @cpu->syscall, ->word: thread flags, interruption code, trap ... */
int ckpt_arch_cpu_save(struct ckpt_ctx *ctx, struct task_struct *task, struct ckpt_rec_cpu *cpu);
/* Do the registers say that the task may go on with restart_syscall(2)? */
bool ckpt_arch_in_restart(struct task_struct *task);
/* Validate @cpu, and the member itself; runs in the member when the record is read. */
int ckpt_arch_cpu_check(struct ckpt_ctx *ctx, const struct ckpt_rec_cpu *cpu);
/* Validate a register set before anything is applied; runs in the member. */
int ckpt_arch_regset_check(struct ckpt_ctx *ctx, u32 note, const void *data, size_t size);
/*
 * Before and after the register sets of @task are set; runs in the coordinator
 * while @task holds still, off its CPU.  @cpu was checked.
 */
void ckpt_arch_cpu_apply_begin(struct task_struct *task, const struct ckpt_rec_cpu *cpu);
void ckpt_arch_cpu_apply_end(struct task_struct *task, const struct ckpt_rec_cpu *cpu);
/*
 * Last act of a member: what restart(2) is to return so that the exit path
 * leaves the restored registers alone.  A thread was not in that system call
 * (@in_syscall), but is on its way from its creation to user mode; what that
 * way needs to know is told to it before it begins.
 */
long ckpt_arch_resume(struct pt_regs *regs, bool in_syscall);
void ckpt_arch_new_thread(struct task_struct *task);

/* Is this a mapping of the vdso?  CKPT_VMA_VDSO, CKPT_VMA_VVAR or 0. */
u32 ckpt_arch_vma_kind(struct vm_area_struct *vma);
/* Map vdso and vvar into current->mm from @start on; the caller checks the result. */
int ckpt_arch_map_vdso(unsigned long start);
/* Forget the vdso of current->mm, whose mappings are gone. */
void ckpt_arch_mm_reset(struct mm_struct *mm);

#endif /* _LINUX_CHECKPOINT_H */
