//! Interval timers: the time that is left, the interval, and that they go on.

use std::ffi::c_int;
use std::hint::black_box;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys;

/// Nobody waits for its end.
const LONG: Duration = Duration::from_secs(3600);

/// More than any run takes.
const AT_MOST: Duration = Duration::from_secs(1800);

/// Of the timer that nobody waits for.
const INTERVAL: Duration = Duration::from_secs(77);

/// Between two ticks.
const TICK: Duration = Duration::from_millis(120);

/// How many ticks have come.
static TICKS: AtomicI32 = AtomicI32::new(0);

extern "C" fn tick(_signal: c_int) {
    TICKS.fetch_add(1, Ordering::Relaxed);
}

/// A timer, and the signal that it sends.
fn which(args: &Args) -> Result<(c_int, c_int)> {
    match args.text("which", "real") {
        "real" => Ok((libc::ITIMER_REAL, libc::SIGALRM)),
        "virtual" => Ok((libc::ITIMER_VIRTUAL, libc::SIGVTALRM)),
        "prof" => Ok((libc::ITIMER_PROF, libc::SIGPROF)),
        other => Err(Error::Argument(format!("which={other}"))),
    }
}

fn timeval(time: Duration) -> libc::timeval {
    libc::timeval {
        tv_sec: sys::timespec(time).tv_sec,
        tv_usec: time.subsec_micros().cast_signed().into(),
    }
}

fn duration(time: libc::timeval) -> Duration {
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

fn set(which: c_int, value: Duration, interval: Duration) -> Result<()> {
    let new = libc::itimerval {
        it_value: timeval(value),
        it_interval: timeval(interval),
    };
    // SAFETY: the structure outlives the call.
    sys::check("setitimer", unsafe {
        libc::setitimer(which, &raw const new, std::ptr::null_mut())
    })
    .map(drop)
}

/// What is left, and the interval.
fn get(which: c_int) -> Result<(Duration, Duration)> {
    let mut now = libc::itimerval {
        it_value: timeval(Duration::ZERO),
        it_interval: timeval(Duration::ZERO),
    };
    // SAFETY: the structure outlives the call.
    sys::check("getitimer", unsafe { libc::getitimer(which, &raw mut now) })?;
    Ok((duration(now.it_value), duration(now.it_interval)))
}

/// A timer of an hour: no more is left than before, its interval is what it was, and the other two timers are disarmed.
pub(crate) fn left(stage: &mut Stage, args: &Args) -> Result<()> {
    let (timer, _) = which(args)?;
    set(timer, LONG, INTERVAL)?;
    let (before, _) = get(timer)?;
    stage.hold()?;
    let (left, interval) = get(timer)?;
    stage.check(
        "time that was there",
        left <= before && left >= LONG.saturating_sub(AT_MOST),
        &format!("{left:?} left of {before:?}"),
    );
    stage.equal("interval", &interval, &INTERVAL);
    for other in [libc::ITIMER_REAL, libc::ITIMER_VIRTUAL, libc::ITIMER_PROF] {
        if other != timer {
            stage.equal(
                &format!("timer {other}"),
                &get(other)?,
                &(Duration::ZERO, Duration::ZERO),
            );
        }
    }
    Ok(())
}

/// A timer that ticks, whose signal is blocked and pending: it comes, and the timer ticks on.
pub(crate) fn ticks(stage: &mut Stage, args: &Args) -> Result<()> {
    let (timer, signal) = which(args)?;
    let bit = 1 << (signal - 1);
    sys::block(&[signal])?;
    sys::handle(signal, tick, 0, &[])?;
    set(timer, TICK, TICK)?;
    while sys::pending()? & bit == 0 {
        spin();
    }
    // One of CPU time runs on, and the way to and from the freezer takes some.
    while timer != libc::ITIMER_REAL && get(timer)?.0 < TICK / 2 {
        spin();
    }
    stage.hold()?;
    stage.equal("pending", &(sys::pending()? & bit != 0), &true);
    stage.equal("ticks while blocked", &TICKS.load(Ordering::Relaxed), &0);
    stage.equal("interval", &get(timer)?.1, &TICK);
    sys::unblock(&[signal])?;
    while TICKS.load(Ordering::Relaxed) < 4 {
        spin();
    }
    set(timer, Duration::ZERO, Duration::ZERO)?;
    stage.check("ticks", true, "");
    Ok(())
}

/// Uses some CPU time.
pub(crate) fn spin() {
    for number in 0..20_000_u32 {
        black_box(number);
    }
}
