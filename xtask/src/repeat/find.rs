//! Which trial of which run is meant.

use std::fs;
use std::path::{Path, PathBuf};

use crossthaw_harness::report::TRIALS;
use crossthaw_harness::run::{RECIPE, Recipe};
use crossthaw_harness::scenario::nearest;

use crate::context::Context;
use crate::exit::Exit;

/// Names that are shown when there is none like the one that was asked for.
const SHOWN: usize = 5;

/// A trial's folder.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) dir: PathBuf,
}

/// The trial that `RUN/CASE` names; also its folder's own path.
pub(super) fn trial(cx: &Context, name: &str) -> anyhow::Result<Found> {
    let path = Path::new(name);
    if path.join(RECIPE).is_file() {
        return Ok(Found {
            dir: path.to_owned(),
        });
    }
    let (run, case) = split(cx, name)?;
    let trials = trials(&run);
    let shown = run.strip_prefix(&cx.repo).unwrap_or(&run).display();
    if trials.is_empty() {
        return Err(Exit::nothing(format!(
            "{shown} holds no trial that can be repeated: those that failed are kept, with `test --keep` all"
        ))
        .into());
    }
    let is_it = |known: &&(String, PathBuf)| {
        known.0 == case || (!case.contains('#') && known.0.split('#').next() == Some(case))
    };
    let meant: Vec<_> = trials.iter().filter(is_it).collect();
    match meant[..] {
        [(_, dir)] => Ok(Found { dir: dir.clone() }),
        [] => {
            let known = trials.iter().map(|(name, _)| &**name);
            let mut near = nearest(case, known.clone(), SHOWN);
            if near.is_empty() {
                near = known.take(SHOWN).collect();
            }
            Err(Exit::nothing(format!(
                "no trial of {case:?} is kept in {shown}: did you mean {}?",
                near.join(", ")
            ))
            .into())
        }
        _ => {
            let names: Vec<_> = meant.iter().map(|(name, _)| &**name).collect();
            let (few, more) = names.split_at(names.len().min(SHOWN));
            let more = if more.is_empty() { "" } else { ", ..." };
            Err(Exit::usage(format!(
                "{case} has several trials in {shown}: which of {}{more}?",
                few.join(", ")
            ))
            .into())
        }
    }
}

/// The run's folder, and the rest.
fn split<'a>(cx: &Context, name: &'a str) -> anyhow::Result<(PathBuf, &'a str)> {
    let runs = cx.runs();
    // The case has slashes, too; the shortest part that is a run's folder is the run.
    for (at, _) in name.match_indices('/').filter(|(at, _)| *at > 0) {
        let (run, case) = (&name[..at], &name[at + 1..]);
        for dir in [runs.join(run), PathBuf::from(run)] {
            if dir.join("events.jsonl").is_file() {
                return Ok((dir, case));
            }
        }
    }
    let run = name.split('/').next().unwrap_or_default();
    let known: Vec<String> = fs::read_dir(&runs)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().join("events.jsonl").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let near = nearest(run, known.iter().map(String::as_str), SHOWN);
    let what = if runs.join(run).join("events.jsonl").is_file() {
        format!(
            "{name:?} names a run and no case: expected RUN/CASE, such as latest/s390x/files/offset"
        )
    } else if known.is_empty() {
        format!("there are no runs in {}", runs.display())
    } else if near.is_empty() {
        format!("there is no run {run:?} in {}", runs.display())
    } else {
        format!("there is no run {run:?}: did you mean {}?", near.join(", "))
    };
    Err(Exit::nothing(what).into())
}

/// Name and folder of each trial of a run that can be repeated, in order.
fn trials(run: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(run.join(TRIALS))
        .into_iter()
        .flatten()
        .flatten();
    let trial = |dir: PathBuf| {
        let recipe = Recipe::read(&dir).ok()?;
        let folder = dir.file_name()?.to_str()?;
        let name = match folder.rsplit_once('#') {
            Some((_, round)) => format!("{}#{round}", recipe.id),
            None => recipe.id.to_string(),
        };
        Some((name, dir))
    };
    let mut trials: Vec<_> = entries.filter_map(|entry| trial(entry.path())).collect();
    trials.sort();
    trials
}
