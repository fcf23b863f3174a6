//! Layout of the areas on s390x, and what is in them.

use super::{How, Kind, Plan};
use crate::error::{Error, Result};
use crate::pattern;

/// `br %r14`.
pub(super) const RETURN: &[u8] = &[0x07, 0xfe];

/// Number of rt_sigsuspend(2).
const SUSPEND: u64 = 179;

/// Bit of AT_HWCAP: vector registers.
const HWCAP_VXRS: u64 = 1 << 11;

/// Condition code 2, masks for decimal overflow and significance set, as IPM and SPM have them.
const CONDITION: u64 = 0x2500_0000;

/// Inexact and underflow seen, round up; no exception enabled.
const FPC: u32 = 0x0018_0002;

/// Fills a plan.
pub(super) fn plan(plan: &mut Plan) -> Result<()> {
    match plan.kind {
        Kind::General => general(plan),
        Kind::Float => {
            plan.keep_all("f", 0, 8, 16);
            plan.keep("fpc".to_owned(), 128, &FPC.to_be_bytes());
        }
        Kind::Vector => {
            // SAFETY: plain numbers.
            if unsafe { libc::getauxval(libc::AT_HWCAP) } & HWCAP_VXRS == 0 {
                return Err(Error::Situation("no vector registers here".to_owned()));
            }
            plan.keep_all("v", 0, 16, 32);
        }
    }
    Ok(())
}

/// General registers, condition code, program mask, access registers, stack pointer.
fn general(plan: &mut Plan) {
    // r14 belongs to the gate, r15 is the stack.
    for number in 0..14_usize {
        let at = number * 8;
        match (plan.how, number) {
            (How::Blocked, 1) => plan.keep("r1".to_owned(), at, &SUSPEND.to_be_bytes()),
            (How::Blocked, 2) => {
                plan.put(at, &(&raw const super::ct_mask).addr().to_be_bytes());
                plan.expect("r2", at, &(-i64::from(libc::EINTR)).to_be_bytes());
            }
            (How::Blocked, 3) => plan.keep("r3".to_owned(), at, &8_u64.to_be_bytes()),
            _ => plan.keep(
                format!("r{number}"),
                at,
                &pattern::piece(number as u64, 0, 8),
            ),
        }
    }
    plan.expect_noted("stack pointer", 120, 8);
    plan.keep(
        "condition code and program mask".to_owned(),
        128,
        &CONDITION.to_be_bytes(),
    );
    plan.keep_all("a", 144, 4, 14);
    let thread = super::thread_pointer();
    plan.expect("thread pointer", 136, &thread.to_be_bytes());
}
