//! `test`: the main job: build what is missing, run the cases, report.

use std::io::{self, Write as _};
use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use crossthaw_harness::build::BuildContext;
use crossthaw_harness::host::Needs;
use crossthaw_harness::kernel::{Flavor, Source};
use crossthaw_harness::oracle::golden::Orphan;
use crossthaw_harness::process::shell_line;
use crossthaw_harness::programs::{self, StageError};
use crossthaw_harness::qemu::memory_mib;
use crossthaw_harness::report::{
    EventsFile, Files, JsonLines, Outcome, Plain, Planned, Report, RunFolder, Sink, Style, summary,
};
use crossthaw_harness::run::{self, Machines, Memory, Rounds};
use crossthaw_harness::scenario::{Case, CaseId};

use crate::build::How;
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::output::Format;
use crate::progress::{Terminal, paint};
use crate::review;
use crate::select::Select;
use crate::setup;

/// Memory of a QEMU beyond its guest's, in MiB: its own code, translated code, tables.
const QEMU_MIB: u64 = 150;

/// Memory of a trial: two guests.
pub(crate) fn memory(flavor: Flavor) -> Memory {
    Memory(2 * (u64::from(memory_mib(flavor)) + QEMU_MIB))
}

/// Build kernels and guests, run the cases, and report what passed.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Install missing packages without a question.
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) how: How,
    /// Lines for people, or one event as a JSON object a line.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
    /// Keep the folders of trials that passed, too.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Try each case so often, and say how the outcomes and durations are distributed.
    #[arg(long, value_name = "N")]
    pub(crate) repeat: Option<NonZeroU32>,
    /// Try the cases again and again, with --repeat so often at most, until a trial neither passes nor is skipped.
    #[arg(long)]
    pub(crate) until_fail: bool,
    /// Begin no trial after so many minutes; the cases that are left are skipped, and counted as that.
    #[arg(long, value_name = "MINUTES", conflicts_with_all = ["repeat", "until_fail"])]
    pub(crate) within: Option<NonZeroU32>,
    #[command(flatten)]
    pub(crate) select: Select,
}

impl Options {
    fn rounds(&self) -> Rounds {
        if self.until_fail {
            Rounds::UntilFail(self.repeat)
        } else {
            self.repeat.map_or(Rounds::ONCE, Rounds::Times)
        }
    }
}

pub(crate) fn run(opts: &Options, cx: &Context) -> anyhow::Result<ExitCode> {
    let ended = trials(opts, cx)?;
    let code = code(&ended, cx);
    let orphaned = orphans(cx)?;
    Ok(ExitCode::from(if orphaned {
        code.max(exit::FAILED)
    } else {
        code
    }))
}

/// Say which goldens have no case; whether there are any.
fn orphans(cx: &Context) -> anyhow::Result<bool> {
    let orphaned = review::orphaned(cx)?;
    for Orphan { path, reason, .. } in &orphaned {
        let path = path.strip_prefix(&cx.repo).unwrap_or(path);
        eprintln!(
            "error: {} is an orphan, {reason}: `cargo xtask review` deletes it",
            path.display()
        );
    }
    Ok(!orphaned.is_empty())
}

/// Run the cases, and say how they ended.
pub(crate) fn trials(opts: &Options, cx: &Context) -> anyhow::Result<Outcome> {
    let Options {
        select,
        yes,
        how,
        format,
        keep,
        repeat: _,
        until_fail: _,
        within,
    } = opts;
    let minutes = within.map(|minutes| Duration::from_secs(60 * u64::from(minutes.get())));
    let until = minutes.map(|minutes| Instant::now() + minutes);
    let rounds = opts.rounds();
    let cases = select.cases(cx)?;
    let source = source(how)?;
    let archs: Vec<_> = select
        .archs()
        .into_iter()
        .filter(|arch| cases.iter().any(|case| case.arch == *arch))
        .collect();
    setup::ensure(cx, &Needs::test(&archs), *yes)?;

    let build = how.context(cx)?;
    programs(&build, &cases, cx)?;
    let jobs = build.jobs;
    let plan = cases
        .iter()
        .map(|case| Planned::new(case, repeat(opts, case.arch.name(), &case.id)))
        .collect();
    let machines = Machines::new(build, select.flavor, source, &cx.repo.join("snapshots"));
    let conduct = Conduct {
        format: *format,
        keep: *keep,
        rounds,
        until,
        flavor: select.flavor,
        jobs,
        bars: cx.terminal,
    };
    conduct.run(cx, machines, &cases, plan)
}

/// How cases are tried, whatever they are made of.
pub(crate) struct Conduct {
    pub(crate) format: Format,
    /// Keep the folders of trials that passed.
    pub(crate) keep: bool,
    pub(crate) rounds: Rounds,
    /// When the last trial may begin.
    pub(crate) until: Option<Instant>,
    /// What the kernel is made for, which decides how much memory a trial takes.
    pub(crate) flavor: Flavor,
    pub(crate) jobs: usize,
    /// Show bars.
    pub(crate) bars: bool,
}

impl Conduct {
    /// Try the cases in a run of their own, report it, and say how it ended.
    pub(crate) fn run(
        &self,
        cx: &Context,
        machines: Machines,
        cases: &[Case],
        plan: Vec<Planned>,
    ) -> anyhow::Result<Outcome> {
        let options = run::Options {
            width: run::width(self.jobs, Memory::available(), memory(self.flavor)),
            keep: self.keep,
            rounds: self.rounds,
            until: self.until,
            cancel: cx.cancel.clone(),
        };
        let folder = RunFolder::create(&cx.runs(), SystemTime::now())?;
        let sinks = sinks(self.format, self.bars, &folder, cx)?;
        let report = Report::start(&folder, plan, self.rounds.limit(), sinks);
        // States that are not the golden ones stay with the run.
        let machines = machines.recorded_in(folder.dir()).with_goldens_of(cases);
        let outcome = run::run(&machines, cases, &folder, &options, &report);
        let ended = report.finish(cx.cancel.is_cancelled() || outcome.is_err());
        conclude(&ended, self.format, &folder, cx);
        outcome?;
        Ok(ended)
    }
}

/// What is wrong with the programs of these cases is wrong before anything boots.
fn programs(build: &BuildContext, cases: &[Case], cx: &Context) -> anyhow::Result<()> {
    programs::check(build, cases).map_err(|wrong| {
        // From the checkout on, as other mistakes of scenario files.
        let repo = format!("{}/", cx.repo.display());
        let lines = wrong
            .iter()
            .map(|error| error.to_string().replace(&repo, ""));
        let lines: Vec<_> = lines.collect();
        let is_usage = |error| matches!(error, &StageError::Wrong { .. });
        let message = format!("some programs cannot be run:\n{}", lines.join("\n"));
        if wrong.iter().all(is_usage) {
            Exit::usage(message)
        } else {
            Exit::infra(message)
        }
        .into()
    })
}

/// Where the kernel comes from.
fn source(how: &How) -> anyhow::Result<Source> {
    let source = how.source();
    if let Source::Path(path) = &source {
        // Before anything is built: it is the command line that is wrong.
        path.metadata()
            .map_err(|error| Exit::usage(format!("--kernel-source {}: {error}", path.display())))?;
    }
    Ok(source)
}

/// The command that repeats one case.
fn repeat(opts: &Options, arch: &str, case: &CaseId) -> String {
    let Options {
        select,
        how,
        yes: _,
        format: _,
        keep: _,
        repeat: _,
        until_fail: _,
        within: _,
    } = opts;
    let mut words: Vec<String> = ["cargo", "xtask", "test", "--arch", arch, "--scenario"]
        .map(str::to_owned)
        .into();
    words.push(case.without_arch().to_owned());
    for dir in select.folders().unwrap_or_default() {
        words.extend(["--scenario-dir".to_owned(), dir.display().to_string()]);
    }
    // What is not the default decides what is built, and so what is tried.
    if select.flavor != Select::all().flavor {
        words.extend(["--flavor".to_owned(), select.flavor.to_string()]);
    }
    if let Source::Path(path) = how.source() {
        words.extend(["--kernel-source".to_owned(), path.display().to_string()]);
    }
    shell_line(&words)
}

/// Who is told: the files always, and standard output in the form that was asked for.
fn sinks(
    format: Format,
    bars: bool,
    folder: &RunFolder,
    cx: &Context,
) -> anyhow::Result<Vec<Box<dyn Sink>>> {
    let mut sinks: Vec<Box<dyn Sink>> = vec![
        Box::new(EventsFile::create(folder.dir())?),
        Box::new(Files::new(folder.dir())),
    ];
    sinks.push(match (format, bars) {
        (Format::Json, _) => Box::new(JsonLines(io::stdout())),
        (Format::Text, true) => Box::new(Terminal::new(&cx.repo)),
        (Format::Text, false) => {
            let style = Style {
                paint,
                ..Style::plain(&cx.repo)
            };
            Box::new(Plain::new(io::stdout(), style))
        }
    });
    Ok(sinks)
}

/// Say how it ended; the counts are the last line.
fn conclude(ended: &Outcome, format: Format, folder: &RunFolder, cx: &Context) {
    let Outcome {
        passed,
        failed,
        infra: _,
        skipped,
        unfinished,
        retries,
        errors,
    } = ended;
    let dir = folder.dir().strip_prefix(&cx.repo).unwrap_or(folder.dir());
    let mut lines = Vec::new();
    if cx.cancel.is_cancelled() || *unfinished > 0 {
        lines.push(format!(
            "interrupted: {unfinished} trials have no verdict; the results so far: {}",
            dir.join("results.json").display()
        ));
    } else if format == Format::Text && errors.is_empty() {
        lines.push(format!("report: {}", dir.join("report.html").display()));
    }
    if *retries > 0 {
        lines.push(format!(
            "guests that were started once more, since QEMU crashed before they ran: {retries}"
        ));
    }
    for error in errors {
        let error = anyhow::Chain::new(error).map(ToString::to_string);
        lines.push(format!("error: {}", error.collect::<Vec<_>>().join(": ")));
    }
    for line in lines {
        eprintln!("{line}");
    }
    let counts = summary(*passed, *failed, *skipped);
    // Who has seen enough of the output has closed it.
    let _ = match format {
        Format::Text => writeln!(io::stdout(), "{counts}"),
        // Standard output has the same in its last event.
        Format::Json => writeln!(io::stderr(), "{counts}"),
    };
}

/// The exit code of a run that ended so.
pub(crate) fn code(ended: &Outcome, cx: &Context) -> u8 {
    let Outcome {
        passed: _,
        failed,
        infra,
        skipped: _,
        unfinished,
        retries: _,
        errors,
    } = ended;
    if cx.cancel.is_cancelled() {
        exit::INFRA
    } else if failed > infra {
        exit::FAILED
    } else if *infra > 0 || *unfinished > 0 || !errors.is_empty() {
        exit::INFRA
    } else {
        exit::OK
    }
}
