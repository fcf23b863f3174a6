//! Images for tests: valid ones of every architecture, with every record but ERROR.

use crate::encode::Writer;
use crate::fixed::{Name, Text};
use crate::reader::{BYTE_ORDER, MAGIC, VERSION};
use crate::records::{
    Actions, Arch, Attributes, Cgroup, Cpu, Cred, CredHead, Epoll, EpollItem, ErrorHead,
    ErrorRecord, Exit, Fd, FileHead, FileRecord, Files, FilesHead, Fs, FsHead, Header, Insn, IpcNs,
    Itimer, Itimers, Ldt, LdtHead, Lease, Lock, Memfd, MemfdHead, Mm, MmEnd, MmHead, Mount,
    MountHead, Node, NodeHead, Owner, Pages, PagesHead, Pending, PendingHead, PidId, PidNs,
    PidNsHead, Pipe, PipeBuf, PipeBufHead, PipeHead, PosixTimer, PosixTimers, PosixTimersHead,
    Record, Regset, RegsetHead, RestartBlock, Rlimit, Rlimits, Seccomp, SeccompHead, Shmem,
    ShmemEnd, Sigaction, Sighand, Siginfo, Signals, Task, TaskEnd, TaskObjs, TimeNs, Timerfd, Tree,
    TreeHead, TreeTask, Unlinked, UnlinkedHead, Usage, UsageRecord, UtsNs, Vma,
};

/// Bytes of a page.
const PAGE: u32 = 4096;

fn text<const N: usize>(text: &str) -> Text<N> {
    let mut bytes = [0; N];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    Text(bytes)
}

/// Text with a zero at its end, and its length.
fn name(text: &str) -> (Name, u32) {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    (Name(bytes), len)
}

fn pid_ns(objref: i32, parent: i32, ids: &[(i32, i32)]) -> Record {
    let ids = ids.iter().map(|&(pid, inner)| PidId { pid, inner });
    Record::PidNs(PidNs {
        head: PidNsHead {
            objref,
            parent,
            nr_ids: u32::try_from(ids.len()).unwrap_or(u32::MAX),
            memfd_noexec: 1,
        },
        ids: ids.collect(),
    })
}

fn cgroup(parent: u32, name: &str) -> Record {
    Record::Cgroup(Cgroup {
        parent,
        pad: 0,
        name: text(name),
    })
}

/// A folder that is bound, and the tmpfs that it is bound in, with what is in that.
fn mounts() -> Vec<Record> {
    let tmpfs = MountHead {
        kind: Mount::TMPFS,
        attrs: 0x6,
        more: 1,
        source: 0,
        size: 0x10000,
        inodes: 100,
        mode: 0o1777,
        uid: 0,
        gid: 5,
        path_len: 0,
        source_len: 0,
        nodes: 5,
    };
    let bind = MountHead {
        kind: Mount::BIND,
        attrs: 0x20,
        more: 0,
        size: 0,
        inodes: 0,
        mode: 0,
        gid: 0,
        nodes: 0,
        ..tmpfs.clone()
    };
    let mount = |head: MountHead, path, source| {
        let ((path, path_len), (source, source_len)) = (name(path), name(source));
        Record::Mount(Mount {
            head: MountHead {
                path_len,
                source_len,
                ..head
            },
            path,
            source,
        })
    };
    let mut all = vec![mount(tmpfs, "/own", "tmpfs")];
    all.extend(nodes());
    all.push(mount(bind, "/own/to", "/from"));
    all
}

/// A folder with a file, another name of that, and a link.
fn nodes() -> Vec<Record> {
    const MTIME: i64 = 1_700_000_000_000_000_000;
    let node = |(folder, same): (u32, u32), mode: u32, size: u64, (file, target): (&str, &str)| {
        let (file, name_len) = name(file);
        let (target, target_len) = if target.is_empty() {
            (Name(Vec::new()), 0)
        } else {
            name(target)
        };
        Record::Node(Node {
            head: NodeHead {
                folder,
                same,
                mode,
                uid: 0,
                gid: if same == 0 { 5 } else { 0 },
                major: 0,
                minor: 0,
                name_len,
                target_len,
                pad: 0,
                size,
                mtime: if same == 0 { MTIME } else { 0 },
            },
            name: file,
            target,
        })
    };
    vec![
        node((0, 0), 0o041_777, 0, ("/", "")),
        node((1, 0), 0o040_755, 0, ("to", "")),
        node((2, 0), 0o100_644, 10, ("file", "")),
        pages(0, 1),
        Record::ShmemEnd(ShmemEnd { objref: 0, pad: 0 }),
        node((1, 3), 0o100_000, 0, ("other", "")),
        node((1, 0), 0o120_777, 0, ("link", "to/file")),
    ]
}

/// The head of an image: HEADER, a TREE of three tasks, the `PID_NS` and cgroups of the second and the third, and mounts.
pub fn head(arch: Arch) -> Vec<Record> {
    let task = TreeTask {
        pid: 1,
        tgid: 1,
        ppid: 0,
        pgid: 1,
        sid: 1,
        exit_signal: 17,
        cgroup: 0,
        pad: 0,
    };
    let child = TreeTask {
        pid: 2,
        tgid: 2,
        ppid: 1,
        cgroup: 2,
        ..task
    };
    let zombie = TreeTask {
        pid: 3,
        tgid: 3,
        ppid: 2,
        ..child
    };
    let mut all = vec![
        Record::Header(Header {
            magic: MAGIC,
            byte_order: BYTE_ORDER,
            version: VERSION,
            arch: arch.number(),
            word_size: arch.word_size(),
            page_size: PAGE,
            flags: 1,
            id: 3,
            pad: 0,
            features: 0,
            time: 1_700_000_000_000_000_000,
            release: text("6.12.117"),
            build: text("#1 SMP"),
            machine: text("m"),
        }),
        Record::Tree(Tree {
            head: TreeHead {
                nr_tasks: 3,
                flags: 0x30,
                nr_pid_ns: 2,
                nr_cgroups: 2,
            },
            tasks: vec![task, child, zombie],
        }),
        pid_ns(40, 0, &[(2, 1), (3, 2), (9, 4)]),
        pid_ns(41, 40, &[(3, 1)]),
        cgroup(0, "above"),
        cgroup(1, "below"),
    ];
    all.extend(mounts());
    all
}

fn cred() -> Record {
    Record::Cred(Cred {
        head: CredHead {
            objref: 1,
            securebits: 0,
            uid: 0,
            euid: 0,
            suid: 0,
            fsuid: 0,
            gid: 0,
            egid: 0,
            sgid: 0,
            fsgid: 0,
            cap_inheritable: 0,
            cap_permitted: 7,
            cap_effective: 7,
            cap_bset: 7,
            cap_ambient: 0,
            nr_groups: 1,
            pad: 0,
        },
        groups: vec![20],
    })
}

fn file(objref: i32, path: &str) -> Record {
    let (path, path_len) = name(path);
    Record::File(FileRecord {
        head: FileHead {
            objref,
            kind: 1,
            flags: 0o100_002,
            rdev_major: 0,
            rdev_minor: 0,
            cred: 1,
            mode: 0o100_644,
            path_len,
            pos: 7,
            size: 9,
            object: 0,
            state: 0,
        },
        path,
    })
}

/// A memfd with a page of contents.
fn memfd(objref: i32) -> [Record; 3] {
    let (name, name_len) = name("sample");
    [
        Record::Memfd(Memfd {
            head: MemfdHead {
                objref,
                seals: 6,
                size: 0x1234,
                mtime: 1_700_000_000_000_000_001,
                uid: 1001,
                gid: 20,
                mode: 0o640,
                name_len,
            },
            name,
        }),
        pages(0x1000, 0x66),
        Record::ShmemEnd(ShmemEnd { objref, pad: 0 }),
    ]
}

/// That memfd, as it was created.
fn memfd_file(objref: i32, object: i32) -> Record {
    let Record::File(mut it) = file(objref, "/") else {
        unreachable!("a FILE");
    };
    it.head.kind = 4;
    it.head.object = object;
    it.head.path_len = 0;
    it.path = Name(Vec::new());
    Record::File(it)
}

/// A file without a name, with a page of contents.
fn unlinked(objref: i32) -> [Record; 3] {
    let (path, path_len) = name("/a/gone");
    [
        Record::Unlinked(Unlinked {
            head: UnlinkedHead {
                objref,
                flags: 1,
                size: 0x1234,
                mtime: 1_700_000_000_000_000_002,
                uid: 1001,
                gid: 20,
                mode: 0o600,
                path_len,
            },
            path,
        }),
        pages(0x1000, 0x67),
        Record::ShmemEnd(ShmemEnd { objref, pad: 0 }),
    ]
}

/// That file, open.
fn unlinked_file(objref: i32, object: i32) -> Record {
    let Record::File(mut it) = file(objref, "/a/gone") else {
        unreachable!("a FILE");
    };
    it.head.kind = 6;
    it.head.object = object;
    Record::File(it)
}

/// A pipe with two pieces in it.
fn pipe(objref: i32) -> [Record; 3] {
    let piece = |offset, flags, data: &[u8]| {
        Record::PipeBuf(PipeBuf {
            head: PipeBufHead {
                objref,
                offset,
                len: u32::try_from(data.len()).unwrap_or_default(),
                flags,
            },
            data: data.to_vec(),
        })
    };
    [
        Record::Pipe(Pipe {
            head: PipeHead {
                objref,
                slots: 16,
                nr_bufs: 2,
                uid: 1001,
                gid: 20,
                mode: 0o600,
                atime: 1_700_000_000_000_000_003,
                mtime: 1_700_000_000_000_000_004,
                cred: 1,
                path_len: 0,
            },
            path: Name(Vec::new()),
        }),
        piece(5, 1, b"packet"),
        piece(0, 2, b"the rest of it"),
    ]
}

/// The end of that pipe that is read.
fn pipe_file(objref: i32, object: i32) -> Record {
    let Record::File(mut it) = memfd_file(objref, object) else {
        unreachable!("a FILE");
    };
    it.head.kind = 7;
    it.head.mode = 0o010_600;
    it.head.state = 1;
    (it.head.pos, it.head.size) = (0, 0);
    Record::File(it)
}

/// A timer, and its file.
fn timerfd(objref: i32) -> [Record; 2] {
    let Record::File(mut it) = memfd_file(objref, 0) else {
        unreachable!("a FILE");
    };
    it.head.kind = 11;
    it.head.mode = 0o600;
    (it.head.pos, it.head.size) = (0, 0);
    let timer = Timerfd {
        objref,
        clock: 1,
        flags: 1,
        settime_flags: 1,
        ticks: 2,
        time_left: 5_000_000_000,
        interval: 1_000_000,
    };
    [Record::Timerfd(timer), Record::File(it)]
}

/// An open epoll set.
fn epoll_file(objref: i32) -> Record {
    let [_, Record::File(mut it)] = timerfd(objref) else {
        unreachable!("a FILE");
    };
    it.head.kind = 12;
    Record::File(it)
}

/// A pidfd of a child, and two of a process that is gone.
fn pidfds(objref: i32) -> [Record; 3] {
    [(0, 3), (1, 0), (2, 0)].map(|(more, pid)| {
        let Record::File(mut it) = epoll_file(objref + more) else {
            unreachable!("a FILE");
        };
        it.head.kind = FileRecord::PIDFD;
        it.head.mode = 0o100_700;
        it.head.size = pid;
        it.head.object = if more == 2 { objref + 1 } else { 0 };
        Record::File(it)
    })
}

/// What it watches: a timer that has told, and a pipe whose edge is to be told.
fn epoll(objref: i32) -> [Record; 3] {
    let set = Epoll {
        objref,
        nr_items: 2,
        busy_poll_usecs: 20,
        busy_poll_budget: 8,
        prefer_busy_poll: 1,
        pad: 0,
    };
    let pipe = EpollItem {
        file: 45,
        fd: 7,
        events: 0x8000_0019,
        flags: 1,
        data: 0x1234_5678_9abc_def0,
        sighand: 0,
        pad: 0,
    };
    let timer = EpollItem {
        file: 46,
        fd: 5,
        events: 0x4000_0000,
        flags: 0,
        data: 6,
        sighand: 0,
        pad: 0,
    };
    [
        Record::Epoll(set),
        Record::EpollItem(pipe),
        Record::EpollItem(timer),
    ]
}

/// Locks of an open file, and of the table.
fn locks() -> [Record; 2] {
    let whole = Lock {
        file: 2,
        owner: 0,
        kind: 1,
        flags: 1,
        start: 0,
        end: i64::MAX,
        pid: 2,
        pad: 0,
    };
    let bytes = Lock {
        file: 3,
        owner: 4,
        kind: 2,
        flags: 1,
        start: 5,
        end: 9,
        pid: 1,
        pad: 0,
    };
    [Record::Lock(whole), Record::Lock(bytes)]
}

/// A lease that is to be given up, and who gets a signal when there is something in the pipe.
fn told() -> [Record; 2] {
    let lease = Lease {
        file: 3,
        pid: 1,
        flags: 3,
        fd: 1,
        break_left: 45_000_000_000,
        downgrade_left: -1,
    };
    let owner = Owner {
        file: 45,
        flags: 1,
        kind: 1,
        pid: 2,
        uid: 1000,
        euid: 1000,
        signal: 34,
        fd: 13,
    };
    [Record::Lease(lease), Record::Owner(owner)]
}

fn files() -> Record {
    let fd = |fd, file, flags| Fd {
        fd,
        file,
        flags,
        pad: 0,
    };
    Record::Files(Files {
        head: FilesHead {
            objref: 4,
            nr_fds: 11,
        },
        fds: vec![
            fd(0, 2, 0),
            fd(1, 2, 0),
            fd(9, 3, 1),
            fd(11, 17, 0),
            fd(12, 43, 0),
            fd(13, 45, 0),
            fd(14, 46, 0),
            fd(15, 47, 0),
            fd(16, 48, 0),
            fd(17, 49, 0),
            fd(18, 50, 0),
        ],
    })
}

fn fs() -> Record {
    let ((root, root_len), (cwd, cwd_len)) = (name("/"), name("/scenario"));
    Record::Fs(Fs {
        head: FsHead {
            objref: 5,
            umask: 0o22,
            root_len,
            cwd_len,
        },
        root,
        cwd,
    })
}

fn sighand(objref: i32) -> Record {
    let none = Sigaction {
        handler: 0,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
    let mut action = [none; 64];
    action[9] = Sigaction {
        handler: 0x40_0000,
        flags: 4,
        restorer: 0x40_1000,
        mask: 1 << 11,
    };
    Record::Sighand(Sighand {
        objref,
        pad: 0,
        action: Actions(action),
    })
}

fn pages(start: u64, byte: u8) -> Record {
    Record::Pages(Pages {
        head: PagesHead {
            start,
            nr_pages: 1,
            pad: 0,
        },
        data: vec![byte; PAGE as usize],
    })
}

/// Shared memory of four pages, with one that was touched.
fn uts_ns(objref: i32) -> Record {
    Record::UtsNs(UtsNs {
        objref,
        pad: 0,
        nodename: text("node"),
        domainname: text("(none)"),
    })
}

fn seccomp(objref: i32, before: i32) -> Record {
    let load = Insn {
        code: 0x20,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let allow = Insn {
        code: 0x06,
        k: 0x7fff_0000,
        ..load
    };
    Record::Seccomp(Seccomp {
        head: SeccompHead {
            objref,
            before,
            flags: 1,
            nr_insns: 2,
        },
        insns: vec![load, allow],
    })
}

fn ipc_ns(objref: i32) -> Record {
    Record::IpcNs(IpcNs {
        objref,
        pad: 0,
        shmmax: u64::MAX - (1 << 24),
        shmall: u64::MAX - (1 << 24),
        shmmni: 4096,
        shm_rmid_forced: 0,
        msgmax: 8192,
        msgmnb: 16384,
        msgmni: 32000,
        semmsl: 32000,
        semmns: 1_024_000_000,
        semopm: 500,
        semmni: 32000,
        mq_queues_max: 256,
        mq_msg_max: 10,
        mq_msgsize_max: 8192,
        mq_msg_default: 10,
        mq_msgsize_default: 8192,
    })
}

fn shmem(objref: i32) -> [Record; 3] {
    [
        Record::Shmem(Shmem {
            objref,
            flags: 1,
            size: 0x4000,
        }),
        pages(0x1000, 0x77),
        Record::ShmemEnd(ShmemEnd { objref, pad: 0 }),
    ]
}

/// An address space of two mappings, with a page in each, and one of shared memory.
fn memory(objref: i32, shmem: i32) -> Vec<Record> {
    let mm = Mm {
        head: MmHead {
            objref,
            exe: 2,
            start_code: 0x1000,
            end_code: 0x2000,
            start_data: 0x3000,
            end_data: 0x4000,
            start_brk: 0x5000,
            brk: 0x6000,
            start_stack: 0x7000,
            arg_start: 8,
            arg_end: 9,
            env_start: 10,
            env_end: 11,
            mmap_base: 12,
            vdso_start: 0,
            vdso_len: 0,
            vdso_hash: 0,
            nr_vmas: 3,
            dumpable: 1,
            nr_auxv: 4,
            flags: 1,
            dump_filter: 0x33,
            membarrier: 0x10,
            pkeys: 0x6,
            execute_only_pkey: 2,
        },
        auxv: vec![6, 4096, 0, 0],
    };
    let vma = |kind, start, end, file| {
        Record::Vma(Vma {
            kind,
            flags: if kind == 5 { 0x43b } else { 0x3b },
            start,
            end,
            pgoff: 0,
            file,
            pkey: u32::from(kind == 1),
            name: text(if kind == 1 { "heap of mine" } else { "" }),
        })
    };
    vec![
        Record::Mm(mm),
        vma(2, 0x1000, 0x3000, 2),
        pages(0x2000, 0x5a),
        vma(1, 0x8000, 0xb000, 0),
        pages(0x9000, 0xa5),
        vma(5, 0x20_0000, 0x20_2000, shmem),
        Record::Ldt(Ldt {
            head: LdtHead {
                nr_entries: 2,
                pad: 0,
            },
            entries: vec![0, 0x00cf_f300_1000_ffff],
        }),
        Record::MmEnd(MmEnd { objref, pad: 0 }),
    ]
}

fn posix_timers(pid: i32) -> Record {
    Record::PosixTimers(PosixTimers {
        head: PosixTimersHead {
            nr_timers: 1,
            next_id: 4,
        },
        timers: vec![PosixTimer {
            id: 3,
            clock: 1,
            notify: 0,
            signo: 14,
            value: 3,
            target: pid,
            clock_target: 0,
            flags: 1,
            requeue: 2,
            time_left: 900,
            interval: 100,
            overrun: -1,
            overrun_last: 0,
        }],
    })
}

/// What a task has of its own, from `TASK_OBJS` on.
fn own(pid: i32, mm: i32, sighand: i32) -> Vec<Record> {
    let limit = Rlimit {
        soft: 1024,
        hard: u64::MAX,
    };
    let info = Siginfo {
        signo: 1,
        error: 0,
        code: -1,
        flags: 0,
        fields: [3; 32],
    };
    vec![
        Record::TaskObjs(TaskObjs {
            cred: 1,
            files: 4,
            fs: 5,
            sighand,
            mm,
            uts_ns: 10,
            ipc_ns: 11,
            time_ns: if pid == 1 { 0 } else { 12 },
            seccomp: if pid == 1 { 0 } else { 14 },
            pid_ns: if pid == 1 { 40 } else { 0 },
        }),
        Record::Rlimits(Rlimits {
            limits: [limit; 16],
        }),
        Record::Attributes(Attributes {
            flags: 2,
            policy: 0,
            nice: 3,
            rt_priority: 0,
            slice: 0,
            timer_slack: 50_000,
            default_timer_slack: 50_000,
            parent_death_signal: 9,
            oom_score_adj: -5,
            cpus: 3,
            io_priority: 0x4003,
            pad: 0,
        }),
        Record::Signals(Signals {
            blocked: 1,
            saved_mask: 0,
            flags: 0,
            altstack_flags: 2,
            altstack_sp: 0,
            altstack_size: 0,
            stop_signal: 0,
            stop_status: 0,
        }),
        Record::Pending(Pending {
            head: PendingHead {
                flags: 1,
                nr_infos: 2,
                mask: 0x201,
            },
            infos: vec![info, Siginfo { signo: 10, ..info }],
        }),
        Record::Itimers(Itimers {
            timers: [Itimer {
                value: 500,
                interval: 700,
            }; 3],
        }),
        posix_timers(pid),
        Record::RestartBlock(RestartBlock {
            kind: 1,
            clock: 1,
            uaddr: 0x50,
            time_left: 5_000_000_000,
            arch_data: 0,
            flags: 1,
            r#type: 1,
            val: 0,
            bitset: 0,
            futex_flags: 0,
            pad: 0,
        }),
        Record::Cpu(Cpu {
            syscall: -1,
            flags: 0,
            word: [0; 6],
        }),
        Record::Regset(Regset {
            head: RegsetHead {
                note: 1,
                size: 17 * 4,
            },
            data: vec![7; 17 * 4],
        }),
        Record::TaskEnd(TaskEnd { pid, pad: 0 }),
    ]
}

fn task(pid: i32) -> Record {
    Record::Task(Task {
        pid,
        personality: 0,
        comm: text("counter"),
        set_child_tid: 0,
        clear_child_tid: 0x10,
        robust_list: 0x20,
        rseq: 0x30,
        robust_list_len: 24,
        rseq_len: 32,
        rseq_sig: 0x5305_3053,
        pad: 0,
    })
}

fn used(utime: u64) -> Usage {
    Usage {
        utime,
        stime: 3,
        voluntary: 5,
        involuntary: 7,
        minor_faults: 9,
        major_faults: 11,
    }
}

/// The second has nothing that a thread could not have. One bit less in a number is a step back, which no task makes.
fn usage(pid: i32) -> Record {
    let nothing = Usage {
        utime: 0,
        stime: 0,
        voluntary: 0,
        involuntary: 0,
        minor_faults: 0,
        major_faults: 0,
    };
    let own = UsageRecord {
        runtime: 1_000_001,
        age: 5_000_001,
        boot_age: 6_000_001,
        shown_utime: 7,
        shown_stime: 9,
        task: used(900_001),
        exited: nothing.clone(),
        exited_runtime: 0,
        group_shown_utime: 0,
        group_shown_stime: 0,
        max_rss: 0,
        children: nothing,
        children_max_rss: 0,
    };
    if pid == 2 {
        return Record::Usage(own);
    }
    Record::Usage(UsageRecord {
        exited: used(11),
        exited_runtime: 9,
        group_shown_utime: 13,
        group_shown_stime: 11,
        max_rss: 0x5000,
        children: used(21),
        children_max_rss: 0x3000,
        ..own
    })
}

/// All records of a valid image but its trailer: two tasks that share all but their memory and signal actions, and a zombie.
pub fn records(arch: Arch) -> Vec<Record> {
    let mut records = head(arch);
    records.extend([task(1), usage(1)]);
    records.extend([cred(), file(2, "/a/b"), file(3, "/c")]);
    records.extend(memfd(16));
    records.push(memfd_file(17, 16));
    records.extend(unlinked(42));
    records.push(unlinked_file(43, 42));
    records.extend(pipe(44));
    records.push(pipe_file(45, 44));
    records.extend(timerfd(46));
    records.push(epoll_file(47));
    records.extend(pidfds(48));
    records.extend([files(), fs(), sighand(6)]);
    records.extend(shmem(9));
    records.extend(memory(7, 9));
    records.extend([uts_ns(10), ipc_ns(11)]);
    records.extend(own(1, 7, 6));
    records.extend([task(2), usage(2), sighand(15)]);
    records.extend(memory(8, 9));
    records.push(Record::TimeNs(TimeNs {
        objref: 12,
        pad: 0,
        monotonic: 77_000_000_001,
        boottime: 78_000_000_001,
    }));
    records.extend([seccomp(13, 0), seccomp(14, 13)]);
    records.extend(own(2, 8, 15));
    records.extend([
        task(3),
        usage(3),
        Record::Exit(Exit {
            status: 0x1100,
            cred: 1,
            sighand: 6,
            pad: 0,
            blocked: 8,
            pending: 0x100,
            shared_pending: 0,
        }),
        Record::TaskEnd(TaskEnd { pid: 3, pad: 0 }),
    ]);
    records.extend(epoll(47));
    records.extend(locks());
    records.extend(told());
    records
}

/// An ERROR record.
pub fn error(errno: i32, text: &str) -> Record {
    let (text, text_len) = name(text);
    Record::Error(ErrorRecord {
        head: ErrorHead {
            error: errno,
            pid: 4,
            objref: 0,
            text_len,
        },
        text,
    })
}

/// These records as a stream in an architecture's byte order.
pub fn writer(arch: Arch, records: &[Record]) -> Writer {
    let mut to = Writer::new(arch.byte_order());
    for record in records {
        to.record(record);
    }
    to
}

/// A valid image.
pub fn image(arch: Arch) -> Vec<u8> {
    writer(arch, &records(arch)).finish()
}
