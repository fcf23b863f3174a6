//! `mutants`: measure the oracles with breakages of the c/r source.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context as _;
use crossthaw_harness::arch::Arch;
use crossthaw_harness::host::Needs;
use crossthaw_harness::kernel::Flavor;
use crossthaw_harness::mutants::{
    self, Caught, Meaning, MeasureError, Mutant, News, Row, Settings,
};
use crossthaw_harness::report::RunFolder;
use crossthaw_harness::run::{Memory, width};
use crossthaw_harness::scenario::SelectError;
use crossthaw_harness::store::KeyBuilder;

use crate::build::{How, Show, kernel_error};
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::output::{Format, quietly};
use crate::progress::paint;
use crate::select;
use crate::setup;
use crate::test::memory;

/// Break the c/r source in small ways, one at a time, and see which oracle notices.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only this architecture (repeatable).
    #[arg(long = "arch", value_name = "ARCH")]
    archs: Vec<Arch>,
    /// Only mutants whose names match, such as 'files/*' (repeatable).
    #[arg(long = "mutant", value_name = "GLOB")]
    mutants: Vec<String>,
    /// Show the mutants and what each breaks, and measure nothing.
    #[arg(long)]
    list: bool,
    /// Measure what is known from an earlier run, too.
    #[arg(long)]
    again: bool,
    /// Keep the folders of trials that caught a mutant, too.
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    recorded: Recorded,
    /// Lines for people, or one event as a JSON object a line.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    how: How,
}

/// What has harness/mutants/caught.tsv to do with it?
#[derive(Debug, clap::Args)]
struct Recorded {
    /// Only mutants that harness/mutants/caught.tsv does not have.
    #[arg(long)]
    unrecorded: bool,
    /// Write down in the checkout where each was caught: harness/mutants/caught.tsv.
    #[arg(long, conflicts_with = "list")]
    record: bool,
}

pub(crate) fn run(opts: &Options, cx: &Context) -> anyhow::Result<ExitCode> {
    let all = mutants::load(&cx.repo).map_err(|mistakes| {
        let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        Exit::usage(format!("mutants have mistakes:\n{}", lines.join("\n")))
    })?;
    let caught = Caught::load(&cx.repo, &all).map_err(|error| Exit::usage(error.to_string()))?;
    let mut selected = mutants::select(&all, &opts.mutants).map_err(|error| match error {
        SelectError::Glob { .. } => Exit::usage(error.to_string()),
        _ => Exit::nothing(error.to_string()),
    })?;
    let asked = |arch: &Arch| opts.archs.is_empty() || opts.archs.contains(arch);
    let archs: Vec<_> = Arch::ALL.into_iter().filter(asked).collect();
    if opts.recorded.unrecorded {
        let unrecorded =
            |mutant: &Mutant, arch| mutant.archs.contains(&arch) && !caught.has(mutant, arch);
        selected.retain(|mutant| archs.iter().any(|&arch| unrecorded(mutant, arch)));
    }
    if opts.list {
        return quietly(list(&selected, opts.format));
    }
    let concerned = |mutant: &&Mutant| mutant.archs.iter().any(|arch| archs.contains(arch));
    if !selected.iter().any(concerned) {
        let message =
            "no mutant that was selected concerns these architectures, or all are recorded";
        return Err(Exit::nothing(message).into());
    }
    measure(opts, cx, &selected, &archs, caught)
}

fn list(selected: &[&Mutant], format: Format) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for Mutant {
        id,
        breaks,
        scenarios,
        archs,
        flavor,
        hangs,
        ..
    } in selected
    {
        match format {
            Format::Text => writeln!(out, "{id:44}  {breaks}")?,
            Format::Json => {
                let line = serde_json::json!({
                    "mutant": id, "breaks": breaks, "scenarios": scenarios,
                    "archs": archs, "flavor": flavor, "hangs": hangs,
                });
                writeln!(out, "{line}")?;
            }
        }
    }
    Ok(out.flush()?)
}

fn measure(
    opts: &Options,
    cx: &Context,
    selected: &[&Mutant],
    archs: &[Arch],
    mut caught: Caught,
) -> anyhow::Result<ExitCode> {
    let Options {
        again,
        keep,
        recorded,
        format,
        how,
        ..
    } = opts;
    let matrix = select::matrix(cx).map_err(|mistakes| {
        let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        Exit::usage(format!(
            "the scenario files have mistakes:\n{}",
            lines.join("\n")
        ))
    })?;
    setup::ensure(cx, &Needs::test(archs), false)?;
    let build = how.context(cx)?;
    let source = how.source();
    let exe = std::env::current_exe().context("cannot find this program's own file")?;
    let harness = KeyBuilder::new("harness").file("xtask", &exe)?.finish();
    let folder = RunFolder::create(&cx.mutant_runs(), SystemTime::now())?;
    let show = Show::new(cx.terminal && *format == Format::Text);
    let flavors = selected.iter().map(|mutant| mutant.flavor);
    let trial = flavors.map(memory).max().unwrap_or(memory(Flavor::Fast));
    let settings = Settings {
        build: &build,
        source: &source,
        matrix: &matrix,
        caught: &caught,
        dir: folder.dir(),
        harness: &harness,
        width: width(build.jobs, Memory::available(), trial),
        keep: *keep,
        again: *again,
        progress: &|progress| {
            // Without a terminal a line a mutant is enough.
            if cx.terminal {
                show.tell(progress);
            }
        },
    };
    let pairs = pairs(selected, archs);
    let mut teller = Teller {
        format: *format,
        pairs,
        rows: Vec::new(),
        show: &show,
    };
    let outcome = mutants::measure(&settings, selected, archs, &mut |news| teller.tell(&news));
    show.done();
    let rows = teller.rows;
    keep_table(folder.dir(), &rows, selected)?;
    if recorded.record {
        caught.note(&rows);
        caught.save(&cx.repo)?;
    }
    if *format == Format::Text {
        print!("\n{}", mutants::text(&rows));
        let dir = folder.dir().strip_prefix(&cx.repo).unwrap_or(folder.dir());
        eprintln!("table: {}", dir.join("mutants.md").display());
    }
    let counts = Counts::of(&rows);
    say_last(*format, &counts, pairs - rows.len());
    match outcome {
        Ok(()) => Ok(ExitCode::from(counts.code())),
        Err(error) => Err(failed(error)),
    }
}

/// How many measurements there will be.
fn pairs(selected: &[&Mutant], archs: &[Arch]) -> usize {
    let of = |mutant: &&Mutant| mutant.archs.iter().filter(|it| archs.contains(it)).count();
    selected.iter().map(of).sum()
}

/// The table in the run's folder, for programs and for people.
fn keep_table(dir: &Path, rows: &[Row], selected: &[&Mutant]) -> anyhow::Result<()> {
    let mut json = serde_json::to_vec_pretty(rows)?;
    json.push(b'\n');
    let files = [
        ("mutants.json", json),
        ("mutants.md", mutants::markdown(rows, selected).into_bytes()),
    ];
    for (name, bytes) in files {
        let path = dir.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Tells of each step as it comes.
struct Teller<'a> {
    format: Format,
    /// Measurements in all.
    pairs: usize,
    rows: Vec<Row>,
    show: &'a Show,
}

impl Teller<'_> {
    fn tell(&mut self, news: &News) {
        if let News::MutantFinished(row) = news {
            self.rows.push(row.clone());
        }
        self.show.done();
        // Who has seen enough of the output has closed it.
        let _ = match self.format {
            Format::Json => serde_json::to_string(news)
                .map_err(io::Error::other)
                .and_then(|line| writeln!(io::stdout(), "{line}")),
            Format::Text => self.line(news),
        };
    }

    fn line(&self, news: &News) -> io::Result<()> {
        match news {
            News::BaselineStarted {
                arch,
                flavor,
                cases,
                known,
            } => writeln!(
                io::stdout(),
                "{arch} {flavor}: the true kernel: {cases} cases to try, {known} known to pass"
            ),
            News::BaselineFinished {
                arch,
                flavor,
                failed,
            } => failed.iter().try_for_each(|(case, verdict)| {
                writeln!(
                    io::stdout(),
                    "{arch} {flavor}: the true kernel does not pass {case}: {verdict}"
                )
            }),
            News::MutantStarted { .. } => Ok(()),
            News::MutantFinished(row) => {
                let kind = match row.outcome.meaning() {
                    Meaning::Good => "pass",
                    Meaning::Missed | Meaning::Wrong => "fail",
                    Meaning::Unknown => "infra",
                };
                let word = paint(kind, format!("{:12}", row.outcome.word()));
                let time = if row.known {
                    "known".to_owned()
                } else {
                    format!("{:.1} s", row.time().as_secs_f64())
                };
                writeln!(
                    io::stdout(),
                    "[{}/{}] {word} {}/{} ({time}): {}",
                    self.rows.len(),
                    self.pairs,
                    row.arch,
                    row.mutant,
                    row.outcome
                )
            }
        }
    }
}

/// How many measurements came to what.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    caught: usize,
    survived: usize,
    wrong: usize,
    infra: usize,
}

impl Counts {
    fn of(rows: &[Row]) -> Self {
        let mut counts = Self::default();
        for row in rows {
            *match row.outcome.meaning() {
                Meaning::Good => &mut counts.caught,
                Meaning::Missed => &mut counts.survived,
                Meaning::Wrong => &mut counts.wrong,
                Meaning::Unknown => &mut counts.infra,
            } += 1;
        }
        counts
    }

    fn code(&self) -> u8 {
        let Self {
            caught: _,
            survived,
            wrong,
            infra,
        } = self;
        if survived + wrong > 0 {
            exit::FAILED
        } else if *infra > 0 {
            exit::INFRA
        } else {
            exit::OK
        }
    }
}

fn say_last(format: Format, counts: &Counts, unfinished: usize) {
    let Counts {
        caught,
        survived,
        wrong,
        infra,
    } = counts;
    if unfinished > 0 {
        eprintln!("{unfinished} mutants were not measured");
    }
    let line =
        format!("{caught} caught, {survived} survived, {wrong} wrong, {infra} not to be measured");
    let _ = match format {
        Format::Text => writeln!(io::stdout(), "{line}"),
        Format::Json => writeln!(io::stderr(), "{line}"),
    };
}

/// An error with its exit code.
fn failed(error: MeasureError) -> anyhow::Error {
    let code = match error {
        MeasureError::Kernel(error) => return kernel_error(error),
        MeasureError::Mutant(_) | MeasureError::Boot { .. } => exit::FAILED,
        _ => exit::INFRA,
    };
    let message = format!("{:#}", anyhow::Error::from(error));
    Exit { code, message }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_survivor_or_a_wrong_mutant_fails_and_a_hitch_does_not_pass() {
        let code = |survived, wrong, infra| {
            let counts = Counts {
                caught: 9,
                survived,
                wrong,
                infra,
            };
            counts.code()
        };
        assert_eq!(code(0, 0, 0), exit::OK);
        assert_eq!(code(1, 0, 1), exit::FAILED);
        assert_eq!(code(0, 1, 0), exit::FAILED);
        assert_eq!(code(0, 0, 1), exit::INFRA);
    }
}
