//! Reads checkpoint images of every architecture on any host.
//!
//! The contract is `kernels/checkpoint/include/uapi/linux/checkpoint.h`; a test compares sizes and offsets with it.
//! Images are hostile: no byte makes this crate panic or allocate more than a record can be long.

#![expect(
    missing_docs,
    reason = "the fields of a record are described in the C header, whose names they have"
)]

mod fixed;
mod reader;
mod records;
mod regs;
#[cfg(test)]
mod sample;
mod text;

pub use fixed::{ByteOrder, Layout, Text};
pub use reader::{Image, ImageError, Located, Reader};
pub use records::{
    Actions, Arch, Cpu, Cred, ErrorRecord, Fd, FileRecord, Files, Fs, Header, LAYOUTS, Mm, MmEnd,
    Pages, Record, Regset, RestartBlock, Rlimit, Rlimits, Sigaction, Sighand, Signals, Task,
    TaskEnd, TaskObjs, Trailer, Tree, TreeTask, Vma, type_name as record_type_name,
};
pub use regs::{NoteName, Register, decode as decode_registers, note_name};
