//! The oracle **self** for programs that know nothing of us: how one ended, and what it left.

use super::self_check::describe_status;
use crate::scenario::{End, Ending};

/// Bytes of a file that a message shows.
const SHOWN: usize = 400;

/// Lines of the program's standard error that a message shows.
const LINES: usize = 10;

/// What was seen of a program's end.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The wait status of the tree's root, as `waitpid` gives it.
    pub status: i32,
    /// The file that was expected: its contents, or why they could not be read.
    pub file: Option<Result<&'a [u8], &'a str>>,
    /// The end of its standard error.
    pub errors: &'a [u8],
}

/// A program ended in this way; what is wrong with that, if anything is.
pub fn judge(expected: &Ending, seen: &Seen<'_>) -> Result<(), String> {
    let mut wrong = Vec::new();
    let is_end = match expected.end {
        End::Exit(code) => seen.status == i32::from(code) << 8,
        // The bit for a core dump says nothing.
        End::Signal(number) => seen.status & !0x80 == number,
    };
    if !is_end {
        let expected = match expected.end {
            End::Exit(code) => format!("exit code {code}"),
            End::Signal(number) => format!("killed by signal {number}"),
        };
        let found = describe_status(seen.status);
        wrong.push(format!(
            "the program ended with {found}, expected {expected}"
        ));
    }
    if let Some(file) = &expected.file {
        match (seen.file, &file.contains) {
            (None, _) => wrong.push(format!("{} was not looked for", file.path)),
            (Some(Err(message)), _) => wrong.push(format!("{}: {message}", file.path)),
            (Some(Ok(_)), None) => {}
            (Some(Ok(bytes)), Some(text)) => {
                let found = String::from_utf8_lossy(bytes);
                if !found.contains(text.as_str()) {
                    let shown: String = found.chars().take(SHOWN).collect();
                    wrong.push(format!(
                        "{}: expected {text:?} in it, found {shown:?}",
                        file.path
                    ));
                }
            }
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(seen.errors);
    let lines: Vec<_> = errors.lines().collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    wrong.extend(last.iter().map(|line| format!("stderr: {line}")));
    Err(wrong.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Left;

    fn check(end: End, contains: Option<&str>, seen: &Seen<'_>, expected: &str) {
        let ending = Ending {
            end,
            file: seen.file.map(|_| Left {
                path: "out".to_owned(),
                contains: contains.map(str::to_owned),
            }),
        };
        let found = judge(&ending, seen).map_or_else(|wrong| wrong, |()| "ok".to_owned());
        assert_eq!(found, expected);
    }

    fn status(status: i32) -> Seen<'static> {
        Seen {
            status,
            file: None,
            errors: b"",
        }
    }

    fn file(file: Result<&'static [u8], &'static str>) -> Seen<'static> {
        Seen {
            file: Some(file),
            ..status(0)
        }
    }

    #[test]
    fn it_must_end_as_expected() {
        check(End::Exit(0), None, &status(0), "ok");
        check(End::Exit(7), None, &status(7 << 8), "ok");
        check(End::Signal(15), None, &status(15), "ok");
        check(End::Signal(11), None, &status(0x8b), "ok");
        for (end, found, message) in [
            (
                End::Exit(0),
                1 << 8,
                "the program ended with exit code 1, expected exit code 0",
            ),
            (
                End::Exit(0),
                15,
                "the program ended with killed by signal 15, expected exit code 0",
            ),
            (
                End::Signal(15),
                0,
                "the program ended with exit code 0, expected killed by signal 15",
            ),
            (
                End::Signal(15),
                15 << 8,
                "the program ended with exit code 15, expected killed by signal 15",
            ),
        ] {
            check(end, None, &status(found), message);
        }
    }

    #[test]
    fn it_must_leave_what_is_expected() {
        let zero = End::Exit(0);
        check(zero, None, &file(Ok(b"")), "ok");
        check(zero, Some("42"), &file(Ok(b"answer 42\n")), "ok");
        check(
            zero,
            Some("42"),
            &file(Ok(b"41\n")),
            "out: expected \"42\" in it, found \"41\\n\"",
        );
        check(zero, None, &file(Err("not there")), "out: not there");
        // Bytes that are no text are no reason to pass.
        check(
            zero,
            Some("a"),
            &file(Ok(b"\xff")),
            "out: expected \"a\" in it, found \"\u{fffd}\"",
        );
    }

    #[test]
    fn what_it_said_is_shown_when_it_failed() {
        let seen = Seen {
            status: 256,
            file: None,
            errors: b"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\nlost a page",
        };
        let wrong = judge(
            &Ending {
                end: End::Exit(0),
                file: None,
            },
            &seen,
        )
        .unwrap_err();
        assert!(
            wrong.contains("stderr: 3\n") && !wrong.contains("stderr: 2\n"),
            "{wrong}"
        );
        assert!(wrong.ends_with("stderr: lost a page"));
    }
}
