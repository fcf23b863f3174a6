//! Signals that were sent and not delivered: the queues of the process and of each thread, with what came with each signal.

use std::ffi::c_int;
use std::sync::Mutex;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys::{self, Pid, Status};

/// What came with a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Info {
    signal: c_int,
    code: c_int,
    pid: Pid,
    uid: u32,
    value: usize,
}

/// Takes the next of these signals, if one is pending.
fn take(signals: &[c_int]) -> Result<Option<Info>> {
    let set = sys::set_of(signals);
    let none = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: all-zero bytes are a valid siginfo_t; everything outlives the call.
    let (taken, info) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        (
            libc::sigtimedwait(&raw const set, &raw mut info, &raw const none),
            info,
        )
    };
    if taken == -1 {
        return match std::io::Error::last_os_error().raw_os_error() {
            Some(libc::EAGAIN) => Ok(None),
            _ => Err(Error::last("sigtimedwait")),
        };
    }
    let queued = info.si_code == libc::SI_QUEUE;
    // SAFETY: signals of kill, tgkill and sigqueue have a sender, those of sigqueue a value, too.
    let (pid, uid, value) = unsafe {
        (
            info.si_pid(),
            info.si_uid(),
            if queued {
                info.si_value().sival_ptr.addr()
            } else {
                0
            },
        )
    };
    Ok(Some(Info {
        signal: taken,
        code: info.si_code,
        pid,
        uid,
        value,
    }))
}

/// Takes all of these signals that are pending, in the order in which the kernel gives them out.
fn take_all(signals: &[c_int]) -> Result<Vec<Info>> {
    let mut all = Vec::new();
    while let Some(info) = take(signals)? {
        all.push(info);
    }
    Ok(all)
}

/// Standard and real-time signals from kill, sigqueue and tgkill, several of one kind, from the process itself and from a child with another
/// user id: all are there, once, in their order, with what came with them; none is left afterwards.
pub(crate) fn pending(stage: &mut Stage, _args: &Args) -> Result<()> {
    let (first, second) = (libc::SIGRTMIN() + 2, libc::SIGRTMIN() + 5);
    let signals = [libc::SIGTERM, libc::SIGCHLD, first, second];
    sys::block(&signals)?;
    let own = sys::pid();
    let child = stage.spawn("child", |child| {
        // SAFETY: plain numbers; the child only sends a signal after that.
        sys::check("setresuid", unsafe { libc::setresuid(7, 0, 0) })?;
        sys::queue(own, second, 0x1234)?;
        child.check("sent", true, "");
        Ok(())
    })?;
    stage.join(&child)?;
    for value in [30, 10, 20] {
        sys::queue(own, first, value)?;
    }
    sys::kill(own, libc::SIGTERM)?;
    // The second one of a standard signal is dropped.
    sys::kill(own, libc::SIGTERM)?;
    sys::kill_thread(own, second)?;
    sys::queue(own, second, usize::MAX)?;
    let mask = sys::pending()?;
    stage.hold()?;
    stage.equal("pending", &sys::pending()?, &mask);
    let from = |signal, code, pid, uid, value| Info {
        signal,
        code,
        pid,
        uid,
        value,
    };
    // The thread's own come first, then the process's; the lower numbers first.
    let expected = [
        // The C library shows SI_TKILL as SI_USER.
        from(second, libc::SI_USER, own, 0, 0),
        from(libc::SIGTERM, libc::SI_USER, own, 0, 0),
        from(first, libc::SI_QUEUE, own, 0, 30),
        from(first, libc::SI_QUEUE, own, 0, 10),
        from(first, libc::SI_QUEUE, own, 0, 20),
        from(second, libc::SI_QUEUE, child.pid, 7, 0x1234),
        from(second, libc::SI_QUEUE, own, 0, usize::MAX),
    ];
    let found = take_all(&[libc::SIGTERM, first, second])?;
    stage.equal("queue", &found.as_slice(), &expected.as_slice());
    stage.equal("left", &(sys::pending()? & !(1 << (libc::SIGCHLD - 1))), &0);
    Ok(())
}

/// What handlers got.
static GOT: Mutex<Vec<(c_int, c_int, usize)>> = Mutex::new(Vec::new());

extern "C" fn got(signal: c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel's siginfo_t, of a signal that came with a value.
    let (code, value) = unsafe { ((*info).si_code, (*info).si_value().sival_ptr.addr()) };
    if let Ok(mut all) = GOT.lock() {
        all.push((signal, code, value));
    }
}

/// Pending signals whose handlers run when they are unblocked, with what came with them; ignored ones are dropped then.
pub(crate) fn delivered(stage: &mut Stage, _args: &Args) -> Result<()> {
    let (handled, ignored) = (libc::SIGRTMIN() + 3, libc::SIGRTMIN() + 4);
    sys::handle_detailed(handled, got, 0)?;
    sys::set_action(ignored, libc::SIG_IGN, 0, &[])?;
    sys::block(&[handled, ignored])?;
    for value in [5, 6, 7] {
        sys::queue(sys::pid(), handled, value)?;
        sys::queue(sys::pid(), ignored, value)?;
    }
    let mask = sys::pending()?;
    stage.hold()?;
    stage.equal("pending", &sys::pending()?, &mask);
    let none = GOT.lock().map_or(9, |got| got.len());
    stage.equal("handled while blocked", &none, &0);
    sys::unblock(&[handled, ignored])?;
    let mut values = GOT.lock().map_or_else(|_| Vec::new(), |got| got.clone());
    values.sort_unstable();
    let expected = [5, 6, 7].map(|value| (handled, libc::SI_QUEUE, value));
    stage.equal("handled", &values.as_slice(), &expected.as_slice());
    stage.equal("left", &sys::pending()?, &0);
    Ok(())
}

/// A child has ended, and the SIGCHLD that tells of it is pending: it says who, and how, once.
pub(crate) fn pending_child(stage: &mut Stage, _args: &Args) -> Result<()> {
    sys::block(&[libc::SIGCHLD])?;
    let Some(pid) = sys::fork()? else {
        sys::exit(31)
    };
    while sys::state(pid)? != 'Z' {
        sys::pause();
    }
    stage.hold()?;
    let set = sys::set_of(&[libc::SIGCHLD]);
    let mut come = Vec::new();
    while sys::pending()? != 0 {
        // SAFETY: all-zero bytes are a valid siginfo_t; everything outlives the call.
        let info = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            libc::sigwaitinfo(&raw const set, &raw mut info);
            info
        };
        // SAFETY: a SIGCHLD has these fields.
        come.push(unsafe { (info.si_code, info.si_pid(), info.si_status()) });
    }
    stage.equal("SIGCHLD", &come, &vec![(libc::CLD_EXITED, pid, 31)]);
    stage.equal("its end", &sys::wait(pid)?, &Status::Exited(31));
    stage.equal("none for the wait", &sys::pending()?, &0);
    Ok(())
}
