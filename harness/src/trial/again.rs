//! The second checkpoint: of the restored tree, before it runs.

use std::time::{Duration, Instant};

use crossthaw_image::Image;

use super::life::{Life, Taken};
use super::machine::{Machine, Step};
use super::phase::Phase;
use crate::oracle::{Oracle, image};
use crate::scenario::Pids;

/// Image of the restored tree.
const IMAGE_AGAIN: &str = "again";

/// How far the guest's clocks may be from the host's between a restart and a checkpoint.
const CLOCK_TOLERANCE: Duration = Duration::from_millis(500);

impl Life<'_> {
    /// Checkpoint the tree that was restarted from this image at `since`, and compare.
    pub(super) fn checkpoint_again(
        &mut self,
        machine: &mut Machine<'_>,
        taken: &Taken,
        generation: u32,
        since: Instant,
    ) -> Step<()> {
        let end = machine.checkpoint(Phase::CheckpointAgain, IMAGE_AGAIN)?;
        let passed = since.elapsed() + CLOCK_TOLERANCE;
        if end.code != 0 {
            let message = format!("the restored tree cannot be checkpointed: {}", end.said());
            self.evidence.find(Oracle::Refusal, message);
            return Ok(());
        }
        let again = machine.pull_image_in(Phase::CompareImages, IMAGE_AGAIN)?;
        let clock = self.setting.clock;
        clock.time(Phase::CompareImages, || {
            self.compare_images(taken, &again, generation, passed)
        })
    }

    /// The restored tree's image with the pids of before, if it has others; it must have, where they were asked for.
    fn renumbered(&mut self, taken: &Taken, again: Image) -> Image {
        if self.case.pids == Pids::Image {
            return again;
        }
        let root = |image: &Image| image.tree()?.tasks.first().map(|task| task.pid);
        let (before, after) = (root(&taken.decoded), root(&again));
        if before == after {
            let message = format!("the root was to have a new pid, and still has {before:?}");
            self.evidence.find(Oracle::Image, message);
        }
        again.renumbered(&taken.decoded)
    }

    fn compare_images(
        &mut self,
        taken: &Taken,
        again: &[u8],
        generation: u32,
        passed: Duration,
    ) -> Step<()> {
        self.evidence.keep("image-again", again)?;
        let differs = match image::decode(self.case.arch, again) {
            Err(message) => {
                let message = format!("of the restored tree (generation {generation}): {message}");
                self.evidence.find(Oracle::Image, message);
                true
            }
            Ok(decoded) => {
                match image::diff(&taken.decoded, &self.renumbered(taken, decoded), passed) {
                    None => false,
                    Some(diff) => {
                        let what = format!(
                            "the image of the restored tree is not the one that was restarted (generation {generation})"
                        );
                        self.evidence.find_diff(Oracle::Image, &what, &diff)?;
                        true
                    }
                }
            }
        };
        if differs && generation > 1 {
            // Later generations overwrite the others.
            self.evidence
                .keep(&format!("image-restarted-{generation}"), &taken.image)?;
            self.evidence
                .keep(&format!("image-again-{generation}"), again)?;
        }
        Ok(())
    }
}
