//! Namespaces: each task sees the names, limits and clocks of its own.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys::{self, Status};
use crate::threads::{Gate, Seat, join, spawn};

/// `CLONE_NEWTIME` of include/uapi/linux/sched.h.
const CLONE_NEWTIME: i32 = 0x80;

/// Host and NIS domain name of the calling thread, as uname(2) says.
fn names() -> Result<(String, String)> {
    // SAFETY: the kernel fills it in, whatever it was.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: it lives.
    sys::check("uname", unsafe { libc::uname(&raw mut name) })?;
    let text = |field: &[libc::c_char]| {
        let bytes = field.iter().map(|byte| byte.to_ne_bytes()[0]);
        let bytes = bytes.take_while(|&byte| byte != 0).collect();
        String::from_utf8(bytes).map_err(|_| Error::Situation("a name is no text".to_owned()))
    };
    Ok((text(&name.nodename)?, text(&name.domainname)?))
}

fn set_names(host: &str, domain: &str) -> Result<()> {
    // SAFETY: the text lives.
    sys::check("sethostname", unsafe {
        libc::sethostname(host.as_ptr().cast(), host.len())
    })?;
    // SAFETY: the text lives.
    sys::check("setdomainname", unsafe {
        libc::setdomainname(domain.as_ptr().cast(), domain.len())
    })
    .map(drop)
}

fn check_names(stage: &mut Stage, what: &str, host: &str, domain: &str) -> Result<()> {
    let expected = (host.to_owned(), domain.to_owned());
    stage.equal(what, &names()?, &expected);
    Ok(())
}

/// As long as a name can be.
const LONG: &str = "a-name-of-64-bytes-which-is-all-that-a-host-may-be-called-by-us-";

/// A parent, a child with names of its own, and two of its children: one shares them, one has others. Who renames, renames for those who share.
pub(crate) fn uts(stage: &mut Stage, _args: &Args) -> Result<()> {
    let (host, domain) = names()?;
    let child = stage.spawn_ready("child", |child| {
        sys::unshare(libc::CLONE_NEWUTS)?;
        set_names(LONG, "child.example")?;
        let same = child.spawn_ready("same", |same| {
            same.hold()?;
            check_names(same, "names", LONG, "child.example")?;
            set_names("renamed", "")
        })?;
        let other = child.spawn_ready("other", |other| {
            sys::unshare(libc::CLONE_NEWUTS)?;
            set_names("", "other.example")?;
            other.hold()?;
            check_names(other, "names", "", "other.example")
        })?;
        child.hold()?;
        check_names(child, "names", LONG, "child.example")?;
        for grandchild in [&same, &other] {
            grandchild.resume()?;
            child.join(grandchild)?;
        }
        check_names(child, "what its child has made of them", "renamed", "")
    })?;
    stage.hold()?;
    check_names(stage, "names", &host, &domain)?;
    child.resume()?;
    stage.join(&child)?;
    check_names(stage, "names afterwards", &host, &domain)
}

/// The whole tree has names that nobody outside of it has.
pub(crate) fn uts_root(stage: &mut Stage, _args: &Args) -> Result<()> {
    sys::unshare(libc::CLONE_NEWUTS)?;
    set_names("container", "of.its.own")?;
    let child = stage.spawn_ready("child", |child| {
        child.hold()?;
        check_names(child, "names", "container", "of.its.own")
    })?;
    stage.hold()?;
    check_names(stage, "names", "container", "of.its.own")?;
    child.resume()?;
    stage.join(&child)
}

/// Two threads with names of their own, and a leader that left its names to a third.
pub(crate) fn uts_threads(stage: &mut Stage, _args: &Args) -> Result<()> {
    sys::one_heap();
    let gates: [Gate; 3] = std::array::from_fn(|_| Gate::default());
    let seats: [Seat; 3] = std::array::from_fn(|_| Seat::default());
    let (host, domain) = names()?;
    thread::scope(|scope| {
        let mut handles = Vec::new();
        for (own, (seat, gate)) in ["", "second", "third"]
            .into_iter()
            .zip(seats.iter().zip(&gates))
        {
            let body = move || -> Result<(String, String)> {
                if !own.is_empty() {
                    sys::unshare(libc::CLONE_NEWUTS)?;
                    set_names(own, "threads.example")?;
                }
                seat.take();
                gate.wait();
                names()
            };
            handles.push((own, gate, spawn(scope, own, body)?));
            seat.await_asleep()?;
        }
        sys::unshare(libc::CLONE_NEWUTS)?;
        set_names("leader", "threads.example")?;
        stage.hold()?;
        check_names(stage, "the leader", "leader", "threads.example")?;
        for (own, gate, handle) in handles {
            gate.open();
            let expected = if own.is_empty() {
                (host.clone(), domain.clone())
            } else {
                (own.to_owned(), "threads.example".to_owned())
            };
            stage.equal(&format!("thread {own:?}"), &join(handle)?, &expected);
        }
        Ok(())
    })
}

/// The limits of an ipc namespace, and a value for each that is not the usual one.
const LIMITS: [(&str, &str); 13] = [
    ("kernel/shmmax", "123456789"),
    ("kernel/shmall", "23456"),
    ("kernel/shmmni", "345"),
    ("kernel/shm_rmid_forced", "1"),
    ("kernel/msgmax", "4567"),
    ("kernel/msgmnb", "56789"),
    ("kernel/msgmni", "67"),
    ("kernel/sem", "101\t102\t103\t104"),
    ("fs/mqueue/queues_max", "7"),
    ("fs/mqueue/msg_max", "8"),
    ("fs/mqueue/msgsize_max", "9000"),
    ("fs/mqueue/msg_default", "3"),
    ("fs/mqueue/msgsize_default", "4000"),
];

fn limit(name: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/sys/{name}"));
    let text = text.map_err(Error::from_io("read a limit"))?;
    text.strip_suffix('\n')
        .map(str::to_owned)
        .ok_or_else(|| Error::Situation(format!("{name} is {text:?}")))
}

fn limits() -> Result<Vec<String>> {
    LIMITS.iter().map(|(name, _)| limit(name)).collect()
}

fn set_limit(name: &str, value: &str) -> Result<()> {
    fs::write(format!("/proc/sys/{name}"), value).map_err(Error::from_io("set a limit"))
}

fn set_limits() -> Result<()> {
    LIMITS
        .iter()
        .try_for_each(|(name, value)| set_limit(name, value))
}

fn check_limits(stage: &mut Stage, expected: &[String]) -> Result<()> {
    for ((name, _), (found, expected)) in LIMITS.iter().zip(limits()?.iter().zip(expected)) {
        stage.equal(name, found, expected);
    }
    Ok(())
}

/// A segment with this key, made now or there already.
fn segment(flags: i32) -> Result<i32> {
    // SAFETY: plain numbers.
    sys::check("shmget", unsafe { libc::shmget(KEY, 4096, flags | 0o600) })
}

const KEY: i32 = 0x63_74;

/// A child has set all limits of an ipc namespace of its own, in which its child is, too. What it makes there afterwards its child sees, and nobody else.
pub(crate) fn ipc(stage: &mut Stage, _args: &Args) -> Result<()> {
    let before = limits()?;
    let child = stage.spawn_ready("child", |child| {
        sys::unshare(libc::CLONE_NEWIPC)?;
        set_limits()?;
        let own: Vec<String> = LIMITS
            .iter()
            .map(|(_, value)| (*value).to_owned())
            .collect();
        let same = child.spawn_ready("same", |same| {
            same.hold()?;
            check_limits(same, &own)?;
            same.works("the parent's segment is there", segment(0));
            Ok(())
        })?;
        child.hold()?;
        check_limits(child, &own)?;
        segment(libc::IPC_CREAT | libc::IPC_EXCL)?;
        same.resume()?;
        child.join(&same)
    })?;
    stage.hold()?;
    check_limits(stage, &before)?;
    child.resume()?;
    stage.join(&child)?;
    stage.check(
        "the child's segment is not here",
        segment(0).is_err(),
        "it is",
    );
    Ok(())
}

/// How far the clocks of a time namespace are ahead.
const AHEAD: Duration = Duration::from_secs(100_000);

/// What the C library reads from the vdso, and what the system call says.
fn clocks() -> Result<[Duration; 4]> {
    Ok([
        sys::clock(libc::CLOCK_MONOTONIC)?,
        sys::kernel_time(libc::CLOCK_MONOTONIC)?,
        sys::clock(libc::CLOCK_BOOTTIME)?,
        sys::kernel_time(libc::CLOCK_BOOTTIME)?,
    ])
}

/// Goes into a time namespace of its own, whose clocks are ahead.
fn enter_time() -> Result<()> {
    sys::unshare(CLONE_NEWTIME)?;
    let (monotonic, boottime) = (AHEAD.as_secs(), 2 * AHEAD.as_secs());
    let offsets = format!("monotonic {monotonic} 0\nboottime {boottime} 0\n");
    fs::write("/proc/self/timens_offsets", offsets).map_err(Error::from_io("set the clocks"))?;
    let own = File::open("/proc/self/ns/time_for_children")
        .map_err(Error::from_io("open a namespace"))?;
    // SAFETY: the descriptor is open.
    sys::check("setns", unsafe {
        libc::setns(own.as_raw_fd(), CLONE_NEWTIME)
    })
    .map(drop)
}

/// How long a trial may take on the clock of its guest.
const LONGEST: Duration = Duration::from_secs(600);

fn check_clocks(stage: &mut Stage, before: &[Duration; 4]) -> Result<()> {
    let names = [
        "monotonic",
        "monotonic by system call",
        "boottime",
        "boottime by system call",
    ];
    for (name, (now, before)) in names.iter().zip(clocks()?.iter().zip(before)) {
        stage.check(
            &format!("{name} goes on"),
            now >= before && *now < *before + LONGEST,
            &format!("{now:?} after {before:?}"),
        );
    }
    Ok(())
}

/// A child, whose clocks are ahead, waits for a point in time on each of them, which it has in its memory; its own child sees the same clocks.
pub(crate) fn time(stage: &mut Stage, _args: &Args) -> Result<()> {
    let outside = clocks()?;
    let child = stage.spawn_ready("child", |child| {
        enter_time()?;
        let before = clocks()?;
        let ahead = before[0] >= AHEAD && before[2] >= 2 * AHEAD;
        child.check("ahead", ahead, &format!("{before:?}"));
        let same = child.spawn_ready("same", |same| {
            let own = clocks()?;
            same.hold()?;
            check_clocks(same, &own)
        })?;
        let mut sleepers = Vec::new();
        for (clock, name) in [
            (libc::CLOCK_MONOTONIC, "monotonic"),
            (libc::CLOCK_BOOTTIME, "boottime"),
        ] {
            let until = sys::clock(clock)? + Duration::from_secs(3);
            let sleeper = child.spawn(name, |sleeper| {
                sleeper.ready()?;
                let time = sys::timespec(until);
                // SAFETY: the time lives; nothing is left over of a point in time.
                let error = unsafe {
                    libc::clock_nanosleep(
                        clock,
                        libc::TIMER_ABSTIME,
                        &raw const time,
                        std::ptr::null_mut(),
                    )
                };
                sleeper.equal("slept", &error, &0);
                let now = sys::clock(clock)?;
                let held = now >= until && now < until + LONGEST;
                sleeper.check("until then", held, &format!("{now:?} of {until:?}"));
                Ok(())
            })?;
            child.await_ready(&sleeper)?;
            sleeper.await_sleeping()?;
            sleepers.push(sleeper);
        }
        child.hold()?;
        check_clocks(child, &before)?;
        // Who is in it can rely on them.
        let set = fs::write("/proc/self/timens_offsets", "monotonic 1 0\n");
        let error = set.err().and_then(|error| error.raw_os_error());
        child.equal(
            "the clocks cannot be set any more",
            &error,
            &Some(libc::EACCES),
        );
        same.resume()?;
        child.join(&same)?;
        for sleeper in &sleepers {
            child.join(sleeper)?;
        }
        Ok(())
    })?;
    stage.hold()?;
    let now = clocks()?;
    let held = now[0] < outside[0] + LONGEST && now[2] < outside[2] + LONGEST;
    stage.check("no clock of the parent is ahead", held, &format!("{now:?}"));
    child.resume()?;
    stage.join(&child)
}

/// The limit that stands for its namespace.
const QUEUES: &str = "kernel/msgmni";

/// Namespaces of three kinds in all combinations, each made once: who shares one shares it still.
pub(crate) fn mixed(stage: &mut Stage, _args: &Args) -> Result<()> {
    let first = stage.spawn_ready("uts", |child| {
        sys::unshare(libc::CLONE_NEWUTS)?;
        set_names("mixed", "uts")?;
        let second = child.spawn_ready("ipc", |child| {
            sys::unshare(libc::CLONE_NEWIPC)?;
            set_limit(QUEUES, "77")?;
            let third = child.spawn_ready("time", |child| {
                enter_time()?;
                let before = clocks()?;
                child.hold()?;
                check_names(child, "names", "mixed", "uts")?;
                child.equal("limit", &limit(QUEUES)?, &"77".to_owned());
                check_clocks(child, &before)?;
                set_names("mixed", "renamed")?;
                set_limit(QUEUES, "78")
            })?;
            child.hold()?;
            third.resume()?;
            child.join(&third)?;
            check_names(child, "names of another", "mixed", "renamed")?;
            child.equal("limit of another", &limit(QUEUES)?, &"78".to_owned());
            Ok(())
        })?;
        let usual = limit(QUEUES)?;
        child.hold()?;
        second.resume()?;
        child.join(&second)?;
        check_names(child, "names of another", "mixed", "renamed")?;
        child.equal("limit", &limit(QUEUES)?, &usual);
        let Some(last) = sys::fork()? else {
            let same = names().is_ok_and(|(host, _)| host == "mixed");
            sys::exit(i32::from(!same))
        };
        child.equal("a new child", &sys::wait(last)?, &Status::Exited(0));
        Ok(())
    })?;
    stage.hold()?;
    first.resume()?;
    stage.join(&first)
}

/// A child's own ipc namespace has a segment in it.
pub(crate) fn ipc_in_use(stage: &mut Stage, _args: &Args) -> Result<()> {
    let child = stage.spawn_ready("child", |child| {
        sys::unshare(libc::CLONE_NEWIPC)?;
        segment(libc::IPC_CREAT | libc::IPC_EXCL)?;
        child.hold()?;
        child.works("the segment is there", segment(0));
        Ok(())
    })?;
    stage.hold()?;
    child.resume()?;
    stage.join(&child)
}
