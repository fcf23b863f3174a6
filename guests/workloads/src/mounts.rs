//! What a process has mounted, unmounted or changed in the mount namespace of its container.

use std::ffi::{CString, c_char, c_ulong};
use std::fs;
use std::path::Path;
use std::ptr;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys;

/// A mount that every guest has.
const OUTER: &str = "/tmp";
/// One that is mounted on another.
const DEEP: &str = "/sys/fs/cgroup";
const PROC: &str = "/proc";
/// What a guest's `/proc` is mounted with.
const PROC_FLAGS: c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

fn mount(source: &str, target: &str, kind: &str, flags: c_ulong, data: &str) -> Result<()> {
    let text = |text: &str| sys::c_path(text.as_ref());
    let [source, target, kind, data] = [text(source)?, text(target)?, text(kind)?, text(data)?];
    let or_null = |text: &CString| -> *const c_char {
        if text.is_empty() {
            ptr::null()
        } else {
            text.as_ptr()
        }
    };
    // SAFETY: the strings live until the call returns, and null is allowed for what is not said.
    let ret = unsafe {
        libc::mount(
            or_null(&source),
            target.as_ptr(),
            or_null(&kind),
            flags,
            or_null(&data).cast(),
        )
    };
    sys::check("mount", ret).map(drop)
}

fn unmount(target: &str) -> Result<()> {
    let target = sys::c_path(target.as_ref())?;
    // SAFETY: the string ends with a zero byte.
    sys::check("umount2", unsafe { libc::umount2(target.as_ptr(), 0) }).map(drop)
}

fn folder(stage: &Stage, name: &str) -> Result<String> {
    let path = stage.path(name);
    fs::create_dir(&path).map_err(Error::from_io("make a folder"))?;
    Ok(path.to_string_lossy().into_owned())
}

fn tmpfs(target: &str) -> Result<()> {
    mount("tmpfs", target, "tmpfs", 0, "size=64k")
}

fn bind(source: &str, target: &str) -> Result<()> {
    mount(source, target, "", libc::MS_BIND, "")
}

fn remount(target: &str, flags: c_ulong) -> Result<()> {
    let how = libc::MS_BIND | libc::MS_REMOUNT;
    mount("", target, "", how | flags, "")
}

fn propagate(target: &str, flag: c_ulong) -> Result<()> {
    mount("", target, "", flag, "")
}

/// What the kernel shows of them. Where /proc was covered, that it is not there.
fn shown() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap_or_else(|error| error.to_string())
}

fn change(stage: &Stage, what: &str) -> Result<()> {
    match what {
        "tmpfs" => tmpfs(&folder(stage, "own")?),
        "bind" => bind(&folder(stage, "from")?, &folder(stage, "to")?),
        "over" => bind(&folder(stage, "from")?, OUTER),
        "deep" => bind(&folder(stage, "from")?, DEEP),
        "replaced" => unmount(OUTER).and_then(|()| tmpfs(OUTER)),
        "proc" => bind(&folder(stage, "from")?, "/proc/sys"),
        "no-proc" => tmpfs(PROC),
        "proc-options" => mount(
            "",
            PROC,
            "",
            libc::MS_REMOUNT | PROC_FLAGS,
            "hidepid=invisible",
        ),
        "proc-flags" => remount(PROC, PROC_FLAGS | libc::MS_RDONLY),
        "proc-system" => {
            let how = libc::MS_REMOUNT | PROC_FLAGS;
            mount("", PROC, "", how | libc::MS_RDONLY, "")?;
            remount(PROC, PROC_FLAGS)
        }
        "outer-proc" => unmount(PROC),
        "unmounted" => unmount(OUTER),
        "moved" => mount(OUTER, &folder(stage, "to")?, "", libc::MS_MOVE, ""),
        "read-only" => remount(OUTER, libc::MS_RDONLY),
        "shared" => propagate(OUTER, libc::MS_SHARED),
        "slave" => {
            let peer = folder(stage, "peer")?;
            propagate(OUTER, libc::MS_SHARED)?;
            bind(OUTER, &peer)?;
            propagate(OUTER, libc::MS_SLAVE)
        }
        "root" => remount("/", libc::MS_RDONLY),
        "unbindable" => propagate(OUTER, libc::MS_UNBINDABLE),
        other => Err(Error::Argument(format!("what={other}"))),
    }
}

/// The process has changed one thing, which nobody else sees.
pub(crate) fn changed(stage: &mut Stage, args: &Args) -> Result<()> {
    change(stage, args.text("what", "tmpfs"))?;
    let before = shown();
    stage.hold()?;
    stage.equal("mounts", &shown(), &before);
    Ok(())
}

/// All that was changed is as it was.
pub(crate) fn undone(stage: &mut Stage, _args: &Args) -> Result<()> {
    let own = folder(stage, "own")?;
    tmpfs(&own)?;
    unmount(&own)?;
    bind(&own, OUTER)?;
    unmount(OUTER)?;
    remount(OUTER, libc::MS_RDONLY)?;
    remount(OUTER, 0)?;
    propagate(OUTER, libc::MS_SHARED)?;
    propagate(OUTER, libc::MS_PRIVATE)?;
    stage.hold()?;
    stage.check(
        "mounts",
        Path::new(&own).is_dir() && !shown().contains(&own),
        &shown(),
    );
    Ok(())
}
