//! Processes that have ended and were not waited for: how they ended is still there, and their parents hear nothing new.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_int;
use std::fs;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::{Child, Stage};
use crate::sys::{self, Pid, Status};
use crate::threads::{STACK, Seat};

/// How often SIGCHLD came.
static CAME: AtomicI32 = AtomicI32::new(0);

extern "C" fn count(_signal: c_int) {
    CAME.fetch_add(1, Ordering::Relaxed);
}

/// Waits until a process has ended.
pub(crate) fn await_end(pid: Pid) -> Result<()> {
    while sys::state(pid)? != 'Z' {
        sys::pause();
    }
    Ok(())
}

/// Waits until SIGCHLD has come so often: a child is seen to have ended a moment before its parent is told, and the signals of two that come at once are one.
fn await_told(times: usize) {
    while usize::try_from(CAME.load(Ordering::Relaxed)).unwrap_or(0) < times {
        sys::pause();
    }
}

/// A child that ends like this.
fn ended(status: Status) -> Result<Pid> {
    let Some(pid) = sys::fork()? else {
        match status {
            Status::Exited(code) => sys::exit(code),
            Status::Killed(signal) => {
                let _ = sys::kill(sys::pid(), signal);
                sys::exit(99)
            }
        }
    };
    await_end(pid)?;
    Ok(pid)
}

/// Children that ended in each way, one of them as another user: the status of each is what it was, and no SIGCHLD comes a second time.
pub(crate) fn exits(stage: &mut Stage, _args: &Args) -> Result<()> {
    sys::handle(libc::SIGCHLD, count, 0, &[])?;
    let mut children = Vec::new();
    for status in [
        Status::Exited(0),
        Status::Exited(7),
        Status::Exited(255),
        Status::Killed(libc::SIGKILL),
        Status::Killed(libc::SIGTERM),
        Status::Killed(libc::SIGABRT),
        Status::Killed(libc::SIGRTMAX()),
    ] {
        children.push((ended(status)?, status));
        await_told(children.len());
    }
    let Some(other_user) = sys::fork()? else {
        // SAFETY: plain numbers; the child does nothing else.
        let refused = unsafe { libc::setgid(3) | libc::setuid(4) };
        sys::exit(i32::from(refused != 0))
    };
    await_end(other_user)?;
    children.push((other_user, Status::Exited(0)));
    await_told(children.len());
    let before = CAME.load(Ordering::Relaxed);
    stage.hold()?;
    stage.equal("SIGCHLD", &CAME.load(Ordering::Relaxed), &before);
    for (pid, status) in children {
        stage.equal(&format!("state before {status:?}"), &sys::state(pid)?, &'Z');
        stage.equal(&format!("{status:?}"), &sys::wait(pid)?, &status);
    }
    stage.equal("children left", &sys::try_wait(-1).is_err(), &true);
    stage.equal("SIGCHLD at the end", &CAME.load(Ordering::Relaxed), &before);
    Ok(())
}

/// Many that ended, among some that live: a wait for any child finds each once.
pub(crate) fn many(stage: &mut Stage, _args: &Args) -> Result<()> {
    let mut ends: BTreeMap<Pid, Status> = BTreeMap::new();
    let mut living: Vec<Child> = Vec::new();
    for code in 10..34 {
        if code % 6 == 0 {
            let name = format!("lives-{code}");
            living.push(stage.spawn_ready(&name, |child| {
                child.hold()?;
                child.check("is resumed", true, "");
                Ok(())
            })?);
        } else {
            let status = Status::Exited(code);
            ends.insert(ended(status)?, status);
        }
    }
    stage.hold()?;
    let mut found = BTreeMap::new();
    for _ in 0..ends.len() {
        let mut raw = 0;
        // SAFETY: the status outlives the call.
        let pid = sys::check("waitpid", unsafe {
            libc::waitpid(-1, &raw mut raw, libc::WNOHANG)
        })?;
        found.insert(pid, Status::Exited(libc::WEXITSTATUS(raw)));
    }
    stage.equal("ends", &found, &ends);
    for child in &living {
        stage.equal("lives", &sys::try_wait(child.pid)?, &None);
        child.resume()?;
        stage.join(child)?;
    }
    Ok(())
}

/// Group and session of a process.
fn relations(pid: Pid) -> (Pid, Pid) {
    // SAFETY: plain numbers.
    unsafe { (libc::getpgid(pid), libc::getsid(pid)) }
}

/// A zombie that leads a process group, and one that leads a session: their members are still in them.
pub(crate) fn leaders(stage: &mut Stage, _args: &Args) -> Result<()> {
    let root = stage.adopt_orphans()?;
    let group = stage.spawn_ready("group-leader", |leader| {
        sys::set_group(0, 0)?;
        leader.ready()?;
        leader.wait_resume()?;
        leader.check("ends", true, "");
        Ok(())
    })?;
    let member = stage.spawn_ready("group-member", |member| {
        sys::set_group(0, group.pid)?;
        let before = relations(0);
        member.hold()?;
        member.equal("group and session", &relations(0), &before);
        Ok(())
    })?;
    // Its member belongs to the root when it has ended.
    let session = stage.spawn("session-leader", |leader| {
        // SAFETY: plain numbers.
        sys::check("setsid", unsafe { libc::setsid() })?;
        let inner = leader.spawn("member", |member| {
            member.await_adoption(root, "member")?;
            let before = relations(0);
            member.hold()?;
            member.equal("group and session", &relations(0), &before);
            Ok(())
        })?;
        leader.check("has a child", inner.pid > 0, "");
        Ok(())
    })?;
    await_end(session.pid)?;
    stage.await_descendant("session-leader.member")?;
    let inner = stage.noted_pid("member")?;
    group.resume()?;
    await_end(group.pid)?;
    let before = [group.pid, session.pid, member.pid, inner].map(relations);
    stage.hold()?;
    stage.equal(
        "groups and sessions",
        &[group.pid, session.pid, member.pid, inner].map(relations),
        &before,
    );
    // The whole group is reached by its number, also when its leader has ended.
    sys::kill(-group.pid, libc::SIGUSR1)?;
    stage.join(&member)?;
    stage.join(&group)?;
    stage.join(&session)?;
    let inner = stage.descendant("session-leader.member", inner);
    inner.resume()?;
    stage.join(&inner)
}

/// Exit as the leader of two other threads, which live; the process ends as the last of them does.
fn leave_threads(child: &mut Stage) -> Result<()> {
    static SEAT: Seat = Seat::new();
    let beside = child.beside();
    let waits = std::thread::Builder::new().stack_size(STACK);
    waits
        .spawn(|| {
            SEAT.take();
            loop {
                sys::suspend(libc::SIGUSR2);
            }
        })
        .map_err(Error::from_io("start a thread"))?;
    SEAT.await_asleep()?;
    let ends = std::thread::Builder::new().stack_size(STACK);
    ends.spawn(move || {
        let outcome = outlive(&beside);
        sys::exit(match outcome {
            Ok(true) => 23,
            Ok(false) => 1,
            Err(_) => 2,
        })
    })
    .map_err(Error::from_io("start a thread"))?;
    sys::exit_thread(5)
}

/// The leader of a process's threads has exited, two others live: the process is one still, and ends with the last exit of all.
pub(crate) fn thread_leader(stage: &mut Stage, _args: &Args) -> Result<()> {
    let child = stage.spawn("child", leave_threads)?;
    stage.await_ready(&child)?;
    stage.hold()?;
    stage.equal("state", &sys::state(child.pid)?, &'Z');
    stage.equal("has not ended", &sys::try_wait(child.pid)?, &None);
    child.resume()?;
    stage.equal("how it ended", &sys::wait(child.pid)?, &Status::Exited(23));
    Ok(())
}

/// The same of a process whose parent ends before it: it belongs to the root then.
pub(crate) fn thread_leader_outlives(stage: &mut Stage, _args: &Args) -> Result<()> {
    stage.adopt_orphans()?;
    let parent = stage.spawn_ready("parent", |parent| {
        let child = parent.spawn("child", |child| {
            child.note_pid("leader")?;
            leave_threads(child)
        })?;
        parent.await_ready(&child)?;
        parent.hold()?;
        parent.check("ends first", true, "");
        Ok(())
    })?;
    stage.hold()?;
    parent.resume()?;
    stage.join(&parent)?;
    let pid = stage.noted_pid("leader")?;
    stage.equal("has not ended", &sys::try_wait(pid)?, &None);
    stage.descendant("parent.child", pid).resume()?;
    stage.equal("how it ended", &sys::wait(pid)?, &Status::Exited(23));
    Ok(())
}

/// What the last thread of [`leave_threads`] does: is all as it was before?
fn outlive(stage: &Stage) -> Result<bool> {
    await_end(sys::pid())?;
    let threads = || -> Result<BTreeSet<String>> {
        Ok(fs::read_dir("/proc/self/task")
            .map_err(Error::from_io("list the threads"))?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect())
    };
    let before = threads()?;
    stage.hold()?;
    Ok(threads()? == before && before.len() == 3 && sys::state(sys::pid())? == 'Z')
}
