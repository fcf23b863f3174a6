//! A small shell on the console, for `cargo xtask shell`, and in the midst of a trial for `cargo xtask repeat --shell`.
//!
//! PID 1 only starts it, in a session of its own with the console as its terminal, and reaps orphans; when it ends the guest is powered off.
//! The terminal edits lines. Ctrl-C ends what runs in the foreground.

mod builtin;
mod parse;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::exit;
use std::time::Duration;

use crossthaw_tools::fork::{Namespaces, Private};
use parse::{Command, Run};

use crate::error::{Context, Result};
use crate::spawn::{self, Launch, Program, Session, Stdio};
use crate::{reap, say};

/// Marks the process that is the shell, not PID 1.
const SHELL_ENV: &str = "CROSSTHAW_SHELL";

fn console() -> Result<File> {
    // /dev/console itself can be nobody's controlling terminal; the kernel lists what is behind it, the preferred one last.
    let active = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    let name = active.split_whitespace().last().unwrap_or("console");
    let path = Path::new("/dev").join(name);
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .context(|| format!("open {}", path.display()))
}

fn start_shell() -> Result<i32> {
    let tty = console()?;
    let env = [
        (SHELL_ENV, "1"),
        ("PATH", "/bin"),
        ("HOME", "/"),
        ("TERM", "dumb"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let program = Program::new(&["/proc/self/exe".to_owned()], &env)?;
    let launch = Launch {
        namespaces: Namespaces::Inherited,
        private: Private::default(),
        root: None,
        owner: None,
        user: None,
        cgroup: None,
        session: Session::Own,
        cwd: Some(c"/"),
        stdio: Stdio::Terminal(tty.as_fd()),
    };
    spawn::launch(&program, &launch)
}

/// What PID 1 does in this mode: keep the shell, then power off. In the shell itself: the prompt.
pub(crate) fn host() -> ! {
    match start_shell() {
        Ok(pid) => keep(pid),
        Err(error) => {
            say(&error.to_string());
            power_off()
        }
    }
}

/// The same beside the agent, which serves on.
pub(crate) fn attend() -> Result<()> {
    let pid = start_shell()?;
    std::thread::spawn(move || keep(pid));
    Ok(())
}

fn keep(shell: i32) -> ! {
    if let Err(error) = reap::wait(shell, None, None) {
        say(&error.to_string());
    }
    power_off()
}

fn power_off() -> ! {
    rustix::fs::sync();
    if let Err(error) = rustix::system::reboot(rustix::system::RebootCommand::PowerOff) {
        say(&format!("cannot power off: {error}"));
    }
    loop {
        reap::collect();
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Whether this process was started as the shell.
pub(crate) fn is_shell() -> bool {
    std::process::id() != 1 && std::env::var_os(SHELL_ENV).is_some()
}

/// The prompt, until `exit` or the end of input.
pub(crate) fn prompt() -> ! {
    // SAFETY: ignoring a signal refers to no code; programs that are started get the default back.
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        libc::signal(libc::SIGQUIT, libc::SIG_IGN);
    }
    println!("crossthaw shell: `help` lists the commands, `exit` powers the guest off");
    let mut lines = io::stdin().lock().lines();
    let mut last = 0;
    loop {
        report_background();
        let cwd = std::env::current_dir().unwrap_or_default();
        print!(
            "{}{} # ",
            cwd.display(),
            if last == 0 {
                String::new()
            } else {
                format!(" [{last}]")
            }
        );
        let _ = io::stdout().flush();
        let line = match lines.next() {
            Some(Ok(line)) => line,
            Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
            Some(Err(_)) | None => exit(0),
        };
        last = match parse::parse(&line) {
            Ok(None) => last,
            Ok(Some(Command::Exit)) => exit(0),
            Ok(Some(Command::Builtin(builtin))) => code(builtin::run(builtin)),
            Ok(Some(Command::Run(run))) => code(start(&run)),
            Err(message) => code(Err(crate::error::AgentError::Refused(message))),
        };
    }
}

fn code(outcome: Result<i32>) -> i32 {
    outcome.unwrap_or_else(|error| {
        eprintln!("{error}");
        1
    })
}

/// Say which background programs have ended.
fn report_background() {
    let mut status = 0;
    loop {
        // SAFETY: status is a valid place for the result.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid <= 0 {
            return;
        }
        println!("[{pid}] ended: {}", spawn::exit_code(status));
    }
}

fn open_redirect(path: &str, append: bool) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .append(append)
        .truncate(!append)
        .open(path)
        .context(|| format!("open {path}"))
}

/// Run a program; its exit code, or 0 at once when it goes to the background.
fn start(run: &Run) -> Result<i32> {
    let env: Vec<(String, String)> = std::env::vars()
        .filter(|(name, _)| name != SHELL_ENV)
        .collect();
    let program = Program::new(&run.argv, &env)?;
    let out = run
        .output
        .as_ref()
        .map(|(path, append)| open_redirect(path, *append))
        .transpose()?;
    let stderr = io::stderr();
    let stdio = match (&out, run.background) {
        (Some(out), _) => Stdio::Output(out.as_fd(), stderr.as_fd()),
        // It does not compete for the terminal's input.
        (None, true) => Stdio::Output(borrow_stdout(), stderr.as_fd()),
        (None, false) => Stdio::Inherit,
    };
    let session = if run.background {
        Session::Own
    } else {
        Session::Inherited
    };
    let pid = spawn::launch(
        &program,
        &Launch {
            namespaces: Namespaces::Inherited,
            private: Private::default(),
            root: None,
            owner: None,
            user: None,
            cgroup: None,
            session,
            cwd: None,
            stdio,
        },
    )?;
    if run.background {
        println!("[{pid}]");
        return Ok(0);
    }
    let mut status = 0;
    // SAFETY: status is a valid place for the result.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } == -1 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error).context(|| format!("wait for pid {pid}"));
        }
    }
    Ok(spawn::exit_code(status))
}

fn borrow_stdout() -> BorrowedFd<'static> {
    // SAFETY: descriptor 1 is open as long as this process lives.
    unsafe { BorrowedFd::borrow_raw(1) }
}
