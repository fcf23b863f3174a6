//! The measurement: architecture by architecture, the true kernel first, then one mutant after the other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Instant;

use serde::Serialize;

use super::known::{self, Base, Passed};
use super::outcome::{Outcome, Row};
use super::same_code::same_code;
use super::trials::{Bench, Until, try_all};
use super::{Caught, Meaning, Mutant, MutantError, MutantId};
use crate::arch::Arch;
use crate::build::{BuildContext, OnProgress, Progress};
use crate::guest::{self, GuestBuildError, GuestImage};
use crate::kernel::{self, Changes, Flavor, Kernel, KernelError, Source};
use crate::oracle::Verdict;
use crate::oracle::golden::Goldens;
use crate::qemu::{GuestError, qemu_version};
use crate::run::{Failure, Ready};
use crate::scenario::{Case, CaseId, Matrix};
use crate::store::{Key, KeyBuilder, StoreError, Throwaway};

/// How to measure.
pub struct Settings<'a> {
    /// Where the checkout and the store are.
    pub build: &'a BuildContext,
    /// Where the kernel comes from.
    pub source: &'a Source,
    /// The scenarios.
    pub matrix: &'a Matrix,
    /// Where mutants were caught before: that case is tried first.
    pub caught: &'a Caught,
    /// The folder for evidence.
    pub dir: &'a Path,
    /// Hash of the harness: its oracles decide the result.
    pub harness: &'a Key,
    /// Trials side by side.
    pub width: usize,
    /// Keep the evidence of what was caught, too.
    pub keep: bool,
    /// Measure what is known as well.
    pub again: bool,
    /// Progress of builds.
    pub progress: OnProgress<'a>,
}

/// Why the measurement ended early.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// A mutant cannot be applied, or selects nothing.
    #[error(transparent)]
    Mutant(#[from] MutantError),
    /// The true kernel cannot be built.
    #[error(transparent)]
    Kernel(KernelError),
    /// The guest's programs cannot be built.
    #[error(transparent)]
    Guest(GuestBuildError),
    /// QEMU cannot be asked.
    #[error(transparent)]
    Qemu(#[from] GuestError),
    /// The store.
    #[error(transparent)]
    Store(StoreError),
    /// The true kernel does not boot.
    #[error("{arch}: the true kernel has no guests: {verdict}")]
    Boot {
        /// Where.
        arch: Arch,
        /// Why.
        verdict: Box<Verdict>,
    },
    /// The run was cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// What happens, in order.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum News {
    /// The true kernel of an architecture is tried first.
    BaselineStarted {
        /// Where.
        arch: Arch,
        /// Which kernel.
        flavor: Flavor,
        /// Cases to try.
        cases: usize,
        /// Cases that are known to pass.
        known: usize,
    },
    /// It was.
    BaselineFinished {
        /// Where.
        arch: Arch,
        /// Which kernel.
        flavor: Flavor,
        /// What it does not pass, and why.
        failed: BTreeMap<CaseId, String>,
    },
    /// A mutant is built and tried.
    MutantStarted {
        /// Which.
        mutant: MutantId,
        /// Where.
        arch: Arch,
    },
    /// How it fared.
    MutantFinished(Row),
}

impl From<KernelError> for MeasureError {
    fn from(error: KernelError) -> Self {
        match error {
            KernelError::Cancelled => Self::Cancelled,
            error => Self::Kernel(error),
        }
    }
}

impl From<GuestBuildError> for MeasureError {
    fn from(error: GuestBuildError) -> Self {
        Self::Guest(error)
    }
}

impl From<StoreError> for MeasureError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Cancelled => Self::Cancelled,
            error => Self::Store(error),
        }
    }
}

/// A mutant that is to be measured here.
struct Job<'a> {
    mutant: &'a Mutant,
    changes: Changes,
    cases: Vec<Case>,
}

/// A mutant's kernel, or why there is nothing to try.
struct Built {
    /// Where it lies.
    thrown: Throwaway,
    kernel: Result<Kernel, Outcome>,
    seconds: f64,
}

/// Measure these mutants on these architectures; each pair that concerns each other gives one [`News::MutantFinished`].
pub fn measure(
    settings: &Settings<'_>,
    mutants: &[&Mutant],
    archs: &[Arch],
    news: &mut dyn FnMut(News),
) -> Result<(), MeasureError> {
    let checkout = &settings.build.repo;
    // All of them before the first is built: it is the list that is wrong.
    let changes: Vec<_> = mutants
        .iter()
        .map(|mutant| mutant.changes(checkout))
        .collect::<Result<_, _>>()?;
    for &arch in archs {
        for flavor in [Flavor::Fast, Flavor::Debug] {
            let concerned = mutants
                .iter()
                .zip(&changes)
                .filter(|(mutant, _)| mutant.flavor == flavor && mutant.archs.contains(&arch));
            let jobs = concerned
                .map(|(&mutant, changes)| {
                    Ok(Job {
                        mutant,
                        changes: changes.clone(),
                        cases: mutant.cases(settings.matrix, arch)?,
                    })
                })
                .collect::<Result<Vec<_>, MutantError>>()?;
            if !jobs.is_empty() {
                Group::open(settings, arch, flavor)?.measure(jobs, news)?;
            }
        }
    }
    Ok(())
}

/// One architecture and flavor.
struct Group<'a> {
    settings: &'a Settings<'a>,
    arch: Arch,
    flavor: Flavor,
    kernel: Kernel,
    guest: GuestImage,
    base: Base,
    goldens: Goldens,
}

impl<'a> Group<'a> {
    fn open(settings: &'a Settings<'a>, arch: Arch, flavor: Flavor) -> Result<Self, MeasureError> {
        let Settings {
            build,
            source,
            harness,
            progress,
            ..
        } = *settings;
        let kernel = kernel::build(build, arch, flavor, source, progress)?;
        let guest = guest::build(build, arch, progress)?;
        let snapshots = build.repo.join("snapshots");
        let base = Base {
            guest: guest.key.clone(),
            qemu: qemu_version(Path::new(arch.row().qemu))?,
            harness: harness.clone(),
            goldens: KeyBuilder::new("goldens")
                .tree("snapshots", &snapshots)?
                .finish(),
        };
        Ok(Self {
            settings,
            arch,
            flavor,
            kernel,
            guest,
            base,
            goldens: Goldens::new(&snapshots),
        })
    }

    fn measure(&self, jobs: Vec<Job<'_>>, news: &mut dyn FnMut(News)) -> Result<(), MeasureError> {
        let Settings { build, source, .. } = *self.settings;
        let mut left = Vec::new();
        for job in jobs {
            let key = kernel::key_changed(build, self.arch, self.flavor, source, &job.changes)?;
            let key = self.base.of_mutant(&key, job.mutant, &job.cases);
            let known = known::row(&build.store, job.mutant, self.arch, &key);
            if let Some(row) = known.filter(|_| !self.settings.again) {
                news(News::MutantFinished(row));
            } else {
                let cases = self.settings.caught.first(job.mutant, self.arch, job.cases);
                left.push((Job { cases, ..job }, key));
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        let failed = self.baseline(&left, news)?;
        let no_baseline = |job: &Job<'_>| {
            job.cases.iter().find_map(|case| {
                let message = failed.get(&case.id)?.clone();
                let case = case.id.clone();
                Some(Outcome::NoBaseline { case, message })
            })
        };
        let to_build = left.iter().map(|(job, _)| job);
        let to_build = to_build.filter(|job| no_baseline(job).is_none());
        std::thread::scope(|scope| {
            // The next one is built while one is tried, and waits here until it is its turn.
            let (sender, receiver) = mpsc::sync_channel(0);
            scope.spawn(move || {
                for (nr, job) in to_build.enumerate() {
                    let built = self.make(job, nr % 2);
                    let failed = built.is_err();
                    if sender.send(built).is_err() || failed {
                        break;
                    }
                }
            });
            for (job, key) in &left {
                self.live()?;
                news(News::MutantStarted {
                    mutant: job.mutant.id.clone(),
                    arch: self.arch,
                });
                let row = if let Some(outcome) = no_baseline(job) {
                    self.row(job, outcome)
                } else {
                    (self.settings.progress)(Progress::Started {
                        what: format!("{}/{}", self.arch, job.mutant.id),
                    });
                    let Ok(built) = receiver.recv() else {
                        // Whoever builds has panicked, and the scope passes it on.
                        break;
                    };
                    self.try_mutant(job, built?)
                };
                // What failed since all was cancelled says nothing.
                self.live()?;
                known::note_row(&build.store, job.mutant, key, &row)?;
                news(News::MutantFinished(row));
            }
            Ok(())
        })
    }

    fn live(&self) -> Result<(), MeasureError> {
        if self.settings.build.cancel.is_cancelled() {
            Err(MeasureError::Cancelled)
        } else {
            Ok(())
        }
    }

    fn bench(&self, name: &str) -> Bench<'_> {
        Bench {
            goldens: &self.goldens,
            cancel: &self.settings.build.cancel,
            width: self.settings.width,
            progress: self.settings.progress,
            dir: self.evidence(name),
            keep: self.settings.keep,
        }
    }

    /// The folder of a mutant's evidence, or of the baseline's.
    fn evidence(&self, name: &str) -> PathBuf {
        let Self { arch, flavor, .. } = self;
        self.settings
            .dir
            .join(format!("{arch}-{flavor}"))
            .join(name)
    }

    /// Have the true kernel pass every case that a mutant will be tried with; what it does not pass.
    fn baseline(
        &self,
        jobs: &[(Job<'_>, Key)],
        news: &mut dyn FnMut(News),
    ) -> Result<BTreeMap<CaseId, String>, MeasureError> {
        let Self { arch, flavor, .. } = *self;
        let store = &self.settings.build.store;
        let mut passed = Passed::load(store, arch, flavor, &self.base, &self.kernel.key);
        let all = jobs.iter().flat_map(|(job, _)| &job.cases);
        let all: BTreeMap<_, _> = all.map(|case| (&case.id, case)).collect();
        let cases: Vec<_> = all
            .values()
            .filter(|case| !passed.has(case))
            .map(|&case| case.clone())
            .collect();
        news(News::BaselineStarted {
            arch,
            flavor,
            cases: cases.len(),
            known: all.len() - cases.len(),
        });
        let mut failed = BTreeMap::new();
        if !cases.is_empty() {
            let Settings {
                build, progress, ..
            } = *self.settings;
            progress(Progress::Started {
                what: format!("the true kernel, {arch} {flavor}"),
            });
            let ready = Ready::boot(build, store, &self.kernel, &self.guest)
                .and_then(Ready::unfaulted)
                .map_err(|Failure { verdict, .. }| MeasureError::Boot {
                    arch,
                    verdict: Box::new(verdict),
                })?;
            let bench = Bench {
                keep: true,
                ..self.bench("baseline")
            };
            for (id, verdict) in try_all(&bench, &ready, &cases, Until::Tried) {
                match verdict {
                    Verdict::Pass | Verdict::Skip { .. } => passed.add(&cases, &id),
                    verdict => drop(failed.insert(id, verdict.to_string())),
                }
            }
            self.live()?;
            passed.save(store, arch, flavor)?;
        }
        news(News::BaselineFinished {
            arch,
            flavor,
            failed: failed.clone(),
        });
        Ok(failed)
    }

    fn row(&self, job: &Job<'_>, outcome: Outcome) -> Row {
        Row {
            mutant: job.mutant.id.clone(),
            arch: self.arch,
            flavor: self.flavor,
            outcome,
            known: false,
            tried: 0,
            build_seconds: 0.0,
            boot_seconds: 0.0,
            trials_seconds: 0.0,
        }
    }

    /// Build one mutant, in one of two places.
    fn make(&self, job: &Job<'_>, place: usize) -> Result<Built, MeasureError> {
        let Settings { build, source, .. } = *self.settings;
        let Self { arch, flavor, .. } = *self;
        let name = format!("mutant-{arch}-{flavor}-{place}");
        let thrown = build.store.throwaway(&name)?;
        let out = thrown.dir().join("kernel");
        std::fs::create_dir(&out).map_err(|error| StoreError::file(&out, "make", error))?;

        let start = Instant::now();
        // What is tried meanwhile has the progress line.
        let quiet = &|_| ();
        let built = kernel::build_changed(build, arch, flavor, source, &job.changes, &out, quiet);
        let kernel = match built {
            Ok(kernel) if same_code(&self.kernel.vmlinux, &kernel.vmlinux)? => {
                Err(Outcome::Unchanged)
            }
            Ok(kernel) => Ok(kernel),
            Err(error @ KernelError::Build { .. }) => Err(Outcome::NotBuilt {
                message: error.to_string(),
            }),
            Err(error) => return Err(error.into()),
        };
        Ok(Built {
            thrown,
            kernel,
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    /// Boot and try one mutant. What it is made of is gone afterwards.
    fn try_mutant(&self, job: &Job<'_>, made: Built) -> Row {
        let Self { arch, .. } = *self;
        let build = self.settings.build;
        let mut row = self.row(job, Outcome::NotTried);
        row.build_seconds = made.seconds;
        let kernel = match made.kernel {
            Ok(kernel) => kernel,
            Err(outcome) => {
                row.outcome = outcome;
                return row;
            }
        };

        let start = Instant::now();
        let boot = || Ready::boot(build, made.thrown.store(), &kernel, &self.guest);
        let mut ready = boot().and_then(Ready::unfaulted);
        if let Err(Failure { verdict, .. }) = &ready
            && matches!(verdict, Verdict::Infra { .. })
            && !build.cancel.is_cancelled()
        {
            // QEMU crashes now and then while a guest boots; two times in a row is no accident.
            tracing::warn!("{arch}/{}: booted once more: {verdict}", job.mutant.id);
            ready = boot().and_then(Ready::unfaulted);
        }
        row.boot_seconds = start.elapsed().as_secs_f64();
        let ready = match ready {
            Ok(ready) => ready,
            Err(Failure { verdict, .. }) => {
                row.outcome = unbootable(&verdict);
                return row;
            }
        };

        let start = Instant::now();
        let until = if job.mutant.hangs {
            Until::CaughtOrTimedOut
        } else {
            Until::Caught
        };
        let bench = self.bench(&job.mutant.id.file_name());
        let verdicts = try_all(&bench, &ready, &job.cases, until);
        row.trials_seconds = start.elapsed().as_secs_f64();
        row.tried = verdicts.len();
        row.outcome = conclude(job.mutant, &verdicts);
        row
    }
}

/// A mutant without guests.
fn unbootable(verdict: &Verdict) -> Outcome {
    let message = verdict.to_string();
    let message = message.lines().next().unwrap_or_default().to_owned();
    match verdict {
        Verdict::KernelFault { .. } => Outcome::Caught {
            by: "boot".to_owned(),
            case: None,
            message,
        },
        _ => Outcome::Infra { message },
    }
}

/// The first catch stands before a timeout, a timeout before a hitch of the machine, and that before survival.
fn conclude(mutant: &Mutant, verdicts: &[(CaseId, Verdict)]) -> Outcome {
    let found = verdicts
        .iter()
        .filter_map(|(case, verdict)| Outcome::of(case, verdict, mutant.hangs));
    let rank = |outcome: &Outcome| match (outcome, outcome.meaning()) {
        (Outcome::Caught { .. }, _) => 0,
        (_, Meaning::Good) => 1,
        (_, Meaning::Missed) => 2,
        _ => 3,
    };
    if let Some(outcome) = found.min_by_key(rank) {
        return outcome;
    }
    let passed = |(_, verdict): &(CaseId, Verdict)| matches!(verdict, Verdict::Pass);
    if verdicts.iter().any(passed) {
        Outcome::Survived
    } else {
        Outcome::NotTried
    }
}
