//! Each workload on the host's own kernel: without a checkpoint between ready and resumed, every check must hold.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crossthaw_workloads::NAMES;

/// More than the slowest one needs on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Needs checkpoint(2).
const NEED_THE_KERNEL: &[&str] = &[
    "refusals::outside_user",
    "simple::self_file",
    "simple::self_pipe",
];

/// Needs what only root may do.
const NEED_ROOT: &[&str] = &[
    "credentials::capabilities",
    "credentials::ids",
    "files::cwd_root_umask",
    "files::devices",
    "owners::user",
    "refusals::device",
    "signals::pending",
    "threads::unshared",
    "zombies::exits",
];

/// Needs powers that a container's root may lack, or a kernel as new as the guests': tried in guests only.
const NEED_A_GUEST: &[&str] = &[
    "access::contents",
    "access::others",
    "access::sysctl",
    "attributes::threads",
    "cgroups::removed",
    "cgroups::spread",
    "cgroups::threaded",
    "files::names",
    "memory::huge",
    "memory::merged",
    "memory::merged_zeros",
    "memory::named",
    "memory::protection_keys",
    "memory::said",
    "memory::sealed",
    "memory::swapped",
    "memory::swapped_self",
    "mounts::changed",
    "mounts::changed_apart",
    "mounts::later",
    "mounts::undone",
    "namespaces::ipc",
    "namespaces::ipc_in_use",
    "namespaces::mixed",
    "namespaces::time",
    "namespaces::uts",
    "namespaces::uts_root",
    "namespaces::uts_threads",
    "new_pids::nested",
    "pid_namespaces::entered",
    "pid_namespaces::killed",
    "pid_namespaces::nested",
    "pid_namespaces::noexec",
    "refusals::hugetlb",
    "refusals::odd_name",
    "refusals::other_namespace",
    "refusals::pids_for_children",
    "refusals::posix_queue",
    "refusals::processor",
    "refusals::sealed_vdso",
    "refusals::userfaultfd",
    "registers::descriptors",
    // It sets a time of the whole system.
    "leases::downgraded",
    // It sets the clock.
    "timerfds::cancelled",
    "tmpfs::contents",
    "tmpfs::contents_apart",
    "tmpfs::open",
    "tmpfs::reading",
];

/// Every value of every axis that the scenarios use is here, but for those that need what only a guest gives.
const VARIANTS: &[(&str, &[&str])] = &[
    ("epoll::blocked", &["how=wait"]),
    ("epoll::blocked", &["how=pwait"]),
    ("epoll::blocked", &["how=poll"]),
    ("leases::breaking", &["how=unlock"]),
    ("leases::breaking", &["how=downgrade"]),
    ("leases::shared", &["broken=after"]),
    ("leases::shared", &["broken=before"]),
    ("leases::held", &["kind=read"]),
    ("leases::held", &["kind=write"]),
    ("pidfds::waiting", &["how=poll"]),
    ("pidfds::waiting", &["how=waitid"]),
    ("owners::told", &["who=process"]),
    ("owners::told", &["who=thread"]),
    ("owners::told", &["who=child"]),
    ("owners::told", &["who=group"]),
    ("owners::told", &["who=gone"]),
    ("locks::flocked", &["mode=exclusive"]),
    ("locks::flocked", &["mode=shared"]),
    ("locks::waiting", &["kind=flock"]),
    ("locks::waiting", &["kind=posix"]),
    ("locks::waiting", &["kind=ofd"]),
    ("refusals::outside_group", &["leader=lives"]),
    ("refusals::outside_group", &["leader=gone"]),
    ("registers::gpr", &["hold=spin"]),
    ("registers::gpr", &["hold=blocked"]),
    ("registers::fpu", &["hold=spin"]),
    ("registers::fpu", &["hold=blocked"]),
    ("registers::vector", &["hold=spin"]),
    ("registers::vector", &["hold=blocked"]),
    ("simple::blocked", &["call=waitpid"]),
    ("simple::blocked", &["call=sigtimedwait"]),
    ("simple::blocked", &["call=sigsuspend"]),
    ("simple::blocked", &["call=futex"]),
    ("simple::blocked", &["call=ppoll"]),
    ("sleeps::left", &["call=nanosleep"]),
    ("sleeps::left", &["call=clock_nanosleep"]),
    ("sleeps::left", &["call=clock_nanosleep_realtime"]),
    ("sleeps::left", &["call=clock_nanosleep_absolute"]),
    ("sleeps::left", &["call=ppoll"]),
    ("sleeps::left", &["call=select"]),
    ("sleeps::left", &["call=poll"]),
    ("sleeps::left", &["call=futex"]),
    ("sleeps::left", &["call=nanosleep_itself"]),
    ("sleeps::left", &["call=pselect"]),
    ("memory::dirty", &["mib=8"]),
    ("memfd::sealed", &["seals=none"]),
    ("memfd::sealed", &["seals=write"]),
    ("memfd::sealed", &["seals=future_write"]),
    ("memory::locked", &["how=onfault"]),
    ("memory::advice", &["kind=wipeonfork"]),
    ("memory::advice", &["kind=dontdump"]),
    ("memory::advice", &["kind=sequential"]),
    ("memory::advice", &["kind=random"]),
    ("memory::said", &["what=small_pages"]),
    ("memory::said", &["what=dump_filter"]),
    ("sharing::mixed", &["memory=own", "files=own", "fs=shared"]),
    ("sharing::mixed", &["memory=own", "files=shared", "fs=own"]),
    ("sharing::mixed", &["memory=shared", "files=own", "fs=own"]),
    (
        "sharing::mixed",
        &["memory=with_actions", "files=own", "fs=own"],
    ),
    ("shmem::dirty", &["mib=8"]),
    ("shmem::sparse", &["mib=64"]),
    ("attributes::kept", &["what=batch"]),
    ("attributes::kept", &["what=idle"]),
    ("attributes::kept", &["what=reset_on_fork"]),
    ("attributes::kept", &["what=timer_slack"]),
    ("attributes::kept", &["what=oom"]),
    ("attributes::kept", &["what=no_new_privs"]),
    ("attributes::kept", &["what=memory_failure"]),
    ("attributes::kept", &["what=affinity"]),
    ("timers::left", &["which=virtual"]),
    ("timers::left", &["which=prof"]),
    ("timers::ticks", &["which=virtual"]),
    ("timers::ticks", &["which=prof"]),
    ("threads::basic", &["count=200"]),
    ("futexes::mutex", &["kind=recursive"]),
    ("futexes::mutex", &["kind=errorcheck"]),
    ("futexes::mutex", &["kind=robust"]),
    ("futexes::mutex", &["kind=inherit"]),
    ("futexes::mutex", &["kind=robust_inherit"]),
    ("futexes::robust", &["protocol=inherit"]),
    ("futexes::processes", &["protocol=inherit"]),
    ("posix_timers::kept", &["clock=realtime"]),
    ("posix_timers::kept", &["clock=boottime"]),
    ("posix_timers::kept", &["clock=tai"]),
    ("posix_timers::kept", &["clock=process"]),
    ("posix_timers::kept", &["clock=thread"]),
    ("posix_timers::pending", &["clock=realtime", "times=once"]),
    ("posix_timers::pending", &["clock=process", "times=once"]),
    ("posix_timers::pending", &["clock=process", "times=many"]),
    ("posix_timers::ticks", &["clock=boottime"]),
];

/// A workload that runs in a folder of its own.
struct Run {
    dir: tempfile::TempDir,
    process: Child,
}

impl Drop for Run {
    /// A test that fails leaves no task behind.
    fn drop(&mut self) {
        let group = format!("-{}", self.process.id());
        let _ = Command::new("kill")
            .args(["-KILL", "--", &group])
            .stderr(Stdio::null())
            .status();
        let _ = self.process.wait();
    }
}

impl Run {
    /// Starts it and waits until it is ready.
    fn ready(words: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_workloads"))
            .args(words)
            .current_dir(dir.path())
            .env("CROSSTHAW_SCENARIO_DIR", dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut run = Self { dir, process };
        let start = Instant::now();
        while !run.path(".ready").exists() {
            if let Some(status) = run.process.try_wait().unwrap() {
                panic!(
                    "{words:?} ended before it was ready: {status}\n{}",
                    run.report()
                );
            }
            assert!(
                start.elapsed() < DEADLINE,
                "{words:?} does not become ready"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        run
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn report(&self) -> String {
        fs::read_to_string(self.path(".report")).unwrap_or_default()
    }

    /// Resumes it, and returns its exit code and report.
    fn finish(mut self, words: &[&str]) -> (i32, String) {
        let resumed = Command::new("kill")
            .args(["-USR1", &self.process.id().to_string()])
            .status()
            .unwrap();
        assert!(resumed.success());
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return (
                    status
                        .code()
                        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
                    self.report(),
                );
            }
            if start.elapsed() > DEADLINE {
                self.process.kill().unwrap();
                panic!("{words:?} does not end\n{}", self.report());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Runs a workload to its end; what is wrong, if anything.
fn fault(words: &[&str]) -> Option<String> {
    let (code, report) = Run::ready(words).finish(words);
    let lines: Vec<&str> = report.lines().collect();
    let fine = code == 0
        && lines.len() > 1
        && lines.last() == Some(&"done")
        && lines[..lines.len() - 1]
            .iter()
            .all(|line| line.starts_with("ok "));
    (!fine).then(|| format!("{words:?}: exit code {code}\n{report}"))
}

fn is_root() -> bool {
    fs::metadata("/proc/self")
        .map(|data| std::os::unix::fs::MetadataExt::uid(&data) == 0)
        .unwrap()
}

#[test]
fn every_check_holds_without_a_checkpoint() {
    let runs: Vec<Vec<&str>> = NAMES
        .iter()
        .filter(|name| !NEED_THE_KERNEL.contains(name) && !NEED_A_GUEST.contains(name))
        .filter(|name| is_root() || !NEED_ROOT.contains(name))
        .map(|name| vec![*name])
        .chain(
            VARIANTS
                .iter()
                .map(|(name, args)| [&[*name], *args].concat()),
        )
        .collect();
    let faults: Vec<String> = std::thread::scope(|scope| {
        // Two at a time: most of them sleep most of their time.
        let workers: Vec<_> = (0..2)
            .map(|worker| {
                let runs = &runs;
                scope.spawn(move || {
                    runs.iter()
                        .skip(worker)
                        .step_by(2)
                        .filter_map(|words| fault(words))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn nothing_but_the_situation_is_left_when_ready() {
    for words in [
        ["process_tree::three_levels"],
        ["files::dup"],
        ["simple::counter"],
    ] {
        let run = Run::ready(&words);
        let left: Vec<String> = fs::read_dir(run.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with('.') && name != ".ready")
            .collect();
        assert_eq!(left, [""; 0], "{words:?}");
        assert_eq!(run.finish(&words).0, 0);
    }
}

#[test]
fn without_checkpoint_2_the_self_checkpoints_say_so() {
    for name in NEED_THE_KERNEL {
        let dir = tempfile::tempdir().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_workloads"))
            .arg(name)
            .env("CROSSTHAW_SCENARIO_DIR", dir.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}");
        let report = fs::read_to_string(dir.path().join(".report")).unwrap();
        assert!(report.contains("FAIL situation: "), "{report}");
    }
}

#[test]
fn usage_errors_have_their_own_code() {
    for words in [&["no::such"][..], &["simple::counter", "x"], &[]] {
        assert_eq!(
            Command::new(env!("CARGO_BIN_EXE_workloads"))
                .args(words)
                .output()
                .unwrap()
                .status
                .code(),
            Some(2),
            "{words:?}"
        );
    }
    let list = Command::new(env!("CARGO_BIN_EXE_workloads"))
        .arg("--list")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(list.stdout)
            .unwrap()
            .lines()
            .collect::<Vec<_>>(),
        NAMES
    );
}

/// Spoils the situation of a workload between ready and resumed; it has to notice.
fn spoiled(words: &[&str], check: &str, spoil: impl FnOnce(&Run)) {
    let run = Run::ready(words);
    spoil(&run);
    let (code, report) = run.finish(words);
    assert_eq!(code, 1, "{words:?} did not notice\n{report}");
    assert!(
        report
            .lines()
            .any(|line| line.starts_with("FAIL ") && line.contains(check)),
        "{words:?} noticed something else\n{report}"
    );
}

/// Flips a bit in the `page`th page of the process's largest anonymous mapping that is readable and writable.
fn flip_bit(process: u32, page: u64) {
    use std::os::unix::fs::FileExt;
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let (start, _) = maps
        .lines()
        .filter(|line| line.contains(" rw-p ") && line.split_whitespace().count() == 5)
        .map(|line| {
            let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
            (start, end - start)
        })
        .max_by_key(|(_, len)| *len)
        .unwrap();
    let memory = fs::File::options()
        .read(true)
        .write(true)
        .open(format!("/proc/{process}/mem"))
        .unwrap();
    let mut byte = [0];
    let at = start + page * 4096 + 123;
    memory.read_exact_at(&mut byte, at).unwrap();
    memory.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// The first child of a process.
fn child_of(process: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap();
    children.split_whitespace().next().unwrap().parse().unwrap()
}

fn append(path: &Path, text: &str) {
    use std::io::Write;
    fs::File::options()
        .append(true)
        .open(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

#[test]
fn wrong_states_are_noticed() {
    spoiled(&["memory::dirty", "mib=4"], "contents", |run| {
        flip_bit(run.process.id(), 700);
    });
    spoiled(
        &["memory::holes", "mib=4", "step=16"],
        "written pages",
        |run| flip_bit(run.process.id(), 32),
    );
    spoiled(
        &["memory::holes", "mib=4", "step=16"],
        "pages in the holes",
        |run| flip_bit(run.process.id(), 33),
    );
    spoiled(&["files::append"], "contents", |run| {
        append(&run.path("log"), &"more ".repeat(10));
    });
    spoiled(&["files::readdir"], "names never seen", |run| {
        (0..50).for_each(|index| {
            fs::remove_file(run.path(&format!("many/entry-{index:02}"))).unwrap();
        });
    });
    spoiled(&["files::symlink"], "contents", |run| {
        fs::write(run.path("first"), "x").unwrap();
    });
    spoiled(&["iterated::counter"], "faults", |run| {
        std::thread::sleep(Duration::from_millis(20));
        fs::write(run.path(".progress"), format!("{:020}", 1)).unwrap();
        std::thread::sleep(Duration::from_millis(50));
    });
    let kill = |signal: &'static str| {
        move |run: &Run| {
            assert!(
                Command::new("kill")
                    .args([signal, &child_of(run.process.id()).to_string()])
                    .status()
                    .unwrap()
                    .success()
            );
        }
    };
    spoiled(
        &["process_tree::wide", "count=5"],
        "end of 0",
        kill("-KILL"),
    );
    spoiled(&["simple::counter"], "counter/exit", kill("-TERM"));
    // A sleep that a signal ends too early.
    for call in ["nanosleep", "poll", "futex"] {
        spoiled(
            &["sleeps::left", &format!("call={call}")],
            "still waits",
            |run| {
                kill("-USR1")(run);
                std::thread::sleep(Duration::from_millis(300));
            },
        );
    }
}
