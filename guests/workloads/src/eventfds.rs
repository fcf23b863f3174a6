//! Eventfds: their numbers, whether they are semaphores, and who waits for them to change.

use std::ffi::{c_int, c_uint};
use std::os::fd::RawFd;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys;

/// The most that write(2) brings one to.
const FULL: u64 = u64::MAX - 1;

pub(crate) fn create(count: u64, flags: c_int) -> Result<RawFd> {
    let first = c_uint::try_from(count.min(7)).unwrap_or(0);
    // SAFETY: plain numbers.
    let fd = sys::check("eventfd", unsafe { libc::eventfd(first, flags) })?;
    if count > 7 {
        add(fd, count - 7)?;
    }
    Ok(fd)
}

pub(crate) fn add(fd: RawFd, count: u64) -> Result<()> {
    sys::write(fd, &count.to_ne_bytes()).map(drop)
}

/// Nothing, a number, and all that goes in; as they are and as semaphores; one is shared with a child.
pub(crate) fn numbers(stage: &mut Stage, _args: &Args) -> Result<()> {
    let none = create(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?;
    let some = create(31_337, 0)?;
    let full = create(FULL, libc::EFD_NONBLOCK)?;
    let semaphore = create(3, libc::EFD_NONBLOCK | libc::EFD_SEMAPHORE)?;
    let large = create(1 << 40, 0)?;
    // SAFETY: plain numbers; eventfd(2) cannot set that flag.
    sys::check("F_SETFL", unsafe {
        libc::fcntl(large, libc::F_SETFL, libc::O_APPEND)
    })?;
    // SAFETY: plain numbers.
    let copy = sys::check("dup", unsafe { libc::dup(some) })?;
    let all = [none, some, full, semaphore, large, copy];
    let flags = || sys::flags_of(all);
    let before = flags();
    let child = stage.spawn_ready("child", |child| {
        child.hold()?;
        child.equal("what both have", &sys::read_number(copy)?, &31_337);
        add(some, 5)
    })?;
    stage.hold()?;
    stage.equal("flags", &flags(), &before);
    stage.equal(
        "of none",
        &sys::outcome(sys::read_number(none)),
        &Err(libc::EAGAIN),
    );
    child.resume()?;
    stage.join(&child)?;
    stage.equal("from the child", &sys::read_number(some)?, &5);
    stage.equal(
        "no more room",
        &sys::outcome(add(full, 1)),
        &Err(libc::EAGAIN),
    );
    stage.equal("all of it", &sys::read_number(full)?, &FULL);
    let ones = [
        sys::read_number(semaphore)?,
        sys::read_number(semaphore)?,
        sys::read_number(semaphore)?,
    ];
    stage.equal("one by one", &ones, &[1; 3]);
    let more = sys::outcome(sys::read_number(semaphore));
    stage.equal("and then none", &more, &Err(libc::EAGAIN));
    stage.equal("a large one", &sys::read_number(large)?, &(1 << 40));
    Ok(())
}

/// A child waits for a number, for room, or in poll(2).
pub(crate) fn blocked(stage: &mut Stage, args: &Args) -> Result<()> {
    let how = args.text("how", "read").to_owned();
    let count = if how == "write" { FULL } else { 0 };
    let fd = create(count, 0)?;
    let child = stage.spawn("waiter", |child| {
        child.ready()?;
        match how.as_str() {
            "read" => child.equal("taken", &sys::read_number(fd)?, &9),
            "write" => {
                let added = add(fd, 2);
                child.works("added", added);
            }
            "poll" => child.equal("ready", &sys::poll(fd, libc::POLLIN, -1)?, &libc::POLLIN),
            other => return Err(Error::Argument(format!("how={other}"))),
        }
        Ok(())
    })?;
    stage.hold_waiting(&child)?;
    if how == "write" {
        stage.equal("all of it", &sys::read_number(fd)?, &FULL);
    } else {
        add(fd, 9)?;
    }
    stage.join(&child)?;
    if how != "read" {
        let left = if how == "write" { 2 } else { 9 };
        stage.equal("what is left", &sys::read_number(fd)?, &left);
    }
    Ok(())
}
