//! Looking into the namespaces of a task, and the ones that hold little.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;

use crossthaw_protocol::{Fields, Object};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::task::Task;
use crate::error::{Context, Result};

/// Kinds of namespaces that the agent enters for a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ipc,
    Net,
    Uts,
}

impl Kind {
    /// Its name below `/proc/PID/ns`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ipc => "ipc",
            Self::Net => "net",
            Self::Uts => "uts",
        }
    }

    fn flag(self) -> LinkNameSpaceType {
        match self {
            Self::Ipc => LinkNameSpaceType::InterProcessCommunication,
            Self::Net => LinkNameSpaceType::Network,
            Self::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        }
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).context(|| format!("open {}", path.display()))
}

/// Do something in a namespace of a task; the agent, which has one thread, is back afterwards.
pub(super) fn inside<T>(task: &Task, kind: Kind, work: impl FnOnce() -> T) -> Result<T> {
    let name = kind.name();
    let theirs = task.dir.join("ns").join(name);
    let own = Path::new("/proc/self/ns").join(name);
    if theirs.read_link().ok() == own.read_link().ok() {
        return Ok(work());
    }
    let (back, there) = (open(&own)?, open(&theirs)?);
    let enter = |file: &File| {
        move_into_link_name_space(file.as_fd(), Some(kind.flag()))
            .context(|| format!("enter the {name} namespace of pid {}", task.outer))
    };
    enter(&there)?;
    let outcome = work();
    enter(&back)?;
    Ok(outcome)
}

fn object(kind: Kind, place: usize, fields: Fields) -> Object {
    Object {
        kind: kind.name().to_owned(),
        name: place.to_string(),
        fields,
    }
}

/// Values of `/proc/sys/kernel` that belong to the namespace of whoever reads them.
fn settings(names: &[&str]) -> Fields {
    let read = |name: &&str| {
        let text = fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
        let words: Vec<_> = text.split_whitespace().collect();
        Some(((*name).to_owned(), words.join(" ")))
    };
    names.iter().filter_map(read).collect()
}

/// Names of the host; `place` numbers the namespaces of the tree.
pub(super) fn uts(place: usize, task: &Task) -> Result<Object> {
    let fields = inside(task, Kind::Uts, || {
        settings(&["kernel/hostname", "kernel/domainname"])
    })?;
    Ok(object(Kind::Uts, place, fields))
}

/// Limits of ipc objects; `place` numbers the namespaces of the tree.
pub(super) fn ipc(place: usize, task: &Task) -> Result<Object> {
    let names = [
        "kernel/sem",
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/shmmax",
        "kernel/shmall",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
        "fs/mqueue/queues_max",
        "fs/mqueue/msg_max",
        "fs/mqueue/msgsize_max",
        "fs/mqueue/msg_default",
        "fs/mqueue/msgsize_default",
    ];
    let fields = inside(task, Kind::Ipc, || settings(&names))?;
    Ok(object(Kind::Ipc, place, fields))
}

/// Settings of the tree's cgroup; what is not there belongs to a controller that is off.
pub(super) fn cgroup(path: &Path) -> Object {
    let names = [
        "cgroup.type",
        "cgroup.freeze",
        "cgroup.events",
        "cgroup.max.depth",
        "cgroup.max.descendants",
        "pids.max",
    ];
    let read = |name: &str| {
        let text = fs::read_to_string(path.join(name)).ok()?;
        let words: Vec<_> = text.split_whitespace().collect();
        Some((name.to_owned(), words.join(" ")))
    };
    Object {
        kind: "cgroup".to_owned(),
        name: path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        fields: names.into_iter().filter_map(read).collect(),
    }
}
