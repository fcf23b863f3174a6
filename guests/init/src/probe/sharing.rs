//! What tasks share: the kernel's order of its objects, by kcmp(2).

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Kinds of kcmp, linux/kcmp.h, and what they are called here.
const KINDS: [(&str, libc::c_long); 6] = [
    ("vm", 1),
    ("files", 2),
    ("fs", 3),
    ("sighand", 4),
    ("io", 5),
    ("sysvsem", 6),
];

/// `KCMP_FILE` of linux/kcmp.h.
const KCMP_FILE: libc::c_long = 0;

/// A kernel without `CONFIG_KCMP`, or a task that must not be compared: its own order stands in, so nothing is shared.
fn kcmp(pids: (i32, i32), kind: libc::c_long, fds: (i32, i32)) -> Option<Ordering> {
    let [pid, other, fd, other_fd] = [pids.0, pids.1, fds.0, fds.1].map(libc::c_long::from);
    // SAFETY: kcmp takes numbers only.
    match unsafe { libc::syscall(libc::SYS_kcmp, pid, other, kind, fd, other_fd) } {
        0 => Some(Ordering::Equal),
        1 => Some(Ordering::Less),
        2 => Some(Ordering::Greater),
        _ => None,
    }
}

/// For each item the first one that refers to the same object; the items must be in order.
pub(super) fn leaders<T: Copy + Ord>(
    mut all: Vec<T>,
    compare: impl Fn(T, T) -> Option<Ordering>,
) -> BTreeMap<T, T> {
    let order = |a: &T, b: &T| compare(*a, *b).unwrap_or_else(|| a.cmp(b));
    // Stable: the first of each run of equal ones is the smallest.
    all.sort_by(order);
    let mut same = BTreeMap::new();
    let mut first: Option<T> = None;
    for item in all {
        let leader = first
            .filter(|first| order(first, &item) == Ordering::Equal)
            .unwrap_or(item);
        first = Some(leader);
        same.insert(item, leader);
    }
    same
}

/// A descriptor of one of the tasks; in order of pid in the tree and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Descriptor {
    /// The task's pid in the tree.
    pub(super) inner: i32,
    pub(super) fd: i32,
    /// The task's pid as the agent sees it.
    pub(super) outer: i32,
}

/// For each descriptor the smallest one with the same open file.
pub(super) fn files(all: Vec<Descriptor>) -> BTreeMap<Descriptor, Descriptor> {
    leaders(all, |a, b| {
        kcmp((a.outer, b.outer), KCMP_FILE, (a.fd, b.fd))
    })
}

/// For each task, by pid in the tree and as the agent sees it, what it shares with a smaller pid.
pub(super) fn tasks(all: &[(i32, i32)]) -> BTreeMap<i32, Vec<(String, i32)>> {
    let mut shares: BTreeMap<i32, Vec<(String, i32)>> = BTreeMap::new();
    for (name, kind) in KINDS {
        let same = leaders(all.to_vec(), |a, b| kcmp((a.1, b.1), kind, (0, 0)));
        for (task, leader) in same {
            // A task has no io context and no undo list until it needs one: all of those are one.
            if task != leader && !is_none(leader.1, kind) {
                shares
                    .entry(task.0)
                    .or_default()
                    .push((name.to_owned(), leader.0));
            }
        }
    }
    shares
}

/// kthreadd, which never has an io context or an undo list.
const KTHREADD: i32 = 2;

/// Whether a task has no such object: it then has the same one as a task that certainly has none.
fn is_none(pid: i32, kind: libc::c_long) -> bool {
    kind >= 5 && kcmp((KTHREADD, pid), kind, (0, 0)) == Some(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharing_names_the_smallest() {
        // Item and its object.
        let table = [(1, 70), (2, 30), (3, 70), (4, 70), (5, 30), (6, 10)];
        let object = |item: i32| table.iter().find(|row| row.0 == item).unwrap().1;
        let same = leaders(table.map(|row| row.0).to_vec(), |a, b| {
            Some(object(a).cmp(&object(b)))
        });
        let expected = [(1, 1), (2, 2), (3, 1), (4, 1), (5, 2), (6, 6)];
        assert_eq!(same, BTreeMap::from(expected));
    }

    #[test]
    fn nothing_is_shared_where_the_kernel_does_not_say() {
        let same = leaders(vec![1, 2], |_, _| None);
        assert_eq!(same, BTreeMap::from([(1, 1), (2, 2)]));
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
        let same = files(vec![descriptor(&a), descriptor(&b), descriptor(&c)]);
        assert_eq!(same[&descriptor(&b)], descriptor(&a));
        assert_eq!(same[&descriptor(&c)], descriptor(&c));
    }
}
