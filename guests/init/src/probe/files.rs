//! Descriptors, and which of them refer to the same open file.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;

use crossthaw_protocol::{FdState, Fields};

use super::sharing::{self, Descriptor};
use super::task::Task;
use super::translation::Translation;
use super::{open_file, text};
use crate::error::{Context, Result};

fn numbers(task: &Task) -> Result<Vec<i32>> {
    let path = task.dir.join("fd");
    let mut all = Vec::new();
    for entry in fs::read_dir(&path).context(|| format!("list {}", path.display()))? {
        let entry = entry.context(|| format!("list {}", path.display()))?;
        let name = entry.file_name();
        all.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    all.sort_unstable();
    Ok(all)
}

/// What stat shows that is not a time.
pub(super) fn stat(meta: &Metadata) -> Fields {
    let kind = match meta.mode() & libc::S_IFMT {
        libc::S_IFREG => "regular",
        libc::S_IFDIR => "directory",
        libc::S_IFLNK => "symlink",
        libc::S_IFIFO => "fifo",
        libc::S_IFSOCK => "socket",
        libc::S_IFCHR => "character device",
        libc::S_IFBLK => "block device",
        _ => "anonymous",
    };
    [
        ("type", kind.to_owned()),
        ("mode", format!("{:04o}", meta.mode() & 0o7777)),
        ("owner", format!("{}:{}", meta.uid(), meta.gid())),
        ("links", meta.nlink().to_string()),
        ("size", meta.size().to_string()),
        ("device", format!("{:x}", meta.rdev())),
        ("inode", format!("{:x}:{}", meta.dev(), meta.ino())),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// What an epoll set watches: the number that it has in the set, and the rest.
fn watched(value: &str) -> (i32, String) {
    let (number, rest) = value.split_once(' ').unwrap_or((value, ""));
    (number.parse().unwrap_or(-1), rest.to_owned())
}

/// `fdinfo` with pids translated; a lock without the number that counts it.
fn info(task: &Task, fd: i32, translation: &Translation) -> Result<Fields> {
    let mut all = text::fields(&task.read(&format!("fdinfo/{fd}"))?);
    for (name, value) in &mut all {
        match name.as_str() {
            "lock" => *value = translation.lock(value).join(" "),
            // A pidfd's: one number for each pid namespace.
            "NSpid" => {
                let pids: Vec<_> = value
                    .split_whitespace()
                    .take(1)
                    .map(|pid| translation.pid_text(pid))
                    .collect();
                *value = pids.join(" ");
            }
            _ => {}
        }
    }
    // An epoll set lists what it watches by where that is in memory.
    all.sort_by_key(|(name, value)| match name.as_str() {
        "tfd" => Some(watched(value)),
        _ => None,
    });
    Ok(translation.fields(&all, &["Pid"]))
}

/// The descriptors of all tasks, by pid in the tree.
pub(super) fn probe(
    tasks: &[&Task],
    translation: &Translation,
) -> Result<BTreeMap<i32, Vec<FdState>>> {
    let mut all = Vec::new();
    for task in tasks {
        all.extend(numbers(task)?.into_iter().map(|fd| Descriptor {
            outer: task.outer,
            inner: task.inner,
            fd,
        }));
    }
    let same = sharing::files(all);
    let mut states: BTreeMap<i32, Vec<FdState>> = BTreeMap::new();
    for task in tasks {
        let pidfd = open_file::pidfd(task);
        for (descriptor, leader) in same.iter().filter(|(one, _)| one.inner == task.inner) {
            let fd = descriptor.fd;
            let path = task.dir.join(format!("fd/{fd}"));
            let meta = fs::metadata(&path).context(|| format!("look at {}", path.display()))?;
            let details = match &pidfd {
                Some(pidfd) if descriptor == leader => {
                    open_file::details(pidfd, fd, &meta, translation)
                }
                _ => Vec::new(),
            };
            states.entry(task.inner).or_default().push(FdState {
                fd,
                link: task.link(&format!("fd/{fd}"))?,
                info: info(task, fd, translation)?,
                stat: stat(&meta),
                details,
                same_as: (leader.inner, leader.fd),
            });
        }
    }
    Ok(states)
}
