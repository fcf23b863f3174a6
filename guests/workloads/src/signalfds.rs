//! Signalfds: which signals they take, from the queues of whoever reads.

use std::ffi::c_int;
use std::mem;
use std::os::fd::RawFd;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys;

/// A new one, or one that is to take other signals.
pub(crate) fn signalfd(fd: RawFd, signals: &[c_int], flags: c_int) -> Result<RawFd> {
    let set = sys::set_of(signals);
    // SAFETY: the set lives.
    sys::check("signalfd", unsafe {
        libc::signalfd(fd, &raw const set, flags)
    })
}

/// The next signal, with the number that came with it.
fn take(fd: RawFd) -> Result<(i32, u64)> {
    let mut bytes = [0; mem::size_of::<libc::signalfd_siginfo>()];
    let count = sys::read(fd, &mut bytes)?;
    if count != bytes.len() {
        return Err(Error::Situation(format!("{count} bytes of a signal")));
    }
    // SAFETY: the structure is numbers only, and as long as the bytes.
    let info: libc::signalfd_siginfo = unsafe { mem::transmute(bytes) };
    Ok((info.ssi_signo.cast_signed(), info.ssi_ptr))
}

/// Two that take different signals, of which some are pending; a child reads its own by the same descriptor.
pub(crate) fn signals(stage: &mut Stage, _args: &Args) -> Result<()> {
    let real_time = libc::SIGRTMIN() + 3;
    let last = libc::SIGRTMAX();
    sys::block(&[libc::SIGTERM, libc::SIGUSR2, real_time, last])?;
    let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
    let both = signalfd(-1, &[libc::SIGTERM, real_time], flags)?;
    let other = signalfd(-1, &[libc::SIGHUP], libc::SFD_NONBLOCK)?;
    signalfd(other, &[libc::SIGUSR2, last], 0)?;
    let child = stage.spawn_ready("child", |child| {
        sys::queue(sys::pid(), real_time, 7)?;
        child.hold()?;
        child.equal("its own", &take(both)?, &(real_time, 7));
        child.equal("no more", &sys::outcome(take(both)), &Err(libc::EAGAIN));
        Ok(())
    })?;
    sys::queue(sys::pid(), real_time, 1)?;
    sys::queue(sys::pid(), real_time, 2)?;
    let flags = || sys::flags_of([both, other]);
    let before = flags();
    stage.hold()?;
    stage.equal("flags", &flags(), &before);
    child.resume()?;
    stage.join(&child)?;
    sys::kill(sys::pid(), libc::SIGUSR2)?;
    sys::kill(sys::pid(), libc::SIGTERM)?;
    let three = [take(both)?, take(both)?, take(both)?];
    let expected = [(libc::SIGTERM, 0), (real_time, 1), (real_time, 2)];
    stage.equal("signals of one", &three, &expected);
    stage.equal("no more", &sys::outcome(take(both)), &Err(libc::EAGAIN));
    sys::queue(sys::pid(), last, 3)?;
    let two = [take(other)?, take(other)?];
    let expected = [(libc::SIGUSR2, 0), (last, 3)];
    stage.equal("signals of the other", &two, &expected);
    Ok(())
}

/// A child waits for a signal, in read(2) or poll(2).
pub(crate) fn blocked(stage: &mut Stage, args: &Args) -> Result<()> {
    let how = args.text("how", "read").to_owned();
    sys::block(&[libc::SIGUSR2])?;
    let child = stage.spawn("waiter", |child| {
        let fd = signalfd(-1, &[libc::SIGUSR2], 0)?;
        child.ready()?;
        match how.as_str() {
            "read" => {}
            "poll" => child.equal("ready", &sys::poll(fd, libc::POLLIN, -1)?, &libc::POLLIN),
            other => return Err(Error::Argument(format!("how={other}"))),
        }
        child.equal("the signal", &take(fd)?, &(libc::SIGUSR2, 33));
        Ok(())
    })?;
    stage.hold_waiting(&child)?;
    sys::queue(child.pid, libc::SIGUSR2, 33)?;
    stage.join(&child)
}
