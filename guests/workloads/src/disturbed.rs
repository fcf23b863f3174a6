//! Processes that are never still: what is not from one and the same moment does not fit together.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::args::Args;
use crate::error::Result;
use crate::stage::Stage;
use crate::sys::{self, Mapping, Status, page_size};

/// Set by the handler of SIGUSR1.
static RESUMED: AtomicBool = AtomicBool::new(false);

/// Notes that SIGUSR1 came.
extern "C" fn resumed(_signal: c_int) {
    RESUMED.store(true, Ordering::Relaxed);
}

/// Processes, two of which take turns.
const PROCESSES: usize = 8;

/// Rounds of each before it is ready.
const ROUNDS: u64 = 100;

/// Pages of a process's own, each with the same count in it.
const PAGES: usize = 16;

/// How far a process is; shared by all.
fn count_of(memory: &Mapping, number: usize) -> &AtomicU64 {
    // SAFETY: aligned and mapped as long as `memory` lives; all tasks use it as an atomic.
    unsafe { AtomicU64::from_ptr(memory.start().wrapping_add(8 * number).cast()) }
}

/// How far a process is, and the other of its pair.
fn pair(memory: &Mapping, number: usize) -> [u64; 2] {
    [number, number ^ 1].map(|it| count_of(memory, it).load(Ordering::Acquire))
}

/// Is it the turn of this process? The even one of a pair goes first.
fn has_turn(memory: &Mapping, number: usize) -> bool {
    let [own, other] = pair(memory, number);
    if number.is_multiple_of(2) {
        own <= other
    } else {
        own < other
    }
}

/// Is what all see of this process its own count, and the other of the pair at most one round away from it?
fn fits(memory: &Mapping, number: usize, count: u64) -> bool {
    let [own, other] = pair(memory, number);
    let expected = if number.is_multiple_of(2) {
        [count, count.wrapping_sub(1)]
    } else {
        [count, count + 1]
    };
    own == count && expected.contains(&other)
}

/// One of a pair: its own pages, the shared memory, and the other process never are two rounds apart.
fn take_turns(child: &mut Stage, memory: &Mapping, number: usize) -> Result<()> {
    sys::handle(libc::SIGUSR1, resumed, 0, &[])?;
    sys::unblock(&[libc::SIGUSR1])?;
    let mut own = Mapping::anonymous(PAGES)?;
    let mut count = 0_u64;
    // Found before this process writes again: afterwards all would agree.
    let mut faults = 0;
    let mut apart = 0;
    while !RESUMED.load(Ordering::Relaxed) {
        apart += u64::from(!fits(memory, number, count));
        if !has_turn(memory, number) {
            std::thread::yield_now();
            continue;
        }
        for page in 0..PAGES {
            let place = own.bytes_mut(page * page_size(), 8);
            faults += u64::from(place != count.to_ne_bytes());
            place.copy_from_slice(&(count + 1).to_ne_bytes());
        }
        count += 1;
        count_of(memory, number).store(count, Ordering::Release);
        if count == ROUNDS {
            child.ready()?;
        }
    }
    for page in 0..PAGES {
        let place = own.bytes(page * page_size(), 8);
        faults += u64::from(place != count.to_ne_bytes());
    }
    child.equal("pages of another round", &faults, &0);
    child.equal("rounds apart from the other of the pair", &apart, &0);
    child.equal("what all see of it", &pair(memory, number)[0], &count);
    Ok(())
}

/// Pairs of processes that take turns; some may have been killed.
pub(crate) fn turns(stage: &mut Stage, _args: &Args) -> Result<()> {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let memory = Mapping::new(
        page_size(),
        libc::PROT_READ | libc::PROT_WRITE,
        flags,
        -1,
        0,
    )?;
    let mut children = Vec::new();
    for number in 0..PROCESSES {
        let name = format!("child{number}");
        children.push(stage.spawn(&name, |child| take_turns(child, &memory, number))?);
    }
    for child in &children {
        stage.await_ready(child)?;
    }
    stage.hold()?;
    for child in &children {
        if sys::state(child.pid)? == 'Z' {
            let ended = sys::wait(child.pid)?;
            stage.equal("how it was killed", &ended, &Status::Killed(libc::SIGKILL));
        } else {
            child.resume()?;
            stage.join(child)?;
        }
    }
    Ok(())
}
