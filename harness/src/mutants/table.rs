//! The mutation table: mutant by architecture, for a terminal and as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Meaning, Mutant, MutantId, Row};
use crate::arch::Arch;

/// What a mutant is that does not concern an architecture, or was not reached.
const NONE: &str = "-";

struct Table<'a> {
    archs: Vec<Arch>,
    cells: BTreeMap<&'a MutantId, BTreeMap<Arch, &'a Row>>,
}

impl<'a> Table<'a> {
    fn new(rows: &'a [Row]) -> Self {
        let mut archs: Vec<_> = rows.iter().map(|row| row.arch).collect();
        archs.sort_unstable();
        archs.dedup();
        let mut cells: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for row in rows {
            cells.entry(&row.mutant).or_default().insert(row.arch, row);
        }
        Self { archs, cells }
    }

    fn words(&self, cells: &BTreeMap<Arch, &'a Row>) -> Vec<&'a str> {
        let word = |arch| cells.get(arch).map_or(NONE, |row| row.outcome.word());
        self.archs.iter().map(word).collect()
    }
}

/// The table in columns; then what was not caught.
pub fn text(rows: &[Row]) -> String {
    let table = Table::new(rows);
    let names = table.cells.keys().map(|id| id.as_str().len());
    let width = names.max().unwrap_or_default().max("mutant".len());
    let mut out = String::new();
    let mut line = |name: &str, words: &[&str]| {
        let words = words.iter().fold(String::new(), |mut all, word| {
            // Writing to a string does not fail.
            let _ = write!(all, "  {word:12}");
            all
        });
        let _ = writeln!(out, "{}", format!("{name:width$}{words}").trim_end());
    };
    let heads: Vec<_> = table.archs.iter().map(|arch| arch.name()).collect();
    line("mutant", &heads);
    for (id, cells) in &table.cells {
        line(id.as_str(), &table.words(cells));
    }
    for row in rows
        .iter()
        .filter(|row| row.outcome.meaning() != Meaning::Good)
    {
        let _ = writeln!(out, "{}/{}: {}", row.arch, row.mutant, row.outcome);
    }
    out
}

/// The table as Markdown, with what each mutant breaks and where it was caught.
pub fn markdown(rows: &[Row], mutants: &[&Mutant]) -> String {
    let table = Table::new(rows);
    let heads: Vec<_> = table.archs.iter().map(|arch| arch.name()).collect();
    let mut out = format!("# Mutants\n\n{}\n\n", summary(rows));
    let rule = " --- |".repeat(heads.len() + 2);
    let _ = writeln!(out, "| mutant | breaks | {} |\n|{rule}", heads.join(" | "));
    for (id, cells) in &table.cells {
        let breaks = mutants.iter().find(|mutant| mutant.id == **id);
        let breaks = breaks.map_or("", |mutant| &mutant.breaks);
        let words = table.words(cells).join(" | ");
        let _ = writeln!(out, "| {id} | {} | {words} |", escaped(breaks));
    }
    out.push_str("\n## Details\n\n");
    for row in rows {
        let known = if row.known { ", known" } else { "" };
        let _ = writeln!(
            out,
            "- {}/{}: {} ({:.1} s{known})",
            row.arch,
            row.mutant,
            escaped(&row.outcome.to_string()).replace('\n', " "),
            row.time().as_secs_f64()
        );
    }
    out
}

/// How many were caught by what, and how many were not.
pub fn summary(rows: &[Row]) -> String {
    let mut by: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        *by.entry(row.outcome.word()).or_default() += 1;
    }
    let parts: Vec<_> = by.iter().map(|(word, n)| format!("{n} {word}")).collect();
    format!("{} measured: {}", rows.len(), parts.join(", "))
}

/// What Markdown would take for a cell's end.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}
