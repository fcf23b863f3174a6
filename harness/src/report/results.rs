//! What the events add up to: the model of `results.json`, `junit.xml` and `report.html`.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::event::{phases, seconds};
use super::{Build, Event, Finished, Planned};
use crate::arch::Arch;
use crate::oracle::{Oracle, Verdict};
use crate::scenario::CaseId;

/// A run as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// The run itself.
    pub run: Run,
    /// Each case once, in the order of the plan.
    pub cases: Vec<CaseResult>,
    /// Where each case is in `cases`.
    index: HashMap<CaseId, usize>,
}

/// The run itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Run {
    /// Its name.
    pub id: String,
    /// Its folder.
    pub dir: PathBuf,
    /// When it started, RFC 3339.
    pub started: String,
    /// Whether every case has its verdict.
    pub complete: bool,
    /// Cases whose verdict is `pass`.
    pub passed: usize,
    /// Cases whose verdict is `fail`, `kernel-fault`, `timeout` or `infra`.
    pub failed: usize,
    /// Cases whose verdict is `skip`.
    pub skipped: usize,
    /// Cases without a verdict.
    pub unfinished: usize,
    /// Time of the whole run; zero until it is over.
    #[serde(rename = "seconds", serialize_with = "seconds::serialize")]
    pub time: Duration,
    /// Architectures that have cases.
    pub archs: Vec<Arch>,
    /// What was built, or found in the store.
    pub builds: Vec<BuildResult>,
}

/// A build that ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BuildResult {
    /// For this architecture.
    pub arch: Arch,
    /// What it is.
    pub what: Build,
    /// Time that it took.
    #[serde(rename = "seconds", serialize_with = "seconds::serialize")]
    pub time: Duration,
    /// `false`: it was in the store already.
    pub built: bool,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// A case and, once it has one, its outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseResult {
    /// The case.
    pub plan: Planned,
    /// Its outcome.
    pub finished: Option<Finished>,
}

impl CaseResult {
    /// `pass`, `fail`, `kernel-fault`, `timeout`, `skip` or `infra`; `None` without an outcome.
    pub fn kind(&self) -> Option<&'static str> {
        Some(self.finished.as_ref()?.verdict.kind())
    }

    /// Whether it counts as failed.
    pub fn failed(&self) -> bool {
        self.kind()
            .is_some_and(|kind| !matches!(kind, "pass" | "skip"))
    }
}

/// The judge that objected, where the verdict is one of a judge.
pub(super) fn oracle(verdict: &Verdict) -> Option<Oracle> {
    match verdict {
        Verdict::Fail { oracle, .. } => Some(*oracle),
        Verdict::Pass
        | Verdict::KernelFault { .. }
        | Verdict::Timeout { .. }
        | Verdict::Skip { .. }
        | Verdict::Infra { .. } => None,
    }
}

/// What the verdict says beyond its kind; empty for `pass`.
pub(super) fn message(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Pass => String::new(),
        Verdict::Fail { message, .. } => message.clone(),
        Verdict::KernelFault { class, lines } => lines
            .iter()
            .fold(class.clone(), |all, line| all + "\n" + line),
        Verdict::Timeout { phase } => format!(
            "nothing happened in time during {phase}; the last console tells what each task waited for"
        ),
        Verdict::Skip { reason } => reason.clone(),
        Verdict::Infra { cause } => cause.clone(),
    }
}

/// The first line that says something which the label does not.
pub(super) fn headline(verdict: &Verdict) -> String {
    let text = match verdict {
        Verdict::KernelFault { lines, .. } => lines.join("\n"),
        Verdict::Pass
        | Verdict::Fail { .. }
        | Verdict::Timeout { .. }
        | Verdict::Skip { .. }
        | Verdict::Infra { .. } => message(verdict),
    };
    text.lines().next().unwrap_or_default().to_owned()
}

/// The kind and, in brackets, which judge or phase: `fail (state)`, `timeout (boot)`.
pub(super) fn label(verdict: &Verdict) -> String {
    let detail = match verdict {
        Verdict::Fail { oracle, .. } => Some(oracle.to_string()),
        Verdict::Timeout { phase } => Some(phase.clone()),
        Verdict::KernelFault { class, .. } => Some(class.clone()),
        Verdict::Pass | Verdict::Skip { .. } | Verdict::Infra { .. } => None,
    };
    match detail {
        Some(detail) => format!("{} ({detail})", verdict.kind()),
        None => verdict.kind().to_owned(),
    }
}

impl Results {
    /// Take the next event in.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::RunStarted {
                id,
                dir,
                started,
                archs,
                cases,
            } => {
                self.run = Run {
                    id: id.clone(),
                    dir: dir.clone(),
                    started: started.clone(),
                    unfinished: cases.len(),
                    archs: archs.clone(),
                    ..Run::default()
                };
                self.cases = cases
                    .iter()
                    .map(|plan| CaseResult {
                        plan: plan.clone(),
                        finished: None,
                    })
                    .collect();
                let ids = self.cases.iter().map(|case| case.plan.id.clone());
                self.index = ids.zip(0..).collect();
            }
            Event::BuildFinished {
                arch,
                what,
                time,
                built,
                error,
            } => self.run.builds.push(BuildResult {
                arch: *arch,
                what: *what,
                time: *time,
                built: *built,
                error: error.clone(),
            }),
            Event::TrialFinished(finished) => {
                if let Some(&at) = self.index.get(&finished.case) {
                    self.cases[at].finished = Some((**finished).clone());
                    self.count();
                }
            }
            Event::RunFinished { time, .. } => {
                self.run.time = *time;
                self.run.complete = self.run.unfinished == 0;
            }
            Event::BuildStarted { .. }
            | Event::BuildProgress { .. }
            | Event::TrialStarted { .. } => {}
        }
    }

    /// One of the run's cases.
    pub fn case(&self, id: &CaseId) -> Option<&CaseResult> {
        Some(&self.cases[*self.index.get(id)?])
    }

    fn count(&mut self) {
        let kinds = |wanted: &[Option<&str>]| {
            let cases = self.cases.iter();
            cases.filter(|case| wanted.contains(&case.kind())).count()
        };
        let (passed, skipped, unfinished) = (
            kinds(&[Some("pass")]),
            kinds(&[Some("skip")]),
            kinds(&[None]),
        );
        self.run.failed = self.cases.len() - passed - skipped - unfinished;
        self.run.passed = passed;
        self.run.skipped = skipped;
        self.run.unfinished = unfinished;
    }

    /// The text of `results.json`: the run, and one object a case.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        #[derive(Serialize)]
        struct File<'a> {
            run: &'a Run,
            cases: Vec<Case<'a>>,
        }
        let cases = self.cases.iter().map(Case::new).collect();
        let mut text = serde_json::to_vec_pretty(&File {
            run: &self.run,
            cases,
        })?;
        text.push(b'\n');
        Ok(text)
    }
}

/// One case as it is in the file; what is not known yet is null.
#[derive(Serialize)]
struct Case<'a> {
    #[serde(rename = "case")]
    id: &'a CaseId,
    arch: Arch,
    family: &'a str,
    scenario: &'a str,
    axes: BTreeMap<&'a str, &'a str>,
    verdict: Option<&'static str>,
    oracle: Option<String>,
    message: Option<String>,
    seconds: Option<f64>,
    #[serde(serialize_with = "phases::serialize")]
    phases: &'a [(String, Duration)],
    folder: Option<&'a PathBuf>,
    command: &'a str,
}

impl<'a> Case<'a> {
    fn new(CaseResult { plan, finished }: &'a CaseResult) -> Self {
        let finished = finished.as_ref();
        let axes = plan.axes.iter();
        Self {
            id: &plan.id,
            arch: plan.arch,
            family: &plan.family,
            scenario: &plan.scenario,
            axes: axes.map(|(axis, value)| (&**axis, &**value)).collect(),
            verdict: finished.map(|finished| finished.verdict.kind()),
            oracle: finished
                .and_then(|finished| oracle(&finished.verdict))
                .map(|oracle| oracle.to_string()),
            message: finished
                .map(|finished| message(&finished.verdict))
                .filter(|message| !message.is_empty()),
            seconds: finished.map(|finished| seconds::rounded(finished.time)),
            phases: finished.map_or(&[], |finished| &finished.phases),
            folder: finished.and_then(|finished| finished.folder.as_ref()),
            command: &plan.command,
        }
    }
}
