//! `checkpoint`: write the state of a tree of frozen tasks to a file, a pipe or standard output.

use std::fs::File;
use std::io::IsTerminal;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use crossthaw_tools::fault::{self, Armed, NoFault};
use crossthaw_tools::log::Log;
use crossthaw_tools::sys::{self, Scope};
use crossthaw_tools::{errno, remedy};

/// Write the state of a tree of frozen tasks.
///
/// The tree must stand still: freeze its cgroup first. Exit status: 0 done, 1 refused, 2 usage.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Args {
    /// Write the image to this file
    #[arg(short, long, value_name = "FILE", conflicts_with = "output_fd")]
    output: Option<PathBuf>,
    /// Write the image to this descriptor [default: standard output]
    #[arg(long, value_name = "N")]
    output_fd: Option<i32>,
    /// Have the kernel explain a refusal in this file
    #[arg(
        short,
        long,
        visible_alias = "logfile",
        value_name = "FILE",
        conflicts_with = "logfile_fd"
    )]
    log: Option<PathBuf>,
    /// ... or to this descriptor
    #[arg(long, value_name = "N")]
    logfile_fd: Option<i32>,
    /// The task is the init of a container: refuse what is shared with the outside
    #[arg(short, long)]
    container: bool,
    /// For tests: the Nth allocation of the kernel in checkpoint(2) fails, and a line says whether it was reached
    #[arg(long, value_name = "N")]
    fail_nth: Option<NonZeroU32>,
    /// Say which checkpoint this is
    #[arg(short, long)]
    verbose: bool,
    /// Root of the tree
    pid: i32,
}

fn inherited(number: i32) -> Result<OwnedFd, String> {
    if number < 0 {
        return Err(format!("{number} is no descriptor"));
    }
    // SAFETY: the number is only used to make a copy, which fails if it is not open.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    fd.try_clone_to_owned()
        .map_err(|error| format!("descriptor {number}: {}", errno::describe(&error)))
}

fn open_output(args: &Args) -> Result<OwnedFd, String> {
    match (&args.output, args.output_fd) {
        (Some(path), _) => File::create(path).map(OwnedFd::from).map_err(|error| format!("cannot create {}: {}", path.display(), errno::describe(&error))),
        (None, Some(number)) => inherited(number),
        (None, None) if std::io::stdout().is_terminal() => Err("standard output is a terminal: name a file with --output, or send the image through a pipe".to_owned()),
        (None, None) => inherited(1),
    }
}

fn open_log(args: &Args) -> Result<Log, String> {
    let log = match (&args.log, args.logfile_fd) {
        (Some(path), _) => Log::create(path).map_err(|error| {
            format!(
                "cannot create {}: {}",
                path.display(),
                errno::describe(&error)
            )
        })?,
        (None, Some(number)) => {
            Log::from_fd(inherited(number)?.as_fd()).map_err(|error| errno::describe(&error))?
        }
        (None, None) => Log::in_memory()
            .map_err(|error| format!("cannot make a log: {}", errno::describe(&error)))?,
    };
    Ok(log)
}

fn run(args: &Args) -> Result<u32, String> {
    let image = open_output(args)?;
    let mut log = open_log(args)?;
    let scope = if args.container {
        Scope::Container
    } else {
        Scope::Subtree
    };
    let no_fault = |error| NoFault::from(error).to_string();
    let armed = args.fail_nth.map(|nth| Armed::arm(nth.get())).transpose();
    let armed = armed.map_err(no_fault)?;
    let taken = sys::checkpoint(args.pid, image.as_fd(), scope, Some(log.fd()));
    let reached = armed.map(Armed::reached).transpose().map_err(no_fault)?;
    if let (Some(nth), Some(reached)) = (args.fail_nth, reached) {
        eprintln!("checkpoint: {}", fault::told(nth.get(), reached));
    }
    taken.map_err(|error| {
        let hint = remedy::checkpoint(&error)
            .map(|text| format!("\n  {text}"))
            .unwrap_or_default();
        let told = if args.logfile_fd.is_none() {
            log.told()
        } else {
            String::new()
        };
        format!("refused: {}{told}{hint}", errno::describe(&error))
    })
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(id) => {
            if args.verbose {
                eprintln!("checkpoint: id {id}");
            }
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("checkpoint: {message}");
            ExitCode::FAILURE
        }
    }
}
