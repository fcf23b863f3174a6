//! What `restart` does while it waits, tried with trees that no kernel had to restart. One thread, which the tool has too.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::zombie_processes,
    reason = "that they are waited for is what is tried"
)]

use std::io::{BufRead, BufReader};
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::ptr;
use std::time::{Duration, Instant};

use crossthaw_tools::{orphans, signal, wait};

/// Much less than the tasks would sleep.
const SOON: Duration = Duration::from_secs(30);

/// A shell that blocks no signal, as this process does once it has waited.
fn shell(script: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]);
    // SAFETY: the set is initialised before it is used, and nothing is allocated.
    unsafe {
        shell.pre_exec(|| {
            let mut none = MaybeUninit::uninit();
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
            Ok(())
        });
    }
    shell
}

/// A tree of a shell and a task below it that sleeps for long; the root's pid and that of the other.
fn tree(script: &str) -> (i32, i32) {
    let mut root = shell(&format!("{script}\nsleep 600 & echo $!\nwait"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(root.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    (root.id().cast_signed(), line.trim().parse().unwrap())
}

fn is_there(pid: i32) -> bool {
    signal::send(pid, 0).is_ok()
}

/// Ask this process to end, by a child of its own.
fn ask(signal: &str, after: &str) {
    let me = std::process::id();
    let script = format!("sleep {after}; kill -{signal} {me}");
    shell(&script).spawn().unwrap();
}

/// A tree whose root gets `sent` when the tool is asked to end: how the root ends, and that nothing is left.
fn check(name: &str, script: &str, after: &str, sent: i32, expected: &str) {
    let start = Instant::now();
    let (root, other) = tree(script);
    assert!(is_there(root) && is_there(other), "{name}");
    ask("TERM", after);
    if after == "0" {
        // It comes before anybody waits, and is noted.
        while !wait::noted() {
            assert!(start.elapsed() < SOON, "{name}: no signal came");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let (status, asked) = wait::tree(root, sent).unwrap();
    assert_eq!(signal::describe_end(status), expected, "{name}");
    assert_eq!(asked, Some(libc::SIGTERM), "{name}");
    assert!(!is_there(root) && !is_there(other), "{name}");
    let none = orphans::wait(-1).unwrap_err().raw_os_error();
    assert_eq!(none, Some(libc::ECHILD), "{name}");
    assert!(start.elapsed() < SOON, "{name}");
    println!("{name} ... ok");
}

fn main() {
    // A wait that does not end is one that failed: SIGALRM ends this process.
    // SAFETY: a number only.
    unsafe { libc::alarm(60) };
    orphans::adopt().unwrap();
    wait::note().unwrap();
    let killed = "was ended by signal 9 (SIGKILL)";
    check("noted", "", "0", libc::SIGKILL, killed);
    // From now on the signal is held.
    check("killed", "trap '' TERM INT", "0.2", libc::SIGKILL, killed);
    let trap = "trap 'exit 7' INT";
    check("handled", trap, "0.2", libc::SIGINT, "exited with code 7");

    let mut quiet = shell("exit 3").spawn().unwrap();
    let (status, asked) = wait::tree(quiet.id().cast_signed(), libc::SIGKILL).unwrap();
    assert_eq!((orphans::exit_code(status), asked), (3, None));
    assert!(quiet.wait().is_err(), "it was waited for");
    println!("undisturbed ... ok");
}
