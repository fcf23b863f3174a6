//! Are two kernels the same, but for the line numbers that they have?

use std::collections::BTreeMap;
use std::path::Path;

use goblin::elf::Elf;
use goblin::elf::section_header::{SHF_ALLOC, SHT_NOBITS};

use crate::store::StoreError;

/// What a line that was taken out shifts, though the code is the same: source lines of warnings, and the build id.
const SHIFTED: [&str; 3] = ["__bug_table", ".notes", ".BTF"];

/// Whether the code and the data of two `vmlinux` are the same.
///
/// Two files that cannot be read as ELF are compared as bytes.
pub(super) fn same_code(one: &Path, other: &Path) -> Result<bool, StoreError> {
    let read =
        |path: &Path| std::fs::read(path).map_err(|error| StoreError::file(path, "read", error));
    let (one, other) = (read(one)?, read(other)?);
    Ok(match (sections(&one), sections(&other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    })
}

/// Address, size and contents of a section; one of zeros has no contents.
type Section<'a> = (u64, u64, &'a [u8]);

/// What is loaded, by name.
fn sections(bytes: &[u8]) -> Option<BTreeMap<&str, Section<'_>>> {
    let elf = Elf::parse(bytes).ok()?;
    let mut found = BTreeMap::new();
    for header in &elf.section_headers {
        let name = elf.shdr_strtab.get_at(header.sh_name)?;
        if header.sh_flags & u64::from(SHF_ALLOC) == 0 || SHIFTED.contains(&name) {
            continue;
        }
        let contents = if header.sh_type == SHT_NOBITS {
            &[][..]
        } else {
            bytes.get(header.file_range()?)?
        };
        found.insert(name, (header.sh_addr, header.sh_size, contents));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_the_same_as_itself() {
        let scratch = tempfile::tempdir().unwrap();
        let exe = std::env::current_exe().unwrap();
        let mut bytes = std::fs::read(&exe).unwrap();
        let text = {
            let elf = Elf::parse(&bytes).unwrap();
            let of = |name| {
                let mut headers = elf.section_headers.iter();
                headers.find(|it| elf.shdr_strtab.get_at(it.sh_name) == Some(name))
            };
            usize::try_from(of(".text").unwrap().sh_offset).unwrap()
        };
        let copy = scratch.path().join("copy");
        std::fs::write(&copy, &bytes).unwrap();
        assert!(same_code(&exe, &copy).unwrap());
        bytes[text] ^= 1;
        std::fs::write(&copy, &bytes).unwrap();
        assert!(!same_code(&exe, &copy).unwrap());
        std::fs::write(&copy, "no program").unwrap();
        assert!(!same_code(&exe, &copy).unwrap());
        assert!(same_code(&copy, &copy).unwrap());
    }
}
