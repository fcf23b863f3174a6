//! `restart`: rebuild the tree of tasks that `checkpoint` wrote.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::Seek;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use crossthaw_tools::coordinate::{self, Options, RestartError, Source};
use crossthaw_tools::fork::{Namespaces, Private};
use crossthaw_tools::log::Log;
use crossthaw_tools::sys::Leave;
use crossthaw_tools::{errno, orphans};

/// Rebuild the tree of tasks that `checkpoint` wrote.
///
/// Every task gets the pid that it had. Exit status: 0 done, 1 refused, 2 usage; with --copy-status that of the root.
#[derive(Debug, Parser)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
#[command(version, max_term_width = 100)]
struct Args {
    /// Read the image from this file [default: standard input]
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Have the kernel explain a refusal in this file
    #[arg(short, long, visible_alias = "logfile", value_name = "FILE")]
    log: Option<PathBuf>,
    /// Make a container: pid, ipc, uts and mount namespaces of their own, with /proc
    #[arg(short, long, visible_alias = "pidns")]
    container: bool,
    /// Give the tree a mount namespace of its own; a container has one
    #[arg(long, visible_alias = "mntns")]
    mount: bool,
    /// Give the tree a network namespace of its own
    #[arg(long, visible_alias = "netns")]
    network: bool,
    /// Make this folder the root directory of the tree; the names in the image begin at it
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Make the tasks in this folder of the cgroup v2 hierarchy
    #[arg(long, value_name = "DIR")]
    cgroup: Option<PathBuf>,
    /// Leave the tasks frozen; they, and nobody else, must be in a cgroup below the root
    #[arg(long, requires = "cgroup")]
    frozen: bool,
    /// Do not wait for the root to end: print its pid and leave the tree to init
    #[arg(long, visible_alias = "no-wait", conflicts_with = "copy_status")]
    detach: bool,
    /// Exit as the root does
    #[arg(long)]
    copy_status: bool,
    /// Read the image only once, even if it is a file: what the tool has read is replayed through a pipe
    #[arg(long)]
    stream: bool,
}

fn open_image(path: Option<&Path>) -> Result<File, String> {
    if let Some(path) = path {
        return File::open(path).map_err(|error| {
            format!(
                "cannot open {}: {}",
                path.display(),
                errno::describe(&error)
            )
        });
    }
    let stdin = std::io::stdin().as_fd().try_clone_to_owned();
    stdin
        .map(File::from)
        .map_err(|error| format!("cannot read standard input: {}", errno::describe(&error)))
}

fn root_directory(path: PathBuf) -> Result<CString, String> {
    CString::new(path.into_os_string().into_vec())
        .map_err(|error| format!("--root has a zero byte in it: {error}"))
}

fn open_cgroup(path: &Path) -> Result<OwnedFd, String> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY)
        .open(path);
    opened.map(OwnedFd::from).map_err(|error| {
        format!(
            "cannot open the cgroup {}: {}",
            path.display(),
            errno::describe(&error)
        )
    })
}

fn open_log(path: Option<&Path>) -> Result<Log, String> {
    match path {
        Some(path) => Log::create(path).map_err(|error| {
            format!(
                "cannot create {}: {}",
                path.display(),
                errno::describe(&error)
            )
        }),
        None => Log::in_memory()
            .map_err(|error| format!("cannot make a log: {}", errno::describe(&error))),
    }
}

fn run(args: &Args) -> Result<i32, String> {
    let mut image = open_image(args.input.as_deref())?;
    let mut log = open_log(args.log.as_deref())?;
    let seekable = image.stream_position().is_ok();
    let options = Options {
        source: if seekable && !args.stream {
            Source::Seek
        } else {
            Source::Stream
        },
        image,
        namespaces: if args.container {
            Namespaces::Container
        } else {
            Namespaces::Inherited
        },
        private: Private {
            mount: args.mount,
            network: args.network,
        },
        root: args.root.clone().map(root_directory).transpose()?,
        cgroup: args.cgroup.as_deref().map(open_cgroup).transpose()?,
        leave: if args.frozen {
            Leave::Frozen
        } else {
            Leave::Running
        },
    };
    coordinate::restart(options, &mut log).map_err(|error| match error {
        RestartError::Kernel(_) | RestartError::Left => {
            let told = log.told();
            format!("{error}{told}")
        }
        _ => error.to_string(),
    })
}

fn main() -> ExitCode {
    let args = Args::parse();
    let root = match run(&args) {
        Ok(root) => root,
        Err(message) => {
            eprintln!("restart: {message}");
            return ExitCode::FAILURE;
        }
    };
    if args.detach {
        println!("{root}");
        return ExitCode::SUCCESS;
    }
    match orphans::wait(root) {
        Ok(status) if args.copy_status => {
            ExitCode::from(u8::try_from(orphans::exit_code(status)).unwrap_or(u8::MAX))
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "restart: cannot wait for pid {root}: {}",
                errno::describe(&error)
            );
            ExitCode::FAILURE
        }
    }
}
