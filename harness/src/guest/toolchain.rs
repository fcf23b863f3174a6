//! Which Rust compiler builds the guest programs of an architecture: one that has the target, or one that can build `std` for it.
//!
//! Never makes rustup download anything.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::arch::Arch;

/// The oldest compiler that builds this workspace.
const MINIMUM: &str = env!("CARGO_PKG_RUST_VERSION");

/// What `cargo xtask` sets, and what a user may have set for other builds; none of it is meant for the guest programs.
pub(super) const SCRUBBED: &[&str] = &[
    "CARGO",
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_INCREMENTAL",
    "CARGO_MAKEFLAGS",
    "CARGO_MANIFEST_DIR",
    "CARGO_TARGET_DIR",
    "CC",
    "CFLAGS",
    "HOST_CC",
    // cargo puts its own compiler's libraries into it, which another compiler must not load.
    "LD_LIBRARY_PATH",
    "MAKEFLAGS",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "TARGET_CC",
    "TARGET_CFLAGS",
];

/// The command, with an environment that is the same whoever calls.
pub(crate) fn scrubbed(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in SCRUBBED {
        command.env_remove(name);
    }
    command
        .env("LC_ALL", "C")
        .env("RUSTUP_AUTO_INSTALL", "0")
        .stdin(Stdio::null());
    command
}

/// How a target comes by its standard library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Std {
    /// It is installed beside the compiler.
    Installed,
    /// It is built from the compiler's own source, `-Z build-std`.
    Built,
}

/// A compiler on this machine, and what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// The program: a name to be found on `PATH`, or a path.
    pub rustc: &'static str,
    /// The cargo that belongs to it.
    pub cargo: &'static str,
    /// What `rustc -vV` says.
    pub version: String,
    /// Where its libraries are.
    pub sysroot: PathBuf,
    /// The architectures whose target is installed.
    pub targets: Vec<Arch>,
    /// Whether the source of the standard library is there.
    pub source: bool,
}

/// Why a compiler cannot be used at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// There is none.
    Absent,
    /// It does not work.
    Broken(String),
    /// Older than [`MINIMUM`]; what it is.
    Old(String),
}

/// Compiler and method for one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler.
    pub compiler: Compiler,
    /// How it gets the standard library.
    pub std: Std,
    /// Why not the one that would have been preferred; empty if it is that one.
    pub why: String,
}

/// No compiler can build for the target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no compiler builds for {target} ({why}): install Debian's rustc-web, cargo-web and rust-web-src, \
     or run `rustup target add {target}`"
)]
pub struct NoToolchain {
    /// The target.
    pub target: &'static str,
    /// What each compiler lacks.
    pub why: String,
}

impl Compiler {
    /// `1.96.0`.
    pub fn release(&self) -> &str {
        field(&self.version, "release: ")
    }

    /// Is it one of rustup's?
    fn rustup(&self) -> bool {
        self.sysroot
            .parent()
            .is_some_and(|dir| dir.ends_with("toolchains"))
    }

    fn lacks(&self, arch: Arch) -> String {
        format!("{self} has no {}", arch.row().rust_target)
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rustup() {
            write!(f, "rustup's {}", self.release())
        } else {
            write!(f, "{} {}", self.rustc, self.release())
        }
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.std {
            Std::Installed => write!(f, "{} has the target", self.compiler)?,
            Std::Built => write!(f, "{} builds std from source", self.compiler)?,
        }
        if !self.why.is_empty() {
            write!(f, ", because {}", self.why)?;
        }
        Ok(())
    }
}

/// The compilers that are looked at, the preferred first: program, cargo, result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compilers(pub Vec<(&'static str, Result<Compiler, Unusable>)>);

impl Compilers {
    /// Ask them, side by side; each takes a twentieth of a second. [`Compilers::known`] then says the same.
    pub fn detect() -> Self {
        // Debian's packages install there, hidden by rustup's on `PATH`.
        let candidates = [("rustc", "cargo"), ("/usr/bin/rustc", "/usr/bin/cargo")];
        let found = std::thread::scope(|scope| {
            let asked =
                candidates.map(|(rustc, cargo)| (rustc, scope.spawn(move || ask(rustc, cargo))));
            let broken = |_| {
                Err(Unusable::Broken(
                    "the thread that asked it panicked".to_owned(),
                ))
            };
            asked
                .map(|(rustc, thread)| (rustc, thread.join().unwrap_or_else(broken)))
                .to_vec()
        });
        let found = Self(found);
        *known().lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
        found
    }

    /// What [`Compilers::detect`] said last in this process.
    pub fn known() -> Self {
        let known = known()
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        known.unwrap_or_else(Self::detect)
    }

    /// The one for this architecture: an installed target rather than one to build, the preferred compiler rather than the other.
    pub fn choose(&self, arch: Arch) -> Result<Toolchain, NoToolchain> {
        let usable = || self.0.iter().filter_map(|(_, found)| found.as_ref().ok());
        let toolchain = |compiler: &Compiler, std, why| Toolchain {
            compiler: compiler.clone(),
            std,
            why,
        };
        let installed = |compiler: &&Compiler| compiler.targets.contains(&arch);
        if let Some(compiler) = usable().find(installed) {
            return Ok(toolchain(compiler, Std::Installed, String::new()));
        }
        // Debian's was tried; rustup's source is for the case that there is nothing else.
        let source = |compiler: &&Compiler| compiler.source;
        let system = usable().filter(source).find(|compiler| !compiler.rustup());
        match system.or_else(|| usable().find(source)) {
            Some(compiler) => {
                let why = self.why(arch, Some(compiler));
                Ok(toolchain(compiler, Std::Built, why))
            }
            None => Err(NoToolchain {
                target: arch.row().rust_target,
                why: self.why(arch, None),
            }),
        }
    }

    /// What each lacks that is not the chosen one.
    fn why(&self, arch: Arch, chosen: Option<&Compiler>) -> String {
        let mut all: Vec<_> = self
            .0
            .iter()
            .filter(|(_, found)| found.as_ref().ok() != chosen || chosen.is_none())
            .map(|(name, found)| match found {
                Ok(compiler) if compiler.source => compiler.lacks(arch),
                Ok(compiler) => format!("{} and no source of std", compiler.lacks(arch)),
                Err(Unusable::Absent) => format!("{name} is not there"),
                Err(Unusable::Broken(text)) => format!("{name} fails: {text}"),
                Err(Unusable::Old(release)) => format!("{name} is {release}, older than {MINIMUM}"),
            })
            .collect();
        all.dedup();
        all.join(", ")
    }
}

/// The compilers do not change while we run, unless we install one.
fn known() -> &'static Mutex<Option<Compilers>> {
    static KNOWN: Mutex<Option<Compilers>> = Mutex::new(None);
    &KNOWN
}

fn ask(rustc: &'static str, cargo: &'static str) -> Result<Compiler, Unusable> {
    let (version, sysroot) = std::thread::scope(|scope| {
        let version = scope.spawn(|| output(rustc, &["-vV"]));
        let sysroot = output(rustc, &["--print", "sysroot"]);
        (version.join(), sysroot)
    });
    let version = version.unwrap_or_else(|_| Err(Unusable::Broken("cannot ask it".to_owned())))?;
    let sysroot = PathBuf::from(sysroot?);
    if Path::new(cargo).is_absolute() && !Path::new(cargo).exists() {
        return Err(Unusable::Broken(format!("{cargo} is not there")));
    }
    let compiler = Compiler {
        rustc,
        cargo,
        targets: Arch::ALL
            .into_iter()
            .filter(|arch| has_std(&sysroot, arch.row().rust_target))
            .collect(),
        source: sysroot
            .join("lib/rustlib/src/rust/library/Cargo.lock")
            .exists(),
        version,
        sysroot,
    };
    let release = compiler.release();
    if numbers(release) < numbers(MINIMUM) {
        return Err(Unusable::Old(release.to_owned()));
    }
    Ok(compiler)
}

fn output(program: &str, arguments: &[&str]) -> Result<String, Unusable> {
    match scrubbed(program).args(arguments).output() {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr);
            let first = errors.lines().next().unwrap_or("it says nothing");
            Err(Unusable::Broken(first.to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Unusable::Absent),
        Err(error) => Err(Unusable::Broken(error.to_string())),
    }
}

/// A static program needs the archive: `libstd-HASH.rlib`.
fn has_std(sysroot: &Path, target: &str) -> bool {
    let libraries = sysroot.join("lib/rustlib").join(target).join("lib");
    std::fs::read_dir(libraries).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = Path::new(&name);
            name.extension()
                .is_some_and(|extension| extension == "rlib")
                && name.to_string_lossy().starts_with("libstd-")
        })
    })
}

fn field<'a>(text: &'a str, label: &str) -> &'a str {
    text.lines()
        .find_map(|line| line.strip_prefix(label))
        .unwrap_or("of unknown version")
}

/// Major and minor number; what is not a version is older than all.
fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests;
