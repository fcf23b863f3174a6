//! Cargo's own checks: run, and what they say.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use crossthaw_harness::process::{Process, Surroundings, shell_line};
use indicatif::{ProgressBar, ProgressStyle};

use crate::context::Context;

/// How a cargo command ended, and what it wrote.
pub(super) struct Ended {
    pub(super) success: bool,
    pub(super) output: String,
    log: PathBuf,
}

impl Ended {
    /// The end of these lines of what it wrote, and where the rest is.
    pub(super) fn tail(&self, lines: &[&str], cx: &Context) -> String {
        const MOST: usize = 80;
        let log = self.log.strip_prefix(&cx.repo).unwrap_or(&self.log);
        let left_out = lines.len().saturating_sub(MOST);
        let mut tail = lines[left_out..].join("\n");
        if left_out > 0 {
            tail.insert_str(0, "...\n");
        }
        format!("{tail}\nall of it is in {}", log.display())
    }
}

/// Run cargo with these arguments, its output in a file below `target/crossthaw/check`.
pub(super) fn cargo(name: &str, arguments: &[&str], cx: &Context) -> anyhow::Result<Ended> {
    let dir = cx.repo.join("target/crossthaw/check");
    let log = dir.join(format!("{name}.log"));
    let failed = || format!("cannot write {}", log.display());
    fs::create_dir_all(&dir).with_context(failed)?;
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&log)
        .with_context(failed)?;
    // The cargo of the same toolchain: rustup has put its choice into the environment.
    let argv: Vec<_> = ["cargo"]
        .iter()
        .chain(arguments)
        .map(|&word| word.to_owned())
        .collect();
    let surroundings = Surroundings {
        dir: &cx.repo,
        set: &[("CARGO_TERM_COLOR", "never")],
        unset: &[],
        log: &file,
    };
    let bar = spinner(&shell_line(&argv), cx);
    let mut process = Process::spawn_logged(&argv, &surroundings, &cx.cancel)?;
    let status = process.finish(Duration::from_millis(100), || bar.tick());
    bar.finish_and_clear();
    let success = status?.success();
    let output = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
    Ok(Ended {
        success,
        output: String::from_utf8_lossy(&output).into_owned(),
        log,
    })
}

/// Something that moves while a person waits.
fn spinner(what: &str, cx: &Context) -> ProgressBar {
    if !cx.terminal {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("      {spinner} {msg} {elapsed}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::new_spinner()
        .with_style(style)
        .with_message(what.to_owned())
}

/// What libtest and cargo say about failures, or all lines if neither says a thing.
pub(super) fn failures(output: &str) -> Vec<&str> {
    let mut within = false;
    let about = |line: &&str| {
        let begins = *line == "failures:" || line.starts_with("error");
        within = begins || (within && !line.starts_with("test result: "));
        within
    };
    let lines: Vec<_> = output.lines().filter(about).collect();
    if lines.is_empty() {
        output.lines().collect()
    } else {
        lines
    }
}

/// Tests of all test programs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) ignored: usize,
}

/// Add up the lines `test result: ok. 12 passed; 0 failed; 1 ignored; ...` of libtest.
pub(super) fn count(output: &str) -> Counts {
    let mut found = Counts::default();
    for line in output.lines() {
        let Some(counts) = line.strip_prefix("test result: ") else {
            continue;
        };
        let number = |of: &str| {
            let words = counts.split([' ', ';']).filter(|word| !word.is_empty());
            let words: Vec<_> = words.collect();
            let at = words.iter().position(|word| *word == of)?;
            words.get(at.checked_sub(1)?)?.parse::<usize>().ok()
        };
        found.passed += number("passed").unwrap_or_default();
        found.failed += number("failed").unwrap_or_default();
        found.ignored += number("ignored").unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_test_programs_are_added_up() {
        let output = "running 3 tests\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
            test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\nerror: 1 target failed\n";
        assert_eq!(
            count(output),
            Counts {
                passed: 14,
                failed: 3,
                ignored: 1,
            }
        );
        assert_eq!(count("error: could not compile\n"), Counts::default());
    }

    #[test]
    fn failures_are_picked_out() {
        let output = "running 2 tests\ntest a ... FAILED\n\nfailures:\n\n---- a stdout ----\nleft: 1\n\nfailures:\n    a\n\n\
            test result: FAILED. 1 passed; 1 failed;\n\nrunning 1 test\ntest b ... ok\ntest result: ok. 1 passed;\nerror: 1 target failed:\n    `--lib`\n";
        let picked = failures(output).join("\n");
        assert!(
            picked.contains("left: 1") && picked.ends_with("error: 1 target failed:\n    `--lib`")
        );
        assert!(!picked.contains("running") && !picked.contains("test b"));
        assert_eq!(failures("Segmentation fault"), ["Segmentation fault"]);
    }
}
