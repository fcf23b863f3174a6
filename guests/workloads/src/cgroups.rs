//! Cgroups below that of the tree: every process is in the one that it was in.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::{Child, Stage};
use crate::sys::{self, Pid, Status};
use crate::zombies::await_end;

/// Where the hierarchy is.
const HIERARCHY: &str = "/sys/fs/cgroup";

/// What the kernel shows of the cgroups of a process, as seen from the reader's namespace.
fn shown(pid: Pid) -> Result<String> {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).map_err(Error::from_io("read a cgroup"))
}

/// The folder of the calling process's cgroup; not in a cgroup namespace.
fn own() -> Result<PathBuf> {
    let text = shown(sys::pid())?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    let path = path.ok_or_else(|| Error::Situation(format!("no cgroup in {text:?}")))?;
    Ok(Path::new(HIERARCHY).join(path))
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir(folder).map_err(Error::from_io("make a cgroup"))
}

/// Move the calling process.
fn join(folder: &Path) -> Result<()> {
    fs::write(folder.join("cgroup.procs"), "0").map_err(Error::from_io("enter a cgroup"))
}

/// Where the caller is stays the same.
fn held(stage: &mut Stage) -> Result<()> {
    let before = shown(sys::pid())?;
    stage.hold()?;
    stage.equal("cgroup", &shown(sys::pid())?, &before);
    Ok(())
}

/// A process that is somewhere, as is its child.
fn parent(stage: &Stage, name: &str, folder: &Path) -> Result<Child> {
    stage.spawn_ready(name, |parent| {
        join(folder)?;
        let child = parent.spawn_ready("child", held)?;
        held(parent)?;
        child.resume()?;
        parent.join(&child)
    })
}

/// A process with a thread, and a child that has ended.
fn mixed(stage: &Stage, name: &str, folder: &Path) -> Result<Child> {
    stage.spawn_ready(name, |process| {
        join(folder)?;
        let Some(ended) = sys::fork()? else {
            sys::exit(7)
        };
        let (resume, resumed) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            let _ = resumed.recv();
            shown(sys::tid())
        });
        let zombie = shown(ended)?;
        await_end(ended)?;
        held(process)?;
        process.equal("cgroup of the zombie", &shown(ended)?, &zombie);
        process.equal("the zombie", &sys::wait(ended)?, &Status::Exited(7));
        let _ = resume.send(());
        let of_thread = thread
            .join()
            .map_err(|_| Error::Situation("the thread panicked".to_owned()))?;
        process.equal("cgroup of the thread", &of_thread?, &shown(sys::pid())?);
        Ok(())
    })
}

/// Processes of a tree in its own cgroup and in four below, one of which has none of them but those further below;
/// `root` says whether the tree's root `stays` or is `inside` of one, has a `namespace` as well, or one with all of the tree `below` its root.
pub(crate) fn spread(stage: &mut Stage, args: &Args) -> Result<()> {
    let mut top = own()?;
    let inside = match args.text("root", "stays") {
        "stays" => None,
        "below" => {
            sys::unshare(libc::CLONE_NEWCGROUP)?;
            top.push("all");
            make(&top)?;
            join(&top)?;
            None
        }
        "inside" => Some(top.join("init.scope")),
        "namespace" => {
            sys::unshare(libc::CLONE_NEWCGROUP)?;
            Some(top.join("init.scope"))
        }
        other => return Err(Error::Argument(format!("root={other}"))),
    };
    let [above, deep, named] =
        ["above", "above/deep", "a name: #1 =\u{e9}"].map(|name| top.join(name));
    for folder in inside.iter().chain([&above, &deep, &named]) {
        make(folder)?;
    }
    let plain = stage.spawn_ready("plain", held)?;
    let all = [
        plain,
        parent(stage, "deep", &deep)?,
        mixed(stage, "named", &named)?,
        // Its child's cgroup is none of its own ones below.
        stage.spawn_ready("apart", |apart| {
            join(&named)?;
            let back = parent(apart, "back", &deep)?;
            held(apart)?;
            back.resume()?;
            apart.join(&back)
        })?,
    ];
    if let Some(inside) = &inside {
        join(inside)?;
    }
    held(stage)?;
    for child in &all {
        child.resume()?;
        stage.join(child)?;
    }
    // It can still be left: whoever is in a cgroup of its own may make others.
    let new = named.join("new");
    make(&new)?;
    let late = stage.spawn("late", |late| {
        join(&new)?;
        let shown = shown(sys::pid())?;
        late.check("cgroup", shown.trim_end().ends_with("/new"), &shown);
        Ok(())
    })?;
    stage.join(&late)
}

/// A process in a cgroup of threads.
pub(crate) fn threaded(stage: &mut Stage, _args: &Args) -> Result<()> {
    let folder = own()?.join("threads");
    make(&folder)?;
    fs::write(folder.join("cgroup.type"), "threaded")
        .map_err(Error::from_io("make a cgroup one of threads"))?;
    let child = stage.spawn_ready("child", |child| {
        fs::write(folder.join("cgroup.threads"), "0")
            .map_err(Error::from_io("enter a cgroup of threads"))?;
        held(child)
    })?;
    stage.hold()?;
    child.resume()?;
    stage.join(&child)
}

/// A process that has ended in a cgroup that is not there any more.
pub(crate) fn removed(stage: &mut Stage, _args: &Args) -> Result<()> {
    let folder = own()?.join("removed");
    make(&folder)?;
    let Some(ended) = sys::fork()? else {
        sys::exit(join(&folder).is_err().into())
    };
    await_end(ended)?;
    // It leaves the count of those that live a moment later.
    while let Err(error) = fs::remove_dir(&folder) {
        if error.kind() != std::io::ErrorKind::ResourceBusy {
            return Err(Error::from_io("remove a cgroup")(error));
        }
        sys::pause();
    }
    stage.hold()?;
    stage.equal("the zombie", &sys::wait(ended)?, &Status::Exited(0));
    Ok(())
}
