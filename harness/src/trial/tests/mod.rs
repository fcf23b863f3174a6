//! Every verdict and every early exit, with scripted guests.

mod attended;
mod disturb;
mod faults;
mod programs;
mod refusals;

use std::path::Path;
use std::time::Duration;

use crossthaw_image::{Record, sample};
use crossthaw_protocol::Reply;

use super::fake::{Action, Fake, Rule, image, refused_image, tool};
use super::*;
use crate::arch::Arch;
use crate::kernel::Flavor;
use crate::scenario::{By, Caller, Checkpoint, Expect, KnownFailure, Pids, Restart, Tamper};
use Action::{Answer, Cancelled, Dies, Fails, Hangs, Leaves, Refuses, Says, SaysAndDies};

fn case() -> Case {
    Case {
        id: serde_json::from_str("\"x86_64/simple/counter\"").unwrap(),
        arch: Arch::X86_64,
        family: "simple".to_owned(),
        scenario: "counter".to_owned(),
        about: "About.".to_owned(),
        axes: Vec::new(),
        flavor: Flavor::Fast,
        fault_stride: std::num::NonZeroU32::MIN,
        subject: crate::scenario::Subject::Workload("simple::counter".to_owned()),
        goldens: None,
        args: vec![("size".to_owned(), "1".to_owned())],
        checkpoint: Checkpoint::Container,
        restart: Restart::Fresh,
        caller: Caller::Root,
        pids: Pids::Image,
        timeout: Duration::from_secs(10),
        generations: 1,
        freeze: true,
        tamper: None,
        faults: false,
        disturb: Vec::new(),
        expect: Expect::Pass,
        known_failure: None,
        needs: Vec::new(),
        skip: None,
    }
}

fn refuse(by: By, errno: &str, log: &str) -> Expect {
    Expect::Refuse {
        by,
        errno: Some(errno.to_owned()),
        log: Some(log.to_owned()),
    }
}

fn rule(guest: usize, phase: &'static str, action: Action) -> Rule {
    nth(guest, phase, 0, action)
}

fn nth(guest: usize, phase: &'static str, nth: usize, action: Action) -> Rule {
    Rule {
        guest,
        phase,
        nth,
        action,
    }
}

/// What a trial came to, and what is left of it.
struct Tried {
    outcome: Outcome,
    log: Vec<String>,
    scratch: tempfile::TempDir,
}

impl Tried {
    fn dir(&self) -> std::path::PathBuf {
        self.scratch.path().join("case")
    }
}

/// The golden of the fake's state.
fn accept(dir: &Path, fake: &Fake) {
    let text = crate::oracle::state::golden(&fake.state);
    std::fs::create_dir_all(dir.join("simple")).unwrap();
    std::fs::write(dir.join("simple/counter.snap"), text).unwrap();
}

fn try_with(case: &Case, fake: &Fake, golden: bool) -> Tried {
    try_all(case, fake, golden, None, None)
}

fn try_attended(case: &Case, fake: &Fake, golden: bool, prompt: Option<Prompt<'_>>) -> Tried {
    try_all(case, fake, golden, prompt, None)
}

fn try_staged(case: &Case, fake: &Fake, golden: bool, staged: Option<&Staged>) -> Tried {
    try_all(case, fake, golden, None, staged)
}

fn try_all(
    case: &Case,
    fake: &Fake,
    golden: bool,
    prompt: Option<Prompt<'_>>,
    staged: Option<&Staged>,
) -> Tried {
    let scratch = tempfile::tempdir().unwrap();
    let snapshots = scratch.path().join("snapshots");
    if golden {
        accept(&snapshots, fake);
    }
    let goldens = Goldens::new(snapshots);
    let outcome = run(
        case,
        &Env {
            staged,
            template: fake,
            vmlinux: None,
            dir: scratch.path().join("case"),
            snapshots: Some(&goldens),
            cancel: Cancel::new().unwrap(),
            prompt,
        },
    );
    let log = fake.log.lock().unwrap().clone();
    Tried {
        outcome,
        log,
        scratch,
    }
}

/// Try a case with these rules: what the verdict begins with, and has in it.
#[track_caller]
fn check(case: &Case, rules: Vec<Rule>, kind: &str, part: &str) -> Tried {
    let tried = try_with(case, &Fake::new(rules), true);
    tried.expect(kind, part);
    tried
}

impl Tried {
    /// What the verdict begins with, and has in it.
    #[track_caller]
    fn expect(&self, kind: &str, part: &str) {
        let verdict = self.outcome.verdict.to_string();
        assert!(
            verdict.starts_with(kind) && verdict.contains(part),
            "{kind}, {part:?} are expected: {verdict}"
        );
    }
}

#[test]
fn a_good_trial_passes_and_leaves_its_evidence() {
    let tried = check(&case(), Vec::new(), "pass", "");
    assert_eq!(
        tried.log.join(", "),
        "0 clone, 0 mark, 0 taint, 0 start, 0 ready, 0 freeze, 0 probe, 0 checkpoint, 0 pull of a file, 0 pull of the folder, \
         0 thaw, 0 resume, 0 exit, 0 first scan, 0 kmemleak, 0 count, 0 mark, 1 clone, 1 mark, 1 taint, 0 taint, \
         1 push of the folder, 1 push of a file, 1 restart, 1 probe, 1 checkpoint, 1 pull of a file, 1 thaw, 1 resume, 1 exit, \
         1 first scan, 1 kmemleak, 1 count, 1 mark, 1 taint"
    );
    for name in [
        "console-a.log",
        "console-b.log",
        "image-a",
        "image-again",
        "s0.json",
        "s1.json",
        "report-a.txt",
        "report-b.txt",
    ] {
        assert!(tried.dir().join(name).exists(), "{name}");
    }
    assert_eq!(tried.outcome.phases[0].0, Phase::Clone);
    assert!(tried.outcome.console.is_empty() && tried.outcome.diff.is_none());
}

#[test]
fn new_pids_are_asked_for_and_must_be_new() {
    let case = Case {
        checkpoint: Checkpoint::Subtree,
        pids: Pids::New,
        ..case()
    };
    check(&case, Vec::new(), "fail (image)", "and still has Some(1)");
}

#[test]
fn restarts_in_the_same_guest_kill_the_original_first() {
    let case = Case {
        restart: Restart::Same,
        ..case()
    };
    let tried = check(&case, Vec::new(), "pass", "");
    let log = tried.log.join(", ");
    assert!(
        log.contains("0 pull of the folder, 0 kill, 0 survivors, 0 push of the folder, 0 push of a file, 0 restart"),
        "{log}"
    );
    let left = Reply::Tasks {
        tasks: vec![(9, "x".to_owned())],
    };
    check(
        &case,
        vec![rule(0, "survivors", Answer(left))],
        "fail (kernel)",
        "9 x",
    );
}

#[test]
fn generations_go_from_guest_to_guest() {
    let case = Case {
        generations: 3,
        ..case()
    };
    let tried = check(&case, Vec::new(), "pass", "");
    let count = |what: &str| tried.log.iter().filter(|line| line.ends_with(what)).count();
    assert_eq!(
        (count("clone"), count("restart"), count("checkpoint")),
        (4, 3, 6)
    );
    assert!(tried.dir().join("console-b3.log").exists());
    let refused = tool(1, "restart: refused: EINVAL (x)\n", "");
    check(
        &case,
        vec![rule(2, "restart", Answer(refused))],
        "fail (refusal)",
        "generation 2 was refused",
    );
    check(
        &case,
        vec![rule(2, "checkpoint", Leaves(grown()))],
        "fail (image)",
        "the image grew",
    );
    check(
        &Case {
            restart: Restart::Same,
            ..case
        },
        Vec::new(),
        "pass",
        "",
    );
}

/// The image after a change of its records.
fn changed(change: impl FnOnce(&mut Vec<Record>)) -> Vec<u8> {
    let arch = crossthaw_image::Arch::X86_64;
    let mut records = sample::records(arch);
    change(&mut records);
    sample::writer(arch, &records).finish()
}

/// A valid image with more memory in it.
fn grown() -> Vec<u8> {
    changed(|records| {
        for record in records {
            match record {
                Record::Vma(vma) if vma.kind == 1 => vma.end = 0x10_0000,
                Record::Pages(pages) if pages.head.start == 0x9000 => {
                    pages.head.nr_pages = 32;
                    pages.data.resize(32 * 4096, 1);
                }
                _ => {}
            }
        }
    })
}

#[test]
fn the_image_of_the_restored_tree_must_be_the_one_that_was_restarted() {
    let other = || {
        changed(|records| {
            for record in records {
                if let Record::Sighand(sighand) = record {
                    sighand.action.0[9].mask = 1;
                }
            }
        })
    };
    let rules = || vec![rule(1, "checkpoint", Leaves(other()))];
    let told = "task 1 sighand, SIGHAND: signal 10.mask\n-2048\n+1";
    let tried = check(&case(), rules(), "fail (image)", told);
    let diff = tried.outcome.diff.as_deref();
    assert!(diff.is_some_and(|diff| diff.contains(told)));
    assert!(tried.dir().join("diff.txt").exists());
    let kept = std::fs::read(tried.dir().join("image-again")).unwrap();
    assert_eq!(kept, other());
    // Valid, but with a hole in its order.
    let broken = changed(|records| records.truncate(records.len() - 5));
    check(
        &case(),
        vec![rule(1, "checkpoint", Leaves(broken))],
        "fail (image)",
        "of the restored tree (generation 1): the image is not valid: byte",
    );
    // In a later generation the two images are kept beside those that come after them.
    let case = Case {
        generations: 3,
        ..case()
    };
    let rules = vec![rule(2, "checkpoint", Leaves(other()))];
    let tried = check(&case, rules, "fail (image)", "(generation 2)");
    assert!(tried.dir().join("image-again-2").exists());
    assert!(tried.dir().join("image-restarted-2").exists());
}

#[test]
fn what_checkpoints_itself_is_not_asked_to_from_outside() {
    let case = Case {
        checkpoint: Checkpoint::SelfTask,
        ..case()
    };
    let tried = check(&case, Vec::new(), "pass", "");
    assert!(!tried.log.contains(&"0 checkpoint".to_owned()));
    // Another moment: contents of memory differ, and that is well.
    let mut later = crate::oracle::state::tests::state();
    later.tasks[0].maps[1].hash = Some(99);
    let later = || {
        Answer(Reply::State {
            state: later.clone(),
        })
    };
    check(&case, vec![rule(1, "probe", later())], "pass", "");
    check(
        &super::tests::case(),
        vec![rule(1, "probe", later())],
        "fail (state)",
        "restored state is not",
    );
}

#[test]
fn an_oracle_that_is_not_content_fails_the_trial() {
    let exited = |status, report: &str| {
        Answer(Reply::Exited {
            status,
            report: Some(report.to_owned()),
        })
    };
    let mut other = crate::oracle::state::tests::state();
    other.tasks[0].comm = "other".to_owned();
    let other = || {
        Answer(Reply::State {
            state: other.clone(),
        })
    };
    for (rules, kind, part) in [
        (
            vec![rule(0, "exit", exited(256, "FAIL a: b\ndone\n"))],
            "fail (self)",
            "FAIL a: b",
        ),
        (
            vec![rule(1, "exit", exited(0, "done\n"))],
            "fail (self)",
            "after the restart",
        ),
        (
            vec![rule(1, "exit", exited(11, ""))],
            "fail (self)",
            "killed by signal 11",
        ),
        (
            vec![rule(0, "ready", exited(256, "FAIL situation: x\ndone\n"))],
            "fail (self)",
            "before it was ready",
        ),
        (
            vec![rule(1, "probe", other())],
            "fail (state)",
            "+task 1 comm \"other\"",
        ),
        (
            vec![rule(0, "probe", other()), rule(1, "probe", other())],
            "fail (state)",
            "is not the golden one",
        ),
        (
            vec![
                rule(1, "probe", other()),
                rule(1, "exit", exited(256, "FAIL a: b\ndone\n")),
            ],
            "fail (state)",
            "also (self)",
        ),
        (
            vec![
                rule(1, "probe", other()),
                rule(1, "resume", Fails("the root has ended")),
            ],
            "fail (state)",
            "also (self): the agent failed",
        ),
        (
            vec![rule(0, "checkpoint", Leaves(b"garbage".to_vec()))],
            "fail (image)",
            "cannot be read",
        ),
        (
            vec![rule(0, "checkpoint", Leaves(refused_image(16, "x")))],
            "fail (image)",
            "ends with an error",
        ),
        (
            vec![rule(
                1,
                "checkpoint",
                Answer(tool(1, "checkpoint: refused: EBUSY (x)\n", "")),
            )],
            "fail (refusal)",
            "cannot be checkpointed",
        ),
        (
            vec![rule(
                0,
                "checkpoint",
                Answer(tool(1, "checkpoint: refused: EBUSY (x)\n", "")),
            )],
            "fail (refusal)",
            "the checkpoint was refused",
        ),
        (
            vec![rule(
                1,
                "restart",
                Answer(tool(1, "restart: refused: EINVAL (x)\n", "")),
            )],
            "fail (refusal)",
            "the restart was refused",
        ),
    ] {
        check(&case(), rules, kind, part);
    }
}

#[test]
fn a_state_without_a_golden_fails_and_is_left_for_review() {
    let tried = try_with(&case(), &Fake::new(Vec::new()), false);
    let verdict = tried.outcome.verdict.to_string();
    assert!(
        verdict.starts_with("fail (state)")
            && verdict.contains("no golden yet: cargo xtask review"),
        "{verdict}"
    );
    let pending = tried
        .scratch
        .path()
        .join("snapshots/simple/counter.snap.new");
    assert!(pending.exists());
}

#[test]
fn a_late_guest_explains_itself_behind_what_the_outcome_shows() {
    let rules = vec![
        rule(1, "exit", Answer(Reply::TimedOut)),
        nth(1, "thaw", 0, Says("still here")),
    ];
    let tried = try_with(&case(), &Fake::new(rules), true);
    let lines = &tried.outcome.console;
    assert!(lines.last().unwrap().ends_with("still here"), "{lines:?}");
    let read = |name: &str| std::fs::read_to_string(tried.dir().join(name)).unwrap();
    assert_eq!(read("registers-b.log"), "NIP c000\n");
    assert!(read("console-b.log").contains("sysrq: Show State"));
}

#[test]
fn a_guest_that_was_started_once_more_is_told() {
    let mut fake = Fake::new(Vec::new());
    fake.crashes = vec!["QEMU crashed"];
    let tried = try_with(&case(), &fake, true);
    // Each of its two guests.
    assert_eq!(tried.outcome.retries, ["QEMU crashed"; 2]);
    assert_eq!(tried.outcome.verdict, Verdict::Pass);
}

#[test]
fn a_guest_that_is_gone_or_does_not_answer_ends_the_trial() {
    const OOPS: &str = "Unable to handle kernel pointer dereference in virtual kernel address space\nOops: 0004 ilc:2 [#1] SMP";
    let late = || Answer(Reply::TimedOut);
    for (rules, kind, part) in [
        (vec![rule(0, "ready", late())], "timeout (ready)", ""),
        (vec![rule(1, "exit", late())], "timeout (finish-again)", ""),
        (vec![rule(1, "restart", Hangs)], "timeout (restart)", ""),
        (vec![rule(1, "clone", Hangs)], "timeout (clone-again)", ""),
        (vec![rule(0, "freeze", Dies(9, ""))], "infra", "QEMU ended"),
        (
            vec![rule(0, "freeze", Dies(0, "terminating on signal 15"))],
            "infra",
            "QEMU ended",
        ),
        (
            vec![rule(0, "checkpoint", Dies(0, ""))],
            "kernel-fault (reset)",
            "without a word",
        ),
        (
            vec![rule(0, "checkpoint", SaysAndDies(OOPS))],
            "kernel-fault (oops)",
            "ilc:2",
        ),
        (
            vec![rule(1, "exit", Says(OOPS)), nth(1, "taint", 1, Hangs)],
            "kernel-fault (oops)",
            "ilc:2",
        ),
        (vec![rule(1, "restart", Cancelled)], "infra", "cancelled"),
        (
            vec![rule(0, "freeze", Fails("`frozen 1` did not come"))],
            "fail (kernel)",
            "did not come",
        ),
        (
            vec![rule(1, "probe", Fails("the root is not in its cgroup"))],
            "fail (state)",
            "not in its cgroup",
        ),
        (
            vec![rule(1, "resume", Fails("the root has already ended"))],
            "fail (self)",
            "already ended",
        ),
        (
            vec![rule(0, "start", Fails("execute the program"))],
            "infra",
            "execute the program",
        ),
        (
            vec![rule(0, "probe", Answer(Reply::Ready))],
            "infra",
            "unexpected answer",
        ),
        (
            vec![rule(1, "push of a file", Dies(9, ""))],
            "infra",
            "QEMU ended",
        ),
    ] {
        check(&case(), rules, kind, part);
    }
}

#[test]
fn a_fault_on_the_console_goes_before_everything() {
    const WARN: &str = "------------[ cut here ]------------\nWARNING: CPU: 0 PID: 7 at kernel/checkpoint/mm.c:1 x+0x1/0x2";
    let tainted = |mask| Answer(Reply::Taint { mask });
    check(
        &case(),
        vec![rule(0, "checkpoint", Says(WARN))],
        "kernel-fault (warning)",
        "cut here",
    );
    check(
        &case(),
        vec![rule(1, "exit", Says(WARN))],
        "kernel-fault (warning)",
        "mm.c:1",
    );
    check(
        &case(),
        vec![nth(1, "taint", 1, tainted(512))],
        "kernel-fault (taint)",
        "W: the kernel issued a warning",
    );
    // It came with the clone's start: there was none in the template.
    for (what, action, part) in [
        ("clone", Says(WARN), "kernel-fault (warning)"),
        ("taint", tainted(512), "kernel-fault (taint)"),
    ] {
        check(&case(), vec![rule(0, what, action)], part, "");
    }
    // What ends the trial early does not hide it.
    let refused = || Answer(tool(1, "restart: refused: EINVAL (x)\n", ""));
    let tried = check(
        &case(),
        vec![rule(1, "probe", Says(WARN)), rule(1, "restart", refused())],
        "fail (refusal)",
        "the restart was refused",
    );
    assert_eq!(tried.log.last().unwrap(), "1 mark");
    check(
        &case(),
        vec![
            rule(1, "push of a file", Says(WARN)),
            rule(1, "restart", refused()),
        ],
        "kernel-fault (warning)",
        "also (refusal): the restart was refused",
    );
    check(
        &case(),
        vec![rule(0, "exit", Says(WARN)), rule(0, "resume", Hangs)],
        "timeout (finish)",
        "",
    );
}

#[test]
fn what_is_left_in_the_kernel_fails_the_trial() {
    let counts = |mounts| {
        Answer(Reply::Counts {
            counts: vec![("mounts".to_owned(), mounts)],
        })
    };
    check(
        &case(),
        vec![rule(1, "count", counts(10))],
        "fail (leak)",
        "console-b: left behind: 1 mounts (10, and 9 are no leak)",
    );
    check(&case(), vec![rule(1, "count", counts(8))], "pass", "");
    let reports = Some(vec!["unreferenced object 0xff".to_owned()]);
    check(
        &case(),
        vec![rule(0, "kmemleak", Answer(Reply::Unreferenced { reports }))],
        "fail (leak)",
        "console-a: 1 blocks of memory",
    );
    // A failed restart above all.
    let case = Case {
        tamper: Some(Tamper::TruncateEachRecord),
        expect: refuse(By::Restart, "EINVAL", "record"),
        ..case()
    };
    check(
        &case,
        vec![rule(1, "count", counts(10))],
        "fail (leak)",
        "left behind",
    );
}

#[test]
fn a_kernel_with_kmemleak_is_judged_while_the_next_guest_runs() {
    let noted = || rule(0, "first scan", Answer(Reply::Noted { noted: true }));
    let reports = Some(vec!["unreferenced object 0xff".to_owned()]);
    let leaks = || {
        let reports = reports.clone();
        rule(0, "kmemleak", Answer(Reply::Unreferenced { reports }))
    };
    check(&case(), vec![noted()], "pass", "");
    check(
        &case(),
        vec![noted(), leaks()],
        "fail (leak)",
        "console-a: 1 blocks of memory",
    );
    // Whatever becomes of the next guest.
    check(
        &case(),
        vec![noted(), leaks(), rule(1, "restart", Hangs)],
        "fail (leak)",
        "also: timeout (restart)",
    );
}

#[test]
fn what_an_oracle_found_is_not_lost_when_the_trial_ends_early() {
    let failed = || {
        Answer(Reply::Exited {
            status: 256,
            report: Some("FAIL a: b\ndone\n".to_owned()),
        })
    };
    for (action, part) in [
        (Hangs, "FAIL a: b\nalso: timeout (restart)"),
        (Dies(9, ""), "FAIL a: b\nalso: infra: "),
        (Cancelled, "FAIL a: b\nalso: infra: cancelled"),
    ] {
        let rules = vec![rule(0, "exit", failed()), rule(1, "restart", action)];
        check(&case(), rules, "fail (self)", part);
    }
    let rules = vec![rule(0, "exit", failed()), rule(1, "restart", Dies(0, ""))];
    let part = "also (self): after the checkpoint";
    check(&case(), rules, "kernel-fault (reset)", part);
}

#[test]
fn a_known_failure_is_skipped_and_its_absence_fails() {
    let case = Case {
        known_failure: Some(KnownFailure {
            reason: "not yet".to_owned(),
            link: "https://example.org/1".to_owned(),
            until: "2100-01-01".parse().unwrap(),
        }),
        ..case()
    };
    check(&case, Vec::new(), "fail (known-failure)", "remove");
    check(
        &case,
        vec![rule(1, "restart", Hangs)],
        "skip",
        "not yet (https://example.org/1): timeout",
    );
    check(&case, vec![rule(1, "restart", Dies(9, ""))], "infra", "");
}

#[test]
fn a_case_that_cannot_run_starts_nothing() {
    let case = Case {
        skip: Some("the kernel has no CONFIG_X".to_owned()),
        ..case()
    };
    let tried = check(&case, Vec::new(), "skip", "CONFIG_X");
    assert!(tried.log.is_empty() && !tried.dir().exists());
}
