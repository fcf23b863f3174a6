//! What a mapping has of its own beside its flags: a protection key, a name.

use std::ffi::{CString, c_int, c_long, c_ulong};
use std::fs;
use std::ops::Range;
use std::sync::mpsc;
use std::thread;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::hold;
use crate::memory::{Access, Outcome, attempt, field_at, present_pages};
use crate::pattern;
use crate::stage::Stage;
use crate::sys::{self, Mapping, page_size};

/// `PKEY_DISABLE_ACCESS` of `include/uapi/asm-generic/mman-common.h`.
const NO_ACCESS: usize = 1;
/// `PKEY_DISABLE_WRITE`.
const NO_WRITING: usize = 2;
/// `SEGV_PKUERR`: a protection key forbids it.
const KEY_FORBIDS: i32 = 4;

/// System calls for keys: numbers of none where the C library knows none.
#[cfg(target_arch = "x86_64")]
const CALLS: [c_long; 3] = [
    libc::SYS_pkey_mprotect,
    libc::SYS_pkey_alloc,
    libc::SYS_pkey_free,
];
#[cfg(not(target_arch = "x86_64"))]
const CALLS: [c_long; 3] = [-1; 3];
const PROTECT: c_long = CALLS[0];
const ALLOCATE: c_long = CALLS[1];
const FREE: c_long = CALLS[2];

/// What the thread's register says of all keys, two bits each.
#[cfg(target_arch = "x86_64")]
fn rights() -> u32 {
    let rights;
    // SAFETY: reads a register; keys were allocated, so the machine has it.
    unsafe {
        std::arch::asm!("rdpkru", in("ecx") 0, out("eax") rights, out("edx") _, options(nomem, nostack));
    }
    rights
}

#[cfg(target_arch = "x86_64")]
fn set_rights(rights: u32) {
    // SAFETY: key 0, which all other memory has, stays open in what the callers set.
    unsafe {
        std::arch::asm!("wrpkru", in("ecx") 0, in("eax") rights, in("edx") 0, options(nostack));
    }
}

/// No other machine lets a key be allocated.
#[cfg(not(target_arch = "x86_64"))]
fn rights() -> u32 {
    0
}

#[cfg(not(target_arch = "x86_64"))]
fn set_rights(_rights: u32) {}

fn allocate(rights: usize) -> Result<usize> {
    // SAFETY: plain numbers.
    unsafe { sys::raw("pkey_alloc", ALLOCATE, [0, rights, 0, 0, 0]) }
}

fn give_back(key: usize) -> Result<()> {
    // SAFETY: plain numbers.
    unsafe { sys::raw("pkey_free", FREE, [key, 0, 0, 0, 0]) }.map(drop)
}

/// Gives one page of a mapping a key.
fn lock(memory: &mut Mapping, page: usize, protection: c_int, key: usize) -> Result<()> {
    let start = memory.address() + page * page_size();
    let protection = usize::try_from(protection).unwrap_or_default();
    // SAFETY: memory of our own, which is only looked at again by a child, or when the key lets it be.
    let done = unsafe {
        sys::raw(
            "pkey_mprotect",
            PROTECT,
            [start, page_size(), protection, key, 0],
        )
    };
    done.map(drop)
}

/// The protection key of each page.
fn keys_of(memory: &Mapping, pages: usize) -> Result<Vec<String>> {
    (0..pages)
        .map(|page| field_at(memory.address() + page * page_size(), "ProtectionKey:"))
        .map(|found| found.map(|(_, key)| key))
        .collect()
}

/// Memory behind protection keys: which key it is, what each thread may do with it, and which keys are left to be given out.
pub(crate) fn protection_keys(stage: &mut Stage, _args: &Args) -> Result<()> {
    const PAGES: usize = 5;
    let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    let mut memory = Mapping::anonymous(PAGES)?;
    for page in 0..PAGES {
        pattern::fill(memory.page_mut(page), page as u64);
        memory.page_mut(page)[..hold::RETURN.len()].copy_from_slice(hold::RETURN);
    }
    // The kernel takes a key of its own for it.
    memory.protect(0, 1, libc::PROT_EXEC)?;
    let closed = allocate(NO_ACCESS)?;
    let spare = allocate(0)?;
    let readable = allocate(NO_WRITING)?;
    lock(&mut memory, 1, all, closed)?;
    lock(&mut memory, 2, all, readable)?;
    // Only executable, but by a key that was asked for.
    lock(&mut memory, 3, libc::PROT_EXEC, spare)?;
    // The page keeps it.
    give_back(spare)?;
    // In RAM, with a key that nobody may use.
    let mut locked = Mapping::anonymous(3)?;
    // SAFETY: memory of our own.
    sys::check("mlock", unsafe {
        libc::mlock(locked.start().cast(), locked.len())
    })?;
    for page in 0..3 {
        lock(&mut locked, page, all, closed)?;
    }
    let keys = keys_of(&memory, PAGES)?;
    let own = rights();
    let (resume, resumed) = mpsc::channel::<()>();
    // Allowed to write what the first thread may only read, and the other way round.
    let other = own ^ (3 << (2 * readable)) ^ (1 << (2 * spare));
    let thread = thread::spawn(move || {
        set_rights(other);
        let _ = resumed.recv();
        rights()
    });
    let outcomes = |memory: &Mapping| -> Result<Vec<Outcome>> {
        (0..PAGES)
            .flat_map(|page| {
                let start = memory.start().wrapping_add(page * page_size());
                [Access::Read, Access::Write, Access::Execute].map(|access| attempt(start, access))
            })
            .collect()
    };
    let before = outcomes(&memory)?;
    stage.hold()?;
    stage.equal("keys of the pages", &keys_of(&memory, PAGES)?, &keys);
    stage.equal("rights", &rights(), &own);
    let _ = resume.send(());
    let theirs = thread
        .join()
        .map_err(|_| Error::Situation("a thread panicked".to_owned()))?;
    stage.equal("rights of the other thread", &theirs, &other);
    stage.equal("accesses", &outcomes(&memory)?, &before);
    let refused = Outcome::Faults(KEY_FORBIDS);
    for (index, expected) in [
        (0, refused),
        (2, Outcome::Works),
        (3, refused),
        (4, refused),
        (6, Outcome::Works),
        (7, refused),
        (13, Outcome::Works),
    ] {
        let name = ["read", "write", "execute"][index % 3];
        let page = index / 3;
        stage.equal(&format!("page {page}: {name}"), &before[index], &expected);
    }
    stage.equal(
        "locked pages in RAM",
        &present_pages(&locked)?,
        &vec![0, 1, 2],
    );
    stage.equal("next key", &allocate(0)?, &spare);
    stage.equal("key after it", &allocate(0)?, &(readable + 1));
    let mut new = Mapping::anonymous(1)?;
    new.protect(0, 1, libc::PROT_EXEC)?;
    let key = keys_of(&new, 1)?;
    stage.equal("key of new memory for execution", &key[0], &keys[0]);
    set_rights(0);
    for page in [1, 2] {
        let behind = hold::RETURN.len()..;
        let mut expected = vec![0; page_size()];
        pattern::fill(&mut expected, page as u64);
        let same = memory.page(page)[behind.clone()] == expected[behind];
        stage.check(&format!("contents of page {page}"), same, "others");
    }
    Ok(())
}

/// As `include/uapi/linux/prctl.h` has it, in the width of an argument.
const PR_SET_VMA_ANON_NAME: c_ulong = 0;

/// Calls pages of a mapping by a name, or by none.
fn call(memory: &Mapping, pages: Range<usize>, name: Option<&str>) -> Result<()> {
    let start = memory.address() + pages.start * page_size();
    call_range(start..start + pages.len() * page_size(), name)
}

/// Calls memory by a name, or by none.
pub(crate) fn call_range(range: Range<usize>, name: Option<&str>) -> Result<()> {
    let name = name
        .map(CString::new)
        .transpose()
        .map_err(|error| Error::Situation(format!("a name with a zero: {error}")))?;
    // SAFETY: the name outlives the call, which changes nothing but a name.
    sys::check("prctl(PR_SET_VMA)", unsafe {
        libc::prctl(
            libc::PR_SET_VMA,
            PR_SET_VMA_ANON_NAME,
            range.start,
            range.len(),
            name.as_ref().map_or(std::ptr::null(), |name| name.as_ptr()),
        )
    })
    .map(drop)
}

/// What `/proc/self/maps` calls the mapping at an address, and how long it is.
fn called(address: usize) -> Result<(usize, String)> {
    let text =
        fs::read_to_string("/proc/self/maps").map_err(Error::from_io("read /proc/self/maps"))?;
    text.lines()
        .find_map(|line| {
            let (start, rest) = line.split_once('-')?;
            let (end, rest) = rest.split_once(' ')?;
            let number = |text| usize::from_str_radix(text, 16).ok();
            let range = number(start)?..number(end)?;
            let name = rest.splitn(5, ' ').nth(4).map_or("", str::trim);
            range
                .contains(&address)
                .then(|| (range.len(), name.to_owned()))
        })
        .ok_or_else(|| Error::Situation(format!("no mapping at {address:#x}")))
}

/// Names that a program gives its anonymous memory, private and shared.
pub(crate) fn named(stage: &mut Stage, _args: &Args) -> Result<()> {
    let long = "n".repeat(79);
    let private = Mapping::anonymous(6)?;
    let shared = Mapping::new(
        2 * page_size(),
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
        -1,
        0,
    )?;
    call(&private, 1..3, Some("what it is for"))?;
    call(&private, 3..4, Some(&long))?;
    call(&private, 5..6, Some("to be forgotten"))?;
    call(&shared, 0..2, Some("between us"))?;
    let names = || -> Result<Vec<(usize, String)>> {
        let pages = (0..6).map(|page| private.address() + page * page_size());
        pages.chain([shared.address()]).map(called).collect()
    };
    let before = names()?;
    stage.hold()?;
    stage.equal("names", &names()?, &before);
    let expected = "[anon:what it is for]".to_owned();
    stage.equal("the first", &before[1], &(2 * page_size(), expected));
    let expected = "[anon_shmem:between us]".to_owned();
    stage.equal("that of shared memory", &before[6].1, &expected);
    call(&private, 5..6, None)?;
    stage.equal("forgotten", &names()?[5].1, &before[0].1);
    Ok(())
}
