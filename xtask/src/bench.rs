//! `bench`: the figures that the design sets budgets for.

mod figures;
mod latest;

use std::fs;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossthaw_harness::arch::Arch;
use crossthaw_harness::build::BuildContext;
use crossthaw_harness::kernel::Flavor;
use crossthaw_harness::qemu::{GuestSpec, Template};
use crossthaw_harness::store::Store;

use crate::build::How;
use crate::context::Context;
use crate::exit::Exit;
use crate::guest;
use crate::output::{Format, quietly};
use figures::{Figures, Statistics};

/// Measure clones and templates, and show them with the times of the latest run's trials.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only this architecture (repeatable): `x86_32`, `x86_64`, `s390x` or `ppc64`.
    #[arg(long = "arch", value_name = "ARCH")]
    archs: Vec<Arch>,
    /// The kernel's flavor: `fast` or `debug`.
    #[arg(long, value_name = "FLAVOR", default_value_t = Flavor::Fast)]
    flavor: Flavor,
    /// Start so many clones of each architecture, one after the other.
    #[arg(long, value_name = "N", default_value = "20")]
    clones: NonZeroUsize,
    /// A table, or one line of JSON.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Keep the figures in a file.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Show how the figures differ from those in a file.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    #[command(flatten)]
    how: How,
}

pub(crate) fn run(opts: &Options, cx: &Context) -> anyhow::Result<ExitCode> {
    let Options {
        archs,
        flavor,
        clones,
        format,
        save,
        compare,
        how,
    } = opts;
    // What is wrong with the command line is said before minutes of work.
    let before = compare.as_deref().map(read).transpose()?;
    let ctx = how.context(cx)?;
    let mut figures = latest::figures(&cx.runs().join("latest/results.json"))?;
    for arch in Arch::ALL {
        if archs.is_empty() || archs.contains(&arch) {
            let spec = guest::spec(cx, &ctx, arch, *flavor, &how.source())?;
            measure(&ctx, &spec, *clones, &mut figures)?;
        }
    }
    if let Some(path) = save {
        let text = serde_json::to_string(&figures)?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    let text = match format {
        Format::Json => serde_json::to_string(&figures)? + "\n",
        Format::Text => figures.table(before.as_ref()),
    };
    quietly(io::stdout().write_all(text.as_bytes()).map_err(Into::into))
}

/// Figures that were saved before.
fn read(path: &Path) -> anyhow::Result<Figures> {
    let wrong = |error: &dyn std::fmt::Display| {
        Exit::usage(format!("--compare {}: {error}", path.display()))
    };
    let text = fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let figures = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
    Ok(figures)
}

/// Make a template, and clones of it.
fn measure(
    ctx: &BuildContext,
    spec: &GuestSpec,
    clones: NonZeroUsize,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let BuildContext { store, cancel, .. } = ctx;
    // A store of its own, on the same disk: the template is made for sure, and goes away.
    let scratch = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(store.root())?;
    let own = Store::open(scratch.path())?.cancelled_by(cancel);
    let template = Template::get(&own, spec, cancel)?;
    figures.add(spec.arch, "template", template.time());
    // Not the first one, which finds nothing in the host's caches.
    let console = scratch.path().join("console");
    drop(template.start(&console, cancel)?);
    let mut times = Vec::new();
    for _ in 0..clones.get() {
        let start = Instant::now();
        let agent = template.start(&console, cancel)?;
        times.push(start.elapsed());
        drop(agent);
    }
    let Statistics { median, p90 } = Statistics::of(times);
    figures.add(spec.arch, "clone, median", median);
    figures.add(spec.arch, "clone, p90", p90);
    Ok(())
}

/// Seconds, to the microsecond.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}
