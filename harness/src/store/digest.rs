//! Is an artifact still what was published? By digest once, by the stamps of its files afterwards.
//!
//! The digest lies in the artifact's folder and is published with it, in the same rename.
//! Stamps (size, times, inode) say that a file was hashed before and has not been written since;
//! they make the check of a warm store a handful of stat calls.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::key::{hash_file, walk};
use super::{StoreError, write_atomic};

/// Contents of each file, by its path in the artifact.
const DIGEST: &str = ".digest";
/// Stamp of each file when it was last found to agree with the digest.
const STAMPS: &str = ".stamps";

/// Contents by path.
type Digest = BTreeMap<PathBuf, String>;
/// Stamps by path.
type Stamps = BTreeMap<PathBuf, Stamp>;

/// What changes when a file is written or replaced.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    size: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What [`verify`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No folder.
    Nothing,
    /// What was published.
    Sound,
    /// Something else, and what differs.
    Corrupt(String),
}

/// Write the digest of a folder that is about to be published.
pub(super) fn seal(dir: &Path) -> Result<(), StoreError> {
    let mut digest = Digest::new();
    for name in contents(dir)? {
        let hash = hash(dir, &name)?;
        digest.insert(name, hash);
    }
    save(dir, DIGEST, &digest)?;
    save(dir, STAMPS, &stamps(dir, &digest)?)
}

/// Does a published folder agree with its digest?
pub(super) fn verify(dir: &Path) -> Result<Found, StoreError> {
    if !dir.exists() {
        return Ok(Found::Nothing);
    }
    let Some(digest) = load::<Digest>(dir, DIGEST) else {
        return Ok(Found::Corrupt("it has no readable digest".to_owned()));
    };
    if !contents(dir)?.iter().eq(digest.keys()) {
        return Ok(Found::Corrupt("it has other files".to_owned()));
    }
    let now = stamps(dir, &digest)?;
    if load::<Stamps>(dir, STAMPS).as_ref() == Some(&now) {
        return Ok(Found::Sound);
    }
    for (name, wanted) in &digest {
        if hash(dir, name)? != *wanted {
            return Ok(Found::Corrupt(format!("{} has changed", name.display())));
        }
    }
    // A store that cannot be written to is as good, only slower.
    if let Err(error) = save(dir, STAMPS, &now) {
        tracing::debug!("{error}");
    }
    Ok(Found::Sound)
}

/// The files that the digest covers.
fn contents(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = walk(dir)?;
    files.retain(|name| name != Path::new(DIGEST) && name != Path::new(STAMPS));
    Ok(files)
}

fn hash(dir: &Path, name: &Path) -> Result<String, StoreError> {
    let path = dir.join(name);
    let hash = hash_file(&path).map_err(|error| StoreError::file(&path, "read", error))?;
    Ok(hash.to_hex().to_string())
}

/// Stamps of the digest's files and of the digest itself.
fn stamps(dir: &Path, digest: &Digest) -> Result<Stamps, StoreError> {
    let digest_file = PathBuf::from(DIGEST);
    let names = digest.keys().chain([&digest_file]);
    let stamp = |name: &PathBuf| {
        let path = dir.join(name);
        let metadata = path
            .metadata()
            .map_err(|error| StoreError::file(&path, "read", error))?;
        let stamp = Stamp {
            size: metadata.size(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        Ok((name.clone(), stamp))
    };
    names.map(stamp).collect()
}

fn load<T: DeserializeOwned>(dir: &Path, name: &str) -> Option<T> {
    serde_json::from_slice(&fs::read(dir.join(name)).ok()?).ok()
}

fn save(dir: &Path, name: &str, value: &impl Serialize) -> Result<(), StoreError> {
    let path = dir.join(name);
    serde_json::to_vec(value)
        .map_err(io::Error::other)
        .and_then(|bytes| write_atomic(&path, &bytes))
        .map_err(|error| StoreError::file(&path, "write", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Change a sealed folder and see what [`verify`] says.
    fn check(change: impl FnOnce(&Path), wanted: &Found) {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path();
        fs::create_dir(dir.join("sub")).unwrap();
        fs::write(dir.join("image"), "kernel").unwrap();
        fs::write(dir.join("sub/map"), "symbols").unwrap();
        seal(dir).unwrap();
        change(dir);
        assert_eq!(verify(dir).unwrap(), *wanted);
        // The answer is the same with the stamps that the first look may have left.
        assert_eq!(verify(dir).unwrap(), *wanted);
    }

    fn corrupt(why: &str) -> Found {
        Found::Corrupt(why.to_owned())
    }

    #[test]
    fn an_untouched_folder_is_sound_with_and_without_stamps() {
        check(|_| (), &Found::Sound);
        check(
            |dir| fs::remove_file(dir.join(STAMPS)).unwrap(),
            &Found::Sound,
        );
        check(
            |dir| fs::write(dir.join(STAMPS), "{").unwrap(),
            &Found::Sound,
        );
    }

    #[test]
    fn a_rewritten_file_with_the_same_contents_is_sound() {
        check(
            |dir| fs::write(dir.join("image"), "kernel").unwrap(),
            &Found::Sound,
        );
    }

    #[test]
    fn every_change_is_found() {
        let changed = corrupt("image has changed");
        check(
            |dir| fs::write(dir.join("image"), "kernem").unwrap(),
            &changed,
        );
        check(|dir| fs::write(dir.join("image"), "").unwrap(), &changed);
        let files = corrupt("it has other files");
        check(|dir| fs::remove_file(dir.join("sub/map")).unwrap(), &files);
        check(|dir| fs::write(dir.join("more"), "").unwrap(), &files);
        let digest = corrupt("it has no readable digest");
        check(|dir| fs::remove_file(dir.join(DIGEST)).unwrap(), &digest);
        check(
            |dir| fs::write(dir.join(DIGEST), "{\"ima").unwrap(),
            &digest,
        );
        check(|dir| fs::write(dir.join(DIGEST), "{}").unwrap(), &files);
    }

    #[test]
    fn nothing_is_not_corrupt() {
        assert_eq!(verify(Path::new("/no/such")).unwrap(), Found::Nothing);
    }
}
