//! Memory of System V, or of a file that is gone.

use std::fs;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::memory;
use crate::pattern;
use crate::stage::Stage;
use crate::sys::{self, Mapping, page_size};

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

/// The vdso, sealed as newer C libraries do.
pub(crate) fn sealed_vdso(stage: &mut Stage, _args: &Args) -> Result<()> {
    let maps = || fs::read_to_string("/proc/self/maps").map_err(Error::from_io("read maps"));
    let text = maps()?;
    let (range, _) = memory::mapping_at(memory::vdso_base()?)?;
    sys::seal(range.start, range.len())?;
    stage.hold()?;
    stage.equal("mappings", &maps()?, &text);
    Ok(())
}
