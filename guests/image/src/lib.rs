//! Reads checkpoint images of every architecture on any host.
//!
//! The contract is `kernels/checkpoint/include/uapi/linux/checkpoint.h`; a test compares sizes and offsets with it.
//! Images are hostile: no byte makes this crate panic or allocate more than a record can be long.

#![expect(
    missing_docs,
    reason = "the fields of a record are described in the C header, whose names they have"
)]

mod compare;
mod encode;
#[cfg(any(test, feature = "sample"))]
mod exercise;
mod facts;
mod fixed;
mod forge;
mod names;
mod reader;
mod records;
mod regs;
mod renumber;
mod rules;
#[cfg(any(test, feature = "sample"))]
pub mod sample;
#[cfg(test)]
mod tests;
mod text;
mod verify;

pub use compare::{Difference, compare};
pub use encode::Writer;
#[cfg(any(test, feature = "sample"))]
pub use exercise::{exercise, sealed};
pub use fixed::{ByteOrder, Layout, Name, Text};
pub use forge::{Change, Field, ForgeError, Forgery, forge, forge_all, record_names};
pub use reader::{Image, ImageError, Located, Reader};
pub use records::{
    Actions, Arch, Attributes, Cgroup, Cpu, Cred, Epoll, EpollItem, ErrorRecord, Exit, Fd,
    FileRecord, Files, Fs, Header, Insn, IpcNs, Itimer, Itimers, LAYOUTS, Ldt, LdtHead, Lease,
    Lock, Memfd, Mm, MmEnd, Mount, MountHead, Node, NodeHead, Owner, Pages, PagesHead, Pending,
    PidId, PidNs, PidNsHead, Pipe, PipeBuf, PosixTimer, PosixTimers, Record, Regset, RestartBlock,
    Rlimit, Rlimits, Seccomp, Shmem, ShmemEnd, Sigaction, Sighand, Siginfo, Signals, Task, TaskEnd,
    TaskObjs, TimeNs, Timerfd, Trailer, Tree, TreeHead, TreeTask, Unlinked, Usage, UsageRecord,
    UtsNs, Vma, type_name as record_type_name,
};
pub use regs::{NoteName, Register, decode as decode_registers, note_name};
pub use renumber::{Renumbering, TidWord, renumber_clock, tells_a_pid};
pub use verify::{Defect, Verified, VerifyError, verify};
