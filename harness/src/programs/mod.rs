//! Programs that know nothing of the project: found or compiled, checked, and laid out for the guest.
//!
//! A program is *staged* before anything boots: what is wrong with it is the user's to repair, and is told with the place in the scenario file.

mod check;
mod compile;
mod layout;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use crossthaw_protocol::{
    Caller, Pids, Program, ROOTFS_FOLDER, Readiness, STDERR_FILE, STDOUT_FILE, Surroundings,
};

use crate::arch::Arch;
use crate::build::BuildContext;
use crate::process::ProcessError;
use crate::qemu::Folder;
use crate::scenario::{Case, Ending, Exec, Origin, Resume, Rootfs, Site, Subject};
use crate::store::StoreError;

pub use layout::MOST_BYTES;

/// The variable that a program has beside those of the scenario.
const PATH: (&str, &str) = ("PATH", "/bin:/usr/bin:/sbin:/usr/sbin");

/// All that is needed to run a program in a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// What the agent starts.
    pub program: Program,
    /// What is in its folder, or its root file system, at the start.
    pub folder: Folder,
    /// When it is ready.
    pub ready: Readiness,
    /// How it is told to go on.
    pub resume: Resume,
    /// How it must end; the file's path is in the scenario's folder.
    pub expect: Ending,
    /// Paths of its output in the scenario's folder.
    pub output: [String; 2],
}

/// Why a program cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// Something that the scenario file names is not what it should be.
    #[error("{}:{}:{}: {message}", .site.file.display(), .site.line, .site.column)]
    Wrong {
        /// Where it is named.
        site: Box<Site>,
        /// What is wrong, and the remedy.
        message: String,
    },
    /// The compiler could not be started, or the run was cancelled.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl StageError {
    fn wrong(site: &Site, message: impl Into<String>) -> Self {
        Self::Wrong {
            site: Box::new(site.clone()),
            message: message.into(),
        }
    }

    fn file(site: &Site, path: &Path, error: &io::Error) -> Self {
        Self::wrong(site, format!("cannot read {}: {error}", path.display()))
    }
}

/// Stage the programs of these cases; what is wrong is told for all of them, and once where several cases have it.
pub fn check(ctx: &BuildContext, cases: &[Case]) -> Result<(), Vec<StageError>> {
    let mut wrong: Vec<StageError> = Vec::new();
    for case in cases {
        let Subject::Exec(exec) = &case.subject else {
            continue;
        };
        if let Err(error) = stage(ctx, case.arch, exec)
            && !wrong.iter().any(|it| it.to_string() == error.to_string())
        {
            wrong.push(error);
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Find or compile a program, check that the architecture can run it, and lay out what it needs.
pub fn stage(ctx: &BuildContext, arch: Arch, exec: &Exec) -> Result<Staged, StageError> {
    let Exec {
        origin,
        args,
        env,
        user,
        files,
        rootfs,
        mount: _,
        network: _,
        ready,
        resume,
        expect,
        site,
    } = exec;
    let program = match origin {
        Origin::Program(path) => Some(path.clone()),
        Origin::InRootfs(_) => None,
        Origin::Source { file, dynamic } => {
            Some(compile::compile(ctx, arch, file, *dynamic, site)?)
        }
    };
    let mut layout = layout::Layout::new(rootfs.is_some(), *user);
    if let Some(Rootfs::Folder(folder)) = rootfs {
        layout.rootfs(folder, site)?;
    }
    let path = match (&program, origin) {
        (Some(path), _) => {
            let bytes =
                std::fs::read(path).map_err(|error| StageError::file(site, path, &error))?;
            let name = match origin {
                Origin::Source { file, .. } => file.file_stem(),
                _ => path.file_name(),
            };
            let name = name.unwrap_or_default().to_string_lossy().into_owned();
            let interpreter = check::check(arch, &path_shown(origin, path), &bytes, site)?;
            check::can_load(interpreter.as_deref(), rootfs.as_ref(), site)?;
            if let (Some(Rootfs::Libraries(names)), Some(interpreter)) = (rootfs, &interpreter) {
                layout.link("lib64", "lib", site)?;
                for (at, file) in compile::libraries(arch, interpreter, names, site)? {
                    layout.copy(&file, &at, Some(0o755), Some((0, 0)), site)?;
                }
            }
            layout.program(&name, bytes, site)?;
            format!("./{name}")
        }
        (None, Origin::InRootfs(inside)) => {
            if let Some(Rootfs::Folder(folder)) = rootfs {
                let found = check::resolve(folder, inside)
                    .map_err(|message| StageError::wrong(site, message))?;
                let bytes = std::fs::read(&found)
                    .map_err(|error| StageError::file(site, &found, &error))?;
                let interpreter = check::check(arch, inside, &bytes, site)?;
                check::can_load(interpreter.as_deref(), rootfs.as_ref(), site)?;
            } else {
                return Err(StageError::wrong(
                    site,
                    format!(
                        "{inside} is in no folder: a root file system of libraries has no programs"
                    ),
                ));
            }
            inside.clone()
        }
        (None, _) => unreachable!("only what is in the root file system has no file of its own"),
    };
    for file in files {
        layout.copy(&file.from, &file.to, file.mode, file.owner, &file.site)?;
    }
    let inside = |path: &String| in_scenario(rootfs.is_some(), path);
    let [stdout, stderr] = [STDOUT_FILE, STDERR_FILE].map(|name| inside(&name.to_owned()));
    let mut argv = vec![path.clone()];
    argv.extend(args.iter().cloned());
    let mut expect = expect.clone();
    if let Some(file) = &mut expect.file {
        file.path = inside(&file.path);
    }
    Ok(Staged {
        program: Program {
            path,
            argv,
            env: variables(env),
            user: *user,
            surroundings: surroundings(exec),
        },
        folder: layout.finish(site)?,
        ready: Readiness {
            file: ready.file.as_ref().map(inside),
            line: ready.line.clone().map(|text| (stdout.clone(), text)),
            pidfile: ready.pidfile.as_ref().map(inside),
        },
        resume: Resume {
            signal: resume.signal,
            touch: resume.touch.as_ref().map(inside),
        },
        expect,
        output: [stdout, stderr],
    })
}

/// The scenario's variables, and `PATH`.
fn variables(env: &[(String, String)]) -> Vec<(String, String)> {
    let mut variables = env.to_vec();
    if !variables.iter().any(|(name, _)| name == PATH.0) {
        variables.push((PATH.0.to_owned(), PATH.1.to_owned()));
    }
    variables
}

/// What the tree has of its own; the same at the start and at the restart.
pub fn surroundings(exec: &Exec) -> Surroundings {
    Surroundings {
        mount: exec.mount,
        network: exec.network,
        rootfs: exec.rootfs.is_some(),
        caller: Caller::Root,
        pids: Pids::Image,
    }
}

/// A path of the scenario file in the scenario's folder of the guest, which is the root directory if there is a root file system.
fn in_scenario(rootfs: bool, path: &str) -> String {
    match path.strip_prefix('/') {
        Some(absolute) => absolute.to_owned(),
        None if rootfs => format!("{ROOTFS_FOLDER}/{path}"),
        None => path.to_owned(),
    }
}

/// What a message calls the program.
fn path_shown(origin: &Origin, path: &Path) -> String {
    let shown: &PathBuf = match origin {
        Origin::Source { file, .. } => file,
        _ => return path.display().to_string(),
    };
    shown.display().to_string()
}
