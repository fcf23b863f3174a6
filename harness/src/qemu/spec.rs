//! What makes one guest differ from another.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crossthaw_protocol::COUNTED_CACHES;

use super::accel::{self, Accel};
use super::error::GuestError;
use crate::arch::{Arch, Row};
use crate::build::BuildContext;
use crate::guest::GuestImage;
use crate::kernel::{Flavor, Kernel};
use crate::store::Key;

/// Memory of a guest, in MiB.
///
/// The widest case has 64 MiB dirty, in the process and in two images of it, which lie in a tmpfs; kernel and programs take about 40 MiB.
/// A clone costs what it touches, so the number decides what fits and hardly what is used; beyond it grows the kernel's own table of pages.
pub const MEMORY_MIB: u32 = 256;

/// The same of a `debug` guest, whose kernel keeps records of every lock, page and slab object.
///
/// KASAN alone takes an eighth of it, and keeps freed memory from being used again.
pub const DEBUG_MEMORY_MIB: u32 = 512;

/// Memory of a guest of this flavor, in MiB.
pub fn memory_mib(flavor: Flavor) -> u32 {
    match flavor {
        Flavor::Fast => MEMORY_MIB,
        Flavor::Debug => DEBUG_MEMORY_MIB,
    }
}

/// Kernel arguments of a flavor.
fn extra(flavor: Flavor, arch: Arch) -> Vec<String> {
    if flavor == Flavor::Fast {
        return Vec::new();
    }
    let mut extra = [
        // A hung task is told 20 to 30 s after it began to hang, and not only after twice 20 s.
        "sysctl.kernel.hung_task_check_interval_secs=5",
        // Objects that KFENCE gives out are in no cache, and trials compare how many each cache has;
        // KASAN and SLUB's own checks find what KFENCE finds.
        "kfence.sample_interval=0",
    ]
    .map(str::to_owned)
    .to_vec();
    // KASAN finds what red zones and poison find, and keeps traces: of SLUB's checks there are those that make it count each object,
    // and traces of the counted ones. For 32 bits there is no KASAN.
    if arch != Arch::X86_32 {
        let traced = COUNTED_CACHES.join(",");
        extra.push(format!("slab_debug=FU,{traced};F"));
    }
    extra
}

/// Processors of a guest.
///
/// Two is the smallest number with which the kernel code under test meets real concurrency: a restart whose members run beside their
/// coordinator, a freezer that must reach another processor. More would only share the host's.
pub const CPUS: u32 = 2;

/// From QEMU's start to the agent's first answer at most, where nothing was saved to start from.
///
/// A `fast` kernel takes 1 to 3 s under TCG; a `debug` one takes ten times as long, and gets this times its patience.
pub const BOOT_TIME: Duration = Duration::from_secs(90);

/// Everything that a guest is made of.
#[derive(Clone, Debug)]
pub struct GuestSpec {
    /// The architecture.
    pub arch: Arch,
    /// The kernel's image.
    pub kernel: PathBuf,
    /// The guest image.
    pub initramfs: PathBuf,
    /// What the kernel was made from.
    pub kernel_key: Key,
    /// What the guest image was made from.
    pub guest_key: Key,
    /// Memory, in MiB: [`MEMORY_MIB`].
    pub memory_mib: u32,
    /// Processors: [`CPUS`].
    pub cpus: u32,
    /// How its instructions are carried out.
    pub accel: Accel,
    /// The program that emulates it.
    pub qemu: PathBuf,
    /// What that program says of its version: see [`qemu_version`].
    pub qemu_version: String,
    /// Further kernel arguments.
    pub extra: Vec<String>,
    /// Longest time from start to first answer of a guest that boots: [`BOOT_TIME`].
    pub boot_time: Duration,
}

impl GuestSpec {
    /// A guest of this kernel and this image, as trials want it, under TCG; [`super::accel::choose`] says whether KVM is possible.
    pub fn new(kernel: &Kernel, image: &GuestImage, qemu: &Path) -> Result<Self, GuestError> {
        Ok(Self {
            arch: kernel.arch,
            kernel: kernel.image.clone(),
            initramfs: image.initramfs.clone(),
            kernel_key: kernel.key.clone(),
            guest_key: image.key.clone(),
            memory_mib: memory_mib(kernel.flavor),
            cpus: CPUS,
            accel: Accel::Tcg,
            qemu: qemu.to_owned(),
            qemu_version: qemu_version(qemu)?,
            extra: extra(kernel.flavor, kernel.arch),
            boot_time: BOOT_TIME * kernel.flavor.patience(),
        })
    }

    /// The same, run with what works on this machine.
    pub fn for_host(
        ctx: &BuildContext,
        kernel: &Kernel,
        image: &GuestImage,
    ) -> Result<Self, GuestError> {
        let mut spec = Self::new(kernel, image, Path::new(kernel.arch.row().qemu))?;
        let scratch = tempfile::tempdir().map_err(|source| GuestError::File {
            what: "make a folder for a console".to_owned(),
            source,
        })?;
        let console = scratch.path().join("console");
        spec.accel = accel::choose(&ctx.store, &spec, &console, &ctx.cancel)?.accel;
        Ok(spec)
    }

    /// The architecture's facts.
    pub fn row(&self) -> &'static Row {
        self.arch.row()
    }
}

/// The first line of `QEMU --version`.
pub fn qemu_version(qemu: &Path) -> Result<String, GuestError> {
    let failed = |source| GuestError::Spawn {
        command: format!("{} --version", qemu.display()),
        source,
    };
    let output = Command::new(qemu)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().next() {
        Some(line) if output.status.success() => Ok(line.trim().to_owned()),
        _ => {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(failed(std::io::Error::other(format!(
                "{}: {errors}",
                output.status
            ))))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::KeyBuilder;

    /// A guest of files that are not there.
    pub(in crate::qemu) fn spec(arch: Arch) -> GuestSpec {
        GuestSpec {
            arch,
            kernel: "/k/image".into(),
            initramfs: "/g/initramfs".into(),
            kernel_key: KeyBuilder::new("kernel").finish(),
            guest_key: KeyBuilder::new("guest").finish(),
            memory_mib: MEMORY_MIB,
            cpus: CPUS,
            accel: Accel::Tcg,
            qemu: arch.row().qemu.into(),
            qemu_version: "QEMU emulator version 7.2".to_owned(),
            extra: Vec::new(),
            boot_time: BOOT_TIME,
        }
    }

    #[test]
    fn the_version_is_the_first_line() {
        // Every `--version` of coreutils has more than one line.
        let version = qemu_version(Path::new("true")).unwrap_or_default();
        assert!(
            version.is_empty() || version.starts_with("true"),
            "{version}"
        );
        let error = qemu_version(Path::new("/no/qemu")).unwrap_err();
        assert_eq!(error.to_string(), "cannot start /no/qemu --version");
    }
}
