//! What can be checked about texts: links lead somewhere, commands are understood, kernel files say their licence.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::CommandFactory;
use clap::error::ErrorKind;

use crate::Cli;

/// How many things were looked at, and what is wrong with some of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    pub(crate) looked_at: usize,
    pub(crate) wrong: Vec<String>,
}

/// Look at the pages of a checkout and at what lies over the kernel.
pub(crate) fn check(repo: &Path) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    let mut pages = vec![repo.join("README.md")];
    pages.extend(files(&repo.join("docs"))?);
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    for page in &pages {
        let text = read(page)?;
        let name = page.strip_prefix(repo).unwrap_or(page).display();
        for (line, target) in links(&text) {
            findings.looked_at += 1;
            let folder = page.parent().unwrap_or(repo);
            if !folder.join(target).exists() {
                let wrong = format!("{name}:{line}: {target} is not there");
                findings.wrong.push(wrong);
            }
        }
        for (line, command) in commands(&text) {
            findings.looked_at += 1;
            if let Some(problem) = misunderstood(&command) {
                let wrong = format!(
                    "{name}:{line}: cargo xtask {}: {problem}",
                    command.join(" ")
                );
                findings.wrong.push(wrong);
            }
        }
    }
    for folder in ["kernels/checkpoint", "kernels/configs", "harness/mutants"] {
        for file in files(&repo.join(folder))? {
            findings.looked_at += 1;
            if !has_licence(&read(&file)?) {
                let name = file.strip_prefix(repo).unwrap_or(&file).display();
                let wrong = format!(
                    "{name}:1: expected SPDX-License-Identifier: GPL-2.0-only in the first two lines"
                );
                findings.wrong.push(wrong);
            }
        }
    }
    Ok(findings)
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// All files below a folder, sorted.
fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = || format!("cannot list {}", folder.display());
        for entry in fs::read_dir(&folder).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            if entry.file_type().with_context(failed)?.is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

/// Targets of links into the checkout, without what follows `#`.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    for (number, line) in numbered(text) {
        for rest in line.split("](").skip(1) {
            let target = rest.split([')', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                links.push((number, target));
            }
        }
    }
    links
}

/// What follows `cargo xtask`, in indented lines and between backticks.
fn commands(text: &str) -> Vec<(usize, Vec<String>)> {
    let mut commands = Vec::new();
    for (number, line) in numbered(text) {
        let snippets: Vec<&str> = if line.starts_with("    ") {
            vec![line.trim_start()]
        } else {
            line.split('`').skip(1).step_by(2).collect()
        };
        for snippet in snippets {
            if let Some(rest) = snippet.strip_prefix("cargo xtask ") {
                commands.push((number, words(rest)));
            }
        }
    }
    commands
}

/// Split as a shell does: blanks, single quotes, a comment at the end.
fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '#' if word.is_none() && !quoted => break,
            blank if blank.is_whitespace() && !quoted => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

/// What the command line has against these words.
fn misunderstood(words: &[String]) -> Option<String> {
    let line = ["cargo xtask".to_owned()]
        .into_iter()
        .chain(words.iter().cloned());
    let error = Cli::command().try_get_matches_from(line).err()?;
    // `--arch NAME`: what a reader has to fill in.
    let placeholder =
        |word: &String| word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase());
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => None,
        ErrorKind::ValueValidation | ErrorKind::InvalidValue if words.iter().any(placeholder) => {
            None
        }
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            Some(first.trim_start_matches("error: ").to_owned())
        }
    }
}

fn has_licence(text: &str) -> bool {
    let mut first = text.lines().take(2);
    first.any(|line| line.contains("SPDX-License-Identifier: GPL-2.0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_into_the_checkout_are_found() {
        let text = "[a](docs/a.md) and [b](b.md#part)\n[c](https://c) [d](#here)\n[`e`](../e)";
        assert_eq!(links(text), [(1, "docs/a.md"), (1, "b.md"), (3, "../e")]);
    }

    #[test]
    fn commands_are_split_as_a_shell_does() {
        let text = "`cargo xtask` and `cargo xtask list --arch s390x`\n    cargo xtask list --scenario '*[a=b]'  # a comment\n    make";
        let found: Vec<_> = commands(text)
            .into_iter()
            .map(|(line, words)| format!("{line}: {}", words.join("|")))
            .collect();
        assert_eq!(found, ["1: list|--arch|s390x", "2: list|--scenario|*[a=b]"]);
    }

    #[test]
    fn commands_that_are_not_understood_say_why() {
        for (line, problem) in [
            ("list --arch s390x", None),
            ("list --arch NAME", None),
            ("list --arch amd64", Some("invalid value 'amd64'")),
            ("list --arhc s390x", Some("unexpected argument '--arhc'")),
            ("lits", Some("unrecognized subcommand 'lits'")),
        ] {
            let found = misunderstood(&words(line));
            assert_eq!(found.is_some(), problem.is_some(), "{line}: {found:?}");
            assert!(
                found
                    .unwrap_or_default()
                    .starts_with(problem.unwrap_or_default()),
                "{line}"
            );
        }
    }

    #[test]
    fn a_licence_is_in_the_first_two_lines() {
        assert!(has_licence(
            "#!/bin/sh\n# SPDX-License-Identifier: GPL-2.0-only\n"
        ));
        assert!(!has_licence(
            "/* x */\n\n// SPDX-License-Identifier: GPL-2.0-only\n"
        ));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let repo = tempfile::tempdir().unwrap();
        let folders = [
            "docs",
            "kernels/checkpoint/mm",
            "kernels/configs",
            "harness/mutants",
        ];
        for folder in folders {
            fs::create_dir_all(repo.path().join(folder)).unwrap();
        }
        let write = |name: &str, text: &str| fs::write(repo.path().join(name), text).unwrap();
        write(
            "README.md",
            "# a\n[b](docs/b.md) [c](docs/c.md)\n    cargo xtask lits\n",
        );
        write("docs/b.md", "[a](../README.md)\n");
        write("kernels/checkpoint/mm/a.c", "int a;\n");
        write(
            "kernels/configs/a.config",
            "# SPDX-License-Identifier: GPL-2.0-only\n",
        );
        let findings = check(repo.path()).unwrap();
        assert_eq!(findings.looked_at, 6);
        assert_eq!(
            findings.wrong,
            [
                "README.md:2: docs/c.md is not there",
                "README.md:3: cargo xtask lits: unrecognized subcommand 'lits'",
                "kernels/checkpoint/mm/a.c:1: expected SPDX-License-Identifier: GPL-2.0-only in the first two lines",
            ]
        );
    }
}
