//! A folder with a small workspace in it, and the commands that tests run there.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder that goes away with the value.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Something in it.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, and makes the folders it needs.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// `cargo xtask` in the checkout `repo`, with these programs, nothing of the caller's environment, and no terminal.
    pub(crate) fn xtask(
        &self,
        repo: &str,
        programs: impl Into<OsString>,
        arguments: &[&str],
    ) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", programs.into())
            .env("CROSSTHAW_CACHE", self.path("cache"))
            .env("CARGO_MANIFEST_DIR", self.path(repo).join("xtask"))
            .stdin(Stdio::null());
        command
    }
}
