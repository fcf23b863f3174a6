//! What `restart` says without a kernel that can.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::process::{Command, Stdio};

use crossthaw_image::{Arch, sample};

fn check(arguments: &[&str], image: &[u8], code: i32, part: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    fs::write(&path, image).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_restart"))
        .args(arguments)
        .stdin(Stdio::from(File::open(path).unwrap()))
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
    assert!(told.contains(part), "{arguments:?}: {told}");
    assert_eq!(told.is_empty(), part.is_empty(), "{arguments:?}: {told}");
}

#[test]
fn images_are_inspected_without_the_kernel() {
    let image = sample::image(Arch::X86_32);
    check(&["--inspect"], &image, 0, "");
    let damaged = &image[..image.len() / 2];
    check(&["--inspect"], damaged, 1, "restart: the image is damaged");
    let mut records = sample::head(Arch::X86_64);
    let line = "checkpoint: error 16 (EBUSY): pid 4: fd 7: flock held";
    records.push(sample::error(libc::EBUSY, line));
    let failed = sample::writer(Arch::X86_64, &records).into_bytes();
    let told = format!("restart: the checkpoint failed: {line}\n  freeze the cgroup");
    check(&["--inspect"], &failed, 1, &told);
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (arguments, part) in [
        (
            ["--signal", "NOSUCH"].as_slice(),
            "no signal is called that",
        ),
        (&["--signal", "65"], "1 to 64"),
        (&["--signal", "INT", "--detach"], "cannot be used with"),
        (&["--show-status", "--detach"], "cannot be used with"),
        (&["--inspect", "--container"], "cannot be used with"),
        (&["--inspect", "--signal", "INT"], "cannot be used with"),
    ] {
        check(arguments, b"", 2, part);
    }
}
