//! Leases on files: who holds one is told before somebody else opens the file.

use std::ffi::{c_int, c_long};
use std::fs;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use crate::args::Args;
use crate::error::{Error, Result};
use crate::memfd;
use crate::owners::{self, Told, take};
use crate::stage::Stage;
use crate::sys;

/// A new file, open in this way.
fn some_file(stage: &Stage, flags: c_int) -> Result<RawFd> {
    let path = stage.path("file");
    fs::write(&path, b"what is leased does not matter").map_err(Error::from_io("write"))?;
    sys::open(&path, flags)
}

fn lease(fd: RawFd, kind: c_int) -> Result<()> {
    // SAFETY: plain numbers.
    sys::check("F_SETLEASE", unsafe {
        libc::fcntl(fd, libc::F_SETLEASE, kind)
    })
    .map(drop)
}

/// The lease, or what it is to become.
fn leased(fd: RawFd) -> Option<c_int> {
    sys::descriptor_flags(fd, libc::F_GETLEASE)
}

/// A lease whose holder is told of its end with details.
fn told_lease(fd: RawFd, kind: c_int) -> Result<()> {
    owners::set_signal(fd, owners::signal())?;
    lease(fd, kind)
}

/// That the lease is to be given up.
fn told(fd: RawFd) -> Told {
    const POLL_MSG: c_int = 3;
    const BAND: c_long = 0x441;
    Told::new(POLL_MSG, BAND, fd)
}

/// A file without a name, which nobody opens but by the link in procfs.
fn nameless(stage: &Stage) -> Result<(RawFd, PathBuf)> {
    let fd = some_file(stage, libc::O_RDONLY)?;
    fs::remove_file(stage.path("file")).map_err(Error::from_io("remove"))?;
    Ok((fd, memfd::path_of(fd)))
}

/// A child opens the file, if it can at once.
fn opens(
    stage: &mut Stage,
    name: &str,
    (path, flags): (&Path, c_int),
    expected: Result<(), i32>,
) -> Result<()> {
    let child = stage.spawn(name, |child| {
        let opened = sys::outcome(sys::open(path, flags | libc::O_NONBLOCK).map(drop));
        child.equal("opened", &opened, &expected);
        Ok(())
    })?;
    stage.join(&child)
}

fn kind_of(args: &Args) -> Result<c_int> {
    match args.text("kind", "write") {
        "read" => Ok(libc::F_RDLCK),
        "write" => Ok(libc::F_WRLCK),
        other => Err(Error::Argument(format!("kind={other}"))),
    }
}

/// A lease that nobody has asked the holder to give up.
pub(crate) fn held(stage: &mut Stage, args: &Args) -> Result<()> {
    let kind = kind_of(args)?;
    owners::block()?;
    let (fd, path) = nameless(stage)?;
    let (reader, writer) = ((&*path, libc::O_RDONLY), (&*path, libc::O_WRONLY));
    told_lease(fd, kind)?;
    stage.hold()?;
    stage.equal("the lease", &leased(fd), &Some(kind));
    stage.equal("a signal without a cause", &take()?, &None);
    if kind == libc::F_RDLCK {
        opens(stage, "reader", reader, Ok(()))?;
        stage.equal("who reads is let in", &take()?, &None);
    } else {
        opens(stage, "reader", reader, Err(libc::EAGAIN))?;
        stage.equal("told of the reader", &take()?, &Some(told(fd)));
        stage.equal("to be shared", &leased(fd), &Some(libc::F_RDLCK));
        lease(fd, libc::F_RDLCK)?;
        opens(stage, "let in", reader, Ok(()))?;
    }
    opens(stage, "writer", writer, Err(libc::EAGAIN))?;
    stage.equal("told of the writer", &take()?, &Some(told(fd)));
    stage.equal("to be given up", &leased(fd), &Some(libc::F_UNLCK));
    lease(fd, libc::F_UNLCK)?;
    opens(stage, "afterwards", writer, Ok(()))
}

/// A child waits for a lease to be given up, or to be shared; the holder was told of it, and is not told again.
pub(crate) fn breaking(stage: &mut Stage, args: &Args) -> Result<()> {
    let (flags, target) = match args.text("how", "unlock") {
        "unlock" => (libc::O_WRONLY, libc::F_UNLCK),
        "downgrade" => (libc::O_RDONLY, libc::F_RDLCK),
        other => return Err(Error::Argument(format!("how={other}"))),
    };
    owners::block()?;
    let (fd, path) = nameless(stage)?;
    told_lease(fd, libc::F_WRLCK)?;
    let child = stage.spawn("waiter", |child| {
        child.ready()?;
        let opened = sys::outcome(sys::open(&path, flags).map(drop));
        child.equal("opened", &opened, &Ok(()));
        Ok(())
    })?;
    while sys::pending()? & (1 << (owners::signal() - 1)) == 0 {
        child.alive()?;
        sys::pause();
    }
    stage.equal("told", &take()?, &Some(told(fd)));
    stage.hold_waiting(&child)?;
    stage.equal("told again", &take()?, &None);
    stage.equal("what it is to become", &leased(fd), &Some(target));
    lease(fd, target)?;
    stage.join(&child)?;
    stage.equal("what it is", &leased(fd), &Some(target));
    Ok(())
}

/// A lease that was not given up in time is shared now, although the holder may write.
pub(crate) fn downgraded(stage: &mut Stage, _args: &Args) -> Result<()> {
    let time = "/proc/sys/fs/lease-break-time";
    owners::block()?;
    let fd = some_file(stage, libc::O_RDWR)?;
    fs::remove_file(stage.path("file")).map_err(Error::from_io("remove"))?;
    let path = memfd::path_of(fd);
    told_lease(fd, libc::F_WRLCK)?;
    fs::write(time, b"1").map_err(Error::from_io("write"))?;
    let child = stage.spawn("reader", |child| {
        let opened = sys::outcome(sys::open(&path, libc::O_RDONLY).map(drop));
        child.equal("opened", &opened, &Ok(()));
        Ok(())
    })?;
    stage.join(&child)?;
    fs::write(time, b"45").map_err(Error::from_io("write"))?;
    stage.equal("told", &take()?, &Some(told(fd)));
    stage.equal("it is shared", &leased(fd), &Some(libc::F_RDLCK));
    stage.hold()?;
    stage.equal("it is still", &leased(fd), &Some(libc::F_RDLCK));
    opens(stage, "writer", (&path, libc::O_WRONLY), Err(libc::EAGAIN))?;
    stage.equal("told of the writer", &take()?, &Some(told(fd)));
    Ok(())
}

/// Several open files have a lease that they share, one of them in a child, one that a process has taken that is gone; all may have been told to give it up.
pub(crate) fn shared(stage: &mut Stage, args: &Args) -> Result<()> {
    let before = match args.text("broken", "after") {
        "before" => true,
        "after" => false,
        other => return Err(Error::Argument(format!("broken={other}"))),
    };
    owners::block()?;
    let path = stage.path("file");
    let writer = (&*path, libc::O_WRONLY);
    let [first, left] = [
        some_file(stage, libc::O_RDONLY)?,
        sys::open(&path, libc::O_RDONLY)?,
    ];
    told_lease(first, libc::F_RDLCK)?;
    let gone = stage.spawn("gone", |child| {
        let taken = sys::outcome(told_lease(left, libc::F_RDLCK));
        child.equal("taken", &taken, &Ok(()));
        Ok(())
    })?;
    stage.join(&gone)?;
    let child = stage.spawn_ready("child", |child| {
        let own = sys::open(&child.path("file"), libc::O_RDONLY)?;
        told_lease(own, libc::F_RDLCK)?;
        child.hold()?;
        // Once, before the checkpoint or after it.
        child.equal("told", &take()?, &Some(told(own)));
        child.equal("once", &take()?, &None);
        child.equal("to be given up", &leased(own), &Some(libc::F_UNLCK));
        lease(own, libc::F_UNLCK)
    })?;
    if before {
        opens(stage, "writer", writer, Err(libc::EAGAIN))?;
    }
    stage.hold()?;
    if before {
        stage.equal("of who is gone", &leased(left), &Some(libc::F_UNLCK));
    } else {
        stage.equal("of who is gone", &leased(left), &Some(libc::F_RDLCK));
        opens(stage, "writer", writer, Err(libc::EAGAIN))?;
    }
    stage.equal("told", &take()?, &Some(told(first)));
    stage.equal("once", &take()?, &None);
    child.resume()?;
    stage.join(&child)?;
    lease(first, libc::F_UNLCK)?;
    opens(stage, "not yet", writer, Err(libc::EAGAIN))?;
    lease(left, libc::F_UNLCK)?;
    opens(stage, "afterwards", writer, Ok(()))
}
