//! Shared anonymous memory: what one task writes all others see, wherever they have it mapped.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::args::Args;
use crate::error::{Error, Result};
use crate::pattern;
use crate::stage::{Child, Stage};
use crate::sys::{self, Mapping, page_size};

const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// Shared anonymous memory of so many pages.
fn shared(pages: usize) -> Result<Mapping> {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    Mapping::new(pages * page_size(), READ_WRITE, flags, -1, 0)
}

/// Reports whether a page has the pattern of a seed.
fn has(stage: &mut Stage, name: &str, page: &[u8], seed: u64) {
    stage.equal(name, &pattern::mismatch(page, seed), &None);
}

/// Lets a child check and write, and waits for it to end.
fn turn(stage: &mut Stage, child: &Child) -> Result<()> {
    child.resume()?;
    stage.join(child)
}

/// A parent and two children: each sees what was written before, by whomever, and what the others write afterwards.
pub(crate) fn tasks(stage: &mut Stage, _args: &Args) -> Result<()> {
    let mut memory = shared(8)?;
    pattern::fill(memory.page_mut(0), 100);
    let mut children = Vec::new();
    for number in 1..3 {
        children.push(stage.spawn_ready(&format!("child{number}"), |child| {
            pattern::fill(memory.page_mut(number), 100 + number as u64);
            child.hold()?;
            for page in 0..3 {
                has(
                    child,
                    &format!("page {page}"),
                    memory.page(page),
                    100 + page as u64,
                );
            }
            has(child, "the parent's last", memory.page(3), 300);
            if number == 2 {
                has(child, "the other child's last", memory.page(4), 401);
            }
            pattern::fill(memory.page_mut(3 + number), 400 + number as u64);
            Ok(())
        })?);
    }
    stage.hold()?;
    for page in 0..3 {
        has(
            stage,
            &format!("page {page}"),
            memory.page(page),
            100 + page as u64,
        );
    }
    pattern::fill(memory.page_mut(3), 300);
    for (number, child) in (1..3).zip(&children) {
        turn(stage, child)?;
        has(
            stage,
            &format!("the last of child{number}"),
            memory.page(3 + number),
            400 + number as u64,
        );
    }
    Ok(())
}

/// A child has only the second half left, of which a page is read-only, and the parent has moved two pages elsewhere: the offsets are kept.
pub(crate) fn parts(stage: &mut Stage, _args: &Args) -> Result<()> {
    let mut memory = shared(8)?;
    for page in 0..8 {
        pattern::fill(memory.page_mut(page), 10 + page as u64);
    }
    let child = stage.spawn_ready("child", |child| {
        // SAFETY: the first half of memory of our own, of which no slice is borrowed.
        sys::check("munmap", unsafe {
            libc::munmap(memory.start().cast(), memory.len() / 2)
        })?;
        memory.protect(6, 1, libc::PROT_READ)?;
        child.hold()?;
        has(child, "page 4", memory.page(4), 10 + 4);
        has(child, "page 5, written by the parent", memory.page(5), 50);
        has(child, "page 6, moved by the parent", memory.page(6), 60);
        pattern::fill(memory.page_mut(7), 70);
        Ok(())
    })?;
    let mut moved = Mapping::anonymous(2)?;
    // SAFETY: both ranges are ours; what was at the new place is nobody's any more.
    let place = unsafe {
        libc::mremap(
            memory.start().add(6 * page_size()).cast(),
            2 * page_size(),
            2 * page_size(),
            libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
            moved.start(),
        )
    };
    if place != moved.start().cast() {
        return Err(Error::last("mremap"));
    }
    stage.hold()?;
    for page in 0..6 {
        let name = format!("page {page}");
        has(stage, &name, memory.page(page), 10 + page as u64);
    }
    has(stage, "the first that moved", moved.page(0), 10 + 6);
    pattern::fill(memory.page_mut(5), 50);
    pattern::fill(moved.page_mut(0), 60);
    turn(stage, &child)?;
    has(stage, "the child's last", moved.page(1), 70);
    Ok(())
}

/// Two children share what their parent has mapped no more; and a region of the same contents beside it is another one.
pub(crate) fn siblings(stage: &mut Stage, _args: &Args) -> Result<()> {
    let mut memory = shared(2)?;
    let other = shared(2)?;
    let mut children = Vec::new();
    for number in 0..2 {
        children.push(stage.spawn_ready(&format!("child{number}"), |child| {
            if number == 0 {
                pattern::fill(memory.page_mut(0), 5);
            }
            child.hold()?;
            has(child, "the first page", memory.page(0), 5);
            if number == 0 {
                pattern::fill(memory.page_mut(1), 6);
            } else {
                has(child, "the other child's last", memory.page(1), 6);
            }
            let zero = other.bytes(0, other.len()).iter().all(|byte| *byte == 0);
            child.check("the other region is empty", zero, "it is not");
            Ok(())
        })?);
    }
    drop((memory, other));
    stage.hold()?;
    for child in &children {
        turn(stage, child)?;
    }
    Ok(())
}

/// `mib` MiB of which one page in 256 was written: the others are still holes.
pub(crate) fn sparse(stage: &mut Stage, args: &Args) -> Result<()> {
    let pages = (args.number("mib", 256)? << 20) / page_size();
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let mut memory = Mapping::new(pages * page_size(), READ_WRITE, flags, -1, 0)?;
    let written = || (0..pages).step_by(256);
    for page in written() {
        pattern::fill(memory.page_mut(page), page as u64);
    }
    stage.hold()?;
    let mut there = vec![0_u8; pages];
    // SAFETY: memory of our own, and a byte a page for the answer.
    sys::check("mincore", unsafe {
        libc::mincore(memory.start().cast(), memory.len(), there.as_mut_ptr())
    })?;
    let there: Vec<usize> = (0..pages).filter(|page| there[*page] & 1 != 0).collect();
    stage.equal(
        "pages that are there",
        &there,
        &written().collect::<Vec<_>>(),
    );
    let wrong: Vec<usize> = written()
        .filter(|page| pattern::mismatch(memory.page(*page), *page as u64).is_some())
        .collect();
    stage.equal("written pages", &wrong, &Vec::new());
    Ok(())
}

/// `mib` MiB, every page written, and seen by a child.
pub(crate) fn dirty(stage: &mut Stage, args: &Args) -> Result<()> {
    let mut memory = shared((args.number("mib", 16)? << 20) / page_size())?;
    let len = memory.len();
    pattern::fill(memory.bytes_mut(0, len), 32);
    let child = stage.spawn_ready("child", |child| {
        child.hold()?;
        has(child, "contents", memory.bytes(0, len), 33);
        Ok(())
    })?;
    stage.hold()?;
    has(stage, "contents", memory.bytes(0, len), 32);
    pattern::fill(memory.bytes_mut(0, len), 33);
    turn(stage, &child)
}

/// A shared mapping of /dev/zero is shared anonymous memory, too.
pub(crate) fn device(stage: &mut Stage, _args: &Args) -> Result<()> {
    let zero = File::options()
        .read(true)
        .write(true)
        .open("/dev/zero")
        .map_err(Error::from_io("open /dev/zero"))?;
    let len = 2 * page_size();
    let mut memory = Mapping::new(len, READ_WRITE, libc::MAP_SHARED, zero.as_raw_fd(), 0)?;
    drop(zero);
    pattern::fill(memory.page_mut(0), 3);
    let child = stage.spawn_ready("child", |child| {
        child.hold()?;
        has(child, "contents", memory.page(0), 3);
        pattern::fill(memory.page_mut(1), 4);
        Ok(())
    })?;
    stage.hold()?;
    has(stage, "contents", memory.page(0), 3);
    turn(stage, &child)?;
    has(stage, "the child's last", memory.page(1), 4);
    Ok(())
}

/// The word of a futex at the start of shared memory.
fn word(memory: &Mapping) -> &AtomicU32 {
    // SAFETY: aligned and mapped as long as `memory` lives; all tasks use it as an atomic.
    unsafe { AtomicU32::from_ptr(memory.start().cast()) }
}

/// futex(2) on the word, between processes.
fn futex(memory: &Mapping, operation: i32, value: u32) -> Result<usize> {
    // SAFETY: the word lives, and no timeout is given.
    unsafe {
        sys::raw(
            "futex",
            libc::SYS_futex,
            [
                memory.address(),
                operation.unsigned_abs() as usize,
                value as usize,
                0,
                0,
            ],
        )
    }
}

/// A child waits for a futex in shared memory, and the parent wakes it.
pub(crate) fn futex_wait(stage: &mut Stage, _args: &Args) -> Result<()> {
    let memory = shared(1)?;
    let child = stage.spawn("child", |child| {
        let mut outcome = Ok(0);
        while word(&memory).load(Ordering::Acquire) == 0 && outcome.is_ok() {
            outcome = futex(&memory, libc::FUTEX_WAIT, 0);
        }
        child.works("the wait", outcome);
        child.equal("the word", &word(&memory).load(Ordering::Acquire), &7);
        Ok(())
    })?;
    child.await_sleeping()?;
    stage.hold()?;
    child.check_asleep(stage)?;
    word(&memory).store(7, Ordering::Release);
    stage.equal("woken", &futex(&memory, libc::FUTEX_WAKE, 9)?, &1);
    stage.join(&child)
}
