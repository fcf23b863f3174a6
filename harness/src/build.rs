//! What every build step is given, and how it tells of its progress.

use std::path::PathBuf;

use crate::process::Cancel;
use crate::store::Store;

/// Where a build step reads, where it keeps what it makes, and how hard it may work.
#[derive(Clone, Debug)]
pub struct BuildContext {
    /// The checkout of this project.
    pub repo: PathBuf,
    /// The artifacts.
    pub store: Store,
    /// Processes side by side, `-j`.
    pub jobs: usize,
    /// Ends the build.
    pub cancel: Cancel,
}

/// News of a build, in order: `Started` once, then any number of `Step` and `Line`.
///
/// A build step that finds its artifact in the store says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The step has real work to do.
    Started {
        /// What is made, such as `kernel s390x fast`.
        what: String,
    },
    /// How far it is.
    Step {
        /// The part that is going on, such as `compile`.
        what: String,
        /// Units of work that are done.
        done: u64,
        /// Units of work in all, an estimate; never less than `done`.
        total: Option<u64>,
    },
    /// A line of the step's own output that is worth showing.
    Line(String),
}

/// Whoever wants the news; called from the thread that builds.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Sync);
