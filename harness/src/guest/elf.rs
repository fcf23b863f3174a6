//! Is an ELF file one that the guest can run: its class, machine and byte order, and static?

use std::fmt;

use goblin::elf::Elf as Parsed;

use crate::arch::{ByteOrder, Elf};

/// A program that the guest could not run.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// No ELF file at all, or a damaged one.
    #[error("{file}: wanted {wanted}, found no readable ELF file")]
    Unreadable {
        /// Its path in the initramfs.
        file: String,
        /// What the architecture wants.
        wanted: Elf,
        /// What is wrong with it.
        #[source]
        source: Box<goblin::error::Error>,
    },
    /// For another machine.
    #[error("{file}: wanted {wanted}, found {found}")]
    Foreign {
        /// Its path in the initramfs.
        file: String,
        /// What the architecture wants.
        wanted: Elf,
        /// What the header says.
        found: Elf,
    },
    /// It asks for a dynamic loader (`PT_INTERP`), which the guest has not.
    #[error("{file}: wanted a static program, found one that asks for the loader {interpreter}")]
    Dynamic {
        /// Its path in the initramfs.
        file: String,
        /// The loader.
        interpreter: String,
    },
}

impl fmt::Display for Elf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match self.byte_order {
            ByteOrder::Little => "little",
            ByteOrder::Big => "big",
        };
        let name = goblin::elf::header::machine_to_str(self.machine);
        write!(
            f,
            "a {}-bit {order}-endian program for machine {} ({name})",
            self.bits, self.machine
        )
    }
}

/// Check the program `file`, whose bytes these are, against what the architecture wants.
pub(crate) fn check(file: &str, bytes: &[u8], wanted: Elf) -> Result<(), ElfError> {
    let parsed = Parsed::parse(bytes).map_err(|source| ElfError::Unreadable {
        file: file.to_owned(),
        wanted,
        source: Box::new(source),
    })?;
    let found = Elf {
        machine: parsed.header.e_machine,
        bits: if parsed.is_64 { 64 } else { 32 },
        byte_order: if parsed.little_endian {
            ByteOrder::Little
        } else {
            ByteOrder::Big
        },
    };
    if found != wanted {
        return Err(ElfError::Foreign {
            file: file.to_owned(),
            wanted,
            found,
        });
    }
    match parsed.interpreter {
        Some(interpreter) => Err(ElfError::Dynamic {
            file: file.to_owned(),
            interpreter: interpreter.to_owned(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::arch::Arch;

    /// The smallest ELF file that says what it is; with a loader if one is named.
    pub(crate) fn tiny(elf: Elf, interpreter: Option<&str>) -> Vec<u8> {
        let wide = elf.bits == 64;
        let (ehsize, phentsize) = if wide { (64, 56) } else { (52, 32) };
        let mut bytes = Vec::new();
        let mut put = |value: u64, size: usize| match elf.byte_order {
            ByteOrder::Little => bytes.extend(&value.to_le_bytes()[..size]),
            ByteOrder::Big => bytes.extend(&value.to_be_bytes()[8 - size..]),
        };
        let word = usize::from(elf.bits / 8);
        for byte in [0x7f, u64::from(b'E'), u64::from(b'L'), u64::from(b'F')] {
            put(byte, 1);
        }
        put(u64::from(elf.bits / 32), 1);
        put(1 + u64::from(elf.byte_order == ByteOrder::Big), 1);
        put(1, 1);
        put(0, 8);
        put(0, 1);
        put(2, 2); // ET_EXEC
        put(u64::from(elf.machine), 2);
        put(1, 4);
        put(0, word); // e_entry
        put(ehsize, word); // e_phoff
        put(0, word); // e_shoff
        put(0, 4);
        put(ehsize, 2);
        put(phentsize, 2);
        put(1, 2);
        put(0, 2);
        put(0, 2);
        put(0, 2);
        let (kind, path) = match interpreter {
            Some(path) => (3, format!("{path}\0")), // PT_INTERP
            None => (1, String::new()),             // PT_LOAD
        };
        let at = ehsize + phentsize;
        let size = path.len() as u64;
        put(kind, 4);
        if wide {
            put(4, 4);
        }
        for value in [at, 0, 0, size, size] {
            put(value, word);
        }
        if !wide {
            put(4, 4);
        }
        put(1, word);
        bytes.extend(path.bytes());
        bytes
    }

    fn check_row(file: Arch, row: Arch, interpreter: Option<&str>, expected: &str) {
        let bytes = tiny(file.row().elf, interpreter);
        let found = check("bin/x", &bytes, row.row().elf);
        assert_eq!(
            found.map_or_else(|e| e.to_string(), |()| "ok".to_owned()),
            expected
        );
    }

    #[test]
    fn each_architecture_takes_its_own_and_no_other() {
        for file in Arch::ALL {
            for row in Arch::ALL {
                let (found, wanted) = (file.row().elf, row.row().elf);
                let message = format!("bin/x: wanted {wanted}, found {found}");
                check_row(file, row, None, if file == row { "ok" } else { &message });
            }
        }
    }

    #[test]
    fn the_message_names_what_is_wrong() {
        use Arch::{Ppc64, S390x, X86_64};
        check_row(
            X86_64,
            S390x,
            None,
            "bin/x: wanted a 64-bit big-endian program for machine 22 (S390), \
             found a 64-bit little-endian program for machine 62 (X86_64)",
        );
        check_row(
            Ppc64,
            Ppc64,
            Some("/lib64/ld64.so.1"),
            "bin/x: wanted a static program, found one that asks for the loader /lib64/ld64.so.1",
        );
        let error = check("init", b"#!/bin/sh\n", X86_64.row().elf).unwrap_err();
        assert!(error.to_string().ends_with("found no readable ELF file"));
    }
}
