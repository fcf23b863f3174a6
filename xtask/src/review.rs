//! `review`: goldens that a run left pending, accepted or rejected.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use console::Term;
use crossthaw_harness::oracle::{golden, state};

use crate::context::Context;
use crate::exit;

/// Look at golden states that changed, accept or reject them.
///
/// `cargo insta review` works on the same files.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Accept all without a question.
    #[arg(long, conflicts_with = "reject")]
    accept: bool,
    /// Reject all without a question.
    #[arg(long)]
    reject: bool,
}

/// A state that waits for a decision.
#[derive(Debug)]
struct Pending {
    /// `FAMILY/SCENARIO[AXES]`, with `@ARCH` where it is one architecture's own.
    name: String,
    /// Where it is.
    new: PathBuf,
    /// The golden that it would become.
    golden: PathBuf,
    /// What changes, as a unified diff with a head of two lines.
    diff: String,
}

/// What becomes of a pending state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Accept,
    Reject,
    Skip,
    Quit,
}

pub(crate) fn run(opts: &Options, cx: &Context) -> anyhow::Result<ExitCode> {
    let &Options { accept, reject } = opts;
    let dir = cx.repo.join("snapshots");
    let groups = group(pending(&dir)?);
    let mut out = io::stdout().lock();
    let (mut accepted, mut rejected, mut left) = (0, 0, 0);
    let mut quit = false;
    for group in groups {
        let decision = match (accept, reject) {
            _ if quit => Decision::Skip,
            (true, _) => Decision::Accept,
            (_, true) => Decision::Reject,
            (false, false) => {
                show(&group, &mut out)?;
                if cx.terminal {
                    ask(group.len())?
                } else {
                    Decision::Skip
                }
            }
        };
        match decision {
            Decision::Accept => accepted += group.len(),
            Decision::Reject => rejected += group.len(),
            Decision::Skip => left += group.len(),
            Decision::Quit => {
                left += group.len();
                quit = true;
            }
        }
        for pending in &group {
            carry_out(pending, decision)?;
            if accept || reject {
                let done = if accept { "accepted" } else { "rejected" };
                writeln!(out, "{done} {}", pending.name)?;
            }
        }
    }
    if left > 0 && !cx.terminal {
        writeln!(
            out,
            "`cargo xtask review --accept` takes them all, `--reject` drops them, in a terminal `cargo xtask review` asks"
        )?;
    }
    writeln!(
        out,
        "{accepted} accepted, {rejected} rejected, {left} pending"
    )?;
    Ok(ExitCode::from(if left == 0 {
        exit::OK
    } else {
        exit::FAILED
    }))
}

/// All pending states below a folder, sorted.
fn pending(dir: &Path) -> anyhow::Result<Vec<Pending>> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match folder.read_dir() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder == dir => continue,
            entries => entries.with_context(|| format!("cannot list {}", folder.display()))?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(".snap.new") {
                found.push(path);
            }
        }
    }
    found.sort();
    found.into_iter().map(|new| read(dir, new)).collect()
}

fn read(dir: &Path, new: PathBuf) -> anyhow::Result<Pending> {
    let golden = new.with_extension("");
    let path = golden.with_extension("");
    let name = path.strip_prefix(dir).unwrap_or(&path);
    let name = name.to_string_lossy().into_owned();
    // An architecture that had no golden of its own has used the common one so far.
    let common = name
        .rsplit_once('@')
        .map(|(common, _)| dir.join(format!("{common}.snap")));
    let mut old = String::new();
    let mut old_name = "no golden".to_owned();
    for place in [Some(golden.clone()), common].into_iter().flatten() {
        if let Some(text) = golden::read(&place)? {
            old = text + "\n";
            old_name = format!("golden {}", shown(dir, &place));
            break;
        }
    }
    // The run that left it may be going on, and may have taken it back.
    let text = golden::read(&new)?.unwrap_or_default() + "\n";
    let new_name = format!("now, would be {}", shown(dir, &golden));
    let diff = state::diff((&old_name, &old), (&new_name, &text)).unwrap_or_default();
    Ok(Pending {
        name,
        new,
        golden,
        diff,
    })
}

fn shown(dir: &Path, path: &Path) -> String {
    let base = dir.parent().unwrap_or(dir);
    path.strip_prefix(base)
        .unwrap_or(path)
        .display()
        .to_string()
}

/// Those that change in the same way are one decision: a change of the kernel often shows in many states at once.
fn group(pending: Vec<Pending>) -> Vec<Vec<Pending>> {
    let mut groups: BTreeMap<Vec<String>, Vec<Pending>> = BTreeMap::new();
    for pending in pending {
        // Without the head, which names the file, and without what stays.
        let changes = pending
            .diff
            .lines()
            .skip(2)
            .filter(|line| line.starts_with(['+', '-']));
        let changes = changes.map(str::to_owned).collect();
        groups.entry(changes).or_default().push(pending);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by(|one, other| one[0].name.cmp(&other[0].name));
    groups
}

fn show(group: &[Pending], to: &mut impl Write) -> io::Result<()> {
    for pending in group {
        writeln!(to, "{}", console::style(&pending.name).bold())?;
    }
    for line in group[0].diff.lines() {
        let line = console::style(line);
        let line = match line.to_string().as_bytes().first() {
            Some(b'+') => line.green(),
            Some(b'-') => line.red(),
            Some(b'@') => line.cyan(),
            _ => line,
        };
        writeln!(to, "{line}")?;
    }
    if group.len() > 1 {
        writeln!(to, "all {} change in this way", group.len())?;
    }
    writeln!(to)?;
    to.flush()
}

fn ask(states: usize) -> anyhow::Result<Decision> {
    let term = Term::stderr();
    let what = if states == 1 {
        "this state"
    } else {
        "these states"
    };
    term.write_str(&format!("accept {what}? [y]es, [n]o, [s]kip, [q]uit: "))?;
    loop {
        let decision = match term.read_char() {
            Ok('y') => Decision::Accept,
            Ok('n') => Decision::Reject,
            Ok('s') => Decision::Skip,
            Ok('q' | '\u{3}' | '\u{4}') => Decision::Quit,
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Decision::Quit,
            Err(error) => return Err(error).context("cannot read the answer"),
        };
        term.write_line(&format!("{decision:?}").to_lowercase())?;
        return Ok(decision);
    }
}

fn carry_out(pending: &Pending, decision: Decision) -> anyhow::Result<()> {
    let Pending {
        name, new, golden, ..
    } = pending;
    match decision {
        Decision::Accept => std::fs::rename(new, golden),
        Decision::Reject => std::fs::remove_file(new),
        Decision::Skip | Decision::Quit => Ok(()),
    }
    .with_context(|| format!("cannot settle the golden of {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshots(files: &[(&str, &str)]) -> tempfile::TempDir {
        let scratch = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = scratch.path().join("snapshots").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let head = "---\nsource: scenarios/a.yaml\nexpression: \"state\"\n---\n";
            std::fs::write(path, format!("{head}{text}\n")).unwrap();
        }
        scratch
    }

    #[test]
    fn equal_changes_are_one_decision_and_an_architecture_is_held_against_the_common_golden() {
        let scratch = snapshots(&[
            ("a/one.snap", "pid 1\npos 1"),
            ("a/one.snap.new", "pid 1\npos 2"),
            ("a/two[x=1.5].snap", "pid 2\npos 1"),
            ("a/two[x=1.5]@ppc64.snap.new", "pid 2\npos 2"),
            ("b/new.snap.new", "pid 3"),
        ]);
        let groups = group(pending(&scratch.path().join("snapshots")).unwrap());
        let names: Vec<Vec<_>> = groups
            .iter()
            .map(|group| group.iter().map(|pending| &*pending.name).collect())
            .collect();
        assert_eq!(names, [vec!["a/one", "a/two[x=1.5]@ppc64"], vec!["b/new"]]);
        let diff = &groups[0][1].diff;
        assert!(diff.contains("snapshots/a/two[x=1.5].snap\n"), "{diff}");
        assert!(diff.ends_with(" pid 2\n-pos 1\n+pos 2\n"), "{diff}");
        assert!(groups[1][0].diff.ends_with("+pid 3\n"));
    }

    #[test]
    fn decisions_are_carried_out() {
        let names = ["a/one.snap.new", "a/two.snap.new", "a/three.snap.new"];
        let scratch = snapshots(&names.map(|name| (name, "pid 1")));
        let dir = scratch.path().join("snapshots");
        let decisions = [Decision::Accept, Decision::Skip, Decision::Reject];
        for (pending, decision) in pending(&dir).unwrap().iter().zip(decisions) {
            carry_out(pending, decision).unwrap();
        }
        let mut left: Vec<_> = dir
            .join("a")
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        // In the order of the names: one, three, two.
        assert_eq!(left, ["one.snap", "three.snap.new"]);
    }

    #[test]
    fn nothing_is_pending_where_there_are_no_goldens() {
        assert!(pending(Path::new("/no/snapshots")).unwrap().is_empty());
    }
}
