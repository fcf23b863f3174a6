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

pub use state::{FdState, Fields, MapState, Object, RegisterSet, SignalState, State, TaskState};

/// Raised whenever a message changes; both sides refuse another value.
pub const VERSION: u32 = 2;

/// Name of the virtio-serial port (`/sys/class/virtio-ports/*/name`).
pub const PORT_NAME: &str = "org.crossthaw.agent";

/// Largest payload of one frame, in bytes: the state of a tree of a thousand tasks.
pub const MAX_FRAME: usize = 16 << 20;

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
    /// Empty the scenario's folder and [`IMAGE_DIR`], drop caches, and count what is in use, again until no count is above its
    /// value here, for so long at most; answered by [`Reply::Counts`].
    Count {
        above: Vec<(String, u64)>,
        timeout_ms: u64,
    },
    /// Look for memory that nobody refers to, which takes the 5 s that kmemleak wants it to be old; answered by [`Reply::Unreferenced`].
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
    /// kmemleak's reports, one a block of memory; `None` if the kernel has no kmemleak.
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
