//! `restart`: rebuild the tree of tasks that `checkpoint` wrote.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use crossthaw_tools::coordinate::{self, Options, RestartError, Restarted, Source, Then};
use crossthaw_tools::fault::{self, Fault};
use crossthaw_tools::fork::{Kind, Namespaces, Private};
use crossthaw_tools::ids::{self, IdMaps};
use crossthaw_tools::log::Log;
use crossthaw_tools::sys::{Leave, Pids};
use crossthaw_tools::{errno, inspect, orphans, signal, wait};

/// Rebuild the tree of tasks that `checkpoint` wrote.
///
/// Every task gets the pid that it had, unless --no-pids is given. Exit status: 0 done, 1 refused, 2 usage; 128 + N if the tool was asked
/// to end by signal N while it waited; with --copy-status that of the root.
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
    /// Give the tree a user namespace of its own, in which COUNT users from INSIDE on are the caller's from OUTSIDE on (repeatable)
    #[arg(long, value_name = "INSIDE:OUTSIDE:COUNT", value_parser = ids::parse, requires_all = ["map_groups", "container"])]
    map_users: Vec<ids::Range>,
    /// ... and its groups
    #[arg(long, value_name = "INSIDE:OUTSIDE:COUNT", value_parser = ids::parse, requires = "map_users")]
    map_groups: Vec<ids::Range>,
    /// Make this folder the root directory of the tree; the names in the image begin at it
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Make the tasks in this folder of the cgroup v2 hierarchy, and those cgroups that the image has below it
    #[arg(long, value_name = "DIR")]
    cgroup: Option<PathBuf>,
    /// Give every task the pid that it had, which is what happens if neither this nor --no-pids is given
    #[arg(long, conflicts_with = "no_pids")]
    pids: bool,
    /// Let tasks have any free pids, where theirs are taken or nobody may choose them; what a program has written down itself is then wrong
    #[arg(long, conflicts_with = "container")]
    no_pids: bool,
    /// Leave the tasks frozen; they, and nobody else, must be in or below a cgroup other than the root
    #[arg(long, requires = "cgroup")]
    frozen: bool,
    /// Do not wait for the root to end: print its pid and leave the tree to init
    #[arg(long, visible_alias = "no-wait", conflicts_with_all = ["copy_status", "show_status", "signal"])]
    detach: bool,
    /// Exit as the root does
    #[arg(long)]
    copy_status: bool,
    /// Say how the root ended
    #[arg(long)]
    show_status: bool,
    /// What the root gets when this tool gets SIGINT or SIGTERM while it waits; what the root then leaves behind is killed
    #[arg(long, value_name = "SIG", default_value = "KILL", value_parser = signal::parse)]
    signal: i32,
    /// Make no task: read the image, and fail if it is damaged or of a checkpoint that failed, and say why that was
    #[arg(long, conflicts_with_all = [
        "log", "container", "mount", "network", "map_users", "map_groups", "root", "cgroup", "pids", "no_pids", "frozen", "detach", "copy_status", "show_status",
        "signal", "stream", "fail_nth",
    ])]
    inspect: bool,
    /// For tests: the Nth allocation of the kernel in a task's restart(2) fails, and a line says whether it was reached
    #[arg(long, value_name = "N", requires = "frozen")]
    fail_nth: Option<NonZeroU32>,
    /// ... in that of this process of the image, which lives; 0 for the task that coordinates
    #[arg(long, value_name = "PID", default_value_t = 0, requires = "fail_nth")]
    fail_pid: i32,
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

fn run(args: &Args) -> Result<Restarted, String> {
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
        private: Private::default()
            .with(Kind::Mount, args.mount)
            .with(Kind::Network, args.network),
        users: (!args.map_users.is_empty()).then(|| IdMaps {
            users: args.map_users.clone(),
            groups: args.map_groups.clone(),
        }),
        root: args.root.clone().map(root_directory).transpose()?,
        cgroup: args.cgroup.as_deref().map(open_cgroup).transpose()?,
        leave: if args.frozen {
            Leave::Frozen
        } else {
            Leave::Running
        },
        pids: if args.no_pids { Pids::New } else { Pids::Image },
        then: if args.detach {
            Then::Detach
        } else {
            Then::Wait
        },
        fault: args.fail_nth.map(|nth| Fault {
            pid: args.fail_pid,
            nth: nth.get(),
        }),
    };
    coordinate::restart(options, &mut log).map_err(|error| match error {
        RestartError::Kernel(_) | RestartError::Left => {
            let told = log.told();
            format!("{error}{told}")
        }
        _ => error.to_string(),
    })
}

/// Wait for the tree, and say what there is to say about its root.
fn wait(root: i32, args: &Args) -> io::Result<ExitCode> {
    let (status, asked) = wait::tree(root, args.signal)?;
    if args.show_status {
        eprintln!("restart: the root {}", signal::describe_end(status));
    }
    let code = match asked {
        _ if args.copy_status => orphans::exit_code(status),
        Some(signal) => 128 + signal,
        None => 0,
    };
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

fn fail(message: &str) -> ExitCode {
    eprintln!("restart: {message}");
    ExitCode::FAILURE
}

fn inspect_image(args: &Args) -> Result<(), String> {
    let image = open_image(args.input.as_deref())?;
    inspect::inspect(image).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.inspect {
        return match inspect_image(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => fail(&message),
        };
    }
    let Restarted {
        root,
        cgroups,
        fault_reached,
    } = match run(&args) {
        Ok(restarted) => restarted,
        Err(message) => return fail(&message),
    };
    if let Some(nth) = args.fail_nth {
        eprintln!("restart: {}", fault::told(nth.get(), fault_reached));
    }
    if args.detach {
        if let Some(cgroups) = cgroups {
            cgroups.keep();
        }
        println!("{root}");
        return ExitCode::SUCCESS;
    }
    wait(root, &args).unwrap_or_else(|error| {
        orphans::end_all(&[root]);
        fail(&format!(
            "cannot wait for pid {root}: {}",
            errno::describe(&error)
        ))
    })
}
