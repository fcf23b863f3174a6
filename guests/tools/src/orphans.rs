//! Whatever goes wrong, no task is left behind: the tool adopts orphans, and can end and reap all its children.

use std::time::{Duration, Instant};
use std::{fs, io, ptr};

/// Between two looks at children that end.
const PAUSE: Duration = Duration::from_millis(1);

/// Become the parent of every descendant whose own parent ends.
pub fn adopt() -> io::Result<()> {
    // SAFETY: prctl with numbers only.
    if unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A wait status, as `waitpid` gives it.
pub type Status = i32;

/// Wait for a child; its wait status.
pub fn wait(pid: i32) -> io::Result<Status> {
    let mut status = 0;
    loop {
        // SAFETY: status is a valid place for the result.
        if unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } != -1 {
            return Ok(status);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Exit code as a shell gives it: 128 + signal for a killed task.
pub fn exit_code(status: Status) -> i32 {
    if libc::WIFSIGNALED(status) {
        128 + libc::WTERMSIG(status)
    } else {
        libc::WEXITSTATUS(status)
    }
}

/// Reap children until there is none, which nobody here kills; whether that comes in time.
pub fn none_left(patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        // SAFETY: a null status is allowed.
        match unsafe { libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG | libc::__WALL) } {
            -1 if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted => return true,
            0 if Instant::now() >= deadline => return false,
            0 => std::thread::sleep(PAUSE),
            _ => {}
        }
    }
}

fn children() -> Vec<i32> {
    let text = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Kill and reap all children, and what they leave behind, until there is none.
///
/// `known` are killed even where /proc does not list children.
pub fn end_all(known: &[i32]) {
    let mut targets = known.to_vec();
    loop {
        targets.extend(children());
        for pid in targets.drain(..) {
            // SAFETY: numbers only. The pids are those of children that were not waited for yet, so nobody else has them.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        if wait(-1).is_err() {
            return;
        }
    }
}
