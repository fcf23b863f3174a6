//! The run's folder: each run has its own, `latest` points to the newest.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};

use super::ReportError;

/// Folder of the trials' evidence in the run's folder.
pub const TRIALS: &str = "trials";

/// A folder that belongs to this run alone.
#[derive(Clone, Debug)]
pub struct RunFolder {
    id: String,
    dir: PathBuf,
    started: String,
}

impl RunFolder {
    /// Make a folder below `runs`, named by the time (UTC), and let `runs/latest` point to it.
    pub fn create(runs: &Path, now: SystemTime) -> Result<Self, ReportError> {
        std::fs::create_dir_all(runs).map_err(|source| ReportError::file("make", runs, source))?;
        let now = DateTime::<Utc>::from(now);
        let stem = now.format("%Y%m%d-%H%M%S").to_string();
        // A run that started in the same second has the name without a number.
        let mut names = std::iter::once(stem.clone()).chain((2..).map(|n| format!("{stem}-{n}")));
        let (id, dir) = loop {
            let Some(id) = names.next() else {
                unreachable!("the numbers do not end")
            };
            let dir = runs.join(&id);
            match std::fs::create_dir(&dir) {
                Ok(()) => break (id, dir),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(ReportError::file("make", &dir, error)),
            }
        };
        let started = now.to_rfc3339_opts(SecondsFormat::Secs, true);
        let folder = Self { id, dir, started };
        folder.point(runs)?;
        Ok(folder)
    }

    /// Let `latest` point here: in one step, so that it always points somewhere.
    fn point(&self, runs: &Path) -> Result<(), ReportError> {
        let new = runs.join(format!(".latest-{}", self.id));
        std::os::unix::fs::symlink(&self.id, &new)
            .map_err(|source| ReportError::file("link", &new, source))?;
        let latest = runs.join("latest");
        std::fs::rename(&new, &latest)
            .map_err(|source| ReportError::file("replace", &latest, source))
    }

    /// The run's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// When it was made, RFC 3339.
    pub fn started(&self) -> &str {
        &self.started
    }

    /// The folder of one trial's evidence; `name` comes from [`CaseId::file_name`](crate::scenario::CaseId::file_name).
    pub fn trial(&self, name: &str) -> PathBuf {
        self.dir.join(TRIALS).join(name)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn two_runs_in_one_second_have_two_folders_and_latest_is_the_second() {
        let scratch = tempfile::tempdir().unwrap();
        let runs = scratch.path().join("target/crossthaw/runs");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let first = RunFolder::create(&runs, now).unwrap();
        let second = RunFolder::create(&runs, now).unwrap();
        assert_eq!(
            (first.id(), second.id()),
            ("20231114-221320", "20231114-221320-2")
        );
        let latest = std::fs::read_link(runs.join("latest")).unwrap();
        assert_eq!(latest, Path::new(second.id()));
        let names = std::fs::read_dir(&runs).unwrap().count();
        assert_eq!(names, 3, "no temporary link is left");
    }
}
