//! Situations that a checkpoint must preserve, one function each, found by the name `FAMILY::NAME`.
//!
//! A workload builds its situation, reports ready, is checkpointed, and is resumed: once as it was, and once as restored from the image in another kernel.
//! Then it checks itself against what it knows from before, by means that do not share code with what is tested, and reports (see [`stage`]).
//!
//! The host harness depends on this crate for [`NAMES`] and [`keys`] alone: scenario files are checked against them.
//!
//! What holds in every workload, between ready and resumed:
//! - regular files, directories and memory devices as descriptors;
//! - nothing timed, so that a slow machine changes no verdict;
//! - names, numbers and contents that are the same in each run.

mod access;
mod args;
mod attributes;
mod cgroups;
mod credentials;
mod disturbed;
mod epoll;
mod error;
mod eventfds;
mod files;
mod futexes;
mod hold;
mod images;
mod iterated;
mod leases;
mod locks;
mod memfd;
mod memory;
mod mounts;
mod namespaces;
mod new_pids;
mod owners;
mod pattern;
mod pid_namespaces;
mod pidfds;
mod pipes;
mod posix_timers;
mod process_tree;
mod refusals;
mod registers;
mod seccomp;
mod sharing;
mod shmem;
mod signalfds;
mod signals;
mod simple;
mod sleeps;
mod stage;
mod sys;
mod threads;
mod timerfds;
mod timers;
mod tmpfs;
mod unlinked;
mod usage;
mod zombies;

use std::path::PathBuf;
use std::process::ExitCode;

use args::Args;
use error::Error;
use stage::Stage;

/// A workload's function.
type Run = fn(&mut Stage, &Args) -> Result<(), Error>;

/// Fills [`NAMES`], [`KEYS`] and [`TABLE`] from one list of names with their arguments, so that they cannot differ.
macro_rules! registry {
    ($($family:ident: $($name:ident $(($($key:ident)*))?)*;)*) => {
        /// Every workload's name, `FAMILY::NAME`, families in alphabetical order.
        pub const NAMES: &[&str] = &[$($(concat!(stringify!($family), "::", stringify!($name)),)*)*];

        /// The arguments that each takes, in the order of [`NAMES`].
        const KEYS: &[&[&str]] = &[$($(&[$($(stringify!($key)),*)?],)*)*];

        /// The functions, in the order of [`NAMES`].
        const TABLE: &[Run] = &[$($($family::$name,)*)*];
    };
}

registry! {
    access: contents others sysctl;
    attributes: default_slack kept(what) parent_death subreaper threads;
    cgroups: removed spread(root) threaded;
    credentials: capabilities dumpable ids rlimits;
    disturbed: turns;
    epoll: blocked(how) closed empty exclusive many(count) modes nested signals targets thousands wakeup;
    eventfds: blocked(how) numbers;
    files: append close_on_exec cwd_root_umask devices dup gaps names offset readdir shared_table symlink;
    futexes: barrier bitset condition mutex(kind) processes(protocol) requeue robust(protocol) waitv;
    images: rich;
    iterated: counter;
    leases: breaking(how) downgraded held(kind) shared(broken);
    locks: flocked(mode) inherited left(reaped) ofd posix waiting(kind);
    memfd: busy_program contents large(mib sparse) mapped program sealed(seals);
    memory: advice(kind) cow_fork dirty(mib) file_private file_readers file_shared file_zeros grows_down heap holes(mib step) huge locked(how) mappings(count)
        merged(how) merged_zeros named protection_keys protections said(what) sealed sparse(gib) stack_deep(depth) swapped swapped_self
        vdso;
    mounts: changed(what) changed_apart(what) later undone;
    namespaces: ipc ipc_in_use mixed time uts uts_root uts_threads;
    new_pids: family nested threads;
    owners: fifo pending quiet told(who) user writer;
    pid_namespaces: entered killed nested(how deeper) noexec;
    pidfds: family gone waiting(how) zombie;
    pipes: again blocked(how) closed(end) contents(fill) fifo fifo_sides packets ring room shared sizes spliced threads;
    posix_timers: deadline kept(clock) pending(clock times) threads ticks(clock);
    process_tree: dead_leaders deep(count) exit_signals idle orphan stopped stopped_threads three_levels wide(count);
    refusals: aio deleted_cwd device dnotify fifo(kind)
        hugetlb(kind) inotify io_context memfd message_queue
        odd_name(kind) other_namespace(kind) outside_group(leader) outside_user(kind) pids_for_children pidfd pidfd_group posix_queue posix_timer
        processor(kind) proc_file
        sealed_vdso seccomp_listener semaphore_undo semaphores shared_mm_leader socket sysv_shm
        traced unlinked_mapping userfaultfd vfork;
    registers: descriptors fpu(hold) gpr(hold) registrations thread_pointer vector(hold);
    seccomp: chain long strict threads trap;
    sharing: mixed(memory files fs) survivors with_threads;
    shmem: device dirty(mib) futex_wait parts siblings sparse(mib) tasks;
    signalfds: blocked(how) signals;
    signals: altstack autodisarm delivered handlers in_handler mask pending pending_child sigsuspend;
    simple: blocked(call) counter identity self_file self_pipe;
    sleeps: deadline left(call) order polled_closed;
    threads: basic(count) blocked children detached group_exit unshared;
    timerfds: blocked cancelled expired left(clock);
    timers: left(which) ticks(which);
    tmpfs: contents(what) contents_apart(what) open reading(gaps);
    unlinked: contents directory linked mapped nameless program;
    usage: gone limit spent;
    zombies: exits leaders many thread_leader thread_leader_outlives;
}

/// Runs the program with these arguments (the program's name left out) and returns its exit code: 0 all checks held, 1 one did not, 2 usage.
pub fn main(words: &[String]) -> ExitCode {
    match words {
        [list] if list == "--list" => {
            for name in NAMES {
                println!("{name}");
            }
            ExitCode::SUCCESS
        }
        [probe, rest @ ..] if probe == files::PROBE => files::probe_descriptors(rest),
        [name, rest @ ..] => match (
            find(name),
            Args::parse(rest, keys(name).unwrap_or_default()),
        ) {
            (Some(run), Ok(args)) => stage::perform(&scenario_dir(), run, &args),
            (None, _) => usage(&format!("no workload is called {name:?}")),
            (_, Err(error)) => usage(&error.to_string()),
        },
        [] => usage("which workload?"),
    }
}

/// The function of a name.
fn find(name: &str) -> Option<Run> {
    let index = NAMES.iter().position(|known| *known == name)?;
    TABLE.get(index).copied()
}

/// The arguments that a workload takes; `None` if there is no such workload.
pub fn keys(name: &str) -> Option<&'static [&'static str]> {
    let index = NAMES.iter().position(|known| *known == name)?;
    KEYS.get(index).copied()
}

/// The scenario's folder; `CROSSTHAW_SCENARIO_DIR` names another one, to try a workload on the host.
fn scenario_dir() -> PathBuf {
    std::env::var_os("CROSSTHAW_SCENARIO_DIR").map_or_else(
        || PathBuf::from(crossthaw_protocol::SCENARIO_DIR),
        PathBuf::from,
    )
}

/// Says what was wrong with the arguments.
fn usage(problem: &str) -> ExitCode {
    eprintln!("workloads: {problem}\nusage: workloads NAME [KEY=VALUE]... | workloads --list");
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (index, name) in NAMES.iter().enumerate() {
            assert!(!NAMES[..index].contains(name), "{name} twice");
            assert!(find(name).is_some());
        }
        assert_eq!((NAMES.len(), NAMES.len()), (TABLE.len(), KEYS.len()));
        assert_eq!(keys("memory::holes"), Some(&["mib", "step"][..]));
        assert_eq!(keys("memory::heap"), Some(&[][..]));
        assert_eq!(keys("memory::nothing"), None);
        assert!(find("simple::nothing").is_none());
    }
}
