//! The oracles, measured: small breakages of the c/r source, each of which some oracle must see.
//!
//! A mutant is a patch of a few lines below `harness/mutants/KIND/`. It is applied in memory, built in the work tree of the true kernel,
//! and tried with the scenarios that concern it until one fails. A mutant that passes them all shows what no oracle looks at.

mod caught;
mod known;
mod measure;
mod outcome;
mod patch;
mod same_code;
mod table;
#[cfg(test)]
mod tests;
mod trials;

use std::path::Path;

pub use caught::Caught;
pub use measure::{MeasureError, News, Settings, measure};
pub use outcome::{Meaning, Outcome, Row};
pub use patch::{Mutant, MutantError, MutantId};
pub use table::{markdown, summary, text};

use crate::arch::Arch;
use crate::scenario::{self, Case, Matrix, SelectError, Selection};
use crate::store::walk;

/// Where the mutants are, in the checkout.
pub const FOLDER: &str = "harness/mutants";

/// Read every mutant of a checkout, in the order of their names; all mistakes at once.
pub fn load(checkout: &Path) -> Result<Vec<Mutant>, Vec<MutantError>> {
    let folder = checkout.join(FOLDER);
    let files = walk(&folder).map_err(|error| {
        vec![MutantError {
            file: FOLDER.into(),
            message: error.to_string(),
        }]
    })?;
    let mut mistakes = Vec::new();
    let mut mutants = Vec::new();
    for name in files {
        if name == Path::new(caught::FILE) {
            continue;
        }
        let file = Path::new(FOLDER).join(&name);
        let mut wrong = |message: String| {
            mistakes.push(MutantError {
                file: file.clone(),
                message,
            });
        };
        if name.extension().is_none_or(|it| it != "patch") || name.components().count() != 2 {
            wrong(format!("expected {FOLDER}/KIND/NAME.patch"));
            continue;
        }
        match std::fs::read_to_string(folder.join(&name)) {
            Err(error) => wrong(error.to_string()),
            Ok(text) => match Mutant::parse(MutantId::of(&name), &file, &text) {
                Ok(mutant) => mutants.push(mutant),
                Err(error) => mistakes.push(error),
            },
        }
    }
    if mistakes.is_empty() {
        Ok(mutants)
    } else {
        Err(mistakes)
    }
}

/// The mutants whose names match one of the globs; all without a glob.
pub fn select<'a>(mutants: &'a [Mutant], globs: &[String]) -> Result<Vec<&'a Mutant>, SelectError> {
    let globs = globs
        .iter()
        .map(|text| Ok((text, scenario::glob(text)?)))
        .collect::<Result<Vec<_>, SelectError>>()?;
    for (text, glob) in &globs {
        if !mutants.iter().any(|it| glob.is_match(it.id.as_str())) {
            return Err(SelectError::NoMutant {
                glob: (*text).clone(),
            });
        }
    }
    let matches = |mutant: &&Mutant| {
        globs.is_empty()
            || globs
                .iter()
                .any(|(_, glob)| glob.is_match(mutant.id.as_str()))
    };
    Ok(mutants.iter().filter(matches).collect())
}

impl Mutant {
    /// The cases that concern it on an architecture, without those whose failure is known.
    pub fn cases(&self, matrix: &Matrix, arch: Arch) -> Result<Vec<Case>, MutantError> {
        let selection = Selection {
            archs: vec![arch],
            scenarios: self.scenarios.clone(),
            partition: None,
            flavor: self.flavor,
            fault_stride: None,
        };
        let cases = matrix.select(&selection).map_err(|error| MutantError {
            file: self.file.clone(),
            message: format!("header: scenarios: {error}"),
        })?;
        let cases = cases.into_iter();
        Ok(cases.filter(|case| case.known_failure.is_none()).collect())
    }
}
