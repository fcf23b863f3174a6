//! Artifacts by content hash, published with one rename.
//!
//! Below the root:
//! - `artifacts/KIND/KEY/`: what was built, with its digest
//! - `scratch/KIND-KEY/`: what is being built; whoever holds the key's lock owns it
//! - `corrupt/KIND-KEY/`: an artifact that no longer agreed with its digest
//! - `work/NAME/`: work trees that persist between builds, such as a kernel tree
//! - `notes/NAME`: small facts that are slow to find out
//! - `locks/NAME`: a file to flock(2) for each of the above; the system releases it with its holder
//!
//! Nothing is synced to the disk: what a power failure takes, the digest notices.

mod clean;
mod digest;
mod key;

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::{Cancel, ProcessError};
pub use clean::{Unused, disk_usage};
use digest::Found;
pub(crate) use key::walk;
pub use key::{Key, KeyBuilder};

/// Pause between two attempts at a lock that another run holds.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Is there no space left, for anybody or for this user?
pub(crate) fn disk_is_full(error: &io::Error) -> bool {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    full.contains(&error.kind())
}

/// Why an artifact cannot be kept or had.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system of the store is full.
    #[error("the disk that holds {} is full: free some space and run again", .path.display())]
    DiskFull {
        /// What did not fit.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("cannot {what} {}", .path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The run was cancelled while it waited for another run's build.
    #[error("cancelled")]
    Cancelled,
}

impl StoreError {
    /// An I/O error on a file; a full disk has a variant of its own.
    pub fn file(path: &Path, what: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        if disk_is_full(&source) {
            Self::DiskFull { path }
        } else {
            Self::File { what, path, source }
        }
    }
}

/// An artifact that agrees with its digest.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// Its folder.
    pub dir: PathBuf,
    /// What it was made from.
    pub key: Key,
    /// Was it built just now?
    pub built: bool,
}

/// A folder that persists, and that nobody else uses while this value lives.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    _lock: File,
}

impl WorkDir {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A store for what nobody wants afterwards: it goes away with this value, or when the next store is opened if its owner was killed.
#[derive(Debug)]
pub struct Throwaway {
    store: Store,
    // The folder goes before its lock does.
    scratch: Scratch,
    _lock: File,
}

impl Throwaway {
    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// A folder beside the artifacts, empty at first.
    pub fn dir(&self) -> &Path {
        &self.scratch.0
    }
}

/// The artifacts of one user on one machine; shared by runs at the same time.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    cancel: Option<Cancel>,
}

impl Store {
    /// Open the store at this folder, which is made where there is none.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        for name in ["artifacts", "scratch", "corrupt", "work", "notes", "locks"] {
            make_dir(&root.join(name))?;
        }
        // Names of files are compared and handed to programs that run elsewhere.
        let root = root
            .canonicalize()
            .map_err(|error| StoreError::file(root, "open", error))?;
        let store = Self { root, cancel: None };
        store.sweep()?;
        Ok(store)
    }

    /// Let this end the wait for a build of another run.
    #[must_use]
    pub fn cancelled_by(mut self, cancel: &Cancel) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The artifact, if it was built and is sound.
    ///
    /// One that no longer agrees with its digest is moved to `corrupt/`, and is as if it had never been.
    pub fn get(&self, kind: &str, key: &Key) -> Result<Option<Artifact>, StoreError> {
        let dir = self.artifact_dir(kind, key);
        match digest::verify(&dir)? {
            Found::Nothing => Ok(None),
            Found::Sound => {
                clean::used(&dir);
                Ok(Some(self.artifact(kind, key, false)))
            }
            Found::Corrupt(_) => {
                let _lock = self.lock(&lock_name(kind, key))?;
                self.get_locked(kind, key)
            }
        }
    }

    /// The artifact, built now if there is none.
    ///
    /// `build` fills an empty folder. Two runs that want the same artifact build it once.
    /// When it fails, nothing is kept.
    pub fn get_or_build<E: From<StoreError>>(
        &self,
        kind: &str,
        key: &Key,
        build: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<Artifact, E> {
        if let Some(artifact) = self.get(kind, key)? {
            return Ok(artifact);
        }
        let name = lock_name(kind, key);
        let _lock = self.lock(&name)?;
        if let Some(artifact) = self.get_locked(kind, key)? {
            return Ok(artifact);
        }
        let scratch = Scratch::new(self.root.join("scratch").join(&name))?;
        build(&scratch.0)?;
        digest::seal(&scratch.0)?;
        let dir = self.artifact_dir(kind, key);
        make_dir(&self.root.join("artifacts").join(kind))?;
        rename(&scratch.0, &dir)?;
        Ok(self.artifact(kind, key, true))
    }

    /// A folder of this name that persists; waits while another run uses it.
    pub fn work_dir(&self, name: &str) -> Result<WorkDir, StoreError> {
        let lock = self.lock(&format!("work-{name}"))?;
        let path = self.root.join("work").join(name);
        make_dir(&path)?;
        Ok(WorkDir { path, _lock: lock })
    }

    /// A store of this name inside of this one that goes away with its value; waits while another run has it.
    pub fn throwaway(&self, name: &str) -> Result<Throwaway, StoreError> {
        let name = format!("throwaway-{name}");
        let lock = self.lock(&name)?;
        let scratch = Scratch::new(self.root.join("scratch").join(&name))?;
        let mut store = Self::open(&scratch.0.join("store"))?;
        store.cancel.clone_from(&self.cancel);
        Ok(Throwaway {
            store,
            scratch,
            _lock: lock,
        })
    }

    /// A fact that was noted before.
    pub fn note(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.root.join("notes").join(name)).ok()
    }

    /// Note a fact that is slow to find out, such as the hash of a big file that has not changed.
    pub fn set_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        let path = self.root.join("notes").join(name);
        write_atomic(&path, text.as_bytes())
            .map_err(|error| StoreError::file(&path, "write", error))
    }

    fn artifact_dir(&self, kind: &str, key: &Key) -> PathBuf {
        self.root.join("artifacts").join(kind).join(key.as_str())
    }

    fn artifact(&self, kind: &str, key: &Key, built: bool) -> Artifact {
        Artifact {
            dir: self.artifact_dir(kind, key),
            key: key.clone(),
            built,
        }
    }

    /// [`Store::get`] for whoever holds the key's lock.
    fn get_locked(&self, kind: &str, key: &Key) -> Result<Option<Artifact>, StoreError> {
        let dir = self.artifact_dir(kind, key);
        match digest::verify(&dir)? {
            Found::Nothing => Ok(None),
            Found::Sound => Ok(Some(self.artifact(kind, key, false))),
            Found::Corrupt(why) => {
                let kept = self.root.join("corrupt").join(lock_name(kind, key));
                remove_dir(&kept)?;
                rename(&dir, &kept)?;
                tracing::warn!(
                    "the cached {kind} {} is damaged, {why}: kept as {}, it is built anew",
                    key.short(),
                    kept.display()
                );
                Ok(None)
            }
        }
    }

    /// Take a lock, waiting for the run that holds it. It is released when the file is closed.
    fn lock(&self, name: &str) -> Result<File, StoreError> {
        let path = self.root.join("locks").join(name);
        let failed = |error| StoreError::file(&path, "lock", error);
        let mut file = open_lock(&path)?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) => {}
            }
            if !told {
                let holder = fs::read_to_string(&path).unwrap_or_default();
                tracing::warn!("waiting for {name}, which process {holder} is at");
                told = true;
            }
            // flock(2) cannot be polled, and a wait in it would not end with the run.
            match &self.cancel {
                None => std::thread::sleep(LOCK_PAUSE),
                Some(cancel) => cancel.sleep(LOCK_PAUSE).map_err(|error| match error {
                    ProcessError::Cancelled => StoreError::Cancelled,
                    ProcessError::Spawn { source, .. } => failed(source),
                })?,
            }
        }
        // For the message above, nothing else.
        let _ = file
            .set_len(0)
            .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
        Ok(file)
    }

    /// Remove what runs left that were killed while they built.
    fn sweep(&self) -> Result<(), StoreError> {
        let scratch = self.root.join("scratch");
        let failed = |error| StoreError::file(&scratch, "list", error);
        for entry in fs::read_dir(&scratch).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let lock = open_lock(&self.root.join("locks").join(entry.file_name()))?;
            if lock.try_lock().is_ok() {
                remove_dir(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// A folder that goes away unless it was renamed.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn new(path: PathBuf) -> Result<Self, StoreError> {
        remove_dir(&path)?;
        make_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove_dir(&self.0) {
            tracing::warn!("{error}");
        }
    }
}

fn lock_name(kind: &str, key: &Key) -> String {
    format!("{kind}-{key}")
}

fn open_lock(path: &Path) -> Result<File, StoreError> {
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| StoreError::file(path, "open", error))
}

fn make_dir(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(|error| StoreError::file(path, "make", error))
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(|error| StoreError::file(to, "publish", error))
}

/// Remove a folder; none is as good.
pub(crate) fn remove_dir(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::file(path, "remove", error))
        }
        _ => Ok(()),
    }
}

/// Write a file so that others see the old contents or the new ones.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests;
