//! The architectures: one table, one row an architecture, no default fields.
//!
//! Every other module asks the row; nothing else matches on an architecture's name.
//! The facts about machines were tried with QEMU 7.2 under TCG and kernel 6.12.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of the architectures that crossthaw builds and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Arch {
    /// 32-bit x86.
    X86_32,
    /// 64-bit x86.
    X86_64,
    /// 64-bit s390, big-endian.
    S390x,
    /// 64-bit powerpc, big-endian.
    Ppc64,
}

/// Order of the bytes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// Identity of an ELF file: what its header must say (elf(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elf {
    /// `e_machine`.
    pub machine: u16,
    /// Bits of an address: 32 or 64.
    pub bits: u8,
    /// `EI_DATA`.
    pub byte_order: ByteOrder,
}

/// What is to know of one architecture.
#[derive(Debug)]
pub struct Row {
    /// The architecture.
    pub arch: Arch,
    /// Its name in case ids, on the command line and in file names.
    pub name: &'static str,
    /// `ARCH=` of the kernel's make.
    pub kernel_arch: &'static str,
    /// `CROSS_COMPILE=` of the kernel's make; empty for the host's compiler.
    pub cross_compile: &'static str,
    /// The target that make builds.
    pub make_target: &'static str,
    /// Where the bootable image lies in the kernel tree.
    pub image: &'static str,
    /// Configuration fragments below `kernels/configs`, applied in this order.
    pub fragments: &'static [&'static str],
    /// Fragments that the `debug` flavor adds to its own, for what only some architectures have.
    pub debug_fragments: &'static [&'static str],
    /// Target triple of the guest programs.
    pub rust_target: &'static str,
    /// Linker and assembler of the guest programs.
    pub guest_cc: &'static str,
    /// Debian packages that the kernel build needs, beyond what every architecture needs.
    pub kernel_packages: &'static [&'static str],
    /// Debian packages that the guest build needs, beyond what every architecture needs.
    pub guest_packages: &'static [&'static str],
    /// The program that emulates it.
    pub qemu: &'static str,
    /// Debian packages that may hold that program, the first that exists is taken.
    pub qemu_packages: &'static [&'static str],
    /// `-M`.
    pub machine: &'static str,
    /// `-cpu` under TCG; `None` for the machine's own default.
    pub cpu: Option<&'static str>,
    /// Hosts whose KVM can run it, as `std::env::consts::ARCH` calls them.
    pub kvm_hosts: &'static [&'static str],
    /// The kernel's console.
    pub console: &'static str,
    /// Kernel arguments that only this machine needs.
    pub kernel_args: &'static [&'static str],
    /// QEMU's bus prefix of virtio devices: `virtio-serial-pci` or `virtio-serial-ccw`.
    pub virtio_bus: &'static str,
    /// Byte order, also of ELF files.
    pub byte_order: ByteOrder,
    /// Bytes of a long.
    pub word_size: u8,
    /// Bytes of a page of the kernels that are built here.
    pub page_size: u32,
    /// What its ELF files must be.
    pub elf: Elf,
    /// What `uname -m` says in the guest.
    pub uname: &'static str,
}

static ROWS: [Row; 4] = [
    Row {
        arch: Arch::X86_32,
        name: "x86_32",
        kernel_arch: "i386",
        cross_compile: "",
        make_target: "bzImage",
        image: "arch/x86/boot/bzImage",
        fragments: &["common.config", "x86_32.config"],
        debug_fragments: &["debug.x86_32.config"],
        rust_target: "i686-unknown-linux-gnu",
        guest_cc: "i686-linux-gnu-gcc",
        kernel_packages: &["gcc"],
        guest_packages: &["gcc-i686-linux-gnu", "libc6-dev-i386-cross"],
        qemu: "qemu-system-i386",
        qemu_packages: &["qemu-system-x86"],
        machine: "q35",
        // What `max` is on 64 bits; on 32 it is an Athlon that the kernel warns of with two processors.
        cpu: Some("max,family=15,model=107,stepping=1"),
        kvm_hosts: &["x86", "x86_64"],
        console: "ttyS0",
        // A guest on a busy host must not doubt its timers: the check of the timer interrupt ends in a panic,
        // that of the clock in a guest without a clock for the vdso. KVM's guests skip both on their own.
        kernel_args: &["no_timer_check", "tsc=reliable"],
        virtio_bus: "pci",
        byte_order: ByteOrder::Little,
        word_size: 4,
        page_size: 4096,
        elf: Elf {
            machine: 3,
            bits: 32,
            byte_order: ByteOrder::Little,
        },
        uname: "i686",
    },
    Row {
        arch: Arch::X86_64,
        name: "x86_64",
        kernel_arch: "x86_64",
        cross_compile: "",
        make_target: "bzImage",
        image: "arch/x86/boot/bzImage",
        fragments: &["common.config", "x86_64.config"],
        debug_fragments: &["debug.x86_64.config"],
        rust_target: "x86_64-unknown-linux-gnu",
        guest_cc: "gcc",
        kernel_packages: &["gcc"],
        guest_packages: &["gcc", "libc6-dev"],
        qemu: "qemu-system-x86_64",
        qemu_packages: &["qemu-system-x86"],
        machine: "q35",
        cpu: Some("max"),
        kvm_hosts: &["x86_64"],
        console: "ttyS0",
        // A guest on a busy host must not doubt its timers: the check of the timer interrupt ends in a panic,
        // that of the clock in a guest without a clock for the vdso. KVM's guests skip both on their own.
        kernel_args: &["no_timer_check", "tsc=reliable"],
        virtio_bus: "pci",
        byte_order: ByteOrder::Little,
        word_size: 8,
        page_size: 4096,
        elf: Elf {
            machine: 62,
            bits: 64,
            byte_order: ByteOrder::Little,
        },
        uname: "x86_64",
    },
    Row {
        arch: Arch::S390x,
        name: "s390x",
        kernel_arch: "s390",
        cross_compile: "s390x-linux-gnu-",
        make_target: "bzImage",
        image: "arch/s390/boot/bzImage",
        fragments: &["common.config", "s390x.config"],
        debug_fragments: &["debug.s390x.config"],
        rust_target: "s390x-unknown-linux-gnu",
        guest_cc: "s390x-linux-gnu-gcc",
        kernel_packages: &["gcc-s390x-linux-gnu"],
        guest_packages: &["gcc-s390x-linux-gnu", "libc6-dev-s390x-cross"],
        qemu: "qemu-system-s390x",
        qemu_packages: &["qemu-system-s390x", "qemu-system-misc"],
        machine: "s390-ccw-virtio",
        cpu: Some("max"),
        kvm_hosts: &["s390x"],
        console: "ttysclp0",
        kernel_args: &[],
        virtio_bus: "ccw",
        byte_order: ByteOrder::Big,
        word_size: 8,
        page_size: 4096,
        elf: Elf {
            machine: 22,
            bits: 64,
            byte_order: ByteOrder::Big,
        },
        uname: "s390x",
    },
    Row {
        arch: Arch::Ppc64,
        name: "ppc64",
        kernel_arch: "powerpc",
        cross_compile: "powerpc64-linux-gnu-",
        make_target: "vmlinux",
        image: "vmlinux",
        fragments: &["common.config", "ppc64.config"],
        debug_fragments: &["debug.ppc64.config"],
        rust_target: "powerpc64-unknown-linux-gnu",
        guest_cc: "powerpc64-linux-gnu-gcc",
        kernel_packages: &["gcc-powerpc64-linux-gnu"],
        guest_packages: &["gcc-powerpc64-linux-gnu", "libc6-dev-ppc64-cross"],
        qemu: "qemu-system-ppc64",
        qemu_packages: &["qemu-system-ppc"],
        // The firmware of `x-vof` is QEMU's own; TCG has none of the mitigations that the machine asks for.
        machine: "pseries,x-vof=on,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off",
        cpu: Some("power9"),
        kvm_hosts: &["powerpc64"],
        console: "hvc0",
        kernel_args: &[],
        virtio_bus: "pci",
        byte_order: ByteOrder::Big,
        word_size: 8,
        page_size: 4096,
        elf: Elf {
            machine: 21,
            bits: 64,
            byte_order: ByteOrder::Big,
        },
        uname: "ppc64",
    },
];

impl Arch {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 4] = [Self::X86_32, Self::X86_64, Self::S390x, Self::Ppc64];

    /// Its facts.
    pub fn row(self) -> &'static Row {
        // The table is in the order of the variants; a test holds them together.
        &ROWS[self as usize]
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.row().name
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no architecture has.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no architecture is called {0:?}: there are x86_32, x86_64, s390x and ppc64")]
pub struct UnknownArch(pub String);

impl FromStr for Arch {
    type Err = UnknownArch;

    fn from_str(name: &str) -> Result<Self, UnknownArch> {
        Self::ALL
            .into_iter()
            .find(|arch| arch.name() == name)
            .ok_or_else(|| UnknownArch(name.to_owned()))
    }
}

impl TryFrom<String> for Arch {
    type Error = UnknownArch;

    fn try_from(name: String) -> Result<Self, UnknownArch> {
        name.parse()
    }
}

impl From<Arch> for String {
    fn from(arch: Arch) -> Self {
        arch.name().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_at_its_place_and_found_by_its_name() {
        for arch in Arch::ALL {
            let row = arch.row();
            assert_eq!((row.arch, row.elf.byte_order), (arch, row.byte_order));
            assert_eq!(row.name.parse(), Ok(arch));
            assert_eq!(u32::from(row.word_size) * 8, u32::from(row.elf.bits));
        }
        assert!("amd64".parse::<Arch>().is_err());
    }
}
