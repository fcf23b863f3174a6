//! Registers: every bit that a program can put into them is there after the freeze.

use std::cell::Cell;
use std::ptr;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::hold::{self, How, Kind, Plan};
use crate::stage::Stage;
use crate::sys;

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
mod descriptors;
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
pub(crate) use descriptors::descriptors;

/// Other processors have no such table.
#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
pub(crate) fn descriptors(_stage: &mut Stage, _args: &Args) -> Result<()> {
    Err(Error::Situation("this processor is no x86".to_owned()))
}

/// General registers, flags and stack pointer.
pub(crate) fn gpr(stage: &mut Stage, args: &Args) -> Result<()> {
    held(stage, args, Kind::General)
}

/// Floating point registers, control and status.
pub(crate) fn fpu(stage: &mut Stage, args: &Args) -> Result<()> {
    held(stage, args, Kind::Float)
}

/// Vector registers. Where the machine has none (AVX), this says so, and checks the narrow ones.
pub(crate) fn vector(stage: &mut Stage, args: &Args) -> Result<()> {
    let wide = Plan::new(Kind::Vector, How::Spin).is_ok();
    held(stage, args, if wide { Kind::Vector } else { Kind::Float })
}

/// A child loads registers, is frozen with them, and compares.
fn held(stage: &mut Stage, args: &Args, kind: Kind) -> Result<()> {
    let how = How::parse(args.text("hold", "spin"))?;
    let child = stage.spawn("holder", move |child| {
        let plan = Plan::new(kind, how)?;
        child.ready()?;
        let faults = plan.hold()?;
        child.equal(
            &format!("all {} registers", plan.count()),
            &faults,
            &Vec::new(),
        );
        Ok(())
    })?;
    stage.await_ready(&child)?;
    match how {
        How::Spin => {
            child.await_unblocked(libc::SIGUSR1)?;
            child.await_spinning()?;
        }
        How::Blocked => child.await_sleeping()?,
    }
    stage.hold()?;
    child.resume()?;
    stage.join(&child)
}

thread_local! {
    /// Lies at a fixed distance from the thread pointer.
    static MARK: Cell<u64> = const { Cell::new(0) };
}

/// The thread pointer, what it points at, and what else the machine has for the purpose.
pub(crate) fn thread_pointer(stage: &mut Stage, _args: &Args) -> Result<()> {
    let before = (
        hold::thread_pointer(),
        MARK.with(|mark| ptr::from_ref(mark).addr()),
    );
    MARK.set(0x7157_0000_0000_1d1d);
    let extra = extra::Segment::set()?;
    stage.hold()?;
    stage.equal(
        "thread pointer and address of a thread's variable",
        &(
            hold::thread_pointer(),
            MARK.with(|mark| ptr::from_ref(mark).addr()),
        ),
        &before,
    );
    stage.equal("a thread's variable", &MARK.get(), &0x7157_0000_0000_1d1d);
    extra.check(stage);
    Ok(())
}

/// `x86_64`: the base of `%gs`, which the C library leaves free.
#[cfg(target_arch = "x86_64")]
mod extra {
    use crate::error::Result;
    use crate::hold;
    use crate::stage::Stage;
    use crate::sys;

    const ARCH_SET_GS: usize = 0x1001;
    const ARCH_GET_GS: usize = 0x1004;
    const WORD: usize = 0x1234_5678_9abc_def0;

    /// A word that `%gs` points at.
    pub(super) struct Segment(Box<usize>);

    impl Segment {
        pub(super) fn set() -> Result<Self> {
            let word = Box::new(WORD);
            // SAFETY: nothing else uses %gs.
            unsafe {
                sys::raw(
                    "arch_prctl",
                    libc::SYS_arch_prctl,
                    [ARCH_SET_GS, (&raw const *word).addr(), 0, 0, 0],
                )?
            };
            Ok(Self(word))
        }

        pub(super) fn check(&self, stage: &mut Stage) {
            let mut base = 0_usize;
            // SAFETY: the kernel writes one word to `base`.
            let got = unsafe {
                sys::raw(
                    "arch_prctl",
                    libc::SYS_arch_prctl,
                    [ARCH_GET_GS, (&raw mut base).expose_provenance(), 0, 0, 0],
                )
            };
            stage.works("arch_prctl", got);
            stage.equal("base of gs", &base, &(&raw const *self.0).addr());
            if base == (&raw const *self.0).addr() {
                // SAFETY: the base is the address of a word that lives.
                stage.equal("word at gs", &unsafe { hold::gs_word() }, &WORD);
            }
        }
    }
}

/// x86_32: a second slot for thread pointers, and `%fs`.
#[cfg(target_arch = "x86")]
mod extra {
    use crate::error::Result;
    use crate::hold;
    use crate::stage::Stage;
    use crate::sys;

    const WORD: usize = 0x1234_5678;

    /// A word that `%fs` points at, by a descriptor of its own.
    pub(super) struct Segment {
        word: Box<usize>,
        descriptor: [u32; 4],
    }

    impl Segment {
        pub(super) fn set() -> Result<Self> {
            let word = Box::new(WORD);
            // struct user_desc: number (any), base, limit in pages, 32 bits | limit in pages | usable.
            let base = u32::try_from((&raw const *word).addr()).unwrap_or(0);
            let mut descriptor = [u32::MAX, base, 0xf_ffff, 0b101_0001];
            // SAFETY: the kernel reads the structure and writes the number to it.
            unsafe {
                sys::raw(
                    "set_thread_area",
                    libc::SYS_set_thread_area,
                    [(&raw mut descriptor).expose_provenance(), 0, 0, 0, 0],
                )?
            };
            let selector = usize::try_from(descriptor[0]).unwrap_or(0) * 8 + 3;
            // SAFETY: the descriptor was just made.
            unsafe { hold::set_fs(selector) };
            Ok(Self { word, descriptor })
        }

        pub(super) fn check(&self, stage: &mut Stage) {
            let mut found = [self.descriptor[0], 0, 0, 0];
            // SAFETY: the kernel writes to the structure.
            let got = unsafe {
                sys::raw(
                    "get_thread_area",
                    libc::SYS_get_thread_area,
                    [(&raw mut found).expose_provenance(), 0, 0, 0, 0],
                )
            };
            stage.works("get_thread_area", got);
            stage.equal("thread area", &found, &self.descriptor);
            let selector = usize::try_from(self.descriptor[0]).unwrap_or(0) * 8 + 3;
            stage.equal("selector in fs", &hold::fs_selector(), &selector);
            if hold::fs_selector() == selector && found == self.descriptor {
                // SAFETY: the descriptor's base is the address of a word that lives.
                stage.equal("word at fs", &unsafe { hold::fs_word() }, &*self.word);
            }
        }
    }
}

/// Elsewhere there is nothing but the thread pointer.
#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
mod extra {
    use crate::error::{Error, Result};
    use crate::hold;
    use crate::stage::Stage;

    /// Nothing.
    pub(super) struct Segment;

    impl Segment {
        pub(super) fn set() -> Result<Self> {
            if hold::thread_pointer() == 0 {
                Err(Error::Situation("no thread pointer".to_owned()))
            } else {
                Ok(Self)
            }
        }

        pub(super) fn check(&self, _stage: &mut Stage) {}
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
const RSEQ_SIGNATURE: usize = 0x5305_3053;
#[cfg(target_arch = "s390x")]
const RSEQ_SIGNATURE: usize = 0xb2ff_0fff;
#[cfg(target_arch = "powerpc64")]
const RSEQ_SIGNATURE: usize = 0x0fe5_000b;

unsafe extern "C" {
    /// Where the C library put the thread's rseq area, from the thread pointer.
    static __rseq_offset: isize;
}

/// What the C library registered with the kernel for the thread: robust list, `clear_child_tid`, rseq.
pub(crate) fn registrations(stage: &mut Stage, _args: &Args) -> Result<()> {
    let before = (robust_list()?, clear_child_tid()?);
    if before.0.0 == 0 || before.1 == 0 {
        return Err(Error::Situation(format!(
            "the C library registered nothing: {before:x?}"
        )));
    }
    let area = rseq_area();
    let registered = register_rseq(area);
    stage.hold()?;
    stage.equal("robust list", &robust_list()?, &before.0);
    stage.equal("clear_child_tid", &clear_child_tid()?, &before.1);
    // EBUSY where it is registered as it was, EINVAL where another area is; success where none was.
    stage.equal("rseq", &register_rseq(rseq_area()), &registered);
    // SAFETY: the area is the C library's, in the thread's block; the kernel keeps the CPU's number in its second word.
    let cpu = unsafe { ptr::with_exposed_provenance::<i32>(area + 4).read_volatile() };
    stage.check("rseq: cpu", (0..4096).contains(&cpu), &format!("{cpu}"));
    Ok(())
}

/// Head and length of the robust futex list.
fn robust_list() -> Result<(usize, usize)> {
    let (mut head, mut len) = (0_usize, 0_usize);
    let arguments = [
        0,
        (&raw mut head).expose_provenance(),
        (&raw mut len).expose_provenance(),
        0,
        0,
    ];
    // SAFETY: the kernel writes one word to each.
    unsafe { sys::raw("get_robust_list", libc::SYS_get_robust_list, arguments)? };
    Ok((head, len))
}

/// The word that the kernel clears when the thread ends.
fn clear_child_tid() -> Result<usize> {
    const PR_GET_TID_ADDRESS: usize = 40;
    let mut address = 0_usize;
    // SAFETY: the kernel writes one word.
    unsafe {
        sys::raw(
            "prctl",
            libc::SYS_prctl,
            [
                PR_GET_TID_ADDRESS,
                (&raw mut address).expose_provenance(),
                0,
                0,
                0,
            ],
        )?
    };
    Ok(address)
}

/// The thread's rseq area.
fn rseq_area() -> usize {
    // SAFETY: the C library sets it before main and never again.
    hold::thread_pointer().wrapping_add_signed(unsafe { __rseq_offset })
}

/// The errno of another registration of the area, 0 if it succeeded.
fn register_rseq(area: usize) -> i32 {
    // SAFETY: the area has the size that the C library registers, and is the C library's own.
    match unsafe { sys::raw("rseq", libc::SYS_rseq, [area, 32, 0, RSEQ_SIGNATURE, 0]) } {
        Err(Error::Call { source, .. }) => source.raw_os_error().unwrap_or(0),
        _ => 0,
    }
}
