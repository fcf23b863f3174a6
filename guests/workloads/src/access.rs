//! Who may call checkpoint(2) and restart(2).

use std::ffi::c_long;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::memfd;
use crate::simple::{SYS_CHECKPOINT, checkpoint};
use crate::stage::Stage;
use crate::sys::{self, Pid, Status};

/// The number of restart(2), everywhere.
const SYS_RESTART: c_long = SYS_CHECKPOINT + 1;
/// `RESTART_MEMBER`.
const RESTART_MEMBER: c_long = 1;

/// A user without privileges.
const SOMEBODY: libc::uid_t = 1000;

/// What a child of this user gets from a system call: 0, or the errno.
fn as_user(user: libc::uid_t, call: impl FnOnce() -> c_long) -> Result<Status> {
    let Some(pid) = sys::fork()? else {
        // SAFETY: plain numbers.
        if user != 0 && unsafe { libc::setresuid(user, user, user) } == -1 {
            sys::exit(255)
        }
        let returned = call();
        let errno = std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(254);
        sys::exit(if returned == -1 { errno } else { 0 })
    };
    sys::wait(pid)
}

/// A sysctl closes both system calls to who has no privilege, and opens them again.
pub(crate) fn sysctl(stage: &mut Stage, _args: &Args) -> Result<()> {
    let path = Path::new("/proc/sys/kernel/unprivileged_checkpoint");
    let set = |text: &str| fs::write(path, text).map_err(Error::from_io("write the sysctl"));
    let image = memfd::create(c"image", 0)?;
    let own = || checkpoint(0, image.as_raw_fd());
    // Nobody's pid: a member that is let in would wait for a coordinator.
    // SAFETY: plain numbers.
    let member = || unsafe { libc::syscall(SYS_RESTART, -1, -1, RESTART_MEMBER, -1) };
    set("0")?;
    let mut found = Vec::new();
    for user in [SOMEBODY, 0] {
        found.push((user, as_user(user, own)?, as_user(user, member)?));
    }
    set("1")?;
    found.push((
        SOMEBODY,
        as_user(SOMEBODY, own)?,
        as_user(SOMEBODY, member)?,
    ));
    let refused = Status::Exited(libc::EPERM);
    let (works, invalid) = (Status::Exited(0), Status::Exited(libc::EINVAL));
    let expected = vec![
        (SOMEBODY, refused, refused),
        (0, works, invalid),
        (SOMEBODY, works, invalid),
    ];
    stage.equal("closed, closed but for root, open", &found, &expected);
    stage.equal("values that are none", &set("2").is_err(), &true);
    drop(image);
    stage.hold()
}

/// A task of another user's cannot be checkpointed.
pub(crate) fn others(stage: &mut Stage, _args: &Args) -> Result<()> {
    let image = memfd::create(c"image", 0)?;
    let roots = stage.spawn_ready("roots", |child| {
        child.hold()?;
        child.check("is resumed", true, "");
        Ok(())
    })?;
    let of_roots = as_user(SOMEBODY, || checkpoint(roots.pid, image.as_raw_fd()))?;
    stage.equal("root's", &of_roots, &Status::Exited(libc::EPERM));
    let nobody = as_user(SOMEBODY, || checkpoint(Pid::MAX, image.as_raw_fd()))?;
    stage.equal("nobody's", &nobody, &Status::Exited(libc::ESRCH));
    drop(image);
    stage.hold()?;
    roots.resume()?;
    stage.join(&roots)
}
