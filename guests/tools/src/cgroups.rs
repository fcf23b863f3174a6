//! The cgroups that an image has below that of its tree, made again below the one that the tree is given.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crossthaw_image::Cgroup;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, chownat, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use crate::errno;

/// How long a task that has ended may still count as one of its cgroup.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(2);

/// The folder of a cgroup, to be entered only.
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// What of a cgroup is given away with it; see Documentation/admin-guide/cgroup-v2.rst of the kernel.
const DELEGATED: [&CStr; 4] = [
    c".",
    c"cgroup.procs",
    c"cgroup.threads",
    c"cgroup.subtree_control",
];

/// A cgroup could not be made.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot use the cgroup {name}: {}\n  the folder of --cgroup must be one of the cgroup v2 hierarchy that the caller may make others in",
    errno::describe(source)
)]
pub struct NoCgroup {
    /// Its name, as the image has it.
    pub name: String,
    /// Why.
    pub source: io::Error,
}

/// The cgroup of a tree and those below it; those that were made for it are removed with this value, unless there are tasks in them.
#[derive(Debug)]
pub struct Cgroups {
    /// The tree's own, and the image's in their order.
    folders: Vec<OwnedFd>,
    /// Those that were not there: place of what they are in, and name.
    made: Vec<(usize, CString)>,
}

impl Cgroups {
    /// Make those of an image, and give them to a user and a group; what is there already is taken as it is, but must not be frozen.
    pub fn make(
        top: OwnedFd,
        cgroups: &[Cgroup],
        owner: Option<(u32, u32)>,
    ) -> Result<Self, NoCgroup> {
        let failed = |name: &str| {
            let name = name.to_owned();
            move |source| NoCgroup { name, source }
        };
        not_frozen(top.as_fd()).map_err(failed("of --cgroup"))?;
        let mut all = Self {
            folders: vec![top],
            made: Vec::new(),
        };
        for cgroup in cgroups {
            all.add(cgroup, owner)
                .map_err(failed(&cgroup.name.as_str()))?;
        }
        Ok(all)
    }

    fn add(&mut self, cgroup: &Cgroup, owner: Option<(u32, u32)>) -> io::Result<()> {
        let parent = usize::try_from(cgroup.parent).unwrap_or(usize::MAX);
        let above = self.folders.get(parent).filter(|_| cgroup.is_named());
        let above = above.ok_or(io::ErrorKind::InvalidInput)?;
        let name = CString::new(cgroup.name.as_bytes())?;
        let made = match mkdirat(above, &name, Mode::from_raw_mode(0o755)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let folder = openat(above, &name, FOLDER, Mode::empty());
        if made {
            self.made.push((parent, name));
        }
        let folder = folder?;
        if !made {
            not_frozen(folder.as_fd())?;
        } else if let Some(owner) = owner {
            give(folder.as_fd(), owner)?;
        }
        self.folders.push(folder);
        Ok(())
    }

    /// The folder of the one with this number in the image, 0 being the tree's.
    pub fn folder(&self, number: usize) -> Option<BorrowedFd<'_>> {
        self.folders.get(number).map(AsFd::as_fd)
    }

    /// Leave them where they are.
    pub fn keep(mut self) {
        self.made.clear();
    }

    /// The ids of all threads that are in one of them.
    pub(crate) fn threads(&self) -> io::Result<Vec<i32>> {
        let mut all = Vec::new();
        for folder in &self.folders {
            let text = read(folder.as_fd(), c"cgroup.threads")?;
            all.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
        Ok(all)
    }
}

fn read(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    io::read_to_string(File::from(openat(folder, name, flags, Mode::empty())?))
}

/// A task that is born in a frozen cgroup does not come to do anything.
fn not_frozen(folder: BorrowedFd<'_>) -> io::Result<()> {
    let text = match read(folder, c"cgroup.events") {
        // The root of the hierarchy has none and is never frozen; what is no cgroup is told when somebody is to enter it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    if text.lines().any(|line| line == "frozen 1") {
        let message = "it is there and frozen: write 0 to its cgroup.freeze first";
        return Err(io::Error::other(message));
    }
    Ok(())
}

/// Have a user run it, and make others in it.
fn give(folder: BorrowedFd<'_>, (user, group): (u32, u32)) -> io::Result<()> {
    for file in DELEGATED {
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
        chownat(folder, file, Some(user), Some(group), AtFlags::empty())?;
    }
    Ok(())
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        // Those that were made last are in those that were made first.
        while let Some((parent, name)) = self.made.pop() {
            while unlinkat(&self.folders[parent], &name, AtFlags::REMOVEDIR) == Err(Errno::BUSY)
                && Instant::now() < deadline
            {
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// Move the calling process into a cgroup. No memory is allocated.
pub(crate) fn join(folder: BorrowedFd<'_>) -> io::Result<()> {
    let procs = openat(
        folder,
        c"cgroup.procs",
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::io::write(&procs, b"0")?;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crossthaw_image::Text;

    pub(crate) fn cgroup(parent: u32, name: &str) -> Cgroup {
        let mut bytes = [0; 256];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        Cgroup {
            parent,
            pad: 0,
            name: Text(bytes),
        }
    }

    #[test]
    fn what_was_made_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let top = || OwnedFd::from(File::open(dir.path()).unwrap());
        std::fs::create_dir(dir.path().join("there")).unwrap();
        let all = [
            cgroup(0, "there"),
            cgroup(1, "a"),
            cgroup(2, "b"),
            cgroup(0, "c"),
        ];
        let made = Cgroups::make(top(), &all, None).unwrap();
        assert!(dir.path().join("there/a/b").is_dir() && dir.path().join("c").is_dir());
        assert!(made.folder(4).is_some() && made.folder(5).is_none());
        drop(made);
        assert!(dir.path().join("there").is_dir());
        assert!(!dir.path().join("there/a").exists() && !dir.path().join("c").exists());
        Cgroups::make(top(), &all, None).unwrap().keep();
        assert!(dir.path().join("there/a/b").is_dir());
    }

    #[test]
    fn a_failure_names_the_cgroup_and_leaves_none() {
        let dir = tempfile::tempdir().unwrap();
        let top = || OwnedFd::from(File::open(dir.path()).unwrap());
        for bad in [cgroup(2, "b"), cgroup(0, ".."), cgroup(0, "x/y")] {
            let error = Cgroups::make(top(), &[cgroup(0, "a"), bad.clone()], None).unwrap_err();
            assert_eq!(error.name, bad.name.as_str());
            assert!(!dir.path().join("a").exists());
        }
    }
}
