//! Looking at a frozen tree from outside.

mod files;
mod memory;
mod text;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crossthaw_protocol::{State, TaskState};

use crate::error::{AgentError, Context, Result};

/// `/proc/PID` of one task.
#[derive(Debug)]
pub(crate) struct Task {
    /// Its pid as the agent sees it.
    outer: i32,
    /// Its pid in the tree's own pid namespace.
    inner: i32,
    dir: PathBuf,
    status: Vec<(String, String)>,
}

impl Task {
    fn read(&self, name: &str) -> Result<String> {
        let path = self.dir.join(name);
        let bytes = fs::read(&path).context(|| format!("read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn link(&self, name: &str) -> Result<String> {
        let path = self.dir.join(name);
        let target = fs::read_link(&path).context(|| format!("read link {}", path.display()))?;
        Ok(target.to_string_lossy().into_owned())
    }

    /// Field `name` of its status, split into numbers: one for each pid namespace, the outermost first.
    fn numbers(&self, name: &str) -> Result<Vec<i32>> {
        let value = self
            .status
            .iter()
            .find(|(field, _)| field == name)
            .map_or("", |(_, value)| value);
        text::numbers(value).ok_or_else(|| AgentError::Parse {
            what: "a line of /proc/PID/status",
            text: format!("{name}: {value}"),
        })
    }
}

/// Translates pids into the tree's pid namespace.
#[derive(Debug)]
struct Translation {
    /// How deep the tree's pid namespace lies below the agent's.
    level: usize,
    /// Pid as the agent sees it, to pid in the tree.
    pids: BTreeMap<i32, i32>,
}

impl Translation {
    fn pid(&self, outer: i32) -> i32 {
        self.pids.get(&outer).copied().unwrap_or(0)
    }

    /// Of the numbers of a task in each pid namespace, the tree's; 0 where it is not one of the tree's tasks.
    fn group(&self, numbers: &[i32]) -> i32 {
        let inner = numbers.get(self.level).copied().unwrap_or(0);
        if self.pids.values().any(|&pid| pid == inner) {
            inner
        } else {
            0
        }
    }

    /// The task's status with all pids translated.
    fn status(&self, task: &Task) -> Result<Vec<(String, String)>> {
        let translate = |(name, value): &(String, String)| {
            let value = match name.as_str() {
                "PPid" | "TracerPid" => self.pid(value.trim().parse().unwrap_or(0)).to_string(),
                "Tgid" | "Pid" | "NStgid" | "NSpid" => task.inner.to_string(),
                "NSpgid" | "NSsid" => self.group(&task.numbers(name)?).to_string(),
                _ => value.clone(),
            };
            Ok((name.clone(), value))
        };
        task.status.iter().map(translate).collect()
    }
}

fn open_tasks(root: i32, pids: &[i32]) -> Result<(Vec<Task>, Translation)> {
    let mut tasks = Vec::new();
    let mut level = None;
    for &outer in pids {
        let dir = Path::new("/proc").join(outer.to_string());
        let mut task = Task {
            outer,
            inner: 0,
            dir,
            status: Vec::new(),
        };
        task.status = text::fields(&task.read("status")?);
        if outer == root {
            level = task.numbers("NSpid")?.len().checked_sub(1);
        }
        tasks.push(task);
    }
    let Some(level) = level else {
        return Err(AgentError::Refused(format!(
            "pid {root}, the root of the tree, is not in its cgroup: it has ended, or was moved"
        )));
    };
    for task in &mut tasks {
        task.inner = task.numbers("NSpid")?.get(level).copied().unwrap_or(0);
    }
    tasks.sort_by_key(|task| task.inner);
    let pids = tasks.iter().map(|task| (task.outer, task.inner)).collect();
    Ok((tasks, Translation { level, pids }))
}

/// The state of these tasks, which are frozen.
pub(crate) fn probe(root: i32, pids: &[i32]) -> Result<State> {
    let (tasks, translation) = open_tasks(root, pids)?;
    let mut fds = files::probe(&tasks)?;
    let states = tasks.iter().map(|task| {
        let fds = fds.remove(&task.inner).unwrap_or_default();
        probe_task(task, &translation, fds)
    });
    Ok(State {
        tasks: states.collect::<Result<_>>()?,
    })
}

fn probe_task(
    task: &Task,
    translation: &Translation,
    fds: Vec<crossthaw_protocol::FdState>,
) -> Result<TaskState> {
    let parent = task.numbers("PPid")?.first().copied().unwrap_or(0);
    Ok(TaskState {
        pid: task.inner,
        ppid: translation.pid(parent),
        pgid: translation.group(&task.numbers("NSpgid")?),
        sid: translation.group(&task.numbers("NSsid")?),
        comm: task.read("comm")?.trim_end_matches('\n').to_owned(),
        cmdline: text::arguments(&task.read("cmdline")?),
        status: translation.status(task)?,
        limits: text::limits(&task.read("limits")?),
        links: ["cwd", "root", "exe"]
            .into_iter()
            .map(|name| Ok((name.to_owned(), task.link(name)?)))
            .collect::<Result<_>>()?,
        maps: memory::probe(task)?,
        fds,
        auxv: auxv(task)?,
        attributes: attributes(task),
    })
}

fn auxv(task: &Task) -> Result<Vec<(u64, u64)>> {
    let path = task.dir.join("auxv");
    let bytes = fs::read(&path).context(|| format!("read {}", path.display()))?;
    Ok(text::auxv(&bytes))
}

/// Small files of /proc/PID, as far as this kernel has them.
fn attributes(task: &Task) -> Vec<(String, String)> {
    let read = |name: &str| Some((name.to_owned(), task.read(name).ok()?.trim().to_owned()));
    ["timerslack_ns", "oom_score_adj", "personality"]
        .into_iter()
        .filter_map(read)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translation() -> Translation {
        Translation {
            level: 1,
            pids: BTreeMap::from([(1234, 1), (1235, 2)]),
        }
    }

    #[test]
    fn pids_outside_the_tree_are_zero() {
        let translation = translation();
        assert_eq!((translation.pid(1235), translation.pid(1)), (2, 0));
        assert_eq!(
            (
                translation.group(&[1234, 1]),
                translation.group(&[900, 0]),
                translation.group(&[900])
            ),
            (1, 0, 0)
        );
    }

    #[test]
    fn every_pid_of_the_status_is_translated() {
        let text = "Name:\tx\nTgid:\t1235\nPid:\t1235\nPPid:\t1234\nTracerPid:\t0\nNStgid:\t1235\t2\nNSpid:\t1235\t2\nNSpgid:\t1234\t1\nNSsid:\t1\t0\n";
        let task = Task {
            outer: 1235,
            inner: 2,
            dir: PathBuf::new(),
            status: text::fields(text),
        };
        let status = translation().status(&task).unwrap();
        let values: Vec<&str> = status.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["x", "2", "2", "1", "0", "2", "2", "1", "0"]);
    }

    #[test]
    fn a_process_of_the_host_can_be_probed() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // It is executed and waits when it has read what it was sent.
        let sleeps = || {
            fs::read_to_string(format!("/proc/{pid}/stat"))
                .unwrap()
                .contains("(cat) S")
        };
        while !sleeps() {
            std::thread::yield_now();
        }
        let state = probe(pid, &[pid]);
        child.kill().unwrap();
        child.wait().unwrap();
        let state = state.unwrap();
        let [task] = &state.tasks[..] else {
            panic!("one task")
        };
        assert_eq!((task.pid, task.ppid, task.comm.as_str()), (pid, 0, "cat"));
        assert_eq!(task.cmdline, ["cat"]);
        assert!(
            task.limits
                .iter()
                .any(|(name, _, _)| name == "Max open files")
        );
        assert!(
            task.maps
                .iter()
                .any(|map| map.name == "[stack]" && map.hash.is_some() && map.anon_pages > 0)
        );
        assert!(task.fds.windows(2).all(|pair| pair[0].fd < pair[1].fd));
        let page_size = rustix::param::page_size() as u64;
        assert!(task.auxv.contains(&(6, page_size)), "AT_PAGESZ");
    }
}
