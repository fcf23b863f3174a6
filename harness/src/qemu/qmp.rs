//! The monitor: one JSON object a line (QEMU's `docs/interop/qmp-spec`).

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{ConsoleTail, GuestError};
use crate::process::{Process, Wake, shell_line, wait};

/// Pause between two looks at a migration.
const POLL: Duration = Duration::from_millis(2);

/// What QEMU says.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Message {
    Return {
        #[serde(rename = "return")]
        value: Value,
    },
    Error {
        error: Trouble,
    },
    Event {
        event: String,
    },
    Greeting {
        #[serde(rename = "QMP")]
        _qmp: Value,
    },
}

#[derive(Debug, Deserialize)]
struct Trouble {
    desc: String,
}

/// Whom a command goes to, and how long it may take.
#[derive(Debug)]
pub struct Call<'a> {
    /// The QEMU.
    pub process: &'a mut Process,
    /// Its guest's console, for messages.
    pub console: &'a Path,
    /// When to give up.
    pub deadline: Instant,
}

/// The monitor of one QEMU.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Qmp {
    /// Our end of the socket pair whose other end QEMU has. Says nothing yet: see [`Qmp::negotiate`].
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            received: Vec::new(),
        })
    }

    /// Leave the mode in which only capabilities are negotiated.
    pub fn negotiate(&mut self, call: &mut Call<'_>) -> Result<(), GuestError> {
        self.execute(call, "qmp_capabilities", &json!({})).map(drop)
    }

    /// Let migration leave out RAM that is shared with a file. Both sides must say so.
    pub fn ignore_shared(&mut self, call: &mut Call<'_>) -> Result<(), GuestError> {
        let arguments =
            json!({ "capabilities": [{ "capability": "x-ignore-shared", "state": true }] });
        self.execute(call, "migrate-set-capabilities", &arguments)
            .map(drop)
    }

    /// Write the device state to a file and wait until that is done.
    ///
    /// QEMU stops the guest before it writes, for good, so RAM file and device state are of one moment.
    /// The state says that the guest ran, and so it runs on where it is loaded; that of a guest that was stopped would not.
    pub fn save(&mut self, call: &mut Call<'_>, state: &Path) -> Result<(), GuestError> {
        // `file:` came with QEMU 8.2; a shell's redirection works with all.
        let uri = format!("exec:cat > {}", shell_line(&[state.display().to_string()]));
        self.execute(call, "migrate", &json!({ "uri": uri }))?;
        loop {
            let answer = self.execute(call, "query-migrate", &json!({}))?;
            match answer["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => {
                    let said = answer["error-desc"]
                        .as_str()
                        .unwrap_or("the migration failed");
                    return Err(not_saved(state, said, &call.process.errors()));
                }
                _ => call
                    .process
                    .cancel()
                    .sleep(POLL.min(call.deadline.saturating_duration_since(Instant::now())))?,
            }
        }
    }

    /// Read the device state from a descriptor that QEMU inherited, and run.
    ///
    /// Returns before that is done: a guest that answers was loaded, and QEMU ends when it cannot load one.
    pub fn load(&mut self, call: &mut Call<'_>, fd: RawFd) -> Result<(), GuestError> {
        let uri = format!("fd:{fd}");
        self.execute(call, "migrate-incoming", &json!({ "uri": uri }))
            .map(drop)
    }

    /// The registers of every virtual processor, as text for a person.
    pub fn registers(&mut self, call: &mut Call<'_>) -> Result<String, GuestError> {
        let arguments = json!({ "command-line": "info registers -a" });
        let answer = self.execute(call, "human-monitor-command", &arguments)?;
        Ok(answer.as_str().unwrap_or_default().replace('\r', ""))
    }

    /// Run one command; events that come before its answer are skipped.
    fn execute(
        &mut self,
        call: &mut Call<'_>,
        command: &'static str,
        arguments: &Value,
    ) -> Result<Value, GuestError> {
        let start = Instant::now();
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        // A command is far smaller than a socket's buffer.
        if let Err(source) = self.stream.write_all(line.as_bytes()) {
            return Err(lost(call, command, source));
        }
        loop {
            while let Some(message) = self.line(command, call.console)? {
                match message {
                    Message::Return { value } => return Ok(value),
                    Message::Error { error } => {
                        return Err(GuestError::Monitor {
                            command,
                            message: error.desc,
                        });
                    }
                    Message::Event { event } => tracing::trace!(event, "QEMU"),
                    Message::Greeting { .. } => {}
                }
            }
            // Looked at before the read: what it said before its end is still read.
            let over = call.process.try_wait().is_some();
            match self.fill() {
                Ok(()) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !over => {}
                Err(error) => return Err(lost(call, command, error)),
            }
            let fds = [
                (self.stream.as_fd(), PollFlags::IN),
                (call.process.pidfd(), PollFlags::IN),
            ];
            match wait(&fds, call.process.cancel(), call.deadline) {
                Wake::Ready => {}
                Wake::Cancelled => return Err(GuestError::Cancelled),
                Wake::Late => {
                    return Err(GuestError::TimedOut {
                        phase: command,
                        after: start.elapsed(),
                        console: ConsoleTail::read(call.console),
                    });
                }
            }
        }
    }

    /// Read what there is.
    fn fill(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.received.extend_from_slice(&buffer[..n]);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next whole line, if there is one.
    fn line(&mut self, phase: &'static str, console: &Path) -> Result<Option<Message>, GuestError> {
        let Some(end) = self.received.iter().position(|&byte| byte == b'\n') else {
            return Ok(None);
        };
        let line: Vec<u8> = self.received.drain(..=end).collect();
        match serde_json::from_slice(&line) {
            Ok(message) => Ok(Some(message)),
            Err(error) => {
                let what = format!("{error} in {}", String::from_utf8_lossy(&line).trim_end());
                Err(GuestError::Protocol {
                    phase,
                    what,
                    console: ConsoleTail::read(console),
                })
            }
        }
    }
}

/// The error for a connection that failed: that QEMU ended, if it did.
fn lost(call: &mut Call<'_>, phase: &'static str, source: io::Error) -> GuestError {
    ended(call.process, call.console, phase).unwrap_or_else(|| GuestError::Port {
        phase,
        source,
        console: ConsoleTail::read(call.console),
    })
}

/// The error for a state that could not be written; the shell that writes it says so if the disk is full.
fn not_saved(state: &Path, said: &str, errors: &str) -> GuestError {
    if errors.contains("No space left on device") || errors.contains("Disk quota exceeded") {
        return GuestError::DiskFull {
            path: state.to_owned(),
        };
    }
    GuestError::Monitor {
        command: "migrate",
        message: format!("{said}{errors}"),
    }
}

/// Time that a process is given to end after its connection did.
const LAST_BREATH: Duration = Duration::from_millis(500);

/// The error for a process whose connection closed, if that is because it ended.
pub(crate) fn ended(
    process: &mut Process,
    console: &Path,
    phase: &'static str,
) -> Option<GuestError> {
    /// Signal of a write to a mapping that the disk has no room for (mmap(2)).
    const SIGBUS: i32 = 7;
    if process.cancel().is_cancelled() {
        return Some(GuestError::Cancelled);
    }
    let status = process.wait_end(LAST_BREATH)?;
    if std::os::unix::process::ExitStatusExt::signal(&status) == Some(SIGBUS) {
        return Some(GuestError::DiskFull {
            path: console.to_owned(),
        });
    }
    let (command, errors) = (process.command().to_owned(), process.errors());
    Some(GuestError::Died {
        phase,
        status,
        command,
        errors,
        console: ConsoleTail::read(console),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;
    use crate::process::Cancel;

    /// A monitor that answers each command with the next line.
    fn monitor(answers: &'static [&'static str]) -> (Qmp, Process) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(theirs.try_clone().unwrap()).lines();
            let mut theirs = theirs;
            for answer in answers {
                lines.next().unwrap().unwrap();
                writeln!(theirs, "{answer}").unwrap();
            }
            // One command stays unanswered, the next finds the connection closed.
            lines.by_ref().take(2).for_each(drop);
        });
        let argv = ["sleep", "100"].map(str::to_owned);
        (
            Qmp::new(ours).unwrap(),
            Process::spawn(&argv, Vec::new(), &Cancel::new().unwrap()).unwrap(),
        )
    }

    /// A call that may take this long.
    fn call(process: &mut Process, millis: u64) -> Call<'_> {
        Call {
            process,
            console: Path::new("/no/console"),
            deadline: Instant::now() + Duration::from_millis(millis),
        }
    }

    #[test]
    fn greeting_and_events_are_skipped() {
        let (mut qmp, mut process) = monitor(&[
            "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\n{\"return\": {}}",
            "{\"event\": \"RESUME\", \"timestamp\": {}}\n{\"return\": {}}",
        ]);
        let mut call = call(&mut process, 10_000);
        qmp.negotiate(&mut call).unwrap();
        qmp.load(&mut call, 7).unwrap();
    }

    #[test]
    fn a_refusal_names_the_command() {
        let (mut qmp, mut process) = monitor(&[
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such capability\"}}",
        ]);
        let error = qmp
            .ignore_shared(&mut call(&mut process, 10_000))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "QEMU refused migrate-set-capabilities: no such capability"
        );
    }

    #[test]
    fn a_failed_migration_is_an_error() {
        let (mut qmp, mut process) = monitor(&[
            "{\"return\": {}}",
            "{\"return\": {\"status\": \"active\"}}",
            "{\"return\": {\"status\": \"failed\", \"error-desc\": \"broken pipe\"}}",
        ]);
        let error = qmp
            .save(&mut call(&mut process, 10_000), Path::new("/x"))
            .unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused migrate: broken pipe");
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let errors = "\n  cat: write error: No space left on device";
        let error = not_saved(Path::new("/t/state"), "broken pipe", errors);
        assert_eq!(error.to_string(), "the disk that holds /t/state is full");
    }

    #[test]
    fn silence_ends_at_the_deadline_and_death_is_seen() {
        let (mut qmp, mut process) = monitor(&[]);
        assert!(matches!(
            qmp.load(&mut call(&mut process, 30), 7),
            Err(GuestError::TimedOut {
                phase: "migrate-incoming",
                ..
            })
        ));
        process.kill();
        assert!(matches!(
            qmp.load(&mut call(&mut process, 10_000), 7),
            Err(GuestError::Died { .. })
        ));
    }

    #[test]
    fn death_is_seen_though_another_holds_the_connection() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut qmp = Qmp::new(ours).unwrap();
        let argv = ["true"].map(str::to_owned);
        let mut process = Process::spawn(&argv, Vec::new(), &Cancel::new().unwrap()).unwrap();
        let start = Instant::now();
        assert!(matches!(
            qmp.negotiate(&mut call(&mut process, 10_000)),
            Err(GuestError::Died { .. })
        ));
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
