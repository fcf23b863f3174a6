//! The records, typed; names as in the C header.

use std::fmt::Write;

use serde::{Serialize, Serializer};
use xxhash_rust::xxh64::xxh64;

use crate::fixed::{
    ByteOrder, Cursor, FieldId, Fixed, Layout, Name, Named as _, Short, Text, Visit, fixed,
};

/// `enum ckpt_arch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    #[serde(rename = "x86_32")]
    X86_32,
    #[serde(rename = "x86_64")]
    X86_64,
    S390x,
    Ppc64,
}

impl Arch {
    /// Every architecture.
    pub const ALL: [Self; 4] = [Self::X86_32, Self::X86_64, Self::S390x, Self::Ppc64];

    /// As the header record has it.
    pub fn number(self) -> u32 {
        match self {
            Self::X86_32 => 1,
            Self::X86_64 => 2,
            Self::S390x => 3,
            Self::Ppc64 => 4,
        }
    }

    /// Bytes of a long.
    pub fn word_size(self) -> u32 {
        match self {
            Self::X86_32 => 4,
            Self::X86_64 | Self::S390x | Self::Ppc64 => 8,
        }
    }

    /// Order of the bytes of a number.
    pub fn byte_order(self) -> ByteOrder {
        match self {
            Self::X86_32 | Self::X86_64 => ByteOrder::Little,
            Self::S390x | Self::Ppc64 => ByteOrder::Big,
        }
    }

    /// From the header record; `None` for an architecture that this reader does not know.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|arch| arch.number() == number)
    }

    /// The project's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_32 => "x86_32",
            Self::X86_64 => "x86_64",
            Self::S390x => "s390x",
            Self::Ppc64 => "ppc64",
        }
    }
}

fixed!(Header = "ckpt_rec_header" at 8 {
    magic: [u8; 8], byte_order: u32, version: u32, arch: u32, word_size: u32, page_size: u32, flags: u32, id: u32, pad: u32,
    features: u64, time: u64, release: Text<64>, build: Text<64>, machine: Text<64>,
});
fixed!(#[derive(Copy)] TreeTask = "ckpt_tree_task" at 0 { pid: i32, tgid: i32, ppid: i32, pgid: i32, sid: i32, exit_signal: u32, cgroup: u32, pad: u32 });
fixed!(TreeHead = "ckpt_rec_tree" at 8 { nr_tasks: u32, flags: u32, nr_pid_ns: u32, nr_cgroups: u32 });
fixed!(#[derive(Copy)] PidId = "ckpt_pid_id" at 0 { pid: i32, inner: i32 });
fixed!(PidNsHead = "ckpt_rec_pid_ns" at 8 { objref: i32, parent: i32, nr_ids: u32, memfd_noexec: u32 });
fixed!(Task = "ckpt_rec_task" at 8 {
    pid: i32, personality: u32, comm: Text<16>, set_child_tid: u64, clear_child_tid: u64, robust_list: u64, rseq: u64,
    robust_list_len: u32, rseq_len: u32, rseq_sig: u32, pad: u32,
});
fixed!(TaskObjs = "ckpt_rec_task_objs" at 8 { cred: i32, files: i32, fs: i32, sighand: i32, mm: i32, uts_ns: i32, ipc_ns: i32, time_ns: i32, seccomp: i32, pid_ns: i32 });
fixed!(TaskEnd = "ckpt_rec_task_end" at 8 { pid: i32, pad: u32 });
fixed!(#[derive(Copy)] Rlimit = "limits" at 0 { soft: u64, hard: u64 });
fixed!(Rlimits = "ckpt_rec_rlimits" at 8 { limits: [Rlimit; 16] });
fixed!(Signals = "ckpt_rec_signals" at 8 { blocked: u64, saved_mask: u64, flags: u32, altstack_flags: u32, altstack_sp: u64, altstack_size: u64, stop_signal: u32, stop_status: u32 });
fixed!(RestartBlock = "ckpt_rec_restart_block" at 8 {
    kind: u32, clock: i32, uaddr: u64, time_left: i64, arch_data: u64, flags: u32, r#type: u32, val: u32, bitset: u32, futex_flags: u32, pad: u32,
});
fixed!(Cpu = "ckpt_rec_cpu" at 8 { syscall: i32, flags: u32, word: [u64; 6] });
fixed!(RegsetHead = "ckpt_rec_regset" at 8 { note: u32, size: u32 });
fixed!(FileHead = "ckpt_rec_file" at 8 {
    objref: i32, kind: u32, flags: u32, rdev_major: u32, rdev_minor: u32, cred: i32, mode: u32, path_len: u32, pos: i64, size: u64,
    object: i32, state: u32,
});
fixed!(#[derive(Copy)] Fd = "ckpt_fd" at 0 { fd: i32, file: i32, flags: u32, pad: u32 });
fixed!(FilesHead = "ckpt_rec_files" at 8 { objref: i32, nr_fds: u32 });
fixed!(FsHead = "ckpt_rec_fs" at 8 { objref: i32, umask: u32, root_len: u32, cwd_len: u32 });
fixed!(#[derive(Copy)] Sigaction = "ckpt_sigaction" at 0 { handler: u64, flags: u64, restorer: u64, mask: u64 });
fixed!(Sighand = "ckpt_rec_sighand" at 8 { objref: i32, pad: u32, action: Actions });
fixed!(CredHead = "ckpt_rec_cred" at 8 {
    objref: i32, securebits: u32, uid: u32, euid: u32, suid: u32, fsuid: u32, gid: u32, egid: u32, sgid: u32, fsgid: u32,
    cap_inheritable: u64, cap_permitted: u64, cap_effective: u64, cap_bset: u64, cap_ambient: u64, nr_groups: u32, pad: u32,
});
fixed!(MmHead = "ckpt_rec_mm" at 8 {
    objref: i32, exe: i32, start_code: u64, end_code: u64, start_data: u64, end_data: u64, start_brk: u64, brk: u64, start_stack: u64,
    arg_start: u64, arg_end: u64, env_start: u64, env_end: u64, mmap_base: u64, vdso_start: u64, vdso_len: u64, vdso_hash: u64,
    nr_vmas: u32, dumpable: u32, nr_auxv: u32, flags: u32, dump_filter: u32, membarrier: u32,
    pkeys: u32, execute_only_pkey: u32,
});
fixed!(Vma = "ckpt_rec_vma" at 8 {
    kind: u32, flags: u32, start: u64, end: u64, pgoff: u64, file: i32, pkey: u32, name: Text<80>,
});
fixed!(PagesHead = "ckpt_rec_pages" at 8 { start: u64, nr_pages: u32, pad: u32 });
fixed!(LdtHead = "ckpt_rec_ldt" at 8 { nr_entries: u32, pad: u32 });
fixed!(MmEnd = "ckpt_rec_mm_end" at 8 { objref: i32, pad: u32 });
fixed!(ErrorHead = "ckpt_rec_error" at 8 { error: i32, pid: i32, objref: i32, text_len: u32 });
fixed!(#[derive(Copy)] Siginfo = "ckpt_siginfo" at 0 { signo: i32, error: i32, code: i32, flags: u32, fields: [u8; 32] });
fixed!(PendingHead = "ckpt_rec_pending" at 8 { flags: u32, nr_infos: u32, mask: u64 });
fixed!(#[derive(Copy)] Itimer = "ckpt_itimer" at 0 { value: u64, interval: u64 });
fixed!(Itimers = "ckpt_rec_itimers" at 8 { timers: [Itimer; 3] });
fixed!(Attributes = "ckpt_rec_attributes" at 8 {
    flags: u32, policy: u32, nice: i32, rt_priority: u32, slice: u64, timer_slack: u64, default_timer_slack: u64,
    parent_death_signal: u32, oom_score_adj: i32, cpus: u64, io_priority: u32, pad: u32,
});
fixed!(Exit = "ckpt_rec_exit" at 8 { status: u32, cred: i32, sighand: i32, pad: u32, blocked: u64, pending: u64, shared_pending: u64 });
fixed!(#[derive(Copy)] PosixTimer = "ckpt_posix_timer" at 0 {
    id: i32, clock: i32, notify: u32, signo: i32, value: u64, target: i32, clock_target: i32, flags: u32, requeue: u32,
    time_left: i64, interval: u64, overrun: i64, overrun_last: i64,
});
fixed!(PosixTimersHead = "ckpt_rec_posix_timers" at 8 { nr_timers: u32, next_id: u32 });
fixed!(Shmem = "ckpt_rec_shmem" at 8 { objref: i32, flags: u32, size: u64 });
fixed!(ShmemEnd = "ckpt_rec_shmem_end" at 8 { objref: i32, pad: u32 });
fixed!(UtsNs = "ckpt_rec_uts_ns" at 8 { objref: i32, pad: u32, nodename: Text<72>, domainname: Text<72> });
fixed!(IpcNs = "ckpt_rec_ipc_ns" at 8 {
    objref: i32, pad: u32, shmmax: u64, shmall: u64, shmmni: u32, shm_rmid_forced: u32, msgmax: u32, msgmnb: u32, msgmni: u32,
    semmsl: u32, semmns: u32, semopm: u32, semmni: u32, mq_queues_max: u32, mq_msg_max: u32, mq_msgsize_max: u32,
    mq_msg_default: u32, mq_msgsize_default: u32,
});
fixed!(TimeNs = "ckpt_rec_time_ns" at 8 { objref: i32, pad: u32, monotonic: i64, boottime: i64 });
fixed!(#[derive(Copy)] Insn = "ckpt_insn" at 0 { code: u16, jt: u8, jf: u8, k: u32 });
fixed!(SeccompHead = "ckpt_rec_seccomp" at 8 { objref: i32, before: i32, flags: u32, nr_insns: u32 });
fixed!(MemfdHead = "ckpt_rec_memfd" at 8 { objref: i32, seals: u32, size: u64, mtime: i64, uid: u32, gid: u32, mode: u32, name_len: u32 });
fixed!(Cgroup = "ckpt_rec_cgroup" at 8 { parent: u32, pad: u32, name: Text<256> });
fixed!(MountHead = "ckpt_rec_mount" at 8 {
    kind: u32, attrs: u32, more: u32, source: u32, size: u64, inodes: u64, mode: u32, uid: u32, gid: u32, path_len: u32, source_len: u32,
    nodes: u32,
});
fixed!(NodeHead = "ckpt_rec_node" at 8 {
    folder: u32, same: u32, mode: u32, uid: u32, gid: u32, major: u32, minor: u32, name_len: u32, target_len: u32, pad: u32,
    size: u64, mtime: i64,
});
fixed!(PipeHead = "ckpt_rec_pipe" at 8 {
    objref: i32, slots: u32, nr_bufs: u32, uid: u32, gid: u32, mode: u32, atime: i64, mtime: i64, cred: i32, path_len: u32,
});
fixed!(PipeBufHead = "ckpt_rec_pipe_buf" at 8 { objref: i32, offset: u32, len: u32, flags: u32 });
fixed!(Epoll = "ckpt_rec_epoll" at 8 { objref: i32, nr_items: u32, busy_poll_usecs: u32, busy_poll_budget: u16, prefer_busy_poll: u8, pad: u8 });
fixed!(Lock = "ckpt_rec_lock" at 8 { file: i32, owner: i32, kind: u32, flags: u32, start: i64, end: i64, pid: i32, pad: u32 });
fixed!(Lease = "ckpt_rec_lease" at 8 { file: i32, pid: i32, flags: u32, fd: i32, break_left: i64, downgrade_left: i64 });
fixed!(Owner = "ckpt_rec_owner" at 8 { file: i32, flags: u32, kind: u32, pid: i32, uid: u32, euid: u32, signal: u32, fd: i32 });
fixed!(EpollItem = "ckpt_rec_epoll_item" at 8 { file: i32, fd: i32, events: u32, flags: u32, data: u64, sighand: i32, pad: u32 });
fixed!(Timerfd = "ckpt_rec_timerfd" at 8 { objref: i32, clock: i32, flags: u32, settime_flags: u32, ticks: u64, time_left: i64, interval: i64 });
fixed!(UnlinkedHead = "ckpt_rec_unlinked" at 8 { objref: i32, flags: u32, size: u64, mtime: i64, uid: u32, gid: u32, mode: u32, path_len: u32 });
fixed!(Usage = "ckpt_usage" at 0 { utime: u64, stime: u64, voluntary: u64, involuntary: u64, minor_faults: u64, major_faults: u64 });
fixed!(UsageRecord = "ckpt_rec_usage" at 8 {
    runtime: u64, age: u64, boot_age: u64, shown_utime: u64, shown_stime: u64, task: Usage, exited: Usage, exited_runtime: u64,
    group_shown_utime: u64, group_shown_stime: u64, max_rss: u64, children: Usage, children_max_rss: u64,
});
fixed!(Trailer = "ckpt_rec_trailer" at 8 { magic: [u8; 8], bytes: u64, checksum: u64 });

/// The layouts of all structs of the C header, to be compared with it.
pub const LAYOUTS: &[fn() -> Layout] = &[
    Header::layout,
    TreeTask::layout,
    TreeHead::layout,
    Task::layout,
    TaskObjs::layout,
    TaskEnd::layout,
    Rlimits::layout,
    Signals::layout,
    RestartBlock::layout,
    Cpu::layout,
    RegsetHead::layout,
    FileHead::layout,
    Fd::layout,
    FilesHead::layout,
    FsHead::layout,
    Sigaction::layout,
    Sighand::layout,
    CredHead::layout,
    MmHead::layout,
    Vma::layout,
    PagesHead::layout,
    MmEnd::layout,
    ErrorHead::layout,
    Trailer::layout,
    Exit::layout,
    Siginfo::layout,
    PendingHead::layout,
    Itimer::layout,
    Itimers::layout,
    Attributes::layout,
    Shmem::layout,
    ShmemEnd::layout,
    PosixTimer::layout,
    PosixTimersHead::layout,
    UtsNs::layout,
    IpcNs::layout,
    TimeNs::layout,
    Insn::layout,
    SeccompHead::layout,
    MemfdHead::layout,
    PidId::layout,
    PidNsHead::layout,
    Usage::layout,
    UsageRecord::layout,
    Cgroup::layout,
    UnlinkedHead::layout,
    LdtHead::layout,
    MountHead::layout,
    NodeHead::layout,
    PipeHead::layout,
    PipeBufHead::layout,
    Timerfd::layout,
    Epoll::layout,
    EpollItem::layout,
    Lock::layout,
    Lease::layout,
    Owner::layout,
];

/// Declares a record that goes on after its fixed part.
macro_rules! variable {
    ($name:ident: $head:ident { $($(#[$meta:meta])* $field:ident: $type:ty),* }) => {
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        pub struct $name {
            #[serde(flatten)]
            pub head: $head,
            $($(#[$meta])* pub $field: $type,)*
        }
    };
}

/// Large contents are shown by length and hash.
fn digest<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&describe_bytes(bytes))
}

/// `4096 bytes, xxh64 0123456789abcdef`.
pub(crate) fn describe_bytes(bytes: &[u8]) -> String {
    format!("{} bytes, xxh64 {:016x}", bytes.len(), xxh64(bytes, 0))
}

/// Two digits a byte.
pub(crate) fn hex_digits<'a>(bytes: impl Iterator<Item = &'a u8>) -> String {
    bytes.fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn hex<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&hex_digits(bytes.iter()))
}

variable!(Tree: TreeHead { tasks: Vec<TreeTask> });
variable!(Regset: RegsetHead { #[serde(serialize_with = "hex")] data: Vec<u8> });
variable!(FileRecord: FileHead { path: Name });
variable!(Files: FilesHead { fds: Vec<Fd> });
variable!(Fs: FsHead { root: Name, cwd: Name });
variable!(Cred: CredHead { groups: Vec<u32> });
variable!(Pending: PendingHead { infos: Vec<Siginfo> });
variable!(Seccomp: SeccompHead { insns: Vec<Insn> });
variable!(Memfd: MemfdHead { name: Name });
variable!(Unlinked: UnlinkedHead { path: Name });
variable!(Pipe: PipeHead { path: Name });
variable!(PipeBuf: PipeBufHead { #[serde(serialize_with = "digest")] data: Vec<u8> });
variable!(Mount: MountHead { path: Name, source: Name });
variable!(Node: NodeHead { name: Name, target: Name });
variable!(Ldt: LdtHead { entries: Vec<u64> });
variable!(PidNs: PidNsHead { ids: Vec<PidId> });
variable!(PosixTimers: PosixTimersHead { timers: Vec<PosixTimer> });
variable!(Mm: MmHead { auxv: Vec<u64> });
variable!(Pages: PagesHead { #[serde(serialize_with = "digest")] data: Vec<u8> });
variable!(ErrorRecord: ErrorHead { text: Name });

/// The actions of signals 1 to 64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actions(pub [Sigaction; 64]);

impl Actions {
    /// Signal number and action of those that are not all zero, which is the default.
    pub fn set(&self) -> impl Iterator<Item = (u32, &Sigaction)> {
        (1..).zip(&self.0).filter(|(_, action)| {
            **action
                != Sigaction {
                    handler: 0,
                    flags: 0,
                    restorer: 0,
                    mask: 0,
                }
        })
    }
}

impl Serialize for Actions {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.set())
    }
}

impl Fixed for Actions {
    const SIZE: usize = <[Sigaction; 64]>::SIZE;

    fn decode(from: &mut Cursor<'_>) -> Result<Self, Short> {
        Fixed::decode(from).map(Self)
    }

    fn encode(&self, order: ByteOrder, to: &mut Vec<u8>) {
        self.0.encode(order, to);
    }

    fn visit(&self, id: FieldId<'_>, to: &mut Visit<'_>) {
        for (signal, action) in (1..).zip(&self.0) {
            let path = &format!("signal {signal}");
            action.visit(FieldId { path, ..id }, to);
        }
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "record", rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(
    clippy::large_enum_variant,
    reason = "records are handed out one at a time"
)]
pub enum Record {
    Header(Header),
    Tree(Tree),
    Task(Task),
    TaskObjs(TaskObjs),
    TaskEnd(TaskEnd),
    Rlimits(Rlimits),
    Signals(Signals),
    RestartBlock(RestartBlock),
    Cpu(Cpu),
    Regset(Regset),
    File(FileRecord),
    Files(Files),
    Fs(Fs),
    Sighand(Sighand),
    Cred(Cred),
    Mm(Mm),
    Vma(Vma),
    Pages(Pages),
    MmEnd(MmEnd),
    Error(ErrorRecord),
    Trailer(Trailer),
    Exit(Exit),
    Pending(Pending),
    Itimers(Itimers),
    Attributes(Attributes),
    Shmem(Shmem),
    ShmemEnd(ShmemEnd),
    PosixTimers(PosixTimers),
    UtsNs(UtsNs),
    IpcNs(IpcNs),
    TimeNs(TimeNs),
    Seccomp(Seccomp),
    Memfd(Memfd),
    PidNs(PidNs),
    Usage(UsageRecord),
    Cgroup(Cgroup),
    Unlinked(Unlinked),
    Ldt(Ldt),
    Mount(Mount),
    Node(Node),
    Pipe(Pipe),
    PipeBuf(PipeBuf),
    Timerfd(Timerfd),
    Epoll(Epoll),
    EpollItem(EpollItem),
    Lock(Lock),
    Lease(Lease),
    Owner(Owner),
}

impl Cgroup {
    /// Whether mkdir(2) takes its name for one folder of a cgroup.
    pub fn is_named(&self) -> bool {
        let name = self.name.as_bytes();
        !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| b"/\n".contains(byte))
    }
}

impl PidNs {
    fn decode(from: &mut Cursor<'_>) -> Result<Self, Shape> {
        let head = PidNsHead::decode(from)?;
        let ids = from.list(head.nr_ids).of("ids")?;
        Ok(Self { head, ids })
    }
}

impl Regset {
    fn decode(from: &mut Cursor<'_>) -> Result<Self, Shape> {
        let head = RegsetHead::decode(from)?;
        let data = from.bytes(head.size).of("data")?;
        Ok(Self { head, data })
    }
}

impl Memfd {
    fn decode(from: &mut Cursor<'_>) -> Result<Self, Shape> {
        let head = MemfdHead::decode(from)?;
        let name = from.text(head.name_len).of("name")?;
        Ok(Self { head, name })
    }
}

impl Ldt {
    fn decode(from: &mut Cursor<'_>) -> Result<Self, Shape> {
        let head = LdtHead::decode(from)?;
        let entries = from.list(head.nr_entries).of("entries")?;
        Ok(Self { head, entries })
    }
}

impl Unlinked {
    fn decode(from: &mut Cursor<'_>) -> Result<Self, Shape> {
        let head = UnlinkedHead::decode(from)?;
        let path = from.text(head.path_len).of("path")?;
        Ok(Self { head, path })
    }
}

impl FileRecord {
    /// `CKPT_FILE_PIDFD`.
    pub(crate) const PIDFD: u32 = 13;

    fn decode(from: &mut Cursor<'_>) -> Result<Self, Shape> {
        let head = FileHead::decode(from)?;
        let path = from.text(head.path_len).of("path")?;
        Ok(Self { head, path })
    }
}

impl Pipe {
    fn decode(from: &mut Cursor<'_>) -> Result<Self, Shape> {
        let head = PipeHead::decode(from)?;
        let path = from.text(head.path_len).of("path")?;
        Ok(Self { head, path })
    }
}

impl PipeBuf {
    fn decode(from: &mut Cursor<'_>) -> Result<Self, Shape> {
        let head = PipeBufHead::decode(from)?;
        let data = from.bytes(head.len).of("data")?;
        Ok(Self { head, data })
    }
}

impl Mount {
    /// What is mounted outside of the tree is not inside.
    pub const GONE: u32 = 1;
    /// It is inside, and has other options.
    pub const ATTRS: u32 = 2;
    /// Something that is there already, under a second name.
    pub const BIND: u32 = 3;
    /// A tmpfs of the tree's own.
    pub const TMPFS: u32 = 4;

    fn decode(from: &mut Cursor<'_>) -> Result<Self, Shape> {
        let head = MountHead::decode(from)?;
        let path = from.text(head.path_len).of("names")?;
        let source = from.text(head.source_len).of("names")?;
        Ok(Self { head, path, source })
    }
}

impl Node {
    /// `S_IFMT`: the bits of the mode that say what it is.
    const KIND: u32 = 0o170_000;
    /// A directory.
    pub const FOLDER: u32 = 0o040_000;
    /// A regular file.
    pub const FILE: u32 = 0o100_000;
    /// A symbolic link.
    pub const LINK: u32 = 0o120_000;
    /// A fifo.
    pub const FIFO: u32 = 0o010_000;
    /// A socket.
    pub const SOCKET: u32 = 0o140_000;
    /// A character device.
    pub const CHARACTERS: u32 = 0o020_000;
    /// A block device.
    pub const BLOCKS: u32 = 0o060_000;

    /// What it is.
    pub fn kind(&self) -> u32 {
        self.head.mode & Self::KIND
    }

    /// Its permissions.
    pub fn permissions(&self) -> u32 {
        self.head.mode & 0o7777
    }

    /// Whether its contents follow.
    pub fn has_contents(&self) -> bool {
        self.kind() == Self::FILE && self.head.same == 0
    }

    fn decode(from: &mut Cursor<'_>) -> Result<Self, Shape> {
        let head = NodeHead::decode(from)?;
        let name = from.text(head.name_len).of("names")?;
        let target = from.text(head.target_len).of("names")?;
        Ok(Self { head, name, target })
    }
}

/// Names by number, `enum ckpt_record`; 0 is none.
const NAMES: [&str; 49] = [
    "",
    "HEADER",
    "TREE",
    "TASK",
    "TASK_OBJS",
    "TASK_END",
    "RLIMITS",
    "SIGNALS",
    "RESTART_BLOCK",
    "CPU",
    "REGSET",
    "FILE",
    "FILES",
    "FS",
    "SIGHAND",
    "CRED",
    "MM",
    "VMA",
    "PAGES",
    "MM_END",
    "ERROR",
    "TRAILER",
    "EXIT",
    "PENDING",
    "ITIMERS",
    "ATTRIBUTES",
    "SHMEM",
    "SHMEM_END",
    "POSIX_TIMERS",
    "UTS_NS",
    "IPC_NS",
    "TIME_NS",
    "SECCOMP",
    "MEMFD",
    "PID_NS",
    "USAGE",
    "CGROUP",
    "UNLINKED",
    "LDT",
    "MOUNT",
    "NODE",
    "PIPE",
    "PIPE_BUF",
    "TIMERFD",
    "EPOLL",
    "EPOLL_ITEM",
    "LOCK",
    "LEASE",
    "OWNER",
];

/// Name of a record type; `None` if it is unknown.
pub fn type_name(number: u32) -> Option<&'static str> {
    let name = NAMES.get(usize::try_from(number).ok()?)?;
    (!name.is_empty()).then_some(name)
}

/// Why a record's payload is not what its type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// It ends inside this field.
    Short(&'static str),
    /// Something follows its last field.
    Long,
    /// What fills it up to a multiple of eight bytes is not zero.
    Padding,
    /// An unknown type.
    Unknown,
}

impl From<Short> for Shape {
    fn from(Short(field): Short) -> Self {
        Self::Short(field)
    }
}

impl Record {
    /// Number of its type.
    pub fn type_number(&self) -> u32 {
        match self {
            Self::Header(_) => 1,
            Self::Tree(_) => 2,
            Self::Task(_) => 3,
            Self::TaskObjs(_) => 4,
            Self::TaskEnd(_) => 5,
            Self::Rlimits(_) => 6,
            Self::Signals(_) => 7,
            Self::RestartBlock(_) => 8,
            Self::Cpu(_) => 9,
            Self::Regset(_) => 10,
            Self::File(_) => 11,
            Self::Files(_) => 12,
            Self::Fs(_) => 13,
            Self::Sighand(_) => 14,
            Self::Cred(_) => 15,
            Self::Mm(_) => 16,
            Self::Vma(_) => 17,
            Self::Pages(_) => 18,
            Self::MmEnd(_) => 19,
            Self::Error(_) => 20,
            Self::Trailer(_) => 21,
            Self::Exit(_) => 22,
            Self::Pending(_) => 23,
            Self::Itimers(_) => 24,
            Self::Attributes(_) => 25,
            Self::Shmem(_) => 26,
            Self::ShmemEnd(_) => 27,
            Self::PosixTimers(_) => 28,
            Self::UtsNs(_) => 29,
            Self::IpcNs(_) => 30,
            Self::TimeNs(_) => 31,
            Self::Seccomp(_) => 32,
            Self::Memfd(_) => 33,
            Self::PidNs(_) => 34,
            Self::Usage(_) => 35,
            Self::Cgroup(_) => 36,
            Self::Unlinked(_) => 37,
            Self::Ldt(_) => 38,
            Self::Mount(_) => 39,
            Self::Node(_) => 40,
            Self::Pipe(_) => 41,
            Self::PipeBuf(_) => 42,
            Self::Timerfd(_) => 43,
            Self::Epoll(_) => 44,
            Self::EpollItem(_) => 45,
            Self::Lock(_) => 46,
            Self::Lease(_) => 47,
            Self::Owner(_) => 48,
        }
    }

    /// Name of its type, as in the C header.
    pub fn type_name(&self) -> &'static str {
        type_name(self.type_number()).unwrap_or_default()
    }

    /// Decode the payload of a record.
    pub(crate) fn decode(number: u32, from: &mut Cursor<'_>) -> Result<Self, Shape> {
        let record = match number {
            1 => Self::Header(Fixed::decode(from)?),
            2 => {
                let head = TreeHead::decode(from)?;
                let tasks = from.list(head.nr_tasks).of("tasks")?;
                Self::Tree(Tree { head, tasks })
            }
            3 => Self::Task(Fixed::decode(from)?),
            4 => Self::TaskObjs(Fixed::decode(from)?),
            5 => Self::TaskEnd(Fixed::decode(from)?),
            6 => Self::Rlimits(Fixed::decode(from)?),
            7 => Self::Signals(Fixed::decode(from)?),
            8 => Self::RestartBlock(Fixed::decode(from)?),
            9 => Self::Cpu(Fixed::decode(from)?),
            10 => Self::Regset(Regset::decode(from)?),
            11 => Self::File(FileRecord::decode(from)?),
            12 => {
                let head = FilesHead::decode(from)?;
                let fds = from.list(head.nr_fds).of("fds")?;
                Self::Files(Files { head, fds })
            }
            13 => {
                let head = FsHead::decode(from)?;
                let root = from.text(head.root_len).of("paths")?;
                let cwd = from.text(head.cwd_len).of("paths")?;
                Self::Fs(Fs { head, root, cwd })
            }
            14 => Self::Sighand(Fixed::decode(from)?),
            15 => {
                let head = CredHead::decode(from)?;
                let groups = from.list(head.nr_groups).of("groups")?;
                Self::Cred(Cred { head, groups })
            }
            16 => {
                let head = MmHead::decode(from)?;
                let auxv = from.list(head.nr_auxv).of("auxv")?;
                Self::Mm(Mm { head, auxv })
            }
            17 => Self::Vma(Fixed::decode(from)?),
            18 => {
                let head = PagesHead::decode(from)?;
                Self::Pages(Pages {
                    head,
                    data: from.rest().to_vec(),
                })
            }
            19 => Self::MmEnd(Fixed::decode(from)?),
            20 => {
                let head = ErrorHead::decode(from)?;
                let text = from.text(head.text_len).of("text")?;
                Self::Error(ErrorRecord { head, text })
            }
            21 => Self::Trailer(Fixed::decode(from)?),
            22 => Self::Exit(Fixed::decode(from)?),
            23 => {
                let head = PendingHead::decode(from)?;
                let infos = from.list(head.nr_infos).of("infos")?;
                Self::Pending(Pending { head, infos })
            }
            24 => Self::Itimers(Fixed::decode(from)?),
            25 => Self::Attributes(Fixed::decode(from)?),
            26 => Self::Shmem(Fixed::decode(from)?),
            27 => Self::ShmemEnd(Fixed::decode(from)?),
            28 => {
                let head = PosixTimersHead::decode(from)?;
                let timers = from.list(head.nr_timers).of("timers")?;
                Self::PosixTimers(PosixTimers { head, timers })
            }
            29 => Self::UtsNs(Fixed::decode(from)?),
            30 => Self::IpcNs(Fixed::decode(from)?),
            31 => Self::TimeNs(Fixed::decode(from)?),
            32 => {
                let head = SeccompHead::decode(from)?;
                let insns = from.list(head.nr_insns).of("insns")?;
                Self::Seccomp(Seccomp { head, insns })
            }
            33 => Self::Memfd(Memfd::decode(from)?),
            34 => Self::PidNs(PidNs::decode(from)?),
            35 => Self::Usage(Fixed::decode(from)?),
            36 => Self::Cgroup(Fixed::decode(from)?),
            37 => Self::Unlinked(Unlinked::decode(from)?),
            38 => Self::Ldt(Ldt::decode(from)?),
            39 => Self::Mount(Mount::decode(from)?),
            40 => Self::Node(Node::decode(from)?),
            41 => Self::Pipe(Pipe::decode(from)?),
            42 => Self::PipeBuf(PipeBuf::decode(from)?),
            43 => Self::Timerfd(Fixed::decode(from)?),
            44 => Self::Epoll(Fixed::decode(from)?),
            45 => Self::EpollItem(Fixed::decode(from)?),
            46 => Self::Lock(Fixed::decode(from)?),
            47 => Self::Lease(Fixed::decode(from)?),
            48 => Self::Owner(Fixed::decode(from)?),
            _ => return Err(Shape::Unknown),
        };
        // Records are multiples of eight bytes long: up to seven bytes pad the last field.
        match from.rest() {
            padding if padding.len() >= 8 => Err(Shape::Long),
            padding if padding.iter().any(|&byte| byte != 0) => Err(Shape::Padding),
            _ => Ok(record),
        }
    }
}
