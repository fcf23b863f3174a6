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

use serde::{Deserialize, Serialize};

/// Raised whenever a message changes; both sides refuse another value.
pub const VERSION: u32 = 1;

/// Name of the virtio-serial port (`/sys/class/virtio-ports/*/name`).
pub const PORT_NAME: &str = "org.crossthaw.agent";

/// Largest payload of one frame, in bytes.
pub const MAX_FRAME: usize = 1 << 20;

/// Size of one chunk of a byte stream, in bytes.
pub const CHUNK: usize = 256 << 10;

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

/// What the harness asks of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// First request on a connection; answered by [`Reply::Hello`].
    Hello { version: u32 },
    /// Start a program in the scenario's folder, in an enclosure; answered by [`Reply::Started`].
    Start {
        enclosure: Enclosure,
        argv: Vec<String>,
        env: Vec<(String, String)>,
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
    /// Run the `checkpoint` tool on the tree's root, or on the pid that is the last of `args`; the image is `IMAGE_DIR/NAME`,
    /// the kernel's log `IMAGE_DIR/NAME.log`; answered by [`Reply::Tool`].
    Checkpoint { name: String, args: Vec<String> },
    /// Run the `restart` tool on `IMAGE_DIR/NAME`, in the enclosure, leaving the tree frozen; answered by [`Reply::Tool`].
    Restart {
        name: String,
        enclosure: Enclosure,
        args: Vec<String>,
    },
    /// Wait until the tree's root has exited; answered by [`Reply::Exited`] or [`Reply::TimedOut`].
    WaitExit { timeout_ms: u64 },
    /// Kill every task of the tree's cgroup and wait until it is empty; answered by [`Reply::Done`].
    Kill,
    /// List the tasks in the tree's cgroup, and any task that is neither the agent's nor a kernel thread; answered by [`Reply::Tasks`].
    Survivors,
    /// Send the scenario's folder, in the order of its directory entries; answered by [`Reply::Entry`] and chunks, then [`Reply::Done`].
    PullFolder,
    /// Empty the scenario's folder and lay these entries out; each regular file's contents follow as chunks; answered by [`Reply::Done`].
    PushFolder { entries: Vec<Entry> },
    /// Send a file; answered by chunks, then [`Reply::Done`].
    PullFile { path: String },
    /// Write a file: chunks follow; answered by [`Reply::Done`].
    PushFile { path: String, mode: u32 },
    /// A piece of the byte stream that the request before announced; an empty one ends it.
    Chunk {
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// Run a command to its end, outside the tree; answered by [`Reply::Tool`].
    Exec { argv: Vec<String> },
    /// Write a marker to the kernel log, so that the harness can cut the console at it; answered by [`Reply::Done`].
    Mark { text: String },
    /// Read `/proc/sys/kernel/tainted`; answered by [`Reply::Taint`].
    Taint,
    /// Have the kernel write to its log what every task and every timer waits for (sysrq `t` and `q`), for a person; answered by [`Reply::Done`].
    Explain,
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
}

/// The frozen tree as the probe saw it: one [`TaskState`] a task, in pid order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Tasks by their pid in the tree's own pid namespace.
    pub tasks: Vec<TaskState>,
}

/// What `/proc` shows of one frozen task.
///
/// Values are the kernel's own text, but for pids: these are in the tree's pid namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskState {
    /// Pid, in the tree's pid namespace.
    pub pid: i32,
    /// Parent (0: outside the tree).
    pub ppid: i32,
    /// Process group (0: outside).
    pub pgid: i32,
    /// Session (0: outside).
    pub sid: i32,
    /// `/proc/PID/comm`.
    pub comm: String,
    /// `/proc/PID/cmdline`, arguments split.
    pub cmdline: Vec<String>,
    /// `/proc/PID/status`: field and value, volatile lines (context switches, memory counters) included; the harness normalises.
    pub status: Vec<(String, String)>,
    /// `/proc/PID/limits`: name, soft, hard.
    pub limits: Vec<(String, String, String)>,
    /// Targets of `/proc/PID/{cwd,root,exe}`.
    pub links: Vec<(String, String)>,
    /// Mappings in address order.
    pub maps: Vec<MapState>,
    /// Descriptors in number order.
    pub fds: Vec<FdState>,
    /// `/proc/PID/auxv`, key and value.
    pub auxv: Vec<(u64, u64)>,
    /// `/proc/PID/timerslack_ns`, `oom_score_adj`, `personality`: name and text.
    pub attributes: Vec<(String, String)>,
}

/// One line of `/proc/PID/maps` with a hash of the contents.
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
    /// `VmFlags` of `/proc/PID/smaps`.
    pub vm_flags: String,
    /// Hash of the contents as the task would read them; `None` where they cannot be read (vvar, no access).
    ///
    /// xxh64, seed 0, over one pair for each page that is not all zero, in address order:
    /// the page's index in the mapping and the xxh64 of its bytes, each as a little-endian u64.
    /// So holes cost nothing, and a page of zeros is the same as a hole.
    pub hash: Option<u64>,
    /// Pages that are the task's own: those of anonymous memory that are not all zero (all that were touched where they cannot be read),
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
    /// `/proc/PID/fdinfo/N`: field and value (`pos`, `flags`, ...).
    pub info: Vec<(String, String)>,
    /// Smallest (pid, fd) of the tree that refers to the same open file (kcmp), so that sharing shows.
    pub same_as: (i32, i32),
}
