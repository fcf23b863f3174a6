//! Register sets by architecture: what the bytes of a core dump's note are called.

use std::ops::Range;

use serde::Serialize;

use crate::fixed::ByteOrder;
use crate::records::{Arch, Regset, describe_bytes, hex_digits};

/// One register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Register {
    /// Name as debuggers have it.
    pub name: String,
    /// Value, the most significant digit first.
    pub value: String,
}

/// Name of a note, as in elf.h.
pub type NoteName = &'static str;

const PRSTATUS: u32 = 1;
const PRFPREG: u32 = 2;
const PRXFPREG: u32 = 0x46e6_2b7f;

/// Name of a register set; `None` for one that no architecture here has.
pub fn note_name(note: u32) -> Option<NoteName> {
    Some(match note {
        PRSTATUS => "NT_PRSTATUS",
        PRFPREG => "NT_PRFPREG",
        PRXFPREG => "NT_PRXFPREG",
        0x100 => "NT_PPC_VMX",
        0x101 => "NT_PPC_SPE",
        0x102 => "NT_PPC_VSX",
        0x103 => "NT_PPC_TAR",
        0x104 => "NT_PPC_PPR",
        0x105 => "NT_PPC_DSCR",
        0x106 => "NT_PPC_EBB",
        0x107 => "NT_PPC_PMU",
        0x108 => "NT_PPC_TM_CGPR",
        0x109 => "NT_PPC_TM_CFPR",
        0x10a => "NT_PPC_TM_CVMX",
        0x10b => "NT_PPC_TM_CVSX",
        0x10c => "NT_PPC_TM_SPR",
        0x10d => "NT_PPC_TM_CTAR",
        0x10e => "NT_PPC_TM_CPPR",
        0x10f => "NT_PPC_TM_CDSCR",
        0x110 => "NT_PPC_PKEY",
        0x111 => "NT_PPC_DEXCR",
        0x112 => "NT_PPC_HASHKEYR",
        0x200 => "NT_386_TLS",
        0x201 => "NT_386_IOPERM",
        0x202 => "NT_X86_XSTATE",
        0x204 => "NT_X86_SHSTK",
        0x300 => "NT_S390_HIGH_GPRS",
        0x301 => "NT_S390_TIMER",
        0x302 => "NT_S390_TODCMP",
        0x303 => "NT_S390_TODPREG",
        0x304 => "NT_S390_CTRS",
        0x305 => "NT_S390_PREFIX",
        0x306 => "NT_S390_LAST_BREAK",
        0x307 => "NT_S390_SYSTEM_CALL",
        0x308 => "NT_S390_TDB",
        0x309 => "NT_S390_VXRS_LOW",
        0x30a => "NT_S390_VXRS_HIGH",
        0x30b => "NT_S390_GS_CB",
        0x30c => "NT_S390_GS_BC",
        0x30d => "NT_S390_RI_CB",
        _ => return None,
    })
}

/// Consecutive registers: names and bytes of each.
enum Part {
    /// Registers with these names.
    Names(&'static str, usize),
    /// `prefix` with a number from `first` on, `count` of them, numbers going up.
    Numbered(&'static str, usize, usize, usize),
    /// Bytes without a name.
    Skip(usize),
}

use Part::{Names, Numbered, Skip};

const X86_FXSAVE_64: [Part; 9] = [
    Names("cwd swd twd fop", 2),
    Names("rip rdp", 8),
    Names("mxcsr mxcsr_mask", 4),
    Numbered("st", 0, 8, 16),
    Numbered("xmm", 0, 16, 16),
    Skip(96),
    // The XSAVE header and the component that follows it where there is one.
    Names("xstate_bv xcomp_bv", 8),
    Skip(48),
    Numbered("ymmh", 0, 16, 16),
];

const X86_FXSAVE_32: [Part; 9] = [
    Names("cwd swd twd fop", 2),
    Names("fip fcs foo fos mxcsr mxcsr_mask", 4),
    Numbered("st", 0, 8, 16),
    Numbered("xmm", 0, 8, 16),
    Skip(128),
    Skip(96),
    Names("xstate_bv xcomp_bv", 8),
    Skip(48),
    Numbered("ymmh", 0, 16, 16),
];

/// The parts of a register set; `None` where only its bytes can be shown.
fn parts(arch: Arch, note: u32) -> Option<&'static [Part]> {
    Some(match (arch, note) {
        (Arch::X86_64, PRSTATUS) => &[Names(
            "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs",
            8,
        )],
        (Arch::X86_64, PRFPREG | 0x202) => &X86_FXSAVE_64,
        (Arch::X86_32, PRSTATUS) => &[Names(
            "ebx ecx edx esi edi ebp eax ds es fs gs orig_eax eip cs eflags esp ss",
            4,
        )],
        (Arch::X86_32, PRFPREG) => &[
            Names("cwd swd twd fip fcs foo fos", 4),
            Numbered("st", 0, 8, 10),
        ],
        (Arch::X86_32, PRXFPREG | 0x202) => &X86_FXSAVE_32,
        (Arch::X86_32 | Arch::X86_64, 0x200) => &[Names(
            "tls0.entry tls0.base tls0.limit tls0.flags tls1.entry tls1.base tls1.limit tls1.flags tls2.entry tls2.base tls2.limit tls2.flags",
            4,
        )],
        (Arch::S390x, PRSTATUS) => &[
            Names("psw.mask psw.addr", 8),
            Numbered("r", 0, 16, 8),
            Numbered("a", 0, 16, 4),
            Names("orig_r2", 8),
        ],
        (Arch::S390x, PRFPREG) => &[Names("fpc", 4), Skip(4), Numbered("f", 0, 16, 8)],
        (Arch::S390x, 0x306) => &[Names("last_break", 8)],
        (Arch::S390x, 0x307) => &[Names("system_call", 4)],
        (Arch::S390x, 0x309) => &[Numbered("v.low", 0, 16, 8)],
        (Arch::S390x, 0x30a) => &[Numbered("v", 16, 16, 16)],
        (Arch::S390x, 0x30b | 0x30c) => &[Names("reserved gsd gssm gs_epl_a", 8)],
        (Arch::Ppc64, PRSTATUS) => &[
            Numbered("r", 0, 32, 8),
            Names(
                "nip msr orig_r3 ctr lr xer ccr softe trap dar dsisr result",
                8,
            ),
            Skip(32),
        ],
        (Arch::Ppc64, PRFPREG) => &[Numbered("f", 0, 32, 8), Names("fpscr", 8)],
        (Arch::Ppc64, 0x100) => &[Numbered("v", 0, 32, 16), Names("vscr vrsave", 16)],
        (Arch::Ppc64, 0x102) => &[Numbered("vs.low", 0, 32, 8)],
        (Arch::Ppc64, 0x103) => &[Names("tar", 8)],
        (Arch::Ppc64, 0x104) => &[Names("ppr", 8)],
        (Arch::Ppc64, 0x105) => &[Names("dscr", 8)],
        (Arch::Ppc64, 0x106) => &[Names("ebbrr ebbhr bescr", 8)],
        (Arch::Ppc64, 0x107) => &[Names("siar sdar sier mmcr2 mmcr0", 8)],
        (Arch::Ppc64, 0x110) => &[Names("amr iamr uamor", 8)],
        (Arch::Ppc64, 0x111) => &[Names("dexcr hdexcr", 8)],
        (Arch::Ppc64, 0x112) => &[Names("hashkeyr", 8)],
        _ => return None,
    })
}

/// A register as a number, the most significant digit first.
pub(crate) fn value(bytes: &[u8], order: ByteOrder) -> String {
    let digits = match order {
        ByteOrder::Little => hex_digits(bytes.iter().rev()),
        ByteOrder::Big => hex_digits(bytes.iter()),
    };
    format!("0x{digits}")
}

/// A piece of a register set: what it is called, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// `None` for bytes between registers.
    pub(crate) name: Option<String>,
    pub(crate) bytes: Range<usize>,
}

/// A register set in pieces that cover all of its bytes; one piece if it is not known.
pub(crate) fn pieces(arch: Arch, note: u32, len: usize) -> Vec<Piece> {
    let mut at = 0;
    let mut pieces = Vec::new();
    let mut push = |name: Option<String>, size: usize| {
        if size <= len - at {
            let bytes = at..at + size;
            at += size;
            pieces.push(Piece { name, bytes });
        }
    };
    for part in parts(arch, note).unwrap_or_default() {
        match *part {
            Names(names, size) => names
                .split(' ')
                .for_each(|name| push(Some(name.to_owned()), size)),
            Numbered(prefix, first, count, size) => {
                for number in first..first + count {
                    push(Some(format!("{prefix}{number}")), size);
                }
            }
            Skip(size) => push(None, size),
        }
    }
    if at < len {
        let name = Some("rest".to_owned());
        let bytes = at..len;
        pieces.push(Piece { name, bytes });
    }
    pieces
}

/// Whether a register of some set of some architecture is called so.
pub(crate) fn is_register(name: &str) -> bool {
    /// Longer than any set.
    const LONG: usize = 4096;
    let notes = (0..0x400).chain([PRXFPREG]);
    let known = |arch| {
        notes
            .clone()
            .filter(move |&note| parts(arch, note).is_some())
            .map(move |note| (arch, note))
    };
    let mut sets = Arch::ALL.into_iter().flat_map(known);
    sets.any(|(arch, note)| {
        let pieces = pieces(arch, note, LONG);
        name != "rest"
            && pieces
                .iter()
                .any(|piece| piece.name.as_deref() == Some(name))
    })
}

/// The registers of a set by name, as far as it goes; what has no name is left out, what follows the last name is `rest`.
///
/// `None` for a set that is not known: only its bytes can be shown.
pub fn decode(arch: Arch, order: ByteOrder, regset: &Regset) -> Option<Vec<Register>> {
    parts(arch, regset.head.note)?;
    let pieces = pieces(arch, regset.head.note, regset.data.len());
    let registers = pieces.into_iter().filter_map(|piece| {
        let name = piece.name?;
        let bytes = &regset.data[piece.bytes];
        let value = match &*name {
            "rest" => describe_bytes(bytes),
            _ => value(bytes, order),
        };
        Some(Register { name, value })
    });
    Some(registers.collect())
}

/// What the words of a CPU record are, as the architecture's checkpoint.c has them; the others are zero.
pub(crate) fn cpu_words(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::X86_32 | Arch::X86_64 => &["flags"],
        Arch::S390x => &["int_code", "last_break"],
        Arch::Ppc64 => &[
            "trap",
            "flags",
            "vrsave",
            "fpexc_mode",
            "align_ctl",
            "dexcr",
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::RegsetHead;

    fn size(parts: &[Part]) -> usize {
        let size = |part: &Part| match *part {
            Names(names, size) => names.split(' ').count() * size,
            Numbered(_, _, count, size) => count * size,
            Skip(size) => size,
        };
        parts.iter().map(size).sum()
    }

    /// Sizes of the register sets, from the kernel's `task_user_regset_view` of each architecture.
    #[test]
    fn sets_have_the_sizes_that_the_kernel_gives_them() {
        let table = [
            (Arch::X86_64, PRSTATUS, 27 * 8),
            (Arch::X86_64, 0x202, 512 + 64 + 256),
            (Arch::X86_32, PRSTATUS, 17 * 4),
            (Arch::X86_32, PRFPREG, 108),
            (Arch::X86_32, 0x202, 512 + 64 + 256),
            (Arch::X86_32, 0x200, 48),
            (Arch::S390x, PRSTATUS, 216),
            (Arch::S390x, PRFPREG, 136),
            (Arch::S390x, 0x309, 128),
            (Arch::S390x, 0x30a, 256),
            (Arch::Ppc64, PRSTATUS, 48 * 8),
            (Arch::Ppc64, PRFPREG, 33 * 8),
            (Arch::Ppc64, 0x100, 34 * 16),
            (Arch::Ppc64, 0x102, 32 * 8),
        ];
        for (arch, note, expected) in table {
            assert_eq!(
                parts(arch, note).map(size),
                Some(expected),
                "{} {}",
                arch.name(),
                note_name(note).unwrap()
            );
        }
    }

    #[test]
    fn values_read_the_same_in_both_byte_orders() {
        let regset = |data: Vec<u8>| Regset {
            head: RegsetHead {
                note: PRSTATUS,
                size: 0,
            },
            data,
        };
        let little = decode(
            Arch::X86_32,
            ByteOrder::Little,
            &regset(vec![1, 2, 3, 4, 5]),
        )
        .unwrap();
        assert_eq!(
            little[0],
            Register {
                name: "ebx".to_owned(),
                value: "0x04030201".to_owned()
            }
        );
        assert_eq!(little[1].name, "rest");
        let big = decode(
            Arch::S390x,
            ByteOrder::Big,
            &regset(vec![0, 0, 0, 0, 0, 0, 0, 9]),
        )
        .unwrap();
        assert_eq!(
            big,
            [Register {
                name: "psw.mask".to_owned(),
                value: "0x0000000000000009".to_owned()
            }]
        );
    }
}
