//! The scenario's folder: every entry, with a hash of its contents.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use crossthaw_protocol::Object;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use xxhash_rust::xxh64::Xxh64;

use super::files::stat;
use super::text;
use crate::error::{Context, Result};

/// Bytes read at once.
const BATCH: usize = 256 << 10;

/// Hash of the data and where it lies; holes cost nothing, and blocks of zeros are the same as a hole.
fn hash(path: &Path) -> io::Result<u64> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NOATIME)
        .open(path)?;
    let mut hash = Xxh64::new(0);
    let mut buffer = vec![0u8; BATCH];
    let mut at = 0;
    loop {
        at = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
            // The same blocks whatever the page size is.
            Ok(data) => data / BATCH as u64 * BATCH as u64,
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let mut filled = 0;
        while filled < BATCH {
            match file.read_at(&mut buffer[filled..], at + filled as u64)? {
                0 => break,
                more => filled += more,
            }
        }
        let block = &buffer[..filled];
        if block.iter().any(|&byte| byte != 0) {
            hash.update(&at.to_le_bytes());
            hash.update(block);
        }
        at += BATCH as u64;
    }
    Ok(hash.digest())
}

/// Does it begin as programs and libraries do?
fn is_elf(path: &Path) -> io::Result<bool> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NOATIME)
        .open(path)?;
    let mut magic = [0; 4];
    match file.read_exact_at(&mut magic, 0) {
        Ok(()) => Ok(magic == *b"\x7fELF"),
        // Shorter than that.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn entry(root: &Path, relative: &Path) -> Result<(bool, Object)> {
    let path = root.join(relative);
    let what = || format!("look at {}", path.display());
    let meta = fs::symlink_metadata(&path).context(what)?;
    let mut fields = stat(&meta);
    // A directory's size counts its entries in the file system's own unit.
    fields.push((
        "changed".to_owned(),
        format!("{}.{:09}", meta.mtime(), meta.mtime_nsec()),
    ));
    if meta.is_file() {
        fields.push((
            "contents".to_owned(),
            format!("{:016x}", hash(&path).context(what)?),
        ));
        if is_elf(&path).context(what)? {
            fields.push(("format".to_owned(), "ELF".to_owned()));
        }
    } else if meta.is_symlink() {
        let target = fs::read_link(&path).context(what)?;
        fields.push(("target".to_owned(), target.to_string_lossy().into_owned()));
    }
    let attributes = crate::folder::attributes(&path)?;
    let shown = |(name, value): (String, Vec<u8>)| (format!("attribute {name}"), text::hex(&value));
    fields.extend(attributes.into_iter().map(shown));
    let object = Object {
        kind: "file".to_owned(),
        name: relative.to_string_lossy().into_owned(),
        fields,
    };
    Ok((meta.is_dir(), object))
}

/// All entries in the order in which they were made, each directory followed by what it holds.
pub(super) fn probe(root: &Path) -> Result<Vec<Object>> {
    let mut all = Vec::new();
    below(root, Path::new(""), &mut all)?;
    Ok(all)
}

fn below(root: &Path, folder: &Path, all: &mut Vec<Object>) -> Result<()> {
    let path = root.join(folder);
    let what = || format!("list {}", path.display());
    let names = fs::read_dir(&path).and_then(|entries| {
        entries
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<Vec<_>>>()
    });
    let here = fs::symlink_metadata(&path).context(what)?.dev();
    // tmpfs lists the newest first.
    for name in names.context(what)?.into_iter().rev() {
        let relative = folder.join(name);
        let place = root.join(&relative);
        let meta = fs::symlink_metadata(&place);
        if meta
            .context(|| format!("look at {}", place.display()))?
            .dev()
            != here
        {
            // What is mounted in a root file system is not the scenario's.
            continue;
        }
        let (directory, object) = entry(root, &relative)?;
        all.push(object);
        if directory {
            below(root, &relative, all)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_told_apart() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::create_dir(at("d")).unwrap();
        fs::write(at("d/one"), "x").unwrap();
        fs::hard_link(at("d/one"), at("d/two")).unwrap();
        std::os::unix::fs::symlink("one", at("d/link")).unwrap();
        let found = probe(scratch.path()).unwrap();
        let field = |name: &str, field: &str| {
            let object = found.iter().find(|object| object.name == name).unwrap();
            object
                .fields
                .iter()
                .find(|entry| entry.0 == field)
                .unwrap()
                .1
                .clone()
        };
        assert_eq!(field("d", "type"), "directory");
        assert_eq!(field("d/link", "target"), "one");
        assert_eq!(field("d/one", "inode"), field("d/two", "inode"));
        assert_eq!(
            (field("d/one", "links"), field("d/one", "size")),
            ("2".into(), "1".into())
        );
    }

    #[test]
    fn programs_are_told_by_how_they_begin() {
        let scratch = tempfile::tempdir().unwrap();
        for (name, bytes, expected) in [
            ("program", &b"\x7fELF\x02\x01"[..], true),
            ("short", b"\x7fEL", false),
            ("empty", b"", false),
            ("text", b"ELF\n\n", false),
        ] {
            fs::write(scratch.path().join(name), bytes).unwrap();
            let (_, object) = entry(scratch.path(), Path::new(name)).unwrap();
            let format = object.fields.iter().find(|(name, _)| name == "format");
            assert_eq!(format.is_some(), expected, "{name}");
        }
    }

    #[test]
    fn a_hole_is_the_same_as_zeros_and_its_place_matters() {
        let scratch = tempfile::tempdir().unwrap();
        let write = |name: &str, zeros: bool, at: u64| {
            let path = scratch.path().join(name);
            let file = File::create(&path).unwrap();
            if zeros {
                file.write_all_at(&vec![0; 1 << 20], 0).unwrap();
            }
            file.write_all_at(b"x", at).unwrap();
            file.set_len(2 << 20).unwrap();
            hash(&path).unwrap()
        };
        let sparse = write("a", false, 1 << 20);
        assert_eq!(sparse, write("b", true, 1 << 20));
        assert_ne!(sparse, write("c", false, 3 << 19));
    }
}
