//! Lines for people: what failed at once, each architecture when it is done, and a sign of life now and then.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::guard::Counts;
use super::results::{command, label, message, trial_name};
use super::{Build, CaseResult, Distribution, Event, Finished, ReportError, Results, Run, Sink};
use crate::arch::Arch;

/// Lines of a message that the terminal shows; the rest is in the report.
const MESSAGE_LINES: usize = 12;

/// Cases of a run of several rounds that are listed one by one though they always passed.
const ALWAYS: usize = 40;

/// Cases of a run whose failures may have scrolled away when it ends, so that they are told again.
const LONG: usize = 40;

/// Failures that are told again with their message; of the others the names are.
const TOLD_AGAIN: usize = 8;

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
pub fn failure(case: &CaseResult, finished: &Finished, run: &Run, style: &Style) -> Option<String> {
    let Finished {
        case: _,
        round,
        verdict,
        folder,
        time,
        phases: _,
        diff: _,
        console: _,
        retries: _,
    } = finished;
    let name = case.trial_name(finished, run.is_repeated());
    let label = (style.paint)(verdict.kind(), label(verdict));
    match verdict.kind() {
        "pass" => return None,
        // Once is enough.
        "skip" if round.is_some_and(|round| round > 1) => return None,
        "skip" => return Some(format!("{label} {name}: {}", message(verdict))),
        _ => {}
    }
    let message = message(verdict);
    let all = message.lines().count();
    let mut lines = vec![format!("{} {name} ({:.1} s)", label, time.as_secs_f64())];
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
    lines.push(format!("    repeat:   {}", command(case, finished, run)));
    Some(lines.join("\n"))
}

/// What failed in a long run, once more: the end is what people see of its output, and often all that is kept.
fn failed_again(results: &Results, style: &Style) -> Option<String> {
    if results.cases.len() <= LONG {
        return None;
    }
    let cases = results.cases.iter();
    let trials = cases.flat_map(|case| case.trials.iter().map(move |trial| (case, trial)));
    let failed: Vec<_> = trials
        .filter(|(_, trial)| !matches!(trial.verdict.kind(), "pass" | "skip"))
        .collect();
    let (first, other) = failed.split_at(failed.len().min(TOLD_AGAIN));
    let mut lines = vec!["failed:".to_owned()];
    for (case, trial) in first {
        lines.extend(failure(case, trial, &results.run, style));
    }
    for (case, trial) in other {
        let label = (style.paint)(trial.verdict.kind(), label(&trial.verdict));
        lines.push(format!("{label} {}", case.trial_name(trial, false)));
    }
    (!failed.is_empty()).then(|| lines.join("\n"))
}

/// The outcomes and durations of each case in a run of several rounds.
fn distribution(results: &Results) -> Vec<String> {
    let cases = results.cases.iter();
    let of = |case: &'_ CaseResult| (case.plan.id.to_string(), Distribution::of(&case.trials));
    let (always, other): (Vec<_>, Vec<_>) = cases
        .map(of)
        .partition(|(_, all)| all.verdicts.keys().all(|kind| *kind == "pass"));
    let mut lines = vec!["outcomes, and seconds (min, median, p90, max):".to_owned()];
    let (listed, rest) = always.split_at(if always.len() > ALWAYS {
        0
    } else {
        always.len()
    });
    let width = |of: fn(&(String, Distribution)) -> usize| {
        listed
            .iter()
            .chain(&other)
            .map(of)
            .max()
            .unwrap_or_default()
    };
    let name_width = width(|(name, _)| name.len());
    let counts_width = width(|(_, all)| all.counts().len());
    for (name, all) in listed.iter().chain(&other) {
        let counts = all.counts();
        let counts = if counts.is_empty() {
            "not tried"
        } else {
            &counts
        };
        let seconds = all.seconds.map_or_else(String::new, |spread| {
            let times = [spread.min, spread.median, spread.p90, spread.max];
            let times = times.map(|time| format!("{:>6.2}", time.as_secs_f64()));
            times.join(" ")
        });
        let line = format!("  {name:<name_width$}  {counts:<counts_width$}  {seconds}");
        lines.push(line.trim_end().to_owned());
        for kind in &all.kinds {
            lines.push(format!(
                "    {} x {}: {} ({})",
                kind.count,
                kind.label,
                kind.message,
                kind.rounds()
            ));
        }
        if all.retries > 0 {
            lines.push(format!("    {} x done once more", all.retries));
        }
    }
    if !rest.is_empty() {
        lines.push(format!("  {} cases always passed", rest.len()));
    }
    lines
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
        let run = &self.results.run;
        if let Some(text) = case.and_then(|case| failure(case, finished, run, &self.style)) {
            self.line(&text)?;
        }
        let rounds = self.results.run.rounds;
        let Some((left, began)) = arch.and_then(|arch| self.left.get_mut(&arch)) else {
            return Ok(());
        };
        // One that is not tried is not tried in any round.
        let ended = if finished.round.is_some() {
            1
        } else {
            rounds.unwrap_or(1)
        };
        *left = left.saturating_sub(ended as usize);
        let (left, began) = (*left, *began);
        if let Some(arch) = arch.filter(|_| left == 0) {
            let line = self.arch_done(arch, began);
            self.line(&line)
        } else if self.style.signs_of_life && self.spoke.elapsed() >= EVERY {
            let run = &self.results.run;
            let (done, failed) = (run.passed + run.failed + run.skipped, run.failed);
            let line = match run.rounds {
                Some(_) => {
                    let all = done + run.unfinished;
                    format!("{done} of {all} trials done, {failed} failed")
                }
                None => format!("{done} trials done, {failed} failed"),
            };
            self.line(&line)
        } else {
            Ok(())
        }
    }

    fn arch_done(&self, arch: Arch, began: Option<Instant>) -> String {
        let cases = self.results.cases.iter();
        let of_arch = cases.filter(|case| case.plan.arch == arch);
        let kinds = of_arch.flat_map(|case| case.trials.iter().map(|trial| trial.verdict.kind()));
        let mut counts = Counts::default();
        kinds.for_each(|kind| counts.add(kind));
        let counts = summary(counts.passed, counts.failed, counts.skipped);
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
                id,
                archs,
                cases,
                rounds,
                ..
            } => {
                for case in cases {
                    // Without a number of rounds none is the last.
                    self.left.entry(case.arch).or_default().0 +=
                        rounds.map_or(usize::MAX / 2 / cases.len(), |rounds| rounds as usize);
                }
                let names: Vec<_> = archs.iter().map(|arch| arch.name()).collect();
                let (count, names) = (cases.len(), names.join(", "));
                self.line(&match rounds {
                    Some(1) => format!("run {id}: {count} trials on {names}"),
                    Some(rounds) => {
                        format!("run {id}: {count} cases on {names}, {rounds} rounds")
                    }
                    None => format!("run {id}: {count} cases on {names}, until one fails"),
                })
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
            Event::TrialStarted { case, .. } => {
                let arch = self.results.case(case).map(|case| case.plan.arch);
                if let Some((_, began)) = arch.and_then(|arch| self.left.get_mut(&arch)) {
                    began.get_or_insert_with(Instant::now);
                }
                Ok(())
            }
            Event::TrialFinished(finished) => self.trial_finished(finished),
            Event::TrialRetried { case, round, why } => {
                let repeated = self.results.run.is_repeated();
                let name = trial_name(case.as_str(), Some(*round), repeated);
                self.line(&format!("done once more in {name}: {why}"))
            }
            Event::RunFinished { .. } if self.results.run.is_repeated() => {
                let lines = distribution(&self.results);
                self.line(&lines.join("\n"))
            }
            // Who started the run says how it ended: there is more to say than what is in the event.
            Event::RunFinished { .. } => {
                let failed = failed_again(&self.results, &self.style);
                failed.map_or(Ok(()), |text| self.line(&text))
            }
            Event::BuildStarted { .. } => Ok(()),
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
            trials: vec![failed],
        };
        let style = Style::plain(Path::new("/repo"));
        let run = Run {
            id: "1".to_owned(),
            rounds: Some(1),
            ..Run::default()
        };
        let text = failure(&case, &case.trials[0], &run, &style).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "fail (state) s390x/pipes/full (0.4 s)");
        assert_eq!(lines[12..14], ["    line 12", "    ... 8 more lines"]);
        assert_eq!(lines[14], "    evidence: target/x");
        assert_eq!(
            lines[15],
            "    repeat:   cargo xtask repeat 1/s390x/pipes/full"
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
                rounds: Some(1),
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

    #[test]
    fn a_long_run_ends_with_what_failed() {
        let of = |count: usize, failed: usize| {
            let mut results = Results::default();
            results.run.id = "1".to_owned();
            results.run.rounds = Some(1);
            results.cases = (0..count)
                .map(|n| {
                    let name = format!("s390x/a/case-{n}");
                    let (oracle, message) = (Oracle::State, "differs".to_owned());
                    let verdict = if n < failed {
                        Verdict::Fail { oracle, message }
                    } else {
                        Verdict::Pass
                    };
                    CaseResult {
                        plan: planned(&name),
                        trials: vec![finished(&name, verdict)],
                    }
                })
                .collect();
            failed_again(&results, &Style::plain(Path::new("/")))
        };
        assert_eq!(of(LONG + 1, 0), None);
        assert_eq!(of(LONG, LONG), None);
        let text = of(LONG + 1, TOLD_AGAIN + 2).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..2],
            ["failed:", "fail (state) s390x/a/case-0 (0.4 s)"]
        );
        assert_eq!(lines[2], "    differs");
        let count = |what: &str| lines.iter().filter(|line| line.starts_with(what)).count();
        assert_eq!(
            (count("fail "), count("    repeat: ")),
            (TOLD_AGAIN + 2, TOLD_AGAIN)
        );
        assert_eq!(lines.last(), Some(&"fail (state) s390x/a/case-9"));
    }

    #[test]
    fn a_run_of_several_rounds_ends_with_the_distribution() {
        let lines = distribution(&crate::report::tests::repeated());
        let expected = "outcomes, and seconds (min, median, p90, max):\n\
            \x20 x86_64/files/offset  2 passed, 1 timeout    0.42   0.42   0.42   0.42\n\
            \x20   1 x timeout (restart): nothing happened in time during restart (round 2)\n\
            \x20 x86_64/files/dup     1 skipped\n\
            \x20   1 x skip: not today (not tried)";
        assert_eq!(lines.join("\n"), expected);
    }
}
