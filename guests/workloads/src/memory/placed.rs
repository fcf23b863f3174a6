//! Where the kernel keeps pages: merged with equal ones, in huge ones, in swap space.

use std::ffi::c_int;
use std::fs;
use std::path::Path;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::memory::{check_pages, field_at, mapping_at};
use crate::pattern;
use crate::simple;
use crate::stage::Stage;
use crate::sys::{self, Mapping, page_size};

/// include/uapi/linux/prctl.h.
const PR_SET_MEMORY_MERGE: c_int = 67;
const PR_GET_MEMORY_MERGE: c_int = 68;

fn write(path: &'static str, text: impl AsRef<[u8]>) -> Result<()> {
    fs::write(path, text).map_err(Error::from_io(path))
}

fn read_number(path: &'static str) -> Result<usize> {
    let text = fs::read_to_string(path).map_err(Error::from_io(path))?;
    let number = text.trim().parse();
    number.map_err(|_| Error::Situation(format!("{path} is {text:?}")))
}

fn advise(memory: &mut Mapping, advice: c_int) -> Result<()> {
    memory.advise(0, memory.len() / page_size(), advice)
}

/// Has the kernel merge pages, and waits until so much of this memory is.
fn await_merged(memory: &Mapping) -> Result<()> {
    search()?;
    // What is mapped beside it may be in one mapping with it.
    while part_of(memory.address(), "KSM:")? < memory.len() {
        sys::pause();
    }
    Ok(())
}

/// Has the kernel search for equal pages.
fn search() -> Result<()> {
    write("/sys/kernel/mm/ksm/pages_to_scan", "1000")?;
    write("/sys/kernel/mm/ksm/sleep_millisecs", "5")?;
    write("/sys/kernel/mm/ksm/run", "1")
}

/// Pages of the same contents, which the kernel has merged since `how` it was told so: by `advice` on this memory, or for `all` that there is.
pub(crate) fn merged(stage: &mut Stage, args: &Args) -> Result<()> {
    const PAGES: usize = 12;
    let all = match args.text("how", "advice") {
        "advice" => false,
        "all" => true,
        other => return Err(Error::Argument(format!("how={other}"))),
    };
    let mut memory = Mapping::anonymous(PAGES)?;
    for page in 0..PAGES {
        pattern::fill(memory.page_mut(page), 31);
    }
    if all {
        sys::prctl(PR_SET_MEMORY_MERGE, 1)?;
    } else {
        advise(&mut memory, libc::MADV_MERGEABLE)?;
    }
    // Of another protection than what comes next to it.
    let mut excluded = Mapping::anonymous(4)?;
    excluded.protect(0, 4, libc::PROT_READ)?;
    advise(&mut excluded, libc::MADV_UNMERGEABLE)?;
    await_merged(&memory)?;
    let flags = || {
        Ok((
            mapping_at(memory.address())?.1,
            mapping_at(excluded.address())?.1,
        ))
    };
    let before = flags()?;
    stage.hold()?;
    let after = flags()?;
    stage.equal("flags, of others, too", &after, &before);
    let marked = |flags: &[String]| flags.iter().any(|flag| flag == "mg");
    stage.equal(
        "marked, and the others",
        &(marked(&after.0), marked(&after.1)),
        &(true, false),
    );
    stage.equal("prctl", &(sys::prctl(PR_GET_MEMORY_MERGE, 0)? == 1), &all);
    let new = mapping_at(Mapping::anonymous(3)?.address())?.1;
    stage.equal("new memory is marked", &marked(&new), &all);
    check_pages(
        stage,
        "contents",
        &memory,
        (0..PAGES).map(|page| (page, 31)),
    );
    // The kernel goes on searching, or begins anew.
    await_merged(&memory)?;
    pattern::fill(memory.page_mut(5), 32);
    let expected = (0..PAGES).map(|page| (page, if page == 5 { 32 } else { 31 }));
    check_pages(stage, "contents after one was written", &memory, expected);
    // Take all of it apart: nothing of it stays in the kernel.
    write("/sys/kernel/mm/ksm/run", "2")
}

/// Zeros over what a file has, which the kernel has merged with its page of zeros.
pub(crate) fn merged_zeros(stage: &mut Stage, _args: &Args) -> Result<()> {
    const PAGES: usize = 8;
    let path = stage.path("mapped");
    let contents = pattern::piece(33, 0, PAGES * page_size());
    fs::write(&path, contents).map_err(Error::from_io("write"))?;
    let fd = sys::open(&path, libc::O_RDONLY)?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let mut memory = Mapping::new(PAGES * page_size(), protection, libc::MAP_PRIVATE, fd, 0)?;
    sys::close(fd)?;
    // The first page and the last are the file's.
    let zeros = page_size()..(PAGES - 1) * page_size();
    memory.bytes_mut(zeros.start, zeros.len()).fill(0);
    advise(&mut memory, libc::MADV_MERGEABLE)?;
    write("/sys/kernel/mm/ksm/use_zero_pages", "1")?;
    search()?;
    let merged = || -> Result<bool> {
        let text =
            fs::read_to_string("/proc/self/ksm_stat").map_err(Error::from_io("read ksm_stat"))?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("ksm_zero_pages "));
        Ok(line.is_some_and(|pages| pages.trim() == (PAGES - 2).to_string()))
    };
    while !merged()? {
        sys::pause();
    }
    stage.hold()?;
    let zero = memory
        .bytes(zeros.start, zeros.len())
        .iter()
        .all(|byte| *byte == 0);
    stage.check("zeros hide what the file has", zero, "they do not");
    let same =
        |page: usize| memory.page(page) == pattern::piece(33, page * page_size(), page_size());
    stage.check("the file's pages", same(0) && same(PAGES - 1), "others");
    memory.page_mut(2).fill(7);
    let seven = memory.page(2).iter().all(|byte| *byte == 7);
    stage.check("a zero page is written to", seven, "it is not");
    write("/sys/kernel/mm/ksm/run", "2")
}

/// Bytes that a line of `/proc/self/smaps` shows of the mapping at an address.
fn part_of(address: usize, name: &str) -> Result<usize> {
    let (_, value) = field_at(address, name)?;
    let kib = value.strip_suffix(" kB").and_then(|kib| kib.parse().ok());
    let kib: usize = kib.ok_or_else(|| Error::Situation(format!("{name} {value}")))?;
    Ok(kib << 10)
}

/// Memory in huge pages: one written in full, one in a few places, one whose pages are small ones by now, one never touched.
pub(crate) fn huge(stage: &mut Stage, _args: &Args) -> Result<()> {
    let size = read_number("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")?;
    let per = size / page_size();
    let room = Mapping::new(
        5 * size,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        -1,
        0,
    )?;
    let skip = (room.address().next_multiple_of(size) - room.address()) / page_size();
    let mut memory = room;
    advise(&mut memory, libc::MADV_HUGEPAGE)?;
    let full = 0..per;
    let sparse = [per, per + 7, 2 * per - 1];
    let small = [2 * per, 3 * per - 1];
    let written = || {
        full.clone()
            .chain(sparse)
            .chain(small)
            .map(|page| page + skip)
    };
    for page in written() {
        pattern::fill(memory.page_mut(page), page as u64);
    }
    let place = memory.address();
    let in_huge = || part_of(place, "AnonHugePages:");
    stage.equal("in huge pages", &in_huge()?, &(3 * size));
    // A page is given back.
    let hole = skip + 2 * per + 3;
    memory.advise(hole, 1, libc::MADV_DONTNEED)?;
    stage.equal("in huge pages afterwards", &in_huge()?, &(2 * size));
    let before = mapping_at(place)?;
    stage.hold()?;
    stage.equal("mapping and flags", &mapping_at(place)?, &before);
    // The third is a huge one again after a restart, which fills it anew.
    let huge = in_huge()?;
    stage.check("they stay huge", huge >= 2 * size, &format!("{huge} bytes"));
    stage.check("advised", before.1.contains(&"hg".to_owned()), "no");
    let contents = |page| (page, page as u64);
    check_pages(stage, "contents", &memory, written().map(contents));
    let zero = |page: &usize| memory.page(*page).iter().all(|byte| *byte == 0);
    let touched: Vec<usize> = written().collect();
    let dirty: Vec<usize> = (skip..skip + 4 * per)
        .filter(|page| !touched.contains(page) && !zero(page))
        .collect();
    stage.equal("pages that should be zero", &dirty, &Vec::new());
    let last = skip + 4 * per - 1;
    pattern::fill(memory.page_mut(last), 77);
    check_pages(stage, "a new page", &memory, [(last, 77)]);
    Ok(())
}

/// The disk in memory that is swapped to.
const DISK: &str = "/dev/zram0";
const DISK_SIZE: &str = "/sys/block/zram0/disksize";
const DISK_RESET: &str = "/sys/block/zram0/reset";

/// Bytes of the disk.
const DISK_BYTES: usize = 16 << 20;

/// Makes the disk one to swap to, and uses it.
fn swap_on() -> Result<()> {
    // `union swap_header` of include/linux/swap.h: a version, the last page, and a word at the end of the page.
    const MAGIC: &[u8] = b"SWAPSPACE2";
    write(DISK_SIZE, DISK_BYTES.to_string())?;
    let mut header = vec![0; page_size()];
    let last = u32::try_from(DISK_BYTES / page_size() - 1).unwrap_or(0);
    header[1024..1028].copy_from_slice(&1_u32.to_ne_bytes());
    header[1028..1032].copy_from_slice(&last.to_ne_bytes());
    let end = header.len();
    header[end - MAGIC.len()..].copy_from_slice(MAGIC);
    write(DISK, header)?;
    let disk = sys::c_path(Path::new(DISK))?;
    // SAFETY: the path lives.
    sys::check("swapon", unsafe { libc::swapon(disk.as_ptr(), 0) }).map(drop)
}

/// The disk is as it was; not where the task was restarted, which does not swap.
fn swap_off() -> Result<()> {
    let used = fs::read_to_string("/proc/swaps").map_err(Error::from_io("read /proc/swaps"))?;
    if !used.contains(DISK) {
        return Ok(());
    }
    let disk = sys::c_path(Path::new(DISK))?;
    // SAFETY: the path lives.
    sys::check("swapoff", unsafe { libc::swapoff(disk.as_ptr()) })?;
    write(DISK_RESET, "1")
}

/// Pages in swap space, private and shared ones; some of them nobody may read at present.
struct Swapped {
    private: Mapping,
    shared: Mapping,
}

impl Swapped {
    const PAGES: usize = 64;
    const GUARDED: usize = 56;

    /// Makes them, and has all of them swapped out.
    fn new() -> Result<Self> {
        swap_on()?;
        let mut private = Mapping::anonymous(Self::PAGES)?;
        let mut shared = Mapping::new(
            Self::PAGES * page_size(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )?;
        for (page, seed) in Self::written() {
            pattern::fill(private.page_mut(page), seed);
            pattern::fill(shared.page_mut(page), seed + 1000);
        }
        let expected = Self::written().count() * page_size();
        // What is mapped together is looked at together.
        let out = |memory: &Mapping| part_of(memory.address(), "Swap:");
        while out(&private)? < expected || out(&shared)? < expected {
            // Also takes pages off the lists that each processor keeps for itself.
            write("/proc/sys/vm/drop_caches", "1")?;
            advise(&mut private, libc::MADV_PAGEOUT)?;
            advise(&mut shared, libc::MADV_PAGEOUT)?;
        }
        private.protect(Self::GUARDED, Self::PAGES - Self::GUARDED, libc::PROT_NONE)?;
        Ok(Self { private, shared })
    }

    /// Pages and what they hold: one in four was never touched.
    fn written() -> impl Iterator<Item = (usize, u64)> {
        let touched = (0..Self::PAGES).filter(|page| page % 4 != 3);
        touched.map(|page| (page, page as u64 + 500))
    }

    fn check(&mut self, stage: &mut Stage) -> Result<()> {
        let guarded = Self::PAGES - Self::GUARDED;
        self.private
            .protect(Self::GUARDED, guarded, libc::PROT_READ)?;
        check_pages(stage, "private pages", &self.private, Self::written());
        let common = Self::written().map(|(page, seed)| (page, seed + 1000));
        check_pages(stage, "shared pages", &self.shared, common);
        Ok(())
    }
}

/// Pages that were swapped out: private ones, which a child shares by copy-on-write, and shared ones.
pub(crate) fn swapped(stage: &mut Stage, _args: &Args) -> Result<()> {
    let mut pages = Swapped::new()?;
    let child = stage.spawn_ready("child", |child| {
        child.hold()?;
        pages.check(child)
    })?;
    stage.hold()?;
    pages.check(stage)?;
    child.resume()?;
    stage.join(&child)?;
    swap_off()
}

/// A task with pages in swap space checkpoints itself: nobody has looked at them since they were swapped out.
pub(crate) fn swapped_self(stage: &mut Stage, _args: &Args) -> Result<()> {
    let mut pages = Swapped::new()?;
    simple::checkpoint_into_file(stage)?;
    pages.check(stage)?;
    stage.hold()?;
    swap_off()
}
