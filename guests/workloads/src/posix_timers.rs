//! POSIX timers: number, clock, time that is left, interval, target, and the signal of one that has expired.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys::{self, Pid};
use crate::timers::spin;

/// Nobody waits for its end.
pub(crate) const LONG: Duration = Duration::from_secs(36_000);

/// More than any run takes.
const AT_MOST: Duration = Duration::from_secs(1800);

/// Of a timer that nobody waits for.
const INTERVAL: Duration = Duration::from_secs(7777);

/// Between two ticks.
const TICK: Duration = Duration::from_millis(20);

/// How a timer tells that it has expired.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Notify {
    Nobody,
    Process(c_int),
    Thread(c_int, Pid),
}

/// A timer, by the number that the kernel gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timer(i32);

/// What comes with a timer's signal: `siginfo_t` as the kernel lays it out.
#[repr(C)]
#[derive(Clone, Copy)]
struct Expired {
    signal: c_int,
    errno: c_int,
    code: c_int,
    #[cfg(target_pointer_width = "64")]
    pad: c_int,
    timer: i32,
    overrun: c_int,
    value: *mut c_void,
}

impl Timer {
    /// `timer_create(2)`, with a value that comes with the signal.
    pub(crate) fn new(clock: libc::clockid_t, notify: Notify, value: usize) -> Result<Self> {
        // SAFETY: all-zero bytes are a valid sigevent.
        let mut event: libc::sigevent = unsafe { MaybeUninit::zeroed().assume_init() };
        event.sigev_value.sival_ptr = std::ptr::without_provenance_mut(value);
        match notify {
            Notify::Nobody => event.sigev_notify = libc::SIGEV_NONE,
            Notify::Process(signal) => {
                event.sigev_notify = libc::SIGEV_SIGNAL;
                event.sigev_signo = signal;
            }
            Notify::Thread(signal, tid) => {
                event.sigev_notify = libc::SIGEV_THREAD_ID;
                event.sigev_signo = signal;
                event.sigev_notify_thread_id = tid;
            }
        }
        let mut id = -1_i32;
        // SAFETY: both outlive the call, which writes one number.
        unsafe {
            sys::raw(
                "timer_create",
                libc::SYS_timer_create,
                [
                    clock.cast_unsigned() as usize,
                    (&raw const event).addr(),
                    (&raw mut id).expose_provenance(),
                    0,
                    0,
                ],
            )?;
        }
        Ok(Self(id))
    }

    fn number(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// `timer_settime(2)`: from now on, or until a point on the clock.
    pub(crate) fn set(self, flags: c_int, value: Duration, interval: Duration) -> Result<()> {
        let new = libc::itimerspec {
            it_interval: sys::timespec(interval),
            it_value: sys::timespec(value),
        };
        let flags = flags.unsigned_abs() as usize;
        let new = (&raw const new).expose_provenance();
        let call = [self.number(), flags, new, 0, 0];
        // SAFETY: the structure outlives the call.
        unsafe { sys::raw("timer_settime", libc::SYS_timer_settime, call) }.map(drop)
    }

    /// `timer_gettime(2)`: what is left, and the interval.
    pub(crate) fn get(self) -> Result<(Duration, Duration)> {
        let zero = sys::timespec(Duration::ZERO);
        let mut now = libc::itimerspec {
            it_interval: zero,
            it_value: zero,
        };
        let place = (&raw mut now).expose_provenance();
        let call = [self.number(), place, 0, 0, 0];
        // SAFETY: the structure outlives the call.
        unsafe { sys::raw("timer_gettime", libc::SYS_timer_gettime, call) }?;
        Ok((sys::duration(now.it_value), sys::duration(now.it_interval)))
    }

    /// `timer_getoverrun(2)`.
    fn overrun(self) -> Result<usize> {
        let call = [self.number(), 0, 0, 0, 0];
        // SAFETY: a plain number.
        unsafe { sys::raw("timer_getoverrun", libc::SYS_timer_getoverrun, call) }
    }

    /// `timer_delete(2)`.
    fn delete(self) -> Result<()> {
        let call = [self.number(), 0, 0, 0, 0];
        // SAFETY: a plain number.
        unsafe { sys::raw("timer_delete", libc::SYS_timer_delete, call) }.map(drop)
    }
}

/// Takes the next signal of this number, and what came with it; waits for it.
fn take(signal: c_int) -> Expired {
    let set = sys::set_of(&[signal]);
    // SAFETY: all-zero bytes are a valid siginfo_t, which the kernel fills; its head is laid out like this.
    unsafe {
        let mut info: libc::siginfo_t = MaybeUninit::zeroed().assume_init();
        libc::sigwaitinfo(&raw const set, &raw mut info);
        (&raw const info).cast::<Expired>().read()
    }
}

fn clock(args: &Args) -> Result<libc::clockid_t> {
    Ok(match args.text("clock", "monotonic") {
        "realtime" => libc::CLOCK_REALTIME,
        "monotonic" => libc::CLOCK_MONOTONIC,
        "boottime" => libc::CLOCK_BOOTTIME,
        "tai" => libc::CLOCK_TAI,
        "process" => libc::CLOCK_PROCESS_CPUTIME_ID,
        "thread" => libc::CLOCK_THREAD_CPUTIME_ID,
        other => return Err(Error::Argument(format!("clock={other}"))),
    })
}

/// Timers of a clock: one that is armed, one that tells nobody, one that was never set, and a gap in their numbers; the next new one gets the number that it would have got.
pub(crate) fn kept(stage: &mut Stage, args: &Args) -> Result<()> {
    let clock = clock(args)?;
    let gone = Timer::new(clock, Notify::Nobody, 0)?;
    let armed = Timer::new(clock, Notify::Process(libc::SIGUSR2), 0x1234)?;
    let quiet = Timer::new(clock, Notify::Nobody, 0)?;
    let unset = Timer::new(clock, Notify::Thread(libc::SIGTERM, sys::tid()), 1)?;
    let last = Timer::new(clock, Notify::Nobody, 0)?;
    gone.delete()?;
    last.delete()?;
    armed.set(0, LONG, INTERVAL)?;
    quiet.set(0, 2 * LONG, Duration::ZERO)?;
    let before = [armed.get()?.0, quiet.get()?.0];
    stage.hold()?;
    for (name, timer, before, whole, interval) in [
        ("armed", armed, before[0], LONG, INTERVAL),
        ("quiet", quiet, before[1], 2 * LONG, Duration::ZERO),
    ] {
        let (left, found) = timer.get()?;
        stage.check(
            &format!("time that was there: {name}"),
            left <= before && left >= whole.saturating_sub(AT_MOST),
            &format!("{left:?} left of {before:?}"),
        );
        stage.equal(&format!("interval: {name}"), &found, &interval);
    }
    let never = (Duration::ZERO, Duration::ZERO);
    stage.equal("the one that was not set", &unset.get()?, &never);
    for timer in [gone, last] {
        let there = timer.get().is_ok();
        stage.check("a deleted one is not there", !there, "it is");
    }
    let next = Timer::new(clock, Notify::Nobody, 0)?;
    stage.equal("the next number", &next.0, &(last.0 + 1));
    // What it sends, and to whom, shows when it expires.
    sys::block(&[libc::SIGTERM, libc::SIGUSR2])?;
    for (timer, signal, value) in [(armed, libc::SIGUSR2, 0x1234), (unset, libc::SIGTERM, 1)] {
        timer.set(0, Duration::from_nanos(1), Duration::ZERO)?;
        while sys::pending()? & 1 << (signal - 1) == 0 {
            spin();
        }
        let info = take(signal);
        let found = (info.code, info.timer, info.value.addr());
        stage.equal("what comes", &found, &(libc::SI_TIMER, timer.0, value));
    }
    Ok(())
}

/// A timer has expired, and its signal is pending between two of the same number: it comes in its place and once, and the timer goes on if it has an interval.
pub(crate) fn pending(stage: &mut Stage, args: &Args) -> Result<()> {
    let clock = clock(args)?;
    let signal = libc::SIGRTMIN() + 2;
    let interval = match args.text("times", "many") {
        "once" => Duration::ZERO,
        "many" => INTERVAL,
        other => return Err(Error::Argument(format!("times={other}"))),
    };
    sys::block(&[signal])?;
    let timer = Timer::new(clock, Notify::Process(signal), 22)?;
    sys::queue(sys::pid(), signal, 11)?;
    timer.set(0, TICK, interval)?;
    // The time that is left goes up again when it expires, or is over.
    let mut left = timer.get()?.0;
    loop {
        spin();
        let now = timer.get()?.0;
        if now.is_zero() || now > left {
            break;
        }
        left = now;
    }
    sys::queue(sys::pid(), signal, 33)?;
    stage.hold()?;
    let all = [take(signal), take(signal), take(signal)];
    let found = all.map(|info| (info.code, info.value.addr()));
    let expected = [
        (libc::SI_QUEUE, 11),
        (libc::SI_TIMER, 22),
        (libc::SI_QUEUE, 33),
    ];
    stage.equal("what comes", &found, &expected);
    stage.equal("the timer", &all[1].timer, &timer.0);
    stage.equal("overruns", &all[1].overrun, &0);
    stage.equal("left in the queue", &sys::pending()?, &0);
    let (left, found) = timer.get()?;
    stage.equal("interval", &found, &interval);
    let goes_on = left <= interval && left >= interval.saturating_sub(AT_MOST);
    stage.check("it goes on", goes_on, &format!("{left:?} left"));
    timer.set(0, TICK, Duration::ZERO)?;
    while sys::pending()? == 0 {
        spin();
    }
    stage.equal("the next one", &take(signal).value.addr(), &22);
    Ok(())
}

/// How many ticks have come.
static TICKS: AtomicI32 = AtomicI32::new(0);

extern "C" fn tick(_signal: c_int) {
    TICKS.fetch_add(1, Ordering::Relaxed);
}

/// A timer whose signal is blocked and pending ticks on when it is taken; what another one had missed was counted, and the count is kept.
pub(crate) fn ticks(stage: &mut Stage, args: &Args) -> Result<()> {
    let clock = clock(args)?;
    let (ticking, counting) = (libc::SIGUSR2, libc::SIGRTMIN() + 1);
    let counter = Timer::new(clock, Notify::Process(counting), 0)?;
    sys::block(&[ticking, counting])?;
    counter.set(0, TICK, TICK)?;
    let start = sys::clock(clock)?;
    while sys::clock(clock)? < start + 5 * TICK {
        spin();
    }
    let overrun = take(counting).overrun;
    let missed = counter.overrun()?;
    sys::handle(ticking, tick, libc::SA_RESTART, &[])?;
    let timer = Timer::new(clock, Notify::Process(ticking), 0)?;
    timer.set(0, TICK, TICK)?;
    // What is pending changes no more: both wait for their signals to be taken.
    while sys::pending()?.count_ones() < 2 {
        spin();
    }
    stage.hold()?;
    stage.check("some were missed", overrun >= 3, &format!("{overrun}"));
    stage.equal("what was missed", &counter.overrun()?, &missed);
    stage.equal("ticks while blocked", &TICKS.load(Ordering::Relaxed), &0);
    sys::unblock(&[ticking])?;
    while TICKS.load(Ordering::Relaxed) < 4 {
        spin();
    }
    stage.equal("interval", &timer.get()?.1, &TICK);
    Ok(())
}

/// A timer that expires at a point on the wall clock: that point is where it was.
pub(crate) fn deadline(stage: &mut Stage, _args: &Args) -> Result<()> {
    let timer = Timer::new(libc::CLOCK_REALTIME, Notify::Process(libc::SIGUSR2), 0)?;
    let until = sys::clock(libc::CLOCK_REALTIME)? + LONG;
    timer.set(libc::TIMER_ABSTIME, until, INTERVAL)?;
    stage.hold()?;
    let latest = until.saturating_sub(sys::clock(libc::CLOCK_REALTIME)?);
    let (left, interval) = timer.get()?;
    let earliest = until.saturating_sub(sys::clock(libc::CLOCK_REALTIME)?);
    stage.check(
        "the point in time",
        earliest <= left && left <= latest,
        &format!("{left:?} left, {earliest:?} to {latest:?} to go"),
    );
    stage.equal("interval", &interval, &INTERVAL);
    Ok(())
}

/// The CPU time of another thread of this process.
fn clock_of(thread: Pid) -> libc::clockid_t {
    // kernel/time/posix-cpu-timers.c: the thread's id, inverted, its own time, that of the scheduler.
    (!thread << 3) | 4 | 2
}

/// Timers that one thread has made: one tells another thread, whose own queue has its signal, and one measures that thread's CPU time.
pub(crate) fn threads(stage: &mut Stage, _args: &Args) -> Result<()> {
    sys::one_heap();
    let signal = libc::SIGRTMIN() + 3;
    sys::block(&[signal])?;
    let (seat, seated) = mpsc::channel();
    let (gate, opened) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        // Its number is not in this clock, as it is in that of the other timer.
        let own = Timer::new(libc::CLOCK_THREAD_CPUTIME_ID, Notify::Nobody, 0)?;
        own.set(0, LONG, Duration::ZERO)?;
        let told = seat.send(sys::tid());
        // The other end is dropped to open it.
        let _ = told.map(|()| opened.recv());
        Ok::<_, Error>((take(signal), own.get()?.0))
    });
    let gone = |_| Error::Situation("the thread has ended".to_owned());
    let tid = seated.recv().map_err(gone)?;
    while sys::state(tid)? != 'S' {
        sys::pause();
    }
    let timer = Timer::new(libc::CLOCK_MONOTONIC, Notify::Thread(signal, tid), 44)?;
    let measure = Timer::new(clock_of(tid), Notify::Process(libc::SIGUSR2), 0)?;
    measure.set(0, LONG, Duration::ZERO)?;
    let before = measure.get()?.0;
    timer.set(0, Duration::from_nanos(1), INTERVAL)?;
    while timer.get()?.0 < Duration::from_secs(1) {
        sys::pause();
    }
    stage.hold()?;
    stage.equal("it is the other thread's", &sys::pending()?, &0);
    let left = measure.get()?.0;
    stage.check(
        "the other thread's time",
        left <= before && left >= LONG.saturating_sub(Duration::from_secs(60)),
        &format!("{left:?} left of {before:?}"),
    );
    drop(gate);
    let told = thread.join();
    let (info, left) = told.map_err(|_| Error::Situation("the thread panicked".to_owned()))??;
    stage.check(
        "its own time",
        left <= LONG && left >= LONG.saturating_sub(Duration::from_secs(60)),
        &format!("{left:?} left of {LONG:?}"),
    );
    let found = (info.code, info.timer, info.value.addr());
    stage.equal("what comes", &found, &(libc::SI_TIMER, timer.0, 44));
    Ok(())
}

// SAFETY: the value is a number.
unsafe impl Send for Expired {}
