//! What can go wrong between a source and a kernel; each error says where to look.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use crate::arch::Arch;
use crate::kernel::Flavor;
use crate::kernel::config::Unmet;
use crate::process::ProcessError;
use crate::store::StoreError;

/// Why there is no kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The store could not be read or written, or its disk is full.
    #[error(transparent)]
    Store(StoreError),
    /// The run was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A program is missing or cannot run.
    #[error("cannot start {command}: is it installed? `cargo xtask doctor` says what is missing")]
    Spawn {
        /// The whole command.
        command: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The compiler of an architecture is missing.
    #[error("{arch}: there is no {compiler}: install {packages}, or run `cargo xtask setup`")]
    NoCompiler {
        /// Whose compiler.
        arch: Arch,
        /// Its name.
        compiler: String,
        /// The Debian packages that hold it.
        packages: String,
    },
    /// What was given as a source is none.
    #[error("the kernel source {} {why}", .path.display())]
    Source {
        /// What was given.
        path: PathBuf,
        /// What is wrong with it, and the remedy.
        why: &'static str,
    },
    /// Debian's package could not be fetched.
    #[error(
        "cannot fetch the package {package}: run `cargo xtask setup`, which refreshes apt's lists, or give a tarball or a tree with --kernel-source{output}"
    )]
    Fetch {
        /// The package.
        package: &'static str,
        /// What apt said, each line after a line break.
        output: String,
    },
    /// A tool such as tar or git failed.
    #[error("{command} failed ({status}){output}")]
    Tool {
        /// The whole command.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said, each line after a line break.
        output: String,
    },
    /// A patch does not apply to this source.
    #[error("{} does not apply to this kernel source (docs/porting.md says how to refresh it){}", .patch.display(), list(.hunks))]
    Patch {
        /// The patch, relative to the checkout.
        patch: PathBuf,
        /// The hunks that failed.
        hunks: Vec<Hunk>,
    },
    /// A file of ours would replace one of the kernel's.
    #[error(
        "kernels/checkpoint/{} is a file of the kernel's own: change that by a patch in kernels/patches/6.12", .file.display()
    )]
    Overlay {
        /// The file, relative to the kernel tree.
        file: PathBuf,
    },
    /// A line of a fragment is no request.
    #[error("{file}:{line}: expected CONFIG_NAME=VALUE or # CONFIG_NAME is not set")]
    Fragment {
        /// The fragment, relative to the checkout.
        file: String,
        /// The line, from 1.
        line: usize,
    },
    /// Requested symbols that the kernel's configuration did not take.
    #[error("{arch}: symbols are not as requested; request what they depend on as well{}", list(.unmet))]
    Config {
        /// Whose configuration.
        arch: Arch,
        /// The symbols.
        unmet: Vec<Unmet>,
    },
    /// The kernel's make failed.
    #[error("{arch} {flavor}: the kernel does not build ({status}){errors}\n  the whole log: {}", .log.display())]
    Build {
        /// The architecture.
        arch: Arch,
        /// The flavor.
        flavor: Flavor,
        /// How make ended.
        status: ExitStatus,
        /// The first errors, each line after a line break.
        errors: String,
        /// All of its output.
        log: PathBuf,
    },
}

/// A part of a patch that did not apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hunk {
    /// The kernel's file.
    pub file: String,
    /// Which hunk, with its line, or why the whole file is not patched.
    pub why: String,
}

impl fmt::Display for Hunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.why)
    }
}

/// Each item on a line of its own, indented.
fn list<T: fmt::Display>(items: &[T]) -> String {
    items
        .iter()
        .fold(String::new(), |all, item| format!("{all}\n  {item}"))
}

impl From<StoreError> for KernelError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Cancelled => Self::Cancelled,
            error => Self::Store(error),
        }
    }
}

impl From<ProcessError> for KernelError {
    fn from(error: ProcessError) -> Self {
        match error {
            ProcessError::Cancelled => Self::Cancelled,
            ProcessError::Spawn { command, source } => Self::Spawn { command, source },
        }
    }
}
