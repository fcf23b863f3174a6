//! `junit.xml`, for CI servers: a test suite an architecture.

use chrono::DateTime;
use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::results::{label, message};
use super::{CaseResult, Results};
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
        suite.add_test_cases(cases.map(test_case));
        report.add_test_suite(suite);
    }
    report.to_string()
}

fn test_case(case: &CaseResult) -> TestCase {
    let CaseResult { plan, finished } = case;
    let (status, time) = match finished {
        None => (
            error(
                "unfinished",
                "the run was cut short before this case had a verdict",
            ),
            None,
        ),
        Some(finished) => (status(&finished.verdict), Some(finished.time)),
    };
    let mut test = TestCase::new(plan.id.without_arch(), status);
    test.set_classname(format!("{}.{}", plan.arch, plan.family));
    if let Some(time) = time {
        test.set_time(time);
    }
    if let Some(finished) = finished.as_ref().filter(|_| case.failed()) {
        let mut out = vec![format!("repeat: {}", plan.command)];
        let folder = finished.folder.as_ref();
        out.extend(folder.map(|folder| format!("evidence: {}", folder.display())));
        out.extend(finished.diff.clone());
        test.set_system_out(out.join("\n"));
        if !finished.console.is_empty() {
            test.set_system_err(finished.console.join("\n"));
        }
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

    use crate::report::tests::sample;

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
