//! One case, from clone to evidence and verdict.
//!
//! A trial does what `docs/ARCHITECTURE.md` tells of its life; the oracles judge what it brings as soon as it is there.
//! What ends a trial early (a guest that is gone, a deadline, a refusal) is the verdict; what an oracle finds is collected, and the first of it is.

mod again;
mod console;
mod damage;
mod damaged;
mod disturb;
mod evidence;
#[cfg(test)]
mod fake;
mod faults;
mod guest;
mod life;
mod machine;
mod phase;
mod program;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use guest::{Attendant, Guest, Source};
pub use phase::Phase;

use crate::oracle::golden::Goldens;
use crate::oracle::kernel_log::{Class, Fault};
use crate::oracle::{Oracle, Verdict};
use crate::process::Cancel;
use crate::programs::Staged;
use crate::qemu::ConsoleTail;
use crate::scenario::Case;
use evidence::Evidence;
use life::Life;
use machine::Setting;
use phase::Clock;

/// Where a trial takes place.
pub struct Env<'a> {
    /// Where its guests come from: a [`Template`](crate::qemu::Template) of the case's architecture.
    pub template: &'a dyn Source,
    /// The guests' vmlinux, for files and lines in traces.
    pub vmlinux: Option<PathBuf>,
    /// The case's program, if it is about one.
    pub staged: Option<&'a Staged>,
    /// The case's folder, for the evidence; made if it is not there.
    pub dir: PathBuf,
    /// The goldens, shared by all trials of a run; `None` where none are kept.
    pub snapshots: Option<&'a Goldens>,
    /// Ends every wait.
    pub cancel: Cancel,
    /// A person who wants a prompt.
    pub prompt: Option<Prompt<'a>>,
}

/// Who wants a prompt in a guest of the trial, and when.
#[derive(Clone, Copy)]
pub struct Prompt<'a> {
    /// The person.
    pub person: &'a dyn Attendant,
    /// Where this phase begins; `None` where the trial fails.
    pub at: Option<Phase>,
}

impl std::fmt::Debug for Prompt<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prompt")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Env<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Env")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// What came of a trial. The evidence is in [`Env::dir`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// Time of each phase, in the order in which they began.
    pub phases: Vec<(Phase, Duration)>,
    /// Time of the whole trial.
    pub duration: Duration,
    /// What differs, as a unified diff, where that is what was found.
    pub diff: Option<String>,
    /// Last lines of the console of the guest that was used last; empty if all is well.
    pub console: Vec<String>,
    /// Why a guest was started once more, before anything was tried in it.
    pub retries: Vec<String>,
}

/// Try a case. Whatever happens, there is one outcome.
pub fn run(case: &Case, env: &Env<'_>) -> Outcome {
    let start = Instant::now();
    let clock = Clock::default();
    let retries = RefCell::default();
    let (verdict, diff) = match &case.skip {
        Some(reason) => {
            let reason = reason.clone();
            (Verdict::Skip { reason }, None)
        }
        None => judge(case, env, &clock, &retries),
    };
    let verdict = with_known_failure(case, verdict);
    let console = match verdict {
        Verdict::Pass | Verdict::Skip { .. } => Vec::new(),
        _ => last_console(&env.dir),
    };
    Outcome {
        verdict,
        phases: clock.into_phases(),
        duration: start.elapsed(),
        diff,
        console,
        retries: retries.into_inner(),
    }
}

fn judge(
    case: &Case,
    env: &Env<'_>,
    clock: &Clock,
    retries: &RefCell<Vec<String>>,
) -> (Verdict, Option<String>) {
    let prompted = Cell::new(false);
    let setting = Setting {
        prompt: env.prompt,
        prompted: &prompted,
        case: case.id.as_str(),
        asked: case.faults.then_some(Class::Allocation),
        time: case.timeout * case.flavor.patience(),
        reap: machine::REAP_TIME * case.flavor.patience(),
        clock,
        retries,
        cancel: &env.cancel,
    };
    let evidence = match Evidence::new(&env.dir) {
        Ok(evidence) => evidence,
        Err(verdict) => return (verdict, None),
    };
    let mut life = Life {
        case,
        env,
        setting,
        evidence,
        faults: String::new(),
        survivors: Vec::new(),
        left: None,
    };
    let lived = life.live().and(life.judge_left());
    let fault = life
        .evidence
        .judge_consoles(env.vmlinux.as_deref(), setting.asked);
    let (concluded, diff) = life.evidence.conclude();
    (settle(fault, lived.err(), concluded), diff)
}

/// The verdict of a trial: a fault of the kernel goes before what the oracles found, and that before what ended the trial.
///
/// What comes second is told, too: nothing that was found is lost.
fn settle(fault: Option<Fault>, ended: Option<Verdict>, concluded: Verdict) -> Verdict {
    // Whoever looked at a failure in the guest has ended that.
    let looked = matches!(ended, Some(Verdict::Skip { .. }));
    let ended = ended.filter(|_| !looked || (fault.is_none() && concluded == Verdict::Pass));
    let is_fault = |verdict: &Verdict| matches!(verdict, Verdict::KernelFault { .. });
    let mut verdicts = Vec::new();
    let ended = match (fault, ended) {
        // It ended the trial, and the console has more of it.
        (Some(fault), Some(ended)) if is_fault(&ended) => {
            verdicts.push(fault.into());
            None
        }
        (None, Some(ended)) if is_fault(&ended) => {
            verdicts.push(ended);
            None
        }
        (fault, ended) => {
            verdicts.extend(fault.map(Verdict::from));
            ended
        }
    };
    if concluded != Verdict::Pass {
        verdicts.push(concluded);
    }
    verdicts.extend(ended);
    let mut verdicts = verdicts.into_iter();
    let first = verdicts.next().unwrap_or(Verdict::Pass);
    verdicts.fold(first, also)
}

/// A verdict that tells of another one.
fn also(first: Verdict, other: Verdict) -> Verdict {
    let also = match other {
        Verdict::Fail { oracle, message } => format!("also ({oracle}): {message}"),
        other => format!("also: {other}"),
    };
    match first {
        Verdict::KernelFault { class, mut lines } => {
            lines.extend(also.lines().map(str::to_owned));
            Verdict::KernelFault { class, lines }
        }
        Verdict::Fail { oracle, message } => Verdict::Fail {
            oracle,
            message: format!("{message}\n{also}"),
        },
        // Nothing comes after these.
        first => first,
    }
}

/// A failure that is known is no failure, and a success in its place is one.
fn with_known_failure(case: &Case, verdict: Verdict) -> Verdict {
    let Some(known) = &case.known_failure else {
        return verdict;
    };
    match verdict {
        Verdict::Pass => Verdict::Fail {
            oracle: Oracle::KnownFailure,
            message: format!(
                "passes, though a failure is known ({}, {}): remove `known_failure` from the scenario",
                known.reason, known.link
            ),
        },
        Verdict::Fail { .. } | Verdict::KernelFault { .. } | Verdict::Timeout { .. } => {
            Verdict::Skip {
                reason: format!(
                    "known failure: {} ({}): {verdict}",
                    known.reason, known.link
                ),
            }
        }
        Verdict::Skip { .. } | Verdict::Infra { .. } => verdict,
    }
}

/// The end of the console that was written last.
fn last_console(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let consoles = entries.filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("console-") && !name.ends_with(evidence::SYMBOLISED)
    });
    let last = consoles.max_by_key(|entry| {
        entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
    });
    last.map(|entry| {
        let path = entry.path();
        ConsoleTail::of_text(&path, &console::said(&path)).lines
    })
    .unwrap_or_default()
}
