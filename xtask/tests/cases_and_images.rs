//! `list` and `image show`, run as a user runs them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

/// The program, with nothing of the caller's environment but where it may cache.
fn xtask(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command
        .args(arguments)
        .env_clear()
        .env("CROSSTHAW_CACHE", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Its exit code, standard output and standard error.
fn run(arguments: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut child = xtask(arguments).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It need not read what it is given.
    let _ = stdin.write_all(input);
    drop(stdin);
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    (
        status.code().unwrap(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

#[test]
fn list_shows_what_is_selected() {
    let select = [
        "--arch",
        "ppc64",
        "--arch",
        "s390x",
        "--scenario",
        "files/{dup,gaps}",
    ];
    let (code, text, errors) = run(&[&["list"], &select[..]].concat(), b"");
    assert_eq!((code, &*errors), (0, ""));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "s390x/files/gaps",
            "s390x/files/dup",
            "ppc64/files/gaps",
            "ppc64/files/dup"
        ]
    );
    let (_, json, _) = run(&[&["list", "--format", "json"], &select[..]].concat(), b"");
    let ids: Vec<String> = json
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|case| case["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, lines);
}

#[test]
fn a_selection_that_cannot_be_says_why() {
    for (arguments, code, part) in [
        (["--scenario", "file/dup"], 3, "did you mean files/dup"),
        (["--scenario", "{a"], 2, "is not a glob"),
        (["--partition", "5000/5000"], 3, "there are only"),
        (["--partition", "3/2"], 2, "M from 1 to N"),
        (["--arch", "amd64"], 2, "x86_32, x86_64, s390x and ppc64"),
        (["--flavor", "slow"], 2, "fast and debug"),
    ] {
        let (found, text, errors) = run(&[&["list"], &arguments[..]].concat(), b"");
        assert_eq!((found, &*text), (code, ""), "{arguments:?}");
        assert!(errors.contains(part), "{arguments:?}: {errors}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = xtask(&["list", "--format", "json"]).spawn().unwrap();
    drop(child.stdout.take());
    let mut errors = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut errors)
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(errors, "");
}

/// Numbers in the byte order of an image.
struct Image {
    bytes: Vec<u8>,
    big: bool,
}

impl Image {
    fn word(&mut self, word: u32) {
        let bytes = if self.big {
            word.to_be_bytes()
        } else {
            word.to_le_bytes()
        };
        self.bytes.extend(bytes);
    }

    fn words(&mut self, words: &[u32]) {
        for &word in words {
            self.word(word);
        }
    }
}

/// The image of a checkpoint that failed, which ends with an ERROR record instead of a checksum.
fn image(arch: u32, big: bool) -> Vec<u8> {
    let mut it = Image {
        bytes: Vec::new(),
        big,
    };
    // HEADER
    it.words(&[1, 256]);
    it.bytes.extend(b"crthaw\r\n");
    it.words(&[0x0102_0304, 1, arch, 8, 4096, 0, 1, 0]);
    it.words(&[0; 4]);
    let mut release = [0u8; 192];
    release[..8].copy_from_slice(b"6.12.117");
    it.bytes.extend(release);
    // TREE of one task
    it.words(&[2, 56, 1, 0, 0, 0, 5, 5, 1, 5, 5, 17, 0, 0]);
    // ERROR
    it.words(&[20, 32, 16, 5, 0, 8]);
    it.bytes.extend(b"flocked\0");
    it.bytes
}

#[test]
fn images_of_all_architectures_are_shown() {
    for (arch, big, name) in [
        (1, false, "x86_32"),
        (2, false, "x86_64"),
        (3, true, "s390x"),
        (4, true, "ppc64"),
    ] {
        let image = image(arch, big);
        let (code, text, errors) = run(&["image", "show", "-"], &image);
        assert_eq!((code, &*errors), (0, ""), "{name}");
        for part in [name, "6.12.117", "pid 5 tgid 5", "flocked"] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        let (code, json, _) = run(&["image", "show", "-", "--format", "json"], &image);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(code, 0);
        assert_eq!(json["arch"], name);
        assert_eq!(json["records"][1]["tasks"][0]["pid"], 5);
    }
}

#[test]
fn a_damaged_image_is_shown_as_far_as_it_goes() {
    let image = image(3, true);
    let (code, text, errors) = run(&["image", "show", "-"], &image[..280]);
    assert_eq!(code, 2);
    assert_eq!(
        text.lines().filter(|line| line.contains("HEADER")).count(),
        1
    );
    assert_eq!(
        errors,
        "error: standard input is damaged in record 2, which begins at byte 256: the image is truncated at byte 280, in TREE\n"
    );
    let (code, json, _) = run(&["image", "show", "-", "--format", "json"], &image[..280]);
    assert_eq!((code, &*json), (2, ""));
}

#[test]
fn what_is_no_image_is_named() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    for (file, part) in [
        ("/no/such/file", "cannot open /no/such/file: No such file"),
        (env!("CARGO_MANIFEST_DIR"), "is a directory"),
        (manifest, "Cargo.toml is not a checkpoint image"),
        ("-", "standard input is not a checkpoint image"),
    ] {
        let (code, text, errors) = run(&["image", "show", file], b"");
        assert_eq!((code, &*text), (2, ""), "{file}");
        assert!(errors.contains(part), "{file}: {errors}");
    }
}

#[test]
fn scenario_files_of_other_folders_take_the_place_of_the_projects() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().canonicalize().unwrap();
    let suite = |keys: &str| {
        let text = format!(
            "family: suite\nabout: Of others.\nscenarios:\n  - name: it\n    about: It runs.\n    exec: {{{keys}}}\n"
        );
        std::fs::write(dir.join("suite.yaml"), text).unwrap();
    };
    let folder = dir.to_str().unwrap();
    suite("program: 'bin/{arch}/it', ready: {file: r}");
    let arguments = ["list", "--scenario-dir", folder, "--arch", "s390x"];
    let (code, out, _) = run(&arguments, b"");
    assert_eq!((code, &*out), (0, "s390x/suite/it\n"));
    let json = [&arguments[..], &["--format", "json"]].concat();
    let (_, out, _) = run(&json, b"");
    let case: serde_json::Value = serde_json::from_str(&out).unwrap();
    let program = format!("{folder}/bin/s390x/it");
    assert_eq!(case["exec"]["origin"]["program"], *program);
    assert_eq!(case["goldens"], *format!("{folder}/snapshots"));

    suite("program: it, ready: {fiel: r}");
    let (code, _, errors) = run(&arguments, b"");
    assert_eq!(code, 2, "{errors}");
    let expected =
        format!("{folder}/suite.yaml:6:33: readiness has no key \"fiel\"; the nearest is file");
    assert!(errors.contains(&expected), "{errors}");

    let (code, _, errors) = run(&["list", "--scenario-dir", "/no/such/folder"], b"");
    assert_eq!(code, 2);
    assert!(
        errors.contains("--scenario-dir /no/such/folder: "),
        "{errors}"
    );
    let (code, _, errors) = run(&["review", "--scenario-dir", folder], b"");
    assert_eq!(code, 2);
    assert!(errors.contains("keeps no goldens"), "{errors}");
}
