//! Guests under QEMU: argument lists, processes, the monitor, the agent's port, templates and clones.

mod error;
mod process;

pub use error::{CONSOLE_LINES, ConsoleTail, GuestError};
pub use process::{Cancel, Process, shell_line};
