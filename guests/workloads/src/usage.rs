//! What a task has used: CPU time, context switches and page faults go on from where they were.

use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys::{self, Pid, Status};
use crate::zombies::await_end;

/// Uses CPU time until a clock of it shows this. It asks rarely: a kernel that checks itself takes longer for an answer than a thousand steps do.
fn burn_until(clock: libc::clockid_t, time: Duration) -> Result<()> {
    let mut sum = 0_u64;
    while sys::clock(clock)? < time {
        for step in 0..50_000 {
            sum = black_box(sum.wrapping_add(step));
        }
    }
    Ok(())
}

/// Uses so much CPU time of the calling thread.
fn burn(time: Duration) -> Result<()> {
    let clock = libc::CLOCK_THREAD_CPUTIME_ID;
    burn_until(clock, sys::clock(clock)? + time)
}

/// What getrusage(2) says, in the order of [`NAMES`].
type Used = [i64; 7];

const NAMES: [&str; 7] = [
    "user time",
    "kernel time",
    "most memory",
    "minor faults",
    "major faults",
    "voluntary switches",
    "involuntary switches",
];

#[allow(
    clippy::useless_conversion,
    reason = "a long has 32 bits on some machines"
)]
fn numbers(used: &libc::rusage) -> Used {
    let micros = |time: libc::timeval| i64::from(time.tv_sec) * 1_000_000 + i64::from(time.tv_usec);
    [
        micros(used.ru_utime),
        micros(used.ru_stime),
        used.ru_maxrss.into(),
        used.ru_minflt.into(),
        used.ru_majflt.into(),
        used.ru_nvcsw.into(),
        used.ru_nivcsw.into(),
    ]
}

fn used(who: i32) -> Result<Used> {
    // SAFETY: the kernel fills it in, whatever it was.
    let mut used: libc::rusage = unsafe { mem::zeroed() };
    // SAFETY: it lives.
    sys::check("getrusage", unsafe { libc::getrusage(who, &raw mut used) })?;
    Ok(numbers(&used))
}

/// Waits for a child; how it ended, and what it and its own have used.
fn reap(pid: Pid) -> Result<(i32, Used)> {
    let mut status = 0;
    // SAFETY: the kernel fills it in, whatever it was.
    let mut used: libc::rusage = unsafe { mem::zeroed() };
    // SAFETY: both live.
    sys::check("wait4", unsafe {
        libc::wait4(pid, &raw mut status, 0, &raw mut used)
    })?;
    Ok((status, numbers(&used)))
}

/// Nothing has become less.
fn check_grown(stage: &mut Stage, whose: &str, after: &Used, before: &Used) {
    for ((name, after), before) in NAMES.iter().zip(after).zip(before) {
        stage.check(
            &format!("{whose}: {name}"),
            after >= before,
            &format!("{after}, it was {before}"),
        );
    }
}

/// A child that has used CPU time of its own, and of a child of its own that it has waited for.
fn worker(time: Duration) -> Result<Pid> {
    let Some(pid) = sys::fork()? else {
        let spent = sys::fork().and_then(|child| match child {
            None => {
                let _ = burn(time);
                sys::exit(0)
            }
            Some(child) => sys::wait(child),
        });
        let done = spent.is_ok_and(|status| status == Status::Exited(0)) && burn(time).is_ok();
        sys::exit(if done { 3 } else { 4 })
    };
    Ok(pid)
}

/// Fields of `/proc/PID/stat` from the third on, behind the name.
fn stat(pid: Pid) -> Result<Vec<String>> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(path).map_err(Error::from_io("read /proc/PID/stat"))?;
    let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields);
    Ok(fields.split(' ').map(str::to_owned).collect())
}

/// Faults and times of a process and its children: fields 10 to 17 of `proc_pid_stat(5)`.
fn used_by(pid: Pid) -> Result<Vec<String>> {
    Ok(stat(pid)?.into_iter().skip(7).take(8).collect())
}

/// The same of one that has ended, when it uses no more: for a moment its end still takes time.
fn settled(zombie: Pid) -> Result<Vec<String>> {
    let mut before = used_by(zombie)?;
    loop {
        thread::sleep(Duration::from_millis(40));
        let after = used_by(zombie)?;
        if after == before {
            return Ok(after);
        }
        before = after;
    }
}

/// When this process began, as field 22 shows it in ticks of 10 ms: time since the boot.
fn begun() -> Result<Duration> {
    let fields = stat(sys::pid())?;
    let ticks = fields.get(19).and_then(|ticks| ticks.parse().ok());
    ticks
        .map(|ticks: u64| Duration::from_millis(ticks * 10))
        .ok_or_else(|| Error::Situation(format!("/proc/PID/stat says {fields:?}")))
}

/// How old the process is; never more than the kernel.
fn age() -> Result<Duration> {
    Ok(sys::clock(libc::CLOCK_BOOTTIME)?.saturating_sub(begun()?))
}

/// CPU time of the process, of a thread that lives and of one that has gone, of a child that was waited for and of one that was not.
pub(crate) fn spent(stage: &mut Stage, _args: &Args) -> Result<()> {
    let time = Duration::from_millis(120);
    let (status, _) = reap(worker(time)?)?;
    stage.equal("the child", &status, &(3 << 8));
    let zombie = worker(time)?;
    await_end(zombie)?;
    let zombies_stat = settled(zombie)?;
    thread::spawn(move || burn(time))
        .join()
        .map_err(|_| Error::Situation("a thread panicked".to_owned()))??;
    let (say, said) = mpsc::channel();
    let (resume, resumed) = mpsc::channel::<()>();
    let thread = thread::spawn(move || -> Result<(Used, Used, Duration, Duration)> {
        burn(time)?;
        let before = used(libc::RUSAGE_THREAD)?;
        let clock = sys::clock(libc::CLOCK_THREAD_CPUTIME_ID)?;
        let _ = say.send(());
        let _ = resumed.recv();
        let now = sys::clock(libc::CLOCK_THREAD_CPUTIME_ID)?;
        Ok((before, used(libc::RUSAGE_THREAD)?, clock, now))
    });
    let _ = said.recv();
    burn(time)?;
    let before = [libc::RUSAGE_SELF, libc::RUSAGE_THREAD].map(used);
    let children = used(libc::RUSAGE_CHILDREN)?;
    let clocks = [
        libc::CLOCK_PROCESS_CPUTIME_ID,
        libc::CLOCK_THREAD_CPUTIME_ID,
    ];
    let clocks_before = clocks.map(sys::clock);
    let old = age()?;
    stage.hold()?;
    let clocks_after = clocks.map(sys::clock);
    let after = [libc::RUSAGE_SELF, libc::RUSAGE_THREAD].map(used);
    for ((whose, after), before) in ["process", "thread"].iter().zip(after).zip(before) {
        check_grown(stage, whose, &after?, &before?);
    }
    for (after, before) in clocks_after.into_iter().zip(clocks_before) {
        let (after, before) = (after?, before?);
        let goes_on = after >= before && after < before + Duration::from_secs(20);
        stage.check(
            "the clock of CPU time",
            goes_on,
            &format!("{after:?}, it was {before:?}"),
        );
    }
    stage.equal("children", &used(libc::RUSAGE_CHILDREN)?, &children);
    // Ticks of 10 ms; nothing is older than its kernel.
    let expected = old.min(sys::clock(libc::CLOCK_BOOTTIME)?);
    let slack = Duration::from_millis(30);
    let now = age()?;
    stage.check(
        "age",
        now + slack >= expected,
        &format!("{now:?}, it was {old:?}"),
    );
    let _ = resume.send(());
    let (before, after, clock, now) = thread
        .join()
        .map_err(|_| Error::Situation("a thread panicked".to_owned()))??;
    check_grown(stage, "other thread", &after, &before);
    stage.check(
        "the other thread's clock",
        now >= clock,
        &format!("{now:?}, it was {clock:?}"),
    );
    stage.equal(
        "the zombie's times and faults",
        &used_by(zombie)?,
        &zombies_stat,
    );
    let (status, zombies) = reap(zombie)?;
    stage.equal("the zombie", &status, &(3 << 8));
    // It has used `time` itself, and so has its child.
    let total = zombies[0] + zombies[1];
    let least = i64::try_from(time.as_micros()).unwrap_or_default() * 3 / 2;
    stage.check(
        "what the zombie used",
        total >= least,
        &format!("{total} us, at least {least}"),
    );
    let with_it = used(libc::RUSAGE_CHILDREN)?;
    let more = with_it[0] + with_it[1] - children[0] - children[1];
    // Two times and two sums are cut to microseconds.
    stage.check(
        "what its parent has of it",
        more.abs_diff(total) <= 4,
        &format!("{more} us, of {total}"),
    );
    Ok(())
}

/// Uses so much CPU time of the calling thread in the kernel.
fn burn_in_kernel(time: Duration) -> Result<()> {
    let mut zeros = File::open("/dev/zero").map_err(Error::from_io("open /dev/zero"))?;
    let mut bytes = vec![0; 1 << 20];
    let start = sys::clock(libc::CLOCK_THREAD_CPUTIME_ID)?;
    while sys::clock(libc::CLOCK_THREAD_CPUTIME_ID)?.saturating_sub(start) < time {
        zeros
            .read_exact(&mut bytes)
            .map_err(Error::from_io("read zeros"))?;
    }
    Ok(())
}

/// User time of a thread that has gone, and kernel time of one that lives. What is shown of a process divides its time as the ticks were
/// that it was seen in: without those of the one that has gone, half of it would be the kernel's when the other has used some more.
pub(crate) fn gone(stage: &mut Stage, _args: &Args) -> Result<()> {
    let time = Duration::from_millis(900);
    thread::spawn(move || burn(time))
        .join()
        .map_err(|_| Error::Situation("a thread panicked".to_owned()))??;
    burn_in_kernel(time / 3)?;
    let before = used(libc::RUSAGE_SELF)?;
    stage.hold()?;
    burn(time / 3)?;
    let after = used(libc::RUSAGE_SELF)?;
    check_grown(stage, "process", &after, &before);
    let most = i64::try_from(time.as_micros()).unwrap_or_default() * 2 / 9;
    stage.check(
        "user time stays user time",
        after[1] - before[1] < most,
        &format!("{after:?}, it was {before:?}"),
    );
    Ok(())
}

/// SIGXCPU came.
static EXCEEDED: AtomicBool = AtomicBool::new(false);

extern "C" fn exceeded(_signal: i32) {
    EXCEEDED.store(true, Ordering::Relaxed);
}

/// A limit of one second of CPU time, half of which is used.
pub(crate) fn limit(stage: &mut Stage, _args: &Args) -> Result<()> {
    sys::handle(libc::SIGXCPU, exceeded, 0, &[])?;
    let limit = libc::rlimit {
        rlim_cur: 1,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: it lives.
    sys::check("setrlimit", unsafe {
        libc::setrlimit(libc::RLIMIT_CPU, &raw const limit)
    })?;
    burn_until(libc::CLOCK_PROCESS_CPUTIME_ID, Duration::from_millis(500))?;
    stage.hold()?;
    let start = sys::clock(libc::CLOCK_THREAD_CPUTIME_ID)?;
    let early = EXCEEDED.load(Ordering::Relaxed);
    stage.check("a part of it is left", !early, "the signal was there");
    let spent = || Ok(sys::clock(libc::CLOCK_THREAD_CPUTIME_ID)?.saturating_sub(start));
    while !EXCEEDED.load(Ordering::Relaxed) && spent()? < Duration::from_secs(5) {
        burn(Duration::from_millis(5))?;
    }
    let spent: Duration = spent()?;
    stage.check(
        "the rest of the second, no more",
        spent < Duration::from_millis(800),
        &format!("{spent:?}"),
    );
    Ok(())
}
