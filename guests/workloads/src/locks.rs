//! Locks on files: of flock(2), of fcntl(2) for a process and for an open file, and who waits for one.

use std::ffi::{c_int, c_short};
use std::fs;
use std::os::fd::RawFd;
use std::path::Path;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys::{self, Pid};

/// A new file, open for reading and writing.
fn some_file(stage: &Stage) -> Result<RawFd> {
    let path = stage.path("file");
    fs::write(&path, b"what is locked does not matter").map_err(Error::from_io("write"))?;
    again(stage)
}

/// The same file, opened once more.
fn again(stage: &Stage) -> Result<RawFd> {
    sys::open(&stage.path("file"), libc::O_RDWR)
}

fn flock(fd: RawFd, how: c_int) -> Result<()> {
    // SAFETY: plain numbers.
    sys::check("flock", unsafe { libc::flock(fd, how) }).map(drop)
}

/// Some bytes of a file; 0 are all that follow.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: i32,
    len: i32,
}

/// A lock that is in the way: its type, first byte, and who has it.
#[derive(Debug, PartialEq)]
struct Found {
    kind: c_int,
    start: i32,
    pid: Pid,
}

/// Of a process (`F_SETLK` ...) or of an open file (`F_OFD_SETLK` ...); what the kernel has made of the question.
fn fcntl(fd: RawFd, command: c_int, kind: c_int, range: Range) -> Result<Found> {
    // SAFETY: all-zero bytes are a valid structure.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = c_short::try_from(kind).unwrap_or(-1);
    lock.l_start = range.start.into();
    lock.l_len = range.len.into();
    // SAFETY: the structure lives.
    sys::check("fcntl", unsafe { libc::fcntl(fd, command, &raw mut lock) })?;
    Ok(Found {
        kind: lock.l_type.into(),
        start: i32::try_from(lock.l_start).unwrap_or(-1),
        pid: lock.l_pid,
    })
}

/// Locks of this process.
fn lock(fd: RawFd, kind: c_int, start: i32, len: i32) -> Result<()> {
    fcntl(fd, libc::F_SETLK, kind, Range { start, len }).map(drop)
}

/// Who would keep this process from locking one byte for itself alone?
fn who(fd: RawFd, at: i32) -> Result<Found> {
    let range = Range { start: at, len: 1 };
    fcntl(fd, libc::F_GETLK, libc::F_WRLCK, range)
}

fn found(kind: c_int, start: i32, pid: Pid) -> Found {
    Found { kind, start, pid }
}

/// An open file is locked, for itself alone or to be shared; a child has the same open file.
pub(crate) fn flocked(stage: &mut Stage, args: &Args) -> Result<()> {
    let exclusive = match args.text("mode", "exclusive") {
        "exclusive" => true,
        "shared" => false,
        other => return Err(Error::Argument(format!("mode={other}"))),
    };
    let fd = some_file(stage)?;
    let other = again(stage)?;
    flock(
        fd,
        if exclusive {
            libc::LOCK_EX
        } else {
            libc::LOCK_SH
        },
    )?;
    if !exclusive {
        flock(other, libc::LOCK_SH)?;
    }
    let child = stage.spawn_ready("child", |child| {
        child.hold()?;
        let third = again(child)?;
        let denied = sys::outcome(flock(third, libc::LOCK_EX | libc::LOCK_NB));
        child.equal("for itself alone", &denied, &Err(libc::EAGAIN));
        let shared = sys::outcome(flock(third, libc::LOCK_SH | libc::LOCK_NB));
        let expected = if exclusive { Err(libc::EAGAIN) } else { Ok(()) };
        child.equal("shared", &shared, &expected);
        sys::close(third)
    })?;
    stage.hold()?;
    child.resume()?;
    // What it has closed at its end was not the last descriptor.
    stage.join(&child)?;
    let third = again(stage)?;
    let denied = || sys::outcome(flock(third, libc::LOCK_EX | libc::LOCK_NB));
    stage.equal("it is locked", &denied(), &Err(libc::EAGAIN));
    flock(fd, libc::LOCK_UN)?;
    if !exclusive {
        stage.equal("by the other, too", &denied(), &Err(libc::EAGAIN));
        flock(other, libc::LOCK_UN)?;
    }
    stage.equal("it is unlocked", &denied(), &Ok(()));
    Ok(())
}

/// Bytes that a process has locked, and its child others; some they share.
pub(crate) fn posix(stage: &mut Stage, _args: &Args) -> Result<()> {
    let fd = some_file(stage)?;
    let copy = again(stage)?;
    let parent = sys::pid();
    let child = stage.spawn_ready("child", |child| {
        lock(fd, libc::F_RDLCK, 25, 10)?;
        lock(fd, libc::F_WRLCK, 10, 5)?;
        child.hold()?;
        child.equal("alone", &who(fd, 3)?, &found(libc::F_WRLCK, 0, parent));
        child.equal("shared", &who(fd, 22)?, &found(libc::F_RDLCK, 20, parent));
        child.equal(
            "to the end",
            &who(fd, 9000)?,
            &found(libc::F_RDLCK, 40, parent),
        );
        child.equal("its own", &who(fd, 12)?.kind, &libc::F_UNLCK);
        Ok(())
    })?;
    // The kernel lists them behind those of the child.
    lock(fd, libc::F_WRLCK, 0, 10)?;
    lock(fd, libc::F_RDLCK, 20, 10)?;
    lock(fd, libc::F_RDLCK, 40, 0)?;
    stage.hold()?;
    let pid = child.pid;
    stage.equal(
        "of the child",
        &who(fd, 12)?,
        &found(libc::F_WRLCK, 10, pid),
    );
    stage.equal("shared", &who(fd, 30)?, &found(libc::F_RDLCK, 25, pid));
    stage.equal("nobody's", &who(fd, 17)?.kind, &libc::F_UNLCK);
    child.resume()?;
    stage.join(&child)?;
    stage.equal("gone with the child", &who(fd, 12)?.kind, &libc::F_UNLCK);
    // Any descriptor of the file that is closed unlocks it.
    sys::close(copy)?;
    let child = stage.spawn("after", |child| {
        child.equal("unlocked", &who(fd, 3)?.kind, &libc::F_UNLCK);
        Ok(())
    })?;
    stage.join(&child)
}

/// Bytes that are an open file's: whoever has it open has the lock.
pub(crate) fn ofd(stage: &mut Stage, _args: &Args) -> Result<()> {
    let (set, get) = (libc::F_OFD_SETLK, libc::F_OFD_GETLK);
    let fd = some_file(stage)?;
    let other = again(stage)?;
    let (first, second) = (Range { start: 5, len: 5 }, Range { start: 50, len: 0 });
    fcntl(fd, set, libc::F_WRLCK, first)?;
    fcntl(fd, set, libc::F_RDLCK, second)?;
    fcntl(other, set, libc::F_RDLCK, second)?;
    let child = stage.spawn_ready("child", |child| {
        child.hold()?;
        let free = fcntl(fd, get, libc::F_WRLCK, first)?.kind;
        child.equal("its own, too", &free, &libc::F_UNLCK);
        Ok(())
    })?;
    stage.hold()?;
    let taken = fcntl(other, get, libc::F_RDLCK, first)?;
    stage.equal("the other's", &taken, &found(libc::F_WRLCK, 5, -1));
    let shared = fcntl(fd, get, libc::F_WRLCK, second)?;
    stage.equal("shared", &shared, &found(libc::F_RDLCK, 50, -1));
    child.resume()?;
    stage.join(&child)?;
    let still = fcntl(other, get, libc::F_RDLCK, first)?.kind;
    stage.equal(
        "the end of the child unlocks nothing",
        &still,
        &libc::F_WRLCK,
    );
    sys::close(fd)?;
    let free = fcntl(other, get, libc::F_WRLCK, first)?.kind;
    stage.equal("the last descriptor does", &free, &libc::F_UNLCK);
    Ok(())
}

/// A child waits for a lock of its parent's.
pub(crate) fn waiting(stage: &mut Stage, args: &Args) -> Result<()> {
    let kind = args.text("kind", "flock").to_owned();
    let range = Range { start: 0, len: 10 };
    let take = |fd: RawFd, how: c_int| match kind.as_str() {
        "flock" if how == libc::F_UNLCK => flock(fd, libc::LOCK_UN),
        "flock" => flock(fd, libc::LOCK_EX),
        "posix" => fcntl(fd, libc::F_SETLKW, how, range).map(drop),
        "ofd" => fcntl(fd, libc::F_OFD_SETLKW, how, range).map(drop),
        other => Err(Error::Argument(format!("kind={other}"))),
    };
    let fd = some_file(stage)?;
    take(fd, libc::F_WRLCK)?;
    let child = stage.spawn("waiter", |child| {
        let own = again(child)?;
        child.ready()?;
        take(own, libc::F_WRLCK)?;
        child.check("it has it", true, "");
        Ok(())
    })?;
    stage.hold_waiting(&child)?;
    take(fd, libc::F_UNLCK)?;
    stage.join(&child)
}

/// The root has opened a file, and its child locked some bytes.
pub(crate) fn inherited(stage: &mut Stage, _args: &Args) -> Result<()> {
    let fd = some_file(stage)?;
    let take = || sys::outcome(lock(fd, libc::F_WRLCK, 0, 5));
    let child = stage.spawn_ready("child", |child| {
        child.equal("locked", &take(), &Ok(()));
        child.hold()
    })?;
    stage.hold()?;
    stage.equal(
        "the child's lock keeps the root out",
        &take(),
        &Err(libc::EAGAIN),
    );
    child.resume()?;
    stage.join(&child)?;
    stage.equal("until it ends", &take(), &Ok(()));
    Ok(())
}

/// Whoever has locked is gone, or has ended and was not waited for, and what it has shared with its parent, a table of descriptors or an open file, is not.
pub(crate) fn left(stage: &mut Stage, args: &Args) -> Result<()> {
    let reaped = match args.text("reaped", "yes") {
        "yes" => true,
        "no" => false,
        other => return Err(Error::Argument(format!("reaped={other}"))),
    };
    let fd = some_file(stage)?;
    let other = again(stage)?;
    let gone = stage.spawn_beside("gone", libc::CLONE_FILES, move |child| {
        child.equal(
            "of the table",
            &sys::outcome(lock(fd, libc::F_WRLCK, 7, 3)),
            &Ok(()),
        );
        let of_file = sys::outcome(flock(fd, libc::LOCK_SH));
        child.equal("of the open file", &of_file, &Ok(()));
        Ok(())
    })?;
    if reaped {
        stage.join(&gone)?;
    } else {
        while sys::state(gone.pid)? != 'Z' {
            std::thread::yield_now();
        }
    }
    stage.hold()?;
    let child = stage.spawn("after", |child| {
        let Found { kind, start, pid } = who(fd, 8)?;
        child.equal("of the table", &(kind, start), &(libc::F_WRLCK, 7));
        if reaped {
            let nobody = pid == 0 || !Path::new(&format!("/proc/{pid}")).exists();
            child.check("nobody's any more", nobody, &pid.to_string());
        } else {
            child.equal("who has ended", &pid, &gone.pid);
        }
        Ok(())
    })?;
    stage.join(&child)?;
    if !reaped {
        stage.join(&gone)?;
    }
    let denied = sys::outcome(flock(other, libc::LOCK_EX | libc::LOCK_NB));
    stage.equal("of the open file", &denied, &Err(libc::EAGAIN));
    Ok(())
}
