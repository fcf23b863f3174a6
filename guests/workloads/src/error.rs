//! Why a situation could not be built. What a check finds is no error: it is part of the report.

use std::io;

/// A situation could not be built, or not be taken down.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A system call or library function failed.
    #[error("{call} failed")]
    Call {
        /// Its name.
        call: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// An argument is not `KEY=VALUE`, is unknown, or has a value of the wrong kind.
    #[error("argument {0:?} is not understood")]
    Argument(String),
    /// The situation is not what it has to be before the checkpoint.
    #[error("{0}")]
    Situation(String),
}

impl Error {
    /// The last failure of the C library, by the function's name.
    pub(crate) fn last(call: &'static str) -> Self {
        Self::Call {
            call,
            source: io::Error::last_os_error(),
        }
    }

    /// Turns an [`io::Error`] into one that says what was called.
    pub(crate) fn from_io(call: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Call { call, source }
    }

    /// The message with its cause, on one line.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Call { source, .. } => format!("{self}: {source}"),
            _ => self.to_string(),
        }
    }
}

/// What most functions here return.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
