//! Waiting for a child while somebody may want the tool to end: SIGINT and SIGTERM are never lost, and never end the tool alone.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::orphans::{self, Status};
use crate::signal;

/// What asks a program to end: ^C, and kill(1).
const ENDING: [libc::c_int; 2] = [libc::SIGINT, libc::SIGTERM];

/// `SI_KERNEL` of asm-generic/siginfo.h: so come the signals of a terminal, to all of its foreground group.
const SI_KERNEL: i32 = 0x80;

/// The last of these signals that came after [`note`], 0 if none did.
static NOTED: AtomicI32 = AtomicI32::new(0);

extern "C" fn keep(signal: libc::c_int) {
    NOTED.store(signal, Ordering::Relaxed);
}

/// One of [`ENDING`] that the tool got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Its number.
    pub signal: i32,
    /// Everybody in the tool's process group got it as well.
    pub group: bool,
}

fn check(ret: libc::c_int) -> io::Result<libc::c_int> {
    if ret == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(ret)
    }
}

fn ending_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set, and the signals exist.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in ENDING {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// From now on these signals interrupt a system call and are kept for [`Held::wait`].
pub fn note() -> io::Result<()> {
    let handler: extern "C" fn(libc::c_int) = keep;
    for signal in ENDING {
        // SAFETY: zero is a valid value of each field: no flags, so that system calls are interrupted.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        action.sa_sigaction = handler as libc::sighandler_t;
        // SAFETY: the action is valid while the call lasts, and its handler only stores a number.
        check(unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) })?;
    }
    Ok(())
}

/// Has one come since [`note`]?
pub fn noted() -> bool {
    NOTED.load(Ordering::Relaxed) != 0
}

/// From its making to the end of the tool the signals wait for somebody to ask for them: one that comes late must not hide how the child
/// ended.
#[derive(Debug)]
pub struct Held {
    arrivals: OwnedFd,
    mask: libc::sigset_t,
    child_action: libc::sighandler_t,
}

impl Held {
    /// Hold them, and make sure that children have a status to wait for.
    pub fn new() -> io::Result<Self> {
        let set = ending_set();
        // SAFETY: the set is valid.
        let arrivals = check(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC) })?;
        // SAFETY: the descriptor is new, and nobody else's.
        let arrivals = unsafe { OwnedFd::from_raw_fd(arrivals) };
        let mut mask = MaybeUninit::uninit();
        // SAFETY: both sets are valid; this initialises the second, as an error is only given for a bad first argument.
        let mask = unsafe {
            check(libc::sigprocmask(
                libc::SIG_BLOCK,
                &raw const set,
                mask.as_mut_ptr(),
            ))?;
            mask.assume_init()
        };
        // Who started the tool may ignore this signal, and then the kernel would not keep a status.
        // SAFETY: this action runs no handler.
        let child_action = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
        Ok(Self {
            arrivals,
            mask,
            child_action,
        })
    }

    /// In a child that is about to execute a program: signals are as they were when the tool was started. No memory is allocated.
    pub fn release(&self) {
        // SAFETY: the actions are none of ours: SIGPIPE is one that Rust ignores in its programs. The mask is one that the kernel gave.
        unsafe {
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
            libc::signal(libc::SIGCHLD, self.child_action);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const self.mask, ptr::null_mut());
        }
    }

    fn next(&self) -> io::Result<Ending> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: there is room for the one that is asked for.
        let got = unsafe { libc::read(self.arrivals.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if usize::try_from(got) != Ok(size) {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: all of it was read, and any bytes are numbers.
        let info = unsafe { info.assume_init() };
        Ok(Ending {
            signal: info.ssi_signo.cast_signed(),
            group: info.ssi_code == SI_KERNEL,
        })
    }

    /// Wait for a child, whatever signal it sends when it ends; `ending` is called for each signal that the tool gets meanwhile, or got
    /// since [`note`].
    pub fn wait(&self, child: i32, mut ending: impl FnMut(Ending)) -> io::Result<Status> {
        let pid = Pid::from_raw(child).ok_or(Errno::SRCH)?;
        let ended = pidfd_open(pid, PidfdFlags::empty())?;
        let noted = NOTED.swap(0, Ordering::Relaxed);
        if noted != 0 {
            ending(Ending {
                signal: noted,
                group: false,
            });
        }
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.arrivals.as_fd(), PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let [ended, arrived] = fds.map(|fd| !fd.revents().is_empty());
            if ended {
                return orphans::wait(child);
            }
            if arrived {
                ending(self.next()?);
            }
        }
    }
}

/// Wait for the root of a tree, which gets `signal` whenever the tool is asked to end; what asked for it last, if anything did.
///
/// A tree that was ended so is ended whole: what the root leaves is killed. For that the caller has one thread, and called
/// [`orphans::adopt`].
pub fn tree(root: i32, signal: i32) -> io::Result<(Status, Option<i32>)> {
    let held = Held::new()?;
    let mut asked = None;
    let status = held.wait(root, |ending| {
        asked = Some(ending.signal);
        // A root that has ended meanwhile needs none.
        let _ = signal::send(root, signal);
    })?;
    if asked.is_some() {
        orphans::end_all(&[]);
    }
    Ok((status, asked))
}
