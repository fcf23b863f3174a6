//! The file systems of the guest.

use std::ffi::CString;
use std::fs;
use std::path::Path;

use crossthaw_protocol::{IMAGE_DIR, SCENARIO_DIR};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};

use crate::error::{Context, Result};

/// Where the cgroup v2 hierarchy is.
pub(crate) const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// Where debugfs is.
pub(crate) const DEBUGFS: &str = "/sys/kernel/debug";

/// Where a shared folder of the host is, in shell mode.
const SHARE_DIR: &str = "/share";

/// Tag of the shared folder on the host's side.
const SHARE_TAG: &str = "share";

fn mount_at(source: &str, target: &str, kind: &str, flags: MountFlags, data: &str) -> Result<()> {
    fs::create_dir_all(target).context(|| format!("create {target}"))?;
    let data = CString::new(data).unwrap_or_default();
    match mount(source, target, kind, flags, data.as_c_str()) {
        // The kernel may have mounted /dev itself.
        Err(Errno::BUSY) => Ok(()),
        other => other.context(|| format!("mount {kind} on {target}")),
    }
}

/// Mount everything that the agent and the workloads need; goes on after a failure and returns all of them.
pub(crate) fn mount_all() -> Vec<crate::error::AgentError> {
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    [
        mount_at("proc", "/proc", "proc", quiet, ""),
        mount_at("sysfs", "/sys", "sysfs", quiet, ""),
        mount_at(
            "devtmpfs",
            "/dev",
            "devtmpfs",
            MountFlags::NOSUID,
            "mode=0755",
        ),
        mount_at("cgroup2", CGROUP_ROOT, "cgroup2", quiet, ""),
        mount_at("tmpfs", "/tmp", "tmpfs", MountFlags::empty(), "mode=1777"),
        mount_at(
            "tmpfs",
            IMAGE_DIR,
            "tmpfs",
            MountFlags::empty(),
            "mode=0700,size=90%",
        ),
        mount_scenario(),
    ]
    .into_iter()
    .filter_map(std::result::Result::err)
    .collect()
}

/// debugfs, mounted as long as the value lives: the trees' mounts are the same in every flavor.
#[derive(Debug)]
pub(crate) struct Debugfs;

impl Debugfs {
    /// `None` if the kernel has none; those that have it make its folder in sysfs.
    pub(crate) fn mount() -> Result<Option<Self>> {
        if !Path::new(DEBUGFS).exists() {
            return Ok(None);
        }
        let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount_at("debugfs", DEBUGFS, "debugfs", quiet, "").map(|()| Some(Self))
    }
}

impl Drop for Debugfs {
    fn drop(&mut self) {
        if let Err(error) = unmount(DEBUGFS, UnmountFlags::empty()) {
            crate::say(&format!("cannot unmount {DEBUGFS}: {error}"));
        }
    }
}

/// Mount an empty tmpfs as the scenario's folder.
///
/// Anybody may write there: a workload reports after it has changed its credentials.
pub(crate) fn mount_scenario() -> Result<()> {
    mount_at(
        "tmpfs",
        SCENARIO_DIR,
        "tmpfs",
        MountFlags::empty(),
        "mode=0777,size=90%",
    )
}

/// Mount the guest's `/dev` and a `/proc` in the scenario's folder, which is to be a root directory.
pub(crate) fn mount_in_scenario() -> Result<()> {
    let dev = format!("{SCENARIO_DIR}/dev");
    mount_bind("/dev", &dev).context(|| format!("mount /dev on {dev}"))?;
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let proc = format!("{SCENARIO_DIR}/proc");
    mount("proc", proc.as_str(), "proc", quiet, c"").context(|| format!("mount proc on {proc}"))
}

/// Replace the scenario's folder by an empty one, in which the offsets of directory entries begin anew.
pub(crate) fn renew_scenario() -> Result<()> {
    match unmount(SCENARIO_DIR, UnmountFlags::DETACH) {
        // Not mounted.
        Err(Errno::INVAL) => {}
        other => other.context(|| format!("unmount {SCENARIO_DIR}"))?,
    }
    mount_scenario()
}

/// How a folder of the host comes into the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// virtiofsd: byte orders agree.
    Virtiofs,
    /// 9p over virtio.
    Plan9,
}

/// Mount the shared folder; returns where.
pub(crate) fn mount_share(share: Share) -> Result<&'static Path> {
    let (kind, data) = match share {
        Share::Virtiofs => ("virtiofs", ""),
        Share::Plan9 => (
            "9p",
            "trans=virtio,version=9p2000.L,msize=262144,access=any",
        ),
    };
    mount_at(SHARE_TAG, SHARE_DIR, kind, MountFlags::NODEV, data)?;
    Ok(Path::new(SHARE_DIR))
}
