//! Files that have no name any more: what they hold, how they are open and mapped, and where they were.

use std::ffi::c_int;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::memfd::{has, link, path_of, write};
use crate::pattern;
use crate::stage::Stage;
use crate::sys::{self, Mapping, page_size};

/// A length that is no whole number of pages.
pub(crate) fn odd() -> usize {
    3 * page_size() + 100
}

fn open(path: &Path, write: bool) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(write).create(write);
    options.open(path).map_err(Error::from_io("open"))
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(Error::from_io("unlink"))
}

/// What fstat(2) says: size, permissions, names, and when it was written to.
fn about(file: &File) -> Result<(u64, u32, u64, i64, i64)> {
    let it = file.metadata().map_err(Error::from_io("fstat"))?;
    Ok((it.len(), it.mode(), it.nlink(), it.mtime(), it.mtime_nsec()))
}

/// A file with a hole, open three times in two processes; it was deleted.
pub(crate) fn contents(stage: &mut Stage, _args: &Args) -> Result<()> {
    let path = stage.path("gone");
    let (hole, beyond) = (8 * page_size(), 40 * page_size() + 5);
    let file = open(&path, true)?;
    write(&file, 0, 1, odd())?;
    write(&file, hole, 2, odd())?;
    file.set_len(beyond as u64)
        .map_err(Error::from_io("ftruncate"))?;
    fs::set_permissions(&path, Permissions::from_mode(0o640)).map_err(Error::from_io("chmod"))?;
    let mut reader = open(&path, false)?;
    reader
        .seek(SeekFrom::Start(77))
        .map_err(Error::from_io("seek"))?;
    remove(&path)?;
    let shown = link(file.as_raw_fd())?;
    let child = stage.spawn_ready("child", |child| {
        let before = link(file.as_raw_fd())?;
        child.hold()?;
        child.equal("link", &link(file.as_raw_fd())?, &before);
        has(child, "what the other process wrote", &file, hole, 3, 500);
        write(&file, hole + 1000, 4, 500)
    })?;
    let before = about(&file)?;
    stage.hold()?;
    stage.equal("size, mode, names, time", &about(&file)?, &before);
    stage.equal("names", &before.2, &0);
    stage.equal("link", &link(file.as_raw_fd())?, &shown);
    stage.check("it says so", shown.ends_with("/gone (deleted)"), &shown);
    has(stage, "before the hole", &file, 0, 1, odd());
    has(stage, "behind the hole", &reader, hole, 2, odd());
    let mut middle = vec![1; hole - odd()];
    let read = file.read_exact_at(&mut middle, odd() as u64);
    stage.works("hole", read.map_err(Error::from_io("read")));
    stage.equal("hole", &middle.iter().find(|&&byte| byte != 0), &None);
    let mut bytes = vec![0; 10];
    let read = reader.read_exact(&mut bytes);
    stage.works("at the offset", read.map_err(Error::from_io("read")));
    let all = pattern::piece(1, 0, odd());
    stage.equal("at the offset", &bytes.as_slice(), &&all[77..87]);
    stage.check("it has no name", !path.exists(), "it has");
    write(&file, hole, 3, 500)?;
    child.resume()?;
    stage.join(&child)?;
    has(stage, "what the child wrote", &reader, hole + 1000, 4, 500);
    let new = open(&path, true)?;
    stage.equal("a new file is empty", &about(&new)?.0, &0);
    Ok(())
}

/// One that two processes have mapped, and one whose private mapping differs from it; neither is open.
pub(crate) fn mapped(stage: &mut Stage, _args: &Args) -> Result<()> {
    const READ_WRITE: c_int = libc::PROT_READ | libc::PROT_WRITE;
    let pages =
        |file: &File, kind| Mapping::new(4 * page_size(), READ_WRITE, kind, file.as_raw_fd(), 0);
    let paths = [stage.path("shared"), stage.path("private")];
    let files = [open(&paths[0], true)?, open(&paths[1], true)?];
    for (seed, file) in (1..).zip(&files) {
        write(file, 0, seed, 4 * page_size())?;
    }
    let mut shared = pages(&files[0], libc::MAP_SHARED)?;
    let mut private = pages(&files[1], libc::MAP_PRIVATE)?;
    private.page_mut(2).fill(9);
    drop(files);
    for path in &paths {
        remove(path)?;
    }
    let child = stage.spawn_ready("child", |child| {
        child.hold()?;
        child.check("what the other wrote", shared.page(1)[0] == 0x55, "no");
        child.equal("private", &private.page(2)[7], &9);
        shared.page_mut(3)[5] = 0x66;
        Ok(())
    })?;
    stage.hold()?;
    stage.equal(
        "shared",
        &pattern::mismatch(shared.bytes(0, 4 * page_size()), 1),
        &None,
    );
    stage.equal(
        "private",
        &pattern::mismatch(private.bytes(0, 2 * page_size()), 2),
        &None,
    );
    let changed = private.page(2).iter().all(|&byte| byte == 9);
    stage.check("private, changed", changed, "it is not");
    shared.page_mut(1).fill(0x55);
    child.resume()?;
    stage.join(&child)?;
    stage.equal("what the child wrote", &shared.page(3)[5], &0x66);
    Ok(())
}

/// Two that never had a name, one of which may be given one; and one whose name is that of another by now.
pub(crate) fn nameless(stage: &mut Stage, _args: &Args) -> Result<()> {
    let temporary = |flags: c_int| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        options.custom_flags(libc::O_TMPFILE | flags);
        options
            .open(stage.path(""))
            .map_err(Error::from_io("open with O_TMPFILE"))
    };
    let (linkable, private) = (temporary(0)?, temporary(libc::O_EXCL)?);
    let path = stage.path("name");
    let old = open(&path, true)?;
    remove(&path)?;
    let new = open(&path, true)?;
    for (seed, file) in (1..).zip([&linkable, &private, &old, &new]) {
        write(file, 0, seed, odd())?;
    }
    stage.hold()?;
    for (seed, file) in (1..).zip([&linkable, &private, &old, &new]) {
        has(stage, "contents", file, 0, seed, odd());
    }
    stage.equal("names", &(about(&old)?.2, about(&new)?.2), &(0, 1));
    let given = stage.path("given");
    let give = |file: &File| {
        let (from, to) = (
            sys::c_path(&path_of(file.as_raw_fd()))?,
            sys::c_path(&given)?,
        );
        // SAFETY: the strings live.
        sys::check("linkat", unsafe {
            libc::linkat(
                libc::AT_FDCWD,
                from.as_ptr(),
                libc::AT_FDCWD,
                to.as_ptr(),
                libc::AT_SYMLINK_FOLLOW,
            )
        })
    };
    stage.check(
        "one cannot be given a name",
        give(&private).is_err(),
        "it can",
    );
    stage.works("the other can", give(&linkable));
    let named = open(&given, false)?;
    has(stage, "by its name", &named, 0, 1, odd());
    stage.equal(
        "the name of the new one",
        &about(&open(&path, false)?)?,
        &about(&new)?,
    );
    Ok(())
}

/// The program that runs, which was deleted.
pub(crate) fn program(stage: &mut Stage, _args: &Args) -> Result<()> {
    const EXE: &str = "/proc/self/exe";
    let path = stage.path("program");
    let exe = || fs::read_link(EXE).map_err(Error::from_io("read the link"));
    let contents = || fs::read(EXE).map_err(Error::from_io("read the program"));
    if exe()? != path {
        fs::write(&path, contents()?).map_err(Error::from_io("write"))?;
        fs::set_permissions(&path, Permissions::from_mode(0o700))
            .map_err(Error::from_io("chmod"))?;
        let failed = Command::new(&path)
            .arg0("workloads")
            .arg("unlinked::program")
            .exec();
        return Err(Error::from_io("execute")(failed));
    }
    let before = contents()?;
    remove(&path)?;
    let shown = exe()?;
    stage.hold()?;
    stage.equal("the program", &exe()?, &shown);
    let deleted = shown.display().to_string();
    stage.check(
        "it is deleted",
        deleted.ends_with("/program (deleted)"),
        &deleted,
    );
    stage.check("its contents", contents()? == before, "they differ");
    let writer = OpenOptions::new().write(true).open(EXE);
    let busy = writer.err().and_then(|error| error.raw_os_error());
    stage.equal("nobody may write to it", &busy, &Some(libc::ETXTBSY));
    Ok(())
}

/// One that was deleted under one of its two names.
pub(crate) fn linked(stage: &mut Stage, _args: &Args) -> Result<()> {
    let (path, other) = (stage.path("gone"), stage.path("other"));
    let file = open(&path, true)?;
    write(&file, 0, 1, odd())?;
    fs::hard_link(&path, &other).map_err(Error::from_io("link"))?;
    remove(&path)?;
    stage.hold()?;
    has(stage, "contents", &file, 0, 1, odd());
    Ok(())
}

/// One whose directory was deleted after it.
pub(crate) fn directory(stage: &mut Stage, _args: &Args) -> Result<()> {
    let dir = stage.path("directory");
    fs::create_dir(&dir).map_err(Error::from_io("mkdir"))?;
    let path = dir.join("gone");
    let file = open(&path, true)?;
    write(&file, 0, 1, odd())?;
    remove(&path)?;
    fs::remove_dir(&dir).map_err(Error::from_io("rmdir"))?;
    stage.hold()?;
    has(stage, "contents", &file, 0, 1, odd());
    Ok(())
}
