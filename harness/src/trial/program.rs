//! The parts of a trial in which a program of somebody else takes the place of a workload.

use crossthaw_protocol::{Reply, Request, Surroundings};

use super::life::Life;
use super::machine::{Exit, Machine, Step};
use super::phase::Phase;
use crate::oracle::exec_check::{self, Seen};
use crate::oracle::self_check::describe_status;
use crate::oracle::{Oracle, Verdict};
use crate::programs::{Staged, surroundings};
use crate::scenario::{Resume, Subject};

/// What is kept of a program's output, and what a message shows of it.
const LINES: usize = 10;

impl Life<'_> {
    /// The program of the case, if it is one.
    ///
    /// Whoever runs trials stages programs first; a case without is a mistake of the harness.
    fn staged(&self) -> Step<Option<&Staged>> {
        match (&self.case.subject, self.env.staged) {
            (Subject::Workload(_), _) => Ok(None),
            (Subject::Exec(_), Some(staged)) => Ok(Some(staged)),
            (Subject::Exec(_), None) => Err(Verdict::Infra {
                cause: "the program was not staged".to_owned(),
            }),
        }
    }

    /// What the tree has of its own beside its enclosure.
    pub(super) fn surroundings(&self) -> Surroundings {
        let own = match &self.case.subject {
            Subject::Workload(_) => Surroundings {
                caller: self.case.caller,
                ..Surroundings::default()
            },
            Subject::Exec(exec) => surroundings(exec),
        };
        Surroundings {
            pids: self.case.pids,
            ..own
        }
    }

    /// Start what the case is about, and wait until it is ready.
    pub(super) fn build(&mut self, machine: &mut Machine<'_>) -> Step<()> {
        let enclosure = self.enclosure();
        if let Subject::Workload(name) = &self.case.subject {
            let mut argv = vec!["workloads".to_owned(), name.clone()];
            let pairs = self.case.args.iter();
            argv.extend(pairs.map(|(key, value)| format!("{key}={value}")));
            return machine.build(enclosure, self.surroundings(), argv);
        }
        let Some(staged) = self.staged()? else {
            unreachable!("a case is about a workload or a program")
        };
        machine.push_folder(&staged.folder)?;
        let start = Request::StartProgram {
            enclosure,
            program: staged.program.clone(),
        };
        match machine.try_ask(Phase::Start, &start)? {
            Ok(Reply::Started { .. }) => {}
            Ok(other) => return Err(machine.odd(Phase::Start, &other)),
            // It is the scenario that names it.
            Err(message) => {
                return Err(Verdict::Fail {
                    oracle: Oracle::SelfCheck,
                    message: format!("the program cannot be started: {message}"),
                });
            }
        }
        let ready = Request::WaitProgram {
            ready: staged.ready.clone(),
            timeout_ms: machine.timeout_ms(),
        };
        match machine.ask(Phase::Ready, &ready)? {
            Reply::Ready => Ok(()),
            Reply::TimedOut => {
                self.keep_output(machine, Phase::Ready, "a")?;
                Err(machine.late(Phase::Ready))
            }
            Reply::Exited { status, .. } => {
                let errors = self.keep_output(machine, Phase::Ready, "a")?;
                Err(Verdict::Fail {
                    oracle: Oracle::SelfCheck,
                    message: ended_early(status, staged_pidfile(self.env.staged), &errors),
                })
            }
            other => Err(machine.odd(Phase::Ready, &other)),
        }
    }

    /// Let the tree go on to its end, and judge that; `which` is "a" for the original.
    pub(super) fn finish(
        &mut self,
        machine: &mut Machine<'_>,
        phase: Phase,
        which: &str,
    ) -> Step<()> {
        let Some(staged) = self.staged()? else {
            let exit = machine.resume(phase)?;
            return self.evidence.judge_exit(which, &exit);
        };
        let expect = staged.expect.clone();
        let Resume { signal, touch } = staged.resume.clone();
        if signal.is_some() || touch.is_some() {
            machine.done(phase, &Request::ResumeProgram { signal, touch })?;
        }
        let exit = machine.wait_exit(phase);
        // Kept where it never ended, too.
        let errors = self.keep_output(machine, phase, which);
        let Exit { status, .. } = exit?;
        let errors = errors?;
        let file = match &expect.file {
            Some(file) => Some(machine.try_pull(phase, &file.path)?),
            None => None,
        };
        let seen = Seen {
            status,
            file: file
                .as_ref()
                .map(|file| file.as_deref().map_err(String::as_str)),
            errors: &errors,
        };
        if let Err(message) = exec_check::judge(&expect, &seen) {
            self.evidence.fail_end(which, &message);
        }
        Ok(())
    }

    /// Keep what the program wrote; returns its standard error.
    fn keep_output(
        &mut self,
        machine: &mut Machine<'_>,
        phase: Phase,
        which: &str,
    ) -> Step<Vec<u8>> {
        let Some(staged) = self.staged()? else {
            return Ok(Vec::new());
        };
        let mut last = Vec::new();
        for (path, name) in staged.output.clone().iter().zip(["stdout", "stderr"]) {
            // The program may have removed it.
            last = machine.try_pull(phase, path)?.unwrap_or_default();
            self.evidence.keep(&format!("{name}-{which}.txt"), &last)?;
        }
        Ok(last)
    }
}

fn staged_pidfile(staged: Option<&Staged>) -> bool {
    staged.is_some_and(|staged| staged.ready.pidfile.is_some())
}

/// The program ended before it was ready.
fn ended_early(status: i32, pidfile: bool, errors: &[u8]) -> String {
    let errors = String::from_utf8_lossy(errors);
    let mut lines: Vec<_> = errors.lines().collect();
    lines.drain(..lines.len().saturating_sub(LINES));
    let hint = if status == 0 && !pidfile {
        "; a program that daemonises is found by its pid file: ready: {pidfile: PATH}"
    } else {
        ""
    };
    format!(
        "the program ended before it was ready: {}{hint}\n{}",
        describe_status(status),
        lines.join("\n")
    )
}

impl Machine<'_> {
    /// A request whose failure in the agent is an answer.
    fn try_ask(&mut self, phase: Phase, request: &Request) -> Step<Result<Reply, String>> {
        self.attempt(phase, |guest, time| guest.request(request, time))
    }

    /// Fetch a file that may not be there.
    fn try_pull(&mut self, phase: Phase, path: &str) -> Step<Result<Vec<u8>, String>> {
        self.attempt(phase, |guest, time| guest.pull_file(path, time))
    }
}
