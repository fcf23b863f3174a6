//! Templates and clones: boot once, save, and start every guest from what was saved.
//!
//! A template is a folder of the store: the RAM file, which is sparse, the device state, the console of its boot,
//! and what its first clone has in use, which is what every clone begins with.
//! A clone maps the RAM file privately, so it costs what it touches, and the file never changes.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossthaw_protocol::{Reply, Request};

use super::accel::host_cpu;
use super::agent::Agent;
use super::argv::{self, Console, Ends, Memory};
use super::error::{ConsoleTail, GuestError};
use super::qmp::{Call, Qmp};
use super::spec::GuestSpec;
use super::terminal::Terminal;
use crate::arch::Arch;
use crate::process::{Cancel, Process, shell_line};
use crate::store::{Key, KeyBuilder, Store};

/// Raised when templates are made or used in another way, so that those of before are not taken.
const FORM: &str = "2";

/// The guest's memory.
const RAM: &str = "ram";
/// Everything else of the guest.
const STATE: &str = "state";
/// What it said while it booted.
const CONSOLE: &str = "console";
/// What its first clone said.
const FIRST_CONSOLE: &str = "first-clone";
/// What that has in use, as JSON.
const COUNTS: &str = "counts";

/// Longest time from a clone's start to its first answer; about 0.05 s on an idle host.
const CLONE_TIME: Duration = Duration::from_secs(20);

/// How often a clone is started whose QEMU crashes before its guest runs.
///
/// QEMU 7.2 for s390x does so once in some thousand starts (a SIGSEGV while it waits for the incoming migration); nothing of the guest is tried by then.
const CLONE_ATTEMPTS: u32 = 3;
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

/// Longest time that a person may take.
pub const NO_HURRY: Duration = Duration::from_secs(24 * 3600);

/// How a person takes part in a clone.
#[derive(Clone, Copy, Default)]
pub struct Attended<'a> {
    /// Its console can be talked to, see [`Agent::prompt`].
    pub terminal: bool,
    /// It is stopped until a debugger lets it go on.
    pub gdb: Option<Stopped<'a>>,
}

/// A clone that waits for a debugger.
#[derive(Clone, Copy)]
pub struct Stopped<'a> {
    /// Where; a UNIX socket, which QEMU makes.
    pub socket: &'a Path,
    /// Called when it waits.
    pub stopped: &'a dyn Fn(),
}

/// A guest that booted once, its agent waiting; every [`Template::start`] is a guest of its own.
#[derive(Clone, Debug)]
pub struct Template {
    spec: GuestSpec,
    dir: PathBuf,
    built: bool,
    time: Duration,
    counts: Vec<(String, u64)>,
}

impl Template {
    /// The template of this guest: from the store, or booted and saved now.
    ///
    /// A guest that does not boot leaves its console in the store's `failed` folder, which the error names.
    pub fn get(store: &Store, spec: &GuestSpec, cancel: &Cancel) -> Result<Self, GuestError> {
        let start = Instant::now();
        let key = key(spec);
        let artifact = store.get_or_build("template", &key, |scratch| {
            make_good(spec, scratch, cancel)
                .map_err(|error| keep_console(error, store, spec.arch, scratch))
        })?;
        let mut template = Self::at(spec, artifact.dir);
        template.counts = read_counts(&template.dir)?;
        template.built = artifact.built;
        template.time = start.elapsed();
        Ok(template)
    }

    fn at(spec: &GuestSpec, dir: PathBuf) -> Self {
        Self {
            spec: spec.clone(),
            dir,
            built: false,
            time: Duration::ZERO,
            counts: Vec::new(),
        }
    }

    /// The architecture.
    pub fn arch(&self) -> Arch {
        self.spec.arch
    }

    /// What its guests are made of.
    pub fn spec(&self) -> &GuestSpec {
        &self.spec
    }

    /// What it was made from.
    pub fn key(&self) -> Key {
        key(&self.spec)
    }

    /// Was it booted just now?
    pub fn built(&self) -> bool {
        self.built
    }

    /// How long it took to have it.
    pub fn time(&self) -> Duration {
        self.time
    }

    /// What a clone has in use before its first action: what, and how many.
    pub fn counts(&self) -> &[(String, u64)] {
        &self.counts
    }

    /// The console of its boot.
    pub fn boot_console(&self) -> PathBuf {
        self.dir.join(CONSOLE)
    }

    /// Start a clone; it has answered when this returns. Its console goes to that file.
    pub fn start(&self, console: &Path, cancel: &Cancel) -> Result<Agent, GuestError> {
        self.start_attended(console, cancel, Attended::default(), &mut |_| ())
    }

    /// The same; a person takes part, and `retried` is told why a start is tried once more.
    pub fn start_attended(
        &self,
        console: &Path,
        cancel: &Cancel,
        attended: Attended<'_>,
        retried: &mut dyn FnMut(String),
    ) -> Result<Agent, GuestError> {
        let mut outcome = self.try_start(console, cancel, attended);
        for attempt in 1..CLONE_ATTEMPTS {
            let Err(GuestError::Died { status, .. }) = &outcome else {
                break;
            };
            if status.signal().is_none() || cancel.is_cancelled() {
                break;
            }
            let why = format!(
                "QEMU crashed before its guest ran ({status}), attempt {attempt} of {CLONE_ATTEMPTS}"
            );
            tracing::warn!(arch = %self.arch(), "{why}");
            retried(why);
            outcome = self.try_start(console, cancel, attended);
        }
        outcome.map_err(|error| match error {
            // Nothing of a clone is on a disk that could be full: its memory could not be read.
            GuestError::DiskFull { .. } => GuestError::Damaged {
                path: self.dir.clone(),
                why: format!("a part of `{RAM}` could not be read"),
            },
            other => other.during("clone"),
        })
    }

    /// The command that starts a clone, for a person; the descriptors are those of any start.
    pub fn clone_command(&self, console: &Path) -> String {
        let ends = Ends {
            agent: 3,
            monitor: 4,
        };
        let ram = self.dir.join(RAM);
        let console = Console::File(console);
        shell_line(&argv::agent_guest(
            &self.spec,
            Memory::Clone(&ram),
            console,
            ends,
        ))
    }

    fn try_start(
        &self,
        console: &Path,
        cancel: &Cancel,
        attended: Attended<'_>,
    ) -> Result<Agent, GuestError> {
        let path = self.dir.join(STATE);
        let state = File::open(&path).map_err(|error| GuestError::file(&path, "open", error))?;
        let number = state.as_raw_fd();
        let ram = self.dir.join(RAM);
        let (mut agent, mut qmp) = launch(
            &self.spec,
            Memory::Clone(&ram),
            console,
            vec![state.into()],
            attended,
            cancel,
        )?;
        let deadline = Instant::now() + CLONE_TIME;
        let mut call = Call {
            process: agent.process(),
            console,
            deadline,
        };
        qmp.negotiate(&mut call)?;
        qmp.ignore_shared(&mut call)?;
        qmp.load(&mut call, number)?;
        let patience = match attended.gdb {
            Some(gdb) => {
                (gdb.stopped)();
                NO_HURRY
            }
            None => deadline.saturating_duration_since(Instant::now()),
        };
        // Waits in the socket until the guest runs.
        agent.hello(patience)?;
        agent.keep_monitor(qmp);
        Ok(agent)
    }
}

/// Boot a guest that no template is made of.
pub fn boot(spec: &GuestSpec, console: &Path, cancel: &Cancel) -> Result<Agent, GuestError> {
    boot_with(spec, Memory::Own, console, cancel).map(|(agent, _)| agent)
}

fn boot_with(
    spec: &GuestSpec,
    memory: Memory<'_>,
    console: &Path,
    cancel: &Cancel,
) -> Result<(Agent, Qmp), GuestError> {
    let (mut agent, qmp) = launch(
        spec,
        memory,
        console,
        Vec::new(),
        Attended::default(),
        cancel,
    )?;
    agent
        .hello(spec.boot_time)
        .map_err(|error| error.during("boot"))?;
    Ok((agent, qmp))
}

/// Start QEMU with an agent's port and a monitor, over sockets that have no name anywhere.
fn launch(
    spec: &GuestSpec,
    memory: Memory<'_>,
    console: &Path,
    mut inherit: Vec<OwnedFd>,
    attended: Attended<'_>,
    cancel: &Cancel,
) -> Result<(Agent, Qmp), GuestError> {
    let socket = |source| GuestError::File {
        what: "make a pair of sockets".to_owned(),
        source,
    };
    let (agent, port) = UnixStream::pair().map_err(socket)?;
    let (monitor, control) = UnixStream::pair().map_err(socket)?;
    let ends = Ends {
        agent: port.as_raw_fd(),
        monitor: control.as_raw_fd(),
    };
    inherit.extend([port.into(), control.into()]);
    let mut terminal = None;
    let log = if attended.terminal {
        let (mine, theirs) = UnixStream::pair().map_err(socket)?;
        let number = theirs.as_raw_fd();
        inherit.push(theirs.into());
        terminal = Some(Terminal::new(mine).map_err(socket)?);
        Console::Logged(number, console)
    } else {
        Console::File(console)
    };
    let mut argv = argv::agent_guest(spec, memory, log, ends);
    if let Some(gdb) = attended.gdb {
        argv.extend(argv::debugger(gdb.socket));
    }
    let process = Process::spawn(&argv, inherit, cancel)?;
    let qmp = Qmp::new(monitor).map_err(socket)?;
    let mut agent = Agent::new(agent, process, console)?;
    agent.keep_terminal(terminal);
    Ok((agent, qmp))
}

fn key(spec: &GuestSpec) -> Key {
    KeyBuilder::new("template")
        .text("form", FORM)
        .text("kernel", spec.kernel_key.as_str())
        .text("guest", spec.guest_key.as_str())
        .text("qemu", &spec.qemu_version)
        .text("argv", &argv::identity(spec))
        // The guest has measured the speed of the host's counter, and KVM's guests have seen its features.
        .text("host", &host_cpu())
        .finish()
}

/// Make a template, and make it once more if its first clone does not answer.
fn make_good(spec: &GuestSpec, dir: &Path, cancel: &Cancel) -> Result<(), GuestError> {
    let mut attempt = 1;
    loop {
        make(spec, dir, cancel)?;
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
fn make(spec: &GuestSpec, dir: &Path, cancel: &Cancel) -> Result<(), GuestError> {
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

fn read_counts(dir: &Path) -> Result<Vec<(String, u64)>, GuestError> {
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

/// Scratch goes away with the failure; the console stays, where the error says.
fn keep_console(error: GuestError, store: &Store, arch: Arch, scratch: &Path) -> GuestError {
    let folder = store.root().join("failed");
    let kept = folder.join(format!("template-{arch}.console"));
    let copied = fs::create_dir_all(&folder).and_then(|()| fs::copy(scratch.join(CONSOLE), &kept));
    match copied {
        Ok(_) => error.with_console_at(&kept),
        // The error has the console's last lines with it.
        Err(_) => error,
    }
}
