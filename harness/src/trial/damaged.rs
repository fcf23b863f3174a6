//! Restarts that must be refused: damaged images, one after the other, in one guest that must not mind.

use std::time::Duration;

use super::damage::{self, Damage, Foreign};
use super::life::{Life, Taken};
use super::machine::{Machine, Step};
use super::phase::Phase;
use crate::oracle::leak::{self, Usage};
use crate::oracle::refusal::{self, Expected, Refuser};
use crate::oracle::{Oracle, Verdict};
use crate::scenario::Tamper;

/// Attempts before the guest's use of memory and files is measured for the first time: caches fill.
const WARM_UP: usize = 8;

/// Fewer attempts than this say nothing about leaks.
const ENOUGH: usize = 16;

/// What is wrong is told for so many attempts, then it is enough.
const FINDINGS: usize = 5;

/// Namespaces, files and the pages that each CPU keeps are given back a little later: how often, and after what pause, it is measured again.
const AGAIN: (u32, Duration) = (25, Duration::from_millis(200));

fn damages(life: &Life<'_>, taken: &Taken) -> Vec<Damage> {
    let foreign = |whose| damage::foreign(&taken.decoded, whose).into_iter().collect();
    match &life.case.tamper {
        // The image as it is.
        None => Vec::new(),
        Some(Tamper::TruncateEachRecord) => damage::cuts(&taken.decoded),
        Some(Tamper::FlipEachRecord) => damage::flips(&taken.decoded),
        Some(Tamper::Forge(forged)) => damage::forgeries(forged),
        // From the case's own image: architectures do not wait for each other.
        Some(Tamper::Foreign) => foreign(Foreign::SameOrder),
        Some(Tamper::ByteOrder) => foreign(Foreign::OtherOrder),
    }
}

/// Restart every damaged image, each of which must be refused without harm.
pub(super) fn try_all(
    life: &mut Life<'_>,
    machine: &mut Machine<'_>,
    taken: &Taken,
    expected: &Expected<'_>,
) -> Step<()> {
    machine.push_folder(&taken.folder)?;
    if life.case.tamper.is_none() {
        return attempt(
            life,
            machine,
            "the image",
            &taken.image,
            Refuser::Kernel,
            expected,
        );
    }
    let damages = damages(life, taken);
    let found = life.evidence.found();
    let mut lost = Lost::begin("refused restarts");
    for damage in &damages {
        lost.attempt(machine)?;
        match damage.apply(&taken.image, &taken.decoded) {
            Ok(image) => {
                let own = damage.expected.as_ref();
                let expected = &Expected {
                    errno: own.and_then(|it| it.0.as_deref()).or(expected.errno),
                    log: own.map(|it| &*it.1).or(expected.log),
                    ..*expected
                };
                attempt(
                    life,
                    machine,
                    &damage.what,
                    &image,
                    damage.refuser,
                    expected,
                )?;
            }
            Err(error) => {
                let what = &damage.what;
                life.evidence
                    .find(Oracle::Refusal, format!("{what}: {error}"));
            }
        }
        if life.evidence.found() >= found + FINDINGS {
            return Ok(());
        }
    }
    lost.judge(life, machine)
}

/// One restart that must be refused, and leave nothing.
fn attempt(
    life: &mut Life<'_>,
    machine: &mut Machine<'_>,
    what: &str,
    image: &[u8],
    refuser: Refuser,
    expected: &Expected<'_>,
) -> Step<()> {
    let name = life.image_name();
    machine.push_image(Phase::Damaged, name, image)?;
    let end = machine.restart(Phase::Damaged, name, life.enclosure(), life.surroundings())?;
    if let Err(message) = refusal::judge_restart(expected, refuser, &end) {
        life.evidence.keep("image-damaged", image)?;
        life.evidence
            .find(Oracle::Refusal, format!("{what}: {message}"));
    }
    if end.code == 0 {
        // It was restarted after all: out of the way of the next one.
        return machine.kill_all(Phase::Damaged);
    }
    let left = machine.survivors(Phase::Damaged)?;
    if !left.is_empty() {
        let message = format!("{what}: refused, but tasks are left: {}", left.join(", "));
        life.evidence.find(Oracle::Refusal, message);
        machine.kill(Phase::Damaged)?;
    }
    Ok(())
}

fn usage(machine: &mut Machine<'_>) -> Step<Usage> {
    let mut text = |path: &str| -> Step<String> {
        let bytes = machine.pull(Phase::Leaks, path)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let (files, memory) = (text("/proc/sys/fs/file-nr")?, text("/proc/meminfo")?);
    let zones = text("/proc/zoneinfo")?;
    leak::parse(&files, &memory, &zones).ok_or_else(|| Verdict::Infra {
        cause: format!(
            "unexpected contents of /proc/sys/fs/file-nr, /proc/meminfo or /proc/zoneinfo: {files:?}, {memory:?}, {zones:?}"
        ),
    })
}

/// What attempts that fail have in use, and do not give back.
#[derive(Debug)]
pub(super) struct Lost {
    /// The attempts.
    what: &'static str,
    number: usize,
    before: Option<Usage>,
}

impl Lost {
    /// Before the first of these attempts.
    pub(super) fn begin(what: &'static str) -> Self {
        Self {
            what,
            number: 0,
            before: None,
        }
    }

    /// Before each of them.
    pub(super) fn attempt(&mut self, machine: &mut Machine<'_>) -> Step<()> {
        if self.number == WARM_UP {
            self.before = Some(usage(machine)?);
        }
        self.number += 1;
        Ok(())
    }

    /// After the last one.
    pub(super) fn judge(self, life: &mut Life<'_>, machine: &mut Machine<'_>) -> Step<()> {
        let Some(before) = self.before.filter(|_| self.number >= ENOUGH) else {
            return Ok(());
        };
        let attempts = (self.number - WARM_UP) as u64;
        let (times, pause) = AGAIN;
        let mut judgement = Ok(());
        for _ in 0..times {
            judgement = leak::judge(before, usage(machine)?, attempts, self.what);
            if judgement.is_ok() || life.env.cancel.sleep(pause).is_err() {
                break;
            }
        }
        if let Err(message) = judgement {
            life.evidence.find(Oracle::Kernel, message);
        }
        Ok(())
    }
}
