//! `setup` on a machine that is a folder of scripts: what it asks apt for, and how it ends.
//!
//! `/etc/os-release` is the real one, so that these tests say nothing on other distributions than Debian's.

#![expect(
    clippy::unwrap_used,
    reason = "a machine of scripts that cannot be made fails the test"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Programs that only have to be there.
const TOOLS: &[&str] = &[
    "make",
    "bc",
    "flex",
    "cpio",
    "patch",
    "xz",
    "ccache",
    "cargo",
    "virtiofsd",
];

/// Backported qemu-utils, no emulator yet.
const POLICY: &str = "\
bison:
  Installed: (none)
  Candidate: 2:3.8.2+dfsg-1+b1
  Version table:
     2:3.8.2+dfsg-1+b1 500
qemu-utils:
  Installed: 1:10.0.2+ds-2+deb13u1~bpo12+1
  Candidate: 1:10.0.2+ds-2+deb13u1~bpo12+1
  Version table:
 *** 1:10.0.2+ds-2+deb13u1~bpo12+1 100
        100 /var/lib/dpkg/status
     1:7.2+dfsg-7+deb12u18+b3 500
qemu-system-x86:
  Installed: (none)
  Candidate: 1:7.2+dfsg-7+deb12u18+b3
  Version table:
     1:7.2+dfsg-7+deb12u18+b3 500
";

const INSTALL: &str = "install --yes --no-install-recommends --allow-downgrades \
    bison qemu-system-x86 qemu-utils=1:7.2+dfsg-7+deb12u18+b3";

/// A machine without bison and QEMU.
struct Machine(tempfile::TempDir);

impl Machine {
    /// `None` where there is no Debian to pretend on.
    fn new() -> Option<Self> {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        if !release.lines().any(|line| line == "ID=debian") {
            return None;
        }
        let machine = Self(tempfile::tempdir().unwrap());
        let dir = machine.path().display().to_string();
        for tool in TOOLS {
            machine.script(tool, "exit 0");
        }
        machine.script("gcc", "echo /usr/lib/libc.a");
        let sysroot = format!("[ $1 = -vV ] && echo release: 1.99.0 || echo {dir}");
        machine.script("rustc", &sysroot);
        let std = machine
            .path()
            .join("lib/rustlib/x86_64-unknown-linux-gnu/lib");
        fs::create_dir_all(&std).unwrap();
        fs::write(std.join("libstd-1.rlib"), "").unwrap();
        machine.script("apt-cache", &format!("cat {dir}/policy"));
        fs::write(machine.path().join("policy"), POLICY).unwrap();
        // A user is as good as root here.
        machine.script("sudo", "[ $1 = -n ] && shift; exec \"$@\"");
        machine.script("env", "shift; exec \"$@\"");
        Some(machine)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn script(&self, name: &str, body: &str) {
        let path = self.path().join(name);
        let dir = self.path().display();
        fs::write(
            &path,
            format!("#!/bin/sh\nPATH={dir}:/usr/bin:/bin\n{body}\n"),
        )
        .unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// apt-get writes down what it is told, then does this.
    fn apt_get(&self, body: &str) {
        let log = self.path().join("apt.log");
        self.script(
            "apt-get",
            &format!("echo \"$@\" >> {}\n{body}", log.display()),
        );
    }

    /// Run `setup --arch x86_64` without a terminal; returns its exit code, and what it said.
    fn setup(&self, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["setup", "--arch", "x86_64"])
            .args(arguments)
            .env_clear()
            .env("PATH", self.path())
            .env("CROSSTHAW_CACHE", self.path().join("cache"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        // Whether it is root, and how old apt's lists are, is this machine's affair.
        let text = text.replace("sudo ", "").replace("apt-get update && ", "");
        (output.status.code().unwrap(), text)
    }

    /// What apt-get was told, without options that are only about how it works.
    fn told(&self) -> String {
        let log = fs::read_to_string(self.path().join("apt.log")).unwrap_or_default();
        log.lines()
            .filter(|line| !line.ends_with(" update"))
            .map(|line| line.replace("-q --option=DPkg::Lock::Timeout=300 ", ""))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

#[test]
fn without_yes_and_terminal_it_prints_the_command() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.apt_get("exit 0");
    let (code, text) = machine.setup(&[]);
    assert_eq!(
        text,
        format!(
            "error: missing:\n  the program bison, for every kernel\n  \
             the program qemu-system-x86_64, for running x86_64\nthis installs it:\n  apt-get {INSTALL}\n"
        )
    );
    assert_eq!((code, machine.told().as_str()), (69, ""));
}

#[test]
fn with_yes_it_installs_and_then_nothing_is_missing() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let dir = machine.path().display().to_string();
    machine.apt_get(&format!(
        "cd {dir}; cp make bison; cp make qemu-system-x86_64"
    ));
    let (code, text) = machine.setup(&["--yes"]);
    assert!(text.starts_with("all is installed\n"), "{text}");
    assert_eq!((code, machine.told().as_str()), (0, INSTALL));
    assert_eq!(machine.setup(&[]), (0, "nothing is missing\n".to_owned()));
}

#[test]
fn what_apt_cannot_do_is_an_error() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.apt_get("exit 100");
    let (code, text) = machine.setup(&["--yes"]);
    assert!(
        text.contains("failed (exit status: 100): see above"),
        "{text}"
    );
    assert_eq!(code, 69);
    machine.apt_get("exit 0");
    let (code, text) = machine.setup(&["--yes"]);
    assert!(
        text.contains("apt is content, but this is still missing:\n  the program bison"),
        "{text}"
    );
    assert_eq!(code, 69);
    fs::write(machine.path().join("policy"), "").unwrap();
    let (code, text) = machine.setup(&["--yes"]);
    assert!(
        text.contains(" has bison, qemu-system-x86, which this needs:"),
        "{text}"
    );
    assert_eq!(code, 69);
}
