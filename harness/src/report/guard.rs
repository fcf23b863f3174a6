//! Sees to it that every trial of a run has exactly one outcome.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::Finished;
use crate::oracle::Verdict;
use crate::scenario::CaseId;

/// What is known of a case.
#[derive(Debug, Default)]
struct Progress {
    /// The kind of its verdict if it is not tried at all.
    settled: Option<&'static str>,
    /// Rounds that began, and the kind of the verdict of those that ended.
    rounds: BTreeMap<u32, Option<&'static str>>,
}

/// What an outcome is to those before it.
#[derive(Debug)]
pub(super) enum Judged {
    /// The only one.
    Right,
    /// The second one; why that is wrong.
    Doubled(String),
    /// Its case is not of this run.
    Unknown,
}

/// Trials by the kind of their verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: usize,
    /// With those of `infra`.
    pub(super) failed: usize,
    pub(super) infra: usize,
    pub(super) skipped: usize,
}

impl Counts {
    /// One more of this kind.
    pub(super) fn add(&mut self, kind: &str) {
        match kind {
            "pass" => self.passed += 1,
            "skip" => self.skipped += 1,
            _ => self.failed += 1,
        }
        self.infra += usize::from(kind == "infra");
    }

    /// One less of this kind.
    pub(super) fn remove(&mut self, kind: &str) {
        match kind {
            "pass" => self.passed -= 1,
            "skip" => self.skipped -= 1,
            _ => self.failed -= 1,
        }
        self.infra -= usize::from(kind == "infra");
    }
}

/// The plan, and what became of it.
#[derive(Debug)]
pub(super) struct Guard {
    plan: Vec<CaseId>,
    rounds: Option<u32>,
    progress: HashMap<CaseId, Progress>,
    counts: Counts,
}

impl Guard {
    /// Each of these is tried so often.
    pub(super) fn new(plan: impl Iterator<Item = CaseId>, rounds: Option<u32>) -> Self {
        let plan: Vec<_> = plan.collect();
        let progress = plan.iter().map(|id| (id.clone(), Progress::default()));
        Self {
            progress: progress.collect(),
            plan,
            rounds,
            counts: Counts::default(),
        }
    }

    /// A trial begins.
    pub(super) fn started(&mut self, case: &CaseId, round: u32) {
        if let Some(progress) = self.progress.get_mut(case) {
            progress.rounds.entry(round).or_default();
        }
    }

    /// A trial ended, or a case is not tried.
    pub(super) fn finished(&mut self, finished: &Finished) -> Judged {
        let Some(progress) = self.progress.get_mut(&finished.case) else {
            return Judged::Unknown;
        };
        let kind = finished.verdict.kind();
        let first = match finished.round {
            // Whoever has been tried cannot be one that was not.
            None => progress
                .settled
                .or_else(|| progress.rounds.values().copied().flatten().next()),
            Some(round) => progress
                .settled
                .or_else(|| progress.rounds.get(&round).copied().flatten()),
        };
        let stands = if first.is_some() { "infra" } else { kind };
        let before = match finished.round {
            None => progress.settled.replace(stands),
            Some(round) => progress.rounds.insert(round, Some(stands)).flatten(),
        };
        if let Some(before) = before {
            self.counts.remove(before);
        }
        self.counts.add(stands);
        match first {
            None => Judged::Right,
            Some(first) => {
                Judged::Doubled(format!("two outcomes for one trial: {first}, then {kind}"))
            }
        }
    }

    /// Trials that have no outcome and should; once no more begin, those that had begun.
    ///
    /// Where the rounds have no end, each case is to have one trial at least.
    pub(super) fn missing(&self, stopped: bool) -> Vec<(CaseId, u32)> {
        let mut missing = Vec::new();
        for case in &self.plan {
            let progress = &self.progress[case];
            if progress.settled.is_some() {
                continue;
            }
            let planned = match self.rounds {
                _ if stopped => 0,
                Some(rounds) => rounds,
                None => 1,
            };
            let begun = progress.rounds.keys().copied();
            let begun = begun.filter(|round| *round > planned);
            let due = (1..=planned).chain(begun);
            let open = due.filter(|round| progress.rounds.get(round).copied().flatten().is_none());
            missing.extend(open.map(|round| (case.clone(), round)));
        }
        missing
    }

    /// How the trials ended.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }
}

/// The outcome of a trial that has none.
pub(super) fn without_outcome(case: CaseId, round: u32) -> Finished {
    Finished {
        case,
        round: Some(round),
        verdict: Verdict::Infra {
            cause: "the trial ended without an outcome".to_owned(),
        },
        time: Duration::ZERO,
        phases: Vec::new(),
        folder: None,
        diff: None,
        console: Vec::new(),
        retries: Vec::new(),
    }
}
