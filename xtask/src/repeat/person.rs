//! The person in front of a trial: in a terminal, or with gdb.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crossthaw_harness::kernel::Kernel;
use crossthaw_harness::process::shell_line;
use crossthaw_harness::qemu::{GuestError, Input, Line};
use crossthaw_harness::run::{Person, Which, Wish};
use crossthaw_harness::trial::{Attendant, Phase};

use crate::shell::Raw;

/// Attaches gdb to this guest.
pub(super) fn debugs(which: Which, kernel: &Kernel) -> Person {
    Person {
        attendant: Box::new(Terminal {
            vmlinux: kernel.vmlinux.clone(),
            offset: kernel.offset(),
        }),
        wish: Wish::Gdb(which),
    }
}

/// Types commands where the trial fails, or before this phase.
pub(super) fn types(at: Option<Phase>) -> Person {
    Person {
        attendant: Box::new(Terminal {
            vmlinux: PathBuf::new(),
            offset: 0,
        }),
        wish: Wish::Shell(at),
    }
}

struct Terminal {
    vmlinux: PathBuf,
    /// How far from its symbols the kernel runs.
    offset: u64,
}

/// The command that attaches gdb, which takes the architecture from `vmlinux`.
fn attach(vmlinux: &Path, offset: u64, gdb: &Path) -> String {
    let vmlinux = vmlinux.display().to_string();
    let mut command = vec!["gdb-multiarch".to_owned()];
    if offset == 0 {
        command.push(vmlinux);
    } else {
        // The program for its architecture alone: the symbols are elsewhere.
        let symbols = format!("symbol-file {vmlinux} -o {offset:#x}");
        command.extend([format!("--exec={vmlinux}"), "-ex".to_owned(), symbols]);
    }
    let target = format!("target remote {}", gdb.display());
    command.extend(["-ex".to_owned(), target]);
    shell_line(&command)
}

impl Attendant for Terminal {
    fn stopped(&self, gdb: &Path) {
        eprintln!("the guest is stopped; attach to it, and `continue`:");
        eprintln!("    {}", attach(&self.vmlinux, self.offset, gdb));
    }

    fn prompt(&self, mut line: Line<'_>, why: &str) -> Result<(), GuestError> {
        eprintln!("{why}");
        eprintln!("`exit` ends the guest and the trial; Ctrl-] leaves it, whatever it does");
        let stdin = io::stdin();
        let failed = |source| GuestError::File {
            what: "set the terminal up".to_owned(),
            source,
        };
        let _raw = Raw::enter(stdin.as_fd(), Input::Keys).map_err(failed)?;
        line.talk(stdin.as_fd(), &mut io::stdout(), Input::Keys)?;
        // The guest's last line may lack its end.
        eprint!("\r\n");
        Ok(())
    }

    fn no_prompt(&self, why: &str) {
        eprintln!("no prompt can be given: {why}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_loaded_where_the_kernel_runs() {
        for (offset, command) in [
            (0, "gdb-multiarch /k/vmlinux -ex 'target remote /tmp/gdb'"),
            (
                0x3ff_e000_0000,
                "gdb-multiarch --exec=/k/vmlinux -ex 'symbol-file /k/vmlinux -o 0x3ffe0000000' -ex 'target remote /tmp/gdb'",
            ),
        ] {
            let found = attach(Path::new("/k/vmlinux"), offset, Path::new("/tmp/gdb"));
            assert_eq!(found, command);
        }
    }
}
