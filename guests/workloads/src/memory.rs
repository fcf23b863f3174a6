//! Memory: contents, holes, sharing after fork, files below, protections, growth.

use std::ffi::{c_int, c_void};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys::{self, Mapping, Status, page_size};
use crate::{hold, pattern};

mod files;
mod keys;
mod marked;
mod placed;
mod vdso;

pub(crate) use files::{file_readers, file_shared};
pub(crate) use keys::{call_range, named, protection_keys};
pub(crate) use marked::{advice, field_at, grows_down, locked, mapping_at, said, sealed};
pub(crate) use placed::{huge, merged, merged_zeros, swapped, swapped_self};
pub(crate) use vdso::{base as vdso_base, vdso};

/// Checks pages against their patterns: `(page, seed)`.
fn check_pages(
    stage: &mut Stage,
    name: &str,
    memory: &Mapping,
    pages: impl IntoIterator<Item = (usize, u64)>,
) {
    let wrong: Vec<_> = pages
        .into_iter()
        .filter_map(|(page, seed)| Some((page, pattern::mismatch(memory.page(page), seed)?)))
        .collect();
    stage.equal(name, &wrong, &Vec::new());
}

/// Anonymous memory of `mib` MiB, of which one page in `step` was written: the contents are back, and what was never touched is not there.
pub(crate) fn holes(stage: &mut Stage, args: &Args) -> Result<()> {
    let pages = (args.number("mib", 64)? << 20) / page_size();
    let step = args.number("step", 64)?.max(4);
    let mut memory = Mapping::anonymous(pages)?;
    // SAFETY: plain advice on memory of our own: no huge pages, so that presence is a matter of single pages.
    unsafe { libc::madvise(memory.start().cast(), memory.len(), libc::MADV_NOHUGEPAGE) };
    let written = || (0..pages).step_by(step);
    for page in written() {
        pattern::fill(memory.page_mut(page), page as u64);
    }
    // Written, but with zeros.
    for page in written() {
        memory.page_mut(page + 2).fill(0);
    }
    let absent = |page: &usize| !matches!(page % step, 0 | 2);
    stage.hold()?;
    check_pages(
        stage,
        "written pages",
        &memory,
        written().map(|page| (page, page as u64)),
    );
    let present: Vec<usize> = present_pages(&memory)?.into_iter().filter(absent).collect();
    stage.equal("pages in the holes", &present.len(), &0);
    let dirty: Vec<usize> = (0..pages)
        .filter(|page| page % step != 0 && memory.page(*page).iter().any(|byte| *byte != 0))
        .collect();
    stage.equal("pages that should be zero", &dirty, &Vec::new());
    Ok(())
}

/// Numbers of the pages that `/proc/self/pagemap` shows as present or swapped.
fn present_pages(memory: &Mapping) -> Result<Vec<usize>> {
    let pages = memory.len() / page_size();
    let mut entries = vec![0; pages * 8];
    let pagemap =
        File::open("/proc/self/pagemap").map_err(Error::from_io("open /proc/self/pagemap"))?;
    let offset = memory.address() / page_size() * 8;
    pagemap
        .read_exact_at(&mut entries, offset as u64)
        .map_err(Error::from_io("read /proc/self/pagemap"))?;
    Ok(entries
        .chunks_exact(8)
        .enumerate()
        .filter(|(_, entry)| {
            // Bits 63 and 62 of a word in native byte order.
            let top = if cfg!(target_endian = "little") {
                entry[7]
            } else {
                entry[0]
            };
            top & 0xc0 != 0
        })
        .map(|(page, _)| page)
        .collect())
}

/// `gib` GiB of addresses, with a page written at the start, in the middle and at the end.
pub(crate) fn sparse(stage: &mut Stage, args: &Args) -> Result<()> {
    let pages = (args.number("gib", 1024)? << 30) / page_size();
    let mut memory = Mapping::new(
        pages * page_size(),
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        -1,
        0,
    )?;
    let places = [0, pages / 2 + 1, pages - 1];
    for page in places {
        pattern::fill(memory.page_mut(page), page as u64);
    }
    stage.hold()?;
    check_pages(
        stage,
        "written pages",
        &memory,
        places.map(|page| (page, page as u64)),
    );
    let between = memory.page(pages / 4).iter().all(|byte| *byte == 0);
    stage.check("a page between them is zero", between, "it is not");
    Ok(())
}

/// `mib` MiB, every page written.
pub(crate) fn dirty(stage: &mut Stage, args: &Args) -> Result<()> {
    let mut memory = Mapping::anonymous((args.number("mib", 48)? << 20) / page_size())?;
    let len = memory.len();
    pattern::fill(memory.bytes_mut(0, len), 64);
    stage.hold()?;
    stage.equal(
        "contents",
        &pattern::mismatch(memory.bytes(0, len), 64),
        &None,
    );
    // It is ours to write to, in one piece.
    pattern::fill(memory.bytes_mut(0, len), 65);
    stage.equal(
        "contents written afterwards",
        &pattern::mismatch(memory.bytes(0, len), 65),
        &None,
    );
    Ok(())
}

/// Pages in [`cow_fork`].
const COW: usize = 24;

/// Parent and child share pages by copy-on-write; each has written some: each keeps its own, before and after.
pub(crate) fn cow_fork(stage: &mut Stage, _args: &Args) -> Result<()> {
    let mut memory = Mapping::anonymous(COW)?;
    for page in 0..COW {
        pattern::fill(memory.page_mut(page), page as u64);
    }
    // Page N: the child writes the even ones, the parent those divisible by three.
    let childs = |page: usize| if page.is_multiple_of(2) { 1000 } else { 0 } + page as u64;
    let parents = |page: usize| if page.is_multiple_of(3) { 2000 } else { 0 } + page as u64;
    let mut copy = memory;
    let child = stage.spawn_ready("child", |child| {
        for page in (0..COW).step_by(2) {
            pattern::fill(copy.page_mut(page), childs(page));
        }
        child.hold()?;
        check_pages(
            child,
            "the child's view",
            &copy,
            (0..COW).map(|page| (page, childs(page))),
        );
        Ok(())
    })?;
    for page in (0..COW).step_by(3) {
        pattern::fill(copy.page_mut(page), parents(page));
    }
    stage.hold()?;
    check_pages(
        stage,
        "the parent's view",
        &copy,
        (0..COW).map(|page| (page, parents(page))),
    );
    // A page that both still share, written now: the child must not see it.
    pattern::fill(copy.page_mut(1), 3000);
    child.resume()?;
    stage.join(&child)?;
    check_pages(stage, "the page written last", &copy, [(1, 3000)]);
    Ok(())
}

/// Pages of the file in [`file_private`].
const FILE_PAGES: usize = 16;

/// Pages of a private file mapping that were written with nothing but zeros are zeros, not the file's.
pub(crate) fn file_zeros(stage: &mut Stage, _args: &Args) -> Result<()> {
    let path = stage.path("mapped");
    fs::write(&path, pattern::piece(2, 0, FILE_PAGES * page_size()))
        .map_err(Error::from_io("write"))?;
    let file = File::open(&path).map_err(Error::from_io("open"))?;
    let mut whole = Mapping::new(
        FILE_PAGES * page_size(),
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE,
        file.as_raw_fd(),
        0,
    )?;
    drop(file);
    for page in [2, 3, 7] {
        whole.page_mut(page).fill(0);
    }
    stage.hold()?;
    let zeros: Vec<usize> = (0..FILE_PAGES)
        .filter(|page| whole.page(*page).iter().all(|byte| *byte == 0))
        .collect();
    stage.equal("pages of zeros", &zeros, &vec![2, 3, 7]);
    Ok(())
}

/// A private mapping of a file with some pages written: those are the task's own, the others are the file's, also when the file changes later.
pub(crate) fn file_private(stage: &mut Stage, _args: &Args) -> Result<()> {
    let path = stage.path("mapped");
    fs::write(&path, pattern::piece(1, 0, FILE_PAGES * page_size()))
        .map_err(Error::from_io("write"))?;
    let file = File::options()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(Error::from_io("open"))?;
    let len = FILE_PAGES * page_size();
    let mut whole = Mapping::new(
        len,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE,
        file.as_raw_fd(),
        0,
    )?;
    // The second half once more, read-only.
    let half = i64::try_from(len / 2).unwrap_or(0);
    let tail = Mapping::new(
        len / 2,
        libc::PROT_READ,
        libc::MAP_PRIVATE,
        file.as_raw_fd(),
        half,
    )?;
    drop(file);
    for page in [0, 3, 10] {
        pattern::fill(whole.page_mut(page), 100 + page as u64);
    }
    let read_before = whole.page(5).to_vec();
    stage.hold()?;
    check_pages(
        stage,
        "written pages",
        &whole,
        [0, 3, 10].map(|page| (page, 100 + page as u64)),
    );
    stage.equal("a page only read", &(whole.page(5) == read_before), &true);
    let original = pattern::piece(1, 0, len);
    let untouched: Vec<usize> = (0..FILE_PAGES)
        .filter(|page| ![0, 3, 10].contains(page))
        .filter(|page| whole.page(*page) != &original[page * page_size()..(page + 1) * page_size()])
        .collect();
    stage.equal("pages of the file", &untouched, &Vec::new());
    stage.equal(
        "second mapping, from the middle of the file",
        &(tail.bytes(0, len / 2) == &original[len / 2..]),
        &true,
    );
    // The file changes: seen through clean pages of both mappings, not through written ones.
    let file = File::options()
        .write(true)
        .open(&path)
        .map_err(Error::from_io("open"))?;
    for page in [3, 7, 9, 10] {
        file.write_all_at(
            &pattern::piece(500, 0, page_size()),
            (page * page_size()) as u64,
        )
        .map_err(Error::from_io("write"))?;
    }
    check_pages(
        stage,
        "written pages after the file changed",
        &whole,
        [(3, 103), (10, 110)],
    );
    check_pages(
        stage,
        "clean pages after the file changed",
        &whole,
        [(7, 500), (9, 500)],
    );
    let middle = FILE_PAGES / 2;
    check_pages(
        stage,
        "second mapping after the file changed",
        &tail,
        [(9 - middle, 500), (10 - middle, 500)],
    );
    let on_disk = fs::read(&path).map_err(Error::from_io("read"))?;
    stage.equal(
        "the file's first page is the file's",
        &(on_disk[..page_size()] == original[..page_size()]),
        &true,
    );
    Ok(())
}

/// The program break and the allocator: contents are back, and both grow from where they were.
pub(crate) fn heap(stage: &mut Stage, _args: &Args) -> Result<()> {
    let grow = |bytes: usize| -> Result<*mut u8> {
        // SAFETY: memory above the old break is new; the allocator copes with a break that others move.
        let start = unsafe { libc::sbrk(libc::intptr_t::try_from(bytes).unwrap_or(0)) };
        if start.addr() == usize::MAX {
            Err(Error::last("sbrk"))
        } else {
            Ok(start.cast())
        }
    };
    let len = 20 * page_size() + 123;
    let start = grow(len)?;
    // SAFETY: `grow` just made these bytes; nothing else knows them.
    pattern::fill(unsafe { std::slice::from_raw_parts_mut(start, len) }, 7);
    let mut blocks: Vec<Vec<u8>> = (0..500)
        .map(|index| pattern::piece(index, 0, 16 + 37 * usize::try_from(index).unwrap_or(0)))
        .collect();
    // Holes in the allocator's lists.
    for index in (0..500).step_by(3) {
        blocks[index] = Vec::new();
    }
    let end = grow(0)?;
    stage.hold()?;
    stage.equal("program break", &grow(0)?.addr(), &end.addr());
    // SAFETY: as above.
    stage.equal(
        "contents below the break",
        &pattern::mismatch(unsafe { std::slice::from_raw_parts(start, len) }, 7),
        &None,
    );
    let more = grow(50 * page_size())?;
    stage.equal(
        "the break grows from where it was",
        &more.addr(),
        &end.addr(),
    );
    // SAFETY: `grow` just made these bytes.
    let fresh = unsafe { std::slice::from_raw_parts_mut(more, 50 * page_size()) };
    stage.equal(
        "new memory is zero",
        &fresh.iter().position(|byte| *byte != 0),
        &None,
    );
    pattern::fill(fresh, 8);
    let intact = |blocks: &[Vec<u8>]| -> Vec<usize> {
        blocks
            .iter()
            .enumerate()
            .filter(|(index, block)| pattern::mismatch(block, *index as u64).is_some())
            .map(|(index, _)| index)
            .collect()
    };
    stage.equal("allocated blocks", &intact(&blocks), &Vec::new());
    for index in (0..500).step_by(3) {
        blocks[index] = pattern::piece(index as u64, 0, 24 + 11 * index);
    }
    blocks.extend((500..700).map(|index| pattern::piece(index, 0, 5000)));
    stage.equal("blocks allocated afterwards", &intact(&blocks), &Vec::new());
    stage.equal(
        "the new memory below the break",
        &pattern::mismatch(fresh, 8),
        &None,
    );
    Ok(())
}

/// Bytes of stack that each level of [`stack_deep`] holds.
const LEVEL: usize = 4096;

/// A deep stack with a pattern at each level, frozen at the bottom: it unwinds cleanly, after growing further.
pub(crate) fn stack_deep(stage: &mut Stage, args: &Args) -> Result<()> {
    let depth = args.number("depth", 300)?;
    let wrong = descend(depth, &mut || stage.hold())?;
    stage.equal("levels with a wrong pattern on the way up", &wrong, &0);
    let deeper = descend(depth + 200, &mut || Ok(()))?;
    stage.equal(
        "levels with a wrong pattern, deeper than before",
        &deeper,
        &0,
    );
    Ok(())
}

/// Goes `depth` levels down, runs `bottom`, grows a little, and counts the levels that are not intact on the way up.
#[inline(never)]
fn descend(depth: usize, bottom: &mut dyn FnMut() -> Result<()>) -> Result<usize> {
    let mut canary = [0_u8; LEVEL];
    pattern::fill(std::hint::black_box(&mut canary), depth as u64);
    let below = if depth > 0 {
        descend(depth - 1, bottom)?
    } else {
        bottom()?;
        0
    };
    Ok(below
        + usize::from(pattern::mismatch(std::hint::black_box(&canary), depth as u64).is_some()))
}

/// What an access to memory does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
    Execute,
}

/// How an access ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Works,
    /// SIGSEGV with this `si_code` at the address of the access.
    Faults(i32),
    Other(Status),
}

/// `SEGV_MAPERR`: nothing is mapped there.
const NOTHING: i32 = 1;
/// `SEGV_ACCERR`: the protection forbids it.
const FORBIDDEN: i32 = 2;

/// The address of the access that is being tried.
static TRIED: AtomicUsize = AtomicUsize::new(0);

/// Ends a child that faulted with a code that says how.
extern "C" fn faulted(_signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes a siginfo of SIGSEGV.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    // On s390x the kernel shows the page only.
    let same = address & !(page_size() - 1) == TRIED.load(Ordering::Relaxed) & !(page_size() - 1);
    sys::exit(if same { 10 + code } else { 9 })
}

/// Tries an access in a child, so that a fault is told by how the child ends.
fn attempt(address: *mut u8, access: Access) -> Result<Outcome> {
    let Some(pid) = sys::fork()? else {
        TRIED.store(address.addr(), Ordering::Relaxed);
        if sys::handle_detailed(libc::SIGSEGV, faulted, 0).is_ok() {
            // SAFETY: a bad access raises SIGSEGV, whose handler ends this child; pages that allow execution hold a function that returns.
            unsafe {
                match access {
                    Access::Read => {
                        let _ = address.read_volatile();
                    }
                    Access::Write => address.write_volatile(hold::RETURN[0]),
                    Access::Execute => hold::call(address),
                }
            }
            sys::exit(0);
        }
        sys::exit(8)
    };
    Ok(match sys::wait(pid)? {
        Status::Exited(0) => Outcome::Works,
        Status::Exited(code @ 11..=19) => Outcome::Faults(code - 10),
        other => Outcome::Other(other),
    })
}

/// Pages with every kind of protection: each access works or faults as it did before, and contents behind a protection are kept.
pub(crate) fn protections(stage: &mut Stage, _args: &Args) -> Result<()> {
    let kinds = [
        ("none", libc::PROT_NONE),
        ("read", libc::PROT_READ),
        ("read write", libc::PROT_READ | libc::PROT_WRITE),
        ("read execute", libc::PROT_READ | libc::PROT_EXEC),
        ("none again", libc::PROT_NONE),
    ];
    let mut memory = Mapping::anonymous(kinds.len() + 1)?;
    for page in 0..kinds.len() {
        pattern::fill(memory.page_mut(page), page as u64);
        memory.page_mut(page)[..hold::RETURN.len()].copy_from_slice(hold::RETURN);
    }
    for (page, (_, protection)) in kinds.iter().enumerate() {
        memory.protect(page, 1, *protection)?;
    }
    // SAFETY: the last page of a mapping that nothing points into.
    sys::check("munmap", unsafe {
        libc::munmap(
            memory.start().add(kinds.len() * page_size()).cast(),
            page_size(),
        )
    })?;
    let all = |memory: &Mapping| -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        for page in 0..=kinds.len() {
            for access in [Access::Read, Access::Write, Access::Execute] {
                outcomes.push(attempt(
                    memory.start().wrapping_add(page * page_size()),
                    access,
                )?);
            }
        }
        Ok(outcomes)
    };
    let before = all(&memory)?;
    stage.hold()?;
    let after = all(&memory)?;
    for (index, (before, after)) in before.iter().zip(&after).enumerate() {
        let page = kinds.get(index / 3).map_or("unmapped", |(name, _)| name);
        stage.equal(
            &format!("{page}: {}", ["read", "write", "execute"][index % 3]),
            after,
            before,
        );
    }
    // Execution of readable pages differs between machines; these do not.
    let expected = [
        (0, Outcome::Faults(FORBIDDEN)),
        (1, Outcome::Faults(FORBIDDEN)),
        (3, Outcome::Works),
        (4, Outcome::Faults(FORBIDDEN)),
        (6, Outcome::Works),
        (7, Outcome::Works),
        (9, Outcome::Works),
        (10, Outcome::Faults(FORBIDDEN)),
        (11, Outcome::Works),
        (15, Outcome::Faults(NOTHING)),
    ];
    for (index, outcome) in expected {
        stage.equal(
            &format!("access {index} as the protection says"),
            &after[index],
            &outcome,
        );
    }
    memory.protect(0, kinds.len(), libc::PROT_READ)?;
    let wrong: Vec<usize> = (0..kinds.len())
        .filter(|page| {
            let mut expected = pattern::piece(*page as u64, 0, page_size());
            expected[..hold::RETURN.len()].copy_from_slice(hold::RETURN);
            memory.page(*page) != expected
        })
        .collect();
    stage.equal("pages with wrong contents", &wrong, &Vec::new());
    Ok(())
}

/// `count` mappings of one page, neighbours with different protections, one in eight written: the list is the same.
pub(crate) fn mappings(stage: &mut Stage, args: &Args) -> Result<()> {
    let count = args.number("count", 2000)?;
    let mut memory = Mapping::anonymous(count)?;
    for page in (0..count).step_by(8) {
        pattern::fill(memory.page_mut(page), page as u64);
    }
    for page in (1..count).step_by(2) {
        memory.protect(page, 1, libc::PROT_READ)?;
    }
    let before = maps_inside(&memory)?;
    if before.len() != count {
        return Err(Error::Situation(format!(
            "{} mappings instead of {count}",
            before.len()
        )));
    }
    stage.hold()?;
    let after = maps_inside(&memory)?;
    stage.equal("mappings", &after.len(), &count);
    stage.equal(
        "first mapping that differs",
        &after
            .iter()
            .zip(&before)
            .position(|(after, before)| after != before),
        &None,
    );
    check_pages(
        stage,
        "written pages",
        &memory,
        (0..count).step_by(8).map(|page| (page, page as u64)),
    );
    Ok(())
}

/// Range and protection of each line of `/proc/self/maps` inside of a mapping.
fn maps_inside(memory: &Mapping) -> Result<Vec<String>> {
    let maps =
        fs::read_to_string("/proc/self/maps").map_err(Error::from_io("read /proc/self/maps"))?;
    let range = memory.address()..memory.address() + memory.len();
    Ok(maps
        .lines()
        .filter(|line| {
            line.split('-')
                .next()
                .and_then(|start| usize::from_str_radix(start, 16).ok())
                .is_some_and(|start| range.contains(&start))
        })
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect())
}
