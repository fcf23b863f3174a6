//! What a run leaves pending.

use super::*;
use Arch::{Ppc64, S390x, X86_32, X86_64};

const NAME: &str = "pipes/full[size=4096]";

fn files(dir: &Path) -> Vec<(String, String)> {
    let Ok(entries) = fs::read_dir(dir.join("pipes")) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (
                name.replace("full[size=4096]", "F"),
                read(&path).unwrap().unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

fn accept(dir: &Path, name: &str, text: &str) {
    write(&dir.join(format!("{name}.snap")), name, text, None).unwrap();
}

/// Golden files, what each architecture has, and the files afterwards.
#[track_caller]
fn check(goldens: &[(&str, &str)], run: &[(Arch, &str, bool)], expected: &[(&str, &str)]) {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    for (suffix, text) in goldens {
        accept(dir, &format!("{NAME}{suffix}"), text);
    }
    let run_goldens = Goldens::new(dir);
    for &(arch, text, same) in run {
        let found = run_goldens.check(NAME, arch, text).unwrap();
        assert_eq!(found == Judgement::Same, same, "{arch} {text}");
    }
    let expected: Vec<_> = expected
        .iter()
        .map(|&(name, text)| (name.to_owned(), text.to_owned()))
        .collect();
    assert_eq!(files(dir), expected);
}

#[test]
fn the_same_state_leaves_nothing() {
    check(
        &[("", "a\nb")],
        &[(S390x, "a\nb\n", true), (X86_64, "a\nb", true)],
        &[("F.snap", "a\nb")],
    );
}

#[test]
fn a_first_state_is_proposed_for_all_and_others_for_their_architecture() {
    check(
        &[],
        &[
            (S390x, "a\n", false),
            (X86_64, "a\n", false),
            (Ppc64, "b\n", false),
        ],
        &[("F.snap.new", "a"), ("F@ppc64.snap.new", "b")],
    );
}

#[test]
fn what_one_architecture_confirms_is_not_replaced() {
    let expected = &[
        ("F.snap", "a"),
        ("F@ppc64.snap.new", "b"),
        ("F@s390x.snap.new", "b"),
    ];
    let (good, one, two) = (
        (X86_64, "a", true),
        (Ppc64, "b", false),
        (S390x, "b", false),
    );
    check(&[("", "a")], &[good, one, two], expected);
    check(&[("", "a")], &[one, two, good], expected);
    check(
        &[("", "a")],
        &[one, two],
        &[("F.snap", "a"), ("F.snap.new", "b")],
    );
}

#[test]
fn an_architectures_own_golden_goes_first() {
    check(
        &[("", "a"), ("@ppc64", "b")],
        &[(Ppc64, "b", true), (X86_32, "a", true)],
        &[("F.snap", "a"), ("F@ppc64.snap", "b")],
    );
    check(
        &[("", "a"), ("@ppc64", "b")],
        &[(Ppc64, "a", false)],
        &[
            ("F.snap", "a"),
            ("F@ppc64.snap", "b"),
            ("F@ppc64.snap.new", "a"),
        ],
    );
}

#[test]
fn what_an_earlier_run_left_is_replaced_or_removed() {
    let old = [
        (".new", ""),
        ("@s390x.snap.new", ""),
        ("@ppc64.snap.new", ""),
    ];
    for (text, expected) in [
        ("a", vec!["F.snap", "F@ppc64.snap.new"]),
        ("c", vec!["F.snap", "F.snap.new", "F@ppc64.snap.new"]),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        accept(scratch.path(), NAME, "a");
        for (suffix, _) in &old {
            let suffix = suffix.replace(".snap.new", "").replace(".new", "");
            let path = scratch.path().join(format!("{NAME}{suffix}.snap.new"));
            write(&path, NAME, "old", None).unwrap();
        }
        let goldens = Goldens::new(scratch.path());
        goldens.check(NAME, S390x, text).unwrap();
        let names: Vec<_> = files(scratch.path())
            .into_iter()
            .map(|file| file.0)
            .collect();
        assert_eq!(names, expected);
    }
}

#[test]
fn a_difference_is_told() {
    let scratch = tempfile::tempdir().unwrap();
    accept(scratch.path(), NAME, "a\nb\n");
    let found = Goldens::new(scratch.path()).check(NAME, S390x, "a\nc\n");
    let Judgement::Differs(diff) = found.unwrap() else {
        panic!("it differs")
    };
    assert!(diff.ends_with(" a\n-b\n+c\n"), "{diff}");
}

#[test]
fn a_pending_state_says_which_architectures_agree_and_an_accepted_one_does_not() {
    let scratch = tempfile::tempdir().unwrap();
    let goldens = Goldens::new(scratch.path());
    for (arch, text) in [(S390x, "a"), (X86_64, "a"), (Ppc64, "b")] {
        goldens.check(NAME, arch, text).unwrap();
    }
    let golden = scratch.path().join(format!("{NAME}.snap"));
    let pending = golden.with_extension("snap.new");
    let said = agreement(&pending).unwrap();
    assert_eq!(said, "seen on x86_64, s390x; another state on ppc64");
    super::accept(&pending, &golden, NAME).unwrap();
    assert_eq!(
        (read(&golden).unwrap().as_deref(), agreement(&golden)),
        (Some("a"), None)
    );
    assert!(!pending.exists());
}

#[test]
fn what_a_run_found_is_pending_elsewhere() {
    let run = tempfile::tempdir().unwrap();
    let here = tempfile::tempdir().unwrap();
    accept(here.path(), NAME, "a");
    let goldens = Goldens::new(here.path()).recorded_in(run.path());
    for (arch, text) in [(S390x, "b"), (X86_64, "a"), (Ppc64, "b")] {
        goldens.check(NAME, arch, text).unwrap();
    }
    let there = tempfile::tempdir().unwrap();
    accept(there.path(), NAME, "a");
    let goldens = Goldens::new(there.path());
    for found in recorded(run.path()).unwrap() {
        goldens.take(&found).unwrap();
    }
    assert_eq!(files(there.path()), files(here.path()));
    assert_eq!(files(there.path()).len(), 3);
}

#[test]
fn insta_reads_what_is_written() {
    let scratch = tempfile::tempdir().unwrap();
    accept(scratch.path(), "pipes__full", "a\n  b\n");
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path(scratch.path());
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!("pipes__full", "a\n  b\n"));
}
