//! Making a template: boot a guest, save it when it is quiet, and count what its first clone has in use.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crossthaw_protocol::{Reply, Request};

use super::{CONSOLE, RAM, STATE, Template, boot_with};
use crate::process::{Cancel, Process};
use crate::qemu::argv::Memory;
use crate::qemu::qmp::Call;
use crate::qemu::{Agent, ConsoleTail, GuestError, GuestSpec};

/// What its first clone said.
const FIRST_CONSOLE: &str = "first-clone";
/// What that has in use, as JSON.
const COUNTS: &str = "counts";

/// Longest time that saving may take; about 0.02 s.
const SAVE_TIME: Duration = Duration::from_secs(30);
/// Longest time that a booted guest is given to [`settle`].
const SETTLE_TIME: Duration = Duration::from_secs(5);
/// Pause between two looks whether it has.
const SETTLE_PAUSE: Duration = Duration::from_millis(50);
/// A guest is quiet whose QEMU needs less than a tenth of this. Its processors are idle then.
const QUIET_SPAN: Duration = Duration::from_millis(100);
/// Longest time that a guest is given to be quiet; on a host that has other work, it is saved all the same.
const QUIET_TIME: Duration = Duration::from_secs(5);
/// Longest time in which the first clone counts what it has in use; about 0.2 s.
const COUNT_TIME: Duration = Duration::from_secs(60);
/// How often a template is made whose first clone does not answer.
const MAKE_ATTEMPTS: u32 = 3;

/// Make a template, and make it once more if its first clone does not answer.
pub(super) fn make(spec: &GuestSpec, dir: &Path, cancel: &Cancel) -> Result<(), GuestError> {
    let mut attempt = 1;
    loop {
        boot_and_save(spec, dir, cancel)?;
        match count(spec, dir, cancel) {
            Err(GuestError::TimedOut { .. }) if attempt < MAKE_ATTEMPTS => {
                tracing::warn!(
                    arch = %spec.arch,
                    "the first clone of the template did not answer, attempt {attempt} of {MAKE_ATTEMPTS}: it is made once more"
                );
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

/// Boot a guest and save it into this folder.
fn boot_and_save(spec: &GuestSpec, dir: &Path, cancel: &Cancel) -> Result<(), GuestError> {
    let (ram, console) = (dir.join(RAM), dir.join(CONSOLE));
    let (mut agent, mut qmp) = boot_with(spec, Memory::Template(&ram), &console, cancel)?;
    settle(&mut agent, cancel)
        .and_then(|()| untainted(&mut agent, &console))
        .and_then(|()| quiet(agent.process(), cancel))
        .map_err(|error| error.during("boot"))?;
    let mut call = Call {
        process: agent.process(),
        console: &console,
        deadline: Instant::now() + SAVE_TIME,
    };
    let saved = qmp
        .negotiate(&mut call)
        .and_then(|()| qmp.ignore_shared(&mut call))
        .and_then(|()| qmp.save(&mut call, &dir.join(STATE)));
    saved.map_err(|error| error.during("save"))
}

/// Have the first clone count what it has in use, and keep it.
fn count(spec: &GuestSpec, dir: &Path, cancel: &Cancel) -> Result<(), GuestError> {
    let console = dir.join(FIRST_CONSOLE);
    let mut agent = Template::at(spec, dir.to_owned()).start(&console, cancel)?;
    let request = Request::Count {
        above: Vec::new(),
        timeout_ms: 0,
    };
    let counts = match agent.request(&request, COUNT_TIME)? {
        Reply::Counts { counts } => counts,
        other => {
            return Err(GuestError::Agent {
                phase: "count",
                message: format!("an odd answer: {other:?}"),
                console: ConsoleTail::read(&console),
            });
        }
    };
    let path = dir.join(COUNTS);
    serde_json::to_vec(&counts)
        .map_err(Into::into)
        .and_then(|text| fs::write(&path, text))
        .map_err(|error| GuestError::file(&path, "write", error))
}

/// What [`make`] kept of the counts.
pub(super) fn read_counts(dir: &Path) -> Result<Vec<(String, u64)>, GuestError> {
    let path = dir.join(COUNTS);
    fs::read(&path)
        .and_then(|text| serde_json::from_slice(&text).map_err(Into::into))
        .map_err(|error| GuestError::file(&path, "read", error))
}

/// Wait until the guest's processors are idle.
///
/// QEMU 7.2 for s390x does not save an external call that waits for its processor to take interrupts again.
/// The guest's kernel takes it to be under way, and sends none for the same reason any more: clones are slow, and some hang.
fn quiet(process: &Process, cancel: &Cancel) -> Result<(), GuestError> {
    let deadline = Instant::now() + QUIET_TIME;
    let (mut before, mut was_runnable) = process.activity();
    while Instant::now() < deadline {
        cancel.sleep(QUIET_SPAN)?;
        let (time, runnable) = process.activity();
        let ran = time.saturating_sub(before);
        // One that waits for a processor of the host runs no longer than an idle one.
        if ran < QUIET_SPAN / 10 && !runnable && !was_runnable {
            break;
        }
        (before, was_runnable) = (time, runnable);
    }
    Ok(())
}

/// Wait until the kernel has found its clock: what is still to come would come in every clone, in the middle of a trial.
///
/// x86 replaces `tsc-early` by `tsc` a second after boot, with the whole machine stopped.
fn settle(agent: &mut Agent, cancel: &Cancel) -> Result<(), GuestError> {
    let clock = Request::PullFile {
        path: "/sys/devices/system/clocksource/clocksource0/current_clocksource".to_owned(),
    };
    let deadline = Instant::now() + SETTLE_TIME;
    while agent.pull(&clock, SETTLE_TIME)?.ends_with(b"-early\n") && Instant::now() < deadline {
        cancel.sleep(SETTLE_PAUSE)?;
    }
    Ok(())
}

/// A kernel that complains while it boots would do so in no trial's console.
fn untainted(agent: &mut Agent, console: &Path) -> Result<(), GuestError> {
    match agent.request(&Request::Taint, SETTLE_TIME)? {
        Reply::Taint { mask: 0 } => Ok(()),
        other => Err(GuestError::Agent {
            phase: "boot",
            message: format!("the kernel has complained: {other:?}"),
            console: ConsoleTail::read(console),
        }),
    }
}
