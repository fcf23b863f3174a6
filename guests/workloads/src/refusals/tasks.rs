//! States of a task.

use std::ffi::c_int;
use std::fs;
use std::ptr;

use crate::args::Args;
use crate::attributes;
use crate::error::{Error, Result};
use crate::seccomp;
use crate::stage::{Child, Stage};
use crate::sys::{self, Status};
use crate::threads::STACK;

/// A child that waits to be resumed, and ends.
fn waiting(stage: &Stage) -> Result<Child> {
    stage.spawn_ready("child", |child| {
        child.hold()?;
        child.check("resumed", true, "");
        Ok(())
    })
}

/// Resumes such a child and sees its end.
fn dismiss(stage: &mut Stage, child: &Child) -> Result<()> {
    child.resume()?;
    stage.join(child)
}

/// A child that the root traces.
pub(crate) fn traced(stage: &mut Stage, _args: &Args) -> Result<()> {
    let child = waiting(stage)?;
    // SAFETY: plain numbers.
    let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, child.pid, 0, 0) };
    if seized == -1 {
        return Err(Error::last("ptrace"));
    }
    stage.hold()?;
    let status = fs::read_to_string(format!("/proc/{}/status", child.pid))
        .map_err(Error::from_io("read /proc/PID/status"))?;
    stage.check(
        "still traced",
        status.contains(&format!("TracerPid:\t{}\n", sys::pid())),
        "by nobody",
    );
    dismiss(stage, &child)
}

/// A child that shares its memory with the root, and whose leader has exited before another thread.
pub(crate) fn shared_mm_leader(stage: &mut Stage, _args: &Args) -> Result<()> {
    sys::one_heap();
    let child = stage.spawn_beside("child", libc::CLONE_SIGHAND, |child| {
        let other = child.beside();
        std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || {
                let outcome = other.hold();
                sys::exit(if outcome.is_ok() { 31 } else { 1 })
            })
            .map_err(Error::from_io("start a thread"))?;
        sys::exit_thread(5)
    })?;
    stage.await_ready(&child)?;
    while sys::state(child.pid)? != 'Z' {
        sys::pause();
    }
    stage.hold()?;
    child.resume()?;
    stage.equal("its end", &sys::wait(child.pid)?, &Status::Exited(31));
    Ok(())
}

/// A child that vfork made and that has not called exec; its parent waits in vfork.
pub(crate) fn vfork(stage: &mut Stage, _args: &Args) -> Result<()> {
    let parent = stage.spawn("parent", |parent| {
        // With CLONE_VFORK but without CLONE_VM the child has memory of its own.
        let inner = parent.spawn_with(
            "inner",
            || sys::clone(libc::CLONE_VFORK),
            |inner| {
                inner.note_pid("inner")?;
                inner.hold()?;
                inner.check("resumed", true, "");
                Ok(())
            },
        )?;
        parent.join(&inner)
    })?;
    stage.await_descendant("parent.inner")?;
    stage.hold()?;
    sys::kill(stage.noted_pid("inner")?, libc::SIGUSR1)?;
    stage.join(&parent)
}

/// A child that has the I/O context of its parent: what one of them sets the other has.
pub(crate) fn io_context(stage: &mut Stage, _args: &Args) -> Result<()> {
    // Without a priority there is no context to share.
    attributes::set_io_priority(2, 1)?;
    let child = stage.spawn_with(
        "child",
        || sys::clone(libc::CLONE_IO),
        |child| {
            child.hold()?;
            child.works("ioprio_set", attributes::set_io_priority(2, 6));
            Ok(())
        },
    )?;
    stage.await_ready(&child)?;
    stage.hold()?;
    child.resume()?;
    stage.join(&child)?;
    stage.equal("I/O priority", &attributes::io_priority()?, &(2 << 13 | 6));
    Ok(())
}

/// A child in the group of a process that is not in the tree, since its parent has ended; that is its `leader`, which `lives` or is `gone`.
pub(crate) fn outside_group(stage: &mut Stage, args: &Args) -> Result<()> {
    let gone = match args.text("leader", "lives") {
        "lives" => false,
        "gone" => true,
        other => return Err(Error::Argument(format!("leader={other}"))),
    };
    let outside = |stage: &mut Stage| {
        stage.note_pid("outside")?;
        stage.hold()?;
        stage.check("resumed", true, "");
        Ok(())
    };
    let middle = stage.spawn("middle", |middle| {
        let leader = middle.spawn("leader", |leader| {
            sys::set_group(0, 0)?;
            leader.note_pid("leader")?;
            if !gone {
                return outside(leader);
            }
            leader.spawn_ready("outside", outside)?;
            leader.check("ends", true, "");
            Ok(())
        })?;
        if gone {
            middle.join(&leader)?;
        } else {
            middle.await_ready(&leader)?;
        }
        middle.check("ends", true, "");
        Ok(())
    })?;
    stage.join(&middle)?;
    let leader = stage.noted_pid("leader")?;
    let outside = stage.noted_pid("outside")?;
    let member = waiting(stage)?;
    sys::set_group(member.pid, leader)?;
    stage.hold()?;
    // SAFETY: plain numbers.
    stage.equal("group", &unsafe { libc::getpgid(member.pid) }, &leader);
    sys::kill(outside, libc::SIGUSR1)?;
    dismiss(stage, &member)
}

/// A POSIX timer on the CPU time of a child.
pub(crate) fn posix_timer(stage: &mut Stage, _args: &Args) -> Result<()> {
    let child = stage.spawn_ready("child", |child| {
        child.hold()?;
        child.check("resumed", true, "");
        Ok(())
    })?;
    let mut clock = 0;
    // SAFETY: the structures live; all-zero bytes are a valid sigevent.
    let made = unsafe {
        libc::clock_getcpuclockid(child.pid, &raw mut clock);
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_NONE;
        let mut timer = ptr::null_mut();
        libc::timer_create(clock, &raw mut event, &raw mut timer)
    };
    sys::check("timer_create", made)?;
    stage.hold()?;
    dismiss(stage, &child)
}

/// A filter that asks another process, which has a descriptor for that.
pub(crate) fn seccomp_listener(stage: &mut Stage, _args: &Args) -> Result<()> {
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let listener = seccomp::install(&mut seccomp::allow(), flags)?;
    let listener = c_int::try_from(listener)
        .map_err(|_| Error::Situation(format!("descriptor {listener}")))?;
    stage.hold()?;
    stage.check("the listener is open", sys::is_open(listener), "it is not");
    stage.equal(
        "mode",
        &sys::prctl(libc::PR_GET_SECCOMP, 0)?,
        &(libc::SECCOMP_MODE_FILTER as usize),
    );
    Ok(())
}

/// A working directory that was deleted.
pub(crate) fn deleted_cwd(stage: &mut Stage, _args: &Args) -> Result<()> {
    let dir = stage.path("gone");
    fs::create_dir(&dir).map_err(Error::from_io("mkdir"))?;
    std::env::set_current_dir(&dir).map_err(Error::from_io("chdir"))?;
    fs::remove_dir(&dir).map_err(Error::from_io("rmdir"))?;
    stage.hold()?;
    stage.equal("getcwd fails", &std::env::current_dir().is_err(), &true);
    Ok(())
}
