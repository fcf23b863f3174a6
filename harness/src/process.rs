//! Child processes (QEMU, make, cargo): started so that they cannot outlive us, watched, killed and reaped.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, set_parent_process_death_signal,
};

/// Why a process was not started, or a wait was cut short.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started at all.
    #[error("cannot start {command}")]
    Spawn {
        /// The whole command, as a shell would take it.
        command: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The run was cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// Ends every wait of a run, from any thread. Clones share one state.
#[derive(Clone, Debug)]
pub struct Cancel {
    /// Readable once cancelled, so that a wait is a poll like any other.
    event: Arc<OwnedFd>,
    /// Process groups that live; killed at once when cancelled.
    live: Arc<Mutex<Vec<Pid>>>,
}

impl Cancel {
    /// Nothing is cancelled yet.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            event: Arc::new(event),
            live: Arc::default(),
        })
    }

    /// Make every wait return and kill every guest. Those who own a guest reap it.
    pub fn cancel(&self) {
        // The counter can only be full when it is readable already.
        let _ = rustix::io::write(&*self.event, &1u64.to_ne_bytes());
        for &group in self
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Has [`Cancel::cancel`] been called?
    pub fn is_cancelled(&self) -> bool {
        let mut fds = [PollFd::new(&*self.event, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1))
    }

    /// Process ids of the guests that live now.
    pub fn live(&self) -> Vec<i32> {
        self.live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|pid| pid.as_raw_nonzero().get())
            .collect()
    }

    /// Sleep; `Err` when cancelled meanwhile.
    pub fn sleep(&self, time: Duration) -> Result<(), ProcessError> {
        match wait(&[], self, Instant::now() + time) {
            Wake::Cancelled => Err(ProcessError::Cancelled),
            Wake::Late | Wake::Ready => Ok(()),
        }
    }
}

/// Why [`wait`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// One of the descriptors can be read, or has ended.
    Ready,
    /// The deadline passed.
    Late,
    /// The run was cancelled.
    Cancelled,
}

/// Wait until one of these can be read (or written, as it says), at most until the deadline.
pub(crate) fn wait(
    fds: &[(BorrowedFd<'_>, PollFlags)],
    cancel: &Cancel,
    deadline: Instant,
) -> Wake {
    loop {
        let mut polled = vec![PollFd::new(&*cancel.event, PollFlags::IN)];
        polled.extend(
            fds.iter()
                .map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)),
        );
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).unwrap_or(Timespec {
            tv_sec: i64::from(i32::MAX),
            tv_nsec: 0,
        });
        let outcome = poll(&mut polled, Some(&timeout));
        if !polled[0].revents().is_empty() {
            return Wake::Cancelled;
        }
        match outcome {
            Ok(0) => return Wake::Late,
            Ok(_) => return Wake::Ready,
            // A signal; what is left is computed anew.
            Err(_) => {}
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// Run a closure in a thread that never ends.
///
/// `PR_SET_PDEATHSIG` fires when the *thread* that forked ends (prctl(2)), and a guest may be passed on by a thread that does.
fn on_lasting_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    static JOBS: OnceLock<Sender<Job>> = OnceLock::new();
    let jobs = JOBS.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Job>();
        std::thread::spawn(move || receiver.into_iter().for_each(|job| job()));
        sender
    });
    let (answer, result) = mpsc::sync_channel(1);
    let job: Job = Box::new(move || {
        let _ = answer.send(work());
    });
    jobs.send(job)
        .map_err(|_| io::Error::other("the thread that starts processes is gone"))?;
    result
        .recv()
        .map_err(|_| io::Error::other("the thread that starts processes is gone"))
}

/// The command as a shell would take it.
pub fn shell_line(argv: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+,./:@%".contains(c);
    let words = argv.iter().map(|word| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Where a build tool runs, what differs in its environment, and where its output goes.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// Its working directory.
    pub dir: &'a Path,
    /// Variables that it gets.
    pub set: &'a [(&'a str, &'a str)],
    /// Variables of ours that it does not get, unless they are also among those above.
    pub unset: &'a [&'a str],
    /// Standard output and standard error, in the order in which they are written. Open for reading too.
    pub log: &'a File,
}

/// A running program in a process group of its own; dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Pid,
    pidfd: OwnedFd,
    command: String,
    errors: OwnedFd,
    cancel: Cancel,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Start `argv`; it inherits these descriptors under the numbers that they have here.
    pub fn spawn(
        argv: &[String],
        inherit: Vec<OwnedFd>,
        cancel: &Cancel,
    ) -> Result<Self, ProcessError> {
        let failed = |source| ProcessError::Spawn {
            command: shell_line(argv),
            source,
        };
        // A file, not a pipe: nobody has to drain it, and what is in it can be read after the end.
        let errors = tempfile::tempfile().map_err(failed)?;
        let mut builder = Command::new(argv.first().map_or("", String::as_str));
        builder
            .stdout(Stdio::null())
            .stderr(errors.try_clone().map_err(failed)?);
        Self::start(builder, argv, errors.into(), inherit, cancel)
    }

    /// Start a build tool: `argv` in its surroundings.
    pub fn spawn_logged(
        argv: &[String],
        surroundings: &Surroundings<'_>,
        cancel: &Cancel,
    ) -> Result<Self, ProcessError> {
        let failed = |source| ProcessError::Spawn {
            command: shell_line(argv),
            source,
        };
        let &Surroundings {
            dir,
            set,
            unset,
            log,
        } = surroundings;
        let mut builder = Command::new(argv.first().map_or("", String::as_str));
        builder
            .current_dir(dir)
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log.try_clone().map_err(failed)?);
        for name in unset {
            builder.env_remove(name);
        }
        // What is in both is set.
        builder.envs(set.iter().copied());
        let errors = log.try_clone().map_err(failed)?;
        Self::start(builder, argv, errors.into(), Vec::new(), cancel)
    }

    /// Start what `builder` says, with the arguments of `argv`.
    fn start(
        mut builder: Command,
        argv: &[String],
        errors: OwnedFd,
        inherit: Vec<OwnedFd>,
        cancel: &Cancel,
    ) -> Result<Self, ProcessError> {
        let command = shell_line(argv);
        let failed = |source| ProcessError::Spawn {
            command: command.clone(),
            source,
        };
        if argv.is_empty() {
            return Err(failed(io::Error::from(io::ErrorKind::InvalidInput)));
        }
        if cancel.is_cancelled() {
            return Err(ProcessError::Cancelled);
        }
        builder
            .args(&argv[1..])
            .stdin(Stdio::null())
            .process_group(0);
        let parent = rustix::process::getpid();
        let numbers: Vec<_> = inherit.iter().map(AsRawFd::as_raw_fd).collect();
        let prepare = move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            if rustix::process::getppid() != Some(parent) {
                // We died before the line above.
                return Err(io::Error::from(io::ErrorKind::BrokenPipe));
            }
            for &number in &numbers {
                // SAFETY: the descriptors are open in the parent until `spawn` returns, hence in this copy of it.
                let fd = unsafe { BorrowedFd::borrow_raw(number) };
                rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes only system calls and allocates nothing.
        unsafe { builder.pre_exec(prepare) };
        let spawned = on_lasting_thread(move || builder.spawn());
        drop(inherit);
        let mut child = spawned.and_then(|outcome| outcome).map_err(failed)?;
        let group = Pid::from_child(&child);
        let pidfd = match pidfd_open(group, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(error.into()));
            }
        };
        cancel
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(group);
        let process = Self {
            child,
            group,
            pidfd,
            command,
            errors,
            cancel: cancel.clone(),
            ended: None,
        };
        // Cancelled between the check above and the registration: nobody else kills it.
        if cancel.is_cancelled() {
            Err(ProcessError::Cancelled)
        } else {
            Ok(process)
        }
    }

    /// The whole command.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How long its threads have run so far (`/proc/PID/task/TID/schedstat`), and whether one of them runs or waits for a processor now (`stat`).
    pub fn activity(&self) -> (Duration, bool) {
        let (mut time, mut runnable) = (Duration::ZERO, false);
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.id()));
        for thread in threads.into_iter().flatten().flatten() {
            let read = |name| std::fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            let ran = read("schedstat");
            let ran = ran
                .split_whitespace()
                .next()
                .and_then(|ran| ran.parse().ok());
            time += Duration::from_nanos(ran.unwrap_or(0));
            // The name before it may hold anything.
            let stat = read("stat");
            runnable |= stat
                .rsplit_once(')')
                .is_some_and(|(_, rest)| rest.starts_with(" R"));
        }
        (time, runnable)
    }

    /// The token that it was started with.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Readable once it has ended.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        if self.ended.is_none() && matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1)) {
            // Its group goes with it, and is signalled while the number cannot be another's.
            self.kill();
        }
        self.ended
    }

    /// Wait until it ends or the time is over.
    pub fn wait_end(&mut self, time: Duration) -> Option<ExitStatus> {
        wait(
            &[(self.pidfd.as_fd(), PollFlags::IN)],
            &self.cancel,
            Instant::now() + time,
        );
        self.try_wait()
    }

    /// Wait until it ends, however long that takes; `tick` is called every so often, and once after the end.
    pub fn finish(
        &mut self,
        every: Duration,
        mut tick: impl FnMut(),
    ) -> Result<ExitStatus, ProcessError> {
        loop {
            let ended = self.wait_end(every);
            if self.cancel.is_cancelled() {
                return Err(ProcessError::Cancelled);
            }
            tick();
            if let Some(status) = ended {
                return Ok(status);
            }
        }
    }

    /// What it wrote to its standard error, each line after a line break and indented.
    pub fn errors(&self) -> String {
        let mut bytes = vec![0; 16 << 10];
        let n = rustix::io::pread(&self.errors, &mut bytes, 0).unwrap_or(0);
        String::from_utf8_lossy(&bytes[..n])
            .lines()
            .fold(String::new(), |all, line| all + "\n  " + line)
    }

    /// Kill its group and reap it.
    pub fn kill(&mut self) {
        let mut live = self
            .cancel
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Not reaped yet, so the number is still its own.
        if let Some(at) = live.iter().position(|&pid| pid == self.group) {
            live.swap_remove(at);
            let _ = kill_process_group(self.group, Signal::KILL);
        }
        drop(live);
        if self.ended.is_none() {
            self.ended = self.child.wait().ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    fn alive(pid: u32) -> bool {
        std::path::Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn a_dropped_process_is_killed_and_reaped() {
        let cancel = Cancel::new().unwrap();
        let process = Process::spawn(&argv(&["sleep", "100"]), Vec::new(), &cancel).unwrap();
        let pid = process.id();
        assert!(alive(pid) && cancel.live().len() == 1);
        drop(process);
        assert!(!alive(pid) && cancel.live().is_empty());
    }

    #[test]
    fn a_busy_process_is_told_from_an_idle_one() {
        let cancel = Cancel::new().unwrap();
        let start = |words: &[&str]| Process::spawn(&argv(words), Vec::new(), &cancel).unwrap();
        let busy = start(&["sh", "-c", "while :; do :; done"]);
        let idle = start(&["sleep", "60"]);
        // On a host that has other work it gets its turn late.
        while busy.activity().0 < Duration::from_millis(20) || idle.activity().1 {
            cancel.sleep(Duration::from_millis(10)).unwrap();
        }
        assert!(busy.activity().1);
        let before = idle.activity();
        cancel.sleep(Duration::from_millis(50)).unwrap();
        assert_eq!(idle.activity(), before);
    }

    #[test]
    fn a_process_outlives_the_thread_that_asked_for_it() {
        let cancel = Cancel::new().unwrap();
        let theirs = cancel.clone();
        let mut process = std::thread::spawn(move || {
            Process::spawn(&argv(&["sleep", "100"]), Vec::new(), &theirs).unwrap()
        })
        .join()
        .unwrap();
        assert_eq!(process.wait_end(Duration::from_millis(100)), None);
    }

    #[test]
    fn cancelling_kills_all_and_ends_waits() {
        let cancel = Cancel::new().unwrap();
        let mut process = Process::spawn(&argv(&["sleep", "100"]), Vec::new(), &cancel).unwrap();
        let other = cancel.clone();
        let start = Instant::now();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            other.cancel();
        });
        assert!(matches!(
            cancel.sleep(Duration::from_secs(50)),
            Err(ProcessError::Cancelled)
        ));
        assert!(start.elapsed() < Duration::from_secs(20));
        process.kill();
        assert!(process.try_wait().is_some());
        assert!(matches!(
            Process::spawn(&argv(&["true"]), Vec::new(), &cancel),
            Err(ProcessError::Cancelled)
        ));
    }

    #[test]
    fn a_program_that_is_not_there_shows_the_command() {
        let cancel = Cancel::new().unwrap();
        let error = Process::spawn(&argv(&["/no/qemu", "-append", "a b"]), Vec::new(), &cancel)
            .unwrap_err();
        assert_eq!(error.to_string(), "cannot start /no/qemu -append 'a b'");
    }

    #[test]
    fn a_build_tool_has_its_folder_environment_and_log() {
        let cancel = Cancel::new().unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let log = tempfile::tempfile().unwrap();
        let surroundings = Surroundings {
            dir: scratch.path(),
            set: &[("WORD", "two")],
            unset: &["PWD", "WORD"],
            log: &log,
        };
        let script = "echo one; echo $WORD >&2; touch here; exit 3";
        let mut process =
            Process::spawn_logged(&argv(&["sh", "-c", script]), &surroundings, &cancel).unwrap();
        let mut ticks = 0;
        let status = process
            .finish(Duration::from_secs(10), || ticks += 1)
            .unwrap();
        assert_eq!((status.code(), ticks), (Some(3), 1));
        assert_eq!(process.errors(), "\n  one\n  two");
        assert!(scratch.path().join("here").exists());
    }

    #[test]
    fn only_what_is_named_is_inherited() {
        let cancel = Cancel::new().unwrap();
        let (mine, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let number = theirs.as_raw_fd();
        let other = mine.as_raw_fd();
        let script = format!("test -e /proc/self/fd/{number} && ! test -e /proc/self/fd/{other}");
        let mut process =
            Process::spawn(&argv(&["sh", "-c", &script]), vec![theirs.into()], &cancel).unwrap();
        assert!(process.wait_end(Duration::from_secs(10)).unwrap().success());
    }
}
