//! The guest image: our programs for one architecture, built static, in an initramfs.

mod cargo;
pub(crate) mod elf;
mod initramfs;
mod target;
pub mod toolchain;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::arch::{Arch, Row};
use crate::build::{BuildContext, OnProgress, Progress};
use crate::process::ProcessError;
use crate::store::{Key, KeyBuilder, Store, StoreError, disk_is_full};
pub use elf::ElfError;
use initramfs::Initramfs;
use toolchain::{Compilers, NoToolchain, Toolchain, scrubbed};

/// Kind of the artifact in the store.
const KIND: &str = "guest";
/// Raised when images are made in another way, so that those of before are not taken.
const FORM: &str = "2";

/// The file in the artifact.
const FILE: &str = "initramfs.cpio.gz";

/// The workspace's members that run in guests.
const PACKAGES: &[&str] = &["crossthaw-init", "crossthaw-tools", "crossthaw-workloads"];

/// The profile that they are built with.
const PROFILE: &str = "guest";

/// Each program's name and its path in the guest.
const PROGRAMS: &[(&str, &str)] = &[
    ("init", "init"),
    ("checkpoint", "bin/checkpoint"),
    ("restart", "bin/restart"),
    ("self-checkpoint", "bin/self-checkpoint"),
    ("nsexec", "bin/nsexec"),
    ("workloads", "bin/workloads"),
];

/// What a guest boots beside its kernel.
#[derive(Clone, Debug)]
pub struct GuestImage {
    /// The architecture.
    pub arch: Arch,
    /// The gzipped newc archive.
    pub initramfs: PathBuf,
    /// What it was made from.
    pub key: Key,
    /// Was it built just now?
    pub built: bool,
    /// How long that took.
    pub time: Duration,
}

/// Why there is no guest image.
#[derive(Debug, thiserror::Error)]
pub enum GuestBuildError {
    /// No Rust compiler for the target.
    #[error(transparent)]
    NoToolchain(#[from] NoToolchain),
    /// No linker for the target.
    #[error("cannot run {cc}, which links the guest programs for {arch}: install {packages}")]
    NoLinker {
        /// The program.
        cc: &'static str,
        /// The architecture.
        arch: Arch,
        /// The Debian packages that have it.
        packages: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The linker has no static C library.
    #[error(
        "{cc} finds no libc.a, which the static guest programs for {arch} need: install {packages}"
    )]
    NoLibc {
        /// The linker.
        cc: &'static str,
        /// The architecture.
        arch: Arch,
        /// The Debian packages that have it.
        packages: String,
    },
    /// cargo said no.
    #[error("cannot build the guest programs for {arch}:\n  {error}\nthe whole log: {}", .log.display())]
    Compile {
        /// The architecture.
        arch: Arch,
        /// The first error.
        error: String,
        /// All that cargo and rustc said.
        log: PathBuf,
    },
    /// A program that the guest could not run.
    #[error("the initramfs for {arch} cannot be made")]
    WrongElf {
        /// The architecture.
        arch: Arch,
        /// Which program, and what is wrong with it.
        #[source]
        source: ElfError,
    },
    /// cargo could not be started, or the run was cancelled.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file could not be read or written.
    #[error("cannot use {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What an architecture's guest image is made from. Takes some milliseconds, and a tenth of a second the first time.
fn key_with(ctx: &BuildContext, arch: Arch, toolchain: &Toolchain) -> Result<Key, GuestBuildError> {
    let key = KeyBuilder::new(KIND)
        .text("form", FORM)
        .text("arch", arch.name())
        .text("layout", initramfs::LAYOUT)
        .text("compiler", &toolchain.compiler.version)
        .text("std", &format!("{:?}", toolchain.std))
        .text("flags", &cargo::RUSTFLAGS.join(" "))
        .tree("guests", &ctx.repo.join("guests"))?
        .file("manifest", &ctx.repo.join("Cargo.toml"))?
        .file("lock", &ctx.repo.join("Cargo.lock"))?;
    Ok(key.finish())
}

/// What [`build`] would make its image from.
pub fn key(ctx: &BuildContext, arch: Arch) -> Result<Key, GuestBuildError> {
    key_with(ctx, arch, &Compilers::known().choose(arch)?)
}

/// A guest image of before, if the store still has it.
pub fn stored(store: &Store, arch: Arch, key: &Key) -> Result<Option<GuestImage>, StoreError> {
    let start = Instant::now();
    let artifact = store.get(KIND, key)?;
    Ok(artifact.map(|artifact| GuestImage {
        arch,
        initramfs: artifact.dir.join(FILE),
        key: artifact.key,
        built: false,
        time: start.elapsed(),
    }))
}

/// The guest image of this architecture, from the store or built now.
pub fn build(
    ctx: &BuildContext,
    arch: Arch,
    progress: OnProgress<'_>,
) -> Result<GuestImage, GuestBuildError> {
    let start = Instant::now();
    let toolchain = Compilers::known().choose(arch)?;
    let key = key_with(ctx, arch, &toolchain)?;
    let artifact = ctx.store.get_or_build(KIND, &key, |dir| {
        progress(Progress::Started {
            what: format!("guest {arch}"),
        });
        can_link(arch.row())?;
        let target = ctx
            .store
            .work_dir(&format!("guest-{}", arch.row().rust_target))?;
        target::claim(target.path(), &ctx.repo)?;
        let programs = cargo::build(ctx, arch, &toolchain, target.path(), progress)?;
        let mut initramfs = Initramfs::new(arch);
        for &(program, path) in PROGRAMS {
            let built = programs.join(program);
            let bytes = std::fs::read(&built).map_err(|error| file_error(&built, error))?;
            initramfs
                .program(path, bytes)
                .map_err(|source| GuestBuildError::WrongElf { arch, source })?;
        }
        let file = dir.join(FILE);
        File::create_new(&file)
            .and_then(|out| initramfs.write(out))
            .map_err(|error| file_error(&file, error))
    })?;
    Ok(GuestImage {
        arch,
        initramfs: artifact.dir.join(FILE),
        key: artifact.key,
        built: artifact.built,
        time: start.elapsed(),
    })
}

/// A full disk is the store's affair, whoever meets it.
fn file_error(path: &Path, source: io::Error) -> GuestBuildError {
    if disk_is_full(&source) {
        StoreError::file(path, "write", source).into()
    } else {
        GuestBuildError::File {
            path: path.to_owned(),
            source,
        }
    }
}

/// Is the linker there, with a static C library?
fn can_link(row: &Row) -> Result<(), GuestBuildError> {
    let (cc, arch) = (row.guest_cc, row.arch);
    let packages = row.guest_packages.join(" ");
    match finds_libc(cc) {
        Ok(true) => Ok(()),
        Ok(false) => Err(GuestBuildError::NoLibc { cc, arch, packages }),
        Err(source) => Err(GuestBuildError::NoLinker {
            cc,
            arch,
            packages,
            source,
        }),
    }
}

/// Does this C compiler find a static C library?
pub(crate) fn finds_libc(cc: &str) -> io::Result<bool> {
    // gcc prints the whole path of a file that it finds, and the bare name of one that it does not.
    let output = scrubbed(cc)
        .arg("-print-file-name=libc.a")
        .stderr(Stdio::null())
        .output()?;
    Ok(output.stdout.contains(&b'/'))
}
