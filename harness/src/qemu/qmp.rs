//! The monitor: one JSON object a line (QEMU's `docs/interop/qmp-spec`).

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{ConsoleTail, GuestError};
use crate::process::{Process, Wake, wait};

/// Pause between two looks at a migration.
const POLL: Duration = Duration::from_millis(5);

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

/// The monitor of one QEMU.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Qmp {
    /// Our end of the socket pair whose other end QEMU has. Says nothing yet: see [`Qmp::negotiate`].
    pub fn new(stream: UnixStream) -> std::io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            received: Vec::new(),
        })
    }

    /// Leave the mode in which only capabilities are negotiated.
    pub fn negotiate(
        &mut self,
        process: &mut Process,
        console: &Path,
        deadline: Instant,
    ) -> Result<(), GuestError> {
        self.execute(process, console, deadline, "qmp_capabilities", json!({}))
            .map(drop)
    }

    /// Let migration leave out RAM that is shared with a file. Both sides must say so.
    pub fn ignore_shared(
        &mut self,
        process: &mut Process,
        console: &Path,
        deadline: Instant,
    ) -> Result<(), GuestError> {
        let capabilities =
            json!({ "capabilities": [{ "capability": "x-ignore-shared", "state": true }] });
        self.execute(
            process,
            console,
            deadline,
            "migrate-set-capabilities",
            capabilities,
        )
        .map(drop)
    }

    /// Stop the guest, so that RAM file and device state are of one moment.
    pub fn stop(
        &mut self,
        process: &mut Process,
        console: &Path,
        deadline: Instant,
    ) -> Result<(), GuestError> {
        self.execute(process, console, deadline, "stop", json!({}))
            .map(drop)
    }

    /// Let the guest run.
    pub fn cont(
        &mut self,
        process: &mut Process,
        console: &Path,
        deadline: Instant,
    ) -> Result<(), GuestError> {
        self.execute(process, console, deadline, "cont", json!({}))
            .map(drop)
    }

    /// Write the device state to a file and wait until that is done.
    pub fn save(
        &mut self,
        process: &mut Process,
        console: &Path,
        deadline: Instant,
        state: &Path,
    ) -> Result<(), GuestError> {
        // `file:` came with QEMU 8.2; a shell's redirection works with all.
        let uri = format!(
            "exec:cat > '{}'",
            state.display().to_string().replace('\'', r"'\''")
        );
        self.execute(process, console, deadline, "migrate", json!({ "uri": uri }))?;
        self.migrated(process, console, deadline, "migrate")
    }

    /// Read the device state from a descriptor that QEMU inherited and wait until that is done.
    pub fn load(
        &mut self,
        process: &mut Process,
        console: &Path,
        deadline: Instant,
        fd: i32,
    ) -> Result<(), GuestError> {
        self.execute(
            process,
            console,
            deadline,
            "migrate-incoming",
            json!({ "uri": format!("fd:{fd}") }),
        )?;
        self.migrated(process, console, deadline, "migrate-incoming")
    }

    fn migrated(
        &mut self,
        process: &mut Process,
        console: &Path,
        deadline: Instant,
        command: &'static str,
    ) -> Result<(), GuestError> {
        loop {
            let answer = self.execute(process, console, deadline, "query-migrate", json!({}))?;
            match answer["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => {
                    let message = answer["error-desc"]
                        .as_str()
                        .unwrap_or("the migration failed")
                        .to_owned();
                    return Err(GuestError::Monitor {
                        command,
                        message: message + &process.errors(),
                    });
                }
                _ => process
                    .cancel()
                    .clone()
                    .sleep(POLL.min(deadline.saturating_duration_since(Instant::now())))?,
            }
        }
    }

    /// Run one command; events that come before its answer are skipped.
    fn execute(
        &mut self,
        process: &mut Process,
        console: &Path,
        deadline: Instant,
        command: &'static str,
        arguments: Value,
    ) -> Result<Value, GuestError> {
        let start = Instant::now();
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        // A command is far smaller than a socket's buffer.
        if let Err(source) = self.stream.write_all(line.as_bytes()) {
            return Err(
                ended(process, console, command).unwrap_or_else(|| GuestError::Port {
                    phase: command,
                    source,
                    console: ConsoleTail::read(console),
                }),
            );
        }
        loop {
            while let Some(message) = self.line(command, console)? {
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
            match wait(
                &[(self.stream.as_fd(), PollFlags::IN)],
                process.cancel(),
                deadline,
            ) {
                Wake::Cancelled => return Err(GuestError::Cancelled),
                Wake::Late => {
                    return Err(GuestError::TimedOut {
                        phase: command,
                        after: start.elapsed(),
                        console: ConsoleTail::read(console),
                    });
                }
                Wake::Ready => self.fill(process, console, command)?,
            }
        }
    }

    fn fill(
        &mut self,
        process: &mut Process,
        console: &Path,
        phase: &'static str,
    ) -> Result<(), GuestError> {
        let mut buffer = [0; 4096];
        let source = match self.stream.read(&mut buffer) {
            Ok(0) => std::io::Error::from(std::io::ErrorKind::UnexpectedEof),
            Ok(n) => {
                self.received.extend_from_slice(&buffer[..n]);
                return Ok(());
            }
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted
                ) =>
            {
                return Ok(());
            }
            Err(error) => error,
        };
        Err(
            ended(process, console, phase).unwrap_or_else(|| GuestError::Port {
                phase,
                source,
                console: ConsoleTail::read(console),
            }),
        )
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

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    const NONE: &str = "/no/console";

    #[test]
    fn greeting_and_events_are_skipped() {
        let (mut qmp, mut process) = monitor(&[
            "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\n{\"return\": {}}",
            "{\"event\": \"STOP\", \"timestamp\": {}}\n{\"return\": {}}",
        ]);
        qmp.negotiate(&mut process, Path::new(NONE), soon())
            .unwrap();
        qmp.stop(&mut process, Path::new(NONE), soon()).unwrap();
    }

    #[test]
    fn a_refusal_names_the_command() {
        let (mut qmp, mut process) = monitor(&[
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such capability\"}}",
        ]);
        let error = qmp
            .ignore_shared(&mut process, Path::new(NONE), soon())
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
            "{\"return\": {\"status\": \"failed\", \"error-desc\": \"disk\"}}",
        ]);
        let error = qmp
            .save(&mut process, Path::new(NONE), soon(), Path::new("/x"))
            .unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused migrate: disk");
    }

    #[test]
    fn silence_ends_at_the_deadline_and_death_is_seen() {
        let (mut qmp, mut process) = monitor(&[]);
        let deadline = Instant::now() + Duration::from_millis(30);
        assert!(matches!(
            qmp.cont(&mut process, Path::new(NONE), deadline),
            Err(GuestError::TimedOut { phase: "cont", .. })
        ));
        process.kill();
        assert!(matches!(
            qmp.cont(&mut process, Path::new(NONE), soon()),
            Err(GuestError::Died { .. })
        ));
    }
}
