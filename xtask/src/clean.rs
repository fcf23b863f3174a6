//! `clean`: what was not used for long, in the cache and among the runs, is removed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use crossthaw_harness::store::{Store, disk_usage};
use indicatif::BinaryBytes;

use crate::context::Context;
use crate::exit::OK;

/// Remove kernels, guests, templates and work trees that were not used for some time, and old runs of this checkout.
///
/// Whatever is missing afterwards is built again when it is needed. The latest run stays.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Remove what was not used for so many days.
    #[arg(long, value_name = "DAYS", default_value_t = 14, value_parser = clap::value_parser!(u32).range(1..))]
    unused: u32,
    /// Show what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
}

/// How many of a kind, and their bytes.
type Totals = BTreeMap<String, (usize, u64)>;

/// Run the verb.
pub(crate) fn run(opts: &Options, cx: &Context) -> anyhow::Result<ExitCode> {
    let Options { unused, dry_run } = *opts;
    let age = Duration::from_secs(u64::from(unused) * 24 * 3600);
    let mut totals = Totals::new();
    let mut add = |kind: &str, bytes: u64| {
        let total = totals.entry(kind.to_owned()).or_default();
        *total = (total.0 + 1, total.1 + bytes);
    };
    if cx.cache.is_dir() {
        let store = Store::open(&cx.cache)?;
        for it in store.unused(age)? {
            if dry_run || store.remove(&it, age)? {
                add(&it.kind, it.bytes);
            }
        }
    }
    for dir in [cx.runs(), cx.mutant_runs()] {
        for run in old_runs(&dir, age)? {
            let bytes = disk_usage(&run)?;
            if !dry_run {
                fs::remove_dir_all(&run).with_context(|| format!("remove {}", run.display()))?;
            }
            add("run", bytes);
        }
    }
    show(&totals, unused, dry_run)?;
    Ok(ExitCode::from(OK))
}

/// Runs that were not written to for so long; the latest is none of them.
fn old_runs(dir: &Path, age: Duration) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("list {}", dir.display()))?,
    };
    let latest = dir.join("latest").canonicalize().ok();
    let mut old = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let meta = fs::symlink_metadata(&path)?;
        let is_old = meta.modified()?.elapsed().is_ok_and(|passed| passed >= age);
        if meta.is_dir() && is_old && path.canonicalize().ok() != latest {
            old.push(path);
        }
    }
    old.sort();
    Ok(old)
}

fn show(totals: &Totals, days: u32, dry_run: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let what = if dry_run {
        "would be removed"
    } else {
        "removed"
    };
    for (kind, (count, bytes)) in totals {
        writeln!(out, "{kind:<14} {count:>4}  {}", BinaryBytes(*bytes))?;
    }
    let bytes = totals.values().map(|(_, bytes)| bytes).sum();
    let count: usize = totals.values().map(|(count, _)| count).sum();
    writeln!(
        out,
        "{count} not used for {days} days, {}: {what}",
        BinaryBytes(bytes)
    )
}
