//! The matrix: YAML to cases.
//!
//! A file is read into a tree in which every value knows its place, the tree into a model in which nothing is wrong any more, and the model is expanded into cases.
//! All mistakes of all files are reported at once.

mod case;
mod exec;
mod expect;
mod fields;
mod model;
mod select;
mod tamper;
mod template;
mod words;
mod yaml;

use std::fs;
use std::path::{Path, PathBuf};

use chrono::{NaiveDate, Utc};

pub use case::{
    By, Case, CaseId, Checkpoint, Expect, Forged, KnownFailure, Restart, Subject, Tamper,
};
pub use crossthaw_protocol::{Caller, Disturbance, Pids};
pub use exec::{End, Ending, Exec, Left, Needed, Origin, Ready, Resume, Rootfs, Site};
pub(crate) use select::glob;
pub use select::{Partition, PartitionError, SelectError, Selection};
pub use words::nearest;

use fields::Report;
use model::Scenario;

/// A mistake in a scenario file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {message}", file.display(), at(*line, *column))]
pub struct ScenarioError {
    /// The file, or the folder where there is none.
    pub file: PathBuf,
    /// Line, from 1; 0 where the file as a whole is wrong.
    pub line: usize,
    /// Column in characters, from 1; 0 where the file as a whole is wrong.
    pub column: usize,
    /// What was expected, and what is there.
    pub message: String,
}

fn at(line: usize, column: usize) -> String {
    if line == 0 {
        String::new()
    } else {
        format!(":{line}:{column}")
    }
}

/// Every scenario of a folder, without a mistake.
#[derive(Debug)]
pub struct Matrix {
    scenarios: Vec<Scenario>,
}

/// Read and check every `*.yaml` of a folder.
pub fn load(dir: &Path) -> Result<Matrix, Vec<ScenarioError>> {
    load_on(dir, Utc::now().date_naive())
}

/// The name of the folder of goldens in a folder of scenario files that is not the project's.
pub const GOLDENS: &str = "snapshots";

/// The same for folders that are not the project's: each has its goldens in a folder of its own, and a family is in one of them only.
pub fn load_others(dirs: &[PathBuf]) -> Result<Matrix, Vec<ScenarioError>> {
    let (mut scenarios, mut mistakes) = (Vec::<Scenario>::new(), Vec::new());
    for (place, dir) in dirs.iter().enumerate() {
        if dirs[..place].contains(dir) {
            continue;
        }
        let matrix = match load(dir) {
            Ok(matrix) => matrix,
            Err(more) => {
                mistakes.extend(more);
                continue;
            }
        };
        let goldens = dir.join(GOLDENS);
        for mut scenario in matrix.scenarios {
            let other = scenarios
                .iter()
                .find(|it| it.family == scenario.family && it.goldens.as_ref() != Some(&goldens));
            if let Some(other) = other {
                let message = format!(
                    "{} has a file of this name too",
                    other
                        .goldens
                        .as_deref()
                        .and_then(Path::parent)
                        .unwrap_or(dir)
                        .display()
                );
                let mistake = whole(&dir.join(format!("{}.yaml", scenario.family)), message);
                if !mistakes.contains(&mistake) {
                    mistakes.push(mistake);
                }
                continue;
            }
            scenario.goldens = Some(goldens.clone());
            scenarios.push(scenario);
        }
    }
    if mistakes.is_empty() {
        Ok(Matrix { scenarios })
    } else {
        Err(mistakes)
    }
}

/// The same on another day: known failures expire.
fn load_on(dir: &Path, today: NaiveDate) -> Result<Matrix, Vec<ScenarioError>> {
    let mut mistakes = Vec::new();
    let mut scenarios = Vec::new();
    for file in files(dir).map_err(|error| vec![error])? {
        match fs::read_to_string(&file) {
            Ok(text) => scenarios.extend(read(&file, &text, today, &mut mistakes)),
            Err(error) => mistakes.push(whole(&file, format!("cannot read it: {error}"))),
        }
    }
    mistakes.sort_by(|one, other| {
        let place = |it: &ScenarioError| (it.line, it.column);
        (&one.file, place(one)).cmp(&(&other.file, place(other)))
    });
    if mistakes.is_empty() {
        Ok(Matrix { scenarios })
    } else {
        Err(mistakes)
    }
}

/// A file, or a folder, that is wrong as a whole.
fn whole(file: &Path, message: impl Into<String>) -> ScenarioError {
    ScenarioError {
        file: file.to_owned(),
        line: 0,
        column: 0,
        message: message.into(),
    }
}

/// The scenario files of a folder, sorted.
fn files(dir: &Path) -> Result<Vec<PathBuf>, ScenarioError> {
    let failed = |error| whole(dir, format!("cannot list the scenario files: {error}"));
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml") => files.push(path),
            // It would be left out, and nobody would know.
            Some("yml") => return Err(whole(&path, "expected a name that ends with .yaml")),
            _ => {}
        }
    }
    if files.is_empty() {
        return Err(whole(dir, "expected scenario files, *.yaml, found none"));
    }
    files.sort();
    Ok(files)
}

fn read(
    file: &Path,
    text: &str,
    today: NaiveDate,
    mistakes: &mut Vec<ScenarioError>,
) -> Vec<Scenario> {
    let mut report = Report::new(file, mistakes);
    match yaml::parse(text) {
        Ok(root) => model::family(&root, file, today, &mut report),
        Err(mistake) => {
            report.add(mistake);
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests;
