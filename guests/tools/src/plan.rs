//! Which task forks which: the image's tree as an arena.

use std::collections::HashSet;

use crossthaw_image::{Cgroup, PidNs, TreeTask};

use crate::head::Tree;
use crate::mounts::Mounts;
use crate::sys::Pids;

/// One task to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What the image calls it.
    pub pid: i32,
    /// The pids that the fork asks for, in its own pid namespace first; without any it takes what it gets.
    pub wanted: Vec<i32>,
    /// It is the init of a pid namespace below that of the root.
    pub init: bool,
    /// Number of the cgroup that it is in, 0 being that of the tree.
    pub cgroup: usize,
    /// Places in [`Plan::tasks`] of the tasks that it forks, in the order of the image.
    pub children: Vec<usize>,
}

/// Processes, the root first, parents before their children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The tasks.
    pub tasks: Vec<Planned>,
    /// The cgroups below that of the tree, which they are in.
    pub cgroups: Vec<Cgroup>,
    /// How the root's mounts differ from the caller's.
    pub mounts: Mounts,
}

/// Why a tree cannot be forked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No task at all.
    #[error("the tree is empty")]
    Empty,
    /// A number that no task can have.
    #[error("{0} is no pid")]
    BadPid(i32),
    /// Two tasks with one pid.
    #[error("pid {0} is there twice")]
    Twice(i32),
    /// A thread whose leader does not come before it.
    #[error("pid {0} is a thread of {1}, which is not before it")]
    Thread(i32, i32),
    /// A task whose parent does not come before it.
    #[error("the parent {1} of pid {0} is not before it")]
    Parent(i32, i32),
    /// Pid namespaces that contradict themselves or each other.
    #[error("the pid namespaces of pid {0} are none that it can be in")]
    PidNamespaces(i32),
    /// A cgroup that is in none before it, or whose name is none.
    #[error("cgroup {0} cannot be made")]
    Cgroup(usize),
    /// A task in a cgroup that the image does not have.
    #[error("pid {0} is in a cgroup that there is not")]
    NoCgroup(i32),
    /// A mount that is none.
    #[error("mount {0} cannot be made")]
    Mount(usize),
}

fn check_cgroups(tasks: &[TreeTask], cgroups: &[Cgroup]) -> Result<(), PlanError> {
    let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    for (before, it) in cgroups.iter().enumerate() {
        if number(it.parent) > before || !it.is_named() {
            return Err(PlanError::Cgroup(before + 1));
        }
    }
    let lost = tasks
        .iter()
        .find(|task| number(task.cgroup) > cgroups.len());
    lost.map_or(Ok(()), |task| Err(PlanError::NoCgroup(task.pid)))
}

/// The innermost namespace that has a number for a pid, from 1 on; 0 is that of the root.
fn innermost(pid: i32, pid_namespaces: &[PidNs]) -> usize {
    let has = |it: &PidNs| it.ids.iter().any(|id| id.pid == pid);
    pid_namespaces.iter().rposition(has).map_or(0, |at| at + 1)
}

/// Each number is there once, and each task is where its parent is, or the init of a namespace in that one.
fn check(tasks: &[TreeTask], pid_namespaces: &[PidNs]) -> Result<(), PlanError> {
    let mut above = Vec::new();
    for (place, it) in pid_namespaces.iter().enumerate() {
        let before = &pid_namespaces[..place];
        let parent = before
            .iter()
            .position(|other| other.head.objref == it.head.parent)
            .map_or(0, |at| at + 1);
        let mut seen = HashSet::new();
        for (number, id) in it.ids.iter().enumerate() {
            let good = id.inner > 0
                && (id.inner == 1) == (number == 0)
                && seen.insert((true, id.pid))
                && seen.insert((false, id.inner))
                && innermost(id.pid, before) == parent;
            if !good {
                return Err(PlanError::PidNamespaces(id.pid));
            }
        }
        above.push(parent);
    }
    for task in tasks.iter().filter(|task| task.tgid == task.pid) {
        let place = innermost(task.pid, pid_namespaces);
        let is_init = place
            .checked_sub(1)
            .and_then(|at| pid_namespaces[at].ids.first())
            .is_some_and(|id| id.pid == task.pid);
        let expected = if is_init { above[place - 1] } else { place };
        let is_root = task.ppid == 0;
        if innermost(task.ppid, pid_namespaces) != expected || (is_root && place != 0) {
            return Err(PlanError::PidNamespaces(task.pid));
        }
    }
    Ok(())
}

/// All that a task is to be called, innermost first: namespaces come after those that they are in.
fn numbers(pid: i32, pid_namespaces: &[PidNs], pids: Pids) -> Vec<i32> {
    let inner = pid_namespaces.iter().rev().filter_map(|it| {
        let id = it.ids.iter().find(|id| id.pid == pid)?;
        Some(id.inner)
    });
    inner.chain((pids == Pids::Image).then_some(pid)).collect()
}

impl Plan {
    /// Arrange the processes of an image; the kernel makes their threads. A child of a thread is forked by the thread's leader, and the
    /// kernel gives it to the thread.
    pub fn new(tree: &Tree, pids: Pids) -> Result<Self, PlanError> {
        check_cgroups(&tree.tasks, &tree.cgroups)?;
        Ok(Self {
            cgroups: tree.cgroups.clone(),
            mounts: Mounts::new(&tree.mounts).map_err(PlanError::Mount)?,
            ..Self::of(&tree.tasks, &tree.pid_namespaces, pids)?
        })
    }

    fn of(tasks: &[TreeTask], pid_namespaces: &[PidNs], pids: Pids) -> Result<Self, PlanError> {
        let mut planned: Vec<Planned> = Vec::with_capacity(tasks.len());
        let mut places = std::collections::HashMap::with_capacity(tasks.len());
        for task in tasks {
            let place = planned.len();
            if task.pid <= 0 {
                return Err(PlanError::BadPid(task.pid));
            }
            if task.tgid != task.pid {
                let leader: usize = *places
                    .get(&task.tgid)
                    .ok_or(PlanError::Thread(task.pid, task.tgid))?;
                if places.insert(task.pid, leader).is_some() {
                    return Err(PlanError::Twice(task.pid));
                }
                continue;
            }
            if place > 0 {
                let parent: usize = *places
                    .get(&task.ppid)
                    .ok_or(PlanError::Parent(task.pid, task.ppid))?;
                planned[parent].children.push(place);
            }
            if places.insert(task.pid, place).is_some() {
                return Err(PlanError::Twice(task.pid));
            }
            planned.push(Planned {
                pid: task.pid,
                wanted: numbers(task.pid, pid_namespaces, pids),
                init: pid_namespaces
                    .iter()
                    .any(|it| it.ids.first().is_some_and(|id| id.pid == task.pid)),
                cgroup: usize::try_from(task.cgroup).unwrap_or(usize::MAX),
                children: Vec::new(),
            });
        }
        check(tasks, pid_namespaces)?;
        if planned.is_empty() {
            Err(PlanError::Empty)
        } else {
            Ok(Self {
                tasks: planned,
                cgroups: Vec::new(),
                mounts: Mounts::default(),
            })
        }
    }

    /// One task with any pid: for an image whose tree cannot be read, so that the kernel can say what is wrong with it.
    pub fn alone() -> Self {
        Self {
            tasks: vec![Planned {
                pid: 1,
                wanted: Vec::new(),
                init: false,
                cgroup: 0,
                children: Vec::new(),
            }],
            cgroups: Vec::new(),
            mounts: Mounts::default(),
        }
    }

    /// The root.
    pub fn root(&self) -> &Planned {
        &self.tasks[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroups::tests::cgroup;
    use crossthaw_image::{PidId, PidNsHead};

    fn task(pid: i32, parent: i32) -> TreeTask {
        TreeTask {
            pid,
            tgid: pid,
            ppid: parent,
            pgid: 0,
            sid: 0,
            exit_signal: 17,
            cgroup: 0,
            pad: 0,
        }
    }

    fn thread(pid: i32, leader: i32, parent: i32) -> TreeTask {
        TreeTask {
            tgid: leader,
            ..task(pid, parent)
        }
    }

    fn namespace(objref: i32, parent: i32, ids: &[(i32, i32)]) -> PidNs {
        PidNs {
            head: PidNsHead {
                objref,
                parent,
                nr_ids: 0,
                memfd_noexec: 0,
            },
            ids: ids
                .iter()
                .map(|&(pid, inner)| PidId { pid, inner })
                .collect(),
        }
    }

    fn check(tasks: &[TreeTask], expected: Result<&[(i32, &[usize])], PlanError>) {
        let planned = Plan::of(tasks, &[], Pids::Image).map(|plan| plan.tasks);
        let expected = expected.map(|list| {
            list.iter()
                .map(|&(pid, children)| Planned {
                    pid,
                    wanted: vec![pid],
                    init: false,
                    cgroup: 0,
                    children: children.to_vec(),
                })
                .collect::<Vec<_>>()
        });
        assert_eq!(planned, expected);
    }

    #[test]
    fn children_are_forked_by_their_parents() {
        let tasks = [task(1, 0), task(5, 1), task(3, 1), task(9, 3), task(4, 5)];
        check(
            &tasks,
            Ok(&[(1, &[1, 2]), (5, &[4]), (3, &[3]), (9, &[]), (4, &[])]),
        );
    }

    #[test]
    fn tasks_have_a_number_in_each_namespace() {
        let tasks = [task(1, 0), task(5, 1), task(6, 5), task(7, 6), task(8, 1)];
        let namespaces = [
            namespace(1, 0, &[(5, 1), (6, 2), (7, 9)]),
            namespace(2, 1, &[(6, 1), (7, 3)]),
        ];
        let check = |pids, expected: [(i32, &[i32], bool); 5]| {
            let plan = Plan::of(&tasks, &namespaces, pids).unwrap();
            let mut found: Vec<_> = plan
                .tasks
                .iter()
                .map(|task| (task.pid, task.wanted.as_slice(), task.init))
                .collect();
            found.sort_unstable();
            assert_eq!(found, expected, "{pids:?}");
        };
        check(
            Pids::Image,
            [
                (1, &[1], false),
                (5, &[1, 5], true),
                (6, &[1, 2, 6], true),
                (7, &[3, 9, 7], false),
                (8, &[8], false),
            ],
        );
        check(
            Pids::New,
            [
                (1, &[], false),
                (5, &[1], true),
                (6, &[1, 2], true),
                (7, &[3, 9], false),
                (8, &[], false),
            ],
        );
    }

    #[test]
    fn namespaces_that_cannot_be_are_refused() {
        let tasks = [task(1, 0), task(5, 1), task(6, 5)];
        let good = namespace(1, 0, &[(5, 1), (6, 2)]);
        let check = |namespaces: &[PidNs], pid| {
            let found = Plan::of(&tasks, namespaces, Pids::Image).map(drop);
            let expected = if pid == 0 {
                Ok(())
            } else {
                Err(PlanError::PidNamespaces(pid))
            };
            assert_eq!(found, expected, "{namespaces:?}");
        };
        check(std::slice::from_ref(&good), 0);
        check(&[good.clone(), good.clone()], 5);
        check(&[namespace(1, 0, &[(5, 2), (6, 1)])], 5);
        check(&[namespace(1, 0, &[(5, 1), (6, 0)])], 6);
        check(&[namespace(1, 0, &[(5, 1), (6, 3), (7, 3)])], 7);
        check(&[namespace(1, 0, &[(5, 1), (5, 3)])], 5);
        check(&[namespace(1, 0, &[(5, 1)])], 6);
        check(&[namespace(1, 0, &[(1, 1), (5, 2), (6, 3)])], 1);
        check(&[good.clone(), namespace(2, 0, &[(6, 1)])], 6);
        check(&[good, namespace(2, 1, &[(6, 1)])], 0);
    }

    #[test]
    fn cgroups_that_cannot_be_are_refused() {
        let check = |cgroups: &[Cgroup], expected| {
            let tasks = [
                task(1, 0),
                TreeTask {
                    cgroup: 2,
                    ..task(5, 1)
                },
            ];
            assert_eq!(check_cgroups(&tasks, cgroups), expected, "{cgroups:?}");
        };
        check(&[cgroup(0, "a"), cgroup(1, "b")], Ok(()));
        check(&[cgroup(0, "a")], Err(PlanError::NoCgroup(5)));
        check(&[cgroup(1, "a"), cgroup(1, "b")], Err(PlanError::Cgroup(1)));
        check(
            &[cgroup(0, "a"), cgroup(1, "..")],
            Err(PlanError::Cgroup(2)),
        );
    }

    #[test]
    fn trees_that_cannot_be_are_refused() {
        check(&[], Err(PlanError::Empty));
        check(&[task(0, 0)], Err(PlanError::BadPid(0)));
        check(&[task(1, 0), task(2, 7)], Err(PlanError::Parent(2, 7)));
        check(
            &[task(1, 0), task(3, 2), task(2, 1)],
            Err(PlanError::Parent(3, 2)),
        );
        check(&[task(1, 0), task(1, 1)], Err(PlanError::Twice(1)));
        check(&[thread(2, 1, 0)], Err(PlanError::Thread(2, 1)));
        check(
            &[task(1, 0), task(2, 1), thread(2, 1, 0)],
            Err(PlanError::Twice(2)),
        );
    }

    #[test]
    fn leaders_fork_what_their_threads_have_forked() {
        let tasks = [
            task(1, 0),
            thread(2, 1, 0),
            thread(3, 1, 0),
            task(7, 3),
            thread(8, 7, 3),
            task(9, 8),
        ];
        check(&tasks, Ok(&[(1, &[1]), (7, &[2]), (9, &[])]));
    }
}
