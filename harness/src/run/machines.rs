//! The real backend: kernels, guest programs, and guests under QEMU.

use std::collections::HashSet;
use std::error::Error;
use std::path::{Path, PathBuf};

use super::attended::{Attended, Person, Wish};
use super::recipe::{RECIPE, Recipe};
use super::{Backend, Failure, Tried, cannot};
use crate::arch::Arch;
use crate::build::{BuildContext, Progress};
use crate::guest::{self, GuestImage};
use crate::kernel::{self, Flavor, Kernel, Source};
use crate::oracle::golden::Goldens;
use crate::oracle::{Verdict, chain, kernel_log};
use crate::process::Cancel;
use crate::programs;
use crate::qemu::{ConsoleTail, GuestError, GuestSpec, NO_HURRY, Template};
use crate::report::{Build, BuildReport, Report};
use crate::scenario::{Case, Subject};
use crate::store::Store;
use crate::trial::{self, Env, Prompt};

/// Builds and boots on this machine.
#[derive(Debug)]
pub struct Machines {
    build: BuildContext,
    flavor: Flavor,
    source: Source,
    goldens: Goldens,
    /// Kernel and guest programs that are there already, of the only architecture.
    given: Option<(Kernel, GuestImage)>,
    person: Option<Person>,
    /// Those of scenario files that are not the project's; only of folders that are there.
    others: Vec<Goldens>,
}

/// Kernel and guest programs of one architecture.
#[derive(Debug)]
pub struct Built {
    kernel: Kernel,
    guest: GuestImage,
}

/// A booted guest to start clones from, and what its kernel can do.
#[derive(Debug)]
pub struct Ready {
    build: BuildContext,
    template: Template,
    vmlinux: PathBuf,
    symbols: HashSet<String>,
}

impl Machines {
    /// Kernels of this flavor from this source; golden states are in `snapshots`.
    pub fn new(build: BuildContext, flavor: Flavor, source: Source, snapshots: &Path) -> Self {
        Self {
            build,
            flavor,
            source,
            goldens: Goldens::new(snapshots),
            given: None,
            person: None,
            others: Vec::new(),
        }
    }

    /// Also judge by the goldens of the cases that are not the project's, where they keep any.
    #[must_use]
    pub fn with_goldens_of(mut self, cases: &[Case]) -> Self {
        let mut dirs: Vec<_> = cases
            .iter()
            .filter_map(|case| case.goldens.as_ref())
            .collect();
        dirs.sort();
        dirs.dedup();
        let there = dirs.into_iter().filter(|dir| dir.is_dir());
        self.others = there.map(Goldens::new).collect();
        self
    }

    fn goldens(&self, case: &Case) -> Option<&Goldens> {
        match &case.goldens {
            None => Some(&self.goldens),
            Some(dir) => self.others.iter().find(|goldens| goldens.dir() == dir),
        }
    }

    /// The same, and states that are not the golden ones are kept in the run's folder, too.
    #[must_use]
    pub fn recorded_in(self, run: &Path) -> Self {
        Self {
            goldens: self.goldens.recorded_in(run),
            ..self
        }
    }

    /// Run this kernel and these programs, whatever the checkout would build.
    #[must_use]
    pub fn with(mut self, kernel: Kernel, guest: GuestImage) -> Self {
        self.given = Some((kernel, guest));
        self
    }

    /// A person takes part in the trials.
    #[must_use]
    pub fn attended_by(mut self, person: Person) -> Self {
        self.person = Some(person);
        self
    }
}

impl Backend for Machines {
    type Built = Built;
    type Ready = Ready;

    fn build(&self, arch: Arch, report: &Report) -> Result<Built, Failure> {
        if let Some((kernel, guest)) = self.given.clone().filter(|(kernel, _)| kernel.arch == arch)
        {
            return Ok(Built { kernel, guest });
        }
        let kernel = step(report, arch, Build::Kernel, |told| {
            kernel::build(&self.build, arch, self.flavor, &self.source, told)
                .map(|kernel| (kernel.built, kernel))
                .map_err(|error| Failure::infra(&error))
        })?;
        let guest = step(report, arch, Build::Guest, |told| {
            guest::build(&self.build, arch, told)
                .map(|guest| (guest.built, guest))
                .map_err(|error| Failure::infra(&error))
        })?;
        Ok(Built { kernel, guest })
    }

    fn boot(&self, arch: Arch, built: &Built, report: &Report) -> Result<Ready, Failure> {
        let ready = step(report, arch, Build::Template, |_| {
            let ready = Ready::boot(&self.build, &self.build.store, &built.kernel, &built.guest)?;
            Ok((ready.template.built(), ready))
        })?;
        ready.unfaulted()
    }

    fn skip(&self, case: &Case, ready: &Ready) -> Option<String> {
        ready.skip(case)
    }

    fn trial(&self, case: &Case, ready: &Ready, dir: &Path) -> Tried {
        let recipe = Recipe::new(case, self.flavor, &self.source, &ready.template);
        if let Err(error) = recipe.write(dir) {
            return Tried::infra(cannot("write", &dir.join(RECIPE), &error));
        }
        let person = self.person.as_ref();
        ready.trial(case, dir, self.goldens(case), person, &self.build.cancel)
    }
}

impl Ready {
    /// What trials of this kernel and these programs start from, kept in `store`.
    pub(crate) fn boot(
        build: &BuildContext,
        store: &Store,
        kernel: &Kernel,
        guest: &GuestImage,
    ) -> Result<Self, Failure> {
        let symbols = symbols(kernel).map_err(|error| Failure::infra(&error))?;
        let template = GuestSpec::for_host(build, kernel, guest)
            .and_then(|spec| Template::get(store, &spec, &build.cancel))
            .map_err(|error| boot_failure(&error))?;
        Ok(Self {
            build: build.clone(),
            template,
            vmlinux: kernel.vmlinux.clone(),
            symbols,
        })
    }

    /// The same if its boot left no complaint.
    pub(crate) fn unfaulted(self) -> Result<Self, Failure> {
        // Lockdep and its like leave no taint, and are silent after their first report: in every clone.
        let boot = std::fs::read(self.template.boot_console()).unwrap_or_default();
        match kernel_log::judge(&String::from_utf8_lossy(&boot)) {
            Some(fault) => Err(Failure {
                verdict: fault.into(),
                console: Vec::new(),
            }),
            None => Ok(self),
        }
    }

    /// Why this kernel cannot run the case, if it cannot.
    pub(crate) fn skip(&self, case: &Case) -> Option<String> {
        let mut case = case.clone();
        case.check_needs(|symbol| self.symbols.contains(symbol));
        case.skip
    }

    /// Try one case, with its evidence in `dir`, judged by no goldens where there are none; a person may take part.
    pub(crate) fn trial(
        &self,
        case: &Case,
        dir: &Path,
        goldens: Option<&Goldens>,
        person: Option<&Person>,
        cancel: &Cancel,
    ) -> Tried {
        let mut case = case.clone();
        let attended = person.map(|person| (person, Attended::new(&self.template, person)));
        let mut prompt = None;
        if let Some((person, _)) = &attended {
            match person.wish {
                Wish::Gdb(_) => case.timeout = NO_HURRY,
                Wish::Shell(at) => {
                    let person = &*person.attendant;
                    prompt = Some(Prompt { person, at });
                }
            }
        }
        let staged = match &case.subject {
            Subject::Workload(_) => None,
            Subject::Exec(exec) => match programs::stage(&self.build, case.arch, exec) {
                Ok(staged) => Some(staged),
                Err(error) => return Tried::infra(chain(&error)),
            },
        };
        let outcome = trial::run(
            &case,
            &Env {
                staged: staged.as_ref(),
                template: attended.as_ref().map_or(&self.template, |(_, attended)| {
                    attended as &dyn trial::Source
                }),
                vmlinux: Some(self.vmlinux.clone()),
                dir: dir.to_owned(),
                snapshots: goldens,
                cancel: cancel.clone(),
                prompt,
            },
        );
        let phases = outcome.phases.iter();
        Tried {
            phases: phases
                .map(|(phase, time)| (phase.name().to_owned(), *time))
                .collect(),
            diff: outcome.diff,
            console: outcome.console,
            verdict: outcome.verdict,
            retries: outcome.retries,
        }
    }
}

/// One build, told to the report.
fn step<T>(
    report: &Report,
    arch: Arch,
    what: Build,
    work: impl FnOnce(&(dyn Fn(Progress) + Sync)) -> Result<(bool, T), Failure>,
) -> Result<T, Failure> {
    let told = report.build(arch, what);
    match work(&|progress| tell(&told, progress)) {
        Ok((built, done)) => {
            told.finished(Ok(built));
            Ok(done)
        }
        Err(failure) => {
            told.finished(Err(failure.verdict.to_string()));
            Err(failure)
        }
    }
}

fn tell(told: &BuildReport<'_>, progress: Progress) {
    match progress {
        Progress::Started { what } => told.progress(what, 0, None),
        Progress::Step { what, done, total } => told.progress(what, done, total),
        Progress::Line(line) => tracing::info!("{line}"),
    }
}

/// The symbols that a kernel's configuration sets.
fn symbols(kernel: &Kernel) -> Result<HashSet<String>, GuestError> {
    let path = kernel.image.with_file_name("config");
    let text =
        std::fs::read_to_string(&path).map_err(|error| GuestError::file(&path, "read", error))?;
    let set = text.lines().filter_map(|line| line.split_once('='));
    Ok(set.map(|(symbol, _)| symbol.to_owned()).collect())
}

/// What a kernel that does not boot means for its cases.
fn boot_failure(error: &GuestError) -> Failure {
    let console = error.console();
    let lines = console.map_or_else(Vec::new, |tail| tail.lines.clone());
    let whole = console.and_then(|ConsoleTail { path, .. }| std::fs::read(path).ok());
    let whole = whole.map_or_else(
        || lines.join("\n"),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    );
    let verdict = match (kernel_log::judge(&whole), error) {
        (Some(fault), _) => fault.into(),
        (None, GuestError::TimedOut { phase, .. }) => Verdict::Timeout {
            phase: (*phase).to_owned(),
        },
        (None, GuestError::Died { status, phase, .. }) if status.success() => {
            // `-no-reboot`: QEMU ends well when its guest resets.
            Verdict::KernelFault {
                class: "reset".to_owned(),
                lines: vec![format!("the guest ended without a word during {phase}")],
            }
        }
        (None, error) => return Failure::infra(error),
    };
    Failure {
        verdict,
        console: lines,
    }
}

impl Failure {
    /// The machine was in the way, or the source cannot be built: says nothing about how the kernel runs.
    pub(crate) fn infra(error: &(dyn Error + 'static)) -> Self {
        Self {
            verdict: Verdict::infra(error),
            console: Vec::new(),
        }
    }
}
