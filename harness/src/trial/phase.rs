//! The phases of a trial and the time that each took.

use std::cell::RefCell;
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A part of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// A clone starts, in which the workload will be checkpointed.
    Clone,
    /// The workload starts.
    Start,
    /// It builds its situation.
    Ready,
    /// Its cgroup is frozen.
    Freeze,
    /// The state is probed before the checkpoint.
    Probe,
    /// Checkpoints of a tree that somebody disturbs, and restarts of their images.
    Disturb,
    /// The checkpoint.
    Checkpoint,
    /// Checkpoints and restarts in which an allocation fails.
    Faults,
    /// Image and folder come to the host.
    Pull,
    /// The original is thawed, checks itself and ends; or it is killed.
    Finish,
    /// A clone starts, in which the image will be restarted.
    CloneAgain,
    /// Folder and image go into it.
    Push,
    /// Restarts of damaged images.
    Damaged,
    /// The restart.
    Restart,
    /// The state is probed after the restart.
    ProbeAgain,
    /// The restored tree is checkpointed.
    CheckpointAgain,
    /// Its image comes to the host and is compared.
    CompareImages,
    /// The restored tree is thawed, checks itself and ends.
    FinishAgain,
    /// The guest's kernel counts what it has in use, before its first action and after its last.
    Leaks,
    /// The oracles look at what there is.
    Judge,
}

impl Phase {
    /// All, in the order in which a trial goes through them.
    pub const ALL: [Self; 20] = [
        Self::Clone,
        Self::Start,
        Self::Ready,
        Self::Freeze,
        Self::Probe,
        Self::Disturb,
        Self::Checkpoint,
        Self::Faults,
        Self::Pull,
        Self::Finish,
        Self::CloneAgain,
        Self::Push,
        Self::Damaged,
        Self::Restart,
        Self::ProbeAgain,
        Self::CheckpointAgain,
        Self::CompareImages,
        Self::FinishAgain,
        Self::Leaks,
        Self::Judge,
    ];

    /// Its name in messages and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clone => "clone",
            Self::Start => "start",
            Self::Ready => "ready",
            Self::Freeze => "freeze",
            Self::Probe => "probe",
            Self::Checkpoint => "checkpoint",
            Self::Disturb => "disturb",
            Self::Faults => "faults",
            Self::Pull => "pull",
            Self::Finish => "finish",
            Self::CloneAgain => "clone-again",
            Self::Push => "push",
            Self::Damaged => "damaged",
            Self::Restart => "restart",
            Self::ProbeAgain => "probe-again",
            Self::CheckpointAgain => "checkpoint-again",
            Self::CompareImages => "compare-images",
            Self::FinishAgain => "finish-again",
            Self::Leaks => "leaks",
            Self::Judge => "judge",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Sums up the time of each phase, in the order in which they first began.
#[derive(Debug, Default)]
pub(super) struct Clock {
    phases: RefCell<Vec<(Phase, Duration)>>,
}

impl Clock {
    /// Do this; its time is the phase's.
    pub(super) fn time<T>(&self, phase: Phase, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let outcome = work();
        let mut phases = self.phases.borrow_mut();
        match phases.iter_mut().find(|(known, _)| *known == phase) {
            Some((_, time)) => *time += start.elapsed(),
            None => phases.push((phase, start.elapsed())),
        }
        outcome
    }

    /// The sums.
    pub(super) fn into_phases(self) -> Vec<(Phase, Duration)> {
        self.phases.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_that_comes_again_is_summed_up() {
        let clock = Clock::default();
        let pause = || std::thread::sleep(Duration::from_millis(2));
        clock.time(Phase::Push, pause);
        clock.time(Phase::Restart, pause);
        clock.time(Phase::Push, pause);
        let phases = clock.into_phases();
        let names: Vec<_> = phases.iter().map(|(phase, _)| *phase).collect();
        assert_eq!(names, [Phase::Push, Phase::Restart]);
        assert!(phases[0].1 >= Duration::from_millis(4));
    }

    #[test]
    fn all_phases_are_listed() {
        // The last one, which a trial always ends with.
        assert_eq!(Phase::ALL.len(), Phase::Judge as usize + 1);
        assert!(Phase::ALL.is_sorted());
    }

    #[test]
    fn names_are_the_same_in_json() {
        for phase in Phase::ALL {
            assert_eq!(serde_json::to_value(phase).unwrap(), phase.name());
        }
    }
}
