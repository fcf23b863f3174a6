//! Exit codes: public constants, the same for every verb.

/// All passed.
pub(crate) const OK: u8 = 0;
/// A trial ended in fail, kernel-fault or timeout, or a check did not hold.
pub(crate) const FAILED: u8 = 1;
/// The command line or a file that it names is wrong.
pub(crate) const USAGE: u8 = 2;
/// A filter selected nothing.
pub(crate) const NOTHING: u8 = 3;
/// The machine was in the way: something is missing, the disk is full, QEMU died, the run was cancelled.
pub(crate) const INFRA: u8 = 69;

/// An error that ends the program with a code of its own; any other error ends it with [`INFRA`].
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Exit {
    /// One of the constants above.
    pub(crate) code: u8,
    /// What is said on standard error; nothing if empty.
    pub(crate) message: String,
}

impl Exit {
    /// The command line or a file that it names is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            code: USAGE,
            message: message.into(),
        }
    }

    /// A filter selected nothing.
    pub(crate) fn nothing(message: impl Into<String>) -> Self {
        Self {
            code: NOTHING,
            message: message.into(),
        }
    }

    /// The machine was in the way.
    pub(crate) fn infra(message: impl Into<String>) -> Self {
        Self {
            code: INFRA,
            message: message.into(),
        }
    }
}
