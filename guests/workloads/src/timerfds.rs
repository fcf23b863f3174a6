//! Timerfds: the time that is left on each clock, expirations that nobody has read, and who waits for one.

use std::ffi::c_int;
use std::os::fd::RawFd;
use std::time::Duration;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys;

/// What is asked for; nobody waits for its end.
const LONG: Duration = Duration::from_secs(3600);

/// What has passed when the tree says that it is ready.
const PASSED: Duration = Duration::from_millis(300);

/// More than any run takes.
const AT_MOST: Duration = Duration::from_secs(1800);

fn create(clock: libc::clockid_t, flags: c_int) -> Result<RawFd> {
    // SAFETY: plain numbers.
    sys::check("timerfd_create", unsafe {
        libc::timerfd_create(clock, flags)
    })
}

fn set(fd: RawFd, flags: c_int, first: Duration, interval: Duration) -> Result<()> {
    let setting = libc::itimerspec {
        it_interval: sys::timespec(interval),
        it_value: sys::timespec(first),
    };
    // SAFETY: the setting lives.
    sys::check("timerfd_settime", unsafe {
        libc::timerfd_settime(fd, flags, &raw const setting, std::ptr::null_mut())
    })
    .map(drop)
}

/// The time that is left, and the interval.
fn get(fd: RawFd) -> Result<(Duration, Duration)> {
    let mut setting = libc::itimerspec {
        it_interval: sys::timespec(Duration::ZERO),
        it_value: sys::timespec(Duration::ZERO),
    };
    // SAFETY: the kernel writes one structure.
    sys::check("timerfd_gettime", unsafe {
        libc::timerfd_gettime(fd, &raw mut setting)
    })?;
    Ok((
        sys::duration(setting.it_value),
        sys::duration(setting.it_interval),
    ))
}

fn await_ready(fd: RawFd) -> Result<()> {
    sys::poll(fd, libc::POLLIN, -1).map(drop)
}

/// One that expires at once.
pub(crate) fn short() -> Result<RawFd> {
    let fd = create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK)?;
    expire(fd)?;
    Ok(fd)
}

/// One that does not while anybody waits.
pub(crate) fn long() -> Result<RawFd> {
    let fd = create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK)?;
    set(fd, 0, LONG, Duration::ZERO)?;
    Ok(fd)
}

/// Has it expire.
pub(crate) fn expire(fd: RawFd) -> Result<()> {
    set(fd, 0, Duration::from_millis(1), Duration::ZERO)
}

/// Time is left, on the clock that `clock` names, and has passed before the freeze; an interval is kept, and what is not armed stays so.
pub(crate) fn left(stage: &mut Stage, args: &Args) -> Result<()> {
    let (clock, flags) = match args.text("clock", "monotonic") {
        "monotonic" => (libc::CLOCK_MONOTONIC, 0),
        "realtime" => (libc::CLOCK_REALTIME, 0),
        "boottime" => (libc::CLOCK_BOOTTIME, 0),
        "absolute" => (libc::CLOCK_REALTIME, libc::TFD_TIMER_ABSTIME),
        "cancelable" => (
            libc::CLOCK_REALTIME,
            libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET,
        ),
        "monotonic_absolute" => (libc::CLOCK_MONOTONIC, libc::TFD_TIMER_ABSTIME),
        "alarm_absolute" => (libc::CLOCK_REALTIME_ALARM, libc::TFD_TIMER_ABSTIME),
        "realtime_alarm" => (libc::CLOCK_REALTIME_ALARM, 0),
        "boottime_alarm" => (libc::CLOCK_BOOTTIME_ALARM, 0),
        other => return Err(Error::Argument(format!("clock={other}"))),
    };
    let interval = Duration::from_secs(77);
    let once = create(clock, libc::TFD_CLOEXEC)?;
    let again = create(clock, libc::TFD_NONBLOCK)?;
    let idle = create(clock, libc::TFD_NONBLOCK)?;
    let of_day = flags != 0 && clock != libc::CLOCK_MONOTONIC;
    let base = match flags {
        0 => Duration::ZERO,
        _ if of_day => sys::clock(libc::CLOCK_REALTIME)?,
        _ => sys::clock(clock)?,
    };
    set(once, flags, base + LONG, Duration::ZERO)?;
    set(again, flags, base + LONG, interval)?;
    if !matches!(
        clock,
        libc::CLOCK_REALTIME_ALARM | libc::CLOCK_BOOTTIME_ALARM
    ) {
        // An alarm that is disarmed still tells the time that it had.
        set(idle, flags, base + LONG, interval)?;
        set(idle, 0, Duration::ZERO, Duration::ZERO)?;
    }
    std::thread::sleep(PASSED);
    let settings = || [once, again, idle].map(|fd| sys::descriptor_flags(fd, libc::F_GETFL));
    let before = settings();
    stage.hold()?;
    stage.equal("flags", &settings(), &before);
    for (name, fd, expected) in [("once", once, Duration::ZERO), ("again", again, interval)] {
        let to_go = || -> Result<_> {
            let now = sys::clock(libc::CLOCK_REALTIME)?;
            Ok((base + LONG).saturating_sub(now))
        };
        let latest = to_go()?;
        let (left, found) = get(fd)?;
        let earliest = to_go()?;
        stage.equal(&format!("interval of {name}"), &found, &expected);
        if of_day {
            // The clock of another kernel may be behind.
            stage.check(
                &format!("the point in time of {name}"),
                earliest <= left && left <= latest,
                &format!("{left:?} left, {earliest:?} to {latest:?} to go"),
            );
            continue;
        }
        // That it has passed is hardly to be seen here: a restart takes longer. The images are compared.
        stage.check(
            &format!("time of {name} has passed"),
            left <= LONG.saturating_sub(PASSED),
            &format!("{left:?} left"),
        );
        stage.check(
            &format!("time of {name} is left"),
            left >= LONG.saturating_sub(AT_MOST),
            &format!("{left:?} left"),
        );
    }
    stage.equal("what is not armed", &get(idle)?.0, &Duration::ZERO);
    stage.equal(
        "nothing to read",
        &sys::outcome(sys::read_number(again)),
        &Err(libc::EAGAIN),
    );
    Ok(())
}

/// One that expired once, one that does so again and again, and one whose only expiration was read.
pub(crate) fn expired(stage: &mut Stage, _args: &Args) -> Result<()> {
    let [once, often, read] = [(); 3].map(|()| create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK));
    let (once, often, read) = (once?, often?, read?);
    let soon = Duration::from_millis(20);
    set(once, 0, soon, Duration::ZERO)?;
    set(often, 0, soon, soon)?;
    set(read, 0, soon, Duration::ZERO)?;
    let start = sys::clock(libc::CLOCK_MONOTONIC)?;
    for fd in [once, often, read] {
        await_ready(fd)?;
    }
    let taken = sys::read_number(read)?;
    std::thread::sleep(PASSED);
    let apart = sys::clock(libc::CLOCK_MONOTONIC)?.saturating_sub(start);
    stage.hold()?;
    stage.equal("read before", &taken, &1);
    stage.equal("once", &sys::read_number(once)?, &1);
    stage.equal(
        "and no more",
        &sys::outcome(sys::read_number(once)),
        &Err(libc::EAGAIN),
    );
    stage.equal(
        "what was read",
        &sys::outcome(sys::read_number(read)),
        &Err(libc::EAGAIN),
    );
    let count = sys::read_number(often)?;
    let least = (apart.as_millis() / soon.as_millis()).saturating_sub(1);
    stage.check(
        "the times that passed count",
        u128::from(count) >= least,
        &format!("{count} of at least {least}"),
    );
    await_ready(often)?;
    stage.check("it goes on", sys::read_number(often)? > 0, "it does not");
    Ok(())
}

/// Sets the time of the day to one that is a little later.
fn advance_clock() -> Result<()> {
    let later = sys::timespec(sys::clock(libc::CLOCK_REALTIME)? + Duration::from_secs(1));
    // SAFETY: the time lives.
    sys::check("clock_settime", unsafe {
        libc::clock_settime(libc::CLOCK_REALTIME, &raw const later)
    })
    .map(drop)
}

/// The clock was set: one has not told it yet, one has, and one is not to. Then it is set again.
pub(crate) fn cancelled(stage: &mut Stage, _args: &Args) -> Result<()> {
    let at = sys::clock(libc::CLOCK_REALTIME)? + LONG;
    let [untold, told, deaf] = [(); 3].map(|()| create(libc::CLOCK_REALTIME, libc::TFD_NONBLOCK));
    let (untold, told, deaf) = (untold?, told?, deaf?);
    let cancelable = libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET;
    set(untold, cancelable, at, Duration::ZERO)?;
    set(told, cancelable, at, Duration::ZERO)?;
    set(deaf, libc::TFD_TIMER_ABSTIME, at, Duration::ZERO)?;
    advance_clock()?;
    await_ready(untold)?;
    let before = sys::outcome(sys::read_number(told));
    stage.hold()?;
    let cancelled = Err(libc::ECANCELED);
    let ready = sys::poll(untold, libc::POLLIN, 0)?;
    stage.equal("what is to be told is ready", &ready, &libc::POLLIN);
    stage.equal("what was told", &before, &cancelled);
    stage.equal(
        "what was not",
        &sys::outcome(sys::read_number(untold)),
        &cancelled,
    );
    for (name, fd) in [("untold", untold), ("told", told), ("deaf", deaf)] {
        let outcome = sys::outcome(sys::read_number(fd));
        stage.equal(name, &outcome, &Err(libc::EAGAIN));
        let runs = format!("{name} runs");
        stage.check(&runs, !get(fd)?.0.is_zero(), "it does not");
    }
    advance_clock()?;
    stage.equal(
        "once more",
        &sys::outcome(sys::read_number(told)),
        &cancelled,
    );
    let deaf = sys::outcome(sys::read_number(deaf));
    stage.equal("nothing to tell", &deaf, &Err(libc::EAGAIN));
    Ok(())
}

/// A child waits for one to expire, which its parent then has it do.
pub(crate) fn blocked(stage: &mut Stage, _args: &Args) -> Result<()> {
    let fd = create(libc::CLOCK_MONOTONIC, 0)?;
    set(fd, 0, LONG, Duration::ZERO)?;
    let child = stage.spawn("waiter", |child| {
        child.ready()?;
        child.equal("expirations", &sys::read_number(fd)?, &1);
        Ok(())
    })?;
    stage.hold_waiting(&child)?;
    set(fd, 0, Duration::from_millis(1), Duration::ZERO)?;
    stage.join(&child)
}
