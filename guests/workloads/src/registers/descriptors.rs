//! A local descriptor table, which only x86 has.

use std::arch::asm;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::{array, thread};

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys;

/// What the segments of parent and child begin with.
static PARENTS: AtomicU32 = AtomicU32::new(0x5eed_0001);
static CHILDS: AtomicU32 = AtomicU32::new(0x5eed_0002);

/// Where that segment is in the table.
const PLACE: u32 = 3;

/// Its selector: of the local table, for level 3.
const SELECTOR: u16 = 3 << 3 | 0b111;

/// Entries that are looked at.
const SEEN: usize = 12;

/// `struct user_desc` of asm/ldt.h: entry, base, limit, and flags, the lowest first: 32 bits, contents (2), read or execute only, limit in
/// pages, not present, usable.
type Segment = [u32; 4];

fn modify(function: usize, place: usize, bytes: usize) -> Result<()> {
    let arguments = [function, place, bytes, 0, 0];
    // SAFETY: the callers give memory of that size, which outlives the call.
    unsafe { sys::raw("modify_ldt", libc::SYS_modify_ldt, arguments) }.map(drop)
}

fn set(segment: Segment) -> Result<()> {
    let place = (&raw const segment).expose_provenance();
    modify(0x11, place, size_of_val(&segment))
}

fn table() -> Result<[u64; SEEN]> {
    let mut table = [0; SEEN];
    let place = table.as_mut_ptr().expose_provenance();
    modify(0, place, size_of_val(&table))?;
    Ok(table)
}

/// A segment of four bytes that begins at this word.
fn at(word: &'static AtomicU32) -> Result<Segment> {
    let base = u32::try_from(word.as_ptr().addr());
    let base = base.map_err(|_| Error::Situation("static memory is above 4 GiB".to_owned()))?;
    Ok([PLACE, base, 3, 0x41])
}

/// The segment register that the C library leaves alone.
#[cfg(target_arch = "x86_64")]
macro_rules! register {
    () => {
        "gs"
    };
}
#[cfg(target_arch = "x86")]
macro_rules! register {
    () => {
        "fs"
    };
}

/// Puts the selector into that register.
fn load() {
    // SAFETY: nothing but the function below uses it.
    unsafe {
        asm!(concat!("mov ", register!(), ", {0:x}"), in(reg) SELECTOR, options(nomem, nostack, preserves_flags));
    }
}

/// What is in it, and what the segment begins with if it is the selector.
fn seen() -> (u16, Option<u32>) {
    let (selector, word): (u16, u32);
    // SAFETY: reads a register.
    unsafe {
        asm!(concat!("mov {0:x}, ", register!()), out(reg) selector, options(nomem, nostack, preserves_flags));
    }
    if selector != SELECTOR {
        return (selector, None);
    }
    // SAFETY: the segment begins with a static word.
    unsafe {
        asm!(concat!("mov {0:e}, dword ptr ", register!(), ":[0]"), out(reg) word, options(readonly, nostack, preserves_flags));
    }
    (selector, Some(word))
}

fn check(stage: &mut Stage, table_before: &[u64; SEEN], word: &AtomicU32) -> Result<()> {
    stage.equal("descriptors", &table()?, table_before);
    let expected = (SELECTOR, Some(word.load(Ordering::Relaxed)));
    stage.equal("selector, and memory behind it", &seen(), &expected);
    Ok(())
}

/// Data and code, one with a selector loaded; a thread uses the same table, a child has one of its own.
pub(crate) fn descriptors(stage: &mut Stage, _args: &Args) -> Result<()> {
    set(at(&PARENTS)?)?;
    // A gap before; data of 16 bits that grows down, is read only, counted in pages and not usable; code.
    set([8, 0x1000, 0xf, 0x1a])?;
    set([9, 0x20_0000, 0xf_ffff, 0x55])?;
    load();
    let table_before = table()?;
    let others: [bool; 3] = array::from_fn(|at| table_before[[3, 8, 9][at]] != 0);
    stage.equal("there are", &others, &[true; 3]);
    let child = stage.spawn_ready("child", |child| {
        set(at(&CHILDS)?)?;
        load();
        let own = table()?;
        child.check(
            "a table of its own",
            own != table_before,
            "it is the parent's",
        );
        child.hold()?;
        check(child, &own, &CHILDS)
    })?;
    let (say, said) = mpsc::channel();
    let (resume, resumed) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        load();
        let _ = say.send(());
        let _ = resumed.recv();
        seen()
    });
    let begun = said.recv();
    begun.map_err(|_| Error::Situation("the thread has not begun".to_owned()))?;
    stage.hold()?;
    check(stage, &table_before, &PARENTS)?;
    let _ = resume.send(());
    let of_thread = thread.join();
    let of_thread = of_thread.map_err(|_| Error::Situation("the thread panicked".to_owned()))?;
    let expected = (SELECTOR, Some(PARENTS.load(Ordering::Relaxed)));
    stage.equal("the thread's", &of_thread, &expected);
    // The table can still be changed.
    set([9, 0, 0, 0x28])?;
    stage.equal("an entry is cleared", &table()?[9], &0);
    child.resume()?;
    stage.join(&child)
}
