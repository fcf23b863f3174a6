//! An image taken apart for a comparison: objects by name, each with what its fields hold, and the contents of memory.

use std::collections::BTreeMap;

use crate::fixed::{FieldId, Fixed, Value};
use crate::names::Names;
use crate::reader::Image;
use crate::records::{Pages, Record, Regset};
use crate::regs;
use crate::rules::{How, rule};

/// One field.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    /// The struct and its field, which the rules go by; of a register its set and name.
    pub(crate) of: String,
    pub(crate) name: String,
    /// What it is called in a difference.
    pub(crate) path: String,
    pub(crate) value: Value,
}

/// An object, or the part of it that one record or one element of a list is about.
#[derive(Debug)]
pub(crate) struct Part {
    /// `task 5`, `task 5 files fd 3`, `task 5 mm mapping 0x400000`.
    pub(crate) object: String,
    /// Type of the record.
    pub(crate) record: &'static str,
    pub(crate) facts: Vec<Fact>,
}

/// Pages by address, of one address space, or by offset, of shared memory.
pub(crate) type Memory<'a> = BTreeMap<u64, &'a [u8]>;

/// An image in parts.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) parts: Vec<Part>,
    /// By the name of the address space or the shared memory.
    pub(crate) memory: BTreeMap<String, Memory<'a>>,
}

/// The facts of a struct, references by name.
fn facts(names: &Names<'_>, fixed: &impl Fixed) -> Vec<Fact> {
    let mut facts = Vec::new();
    let none = FieldId {
        of: "",
        name: "",
        path: "",
    };
    fixed.visit(none, &mut |id, value| {
        let value = match (rule(id.of, id.name).map(|rule| rule.how), value) {
            (Some(How::Reference), Value::Number(number)) => {
                Value::Word(i32::try_from(number).map_or_else(|_| String::new(), |n| names.get(n)))
            }
            (_, value) => value,
        };
        facts.push(Fact {
            of: id.of.to_owned(),
            name: id.name.to_owned(),
            path: id.path.to_owned(),
            value,
        });
    });
    facts
}

/// A fact of what follows the fixed part of a record.
fn more(of: &str, name: &str, path: String, value: Value) -> Fact {
    Fact {
        of: of.to_owned(),
        name: name.to_owned(),
        path,
        value,
    }
}

/// Text, or bytes that somebody has written, behind the fixed part.
fn bytes(name: &str, bytes: &[u8]) -> Fact {
    more("", name, name.to_owned(), Value::Bytes(bytes.to_vec()))
}

fn numbers<T: Copy + Into<i128>>(of: &str, name: &str, list: &[T]) -> Vec<Fact> {
    let fact = |(index, number): (usize, &T)| {
        let path = format!("{name}[{index}]");
        more(of, name, path, Value::Number((*number).into()))
    };
    list.iter().enumerate().map(fact).collect()
}

/// What a CPU record's words are called on this architecture.
fn name_words(image: &Image, facts: &mut [Fact]) {
    for (index, name) in regs::cpu_words(image.arch).iter().enumerate() {
        let path = format!("word[{index}]");
        if let Some(fact) = facts.iter_mut().find(|fact| fact.path == path) {
            fact.path = format!("{path} {name}");
            "CPU".clone_into(&mut fact.of);
            (*name).clone_into(&mut fact.name);
        }
    }
}

/// Put the number of merged mappings for that of all, where that is right.
fn count_merged(facts: &mut [Fact], all: usize, merged: usize) {
    let stated = Value::Number(all as i128);
    let fact = facts.iter_mut().find(|fact| fact.path == "nr_vmas");
    if let Some(fact) = fact.filter(|fact| fact.value == stated) {
        fact.value = Value::Word(format!("{merged} after merging"));
    }
}

fn registers(image: &Image, regset: &Regset, set: &str) -> Vec<Fact> {
    let pieces = regs::pieces(image.arch, regset.head.note, regset.data.len());
    let fact = |piece: regs::Piece| {
        let bytes = &regset.data[piece.bytes.clone()];
        let name = piece.name.unwrap_or_else(|| {
            let last = piece.bytes.end.saturating_sub(1);
            format!("bytes {} to {last}", piece.bytes.start)
        });
        let value = Value::Word(regs::value(bytes, image.byte_order));
        more(set, &name, name.clone(), value)
    };
    pieces.into_iter().map(fact).collect()
}

/// Puts records where they belong.
struct Sorter<'a> {
    image: &'a Image,
    names: Names<'a>,
    task: String,
    /// The address space or the shared memory that is open.
    mm: String,
    /// CGROUP and MOUNT records so far, and NODE records of the last of these.
    cgroups: u32,
    mounts: u32,
    nodes: u32,
    /// LOCK records so far.
    locks: u32,
    /// Of the pipe or the epoll set that is being read.
    pieces: u32,
    facts: Facts<'a>,
}

impl<'a> Sorter<'a> {
    fn push(&mut self, object: String, record: &'static str, facts: Vec<Fact>) {
        self.facts.parts.push(Part {
            object,
            record,
            facts,
        });
    }

    /// A record with nothing but fixed fields.
    fn plain(&mut self, object: String, record: &Record, fixed: &impl Fixed) {
        let facts = facts(&self.names, fixed);
        self.push(object, record.type_name(), facts);
    }

    fn pages(&mut self, pages: &'a Pages) {
        let size = match self.image.header().page_size {
            0 => 4096,
            size => size,
        };
        let memory = self.facts.memory.entry(self.mm.clone()).or_default();
        let mut at = pages.head.start;
        for page in pages
            .data
            .chunks(usize::try_from(size).unwrap_or(usize::MAX))
        {
            memory.insert(at, page);
            at = at.wrapping_add(size.into());
        }
    }

    fn sort(&mut self, record: &'a Record) {
        let kind = record.type_name();
        let task = self.task.clone();
        match record {
            Record::Header(it) => self.plain("image".to_owned(), record, it),
            Record::Tree(it) => {
                self.plain("tree".to_owned(), record, &it.head);
                for task in &it.tasks {
                    self.plain(format!("task {}", task.pid), record, task);
                }
            }
            Record::Task(it) => {
                self.task = format!("task {}", it.pid);
                self.plain(self.task.clone(), record, it);
            }
            Record::TaskObjs(it) => self.plain(task, record, it),
            Record::Exit(it) => self.plain(task, record, it),
            Record::Attributes(it) => self.plain(task, record, it),
            Record::Usage(it) => self.plain(task, record, it),
            Record::Cgroup(it) => {
                self.cgroups += 1;
                self.plain(format!("cgroup {}", self.cgroups), record, it);
            }
            Record::Mount(it) => {
                self.mounts += 1;
                self.nodes = 0;
                let mut facts = facts(&self.names, &it.head);
                facts.push(bytes("path", &it.path.0));
                facts.push(bytes("source", &it.source.0));
                self.push(format!("mount {}", self.mounts), kind, facts);
            }
            Record::Node(it) => {
                self.nodes += 1;
                let mut facts = facts(&self.names, &it.head);
                facts.push(bytes("name", &it.name.0));
                facts.push(bytes("target", &it.target.0));
                // What is in it follows.
                self.mm = format!("mount {} file {}", self.mounts, self.nodes);
                self.push(self.mm.clone(), kind, facts);
            }
            Record::Itimers(it) => self.plain(task, record, it),
            Record::Pending(it) => {
                let queue = if it.head.flags & 1 == 0 {
                    format!("{task} queue")
                } else {
                    format!("{task} shared queue")
                };
                self.plain(queue.clone(), record, &it.head);
                for (index, info) in it.infos.iter().enumerate() {
                    self.plain(format!("{queue} signal {index}"), record, info);
                }
            }
            Record::PosixTimers(it) => {
                self.plain(format!("{task} POSIX timers"), record, &it.head);
                for timer in &it.timers {
                    self.plain(format!("{task} POSIX timer {}", timer.id), record, timer);
                }
            }
            Record::TaskEnd(it) => self.plain(task, record, it),
            Record::Rlimits(it) => self.plain(task, record, it),
            Record::Signals(it) => self.plain(task, record, it),
            Record::RestartBlock(it) => self.plain(task, record, it),
            Record::Cpu(it) => {
                let mut facts = facts(&self.names, it);
                name_words(self.image, &mut facts);
                self.push(task, kind, facts);
            }
            Record::Regset(it) => {
                let set = regs::note_name(it.head.note)
                    .map_or_else(|| format!("note {:#x}", it.head.note), str::to_owned);
                let mut facts = facts(&self.names, &it.head);
                facts.extend(registers(self.image, it, &set));
                self.push(format!("{task} {set}"), kind, facts);
            }
            _ => self.object(record, kind),
        }
    }

    /// A pipe, and what is in it.
    fn pipe(&mut self, name: String, record: &'a Record, kind: &'static str) {
        match record {
            Record::Pipe(it) => {
                self.mm.clone_from(&name);
                self.pieces = 0;
                let mut facts = facts(&self.names, &it.head);
                facts.push(bytes("path", &it.path.0));
                self.push(name, kind, facts);
            }
            Record::PipeBuf(it) => {
                self.pieces += 1;
                let mut facts = facts(&self.names, &it.head);
                facts.push(bytes("data", &it.data));
                self.push(format!("{} piece {}", self.mm, self.pieces), kind, facts);
            }
            _ => {}
        }
    }

    /// What epoll sets watch, and what belongs to open files.
    fn behind_tasks(&mut self, record: &'a Record) {
        match record {
            Record::Epoll(it) => {
                self.mm = self.names.get(it.objref);
                self.pieces = 0;
                self.plain(self.mm.clone(), record, it);
            }
            Record::Lock(it) => {
                self.locks += 1;
                self.plain(format!("lock {}", self.locks), record, it);
            }
            Record::Lease(it) => {
                let name = format!("{} lease", self.names.get(it.file));
                self.plain(name, record, it);
            }
            Record::Owner(it) => {
                let name = format!("{} owner", self.names.get(it.file));
                self.plain(name, record, it);
            }
            Record::EpollItem(it) => {
                self.pieces += 1;
                self.plain(format!("{} item {}", self.mm, self.pieces), record, it);
            }
            _ => {}
        }
    }

    /// Records of shared objects, and the others that stand for themselves.
    fn object(&mut self, record: &'a Record, kind: &'static str) {
        let name = crate::names::objref(record).map(|number| self.names.get(number));
        let name = name.unwrap_or_default();
        match record {
            Record::File(it) => {
                let mut facts = facts(&self.names, &it.head);
                facts.push(bytes("path", &it.path.0));
                self.push(name, kind, facts);
            }
            Record::Files(it) => {
                self.plain(name.clone(), record, &it.head);
                for fd in &it.fds {
                    self.plain(format!("{name} fd {}", fd.fd), record, fd);
                }
            }
            Record::Fs(it) => {
                let mut facts = facts(&self.names, &it.head);
                facts.push(bytes("root", &it.root.0));
                facts.push(bytes("cwd", &it.cwd.0));
                self.push(name, kind, facts);
            }
            Record::Sighand(it) => self.plain(name, record, it),
            Record::UtsNs(it) => self.plain(name, record, it),
            Record::IpcNs(it) => self.plain(name, record, it),
            Record::TimeNs(it) => self.plain(name, record, it),
            Record::PidNs(it) => {
                self.plain(name.clone(), record, &it.head);
                for id in &it.ids {
                    self.plain(format!("{name} pid {}", id.pid), record, id);
                }
            }
            Record::Seccomp(it) => {
                self.plain(name.clone(), record, &it.head);
                for (place, insn) in it.insns.iter().enumerate() {
                    self.plain(format!("{name} instruction {place}"), record, insn);
                }
            }
            Record::Cred(it) => {
                let mut facts = facts(&self.names, &it.head);
                facts.extend(numbers("ckpt_rec_cred", "groups", &it.groups));
                self.push(name, kind, facts);
            }
            Record::Mm(it) => {
                let mut facts = facts(&self.names, &it.head);
                facts.extend(numbers("ckpt_rec_mm", "auxv", &it.auxv));
                let (all, mappings) = self.names.mappings(it.head.objref);
                count_merged(&mut facts, all, mappings.len());
                self.mm.clone_from(&name);
                self.push(name.clone(), kind, facts);
                for vma in mappings {
                    let object = format!("{name} mapping {:#x}", vma.start);
                    let facts = self::facts(&self.names, &vma);
                    self.push(object, "VMA", facts);
                }
            }
            // With their MM.
            Record::Vma(_) => {}
            Record::Pages(it) => self.pages(it),
            Record::Ldt(it) => {
                let mut facts = facts(&self.names, &it.head);
                facts.extend(numbers("ckpt_rec_ldt", "entries", &it.entries));
                self.push(self.mm.clone(), kind, facts);
            }
            Record::MmEnd(it) => self.plain(self.mm.clone(), record, it),
            Record::Shmem(it) => {
                self.mm.clone_from(&name);
                self.plain(name, record, it);
            }
            Record::Unlinked(it) => {
                self.mm.clone_from(&name);
                let mut facts = facts(&self.names, &it.head);
                facts.push(bytes("path", &it.path.0));
                self.push(name, kind, facts);
            }
            Record::Pipe(_) | Record::PipeBuf(_) => self.pipe(name, record, kind),
            // With its file.
            Record::Timerfd(it) => self.plain(self.names.get(it.objref), record, it),
            Record::Epoll(_)
            | Record::EpollItem(_)
            | Record::Lock(_)
            | Record::Lease(_)
            | Record::Owner(_) => self.behind_tasks(record),
            Record::Memfd(it) => {
                self.mm.clone_from(&name);
                let mut facts = facts(&self.names, &it.head);
                facts.push(bytes("name", &it.name.0));
                self.push(name, kind, facts);
            }
            Record::ShmemEnd(it) => self.plain(self.mm.clone(), record, it),
            Record::Error(it) => {
                let mut facts = facts(&self.names, &it.head);
                facts.push(bytes("text", &it.text.0));
                self.push("image".to_owned(), kind, facts);
            }
            Record::Trailer(it) => self.plain("image".to_owned(), record, it),
            _ => unreachable!("the caller has the other records"),
        }
    }
}

impl<'a> Facts<'a> {
    /// Take an image apart.
    pub(crate) fn of(image: &'a Image) -> Self {
        let mut sorter = Sorter {
            image,
            names: Names::of(image),
            task: "no task".to_owned(),
            mm: "no mm".to_owned(),
            cgroups: 0,
            mounts: 0,
            nodes: 0,
            locks: 0,
            pieces: 0,
            facts: Facts {
                parts: Vec::new(),
                memory: BTreeMap::new(),
            },
        };
        for located in &image.records {
            sorter.sort(&located.record);
        }
        sorter.facts
    }
}
