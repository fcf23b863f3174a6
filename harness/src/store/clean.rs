//! What nobody has used for long.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Store, StoreError, open_lock, remove_dir, walk};

/// A folder that was last used long ago.
#[derive(Clone, Debug)]
pub struct Unused {
    /// The kind of an artifact, `work` for a work tree, `corrupt` for an artifact that was damaged.
    pub kind: String,
    /// The folder.
    pub path: PathBuf,
    /// What it takes on the disk, in bytes.
    pub bytes: u64,
    /// The lock of whoever uses it, and the file whose time says when that was.
    lock: PathBuf,
    dated: PathBuf,
}

/// Since when this has not been used; none if that cannot be told.
fn age(dated: &Path) -> Option<Duration> {
    let used = fs::metadata(dated).and_then(|meta| meta.modified()).ok()?;
    SystemTime::now().duration_since(used).ok()
}

/// What a folder takes on the disk, in bytes; holes take nothing.
pub fn disk_usage(dir: &Path) -> Result<u64, StoreError> {
    let size = |file: PathBuf| {
        let meta = fs::symlink_metadata(dir.join(file));
        // A file that goes away meanwhile takes nothing.
        meta.map_or(0, |meta| meta.blocks() * 512)
    };
    Ok(walk(dir)?.into_iter().map(size).sum())
}

/// A folder was used now; a store that cannot be written to is as good.
pub(super) fn used(dir: &Path) {
    let touched = fs::File::open(dir).and_then(|dir| dir.set_modified(SystemTime::now()));
    if let Err(error) = touched {
        tracing::debug!("cannot touch {}: {error}", dir.display());
    }
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(dir).and_then(|entries| {
        entries
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<_>>>()
    });
    let mut entries = entries.map_err(|error| StoreError::file(dir, "list", error))?;
    entries.sort();
    Ok(entries)
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

impl Store {
    /// What was not used for so long, by kind.
    pub fn unused(&self, at_least: Duration) -> Result<Vec<Unused>, StoreError> {
        let mut all = Vec::new();
        let mut add = |kind: String, lock: String, path: PathBuf, dated: PathBuf| {
            if age(&dated).is_some_and(|age| age >= at_least) {
                all.push(Unused {
                    kind,
                    bytes: disk_usage(&path)?,
                    path,
                    lock: self.root.join("locks").join(lock),
                    dated,
                });
            }
            Ok::<_, StoreError>(())
        };
        for kind in list(&self.root.join("artifacts"))? {
            for dir in list(&kind)? {
                let lock = format!("{}-{}", name(&kind), name(&dir));
                add(name(&kind), lock, dir.clone(), dir)?;
            }
        }
        for dir in list(&self.root.join("work"))? {
            let lock = format!("work-{}", name(&dir));
            // Whoever takes the lock writes into it.
            let dated = self.root.join("locks").join(&lock);
            add("work".to_owned(), lock, dir, dated)?;
        }
        for dir in list(&self.root.join("corrupt"))? {
            add("corrupt".to_owned(), name(&dir), dir.clone(), dir)?;
        }
        Ok(all)
    }

    /// Remove it, unless somebody uses it or has used it since it was looked for.
    pub fn remove(&self, unused: &Unused, at_least: Duration) -> Result<bool, StoreError> {
        let lock = open_lock(&unused.lock)?;
        if lock.try_lock().is_err() || age(&unused.dated).is_none_or(|age| age < at_least) {
            return Ok(false);
        }
        remove_dir(&unused.path)?;
        Ok(true)
    }
}
