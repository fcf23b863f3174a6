//! Carries bytes between a guest's console and whoever sits in front of it: a person, or a script.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::error::GuestError;
use super::shell::Shell;
use crate::process::{Process, Wake, wait};

/// The key that leaves a guest which does not react, telnet's: Ctrl-].
const LEAVE: u8 = 0x1d;
/// The key that ends the input of a terminal: Ctrl-D.
const END_OF_INPUT: u8 = 0x04;

/// How long QEMU may take to end once its console has.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// For ever, as far as a wait is concerned.
const LONG: Duration = Duration::from_secs(1000);

/// What comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Keys of a terminal in raw mode: each goes to the guest as it comes, but for Ctrl-], which leaves it.
    Keys,
    /// Commands, one a line: each is sent when the prompt is back, and the end of them ends the shell.
    Commands,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest powered off, or panicked and said so.
    Over,
    /// The person left it.
    Left,
    /// QEMU failed: how it ended and what it said.
    Failed(String),
}

/// Finds the shell's prompt (`guests/init/src/shell.rs`: `/DIR # ` or `/DIR [CODE] # `) in what it writes.
#[derive(Debug)]
struct Prompt {
    line: Vec<u8>,
    /// The last command's own line, which the terminal repeats, is over.
    echoed: bool,
    seen: bool,
}

impl Prompt {
    fn new() -> Self {
        Self {
            line: Vec::new(),
            echoed: true,
            seen: false,
        }
    }

    /// Byte by byte: a line of the kernel's may follow the prompt at once.
    fn look(&mut self, output: &[u8]) {
        for &byte in output {
            match byte {
                b'\n' => {
                    self.line.clear();
                    self.echoed = true;
                }
                b'\r' => {}
                _ => self.line.push(byte),
            }
            self.seen |= self.echoed && self.line.starts_with(b"/") && self.line.ends_with(b" # ");
        }
    }

    /// A command is about to be sent.
    fn used(&mut self) {
        self.seen = false;
        self.echoed = false;
    }
}

/// What of the input can be sent now.
#[derive(Debug)]
struct Queue {
    input: Input,
    waiting: Vec<u8>,
    over: bool,
    prompt: Prompt,
}

impl Queue {
    fn new(input: Input) -> Self {
        Self {
            input,
            waiting: Vec::new(),
            over: false,
            prompt: Prompt::new(),
        }
    }

    /// Take input; nothing is its end. True if the person leaves.
    fn take(&mut self, bytes: &[u8]) -> bool {
        self.over = bytes.is_empty();
        self.waiting.extend_from_slice(bytes);
        self.input == Input::Keys && (self.over || bytes.contains(&LEAVE))
    }

    /// Whether more input is of use now.
    fn hungry(&self) -> bool {
        match self.input {
            Input::Keys => true,
            Input::Commands => !self.over && !self.waiting.contains(&b'\n'),
        }
    }

    /// The next bytes for the guest.
    fn next(&mut self) -> Vec<u8> {
        match self.input {
            Input::Keys => std::mem::take(&mut self.waiting),
            Input::Commands if !self.prompt.seen => Vec::new(),
            Input::Commands => {
                let end = self.waiting.iter().position(|&byte| byte == b'\n');
                let mut line: Vec<u8> = match end {
                    Some(end) => self.waiting.drain(..=end).collect(),
                    // The last line may lack its end.
                    None if self.over => std::mem::take(&mut self.waiting),
                    None => return Vec::new(),
                };
                if end.is_none() {
                    line.push(if line.is_empty() { END_OF_INPUT } else { b'\n' });
                }
                self.prompt.used();
                line
            }
        }
    }
}

/// A guest's console, and the guest.
#[derive(Debug)]
pub struct Line<'a> {
    pub(super) console: &'a mut UnixStream,
    pub(super) process: &'a mut Process,
}

impl Shell {
    /// Carry bytes both ways until the guest ends, or the person leaves.
    pub fn talk(
        &mut self,
        input: BorrowedFd<'_>,
        output: &mut impl Write,
        kind: Input,
    ) -> Result<End, GuestError> {
        let mut line = Line {
            console: &mut self.console,
            process: &mut self.process,
        };
        line.talk(input, output, kind)
    }
}

impl Line<'_> {
    /// Carry bytes both ways until the guest ends, or the person leaves.
    pub fn talk(
        &mut self,
        input: BorrowedFd<'_>,
        output: &mut impl Write,
        kind: Input,
    ) -> Result<End, GuestError> {
        let failed = |source| GuestError::File {
            what: "pass on the console".to_owned(),
            source,
        };
        let mut queue = Queue::new(kind);
        let mut buffer = vec![0; 64 << 10];
        self.console.set_nonblocking(true).map_err(failed)?;
        loop {
            let mut fds = vec![(self.console.as_fd(), PollFlags::IN)];
            if queue.hungry() {
                fds.push((input, PollFlags::IN));
            }
            if let Wake::Cancelled = wait(&fds, self.process.cancel(), Instant::now() + LONG) {
                return Err(GuestError::Cancelled);
            }
            match self.console.read(&mut buffer) {
                Ok(0) => return Ok(self.end()),
                Ok(n) => {
                    queue.prompt.look(&buffer[..n]);
                    output.write_all(&buffer[..n]).map_err(failed)?;
                    output.flush().map_err(failed)?;
                }
                Err(error) if is_reset(&error) => return Ok(self.end()),
                Err(error) if would_block(&error) => {}
                Err(error) => return Err(failed(error)),
            }
            if queue.hungry() && readable(input) {
                let n = match rustix::io::read(input, &mut buffer[..]) {
                    // A terminal that was closed.
                    Err(Errno::IO) => 0,
                    other => other.map_err(|errno| failed(errno.into()))?,
                };
                if queue.take(&buffer[..n]) {
                    return Ok(End::Left);
                }
            }
            let bytes = queue.next();
            if let Err(error) = self.send(&bytes) {
                if is_reset(&error) {
                    return Ok(self.end());
                }
                return Err(failed(error));
            }
        }
    }

    /// A person does not type more than a socket's buffer holds, and a command is a line.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.console.set_nonblocking(false)?;
        self.console.write_all(bytes)?;
        self.console.set_nonblocking(true)
    }

    /// The console is closed: why?
    fn end(&mut self) -> End {
        match self.process.wait_end(LAST_BREATH) {
            Some(status) if status.success() => End::Over,
            Some(status) => End::Failed(format!("QEMU ended ({status}){}", self.process.errors())),
            None => End::Failed("QEMU closed the console but lives on".to_owned()),
        }
    }
}

fn readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1))
}

fn would_block(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a shell is sent, given all of its commands at once and what it writes, piece by piece.
    fn check(commands: &str, output: &[&str], wanted: &[&str]) {
        let mut queue = Queue::new(Input::Commands);
        assert!(!queue.take(commands.as_bytes()) && !queue.take(b""));
        let sent = output.iter().map(|piece| {
            queue.prompt.look(piece.as_bytes());
            String::from_utf8(queue.next()).unwrap()
        });
        assert_eq!(sent.collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn a_command_is_sent_when_the_prompt_is_back() {
        check(
            "ls\ncat /a\n",
            &[
                "Linux version 6.12\r\n",
                "/ ",
                "# ",
                "ls\r\n",
                "bin\r\n/ # ",
                "cat /a\r\nno such file\r\n/tmp [1] # ",
            ],
            &["", "", "ls\n", "", "cat /a\n", "\u{4}"],
        );
    }

    #[test]
    fn the_last_command_may_lack_its_end() {
        check("ls", &["/ # ", "ls\r\n/ # "], &["ls\n", "\u{4}"]);
        check("", &["/ # "], &["\u{4}"]);
    }

    #[test]
    fn a_prompt_in_the_echo_is_none_and_one_before_a_kernel_line_is_one() {
        check(
            "echo / # \nls\n",
            &["/ # ", "echo / # ", "\r\n/\r\n/ # [    3.1] sysrq\r\n"],
            &["echo / # \n", "", "ls\n"],
        );
    }

    #[test]
    fn keys_pass_at_once_and_one_leaves() {
        let mut queue = Queue::new(Input::Keys);
        assert!(!queue.take(b"l\x03"));
        assert_eq!(queue.next(), b"l\x03");
        assert!(queue.take(b"x\x1d"));
        assert!(Queue::new(Input::Keys).take(b""));
    }
}
