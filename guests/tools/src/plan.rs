//! Which task forks which: the image's tree as an arena.

use crossthaw_image::TreeTask;

/// One task to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What the image calls it.
    pub pid: i32,
    /// The pid that the fork asks for; `None` takes any.
    pub wanted: Option<i32>,
    /// Places in [`Plan::tasks`] of the tasks that it forks, in the order of the image.
    pub children: Vec<usize>,
}

/// Processes, the root first, parents before their children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The tasks.
    pub tasks: Vec<Planned>,
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
}

impl Plan {
    /// Arrange the processes of an image; the kernel makes their threads. A child of a thread is forked by the thread's leader, and the
    /// kernel gives it to the thread.
    pub fn new(tasks: &[TreeTask]) -> Result<Self, PlanError> {
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
                wanted: Some(task.pid),
                children: Vec::new(),
            });
        }
        if planned.is_empty() {
            Err(PlanError::Empty)
        } else {
            Ok(Self { tasks: planned })
        }
    }

    /// One task with any pid: for an image whose tree cannot be read, so that the kernel can say what is wrong with it.
    pub fn alone() -> Self {
        Self {
            tasks: vec![Planned {
                pid: 1,
                wanted: None,
                children: Vec::new(),
            }],
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

    fn task(pid: i32, parent: i32) -> TreeTask {
        TreeTask {
            pid,
            tgid: pid,
            ppid: parent,
            pgid: 0,
            sid: 0,
            exit_signal: 17,
        }
    }

    fn thread(pid: i32, leader: i32, parent: i32) -> TreeTask {
        TreeTask {
            tgid: leader,
            ..task(pid, parent)
        }
    }

    fn check(tasks: &[TreeTask], expected: Result<&[(i32, &[usize])], PlanError>) {
        let planned = Plan::new(tasks).map(|plan| plan.tasks);
        let expected = expected.map(|list| {
            list.iter()
                .map(|&(pid, children)| Planned {
                    pid,
                    wanted: Some(pid),
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
