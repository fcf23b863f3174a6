//! What can go wrong with a guest; each error carries the end of its console.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::process::ProcessError;
use crate::store::{StoreError, disk_is_full};

/// Lines of the console that an error shows.
pub const CONSOLE_LINES: usize = 40;

/// Bytes read from the end of a console to find those lines.
const CONSOLE_BYTES: usize = 64 << 10;

/// The last [`CONSOLE_LINES`] lines of a guest's console and where the rest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleTail {
    /// The file that the console is written to.
    pub path: PathBuf,
    /// Its last lines; empty if the guest never wrote one.
    pub lines: Vec<String>,
}

impl ConsoleTail {
    /// Read the end of a console. A file that is not there has no lines.
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_default();
        let end = &bytes[bytes.len().saturating_sub(CONSOLE_BYTES)..];
        Self::of_text(path, &String::from_utf8_lossy(end))
    }

    /// The last lines of this text of a console.
    pub(crate) fn of_text(path: &Path, text: &str) -> Self {
        let lines: Vec<_> = text
            .lines()
            .map(|line| line.trim_end_matches('\r').to_owned())
            .collect();
        let lines = lines[lines.len().saturating_sub(CONSOLE_LINES)..].to_vec();
        Self {
            path: path.to_owned(),
            lines,
        }
    }
}

impl fmt::Display for ConsoleTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lines.is_empty() {
            return write!(f, "\nthe console {} is empty", self.path.display());
        }
        write!(f, "\nlast lines of {}:", self.path.display())?;
        self.lines
            .iter()
            .try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// Why a guest could not be made, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// QEMU could not be started at all.
    #[error("cannot start {command}")]
    Spawn {
        /// The whole command, as a shell would take it.
        command: String,
        #[source]
        /// What the system said.
        source: io::Error,
    },
    /// QEMU ended while it was needed: a panic (`panic=-1` ends it), a kill, or bad arguments.
    #[error("QEMU ended ({status}) during {phase}: {command}{errors}{console}")]
    Died {
        /// What was going on.
        phase: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The whole command.
        command: String,
        /// What QEMU wrote to its standard error, each line after a line break.
        errors: String,
        /// The guest's last words.
        console: ConsoleTail,
    },
    /// A deadline passed.
    #[error("no answer for {after:.1?} during {phase}{console}")]
    TimedOut {
        /// What was going on.
        phase: &'static str,
        /// How long was waited.
        after: Duration,
        /// The guest's last words.
        console: ConsoleTail,
    },
    /// The agent's port or the monitor failed while QEMU lives.
    #[error("the connection failed during {phase}{console}")]
    Port {
        /// What was going on.
        phase: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
        /// The guest's last words.
        console: ConsoleTail,
    },
    /// The file system that holds templates or consoles is full.
    #[error("the disk that holds {} is full", .path.display())]
    DiskFull {
        /// What did not fit.
        path: PathBuf,
    },
    /// The run was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// An answer that makes no sense here.
    #[error("unexpected answer during {phase}: {what}{console}")]
    Protocol {
        /// What was going on.
        phase: &'static str,
        /// What came.
        what: String,
        /// The guest's last words.
        console: ConsoleTail,
    },
    /// The agent could not do what it was asked.
    #[error("the agent failed during {phase}: {message}{console}")]
    Agent {
        /// What was going on.
        phase: &'static str,
        /// In the agent's words.
        message: String,
        /// The guest's last words.
        console: ConsoleTail,
    },
    /// QEMU refused a monitor command.
    #[error("QEMU refused {command}: {message}")]
    Monitor {
        /// The command's name.
        command: &'static str,
        /// In QEMU's words.
        message: String,
    },
    /// A file of ours could not be read or written.
    #[error("cannot {what}")]
    File {
        /// What was tried, with the path.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The files of a template are not what was saved.
    #[error("the template {} is damaged: {why}", .path.display())]
    Damaged {
        /// Its folder.
        path: PathBuf,
        /// What differs.
        why: String,
    },
}

impl From<StoreError> for GuestError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::DiskFull { path } => Self::DiskFull { path },
            StoreError::Cancelled => Self::Cancelled,
            StoreError::File { what, path, source } => Self::File {
                what: format!("{what} {}", path.display()),
                source,
            },
        }
    }
}

impl From<ProcessError> for GuestError {
    fn from(error: ProcessError) -> Self {
        match error {
            ProcessError::Spawn { command, source } => Self::Spawn { command, source },
            ProcessError::Cancelled => Self::Cancelled,
        }
    }
}

impl GuestError {
    /// Turn an I/O error on one of our files into the right variant: a full disk has its own.
    pub fn file(path: &Path, what: &str, source: io::Error) -> Self {
        if disk_is_full(&source) {
            Self::DiskFull {
                path: path.to_owned(),
            }
        } else {
            Self::File {
                what: format!("{what} {}", path.display()),
                source,
            }
        }
    }

    /// The same, during something of which the request or command was a part.
    #[must_use]
    pub(crate) fn during(mut self, whole: &'static str) -> Self {
        match &mut self {
            Self::Died { phase, .. }
            | Self::TimedOut { phase, .. }
            | Self::Port { phase, .. }
            | Self::Protocol { phase, .. }
            | Self::Agent { phase, .. } => *phase = whole,
            Self::Spawn { .. }
            | Self::DiskFull { .. }
            | Self::Cancelled
            | Self::Monitor { .. }
            | Self::File { .. }
            | Self::Damaged { .. } => {}
        }
        self
    }

    /// The same, when the console has been moved.
    #[must_use]
    pub(crate) fn with_console_at(mut self, path: &Path) -> Self {
        if let Self::Died { console, .. }
        | Self::TimedOut { console, .. }
        | Self::Port { console, .. }
        | Self::Protocol { console, .. }
        | Self::Agent { console, .. } = &mut self
        {
            path.clone_into(&mut console.path);
        }
        self
    }

    /// The console that the error carries.
    pub fn console(&self) -> Option<&ConsoleTail> {
        match self {
            Self::Died { console, .. }
            | Self::TimedOut { console, .. }
            | Self::Port { console, .. }
            | Self::Protocol { console, .. }
            | Self::Agent { console, .. } => Some(console),
            Self::Spawn { .. }
            | Self::DiskFull { .. }
            | Self::Cancelled
            | Self::Monitor { .. }
            | Self::File { .. }
            | Self::Damaged { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_has_the_last_lines_without_carriage_returns() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("console");
        let text: Vec<_> = (0..100).map(|n| format!("line {n}\r\n")).collect();
        std::fs::write(&path, text.concat()).unwrap();
        let tail = ConsoleTail::read(&path);
        assert_eq!(tail.lines.len(), CONSOLE_LINES);
        assert_eq!(tail.lines.last().map(String::as_str), Some("line 99"));
    }

    #[test]
    fn an_error_shows_the_console() {
        let console = ConsoleTail {
            path: "/runs/1/console".into(),
            lines: vec!["Kernel panic".to_owned()],
        };
        let error = GuestError::TimedOut {
            phase: "boot",
            after: Duration::from_secs(5),
            console,
        };
        assert_eq!(
            error.to_string(),
            "no answer for 5.0s during boot\nlast lines of /runs/1/console:\n  Kernel panic"
        );
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let error = GuestError::file(
            Path::new("/cache/ram"),
            "write",
            io::Error::from(io::ErrorKind::StorageFull),
        );
        assert!(matches!(error, GuestError::DiskFull { .. }));
    }
}
