//! Keys: what an artifact was made from, as one hash.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::StoreError;

/// The hash of everything that an artifact was made from: 64 hexadecimal digits of BLAKE3.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Key(String);

impl Key {
    /// A key that was written as text.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        valid.then(|| Self(text.to_owned()))
    }

    /// All digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, for messages and folder names.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Collects what a [`Key`] depends on. Order matters; labels keep neighbouring values apart.
#[derive(Clone, Debug)]
pub struct KeyBuilder(blake3::Hasher);

impl KeyBuilder {
    /// A key of this purpose; keys of different purposes never agree.
    pub fn new(purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        field(&mut hasher, purpose.as_bytes());
        Self(hasher)
    }

    /// Depend on a text.
    #[must_use]
    pub fn text(self, label: &str, text: &str) -> Self {
        self.bytes(label, text.as_bytes())
    }

    /// Depend on bytes.
    #[must_use]
    pub fn bytes(mut self, label: &str, bytes: &[u8]) -> Self {
        field(&mut self.0, label.as_bytes());
        field(&mut self.0, bytes);
        self
    }

    /// Depend on the contents of a file, not on its name.
    pub fn file(self, label: &str, path: &Path) -> Result<Self, StoreError> {
        let hash = hash_file(path).map_err(|error| StoreError::file(path, "read", error))?;
        Ok(self.bytes(label, hash.as_bytes()))
    }

    /// Depend on a folder: names, contents and executable bits of the files in it, targets of links.
    pub fn tree(self, label: &str, root: &Path) -> Result<Self, StoreError> {
        self.files(label, root, &walk(root)?)
    }

    /// Depend on these files below a folder, as [`KeyBuilder::tree`] does.
    pub fn files(
        mut self,
        label: &str,
        root: &Path,
        files: &[PathBuf],
    ) -> Result<Self, StoreError> {
        field(&mut self.0, label.as_bytes());
        self.0.update(&(files.len() as u64).to_le_bytes());
        for name in files {
            let path = root.join(name);
            let failed = |error| StoreError::file(&path, "read", error);
            field(&mut self.0, name.as_os_str().as_bytes());
            let metadata = path.symlink_metadata().map_err(failed)?;
            if metadata.is_symlink() {
                let target = path.read_link().map_err(failed)?;
                self.0.update(b"l");
                field(&mut self.0, target.as_os_str().as_bytes());
            } else {
                let executable = metadata.permissions().mode() & 0o111 != 0;
                self.0.update(if executable { b"x" } else { b"-" });
                self.0.update(hash_file(&path).map_err(failed)?.as_bytes());
            }
        }
        Ok(self)
    }

    /// The key.
    pub fn finish(self) -> Key {
        Key(self.0.finalize().to_hex().to_string())
    }
}

/// One value, its length first, so that two values never read as two others.
fn field(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

/// Hash of a file's contents.
pub(super) fn hash_file(path: &Path) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize())
}

/// Every file and link below a folder, relative to it, sorted; sockets and the like are left out.
pub(crate) fn walk(root: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let path = root.join(&folder);
        let failed = |error| StoreError::file(&path, "list", error);
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            let name = folder.join(entry.file_name());
            if kind.is_dir() {
                folders.push(name);
            } else if kind.is_file() || kind.is_symlink() {
                files.push(name);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_do_not_run_together() {
        let key = |a: &str, b: &str| KeyBuilder::new("t").text("x", a).text("x", b).finish();
        assert_eq!(key("ab", "c"), key("ab", "c"));
        assert_ne!(key("ab", "c"), key("a", "bc"));
        let other = KeyBuilder::new("u").text("x", "ab").text("x", "c");
        assert_ne!(key("ab", "c"), other.finish());
        assert_eq!(key("", "").short().len(), 12);
    }

    #[test]
    fn a_tree_is_names_contents_and_executable_bits() {
        let key = |change: &dyn Fn(&Path)| {
            let scratch = tempfile::tempdir().unwrap();
            let root = scratch.path();
            fs::create_dir(root.join("sub")).unwrap();
            fs::write(root.join("sub/a"), "1").unwrap();
            fs::write(root.join("b"), "2").unwrap();
            change(root);
            let builder = KeyBuilder::new("t").tree("tree", root).unwrap();
            builder.finish()
        };
        let plain = key(&|_| ());
        assert_eq!(
            plain,
            key(&|root| fs::create_dir(root.join("empty")).unwrap())
        );
        let changes: [&dyn Fn(&Path); 4] = [
            &|root| fs::write(root.join("b"), "3").unwrap(),
            &|root| fs::rename(root.join("b"), root.join("c")).unwrap(),
            &|root| fs::set_permissions(root.join("b"), fs::Permissions::from_mode(0o755)).unwrap(),
            &|root| std::os::unix::fs::symlink("b", root.join("link")).unwrap(),
        ];
        for (n, change) in changes.iter().enumerate() {
            assert_ne!(plain, key(change), "change {n}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = KeyBuilder::new("t").file("f", Path::new("/no/such")).err();
        assert_eq!(error.unwrap().to_string(), "cannot read /no/such");
    }
}
