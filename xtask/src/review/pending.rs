//! What waits for a decision: states that changed, and goldens that nobody needs any more.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use crossthaw_harness::oracle::golden::{self, Orphan};
use crossthaw_harness::oracle::state;

/// A state, or a golden, that waits for a decision.
#[derive(Debug)]
pub(super) struct Pending {
    /// `FAMILY/SCENARIO[AXES]`, with `@ARCH` where it is one architecture's own.
    pub(super) name: String,
    /// What is decided.
    pub(super) what: What,
    /// What changes, as a unified diff with a head of two lines.
    pub(super) diff: String,
}

#[derive(Debug)]
pub(super) enum What {
    /// A state would become a golden.
    State {
        /// Where it is.
        new: PathBuf,
        /// The golden that it would become.
        golden: PathBuf,
        /// Which architectures agree, as the run saw it.
        agreement: Option<String>,
    },
    /// A golden, or a state left by a run, would be deleted.
    Orphan {
        /// Where it is.
        path: PathBuf,
        /// Why it is one.
        reason: String,
    },
}

impl Pending {
    /// What is said of it beside its name.
    pub(super) fn remark(&self) -> Option<&str> {
        match &self.what {
            What::State { agreement, .. } => agreement.as_deref(),
            What::Orphan { reason, .. } => Some(reason),
        }
    }

    /// Do what it proposes.
    pub(super) fn accept(&self) -> anyhow::Result<()> {
        let Self { name, what, .. } = self;
        match what {
            What::State { new, golden, .. } => {
                let common = name.rsplit_once('@').map_or(&**name, |(common, _)| common);
                golden::accept(new, golden, common)
            }
            What::Orphan { path, .. } => golden::remove(path),
        }
        .with_context(|| format!("cannot settle the golden of {name}"))
    }

    /// Drop the proposal. A golden that is an orphan stays one.
    pub(super) fn reject(&self) -> anyhow::Result<()> {
        match &self.what {
            What::State { new, .. } => golden::remove(new)
                .with_context(|| format!("cannot settle the golden of {}", self.name)),
            What::Orphan { .. } => Ok(()),
        }
    }
}

/// All pending states below a folder, sorted, and the orphans.
pub(super) fn pending(dir: &Path, orphans: Vec<Orphan>) -> anyhow::Result<Vec<Pending>> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match folder.read_dir() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder == dir => continue,
            entries => entries.with_context(|| format!("cannot list {}", folder.display()))?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(".snap.new") {
                found.push(path);
            }
        }
    }
    found.sort();
    // What nobody needs is not asked about twice.
    let deleted: BTreeSet<PathBuf> = orphans.iter().map(|orphan| orphan.path.clone()).collect();
    let mut all = Vec::new();
    for new in found.into_iter().filter(|new| !deleted.contains(new)) {
        all.push(read(dir, new)?);
    }
    for orphan in orphans {
        all.push(deletion(dir, orphan)?);
    }
    Ok(all)
}

fn deletion(dir: &Path, orphan: Orphan) -> anyhow::Result<Pending> {
    let Orphan { path, name, reason } = orphan;
    let text = golden::read(&path)?.unwrap_or_default() + "\n";
    let old = format!("golden {}", shown(dir, &path));
    let diff = state::diff((&old, &text), ("orphaned, would be deleted", "")).unwrap_or_default();
    Ok(Pending {
        name,
        what: What::Orphan { path, reason },
        diff,
    })
}

fn read(dir: &Path, new: PathBuf) -> anyhow::Result<Pending> {
    let golden = new.with_extension("");
    let path = golden.with_extension("");
    let name = path.strip_prefix(dir).unwrap_or(&path);
    let name = name.to_string_lossy().into_owned();
    // An architecture that had no golden of its own has used the common one so far.
    let common = name
        .rsplit_once('@')
        .map(|(common, _)| dir.join(format!("{common}.snap")));
    let mut old = String::new();
    let mut old_name = "no golden".to_owned();
    for place in [Some(golden.clone()), common].into_iter().flatten() {
        if let Some(text) = golden::read(&place)? {
            old = text + "\n";
            old_name = format!("golden {}", shown(dir, &place));
            break;
        }
    }
    // The run that left it may be going on, and may have taken it back.
    let text = golden::read(&new)?.unwrap_or_default() + "\n";
    let new_name = format!("now, would be {}", shown(dir, &golden));
    let diff = state::diff((&old_name, &old), (&new_name, &text)).unwrap_or_default();
    let agreement = golden::agreement(&new);
    Ok(Pending {
        name,
        what: What::State {
            new,
            golden,
            agreement,
        },
        diff,
    })
}

fn shown(dir: &Path, path: &Path) -> String {
    let base = dir.parent().unwrap_or(dir);
    path.strip_prefix(base)
        .unwrap_or(path)
        .display()
        .to_string()
}

/// Those that change in the same way are one decision: a change of the kernel often shows in many states at once.
pub(super) fn group(pending: Vec<Pending>) -> Vec<Vec<Pending>> {
    let mut groups: BTreeMap<(bool, Vec<String>), Vec<Pending>> = BTreeMap::new();
    for pending in pending {
        // Without the head, which names the file, and without what stays.
        let changes = pending
            .diff
            .lines()
            .skip(2)
            .filter(|line| line.starts_with(['+', '-']));
        let changes = changes.map(str::to_owned).collect();
        let orphan = matches!(pending.what, What::Orphan { .. });
        groups.entry((orphan, changes)).or_default().push(pending);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by(|one, other| one[0].name.cmp(&other[0].name));
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshots(files: &[(&str, &str)]) -> tempfile::TempDir {
        let scratch = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = scratch.path().join("snapshots").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let head = "---\nsource: scenarios/a.yaml\nexpression: \"state\"\n---\n";
            std::fs::write(path, format!("{head}{text}\n")).unwrap();
        }
        scratch
    }

    #[test]
    fn equal_changes_are_one_decision_and_an_architecture_is_held_against_the_common_golden() {
        let scratch = snapshots(&[
            ("a/one.snap", "pid 1\npos 1"),
            ("a/one.snap.new", "pid 1\npos 2"),
            ("a/two[x=1.5].snap", "pid 2\npos 1"),
            ("a/two[x=1.5]@ppc64.snap.new", "pid 2\npos 2"),
            ("b/new.snap.new", "pid 3"),
        ]);
        let groups = group(pending(&scratch.path().join("snapshots"), Vec::new()).unwrap());
        let names: Vec<Vec<_>> = groups
            .iter()
            .map(|group| group.iter().map(|pending| &*pending.name).collect())
            .collect();
        assert_eq!(names, [vec!["a/one", "a/two[x=1.5]@ppc64"], vec!["b/new"]]);
        let diff = &groups[0][1].diff;
        assert!(diff.contains("snapshots/a/two[x=1.5].snap\n"), "{diff}");
        assert!(diff.ends_with(" pid 2\n-pos 1\n+pos 2\n"), "{diff}");
        assert!(groups[1][0].diff.ends_with("+pid 3\n"));
    }

    #[test]
    fn decisions_are_carried_out() {
        let names = ["a/one.snap.new", "a/two.snap.new", "a/three.snap.new"];
        let scratch = snapshots(&names.map(|name| (name, "pid 1")));
        let dir = scratch.path().join("snapshots");
        let all = pending(&dir, Vec::new()).unwrap();
        // In the order of the names: one, three, two.
        all[0].accept().unwrap();
        all[2].reject().unwrap();
        let mut left: Vec<_> = dir
            .join("a")
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["one.snap", "three.snap.new"]);
    }

    #[test]
    fn an_orphan_is_deleted_when_that_is_accepted() {
        let scratch = snapshots(&[("a/gone.snap", "pid 1"), ("a/gone.snap.new", "pid 2")]);
        let dir = scratch.path().join("snapshots");
        let orphan = |file: &str| Orphan {
            path: dir.join(file),
            name: "a/gone".to_owned(),
            reason: "there is no such case".to_owned(),
        };
        let orphans = vec![orphan("a/gone.snap"), orphan("a/gone.snap.new")];
        let all = pending(&dir, orphans).unwrap();
        assert_eq!(all.len(), 2);
        all[0].reject().unwrap();
        assert!(dir.join("a/gone.snap").exists());
        for orphan in &all {
            orphan.accept().unwrap();
        }
        assert_eq!(dir.join("a").read_dir().unwrap().count(), 0);
    }

    #[test]
    fn nothing_is_pending_where_there_are_no_goldens() {
        let none = pending(Path::new("/no/snapshots"), Vec::new()).unwrap();
        assert!(none.is_empty());
    }
}
