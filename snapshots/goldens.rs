//! Each golden belongs to a case that passes, and each such case has one.
//!
//! The test lives beside the goldens so that `cargo insta review` looks for pending ones here.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crossthaw_harness::kernel::Flavor;
use crossthaw_harness::scenario::{Expect, Selection, load};

fn goldens(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            let below = goldens(&path);
            found.extend(below.into_iter().map(|below| format!("{name}/{below}")));
        } else if let Some(name) = name.strip_suffix(".snap") {
            // `@ARCH`: one architecture's own.
            found.insert(name.split('@').next().unwrap().to_owned());
        }
    }
    found
}

#[test]
fn goldens_and_cases_that_pass_belong_together() {
    let repo = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let matrix = load(&repo.join("scenarios")).unwrap();
    let selection = Selection {
        archs: Vec::new(),
        scenarios: Vec::new(),
        partition: None,
        flavor: Flavor::Fast,
    };
    let cases = matrix.select(&selection).unwrap();
    let passing: BTreeSet<String> = cases
        .iter()
        .filter(|case| matches!(case.expect, Expect::Pass))
        .map(|case| case.id.without_arch().to_owned())
        .collect();
    assert!(!passing.is_empty());
    assert_eq!(goldens(&repo.join("snapshots")), passing);
}
