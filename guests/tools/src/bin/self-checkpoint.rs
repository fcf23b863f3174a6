//! `self-checkpoint`: a program that counts and, half way, checkpoints itself.
//!
//! It goes on twice: live, where `checkpoint(2)` returns an id above 0, and restarted, where it returns 0.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use crossthaw_tools::sys::{self, Scope};
use crossthaw_tools::{errno, remedy};

/// Count, checkpoint yourself half way, count on, and write down what checkpoint(2) returned.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Args {
    /// Write the image to this file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write `ID COUNT` to this file: the id is 0 in the restarted program
    #[arg(short, long, value_name = "FILE")]
    result: PathBuf,
    /// How far to count
    #[arg(long, default_value_t = 1000)]
    count: u64,
}

fn run(args: &Args) -> Result<(), String> {
    let image = match &args.output {
        Some(path) => File::create(path).map(OwnedFd::from).map_err(|error| {
            format!(
                "cannot create {}: {}",
                path.display(),
                errno::describe(&error)
            )
        })?,
        None => std::io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| errno::describe(&error))?,
    };
    let half = args.count / 2;
    let mut counted = (0..half).map(std::hint::black_box).count() as u64;
    let id = sys::checkpoint(0, image.as_fd(), Scope::Subtree, None).map_err(|error| {
        let hint = remedy::checkpoint(&error)
            .map(|text| format!("\n  {text}"))
            .unwrap_or_default();
        format!("refused: {}{hint}", errno::describe(&error))
    })?;
    counted += (half..args.count).map(std::hint::black_box).count() as u64;
    fs::write(&args.result, format!("{id} {counted}\n")).map_err(|error| {
        format!(
            "cannot write {}: {}",
            args.result.display(),
            errno::describe(&error)
        )
    })
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("self-checkpoint: {message}");
            ExitCode::FAILURE
        }
    }
}
