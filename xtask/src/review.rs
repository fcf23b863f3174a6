//! `review`: goldens that a run left pending, accepted or rejected; goldens without a case, deleted.

mod pending;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use console::Term;
use crossthaw_harness::kernel::Flavor;
use crossthaw_harness::oracle::golden::{self, Goldens, RECORD, orphans};
use crossthaw_harness::scenario::GOLDENS;
use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::context::Context;
use crate::exit::{self, Exit};
use crate::select;
use pending::{Pending, group};

/// Look at golden states that changed, accept or reject them.
///
/// In a terminal it asks; else it lists what is pending, and exits with 1 if anything is.
/// States that change in the same way are shown once. A golden without a case is an orphan: to accept is to delete it.
/// `cargo insta review` works on the same files.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Accept without a question: all, or what matches, such as 'files/*' or '*@ppc64'.
    #[arg(long, value_name = "GLOB", num_args = 0.., conflicts_with = "reject")]
    accept: Option<Vec<String>>,
    /// Reject without a question: all, or what matches.
    #[arg(long, value_name = "GLOB", num_args = 0..)]
    reject: Option<Vec<String>>,
    /// First take over what the run in this folder found, such as an artifact of CI (repeatable: a run for each architecture).
    #[arg(long, value_name = "RUN_FOLDER")]
    from: Vec<PathBuf>,
    /// Goldens of the scenario files in this folder, DIR/snapshots, in the place of the project's.
    #[arg(long, value_name = "DIR")]
    scenario_dir: Option<PathBuf>,
}

/// What becomes of a pending state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Accept,
    Reject,
    Skip,
    Quit,
}

/// What the command line decides.
struct Order {
    decision: Decision,
    /// All if `None`.
    names: Option<GlobSet>,
}

impl Order {
    fn new(opts: &Options) -> anyhow::Result<Option<Self>> {
        let (globs, decision) = match (&opts.accept, &opts.reject) {
            (Some(globs), _) => (globs, Decision::Accept),
            (None, Some(globs)) => (globs, Decision::Reject),
            (None, None) => return Ok(None),
        };
        let mut set = GlobSetBuilder::new();
        for text in globs {
            set.add(glob(text)?);
        }
        let names = if globs.is_empty() {
            None
        } else {
            Some(set.build().context("cannot match so many globs")?)
        };
        Ok(Some(Self { decision, names }))
    }

    fn is_about(&self, name: &str) -> bool {
        self.names.as_ref().is_none_or(|names| names.is_match(name))
    }
}

/// As for `--scenario`: `*` also matches `/`, brackets stand for themselves.
fn glob(text: &str) -> anyhow::Result<Glob> {
    let pattern = text.replace('[', "[[]");
    let glob = GlobBuilder::new(&pattern).literal_separator(false).build();
    glob.map_err(|error| Exit::usage(format!("{text:?} is not a glob: {}", error.kind())).into())
}

#[derive(Debug, Default)]
struct Count {
    accepted: usize,
    rejected: usize,
    left: usize,
}

impl Count {
    fn carry_out(
        &mut self,
        group: &[Pending],
        decision: Decision,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        for pending in group {
            match decision {
                Decision::Accept => {
                    pending.accept()?;
                    self.accepted += 1;
                    writeln!(out, "accepted {}", pending.name)?;
                }
                Decision::Reject => {
                    pending.reject()?;
                    self.rejected += 1;
                    writeln!(out, "rejected {}", pending.name)?;
                }
                Decision::Skip | Decision::Quit => self.left += 1,
            }
        }
        Ok(())
    }
}

/// Where the goldens of other scenario files are.
fn own_goldens(dir: &Path) -> anyhow::Result<PathBuf> {
    let goldens = dir.join(GOLDENS);
    if goldens.is_dir() {
        return Ok(goldens);
    }
    Err(Exit::usage(format!(
        "{} keeps no goldens: `mkdir {}` and run the tests, and there are states to review",
        dir.display(),
        goldens.display()
    ))
    .into())
}

pub(crate) fn run(opts: &Options, cx: &Context) -> anyhow::Result<ExitCode> {
    let order = Order::new(opts)?;
    let (dir, orphans) = match &opts.scenario_dir {
        None => (cx.repo.join("snapshots"), orphaned(cx)?),
        // Whose files they are decides what is left over there.
        Some(dir) => (own_goldens(dir)?, Vec::new()),
    };
    take_over(&opts.from, &dir)?;
    let all = pending::pending(&dir, orphans)?;
    let mut out = io::stdout().lock();
    let mut count = Count::default();
    match order {
        Some(order) => {
            let (meant, others): (Vec<_>, Vec<_>) = all
                .into_iter()
                .partition(|pending| order.is_about(&pending.name));
            if meant.is_empty() && order.names.is_some() {
                return Err(Exit::nothing("no pending golden matches").into());
            }
            count.carry_out(&meant, order.decision, &mut out)?;
            count.left = others.len();
        }
        None => look(group(all), &mut count, &mut out, cx)?,
    }
    if count.left > 0 && !cx.terminal {
        writeln!(
            out,
            "`cargo xtask review --accept` takes them all, `--accept GLOB` some, `--reject` drops them; in a terminal `cargo xtask review` asks"
        )?;
    }
    let Count {
        accepted,
        rejected,
        left,
    } = count;
    writeln!(
        out,
        "{accepted} accepted, {rejected} rejected, {left} pending"
    )?;
    Ok(ExitCode::from(if left == 0 {
        exit::OK
    } else {
        exit::FAILED
    }))
}

/// Show each group, and ask where there is somebody to answer.
fn look(
    groups: Vec<Vec<Pending>>,
    count: &mut Count,
    out: &mut impl Write,
    cx: &Context,
) -> anyhow::Result<()> {
    let mut quit = false;
    for group in groups {
        let decision = if quit {
            Decision::Skip
        } else {
            show(&group, out)?;
            if cx.terminal {
                ask(&group)?
            } else {
                Decision::Skip
            }
        };
        quit |= decision == Decision::Quit;
        count.carry_out(&group, decision, out)?;
    }
    Ok(())
}

/// Leave pending here what these runs found.
fn take_over(runs: &[PathBuf], dir: &Path) -> anyhow::Result<()> {
    let goldens = Goldens::new(dir);
    for run in runs {
        if !run.join(RECORD).is_file() {
            let what = "the folder of a run that compared states with goldens";
            let message = format!(
                "--from {}: no {RECORD} in it: it is not {what}",
                run.display()
            );
            return Err(Exit::usage(message).into());
        }
        for found in golden::recorded(run)? {
            goldens.take(&found)?;
        }
    }
    Ok(())
}

/// Goldens without a case. Mistakes in scenario files are for other verbs to tell.
pub(crate) fn orphaned(cx: &Context) -> anyhow::Result<Vec<golden::Orphan>> {
    let Ok(matrix) = select::matrix(cx) else {
        return Ok(Vec::new());
    };
    Ok(orphans(
        &cx.repo.join("snapshots"),
        &matrix.cases(Flavor::Fast),
    )?)
}

fn show(group: &[Pending], to: &mut impl Write) -> io::Result<()> {
    for pending in group {
        write!(to, "{}", console::style(&pending.name).bold())?;
        match pending.remark() {
            Some(remark) => writeln!(to, "  ({remark})")?,
            None => writeln!(to)?,
        }
    }
    for line in group[0].diff.lines() {
        let line = console::style(line);
        let line = match line.to_string().as_bytes().first() {
            Some(b'+') => line.green(),
            Some(b'-') => line.red(),
            Some(b'@') => line.cyan(),
            _ => line,
        };
        writeln!(to, "{line}")?;
    }
    if group.len() > 1 {
        writeln!(to, "all {} change in this way", group.len())?;
    }
    writeln!(to)?;
    to.flush()
}

fn ask(group: &[Pending]) -> anyhow::Result<Decision> {
    let term = Term::stderr();
    let orphan = matches!(group[0].what, pending::What::Orphan { .. });
    let what = match (orphan, group.len()) {
        (true, 1) => "delete this golden",
        (true, _) => "delete these goldens",
        (false, 1) => "accept this state",
        (false, _) => "accept these states",
    };
    term.write_str(&format!("{what}? [y]es, [n]o, [s]kip, [q]uit: "))?;
    loop {
        let decision = match term.read_char() {
            Ok('y') => Decision::Accept,
            Ok('n') => Decision::Reject,
            Ok('s') => Decision::Skip,
            Ok('q' | '\u{3}' | '\u{4}') => Decision::Quit,
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Decision::Quit,
            Err(error) => return Err(error).context("cannot read the answer"),
        };
        term.write_line(&format!("{decision:?}").to_lowercase())?;
        return Ok(decision);
    }
}
