//! Who has no privileges, and a tree of their own: a user, with a user namespace in which they are root, as rootless containers have it.

use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use crossthaw_protocol::{Caller, IMAGE_DIR, SCENARIO_DIR};
use crossthaw_tools::container::become_ids;
use crossthaw_tools::fork::{Fork, Forked, fork};

use crate::cgroup::Cgroup;
use crate::error::{Context, Result};
use crate::{reap, tree};

/// The user, and the group.
const USER: u32 = 1000;

/// Who they are in their namespace, and whom they may become there: a line each of first id inside, first id outside, how many. The
/// second is what `/etc/subuid` gives a user.
pub(crate) const MAP: [[u32; 3]; 2] = [[0, USER, 1], [1, 100_000, 65_536]];

/// Name of the cgroup that is theirs.
const CGROUP: &str = "user";

/// What of a cgroup is delegated with it; see Documentation/admin-guide/cgroup-v2.rst of the kernel.
const DELEGATED: [&str; 4] = [
    "",
    "cgroup.procs",
    "cgroup.threads",
    "cgroup.subtree_control",
];

/// The user's namespace and cgroups.
#[derive(Debug)]
pub(crate) struct Owner {
    namespace: OwnedFd,
    /// Where what they run is that is none of the tree's.
    tools: Cgroup,
    /// Where the tree is.
    tree: Cgroup,
}

fn check(ret: libc::c_int) -> io::Result<()> {
    if ret == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// In a child of the agent: become the user, and root in their namespace. No memory is allocated.
pub(crate) fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    become_ids(USER, USER)?;
    // SAFETY: a descriptor and a flag.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWUSER) })
}

/// In a child of the agent: make the namespace, and wait until somebody else holds it.
fn hold(mut made: &PipeWriter, mut seen: PipeReader) -> io::Result<()> {
    become_ids(USER, USER)?;
    // SAFETY: a flag.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) })?;
    made.write_all(&[0])?;
    seen.read_exact(&mut [0])
}

fn write_map(pid: i32, name: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{name}");
    let lines = MAP.map(|[inside, outside, count]| format!("{inside} {outside} {count}\n"));
    fs::write(&path, lines.concat()).context(|| format!("write {path}"))
}

/// The user namespace of somebody without privileges, mapped as a privileged helper maps it for them.
fn make_namespace() -> Result<OwnedFd> {
    let pipe = || io::pipe().context(|| "make a pipe".to_owned());
    let (made_read, made) = pipe()?;
    let (seen, seen_write) = pipe()?;
    // SAFETY: the agent has one thread.
    let forked =
        unsafe { fork(&Fork::PLAIN) }.context(|| "fork for a user namespace".to_owned())?;
    let pid = match forked {
        Forked::Parent(pid) => pid,
        Forked::Child => {
            drop(seen_write);
            let code = hold(&made, seen).map_or(1, |()| 0);
            // SAFETY: ends this copy without running anything of the agent's.
            unsafe { libc::_exit(code) }
        }
    };
    reap::forget(pid);
    drop((made, seen));
    let take = || {
        let mut made_read = made_read;
        made_read
            .read_exact(&mut [0])
            .context(|| "make a user namespace as an unprivileged user".to_owned())?;
        write_map(pid, "uid_map")?;
        write_map(pid, "gid_map")?;
        let path = format!("/proc/{pid}/ns/user");
        File::open(&path).context(|| format!("open {path}"))
    };
    let taken = take();
    // Its end is the child's, too.
    drop(seen_write);
    reap::wait(pid, None, None)?;
    taken.map(OwnedFd::from)
}

fn give(path: &Path) -> Result<()> {
    std::os::unix::fs::chown(path, Some(USER), Some(USER))
        .context(|| format!("give {} to user {USER}", path.display()))
}

/// A cgroup that the user may put their tasks into.
fn delegate(name: &str) -> Result<Cgroup> {
    let cgroup = Cgroup::create(name)?;
    for file in DELEGATED {
        give(&cgroup.path().join(file))?;
    }
    Ok(cgroup)
}

impl Owner {
    /// What this caller needs.
    pub(crate) fn of(caller: Caller) -> Result<Option<Self>> {
        match caller {
            Caller::Root | Caller::Outside => Ok(None),
            Caller::Unprivileged => Self::make().map(Some),
        }
    }

    /// Make the namespace and the cgroups, and give the user the folders of the scenario and of images.
    fn make() -> Result<Self> {
        give(Path::new(SCENARIO_DIR))?;
        give(Path::new(IMAGE_DIR))?;
        // The harness has them from a guest that is gone.
        for image in fs::read_dir(IMAGE_DIR).context(|| format!("list {IMAGE_DIR}"))? {
            let image = image.context(|| format!("list {IMAGE_DIR}"))?;
            give(&image.path())?;
        }
        delegate(CGROUP)?;
        Ok(Self {
            namespace: make_namespace()?,
            tools: delegate(&format!("{CGROUP}/tools"))?,
            tree: delegate(&format!("{CGROUP}/tree"))?,
        })
    }

    /// For [`enter`].
    pub(crate) fn namespace(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }

    /// For a tool that they run.
    pub(crate) fn tools(&self) -> &Cgroup {
        &self.tools
    }

    /// For their tree.
    pub(crate) fn tree(&self) -> &Cgroup {
        &self.tree
    }
}

/// The user namespace that root starts a tree in, if this caller does that; the user owns the scenario's folder.
pub(crate) fn namespace_of(caller: Caller) -> Result<Option<OwnedFd>> {
    if caller != Caller::Outside {
        return Ok(None);
    }
    give(Path::new(SCENARIO_DIR))?;
    delegate(tree::CGROUP)?;
    make_namespace().map(Some)
}

/// The options of `restart` for such a namespace.
pub(crate) fn options_of(caller: Caller) -> Result<Vec<String>> {
    if caller != Caller::Outside {
        return Ok(Vec::new());
    }
    give(Path::new(SCENARIO_DIR))?;
    delegate(tree::CGROUP)?;
    let options = MAP.map(|[inside, outside, count]| {
        ["users", "groups"].map(|ids| format!("--map-{ids}={inside}:{outside}:{count}"))
    });
    Ok(options.concat())
}

impl Drop for Owner {
    /// A cgroup with tasks in it stays, and is the next owner's.
    fn drop(&mut self) {
        for cgroup in [&self.tools, &self.tree] {
            let _ = cgroup.remove();
        }
        if let Some(path) = self.tree.path().parent() {
            let _ = fs::remove_dir(path);
        }
    }
}
