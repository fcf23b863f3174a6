/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * Checkpoint/restart: flags of the two system calls and the format of an image.
 *
 * An image is a stream of records.  Each begins with struct ckpt_hdr, is a
 * multiple of eight bytes long, and has fields of fixed width at their natural
 * alignment with explicit padding, which is zero.  Numbers are in the byte
 * order of the kernel that wrote them; the header record says which.
 *
 *	HEADER TREE PID_NS... CGROUP... MOUNT... { TASK USAGE objects... TASK_OBJS RLIMITS
 *	ATTRIBUTES SIGNALS PENDING... ITIMERS POSIX_TIMERS RESTART_BLOCK CPU REGSET...
 *	TASK_END }... { EPOLL EPOLL_ITEM... }... LOCK... LEASE... OWNER... TRAILER
 *
 * A thread's section has no RLIMITS: they are its process's.  The section of a
 * task that has exited is TASK USAGE CRED SIGHAND EXIT TASK_END, and if it led threads
 * that have not, the section of the first of them has the RLIMITS.
 *
 * Objects that tasks can share (FILE, FILES, FS, SIGHAND, CRED, SHMEM, MEMFD, UNLINKED, PIPE,
 * MM, UTS_NS, IPC_NS, TIME_NS, SECCOMP) carry an objref, a number above zero that is unique
 * in the image, and come before their first use.  MM is followed by its VMA and PAGES
 * records, its LDT if there is one, and MM_END, SHMEM, MEMFD, UNLINKED and the NODE of
 * a regular file by their PAGES records and SHMEM_END, PIPE by its PIPE_BUF records, TIMERFD
 * by its FILE.  What an epoll set watches may be open in a later task: behind the last
 * task there is an EPOLL for each FILE that is a set, in the same order.
 * A checkpoint that fails ends its image with an ERROR record.
 */
#ifndef _UAPI_LINUX_CHECKPOINT_H
#define _UAPI_LINUX_CHECKPOINT_H

#include <linux/types.h>

/* checkpoint(2): the root need not be a container's init; references from outside are allowed */
#define CHECKPOINT_SUBTREE	0x1

/* restart(2): the caller is to become the task that the image calls by this pid */
#define RESTART_MEMBER		0x1
/* restart(2): leave the cgroup of the restarted tasks frozen */
#define RESTART_FROZEN		0x2
/* restart(2): in the pid namespace of the root, tasks have the pids that they have got, not those of the image */
#define RESTART_NEW_PIDS	0x4

#define CKPT_MAGIC		"crthaw\r\n"
#define CKPT_FORMAT_VERSION	1
#define CKPT_BYTE_ORDER		0x01020304

enum ckpt_arch {
	CKPT_ARCH_X86_32	= 1,
	CKPT_ARCH_X86_64	= 2,
	CKPT_ARCH_S390X		= 3,
	CKPT_ARCH_PPC64		= 4,
};

enum ckpt_record {
	CKPT_REC_HEADER		= 1,
	CKPT_REC_TREE		= 2,
	CKPT_REC_TASK		= 3,
	CKPT_REC_TASK_OBJS	= 4,
	CKPT_REC_TASK_END	= 5,
	CKPT_REC_RLIMITS	= 6,
	CKPT_REC_SIGNALS	= 7,
	CKPT_REC_RESTART_BLOCK	= 8,
	CKPT_REC_CPU		= 9,
	CKPT_REC_REGSET		= 10,
	CKPT_REC_FILE		= 11,
	CKPT_REC_FILES		= 12,
	CKPT_REC_FS		= 13,
	CKPT_REC_SIGHAND	= 14,
	CKPT_REC_CRED		= 15,
	CKPT_REC_MM		= 16,
	CKPT_REC_VMA		= 17,
	CKPT_REC_PAGES		= 18,
	CKPT_REC_MM_END		= 19,
	CKPT_REC_ERROR		= 20,
	CKPT_REC_TRAILER	= 21,
	CKPT_REC_EXIT		= 22,
	CKPT_REC_PENDING	= 23,
	CKPT_REC_ITIMERS	= 24,
	CKPT_REC_ATTRIBUTES	= 25,
	CKPT_REC_SHMEM		= 26,
	CKPT_REC_SHMEM_END	= 27,
	CKPT_REC_POSIX_TIMERS	= 28,
	CKPT_REC_UTS_NS		= 29,
	CKPT_REC_IPC_NS		= 30,
	CKPT_REC_TIME_NS	= 31,
	CKPT_REC_SECCOMP	= 32,
	CKPT_REC_MEMFD		= 33,
	CKPT_REC_PID_NS		= 34,
	CKPT_REC_USAGE		= 35,
	CKPT_REC_CGROUP		= 36,
	CKPT_REC_UNLINKED	= 37,
	CKPT_REC_LDT		= 38,
	CKPT_REC_MOUNT		= 39,
	CKPT_REC_NODE		= 40,
	CKPT_REC_PIPE		= 41,
	CKPT_REC_PIPE_BUF	= 42,
	CKPT_REC_TIMERFD	= 43,
	CKPT_REC_EPOLL		= 44,
	CKPT_REC_EPOLL_ITEM	= 45,
	CKPT_REC_LOCK		= 46,
	CKPT_REC_LEASE		= 47,
	CKPT_REC_OWNER		= 48,
	CKPT_REC_MAX		= CKPT_REC_OWNER,
};

/**
 * struct ckpt_hdr - begins each record
 * @type:	enum ckpt_record
 * @len:	length of the whole record in bytes, this header included
 */
struct ckpt_hdr {
	__u32 type;
	__u32 len;
};

/**
 * struct ckpt_rec_header - first record of an image
 * @magic:	CKPT_MAGIC without its terminating zero
 * @byte_order:	CKPT_BYTE_ORDER
 * @version:	CKPT_FORMAT_VERSION
 * @arch:	enum ckpt_arch
 * @word_size:	size of a long in the kernel, in bytes
 * @page_size:	size of a page, in bytes
 * @flags:	flags of checkpoint(2)
 * @id:		what checkpoint(2) returns
 * @features:	bits that a reader must know to read on; none are defined yet
 * @time:	CLOCK_REALTIME when the checkpoint began, in nanoseconds
 * @release:	uts release of the kernel, padded with zeros
 * @build:	uts version of the kernel, padded with zeros
 * @machine:	uts machine of the kernel, padded with zeros
 */
struct ckpt_rec_header {
	struct ckpt_hdr h;
	__u8  magic[8];
	__u32 byte_order;
	__u32 version;
	__u32 arch;
	__u32 word_size;
	__u32 page_size;
	__u32 flags;
	__u32 id;
	__u32 pad;
	__u64 features;
	__u64 time;
	char  release[64];
	char  build[64];
	char  machine[64];
};

/**
 * struct ckpt_tree_task - one task of the tree
 * @pid:	its pid in the pid namespace of the tree's root, as are all below
 * @tgid:	the leader of its thread group: of a process, @pid
 * @ppid:	the task, a thread perhaps, that is its group's parent; 0 for the root
 * @pgid:	its process group; 0: one from outside the tree
 * @sid:	its session; 0: one from outside the tree
 * @exit_signal: the signal its parent gets when it ends; 0 for a thread
 * @cgroup:	which of the CGROUP records, from 1 on, is the cgroup it is in; 0: the tree's
 */
struct ckpt_tree_task {
	__s32 pid;
	__s32 tgid;
	__s32 ppid;
	__s32 pgid;
	__s32 sid;
	__u32 exit_signal;
	__u32 cgroup;
	__u32 pad;
};

/*
 * The tree: the root first, parents before their children, a leader's threads
 * right after it; the task sections come in this order.
 */
struct ckpt_rec_tree {
	struct ckpt_hdr h;
	__u32 nr_tasks;
	__u32 flags;
	__u32 nr_pid_ns;	/* PID_NS records that follow */
	__u32 nr_cgroups;	/* CGROUP records behind them */
	struct ckpt_tree_task tasks[];
};

#define CKPT_TREE_USER_NS	0x1	/* its ids are those of a user namespace, not of the first one */
#define CKPT_TREE_CGROUP_NS	0x2	/* it has a cgroup namespace of its own */
#define CKPT_TREE_MEMFD_NOEXEC	0xc	/* as @memfd_noexec of PID_NS, of the namespace of a container's root ... */
#define CKPT_TREE_MEMFD_NOEXEC_SHIFT 2	/* ... in these bits */
#define CKPT_TREE_MOUNT_NS	0x10	/* it has a mount namespace of its own, which was compared ... */
#define CKPT_TREE_MOUNTS	0x20	/* ... and differs: MOUNT records follow the cgroups */

#define CKPT_MEMFD_NOEXEC_MAX	2

/* A number of a task, group or session in two pid namespaces. */
struct ckpt_pid_id {
	__s32 pid;	/* in that of the tree's root */
	__s32 inner;
};

/**
 * struct ckpt_rec_pid_ns - a pid namespace below that of the tree's root
 * @objref:	its number
 * @parent:	objref of the one that it is in, which comes before it; 0: that of the root
 * @nr_ids:	number of @ids
 * @memfd_noexec: its own vm.memfd_noexec, which does not say what those around it have
 * @ids:	all that have a number in it; its init is the first
 */
struct ckpt_rec_pid_ns {
	struct ckpt_hdr h;
	__s32 objref;
	__s32 parent;
	__u32 nr_ids;
	__u32 memfd_noexec;
	struct ckpt_pid_id ids[];
};

#define CKPT_CGROUP_NAME_LEN	256
#define CKPT_CGROUPS_MAX	4096

/**
 * struct ckpt_rec_cgroup - a cgroup below that of the tree
 * @parent:	which of the CGROUP records before it, from 1 on, it is in; 0: the tree's
 * @name:	its name in that, ends with a zero byte
 */
struct ckpt_rec_cgroup {
	struct ckpt_hdr h;
	__u32 parent;
	__u32 pad;
	char name[CKPT_CGROUP_NAME_LEN];
};

/* What is mounted outside of the tree is not inside. */
#define CKPT_MOUNT_GONE		1
/* ... is inside, and has other options. */
#define CKPT_MOUNT_ATTRS	2
/* Something that is there already, under a second name */
#define CKPT_MOUNT_BIND		3
/* A tmpfs of the tree's own */
#define CKPT_MOUNT_TMPFS	4

#define CKPT_MOUNTS_MAX		1024

/**
 * struct ckpt_rec_mount - how the mounts of the tree differ from those of whoever restarts it
 * @kind:	CKPT_MOUNT_*
 * @attrs:	MOUNT_ATTR_* of mount_setattr(2), all that are set; 0 with CKPT_MOUNT_GONE
 * @more:	1 if another such record follows
 * @source:	CKPT_MOUNT_BIND: which of these records, from 1 on, is the tmpfs that it is a part
 *		of; 0: it is found outside of the tree
 * @size:	CKPT_MOUNT_TMPFS: bytes that it may have at most, 0 for any number
 * @inodes:	... and files
 * @mode:	permissions that its root directory was made with
 * @uid:	... likewise, its owner
 * @gid:	... and group
 * @path_len:	bytes of the path with its terminating zero
 * @source_len:	bytes of the second name with its terminating zero; 0 for none
 * @nodes:	CKPT_MOUNT_TMPFS: how many NODE records follow, its root directory the first
 * @names:	where it is, as seen from the root directory of the tree, then what was mounted:
 *		with CKPT_MOUNT_BIND a path as seen from the same directory outside, or from
 *		the root directory of @source, with CKPT_MOUNT_TMPFS a name that does not
 *		matter; padded with zeros
 */
struct ckpt_rec_mount {
	struct ckpt_hdr h;
	__u32 kind;
	__u32 attrs;
	__u32 more;
	__u32 source;
	__u64 size;
	__u64 inodes;
	__u32 mode;
	__u32 uid;
	__u32 gid;
	__u32 path_len;
	__u32 source_len;
	__u32 nodes;
	char names[];
};

#define CKPT_NODES_MAX		(1 << 20)

/**
 * struct ckpt_rec_node - a name in a tmpfs that only the tree has mounted
 * @folder:	which NODE of the tmpfs, from 1 on, is the directory that it is in; one before it.
 *		0 for the root directory of the tmpfs, which is the first
 * @same:	which NODE before it is the same file, by another name; the fields below are 0 then,
 *		but for the kind and the name. 0 for none
 * @mode:	kind and permissions, as in st_mode
 * @uid:	owner
 * @gid:	... and group
 * @major:	of a device
 * @minor:	... likewise
 * @name_len:	bytes of its name with the terminating zero
 * @target_len:	bytes of what a symbolic link that is not @same leads to, likewise; else 0
 * @pad:	0
 * @size:	bytes of a regular file; its contents follow, unless it is @same
 * @mtime:	time of the last change, in nanoseconds since 1970
 * @names:	its name, then where it leads to; padded with zeros
 */
struct ckpt_rec_node {
	struct ckpt_hdr h;
	__u32 folder;
	__u32 same;
	__u32 mode;
	__u32 uid;
	__u32 gid;
	__u32 major;
	__u32 minor;
	__u32 name_len;
	__u32 target_len;
	__u32 pad;
	__u64 size;
	__s64 mtime;
	char names[];
};

#define CKPT_COMM_LEN	16

/**
 * struct ckpt_rec_task - begins a task's section
 * @pid:	as in the tree
 * @personality: execution domain
 * @comm:	name, padded with zeros
 * @set_child_tid, @clear_child_tid: user addresses, or 0
 * @robust_list, @robust_list_len: what set_robust_list(2) registered
 * @rseq, @rseq_len, @rseq_sig: what rseq(2) registered
 */
struct ckpt_rec_task {
	struct ckpt_hdr h;
	__s32 pid;
	__u32 personality;
	char  comm[CKPT_COMM_LEN];
	__u64 set_child_tid;
	__u64 clear_child_tid;
	__u64 robust_list;
	__u64 rseq;
	__u32 robust_list_len;
	__u32 rseq_len;
	__u32 rseq_sig;
	__u32 pad;
};

/**
 * struct ckpt_usage - what was used
 * @utime, @stime: time in user and in kernel mode, as it was counted
 * @voluntary, @involuntary: context switches
 * @minor_faults, @major_faults: page faults without and with I/O
 */
struct ckpt_usage {
	__u64 utime;
	__u64 stime;
	__u64 voluntary;
	__u64 involuntary;
	__u64 minor_faults;
	__u64 major_faults;
};

/**
 * struct ckpt_rec_usage - what the task has used so far; times in nanoseconds
 * @runtime:	on a CPU, as its CPU clock shows it
 * @age, @boot_age: since it began, on CLOCK_MONOTONIC and CLOCK_BOOTTIME
 * @shown_utime, @shown_stime: last estimate that was shown, 0 where times are exact
 * @task:	its own
 * @exited:	by threads of the process that have gone, in the record of its leader, as all below
 * @exited_runtime: as @runtime
 * @group_shown_utime, @group_shown_stime: of the process
 * @max_rss:	most memory that was resident, in bytes
 * @children:	by children that were waited for
 * @children_max_rss: most that one of them had resident, in bytes
 */
struct ckpt_rec_usage {
	struct ckpt_hdr h;
	__u64 runtime;
	__u64 age;
	__u64 boot_age;
	__u64 shown_utime;
	__u64 shown_stime;
	struct ckpt_usage task;
	struct ckpt_usage exited;
	__u64 exited_runtime;
	__u64 group_shown_utime;
	__u64 group_shown_stime;
	__u64 max_rss;
	struct ckpt_usage children;
	__u64 children_max_rss;
};

/*
 * The objects that the task uses, by objref.  Where that of a namespace is 0,
 * it is the one of whoever restarts the tree.
 */
struct ckpt_rec_task_objs {
	struct ckpt_hdr h;
	__s32 cred;
	__s32 files;
	__s32 fs;
	__s32 sighand;
	__s32 mm;
	__s32 uts_ns;
	__s32 ipc_ns;
	__s32 time_ns;
	__s32 seccomp;	/* its last filter, or 0 */
	__s32 pid_ns;	/* the one its children come into, or 0: its own */
};

/* Ends a task's section. */
struct ckpt_rec_task_end {
	struct ckpt_hdr h;
	__s32 pid;
	__u32 pad;
};

/**
 * struct ckpt_rec_exit - all that is left of a task that has exited
 * @status:	as wait(2) reports it
 * @cred:	objref of its credentials
 * @sighand:	objref of its signal actions
 * @blocked:	blocked signals
 * @pending, @shared_pending: signals that nobody takes any more
 */
struct ckpt_rec_exit {
	struct ckpt_hdr h;
	__u32 status;
	__s32 cred;
	__s32 sighand;
	__u32 pad;
	__u64 blocked;
	__u64 pending;
	__u64 shared_pending;
};

#define CKPT_RLIMITS	16
#define CKPT_RLIM_INFINITY	(~0ULL)

/* Resource limits in the order of RLIMIT_*, in their own units. */
struct ckpt_rec_rlimits {
	struct ckpt_hdr h;
	struct {
		__u64 soft;
		__u64 hard;
	} limits[CKPT_RLIMITS];
};

/**
 * struct ckpt_rec_attributes - what the task was told about itself
 * @flags:	CKPT_ATTR_*
 * @policy:	SCHED_*, without SCHED_RESET_ON_FORK
 * @nice:	nice value
 * @rt_priority: priority under SCHED_FIFO and SCHED_RR
 * @slice:	time slice in nanoseconds, or 0 for the usual one
 * @timer_slack, @default_timer_slack: by how many nanoseconds its sleeps may be late
 * @parent_death_signal: PR_GET_PDEATHSIG
 * @oom_score_adj: the process's, 0 in a thread
 * @cpus:	CPUs that sched_setaffinity(2) named, bit N for CPU N, or 0 if it was not called
 * @io_priority: what ioprio_set(2) set, or 0
 */
struct ckpt_rec_attributes {
	struct ckpt_hdr h;
	__u32 flags;
	__u32 policy;
	__s32 nice;
	__u32 rt_priority;
	__u64 slice;
	__u64 timer_slack;
	__u64 default_timer_slack;
	__u32 parent_death_signal;
	__s32 oom_score_adj;
	__u64 cpus;
	__u32 io_priority;
	__u32 pad;
};

#define CKPT_ATTR_RESET_ON_FORK	0x01	/* children have the usual policy */
#define CKPT_ATTR_NO_NEW_PRIVS	0x02	/* PR_SET_NO_NEW_PRIVS */
#define CKPT_ATTR_MCE_SET	0x04	/* PR_MCE_KILL: it has a policy of its own ... */
#define CKPT_ATTR_MCE_EARLY	0x08	/* ... and is to be told early */
#define CKPT_ATTR_IO_FLUSHER	0x10	/* PR_SET_IO_FLUSHER */
#define CKPT_ATTR_SUBREAPER	0x20	/* the process is PR_SET_CHILD_SUBREAPER */
#define CKPT_ATTR_SECCOMP_STRICT 0x40	/* SECCOMP_MODE_STRICT */
#define CKPT_ATTR_ALL		0x7f

/**
 * struct ckpt_rec_signals - the task's own signal state
 * @blocked:	blocked signals; bit N-1 is signal N, as in all masks
 * @saved_mask:	mask to put back after the interrupted system call
 * @flags:	CKPT_SIGNALS_*
 * @altstack_flags: SS_* of sigaltstack(2)
 * @altstack_sp, @altstack_size: alternate stack, address and bytes
 * @stop_signal: the signal that stopped the task last, or 0
 * @stop_status: of a process that stopped: what wait(2) has yet to tell of it, or 0
 */
struct ckpt_rec_signals {
	struct ckpt_hdr h;
	__u64 blocked;
	__u64 saved_mask;
	__u32 flags;
	__u32 altstack_flags;
	__u64 altstack_sp;
	__u64 altstack_size;
	__u32 stop_signal;
	__u32 stop_status;
};

#define CKPT_SIGNALS_RESTORE_MASK	0x1	/* saved_mask is to be put back */
#define CKPT_SIGNALS_STOPPED		0x2	/* the process is stopped */
#define CKPT_SIGNALS_CONTINUED		0x4	/* the process was continued, which wait(2) has yet to tell */

#define CKPT_SIGINFO_BYTES	32

/**
 * struct ckpt_siginfo - one queued signal
 * @signo:	its number
 * @error:	si_errno
 * @code:	si_code
 * @flags:	CKPT_SIGINFO_*
 * @fields:	what follows in siginfo_t, in the architecture's layout
 */
struct ckpt_siginfo {
	__s32 signo;
	__s32 error;
	__s32 code;
	__u32 flags;
	__u8  fields[CKPT_SIGINFO_BYTES];
};

#define CKPT_SIGINFO_TIMER	0x1	/* the entry of the POSIX timer with the number si_tid */

/**
 * struct ckpt_rec_pending - signals that have not been delivered, if there are any
 * @flags:	CKPT_PENDING_*
 * @nr_infos:	number of @infos
 * @mask:	the signals; one that is not among @infos was queued when memory was short
 * @infos:	the queue, in its order
 */
struct ckpt_rec_pending {
	struct ckpt_hdr h;
	__u32 flags;
	__u32 nr_infos;
	__u64 mask;
	struct ckpt_siginfo infos[];
};

#define CKPT_PENDING_SHARED	0x1	/* the process's, not the task's own */

#define CKPT_ITIMERS		3
#define CKPT_ITIMER_REAL	0
#define CKPT_ITIMER_VIRTUAL	1
#define CKPT_ITIMER_PROF	2

/* One interval timer: nanoseconds that are left, 0 if disarmed, and between two signals. */
struct ckpt_itimer {
	__u64 value;
	__u64 interval;
};

/* The process's interval timers, if there are any, by CKPT_ITIMER_*. */
struct ckpt_rec_itimers {
	struct ckpt_hdr h;
	struct ckpt_itimer timers[CKPT_ITIMERS];
};

/**
 * struct ckpt_posix_timer - one POSIX timer
 * @id:		its number
 * @clock:	clockid_t, as timer_create(2) has turned it
 * @notify:	SIGEV_*
 * @signo:	the signal
 * @value:	what the signal carries
 * @target:	the task that gets it, or the process
 * @clock_target: the task, or the process, whose CPU time it measures, or 0
 * @flags:	CKPT_POSIX_TIMER_*
 * @requeue:	counts settings and expirations; odd while the signal is pending
 * @time_left:	nanoseconds until it expires, or when, where @flags say so; 0 if never,
 *		below 0 if it has expired
 * @interval:	nanoseconds between two expirations, 0 for one
 * @overrun:	expirations since the last signal, less one
 * @overrun_last: what timer_getoverrun(2) says
 */
struct ckpt_posix_timer {
	__s32 id;
	__s32 clock;
	__u32 notify;
	__s32 signo;
	__u64 value;
	__s32 target;
	__s32 clock_target;
	__u32 flags;
	__u32 requeue;
	__s64 time_left;
	__u64 interval;
	__s64 overrun;
	__s64 overrun_last;
};

#define CKPT_POSIX_TIMER_ARMED		0x1	/* it is running */
#define CKPT_POSIX_TIMER_PENDING	0x4	/* its signal is in a queue */
#define CKPT_POSIX_TIMER_ABSOLUTE	0x2	/* time_left is a point on CLOCK_REALTIME */
#define CKPT_POSIX_TIMER_ALL		0x7

/**
 * struct ckpt_rec_posix_timers - the process's POSIX timers, if there ever were any
 * @nr_timers:	number of @timers
 * @next_id:	the number that the next one gets
 * @timers:	the timers, the youngest first
 */
struct ckpt_rec_posix_timers {
	struct ckpt_hdr h;
	__u32 nr_timers;
	__u32 next_id;
	struct ckpt_posix_timer timers[];
};

enum ckpt_restart_kind {
	CKPT_RESTART_NONE	= 0,
	CKPT_RESTART_NANOSLEEP	= 1,
	CKPT_RESTART_POLL	= 2,
	CKPT_RESTART_FUTEX	= 3,
};

/**
 * struct ckpt_rec_restart_block - how restart_syscall(2) goes on
 * @kind:	enum ckpt_restart_kind
 * @clock:	clock of a nanosleep
 * @uaddr:	nanosleep: where the remaining time goes; poll: pollfd array; futex: the word
 * @time_left:	nanoseconds until the deadline, or the absolute deadline where @flags say so
 * @arch_data:	the architecture's own word
 * @flags:	CKPT_RESTART_*
 * @type:	nanosleep: enum timespec_type of @uaddr; poll: number of descriptors
 * @val, @bitset, @futex_flags: of a futex wait
 */
struct ckpt_rec_restart_block {
	struct ckpt_hdr h;
	__u32 kind;
	__s32 clock;
	__u64 uaddr;
	__s64 time_left;
	__u64 arch_data;
	__u32 flags;
	__u32 type;
	__u32 val;
	__u32 bitset;
	__u32 futex_flags;
	__u32 pad;
};

#define CKPT_RESTART_TIMEOUT	0x1	/* there is a deadline */
#define CKPT_RESTART_ABSOLUTE	0x2	/* time_left is a point on CLOCK_REALTIME */

/**
 * struct ckpt_rec_cpu - what register sets do not show of a task
 * @syscall:	number of the system call that the task was frozen in, or -1
 * @flags:	CKPT_CPU_*
 * @word:	values whose meaning the architecture gives, see its checkpoint.c
 */
struct ckpt_rec_cpu {
	struct ckpt_hdr h;
	__s32 syscall;
	__u32 flags;
	__u64 word[6];
};

#define CKPT_CPU_SELF	0x1	/* the task checkpointed itself: checkpoint(2) returns 0 */

/**
 * struct ckpt_rec_regset - one register set, as in a core dump
 * @note:	NT_* of elf.h
 * @size:	bytes that follow
 */
struct ckpt_rec_regset {
	struct ckpt_hdr h;
	__u32 note;
	__u32 size;
	__u8  data[];
};

enum ckpt_file_kind {
	CKPT_FILE_REG	= 1,
	CKPT_FILE_DIR	= 2,
	CKPT_FILE_CHR	= 3,
	CKPT_FILE_MEMFD	= 4,		/* as memfd_create(2) returned it */
	CKPT_FILE_MEMFD_AGAIN = 5,	/* opened once more, by /proc/PID/fd */
	CKPT_FILE_UNLINKED = 6,		/* a regular file on tmpfs that has no name any more */
	CKPT_FILE_PIPE	= 7,
	CKPT_FILE_FIFO	= 8,
	CKPT_FILE_EVENTFD = 9,
	CKPT_FILE_SIGNALFD = 10,
	CKPT_FILE_TIMERFD = 11,
	CKPT_FILE_EPOLL = 12,
	CKPT_FILE_PIDFD = 13,
};

/**
 * struct ckpt_rec_file - an open file
 * @objref:	its number
 * @kind:	enum ckpt_file_kind
 * @flags:	as fcntl(F_GETFL) shows them; whether exec(2) closes it is the descriptor's
 * @rdev_major, @rdev_minor: of a character device
 * @cred:	objref of the credentials it was opened with
 * @mode:	type and permissions of the inode
 * @pos:	offset in bytes
 * @size:	size of a regular file in bytes, for information; of an eventfd its number, of a
 *		signalfd the signals that it takes, of a pidfd the process, 0 if it is gone
 * @object:	objref of the MEMFD, UNLINKED or PIPE that it is of, of another pidfd of a
 *		process that is gone the first FILE of the same one, or 0
 * @state:	CKPT_FILE_CREATED, CKPT_FILE_NO_WRITER_YET, CKPT_FILE_SEMAPHORE
 * @path_len:	bytes of @path with its terminating zero; 0 of what has no name
 * @path:	absolute path below the root task's root, padded with zeros
 */
struct ckpt_rec_file {
	struct ckpt_hdr h;
	__s32 objref;
	__u32 kind;
	__u32 flags;
	__u32 rdev_major;
	__u32 rdev_minor;
	__s32 cred;
	__u32 mode;
	__u32 path_len;
	__s64 pos;
	__u64 size;
	__s32 object;
	__u32 state;
	char  path[];
};

#define CKPT_FILE_CREATED	0x1	/* of a pipe: as pipe(2) returned it, and not opened once more */
#define CKPT_FILE_NO_WRITER_YET	0x2	/* of a fifo: it was opened without a writer, and none has come */
#define CKPT_FILE_SEMAPHORE	0x4	/* of an eventfd: read(2) takes one at a time */

#define CKPT_FD_CLOEXEC	0x1

/* One descriptor. */
struct ckpt_fd {
	__s32 fd;
	__s32 file;
	__u32 flags;
	__u32 pad;
};

/* A table of descriptors, in rising order of number. */
struct ckpt_rec_files {
	struct ckpt_hdr h;
	__s32 objref;
	__u32 nr_fds;
	struct ckpt_fd fds[];
};

/**
 * struct ckpt_rec_fs - root, working directory and umask
 * @objref:	its number
 * @umask:	file mode creation mask
 * @root_len:	bytes of the root's path with its terminating zero
 * @cwd_len:	bytes of the working directory's path with its terminating zero
 * @paths:	the two paths, one behind the other, padded with zeros
 */
struct ckpt_rec_fs {
	struct ckpt_hdr h;
	__s32 objref;
	__u32 umask;
	__u32 root_len;
	__u32 cwd_len;
	char  paths[];
};

#define CKPT_NSIG	64

/* One signal's action. */
struct ckpt_sigaction {
	__u64 handler;
	__u64 flags;
	__u64 restorer;
	__u64 mask;
};

/* Signal actions of signals 1 to 64. */
struct ckpt_rec_sighand {
	struct ckpt_hdr h;
	__s32 objref;
	__u32 pad;
	struct ckpt_sigaction action[CKPT_NSIG];
};

/**
 * struct ckpt_rec_cred - credentials, ids as the root task's user namespace shows them
 * @objref:	its number
 * @securebits:	PR_GET_SECUREBITS
 * @nr_groups:	supplementary groups that follow, padded to an even number with zero
 */
struct ckpt_rec_cred {
	struct ckpt_hdr h;
	__s32 objref;
	__u32 securebits;
	__u32 uid, euid, suid, fsuid;
	__u32 gid, egid, sgid, fsgid;
	__u64 cap_inheritable;
	__u64 cap_permitted;
	__u64 cap_effective;
	__u64 cap_bset;
	__u64 cap_ambient;
	__u32 nr_groups;
	__u32 pad;
	__u32 groups[];
};

/**
 * struct ckpt_rec_mm - an address space
 * @objref:	its number
 * @exe:	objref of the file that /proc/PID/exe names, or 0
 * @start_code ... @env_end: layout, as PR_SET_MM_MAP has it
 * @mmap_base:	where mmap(2) begins to search
 * @vdso_start:	lowest address of the vdso and its data pages, or 0
 * @vdso_hash:	xxh64 of the vdso's code pages
 * @vdso_len:	bytes from @vdso_start to the end of the vdso
 * @nr_vmas:	VMA records that follow
 * @nr_auxv:	words of @auxv
 * @dumpable:	PR_GET_DUMPABLE
 * @flags:	CKPT_MM_*
 * @dump_filter: /proc/PID/coredump_filter
 * @membarrier:	what membarrier(2) has registered, as MEMBARRIER_CMD_REGISTER_*
 * @pkeys:	protection keys that pkey_alloc(2) does not give out, a bit each; key 0 is not said
 * @execute_only_pkey: the one of memory that may only be executed, 0 where there is none
 */
struct ckpt_rec_mm {
	struct ckpt_hdr h;
	__s32 objref;
	__s32 exe;
	__u64 start_code, end_code;
	__u64 start_data, end_data;
	__u64 start_brk, brk;
	__u64 start_stack;
	__u64 arg_start, arg_end;
	__u64 env_start, env_end;
	__u64 mmap_base;
	__u64 vdso_start;
	__u64 vdso_len;
	__u64 vdso_hash;
	__u32 nr_vmas;
	__u32 dumpable;
	__u32 nr_auxv;
	__u32 flags;
	__u32 dump_filter;
	__u32 membarrier;
	__u32 pkeys;
	__u32 execute_only_pkey;
	__u64 auxv[];
};

#define CKPT_MM_LOCK_FUTURE	0x01	/* mlockall(MCL_FUTURE) ... */
#define CKPT_MM_LOCK_ON_FAULT	0x02	/* ... and MCL_ONFAULT */
#define CKPT_MM_THP_DISABLED	0x04	/* PR_SET_THP_DISABLE */
#define CKPT_MM_MDWE		0x08	/* PR_SET_MDWE: PR_MDWE_REFUSE_EXEC_GAIN ... */
#define CKPT_MM_MDWE_NO_INHERIT	0x10	/* ... and PR_MDWE_NO_INHERIT */
#define CKPT_MM_MERGE_ANY	0x20	/* PR_SET_MEMORY_MERGE */
#define CKPT_MM_ALL		0x3f

/**
 * struct ckpt_rec_shmem - shared anonymous memory
 * @objref:	its number
 * @flags:	CKPT_SHMEM_*
 * @size:	bytes, whole pages
 */
struct ckpt_rec_shmem {
	struct ckpt_hdr h;
	__s32 objref;
	__u32 flags;
	__u64 size;
};

#define CKPT_SHMEM_NORESERVE	0x1	/* pages are accounted for when they are touched */

/**
 * struct ckpt_rec_memfd - a file of memory, memfd_create(2)
 * @objref:	its number
 * @seals:	F_SEAL_*
 * @size:	bytes
 * @mtime:	when it was last written to, in ns of CLOCK_REALTIME
 * @uid, @gid:	its owner
 * @mode:	permissions
 * @name_len:	bytes of @name with its terminating zero
 * @name:	as memfd_create(2) got it, padded with zeros
 */
struct ckpt_rec_memfd {
	struct ckpt_hdr h;
	__s32 objref;
	__u32 seals;
	__u64 size;
	__s64 mtime;
	__u32 uid;
	__u32 gid;
	__u32 mode;
	__u32 name_len;
	char  name[];
};

/**
 * struct ckpt_rec_pipe - a pipe or a fifo
 * @objref:	its number
 * @slots:	how many pieces it has room for, a power of two: its capacity in pages
 * @nr_bufs:	number of PIPE_BUF records that follow
 * @uid, @gid:	owner of a pipe; a fifo's is that of its name
 * @mode:	permissions of a pipe
 * @atime, @mtime: when a pipe was read and written last, in ns of CLOCK_REALTIME
 * @cred:	objref of the credentials of whoever made it, or opened it
 * @path_len:	bytes of @path with its terminating zero; 0 of a pipe
 * @path:	of a fifo: absolute path below the root task's root, padded with zeros
 */
struct ckpt_rec_pipe {
	struct ckpt_hdr h;
	__s32 objref;
	__u32 slots;
	__u32 nr_bufs;
	__u32 uid;
	__u32 gid;
	__u32 mode;
	__s64 atime;
	__s64 mtime;
	__s32 cred;
	__u32 path_len;
	char  path[];
};

/**
 * struct ckpt_rec_pipe_buf - a piece of what is in a pipe, the oldest first
 * @objref:	the pipe
 * @offset:	where it begins in its page; what is behind it is room for more
 * @len:	bytes of @data
 * @flags:	CKPT_PIPE_BUF_*
 * @data:	the bytes, padded with zeros
 */
struct ckpt_rec_pipe_buf {
	struct ckpt_hdr h;
	__s32 objref;
	__u32 offset;
	__u32 len;
	__u32 flags;
	__u8  data[];
};

#define CKPT_PIPE_BUF_PACKET	0x1	/* one read(2) gets it, and nothing else */
#define CKPT_PIPE_BUF_MERGE	0x2	/* the next write(2) may go on in its page */

/**
 * struct ckpt_rec_timerfd - the timer of the FILE that follows
 * @objref:	that of the FILE
 * @clock:	clockid_t
 * @flags:	CKPT_TIMERFD_*
 * @settime_flags: TFD_TIMER_* of the last timerfd_settime(2)
 * @ticks:	expirations that read(2) has not told yet
 * @time_left:	nanoseconds until it expires, or when, where @flags say so; below 0 if it has
 *		expired, 0 if it is not armed
 * @interval:	nanoseconds between two expirations, 0 for one
 */
struct ckpt_rec_timerfd {
	struct ckpt_hdr h;
	__s32 objref;
	__s32 clock;
	__u32 flags;
	__u32 settime_flags;
	__u64 ticks;
	__s64 time_left;
	__s64 interval;
};

#define CKPT_TIMERFD_ARMED	0x1	/* it is running */
#define CKPT_TIMERFD_ABSOLUTE	0x2	/* time_left is a point on CLOCK_REALTIME */
#define CKPT_TIMERFD_EXPIRED	0x4	/* it has expired since it was set or read */
#define CKPT_TIMERFD_CANCELED	0x8	/* the clock was set, which read(2) has yet to tell */
#define CKPT_TIMERFD_ALL	0xf

/**
 * struct ckpt_rec_epoll - what an epoll set watches
 * @objref:	that of its FILE
 * @nr_items:	number of EPOLL_ITEM records that follow
 * @busy_poll_usecs, @busy_poll_budget, @prefer_busy_poll: as EPIOCGPARAMS shows them
 */
struct ckpt_rec_epoll {
	struct ckpt_hdr h;
	__s32 objref;
	__u32 nr_items;
	__u32 busy_poll_usecs;
	__u16 busy_poll_budget;
	__u8  prefer_busy_poll;
	__u8  pad;
};

/**
 * struct ckpt_rec_epoll_item - a file that an epoll set watches; ready ones first, in their order
 * @file:	objref of the FILE
 * @fd:		what it is called in the set; no descriptor need have that number any more
 * @events:	EPOLL*, as the set has them: EPOLLERR and EPOLLHUP are always there, but of an
 *		EPOLLONESHOT that has told
 * @flags:	CKPT_EPOLL_*
 * @data:	what epoll_wait(2) returns with it
 * @sighand:	of a signalfd: objref of the SIGHAND of the task whose signals it tells of, 0 when
 *		that task is gone
 */
struct ckpt_rec_epoll_item {
	struct ckpt_hdr h;
	__s32 file;
	__s32 fd;
	__u32 events;
	__u32 flags;
	__u64 data;
	__s32 sighand;
	__u32 pad;
};

#define CKPT_EPOLL_READY	0x1	/* epoll_wait(2) will look whether it has to tell of it */

/* Whose a lock is */
enum ckpt_lock_kind {
	CKPT_LOCK_FLOCK	= 1,	/* the open file's, of flock(2) */
	CKPT_LOCK_POSIX	= 2,	/* the table's, of fcntl(F_SETLK) */
	CKPT_LOCK_OFD	= 3,	/* the open file's, of fcntl(F_OFD_SETLK) */
};

/**
 * struct ckpt_rec_lock - a lock on a file
 * @file:	objref of the FILE
 * @owner:	CKPT_LOCK_POSIX: objref of the FILES, otherwise 0
 * @kind:	enum ckpt_lock_kind
 * @flags:	CKPT_LOCK_*
 * @start, @end: first and last byte; from 0 to the largest offset of CKPT_LOCK_FLOCK
 * @pid:	the process that has asked for it, 0 if it is gone, and of CKPT_LOCK_OFD
 */
struct ckpt_rec_lock {
	struct ckpt_hdr h;
	__s32 file;
	__s32 owner;
	__u32 kind;
	__u32 flags;
	__s64 start;
	__s64 end;
	__s32 pid;
	__u32 pad;
};

#define CKPT_LOCK_EXCLUSIVE	0x1	/* it keeps out others who would share it */

/**
 * struct ckpt_rec_lease - a lease on a file
 * @file:	objref of the FILE
 * @pid:	the process that has asked for it, 0 if it is gone
 * @flags:	CKPT_LEASE_*
 * @fd:		what the signal tells of
 * @break_left, @downgrade_left: ns until the lease is taken away, or shared with readers; -1 is never
 */
struct ckpt_rec_lease {
	struct ckpt_hdr h;
	__s32 file;
	__s32 pid;
	__u32 flags;
	__s32 fd;
	__s64 break_left;
	__s64 downgrade_left;
};

#define CKPT_LEASE_EXCLUSIVE	0x1	/* F_WRLCK: also who opens it for reading is told of */
#define CKPT_LEASE_UNLOCK	0x2	/* the holder was told to give it up */
#define CKPT_LEASE_DOWNGRADE	0x4	/* the holder was told to let others read */

/**
 * struct ckpt_rec_owner - who gets a signal when an open file is ready
 * @file:	objref of the FILE
 * @flags:	CKPT_OWNER_*
 * @kind:	F_OWNER_*
 * @pid:	the task, process or process group, 0 if there is none or it is gone
 * @uid, @euid:	who has set it, as F_GETOWNER_UIDS shows them
 * @signal:	the signal, 0 is SIGIO without details
 * @fd:		what the signal tells of: of a pipe or a fifo with CKPT_OWNER_ASYNC, otherwise -1
 */
struct ckpt_rec_owner {
	struct ckpt_hdr h;
	__s32 file;
	__u32 flags;
	__u32 kind;
	__s32 pid;
	__u32 uid;
	__u32 euid;
	__u32 signal;
	__s32 fd;
};

#define CKPT_OWNER_ASYNC	0x1	/* O_ASYNC: signals are sent */

/**
 * struct ckpt_rec_unlinked - a file on tmpfs that has no name any more
 * @objref:	its number
 * @flags:	CKPT_UNLINKED_*
 * @size:	bytes
 * @mtime:	when it was last written to, in ns of CLOCK_REALTIME
 * @uid, @gid:	its owner
 * @mode:	permissions
 * @path_len:	bytes of @path with its terminating zero
 * @path:	where it was, below the root task's root, padded with zeros
 */
struct ckpt_rec_unlinked {
	struct ckpt_hdr h;
	__s32 objref;
	__u32 flags;
	__u64 size;
	__s64 mtime;
	__u32 uid;
	__u32 gid;
	__u32 mode;
	__u32 path_len;
	char  path[];
};

#define CKPT_UNLINKED_LINKABLE	0x1	/* O_TMPFILE without O_EXCL: linkat(2) may give it a name */

/* Ends shared memory, a file of memory or one without a name; @objref is 0 for a NODE. */
struct ckpt_rec_shmem_end {
	struct ckpt_hdr h;
	__s32 objref;
	__u32 pad;
};

enum ckpt_vma_kind {
	CKPT_VMA_ANON	= 1,	/* private anonymous memory */
	CKPT_VMA_FILE	= 2,	/* mapping of a file */
	CKPT_VMA_VDSO	= 3,	/* the vdso's code */
	CKPT_VMA_VVAR	= 4,	/* the vdso's data */
	CKPT_VMA_SHMEM	= 5,	/* shared anonymous memory */
};

#define CKPT_VMA_READ		0x001
#define CKPT_VMA_WRITE		0x002
#define CKPT_VMA_EXEC		0x004
#define CKPT_VMA_MAYREAD	0x008
#define CKPT_VMA_MAYWRITE	0x010
#define CKPT_VMA_MAYEXEC	0x020
#define CKPT_VMA_GROWSDOWN	0x040
#define CKPT_VMA_NORESERVE	0x080
#define CKPT_VMA_ACCOUNT	0x100	/* for information */
#define CKPT_VMA_STACK		0x200	/* MAP_STACK: keep it from huge pages */
#define CKPT_VMA_SHARED		0x400	/* MAP_SHARED */
#define CKPT_VMA_DONTFORK	0x800	/* madvise(2): MADV_DONTFORK ... */
#define CKPT_VMA_WIPEONFORK	0x1000	/* ... MADV_WIPEONFORK ... */
#define CKPT_VMA_DONTDUMP	0x2000	/* ... MADV_DONTDUMP ... */
#define CKPT_VMA_SEQUENTIAL	0x4000	/* ... MADV_SEQUENTIAL ... */
#define CKPT_VMA_RANDOM		0x8000	/* ... MADV_RANDOM ... */
#define CKPT_VMA_HUGEPAGE	0x10000	/* ... MADV_HUGEPAGE */
#define CKPT_VMA_LOCKED		0x20000	/* mlock(2) ... */
#define CKPT_VMA_LOCKONFAULT	0x40000	/* ... and MLOCK_ONFAULT */
#define CKPT_VMA_SEALED		0x80000	/* mseal(2) */
#define CKPT_VMA_MERGEABLE	0x100000 /* MADV_MERGEABLE */

#define CKPT_VMA_NAME_LEN	80

/**
 * struct ckpt_rec_vma - one mapping of the MM before it, in address order
 * @kind:	enum ckpt_vma_kind
 * @flags:	CKPT_VMA_*
 * @start, @end: first address and the one behind the last
 * @pgoff:	offset in the file in pages, 0 where there is none
 * @file:	objref of the mapped file or shared memory, or 0
 * @pkey:	its protection key
 * @name:	what PR_SET_VMA_ANON_NAME called it, or empty
 */
struct ckpt_rec_vma {
	struct ckpt_hdr h;
	__u32 kind;
	__u32 flags;
	__u64 start;
	__u64 end;
	__u64 pgoff;
	__s32 file;
	__u32 pkey;
	char  name[CKPT_VMA_NAME_LEN];
};

/**
 * struct ckpt_rec_pages - a run of pages of the MM or SHMEM before it
 * @start:	first address, in shared memory the offset in bytes
 * @nr_pages:	pages whose contents follow
 *
 * Runs are in rising order and lie in one mapping.  What no run covers is a
 * hole: memory never touched, private memory that is all zero, file pages that
 * were never written.
 */
struct ckpt_rec_pages {
	struct ckpt_hdr h;
	__u64 start;
	__u32 nr_pages;
	__u32 pad;
};

#define CKPT_PAGES_MAX_BYTES	0x100000U	/* of one run */

#define CKPT_LDT_ENTRIES_MAX	8192

/* The local descriptor table of the MM before it, of x86: what modify_ldt(2) has put into it. */
struct ckpt_rec_ldt {
	struct ckpt_hdr h;
	__u32 nr_entries;
	__u32 pad;
	__u64 entries[];	/* as the processor reads them, from the first on */
};

/* Ends an MM. */
struct ckpt_rec_mm_end {
	struct ckpt_hdr h;
	__s32 objref;
	__u32 pad;
};

#define CKPT_UTS_NAME_LEN	72	/* with its terminating zero, and padded with zeros */

/* A uts namespace.  What else uname(2) says is the kernel's. */
struct ckpt_rec_uts_ns {
	struct ckpt_hdr h;
	__s32 objref;
	__u32 pad;
	char  nodename[CKPT_UTS_NAME_LEN];
	char  domainname[CKPT_UTS_NAME_LEN];
};

/**
 * struct ckpt_rec_ipc_ns - an ipc namespace, which is empty: its limits
 * @objref:	its number
 * @shmmax:	bytes of a segment, at most
 * @shmall:	pages of all segments, at most
 * @shmmni:	segments, at most
 * @shm_rmid_forced: 1 if segments go with their last user
 * @msgmax:	bytes of a message, at most
 * @msgmnb:	bytes of a queue, at most
 * @msgmni:	queues, at most
 * @semmsl:	semaphores of a set, at most
 * @semmns:	semaphores of all sets, at most
 * @semopm:	operations of one semop(2), at most
 * @semmni:	sets, at most
 * @mq_queues_max: POSIX queues, at most
 * @mq_msg_max:	messages that a POSIX queue of the unprivileged may hold
 * @mq_msgsize_max: bytes of such a message, at most
 * @mq_msg_default, @mq_msgsize_default: of a queue that is made without attributes
 */
struct ckpt_rec_ipc_ns {
	struct ckpt_hdr h;
	__s32 objref;
	__u32 pad;
	__u64 shmmax;
	__u64 shmall;
	__u32 shmmni;
	__u32 shm_rmid_forced;
	__u32 msgmax;
	__u32 msgmnb;
	__u32 msgmni;
	__u32 semmsl;
	__u32 semmns;
	__u32 semopm;
	__u32 semmni;
	__u32 mq_queues_max;
	__u32 mq_msg_max;
	__u32 mq_msgsize_max;
	__u32 mq_msg_default;
	__u32 mq_msgsize_default;
};

/**
 * struct ckpt_rec_time_ns - a time namespace
 * @objref:	its number
 * @monotonic:	CLOCK_MONOTONIC in it, in nanoseconds
 * @boottime:	CLOCK_BOOTTIME in it, in nanoseconds
 */
struct ckpt_rec_time_ns {
	struct ckpt_hdr h;
	__s32 objref;
	__u32 pad;
	__s64 monotonic;
	__s64 boottime;
};

/* An instruction of classic BPF, as struct sock_filter */
struct ckpt_insn {
	__u16 code;
	__u8  jt;
	__u8  jf;
	__u32 k;
};

/**
 * struct ckpt_rec_seccomp - a filter on system calls
 * @objref:	its number
 * @before:	objref of the filter that was there before, or 0
 * @flags:	CKPT_SECCOMP_*
 * @nr_insns:	instructions that follow
 */
struct ckpt_rec_seccomp {
	struct ckpt_hdr h;
	__s32 objref;
	__s32 before;
	__u32 flags;
	__u32 nr_insns;
	struct ckpt_insn insns[];
};

#define CKPT_SECCOMP_LOG	0x1	/* SECCOMP_FILTER_FLAG_LOG */

/**
 * struct ckpt_rec_error - last record of an image whose checkpoint failed
 * @error:	positive errno
 * @pid:	task, or 0
 * @objref:	object, or 0
 * @text_len:	bytes of @text with its terminating zero
 * @text:	the line that went to the log, padded with zeros
 */
struct ckpt_rec_error {
	struct ckpt_hdr h;
	__s32 error;
	__s32 pid;
	__s32 objref;
	__u32 text_len;
	char  text[];
};

/**
 * struct ckpt_rec_trailer - last record of an image
 * @magic:	CKPT_MAGIC without its terminating zero
 * @bytes:	bytes of the image before this record
 * @checksum:	xxh64, seed 0, of those bytes
 */
struct ckpt_rec_trailer {
	struct ckpt_hdr h;
	__u8  magic[8];
	__u64 bytes;
	__u64 checksum;
};

#endif /* _UAPI_LINUX_CHECKPOINT_H */
