//! C sources, compiled with the architecture's cross compiler into the store.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use super::StageError;
use crate::arch::Arch;
use crate::build::BuildContext;
use crate::guest::toolchain::scrubbed;
use crate::scenario::Site;
use crate::store::KeyBuilder;

/// Kind of the artifact in the store.
const KIND: &str = "program";

/// The file in the artifact.
const FILE: &str = "program";

/// How a source is compiled. At fixed addresses, so that a state is the same on every run.
const FLAGS: &[&str] = &[
    "-std=gnu17",
    "-O1",
    "-g",
    "-Wall",
    "-Wextra",
    "-no-pie",
    "-fno-pie",
];

/// What a source may use without saying so.
const LIBRARIES: &[&str] = &["-pthread", "-Wl,--as-needed", "-lm"];

/// What a static program is linked with beside what its source names.
const LIBC: &str = "libc.a";

/// Run the compiler to its end.
fn run(arch: Arch, args: &[&str], site: &Site) -> Result<Output, StageError> {
    let cc = arch.row().guest_cc;
    let output = scrubbed(cc).args(args).stderr(Stdio::piped()).output();
    output.map_err(|error| {
        let packages = arch.row().guest_packages.join(" ");
        let message = format!(
            "cannot run {cc}, which compiles programs for {arch}: {error}; install {packages}"
        );
        StageError::wrong(site, message)
    })
}

/// Where the compiler has a file of its library.
fn find(arch: Arch, name: &str, site: &Site) -> Result<PathBuf, StageError> {
    let output = run(arch, &[&format!("-print-file-name={name}")], site)?;
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    // The bare name is what gcc says of a file that it does not find.
    if path.contains('/') {
        return Ok(path.into());
    }
    let (cc, packages) = (arch.row().guest_cc, arch.row().guest_packages.join(" "));
    let message = format!("{cc} finds no {name} for {arch}: install {packages}");
    Err(StageError::wrong(site, message))
}

/// Compile a source, unless the store has the program.
pub(super) fn compile(
    ctx: &BuildContext,
    arch: Arch,
    source: &Path,
    dynamic: bool,
    site: &Site,
) -> Result<PathBuf, StageError> {
    if let Err(error) = source.metadata() {
        return Err(StageError::file(site, source, &error));
    }
    let text = source.to_string_lossy();
    let failed = |output: &Output| {
        let said = String::from_utf8_lossy(&output.stderr);
        let message = format!(
            "{} cannot compile {text} for {arch}:\n{}",
            arch.row().guest_cc,
            said.trim_end()
        );
        StageError::wrong(site, message)
    };
    // The text that the compiler sees, headers and all, decides what comes out.
    let preprocessed = run(arch, &["-E", "-P", FLAGS[0], &text], site)?;
    if !preprocessed.status.success() {
        return Err(failed(&preprocessed));
    }
    let version = run(arch, &["--version"], site)?;
    let mut key = KeyBuilder::new(KIND)
        .text("arch", arch.name())
        .text("flags", &FLAGS.join(" "))
        .text("libraries", &LIBRARIES.join(" "))
        .text("link", if dynamic { "dynamic" } else { "static" })
        .bytes("compiler", &version.stdout)
        .bytes("text", &preprocessed.stdout);
    if !dynamic {
        key = key.file("libc", &find(arch, LIBC, site)?)?;
    }
    let key = key.finish();
    let outcome = ctx.store.get_or_build(KIND, &key, |dir| {
        let out = dir.join(FILE);
        let out = out.to_string_lossy();
        let mut args = FLAGS.to_vec();
        if !dynamic {
            args.push("-static");
        }
        args.extend(["-o", &out, &text]);
        args.extend(LIBRARIES);
        let output = run(arch, &args, site)?;
        if output.status.success() {
            Ok(())
        } else {
            Err(failed(&output))
        }
    });
    outcome.map(|artifact| artifact.dir.join(FILE))
}

/// The loader and these libraries of the compiler: where they are in the root file system, and on this machine.
pub(super) fn libraries(
    arch: Arch,
    loader: &str,
    names: &[String],
    site: &Site,
) -> Result<Vec<(String, PathBuf)>, StageError> {
    let path = Path::new(loader);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // One place on all architectures: `lib64` is a link.
    let at = match path.parent().and_then(Path::to_str) {
        Some("/lib64") => format!("/lib/{name}"),
        _ => loader.to_owned(),
    };
    let mut files = vec![(at, find(arch, &name, site)?)];
    for name in names {
        // Every loader looks there.
        files.push((format!("/lib/{name}"), find(arch, name, site)?));
    }
    Ok(files)
}
