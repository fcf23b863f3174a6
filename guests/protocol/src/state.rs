//! What the probe sees of a frozen tree.
//!
//! Values are the kernel's own text, volatile ones included: the harness normalises.
//! Pids are those of the tree's own pid namespace, 0 for a task outside of the tree.

use serde::{Deserialize, Serialize};

/// Names and values, in the kernel's order.
pub type Fields = Vec<(String, String)>;

/// The frozen tree as the probe saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Every thread of every process, and zombies, by pid.
    pub tasks: Vec<TaskState>,
    /// What belongs to the tree as a whole: mounts, files, locks, sockets, ipc objects, namespaces, the cgroup.
    pub objects: Vec<Object>,
}

/// One thing that is no task's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// `mount`, `file`, `lock`, `unix`, `shm`, ...
    pub kind: String,
    /// What tells it from others of its kind: a path, a number, an inode.
    pub name: String,
    /// What is known of it.
    pub fields: Fields,
}

/// What `/proc`, system calls and ptrace show of one frozen task.
///
/// What all threads of a process share is in its leader: arguments, limits, mappings, the auxiliary vector, timers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskState {
    /// Pid.
    pub pid: i32,
    /// Thread group: the pid of the leader.
    pub tgid: i32,
    /// Parent (0: outside the tree).
    pub ppid: i32,
    /// Process group (0: outside).
    pub pgid: i32,
    /// Session (0: outside).
    pub sid: i32,
    /// `comm`.
    pub comm: String,
    /// `cmdline`, arguments split.
    pub cmdline: Vec<String>,
    /// `environ`, split.
    pub environ: Vec<String>,
    /// `status`.
    pub status: Fields,
    /// `stat`, with the names of proc(5).
    pub stat: Fields,
    /// `limits`: name, soft, hard.
    pub limits: Vec<(String, String, String)>,
    /// Targets of `cwd`, `root`, `exe`.
    pub links: Fields,
    /// Small files of `/proc/PID` and what system calls say of another task.
    pub attributes: Fields,
    /// Targets of `ns/*`; `outside` where it is the agent's own.
    pub namespaces: Fields,
    /// What it shares with another task: `vm`, `files`, ... and the smallest pid that has the same one (kcmp).
    pub shares: Vec<(String, i32)>,
    /// POSIX timers, as `timers` shows them.
    pub timers: Vec<Fields>,
    /// Queued signals (`PTRACE_PEEKSIGINFO`).
    pub signals: Vec<SignalState>,
    /// Seccomp filters, newest first.
    pub filters: Vec<Filter>,
    /// Register sets (`PTRACE_GETREGSET`).
    pub registers: Vec<RegisterSet>,
    /// Mappings in address order.
    pub maps: Vec<MapState>,
    /// Descriptors in number order; of a thread only where it has a table of its own.
    pub fds: Vec<FdState>,
    /// `auxv`, key and value.
    pub auxv: Vec<(u64, u64)>,
}

/// A queued signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalState {
    /// The process's queue, or the thread's own.
    pub shared: bool,
    /// `si_signo`.
    pub number: i32,
    /// `si_code`.
    pub code: i32,
    /// `si_errno`.
    pub errno: i32,
    /// The rest of the siginfo as hex digits, zeros at the end left out.
    pub rest: String,
}

/// One set of registers, as ptrace and core dumps have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterSet {
    /// Type of the note, `NT_*` of linux/elf.h.
    pub note: u32,
    /// Size in bytes.
    pub size: u32,
    /// Words of 8 bytes that are not zero, in the guest's byte order: offset in bytes and value.
    pub words: Vec<(u32, u64)>,
}

/// One mapping with a hash of its contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapState {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// `rwxp` as shown.
    pub perms: String,
    /// Offset in the file.
    pub offset: u64,
    /// Path or name as shown, empty for anonymous memory.
    pub name: String,
    /// Device as shown and inode of the file, 0 for anonymous memory.
    pub file: (String, u64),
    /// Lines of `smaps` that are no counters of what is in memory.
    pub smaps: Fields,
    /// Hash of the contents as the task would read them; `None` where they cannot be read (vvar).
    ///
    /// xxh64, seed 0, over one pair for each page that is not all zero, in address order:
    /// the page's index in the mapping and the xxh64 of its bytes, each as a little-endian u64.
    /// So holes cost nothing, and a page of zeros is the same as a hole.
    pub hash: Option<u64>,
    /// Pages that are the task's own: those of anonymous memory that are not all zero,
    /// and those of a private file mapping that were written (`PAGEMAP_SCAN`).
    pub anon_pages: u64,
}

/// One descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdState {
    /// Number.
    pub fd: i32,
    /// `/proc/PID/fd/N`.
    pub link: String,
    /// `/proc/PID/fdinfo/N` (`pos`, `flags`, ...).
    pub info: Fields,
    /// What stat shows of the file.
    pub stat: Fields,
    /// What fcntl, ioctl and socket options show of the open file; at the first descriptor of an open file only.
    pub details: Fields,
    /// Smallest (pid, fd) of the tree that refers to the same open file (kcmp), so that sharing shows.
    pub same_as: (i32, i32),
}

/// A filter on system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Number of instructions.
    pub instructions: u32,
    /// xxh64 of the program.
    pub hash: u64,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u64,
}
