//! Trials side by side, until one catches.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;

use crate::build::{OnProgress, Progress};
use crate::oracle::Verdict;
use crate::oracle::golden::Goldens;
use crate::process::Cancel;
use crate::run::{Ready, Tried, panicked};
use crate::scenario::{Case, CaseId};

/// Timeouts after which the other cases of a mutant are not waited for.
const TIMEOUTS: usize = 2;

/// When the cases that are left are not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Never: all are tried.
    Tried,
    /// An oracle catches, or too many time out.
    Caught,
    /// The same, and the first timeout is enough.
    CaughtOrTimedOut,
}

/// What trials need beside what they start from.
pub(super) struct Bench<'a> {
    pub(super) goldens: &'a Goldens,
    pub(super) cancel: &'a Cancel,
    /// Trials side by side.
    pub(super) width: usize,
    /// Evidence, a folder a case.
    pub(super) dir: PathBuf,
    /// Told how many of how many cases are done.
    pub(super) progress: OnProgress<'a>,
    /// Keep the evidence of what an oracle caught; that of timeouts is kept anyway.
    pub(super) keep: bool,
}

struct State<'a> {
    left: VecDeque<&'a Case>,
    done: Vec<(CaseId, Verdict)>,
}

/// Try the cases; the verdicts in the order in which they came.
pub(super) fn try_all(
    bench: &Bench<'_>,
    ready: &Ready,
    cases: &[Case],
    until: Until,
) -> Vec<(CaseId, Verdict)> {
    let state = Mutex::new(State {
        left: cases.iter().collect(),
        done: Vec::new(),
    });
    let locked = || {
        state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    };
    std::thread::scope(|scope| {
        for _ in 0..bench.width.min(cases.len()) {
            scope.spawn(|| {
                loop {
                    let Some(case) = locked().left.pop_front() else {
                        break;
                    };
                    let verdict = bench.try_one(ready, case);
                    let mut state = locked();
                    state.done.push((case.id.clone(), verdict));
                    (bench.progress)(Progress::Step {
                        what: "trials".to_owned(),
                        done: state.done.len() as u64,
                        total: Some(cases.len() as u64),
                    });
                    if bench.cancel.is_cancelled() || enough(&state.done, until) {
                        state.left.clear();
                    }
                }
            });
        }
    });
    state
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .done
}

fn enough(done: &[(CaseId, Verdict)], until: Until) -> bool {
    let caught =
        |verdict: &Verdict| matches!(verdict, Verdict::Fail { .. } | Verdict::KernelFault { .. });
    let timeouts = done
        .iter()
        .filter(|(_, verdict)| matches!(verdict, Verdict::Timeout { .. }))
        .count();
    let most = match until {
        Until::Tried => return false,
        Until::Caught => TIMEOUTS,
        Until::CaughtOrTimedOut => 1,
    };
    timeouts >= most || done.iter().any(|(_, verdict)| caught(verdict))
}

impl Bench<'_> {
    fn try_one(&self, ready: &Ready, case: &Case) -> Verdict {
        let dir = self.dir.join(case.id.file_name());
        let work = || match std::fs::create_dir_all(&dir) {
            Ok(()) => match ready.skip(case) {
                Some(reason) => Tried::without_trial(Verdict::Skip { reason }),
                None => ready.trial(case, &dir, Some(self.goldens), None, self.cancel),
            },
            Err(error) => Tried::infra(format!("cannot make {}: {error}", dir.display())),
        };
        let verdict = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(tried) => tried.verdict,
            Err(panic) => panicked(&*panic),
        };
        let kept = match verdict {
            Verdict::Pass | Verdict::Skip { .. } => false,
            Verdict::Fail { .. } | Verdict::KernelFault { .. } => self.keep,
            Verdict::Timeout { .. } | Verdict::Infra { .. } => true,
        };
        if !kept {
            // Nobody misses it, and nothing is wrong if it stays.
            let _ = std::fs::remove_dir_all(&dir);
            let _ = std::fs::remove_dir(&self.dir);
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Oracle;

    #[test]
    fn the_first_catch_or_some_timeouts_are_enough() {
        let case: CaseId = serde_json::from_str("\"s390x/files/dup\"").unwrap();
        let check = |verdicts: &[&Verdict], expected: [bool; 3]| {
            let done: Vec<_> = verdicts
                .iter()
                .map(|&it| (case.clone(), it.clone()))
                .collect();
            let found = [Until::Tried, Until::Caught, Until::CaughtOrTimedOut]
                .map(|until| enough(&done, until));
            assert_eq!(found, expected, "{verdicts:?}");
        };
        let fail = Verdict::Fail {
            oracle: Oracle::State,
            message: String::new(),
        };
        let timeout = Verdict::Timeout {
            phase: "restart".to_owned(),
        };
        let infra = Verdict::Infra {
            cause: String::new(),
        };
        check(&[&Verdict::Pass, &infra], [false, false, false]);
        check(&[&Verdict::Pass, &fail], [false, true, true]);
        check(&[&timeout], [false, false, true]);
        check(&[&timeout, &infra, &timeout], [false, true, true]);
    }
}
