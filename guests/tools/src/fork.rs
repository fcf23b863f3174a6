//! `clone3(2)` as a fork: with a chosen pid, in new namespaces, in a cgroup.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Namespaces that a child gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// Those of its parent.
    Inherited,
    /// Its own pid, ipc, uts and mount namespaces; it is PID 1 there.
    Container,
}

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Mounts.
    Mount,
    /// Network devices, addresses and ports.
    Network,
    /// Host and domain name.
    Uts,
    /// Users and capabilities.
    User,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Pids: the child is PID 1, with mounts and a `/proc` of its own.
    Pid,
    /// Offsets of the monotonic and the boot-time clock.
    Time,
    /// What the child sees of the cgroup hierarchy. Its root is the child's cgroup, which may not be that of its parent, so the
    /// namespace is made by [`crate::container::enter`] and not by the fork.
    Cgroup,
}

/// `CLONE_NEWTIME`, which libc does not have.
const CLONE_NEWTIME: u64 = 0x80;

impl Kind {
    /// Its `CLONE_NEW...` flag.
    fn flag(self) -> u64 {
        match self {
            Self::Mount => flag(libc::CLONE_NEWNS),
            Self::Network => flag(libc::CLONE_NEWNET),
            Self::Uts => flag(libc::CLONE_NEWUTS),
            Self::User => flag(libc::CLONE_NEWUSER),
            Self::Ipc => flag(libc::CLONE_NEWIPC),
            Self::Pid => flag(libc::CLONE_NEWPID | libc::CLONE_NEWNS),
            Self::Time => CLONE_NEWTIME,
            Self::Cgroup => flag(libc::CLONE_NEWCGROUP),
        }
    }
}

/// Namespaces of its own that a child gets beside those of [`Namespaces`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Private(u64);

impl Private {
    /// These, and one of this kind if it is wanted.
    #[must_use]
    pub fn with(self, kind: Kind, wanted: bool) -> Self {
        Self(self.0 | if wanted { kind.flag() } else { 0 })
    }

    /// Is one of this kind among them?
    pub fn has(self, kind: Kind) -> bool {
        self.0 & kind.flag() == kind.flag()
    }
}

/// How to fork.
#[derive(Clone, Copy, Debug)]
pub struct Fork<'a> {
    /// Namespaces of the child.
    pub namespaces: Namespaces,
    /// More of them.
    pub private: Private,
    /// It is the init of a pid namespace of its own, and has nothing else of its own for that.
    pub init: bool,
    /// Its pids, in its own pid namespace first, then in those above; any free ones where none are said.
    pub pids: &'a [i32],
    /// A folder of the cgroup v2 hierarchy that it is born in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// It is no child of the caller's, but of the caller's parent.
    pub sibling: bool,
}

impl Fork<'_> {
    /// As `fork(2)` does it.
    pub const PLAIN: Self = Self {
        namespaces: Namespaces::Inherited,
        private: Private(0),
        init: false,
        pids: &[],
        cgroup: None,
        sibling: false,
    };
}

/// Who returns from [`fork`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forked {
    /// The caller, with the pid of its child in its own pid namespace.
    Parent(i32),
    /// The child.
    Child,
}

/// `struct clone_args` of linux/sched.h, 88 bytes.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// `CLONE_INTO_CGROUP`, which does not fit the `c_int` that libc gives the other flags.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

fn flag(flag: libc::c_int) -> u64 {
    u64::from(flag.cast_unsigned())
}

/// Fork; the child's memory is a copy of the caller's, and its parent gets SIGCHLD when it ends, or what the caller's end would send.
///
/// No memory is allocated. Errors: `EEXIST` where the pid is taken, `EINVAL` where it is beyond `pid_max`, `EPERM`, `EAGAIN`, `ENOMEM`.
///
/// # Safety
/// The caller has one thread, or its child only calls what is async-signal-safe: a lock that another thread held would stay locked in it.
pub unsafe fn fork(how: &Fork<'_>) -> io::Result<Forked> {
    let mut args = CloneArgs::default();
    if how.sibling {
        args.flags |= flag(libc::CLONE_PARENT);
    } else {
        args.exit_signal = flag(libc::SIGCHLD);
    }
    if how.namespaces == Namespaces::Container {
        args.flags |=
            flag(libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWNS);
    }
    args.flags |= how.private.0 & !Kind::Cgroup.flag();
    if how.init {
        args.flags |= flag(libc::CLONE_NEWPID);
    }
    if !how.pids.is_empty() {
        args.set_tid = how.pids.as_ptr() as u64;
        args.set_tid_size = how.pids.len() as u64;
    }
    if let Some(cgroup) = how.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // SAFETY: args and the pids it points to live until the call returns; no stack is given, so the child goes on with a copy of this one.
    let ret = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    match ret {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => i32::try_from(pid)
            .map(Forked::Parent)
            .map_err(|_| io::Error::other(format!("clone3 returned {pid}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_namespace_comes_with_a_mount_namespace() {
        let pid = Private::default().with(Kind::Pid, true);
        assert!(pid.has(Kind::Mount) && pid.has(Kind::Pid));
        let mount = Private::default().with(Kind::Mount, true);
        assert!(mount.has(Kind::Mount) && !mount.has(Kind::Pid));
        assert_eq!(mount.with(Kind::User, false), mount);
    }
}
