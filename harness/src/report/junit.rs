//! `junit.xml`, for CI servers: a test suite an architecture, a test case a trial.

use chrono::DateTime;
use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::results::{command, label, message, trial_name};
use super::{CaseResult, Finished, Results, Run};
use crate::oracle::Verdict;

/// The whole file.
pub(super) fn render(results: &Results) -> Result<String, SerializeError> {
    let mut report = Report::new("crossthaw");
    report.set_time(results.run.time);
    let started = DateTime::parse_from_rfc3339(&results.run.started).ok();
    if let Some(started) = started {
        report.set_timestamp(started);
    }
    for &arch in &results.run.archs {
        let mut suite = TestSuite::new(arch.name());
        if let Some(started) = started {
            suite.set_timestamp(started);
        }
        let cases = results.cases.iter().filter(|case| case.plan.arch == arch);
        suite.add_test_cases(cases.flat_map(|case| test_cases(case, &results.run)));
        report.add_test_suite(suite);
    }
    report.to_string()
}

/// One a trial, by round; one if there is none.
fn test_cases(case: &CaseResult, run: &Run) -> Vec<TestCase> {
    if case.trials.is_empty() {
        let status = if run.stopped {
            let mut status = TestCaseStatus::skipped();
            status.set_message("not tried: another trial failed first");
            status
        } else {
            error(
                "unfinished",
                "the run was cut short before this case had a verdict",
            )
        };
        return vec![named(case, case.plan.id.without_arch().to_owned(), status)];
    }
    let mut trials: Vec<_> = case.trials.iter().collect();
    trials.sort_by_key(|trial| trial.round);
    let trials = trials.into_iter();
    trials.map(|trial| test_case(case, trial, run)).collect()
}

fn named(case: &CaseResult, name: String, status: TestCaseStatus) -> TestCase {
    let mut test = TestCase::new(name, status);
    test.set_classname(format!("{}.{}", case.plan.arch, case.plan.family));
    test
}

fn test_case(case: &CaseResult, trial: &Finished, run: &Run) -> TestCase {
    let name = trial_name(case.plan.id.without_arch(), trial.round, run.is_repeated());
    let mut test = named(case, name, status(&trial.verdict));
    test.set_time(trial.time);
    let retries = trial.retries.iter();
    let mut out: Vec<_> = retries
        .map(|why| format!("done once more: {why}"))
        .collect();
    if trial.failed() {
        out.push(format!("repeat: {}", command(case, trial, run)));
        let folder = trial.folder.as_ref();
        out.extend(folder.map(|folder| format!("evidence: {}", folder.display())));
        out.extend(trial.diff.clone());
        if !trial.console.is_empty() {
            test.set_system_err(trial.console.join("\n"));
        }
    }
    if !out.is_empty() {
        test.set_system_out(out.join("\n"));
    }
    test
}

fn error(kind: &str, text: &str) -> TestCaseStatus {
    non_success(NonSuccessKind::Error, kind, text)
}

fn non_success(kind: NonSuccessKind, ty: &str, text: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status
        .set_type(ty)
        .set_message(text.lines().next().unwrap_or_default())
        .set_description(text);
    status
}

fn status(verdict: &Verdict) -> TestCaseStatus {
    let (label, text) = (label(verdict), message(verdict));
    match verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Skip { reason } => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(reason.as_str());
            status
        }
        Verdict::Infra { .. } => error(&label, &text),
        Verdict::Fail { .. } | Verdict::KernelFault { .. } | Verdict::Timeout { .. } => {
            non_success(NonSuccessKind::Failure, &label, &text)
        }
    }
}

#[cfg(test)]
mod tests {
    use quick_junit::Report;

    use crate::report::tests::{repeated, sample};

    #[test]
    fn each_round_is_a_test_case() {
        let text = super::render(&repeated()).unwrap();
        let report = Report::deserialize_from_str(&text).unwrap();
        let suite = &report.test_suites[0];
        let names: Vec<_> = suite
            .test_cases
            .iter()
            .map(|case| case.name.as_str())
            .collect();
        let expected = [
            "files/offset#1",
            "files/offset#2",
            "files/offset#3",
            "files/dup",
        ];
        assert_eq!(names, expected);
        assert_eq!((suite.failures, suite.skipped), (1, 1));
    }

    #[test]
    fn each_case_is_there_once_with_what_a_ci_server_shows() {
        let text = super::render(&sample()).unwrap();
        let report = Report::deserialize_from_str(&text).unwrap();
        let suites: Vec<_> = report
            .test_suites
            .iter()
            .map(|suite| {
                let counts = (suite.tests, suite.failures, suite.errors, suite.skipped);
                (suite.name.as_str(), counts)
            })
            .collect();
        let expected = [
            ("x86_32", (2, 0, 0, 1)),
            ("x86_64", (1, 1, 0, 0)),
            ("s390x", (2, 1, 1, 0)),
            ("ppc64", (2, 1, 1, 0)),
        ];
        assert_eq!(suites, expected);
        let failed = &report.test_suites[1].test_cases[0];
        let out = failed.system_out.as_ref().unwrap().as_str();
        assert!(
            out.contains("repeat: cargo xtask") && out.contains("+  pos: 0"),
            "{out}"
        );
    }
}
