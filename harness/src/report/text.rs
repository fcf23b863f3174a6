//! Lines for people: what failed at once, each architecture when it is done, and a sign of life now and then.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::results::{label, message};
use super::{Build, CaseResult, Event, Finished, ReportError, Results, Sink};
use crate::arch::Arch;

/// Lines of a message that the terminal shows; the rest is in the report.
const MESSAGE_LINES: usize = 12;

/// How often a long run gives a sign of life.
const EVERY: Duration = Duration::from_secs(30);

/// The last line of a run.
pub fn summary(passed: usize, failed: usize, skipped: usize) -> String {
    format!("{passed} passed, {failed} failed, {skipped} skipped")
}

/// How lines look.
#[derive(Clone, Debug)]
pub struct Style {
    /// Paths below this folder are relative to it.
    pub base: PathBuf,
    /// Colours the label of a verdict, given its kind.
    pub paint: fn(kind: &'static str, label: String) -> String,
    /// Whether long work gives signs of life; not where something else shows its progress.
    pub signs_of_life: bool,
}

impl Style {
    /// For logs: no colours.
    pub fn plain(base: &Path) -> Self {
        Self {
            base: base.to_owned(),
            paint: |_, label| label,
            signs_of_life: true,
        }
    }
}

/// What is said of a trial that did not pass: one line if it was skipped, more if it failed, nothing if it passed.
pub fn failure(case: &CaseResult, style: &Style) -> Option<String> {
    let CaseResult { plan, finished } = case;
    let Finished {
        case,
        verdict,
        folder,
        time,
        phases: _,
        diff: _,
        console: _,
    } = finished.as_ref()?;
    let label = (style.paint)(verdict.kind(), label(verdict));
    match verdict.kind() {
        "pass" => return None,
        "skip" => return Some(format!("{label} {case}: {}", message(verdict))),
        _ => {}
    }
    let message = message(verdict);
    let all = message.lines().count();
    let mut lines = vec![format!("{} {case} ({:.1} s)", label, time.as_secs_f64())];
    lines.extend(
        message
            .lines()
            .take(MESSAGE_LINES)
            .map(|line| format!("    {line}")),
    );
    if all > MESSAGE_LINES {
        lines.push(format!("    ... {} more lines", all - MESSAGE_LINES));
    }
    if let Some(folder) = folder {
        let folder = folder.strip_prefix(&style.base).unwrap_or(folder);
        lines.push(format!("    evidence: {}", folder.display()));
    }
    lines.push(format!("    repeat:   {}", plan.command));
    Some(lines.join("\n"))
}

/// A reader that has seen enough, as `head` has, is no error.
pub(super) fn told(outcome: io::Result<()>) -> Result<(), ReportError> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(ReportError::Output),
    }
}

/// `kernel for s390x`.
fn build_name(what: Build, arch: Arch) -> String {
    format!("{} for {arch}", what.name())
}

/// Plain lines to any writer: for logs, and wherever no person looks on.
pub struct Plain<W> {
    out: W,
    style: Style,
    results: Results,
    /// Builds that did something, and when that was said last.
    building: HashMap<(Arch, Build), Instant>,
    /// When the last sign of life was given.
    spoke: Instant,
    /// Cases of an architecture that have no outcome, and when its first trial began.
    left: HashMap<Arch, (usize, Option<Instant>)>,
}

impl<W: Write + Send> Plain<W> {
    /// Write to `out`.
    pub fn new(out: W, style: Style) -> Self {
        Self {
            out,
            style,
            results: Results::default(),
            building: HashMap::new(),
            spoke: Instant::now(),
            left: HashMap::new(),
        }
    }

    fn line(&mut self, line: &str) -> Result<(), ReportError> {
        self.spoke = Instant::now();
        // In one piece: bars are redrawn between two.
        let line = format!("{line}\n");
        told(
            self.out
                .write_all(line.as_bytes())
                .and_then(|()| self.out.flush()),
        )
    }

    fn build_progress(
        &mut self,
        key: (Arch, Build),
        step: &str,
        done: u64,
        total: Option<u64>,
    ) -> Result<(), ReportError> {
        // A build that is in the store makes no progress, so it is not announced.
        let name = build_name(key.1, key.0);
        if !self.style.signs_of_life {
            return Ok(());
        }
        let first = !self.building.contains_key(&key);
        if !first && self.building[&key].elapsed() < EVERY {
            return Ok(());
        }
        self.building.insert(key, Instant::now());
        match (first, total) {
            (true, _) => self.line(&format!("making the {name}")),
            (false, Some(total)) => {
                self.line(&format!("making the {name}: {step}, {done} of {total}"))
            }
            (false, None) => self.line(&format!("making the {name}: {step}")),
        }
    }

    fn trial_finished(&mut self, finished: &Finished) -> Result<(), ReportError> {
        let case = self.results.case(&finished.case);
        let arch = case.map(|case| case.plan.arch);
        if let Some(text) = case.and_then(|case| failure(case, &self.style)) {
            self.line(&text)?;
        }
        let Some((left, began)) = arch.and_then(|arch| self.left.get_mut(&arch)) else {
            return Ok(());
        };
        *left = left.saturating_sub(1);
        let (left, began) = (*left, *began);
        if let Some(arch) = arch.filter(|_| left == 0) {
            let line = self.arch_done(arch, began);
            self.line(&line)
        } else if self.style.signs_of_life && self.spoke.elapsed() >= EVERY {
            let run = &self.results.run;
            let all = self.results.cases.len();
            let line = format!(
                "{} of {all} trials done, {} failed",
                all - run.unfinished,
                run.failed
            );
            self.line(&line)
        } else {
            Ok(())
        }
    }

    fn arch_done(&self, arch: Arch, began: Option<Instant>) -> String {
        let kinds: Vec<_> = self
            .results
            .cases
            .iter()
            .filter(|case| case.plan.arch == arch)
            .map(|case| (case.kind(), case.failed()))
            .collect();
        let count = |wanted| {
            kinds
                .iter()
                .filter(|(kind, _)| *kind == Some(wanted))
                .count()
        };
        let failed = kinds.iter().filter(|(_, failed)| *failed).count();
        let counts = summary(count("pass"), failed, count("skip"));
        match began {
            Some(began) => format!("{arch}: {counts} in {:.1} s", began.elapsed().as_secs_f64()),
            None => format!("{arch}: {counts}"),
        }
    }
}

impl<W: Write + Send> Sink for Plain<W> {
    fn take(&mut self, event: &Event) -> Result<(), ReportError> {
        self.results.apply(event);
        match event {
            Event::RunStarted {
                id, archs, cases, ..
            } => {
                for case in cases {
                    self.left.entry(case.arch).or_default().0 += 1;
                }
                let names: Vec<_> = archs.iter().map(|arch| arch.name()).collect();
                self.line(&format!(
                    "run {id}: {} trials on {}",
                    cases.len(),
                    names.join(", ")
                ))
            }
            Event::BuildProgress {
                arch,
                what,
                step,
                done,
                total,
            } => self.build_progress((*arch, *what), step, *done, *total),
            Event::BuildFinished {
                arch,
                what,
                time,
                built,
                error,
            } => {
                let name = build_name(*what, *arch);
                let seconds = time.as_secs_f64();
                match error {
                    // The whole error comes with each of its cases; here the first line says which.
                    Some(error) => {
                        let line = error.lines().next().unwrap_or_default();
                        self.line(&format!("the {name} could not be made: {line}"))
                    }
                    None if *built => self.line(&format!("made the {name} in {seconds:.1} s")),
                    None => Ok(()),
                }
            }
            Event::TrialStarted { case } => {
                let arch = self.results.case(case).map(|case| case.plan.arch);
                if let Some((_, began)) = arch.and_then(|arch| self.left.get_mut(&arch)) {
                    began.get_or_insert_with(Instant::now);
                }
                Ok(())
            }
            Event::TrialFinished(finished) => self.trial_finished(finished),
            // Who started the run says how it ended: there is more to say than what is in the event.
            Event::RunFinished { .. } | Event::BuildStarted { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Oracle, Verdict};
    use crate::report::tests::{finished, planned};

    #[test]
    fn a_failure_says_what_where_and_how_to_repeat_it() {
        let lines: Vec<_> = (1..=20).map(|n| format!("line {n}")).collect();
        let message = lines.join("\n");
        let oracle = Oracle::State;
        let mut failed = finished("s390x/pipes/full", Verdict::Fail { oracle, message });
        failed.folder = Some("/repo/target/x".into());
        let case = CaseResult {
            plan: planned("s390x/pipes/full"),
            finished: Some(failed),
        };
        let text = failure(&case, &Style::plain(Path::new("/repo"))).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "fail (state) s390x/pipes/full (0.4 s)");
        assert_eq!(lines[12..14], ["    line 12", "    ... 8 more lines"]);
        assert_eq!(lines[14], "    evidence: target/x");
        assert_eq!(
            lines[15],
            "    repeat:   cargo xtask test --scenario 's390x/pipes/full'"
        );
    }

    #[test]
    fn a_log_has_failures_builds_and_one_line_an_architecture() {
        let cases = ["s390x/a/one", "s390x/a/two", "ppc64/a/one"];
        let (arch, what) = (Arch::S390x, Build::Kernel);
        let progress = |step: &str| Event::BuildProgress {
            arch,
            what,
            step: step.to_owned(),
            done: 1,
            total: None,
        };
        let events = [
            Event::RunStarted {
                id: "1".to_owned(),
                dir: "/runs/1".into(),
                started: String::new(),
                archs: vec![Arch::S390x, Arch::Ppc64],
                cases: cases.map(planned).to_vec(),
            },
            Event::BuildStarted { arch, what },
            progress("unpack"),
            progress("make"),
            Event::BuildFinished {
                arch,
                what,
                time: Duration::from_secs(400),
                built: true,
                error: None,
            },
            Event::BuildFinished {
                arch: Arch::Ppc64,
                what,
                time: Duration::ZERO,
                built: false,
                error: None,
            },
            Event::TrialFinished(Box::new(finished(cases[0], Verdict::Pass))),
            Event::TrialFinished(Box::new(finished(
                cases[1],
                Verdict::Skip {
                    reason: "no IPC".to_owned(),
                },
            ))),
        ];
        let mut sink = Plain::new(Vec::new(), Style::plain(Path::new("/")));
        for event in &events {
            sink.take(event).unwrap();
        }
        let expected = "run 1: 3 trials on s390x, ppc64\n\
                        making the kernel for s390x\n\
                        made the kernel for s390x in 400.0 s\n\
                        skip s390x/a/two: no IPC\n\
                        s390x: 1 passed, 0 failed, 1 skipped\n";
        assert_eq!(String::from_utf8(sink.out).unwrap(), expected);
    }
}
