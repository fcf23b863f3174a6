//! What somebody does to a frozen tree while it is checkpointed.

use std::time::Duration;
use std::{io, ptr};

use crossthaw_protocol::{Disturb, Disturbance};
use crossthaw_tools::fork::{Fork, Forked, fork};
use rustix::process::{Pid, Signal, kill_process};

use crate::cgroup::Cgroup;
use crate::error::{AgentError, Context, Result};
use crate::reap;
use crate::tree::Tree;

/// Name of a cgroup that is never frozen.
const AWAY: &str = "away";

/// How long a tracer stays, or a tree runs.
const DISTURBED: Duration = Duration::from_millis(2);

/// The youngest process but the root.
fn victim(tree: &Tree) -> Result<i32> {
    let pids = tree.cgroup.procs()?;
    let victim = pids.into_iter().filter(|&pid| pid != tree.root).max();
    victim.ok_or_else(|| AgentError::Refused("the tree has no process but its root".to_owned()))
}

/// Trace a process and stop it for a moment. No memory is allocated.
fn trace(pid: i32) -> io::Result<()> {
    let ptrace = |request: libc::c_uint| {
        // SAFETY: none of these requests takes an address.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_ptrace,
                request as usize,
                libc::c_long::from(pid),
                0_usize,
                0_usize,
            )
        };
        if ret == -1 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    };
    ptrace(libc::PTRACE_SEIZE as libc::c_uint)?;
    ptrace(libc::PTRACE_INTERRUPT as libc::c_uint)?;
    // SAFETY: a null status is allowed.
    unsafe { libc::waitpid(pid, ptr::null_mut(), libc::__WALL) };
    std::thread::sleep(DISTURBED);
    ptrace(libc::PTRACE_DETACH as libc::c_uint)
}

/// Have the tree run for a moment.
fn thaw(cgroup: &Cgroup) -> Result<()> {
    cgroup.thaw()?;
    std::thread::sleep(DISTURBED);
    cgroup.freeze()
}

/// Somebody who disturbs a tree; a process of its own, as the tool that checkpoints is one.
#[derive(Debug)]
pub(crate) struct Disturber {
    pid: i32,
    what: Disturbance,
    victim: i32,
    away: Cgroup,
}

impl Disturber {
    /// Have the tree disturbed after some time.
    pub(crate) fn start(tree: &Tree, disturb: Disturb) -> Result<Self> {
        let Disturb { what, after_us, .. } = disturb;
        let (victim, away) = (victim(tree)?, Cgroup::create(AWAY)?);
        // SAFETY: the agent has one thread.
        let pid = match unsafe { fork(&Fork::PLAIN) }.context(|| "fork a disturber".to_owned())? {
            Forked::Parent(pid) => pid,
            Forked::Child => {
                std::thread::sleep(Duration::from_micros(after_us));
                let done = match what {
                    Disturbance::Thaw => thaw(&tree.cgroup).is_ok(),
                    Disturbance::Migrate => away.admit(victim).is_ok(),
                    Disturbance::Trace => trace(victim).is_ok(),
                    Disturbance::Kill => Pid::from_raw(victim)
                        .is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok()),
                };
                // SAFETY: ends this copy without running anything of the agent's.
                unsafe { libc::_exit(i32::from(!done)) }
            }
        };
        reap::forget(pid);
        Ok(Self {
            pid,
            what,
            victim,
            away,
        })
    }

    /// The checkpoint is over: the tree is whole again, but for what was killed, and frozen.
    pub(crate) fn end(self, tree: &Tree) -> Result<()> {
        let ended = reap::wait(self.pid, None, None)?;
        if self.what == Disturbance::Migrate {
            tree.cgroup.admit(self.victim)?;
        }
        self.away.remove()?;
        tree.cgroup.freeze()?;
        if ended == reap::Wait::Ended(0) {
            return Ok(());
        }
        let Self { what, victim, .. } = self;
        Err(AgentError::Refused(format!(
            "the disturbance {what:?} of pid {victim} could not be"
        )))
    }
}
