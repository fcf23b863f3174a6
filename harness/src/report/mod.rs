//! Sinks on one stream of events, and the guard that every case has exactly one outcome.
//!
//! Nothing here prints: who makes the [`Report`] says where each sink writes.

mod event;
mod files;
mod folder;
mod html;
mod jsonl;
mod junit;
mod results;
#[cfg(test)]
pub(crate) mod tests;
mod text;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use event::{Build, Event, Finished, Planned};
pub use files::Files;
pub use folder::{RunFolder, TRIALS};
pub use jsonl::{EventsFile, JsonLines};
pub use results::{BuildResult, CaseResult, Results, Run};
pub use text::{Plain, Style, failure, summary};

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
    /// Cases whose verdict is `pass`.
    pub passed: usize,
    /// Cases whose verdict is `fail`, `kernel-fault`, `timeout` or `infra`.
    pub failed: usize,
    /// Of these, cases whose verdict is `infra`.
    pub infra: usize,
    /// Cases whose verdict is `skip`.
    pub skipped: usize,
    /// Cases without a verdict: the run was cut short.
    pub unfinished: usize,
    /// What could not be reported.
    pub errors: Vec<ReportError>,
}

/// What is known of a case.
#[derive(Clone, Debug, PartialEq)]
enum Progress {
    Waiting,
    Ended(Verdict),
}

struct Slot {
    sink: Box<dyn Sink>,
    error: Option<ReportError>,
    /// An error was told already; the next ones would say the same.
    warned: bool,
}

struct State {
    sinks: Vec<Slot>,
    /// Cases in the order of the plan.
    plan: Vec<CaseId>,
    progress: HashMap<CaseId, Progress>,
    unknown: Vec<CaseId>,
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

    fn count(&self, kinds: &[&str]) -> usize {
        self.progress
            .values()
            .filter(|progress| match progress {
                Progress::Waiting => kinds.is_empty(),
                Progress::Ended(verdict) => kinds.contains(&verdict.kind()),
            })
            .count()
    }
}

/// Where a run tells what happens; any thread may, at any time. It keeps the contract of [`Event`].
pub struct Report {
    state: Mutex<State>,
    started: Instant,
}

impl Report {
    /// The run starts: tell the sinks what will be tried.
    pub fn start(folder: &RunFolder, cases: Vec<Planned>, sinks: Vec<Box<dyn Sink>>) -> Self {
        let plan: Vec<_> = cases.iter().map(|case| case.id.clone()).collect();
        let sinks = sinks.into_iter().map(|sink| Slot {
            sink,
            error: None,
            warned: false,
        });
        let mut state = State {
            sinks: sinks.collect(),
            progress: plan
                .iter()
                .map(|id| (id.clone(), Progress::Waiting))
                .collect(),
            plan,
            unknown: Vec::new(),
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
    pub fn trial_started(&self, case: &CaseId) {
        self.lock()
            .emit(&Event::TrialStarted { case: case.clone() });
    }

    /// A trial has its verdict. A second one for the same case becomes `infra`.
    pub fn trial_finished(&self, mut finished: Finished) {
        let mut state = self.lock();
        match state.progress.get(&finished.case) {
            None => {
                state.unknown.push(finished.case);
                return;
            }
            Some(Progress::Waiting) => {}
            Some(Progress::Ended(first)) => {
                finished.verdict = Verdict::Infra {
                    cause: format!(
                        "two outcomes for one case: {}, then {}",
                        first.kind(),
                        finished.verdict.kind()
                    ),
                };
            }
        }
        let ended = Progress::Ended(finished.verdict.clone());
        state.progress.insert(finished.case.clone(), ended);
        state.emit(&Event::TrialFinished(Box::new(finished)));
    }

    /// The run is over. A case without an outcome is `infra`, unless the run was cut short.
    pub fn finish(self, cut_short: bool) -> Outcome {
        let waiting: Vec<_> = {
            let state = self.lock();
            let waiting = |id: &&CaseId| state.progress.get(*id) == Some(&Progress::Waiting);
            state.plan.iter().filter(waiting).cloned().collect()
        };
        if !cut_short {
            for case in waiting {
                self.trial_finished(Finished {
                    case,
                    verdict: Verdict::Infra {
                        cause: "the trial ended without an outcome".to_owned(),
                    },
                    time: Duration::ZERO,
                    phases: Vec::new(),
                    folder: None,
                    diff: None,
                    console: Vec::new(),
                });
            }
        }
        let mut state = self.lock();
        let mut outcome = Outcome {
            passed: state.count(&["pass"]),
            failed: state.count(&["fail", "kernel-fault", "timeout", "infra"]),
            infra: state.count(&["infra"]),
            skipped: state.count(&["skip"]),
            unfinished: state.count(&[]),
            errors: Vec::new(),
        };
        state.emit(&Event::RunFinished {
            passed: outcome.passed,
            failed: outcome.failed,
            skipped: outcome.skipped,
            unfinished: outcome.unfinished,
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
