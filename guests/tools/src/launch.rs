//! Run a command in namespaces of its own.

use std::ffi::CString;
use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::ptr;

use crate::cgroup::Folder;
use crate::coordinate::hint;
use crate::fork::{Fork, Forked, Kind, Namespaces, Private, fork};
use crate::members::{Complaint, Step, give_up};
use crate::orphans::{self, Status};
use crate::wait::{Ending, Held};
use crate::{container, errno, remedy, signal};

/// What is to be run, and where.
#[derive(Debug)]
pub struct Options {
    /// The program, looked for in `PATH`.
    pub program: CString,
    /// Its arguments.
    pub arguments: Vec<CString>,
    /// Its namespaces.
    pub private: Private,
    /// Its pid; any free one if `None`.
    pub pid: Option<i32>,
    /// A folder of the cgroup v2 hierarchy below which it gets one of its own.
    pub cgroup: Option<PathBuf>,
    /// A file that gets its pid.
    pub pid_file: Option<PathBuf>,
}

/// Why the command did not run, or its end is not known.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Something that the tool needs for itself.
    #[error("cannot {what}: {}", errno::describe(source))]
    Prepare {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// No child.
    #[error("cannot fork: {}{}", errno::describe(.0), hint(remedy::launch(.0)))]
    Fork(io::Error),
    /// The child could not make its namespaces ready.
    #[error("cannot set up the namespaces: {}{}", errno::describe(.0), hint(remedy::launch(.0)))]
    Container(io::Error),
    /// The child could not be put into a cgroup.
    #[error("cannot use the cgroup {}: {}\n  --cgroup-dir must be a folder of the cgroup v2 hierarchy that may have others below it", path.display(), errno::describe(source))]
    Cgroup {
        /// The child's folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}: {}", path.display(), errno::describe(source))]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no such program, or it cannot be executed.
    #[error("cannot run {}: {}", name.to_string_lossy(), errno::describe(source))]
    Command {
        /// What was asked for.
        name: CString,
        /// Why.
        source: io::Error,
    },
}

impl LaunchError {
    /// As a shell gives it for a command that cannot be run; 125 for what has nothing to do with the command, as `env` has it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Command { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Command { .. } => 126,
            _ => 125,
        }
    }
}

fn prepare(what: &'static str) -> impl Fn(io::Error) -> LaunchError {
    move |source| LaunchError::Prepare { what, source }
}

/// In the child: wait for the parent to arrange all, then be the command.
fn become_command(
    options: &Options,
    arguments: &[*const libc::c_char],
    held: &Held,
    mut go: PipeReader,
    report: &PipeWriter,
) -> ! {
    let complain = |step, error| {
        let complaint = Complaint {
            pid: 0,
            step,
            error,
        };
        give_up(&complaint, report.as_fd())
    };
    if go.read_exact(&mut [0]).is_err() {
        // SAFETY: ends this copy of the tool, whose original has failed or is gone, without running anything of it.
        unsafe { libc::_exit(1) }
    }
    if let Err(error) = container::enter(Namespaces::Inherited, options.private, None) {
        complain(Step::Container, error);
    }
    held.release();
    // SAFETY: the strings end with a zero byte, and the list of them with a null.
    unsafe { libc::execvp(options.program.as_ptr(), arguments.as_ptr()) };
    complain(Step::Execute, io::Error::last_os_error())
}

/// Who is root in the child's user namespace.
fn map_ids(pid: i32) -> Result<(), LaunchError> {
    let write = |name: &str, text: String| {
        let path = PathBuf::from(format!("/proc/{pid}/{name}"));
        fs::write(&path, text).map_err(|source| LaunchError::File { path, source })
    };
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    write("uid_map", format!("0 {user} 1"))?;
    let map = format!("0 {group} 1");
    write("gid_map", map.clone()).or_else(|_| {
        // Who is not root may only map a group if nobody in the namespace can leave groups that deny something.
        write("setgroups", "deny".to_owned())?;
        write("gid_map", map)
    })
}

/// What must be so before the command runs.
fn arrange(options: &Options, pid: i32, folder: &mut Option<Folder>) -> Result<(), LaunchError> {
    if let Some(below) = &options.cgroup {
        // A cgroup cannot be renamed, and its name is known only now: the child moves before it does anything, and is not born there.
        let path = Folder::path(below, pid);
        let made = Folder::make(path.clone()).and_then(|made| folder.insert(made).admit(pid));
        made.map_err(|source| LaunchError::Cgroup { path, source })?;
    }
    if options.private.has(Kind::User) {
        map_ids(pid)?;
    }
    if let Some(path) = &options.pid_file {
        fs::write(path, format!("{pid}\n")).map_err(|source| LaunchError::File {
            path: path.clone(),
            source,
        })?;
    }
    Ok(())
}

/// Let the child go on; returns when it is the command.
fn start(options: &Options, mut go: PipeWriter, mut from: PipeReader) -> Result<(), LaunchError> {
    // A child that somebody killed meanwhile is waited for like any other.
    let _ = go.write_all(&[1]);
    let mut bytes = [0; Complaint::SIZE];
    match from.read_exact(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
        Err(error) => return Err(prepare("hear from the child")(error)),
        Ok(()) => {}
    }
    let Complaint { step, error, .. } = Complaint::parse(bytes);
    Err(match step {
        Step::Container => LaunchError::Container(error),
        Step::Execute => LaunchError::Command {
            name: options.program.clone(),
            source: error,
        },
        Step::Fork | Step::Fault | Step::Mount => {
            unreachable!("the child forks nothing, and is no member")
        }
    })
}

/// Does the kernel drop this signal for the init of a pid namespace, which has no default actions?
fn is_dropped(status: &str, signal: i32) -> bool {
    let bit = 1_u64 << (signal - 1);
    ["SigBlk:", "SigIgn:", "SigCgt:"].iter().all(|field| {
        let value = status.lines().find_map(|line| line.strip_prefix(field));
        value
            .and_then(|value| u64::from_str_radix(value.trim(), 16).ok())
            .is_some_and(|set| set & bit == 0)
    })
}

/// The command gets what the tool got. One that does not care ends of it, even where it is the init of a pid namespace.
fn pass_on(child: i32, private: Private, ending: Ending) {
    let status = || fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
    let signal = if private.has(Kind::Pid) && is_dropped(&status(), ending.signal) {
        libc::SIGKILL
    } else {
        // SAFETY: numbers only.
        let together = unsafe { libc::getpgid(child) == libc::getpgrp() };
        if ending.group && together {
            return;
        }
        ending.signal
    };
    // A child that has ended meanwhile needs none.
    let _ = signal::send(child, signal);
}

/// Run the command; its wait status. No child is left afterwards, and no cgroup but one with tasks that the command left in it.
///
/// The caller has one thread.
pub fn run(options: &Options) -> Result<Status, LaunchError> {
    let held = Held::new().map_err(prepare("hold signals"))?;
    let (go_read, go) = io::pipe().map_err(prepare("make a pipe"))?;
    let (from, report) = io::pipe().map_err(prepare("make a pipe"))?;
    let arguments: Vec<_> = [&options.program]
        .into_iter()
        .chain(&options.arguments)
        .map(|text| text.as_ptr())
        .chain([ptr::null()])
        .collect();
    let how = Fork {
        private: options.private,
        pids: options.pid.as_slice(),
        ..Fork::PLAIN
    };
    // SAFETY: the tool has one thread.
    let pid = match unsafe { fork(&how) }.map_err(LaunchError::Fork)? {
        Forked::Child => {
            // It would wait for itself.
            drop(go);
            become_command(options, &arguments, &held, go_read, &report)
        }
        Forked::Parent(pid) => pid,
    };
    drop(report);
    drop(go_read);
    let mut folder = None;
    let outcome = arrange(options, pid, &mut folder)
        .and_then(|()| start(options, go, from))
        .and_then(|()| {
            held.wait(pid, |ending| pass_on(pid, options.private, ending))
                .map_err(prepare("wait for the command"))
        });
    if outcome.is_err() {
        let _ = signal::send(pid, libc::SIGKILL);
        let _ = orphans::wait(pid);
    }
    drop(folder);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sets: [u64; 3], expected: bool) {
        let [blocked, ignored, caught] = sets;
        let status = format!(
            "Name:\tcat\nSigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n"
        );
        assert_eq!(is_dropped(&status, libc::SIGINT), expected, "{status}");
    }

    #[test]
    fn an_init_gets_no_signal_that_it_does_not_want() {
        check([0, 0, 0], true);
        check([!2, !2, !2], true);
        check([2, 0, 0], false);
        check([0, 2, 0], false);
        check([0, 0, 2], false);
        assert!(!is_dropped("", libc::SIGINT));
    }
}
