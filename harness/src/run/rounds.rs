//! How often each case is tried, and which trial is next.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::scenario::Case;

/// How often each case is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounds {
    /// So often, whatever comes.
    Times(NonZeroU32),
    /// Until a trial neither passes nor is skipped, so often at most.
    UntilFail(Option<NonZeroU32>),
}

impl Rounds {
    /// Each case once.
    pub const ONCE: Self = Self::Times(NonZeroU32::MIN);

    /// How often at most; `None` without an end.
    pub fn limit(self) -> Option<u32> {
        match self {
            Self::Times(times) | Self::UntilFail(Some(times)) => Some(times.get()),
            Self::UntilFail(None) => None,
        }
    }

    /// Whether a case may have several trials.
    pub fn is_several(self) -> bool {
        self.limit() != Some(1)
    }
}

/// The cases of one architecture, which is ready for them.
#[derive(Debug)]
struct Lane<'a, R> {
    cases: Vec<&'a Case>,
    ready: Arc<R>,
    round: u32,
    next: usize,
}

/// The next trial.
#[derive(Debug)]
pub(super) struct Next<'a, R> {
    pub(super) case: &'a Case,
    pub(super) round: u32,
    pub(super) ready: Arc<R>,
}

/// Trials that are still to be, in all architectures: round by round.
#[derive(Debug)]
pub(super) struct Queue<'a, R> {
    rounds: Rounds,
    lanes: Mutex<VecDeque<Lane<'a, R>>>,
    stopped: AtomicBool,
}

impl<'a, R> Queue<'a, R> {
    pub(super) fn new(rounds: Rounds) -> Self {
        Self {
            rounds,
            lanes: Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }

    /// An architecture is ready.
    pub(super) fn add(&self, cases: Vec<&'a Case>, ready: R) {
        let lane = Lane {
            cases,
            ready: Arc::new(ready),
            round: 1,
            next: 0,
        };
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.extend(Some(lane).filter(|lane| !lane.cases.is_empty()));
    }

    /// The next trial of the earliest round. What an architecture is made ready with is dropped with its last one.
    pub(super) fn take(&self) -> Option<Next<'a, R>> {
        if self.is_stopped() {
            return None;
        }
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, _) = lanes
            .iter()
            .enumerate()
            .min_by_key(|(_, lane)| lane.round)?;
        let lane = &mut lanes[at];
        let next = Next {
            case: lane.cases[lane.next],
            round: lane.round,
            ready: Arc::clone(&lane.ready),
        };
        lane.next += 1;
        if lane.next == lane.cases.len() {
            lane.next = 0;
            lane.round = lane.round.saturating_add(1);
            if self.rounds.limit().is_some_and(|limit| lane.round > limit) {
                lanes.remove(at);
            }
        }
        Some(next)
    }

    /// A trial failed. True if that ends the run, the first time.
    pub(super) fn failed(&self) -> bool {
        matches!(self.rounds, Rounds::UntilFail(_)) && !self.stopped.swap(true, Ordering::Relaxed)
    }

    /// Whether a failure has ended it.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}
