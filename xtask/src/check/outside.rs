//! Programs of others, end to end: a folder outside of the checkout, as a user would make it, through `cargo xtask test --scenario-dir`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use crossthaw_harness::arch::Arch;
use tempfile::TempDir;

use super::cargo::cargo;
use super::{Found, Options};
use crate::build::How;
use crate::context::Context;

/// Both byte orders; the project's own programs run everywhere.
const ARCHS: [Arch; 2] = [Arch::X86_64, Arch::S390x];

/// Waits for a file, and ends with the status that it is given.
const PROGRAM: &str = r#"#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    FILE *pid = fopen(argv[1], "w");

    if (argc != 3 || !pid)
        return 64;
    fprintf(pid, "%d\n", (int)getpid());
    fclose(pid);
    while (access("go", F_OK))
        usleep(1000);
    return atoi(argv[2]);
}
"#;

/// The last one must fail: a run that cannot tell passes nothing.
const SCENARIOS: &str = "\
family: outside
about: Programs that were built elsewhere.
defaults: { archs: [x86_64, s390x], timeout: 60s }
scenarios:
  - name: program
    about: A program of each architecture is ready when its file is there, and ends with a status.
    exec:
      program: bin/{arch}/waiter
      args: [is-ready, '7']
      ready: { file: is-ready }
      resume: { touch: go }
      expect: { exit: 7 }
  - name: rootfs
    about: A program in a root file system is found by its pid file.
    exec:
      program: /usr/bin/waiter
      rootfs: root/{arch}
      args: [/run/waiter.pid, '0']
      ready: { pidfile: /run/waiter.pid }
      resume: { touch: go }
  - name: wrong
    about: A program that ends with another status than the expected one fails.
    exec:
      program: bin/{arch}/waiter
      args: [is-ready, '1']
      ready: { file: is-ready }
      resume: { touch: go }
";

/// What the command must say of it, whichever architecture comes first.
const SUMMARY: &str = "4 passed, 2 failed, 0 skipped";

/// Make the folder, and run it.
pub(super) fn run(opts: &Options, cx: &Context) -> anyhow::Result<Found> {
    let folder = TempDir::new().context("cannot make a folder outside of the checkout")?;
    fill(folder.path())?;
    let dir = folder.path().to_string_lossy();
    let jobs = opts.how.jobs.to_string();
    let mut arguments = vec!["xtask", "test", "--scenario-dir", &dir, "--jobs", &jobs];
    let How { kernel_source, .. } = &opts.how;
    let source = kernel_source.as_ref().map(|path| path.to_string_lossy());
    if let Some(source) = &source {
        arguments.extend(["--kernel-source", source]);
    }
    let ended = cargo("outside", &arguments, cx)?;
    let lines: Vec<_> = ended.output.lines().collect();
    let failed_as_it_should = ARCHS.iter().all(|arch| {
        let head = format!("fail (self) {arch}/outside/wrong");
        lines.iter().any(|line| line.contains(&head))
    });
    if failed_as_it_should && lines.last() == Some(&SUMMARY) {
        return Ok(Found::passed());
    }
    let said = format!("expected {SUMMARY}\n{}", ended.tail(&lines, cx));
    Ok(Found::failed(said))
}

/// Programs, root file systems and the scenario file.
fn fill(dir: &Path) -> anyhow::Result<()> {
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write("outside.yaml", SCENARIOS)?;
    write("waiter.c", PROGRAM)?;
    for arch in ARCHS {
        let bin = dir.join(format!("bin/{arch}"));
        let root = dir.join(format!("root/{arch}"));
        for folder in [&bin, &root.join("usr/bin"), &root.join("run")] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let program = bin.join("waiter");
        let cc = arch.row().guest_cc;
        let output = Command::new(cc)
            .args(["-static", "-D_GNU_SOURCE", "-o"])
            .args([&program, &dir.join("waiter.c")])
            .output()
            .with_context(|| format!("cannot run {cc}"))?;
        if !output.status.success() {
            bail!("{cc}: {}", String::from_utf8_lossy(&output.stderr));
        }
        fs::copy(&program, root.join("usr/bin/waiter"))
            .with_context(|| format!("cannot copy {}", program.display()))?;
    }
    Ok(())
}
