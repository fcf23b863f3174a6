//! The tree of tasks that a trial is about.

use std::ffi::CStr;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossthaw_protocol::{Enclosure, READY_FILE, REPORT_FILE, Reply, SCENARIO_DIR, Surroundings};
use crossthaw_tools::fork::{Namespaces, Private};
use rustix::fs::inotify;
use rustix::process::{Pid, Signal, kill_process};

use crate::cgroup::Cgroup;
use crate::error::{AgentError, Context, Result};
use crate::owner::{self, Owner};
use crate::probe::Renamed;
use crate::program;
use crate::reap::{self, Wait};
use crate::spawn::{self, Launch, Program, Session, Stdio};

/// Name of the tree's cgroup.
pub(crate) const CGROUP: &str = "tree";

/// A plain subtree's root gets the next pid, so that its pids are free in another guest.
const LAST_PID: &str = "1000";

/// A started or restarted tree.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Its root, a child of the agent, as the agent sees it.
    pub(crate) root: i32,
    /// How it is separated.
    pub(crate) enclosure: Enclosure,
    /// Where its tasks are.
    pub(crate) cgroup: Cgroup,
    /// Who started or restarted it; root if `None`.
    pub(crate) owner: Option<Owner>,
    /// What its tasks were called before a restart that has given them new pids.
    pub(crate) renamed: Option<Renamed>,
}

/// How the root of a tree is started, where that is not always the same.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    /// Who starts it, and does all with it; root if `None`.
    pub(crate) owner: Option<Owner>,
    /// A user namespace that root starts it in, if there is no owner.
    pub(crate) users: Option<OwnedFd>,
    /// Namespaces beside those of the enclosure.
    pub(crate) private: Private,
    /// Its root directory; the agent's if `None`.
    pub(crate) root: Option<&'a CStr>,
    /// User and group; root if `None`.
    pub(crate) user: Option<(u32, u32)>,
    /// Its standard descriptors.
    pub(crate) stdio: Stdio<'a>,
}

/// The cgroup for a new tree, which must be empty and thawed.
pub(crate) fn prepare_cgroup(owner: Option<&Owner>) -> Result<Cgroup> {
    let cgroup = match owner {
        Some(owner) => owner.tree().clone(),
        None => Cgroup::create(CGROUP)?,
    };
    if !cgroup.is_empty()? {
        return Err(AgentError::Refused(format!(
            "the tree of before still runs: pids {:?}; kill it first",
            cgroup.procs()?
        )));
    }
    cgroup.clear()?;
    cgroup.thaw()?;
    Ok(cgroup)
}

/// A new cgroup in the place of the one that [`prepare_cgroup`] gives; the same one if there are tasks in it.
pub(crate) fn renew_cgroup() -> Result<()> {
    let _ = Cgroup::create(CGROUP)?.remove();
    prepare_cgroup(None).map(drop)
}

impl Tree {
    /// Start a workload in the scenario's folder.
    pub(crate) fn start(
        enclosure: Enclosure,
        surroundings: Surroundings,
        argv: &[String],
    ) -> Result<Self> {
        let program = Program::new(argv, &[])?;
        let start = Start {
            owner: Owner::of(surroundings.caller)?,
            users: owner::namespace_of(surroundings.caller)?,
            private: program::private(surroundings),
            root: None,
            user: None,
            stdio: Stdio::Null,
        };
        Self::start_as(enclosure, &program, start)
    }

    /// The same with all that can be chosen.
    pub(crate) fn start_as(
        enclosure: Enclosure,
        program: &Program,
        start: Start<'_>,
    ) -> Result<Self> {
        let cgroup = prepare_cgroup(start.owner.as_ref())?;
        let folder = cgroup.open()?;
        let namespaces = match enclosure {
            Enclosure::Container => Namespaces::Container,
            Enclosure::Subtree => {
                let path = "/proc/sys/kernel/ns_last_pid";
                fs::write(path, LAST_PID).context(|| format!("write {LAST_PID} to {path}"))?;
                Namespaces::Inherited
            }
        };
        let root = spawn::launch(
            program,
            &Launch {
                namespaces,
                private: start.private,
                root: start.root,
                owner: match &start.owner {
                    Some(owner) => Some(owner.namespace()),
                    None => start.users.as_ref().map(AsFd::as_fd),
                },
                user: start.user,
                cgroup: Some(folder.as_fd()),
                session: Session::Own,
                cwd: Some(c"/scenario"),
                stdio: start.stdio,
            },
        )?;
        Ok(Self {
            root,
            enclosure,
            cgroup,
            owner: start.owner,
            renamed: None,
        })
    }

    /// Send SIGUSR1 to the root.
    pub(crate) fn resume(&self) -> Result<()> {
        if let Some(status) = reap::status(self.root) {
            return Err(AgentError::Refused(format!(
                "the root has already ended: {}",
                describe_status(status)
            )));
        }
        let root = Pid::from_raw(self.root)
            .ok_or_else(|| AgentError::Refused(format!("{} is no pid", self.root)))?;
        kill_process(root, Signal::USR1).context(|| format!("send SIGUSR1 to pid {root:?}"))
    }

    /// Wait until the ready file exists or the root ends.
    pub(crate) fn wait_ready(&self, timeout: Duration) -> Result<Reply> {
        let deadline = Instant::now().checked_add(timeout);
        let ready = Path::new(SCENARIO_DIR).join(READY_FILE);
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .context(|| "watch files".to_owned())?;
        inotify::add_watch(
            &watch,
            SCENARIO_DIR,
            inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO,
        )
        .context(|| format!("watch {SCENARIO_DIR}"))?;
        loop {
            let mut events = [0u8; 4096];
            while rustix::io::read(&watch, &mut events).is_ok_and(|n| n > 0) {}
            if ready.exists() {
                return Ok(Reply::Ready);
            }
            match reap::wait(self.root, Some(watch.as_fd()), deadline)? {
                Wait::Event => {}
                Wait::Ended(status) => return Ok(exited(status)),
                Wait::Late => return Ok(Reply::TimedOut),
            }
        }
    }

    /// Wait until the root ends.
    pub(crate) fn wait_exit(&self, timeout: Duration) -> Result<Reply> {
        match reap::wait(self.root, None, Instant::now().checked_add(timeout))? {
            Wait::Ended(status) => Ok(exited(status)),
            Wait::Event | Wait::Late => Ok(Reply::TimedOut),
        }
    }
}

fn exited(status: i32) -> Reply {
    let report = fs::read(Path::new(SCENARIO_DIR).join(REPORT_FILE)).ok();
    Reply::Exited {
        status,
        report: report.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    }
}

pub(crate) fn describe_status(status: i32) -> String {
    if libc::WIFSIGNALED(status) {
        format!("killed by signal {}", libc::WTERMSIG(status))
    } else {
        format!("exit code {}", libc::WEXITSTATUS(status))
    }
}

/// `PF_KTHREAD` of linux/sched.h, in the flags field of /proc/PID/stat.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Name and flags from /proc/PID/stat, whose second field may hold blanks and parentheses.
fn parse_stat(text: &str) -> Option<(&str, u64)> {
    let (head, tail) = text.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    // After the name: state, ppid, pgrp, session, tty, tpgid, flags.
    Some((name, tail.split_whitespace().nth(6)?.parse().ok()?))
}

/// `PF_EXITING` of linux/sched.h.
const EXITING: u64 = 0x4;

/// How long a task may take from where it has left its cgroup to its end.
const END: Duration = Duration::from_secs(2);

/// Every task but the agent and kernel threads; those that exit may do so first.
pub(crate) fn survivors() -> Result<Vec<(i32, String)>> {
    let deadline = Instant::now() + END;
    loop {
        reap::collect();
        let mut left = tasks()?;
        left.retain(|&(pid, _, flags)| pid != 1 && flags & KERNEL_THREAD == 0);
        let exits = left.iter().any(|&(.., flags)| flags & EXITING != 0);
        if !exits || Instant::now() >= deadline {
            let mut left: Vec<_> = left.into_iter().map(|(pid, name, _)| (pid, name)).collect();
            left.sort_unstable();
            return Ok(left);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How many threads of the kernel there are.
pub(crate) fn kernel_threads() -> Result<u64> {
    let tasks = tasks()?;
    let threads = tasks
        .iter()
        .filter(|(.., flags)| flags & KERNEL_THREAD != 0);
    Ok(u64::try_from(threads.count()).unwrap_or(u64::MAX))
}

/// Pid, name and flags of every task.
fn tasks() -> Result<Vec<(i32, String, u64)>> {
    let mut tasks = Vec::new();
    for entry in fs::read_dir("/proc")
        .context(|| "list /proc".to_owned())?
        .flatten()
    {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let path: PathBuf = entry.path().join("stat");
        // A task that ends while the list is made is no survivor.
        let Ok(text) = fs::read(&path) else { continue };
        let text = String::from_utf8_lossy(&text);
        let Some((name, flags)) = parse_stat(&text) else {
            continue;
        };
        tasks.push((pid, name.to_owned(), flags));
    }
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_confuse_the_reader_of_stat() {
        let text = "7 (a) b (c)) S 2 0 0 0 -1 2129984 0 0";
        assert_eq!(parse_stat(text), Some(("a) b (c)", 2_129_984)));
        assert_eq!(parse_stat("garbage"), None);
    }
}
