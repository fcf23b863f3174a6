//! Memory that is shared, locked, advised, or of a file that is gone.

use std::ffi::c_int;
use std::fs;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::pattern;
use crate::stage::Stage;
use crate::sys::{self, Mapping, Status, page_size};

const READ_WRITE: c_int = libc::PROT_READ | libc::PROT_WRITE;

/// Checks that what a child writes to the memory is seen here.
fn check_shared(stage: &mut Stage, memory: &mut Mapping) -> Result<()> {
    let Some(pid) = sys::fork()? else {
        pattern::fill(memory.page_mut(0), 77);
        sys::exit(0)
    };
    stage.equal("the child's end", &sys::wait(pid)?, &Status::Exited(0));
    stage.equal(
        "what the child wrote",
        &pattern::mismatch(memory.page(0), 77),
        &None,
    );
    Ok(())
}

/// Anonymous memory that children share.
pub(crate) fn shared_anonymous(stage: &mut Stage, _args: &Args) -> Result<()> {
    let mut memory = Mapping::new(
        page_size(),
        READ_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
        -1,
        0,
    )?;
    pattern::fill(memory.page_mut(0), 5);
    stage.hold()?;
    stage.equal("contents", &pattern::mismatch(memory.page(0), 5), &None);
    check_shared(stage, &mut memory)
}

/// A shared mapping of a file.
pub(crate) fn shared_file(stage: &mut Stage, _args: &Args) -> Result<()> {
    let path = stage.path("mapped");
    fs::write(&path, pattern::piece(6, 0, page_size())).map_err(Error::from_io("write"))?;
    let fd = sys::open(&path, libc::O_RDWR)?;
    let mut memory = Mapping::new(page_size(), READ_WRITE, libc::MAP_SHARED, fd, 0)?;
    sys::close(fd)?;
    stage.hold()?;
    stage.equal("contents", &pattern::mismatch(memory.page(0), 6), &None);
    check_shared(stage, &mut memory)?;
    let file = fs::read(&path).map_err(Error::from_io("read"))?;
    stage.equal("contents of the file", &pattern::mismatch(&file, 77), &None);
    Ok(())
}

/// A System V segment, attached.
pub(crate) fn sysv_shm(stage: &mut Stage, _args: &Args) -> Result<()> {
    // SAFETY: plain numbers; a new attachment touches nothing that exists. The segment is removed at once and lives as long as it is attached.
    let start = unsafe {
        let id = sys::check(
            "shmget",
            libc::shmget(libc::IPC_PRIVATE, page_size(), libc::IPC_CREAT | 0o600),
        )?;
        let start = libc::shmat(id, std::ptr::null(), 0);
        sys::check(
            "shmctl",
            libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()),
        )?;
        start
    };
    if start.addr() == usize::MAX {
        return Err(Error::last("shmat"));
    }
    // SAFETY: attached just now, one page long, and nobody else's.
    let bytes = unsafe { std::slice::from_raw_parts_mut(start.cast::<u8>(), page_size()) };
    pattern::fill(bytes, 8);
    stage.hold()?;
    stage.equal("contents", &pattern::mismatch(bytes, 8), &None);
    Ok(())
}

/// Memory that must stay in RAM.
pub(crate) fn mlock(stage: &mut Stage, _args: &Args) -> Result<()> {
    let mut memory = Mapping::anonymous(2)?;
    pattern::fill(memory.page_mut(1), 9);
    // SAFETY: memory of our own.
    sys::check("mlock", unsafe {
        libc::mlock(memory.start().cast(), memory.len())
    })?;
    stage.hold()?;
    stage.equal("contents", &pattern::mismatch(memory.page(1), 9), &None);
    Ok(())
}

/// Memory that children do not inherit.
pub(crate) fn advice(stage: &mut Stage, _args: &Args) -> Result<()> {
    let mut memory = Mapping::anonymous(2)?;
    pattern::fill(memory.page_mut(0), 10);
    // SAFETY: memory of our own.
    sys::check("madvise", unsafe {
        libc::madvise(memory.start().cast(), memory.len(), libc::MADV_DONTFORK)
    })?;
    stage.hold()?;
    stage.equal("contents", &pattern::mismatch(memory.page(0), 10), &None);
    let Some(pid) = sys::fork()? else {
        sys::set_action(libc::SIGSEGV, libc::SIG_DFL, 0, &[]).ok();
        sys::exit(i32::from(std::hint::black_box(memory.page(0))[0]))
    };
    stage.equal(
        "a child that reads it",
        &sys::wait(pid)?,
        &Status::Killed(libc::SIGSEGV),
    );
    Ok(())
}

/// A private mapping of a file that was deleted.
pub(crate) fn unlinked_mapping(stage: &mut Stage, _args: &Args) -> Result<()> {
    let path = stage.path("mapped");
    fs::write(&path, pattern::piece(11, 0, page_size())).map_err(Error::from_io("write"))?;
    let fd = sys::open(&path, libc::O_RDONLY)?;
    let memory = Mapping::new(page_size(), libc::PROT_READ, libc::MAP_PRIVATE, fd, 0)?;
    sys::close(fd)?;
    fs::remove_file(&path).map_err(Error::from_io("unlink"))?;
    stage.hold()?;
    stage.equal("contents", &pattern::mismatch(memory.page(0), 11), &None);
    Ok(())
}
