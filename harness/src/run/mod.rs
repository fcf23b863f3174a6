//! A run: what each architecture needs is made first, then all trials run side by side.

mod machines;
#[cfg(test)]
mod tests;
mod width;

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::ScopeFifo;

pub use machines::Machines;
pub use width::{Memory, width};

use crate::arch::Arch;
use crate::oracle::Verdict;
use crate::process::Cancel;
use crate::report::{Finished, Report, RunFolder};
use crate::scenario::Case;
use crate::store::disk_is_full;

/// Why an architecture has no trials, with the evidence.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The verdict of each of its cases.
    pub verdict: Verdict,
    /// Last lines of the console, where there was one.
    pub console: Vec<String>,
}

/// What a trial came to.
#[derive(Clone, Debug)]
pub struct Tried {
    /// The verdict.
    pub verdict: Verdict,
    /// Time by phase.
    pub phases: Vec<(String, Duration)>,
    /// What differs.
    pub diff: Option<String>,
    /// Last lines of the console of the guest that went wrong.
    pub console: Vec<String>,
}

/// What a run is made of. The real one builds kernels and starts guests; tests have one that does not.
pub trait Backend: Sync {
    /// Kernel and guest programs of one architecture.
    type Built: Send + Sync;
    /// What its trials start from.
    type Ready: Send + Sync;

    /// Build kernel and guest programs. One architecture at a time: a build uses all processors.
    fn build(&self, arch: Arch, report: &Report) -> Result<Self::Built, Failure>;

    /// Boot what its trials start from, or take it from the store.
    fn boot(
        &self,
        arch: Arch,
        built: &Self::Built,
        report: &Report,
    ) -> Result<Self::Ready, Failure>;

    /// Try one case, with its evidence in `dir`, which exists and is empty.
    fn trial(&self, case: &Case, ready: &Self::Ready, dir: &Path) -> Tried;
}

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Trials side by side; see [`width()`].
    pub width: usize,
    /// Keep the evidence of trials that passed.
    pub keep: bool,
    /// Ends the run.
    pub cancel: Cancel,
}

/// Why a run did not begin.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the threads that trials run on")]
pub struct RunError(#[from] rayon::ThreadPoolBuildError);

/// Run all cases. Each has one outcome in the report afterwards, unless the run was cancelled.
pub fn run<B: Backend>(
    backend: &B,
    cases: &[Case],
    folder: &RunFolder,
    options: &Options,
    report: &Report,
) -> Result<(), RunError> {
    let runner = Runner {
        backend,
        folder,
        options,
        report,
    };
    let (skipped, cases): (Vec<_>, Vec<_>) = cases.iter().partition(|case| case.skip.is_some());
    for case in skipped {
        let reason = case.skip.clone().unwrap_or_default();
        runner.settle(case, Verdict::Skip { reason }, &[]);
    }
    let mut built = Vec::new();
    for arch in Arch::ALL {
        let cases: Vec<_> = cases
            .iter()
            .copied()
            .filter(|case| case.arch == arch)
            .collect();
        if cases.is_empty() {
            continue;
        }
        if let Some(done) = runner.prepare(&cases, || backend.build(arch, report)) {
            built.push((arch, cases, done));
        }
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.width)
        .thread_name(|n| format!("trial-{n}"))
        .build()?;
    pool.in_place_scope_fifo(|scope| {
        for (arch, cases, built) in built {
            let runner = &runner;
            scope.spawn_fifo(move |scope| runner.arch(scope, arch, cases, &built));
        }
    });
    Ok(())
}

struct Runner<'a, B> {
    backend: &'a B,
    folder: &'a RunFolder,
    options: &'a Options,
    report: &'a Report,
}

impl<'a, B: Backend> Runner<'a, B> {
    /// Do what must be done before these cases. If that fails, they have their verdict.
    fn prepare<T>(&self, cases: &[&Case], work: impl FnOnce() -> Result<T, Failure>) -> Option<T> {
        if self.options.cancel.is_cancelled() {
            return None;
        }
        let failure = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(failure)) => failure,
            Err(panic) => Failure {
                verdict: panicked(&*panic),
                console: Vec::new(),
            },
        };
        for case in cases {
            self.settle(case, failure.verdict.clone(), &failure.console);
        }
        None
    }

    /// A case that is not tried has this verdict.
    fn settle(&self, case: &Case, verdict: Verdict, console: &[String]) {
        // What failed since all was cancelled says nothing.
        if self.options.cancel.is_cancelled() {
            return;
        }
        self.report.trial_finished(Finished {
            case: case.id.clone(),
            verdict,
            time: Duration::ZERO,
            phases: Vec::new(),
            folder: None,
            diff: None,
            console: console.to_vec(),
        });
    }

    /// One architecture: what its trials start from, then its trials.
    fn arch(&'a self, scope: &ScopeFifo<'a>, arch: Arch, cases: Vec<&'a Case>, built: &B::Built)
    where
        B::Ready: 'a,
    {
        let boot = || self.backend.boot(arch, built, self.report);
        if let Some(ready) = self.prepare(&cases, boot) {
            let ready = Arc::new(ready);
            for case in cases {
                let ready = Arc::clone(&ready);
                scope.spawn_fifo(move |_| self.trial(case, &ready));
            }
        }
    }

    fn trial(&self, case: &Case, ready: &B::Ready) {
        let cancel = &self.options.cancel;
        if cancel.is_cancelled() {
            return;
        }
        self.report.trial_started(&case.id);
        let started = Instant::now();
        let dir = self.folder.trial(&case.id.file_name());
        let work = || match std::fs::create_dir_all(&dir) {
            Ok(()) => self.backend.trial(case, ready, &dir),
            Err(error) => Tried::infra(cannot("make", &dir, &error)),
        };
        let Tried {
            verdict,
            phases,
            diff,
            console,
        } = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Tried {
            verdict: panicked(&*panic),
            phases: Vec::new(),
            diff: None,
            console: Vec::new(),
        });
        let unharmed = matches!(verdict, Verdict::Pass | Verdict::Skip { .. });
        if cancel.is_cancelled() && !unharmed {
            // Its guests were killed under it: no verdict on the case.
            return;
        }
        let folder = if unharmed && !self.options.keep {
            // Nobody misses it, and nothing is wrong if it stays.
            let _ = std::fs::remove_dir_all(&dir);
            None
        } else {
            Some(dir)
        };
        self.report.trial_finished(Finished {
            case: case.id.clone(),
            verdict,
            time: started.elapsed(),
            phases,
            folder,
            diff,
            console,
        });
    }
}

impl Tried {
    /// The machine was in the way before anything happened.
    fn infra(cause: String) -> Self {
        Self {
            verdict: Verdict::Infra { cause },
            phases: Vec::new(),
            diff: None,
            console: Vec::new(),
        }
    }
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> String {
    if disk_is_full(error) {
        format!("the disk that holds {} is full", path.display())
    } else {
        format!("cannot {what} {}: {error}", path.display())
    }
}

/// A bug of the harness costs one trial, not the run.
fn panicked(panic: &(dyn Any + Send)) -> Verdict {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message");
    Verdict::Infra {
        cause: format!("the harness panicked: {said}"),
    }
}
