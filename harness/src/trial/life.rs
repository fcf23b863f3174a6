//! The life of a trial, from the first clone to the last check.

use std::time::{Duration, Instant};

use crossthaw_image::Image;
use crossthaw_protocol::{Enclosure, State};

use super::disturb::Survivor;
use super::evidence::Evidence;
use super::machine::{Machine, Setting, Step};
use super::phase::Phase;
use super::{Env, damaged};
use crate::oracle::golden::Judgement;
use crate::oracle::refusal::{self, Expected, ToolEnd};
use crate::oracle::state::{self, Form};
use crate::oracle::{Oracle, Verdict, image};
use crate::qemu::Folder;
use crate::scenario::{By, Case, Checkpoint, Expect, Restart};

/// Image of the checkpoint that is asked for from outside.
const IMAGE: &str = "image";

/// Image that a task writes of itself, see guests/workloads/src/simple.rs.
const SELF_IMAGE: &str = "self.img";

/// How long each generation runs before it is frozen; nothing depends on how far it comes.
const GENERATION_TIME: Duration = Duration::from_millis(20);

/// Growth of the image over all generations that is no growth of the kernel's making: pages that the task touches as it runs.
const GROWTH: usize = 64 << 10;

/// A checkpoint, on the host.
#[derive(Debug)]
pub(super) struct Taken {
    /// When it was over.
    pub(super) at: Instant,
    /// Its image.
    pub(super) image: Vec<u8>,
    /// The same, decoded.
    pub(super) decoded: Image,
    /// The scenario's folder of the same moment.
    pub(super) folder: Folder,
    /// What the probe saw at that moment.
    pub(super) state: Option<State>,
}

/// One trial that is under way.
#[derive(Debug)]
pub(super) struct Life<'a> {
    pub(super) case: &'a Case,
    pub(super) env: &'a Env<'a>,
    pub(super) setting: Setting<'a>,
    pub(super) evidence: Evidence,
    /// How many allocations were made to fail.
    pub(super) faults: String,
    /// Checkpoints that were disturbed, and did not fail.
    pub(super) survivors: Vec<Survivor>,
    /// The guest of before, whose kernel waits for kmemleak to have another look.
    pub(super) left: Option<Machine<'a>>,
}

fn refused(what: &str, end: &ToolEnd) -> Verdict {
    Verdict::Fail {
        oracle: Oracle::Refusal,
        message: format!("{what} was refused, and should not be: {}", end.said()),
    }
}

impl<'a> Life<'a> {
    /// How the workload is separated.
    ///
    /// What checkpoints itself does so as a subtree: it may be another task than a container's init.
    pub(super) fn enclosure(&self) -> Enclosure {
        match self.case.checkpoint {
            Checkpoint::Container => Enclosure::Container,
            Checkpoint::Subtree | Checkpoint::SelfTask => Enclosure::Subtree,
        }
    }

    /// What two states of before and after the checkpoint can be compared in.
    ///
    /// A task that checkpointed itself ran on until it was ready and frozen: there is no frozen state of the moment itself.
    fn form(&self) -> Form {
        match self.case.checkpoint {
            Checkpoint::Container | Checkpoint::Subtree => Form::Full,
            Checkpoint::SelfTask => Form::Apart,
        }
    }

    /// Name of the image in the guest.
    pub(super) fn image_name(&self) -> &'static str {
        match self.case.checkpoint {
            Checkpoint::Container | Checkpoint::Subtree => IMAGE,
            Checkpoint::SelfTask => SELF_IMAGE,
        }
    }

    fn machine(&self, phase: Phase, name: &str) -> Step<Machine<'a>> {
        let console = self.evidence.path(&format!("console-{name}.log"));
        Machine::start(phase, self.setting, self.env.template, &console)
    }

    /// What was found so far was found in this machine, or before it was used.
    fn look(&self, machine: &mut Machine<'_>) -> Step<()> {
        if self.evidence.found() > 0 {
            machine.found()
        } else {
            Ok(())
        }
    }

    /// From the first clone to the last check; an error ends it before.
    pub(super) fn live(&mut self) -> Step<()> {
        let mut original = self.machine(Phase::Clone, "a")?;
        self.build(&mut original)?;
        let state = if self.case.freeze {
            original.freeze()?;
            let state = original.probe(Phase::Probe)?;
            self.evidence.keep_state("s0.json", &state)?;
            Some(state)
        } else {
            None
        };
        if let Expect::Refuse {
            by: By::Checkpoint,
            errno,
            log,
        } = &self.case.expect
        {
            let expected = Expected {
                step: refusal::Step::Checkpoint,
                errno: errno.as_deref(),
                log: log.as_deref(),
            };
            return self.refused_checkpoint(original, state.as_ref(), &expected);
        }
        let state = if self.case.disturb.is_empty() {
            state
        } else {
            self.disturb(&mut original)?;
            self.look(&mut original)?;
            let state = original.probe(Phase::Probe)?;
            self.evidence.keep_state("s0.json", &state)?;
            Some(state)
        };
        let taken = self.take(&mut original, state)?;
        if self.case.faults {
            self.fail_checkpoints(&mut original, &taken)?;
            self.look(&mut original)?;
        }
        let (machine, taken) = self.leave_original(original, taken)?;
        self.restart(machine, taken)
    }

    /// The checkpoint must be refused, and the tree must not feel it.
    fn refused_checkpoint(
        &mut self,
        mut original: Machine<'_>,
        before: Option<&State>,
        expected: &Expected<'_>,
    ) -> Step<()> {
        let end = original.checkpoint(Phase::Checkpoint, IMAGE)?;
        self.evidence
            .keep("checkpoint.log", end.said().as_bytes())?;
        let image = original.pull_image(IMAGE)?;
        self.evidence.keep("image-a", &image)?;
        if let Err(message) = refusal::judge_checkpoint(expected, &end, &image) {
            self.evidence.find(Oracle::Refusal, message);
        }
        if let Some(before) = before {
            let after = original.probe(Phase::ProbeAgain)?;
            self.evidence.keep_state("s1.json", &after)?;
            let what = "a refused checkpoint changed the tasks";
            self.compare_harm(before, "after it was refused", &after, what)?;
            self.look(&mut original)?;
            original.thaw(Phase::Finish)?;
        }
        self.finish(&mut original, Phase::Finish, "a")?;
        self.look(&mut original)?;
        self.leave_last(original)
    }

    /// The tasks must be what they were before the checkpoint.
    pub(super) fn compare_harm(
        &mut self,
        before: &State,
        when: &str,
        after: &State,
        what: &str,
    ) -> Step<()> {
        let before = ("before the checkpoint", before);
        match state::compare(Form::Full, before, (when, after)) {
            None => Ok(()),
            Some(diff) => self.evidence.find_diff(Oracle::State, what, &diff),
        }
    }

    /// After the last action in this guest, which ends: nothing may be left in its kernel.
    fn leave_last(&mut self, mut machine: Machine<'_>) -> Step<()> {
        // What nobody refers to must be old: the guest of before is judged meanwhile.
        machine.note_unreferenced()?;
        self.judge_left()?;
        self.scan(&mut machine)?;
        machine.end()
    }

    /// After the last action in this guest, which ends; the next one, of this name.
    ///
    /// Where kmemleak looks again, that is waited for while the next guest runs: see [`Life::judge_left`].
    fn leave_for(&mut self, mut machine: Machine<'a>, name: &str) -> Step<Machine<'a>> {
        if machine.note_unreferenced()? {
            self.judge_left()?;
            self.left = Some(machine);
            return self.machine(Phase::CloneAgain, name);
        }
        self.scan(&mut machine)?;
        machine.begin_end()?;
        let next = self.machine(Phase::CloneAgain, name);
        machine.end()?;
        next
    }

    /// The guest of before ends: nothing may be left in its kernel.
    pub(super) fn judge_left(&mut self) -> Step<()> {
        let Some(mut machine) = self.left.take() else {
            return Ok(());
        };
        self.scan(&mut machine)?;
        machine.end()
    }

    fn scan(&mut self, machine: &mut Machine<'_>) -> Step<()> {
        for found in machine.leaks()? {
            self.evidence
                .find(Oracle::Leak, format!("{}: {found}", machine.name()));
        }
        self.look(machine)
    }

    /// Checkpoint a frozen tree, or fetch what it wrote of itself.
    fn take(&mut self, machine: &mut Machine<'_>, state: Option<State>) -> Step<Taken> {
        // Before it begins: what runs out is compared with the time that has passed since.
        let at = Instant::now();
        if self.case.checkpoint != Checkpoint::SelfTask {
            let end = machine.checkpoint(Phase::Checkpoint, IMAGE)?;
            self.evidence
                .keep("checkpoint.log", end.said().as_bytes())?;
            if end.code != 0 {
                return Err(refused("the checkpoint", &end));
            }
        }
        self.fetch(machine, self.image_name(), "image-a", at, state)
    }

    /// Bring a checkpoint of that time to the host; its image is kept under that name.
    fn fetch(
        &mut self,
        machine: &mut Machine<'_>,
        name: &str,
        kept: &str,
        at: Instant,
        state: Option<State>,
    ) -> Step<Taken> {
        let image = machine.pull_image(name)?;
        self.evidence.keep(kept, &image)?;
        let folder = machine.pull_folder()?;
        let decoded = self
            .setting
            .clock
            .time(Phase::Judge, || decode(self.case, &image))?;
        Ok(Taken {
            at,
            image,
            decoded,
            folder,
            state,
        })
    }

    /// End the original in the way of the case; the machine in which the image will be restarted.
    fn leave_original(
        &mut self,
        mut original: Machine<'a>,
        taken: Taken,
    ) -> Step<(Machine<'a>, Taken)> {
        match self.case.restart {
            Restart::Same => {
                original.kill_all(Phase::Finish)?;
                Ok((original, taken))
            }
            Restart::Fresh => {
                if self.case.freeze {
                    original.thaw(Phase::Finish)?;
                }
                self.finish(&mut original, Phase::Finish, "a")?;
                self.look(&mut original)?;
                Ok((self.leave_for(original, "b")?, taken))
            }
        }
    }

    /// Restart, as often as there are generations, and let the last one check itself.
    fn restart(&mut self, mut machine: Machine<'a>, mut taken: Taken) -> Step<()> {
        if let Expect::Refuse {
            by: By::Restart,
            errno,
            log,
        } = &self.case.expect
        {
            let expected = Expected {
                step: refusal::Step::Restart,
                errno: errno.as_deref(),
                log: log.as_deref(),
            };
            damaged::try_all(self, &mut machine, &taken, &expected)?;
            self.look(&mut machine)?;
            if self.case.tamper.is_none() {
                return self.leave_last(machine);
            }
        }
        if self.case.faults {
            self.fail_restarts(&mut machine, &taken)?;
            self.look(&mut machine)?;
        }
        self.restart_disturbed(&mut machine, &taken)?;
        self.look(&mut machine)?;
        let first = taken.image.len();
        for generation in 1..=self.case.generations {
            let restored = self.restart_once(&mut machine, &taken, generation)?;
            if generation == 1 && self.case.tamper.is_none() {
                self.judge_golden(&taken, &restored)?;
            }
            self.look(&mut machine)?;
            if generation < self.case.generations {
                (machine, taken) = self.next_generation(machine, generation)?;
            }
        }
        if taken.image.len() > first + GROWTH {
            self.evidence.find(
                Oracle::Image,
                format!(
                    "the image grew from {first} bytes to {} in {} generations",
                    taken.image.len(),
                    self.case.generations
                ),
            );
        }
        self.look(&mut machine)?;
        machine.thaw(Phase::FinishAgain)?;
        self.finish(&mut machine, Phase::FinishAgain, "b")?;
        self.look(&mut machine)?;
        self.leave_last(machine)
    }

    /// Lay out the folder, restart, and compare what is there with what was. The tree is left frozen.
    fn restart_once(
        &mut self,
        machine: &mut Machine<'_>,
        taken: &Taken,
        generation: u32,
    ) -> Step<State> {
        machine.push_folder(&taken.folder)?;
        machine.push_image(Phase::Push, self.image_name(), &taken.image)?;
        let since = Instant::now();
        let end = machine.restart(
            Phase::Restart,
            self.image_name(),
            self.enclosure(),
            self.surroundings(),
        )?;
        self.evidence.keep("restart.log", end.said().as_bytes())?;
        if end.code != 0 {
            let what = if generation == 1 {
                "the restart".to_owned()
            } else {
                format!("the restart of generation {generation}")
            };
            return Err(refused(&what, &end));
        }
        let restored = machine.probe(Phase::ProbeAgain)?;
        self.evidence.keep_state("s1.json", &restored)?;
        let clock = self.setting.clock;
        let differs = clock.time(Phase::Judge, || {
            let before = taken.state.as_ref()?;
            state::compare(
                self.form(),
                ("before the checkpoint", before),
                ("after the restart", &restored),
            )
        });
        if let Some(diff) = differs {
            let what = format!(
                "the restored state is not the one that was checkpointed (generation {generation})"
            );
            self.evidence.find_diff(Oracle::State, &what, &diff)?;
        }
        self.checkpoint_again(machine, taken, generation, since)?;
        Ok(restored)
    }

    /// Let the restored tree run a little, checkpoint it, and go to the next machine.
    fn next_generation(
        &mut self,
        mut machine: Machine<'a>,
        generation: u32,
    ) -> Step<(Machine<'a>, Taken)> {
        machine.thaw(Phase::FinishAgain)?;
        if self.env.cancel.sleep(GENERATION_TIME).is_err() {
            return Err(Verdict::Infra {
                cause: "cancelled".to_owned(),
            });
        }
        machine.freeze()?;
        let state = machine.probe(Phase::Probe)?;
        self.evidence.keep_state("s0.json", &state)?;
        let end = machine.checkpoint(Phase::Checkpoint, IMAGE)?;
        if end.code != 0 {
            return Err(refused(
                &format!("the checkpoint of generation {generation}"),
                &end,
            ));
        }
        let taken = self.fetch(&mut machine, IMAGE, "image-b", Instant::now(), Some(state))?;
        machine.kill_all(Phase::FinishAgain)?;
        match self.case.restart {
            Restart::Same => Ok((machine, taken)),
            Restart::Fresh => {
                let next = self.leave_for(machine, &format!("b{}", generation + 1))?;
                Ok((next, taken))
            }
        }
    }

    /// Compare with the golden: the state before, which is the one after, too; of a task that checkpointed itself, the one after.
    fn judge_golden(&mut self, taken: &Taken, restored: &State) -> Step<()> {
        let state = match self.form() {
            Form::Apart => restored,
            Form::Full | Form::Golden => taken.state.as_ref().unwrap_or(restored),
        };
        let Some(snapshots) = self.env.snapshots else {
            return Ok(());
        };
        let name = self.case.id.without_arch();
        let judgement = self.setting.clock.time(Phase::Judge, || {
            let text = state::golden(state);
            snapshots.check(name, self.case.arch, &text)
        });
        match judgement {
            Ok(Judgement::Same) => {}
            Ok(Judgement::Missing) => {
                let message = format!("{name} has no golden yet: cargo xtask review");
                self.evidence.find(Oracle::State, message);
            }
            Ok(Judgement::Differs(diff)) => {
                let what = "the state is not the golden one; if it should be: cargo xtask review";
                self.evidence.find_diff(Oracle::State, what, &diff)?;
            }
            Err(error) => {
                return Err(Verdict::Infra {
                    cause: format!("{error}: {}", error.source),
                });
            }
        }
        Ok(())
    }
}

/// The image of a checkpoint that was not refused must be whole, valid, and of the guest's architecture.
fn decode(case: &Case, bytes: &[u8]) -> Step<Image> {
    image::decode(case.arch, bytes).map_err(|message| Verdict::Fail {
        oracle: Oracle::Image,
        message,
    })
}
