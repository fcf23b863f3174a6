//! What to tell apt, from what is missing and what it offers: pure functions.

use std::collections::{BTreeMap, BTreeSet};

use super::Requirement;
use crate::process::shell_line;

/// Programs built with QEMU that refuse the emulators of another version beside them.
///
/// Where it came from backports, apt has no solution for the emulators of the stable release: "you have held broken packages".
const QEMU_UTILS: &str = "qemu-utils";

/// The beginning of the emulators' package names.
const QEMU_SYSTEM: &str = "qemu-system-";

/// What `apt-cache policy` says of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// The version that is installed.
    pub installed: Option<String>,
    /// The version that would be installed.
    pub candidate: Option<String>,
    /// All versions on offer, and the installed one.
    pub versions: Vec<String>,
}

/// What apt knows, by package.
pub type Policy = BTreeMap<String, Version>;

/// Read the output of `apt-cache policy NAME...`, made in the locale C.
pub fn parse_policy(text: &str) -> Policy {
    let mut policy = Policy::new();
    let mut current = None;
    let value = |text: &str| (text != "(none)").then(|| text.to_owned());
    for line in text.lines() {
        if !line.starts_with(' ') {
            current = line.strip_suffix(':').map(str::to_owned);
            if let Some(name) = &current {
                policy.insert(name.clone(), Version::default());
            }
            continue;
        }
        let Some(version) = current.as_ref().and_then(|name| policy.get_mut(name)) else {
            continue;
        };
        if let Some(installed) = line.strip_prefix("  Installed: ") {
            version.installed = value(installed);
        } else if let Some(candidate) = line.strip_prefix("  Candidate: ") {
            version.candidate = value(candidate);
        } else if let Some(entry) = line.strip_prefix(" *** ").or(line.strip_prefix("     ")) {
            // A version and its priority; deeper lines are priorities and where it is from.
            if let Some((name, _)) = entry.split_once(' ').filter(|(name, _)| !name.is_empty()) {
                version.versions.push(name.to_owned());
            }
        }
    }
    policy
}

/// What to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What is missing.
    pub missing: Vec<Requirement>,
    /// Packages, sorted, with a version where it matters.
    pub packages: Vec<String>,
    /// Does a package go back to an older version?
    pub downgrade: bool,
    /// Needed packages that apt does not know.
    pub unknown: Vec<String>,
}

/// The packages that a plan for these depends on.
pub(super) fn policy_names(missing: &[Requirement]) -> BTreeSet<&'static str> {
    let names = missing.iter().flat_map(|requirement| &requirement.packages);
    names.flatten().copied().chain([QEMU_UTILS]).collect()
}

/// What to install for what is missing.
pub(super) fn plan(missing: Vec<Requirement>, policy: &Policy) -> Plan {
    let candidate = |name: &str| policy.get(name)?.candidate.as_deref();
    let mut packages = BTreeSet::new();
    let mut unknown = BTreeSet::new();
    for requirement in &missing {
        for names in &requirement.packages {
            match names.iter().find(|name| candidate(name).is_some()) {
                Some(&name) => packages.insert(name.to_owned()),
                None if requirement.weight == super::Weight::Needed => {
                    unknown.insert(names.join(" or "))
                }
                None => false,
            };
        }
    }
    let emulators = packages.iter().find(|name| name.starts_with(QEMU_SYSTEM));
    let pinned = emulators
        .and_then(|name| candidate(name))
        .and_then(|version| utils_at(policy, version));
    let downgrade = pinned.is_some();
    packages.extend(pinned);
    Plan {
        missing,
        packages: packages.into_iter().collect(),
        downgrade,
        unknown: unknown.into_iter().collect(),
    }
}

/// `qemu-utils` at the emulators' version, where it is installed at another.
fn utils_at(policy: &Policy, version: &str) -> Option<String> {
    let utils = policy.get(QEMU_UTILS)?;
    let other = utils.installed.as_ref()? != version;
    (other && utils.versions.iter().any(|known| known == version))
        .then(|| format!("{QEMU_UTILS}={version}"))
}

impl Plan {
    /// The command that installs it all, to be run as root.
    pub fn install(&self) -> Vec<String> {
        let mut argv: Vec<String> = ["apt-get", "install", "--yes", "--no-install-recommends"]
            .map(str::to_owned)
            .to_vec();
        if self.downgrade {
            argv.push("--allow-downgrades".to_owned());
        }
        argv.extend(self.packages.iter().cloned());
        argv
    }

    /// The same as one line for a shell, with fresh lists first if they are `stale`.
    pub fn line(&self, root: bool, stale: bool) -> String {
        let sudo = if root { "" } else { "sudo " };
        let update = if stale {
            format!("{sudo}apt-get update && ")
        } else {
            String::new()
        };
        format!("{update}{sudo}{}", shell_line(&self.install()))
    }
}
