//! What mlock(2), madvise(2) and prctl(2) say of memory.

use std::ffi::c_int;
use std::fs;

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
    let text =
        fs::read_to_string("/proc/self/smaps").map_err(Error::from_io("read /proc/self/smaps"))?;
    let mut inside = false;
    for line in text.lines() {
        let range = line.split_once(' ').and_then(|(range, _)| {
            let (start, end) = range.split_once('-')?;
            let number = |text| usize::from_str_radix(text, 16).ok();
            Some(number(start)?..number(end)?)
        });
        match (range, line.strip_prefix("VmFlags:")) {
            (Some(range), _) => inside = range.contains(&address),
            (None, Some(flags)) if inside => {
                return Ok(flags.split_whitespace().map(str::to_owned).collect());
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
        other => return Err(Error::Argument(format!("kind={other}"))),
    };
    // The page in front of it tells whether the place is kept.
    let mut memory = Mapping::anonymous(4)?;
    memory.page_mut(1).fill(0x5a);
    let advised = memory.address() + page_size();
    // SAFETY: two pages in the middle of memory of our own.
    sys::check("madvise", unsafe {
        libc::madvise(
            memory.start().add(page_size()).cast(),
            2 * page_size(),
            number,
        )
    })?;
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
