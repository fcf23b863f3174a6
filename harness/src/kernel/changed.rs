//! Kernels of a c/r source that was changed on purpose, which the store never has.
//!
//! They are built in the work tree of the true kernel, so that only what the change concerns is compiled.
//! The tree's files are compared by content when it is used next, so the true source comes back by itself, also after a run that was killed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::tools::Tools;
use super::{Flavor, Inputs, Kernel, KernelError, Source};
use crate::arch::Arch;
use crate::build::{BuildContext, OnProgress};
use crate::store::Key;

/// Files of the overlay with other contents, by their path in the kernel tree.
pub type Changes = BTreeMap<PathBuf, Vec<u8>>;

/// The key that the kernel of the changed source has; it differs from the true kernel's where a change differs from the file.
pub fn key_changed(
    ctx: &BuildContext,
    arch: Arch,
    flavor: Flavor,
    source: &Source,
    changes: &Changes,
) -> Result<Key, KernelError> {
    let inputs = Inputs::read(ctx, &Tools::system(), arch, flavor, source, &|_| ())?;
    Ok(inputs.with(changes).key())
}

/// Build the kernel of the changed source into the empty folder `out`; nothing is published.
pub fn build_changed(
    ctx: &BuildContext,
    arch: Arch,
    flavor: Flavor,
    source: &Source,
    changes: &Changes,
    out: &Path,
    progress: OnProgress<'_>,
) -> Result<Kernel, KernelError> {
    let tools = Tools::system();
    build_changed_with(ctx, &tools, (arch, flavor), source, changes, out, progress)
}

pub(super) fn build_changed_with(
    ctx: &BuildContext,
    tools: &Tools,
    (arch, flavor): (Arch, Flavor),
    source: &Source,
    changes: &Changes,
    out: &Path,
    progress: OnProgress<'_>,
) -> Result<Kernel, KernelError> {
    let start = Instant::now();
    let inputs = Inputs::read(ctx, tools, arch, flavor, source, progress)?.with(changes);
    inputs.make(ctx, tools, source, out, progress)?;
    Ok(Kernel {
        arch,
        flavor,
        image: out.join("image"),
        vmlinux: out.join("vmlinux"),
        key: inputs.key(),
        built: true,
        time: start.elapsed(),
    })
}

impl Inputs {
    /// The same with other contents in some files of the overlay.
    fn with(mut self, changes: &Changes) -> Self {
        for (file, bytes) in changes {
            self.overlay.insert(file.clone(), bytes.clone());
        }
        self
    }
}
