//! What verbs that print data have in common.

use std::io;
use std::process::ExitCode;

use crate::exit;

/// For people, or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// End well when the reader has seen enough, as `head` does.
pub(crate) fn quietly(outcome: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    match outcome {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::from(exit::OK)),
        outcome => outcome.map(|()| ExitCode::from(exit::OK)),
    }
}

/// Whether nobody reads any more.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        // serde_json does not hand out the error that it was given.
        let json = cause
            .downcast_ref::<serde_json::Error>()
            .and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(io::ErrorKind::BrokenPipe)
    })
}
