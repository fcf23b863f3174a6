//! An image as text: one line a record, details indented below it.

use std::fmt::Write;

use crate::fixed::ByteOrder;
use crate::reader::{Image, Located};
use crate::records::{
    Arch, Attributes, Cred, Epoll, EpollItem, FileRecord, Files, Header, IpcNs, Itimers, Ldt,
    Lease, Lock, Memfd, Mm, Mount, Node, Owner, Pending, PidNs, Pipe, PipeBuf, PosixTimers, Record,
    Regset, RestartBlock, Rlimits, Seccomp, Sighand, Signals, Task, TaskObjs, Timerfd, Tree,
    Unlinked, Usage, UsageRecord, Vma, describe_bytes, hex_digits,
};
use crate::regs;

/// Names of RLIMIT_* in their order.
const RLIMITS: [&str; 16] = [
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
];

/// `name` of a number, or the number itself.
fn named(names: &[&str], number: u32) -> String {
    usize::try_from(number)
        .ok()
        .and_then(|place| names.get(place))
        .filter(|name| !name.is_empty())
        .map_or_else(|| number.to_string(), |name| (*name).to_owned())
}

/// Set bits by name, `-` if there is none.
fn flags(names: &[(u32, &str)], value: u32) -> String {
    let mut left = value;
    let mut set: Vec<String> = Vec::new();
    for &(bit, name) in names {
        if value & bit != 0 {
            set.push(name.to_owned());
            left &= !bit;
        }
    }
    if left != 0 {
        set.push(format!("{left:#x}"));
    }
    if set.is_empty() {
        "-".to_owned()
    } else {
        set.join("|")
    }
}

fn header(header: &Header, order: ByteOrder) -> String {
    let arch = Arch::from_number(header.arch).map_or("unknown", Arch::name);
    let order = match order {
        ByteOrder::Little => "little-endian",
        ByteOrder::Big => "big-endian",
    };
    format!(
        "version {} {arch} {order} words of {} and pages of {} bytes, id {}, flags {}, time {} ns\n  kernel {} {} {}",
        header.version,
        header.word_size,
        header.page_size,
        header.id,
        flags(&[(1, "SUBTREE")], header.flags),
        header.time,
        header.release.as_str(),
        header.machine.as_str(),
        header.build.as_str(),
    )
}

fn tree(tree: &Tree) -> String {
    let mut out = format!(
        "{} tasks, flags {:#x}, {} pid namespaces below the root's, {} cgroups below the tree's",
        tree.head.nr_tasks, tree.head.flags, tree.head.nr_pid_ns, tree.head.nr_cgroups
    );
    for task in &tree.tasks {
        let _ = write!(
            out,
            "\n  pid {} tgid {} ppid {} pgid {} sid {} exit signal {} cgroup {}",
            task.pid, task.tgid, task.ppid, task.pgid, task.sid, task.exit_signal, task.cgroup
        );
    }
    out
}

fn used(it: &Usage) -> String {
    format!(
        "user {} ns kernel {} ns, switches {} voluntary {} not, faults {} minor {} major",
        it.utime, it.stime, it.voluntary, it.involuntary, it.minor_faults, it.major_faults
    )
}

fn usage(it: &UsageRecord) -> String {
    format!(
        "ran {} ns, {} ns old, since boot {} ns, shown {} and {} ns\n  {}\n  exited threads: ran {} ns, {}\n  process: shown {} and {} ns, at most {} bytes resident\n  children: at most {} bytes resident, {}",
        it.runtime,
        it.age,
        it.boot_age,
        it.shown_utime,
        it.shown_stime,
        used(&it.task),
        it.exited_runtime,
        used(&it.exited),
        it.group_shown_utime,
        it.group_shown_stime,
        it.max_rss,
        it.children_max_rss,
        used(&it.children),
    )
}

fn pid_ns(it: &PidNs) -> String {
    let mut out = format!(
        "#{} in #{}, {} numbers",
        it.head.objref, it.head.parent, it.head.nr_ids
    );
    if it.head.memfd_noexec != 0 {
        let _ = write!(out, ", vm.memfd_noexec {}", it.head.memfd_noexec);
    }
    for id in &it.ids {
        let _ = write!(out, "\n  pid {} is {}", id.pid, id.inner);
    }
    out
}

fn task_objs(it: &TaskObjs) -> String {
    format!(
        "cred #{} files #{} fs #{} sighand #{} mm #{} uts #{} ipc #{} time #{} seccomp #{} pid (of children) #{}",
        it.cred,
        it.files,
        it.fs,
        it.sighand,
        it.mm,
        it.uts_ns,
        it.ipc_ns,
        it.time_ns,
        it.seccomp,
        it.pid_ns
    )
}

fn task(task: &Task) -> String {
    format!(
        "pid {} {:?} personality {:#x}\n  set_child_tid {:#x} clear_child_tid {:#x} robust_list {:#x}+{} rseq {:#x}+{} signature {:#x}",
        task.pid,
        task.comm.as_str(),
        task.personality,
        task.set_child_tid,
        task.clear_child_tid,
        task.robust_list,
        task.robust_list_len,
        task.rseq,
        task.rseq_len,
        task.rseq_sig,
    )
}

fn rlimits(rlimits: &Rlimits) -> String {
    let text = |value: u64| {
        if value == u64::MAX {
            "unlimited".to_owned()
        } else {
            value.to_string()
        }
    };
    let mut out = String::new();
    for (name, limit) in RLIMITS.iter().zip(&rlimits.limits) {
        let _ = write!(out, "\n  {name} {} {}", text(limit.soft), text(limit.hard));
    }
    out
}

fn attributes(it: &Attributes) -> String {
    format!(
        "flags {} policy {} nice {} priority {} slice {} ns timer slack {} of {} ns parent death signal {} oom_score_adj {} CPUs {:#x} I/O priority {:#x}",
        flags(
            &[
                (1, "RESET_ON_FORK"),
                (2, "NO_NEW_PRIVS"),
                (4, "MCE_SET"),
                (8, "MCE_EARLY"),
                (0x10, "IO_FLUSHER"),
                (0x20, "SUBREAPER"),
                (0x40, "SECCOMP_STRICT"),
            ],
            it.flags
        ),
        it.policy,
        it.nice,
        it.rt_priority,
        it.slice,
        it.timer_slack,
        it.default_timer_slack,
        it.parent_death_signal,
        it.oom_score_adj,
        it.cpus,
        it.io_priority
    )
}

fn itimers(it: &Itimers) -> String {
    let [real, cpu, profile] = it.timers;
    format!(
        "real {}+{} virtual {}+{} profiling {}+{} ns",
        real.value, real.interval, cpu.value, cpu.interval, profile.value, profile.interval
    )
}

fn posix_timers(it: &PosixTimers) -> String {
    let mut text = format!("{} timers, next {}", it.head.nr_timers, it.head.next_id);
    for timer in &it.timers {
        let _ = write!(
            text,
            "\n  timer {} clock {} of {} {} ns, then every {} ns, flags {}, signal {} notify {:#x} value {:#x} to {}, requeue {} overrun {} last {}",
            timer.id,
            timer.clock,
            timer.clock_target,
            timer.time_left,
            timer.interval,
            flags(
                &[(1, "ARMED"), (2, "ABSOLUTE"), (4, "PENDING")],
                timer.flags
            ),
            timer.signo,
            timer.notify,
            timer.value,
            timer.target,
            timer.requeue,
            timer.overrun,
            timer.overrun_last
        );
    }
    text
}

fn pending(it: &Pending) -> String {
    let mut text = format!(
        "signals {:#x} flags {}",
        it.head.mask,
        flags(&[(1, "SHARED")], it.head.flags)
    );
    for info in &it.infos {
        let _ = write!(
            text,
            "\n  signal {} errno {} code {} flags {} {}",
            info.signo,
            info.error,
            info.code,
            flags(&[(1, "TIMER")], info.flags),
            hex_digits(info.fields.iter())
        );
    }
    text
}

fn restart_block(block: &RestartBlock) -> String {
    let kind = named(&["none", "nanosleep", "poll", "futex"], block.kind);
    if block.kind == 0 {
        return format!("{kind}, architecture's word {:#x}", block.arch_data);
    }
    format!(
        "{kind} flags {} time left {} ns clock {} uaddr {:#x} type {} val {} bitset {:#x} futex flags {:#x}, architecture's word {:#x}",
        flags(&[(1, "TIMEOUT"), (2, "ABSOLUTE")], block.flags),
        block.time_left,
        block.clock,
        block.uaddr,
        block.r#type,
        block.val,
        block.bitset,
        block.futex_flags,
        block.arch_data,
    )
}

fn files(files: &Files) -> String {
    let mut out = format!("#{} {} descriptors", files.head.objref, files.head.nr_fds);
    for fd in &files.fds {
        let _ = write!(
            out,
            "\n  fd {} file #{} flags {}",
            fd.fd,
            fd.file,
            flags(&[(1, "CLOEXEC")], fd.flags)
        );
    }
    out
}

fn sighand(sighand: &Sighand) -> String {
    let mut out = format!(
        "#{} {} actions that are not the default",
        sighand.objref,
        sighand.action.set().count()
    );
    for (signal, action) in sighand.action.set() {
        let handler = match action.handler {
            1 => "ignored".to_owned(),
            handler => format!("handler {handler:#x}"),
        };
        let _ = write!(
            out,
            "\n  signal {signal} {handler} flags {:#x} restorer {:#x} mask {:#x}",
            action.flags, action.restorer, action.mask
        );
    }
    out
}

fn cred(cred: &Cred) -> String {
    let head = &cred.head;
    format!(
        "#{} uid {} {} {} {} gid {} {} {} {} groups {:?} securebits {:#x}\n  capabilities inheritable {:#x} permitted {:#x} effective {:#x} bounding {:#x} ambient {:#x}",
        head.objref,
        head.uid,
        head.euid,
        head.suid,
        head.fsuid,
        head.gid,
        head.egid,
        head.sgid,
        head.fsgid,
        cred.groups,
        head.securebits,
        head.cap_inheritable,
        head.cap_permitted,
        head.cap_effective,
        head.cap_bset,
        head.cap_ambient,
    )
}

fn mm(mm: &Mm) -> String {
    let head = &mm.head;
    let mut out = format!(
        "#{} exe #{} {} mappings, dumpable {}, flags {}, core dump filter {:#x}, membarrier {:#x}, protection keys {:#x} ({} for execution only)\n  code {:#x}-{:#x} data {:#x}-{:#x} brk {:#x}-{:#x} stack {:#x} mmap base {:#x}\n  arguments {:#x}-{:#x} environment {:#x}-{:#x}\n  vdso {:#x}+{:#x} hash {:016x}\n  auxv",
        head.objref,
        head.exe,
        head.nr_vmas,
        head.dumpable,
        flags(
            &[
                (0x01, "LOCK_FUTURE"),
                (0x02, "LOCK_ON_FAULT"),
                (0x04, "THP_DISABLED"),
                (0x08, "MDWE"),
                (0x10, "MDWE_NO_INHERIT"),
                (0x20, "MERGE_ANY"),
            ],
            head.flags
        ),
        head.dump_filter,
        head.membarrier,
        head.pkeys,
        head.execute_only_pkey,
        head.start_code,
        head.end_code,
        head.start_data,
        head.end_data,
        head.start_brk,
        head.brk,
        head.start_stack,
        head.mmap_base,
        head.arg_start,
        head.arg_end,
        head.env_start,
        head.env_end,
        head.vdso_start,
        head.vdso_len,
        head.vdso_hash,
    );
    for pair in mm.auxv.chunks(2) {
        let _ = match pair {
            [key, value] => write!(out, " {key}={value:#x}"),
            rest => write!(out, " {rest:?}"),
        };
    }
    out
}

fn vma(vma: &Vma) -> String {
    const FLAGS: [(u32, &str); 21] = [
        (0x001, "READ"),
        (0x002, "WRITE"),
        (0x004, "EXEC"),
        (0x008, "MAYREAD"),
        (0x010, "MAYWRITE"),
        (0x020, "MAYEXEC"),
        (0x040, "GROWSDOWN"),
        (0x080, "NORESERVE"),
        (0x100, "ACCOUNT"),
        (0x200, "STACK"),
        (0x400, "SHARED"),
        (0x800, "DONTFORK"),
        (0x1000, "WIPEONFORK"),
        (0x2000, "DONTDUMP"),
        (0x4000, "SEQUENTIAL"),
        (0x8000, "RANDOM"),
        (0x1_0000, "HUGEPAGE"),
        (0x2_0000, "LOCKED"),
        (0x4_0000, "LOCKONFAULT"),
        (0x8_0000, "SEALED"),
        (0x10_0000, "MERGEABLE"),
    ];
    format!(
        "{:#x}-{:#x} {} {} pgoff {:#x} file #{} protection key {} {:?}",
        vma.start,
        vma.end,
        named(&["", "anon", "file", "vdso", "vvar", "shmem"], vma.kind),
        flags(&FLAGS, vma.flags),
        vma.pgoff,
        vma.file,
        vma.pkey,
        vma.name.as_str(),
    )
}

fn file(it: &FileRecord) -> String {
    format!(
        "#{} {} {:?} flags {:#o} mode {:#o} pos {} size {} device {}:{} of #{} state {} opened with cred #{}",
        it.head.objref,
        named(
            &[
                "",
                "regular",
                "directory",
                "character",
                "memory",
                "memory again",
                "deleted",
                "pipe",
                "fifo",
                "eventfd",
                "signalfd",
                "timerfd",
                "epoll",
                "pidfd"
            ],
            it.head.kind
        ),
        it.path.as_str(),
        it.head.flags,
        it.head.mode,
        it.head.pos,
        it.head.size,
        it.head.rdev_major,
        it.head.rdev_minor,
        it.head.object,
        flags(
            &[(1, "CREATED"), (2, "NO_WRITER_YET"), (4, "SEMAPHORE")],
            it.head.state
        ),
        it.head.cred,
    )
}

fn regset(it: &Regset, arch: Arch, order: ByteOrder) -> String {
    let name = regs::note_name(it.head.note)
        .map_or_else(|| format!("note {:#x}", it.head.note), str::to_owned);
    let mut out = format!("{name} {}", describe_bytes(&it.data));
    for chunk in regs::decode(arch, order, it).unwrap_or_default().chunks(4) {
        out.push_str("\n ");
        for register in chunk {
            let _ = write!(out, " {}={}", register.name, register.value);
        }
    }
    out
}

fn seccomp(it: &Seccomp) -> String {
    let mut out = format!(
        "#{} behind #{}, flags {}, {} instructions",
        it.head.objref,
        it.head.before,
        flags(&[(1, "LOG")], it.head.flags),
        it.head.nr_insns
    );
    for insn in &it.insns {
        let _ = write!(
            out,
            "\n  {:#06x} {} {} {:#x}",
            insn.code, insn.jt, insn.jf, insn.k
        );
    }
    out
}

fn ipc_ns(it: &IpcNs) -> String {
    format!(
        "#{} shm {} bytes, {} pages, {} segments, rmid forced {}; msg {} bytes, {} bytes a queue, {} queues; \
         sem {} a set, {} in all, {} operations, {} sets; mqueue {} queues, {} messages of {} bytes, {} of {} by default",
        it.objref,
        it.shmmax,
        it.shmall,
        it.shmmni,
        it.shm_rmid_forced,
        it.msgmax,
        it.msgmnb,
        it.msgmni,
        it.semmsl,
        it.semmns,
        it.semopm,
        it.semmni,
        it.mq_queues_max,
        it.mq_msg_max,
        it.mq_msgsize_max,
        it.mq_msg_default,
        it.mq_msgsize_default
    )
}

fn ldt(it: &Ldt) -> String {
    let mut out = format!("{} descriptors", it.head.nr_entries);
    for (number, entry) in it.entries.iter().enumerate() {
        if *entry != 0 {
            let _ = write!(out, "\n  {number}: {entry:#018x}");
        }
    }
    out
}

fn mount(it: &Mount) -> String {
    let (head, path) = (&it.head, it.path.as_str());
    let attrs = head.attrs;
    match head.kind {
        Mount::GONE => format!("{path:?} is not mounted"),
        Mount::ATTRS => format!("{path:?} with attributes {attrs:#x}"),
        Mount::BIND if head.source != 0 => format!(
            "{path:?} of {:?} in mount {}, attributes {attrs:#x}",
            it.source.as_str(),
            head.source
        ),
        Mount::BIND => format!(
            "{path:?} of {:?}, attributes {attrs:#x}",
            it.source.as_str()
        ),
        Mount::TMPFS => format!(
            "{path:?} a tmpfs {:?} of {:#x} bytes and {} files, mode {:#o} of {}:{}, attributes {attrs:#x}, {} names in it",
            it.source.as_str(),
            head.size,
            head.inodes,
            head.mode,
            head.uid,
            head.gid,
            head.nodes
        ),
        kind => format!("{path:?} kind {kind}"),
    }
}

fn node(it: &Node) -> String {
    let head = &it.head;
    let kind = match it.kind() {
        Node::FOLDER => "folder".to_owned(),
        _ if head.same != 0 => format!("the same as {}", head.same),
        Node::FILE => format!("{:#x} bytes", head.size),
        Node::LINK => format!("link to {:?}", it.target.as_str()),
        Node::FIFO => "fifo".to_owned(),
        Node::SOCKET => "socket".to_owned(),
        Node::CHARACTERS => format!("character device {}:{}", head.major, head.minor),
        Node::BLOCKS => format!("block device {}:{}", head.major, head.minor),
        kind => format!("kind {kind:#o}"),
    };
    let name = it.name.as_str();
    if head.same != 0 {
        return format!("{name:?} in {}, {kind}", head.folder);
    }
    format!(
        "{name:?} in {}, {kind}, mode {:#o} of {}:{}, written at {} ns",
        head.folder,
        it.permissions(),
        head.uid,
        head.gid,
        head.mtime
    )
}

fn unlinked(it: &Unlinked) -> String {
    let head = &it.head;
    format!(
        "#{} {:?} {:#x} bytes, mode {:#o} of {}:{}, written at {} ns, flags {}",
        head.objref,
        it.path.as_str(),
        head.size,
        head.mode,
        head.uid,
        head.gid,
        head.mtime,
        flags(&[(1, "LINKABLE")], head.flags)
    )
}

fn pipe(it: &Pipe) -> String {
    let head = &it.head;
    let used = format!("#{} {} of {} slots", head.objref, head.nr_bufs, head.slots);
    if head.path_len != 0 {
        return format!("{used}, {:?}", it.path.as_str());
    }
    format!(
        "{used}, mode {:#o} of {}:{}, read at {} ns, written at {} ns",
        head.mode, head.uid, head.gid, head.atime, head.mtime
    )
}

/// What poll(2) and `epoll_ctl(2)` call them.
const EPOLL_EVENTS: &[(u32, &str)] = &[
    (0x1, "IN"),
    (0x2, "PRI"),
    (0x4, "OUT"),
    (0x8, "ERR"),
    (0x10, "HUP"),
    (0x20, "NVAL"),
    (0x40, "RDNORM"),
    (0x80, "RDBAND"),
    (0x100, "WRNORM"),
    (0x200, "WRBAND"),
    (0x400, "MSG"),
    (0x2000, "RDHUP"),
    (1 << 28, "EXCLUSIVE"),
    (1 << 29, "WAKEUP"),
    (1 << 30, "ONESHOT"),
    (1 << 31, "ET"),
];

fn timerfd(it: &Timerfd) -> String {
    const FLAGS: [(u32, &str); 4] = [
        (1, "ARMED"),
        (2, "ABSOLUTE"),
        (4, "EXPIRED"),
        (8, "CANCELED"),
    ];
    format!(
        "of #{} clock {} flags {} set with {} time {} ns, interval {} ns, {} expirations",
        it.objref,
        it.clock,
        flags(&FLAGS, it.flags),
        flags(
            &[(1, "TIMER_ABSTIME"), (2, "TIMER_CANCEL_ON_SET")],
            it.settime_flags
        ),
        it.time_left,
        it.interval,
        it.ticks
    )
}

fn lock(it: &Lock) -> String {
    format!(
        "{} on #{} {}{}, bytes {} to {}, asked for by {}",
        named(&["", "flock", "POSIX", "OFD"], it.kind),
        it.file,
        if it.flags == 0 { "shared" } else { "exclusive" },
        match it.owner {
            0 => String::new(),
            owner => format!(" of table #{owner}"),
        },
        it.start,
        it.end,
        it.pid
    )
}

fn lease(it: &Lease) -> String {
    const FLAGS: [(u32, &str); 3] = [(1, "EXCLUSIVE"), (2, "UNLOCK"), (4, "DOWNGRADE")];
    let left = |left: i64| match left {
        -1 => "never".to_owned(),
        left => format!("in {left} ns"),
    };
    format!(
        "on #{} as fd {}, {}, broken {}, downgraded {}, asked for by {}",
        it.file,
        it.fd,
        flags(&FLAGS, it.flags),
        left(it.break_left),
        left(it.downgrade_left),
        it.pid
    )
}

fn owner(it: &Owner) -> String {
    format!(
        "of #{} {} {} of user {}:{}, signal {}, {}{}",
        it.file,
        named(&["thread", "process", "group"], it.kind),
        it.pid,
        it.uid,
        it.euid,
        it.signal,
        flags(&[(1, "ASYNC")], it.flags),
        match it.fd {
            -1 => String::new(),
            fd => format!(" as fd {fd}"),
        }
    )
}

fn epoll(it: &Epoll) -> String {
    format!(
        "of #{} {} items, polls for {} us, budget {}, preferred {}",
        it.objref, it.nr_items, it.busy_poll_usecs, it.busy_poll_budget, it.prefer_busy_poll
    )
}

fn epoll_item(it: &EpollItem) -> String {
    format!(
        "#{} as fd {} for {}, data {:#x}, {}{}",
        it.file,
        it.fd,
        flags(EPOLL_EVENTS, it.events),
        it.data,
        if it.flags == 0 { "idle" } else { "ready" },
        match it.sighand {
            0 => String::new(),
            number => format!(", signals of #{number}"),
        }
    )
}

fn pipe_buf(it: &PipeBuf) -> String {
    let head = &it.head;
    format!(
        "#{} at {} of its page {}, flags {}",
        head.objref,
        head.offset,
        describe_bytes(&it.data),
        flags(&[(1, "PACKET"), (2, "MERGE")], head.flags)
    )
}

fn memfd(it: &Memfd) -> String {
    const SEALS: [(u32, &str); 6] = [
        (0x01, "SEAL"),
        (0x02, "SHRINK"),
        (0x04, "GROW"),
        (0x08, "WRITE"),
        (0x10, "FUTURE_WRITE"),
        (0x20, "EXEC"),
    ];
    let head = &it.head;
    format!(
        "#{} {:?} {:#x} bytes, mode {:#o} of {}:{}, written at {} ns, seals {}",
        head.objref,
        it.name.as_str(),
        head.size,
        head.mode,
        head.uid,
        head.gid,
        head.mtime,
        flags(&SEALS, head.seals)
    )
}

fn signals(it: &Signals) -> String {
    format!(
        "blocked {:#x} saved {:#x} flags {} alternate stack {:#x}+{:#x} flags {:#x} stopped by {} status {}",
        it.blocked,
        it.saved_mask,
        flags(
            &[(1, "RESTORE_MASK"), (2, "STOPPED"), (4, "CONTINUED")],
            it.flags
        ),
        it.altstack_sp,
        it.altstack_size,
        it.altstack_flags,
        it.stop_signal,
        it.stop_status
    )
}

fn summary(record: &Record, arch: Arch, order: ByteOrder) -> String {
    match record {
        Record::Header(it) => header(it, order),
        Record::Tree(it) => tree(it),
        Record::Task(it) => task(it),
        Record::TaskObjs(it) => task_objs(it),
        Record::Exit(it) => format!(
            "status {:#x} cred #{} sighand #{} blocked {:#x} pending {:#x} shared {:#x}",
            it.status, it.cred, it.sighand, it.blocked, it.pending, it.shared_pending
        ),
        Record::TaskEnd(it) => format!("pid {}", it.pid),
        Record::Rlimits(it) => rlimits(it),
        Record::Signals(it) => signals(it),
        Record::Attributes(it) => attributes(it),
        Record::Pending(it) => pending(it),
        Record::Itimers(it) => itimers(it),
        Record::PosixTimers(it) => posix_timers(it),
        Record::RestartBlock(it) => restart_block(it),
        Record::Cpu(it) => format!(
            "system call {} flags {} words {:x?}",
            it.syscall,
            flags(&[(1, "SELF")], it.flags),
            it.word
        ),
        Record::Regset(it) => regset(it, arch, order),
        Record::File(it) => file(it),
        Record::Files(it) => files(it),
        Record::Fs(it) => format!(
            "#{} root {:?} cwd {:?} umask {:#o}",
            it.head.objref,
            it.root.as_str(),
            it.cwd.as_str(),
            it.head.umask
        ),
        Record::Sighand(it) => sighand(it),
        Record::Cred(it) => cred(it),
        Record::Mm(it) => mm(it),
        Record::Vma(it) => vma(it),
        Record::Pages(it) => format!(
            "{:#x} {} pages, {}",
            it.head.start,
            it.head.nr_pages,
            describe_bytes(&it.data)
        ),
        Record::MmEnd(it) => format!("#{}", it.objref),
        Record::Shmem(it) => format!(
            "#{} {:#x} bytes, flags {}",
            it.objref,
            it.size,
            flags(&[(1, "NORESERVE")], it.flags)
        ),
        Record::ShmemEnd(it) => format!("#{}", it.objref),
        Record::Memfd(it) => memfd(it),
        Record::Unlinked(it) => unlinked(it),
        Record::Ldt(it) => ldt(it),
        Record::Pipe(it) => pipe(it),
        Record::PipeBuf(it) => pipe_buf(it),
        Record::Timerfd(it) => timerfd(it),
        Record::Epoll(it) => epoll(it),
        Record::EpollItem(it) => epoll_item(it),
        Record::Lock(it) => lock(it),
        Record::Lease(it) => lease(it),
        Record::Owner(it) => owner(it),
        Record::Mount(it) => mount(it),
        Record::Node(it) => node(it),
        Record::PidNs(it) => pid_ns(it),
        Record::Usage(it) => usage(it),
        Record::Cgroup(it) => format!("in {}, {}", it.parent, it.name.as_str()),
        Record::UtsNs(it) => format!(
            "#{} host {:?} domain {:?}",
            it.objref,
            it.nodename.as_str(),
            it.domainname.as_str()
        ),
        Record::IpcNs(it) => ipc_ns(it),
        Record::Seccomp(it) => seccomp(it),
        Record::TimeNs(it) => format!(
            "#{} monotonic {} ns, boottime {} ns",
            it.objref, it.monotonic, it.boottime
        ),
        Record::Error(it) => format!(
            "errno {} pid {} objref {}: {}",
            it.head.error,
            it.head.pid,
            it.head.objref,
            it.text.as_str().trim_end()
        ),
        Record::Trailer(it) => format!("{} bytes, checksum {:016x}", it.bytes, it.checksum),
    }
}

impl Located {
    /// This record as text: offset, type, contents; without a line break at its end.
    pub fn text(&self, arch: Arch, order: ByteOrder) -> String {
        format!(
            "{:>10} {:<13} {}",
            self.at,
            self.record.type_name(),
            summary(&self.record, arch, order)
                .trim_start_matches('\n')
                .trim_start()
        )
    }
}

impl std::fmt::Display for Image {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.records
            .iter()
            .try_for_each(|located| writeln!(to, "{}", located.text(self.arch, self.byte_order)))
    }
}
