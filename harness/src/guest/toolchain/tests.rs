//! Which of two compilers is chosen.

use super::*;

fn compiler(rustc: &'static str, sysroot: &str, targets: &[Arch], source: bool) -> Compiler {
    Compiler {
        rustc,
        cargo: "cargo",
        version: "rustc 1.96.0 (ac68faa20 2026-05-25)\nhost: x86_64\nrelease: 1.96.0".to_owned(),
        sysroot: sysroot.into(),
        targets: targets.to_vec(),
        source,
    }
}

fn rustup(targets: &[Arch], source: bool) -> Compiler {
    compiler(
        "rustc",
        "/home/u/.rustup/toolchains/stable",
        targets,
        source,
    )
}

fn debian(source: bool) -> Compiler {
    compiler("/usr/bin/rustc", "/usr", &[Arch::X86_64], source)
}

fn check(
    path: Result<Compiler, Unusable>,
    system: Result<Compiler, Unusable>,
    arch: Arch,
    expected: &str,
) {
    let compilers = Compilers(vec![("rustc", path), ("/usr/bin/rustc", system)]);
    let chosen = match compilers.choose(arch) {
        Ok(toolchain) => toolchain.to_string(),
        Err(error) => error.to_string(),
    };
    assert_eq!(chosen, expected);
}

#[test]
fn an_installed_target_is_preferred() {
    use Arch::{S390x, X86_64};
    let text = "rustup's 1.96.0 has the target";
    check(Ok(rustup(&[X86_64], false)), Ok(debian(true)), X86_64, text);
    check(
        Ok(rustup(&[X86_64, S390x], true)),
        Ok(debian(true)),
        S390x,
        text,
    );
    check(
        Ok(rustup(&[S390x], true)),
        Err(Unusable::Absent),
        S390x,
        text,
    );
    check(
        Ok(rustup(&[], false)),
        Ok(debian(true)),
        X86_64,
        "/usr/bin/rustc 1.96.0 has the target",
    );
}

#[test]
fn a_distributions_source_comes_before_rustups() {
    let text = "/usr/bin/rustc 1.96.0 builds std from source, because \
        rustup's 1.96.0 has no s390x-unknown-linux-gnu";
    check(
        Ok(rustup(&[Arch::X86_64], true)),
        Ok(debian(true)),
        Arch::S390x,
        text,
    );
    let text = "rustup's 1.96.0 builds std from source, because \
        /usr/bin/rustc is not there";
    check(
        Ok(rustup(&[], true)),
        Err(Unusable::Absent),
        Arch::Ppc64,
        text,
    );
}

#[test]
fn nothing_fits() {
    let old = Err(Unusable::Old("1.63.0".to_owned()));
    let text = "no compiler builds for i686-unknown-linux-gnu (rustup's 1.96.0 has no i686-unknown-linux-gnu \
        and no source of std, /usr/bin/rustc is 1.63.0, older than 1.90): install Debian's rustc-web, cargo-web \
        and rust-web-src, or run `rustup target add i686-unknown-linux-gnu`";
    check(Ok(rustup(&[Arch::X86_64], false)), old, Arch::X86_32, text);
}

#[test]
fn versions_compare_as_numbers() {
    for (release, old) in [
        ("1.89.0", true),
        ("1.90.0", false),
        ("1.100.0-nightly", false),
        ("x", true),
    ] {
        assert_eq!(numbers(release) < numbers(MINIMUM), old, "{release}");
    }
}

#[test]
fn this_machine_has_the_compiler_that_runs_this_test() {
    let usable = Compilers::detect()
        .0
        .into_iter()
        .any(|(_, found)| found.is_ok());
    assert!(usable);
}
