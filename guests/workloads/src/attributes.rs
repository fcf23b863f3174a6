//! What a task was told about itself: scheduling, slack, what it gave up, what becomes of its orphans.

use std::ffi::c_int;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys;
use crate::threads::{Gate, Seat, join, spawn};

/// include/uapi/linux/prctl.h: what the C library does not name yet.
const PR_SET_IO_FLUSHER: c_int = 57;
const PR_GET_IO_FLUSHER: c_int = 58;

/// include/uapi/linux/ioprio.h: one process or thread, and its class above so many bits.
const IOPRIO_WHO_PROCESS: usize = 1;
const IOPRIO_CLASS_SHIFT: usize = 13;
const IOPRIO_CLASS_RT: usize = 1;
const IOPRIO_CLASS_IDLE: usize = 3;

/// The processors that the calling thread may use, a bit each.
fn processors() -> Result<i64> {
    // SAFETY: all-zero bytes are a valid set, which the kernel fills.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let returned = libc::sched_getaffinity(0, size_of_val(&set), &raw mut set);
        sys::check("sched_getaffinity", returned)?;
        let there = |processor: &usize| libc::CPU_ISSET(*processor, &set);
        Ok((0..62).filter(there).map(|processor| 1 << processor).sum())
    }
}

/// An attribute of the calling thread.
struct Attribute {
    name: &'static str,
    set: fn() -> Result<()>,
    get: fn() -> Result<i64>,
}

fn set_policy(policy: c_int, priority: c_int) -> Result<()> {
    // SAFETY: all-zero bytes are valid parameters, which live.
    unsafe {
        let mut parameters: libc::sched_param = std::mem::zeroed();
        parameters.sched_priority = priority;
        sys::check(
            "sched_setscheduler",
            libc::sched_setscheduler(0, policy, &raw const parameters),
        )
    }
    .map(drop)
}

/// Policy and priority as one number.
fn policy() -> Result<i64> {
    // SAFETY: all-zero bytes are valid parameters, which live.
    unsafe {
        let mut parameters: libc::sched_param = std::mem::zeroed();
        let policy = sys::check("sched_getscheduler", libc::sched_getscheduler(0))?;
        sys::check(
            "sched_getparam",
            libc::sched_getparam(0, &raw mut parameters),
        )?;
        Ok(i64::from(policy) << 8 | i64::from(parameters.sched_priority))
    }
}

fn set_nice(nice: c_int) -> Result<()> {
    // SAFETY: plain numbers.
    sys::check("setpriority", unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, nice)
    })
    .map(drop)
}

/// The nice value from 1 to 40, as the system call has it: the C library takes it from 20.
fn nice() -> Result<i64> {
    // SAFETY: plain numbers; no nice value of these tests is -1.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    sys::check("getpriority", nice).map(i64::from)
}

fn sched_attr(set: Option<u64>) -> Result<i64> {
    let size = size_of::<libc::sched_attr>();
    // SAFETY: plain numbers, all of which may be zero.
    let mut attr: libc::sched_attr = unsafe { std::mem::zeroed() };
    attr.size = u32::try_from(size).unwrap_or(0);
    attr.sched_runtime = set.unwrap_or(0);
    let at = (&raw mut attr).expose_provenance();
    // SAFETY: the structure lives and has this size; the setter takes no flags.
    unsafe {
        match set {
            Some(_) => sys::raw("sched_setattr", libc::SYS_sched_setattr, [0, at, 0, 0, 0])?,
            None => sys::raw(
                "sched_getattr",
                libc::SYS_sched_getattr,
                [0, at, size, 0, 0],
            )?,
        }
    };
    Ok(i64::try_from(attr.sched_runtime).unwrap_or(i64::MAX))
}

/// `ioprio_set(2)` of the calling thread.
pub(crate) fn set_io_priority(class: usize, level: usize) -> Result<()> {
    let priority = class << IOPRIO_CLASS_SHIFT | level;
    // SAFETY: plain numbers.
    unsafe {
        sys::raw(
            "ioprio_set",
            libc::SYS_ioprio_set,
            [IOPRIO_WHO_PROCESS, 0, priority, 0, 0],
        )
    }
    .map(drop)
}

/// `ioprio_get(2)` of the calling thread.
pub(crate) fn io_priority() -> Result<i64> {
    // SAFETY: plain numbers.
    unsafe {
        sys::raw(
            "ioprio_get",
            libc::SYS_ioprio_get,
            [IOPRIO_WHO_PROCESS, 0, 0, 0, 0],
        )
    }
    .map(number)
}

fn number(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn oom() -> Result<i64> {
    let text = fs::read_to_string("/proc/self/oom_score_adj").map_err(Error::from_io("read"))?;
    let bad = |_| Error::Situation(format!("oom_score_adj is {text:?}"));
    text.trim().parse().map_err(bad)
}

/// Every attribute that has a value.
const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        name: "nice",
        set: || set_nice(5),
        get: nice,
    },
    Attribute {
        name: "not_nice",
        set: || set_nice(-7),
        get: nice,
    },
    Attribute {
        name: "batch",
        set: || set_policy(libc::SCHED_BATCH, 0),
        get: policy,
    },
    Attribute {
        name: "idle",
        set: || set_policy(libc::SCHED_IDLE, 0),
        get: policy,
    },
    Attribute {
        name: "fifo",
        set: || set_policy(libc::SCHED_FIFO, 7),
        get: policy,
    },
    Attribute {
        name: "round_robin",
        set: || set_policy(libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, 3),
        get: policy,
    },
    Attribute {
        name: "reset_on_fork",
        set: || set_policy(libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK, 0),
        get: policy,
    },
    Attribute {
        name: "time_slice",
        set: || sched_attr(Some(7_000_000)).map(drop),
        get: || sched_attr(None),
    },
    Attribute {
        name: "timer_slack",
        set: || sys::prctl(libc::PR_SET_TIMERSLACK, 777_777).map(drop),
        get: || sys::prctl(libc::PR_GET_TIMERSLACK, 0).map(number),
    },
    Attribute {
        name: "oom",
        set: || fs::write("/proc/self/oom_score_adj", "345").map_err(Error::from_io("write")),
        get: oom,
    },
    Attribute {
        name: "no_new_privs",
        set: || sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map(drop),
        get: || sys::prctl(libc::PR_GET_NO_NEW_PRIVS, 0).map(number),
    },
    Attribute {
        name: "memory_failure",
        set: || {
            // SAFETY: plain numbers.
            sys::check("prctl", unsafe {
                libc::prctl(libc::PR_MCE_KILL, 1, 1, 0, 0)
            })
            .map(drop)
        },
        get: || sys::prctl(libc::PR_MCE_KILL_GET, 0).map(number),
    },
    Attribute {
        name: "affinity",
        set: || {
            let last = i64::BITS - 1 - processors()?.leading_zeros();
            // SAFETY: all-zero bytes are a valid set, which lives.
            sys::check("sched_setaffinity", unsafe {
                let mut set: libc::cpu_set_t = std::mem::zeroed();
                libc::CPU_SET(last as usize, &mut set);
                libc::sched_setaffinity(0, size_of_val(&set), &raw const set)
            })
            .map(drop)
        },
        get: processors,
    },
    Attribute {
        name: "io_flusher",
        set: || sys::prctl(PR_SET_IO_FLUSHER, 1).map(drop),
        get: || sys::prctl(PR_GET_IO_FLUSHER, 0).map(number),
    },
    Attribute {
        name: "io_priority",
        set: || set_io_priority(IOPRIO_CLASS_RT, 3),
        get: io_priority,
    },
    Attribute {
        name: "io_idle",
        set: || set_io_priority(IOPRIO_CLASS_IDLE, 0),
        get: io_priority,
    },
];

/// A child that has an attribute, and a parent that has not: both are as they were.
pub(crate) fn kept(stage: &mut Stage, args: &Args) -> Result<()> {
    let what = args.text("what", "nice");
    let attribute = ATTRIBUTES.iter().find(|known| known.name == what);
    let attribute = attribute.ok_or_else(|| Error::Argument(format!("what={what}")))?;
    let own = (attribute.get)()?;
    let child = stage.spawn_ready("child", |child| {
        (attribute.set)()?;
        let before = (attribute.get)()?;
        child.hold()?;
        child.equal(what, &(attribute.get)()?, &before);
        child.equal("is another than the parent's", &(before != own), &true);
        Ok(())
    })?;
    stage.hold()?;
    stage.equal(what, &(attribute.get)()?, &own);
    child.resume()?;
    stage.join(&child)
}

/// Attributes that each thread has of its own.
pub(crate) fn threads(stage: &mut Stage, _args: &Args) -> Result<()> {
    sys::one_heap();
    let names = [
        "nice",
        "batch",
        "fifo",
        "timer_slack",
        "affinity",
        "io_idle",
    ];
    let seats = names.map(|_| Seat::default());
    let gate = &Gate::default();
    std::thread::scope(|scope| {
        let mut handles = Vec::new();
        for (name, seat) in names.into_iter().zip(&seats) {
            let attribute = ATTRIBUTES.iter().find(|known| known.name == name);
            let attribute = attribute.ok_or_else(|| Error::Situation(name.to_owned()))?;
            let handle = spawn(scope, name, move || {
                (attribute.set)()?;
                let before = (attribute.get)()?;
                seat.take();
                gate.wait();
                Ok((before, (attribute.get)()?))
            })?;
            seat.await_asleep()?;
            handles.push((name, handle));
        }
        stage.hold()?;
        gate.open();
        for (name, handle) in handles {
            let (before, after) = join(handle)?;
            stage.equal(name, &after, &before);
        }
        Ok(())
    })
}

/// The slack that a task goes back to is what its parent had.
pub(crate) fn default_slack(stage: &mut Stage, _args: &Args) -> Result<()> {
    sys::prctl(libc::PR_SET_TIMERSLACK, 123_456)?;
    let child = stage.spawn_ready("child", |child| {
        sys::prctl(libc::PR_SET_TIMERSLACK, 777_777)?;
        child.hold()?;
        let slack = || sys::prctl(libc::PR_GET_TIMERSLACK, 0);
        child.equal("slack", &slack()?, &777_777);
        sys::prctl(libc::PR_SET_TIMERSLACK, 0)?;
        child.equal("default", &slack()?, &123_456);
        Ok(())
    })?;
    stage.hold()?;
    child.resume()?;
    stage.join(&child)
}

/// Set by the handler of a parent's death.
static DIED: AtomicBool = AtomicBool::new(false);

extern "C" fn died(_signal: c_int) {
    DIED.store(true, Ordering::SeqCst);
}

/// A process below another one, which asks for a signal when that ends: it comes.
pub(crate) fn parent_death(stage: &mut Stage, _args: &Args) -> Result<()> {
    stage.adopt_orphans()?;
    let middle = stage.spawn("middle", |middle| {
        let inner = middle.spawn("inner", |inner| {
            let signal = usize::try_from(libc::SIGUSR2).unwrap_or(0);
            sys::prctl(libc::PR_SET_PDEATHSIG, signal)?;
            sys::handle(libc::SIGUSR2, died, 0, &[])?;
            fs::write(inner.path("inner"), sys::pid().to_string())
                .map_err(Error::from_io("write"))?;
            inner.hold()?;
            inner.equal("the parent has died", &DIED.load(Ordering::SeqCst), &true);
            Ok(())
        })?;
        middle.await_ready(&inner)?;
        middle.hold()?;
        middle.check("ends", true, "");
        Ok(())
    })?;
    stage.await_ready(&middle)?;
    let inner = stage.noted_pid("inner")?;
    stage.hold()?;
    middle.resume()?;
    stage.join(&middle)?;
    sys::kill(inner, libc::SIGUSR1)?;
    let inner = stage.descendant("middle.inner", inner);
    stage.join(&inner)
}

/// A process that adopts the orphans below it, one that was there before and one that comes later.
pub(crate) fn subreaper(stage: &mut Stage, _args: &Args) -> Result<()> {
    let reaper = stage.spawn_ready("reaper", |reaper| {
        sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1)?;
        let own = sys::pid();
        let middle = reaper.spawn_ready("middle", |middle| {
            let inner = middle.spawn_ready("inner", |inner| {
                inner.hold()?;
                while sys::parent() != own {
                    sys::pause();
                }
                inner.check("is adopted", true, "");
                Ok(())
            })?;
            middle.hold()?;
            middle.check("ends", true, "");
            inner.resume()
        })?;
        reaper.hold()?;
        middle.resume()?;
        reaper.join(&middle)?;
        let orphan = sys::wait(-1)?;
        reaper.equal("the orphan's end", &orphan, &sys::Status::Exited(0));
        Ok(())
    })?;
    stage.hold()?;
    reaper.resume()?;
    stage.join(&reaper)
}
