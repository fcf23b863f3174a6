//! Layout of the areas on ppc64, and what is in them.

use super::{How, Kind, Plan};
use crate::error::{Error, Result};
use crate::pattern;

/// `blr`.
pub(super) const RETURN: &[u8] = &[0x4e, 0x80, 0x00, 0x20];

/// Number of rt_sigsuspend(2).
const SUSPEND: u64 = 178;

/// Bits of AT_HWCAP: Altivec and VSX.
const HWCAP_VECTORS: u64 = 0x1000_0000 | 0x0000_0080;

/// Each field different.
const CR: u64 = 0x1248_36c9;

/// Summary overflow, carry, and a string length.
const XER: u64 = 0xa000_0025;

/// Inexact seen, a result class, round toward zero; no exception enabled.
const FPSCR: u64 = 0x8200_4001;

/// Non-Java mode and saturation.
const VSCR: u32 = 0x0001_0001;

/// Fills a plan.
pub(super) fn plan(plan: &mut Plan) -> Result<()> {
    match plan.kind {
        Kind::General => general(plan),
        Kind::Float => {
            plan.keep_all("f", 0, 8, 32);
            plan.keep_bits(
                "fpscr".to_owned(),
                256,
                &FPSCR.to_be_bytes(),
                &0xffff_ffff_u64.to_be_bytes(),
            );
        }
        Kind::Vector => {
            // SAFETY: plain numbers.
            if unsafe { libc::getauxval(libc::AT_HWCAP) } & HWCAP_VECTORS != HWCAP_VECTORS {
                return Err(Error::Situation("no vector registers here".to_owned()));
            }
            plan.keep_all("vs", 0, 16, 32);
            plan.keep_all("v", 512, 16, 32);
            plan.keep("vscr".to_owned(), 1036, &VSCR.to_be_bytes());
            plan.keep(
                "vrsave".to_owned(),
                1040,
                &0x0000_0000_5a5a_c3c3_u64.to_be_bytes(),
            );
            plan.keep(
                "tar".to_owned(),
                1048,
                &0x1122_3344_5566_7788_u64.to_be_bytes(),
            );
        }
    }
    Ok(())
}

/// General registers, CR, XER, LR, stack pointer and thread pointer.
fn general(plan: &mut Plan) {
    for number in 0..30_usize {
        let at = number * 8;
        let bytes = pattern::piece(number as u64, 0, 8);
        match (plan.how, number) {
            (_, 1) => plan.expect_noted("stack pointer", at, 8),
            (_, 13) => plan.expect_noted("thread pointer", at, 8),
            (How::Blocked, 0) => plan.put(at, &SUSPEND.to_be_bytes()),
            (How::Blocked, 3) => {
                plan.put(at, &(&raw const super::ct_mask).addr().to_be_bytes());
                plan.expect(
                    "r3",
                    at,
                    &u64::from(libc::EINTR.unsigned_abs()).to_be_bytes(),
                );
            }
            (How::Blocked, 4) => plan.put(at, &8_u64.to_be_bytes()),
            // A system call does not preserve these.
            (How::Blocked, 5..=12) => plan.put(at, &bytes),
            _ => plan.keep(format!("r{number}"), at, &bytes),
        }
    }
    // The first field of CR tells whether a system call failed.
    let cr_mask: u64 = if plan.how == How::Blocked {
        0x0fff_ffff
    } else {
        0xffff_ffff
    };
    plan.keep_bits(
        "cr".to_owned(),
        256,
        &CR.to_be_bytes(),
        &cr_mask.to_be_bytes(),
    );
    // Nor does a system call preserve XER.
    if plan.how == How::Blocked {
        plan.put(264, &XER.to_be_bytes());
    } else {
        plan.keep_bits(
            "xer".to_owned(),
            264,
            &XER.to_be_bytes(),
            &0xffff_ffff_u64.to_be_bytes(),
        );
    }
    plan.keep("lr".to_owned(), 272, &pattern::piece(40, 0, 8));
}
