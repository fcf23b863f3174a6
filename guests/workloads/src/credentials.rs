//! Who a process is, what it may do, and how much.

use std::ffi::c_int;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys;

/// Forks a child that is about to give its rights up: what it writes to exists, and its readiness is seen from outside.
fn spawn_unprivileged(
    stage: &mut Stage,
    body: impl FnOnce(&mut Stage) -> Result<()>,
) -> Result<()> {
    let report = stage.path(&format!("{}.child", crossthaw_protocol::REPORT_FILE));
    fs::write(&report, "").map_err(Error::from_io("write"))?;
    let open = stage.path("open");
    fs::create_dir(&open).map_err(Error::from_io("mkdir"))?;
    for (path, mode) in [(&report, 0o666), (&open, 0o777)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(Error::from_io("chmod"))?;
    }
    let child = stage.spawn("child", body)?;
    child.await_sleeping()?;
    stage.hold()?;
    child.resume()?;
    stage.join(&child)
}

/// The lines of `/proc/self/status` that start so.
fn status(starts: &[&str]) -> Result<Vec<String>> {
    let text = fs::read_to_string("/proc/self/status")
        .map_err(Error::from_io("read /proc/self/status"))?;
    Ok(text
        .lines()
        .filter(|line| starts.iter().any(|start| line.starts_with(start)))
        .map(str::to_owned)
        .collect())
}

/// Real, effective, saved and file system ids, supplementary groups; what they allow and what not.
pub(crate) fn ids(stage: &mut Stage, _args: &Args) -> Result<()> {
    for (name, group) in [("ours", 300), ("others", 999)] {
        let path = stage.path(name);
        fs::write(&path, name).map_err(Error::from_io("write"))?;
        chown(&path, Some(0), Some(group)).map_err(Error::from_io("chown"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o040))
            .map_err(Error::from_io("chmod"))?;
    }
    spawn_unprivileged(stage, |child| {
        let groups: [libc::gid_t; 3] = [100, 300, 70_000];
        // SAFETY: plain numbers, and an array as long as said.
        unsafe {
            sys::check("setgroups", libc::setgroups(groups.len(), groups.as_ptr()))?;
            sys::check("setresgid", libc::setresgid(1001, 1002, 1003))?;
            sys::check("setresuid", libc::setresuid(2001, 2002, 2003))?;
            libc::setfsgid(1003);
            libc::setfsuid(2003);
        }
        let shown = || status(&["Uid:", "Gid:", "Groups:", "Cap"]);
        let before = shown()?;
        if before[0] != "Uid:\t2001\t2002\t2003\t2003" {
            return Err(Error::Situation(format!("ids are {before:?}")));
        }
        let dumpable = sys::prctl(libc::PR_GET_DUMPABLE, 0)?;
        child.wait_resume()?;
        child.equal("ids, groups and capabilities", &shown()?, &before);
        child.equal(
            "dumpable",
            &sys::prctl(libc::PR_GET_DUMPABLE, 0)?,
            &dumpable,
        );
        child.equal(
            "what a supplementary group may read",
            &fs::read_to_string(child.path("ours")).ok().as_deref(),
            &Some("ours"),
        );
        child.equal(
            "what another group may read",
            &fs::read_to_string(child.path("others")).is_err(),
            &true,
        );
        let path = child.path("open/made");
        if child
            .works(
                "create a file",
                File::create(&path).map_err(Error::from_io("create")),
            )
            .is_some()
        {
            let made = fs::metadata(&path).map_err(Error::from_io("stat"))?;
            child.equal(
                "its owner and group",
                &(made.uid(), made.gid()),
                &(2003, 1003),
            );
        }
        child.equal(
            "a second process of a user who may have one",
            &second_process()?,
            &Err(libc::EAGAIN),
        );
        // SAFETY: plain numbers.
        child.equal(
            "becoming root again",
            &unsafe { libc::setresuid(0, 0, 0) },
            &-1,
        );
        Ok(())
    })
}

/// Forks where `RLIMIT_NPROC` allows one process of the user: is it this user to whom the caller is counted?
fn second_process() -> Result<std::result::Result<(), c_int>> {
    let (soft, hard) = limit(libc::RLIMIT_NPROC)?;
    let set = |soft| {
        let limit = libc::rlimit64 {
            rlim_cur: soft,
            rlim_max: hard,
        };
        // SAFETY: the structure lives.
        sys::check("setrlimit", unsafe {
            libc::setrlimit64(libc::RLIMIT_NPROC, &raw const limit)
        })
    };
    set(1)?;
    // SAFETY: the child ends at once and touches nothing.
    let forked = match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or_default()),
        // SAFETY: as above.
        0 => unsafe { libc::_exit(0) },
        pid => {
            // SAFETY: no status is asked for.
            sys::check("waitpid", unsafe {
                libc::waitpid(pid, std::ptr::null_mut(), 0)
            })?;
            Ok(())
        }
    };
    set(soft)?;
    Ok(forked)
}

const CAP_CHOWN: u32 = 0;
const CAP_KILL: u32 = 5;
const CAP_NET_RAW: u32 = 13;
const CAP_SYS_CHROOT: u32 = 18;
const CAP_SYS_TIME: u32 = 25;

/// `SECBIT_NO_SETUID_FIXUP` and `SECBIT_KEEP_CAPS`.
const SECUREBITS: usize = 1 << 2 | 1 << 4;

/// capset(2) of the caller; the sets fit 32 bits.
fn capset(effective: u32, permitted: u32, inheritable: u32) -> Result<()> {
    // struct __user_cap_header_struct (version 3, pid 0) and two of struct __user_cap_data_struct.
    let header = [0x2008_0522_u32, 0];
    let data = [effective, permitted, inheritable, 0, 0, 0];
    let arguments = [
        header.as_ptr().expose_provenance(),
        data.as_ptr().expose_provenance(),
        0,
        0,
        0,
    ];
    // SAFETY: both structures live.
    unsafe { sys::raw("capset", libc::SYS_capset, arguments).map(drop) }
}

/// Effective, permitted, inheritable, bounding and ambient capabilities, secure bits; what they allow and what not.
pub(crate) fn capabilities(stage: &mut Stage, _args: &Args) -> Result<()> {
    fs::write(stage.path("owned"), "").map_err(Error::from_io("write"))?;
    spawn_unprivileged(stage, |child| {
        sys::prctl(libc::PR_CAPBSET_DROP, CAP_SYS_TIME as usize)?;
        sys::prctl(libc::PR_SET_SECUREBITS, SECUREBITS)?;
        // SAFETY: plain numbers.
        sys::check("setresuid", unsafe { libc::setresuid(3000, 3000, 3000) })?;
        let permitted = 1 << CAP_CHOWN | 1 << CAP_KILL | 1 << CAP_NET_RAW | 1 << CAP_SYS_CHROOT;
        capset(
            1 << CAP_CHOWN | 1 << CAP_KILL,
            permitted,
            1 << CAP_CHOWN | 1 << CAP_NET_RAW,
        )?;
        let (ambient, raise) = (
            usize::try_from(libc::PR_CAP_AMBIENT).unwrap_or(0),
            usize::try_from(libc::PR_CAP_AMBIENT_RAISE).unwrap_or(0),
        );
        // SAFETY: plain numbers.
        unsafe {
            sys::raw(
                "prctl",
                libc::SYS_prctl,
                [ambient, raise, CAP_CHOWN as usize, 0, 0],
            )?
        };
        let before = status(&["Cap"])?;
        child.wait_resume()?;
        child.equal("capabilities", &status(&["Cap"])?, &before);
        child.equal(
            "secure bits",
            &sys::prctl(libc::PR_GET_SECUREBITS, 0)?,
            &SECUREBITS,
        );
        let path = child.path("owned");
        child.works(
            "chown, which is effective",
            chown(&path, Some(77), None).map_err(Error::from_io("chown")),
        );
        child.equal(
            "chroot, which is permitted only",
            &std::os::unix::fs::chroot("/").is_err(),
            &true,
        );
        let raised = capset(
            1 << CAP_CHOWN | 1 << CAP_KILL | 1 << CAP_SYS_CHROOT,
            permitted,
            1 << CAP_CHOWN | 1 << CAP_NET_RAW,
        );
        child.works("capset to what is permitted", raised);
        child.works(
            "chroot, effective now",
            std::os::unix::fs::chroot("/").map_err(Error::from_io("chroot")),
        );
        child.equal(
            "capset to what is not permitted",
            &capset(1 << CAP_SYS_TIME, permitted | 1 << CAP_SYS_TIME, 0).is_err(),
            &true,
        );
        Ok(())
    })
}

/// `RLIM_NLIMITS`.
const LIMITS: u32 = 16;

/// Reads a limit: soft and hard.
fn limit(resource: u32) -> Result<(u64, u64)> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one structure.
    sys::check("getrlimit", unsafe {
        libc::getrlimit64(resource, &raw mut limit)
    })?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Who may trace a process and take its core: what the root chose after its credentials changed, and a child that chose to be closed.
pub(crate) fn dumpable(stage: &mut Stage, _args: &Args) -> Result<()> {
    let child = stage.spawn_ready("closed", |child| {
        set_dumpable(0)?;
        child.hold()?;
        child.equal("dumpable", &get_dumpable(), &0);
        Ok(())
    })?;
    // A change of the effective group closes the process, which opens itself again.
    // SAFETY: plain numbers.
    sys::check("setegid", unsafe { libc::setegid(1000) })?;
    let closed = get_dumpable();
    set_dumpable(1)?;
    stage.hold()?;
    stage.equal(
        "dumpable after the change of the group, and after it was chosen",
        &(closed, get_dumpable()),
        &(0, 1),
    );
    child.resume()?;
    stage.join(&child)
}

/// `PR_GET_DUMPABLE`
fn get_dumpable() -> c_int {
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE) }
}

/// `PR_SET_DUMPABLE`
fn set_dumpable(dumpable: c_int) -> Result<()> {
    // SAFETY: no pointers.
    let returned = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, dumpable) };
    sys::check("prctl", returned).map(drop)
}

/// All sixteen limits, soft and hard, each with a value of its own; and one of them at work.
pub(crate) fn rlimits(stage: &mut Stage, _args: &Args) -> Result<()> {
    let child = stage.spawn_ready("child", |child| {
        for resource in 0..LIMITS {
            let (_, hard) = limit(resource)?;
            let (soft, hard) = chosen(resource, hard);
            let limit = libc::rlimit64 {
                rlim_cur: soft,
                rlim_max: hard,
            };
            // SAFETY: the structure lives.
            sys::check("setrlimit", unsafe {
                libc::setrlimit64(resource, &raw const limit)
            })?;
        }
        let all = || (0..LIMITS).map(limit).collect::<Result<Vec<_>>>();
        let before = all()?;
        child.hold()?;
        for (resource, (found, expected)) in all()?.iter().zip(&before).enumerate() {
            child.equal(&format!("limit {resource}"), found, expected);
        }
        let path = child.path("any");
        fs::write(&path, "").map_err(Error::from_io("write"))?;
        let fd = sys::open(&path, libc::O_RDONLY)?;
        // SAFETY: plain numbers.
        let (last, beyond) = unsafe { (libc::dup2(fd, 299), libc::dup2(fd, 300)) };
        child.equal(
            "the last descriptor below the limit, and the next one",
            &(last, beyond),
            &(299, -1),
        );
        Ok(())
    })?;
    stage.hold()?;
    child.resume()?;
    stage.join(&child)
}

/// The limits that [`rlimits`] sets: large enough to live with, and fit for 32 bits.
fn chosen(resource: u32, hard: u64) -> (u64, u64) {
    let number = u64::from(resource);
    let (soft, wanted) = match resource {
        libc::RLIMIT_NOFILE => (300, 400),
        libc::RLIMIT_NICE | libc::RLIMIT_RTPRIO => (number % 3, number % 3 + 4),
        libc::RLIMIT_NPROC => (3000, 3500),
        libc::RLIMIT_STACK => (8 << 20, (8 << 20) + 4096 * number),
        _ => ((1 << 30) + 4096 * number, (1 << 30) + 8192 * (number + 1)),
    };
    (soft.min(hard), wanted.min(hard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_in_order() {
        for resource in 0..LIMITS {
            for hard in [0, 350, u64::MAX] {
                let (soft, chosen) = chosen(resource, hard);
                assert!(
                    soft <= chosen && chosen <= hard,
                    "{resource}: {soft} {chosen} {hard}"
                );
            }
        }
    }
}
