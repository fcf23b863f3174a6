//! Where mutants were caught when they were last measured: a file of the checkout, so that the next measurement begins with that case,
//! and everybody sees what the oracles are worth.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{FOLDER, Mutant, MutantError, MutantId, Outcome, Row};
use crate::arch::Arch;
use crate::scenario::Case;
use crate::store::StoreError;

/// The file, in [`FOLDER`].
pub(super) const FILE: &str = "caught.tsv";

const HEAD: &str = "# SPDX-License-Identifier: GPL-2.0-only\n# Where each mutant was caught: architecture, mutant, oracle, case. Written by `cargo xtask mutants --record`.\n";

/// The oracle, and the case.
type Place = (String, String);

/// The file's lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caught(BTreeMap<(MutantId, Arch), Place>);

fn path() -> PathBuf {
    Path::new(FOLDER).join(FILE)
}

impl Caught {
    /// Read those of a checkout; what is said of a mutant that is not there is a mistake.
    pub fn load(checkout: &Path, mutants: &[Mutant]) -> Result<Self, MutantError> {
        let wrong = |message: String| MutantError {
            file: path(),
            message,
        };
        let text = match std::fs::read_to_string(checkout.join(path())) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|error| wrong(error.to_string()))?,
        };
        Self::parse(&text, mutants).map_err(wrong)
    }

    fn parse(text: &str, mutants: &[Mutant]) -> Result<Self, String> {
        let mut all = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let at = |what: &str| format!("line {}: {what}: {line:?}", number + 1);
            let parts: Vec<_> = line.split('\t').collect();
            let [arch, mutant, oracle, case] = parts[..] else {
                return Err(at("expected four words with tabs between them"));
            };
            let arch = arch
                .parse::<Arch>()
                .map_err(|error| at(&error.to_string()))?;
            let mutant = mutants
                .iter()
                .find(|it| it.id.as_str() == mutant)
                .ok_or_else(|| at("there is no such mutant; remove the line"))?;
            let place = (oracle.to_owned(), case.to_owned());
            if all.insert((mutant.id.clone(), arch), place).is_some() {
                return Err(at("this mutant is there twice"));
            }
        }
        Ok(Self(all))
    }

    /// Take over what was measured: a mutant that was not caught has no line, and one of which nothing is known keeps its own.
    pub fn note(&mut self, rows: &[Row]) {
        for row in rows {
            let (by, case) = match &row.outcome {
                Outcome::Caught { by, case, .. } => (by.as_str(), case.as_ref()),
                Outcome::TimedOut {
                    case,
                    expected: true,
                    ..
                } => (row.outcome.word(), Some(case)),
                Outcome::Survived | Outcome::TimedOut { .. } => {
                    self.0.remove(&(row.mutant.clone(), row.arch));
                    continue;
                }
                _ => continue,
            };
            let case = case.map_or("-", |case| case.without_arch());
            let place = (by.to_owned(), case.to_owned());
            self.0.insert((row.mutant.clone(), row.arch), place);
        }
    }

    /// Write them down.
    pub fn save(&self, checkout: &Path) -> Result<(), StoreError> {
        let path = checkout.join(path());
        std::fs::write(&path, self.text()).map_err(|error| StoreError::file(&path, "write", error))
    }

    fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for ((mutant, arch), (oracle, case)) in &self.0 {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{arch}\t{mutant}\t{oracle}\t{case}");
        }
        text
    }

    /// The cases of a mutant, first the one that caught it.
    pub(super) fn first(&self, mutant: &Mutant, arch: Arch, mut cases: Vec<Case>) -> Vec<Case> {
        let place = self.0.get(&(mutant.id.clone(), arch));
        // The sort keeps the order of the others.
        cases.sort_by_key(|case| place.is_none_or(|(_, name)| case.id.without_arch() != name));
        cases
    }

    /// Is there a line of this mutant?
    pub fn has(&self, mutant: &Mutant, arch: Arch) -> bool {
        self.0.contains_key(&(mutant.id.clone(), arch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Flavor;

    fn mutant() -> Mutant {
        let header = "breaks: b\nscenarios: [files/*]\n";
        let diff = "--- a/kernel/checkpoint/files.c\n+++ b/kernel/checkpoint/files.c\n@@ -1,1 +1,1 @@\n-a\n+b\n";
        let id = MutantId::of(Path::new("files/one.patch"));
        Mutant::parse(id, Path::new("f"), &format!("{header}{diff}")).unwrap()
    }

    #[test]
    fn what_was_measured_is_read_again() {
        let mutant = mutant();
        let case = serde_json::from_str("\"s390x/files/dup\"").unwrap();
        let mut caught = Caught::default();
        let row = Row {
            mutant: mutant.id.clone(),
            arch: Arch::S390x,
            flavor: Flavor::Fast,
            outcome: Outcome::Caught {
                by: "state".to_owned(),
                case: Some(case),
                message: String::new(),
            },
            known: false,
            tried: 1,
            build_seconds: 0.0,
            boot_seconds: 0.0,
            trials_seconds: 0.0,
        };
        let survived = Row {
            arch: Arch::Ppc64,
            outcome: Outcome::Survived,
            ..row.clone()
        };
        let before = Row {
            arch: Arch::Ppc64,
            ..row.clone()
        };
        caught.note(&[row, before, survived]);
        let text = caught.text();
        assert_eq!(text, format!("{HEAD}s390x\tfiles/one\tstate\tfiles/dup\n"));
        let all = [mutant];
        assert_eq!(Caught::parse(&text, &all), Ok(caught.clone()));
        let found = [Arch::S390x, Arch::Ppc64].map(|arch| caught.has(&all[0], arch));
        assert_eq!(found, [true, false]);
    }

    #[test]
    fn mistakes_name_their_line() {
        let check = |text: &str, expected: &str| {
            let found = Caught::parse(text, &[mutant()]).unwrap_err();
            assert!(found.starts_with(expected), "{found}");
        };
        check("#\nfiles/one\n", "line 2: expected four words");
        check("vax\tfiles/one\tstate\tfiles/dup\n", "line 1: ");
        check(
            "s390x\tfiles/two\tstate\tfiles/dup\n",
            "line 1: there is no such mutant",
        );
        let line = "s390x\tfiles/one\tstate\tfiles/dup\n";
        check(&line.repeat(2), "line 2: this mutant is there twice");
    }
}
