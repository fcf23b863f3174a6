//! A tree that was restarted with new pids, by those that it had.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use crossthaw_image::{
    ByteOrder, Image, Renumbering, TidWord, Tree, TreeHead, TreeTask, tells_a_pid,
};

use super::task::Task;
use super::threads;
use crate::error::{AgentError, Context, Result};

/// Who is who, from the shape of the tree: its tasks are in the order that they have in the image.
#[derive(Debug)]
pub(crate) struct Renamed {
    numbers: Renumbering,
    /// The address space of each task, by what the task was called.
    memories: HashMap<i32, i32>,
    /// Threads' numbers in their own memory, and what they are now.
    words: Vec<(TidWord, i32)>,
    /// That of the image, and of this machine.
    order: ByteOrder,
}

/// The ids of a task, all of them as the agent sees them.
fn ids(task: &Task, parent: i32) -> Result<TreeTask> {
    let first = |name: &str| -> Result<i32> {
        let numbers = task.numbers(name)?;
        Ok(numbers.first().copied().unwrap_or(0))
    };
    Ok(TreeTask {
        pid: task.outer,
        tgid: first("Tgid")?,
        ppid: parent,
        pgid: first("NSpgid")?,
        sid: first("NSsid")?,
        exit_signal: 0,
        cgroup: 0,
        pad: 0,
    })
}

/// The tree below `root` in the order in which checkpoint(2) writes it: level by level, threads behind their leader.
fn live(root: i32) -> Result<Tree> {
    let mut found: Vec<(Task, i32)> = threads(root)?.into_iter().map(|task| (task, 0)).collect();
    let mut at = 0;
    while at < found.len() {
        let (task, _) = &found[at];
        let (parent, children) = (task.outer, task.read(&task.children())?);
        for pid in children.split_whitespace() {
            let pid = pid.parse().map_err(|_| AgentError::Parse {
                what: "a list of children",
                text: children.clone(),
            })?;
            found.extend(threads(pid)?.into_iter().map(|task| (task, parent)));
        }
        at += 1;
    }
    let tasks: Vec<TreeTask> = found
        .iter()
        .map(|(task, parent)| ids(task, *parent))
        .collect::<Result<_>>()?;
    Ok(Tree {
        head: TreeHead {
            nr_tasks: u32::try_from(tasks.len()).unwrap_or(u32::MAX),
            flags: 0,
            nr_pid_ns: 0,
            nr_cgroups: 0,
        },
        tasks,
    })
}

impl Renamed {
    /// The tree below `root` was restarted from this image.
    pub(crate) fn of(root: i32, image: &Path) -> Result<Self> {
        let shown = image.display();
        let file = File::open(image).context(|| format!("open {shown}"))?;
        let image = Image::read(file)
            .map_err(|error| AgentError::Refused(format!("cannot read {shown}: {error}")))?;
        let live = live(root)?;
        let Some(tree) = image.tree().filter(|it| it.tasks.len() == live.tasks.len()) else {
            return Err(AgentError::Refused(format!(
                "the restarted tree has {} tasks, and not as many as {shown}",
                live.tasks.len()
            )));
        };
        let renewed = Renumbering::between(tree, &live);
        let words = image.tid_words();
        Ok(Self {
            numbers: Renumbering::between(&live, tree),
            memories: image.address_spaces(),
            words: words
                .into_iter()
                .map(|word| (word, renewed.get(word.pid)))
                .collect(),
            order: image.byte_order,
        })
    }

    /// What a number of now was before; one that is no task's, group's or session's stays.
    pub(super) fn number(&self, now: i32) -> i32 {
        self.numbers.get(now)
    }

    /// Threads' numbers in a piece of the memory of `task`, as it was called; it begins at `start`. A number that is still that of before
    /// shows as the other one.
    pub(super) fn memory(&self, task: i32, start: u64, bytes: &mut [u8]) {
        let mm = self.memories.get(&task).copied();
        for (word, now) in self.words.iter().filter(|(word, _)| Some(word.mm) == mm) {
            word.exchange(*now, start, bytes, self.order);
        }
    }

    /// Who sent a queued signal, in its `siginfo_t`.
    pub(super) fn sender(&self, info: &mut [u8]) {
        // Behind number, errno and code, where a pointer may stand.
        let at = 12usize.next_multiple_of(size_of::<usize>());
        let word = |at: usize| {
            let bytes = info.get(at..at + 4).and_then(|word| word.try_into().ok());
            bytes.map_or(0, i32::from_ne_bytes)
        };
        if tells_a_pid(word(0), word(8)) {
            let before = self.number(word(at));
            info[at..at + 4].copy_from_slice(&before.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed() -> Renamed {
        let tree = |pids: [i32; 2]| {
            let tasks = pids.map(|pid| TreeTask {
                pid,
                tgid: pid,
                ppid: 0,
                pgid: 0,
                sid: 0,
                exit_signal: 0,
                cgroup: 0,
                pad: 0,
            });
            Tree {
                head: TreeHead {
                    nr_tasks: 2,
                    flags: 0,
                    nr_pid_ns: 0,
                    nr_cgroups: 0,
                },
                tasks: tasks.to_vec(),
            }
        };
        Renamed {
            numbers: Renumbering::between(&tree([71, 72]), &tree([7, 8])),
            memories: HashMap::from([(7, 1), (8, 1), (9, 2)]),
            words: vec![(
                TidWord {
                    mm: 1,
                    address: 0x1004,
                    pid: 8,
                },
                72,
            )],
            order: if cfg!(target_endian = "big") {
                ByteOrder::Big
            } else {
                ByteOrder::Little
            },
        }
    }

    #[test]
    fn words_of_memory_are_changed_back_where_they_are_what_they_should_be() {
        let renamed = renamed();
        let mut bytes = [0; 16];
        bytes[4..8].copy_from_slice(&72i32.to_ne_bytes());
        bytes[8..12].copy_from_slice(&72i32.to_ne_bytes());
        renamed.memory(8, 0x1000, &mut bytes);
        assert_eq!(bytes[4..8], 8i32.to_ne_bytes());
        assert_eq!(bytes[8..12], 72i32.to_ne_bytes());
        renamed.memory(8, 0x1000, &mut bytes);
        assert_eq!(bytes[4..8], 72i32.to_ne_bytes(), "not renewed");
        bytes[4..8].copy_from_slice(&73i32.to_ne_bytes());
        renamed.memory(8, 0x1000, &mut bytes);
        assert_eq!(bytes[4..8], 73i32.to_ne_bytes());
        renamed.memory(7, 0x2000, &mut bytes);
        renamed.memory(7, 0xffe, &mut bytes);
        bytes[4..8].copy_from_slice(&72i32.to_ne_bytes());
        renamed.memory(9, 0x1000, &mut bytes);
        assert_eq!(bytes[4..8], 72i32.to_ne_bytes(), "of another process");
    }

    #[test]
    fn senders_are_called_what_they_were_called() {
        let renamed = renamed();
        let at = 12usize.next_multiple_of(size_of::<usize>());
        let mut info = [0; 32];
        let mut check = |code: i32, pid: i32, expected: i32| {
            info[0..4].copy_from_slice(&10i32.to_ne_bytes());
            info[8..12].copy_from_slice(&code.to_ne_bytes());
            info[at..at + 4].copy_from_slice(&pid.to_ne_bytes());
            renamed.sender(&mut info);
            assert_eq!(info[at..at + 4], expected.to_ne_bytes(), "{code}");
        };
        check(0, 71, 7);
        check(-1, 72, 8);
        check(-2, 72, 72);
        check(0, 99, 99);
    }
}
