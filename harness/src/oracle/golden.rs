//! The oracle **state**: reviewed golden states, in insta's file format, and the pending ones beside them.
//!
//! `NAME.snap` is every architecture's, `NAME@ARCH.snap` one architecture's alone and goes first.
//! What differs is left as `.snap.new`, where `cargo xtask review` and `cargo insta review` find it,
//! and in the run's own folder (`record`), from which another checkout can take it.

mod orphans;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub use orphans::{Orphan, orphans};
pub use record::{Found, RECORD, recorded};

use super::state;
use crate::arch::Arch;

/// A golden file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}", .path.display())]
pub struct GoldenError {
    /// What was tried.
    pub what: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// What a state is, compared with its golden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is the same.
    Same,
    /// There is no golden yet.
    Missing,
    /// It differs: the diff.
    Differs(String),
}

/// What this run has seen of one name.
#[derive(Debug, Default)]
struct Seen {
    /// Architectures whose state is the common golden.
    same: BTreeSet<Arch>,
    /// States that are not, in the order in which they came.
    other: Vec<(Arch, String)>,
    /// States that are not their architecture's own golden.
    own: Vec<(Arch, String)>,
}

fn names(archs: &BTreeSet<Arch>) -> String {
    let names: Vec<_> = archs.iter().map(|arch| arch.name()).collect();
    names.join(", ")
}

impl Seen {
    /// The pending files: `None` is for the common golden.
    ///
    /// The first state is proposed for all architectures, unless one of them has shown that the golden is right for it.
    fn pending(&self) -> BTreeMap<Option<Arch>, &str> {
        let mut files: BTreeMap<Option<Arch>, &str> = self
            .own
            .iter()
            .map(|(arch, text)| (Some(*arch), text.as_str()))
            .collect();
        let common = match self.other.first() {
            Some((_, text)) if self.same.is_empty() => {
                files.insert(None, text);
                Some(text)
            }
            _ => None,
        };
        let differing = self.other.iter().filter(|(_, text)| Some(text) != common);
        files.extend(differing.map(|(arch, text)| (Some(*arch), text.as_str())));
        files
    }

    /// Which architectures agree about a state, for a reviewer.
    fn agreement(&self, text: &str) -> String {
        let all = self.other.iter().chain(&self.own);
        let (same, other): (Vec<_>, Vec<_>) = all.partition(|(_, found)| found == text);
        let archs = |found: Vec<&(Arch, String)>| found.iter().map(|found| found.0).collect();
        let (same, other): (BTreeSet<Arch>, BTreeSet<Arch>) = (archs(same), archs(other));
        let parts = [
            ("seen on", &same),
            ("another state on", &other),
            ("the golden is right on", &self.same),
        ];
        let parts = parts.into_iter().filter(|(_, archs)| !archs.is_empty());
        let said = parts.map(|(what, archs)| format!("{what} {}", names(archs)));
        said.collect::<Vec<_>>().join("; ")
    }
}

/// The golden states of the project, as one run sees them; shared by all trials.
#[derive(Debug)]
pub struct Goldens {
    dir: PathBuf,
    record: Option<PathBuf>,
    seen: Mutex<BTreeMap<String, Seen>>,
}

impl Goldens {
    /// Those in this folder, `snapshots/`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            record: None,
            seen: Mutex::default(),
        }
    }

    /// The same, and what is found is kept in the run's folder, too.
    #[must_use]
    pub fn recorded_in(self, run: &Path) -> Self {
        Self {
            record: Some(run.join(RECORD)),
            ..self
        }
    }

    /// Their folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn path(&self, name: &str, arch: Option<Arch>) -> PathBuf {
        match arch {
            None => self.dir.join(format!("{name}.snap")),
            Some(arch) => self.dir.join(format!("{name}@{arch}.snap")),
        }
    }

    /// Compare the state of `FAMILY/SCENARIO[AXES]` on an architecture with its golden; leave it pending where it is another.
    pub fn check(&self, name: &str, arch: Arch, text: &str) -> Result<Judgement, GoldenError> {
        // Held while files are written: two trials of one scenario end at the same time.
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let own = read(&self.path(name, Some(arch)))?;
        let is_own = own.is_some();
        let golden = match own {
            Some(golden) => Some(golden),
            None => read(&self.path(name, None))?,
        };
        let seen = all.entry(name.to_owned()).or_default();
        let same = golden.as_deref() == Some(text.trim_end());
        match (is_own, same) {
            (true, true) => {}
            (true, false) => seen.own.push((arch, text.to_owned())),
            (false, true) => {
                seen.same.insert(arch);
            }
            (false, false) => seen.other.push((arch, text.to_owned())),
        }
        if let Some(record) = &self.record {
            record::append(record, name, arch, (!same).then_some(text))?;
        }
        self.sync(name, arch, seen)?;
        Ok(match golden {
            _ if same => Judgement::Same,
            None => Judgement::Missing,
            Some(golden) => {
                let path = self.path(name, is_own.then_some(arch));
                let diff = state::diff(
                    (&path.to_string_lossy(), &(golden + "\n")),
                    ("this run", &format!("{}\n", text.trim_end())),
                );
                Judgement::Differs(diff.unwrap_or_default())
            }
        })
    }

    /// Take over what another run found: as if it had been seen here.
    pub fn take(&self, found: &Found) -> Result<(), GoldenError> {
        let Found { name, arch, state } = found;
        if let Some(state) = state {
            return self.check(name, *arch, state).map(drop);
        }
        // It was the golden there, so it is here.
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = all.entry(name.clone()).or_default();
        seen.same.insert(*arch);
        self.sync(name, *arch, seen)
    }

    /// Make the pending files what they should be. Those of architectures that have not been seen are left as they are.
    fn sync(&self, name: &str, arch: Arch, seen: &Seen) -> Result<(), GoldenError> {
        let pending = seen.pending();
        let archs = seen.other.iter().chain(&seen.own).map(|(arch, _)| *arch);
        let mut places: Vec<Option<Arch>> = archs.map(Some).collect();
        places.extend([None, Some(arch)]);
        for place in places {
            let path = self.path(name, place).with_extension("snap.new");
            match pending.get(&place) {
                Some(text) => write(&path, name, text, Some(&seen.agreement(text)))?,
                None => remove(&path)?,
            }
        }
        Ok(())
    }
}

/// The contents of a snapshot file, without its head and without line breaks at its end.
fn contents(file: &str) -> &str {
    let body = file
        .strip_prefix("---\n")
        .and_then(|rest| rest.split_once("\n---\n"))
        .map_or(file, |(_, body)| body);
    body.trim_end()
}

/// The state in a golden file or a pending one, without line breaks at its end; `None` if there is no such file.
pub fn read(path: &Path) -> Result<Option<String>, GoldenError> {
    match fs::read_to_string(path) {
        Ok(file) => Ok(Some(contents(&file.replace("\r\n", "\n")).to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(GoldenError {
            what: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

/// Which architectures agree about a pending state, as the run saw it.
pub fn agreement(path: &Path) -> Option<String> {
    let file = fs::read_to_string(path).ok()?;
    let head = file.strip_prefix("---\n")?.split_once("\n---\n")?.0;
    let line = head
        .lines()
        .find_map(|line| line.strip_prefix("description: "))?;
    serde_json::from_str(line).ok()
}

/// A pending state becomes the golden.
pub fn accept(pending: &Path, golden: &Path, name: &str) -> Result<(), GoldenError> {
    if let Some(text) = read(pending)? {
        // What was said about the run is not kept.
        write(golden, name, &text, None)?;
    }
    remove(pending)
}

/// Remove a file, if it is there.
pub fn remove(path: &Path) -> Result<(), GoldenError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(GoldenError {
            what: "remove",
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// Write in one step: a reviewer, or another run, sees the old file or the new one.
fn write(path: &Path, name: &str, text: &str, said: Option<&str>) -> Result<(), GoldenError> {
    let failed = |source| GoldenError {
        what: "write",
        path: path.to_owned(),
        source,
    };
    let dir = path.parent().unwrap_or(Path::new("."));
    let family = name.split_once('/').map_or(name, |(family, _)| family);
    let said = said.map(|said| format!("description: {said:?}\n"));
    fs::create_dir_all(dir).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    write!(
        file,
        "---\nsource: scenarios/{family}.yaml\n{}expression: \"state of {name}\"\n---\n{}\n",
        said.unwrap_or_default(),
        text.trim_end()
    )
    .map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests;
