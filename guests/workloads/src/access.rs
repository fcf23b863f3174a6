//! Who may call checkpoint(2) and restart(2).

use std::ffi::c_long;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::args::Args;
use crate::error::{Error, Result};
use crate::memfd;
use crate::mounts::{enter, mount, unmount};
use crate::simple::{SYS_CHECKPOINT, checkpoint};
use crate::stage::Stage;
use crate::sys::{self, Pid, Status};
use crate::zombies::await_end;

/// The number of restart(2), everywhere.
const SYS_RESTART: c_long = SYS_CHECKPOINT + 1;
/// `RESTART_MEMBER`.
const RESTART_MEMBER: c_long = 1;

/// A user without privileges.
const SOMEBODY: libc::uid_t = 1000;

/// What a child of this user gets from a system call: 0, or the errno.
fn as_user(user: libc::uid_t, call: impl FnOnce() -> c_long) -> Result<Status> {
    as_user_after(|| Ok(()), user, call)
}

/// The same, and as root it does something before.
fn as_user_after(
    before: impl FnOnce() -> Result<()>,
    user: libc::uid_t,
    call: impl FnOnce() -> c_long,
) -> Result<Status> {
    let Some(pid) = sys::fork()? else {
        if before().is_err() {
            sys::exit(253)
        }
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

/// A cgroup of its own, below that of the guest; it is removed in the end.
struct Frozen(PathBuf);

impl Frozen {
    fn with(pids: &[Pid]) -> Result<Self> {
        let cgroup = Self(PathBuf::from("/sys/fs/cgroup/others"));
        fs::create_dir(&cgroup.0).map_err(Error::from_io("make a cgroup"))?;
        for pid in pids {
            cgroup.write("cgroup.procs", &pid.to_string())?;
        }
        cgroup.write("cgroup.freeze", "1")?;
        let events = cgroup.0.join("cgroup.events");
        let frozen = || -> Result<bool> {
            let text = fs::read_to_string(&events).map_err(Error::from_io("read events"))?;
            Ok(text.contains("frozen 1"))
        };
        while !frozen()? {
            sys::pause();
        }
        Ok(cgroup)
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        fs::write(self.0.join(file), text).map_err(Error::from_io("write to a cgroup"))
    }

    /// Kill them, and wait for them.
    fn end(self, pids: &[Pid]) -> Result<()> {
        self.write("cgroup.kill", "1")?;
        for &pid in pids {
            sys::wait(pid)?;
        }
        let removed = || fs::remove_dir(&self.0);
        // One that was waited for leaves it a moment later.
        while removed().is_err_and(|error| error.kind() == ErrorKind::ResourceBusy) {
            sys::pause();
        }
        Ok(())
    }
}

/// Have a child that has ended, of this user.
fn zombie(user: libc::uid_t) {
    if let Ok(Some(child)) = sys::fork() {
        let _ = await_end(child);
    } else {
        // SAFETY: plain numbers.
        unsafe { libc::setresuid(user, user, user) };
        sys::exit(0)
    }
}

/// A child that [`SOMEBODY`] may trace, and that did something before as root.
fn traceable(before: impl FnOnce()) -> Result<Pid> {
    let Some(pid) = sys::fork()? else {
        before();
        // SAFETY: plain numbers.
        unsafe {
            libc::setresuid(SOMEBODY, SOMEBODY, SOMEBODY);
            libc::prctl(libc::PR_SET_DUMPABLE, 1);
        }
        loop {
            sys::suspend(libc::SIGUSR2);
        }
    };
    // The folder itself is the user's before the child may be traced.
    let file = format!("/proc/{pid}/stat");
    let owner = || -> Result<u32> {
        let file = fs::metadata(&file).map_err(Error::from_io("look at a child"))?;
        Ok(file.uid())
    };
    while owner()? != SOMEBODY {
        sys::pause();
    }
    Ok(pid)
}

/// A task of another user's cannot be checkpointed, nor one of the caller's that has a child of another user's, even one that has ended.
pub(crate) fn others(stage: &mut Stage, _args: &Args) -> Result<()> {
    let roots = stage.spawn_ready("roots", |child| {
        child.hold()?;
        child.check("is resumed", true, "");
        Ok(())
    })?;
    let image = memfd::create(c"image", 0)?;
    let by_user = |pid| as_user(SOMEBODY, || checkpoint(pid, image.as_raw_fd()));
    stage.equal("root's", &by_user(roots.pid)?, &Status::Exited(libc::EPERM));
    stage.equal(
        "nobody's",
        &by_user(Pid::MAX)?,
        &Status::Exited(libc::ESRCH),
    );
    let pids = [
        traceable(|| ())?,
        traceable(|| zombie(0))?,
        traceable(|| zombie(SOMEBODY + 1))?,
    ];
    let frozen = Frozen::with(&pids)?;
    stage.equal("their own", &by_user(pids[0])?, &Status::Exited(0));
    let expected = Status::Exited(libc::EPERM);
    stage.equal("with a zombie of root's", &by_user(pids[1])?, &expected);
    stage.equal("with one of nobody's", &by_user(pids[2])?, &expected);
    frozen.end(&pids)?;
    // The init of a container has what they left.
    sys::wait(-1)?;
    sys::wait(-1)?;
    drop(image);
    stage.hold()?;
    roots.resume()?;
    stage.join(&roots)
}

/// A tmpfs with a folder with a file of root's: permissions of these three.
fn hide(root: &Path, permissions: [u32; 3]) -> Result<()> {
    mount("tmpfs", &root.to_string_lossy(), "tmpfs", 0, "")?;
    let folder = root.join("folder");
    let fill = || {
        fs::create_dir(&folder)?;
        fs::write(folder.join("file"), "what root has written")?;
        let all = [&folder.join("file"), &folder, root];
        let mut all = all.into_iter().zip(permissions);
        all.try_for_each(|(path, mode)| fs::set_permissions(path, Permissions::from_mode(mode)))
    };
    fill().map_err(Error::from_io("fill a tmpfs"))
}

/// What a user may not read in a tmpfs that their tasks have is in no image of theirs.
pub(crate) fn contents(stage: &mut Stage, _args: &Args) -> Result<()> {
    let image = memfd::create(c"image", 0)?;
    let home = stage.path("");
    let closed = stage.path("closed/own");
    fs::create_dir_all(&closed).map_err(Error::from_io("make folders"))?;
    fs::set_permissions(stage.path("closed"), Permissions::from_mode(0o700))
        .map_err(Error::from_io("chmod"))?;
    // The callers have a namespace of before the tmpfs came.
    let open = || fs::File::open("/proc/self/ns/mnt").map_err(Error::from_io("open a namespace"));
    let own = open()?;
    sys::unshare(libc::CLONE_NEWNS)?;
    let outer = open()?;
    enter(&own, &home)?;
    let by = |user, pid| {
        let call = || checkpoint(pid, image.as_raw_fd());
        as_user_after(|| enter(&outer, &home), user, call)
    };
    let (works, refused) = (Status::Exited(0), Status::Exited(libc::EPERM));
    let readable = Path::new("/tmp");
    for (what, root, permissions, expected) in [
        ("what all may read", readable, [0o644, 0o755, 0o755], works),
        ("a file of root's", readable, [0o600, 0o755, 0o755], refused),
        (
            "a folder of root's",
            readable,
            [0o644, 0o711, 0o755],
            refused,
        ),
        ("all of it", readable, [0o644, 0o755, 0o700], refused),
        ("out of reach", &closed, [0o644, 0o755, 0o755], refused),
    ] {
        hide(root, permissions)?;
        // A namespace that is open has no record.
        let without = || {
            for fd in [own.as_raw_fd(), outer.as_raw_fd()] {
                let _ = sys::close(fd);
            }
        };
        let pids = [traceable(without)?];
        let frozen = Frozen::with(&pids)?;
        stage.equal(what, &by(SOMEBODY, pids[0])?, &expected);
        stage.equal("by root", &by(0, pids[0])?, &works);
        frozen.end(&pids)?;
        unmount(&root.to_string_lossy())?;
    }
    drop((image, own, outer));
    stage.hold()
}
