//! Where the kernel explains a refusal: a file of the caller's, or one in memory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::MemfdFlags;

/// An open log.
#[derive(Debug)]
pub struct Log {
    file: File,
}

impl Log {
    /// A file, emptied first.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(path)?,
        })
    }

    /// A file that nobody else sees.
    pub fn in_memory() -> io::Result<Self> {
        Ok(Self {
            file: File::from(rustix::fs::memfd_create("log", MemfdFlags::CLOEXEC)?),
        })
    }

    /// A descriptor that the caller was started with; what was in it before is not this log's, and is not read back.
    pub fn from_fd(fd: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self {
            file: File::from(fd.try_clone_to_owned()?),
        })
    }

    /// For the system calls.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// What the kernel wrote; empty if the log cannot be read.
    pub fn text(&mut self) -> String {
        let mut bytes = Vec::new();
        let _ = self
            .file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The same, to be put behind a message: each line on one of its own.
    pub fn told(&mut self) -> String {
        let text = self.text();
        let text = text.trim_end();
        if text.is_empty() {
            String::new()
        } else {
            format!("\n{text}")
        }
    }
}
