//! Pidfds: descriptors of processes that run, have ended, or are gone, and who waits for them.

use std::ffi::c_int;
use std::os::fd::RawFd;

use crate::args::Args;
use crate::epoll;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys::{self, Pid, Status};

/// `PIDFD_NONBLOCK` and `PIDFD_THREAD`.
const NONBLOCK: c_int = libc::O_NONBLOCK;
const THREAD: c_int = libc::O_EXCL;

fn number(value: c_int) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// `pidfd_open(2)`.
pub(crate) fn open(pid: Pid, flags: c_int) -> Result<RawFd> {
    // SAFETY: plain numbers.
    let fd = unsafe {
        sys::raw(
            "pidfd_open",
            libc::SYS_pidfd_open,
            [number(pid), number(flags), 0, 0, 0],
        )?
    };
    RawFd::try_from(fd).map_err(|_| Error::Situation(format!("descriptor {fd}")))
}

pub(crate) fn signal(fd: RawFd, signal: c_int) -> Result<()> {
    // SAFETY: plain numbers.
    unsafe {
        sys::raw(
            "pidfd_send_signal",
            libc::SYS_pidfd_send_signal,
            [number(fd), number(signal), 0, 0, 0],
        )
    }
    .map(drop)
}

/// Waits for the child of a descriptor, which stays a zombie with `WNOWAIT`: its pid and exit code.
fn wait(fd: RawFd, flags: c_int) -> Result<(Pid, c_int)> {
    // SAFETY: all-zero bytes are a valid siginfo_t, which outlives the call.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let id = libc::id_t::try_from(fd).unwrap_or(0);
        let ret = libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED | flags);
        sys::check("waitid", ret)?;
        Ok((info.si_pid(), info.si_status()))
    }
}

/// The number that procfs shows; -1 of a process that is gone.
fn shown(fd: RawFd) -> Result<Pid> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))
        .map_err(Error::from_io("read fdinfo"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
        .ok_or_else(|| Error::Situation("fdinfo has no Pid".to_owned()))
}

/// The number of the file, which is that of the process.
fn inode(fd: RawFd) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(crate::memfd::path_of(fd))
        .map(|meta| meta.ino())
        .map_err(Error::from_io("stat"))
}

fn polled(fd: RawFd) -> Result<i16> {
    sys::poll(fd, libc::POLLIN | libc::POLLHUP, 0)
}

/// Descriptors of the process itself, of its child, which has one of its parent, and once more of the child, in an epoll set.
pub(crate) fn family(stage: &mut Stage, _args: &Args) -> Result<()> {
    let own = open(sys::pid(), THREAD | NONBLOCK)?;
    let parent = sys::pid();
    let child = stage.spawn_ready("child", |child| {
        let above = open(parent, 0)?;
        child.hold()?;
        child.equal("that of the parent", &shown(above)?, &sys::parent());
        child.equal("its own", &shown(own)?, &sys::parent());
        let sent = sys::outcome(signal(above, 0));
        child.equal("it can be sent signals", &sent, &Ok(()));
        Ok(())
    })?;
    let [one, two] = [open(child.pid, 0)?, open(child.pid, NONBLOCK)?];
    let set = epoll::create()?;
    epoll::watch(set, one, epoll::IN, 5)?;
    let flags = || sys::flags_of([own, one, two]);
    let before = flags();
    stage.hold()?;
    stage.equal("flags", &flags(), &before);
    stage.equal("its own", &shown(own)?, &sys::pid());
    stage.equal("the child's", &[shown(one)?, shown(two)?], &[child.pid; 2]);
    stage.equal("one process", &inode(one)?, &inode(two)?);
    stage.check("two processes", inode(own)? != inode(one)?, "one inode");
    stage.equal("the child runs", &polled(one)?, &0);
    stage.equal("no event", &epoll::told(set)?, &Vec::new());
    let too_early = sys::outcome(wait(two, 0));
    stage.equal("not to be waited for yet", &too_early, &Err(libc::EAGAIN));
    child.resume()?;
    let ended = sys::outcome(wait(one, libc::WNOWAIT));
    stage.equal("it has ended", &ended, &Ok((child.pid, 0)));
    stage.equal("all are told", &polled(two)?, &libc::POLLIN);
    stage.equal("an event", &epoll::told(set)?, &vec![(5, epoll::IN)]);
    stage.join(&child)?;
    let gone = libc::POLLIN | libc::POLLHUP;
    stage.equal("it is gone", &polled(two)?, &gone);
    Ok(())
}

/// Descriptors of a child that has ended and was not waited for.
pub(crate) fn zombie(stage: &mut Stage, _args: &Args) -> Result<()> {
    let Some(pid) = sys::fork()? else {
        sys::exit(7);
    };
    let fd = open(pid, 0)?;
    wait(fd, libc::WNOWAIT)?;
    stage.hold()?;
    stage.equal("it has ended", &polled(fd)?, &libc::POLLIN);
    stage.equal("its number", &shown(fd)?, &pid);
    let sent = sys::outcome(signal(fd, libc::SIGTERM));
    stage.equal("it can be sent signals", &sent, &Ok(()));
    let status = sys::outcome(wait(fd, 0));
    stage.equal("its status", &status, &Ok((pid, 7)));
    stage.equal("its number afterwards", &shown(fd)?, &-1);
    Ok(())
}

/// Descriptors of processes that are gone: two of one, one of another, which a child has, too.
pub(crate) fn gone(stage: &mut Stage, _args: &Args) -> Result<()> {
    let ended = || -> Result<(Pid, RawFd, RawFd)> {
        let Some(pid) = sys::fork()? else {
            sys::exit(0);
        };
        let fds = [open(pid, 0)?, open(pid, NONBLOCK)?];
        match sys::wait(pid)? {
            Status::Exited(0) => Ok((pid, fds[0], fds[1])),
            status => Err(Error::Situation(format!("{status:?}"))),
        }
    };
    let (first, second) = (ended()?, ended()?);
    sys::close(second.2)?;
    let all = [first.1, second.1, first.2];
    let child = stage.spawn_ready("child", |child| {
        child.hold()?;
        child.equal("of the first", &inode(first.1)?, &inode(first.2)?);
        Ok(())
    })?;
    stage.hold()?;
    for (name, fd) in ["first", "second", "first again"].into_iter().zip(all) {
        let hung_up = libc::POLLIN | libc::POLLHUP;
        stage.equal(name, &polled(fd)?, &hung_up);
        stage.equal(&format!("{name} has no number"), &shown(fd)?, &-1);
        let sent = sys::outcome(signal(fd, 0));
        stage.equal(&format!("{name} gets no signal"), &sent, &Err(libc::ESRCH));
        let waited = sys::outcome(wait(fd, 0));
        stage.equal(
            &format!("{name} has no status"),
            &waited,
            &Err(libc::ECHILD),
        );
    }
    stage.equal("the same", &inode(first.1)?, &inode(first.2)?);
    stage.check("others", inode(first.1)? != inode(second.1)?, "one inode");
    child.resume()?;
    stage.join(&child)
}

/// A child waits for the end of another one, by a descriptor of it: with poll(2), or as its parent with waitid(2).
pub(crate) fn waiting(stage: &mut Stage, args: &Args) -> Result<()> {
    let with_poll = match args.text("how", "poll") {
        "poll" => true,
        "waitid" => false,
        other => return Err(Error::Argument(format!("how={other}"))),
    };
    let waiter = stage.spawn("waiter", |waiter| {
        let other = waiter.spawn("other", |other| {
            other.note_pid("pid")?;
            other.ready()?;
            other.wait_resume()?;
            other.check("resumed", true, "");
            Ok(())
        })?;
        waiter.await_ready(&other)?;
        let fd = open(other.pid, 0)?;
        waiter.ready()?;
        if with_poll {
            // A freeze interrupts poll(2), which goes on.
            waiter.equal("it ends", &sys::poll(fd, libc::POLLIN, -1)?, &libc::POLLIN);
        } else {
            let ended = sys::outcome(wait(fd, libc::WNOWAIT));
            waiter.equal("it ends", &ended, &Ok((other.pid, 0)));
        }
        waiter.join(&other)
    })?;
    stage.hold_waiting(&waiter)?;
    let other = stage.noted_pid("pid")?;
    stage.descendant("waiter.other", other).resume()?;
    stage.join(&waiter)
}
