//! `shell`: a prompt in a guest, on its console.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crossthaw_harness::arch::Arch;
use crossthaw_harness::kernel::Flavor;
use crossthaw_harness::qemu::{End, Input, Served, Shell};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

use crate::build::How;
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::guest;
use crate::setup;

/// Give a prompt in a guest that has just booted, with the tools and the workloads.
///
/// Without a terminal it reads commands from standard input, one a line, and ends with them.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The guest's architecture: `x86_32`, `x86_64`, `s390x` or `ppc64`.
    #[arg(long, value_name = "ARCH")]
    arch: Arch,
    /// A folder to mount at /share.
    #[arg(long, value_name = "DIR")]
    share: Option<PathBuf>,
    /// The kernel's flavor: `fast` or `debug`.
    #[arg(long, value_name = "FLAVOR", default_value_t = Flavor::Fast)]
    flavor: Flavor,
    #[command(flatten)]
    how: How,
}

pub(crate) fn run(opts: &Options, cx: &Context) -> anyhow::Result<ExitCode> {
    let Options {
        arch,
        share,
        flavor,
        how,
    } = opts;
    let share = share.as_deref().map(folder).transpose()?;
    let ctx = how.context(cx)?;
    let spec = guest::spec(cx, &ctx, *arch, *flavor, &how.source())?;
    let virtiofsd: Vec<_> = setup::host().virtiofsd().into_iter().collect();
    let mut shell = Shell::start(&spec, share.as_deref(), &virtiofsd, &cx.cancel)?;
    match &shell.served {
        None => {}
        Some(Served::Virtiofs(program)) => {
            eprintln!("/share: served by {}", program.display());
        }
        Some(Served::Plan9(why)) => eprintln!("/share: served over 9p: {why}"),
    }
    let stdin = io::stdin();
    let input = if isatty(&stdin) {
        eprintln!("`exit` powers the guest off; Ctrl-] leaves it, whatever it does");
        Input::Keys
    } else {
        Input::Commands
    };
    let end = {
        let _raw = Raw::enter(stdin.as_fd(), input)?;
        shell.talk(stdin.as_fd(), &mut io::stdout(), input)?
    };
    match end {
        End::Over => Ok(ExitCode::from(exit::OK)),
        End::Left => {
            eprintln!("\nleft the guest");
            Ok(ExitCode::from(exit::OK))
        }
        End::Failed(why) => Err(Exit::infra(why).into()),
    }
}

/// The folder to share, as QEMU and virtiofsd can be told.
fn folder(path: &Path) -> anyhow::Result<PathBuf> {
    let wrong =
        |why: &dyn std::fmt::Display| Exit::usage(format!("--share {}: {why}", path.display()));
    let path = path.canonicalize().map_err(|error| wrong(&error))?;
    if !path.is_dir() {
        return Err(wrong(&"it is no folder").into());
    }
    Ok(path)
}

/// A terminal that passes each key on as it is; as before once this goes.
pub(crate) struct Raw<'a> {
    fd: BorrowedFd<'a>,
    before: Option<Termios>,
}

impl<'a> Raw<'a> {
    pub(crate) fn enter(fd: BorrowedFd<'a>, input: Input) -> io::Result<Self> {
        if input == Input::Commands {
            return Ok(Self { fd, before: None });
        }
        let before = tcgetattr(fd)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(fd, OptionalActions::Drain, &raw)?;
        Ok(Self {
            fd,
            before: Some(before),
        })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Nobody is left to be told.
            let _ = tcsetattr(self.fd, OptionalActions::Drain, before);
        }
    }
}
