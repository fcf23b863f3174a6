//! Guests under QEMU: argument lists, the monitor, the agent's port, templates and clones.

mod agent;
mod error;
mod qmp;

pub use agent::{Agent, Folder, phase};
pub use error::{CONSOLE_LINES, ConsoleTail, GuestError};
pub use qmp::Qmp;
