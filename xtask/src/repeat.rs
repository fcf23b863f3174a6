//! `repeat`: a trial of before once more, of what it was made of then.

mod find;
mod person;

use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use crossthaw_harness::build::BuildContext;
use crossthaw_harness::guest::{self, GuestImage};
use crossthaw_harness::host::Needs;
use crossthaw_harness::kernel::{self, Kernel, Source};
use crossthaw_harness::process::shell_line;
use crossthaw_harness::qemu::qemu_version;
use crossthaw_harness::report::Planned;
use crossthaw_harness::run::{Machines, Recipe, Rounds, Which};
use crossthaw_harness::scenario::{self, Case};
use crossthaw_harness::store::Key;
use crossthaw_harness::trial::Phase;
use rustix::termios::isatty;

use crate::build::{How, Show, kernel_error};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::Format;
use crate::select;
use crate::setup;
use crate::test::{self, Conduct};

/// Run a trial of before once more, of the kernel and the programs that it was made of.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// `RUN/CASE`: the id of a run, `latest`, or the path of its folder, and a case as it was printed, such as latest/s390x/files/offset.
    #[arg(value_name = "RUN/CASE")]
    trial: String,
    /// Run what this checkout makes, not what the trial was made of.
    #[arg(long)]
    as_is: bool,
    /// Start a guest stopped, without time limits, and print the command that attaches gdb: `b` restarts the image, `a` is the one before.
    #[arg(long, value_name = "a|b", num_args = 0..=1, require_equals = true, default_missing_value = "b", conflicts_with_all = ["shell", "times", "until_fail"])]
    gdb: Option<Guest>,
    /// Give a prompt in the guest as it stood when the trial failed.
    #[arg(long, conflicts_with_all = ["times", "until_fail"])]
    shell: bool,
    /// With --shell: give the prompt before this phase begins, such as `restart` or `finish-again`.
    #[arg(long, value_name = "PHASE", requires = "shell", value_parser = phase)]
    stop_at: Option<Phase>,
    /// Try it so often.
    #[arg(long = "repeat", value_name = "N")]
    times: Option<NonZeroU32>,
    /// Try it until it fails, with --repeat so often at most.
    #[arg(long)]
    until_fail: bool,
    #[command(flatten)]
    how: How,
}

/// One of a trial's guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Guest {
    A,
    B,
}

/// A phase by its name.
fn phase(name: &str) -> Result<Phase, String> {
    Phase::ALL
        .into_iter()
        .find(|phase| phase.name() == name)
        .ok_or_else(|| {
            let names = Phase::ALL.map(Phase::name).join(", ");
            format!("the phases are {names}")
        })
}

pub(crate) fn run(opts: &Options, cx: &Context) -> anyhow::Result<ExitCode> {
    let Options {
        trial,
        as_is,
        gdb,
        shell,
        stop_at,
        times,
        until_fail,
        how,
    } = opts;
    if *shell && !isatty(io::stdin()) {
        return Err(
            Exit::usage("--shell gives a prompt, and standard input is no terminal").into(),
        );
    }
    let found = find::trial(cx, trial)?;
    let recipe = Recipe::read(&found.dir)?;
    let case = case(cx, &recipe, *as_is)?;
    setup::ensure(cx, &Needs::test(&[recipe.arch]), false)?;
    let build = how.context(cx)?;
    let source = match (how.source(), &recipe.kernel_source) {
        (Source::Debian, Some(path)) => Source::Path(path.clone()),
        (source, _) => source,
    };
    let (kernel, guest) = made_of(cx, &build, &recipe, &source, *as_is)?;
    let qemu = qemu_version(Path::new(recipe.arch.row().qemu))?;
    if qemu != recipe.qemu {
        eprintln!(
            "note: QEMU is another one now: {} then, {qemu} now",
            recipe.qemu
        );
    }
    let symbols = kernel.clone();
    let jobs = build.jobs;
    let machines = Machines::new(build, recipe.flavor, source, &cx.repo.join("snapshots"));
    let mut machines = machines.with(kernel, guest);
    if let Some(which) = gdb {
        let which = match which {
            Guest::A => Which::A,
            Guest::B => Which::B,
        };
        machines = machines.attended_by(person::debugs(which, &symbols));
    } else if *shell {
        machines = machines.attended_by(person::types(*stop_at));
    }
    let conduct = Conduct {
        format: Format::Text,
        keep: true,
        rounds: match (until_fail, times) {
            (true, times) => Rounds::UntilFail(*times),
            (false, Some(times)) => Rounds::Times(*times),
            (false, None) => Rounds::ONCE,
        },
        until: None,
        flavor: recipe.flavor,
        jobs,
        // They would be drawn over the person's lines.
        bars: cx.terminal && gdb.is_none() && !shell,
    };
    let command = shell_line(&["cargo", "xtask", "repeat", trial].map(str::to_owned));
    let plan = vec![Planned::new(&case, command)];
    let ended = conduct.run(cx, machines, &[case], plan)?;
    Ok(ExitCode::from(test::code(&ended, cx)))
}

/// The case, which must be what it was.
fn case(cx: &Context, recipe: &Recipe, as_is: bool) -> anyhow::Result<Case> {
    let id = &recipe.id;
    let (matrix, place) = match recipe.scenario_dir() {
        None => (select::matrix(cx), "this checkout".to_owned()),
        Some(dir) => (
            scenario::load_others(&[dir.to_owned()]),
            dir.display().to_string(),
        ),
    };
    let matrix = matrix.map_err(|mistakes| select::mistaken(&mistakes))?;
    let case = matrix
        .cases(recipe.flavor)
        .into_iter()
        .find(|case| case.id == *id);
    let case = case.ok_or_else(|| {
        Exit::usage(format!(
            "{place} has no case {id}: go to the checkout that the trial was run from, or bring its scenario back"
        ))
    })?;
    let changes = recipe.changes(&case);
    if !changes.is_empty() && !as_is {
        return Err(Exit::usage(format!(
            "the scenario of {id} is not what the trial ran ({}): --as-is runs what is here",
            changes.join(", ")
        ))
        .into());
    }
    Ok(case)
}

/// Kernel and programs of the trial, or with `as_is` of this checkout.
fn made_of(
    cx: &Context,
    build: &BuildContext,
    recipe: &Recipe,
    source: &Source,
    as_is: bool,
) -> anyhow::Result<(Kernel, GuestImage)> {
    let (arch, flavor) = (recipe.arch, recipe.flavor);
    let show = Show::new(cx.terminal);
    let progress = |news| show.tell(news);
    let kernel_key = parse(&recipe.kernel)?;
    let guest_key = parse(&recipe.guest)?;
    let (mut kernel, mut image) = (None, None);
    if !as_is {
        kernel = kernel::stored(&build.store, arch, flavor, &kernel_key)?;
        image = guest::stored(&build.store, arch, &guest_key)?;
        // What cannot be had of this checkout is no news where the trial's own is there.
        let here = kernel::key(build, arch, flavor, source, &progress).map_err(kernel_error);
        compare("kernel", &kernel_key, here, kernel.is_some())?;
        let here = guest::key(build, arch).map_err(anyhow::Error::from);
        compare("guest programs", &guest_key, here, image.is_some())?;
    }
    let kernel = match kernel {
        Some(kernel) => kernel,
        None => kernel::build(build, arch, flavor, source, &progress).map_err(kernel_error)?,
    };
    let image = match image {
        Some(image) => image,
        None => guest::build(build, arch, &progress)?,
    };
    show.done();
    Ok((kernel, image))
}

fn parse(key: &str) -> anyhow::Result<Key> {
    Key::parse(key).with_context(|| format!("{key} is no key of the store"))
}

/// What the checkout would make beside what the trial was made of: another one is worth a word, and is not taken for it.
fn compare(what: &str, then: &Key, here: anyhow::Result<Key>, stored: bool) -> anyhow::Result<()> {
    match (here, stored) {
        (Ok(here), _) if here == *then => Ok(()),
        (Ok(_), true) => {
            eprintln!("note: this checkout would run another {what}: --as-is runs what is here");
            Ok(())
        }
        (Ok(_), false) => Err(Exit::usage(format!(
            "the {what} of the trial ({}) is no longer in the cache, and this checkout would run another: --as-is runs what is here, and the checkout of the trial makes it again",
            then.short()
        ))
        .into()),
        (Err(_), true) => Ok(()),
        (Err(error), false) => Err(error),
    }
}
