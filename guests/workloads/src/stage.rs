//! What every workload stands on: ready, resume, checks, report, children.
//!
//! The root process creates `.ready` and waits for SIGUSR1, which the agent sends on resume; then it checks and writes `.report`, one line a check (`ok NAME` or `FAIL NAME: DETAIL`) and `done` as the last.
//! A child does the same towards its parent with `.at.NAME` (which the parent deletes) and `.report.NAME` (which the parent takes over), so that nothing but files and signals connects them, and nothing is left of either when the tree is frozen.
//!
//! SIGUSR1 is blocked in every process from the start; a workload that wants a handler to get it sleeps in a call that opens the mask, or unblocks it.

use std::ffi::c_int;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use crossthaw_protocol::{READY_FILE, REPORT_FILE};

use crate::Run;
use crate::args::Args;
use crate::error::{Error, Result};
use crate::sys::{self, Pid, Status};

mod beside;

/// CPU time after which a process that had nothing else to do is surely in its loop.
const SPINNING: Duration = Duration::from_millis(5);

/// One process's part in a workload.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The scenario's folder.
    dir: PathBuf,
    /// The children's names from the root down, joined with dots; empty in the root.
    name: String,
    /// Where the report goes.
    report: PathBuf,
    /// The report so far.
    lines: Vec<String>,
}

/// A child that [`Stage::spawn`] made.
#[derive(Debug)]
pub(crate) struct Child {
    /// Its pid.
    pub(crate) pid: Pid,
    name: String,
    report: PathBuf,
}

/// Where the panic hook writes.
static PANIC_REPORT: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Runs a workload as the root process, writes its report and returns its exit code.
pub(crate) fn perform(dir: &Path, run: Run, args: &Args) -> ExitCode {
    let mut stage = Stage {
        dir: dir.to_owned(),
        name: String::new(),
        report: dir.join(REPORT_FILE),
        lines: Vec::new(),
    };
    set_panic_report(&stage.report);
    std::panic::set_hook(Box::new(|panic| {
        let report = PANIC_REPORT.lock().ok().and_then(|path| path.clone());
        let line = format!(
            "FAIL panic: {}\ndone\n",
            panic.to_string().replace('\n', " ")
        );
        // Nobody is left to tell if this fails too; the exit code says enough.
        let _ = report.map(|report| fs::write(report, line));
        sys::exit(101)
    }));
    let outcome = sys::block(&[libc::SIGUSR1]).and_then(|()| run(&mut stage, args));
    ExitCode::from(stage.finish(outcome))
}

/// Tells the panic hook where to write.
fn set_panic_report(report: &Path) {
    // Poisoned only by a panic, which ends the process.
    let _ = PANIC_REPORT
        .lock()
        .map(|mut path| *path = Some(report.to_owned()));
}

impl Stage {
    /// The stage of another thread of this process: it forks and finds files like this one, and has no report.
    pub(crate) fn beside(&self) -> Self {
        Self {
            dir: self.dir.clone(),
            name: self.name.clone(),
            report: self.report.clone(),
            lines: Vec::new(),
        }
    }

    /// Writes this process's pid to a file of this name.
    pub(crate) fn note_pid(&self, name: &str) -> Result<()> {
        fs::write(self.path(name), sys::pid().to_string()).map_err(Error::from_io("write"))
    }

    /// Waits until this process's parent has ended and left it to `root`; then notes its pid.
    pub(crate) fn await_adoption(&self, root: Pid, name: &str) -> Result<()> {
        while sys::parent() != root {
            sys::pause();
        }
        self.note_pid(name)
    }

    /// The pid that a process has written to a file of this name.
    pub(crate) fn noted_pid(&self, name: &str) -> Result<Pid> {
        let text = fs::read_to_string(self.path(name)).map_err(Error::from_io("read"))?;
        text.parse()
            .map_err(|_| Error::Situation(format!("no pid: {text:?}")))
    }

    /// Makes this process, the root, the parent of those below it whose own parents end; returns its pid.
    ///
    /// PID 1 of a namespace is that anyway.
    #[expect(clippy::unused_self, reason = "reads as what the stage does")]
    pub(crate) fn adopt_orphans(&self) -> Result<Pid> {
        let root = sys::pid();
        if root != 1 {
            // SAFETY: plain numbers.
            sys::check("prctl", unsafe {
                libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
            })?;
        }
        Ok(root)
    }

    /// A path in the scenario's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Says that this process's part of the situation is built, and waits until it is resumed.
    ///
    /// Between the two the process is frozen, checkpointed, and here and elsewhere goes on.
    pub(crate) fn hold(&self) -> Result<()> {
        self.ready()?;
        self.wait_resume()
    }

    /// Like [`Stage::hold`], when a child that says that it is ready waits in the call that follows; it still does so afterwards.
    pub(crate) fn hold_waiting(&mut self, child: &Child) -> Result<()> {
        self.await_ready(child)?;
        child.await_sleeping()?;
        self.hold()?;
        child.check_asleep(self)
    }

    /// Says that this process's part of the situation is built.
    pub(crate) fn ready(&self) -> Result<()> {
        let path = if self.name.is_empty() {
            self.dir.join(READY_FILE)
        } else {
            self.dir.join(at_name(&self.name))
        };
        // Made in one call and never open: whoever sees it may freeze this process, or delete the file, at once.
        let path = sys::c_path(&path)?;
        let mode = libc::S_IFREG | 0o644;
        // SAFETY: the path lives.
        let returned = unsafe { libc::mknod(path.as_ptr(), mode, 0) };
        let there = std::io::Error::last_os_error().raw_os_error() == Some(libc::EEXIST);
        if returned == -1 && !there {
            return Err(Error::last("mknod"));
        }
        // One that is there was made by the task that this one is the restored copy of.
        Ok(())
    }

    /// Waits until this process is resumed.
    #[expect(clippy::unused_self, reason = "reads as what the stage does")]
    pub(crate) fn wait_resume(&self) -> Result<()> {
        sys::wait_signal(libc::SIGUSR1)
    }

    /// Reports one check.
    pub(crate) fn check(&mut self, name: &str, held: bool, detail: &str) {
        self.lines.push(check_line(name, held, detail));
    }

    /// Reports whether what is found is what was there before.
    pub(crate) fn equal<T: Debug + PartialEq>(&mut self, name: &str, found: &T, expected: &T) {
        let detail = if found == expected {
            String::new()
        } else {
            format!("{found:?}, expected {expected:?}")
        };
        self.check(name, found == expected, &detail);
    }

    /// Reports whether something worked.
    pub(crate) fn works<T>(&mut self, name: &str, outcome: Result<T>) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.check(name, true, "");
                Some(value)
            }
            Err(error) => {
                self.check(name, false, &error.line());
                None
            }
        }
    }

    /// Changes where this process's report goes, for one that changes its root; the parent must be told with [`Child::reports_to`].
    pub(crate) fn report_to(&mut self, path: PathBuf) {
        set_panic_report(&path);
        self.report = path;
    }

    /// Forks a child that runs `body` and exits with its report's verdict.
    pub(crate) fn spawn(
        &self,
        name: &str,
        body: impl FnOnce(&mut Stage) -> Result<()>,
    ) -> Result<Child> {
        self.spawn_with(name, sys::fork, body)
    }

    /// Like [`Stage::spawn`], with another way to fork.
    pub(crate) fn spawn_with(
        &self,
        name: &str,
        fork: impl FnOnce() -> Result<Option<Pid>>,
        body: impl FnOnce(&mut Stage) -> Result<()>,
    ) -> Result<Child> {
        let child = self.child_named(name);
        if let Some(pid) = fork()? {
            return Ok(Child { pid, ..child });
        }
        let mut stage = self.of_child(&child);
        set_panic_report(&stage.report);
        let outcome = body(&mut stage);
        sys::exit(stage.finish(outcome).into())
    }

    /// Like [`Stage::spawn`], and waits until the child says that it is ready.
    pub(crate) fn spawn_ready(
        &self,
        name: &str,
        body: impl FnOnce(&mut Stage) -> Result<()>,
    ) -> Result<Child> {
        let child = self.spawn(name, body)?;
        self.await_ready(&child)?;
        Ok(child)
    }

    /// Forks a child that shares its memory with this process, and what `flags` of clone(2) say beside.
    ///
    /// It runs on the thread-local memory of a thread of this process, which does nothing but wait for its end.
    /// A panic in it is told by its exit code only.
    pub(crate) fn spawn_beside(
        &self,
        name: &str,
        flags: c_int,
        body: impl FnOnce(&mut Stage) -> Result<()> + Send + 'static,
    ) -> Result<Child> {
        let child = self.child_named(name);
        let mut stage = self.of_child(&child);
        let pid = beside::start(flags, move || {
            let outcome = body(&mut stage);
            stage.finish(outcome).into()
        })?;
        Ok(Child { pid, ..child })
    }

    /// Waits until a child says that it is ready.
    pub(crate) fn await_ready(&self, child: &Child) -> Result<()> {
        self.await_named(&child.name, || child.alive())
    }

    /// Waits until a child of a child says that it is ready; `name` is its name below this process.
    pub(crate) fn await_descendant(&self, name: &str) -> Result<()> {
        self.await_named(&self.child_named(name).name, || Ok(()))
    }

    /// A process that this one did not fork, but is the parent of now; `name` is its name below this process.
    pub(crate) fn descendant(&self, name: &str, pid: Pid) -> Child {
        Child {
            pid,
            ..self.child_named(name)
        }
    }

    /// A child that has no pid yet.
    fn child_named(&self, name: &str) -> Child {
        let name = if self.name.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.name)
        };
        let report = self.dir.join(format!("{REPORT_FILE}.{name}"));
        Child {
            pid: 0,
            name,
            report,
        }
    }

    /// The stage of a child.
    fn of_child(&self, child: &Child) -> Self {
        Self {
            dir: self.dir.clone(),
            name: child.name.clone(),
            report: child.report.clone(),
            lines: Vec::new(),
        }
    }

    /// Waits for a ready file and deletes it; `alive` fails when there is nothing to wait for any more.
    fn await_named(&self, name: &str, alive: impl Fn() -> Result<()>) -> Result<()> {
        let path = self.dir.join(at_name(name));
        while !path.exists() {
            alive()?;
            sys::pause();
        }
        fs::remove_file(path).map_err(Error::from_io("delete a ready file"))
    }

    /// Waits for a child to end, and takes its report over.
    pub(crate) fn join(&mut self, child: &Child) -> Result<()> {
        let status = sys::wait(child.pid)?;
        self.take_report(&child.name, &child.report, status);
        Ok(())
    }

    /// Takes the lines of the root's report over that another process wrote in its place.
    pub(crate) fn absorb(&mut self, child: &Child) -> Result<()> {
        let text = fs::read_to_string(&self.report).map_err(Error::from_io("read the report"))?;
        self.lines.extend(adopt(&child.name, &text));
        Ok(())
    }

    /// Takes the report of a process that ended over.
    fn take_report(&mut self, name: &str, report: &Path, status: Status) {
        let text = fs::read_to_string(report).unwrap_or_default();
        self.lines.extend(adopt(name, &text));
        self.equal(&format!("{name}/exit"), &status, &Status::Exited(0));
    }

    /// Writes the report; returns the exit code.
    fn finish(mut self, outcome: Result<()>) -> u8 {
        if let Err(error) = outcome {
            self.lines
                .push(check_line("situation", false, &error.line()));
        }
        let failed =
            self.lines.is_empty() || self.lines.iter().any(|line| line.starts_with("FAIL"));
        self.lines.push("done\n".to_owned());
        let written = fs::write(&self.report, self.lines.join("\n"));
        u8::from(failed || written.is_err())
    }
}

impl Child {
    /// Resumes it.
    pub(crate) fn resume(&self) -> Result<()> {
        sys::kill(self.pid, libc::SIGUSR1)
    }

    /// Says where it writes its report, if not where it was born to.
    pub(crate) fn reports_to(&mut self, path: PathBuf) {
        self.report = path;
    }

    /// An error if it has ended, which it should not have.
    pub(crate) fn alive(&self) -> Result<()> {
        let Some(status) = sys::try_wait(self.pid)? else {
            return Ok(());
        };
        let report = fs::read_to_string(&self.report).unwrap_or_default();
        let report = report.trim().replace('\n', "; ");
        Err(Error::Situation(format!(
            "child {} ended early: {status:?}: {report}",
            self.name
        )))
    }

    /// Waits until it sleeps in a system call, which it is about to make.
    pub(crate) fn await_sleeping(&self) -> Result<()> {
        while sys::state(self.pid)? != 'S' {
            self.alive()?;
            sys::pause();
        }
        Ok(())
    }

    /// Checks, after the freeze, that it still sleeps: it has not been told to end.
    ///
    /// Returns when it is back in its call, or has ended.
    /// A thawed task may return to user mode to make the call anew, and a signal that comes just then is handled before it and interrupts nothing.
    pub(crate) fn check_asleep(&self, stage: &mut Stage) -> Result<()> {
        let ended = loop {
            let ended = sys::try_wait(self.pid)?;
            if ended.is_some() || sys::state(self.pid)? == 'S' {
                break ended;
            }
            sys::pause();
        };
        stage.equal(&format!("{} still waits", self.name), &ended, &None);
        Ok(())
    }

    /// Waits until it does not block a signal any more.
    pub(crate) fn await_unblocked(&self, signal: c_int) -> Result<()> {
        loop {
            let mask = sys::status_field(self.pid, "SigBlk")?;
            let mask = u64::from_str_radix(mask.trim(), 16).unwrap_or(u64::MAX);
            if mask & (1 << (signal - 1)) == 0 {
                return Ok(());
            }
            self.alive()?;
            sys::pause();
        }
    }

    /// Waits until it is in the loop that it is about to enter.
    pub(crate) fn await_spinning(&self) -> Result<()> {
        let start = sys::cpu_time(self.pid)?;
        while sys::cpu_time(self.pid)?.saturating_sub(start) < SPINNING {
            self.alive()?;
            sys::pause();
        }
        Ok(())
    }
}

/// Name of the file by which a child says that it is ready.
fn at_name(name: &str) -> String {
    format!(".at.{name}")
}

/// One line of a report.
fn check_line(name: &str, held: bool, detail: &str) -> String {
    if held {
        format!("ok {name}")
    } else {
        format!("FAIL {name}: {}", detail.replace('\n', " "))
    }
}

/// The lines of a child's report under its name; a report that is not complete fails.
fn adopt(name: &str, report: &str) -> Vec<String> {
    let prefix = format!("{name}/");
    let (checks, complete) = match report.strip_suffix("done\n") {
        Some(checks) => (checks, true),
        None => (report, false),
    };
    let mut lines: Vec<String> = checks
        .lines()
        .map(|line| match line.split_once(' ') {
            // A grandchild's checks already carry the whole path.
            Some((verdict, check)) if check.starts_with(&format!("{name}.")) => {
                format!("{verdict} {check}")
            }
            Some((verdict, check)) => format!("{verdict} {prefix}{check}"),
            None => format!("FAIL {prefix}report: {line:?}"),
        })
        .collect();
    if !complete {
        lines.push(format!("FAIL {prefix}report: not complete"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_single() {
        assert_eq!(check_line("a", true, "b"), "ok a");
        assert_eq!(check_line("a", false, "b\nc"), "FAIL a: b c");
    }

    #[test]
    fn reports_are_adopted_under_the_childs_name() {
        assert_eq!(
            adopt("x", "ok a\nFAIL b: c\ndone\n"),
            ["ok x/a", "FAIL x/b: c"]
        );
        assert_eq!(adopt("x", "ok x.y/a\ndone\n"), ["ok x.y/a"]);
    }

    #[test]
    fn cut_reports_fail() {
        for report in ["", "ok a\n", "ok a\ndone"] {
            assert!(
                adopt("x", report).contains(&"FAIL x/report: not complete".to_owned()),
                "{report:?}"
            );
        }
    }

    fn stage(dir: &Path) -> Stage {
        Stage {
            dir: dir.to_owned(),
            name: String::new(),
            report: dir.join(REPORT_FILE),
            lines: Vec::new(),
        }
    }

    #[test]
    fn an_exit_code_for_each_outcome() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            stage(dir.path()).finish(Ok(())),
            1,
            "no check at all is a failure"
        );
        let mut good = stage(dir.path());
        good.equal("same", &1, &1);
        assert_eq!(good.finish(Ok(())), 0);
        assert_eq!(
            fs::read_to_string(dir.path().join(REPORT_FILE)).unwrap(),
            "ok same\ndone\n"
        );
        let mut bad = stage(dir.path());
        bad.equal("same", &1, &2);
        assert_eq!(bad.finish(Ok(())), 1);
        let mut broken = stage(dir.path());
        broken.check("fine", true, "");
        assert_eq!(broken.finish(Err(Error::Situation("no".to_owned()))), 1);
        assert_eq!(
            fs::read_to_string(dir.path().join(REPORT_FILE)).unwrap(),
            "ok fine\nFAIL situation: no\ndone\n"
        );
    }

    #[test]
    fn a_childs_checks_and_death_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let mut stage = stage(dir.path());
        let child = stage.spawn_ready("kid", |kid| {
            kid.ready()?;
            kid.check("here", true, "");
            Ok(())
        });
        stage.join(&child.unwrap()).unwrap();
        assert_eq!(stage.lines, ["ok kid/here", "ok kid/exit"]);
        let child = stage
            .spawn("dead", |_| sys::kill(sys::pid(), libc::SIGKILL))
            .unwrap();
        stage.join(&child).unwrap();
        assert_eq!(
            stage.lines[2..],
            [
                "FAIL dead/report: not complete",
                "FAIL dead/exit: Killed(9), expected Exited(0)"
            ]
        );
        assert!(stage.spawn_ready("early", |_| Ok(())).is_err());
    }
}
