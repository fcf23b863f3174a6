//! What to do about an error of the kernel.

use std::io;

const NO_KERNEL: &str =
    "this kernel has no checkpoint/restart: boot one that was built with CONFIG_CHECKPOINT=y";

/// For `checkpoint(2)`.
pub fn checkpoint(error: &io::Error) -> Option<&'static str> {
    Some(match error.raw_os_error()? {
        libc::ENOSYS => NO_KERNEL,
        libc::EBUSY => {
            "freeze the cgroup of the tree first (write 1 to its cgroup.freeze and wait for `frozen 1` in cgroup.events), \
             and let its tasks close what the log names"
        }
        libc::EAGAIN => "the tree was thawed or woken meanwhile: freeze it and try again",
        libc::EPERM => {
            "the caller must be allowed to trace each task of the tree: run it as root, or with CAP_SYS_PTRACE"
        }
        libc::ESRCH => "there is no such task: give the pid that it has in this pid namespace",
        libc::EINVAL => {
            "without --container the root may be any process; with it, it must be the init of a pid namespace"
        }
        libc::ENOSPC => "the file system of the image is full",
        libc::EPIPE => "the reader of the image went away",
        libc::EBADF => "the descriptors for the image and the log must be open for writing",
        _ => return None,
    })
}

/// For `restart(2)`.
pub fn restart(error: &io::Error) -> Option<&'static str> {
    Some(match error.raw_os_error()? {
        libc::ENOSYS => NO_KERNEL,
        libc::EINVAL => {
            "the image is damaged, or was made by another kernel or on another architecture: `cargo xtask image show` tells"
        }
        libc::EPERM => {
            "run it as root, or with CAP_CHECKPOINT_RESTORE and CAP_SYS_ADMIN; \
             what was in a user namespace needs one: --map-users and --map-groups"
        }
        libc::ENOENT => "the files that the tasks had open must be where they were",
        libc::EINTR => "a signal came: start it again",
        libc::ENOMEM => "there is not enough memory for the tree",
        libc::EBADF => {
            "the descriptor of the image must be open for reading, that of the log for writing"
        }
        _ => return None,
    })
}

/// For the mounts of a tree.
pub fn mount(error: &io::Error) -> Option<&'static str> {
    Some(match error.raw_os_error()? {
        libc::ENOENT => {
            "the folders that things are mounted on, and those that are bound, must be where they were"
        }
        libc::EPERM => {
            "that takes CAP_SYS_ADMIN in the user namespace of the tree: run it as root, or with --map-users; devices in a tmpfs take root"
        }
        libc::EINVAL => {
            "what the tree had unmounted or changed must be mounted here, too; in a user namespace folders cannot be bound without what is mounted in them, and owners of files in a tmpfs must be mapped"
        }
        _ => return None,
    })
}

/// For the maps of a user namespace.
pub fn map(error: &io::Error) -> Option<&'static str> {
    Some(match error.raw_os_error()? {
        libc::EPERM => {
            "that takes CAP_SETUID and CAP_SETGID, and each id must be one of the caller's user namespace"
        }
        libc::EINVAL => "ranges must not overlap, and be few",
        _ => return None,
    })
}

/// For `clone3(2)` with a chosen pid.
pub fn fork(error: &io::Error) -> Option<&'static str> {
    Some(match error.raw_os_error()? {
        libc::EEXIST => {
            "that pid is taken: end the task that has it, or restart with --container if the image is a container's, else with --no-pids"
        }
        libc::EINVAL => {
            "that pid is beyond /proc/sys/kernel/pid_max: raise it; pid 1 needs --container"
        }
        libc::EPERM => {
            "run it as root, or with CAP_CHECKPOINT_RESTORE and CAP_SYS_ADMIN; a subtree may have other pids (--no-pids)"
        }
        libc::ENOSYS => "this kernel has no clone3(2) with set_tid: it must be 5.5 or later",
        libc::EAGAIN => {
            "the limit of processes is reached: see ulimit -u and pids.max of the cgroup"
        }
        libc::EBUSY => {
            "a cgroup whose cgroup.subtree_control names controllers takes no processes: empty that file until the tree is there, \
             or name another cgroup"
        }
        _ => return None,
    })
}

/// For `clone3(2)` with namespaces that were asked for one by one, and for making them ready.
pub fn launch(error: &io::Error) -> Option<&'static str> {
    Some(match error.raw_os_error()? {
        libc::EPERM => "run it as root, or with --user as well",
        libc::EEXIST => "that pid is taken: end the task that has it, or choose another",
        libc::EINVAL => {
            "that pid is beyond /proc/sys/kernel/pid_max, or this kernel was built without one of the namespaces"
        }
        libc::ENOSPC => "the limit of namespaces is reached: see /proc/sys/user/max_*_namespaces",
        _ => return fork(error),
    })
}
