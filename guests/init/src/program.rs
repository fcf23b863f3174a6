//! Programs that know nothing of us: starting them, seeing that they are ready, telling them to go on.
//!
//! All paths are looked up as if the scenario's folder were the root directory, so that links of a root file system lead where they lead in it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossthaw_protocol::{
    Enclosure, Program, ROOTFS_FOLDER, Readiness, Reply, SCENARIO_DIR, STDERR_FILE, STDOUT_FILE,
    Surroundings,
};
use crossthaw_tools::fork::{Kind, Private};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::error::{AgentError, Context, Result};
use crate::owner::Owner;
use crate::spawn::{self, Stdio};
use crate::tree::{self, Tree};
use crate::{mounts, reap};

/// How often it is looked whether a program is ready.
const LOOK: Duration = Duration::from_millis(2);

/// Standard output and error as the program's own root directory has them.
const OUTPUT: [&std::ffi::CStr; 2] = [c"/scenario/stdout", c"/scenario/stderr"];

/// Open a file of the scenario's folder.
pub(crate) fn open(path: &str, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let folder = rustix::fs::openat(
        CWD,
        SCENARIO_DIR,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    openat2(
        &folder,
        path,
        flags | OFlags::CLOEXEC,
        mode,
        ResolveFlags::IN_ROOT,
    )
}

/// A file of the scenario's folder, for reading; `None` if it is not there.
fn read(path: &str) -> Result<Option<File>> {
    // A named pipe must not hold the agent up.
    match open(path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()) {
        Ok(fd) => Ok(Some(File::from(fd))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error).context(|| format!("open {path}")),
    }
}

/// Where the program starts, as the agent sees it.
fn folder(surroundings: Surroundings) -> PathBuf {
    let folder = PathBuf::from(SCENARIO_DIR);
    if surroundings.rootfs {
        folder.join(ROOTFS_FOLDER)
    } else {
        folder
    }
}

/// What the agent's child, or the tool that restarts, makes of them.
pub(crate) fn private(surroundings: Surroundings) -> Private {
    Private::default()
        .with(Kind::Mount, surroundings.mount)
        .with(Kind::Network, surroundings.network)
}

/// Make ready what the tree's root directory needs beside the scenario's folder.
pub(crate) fn prepare(surroundings: Surroundings) -> Result<()> {
    if surroundings.rootfs {
        mounts::mount_in_scenario()
    } else {
        Ok(())
    }
}

impl Tree {
    /// Start a program in the scenario's folder.
    pub(crate) fn start_program(enclosure: Enclosure, program: &Program) -> Result<Self> {
        let Program {
            path,
            argv,
            env,
            user,
            surroundings,
        } = program;
        prepare(*surroundings)?;
        let folder = folder(*surroundings);
        for name in [STDOUT_FILE, STDERR_FILE] {
            let path = folder.join(name);
            let made = File::create(&path).context(|| format!("create {}", path.display()))?;
            if let Some((uid, gid)) = *user {
                std::os::unix::fs::fchown(&made, Some(uid), Some(gid))
                    .context(|| format!("change the owner of {}", path.display()))?;
            }
        }
        let executed = spawn::Program::at(path, argv, env)?;
        let start = tree::Start {
            owner: Owner::of(surroundings.caller)?,
            users: None,
            private: private(*surroundings),
            root: surroundings.rootfs.then_some(c"/scenario"),
            user: *user,
            stdio: Stdio::Files(OUTPUT),
        };
        Self::start_as(enclosure, &executed, start)
    }

    /// Wait until all of `ready` has happened or the program ends; with a pid file, its process becomes the tree's root.
    pub(crate) fn wait_program(&mut self, ready: &Readiness, timeout: Duration) -> Result<Reply> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let ended = reap::status(self.root);
            let daemon = ready.pidfile.is_some() && ended == Some(0);
            if let Some(status) = ended.filter(|_| !daemon) {
                return Ok(Reply::Exited {
                    status,
                    report: None,
                });
            }
            if let Some(root) = self.is_ready(ready)? {
                self.root = root;
                return Ok(Reply::Ready);
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(Reply::TimedOut);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The root of the tree, if all of this has happened.
    fn is_ready(&self, ready: &Readiness) -> Result<Option<i32>> {
        let Readiness {
            file,
            line,
            pidfile,
        } = ready;
        if let Some(path) = file
            && open(path, OFlags::PATH, Mode::empty()).is_err()
        {
            return Ok(None);
        }
        if let Some((path, text)) = line
            && !has_line(path, text)?
        {
            return Ok(None);
        }
        let Some(path) = pidfile else {
            return Ok(Some(self.root));
        };
        let Some(pid) = read(path)?.map(read_pid).transpose()?.flatten() else {
            return Ok(None);
        };
        let is_root = pid == self.root || reap::status(self.root) == Some(0);
        Ok((is_root && self.cgroup.procs()?.contains(&pid)).then_some(pid))
    }

    /// Send a signal to the root, make a file.
    pub(crate) fn resume_program(&self, signal: Option<i32>, touch: Option<&str>) -> Result<()> {
        if let Some(path) = touch {
            let flags = OFlags::WRONLY | OFlags::CREATE;
            let opened = open(path, flags, Mode::from_raw_mode(0o666));
            opened.context(|| format!("make the file {path}"))?;
        }
        let Some(number) = signal else { return Ok(()) };
        if let Some(status) = reap::status(self.root) {
            return Err(AgentError::Refused(format!(
                "the program ended before it was sent signal {number}: {}",
                tree::describe_status(status)
            )));
        }
        let root = Pid::from_raw(self.root);
        match (root, Signal::from_named_raw(number)) {
            (Some(root), Some(signal)) => {
                kill_process(root, signal).context(|| format!("send signal {number} to {root:?}"))
            }
            _ => Err(AgentError::Refused(format!("signal {number} is none"))),
        }
    }
}

/// Has the file a whole line that contains this text?
fn has_line(path: &str, text: &str) -> Result<bool> {
    let Some(file) = read(path)? else {
        return Ok(false);
    };
    let mut file = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        file.read_until(b'\n', &mut line)
            .context(|| format!("read {path}"))?;
        if line.pop() != Some(b'\n') {
            return Ok(false);
        }
        if String::from_utf8_lossy(&line).contains(text) {
            return Ok(true);
        }
    }
}

/// The pid in a pid file; `None` where it is not written yet.
fn read_pid(file: File) -> Result<Option<i32>> {
    let mut text = Vec::new();
    file.take(64)
        .read_to_end(&mut text)
        .context(|| "read the pid file".to_owned())?;
    // Half a number may be here for a moment; it is then no process of the tree.
    let text = String::from_utf8_lossy(&text);
    Ok(text.trim().parse().ok().filter(|&pid| pid > 1))
}
