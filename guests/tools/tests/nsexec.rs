//! `nsexec` on the host's own kernel. What the host refuses is skipped, and said.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// More than the slowest needs on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

const NSEXEC: &str = env!("CARGO_BIN_EXE_nsexec");

fn nsexec(arguments: &[&str]) -> Command {
    let mut command = Command::new(NSEXEC);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Ctrl-C ends it, also where a shell has started the tests in the background, which ignore that signal then.
fn interruptible(command: &mut Command) -> &mut Command {
    // SAFETY: a system call on numbers, which allocates nothing.
    unsafe {
        command.pre_exec(|| match libc::signal(libc::SIGINT, libc::SIG_DFL) {
            libc::SIG_ERR => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        })
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

/// Does the host not let us? Says so.
fn refused(output: &Output) -> bool {
    let told = text(&output.stderr);
    let refused = output.status.code() == Some(125) && told.contains("EPERM");
    if refused {
        eprintln!("skipped: the host refuses it: {told}");
    }
    refused
}

/// What it writes and how it exits; `None` where the host refuses.
fn run(arguments: &[&str]) -> Option<(String, i32)> {
    let output = nsexec(arguments).output().unwrap();
    if refused(&output) {
        return None;
    }
    let code = output.status.code();
    let code = code.unwrap_or_else(|| panic!("{arguments:?}: {}", output.status));
    assert!(
        code == 125 || output.stderr.is_empty(),
        "{arguments:?}: {}",
        text(&output.stderr)
    );
    Some((text(&output.stdout), code))
}

/// It writes just that, and exits with 0.
fn check(arguments: &[&str], expected: &str) {
    if let Some(outcome) = run(arguments) {
        assert_eq!(outcome, (expected.to_owned(), 0), "{arguments:?}");
    }
}

/// It exits like this, and says that.
fn check_code(arguments: &[&str], code: i32, part: &str) {
    let output = nsexec(arguments).output().unwrap();
    let told = text(&output.stderr);
    if code == 125 || !refused(&output) {
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains(part), "{arguments:?}: {told}");
    }
}

#[test]
fn a_namespace_is_new_if_it_was_asked_for() {
    let names = ["mnt", "net", "uts", "user", "ipc", "pid", "time", "cgroup"];
    let script =
        "for n in mnt net uts user ipc pid time cgroup; do readlink /proc/self/ns/$n; done";
    let ours: Vec<String> = names
        .iter()
        .map(|name| fs::read_link(format!("/proc/self/ns/{name}")).unwrap())
        .map(|link| link.to_string_lossy().into_owned())
        .collect();
    for (options, new) in [
        ([].as_slice(), [].as_slice()),
        (&["-m"], &["mnt"]),
        (&["--network"], &["net"]),
        (&["-u"], &["uts"]),
        (&["-U"], &["user"]),
        (&["-i"], &["ipc"]),
        (&["-p"], &["mnt", "pid"]),
        (&["-t"], &["time"]),
        (&["-C"], &["cgroup"]),
        (&["-mnuUiptC"], &names),
    ] {
        let Some((theirs, code)) = run(&[options, &["sh", "-c", script]].concat()) else {
            continue;
        };
        assert_eq!(code, 0, "{options:?}");
        let differ: Vec<&str> = theirs
            .lines()
            .zip(&ours)
            .zip(names)
            .filter_map(|((theirs, ours), name)| (theirs != ours).then_some(name))
            .collect();
        assert_eq!(theirs.lines().count(), names.len(), "{options:?}: {theirs}");
        assert_eq!(differ, new, "{options:?}");
    }
}

#[test]
fn a_pid_namespace_has_its_own_proc() {
    check(
        &["-p", "sh", "-c", "echo $$; echo /proc/[0-9]*"],
        "1\n/proc/1",
    );
}

#[test]
fn the_caller_is_root_in_a_user_namespace() {
    check(&["-U", "sh", "-c", "id -u; id -g"], "0\n0");
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can try it as somebody else");
        return;
    }
    // Nobody can run it where it was built.
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("nsexec");
    fs::copy(NSEXEC, &copy).unwrap();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), open).unwrap();
    let script =
        "id -u; id -g; read a b c </proc/self/uid_map; echo $a $b $c; cat /proc/self/setgroups";
    let output = Command::new(copy)
        .args(["-Up", "sh", "-c", script])
        .uid(65534)
        .gid(65533)
        .output()
        .unwrap();
    if !refused(&output) {
        let told = (text(&output.stdout), text(&output.stderr));
        assert_eq!(told, ("0\n0\n0 65534 1\ndeny".to_owned(), String::new()));
    }
}

#[test]
fn it_exits_as_the_command_does() {
    check_code(&["sh", "-c", "exit 7"], 7, "");
    check_code(&["-p", "sh", "-c", "exit 7"], 7, "");
    check_code(&["sh", "-c", "kill -TERM $$"], 143, "");
    check_code(
        &["no-such-program"],
        127,
        "cannot run no-such-program: ENOENT",
    );
    check_code(&["/etc/passwd"], 126, "EACCES");
    check_code(&["/"], 126, "EACCES");
    check_code(&[], 2, "COMMAND");
    check_code(&["--bogus", "true"], 2, "--bogus");
    check_code(&["-p", "-z", "77", "true"], 2, "cannot be used with");
    check_code(&["-z", "0", "true"], 2, "0");
}

#[test]
fn what_follows_the_command_is_its_own() {
    check(&["-u", "echo", "-m", "--", "--pid"], "-m -- --pid");
    check(&["--", "echo", "x"], "x");
}

#[test]
fn the_command_finds_signals_as_the_caller_left_them() {
    let command = ["grep", "-E", "SigBlk|SigIgn", "/proc/self/status"];
    let direct = Command::new(command[0]).args(&command[1..]).output();
    let direct = text(&direct.unwrap().stdout);
    assert_eq!(direct.lines().count(), 2, "{direct}");
    check(&command, &direct);
}

#[test]
fn the_pid_is_in_the_file_before_the_command_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let file = file.to_str().unwrap();
    let script = format!("[ $$ = $(cat {file}) ] && echo same");
    check(&["-P", file, "sh", "-c", &script], "same");
    // In a namespace of its own it cannot know its pid outside: that is the process whose parent is the tool.
    if let Some((inside, code)) = run(&["-p", "-P", file, "cat", file]) {
        let outside: i32 = inside.parse().unwrap();
        assert!(code == 0 && outside > 1, "{inside}");
    }
    let marker = folder.path().join("ran");
    let nowhere = folder.path().join("no/pid");
    let (marker, nowhere) = (marker.to_str().unwrap(), nowhere.to_str().unwrap());
    check_code(&["-P", nowhere, "touch", marker], 125, "no/pid: ENOENT");
    assert!(!Path::new(marker).exists(), "it ran without its file");
}

#[test]
fn a_pid_can_be_chosen_if_it_is_free() {
    let free = (20_000..30_000).find(|pid| !Path::new(&format!("/proc/{pid}")).exists());
    let free = free.unwrap().to_string();
    check(&["-z", &free, "sh", "-c", "echo $$"], &free);
    if rustix::process::geteuid().is_root() {
        check_code(&["-z", "1", "true"], 125, "that pid is taken");
    }
}

/// A cgroup for a test, which goes away with the value.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|fields| fields[2] == "cgroup2")
            .map(|fields| PathBuf::from(fields[1]));
        let Some(mount) = mount else {
            eprintln!("skipped: the host has no cgroup v2 hierarchy");
            return None;
        };
        let path = mount.join(format!("crossthaw-{name}-{}", std::process::id()));
        match fs::create_dir(&path) {
            Ok(()) => Some(Self(path)),
            Err(error) => {
                eprintln!("skipped: the host refuses a cgroup: {error}");
                None
            }
        }
    }

    fn folders(&self) -> Vec<PathBuf> {
        fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_cgroup_is_there_as_long_as_the_command() {
    let Some(cgroup) = Cgroup::new("command") else {
        return;
    };
    let dir = cgroup.0.to_str().unwrap();
    let name = cgroup.0.file_name().unwrap().to_str().unwrap();
    let script = format!("grep -qx \"0::/.*{name}/$$\" /proc/self/cgroup && echo in");
    check(&["-g", dir, "sh", "-c", &script], "in");
    assert_eq!(cgroup.folders(), Vec::<PathBuf>::new());
    // The root of its cgroup namespace is its own cgroup, not that of the tool.
    let root = ["-p", "-C", "-g", dir, "grep", "0::", "/proc/self/cgroup"];
    check(&root, "0::/");
    assert_eq!(cgroup.folders(), Vec::<PathBuf>::new());
    check_code(&["-g", dir, "no-such-program"], 127, "ENOENT");
    assert_eq!(cgroup.folders(), Vec::<PathBuf>::new());
}

#[test]
fn a_cgroup_with_tasks_is_left() {
    let Some(cgroup) = Cgroup::new("daemon") else {
        return;
    };
    let dir = cgroup.0.to_str().unwrap();
    let script = "sleep 600 >/dev/null 2>&1 & echo $!";
    let Some((pid, code)) = run(&["-g", dir, "sh", "-c", script]) else {
        return;
    };
    assert_eq!(code, 0);
    let folders = cgroup.folders();
    assert_eq!(folders.len(), 1, "{folders:?}");
    let procs = folders[0].join("cgroup.procs");
    assert_eq!(fs::read_to_string(&procs).unwrap().trim(), pid);
    fs::write(folders[0].join("cgroup.kill"), "1").unwrap();
    let start = Instant::now();
    while fs::remove_dir(&folders[0]).is_err() {
        assert!(start.elapsed() < DEADLINE, "{}", folders[0].display());
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_folder_that_is_no_cgroup_is_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    check_code(
        &["-g", dir, "true"],
        125,
        "must be a folder of the cgroup v2",
    );
    assert_eq!(fs::read_dir(dir).unwrap().count(), 0);
}

/// The end of a tool that is to end soon.
fn wait(mut tool: Child) -> i32 {
    let start = Instant::now();
    loop {
        if let Some(status) = tool.try_wait().unwrap() {
            return status.code().unwrap_or_else(|| panic!("{status}"));
        }
        if start.elapsed() > DEADLINE {
            tool.kill().unwrap();
            panic!("it does not end");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A command that says when it is ready gets a signal through the tool; how the tool exits, and that the command is gone.
fn check_signal(options: &[&str], script: &str, signal: Signal, expected: i32) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let options = [options, &["-P", file.to_str().unwrap(), "sh", "-c", script]].concat();
    let mut tool = interruptible(&mut nsexec(&options))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut from = BufReader::new(tool.stdout.take().unwrap());
    from.read_line(&mut line).unwrap();
    if line.is_empty() {
        let code = wait(tool);
        assert_eq!(code, 125, "{options:?}");
        eprintln!("skipped: the host refuses {options:?}");
        return;
    }
    let child = fs::read_to_string(&file).unwrap();
    let proc = PathBuf::from(format!("/proc/{}", child.trim()));
    assert!(proc.exists(), "{options:?}");
    kill_process(Pid::from_child(&tool), signal).unwrap();
    assert_eq!(wait(tool), expected, "{options:?}");
    assert!(!proc.exists(), "{options:?}: the command is left");
}

#[test]
fn signals_are_passed_on() {
    let handles = "trap 'exit 9' TERM INT; echo ready; while :; do sleep 0.05; done";
    let careless = "echo ready; exec sleep 600";
    let ignores = "trap '' INT; echo ready; sleep 0.5; exit 4";
    for options in [[].as_slice(), &["-p"]] {
        check_signal(options, handles, Signal::TERM, 9);
        check_signal(options, handles, Signal::INT, 9);
        check_signal(options, ignores, Signal::INT, 4);
    }
    check_signal(&[], careless, Signal::TERM, 143);
    check_signal(&[], careless, Signal::INT, 130);
    // The kernel would drop it for a PID 1.
    check_signal(&["-p"], careless, Signal::TERM, 137);
}

#[test]
fn a_terminals_signal_comes_once() {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(name.to_str().unwrap())
        .unwrap();
    let script = "n=0; trap 'n=$((n+1))' INT; echo ready >&2; \
                  i=0; while [ $i -lt 20 ]; do sleep 0.05; i=$((i+1)); done; exit $n";
    let mut command = Command::new(NSEXEC);
    command
        .args(["sh", "-c", script])
        .stdin(OwnedFd::from(slave))
        .stderr(Stdio::piped());
    // SAFETY: both are system calls on numbers, and allocate nothing.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
            Ok(())
        });
    }
    let mut tool = interruptible(&mut command).spawn().unwrap();
    drop(command);
    let mut line = String::new();
    let mut from = BufReader::new(tool.stderr.take().unwrap());
    from.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    fs::File::from(master.try_clone().unwrap())
        .write_all(b"\x03")
        .unwrap();
    assert_eq!(wait(tool), 1, "so often the command got it");
}
