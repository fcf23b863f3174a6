//! The oracle **leak**: what a guest's kernel has in use after a trial, and had not before.
//!
//! Clones of a template begin alike: what the first one had in use, with the same tasks running, is what every trial began with.
//! So but for [`SLACKS`] each count is exact: one more is a leak.

use std::collections::BTreeMap;

/// Reports of kmemleak that a message shows, and lines of each.
const REPORTS: usize = 3;
const LINES: usize = 16;

/// By how much a count may be out.
const SLACKS: &[(&str, u64)] = &[
    // Free pages that each processor keeps at hand count as none of anything.
    ("KiB of memory without a purpose", 8192),
    // The kernel's own counter is out by up to 32 on each of two processors; `filp objects` is exact.
    ("open files", 64),
    // Names that the agent asks for again and again are not dropped, nor are their inodes and those of the folders. Where SLUB tells,
    // each kind of inode is counted exactly.
    ("inodes", 12),
    // On s390x two tables share a page, which counts as long as one of them is the agent's. The tables of a process are 20 KiB or more.
    ("KiB of page tables", 8),
];

/// What is in use: what, and how many.
pub type Counts = [(String, u64)];

/// What is no leak after a trial that had so much in use before.
pub fn allowed(before: &Counts) -> Vec<(String, u64)> {
    before
        .iter()
        .map(|(what, count)| {
            let slack = SLACKS.iter().find(|(name, _)| name == what);
            let slack = slack.map_or(0, |(_, slack)| *slack);
            (what.clone(), count + slack)
        })
        .collect()
}

/// Each thing of which there is more than [`allowed`].
pub fn judge(allowed: &Counts, after: &Counts) -> Result<(), String> {
    let had: BTreeMap<_, _> = allowed.iter().map(|(what, count)| (what, *count)).collect();
    let more = after.iter().filter_map(|(what, count)| {
        let had = had.get(what).copied().unwrap_or(0);
        (*count > had).then(|| format!("{} {what} ({count}, and {had} are no leak)", count - had))
    });
    let more: Vec<_> = more.collect();
    if more.is_empty() {
        Ok(())
    } else {
        Err(format!("left behind: {}", more.join(", ")))
    }
}

/// Memory that nobody refers to.
pub fn judge_unreferenced(reports: &[String]) -> Result<(), String> {
    if reports.is_empty() {
        return Ok(());
    }
    let shown = reports.iter().take(REPORTS).map(|report| {
        let lines: Vec<_> = report.lines().take(LINES).collect();
        lines.join("\n")
    });
    let shown: Vec<_> = shown.collect();
    Err(format!(
        "{} blocks of memory that nothing refers to (kmemleak):\n{}",
        reports.len(),
        shown.join("\n")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
        let owned = pairs.iter().map(|&(what, count)| (what.to_owned(), count));
        owned.collect()
    }

    #[test]
    fn one_more_of_anything_is_a_leak() {
        let before = allowed(&counts(&[("tasks", 1), ("open files", 9)]));
        assert_eq!(before, counts(&[("tasks", 1), ("open files", 73)]));
        assert_eq!(judge(&before, &before), Ok(()));
        let less = counts(&[("tasks", 1), ("open files", 73)]);
        assert_eq!(judge(&before, &less), Ok(()));
        let more = counts(&[("tasks", 1), ("open files", 75), ("pid objects", 1)]);
        assert_eq!(
            judge(&before, &more),
            Err("left behind: 2 open files (75, and 73 are no leak), 1 pid objects (1, and 0 are no leak)".to_owned())
        );
    }

    #[test]
    fn unreferenced_memory_is_shown_with_its_trace() {
        assert_eq!(judge_unreferenced(&[]), Ok(()));
        let report = "unreferenced object 0xff (size 64):\n    f+0x1/0x2".to_owned();
        let message = judge_unreferenced(&[report]).unwrap_err();
        assert!(message.ends_with("f+0x1/0x2"), "{message}");
    }
}
