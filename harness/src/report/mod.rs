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
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull {
                path: path.to_owned(),
            },
            _ => Self::File {
                what,
                path: path.to_owned(),
                source,
            },
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

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::SystemTime;

    use super::*;
    use crate::oracle::Oracle;

    /// A case id; the type has no other way in than the scenario files and JSON.
    pub(crate) fn id(id: &str) -> CaseId {
        serde_json::from_value(id.into()).unwrap()
    }

    /// A case of that id, `ARCH/FAMILY/SCENARIO[AXIS=VALUE]`.
    pub(crate) fn planned(name: &str) -> Planned {
        let mut parts = name.splitn(3, '/');
        let mut next = || parts.next().unwrap().to_owned();
        let (arch, family, rest) = (next(), next(), next());
        let (scenario, axes) = rest.split_once('[').unwrap_or((&rest, ""));
        let axes = axes.trim_end_matches(']').split(',');
        let axes = axes.filter_map(|axis| axis.split_once('='));
        Planned {
            id: id(name),
            arch: arch.parse().unwrap(),
            family,
            scenario: scenario.to_owned(),
            about: "Pipes keep their bytes.".to_owned(),
            axes: axes
                .map(|(axis, value)| (axis.to_owned(), value.to_owned()))
                .collect(),
            command: format!("cargo xtask test --scenario '{name}'"),
        }
    }

    pub(crate) fn finished(name: &str, verdict: Verdict) -> Finished {
        let millis = Duration::from_millis;
        Finished {
            case: id(name),
            verdict,
            time: millis(421),
            phases: vec![
                ("clone".to_owned(), millis(100)),
                ("restart".to_owned(), millis(300)),
            ],
            folder: None,
            diff: None,
            console: Vec::new(),
        }
    }

    /// A run with one case of every verdict, and one without.
    pub(crate) fn sample() -> Results {
        let mut results = Results::default();
        let fail = |oracle| Verdict::Fail {
            oracle,
            message: "S0 and S1 differ: task 2: fd 3: pos: 17 -> 0".to_owned(),
        };
        let verdicts = [
            ("x86_32/files/offset", Some(Verdict::Pass)),
            ("x86_64/files/offset", Some(fail(Oracle::State))),
            (
                "s390x/files/offset",
                Some(Verdict::KernelFault {
                    class: "oops".to_owned(),
                    lines: vec!["BUG: <bad> page state".to_owned()],
                }),
            ),
            (
                "ppc64/files/offset",
                Some(Verdict::Timeout {
                    phase: "restart".to_owned(),
                }),
            ),
            (
                "x86_32/pipes/full[size=4096]",
                Some(Verdict::Skip {
                    reason: "the kernel has no CONFIG_PIPE".to_owned(),
                }),
            ),
            (
                "s390x/pipes/full[size=4096]",
                Some(Verdict::Infra {
                    cause: "QEMU ended (signal: 9)".to_owned(),
                }),
            ),
            ("ppc64/pipes/full[size=4096]", None),
        ];
        results.apply(&Event::RunStarted {
            id: "20260101-000000".to_owned(),
            dir: "/repo/target/crossthaw/runs/20260101-000000".into(),
            started: "2026-01-01T00:00:00Z".to_owned(),
            archs: Arch::ALL.to_vec(),
            cases: verdicts.iter().map(|(name, _)| planned(name)).collect(),
        });
        for (arch, built, error) in [
            (Arch::X86_32, true, None),
            (Arch::S390x, false, None),
            (
                Arch::Ppc64,
                false,
                Some("mm.c:1: error: <stdin>".to_owned()),
            ),
        ] {
            results.apply(&Event::BuildFinished {
                arch,
                what: Build::Kernel,
                time: Duration::from_secs(if built { 412 } else { 0 }),
                built,
                error,
            });
        }
        for (name, verdict) in verdicts {
            let Some(verdict) = verdict else { continue };
            let mut finished = finished(name, verdict);
            if finished.verdict.kind() == "fail" {
                finished.folder = Some(results.run.dir.join(TRIALS).join("x"));
                finished.diff = Some("@@ -1,2 +1,2 @@\n fd 3:\n-  pos: 17\n+  pos: 0\n".to_owned());
                finished.console = vec!["Linux version 6.12".to_owned(), "\x1b[1mbold".to_owned()];
            }
            results.apply(&Event::TrialFinished(Box::new(finished)));
        }
        results
    }

    /// Keeps what it is given.
    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<Event>>>);

    impl Sink for Memory {
        fn take(&mut self, event: &Event) -> Result<(), ReportError> {
            self.0.lock().unwrap().push(event.clone());
            Ok(())
        }
    }

    const CASES: [&str; 3] = ["x86_32/a/one", "x86_32/a/two", "s390x/a/one"];

    fn start(scratch: &Path) -> (Report, Memory) {
        let folder = RunFolder::create(scratch, SystemTime::now()).unwrap();
        let memory = Memory::default();
        let cases = CASES.iter().map(|name| planned(name)).collect();
        let report = Report::start(&folder, cases, vec![Box::new(memory.clone())]);
        (report, memory)
    }

    fn verdicts(memory: &Memory) -> Vec<(String, &'static str)> {
        let events = memory.0.lock().unwrap();
        let verdict = |event: &Event| match event {
            Event::TrialFinished(finished) => {
                Some((finished.case.to_string(), finished.verdict.kind()))
            }
            _ => None,
        };
        events.iter().filter_map(verdict).collect()
    }

    #[test]
    fn a_missing_outcome_and_a_doubled_one_are_infra() {
        let scratch = tempfile::tempdir().unwrap();
        let (report, memory) = start(scratch.path());
        report.trial_finished(finished(CASES[0], Verdict::Pass));
        report.trial_finished(finished(CASES[1], Verdict::Pass));
        report.trial_finished(finished(CASES[1], Verdict::Pass));
        let outcome = report.finish(false);
        let counts = (
            outcome.passed,
            outcome.failed,
            outcome.infra,
            outcome.skipped,
        );
        assert_eq!((counts, outcome.unfinished), ((1, 2, 2, 0), 0));
        let expected = [(0, "pass"), (1, "pass"), (1, "infra"), (2, "infra")];
        assert_eq!(
            verdicts(&memory),
            expected.map(|(case, kind)| (CASES[case].to_owned(), kind))
        );
    }

    #[test]
    fn a_run_that_is_cut_short_says_how_much_is_missing() {
        let scratch = tempfile::tempdir().unwrap();
        let (report, memory) = start(scratch.path());
        report.trial_finished(finished(CASES[0], Verdict::Pass));
        let outcome = report.finish(true);
        assert_eq!(
            (outcome.passed, outcome.failed, outcome.unfinished),
            (1, 0, 2)
        );
        let events = memory.0.lock().unwrap();
        assert!(matches!(
            events.last(),
            Some(Event::RunFinished { unfinished: 2, .. })
        ));
    }

    #[test]
    fn an_outcome_of_no_case_is_an_error() {
        let scratch = tempfile::tempdir().unwrap();
        let (report, memory) = start(scratch.path());
        report.trial_finished(finished("ppc64/a/one", Verdict::Pass));
        let outcome = report.finish(true);
        assert!(matches!(outcome.errors[..], [ReportError::UnknownCase(_)]));
        assert_eq!(verdicts(&memory), []);
    }
}
