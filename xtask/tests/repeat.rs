//! `repeat` finds a trial by its run and its name, and refuses what it cannot repeat.

#![expect(
    clippy::unwrap_used,
    reason = "a workspace that cannot be made fails the test"
)]

mod common;

use common::Folder;
use serde_json::{Value, json};

const SCENARIOS: &str = "\
family: simple
about: Two tasks.
defaults: { checkpoint: container, restart: fresh, timeout: 10s }
scenarios:
  - name: counter
    about: A task that counts.
    workload: simple::counter
";

/// A checkout with one run, in which these trials left a folder: the case and the folder's name.
struct Workspace(Folder);

impl Workspace {
    fn new(trials: &[(&str, &str)]) -> Self {
        Self::with(trials, &json!({ "workload": "simple::counted" }))
    }

    fn with(trials: &[(&str, &str)], case: &Value) -> Self {
        let it = Self(Folder::new());
        it.0.write("repo/Cargo.toml", "");
        it.0.write("repo/xtask/Cargo.toml", "");
        it.0.write("repo/scenarios/simple.yaml", SCENARIOS);
        let run = "repo/target/crossthaw/runs/20260101-000000";
        it.0.write(&format!("{run}/events.jsonl"), "");
        for (id, folder) in trials {
            let recipe = json!({
                "form": 1, "version": "0.1.0", "id": id, "arch": "x86_64", "flavor": "fast",
                "case": case, "kernel": "0".repeat(64), "kernel_source": null,
                "guest": "0".repeat(64), "template": "0".repeat(64), "qemu": "QEMU 1", "accel": "tcg", "command": "qemu",
            });
            it.0.write(
                &format!("{run}/trials/{folder}/repeat.json"),
                &recipe.to_string(),
            );
        }
        it
    }

    /// `repeat` with these arguments ends with this code and says this.
    #[track_caller]
    fn check(&self, arguments: &[&str], code: i32, part: &str) {
        let words = [&["repeat"], arguments].concat();
        let output = self.0.xtask("repo", "/usr/bin:/bin", &words).output();
        let output = output.unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(
            errors.contains(part),
            "{arguments:?}: {part:?} is expected: {errors}"
        );
    }
}

#[test]
fn a_trial_that_is_not_there_is_told_with_those_that_are() {
    let workspace = Workspace::new(&[
        ("x86_64/simple/counter", "x86_64.simple.counter#1"),
        ("x86_64/simple/counter", "x86_64.simple.counter#7"),
    ]);
    let run = "20260101-000000";
    for (trial, code, part) in [
        (
            "20260101-00000/x86_64/simple/counter",
            3,
            "did you mean 20260101-000000?",
        ),
        (run, 3, "names a run and no case"),
        (
            &format!("{run}/x86_64/simple/conter"),
            3,
            "did you mean x86_64/simple/counter#1",
        ),
        (
            &format!("{run}/x86_64/simple/counter#3"),
            3,
            "did you mean x86_64/simple/counter#1",
        ),
        (
            &format!("{run}/x86_64/simple/counter"),
            2,
            "several trials in target/crossthaw/runs/20260101-000000: which of x86_64/simple/counter#1, x86_64/simple/counter#7?",
        ),
    ] {
        workspace.check(&[trial], code, part);
    }
    let none = Workspace::new(&[]);
    let trial = format!("{run}/x86_64/simple/counter");
    none.check(&[&trial], 3, "holds no trial that can be repeated");
}

#[test]
fn a_scenario_that_is_another_now_is_not_taken_for_the_trials() {
    let workspace = Workspace::new(&[
        ("x86_64/simple/counter", "x86_64.simple.counter"),
        ("x86_64/simple/gone", "x86_64.simple.gone"),
    ]);
    let run = workspace
        .0
        .path("repo/target/crossthaw/runs/20260101-000000");
    let changed = "workload: \"simple::counted\" -> \"simple::counter\"";
    // By id, by the path of the run, and by the trial's own folder.
    for trial in [
        "20260101-000000/x86_64/simple/counter".to_owned(),
        format!("{}/x86_64/simple/counter", run.display()),
        run.join("trials/x86_64.simple.counter")
            .display()
            .to_string(),
    ] {
        workspace.check(&[&trial], 2, changed);
        workspace.check(&[&trial], 2, "--as-is runs what is here");
    }
    let gone = "20260101-000000/x86_64/simple/gone";
    workspace.check(&[gone, "--as-is"], 2, "no case x86_64/simple/gone");
}

#[test]
fn a_scenario_of_another_folder_is_looked_for_there() {
    let other = Folder::new();
    other.write("others/simple.yaml", SCENARIOS);
    let goldens = other.path("others/snapshots");
    let trials = [
        ("x86_64/simple/counter", "x86_64.simple.counter"),
        ("x86_64/simple/gone", "x86_64.simple.gone"),
    ];
    let case = json!({ "workload": "simple::counted", "goldens": goldens });
    let workspace = Workspace::with(&trials, &case);
    workspace.check(
        &["20260101-000000/x86_64/simple/counter"],
        2,
        "workload: \"simple::counted\" -> \"simple::counter\"",
    );
    let place = format!("{} has no case", other.path("others").display());
    workspace.check(&["20260101-000000/x86_64/simple/gone"], 2, &place);
}

#[test]
fn what_makes_no_sense_together_is_refused() {
    let workspace = Workspace::new(&[("x86_64/simple/counter", "x86_64.simple.counter")]);
    let trial = "20260101-000000/x86_64/simple/counter";
    for (arguments, part) in [
        (["--shell"].as_slice(), "standard input is no terminal"),
        (&["--stop-at", "restart"], "--shell"),
        (
            &["--shell", "--stop-at", "soon"],
            "the phases are clone, start",
        ),
        (&["--gdb=c"], "possible values: a, b"),
        (&["--gdb", "--shell"], "cannot be used with"),
        (&["--gdb", "--until-fail"], "cannot be used with"),
    ] {
        workspace.check(&[&[trial], arguments].concat(), 2, part);
    }
}
