//! One run of `cargo build` for the guest: its command line, its progress, its first error.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::toolchain::{SCRUBBED, Std, Toolchain};
use super::{GuestBuildError, PACKAGES, PROFILE, file_error};
use crate::arch::{Arch, Row};
use crate::build::{BuildContext, OnProgress, Progress};
use crate::process::{Process, Surroundings};

/// Static, and at fixed addresses: a checkpoint's addresses are then the same on every run.
pub(super) const RUSTFLAGS: &[&str] = &[
    "-C",
    "target-feature=+crt-static",
    "-C",
    "relocation-model=static",
];

/// Lines of an error that are shown; the log has the rest.
const ERROR_LINES: usize = 40;

/// How often the log is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// What is run.
fn argv(toolchain: &Toolchain, row: &Row, repo: &Path, target: &Path, jobs: usize) -> Vec<String> {
    let mut argv = [toolchain.compiler.cargo, "build", "--locked", "--bins"]
        .map(str::to_owned)
        .to_vec();
    let mut option = |name: &str, value: &str| argv.extend([name.to_owned(), value.to_owned()]);
    option("--profile", PROFILE);
    option("--target", row.rust_target);
    option(
        "--manifest-path",
        &repo.join("Cargo.toml").to_string_lossy(),
    );
    option("--target-dir", &target.to_string_lossy());
    option("--jobs", &jobs.to_string());
    for package in PACKAGES {
        option("--package", package);
    }
    match toolchain.std {
        Std::Installed => {}
        // What std depends on comes from cargo's registry, at the versions of the compiler's own lock file.
        Std::Built => option("-Z", "build-std=std,panic_abort"),
    }
    argv
}

/// What cargo finds in its environment.
fn environment(toolchain: &Toolchain, row: &Row) -> Vec<(String, String)> {
    let target = row.rust_target.replace('-', "_");
    let linker = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase());
    let mut variables = vec![
        // Comes before what any configuration file of the user's says.
        ("CARGO_ENCODED_RUSTFLAGS".to_owned(), RUSTFLAGS.join("\x1f")),
        ("CARGO_TERM_COLOR".to_owned(), "never".to_owned()),
        ("LC_ALL".to_owned(), "C".to_owned()),
        ("RUSTUP_AUTO_INSTALL".to_owned(), "0".to_owned()),
        (linker, row.guest_cc.to_owned()),
        (format!("CC_{target}"), row.guest_cc.to_owned()),
        (format!("CFLAGS_{target}"), String::new()),
    ];
    if Path::new(toolchain.compiler.rustc).is_absolute() {
        variables.push(("RUSTC".to_owned(), toolchain.compiler.rustc.to_owned()));
    }
    if toolchain.std == Std::Built {
        variables.push(("RUSTC_BOOTSTRAP".to_owned(), "1".to_owned()));
    }
    variables
}

/// Build the guest programs in this target folder; returns the folder that they are in.
pub(super) fn build(
    ctx: &BuildContext,
    arch: Arch,
    toolchain: &Toolchain,
    target: &Path,
    progress: OnProgress<'_>,
) -> Result<PathBuf, GuestBuildError> {
    let row = arch.row();
    let path = target.join("build.log");
    let mut options = File::options();
    let log = options
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|error| file_error(&path, error))?;
    let set = environment(toolchain, row);
    let set: Vec<_> = set
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    let surroundings = Surroundings {
        dir: &ctx.repo,
        set: &set,
        unset: SCRUBBED,
        log: &log,
    };
    let argv = argv(toolchain, row, &ctx.repo, target, ctx.jobs);
    let mut cargo = Process::spawn_logged(&argv, &surroundings, &ctx.cancel)?;
    // The number of packages in the last build is the best guess at that in this one.
    let count = target.join("packages");
    let last = std::fs::read_to_string(&count).ok();
    let last: Option<u64> = last.and_then(|text| text.trim().parse().ok());
    let mut seen = 0;
    let status = cargo.finish(LOOK, || {
        let text = read(&log);
        let (done, name) = compiling(&text);
        if done > seen {
            seen = done;
            progress(Progress::Step {
                what: format!("compile {name}"),
                done,
                total: last.map(|last| last.max(done)),
            });
        }
    })?;
    if !status.success() {
        return Err(GuestBuildError::Compile {
            arch,
            error: first_error(&read(&log)),
            log: path,
        });
    }
    if seen > 0 {
        std::fs::write(&count, seen.to_string()).map_err(|error| file_error(&count, error))?;
    }
    Ok(target.join(row.rust_target).join(PROFILE))
}

/// The log so far. cargo's own position in the file, which ours shares, stays where it is.
fn read(log: &File) -> String {
    let size = log.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    let n = log.read_at(&mut bytes, 0).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..n]).into_owned()
}

/// How many packages cargo has begun to compile, and the last one's name.
fn compiling(log: &str) -> (u64, &str) {
    log.lines()
        .filter_map(|line| line.trim_start().strip_prefix("Compiling "))
        .fold((0, ""), |(count, _), package| {
            (count + 1, package.split(' ').next().unwrap_or(package))
        })
}

/// From the first line that begins with `error`, up to the next package or to the end.
fn first_error(log: &str) -> String {
    let mut lines = log
        .lines()
        .skip_while(|line| !line.starts_with("error"))
        .take_while(|line| !line.starts_with("   Compiling "))
        .peekable();
    if lines.peek().is_none() {
        // Killed, for instance: its last words are all there is.
        return log
            .lines()
            .last()
            .unwrap_or("cargo says nothing")
            .to_owned();
    }
    let first: Vec<_> = lines
        .enumerate()
        .take_while(|(at, line)| *at < ERROR_LINES && (*at == 0 || !line.starts_with("error")))
        .map(|(_, line)| line)
        .collect();
    first.join("\n  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::toolchain::Compiler;

    fn toolchain(rustc: &'static str, cargo: &'static str, std: Std) -> Toolchain {
        Toolchain {
            compiler: Compiler {
                rustc,
                cargo,
                version: String::new(),
                sysroot: PathBuf::new(),
                targets: Vec::new(),
                source: true,
            },
            std,
            why: String::new(),
        }
    }

    fn command(rustc: &'static str, cargo: &'static str, std: Std, arch: Arch) -> String {
        let toolchain = toolchain(rustc, cargo, std);
        let row = arch.row();
        let variables = environment(&toolchain, row)
            .into_iter()
            .map(|(name, value)| format!("{name}={}", value.replace('\x1f', " ")));
        let (repo, target) = (Path::new("/repo"), Path::new("/target"));
        let argv = argv(&toolchain, row, repo, target, 2);
        variables
            .chain([argv.join(" ")])
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn the_command_for_an_installed_target() {
        let command = command("rustc", "cargo", Std::Installed, Arch::X86_64);
        insta::assert_snapshot!(command, @r"
        CARGO_ENCODED_RUSTFLAGS=-C target-feature=+crt-static -C relocation-model=static
        CARGO_TERM_COLOR=never
        LC_ALL=C
        RUSTUP_AUTO_INSTALL=0
        CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=gcc
        CC_x86_64_unknown_linux_gnu=gcc
        CFLAGS_x86_64_unknown_linux_gnu=
        cargo build --locked --bins --profile guest --target x86_64-unknown-linux-gnu --manifest-path /repo/Cargo.toml --target-dir /target --jobs 2 --package crossthaw-init --package crossthaw-tools --package crossthaw-workloads
        ");
    }

    #[test]
    fn the_command_that_builds_std() {
        let command = command("/usr/bin/rustc", "/usr/bin/cargo", Std::Built, Arch::S390x);
        insta::assert_snapshot!(command, @r"
        CARGO_ENCODED_RUSTFLAGS=-C target-feature=+crt-static -C relocation-model=static
        CARGO_TERM_COLOR=never
        LC_ALL=C
        RUSTUP_AUTO_INSTALL=0
        CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_LINKER=s390x-linux-gnu-gcc
        CC_s390x_unknown_linux_gnu=s390x-linux-gnu-gcc
        CFLAGS_s390x_unknown_linux_gnu=
        RUSTC=/usr/bin/rustc
        RUSTC_BOOTSTRAP=1
        /usr/bin/cargo build --locked --bins --profile guest --target s390x-unknown-linux-gnu --manifest-path /repo/Cargo.toml --target-dir /target --jobs 2 --package crossthaw-init --package crossthaw-tools --package crossthaw-workloads -Z build-std=std,panic_abort
        ");
    }

    #[test]
    fn progress_is_the_packages_that_were_begun() {
        let log = "  Downloaded x v1\n   Compiling libc v0.2.1\nwarning: Compiling\n   Compiling std v0.0.0 (/usr)\n";
        assert_eq!(compiling(log), (2, "std"));
        assert_eq!(compiling(""), (0, ""));
    }

    #[test]
    fn the_first_error_is_found_in_the_log() {
        for (log, expected) in [
            (
                "   Compiling a v1\nwarning: w\nerror[E0425]: a\n --> f:1\n\nerror: b\n",
                "error[E0425]: a\n   --> f:1",
            ),
            (
                "    Updating index\nerror: the lock file needs to be updated\nbut --locked was passed\n",
                "error: the lock file needs to be updated\n  but --locked was passed",
            ),
            ("error: a\n   Compiling b v1\n", "error: a"),
            ("   Compiling b v1\n", "   Compiling b v1"),
            ("", "cargo says nothing"),
        ] {
            assert_eq!(first_error(log), expected);
        }
        let long = format!("error: x\n{}", "y\n".repeat(99));
        assert_eq!(first_error(&long).lines().count(), ERROR_LINES);
    }

    /// A build with a cargo that is a shell script.
    fn build_with(script: &str, dir: &Path) -> (Result<PathBuf, GuestBuildError>, Vec<Progress>) {
        use std::os::unix::fs::PermissionsExt;
        let cargo = dir.join("cargo");
        std::fs::write(&cargo, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&cargo, PermissionsExt::from_mode(0o755)).unwrap();
        let cargo: &'static str = cargo.to_string_lossy().into_owned().leak();
        let ctx = BuildContext {
            repo: dir.to_owned(),
            store: crate::store::Store::open(&dir.join("store")).unwrap(),
            jobs: 1,
            cancel: crate::process::Cancel::new().unwrap(),
        };
        let news = std::sync::Mutex::default();
        let on_progress = |progress| {
            let mut news: std::sync::MutexGuard<'_, Vec<_>> = news.lock().unwrap();
            news.push(progress);
        };
        let toolchain = toolchain("/usr/bin/rustc", cargo, Std::Built);
        let result = build(&ctx, Arch::S390x, &toolchain, dir, &on_progress);
        (result, news.into_inner().unwrap())
    }

    #[test]
    fn a_failed_build_shows_the_first_error_and_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let (result, _) = build_with(
            "echo '   Compiling a v1'; echo 'error: no such' >&2; exit 101",
            dir.path(),
        );
        let log = dir.path().join("build.log");
        assert_eq!(
            result.unwrap_err().to_string(),
            format!(
                "cannot build the guest programs for s390x:\n  error: no such\nthe whole log: {}",
                log.display()
            )
        );
    }

    #[test]
    fn the_second_build_knows_how_long_it_takes() {
        let dir = tempfile::tempdir().unwrap();
        let script = "[ -n \"$CARGO_ENCODED_RUSTFLAGS$RUSTC_BOOTSTRAP\" ] && echo '   Compiling a v1'; \
            [ $RUSTC = /usr/bin/rustc ] && echo '   Compiling b v1'";
        for total in [None, Some(2)] {
            let (result, news) = build_with(script, dir.path());
            assert!(result.unwrap().ends_with("s390x-unknown-linux-gnu/guest"));
            let what = "compile b".to_owned();
            assert_eq!(
                news.last(),
                Some(&Progress::Step {
                    what,
                    done: 2,
                    total
                })
            );
        }
    }
}
