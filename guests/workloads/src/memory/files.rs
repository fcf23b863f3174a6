//! Mappings of files: private ones whose written pages are the task's own, and shared ones that are the file.

use std::ffi::c_int;
use std::fs::{self, File};
use std::os::fd::AsRawFd;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::pattern;
use crate::stage::Stage;
use crate::sys::{self, Mapping, page_size};

const READ_WRITE: c_int = libc::PROT_READ | libc::PROT_WRITE;

/// Pages of the files.
const PAGES: usize = 8;

/// A file with a pattern, and its descriptor.
fn file(stage: &Stage, seed: u64, writable: bool) -> Result<File> {
    let path = stage.path("mapped");
    fs::write(&path, pattern::piece(seed, 0, PAGES * page_size()))
        .map_err(Error::from_io("write"))?;
    File::options()
        .read(true)
        .write(writable)
        .open(&path)
        .map_err(Error::from_io("open"))
}

/// What the file holds, from a page on.
fn contents(stage: &Stage, page: usize) -> Result<Vec<u8>> {
    let bytes = fs::read(stage.path("mapped")).map_err(Error::from_io("read"))?;
    Ok(bytes[page * page_size()..(page + 1) * page_size()].to_vec())
}

/// Parent and child share a mapping of a file whose descriptor is closed, and the child has the second half once more: what one writes is the other's and the file's.
pub(crate) fn file_shared(stage: &mut Stage, _args: &Args) -> Result<()> {
    let open = file(stage, 6, true)?;
    let fd = open.as_raw_fd();
    let len = PAGES * page_size();
    let mut memory = Mapping::new(len, READ_WRITE, libc::MAP_SHARED, fd, 0)?;
    let half = i64::try_from(len / 2).unwrap_or(0);
    let mut tail = Mapping::new(len / 2, READ_WRITE, libc::MAP_SHARED, fd, half)?;
    drop(open);
    pattern::fill(memory.page_mut(1), 61);
    let child = stage.spawn_ready("child", |child| {
        child.hold()?;
        let seen = pattern::mismatch(tail.page(0), 62);
        child.equal("what the parent wrote", &seen, &None);
        pattern::fill(tail.page_mut(3), 63);
        Ok(())
    })?;
    stage.hold()?;
    let written = pattern::mismatch(memory.page(1), 61);
    stage.equal("the page written before", &written, &None);
    let rest = memory.page(2) == pattern::piece(6, 2 * page_size(), page_size());
    stage.check("a page that was not written", rest, "not the file's");
    pattern::fill(memory.page_mut(PAGES / 2), 62);
    child.resume()?;
    stage.join(&child)?;
    let seen = pattern::mismatch(memory.page(PAGES - 1), 63);
    stage.equal("what the child wrote", &seen, &None);
    for (page, seed) in [(1, 61), (PAGES / 2, 62), (PAGES - 1, 63)] {
        let found = pattern::mismatch(&contents(stage, page)?, seed);
        stage.equal(&format!("page {page} of the file"), &found, &None);
    }
    Ok(())
}

/// A shared mapping of a file that is open for reading only: it shows what is written to the file, and cannot be made writable.
pub(crate) fn file_readers(stage: &mut Stage, _args: &Args) -> Result<()> {
    let open = file(stage, 7, false)?;
    let len = PAGES * page_size();
    let mut memory = Mapping::new(len, libc::PROT_READ, libc::MAP_SHARED, open.as_raw_fd(), 0)?;
    let same = memory.bytes(0, len) == pattern::piece(7, 0, len);
    stage.check("contents before", same, "not the file's");
    stage.hold()?;
    let path = stage.path("mapped");
    let fd = sys::open(&path, libc::O_WRONLY)?;
    sys::write(fd, &pattern::piece(70, 0, page_size()))?;
    sys::close(fd)?;
    let seen = pattern::mismatch(memory.page(0), 70);
    stage.equal("what is written to the file", &seen, &None);
    let rest = memory.page(3) == pattern::piece(7, 3 * page_size(), page_size());
    stage.check("the rest", rest, "not the file's");
    let outcome = memory.protect(0, 1, READ_WRITE);
    stage.check("it stays read-only", outcome.is_err(), "it does not");
    Ok(())
}
