//! Each golden belongs to a case that passes and is short enough to be read, and each such case has one.
//!
//! The test lives beside the goldens so that `cargo insta review` looks for pending ones here.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use crossthaw_harness::kernel::Flavor;
use crossthaw_harness::oracle::golden;
use crossthaw_harness::scenario::{Case, Expect, load};

/// Lines of a golden: 200, one that stands for the rest, and insta's head.
const LINES: usize = 200 + 1 + 4;

fn repo() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn cases() -> Vec<Case> {
    load(&repo().join("scenarios")).unwrap().cases(Flavor::Fast)
}

fn snaps(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(snaps(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "snap")
        {
            found.push(path);
        }
    }
    found
}

#[test]
fn each_golden_has_a_case() {
    let orphans = golden::orphans(&repo().join("snapshots"), &cases()).unwrap();
    let orphans: Vec<_> = orphans
        .iter()
        .map(|orphan| format!("{}: {}", orphan.name, orphan.reason))
        .collect();
    assert!(
        orphans.is_empty(),
        "`cargo xtask review` deletes orphans: {orphans:#?}"
    );
}

#[test]
fn each_case_that_passes_has_a_golden() {
    let passing = cases()
        .into_iter()
        .filter(|case| matches!(case.expect, Expect::Pass));
    let golden = |case: &Case| {
        let dir = repo().join("snapshots");
        let name = case.id.without_arch();
        let own = dir.join(format!("{name}@{}.snap", case.arch));
        own.exists() || dir.join(format!("{name}.snap")).exists()
    };
    let missing: Vec<_> = passing
        .filter(|case| !golden(case))
        .map(|case| case.id.to_string())
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn each_golden_can_be_read_in_one_go() {
    for path in snaps(&repo().join("snapshots")) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LINES, "{}: {lines} lines", path.display());
    }
}
