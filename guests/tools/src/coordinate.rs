//! A restart from the coordinator's side: read the head, fork the tree, hand it to the kernel.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::cgroups::{Cgroups, NoCgroup};
use crate::fault::{Armed, Fault, NoFault};
use crate::fork::{Fork, Forked, Kind, Namespaces, Private, fork};
use crate::head::{self, Head};
use crate::ids::IdMaps;
use crate::log::Log;
use crate::members::{self, Complaint, Parent, Step, Surroundings, Users};
use crate::plan::Plan;
use crate::stream::{self, Replay};
use crate::sys::{self, Leave, Pids};
use crate::{errno, fault, orphans, remedy, signal, wait};

/// How the image is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From a file, twice: the tool reads the head, then the kernel all of it.
    Seek,
    /// From anything, once: what the tool has read is replayed through a pipe.
    Stream,
}

/// What the caller does when the tree runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Wait for the root, by [`crate::wait::Held::wait`].
    Wait,
    /// Leave the tree alone.
    Detach,
}

/// What is to be restarted, and how.
#[derive(Debug)]
pub struct Options {
    /// The image.
    pub image: File,
    /// How to read it.
    pub source: Source,
    /// Namespaces of the root.
    pub namespaces: Namespaces,
    /// More of them.
    pub private: Private,
    /// Who is who in a user namespace of the tree's own; the caller's if `None`.
    pub users: Option<IdMaps>,
    /// Root directory of the tree; the caller's if `None`.
    pub root: Option<CString>,
    /// A cgroup for the tree; those that the image has below it are made there.
    pub cgroup: Option<OwnedFd>,
    /// How the tasks are left.
    pub leave: Leave,
    /// What they are called.
    pub pids: Pids,
    /// What becomes of the tree afterwards.
    pub then: Then,
    /// An allocation that is to fail; needs a cgroup.
    pub fault: Option<Fault>,
}

/// A tree that was restarted.
#[derive(Debug)]
pub struct Restarted {
    /// The root's pid.
    pub root: i32,
    /// Its cgroups, if it was given one.
    pub cgroups: Option<Cgroups>,
    /// Whether [`Options::fault`] came to be, and was no reason to fail.
    pub fault_reached: bool,
}

/// `CHECKPOINT_SUBTREE`, a flag of the header.
const SUBTREE: u32 = 1;

/// How long tasks that the kernel kills may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why nothing was restarted.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
    /// The image could not be read.
    #[error("cannot read the image: {}", errno::describe(.0))]
    Read(io::Error),
    /// Something that the tool needs for itself.
    #[error("cannot {what}: {}", errno::describe(source))]
    Prepare {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The image is not of a container.
    #[error("the root of the image is pid {0}, not the init of a container: leave --container out")]
    NoContainer(i32),
    /// The image is of a container, where no pid is taken.
    #[error(
        "the image is of a container, which has pids of its own: leave --no-pids out and say --container"
    )]
    NoSubtree,
    /// A task could not be forked.
    #[error(
        "cannot fork pid {pid}: {}{}",
        errno::describe(source),
        hint(remedy::fork(source))
    )]
    Fork {
        /// Its pid in the image.
        pid: i32,
        /// Why.
        source: io::Error,
    },
    /// The container, or what else the tree has of its own, could not be set up.
    #[error("cannot set up what the tree has of its own: {}{}", errno::describe(.0), hint(remedy::fork(.0)))]
    Container(io::Error),
    /// What the tree had mounted, unmounted or changed itself could not be made again.
    #[error(
        "cannot make the mount {path} of the tree: {}{}",
        errno::describe(source),
        hint(remedy::mount(source))
    )]
    Mount {
        /// Where it is.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The ids of the user namespace could not be mapped.
    #[error("cannot map the ids of the user namespace: {}{}", errno::describe(.0), hint(remedy::map(.0)))]
    Users(io::Error),
    /// An allocation of a process that is not there.
    #[error(
        "the image has no process {0} whose allocation could fail: `cargo xtask image show` lists them"
    )]
    NoProcess(i32),
    /// The kernel does not let allocations fail.
    #[error(transparent)]
    Fault(#[from] NoFault),
    /// The image has cgroups below that of its tree, and there is none to make them in.
    #[error(
        "tasks of the image are in cgroups below that of their tree: say with --cgroup which one is the tree's"
    )]
    WhichCgroup,
    /// A cgroup could not be made.
    #[error(transparent)]
    Cgroup(#[from] NoCgroup),
    /// SIGINT or SIGTERM came before the kernel had the image.
    #[error("a signal came while the tree was made")]
    Interrupted,
    /// The kernel refused, and did not kill the tree.
    #[error("the kernel refused the image and left tasks of the tree alive")]
    Left,
    /// The kernel refused; the log says more.
    #[error("refused: {}{}", errno::describe(.0), hint(remedy::restart(.0)))]
    Kernel(io::Error),
}

pub(crate) fn hint(remedy: Option<&str>) -> String {
    remedy.map(|text| format!("\n  {text}")).unwrap_or_default()
}

/// What the kernel is to read.
enum Image {
    File(File),
    Pipe(Replay),
}

fn choose(head: &Head, mut image: File, source: Source, start: u64) -> Result<Image, RestartError> {
    match source {
        Source::Seek => {
            image
                .seek(SeekFrom::Start(start))
                .map_err(RestartError::Read)?;
            Ok(Image::File(image))
        }
        Source::Stream => {
            let replay = stream::replay(&head.bytes, image.as_fd());
            replay
                .map(Image::Pipe)
                .map_err(|source| RestartError::Prepare {
                    what: "replay the image",
                    source,
                })
        }
    }
}

/// A tree that the kernel cannot make sense of is still offered to it, with one task: the last word on an image is the kernel's.
fn plan(head: &Head, namespaces: Namespaces, pids: Pids) -> Result<Plan, RestartError> {
    let Ok(tree) = &head.tree else {
        return Ok(Plan::alone());
    };
    let Ok(plan) = Plan::new(tree, pids) else {
        return Ok(Plan::alone());
    };
    let is_subtree = tree.header.flags & SUBTREE != 0;
    if pids == Pids::New && !is_subtree {
        return Err(RestartError::NoSubtree);
    }
    match (namespaces, plan.root().pid) {
        (Namespaces::Inherited, _) | (Namespaces::Container, 1) => Ok(plan),
        (Namespaces::Container, pid) => Err(RestartError::NoContainer(pid)),
    }
}

/// The tree's cgroup, and those of the image below it.
fn make_cgroups(plan: &Plan, options: &mut Options) -> Result<Option<Cgroups>, RestartError> {
    let owner = options.users.as_ref().map(IdMaps::outside);
    match options.cgroup.take() {
        Some(top) => Ok(Some(Cgroups::make(top, &plan.cgroups, owner)?)),
        None if plan.cgroups.is_empty() => Ok(None),
        None => Err(RestartError::WhichCgroup),
    }
}

/// `CKPT_TREE_CGROUP_NS` and `CKPT_TREE_MOUNT_NS`, flags of the tree: it had such a namespace of its own.
const CGROUP_NS: u32 = 0x2;
const MOUNT_NS: u32 = 0x10;

/// Fork the tree; returns when all its tasks are on their way into the kernel.
fn fork_tree(
    plan: &Plan,
    options: &Options,
    cgroups: Option<&Cgroups>,
) -> Result<i32, RestartError> {
    let prepare = |source| RestartError::Prepare {
        what: "make a pipe",
        source,
    };
    let (mut from, to) = io::pipe().map_err(prepare)?;
    let (mapped, go) = io::pipe().map_err(prepare)?;
    let root = plan.root();
    let how = Fork {
        namespaces: options.namespaces,
        private: options.private.with(Kind::User, options.users.is_some()),
        pids: &root.wanted,
        cgroup: cgroups.and_then(|all| all.folder(0)),
        ..Fork::PLAIN
    };
    let parent = match options.namespaces {
        // SAFETY: takes nothing.
        Namespaces::Inherited => Parent::Pid(unsafe { libc::getpid() }),
        Namespaces::Container => Parent::caller().map_err(|source| RestartError::Prepare {
            what: "open a pidfd",
            source,
        })?,
    };
    // SAFETY: the tool has one thread.
    let forked = unsafe { fork(&how) }.map_err(|source| RestartError::Fork {
        pid: root.pid,
        source,
    })?;
    let pid = match forked {
        Forked::Child => {
            // It would wait for itself.
            drop(go);
            let surroundings = Surroundings {
                users: options.users.as_ref().map(|maps| Users {
                    mapped: mapped.as_fd(),
                    become_ids: maps.first(),
                }),
                parent,
                namespaces: options.namespaces,
                private: options.private,
                root: options.root.as_deref(),
                cgroups,
                fault: options.fault,
            };
            members::become_member(plan, 0, &surroundings, to.as_fd())
        }
        Forked::Parent(pid) => pid,
    };
    drop(to);
    if let Some(maps) = &options.users {
        maps.write(pid).map_err(RestartError::Users)?;
        // One that somebody killed meanwhile is missed later.
        let _ = (&go).write_all(&[0]);
    }
    drop(go);
    let mut bytes = [0; Complaint::SIZE];
    match from.read_exact(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(pid),
        Err(source) => Err(RestartError::Prepare {
            what: "hear from the tree",
            source,
        }),
        Ok(()) => {
            let complaint = Complaint::parse(bytes);
            Err(match complaint.step {
                Step::Container => RestartError::Container(complaint.error),
                Step::Fork => RestartError::Fork {
                    pid: complaint.pid,
                    source: complaint.error,
                },
                Step::Fault => NoFault::from(complaint.error).into(),
                Step::Mount => {
                    let number = usize::try_from(complaint.pid).unwrap_or_default();
                    let path = plan.mounts.path(number).unwrap_or_default();
                    RestartError::Mount {
                        path: path.to_string_lossy().into_owned(),
                        source: complaint.error,
                    }
                }
                Step::Execute => unreachable!("a member of a tree executes no program"),
            })
        }
    }
}

/// Hand the forked tree to the kernel; whether an allocation that was to fail did.
fn enter(
    root: i32,
    image: BorrowedFd<'_>,
    options: &Options,
    cgroups: Option<&Cgroups>,
    log: &Log,
) -> Result<bool, RestartError> {
    let own = options.fault.filter(|fault| fault.pid == 0);
    let armed = own.map(|fault| Armed::arm(fault.nth)).transpose();
    let armed = armed.map_err(NoFault::from)?;
    let entered = sys::restart(root, image, options.leave, options.pids, Some(log.fd()));
    let reached = armed.map(Armed::reached).transpose();
    let reached = reached.map_err(NoFault::from)?;
    entered.map_err(RestartError::Kernel)?;
    Ok(match (reached, options.fault, cgroups) {
        (Some(reached), ..) => reached,
        (None, Some(_), Some(cgroups)) => fault::reached_in(cgroups).map_err(NoFault::from)?,
        _ => false,
    })
}

/// Restart an image. After an error no task of the tree is left.
///
/// The caller has one thread and no children of its own.
pub fn restart(mut options: Options, log: &mut Log) -> Result<Restarted, RestartError> {
    orphans::adopt().map_err(|source| RestartError::Prepare {
        what: "adopt orphans",
        source,
    })?;
    // Where it is ignored, which is inherited, a task of the tree that ends would be gone, and the kernel would wait for it.
    // SAFETY: this action runs no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    let start = match options.source {
        Source::Seek => options
            .image
            .stream_position()
            .map_err(RestartError::Read)?,
        Source::Stream => 0,
    };
    let keep = options.source == Source::Stream;
    let head = head::read(&mut options.image, keep).map_err(RestartError::Read)?;
    let plan = plan(&head, options.namespaces, options.pids)?;
    let is_there = |pid: i32| pid == 0 || plan.tasks.iter().any(|task| task.pid == pid);
    if let Some(fault) = options.fault.filter(|fault| !is_there(fault.pid)) {
        return Err(RestartError::NoProcess(fault.pid));
    }
    if options.then == Then::Wait {
        // Until here a signal ends the tool, and from here on it must not end the tool alone.
        wait::note().map_err(|source| RestartError::Prepare {
            what: "handle signals",
            source,
        })?;
    }
    let cgroups = make_cgroups(&plan, &mut options)?;
    let flags = head.tree.as_ref().map_or(0, |tree| tree.head.flags);
    options.private = options
        .private
        .with(Kind::Cgroup, flags & CGROUP_NS != 0)
        .with(Kind::Mount, flags & MOUNT_NS != 0);
    let image = options.image.try_clone().map_err(RestartError::Read)?;
    let image = choose(&head, image, options.source, start)?;
    let fd = match &image {
        Image::File(file) => file.as_fd(),
        Image::Pipe(replay) => replay.image.as_fd(),
    };
    let outcome = fork_tree(&plan, &options, cgroups.as_ref()).and_then(|root| {
        if wait::noted() {
            return Err(RestartError::Interrupted);
        }
        let fault_reached = enter(root, fd, &options, cgroups.as_ref(), log)?;
        Ok((root, fault_reached))
    });
    match (&outcome, image) {
        (Err(error), image) => {
            // Whoever feeds a pipe ends when nobody reads it.
            drop(image);
            let refused = matches!(error, RestartError::Kernel(_));
            // Since it read the image the kernel answers for the tree.
            let killed =
                !(refused && log.told().contains(": record ")) || orphans::none_left(PATIENCE);
            orphans::end_all(&[]);
            if !killed {
                return Err(RestartError::Left);
            }
        }
        (Ok(_), Image::File(_)) => {}
        (Ok(_), Image::Pipe(Replay { image, feeder })) => {
            drop(image);
            // The kernel has read all that there is of the image, and whoever writes it may not close it soon.
            let _ = signal::send(feeder, libc::SIGKILL);
            let _ = orphans::wait(feeder);
        }
    }
    let (root, fault_reached) = outcome?;
    Ok(Restarted {
        root,
        cgroups,
        fault_reached,
    })
}
