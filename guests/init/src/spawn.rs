//! Starting programs: fork, a few calls in the child, exec.
//!
//! The agent has one thread, so its children are plain copies of it. In the child nothing is allocated and nothing returns.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use crossthaw_tools::container;
use crossthaw_tools::fork::{Fork, Forked, Namespaces, Private, fork};
use rustix::fs::MemfdFlags;
use rustix::pipe::PipeFlags;

use crate::error::{AgentError, Context, Result};
use crate::owner::{self, Owner};
use crate::reap;

/// A program with its arguments and environment, ready for exec.
#[derive(Debug)]
pub(crate) struct Program {
    path: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| AgentError::Refused(format!("{text:?} has a zero byte in it")))
}

impl Program {
    /// `argv[0]` without a slash is looked up in /bin.
    pub(crate) fn new(argv: &[String], env: &[(String, String)]) -> Result<Self> {
        let Some(name) = argv.first() else {
            return Err(AgentError::Refused("no program is named".to_owned()));
        };
        let path = if name.contains('/') {
            name.clone()
        } else {
            format!("/bin/{name}")
        };
        Self::at(&path, argv, env)
    }

    /// The program at this path; a relative one begins at its working directory.
    pub(crate) fn at(path: &str, argv: &[String], env: &[(String, String)]) -> Result<Self> {
        Ok(Self {
            path: c_string(path)?,
            argv: argv
                .iter()
                .map(|arg| c_string(arg))
                .collect::<Result<_>>()?,
            env: env
                .iter()
                .map(|(name, value)| c_string(&format!("{name}={value}")))
                .collect::<Result<_>>()?,
        })
    }
}

/// Where a child's standard descriptors lead.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stdio<'a> {
    /// To /dev/null, opened by the child, so that it shares no open file with the agent.
    Null,
    /// Standard input from /dev/null, the other two as given.
    Output(BorrowedFd<'a>, BorrowedFd<'a>),
    /// Standard input from /dev/null, the other two to the ends of these files, all opened by the child.
    Files([&'a CStr; 2]),
    /// To a terminal, which becomes the controlling terminal of the child's session.
    Terminal(BorrowedFd<'a>),
    /// Those of the caller.
    Inherit,
}

/// Whether a child leads a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// A new one.
    Own,
    /// Its parent's.
    Inherited,
}

/// How a program is started.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// Namespaces of the child.
    pub(crate) namespaces: Namespaces,
    /// More of them.
    pub(crate) private: Private,
    /// Its root directory; the caller's if `None`.
    pub(crate) root: Option<&'a CStr>,
    /// A user namespace of somebody without privileges, who starts it.
    pub(crate) owner: Option<BorrowedFd<'a>>,
    /// User and group that it becomes, without other groups; the caller's if `None`.
    pub(crate) user: Option<(u32, u32)>,
    /// Cgroup of the child.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    /// Its session.
    pub(crate) session: Session,
    /// Its working directory; the caller's if `None`.
    pub(crate) cwd: Option<&'a CStr>,
    /// Its standard descriptors.
    pub(crate) stdio: Stdio<'a>,
}

/// What the child was doing when it failed; sent through a pipe as one byte.
const STEPS: [&str; 10] = [
    "enter its namespaces and root directory",
    "open its standard descriptors",
    "set up standard descriptors",
    "begin a session",
    "take the terminal",
    "change to the working directory",
    "become another user",
    "execute the program",
    "become the owner of a user namespace",
    "fork in the user namespace",
];

/// In the place of a step: the child has forked the program, with the pid that follows.
const FORKED: u8 = u8::MAX;

fn check(step: u8, ret: libc::c_int) -> std::result::Result<libc::c_int, (u8, i32)> {
    if ret < 0 {
        Err((step, last_errno()))
    } else {
        Ok(ret)
    }
}

fn last_errno() -> i32 {
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}

/// Give a child default signal dispositions and an empty mask.
fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: default dispositions refer to no code; signals that cannot be changed are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset fills the set before it is read; a null old set is allowed.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), ptr::null_mut());
    }
}

fn set_stdio(stdio: Stdio<'_>) -> std::result::Result<(), (u8, i32)> {
    let open_null = || {
        // SAFETY: the name ends with a zero byte.
        let fd = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        check(1, fd)
    };
    let targets = match stdio {
        Stdio::Inherit => return Ok(()),
        Stdio::Null => [open_null()?; 3],
        Stdio::Files([out, err]) => {
            let append = |path: &CStr| {
                let flags = libc::O_WRONLY | libc::O_APPEND | libc::O_LARGEFILE | libc::O_CLOEXEC;
                // SAFETY: a CStr ends with a zero byte.
                check(1, unsafe { libc::open(path.as_ptr(), flags) })
            };
            [open_null()?, append(out)?, append(err)?]
        }
        Stdio::Output(out, err) => [open_null()?, out.as_raw_fd(), err.as_raw_fd()],
        Stdio::Terminal(tty) => [tty.as_raw_fd(); 3],
    };
    for (number, target) in (0..).zip(targets) {
        // SAFETY: only descriptor numbers; what 0 to 2 were is no longer needed in the child.
        check(2, unsafe { libc::dup2(target, number) })?;
    }
    Ok(())
}

/// Everything between fork and exec; returns only on failure: step and errno.
fn child(
    program: &Program,
    argv: &[*const libc::c_char],
    env: &[*const libc::c_char],
    launch: &Launch<'_>,
) -> (u8, i32) {
    let steps = || -> std::result::Result<(), (u8, i32)> {
        reset_signals();
        container::enter(launch.namespaces, launch.private, launch.root)
            .map_err(|error| (0, error.raw_os_error().unwrap_or(libc::EIO)))?;
        set_stdio(launch.stdio)?;
        if launch.session == Session::Own {
            // SAFETY: no pointers.
            check(3, unsafe { libc::setsid() })?;
        }
        if matches!(launch.stdio, Stdio::Terminal(_)) {
            // SAFETY: TIOCSCTTY takes a number.
            check(4, unsafe { libc::ioctl(0, libc::TIOCSCTTY, 1) })?;
        }
        // SAFETY: numbers only; every other descriptor is closed on exec, among them the pipe that reports a failure.
        unsafe {
            libc::umask(0o022);
            libc::syscall(
                libc::SYS_close_range,
                3,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            );
        }
        if let Some(cwd) = launch.cwd {
            // SAFETY: a CStr ends with a zero byte.
            check(5, unsafe { libc::chdir(cwd.as_ptr()) })?;
        }
        if let Some((uid, gid)) = launch.user {
            // SAFETY: an empty list of groups, and numbers. The agent has one thread, so no other has to follow.
            unsafe {
                check(6, libc::setgroups(0, ptr::null()))?;
                check(6, libc::setgid(gid))?;
                check(6, libc::setuid(uid))?;
            }
        }
        // SAFETY: path and strings end with a zero byte, the two arrays with a null pointer, and all outlive the call.
        check(7, unsafe {
            libc::execve(program.path.as_ptr(), argv.as_ptr(), env.as_ptr())
        })
        .map(drop)
    };
    // execve does not return when it succeeds.
    steps().err().unwrap_or((7, libc::EIO))
}

/// Fork again, in the owner's user namespace: it owns what namespaces the program gets. Returns in the program's process, or not at all.
fn fork_owned(launch: &Launch<'_>, tell: impl Fn(u8, i32)) -> std::result::Result<(), (u8, i32)> {
    let failed = |step| move |error: io::Error| (step, error.raw_os_error().unwrap_or(libc::EIO));
    let Some(namespace) = launch.owner else {
        return Ok(());
    };
    owner::enter(namespace).map_err(failed(8))?;
    let how = Fork {
        namespaces: launch.namespaces,
        private: launch.private,
        sibling: true,
        ..Fork::PLAIN
    };
    // SAFETY: the agent has one thread, and so has its child.
    match unsafe { fork(&how) }.map_err(failed(9))? {
        Forked::Child => Ok(()),
        Forked::Parent(pid) => {
            tell(FORKED, pid);
            // SAFETY: ends this copy without running anything of the agent's.
            unsafe { libc::_exit(0) }
        }
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|text| text.as_ptr())
        .chain([ptr::null()])
        .collect()
}

/// Start a program; returns its pid once it is executed.
pub(crate) fn launch(program: &Program, launch: &Launch<'_>) -> Result<i32> {
    let (argv, env) = (pointers(&program.argv), pointers(&program.env));
    let (read, write) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe".to_owned())?;
    let (namespaces, private) = match launch.owner {
        Some(_) => (Namespaces::Inherited, Private::default()),
        None => (launch.namespaces, launch.private),
    };
    let how = Fork {
        namespaces,
        private,
        cgroup: launch.cgroup,
        ..Fork::PLAIN
    };
    // SAFETY: the agent has one thread.
    let forked =
        unsafe { fork(&how) }.context(|| format!("fork for {}", program.path.to_string_lossy()))?;
    let pid = match forked {
        Forked::Parent(pid) => pid,
        Forked::Child => {
            let tell = |step: u8, number: i32| {
                let [a, b, c, d] = number.to_ne_bytes();
                let _ = rustix::io::write(&write, &[step, a, b, c, d]);
            };
            let (step, errno) = match fork_owned(launch, tell) {
                Ok(()) => child(program, &argv, &env, launch),
                Err(failure) => failure,
            };
            tell(step, errno);
            // SAFETY: ends this copy without running anything of the parent's.
            unsafe { libc::_exit(127) }
        }
    };
    reap::forget(pid);
    drop(write);
    let mut message = Vec::new();
    let outcome = File::from(read).read_to_end(&mut message);
    outcome.context(|| "read from the child".to_owned())?;
    let mut pid = pid;
    for told in message.chunks_exact(5) {
        let number = i32::from_ne_bytes([told[1], told[2], told[3], told[4]]);
        reap::wait(pid, None, None)?;
        if told[0] == FORKED {
            reap::forget(pid);
            pid = number;
            continue;
        }
        let step = STEPS.get(usize::from(told[0])).copied().unwrap_or("start");
        return Err(AgentError::Io {
            what: format!("{step} for {}", program.path.to_string_lossy()),
            source: io::Error::from_raw_os_error(number),
        });
    }
    Ok(pid)
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Output {
    /// Exit code, or 128 + signal.
    pub(crate) code: i32,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
}

/// Exit code as a shell gives it: 128 + signal for a killed program.
pub(crate) fn exit_code(status: i32) -> i32 {
    if libc::WIFSIGNALED(status) {
        128 + libc::WTERMSIG(status)
    } else {
        libc::WEXITSTATUS(status)
    }
}

fn scratch(name: &str) -> Result<OwnedFd> {
    rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).context(|| "make a memfd".to_owned())
}

fn contents(fd: OwnedFd) -> Result<String> {
    let mut file = File::from(fd);
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_end(&mut bytes))
        .context(|| "read a command's output".to_owned())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A command that runs outside the tree, and whose output is kept.
#[derive(Debug)]
pub(crate) struct Running {
    pid: i32,
    out: OwnedFd,
    err: OwnedFd,
}

impl Running {
    /// Start it; `owner` runs it, or root.
    pub(crate) fn start(argv: &[String], owner: Option<&Owner>) -> Result<Self> {
        let program = Program::new(argv, &[("PATH".to_owned(), "/bin".to_owned())])?;
        let (out, err) = (scratch("stdout")?, scratch("stderr")?);
        let cgroup = owner.map(|owner| owner.tools().open()).transpose()?;
        let pid = launch(
            &program,
            &Launch {
                namespaces: Namespaces::Inherited,
                private: Private::default(),
                root: None,
                owner: owner.map(Owner::namespace),
                user: None,
                cgroup: cgroup.as_ref().map(AsFd::as_fd),
                session: Session::Own,
                cwd: Some(c"/"),
                stdio: Stdio::Output(out.as_fd(), err.as_fd()),
            },
        )?;
        Ok(Self { pid, out, err })
    }

    /// Wait for its end.
    pub(crate) fn end(self) -> Result<Output> {
        let reap::Wait::Ended(status) = reap::wait(self.pid, None, None)? else {
            unreachable!("without an event and a deadline only the end of the child ends the wait")
        };
        Ok(Output {
            code: exit_code(status),
            stdout: contents(self.out)?,
            stderr: contents(self.err)?,
        })
    }
}
