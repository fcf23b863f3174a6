//! What the measurement of a mutant comes to.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::MutantId;
use crate::arch::Arch;
use crate::kernel::Flavor;
use crate::oracle::Verdict;
use crate::scenario::CaseId;

/// How a mutant fared on one architecture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// An oracle saw that the kernel is broken.
    Caught {
        /// The oracle, or `kernel-fault`, or `boot` if no guest came up.
        by: String,
        /// The case in which it did; none if no guest came up.
        case: Option<CaseId>,
        /// The first line of what it says.
        message: String,
    },
    /// Every case passed: nothing saw that the kernel is broken.
    Survived,
    /// The only thing that was seen is that a phase took too long.
    TimedOut {
        /// The case.
        case: CaseId,
        /// The phase.
        phase: String,
        /// The header says that it hangs.
        expected: bool,
    },
    /// The kernel is the same as without the patch: the mutant is none.
    Unchanged,
    /// The kernel does not build.
    NotBuilt {
        /// The first errors.
        message: String,
    },
    /// The true kernel does not pass these cases: a failure of the mutant would mean nothing.
    NoBaseline {
        /// The first such case.
        case: CaseId,
        /// What the true kernel comes to.
        message: String,
    },
    /// No case was tried: all are skipped.
    NotTried,
    /// The machine or the harness was in the way.
    Infra {
        /// What happened.
        message: String,
    },
}

/// What an outcome means for the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The oracles did their work.
    Good,
    /// The oracles missed it.
    Missed,
    /// The mutant or its baseline is wrong.
    Wrong,
    /// Nothing is known.
    Unknown,
}

impl Outcome {
    /// The verdict of a trial that did not pass; `hangs` is what the mutant's header says.
    pub(super) fn of(case: &CaseId, verdict: &Verdict, hangs: bool) -> Option<Self> {
        let first = |text: &str| text.lines().next().unwrap_or_default().trim().to_owned();
        let case = case.clone();
        Some(match verdict {
            Verdict::Pass | Verdict::Skip { .. } => return None,
            Verdict::Fail { oracle, message } => Self::Caught {
                by: oracle.name().to_owned(),
                case: Some(case),
                message: first(message),
            },
            Verdict::KernelFault { class, lines } => Self::Caught {
                by: verdict.kind().to_owned(),
                case: Some(case),
                message: format!("{class}: {}", first(&lines.join("\n"))),
            },
            Verdict::Timeout { phase } => Self::TimedOut {
                case,
                phase: phase.clone(),
                expected: hangs,
            },
            Verdict::Infra { cause } => Self::Infra {
                message: format!("{case}: {}", first(cause)),
            },
        })
    }

    /// A word for the table: the oracle, or what stood in its way.
    pub fn word(&self) -> &str {
        match self {
            Self::Caught { by, .. } => by,
            Self::Survived => "SURVIVED",
            Self::TimedOut { expected: true, .. } => "timeout",
            Self::TimedOut {
                expected: false, ..
            } => "TIMEOUT",
            Self::Unchanged => "UNCHANGED",
            Self::NotBuilt { .. } => "NOT-BUILT",
            Self::NoBaseline { .. } => "NO-BASELINE",
            Self::NotTried => "NOT-TRIED",
            Self::Infra { .. } => "INFRA",
        }
    }

    /// What it means.
    pub fn meaning(&self) -> Meaning {
        match self {
            Self::Caught { .. } | Self::TimedOut { expected: true, .. } => Meaning::Good,
            Self::Survived
            | Self::TimedOut {
                expected: false, ..
            } => Meaning::Missed,
            Self::Unchanged | Self::NotBuilt { .. } | Self::NoBaseline { .. } | Self::NotTried => {
                Meaning::Wrong
            }
            Self::Infra { .. } => Meaning::Unknown,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caught { by, case, message } => {
                write!(f, "caught by {by}")?;
                if let Some(case) = case {
                    write!(f, " in {}", case.without_arch())?;
                }
                write!(f, ": {message}")
            }
            Self::Survived => f.write_str("SURVIVED: every case passes"),
            Self::TimedOut {
                case,
                phase,
                expected,
            } => {
                let word = if *expected {
                    "caught by timeout, as expected,"
                } else {
                    "TIMEOUT, which its header does not expect,"
                };
                write!(f, "{word} in {} ({phase})", case.without_arch())
            }
            Self::Unchanged => f.write_str("UNCHANGED: the kernel is the same without the patch"),
            Self::NotBuilt { message } => write!(f, "NOT BUILT: {message}"),
            Self::NoBaseline { case, message } => {
                write!(
                    f,
                    "NO BASELINE: the true kernel does not pass {}: {message}",
                    case.without_arch()
                )
            }
            Self::NotTried => f.write_str("NOT TRIED: every case is skipped"),
            Self::Infra { message } => write!(f, "INFRA: {message}"),
        }
    }
}

/// One mutant on one architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The mutant.
    pub mutant: MutantId,
    /// The architecture.
    pub arch: Arch,
    /// The kernel's flavor.
    pub flavor: Flavor,
    /// How it fared.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// It is known from an earlier run of the same kernel, programs and scenarios.
    pub known: bool,
    /// Cases that were tried until it was caught.
    pub tried: usize,
    /// Time that building took, in seconds.
    pub build_seconds: f64,
    /// Time that booting took, in seconds.
    pub boot_seconds: f64,
    /// Time that the trials took, in seconds.
    pub trials_seconds: f64,
}

impl Row {
    /// All of its time.
    pub fn time(&self) -> Duration {
        Duration::from_secs_f64(self.build_seconds + self.boot_seconds + self.trials_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Oracle;

    #[test]
    fn only_an_oracle_or_an_expected_timeout_catches() {
        let case: CaseId = serde_json::from_str("\"s390x/files/dup\"").unwrap();
        let of = |verdict: Verdict, hangs| {
            let outcome = Outcome::of(&case, &verdict, hangs)?;
            Some((outcome.word().to_owned(), outcome.meaning()))
        };
        let fail = Verdict::Fail {
            oracle: Oracle::State,
            message: "differs\nmore".to_owned(),
        };
        let fault = Verdict::KernelFault {
            class: "oops".to_owned(),
            lines: vec!["BUG".to_owned()],
        };
        let timeout = Verdict::Timeout {
            phase: "restart".to_owned(),
        };
        let infra = Verdict::Infra {
            cause: "disk".to_owned(),
        };
        let word = |word: &str, meaning| Some((word.to_owned(), meaning));
        assert_eq!(of(fail, false), word("state", Meaning::Good));
        assert_eq!(of(fault, false), word("kernel-fault", Meaning::Good));
        assert_eq!(of(timeout.clone(), false), word("TIMEOUT", Meaning::Missed));
        assert_eq!(of(timeout, true), word("timeout", Meaning::Good));
        assert_eq!(of(infra, true), word("INFRA", Meaning::Unknown));
        assert_eq!(of(Verdict::Pass, true), None);
        let reason = "r".to_owned();
        assert_eq!(of(Verdict::Skip { reason }, false), None);
    }
}
