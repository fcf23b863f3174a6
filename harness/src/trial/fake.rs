//! A guest that follows a script, for tests: it does what a good one does, but for what the script says.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossthaw_image::{Arch, ByteOrder, Image, sample};
use crossthaw_protocol::{Disturbance, EXPLAINED, EXPLAINS, IMAGE_DIR, Reply, Request, State};

use super::{Attendant, Guest, Source};
use crate::process::Cancel;
use crate::qemu::{ConsoleTail, Folder, GuestError, phase};

/// A valid image of `x86_64`.
pub(super) fn image() -> Vec<u8> {
    sample::image(Arch::X86_64)
}

/// The image of a checkpoint that was refused with this line.
pub(super) fn refused_image(errno: i32, text: &str) -> Vec<u8> {
    let mut records = sample::head(Arch::X86_64);
    records.push(sample::error(errno, text));
    sample::writer(Arch::X86_64, &records).into_bytes()
}

fn counts() -> Vec<(String, u64)> {
    vec![("mounts".to_owned(), 9)]
}

/// What a guest does at a request instead of what a good one does.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// Answers this.
    Answer(Reply),
    /// The agent cannot.
    Fails(&'static str),
    /// QEMU ends with this wait status, having said this.
    Dies(i32, &'static str),
    /// Nothing comes.
    Hangs,
    /// The run is cancelled.
    Cancelled,
    /// The console gets these lines, and it goes on.
    Says(&'static str),
    /// The console gets these lines, and QEMU ends.
    SaysAndDies(&'static str),
    /// The checkpoint is refused, and this image is left.
    Refuses(&'static str, &'static str, Vec<u8>),
    /// The checkpoint leaves this image.
    Leaves(Vec<u8>),
}

/// From the `nth` request of this phase in this guest on (both from 0), do something else.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) guest: usize,
    pub(super) phase: &'static str,
    pub(super) nth: usize,
    pub(super) action: Action,
}

/// Where scripted guests come from.
#[derive(Debug)]
pub(super) struct Fake {
    pub(super) rules: Vec<Rule>,
    pub(super) state: State,
    /// `GUEST PHASE` of every request.
    pub(super) log: Arc<Mutex<Vec<String>>>,
    started: Mutex<usize>,
    /// What each has in use at first.
    counts: Vec<(String, u64)>,
    /// Why starts were tried once more.
    pub(super) crashes: Vec<&'static str>,
}

impl Fake {
    pub(super) fn new(rules: Vec<Rule>) -> Self {
        Self {
            rules,
            state: crate::oracle::state::tests::state(),
            log: Arc::default(),
            started: Mutex::new(0),
            counts: counts(),
            crashes: Vec::new(),
        }
    }
}

impl Source for Fake {
    fn start(
        &self,
        console: &Path,
        _: &Cancel,
        retried: &mut dyn FnMut(String),
    ) -> Result<Box<dyn Guest>, GuestError> {
        self.crashes
            .iter()
            .for_each(|why| retried((*why).to_owned()));
        let mut started = self.started.lock().unwrap();
        let number = *started;
        *started += 1;
        std::fs::write(console, "").unwrap();
        let mut guest = FakeGuest {
            number,
            rules: self.rules.clone(),
            seen: BTreeMap::new(),
            state: self.state.clone(),
            files: BTreeMap::from([
                ("/proc/sys/fs/file-nr".to_owned(), b"96 0 24000".to_vec()),
                (
                    "/proc/meminfo".to_owned(),
                    b"MemTotal: 1000 kB\nMemFree: 500 kB\n".to_vec(),
                ),
                ("/proc/zoneinfo".to_owned(), b"count: 10\n".to_vec()),
                (format!("{IMAGE_DIR}/self.img"), image()),
            ]),
            alive: false,
            console: console.to_owned(),
            log: Arc::clone(&self.log),
        };
        guest.act("clone").transpose()?;
        Ok(Box::new(guest))
    }

    fn counts(&self) -> &[(String, u64)] {
        &self.counts
    }
}

#[derive(Debug)]
struct FakeGuest {
    number: usize,
    rules: Vec<Rule>,
    seen: BTreeMap<&'static str, usize>,
    state: State,
    files: BTreeMap<String, Vec<u8>>,
    alive: bool,
    console: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
}

/// How many allocations each of its system calls makes; it can do without every other one.
pub(super) const ALLOCATIONS: u32 = 8;

/// What a tool says of an allocation that was to fail.
fn with_fault(name: &str, nth: u32) -> Reply {
    if nth > ALLOCATIONS {
        return tool(
            0,
            &format!("{name}: allocation {nth} was not reached\n"),
            "",
        );
    }
    let failed = format!("{name}: allocation {nth} failed\n");
    if nth.is_multiple_of(2) {
        return tool(0, &failed, "");
    }
    let stderr = format!("{failed}{name}: refused: ENOMEM (Cannot allocate memory)\n");
    tool(1, &stderr, "")
}

/// Who is killed has been checkpointed before.
fn disturbed(what: Disturbance) -> Reply {
    match what {
        Disturbance::Thaw | Disturbance::Migrate | Disturbance::Trace => tool(
            1,
            "checkpoint: refused: EBUSY (Device or resource busy)\n",
            "checkpoint: error 16 (EBUSY): pid 4: is not frozen by the cgroup v2 freezer\n",
        ),
        Disturbance::Kill => tool(0, "", ""),
    }
}

pub(super) fn tool(code: i32, stderr: &str, log: &str) -> Reply {
    Reply::Tool {
        code,
        stdout: String::new(),
        stderr: stderr.to_owned(),
        log: log.to_owned(),
    }
}

impl FakeGuest {
    fn say(&self, text: &str) {
        let mut console = OpenOptions::new().append(true).open(&self.console).unwrap();
        for line in text.lines() {
            writeln!(console, "[    1.000000] {line}").unwrap();
        }
    }

    fn died(&self, phase: &'static str, status: i32, errors: &str) -> GuestError {
        GuestError::Died {
            phase,
            status: ExitStatus::from_raw(status),
            command: "qemu".to_owned(),
            errors: errors.to_owned(),
            console: ConsoleTail::read(&self.console),
        }
    }

    /// What the script says to this, if anything.
    fn act(&mut self, phase: &'static str) -> Option<Result<Reply, GuestError>> {
        let count = self.seen.entry(phase).or_default();
        let nth = *count;
        *count += 1;
        self.log
            .lock()
            .unwrap()
            .push(format!("{} {phase}", self.number));
        let rule = self
            .rules
            .iter()
            .rev()
            .find(|rule| rule.guest == self.number && rule.phase == phase && nth >= rule.nth)?;
        Some(match rule.action.clone() {
            Action::Answer(reply) => {
                if matches!(reply, Reply::Tool { code: 0, .. }) {
                    self.leave(&["failing", "disturbed"], &image());
                }
                Ok(reply)
            }
            Action::Fails(message) => Err(GuestError::Agent {
                phase,
                message: message.to_owned(),
                console: ConsoleTail::read(&self.console),
            }),
            Action::Dies(status, errors) => Err(self.died(phase, status, errors)),
            Action::Hangs => Err(GuestError::TimedOut {
                phase,
                after: Duration::from_secs(1),
                console: ConsoleTail::read(&self.console),
            }),
            Action::Cancelled => Err(GuestError::Cancelled),
            Action::Says(text) => {
                self.say(text);
                return None;
            }
            Action::SaysAndDies(text) => {
                self.say(text);
                Err(self.died(phase, 0, ""))
            }
            Action::Refuses(stderr, log, image) => {
                self.leave(&["image", "failing", "disturbed"], &image);
                Ok(tool(1, stderr, log))
            }
            Action::Leaves(image) => {
                self.leave(&["again", "image"], &image);
                Ok(tool(0, "", ""))
            }
        })
    }

    fn leave(&mut self, names: &[&str], image: &[u8]) {
        for name in names {
            self.files
                .insert(format!("{IMAGE_DIR}/{name}"), image.to_vec());
        }
    }

    fn restart(&mut self, name: &str) -> Reply {
        let bytes = self.files.get(&format!("{IMAGE_DIR}/{name}"));
        let read = Image::read(bytes.map_or(&[][..], Vec::as_slice));
        let fits = |image: Image| {
            image.arch == Arch::X86_64
                && image.byte_order == ByteOrder::Little
                && image.verify().is_ok()
        };
        if read.is_ok_and(fits) {
            self.alive = true;
            return tool(0, "", "");
        }
        let refused = "restart: refused: EINVAL (Invalid argument)\n";
        tool(
            1,
            refused,
            "restart: error 22 (EINVAL): record TREE at 264: bad\n",
        )
    }
}

impl Guest for FakeGuest {
    fn request(&mut self, request: &Request, _: Duration) -> Result<Reply, GuestError> {
        if let Some(outcome) = self.act(phase(request)) {
            return outcome;
        }
        Ok(match request {
            Request::Start { .. } | Request::StartProgram { .. } => {
                self.alive = true;
                Reply::Started { pid: 7 }
            }
            Request::WaitReady { .. } | Request::WaitProgram { .. } => Reply::Ready,
            Request::Mark { text } => {
                self.say(text);
                Reply::Done
            }
            Request::Taint => Reply::Taint { mask: 0 },
            Request::Count { .. } => Reply::Counts { counts: counts() },
            Request::NoteUnreferenced => Reply::Noted { noted: false },
            Request::Unreferenced => Reply::Unreferenced { reports: None },
            Request::Probe => Reply::State {
                state: self.state.clone(),
            },
            Request::Checkpoint {
                name,
                fail_nth,
                disturb,
            } => {
                let reply = match (fail_nth, disturb) {
                    (Some(nth), _) => with_fault("checkpoint", *nth),
                    (None, Some(disturb)) => disturbed(disturb.what),
                    (None, None) => tool(0, "", ""),
                };
                let left = match &reply {
                    Reply::Tool { code: 0, .. } => image(),
                    _ => refused_image(12, "checkpoint: error 12 (ENOMEM): a record"),
                };
                self.files.insert(format!("{IMAGE_DIR}/{name}"), left);
                reply
            }
            Request::Restart {
                fault: Some(fault), ..
            } => {
                let reply = with_fault("restart", fault.nth);
                self.alive = matches!(reply, Reply::Tool { code: 0, .. });
                reply
            }
            Request::Restart { name, .. } => self.restart(name),
            Request::WaitExit { .. } => {
                self.alive = false;
                Reply::Exited {
                    status: 0,
                    report: Some("ok a\ndone\n".to_owned()),
                }
            }
            Request::Kill => {
                self.alive = false;
                Reply::Done
            }
            Request::Survivors => Reply::Tasks {
                tasks: if self.alive {
                    vec![(7, "workloads".to_owned())]
                } else {
                    Vec::new()
                },
            },
            _ => Reply::Done,
        })
    }

    fn pull_file(&mut self, path: &str, _: Duration) -> Result<Vec<u8>, GuestError> {
        match self.act("pull of a file") {
            Some(Err(error)) => Err(error),
            _ => Ok(self.files.get(path).cloned().unwrap_or_default()),
        }
    }

    fn push_file(&mut self, path: &str, bytes: &[u8], _: Duration) -> Result<(), GuestError> {
        self.act("push of a file").transpose()?;
        self.files.insert(path.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn pull_folder(&mut self, _: Duration) -> Result<Folder, GuestError> {
        let outcome = self.act("pull of the folder").transpose();
        outcome.map(|_| Folder::default())
    }

    fn push_folder(&mut self, _: &Folder, _: Duration) -> Result<(), GuestError> {
        let outcome = self.act("push of the folder").transpose();
        outcome.map(drop)
    }

    fn explain(&mut self, _: Duration) -> String {
        self.say(&format!("{EXPLAINS}\nsysrq: Show State\n{EXPLAINED}"));
        "NIP c000\n".to_owned()
    }

    fn prompt(
        &mut self,
        person: &dyn Attendant,
        why: &str,
        time: Duration,
    ) -> Result<bool, GuestError> {
        self.request(&Request::Shell, time)?;
        person.no_prompt(why);
        Ok(true)
    }
}
