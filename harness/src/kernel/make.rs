//! The kernel's make: configuration and build, watched through its log.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::build::{BuildContext, OnProgress, Progress};
use crate::kernel::config::unmet;
use crate::kernel::tools::{Tools, check_space, last_lines, run_logged};
use crate::kernel::tree::{Overlay, Tree};
use crate::kernel::{Inputs, KernelError};
use crate::store::{KeyBuilder, StoreError};

/// Objects of a kernel of ours, as long as none was built.
const OBJECTS: u64 = 1200;

/// Diagnostics of the compiler that an error shows.
const DIAGNOSTICS: usize = 3;
/// Lines of each.
const DIAGNOSTIC_LINES: usize = 6;

/// One make of one tree.
pub(super) struct Make<'a> {
    pub(super) ctx: &'a BuildContext,
    pub(super) tools: &'a Tools,
    pub(super) inputs: &'a Inputs,
    pub(super) progress: OnProgress<'a>,
}

impl Make<'_> {
    /// Configure the tree if that was not done from the same fragments, and build the kernel.
    pub(super) fn run(&self, tree: &mut Tree) -> Result<(), KernelError> {
        let path = tree.log();
        let log = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| StoreError::file(&path, "write", error))?;
        // Stays so if we are killed.
        tree.state.making = true;
        tree.save()?;
        let outcome = self.configure_and_build(tree, &log);
        tree.state.making = match &outcome {
            Err(KernelError::Cancelled) => true,
            Err(KernelError::Build { status, .. }) => status.code().is_none(),
            _ => false,
        };
        tree.save()?;
        outcome
    }

    fn configure_and_build(&self, tree: &mut Tree, log: &File) -> Result<(), KernelError> {
        let config = self.config_key();
        if tree.state.config != config {
            tree.state.config.clear();
            self.configure(tree, log)?;
            tree.state.config = config;
        }
        let note = format!("objects-{}-{}", self.inputs.arch, self.inputs.flavor);
        let store = &self.ctx.store;
        // How many an edit concerns, only make knows.
        let total = (!tree.state.built).then(|| {
            let noted = store.note(&note).and_then(|text| text.parse().ok());
            noted.unwrap_or(OBJECTS)
        });
        let mut watch = Watch {
            read: log.metadata().map_or(0, |metadata| metadata.len()),
            line: Vec::new(),
            compiled: tree.state.compiled,
            total,
            progress: self.progress,
        };
        watch.tell();
        let target = self.inputs.arch.row().make_target;
        let outcome = self.make(tree, log, &[target], || watch.look(log));
        tree.state.compiled = watch.compiled;
        outcome?;
        if !tree.state.built {
            tree.state.built = true;
            store.set_note(&note, &watch.compiled.to_string())?;
        }
        Ok(())
    }

    /// What `.config` is made from.
    fn config_key(&self) -> String {
        let mut key = KeyBuilder::new("config");
        for fragment in &self.inputs.fragments {
            key = key.text("fragment", &fragment.text);
        }
        for (file, bytes) in kconfig(&self.inputs.overlay) {
            key = key.bytes(&file.to_string_lossy(), bytes);
        }
        key.text("compiler", &self.inputs.compiler)
            .finish()
            .to_string()
    }

    /// tinyconfig, the fragments on top, and a look at what became of them.
    fn configure(&self, tree: &Tree, log: &File) -> Result<(), KernelError> {
        (self.progress)(Progress::Step {
            what: "configure".to_owned(),
            done: 0,
            total: None,
        });
        let path = tree.path().join(".config");
        let failed = |error| StoreError::file(&path, "configure", error);
        if tree.state.compiled == 0 && path.exists() {
            // A tree that its owner builds in, for another architecture perhaps.
            self.make(tree, log, &["mrproper"], || ())?;
        }
        self.make(tree, log, &["tinyconfig"], || ())?;
        let mut text = fs::read_to_string(&path).map_err(failed)?;
        for fragment in &self.inputs.fragments {
            text.push('\n');
            text.push_str(&fragment.text);
        }
        fs::write(&path, text).map_err(failed)?;
        self.make(tree, log, &["olddefconfig"], || ())?;
        let config = fs::read_to_string(&path).map_err(failed)?;
        let unmet = unmet(&self.inputs.fragments, &config)?;
        if unmet.is_empty() {
            Ok(())
        } else {
            Err(KernelError::Config {
                arch: self.inputs.arch,
                unmet,
            })
        }
    }

    fn make(
        &self,
        tree: &Tree,
        log: &File,
        targets: &[&str],
        tick: impl FnMut(),
    ) -> Result<(), KernelError> {
        let start = log.metadata().map_or(0, |metadata| metadata.len());
        let argv = self.argv(targets);
        let status = run_logged(self.ctx, &argv, &tree.path(), log, tick)?;
        if status.success() {
            return Ok(());
        }
        let text = read_from(log, start).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        check_space(&text, &tree.path())?;
        Err(KernelError::Build {
            arch: self.inputs.arch,
            flavor: self.inputs.flavor,
            status,
            errors: diagnostics(&text, &self.inputs.overlay),
            log: tree.log(),
        })
    }

    /// Everything that decides what is built is on the command line, where the environment does not reach it.
    fn argv(&self, targets: &[&str]) -> Vec<String> {
        let row = self.inputs.arch.row();
        let cross = row.cross_compile;
        let cache = if self.tools.has_ccache() {
            format!("{} ", self.tools.ccache)
        } else {
            String::new()
        };
        let settings = [
            self.tools.make.clone(),
            format!("-j{}", self.ctx.jobs),
            format!("ARCH={}", row.kernel_arch),
            format!("CROSS_COMPILE={cross}"),
            format!("CC={cache}{cross}gcc"),
            // The same kernel from the same source, whoever builds it, wherever and whenever.
            "KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970".to_owned(),
            "KBUILD_BUILD_USER=crossthaw".to_owned(),
            "KBUILD_BUILD_HOST=crossthaw".to_owned(),
            "KBUILD_BUILD_VERSION=1".to_owned(),
            "LOCALVERSION=".to_owned(),
        ];
        let targets = targets.iter().map(|&target| target.to_owned());
        settings.into_iter().chain(targets).collect()
    }
}

/// The overlay's Kconfig files.
fn kconfig(overlay: &Overlay) -> impl Iterator<Item = (&Path, &[u8])> {
    overlay
        .iter()
        .filter(|(file, _)| file.file_name().is_some_and(|name| name == "Kconfig"))
        .map(|(file, bytes)| (file.as_path(), bytes.as_slice()))
}

/// Follows the log of a make.
struct Watch<'a> {
    /// Bytes that were seen.
    read: u64,
    /// A line whose end has not been written yet.
    line: Vec<u8>,
    compiled: u64,
    total: Option<u64>,
    progress: OnProgress<'a>,
}

impl Watch<'_> {
    fn look(&mut self, log: &File) {
        // What cannot be read now is read by the next look.
        let bytes = read_from(log, self.read).unwrap_or_default();
        self.read += bytes.len() as u64;
        let before = self.compiled;
        for byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.line(&String::from_utf8_lossy(&line));
            } else {
                self.line.push(byte);
            }
        }
        if self.compiled != before {
            self.tell();
        }
    }

    fn line(&mut self, line: &str) {
        if line.starts_with("  CC  ") || line.starts_with("  AS  ") {
            self.compiled += 1;
        } else if line.contains(": warning: ") {
            (self.progress)(Progress::Line(line.to_owned()));
        }
    }

    fn tell(&self) {
        (self.progress)(Progress::Step {
            what: "compile".to_owned(),
            done: self.compiled,
            total: self.total.map(|total| total.max(self.compiled)),
        });
    }
}

/// A log from an offset on; the position that the running make writes at stays where it is.
fn read_from(log: &File, offset: u64) -> io::Result<Vec<u8>> {
    let length = log.metadata()?.len().saturating_sub(offset);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    log.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// The first errors in a make's log, each line after a line break; files of the overlay by their names in the checkout.
fn diagnostics(log: &str, overlay: &Overlay) -> String {
    let lines: Vec<_> = log.lines().collect();
    let is_error = |line: &str| {
        [
            ": error: ",
            ": fatal error: ",
            ": undefined reference to ",
            "ERROR: ",
        ]
        .iter()
        .any(|mark| line.contains(mark))
    };
    // Source and caret, as gcc prints them, and notes that belong to the error.
    let belongs = |line: &str| {
        let line = line.trim_start_matches([' ', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
        line.starts_with('|') || line.contains(": note: ")
    };
    let mut shown = Vec::new();
    let errors = lines.iter().enumerate().filter(|(_, line)| is_error(line));
    for (at, &line) in errors.take(DIAGNOSTICS) {
        shown.push(line);
        let context = lines[at + 1..].iter().take(DIAGNOSTIC_LINES - 1);
        shown.extend(context.take_while(|line| belongs(line)));
    }
    if shown.is_empty() {
        return last_lines(log);
    }
    shown.iter().fold(String::new(), |all, line| {
        let ours = overlay
            .keys()
            .any(|file| line.starts_with(&format!("{}:", file.display())));
        let prefix = if ours { "kernels/checkpoint/" } else { "" };
        format!("{all}\n  {prefix}{line}")
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn check(log: &str, expected: &str) {
        let file = PathBuf::from("kernel/checkpoint/mm.c");
        let overlay = Overlay::from([(file, Vec::new())]);
        assert_eq!(diagnostics(log, &overlay), expected);
    }

    #[test]
    fn the_first_errors_are_shown_with_their_source() {
        check(
            "  CC      kernel/fork.o
kernel/checkpoint/mm.c: In function 'mm_save':
kernel/checkpoint/mm.c:12:5: error: 'x' undeclared
   12 |     x = 1;
      |     ^
kernel/checkpoint/mm.c:12:5: note: each undeclared identifier is reported only once
  CC      kernel/exit.o
kernel/exit.c:3:1: error: expected ';'
make[3]: *** [scripts/Makefile.build:229: kernel/checkpoint/mm.o] Error 1",
            "
  kernels/checkpoint/kernel/checkpoint/mm.c:12:5: error: 'x' undeclared
     12 |     x = 1;
        |     ^
  kernels/checkpoint/kernel/checkpoint/mm.c:12:5: note: each undeclared identifier is reported only once
  kernel/exit.c:3:1: error: expected ';'",
        );
    }

    #[test]
    fn the_linker_is_heard() {
        check(
            "  LD      .tmp_vmlinux1
ld: kernel/checkpoint/mm.o: in function `mm_save':
mm.c:(.text+0x12): undefined reference to `gone'
make: *** [Makefile:224: __sub-make] Error 2",
            "\n  mm.c:(.text+0x12): undefined reference to `gone'",
        );
    }

    #[test]
    fn without_a_known_error_the_end_is_shown() {
        check("one\ntwo", "\n  one\n  two");
    }

    #[test]
    fn the_watch_counts_whole_lines_and_passes_warnings_on() {
        let told = std::sync::Mutex::new(Vec::new());
        let progress = |event| told.lock().unwrap().push(event);
        let mut watch = Watch {
            read: 0,
            line: Vec::new(),
            compiled: 0,
            total: Some(1),
            progress: &progress,
        };
        let log = tempfile::tempfile().unwrap();
        for (text, compiled) in [("  CC      a.o\n  C", 1), ("C      b.o\n  LD      c\n", 2)] {
            io::Write::write_all(&mut &log, text.as_bytes()).unwrap();
            watch.look(&log);
            assert_eq!(watch.compiled, compiled);
        }
        io::Write::write_all(&mut &log, b"a.c:1:1: warning: odd\n").unwrap();
        watch.look(&log);
        let step = |done, total| Progress::Step {
            what: "compile".to_owned(),
            done,
            total: Some(total),
        };
        let line = Progress::Line("a.c:1:1: warning: odd".to_owned());
        assert_eq!(*told.lock().unwrap(), [step(1, 1), step(2, 2), line]);
    }
}
