//! One case, from clone to evidence and verdict.
//!
//! A trial does what `docs/ARCHITECTURE.md` tells of its life; the oracles judge what it brings as soon as it is there.
//! What ends a trial early (a guest that is gone, a deadline, a refusal) is the verdict; what an oracle finds is collected, and the first of it is.

mod console;
mod damage;
mod damaged;
mod evidence;
#[cfg(test)]
mod fake;
mod guest;
mod life;
mod machine;
mod phase;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossthaw_protocol::EXPLAINS;
pub use guest::{Guest, Source};
pub use phase::Phase;

use crate::oracle::golden::Goldens;
use crate::oracle::{Oracle, Verdict};
use crate::process::Cancel;
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
    /// The case's folder, for the evidence; made if it is not there.
    pub dir: PathBuf,
    /// The goldens, shared by all trials of a run.
    pub snapshots: &'a Goldens,
    /// Ends every wait.
    pub cancel: Cancel,
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
    let setting = Setting {
        case: case.id.as_str(),
        time: case.timeout,
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
    };
    let lived = life.live();
    let found = life.evidence.found() > 0;
    let (concluded, diff) = life.evidence.conclude();
    match (lived, concluded) {
        (Ok(()), concluded) => (concluded, diff),
        // What was found before is the cause of what ended it, unless that was no failure of the tree's.
        (
            Err(Verdict::Fail { oracle, message }),
            Verdict::Fail {
                oracle: first,
                message: earlier,
            },
        ) if found => {
            let message = format!("{earlier}\nalso ({oracle}): {message}");
            let oracle = first;
            (Verdict::Fail { oracle, message }, diff)
        }
        (Err(verdict), _) => (verdict, diff),
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
        name.to_string_lossy().starts_with("console-")
    });
    let last = consoles.max_by_key(|entry| {
        entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
    });
    last.map(|entry| {
        let path = entry.path();
        let text = console::read(&path);
        // What a late guest explains is long, and comes after what it did.
        let end = text.find(EXPLAINS).unwrap_or(text.len());
        let end = text[..end].rfind('\n').map_or(end, |end| end + 1);
        ConsoleTail::of_text(&path, &text[..end]).lines
    })
    .unwrap_or_default()
}
