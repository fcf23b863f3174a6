//! PID 1 of the guest: mounts, reaps, and serves the harness, or gives a prompt on the console.
//!
//! A panic here would be the kernel's: what goes wrong is said on the console and in replies, and the guest lives on.

mod agent;
mod cgroup;
mod clock;
mod cmdline;
mod disturb;
mod error;
mod faults;
mod folder;
mod huge_pages;
mod kmemleak;
mod link;
mod mounts;
mod owner;
mod port;
mod probe;
mod program;
mod reap;
mod shell;
mod spawn;
mod tree;
mod usage;

use std::time::Duration;

use cmdline::Mode;

/// Say something where the host's console log has it.
fn say(text: &str) {
    if agent::mark(&format!("init: {text}")).is_err() {
        eprintln!("init: {text}");
    }
}

fn serve() -> ! {
    loop {
        let mut link = link::Link::new(port::open(say));
        let error = agent::serve(&mut link);
        say(&format!("{error}; opening the port anew"));
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn main() {
    if shell::is_shell() {
        shell::prompt();
    }
    let failures = mounts::mount_all();
    for failure in failures {
        say(&failure.to_string());
    }
    if let Err(error) = reap::start() {
        say(&error.to_string());
    }
    let options = cmdline::parse(&std::fs::read_to_string("/proc/cmdline").unwrap_or_default());
    for option in &options.unknown {
        say(&format!(
            "unknown option crossthaw.{option} on the kernel's command line"
        ));
    }
    if let Some(share) = options.share {
        match mounts::mount_share(share) {
            Ok(path) => say(&format!("the shared folder is {}", path.display())),
            Err(error) => say(&error.to_string()),
        }
    }
    let mut steps = vec![huge_pages::prepare, faults::prepare];
    if let Mode::Agent = options.mode {
        steps.extend([
            usage::prepare as fn() -> error::Result<()>,
            kmemleak::prepare,
        ]);
    }
    for step in steps {
        if let Err(error) = step() {
            say(&error.to_string());
        }
    }
    match options.mode {
        Mode::Agent => serve(),
        Mode::Shell => shell::host(),
    }
}
