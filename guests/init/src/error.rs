//! Why a request could not be carried out.

use std::io;

use crossthaw_protocol::frame::FrameError;
use crossthaw_tools::errno;

/// What failed and why; the harness gets its text as `Reply::Failed`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    /// A system call or a file failed.
    #[error("cannot {what}: {}", errno::describe(source))]
    Io {
        /// What was tried: `open /tmp/x`.
        what: String,
        /// The error.
        source: io::Error,
    },
    /// The request does not fit the guest's state.
    #[error("{0}")]
    Refused(String),
    /// Text of the kernel that is not as expected.
    #[error("cannot understand {what}: {text:?}")]
    Parse {
        /// Where the text is from.
        what: &'static str,
        /// The text.
        text: String,
    },
    /// What should happen did not.
    #[error("{what} did not happen within {seconds} s")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
    /// A reply could not be sent.
    #[error("cannot send the reply: {0}")]
    Frame(#[from] FrameError),
    /// Another connection began in the middle of the request.
    #[error("a new connection began")]
    Interrupted,
}

/// The agent's result.
pub(crate) type Result<T> = std::result::Result<T, AgentError>;

/// Says what was tried when something failed.
pub(crate) trait Context<T> {
    /// `what` completes "cannot ...".
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| AgentError::Io {
            what: what(),
            source: source.into(),
        })
    }
}
