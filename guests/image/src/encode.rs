//! Records and images as bytes, as a kernel of either byte order would write them.

use xxhash_rust::xxh64::xxh64;

use crate::fixed::{ByteOrder, Fixed};
use crate::reader::{Image, MAGIC};
use crate::records::{Record, Trailer};

fn list<T: Fixed>(values: &[T], order: ByteOrder, to: &mut Vec<u8>) {
    for value in values {
        value.encode(order, to);
    }
}

/// A fixed part, and the bytes that follow it.
fn with(head: &impl Fixed, parts: &[&[u8]], order: ByteOrder, to: &mut Vec<u8>) {
    head.encode(order, to);
    to.extend(parts.concat());
}

impl Record {
    /// Append it to an image.
    ///
    /// # Panics
    ///
    /// If it is longer than the length in a record's header can say.
    pub fn encode(&self, order: ByteOrder, to: &mut Vec<u8>) {
        let start = to.len();
        self.type_number().encode(order, to);
        0u32.encode(order, to);
        self.payload(order, to);
        to.resize(start + (to.len() - start).next_multiple_of(8), 0);
        let Ok(len) = u32::try_from(to.len() - start) else {
            panic!("a record of {} bytes", to.len() - start)
        };
        let mut bytes = Vec::new();
        len.encode(order, &mut bytes);
        to[start + 4..start + 8].copy_from_slice(&bytes);
    }

    /// What follows the record's header.
    fn payload(&self, order: ByteOrder, to: &mut Vec<u8>) {
        match self {
            Self::Header(it) => it.encode(order, to),
            Self::Tree(it) => {
                it.head.encode(order, to);
                list(&it.tasks, order, to);
            }
            Self::Task(it) => it.encode(order, to),
            Self::TaskObjs(it) => it.encode(order, to),
            Self::TaskEnd(it) => it.encode(order, to),
            Self::Rlimits(it) => it.encode(order, to),
            Self::Signals(it) => it.encode(order, to),
            Self::RestartBlock(it) => it.encode(order, to),
            Self::Cpu(it) => it.encode(order, to),
            Self::Regset(it) => with(&it.head, &[&it.data], order, to),
            Self::File(it) => with(&it.head, &[&it.path.0], order, to),
            Self::Files(it) => {
                it.head.encode(order, to);
                list(&it.fds, order, to);
            }
            Self::Fs(it) => {
                it.head.encode(order, to);
                to.extend(&it.root.0);
                to.extend(&it.cwd.0);
            }
            Self::Sighand(it) => it.encode(order, to),
            Self::Cred(it) => {
                it.head.encode(order, to);
                list(&it.groups, order, to);
            }
            Self::Mm(it) => {
                it.head.encode(order, to);
                list(&it.auxv, order, to);
            }
            Self::Vma(it) => it.encode(order, to),
            Self::Pages(it) => {
                it.head.encode(order, to);
                to.extend(&it.data);
            }
            Self::MmEnd(it) => it.encode(order, to),
            Self::Error(it) => {
                it.head.encode(order, to);
                to.extend(&it.text.0);
            }
            Self::Trailer(it) => it.encode(order, to),
            Self::Exit(it) => it.encode(order, to),
            Self::Attributes(it) => it.encode(order, to),
            Self::Usage(it) => it.encode(order, to),
            Self::Cgroup(it) => it.encode(order, to),
            Self::Itimers(it) => it.encode(order, to),
            Self::Timerfd(it) => it.encode(order, to),
            Self::Epoll(it) => it.encode(order, to),
            Self::EpollItem(it) => it.encode(order, to),
            Self::Lock(it) => it.encode(order, to),
            Self::Lease(it) => it.encode(order, to),
            Self::Owner(it) => it.encode(order, to),
            Self::Shmem(it) => it.encode(order, to),
            Self::ShmemEnd(it) => it.encode(order, to),
            Self::UtsNs(it) => it.encode(order, to),
            Self::IpcNs(it) => it.encode(order, to),
            Self::TimeNs(it) => it.encode(order, to),
            Self::Seccomp(it) => {
                it.head.encode(order, to);
                list(&it.insns, order, to);
            }
            Self::Ldt(it) => {
                it.head.encode(order, to);
                list(&it.entries, order, to);
            }
            Self::Unlinked(it) => with(&it.head, &[&it.path.0], order, to),
            Self::Pipe(it) => with(&it.head, &[&it.path.0], order, to),
            Self::PipeBuf(it) => with(&it.head, &[&it.data], order, to),
            Self::Mount(it) => with(&it.head, &[&it.path.0, &it.source.0], order, to),
            Self::Node(it) => with(&it.head, &[&it.name.0, &it.target.0], order, to),
            Self::Memfd(it) => with(&it.head, &[&it.name.0], order, to),
            Self::PidNs(it) => {
                it.head.encode(order, to);
                list(&it.ids, order, to);
            }
            Self::PosixTimers(it) => {
                it.head.encode(order, to);
                list(&it.timers, order, to);
            }
            Self::Pending(it) => {
                it.head.encode(order, to);
                list(&it.infos, order, to);
            }
        }
    }
}

/// Writes an image record by record.
#[derive(Debug)]
pub struct Writer {
    order: ByteOrder,
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty image.
    pub fn new(order: ByteOrder) -> Self {
        Self {
            order,
            bytes: Vec::new(),
        }
    }

    /// Append a record.
    pub fn record(&mut self, record: &Record) {
        record.encode(self.order, &mut self.bytes);
    }

    /// What was written so far, without a trailer.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// End the image with a trailer that is right.
    pub fn finish(mut self) -> Vec<u8> {
        let trailer = Trailer {
            magic: MAGIC,
            bytes: self.bytes.len() as u64,
            checksum: xxh64(&self.bytes, 0),
        };
        self.record(&Record::Trailer(trailer));
        self.bytes
    }
}

impl Image {
    /// The image as bytes of this order, with a trailer that fits them.
    ///
    /// In its own byte order that is what it was read from.
    /// In the other one, what the format leaves to the architecture (register sets, contents of memory) keeps its bytes.
    pub fn encode(&self, order: ByteOrder) -> Vec<u8> {
        let mut to = Writer::new(order);
        for located in &self.records {
            match &located.record {
                Record::Trailer(_) => return to.finish(),
                record => to.record(record),
            }
        }
        to.into_bytes()
    }
}
