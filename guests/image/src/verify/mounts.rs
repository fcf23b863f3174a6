//! How the mounts of a tree differ, and what is in each tmpfs of its own.

use super::objects::{is_terminated, text};
use super::{HashSet, Place, Wrong, expect};
use crate::records::{Mount, Node};

/// Those of `MOUNT_ATTR_*` that a mount can have.
const MOUNT_ATTRS: u32 = 0x20_00bf;

/// Both ways to say when access times are written.
const MOUNT_ATIME: u32 = 0x30;

/// `CKPT_MOUNTS_MAX`.
const MOUNTS_MAX: usize = 1024;

/// Bytes of a path with its zero, at most.
const PATH_MAX: u32 = 4096;

/// `CKPT_NODES_MAX`.
const NODES_MAX: u32 = 1 << 20;

/// What is known of them so far.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// Kinds of the MOUNT records.
    kinds: Vec<u32>,
    /// Another one follows.
    more: bool,
    /// So many NODE records of the last one are to come.
    left: u32,
    /// Kinds of those that have come, 0 for another name of one.
    nodes: Vec<u32>,
    /// ... and the names in their folders.
    names: HashSet<(u32, Vec<u8>)>,
}

/// Which one, from 1 on, has come before.
fn before<T>(all: &[T], number: u32) -> Option<&T> {
    all.get(usize::try_from(number).ok()?.checked_sub(1)?)
}

impl Mounts {
    /// What follows the last record.
    pub(super) fn place(&self) -> Place {
        match (self.left, self.more) {
            (0, false) => Place::Task,
            (0, true) => Place::Mount,
            _ => Place::Node,
        }
    }

    /// A mount: what is bound of another is a part of a tmpfs before it.
    pub(super) fn mount(&mut self, it: &Mount) -> Result<(), Wrong> {
        mount(it)?;
        let head = &it.head;
        let good = head.source == 0
            || head.kind == Mount::BIND && before(&self.kinds, head.source) == Some(&Mount::TMPFS);
        expect(good, "source", || {
            format!("{} is no tmpfs before it", head.source)
        })?;
        self.kinds.push(head.kind);
        expect(self.kinds.len() <= MOUNTS_MAX, "more", || {
            format!("more than {MOUNTS_MAX}")
        })?;
        self.more = head.more != 0;
        self.left = head.nodes;
        self.nodes.clear();
        self.names.clear();
        Ok(())
    }

    /// A name in a tmpfs: its folder and other names come before it, the root folder first.
    pub(super) fn node(&mut self, it: &Node) -> Result<(), Wrong> {
        node(it)?;
        let head = &it.head;
        let is_root = self.nodes.is_empty();
        let folder = if is_root {
            head.folder == 0 && it.kind() == Node::FOLDER
        } else {
            before(&self.nodes, head.folder) == Some(&Node::FOLDER)
        };
        expect(folder, "folder", || {
            format!("{} is no folder before it", head.folder)
        })?;
        let same = head.same == 0
            || it.kind() != Node::FOLDER && before(&self.nodes, head.same) == Some(&it.kind());
        expect(same, "same", || {
            format!("{} is no other name before it", head.same)
        })?;
        let name = it.name.0.strip_suffix(&[0]).unwrap_or_default();
        let named = match name {
            b"/" => is_root,
            b"" | b"." | b".." => false,
            name => !is_root && name.len() <= 255 && !name.iter().any(|byte| b"/\0".contains(byte)),
        };
        expect(named, "names", || {
            format!("{:?} is no name of a file", it.name.as_str())
        })?;
        let new = self.names.insert((head.folder, name.to_vec()));
        expect(new, "names", || {
            format!("{} is there twice", it.name.as_str())
        })?;
        self.nodes.push(if head.same == 0 { it.kind() } else { 0 });
        self.left -= 1;
        Ok(())
    }
}

/// What a NODE says of itself: what only some kinds of files have is zero for the others.
fn node(it: &Node) -> Result<(), Wrong> {
    let head = &it.head;
    let kind = it.kind();
    let device = matches!(kind, Node::CHARACTERS | Node::BLOCKS);
    let known = device
        || matches!(
            kind,
            Node::FOLDER | Node::FILE | Node::LINK | Node::FIFO | Node::SOCKET
        );
    expect(known && head.mode >> 16 == 0, "mode", || {
        format!("{:#o} is no kind of file", head.mode)
    })?;
    expect(kind == Node::FILE || head.size == 0, "size", || {
        format!("{:#x} bytes of no regular file", head.size)
    })?;
    for (field, id) in [("uid", head.uid), ("gid", head.gid)] {
        expect(id != u32::MAX, field, || "-1 is nobody".to_owned())?;
    }
    for (field, value, bits) in [("major", head.major, 12), ("minor", head.minor, 20)] {
        let bits = if device { bits } else { 0 };
        expect(value >> bits == 0, field, || {
            format!("{value} of mode {:#o}", head.mode)
        })?;
    }
    let more = [it.permissions(), head.uid, head.gid, head.major, head.minor];
    let is_name = more == [0; 5] && (head.size, head.mtime) == (0, 0);
    expect(head.same == 0 || is_name, "same", || {
        format!(
            "{} is said to be more than another name of it",
            it.name.as_str()
        )
    })?;
    let leads = kind == Node::LINK && head.same == 0;
    let target = if leads {
        is_terminated(&it.target) && it.target.0.len() > 1 && head.target_len <= PATH_MAX
    } else {
        it.target.0.is_empty()
    };
    expect(target, "target_len", || {
        format!("{:?} of mode {:#o}", it.target.as_str(), head.mode)
    })
}

/// What a MOUNT says of itself: only what is new has a second name, and only a tmpfs has what a file system has.
fn mount(it: &Mount) -> Result<(), Wrong> {
    let head = &it.head;
    expect(
        (Mount::GONE..=Mount::TMPFS).contains(&head.kind),
        "kind",
        || format!("{} is none", head.kind),
    )?;
    let attrs = head.attrs & !MOUNT_ATTRS == 0
        && head.attrs & MOUNT_ATIME != MOUNT_ATIME
        && (head.kind != Mount::GONE || head.attrs == 0);
    expect(attrs, "attrs", || format!("{:#x}", head.attrs))?;
    expect(head.more <= 1, "more", || {
        format!("{} is neither 0 nor 1", head.more)
    })?;
    let own = head.kind == Mount::TMPFS;
    expect(own == (head.nodes != 0), "nodes", || {
        format!("{} of kind {}", head.nodes, head.kind)
    })?;
    expect(head.nodes <= NODES_MAX, "nodes", || {
        format!("more than {NODES_MAX}")
    })?;
    for (field, value) in [
        ("size", head.size),
        ("inodes", head.inodes),
        ("mode", head.mode.into()),
        ("uid", head.uid.into()),
        ("gid", head.gid.into()),
    ] {
        expect(own || value == 0, field, || {
            format!("{value} of what is no file system of the tree's own")
        })?;
    }
    expect(head.mode <= 0o7777, "mode", || {
        format!("{:#o} are no permissions", head.mode)
    })?;
    text("names", &it.path, head.path_len)?;
    let is_new = matches!(head.kind, Mount::BIND | Mount::TMPFS);
    let named = if is_new {
        let part = head.kind == Mount::BIND && !it.source.0.starts_with(b"/");
        is_terminated(&it.source) && !part
    } else {
        it.source.0.is_empty()
    };
    expect(named, "source_len", || {
        format!("{:?} of kind {}", it.source, head.kind)
    })?;
    let longest = head.path_len.max(head.source_len);
    expect(longest <= PATH_MAX, "names", || {
        format!("{longest} bytes are too many")
    })
}
