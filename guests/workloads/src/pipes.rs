//! Pipes and fifos: what is in them, in the pieces in which it was written, the room that is left, and who waits at which end.

use std::ffi::{c_int, c_short};
use std::fs;
use std::os::fd::RawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::args::Args;
use crate::error::{Error, Result};
use crate::memfd;
use crate::pattern;
use crate::stage::Stage;
use crate::sys::{self, Mapping, page_size};
use crate::threads::{self, Seat};

/// `PIPE_BUF`: so many bytes are written at once or not at all.
const AT_ONCE: usize = 4096;

/// The two ends of a pipe.
#[derive(Clone, Copy, Debug)]
struct Ends {
    out: RawFd,
    into: RawFd,
}

impl Ends {
    fn new(flags: c_int) -> Result<Self> {
        let [out, into] = sys::pipe(flags)?;
        Ok(Self { out, into })
    }

    /// One that has room for so many pages.
    fn with_pages(flags: c_int, pages: usize) -> Result<Self> {
        let ends = Self::new(flags)?;
        let bytes = c_int::try_from(pages * page_size()).unwrap_or(c_int::MAX);
        // SAFETY: plain numbers.
        sys::check("F_SETPIPE_SZ", unsafe {
            libc::fcntl(ends.into, libc::F_SETPIPE_SZ, bytes)
        })?;
        Ok(ends)
    }
}

fn capacity(fd: RawFd) -> Option<c_int> {
    sys::descriptor_flags(fd, libc::F_GETPIPE_SZ)
}

/// Bytes that are there to be read.
fn unread(fd: RawFd) -> Result<c_int> {
    let mut bytes = 0;
    // SAFETY: the kernel writes a number.
    sys::check("FIONREAD", unsafe {
        libc::ioctl(fd, libc::FIONREAD, &raw mut bytes)
    })?;
    Ok(bytes)
}

/// What poll(2) says at once.
fn polled(fd: RawFd) -> Result<c_short> {
    sys::poll(fd, libc::POLLIN | libc::POLLOUT, 0)
}

/// The errno of a read that is not to wait, of an end where nothing is.
fn not_waiting(fd: RawFd) -> std::result::Result<usize, i32> {
    let mut byte = [0u8];
    let part = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    // SAFETY: the part, and the byte that it names, live.
    let count = unsafe { libc::preadv2(fd, &raw const part, 1, -1, libc::RWF_NOWAIT) };
    sys::outcome(usize::try_from(count).map_err(|_| Error::last("preadv2")))
}

/// Writes bytes of a seed without waiting.
fn put(fd: RawFd, seed: u64, offset: usize, len: usize) -> std::result::Result<usize, i32> {
    sys::outcome(sys::write(fd, &pattern::piece(seed, offset, len)))
}

/// Writes all of it, or fails.
fn put_all(fd: RawFd, seed: u64, offset: usize, len: usize) -> Result<()> {
    match sys::write(fd, &pattern::piece(seed, offset, len))? {
        written if written == len => Ok(()),
        written => Err(Error::Situation(format!("{written} of {len} bytes"))),
    }
}

/// Reads so many bytes, and reports whether they are those of a seed from an offset on.
fn has(
    stage: &mut Stage,
    name: &str,
    fd: RawFd,
    seed: u64,
    offset: usize,
    len: usize,
) -> Result<()> {
    let mut bytes = vec![0; len];
    let mut found = 0;
    while found < len {
        match sys::read(fd, &mut bytes[found..])? {
            0 => break,
            count => found += count,
        }
    }
    stage.equal(name, &found, &len);
    let right = bytes[..found] == pattern::piece(seed, offset, len)[..found];
    stage.check(name, right, "other bytes");
    Ok(())
}

fn ignore_broken_pipes() -> Result<()> {
    sys::set_action(libc::SIGPIPE, libc::SIG_IGN, 0, &[])
}

/// Nothing, some bytes in several pieces, or as much as it takes; both ends in one task.
pub(crate) fn contents(stage: &mut Stage, args: &Args) -> Result<()> {
    let ends = Ends::new(libc::O_NONBLOCK | libc::O_CLOEXEC)?;
    let fill = args.text("fill", "some").to_owned();
    let mut total = 0;
    match fill.as_str() {
        "nothing" => {}
        "some" => {
            // The second goes on in the page of the first, the third does not.
            for len in [1000, 2000, 3000] {
                put_all(ends.into, 1, total, len)?;
                total += len;
            }
        }
        "all" => {
            while let Ok(len) = put(ends.into, 1, total, page_size()) {
                total += len;
            }
        }
        other => return Err(Error::Argument(format!("fill={other}"))),
    }
    let facts = || -> Result<_> {
        let (size, count) = (capacity(ends.out), unread(ends.out)?);
        let flags = sys::flags_of([ends.out, ends.into]);
        Ok((size, count, flags, polled(ends.out)?, polled(ends.into)?))
    };
    let before = facts()?;
    stage.hold()?;
    stage.equal("size, contents, flags, readiness", &facts()?, &before);
    if fill == "all" {
        stage.equal("it is full", &put(ends.into, 1, 0, 1), &Err(libc::EAGAIN));
    }
    has(stage, "contents", ends.out, 1, 0, total)?;
    let mut byte = [0];
    let more = sys::outcome(sys::read(ends.out, &mut byte));
    stage.equal("no more", &more, &Err(libc::EAGAIN));
    put_all(ends.into, 2, 0, 5000)?;
    has(stage, "what comes then", ends.out, 2, 0, 5000)
}

/// One end is nowhere any more: readers find what is left and then the end, writers that nobody reads.
pub(crate) fn closed(stage: &mut Stage, args: &Args) -> Result<()> {
    let which = args.text("end", "write").to_owned();
    let ends = Ends::new(0)?;
    ignore_broken_pipes()?;
    put_all(ends.into, 3, 0, 300)?;
    match which.as_str() {
        "write" => {
            sys::close(ends.into)?;
            let before = polled(ends.out)?;
            stage.hold()?;
            stage.equal("readiness", &polled(ends.out)?, &before);
            has(stage, "what is left", ends.out, 3, 0, 300)?;
            stage.equal("the end", &sys::read(ends.out, &mut [0])?, &0);
            stage.equal("hung up", &polled(ends.out)?, &libc::POLLHUP);
        }
        "read" => {
            sys::close(ends.out)?;
            let before = polled(ends.into)?;
            stage.hold()?;
            stage.equal("readiness", &polled(ends.into)?, &before);
            let written = put(ends.into, 3, 0, 1);
            stage.equal("nobody reads", &written, &Err(libc::EPIPE));
            // What nobody had read is still there.
            let again = sys::open(&memfd::path_of(ends.into), libc::O_RDONLY)?;
            has(stage, "what nobody has read", again, 3, 0, 300)?;
        }
        other => return Err(Error::Argument(format!("end={other}"))),
    }
    Ok(())
}

/// A child waits at one end for what its parent does at the other.
pub(crate) fn blocked(stage: &mut Stage, args: &Args) -> Result<()> {
    let how = args.text("how", "read").to_owned();
    let ends = Ends::with_pages(0, 2)?;
    let full = 2 * page_size();
    if how == "write" || how == "poll_write" {
        put_all(ends.into, 4, 0, full)?;
    }
    let child = stage.spawn("waiter", |child| {
        let mut bytes = [0; 100];
        child.ready()?;
        match how.as_str() {
            "read" => {
                child.equal("bytes read", &sys::read(ends.out, &mut bytes)?, &100);
                let right = bytes[..] == pattern::piece(5, 0, 100)[..];
                child.check("those of the parent", right, "other bytes");
            }
            "write" => {
                let written = put_all(ends.into, 4, full, AT_ONCE);
                child.works("written", written);
            }
            "poll_read" => child.equal(
                "ready",
                &sys::poll(ends.out, libc::POLLIN, -1)?,
                &libc::POLLIN,
            ),
            "poll_write" => child.equal(
                "ready",
                &sys::poll(ends.into, libc::POLLOUT, -1)?,
                &libc::POLLOUT,
            ),
            other => return Err(Error::Argument(format!("how={other}"))),
        }
        Ok(())
    })?;
    stage.hold_waiting(&child)?;
    match how.as_str() {
        "write" => has(stage, "all of both", ends.out, 4, 0, full + AT_ONCE)?,
        "poll_write" => has(stage, "all of it", ends.out, 4, 0, full)?,
        _ => put_all(ends.into, 5, 0, 100)?,
    }
    stage.join(&child)
}

/// Threads of one process wait at pipes: one reads, one writes, one polls.
pub(crate) fn threads(stage: &mut Stage, _args: &Args) -> Result<()> {
    static SEATS: [Seat; 3] = [const { Seat::new() }; 3];
    sys::one_heap();
    let last = pattern::piece(6, page_size(), 10);
    let empty = Ends::new(0)?;
    let full = Ends::with_pages(0, 1)?;
    let watched = Ends::new(0)?;
    put_all(full.into, 6, 0, page_size())?;
    std::thread::scope(|scope| {
        let reader = threads::spawn(scope, "reader", || {
            let mut bytes = [0; 10];
            SEATS[0].take();
            sys::read(empty.out, &mut bytes).map(|count| (count, bytes))
        })?;
        SEATS[0].await_asleep()?;
        let writer = threads::spawn(scope, "writer", || {
            SEATS[1].take();
            sys::write(full.into, &last)
        })?;
        SEATS[1].await_asleep()?;
        let poller = threads::spawn(scope, "poller", || {
            SEATS[2].take();
            sys::poll(watched.out, libc::POLLIN, -1)
        })?;
        SEATS[2].await_asleep()?;
        stage.hold()?;
        let ended = [
            reader.is_finished(),
            writer.is_finished(),
            poller.is_finished(),
        ];
        stage.equal("who has ended", &ended, &[false; 3]);
        put_all(empty.into, 7, 0, 10)?;
        has(stage, "what was full", full.out, 6, 0, page_size() + 10)?;
        put_all(watched.into, 8, 0, 1)?;
        let (count, bytes) = threads::join(reader)?;
        let right = bytes[..] == pattern::piece(7, 0, 10)[..];
        stage.check("what the reader got", count == 10 && right, "other bytes");
        stage.equal("what the writer wrote", &threads::join(writer)?, &10);
        stage.equal(
            "what the poller found",
            &threads::join(poller)?,
            &libc::POLLIN,
        );
        Ok(())
    })
}

/// Pipes with room for so many pages, as full as that; one is empty.
pub(crate) fn sizes(stage: &mut Stage, _args: &Args) -> Result<()> {
    let pages = [1, 4, 64, 256];
    let mut pipes = Vec::new();
    for pages in pages {
        let ends = Ends::with_pages(libc::O_NONBLOCK, pages)?;
        put_all(ends.into, pages as u64, 0, pages * page_size())?;
        pipes.push(ends);
    }
    let empty = Ends::with_pages(0, 128)?;
    stage.hold()?;
    for (ends, pages) in pipes.iter().zip(pages) {
        let name = format!("of {pages} pages");
        let bytes = c_int::try_from(pages * page_size()).ok();
        stage.equal(&name, &capacity(ends.into), &bytes);
        let more = put(ends.into, 0, 0, 1);
        stage.equal(&format!("{name}, full"), &more, &Err(libc::EAGAIN));
        has(stage, &name, ends.out, pages as u64, 0, pages * page_size())?;
    }
    let bytes = c_int::try_from(128 * page_size()).ok();
    stage.equal("the empty one", &capacity(empty.out), &bytes);
    Ok(())
}

/// Packets stay packets, and an end that writes them goes on to; what was written without goes on in its page, whoever writes then.
pub(crate) fn packets(stage: &mut Stage, _args: &Args) -> Result<()> {
    let ends = Ends::new(libc::O_DIRECT | libc::O_NONBLOCK)?;
    let lens = [1, 4096, 17, 300];
    for (seed, len) in lens.into_iter().enumerate() {
        put_all(ends.into, seed as u64, 0, len)?;
    }
    // Without packets from here on: the next two go together.
    let plain = libc::O_WRONLY | libc::O_NONBLOCK;
    // SAFETY: plain numbers.
    sys::check("F_SETFL", unsafe {
        libc::fcntl(ends.into, libc::F_SETFL, plain)
    })?;
    put_all(ends.into, 9, 0, 10)?;
    let other = Ends::new(libc::O_DIRECT)?;
    stage.hold()?;
    put_all(other.into, 11, 0, 7)?;
    put_all(other.into, 11, 7, 8)?;
    let mut bytes = vec![0; 8192];
    let lengths = [
        sys::read(other.out, &mut bytes)?,
        sys::read(other.out, &mut bytes)?,
    ];
    stage.equal("packets of afterwards", &lengths, &[7, 8]);
    put_all(ends.into, 9, 10, 20)?;
    // SAFETY: plain numbers.
    sys::check("F_SETFL", unsafe {
        libc::fcntl(ends.into, libc::F_SETFL, plain | libc::O_DIRECT)
    })?;
    put_all(ends.into, 10, 0, 5)?;
    for (seed, len) in lens.into_iter().enumerate() {
        let name = format!("packet {seed}");
        stage.equal(&name, &sys::read(ends.out, &mut bytes)?, &len);
        let right = bytes[..len] == pattern::piece(seed as u64, 0, len)[..];
        stage.check(&name, right, "other bytes");
    }
    // All of it went on in one page, also the packet.
    stage.equal("the rest", &sys::read(ends.out, &mut bytes)?, &35);
    let rest = [pattern::piece(9, 0, 30), pattern::piece(10, 0, 5)].concat();
    stage.check("the rest", bytes[..35] == rest, "other bytes");
    let more = sys::outcome(sys::read(ends.out, &mut bytes));
    stage.equal("no more", &more, &Err(libc::EAGAIN));
    Ok(())
}

/// Three tasks in a ring, each with the end that it reads from and the one that it writes to; a word is on its way in each pipe.
pub(crate) fn ring(stage: &mut Stage, _args: &Args) -> Result<()> {
    let pipes = [Ends::new(0)?, Ends::new(0)?, Ends::new(0)?];
    for (number, ends) in pipes.iter().enumerate() {
        put_all(ends.into, 20 + number as u64, 0, 100)?;
    }
    let keep = |number: usize| -> Result<(RawFd, RawFd)> {
        let (out, into) = (pipes[number].out, pipes[(number + 1) % 3].into);
        for fd in pipes.iter().flat_map(|ends| [ends.out, ends.into]) {
            if fd != out && fd != into {
                sys::close(fd)?;
            }
        }
        Ok((out, into))
    };
    let pass = |stage: &mut Stage, number: usize, (out, into): (RawFd, RawFd)| -> Result<()> {
        has(stage, "the first word", out, 20 + number as u64, 0, 100)?;
        put_all(into, 30 + number as u64, 0, 5000)?;
        let from = (number as u64 + 2) % 3;
        has(stage, "the neighbour's", out, 30 + from, 0, 5000)?;
        sys::close(into)?;
        stage.equal("the end", &sys::read(out, &mut [0])?, &0);
        Ok(())
    };
    let mut children = Vec::new();
    for number in [1, 2] {
        children.push(stage.spawn_ready(&format!("task{number}"), |child| {
            let own = keep(number)?;
            child.hold()?;
            pass(child, number, own)
        })?);
    }
    let own = keep(0)?;
    stage.hold()?;
    for child in &children {
        child.resume()?;
    }
    pass(stage, 0, own)?;
    for child in &children {
        stage.join(child)?;
    }
    Ok(())
}

/// Owner, permissions and times.
fn facts(fd: RawFd) -> Result<[i64; 5]> {
    let data = fs::metadata(memfd::path_of(fd)).map_err(Error::from_io("stat"))?;
    Ok([
        data.permissions().mode().into(),
        data.uid().into(),
        data.gid().into(),
        data.atime_nsec() + data.atime() * 1_000_000_000,
        data.mtime_nsec() + data.mtime() * 1_000_000_000,
    ])
}

/// Opened once more by /proc, in three ways, with flags of their own; permissions and times are those of the pipe.
pub(crate) fn again(stage: &mut Stage, _args: &Args) -> Result<()> {
    let ends = Ends::new(0)?;
    let path = memfd::path_of(ends.out);
    let both = sys::open(&path, libc::O_RDWR | libc::O_CLOEXEC)?;
    let reader = sys::open(&path, libc::O_RDONLY | libc::O_NONBLOCK)?;
    let appender = sys::open(&path, libc::O_WRONLY | libc::O_APPEND)?;
    // SAFETY: plain numbers.
    sys::check("fchmod", unsafe { libc::fchmod(ends.out, 0o640) })?;
    put_all(appender, 40, 0, 500)?;
    has(stage, "at first", both, 40, 0, 100)?;
    sys::close(ends.into)?;
    let all = [ends.out, both, reader, appender];
    let flags = || sys::flags_of(all);
    let before = (flags(), facts(reader)?);
    stage.hold()?;
    stage.equal("flags and facts", &(flags(), facts(reader)?), &before);
    has(stage, "what is left", ends.out, 40, 100, 400)?;
    let more = sys::outcome(sys::read(reader, &mut [0]));
    stage.equal("nothing at once", &more, &Err(libc::EAGAIN));
    // Only what pipe(2) returned can be told so call by call.
    let both_ways = [ends.out, reader].map(not_waiting);
    let expected = [Err(libc::EAGAIN), Err(libc::EOPNOTSUPP)];
    stage.equal("told not to wait", &both_ways, &expected);
    put_all(both, 41, 0, 200)?;
    has(stage, "by another opening", reader, 41, 0, 200)?;
    sys::close(both)?;
    sys::close(appender)?;
    stage.equal("no writer", &polled(reader)?, &libc::POLLHUP);
    Ok(())
}

/// How much goes into a pipe of one page, of which a part was read: what was read makes no room, what was not written does.
pub(crate) fn room(stage: &mut Stage, _args: &Args) -> Result<()> {
    let ends = Ends::with_pages(libc::O_NONBLOCK, 1)?;
    let mut expected = page_size() - 1000;
    put_all(ends.into, 50, 0, 1000)?;
    has(stage, "at first", ends.out, 50, 0, 600)?;
    stage.hold()?;
    while expected > 0 {
        let len = expected.min(500);
        put_all(ends.into, 50, page_size() - expected, len)?;
        expected -= len;
    }
    let more = put(ends.into, 50, 0, 1);
    stage.equal("no more room", &more, &Err(libc::EAGAIN));
    has(stage, "all of it", ends.out, 50, 600, page_size() - 600)
}

/// Pieces of a file, and of the task's memory, that were spliced into a pipe: nothing is written into their pages.
pub(crate) fn spliced(stage: &mut Stage, _args: &Args) -> Result<()> {
    let path = stage.path("file");
    fs::write(&path, pattern::piece(60, 0, 3 * page_size())).map_err(Error::from_io("write"))?;
    let file = sys::open(&path, libc::O_RDONLY)?;
    let mut memory = Mapping::anonymous(1)?;
    pattern::fill(memory.bytes_mut(0, 700), 61);
    let ends = Ends::with_pages(libc::O_NONBLOCK, 4)?;
    let mut from = i64::try_from(page_size()).unwrap_or(0) - 10;
    // SAFETY: the offset lives; the kernel moves it.
    let moved = unsafe {
        libc::splice(
            file,
            &raw mut from,
            ends.into,
            std::ptr::null_mut(),
            page_size(),
            0,
        )
    };
    let part = libc::iovec {
        iov_base: memory.start().cast(),
        iov_len: 700,
    };
    // SAFETY: the memory lives as long as the pipe.
    let given = unsafe { libc::vmsplice(ends.into, &raw const part, 1, 0) };
    let parts = (usize::try_from(moved), usize::try_from(given));
    if parts != (Ok(page_size()), Ok(700)) {
        return Err(Error::Situation(format!("{parts:?} bytes were spliced")));
    }
    sys::close(file)?;
    fs::remove_file(&path).map_err(Error::from_io("remove"))?;
    stage.hold()?;
    // The last free page, in which all goes on.
    put_all(ends.into, 62, 0, 100)?;
    let more = put(ends.into, 62, 100, page_size());
    stage.equal("no more room", &more, &Err(libc::EAGAIN));
    let at = page_size() - 10;
    has(stage, "of the file", ends.out, 60, at, page_size())?;
    has(stage, "of the memory", ends.out, 61, 0, 700)?;
    has(stage, "written", ends.out, 62, 0, 100)?;
    let left = pattern::mismatch(memory.bytes(0, 700), 61);
    stage.equal("memory", &left, &None);
    Ok(())
}

/// Ends that a second task has by dup and by a table of its own, and one that only a descriptor of another number holds.
pub(crate) fn shared(stage: &mut Stage, _args: &Args) -> Result<()> {
    let ends = Ends::new(libc::O_CLOEXEC)?;
    let pair = Ends::new(0)?;
    put_all(pair.into, 70, 0, 4000)?;
    // SAFETY: plain numbers.
    let copy = sys::check("dup2", unsafe { libc::dup2(ends.into, 100) })?;
    let child = stage.spawn_ready("child", |child| {
        sys::close(ends.into)?;
        sys::close(pair.into)?;
        child.hold()?;
        has(child, "the first half", pair.out, 70, 0, 2000)?;
        put_all(copy, 71, 0, 50)
    })?;
    sys::close(copy)?;
    stage.hold()?;
    child.resume()?;
    stage.join(&child)?;
    has(stage, "the child's", ends.out, 71, 0, 50)?;
    has(stage, "the second half", pair.out, 70, 2000, 2000)?;
    sys::close(ends.into)?;
    stage.equal("the end", &sys::read(ends.out, &mut [0])?, &0);
    let close_on_exec = [ends.out, pair.out].map(|fd| sys::descriptor_flags(fd, libc::F_GETFD));
    stage.equal("flags", &close_on_exec, &[Some(libc::FD_CLOEXEC), Some(0)]);
    Ok(())
}

fn make_fifo(stage: &Stage, name: &str) -> Result<std::path::PathBuf> {
    let path = stage.path(name);
    let text = sys::c_path(&path)?;
    // SAFETY: the path lives.
    sys::check("mkfifo", unsafe { libc::mkfifo(text.as_ptr(), 0o640) })?;
    Ok(path)
}

/// A fifo with bytes in it, which two tasks have open; and one whose only reader has seen no writer yet, or one that is gone.
pub(crate) fn fifo(stage: &mut Stage, _args: &Args) -> Result<()> {
    let reads = libc::O_RDONLY | libc::O_NONBLOCK;
    let path = make_fifo(stage, "fifo")?;
    let out = sys::open(&path, reads)?;
    let child = stage.spawn_ready("child", |child| {
        sys::close(out)?;
        let into = sys::open(&path, libc::O_WRONLY)?;
        put_all(into, 80, 0, 6000)?;
        child.hold()?;
        let written = put_all(into, 80, 6000, 100);
        child.works("written", written);
        Ok(())
    })?;
    let alone = sys::open(&make_fifo(stage, "alone")?, reads)?;
    let left_path = make_fifo(stage, "left")?;
    let left = sys::open(&left_path, reads)?;
    let gone = sys::open(&left_path, libc::O_WRONLY)?;
    put_all(gone, 81, 0, 10)?;
    sys::close(gone)?;
    let polls = || -> Result<_> { Ok((polled(out)?, polled(alone)?, polled(left)?, unread(out)?)) };
    let before = polls()?;
    stage.hold()?;
    stage.equal("readiness", &polls()?, &before);
    child.resume()?;
    stage.join(&child)?;
    has(stage, "contents", out, 80, 0, 6100)?;
    stage.equal("the end", &sys::read(out, &mut [0])?, &0);
    has(stage, "what the writer has left", left, 81, 0, 10)?;
    stage.equal("hung up", &polled(left)?, &libc::POLLHUP);
    stage.equal("not hung up", &polled(alone)?, &0);
    let into = sys::open(&stage.path("alone"), libc::O_WRONLY | libc::O_NONBLOCK)?;
    put_all(into, 82, 0, 10)?;
    sys::close(into)?;
    has(stage, "of the first writer", alone, 82, 0, 10)?;
    stage.equal("hung up then", &polled(alone)?, &libc::POLLHUP);
    Ok(())
}

/// Only a writer has the fifo open, and what it wrote is in it; another task waits for somebody to open the other side of one.
pub(crate) fn fifo_sides(stage: &mut Stage, _args: &Args) -> Result<()> {
    let path = make_fifo(stage, "fifo")?;
    let out = sys::open(&path, libc::O_RDWR)?;
    let into = sys::open(&path, libc::O_WRONLY | libc::O_NONBLOCK)?;
    put_all(into, 90, 0, 700)?;
    sys::close(out)?;
    let waited = make_fifo(stage, "waited")?;
    let child = stage.spawn("opener", |child| {
        child.ready()?;
        let out = sys::open(&waited, libc::O_RDONLY)?;
        has(child, "what its parent writes", out, 91, 0, 50)
    })?;
    stage.hold_waiting(&child)?;
    ignore_broken_pipes()?;
    stage.equal("nobody reads", &put(into, 90, 0, 1), &Err(libc::EPIPE));
    let out = sys::open(&path, libc::O_RDONLY)?;
    has(stage, "contents", out, 90, 0, 700)?;
    let writer = sys::open(&waited, libc::O_WRONLY)?;
    put_all(writer, 91, 0, 50)?;
    stage.join(&child)
}
