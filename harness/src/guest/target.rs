//! The target folder that all checkouts share: std is built once, our own packages for each checkout.
//!
//! Cargo names a package of a workspace by its path in it, and compares times, so it would take another checkout's newer build for ours.

use std::io;
use std::path::{Path, PathBuf};

use super::{GuestBuildError, file_error};
use crate::store::{remove_dir, write_atomic};

/// Names the checkout whose packages are in the folder.
const NOTE: &str = "checkout";

/// How the names of our packages begin.
const OURS: &str = "crossthaw-";

/// Make the folder this checkout's: what another has built of our packages is forgotten.
pub(super) fn claim(target: &Path, checkout: &Path) -> Result<(), GuestBuildError> {
    let note = target.join(NOTE);
    let name = checkout.to_string_lossy();
    if std::fs::read_to_string(&note).is_ok_and(|last| last == name) {
        return Ok(());
    }
    // `PROFILE/.fingerprint/` for what runs here, `TARGET/PROFILE/.fingerprint/` for the guest.
    for folder in children(target)? {
        for folder in children(&folder)?.into_iter().chain([folder]) {
            for package in children(&folder.join(".fingerprint"))? {
                let name = package.file_name().unwrap_or_default();
                if name.to_string_lossy().starts_with(OURS) {
                    remove_dir(&package)?;
                }
            }
        }
    }
    write_atomic(&note, name.as_bytes()).map_err(|error| file_error(&note, error))
}

/// What is in a folder; nothing if it is none.
fn children(folder: &Path) -> Result<Vec<PathBuf>, GuestBuildError> {
    let none = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
    let entries = match std::fs::read_dir(folder) {
        Err(error) if none.contains(&error.kind()) => return Ok(Vec::new()),
        entries => entries.map_err(|error| file_error(folder, error))?,
    };
    entries
        .map(|entry| Ok(entry.map_err(|error| file_error(folder, error))?.path()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn another_checkouts_packages_are_forgotten_and_all_others_stay() {
        let scratch = tempfile::tempdir().unwrap();
        let target = scratch.path();
        let prints = [
            "guest/.fingerprint/crossthaw-workloads-1",
            "s390x/guest/.fingerprint/crossthaw-init-2",
            "s390x/guest/.fingerprint/core-3",
        ];
        let there = || prints.map(|print| target.join(print).exists());
        let make = || {
            for print in prints {
                fs::create_dir_all(target.join(print)).unwrap();
            }
        };
        make();
        fs::write(target.join("build.log"), "").unwrap();
        claim(target, Path::new("/one")).unwrap();
        assert_eq!(
            there(),
            [false, false, true],
            "whose they were is not known"
        );
        make();
        claim(target, Path::new("/one")).unwrap();
        assert_eq!(there(), [true, true, true]);
        claim(target, Path::new("/other")).unwrap();
        assert_eq!(there(), [false, false, true]);
    }
}
