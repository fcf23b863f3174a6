//! What each key says, and properties of the project's own matrix.

mod mistakes;
mod programs;
mod selection;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::arch::Arch;
use crate::kernel::Flavor;

const HEAD: &str = "family: f\nabout: A family.\n";

fn today() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 24).unwrap()
}

/// Reads `f.yaml`.
fn parse(text: &str) -> Result<Matrix, Vec<String>> {
    let mut mistakes = Vec::new();
    let scenarios = read(Path::new("f.yaml"), text, today(), &mut mistakes);
    if mistakes.is_empty() {
        Ok(Matrix { scenarios })
    } else {
        mistakes.sort_by_key(|it| (it.line, it.column));
        Err(mistakes.iter().map(ToString::to_string).collect())
    }
}

/// Reads a family of one scenario, `counter`, with these keys, each in a line of its own from line 7 on.
fn scenario(keys: &str) -> Result<Matrix, Vec<String>> {
    let keys = keys
        .lines()
        .fold(String::new(), |all, line| all + "    " + line + "\n");
    parse(&format!(
        "{HEAD}scenarios:\n  - name: counter\n    about: It counts.\n    workload: simple::counter\n{keys}"
    ))
}

fn check(text: &str, mistakes: &[&str]) {
    assert_eq!(parse(text).unwrap_err(), mistakes, "{text}");
}

fn check_scenario(keys: &str, mistakes: &[&str]) {
    assert_eq!(scenario(keys).unwrap_err(), mistakes, "{keys}");
}

/// The only case on `x86_64`.
fn case(keys: &str) -> Case {
    let matrix = scenario(keys).unwrap_or_else(|mistakes| panic!("{keys}: {mistakes:?}"));
    let mut cases = matrix.cases(Flavor::Fast);
    cases.retain(|case| case.arch == Arch::X86_64);
    assert_eq!(cases.len(), 1);
    cases.remove(0)
}

#[test]
fn what_is_not_said_is_usual() {
    let case = case("");
    assert_eq!(case.id.as_str(), "x86_64/f/counter");
    assert_eq!(
        (case.checkpoint, case.restart),
        (Checkpoint::Container, Restart::Fresh)
    );
    assert_eq!(case.timeout, Duration::from_secs(30));
    assert_eq!((case.generations, case.freeze), (1, true));
    assert_eq!((case.tamper, &case.expect), (None, &Expect::Pass));
    assert_eq!((case.known_failure, case.skip), (None, None));
}

#[test]
fn each_key_says_something() {
    let refuse = |by, errno: Option<&str>, log: Option<&str>| Expect::Refuse {
        by,
        errno: errno.map(str::to_owned),
        log: log.map(str::to_owned),
    };
    assert_eq!(case("checkpoint: self").checkpoint, Checkpoint::SelfTask);
    assert_eq!(case("restart: same").restart, Restart::Same);
    assert_eq!(case("timeout: 500ms").timeout, Duration::from_millis(500));
    assert_eq!(case("generations: 20").generations, 20);
    assert_eq!(case("needs: [CONFIG_UNIX]").needs, ["CONFIG_UNIX"]);
    assert_eq!(case("expect: pass").expect, Expect::Pass);
    let it =
        case("freeze: false\nexpect: {refuse: {by: checkpoint, errno: EBUSY, log: not frozen}}");
    assert!(!it.freeze);
    assert_eq!(
        it.expect,
        refuse(By::Checkpoint, Some("EBUSY"), Some("not frozen"))
    );
    for (tamper, expected) in [
        ("arch: foreign", Tamper::Foreign),
        ("byte-order: swapped", Tamper::ByteOrder),
        ("truncate: each-record", Tamper::TruncateEachRecord),
        ("flip: each-record", Tamper::FlipEachRecord),
    ] {
        let it = case(&format!(
            "tamper: {{{tamper}}}\nexpect: {{refuse: {{by: restart}}}}"
        ));
        assert_eq!(
            (it.tamper, it.expect),
            (Some(expected), refuse(By::Restart, None, None))
        );
    }
}

#[test]
fn forgeries_are_read_in_their_order() {
    let it = case(
        "tamper: {forge: [{record: FILES, nth: 1, field: 'fds[0].fd', set: 0x10, errno: EPERM, log: a}, {record: MM, field: exe, copy: objref, log: b}, {record: CPU, with: [{record: CPU, nth: 2, whole: removed}], whole: repeated, by: tool, log: c}]}\nexpect: {refuse: {by: restart}}",
    );
    let Some(Tamper::Forge(forged)) = it.tamper else {
        unreachable!()
    };
    let said: Vec<_> = forged
        .iter()
        .map(|it| (it.what(), it.errno.as_deref(), &*it.log, it.by_tool))
        .collect();
    let said: Vec<_> = said
        .iter()
        .map(|(what, errno, log, by_tool)| (&**what, *errno, *log, *by_tool))
        .collect();
    assert_eq!(
        said,
        [
            ("FILES 1: fds[0].fd set to 16", Some("EPERM"), "a", false),
            ("MM 0: objref copied to exe", None, "b", false),
            ("CPU 2: removed; CPU 0: repeated", None, "c", true),
        ]
    );
}

#[test]
fn defaults_are_those_of_the_family_until_a_scenario_says_otherwise() {
    let matrix = parse(&format!(
        "{HEAD}defaults: {{checkpoint: subtree, restart: same, timeout: 2m, archs: [s390x, ppc64], needs: [CONFIG_UNIX]}}\nscenarios:
  - {{name: a, about: One., workload: simple::counter}}
  - {{name: b, about: Two., workload: simple::counter, checkpoint: container, archs: [x86_64]}}"
    ))
    .unwrap();
    let cases = matrix.cases(Flavor::Debug);
    let ids: Vec<_> = cases.iter().map(|case| case.id.as_str()).collect();
    assert_eq!(ids, ["x86_64/f/b", "s390x/f/a", "ppc64/f/a"]);
    assert_eq!(
        (cases[0].checkpoint, cases[0].restart),
        (Checkpoint::Container, Restart::Same)
    );
    assert_eq!(cases[1].checkpoint, Checkpoint::Subtree);
    assert!(cases.iter().all(|case| case.needs == ["CONFIG_UNIX"]
        && case.flavor == Flavor::Debug
        && case.timeout == Duration::from_secs(120)));
}

#[test]
fn a_known_failure_is_one_on_its_architectures_until_its_day() {
    let keys = |until, archs| {
        format!(
            "known_failure: {{{archs}reason: It is new., link: 'https://example.org/1', until: {until}}}"
        )
    };
    let matrix = scenario(&keys("2026-11-24", "archs: [s390x], ")).unwrap();
    for case in matrix.cases(Flavor::Fast) {
        assert_eq!(case.known_failure.is_some(), case.arch == Arch::S390x);
    }
    assert!(case(&keys("2027-01-01", "")).known_failure.is_some());
    check_scenario(
        &keys("2026-11-23", ""),
        &[
            "f.yaml:7:79: this known failure has expired, today is 2026-11-24: repair it, or give a new date and reason",
        ],
    );
    check_scenario(
        &format!(
            "archs: [x86_64]\n{}",
            keys("2027-02-30", "archs: [s390x], ")
        ),
        &[
            "f.yaml:8:28: the scenario does not run on s390x",
            "f.yaml:8:95: expected the last day on which it may fail, YYYY-MM-DD, found \"2027-02-30\"",
        ],
    );
    check_scenario(
        "known_failure: {link: soon, why: x}",
        &[
            "f.yaml:7:20: a known failure needs \"reason\": why it fails",
            "f.yaml:7:20: a known failure needs \"until\": the last day on which it may fail, YYYY-MM-DD",
            "f.yaml:7:27: expected where that is discussed, https://..., found \"soon\"",
            "f.yaml:7:33: a known failure has no key \"why\"; it has archs, reason, link, until",
        ],
    );
}

fn own() -> Matrix {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    load(&dir).unwrap_or_else(|mistakes| {
        let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    })
}

#[test]
fn the_own_matrix_has_no_mistake_and_its_names_are_unique() {
    let cases = own().cases(Flavor::Fast);
    let ids: BTreeSet<_> = cases.iter().map(|case| &case.id).collect();
    let folders: BTreeSet<_> = cases.iter().map(|case| case.id.file_name()).collect();
    assert_eq!((ids.len(), folders.len()), (cases.len(), cases.len()));
    for arch in Arch::ALL {
        let scenarios: BTreeSet<_> = cases
            .iter()
            .filter(|case| case.arch == arch)
            .map(|case| (&case.family, &case.scenario))
            .collect();
        assert!(scenarios.len() >= 24, "{arch} has {}", scenarios.len());
    }
}

#[test]
fn folders_and_files_are_checked_too() {
    let dir = tempfile::tempdir().unwrap();
    let failed = |dir: &Path| load(dir).unwrap_err().remove(0).to_string();
    let missing = dir.path().join("missing");
    assert!(failed(&missing).starts_with(&format!("{}: cannot list", missing.display())));
    assert!(failed(dir.path()).ends_with("expected scenario files, *.yaml, found none"));
    fs::write(dir.path().join("b.yaml"), "\u{0}").unwrap();
    fs::write(dir.path().join("a.yaml"), "family: a\n").unwrap();
    fs::write(dir.path().join("README.md"), "").unwrap();
    let mistakes = load(dir.path()).unwrap_err();
    let files: Vec<_> = mistakes
        .iter()
        .map(|it| it.file.file_name().unwrap())
        .collect();
    assert!(files.is_sorted() && files.len() == 3, "{mistakes:?}");
    fs::write(dir.path().join("c.yml"), "").unwrap();
    assert!(failed(dir.path()).ends_with("c.yml: expected a name that ends with .yaml"));
}

#[test]
fn a_kernel_without_what_a_case_needs_skips_it() {
    let mut case = case("needs: [CONFIG_A, CONFIG_B]");
    case.check_needs(|_| true);
    assert_eq!(case.skip, None);
    case.check_needs(|symbol| symbol == "CONFIG_A");
    assert_eq!(case.skip.as_deref(), Some("the kernel has no CONFIG_B"));
}

#[test]
fn the_reference_has_every_key_and_its_examples_are_right() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scenarios.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks = page.split("```yaml\n").skip(1);
    let blocks: Vec<_> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    let [item, whole] = blocks[..] else {
        panic!("one first scenario and one whole file are expected")
    };
    let first = parse(&format!("{HEAD}scenarios:\n{item}")).unwrap();
    assert_eq!(first.scenarios.len(), 1);
    let mut mistakes = Vec::new();
    read(Path::new("example.yaml"), whole, today(), &mut mistakes);
    assert_eq!(mistakes, []);
    for key in model::SCENARIO_KEYS.iter().chain(model::SETTINGS_KEYS) {
        let row = format!("\n| `{key}` | ");
        assert!(page.contains(&row), "{key} is not described");
        assert!(whole.contains(&format!("{key}:")), "{key} is not shown");
    }
}
