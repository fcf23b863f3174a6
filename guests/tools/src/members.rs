//! What the forked tasks do until the kernel makes them what the image says.
//!
//! A member forks its own children, so that parent links are right, closes what it inherited, and waits in `restart(2)`.
//! It runs on a copy of the tool's memory: nothing of it is left afterwards, and nothing is allocated but for mounts.

use std::ffi::CStr;
use std::io;
use std::os::fd::{BorrowedFd, IntoRawFd, RawFd};

use rustix::process::PidfdFlags;

use crate::cgroups::{self, Cgroups};
use crate::fault::{Armed, Fault};
use crate::fork::{Fork, Forked, Namespaces, Private, fork};
use crate::plan::Plan;
use crate::{container, sys};

/// What a member was doing when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Setting up its container.
    Container,
    /// Forking the task with this pid.
    Fork,
    /// Executing a program, which a member of a tree never does.
    Execute,
    /// Having an allocation fail.
    Fault,
    /// Making the mount with this number.
    Mount,
}

/// A member's complaint, 12 bytes on the pipe to the coordinator.
#[derive(Debug)]
pub struct Complaint {
    /// The task of the image that could not be made; with [`Step::Mount`] the number of the mount, from 1 on.
    pub pid: i32,
    /// What could not be done.
    pub step: Step,
    /// Why.
    pub error: io::Error,
}

impl Complaint {
    /// Bytes on the pipe.
    pub const SIZE: usize = 12;

    fn send(&self, to: BorrowedFd<'_>) {
        let step: i32 = match self.step {
            Step::Container => 0,
            Step::Fork => 1,
            Step::Execute => 2,
            Step::Fault => 3,
            Step::Mount => 4,
        };
        let mut bytes = [0; Self::SIZE];
        bytes[0..4].copy_from_slice(&self.pid.to_ne_bytes());
        bytes[4..8].copy_from_slice(&step.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes());
        // Nobody reads it if the coordinator is gone, and then nothing matters any more.
        let _ = rustix::io::write(to, &bytes);
    }

    /// From the pipe.
    pub fn parse(bytes: [u8; Self::SIZE]) -> Self {
        let number = |at: usize| {
            let mut number = [0; 4];
            number.copy_from_slice(&bytes[at..at + 4]);
            i32::from_ne_bytes(number)
        };
        Self {
            pid: number(0),
            step: match number(4) {
                0 => Step::Container,
                1 => Step::Fork,
                2 => Step::Execute,
                3 => Step::Fault,
                _ => Step::Mount,
            },
            error: io::Error::from_raw_os_error(number(8)),
        }
    }
}

/// End the calling task, and tell the tool why.
pub(crate) fn give_up(complaint: &Complaint, report: BorrowedFd<'_>) -> ! {
    complaint.send(report);
    // SAFETY: ends this copy of the tool without running anything of the parent's.
    unsafe { libc::_exit(1) }
}

/// How a task knows its parent.
#[derive(Clone, Copy, Debug)]
pub enum Parent {
    /// By its pid.
    Pid(i32),
    /// By a pidfd: it cannot be seen from the task's pid namespace.
    Pidfd(RawFd),
}

impl Parent {
    /// The calling task, for children who are to know it by a pidfd. The descriptor stays open.
    pub fn caller() -> io::Result<Self> {
        let pidfd = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
        Ok(Self::Pidfd(pidfd.into_raw_fd()))
    }

    /// Is it gone? Whoever ends after this has told its children.
    fn has_ended(self) -> bool {
        match self {
            // SAFETY: takes nothing.
            Self::Pid(pid) => unsafe { libc::getppid() != pid },
            Self::Pidfd(fd) => {
                let mut poll = libc::pollfd {
                    fd,
                    events: libc::POLLIN,
                    revents: 0,
                };
                // An end that has come to telling children what they did not yet ask for is not seen before it is over. It holds the lock
                // meanwhile that the first of these calls takes: `exit_notify()` of the kernel.
                // SAFETY: numbers only, and a place that lives.
                unsafe {
                    libc::getpriority(libc::PRIO_PGRP, 0);
                    libc::poll(&raw mut poll, 1, 0) != 0
                }
            }
        }
    }
}

/// Have the calling task killed when its parent ends: nobody would look after it. What the image says about it takes the place of this in
/// the kernel.
fn end_with(parent: Parent) {
    // SAFETY: numbers only, as in all of these calls.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        if parent.has_ended() {
            libc::_exit(1);
        }
    }
}

/// A user namespace whose ids somebody else maps.
#[derive(Clone, Copy, Debug)]
pub struct Users<'a> {
    /// A byte comes from here when that is done.
    pub mapped: BorrowedFd<'a>,
    /// User and group to become, as the namespace calls them.
    pub become_ids: (u32, u32),
}

impl Users<'_> {
    /// Wait for the map, and be nobody of outside any more.
    fn enter(self) -> io::Result<()> {
        if rustix::io::read(self.mapped, &mut [0])? == 0 {
            // SAFETY: ends this copy of the tool, whose original has failed or is gone, without running anything of it.
            unsafe { libc::_exit(1) }
        }
        let (user, group) = self.become_ids;
        container::become_ids(user, group)
    }
}

/// What the tree's root is given before it is anything.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Its user namespace, if it has one of its own.
    pub users: Option<Users<'a>>,
    /// Its parent.
    pub parent: Parent,
    /// Its namespaces.
    pub namespaces: Namespaces,
    /// More of them.
    pub private: Private,
    /// Its root directory; the caller's if `None`.
    pub root: Option<&'a CStr>,
    /// Its cgroup, in which it was forked, and those below.
    pub cgroups: Option<&'a Cgroups>,
    /// An allocation that is to fail.
    pub fault: Option<Fault>,
}

/// Run in the forked child that is to be the task at `place`: returns never.
///
/// The end of the pipe `report` closes when all members are on their way into the kernel.
pub fn become_member(
    plan: &Plan,
    place: usize,
    surroundings: &Surroundings<'_>,
    report: BorrowedFd<'_>,
) -> ! {
    let mut place = place;
    let Surroundings {
        users,
        mut parent,
        namespaces,
        private,
        root,
        cgroups,
        fault,
    } = *surroundings;
    let folder = |number| cgroups.and_then(|all| all.folder(number));
    let inner = Some(plan.tasks[place].cgroup).filter(|&number| number != 0);
    let pid = plan.tasks[place].pid;
    let entered = users
        .map_or(Ok(()), Users::enter)
        .and_then(|()| container::enter(namespaces, private, root))
        // Not before: the root of a cgroup namespace is where the task is that makes it.
        .and_then(|()| inner.and_then(folder).map_or(Ok(()), cgroups::join))
        .map_err(|error| Complaint {
            pid,
            step: Step::Container,
            error,
        })
        .and_then(|()| {
            plan.mounts.make().map_err(|(number, error)| Complaint {
                pid: i32::try_from(number).unwrap_or(i32::MAX),
                step: Step::Mount,
                error,
            })
        });
    if let Err(complaint) = entered {
        give_up(&complaint, report);
    }
    'task: loop {
        end_with(parent);
        let task = &plan.tasks[place];
        // SAFETY: takes nothing.
        let own = Parent::Pid(unsafe { libc::getpid() });
        let seen_from_outside = task.children.iter().any(|&child| plan.tasks[child].init);
        let outside = match seen_from_outside.then(Parent::caller).transpose() {
            Ok(outside) => outside.unwrap_or(own),
            Err(error) => give_up(
                &Complaint {
                    pid: task.pid,
                    step: Step::Fork,
                    error,
                },
                report,
            ),
        };
        for &child in &task.children {
            let planned = &plan.tasks[child];
            parent = if planned.init { outside } else { own };
            // SAFETY: the tool has one thread.
            match unsafe {
                fork(&Fork {
                    init: planned.init,
                    pids: &planned.wanted,
                    cgroup: folder(planned.cgroup).filter(|_| planned.cgroup != task.cgroup),
                    ..Fork::PLAIN
                })
            } {
                Ok(Forked::Parent(_)) => {}
                Ok(Forked::Child) => {
                    place = child;
                    continue 'task;
                }
                Err(error) => give_up(
                    &Complaint {
                        pid: planned.pid,
                        step: Step::Fork,
                        error,
                    },
                    report,
                ),
            }
        }
        if let Some(fault) = fault.filter(|fault| fault.pid == task.pid)
            && let Err(error) = Armed::arm(fault.nth)
        {
            give_up(
                &Complaint {
                    pid: task.pid,
                    step: Step::Fault,
                    error,
                },
                report,
            );
        }
        // SAFETY: numbers only; nothing of this copy uses a descriptor from here on.
        unsafe { libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0) };
        let _refused = sys::restart_member(task.pid);
        // SAFETY: as above. The coordinator learns the reason from its own call.
        unsafe { libc::_exit(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;

    fn check(step: Step) {
        let (mut from, to) = io::pipe().unwrap();
        Complaint {
            pid: 7,
            step,
            error: io::Error::from_raw_os_error(libc::EEXIST),
        }
        .send(to.as_fd());
        let mut bytes = [0; Complaint::SIZE];
        from.read_exact(&mut bytes).unwrap();
        let complaint = Complaint::parse(bytes);
        assert_eq!(
            (
                complaint.pid,
                complaint.step,
                complaint.error.raw_os_error()
            ),
            (7, step, Some(libc::EEXIST))
        );
    }

    #[test]
    fn complaints_travel_through_a_pipe() {
        check(Step::Container);
        check(Step::Fork);
        check(Step::Execute);
        check(Step::Fault);
        check(Step::Mount);
    }
}
