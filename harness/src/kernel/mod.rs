//! Kernels, from source to artifact.
//!
//! A kernel is made from a source, the patches of `kernels/patches/6.12`, the overlay `kernels/checkpoint`
//! and configuration fragments, in a private tree that persists, and kept in the store under a key of all of these.

mod changed;
mod config;
mod error;
mod make;
mod source;
pub mod symbols;
mod tools;
mod tree;

use std::fmt;
use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::arch::{Arch, Row};
use crate::build::{BuildContext, OnProgress, Progress};
use crate::store::{Artifact, Key, KeyBuilder, Store, StoreError, walk};
pub use changed::{Changes, build_changed, key_changed};
use config::Fragment;
pub use config::Unmet;
pub use error::{Hunk, KernelError};
use make::Make;
pub use source::{PACKAGE, Source};
use tools::Tools;
use tree::{Overlay, Tree};

/// The kernel that the patches are for, and their folder.
const VERSION: &str = "6.12";

/// A kernel configuration on top of the architecture's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavor {
    /// As quick as it gets.
    Fast,
    /// With lockdep and other checks.
    Debug,
}

impl Flavor {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Debug => "debug",
        }
    }

    /// Whether its kernels have the patch of that name: those of one flavor lie in a folder of its name.
    fn has(self, patch: &Path) -> bool {
        let mut folders = patch.parent().into_iter().flat_map(Path::iter);
        folders.all(|folder| folder == self.name())
    }

    /// How many times longer than a `fast` kernel it may take for anything.
    pub fn patience(self) -> u32 {
        match self {
            Self::Fast => 1,
            Self::Debug => 4,
        }
    }

    /// One of how many allocations a case with `faults` fails unless it is told otherwise. All of them take a `debug` guest a quarter of an hour, and a `fast` one fails each.
    pub(crate) fn fault_stride(self) -> NonZeroU32 {
        match self {
            Self::Fast => NonZeroU32::MIN,
            Self::Debug => NonZeroU32::MIN.saturating_add(6),
        }
    }

    /// Its configuration fragments below `kernels/configs`, on top of the architecture's.
    fn fragments(self, row: &Row) -> Vec<&'static str> {
        match self {
            Self::Fast => Vec::new(),
            Self::Debug => [&["debug.config"], row.debug_fragments].concat(),
        }
    }
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no flavor has.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no flavor is called {0:?}: there are fast and debug")]
pub struct UnknownFlavor(pub String);

impl FromStr for Flavor {
    type Err = UnknownFlavor;

    fn from_str(name: &str) -> Result<Self, UnknownFlavor> {
        [Self::Fast, Self::Debug]
            .into_iter()
            .find(|flavor| flavor.name() == name)
            .ok_or_else(|| UnknownFlavor(name.to_owned()))
    }
}

/// A kernel in the store.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its architecture.
    pub arch: Arch,
    /// Its flavor.
    pub flavor: Flavor,
    /// What QEMU boots.
    pub image: PathBuf,
    /// The ELF file; with debug information only if the flavor has it. `System.map` and `config` lie beside it.
    pub vmlinux: PathBuf,
    /// What it was made from.
    pub key: Key,
    /// Was it built just now?
    pub built: bool,
    /// How long that took, or to find it.
    pub time: Duration,
}

/// Everything that a kernel is made from, read at one moment: an edit during the build belongs to the next one.
struct Inputs {
    arch: Arch,
    flavor: Flavor,
    source: source::Found,
    /// Paths in the checkout, and contents, in the order of their numbers.
    patches: Vec<(PathBuf, Vec<u8>)>,
    patches_key: Key,
    overlay: Overlay,
    fragments: Vec<Fragment>,
    /// The compiler's name and version.
    compiler: String,
}

/// The kernel of an architecture and a flavor: from the store, or built.
pub fn build(
    ctx: &BuildContext,
    arch: Arch,
    flavor: Flavor,
    source: &Source,
    progress: OnProgress<'_>,
) -> Result<Kernel, KernelError> {
    build_with(ctx, &Tools::system(), arch, flavor, source, progress)
}

/// What [`build`] would make its kernel from. Takes some milliseconds where the source was seen before.
pub fn key(
    ctx: &BuildContext,
    arch: Arch,
    flavor: Flavor,
    source: &Source,
    progress: OnProgress<'_>,
) -> Result<Key, KernelError> {
    let inputs = Inputs::read(ctx, &Tools::system(), arch, flavor, source, progress)?;
    Ok(inputs.key())
}

/// A kernel of before, if the store still has it.
pub fn stored(
    store: &Store,
    arch: Arch,
    flavor: Flavor,
    key: &Key,
) -> Result<Option<Kernel>, StoreError> {
    let start = Instant::now();
    let artifact = store.get("kernel", key)?;
    Ok(artifact.map(|artifact| Kernel::of(arch, flavor, artifact, start)))
}

fn build_with(
    ctx: &BuildContext,
    tools: &Tools,
    arch: Arch,
    flavor: Flavor,
    source: &Source,
    progress: OnProgress<'_>,
) -> Result<Kernel, KernelError> {
    let start = Instant::now();
    let inputs = Inputs::read(ctx, tools, arch, flavor, source, progress)?;
    let artifact =
        ctx.store
            .get_or_build("kernel", &inputs.key(), |out| -> Result<(), KernelError> {
                inputs.make(ctx, tools, source, out, progress)
            })?;
    Ok(Kernel::of(arch, flavor, artifact, start))
}

impl Kernel {
    /// How far from the addresses of `vmlinux` it runs; 0 if its configuration cannot be read.
    ///
    /// s390 maps itself to `CONFIG_KERNEL_IMAGE_BASE` and is linked for 0 (`arch/s390/boot/startup.c`); no other architecture has the symbol.
    pub fn offset(&self) -> u64 {
        let config = fs::read_to_string(self.vmlinux.with_file_name("config")).unwrap_or_default();
        offset_in(&config)
    }

    fn of(arch: Arch, flavor: Flavor, artifact: Artifact, start: Instant) -> Self {
        let Artifact { dir, key, built } = artifact;
        Self {
            arch,
            flavor,
            image: dir.join("image"),
            vmlinux: dir.join("vmlinux"),
            key,
            built,
            time: start.elapsed(),
        }
    }
}

fn offset_in(config: &str) -> u64 {
    let mut lines = config.lines();
    let base = lines.find_map(|line| line.strip_prefix("CONFIG_KERNEL_IMAGE_BASE=0x"));
    base.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok())
        .unwrap_or(0)
}

/// Copy what is of use out of a kernel tree.
fn collect(arch: Arch, tree: &Path, out: &Path) -> Result<(), StoreError> {
    let files = [
        (arch.row().image, "image"),
        ("vmlinux", "vmlinux"),
        (".config", "config"),
        ("System.map", "System.map"),
    ];
    for (from, to) in files {
        let from = tree.join(from);
        fs::copy(&from, out.join(to)).map_err(|error| StoreError::file(&from, "keep", error))?;
    }
    Ok(())
}

impl Inputs {
    /// Build what of the kernel is not built yet, and copy what is of use to `out`.
    fn make(
        &self,
        ctx: &BuildContext,
        tools: &Tools,
        source: &Source,
        out: &Path,
        progress: OnProgress<'_>,
    ) -> Result<(), KernelError> {
        let Self { arch, flavor, .. } = self;
        progress(Progress::Started {
            what: format!("kernel {arch} {flavor}"),
        });
        let name = format!("kernel-{arch}-{flavor}-{}", self.source.place);
        let work = ctx.store.work_dir(&name)?;
        let mut tree = Tree::open(ctx, tools, work.path(), self, progress)?;
        // The tree was copied over seconds; did it hold still?
        if source::find(ctx, tools, source, progress)?.key != self.source.key {
            return Err(KernelError::Source {
                path: tree.path(),
                why: "was copied from a tree that changed meanwhile: run again",
            });
        }
        let make = Make {
            ctx,
            tools,
            inputs: self,
            progress,
        };
        make.run(&mut tree)?;
        Ok(collect(*arch, &tree.path(), out)?)
    }

    fn read(
        ctx: &BuildContext,
        tools: &Tools,
        arch: Arch,
        flavor: Flavor,
        source: &Source,
        progress: OnProgress<'_>,
    ) -> Result<Self, KernelError> {
        let row = arch.row();
        let fragments = row.fragments.iter().copied().chain(flavor.fragments(row));
        let fragments = fragments.map(|name| -> Result<_, StoreError> {
            let file = format!("kernels/configs/{name}");
            let text = String::from_utf8_lossy(&read(&ctx.repo.join(&file))?).into_owned();
            Ok(Fragment { file, text })
        });
        let folder = Path::new("kernels/patches").join(VERSION);
        let patches: Vec<_> = read_all(&ctx.repo.join(&folder))?
            .into_iter()
            .filter(|(name, _)| {
                name.extension().is_some_and(|it| it == "patch") && flavor.has(name)
            })
            .map(|(name, bytes)| (folder.join(name), bytes))
            .collect();
        let mut patches_key = KeyBuilder::new("patches");
        for (_, bytes) in &patches {
            patches_key = patches_key.bytes("patch", bytes);
        }
        Ok(Self {
            arch,
            flavor,
            source: source::find(ctx, tools, source, progress)?,
            patches_key: patches_key.finish(),
            patches,
            overlay: read_all(&ctx.repo.join("kernels/checkpoint"))?,
            fragments: fragments.collect::<Result<_, _>>()?,
            compiler: compiler(arch)?,
        })
    }

    fn key(&self) -> Key {
        // A new field is a question: does a kernel depend on it?
        let Self {
            arch,
            flavor,
            source,
            patches: _,
            patches_key,
            overlay,
            fragments,
            compiler,
        } = self;
        let mut key = KeyBuilder::new("kernel")
            .text("arch", arch.name())
            .text("flavor", flavor.name())
            .text("source", source.key.as_str())
            .text("patches", patches_key.as_str())
            .text("compiler", compiler);
        for (file, bytes) in overlay {
            key = key.bytes(&file.to_string_lossy(), bytes);
        }
        for fragment in fragments {
            key = key.text("fragment", &fragment.text);
        }
        key.finish()
    }
}

/// The compiler's name and version, as it says them.
fn compiler(arch: Arch) -> Result<String, KernelError> {
    let row = arch.row();
    let compiler = format!("{}gcc", row.cross_compile);
    let version = tools::read(&[&compiler, "--version"], Path::new("/"));
    let version = version.map_err(|_| KernelError::NoCompiler {
        arch,
        compiler,
        packages: row.kernel_packages.join(" "),
    })?;
    let version = String::from_utf8_lossy(&version);
    Ok(version.lines().next().unwrap_or_default().to_owned())
}

fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    fs::read(path).map_err(|error| StoreError::file(path, "read", error))
}

/// Contents of every file below a folder, by relative path.
fn read_all(root: &Path) -> Result<Overlay, StoreError> {
    walk(root)?
        .into_iter()
        .map(|name| Ok((name.clone(), read(&root.join(name))?)))
        .collect()
}

#[cfg(test)]
mod tests;
