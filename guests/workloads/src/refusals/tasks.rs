//! States of a task.

use std::ffi::{c_int, c_void};
use std::fs;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::{Child, Stage};
use crate::sys::{self, Mapping, Status};

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

/// prctl(2) with one number.
pub(super) fn prctl(option: c_int, value: usize) -> Result<usize> {
    // SAFETY: the options used here take and return plain numbers.
    unsafe {
        sys::raw(
            "prctl",
            libc::SYS_prctl,
            [usize::try_from(option).unwrap_or(0), value, 0, 0, 0],
        )
    }
}

/// A second thread.
pub(crate) fn thread(stage: &mut Stage, _args: &Args) -> Result<()> {
    static END: AtomicBool = AtomicBool::new(false);
    let thread = std::thread::spawn(|| {
        while !END.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_millis(50));
        }
        17
    });
    stage.hold()?;
    END.store(true, Ordering::Relaxed);
    stage.equal("the thread's result", &thread.join().ok(), &Some(17));
    Ok(())
}

/// A child that has ended, and that nobody has waited for.
pub(crate) fn zombie(stage: &mut Stage, _args: &Args) -> Result<()> {
    let Some(pid) = sys::fork()? else {
        sys::exit(23)
    };
    while sys::state(pid)? != 'Z' {
        sys::pause();
    }
    stage.hold()?;
    stage.equal("its end", &sys::wait(pid)?, &Status::Exited(23));
    Ok(())
}

/// A child that SIGSTOP has stopped.
pub(crate) fn stopped(stage: &mut Stage, _args: &Args) -> Result<()> {
    let child = waiting(stage)?;
    sys::kill(child.pid, libc::SIGSTOP)?;
    while sys::state(child.pid)? != 'T' {
        sys::pause();
    }
    stage.hold()?;
    stage.equal("state", &sys::state(child.pid)?, &'T');
    sys::kill(child.pid, libc::SIGCONT)?;
    dismiss(stage, &child)
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

/// A child that shares its memory with the root, but is no thread.
pub(crate) fn shared_mm(stage: &mut Stage, _args: &Args) -> Result<()> {
    static SEEN: AtomicBool = AtomicBool::new(false);
    extern "C" fn child(_argument: *mut c_void) -> c_int {
        let came = sys::wait_signal(libc::SIGUSR1).is_ok();
        SEEN.store(came, Ordering::Relaxed);
        31
    }
    let stack = Mapping::anonymous(16)?;
    let top = stack.start().wrapping_add(stack.len() - 512).cast();
    // SAFETY: the child has a stack of its own and touches an atomic and its errno only, while the parent is told to wait for it before it unmaps that.
    let pid = sys::check("clone", unsafe {
        libc::clone(child, top, libc::CLONE_VM | libc::SIGCHLD, ptr::null_mut())
    })?;
    stage.hold()?;
    sys::kill(pid, libc::SIGUSR1)?;
    stage.equal("the child's end", &sys::wait(pid)?, &Status::Exited(31));
    stage.equal("what the child wrote", &SEEN.load(Ordering::Relaxed), &true);
    Ok(())
}

/// A child that vfork made and that has not called exec; its parent waits in vfork.
pub(crate) fn vfork(stage: &mut Stage, _args: &Args) -> Result<()> {
    let parent = stage.spawn("parent", |parent| {
        let pid = parent.path("inner");
        // With CLONE_VFORK but without CLONE_VM the child has memory of its own.
        let inner = parent.spawn_with(
            "inner",
            || sys::clone(libc::CLONE_VFORK),
            |inner| {
                fs::write(pid, sys::pid().to_string()).map_err(Error::from_io("write"))?;
                inner.hold()?;
                inner.check("resumed", true, "");
                Ok(())
            },
        )?;
        parent.join(&inner)
    })?;
    stage.await_descendant("parent.inner")?;
    stage.hold()?;
    let pid = fs::read_to_string(stage.path("inner")).map_err(Error::from_io("read"))?;
    sys::kill(
        pid.parse()
            .map_err(|_| Error::Situation(format!("no pid: {pid:?}")))?,
        libc::SIGUSR1,
    )?;
    stage.join(&parent)
}

/// A child in a group whose leader has ended.
pub(crate) fn dead_group_leader(stage: &mut Stage, _args: &Args) -> Result<()> {
    let leader = waiting(stage)?;
    // SAFETY: plain numbers.
    sys::check("setpgid", unsafe { libc::setpgid(leader.pid, leader.pid) })?;
    let member = stage.spawn_ready("member", |member| {
        // SAFETY: plain numbers.
        let group = || unsafe { libc::getpgid(0) };
        member.hold()?;
        member.equal("group", &group(), &leader.pid);
        Ok(())
    })?;
    // SAFETY: plain numbers.
    sys::check("setpgid", unsafe { libc::setpgid(member.pid, leader.pid) })?;
    dismiss(stage, &leader)?;
    stage.hold()?;
    dismiss(stage, &member)
}

/// A signal that is pending.
pub(crate) fn pending_signal(stage: &mut Stage, _args: &Args) -> Result<()> {
    sys::block(&[libc::SIGTERM])?;
    sys::kill(sys::pid(), libc::SIGTERM)?;
    stage.hold()?;
    stage.equal("pending", &sys::pending()?, &(1 << (libc::SIGTERM - 1)));
    Ok(())
}

/// An interval timer, armed.
pub(crate) fn itimer(stage: &mut Stage, _args: &Args) -> Result<()> {
    let which = libc::ITIMER_REAL;
    let zero = libc::timeval {
        tv_sec: 0,
        tv_usec: 0,
    };
    let far = libc::itimerval {
        it_interval: zero,
        it_value: libc::timeval {
            tv_sec: 3600,
            tv_usec: 0,
        },
    };
    // SAFETY: the structure lives.
    sys::check("setitimer", unsafe {
        libc::setitimer(which, &raw const far, ptr::null_mut())
    })?;
    stage.hold()?;
    let mut left = libc::itimerval {
        it_interval: zero,
        it_value: zero,
    };
    // SAFETY: the kernel writes one structure.
    stage.works(
        "getitimer",
        sys::check("getitimer", unsafe {
            libc::getitimer(which, &raw mut left)
        }),
    );
    stage.check("time is left", left.it_value.tv_sec > 0, "none");
    Ok(())
}

/// A POSIX timer, armed.
pub(crate) fn posix_timer(stage: &mut Stage, _args: &Args) -> Result<()> {
    let zero = sys::timespec(Duration::ZERO);
    let far = libc::itimerspec {
        it_interval: zero,
        it_value: sys::timespec(Duration::from_secs(3600)),
    };
    let mut left = libc::itimerspec {
        it_interval: zero,
        it_value: zero,
    };
    // SAFETY: the structures live; all-zero bytes are a valid sigevent.
    let timer = unsafe {
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_NONE;
        let mut timer = ptr::null_mut();
        sys::check(
            "timer_create",
            libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer),
        )?;
        sys::check(
            "timer_settime",
            libc::timer_settime(timer, 0, &raw const far, ptr::null_mut()),
        )?;
        timer
    };
    stage.hold()?;
    // SAFETY: the timer exists; the kernel writes one structure.
    stage.works(
        "timer_gettime",
        sys::check("timer_gettime", unsafe {
            libc::timer_gettime(timer, &raw mut left)
        }),
    );
    stage.check("time is left", left.it_value.tv_sec > 0, "none");
    Ok(())
}

/// A filter on system calls, which lets all pass.
pub(crate) fn seccomp(stage: &mut Stage, _args: &Args) -> Result<()> {
    let mut allow = libc::sock_filter {
        code: 6,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: &raw mut allow,
    };
    let (option, mode) = (
        usize::try_from(libc::PR_SET_SECCOMP).unwrap_or(0),
        libc::SECCOMP_MODE_FILTER as usize,
    );
    // SAFETY: the kernel copies the program, which lives.
    unsafe {
        sys::raw(
            "prctl",
            libc::SYS_prctl,
            [option, mode, (&raw const program).expose_provenance(), 0, 0],
        )?
    };
    stage.hold()?;
    stage.equal(
        "mode",
        &prctl(libc::PR_GET_SECCOMP, 0)?,
        &(libc::SECCOMP_MODE_FILTER as usize),
    );
    Ok(())
}

/// No privileges may be gained any more.
pub(crate) fn no_new_privs(stage: &mut Stage, _args: &Args) -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    stage.hold()?;
    stage.equal("no_new_privs", &prctl(libc::PR_GET_NO_NEW_PRIVS, 0)?, &1);
    Ok(())
}

/// A signal that comes when the parent ends.
pub(crate) fn parent_death_signal(stage: &mut Stage, _args: &Args) -> Result<()> {
    prctl(
        libc::PR_SET_PDEATHSIG,
        usize::try_from(libc::SIGWINCH).unwrap_or(0),
    )?;
    stage.hold()?;
    let mut signal: c_int = 0;
    let option = usize::try_from(libc::PR_GET_PDEATHSIG).unwrap_or(0);
    // SAFETY: the kernel writes one number.
    stage.works("prctl", unsafe {
        sys::raw(
            "prctl",
            libc::SYS_prctl,
            [option, (&raw mut signal).expose_provenance(), 0, 0, 0],
        )
    });
    stage.equal("signal", &signal, &libc::SIGWINCH);
    Ok(())
}

/// A process that adopts the orphans below it.
pub(crate) fn subreaper(stage: &mut Stage, _args: &Args) -> Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)?;
    stage.hold()?;
    let root = sys::pid();
    let Some(middle) = sys::fork()? else {
        if let Ok(None) = sys::fork() {
            while sys::parent() != root {
                sys::pause();
            }
        }
        sys::exit(0)
    };
    stage.equal(
        "the middle one's end",
        &sys::wait(middle)?,
        &Status::Exited(0),
    );
    stage.equal("the orphan's end", &sys::wait(-1)?, &Status::Exited(0));
    Ok(())
}

/// A nice value.
pub(crate) fn nice(stage: &mut Stage, _args: &Args) -> Result<()> {
    // SAFETY: plain numbers.
    sys::check("setpriority", unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 5)
    })?;
    stage.hold()?;
    // SAFETY: plain numbers.
    stage.equal(
        "nice value",
        &unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) },
        &5,
    );
    Ok(())
}

/// A scheduling policy.
pub(crate) fn scheduler(stage: &mut Stage, _args: &Args) -> Result<()> {
    // SAFETY: all-zero bytes are valid parameters, which live.
    unsafe {
        let parameters: libc::sched_param = std::mem::zeroed();
        sys::check(
            "sched_setscheduler",
            libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters),
        )?;
    }
    stage.hold()?;
    // SAFETY: plain numbers.
    stage.equal(
        "policy",
        &unsafe { libc::sched_getscheduler(0) },
        &libc::SCHED_BATCH,
    );
    Ok(())
}

/// A set of processors to run on.
pub(crate) fn affinity(stage: &mut Stage, _args: &Args) -> Result<()> {
    // SAFETY: all-zero bytes are a valid set, which lives.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(0, &mut set);
        sys::check(
            "sched_setaffinity",
            libc::sched_setaffinity(0, size_of_val(&set), &raw const set),
        )?;
    }
    stage.hold()?;
    // SAFETY: all-zero bytes are a valid set, which the kernel fills.
    let count = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        sys::check(
            "sched_getaffinity",
            libc::sched_getaffinity(0, size_of_val(&set), &raw mut set),
        )?;
        libc::CPU_COUNT(&set)
    };
    stage.equal("processors", &count, &1);
    Ok(())
}

/// A timer slack.
pub(crate) fn timer_slack(stage: &mut Stage, _args: &Args) -> Result<()> {
    const NANOSECONDS: usize = 777_777;
    prctl(libc::PR_SET_TIMERSLACK, NANOSECONDS)?;
    stage.hold()?;
    stage.equal(
        "timer slack",
        &prctl(libc::PR_GET_TIMERSLACK, 0)?,
        &NANOSECONDS,
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

/// A child in a uts namespace of its own.
pub(crate) fn namespace(stage: &mut Stage, _args: &Args) -> Result<()> {
    let child = stage.spawn_ready("child", |child| {
        // SAFETY: plain numbers; the name lives.
        unsafe {
            sys::check("unshare", libc::unshare(libc::CLONE_NEWUTS))?;
            sys::check("sethostname", libc::sethostname(c"elsewhere".as_ptr(), 9))?;
        }
        child.hold()?;
        let name =
            fs::read_to_string("/proc/sys/kernel/hostname").map_err(Error::from_io("read"))?;
        child.equal("hostname", &name.as_str(), &"elsewhere\n");
        Ok(())
    })?;
    stage.hold()?;
    dismiss(stage, &child)
}
