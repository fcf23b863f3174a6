//! The private kernel tree: source, patches, overlay; only what changed is written again.
//!
//! A tree persists between builds, so that make compiles what an edit asks for and nothing else.
//! `state.json` beside it says what is in it. A changed source or patch set begins a fresh tree;
//! a changed overlay is laid file by file, and keeps the times of files that are the same.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::build::{BuildContext, OnProgress, Progress};
use crate::kernel::error::Hunk;
use crate::kernel::tools::{Tools, run, text};
use crate::kernel::{Inputs, KernelError};
use crate::store::{StoreError, remove_dir, walk, write_atomic};

/// Files by their path in the kernel tree.
pub(super) type Overlay = BTreeMap<PathBuf, Vec<u8>>;

/// What is in a tree.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    /// Key of the source.
    source: String,
    /// Key of the patches.
    patches: String,
    /// Files of the overlay that lie in it.
    overlay: Vec<PathBuf>,
    /// Key of what `.config` was made from; empty if there is none to rely on.
    pub(super) config: String,
    /// Objects that were compiled since the tree was fresh.
    pub(super) compiled: u64,
    /// Was the kernel ever built to its end?
    pub(super) built: bool,
    /// Is a make at work? True in the file after one was killed.
    pub(super) making: bool,
}

/// A kernel tree that belongs to this run.
pub(super) struct Tree {
    /// The work folder, with the tree, its state and its log.
    work: PathBuf,
    pub(super) state: State,
}

impl Tree {
    /// Open the tree of a work folder, made afresh if it is not of this source and these patches, with the overlay laid.
    pub(super) fn open(
        ctx: &BuildContext,
        tools: &Tools,
        work: &Path,
        inputs: &Inputs,
        progress: OnProgress<'_>,
    ) -> Result<Self, KernelError> {
        let kept = load(work).filter(|(state, _)| {
            state.source == inputs.source.key.as_str()
                && state.patches == inputs.patches_key.as_str()
        });
        let mut tree = match kept {
            Some((state, since)) => {
                let mut tree = Self {
                    work: work.to_owned(),
                    state,
                };
                if tree.state.making {
                    tree.undo(since)?;
                }
                tree
            }
            None => Self::fresh(ctx, tools, work, inputs, progress)?,
        };
        tree.lay(&inputs.overlay)?;
        Ok(tree)
    }

    /// The kernel tree itself.
    pub(super) fn path(&self) -> PathBuf {
        self.work.join("tree")
    }

    /// The log of the last build.
    pub(super) fn log(&self) -> PathBuf {
        self.work.join("build.log")
    }

    /// Write the state down.
    pub(super) fn save(&self) -> Result<(), StoreError> {
        let path = self.work.join("state.json");
        serde_json::to_vec_pretty(&self.state)
            .map_err(io::Error::other)
            .and_then(|bytes| write_atomic(&path, &bytes))
            .map_err(|error| StoreError::file(&path, "write", error))
    }

    /// Unpack and patch.
    fn fresh(
        ctx: &BuildContext,
        tools: &Tools,
        work: &Path,
        inputs: &Inputs,
        progress: OnProgress<'_>,
    ) -> Result<Self, KernelError> {
        let step = |what: &str| {
            progress(Progress::Step {
                what: what.to_owned(),
                done: 0,
                total: None,
            });
        };
        // The state goes first: without it nobody takes what follows for a tree.
        match fs::remove_file(work.join("state.json")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::file(work, "clear", error).into());
            }
            _ => {}
        }
        step("unpack");
        let path = work.join("tree");
        remove_dir(&path)?;
        fs::create_dir_all(&path).map_err(|error| StoreError::file(&path, "make", error))?;
        let filled = inputs.source.unpack(ctx, tools, &path).and_then(|()| {
            step("patch");
            let mut patches = inputs.patches.iter();
            patches.try_for_each(|(name, patch)| apply(ctx, tools, &path, name, patch))
        });
        if let Err(error) = filled {
            // It is of no use, and the disk may be full.
            remove_dir(&path)?;
            return Err(error);
        }
        let tree = Self {
            work: work.to_owned(),
            state: State {
                source: inputs.source.key.as_str().to_owned(),
                patches: inputs.patches_key.as_str().to_owned(),
                overlay: Vec::new(),
                config: String::new(),
                compiled: 0,
                built: false,
                making: false,
            },
        };
        tree.save()?;
        Ok(tree)
    }

    /// Lay the overlay: write what differs, remove what is no longer in it.
    fn lay(&mut self, overlay: &Overlay) -> Result<(), KernelError> {
        let root = self.path();
        let old = std::mem::take(&mut self.state.overlay);
        let gone: Vec<_> = old
            .iter()
            .filter(|file| !overlay.contains_key(*file))
            .cloned()
            .collect();
        let changed: Vec<_> = overlay
            .iter()
            .filter(|(file, bytes)| !fs::read(root.join(file)).is_ok_and(|now| now == **bytes))
            .collect();
        if let Some((file, _)) = changed
            .iter()
            .find(|(file, _)| !old.contains(file) && root.join(file).exists())
        {
            self.state.overlay = old;
            return Err(KernelError::Overlay {
                file: PathBuf::from(file),
            });
        }
        // Recorded before they are written, so that a run that is killed in between owns what it wrote.
        self.state.overlay = overlay.keys().chain(&gone).cloned().collect();
        self.save()?;
        for (file, bytes) in changed {
            let path = root.join(file);
            let failed = |error| StoreError::file(&path, "write", error);
            fs::create_dir_all(path.parent().unwrap_or(&root)).map_err(failed)?;
            write_atomic(&path, bytes).map_err(failed)?;
        }
        for file in &gone {
            let path = root.join(file);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::file(&path, "remove", error).into());
                }
                _ => {}
            }
        }
        self.state.overlay = overlay.keys().cloned().collect();
        Ok(self.save()?)
    }

    /// Remove what a make that was killed wrote: a compiler may have been in the middle of it.
    ///
    /// Make removes unfinished targets when it is interrupted, but not when it is killed,
    /// and would take half an object for a whole one afterwards.
    fn undo(&mut self, since: SystemTime) -> Result<(), StoreError> {
        let root = self.path();
        for name in walk(&root)? {
            let path = root.join(name);
            let failed = |error| StoreError::file(&path, "clear", error);
            let written = path.symlink_metadata().and_then(|it| it.modified());
            if written.map_err(failed)? > since {
                fs::remove_file(&path).map_err(failed)?;
            }
        }
        self.state.config.clear();
        self.state.making = false;
        self.save()
    }
}

/// The state of a work folder and when it was written.
fn load(work: &Path) -> Option<(State, SystemTime)> {
    let path = work.join("state.json");
    let written = path.metadata().and_then(|it| it.modified()).ok()?;
    let state = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    Some((state, written))
}

/// Apply a patch; context has to be exact, only line numbers may be off.
fn apply(
    ctx: &BuildContext,
    tools: &Tools,
    tree: &Path,
    name: &Path,
    patch: &[u8],
) -> Result<(), KernelError> {
    let input = tree.join(".crossthaw.patch");
    fs::write(&input, patch).map_err(|error| StoreError::file(&input, "write", error))?;
    let argv = [
        &tools.patch,
        "--strip=1",
        "--forward",
        "--batch",
        // A hunk of two lines of context would match anything with the usual fuzz of 2.
        "--fuzz=0",
        "--no-backup-if-mismatch",
        "--reject-file=-",
        "--input",
        text(&input)?,
    ];
    let ended = run(ctx, &argv, tree)?;
    let hunks = hunks(&ended.output);
    if !ended.status.success() && !hunks.is_empty() {
        return Err(KernelError::Patch {
            patch: name.to_owned(),
            hunks,
        });
    }
    ended.success()?;
    fs::remove_file(&input).map_err(|error| StoreError::file(&input, "remove", error).into())
}

/// What did not apply, from the output of patch(1).
fn hunks(output: &str) -> Vec<Hunk> {
    let mut file = "";
    let mut hunks = Vec::new();
    let mut push = |file: &str, why: &str| {
        hunks.push(Hunk {
            file: file.to_owned(),
            why: why.to_owned(),
        });
    };
    for line in output.lines() {
        if let Some(name) = line.strip_prefix("patching file ") {
            file = name.trim_matches('\'');
        } else if let Some(hunk) = line.strip_prefix("Hunk #") {
            // `Hunk #2 FAILED at 41.`
            if let Some((number, line)) = hunk.split_once(" FAILED at ") {
                let line = line.split(['.', ' ']).next().unwrap_or(line);
                push(file, &format!("hunk {number} at line {line}"));
            }
        } else if let Some(name) = line.strip_prefix("|+++ ") {
            // Quoted when the file to patch is not there.
            let name = name.split('\t').next().unwrap_or(name);
            push(
                name.split_once('/').map_or(name, |(_, rest)| rest),
                "there is no such file",
            );
        } else if let Some(name) = line.strip_prefix("The next patch would create the file ") {
            push(name.trim_end_matches(','), "the file exists already");
        } else if line.starts_with("Reversed (or previously applied) patch detected") {
            push(file, "it is in the source already");
        }
    }
    hunks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(output: &str, expected: &[&str]) {
        let found: Vec<_> = hunks(output).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn failed_hunks_have_file_number_and_line() {
        check(
            "patching file kernel/fork.c
Hunk #1 succeeded at 40 (offset 2 lines).
Hunk #2 FAILED at 2117.
1 out of 2 hunks FAILED
patching file 'a b.c'
Hunk #1 FAILED at 7 (different line endings).",
            &[
                "kernel/fork.c: hunk 2 at line 2117",
                "a b.c: hunk 1 at line 7",
            ],
        );
    }

    #[test]
    fn a_file_that_is_gone_or_came_is_named() {
        check(
            "can't find file to patch at input line 4
Perhaps you used the wrong -p or --strip option?
The text leading up to this was:
--------------------------
|--- a/kernel/gone.c\t2024-01-01
|+++ b/kernel/gone.c\t2024-01-01
--------------------------
No file to patch.  Skipping patch.
1 out of 1 hunk ignored
The next patch would create the file kernel/new.c,
which already exists!  Skipping patch.
patching file kernel/sys.c
Reversed (or previously applied) patch detected!  Skipping patch.",
            &[
                "kernel/gone.c: there is no such file",
                "kernel/new.c: the file exists already",
                "kernel/sys.c: it is in the source already",
            ],
        );
    }
}
