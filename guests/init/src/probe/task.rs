//! One task: `/proc/PID/task/TID`, and what system calls say of another task.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crossthaw_protocol::Fields;

use super::text;
use super::translation::Translation;
use crate::error::{AgentError, Context, Result};

/// A thread of the tree.
#[derive(Debug)]
pub(crate) struct Task {
    /// Its pid as the agent sees it.
    pub(super) outer: i32,
    /// Its pid in the tree's own pid namespace.
    pub(super) inner: i32,
    /// The leader of its thread group, in the tree's pid namespace.
    pub(super) leader: i32,
    /// Whether it is the leader.
    pub(super) leads: bool,
    /// `/proc/PID`, or `/proc/PID/task/TID`.
    pub(super) dir: PathBuf,
    pub(super) status: Fields,
    pub(super) stat: Fields,
}

/// Files of a task with one value each; a kernel without one shows nothing.
const FILES: [&str; 16] = [
    "timerslack_ns",
    "oom_score_adj",
    "personality",
    "loginuid",
    "sessionid",
    "autogroup",
    "coredump_filter",
    "cgroup",
    "cpuset",
    "uid_map",
    "gid_map",
    "projid_map",
    "setgroups",
    "timens_offsets",
    "syscall",
    "wchan",
];

fn value<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    let field = fields.iter().find(|field| field.0 == name);
    field.map(|field| field.1.as_str())
}

impl Task {
    /// Read what tells who it is; its pid in the tree is not known yet.
    pub(super) fn open(outer: i32, dir: PathBuf) -> Result<Self> {
        let mut task = Self {
            outer,
            inner: 0,
            leader: 0,
            leads: false,
            dir,
            status: Vec::new(),
            stat: Vec::new(),
        };
        task.status = text::fields(&task.read("status")?);
        task.stat = text::stat(&task.read("stat")?);
        task.leads = task.numbers("Tgid")? == task.numbers("Pid")?;
        Ok(task)
    }

    pub(super) fn read(&self, name: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes(name)?).into_owned())
    }

    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.dir.join(name);
        fs::read(&path).context(|| format!("read {}", path.display()))
    }

    pub(super) fn link(&self, name: &str) -> Result<String> {
        let path = self.dir.join(name);
        let target = fs::read_link(&path).context(|| format!("read link {}", path.display()))?;
        Ok(target.to_string_lossy().into_owned())
    }

    /// Field `name` of its status, split into numbers: one for each pid namespace, the outermost first.
    pub(super) fn numbers(&self, name: &str) -> Result<Vec<i32>> {
        let value = value(&self.status, name).unwrap_or_default();
        text::numbers(value).ok_or_else(|| AgentError::Parse {
            what: "a line of /proc/PID/status",
            text: format!("{name}: {value}"),
        })
    }

    /// Its file of children, which is each thread's own.
    pub(super) fn children(&self) -> String {
        if self.is_leader() {
            format!("task/{}/children", self.outer)
        } else {
            "children".to_owned()
        }
    }

    /// Whether it shows what its whole process has.
    pub(super) fn is_leader(&self) -> bool {
        self.leads
    }

    /// Whether only its exit status is left.
    pub(super) fn is_zombie(&self) -> bool {
        matches!(value(&self.stat, "state"), Some("Z" | "X"))
    }

    /// Whether the cgroup v2 freezer holds it on its way to user mode.
    ///
    /// In a frozen tree that is what sleeps interruptibly; a vfork parent waits in state D, what is stopped or traced in T.
    pub(super) fn is_in_freezer(&self) -> bool {
        value(&self.stat, "state") == Some("S")
    }

    /// Whether it sleeps now.
    pub(super) fn is_asleep(&self) -> Result<bool> {
        let stat = text::stat(&self.read("stat")?);
        Ok(value(&stat, "state") == Some("S"))
    }

    /// The targets of `cwd`, `root` and `exe`; a zombie has none.
    pub(super) fn links(&self) -> Result<Fields> {
        let all = ["cwd", "root", "exe"].into_iter();
        let all = all.filter(|_| !self.is_zombie());
        all.map(|name| Ok((name.to_owned(), self.link(name)?)))
            .collect()
    }

    /// Its namespaces.
    pub(super) fn namespaces(&self) -> Result<Fields> {
        let mut all = Vec::new();
        if self.is_zombie() {
            return Ok(all);
        }
        let path = self.dir.join("ns");
        for entry in fs::read_dir(&path).context(|| format!("list {}", path.display()))? {
            let name = entry
                .context(|| format!("list {}", path.display()))?
                .file_name();
            let name = name.to_string_lossy().into_owned();
            // A pid namespace for children is there only when it has its first one.
            let target = match fs::read_link(path.join(&name)) {
                Ok(target) => target.to_string_lossy().into_owned(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => "empty".to_owned(),
                Err(error) => {
                    return Err(error)
                        .context(|| format!("read link {}", path.join(&name).display()));
                }
            };
            let own = fs::read_link(Path::new("/proc/self/ns").join(&name));
            let outside = own.is_ok_and(|own| own == Path::new(&target));
            all.push((
                name,
                if outside {
                    "outside".to_owned()
                } else {
                    target
                },
            ));
        }
        all.sort();
        Ok(all)
    }

    /// Small files, as far as this kernel has them, and what system calls say.
    pub(super) fn attributes(&self, translation: &Translation) -> Fields {
        let read = |name: &str| Some((name.to_owned(), self.read(name).ok()?.trim().to_owned()));
        let mut all: Fields = FILES.into_iter().filter_map(read).collect();
        if let Ok(meta) = self.dir.metadata() {
            // Root's where the task is not dumpable.
            all.push((
                "proc owner".to_owned(),
                format!("{} {}", meta.uid(), meta.gid()),
            ));
        }
        all.extend(scheduling(self.outer));
        all.extend(io_priority(self.outer));
        all.extend(robust_list(self.outer));
        if let Ok(children) = self.read(&self.children()) {
            let pids = children
                .split_whitespace()
                .map(|pid| translation.pid_text(pid));
            all.push(("children".to_owned(), pids.collect::<Vec<_>>().join(" ")));
        }
        all
    }
}

/// `struct sched_attr` of linux/sched/types.h, its first version and the utilisation clamps.
#[repr(C)]
#[derive(Default)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    util_min: u32,
    util_max: u32,
}

fn scheduling(pid: i32) -> Option<(String, String)> {
    let mut attr = SchedAttr::default();
    let size = size_of::<SchedAttr>();
    // SAFETY: attr has room for as many bytes as its size says.
    let ret = unsafe { libc::syscall(libc::SYS_sched_getattr, pid, &raw mut attr, size, 0) };
    let SchedAttr {
        size: _,
        policy,
        flags,
        nice,
        priority,
        runtime,
        deadline,
        period,
        util_min,
        util_max,
    } = attr;
    let text = format!(
        "policy {policy} flags {flags:#x} nice {nice} priority {priority} runtime {runtime} deadline {deadline} period {period} clamp {util_min} {util_max}"
    );
    (ret == 0).then(|| ("scheduling".to_owned(), text))
}

/// What `ioprio_set(2)` set; nothing if it was not called.
fn io_priority(pid: i32) -> Option<(String, String)> {
    /// `IOPRIO_WHO_PROCESS` of linux/ioprio.h.
    const WHO_PROCESS: libc::c_long = 1;
    // SAFETY: ioprio_get takes numbers only.
    let priority =
        unsafe { libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, libc::c_long::from(pid)) };
    (priority > 0).then(|| ("io priority".to_owned(), priority.to_string()))
}

/// Head of the list of robust futexes, and the size that the task gave.
fn robust_list(pid: i32) -> Option<(String, String)> {
    let (mut head, mut len) = (0usize, 0usize);
    // SAFETY: head and len are places for a pointer and a size.
    let ret = unsafe { libc::syscall(libc::SYS_get_robust_list, pid, &raw mut head, &raw mut len) };
    (ret == 0).then(|| ("robust list".to_owned(), format!("{head:#x} size {len}")))
}
