//! One guest of a trial: its requests, each of which gives an answer or the verdict that ends the trial.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossthaw_protocol::{
    Disturb, EXPLAINED, Enclosure, Fault, IMAGE_DIR, Reply, Request, State, Surroundings,
};

use super::Prompt;
use super::console;
use super::guest::{Guest, Source};
use super::phase::{Clock, Phase};
use crate::oracle::kernel_log::Class;
use crate::oracle::refusal::ToolEnd;
use crate::oracle::{Oracle, Verdict, chain, kernel_log, self_check, usage};
use crate::process::Cancel;
use crate::qemu::{Folder, GuestError};

/// How much longer the harness waits than the agent, which says what it waited for.
const GRACE: Duration = Duration::from_secs(5);

/// How long a late guest may take to say what it waits for.
const EXPLAIN_TIME: Duration = Duration::from_secs(10);

/// How long a guest may take to start a shell.
const PROMPT_TIME: Duration = Duration::from_secs(20);

/// How long a console may be late.
const CONSOLE_TIME: Duration = Duration::from_secs(1);

/// How long a guest whose trial ends early may take to say so.
const LAST_TIME: Duration = Duration::from_secs(2);

/// How long a task that has ended may be seen in a `fast` kernel, and how often it is looked for. The scripted guests of tests reap at once.
pub(super) const REAP_TIME: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1000 });
const REAP_PAUSE: Duration = Duration::from_millis(10);

/// A result, or the verdict that ends the trial at once.
pub(super) type Step<T> = Result<T, Verdict>;

/// What a trial gives to each of its machines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a> {
    /// Name of the case.
    pub(super) case: &'a str,
    /// Faults of the kernel that the case asks for, and that are none.
    pub(super) asked: Option<Class>,
    /// Longest time of each wait.
    pub(super) time: Duration,
    /// How long a task that has ended may be seen.
    pub(super) reap: Duration,
    /// Sums up the times.
    pub(super) clock: &'a Clock,
    /// Who wants a prompt.
    pub(super) prompt: Option<Prompt<'a>>,
    /// There was one, or the attempt.
    pub(super) prompted: &'a Cell<bool>,
    /// Collects why something was done once more.
    pub(super) retries: &'a RefCell<Vec<String>>,
    /// Ends every wait.
    pub(super) cancel: &'a Cancel,
}

/// How the root of a tree ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exit {
    pub(super) status: i32,
    pub(super) report: Option<String>,
}

/// A running guest.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    setting: Setting<'a>,
    guest: Box<dyn Guest>,
    console: PathBuf,
    /// What may be in use after the last action.
    allowed: Vec<(String, u64)>,
    /// Set once it has been told to say that the trial is over.
    ending: bool,
    /// Set once its console was judged.
    judged: bool,
}

fn mark(case: &str, what: &str) -> String {
    format!("crossthaw: {case} {what}")
}

/// Did QEMU end since the guest did, and not since it was told to?
fn ended_by_itself(error: &GuestError) -> bool {
    matches!(error, GuestError::Died { status, errors, .. }
        if status.success() && !errors.contains("terminating on signal"))
}

/// What the agent could not do is the tree's fault in these phases, the machine's in the others.
fn blame(phase: Phase) -> Option<Oracle> {
    match phase {
        Phase::Ready | Phase::Finish | Phase::FinishAgain => Some(Oracle::SelfCheck),
        Phase::Freeze | Phase::Restart | Phase::Damaged | Phase::Faults | Phase::Disturb => {
            Some(Oracle::Kernel)
        }
        Phase::Probe | Phase::ProbeAgain => Some(Oracle::State),
        Phase::Clone
        | Phase::Start
        | Phase::Checkpoint
        | Phase::Pull
        | Phase::CloneAgain
        | Phase::Push
        | Phase::CheckpointAgain
        | Phase::CompareImages
        | Phase::Leaks
        | Phase::Judge => None,
    }
}

/// What ends the trial when a guest does not do what it should.
fn verdict(asked: Option<Class>, phase: Phase, error: &GuestError, console: &str) -> Verdict {
    if matches!(error, GuestError::Cancelled) {
        return Verdict::Infra {
            cause: "cancelled".to_owned(),
        };
    }
    if let Some(fault) = kernel_log::judge_but(console, asked) {
        return fault.into();
    }
    match (error, blame(phase)) {
        (GuestError::TimedOut { .. }, _) => Verdict::Timeout {
            phase: phase.name().to_owned(),
        },
        _ if ended_by_itself(error) => Verdict::KernelFault {
            class: "reset".to_owned(),
            lines: vec![format!(
                "during {phase} the guest ended without a word: {}",
                chain(error)
            )],
        },
        (GuestError::Agent { message, .. }, Some(oracle)) => Verdict::Fail {
            oracle,
            message: format!("the agent failed during {phase}: {message}"),
        },
        _ => Verdict::infra(error),
    }
}

impl<'a> Machine<'a> {
    /// Start a clone and mark its console.
    pub(super) fn start(
        phase: Phase,
        setting: Setting<'a>,
        source: &dyn Source,
        console: &Path,
    ) -> Step<Self> {
        setting.clock.time(phase, || {
            let guest = source
                .start(console, setting.cancel, &mut |why| {
                    setting.retries.borrow_mut().push(why);
                })
                .map_err(|error| verdict(setting.asked, phase, &error, &console::said(console)))?;
            let mut machine = Self {
                setting,
                guest,
                console: console.to_owned(),
                allowed: usage::allowed(source.counts()),
                ending: false,
                judged: false,
            };
            machine.mark(phase, "begins")?;
            // A template is made of a kernel without taint; what its clone has then came with its start.
            machine.judge_taint(phase)?;
            Ok(machine)
        })
    }

    fn fail(&mut self, phase: Phase, error: &GuestError) -> Verdict {
        let verdict = verdict(
            self.setting.asked,
            phase,
            error,
            &console::said(&self.console),
        );
        if matches!(verdict, Verdict::Timeout { .. }) {
            self.explain();
        }
        verdict
    }

    /// Have a late guest say what it waits for: tasks and timers in its console, registers in a file beside that.
    fn explain(&mut self) {
        let text = self.guest.explain(EXPLAIN_TIME);
        console::read_up_to(&self.console, EXPLAINED, CONSOLE_TIME, self.setting.cancel);
        let name = self.console.file_name().unwrap_or_default();
        let name = name.to_string_lossy().replace("console", "registers");
        let path = self.console.with_file_name(name);
        if let Err(error) = std::fs::write(&path, text) {
            tracing::warn!("cannot write {}: {error}", path.display());
        }
    }

    /// An answer that makes no sense.
    pub(super) fn odd(&self, phase: Phase, reply: &Reply) -> Verdict {
        let what: String = format!("{reply:?}").chars().take(200).collect();
        Verdict::Infra {
            cause: format!(
                "unexpected answer during {phase}: {what}; the console is {}",
                self.console.display()
            ),
        }
    }

    /// Something asked of the guest, whose failure in the agent is an answer.
    pub(super) fn attempt<T>(
        &mut self,
        phase: Phase,
        ask: impl FnOnce(&mut dyn Guest, Duration) -> Result<T, GuestError>,
    ) -> Step<Result<T, String>> {
        self.look_at(phase)?;
        let time = self.setting.time + GRACE;
        let clock = self.setting.clock;
        match clock.time(phase, || ask(&mut *self.guest, time)) {
            Ok(answer) => Ok(Ok(answer)),
            Err(GuestError::Agent { message, .. }) => Ok(Err(message)),
            Err(error) => Err(self.fail(phase, &error)),
        }
    }

    /// A request of a phase; its time is added to the phase's.
    pub(super) fn ask(&mut self, phase: Phase, request: &Request) -> Step<Reply> {
        self.look_at(phase)?;
        self.request(phase, request)
    }

    /// The same where no person wants a prompt.
    fn request(&mut self, phase: Phase, request: &Request) -> Step<Reply> {
        // The agent has a deadline of its own where it gets one, and is asked to say so when that passes.
        let time = self.setting.time + GRACE;
        let clock = self.setting.clock;
        let outcome = clock.time(phase, || self.guest.request(request, time));
        outcome.map_err(|error| self.fail(phase, &error))
    }

    /// A person may want a prompt before this phase.
    fn look_at(&mut self, phase: Phase) -> Step<()> {
        let wanted = self.setting.prompt.and_then(|prompt| prompt.at);
        if wanted != Some(phase) || self.setting.prompted.get() {
            return Ok(());
        }
        self.prompt(&format!("before {phase}"));
        Err(Verdict::Skip {
            reason: format!("stopped before {phase}, as asked for"),
        })
    }

    /// Something was found in this guest: a person may want a prompt, and then the trial is over.
    pub(super) fn found(&mut self) -> Step<()> {
        match self.setting.prompt {
            Some(Prompt { at: None, .. }) => {
                // What the person does is not judged.
                self.mark_end();
                self.judged = true;
                self.prompt("the trial has failed");
                Err(Verdict::Skip {
                    reason: "a person has looked at the failure".to_owned(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Give the person a prompt, once in a trial.
    fn prompt(&mut self, why: &str) {
        let Some(Prompt { person, .. }) = self.setting.prompt else {
            return;
        };
        if self.setting.prompted.replace(true) || self.setting.cancel.is_cancelled() {
            return;
        }
        let clone = self.console.file_stem().unwrap_or_default();
        let why = format!("{}: {why}", clone.display());
        match self.guest.prompt(person, &why, PROMPT_TIME) {
            Ok(true) | Err(GuestError::Cancelled) => {}
            Ok(false) => person.no_prompt("the console of this guest cannot be talked to"),
            Err(error) => person.no_prompt(&chain(&error)),
        }
    }

    pub(super) fn done(&mut self, phase: Phase, request: &Request) -> Step<()> {
        match self.ask(phase, request)? {
            Reply::Done => Ok(()),
            other => Err(self.odd(phase, &other)),
        }
    }

    pub(super) fn timeout_ms(&self) -> u64 {
        u64::try_from(self.setting.time.as_millis()).unwrap_or(u64::MAX)
    }

    fn mark(&mut self, phase: Phase, what: &str) -> Step<()> {
        let text = mark(self.setting.case, what);
        self.done(phase, &Request::Mark { text })
    }

    /// A report goes before its taint, which says less.
    fn judge_taint(&mut self, phase: Phase) -> Step<()> {
        let mask = match self.ask(phase, &Request::Taint)? {
            Reply::Taint { mask } => mask,
            other => return Err(self.odd(phase, &other)),
        };
        let Some(taint) = kernel_log::judge_taint(mask) else {
            return Ok(());
        };
        let console = console::said(&self.console);
        let report = kernel_log::judge_but(&console, self.setting.asked);
        Err(report.unwrap_or(taint).into())
    }

    /// Start a workload and wait until it is ready.
    pub(super) fn build(
        &mut self,
        enclosure: Enclosure,
        surroundings: Surroundings,
        argv: Vec<String>,
    ) -> Step<()> {
        let start = Request::Start {
            enclosure,
            surroundings,
            argv,
        };
        match self.ask(Phase::Start, &start)? {
            Reply::Started { .. } => {}
            other => return Err(self.odd(Phase::Start, &other)),
        }
        let timeout_ms = self.timeout_ms();
        match self.ask(Phase::Ready, &Request::WaitReady { timeout_ms })? {
            Reply::Ready => Ok(()),
            Reply::TimedOut => Err(self.late(Phase::Ready)),
            Reply::Exited { status, report } => Err(Verdict::Fail {
                oracle: Oracle::SelfCheck,
                message: format!(
                    "the workload ended before it was ready: {}\n{}",
                    self_check::describe_status(status),
                    report.unwrap_or_default().trim_end()
                ),
            }),
            other => Err(self.odd(Phase::Ready, &other)),
        }
    }

    /// The agent has waited long enough.
    pub(super) fn late(&mut self, phase: Phase) -> Verdict {
        let error = GuestError::TimedOut {
            phase: phase.name(),
            after: self.setting.time,
            console: crate::qemu::ConsoleTail {
                path: self.console.clone(),
                lines: Vec::new(),
            },
        };
        self.fail(phase, &error)
    }

    /// Freeze the tree.
    pub(super) fn freeze(&mut self) -> Step<()> {
        self.done(Phase::Freeze, &Request::Freeze)
    }

    /// Probe the frozen tree.
    pub(super) fn probe(&mut self, phase: Phase) -> Step<State> {
        match self.ask(phase, &Request::Probe)? {
            Reply::State { state } => Ok(state),
            other => Err(self.odd(phase, &other)),
        }
    }

    /// Run the checkpoint tool.
    pub(super) fn checkpoint(&mut self, phase: Phase, name: &str) -> Step<ToolEnd> {
        self.checkpoint_with(phase, name, None)
    }

    /// Run the checkpoint tool; an allocation may be made to fail.
    pub(super) fn checkpoint_with(
        &mut self,
        phase: Phase,
        name: &str,
        fail_nth: Option<u32>,
    ) -> Step<ToolEnd> {
        let request = Request::Checkpoint {
            name: name.to_owned(),
            fail_nth,
            disturb: None,
        };
        self.tool(phase, &request)
    }

    /// Run the checkpoint tool, and have somebody disturb the tree.
    pub(super) fn checkpoint_disturbed(&mut self, name: &str, disturb: Disturb) -> Step<ToolEnd> {
        let request = Request::Checkpoint {
            name: name.to_owned(),
            fail_nth: None,
            disturb: Some(disturb),
        };
        self.tool(Phase::Disturb, &request)
    }

    /// Run the restart tool.
    pub(super) fn restart(
        &mut self,
        phase: Phase,
        name: &str,
        enclosure: Enclosure,
        surroundings: Surroundings,
    ) -> Step<ToolEnd> {
        self.restart_with(phase, name, enclosure, surroundings, None)
    }

    /// Run the restart tool; an allocation may be made to fail.
    pub(super) fn restart_with(
        &mut self,
        phase: Phase,
        name: &str,
        enclosure: Enclosure,
        surroundings: Surroundings,
        fault: Option<Fault>,
    ) -> Step<ToolEnd> {
        let request = Request::Restart {
            name: name.to_owned(),
            enclosure,
            surroundings,
            fault,
        };
        self.tool(phase, &request)
    }

    fn tool(&mut self, phase: Phase, request: &Request) -> Step<ToolEnd> {
        match self.ask(phase, request)? {
            Reply::Tool {
                code, stderr, log, ..
            } => Ok(ToolEnd { code, stderr, log }),
            other => Err(self.odd(phase, &other)),
        }
    }

    /// Let the tree run on.
    pub(super) fn thaw(&mut self, phase: Phase) -> Step<()> {
        self.done(phase, &Request::Thaw)
    }

    /// Tell the workload to check itself, and wait until it has ended.
    pub(super) fn resume(&mut self, phase: Phase) -> Step<Exit> {
        self.done(phase, &Request::Resume)?;
        self.wait_exit(phase)
    }

    /// Wait until the tree's root has ended.
    pub(super) fn wait_exit(&mut self, phase: Phase) -> Step<Exit> {
        let timeout_ms = self.timeout_ms();
        match self.ask(phase, &Request::WaitExit { timeout_ms })? {
            Reply::Exited { status, report } => Ok(Exit { status, report }),
            Reply::TimedOut => Err(self.late(phase)),
            other => Err(self.odd(phase, &other)),
        }
    }

    /// Kill the tree.
    pub(super) fn kill(&mut self, phase: Phase) -> Step<()> {
        self.done(phase, &Request::Kill)
    }

    /// Kill the tree; nothing of it may be left.
    pub(super) fn kill_all(&mut self, phase: Phase) -> Step<()> {
        self.kill(phase)?;
        let left = self.survivors(phase)?;
        if left.is_empty() {
            return Ok(());
        }
        Err(Verdict::Fail {
            oracle: Oracle::Kernel,
            message: format!(
                "tasks are left after the tree was killed: {}",
                left.join(", ")
            ),
        })
    }

    /// Tasks that are left, as `PID NAME`: a task that has ended is given a moment to be reaped.
    pub(super) fn survivors(&mut self, phase: Phase) -> Step<Vec<String>> {
        let deadline = Instant::now() + self.setting.reap;
        loop {
            let tasks = self.tasks(phase)?;
            let late = Instant::now() >= deadline;
            if tasks.is_empty() || late || self.setting.cancel.sleep(REAP_PAUSE).is_err() {
                return Ok(tasks);
            }
        }
    }

    fn tasks(&mut self, phase: Phase) -> Step<Vec<String>> {
        match self.ask(phase, &Request::Survivors)? {
            Reply::Tasks { tasks } => {
                let name = |(pid, name): &(i32, String)| format!("{pid} {name}");
                Ok(tasks.iter().map(name).collect())
            }
            other => Err(self.odd(phase, &other)),
        }
    }

    /// What is in use; what is on its way out is given time to be gone if there is more than this.
    fn count(&mut self, above: &[(String, u64)]) -> Step<Vec<(String, u64)>> {
        let request = Request::Count {
            above: above.to_vec(),
            timeout_ms: u64::try_from(self.settle().as_millis()).unwrap_or(u64::MAX),
        };
        match self.request(Phase::Leaks, &request)? {
            Reply::Counts { counts } => Ok(counts),
            other => Err(self.odd(Phase::Leaks, &other)),
        }
    }

    /// A tenth of the case's time, which knows of slow kernels.
    fn settle(&self) -> Duration {
        self.setting.time / 10
    }

    /// Which guest of the trial this is, by its console.
    pub(super) fn name(&self) -> String {
        let name = self.console.file_stem().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// After its last action: what nobody refers to now is looked at again in [`Machine::leaks`], some seconds later; false if there is
    /// nothing of that kind, or the kernel cannot tell.
    pub(super) fn note_unreferenced(&mut self) -> Step<bool> {
        match self.ask(Phase::Leaks, &Request::NoteUnreferenced)? {
            Reply::Noted { noted } => Ok(noted),
            other => Err(self.odd(Phase::Leaks, &other)),
        }
    }

    /// What the trial has left behind in the kernel, each as a message.
    pub(super) fn leaks(&mut self) -> Step<Vec<String>> {
        let reports = match self.ask(Phase::Leaks, &Request::Unreferenced)? {
            Reply::Unreferenced { reports } => reports.unwrap_or_default(),
            other => return Err(self.odd(Phase::Leaks, &other)),
        };
        let allowed = std::mem::take(&mut self.allowed);
        let after = self.count(&allowed)?;
        let found = [
            usage::judge(&allowed, &after),
            usage::judge_unreferenced(&reports),
        ];
        let mut found: Vec<_> = found.into_iter().filter_map(Result::err).collect();
        let names = |tasks: Vec<String>| format!("tasks: {}", tasks.join(", "));
        if !found.is_empty() {
            let tasks = self.tasks(Phase::Leaks)?;
            found.extend((!tasks.is_empty()).then(|| names(tasks)));
        }
        Ok(found)
    }

    /// Fetch an image.
    pub(super) fn pull_image(&mut self, name: &str) -> Step<Vec<u8>> {
        self.pull_image_in(Phase::Pull, name)
    }

    /// The same in another phase.
    pub(super) fn pull_image_in(&mut self, phase: Phase, name: &str) -> Step<Vec<u8>> {
        self.pull(phase, &format!("{IMAGE_DIR}/{name}"))
    }

    /// Fetch a file.
    pub(super) fn pull(&mut self, phase: Phase, path: &str) -> Step<Vec<u8>> {
        self.look_at(phase)?;
        let (clock, time) = (self.setting.clock, self.setting.time);
        let outcome = clock.time(phase, || self.guest.pull_file(path, time));
        outcome.map_err(|error| self.fail(phase, &error))
    }

    /// Fetch the scenario's folder.
    pub(super) fn pull_folder(&mut self) -> Step<Folder> {
        self.look_at(Phase::Pull)?;
        let (clock, time) = (self.setting.clock, self.setting.time);
        let outcome = clock.time(Phase::Pull, || self.guest.pull_folder(time));
        outcome.map_err(|error| self.fail(Phase::Pull, &error))
    }

    /// Write an image.
    pub(super) fn push_image(&mut self, phase: Phase, name: &str, image: &[u8]) -> Step<()> {
        self.look_at(phase)?;
        let path = format!("{IMAGE_DIR}/{name}");
        let (clock, time) = (self.setting.clock, self.setting.time);
        let outcome = clock.time(phase, || self.guest.push_file(&path, image, time));
        outcome.map_err(|error| self.fail(phase, &error))
    }

    /// Replace the scenario's folder.
    pub(super) fn push_folder(&mut self, folder: &Folder) -> Step<()> {
        self.look_at(Phase::Push)?;
        let (clock, time) = (self.setting.clock, self.setting.time);
        let outcome = clock.time(Phase::Push, || self.guest.push_folder(folder, time));
        outcome.map_err(|error| self.fail(Phase::Push, &error))
    }

    /// Have the kernel say that the trial is over, and look for taint; what it said is judged by [`Machine::end`].
    ///
    /// Two steps, so that what else there is to do covers the console's delay.
    pub(super) fn begin_end(&mut self) -> Step<()> {
        if !self.ending {
            self.mark(Phase::Judge, "ends")?;
            self.ending = true;
        }
        Ok(())
    }

    /// End the guest and judge its kernel: what its console has from the first line on, and its taint.
    pub(super) fn end(mut self) -> Step<()> {
        self.begin_end()?;
        self.judge_taint(Phase::Judge)?;
        self.judged = true;
        let Setting {
            case, asked, clock, ..
        } = self.setting;
        let fault = clock.time(Phase::Judge, || {
            let console = self.last_words(CONSOLE_TIME);
            let (first, last) = (mark(case, "begins"), mark(case, "ends"));
            let from = console.find(&first).map(|at| &console[at..]);
            match kernel_log::judge_but(&console, asked) {
                Some(fault) => Some(fault.into()),
                None if from.is_some_and(|log| log.contains(&last)) => None,
                // What is not there cannot be judged, and must not pass.
                None => Some(Verdict::Infra {
                    cause: format!(
                        "the console {} does not reach from {first:?} to {last:?}",
                        self.console.display()
                    ),
                }),
            }
        });
        if fault.is_some()
            && self
                .setting
                .prompt
                .is_some_and(|prompt| prompt.at.is_none())
        {
            self.prompt("the trial has failed");
        }
        fault.map_or(Ok(()), Err)
    }

    /// Mark the console of a trial that ends early, and wait for it.
    fn mark_end(&mut self) {
        let text = mark(self.setting.case, "ends");
        let marked = self.ending
            || self
                .guest
                .request(&Request::Mark { text }, LAST_TIME)
                .is_ok();
        if marked {
            self.ending = true;
            self.last_words(CONSOLE_TIME);
        }
    }

    /// The console up to the mark that ends the trial.
    fn last_words(&self, time: Duration) -> String {
        let last = mark(self.setting.case, "ends");
        console::read_up_to(&self.console, &last, time, self.setting.cancel)
    }
}

impl Drop for Machine<'_> {
    /// A trial that ends early is judged by its consoles, too: they have what the kernel said until now.
    fn drop(&mut self) {
        if self.judged {
            return;
        }
        self.mark_end();
        // What is wrong with it has ended the trial: this is the guest as it stood then.
        if self
            .setting
            .prompt
            .is_some_and(|prompt| prompt.at.is_none())
        {
            self.prompt("the trial has failed");
        }
    }
}
