//! PID 1 inherits every orphan: all children are reaped here, and the wait statuses kept until somebody asks.
//!
//! SIGCHLD is blocked and arrives through a signalfd, so that whoever waits can wait for it among other things.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{io, ptr};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;

use crate::error::{Context, Result};

/// How many statuses are kept of children that nobody asked about.
const KEPT: usize = 1024;

static STATUSES: Mutex<BTreeMap<i32, i32>> = Mutex::new(BTreeMap::new());
static SIGCHLD: OnceLock<OwnedFd> = OnceLock::new();

fn statuses() -> MutexGuard<'static, BTreeMap<i32, i32>> {
    STATUSES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Block SIGCHLD and open the descriptor that shows it.
pub(crate) fn start() -> Result<()> {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset fills the set, which the later calls only read; a null old set is allowed.
    let fd = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut());
        libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error()).context(|| "open a signalfd".to_owned());
    }
    // SAFETY: the descriptor is new and nobody else's.
    SIGCHLD.get_or_init(|| unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

/// Readable when a child has ended; `None` if [`start`] failed.
pub(crate) fn signal() -> Option<BorrowedFd<'static>> {
    SIGCHLD.get().map(AsFd::as_fd)
}

/// Reap every child that has ended.
pub(crate) fn collect() {
    if let Some(fd) = signal() {
        let mut buf = [0u8; 128];
        while rustix::io::read(fd, &mut buf).is_ok_and(|n| n > 0) {}
    }
    loop {
        let mut status = 0;
        // SAFETY: status is a valid place for the result.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) };
        if pid <= 0 {
            return;
        }
        let mut all = statuses();
        all.insert(pid, status);
        while all.len() > KEPT {
            all.pop_first();
        }
    }
}

/// Forget an earlier child that had this pid.
pub(crate) fn forget(pid: i32) {
    statuses().remove(&pid);
}

/// Forget all children that have ended: their pids may come again.
pub(crate) fn forget_all() {
    collect();
    statuses().clear();
}

/// The wait status of a child that has ended; stays known until it is forgotten.
pub(crate) fn status(pid: i32) -> Option<i32> {
    collect();
    statuses().get(&pid).copied()
}

/// Time that is left until a deadline, for `poll`; `None` waits without end.
pub(crate) fn time_left(deadline: Option<Instant>) -> Option<Timespec> {
    let left = deadline?.saturating_duration_since(Instant::now());
    Some(Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    })
}

/// Why [`wait`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The child has ended, with this wait status.
    Ended(i32),
    /// The other descriptor has something to say.
    Event,
    /// The deadline passed.
    Late,
}

/// Wait until a child ends, `event` becomes readable, or the deadline passes.
pub(crate) fn wait(
    pid: i32,
    event: Option<BorrowedFd<'_>>,
    deadline: Option<Instant>,
) -> Result<Wait> {
    loop {
        if let Some(status) = status(pid) {
            return Ok(Wait::Ended(status));
        }
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Ok(Wait::Late);
        }
        let child = Pid::from_raw(pid)
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
        let child = match child {
            Ok(child) => child,
            // Not our child and gone, or reaped meanwhile.
            Err(error) => match status(pid) {
                Some(status) => return Ok(Wait::Ended(status)),
                None => return Err(error).context(|| format!("watch pid {pid}")),
            },
        };
        let mut fds = vec![PollFd::new(&child, PollFlags::IN)];
        fds.extend(event.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        match poll(&mut fds, time_left(deadline).as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context(|| format!("wait for pid {pid}")),
        }
        if fds[0].revents().is_empty() && fds.get(1).is_some_and(|fd| !fd.revents().is_empty()) {
            return Ok(Wait::Event);
        }
        if !fds[0].revents().is_empty() && status(pid).is_none() {
            // It has ended and its parent, not this process, has its status.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
