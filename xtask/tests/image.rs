//! `image verify` and `image diff`, run as a user runs them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use crossthaw_image::{Arch, Record, sample};

/// Its exit code, standard output and standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("image")
        .args(arguments)
        .env_clear()
        .env("CROSSTHAW_CACHE", env!("CARGO_TARGET_TMPDIR"))
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// A file with the sample after a change of its records.
fn file(dir: &Path, name: &str, change: impl FnMut(&mut Record)) -> PathBuf {
    let arch = Arch::S390x;
    let mut records = sample::records(arch);
    records.iter_mut().for_each(change);
    let path = dir.join(name);
    std::fs::write(&path, sample::writer(arch, &records).finish()).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn verify_names_place_record_and_field() {
    let dir = tempfile::tempdir().unwrap();
    let good = file(dir.path(), "good", |_| {});
    let (code, out, errors) = run(&["verify", text(&good)]);
    assert_eq!((code, &*errors), (0, ""));
    assert!(
        out.contains(": valid, 3 tasks of s390x in 102 records and "),
        "{out}"
    );
    let bad = file(dir.path(), "bad", |record| {
        if let Record::File(it) = record {
            it.head.cred = 4;
        }
    });
    let (code, out, errors) = run(&["verify", text(&bad)]);
    assert_eq!((code, &*errors), (1, ""));
    let expected = "byte 6080, FILE, cred: object 4 is used before it comes; a CRED is expected\n";
    assert_eq!(out, format!("{}: {expected}", text(&bad)));
    let (code, out, _) = run(&["verify", "--format", "json", text(&bad)]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["valid"]), (1, &serde_json::Value::Null));
    assert_eq!(json["defect"]["at"], 6080);
    assert_eq!(json["defect"]["field"], "cred");
    let bytes = std::fs::read(&good).unwrap();
    std::fs::write(&bad, &bytes[..bytes.len() - 32]).unwrap();
    let (code, out, _) = run(&["verify", text(&bad)]);
    assert_eq!(code, 1);
    assert!(out.contains("the image is truncated"), "{out}");
    let (code, _, errors) = run(&["verify", "/no/such/file"]);
    assert_eq!(code, 2);
    assert!(errors.contains("cannot open /no/such/file"), "{errors}");
}

#[test]
fn diff_shows_what_differs_and_on_demand_what_may() {
    let dir = tempfile::tempdir().unwrap();
    let before = file(dir.path(), "before", |_| {});
    let later = |record: &mut Record| match record {
        Record::Header(it) => it.id = 4,
        Record::RestartBlock(it) => it.time_left -= 3_000_000_000,
        _ => {}
    };
    let after = file(dir.path(), "after", later);
    let (before, after) = (text(&before), text(&after));
    assert_eq!(
        run(&["diff", before, after]),
        (0, String::new(), String::new())
    );
    let (code, out, _) = run(&["diff", "--all", before, after]);
    assert_eq!(code, 0);
    let expected = "@@ image, HEADER: id (volatile: counts the checkpoints of a kernel)\n-3\n+4\n";
    assert!(out.starts_with(expected), "{out}");
    assert_eq!(run(&["diff", "--passed", "3", before, after]).0, 0);
    let (code, out, _) = run(&["diff", "--passed", "2", before, after]);
    assert_eq!(code, 1);
    assert!(
        out.starts_with("@@ task 1, RESTART_BLOCK: time_left\n-0x12a05f200\n+0x77359400\n"),
        "{out}"
    );
    let other = file(dir.path(), "other", |record| {
        if let Record::Cpu(it) = record {
            it.syscall = 7;
        }
    });
    let (code, out, _) = run(&["diff", "--format", "json", before, text(&other)]);
    assert_eq!((code, out.lines().count()), (1, 2));
    let first: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    let expected = serde_json::json!({
        "object": "task 1", "record": "CPU", "field": "syscall", "before": "-1", "after": "7", "volatile": null
    });
    assert_eq!(first, expected);
}

#[test]
fn images_that_cannot_be_read_are_usage_errors() {
    let dir = tempfile::tempdir().unwrap();
    let good = file(dir.path(), "good", |_| {});
    let bad = dir.path().join("bad");
    std::fs::write(&bad, b"no image").unwrap();
    for (arguments, part) in [
        (
            ["diff", text(&good), text(&bad)],
            "bad: this is not a checkpoint image",
        ),
        (["diff", "-", "-"], "only one of the images"),
    ] {
        let (code, out, errors) = run(&arguments);
        assert_eq!((code, &*out), (2, ""));
        assert!(errors.contains(part), "{errors}");
    }
}
