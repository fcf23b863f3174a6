//! What the events add up to: the model of `results.json`, `junit.xml` and `report.html`.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::event::{phases, seconds};
use super::guard::Counts;
use super::{Build, Distribution, Event, Finished, Planned};
use crate::arch::Arch;
use crate::oracle::{Oracle, Verdict};
use crate::process::shell_line;
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
    counts: Counts,
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
    /// Whether every trial has its verdict.
    pub complete: bool,
    /// How often each case is tried; `None` as often as it passes.
    pub rounds: Option<u32>,
    /// Whether the first failure ended it, as asked for.
    pub stopped: bool,
    /// Trials whose verdict is `pass`.
    pub passed: usize,
    /// Trials whose verdict is `fail`, `kernel-fault`, `timeout` or `infra`.
    pub failed: usize,
    /// Trials, or cases that were not tried, whose verdict is `skip`.
    pub skipped: usize,
    /// Trials without a verdict; without a number of rounds, cases.
    pub unfinished: usize,
    /// Parts of trials that were done once more, see [`Event::TrialRetried`].
    pub retries: usize,
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

impl Run {
    /// Whether a case may have several trials.
    pub fn is_repeated(&self) -> bool {
        self.rounds != Some(1)
    }
}

/// A case and its outcomes so far.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseResult {
    /// The case.
    pub plan: Planned,
    /// Its trials, as they ended; one without a round if it is not tried.
    pub trials: Vec<Finished>,
}

impl CaseResult {
    /// The trial that speaks for the case: the first that failed, by round; else the last.
    pub fn finished(&self) -> Option<&Finished> {
        let failed = self.trials.iter().filter(|trial| trial.failed());
        let first = failed.min_by_key(|trial| trial.round);
        first.or_else(|| self.trials.iter().max_by_key(|trial| trial.round))
    }

    /// `pass`, `fail`, `kernel-fault`, `timeout`, `skip` or `infra`, of that trial; `None` without an outcome.
    pub fn kind(&self) -> Option<&'static str> {
        Some(self.finished()?.verdict.kind())
    }

    /// Whether a trial failed.
    pub fn failed(&self) -> bool {
        self.trials.iter().any(Finished::failed)
    }

    /// The name of one of its trials, which the case's is not where there are several: `ARCH/FAMILY/SCENARIO#ROUND`.
    pub fn trial_name(&self, trial: &Finished, repeated: bool) -> String {
        trial_name(self.plan.id.as_str(), trial.round, repeated)
    }
}

/// The command that repeats a trial: by its folder, which holds what it was made of, or else its case's.
pub(super) fn command(case: &CaseResult, trial: &Finished, run: &Run) -> String {
    if trial.folder.is_none() {
        return case.plan.command.clone();
    }
    let name = case.trial_name(trial, run.is_repeated());
    let trial = format!("{}/{name}", run.id);
    shell_line(&["cargo", "xtask", "repeat", &trial].map(str::to_owned))
}

/// `NAME#ROUND` in a run in which a case has several trials.
pub(super) fn trial_name(name: &str, round: Option<u32>, repeated: bool) -> String {
    match round.filter(|_| repeated) {
        Some(round) => format!("{name}#{round}"),
        None => name.to_owned(),
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
        Verdict::Timeout { phase } => format!("nothing happened in time during {phase}"),
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
                rounds,
            } => {
                self.counts = Counts::default();
                self.run = Run {
                    id: id.clone(),
                    dir: dir.clone(),
                    started: started.clone(),
                    unfinished: cases.len() * rounds.map_or(1, |rounds| rounds as usize),
                    rounds: *rounds,
                    archs: archs.clone(),
                    ..Run::default()
                };
                self.cases = cases
                    .iter()
                    .map(|plan| CaseResult {
                        plan: plan.clone(),
                        trials: Vec::new(),
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
                    self.ended(at, (**finished).clone());
                }
            }
            Event::TrialRetried { .. } => self.run.retries += 1,
            Event::RunFinished {
                time,
                unfinished,
                stopped,
                ..
            } => {
                self.run.time = *time;
                self.run.unfinished = *unfinished;
                self.run.stopped = *stopped;
                self.run.complete = *unfinished == 0;
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

    /// A trial of this case ended.
    fn ended(&mut self, at: usize, finished: Finished) {
        let Self {
            run, cases, counts, ..
        } = self;
        let trials = &mut cases[at].trials;
        let covered = match (finished.round, run.rounds) {
            (None, Some(rounds)) => rounds as usize,
            (Some(_), None) if !trials.is_empty() => 0,
            _ => 1,
        };
        counts.add(finished.verdict.kind());
        // The second outcome of a round stands, see the contract.
        let earlier = trials
            .iter_mut()
            .rfind(|trial| trial.round == finished.round);
        if let Some(earlier) = earlier {
            counts.remove(earlier.verdict.kind());
            *earlier = finished;
        } else {
            run.unfinished = run.unfinished.saturating_sub(covered);
            trials.push(finished);
        }
        run.passed = counts.passed;
        run.failed = counts.failed;
        run.skipped = counts.skipped;
    }

    /// The text of `results.json`: the run, and one object a case.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        #[derive(Serialize)]
        struct File<'a> {
            run: &'a Run,
            cases: Vec<Case<'a>>,
        }
        let cases = self
            .cases
            .iter()
            .map(|case| Case::new(case, &self.run))
            .collect();
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
    command: String,
    distribution: Distribution,
    trials: Vec<Trial<'a>>,
}

/// One trial of it.
#[derive(Serialize)]
struct Trial<'a> {
    round: Option<u32>,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    oracle: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<&'a PathBuf>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    retries: &'a [String],
}

impl<'a> Trial<'a> {
    fn new(finished: &'a Finished) -> Self {
        Self {
            round: finished.round,
            verdict: finished.verdict.kind(),
            oracle: oracle(&finished.verdict).map(|oracle| oracle.to_string()),
            message: Some(message(&finished.verdict)).filter(|message| !message.is_empty()),
            seconds: seconds::rounded(finished.time),
            folder: finished.folder.as_ref(),
            retries: &finished.retries,
        }
    }
}

impl<'a> Case<'a> {
    /// Its verdict and what belongs to it are those of the trial that speaks for it.
    fn new(case: &'a CaseResult, run: &Run) -> Self {
        let plan = &case.plan;
        let finished = case.finished();
        let axes = plan.axes.iter();
        let mut trials: Vec<_> = case.trials.iter().map(Trial::new).collect();
        trials.sort_by_key(|trial| trial.round);
        let spokesman = finished.map(Trial::new);
        let spokesman = spokesman.as_ref();
        Self {
            id: &plan.id,
            arch: plan.arch,
            family: &plan.family,
            scenario: &plan.scenario,
            axes: axes.map(|(axis, value)| (&**axis, &**value)).collect(),
            verdict: spokesman.map(|trial| trial.verdict),
            oracle: spokesman.and_then(|trial| trial.oracle.clone()),
            message: spokesman.and_then(|trial| trial.message.clone()),
            seconds: spokesman.map(|trial| trial.seconds),
            phases: finished.map_or(&[], |finished| &finished.phases),
            folder: spokesman.and_then(|trial| trial.folder),
            command: finished
                .map_or_else(|| plan.command.clone(), |trial| command(case, trial, run)),
            distribution: Distribution::of(&case.trials),
            trials,
        }
    }
}
