//! An image with the pids of another one: for a tree that was restarted with new ones.

use std::collections::{HashMap, HashSet};

use crate::fixed::ByteOrder;
use crate::reader::Image;
use crate::records::{FileRecord, Record, Task, Tree, TreeTask};

/// `SI_KERNEL` of asm-generic/siginfo.h: what has a larger code is sent by the kernel, with a pid all the same.
const SI_KERNEL: i32 = 0x80;
const SI_TIMER: i32 = -2;
const SI_SIGIO: i32 = -5;
const SIGCHLD: i32 = 17;
/// The largest code of SIGPOLL, and what others have up to there: something else than a pid.
const NSIGPOLL: i32 = 6;
/// Signals with more codes of their own, and the largest: SIGILL, SIGFPE, SIGSEGV.
const LONGER: [(i32, i32); 3] = [(4, 11), (8, 15), (11, 10)];

/// The process that a pidfd is of; another file is of none.
fn renew_process(file: &mut FileRecord, renew: impl FnOnce(&mut i32)) {
    if file.head.kind != FileRecord::PIDFD {
        return;
    }
    if let Ok(mut pid) = i32::try_from(file.head.size) {
        renew(&mut pid);
        file.head.size = u64::try_from(pid).unwrap_or(0);
    }
}

/// Whether a queued signal says which process it is from, or of: `siginfo_layout()` of kernel/signal.c.
///
/// If it does, that is the first of the fields behind `si_code`.
pub fn tells_a_pid(signo: i32, code: i32) -> bool {
    match code {
        SI_TIMER | SI_SIGIO => false,
        ..=0 | SI_KERNEL.. => true,
        ..=NSIGPOLL => signo == SIGCHLD,
        code => !LONGER
            .iter()
            .any(|&(longer, last)| signo == longer && code <= last),
    }
}

/// A clock with another number in it, where it has that of the task whose CPU time it measures (linux/posix-timers.h); that of who made
/// the timer has none.
pub fn renumber_clock(clock: i32, number: impl FnOnce(i32) -> i32) -> i32 {
    match !(clock >> 3) {
        pid if clock < 0 && pid != 0 => (!number(pid) << 3) | (clock & 7),
        _ => clock,
    }
}

/// Where the C library of a thread keeps the thread's number: its `clear_child_tid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TidWord {
    /// Objref of the address space.
    pub mm: i32,
    /// Address in it.
    pub address: u64,
    /// What the image calls the thread.
    pub pid: i32,
}

impl TidWord {
    /// The number is changed for `other`, and `other` for it, in memory that begins at `start`: a word that holds what it should shows as
    /// it was, and one that was not renewed as what it should have been.
    pub fn exchange(&self, other: i32, start: u64, bytes: &mut [u8], order: ByteOrder) {
        let at = self.address.checked_sub(start);
        let Some(at) = at.and_then(|at| usize::try_from(at).ok()) else {
            return;
        };
        renew_word(bytes, at, order, |number| match *number {
            one if one == self.pid => *number = other,
            one if one == other => *number = self.pid,
            _ => {}
        });
    }
}

/// What numbers of one tree are in another one: of tasks, groups and sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renumbering(HashMap<i32, i32>);

impl Renumbering {
    /// From the numbers of one tree to those of the other, which has the same tasks in the same order. Each number is one of the other
    /// tree; where the trees contradict each other the first word counts.
    pub fn between(from: &Tree, to: &Tree) -> Self {
        let mut known = HashMap::new();
        let mut taken = HashSet::new();
        let tasks = || from.tasks.iter().zip(&to.tasks);
        let pids = tasks().map(|(one, other)| (one.pid, other.pid));
        let groups =
            tasks().flat_map(|(one, other)| [(one.pgid, other.pgid), (one.sid, other.sid)]);
        for (one, other) in pids.chain(groups) {
            if one != 0 && other != 0 && !known.contains_key(&one) && taken.insert(other) {
                known.insert(one, other);
            }
        }
        Self(known)
    }

    /// What a number is in the other tree; one that neither has stays.
    pub fn get(&self, pid: i32) -> i32 {
        self.0.get(&pid).copied().unwrap_or(pid)
    }

    fn renew(&self, pid: &mut i32) {
        *pid = self.get(*pid);
    }
}

/// All numbers of a task in its tree.
fn ids(task: &mut TreeTask) -> [&mut i32; 5] {
    [
        &mut task.pid,
        &mut task.tgid,
        &mut task.ppid,
        &mut task.pgid,
        &mut task.sid,
    ]
}

/// A number in the middle of bytes, in the byte order of an image.
fn renew_word(bytes: &mut [u8], at: usize, order: ByteOrder, renew: impl FnOnce(&mut i32)) {
    let Some(place) = at.checked_add(4).and_then(|end| bytes.get_mut(at..end)) else {
        return;
    };
    let mut word = [0; 4];
    word.copy_from_slice(place);
    let mut number = match order {
        ByteOrder::Little => i32::from_le_bytes(word),
        ByteOrder::Big => i32::from_be_bytes(word),
    };
    renew(&mut number);
    let word = match order {
        ByteOrder::Little => number.to_le_bytes(),
        ByteOrder::Big => number.to_be_bytes(),
    };
    place.copy_from_slice(&word);
}

impl Image {
    /// The tree; `None` of an image that has none.
    pub fn tree(&self) -> Option<&Tree> {
        self.records
            .iter()
            .find_map(|located| match &located.record {
                Record::Tree(tree) => Some(tree),
                _ => None,
            })
    }

    /// Each living task with the objref of its address space.
    fn with_memory(&self) -> impl Iterator<Item = (&Task, i32)> {
        let mut task = None;
        self.records
            .iter()
            .filter_map(move |located| match &located.record {
                Record::Task(it) => {
                    task = Some(it);
                    None
                }
                Record::TaskObjs(it) => Some((task?, it.mm)),
                _ => None,
            })
    }

    /// The objref of each living task's address space.
    pub fn address_spaces(&self) -> HashMap<i32, i32> {
        self.with_memory()
            .map(|(task, mm)| (task.pid, mm))
            .collect()
    }

    /// Where threads keep their numbers, as far as they have told the kernel.
    pub fn tid_words(&self) -> Vec<TidWord> {
        self.with_memory()
            .filter(|(task, _)| task.clear_child_tid != 0)
            .map(|(task, mm)| TidWord {
                mm,
                address: task.clear_child_tid,
                pid: task.pid,
            })
            .collect()
    }

    /// This image, of a tree that was restarted from `before` with pids of its own, with the pids that are in `before`.
    ///
    /// Whatever `RESTART_NEW_PIDS` changes is changed back, nothing else: in the tree, the numbers of nested namespaces, timers, senders
    /// of signals, and the words that the kernel clears when a thread ends.
    #[must_use]
    pub fn renumbered(mut self, before: &Self) -> Self {
        let (Some(now), Some(then)) = (self.tree(), before.tree()) else {
            return self;
        };
        let numbers = Renumbering::between(now, then);
        let nested: Vec<i32> = self
            .records
            .iter()
            .filter_map(|located| match &located.record {
                Record::PidNs(it) => Some(it.ids.iter().map(|id| id.pid)),
                _ => None,
            })
            .flatten()
            .collect();
        let mut words = self.tid_words();
        words.retain(|word| !nested.contains(&word.pid));
        let order = self.byte_order;
        let (mut mm, mut task) = (0, 0);
        for located in &mut self.records {
            match &mut located.record {
                Record::Tree(tree) => {
                    for number in tree.tasks.iter_mut().flat_map(ids) {
                        numbers.renew(number);
                    }
                }
                Record::PidNs(it) => it.ids.iter_mut().for_each(|id| numbers.renew(&mut id.pid)),
                Record::Task(it) => {
                    task = it.pid;
                    numbers.renew(&mut it.pid);
                }
                Record::TaskEnd(it) => numbers.renew(&mut it.pid),
                Record::File(it) => renew_process(it, |pid| numbers.renew(pid)),
                Record::Lock(it) => numbers.renew(&mut it.pid),
                Record::Lease(it) => numbers.renew(&mut it.pid),
                Record::Owner(it) => numbers.renew(&mut it.pid),
                Record::PosixTimers(it) => {
                    for timer in &mut it.timers {
                        numbers.renew(&mut timer.target);
                        numbers.renew(&mut timer.clock_target);
                        // As the process itself calls the task.
                        if !nested.contains(&task) {
                            timer.clock = renumber_clock(timer.clock, |pid| numbers.get(pid));
                        }
                    }
                }
                // Further below signals tell other numbers.
                Record::Pending(it) if !nested.contains(&task) => {
                    let told = it
                        .infos
                        .iter_mut()
                        .filter(|info| tells_a_pid(info.signo, info.code));
                    for info in told {
                        renew_word(&mut info.fields, 0, order, |pid| numbers.renew(pid));
                    }
                }
                Record::Mm(it) => mm = it.head.objref,
                Record::MmEnd(_) => mm = 0,
                Record::Pages(it) if mm != 0 => {
                    for word in words.iter().filter(|word| word.mm == mm) {
                        let before = numbers.get(word.pid);
                        word.exchange(before, it.head.start, &mut it.data, order);
                    }
                }
                _ => {}
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Arch;
    use crate::{compare, sample};

    fn image(arch: Arch, change: impl FnMut(&mut Record)) -> Image {
        let mut records = sample::records(arch);
        records.iter_mut().for_each(change);
        let bytes = sample::writer(arch, &records).finish();
        Image::read(bytes.as_slice()).unwrap()
    }

    #[test]
    fn signals_of_processes_tell_a_pid_and_others_do_not() {
        let told = [
            (10, 0),
            (10, -1),
            (34, -6),
            (34, -3),
            (17, 1),
            (17, 7),
            (11, 11),
            (9, 0x80),
        ];
        assert!(told.iter().all(|&(signo, code)| tells_a_pid(signo, code)));
        let untold = [(34, -2), (29, -5), (11, 1), (11, 10), (29, 6), (5, 2)];
        assert!(!untold.iter().any(|&(signo, code)| tells_a_pid(signo, code)));
    }

    /// A page of the first task's memory, and where its number is in it.
    const PAGE: u64 = 0x9000;
    const WORD: usize = 0x10;

    /// What tells the number of the first task: the sender of its signals, the clock of its timers, a word of its memory.
    fn tells_pids(record: &mut Record, order: ByteOrder, of_first: &mut bool) {
        match record {
            Record::TaskEnd(_) => *of_first = false,
            // The others are in pid namespaces further below.
            _ if !*of_first => {}
            Record::Task(it) if it.pid == 1 => it.clear_child_tid = PAGE + WORD as u64,
            Record::Pages(it) if it.head.start == PAGE => {
                renew_word(&mut it.data, WORD, order, |pid| *pid = 1);
            }
            Record::PosixTimers(it) => it.timers[0].clock = (!1 << 3) | 6,
            Record::Pending(it) => {
                it.infos[0].signo = 34;
                it.infos[0].code = -1;
                it.infos[0].flags = 0;
                renew_word(&mut it.infos[0].fields, 0, order, |pid| *pid = 1);
            }
            _ => {}
        }
    }

    /// The record with these numbers of its tree raised by 1000, as a restart with new pids has them.
    fn raised(record: &mut Record, order: ByteOrder, numbers: &[i32], of_first: &mut bool) {
        let raise = |number: &mut i32| {
            if numbers.contains(number) {
                *number += 1000;
            }
        };
        match record {
            Record::Tree(tree) => {
                tree.tasks.iter_mut().flat_map(ids).for_each(raise);
            }
            Record::PidNs(it) => it.ids.iter_mut().for_each(|id| raise(&mut id.pid)),
            Record::Task(it) => raise(&mut it.pid),
            Record::File(it) => renew_process(it, raise),
            Record::Lock(it) => raise(&mut it.pid),
            Record::Lease(it) => raise(&mut it.pid),
            Record::Owner(it) => raise(&mut it.pid),
            Record::TaskEnd(it) => {
                raise(&mut it.pid);
                *of_first = false;
            }
            Record::PosixTimers(it) => {
                for timer in &mut it.timers {
                    raise(&mut timer.target);
                    raise(&mut timer.clock_target);
                    if *of_first {
                        timer.clock = renumber_clock(timer.clock, |mut pid| {
                            raise(&mut pid);
                            pid
                        });
                    }
                }
            }
            _ if !*of_first => {}
            Record::Pages(it) if it.head.start == PAGE => {
                renew_word(&mut it.data, WORD, order, raise);
            }
            Record::Pending(it) => {
                for info in &mut it.infos {
                    if tells_a_pid(info.signo, info.code) {
                        renew_word(&mut info.fields, 0, order, raise);
                    }
                }
            }
            _ => {}
        }
    }

    #[test]
    fn an_image_with_other_pids_becomes_that_of_before() {
        for arch in Arch::ALL {
            let order = arch.byte_order();
            let mut of_first = true;
            let before = image(arch, |record| tells_pids(record, order, &mut of_first));
            let tasks = &before.tree().unwrap().tasks;
            let numbers: Vec<i32> = tasks
                .iter()
                .flat_map(|task| [task.pid, task.pgid, task.sid])
                .filter(|&number| number != 0)
                .collect();
            let mut after = before.clone();
            let mut of_first = true;
            for located in &mut after.records {
                raised(&mut located.record, order, &numbers, &mut of_first);
            }
            assert_ne!(after, before);
            let differences = compare(&before, &after.renumbered(&before), None);
            assert_eq!(differences, [], "{arch:?}");
        }
    }

    #[test]
    fn a_word_that_was_not_renewed_is_a_difference() {
        let order = ByteOrder::Little;
        let mut of_first = true;
        let before = image(Arch::X86_64, |record| {
            tells_pids(record, order, &mut of_first);
        });
        let mut after = before.clone();
        let mut of_first = true;
        for located in &mut after.records {
            if !matches!(located.record, Record::Pages(_)) {
                raised(&mut located.record, order, &[1], &mut of_first);
            }
        }
        let differences = compare(&before, &after.renumbered(&before), None);
        let [one] = &differences[..] else {
            panic!("{differences:?}");
        };
        assert_eq!(one.record, "PAGES");
    }

    #[test]
    fn two_groups_are_not_taken_for_one() {
        let tree = |groups: [i32; 2]| {
            let mut tree = image(Arch::X86_64, |_| {}).tree().unwrap().clone();
            for (task, group) in tree.tasks.iter_mut().zip(groups) {
                task.pgid = group;
            }
            tree
        };
        let numbers = Renumbering::between(&tree([70, 71]), &tree([50, 50]));
        assert_eq!((numbers.get(70), numbers.get(71)), (50, 71));
    }

    #[test]
    fn words_that_hold_another_number_stay() {
        let mut data = [0, 0, 0, 7, 9];
        renew_word(&mut data, 0, ByteOrder::Big, |number| *number += 1);
        assert_eq!(data, [0, 0, 0, 8, 9]);
        renew_word(&mut data, 1, ByteOrder::Little, |number| *number += 1);
        assert_eq!(data, [0, 1, 0, 8, 9]);
        renew_word(&mut data, 3, ByteOrder::Little, |number| *number += 1);
        assert_eq!(data, [0, 1, 0, 8, 9]);
    }
}
