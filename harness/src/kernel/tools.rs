//! The programs that a kernel build runs, and running them.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::build::BuildContext;
use crate::kernel::KernelError;
use crate::process::{Process, Surroundings, shell_line};
use crate::store::StoreError;

/// Pause between two looks at a tool's log.
pub(super) const TICK: Duration = Duration::from_millis(200);

/// Lines of a tool's output that an error shows.
const OUTPUT_LINES: usize = 20;

/// What every tool's environment gets: messages that can be parsed, and compiler results that do not depend on the place.
///
/// The kernel's make drops `LC_ALL`, so the locale is named twice.
const SET: [(&str, &str); 3] = [
    ("LC_ALL", "C"),
    ("LANG", "C.UTF-8"),
    ("CCACHE_NOHASHDIR", "1"),
];

/// What would change a kernel behind our back, or join it to another make.
const UNSET: [&str; 14] = [
    "LANGUAGE",
    "LC_CTYPE",
    "LC_MESSAGES",
    "MAKEFLAGS",
    "MFLAGS",
    "MAKELEVEL",
    "MAKEFILES",
    "KBUILD_OUTPUT",
    "KCFLAGS",
    "KCPPFLAGS",
    "KAFLAGS",
    "KCONFIG_CONFIG",
    "KCONFIG_ALLCONFIG",
    "GIT_DIR",
];

/// Where the programs are; found by name, unless a test has its own.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    pub(super) apt_get: String,
    pub(super) ccache: String,
    pub(super) dpkg_deb: String,
    pub(super) dpkg_query: String,
    pub(super) git: String,
    pub(super) make: String,
    pub(super) patch: String,
    pub(super) tar: String,
    /// Where Debian's package puts the source.
    pub(super) installed: PathBuf,
}

impl Tools {
    /// The ones of this machine.
    pub(super) fn system() -> Self {
        Self {
            apt_get: "apt-get".to_owned(),
            ccache: "ccache".to_owned(),
            dpkg_deb: "dpkg-deb".to_owned(),
            dpkg_query: "dpkg-query".to_owned(),
            git: "git".to_owned(),
            make: "make".to_owned(),
            patch: "patch".to_owned(),
            tar: "tar".to_owned(),
            installed: "/usr/src/linux-source-6.12.tar.xz".into(),
        }
    }

    /// Is there a ccache?
    pub(super) fn has_ccache(&self) -> bool {
        read(&[&self.ccache, "--version"], Path::new("/")).is_ok()
    }
}

/// How a tool ended, and what it said.
pub(super) struct Ended {
    command: String,
    pub(super) status: ExitStatus,
    pub(super) output: String,
}

impl Ended {
    /// An error if it failed.
    pub(super) fn success(self) -> Result<Self, KernelError> {
        if self.status.success() {
            return Ok(self);
        }
        Err(KernelError::Tool {
            output: last_lines(&self.output),
            command: self.command,
            status: self.status,
        })
    }
}

/// Run a tool that may take long, to its end. A full disk is an error of its own.
pub(super) fn run(ctx: &BuildContext, argv: &[&str], dir: &Path) -> Result<Ended, KernelError> {
    let failed = |source| StoreError::file(dir, "keep a log in", source);
    let log = tempfile::tempfile_in(dir).map_err(failed)?;
    let argv = owned(argv);
    let status = run_logged(ctx, &argv, dir, &log, || ())?;
    let output = read_all(&log).map_err(failed)?;
    if !status.success() {
        check_space(&output, dir)?;
    }
    Ok(Ended {
        command: shell_line(&argv),
        status,
        output,
    })
}

/// Run a tool to its end with its output in a log; `tick` is called while it runs.
pub(super) fn run_logged(
    ctx: &BuildContext,
    argv: &[String],
    dir: &Path,
    log: &File,
    tick: impl FnMut(),
) -> Result<ExitStatus, KernelError> {
    let surroundings = Surroundings {
        dir,
        set: &SET,
        unset: &UNSET,
        log,
    };
    let mut process = Process::spawn_logged(argv, &surroundings, &ctx.cancel)?;
    Ok(process.finish(TICK, tick)?)
}

/// What a tool that answers at once writes to its standard output.
pub(super) fn read(argv: &[&str], dir: &Path) -> Result<Vec<u8>, KernelError> {
    let program = argv.first().copied().unwrap_or_default();
    let mut expression = duct::cmd(program, argv.iter().skip(1))
        .dir(dir)
        .stdin_null()
        .stdout_capture()
        .stderr_capture()
        .unchecked();
    for (name, value) in SET {
        expression = expression.env(name, value);
    }
    for name in UNSET {
        expression = expression.env_remove(name);
    }
    let command = shell_line(&owned(argv));
    match expression.run() {
        Err(source) => Err(KernelError::Spawn { command, source }),
        Ok(output) if output.status.success() => Ok(output.stdout),
        Ok(output) => Err(KernelError::Tool {
            command,
            status: output.status,
            output: last_lines(&String::from_utf8_lossy(&output.stderr)),
        }),
    }
}

/// An error if a tool's output says that the disk is full.
pub(super) fn check_space(output: &str, dir: &Path) -> Result<(), KernelError> {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    // strerror(3) in the C locale, which `SET` asks for.
    let said = ["No space left on device", "Disk quota exceeded"];
    match full
        .iter()
        .zip(said)
        .find(|(_, text)| output.contains(text))
    {
        Some((&kind, _)) => Err(StoreError::file(dir, "write", kind.into()).into()),
        None => Ok(()),
    }
}

/// The last lines, each after a line break and indented.
pub(super) fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(OUTPUT_LINES)..]
        .iter()
        .fold(String::new(), |all, line| all + "\n  " + line)
}

/// A path as an argument; paths of the store and of the checkout that are not UTF-8 are refused by name.
pub(super) fn text(path: &Path) -> Result<&str, KernelError> {
    OsStr::to_str(path.as_os_str()).ok_or_else(|| KernelError::Source {
        path: path.to_owned(),
        why: "has a name that is not UTF-8",
    })
}

fn owned(argv: &[&str]) -> Vec<String> {
    argv.iter().map(|&word| word.to_owned()).collect()
}

/// All of a log, wherever its position is.
fn read_all(mut log: &File) -> io::Result<String> {
    use std::io::{Read, Seek};
    let mut bytes = Vec::new();
    log.rewind()?;
    log.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
