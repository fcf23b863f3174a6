//! What happens in a run, as one ordered stream.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::oracle::Verdict;
use crate::scenario::{Case, CaseId};

/// One step of a run.
///
/// The contract, which [`Report`](super::Report) enforces and every sink may rely on:
///
/// 1. [`Event::RunStarted`] is first, [`Event::RunFinished`] is last, and each is there once, also when the run is cut short.
/// 2. Builds of one architecture and kind are a [`Event::BuildStarted`], any number of [`Event::BuildProgress`], and one [`Event::BuildFinished`];
///    other builds and trials may lie between.
/// 3. A case of `RunStarted` has at most one [`Event::TrialStarted`] a round, after its architecture's last `BuildFinished`;
///    none if it could not be tried at all.
/// 4. A case has exactly one [`Event::TrialFinished`] a round, after its `TrialStarted`, unless the run was cut short or ended at a failure.
///    One that is not tried at all has a single one without a round.
///    The exception is a round with two outcomes, a bug of the harness: the second event has the verdict `infra`, names both, and stands.
/// 5. An [`Event::TrialRetried`] lies between the two of its round.
/// 6. Nothing happens to a case that is not in `RunStarted`.
///
/// On disk (`events.jsonl`) and with `--format json` it is one JSON object a line; durations are seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The cases are known.
    RunStarted {
        /// Name of the run, and of its folder.
        id: String,
        /// The run's folder.
        dir: PathBuf,
        /// When, RFC 3339 in UTC.
        started: String,
        /// Architectures that have cases.
        archs: Vec<Arch>,
        /// What will be tried, in order.
        cases: Vec<Planned>,
        /// How often each case is tried; `None` as often as it passes.
        rounds: Option<u32>,
    },
    /// Something is built, booted, or taken from the store.
    BuildStarted {
        /// For this architecture.
        arch: Arch,
        /// What it is.
        what: Build,
    },
    /// A build goes on.
    BuildProgress {
        /// For this architecture.
        arch: Arch,
        /// What it is.
        what: Build,
        /// What is done now.
        step: String,
        /// Steps that are done.
        done: u64,
        /// Steps that there are, where that is known.
        total: Option<u64>,
    },
    /// A build ended.
    BuildFinished {
        /// For this architecture.
        arch: Arch,
        /// What it is.
        what: Build,
        /// Time that it took.
        #[serde(rename = "seconds", with = "seconds")]
        time: Duration,
        /// `false`: it was in the store already.
        built: bool,
        /// Why it failed, if it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A trial began.
    TrialStarted {
        /// Of this case.
        case: CaseId,
        /// Counted from 1.
        round: u32,
    },
    /// A part of a trial was done once more, since something that is not tried here failed.
    TrialRetried {
        /// Of this case.
        case: CaseId,
        /// Counted from 1.
        round: u32,
        /// What failed.
        why: String,
    },
    /// A trial has its verdict.
    TrialFinished(Box<Finished>),
    /// The run is over.
    RunFinished {
        /// Trials whose verdict is `pass`.
        passed: usize,
        /// Trials whose verdict is `fail`, `kernel-fault`, `timeout` or `infra`.
        failed: usize,
        /// Trials, or cases that were not tried, whose verdict is `skip`.
        skipped: usize,
        /// Trials that have no verdict since the run was cut short.
        unfinished: usize,
        /// Whether the first failure ended it, as asked for.
        stopped: bool,
        /// Time from `RunStarted`.
        #[serde(rename = "seconds", with = "seconds")]
        time: Duration,
    },
}

/// What is made before an architecture's trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Build {
    /// The kernel.
    Kernel,
    /// The guest programs and their initramfs.
    Guest,
    /// The booted guest that clones start from.
    Template,
}

impl Build {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Guest => "guest",
            Self::Template => "template",
        }
    }
}

/// A case that will be tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// Its stable name.
    pub id: CaseId,
    /// Where it runs.
    pub arch: Arch,
    /// The scenario's file.
    pub family: String,
    /// The scenario's name in it.
    pub scenario: String,
    /// What it shows, for people.
    pub about: String,
    /// The value on each axis.
    pub axes: Vec<(String, String)>,
    /// The command that repeats it alone.
    pub command: String,
}

impl Planned {
    /// A case, and the command that repeats it alone.
    pub fn new(case: &Case, command: String) -> Self {
        Self {
            id: case.id.clone(),
            arch: case.arch,
            family: case.family.clone(),
            scenario: case.scenario.clone(),
            about: case.about.clone(),
            axes: case.axes.clone(),
            command,
        }
    }
}

/// The outcome of a trial, or of a case that is not tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// The case.
    pub case: CaseId,
    /// Counted from 1; `None` if the case is not tried: then this is its outcome in all rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
    /// What the oracles say.
    pub verdict: Verdict,
    /// Time of the whole trial.
    #[serde(rename = "seconds", with = "seconds")]
    pub time: Duration,
    /// Time by phase, in the order in which they began.
    #[serde(with = "phases")]
    pub phases: Vec<(String, Duration)>,
    /// Folder with the evidence, where it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// What differs, as a unified diff, where that is what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// Last lines of the console of the guest that went wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub console: Vec<String>,
    /// Why parts of it were done once more: see [`Event::TrialRetried`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retries: Vec<String>,
}

impl Finished {
    /// Whether it counts as failed.
    pub fn failed(&self) -> bool {
        !matches!(self.verdict.kind(), "pass" | "skip")
    }
}

/// A duration as a number of seconds.
pub(super) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// To microseconds: more would be noise.
    pub(in crate::report) fn rounded(time: Duration) -> f64 {
        (time.as_secs_f64() * 1e6).round() / 1e6
    }

    pub(in crate::report) fn serialize<S: Serializer>(
        time: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(rounded(*time))
    }

    pub(in crate::report) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Named durations as a list of objects: a name may come twice, and the order counts.
pub(super) mod phases {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Phase {
        phase: String,
        #[serde(rename = "seconds", with = "super::seconds")]
        time: Duration,
    }

    pub(in crate::report) fn serialize<S: Serializer>(
        phases: &[(String, Duration)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(phases.iter().map(|(phase, time)| Phase {
            phase: phase.clone(),
            time: *time,
        }))
    }

    pub(in crate::report) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(String, Duration)>, D::Error> {
        let phases = Vec::<Phase>::deserialize(deserializer)?;
        Ok(phases
            .into_iter()
            .map(|Phase { phase, time }| (phase, time))
            .collect())
    }
}
