//! Trees of processes: pids, parents, groups, sessions, and how they end.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::fs;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::{Child, Stage};
use crate::sys::{self, Pid, Status};
use crate::threads::{STACK, Seat};

/// One process that does nothing.
pub(crate) fn idle(stage: &mut Stage, _args: &Args) -> Result<()> {
    let before = Relations::now();
    stage.hold()?;
    stage.equal(
        "pid, group and session",
        &Relations {
            parent: 0,
            ..Relations::now()
        },
        &Relations {
            parent: 0,
            ..before
        },
    );
    Ok(())
}

/// What a process says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Relations {
    pid: Pid,
    parent: Pid,
    group: Pid,
    session: Pid,
}

impl Relations {
    /// The caller's own.
    pub(crate) fn now() -> Self {
        // SAFETY: plain numbers.
        let (group, session) = unsafe { (libc::getpgid(0), libc::getsid(0)) };
        Self {
            pid: sys::pid(),
            parent: sys::parent(),
            group,
            session,
        }
    }
}

/// What a member of [`three_levels`] does about its group and session, before or after it has children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Inherit,
    Session,
    Group,
    SessionAfterChildren,
}

/// A member's name and place.
type Member = (&'static str, Place);

/// The members on the second level, and those on the third below each.
const LEVELS: [(Member, [Member; 2]); 3] = [
    (
        ("plain", Place::Inherit),
        [("x", Place::Inherit), ("y", Place::Group)],
    ),
    (
        ("leader", Place::Session),
        [("x", Place::Inherit), ("y", Place::Group)],
    ),
    (
        ("late", Place::SessionAfterChildren),
        [("x", Place::Inherit), ("y", Place::Session)],
    ),
];

/// Three levels with sessions made before and after the children, and groups: each member is what it was, and ends towards its own parent.
pub(crate) fn three_levels(stage: &mut Stage, _args: &Args) -> Result<()> {
    let before = Relations::now();
    let mut children = Vec::new();
    for ((name, place), below) in LEVELS {
        children.push(stage.spawn_ready(name, |child| member(child, place, &below))?);
    }
    stage.hold()?;
    stage.equal(
        "pid, group and session",
        &Relations {
            parent: 0,
            ..Relations::now()
        },
        &Relations {
            parent: 0,
            ..before
        },
    );
    check_leader(stage);
    for child in &children {
        child.resume()?;
        stage.join(child)?;
    }
    stage.equal("children left", &sys::try_wait(-1).is_err(), &true);
    Ok(())
}

/// The kernel knows who leads a session: that one cannot have another group, not even its own once more.
fn check_leader(stage: &mut Stage) {
    let Relations {
        pid,
        group,
        session,
        ..
    } = Relations::now();
    if group == pid {
        let refused = sys::set_group(0, 0).is_err();
        stage.equal("leads a session", &refused, &(session == pid));
    }
}

/// One member below the root, with its own children.
fn member(stage: &mut Stage, place: Place, below: &[Member]) -> Result<()> {
    if place != Place::SessionAfterChildren {
        take(place)?;
    }
    let mut children: Vec<Child> = Vec::new();
    for (name, place) in below {
        children.push(stage.spawn_ready(name, |child| member(child, *place, &[]))?);
    }
    if place == Place::SessionAfterChildren {
        take(Place::Session)?;
    }
    let before = Relations::now();
    let groups: Vec<_> = children.iter().map(group_of).collect();
    stage.hold()?;
    stage.equal("pid, parent, group and session", &Relations::now(), &before);
    stage.equal(
        "groups of the children",
        &children.iter().map(group_of).collect::<Vec<_>>(),
        &groups,
    );
    check_leader(stage);
    for child in &children {
        // A group of its own is reached by the group's number.
        let group = if group_of(child).0 == child.pid {
            -child.pid
        } else {
            child.pid
        };
        sys::kill(group, libc::SIGUSR1)?;
        stage.join(child)?;
    }
    Ok(())
}

/// Takes a place.
fn take(place: Place) -> Result<()> {
    match place {
        Place::Inherit => {}
        Place::Group => {
            sys::set_group(0, 0)?;
        }
        Place::Session | Place::SessionAfterChildren => {
            // SAFETY: plain numbers.
            sys::check("setsid", unsafe { libc::setsid() })?;
        }
    }
    Ok(())
}

/// Group and session of a child.
fn group_of(child: &Child) -> (Pid, Pid) {
    // SAFETY: plain numbers.
    unsafe { (libc::getpgid(child.pid), libc::getsid(child.pid)) }
}

/// How often each of the two signals came.
static CAME: [AtomicI32; 2] = [const { AtomicI32::new(0) }; 2];

extern "C" fn count(signal: c_int) {
    CAME[usize::from(signal == libc::SIGUSR2)].fetch_add(1, Ordering::Relaxed);
}

/// Whether waitpid(2) without `__WALL` knows of this child, which lives.
fn found_by_a_plain_wait(pid: Pid) -> bool {
    // SAFETY: a null status is allowed.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) == 0 }
}

/// Children that send SIGCHLD, SIGUSR2 and nothing when they end: the kernel tells the parent as it was told to, and only of the first without `__WALL`.
pub(crate) fn exit_signals(stage: &mut Stage, _args: &Args) -> Result<()> {
    let mut children = Vec::new();
    for (name, signal) in [
        ("usual", libc::SIGCHLD),
        ("other", libc::SIGUSR2),
        ("silent", 0),
    ] {
        let child = stage.spawn_with(
            name,
            || sys::clone_with_signal(0, signal),
            |child| {
                let before = Relations::now();
                child.hold()?;
                child.equal("pid, parent, group and session", &Relations::now(), &before);
                Ok(())
            },
        )?;
        stage.await_ready(&child)?;
        children.push((name, child, signal));
    }
    sys::handle(libc::SIGCHLD, count, 0, &[])?;
    sys::handle(libc::SIGUSR2, count, 0, &[])?;
    stage.hold()?;
    let mut expected = [0, 0];
    for (name, child, signal) in &children {
        stage.equal(
            &format!("{name} is found by a plain wait"),
            &found_by_a_plain_wait(child.pid),
            &(*signal == libc::SIGCHLD),
        );
        child.resume()?;
        stage.join(child)?;
        if *signal != 0 {
            expected[usize::from(*signal == libc::SIGUSR2)] += 1;
        }
        let came = [0, 1].map(|index: usize| CAME[index].load(Ordering::Relaxed));
        stage.equal(
            &format!("SIGCHLD and SIGUSR2 after the end of {name}"),
            &came,
            &expected,
        );
    }
    Ok(())
}

/// A chain of `count` processes, each the child of the one before; they end from the last to the first.
pub(crate) fn deep(stage: &mut Stage, args: &Args) -> Result<()> {
    fn descend(stage: &mut Stage, left: usize) -> Result<()> {
        let parent = sys::parent();
        let child = match left {
            0 => None,
            _ => Some(stage.spawn_ready("c", |child| descend(child, left - 1))?),
        };
        stage.hold()?;
        stage.equal("parent", &sys::parent(), &parent);
        child.map_or(Ok(()), |child| {
            child.resume()?;
            stage.join(&child)
        })
    }
    descend(stage, args.number("count", 30)?.min(60))
}

/// Many children: each is there once, and ends with its own code.
pub(crate) fn wide(stage: &mut Stage, args: &Args) -> Result<()> {
    let count = args.number("count", 60)?.min(200);
    let mut codes = BTreeMap::new();
    let mut children = Vec::new();
    for index in 0..count {
        let code = i32::try_from(index).unwrap_or(0) + 20;
        let child = stage.spawn_ready(&format!("c{index}"), |child| {
            let pid = sys::pid();
            child.hold()?;
            sys::exit(if sys::pid() == pid { code } else { 1 })
        })?;
        codes.insert(child.pid, code);
        children.push(child);
    }
    stage.hold()?;
    for child in children.iter().rev() {
        child.resume()?;
    }
    for child in &children {
        stage.equal(
            &format!("end of {}", codes[&child.pid] - 20),
            &sys::wait(child.pid)?,
            &Status::Exited(codes[&child.pid]),
        );
    }
    stage.equal("children left", &sys::try_wait(-1).is_err(), &true);
    Ok(())
}

/// A process whose parent ended before the freeze: it belongs to the root, PID 1 of its namespace, which sees its end.
pub(crate) fn orphan(stage: &mut Stage, _args: &Args) -> Result<()> {
    let root = stage.adopt_orphans()?;
    let middle = stage.spawn("middle", |middle| {
        let inner = middle.spawn("inner", |inner| {
            inner.await_adoption(root, "orphan")?;
            let before = Relations::now();
            inner.hold()?;
            inner.equal("pid, parent, group and session", &Relations::now(), &before);
            Ok(())
        })?;
        middle.check("has a child", inner.pid > 0, "");
        Ok(())
    })?;
    stage.join(&middle)?;
    stage.await_descendant("middle.inner")?;
    let pid = stage.noted_pid("orphan")?;
    stage.hold()?;
    sys::kill(pid, libc::SIGUSR1)?;
    let orphan = stage.descendant("middle.inner", pid);
    stage.join(&orphan)
}

/// What waitpid(2) has to tell of a child that lives, if anything.
fn told(pid: Pid, what: c_int) -> Result<Option<c_int>> {
    let mut status = 0;
    // SAFETY: the status outlives the call.
    let found = sys::check("waitpid", unsafe {
        libc::waitpid(pid, &raw mut status, libc::WNOHANG | what)
    })?;
    Ok((found != 0).then_some(status))
}

/// Children that signals have stopped and continued: they are, and what their parent has not yet waited for it still gets, once.
pub(crate) fn stopped(stage: &mut Stage, _args: &Args) -> Result<()> {
    let mut children = BTreeMap::new();
    for name in ["waited", "stopped", "continued"] {
        let child = stage.spawn_ready(name, |child| {
            child.hold()?;
            child.check("resumed", true, "");
            Ok(())
        })?;
        sys::kill(child.pid, libc::SIGSTOP)?;
        while sys::state(child.pid)? != 'T' {
            sys::pause();
        }
        children.insert(name, child);
    }
    let pid = |name: &str| children.get(name).map_or(0, |child| child.pid);
    told(pid("waited"), libc::WUNTRACED)?;
    sys::kill(pid("continued"), libc::SIGCONT)?;
    while sys::state(pid("continued"))? == 'T' {
        sys::pause();
    }
    stage.hold()?;
    for name in ["waited", "stopped"] {
        stage.equal(name, &sys::state(pid(name))?, &'T');
    }
    let all = libc::WUNTRACED | libc::WCONTINUED;
    for (name, first) in [
        ("waited", None),
        ("stopped", Some(libc::SIGSTOP << 8 | 0x7f)),
        ("continued", Some(0xffff)),
    ] {
        let found = [told(pid(name), all)?, told(pid(name), all)?];
        stage.equal(&format!("told of {name}"), &found, &[first, None]);
    }
    for (name, child) in &children {
        if *name != "continued" {
            sys::kill(child.pid, libc::SIGCONT)?;
            while sys::state(child.pid)? == 'T' {
                sys::pause();
            }
            let found = [told(child.pid, all)?, told(child.pid, all)?];
            stage.equal(&format!("{name} continues"), &found, &[Some(0xffff), None]);
        }
        child.resume()?;
        stage.join(child)?;
    }
    Ok(())
}

/// A process with threads is stopped: all of them are, and all go on.
pub(crate) fn stopped_threads(stage: &mut Stage, _args: &Args) -> Result<()> {
    static SEAT: Seat = Seat::new();
    let child = stage.spawn_ready("child", |child| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        let thread = thread
            .spawn(|| {
                SEAT.take();
                sys::wait_signal(libc::SIGUSR1)
            })
            .map_err(Error::from_io("start a thread"))?;
        // Before it is in its function it blocks every signal.
        SEAT.await_asleep()?;
        child.ready()?;
        let came = thread.join();
        child.check("the thread goes on", matches!(came, Ok(Ok(()))), "");
        Ok(())
    })?;
    sys::kill(child.pid, libc::SIGSTOP)?;
    let threads = || -> Result<Vec<char>> {
        let path = format!("/proc/{}/task", child.pid);
        let entries = fs::read_dir(path).map_err(Error::from_io("list the threads"))?;
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .map(sys::state)
            .collect()
    };
    while threads()? != ['T', 'T'] {
        sys::pause();
    }
    stage.hold()?;
    stage.equal("threads", &threads()?, &vec!['T', 'T']);
    sys::kill(child.pid, libc::SIGCONT)?;
    child.resume()?;
    stage.join(&child)
}

/// Process groups and a session whose leaders have ended and were waited for: their members are still in them, and are reached by them.
pub(crate) fn dead_leaders(stage: &mut Stage, _args: &Args) -> Result<()> {
    let root = stage.adopt_orphans()?;
    let leader = stage.spawn_ready("leader", |leader| {
        sys::set_group(0, 0)?;
        leader.ready()?;
        leader.wait_resume()?;
        leader.check("ends", true, "");
        Ok(())
    })?;
    let mut members = Vec::new();
    for name in ["first", "second"] {
        members.push(stage.spawn_ready(name, |member| {
            sys::set_group(0, leader.pid)?;
            let before = Relations::now();
            member.hold()?;
            member.equal("pid, parent, group and session", &Relations::now(), &before);
            Ok(())
        })?);
    }
    let session = stage.spawn("session", |session| {
        // SAFETY: plain numbers.
        sys::check("setsid", unsafe { libc::setsid() })?;
        let inner = session.spawn("inner", |inner| {
            inner.await_adoption(root, "inner")?;
            let before = Relations::now();
            inner.hold()?;
            inner.equal("pid, parent, group and session", &Relations::now(), &before);
            Ok(())
        })?;
        session.check("has a child", inner.pid > 0, "");
        Ok(())
    })?;
    stage.join(&session)?;
    stage.await_descendant("session.inner")?;
    leader.resume()?;
    stage.join(&leader)?;
    let inner = stage.noted_pid("inner")?;
    stage.hold()?;
    // Both members by the number of their group.
    sys::kill(-leader.pid, libc::SIGUSR1)?;
    for member in &members {
        stage.join(member)?;
    }
    stage.equal(
        "the group when its last member is gone",
        &sys::kill(-leader.pid, 0).is_err(),
        &true,
    );
    sys::kill(-session.pid, libc::SIGUSR1)?;
    let inner = stage.descendant("session.inner", inner);
    stage.join(&inner)
}
