//! The initramfs: a gzipped newc archive, the same to the byte for the same programs.

use std::collections::BTreeMap;
use std::io::{self, Write};

use cpio::newc::{Builder, ModeFileType, trailer};
use crossthaw_protocol::{IMAGE_DIR, SCENARIO_DIR};
use flate2::{Compression, GzBuilder};

use super::elf::{self, ElfError};
use crate::arch::Arch;

/// Changes whenever this file writes other bytes for the same programs.
pub(super) const LAYOUT: &str = "1";

/// One thing in the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    /// A folder with these permissions.
    Folder(u32),
    /// A program that anybody may run.
    Program(Vec<u8>),
    /// A character device.
    Device {
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
}

/// The archive's contents by path, which is also their order: a folder comes before what is in it.
#[derive(Clone, Debug)]
pub(super) struct Initramfs {
    arch: Arch,
    nodes: BTreeMap<String, Node>,
}

impl Initramfs {
    /// The folders that `/init` mounts on, and the console that the kernel opens for it before anything is mounted.
    pub(super) fn new(arch: Arch) -> Self {
        let folders = [
            ("bin", 0o755),
            ("dev", 0o755),
            (IMAGE_DIR, 0o700),
            ("proc", 0o755),
            (SCENARIO_DIR, 0o777),
            ("share", 0o755),
            ("sys", 0o755),
            ("tmp", 0o1777),
        ];
        let mut nodes: BTreeMap<_, _> = folders
            .into_iter()
            .map(|(path, mode)| (path.trim_start_matches('/').to_owned(), Node::Folder(mode)))
            .collect();
        nodes.insert(
            "dev/console".to_owned(),
            Node::Device { major: 5, minor: 1 },
        );
        Self { arch, nodes }
    }

    /// Add a program at this path, such as `bin/checkpoint`; it must be one of the architecture's own, and static.
    pub(super) fn program(&mut self, path: &str, bytes: Vec<u8>) -> Result<(), ElfError> {
        elf::check(path, &bytes, self.arch.row().elf)?;
        self.nodes.insert(path.to_owned(), Node::Program(bytes));
        Ok(())
    }

    /// Write the archive, gzipped.
    pub(super) fn write(&self, out: impl Write) -> io::Result<()> {
        // No name, no time: two runs write the same bytes.
        let mut out = GzBuilder::new().mtime(0).write(out, Compression::default());
        for (number, (path, node)) in (1..).zip(&self.nodes) {
            let entry = Builder::new(path).ino(number);
            match node {
                Node::Folder(mode) => entry
                    .nlink(2)
                    .mode(*mode)
                    .set_mode_file_type(ModeFileType::Directory)
                    .write(&mut out, 0)
                    .finish()?,
                Node::Program(bytes) => {
                    let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
                    let mut file = entry
                        .mode(0o755)
                        .set_mode_file_type(ModeFileType::Regular)
                        .write(&mut out, size);
                    file.write_all(bytes)?;
                    file.finish()?
                }
                Node::Device { major, minor } => entry
                    .mode(0o600)
                    .rdev_major(*major)
                    .rdev_minor(*minor)
                    .set_mode_file_type(ModeFileType::Char)
                    .write(&mut out, 0)
                    .finish()?,
            };
        }
        trailer(&mut out)?;
        out.finish()?.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::guest::elf::tests::tiny;

    fn archive(arch: Arch, programs: &[&str]) -> Vec<u8> {
        let mut initramfs = Initramfs::new(arch);
        for path in programs {
            initramfs.program(path, tiny(arch.row().elf, None)).unwrap();
        }
        let mut bytes = Vec::new();
        initramfs.write(&mut bytes).unwrap();
        bytes
    }

    fn list(archive: &[u8]) -> String {
        let mut input = flate2::read::GzDecoder::new(archive);
        let mut lines = String::new();
        loop {
            let reader = cpio::newc::Reader::new(input).unwrap();
            let entry = reader.entry().clone();
            if entry.is_trailer() {
                return lines;
            }
            writeln!(
                lines,
                "{:2} {:06o} {}:{} {} links, time {}, device {}:{}, {} bytes: {}",
                entry.ino(),
                entry.mode(),
                entry.uid(),
                entry.gid(),
                entry.nlink(),
                entry.mtime(),
                entry.rdev_major(),
                entry.rdev_minor(),
                entry.file_size(),
                entry.name()
            )
            .unwrap();
            input = reader.finish().unwrap();
        }
    }

    #[test]
    fn what_is_in_it() {
        insta::assert_snapshot!(list(&archive(Arch::S390x, &["init", "bin/checkpoint"])), @r"
         1 040755 0:0 2 links, time 0, device 0:0, 0 bytes: bin
         2 100755 0:0 1 links, time 0, device 0:0, 120 bytes: bin/checkpoint
         3 040755 0:0 2 links, time 0, device 0:0, 0 bytes: dev
         4 020600 0:0 1 links, time 0, device 5:1, 0 bytes: dev/console
         5 040700 0:0 2 links, time 0, device 0:0, 0 bytes: images
         6 100755 0:0 1 links, time 0, device 0:0, 120 bytes: init
         7 040755 0:0 2 links, time 0, device 0:0, 0 bytes: proc
         8 040777 0:0 2 links, time 0, device 0:0, 0 bytes: scenario
         9 040755 0:0 2 links, time 0, device 0:0, 0 bytes: share
        10 040755 0:0 2 links, time 0, device 0:0, 0 bytes: sys
        11 041777 0:0 2 links, time 0, device 0:0, 0 bytes: tmp
        ");
    }

    #[test]
    fn two_runs_and_another_order_of_the_programs_give_the_same_bytes() {
        for arch in Arch::ALL {
            let one = archive(arch, &["init", "bin/checkpoint", "bin/restart"]);
            assert_eq!(
                one,
                archive(arch, &["init", "bin/checkpoint", "bin/restart"])
            );
            assert_eq!(
                one,
                archive(arch, &["bin/restart", "init", "bin/checkpoint"])
            );
        }
    }

    #[test]
    fn another_architectures_program_is_refused() {
        let foreign = tiny(Arch::X86_64.row().elf, None);
        let error = Initramfs::new(Arch::Ppc64).program("bin/restart", foreign);
        assert!(
            error
                .unwrap_err()
                .to_string()
                .starts_with("bin/restart: wanted")
        );
    }
}
