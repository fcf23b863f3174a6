//! The cgroup of the tree: freezing, killing, listing.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};

use crate::error::{AgentError, Context, Result};
use crate::mounts::CGROUP_ROOT;
use crate::reap;

/// How long freezing, thawing and killing may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// A cgroup v2 folder, and those below it.
#[derive(Clone, Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
}

/// Value of `key` in the text of `cgroup.events`.
fn event(text: &str, key: &str) -> Option<bool> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    Some(value.trim() == "1")
}

/// Whether a task is in state R.
fn is_running(tid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{tid}/stat"));
    // The name is in parentheses, and may have some itself.
    stat.is_ok_and(|stat| {
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('R'))
    })
}

fn pids(text: &str) -> Vec<i32> {
    text.lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect()
}

impl Cgroup {
    /// The cgroup of this name below the root; created if it is not there.
    pub(crate) fn create(name: &str) -> Result<Self> {
        let path = Path::new(CGROUP_ROOT).join(name);
        fs::create_dir_all(&path).context(|| format!("create cgroup {}", path.display()))?;
        Ok(Self { path })
    }

    /// A cgroup by its path, as the shell names it.
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Its folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its folder, for a task to be born in it.
    pub(crate) fn open(&self) -> Result<OwnedFd> {
        rustix::fs::open(
            &self.path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .context(|| format!("open cgroup {}", self.path.display()))
    }

    fn write(&self, file: &str, value: &str) -> Result<()> {
        let path = self.path.join(file);
        fs::write(&path, value).context(|| format!("write {value} to {}", path.display()))
    }

    /// Wait until `cgroup.events` shows `key` with this value.
    fn wait_event(&self, key: &str, value: bool) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        let path = self.path.join("cgroup.events");
        let mut file = File::open(&path).context(|| format!("open {}", path.display()))?;
        loop {
            let mut text = String::new();
            file.seek(SeekFrom::Start(0))
                .context(|| format!("rewind {}", path.display()))?;
            file.read_to_string(&mut text)
                .context(|| format!("read {}", path.display()))?;
            let Some(now) = event(&text, key) else {
                return Err(AgentError::Parse {
                    what: "cgroup.events",
                    text,
                });
            };
            if now == value {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let what = format!("`{key} {}` in {}", i32::from(value), path.display());
                return Err(AgentError::Late {
                    what,
                    seconds: DEADLINE.as_secs(),
                });
            }
            let mut fds = [PollFd::new(&file, PollFlags::PRI)];
            match poll(&mut fds, reap::time_left(Some(deadline)).as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context(|| format!("wait for {}", path.display())),
            }
        }
    }

    /// Move a process into it.
    pub(crate) fn admit(&self, pid: i32) -> Result<()> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// Those right below it.
    fn below(&self) -> Result<Vec<Self>> {
        let failed = || format!("list {}", self.path.display());
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.path).context(failed)? {
            let entry = entry.context(failed)?;
            if entry.file_type().context(failed)?.is_dir() {
                all.push(Self::at(entry.path()));
            }
        }
        Ok(all)
    }

    /// Remove those below it, when nobody is in them any more.
    pub(crate) fn clear(&self) -> Result<()> {
        self.below()?.iter().try_for_each(Self::remove)
    }

    /// Remove it, when nobody is in it any more.
    pub(crate) fn remove(&self) -> Result<()> {
        self.clear()?;
        fs::remove_dir(&self.path).context(|| format!("remove {}", self.path.display()))
    }

    /// Freeze all its tasks and wait until they are frozen.
    pub(crate) fn freeze(&self) -> Result<()> {
        self.write("cgroup.freeze", "1")?;
        self.wait_event("frozen", true)?;
        for below in self.below()? {
            below.wait_frozen()?;
        }
        self.wait_not_running()
    }

    /// Wait until it, and those below it, are frozen.
    fn wait_frozen(&self) -> Result<()> {
        self.wait_event("frozen", true)?;
        self.below()?.iter().try_for_each(Self::wait_frozen)
    }

    /// Wait until none of its tasks runs. A cgroup that has others below it counts as frozen when these are, or when its own tasks are.
    /// Whoever is to be frozen has been woken, and does not sleep before it is.
    fn wait_not_running(&self) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let threads = self.threads()?;
            let Some(running) = threads.into_iter().find(|&tid| is_running(tid)) else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                return Err(AgentError::Late {
                    what: format!("task {running} to be frozen"),
                    seconds: DEADLINE.as_secs(),
                });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Its threads, and those of the cgroups below it.
    fn threads(&self) -> Result<Vec<i32>> {
        let path = self.path.join("cgroup.threads");
        let text = fs::read_to_string(&path).context(|| format!("read {}", path.display()))?;
        let mut all = pids(&text);
        for below in self.below()? {
            all.extend(below.threads()?);
        }
        Ok(all)
    }

    /// Let its tasks run on.
    pub(crate) fn thaw(&self) -> Result<()> {
        self.write("cgroup.freeze", "0")?;
        self.wait_event("frozen", false)
    }

    /// Kill all its tasks, wait until they are gone, and leave it thawed.
    pub(crate) fn kill(&self) -> Result<()> {
        self.write("cgroup.kill", "1")?;
        let deadline = Instant::now() + DEADLINE;
        while !self.is_empty()? {
            reap::collect();
            if Instant::now() >= deadline {
                return Err(AgentError::Late {
                    what: format!("the end of pids {:?}", self.procs()?),
                    seconds: DEADLINE.as_secs(),
                });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        reap::collect();
        self.thaw()
    }

    /// Whether no live task is in it.
    pub(crate) fn is_empty(&self) -> Result<bool> {
        let path = self.path.join("cgroup.events");
        let text = fs::read_to_string(&path).context(|| format!("read {}", path.display()))?;
        event(&text, "populated")
            .map(|populated| !populated)
            .ok_or(AgentError::Parse {
                what: "cgroup.events",
                text,
            })
    }

    /// Its processes, as the agent sees their pids, those below it among them.
    pub(crate) fn procs(&self) -> Result<Vec<i32>> {
        let path = self.path.join("cgroup.procs");
        let text = match fs::read_to_string(&path) {
            // In a cgroup of threads, whose processes are in one above.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => String::new(),
            text => text.context(|| format!("read {}", path.display()))?,
        };
        let mut all = pids(&text);
        for below in self.below()? {
            all.extend(below.procs()?);
        }
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_and_pids_are_read() {
        let text = "populated 1\nfrozen 0\n";
        assert_eq!(event(text, "populated"), Some(true));
        assert_eq!(event(text, "frozen"), Some(false));
        assert_eq!(event(text, "thawed"), None);
        assert_eq!(pids("12\n3\n\n"), [12, 3]);
    }
}
