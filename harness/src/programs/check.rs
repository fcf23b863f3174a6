//! Can the guest run a program: its machine, and its loader?

use std::path::{Component, Path, PathBuf};

use super::StageError;
use crate::arch::Arch;
use crate::guest::ElfError;
use crate::guest::elf;
use crate::scenario::{Rootfs, Site};

/// Most symbolic links on the way to a file, as the kernel has it.
const MOST_LINKS: usize = 40;

/// Check that the architecture can run the program; returns the loader that it asks for.
pub(super) fn check(
    arch: Arch,
    name: &str,
    bytes: &[u8],
    site: &Site,
) -> Result<Option<String>, StageError> {
    match elf::check(name, bytes, arch.row().elf) {
        Ok(()) => Ok(None),
        Err(ElfError::Dynamic { interpreter, .. }) => Ok(Some(interpreter)),
        Err(error @ ElfError::Unreadable { .. }) if bytes.starts_with(b"#!") => {
            let message = format!("{error}: it is a script, and the guest has no interpreter");
            Err(StageError::wrong(site, message))
        }
        Err(error) => {
            let message = format!(
                "{error}: build it for {arch}, name one file an architecture with {{arch}} in its path, or say archs: [...]"
            );
            Err(StageError::wrong(site, message))
        }
    }
}

/// Has the root file system the loader that the program asks for?
pub(super) fn can_load(
    interpreter: Option<&str>,
    rootfs: Option<&Rootfs>,
    site: &Site,
) -> Result<(), StageError> {
    let Some(interpreter) = interpreter else {
        return Ok(());
    };
    match rootfs {
        None => {
            let message = format!(
                "the program is dynamic and asks for the loader {interpreter}, which the guest has not: link it with -static, or say rootfs: FOLDER with its loader and libraries, or rootfs: {{libraries: [libc.so.6]}} for those of the cross compiler"
            );
            Err(StageError::wrong(site, message))
        }
        Some(Rootfs::Libraries(_)) => Ok(()),
        Some(Rootfs::Folder(folder)) => match resolve(folder, interpreter) {
            Ok(path) if path.is_file() => Ok(()),
            _ => {
                let message = format!(
                    "the program asks for the loader {interpreter}, which is not in {}",
                    folder.display()
                );
                Err(StageError::wrong(site, message))
            }
        },
    }
}

/// The file of this machine that a path in a root file system leads to: links are followed as if the folder were the root directory.
pub(super) fn resolve(folder: &Path, inside: &str) -> Result<PathBuf, String> {
    let mut links = 0;
    let mut left: Vec<String> = parts(inside);
    let mut found = PathBuf::new();
    while let Some(part) = left.pop() {
        if part == ".." {
            found.pop();
            continue;
        }
        let path = folder.join(&found).join(&part);
        let meta = path
            .symlink_metadata()
            .map_err(|error| format!("{inside} is not in {}: {error}", folder.display()))?;
        if !meta.is_symlink() {
            found.push(part);
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(format!("{inside} leads through too many symbolic links"));
        }
        let target = path
            .read_link()
            .map_err(|error| format!("cannot read the link {}: {error}", path.display()))?;
        let target = target.to_string_lossy().into_owned();
        if target.starts_with('/') {
            found.clear();
        }
        left.extend(parts(&target));
    }
    Ok(folder.join(found))
}

/// The parts of a path, the last one first.
fn parts(path: &str) -> Vec<String> {
    let parts = Path::new(path).components().rev();
    parts
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            Component::ParentDir => Some("..".to_owned()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}
