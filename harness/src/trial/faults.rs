//! Allocations that fail, one after the other: each checkpoint and each restart says so and harms nobody, or is what it would have been.

use std::fmt::Write as _;
use std::time::Duration;

use crossthaw_image::{Image, Record};
use crossthaw_protocol::Fault;

use super::damaged::Lost;
use super::life::{Life, Taken};
use super::machine::{Machine, Step};
use super::phase::Phase;
use crate::oracle::refusal::{self, ToolEnd};
use crate::oracle::{Oracle, image};
use crate::scenario::Case;

/// Image of a checkpoint in which an allocation fails.
const IMAGE: &str = "failing";

/// More than any system call makes: what goes on behind it goes on for ever.
const MOST: u32 = 20_000;

/// Fewer than this no checkpoint and no restart makes: what finds fewer has failed none.
const FEWEST: u32 = 5;

/// How far the guest's clocks may be from the host's.
const TOLERANCE: Duration = Duration::from_millis(500);

/// What is wrong is told for so many allocations, then it is enough.
const FINDINGS: usize = 5;

/// What became of a system call in which an allocation was to fail.
enum Outcome {
    /// It makes fewer.
    NotReached,
    /// It does without.
    Done,
    /// It has failed.
    Failed,
}

fn outcome(step: refusal::Step, end: &ToolEnd) -> Result<Outcome, String> {
    if end.code != 0 {
        return refusal::judge_no_memory(step, end).map(|()| Outcome::Failed);
    }
    let is_told = |what: &str| end.stderr.lines().any(|line| line.ends_with(what));
    match (is_told(" was not reached"), is_told(" failed")) {
        (true, false) => Ok(Outcome::NotReached),
        (false, true) => Ok(Outcome::Done),
        _ => Err(format!(
            "the tool does not say whether the allocation failed: {}",
            end.said()
        )),
    }
}

/// How many allocations there were.
#[derive(Default)]
struct Count {
    failed: u32,
    done_without: u32,
}

/// Processes of an image that live, and so are there when their restart is over.
fn living(image: &Image) -> Vec<i32> {
    let mut pid = 0;
    let mut all = Vec::new();
    let mut leaders = Vec::new();
    for located in &image.records {
        match &located.record {
            Record::Tree(tree) => {
                let leads = tree.tasks.iter().filter(|task| task.pid == task.tgid);
                leaders = leads.map(|task| task.pid).collect();
            }
            Record::Task(task) => {
                pid = task.pid;
                all.push(pid);
            }
            Record::Exit(_) => all.retain(|known| *known != pid),
            _ => {}
        }
    }
    all.retain(|pid| leaders.contains(pid));
    all
}

/// Which allocations are to fail.
fn numbers(case: &Case, what: &str) -> impl Iterator<Item = u32> + use<> {
    let stride = case.fault_stride.get();
    let letters = case.id.as_str().bytes().chain(what.bytes());
    let first = letters.map(u32::from).sum::<u32>() % stride + 1;
    (first..=MOST).step_by(stride as usize)
}

impl Life<'_> {
    /// Fail each allocation of a checkpoint of a frozen tree that was checkpointed as `taken`.
    pub(super) fn fail_checkpoints(
        &mut self,
        machine: &mut Machine<'_>,
        taken: &Taken,
    ) -> Step<()> {
        let step = refusal::Step::Checkpoint;
        let what = "a checkpoint";
        let mut lost = Lost::begin("failed checkpoints");
        let count = self.each(machine, what, &mut lost, |life, machine, nth| {
            let end = machine.checkpoint_with(Phase::Faults, IMAGE, Some(nth))?;
            let outcome = outcome(step, &end);
            let image = machine.pull_image_in(Phase::Faults, IMAGE)?;
            let wrong = match &outcome {
                Ok(Outcome::NotReached | Outcome::Done) => life
                    .differs(taken, &image)
                    .map(|diff| format!("the image is another one: {diff}")),
                Ok(Outcome::Failed) => life.left_whole(&image),
                Err(_) => None,
            };
            Ok(match wrong {
                Some(message) => Err(message),
                None => outcome,
            })
        })?;
        self.note_faults(what, &count)?;
        if let Some(before) = &taken.state {
            let after = machine.probe(Phase::Faults)?;
            self.compare_harm(
                before,
                "afterwards",
                &after,
                "checkpoints that failed changed the tasks",
            )?;
        }
        lost.judge(self, machine)
    }

    /// Fail each allocation of each living process in a restart, and of the task that coordinates.
    pub(super) fn fail_restarts(&mut self, machine: &mut Machine<'_>, taken: &Taken) -> Step<()> {
        let name = self.image_name();
        machine.push_folder(&taken.folder)?;
        machine.push_image(Phase::Faults, name, &taken.image)?;
        let mut lost = Lost::begin("failed restarts");
        let mut pids = living(&taken.decoded);
        pids.insert(0, 0);
        for pid in pids {
            let what = match pid {
                0 => "the coordinator of a restart".to_owned(),
                pid => format!("the restart of pid {pid}"),
            };
            let count = self.each(machine, &what, &mut lost, |life, machine, nth| {
                life.fail_restart(machine, taken, Fault { pid, nth })
            })?;
            self.note_faults(&what, &count)?;
        }
        lost.judge(self, machine)
    }

    fn fail_restart(
        &mut self,
        machine: &mut Machine<'_>,
        taken: &Taken,
        fault: Fault,
    ) -> Step<Result<Outcome, String>> {
        let (enclosure, surroundings) = (self.enclosure(), self.surroundings());
        let name = self.image_name();
        let end =
            machine.restart_with(Phase::Faults, name, enclosure, surroundings, Some(fault))?;
        let outcome = outcome(refusal::Step::Restart, &end);
        if end.code != 0 {
            let left = machine.survivors(Phase::Faults)?;
            if left.is_empty() {
                return Ok(outcome);
            }
            machine.kill(Phase::Faults)?;
            return Ok(Err(format!("tasks are left: {}", left.join(", "))));
        }
        if let Some(before) = &taken.state
            && !matches!(outcome, Ok(Outcome::NotReached))
        {
            let after = machine.probe(Phase::Faults)?;
            self.compare_harm(
                before,
                "afterwards",
                &after,
                "a restart that did without changed the tasks",
            )?;
        }
        machine.kill_all(Phase::Faults)?;
        Ok(outcome)
    }

    /// Fail the first, the second, and so on, until there are no more; or only some, of which the first is another one in each case.
    fn each<'m>(
        &mut self,
        machine: &mut Machine<'m>,
        what: &str,
        lost: &mut Lost,
        mut attempt: impl FnMut(&mut Self, &mut Machine<'m>, u32) -> Step<Result<Outcome, String>>,
    ) -> Step<Count> {
        let found = self.evidence.found();
        let mut count = Count::default();
        for nth in numbers(self.case, what) {
            lost.attempt(machine)?;
            let attempted = attempt(self, machine, nth);
            if attempted.is_err() {
                let message = format!("the trial ended when allocation {nth} of {what} failed");
                self.evidence.find(Oracle::Refusal, message);
            }
            match attempted? {
                Ok(Outcome::NotReached) => {
                    if nth <= FEWEST {
                        let message = format!("{what} has only {} allocations", nth - 1);
                        self.evidence.find(Oracle::Refusal, message);
                    }
                    return Ok(count);
                }
                Ok(Outcome::Done) => count.done_without += 1,
                Ok(Outcome::Failed) => count.failed += 1,
                Err(message) => {
                    let message = format!("{what}, allocation {nth} failed: {message}");
                    self.evidence.find(Oracle::Refusal, message);
                }
            }
            if self.evidence.found() >= found + FINDINGS {
                return Ok(count);
            }
        }
        let message = format!("{what} does not come to an end of its allocations, after {MOST}");
        self.evidence.find(Oracle::Refusal, message);
        Ok(count)
    }

    fn differs(&self, taken: &Taken, image: &[u8]) -> Option<String> {
        let passed = taken.at.elapsed() + TOLERANCE;
        match image::decode(self.case.arch, image) {
            Err(message) => Some(message),
            Ok(decoded) => image::diff(&taken.decoded, &decoded, passed),
        }
    }

    /// A checkpoint that has failed leaves nothing that somebody could take for an image.
    fn left_whole(&self, image: &[u8]) -> Option<String> {
        let decoded = image::decode(self.case.arch, image);
        decoded
            .is_ok()
            .then(|| "the tool has failed, and left a whole image".to_owned())
    }

    /// How many there were is kept for a person.
    fn note_faults(&mut self, what: &str, count: &Count) -> Step<()> {
        let Count {
            failed,
            done_without,
        } = count;
        let _ = writeln!(
            self.faults,
            "{what}: {failed} allocations that it fails without, {done_without} that it does without"
        );
        self.evidence.keep("faults.txt", self.faults.as_bytes())
    }
}
