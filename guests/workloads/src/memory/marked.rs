//! What mlock(2), madvise(2) and prctl(2) say of memory.

use std::ffi::c_int;
use std::fs;
use std::io;
use std::ops::Range;
use std::ptr;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::memory::present_pages;
use crate::pattern;
use crate::stage::Stage;
use crate::sys::{self, Mapping, Status, page_size};

/// `MLOCK_ONFAULT` of `include/uapi/asm-generic/mman-common.h`.
const MLOCK_ONFAULT: u32 = 1;

/// The flags that `/proc/self/smaps` shows of the mapping at an address.
fn flags_at(address: usize) -> Result<Vec<String>> {
    mapping_at(address).map(|(_, flags)| flags)
}

/// From where to where the mapping at an address is, and its flags.
pub(crate) fn mapping_at(address: usize) -> Result<(Range<usize>, Vec<String>)> {
    let (range, flags) = field_at(address, "VmFlags:")?;
    Ok((range, flags.split_whitespace().map(str::to_owned).collect()))
}

/// From where to where the mapping at an address is, and what a line of `/proc/self/smaps` says of it.
pub(crate) fn field_at(address: usize, name: &str) -> Result<(Range<usize>, String)> {
    let text =
        fs::read_to_string("/proc/self/smaps").map_err(Error::from_io("read /proc/self/smaps"))?;
    let mut found = 0..0;
    for line in text.lines() {
        let range = line.split_once(' ').and_then(|(range, _)| {
            let (start, end) = range.split_once('-')?;
            let number = |text| usize::from_str_radix(text, 16).ok();
            Some(number(start)?..number(end)?)
        });
        match (range, line.strip_prefix(name)) {
            (Some(range), _) => found = range,
            (None, Some(value)) if found.contains(&address) => {
                return Ok((found, value.trim().to_owned()));
            }
            _ => {}
        }
    }
    Err(Error::Situation(format!("no mapping at {address:#x}")))
}

/// KiB that a line of `/proc/self/status` shows.
fn status_kib(name: &str) -> Result<u64> {
    let value = sys::status_field(sys::pid(), name)?;
    let number = value.split_whitespace().next();
    number
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| Error::Situation(format!("{name} in /proc/self/status is {value:?}")))
}

/// Locked memory, as `how` says: `mlock`, `onfault`, or `future` for all that is mapped from now on, and `future_onfault`.
pub(crate) fn locked(stage: &mut Stage, args: &Args) -> Result<()> {
    let how = args.text("how", "mlock").to_owned();
    let onfault = how.ends_with("onfault");
    if how.starts_with("future") {
        let flags = libc::MCL_FUTURE | if onfault { libc::MCL_ONFAULT } else { 0 };
        // SAFETY: plain numbers.
        sys::check("mlockall", unsafe { libc::mlockall(flags) })?;
    }
    let mut memory = Mapping::anonymous(4)?;
    pattern::fill(memory.page_mut(1), 9);
    let flags = match how.as_str() {
        "mlock" => Some(0),
        "onfault" => Some(MLOCK_ONFAULT),
        "future" | "future_onfault" => None,
        other => return Err(Error::Argument(format!("how={other}"))),
    };
    if let Some(flags) = flags {
        // SAFETY: memory of our own.
        sys::check("mlock2", unsafe {
            libc::mlock2(memory.start().cast(), memory.len(), flags)
        })?;
    }
    let flags = flags_at(memory.address())?;
    let expected = if onfault { vec![1] } else { vec![0, 1, 2, 3] };
    let kib = status_kib("VmLck")?;
    stage.hold()?;
    stage.equal("flags", &flags_at(memory.address())?, &flags);
    stage.check("it is locked", flags.iter().any(|flag| flag == "lo"), "no");
    stage.equal("pages in RAM", &present_pages(&memory)?, &expected);
    stage.equal("locked in all", &status_kib("VmLck")?, &kib);
    stage.equal("contents", &pattern::mismatch(memory.page(1), 9), &None);
    let new = Mapping::anonymous(2)?;
    let expected = if how == "future" { vec![0, 1] } else { vec![] };
    stage.equal("new pages in RAM", &present_pages(&new)?, &expected);
    let locked = flags_at(new.address())?.iter().any(|flag| flag == "lo");
    stage.equal("new memory is locked", &locked, &how.starts_with("future"));
    // SAFETY: memory of our own.
    sys::check("munlock", unsafe {
        libc::munlock(memory.start().cast(), memory.len())
    })?;
    let left = status_kib("VmLck")?;
    let pages = |count: usize| (count * page_size() / 1024) as u64;
    let new = if how.starts_with("future") { 2 } else { 0 };
    stage.equal(
        "locked after munlock",
        &left,
        &(kib + pages(new) - pages(4)),
    );
    Ok(())
}

/// Advice that changes what is done with memory: `kind` is a name of madvise(2), in small letters.
pub(crate) fn advice(stage: &mut Stage, args: &Args) -> Result<()> {
    let kind = args.text("kind", "dontfork").to_owned();
    let number = match kind.as_str() {
        "dontfork" => libc::MADV_DONTFORK,
        "wipeonfork" => libc::MADV_WIPEONFORK,
        "dontdump" => libc::MADV_DONTDUMP,
        "sequential" => libc::MADV_SEQUENTIAL,
        "random" => libc::MADV_RANDOM,
        "hugepage" => libc::MADV_HUGEPAGE,
        "nohugepage" => libc::MADV_NOHUGEPAGE,
        other => return Err(Error::Argument(format!("kind={other}"))),
    };
    // The page in front of it tells whether the place is kept.
    let mut memory = Mapping::anonymous(4)?;
    memory.page_mut(1).fill(0x5a);
    let advised = memory.address() + page_size();
    memory.advise(1, 2, number)?;
    let before = (flags_at(memory.address())?, flags_at(advised)?);
    stage.check("the advice is seen", before.0 != before.1, "no");
    stage.hold()?;
    let after = (flags_at(memory.address())?, flags_at(advised)?);
    stage.equal("flags beside it and in it", &after, &before);
    let filled = memory.page(1).iter().all(|byte| *byte == 0x5a);
    stage.check("contents", filled, "not as they were");
    let Some(pid) = sys::fork()? else {
        sys::set_action(libc::SIGSEGV, libc::SIG_DFL, 0, &[]).ok();
        sys::exit(i32::from(std::hint::black_box(memory.page(1))[0]))
    };
    let expected = match kind.as_str() {
        "dontfork" => Status::Killed(libc::SIGSEGV),
        "wipeonfork" => Status::Exited(0),
        _ => Status::Exited(0x5a),
    };
    stage.equal("a child that reads it", &sys::wait(pid)?, &expected);
    Ok(())
}

/// What a process said of all of its memory: `what` is `write_or_execute`, the same with `not_inherited`, `small_pages`, `membarrier` or `dump_filter`.
pub(crate) fn said(stage: &mut Stage, args: &Args) -> Result<()> {
    // include/uapi/linux/prctl.h.
    const PR_SET_MDWE: c_int = 65;
    const PR_GET_MDWE: c_int = 66;
    const FILTER: &str = "/proc/self/coredump_filter";
    let filter = || fs::read_to_string(FILTER).map_err(Error::from_io("read coredump_filter"));
    let mdwe = match args.text("what", "write_or_execute") {
        "write_or_execute" => 1,
        "not_inherited" => 3,
        "small_pages" => {
            sys::prctl(libc::PR_SET_THP_DISABLE, 1)?;
            stage.hold()?;
            stage.equal("prctl", &sys::prctl(libc::PR_GET_THP_DISABLE, 0)?, &1);
            return Ok(());
        }
        "membarrier" => {
            // include/uapi/linux/membarrier.h.
            const PRIVATE: usize = 1 << 3;
            const REGISTER_PRIVATE: usize = 1 << 4;
            const REGISTRATIONS: usize = 1 << 9;
            let call = |command| {
                // SAFETY: plain numbers.
                unsafe { sys::raw("membarrier", libc::SYS_membarrier, [command, 0, 0, 0, 0]) }
            };
            call(REGISTER_PRIVATE)?;
            let before = call(REGISTRATIONS)?;
            stage.hold()?;
            stage.equal("registrations", &call(REGISTRATIONS)?, &before);
            stage.equal("the registered command", &call(PRIVATE)?, &0);
            return Ok(());
        }
        "dump_filter" => {
            fs::write(FILTER, "0x15a").map_err(Error::from_io("write coredump_filter"))?;
            let before = filter()?;
            stage.hold()?;
            stage.equal("core dump filter", &filter()?, &before);
            stage.equal("it is the one that was set", &before.trim(), &"0000015a");
            return Ok(());
        }
        other => return Err(Error::Argument(format!("what={other}"))),
    };
    sys::prctl(PR_SET_MDWE, mdwe)?;
    stage.hold()?;
    stage.equal("prctl", &sys::prctl(PR_GET_MDWE, 0)?, &mdwe);
    let mut memory = Mapping::anonymous(1)?;
    let outcome = memory.protect(0, 1, libc::PROT_READ | libc::PROT_EXEC);
    stage.check("memory does not become code", outcome.is_err(), "it does");
    let Some(pid) = sys::fork()? else {
        sys::exit(i32::from(
            sys::prctl(PR_GET_MDWE, 0).is_ok_and(|set| set == 1),
        ))
    };
    let expected = i32::from(mdwe == 1);
    stage.equal("a child's", &sys::wait(pid)?, &Status::Exited(expected));
    Ok(())
}

/// Memory that mseal(2) has sealed: it is written to as before, but stays where and what it is.
pub(crate) fn sealed(stage: &mut Stage, _args: &Args) -> Result<()> {
    let mut memory = Mapping::anonymous(4)?;
    pattern::fill(memory.page_mut(1), 21);
    sys::seal(memory.address() + page_size(), 2 * page_size())?;
    let places = [0, 1, 3].map(|page| memory.address() + page * page_size());
    let flags = || -> Result<Vec<_>> { places.into_iter().map(mapping_at).collect() };
    let before = flags()?;
    stage.hold()?;
    stage.equal("mappings and flags", &flags()?, &before);
    let sealed = before
        .iter()
        .map(|(_, flags)| flags.contains(&"sl".to_owned()));
    let sealed: Vec<bool> = sealed.collect();
    stage.equal("sealed", &sealed, &vec![false, true, false]);
    stage.equal("contents", &pattern::mismatch(memory.page(1), 21), &None);
    pattern::fill(memory.page_mut(2), 22);
    let start = ptr::with_exposed_provenance_mut(places[1]);
    // SAFETY: what is to be refused; where it is not, the memory is nobody's any more.
    let refused = unsafe {
        [
            libc::mprotect(start, page_size(), libc::PROT_READ),
            libc::munmap(start, page_size()),
            libc::madvise(start, page_size(), libc::MADV_DONTFORK),
        ]
    };
    let error = io::Error::last_os_error().raw_os_error();
    stage.equal(
        "changes, and the last error",
        &(refused, error),
        &([-1, -1, 0], Some(libc::EPERM)),
    );
    stage.works("beside it", memory.protect(3, 1, libc::PROT_READ));
    Ok(())
}

/// Memory that grows downwards when a page below it is touched, as a stack does, and is none.
pub(crate) fn grows_down(stage: &mut Stage, _args: &Args) -> Result<()> {
    const ROOM: usize = 2048;
    let room = Mapping::new(
        ROOM * page_size(),
        libc::PROT_NONE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        -1,
        0,
    )?;
    let top = room.address() + (ROOM - 8) * page_size();
    drop(room);
    let page = |below: usize| top - (below + 1) * page_size();
    // SAFETY: nothing has come to this place since it was free.
    let mapped = unsafe {
        libc::mmap64(
            ptr::with_exposed_provenance_mut(page(3)),
            4 * page_size(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE
                | libc::MAP_ANONYMOUS
                | libc::MAP_FIXED_NOREPLACE
                | libc::MAP_GROWSDOWN,
            -1,
            0,
        )
    };
    if mapped == libc::MAP_FAILED {
        return Err(Error::last("mmap"));
    }
    let write = |below: usize| {
        let place: *mut usize = ptr::with_exposed_provenance_mut(page(below));
        // SAFETY: in the mapping, or right below it, where it grows to.
        unsafe { place.write_volatile(below + 100) };
    };
    let read = |below: &usize| {
        let place: *const usize = ptr::with_exposed_provenance(page(*below));
        // SAFETY: in the mapping by now.
        unsafe { place.read_volatile() }
    };
    write(1);
    write(4);
    let before = mapping_at(page(1))?;
    stage.equal("it has grown", &before.0, &(page(4)..top));
    stage.hold()?;
    stage.equal("mapping and flags", &mapping_at(page(1))?, &before);
    write(5);
    write(6);
    stage.equal("it grows on", &mapping_at(page(1))?.0, &(page(6)..top));
    let found: Vec<usize> = [0, 1, 2, 3, 4, 5, 6].iter().map(read).collect();
    let expected = vec![0, 101, 0, 0, 104, 105, 106];
    stage.equal("contents", &found, &expected);
    Ok(())
}
