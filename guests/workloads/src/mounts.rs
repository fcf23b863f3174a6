//! What a process has mounted, unmounted or changed in the mount namespace of its container.

use std::ffi::{CString, c_char, c_ulong};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
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

pub(crate) fn mount(
    source: &str,
    target: &str,
    kind: &str,
    flags: c_ulong,
    data: &str,
) -> Result<()> {
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

pub(crate) fn unmount(target: &str) -> Result<()> {
    let target = sys::c_path(target.as_ref())?;
    // SAFETY: the string ends with a zero byte.
    sys::check("umount2", unsafe { libc::umount2(target.as_ptr(), 0) }).map(drop)
}

pub(crate) fn folder(stage: &Stage, name: &str) -> Result<String> {
    let path = stage.path(name);
    fs::create_dir(&path).map_err(Error::from_io("make a folder"))?;
    Ok(path.to_string_lossy().into_owned())
}

fn tmpfs(target: &str) -> Result<()> {
    mount("tmpfs", target, "tmpfs", 0, "size=64k")
}

pub(crate) fn bind(source: &str, target: &str) -> Result<()> {
    mount(source, target, "", libc::MS_BIND, "")
}

fn remount(target: &str, flags: c_ulong) -> Result<()> {
    let how = libc::MS_BIND | libc::MS_REMOUNT;
    mount("", target, "", how | flags, "")
}

fn propagate(target: &str, flag: c_ulong) -> Result<()> {
    mount("", target, "", flag, "")
}

/// What the kernel shows of them, without numbers. Where /proc was covered, that it is not there.
pub(crate) fn shown() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_else(|error| error.to_string());
    // Numbers of the mount, of what it is on, and of the device.
    let named = |line: &str| line.splitn(4, ' ').last().map(str::to_owned);
    let mut all: Vec<_> = text.lines().filter_map(named).collect();
    all.sort();
    all
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
        "moved" => {
            let (own, to) = (folder(stage, "own")?, folder(stage, "to")?);
            tmpfs(&own)?;
            mount(&own, &to, "", libc::MS_MOVE, "")
        }
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
        other => combine(stage, other),
    }
}

/// What takes several changes.
fn combine(stage: &Stage, what: &str) -> Result<()> {
    match what {
        "options" => {
            let (own, second) = (folder(stage, "own")?, folder(stage, "second")?);
            let data = "size=1m,nr_inodes=50,mode=710,uid=1,gid=2";
            let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_NOATIME;
            mount("some name", &own, "tmpfs", flags, data)?;
            bind(&own, &second)?;
            remount(&second, libc::MS_RDONLY | libc::MS_STRICTATIME)
        }
        "in-order" => {
            let (from, to) = (folder(stage, "from")?, folder(stage, "to")?);
            folder(stage, "from/inner")?;
            bind(&from, &to)?;
            tmpfs(&format!("{to}/inner"))?;
            bind(&from, OUTER)
        }
        "around" => {
            let own = folder(stage, "around").and_then(|around| {
                tmpfs(&folder(stage, "around/own")?)?;
                Ok(around)
            })?;
            mount(&own, &own, "", libc::MS_BIND | libc::MS_REC, "")
        }
        "source-gone" => {
            bind(OUTER, &folder(stage, "to")?)?;
            unmount(OUTER)
        }
        "own-proc" => {
            // Below the second /proc, which covers what is bound.
            unmount(PROC)?;
            bind("/proc/sys", &folder(stage, "to")?)?;
            mount("proc", PROC, "proc", PROC_FLAGS, "")
        }
        "deleted" => {
            let file = |name: &str| {
                let path = stage.path(name).to_string_lossy().into_owned();
                fs::write(&path, name).map_err(Error::from_io("write a file"))?;
                Ok::<_, Error>(path)
            };
            let (from, to, other) = (file("from")?, file("to")?, file("other")?);
            bind(&from, &to)?;
            fs::rename(&other, &from).map_err(Error::from_io("replace a file"))
        }
        "moved-over" => {
            folder(stage, "tree")?;
            let (from, inner) = (folder(stage, "from")?, folder(stage, "tree/inner")?);
            folder(stage, "from/inner")?;
            bind(&from, &from)?;
            tmpfs(&inner)?;
            let tree = stage.path("tree").to_string_lossy().into_owned();
            mount(&from, &tree, "", libc::MS_MOVE, "")
        }
        "synchronous" => {
            let own = folder(stage, "own")?;
            mount("tmpfs", &own, "tmpfs", libc::MS_SYNCHRONOUS, "")
        }
        "part" => {
            let (own, part) = (folder(stage, "own")?, folder(stage, "part")?);
            tmpfs(&own)?;
            let inner = folder(stage, "own/inner")?;
            bind(&inner, &part)?;
            fs::remove_dir(&inner).map_err(Error::from_io("remove a folder"))
        }
        "covered-source" => {
            folder(stage, "tree")?;
            let (from, to) = (folder(stage, "tree/from")?, folder(stage, "to")?);
            bind(&from, &to)?;
            bind(&to, &stage.path("tree").to_string_lossy())?;
            bind(&to, &folder(stage, "third")?)
        }
        other => Err(Error::Argument(format!("what={other}"))),
    }
}

fn writes(path: &str, len: usize) -> std::io::Result<()> {
    fs::write(path, vec![1; len])
}

/// What was changed is more than what the kernel shows of it.
fn works(stage: &mut Stage, what: &str) {
    match what {
        "tmpfs" => {
            let file = stage.path("own/file").to_string_lossy().into_owned();
            stage.check("room", writes(&file, 50_000).is_ok(), &file);
            let full = writes(&file, 100_000).map_err(|error| error.raw_os_error());
            stage.equal("no more room", &full, &Err(Some(libc::ENOSPC)));
        }
        "bind" => {
            let _ = writes(&stage.path("from/file").to_string_lossy(), 3);
            let found = fs::read(stage.path("to/file")).unwrap_or_default();
            stage.equal("the same file", &found, &vec![1; 3]);
        }
        "options" => {
            let _ = writes(&stage.path("own/file").to_string_lossy(), 3);
            let found = fs::read(stage.path("second/file")).unwrap_or_default();
            stage.equal("the same file", &found, &vec![1; 3]);
        }
        "read-only" => {
            let refused = writes("/tmp/file", 1).map_err(|error| error.raw_os_error());
            stage.equal("is read-only", &refused, &Err(Some(libc::EROFS)));
        }
        _ => {}
    }
}

/// The process has changed one thing, which nobody else sees.
pub(crate) fn changed(stage: &mut Stage, args: &Args) -> Result<()> {
    let what = args.text("what", "tmpfs");
    change(stage, what)?;
    let before = shown();
    stage.hold()?;
    stage.equal("mounts", &shown(), &before);
    works(stage, what);
    Ok(())
}

/// A mount namespace of the process's own, in that of the guest. The program begins anew there: what it has open is of the old one.
pub(crate) fn leave_namespace() -> Result<()> {
    let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    if of("self") != of("1") {
        return Ok(());
    }
    // SAFETY: takes a number; the process has one thread.
    sys::check("unshare", unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    propagate("/", libc::MS_REC | libc::MS_PRIVATE)?;
    let program = std::env::current_exe().map_err(Error::from_io("find the program"))?;
    let failed = Command::new(program)
        .args(std::env::args_os().skip(1))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .exec();
    Err(Error::from_io("execute the program")(failed))
}

/// The same without a container.
pub(crate) fn changed_apart(stage: &mut Stage, args: &Args) -> Result<()> {
    leave_namespace()?;
    changed(stage, args)
}

/// Go to another mount namespace, and back to a folder that it has.
pub(crate) fn enter(namespace: &fs::File, folder: &Path) -> Result<()> {
    // SAFETY: the descriptor is open; the process has one thread.
    sys::check("setns", unsafe {
        libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS)
    })?;
    std::env::set_current_dir(folder).map_err(Error::from_io("change the directory"))
}

fn in_namespace_of_init(folder: &Path, action: impl FnOnce() -> Result<()>) -> Result<()> {
    let open = |path| fs::File::open(path).map_err(Error::from_io("open a namespace"));
    let (own, outer) = (open("/proc/self/ns/mnt")?, open("/proc/1/ns/mnt")?);
    enter(&outer, folder)?;
    let outcome = action();
    enter(&own, folder)?;
    outcome
}

/// Something is mounted outside later.
pub(crate) fn later(stage: &mut Stage, _args: &Args) -> Result<()> {
    leave_namespace()?;
    let home = stage.path(".");
    in_namespace_of_init(&home, || tmpfs(OUTER))?;
    let before = shown();
    stage.hold()?;
    stage.equal("mounts", &shown(), &before);
    in_namespace_of_init(&home, || {
        let on_it = format!(" {OUTER} ");
        let all = shown();
        let mounted = all.iter().filter(|line| line.contains(&on_it)).count();
        // Where the process was restarted nobody has done it.
        if mounted == 1 { Ok(()) } else { unmount(OUTER) }
    })
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
        Path::new(&own).is_dir() && !shown().iter().any(|line| line.contains(&own)),
        &shown().join("\n"),
    );
    Ok(())
}
