//! One mutant: a header that says what it breaks and what should notice, and a unified diff.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use diffy::{Hunk, Line, Patch};
use serde::Deserialize;

use crate::arch::Arch;
use crate::kernel::{Changes, Flavor};

/// Lines that a mutant may add and remove: it is one mistake, not a rewrite.
const LINES: RangeInclusive<usize> = 1..=8;

/// Name of a mutant: `KIND/NAME`, its file below `harness/mutants` without `.patch`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, Deserialize)]
#[serde(transparent)]
pub struct MutantId(String);

impl MutantId {
    /// The name of this file, relative to the folder of mutants.
    pub(super) fn of(file: &Path) -> Self {
        Self(file.with_extension("").to_string_lossy().into_owned())
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same for a file name.
    pub fn file_name(&self) -> String {
        self.0.replace('/', ".")
    }
}

impl fmt::Display for MutantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What is wrong with a mutant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", .file.display())]
pub struct MutantError {
    /// Its file, relative to the checkout.
    pub file: PathBuf,
    /// What is wrong, with the hunk where it is one.
    pub message: String,
}

/// What the lines above the diff say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    breaks: String,
    scenarios: Vec<String>,
    archs: Option<Vec<Arch>>,
    flavor: Option<Flavor>,
    #[serde(default)]
    hangs: bool,
}

/// A small breakage of the c/r source.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// Its name.
    pub id: MutantId,
    /// Its file, relative to the checkout.
    pub file: PathBuf,
    /// What it breaks, in one line.
    pub breaks: String,
    /// Globs of the scenarios that concern it.
    pub scenarios: Vec<String>,
    /// Where the broken line is built.
    pub archs: Vec<Arch>,
    /// The flavor that shows it.
    pub flavor: Flavor,
    /// It makes a task or the guest wait for ever: a timeout is what it should come to.
    pub hangs: bool,
    diff: String,
}

impl Mutant {
    /// Read a mutant; `file` is its path in the checkout, `id` its name.
    pub(super) fn parse(id: MutantId, file: &Path, text: &str) -> Result<Self, MutantError> {
        let wrong = |message: String| MutantError {
            file: file.to_owned(),
            message,
        };
        let at = text
            .find("--- ")
            .filter(|&at| at == 0 || text[..at].ends_with('\n'))
            .ok_or_else(|| wrong("expected a header and a unified diff".to_owned()))?;
        let (header, diff) = text.split_at(at);
        let Header {
            breaks,
            scenarios,
            archs,
            flavor,
            hangs,
        } = serde_yaml::from_str(header).map_err(|error| wrong(format!("header: {error}")))?;
        if breaks.trim().is_empty() || breaks.contains('\n') {
            return Err(wrong("header: `breaks` is not one line".to_owned()));
        }
        if scenarios.is_empty() {
            return Err(wrong("header: `scenarios` is empty".to_owned()));
        }
        if archs.as_ref().is_some_and(Vec::is_empty) {
            return Err(wrong("header: `archs` is empty".to_owned()));
        }
        let mutant = Self {
            id,
            file: file.to_owned(),
            breaks,
            scenarios,
            archs: archs.unwrap_or_else(|| Arch::ALL.to_vec()),
            flavor: flavor.unwrap_or(Flavor::Fast),
            hangs,
            diff: diff.to_owned(),
        };
        let patch = mutant.patch()?;
        let lines = patch.hunks().iter().flat_map(Hunk::lines);
        let changed = lines
            .filter(|line| !matches!(line, Line::Context(_)))
            .count();
        if !LINES.contains(&changed) {
            let (least, most) = LINES.into_inner();
            return Err(wrong(format!(
                "changes {changed} lines; a mutant has {least} to {most}"
            )));
        }
        Ok(mutant)
    }

    /// The file that it breaks, in the kernel tree, with its contents as they become.
    ///
    /// A hunk must fit at exactly one place of the file, wherever that has moved.
    pub fn changes(&self, checkout: &Path) -> Result<Changes, MutantError> {
        let patch = self.patch()?;
        let file = patch
            .original()
            .and_then(|name| name.strip_prefix("a/"))
            .filter(|name| patch.modified().and_then(|it| it.strip_prefix("b/")) == Some(*name))
            .ok_or_else(|| {
                self.wrong("expected `--- a/FILE` and `+++ b/FILE` of one file".to_owned())
            })?;
        let source = Path::new("kernels/checkpoint").join(file);
        let text = std::fs::read_to_string(checkout.join(&source))
            .map_err(|error| self.wrong(format!("{}: {error}", source.display())))?;
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        for (index, hunk) in patch.hunks().iter().enumerate() {
            let side = |kept: fn(&Line<'_, str>) -> bool| -> Vec<&str> {
                let lines = hunk.lines().iter().filter(|line| kept(line));
                lines
                    .map(|line| match line {
                        Line::Context(text) | Line::Delete(text) | Line::Insert(text) => *text,
                    })
                    .collect()
            };
            let before = side(|line| !matches!(line, Line::Insert(_)));
            let after = side(|line| !matches!(line, Line::Delete(_)));
            let places: Vec<_> = lines
                .windows(before.len().max(1))
                .enumerate()
                .filter(|(_, window)| *window == before)
                .map(|(at, _)| at)
                .collect();
            let (number, line) = (index + 1, hunk.old_range().start());
            match *places {
                [at] => drop(lines.splice(at..at + before.len(), after)),
                [] => {
                    return Err(self.wrong(format!(
                        "hunk {number} (line {line}) does not apply to {}: what it replaces is not there any more",
                        source.display()
                    )));
                }
                [first, second, ..] => {
                    return Err(self.wrong(format!(
                        "hunk {number} (line {line}) fits {} at lines {} and {}: give it more context",
                        source.display(),
                        first + 1,
                        second + 1
                    )));
                }
            }
        }
        Ok(Changes::from([(
            PathBuf::from(file),
            lines.concat().into_bytes(),
        )]))
    }

    fn patch(&self) -> Result<Patch<'_, str>, MutantError> {
        Patch::from_str(&self.diff).map_err(|error| self.wrong(format!("diff: {error}")))
    }

    fn wrong(&self, message: String) -> MutantError {
        MutantError {
            file: self.file.clone(),
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "# SPDX\nbreaks: it\nscenarios: [files/*]\n";
    const DIFF: &str =
        "--- a/kernel/mm.c\n+++ b/kernel/mm.c\n@@ -9,3 +9,2 @@\n one\n-two\n three\n";

    fn parse(text: &str) -> Result<Mutant, String> {
        let id = MutantId::of(Path::new("mm/it.patch"));
        Mutant::parse(id, Path::new("mm/it.patch"), text).map_err(|error| error.to_string())
    }

    /// What becomes of the file, or why nothing does.
    fn applied(file: &str, diff: &str) -> Result<String, String> {
        let checkout = tempfile::tempdir().unwrap();
        let folder = checkout.path().join("kernels/checkpoint/kernel");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("mm.c"), file).unwrap();
        let mutant = parse(&format!("{HEADER}{diff}"))?;
        let changes = mutant.changes(checkout.path());
        let changes = changes.map_err(|error| error.to_string())?;
        let (name, bytes) = changes.into_iter().next().unwrap();
        assert_eq!(name, Path::new("kernel/mm.c"));
        Ok(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_hunk_is_applied_wherever_its_lines_are() {
        let expected = Ok("zero\none\nthree\nfour\n".to_owned());
        assert_eq!(applied("zero\none\ntwo\nthree\nfour\n", DIFF), expected);
    }

    #[test]
    fn a_hunk_that_does_not_fit_is_named() {
        for (file, expected) in [
            (
                "one\nthree\n",
                "mm/it.patch: hunk 1 (line 9) does not apply to kernels/checkpoint/kernel/mm.c: what it replaces is not there any more",
            ),
            (
                "one\ntwo\nthree\none\ntwo\nthree\n",
                "mm/it.patch: hunk 1 (line 9) fits kernels/checkpoint/kernel/mm.c at lines 1 and 4: give it more context",
            ),
        ] {
            assert_eq!(applied(file, DIFF), Err(expected.to_owned()));
        }
        let gone = DIFF.replace("mm.c", "gone.c");
        let message = applied("", &gone).unwrap_err();
        assert!(
            message.starts_with("mm/it.patch: kernels/checkpoint/kernel/gone.c: "),
            "{message}"
        );
    }

    #[test]
    fn the_header_has_its_fields_and_no_others() {
        let mutant = parse(&format!("{HEADER}{DIFF}")).unwrap();
        assert_eq!(mutant.id.as_str(), "mm/it");
        assert_eq!(mutant.archs, Arch::ALL);
        assert_eq!(mutant.flavor, Flavor::Fast);
        assert!(!mutant.hangs);
        let whole = format!("{HEADER}archs: [s390x]\nflavor: debug\nhangs: true\n{DIFF}");
        let mutant = parse(&whole).unwrap();
        assert_eq!(mutant.archs, [Arch::S390x]);
        assert!(mutant.flavor == Flavor::Debug && mutant.hangs);
        for (text, expected) in [
            (HEADER.to_owned(), "expected a header and a unified diff"),
            (
                format!("{HEADER}more: 1\n{DIFF}"),
                "header: unknown field `more`",
            ),
            (
                format!("breaks: it\nscenarios: []\n{DIFF}"),
                "header: `scenarios` is empty",
            ),
            (
                format!("scenarios: [a]\n{DIFF}"),
                "header: missing field `breaks`",
            ),
            (
                format!("{HEADER}archs: [vax]\n{DIFF}"),
                "header: archs: no architecture is called \"vax\"",
            ),
            (
                format!("{HEADER}--- a/x\n+++ b/x\n@@ -1 +1 @@\n one\n"),
                "changes 0 lines; a mutant has 1 to 8",
            ),
        ] {
            let message = parse(&text).unwrap_err();
            let expected = format!("mm/it.patch: {expected}");
            assert!(message.starts_with(&expected), "{message}");
        }
    }
}
