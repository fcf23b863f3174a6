//! The oracle **self**: what the workload's report and its exit say.

/// Failed checks that a message shows.
const SHOWN: usize = 10;

/// A wait status in words, as `waitpid` gives it.
pub fn describe_status(status: i32) -> String {
    match (status & 0x7f, (status >> 8) & 0xff) {
        (0, code) => format!("exit code {code}"),
        (signal, _) => format!("killed by signal {signal}"),
    }
}

/// What a report says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report<'a> {
    /// Checks that held.
    held: usize,
    /// `FAIL` lines.
    failed: Vec<&'a str>,
    /// Lines of neither form.
    odd: Vec<&'a str>,
    /// Its last line is `done`.
    complete: bool,
}

fn parse(text: &str) -> Report<'_> {
    let mut report = Report::default();
    for line in text.lines() {
        // Nothing may follow the last line.
        if report.complete {
            report.odd.push("done");
            report.complete = false;
        }
        match line.split_once(' ') {
            _ if line == "done" => report.complete = true,
            Some(("ok", name)) if !name.is_empty() => report.held += 1,
            Some(("FAIL", name)) if !name.is_empty() => report.failed.push(line),
            _ => report.odd.push(line),
        }
    }
    report
}

/// The root of a tree ended with this wait status and left this report; what is wrong with that, if anything is.
///
/// A report without checks asserts nothing, so it fails as one that says FAIL does.
pub fn judge(status: i32, report: Option<&str>) -> Result<(), String> {
    let end = describe_status(status);
    let Some(text) = report else {
        return Err(format!("the workload left no report ({end})"));
    };
    let parsed = parse(text);
    let mut wrong: Vec<String> = parsed
        .failed
        .iter()
        .take(SHOWN)
        .map(|&line| line.to_owned())
        .collect();
    if parsed.failed.len() > SHOWN {
        wrong.push(format!(
            "and {} more checks failed",
            parsed.failed.len() - SHOWN
        ));
    }
    if let Some(line) = parsed.odd.first() {
        wrong.push(format!("{line:?} is not a line of a report"));
    }
    if !parsed.complete {
        wrong.push("the report is not complete: its last line is not `done`".to_owned());
    }
    if parsed.held + parsed.failed.len() == 0 {
        wrong.push("the report has no check in it".to_owned());
    }
    if status != 0 && parsed.failed.is_empty() {
        wrong.push(format!("the workload ended badly: {end}"));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_complete_report_of_checks_that_held_passes() {
        for (status, report, wrong) in [
            (0, Some("ok a\nok b\ndone\n"), None),
            (0, Some("ok a b c\ndone"), None),
            (0, None, Some("left no report (exit code 0)")),
            (11, None, Some("left no report (killed by signal 11)")),
            (0, Some(""), Some("no check")),
            (0, Some("done\n"), Some("no check")),
            (0, Some("ok a\n"), Some("not complete")),
            (0, Some("ok a\ndone\nok b\n"), Some("not complete")),
            (0, Some("ok a\ndone\ndone\n"), Some("is not a line")),
            (0, Some("ok \ndone\n"), Some("is not a line")),
            (0, Some("okay a\ndone\n"), Some("is not a line")),
            (
                256,
                Some("ok a\nFAIL b: 1, expected 2\ndone\n"),
                Some("FAIL b: 1, expected 2"),
            ),
            (0, Some("FAIL b: c\ndone\n"), Some("FAIL b: c")),
            (256, Some("ok a\ndone\n"), Some("ended badly: exit code 1")),
            (
                0x8b,
                Some("ok a\ndone\n"),
                Some("ended badly: killed by signal 11"),
            ),
        ] {
            let found = judge(status, report);
            match (&found, wrong) {
                (Ok(()), None) => {}
                (Err(message), Some(part)) => {
                    assert!(message.contains(part), "{report:?}: {message}");
                }
                _ => panic!("{status} {report:?}: {found:?}, expected {wrong:?}"),
            }
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let report: String = "FAIL n: x\n".repeat(30);
        let message = judge(256, Some(&(report + "done\n"))).unwrap_err();
        assert_eq!(message.lines().count(), SHOWN + 1);
        assert!(message.ends_with("and 20 more checks failed"));
    }
}
