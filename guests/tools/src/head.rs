//! The beginning of an image: what the tool must know before it forks.

use std::io::{self, Read};

use crossthaw_image::{
    Cgroup, Header, ImageError, Mount, PidNs, Reader, Record, TreeHead, TreeTask,
};

use crate::mounts::Mounted;
use crate::tmpfs::Entry;

/// What is to be forked.
#[derive(Debug)]
pub struct Tree {
    /// The first record.
    pub header: Header,
    /// The beginning of the second.
    pub head: TreeHead,
    /// The rest of it.
    pub tasks: Vec<TreeTask>,
    /// Those behind it: pid namespaces below that of the root.
    pub pid_namespaces: Vec<PidNs>,
    /// Those behind them: cgroups below that of the tree.
    pub cgroups: Vec<Cgroup>,
    /// Those behind these: how its mounts differ from the caller's.
    pub mounts: Vec<Mounted>,
}

/// `CKPT_TREE_MOUNTS`, a flag of the tree.
const MOUNTS: u32 = 0x20;

/// The first records, as far as they could be read.
#[derive(Debug)]
pub struct Head {
    /// The bytes that were taken from the image, if they are needed once more.
    pub bytes: Vec<u8>,
    /// Its tree; an error if these bytes are no image. It is for the kernel to refuse them.
    pub tree: Result<Tree, ImageError>,
}

/// Keeps what it hands out, if it is to.
struct Tee<R> {
    from: R,
    keep: bool,
    seen: Vec<u8>,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.from.read(out) {
            Ok(n) => {
                if self.keep {
                    self.seen.extend_from_slice(&out[..n]);
                }
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                self.failed = Some(io::Error::from(error.kind()));
                Err(error)
            }
        }
    }
}

/// Read the header and the tree, and not a byte more; whether to keep the bytes. An error is the source's; a bad image is none.
pub fn read(from: impl Read, keep: bool) -> io::Result<Head> {
    let mut source = Tee {
        from,
        keep,
        seen: Vec::new(),
        failed: None,
    };
    let tree = parse(&mut Reader::new(&mut source));
    match source.failed {
        Some(error) => Err(error),
        None => Ok(Head {
            bytes: source.seen,
            tree,
        }),
    }
}

/// A mount with what is in it.
fn mounted<R: Read>(mount: Mount, reader: &mut Reader<R>) -> Result<Mounted, ImageError> {
    let mut entries = Vec::new();
    for _ in 0..mount.head.nodes {
        let Some(Record::Node(node)) = reader.next().transpose()?.map(|located| located.record)
        else {
            return Err(ImageError::NoTree);
        };
        let mut pages = Vec::new();
        while node.has_contents() {
            match reader.next().transpose()?.map(|located| located.record) {
                Some(Record::Pages(it)) => pages.push(it),
                Some(Record::ShmemEnd(_)) => break,
                _ => return Err(ImageError::NoTree),
            }
        }
        entries.push(Entry { node, pages });
    }
    Ok(Mounted {
        mount,
        entries: entries.into(),
    })
}

fn parse<R: Read>(reader: &mut Reader<R>) -> Result<Tree, ImageError> {
    let first = reader.next().transpose()?.map(|located| located.record);
    let Some(Record::Header(header)) = first else {
        return Err(ImageError::NotAnImage);
    };
    let second = reader.next().transpose()?.map(|located| located.record);
    let Some(Record::Tree(tree)) = second else {
        return Err(ImageError::NoTree);
    };
    let mut pid_namespaces = Vec::new();
    for _ in 0..tree.head.nr_pid_ns {
        match reader.next().transpose()?.map(|located| located.record) {
            Some(Record::PidNs(it)) => pid_namespaces.push(it),
            _ => return Err(ImageError::NoTree),
        }
    }
    let mut cgroups = Vec::new();
    for _ in 0..tree.head.nr_cgroups {
        match reader.next().transpose()?.map(|located| located.record) {
            Some(Record::Cgroup(it)) => cgroups.push(it),
            _ => return Err(ImageError::NoTree),
        }
    }
    let mut mounts = Vec::new();
    let mut more = tree.head.flags & MOUNTS != 0;
    while more {
        match reader.next().transpose()?.map(|located| located.record) {
            Some(Record::Mount(it)) => {
                more = it.head.more != 0;
                mounts.push(mounted(it, reader)?);
            }
            _ => return Err(ImageError::NoTree),
        }
    }
    Ok(Tree {
        header,
        head: tree.head,
        tasks: tree.tasks,
        pid_namespaces,
        cgroups,
        mounts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_kept_for_the_kernel_to_judge() {
        let head = read(
            &b"this is not an image, but it is long enough to be read"[..],
            true,
        )
        .unwrap();
        assert!(head.tree.is_err());
        assert!(
            b"this is not an image, but it is long enough".starts_with(&head.bytes)
                || head.bytes.len() > 8
        );
    }

    #[test]
    fn errors_of_the_source_are_errors() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::PermissionDenied))
            }
        }
        assert_eq!(
            read(Broken, true).unwrap_err().kind(),
            io::ErrorKind::PermissionDenied
        );
    }
}
