//! The contract of the stream, and samples for the tests of the sinks.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::*;
use crate::oracle::Oracle;

/// A case id; the type has no other way in than the scenario files and JSON.
pub(crate) fn id(id: &str) -> CaseId {
    serde_json::from_value(id.into()).unwrap()
}

/// A case of that id, `ARCH/FAMILY/SCENARIO[AXIS=VALUE]`.
pub(crate) fn planned(name: &str) -> Planned {
    let mut parts = name.splitn(3, '/');
    let mut next = || parts.next().unwrap().to_owned();
    let (arch, family, rest) = (next(), next(), next());
    let (scenario, axes) = rest.split_once('[').unwrap_or((&rest, ""));
    let axes = axes.trim_end_matches(']').split(',');
    let axes = axes.filter_map(|axis| axis.split_once('='));
    Planned {
        id: id(name),
        arch: arch.parse().unwrap(),
        family,
        scenario: scenario.to_owned(),
        about: "Pipes keep their bytes.".to_owned(),
        axes: axes
            .map(|(axis, value)| (axis.to_owned(), value.to_owned()))
            .collect(),
        command: format!("cargo xtask test --scenario '{name}'"),
    }
}

pub(crate) fn finished(name: &str, verdict: Verdict) -> Finished {
    let millis = Duration::from_millis;
    Finished {
        case: id(name),
        round: Some(1),
        verdict,
        time: millis(421),
        phases: vec![
            ("clone".to_owned(), millis(100)),
            ("restart".to_owned(), millis(300)),
        ],
        folder: None,
        diff: None,
        console: Vec::new(),
        retries: Vec::new(),
    }
}

/// A run with one case of every verdict, and one without.
pub(crate) fn sample() -> Results {
    let mut results = Results::default();
    let fail = |oracle| Verdict::Fail {
        oracle,
        message: "S0 and S1 differ: task 2: fd 3: pos: 17 -> 0".to_owned(),
    };
    let verdicts = [
        ("x86_32/files/offset", Some(Verdict::Pass)),
        ("x86_64/files/offset", Some(fail(Oracle::State))),
        (
            "s390x/files/offset",
            Some(Verdict::KernelFault {
                class: "oops".to_owned(),
                lines: vec!["BUG: <bad> page state".to_owned()],
            }),
        ),
        (
            "ppc64/files/offset",
            Some(Verdict::Timeout {
                phase: "restart".to_owned(),
            }),
        ),
        (
            "x86_32/pipes/full[size=4096]",
            Some(Verdict::Skip {
                reason: "the kernel has no CONFIG_PIPE".to_owned(),
            }),
        ),
        (
            "s390x/pipes/full[size=4096]",
            Some(Verdict::Infra {
                cause: "QEMU ended (signal: 9)".to_owned(),
            }),
        ),
        ("ppc64/pipes/full[size=4096]", None),
    ];
    results.apply(&Event::RunStarted {
        id: "20260101-000000".to_owned(),
        dir: "/repo/target/crossthaw/runs/20260101-000000".into(),
        started: "2026-01-01T00:00:00Z".to_owned(),
        archs: Arch::ALL.to_vec(),
        cases: verdicts.iter().map(|(name, _)| planned(name)).collect(),
        rounds: Some(1),
    });
    for (arch, built, error) in [
        (Arch::X86_32, true, None),
        (Arch::S390x, false, None),
        (
            Arch::Ppc64,
            false,
            Some("mm.c:1: error: <stdin>".to_owned()),
        ),
    ] {
        results.apply(&Event::BuildFinished {
            arch,
            what: Build::Kernel,
            time: Duration::from_secs(if built { 412 } else { 0 }),
            built,
            error,
        });
    }
    for (name, verdict) in verdicts {
        let Some(verdict) = verdict else { continue };
        let mut finished = finished(name, verdict);
        if finished.verdict.kind() == "fail" {
            finished.folder = Some(results.run.dir.join(TRIALS).join("x"));
            finished.diff = Some("@@ -1,2 +1,2 @@\n fd 3:\n-  pos: 17\n+  pos: 0\n".to_owned());
            finished.console = vec!["Linux version 6.12".to_owned(), "\x1b[1mbold".to_owned()];
        }
        results.apply(&Event::TrialFinished(Box::new(finished)));
    }
    results
}

/// A run of three rounds: one case fails in the second, and one is not tried.
pub(crate) fn repeated() -> Results {
    let mut results = Results::default();
    let (name, other) = ("x86_64/files/offset", "x86_64/files/dup");
    results.apply(&Event::RunStarted {
        id: "1".to_owned(),
        dir: "/runs/1".into(),
        started: "2026-01-01T00:00:00Z".to_owned(),
        archs: vec![Arch::X86_64],
        cases: vec![planned(name), planned(other)],
        rounds: Some(3),
    });
    let late = || Verdict::Timeout {
        phase: "restart".to_owned(),
    };
    let skip = Verdict::Skip {
        reason: "not today".to_owned(),
    };
    let mut failed = round(name, Some(2), late());
    failed.folder = Some("/runs/1/trials/x86_64.files.offset#2".into());
    for finished in [
        round(name, Some(3), Verdict::Pass),
        failed,
        round(other, None, skip),
        round(name, Some(1), Verdict::Pass),
    ] {
        results.apply(&Event::TrialFinished(Box::new(finished)));
    }
    results
}

/// Keeps what it is given.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<Event>>>);

impl Sink for Memory {
    fn take(&mut self, event: &Event) -> Result<(), ReportError> {
        self.0.lock().unwrap().push(event.clone());
        Ok(())
    }
}

const CASES: [&str; 3] = ["x86_32/a/one", "x86_32/a/two", "s390x/a/one"];

fn start(scratch: &Path, rounds: Option<u32>) -> (Report, Memory) {
    let folder = RunFolder::create(scratch, SystemTime::now()).unwrap();
    let memory = Memory::default();
    let cases = CASES.iter().map(|name| planned(name)).collect();
    let report = Report::start(&folder, cases, rounds, vec![Box::new(memory.clone())]);
    (report, memory)
}

fn verdicts(memory: &Memory) -> Vec<(String, &'static str)> {
    let events = memory.0.lock().unwrap();
    let verdict = |event: &Event| match event {
        Event::TrialFinished(finished) => {
            Some((finished.case.to_string(), finished.verdict.kind()))
        }
        _ => None,
    };
    events.iter().filter_map(verdict).collect()
}

#[test]
fn a_missing_outcome_and_a_doubled_one_are_infra() {
    let scratch = tempfile::tempdir().unwrap();
    let (report, memory) = start(scratch.path(), Some(1));
    report.trial_finished(finished(CASES[0], Verdict::Pass));
    report.trial_finished(finished(CASES[1], Verdict::Pass));
    report.trial_finished(finished(CASES[1], Verdict::Pass));
    let outcome = report.finish(false);
    let counts = (
        outcome.passed,
        outcome.failed,
        outcome.infra,
        outcome.skipped,
    );
    assert_eq!((counts, outcome.unfinished), ((1, 2, 2, 0), 0));
    let expected = [(0, "pass"), (1, "pass"), (1, "infra"), (2, "infra")];
    assert_eq!(
        verdicts(&memory),
        expected.map(|(case, kind)| (CASES[case].to_owned(), kind))
    );
}

#[test]
fn a_run_that_is_cut_short_says_how_much_is_missing() {
    let scratch = tempfile::tempdir().unwrap();
    let (report, memory) = start(scratch.path(), Some(1));
    report.trial_finished(finished(CASES[0], Verdict::Pass));
    let outcome = report.finish(true);
    assert_eq!(
        (outcome.passed, outcome.failed, outcome.unfinished),
        (1, 0, 2)
    );
    let events = memory.0.lock().unwrap();
    assert!(matches!(
        events.last(),
        Some(Event::RunFinished { unfinished: 2, .. })
    ));
}

#[test]
fn an_outcome_of_no_case_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    let (report, memory) = start(scratch.path(), Some(1));
    report.trial_finished(finished("ppc64/a/one", Verdict::Pass));
    let outcome = report.finish(true);
    assert!(matches!(outcome.errors[..], [ReportError::UnknownCase(_)]));
    assert_eq!(verdicts(&memory), []);
}

fn round(name: &str, round: Option<u32>, verdict: Verdict) -> Finished {
    Finished {
        round,
        ..finished(name, verdict)
    }
}

#[test]
fn each_round_of_a_case_has_one_outcome() {
    let scratch = tempfile::tempdir().unwrap();
    let (report, memory) = start(scratch.path(), Some(2));
    let skip = || Verdict::Skip {
        reason: "not today".to_owned(),
    };
    report.trial_finished(round(CASES[0], Some(2), Verdict::Pass));
    report.trial_finished(round(CASES[0], Some(1), Verdict::Pass));
    report.trial_finished(round(CASES[0], Some(2), Verdict::Pass));
    // Not tried: in no round.
    report.trial_finished(round(CASES[1], None, skip()));
    report.trial_finished(round(CASES[2], Some(1), Verdict::Pass));
    let outcome = report.finish(false);
    let counts = (
        outcome.passed,
        outcome.failed,
        outcome.infra,
        outcome.skipped,
    );
    assert_eq!((counts, outcome.unfinished), ((2, 2, 2, 1), 0));
    let events = memory.0.lock().unwrap();
    let mut results = Results::default();
    events.iter().for_each(|event| results.apply(event));
    let run = &results.run;
    assert_eq!((run.passed, run.failed, run.skipped), (2, 2, 1));
    assert!(run.complete);
    let rounds = |at: usize| results.cases[at].trials.len();
    assert_eq!([rounds(0), rounds(1), rounds(2)], [2, 1, 2]);
    assert_eq!(results.cases[2].finished().unwrap().round, Some(2));
}

#[test]
fn a_run_that_its_first_failure_ends_misses_only_what_had_begun() {
    let scratch = tempfile::tempdir().unwrap();
    for rounds in [None, Some(5)] {
        let (report, memory) = start(scratch.path(), rounds);
        for name in &CASES[..2] {
            report.trial_started(&id(name), 1);
        }
        report.trial_finished(round(CASES[0], Some(1), Verdict::Pass));
        report.trial_started(&id(CASES[0]), 2);
        let late = Verdict::Timeout {
            phase: "restart".to_owned(),
        };
        report.trial_finished(round(CASES[0], Some(2), late));
        report.stop();
        let outcome = report.finish(false);
        let counts = (outcome.passed, outcome.failed, outcome.infra);
        assert_eq!((counts, outcome.unfinished), ((1, 2, 1), 0));
        let events = memory.0.lock().unwrap();
        let last = events.last();
        assert!(matches!(
            last,
            Some(Event::RunFinished { stopped: true, .. })
        ));
    }
}

#[test]
fn a_retry_is_an_event_and_is_counted() {
    let scratch = tempfile::tempdir().unwrap();
    let (report, memory) = start(scratch.path(), Some(1));
    report.trial_started(&id(CASES[0]), 1);
    report.trial_retried(&id(CASES[0]), 1, "QEMU crashed");
    let outcome = report.finish(true);
    assert_eq!(outcome.retries, 1);
    let events = memory.0.lock().unwrap();
    let mut results = Results::default();
    events.iter().for_each(|event| results.apply(event));
    assert_eq!(results.run.retries, 1);
}
