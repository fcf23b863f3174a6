//! `nsexec`: run a command in new namespaces.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use crossthaw_tools::fork::{Kind, Private};
use crossthaw_tools::launch::{self, Options};
use crossthaw_tools::orphans;

/// Run a command in new namespaces.
///
/// SIGINT and SIGTERM are passed on to it. Exit status: that of the command, 128 + N if signal N ended it; 127 if there is no such
/// command, 126 if it cannot be run, 125 if something else went wrong, 2 usage.
#[derive(Debug, Parser)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
#[command(version, max_term_width = 100)]
struct Args {
    /// Give it a mount namespace of its own
    #[arg(short, long, visible_alias = "mntns")]
    mount: bool,
    /// ... a network namespace
    #[arg(short, long, visible_alias = "netns")]
    network: bool,
    /// ... a uts namespace: host and domain name
    #[arg(short, long)]
    uts: bool,
    /// ... a user namespace, in which the caller's user and group are root
    #[arg(short = 'U', long)]
    user: bool,
    /// ... an ipc namespace
    #[arg(short, long)]
    ipc: bool,
    /// ... a pid namespace, in which it is PID 1, with mounts and /proc of its own. A signal that it is passed and neither handles,
    /// blocks nor ignores ends it, as it would end another process
    #[arg(short, long, visible_alias = "pidns")]
    pid: bool,
    /// ... a time namespace
    #[arg(short, long)]
    time: bool,
    /// ... a cgroup namespace, whose root is the cgroup that it is in
    #[arg(short = 'C', long)]
    cgroup: bool,
    /// Make a cgroup below this folder of the cgroup v2 hierarchy, with the pid as its name, and run it there; one without tasks is removed
    /// at the end
    #[arg(short = 'g', long, value_name = "DIR")]
    cgroup_dir: Option<PathBuf>,
    /// Write its pid, as it is outside, to this file before it runs
    #[arg(short = 'P', long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Give it this pid
    #[arg(short = 'z', long, value_name = "PID", conflicts_with = "pid", value_parser = clap::value_parser!(i32).range(1..))]
    set_pid: Option<i32>,
    /// The command, and its arguments
    #[arg(required = true, trailing_var_arg = true, value_names = ["COMMAND", "ARG"])]
    command: Vec<OsString>,
}

fn options(args: Args) -> Result<Options, String> {
    let Args {
        mount,
        network,
        uts,
        user,
        ipc,
        pid,
        time,
        cgroup,
        cgroup_dir,
        pid_file,
        set_pid,
        command,
    } = args;
    let mut words = command.into_iter().map(|word| {
        CString::new(word.into_vec())
            .map_err(|error| format!("the command has a zero byte in it: {error}"))
    });
    Ok(Options {
        program: words
            .next()
            .unwrap_or_else(|| unreachable!("the command is required"))?,
        arguments: words.collect::<Result<_, _>>()?,
        private: Private::default()
            .with(Kind::Mount, mount)
            .with(Kind::Network, network)
            .with(Kind::Uts, uts)
            .with(Kind::User, user)
            .with(Kind::Ipc, ipc)
            .with(Kind::Pid, pid)
            .with(Kind::Time, time)
            .with(Kind::Cgroup, cgroup),
        pid: set_pid,
        cgroup: cgroup_dir,
        pid_file,
    })
}

fn main() -> ExitCode {
    let outcome = match options(Args::parse()) {
        Ok(options) => {
            launch::run(&options).map_err(|error| (error.exit_code(), error.to_string()))
        }
        Err(message) => Err((2, message)),
    };
    match outcome {
        Ok(status) => ExitCode::from(u8::try_from(orphans::exit_code(status)).unwrap_or(u8::MAX)),
        Err((code, message)) => {
            eprintln!("nsexec: {message}");
            ExitCode::from(code)
        }
    }
}
