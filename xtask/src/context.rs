//! What every verb knows: where things are, and how the run is cancelled.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossthaw_harness::process::Cancel;

/// How long after a Ctrl-C another one is the same one.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where things are; the only place that reads the environment.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The checkout.
    pub(crate) repo: PathBuf,
    /// The artifacts' folder, outside of the checkout.
    pub(crate) cache: PathBuf,
    /// Ends every wait and every guest; Ctrl-C and SIGTERM pull it.
    pub(crate) cancel: Cancel,
    /// Whether a person sees standard error.
    pub(crate) terminal: bool,
}

impl Context {
    /// Look at the environment and catch Ctrl-C.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let cancel = Cancel::new().context("cannot make an eventfd")?;
        let pulled = cancel.clone();
        let mut since: Option<Instant> = None;
        ctrlc::set_handler(move || {
            let since = *since.get_or_insert_with(Instant::now);
            // A later Ctrl-C: whoever was to stop does not. One that comes at once is the same:
            // `timeout` and CI servers tell the process, and then its group.
            if since.elapsed() > PATIENCE {
                std::process::exit(i32::from(crate::exit::INFRA));
            }
            pulled.cancel();
        })
        .context("cannot catch Ctrl-C")?;
        Ok(Self {
            repo: repo()?,
            cache: cache()?,
            cancel,
            terminal: console::user_attended_stderr(),
        })
    }

    /// Where the runs are.
    pub(crate) fn runs(&self) -> PathBuf {
        self.repo.join("target/crossthaw/runs")
    }

    /// Where those of mutants are.
    pub(crate) fn mutant_runs(&self) -> PathBuf {
        self.repo.join("target/crossthaw/mutants")
    }
}

/// The checkout that `cargo xtask` was called in, or, called without cargo, the one that this program was built from.
fn repo() -> anyhow::Result<PathBuf> {
    // Checkouts that share a target folder share this program too.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let repo = manifest
        .parent()
        .filter(|repo| repo.join("Cargo.toml").is_file());
    let repo = repo.with_context(|| format!("{} is not in the checkout any more: run `cargo xtask` from it, which builds this program anew", manifest.display()))?;
    Ok(repo.to_owned())
}

/// `$CROSSTHAW_CACHE`, else `crossthaw` in the user's cache folder.
fn cache() -> anyhow::Result<PathBuf> {
    let var = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(cache) = var("CROSSTHAW_CACHE") {
        return std::path::absolute(&cache)
            .with_context(|| format!("CROSSTHAW_CACHE={}", cache.display()));
    }
    // The base directory specification: a relative path is ignored.
    let base = var("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    let base = base.or_else(|| Some(var("HOME")?.join(".cache")));
    let base =
        base.context("neither CROSSTHAW_CACHE nor XDG_CACHE_HOME nor HOME says where to cache")?;
    Ok(base.join("crossthaw"))
}
