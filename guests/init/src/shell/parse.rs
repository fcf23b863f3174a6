//! One line of input to one command.

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Leave, which powers the guest off.
    Exit,
    /// A command of the shell's own.
    Builtin(Builtin),
    /// A program.
    Run(Run),
}

/// The shell's own commands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Builtin {
    Help,
    Cd(String),
    Pwd,
    Ls(Vec<String>),
    Cat(Vec<String>),
    Ps,
    Mount,
    Echo(Vec<String>),
    Mkdir(String),
    Rm(Vec<String>),
    Kill {
        signal: i32,
        pids: Vec<i32>,
    },
    Freeze(String),
    Thaw(String),
    /// Move a task into a cgroup, made if needed.
    Join {
        cgroup: String,
        pid: i32,
    },
}

/// A program to run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) argv: Vec<String>,
    pub(super) background: bool,
    /// `> PATH` or, appending, `>> PATH`.
    pub(super) output: Option<(String, bool)>,
}

/// Split a line into words: blanks separate, quotes of both kinds keep together, a backslash keeps the next character.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let next = chars.next().ok_or("nothing follows the backslash")?;
                word.get_or_insert_default().push(next);
            }
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("the quote {quote} is not closed"));
    }
    words.extend(word);
    Ok(words)
}

fn number(text: &str, what: &str) -> Result<i32, String> {
    text.parse().map_err(|_| format!("{text} is not a {what}"))
}

fn one(name: &str, mut args: Vec<String>) -> Result<String, String> {
    match (args.len(), args.pop()) {
        (1, Some(arg)) => Ok(arg),
        _ => Err(format!("{name} takes one argument")),
    }
}

fn kill(args: &[String]) -> Result<Builtin, String> {
    let (signal, pids) = match args.split_first() {
        Some((first, rest)) if first.starts_with('-') => {
            (number(&first[1..], "signal number")?, rest)
        }
        _ => (libc::SIGTERM, args),
    };
    if pids.is_empty() {
        return Err("kill [-SIGNAL] PID...".to_owned());
    }
    Ok(Builtin::Kill {
        signal,
        pids: pids
            .iter()
            .map(|pid| number(pid, "pid"))
            .collect::<Result<_, _>>()?,
    })
}

/// Understand a line; `None` if there is nothing on it.
pub(super) fn parse(line: &str) -> Result<Option<Command>, String> {
    let mut words = words(line)?;
    let background = words.pop_if(|word| word == "&").is_some();
    let mut output = None;
    if let [.., sign, _] = &words[..]
        && (sign == ">" || sign == ">>")
    {
        let append = sign == ">>";
        output = words.pop().map(|path| (path, append));
        words.pop();
    }
    if words.is_empty() {
        return if background || output.is_some() {
            Err("no program is named".to_owned())
        } else {
            Ok(None)
        };
    }
    let mut args = words.split_off(1);
    let name = words.remove(0);
    let builtin = match name.as_str() {
        "exit" => return Ok(Some(Command::Exit)),
        "help" => Builtin::Help,
        "cd" if args.is_empty() => Builtin::Cd("/".to_owned()),
        "cd" => Builtin::Cd(one("cd", args)?),
        "pwd" => Builtin::Pwd,
        "ls" => Builtin::Ls(args),
        "cat" => Builtin::Cat(args),
        "ps" => Builtin::Ps,
        "mount" => Builtin::Mount,
        "echo" if output.is_none() => Builtin::Echo(args),
        "mkdir" => Builtin::Mkdir(one("mkdir", args)?),
        "rm" => Builtin::Rm(args),
        "kill" => kill(&args)?,
        "freeze" => Builtin::Freeze(one("freeze", args)?),
        "thaw" => Builtin::Thaw(one("thaw", args)?),
        "join" => match &args[..] {
            [cgroup, pid] => Builtin::Join {
                cgroup: cgroup.clone(),
                pid: number(pid, "pid")?,
            },
            _ => return Err("join CGROUP PID".to_owned()),
        },
        _ => {
            args.insert(0, name);
            return Ok(Some(Command::Run(Run {
                argv: args,
                background,
                output,
            })));
        }
    };
    if output.is_some() || background {
        return Err(format!("{name} runs in the shell itself: no `&`, no `>`"));
    }
    Ok(Some(Command::Builtin(builtin)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(argv: &[&str], background: bool, output: Option<(&str, bool)>) -> Command {
        let argv = argv.iter().map(|&word| word.to_owned()).collect();
        Command::Run(Run {
            argv,
            background,
            output: output.map(|(path, append)| (path.to_owned(), append)),
        })
    }

    #[test]
    fn programs_with_arguments_quotes_and_redirections() {
        let table = [
            (
                "workloads files::dup",
                Some(run(&["workloads", "files::dup"], false, None)),
            ),
            (
                "checkpoint -o '/images/a b' 12 &",
                Some(run(&["checkpoint", "-o", "/images/a b", "12"], true, None)),
            ),
            (
                "prog \"a \\\" b\" c\\ d '' >> out",
                Some(run(
                    &["prog", "a \" b", "c d", ""],
                    false,
                    Some(("out", true)),
                )),
            ),
            (
                "prog > out &",
                Some(run(&["prog"], true, Some(("out", false)))),
            ),
            ("  # a remark", None),
            ("", None),
        ];
        for (line, expected) in table {
            assert_eq!(parse(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn builtins() {
        let builtin = |builtin| Ok(Some(Command::Builtin(builtin)));
        assert_eq!(parse("cd"), builtin(Builtin::Cd("/".to_owned())));
        assert_eq!(
            parse("kill -9 3 4"),
            builtin(Builtin::Kill {
                signal: 9,
                pids: vec![3, 4]
            })
        );
        assert_eq!(
            parse("kill 3"),
            builtin(Builtin::Kill {
                signal: 15,
                pids: vec![3]
            })
        );
        assert_eq!(
            parse("join a 7"),
            builtin(Builtin::Join {
                cgroup: "a".to_owned(),
                pid: 7
            })
        );
        assert_eq!(parse("exit"), Ok(Some(Command::Exit)));
    }

    #[test]
    fn mistakes_are_named() {
        for line in [
            "echo 'x", "kill", "kill x", "freeze", "cd a b", "&", "> x", "ps > x", "a \\",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
