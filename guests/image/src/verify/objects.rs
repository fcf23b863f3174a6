//! Shared objects: numbered once, there before their first use, and of the right kind.

use std::collections::VecDeque;

use super::{HashMap, HashSet, Wrong, expect, wrong};
use crate::fixed::{Name, Text};
use crate::names::objref;
use crate::records::{
    Epoll, EpollItem, FileRecord, Files, IpcNs, Ldt, Lease, Lock, Memfd, Mm, Owner, Pages, Pipe,
    PipeBuf, Record, Seccomp, Shmem, Timerfd, Unlinked, Vma,
};

/// An address space whose mappings are being read.
#[derive(Debug)]
struct Open {
    objref: i32,
    vmas: u32,
    left: u32,
    /// Where the last mapping ends, or the last run of pages in it.
    at: u64,
    /// The last mapping: its end, and whether it can have pages.
    last: Option<(u64, bool)>,
    /// Its local descriptor table came.
    ldt: bool,
}

/// Shared memory whose pages are being read.
#[derive(Debug)]
struct OpenShmem {
    objref: i32,
    size: u64,
    /// Where the last run of pages ends.
    at: u64,
}

/// A pipe whose pieces are being read.
#[derive(Debug)]
struct OpenPipe {
    objref: i32,
    pieces: u32,
    left: u32,
}

/// `CKPT_VMA_SHARED`.
const SHARED: u32 = 0x400;

/// `CKPT_LOCK_FLOCK`, `CKPT_LOCK_POSIX`, `CKPT_LOCK_OFD`.
const FLOCK: u32 = 1;
const POSIX: u32 = 2;
const OFD: u32 = 3;

/// `CKPT_FILE_SIGNALFD` and `CKPT_FILE_EPOLL`.
const SIGNALFD: u32 = 10;
const EPOLL: u32 = 12;

/// `CKPT_EPOLL_READY`.
const EPOLL_READY: u32 = 1;

/// `EPOLLERR` and `EPOLLHUP`, which are always watched.
const GIVEN_EVENTS: u32 = 0x18;

const EPOLLONESHOT: u32 = 1 << 30;

/// What is left of the events of one that was to tell once, and has: `EPOLLWAKEUP` and `EPOLLET`, too.
const DISABLED_EVENTS: u32 = 1 << 29 | EPOLLONESHOT | 1 << 31;

/// What is known of the objects so far.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) page_size: u64,
    kinds: HashMap<i32, &'static str>,
    used: HashSet<i32>,
    open: Option<Open>,
    shmem: Option<OpenShmem>,
    pipe: Option<OpenPipe>,
    /// Paths of the pipes, which are empty, and fifos.
    pipes: HashMap<i32, Name>,
    /// The FILE that is to follow its timer.
    timer: Option<i32>,
    /// Kinds of all files.
    files: HashMap<i32, u32>,
    /// Pidfds of processes that are gone.
    gone: HashSet<i32>,
    /// Epoll sets whose items are still to come.
    sets: VecDeque<i32>,
    /// Those of the last set that have come: files and numbers.
    items: HashSet<(i32, i32)>,
    /// The last lock: its file, kind, owner and first byte.
    lock: Option<(i32, u32, i32, i64)>,
    /// Files that have a lease, and the last that has an owner.
    leases: HashSet<i32>,
    owned: i32,
    /// Only such as are not ready may follow.
    idle: bool,
}

impl Objects {
    /// Is this record one of an object?
    pub(super) fn has(record: &Record) -> bool {
        (objref(record).is_some() && !matches!(record, Record::PidNs(_)))
            || matches!(
                record,
                Record::Vma(_)
                    | Record::Pages(_)
                    | Record::Ldt(_)
                    | Record::MmEnd(_)
                    | Record::ShmemEnd(_)
                    | Record::PipeBuf(_)
                    | Record::Timerfd(_)
            )
    }

    /// No address space, shared memory or pipe is open.
    pub(super) fn closed(&self) -> Result<(), Wrong> {
        if let Some(file) = self.timer {
            return wrong(
                "h.type",
                format!("the FILE {file} has to follow its TIMERFD"),
            );
        }
        if let Some(OpenPipe { pieces, left, .. }) = self.pipe {
            return wrong("h.type", format!("{left} of {pieces} PIPE_BUF are missing"));
        }
        match (&self.open, &self.shmem) {
            (None, None) => Ok(()),
            (_, Some(open)) => wrong(
                "h.type",
                format!("the memory {} has no SHMEM_END yet", open.objref),
            ),
            (Some(open), None) => wrong(
                "h.type",
                format!("the MM {} has no MM_END yet", open.objref),
            ),
        }
    }

    /// A reference to an object of a kind.
    pub(super) fn mention(
        &mut self,
        field: &str,
        kind: &'static str,
        number: i32,
    ) -> Result<(), Wrong> {
        match self.kinds.get(&number) {
            Some(found) if *found == kind => {
                self.used.insert(number);
                Ok(())
            }
            Some(found) => wrong(field, format!("object {number} is a {found}, not a {kind}")),
            None => wrong(
                field,
                format!("object {number} is used before it comes; a {kind} is expected"),
            ),
        }
    }

    /// Every object is used.
    pub(super) fn all_used(&self) -> Result<(), Wrong> {
        let unused = self
            .kinds
            .keys()
            .filter(|number| !self.used.contains(number));
        match unused.min() {
            None => Ok(()),
            Some(number) => {
                let kind = self.kinds[number];
                wrong("objref", format!("nothing uses the {kind} {number}"))
            }
        }
    }

    /// A record for which [`Objects::has`] holds.
    pub(super) fn record(&mut self, record: &Record) -> Result<(), Wrong> {
        if let Record::File(it) = record {
            self.timed_file(it)?;
        }
        if let Some(number) = objref(record) {
            self.closed()?;
            expect(number > 0, "objref", || format!("{number} is no objref"))?;
            let kind = record.type_name();
            if let Some(first) = self.kinds.insert(number, kind) {
                return wrong("objref", format!("{number} is already that of a {first}"));
            }
        }
        match record {
            Record::File(it) => self.file(it),
            Record::Memfd(it) => self.memfd(it),
            Record::Unlinked(it) => self.unlinked(it),
            Record::Pipe(it) => self.pipe(it),
            Record::PipeBuf(it) => self.pipe_buf(it),
            Record::Timerfd(it) => self.timerfd(it),
            Record::PidNs(it) => {
                // Who is in it says so itself.
                self.used.insert(it.head.objref);
                match it.head.parent {
                    0 => Ok(()),
                    parent => self.mention("parent", "PID_NS", parent),
                }
            }
            Record::Files(it) => self.files(it),
            Record::Fs(it) => {
                text("paths", &it.root, it.head.root_len)?;
                text("paths", &it.cwd, it.head.cwd_len)
            }
            Record::Mm(it) => self.mm(it),
            Record::Vma(it) => self.vma(it),
            Record::Ldt(it) => self.ldt(it),
            Record::Shmem(it) => self.shmem(it),
            Record::ShmemEnd(it) => match self.shmem.take() {
                Some(open) if open.objref != it.objref => {
                    wrong("objref", format!("the memory is {}", open.objref))
                }
                Some(_) => Ok(()),
                None => wrong("h.type", "there is no shared memory"),
            },
            Record::UtsNs(it) => {
                host_name("nodename", &it.nodename)?;
                host_name("domainname", &it.domainname)
            }
            Record::IpcNs(it) => limits(it),
            Record::Seccomp(it) => self.seccomp(it),
            Record::TimeNs(it) => {
                clock("monotonic", it.monotonic)?;
                clock("boottime", it.boottime)
            }
            Record::Pages(it) => self.pages(it),
            Record::MmEnd(it) => match self.open.take() {
                Some(open) if open.objref != it.objref => {
                    wrong("objref", format!("the MM is {}", open.objref))
                }
                Some(Open { left: 0, .. }) => Ok(()),
                Some(open) => wrong(
                    "h.type",
                    format!("{} of {} mappings are missing", open.left, open.vmas),
                ),
                None => wrong("h.type", "there is no MM"),
            },
            _ => Ok(()),
        }
    }

    fn file(&mut self, it: &FileRecord) -> Result<(), Wrong> {
        expect((1..=13).contains(&it.head.kind), "kind", || {
            format!("{} is no kind of file", it.head.kind)
        })?;
        self.files.insert(it.head.objref, it.head.kind);
        if it.head.kind == EPOLL {
            self.sets.push_back(it.head.objref);
        }
        match it.head.kind {
            1..=3 => {
                text("path", &it.path, it.head.path_len)?;
                expect(it.head.object == 0, "object", || {
                    format!("{} of a file with a name", it.head.object)
                })?;
            }
            6 => {
                text("path", &it.path, it.head.path_len)?;
                self.mention("object", "UNLINKED", it.head.object)?;
            }
            8 => {
                text("path", &it.path, it.head.path_len)?;
                self.mention("object", "PIPE", it.head.object)?;
                let path = &self.pipes[&it.head.object];
                expect(*path == it.path, "object", || {
                    format!("the PIPE {} is {path:?}", it.head.object)
                })?;
            }
            13 if it.head.object != 0 => self.gone_too(it)?,
            9..=13 => {
                let own = it.head.path_len == 0 && it.head.object == 0;
                expect(own, "object", || {
                    format!(
                        "{} of kind {}, which needs none",
                        it.head.object, it.head.kind
                    )
                })?;
            }
            _ => {
                expect(it.head.path_len == 0, "path", || {
                    format!("{:?} of a file without a name", it.path)
                })?;
                let kind = if it.head.kind == 7 { "PIPE" } else { "MEMFD" };
                self.mention("object", kind, it.head.object)?;
                let path = self.pipes.get(&it.head.object);
                expect(path.is_none_or(|path| path.0.is_empty()), "object", || {
                    format!("the PIPE {} is a fifo", it.head.object)
                })?;
            }
        }
        if it.head.kind == FileRecord::PIDFD && it.head.size == 0 {
            self.gone.insert(it.head.objref);
        }
        if it.head.kind >= 7 {
            expect(it.head.pos == 0, "pos", || {
                format!("{} of what has no offset", it.head.pos)
            })?;
        }
        if it.head.kind >= 9 {
            expect(it.head.flags & 3 == 2, "flags", || {
                format!("{:#o} do not read and write", it.head.flags)
            })?;
        }
        if it.head.kind == 10 {
            expect(it.head.size & KILL_AND_STOP == 0, "size", || {
                format!("{:#x} has SIGKILL or SIGSTOP", it.head.size)
            })?;
        }
        let state = match it.head.kind {
            7 => CREATED,
            8 => NO_WRITER_YET,
            9 => SEMAPHORE,
            _ => 0,
        };
        expect(it.head.state & !state == 0, "state", || {
            format!("{:#x} of kind {}", it.head.state, it.head.kind)
        })?;
        self.mention("cred", "CRED", it.head.cred)
    }

    /// Its timer comes right before the file, and no other file has one.
    fn timed_file(&mut self, it: &FileRecord) -> Result<(), Wrong> {
        let timer = self.timer.take();
        let has_one = it.head.kind == 11;
        match timer {
            Some(number) if !has_one || number != it.head.objref => {
                wrong("objref", format!("the TIMERFD before it is of {number}"))
            }
            None if has_one => wrong("kind", "there is no TIMERFD before it"),
            _ => Ok(()),
        }
    }

    fn timerfd(&mut self, it: &Timerfd) -> Result<(), Wrong> {
        self.closed()?;
        expect(it.objref > 0, "objref", || {
            format!("{} is no objref", it.objref)
        })?;
        expect(it.flags & !0xf == 0 && it.flags & 5 != 5, "flags", || {
            format!(
                "{:#x} has unknown bits, or says that it runs and has expired",
                it.flags
            )
        })?;
        let of_day = matches!(it.clock, 0 | 8) && it.settime_flags & 1 != 0;
        let absolute = of_day || it.flags & 2 == 0;
        let cancelled = (of_day && it.settime_flags & 2 != 0) || it.flags & 8 == 0;
        expect(absolute && cancelled, "flags", || {
            format!("{:#x} is of no such clock, or of another setting", it.flags)
        })?;
        expect(it.settime_flags & !3 == 0, "settime_flags", || {
            format!("{:#x} has unknown bits", it.settime_flags)
        })?;
        expect(it.interval >= 0, "interval", || {
            format!("{} ns", it.interval)
        })?;
        expect(matches!(it.clock, 0 | 1 | 7..=9), "clock", || {
            format!("timers cannot have the clock {}", it.clock)
        })?;
        expect(it.time_left >= -(i64::MAX / 2), "time_left", || {
            format!("{} ns are too long ago", it.time_left)
        })?;
        let timed = it.flags & 5 != 0 && (it.time_left >= 0 || it.flags & 2 == 0);
        expect(timed || it.time_left == 0, "time_left", || {
            format!("{} ns with flags {:#x}", it.time_left, it.flags)
        })?;
        self.timer = Some(it.objref);
        Ok(())
    }

    /// A pidfd of the same process as one that has come, which is gone.
    fn gone_too(&mut self, it: &FileRecord) -> Result<(), Wrong> {
        let object = it.head.object;
        expect(it.head.path_len == 0 && it.head.size == 0, "size", || {
            format!("{} of a process that is gone", it.head.size)
        })?;
        self.mention("object", "FILE", object)?;
        let gone = self.gone.contains(&object);
        expect(gone, "object", || {
            format!("{object} is no pidfd of a process that is gone")
        })
    }

    /// A set whose FILE was before those of the other sets that are left.
    pub(super) fn epoll(&mut self, it: &Epoll) -> Result<(), Wrong> {
        let next = self.sets.pop_front();
        expect(next == Some(it.objref), "objref", || match next {
            Some(next) => format!("that of the next set is {next}"),
            None => "all sets were there".to_owned(),
        })?;
        expect(it.pad == 0, "pad", || format!("{:#x}", it.pad))?;
        let preferred = it.prefer_busy_poll <= 1;
        expect(preferred, "prefer_busy_poll", || {
            format!("{} is neither 0 nor 1", it.prefer_busy_poll)
        })?;
        let usecs = i32::try_from(it.busy_poll_usecs).is_ok();
        expect(usecs, "busy_poll_usecs", || {
            format!("{} us are too long", it.busy_poll_usecs)
        })?;
        self.items.clear();
        self.idle = false;
        Ok(())
    }

    pub(super) fn epoll_item(&mut self, it: &EpollItem) -> Result<(), Wrong> {
        self.mention("file", "FILE", it.file)?;
        let kind = self.files[&it.file];
        // A directory, and what is in memory, is always ready.
        let polled = matches!(kind, 1 | 3 | 7..=13);
        expect(polled, "file", || {
            format!("a file of kind {kind} cannot be watched")
        })?;
        let new = it.fd >= 0 && self.items.insert((it.file, it.fd));
        expect(new, "fd", || {
            format!("{} is no descriptor, or is there twice", it.fd)
        })?;
        let ready = it.flags & EPOLL_READY != 0;
        expect(
            it.flags & !EPOLL_READY == 0 && !(ready && self.idle),
            "flags",
            || {
                format!(
                    "{:#x} has unknown bits, or is of a ready one behind one that is not",
                    it.flags
                )
            },
        )?;
        self.idle |= !ready;
        let good = if it.events & !DISABLED_EVENTS == 0 {
            it.events & EPOLLONESHOT != 0
        } else {
            it.events & GIVEN_EVENTS == GIVEN_EVENTS
        };
        expect(good, "events", || {
            format!("{:#x} cannot be those of an item", it.events)
        })?;
        expect(it.pad == 0, "pad", || format!("{:#x}", it.pad))?;
        if it.sighand != 0 {
            expect(kind == SIGNALFD, "sighand", || {
                format!("{} of a file of kind {kind}", it.sighand)
            })?;
            self.mention("sighand", "SIGHAND", it.sighand)?;
        }
        Ok(())
    }

    pub(super) fn lock(&mut self, it: &Lock) -> Result<(), Wrong> {
        self.mention("file", "FILE", it.file)?;
        expect((1..=3).contains(&it.kind), "kind", || {
            format!("{} is no kind of lock", it.kind)
        })?;
        expect(it.flags & !1 == 0, "flags", || {
            format!("{:#x} has unknown bits", it.flags)
        })?;
        expect(it.pad == 0, "pad", || format!("{:#x}", it.pad))?;
        let whole = it.start == 0 && it.end == i64::MAX;
        let range = it.start >= 0 && it.end >= it.start && (it.kind != FLOCK || whole);
        expect(range, "end", || {
            format!("from {} to {} is no range of such a lock", it.start, it.end)
        })?;
        let place = (it.file, it.kind, it.owner, it.start);
        expect(self.lock < Some(place), "file", || {
            format!("the lock from {} on should have come before", it.start)
        })?;
        self.lock = Some(place);
        expect(it.kind != OFD || it.pid == 0, "pid", || {
            format!("{} of a lock of an open file", it.pid)
        })?;
        if it.kind == POSIX {
            return self.mention("owner", "FILES", it.owner);
        }
        expect(it.owner == 0, "owner", || {
            format!("{} of a lock of an open file", it.owner)
        })
    }

    pub(super) fn lease(&mut self, it: &Lease) -> Result<(), Wrong> {
        const UNLOCK: u32 = 2;
        const DOWNGRADE: u32 = 4;
        self.mention("file", "FILE", it.file)?;
        let new = self.leases.insert(it.file);
        expect(new, "file", || format!("{} has two leases", it.file))?;
        let kind = self.files[&it.file];
        expect(matches!(kind, 1 | 4..=6), "file", || {
            format!("a file of kind {kind} has no lease")
        })?;
        expect(
            it.flags & !7 == 0 && (it.flags & DOWNGRADE == 0 || it.flags & 1 != 0),
            "flags",
            || {
                format!(
                    "{:#x} has unknown bits, or is a shared one to be shared",
                    it.flags
                )
            },
        )?;
        expect(it.fd >= 0, "fd", || format!("{} is no descriptor", it.fd))?;
        for (name, left, pending) in [
            ("break_left", it.break_left, UNLOCK),
            ("downgrade_left", it.downgrade_left, DOWNGRADE),
        ] {
            let pending = it.flags & pending != 0;
            expect(left == -1 || (left >= 0 && pending), name, || {
                format!("{left} ns are over, or of what is not to come")
            })?;
        }
        Ok(())
    }

    pub(super) fn owner(&mut self, it: &Owner) -> Result<(), Wrong> {
        self.mention("file", "FILE", it.file)?;
        let next = it.file > self.owned;
        expect(next, "file", || {
            format!("{} has an owner, or should have come before", it.file)
        })?;
        self.owned = it.file;
        expect(it.flags & !1 == 0, "flags", || {
            format!("{:#x} has unknown bits", it.flags)
        })?;
        expect(it.kind <= super::PROCESS_GROUP, "kind", || {
            format!("{} is no kind of owner", it.kind)
        })?;
        expect(it.signal <= 64, "signal", || {
            format!("{} is no signal", it.signal)
        })?;
        let kind = self.files[&it.file];
        let is_async = it.flags & 1 != 0;
        expect(!is_async || matches!(kind, 3 | 7 | 8), "flags", || {
            format!("a file of kind {kind} tells its owner nothing")
        })?;
        let told = is_async && matches!(kind, 7 | 8);
        expect(if told { it.fd >= 0 } else { it.fd == -1 }, "fd", || {
            format!("{} is told of by a file of kind {kind}", it.fd)
        })
    }

    /// The items of all sets were there.
    pub(super) fn no_set_left(&self) -> Result<(), Wrong> {
        match self.sets.front() {
            None => Ok(()),
            Some(set) => wrong("h.type", format!("the EPOLL of the set {set} is missing")),
        }
    }

    fn pipe(&mut self, it: &Pipe) -> Result<(), Wrong> {
        let head = &it.head;
        let most = PIPE_BYTES_MAX / self.page_size;
        expect(
            head.slots.is_power_of_two() && u64::from(head.slots) <= most,
            "slots",
            || format!("{} is no power of two up to {most}", head.slots),
        )?;
        expect(head.nr_bufs <= head.slots, "nr_bufs", || {
            format!("{} is more than {}", head.nr_bufs, head.slots)
        })?;
        if head.path_len == 0 {
            expect(head.mode & !0o1777 == 0, "mode", || {
                format!("{:#o} are no permissions", head.mode)
            })?;
        } else {
            text("path", &it.path, head.path_len)?;
            let ids = [head.uid, head.gid, head.mode];
            let own = ids == [0; 3] && head.atime == 0 && head.mtime == 0;
            expect(own, "mode", || {
                "owner, permissions or times of a fifo, whose name has them".to_owned()
            })?;
        }
        self.mention("cred", "CRED", head.cred)?;
        self.pipes.insert(head.objref, it.path.clone());
        self.pipe = (head.nr_bufs > 0).then_some(OpenPipe {
            objref: head.objref,
            pieces: head.nr_bufs,
            left: head.nr_bufs,
        });
        Ok(())
    }

    fn pipe_buf(&mut self, it: &PipeBuf) -> Result<(), Wrong> {
        let head = &it.head;
        let Some(open) = &mut self.pipe else {
            return wrong("h.type", "there is no PIPE, or it has all its pieces");
        };
        expect(head.objref == open.objref, "objref", || {
            format!("the PIPE is {}", open.objref)
        })?;
        let end = u64::from(head.offset) + u64::from(head.len);
        expect(end <= self.page_size, "len", || {
            format!(
                "{} bytes at {} are no part of a page",
                head.len, head.offset
            )
        })?;
        expect(head.flags <= 2, "flags", || {
            format!("{:#x} has unknown bits, or both", head.flags)
        })?;
        open.left -= 1;
        if open.left == 0 {
            self.pipe = None;
        }
        Ok(())
    }

    fn unlinked(&mut self, it: &Unlinked) -> Result<(), Wrong> {
        expect(it.head.flags & !1 == 0, "flags", || {
            format!("{:#x} has unknown bits", it.head.flags)
        })?;
        text("path", &it.path, it.head.path_len)?;
        self.contents(it.head.objref, it.head.mode, it.head.size)
    }

    /// Pages follow, of a file with these permissions and that size.
    fn contents(&mut self, objref: i32, mode: u32, size: u64) -> Result<(), Wrong> {
        expect(mode & !0o1777 == 0, "mode", || {
            format!("{mode:#o} are no permissions")
        })?;
        self.begin(objref, size)
    }

    /// Pages follow, of a file of that size.
    pub(super) fn begin(&mut self, objref: i32, size: u64) -> Result<(), Wrong> {
        let Some(whole) = size.checked_next_multiple_of(self.page_size) else {
            return wrong("size", format!("{size:#x} is no size"));
        };
        self.shmem = Some(OpenShmem {
            objref,
            size: whole,
            at: 0,
        });
        Ok(())
    }

    fn memfd(&mut self, it: &Memfd) -> Result<(), Wrong> {
        expect(it.head.seals & !0x3f == 0, "seals", || {
            format!("{:#x} has unknown bits", it.head.seals)
        })?;
        expect(is_terminated(&it.name), "name", || {
            format!("{:?} does not end with its only zero", it.name)
        })?;
        self.contents(it.head.objref, it.head.mode, it.head.size)
    }

    fn files(&mut self, it: &Files) -> Result<(), Wrong> {
        let mut last = -1;
        for (number, fd) in it.fds.iter().enumerate() {
            let field = |name: &str| format!("fds[{number}].{name}");
            expect(fd.fd > last, &field("fd"), || {
                format!("{} comes behind {last}", fd.fd)
            })?;
            last = fd.fd;
            expect(fd.flags & !1 == 0, &field("flags"), || {
                format!("{:#x} has unknown bits", fd.flags)
            })?;
            self.mention(&field("file"), "FILE", fd.file)?;
        }
        Ok(())
    }

    fn shmem(&mut self, it: &Shmem) -> Result<(), Wrong> {
        expect(it.flags & !1 == 0, "flags", || {
            format!("{:#x} has unknown bits", it.flags)
        })?;
        let size = it.size > 0 && it.size.is_multiple_of(self.page_size);
        expect(size, "size", || {
            format!("{:#x} bytes are no whole pages", it.size)
        })?;
        self.shmem = Some(OpenShmem {
            objref: it.objref,
            size: it.size,
            at: 0,
        });
        Ok(())
    }

    fn seccomp(&mut self, it: &Seccomp) -> Result<(), Wrong> {
        expect(it.head.flags & !1 == 0, "flags", || {
            format!("{:#x} has unknown bits", it.head.flags)
        })?;
        expect(
            (1..=BPF_MAXINSNS).contains(&it.head.nr_insns),
            "nr_insns",
            || format!("{} instructions are no program", it.head.nr_insns),
        )?;
        if it.head.before != 0 {
            self.mention("before", "SECCOMP", it.head.before)?;
        }
        Ok(())
    }

    fn mm(&mut self, it: &Mm) -> Result<(), Wrong> {
        let filter = it.head.dump_filter;
        expect(it.head.flags & !0x3f == 0, "flags", || {
            format!("{:#x} has unknown bits", it.head.flags)
        })?;
        expect(filter & !0x1ff == 0, "dump_filter", || {
            format!("{filter:#x} has unknown bits")
        })?;
        let pkeys = it.head.pkeys;
        expect(pkeys & !0xfffe == 0, "pkeys", || {
            format!("{pkeys:#x} has key 0, or one that no machine has")
        })?;
        let only = it.head.execute_only_pkey;
        let given_out = only == 0 || (only < PKEYS && pkeys & (1 << only) != 0);
        expect(given_out, "execute_only_pkey", || {
            format!("{only} is not among {pkeys:#x}")
        })?;
        if it.head.exe != 0 {
            self.mention("exe", "FILE", it.head.exe)?;
        }
        self.open = Some(Open {
            objref: it.head.objref,
            vmas: it.head.nr_vmas,
            left: it.head.nr_vmas,
            at: 0,
            last: None,
            ldt: false,
        });
        Ok(())
    }

    fn vma(&mut self, it: &Vma) -> Result<(), Wrong> {
        let page_size = self.page_size;
        let Some(open) = &mut self.open else {
            return wrong("h.type", "there is no MM");
        };
        if open.left == 0 {
            return wrong("h.type", format!("the MM has {} mappings", open.vmas));
        }
        open.left -= 1;
        expect((1..=5).contains(&it.kind), "kind", || {
            format!("{} is no kind of mapping", it.kind)
        })?;
        let floor = open.last.map_or(0, |(end, _)| end);
        let start = it.start.is_multiple_of(page_size) && it.start >= floor;
        expect(start, "start", || {
            format!("{:#x} is not behind {floor:#x}, or within a page", it.start)
        })?;
        let end = it.end.is_multiple_of(page_size) && it.end > it.start;
        expect(end, "end", || {
            format!("{:#x} is not behind the start, or within a page", it.end)
        })?;
        let shared = it.flags & SHARED != 0;
        let fits = match it.kind {
            2 => true,
            5 => shared,
            _ => !shared,
        };
        expect(it.flags & !0x1f_ffff == 0 && fits, "flags", || {
            format!("{:#x} of kind {}", it.flags, it.kind)
        })?;
        let special = matches!(it.kind, 3 | 4);
        expect(it.pkey < if special { 1 } else { PKEYS }, "pkey", || {
            format!("{} of kind {}", it.pkey, it.kind)
        })?;
        expect(
            is_mapping_name(&it.name.0) && (it.name.0[0] == 0 || !special),
            "name",
            || format!("{:?} of kind {}", it.name, it.kind),
        )?;
        open.last = Some((it.end, matches!(it.kind, 1 | 2) && !shared));
        open.at = it.start;
        match (it.kind, it.file) {
            (2, file) => self.mention("file", "FILE", file),
            (5, file) => self.mention("file", "SHMEM", file),
            (_, 0) => Ok(()),
            (_, file) => wrong("file", format!("{file} in a mapping of no file")),
        }
    }

    /// Behind the mappings; whether the machine has such tables is for the kernel to say.
    fn ldt(&mut self, it: &Ldt) -> Result<(), Wrong> {
        let Some(open) = &mut self.open else {
            return wrong("h.type", "there is no MM");
        };
        expect(open.left == 0 && !open.ldt, "h.type", || {
            "it is a second one, or not behind all mappings".to_owned()
        })?;
        open.ldt = true;
        let number = it.head.nr_entries;
        expect(
            (1..=LDT_ENTRIES_MAX).contains(&number),
            "nr_entries",
            || format!("{number} is not from 1 to {LDT_ENTRIES_MAX}"),
        )?;
        for (number, &entry) in it.entries.iter().enumerate() {
            expect(
                is_user_descriptor(entry),
                &format!("entries[{number}]"),
                || format!("{entry:#x} is not what modify_ldt(2) makes"),
            )?;
        }
        Ok(())
    }

    fn pages(&mut self, it: &Pages) -> Result<(), Wrong> {
        let page_size = self.page_size;
        let (at, end) = match (&mut self.shmem, &mut self.open) {
            (Some(shmem), _) => (&mut shmem.at, shmem.size),
            (
                None,
                Some(Open {
                    at,
                    last: Some((end, true)),
                    ..
                }),
            ) => (at, *end),
            _ => return wrong("h.type", "there is no mapping that can have pages"),
        };
        let bytes = u64::from(it.head.nr_pages).saturating_mul(page_size);
        let count = it.head.nr_pages > 0 && bytes == it.data.len() as u64;
        expect(count, "nr_pages", || {
            format!("{} pages in {} bytes", it.head.nr_pages, it.data.len())
        })?;
        let start = it.head.start;
        let good =
            start.is_multiple_of(page_size) && start >= *at && start < end && bytes <= end - start;
        expect(good, "start", || {
            format!("{start:#x} is not from {at:#x} to {end:#x}, or within a page")
        })?;
        *at = start + bytes;
        Ok(())
    }
}

/// `CKPT_FILE_CREATED`, of a pipe.
const CREATED: u32 = 1;

/// `CKPT_FILE_NO_WRITER_YET`, of a fifo.
const NO_WRITER_YET: u32 = 2;

/// The bits of `SIGKILL` and `SIGSTOP`, which no signalfd takes.
const KILL_AND_STOP: u64 = 1 << 8 | 1 << 18;

/// `CKPT_FILE_SEMAPHORE`, of an eventfd.
const SEMAPHORE: u32 = 4;

/// Bytes that a pipe may have room for, at most: fcntl(2).
const PIPE_BYTES_MAX: u64 = 1 << 31;

/// Instructions of a classic program, at most.
const BPF_MAXINSNS: u32 = 4096;

/// `__NEW_UTS_LEN`: bytes of a host or domain name, at most.
const HOST_NAME_MAX: usize = 64;

/// `CKPT_LDT_ENTRIES_MAX`.
const LDT_ENTRIES_MAX: u32 = 8192;

/// Nothing, or data or code for level 3 that was accessed, is not 64 bits, and is not there if it is conforming code: `fill_ldt()` of the kernel.
fn is_user_descriptor(entry: u64) -> bool {
    let bits = |from: u32, mask: u64| (entry >> from) & mask;
    let (accessed, contents) = (bits(40, 1) == 1, bits(42, 3));
    let (user, there, long) = (bits(44, 7) == 7, bits(47, 1) == 1, bits(53, 1) == 1);
    entry == 0 || (accessed && user && !long && !(contents == 3 && there))
}

/// Protection keys of a machine, at most.
const PKEYS: u32 = 16;

/// As `PR_SET_VMA_ANON_NAME` takes it.
fn is_mapping_name(name: &[u8]) -> bool {
    let Some(len) = name.iter().position(|&byte| byte == 0) else {
        return false;
    };
    let (name, rest) = name.split_at(len);
    let allowed = |byte: &u8| {
        matches!(byte, b' '..=b'~') && !matches!(byte, b'\\' | b'`' | b'$' | b'[' | b']')
    };
    name.iter().all(allowed) && rest.iter().all(|&byte| byte == 0)
}

fn host_name<const N: usize>(field: &str, text: &Text<N>) -> Result<(), Wrong> {
    let len = text.0.iter().position(|&byte| byte == 0);
    let good = len
        .is_some_and(|len| len <= HOST_NAME_MAX && text.0.iter().skip(len).all(|&byte| byte == 0));
    expect(good, field, || {
        format!("{text:?} is no name of at most {HOST_NAME_MAX} bytes")
    })
}

/// Objects of a kind of System V ipc, at most.
const IPC_IDS_MAX: u32 = 1 << 24;
/// `HARD_MSGMAX` and `HARD_MSGSIZEMAX`.
const MQ_MESSAGES_MAX: u32 = 65536;
const MQ_BYTES_MAX: u32 = 16 << 20;

fn limits(it: &IpcNs) -> Result<(), Wrong> {
    let int = i32::MAX.unsigned_abs();
    for (field, value, most) in [
        ("shmmni", it.shmmni, IPC_IDS_MAX),
        ("shm_rmid_forced", it.shm_rmid_forced, 1),
        ("msgmax", it.msgmax, int),
        ("msgmnb", it.msgmnb, int),
        ("msgmni", it.msgmni, IPC_IDS_MAX),
        ("semmni", it.semmni, IPC_IDS_MAX),
        ("mq_msg_max", it.mq_msg_max, MQ_MESSAGES_MAX),
        ("mq_msgsize_max", it.mq_msgsize_max, MQ_BYTES_MAX),
        ("mq_msg_default", it.mq_msg_default, MQ_MESSAGES_MAX),
        ("mq_msgsize_default", it.mq_msgsize_default, MQ_BYTES_MAX),
    ] {
        expect(value <= most, field, || {
            format!("{value} is above {most}, the most that its sysctl takes")
        })?;
    }
    Ok(())
}

fn clock(field: &str, nanoseconds: i64) -> Result<(), Wrong> {
    expect((0..=i64::MAX / 2).contains(&nanoseconds), field, || {
        format!("{nanoseconds} ns are no time of this clock")
    })
}

/// Its only zero is its end.
pub(super) fn is_terminated(text: &Name) -> bool {
    let zero = text.0.iter().position(|&byte| byte == 0);
    zero.is_some_and(|zero| zero + 1 == text.0.len())
}

/// A path begins at the root and ends with its only zero.
pub(super) fn text(field: &str, text: &Name, len: u32) -> Result<(), Wrong> {
    let good = is_terminated(text) && text.0.first() == Some(&b'/');
    expect(good, field, || {
        format!("{text:?} of {len} bytes is no absolute path that ends with a zero")
    })
}
