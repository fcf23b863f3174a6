//! `cargo xtask build`: kernels and guest images, from the store or built.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use crossthaw_harness::arch::Arch;
use crossthaw_harness::build::{BuildContext, Progress};
use crossthaw_harness::guest;
use crossthaw_harness::kernel::{self, Flavor, KernelError, Source};
use crossthaw_harness::store::Store;
use indicatif::{ProgressBar, ProgressStyle};

use crate::context::Context;
use crate::exit::{self, Exit};

/// What to build.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only this architecture (repeatable).
    #[arg(long = "arch", value_name = "ARCH")]
    archs: Vec<Arch>,
    /// Kernel configuration: `fast`, or `debug` with lockdep and other checks.
    #[arg(long, default_value_t = Flavor::Fast)]
    flavor: Flavor,
    #[command(flatten)]
    how: How,
}

/// How to build; the same for every verb that builds.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct How {
    /// A kernel tree (git or not) or tarball, instead of Debian's linux-source-6.12.
    #[arg(long, value_name = "PATH")]
    pub(crate) kernel_source: Option<PathBuf>,
    /// Work side by side on so many things.
    #[arg(short, long, value_name = "N", default_value_t = cores())]
    pub(crate) jobs: std::num::NonZeroUsize,
}

fn cores() -> std::num::NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(std::num::NonZeroUsize::MIN)
}

impl How {
    /// Where kernels come from.
    pub(crate) fn source(&self) -> Source {
        self.kernel_source
            .clone()
            .map_or(Source::Debian, Source::Path)
    }

    /// What the build steps are given.
    pub(crate) fn context(&self, cx: &Context) -> anyhow::Result<BuildContext> {
        Ok(BuildContext {
            repo: cx.repo.clone(),
            store: Store::open(&cx.cache)?.cancelled_by(&cx.cancel),
            jobs: self.jobs.get(),
            cancel: cx.cancel.clone(),
        })
    }
}

/// Build, and say where the results are.
pub(crate) fn run(opts: Options, cx: &Context) -> anyhow::Result<ExitCode> {
    let Options { archs, flavor, how } = opts;
    let archs = if archs.is_empty() {
        Arch::ALL.to_vec()
    } else {
        archs
    };
    let ctx = how.context(cx)?;
    let source = how.source();
    let show = Show::new(cx.terminal);
    let progress = |news| show.tell(news);
    let mut failed = false;
    for arch in archs {
        // What is wrong on one architecture says little about the next: build them all.
        match kernel::build(&ctx, arch, flavor, &source, &progress) {
            Ok(kernel) => {
                show.done();
                say(arch, "kernel", kernel.built, kernel.time, &kernel.image);
            }
            Err(error @ (KernelError::Build { .. } | KernelError::Config { .. })) => {
                show.done();
                eprintln!("error: {error}");
                failed = true;
            }
            Err(error) => {
                show.done();
                return Err(kernel_error(error));
            }
        }
        let image = guest::build(&ctx, arch, &progress);
        show.done();
        let image = image?;
        say(arch, "guest", image.built, image.time, &image.initramfs);
    }
    Ok(ExitCode::from(if failed { exit::FAILED } else { exit::OK }))
}

/// An error with its exit code: is our source wrong, the command line, or the machine?
pub(crate) fn kernel_error(error: KernelError) -> anyhow::Error {
    let code = match &error {
        KernelError::Build { .. }
        | KernelError::Config { .. }
        | KernelError::Patch { .. }
        | KernelError::Overlay { .. }
        | KernelError::Fragment { .. } => exit::FAILED,
        KernelError::Source { .. } => exit::USAGE,
        KernelError::Store(_)
        | KernelError::Cancelled
        | KernelError::Spawn { .. }
        | KernelError::NoCompiler { .. }
        | KernelError::Fetch { .. }
        | KernelError::Tool { .. } => exit::INFRA,
    };
    let message = format!("{:#}", anyhow::Error::from(error));
    Exit { code, message }.into()
}

fn say(arch: Arch, what: &str, built: bool, time: Duration, path: &std::path::Path) {
    let how = if built {
        format!("built in {:.1} s", time.as_secs_f64())
    } else {
        format!("found in {:.2} s", time.as_secs_f64())
    };
    println!("{arch:<6}  {what:<6}  {how:<16}  {}", path.display());
}

/// Shows the progress of builds on standard error: a bar on a terminal, else a line now and then.
pub(crate) struct Show {
    bar: Option<ProgressBar>,
    /// The part that a line was written for, and how many tenths of it were done.
    last: Mutex<(String, u64)>,
}

impl Show {
    pub(crate) fn new(terminal: bool) -> Self {
        let style = ProgressStyle::with_template("{prefix} {msg} {wide_bar} {pos}/{len} {elapsed}");
        let bar = terminal.then(|| {
            let bar = ProgressBar::no_length();
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self {
            bar,
            last: Mutex::default(),
        }
    }

    pub(crate) fn tell(&self, news: Progress) {
        match (&self.bar, news) {
            (Some(bar), Progress::Started { what }) => {
                bar.reset();
                bar.set_prefix(what);
                bar.set_message("");
                bar.enable_steady_tick(Duration::from_millis(200));
            }
            (Some(bar), Progress::Step { what, done, total }) => {
                match total {
                    Some(total) => bar.set_length(total),
                    None => bar.unset_length(),
                }
                bar.set_position(done);
                bar.set_message(what);
            }
            (Some(bar), Progress::Line(line)) => bar.suspend(|| eprintln!("{line}")),
            (None, Progress::Started { what }) => eprintln!("{what}"),
            (None, Progress::Step { what, done, total }) => {
                let mut last = self
                    .last
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                let tenths = total.map_or(0, |total| done * 10 / total.max(1));
                if *last != (what.clone(), tenths) {
                    match total {
                        Some(total) => eprintln!("  {what} {done}/{total}"),
                        None => eprintln!("  {what}"),
                    }
                    *last = (what, tenths);
                }
            }
            (None, Progress::Line(line)) => eprintln!("  {line}"),
        }
    }

    /// Nothing is being built any more.
    pub(crate) fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.disable_steady_tick();
            bar.finish_and_clear();
        }
    }
}
