//! The scenario files and the registry fit together: nothing is named that is not there, and nothing is there that no scenario uses.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use crossthaw_workloads::NAMES;
use serde::Deserialize;

/// What matters here of a scenario file; the harness checks the whole of it.
#[derive(Deserialize)]
struct Family {
    #[serde(rename = "family")]
    name: String,
    about: String,
    scenarios: Vec<Scenario>,
}

#[derive(Deserialize)]
struct Scenario {
    name: String,
    about: String,
    workload: Option<String>,
}

fn families() -> Vec<(PathBuf, Family)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let family = serde_yaml::from_str(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path, family)
        })
        .collect()
}

#[test]
fn every_workload_of_a_scenario_exists() {
    for (path, family) in families() {
        for scenario in family.scenarios {
            // Where a program takes its place, the harness checks that.
            let Some(workload) = scenario.workload else {
                continue;
            };
            assert!(
                NAMES.contains(&&*workload),
                "{}: {}: {}",
                path.display(),
                scenario.name,
                workload
            );
        }
    }
}

#[test]
fn every_workload_is_used() {
    let used: BTreeSet<String> = families()
        .into_iter()
        .flat_map(|(_, family)| family.scenarios)
        .filter_map(|scenario| scenario.workload)
        .collect();
    let unused: Vec<_> = NAMES.iter().filter(|name| !used.contains(**name)).collect();
    assert!(unused.is_empty(), "{unused:?}");
}

#[test]
fn families_are_named_as_their_files_and_explained() {
    for (path, family) in families() {
        assert_eq!(
            path.file_stem().unwrap().to_str(),
            Some(family.name.as_str())
        );
        assert!(family.about.ends_with('.'), "{}", path.display());
        let mut names = BTreeSet::new();
        for scenario in family.scenarios {
            assert!(
                scenario.about.ends_with('.'),
                "{}: {}",
                path.display(),
                scenario.name
            );
            assert!(
                names.insert(scenario.name.clone()),
                "{}: {} twice",
                path.display(),
                scenario.name
            );
        }
    }
}
