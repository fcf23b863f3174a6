//! What objects are called: by the first that mentions them, which no numbering can change.

use std::collections::HashMap;

use crate::reader::Image;
use crate::records::{Record, TaskObjs, Vma};

/// Names of shared objects by objref.
#[derive(Debug, Default)]
pub(crate) struct Names<'a> {
    page_size: u64,
    records: HashMap<i32, &'a Record>,
    /// Mappings by the objref of their MM.
    maps: HashMap<i32, Vec<&'a Vma>>,
    called: HashMap<i32, String>,
}

/// Is this the rest of that mapping?
fn continues(first: &Vma, next: &Vma, page_size: u64) -> bool {
    let pages = first.end.wrapping_sub(first.start).checked_div(page_size);
    let pgoff = match first.file {
        0 => first.pgoff,
        _ => first.pgoff.wrapping_add(pages.unwrap_or_default()),
    };
    let expected = Vma {
        start: first.end,
        end: next.end,
        pgoff,
        ..first.clone()
    };
    *next == expected
}

/// The number that a record gives to its object.
pub(crate) fn objref(record: &Record) -> Option<i32> {
    Some(match record {
        Record::File(it) => it.head.objref,
        Record::Files(it) => it.head.objref,
        Record::Fs(it) => it.head.objref,
        Record::Sighand(it) => it.objref,
        Record::Cred(it) => it.head.objref,
        Record::Mm(it) => it.head.objref,
        Record::Shmem(it) => it.objref,
        Record::UtsNs(it) => it.objref,
        Record::IpcNs(it) => it.objref,
        Record::TimeNs(it) => it.objref,
        Record::Seccomp(it) => it.head.objref,
        Record::Memfd(it) => it.head.objref,
        Record::Unlinked(it) => it.head.objref,
        Record::Pipe(it) => it.head.objref,
        Record::PidNs(it) => it.head.objref,
        _ => return None,
    })
}

impl<'a> Names<'a> {
    /// Name all objects of an image, in the order in which its tasks mention them.
    pub(crate) fn of(image: &'a Image) -> Self {
        let mut all = Self {
            page_size: image.header().page_size.into(),
            ..Self::default()
        };
        let mut mm = 0;
        for record in image.records.iter().map(|located| &located.record) {
            if let Some(number) = objref(record) {
                all.records.entry(number).or_insert(record);
            }
            match record {
                Record::Mm(it) => mm = it.head.objref,
                Record::Vma(it) => all.maps.entry(mm).or_default().push(it),
                _ => {}
            }
        }
        let mut pid = 0;
        for record in image.records.iter().map(|located| &located.record) {
            match record {
                Record::PidNs(it) => {
                    let init = it.ids.first().map_or(0, |id| id.pid);
                    all.mention(it.head.objref, || format!("task {init} pid namespace"));
                }
                Record::Task(it) => pid = it.pid,
                Record::TaskObjs(it) => all.task(pid, it),
                Record::Exit(it) => {
                    all.mention(it.cred, || format!("task {pid} cred"));
                    all.mention(it.sighand, || format!("task {pid} sighand"));
                }
                _ => {}
            }
        }
        all
    }

    /// Is it new, and to be followed?
    fn mention(&mut self, number: i32, name: impl FnOnce() -> String) -> Option<&'a Record> {
        if number == 0 || self.called.contains_key(&number) {
            return None;
        }
        let record = *self.records.get(&number)?;
        self.called.insert(number, name());
        Some(record)
    }

    fn file(&mut self, number: i32, name: String) {
        let [cred, memory, pipe] = ["cred", "memory", "pipe"].map(|what| format!("{name} {what}"));
        if let Some(Record::File(file)) = self.mention(number, || name) {
            self.mention(file.head.cred, || cred);
            let object = match self.records.get(&file.head.object) {
                Some(Record::Pipe(_)) => pipe,
                _ => memory,
            };
            self.mention(file.head.object, || object);
        }
    }

    fn task(&mut self, pid: i32, objs: &TaskObjs) {
        let called = |what: &str| format!("task {pid} {what}");
        self.mention(objs.cred, || called("cred"));
        if let Some(Record::Files(files)) = self.mention(objs.files, || called("files")) {
            for fd in &files.fds {
                self.file(fd.file, called(&format!("fd {}", fd.fd)));
            }
        }
        self.mention(objs.fs, || called("fs"));
        self.mention(objs.sighand, || called("sighand"));
        self.mention(objs.uts_ns, || called("uts namespace"));
        self.mention(objs.ipc_ns, || called("ipc namespace"));
        self.mention(objs.time_ns, || called("time namespace"));
        let (mut filter, mut nth) = (objs.seccomp, 0);
        while let Some(Record::Seccomp(it)) =
            self.mention(filter, || called(&format!("filter {nth} from the last")))
        {
            (filter, nth) = (it.head.before, nth + 1);
        }
        if let Some(Record::Mm(mm)) = self.mention(objs.mm, || called("mm")) {
            self.file(mm.head.exe, called("exe"));
            for vma in self.maps.get(&objs.mm).cloned().unwrap_or_default() {
                if matches!(self.records.get(&vma.file), Some(Record::Shmem(_))) {
                    let name = || called(&format!("shared memory at {:#x}", vma.start));
                    self.mention(vma.file, name);
                } else {
                    let name = called(&format!("file mapped at {:#x}", vma.start));
                    self.file(vma.file, name);
                }
            }
        }
    }

    /// The mappings of an MM: how many there are, and themselves, those that lie side by side and differ in nothing else as one.
    pub(crate) fn mappings(&self, mm: i32) -> (usize, Vec<Vma>) {
        let mut merged: Vec<Vma> = Vec::new();
        let all = self.maps.get(&mm).map_or(&[][..], Vec::as_slice);
        for vma in all {
            match merged.last_mut() {
                Some(last) if continues(last, vma, self.page_size) => last.end = vma.end,
                _ => merged.push((*vma).clone()),
            }
        }
        (all.len(), merged)
    }

    /// What an objref stands for.
    pub(crate) fn get(&self, number: i32) -> String {
        match self.called.get(&number) {
            Some(name) => name.clone(),
            None if number == 0 => "none".to_owned(),
            None if self.records.contains_key(&number) => {
                format!("object {number}, which no task has")
            }
            None => format!("object {number}, which is not there"),
        }
    }
}
