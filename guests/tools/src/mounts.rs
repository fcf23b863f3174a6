//! How the mounts of a tree differ from the caller's, made again in the mount namespace of its root.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use crossthaw_image::Mount;

use crate::tmpfs::{Contents, Entry};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
};
use rustix::process::{Resource, getrlimit, setrlimit};

/// All that a mount can have of `MOUNT_ATTR_*`, to be cleared where it is not said.
const ALL_ATTRS: u64 = 0x20_00ff;

/// So many differences need no more descriptors than everybody may have.
const FEW: usize = 256;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    /// Unmount it.
    Unmount,
    /// Give it other attributes.
    Attrs,
    /// Bind what is there before anything is changed.
    Bind(CString),
    /// Bind what was mounted by an earlier change, or a part of it: its root is called `/`.
    BindOwn(usize, CString),
    /// Mount a tmpfs with these options, and fill it.
    Tmpfs(Vec<(&'static CStr, CString)>, Contents),
}

/// A difference as the image has it.
#[derive(Clone, Debug)]
pub struct Mounted {
    /// Its record.
    pub mount: Mount,
    /// What is in it, of a tmpfs.
    pub entries: Rc<[Entry]>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Difference {
    path: CString,
    attrs: u64,
    change: Change,
}

/// The differences, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts(Vec<Difference>);

/// `struct mount_attr` of linux/mount.h, 32 bytes.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

fn string(bytes: &[u8]) -> Option<CString> {
    CStr::from_bytes_with_nul(bytes).ok().map(CStr::to_owned)
}

fn options(it: &Mount) -> Option<Vec<(&'static CStr, CString)>> {
    let head = &it.head;
    let all = [
        (c"source", string(&it.source.0)?),
        (c"size", CString::new(head.size.to_string()).ok()?),
        (c"nr_inodes", CString::new(head.inodes.to_string()).ok()?),
        (c"mode", CString::new(format!("{:o}", head.mode)).ok()?),
        (c"uid", CString::new(head.uid.to_string()).ok()?),
        (c"gid", CString::new(head.gid.to_string()).ok()?),
    ];
    Some(all.into())
}

impl Mounts {
    /// From the records of an image; the number of one that cannot be, from 1 on.
    pub fn new(records: &[Mounted]) -> Result<Self, usize> {
        let all = records.iter().enumerate().map(|(before, mounted)| {
            let Mounted { mount: it, entries } = mounted;
            let source = usize::try_from(it.head.source).unwrap_or(usize::MAX);
            let change = match it.head.kind {
                Mount::GONE if it.source.0.is_empty() => Some(Change::Unmount),
                Mount::ATTRS if it.source.0.is_empty() => Some(Change::Attrs),
                Mount::BIND if source == 0 => string(&it.source.0).map(Change::Bind),
                Mount::BIND if source <= before => string(&it.source.0)
                    .filter(|part| part.as_bytes().starts_with(b"/"))
                    .map(|part| Change::BindOwn(source - 1, part)),
                Mount::TMPFS => options(it)
                    .zip(Contents::new(entries))
                    .map(|(options, contents)| Change::Tmpfs(options, contents)),
                _ => None,
            };
            let path = string(&it.path.0).filter(|path| path.as_bytes().starts_with(b"/"));
            path.zip(change)
                .map(|(path, change)| Difference {
                    path,
                    attrs: it.head.attrs.into(),
                    change,
                })
                .ok_or(before + 1)
        });
        all.collect::<Result<_, _>>().map(Self)
    }

    /// Where the one with this number is, from 1 on.
    pub fn path(&self, number: usize) -> Option<&CStr> {
        let found = self.0.get(number.checked_sub(1)?)?;
        Some(&found.path)
    }

    /// Make all of them, in a mount namespace that is the caller's alone. The number of the first that cannot be made, and why.
    ///
    /// What is to be bound is opened before anything is changed: it may be out of reach afterwards.
    pub(crate) fn make(&self) -> Result<(), (usize, io::Error)> {
        if self.0.len() > FEW {
            raise_limit();
        }
        let numbered = |place: usize| move |error| (place + 1, error);
        let mut sources = Vec::with_capacity(self.0.len());
        for (place, it) in self.0.iter().enumerate() {
            sources.push(it.open().map_err(numbered(place))?);
        }
        for (place, it) in self.0.iter().enumerate() {
            let source = sources[place].take();
            let Some(root) = it.make(source).map_err(numbered(place))? else {
                continue;
            };
            for (place, part) in self.parts_of(place) {
                let opened = open_part(root.as_fd(), part);
                sources[place] = Some(opened.map_err(numbered(place))?);
            }
            it.attach(root.as_fd()).map_err(numbered(place))?;
        }
        Ok(())
    }

    /// What is bound later of what one change mounts.
    fn parts_of(&self, place: usize) -> impl Iterator<Item = (usize, &CStr)> {
        let all = self.0.iter().enumerate();
        all.filter_map(move |(later, it)| match &it.change {
            Change::BindOwn(of, part) if *of == place => Some((later, part.as_c_str())),
            _ => None,
        })
    }
}

/// A part of a mount that nothing is mounted on yet; what is mounted later may be in the way.
fn open_part(root: BorrowedFd<'_>, part: &CStr) -> io::Result<Source> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let from_root = match part.to_bytes_with_nul() {
        b"/\0" => c".",
        [b'/', inner @ ..] => CStr::from_bytes_with_nul(inner).map_err(io::Error::other)?,
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok(Source {
        there: openat2(root, from_root, flags, Mode::empty(), resolve)?,
        copy: None,
    })
}

/// A mount of its own of what is open, that is nowhere yet.
fn copy(of: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(open_tree(of, c"", flags)?)
}

fn tmpfs(options: &[(&CStr, CString)]) -> io::Result<OwnedFd> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        fsconfig_set_string(context.as_fd(), *name, value.as_c_str())?;
    }
    fsconfig_create(context.as_fd())?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    Ok(fsmount(context.as_fd(), flags, MountAttrFlags::empty())?)
}

/// `mount_setattr(2)`: these attributes, and no others.
fn set_attrs(of: BorrowedFd<'_>, path: &CStr, attrs: u64) -> io::Result<()> {
    let attr = MountAttr {
        set: attrs,
        clear: ALL_ATTRS,
        propagation: 0,
        userns: 0,
    };
    let flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the path ends with a zero byte, and it and the attributes live until the call returns.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            of.as_raw_fd(),
            path.as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if ret == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// What is to be bound, and of what is there before anything is changed a mount, for the case that it will have been unmounted.
struct Source {
    there: OwnedFd,
    copy: Option<OwnedFd>,
}

impl Source {
    fn open(path: &CStr) -> io::Result<Self> {
        let flags = OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
        let there = open_tree(CWD, path, flags)?;
        let copy = Some(copy(there.as_fd())?);
        Ok(Self { there, copy })
    }

    /// One that is made now, so that mounts are listed in the order of the image.
    fn bind(self) -> io::Result<OwnedFd> {
        match (copy(self.there.as_fd()), self.copy) {
            (Err(error), Some(copy)) if error.raw_os_error() == Some(libc::EINVAL) => Ok(copy),
            (other, _) => other,
        }
    }
}

/// Until nothing is mounted there: what the caller has got since is in the way, too.
fn unmount_all(path: &CStr) -> io::Result<()> {
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    unmount(path, flags)?;
    while unmount(path, flags).is_ok() {}
    Ok(())
}

/// Each thing that is to be bound takes descriptors. What limits the tree has is up to the kernel.
fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Most trees do with what there is.
    let _ = setrlimit(Resource::Nofile, limit);
}

impl Difference {
    /// What is to be bound, if that is there already.
    fn open(&self) -> io::Result<Option<Source>> {
        match &self.change {
            Change::Bind(source) => Source::open(source).map(Some),
            _ => Ok(None),
        }
    }

    /// Make it; the root of what is to be mounted.
    fn make(&self, source: Option<Source>) -> io::Result<Option<OwnedFd>> {
        let missing = io::ErrorKind::InvalidInput;
        let root = match &self.change {
            Change::Unmount => {
                unmount_all(&self.path)?;
                return Ok(None);
            }
            Change::Attrs => return set_attrs(CWD, &self.path, self.attrs).map(|()| None),
            Change::Bind(_) | Change::BindOwn(..) => source.ok_or(missing)?.bind()?,
            Change::Tmpfs(options, contents) => {
                let root = tmpfs(options)?;
                contents.make(root.as_fd())?;
                root
            }
        };
        set_attrs(root.as_fd(), c"", self.attrs)?;
        Ok(Some(root))
    }

    /// Mount it where it is to be.
    fn attach(&self, root: BorrowedFd<'_>) -> io::Result<()> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        Ok(move_mount(root, c"", CWD, self.path.as_c_str(), flags)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossthaw_image::{MountHead, Name};

    use crate::tmpfs;

    fn record(kind: u32, source: u32, path: &str, name: &str) -> Mounted {
        let zero = || Some(0).filter(|_| kind > Mount::ATTRS);
        let text = |text: &str| Name(text.bytes().chain([0]).collect());
        let own = kind == Mount::TMPFS;
        let mount = Mount {
            head: MountHead {
                kind,
                attrs: 1,
                more: 0,
                source,
                size: 65536,
                inodes: 0,
                mode: 0o1777,
                uid: 1,
                gid: 2,
                path_len: 0,
                source_len: 0,
                nodes: u32::from(own),
            },
            path: text(path),
            source: Name(name.bytes().chain(zero()).collect()),
        };
        Mounted {
            mount,
            entries: own.then(tmpfs::tests::root).into_iter().collect(),
        }
    }

    #[test]
    fn records_become_changes() {
        let all = [
            record(Mount::GONE, 0, "/gone", ""),
            record(Mount::TMPFS, 0, "/own", "none"),
            record(Mount::BIND, 2, "/second", "/"),
            record(Mount::BIND, 0, "/to", "/from"),
        ];
        let Mounts(made) = Mounts::new(&all).unwrap();
        let changes: Vec<_> = made.iter().map(|it| it.change.clone()).collect();
        assert_eq!(changes[0], Change::Unmount);
        let Change::Tmpfs(options, _) = &changes[1] else {
            panic!("{:?}", changes[1]);
        };
        let options: Vec<_> = options
            .iter()
            .map(|(name, value)| format!("{}={}", name.to_str().unwrap(), value.to_str().unwrap()))
            .collect();
        assert_eq!(
            options.join(","),
            "source=none,size=65536,nr_inodes=0,mode=1777,uid=1,gid=2"
        );
        assert_eq!(changes[2], Change::BindOwn(1, c"/".to_owned()));
        assert_eq!(changes[3], Change::Bind(c"/from".to_owned()));
        let all = Mounts(made);
        assert_eq!(
            (all.path(4), all.path(0), all.path(5)),
            (Some(c"/to"), None, None)
        );
    }

    #[test]
    fn what_cannot_be_is_told_by_its_number() {
        let good = record(Mount::GONE, 0, "/gone", "");
        for bad in [
            record(5, 0, "/x", "y"),
            record(Mount::BIND, 2, "/x", "y"),
            record(Mount::GONE, 0, "/x", "y"),
            record(Mount::BIND, 1, "/x", "y"),
            record(Mount::TMPFS, 0, "x", "y"),
            Mounted {
                entries: Rc::new([]),
                ..record(Mount::TMPFS, 0, "/x", "y")
            },
        ] {
            assert_eq!(Mounts::new(&[good.clone(), bad]), Err(2));
        }
        let mut endless = good;
        endless.mount.path = Name(b"/x".to_vec());
        assert_eq!(Mounts::new(&[endless]), Err(1));
    }
}
