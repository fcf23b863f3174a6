//! Runs without a guest: what goes wrong where costs only what it must.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::*;
use crate::kernel::Flavor;
use crate::report::tests::{id, planned};
use crate::report::{Event, Outcome, Planned, ReportError, Sink};
use crate::scenario::{Caller, Checkpoint, Expect, Pids, Restart};

fn case(name: &str) -> Case {
    let Planned {
        arch,
        family,
        scenario,
        about,
        axes,
        ..
    } = planned(name);
    Case {
        id: id(name),
        arch,
        family,
        scenario,
        about,
        args: axes.clone(),
        axes,
        flavor: Flavor::Fast,
        fault_stride: std::num::NonZeroU32::MIN,
        subject: crate::scenario::Subject::Workload("a::b".to_owned()),
        goldens: None,
        checkpoint: Checkpoint::Container,
        restart: Restart::Fresh,
        caller: Caller::Root,
        pids: Pids::Image,
        timeout: Duration::from_secs(1),
        generations: 1,
        freeze: true,
        tamper: None,
        faults: false,
        disturb: Vec::new(),
        expect: Expect::Pass,
        known_failure: None,
        needs: Vec::new(),
        skip: (name.ends_with("skip")).then(|| "not today".to_owned()),
    }
}

fn infra(cause: &str) -> Verdict {
    Verdict::Infra {
        cause: cause.to_owned(),
    }
}

/// Fails where the name of the scenario says so.
struct Fake {
    broken_build: Option<Arch>,
    broken_boot: Option<Arch>,
    cancel: Cancel,
    tried: Mutex<Vec<String>>,
    rounds: Rounds,
    until: Option<Instant>,
}

impl Fake {
    fn new() -> Self {
        Self {
            broken_build: None,
            broken_boot: None,
            cancel: Cancel::new().unwrap(),
            tried: Mutex::default(),
            rounds: Rounds::ONCE,
            until: None,
        }
    }
}

impl Backend for Fake {
    type Built = Arch;
    type Ready = Arch;

    fn build(&self, arch: Arch, _: &Report) -> Result<Arch, Failure> {
        match self.broken_build {
            Some(broken) if broken == arch => Err(Failure {
                verdict: infra("mm.c:1: error: expected ';'"),
                console: Vec::new(),
            }),
            _ => Ok(arch),
        }
    }

    fn boot(&self, arch: Arch, built: &Arch, _: &Report) -> Result<Arch, Failure> {
        assert_eq!(arch, *built);
        match self.broken_boot {
            Some(broken) if broken == arch => Err(Failure {
                verdict: Verdict::Timeout {
                    phase: "boot".to_owned(),
                },
                console: vec!["Loading initial ramdisk".to_owned()],
            }),
            _ => Ok(arch),
        }
    }

    fn skip(&self, case: &Case, ready: &Arch) -> Option<String> {
        assert_eq!(case.arch, *ready);
        (case.scenario == "needs").then(|| "the kernel has no CONFIG_IPC".to_owned())
    }

    fn trial(&self, case: &Case, ready: &Arch, dir: &Path) -> Tried {
        assert_eq!(case.arch, *ready);
        std::fs::write(dir.join("console-a"), "Linux").unwrap();
        self.tried.lock().unwrap().push(case.id.to_string());
        match &*case.scenario {
            "panics" => panic!("index out of bounds"),
            "fails" => Tried {
                diff: Some("+1".to_owned()),
                ..Tried::infra("no agent".to_owned())
            },
            "cancels" => {
                self.cancel.cancel();
                Tried::infra("cancelled".to_owned())
            }
            "third" if dir.display().to_string().ends_with("#3") => {
                Tried::infra("the third time".to_owned())
            }
            _ => Tried {
                phases: vec![("clone".to_owned(), Duration::from_millis(100))],
                retries: vec!["QEMU crashed".to_owned(); usize::from(case.scenario == "crashes")],
                ..Tried::without_trial(Verdict::Pass)
            },
        }
    }
}

struct Log(Arc<Mutex<Vec<Finished>>>);

impl Sink for Log {
    fn take(&mut self, event: &Event) -> Result<(), ReportError> {
        if let Event::TrialFinished(finished) = event {
            self.0.lock().unwrap().push((**finished).clone());
        }
        Ok(())
    }
}

/// Run these cases; what came out is in the order of the names.
fn check(fake: &Fake, names: &[&str], keep: bool) -> (Outcome, Vec<Finished>, tempfile::TempDir) {
    let scratch = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(scratch.path(), SystemTime::now()).unwrap();
    let cases: Vec<_> = names.iter().map(|name| case(name)).collect();
    let log = Arc::new(Mutex::new(Vec::new()));
    let planned = cases.iter().map(|case| Planned::new(case, String::new()));
    let sinks: Vec<Box<dyn Sink>> = vec![Box::new(Log(log.clone()))];
    let report = Report::start(&folder, planned.collect(), fake.rounds.limit(), sinks);
    let options = Options {
        width: 2,
        keep,
        rounds: fake.rounds,
        until: fake.until,
        cancel: fake.cancel.clone(),
    };
    run(fake, &cases, &folder, &options, &report).unwrap();
    let outcome = report.finish(fake.cancel.is_cancelled());
    let mut finished = std::mem::take(&mut *log.lock().unwrap());
    finished.sort_by_key(|finished| (finished.case.clone(), finished.round));
    (outcome, finished, scratch)
}

#[test]
fn each_case_has_its_verdict_and_only_failures_leave_a_folder() {
    let names = [
        "ppc64/a/fails",
        "ppc64/a/panics",
        "s390x/a/skip",
        "x86_32/a/passes",
    ];
    let (outcome, finished, _scratch) = check(&Fake::new(), &names, false);
    let kinds: Vec<_> = finished.iter().map(|case| case.verdict.kind()).collect();
    assert_eq!(kinds, ["infra", "infra", "skip", "pass"]);
    let kept: Vec<_> = finished
        .iter()
        .map(|case| {
            case.folder
                .as_ref()
                .map(|dir| dir.join("console-a").exists())
        })
        .collect();
    assert_eq!(kept, [Some(true), Some(true), None, None]);
    let panic = infra("the harness panicked: index out of bounds");
    assert_eq!(finished[1].verdict, panic);
    let counts = (outcome.passed, outcome.failed, outcome.skipped);
    assert_eq!(counts, (1, 2, 1));
    assert!(outcome.errors.is_empty());
}

#[test]
fn cases_that_there_is_no_time_for_are_skipped() {
    let fake = Fake {
        until: Some(Instant::now()),
        ..Fake::new()
    };
    let names = ["s390x/a/fails", "x86_32/a/passes"];
    let (outcome, finished, _scratch) = check(&fake, &names, false);
    assert_eq!((outcome.passed, outcome.failed, outcome.skipped), (0, 0, 2));
    let over = "the time that the run has is over".to_owned();
    assert_eq!(finished[0].verdict, Verdict::Skip { reason: over });
    assert!(fake.tried.lock().unwrap().is_empty());
}

#[test]
fn evidence_of_a_trial_that_passed_is_kept_on_demand() {
    let (_, finished, _scratch) = check(&Fake::new(), &["x86_32/a/passes"], true);
    let folder = finished[0].folder.as_ref().unwrap();
    assert!(folder.join("console-a").exists());
}

#[test]
fn a_broken_build_and_a_kernel_that_does_not_boot_cost_their_architecture() {
    let fake = Fake {
        broken_build: Some(Arch::S390x),
        broken_boot: Some(Arch::Ppc64),
        ..Fake::new()
    };
    let names = ["ppc64/a/b", "s390x/a/b", "s390x/a/c", "x86_64/a/b"];
    let (_, finished, _scratch) = check(&fake, &names, false);
    let kinds: Vec<_> = finished.iter().map(|case| case.verdict.kind()).collect();
    assert_eq!(kinds, ["timeout", "infra", "infra", "pass"]);
    assert_eq!(finished[0].console, ["Loading initial ramdisk"]);
    assert_eq!(*fake.tried.lock().unwrap(), ["x86_64/a/b"]);
}

#[test]
fn a_run_that_is_cancelled_starts_nothing_more() {
    let mut names = vec!["x86_32/a/cancels".to_owned()];
    names.extend((0..20).map(|n| format!("x86_64/a/{n}")));
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let fake = Fake::new();
    let (outcome, finished, _scratch) = check(&fake, &names, false);
    let tried = fake.tried.lock().unwrap().len();
    assert!(tried < names.len());
    assert!(finished.iter().all(|case| case.verdict == Verdict::Pass));
    assert_eq!(outcome.unfinished + outcome.passed, names.len());
    assert_eq!(outcome.failed, 0);
}

/// Case and round of these, and whether they passed.
fn rounds(finished: &[Finished]) -> Vec<(&str, Option<u32>, &str)> {
    let row = |one: &Finished| (one.round, one.verdict.kind());
    let rows = finished.iter().map(|one| (one, row(one)));
    rows.map(|(one, (round, kind))| (one.case.as_str(), round, kind))
        .collect()
}

fn times(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

#[test]
fn each_round_has_its_outcome_and_a_folder_if_it_failed() {
    let fake = Fake {
        rounds: Rounds::Times(times(4)),
        ..Fake::new()
    };
    let names = ["ppc64/a/third", "s390x/a/needs", "s390x/a/skip"];
    let (outcome, finished, _scratch) = check(&fake, &names, false);
    let expected = [
        ("ppc64/a/third", Some(1), "pass"),
        ("ppc64/a/third", Some(2), "pass"),
        ("ppc64/a/third", Some(3), "infra"),
        ("ppc64/a/third", Some(4), "pass"),
        ("s390x/a/needs", None, "skip"),
        ("s390x/a/skip", None, "skip"),
    ];
    assert_eq!(rounds(&finished), expected);
    let kept: Vec<_> = finished
        .iter()
        .filter_map(|one| one.folder.as_ref()?.file_name()?.to_str())
        .collect();
    assert_eq!(kept, ["ppc64.a.third#3"]);
    let counts = (outcome.passed, outcome.failed, outcome.skipped);
    assert_eq!((counts, outcome.unfinished), ((3, 1, 2), 0));
}

#[test]
fn the_first_failure_ends_a_run_that_goes_on_until_then() {
    for limit in [None, Some(times(100))] {
        let fake = Fake {
            rounds: Rounds::UntilFail(limit),
            ..Fake::new()
        };
        let names = ["ppc64/a/third", "x86_32/a/passes"];
        let (outcome, finished, _scratch) = check(&fake, &names, false);
        let failed: Vec<_> = finished.iter().filter(|one| one.failed()).collect();
        assert_eq!((failed.len(), failed[0].round), (1, Some(3)));
        assert_eq!((outcome.failed, outcome.unfinished), (1, 0));
        // Those that had begun have their outcome, and no others began.
        assert_eq!(fake.tried.lock().unwrap().len(), finished.len());
        assert!(finished.len() < 20, "{}", finished.len());
    }
}

#[test]
fn what_always_passes_is_tried_so_often_at_most_and_what_cannot_be_tried_ends() {
    for (names, limit, expected) in [
        (&["x86_32/a/passes"][..], Some(times(3)), (3, 0)),
        (&["x86_32/a/skip", "x86_32/a/needs"], None, (0, 2)),
    ] {
        let fake = Fake {
            rounds: Rounds::UntilFail(limit),
            ..Fake::new()
        };
        let (outcome, ..) = check(&fake, names, false);
        assert_eq!((outcome.passed, outcome.skipped), expected);
        assert_eq!((outcome.failed, outcome.unfinished), (0, 0));
    }
}

#[test]
fn a_build_that_fails_ends_a_run_that_goes_on_until_then() {
    let fake = Fake {
        broken_build: Some(Arch::X86_32),
        rounds: Rounds::UntilFail(None),
        ..Fake::new()
    };
    let (outcome, ..) = check(&fake, &["x86_32/a/b", "x86_32/a/c", "ppc64/a/b"], false);
    assert_eq!((outcome.failed, outcome.infra), (2, 2));
    assert_eq!(*fake.tried.lock().unwrap(), [""; 0]);
}

#[test]
fn a_part_that_was_done_once_more_is_told() {
    let (outcome, finished, _scratch) = check(&Fake::new(), &["x86_32/a/crashes"], false);
    assert_eq!((outcome.passed, outcome.retries), (1, 1));
    assert_eq!(finished[0].retries, ["QEMU crashed"]);
}
