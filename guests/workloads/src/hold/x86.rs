//! Layout of the areas on `x86_32` and `x86_64`, and what is in them.

use super::{How, Kind, Plan};
use crate::error::{Error, Result};
use crate::pattern;

/// `ret`.
pub(super) const RETURN: &[u8] = &[0xc3];

/// The general registers in the assembler's order.
#[cfg(target_arch = "x86_64")]
const GENERAL: &[&str] = &[
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];
#[cfg(target_arch = "x86")]
const GENERAL: &[&str] = &["eax", "ebx", "ecx", "edx", "esi", "edi", "ebp"];

/// Number of `rt_sigsuspend(2)`, the registers of number and arguments, and those that a system call does not preserve.
#[cfg(target_arch = "x86_64")]
const SUSPEND: (usize, [usize; 3], &[&str]) = (130, [0, 5, 4], &["rax", "rcx", "r11"]);
#[cfg(target_arch = "x86")]
const SUSPEND: (usize, [usize; 3], &[&str]) = (179, [0, 1, 2], &["eax"]);

/// Bytes of a general register.
const WORD: usize = size_of::<usize>();

/// CF, AF, SF, DF, OF and ID set, PF and ZF clear; IF and bit 1 are always set.
const FLAGS: usize = 0x20_0e93;

/// CF PF AF ZF SF DF OF ID.
const FLAGS_MASK: usize = 0x20_0cd5;

/// Registers of 128 bits.
const XMM: usize = if cfg!(target_arch = "x86_64") { 16 } else { 8 };

#[cfg(target_arch = "x86")]
unsafe extern "C" {
    fn ct_set_fs(selector: usize);
    safe fn ct_fs_selector() -> usize;
    fn ct_fs_word() -> usize;
}

#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    fn ct_gs_word() -> usize;
}

/// The word that `%gs` points at.
///
/// # Safety
/// The base of `%gs` must have been set to readable memory.
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn gs_word() -> usize {
    // SAFETY: passed on to the caller.
    unsafe { ct_gs_word() }
}

/// Loads `%fs`.
///
/// # Safety
/// The selector must be of a descriptor that exists.
#[cfg(target_arch = "x86")]
pub(crate) unsafe fn set_fs(selector: usize) {
    // SAFETY: passed on to the caller; the C library uses `%gs` only.
    unsafe { ct_set_fs(selector) };
}

/// What is in `%fs`.
#[cfg(target_arch = "x86")]
pub(crate) fn fs_selector() -> usize {
    ct_fs_selector()
}

/// The word that `%fs` points at.
///
/// # Safety
/// `%fs` must have been loaded with a selector of readable memory.
#[cfg(target_arch = "x86")]
pub(crate) unsafe fn fs_word() -> usize {
    // SAFETY: passed on to the caller.
    unsafe { ct_fs_word() }
}

/// Fills a plan.
pub(super) fn plan(plan: &mut Plan) -> Result<()> {
    match plan.kind {
        Kind::General => general(plan),
        Kind::Float => float(plan),
        Kind::Vector => return vector(plan),
    }
    Ok(())
}

/// General registers, flags, stack pointer.
fn general(plan: &mut Plan) {
    let (number, [call, first, second], lost) = SUSPEND;
    for (index, name) in GENERAL.iter().enumerate() {
        let bytes = pattern::piece(index as u64, 0, WORD);
        if plan.how == How::Blocked && lost.contains(name) {
            plan.put(index * WORD, &bytes);
        } else {
            plan.keep((*name).to_owned(), index * WORD, &bytes);
        }
    }
    if plan.how == How::Blocked {
        plan.put(call * WORD, &number.to_le_bytes());
        plan.expect(
            GENERAL[call],
            call * WORD,
            &(-(libc::EINTR as isize)).to_le_bytes(),
        );
        for (register, value) in [(first, (&raw const super::ct_mask).addr()), (second, 8)] {
            plan.slots.retain(|slot| slot.name != GENERAL[register]);
            plan.keep(
                GENERAL[register].to_owned(),
                register * WORD,
                &value.to_le_bytes(),
            );
        }
    }
    let flags = if WORD == 8 { 15 * WORD } else { 7 * WORD };
    plan.keep_bits(
        "flags".to_owned(),
        flags,
        &FLAGS.to_le_bytes(),
        &FLAGS_MASK.to_le_bytes(),
    );
    plan.expect_noted("stack pointer", flags + WORD, WORD);
}

/// x87 registers with control, status and tag words, as FXSAVE lays them out.
fn float(plan: &mut Plan) {
    // Round down, 53 bits, all exceptions masked.
    plan.keep("control word".to_owned(), 0, &0x067f_u16.to_le_bytes());
    // Top of stack 3, C3 C1 C0 set, the sticky flags for precision, overflow and denormal.
    plan.keep("status word".to_owned(), 2, &0x5b2a_u16.to_le_bytes());
    // Registers 0, 2, 3, 5, 6 and 7 in use.
    plan.keep("tag word".to_owned(), 4, &[0xed]);
    // Round up, flush to zero, all exceptions masked, inexact seen.
    plan.keep("mxcsr".to_owned(), 24, &0xdfa0_u32.to_le_bytes());
    plan.put(28, &0xffff_u32.to_le_bytes());
    for number in 0..8_usize {
        let mut bytes = pattern::piece(number as u64, 0, 10);
        // The integer bit makes it a number that every FXRSTOR takes as it is.
        bytes[7] |= 0x80;
        plan.keep(format!("st{number}"), 32 + 16 * number, &bytes);
    }
    plan.keep_all("xmm", 160, 16, XMM);
}

/// The 256-bit registers, where the machine has them; the lower halves are in [`float`] too.
fn vector(plan: &mut Plan) -> Result<()> {
    if !std::arch::is_x86_feature_detected!("avx") {
        return Err(Error::Situation("no AVX here".to_owned()));
    }
    plan.keep_all("ymm", 512, 32, XMM);
    Ok(())
}
