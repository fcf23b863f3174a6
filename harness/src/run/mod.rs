//! A run: what each architecture needs is made first, then all trials run side by side.

mod attended;
mod machines;
mod recipe;
mod rounds;
#[cfg(test)]
mod tests;
mod width;

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rayon::Scope;

pub use attended::{Person, Which, Wish};
pub use machines::Machines;
pub(crate) use machines::Ready;
pub use recipe::{RECIPE, Recipe, RecipeError};
pub use rounds::Rounds;
pub use width::{Memory, width};

use rounds::{Next, Queue};

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
    /// Why parts of it were done once more.
    pub retries: Vec<String>,
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

    /// Why a case cannot be tried here, if so.
    fn skip(&self, case: &Case, ready: &Self::Ready) -> Option<String>;

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
    /// How often each case is tried.
    pub rounds: Rounds,
    /// No trial begins after this; the cases that are left are skipped.
    pub until: Option<Instant>,
    /// Ends the run.
    pub cancel: Cancel,
}

/// Why a run did not begin.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the threads that trials run on")]
pub struct RunError(#[from] rayon::ThreadPoolBuildError);

/// Run all cases. Each trial has one outcome in the report afterwards, unless the run was cancelled.
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
        queue: Queue::new(options.rounds),
        to_boot: Mutex::default(),
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
    runner.to_boot().extend(built);
    pool.in_place_scope(|scope| {
        for _ in 0..options.width {
            let runner = &runner;
            scope.spawn(move |scope| runner.work(scope));
        }
    });
    Ok(())
}

struct Runner<'a, B: Backend> {
    backend: &'a B,
    folder: &'a RunFolder,
    options: &'a Options,
    report: &'a Report,
    queue: Queue<'a, B::Ready>,
    to_boot: Mutex<VecDeque<ToBoot<'a, B>>>,
}

/// An architecture that is built: its cases, and what their guests are made of.
type ToBoot<'a, B> = (Arch, Vec<&'a Case>, <B as Backend>::Built);

impl<'a, B: Backend> Runner<'a, B> {
    /// Do what must be done before these cases. If that fails, they have their verdict.
    fn prepare<T>(&self, cases: &[&Case], work: impl FnOnce() -> Result<T, Failure>) -> Option<T> {
        if self.is_over() {
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

    /// Whether nothing more is to begin.
    fn is_over(&self) -> bool {
        self.options.cancel.is_cancelled() || self.queue.is_stopped()
    }

    /// A case that is not tried has this verdict.
    fn settle(&self, case: &Case, verdict: Verdict, console: &[String]) {
        // What failed since all was cancelled says nothing.
        if self.options.cancel.is_cancelled() {
            return;
        }
        self.told(Finished {
            case: case.id.clone(),
            round: None,
            verdict,
            time: Duration::ZERO,
            phases: Vec::new(),
            folder: None,
            diff: None,
            console: console.to_vec(),
            retries: Vec::new(),
        });
    }

    /// An outcome; perhaps the one that ends the run.
    fn told(&self, finished: Finished) {
        let failed = finished.failed();
        self.report.trial_finished(finished);
        if failed && self.queue.failed() {
            self.report.stop();
        }
    }

    fn to_boot(&self) -> MutexGuard<'_, VecDeque<ToBoot<'a, B>>> {
        self.to_boot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What all threads of the pool do: boot what is to boot, then try what is to be tried.
    fn work<'s>(&'s self, scope: &Scope<'s>) {
        while !self.is_over() {
            let next = self.to_boot().pop_front();
            if let Some((arch, cases, built)) = next {
                self.boot(arch, cases, &built);
                // Who found nothing to do before is gone.
                for _ in 1..self.options.width {
                    scope.spawn(|scope| self.work(scope));
                }
            } else if let Some(next) = self.queue.take() {
                self.trial(&next);
            } else {
                return;
            }
        }
    }

    /// One architecture: what its trials start from. Those that can be tried are queued.
    fn boot(&self, arch: Arch, cases: Vec<&'a Case>, built: &B::Built) {
        let boot = || self.backend.boot(arch, built, self.report);
        let Some(ready) = self.prepare(&cases, boot) else {
            return;
        };
        let skip = |case: &&Case| match self.backend.skip(case, &ready) {
            Some(reason) => {
                self.settle(case, Verdict::Skip { reason }, &[]);
                false
            }
            None => true,
        };
        let cases = cases.into_iter().filter(skip).collect();
        self.queue.add(cases, ready);
    }

    fn trial(&self, next: &Next<'_, B::Ready>) {
        let &Next {
            case,
            round,
            ref ready,
        } = next;
        let cancel = &self.options.cancel;
        if self
            .options
            .until
            .is_some_and(|until| Instant::now() > until)
        {
            let reason = "the time that the run has is over".to_owned();
            self.settle(case, Verdict::Skip { reason }, &[]);
            return;
        }
        self.report.trial_started(&case.id, round);
        let started = Instant::now();
        let name = case.id.file_name();
        let dir = self.folder.trial(&if self.options.rounds.is_several() {
            format!("{name}#{round}")
        } else {
            name
        });
        let work = || match std::fs::create_dir_all(&dir) {
            Ok(()) => self.backend.trial(case, ready, &dir),
            Err(error) => Tried::infra(cannot("make", &dir, &error)),
        };
        let Tried {
            verdict,
            phases,
            diff,
            console,
            retries,
        } = catch_unwind(AssertUnwindSafe(work))
            .unwrap_or_else(|panic| Tried::without_trial(panicked(&*panic)));
        for why in &retries {
            self.report.trial_retried(&case.id, round, why);
        }
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
        self.told(Finished {
            case: case.id.clone(),
            round: Some(round),
            verdict,
            time: started.elapsed(),
            phases,
            folder,
            diff,
            console,
            retries,
        });
    }
}

impl Tried {
    /// The machine was in the way before anything happened.
    pub(crate) fn infra(cause: String) -> Self {
        Self::without_trial(Verdict::Infra { cause })
    }

    pub(crate) fn without_trial(verdict: Verdict) -> Self {
        Self {
            verdict,
            phases: Vec::new(),
            diff: None,
            console: Vec::new(),
            retries: Vec::new(),
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
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Verdict {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message");
    Verdict::Infra {
        cause: format!("the harness panicked: {said}"),
    }
}
