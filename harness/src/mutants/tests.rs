//! The list of mutants against the source and the scenarios as they are, and the tables.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::kernel::Flavor;
use crate::scenario::CaseId;

fn checkout() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn every_mutant_applies_and_selects_cases_where_it_is_built() {
    let mutants = load(checkout()).unwrap_or_else(|mistakes| {
        let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    });
    let matrix = crate::scenario::load(&checkout().join("scenarios")).unwrap();
    let mut wrong = Vec::new();
    let mut files: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for mutant in &mutants {
        match mutant.changes(checkout()) {
            Ok(changes) => files
                .entry(changes.into_iter().collect::<Vec<_>>())
                .or_default()
                .push(&mutant.id),
            Err(error) => wrong.push(error.to_string()),
        }
        for &arch in &mutant.archs {
            match mutant.cases(&matrix, arch) {
                Ok(cases) if cases.is_empty() => {
                    wrong.push(format!("{}: no case on {arch}", mutant.file.display()));
                }
                Ok(_) => {}
                Err(error) => wrong.push(error.to_string()),
            }
        }
    }
    for twins in files.values().filter(|twins| twins.len() > 1) {
        wrong.push(format!("{twins:?} break the same line in the same way"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_kind_of_state_has_mutants() {
    let mutants = load(checkout()).unwrap();
    let mut of_file: BTreeMap<String, usize> = BTreeMap::new();
    for mutant in &mutants {
        for file in mutant.changes(checkout()).unwrap().keys() {
            *of_file
                .entry(file.to_string_lossy().into_owned())
                .or_default() += 1;
        }
    }
    let overlay = checkout().join("kernels/checkpoint");
    let without: Vec<_> = crate::store::walk(&overlay)
        .unwrap()
        .into_iter()
        .map(|file| file.to_string_lossy().into_owned())
        // ops.c is tables of functions that the others have.
        .filter(|file| Path::new(file).extension().is_some_and(|it| it == "c"))
        .filter(|file| !file.ends_with("/ops.c") && !of_file.contains_key(file))
        .collect();
    assert!(without.is_empty(), "no mutant of {without:?}");
    assert!(mutants.len() >= 40, "only {} mutants", mutants.len());
}

fn row(mutant: &str, arch: Arch, outcome: Outcome) -> Row {
    Row {
        mutant: MutantId::of(Path::new(mutant)),
        arch,
        flavor: Flavor::Fast,
        outcome,
        known: false,
        tried: 1,
        build_seconds: 8.0,
        boot_seconds: 1.0,
        trials_seconds: 0.5,
    }
}

fn rows() -> Vec<Row> {
    let case: CaseId = serde_json::from_str("\"x86_64/files/dup\"").unwrap();
    let caught = Outcome::Caught {
        by: "state".to_owned(),
        case: Some(case),
        message: "a | b".to_owned(),
    };
    vec![
        row("files/dup.patch", Arch::X86_64, caught),
        row("mm/brk.patch", Arch::X86_64, Outcome::Survived),
        row("files/dup.patch", Arch::S390x, Outcome::Unchanged),
    ]
}

#[test]
fn the_table_has_a_line_a_mutant_and_says_what_was_not_caught() {
    let expected = "\
mutant     x86_64        s390x
files/dup  state         UNCHANGED
mm/brk     SURVIVED      -
x86_64/mm/brk: SURVIVED: every case passes
s390x/files/dup: UNCHANGED: the kernel is the same without the patch
";
    assert_eq!(text(&rows()), expected);
}

#[test]
fn the_markdown_says_where_each_was_caught() {
    let expected = "\
# Mutants

3 measured: 1 SURVIVED, 1 UNCHANGED, 1 state

| mutant | breaks | x86_64 | s390x |
| --- | --- | --- | --- |
| files/dup |  | state | UNCHANGED |
| mm/brk |  | SURVIVED | - |

## Details

- x86_64/files/dup: caught by state in files/dup: a \\| b (9.5 s)
- x86_64/mm/brk: SURVIVED: every case passes (9.5 s)
- s390x/files/dup: UNCHANGED: the kernel is the same without the patch (9.5 s)
";
    assert_eq!(markdown(&rows(), &[]), expected);
}

#[test]
fn a_row_is_the_same_after_json() {
    for row in rows() {
        let json = serde_json::to_string(&row).unwrap();
        assert_eq!(serde_json::from_str::<Row>(&json).unwrap(), row, "{json}");
    }
}

#[test]
fn what_is_recorded_is_of_mutants_that_are_there() {
    let mutants = load(checkout()).unwrap();
    Caught::load(checkout(), &mutants).unwrap();
}
