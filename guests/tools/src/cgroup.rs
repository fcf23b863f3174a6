//! A folder of the cgroup v2 hierarchy that is there as long as the command.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

/// How long a task that was waited for may still count as one of its cgroup: the kernel takes it out when it last leaves the processor.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(2);

/// The folder; it is removed with this value, unless there are tasks in it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Where that of a task is.
    pub fn path(below: &Path, pid: i32) -> PathBuf {
        below.join(pid.to_string())
    }

    /// Make it; below a folder that is no cgroup it is not made.
    pub fn make(path: PathBuf) -> io::Result<Self> {
        fs::create_dir(&path)?;
        let folder = Self { path };
        // A folder on another file system is empty.
        fs::metadata(folder.procs())?;
        Ok(folder)
    }

    fn procs(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// Move a task here.
    pub fn admit(&self, pid: i32) -> io::Result<()> {
        fs::write(self.procs(), pid.to_string())
    }

    fn is_empty(&self) -> bool {
        fs::read(self.procs()).is_ok_and(|pids| pids.is_empty())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = fs::remove_dir(&self.path) {
            let busy = error.kind() == io::ErrorKind::ResourceBusy;
            if !busy || !self.is_empty() || Instant::now() >= deadline {
                return;
            }
            thread::sleep(PAUSE);
        }
    }
}
