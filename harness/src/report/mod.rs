//! Sinks on one stream of events, and the guard that every trial has exactly one outcome.
//!
//! Nothing here prints: who makes the [`Report`] says where each sink writes.

mod distribution;
mod event;
mod files;
mod folder;
mod guard;
mod html;
mod jsonl;
mod junit;
mod results;
#[cfg(test)]
pub(crate) mod tests;
mod text;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub use distribution::{Distribution, Kind, Spread};
pub use event::{Build, Event, Finished, Planned};
pub use files::Files;
pub use folder::{RunFolder, TRIALS};
pub use jsonl::{EventsFile, JsonLines};
pub use results::{BuildResult, CaseResult, Results, Run};
pub use text::{Plain, Style, failure, summary};

use guard::{Guard, Judged};

use crate::arch::Arch;
use crate::oracle::Verdict;
use crate::scenario::CaseId;
use crate::store::disk_is_full;

/// Why a report is not whole.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// No space is left for it.
    #[error("the disk that holds {} is full: what it held before is still there, free some space and run again", .path.display())]
    DiskFull {
        /// What did not fit.
        path: PathBuf,
    },
    /// A file could not be written.
    #[error("cannot {what} {}", .path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Who reads the events or lines is gone.
    #[error("cannot write to the output")]
    Output(#[source] io::Error),
    /// The content could not be put into its format.
    #[error("cannot write {format}")]
    Format {
        /// Which one.
        format: &'static str,
        /// What the serializer said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A bug of the harness.
    #[error("an outcome came for {0}, which is not a case of this run")]
    UnknownCase(CaseId),
}

impl ReportError {
    /// An I/O error on one of the run's files: a full disk has its own variant.
    fn file(what: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if disk_is_full(&source) {
            Self::DiskFull { path }
        } else {
            Self::File { what, path, source }
        }
    }
}

/// One consumer of the stream.
pub trait Sink: Send {
    /// Take the next event.
    ///
    /// An error does not end the stream: the sink gets the later events too, and makes good what it could not write as soon as it can.
    /// The answer to the last event says whether all is written.
    fn take(&mut self, event: &Event) -> Result<(), ReportError>;
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Trials whose verdict is `pass`.
    pub passed: usize,
    /// Trials whose verdict is `fail`, `kernel-fault`, `timeout` or `infra`.
    pub failed: usize,
    /// Of these, trials whose verdict is `infra`.
    pub infra: usize,
    /// Trials, or cases that were not tried, whose verdict is `skip`.
    pub skipped: usize,
    /// Trials without a verdict: the run was cut short.
    pub unfinished: usize,
    /// Parts of trials that were done once more, see [`Event::TrialRetried`].
    pub retries: usize,
    /// What could not be reported.
    pub errors: Vec<ReportError>,
}

struct Slot {
    sink: Box<dyn Sink>,
    error: Option<ReportError>,
    /// An error was told already; the next ones would say the same.
    warned: bool,
}

struct State {
    sinks: Vec<Slot>,
    guard: Guard,
    unknown: Vec<CaseId>,
    retries: usize,
    /// The first failure ends the run.
    stopped: bool,
}

impl State {
    fn emit(&mut self, event: &Event) {
        for slot in &mut self.sinks {
            slot.error = slot.sink.take(event).err();
            if let Some(error) = slot.error.as_ref().filter(|_| !slot.warned) {
                tracing::warn!("{error}");
                slot.warned = true;
            }
        }
    }
}

/// Where a run tells what happens; any thread may, at any time. It keeps the contract of [`Event`].
pub struct Report {
    state: Mutex<State>,
    started: Instant,
}

impl Report {
    /// The run starts: tell the sinks what will be tried, and how often each case; `None` as often as it passes.
    pub fn start(
        folder: &RunFolder,
        cases: Vec<Planned>,
        rounds: Option<u32>,
        sinks: Vec<Box<dyn Sink>>,
    ) -> Self {
        let sinks = sinks.into_iter().map(|sink| Slot {
            sink,
            error: None,
            warned: false,
        });
        let mut state = State {
            sinks: sinks.collect(),
            guard: Guard::new(cases.iter().map(|case| case.id.clone()), rounds),
            unknown: Vec::new(),
            retries: 0,
            stopped: false,
        };
        let archs = Arch::ALL
            .into_iter()
            .filter(|arch| cases.iter().any(|case| case.arch == *arch));
        state.emit(&Event::RunStarted {
            id: folder.id().to_owned(),
            dir: folder.dir().to_owned(),
            started: folder.started().to_owned(),
            archs: archs.collect(),
            cases,
            rounds,
        });
        Self {
            state: Mutex::new(state),
            started: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A sink that panicked has lost its own event only.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is built for an architecture; the guard tells how it ends.
    pub fn build(&self, arch: Arch, what: Build) -> BuildReport<'_> {
        self.lock().emit(&Event::BuildStarted { arch, what });
        BuildReport {
            report: self,
            arch,
            what,
            started: Instant::now(),
        }
    }

    /// A trial begins.
    pub fn trial_started(&self, case: &CaseId, round: u32) {
        let mut state = self.lock();
        state.guard.started(case, round);
        state.emit(&Event::TrialStarted {
            case: case.clone(),
            round,
        });
    }

    /// A part of a trial was done once more.
    pub fn trial_retried(&self, case: &CaseId, round: u32, why: &str) {
        let mut state = self.lock();
        state.retries += 1;
        state.emit(&Event::TrialRetried {
            case: case.clone(),
            round,
            why: why.to_owned(),
        });
    }

    /// A trial has its verdict, or a case that is not tried. A second one for the same round becomes `infra`.
    pub fn trial_finished(&self, mut finished: Finished) {
        let mut state = self.lock();
        match state.guard.finished(&finished) {
            Judged::Unknown => {
                state.unknown.push(finished.case);
                return;
            }
            Judged::Right => {}
            Judged::Doubled(cause) => finished.verdict = Verdict::Infra { cause },
        }
        state.emit(&Event::TrialFinished(Box::new(finished)));
    }

    /// No more trials begin, since one failed: those that have not begun are no longer missed.
    pub fn stop(&self) {
        self.lock().stopped = true;
    }

    /// The run is over. A trial without an outcome is `infra`, unless the run was cut short.
    pub fn finish(self, cut_short: bool) -> Outcome {
        if !cut_short {
            let missing = {
                let state = self.lock();
                state.guard.missing(state.stopped)
            };
            for (case, round) in missing {
                self.trial_finished(guard::without_outcome(case, round));
            }
        }
        let mut state = self.lock();
        let stopped = state.stopped;
        let counts = state.guard.counts();
        let mut outcome = Outcome {
            passed: counts.passed,
            failed: counts.failed,
            infra: counts.infra,
            skipped: counts.skipped,
            unfinished: state.guard.missing(stopped).len(),
            retries: state.retries,
            errors: Vec::new(),
        };
        state.emit(&Event::RunFinished {
            passed: outcome.passed,
            failed: outcome.failed,
            skipped: outcome.skipped,
            unfinished: outcome.unfinished,
            stopped,
            time: self.started.elapsed(),
        });
        let unknown = std::mem::take(&mut state.unknown);
        outcome.errors = state
            .sinks
            .iter_mut()
            .filter_map(|slot| slot.error.take())
            .chain(unknown.into_iter().map(ReportError::UnknownCase))
            .collect();
        outcome
    }
}

/// A build that goes on.
pub struct BuildReport<'a> {
    report: &'a Report,
    arch: Arch,
    what: Build,
    started: Instant,
}

impl BuildReport<'_> {
    /// It goes on with this step.
    pub fn progress(&self, step: impl Into<String>, done: u64, total: Option<u64>) {
        self.report.lock().emit(&Event::BuildProgress {
            arch: self.arch,
            what: self.what,
            step: step.into(),
            done,
            total,
        });
    }

    /// It ended: `Ok(false)` if there was nothing to do.
    pub fn finished(self, outcome: Result<bool, String>) {
        let (built, error) = match outcome {
            Ok(built) => (built, None),
            Err(error) => (false, Some(error)),
        };
        self.report.lock().emit(&Event::BuildFinished {
            arch: self.arch,
            what: self.what,
            time: self.started.elapsed(),
            built,
            error,
        });
    }
}
