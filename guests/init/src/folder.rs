//! The scenario's folder, to the host and back.
//!
//! tmpfs lists a directory's newest entry first and numbers entries in the order in which they are made.
//! Entries are sent oldest first, so that laying them out again in that order gives each entry its number back,
//! and a half-read directory goes on where it was.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use crossthaw_protocol::{Entry, EntryKind, Reply, SCENARIO_DIR};
use rustix::fs::{
    AtFlags, CWD, Mode, Timespec, Timestamps, XattrFlags, lgetxattr, lgetxattr_query, llistxattr,
    llistxattr_query, lsetxattr, mkfifoat, utimensat,
};
use rustix::io::Errno;

use crate::error::{AgentError, Context, Result};
use crate::link::Link;
use crate::mounts;

/// Send all entries, parents first.
pub(crate) fn pull<P: Read + Write>(link: &mut Link<P>) -> Result<()> {
    let root = Path::new(SCENARIO_DIR);
    for entry in list(root)? {
        let regular = matches!(entry.kind, EntryKind::Regular { .. });
        let path = root.join(&entry.path);
        let file = if regular {
            Some(File::open(&path).context(|| format!("open {}", path.display()))?)
        } else {
            None
        };
        link.send(&Reply::Entry { entry })?;
        if let Some(file) = file {
            link.send_stream(file)?;
        }
    }
    Ok(())
}

/// All entries below `root`: a directory's own, oldest first, each followed by what it holds.
fn list(root: &Path) -> Result<Vec<Entry>> {
    let mut listing = Listing::default();
    listing.below(root, Path::new(""))?;
    Ok(listing.all)
}

/// Entries found so far.
#[derive(Default)]
struct Listing {
    all: Vec<Entry>,
    /// The first name of what has several, by inode.
    named: BTreeMap<u64, String>,
}

fn look_at(path: &Path) -> Result<Metadata> {
    fs::symlink_metadata(path).context(|| format!("look at {}", path.display()))
}

impl Listing {
    fn below(&mut self, root: &Path, folder: &Path) -> Result<()> {
        let path = root.join(folder);
        let here = look_at(&path)?.dev();
        let names = fs::read_dir(&path).and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.file_name()))
                .collect::<std::io::Result<Vec<_>>>()
        });
        let mut names = names.context(|| format!("list {}", path.display()))?;
        names.reverse();
        for name in names {
            let relative = folder.join(name);
            let path = root.join(&relative);
            let meta = look_at(&path)?;
            let mut entry = describe(&path, &relative, &meta)?;
            if meta.dev() != here {
                // Only the place on which something is mounted travels: the other guest mounts there anew.
                self.all.push(Entry {
                    mode: 0o755,
                    uid: 0,
                    gid: 0,
                    mtime_ns: 0,
                    attributes: Vec::new(),
                    ..entry
                });
                continue;
            }
            if entry.kind == EntryKind::Directory {
                self.all.push(entry);
                self.below(root, &relative)?;
                continue;
            }
            if meta.nlink() > 1 {
                if let Some(first) = self.named.get(&meta.ino()) {
                    entry.kind = EntryKind::Link { to: first.clone() };
                } else {
                    self.named.insert(meta.ino(), entry.path.clone());
                }
            }
            self.all.push(entry);
        }
        Ok(())
    }
}

fn utf8(path: &Path) -> Result<String> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| AgentError::Refused(format!("{} is not UTF-8", path.display())))
}

fn describe(path: &Path, relative: &Path, meta: &Metadata) -> Result<Entry> {
    let kind = match meta.mode() & libc::S_IFMT {
        libc::S_IFDIR => EntryKind::Directory,
        libc::S_IFREG => EntryKind::Regular { size: meta.len() },
        libc::S_IFLNK => EntryKind::Symlink {
            target: utf8(
                &fs::read_link(path).context(|| format!("read link {}", path.display()))?,
            )?,
        },
        libc::S_IFIFO => EntryKind::Fifo,
        other => {
            return Err(AgentError::Refused(format!(
                "{} has type {other:#o}, which does not travel",
                path.display()
            )));
        }
    };
    Ok(Entry {
        path: utf8(relative)?,
        kind,
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime_ns: meta
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(meta.mtime_nsec()),
        attributes: attributes(path)?,
    })
}

/// The extended attributes, by name; none where the file system has no such thing.
pub(crate) fn attributes(path: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let what = || format!("read the extended attributes of {}", path.display());
    let len = match llistxattr_query(path) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
        len => len.context(what)?,
    };
    let mut names = vec![0_u8; len];
    let len = llistxattr(path, &mut names[..]).context(what)?;
    let mut all = Vec::new();
    for name in names[..len].split(|&byte| byte == 0) {
        if name.is_empty() {
            continue;
        }
        let len = lgetxattr_query(path, name).context(what)?;
        let mut value = vec![0_u8; len];
        let len = lgetxattr(path, name, &mut value[..]).context(what)?;
        value.truncate(len);
        all.push((String::from_utf8_lossy(name).into_owned(), value));
    }
    all.sort();
    Ok(all)
}

/// The entry's place below `root`; nothing outside.
fn place(root: &Path, entry: &Entry) -> Result<PathBuf> {
    let relative = Path::new(&entry.path);
    if relative.components().next().is_none()
        || !relative
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
    {
        return Err(AgentError::Refused(format!(
            "{:?} is no place in a folder",
            entry.path
        )));
    }
    Ok(root.join(relative))
}

/// Replace the folder by these entries and those of `more` further requests.
pub(crate) fn push<P: Read + Write>(
    link: &mut Link<P>,
    mut entries: Vec<Entry>,
    more: u32,
) -> Result<()> {
    let renewed = mounts::renew_scenario();
    for _ in 0..more {
        entries.extend(link.more_entries()?);
    }
    lay_out(link, Path::new(SCENARIO_DIR), &entries, renewed)
}

/// Lay the entries out below `root`; after a failure, or when `outcome` is one already, the streams are still taken to their end.
fn lay_out<P: Read + Write>(
    link: &mut Link<P>,
    root: &Path,
    entries: &[Entry],
    mut outcome: Result<()>,
) -> Result<()> {
    for entry in entries {
        let made = match &outcome {
            Ok(()) => make(root, entry),
            Err(_) => Ok(None),
        };
        let mut file = match made {
            Ok(file) => file,
            Err(error) => {
                outcome = Err(error);
                None
            }
        };
        if matches!(entry.kind, EntryKind::Regular { .. }) {
            let written = link.take_stream(|bytes| match &mut file {
                Some(file) => file
                    .write_all(bytes)
                    .context(|| format!("write {}", entry.path)),
                None => Ok(()),
            });
            match written {
                Err(AgentError::Interrupted) => return written,
                Err(_) if outcome.is_ok() => outcome = written,
                _ => {}
            }
        }
    }
    outcome?;
    // A directory's time changes with each entry that is made in it: last come the parents.
    for entry in entries.iter().rev() {
        finish(&place(root, entry)?, entry)?;
    }
    Ok(())
}

/// Make an entry; a regular file is returned open.
fn make(root: &Path, entry: &Entry) -> Result<Option<File>> {
    let path = place(root, entry)?;
    let what = || format!("make {}", path.display());
    match &entry.kind {
        EntryKind::Directory => fs::create_dir(&path).context(what)?,
        EntryKind::Symlink { target } => symlink(target, &path).context(what)?,
        EntryKind::Link { to } => {
            let first = Entry {
                path: to.clone(),
                ..entry.clone()
            };
            fs::hard_link(place(root, &first)?, &path).context(what)?;
        }
        EntryKind::Fifo => mkfifoat(CWD, &path, Mode::from_raw_mode(0o600)).context(what)?,
        EntryKind::Regular { .. } => {
            return File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .context(what)
                .map(Some);
        }
    }
    Ok(None)
}

/// Set owner, mode, extended attributes and time.
fn finish(path: &Path, entry: &Entry) -> Result<()> {
    std::os::unix::fs::lchown(path, Some(entry.uid), Some(entry.gid))
        .context(|| format!("change the owner of {}", path.display()))?;
    if !matches!(entry.kind, EntryKind::Symlink { .. }) {
        fs::set_permissions(path, fs::Permissions::from_mode(entry.mode))
            .context(|| format!("set the mode of {}", path.display()))?;
    }
    // After the owner, whose change takes capabilities away.
    for (name, value) in &entry.attributes {
        lsetxattr(path, name, value, XattrFlags::empty())
            .context(|| format!("set the attribute {name} of {}", path.display()))?;
    }
    let time = Timespec {
        tv_sec: entry.mtime_ns.div_euclid(1_000_000_000),
        tv_nsec: entry.mtime_ns.rem_euclid(1_000_000_000) as _,
    };
    utimensat(
        CWD,
        path,
        &Timestamps {
            last_access: time,
            last_modification: time,
        },
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .context(|| format!("set the time of {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io;

    use crossthaw_protocol::{Request, frame};

    use super::*;

    /// A wire that replays chunks for [`lay_out`] and forgets what is sent.
    struct Chunks(io::Cursor<Vec<u8>>);

    impl Chunks {
        fn new(streams: &[&[u8]]) -> Link<Self> {
            let mut wire = Vec::new();
            frame::send(&mut wire, 1, &Request::Hello { version: 1 }).unwrap();
            for stream in streams {
                frame::send(
                    &mut wire,
                    1,
                    &Request::Chunk {
                        bytes: stream.to_vec(),
                    },
                )
                .unwrap();
                if !stream.is_empty() {
                    frame::send(&mut wire, 1, &Request::Chunk { bytes: Vec::new() }).unwrap();
                }
            }
            let mut link = Link::new(Self(io::Cursor::new(wire)));
            link.request().unwrap();
            link
        }
    }

    impl Read for Chunks {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.0.read(out)
        }
    }

    impl Write for Chunks {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            Ok(data.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn entry(path: &str, kind: EntryKind, mode: u32) -> Entry {
        let (uid, gid) = (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        );
        Entry {
            path: path.to_owned(),
            kind,
            mode,
            uid,
            gid,
            mtime_ns: 1_234_567_890_123_456_789,
            attributes: Vec::new(),
        }
    }

    #[test]
    fn a_folder_that_is_laid_out_lists_as_it_was_sent() {
        let scratch = tempfile::tempdir().unwrap();
        let some = lsetxattr(scratch.path(), "user.some", b"", XattrFlags::empty());
        // A tmpfs before 6.6 has none.
        let attributes = match some {
            Err(Errno::NOTSUP) => Vec::new(),
            outcome => {
                outcome.unwrap();
                vec![("user.colour".to_owned(), b"blue\0".to_vec())]
            }
        };
        let sent = [
            entry("d", EntryKind::Directory, 0o750),
            entry("d/f", EntryKind::Regular { size: 3 }, 0o640),
            entry("d/empty", EntryKind::Regular { size: 0 }, 0o400),
            entry(
                "l",
                EntryKind::Symlink {
                    target: "d/f".to_owned(),
                },
                0o777,
            ),
            entry("p", EntryKind::Fifo, 0o622),
            Entry {
                attributes,
                ..entry("with", EntryKind::Regular { size: 0 }, 0o600)
            },
        ];
        lay_out(
            &mut Chunks::new(&[b"abc", b"", b""]),
            scratch.path(),
            &sent,
            Ok(()),
        )
        .unwrap();
        assert_eq!(fs::read(scratch.path().join("l")).unwrap(), b"abc");
        // Other file systems than the guest's tmpfs list in an order of their own.
        let mut seen = list(scratch.path()).unwrap();
        seen.sort_by(|a, b| a.path.cmp(&b.path));
        let mut sent = sent.to_vec();
        sent.sort_by(|a, b| a.path.cmp(&b.path));
        assert_eq!(seen, sent);
    }

    #[test]
    fn a_file_with_several_names_has_them_again() {
        let scratch = tempfile::tempdir().unwrap();
        let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
        fs::create_dir_all(from.join("d")).unwrap();
        fs::write(from.join("one"), "abc").unwrap();
        fs::hard_link(from.join("one"), from.join("d/two")).unwrap();
        let sent = list(&from).unwrap();
        let links = sent
            .iter()
            .filter(|entry| matches!(entry.kind, EntryKind::Link { .. }));
        assert_eq!(links.count(), 1);
        fs::create_dir(&to).unwrap();
        lay_out(&mut Chunks::new(&[b"abc"]), &to, &sent, Ok(())).unwrap();
        let inode = |name: &str| fs::metadata(to.join(name)).unwrap().ino();
        assert_eq!(inode("one"), inode("d/two"));
        assert_eq!(fs::read(to.join("one")).unwrap(), b"abc");
    }

    #[test]
    fn entries_outside_the_folder_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let out = EntryKind::Link {
            to: "../x".to_owned(),
        };
        let outcome = lay_out(
            &mut Chunks::new(&[]),
            scratch.path(),
            &[entry("x", out, 0o600)],
            Ok(()),
        );
        assert!(matches!(outcome, Err(AgentError::Refused(_))));
        for path in ["../x", "/etc/x", "", "."] {
            let outcome = lay_out(
                &mut Chunks::new(&[]),
                scratch.path(),
                &[entry(path, EntryKind::Directory, 0o755)],
                Ok(()),
            );
            assert!(matches!(outcome, Err(AgentError::Refused(_))), "{path}");
        }
    }

    #[test]
    fn what_follows_a_failure_is_still_taken_from_the_wire() {
        let scratch = tempfile::tempdir().unwrap();
        let mut link = Chunks::new(&[b"abc", b"def"]);
        let sent = [
            entry("no/f", EntryKind::Regular { size: 3 }, 0o644),
            entry("g", EntryKind::Regular { size: 3 }, 0o644),
        ];
        assert!(lay_out(&mut link, scratch.path(), &sent, Ok(())).is_err());
        assert!(link.request().is_err(), "nothing is left");
    }
}
