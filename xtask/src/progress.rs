//! Bars in a terminal: what is built now, and each architecture's trials.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crossthaw_harness::arch::Arch;
use crossthaw_harness::report::{Build, Event, Plain, ReportError, Results, Sink, Style};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Lines to standard output, bars below them on standard error.
pub(crate) struct Terminal {
    bars: MultiProgress,
    lines: Plain<Above>,
    results: Results,
    builds: HashMap<(Arch, Build), ProgressBar>,
    trials: HashMap<Arch, ProgressBar>,
    failed: HashMap<Arch, usize>,
}

/// Standard output, the bars out of the way.
struct Above(MultiProgress);

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stdout().write(bytes))
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.suspend(|| io::stdout().write_all(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// The colours of `report.html`, as far as terminals have them; none where standard output is none.
pub(crate) fn paint(kind: &'static str, label: String) -> String {
    let label = console::style(label).bold();
    let label = match kind {
        "pass" => label.green(),
        "fail" => label.red(),
        "kernel-fault" => label.magenta(),
        "timeout" => label.yellow(),
        "infra" => label.blue(),
        _ => label.dim(),
    };
    label.to_string()
}

fn style(template: &str) -> ProgressStyle {
    match ProgressStyle::with_template(template) {
        Ok(style) => style.progress_chars("=> "),
        Err(error) => unreachable!("the templates below are right: {error}"),
    }
}

impl Terminal {
    pub(crate) fn new(base: &Path) -> Self {
        let bars = MultiProgress::new();
        let style = Style {
            paint,
            signs_of_life: false,
            ..Style::plain(base)
        };
        Self {
            lines: Plain::new(Above(bars.clone()), style),
            bars,
            results: Results::default(),
            builds: HashMap::new(),
            trials: HashMap::new(),
            failed: HashMap::new(),
        }
    }

    fn build(&mut self, arch: Arch, what: Build, step: &str, done: u64, total: Option<u64>) {
        let bars = &self.bars;
        let bar = self.builds.entry((arch, what)).or_insert_with(|| {
            let bar = bars.add(ProgressBar::no_length());
            bar.set_prefix(format!("{arch:>6} {}", what.name()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if let Some(total) = total {
            bar.set_style(style(
                "{prefix} [{bar:30}] {pos}/{len} {elapsed} {wide_msg}",
            ));
            bar.set_length(total);
            bar.set_position(done);
        } else {
            bar.set_style(style("{prefix} {spinner} {elapsed} {wide_msg}"));
        }
        bar.set_message(step.to_owned());
    }

    fn trial(&mut self, arch: Arch, step: impl FnOnce(&ProgressBar)) {
        let of_arch = |case: &&_| {
            let case: &crossthaw_harness::report::CaseResult = case;
            case.plan.arch == arch
        };
        let (bars, results) = (&self.bars, &self.results);
        let bar = self.trials.entry(arch).or_insert_with(|| {
            let all = results.cases.iter().filter(of_arch).count();
            let (bar, look) = results.run.rounds.map_or_else(
                || {
                    (
                        ProgressBar::no_length(),
                        "{prefix} {spinner} {pos} {elapsed} {wide_msg}",
                    )
                },
                |rounds| {
                    let bar = ProgressBar::new(all as u64 * u64::from(rounds));
                    (bar, "{prefix} [{bar:30}] {pos}/{len} {elapsed} {wide_msg}")
                },
            );
            bar.set_style(style(look));
            let bar = bars.add(bar);
            bar.set_prefix(format!("{arch:>6} trials"));
            bar
        });
        step(bar);
    }

    /// So many trials ended.
    fn finished(&mut self, arch: Arch, trials: u32, failed: bool) {
        let count = self.failed.entry(arch).or_default();
        *count += usize::from(failed);
        let count = *count;
        self.trial(arch, |bar| {
            bar.inc(u64::from(trials));
            if count > 0 {
                bar.set_message(format!("{count} failed"));
            }
            // The line of the architecture takes its place.
            if Some(bar.position()) == bar.length() {
                bar.finish_and_clear();
            }
        });
    }
}

impl Sink for Terminal {
    fn take(&mut self, event: &Event) -> Result<(), ReportError> {
        self.results.apply(event);
        match event {
            Event::BuildProgress {
                arch,
                what,
                step,
                done,
                total,
            } => self.build(*arch, *what, step, *done, *total),
            Event::BuildFinished { arch, what, .. } => {
                if let Some(bar) = self.builds.remove(&(*arch, *what)) {
                    bar.finish_and_clear();
                }
            }
            Event::TrialStarted { case, .. } => {
                if let Some(arch) = self.results.case(case).map(|case| case.plan.arch) {
                    self.trial(arch, |bar| bar.enable_steady_tick(Duration::from_secs(1)));
                }
            }
            Event::TrialFinished(finished) => {
                // One that is not tried is not tried in any round.
                let trials = match finished.round {
                    Some(_) => 1,
                    None => self.results.run.rounds.unwrap_or(1),
                };
                let case = self.results.case(&finished.case);
                if let Some(arch) = case.map(|case| case.plan.arch) {
                    self.finished(arch, trials, finished.failed());
                }
            }
            Event::RunFinished { .. } => {
                for bar in self.builds.values().chain(self.trials.values()) {
                    bar.finish_and_clear();
                }
            }
            Event::RunStarted { .. } | Event::BuildStarted { .. } | Event::TrialRetried { .. } => {}
        }
        self.lines.take(event)
    }
}
