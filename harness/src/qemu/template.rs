//! Templates and clones: boot once, save, and start every guest from what was saved.
//!
//! A template is a folder of the store: the RAM file, which is sparse, the device state, the console of its boot,
//! and what its first clone has in use, which is what every clone begins with.
//! A clone maps the RAM file privately, so it costs what it touches, and the file never changes.

mod making;

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::accel::host_cpu;
use super::agent::Agent;
use super::argv::{self, Console, Ends, Memory};
use super::error::GuestError;
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

/// Longest time from a clone's start to its first answer; about 0.05 s on an idle host, and seconds where the disk is busy.
const CLONE_TIME: Duration = Duration::from_secs(90);

/// How often a clone is started whose QEMU crashes before its guest runs.
///
/// QEMU 7.2 for s390x does so once in some thousand starts (a SIGSEGV while it waits for the incoming migration); nothing of the guest is tried by then.
const CLONE_ATTEMPTS: u32 = 3;

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
            making::make(spec, scratch, cancel)
                .map_err(|error| keep_console(error, store, spec.arch, scratch))
        })?;
        let mut template = Self::at(spec, artifact.dir);
        template.counts = making::read_counts(&template.dir)?;
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
