//! The command line: one file a verb.
//!
//! The only crate that prints, exits and reads the environment.

mod bench;
mod build;
mod check;
mod clean;
mod context;
mod docs;
mod doctor;
mod exit;
mod guest;
mod image;
mod list;
mod mutants;
mod output;
mod progress;
mod repeat;
mod review;
mod select;
mod setup;
mod shell;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use context::Context;
use exit::Exit;

/// Builds kernels with in-kernel checkpoint/restart and tests them under QEMU on four architectures.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    /// Say more of what happens (twice: everything).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    verb: Verb,
}

/// What to do.
#[derive(Subcommand)]
enum Verb {
    /// Build kernels and guest images.
    Build(build::Options),
    Setup(setup::Options),
    Doctor(doctor::Options),
    List(list::Options),
    Image(image::Options),
    Review(review::Options),
    Test(test::Options),
    Repeat(repeat::Options),
    Check(check::Options),
    Shell(shell::Options),
    Bench(bench::Options),
    Mutants(mutants::Options),
    Clean(clean::Options),
}

fn run(verb: Verb, cx: &Context) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Build(opts) => build::run(opts, cx),
        Verb::Setup(opts) => setup::run(opts, cx),
        Verb::Doctor(opts) => doctor::run(opts, cx),
        Verb::List(opts) => list::run(&opts, cx),
        Verb::Image(opts) => image::run(&opts, cx),
        Verb::Review(opts) => review::run(&opts, cx),
        Verb::Test(opts) => test::run(&opts, cx),
        Verb::Repeat(opts) => repeat::run(&opts, cx),
        Verb::Check(opts) => check::run(&opts, cx),
        Verb::Shell(opts) => shell::run(&opts, cx),
        Verb::Bench(opts) => bench::run(&opts, cx),
        Verb::Mutants(opts) => mutants::run(&opts, cx),
        Verb::Clean(opts) => clean::run(&opts, cx),
    }
}

fn trace(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("CROSSTHAW_LOG");
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level)))
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .init();
}

fn main() -> ExitCode {
    // Wrong usage exits with 2 (clap's own code, the same as ours), `--help` with 0.
    let cli = Cli::parse();
    trace(cli.verbose);
    match Context::new().and_then(|cx| run(cli.verb, &cx)) {
        Ok(code) => code,
        Err(error) => {
            let exit = error.downcast_ref::<Exit>();
            if exit.is_none_or(|exit| !exit.message.is_empty()) {
                eprintln!("error: {error:#}");
            }
            ExitCode::from(exit.map_or(exit::INFRA, |exit| exit.code))
        }
    }
}
