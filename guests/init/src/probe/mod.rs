//! Looking at a frozen tree from outside, leaving no trace in it.
//!
//! One file a subject. What no other process can see of a task is not here: handlers of signals (only which are caught),
//! the alternate signal stack, timers of setitimer(2), the time that is left of any timer, `clear_child_tid`, securebits,
//! keyrings, and what only the kernel knows of open files, such as who waits on them.

mod files;
mod folder;
mod ipc;
mod locks;
mod memory;
mod mounts;
mod namespaces;
mod net;
mod open_file;
mod renamed;
mod sharing;
mod sock_diag;
mod task;
mod text;
mod trace;
mod translation;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crossthaw_protocol::{FdState, Object, SCENARIO_DIR, State, TaskState};

use crate::error::{AgentError, Context, Result};
use namespaces::Kind;
pub(crate) use renamed::Renamed;
use task::Task;
use trace::Traced;
use translation::Translation;

/// Numbers among the names of a folder's entries.
fn numbers_in(path: &Path) -> Result<Vec<i32>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(path).context(|| format!("list {}", path.display()))? {
        let name = entry
            .context(|| format!("list {}", path.display()))?
            .file_name();
        all.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    all.sort_unstable();
    Ok(all)
}

/// The threads of a process, the leader first.
fn threads(pid: i32) -> Result<Vec<Task>> {
    let dir = Path::new("/proc").join(pid.to_string());
    let tids = numbers_in(&dir.join("task"))?;
    let (leader, others): (Vec<_>, _) = tids.into_iter().partition(|&tid| tid == pid);
    let all = leader.into_iter().chain(others);
    all.map(|tid| {
        let dir = if tid == pid {
            dir.clone()
        } else {
            dir.join("task").join(tid.to_string())
        };
        Task::open(tid, dir)
    })
    .collect()
}

/// Children that are in no cgroup any more: only their exit status is left.
fn zombies(tasks: &[Task]) -> Result<Vec<Task>> {
    let mut found = Vec::new();
    for task in tasks {
        // A kernel without `CONFIG_PROC_CHILDREN` has no such file.
        let children = task.read(&task.children()).unwrap_or_default();
        for pid in children.split_whitespace() {
            let Ok(pid) = pid.parse::<i32>() else {
                continue;
            };
            if tasks.iter().all(|task| task.outer != pid) {
                let child = Task::open(pid, Path::new("/proc").join(pid.to_string()))?;
                if child.is_zombie() {
                    found.push(child);
                }
            }
        }
    }
    Ok(found)
}

fn open_tasks(
    root: i32,
    pids: &[i32],
    renamed: Option<&Renamed>,
) -> Result<(Vec<Task>, Translation)> {
    let mut tasks = Vec::new();
    for &pid in pids {
        tasks.extend(threads(pid)?);
    }
    tasks.extend(zombies(&tasks)?);
    let level = match tasks.iter().find(|task| task.outer == root) {
        Some(root) => root.numbers("NSpid")?.len().checked_sub(1),
        None => None,
    };
    let Some(level) = level else {
        return Err(AgentError::Refused(format!(
            "pid {root}, the root of the tree, is not in its cgroup: it has ended, or was moved"
        )));
    };
    let called = |numbers: &[i32]| {
        let number = numbers.get(level).copied().unwrap_or(0);
        renamed.map_or(number, |renamed| renamed.number(number))
    };
    for task in &mut tasks {
        task.inner = called(&task.numbers("NSpid")?);
        task.leader = called(&task.numbers("NStgid")?);
    }
    tasks.sort_by_key(|task| task.inner);
    let pids = tasks.iter().map(|task| (task.outer, task.inner)).collect();
    Ok((tasks, Translation { level, pids }))
}

/// The state of these processes, which are frozen, and of what belongs to them; `cgroup` is the folder of theirs.
/// Those that were renamed are called what they were called before.
pub(crate) fn probe(
    root: i32,
    pids: &[i32],
    cgroup: &Path,
    renamed: Option<&Renamed>,
) -> Result<State> {
    let (tasks, translation) = open_tasks(root, pids, renamed)?;
    let alive: Vec<(i32, i32)> = tasks
        .iter()
        .filter(|task| !task.is_zombie())
        .map(|task| (task.inner, task.outer))
        .collect();
    let mut shares = sharing::tasks(&alive);
    let with_files = tasks.iter().filter(|task| {
        let mut others = shares.get(&task.inner).into_iter().flatten();
        !task.is_zombie() && (task.is_leader() || others.all(|(what, _)| what != "files"))
    });
    let mut fds = files::probe(&with_files.collect::<Vec<_>>(), &translation)?;
    let mut states = Vec::new();
    for task in &tasks {
        let fds = fds.remove(&task.inner).unwrap_or_default();
        let shares = shares.remove(&task.inner).unwrap_or_default();
        states.push(probe_task(task, &translation, renamed, fds, shares)?);
    }
    let objects = objects(&tasks, &states, &translation, cgroup)?;
    // Last: what was looked at before should be what the freezer left.
    let mut traced = trace::probe(&tasks, renamed)?;
    for (task, state) in tasks.iter().zip(&mut states) {
        let Traced {
            registers,
            signals,
            filters,
            attributes,
        } = traced.remove(&task.outer).unwrap_or_default();
        state.registers = registers;
        state.signals = signals;
        state.filters = filters;
        state.attributes.extend(attributes);
    }
    Ok(State {
        tasks: states,
        objects,
    })
}

/// What the leader shows for its whole process.
fn of_process<T: Default>(task: &Task, read: impl FnOnce() -> Result<T>) -> Result<T> {
    if task.is_leader() && !task.is_zombie() {
        read()
    } else {
        Ok(T::default())
    }
}

fn probe_task(
    task: &Task,
    translation: &Translation,
    renamed: Option<&Renamed>,
    fds: Vec<FdState>,
    shares: Vec<(String, i32)>,
) -> Result<TaskState> {
    let parent = task.numbers("PPid")?.first().copied().unwrap_or(0);
    Ok(TaskState {
        pid: task.inner,
        tgid: task.leader,
        ppid: translation.pid(parent),
        pgid: translation.group(&task.numbers("NSpgid")?),
        sid: translation.group(&task.numbers("NSsid")?),
        comm: task.read("comm")?.trim_end_matches('\n').to_owned(),
        cmdline: of_process(task, || Ok(text::arguments(&task.read("cmdline")?)))?,
        environ: of_process(task, || Ok(text::arguments(&task.read("environ")?)))?,
        status: translation.status(task)?,
        stat: translation.fields(&task.stat, &["ppid", "pgrp", "session", "tpgid"]),
        limits: of_process(task, || Ok(text::limits(&task.read("limits")?)))?,
        links: task.links()?,
        attributes: task.attributes(translation),
        namespaces: task.namespaces()?,
        shares,
        timers: of_process(task, || Ok(timers(task, translation)))?,
        signals: Vec::new(),
        filters: Vec::new(),
        registers: Vec::new(),
        maps: of_process(task, || memory::probe(task, renamed))?,
        fds,
        auxv: of_process(task, || Ok(text::auxv(&task.bytes("auxv")?)))?,
    })
}

/// A kernel without POSIX timers has no such file.
fn timers(task: &Task, translation: &Translation) -> Vec<crossthaw_protocol::Fields> {
    let text = task.read("timers").unwrap_or_default();
    let timers = text::timers(&text);
    timers
        .iter()
        .map(|timer| translation.timer(timer))
        .collect()
}

/// The first task in each namespace of a kind.
fn first_in_each<'a>(tasks: &'a [Task], states: &[TaskState], kind: &str) -> Vec<&'a Task> {
    let mut seen = BTreeSet::new();
    let with_state = tasks.iter().zip(states);
    let first = with_state.filter(|(_, state)| {
        let namespace = state.namespaces.iter().find(|field| field.0 == kind);
        namespace.is_some_and(|(_, target)| seen.insert(target.clone()))
    });
    first.map(|(task, _)| task).collect()
}

/// Files that the tree has open, as `/proc/locks` names them.
fn open_files(states: &[TaskState]) -> BTreeSet<String> {
    let inode = |fd: &FdState| {
        let (_, value) = fd.stat.iter().find(|field| field.0 == "inode")?;
        let (dev, ino) = value.split_once(':')?;
        Some(locks::file(
            u64::from_str_radix(dev, 16).ok()?,
            ino.parse().ok()?,
        ))
    };
    let fds = states.iter().flat_map(|state| &state.fds);
    fds.filter_map(inode).collect()
}

fn objects(
    tasks: &[Task],
    states: &[TaskState],
    translation: &Translation,
    cgroup: &Path,
) -> Result<Vec<Object>> {
    let mut all = vec![namespaces::cgroup(cgroup)];
    for task in first_in_each(tasks, states, "mnt") {
        all.extend(mounts::probe(task)?);
    }
    for (place, task) in (1..).zip(first_in_each(tasks, states, "uts")) {
        all.push(namespaces::uts(place, task)?);
    }
    for (place, task) in (1..).zip(first_in_each(tasks, states, "ipc")) {
        all.push(namespaces::ipc(place, task)?);
        all.extend(namespaces::inside(task, Kind::Ipc, || {
            ipc::probe(translation)
        })?);
    }
    let names = net::Names::new(states);
    for task in first_in_each(tasks, states, "net") {
        all.extend(net::probe(task, &names)?);
    }
    all.extend(locks::probe(translation, &open_files(states))?);
    all.extend(folder::probe(Path::new(SCENARIO_DIR))?);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let (tasks, translation) = open_tasks(pid, &[pid], None).unwrap();
        let [cat] = &tasks[..] else {
            panic!("one task")
        };
        let fds = files::probe(&[cat], &translation).unwrap();
        let task = probe_task(cat, &translation, None, fds[&pid].clone(), Vec::new()).unwrap();
        let traced = trace::probe(&tasks, None).unwrap();
        // It has come to no harm.
        assert!(child.try_wait().unwrap().is_none());
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
        assert_eq!(
            (task.pid, task.tgid, task.ppid, task.comm.as_str()),
            (pid, pid, 0, "cat")
        );
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
        assert!(task.namespaces.iter().all(|field| field.1 == "outside"));
        let general = &traced[&pid].registers[0];
        assert!(
            general.note == 1 && !general.words.is_empty(),
            "{general:?}"
        );
    }
}
