//! Every rule of [`verify`](crate::verify), broken once.

use crate::records::{TaskObjs, TreeTask};
use crate::sample::{error, image, records, writer};
use crate::{Arch, Defect, Record, VerifyError, verify};

/// What is wrong with the sample after a change of its records, with a right trailer.
fn defect(change: impl FnOnce(&mut Vec<Record>)) -> Defect {
    let mut records = records(Arch::S390x);
    change(&mut records);
    let bytes = writer(Arch::S390x, &records).finish();
    match verify(bytes.as_slice()) {
        Err(VerifyError::Defect(defect)) => defect,
        other => panic!("a defect is expected: {other:?}"),
    }
}

/// The first record of this type.
fn first(records: &[Record], name: &str) -> usize {
    let found = records.iter().position(|record| record.type_name() == name);
    found.unwrap()
}

/// The last task's objects.
fn last_objs(records: &mut [Record]) -> &mut TaskObjs {
    let found = records.iter_mut().rev().find_map(|record| match record {
        Record::TaskObjs(it) => Some(it),
        _ => None,
    });
    found.unwrap()
}

/// A change of the first record of a type is told with this record and field.
macro_rules! check {
    ($($kind:ident $name:literal . $field:literal: |$it:ident| $change:expr;)*) => {$(
        let found = defect(|records| {
            let at = first(records, $name);
            match &mut records[at] {
                Record::$kind($it) => $change,
                _ => unreachable!(),
            }
        });
        assert_eq!((found.record, &*found.field), ($name, $field), "{found}");
    )*};
}

#[test]
fn good_images_are_valid() {
    for arch in Arch::ALL {
        let bytes = image(arch);
        let verified = verify(bytes.as_slice()).unwrap();
        assert_eq!((verified.arch, verified.tasks), (arch, 3));
        assert_eq!(verified.bytes, bytes.len() as u64);
        assert_eq!(verified.records, records(arch).len() + 1);
    }
}

#[test]
fn a_wrong_field_is_named() {
    check! {
        Header "HEADER"."version": |it| it.version = 2;
        Header "HEADER"."arch": |it| it.arch = 9;
        Header "HEADER"."magic": |it| it.magic[0] = 0;
        Header "HEADER"."word_size": |it| it.word_size = 4;
        Header "HEADER"."page_size": |it| it.page_size = 5000;
        Header "HEADER"."flags": |it| it.flags = 2;
        Header "HEADER"."features": |it| it.features = 1;
        Header "HEADER"."pad": |it| it.pad = 1;
        Tree "TREE"."flags": |it| it.head.flags = 64;
        Tree "TREE"."flags": |it| it.head.flags = 32;
        Tree "TREE"."flags": |it| it.head.flags = 12;
        Tree "TREE"."tasks[1].pid": |it| it.tasks[1].pid = 1;
        Tree "TREE"."tasks[1].ppid": |it| it.tasks[1].ppid = 2;
        Tree "TREE"."tasks[0].ppid": |it| it.tasks[0].ppid = 2;
        Tree "TREE"."tasks[0].exit_signal": |it| it.tasks[0].exit_signal = 65;
        Task "TASK"."pid": |it| it.pid = 2;
        Tree "TREE"."tasks[1].tgid": |it| it.tasks[1].tgid = 3;
        Tree "TREE"."tasks[2].ppid": |it| it.tasks[2].tgid = 2;
        Tree "TREE"."tasks[2].exit_signal": |it| (it.tasks[2].tgid, it.tasks[2].ppid) = (2, 1);
        Tree "TREE"."tasks[1].ppid": |it| it.tasks[1].tgid = 1;
        TaskEnd "TASK_END"."pid": |it| it.pid = 7;
        Exit "EXIT"."status": |it| it.status = 0x107f;
        Exit "EXIT"."status": |it| it.status = 0x80;
        Exit "EXIT"."cred": |it| it.cred = 2;
        TaskObjs "TASK_OBJS"."cred": |it| it.cred = 99;
        TaskObjs "TASK_OBJS"."mm": |it| it.mm = 1;
        TaskObjs "TASK_OBJS"."uts_ns": |it| it.uts_ns = 11;
        TaskObjs "TASK_OBJS"."ipc_ns": |it| it.ipc_ns = 99;
        TaskObjs "TASK_OBJS"."time_ns": |it| it.time_ns = -1;
        TaskObjs "TASK_OBJS"."seccomp": |it| it.seccomp = 1;
        TaskObjs "TASK_OBJS"."pid_ns": |it| it.pid_ns = 1;
        Tree "TREE"."nr_pid_ns": |it| it.head.nr_pid_ns = 3;
        Tree "TREE"."tasks[0].pad": |it| it.tasks[0].pad = 1;
        Tree "TREE"."tasks[0].cgroup": |it| it.tasks[0].cgroup = 3;
        Tree "TREE"."tasks[1].cgroup": |it| it.head.nr_cgroups = 1;
        Tree "TREE"."tasks[2].cgroup": |it| (it.tasks[2].tgid, it.tasks[2].ppid, it.tasks[2].cgroup) = (2, 1, 0);
        Cgroup "CGROUP"."parent": |it| it.parent = 1;
        Cgroup "CGROUP"."pad": |it| it.pad = 1;
        Cgroup "CGROUP"."name": |it| it.name.0.fill(0);
        Cgroup "CGROUP"."name": |it| it.name.0[1] = b'/';
        Cgroup "CGROUP"."name": |it| it.name.0[4] = b'\n';
        Usage "USAGE"."runtime": |it| it.runtime = u64::MAX;
        Usage "USAGE"."task": |it| it.task.stime = u64::MAX;
        Usage "USAGE"."exited_runtime": |it| it.exited_runtime = 1 << 63;
        Usage "USAGE"."max_rss": |it| it.max_rss = 1;
        PidNs "PID_NS"."objref": |it| it.head.objref = 0;
        PidNs "PID_NS"."parent": |it| it.head.parent = 1;
        PidNs "PID_NS"."memfd_noexec": |it| it.head.memfd_noexec = 3;
        PidNs "PID_NS"."ids[0].pid": |it| it.ids[0].pid = 7;
        PidNs "PID_NS"."ids[0].inner": |it| it.ids[0].inner = 2;
        PidNs "PID_NS"."ids[1].inner": |it| it.ids[1].inner = 1;
        PidNs "PID_NS"."ids[2].inner": |it| it.ids[2].inner = 2;
        PidNs "PID_NS"."ids": |it| it.ids[1].pid = 2;
        Seccomp "SECCOMP"."flags": |it| it.head.flags = 2;
        Seccomp "SECCOMP"."before": |it| it.head.before = 1;
        UtsNs "UTS_NS"."pad": |it| it.pad = 1;
        UtsNs "UTS_NS"."nodename": |it| it.nodename.0[..65].fill(b'n');
        UtsNs "UTS_NS"."domainname": |it| it.domainname.0[71] = b'n';
        IpcNs "IPC_NS"."shm_rmid_forced": |it| it.shm_rmid_forced = 2;
        IpcNs "IPC_NS"."semmni": |it| it.semmni = u32::MAX;
        IpcNs "IPC_NS"."mq_msg_max": |it| it.mq_msg_max = 65537;
        TimeNs "TIME_NS"."monotonic": |it| it.monotonic = -1;
        TimeNs "TIME_NS"."boottime": |it| it.boottime = i64::MAX;
        Attributes "ATTRIBUTES"."flags": |it| it.flags = 0x80;
        Attributes "ATTRIBUTES"."nice": |it| it.nice = 20;
        Attributes "ATTRIBUTES"."oom_score_adj": |it| it.oom_score_adj = 1001;
        Attributes "ATTRIBUTES"."io_priority": |it| it.io_priority = 0x1_0000;
        Pending "PENDING"."flags": |it| it.head.flags = 2;
        Pending "PENDING"."mask": |it| it.head.mask |= 1 << 8;
        Pending "PENDING"."infos[1].signo": |it| it.infos[1].signo = 2;
        Pending "PENDING"."infos[0].flags": |it| it.infos[0].flags = 2;
        PosixTimers "POSIX_TIMERS"."next_id": |it| it.head.next_id = 1 << 31;
        PosixTimers "POSIX_TIMERS"."timers[0].id": |it| it.timers[0].id = -1;
        PosixTimers "POSIX_TIMERS"."timers[0].flags": |it| it.timers[0].flags = 8;
        PosixTimers "POSIX_TIMERS"."timers[0].signo": |it| it.timers[0].signo = 65;
        PosixTimers "POSIX_TIMERS"."timers[0].time_left": |it| it.timers[0].time_left = 0;
        Cpu "CPU"."word": |it| it.word[5] = 1;
        Cred "CRED"."objref": |it| it.head.objref = 0;
        File "FILE"."cred": |it| it.head.cred = 3;
        File "FILE"."path": |it| it.path.0[0] = b'a';
        File "FILE"."path": |it| it.path.0[1] = 0;
        Fs "FS"."paths": |it| it.root.0[1] = b'a';
        Files "FILES"."fds[1].fd": |it| it.fds[1].fd = 0;
        Files "FILES"."fds[2].file": |it| it.fds[2].file = 5;
        Files "FILES"."fds[2].flags": |it| it.fds[2].flags = 2;
        Files "FILES"."fds[2].pad": |it| it.fds[2].pad = 2;
    }
}

#[test]
fn a_wrong_field_of_memory_is_named() {
    check! {
        Mm "MM"."exe": |it| it.head.exe = 1;
        Mm "MM"."flags": |it| it.head.flags = 0x40;
        Mm "MM"."dump_filter": |it| it.head.dump_filter = 0x200;
        Mm "MM"."pkeys": |it| it.head.pkeys = 1;
        Mm "MM"."execute_only_pkey": |it| it.head.execute_only_pkey = 3;
        Shmem "SHMEM"."flags": |it| it.flags = 2;
        Shmem "SHMEM"."size": |it| it.size = 0x4001;
        ShmemEnd "SHMEM_END"."objref": |it| it.objref = 8;
        Mount "MOUNT"."kind": |it| it.head.kind = 5;
        Mount "MOUNT"."attrs": |it| it.head.attrs = 0x40;
        Mount "MOUNT"."attrs": |it| it.head.attrs = 0x30;
        Mount "MOUNT"."mode": |it| it.head.mode = 0o10000;
        Mount "MOUNT"."size": |it| (it.head.kind, it.head.nodes) = (3, 0);
        Mount "MOUNT"."more": |it| it.head.more = 2;
        Mount "MOUNT"."source": |it| it.head.source = 1;
        Mount "MOUNT"."names": |it| it.path.0[0] = b'a';
        Mount "MOUNT"."source_len": |it| it.source.0[1] = 0;
        Mount "MOUNT"."attrs": |it| it.head.kind = 1;
        Mount "MOUNT"."source_len": |it| it.source.0[5] = b'a';
        Mount "MOUNT"."nodes": |it| it.head.nodes = 0;
        Mount "MOUNT"."nodes": |it| it.head.nodes = (1 << 20) + 1;
        Mount "MOUNT"."h.type": |it| it.head.nodes = 6;
        Node "NODE"."folder": |it| it.head.folder = 1;
        Node "NODE"."folder": |it| it.head.mode = 0o100_777;
        Node "NODE"."mode": |it| it.head.mode = 0o1_777;
        Node "NODE"."mode": |it| it.head.mode |= 0x10000;
        Node "NODE"."same": |it| it.head.same = 1;
        Node "NODE"."uid": |it| it.head.uid = u32::MAX;
        Node "NODE"."size": |it| it.head.size = 1;
        Node "NODE"."major": |it| it.head.major = 1;
        Node "NODE"."pad": |it| it.head.pad = 1;
        Node "NODE"."names": |it| it.name.0[0] = b'a';
        Node "NODE"."target_len": |it| (it.head.target_len, it.target.0) = (1, vec![0]);
        Unlinked "UNLINKED"."flags": |it| it.head.flags = 2;
        Unlinked "UNLINKED"."mode": |it| it.head.mode = 0o4755;
        Unlinked "UNLINKED"."size": |it| it.head.size = u64::MAX;
        Unlinked "UNLINKED"."path": |it| it.path.0[0] = b'a';
        Memfd "MEMFD"."seals": |it| it.head.seals = 0x40;
        Memfd "MEMFD"."mode": |it| it.head.mode = 0o4755;
        Memfd "MEMFD"."size": |it| it.head.size = u64::MAX;
        Memfd "MEMFD"."name": |it| it.name.0[0] = 0;
        Pipe "PIPE"."slots": |it| it.head.slots = 3;
        Pipe "PIPE"."slots": |it| it.head.slots = 1 << 30;
        Pipe "PIPE"."nr_bufs": |it| it.head.nr_bufs = 17;
        Pipe "PIPE"."mode": |it| it.head.mode = 0o4600;
        Pipe "PIPE"."cred": |it| it.head.cred = 2;
        Pipe "PIPE"."mode": |it| (it.head.path_len, it.path.0) = (3, b"/f\0".to_vec());
        Pipe "PIPE"."path": |it| (it.head.path_len, it.path.0) = (2, b"f\0".to_vec());
        PipeBuf "PIPE_BUF"."objref": |it| it.head.objref = 16;
        PipeBuf "PIPE_BUF"."len": |it| it.head.offset = 4091;
        PipeBuf "PIPE_BUF"."flags": |it| it.head.flags = 3;
        Timerfd "TIMERFD"."objref": |it| it.objref = 0;
        Timerfd "TIMERFD"."flags": |it| it.flags = 16;
        Timerfd "TIMERFD"."flags": |it| it.flags = 1 | 4;
        Timerfd "TIMERFD"."settime_flags": |it| it.settime_flags = 4;
        Timerfd "TIMERFD"."interval": |it| it.interval = -1;
        Timerfd "TIMERFD"."clock": |it| it.clock = 2;
        Timerfd "TIMERFD"."time_left": |it| it.time_left = i64::MIN;
        Timerfd "TIMERFD"."time_left": |it| it.flags = 0;
        Timerfd "TIMERFD"."time_left": |it| (it.clock, it.flags, it.time_left) = (0, 3, -1);
        Timerfd "TIMERFD"."flags": |it| it.flags = 3;
        Timerfd "TIMERFD"."flags": |it| (it.clock, it.flags) = (0, 9);
        File "FILE"."kind": |it| it.head.kind = 14;
        File "FILE"."object": |it| (it.head.kind, it.head.object) = (9, 1);
        File "FILE"."size": |it| (it.head.kind, it.head.size, it.head.pos, it.head.path_len, it.path.0) = (13, 9, 0, 0, Vec::new());
        File "FILE"."object": |it| (it.head.kind, it.head.size, it.head.object, it.head.pos, it.head.path_len, it.path.0) = (13, 0, 2, 0, 0, Vec::new());
        File "FILE"."state": |it| (it.head.kind, it.head.state, it.head.path_len, it.head.pos, it.path.0) = (10, 4, 0, 0, Vec::new());
        File "FILE"."pos": |it| (it.head.kind, it.head.path_len, it.path.0) = (10, 0, Vec::new());
        File "FILE"."size": |it| (it.head.kind, it.head.size, it.head.path_len, it.head.pos, it.path.0) = (10, 256, 0, 0, Vec::new());
        File "FILE"."state": |it| it.head.state = 1;
        File "FILE"."object": |it| it.head.object = 16;
        File "FILE"."path": |it| it.head.kind = 5;
        Vma "VMA"."kind": |it| it.kind = 6;
        Vma "VMA"."flags": |it| it.flags |= 0x20_0000;
        Vma "VMA"."start": |it| it.start = 1;
        Vma "VMA"."end": |it| it.end = it.start;
        Vma "VMA"."file": |it| it.file = 0;
        Vma "VMA"."pkey": |it| it.pkey = 16;
        Vma "VMA"."name": |it| it.name.0[2] = b'[';
        Vma "VMA"."name": |it| it.name.0[79] = b'a';
        Pages "PAGES"."nr_pages": |it| it.head.nr_pages = 2;
        Pages "PAGES"."start": |it| it.head.start = 0x4000;
        Ldt "LDT"."nr_entries": |it| (it.head.nr_entries, it.entries) = (0, Vec::new());
        Ldt "LDT"."pad": |it| it.head.pad = 1;
        Ldt "LDT"."entries[0]": |it| it.entries[0] = 1;
        Ldt "LDT"."entries[1]": |it| it.entries[1] |= 1 << 53;
        Ldt "LDT"."entries[1]": |it| it.entries[1] |= 3 << 42;
        MmEnd "MM_END"."objref": |it| it.objref = 8;
    }
}

#[test]
fn a_wrong_field_behind_the_tasks_is_named() {
    check! {
        Epoll "EPOLL"."objref": |it| it.objref = 46;
        Epoll "EPOLL"."pad": |it| it.pad = 1;
        Epoll "EPOLL"."prefer_busy_poll": |it| it.prefer_busy_poll = 2;
        Epoll "EPOLL"."busy_poll_usecs": |it| it.busy_poll_usecs = 1 << 31;
        EpollItem "EPOLL_ITEM"."file": |it| it.file = 1;
        EpollItem "EPOLL_ITEM"."file": |it| it.file = 43;
        EpollItem "EPOLL_ITEM"."fd": |it| it.fd = -1;
        EpollItem "EPOLL_ITEM"."flags": |it| it.flags = 2;
        EpollItem "EPOLL_ITEM"."events": |it| it.events = 1;
        EpollItem "EPOLL_ITEM"."events": |it| it.events = 1 << 31;
        EpollItem "EPOLL_ITEM"."sighand": |it| it.sighand = 6;
        EpollItem "EPOLL_ITEM"."pad": |it| it.pad = 1;
        Lock "LOCK"."file": |it| it.file = 1;
        Lock "LOCK"."kind": |it| it.kind = 4;
        Lock "LOCK"."flags": |it| it.flags = 2;
        Lock "LOCK"."pad": |it| it.pad = 1;
        Lock "LOCK"."end": |it| it.end = 7;
        Lock "LOCK"."end": |it| (it.kind, it.start) = (3, -1);
        Lock "LOCK"."owner": |it| it.owner = 4;
        Lock "LOCK"."owner": |it| it.kind = 2;
        Lock "LOCK"."pid": |it| it.kind = 3;
        Lock "LOCK"."pid": |it| it.pid = 9;
        Lease "LEASE"."file": |it| it.file = 1;
        Lease "LEASE"."file": |it| it.file = 45;
        Lease "LEASE"."flags": |it| it.flags = 8;
        Lease "LEASE"."flags": |it| it.flags = 4;
        Lease "LEASE"."fd": |it| it.fd = -1;
        Lease "LEASE"."break_left": |it| it.break_left = -2;
        Lease "LEASE"."break_left": |it| it.flags = 1;
        Lease "LEASE"."downgrade_left": |it| it.downgrade_left = i64::MIN;
        Lease "LEASE"."pid": |it| it.pid = 9;
        Owner "OWNER"."file": |it| it.file = 1;
        Owner "OWNER"."flags": |it| it.flags = 2;
        Owner "OWNER"."flags": |it| it.file = 3;
        Owner "OWNER"."kind": |it| it.kind = 3;
        Owner "OWNER"."signal": |it| it.signal = 65;
        Owner "OWNER"."fd": |it| it.fd = -1;
        Owner "OWNER"."fd": |it| it.flags = 0;
        Owner "OWNER"."pid": |it| it.pid = 9;
    }
}

/// What breaks an image, and the record and the field that are named then.
type Broken = (fn(&mut Vec<Record>), &'static str, &'static str);

#[track_caller]
fn check_broken(table: &[Broken]) {
    for &(change, record, field) in table {
        let found = defect(change);
        assert_eq!((found.record, &*found.field), (record, field), "{found}");
    }
}

#[test]
fn order_behind_the_tasks_is_checked() {
    check_broken(&[
        (
            |it| {
                let at = first(it, "LEASE");
                it.insert(at, it[at].clone());
            },
            "LEASE",
            "file",
        ),
        (
            |it| {
                let at = first(it, "LOCK");
                it.swap(at, at + 1);
            },
            "LOCK",
            "file",
        ),
        (
            |it| {
                let at = first(it, "OWNER");
                it.insert(at, it[at].clone());
            },
            "OWNER",
            "file",
        ),
        (
            |it| {
                let [lock, owner] = ["LOCK", "OWNER"].map(|name| first(it, name));
                it.swap(lock, owner);
            },
            "LOCK",
            "h.type",
        ),
        (
            |it| drop(it.remove(first(it, "EPOLL"))),
            "EPOLL_ITEM",
            "h.type",
        ),
        (|it| it.truncate(first(it, "EPOLL")), "TRAILER", "h.type"),
        (
            |it| {
                let [set, lock] = ["EPOLL", "LOCK"].map(|name| first(it, name));
                it.swap(set, lock);
            },
            "LOCK",
            "h.type",
        ),
        (
            |it| {
                let at = first(it, "EPOLL_ITEM");
                it.swap(at, at + 1);
            },
            "EPOLL_ITEM",
            "flags",
        ),
        // The last task has no end, the last set lacks an item.
        (
            |it| it.truncate(first(it, "EPOLL") - 1),
            "TRAILER",
            "h.type",
        ),
        (|it| it.truncate(first(it, "LOCK") - 1), "TRAILER", "h.type"),
    ]);
}

#[test]
fn order_and_completeness_are_checked() {
    check_broken(&[
        (|it| it.swap(18, 39), "FILES", "fds[0].file"),
        (
            |it| drop(it.remove(first(it, "PIPE_BUF"))),
            "FILE",
            "h.type",
        ),
        (|it| drop(it.remove(first(it, "TIMERFD"))), "FILE", "kind"),
        (|it| it.swap(0, 1), "HEADER", "magic"),
        (|it| drop(it.remove(1)), "PID_NS", "h.type"),
        (
            |it| {
                let at = first(it, "CRED");
                let again = it[at].clone();
                it.insert(at + 1, again);
            },
            "CRED",
            "objref",
        ),
        (|it| drop(it.remove(first(it, "VMA"))), "PAGES", "h.type"),
        (
            |it| drop(it.remove(first(it, "MM_END"))),
            "UTS_NS",
            "h.type",
        ),
        (
            |it| drop(it.remove(first(it, "REGSET"))),
            "TASK_END",
            "h.type",
        ),
        (
            |it| {
                let at = first(it, "REGSET");
                let again = it[at].clone();
                it.insert(at, again);
            },
            "REGSET",
            "note",
        ),
        (
            |it| {
                let at = first(it, "FILES");
                if let Record::Files(files) = &mut it[at] {
                    files.fds.pop();
                    files.head.nr_fds = 10;
                }
            },
            "TRAILER",
            "objref",
        ),
        (|it| last_objs(it).sighand = 6, "TASK_OBJS", "mm"),
        (
            |it| {
                if let Record::Tree(tree) = &mut it[1] {
                    tree.tasks[1] = TreeTask {
                        tgid: 1,
                        exit_signal: 0,
                        ..tree.tasks[0]
                    };
                    tree.tasks[1].pid = 2;
                }
                it.retain(|record| !matches!(record, Record::Itimers(_)));
            },
            "TASK_OBJS",
            "sighand",
        ),
    ]);
}

#[test]
fn broken_streams_are_placed() {
    let intact = image(Arch::X86_64);
    let len = intact.len();
    let found = |bytes: &[u8]| verify(bytes).unwrap_err().to_string();
    assert!(found(&intact[..len - 32]).contains("a record's header"));
    assert!(found(&intact[..300]).starts_with("byte 256, TREE, h.len: "));
    let mut flipped = intact.clone();
    flipped[len - 1] ^= 1;
    let at = len - 32;
    assert!(found(&flipped).starts_with(&format!("byte {at}, TRAILER, checksum: ")));
    assert!(
        found(&[&intact[..], b"x"].concat()).starts_with(&format!("byte {len}, TRAILER, h.len"))
    );
    assert!(found(b"").starts_with("byte 0, HEADER, magic: "));
    let failed = [&records(Arch::X86_64)[..2], &[error(16, "flocked")]].concat();
    let failed = writer(Arch::X86_64, &failed).into_bytes();
    let said = found(&failed);
    assert!(
        said.contains("ERROR, error: the checkpoint had failed: flocked"),
        "{said}"
    );
}
