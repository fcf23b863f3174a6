//! The harness's end of the agent's port: requests, replies and byte streams, each with a deadline.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crossthaw_protocol::frame::{self, FrameError};
use crossthaw_protocol::{CHUNK, Entry, EntryKind, MAX_FRAME, Reply, Request, VERSION};
use rustix::event::PollFlags;

use super::error::{ConsoleTail, GuestError};
use super::qmp::{Call, Qmp, ended};
use super::talk::Line;
use super::terminal::Terminal;
use crate::process::{Process, Wake, wait};

/// The scenario's folder as it travels: entries in order, with the contents of regular files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    /// Entry and contents; contents are empty but for regular files.
    pub entries: Vec<(Entry, Vec<u8>)>,
}

/// A connection to one guest's agent.
#[derive(Debug)]
pub struct Agent {
    stream: UnixStream,
    buffer: Vec<u8>,
    at: usize,
    nonce: u64,
    process: Process,
    /// Not there for a guest that was booted for something else than trials.
    monitor: Option<Qmp>,
    /// Where the console can be talked to.
    terminal: Option<Terminal>,
    console: PathBuf,
    /// Set once a request has not been answered to its end: what comes next could be the rest of that.
    lost: bool,
}

/// A short name of the request, for messages.
pub fn phase(request: &Request) -> &'static str {
    match request {
        Request::Hello { .. } => "hello",
        Request::Start { .. } | Request::StartProgram { .. } => "start",
        Request::WaitReady { .. } | Request::WaitProgram { .. } => "ready",
        Request::Freeze => "freeze",
        Request::Thaw => "thaw",
        Request::Resume | Request::ResumeProgram { .. } => "resume",
        Request::Probe => "probe",
        Request::Checkpoint { .. } => "checkpoint",
        Request::Restart { .. } => "restart",
        Request::WaitExit { .. } => "exit",
        Request::Kill => "kill",
        Request::Survivors => "survivors",
        Request::PullFolder => "pull of the folder",
        Request::PushFolder { .. } | Request::MoreEntries { .. } => "push of the folder",
        Request::PullFile { .. } => "pull of a file",
        Request::PushFile { .. } | Request::Chunk { .. } => "push of a file",
        Request::Mark { .. } => "mark",
        Request::Taint => "taint",
        Request::Explain => "explain",
        Request::Count { .. } => "count",
        Request::NoteUnreferenced => "first scan",
        Request::Unreferenced => "kmemleak",
        Request::Shell => "shell",
    }
}

/// A number that no earlier connection of this template has used.
fn new_nonce() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    // Time in microseconds above a count and the process: unique among processes and within one.
    let low = (u64::from(std::process::id()) << 32) ^ COUNT.fetch_add(1, Ordering::Relaxed);
    since.as_secs().rotate_left(40) ^ u64::from(since.subsec_nanos()).rotate_left(8) ^ low
}

/// The stream as `Read` and `Write` that give up at a deadline, when QEMU ends and when the run is cancelled.
struct Patient<'a> {
    stream: &'a UnixStream,
    buffer: &'a mut Vec<u8>,
    at: &'a mut usize,
    process: &'a mut Process,
    deadline: Instant,
}

impl Patient<'_> {
    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        let fds = [
            (self.stream.as_fd(), flags),
            (self.process.pidfd(), PollFlags::IN),
        ];
        match wait(&fds, self.process.cancel(), self.deadline) {
            Wake::Ready => Ok(()),
            Wake::Late => Err(io::ErrorKind::TimedOut.into()),
            Wake::Cancelled => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

fn must_wait(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

impl Read for Patient<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while *self.at == self.buffer.len() {
            // Looked at before the read: what the guest said before its end is still read.
            let over = self.process.try_wait().is_some();
            self.buffer.resize(64 << 10, 0);
            *self.at = 0;
            let outcome = self.stream.read(self.buffer);
            self.buffer.truncate(*outcome.as_ref().unwrap_or(&0));
            match outcome {
                Ok(0) => return Ok(0),
                Ok(_) => {}
                Err(error) if must_wait(&error) && !over => self.wait(PollFlags::IN)?,
                Err(error) => return Err(error),
            }
        }
        let n = out.len().min(self.buffer.len() - *self.at);
        out[..n].copy_from_slice(&self.buffer[*self.at..*self.at + n]);
        *self.at += n;
        Ok(n)
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        loop {
            match self.stream.write(data) {
                Err(error) if must_wait(&error) && self.process.try_wait().is_none() => {
                    self.wait(PollFlags::OUT)?;
                }
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The entries of a folder in lists that each fit into a frame.
fn lists(folder: &Folder) -> Vec<Vec<Entry>> {
    // More than an entry takes beside its texts.
    const FIXED: usize = 64;
    let mut lists = Vec::new();
    let (mut list, mut length) = (Vec::new(), 0);
    for (entry, _) in &folder.entries {
        let target = match &entry.kind {
            EntryKind::Symlink { target: text } | EntryKind::Link { to: text } => text.len(),
            EntryKind::Directory | EntryKind::Regular { .. } | EntryKind::Fifo => 0,
        };
        let attributes = entry.attributes.iter();
        let attributes = attributes.map(|(name, value)| FIXED + name.len() + value.len());
        let more = FIXED + entry.path.len() + target + attributes.sum::<usize>();
        if length + more > MAX_FRAME / 2 && !list.is_empty() {
            lists.push(std::mem::take(&mut list));
            length = 0;
        }
        length += more;
        list.push(entry.clone());
    }
    lists.push(list);
    lists
}

impl Agent {
    /// Talk over our end of the socket pair whose other end is the guest's port. The guest dies with the value.
    pub(crate) fn new(
        stream: UnixStream,
        process: Process,
        console: &Path,
    ) -> Result<Self, GuestError> {
        let console = console.to_owned();
        if let Err(source) = stream.set_nonblocking(true) {
            return Err(GuestError::Port {
                phase: "hello",
                source,
                console: ConsoleTail::read(&console),
            });
        }
        Ok(Self {
            stream,
            buffer: Vec::new(),
            at: 0,
            nonce: new_nonce(),
            process,
            monitor: None,
            terminal: None,
            console,
            lost: false,
        })
    }

    /// Keep the monitor for [`Agent::explain`].
    pub(crate) fn keep_monitor(&mut self, monitor: Qmp) {
        self.monitor = Some(monitor);
    }

    /// Keep the console for [`Agent::prompt`].
    pub(super) fn keep_terminal(&mut self, terminal: Option<Terminal>) {
        self.terminal = terminal;
    }

    /// Start a shell on the console; it is powered off when that ends. `None` if the console cannot be talked to.
    pub fn prompt(&mut self, time: Duration) -> Result<Option<Line<'_>>, GuestError> {
        if self.terminal.is_none() {
            return Ok(None);
        }
        // What was said so far is in the log; the shell's first words are for the person.
        if let Some(terminal) = &mut self.terminal {
            terminal.take();
        }
        self.done(&Request::Shell, time)?;
        let process = &mut self.process;
        Ok(self.terminal.as_mut().map(|terminal| Line {
            console: terminal.take(),
            process,
        }))
    }

    /// What a guest does that is late: the registers of its processors are returned, its tasks and timers go to the console.
    ///
    /// What cannot be had any more is left out, with the reason.
    pub fn explain(&mut self, time: Duration) -> String {
        let deadline = Instant::now() + time;
        let registers = match &mut self.monitor {
            Some(monitor) => monitor.registers(&mut Call {
                process: &mut self.process,
                console: &self.console,
                deadline,
            }),
            None => Ok(String::new()),
        };
        let registers =
            registers.unwrap_or_else(|error| format!("registers cannot be had: {error}\n"));
        match self.done(&Request::Explain, time) {
            Ok(()) => registers,
            Err(error) => format!("{registers}\ntasks and timers cannot be had: {error}\n"),
        }
    }

    /// The QEMU process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The file that the console is written to.
    pub fn console(&self) -> &Path {
        &self.console
    }

    fn port(&mut self, deadline: Instant) -> Patient<'_> {
        Patient {
            stream: &self.stream,
            buffer: &mut self.buffer,
            at: &mut self.at,
            process: &mut self.process,
            deadline,
        }
    }

    fn tail(&self) -> ConsoleTail {
        ConsoleTail::read(&self.console)
    }

    /// What a failed frame means, and that nothing can follow it.
    fn lose(&mut self, phase: &'static str, error: FrameError, time: Duration) -> GuestError {
        self.lost = true;
        match error {
            FrameError::Io(source) if source.kind() == io::ErrorKind::ConnectionAborted => {
                GuestError::Cancelled
            }
            // A guest that ends at the last moment is dead, not late.
            FrameError::Io(source)
                if source.kind() == io::ErrorKind::TimedOut
                    && self.process.try_wait().is_none() =>
            {
                GuestError::TimedOut {
                    phase,
                    after: time,
                    console: self.tail(),
                }
            }
            FrameError::Io(source) => ended(&mut self.process, &self.console, phase)
                .unwrap_or_else(|| GuestError::Port {
                    phase,
                    source,
                    console: self.tail(),
                }),
            other => GuestError::Protocol {
                phase,
                what: other.to_string(),
                console: self.tail(),
            },
        }
    }

    fn send(
        &mut self,
        request: &Request,
        phase: &'static str,
        time: Duration,
    ) -> Result<Instant, GuestError> {
        if self.lost {
            let what = "an earlier request was not answered to its end".to_owned();
            return Err(GuestError::Protocol {
                phase,
                what,
                console: self.tail(),
            });
        }
        let deadline = Instant::now() + time;
        let nonce = self.nonce;
        match frame::send(&mut self.port(deadline), nonce, request) {
            Ok(()) => Ok(deadline),
            Err(error) => Err(self.lose(phase, error, time)),
        }
    }

    /// The next frame of this connection; those of an earlier one are skipped.
    fn receive(
        &mut self,
        phase: &'static str,
        deadline: Instant,
        time: Duration,
    ) -> Result<Reply, GuestError> {
        loop {
            match frame::receive::<Reply>(&mut self.port(deadline)) {
                Ok((nonce, Reply::Failed { message })) if nonce == self.nonce => {
                    return Err(GuestError::Agent {
                        phase,
                        message,
                        console: self.tail(),
                    });
                }
                Ok((nonce, reply)) if nonce == self.nonce => return Ok(reply),
                Ok(_) => {}
                Err(error) => return Err(self.lose(phase, error, time)),
            }
        }
    }

    fn unexpected(&mut self, phase: &'static str, reply: &Reply) -> GuestError {
        self.lost = true;
        let what = format!("{reply:?}").chars().take(200).collect();
        GuestError::Protocol {
            phase,
            what,
            console: self.tail(),
        }
    }

    /// Send a request and wait for its reply. A reply that says `Failed` is an error.
    ///
    /// For requests whose answer is a stream see [`Agent::pull`] and [`Agent::pull_folder`].
    pub fn request(&mut self, request: &Request, time: Duration) -> Result<Reply, GuestError> {
        let phase = phase(request);
        let deadline = self.send(request, phase, time)?;
        self.receive(phase, deadline, time)
    }

    /// A request that is answered by [`Reply::Done`].
    pub fn done(&mut self, request: &Request, time: Duration) -> Result<(), GuestError> {
        match self.request(request, time)? {
            Reply::Done => Ok(()),
            other => Err(self.unexpected(phase(request), &other)),
        }
    }

    /// First words; returns the guest's machine name and kernel release.
    pub fn hello(&mut self, time: Duration) -> Result<(String, String), GuestError> {
        match self.request(&Request::Hello { version: VERSION }, time)? {
            Reply::Hello {
                version: VERSION,
                machine,
                release,
                ..
            } => Ok((machine, release)),
            other => Err(self.unexpected("hello", &other)),
        }
    }

    /// Chunks up to the empty one.
    fn stream(
        &mut self,
        phase: &'static str,
        deadline: Instant,
        time: Duration,
    ) -> Result<Vec<u8>, GuestError> {
        let mut all = Vec::new();
        loop {
            match self.receive(phase, deadline, time)? {
                Reply::Chunk { bytes } if bytes.is_empty() => return Ok(all),
                Reply::Chunk { bytes } => all.extend_from_slice(&bytes),
                other => return Err(self.unexpected(phase, &other)),
            }
        }
    }

    /// A request that is answered by one byte stream, such as [`Request::PullFile`].
    pub fn pull(&mut self, request: &Request, time: Duration) -> Result<Vec<u8>, GuestError> {
        let phase = phase(request);
        let deadline = self.send(request, phase, time)?;
        let bytes = self.stream(phase, deadline, time)?;
        match self.receive(phase, deadline, time)? {
            Reply::Done => Ok(bytes),
            other => Err(self.unexpected(phase, &other)),
        }
    }

    /// Fetch the scenario's folder.
    pub fn pull_folder(&mut self, time: Duration) -> Result<Folder, GuestError> {
        let phase = phase(&Request::PullFolder);
        let deadline = self.send(&Request::PullFolder, phase, time)?;
        let mut folder = Folder::default();
        loop {
            match self.receive(phase, deadline, time)? {
                Reply::Entry { entry } => {
                    let regular = matches!(entry.kind, EntryKind::Regular { .. });
                    let bytes = if regular {
                        self.stream(phase, deadline, time)?
                    } else {
                        Vec::new()
                    };
                    folder.entries.push((entry, bytes));
                }
                Reply::Done => return Ok(folder),
                other => return Err(self.unexpected(phase, &other)),
            }
        }
    }

    fn send_stream(
        &mut self,
        bytes: &[u8],
        phase: &'static str,
        deadline: Instant,
    ) -> Result<(), GuestError> {
        for chunk in bytes.chunks(CHUNK).chain([&[][..]]) {
            self.send(
                &Request::Chunk {
                    bytes: chunk.to_vec(),
                },
                phase,
                deadline.saturating_duration_since(Instant::now()),
            )?;
        }
        Ok(())
    }

    /// Replace the scenario's folder.
    pub fn push_folder(&mut self, folder: &Folder, time: Duration) -> Result<(), GuestError> {
        let mut lists = lists(folder).into_iter();
        let entries = lists.next().unwrap_or_default();
        let more = u32::try_from(lists.len()).unwrap_or(u32::MAX);
        let request = Request::PushFolder { entries, more };
        let phase = phase(&request);
        let deadline = self.send(&request, phase, time)?;
        for entries in lists {
            let left = deadline.saturating_duration_since(Instant::now());
            self.send(&Request::MoreEntries { entries }, phase, left)?;
        }
        for (entry, bytes) in &folder.entries {
            if matches!(entry.kind, EntryKind::Regular { .. }) {
                self.send_stream(bytes, phase, deadline)?;
            }
        }
        self.finished(phase, deadline, time)
    }

    /// Write a file in the guest.
    pub fn push_file(
        &mut self,
        path: &str,
        mode: u32,
        bytes: &[u8],
        time: Duration,
    ) -> Result<(), GuestError> {
        let request = Request::PushFile {
            path: path.to_owned(),
            mode,
        };
        let phase = phase(&request);
        let deadline = self.send(&request, phase, time)?;
        self.send_stream(bytes, phase, deadline)?;
        self.finished(phase, deadline, time)
    }

    fn finished(
        &mut self,
        phase: &'static str,
        deadline: Instant,
        time: Duration,
    ) -> Result<(), GuestError> {
        match self.receive(phase, deadline, time)? {
            Reply::Done => Ok(()),
            other => Err(self.unexpected(phase, &other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Cancel;

    const LONG: Duration = Duration::from_secs(10);

    /// An agent at the other end of a socket, with a process that stands for QEMU.
    fn agent(cancel: &Cancel, serve: impl FnOnce(UnixStream) + Send + 'static) -> Agent {
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || serve(theirs));
        let process =
            Process::spawn(&["sleep", "100"].map(str::to_owned), Vec::new(), cancel).unwrap();
        Agent::new(ours, process, Path::new("/no/console")).unwrap()
    }

    fn take(port: &mut UnixStream) -> (u64, Request) {
        frame::receive(port).unwrap()
    }

    #[test]
    fn answers_to_an_earlier_connection_are_skipped() {
        let mut agent = agent(&Cancel::new().unwrap(), |mut port| {
            let (nonce, _) = take(&mut port);
            port.write_all(b"boot noise").unwrap();
            frame::send(&mut port, nonce ^ 1, &Reply::Done).unwrap();
            frame::send(&mut port, nonce, &Reply::Taint { mask: 4 }).unwrap();
        });
        assert_eq!(
            agent.request(&Request::Taint, LONG).unwrap(),
            Reply::Taint { mask: 4 }
        );
    }

    #[test]
    fn streams_come_in_one_piece() {
        let mut agent = agent(&Cancel::new().unwrap(), |mut port| {
            let (nonce, _) = take(&mut port);
            let mut file = Vec::new();
            loop {
                match take(&mut port).1 {
                    Request::Chunk { bytes } if bytes.is_empty() => break,
                    Request::Chunk { bytes } => file.extend(bytes),
                    other => unreachable!("{other:?}"),
                }
            }
            frame::send(&mut port, nonce, &Reply::Done).unwrap();
            take(&mut port);
            for chunk in file.chunks(1000).chain([&[][..]]) {
                frame::send(
                    &mut port,
                    nonce,
                    &Reply::Chunk {
                        bytes: chunk.to_vec(),
                    },
                )
                .unwrap();
            }
            frame::send(&mut port, nonce, &Reply::Done).unwrap();
        });
        let file: Vec<u8> = (0..700_000u32).map(|n| n.to_le_bytes()[1]).collect();
        agent.push_file("/x", 0o644, &file, LONG).unwrap();
        assert!(
            agent
                .pull(
                    &Request::PullFile {
                        path: "/x".to_owned()
                    },
                    LONG
                )
                .unwrap()
                == file
        );
    }

    #[test]
    fn a_late_answer_is_not_taken_for_the_next_one() {
        let (late, answer) = std::sync::mpsc::channel();
        let mut agent = agent(&Cancel::new().unwrap(), move |mut port| {
            let (nonce, _) = take(&mut port);
            answer.recv().unwrap();
            frame::send(&mut port, nonce, &Reply::Done).unwrap();
            std::thread::sleep(LONG);
        });
        let error = agent
            .done(&Request::Freeze, Duration::from_millis(10))
            .unwrap_err();
        assert!(
            matches!(
                error,
                GuestError::TimedOut {
                    phase: "freeze",
                    ..
                }
            ),
            "{error}"
        );
        late.send(()).unwrap();
        let error = agent.done(&Request::Thaw, LONG).unwrap_err();
        assert!(
            matches!(error, GuestError::Protocol { phase: "thaw", .. }),
            "{error}"
        );
    }

    #[test]
    fn a_killed_guest_is_dead_at_once() {
        let mut agent = agent(&Cancel::new().unwrap(), |mut port| {
            take(&mut port);
        });
        agent.process().kill();
        let error = agent.done(&Request::Probe, LONG).unwrap_err();
        assert!(
            matches!(error, GuestError::Died { phase: "probe", .. }),
            "{error}"
        );
    }

    #[test]
    fn a_dead_guest_is_seen_though_another_holds_its_port() {
        let (keep, kept) = std::sync::mpsc::channel();
        let mut agent = agent(&Cancel::new().unwrap(), move |port| {
            keep.send(port).unwrap();
        });
        let _port = kept.recv().unwrap();
        agent.process().kill();
        let start = Instant::now();
        let error = agent.done(&Request::Probe, LONG).unwrap_err();
        assert!(matches!(error, GuestError::Died { .. }), "{error}");
        assert!(start.elapsed() < LONG / 2);
    }

    #[test]
    fn cancelling_ends_a_wait() {
        let cancel = Cancel::new().unwrap();
        let mut agent = agent(&cancel, |mut port| {
            take(&mut port);
            std::thread::sleep(LONG);
        });
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            cancel.cancel();
        });
        assert!(matches!(
            agent.done(&Request::Probe, LONG),
            Err(GuestError::Cancelled)
        ));
    }

    #[test]
    fn a_failure_is_in_the_agents_words_and_the_connection_lives() {
        let mut agent = agent(&Cancel::new().unwrap(), |mut port| {
            let (nonce, _) = take(&mut port);
            frame::send(
                &mut port,
                nonce,
                &Reply::Failed {
                    message: "no tree was started".to_owned(),
                },
            )
            .unwrap();
            take(&mut port);
            frame::send(&mut port, nonce, &Reply::Done).unwrap();
        });
        let error = agent.done(&Request::Freeze, LONG).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the agent failed during freeze: no tree was started"),
            "{error}"
        );
        agent.done(&Request::Thaw, LONG).unwrap();
    }
}
