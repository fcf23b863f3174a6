// SPDX-License-Identifier: GPL-2.0-only
/*
 * The two tables: what each type of record is, and what each kind of shared
 * object is.  A new kind of state begins with a row here.
 */
#include <linux/checkpoint.h>
#include <linux/init.h>

#include "internal.h"

#define RECORD(_type, _struct, ...)					\
	[CKPT_REC_##_type] = {						\
		.name = #_type,						\
		.fixed = sizeof(struct _struct),			\
		__VA_ARGS__						\
	}

const struct ckpt_record_ops ckpt_record_ops[CKPT_REC_MAX + 1] = {
	RECORD(HEADER, ckpt_rec_header),
	RECORD(TREE, ckpt_rec_tree, .variable = true),
	RECORD(TASK, ckpt_rec_task, .restore = ckpt_task_restore),
	RECORD(TASK_OBJS, ckpt_rec_task_objs, .restore = ckpt_task_objs_restore),
	RECORD(TASK_END, ckpt_rec_task_end, .restore = ckpt_task_end_restore),
	RECORD(RLIMITS, ckpt_rec_rlimits, .restore = ckpt_rlimits_restore),
	RECORD(SIGNALS, ckpt_rec_signals, .restore = ckpt_signals_restore),
	RECORD(RESTART_BLOCK, ckpt_rec_restart_block, .restore = ckpt_restart_block_restore),
	RECORD(CPU, ckpt_rec_cpu, .restore = ckpt_cpu_restore),
	RECORD(REGSET, ckpt_rec_regset, .variable = true, .restore = ckpt_regset_restore),
	RECORD(FILE, ckpt_rec_file, .variable = true, .restore = ckpt_file_restore),
	RECORD(FILES, ckpt_rec_files, .variable = true, .restore = ckpt_files_restore),
	RECORD(FS, ckpt_rec_fs, .variable = true, .restore = ckpt_fs_restore),
	RECORD(SIGHAND, ckpt_rec_sighand, .restore = ckpt_sighand_restore),
	RECORD(CRED, ckpt_rec_cred, .variable = true, .restore = ckpt_cred_restore),
	RECORD(MM, ckpt_rec_mm, .variable = true, .restore = ckpt_mm_restore),
	RECORD(VMA, ckpt_rec_vma, .restore = ckpt_vma_restore),
	RECORD(PAGES, ckpt_rec_pages, .payload = true, .restore = ckpt_pages_restore),
	RECORD(LDT, ckpt_rec_ldt, .variable = true, .restore = ckpt_ldt_restore),
	RECORD(MM_END, ckpt_rec_mm_end, .restore = ckpt_mm_end_restore),
	RECORD(ERROR, ckpt_rec_error, .variable = true),
	RECORD(TRAILER, ckpt_rec_trailer),
	RECORD(EXIT, ckpt_rec_exit, .restore = ckpt_exit_restore),
	RECORD(PENDING, ckpt_rec_pending, .variable = true, .restore = ckpt_pending_restore),
	RECORD(ITIMERS, ckpt_rec_itimers, .restore = ckpt_itimers_restore),
	RECORD(ATTRIBUTES, ckpt_rec_attributes, .restore = ckpt_attributes_restore),
	RECORD(POSIX_TIMERS, ckpt_rec_posix_timers, .variable = true,
	       .restore = ckpt_posix_timers_restore),
	RECORD(SHMEM, ckpt_rec_shmem, .restore = ckpt_shmem_restore),
	RECORD(SHMEM_END, ckpt_rec_shmem_end, .restore = ckpt_shmem_end_restore),
	RECORD(UTS_NS, ckpt_rec_uts_ns, .restore = ckpt_uts_ns_restore),
	RECORD(IPC_NS, ckpt_rec_ipc_ns, .restore = ckpt_ipc_ns_restore),
	RECORD(TIME_NS, ckpt_rec_time_ns, .restore = ckpt_time_ns_restore),
	RECORD(SECCOMP, ckpt_rec_seccomp, .variable = true, .restore = ckpt_seccomp_restore),
	RECORD(MEMFD, ckpt_rec_memfd, .variable = true, .restore = ckpt_memfd_restore),
	RECORD(PID_NS, ckpt_rec_pid_ns, .variable = true),
	RECORD(USAGE, ckpt_rec_usage, .restore = ckpt_usage_restore),
	RECORD(CGROUP, ckpt_rec_cgroup),
	RECORD(MOUNT, ckpt_rec_mount, .variable = true),
	RECORD(NODE, ckpt_rec_node, .variable = true),
	RECORD(PIPE, ckpt_rec_pipe, .variable = true, .restore = ckpt_pipe_restore),
	RECORD(PIPE_BUF, ckpt_rec_pipe_buf, .variable = true, .restore = ckpt_pipe_buf_restore),
	RECORD(TIMERFD, ckpt_rec_timerfd, .restore = ckpt_timerfd_restore),
	RECORD(EPOLL, ckpt_rec_epoll, .restore_rest = ckpt_epoll_restore),
	RECORD(EPOLL_ITEM, ckpt_rec_epoll_item),
	RECORD(LOCK, ckpt_rec_lock, .restore_rest = ckpt_lock_restore),
	RECORD(OWNER, ckpt_rec_owner, .restore_rest = ckpt_owner_restore),
	RECORD(LEASE, ckpt_rec_lease, .restore_rest = ckpt_lease_restore),
	RECORD(UNLINKED, ckpt_rec_unlinked, .variable = true, .restore = ckpt_unlinked_restore),
};

const struct ckpt_obj_ops ckpt_obj_ops[CKPT_OBJ_MAX] = {
	[CKPT_OBJ_FILE] = {
		.name	= "file",
		.whole	= ckpt_file_is_whole,
		.grab	= ckpt_file_grab,
		.drop	= ckpt_file_drop,
		.users	= ckpt_file_users,
	},
	[CKPT_OBJ_FILES] = {
		.name	= "descriptor table",
		.grab	= ckpt_files_grab,
		.drop	= ckpt_files_drop,
		.users	= ckpt_files_users,
	},
	[CKPT_OBJ_FS] = {
		.name	= "fs context",
		.grab	= ckpt_fs_grab,
		.drop	= ckpt_fs_drop,
		.users	= ckpt_fs_users,
	},
	[CKPT_OBJ_SIGHAND] = {
		.name	= "signal action table",
		.grab	= ckpt_sighand_grab,
		.drop	= ckpt_sighand_drop,
		.users	= ckpt_sighand_users,
	},
	[CKPT_OBJ_CRED] = {
		.name	= "set of credentials",
		.grab	= ckpt_cred_grab,
		.drop	= ckpt_cred_drop,
	},
	[CKPT_OBJ_MM] = {
		.name	= "address space",
		.grab	= ckpt_mm_grab,
		.drop	= ckpt_mm_drop,
		.users	= ckpt_mm_users,
	},
	[CKPT_OBJ_SHMEM] = {
		/* A file, too, and counted as one. */
		.name	= "shared memory",
		.grab	= ckpt_file_grab,
		.drop	= ckpt_file_drop,
		.users	= ckpt_file_users,
	},
	[CKPT_OBJ_UTS_NS] = {
		.name	= "uts namespace",
		.grab	= ckpt_uts_ns_grab,
		.drop	= ckpt_uts_ns_drop,
	},
	[CKPT_OBJ_IPC_NS] = {
		.name	= "ipc namespace",
		.grab	= ckpt_ipc_ns_grab,
		.drop	= ckpt_ipc_ns_drop,
	},
	[CKPT_OBJ_TIME_NS] = {
		.name	= "time namespace",
		.grab	= ckpt_time_ns_grab,
		.drop	= ckpt_time_ns_drop,
	},
	[CKPT_OBJ_SECCOMP] = {
		.name	= "filter on system calls",
		.grab	= ckpt_seccomp_grab,
		.drop	= ckpt_seccomp_drop,
	},
	[CKPT_OBJ_MEMFD] = {
		.name	= "file of memory",
		.grab	= ckpt_memfd_grab,
		.drop	= ckpt_memfd_drop,
		.users	= ckpt_memfd_users,
	},
	[CKPT_OBJ_UNLINKED] = {
		.name	= "deleted file",
		.grab	= ckpt_unlinked_grab,
		.drop	= ckpt_unlinked_drop,
		.users	= ckpt_unlinked_users,
	},
	[CKPT_OBJ_PIPE] = {
		.name	= "pipe",
		.whole	= ckpt_pipe_is_whole,
		.grab	= ckpt_pipe_grab,
		.drop	= ckpt_pipe_drop,
		.users	= ckpt_pipe_users,
	},
	[CKPT_OBJ_PID_NS] = {
		.name	= "pid namespace",
		.grab	= ckpt_pid_ns_grab,
		.drop	= ckpt_pid_ns_drop,
	},
};

/* A type of record without a row would be an image that nobody can read. */
static int __init ckpt_check_tables(void)
{
	for (int i = 1; i <= CKPT_REC_MAX; i++)
		WARN_ON(!ckpt_record_ops[i].name || !IS_ALIGNED(ckpt_record_ops[i].fixed, 8));
	for (int i = 1; i < CKPT_OBJ_MAX; i++)
		WARN_ON(!ckpt_obj_ops[i].grab || !ckpt_obj_ops[i].drop);
	return 0;
}
late_initcall(ckpt_check_tables);
