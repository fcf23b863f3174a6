//! The files that are written as a whole: `results.json`, `junit.xml`, `report.html`, and the command of each trial that left a folder.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::results::command;
use super::{Event, Finished, ReportError, Results, Sink, html, junit};

/// How often `results.json` follows a run at most.
const INTERVAL: Duration = Duration::from_secs(1);

/// Part of the time that may go into it; a run of many rounds has much to write.
const SHARE: u32 = 20;

/// Replace a file in one step: a reader, or we after a crash, find the old one or the new one.
fn replace(path: &Path, contents: &[u8]) -> Result<(), ReportError> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    let new = path.with_file_name(name);
    // Nobody else writes in the run's folder, so the name can be fixed.
    let written = std::fs::write(&new, contents)
        .and_then(|()| std::fs::rename(&new, path))
        .map_err(|source| ReportError::file("write", path, source));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written
}

/// Writes the three; `results.json` from the start, so that a run that is cut short, however, leaves a valid one.
pub struct Files {
    dir: PathBuf,
    results: Results,
    written: Option<Instant>,
    /// How long the last time took.
    cost: Duration,
}

impl Files {
    /// They will be in this folder.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            results: Results::default(),
            written: None,
            cost: Duration::ZERO,
        }
    }

    fn results(&mut self) -> Result<(), ReportError> {
        let start = Instant::now();
        let text = self
            .results
            .to_json()
            .map_err(|source| ReportError::Format {
                format: "results.json",
                source: source.into(),
            })?;
        let outcome = replace(&self.dir.join("results.json"), &text);
        self.written = Some(Instant::now());
        self.cost = start.elapsed();
        outcome
    }

    /// A trial's folder says by itself how to repeat it.
    fn command(&self, finished: &Finished) -> Result<(), ReportError> {
        match (&finished.folder, self.results.case(&finished.case)) {
            (Some(folder), Some(case)) if folder.is_dir() => replace(
                &folder.join("command.txt"),
                format!("{}\n", command(case, finished, &self.results.run)).as_bytes(),
            ),
            _ => Ok(()),
        }
    }

    fn junit(&self) -> Result<(), ReportError> {
        let text = junit::render(&self.results).map_err(|source| ReportError::Format {
            format: "junit.xml",
            source: source.into(),
        })?;
        replace(&self.dir.join("junit.xml"), text.as_bytes())
    }

    fn html(&self) -> Result<(), ReportError> {
        let text = html::render(&self.results);
        replace(&self.dir.join("report.html"), text.as_bytes())
    }
}

impl Sink for Files {
    fn take(&mut self, event: &Event) -> Result<(), ReportError> {
        self.results.apply(event);
        match event {
            Event::RunStarted { .. } => self.results(),
            // One that does not fit need not keep the others out.
            Event::RunFinished { .. } => self.results().and(self.junit()).and(self.html()),
            Event::TrialFinished(finished) => {
                let command = self.command(finished);
                let interval = INTERVAL.max(self.cost * SHARE);
                if self.written.is_none_or(|last| last.elapsed() >= interval) {
                    self.results()?;
                }
                command
            }
            Event::BuildStarted { .. }
            | Event::BuildProgress { .. }
            | Event::BuildFinished { .. }
            | Event::TrialStarted { .. }
            | Event::TrialRetried { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Verdict;
    use crate::report::tests::{finished, planned};

    fn start(dir: &Path) -> (Files, Event) {
        let cases = vec![planned("s390x/pipes/full"), planned("ppc64/pipes/full")];
        let started = Event::RunStarted {
            id: "1".to_owned(),
            dir: dir.to_owned(),
            started: "2026-01-01T00:00:00Z".to_owned(),
            archs: vec![crate::arch::Arch::S390x, crate::arch::Arch::Ppc64],
            cases,
            rounds: Some(1),
        };
        (Files::new(dir), started)
    }

    fn json(dir: &Path) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(dir.join("results.json")).unwrap()).unwrap()
    }

    #[test]
    fn a_run_that_is_killed_leaves_valid_results() {
        let scratch = tempfile::tempdir().unwrap();
        let (mut files, started) = start(scratch.path());
        files.take(&started).unwrap();
        let before = json(scratch.path());
        assert_eq!(before["run"]["complete"], false);
        assert_eq!(before["cases"].as_array().unwrap().len(), 2);
        files.written = None;
        let folder = scratch.path().join("trial");
        std::fs::create_dir(&folder).unwrap();
        let mut finished = finished("s390x/pipes/full", Verdict::Pass);
        finished.folder = Some(folder.clone());
        files
            .take(&Event::TrialFinished(Box::new(finished)))
            .unwrap();
        let command = std::fs::read_to_string(folder.join("command.txt")).unwrap();
        assert_eq!(command, "cargo xtask repeat 1/s390x/pipes/full\n");
        drop(files);
        let after = json(scratch.path());
        assert_eq!(
            (&after["cases"][0]["verdict"], &after["cases"][1]["verdict"]),
            (&"pass".into(), &serde_json::Value::Null)
        );
        assert_eq!(after["run"]["unfinished"], 1);
    }

    #[test]
    fn a_full_disk_keeps_the_older_results() {
        let scratch = tempfile::tempdir().unwrap();
        let (mut files, started) = start(scratch.path());
        files.take(&started).unwrap();
        let before = json(scratch.path());
        std::os::unix::fs::symlink("/dev/full", scratch.path().join(".results.json")).unwrap();
        files.written = None;
        let event = Event::TrialFinished(Box::new(finished("s390x/pipes/full", Verdict::Pass)));
        let error = files.take(&event).unwrap_err();
        assert!(matches!(error, ReportError::DiskFull { .. }), "{error}");
        assert_eq!(json(scratch.path()), before);
        files.written = None;
        files.take(&event).unwrap();
        assert_eq!(json(scratch.path())["run"]["passed"], 1);
    }
}
