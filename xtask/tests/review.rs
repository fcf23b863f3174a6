//! `review` without a terminal, on a small workspace.

#![expect(
    clippy::unwrap_used,
    reason = "a workspace that cannot be made fails the test"
)]

mod common;

use std::fs;
use std::path::Path;

use common::Folder;

const SCENARIOS: &str = "\
family: simple
about: Two tasks.
defaults: { checkpoint: container, restart: fresh, timeout: 10s }
scenarios:
  - name: counter
    about: A task that counts.
    workload: simple::counter
  - name: blocked
    about: A task that waits.
    workload: simple::blocked
    axes: { call: [futex] }
";

struct Workspace(Folder);

impl Workspace {
    fn new(files: &[(&str, &str)]) -> Self {
        let it = Self(Folder::new());
        it.0.write("Cargo.toml", "");
        it.0.write("xtask/Cargo.toml", "");
        it.0.write("scenarios/simple.yaml", SCENARIOS);
        for (name, text) in files {
            let head = "---\nsource: scenarios/simple.yaml\nexpression: \"state\"\n---\n";
            it.0.write(
                &format!("snapshots/simple/{name}"),
                &format!("{head}{text}\n"),
            );
        }
        it
    }

    /// Exit code and output.
    fn review(&self, args: &[&str]) -> (Option<i32>, String) {
        let programs = std::env::var_os("PATH").unwrap();
        let words = [&["review"], args].concat();
        let mut command = self.0.xtask("", programs, &words);
        command.env("HOME", self.0.path(""));
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    fn snapshots(&self) -> Vec<String> {
        let list = |dir: &Path| {
            fs::read_dir(dir)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        };
        let mut names: Vec<_> = list(&self.0.path("snapshots/simple")).collect();
        names.sort();
        names
    }
}

#[test]
fn what_is_pending_is_listed_and_the_exit_code_says_so() {
    let it = Workspace::new(&[
        ("counter.snap", "a\nb"),
        ("counter.snap.new", "a\nc"),
        ("blocked[call=futex].snap", "x\nb"),
        ("blocked[call=futex].snap.new", "x\nc"),
    ]);
    let (code, text) = it.review(&[]);
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(
        text.matches("\n-b\n+c\n").count(),
        1,
        "equal changes once: {text}"
    );
    assert!(
        text.contains("all 2 change in this way")
            && text.ends_with("0 accepted, 0 rejected, 2 pending\n"),
        "{text}"
    );
    let (code, text) = it.review(&["--accept", "*/blocked[call=*]"]);
    assert!(
        code == Some(1) && text.contains("accepted simple/blocked[call=futex]"),
        "{text}"
    );
    let (code, text) = it.review(&["--accept", "files/*"]);
    assert!(
        code == Some(3) && text.contains("no pending golden matches"),
        "{text}"
    );
    let (code, text) = it.review(&["--reject"]);
    assert!(
        code == Some(0) && text.ends_with("0 accepted, 1 rejected, 0 pending\n"),
        "{text}"
    );
    assert_eq!(it.snapshots(), ["blocked[call=futex].snap", "counter.snap"]);
}

#[test]
fn an_orphan_is_pending_until_it_is_deleted() {
    let it = Workspace::new(&[
        ("gone.snap", "a"),
        ("counter@vax.snap", "a"),
        ("counter.snap", "a"),
    ]);
    let (code, text) = it.review(&[]);
    assert_eq!(code, Some(1), "{text}");
    for part in [
        "simple/gone  (there is no such case)",
        "simple/counter@vax  (vax is no architecture)",
        "2 pending",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(it.review(&["--accept"]).0, Some(0));
    assert_eq!(it.snapshots(), ["counter.snap"]);
}

#[test]
fn states_of_a_run_elsewhere_are_taken_over() {
    let it = Workspace::new(&[("counter.snap", "a")]);
    let line = |arch: &str, state: &str| {
        format!("{{\"name\":\"simple/counter\",\"arch\":\"{arch}\",\"state\":{state}}}\n")
    };
    it.0.write(
        "ci-1/goldens.jsonl",
        &(line("s390x", "\"b\"") + &line("x86_64", "\"b\"")),
    );
    it.0.write("ci-2/goldens.jsonl", &line("ppc64", "null"));
    let (code, text) = it.review(&[
        "--from",
        it.0.path("ci-1").to_str().unwrap(),
        "--from",
        it.0.path("ci-2").to_str().unwrap(),
    ]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains(
            "simple/counter@s390x  (seen on x86_64, s390x; the golden is right on ppc64)"
        ),
        "{text}"
    );
    assert_eq!(
        it.snapshots(),
        [
            "counter.snap",
            "counter@s390x.snap.new",
            "counter@x86_64.snap.new"
        ]
    );
    let (code, text) = it.review(&["--from", it.0.path("scenarios").to_str().unwrap()]);
    assert!(
        code == Some(2) && text.contains("no goldens.jsonl in it"),
        "{text}"
    );
}
