//! Trials of programs that know nothing of us.

use crossthaw_protocol::{Program, Readiness, Surroundings};

use super::*;
use crate::programs::Staged;
use crate::qemu::Folder;
use crate::scenario::{End, Ending, Exec, Left, Origin, Ready, Resume, Rootfs, Site, Subject};

fn exec_case() -> Case {
    let exec = Exec {
        origin: Origin::Program("x".into()),
        args: Vec::new(),
        env: Vec::new(),
        user: None,
        files: Vec::new(),
        rootfs: Some(Rootfs::Folder("r".into())),
        mount: false,
        network: true,
        ready: Ready::default(),
        resume: Resume::default(),
        expect: staged().expect,
        site: Site {
            file: "f.yaml".into(),
            line: 1,
            column: 1,
        },
    };
    Case {
        subject: Subject::Exec(Box::new(exec)),
        ..case()
    }
}

fn staged() -> Staged {
    Staged {
        program: Program {
            path: "./x".to_owned(),
            argv: vec!["./x".to_owned()],
            env: Vec::new(),
            user: None,
            surroundings: Surroundings {
                mount: false,
                network: true,
                rootfs: true,
                caller: crate::scenario::Caller::Root,
                pids: crate::scenario::Pids::Image,
            },
        },
        folder: Folder::default(),
        ready: Readiness::default(),
        resume: Resume {
            signal: Some(15),
            touch: None,
        },
        expect: Ending {
            end: End::Exit(0),
            file: None,
        },
        output: ["stdout", "stderr"].map(str::to_owned),
    }
}

#[track_caller]
fn check(staged: &Staged, rules: Vec<Rule>, kind: &str, part: &str) -> Tried {
    let fake = Fake::new(rules);
    let tried = try_staged(&exec_case(), &fake, true, Some(staged));
    tried.expect(kind, part);
    tried
}

#[test]
fn a_program_passes_and_leaves_its_output() {
    let tried = check(&staged(), Vec::new(), "pass", "");
    let log = tried.log.join(", ");
    assert!(
        log.contains("0 push of the folder, 0 start, 0 ready, 0 freeze"),
        "{log}"
    );
    assert!(
        log.contains(
            "1 exit, 1 pull of a file, 1 pull of a file, 1 first scan, 1 kmemleak, 1 count, 1 mark"
        ),
        "{log}"
    );
    for name in [
        "stdout-a.txt",
        "stderr-a.txt",
        "stdout-b.txt",
        "stderr-b.txt",
    ] {
        assert!(tried.dir().join(name).is_file(), "{name}");
    }
}

#[test]
fn a_program_without_a_resume_is_sent_nothing() {
    let quiet = Staged {
        resume: Resume::default(),
        ..staged()
    };
    let tried = check(&quiet, Vec::new(), "pass", "");
    assert!(!tried.log.iter().any(|line| line.ends_with("resume")));
}

#[test]
fn how_a_program_ends_is_judged_in_both_guests() {
    let exited = |status| {
        Answer(Reply::Exited {
            status,
            report: None,
        })
    };
    for (guest, when) in [(0, "after the checkpoint"), (1, "after the restart")] {
        let rules = vec![rule(guest, "exit", exited(256))];
        let tried = check(&staged(), rules, "fail (self)", when);
        let verdict = tried.outcome.verdict.to_string();
        assert!(
            verdict.contains("the program ended with exit code 1, expected exit code 0"),
            "{verdict}"
        );
    }
    let killed = Staged {
        expect: Ending {
            end: End::Signal(15),
            file: None,
        },
        ..staged()
    };
    let rules = vec![rule(0, "exit", exited(15)), rule(1, "exit", exited(15))];
    check(&killed, rules, "pass", "");
    let late = vec![rule(1, "exit", Answer(Reply::TimedOut))];
    let tried = check(&staged(), late, "timeout", "finish");
    // What it said may tell why.
    assert!(tried.dir().join("stderr-b.txt").is_file());
}

#[test]
fn a_file_that_is_not_there_is_the_programs_fault() {
    let leaves = Staged {
        expect: Ending {
            end: End::Exit(0),
            file: Some(Left {
                path: "out".to_owned(),
                contains: Some("42".to_owned()),
            }),
        },
        ..staged()
    };
    let rules = |action: Action| vec![nth(1, "pull of a file", 2, action)];
    check(
        &leaves,
        rules(Fails("cannot open out: ENOENT")),
        "fail (self)",
        "out: cannot open out",
    );
    check(
        &leaves,
        Vec::new(),
        "fail (self)",
        "out: expected \"42\" in it, found \"\"",
    );
}

#[test]
fn a_program_that_never_was_is_told() {
    let ended = |status| {
        Answer(Reply::Exited {
            status,
            report: None,
        })
    };
    check(
        &staged(),
        vec![rule(
            0,
            "start",
            Fails("cannot execute the program for ./x: ENOEXEC"),
        )],
        "fail (self)",
        "the program cannot be started: cannot execute",
    );
    check(
        &staged(),
        vec![rule(0, "ready", ended(0))],
        "fail (self)",
        "exit code 0; a program that daemonises is found by its pid file",
    );
    check(
        &staged(),
        vec![rule(0, "ready", ended(11))],
        "fail (self)",
        "ended before it was ready: killed by signal 11",
    );
    check(
        &staged(),
        vec![rule(0, "ready", Answer(Reply::TimedOut))],
        "timeout",
        "ready",
    );
    let unstaged = try_staged(&exec_case(), &Fake::new(Vec::new()), true, None);
    assert_eq!(unstaged.outcome.verdict.kind(), "infra");
}

#[test]
fn a_refusal_names_what_the_kernel_does_not_save() {
    let log = "checkpoint: error 16 (EBUSY): pid 1001: fd 3: a pipe\n";
    let refused = Refuses(
        "checkpoint: refused: EBUSY\n",
        log,
        refused_image(16, "fd 3: a pipe"),
    );
    check(
        &staged(),
        vec![rule(0, "checkpoint", refused)],
        "fail (refusal)",
        "fd 3: a pipe",
    );
}
