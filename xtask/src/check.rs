//! `check`: all tests, step by step.

mod cargo;
mod outside;

use std::io::{Write, stdout};
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossthaw_harness::arch::Arch;
use crossthaw_harness::host::Needs;
use crossthaw_harness::report::Outcome;

use cargo::{Counts, cargo, count, failures};

use crate::build::How;
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::output::Format;
use crate::select::{self, Select};
use crate::{docs, setup, test};

/// Run all tests: packages, formatting, lints, host tests, scenario files, texts, and the whole matrix.
///
/// A step that fails does not keep the others from running.
/// The last line is `N passed, N failed, N skipped`: each host test and each trial counts as one, and so does each of the other steps.
/// A step that could not say how many tests failed (they did not compile, the guests could not be built) counts as one that failed.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Install what is missing without a question.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    how: How,
}

/// One of how many allocations fails where a case has them fail: all of them are a sixth of the time of the matrix.
const FAIL_EACH: u32 = 3;

/// What the trials may take, so that all of it is done in 90 minutes on a slow machine, too.
const MATRIX_MINUTES: u32 = 70;

/// What a step found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    passed: usize,
    failed: usize,
    /// How many of the failed ones the machine is to blame for.
    infra: usize,
    skipped: usize,
    /// What there is to say about it, line by line.
    said: String,
}

impl Found {
    fn passed() -> Self {
        Self {
            passed: 1,
            ..Self::default()
        }
    }

    fn failed(said: impl Into<String>) -> Self {
        Self {
            failed: 1,
            said: said.into(),
            ..Self::default()
        }
    }

    /// The error's own exit code says whether the machine is to blame.
    fn error(error: &anyhow::Error) -> Self {
        let code = error.downcast_ref::<Exit>().map(|exit| exit.code);
        Self {
            infra: usize::from(code.is_none_or(|code| code == exit::INFRA)),
            ..Self::failed(format!("{error:#}"))
        }
    }

    /// `ok`, or the first of what is not.
    fn word(&self) -> &'static str {
        match self {
            Self { failed: 1.., .. } => "FAILED",
            Self { passed: 0, .. } => "skipped",
            _ => "ok",
        }
    }

    fn counts(&self) -> String {
        let Self {
            passed,
            failed,
            infra: _,
            skipped,
            said: _,
        } = self;
        format!("{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// One step: what it does, and how.
struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Options, &Context) -> anyhow::Result<Found>,
}

const STEPS: [Step; 8] = [
    Step {
        name: "machine",
        what: "what kernels, guests and QEMU need is installed",
        // First, so that a question is asked while the person is still there.
        run: |opts, cx| {
            setup::ensure(cx, &Needs::test(&Arch::ALL), opts.yes)?;
            Ok(Found::passed())
        },
    },
    Step {
        name: "formatting",
        what: "cargo fmt --all --check",
        run: |_, cx| tool("fmt", "rustfmt", &["fmt", "--all", "--check"], cx),
    },
    Step {
        name: "lints",
        what: "cargo clippy --workspace --all-targets --locked -- -D warnings",
        run: |_, cx| {
            let lints = [
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ];
            tool("clippy", "clippy", &[&["clippy"], &lints[..]].concat(), cx)
        },
    },
    Step {
        name: "host tests",
        what: "cargo test --workspace --locked --no-fail-fast",
        run: |_, cx| host_tests(cx),
    },
    Step {
        name: "scenario files",
        what: "scenarios/*.yaml have no mistake",
        run: |_, cx| Ok(scenarios(cx)),
    },
    Step {
        name: "texts",
        what: "links and commands in README.md and docs/, licences in kernels/",
        run: |_, cx| texts(cx),
    },
    Step {
        name: "outside",
        what: "programs and scenario files outside of the checkout, as a user brings them",
        run: outside::run,
    },
    Step {
        name: "matrix",
        what: "every scenario on every architecture, within 70 minutes; where allocations fail, each third",
        run: matrix,
    },
];

pub(crate) fn run(opts: &Options, cx: &Context) -> anyhow::Result<ExitCode> {
    let mut all = Vec::new();
    for (index, step) in STEPS.iter().enumerate() {
        let Step { name, what, run } = step;
        say(&format!("[{}/{}] {name}: {what}", index + 1, STEPS.len()))?;
        let start = Instant::now();
        let found = run(opts, cx);
        if cx.cancel.is_cancelled() {
            return Err(Exit::infra(format!("cancelled in the step {name:?}")).into());
        }
        let found = found.unwrap_or_else(|error| Found::error(&error));
        let time = start.elapsed();
        for line in found.said.lines() {
            say(&format!("      {line}"))?;
        }
        say(&format!("      {}, {}", found.word(), seconds(time)))?;
        all.push((name, found, time));
    }
    say("")?;
    for (name, found, time) in &all {
        let counts = found.counts();
        say(&format!(
            "{name:14} {:7} {:>9}  {counts}",
            found.word(),
            seconds(*time)
        ))?;
    }
    let total = all
        .iter()
        .fold(Found::default(), |sum, (_, found, _)| Found {
            passed: sum.passed + found.passed,
            failed: sum.failed + found.failed,
            infra: sum.infra + found.infra,
            skipped: sum.skipped + found.skipped,
            said: String::new(),
        });
    say(&total.counts())?;
    Ok(ExitCode::from(match total.failed {
        0 => exit::OK,
        failed if failed == total.infra => exit::INFRA,
        _ => exit::FAILED,
    }))
}

/// A line now, whoever reads it.
fn say(line: &str) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// A cargo subcommand that either holds or does not; a toolchain that has none cannot say, and that is a failure.
fn tool(name: &str, component: &str, arguments: &[&str], cx: &Context) -> anyhow::Result<Found> {
    if !cargo(name, &[name, "--version"], cx)?.success {
        return Ok(Found::failed(format!(
            "this toolchain has no cargo {name}: rustup component add {component}"
        )));
    }
    let ended = cargo(name, arguments, cx)?;
    Ok(if ended.success {
        Found::passed()
    } else {
        let lines: Vec<_> = ended.output.lines().collect();
        Found::failed(ended.tail(&lines, cx))
    })
}

fn host_tests(cx: &Context) -> anyhow::Result<Found> {
    let arguments = ["test", "--workspace", "--locked", "--no-fail-fast"];
    let ended = cargo("test", &arguments, cx)?;
    let Counts {
        passed,
        failed,
        ignored,
    } = count(&ended.output);
    let mut found = Found {
        passed,
        failed,
        skipped: ignored,
        ..Found::default()
    };
    if !ended.success {
        // A test program that does not compile, or dies, leaves no count.
        found.failed = found.failed.max(1);
        found.said = ended.tail(&failures(&ended.output), cx);
    }
    Ok(found)
}

fn scenarios(cx: &Context) -> Found {
    match select::matrix(cx) {
        Ok(_) => Found::passed(),
        Err(mistakes) => {
            let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
            Found::failed(lines.join("\n"))
        }
    }
}

fn texts(cx: &Context) -> anyhow::Result<Found> {
    let docs::Findings {
        looked_at: _,
        wrong,
    } = docs::check(&cx.repo)?;
    Ok(if wrong.is_empty() {
        Found::passed()
    } else {
        Found::failed(wrong.join("\n"))
    })
}

fn matrix(opts: &Options, cx: &Context) -> anyhow::Result<Found> {
    let Options { yes, how } = opts;
    let options = test::Options {
        repeat: None,
        until_fail: false,
        within: NonZeroU32::new(MATRIX_MINUTES),
        select: Select {
            fault_stride: Some(FAIL_EACH),
            ..Select::all()
        },
        yes: *yes,
        how: how.clone(),
        format: Format::Text,
        keep: false,
    };
    let Outcome {
        passed,
        failed,
        infra,
        skipped,
        unfinished,
        retries: _,
        errors,
    } = test::trials(&options, cx)?;
    // A trial without a verdict is none that passed, and nor is a report that was not written.
    let lost = unfinished + errors.len();
    Ok(Found {
        passed,
        failed: failed + lost,
        infra: infra + lost,
        skipped,
        said: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_what_its_worst_test_is() {
        let found = |passed, failed, skipped| Found {
            passed,
            failed,
            skipped,
            ..Found::default()
        };
        assert_eq!(found(9, 1, 0).word(), "FAILED");
        assert_eq!(found(9, 0, 1).word(), "ok");
        assert_eq!(found(0, 0, 1).word(), "skipped");
    }
}
