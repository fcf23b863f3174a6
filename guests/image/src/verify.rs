//! Is an image as `docs/image-format.md` says: structure, order, references, padding, checksum?
//!
//! What only a kernel can tell (does the file exist, is the address free) is left to it.

mod mounts;
mod objects;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{self, Read};

use serde::Serialize;

use crate::fixed::{FieldId, Fixed, Value};
use crate::reader::{Image, ImageError, Located, Reader};
use crate::records::{
    Arch, Attributes, Cgroup, Exit, FileRecord, Header, Pending, PidNs, PosixTimers, Record,
    TaskObjs, Tree, TreeTask, UsageRecord, type_name,
};
use crate::regs;
use mounts::Mounts;
use objects::Objects;

/// `CHECKPOINT_SUBTREE`, the only flag.
const FLAGS: u32 = 1;

/// `CKPT_TREE_USER_NS`, `CKPT_TREE_CGROUP_NS`, `CKPT_TREE_MEMFD_NOEXEC`, [`TREE_MOUNT_NS`] and [`TREE_MOUNTS`].
const TREE_FLAGS: u32 = 0x3f;

/// `CKPT_TREE_MOUNT_NS` and `CKPT_TREE_MOUNTS`.
const TREE_MOUNT_NS: u32 = 0x10;
const TREE_MOUNTS: u32 = 0x20;

/// `CKPT_TREE_MEMFD_NOEXEC` with a number that is none.
const TREE_NOEXEC: u32 = 0xc;

/// `CKPT_MEMFD_NOEXEC_MAX`.
const NOEXEC_MAX: u32 = 2;

/// `F_OWNER_PGRP`.
const PROCESS_GROUP: u32 = 2;

/// The first thing that is wrong with an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Defect {
    /// Offset of the record in bytes.
    pub at: u64,
    /// Type of the record.
    pub record: &'static str,
    /// The field, as in the C header.
    pub field: String,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at,
            record,
            field,
            what,
        } = self;
        write!(f, "byte {at}, {record}, {field}: {what}")
    }
}

/// Why an image is not valid.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The source failed.
    #[error("cannot read the image")]
    Io(#[from] io::Error),
    /// The image is wrong.
    #[error("{0}")]
    Defect(Defect),
}

/// What a valid image holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Its architecture.
    pub arch: Arch,
    /// Tasks in its tree.
    pub tasks: usize,
    /// Records, the trailer included.
    pub records: usize,
    /// Length in bytes.
    pub bytes: u64,
}

/// A field and what is wrong with it.
type Wrong = (String, String);

fn wrong<T>(field: &str, what: impl Into<String>) -> Result<T, Wrong> {
    Err((field.to_owned(), what.into()))
}

fn expect(good: bool, field: &str, what: impl FnOnce() -> String) -> Result<(), Wrong> {
    if good { Ok(()) } else { wrong(field, what()) }
}

/// Read an image to its end, and check all that can be checked without a kernel.
///
/// An image of a failed checkpoint is not valid: it has no checksum, and no restart accepts it.
pub fn verify(from: impl Read) -> Result<Verified, VerifyError> {
    let mut reader = Reader::new(from);
    let mut verifier = Verifier::default();
    for item in reader.by_ref() {
        let located = item.map_err(|error| unreadable(error, verifier.bytes))?;
        verifier.located(&located).map_err(VerifyError::Defect)?;
    }
    verifier.verified().map_err(VerifyError::Defect)
}

impl Image {
    /// As [`verify`], of an image that was read.
    pub fn verify(&self) -> Result<Verified, Defect> {
        let mut verifier = Verifier::default();
        for located in &self.records {
            verifier.located(located)?;
        }
        verifier.verified()
    }
}

/// What the reader says, as a defect; `end` is where the last good record ended.
fn unreadable(error: ImageError, end: u64) -> VerifyError {
    let what = error.to_string();
    let (at, record, field) = match error {
        ImageError::Io(error) => return VerifyError::Io(error),
        ImageError::NotAnImage => (0, "HEADER", "magic"),
        ImageError::Version(_) => (0, "HEADER", "version"),
        ImageError::Arch(_) => (0, "HEADER", "arch"),
        ImageError::NoTree => (end, "TREE", "h"),
        ImageError::Truncated { within, .. } => (end, within, "h.len"),
        ImageError::BadRecord { at, number, .. } => {
            let name = type_name(number);
            let field = name.map_or("h.type", |_| "h.len");
            (at, name.unwrap_or("unknown"), field)
        }
        ImageError::Short {
            at, name, field, ..
        } => (at, name, field),
        ImageError::Long { at, name, .. } => (at, name, "h.len"),
        ImageError::Padding { at, name } => (at, name, "padding"),
        ImageError::Trailer { field, .. } => (end, "TRAILER", field),
        ImageError::Behind { at, last } => (at, last, "h.len"),
    };
    VerifyError::Defect(Defect {
        at,
        record,
        field: field.to_owned(),
        what,
    })
}

/// What may come next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Header,
    Tree,
    /// So many `PID_NS`.
    PidNs(u32),
    /// So many CGROUP.
    Cgroup(u32),
    /// MOUNT.
    Mount,
    /// NODE.
    Node,
    /// PAGES of a NODE, until `SHMEM_END`.
    Contents,
    /// A TASK, or the end.
    Task,
    Usage,
    /// Objects, until `TASK_OBJS`.
    Objects,
    Rlimits,
    Attributes,
    Signals,
    RestartBlock,
    Cpu,
    /// The first register set.
    Regset,
    /// `TASK_END`.
    TaskEnd,
    /// More of them, or `TASK_END`.
    MoreRegsets,
    /// So many `EPOLL_ITEM`.
    EpollItem(u32),
    /// More of what belongs to open files, by rising type from this one on, or the end.
    Rest(u32),
    End,
}

impl Place {
    fn expects(self) -> &'static str {
        match self {
            Self::Header => "HEADER",
            Self::Tree => "TREE",
            Self::PidNs(_) => "PID_NS",
            Self::Cgroup(_) => "CGROUP",
            Self::Mount => "MOUNT",
            Self::Node => "NODE",
            Self::Contents => "PAGES or SHMEM_END",
            Self::Task => "TASK, or behind the last task EPOLL, LOCK, LEASE, OWNER or TRAILER",
            Self::Rest(46) => "LOCK, LEASE, OWNER or TRAILER",
            Self::Rest(47) => "LEASE, OWNER or TRAILER",
            Self::Rest(_) => "OWNER or TRAILER",
            Self::EpollItem(_) => "EPOLL_ITEM",
            Self::Usage => "USAGE",
            Self::Objects => "an object or TASK_OBJS",
            Self::Rlimits => "RLIMITS",
            Self::Attributes => "ATTRIBUTES",
            Self::Signals => "SIGNALS",
            Self::RestartBlock => "PENDING, ITIMERS, POSIX_TIMERS or RESTART_BLOCK",
            Self::Cpu => "CPU",
            Self::Regset => "REGSET",
            Self::TaskEnd => "TASK_END",
            Self::MoreRegsets => "REGSET or TASK_END",
            Self::End => "nothing",
        }
    }
}

/// What follows an item of an epoll set, or the set itself, when so many are to come.
fn after_items(left: u32) -> Place {
    match left {
        0 => Place::Task,
        left => Place::EpollItem(left),
    }
}

/// What is known of the records so far.
#[derive(Debug, Default)]
struct Verifier {
    place: Place,
    records: usize,
    /// Where the last record ended.
    bytes: u64,
    arch: Option<Arch>,
    /// Pids in the order of the tree.
    tree: Vec<i32>,
    /// Who is a thread of whom.
    threads: HashMap<i32, i32>,
    /// Their process groups.
    groups: HashSet<i32>,
    /// Those that have exited.
    exited: HashSet<i32>,
    /// How many of them have had their section.
    sections: usize,
    /// Notes of the task's register sets.
    notes: HashSet<u32>,
    /// Flags of the task's queues, and all bits for its interval timers.
    queues: HashSet<u32>,
    objects: Objects,
    /// Numbers of the pid namespaces, and the pids that are in them.
    pid_namespaces: Vec<(i32, HashSet<i32>)>,
    /// How many cgroups there are to be, and those that have come: what they are in, and their names.
    nr_cgroups: u32,
    /// Those that tasks are in.
    in_cgroups: HashSet<u32>,
    cgroups: Vec<(u32, Vec<u8>)>,
    /// MOUNT records follow; what is known of those that have come.
    has_mounts: bool,
    mounts: Mounts,
    /// The memory that the handlers of signal actions are in.
    memories: HashMap<i32, i32>,
    /// Signal actions of the first of each process that lives.
    actions: HashMap<i32, i32>,
}

impl Verifier {
    /// The pid of the section that is open.
    fn pid(&self) -> i32 {
        self.tree.get(self.sections).copied().unwrap_or_default()
    }

    fn located(&mut self, located: &Located) -> Result<(), Defect> {
        self.records += 1;
        self.bytes = located.at.saturating_add(located.len.into());
        self.record(&located.record)
            .map_err(|(field, what)| Defect {
                at: located.at,
                record: located.record.type_name(),
                field,
                what,
            })
    }

    /// All records were seen.
    fn verified(&self) -> Result<Verified, Defect> {
        match self.arch {
            Some(arch) if self.place == Place::End => Ok(Verified {
                arch,
                tasks: self.tree.len(),
                records: self.records,
                bytes: self.bytes,
            }),
            _ => Err(Defect {
                at: self.bytes,
                record: "TRAILER",
                field: "h.type".to_owned(),
                what: format!("the image ends where {} is expected", self.place.expects()),
            }),
        }
    }

    fn record(&mut self, record: &Record) -> Result<(), Wrong> {
        no_padding(record)?;
        if let Record::Error(error) = record {
            let text = error.text.as_str();
            return wrong(
                "error",
                format!("the checkpoint had failed: {}", text.trim_end()),
            );
        }
        let next = match (self.place, record) {
            (Place::Header, Record::Header(it)) => self.header(it)?,
            (Place::Tree, Record::Tree(it)) => self.tree(it)?,
            (Place::PidNs(left), Record::PidNs(it)) => {
                self.objects.record(record)?;
                self.pid_ns(it, left)?
            }
            (Place::Cgroup(left), Record::Cgroup(it)) => self.cgroup(it, left)?,
            (Place::Mount, Record::Mount(_))
            | (Place::Node, Record::Node(_))
            | (Place::Contents, Record::Pages(_) | Record::ShmemEnd(_)) => self.mounted(record)?,
            (Place::Task, Record::Task(it)) if self.sections < self.tree.len() => {
                self.pid_is(it.pid)?;
                Place::Usage
            }
            (Place::Usage, Record::Usage(it)) => self.usage(it)?,
            (Place::Task | Place::EpollItem(_) | Place::Rest(_), _)
                if self.sections == self.tree.len() =>
            {
                self.behind_tasks(record)?
            }
            (Place::Objects, Record::TaskObjs(it)) => {
                self.task_objs(it)?;
                if self.has_group() {
                    Place::Rlimits
                } else {
                    Place::Attributes
                }
            }
            (Place::Objects, Record::Exit(it)) => {
                self.exit(it)?;
                Place::TaskEnd
            }
            (Place::Objects, _) if Objects::has(record) => {
                self.object(record)?;
                Place::Objects
            }
            (Place::Rlimits, Record::Rlimits(_)) => Place::Attributes,
            (Place::Attributes, Record::Attributes(it)) => {
                self.attributes(it)?;
                Place::Signals
            }
            (Place::Signals, Record::Signals(_)) => {
                self.queues.clear();
                Place::RestartBlock
            }
            (Place::RestartBlock, Record::Itimers(_)) if self.has_group() => {
                const ITIMERS: u32 = u32::MAX;
                expect(self.queues.insert(ITIMERS), "h.type", || {
                    "the interval timers were there".to_owned()
                })?;
                Place::RestartBlock
            }
            (Place::RestartBlock, Record::PosixTimers(it)) if self.has_group() => {
                const POSIX_TIMERS: u32 = u32::MAX - 1;
                expect(self.queues.insert(POSIX_TIMERS), "h.type", || {
                    "the POSIX timers were there".to_owned()
                })?;
                posix_timers(it)?;
                Place::RestartBlock
            }
            (Place::RestartBlock, Record::Pending(it)) => {
                self.pending(it)?;
                Place::RestartBlock
            }
            (Place::RestartBlock, Record::RestartBlock(_)) => Place::Cpu,
            (Place::Cpu, Record::Cpu(it)) => {
                let known = self.arch.map_or(0, |arch| regs::cpu_words(arch).len());
                let unused = it.word.iter().skip(known);
                expect(unused.clone().all(|&word| word == 0), "word", || {
                    format!("the architecture has {known} words, the others are not zero")
                })?;
                Place::Regset
            }
            (Place::Regset | Place::MoreRegsets, Record::Regset(it)) => {
                expect(self.notes.insert(it.head.note), "note", || {
                    format!("the register set {:#x} comes twice", it.head.note)
                })?;
                Place::MoreRegsets
            }
            (Place::MoreRegsets | Place::TaskEnd, Record::TaskEnd(it)) => {
                self.pid_is(it.pid)?;
                self.notes.clear();
                self.sections += 1;
                Place::Task
            }
            (place, _) => {
                return wrong("h.type", format!("{} is expected here", place.expects()));
            }
        };
        self.place = next;
        Ok(())
    }

    fn header(&mut self, it: &Header) -> Result<Place, Wrong> {
        let Some(arch) = Arch::from_number(it.arch) else {
            return wrong("arch", format!("{} is no architecture", it.arch));
        };
        self.arch = Some(arch);
        self.objects.page_size = it.page_size.into();
        expect(it.word_size == arch.word_size(), "word_size", || {
            format!("{} instead of {}", it.word_size, arch.word_size())
        })?;
        let page_size = it.page_size.is_power_of_two() && it.page_size >= 4096;
        expect(page_size, "page_size", || {
            format!("{} is the size of no page", it.page_size)
        })?;
        expect(it.flags & !FLAGS == 0, "flags", || {
            format!("{:#x} has unknown bits", it.flags)
        })?;
        expect(it.features == 0, "features", || {
            format!("{:#x} has unknown bits", it.features)
        })?;
        Ok(Place::Tree)
    }

    fn tree(&mut self, it: &Tree) -> Result<Place, Wrong> {
        expect(!it.tasks.is_empty(), "nr_tasks", || "no task".to_owned())?;
        let flags = it.head.flags;
        let known = flags & !TREE_FLAGS == 0
            && flags & TREE_NOEXEC != TREE_NOEXEC
            && flags & (TREE_MOUNT_NS | TREE_MOUNTS) != TREE_MOUNTS;
        expect(known, "flags", || format!("{flags:#x} has unknown bits"))?;
        for (number, task) in it.tasks.iter().enumerate() {
            let field = |name: &str| format!("tasks[{number}].{name}");
            let pid = task.pid > 0 && !self.tree.contains(&task.pid);
            expect(pid, &field("pid"), || {
                format!("{} is no pid, or is there twice", task.pid)
            })?;
            if task.tgid != task.pid {
                let before = number.checked_sub(1).map(|before| &it.tasks[before]);
                thread_follows(before, task).map_err(|(name, what)| (field(&name), what))?;
                self.threads.insert(task.pid, task.tgid);
                self.tree.push(task.pid);
                continue;
            }
            let parent = if number == 0 {
                task.ppid == 0
            } else {
                self.tree.contains(&task.ppid)
            };
            expect(parent, &field("ppid"), || {
                format!(
                    "{}: parents come before their children, and the root has none",
                    task.ppid
                )
            })?;
            expect(task.exit_signal <= 64, &field("exit_signal"), || {
                format!("{} is no signal", task.exit_signal)
            })?;
            self.groups.insert(task.pgid);
            let cgroup = task.cgroup <= it.head.nr_cgroups;
            expect(cgroup, &field("cgroup"), || {
                format!("{} of {} cgroups", task.cgroup, it.head.nr_cgroups)
            })?;
            self.tree.push(task.pid);
        }
        expect(it.head.nr_cgroups <= 4096, "nr_cgroups", || {
            format!("{} are too many", it.head.nr_cgroups)
        })?;
        self.nr_cgroups = it.head.nr_cgroups;
        self.has_mounts = it.head.flags & TREE_MOUNTS != 0;
        self.in_cgroups = it.tasks.iter().map(|task| task.cgroup).collect();
        let few = u64::from(it.head.nr_pid_ns) < it.tasks.len() as u64;
        expect(few, "nr_pid_ns", || {
            format!("{}, and each has an init", it.head.nr_pid_ns)
        })?;
        Ok(self.after_tree(it.head.nr_pid_ns))
    }

    /// What follows TREE, or the last `PID_NS`.
    fn after_tree(&self, left: u32) -> Place {
        match (left, self.nr_cgroups) {
            (0, 0) => self.after_cgroups(),
            (0, cgroups) => Place::Cgroup(cgroups),
            (left, _) => Place::PidNs(left),
        }
    }

    /// What follows the last CGROUP.
    fn after_cgroups(&self) -> Place {
        if self.has_mounts {
            Place::Mount
        } else {
            Place::Task
        }
    }

    /// A cgroup: what it is in comes before it, and has no other of its name.
    fn cgroup(&mut self, it: &Cgroup, left: u32) -> Result<Place, Wrong> {
        let before = usize::try_from(it.parent).is_ok_and(|parent| parent <= self.cgroups.len());
        expect(before, "parent", || {
            format!("{} is not before it", it.parent)
        })?;
        let name = it.name.as_bytes();
        let ends = it.name.0[name.len()..].iter();
        let good = ends.len() > 0 && ends.clone().all(|&byte| byte == 0) && it.is_named();
        expect(good, "name", || {
            format!("{:?} is no name of a cgroup", it.name.as_str())
        })?;
        let this = (it.parent, name.to_vec());
        expect(!self.cgroups.contains(&this), "name", || {
            format!("{} is there twice", it.name.as_str())
        })?;
        self.cgroups.push(this);
        if left > 1 {
            return Ok(Place::Cgroup(left - 1));
        }
        // Those further below come later.
        for (before, (parent, _)) in self.cgroups.iter().enumerate().rev() {
            let number = u32::try_from(before + 1).unwrap_or(u32::MAX);
            expect(self.in_cgroups.contains(&number), "name", || {
                format!("no task is in cgroup {number} or below")
            })?;
            self.in_cgroups.insert(*parent);
        }
        Ok(self.after_cgroups())
    }

    /// A pidfd is of a process of the tree, or of one that is gone.
    fn object(&mut self, record: &Record) -> Result<(), Wrong> {
        self.objects.record(record)?;
        let Record::File(it) = record else {
            return Ok(());
        };
        let leader = i32::try_from(it.head.size)
            .is_ok_and(|pid| self.tree.contains(&pid) && !self.threads.contains_key(&pid));
        let known = it.head.kind != FileRecord::PIDFD || it.head.size == 0 || leader;
        expect(known, "size", || {
            format!("{} is no process of the tree", it.head.size)
        })
    }

    /// What belongs to an open file: a lock, a lease, an owner.
    fn of_file(&mut self, record: &Record) -> Result<(), Wrong> {
        let process = |pid: i32| {
            let leader = self.tree.contains(&pid) && !self.threads.contains_key(&pid);
            expect(pid == 0 || leader, "pid", || {
                format!("{pid} is no process of the tree")
            })
        };
        self.objects.no_set_left()?;
        match record {
            Record::Lock(it) => {
                self.objects.lock(it)?;
                process(it.pid)
            }
            Record::Lease(it) => {
                self.objects.lease(it)?;
                process(it.pid)
            }
            Record::Owner(it) => {
                self.objects.owner(it)?;
                let group = it.kind == PROCESS_GROUP && self.groups.contains(&it.pid);
                let known = it.pid == 0 || group || self.tree.contains(&it.pid);
                expect(known, "pid", || {
                    format!("{} is neither a task nor a group of the tree", it.pid)
                })
            }
            _ => wrong("h.type", "it belongs to no open file".to_owned()),
        }
    }

    /// What is of no single task: epoll sets and their items, locks, leases, owners, then the end.
    fn behind_tasks(&mut self, record: &Record) -> Result<Place, Wrong> {
        Ok(match (self.place, record) {
            (Place::Task, Record::Epoll(it)) => {
                self.objects.epoll(it)?;
                after_items(it.nr_items)
            }
            (Place::EpollItem(left), Record::EpollItem(it)) => {
                self.objects.epoll_item(it)?;
                after_items(left - 1)
            }
            (Place::Task | Place::Rest(_), Record::Trailer(_)) => {
                self.objects.no_set_left()?;
                self.objects.all_used()?;
                Place::End
            }
            (Place::Task, Record::Lock(_) | Record::Lease(_) | Record::Owner(_)) => {
                self.of_file(record)?;
                Place::Rest(record.type_number())
            }
            (Place::Rest(last), Record::Lock(_) | Record::Lease(_) | Record::Owner(_))
                if record.type_number() >= last =>
            {
                self.of_file(record)?;
                Place::Rest(record.type_number())
            }
            (place, _) => {
                return wrong("h.type", format!("{} is expected here", place.expects()));
            }
        })
    }

    /// A mount, a name in one, or contents of that.
    fn mounted(&mut self, record: &Record) -> Result<Place, Wrong> {
        match record {
            Record::Mount(it) => self.mounts.mount(it)?,
            Record::Node(it) => {
                self.mounts.node(it)?;
                if it.has_contents() {
                    self.objects.begin(0, it.head.size)?;
                    return Ok(Place::Contents);
                }
            }
            Record::Pages(_) => {
                self.objects.record(record)?;
                return Ok(Place::Contents);
            }
            _ => self.objects.record(record)?,
        }
        Ok(self.mounts.place())
    }

    /// A pid namespace: its init comes first, and what has a number in it has one in that above, and in no other.
    fn pid_ns(&mut self, it: &PidNs, left: u32) -> Result<Place, Wrong> {
        let Some(init) = it.ids.first() else {
            return wrong("nr_ids", "it has no init");
        };
        expect(it.head.memfd_noexec <= NOEXEC_MAX, "memfd_noexec", || {
            format!("{} is more than {NOEXEC_MAX}", it.head.memfd_noexec)
        })?;
        expect(self.tree.contains(&init.pid), "ids[0].pid", || {
            format!("{} is no task of the tree", init.pid)
        })?;
        let mut seen = HashSet::new();
        for (number, id) in it.ids.iter().enumerate() {
            let field = |name: &str| format!("ids[{number}].{name}");
            let innermost = self.pid_namespaces.iter().rev();
            let above = innermost
                .clone()
                .find(|(_, pids)| pids.contains(&id.pid))
                .map_or(0, |(objref, _)| *objref);
            let good = id.pid > 0 && above == it.head.parent;
            expect(good, &field("pid"), || {
                format!("{} is in {above}, not in {}", id.pid, it.head.parent)
            })?;
            let good = id.inner > 0 && (id.inner == 1) == (number == 0);
            expect(good && seen.insert(id.inner), &field("inner"), || {
                format!("{} is no number of it, or is there twice", id.inner)
            })?;
        }
        let pids: HashSet<i32> = it.ids.iter().map(|id| id.pid).collect();
        expect(pids.len() == it.ids.len(), "ids", || {
            "a pid is there twice".to_owned()
        })?;
        self.pid_namespaces.push((it.head.objref, pids));
        Ok(self.after_tree(left - 1))
    }

    fn pid_is(&self, pid: i32) -> Result<(), Wrong> {
        expect(pid == self.pid(), "pid", || {
            format!("{pid} instead of {}, in the order of the tree", self.pid())
        })
    }

    /// Limits are the process's: they are in the section of the first of its tasks that lives.
    fn has_group(&self) -> bool {
        let Some(leader) = self.threads.get(&self.pid()) else {
            return true;
        };
        let before = self.sections.checked_sub(1).map(|at| self.tree[at]);
        self.exited.contains(leader) && before == Some(*leader)
    }

    /// Times that can be added up, which is for the kernel to do; a thread has nothing of its process's.
    fn usage(&self, it: &UsageRecord) -> Result<Place, Wrong> {
        const LIMIT: u64 = i64::MAX as u64 / 2;
        let own = [
            ("runtime", it.runtime),
            ("age", it.age),
            ("boot_age", it.boot_age),
            ("shown_utime", it.shown_utime),
            ("shown_stime", it.shown_stime),
            ("task", it.task.utime),
            ("task", it.task.stime),
        ];
        let group = [
            ("exited", it.exited.utime),
            ("exited", it.exited.stime),
            ("exited_runtime", it.exited_runtime),
            ("group_shown_utime", it.group_shown_utime),
            ("group_shown_stime", it.group_shown_stime),
        ];
        let is_thread = self.threads.contains_key(&self.pid());
        for (field, value) in own {
            expect(value <= LIMIT, field, || format!("{value} ns"))?;
        }
        for (field, value) in group {
            let limit = if is_thread { 0 } else { LIMIT };
            expect(value <= limit, field, || format!("{value} ns"))?;
        }
        for (field, value) in [
            ("max_rss", it.max_rss),
            ("children_max_rss", it.children_max_rss),
        ] {
            let pages = value.is_multiple_of(self.objects.page_size);
            expect(pages && (value == 0 || !is_thread), field, || {
                format!("{value} bytes")
            })?;
        }
        Ok(Place::Objects)
    }

    fn attributes(&self, it: &Attributes) -> Result<(), Wrong> {
        expect(it.flags & !0x7f == 0, "flags", || {
            format!("{:#x} has unknown bits", it.flags)
        })?;
        expect((-20..20).contains(&it.nice), "nice", || {
            format!("{} is no nice value", it.nice)
        })?;
        let group = self.has_group() || (it.flags & 0x20 == 0 && it.oom_score_adj == 0);
        expect(
            group && it.oom_score_adj.abs() <= 1000,
            "oom_score_adj",
            || format!("{}, or a subreaper, of a thread", it.oom_score_adj),
        )?;
        expect(
            it.io_priority <= 0xffff && it.pad == 0,
            "io_priority",
            || format!("{:#x}", it.io_priority),
        )?;
        Ok(())
    }

    fn pending(&mut self, it: &Pending) -> Result<(), Wrong> {
        let known = it.head.flags <= 1 && (it.head.flags == 0 || self.has_group());
        expect(known && self.queues.insert(it.head.flags), "flags", || {
            format!(
                "{:#x} is of no queue, or of one that was there",
                it.head.flags
            )
        })?;
        let kill = 1 << 8;
        expect(
            it.head.mask != 0 && it.head.mask & kill == 0,
            "mask",
            || {
                format!(
                    "{:#x} is no set of signals that can be pending",
                    it.head.mask
                )
            },
        )?;
        for (number, info) in it.infos.iter().enumerate() {
            let bit = u32::try_from(info.signo - 1).ok();
            let bit = bit.and_then(|bit| 1_u64.checked_shl(bit)).unwrap_or(0);
            expect(
                it.head.mask & bit != 0,
                &format!("infos[{number}].signo"),
                || format!("{} is not in the mask", info.signo),
            )?;
            expect(
                info.flags & !1 == 0,
                &format!("infos[{number}].flags"),
                || format!("{:#x} has unknown bits", info.flags),
            )?;
        }
        Ok(())
    }

    fn exit(&mut self, it: &Exit) -> Result<(), Wrong> {
        self.objects.closed()?;
        let (signal, code) = (it.status & 0x7f, it.status & 0xff00);
        let possible = it.status <= 0xffff
            && signal != 0x7f
            && (signal == 0 || code == 0)
            && (signal != 0 || it.status & 0x80 == 0);
        expect(possible, "status", || {
            format!("{:#x} is of no task that has exited", it.status)
        })?;
        let ended = self.sections > 0 && !self.threads.contains_key(&self.pid());
        expect(ended, "h.type", || {
            "neither the root nor a thread can have exited".to_owned()
        })?;
        self.exited.insert(self.pid());
        self.objects.mention("cred", "CRED", it.cred)?;
        self.objects.mention("sighand", "SIGHAND", it.sighand)
    }

    fn task_objs(&mut self, it: &TaskObjs) -> Result<(), Wrong> {
        self.objects.closed()?;
        for (field, kind, number) in [
            ("cred", "CRED", it.cred),
            ("files", "FILES", it.files),
            ("fs", "FS", it.fs),
            ("sighand", "SIGHAND", it.sighand),
            ("mm", "MM", it.mm),
        ] {
            self.objects.mention(field, kind, number)?;
        }
        for (field, kind, number) in [
            ("uts_ns", "UTS_NS", it.uts_ns),
            ("ipc_ns", "IPC_NS", it.ipc_ns),
            ("time_ns", "TIME_NS", it.time_ns),
            ("seccomp", "SECCOMP", it.seccomp),
            ("pid_ns", "PID_NS", it.pid_ns),
        ] {
            if number != 0 {
                self.objects.mention(field, kind, number)?;
            }
        }
        let memory = *self.memories.entry(it.sighand).or_insert(it.mm);
        expect(memory == it.mm, "mm", || {
            format!(
                "{}, but the signal actions {} are used with {memory}",
                it.mm, it.sighand
            )
        })?;
        let group = self.threads.get(&self.pid()).copied();
        let actions = self.actions.entry(group.unwrap_or(self.pid()));
        let actions = *actions.or_insert(it.sighand);
        expect(actions == it.sighand, "sighand", || {
            format!("{} instead of its group's {actions}", it.sighand)
        })
    }
}

/// A thread comes right after a task of its group, and has what is the group's.
fn thread_follows(before: Option<&TreeTask>, thread: &TreeTask) -> Result<(), Wrong> {
    let Some(before) = before.filter(|before| before.tgid == thread.tgid) else {
        return wrong(
            "tgid",
            format!("{}: threads come right after their leader", thread.tgid),
        );
    };
    for (field, number, group) in [
        ("ppid", thread.ppid, before.ppid),
        ("pgid", thread.pgid, before.pgid),
        ("sid", thread.sid, before.sid),
    ] {
        expect(number == group, field, || {
            format!("{number} instead of its group's {group}")
        })?;
    }
    expect(thread.cgroup == before.cgroup, "cgroup", || {
        format!("{} instead of its group's {}", thread.cgroup, before.cgroup)
    })?;
    expect(thread.exit_signal == 0, "exit_signal", || {
        format!("{} of a thread", thread.exit_signal)
    })
}

/// Numbers are there once, and what a timer says of itself is possible.
fn posix_timers(it: &PosixTimers) -> Result<(), Wrong> {
    expect(it.head.next_id >> 31 == 0, "next_id", || {
        format!("{} is no number of a timer", it.head.next_id)
    })?;
    let mut ids = HashSet::new();
    for (number, timer) in it.timers.iter().enumerate() {
        let field = |name: &str| format!("timers[{number}].{name}");
        expect(timer.id >= 0 && ids.insert(timer.id), &field("id"), || {
            format!("{} is no number of a timer, or is there twice", timer.id)
        })?;
        expect(timer.flags & !7 == 0, &field("flags"), || {
            format!("{:#x} has unknown bits", timer.flags)
        })?;
        let nobody = timer.notify == 1;
        expect(
            nobody || (0..=64).contains(&timer.signo),
            &field("signo"),
            || format!("{} is no signal", timer.signo),
        )?;
        let armed = timer.flags & 1 == 0 || timer.time_left != 0;
        expect(armed, &field("time_left"), || {
            format!(
                "{} of a timer with flags {:#x}",
                timer.time_left, timer.flags
            )
        })?;
    }
    Ok(())
}

/// Padding is zero.
fn no_padding(record: &Record) -> Result<(), Wrong> {
    let mut found = Ok(());
    record.visit(&mut |id: FieldId<'_>, value| {
        if id.name == "pad" && value != Value::Number(0) && found.is_ok() {
            found = wrong(id.path, format!("{value} instead of zero"));
        }
    });
    found
}

impl Record {
    /// Tell what its fields hold.
    fn visit(&self, to: &mut dyn FnMut(FieldId<'_>, Value)) {
        let id = FieldId {
            of: "",
            name: "",
            path: "",
        };
        let mut list = |name: &str, items: &[&dyn Visited]| {
            for (index, item) in items.iter().enumerate() {
                let path = &format!("{name}[{index}]");
                item.tell(FieldId { path, ..id }, to);
            }
        };
        match self {
            Self::Header(it) => it.visit(id, to),
            Self::Tree(it) => {
                let tasks: Vec<&dyn Visited> = it.tasks.iter().map(|task| task as _).collect();
                list("tasks", &tasks);
                it.head.visit(id, to);
            }
            Self::Files(it) => {
                let fds: Vec<&dyn Visited> = it.fds.iter().map(|fd| fd as _).collect();
                list("fds", &fds);
                it.head.visit(id, to);
            }
            Self::Task(it) => it.visit(id, to),
            Self::TaskObjs(it) => it.visit(id, to),
            Self::TaskEnd(it) => it.visit(id, to),
            Self::Rlimits(it) => it.visit(id, to),
            Self::Signals(it) => it.visit(id, to),
            Self::RestartBlock(it) => it.visit(id, to),
            Self::Cpu(it) => it.visit(id, to),
            Self::Regset(it) => it.head.visit(id, to),
            Self::File(it) => it.head.visit(id, to),
            Self::Fs(it) => it.head.visit(id, to),
            Self::Sighand(it) => it.visit(id, to),
            Self::Cred(it) => it.head.visit(id, to),
            Self::Mm(it) => it.head.visit(id, to),
            Self::Vma(it) => it.visit(id, to),
            Self::Pages(it) => it.head.visit(id, to),
            Self::MmEnd(it) => it.visit(id, to),
            Self::Error(it) => it.head.visit(id, to),
            Self::Trailer(it) => it.visit(id, to),
            Self::Exit(it) => it.visit(id, to),
            Self::Attributes(it) => it.visit(id, to),
            Self::Itimers(it) => it.visit(id, to),
            Self::Shmem(it) => it.visit(id, to),
            Self::ShmemEnd(it) => it.visit(id, to),
            Self::UtsNs(it) => it.visit(id, to),
            Self::IpcNs(it) => it.visit(id, to),
            Self::TimeNs(it) => it.visit(id, to),
            Self::Seccomp(it) => it.head.visit(id, to),
            Self::Memfd(it) => it.head.visit(id, to),
            Self::Unlinked(it) => it.head.visit(id, to),
            Self::Ldt(it) => it.head.visit(id, to),
            Self::Mount(it) => it.head.visit(id, to),
            Self::Node(it) => it.head.visit(id, to),
            Self::Pipe(it) => it.head.visit(id, to),
            Self::PipeBuf(it) => it.head.visit(id, to),
            Self::Timerfd(it) => it.visit(id, to),
            Self::Epoll(it) => it.visit(id, to),
            Self::EpollItem(it) => it.visit(id, to),
            Self::Lock(it) => it.visit(id, to),
            Self::Lease(it) => it.visit(id, to),
            Self::Owner(it) => it.visit(id, to),
            Self::Usage(it) => it.visit(id, to),
            Self::Cgroup(it) => it.visit(id, to),
            Self::PidNs(it) => {
                let ids: Vec<&dyn Visited> = it.ids.iter().map(|it| it as _).collect();
                list("ids", &ids);
                it.head.visit(id, to);
            }
            Self::PosixTimers(it) => {
                let timers: Vec<&dyn Visited> = it.timers.iter().map(|timer| timer as _).collect();
                list("timers", &timers);
                it.head.visit(id, to);
            }
            Self::Pending(it) => {
                let infos: Vec<&dyn Visited> = it.infos.iter().map(|info| info as _).collect();
                list("infos", &infos);
                it.head.visit(id, to);
            }
        }
    }
}

/// [`Fixed`], as far as lists of different structs need it.
trait Visited {
    fn tell(&self, id: FieldId<'_>, to: &mut dyn FnMut(FieldId<'_>, Value));
}

impl<T: Fixed> Visited for T {
    fn tell(&self, id: FieldId<'_>, to: &mut dyn FnMut(FieldId<'_>, Value)) {
        self.visit(id, to);
    }
}
