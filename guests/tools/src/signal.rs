//! Signals by name and number, and how they ended a task.

use std::io;

use crate::orphans::Status;

/// The highest number that a signal has.
const LAST: i32 = 64;

macro_rules! names {
    ($($name:ident)*) => {
        /// Each name and its number.
        const NAMES: &[(&str, i32)] = &[$((stringify!($name), libc::$name),)*];
    };
}

names! {
    SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE SIGALRM SIGTERM SIGSTKFLT SIGCHLD
    SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ SIGVTALRM SIGPROF SIGWINCH SIGIO SIGPWR SIGSYS
}

/// The number of a signal given as `KILL`, `sigkill` or `9`.
pub fn parse(text: &str) -> Result<i32, String> {
    if let Ok(number) = text.parse() {
        return if (1..=LAST).contains(&number) {
            Ok(number)
        } else {
            Err(format!("signals have the numbers 1 to {LAST}"))
        };
    }
    let upper = text.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES
        .iter()
        .find(|(name, _)| name.strip_prefix("SIG") == Some(short))
        .map(|&(_, number)| number)
        .ok_or_else(|| "no signal is called that: give a name such as TERM, or a number".to_owned())
}

/// `signal 9 (SIGKILL)`; real-time signals have a number only.
fn describe(signal: i32) -> String {
    match NAMES.iter().find(|&&(_, number)| number == signal) {
        Some((name, _)) => format!("signal {signal} ({name})"),
        None => format!("signal {signal}"),
    }
}

/// How a task ended, of its wait status: `exited with code 3`.
pub fn describe_end(status: Status) -> String {
    if libc::WIFSIGNALED(status) {
        let core = if libc::WCOREDUMP(status) {
            ", and dumped core"
        } else {
            ""
        };
        format!("was ended by {}{core}", describe(libc::WTERMSIG(status)))
    } else {
        format!("exited with code {}", libc::WEXITSTATUS(status))
    }
}

/// Send a signal to a child that was not waited for yet, so that nobody else has its pid.
pub fn send(child: i32, signal: i32) -> io::Result<()> {
    // SAFETY: numbers only.
    if unsafe { libc::kill(child, signal) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<i32>) {
        assert_eq!(parse(text).ok(), expected, "{text}");
    }

    #[test]
    fn signals_are_given_by_name_or_number() {
        check("KILL", Some(libc::SIGKILL));
        check("SIGINT", Some(libc::SIGINT));
        check("sigterm", Some(libc::SIGTERM));
        check("usr1", Some(libc::SIGUSR1));
        check("9", Some(9));
        check("64", Some(64));
        check("0", None);
        check("65", None);
        check("-9", None);
        check("SIG", None);
        check("SIGSIGINT", None);
        check("", None);
        check("NOSUCH", None);
    }

    #[test]
    fn ends_are_described() {
        assert_eq!(describe_end(3 << 8), "exited with code 3");
        assert_eq!(describe_end(0), "exited with code 0");
        assert_eq!(describe_end(9), "was ended by signal 9 (SIGKILL)");
        assert_eq!(
            describe_end(0x80 | 0x0b),
            "was ended by signal 11 (SIGSEGV), and dumped core"
        );
        assert_eq!(describe_end(40), "was ended by signal 40");
    }
}
