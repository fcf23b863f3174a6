//! `test` on a small workspace and a machine that is a folder of scripts: what goes wrong before a guest runs.

#![expect(
    clippy::unwrap_used,
    reason = "a workspace that cannot be made fails the test"
)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::Folder;
use serde_json::Value;

/// Programs that only have to be there.
const TOOLS: &[&str] = &[
    "bc",
    "bison",
    "cargo",
    "cpio",
    "flex",
    "patch",
    "qemu-system-x86_64",
    "xz",
];

const SCENARIOS: &str = "\
family: simple
about: Two tasks.
defaults: { checkpoint: container, restart: fresh, timeout: 10s }
scenarios:
  - name: counter
    about: A task that counts.
    workload: simple::counter
    archs: [x86_64]
  - name: blocked
    about: A task that waits.
    workload: simple::blocked
    archs: [x86_64]
    axes: { call: [futex] }
";

/// A make that finds a mistake.
const BROKEN: &str = "echo 'kernel/checkpoint/mm.c:7:1: error: expected a semicolon' >&2; exit 2";

/// A checkout, a kernel source, and a machine to build it with.
struct Workspace(Folder);

impl Workspace {
    /// `make` does this instead of building a kernel.
    fn new(make: &str) -> Self {
        let it = Self(Folder::new());
        for (file, text) in [
            ("repo/Cargo.toml", ""),
            ("repo/xtask/Cargo.toml", ""),
            ("repo/scenarios/simple.yaml", SCENARIOS),
            ("repo/kernels/configs/common.config", ""),
            ("repo/kernels/configs/x86_64.config", ""),
            ("repo/kernels/checkpoint/kernel/checkpoint/mm.c", "int"),
            ("repo/kernels/patches/6.12/README", ""),
            ("linux/Kconfig", ""),
        ] {
            it.0.write(file, text);
        }
        for tool in TOOLS {
            it.script(tool, "exit 0");
        }
        it.script("gcc", "echo /usr/lib/libc.a");
        let dir = it.0.path("bin").display().to_string();
        it.script(
            "rustc",
            &format!("[ $1 = -vV ] && echo release: 1.99.0 || echo {dir}"),
        );
        it.0.write(
            "bin/lib/rustlib/x86_64-unknown-linux-gnu/lib/libstd-1.rlib",
            "",
        );
        it.script(
            "make",
            &format!("case \"$*\" in *config) touch .config ;; *) {make} ;; esac"),
        );
        it
    }

    fn script(&self, name: &str, body: &str) {
        let name = format!("bin/{name}");
        self.0
            .write(&name, &format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{body}\n"));
        fs::set_permissions(self.0.path(&name), PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// `test` with these arguments, nothing of the caller's environment, and no terminal.
    fn test(&self, arguments: &[&str]) -> Command {
        let words = [&["test"], arguments].concat();
        let mut command = self.0.xtask("repo", self.0.path("bin"), &words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The same with the kernel source.
    fn test_kernel(&self, arguments: &[&str]) -> Command {
        let mut command = self.test(&["--kernel-source"]);
        command.arg(self.0.path("linux")).args(arguments);
        command
    }

    fn runs(&self) -> PathBuf {
        self.0.path("repo/target/crossthaw/runs")
    }
}

/// Exit code, standard output, standard error.
fn run(mut command: Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

fn results(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("results.json")).unwrap()).unwrap()
}

#[test]
fn wrong_usage_is_told_from_nothing_selected_and_starts_no_run() {
    let workspace = Workspace::new(BROKEN);
    for (arguments, code, part) in [
        (["--arch", "amd64"], 2, "x86_32, x86_64, s390x and ppc64"),
        (["--format", "xml"], 2, "text, json"),
        (["--jobs", "0"], 2, "--jobs"),
        (["--repeat", "0"], 2, "--repeat"),
        (
            ["--kernel-source", "/no/tree"],
            2,
            "--kernel-source /no/tree: No such file",
        ),
        (
            ["--scenario", "simple/conter"],
            3,
            "did you mean simple/counter",
        ),
        (["--arch", "s390x"], 3, "s390x"),
    ] {
        let (found, text, errors) = run(workspace.test(&arguments));
        assert_eq!((found, &*text), (code, ""), "{arguments:?}: {errors}");
        assert!(errors.contains(part), "{arguments:?}: {errors}");
    }
    assert!(!workspace.runs().exists());
}

#[test]
fn a_mistake_in_a_scenario_file_has_its_place() {
    let workspace = Workspace::new(BROKEN);
    let wrong = SCENARIOS.replace("timeout: 10s", "timeout: soon");
    workspace.0.write("repo/scenarios/simple.yaml", &wrong);
    let (code, text, errors) = run(workspace.test(&[]));
    assert_eq!((code, &*text), (2, ""), "{errors}");
    assert!(errors.contains("scenarios/simple.yaml:3:"), "{errors}");
}

#[test]
fn what_is_missing_is_named_with_the_command_that_installs_it() {
    let workspace = Workspace::new(BROKEN);
    fs::remove_file(workspace.0.path("bin/bison")).unwrap();
    let (code, text, errors) = run(workspace.test_kernel(&[]));
    assert_eq!((code, &*text), (69, ""), "{errors}");
    assert!(errors.contains("bison"), "{errors}");
    assert!(!workspace.runs().exists());
}

#[test]
fn a_kernel_that_cannot_be_built_is_infra_with_the_compilers_words() {
    let workspace = Workspace::new(BROKEN);
    let (code, text, errors) = run(workspace.test_kernel(&["--jobs", "1"]));
    assert_eq!(code, 69, "{text}{errors}");
    let said = "kernel/checkpoint/mm.c:7:1: error: expected a semicolon";
    assert!(text.contains(said), "{text}");
    let linux = workspace.0.path("linux").display().to_string();
    let repeat = format!(
        "repeat:   cargo xtask test --arch x86_64 --scenario 'simple/blocked[call=futex]' --kernel-source {linux}"
    );
    assert!(text.contains(&repeat), "{text}");
    assert_eq!(text.lines().last(), Some("0 passed, 2 failed, 0 skipped"));

    let latest = workspace.runs().join("latest");
    let results = results(&latest);
    assert_eq!(results["run"]["complete"], true);
    let cases = results["cases"].as_array().unwrap();
    let ids: Vec<_> = cases.iter().map(|case| &case["case"]).collect();
    assert_eq!(
        ids,
        ["x86_64/simple/counter", "x86_64/simple/blocked[call=futex]"]
    );
    for case in cases {
        assert_eq!(case["verdict"], "infra");
        assert!(case["message"].as_str().unwrap().contains(said), "{case}");
    }
    for file in ["events.jsonl", "junit.xml", "report.html"] {
        let text = fs::read_to_string(latest.join(file)).unwrap();
        assert!(text.contains("mm.c:7:1: error"), "{file}: {text}");
    }
}

#[test]
fn a_kernel_that_cannot_be_built_ends_all_rounds_and_waits_for_no_failure() {
    let workspace = Workspace::new(BROKEN);
    for (arguments, begins, rounds) in [
        (["--repeat", "3"].as_slice(), "3 rounds", Value::from(3)),
        (&["--until-fail"], "until one fails", Value::Null),
        (
            &["--until-fail", "--repeat", "7"],
            "7 rounds",
            Value::from(7),
        ),
    ] {
        let (code, text, errors) = run(workspace.test_kernel(arguments));
        assert_eq!(code, 69, "{text}{errors}");
        let first = text.lines().next().unwrap();
        assert!(first.ends_with(begins), "{first}");
        assert!(text.contains("1 x infra: "), "{text}");
        assert_eq!(text.lines().last(), Some("0 passed, 2 failed, 0 skipped"));
        let results = results(&workspace.runs().join("latest"));
        let run = &results["run"];
        assert_eq!((&run["rounds"], &run["complete"]), (&rounds, &true.into()));
        assert_eq!(run["stopped"], arguments[0] == "--until-fail");
        let case = &results["cases"][0];
        assert_eq!(case["distribution"]["verdicts"]["infra"], 1);
        assert_eq!(case["trials"][0]["round"], Value::Null);
    }
}

#[test]
fn two_runs_at_once_have_a_folder_each() {
    let workspace = Workspace::new(BROKEN);
    let runs = [(); 2].map(|()| workspace.test_kernel(&[]).spawn().unwrap());
    for run in runs {
        let output = run.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(69));
    }
    let entries = fs::read_dir(workspace.runs()).unwrap();
    let folders: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .collect();
    assert_eq!(folders.len(), 2);
    for folder in folders {
        assert_eq!(results(&folder.path())["run"]["failed"], 2);
    }
    assert!(workspace.runs().join("latest/results.json").exists());
}

#[test]
fn events_are_one_object_a_line_and_nothing_else_is_on_standard_output() {
    let workspace = Workspace::new(BROKEN);
    let (code, text, errors) = run(workspace.test_kernel(&["--format", "json"]));
    assert_eq!(code, 69, "{errors}");
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<_> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .filter(|name| *name != "build-progress")
        .collect();
    let expected = [
        "run-started",
        "build-started",
        "build-finished",
        "trial-finished",
        "trial-finished",
        "run-finished",
    ];
    assert_eq!(names, expected);
    let log = fs::read_to_string(workspace.runs().join("latest/events.jsonl")).unwrap();
    assert_eq!(log, text);
}

#[test]
fn an_interrupted_run_leaves_valid_results_and_no_process() {
    let workspace = Workspace::new("echo $$ > pid; exec sleep 1000");
    let mut child = workspace.test_kernel(&[]).spawn().unwrap();
    let mut text = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("making the kernel") {
        line.clear();
        assert_ne!(text.read_line(&mut line).unwrap(), 0, "it ended early");
    }
    let pid = loop {
        let found = find(&workspace.0.path("cache"), "pid");
        let pid = found.and_then(|path| fs::read_to_string(path).ok());
        if let Some(pid) = pid.filter(|pid| pid.ends_with('\n')) {
            break pid;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    // Twice, as `timeout` does.
    for signal in ["-TERM", "-INT"] {
        let interrupted = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(interrupted.unwrap().success());
    }
    let mut rest = String::new();
    text.read_to_string(&mut rest).unwrap();
    let mut errors = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut errors).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(69), "{rest}{errors}");
    assert_eq!(rest.lines().last(), Some("0 passed, 0 failed, 0 skipped"));
    let said = "interrupted: 2 trials have no verdict; the results so far: target/crossthaw/runs/";
    assert!(errors.contains(said), "{errors}");
    let results = results(&workspace.runs().join("latest"));
    assert_eq!(results["run"]["complete"], false);
    assert_eq!(results["run"]["unfinished"], 2);
    assert!(!Path::new("/proc").join(pid.trim()).exists());
}

/// A file of this name below a folder.
fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(dir).ok()?.flatten();
    entries.map(|entry| entry.path()).find_map(|path| {
        let is_it = path.file_name().is_some_and(|found| found == name);
        if path.is_dir() {
            find(&path, name)
        } else {
            is_it.then_some(path)
        }
    })
}
