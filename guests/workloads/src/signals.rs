//! Signals: actions, masks, the alternate stack, a handler that is running, signals that are pending.

mod pending;

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};

use crate::args::Args;
use crate::error::Result;
use crate::stage::Stage;
use crate::sys::{self, Mapping, page_size};

pub(crate) use pending::{delivered, pending, pending_child};

/// Bits of masks, by signal.
fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}

/// How often each signal's handler ran.
static RUNS: [AtomicI32; 65] = [const { AtomicI32::new(0) }; 65];

/// The mask in the last handler.
static MASK_INSIDE: AtomicU64 = AtomicU64::new(0);

/// An address on the stack of the last handler.
static STACK_INSIDE: AtomicUsize = AtomicUsize::new(0);

/// Notes where and how it runs.
extern "C" fn note(signal: c_int) {
    let local = signal;
    STACK_INSIDE.store((&raw const local).addr(), Ordering::Relaxed);
    MASK_INSIDE.store(sys::mask().unwrap_or(0), Ordering::Relaxed);
    if let Some(runs) = usize::try_from(signal)
        .ok()
        .and_then(|index| RUNS.get(index))
    {
        runs.fetch_add(1, Ordering::Relaxed);
    }
}

/// How often the handler of a signal ran.
fn runs(signal: c_int) -> i32 {
    usize::try_from(signal)
        .ok()
        .and_then(|index| RUNS.get(index))
        .map_or(-1, |runs| runs.load(Ordering::Relaxed))
}

/// The signals whose action a program may change, SIGUSR1 left out.
fn changeable() -> Vec<c_int> {
    (1..=64)
        .filter(|signal| {
            ![libc::SIGKILL, libc::SIGSTOP, libc::SIGUSR1].contains(signal)
                && sys::action(*signal).is_some()
        })
        .collect()
}

/// Every signal's action differs from its neighbours': all read back the same, and handlers run with the masks they asked for.
pub(crate) fn handlers(stage: &mut Stage, _args: &Args) -> Result<()> {
    let flags = [
        0,
        libc::SA_RESTART,
        libc::SA_NODEFER,
        libc::SA_RESTART | libc::SA_NODEFER,
        libc::SA_ONSTACK,
    ];
    let masks: [&[c_int]; 3] = [&[], &[libc::SIGTERM], &[libc::SIGHUP, libc::SIGWINCH, 64]];
    let signals = changeable();
    let mut handled = Vec::new();
    for (index, signal) in signals.iter().copied().enumerate() {
        match index % 7 {
            5 => sys::set_action(signal, libc::SIG_IGN, 0, &[])?,
            6 => sys::set_action(signal, libc::SIG_DFL, 0, &[])?,
            _ => {
                let (flags, masked) = (flags[index % flags.len()], masks[index % masks.len()]);
                sys::handle(signal, note, flags, masked)?;
                let own = if flags & libc::SA_NODEFER == 0 {
                    bit(signal)
                } else {
                    0
                };
                handled.push((
                    signal,
                    masked.iter().fold(own, |bits, signal| bits | bit(*signal)),
                ));
            }
        }
    }
    let actions = || (1..=64).map(sys::action).collect::<Vec<_>>();
    let before = actions();
    let mask = sys::mask()?;
    stage.hold()?;
    stage.equal("actions", &actions(), &before);
    for (signal, masked) in handled {
        sys::kill(sys::pid(), signal)?;
        stage.equal(
            &format!("handler of signal {signal}"),
            &(runs(signal), MASK_INSIDE.load(Ordering::Relaxed)),
            &(1, mask | masked),
        );
    }
    stage.equal("mask afterwards", &sys::mask()?, &mask);
    Ok(())
}

/// The mask: a signal that comes after the freeze waits, and is delivered when unblocked.
pub(crate) fn mask(stage: &mut Stage, _args: &Args) -> Result<()> {
    let blocked = [libc::SIGINT, libc::SIGCHLD, 40, 64];
    for signal in blocked {
        sys::handle(signal, note, 0, &[])?;
    }
    sys::handle(libc::SIGTERM, note, 0, &[])?;
    sys::block(&blocked)?;
    let before = sys::mask()?;
    stage.hold()?;
    stage.equal("mask", &sys::mask()?, &before);
    stage.equal("pending", &sys::pending()?, &0);
    for signal in blocked.into_iter().chain([libc::SIGTERM]) {
        sys::kill(sys::pid(), signal)?;
    }
    stage.equal("a signal that is not blocked", &runs(libc::SIGTERM), &1);
    stage.equal("blocked signals", &blocked.map(runs), &[0; 4]);
    stage.equal(
        "pending afterwards",
        &sys::pending()?,
        &blocked.iter().fold(0, |bits, signal| bits | bit(*signal)),
    );
    sys::unblock(&blocked)?;
    stage.equal("unblocked signals", &blocked.map(runs), &[1; 4]);
    Ok(())
}

/// The alternate stack: handlers that ask for it run on it, others do not.
pub(crate) fn altstack(stage: &mut Stage, _args: &Args) -> Result<()> {
    let stack = Mapping::anonymous(65536_usize.div_ceil(page_size()))?;
    let set = libc::stack_t {
        ss_sp: stack.start().cast(),
        ss_flags: 0,
        ss_size: stack.len(),
    };
    // SAFETY: the memory lives until the process ends.
    sys::check("sigaltstack", unsafe {
        libc::sigaltstack(&raw const set, std::ptr::null_mut())
    })?;
    sys::handle(libc::SIGUSR2, note, libc::SA_ONSTACK, &[])?;
    sys::handle(libc::SIGTERM, note, 0, &[])?;
    stage.hold()?;
    let mut found = libc::stack_t {
        ss_sp: std::ptr::null_mut(),
        ss_flags: -1,
        ss_size: 0,
    };
    // SAFETY: the kernel writes one structure.
    stage.works(
        "sigaltstack",
        sys::check("sigaltstack", unsafe {
            libc::sigaltstack(std::ptr::null(), &raw mut found)
        }),
    );
    stage.equal(
        "address, flags, size",
        &(found.ss_sp.addr(), found.ss_flags, found.ss_size),
        &(stack.address(), 0, stack.len()),
    );
    let range = stack.address()..stack.address() + stack.len();
    for (signal, inside) in [(libc::SIGUSR2, true), (libc::SIGTERM, false)] {
        sys::kill(sys::pid(), signal)?;
        stage.equal("handler runs", &runs(signal), &1);
        stage.equal(
            &format!("handler of signal {signal} is on the stack"),
            &range.contains(&STACK_INSIDE.load(Ordering::Relaxed)),
            &inside,
        );
    }
    std::mem::forget(stack);
    Ok(())
}

/// `SS_AUTODISARM` of <linux/signal.h>
const AUTODISARM: c_int = c_int::MIN;

/// An alternate stack that is set aside while a handler runs on it, and is back afterwards.
pub(crate) fn autodisarm(stage: &mut Stage, _args: &Args) -> Result<()> {
    let stack = Mapping::anonymous(65536_usize.div_ceil(page_size()))?;
    let set = libc::stack_t {
        ss_sp: stack.start().cast(),
        ss_flags: AUTODISARM,
        ss_size: stack.len(),
    };
    // SAFETY: the memory lives until the process ends.
    sys::check("sigaltstack", unsafe {
        libc::sigaltstack(&raw const set, std::ptr::null_mut())
    })?;
    // Without SA_SIGINFO some architectures build a frame that cannot bring the stack back.
    sys::handle_detailed(libc::SIGUSR2, look, libc::SA_ONSTACK | libc::SA_SIGINFO)?;
    stage.hold()?;
    sys::kill(sys::pid(), libc::SIGUSR2)?;
    stage.equal("handler runs", &runs(libc::SIGUSR2), &1);
    let range = stack.address()..stack.address() + stack.len();
    stage.equal(
        "handler is on the stack",
        &range.contains(&STACK_INSIDE.load(Ordering::Relaxed)),
        &true,
    );
    stage.equal(
        "flags in the handler",
        &FLAGS_INSIDE.load(Ordering::Relaxed),
        &libc::SS_DISABLE,
    );
    stage.equal("flags afterwards", &stack_flags(), &AUTODISARM);
    std::mem::forget(stack);
    Ok(())
}

/// The flags of the alternate stack in the last handler.
static FLAGS_INSIDE: AtomicI32 = AtomicI32::new(-1);

/// Notes what it sees of the alternate stack, too.
extern "C" fn look(signal: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    FLAGS_INSIDE.store(stack_flags(), Ordering::Relaxed);
    note(signal);
}

/// The flags of the alternate stack; -1 if the kernel does not tell.
fn stack_flags() -> c_int {
    let mut found = libc::stack_t {
        ss_sp: std::ptr::null_mut(),
        ss_flags: -1,
        ss_size: 0,
    };
    // SAFETY: the kernel writes one structure.
    unsafe { libc::sigaltstack(std::ptr::null(), &raw mut found) };
    found.ss_flags
}

/// A child sleeps in sigsuspend: the mask of the call holds until the signal, the old one afterwards.
pub(crate) fn sigsuspend(stage: &mut Stage, _args: &Args) -> Result<()> {
    let child = stage.spawn("sleeper", |child| {
        sys::handle(libc::SIGUSR1, note, 0, &[])?;
        sys::handle(libc::SIGTERM, note, 0, &[])?;
        sys::block(&[libc::SIGTERM, 50])?;
        let before = sys::mask()?;
        child.ready()?;
        // All but SIGUSR1 are blocked meanwhile.
        sys::suspend(libc::SIGUSR1);
        child.equal("mask after the call", &sys::mask()?, &before);
        child.equal(
            "handlers that ran",
            &(runs(libc::SIGUSR1), runs(libc::SIGTERM)),
            &(1, 0),
        );
        let inside = MASK_INSIDE.load(Ordering::Relaxed);
        let others = bit(libc::SIGHUP) | bit(libc::SIGTERM) | bit(libc::SIGUSR1) | bit(64);
        child.equal("mask in the handler", &(inside & others), &others);
        child.equal("pending", &sys::pending()?, &bit(libc::SIGTERM));
        sys::unblock(&[libc::SIGTERM])?;
        child.equal("the other signal, unblocked", &runs(libc::SIGTERM), &1);
        Ok(())
    })?;
    stage.await_ready(&child)?;
    child.await_sleeping()?;
    stage.hold()?;
    // Blocked by the call as by the old mask: it must not end the sleep.
    sys::kill(child.pid, libc::SIGTERM)?;
    child.check_asleep(stage)?;
    child.resume()?;
    stage.join(&child)
}

/// Set to the handler's own pattern while it runs.
static INSIDE: AtomicU64 = AtomicU64::new(0);

/// Sleeps on the alternate stack until SIGUSR1 has come.
extern "C" fn sleep_inside(_signal: c_int) {
    let mut canary = [0_u8; 512];
    crate::pattern::fill(std::hint::black_box(&mut canary), 11);
    INSIDE.store(1, Ordering::Relaxed);
    sys::suspend(libc::SIGUSR1);
    let intact = crate::pattern::mismatch(std::hint::black_box(&canary), 11).is_none();
    INSIDE.store(if intact { 2 } else { 3 }, Ordering::Relaxed);
}

/// A child is frozen while a handler of it runs: the handler goes on, returns through its frame, and what it interrupted goes on too.
pub(crate) fn in_handler(stage: &mut Stage, _args: &Args) -> Result<()> {
    let child = stage.spawn("handler", |child| {
        let stack = Mapping::anonymous(65536_usize.div_ceil(page_size()))?;
        let set = libc::stack_t {
            ss_sp: stack.start().cast(),
            ss_flags: 0,
            ss_size: stack.len(),
        };
        // SAFETY: the memory lives until the process ends.
        sys::check("sigaltstack", unsafe {
            libc::sigaltstack(&raw const set, std::ptr::null_mut())
        })?;
        sys::handle(libc::SIGUSR1, note, 0, &[])?;
        sys::handle(
            libc::SIGUSR2,
            sleep_inside,
            libc::SA_ONSTACK,
            &[libc::SIGTERM],
        )?;
        sys::handle(libc::SIGTERM, note, 0, &[])?;
        let mask = sys::mask()?;
        let mut canary = [0_u8; 512];
        crate::pattern::fill(std::hint::black_box(&mut canary), 12);
        child.ready()?;
        sys::kill(sys::pid(), libc::SIGUSR2)?;
        child.equal(
            "the handler came to its end",
            &INSIDE.load(Ordering::Relaxed),
            &2,
        );
        child.equal(
            "memory on the stack below it",
            &crate::pattern::mismatch(std::hint::black_box(&canary), 12),
            &None,
        );
        child.equal("mask afterwards", &sys::mask()?, &mask);
        let range = stack.address()..stack.address() + stack.len();
        let inner = (
            runs(libc::SIGUSR1),
            range.contains(&STACK_INSIDE.load(Ordering::Relaxed)),
        );
        child.equal(
            "the inner handler ran once, on the stack of the outer one",
            &inner,
            &(1, true),
        );
        sys::kill(sys::pid(), libc::SIGTERM)?;
        child.equal(
            "a signal that the handler's mask blocked",
            &runs(libc::SIGTERM),
            &1,
        );
        std::mem::forget(stack);
        Ok(())
    })?;
    stage.await_ready(&child)?;
    child.await_sleeping()?;
    stage.hold()?;
    child.resume()?;
    stage.join(&child)
}
