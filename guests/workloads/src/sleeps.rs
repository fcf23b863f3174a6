//! Sleeps with time left: the time that was slept before the freeze counts.
//!
//! Clocks differ between the kernel that checkpoints and the one that restarts, and either may be slow.
//! So the long sleeps say themselves how much was left when a signal ended them, and the short ones say which came first.

use std::ffi::{c_int, c_long};
use std::fs;
use std::time::Duration;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys;

/// What is asked for; nobody waits for its end.
const LONG: Duration = Duration::from_secs(3600);

/// What has passed when the tree says that it is ready.
const SLEPT: Duration = Duration::from_millis(400);

/// More than any run takes.
const AT_MOST: Duration = Duration::from_secs(1800);

/// Only to interrupt.
extern "C" fn nothing(_signal: c_int) {}

/// A call that sleeps: the errno that ended it (`None` if it ended by itself), and what was left where it says so.
type Sleep = fn() -> (Option<i32>, Option<Duration>);

/// A child sleeps in the call that `call` names. It is still asleep after the freeze, and less is left than before.
pub(crate) fn left(stage: &mut Stage, args: &Args) -> Result<()> {
    let (sleep, tells): (Sleep, bool) = match args.text("call", "nanosleep") {
        "nanosleep" => (nanosleep, true),
        "clock_nanosleep" => (clock_nanosleep, true),
        "clock_nanosleep_realtime" => (clock_nanosleep_realtime, true),
        "clock_nanosleep_absolute" => (clock_nanosleep_absolute, false),
        "ppoll" => (ppoll, true),
        "select" => (select, true),
        "poll" => (poll, false),
        "futex" => (futex, false),
        "nanosleep_itself" => (nanosleep_itself, true),
        "pselect" => (pselect, true),
        #[cfg(target_pointer_width = "32")]
        "clock_nanosleep_time32" => (clock_nanosleep_time32, true),
        #[cfg(target_pointer_width = "32")]
        "ppoll_time64" => (ppoll_time64, true),
        #[cfg(target_pointer_width = "32")]
        "futex_time64" => (futex_time64, false),
        other => return Err(Error::Argument(format!("call={other}"))),
    };
    let child = stage.spawn("sleeper", |child| {
        sys::handle(libc::SIGUSR1, nothing, 0, &[])?;
        child.ready()?;
        sys::unblock(&[libc::SIGUSR1])?;
        let (ended, left) = sleep();
        child.equal("ends by the signal", &ended, &Some(libc::EINTR));
        if tells {
            let left = left.unwrap_or_default();
            child.check(
                "time slept before the freeze counts",
                left <= LONG.saturating_sub(SLEPT),
                &format!("{left:?} left of {LONG:?} after more than {SLEPT:?}"),
            );
            child.check(
                "time is left",
                left >= LONG.saturating_sub(AT_MOST),
                &format!("{left:?} left of {LONG:?}"),
            );
        }
        Ok(())
    })?;
    stage.await_ready(&child)?;
    child.await_sleeping()?;
    std::thread::sleep(SLEPT);
    stage.hold()?;
    child.check_asleep(stage)?;
    child.resume()?;
    stage.join(&child)
}

/// The errno of a call that returned -1.
fn errno(returned: c_long) -> Option<i32> {
    let error = std::io::Error::last_os_error();
    if returned == -1 {
        error.raw_os_error()
    } else {
        None
    }
}

fn nanosleep() -> (Option<i32>, Option<Duration>) {
    let (time, mut left) = (sys::timespec(LONG), sys::timespec(Duration::ZERO));
    // SAFETY: both live.
    let returned = unsafe { libc::nanosleep(&raw const time, &raw mut left) };
    (errno(returned.into()), Some(sys::duration(left)))
}

fn clock_nanosleep() -> (Option<i32>, Option<Duration>) {
    clock_sleep(libc::CLOCK_MONOTONIC, 0, LONG)
}

fn clock_nanosleep_realtime() -> (Option<i32>, Option<Duration>) {
    clock_sleep(libc::CLOCK_REALTIME, 0, LONG)
}

fn clock_nanosleep_absolute() -> (Option<i32>, Option<Duration>) {
    let now = sys::clock(libc::CLOCK_REALTIME).unwrap_or_default();
    clock_sleep(libc::CLOCK_REALTIME, libc::TIMER_ABSTIME, now + LONG)
}

/// `clock_nanosleep(2)`, which returns the errno.
fn clock_sleep(
    clock: libc::clockid_t,
    flags: c_int,
    time: Duration,
) -> (Option<i32>, Option<Duration>) {
    let (time, mut left) = (sys::timespec(time), sys::timespec(Duration::ZERO));
    // SAFETY: both live.
    let returned = unsafe { libc::clock_nanosleep(clock, flags, &raw const time, &raw mut left) };
    (
        (returned != 0).then_some(returned),
        Some(sys::duration(left)),
    )
}

/// ppoll(2) itself: the C library's hides what is left.
fn ppoll() -> (Option<i32>, Option<Duration>) {
    let mut time = sys::timespec(LONG);
    // SAFETY: no descriptors, no mask; the time lives.
    let returned = unsafe { libc::syscall(libc::SYS_ppoll, 0, 0, &raw mut time, 0, 0) };
    (errno(returned), Some(sys::duration(time)))
}

fn select() -> (Option<i32>, Option<Duration>) {
    let none = std::ptr::null_mut();
    let mut time = libc::timeval {
        tv_sec: sys::timespec(LONG).tv_sec,
        tv_usec: 0,
    };
    // SAFETY: no descriptors; the time lives.
    let returned = unsafe { libc::select(0, none, none, none, &raw mut time) };
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    (
        errno(returned.into()),
        Some(
            Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0))
                + Duration::from_micros(micros),
        ),
    )
}

fn poll() -> (Option<i32>, Option<Duration>) {
    let millis = c_int::try_from(LONG.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: no descriptors.
    (
        errno(unsafe { libc::poll(std::ptr::null_mut(), 0, millis) }.into()),
        None,
    )
}

/// `FUTEX_WAIT` with a timeout on a private word.
fn futex() -> (Option<i32>, Option<Duration>) {
    let (word, time) = (5_u32, sys::timespec(LONG));
    // SAFETY: word and time live.
    (
        errno(unsafe {
            libc::syscall(
                libc::SYS_futex,
                &raw const word,
                128,
                5,
                &raw const time,
                0,
                0,
            )
        }),
        None,
    )
}

/// `nanosleep(2)` itself: the C library's calls `clock_nanosleep(2)`.
fn nanosleep_itself() -> (Option<i32>, Option<Duration>) {
    let (time, mut left) = (sys::timespec(LONG), sys::timespec(Duration::ZERO));
    // SAFETY: both live.
    let returned = unsafe { libc::syscall(libc::SYS_nanosleep, &raw const time, &raw mut left) };
    (errno(returned), Some(sys::duration(left)))
}

/// `pselect(2)` itself: the C library's hides what is left.
fn pselect() -> (Option<i32>, Option<Duration>) {
    let mut time = sys::timespec(LONG);
    // The last argument is on the stack, where half of a number that is not as wide as a pointer is what was there before.
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: no descriptors, no mask; the time lives.
    let returned =
        unsafe { libc::syscall(libc::SYS_pselect6, 0, none, none, none, &raw mut time, none) };
    (errno(returned), Some(sys::duration(time)))
}

/// The calls of a 32-bit system whose time is not that of the C library's types.
#[cfg(target_pointer_width = "32")]
mod other_time {
    use super::{Duration, LONG, c_int, errno, sys};

    /// `include/uapi/asm-generic/unistd.h`, the same on each 32-bit architecture; the libc crate does not name them everywhere.
    const PPOLL_TIME64: libc::c_long = 414;
    const FUTEX_TIME64: libc::c_long = 422;

    /// `struct __kernel_timespec`.
    #[repr(C)]
    struct Time64 {
        seconds: i64,
        nanoseconds: i64,
    }

    impl Time64 {
        fn long() -> Self {
            Self {
                seconds: LONG.as_secs().cast_signed(),
                nanoseconds: 0,
            }
        }

        fn duration(&self) -> Duration {
            let nanoseconds = u32::try_from(self.nanoseconds).unwrap_or(0);
            Duration::new(self.seconds.cast_unsigned(), nanoseconds)
        }
    }

    /// `clock_nanosleep(2)` with times of 32 bits, which returns the errno of no C library.
    pub(super) fn clock_nanosleep_time32() -> (Option<i32>, Option<Duration>) {
        let (time, mut left) = (sys::timespec(LONG), sys::timespec(Duration::ZERO));
        let clock: c_int = libc::CLOCK_MONOTONIC;
        // SAFETY: both live.
        let returned = unsafe {
            libc::syscall(
                libc::SYS_clock_nanosleep,
                clock,
                0,
                &raw const time,
                &raw mut left,
            )
        };
        (errno(returned), Some(sys::duration(left)))
    }

    /// `ppoll_time64(2)`.
    pub(super) fn ppoll_time64() -> (Option<i32>, Option<Duration>) {
        let mut time = Time64::long();
        // SAFETY: no descriptors, no mask; the time lives.
        let returned = unsafe { libc::syscall(PPOLL_TIME64, 0, 0, &raw mut time, 0, 0) };
        (errno(returned), Some(time.duration()))
    }

    /// `FUTEX_WAIT` with a timeout of 64 bits.
    pub(super) fn futex_time64() -> (Option<i32>, Option<Duration>) {
        let (word, time) = (5_u32, Time64::long());
        // SAFETY: word and time live.
        let returned = unsafe {
            libc::syscall(
                FUTEX_TIME64,
                &raw const word,
                libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                5,
                &raw const time,
                0,
                0,
            )
        };
        (errno(returned), None)
    }
}

#[cfg(target_pointer_width = "32")]
use other_time::{clock_nanosleep_time32, futex_time64, ppoll_time64};

/// The first poll: its time, and how much later the second one starts.
const FIRST: Duration = Duration::from_millis(2400);
const LATER: Duration = Duration::from_millis(1200);
/// The second poll, which is shorter, but ends later.
const SECOND: Duration = Duration::from_millis(1600);

/// By how much the wrong one may be first, when both had ended while the tree was frozen.
const SLACK: Duration = Duration::from_millis(400);

/// Two children poll. The longer one started earlier and ends first; if its whole time started anew after the freeze, it would end last.
pub(crate) fn order(stage: &mut Stage, _args: &Args) -> Result<()> {
    let mut children = Vec::new();
    for (name, time) in [("first", FIRST), ("second", SECOND)] {
        let child = stage.spawn(name, |child| {
            child.ready()?;
            let millis = c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX);
            // SAFETY: no descriptors.
            let returned = unsafe { libc::poll(std::ptr::null_mut(), 0, millis) };
            let end = sys::clock(libc::CLOCK_MONOTONIC)?;
            child.equal("poll returns", &returned, &0);
            fs::write(
                child.path(&format!("end-{name}")),
                end.as_micros().to_string(),
            )
            .map_err(Error::from_io("write"))
        })?;
        stage.await_ready(&child)?;
        child.await_sleeping()?;
        if children.is_empty() {
            std::thread::sleep(LATER);
        }
        children.push(child);
    }
    stage.hold()?;
    for child in &children {
        stage.join(child)?;
    }
    let end = |name: &str| -> Result<Duration> {
        let text = fs::read_to_string(stage.path(name)).map_err(Error::from_io("read"))?;
        text.parse()
            .map(Duration::from_micros)
            .map_err(|_| Error::Situation(format!("{name}: {text:?}")))
    };
    let (first, second) = (end("end-first")?, end("end-second")?);
    stage.check(
        "the one with less time left ends first",
        in_order(first, second),
        &format!("at {first:?}, the other at {second:?}"),
    );
    Ok(())
}

/// Is the second end not clearly before the first?
fn in_order(first: Duration, second: Duration) -> bool {
    second + SLACK > first
}

/// When the wait until a point of time ends, counted from before the freeze.
const UNTIL: Duration = Duration::from_secs(4);

/// How much later its end may be seen.
const LATE: Duration = Duration::from_secs(5);

/// A child waits for a futex until a point on the wall clock: after the restart that point is where it was, not as far away as it was.
pub(crate) fn deadline(stage: &mut Stage, _args: &Args) -> Result<()> {
    let until = sys::clock(libc::CLOCK_REALTIME)? + UNTIL;
    let child = stage.spawn("waiter", |child| {
        child.ready()?;
        let (word, time) = (5_u32, sys::timespec(until));
        let operation =
            libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME;
        // SAFETY: word and time live.
        let returned = unsafe {
            libc::syscall(
                libc::SYS_futex,
                &raw const word,
                operation,
                5,
                &raw const time,
                0,
                -1,
            )
        };
        child.equal("ends", &errno(returned), &Some(libc::ETIMEDOUT));
        let now = sys::clock(libc::CLOCK_REALTIME)?;
        child.check(
            "not before its time",
            now >= until,
            &format!("{now:?} of {until:?}"),
        );
        Ok(())
    })?;
    stage.await_ready(&child)?;
    child.await_sleeping()?;
    stage.hold()?;
    while sys::state(child.pid)? != 'Z' {
        let now = sys::clock(libc::CLOCK_REALTIME)?;
        if now > until + LATE {
            stage.check(
                "the wait ends in time",
                false,
                &format!("{now:?} of {until:?}"),
            );
            sys::kill(child.pid, libc::SIGKILL)?;
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    stage.join(&child)
}

/// More than the poll below lasts.
const POLL: Duration = Duration::from_secs(12);

/// A child polls a descriptor that never becomes ready, in a table that it shares. It is closed after the freeze; when the poll is begun anew it finds out, so it has not forgotten which descriptors it waits for.
pub(crate) fn polled_closed(stage: &mut Stage, _args: &Args) -> Result<()> {
    let fd = sys::open("/dev/null".as_ref(), libc::O_RDWR)?;
    let child = stage.spawn_with(
        "poller",
        || sys::clone(libc::CLONE_FILES),
        |child| {
            child.ready()?;
            let mut entry = libc::pollfd {
                fd,
                events: 0,
                revents: 0,
            };
            let millis = c_int::try_from(POLL.as_millis()).unwrap_or(c_int::MAX);
            // SAFETY: one entry, which lives.
            let returned = unsafe { libc::poll(&raw mut entry, 1, millis) };
            child.equal(
                "poll finds the descriptor closed",
                &(returned, entry.revents),
                &(1, libc::POLLNVAL),
            );
            Ok(())
        },
    )?;
    stage.hold_waiting(&child)?;
    sys::close(fd)?;
    // The kernel looks at the descriptors when it goes on with the call.
    sys::kill(child.pid, libc::SIGSTOP)?;
    while sys::state(child.pid)? != 'T' {
        std::thread::sleep(Duration::from_millis(5));
    }
    sys::kill(child.pid, libc::SIGCONT)?;
    stage.join(&child)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_tells_a_sleep_that_starts_anew() {
        let end = |start: Duration, time: Duration| start + time;
        // As it should be; as if both had started anew at the freeze; as if both had ended meanwhile.
        assert!(in_order(end(Duration::ZERO, FIRST), end(LATER, SECOND)));
        assert!(!in_order(end(LATER, FIRST), end(LATER, SECOND)));
        assert!(in_order(LATER + Duration::from_millis(2), LATER));
    }
}
