//! What is in a tmpfs of the tree's own, made again by system calls: they know what the user may do.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use crossthaw_image::{Node, Pages};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, chmodat, chownat,
    ftruncate, linkat, makedev, mkdirat, mknodat, openat, statat, symlinkat, utimensat,
};

/// A name, and behind that of a regular file its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub node: Node,
    /// Runs of pages; what is between them was never written.
    pub pages: Vec<Pages>,
}

/// All that is in one, its root directory first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    entries: Rc<[Entry]>,
    names: Vec<CString>,
}

const SECOND: i64 = 1_000_000_000;

/// A folder that is open.
struct Folder {
    place: usize,
    fd: OwnedFd,
}

/// The place of what a record says by its number, from 1 on.
fn place(number: u32) -> Option<usize> {
    usize::try_from(number).ok()?.checked_sub(1)
}

/// Whether these are numbers that somebody can have: -1 is none to the system calls.
fn is_owned(node: &Node) -> bool {
    node.head.uid != u32::MAX && node.head.gid != u32::MAX
}

/// Its name in its folder, if it has one that leads nowhere else, and is something that can be made.
fn name(entries: &[Entry], at: usize) -> Option<CString> {
    let node = &entries[at].node;
    let name = CStr::from_bytes_with_nul(&node.name.0).ok()?;
    let before = |number: u32| Some(&entries[..at].get(place(number)?)?.node);
    let is_named = if at == 0 {
        name == c"/" && node.head.folder == 0 && node.kind() == Node::FOLDER
    } else {
        let plain = !matches!(name.to_bytes(), b"" | b"." | b"..");
        let folder = before(node.head.folder)?;
        plain && !name.to_bytes().contains(&b'/') && folder.kind() == Node::FOLDER
    };
    let is_made = if node.head.same == 0 {
        is_owned(node) && is_known(node)
    } else {
        let same = before(node.head.same)?;
        same.head.same == 0 && same.kind() == node.kind() && node.kind() != Node::FOLDER
    };
    (is_named && is_made).then(|| name.to_owned())
}

/// Whether it is a kind of file with what such a file can have.
fn is_known(node: &Node) -> bool {
    let target = CStr::from_bytes_with_nul(&node.target.0);
    let target = target.is_ok_and(|target| !target.is_empty());
    let device = node.head.major >> 12 == 0 && node.head.minor >> 20 == 0;
    let known = match node.kind() {
        Node::FOLDER | Node::FIFO | Node::SOCKET => true,
        Node::FILE => i64::try_from(node.head.size).is_ok(),
        Node::LINK => target,
        Node::CHARACTERS | Node::BLOCKS => device,
        _ => false,
    };
    known && node.head.mode >> 16 == 0
}

/// A regular file that was not there, with holes where nothing was written.
fn write(dir: BorrowedFd<'_>, name: &CStr, size: u64, pages: &[Pages]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?);
    ftruncate(&file, size)?;
    for run in pages {
        let left = size.saturating_sub(run.head.start);
        let len = run
            .data
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        file.write_all_at(&run.data[..len], run.head.start)?;
    }
    Ok(())
}

fn open_folder(above: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(above, name, flags, Mode::empty())?)
}

impl Contents {
    /// Those of the records behind a mount; `None` where they cannot be.
    pub(crate) fn new(entries: &Rc<[Entry]>) -> Option<Self> {
        let names: Vec<_> = (0..entries.len())
            .map(|at| name(entries, at))
            .collect::<Option<_>>()?;
        (!names.is_empty()).then(|| Self {
            entries: Rc::clone(entries),
            names,
        })
    }

    /// Make all of it below an empty root directory.
    pub(crate) fn make(&self, root: BorrowedFd<'_>) -> io::Result<()> {
        let mut folder = Folder {
            place: 0,
            fd: root.try_clone_to_owned()?,
        };
        for at in 1..self.names.len() {
            self.enter(&mut folder, at, root)?;
            self.make_one(at, &folder, root)?;
        }
        // What is made in a folder changes its times, and it may be one that nothing can be made in.
        for at in (0..self.names.len()).rev() {
            if self.entries[at].node.kind() == Node::FOLDER {
                self.enter(&mut folder, at, root)?;
                self.settle(at, folder.fd.as_fd())?;
            }
        }
        Ok(())
    }

    /// The folder of a name; that of the root is it itself.
    fn folder_of(&self, at: usize) -> usize {
        place(self.entries[at].node.head.folder).unwrap_or(0)
    }

    /// Have the folder open that a name is in.
    fn enter(&self, folder: &mut Folder, at: usize, root: BorrowedFd<'_>) -> io::Result<()> {
        let wanted = self.folder_of(at);
        if folder.place == wanted {
            return Ok(());
        }
        let fd = if wanted != 0 && self.folder_of(wanted) == folder.place {
            open_folder(folder.fd.as_fd(), &self.names[wanted])?
        } else if folder.place != 0 && self.folder_of(folder.place) == wanted {
            // Nothing is mounted in it.
            open_folder(folder.fd.as_fd(), c"..")?
        } else {
            self.open(wanted, root)?
        };
        *folder = Folder { place: wanted, fd };
        Ok(())
    }

    /// Open a folder, name by name: all of them at once may be too long.
    fn open(&self, wanted: usize, root: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        let mut above = vec![];
        let mut at = wanted;
        while at != 0 {
            above.push(at);
            at = self.folder_of(at);
        }
        let mut fd = root.try_clone_to_owned()?;
        for at in above.into_iter().rev() {
            fd = open_folder(fd.as_fd(), &self.names[at])?;
        }
        Ok(fd)
    }

    fn make_one(&self, at: usize, folder: &Folder, root: BorrowedFd<'_>) -> io::Result<()> {
        let Entry { node, pages } = &self.entries[at];
        let (dir, name) = (folder.fd.as_fd(), self.names[at].as_c_str());
        if let Some(same) = place(node.head.same) {
            let other = self.open(self.folder_of(same), root)?;
            linkat(&other, &self.names[same], dir, name, AtFlags::empty())?;
            return Ok(());
        }
        let device = makedev(node.head.major, node.head.minor);
        let special = |kind| mknodat(dir, name, kind, Mode::empty(), device);
        match node.kind() {
            // Settled last.
            Node::FOLDER => return Ok(mkdirat(dir, name, Mode::RWXU)?),
            Node::FILE => write(dir, name, node.head.size, pages)?,
            Node::LINK => {
                let target = CStr::from_bytes_with_nul(&node.target.0);
                symlinkat(target.map_err(io::Error::other)?, dir, name)?;
            }
            Node::FIFO => special(FileType::Fifo)?,
            Node::SOCKET => special(FileType::Socket)?,
            Node::CHARACTERS => special(FileType::CharacterDevice)?,
            Node::BLOCKS => special(FileType::BlockDevice)?,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        }
        self.settle(at, dir)
    }

    /// Give it its owner, permissions and time.
    fn settle(&self, at: usize, dir: BorrowedFd<'_>) -> io::Result<()> {
        let node = &self.entries[at].node;
        let name = if at == 0 {
            c"."
        } else {
            self.names[at].as_c_str()
        };
        let (uid, gid) = (Uid::from_raw(node.head.uid), Gid::from_raw(node.head.gid));
        chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if node.kind() != Node::LINK {
            let mode = Mode::from_raw_mode(node.permissions());
            chmodat(dir, name, mode, AtFlags::empty())?;
            // Some are left out in silence.
            let found = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode;
            if found != node.head.mode {
                return Err(io::Error::from_raw_os_error(libc::EPERM));
            }
        }
        let omit = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        };
        let times = Timestamps {
            last_access: omit,
            last_modification: Timespec {
                tv_sec: node.head.mtime.div_euclid(SECOND),
                tv_nsec: node.head.mtime.rem_euclid(SECOND) as _,
            },
        };
        Ok(utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crossthaw_image::{Name, NodeHead, PagesHead};

    fn entry(folder: u32, same: u32, mode: u32, name: &str) -> Entry {
        let text = |text: &str| Name(text.bytes().chain([0]).collect());
        let node = Node {
            head: NodeHead {
                folder,
                same,
                mode,
                uid: rustix::process::getuid().as_raw(),
                gid: rustix::process::getgid().as_raw(),
                major: 0,
                minor: 0,
                name_len: 0,
                target_len: 0,
                pad: 0,
                size: 5000 * u64::from(mode & 0o170_000 == Node::FILE),
                mtime: -1_500_000_000,
            },
            name: text(name),
            target: text("folder/file"),
        };
        Entry {
            node,
            pages: Vec::new(),
        }
    }

    /// A root directory with nothing in it.
    pub(crate) fn root() -> Entry {
        entry(0, 0, 0o041_777, "/")
    }

    fn contents(entries: Vec<Entry>) -> Option<Contents> {
        Contents::new(&entries.into())
    }

    #[test]
    fn what_is_in_it_is_made_again() {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        let mut file = entry(2, 0, 0o100_644, "file");
        file.pages.push(Pages {
            head: PagesHead {
                start: 4096,
                nr_pages: 1,
                pad: 0,
            },
            data: vec![7; 4096],
        });
        let all = contents(vec![
            root(),
            entry(1, 0, 0o040_555, "folder"),
            file,
            entry(1, 3, 0o100_644, "other"),
            entry(1, 0, 0o120_777, "link"),
            entry(2, 0, 0o010_600, "fifo"),
            entry(2, 0, 0o140_700, "socket"),
        ]);
        let dir = tempfile::tempdir().unwrap();
        let fd = File::open(dir.path()).unwrap();
        all.unwrap().make(fd.as_fd()).unwrap();
        let of = |name: &str| dir.path().join(name).symlink_metadata().unwrap();
        let bytes = std::fs::read(dir.path().join("link")).unwrap();
        assert_eq!(bytes.len(), 5000);
        assert!(bytes[..4096].iter().all(|&byte| byte == 0));
        assert!(bytes[4096..].iter().all(|&byte| byte == 7));
        assert_eq!(of("other").ino(), of("folder/file").ino());
        assert!(of("folder/fifo").file_type().is_fifo());
        assert!(of("folder/socket").file_type().is_socket());
        for name in [".", "folder", "folder/file", "link"] {
            assert_eq!(
                (of(name).mtime(), of(name).mtime_nsec()),
                (-2, 500_000_000),
                "{name}"
            );
        }
        assert_eq!(
            (of(".").mode(), of("folder").mode()),
            (0o041_777, 0o040_555)
        );
        // Or the temporary folder could not be removed by who is not root.
        chmodat(&fd, c"folder", Mode::RWXU, AtFlags::empty()).unwrap();
    }

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        let folder = || entry(1, 0, 0o040_755, "folder");
        for bad in [
            entry(1, 0, 0o100_644, ".."),
            entry(1, 0, 0o100_644, "../file"),
            entry(1, 0, 0o100_644, ""),
            entry(0, 0, 0o100_644, "file"),
            entry(3, 0, 0o100_644, "file"),
            entry(u32::MAX, 0, 0o100_644, "file"),
            entry(2, 2, 0o100_644, "file"),
            entry(2, 2, 0o040_755, "file"),
            entry(2, 3, 0o100_644, "file"),
            entry(2, 0, 0o644, "file"),
            entry(2, 0, 0o300_644, "file"),
        ] {
            assert_eq!(
                contents(vec![root(), folder(), bad.clone()]),
                None,
                "{bad:?}"
            );
        }
        assert_eq!(contents(Vec::new()), None);
        assert_eq!(contents(vec![entry(0, 0, 0o100_644, "/")]), None);
        let whole = contents(vec![root(), folder(), entry(2, 0, 0o100_644, "file")]);
        assert!(whole.is_some());
    }
}
