//! What this machine must have for a job, what it lacks, and how to get it.
//!
//! What counts is what the job will use: a program on `PATH`, a header that the compiler finds, a compiler that has the target.
//! Packages only say how to get it, so that a machine of any distribution, or with tools of its own, is judged the same.

mod apt;
mod look;

use std::fmt;

use crate::arch::Arch;

pub use apt::{Plan, Policy, Version, parse_policy};
pub use look::{Host, disk_free, version};

/// A part of the work that needs something of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Build kernels.
    Kernel,
    /// Build the programs of the guests.
    Guest,
    /// Run guests.
    Qemu,
    /// Mount a folder of the host in guests.
    Share,
}

/// What is to be done, for which architectures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The architectures.
    pub archs: Vec<Arch>,
    /// The work.
    pub steps: Vec<Step>,
}

impl Needs {
    /// Everything that `test` does.
    pub fn test(archs: &[Arch]) -> Self {
        Self {
            archs: archs.to_vec(),
            steps: vec![Step::Kernel, Step::Guest, Step::Qemu],
        }
    }
}

/// By what the presence of something is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A program on `PATH`.
    Program(String),
    /// A header that the host's C compiler finds.
    Header(&'static str),
    /// A static C library that this compiler finds.
    StaticLibc(&'static str),
    /// A Rust compiler for the guests of this architecture.
    RustFor(Arch),
    /// A server of folders for virtio-fs.
    Virtiofsd,
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(name) => write!(f, "the program {name}"),
            Self::Header(name) => write!(f, "the header {name}"),
            Self::StaticLibc(cc) => write!(f, "a static C library (libc.a) for {cc}"),
            Self::RustFor(arch) => {
                let target = arch.row().rust_target;
                write!(
                    f,
                    "a Rust compiler with the target {target}, or with the source of std"
                )
            }
            Self::Virtiofsd => write!(f, "the program virtiofsd"),
        }
    }
}

/// Can the work be done without it?
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// No.
    Needed,
    /// Yes, but it is slower.
    Helpful,
}

/// One thing that the machine must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// How it is seen.
    pub sign: Sign,
    /// What wants it: `kernel s390x`.
    pub purpose: String,
    /// Is it a must?
    pub weight: Weight,
    /// Debian packages that bring it: one of each list, the first that the distribution has.
    pub packages: Vec<Vec<&'static str>>,
}

/// What every kernel build needs: how it is seen, and its package.
const KERNEL_PROGRAMS: &[(&str, &str)] = &[
    ("make", "make"),
    ("gcc", "gcc"),
    ("bc", "bc"),
    ("bison", "bison"),
    ("flex", "flex"),
    ("cpio", "cpio"),
    ("patch", "patch"),
    ("xz", "xz-utils"),
];

/// Headers that the kernel's own tools are compiled with, and their packages.
const KERNEL_HEADERS: &[(&str, &str)] = &[
    ("stdio.h", "libc6-dev"),
    ("gelf.h", "libelf-dev"),
    ("openssl/opensslv.h", "libssl-dev"),
];

/// Compiler, cargo and source of std as Debian packages them: an up-to-date one for stable releases first.
const RUST_PACKAGES: &[&[&str]] = &[
    &["rustc-web", "rustc"],
    &["cargo-web", "cargo"],
    &["rust-web-src", "rust-src"],
];

/// All that this work needs, each thing once, in the order in which it will be missed.
pub fn requirements(needs: &Needs) -> Vec<Requirement> {
    let mut all: Vec<Requirement> = Vec::new();
    for step in &needs.steps {
        if *step == Step::Kernel {
            let programs = KERNEL_PROGRAMS.iter();
            let programs =
                programs.map(|&(name, package)| (Sign::Program(name.to_owned()), package));
            let headers = KERNEL_HEADERS.iter();
            let headers = headers.map(|&(name, package)| (Sign::Header(name), package));
            all.extend(programs.chain(headers).map(|(sign, package)| Requirement {
                sign,
                purpose: "every kernel".to_owned(),
                weight: Weight::Needed,
                packages: vec![vec![package]],
            }));
            all.push(Requirement {
                sign: Sign::Program("ccache".to_owned()),
                purpose: "faster kernel builds".to_owned(),
                weight: Weight::Helpful,
                packages: vec![vec!["ccache"]],
            });
        }
        for &arch in &needs.archs {
            all.extend(of_architecture(*step, arch));
        }
    }
    let mut once: Vec<Requirement> = Vec::new();
    for requirement in all {
        if once.iter().all(|other| other.sign != requirement.sign) {
            once.push(requirement);
        }
    }
    once
}

fn of_architecture(step: Step, arch: Arch) -> Vec<Requirement> {
    let row = arch.row();
    let all_of = |packages: &[&'static str]| packages.iter().map(|&name| vec![name]).collect();
    let needed = |sign, what: &str, packages| Requirement {
        sign,
        purpose: format!("{what} {arch}"),
        weight: Weight::Needed,
        packages,
    };
    match step {
        Step::Kernel => {
            let compiler = format!("{}gcc", row.cross_compile);
            let packages = all_of(row.kernel_packages);
            vec![needed(Sign::Program(compiler), "kernel", packages)]
        }
        Step::Guest => {
            let rust = RUST_PACKAGES.iter().map(|names| names.to_vec()).collect();
            vec![
                needed(
                    Sign::Program(row.guest_cc.to_owned()),
                    "guest",
                    all_of(row.guest_packages),
                ),
                needed(
                    Sign::StaticLibc(row.guest_cc),
                    "guest",
                    all_of(row.guest_packages),
                ),
                needed(Sign::RustFor(arch), "guest", rust),
            ]
        }
        Step::Qemu => {
            let packages = vec![row.qemu_packages.to_vec()];
            vec![needed(
                Sign::Program(row.qemu.to_owned()),
                "running",
                packages,
            )]
        }
        // A big-endian guest gets 9p, which is in QEMU.
        Step::Share if row.byte_order == crate::arch::ByteOrder::Big => Vec::new(),
        Step::Share => {
            // Up to bookworm it was a part of QEMU.
            let packages = vec![vec!["virtiofsd", "qemu-system-common"]];
            vec![needed(Sign::Virtiofsd, "shared folders of", packages)]
        }
    }
}

#[cfg(test)]
mod tests;
