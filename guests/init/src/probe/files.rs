//! Descriptors, and which of them refer to the same open file.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;

use crossthaw_protocol::FdState;

use super::{Task, text};
use crate::error::{Context, Result};

/// `KCMP_FILE` of linux/kcmp.h.
const KCMP_FILE: libc::c_long = 0;

/// A descriptor of one of the tasks.
#[derive(Clone, Copy, Debug)]
struct Descriptor {
    /// The task's pid as the agent sees it.
    outer: i32,
    /// The task's pid in the tree.
    inner: i32,
    fd: i32,
}

/// The kernel's order of the open files behind two descriptors; what cannot be compared is ordered by its place.
fn compare(a: &Descriptor, b: &Descriptor) -> Ordering {
    let (pid1, pid2) = (libc::c_long::from(a.outer), libc::c_long::from(b.outer));
    let (fd1, fd2) = (libc::c_long::from(a.fd), libc::c_long::from(b.fd));
    // SAFETY: kcmp takes numbers only.
    match unsafe { libc::syscall(libc::SYS_kcmp, pid1, pid2, KCMP_FILE, fd1, fd2) } {
        0 => Ordering::Equal,
        1 => Ordering::Less,
        2 => Ordering::Greater,
        _ => (a.inner, a.fd).cmp(&(b.inner, b.fd)),
    }
}

/// For each descriptor, by (pid, fd) in the tree, the smallest one with the same open file.
fn sharing(
    mut all: Vec<Descriptor>,
    compare: impl Fn(&Descriptor, &Descriptor) -> Ordering,
) -> BTreeMap<(i32, i32), (i32, i32)> {
    // Stable, and the list is in order of (pid, fd): the first of each run of equal ones is the smallest.
    all.sort_by(&compare);
    let mut same = BTreeMap::new();
    let mut first: Option<Descriptor> = None;
    for descriptor in all {
        let leader = first
            .filter(|first| compare(first, &descriptor) == Ordering::Equal)
            .unwrap_or(descriptor);
        first = Some(leader);
        same.insert((descriptor.inner, descriptor.fd), (leader.inner, leader.fd));
    }
    same
}

fn numbers(task: &Task) -> Result<Vec<i32>> {
    let path = task.dir.join("fd");
    let mut all = Vec::new();
    for entry in fs::read_dir(&path).context(|| format!("list {}", path.display()))? {
        let entry = entry.context(|| format!("list {}", path.display()))?;
        all.extend(
            entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<i32>().ok()),
        );
    }
    all.sort_unstable();
    Ok(all)
}

/// The descriptors of all tasks, by pid in the tree.
pub(super) fn probe(tasks: &[Task]) -> Result<BTreeMap<i32, Vec<FdState>>> {
    let mut all = Vec::new();
    for task in tasks {
        all.extend(numbers(task)?.into_iter().map(|fd| Descriptor {
            outer: task.outer,
            inner: task.inner,
            fd,
        }));
    }
    let same = sharing(all, compare);
    let mut states: BTreeMap<i32, Vec<FdState>> = BTreeMap::new();
    for task in tasks {
        for (&(pid, fd), &same_as) in same.range((task.inner, i32::MIN)..=(task.inner, i32::MAX)) {
            states.entry(pid).or_default().push(FdState {
                fd,
                link: task.link(&format!("fd/{fd}"))?,
                info: text::fields(&task.read(&format!("fdinfo/{fd}"))?),
                same_as,
            });
        }
    }
    Ok(states)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharing_names_the_smallest_descriptor() {
        // (pid, fd, open file)
        let table = [
            (1, 0, 70),
            (1, 1, 30),
            (1, 2, 70),
            (2, 0, 70),
            (2, 5, 30),
            (2, 6, 10),
        ];
        let file = |d: &Descriptor| {
            table
                .iter()
                .find(|&&(pid, fd, _)| (pid, fd) == (d.inner, d.fd))
                .map(|entry| entry.2)
        };
        let all = table
            .iter()
            .map(|&(inner, fd, _)| Descriptor {
                outer: inner + 100,
                inner,
                fd,
            })
            .collect();
        let same = sharing(all, |a, b| file(a).cmp(&file(b)));
        let expected = [
            ((1, 0), (1, 0)),
            ((1, 1), (1, 1)),
            ((1, 2), (1, 0)),
            ((2, 0), (1, 0)),
            ((2, 5), (1, 1)),
            ((2, 6), (2, 6)),
        ];
        assert_eq!(same, BTreeMap::from(expected));
    }

    #[test]
    fn the_kernel_tells_duplicates_from_files_of_their_own() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let a = std::fs::File::open("/dev/null").unwrap();
        let b = a.try_clone().unwrap();
        let c = std::fs::File::open("/dev/null").unwrap();
        let descriptor = |file: &std::fs::File| Descriptor {
            outer: pid,
            inner: pid,
            fd: std::os::fd::AsRawFd::as_raw_fd(file),
        };
        let same = sharing(
            vec![descriptor(&a), descriptor(&b), descriptor(&c)],
            compare,
        );
        assert_eq!(same[&(pid, descriptor(&b).fd)], (pid, descriptor(&a).fd));
        assert_eq!(same[&(pid, descriptor(&c).fd)], (pid, descriptor(&c).fd));
    }
}
