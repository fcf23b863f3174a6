//! What the harness and the guest's agent say to each other.
//!
//! The agent (PID 1 of the guest) listens on a virtio-serial port.
//! The harness sends one [`Request`] at a time and reads frames until the [`Reply`] that ends it.
//! A frame is a 16-byte header (see [`frame`]) and a postcard payload; both are the same bytes on every architecture.
//! Byte streams (files, images) travel as [`Reply::Chunk`] or [`Request::Chunk`] frames, an empty chunk ends the stream.

#![expect(
    missing_docs,
    reason = "the fields of a message are described with the message"
)]

pub mod frame;
mod state;

use serde::{Deserialize, Serialize};

pub use state::{
    FdState, Fields, Filter, MapState, Object, RegisterSet, SignalState, State, TaskState,
};

/// Raised whenever a message changes; both sides refuse another value.
pub const VERSION: u32 = 7;

/// Name of the virtio-serial port (`/sys/class/virtio-ports/*/name`).
pub const PORT_NAME: &str = "org.crossthaw.agent";

/// Largest payload of one frame, in bytes: the state of a tree of a thousand tasks.
pub const MAX_FRAME: usize = 16 << 20;

/// Size of one chunk of a byte stream, in bytes.
pub const CHUNK: usize = 256 << 10;

/// Slab caches of objects that belong to tasks, files, sockets, mounts and namespaces, which the agent counts in the debug flavor.
///
/// Those of general sizes are kmemleak's matter.
pub const COUNTED_CACHES: &[&str] = &[
    "UNIX",
    "anon_vma",
    "anon_vma_chain",
    "cred",
    "dnotify_mark",
    "dnotify_struct",
    "eventpoll_epi",
    "eventpoll_pwq",
    "fasync_cache",
    "file_lease_cache",
    "file_lock_cache",
    "file_lock_ctx",
    "files_cache",
    "filp",
    "fs_cache",
    "inotify_inode_mark",
    "mm_struct",
    "mnt_cache",
    "mqueue_inode_cache",
    "net_namespace",
    "nsproxy",
    "pid",
    "pid_2",
    "pid_3",
    "pid_namespace",
    "posix_timers_cache",
    "shmem_inode_cache",
    "sighand_cache",
    "signal_cache",
    "sigqueue",
    "sock_inode_cache",
    "task_struct",
    "time_namespace",
    "user_namespace",
    "uts_namespace",
    "vm_area_struct",
];

/// Where the scenario's folder, a tmpfs, is mounted in the guest; the workload starts in it.
pub const SCENARIO_DIR: &str = "/scenario";

/// Inside [`SCENARIO_DIR`]: created by the workload when its situation is built.
pub const READY_FILE: &str = ".ready";

/// Inside [`SCENARIO_DIR`]: the workload's checks, one a line: `ok NAME` or `FAIL NAME: DETAIL`; the last line is `done`.
pub const REPORT_FILE: &str = ".report";

/// In the guest: where images are kept, outside the scenario's folder (a tmpfs of its own).
pub const IMAGE_DIR: &str = "/images";

/// How the tree is separated from the rest of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enclosure {
    /// Own pid, ipc, uts and mount namespaces and a cgroup; the workload is PID 1 of its pid namespace.
    Container,
    /// A cgroup and a session only; checkpointed with `CHECKPOINT_SUBTREE`.
    Subtree,
}

/// What a tree has of its own beside its [`Enclosure`]; the same at the restart as at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surroundings {
    /// A mount namespace. A container has one in any case.
    pub mount: bool,
    /// A network namespace.
    pub network: bool,
    /// The scenario's folder is its root directory, with `/dev` and `/proc` mounted in it.
    pub rootfs: bool,
    /// Who does all of that.
    pub caller: Caller,
    /// What its tasks are called after the restart.
    pub pids: Pids,
}

/// The pids of restarted tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pids {
    /// Those that they had.
    #[default]
    Image,
    /// Others, as it comes.
    New,
}

/// Who starts, checkpoints and restarts a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Caller {
    /// Root.
    #[default]
    Root,
    /// A user without privileges, in a user namespace of their own, where they are root.
    Unprivileged,
    /// Root, of a tree in a user namespace of its own.
    Outside,
}

/// An allocation of a restart that is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Whose it is: a process of the image, or 0 for the task that coordinates.
    pub pid: i32,
    /// Which of those in its system call, from 1.
    pub nth: u32,
}

/// What somebody does to a tree that is being checkpointed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disturbance {
    /// Its cgroup is thawed, and frozen again.
    Thaw,
    /// One of its processes is moved to a cgroup that is not frozen.
    Migrate,
    /// One of its processes is traced and stopped by somebody else.
    Trace,
    /// One of its processes is killed.
    Kill,
}

impl Disturbance {
    /// All of them, with their names in scenario files.
    pub const ALL: [(&'static str, Self); 4] = [
        ("thaw", Self::Thaw),
        ("migrate", Self::Migrate),
        ("trace", Self::Trace),
        ("kill", Self::Kill),
    ];
}

/// A disturbance and its moment. Afterwards the tree is frozen again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disturb {
    /// What happens; to the youngest process where it is one.
    pub what: Disturbance,
    /// Microseconds until it happens.
    pub after_us: u64,
    /// Microseconds until the tool is started.
    pub tool_after_us: u64,
}

/// Inside a root file system: the folder in which the program starts, and where its own files are.
pub const ROOTFS_FOLDER: &str = "scenario";

/// In the folder in which a program starts: its standard output.
pub const STDOUT_FILE: &str = "stdout";

/// In the folder in which a program starts: its standard error.
pub const STDERR_FILE: &str = "stderr";

/// A program that knows nothing of us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Path as the program's own root directory has it, or relative to the folder in which it starts.
    pub path: String,
    /// All arguments, its own name first.
    pub argv: Vec<String>,
    /// All of its environment.
    pub env: Vec<(String, String)>,
    /// User and group; `None` is root. Other groups it has none.
    pub user: Option<(u32, u32)>,
    /// What it has of its own.
    pub surroundings: Surroundings,
}

/// When a program is ready: all that is named here has happened. Paths are relative to the scenario's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// This file exists.
    pub file: Option<String>,
    /// This file has a line that contains this text.
    pub line: Option<(String, String)>,
    /// This file holds the pid of a live process, and the process that was started has ended well, or is that process.
    pub pidfile: Option<String>,
}

/// What the harness asks of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// First request on a connection; answered by [`Reply::Hello`].
    Hello { version: u32 },
    /// Start a workload in the scenario's folder, in an enclosure; answered by [`Reply::Started`].
    Start {
        enclosure: Enclosure,
        surroundings: Surroundings,
        argv: Vec<String>,
    },
    /// Start a program that knows nothing of us in the scenario's folder; answered by [`Reply::Started`].
    StartProgram {
        enclosure: Enclosure,
        program: Program,
    },
    /// Wait until the started program is ready, and with a pid file make that process the tree's root;
    /// answered by [`Reply::Ready`], [`Reply::Exited`] or [`Reply::TimedOut`].
    WaitProgram { ready: Readiness, timeout_ms: u64 },
    /// Tell the program that it may go on: a signal to the tree's root, and a file that is made if it is not there;
    /// answered by [`Reply::Done`].
    ResumeProgram {
        signal: Option<i32>,
        touch: Option<String>,
    },
    /// Wait until the ready file exists; answered by [`Reply::Ready`], [`Reply::Exited`] or [`Reply::TimedOut`].
    WaitReady { timeout_ms: u64 },
    /// Freeze the tree's cgroup and wait until it is frozen; answered by [`Reply::Done`].
    Freeze,
    /// Thaw the tree's cgroup; answered by [`Reply::Done`].
    Thaw,
    /// Tell the tree that it may go on: SIGUSR1 to its root; answered by [`Reply::Done`].
    Resume,
    /// Probe the frozen tree from outside; answered by [`Reply::State`].
    Probe,
    /// Run the `checkpoint` tool on the tree's root; the image is `IMAGE_DIR/NAME`, the kernel's log `IMAGE_DIR/NAME.log`; an allocation of it may be made to fail;
    /// answered by [`Reply::Tool`].
    Checkpoint {
        name: String,
        fail_nth: Option<u32>,
        disturb: Option<Disturb>,
    },
    /// Run the `restart` tool on `IMAGE_DIR/NAME`, in the enclosure, leaving the tree frozen; answered by [`Reply::Tool`].
    Restart {
        name: String,
        enclosure: Enclosure,
        surroundings: Surroundings,
        fault: Option<Fault>,
    },
    /// Wait until the tree's root has exited; answered by [`Reply::Exited`] or [`Reply::TimedOut`].
    WaitExit { timeout_ms: u64 },
    /// Kill every task of the tree's cgroup and wait until it is empty; answered by [`Reply::Done`].
    Kill,
    /// List the tasks in the tree's cgroup, and any task that is neither the agent's nor a kernel thread; answered by [`Reply::Tasks`].
    Survivors,
    /// Send the scenario's folder, in the order of its directory entries; answered by [`Reply::Entry`] and chunks, then [`Reply::Done`].
    PullFolder,
    /// Empty the scenario's folder and lay entries out: first these, then those of each [`Request::MoreEntries`], as many of them as `more` says;
    /// then each regular file's contents follow as chunks; answered by [`Reply::Done`].
    PushFolder { entries: Vec<Entry>, more: u32 },
    /// Further entries of the [`Request::PushFolder`] before: a frame is not long enough for all of a big folder.
    MoreEntries { entries: Vec<Entry> },
    /// Send a file, by its path in the guest or, if that is relative, in the scenario's folder, as if that were the root directory; answered by chunks, then [`Reply::Done`].
    PullFile { path: String },
    /// Write a file: chunks follow; answered by [`Reply::Done`].
    PushFile { path: String, mode: u32 },
    /// A piece of the byte stream that the request before announced; an empty one ends it.
    Chunk {
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// Write a marker to the kernel log, so that the harness can cut the console at it; answered by [`Reply::Done`].
    Mark { text: String },
    /// Read `/proc/sys/kernel/tainted`; answered by [`Reply::Taint`].
    Taint,
    /// Empty the scenario's folder and [`IMAGE_DIR`], drop caches, and count what is in use, again until no count is above its
    /// value here, for so long at most; answered by [`Reply::Counts`].
    Count {
        above: Vec<(String, u64)>,
        timeout_ms: u64,
    },
    /// Note what nobody refers to now; [`Request::Unreferenced`] tells which of it nobody refers to then. Answered by [`Reply::Noted`].
    NoteUnreferenced,
    /// Look for memory that nobody refers to and is 5 s old, as kmemleak wants it: waits until that is so of all that was noted.
    /// Answered by [`Reply::Unreferenced`].
    Unreferenced,
    /// Have the kernel write to its log what every task and every timer waits for (sysrq `t` and `q`), for a person; answered by [`Reply::Done`].
    Explain,
    /// Start a shell on the console; the guest is powered off when it ends. Answered by [`Reply::Done`] once it has started.
    Shell,
}

/// What the kernel log gets before and after [`Request::Explain`]'s lines.
pub const EXPLAINS: &str = "crossthaw: explains what it waits for";
/// See [`EXPLAINS`].
pub const EXPLAINED: &str = "crossthaw: has explained what it waits for";

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The agent is there.
    Hello {
        version: u32,
        machine: String,
        release: String,
        page_size: u32,
    },
    /// The tree's root, as the agent sees it.
    Started { pid: i32 },
    /// The ready file exists.
    Ready,
    /// The tree's root ended: its wait status (as `waitpid` gives it) and the report file, if there is one.
    Exited { status: i32, report: Option<String> },
    /// What was waited for did not happen in time.
    TimedOut,
    /// The frozen tree as seen from outside.
    State { state: State },
    /// A tool ended: its exit code (128 + signal if killed), output, errors, and the kernel's log file.
    Tool {
        code: i32,
        stdout: String,
        stderr: String,
        log: String,
    },
    /// Tasks that are left: pid and name.
    Tasks { tasks: Vec<(i32, String)> },
    /// One entry of a folder; a regular file's contents follow as chunks.
    Entry { entry: Entry },
    /// A piece of a byte stream; an empty one ends it.
    Chunk {
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// The kernel's taint mask.
    Taint { mask: u64 },
    /// What is in use: what, and how many, in a fixed order.
    Counts { counts: Vec<(String, u64)> },
    /// Memory was looked at; false if there is nothing to look at again, as where the kernel has no kmemleak.
    Noted { noted: bool },
    /// kmemleak's reports, one a block of memory; `None` if nothing was noted.
    Unreferenced { reports: Option<Vec<String>> },
    /// The request was carried out.
    Done,
    /// The request could not be carried out: what failed, and why.
    Failed { message: String },
}

/// One entry of the scenario's folder; parents come before their children.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path relative to the folder.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time, nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Extended attributes: name and value.
    pub attributes: Vec<(String, Vec<u8>)>,
}

/// The kind of an [`Entry`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file of this size in bytes.
    Regular { size: u64 },
    /// A symbolic link.
    Symlink { target: String },
    /// A named pipe.
    Fifo,
    /// One more name of what an earlier entry, with this path, is.
    Link { to: String },
}
