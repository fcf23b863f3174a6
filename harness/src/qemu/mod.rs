//! Guests under QEMU: argument lists, the monitor, the agent's port, templates and clones.

pub mod accel;
mod agent;
mod argv;
mod error;
mod qmp;
mod shell;
mod spec;
mod talk;
mod template;
mod terminal;

pub use accel::Accel;
pub use agent::{Agent, Folder, phase};
pub use error::{CONSOLE_LINES, ConsoleTail, GuestError};
pub use qmp::{Call, Qmp};
pub use shell::{Served, Shell};
pub use spec::{
    BOOT_TIME, CPUS, DEBUG_MEMORY_MIB, GuestSpec, MEMORY_MIB, memory_mib, qemu_version,
};
pub use talk::{End, Input, Line};
pub use template::{Attended, NO_HURRY, Stopped, Template, boot};
