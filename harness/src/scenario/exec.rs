//! Programs that know nothing of the project: how one is started, when it is ready, and how it must end.

mod read;

use std::path::PathBuf;

use serde::Serialize;

use super::template::{self, Template};
use crate::arch::Arch;

#[cfg(test)]
pub(super) use read::KEYS;
pub(super) use read::exec;

/// A place in a scenario file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The file.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// Where the program is from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A file of this machine, built elsewhere.
    Program(PathBuf),
    /// A path inside the root file system.
    InRootfs(String),
    /// A C source of this machine, compiled for the case's architecture.
    Source {
        /// The source.
        file: PathBuf,
        /// Whether it asks for a loader, which must then be in a root file system.
        dynamic: bool,
    },
}

/// What the program's root directory is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rootfs {
    /// This folder.
    Folder(PathBuf),
    /// The program's loader and these libraries of the cross compiler.
    Libraries(Vec<String>),
}

/// A file or a folder that the program needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Needed {
    /// On this machine.
    pub from: PathBuf,
    /// Below the folder in which the program starts, or, with a slash first, in the root file system.
    pub to: String,
    /// Permission bits; the file's own if `None`.
    pub mode: Option<u32>,
    /// User and group; the program's if `None`.
    pub owner: Option<(u32, u32)>,
    /// Where it is named.
    #[serde(skip)]
    pub site: Site,
}

/// When it is ready: all of this has happened. Paths are like those of [`Needed::to`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ready {
    /// The file exists.
    pub file: Option<String>,
    /// A line of its output contains this.
    pub line: Option<String>,
    /// The file names a process, which is the root of the tree.
    pub pidfile: Option<String>,
}

/// How it is told to go on: all of this is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resume {
    /// The root of the tree gets this signal.
    pub signal: Option<i32>,
    /// The file is made.
    pub touch: Option<String>,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// By itself, with this status.
    Exit(u8),
    /// By this signal.
    Signal(i32),
}

/// A file that must be there afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Which, like [`Needed::to`].
    pub path: String,
    /// What must be in it; anything if `None`.
    pub contains: Option<String>,
}

/// How it must end, in the original and after the restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ending {
    /// The root of the tree.
    pub end: End,
    /// A file that it leaves.
    pub file: Option<Left>,
}

/// A program and all that is said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exec {
    /// Where it is from.
    pub origin: Origin,
    /// Arguments, without its own name.
    pub args: Vec<String>,
    /// Environment, beside `PATH`.
    pub env: Vec<(String, String)>,
    /// User and group; root if `None`.
    pub user: Option<(u32, u32)>,
    /// What it needs.
    pub files: Vec<Needed>,
    /// Its root directory; the guest's if `None`.
    pub rootfs: Option<Rootfs>,
    /// A mount namespace of its own.
    pub mount: bool,
    /// A network namespace of its own.
    pub network: bool,
    /// When it is ready.
    pub ready: Ready,
    /// How it is told to go on.
    pub resume: Resume,
    /// How it must end.
    pub expect: Ending,
    /// Where the program is named.
    #[serde(skip)]
    pub site: Site,
}

impl Ending {
    /// It exits with 0.
    pub(in crate::scenario) fn usual() -> Self {
        Self {
            end: End::Exit(0),
            file: None,
        }
    }
}

impl Exec {
    /// The program of one case: `{arch}` and the axes replaced by their values.
    pub(in crate::scenario) fn fill(&self, arch: Arch, axes: &[(String, String)]) -> Self {
        let mut values: Vec<(&str, &str)> = axes
            .iter()
            .map(|(axis, value)| (axis.as_str(), value.as_str()))
            .collect();
        values.push(("arch", arch.name()));
        let fill = |text: &mut String| *text = Template::new(text).fill(&values);
        let fill_path = |path: &mut PathBuf| {
            // It was made from text, so nothing is lost.
            *path = Template::new(&path.to_string_lossy()).fill(&values).into();
        };
        let mut it = self.clone();
        // All members are named, so that a new one is not forgotten.
        let Self {
            origin,
            args,
            env,
            user: _,
            files,
            rootfs,
            mount: _,
            network: _,
            ready,
            resume,
            expect,
            site: _,
        } = &mut it;
        match origin {
            Origin::Program(path) | Origin::Source { file: path, .. } => fill_path(path),
            Origin::InRootfs(path) => fill(path),
        }
        args.iter_mut().for_each(fill);
        for (_, value) in env {
            fill(value);
        }
        for file in files {
            fill_path(&mut file.from);
            fill(&mut file.to);
        }
        if let Some(Rootfs::Folder(path)) = rootfs {
            fill_path(path);
        }
        let Ready {
            file,
            line,
            pidfile,
        } = ready;
        [file, line, pidfile, &mut resume.touch]
            .into_iter()
            .flatten()
            .for_each(fill);
        if let Some(Left { path, contains }) = &mut expect.file {
            fill(path);
            contains.iter_mut().for_each(fill);
        }
        it
    }

    /// Does any text of it depend on this axis?
    pub(in crate::scenario) fn uses(&self, axis: &str) -> bool {
        let mut texts: Vec<String> = self.args.clone();
        texts.extend(self.env.iter().map(|(_, value)| value.clone()));
        match &self.origin {
            Origin::Program(path) | Origin::Source { file: path, .. } => {
                texts.push(path.to_string_lossy().into_owned());
            }
            Origin::InRootfs(path) => texts.push(path.clone()),
        }
        if let Some(Rootfs::Folder(path)) = &self.rootfs {
            texts.push(path.to_string_lossy().into_owned());
        }
        for file in &self.files {
            texts.push(file.from.to_string_lossy().into_owned());
            texts.push(file.to.clone());
        }
        let Ready {
            file,
            line,
            pidfile,
        } = &self.ready;
        texts.extend(
            [file, line, pidfile, &self.resume.touch]
                .into_iter()
                .flatten()
                .cloned(),
        );
        if let Some(Left { path, contains }) = &self.expect.file {
            texts.push(path.clone());
            texts.extend(contains.clone());
        }
        texts.iter().any(|text| template::uses(text, axis))
    }
}
