//! Registers held across a freeze: what the assembler in `asm/` loads, holds and stores, and what must come back.

use std::ffi::c_int;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::pattern;
use crate::sys;

/// Bytes of `ct_in` and `ct_out`.
const AREA: usize = 2048;

unsafe extern "C" {
    static mut ct_in: [u8; AREA];
    static mut ct_out: [u8; AREA];
    static mut ct_mask: [u8; 8];
    static ct_gate: AtomicUsize;
    static ct_gate_open: AtomicUsize;
    safe fn ct_hold_gpr_spin();
    safe fn ct_hold_gpr_blocked();
    safe fn ct_hold_fpu_spin();
    safe fn ct_hold_fpu_blocked();
    safe fn ct_hold_vec_spin();
    safe fn ct_hold_vec_blocked();
    safe fn ct_thread_pointer() -> usize;
    fn ct_call(code: *const u8);
}

/// Kinds of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// General registers and flags.
    General,
    /// Floating point registers and their control words.
    Float,
    /// Vector registers and their control words.
    Vector,
}

/// Where the process is while it holds registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// In a loop that makes no system call.
    Spin,
    /// In a system call.
    Blocked,
}

impl How {
    /// Reads the argument `hold`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match text {
            "spin" => Ok(Self::Spin),
            "blocked" => Ok(Self::Blocked),
            _ => Err(Error::Argument(format!("hold={text}"))),
        }
    }
}

/// A register, or a group of bits, that must come back.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    name: String,
    /// Place in both areas.
    offset: usize,
    /// What must be found there.
    expected: Vec<u8>,
    /// Bits that count.
    mask: Vec<u8>,
}

/// What is loaded and what must come back.
#[derive(Debug)]
pub(crate) struct Plan {
    kind: Kind,
    how: How,
    area: [u8; AREA],
    slots: Vec<Slot>,
}

impl Plan {
    /// The plan for a kind of registers; an error where the machine has none.
    pub(crate) fn new(kind: Kind, how: How) -> Result<Self> {
        let mut plan = Self {
            kind,
            how,
            area: [0; AREA],
            slots: Vec::new(),
        };
        arch::plan(&mut plan)?;
        Ok(plan)
    }

    /// Puts bytes into the area that is loaded.
    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.area[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// Loads bytes, and expects them back.
    fn keep(&mut self, name: String, offset: usize, bytes: &[u8]) {
        self.keep_bits(name, offset, bytes, &vec![0xff; bytes.len()]);
    }

    /// Loads bytes, and expects these bits of them back.
    fn keep_bits(&mut self, name: String, offset: usize, bytes: &[u8], mask: &[u8]) {
        self.put(offset, bytes);
        self.slots.push(Slot {
            name,
            offset,
            expected: bytes.to_vec(),
            mask: mask.to_vec(),
        });
    }

    /// Loads `count` registers of `width` bytes with patterns, and expects them back.
    fn keep_all(&mut self, name: &str, offset: usize, width: usize, count: usize) {
        for number in 0..count {
            let at = offset + width * number;
            // The offset is in the seed, so that no two registers of a kind are equal.
            let bytes = pattern::piece(at as u64, 0, width);
            self.keep(format!("{name}{number}"), at, &bytes);
        }
    }

    /// Expects bytes that the assembler or the kernel puts there.
    fn expect(&mut self, name: &str, offset: usize, bytes: &[u8]) {
        self.slots.push(Slot {
            name: name.to_owned(),
            offset,
            expected: bytes.to_vec(),
            mask: vec![0xff; bytes.len()],
        });
    }

    /// Expects to find what the assembler noted in the loaded area.
    fn expect_noted(&mut self, name: &str, offset: usize, width: usize) {
        // An empty expectation stands for that; see `faults`.
        self.slots.push(Slot {
            name: name.to_owned(),
            offset,
            expected: Vec::new(),
            mask: vec![0xff; width],
        });
    }

    /// Installs the handler, loads the registers, holds them until SIGUSR1 comes, and returns what was wrong afterwards.
    pub(crate) fn hold(&self) -> Result<Vec<String>> {
        sys::handle(libc::SIGUSR1, open_gate, 0, &[])?;
        // All signals but SIGUSR1, as the kernel has them: bit N-1 of a word that is 64 bits, or two longs in little endian.
        let mask = !(1_u64 << (libc::SIGUSR1 - 1));
        // SAFETY: one thread; the assembler reads these only inside of the calls below.
        unsafe {
            (&raw mut ct_in).write(self.area);
            (&raw mut ct_out).write([0; AREA]);
            (&raw mut ct_mask).write(mask.to_ne_bytes());
        }
        if self.how == How::Spin {
            sys::unblock(&[libc::SIGUSR1])?;
        }
        match (self.kind, self.how) {
            (Kind::General, How::Spin) => ct_hold_gpr_spin(),
            (Kind::General, How::Blocked) => ct_hold_gpr_blocked(),
            (Kind::Float, How::Spin) => ct_hold_fpu_spin(),
            (Kind::Float, How::Blocked) => ct_hold_fpu_blocked(),
            (Kind::Vector, How::Spin) => ct_hold_vec_spin(),
            (Kind::Vector, How::Blocked) => ct_hold_vec_blocked(),
        }
        // SAFETY: the assembler is done with both areas.
        let (loaded, stored) = unsafe { ((&raw const ct_in).read(), (&raw const ct_out).read()) };
        Ok(self.faults(&loaded, &stored))
    }

    /// How many registers are compared.
    pub(crate) fn count(&self) -> usize {
        self.slots.len()
    }

    /// What is wrong with the stored registers.
    fn faults(&self, loaded: &[u8; AREA], stored: &[u8; AREA]) -> Vec<String> {
        self.slots
            .iter()
            .filter_map(|slot| slot.fault(loaded, stored))
            .collect()
    }
}

impl Slot {
    /// What is wrong with this register, if anything.
    fn fault(&self, loaded: &[u8; AREA], stored: &[u8; AREA]) -> Option<String> {
        let range = self.offset..self.offset + self.mask.len();
        let expected = if self.expected.is_empty() {
            &loaded[range.clone()]
        } else {
            &self.expected[..]
        };
        let found = &stored[range];
        let differs = found
            .iter()
            .zip(expected)
            .zip(&self.mask)
            .any(|((found, expected), mask)| (found ^ expected) & mask != 0);
        differs.then(|| format!("{} is {found:02x?}, expected {expected:02x?}", self.name))
    }
}

/// Lets the loop in the assembler end.
extern "C" fn open_gate(_signal: c_int) {
    // SAFETY: both are words in the assembler's data, as large and aligned as a pointer.
    unsafe { ct_gate.store(ct_gate_open.load(Ordering::Relaxed), Ordering::Relaxed) };
}

/// The register by which the C library finds the thread's data.
pub(crate) fn thread_pointer() -> usize {
    ct_thread_pointer()
}

/// Jumps to machine code.
///
/// # Safety
/// There must be the code of a function that returns at once, or the process must be ready to get a signal.
pub(crate) unsafe fn call(code: *const u8) {
    // SAFETY: passed on to the caller.
    unsafe { ct_call(code) };
}

/// The machine code of a function that returns at once.
pub(crate) const RETURN: &[u8] = arch::RETURN;

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
#[path = "hold/x86.rs"]
mod arch;

#[cfg(target_arch = "s390x")]
#[path = "hold/s390x.rs"]
mod arch;

#[cfg(target_arch = "powerpc64")]
#[path = "hold/powerpc64.rs"]
mod arch;

#[cfg(target_arch = "x86")]
pub(crate) use arch::{fs_selector, fs_word, set_fs};

#[cfg(target_arch = "x86_64")]
pub(crate) use arch::gs_word;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_register_is_compared() {
        for (kind, how) in [
            (Kind::General, How::Spin),
            (Kind::General, How::Blocked),
            (Kind::Float, How::Spin),
        ] {
            let plan = Plan::new(kind, how).unwrap();
            assert!(plan.count() > 8, "{kind:?} {how:?}");
            // As if all came back: what was loaded, and what is expected from elsewhere.
            let mut good = plan.area;
            for slot in &plan.slots {
                good[slot.offset..slot.offset + slot.expected.len()]
                    .copy_from_slice(&slot.expected);
            }
            assert!(plan.faults(&good, &good).is_empty(), "{kind:?} {how:?}");
            for slot in &plan.slots {
                for (index, mask) in slot.mask.iter().enumerate().filter(|(_, mask)| **mask != 0) {
                    let mut bad = good;
                    bad[slot.offset + index] ^= mask & mask.wrapping_neg();
                    assert!(
                        !plan.faults(&good, &bad).is_empty(),
                        "{} byte {index}",
                        slot.name
                    );
                }
            }
        }
    }
}
