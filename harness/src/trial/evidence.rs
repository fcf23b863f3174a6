//! What a trial leaves in its folder, and what the oracles have found.

use std::fs;
use std::path::{Path, PathBuf};

use crossthaw_protocol::State;

use super::console;
use super::machine::{Exit, Step};
use crate::kernel::symbols::{Symbols, SymbolsError};
use crate::oracle::kernel_log::{self, Class, Fault};
use crate::oracle::{Oracle, Verdict, chain, self_check};
use crate::qemu::GuestError;

/// End of the name of a console with files and lines.
pub(super) const SYMBOLISED: &str = ".symbolised.log";

/// Lines of a diff that a message shows; `diff.txt` has all.
const DIFF_LINES: usize = 40;

/// The folder of one trial and what was found in it so far.
#[derive(Debug)]
pub(super) struct Evidence {
    dir: PathBuf,
    findings: Vec<(Oracle, String)>,
    diff: String,
}

/// A file of the evidence could not be written.
fn failed(path: &Path, source: std::io::Error) -> Verdict {
    let error = GuestError::file(path, "write", source);
    let cause = match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    Verdict::Infra { cause }
}

/// Write a console with files and lines beside it; what a verdict says of that.
fn symbolise(path: &Path, console: &str, symbols: &Result<Symbols, SymbolsError>) -> Vec<String> {
    let symbols = match symbols {
        Ok(symbols) => symbols,
        Err(error) => return vec![format!("no files and lines: {}", chain(error))],
    };
    let found = kernel_log::symbolise(console, symbols);
    if found.text.is_empty() {
        return Vec::new();
    }
    let to = path.with_extension(SYMBOLISED.trim_start_matches('.'));
    let mut lines = match fs::write(&to, &found.text) {
        Ok(()) => Vec::new(),
        Err(error) => vec![format!("no files and lines: {}: {error}", to.display())],
    };
    if !found.ours.is_empty() {
        lines.push("in the checkpoint/restart source:".to_owned());
        lines.extend(found.ours.iter().map(|frame| format!("  {frame}")));
    }
    lines
}

impl Evidence {
    /// In this folder, which is made.
    pub(super) fn new(dir: &Path) -> Step<Self> {
        fs::create_dir_all(dir).map_err(|source| failed(dir, source))?;
        Ok(Self {
            dir: dir.to_owned(),
            findings: Vec::new(),
            diff: String::new(),
        })
    }

    /// The file of this name.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Keep a file.
    pub(super) fn keep(&self, name: &str, bytes: &[u8]) -> Step<()> {
        let path = self.path(name);
        fs::write(&path, bytes).map_err(|source| failed(&path, source))
    }

    /// Keep a state.
    pub(super) fn keep_state(&self, name: &str, state: &State) -> Step<()> {
        match serde_json::to_vec_pretty(state) {
            Ok(bytes) => self.keep(name, &bytes),
            Err(error) => Err(failed(&self.path(name), error.into())),
        }
    }

    /// Keep the report of a workload and judge it.
    pub(super) fn judge_exit(&mut self, which: &str, exit: &Exit) -> Step<()> {
        let report = exit.report.as_deref();
        if let Err(message) = self_check::judge(exit.status, report) {
            self.fail_end(which, &message);
        }
        self.keep(
            &format!("report-{which}.txt"),
            report.unwrap_or_default().as_bytes(),
        )
    }

    /// The tree did not end well.
    pub(super) fn fail_end(&mut self, which: &str, message: &str) {
        let when = if which == "a" {
            "after the checkpoint, in the tree that was checkpointed"
        } else {
            "after the restart"
        };
        self.find(Oracle::SelfCheck, format!("{when}:\n{message}"));
    }

    /// An oracle is not content.
    pub(super) fn find(&mut self, oracle: Oracle, message: impl Into<String>) {
        self.findings.push((oracle, message.into()));
    }

    /// An oracle is not content, since this differs.
    pub(super) fn find_diff(&mut self, oracle: Oracle, what: &str, diff: &str) -> Step<()> {
        self.diff += diff;
        let mut lines: Vec<&str> = diff.lines().take(DIFF_LINES).collect();
        let all = diff.lines().count();
        let more = format!(
            "and {} more lines, see diff.txt",
            all.saturating_sub(DIFF_LINES)
        );
        if all > DIFF_LINES {
            lines.push(&more);
        }
        self.find(oracle, format!("{what}\n{}", lines.join("\n")));
        self.keep("diff.txt", self.diff.as_bytes())
    }

    /// The first fault that a kernel reported on a console of this trial, and that was not asked for. Places in it get files and lines, in
    /// `console-X.symbolised.log`, if there is a vmlinux.
    pub(super) fn judge_consoles(
        &self,
        vmlinux: Option<&Path>,
        asked: Option<Class>,
    ) -> Option<Fault> {
        let mut symbols = None;
        let mut first = None;
        for path in self.consoles() {
            let console = console::said(&path);
            let Some(mut fault) = kernel_log::judge_but(&console, asked) else {
                continue;
            };
            if let Some(vmlinux) = vmlinux {
                let symbols = symbols.get_or_insert_with(|| Symbols::load(vmlinux));
                fault.lines.extend(symbolise(&path, &console, symbols));
            }
            first = first.or(Some(fault));
        }
        first
    }

    fn consoles(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names
            .filter(|name| name.starts_with("console-") && !name.ends_with(SYMBOLISED))
            .collect();
        names.sort_unstable();
        names.iter().map(|name| self.path(name)).collect()
    }

    /// How many findings there are.
    pub(super) fn found(&self) -> usize {
        self.findings.len()
    }

    /// The verdict of the oracles, and the diff.
    pub(super) fn conclude(self) -> (Verdict, Option<String>) {
        let diff = (!self.diff.is_empty()).then_some(self.diff);
        let mut findings = self.findings.into_iter();
        let Some((oracle, first)) = findings.next() else {
            return (Verdict::Pass, diff);
        };
        let others = findings.map(|(oracle, more)| format!("\nalso ({oracle}): {more}"));
        let message = first + &others.collect::<String>();
        (Verdict::Fail { oracle, message }, diff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_finding_is_the_verdict_and_the_others_are_told() {
        let scratch = tempfile::tempdir().unwrap();
        let mut evidence = Evidence::new(&scratch.path().join("new")).unwrap();
        let diff = "+1\n".repeat(100);
        evidence
            .find_diff(Oracle::State, "S1 is not S0", &diff)
            .unwrap();
        evidence.find(Oracle::SelfCheck, "FAIL a: b");
        let kept = fs::read_to_string(evidence.path("diff.txt")).unwrap();
        let (verdict, all) = evidence.conclude();
        assert_eq!((Some(kept), all.as_deref()), (all.clone(), Some(&*diff)));
        let Verdict::Fail { oracle, message } = verdict else {
            panic!("{verdict}")
        };
        assert_eq!(oracle, Oracle::State);
        assert!(message.contains("+1\nand 60 more lines"), "{message}");
        assert!(message.ends_with("\nalso (self): FAIL a: b"), "{message}");
    }

    #[test]
    fn a_folder_that_cannot_be_is_infra() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        fs::write(&file, "").unwrap();
        let verdict = Evidence::new(&file.join("dir")).unwrap_err();
        assert_eq!(verdict.kind(), "infra");
    }
}
