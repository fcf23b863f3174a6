//! Requirements and plans, on outputs that were recorded on Debian machines.

use super::apt::{plan, policy_names};
use super::*;

/// bookworm with `qemu-utils` from backports, where `qemu-system-s390x` is a part of `qemu-system-misc`.
const BACKPORTS: &str = "\
qemu-utils:
  Installed: 1:10.0.2+ds-2+deb13u1~bpo12+1
  Candidate: 1:10.0.2+ds-2+deb13u1~bpo12+1
  Version table:
 *** 1:10.0.2+ds-2+deb13u1~bpo12+1 100
        100 /var/lib/dpkg/status
     1:7.2+dfsg-7+deb12u18+b3 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
     1:7.2+dfsg-7+deb12u15 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
qemu-system-x86:
  Installed: (none)
  Candidate: 1:7.2+dfsg-7+deb12u18+b3
  Version table:
     1:7.2+dfsg-7+deb12u18+b3 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
     1:7.2+dfsg-7+deb12u15 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
qemu-system-s390x:
  Installed: (none)
  Candidate: (none)
  Version table:
qemu-system-misc:
  Installed: (none)
  Candidate: 1:7.2+dfsg-7+deb12u18+b3
  Version table:
     1:7.2+dfsg-7+deb12u18+b3 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
";

/// The same machine, some packages that are not of QEMU.
const TOOLS: &str = "\
bison:
  Installed: 2:3.8.2+dfsg-1+b1
  Candidate: 2:3.8.2+dfsg-1+b1
  Version table:
 *** 2:3.8.2+dfsg-1+b1 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
        100 /var/lib/dpkg/status
ccache:
  Installed: (none)
  Candidate: 4.8+really4.7.5-1
  Version table:
     4.8+really4.7.5-1 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
rustc-web:
  Installed: (none)
  Candidate: 1.96.0+dfsg1-1~deb12u2
  Version table:
     1.96.0+dfsg1-1~deb12u2 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
     1.85.0+dfsg3-1~deb12u3 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
rustc:
  Installed: (none)
  Candidate: 1.63.0+dfsg1-2
  Version table:
     1.63.0+dfsg1-2 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
cargo:
  Installed: (none)
  Candidate: 0.66.0+ds1-1
  Version table:
     0.66.0+ds1-1 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
";

fn needs(archs: &[Arch], steps: &[Step]) -> Needs {
    Needs {
        archs: archs.to_vec(),
        steps: steps.to_vec(),
    }
}

fn describe(needs: &Needs) -> String {
    let line = |requirement: &Requirement| {
        let packages: Vec<_> = requirement
            .packages
            .iter()
            .map(|names| names.join("|"))
            .collect();
        format!(
            "{} ({}): {}",
            requirement.sign,
            requirement.purpose,
            packages.join(" ")
        )
    };
    let all: Vec<_> = requirements(needs).iter().map(line).collect();
    all.join("\n")
}

#[test]
fn what_one_architecture_needs() {
    insta::assert_snapshot!(describe(&Needs::test(&[Arch::S390x])), @r"
    the program make (every kernel): make
    the program gcc (every kernel): gcc
    the program bc (every kernel): bc
    the program bison (every kernel): bison
    the program flex (every kernel): flex
    the program cpio (every kernel): cpio
    the program patch (every kernel): patch
    the program xz (every kernel): xz-utils
    the header stdio.h (every kernel): libc6-dev
    the header gelf.h (every kernel): libelf-dev
    the header openssl/opensslv.h (every kernel): libssl-dev
    the program ccache (faster kernel builds): ccache
    the program s390x-linux-gnu-gcc (kernel s390x): gcc-s390x-linux-gnu
    a static C library (libc.a) for s390x-linux-gnu-gcc (guest s390x): gcc-s390x-linux-gnu libc6-dev-s390x-cross
    a Rust compiler with the target s390x-unknown-linux-gnu, or with the source of std (guest s390x): rustc-web|rustc cargo-web|cargo rust-web-src|rust-src
    the program qemu-system-s390x (running s390x): qemu-system-s390x|qemu-system-misc
    ");
}

#[test]
fn what_is_shared_is_asked_once() {
    let all = requirements(&Needs::test(&Arch::ALL));
    let gcc = Sign::Program("gcc".to_owned());
    assert_eq!(
        all.iter()
            .filter(|requirement| requirement.sign == gcc)
            .count(),
        1
    );
}

#[test]
fn only_little_endian_guests_share_by_virtiofs() {
    assert_eq!(
        describe(&needs(&[Arch::S390x, Arch::Ppc64], &[Step::Share])),
        ""
    );
    assert_eq!(
        describe(&needs(&[Arch::X86_32, Arch::X86_64], &[Step::Share])),
        "the program virtiofsd (shared folders of x86_32): virtiofsd|qemu-system-common"
    );
}

#[test]
fn policies_are_read() {
    let policy = parse_policy(BACKPORTS);
    let utils = &policy["qemu-utils"];
    assert_eq!(
        utils.installed.as_deref(),
        Some("1:10.0.2+ds-2+deb13u1~bpo12+1")
    );
    assert_eq!(
        utils.versions,
        [
            "1:10.0.2+ds-2+deb13u1~bpo12+1",
            "1:7.2+dfsg-7+deb12u18+b3",
            "1:7.2+dfsg-7+deb12u15"
        ]
    );
    assert_eq!(policy["qemu-system-s390x"], Version::default());
    assert_eq!(policy["qemu-system-x86"].versions.len(), 2);
    assert_eq!(policy.len(), 4);
}

fn check(needs: &Needs, policy: &str, root: bool, stale: bool, expected: &str) {
    let plan = plan(requirements(needs), &parse_policy(policy));
    assert_eq!(plan.line(root, stale), expected);
}

#[test]
fn backported_qemu_utils_go_back_to_the_emulators_version() {
    let running = needs(&[Arch::X86_64, Arch::S390x], &[Step::Qemu]);
    let install = "apt-get install --yes --no-install-recommends";
    let emulators = "qemu-system-misc qemu-system-x86";
    check(
        &running,
        BACKPORTS,
        true,
        false,
        &format!("{install} --allow-downgrades {emulators} qemu-utils=1:7.2+dfsg-7+deb12u18+b3"),
    );
    let same = BACKPORTS.replace("1:10.0.2+ds-2+deb13u1~bpo12+1", "1:7.2+dfsg-7+deb12u18+b3");
    check(
        &running,
        &same,
        true,
        false,
        &format!("{install} {emulators}"),
    );
    let none = BACKPORTS.replace(
        "Installed: 1:10.0.2+ds-2+deb13u1~bpo12+1",
        "Installed: (none)",
    );
    check(
        &running,
        &none,
        false,
        true,
        &format!("sudo apt-get update && sudo {install} {emulators}"),
    );
}

#[test]
fn an_up_to_date_compiler_is_preferred_and_helpful_things_come_along() {
    let policy = parse_policy(TOOLS);
    let missing = requirements(&needs(&[Arch::X86_64], &[Step::Kernel, Step::Guest]));
    let plan = plan(missing, &policy);
    assert_eq!(plan.packages, ["bison", "cargo", "ccache", "rustc-web"]);
    assert!(
        plan.unknown
            .contains(&"rust-web-src or rust-src".to_owned())
    );
    assert!(!plan.unknown.iter().any(|name| name.contains("ccache")));
}

#[test]
fn apt_is_asked_for_all_alternatives() {
    let names = policy_names(&requirements(&needs(&[Arch::S390x], &[Step::Qemu])));
    let wanted = ["qemu-system-misc", "qemu-system-s390x", "qemu-utils"];
    assert!(names.into_iter().eq(wanted));
}
