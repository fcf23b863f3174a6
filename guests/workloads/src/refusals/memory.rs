//! Memory of System V, or of a file that is gone.

use std::fs;
use std::os::fd::AsRawFd;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::pattern;
use crate::stage::Stage;
use crate::sys::{self, Mapping, page_size};
use crate::{memfd, memory};

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

/// A private mapping of a file that was deleted under one of its two names.
pub(crate) fn unlinked_mapping(stage: &mut Stage, _args: &Args) -> Result<()> {
    let path = stage.path("mapped");
    fs::write(&path, pattern::piece(11, 0, page_size())).map_err(Error::from_io("write"))?;
    let fd = sys::open(&path, libc::O_RDONLY)?;
    let memory = Mapping::new(page_size(), libc::PROT_READ, libc::MAP_PRIVATE, fd, 0)?;
    sys::close(fd)?;
    fs::hard_link(&path, stage.path("other")).map_err(Error::from_io("link"))?;
    fs::remove_file(&path).map_err(Error::from_io("unlink"))?;
    stage.hold()?;
    stage.equal("contents", &pattern::mismatch(memory.page(0), 11), &None);
    Ok(())
}

/// Memory in a huge page that was set aside: a `mapping` of it, or a `memfd` in such.
pub(crate) fn hugetlb(stage: &mut Stage, args: &Args) -> Result<()> {
    const POOL: &str = "/proc/sys/vm/nr_hugepages";
    const MFD_HUGETLB: u32 = 4;
    fs::write(POOL, "1").map_err(Error::from_io("write nr_hugepages"))?;
    let about =
        fs::read_to_string("/proc/meminfo").map_err(Error::from_io("read /proc/meminfo"))?;
    let kib = about
        .lines()
        .find_map(|line| line.strip_prefix("Hugepagesize:"));
    let kib = kib.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok());
    let kib: usize = kib.ok_or_else(|| Error::Situation("no huge pages".to_owned()))?;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let mut file = None;
    let mut memory = match args.text("kind", "mapping") {
        "mapping" => Mapping::new(kib << 10, protection, flags, -1, 0)?,
        "memfd" => {
            let fd = memfd::create(c"huge", MFD_HUGETLB)?;
            let memory = Mapping::new(kib << 10, protection, libc::MAP_SHARED, fd.as_raw_fd(), 0);
            file = Some(fd);
            memory?
        }
        other => return Err(Error::Argument(format!("kind={other}"))),
    };
    pattern::fill(memory.page_mut(1), 12);
    stage.hold()?;
    stage.equal("contents", &pattern::mismatch(memory.page(1), 12), &None);
    drop((memory, file));
    fs::write(POOL, "0").map_err(Error::from_io("write nr_hugepages"))
}

/// A name that no mapping can be given again: `kind` is `vdso`, which the kernel maps, or `empty`.
pub(crate) fn odd_name(stage: &mut Stage, args: &Args) -> Result<()> {
    let maps = || fs::read_to_string("/proc/self/maps").map_err(Error::from_io("read maps"));
    let memory = Mapping::anonymous(1)?;
    match args.text("kind", "vdso") {
        "vdso" => {
            let (range, _) = memory::mapping_at(memory::vdso_base()?)?;
            memory::call_range(range, Some("mine"))?;
        }
        "empty" => {
            let start = memory.address();
            memory::call_range(start..start + memory.len(), Some(""))?;
        }
        other => return Err(Error::Argument(format!("kind={other}"))),
    }
    let text = maps()?;
    stage.hold()?;
    stage.equal("mappings", &maps()?, &text);
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
