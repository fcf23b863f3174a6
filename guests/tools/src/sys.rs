//! The system calls `checkpoint` and `restart`, whose numbers are the same on every architecture.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, c_long, c_ulong};

/// Number of `checkpoint(2)`.
pub const SYS_CHECKPOINT: c_long = 500;

/// Number of `restart(2)`.
pub const SYS_RESTART: c_long = 501;

/// `CHECKPOINT_SUBTREE` of linux/checkpoint.h.
const SUBTREE: c_ulong = 1;
/// `RESTART_MEMBER` of linux/checkpoint.h.
const MEMBER: c_ulong = 1;
/// `RESTART_FROZEN` of linux/checkpoint.h.
const FROZEN: c_ulong = 2;
/// `RESTART_NEW_PIDS` of linux/checkpoint.h.
const NEW_PIDS: c_ulong = 4;

/// What the root of a tree that is checkpointed has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Init of a container: whole, and nothing shared with the outside.
    Container,
    /// Any task; references from outside are allowed.
    Subtree,
}

/// How the restarted tasks are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// They run on.
    Running,
    /// Their cgroup is frozen.
    Frozen,
}

/// What the restarted tasks are called in the pid namespace of their root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pids {
    /// What the image calls them; who forks them must be allowed to choose that.
    Image,
    /// Whatever is free.
    New,
}

fn check(ret: c_long) -> io::Result<c_long> {
    if ret == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(ret)
    }
}

fn raw(fd: Option<BorrowedFd<'_>>) -> c_int {
    fd.map_or(-1, |fd| fd.as_raw_fd())
}

/// Write the state of the frozen tree below `pid` (0: of the caller) to `image`.
///
/// Returns the checkpoint's id, or 0 in a task that wrote itself and was restarted.
/// Errors are those of the kernel: `EBUSY` for what is not frozen or cannot be carried, `EPERM`, `ESRCH`, `EINVAL`, `ENOSYS`.
pub fn checkpoint(
    pid: i32,
    image: BorrowedFd<'_>,
    scope: Scope,
    log: Option<BorrowedFd<'_>>,
) -> io::Result<u32> {
    let flags = match scope {
        Scope::Container => 0,
        Scope::Subtree => SUBTREE,
    };
    // SAFETY: the system call takes numbers only, and reads no memory of the caller's but through its own page tables.
    let id = check(unsafe {
        libc::syscall(
            SYS_CHECKPOINT,
            c_long::from(pid),
            c_long::from(image.as_raw_fd()),
            flags,
            c_long::from(raw(log)),
        )
    })?;
    u32::try_from(id).map_err(|_| io::Error::other(format!("checkpoint returned {id}")))
}

/// Coordinate the restart of the tree of waiting members below `root`, a child of the caller.
///
/// On an error the kernel has killed all members.
pub fn restart(
    root: i32,
    image: BorrowedFd<'_>,
    leave: Leave,
    pids: Pids,
    log: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let leave = match leave {
        Leave::Running => 0,
        Leave::Frozen => FROZEN,
    };
    let pids = match pids {
        Pids::Image => 0,
        Pids::New => NEW_PIDS,
    };
    // SAFETY: the system call takes numbers only.
    check(unsafe {
        libc::syscall(
            SYS_RESTART,
            c_long::from(root),
            c_long::from(image.as_raw_fd()),
            leave | pids,
            c_long::from(raw(log)),
        )
    })?;
    Ok(())
}

/// Become the task that the image calls `pid`; returns only if the kernel does not take the caller.
///
/// No memory is allocated.
pub fn restart_member(pid: i32) -> io::Error {
    // SAFETY: the system call takes numbers only; where it succeeds the caller's memory is replaced and nothing of this program runs on.
    unsafe {
        libc::syscall(
            SYS_RESTART,
            c_long::from(pid),
            c_long::from(-1),
            MEMBER,
            c_long::from(-1),
        )
    };
    io::Error::last_os_error()
}
