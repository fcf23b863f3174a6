//! An image with the pids of another one: for a tree that was restarted with new ones.

use std::collections::HashMap;

use crate::fixed::ByteOrder;
use crate::reader::Image;
use crate::records::{Record, Tree};

/// `SI_KERNEL` of asm-generic/siginfo.h: what has a larger code is sent by the kernel, with a pid all the same.
const SI_KERNEL: i32 = 0x80;
const SI_TIMER: i32 = -2;
const SI_SIGIO: i32 = -5;
const SIGCHLD: i32 = 17;
/// Codes of SIGCHLD: exited, killed, dumped, trapped, stopped, continued.
const CHILD: std::ops::RangeInclusive<i32> = 1..=6;

/// Whether a queued signal says which process it is from, or of: `siginfo_layout()` of kernel/signal.c.
///
/// If it does, that is the first of the fields behind `si_code`.
pub fn tells_a_pid(signo: i32, code: i32) -> bool {
    match code {
        SI_TIMER | SI_SIGIO => false,
        ..=0 | SI_KERNEL.. => true,
        code => signo == SIGCHLD && CHILD.contains(&code),
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

/// What numbers of one tree are in another one: of tasks, groups and sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renumbering(HashMap<i32, i32>);

impl Renumbering {
    /// From the numbers of one tree to those of the other, which has the same tasks in the same order; where the trees contradict each
    /// other the first word counts.
    pub fn between(from: &Tree, to: &Tree) -> Self {
        let mut known = HashMap::new();
        for (one, other) in from.tasks.iter().zip(&to.tasks) {
            known.entry(one.pid).or_insert(other.pid);
        }
        for (one, other) in from.tasks.iter().zip(&to.tasks) {
            for (one, other) in [(one.pgid, other.pgid), (one.sid, other.sid)] {
                if one != 0 && other != 0 {
                    known.entry(one).or_insert(other);
                }
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

/// A number in the middle of bytes, in the byte order of an image.
fn renew_word(bytes: &mut [u8], at: usize, order: ByteOrder, renew: impl FnOnce(&mut i32)) {
    let Some(place) = bytes.get_mut(at..at + 4) else {
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

    /// Where threads keep their numbers, as far as they have told the kernel.
    pub fn tid_words(&self) -> Vec<TidWord> {
        let mut words = Vec::new();
        let mut task = None;
        for located in &self.records {
            match &located.record {
                Record::Task(it) => task = Some((it.pid, it.clear_child_tid)),
                Record::TaskObjs(it) => {
                    if let Some((pid, address)) = task.filter(|&(_, address)| address != 0) {
                        words.push(TidWord {
                            mm: it.mm,
                            address,
                            pid,
                        });
                    }
                }
                _ => {}
            }
        }
        words
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
        let words = self.tid_words();
        let order = self.byte_order;
        let (mut mm, mut task) = (0, 0);
        for located in &mut self.records {
            match &mut located.record {
                Record::Tree(tree) => {
                    for it in &mut tree.tasks {
                        for number in [
                            &mut it.pid,
                            &mut it.tgid,
                            &mut it.ppid,
                            &mut it.pgid,
                            &mut it.sid,
                        ] {
                            numbers.renew(number);
                        }
                    }
                }
                Record::PidNs(it) => it.ids.iter_mut().for_each(|id| numbers.renew(&mut id.pid)),
                Record::Task(it) => {
                    task = it.pid;
                    numbers.renew(&mut it.pid);
                }
                Record::TaskEnd(it) => numbers.renew(&mut it.pid),
                Record::PosixTimers(it) => {
                    for timer in &mut it.timers {
                        numbers.renew(&mut timer.target);
                        numbers.renew(&mut timer.clock_target);
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
                        let at = word.address.checked_sub(it.head.start);
                        let Some(at) = at.and_then(|at| usize::try_from(at).ok()) else {
                            continue;
                        };
                        renew_word(&mut it.data, at, order, |number| {
                            if *number == word.pid && !nested.contains(&word.pid) {
                                numbers.renew(number);
                            }
                        });
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
        let told = [(10, 0), (10, -1), (34, -6), (34, -3), (17, 1), (9, 0x80)];
        assert!(told.iter().all(|&(signo, code)| tells_a_pid(signo, code)));
        let untold = [(34, -2), (29, -5), (11, 1), (17, 7), (5, 2)];
        assert!(!untold.iter().any(|&(signo, code)| tells_a_pid(signo, code)));
    }

    /// The record with these numbers of its tree raised by 1000, as a restart with new pids has them.
    fn raised(record: &mut Record, order: ByteOrder, numbers: &[i32]) {
        let raise = |number: &mut i32| {
            if numbers.contains(number) {
                *number += 1000;
            }
        };
        match record {
            Record::Tree(tree) => {
                for it in &mut tree.tasks {
                    for number in [
                        &mut it.pid,
                        &mut it.tgid,
                        &mut it.ppid,
                        &mut it.pgid,
                        &mut it.sid,
                    ] {
                        raise(number);
                    }
                }
            }
            Record::PidNs(it) => it.ids.iter_mut().for_each(|id| raise(&mut id.pid)),
            Record::Task(it) => raise(&mut it.pid),
            Record::TaskEnd(it) => raise(&mut it.pid),
            Record::PosixTimers(it) => {
                for timer in &mut it.timers {
                    raise(&mut timer.target);
                    raise(&mut timer.clock_target);
                }
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
            // One sender that the tree has, in the queue of the first task.
            let mut first = true;
            let mut sent = |record: &mut Record| {
                if let Record::Pending(it) = record
                    && std::mem::take(&mut first)
                {
                    it.infos[0].signo = 34;
                    it.infos[0].code = -1;
                    it.infos[0].flags = 0;
                    renew_word(&mut it.infos[0].fields, 0, order, |pid| *pid = 1);
                }
            };
            let before = image(arch, &mut sent);
            let tasks = &before.tree().unwrap().tasks;
            let numbers: Vec<i32> = tasks
                .iter()
                .flat_map(|task| [task.pid, task.pgid, task.sid])
                .filter(|&number| number != 0)
                .collect();
            let mut after = before.clone();
            for located in &mut after.records {
                raised(&mut located.record, order, &numbers);
            }
            assert_ne!(after, before);
            let differences = compare(&before, &after.renumbered(&before), None);
            assert_eq!(differences, [], "{arch:?}");
        }
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
