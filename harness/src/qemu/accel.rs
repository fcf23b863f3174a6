//! KVM where it works, found out by booting a guest; TCG elsewhere.
//!
//! `/dev/kvm` may exist, open and create machines, and their guests still never print a line: seen on nested hosts, where firmware runs and
//! a kernel does not. So the only evidence that counts is an agent's answer. It is remembered for the host.

use std::fmt;
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::GuestError;
use super::spec::GuestSpec;
use super::template::boot;
use crate::arch::Arch;
use crate::process::Cancel;
use crate::store::{Key, KeyBuilder, Store};

/// Longest time to the first answer of a guest under KVM. TCG needs 1 to 3 s, and KVM is there to be faster.
const PROBE_TIME: Duration = Duration::from_secs(8);

/// The device through which KVM is used.
const DEVICE: &str = "/dev/kvm";

/// How a guest's instructions are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// QEMU translates them.
    Tcg,
    /// The processor does.
    Kvm,
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
        })
    }
}

/// What was chosen, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// What guests run with.
    pub accel: Accel,
    /// A sentence for `doctor`.
    pub reason: String,
}

impl Choice {
    fn tcg(reason: impl Into<String>) -> Self {
        Self {
            accel: Accel::Tcg,
            reason: reason.into(),
        }
    }
}

/// What is known without booting a guest; `None` if only a boot can tell.
pub fn known(store: &Store, arch: Arch, qemu_version: &str) -> Option<Choice> {
    impossible(arch, std::env::consts::ARCH, Path::new(DEVICE))
        .or_else(|| serde_json::from_str(&store.note(&note(arch, qemu_version))?).ok())
}

/// What the guests of this kind should run with: what is known, or what a boot with each shows.
///
/// `console` is a file that the probe's guests may write to.
pub fn choose(
    store: &Store,
    spec: &GuestSpec,
    console: &Path,
    cancel: &Cancel,
) -> Result<Choice, GuestError> {
    if let Some(choice) = known(store, spec.arch, &spec.qemu_version) {
        return Ok(choice);
    }
    let with = |accel, time: Duration| {
        let spec = GuestSpec {
            accel,
            boot_time: time.min(spec.boot_time),
            ..spec.clone()
        };
        boot(&spec, console, cancel)
    };
    let choice = match with(Accel::Kvm, PROBE_TIME) {
        Ok(_) => Choice {
            accel: Accel::Kvm,
            reason: format!("a {} guest boots under KVM", spec.arch),
        },
        Err(GuestError::Cancelled) => return Err(GuestError::Cancelled),
        Err(error) => {
            let choice = Choice::tcg(format!(
                "{DEVICE} is there, but a {} guest does not boot with it: {}",
                spec.arch,
                summary(&error)
            ));
            // A kernel that boots with neither says nothing about KVM.
            match with(Accel::Tcg, spec.boot_time) {
                Ok(_) => choice,
                Err(GuestError::Cancelled) => return Err(GuestError::Cancelled),
                Err(_) => return Ok(choice),
            }
        }
    };
    let text = serde_json::to_string(&choice).map_err(|error| GuestError::File {
        what: "note how KVM works".to_owned(),
        source: error.into(),
    })?;
    store.set_note(&note(spec.arch, &spec.qemu_version), &text)?;
    Ok(choice)
}

/// Why KVM is out of the question, if it is.
fn impossible(arch: Arch, host: &str, device: &Path) -> Option<Choice> {
    if !arch.row().kvm_hosts.contains(&host) {
        return Some(Choice::tcg(format!(
            "KVM of this {host} host cannot run {arch}"
        )));
    }
    let opened = File::options().read(true).write(true).open(device);
    let error = opened.err()?;
    let device = device.display();
    Some(Choice::tcg(match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no {device}"),
        std::io::ErrorKind::PermissionDenied => {
            format!("{device} may not be opened: `sudo adduser $USER kvm`, then log in again")
        }
        _ => format!("{device} cannot be opened: {error}"),
    }))
}

/// An error without the command and the console.
fn summary(error: &GuestError) -> String {
    match error {
        GuestError::TimedOut { after, console, .. } => {
            let said = match console.lines.last() {
                None => "it never printed a line".to_owned(),
                Some(line) => format!("its last line was {line:?}"),
            };
            format!("no answer for {:.0} s, {said}", after.as_secs_f64())
        }
        GuestError::Died { status, errors, .. } => format!(
            "QEMU ended ({status}){}",
            errors.lines().map(str::trim).collect::<Vec<_>>().join(" ")
        ),
        other => other
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned(),
    }
}

/// The processor's name: what a guest may have learned of its host.
pub(super) fn host_cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    // x86 says `model name`, powerpc `cpu`, s390 `vendor_id` and `processor 0`.
    let names = ["model name", "cpu", "vendor_id", "processor 0"];
    let model = names.into_iter().find_map(|name| {
        info.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(field, _)| field.trim() == name)
            .map(|(_, value)| value.trim().to_owned())
    });
    format!("{} {}", std::env::consts::ARCH, model.unwrap_or_default())
}

/// Under which name the answer is remembered: one for each architecture, processor, host kernel and QEMU.
fn note(arch: Arch, qemu_version: &str) -> String {
    let release = rustix::system::uname();
    let key: Key = KeyBuilder::new("kvm")
        .text("arch", arch.name())
        .text("cpu", &host_cpu())
        .text("kernel", &release.release().to_string_lossy())
        .text("qemu", qemu_version)
        .finish();
    format!("kvm-{arch}-{}", key.short())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::ConsoleTail;

    #[test]
    fn what_cannot_be_is_not_tried() {
        let check = |arch, host, device: &str, wanted: Option<&str>| {
            let choice = impossible(arch, host, Path::new(device));
            assert_eq!(choice.map(|choice| choice.reason).as_deref(), wanted);
        };
        let there = "/dev/null";
        check(Arch::X86_32, "x86_64", there, None);
        check(Arch::S390x, "s390x", there, None);
        check(
            Arch::S390x,
            "x86_64",
            there,
            Some("KVM of this x86_64 host cannot run s390x"),
        );
        check(
            Arch::X86_64,
            "x86_64",
            "/no/kvm",
            Some("there is no /no/kvm"),
        );
    }

    #[test]
    fn the_reason_is_one_line() {
        let console = ConsoleTail::read(Path::new("/no/console"));
        let error = GuestError::TimedOut {
            phase: "boot",
            after: Duration::from_secs(8),
            console,
        };
        assert_eq!(
            summary(&error),
            "no answer for 8 s, it never printed a line"
        );
    }
}
