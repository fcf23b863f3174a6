//! Checkpoints of a tree that somebody disturbs at random moments: each fails and says so, or its image is right.

use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use crossthaw_protocol::{Disturb, Disturbance};

use super::life::{Life, Taken};
use super::machine::{Machine, Step};
use super::phase::Phase;
use crate::oracle::{Oracle, image, refusal};

/// Image of a checkpoint that is disturbed.
const IMAGE: &str = "disturbed";

/// Attempts with each kind of disturbance.
const ROUNDS: u32 = 12;

/// As many at most, if none of those was noticed.
const MOST_ROUNDS: u32 = 60;

/// As many for what kills a process: each costs one.
const KILLED: u32 = 3;

/// What is wrong is told for so many attempts, then it is enough.
const FINDINGS: usize = 5;

/// Checkpoints that nobody disturbs, to see how long they take; the first takes longer.
const MEASURED: u32 = 4;

/// How long a process may take from one cgroup to another: the kernel waits for its other CPUs first.
const MIGRATION: Duration = Duration::from_millis(50);

/// A checkpoint that was disturbed, and did not fail.
#[derive(Debug)]
pub(super) struct Survivor {
    what: String,
    image: Vec<u8>,
}

/// A moment before this one, in microseconds.
fn moment(longest: Duration) -> u64 {
    // Seeded anew each time.
    let random = RandomState::new().build_hasher().finish();
    let longest = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
    random % longest.max(1)
}

impl Life<'_> {
    /// Disturb checkpoints of a frozen tree, which may not be still.
    pub(super) fn disturb(&mut self, machine: &mut Machine<'_>) -> Step<()> {
        let found = self.evidence.found();
        let mut longest = Duration::MAX;
        for _ in 0..MEASURED {
            let began = Instant::now();
            machine.checkpoint(Phase::Disturb, IMAGE)?;
            longest = longest.min(began.elapsed());
        }
        let mut told = format!("a checkpoint takes {longest:?}\n");
        for what in self.case.disturb.clone() {
            let mut refused = 0;
            // Who was killed may be in the image as one who was.
            let (rounds, most) = match what {
                Disturbance::Kill => (KILLED, KILLED),
                Disturbance::Thaw | Disturbance::Migrate | Disturbance::Trace => {
                    (ROUNDS, MOST_ROUNDS)
                }
            };
            for round in 0..most {
                if round >= rounds && refused > 0 {
                    break;
                }
                let after_us = moment(longest);
                let tool_after_us = match what {
                    Disturbance::Migrate => moment(MIGRATION),
                    Disturbance::Thaw | Disturbance::Trace | Disturbance::Kill => 0,
                };
                let name = format!(
                    "{what:?} {round}, after {after_us} us, and the tool after {tool_after_us} us"
                );
                let disturb = Disturb {
                    what,
                    after_us,
                    tool_after_us,
                };
                let end = machine.checkpoint_disturbed(IMAGE, disturb)?;
                let image = machine.pull_image_in(Phase::Disturb, IMAGE)?;
                let whole = image::decode(self.case.arch, &image);
                let outcome = match (end.code, whole) {
                    (0, Ok(_)) => {
                        self.survivors.push(Survivor {
                            what: name.clone(),
                            image,
                        });
                        Ok("it is done".to_owned())
                    }
                    (0, Err(message)) => Err(message),
                    (_, Ok(_)) => Err("the tool has failed, and left a whole image".to_owned()),
                    (_, Err(_)) => {
                        refused += 1;
                        refusal::judge_disturbed(&end).map(|()| end.said())
                    }
                };
                let said = match &outcome {
                    Ok(said) | Err(said) => said.trim_end(),
                };
                let _ = writeln!(told, "{name}: {said}");
                if let Err(message) = outcome {
                    let message = format!("{name}: {message}");
                    self.evidence.find(Oracle::Refusal, message);
                    if self.evidence.found() >= found + FINDINGS {
                        return self.evidence.keep("disturbed.txt", told.as_bytes());
                    }
                }
            }
            if refused == 0 && what != Disturbance::Kill {
                let message = format!("{what:?}: no checkpoint of {most} noticed it");
                self.evidence.find(Oracle::Refusal, message);
            }
        }
        self.evidence.keep("disturbed.txt", told.as_bytes())
    }

    /// Restart what was checkpointed in spite of a disturbance: it must be able to go on to its end.
    pub(super) fn restart_disturbed(
        &mut self,
        machine: &mut Machine<'_>,
        taken: &Taken,
    ) -> Step<()> {
        for (number, survivor) in std::mem::take(&mut self.survivors).iter().enumerate() {
            let Survivor { what, image } = survivor;
            let found = self.evidence.found();
            machine.push_folder(&taken.folder)?;
            machine.push_image(Phase::Disturb, IMAGE, image)?;
            let (enclosure, surroundings) = (self.enclosure(), self.surroundings());
            let end = machine.restart(Phase::Disturb, IMAGE, enclosure, surroundings)?;
            if end.code == 0 {
                machine.thaw(Phase::Disturb)?;
                self.finish(machine, Phase::Disturb, &format!("disturbed-{number}"))?;
            } else {
                let message = format!("the restart was refused: {}", end.said());
                self.evidence.find(Oracle::Refusal, message);
            }
            machine.kill_all(Phase::Disturb)?;
            if self.evidence.found() > found {
                let name = format!("image-disturbed-{number}");
                self.evidence.keep(&name, image)?;
                let message = format!("that was {name}: {what}");
                self.evidence.find(Oracle::Image, message);
                return Ok(());
            }
        }
        Ok(())
    }
}
