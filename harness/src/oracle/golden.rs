//! The oracle **state**: reviewed golden states, in insta's file format, and the pending ones beside them.
//!
//! `NAME.snap` is every architecture's, `NAME@ARCH.snap` one architecture's alone and goes first.
//! What differs is left as `.snap.new`, where `cargo xtask review` and `cargo insta review` find it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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
    same: Vec<Arch>,
    /// States that are not, in the order in which they came.
    other: Vec<(Arch, String)>,
    /// States that are not their architecture's own golden.
    own: Vec<(Arch, String)>,
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
}

/// The golden states of the project, as one run sees them; shared by all trials.
#[derive(Debug)]
pub struct Goldens {
    dir: PathBuf,
    seen: Mutex<BTreeMap<String, Seen>>,
}

impl Goldens {
    /// Those in this folder, `snapshots/`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            seen: Mutex::default(),
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
            (false, true) => seen.same.push(arch),
            (false, false) => seen.other.push((arch, text.to_owned())),
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

    /// Make the pending files what they should be. Those of architectures that have not been seen are left as they are.
    fn sync(&self, name: &str, arch: Arch, seen: &Seen) -> Result<(), GoldenError> {
        let pending = seen.pending();
        let archs = seen.other.iter().chain(&seen.own).map(|(arch, _)| *arch);
        let mut places: Vec<Option<Arch>> = archs.map(Some).collect();
        places.extend([None, Some(arch)]);
        for place in places {
            let path = self.path(name, place).with_extension("snap.new");
            match pending.get(&place) {
                Some(text) => write(&path, name, text)?,
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

fn remove(path: &Path) -> Result<(), GoldenError> {
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
fn write(path: &Path, name: &str, text: &str) -> Result<(), GoldenError> {
    let failed = |source| GoldenError {
        what: "write",
        path: path.to_owned(),
        source,
    };
    let dir = path.parent().unwrap_or(Path::new("."));
    let family = name.split_once('/').map_or(name, |(family, _)| family);
    fs::create_dir_all(dir).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    write!(
        file,
        "---\nsource: scenarios/{family}.yaml\nexpression: \"state of {name}\"\n---\n{}\n",
        text.trim_end()
    )
    .map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Arch::{Ppc64, S390x, X86_32, X86_64};

    const NAME: &str = "pipes/full[size=4096]";

    fn files(dir: &Path) -> Vec<(String, String)> {
        let Ok(entries) = fs::read_dir(dir.join("pipes")) else {
            return Vec::new();
        };
        let mut files: Vec<_> = entries
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (
                    name.replace("full[size=4096]", "F"),
                    read(&path).unwrap().unwrap(),
                )
            })
            .collect();
        files.sort();
        files
    }

    fn accept(dir: &Path, name: &str, text: &str) {
        write(&dir.join(format!("{name}.snap")), name, text).unwrap();
    }

    /// Golden files, what each architecture has, and the files afterwards.
    #[track_caller]
    fn check(goldens: &[(&str, &str)], run: &[(Arch, &str, bool)], expected: &[(&str, &str)]) {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path();
        for (suffix, text) in goldens {
            accept(dir, &format!("{NAME}{suffix}"), text);
        }
        let run_goldens = Goldens::new(dir);
        for &(arch, text, same) in run {
            let found = run_goldens.check(NAME, arch, text).unwrap();
            assert_eq!(found == Judgement::Same, same, "{arch} {text}");
        }
        let expected: Vec<_> = expected
            .iter()
            .map(|&(name, text)| (name.to_owned(), text.to_owned()))
            .collect();
        assert_eq!(files(dir), expected);
    }

    #[test]
    fn the_same_state_leaves_nothing() {
        check(
            &[("", "a\nb")],
            &[(S390x, "a\nb\n", true), (X86_64, "a\nb", true)],
            &[("F.snap", "a\nb")],
        );
    }

    #[test]
    fn a_first_state_is_proposed_for_all_and_others_for_their_architecture() {
        check(
            &[],
            &[
                (S390x, "a\n", false),
                (X86_64, "a\n", false),
                (Ppc64, "b\n", false),
            ],
            &[("F.snap.new", "a"), ("F@ppc64.snap.new", "b")],
        );
    }

    #[test]
    fn what_one_architecture_confirms_is_not_replaced() {
        let expected = &[
            ("F.snap", "a"),
            ("F@ppc64.snap.new", "b"),
            ("F@s390x.snap.new", "b"),
        ];
        let (good, one, two) = (
            (X86_64, "a", true),
            (Ppc64, "b", false),
            (S390x, "b", false),
        );
        check(&[("", "a")], &[good, one, two], expected);
        check(&[("", "a")], &[one, two, good], expected);
        check(
            &[("", "a")],
            &[one, two],
            &[("F.snap", "a"), ("F.snap.new", "b")],
        );
    }

    #[test]
    fn an_architectures_own_golden_goes_first() {
        check(
            &[("", "a"), ("@ppc64", "b")],
            &[(Ppc64, "b", true), (X86_32, "a", true)],
            &[("F.snap", "a"), ("F@ppc64.snap", "b")],
        );
        check(
            &[("", "a"), ("@ppc64", "b")],
            &[(Ppc64, "a", false)],
            &[
                ("F.snap", "a"),
                ("F@ppc64.snap", "b"),
                ("F@ppc64.snap.new", "a"),
            ],
        );
    }

    #[test]
    fn what_an_earlier_run_left_is_replaced_or_removed() {
        let old = [
            (".new", ""),
            ("@s390x.snap.new", ""),
            ("@ppc64.snap.new", ""),
        ];
        for (text, expected) in [
            ("a", vec!["F.snap", "F@ppc64.snap.new"]),
            ("c", vec!["F.snap", "F.snap.new", "F@ppc64.snap.new"]),
        ] {
            let scratch = tempfile::tempdir().unwrap();
            accept(scratch.path(), NAME, "a");
            for (suffix, _) in &old {
                let suffix = suffix.replace(".snap.new", "").replace(".new", "");
                let path = scratch.path().join(format!("{NAME}{suffix}.snap.new"));
                write(&path, NAME, "old").unwrap();
            }
            let goldens = Goldens::new(scratch.path());
            goldens.check(NAME, S390x, text).unwrap();
            let names: Vec<_> = files(scratch.path())
                .into_iter()
                .map(|file| file.0)
                .collect();
            assert_eq!(names, expected);
        }
    }

    #[test]
    fn a_difference_is_told() {
        let scratch = tempfile::tempdir().unwrap();
        accept(scratch.path(), NAME, "a\nb\n");
        let found = Goldens::new(scratch.path()).check(NAME, S390x, "a\nc\n");
        let Judgement::Differs(diff) = found.unwrap() else {
            panic!("it differs")
        };
        assert!(diff.ends_with(" a\n-b\n+c\n"), "{diff}");
    }

    #[test]
    fn insta_reads_what_is_written() {
        let scratch = tempfile::tempdir().unwrap();
        accept(scratch.path(), "pipes__full", "a\n  b\n");
        let mut settings = insta::Settings::new();
        settings.set_snapshot_path(scratch.path());
        settings.set_prepend_module_to_snapshot(false);
        settings.bind(|| insta::assert_snapshot!("pipes__full", "a\n  b\n"));
    }
}
