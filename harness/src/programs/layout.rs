//! What is in a program's folder, or its root file system, when it starts.

use std::collections::{BTreeMap, btree_map};
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crossthaw_protocol::{Entry, EntryKind, ROOTFS_FOLDER, STDERR_FILE, STDOUT_FILE};

use super::{StageError, in_scenario};
use crate::qemu::Folder;
use crate::scenario::Site;

/// Most bytes of all files: they are in the guest's memory, 256 MiB, beside its kernel, the program and the image.
pub const MOST_BYTES: u64 = 128 << 20;

/// One thing in the folder.
#[derive(Debug)]
struct Node {
    kind: EntryKind,
    mode: u32,
    owner: (u32, u32),
    bytes: Vec<u8>,
    /// Device and inode of a file that has several names on this machine.
    shared: Option<(u64, u64)>,
}

/// The folder, while it is filled. Times are all the same: what is staged twice is equal.
#[derive(Debug)]
pub(super) struct Layout {
    rootfs: bool,
    owner: (u32, u32),
    nodes: BTreeMap<PathBuf, Node>,
    bytes: u64,
}

impl Layout {
    /// An empty one, or one for a root file system; files are the user's unless something else is said.
    pub(super) fn new(rootfs: bool, user: Option<(u32, u32)>) -> Self {
        let mut it = Self {
            rootfs,
            owner: user.unwrap_or((0, 0)),
            nodes: BTreeMap::new(),
            bytes: 0,
        };
        if rootfs {
            for (name, mode) in [("dev", 0o755), ("proc", 0o755), ("tmp", 0o1777)] {
                it.folder(Path::new(name), mode, (0, 0));
            }
            it.folder(Path::new(ROOTFS_FOLDER), 0o777, (0, 0));
        }
        it
    }

    fn folder(&mut self, at: &Path, mode: u32, owner: (u32, u32)) {
        self.nodes.insert(
            at.to_owned(),
            Node {
                kind: EntryKind::Directory,
                mode,
                owner,
                bytes: Vec::new(),
                shared: None,
            },
        );
    }

    /// Take over a folder of this machine as the root file system.
    pub(super) fn rootfs(&mut self, folder: &Path, site: &Site) -> Result<(), StageError> {
        let meta = fs::metadata(folder).map_err(|error| StageError::file(site, folder, &error))?;
        if !meta.is_dir() {
            let message = format!("{} is not a folder", folder.display());
            return Err(StageError::wrong(site, message));
        }
        for name in ["dev", "proc", ROOTFS_FOLDER] {
            let path = folder.join(name);
            if path.symlink_metadata().is_ok_and(|meta| !meta.is_dir()) {
                let message = format!(
                    "{} is in the way: the guest mounts its own there, expected a folder or nothing",
                    path.display()
                );
                return Err(StageError::wrong(site, message));
            }
        }
        self.below(folder, Path::new(""), Keep::Theirs, site)
    }

    /// Put a program where it starts.
    pub(super) fn program(
        &mut self,
        name: &str,
        bytes: Vec<u8>,
        site: &Site,
    ) -> Result<(), StageError> {
        let at = PathBuf::from(in_scenario(self.rootfs, name));
        let owner = self.owner;
        self.put(
            &at,
            EntryKind::Regular { size: 0 },
            0o755,
            owner,
            bytes,
            site,
        )
    }

    /// Put a symbolic link of root's in the root directory.
    pub(super) fn link(&mut self, name: &str, target: &str, site: &Site) -> Result<(), StageError> {
        let kind = EntryKind::Symlink {
            target: target.to_owned(),
        };
        self.put(Path::new(name), kind, 0o777, (0, 0), Vec::new(), site)
    }

    /// Copy a file or a folder of this machine.
    pub(super) fn copy(
        &mut self,
        from: &Path,
        to: &str,
        mode: Option<u32>,
        owner: Option<(u32, u32)>,
        site: &Site,
    ) -> Result<(), StageError> {
        let at = PathBuf::from(in_scenario(self.rootfs, to.trim_end_matches('/')));
        let owner = owner.unwrap_or(self.owner);
        let meta = fs::metadata(from).map_err(|error| StageError::file(site, from, &error))?;
        self.parents(&at, owner);
        if meta.is_dir() {
            self.folder(&at, mode.unwrap_or(meta.mode() & 0o7777), owner);
            return self.below(from, &at, Keep::Owner(owner), site);
        }
        let bytes = fs::read(from).map_err(|error| StageError::file(site, from, &error))?;
        let mode = mode.unwrap_or(meta.permissions().mode() & 0o7777);
        self.put(
            &at,
            EntryKind::Regular { size: 0 },
            mode,
            owner,
            bytes,
            site,
        )
    }

    /// The folders on the way to a place.
    fn parents(&mut self, at: &Path, owner: (u32, u32)) {
        let missing = at.ancestors().skip(1);
        let missing = missing.filter(|path| !path.as_os_str().is_empty());
        let missing: Vec<_> = missing
            .filter(|path| !self.nodes.contains_key(*path))
            .map(Path::to_owned)
            .collect();
        for path in missing {
            self.folder(&path, 0o755, owner);
        }
    }

    fn put(
        &mut self,
        at: &Path,
        kind: EntryKind,
        mode: u32,
        owner: (u32, u32),
        bytes: Vec<u8>,
        site: &Site,
    ) -> Result<(), StageError> {
        let length = bytes.len() as u64;
        self.bytes += length;
        if self.bytes > MOST_BYTES {
            let message = format!(
                "the program and its files have more than {} MiB, and the guest keeps them in its memory: leave out what the program does not need",
                MOST_BYTES >> 20
            );
            return Err(StageError::wrong(site, message));
        }
        let kind = match kind {
            EntryKind::Regular { .. } => EntryKind::Regular { size: length },
            other => other,
        };
        let here = at.strip_prefix(if self.rootfs { ROOTFS_FOLDER } else { "" });
        let reserved = [STDOUT_FILE, STDERR_FILE].map(Path::new);
        if here.is_ok_and(|name| reserved.contains(&name)) {
            let message = format!(
                "{} is where the program's own output goes: choose another name",
                at.display()
            );
            return Err(StageError::wrong(site, message));
        }
        let node = Node {
            kind,
            mode,
            owner,
            bytes,
            shared: None,
        };
        match self.nodes.insert(at.to_owned(), node) {
            // A root file system's own files can be replaced.
            Some(_) if !self.rootfs => {
                let message = format!("two files are called {} in the folder", at.display());
                Err(StageError::wrong(site, message))
            }
            _ => Ok(()),
        }
    }

    fn below(
        &mut self,
        folder: &Path,
        at: &Path,
        keep: Keep,
        site: &Site,
    ) -> Result<(), StageError> {
        let failed = |error| StageError::file(site, folder, &error);
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        names.sort();
        for name in names {
            let (path, at) = (folder.join(&name), at.join(&name));
            let failed = |error| StageError::file(site, &path, &error);
            let meta = fs::symlink_metadata(&path).map_err(failed)?;
            let (mode, owner) = (meta.mode() & 0o7777, keep.owner(&meta));
            let kind = meta.file_type();
            if kind.is_dir() {
                self.folder(&at, mode, owner);
                // What the guest mounts there covers it.
                if !(self.rootfs && ["dev", "proc"].iter().any(|name| at == Path::new(name))) {
                    self.below(&path, &at, keep, site)?;
                }
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).map_err(failed)?;
                let Some(target) = target.to_str() else {
                    let message = format!("the link {} is not UTF-8", path.display());
                    return Err(StageError::wrong(site, message));
                };
                let kind = EntryKind::Symlink {
                    target: target.to_owned(),
                };
                self.put(&at, kind, 0o777, owner, Vec::new(), site)?;
            } else if kind.is_fifo() {
                self.put(&at, EntryKind::Fifo, mode, owner, Vec::new(), site)?;
            } else if kind.is_file() {
                self.file(&path, &at, &meta, keep, site)?;
            } else {
                let message = format!(
                    "{} is a device or a socket, which does not travel: remove it",
                    path.display()
                );
                return Err(StageError::wrong(site, message));
            }
        }
        Ok(())
    }

    /// Copy a file of a folder; one with several names counts once.
    fn file(
        &mut self,
        path: &Path,
        at: &Path,
        meta: &Metadata,
        keep: Keep,
        site: &Site,
    ) -> Result<(), StageError> {
        let (mode, owner) = (meta.mode() & 0o7777, keep.owner(meta));
        let shared = (meta.nlink() > 1).then(|| (meta.dev(), meta.ino()));
        let first = self
            .nodes
            .values()
            .find(|node| shared.is_some() && node.shared == shared);
        let bytes = match first {
            Some(first) => {
                let bytes = first.bytes.clone();
                self.bytes -= bytes.len() as u64;
                bytes
            }
            // Not even read.
            None if self.bytes + meta.len() > MOST_BYTES => {
                self.bytes = MOST_BYTES;
                vec![0]
            }
            None => fs::read(path).map_err(|error| StageError::file(site, path, &error))?,
        };
        let kind = EntryKind::Regular { size: 0 };
        self.put(at, kind, mode, owner, bytes, site)?;
        if let Some(node) = self.nodes.get_mut(at) {
            node.shared = shared;
        }
        Ok(())
    }

    /// The entries, parents first.
    pub(super) fn finish(self, site: &Site) -> Result<Folder, StageError> {
        let mut entries = Vec::new();
        let mut named = BTreeMap::new();
        for (path, mut node) in self.nodes {
            let Some(text) = path.to_str() else {
                let message = format!("{} is not UTF-8", path.display());
                return Err(StageError::wrong(site, message));
            };
            if let Some(file) = node.shared {
                match named.entry(file) {
                    btree_map::Entry::Vacant(first) => {
                        first.insert(text.to_owned());
                    }
                    btree_map::Entry::Occupied(first) => {
                        let to = first.get().clone();
                        node.kind = EntryKind::Link { to };
                        node.bytes.clear();
                    }
                }
            }
            let entry = Entry {
                path: text.to_owned(),
                kind: node.kind,
                mode: node.mode,
                uid: node.owner.0,
                gid: node.owner.1,
                mtime_ns: 0,
                attributes: Vec::new(),
            };
            entries.push((entry, node.bytes));
        }
        Ok(Folder { entries })
    }
}

/// Whose files they become.
#[derive(Clone, Copy, Debug)]
enum Keep {
    /// Whose they are here; those of whoever runs this are root's, as in an archive that a user made of a system.
    Theirs,
    /// One owner's.
    Owner((u32, u32)),
}

impl Keep {
    fn owner(self, meta: &Metadata) -> (u32, u32) {
        let me = rustix::process::getuid().as_raw();
        match self {
            Self::Owner(owner) => owner,
            Self::Theirs if meta.uid() == me => (0, 0),
            Self::Theirs => (meta.uid(), meta.gid()),
        }
    }
}
