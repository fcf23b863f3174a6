//! Kernel sources: found, named by their contents, and unpacked.
//!
//! A source of the user's is read, never written to.

use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::build::{BuildContext, OnProgress, Progress};
use crate::kernel::KernelError;
use crate::kernel::tools::{Tools, last_lines, read, run, text};
use crate::store::{Key, KeyBuilder, Store, StoreError, remove_dir, walk};

/// Debian's package of the kernel source.
pub const PACKAGE: &str = "linux-source-6.12";

/// Where a kernel's source comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Debian's package `linux-source-6.12`: the installed one, else the one that was fetched before, else fetched now.
    Debian,
    /// A tarball, a git tree (as it is now, with what is not committed) or any other tree.
    Path(PathBuf),
}

/// A source that was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Names its contents.
    pub(super) key: Key,
    /// Names the place that it came from, so that a changed source does not take up a second work tree.
    pub(super) place: String,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Tarball(PathBuf),
    /// A folder and the files in it that belong to the source.
    Tree(PathBuf, Vec<PathBuf>),
}

/// Find a source. Quick unless Debian's has to be fetched, or a big tree or tarball is seen for the first time.
pub(super) fn find(
    ctx: &BuildContext,
    tools: &Tools,
    source: &Source,
    progress: OnProgress<'_>,
) -> Result<Found, KernelError> {
    match source {
        Source::Debian => debian(ctx, tools, progress),
        Source::Path(path) => {
            let wrong = |why| KernelError::Source {
                path: path.clone(),
                why,
            };
            let path = path
                .canonicalize()
                .map_err(|_| wrong("is not there: expected a tarball or a tree"))?;
            let (key, form) = if path.is_file() {
                (file_key(&ctx.store, &path)?, Form::Tarball(path.clone()))
            } else if !path.join("Kconfig").is_file() {
                return Err(wrong("is no kernel tree: it has no Kconfig"));
            } else if path.join(".git").exists() {
                git_tree(tools, &path)?
            } else {
                plain_tree(&ctx.store, &path)?
            };
            let place = KeyBuilder::new("place").bytes("path", path.as_os_str().as_bytes());
            Ok(Found {
                key,
                place: place.finish().short().to_owned(),
                form,
            })
        }
    }
}

impl Found {
    /// Put the source into an empty folder.
    pub(super) fn unpack(
        &self,
        ctx: &BuildContext,
        tools: &Tools,
        into: &Path,
    ) -> Result<(), KernelError> {
        match &self.form {
            Form::Tarball(tarball) => {
                let argv = [
                    &tools.tar,
                    "--extract",
                    "--no-same-owner",
                    "--strip-components=1",
                    "--file",
                    text(tarball)?,
                ];
                run(ctx, &argv, into)?.success()?;
                if !into.join("Kconfig").is_file() {
                    return Err(KernelError::Source {
                        path: tarball.clone(),
                        why: "holds no kernel tree: there is no Kconfig in its one top folder",
                    });
                }
                Ok(())
            }
            Form::Tree(root, files) => files.iter().try_for_each(|name| {
                if ctx.cancel.is_cancelled() {
                    return Err(KernelError::Cancelled);
                }
                copy(&root.join(name), &into.join(name)).map_err(KernelError::from)
            }),
        }
    }
}

/// Copy a file with its permissions, or a link.
fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    let failed = |error| StoreError::file(to, "copy the source to", error);
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    if from.is_symlink() {
        let target = fs::read_link(from).map_err(failed)?;
        std::os::unix::fs::symlink(target, to).map_err(failed)
    } else {
        fs::copy(from, to).map(drop).map_err(failed)
    }
}

fn debian(
    ctx: &BuildContext,
    tools: &Tools,
    progress: OnProgress<'_>,
) -> Result<Found, KernelError> {
    let key = |version: &str| {
        KeyBuilder::new("linux-source")
            .text("package", PACKAGE)
            .text("version", version)
            .finish()
    };
    let found = |key, tarball| Found {
        key,
        place: "debian".to_owned(),
        form: Form::Tarball(tarball),
    };
    if tools.installed.is_file() {
        let argv = [
            &tools.dpkg_query,
            "--show",
            "--showformat=${Version}",
            PACKAGE,
        ];
        let version = read(&argv, Path::new("/"))?;
        let version = String::from_utf8_lossy(&version);
        return Ok(found(key(&version), tools.installed.clone()));
    }
    // The version moves. Whoever wants the newest removes this note or installs the package.
    let noted = || -> Result<Option<Found>, StoreError> {
        let Some(version) = ctx.store.note(PACKAGE) else {
            return Ok(None);
        };
        let key = key(&version);
        let artifact = ctx.store.get("linux-source", &key)?;
        Ok(artifact.map(|artifact| found(key, artifact.dir.join("linux.tar"))))
    };
    if let Some(found) = noted()? {
        return Ok(found);
    }
    let work = ctx.store.work_dir("fetch")?;
    if let Some(found) = noted()? {
        // Another run fetched it while this one waited for the folder.
        return Ok(found);
    }
    progress(Progress::Started {
        what: format!("fetch {PACKAGE}"),
    });
    let package = fetch(ctx, tools, work.path())?;
    let version = version_of(&package).ok_or_else(|| KernelError::Source {
        path: package.clone(),
        why: "is not named as a Debian package",
    })?;
    let key = key(&version);
    let artifact = ctx.store.get_or_build("linux-source", &key, |dir| {
        unwrap_package(ctx, tools, &package, dir)
    })?;
    ctx.store.set_note(PACKAGE, &version)?;
    remove_dir(work.path())?;
    Ok(found(key, artifact.dir.join("linux.tar")))
}

/// Fetch Debian's package into a folder, which is emptied first.
fn fetch(ctx: &BuildContext, tools: &Tools, dir: &Path) -> Result<PathBuf, KernelError> {
    remove_dir(dir)?;
    fs::create_dir(dir).map_err(|error| StoreError::file(dir, "make", error))?;
    // Neither root nor a lock on apt's state is needed.
    let ended = run(ctx, &[&tools.apt_get, "download", PACKAGE], dir)?;
    let package = walk(dir)?
        .into_iter()
        .find(|name| name.extension().is_some_and(|extension| extension == "deb"));
    match package {
        Some(name) if ended.status.success() => Ok(dir.join(name)),
        _ => Err(KernelError::Fetch {
            package: PACKAGE,
            output: last_lines(&ended.output),
        }),
    }
}

/// The version in a package's file name, `NAME_VERSION_ARCH.deb`.
fn version_of(package: &Path) -> Option<String> {
    let name = package.file_name()?.to_str()?;
    // apt writes the colon of an epoch as %3a.
    Some(name.split('_').nth(1)?.replace("%3a", ":"))
}

/// Take the tarball out of Debian's package; tar finds out how it is compressed.
fn unwrap_package(
    ctx: &BuildContext,
    tools: &Tools,
    package: &Path,
    dir: &Path,
) -> Result<(), KernelError> {
    let whole = dir.join("package");
    let argv = [&tools.dpkg_deb, "--extract", text(package)?, text(&whole)?];
    run(ctx, &argv, dir)?.success()?;
    let tarball = whole.join(format!("usr/src/{PACKAGE}.tar.xz"));
    fs::rename(&tarball, dir.join("linux.tar"))
        .map_err(|error| StoreError::file(&tarball, "take from the package", error))?;
    Ok(remove_dir(&whole)?)
}

/// Hash of a file; quick if it has not changed since the last time.
fn file_key(store: &Store, path: &Path) -> Result<Key, StoreError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let name: Vec<_> = path.file_name().map(PathBuf::from).into_iter().collect();
    remembered(store, folder, &name, || {
        let hashed = KeyBuilder::new("tarball").file("contents", path)?;
        Ok(hashed.finish())
    })
}

/// Hash of any tree; quick if no file of it has changed since the last time.
fn plain_tree(store: &Store, root: &Path) -> Result<(Key, Form), StoreError> {
    let files = walk(root)?;
    let key = remembered(store, root, &files, || {
        let hashed = KeyBuilder::new("tree").files("files", root, &files)?;
        Ok(hashed.finish())
    })?;
    Ok((key, Form::Tree(root.to_owned(), files)))
}

/// A key that was computed before for files with the same names, sizes, times and inodes, else computed now.
fn remembered(
    store: &Store,
    root: &Path,
    files: &[PathBuf],
    compute: impl FnOnce() -> Result<Key, StoreError>,
) -> Result<Key, StoreError> {
    let mut stamps = KeyBuilder::new("stamps").bytes("root", root.as_os_str().as_bytes());
    for name in files {
        let path = root.join(name);
        let metadata = path
            .symlink_metadata()
            .map_err(|error| StoreError::file(&path, "read", error))?;
        let numbers = [
            metadata.size().cast_signed(),
            metadata.ino().cast_signed(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec(),
        ];
        stamps = stamps
            .bytes("name", name.as_os_str().as_bytes())
            .bytes("numbers", &numbers.map(i64::to_le_bytes).concat());
    }
    let note = format!("source-{}", stamps.finish());
    if let Some(key) = store.note(&note).as_deref().and_then(Key::parse) {
        return Ok(key);
    }
    let key = compute()?;
    store.set_note(&note, key.as_str())?;
    Ok(key)
}

/// A git tree: its commit, what differs from it, and files that git neither has nor ignores.
fn git_tree(tools: &Tools, root: &Path) -> Result<(Key, Form), KernelError> {
    let git = |arguments: &[&str]| {
        let argv = [&[tools.git.as_str()], arguments].concat();
        read(&argv, root)
    };
    let files = |arguments: &[&str]| -> Result<Vec<PathBuf>, KernelError> {
        let listed = git(&[&["ls-files", "-z"], arguments].concat())?;
        let names = listed
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty());
        let paths = names.map(|name| PathBuf::from(std::ffi::OsString::from_vec(name.to_vec())));
        // A file that was deleted and not committed is listed all the same.
        Ok(paths
            .filter(|name| {
                root.join(name)
                    .symlink_metadata()
                    .is_ok_and(|it| !it.is_dir())
            })
            .collect())
    };
    let head = git(&["rev-parse", "HEAD"])?;
    let diff = git(&["diff", "--binary", "--no-ext-diff", "--no-textconv", "HEAD"])?;
    let untracked = ["--others", "--exclude-standard"];
    let key = KeyBuilder::new("git")
        .bytes("head", &head)
        .bytes("diff", &diff)
        .files("untracked", root, &files(&untracked)?)?
        .finish();
    let all = files(&[&["--cached"], &untracked[..]].concat())?;
    Ok((key, Form::Tree(root.to_owned(), all)))
}
