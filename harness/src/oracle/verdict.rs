//! What a trial comes to: exactly one verdict.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::kernel_log::Fault;

/// An independent judge of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Oracle {
    /// The workload's own checks, before and after the restart.
    #[serde(rename = "self")]
    SelfCheck,
    /// The restored state against the one that was checkpointed, and against the golden one.
    State,
    /// The images: valid, equal to that of the restored tree, and no larger from generation to generation.
    Image,
    /// What the kernel does besides: tasks that cannot be frozen or killed.
    Kernel,
    /// What the kernel has in use: nothing more after a trial than before it.
    Leak,
    /// A refusal: by the right step, with the right errno and words, and without harm.
    Refusal,
    /// A failure that is known and did not come.
    KnownFailure,
}

impl Oracle {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::SelfCheck => "self",
            Self::State => "state",
            Self::Image => "image",
            Self::Kernel => "kernel",
            Self::Leak => "leak",
            Self::Refusal => "refusal",
            Self::KnownFailure => "known-failure",
        }
    }
}

impl fmt::Display for Oracle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a trial comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Verdict {
    /// All oracles are content.
    Pass,
    /// One is not.
    Fail {
        /// The first that was not.
        oracle: Oracle,
        /// What it says; further lines say what the others add.
        message: String,
    },
    /// The guest's kernel reported a fault of its own, or ended.
    KernelFault {
        /// What kind, `oops`, `lockdep` ....
        class: String,
        /// The first lines of the report.
        lines: Vec<String>,
    },
    /// A phase took longer than the case allows.
    Timeout {
        /// The phase.
        phase: String,
    },
    /// It was not tried, or its failure is known.
    Skip {
        /// Why.
        reason: String,
    },
    /// The machine or the harness was in the way; says nothing about the kernel.
    Infra {
        /// What happened.
        cause: String,
    },
}

impl Verdict {
    /// Its name in reports.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail { .. } => "fail",
            Self::KernelFault { .. } => "kernel-fault",
            Self::Timeout { .. } => "timeout",
            Self::Skip { .. } => "skip",
            Self::Infra { .. } => "infra",
        }
    }

    /// The machine or the harness was in the way: an error and its causes.
    pub fn infra(error: &(dyn Error + 'static)) -> Self {
        Self::Infra {
            cause: chain(error),
        }
    }
}

impl From<Fault> for Verdict {
    fn from(fault: Fault) -> Self {
        Self::KernelFault {
            class: fault.class.name().to_owned(),
            lines: fault.lines,
        }
    }
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("pass"),
            Self::Fail { oracle, message } => write!(f, "fail ({oracle}): {message}"),
            Self::KernelFault { class, lines } => {
                write!(f, "kernel-fault ({class})")?;
                lines.iter().try_for_each(|line| write!(f, "\n  {line}"))
            }
            Self::Timeout { phase } => write!(f, "timeout ({phase})"),
            Self::Skip { reason } => write!(f, "skip: {reason}"),
            Self::Infra { cause } => write!(f, "infra: {cause}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_json_and_in_text() {
        let verdicts = [
            Verdict::Pass,
            Verdict::Fail {
                oracle: Oracle::SelfCheck,
                message: "m".to_owned(),
            },
            Verdict::KernelFault {
                class: "oops".to_owned(),
                lines: vec!["l".to_owned()],
            },
            Verdict::Timeout {
                phase: "restart".to_owned(),
            },
            Verdict::Skip {
                reason: "r".to_owned(),
            },
            Verdict::Infra {
                cause: "c".to_owned(),
            },
        ];
        for verdict in verdicts {
            let json = serde_json::to_value(&verdict).unwrap();
            assert_eq!(json["kind"], verdict.kind());
            assert!(verdict.to_string().starts_with(verdict.kind()));
            assert_eq!(serde_json::from_value::<Verdict>(json).unwrap(), verdict);
        }
        for oracle in [
            Oracle::SelfCheck,
            Oracle::State,
            Oracle::Image,
            Oracle::Kernel,
            Oracle::Leak,
            Oracle::Refusal,
            Oracle::KnownFailure,
        ] {
            assert_eq!(serde_json::to_value(oracle).unwrap(), oracle.name());
        }
    }
}
