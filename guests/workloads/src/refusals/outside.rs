//! A container that shares something with who is outside of it.

use std::ffi::{c_int, c_long};
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::Path;

use crossthaw_protocol::IMAGE_DIR;

use crate::args::Args;
use crate::epoll;
use crate::error::{Error, Result};
use crate::eventfds;
use crate::memfd;
use crate::owners;
use crate::pidfds;
use crate::signalfds;
use crate::simple::SYS_CHECKPOINT;
use crate::stage::Stage;
use crate::sys;

/// What the container, or the subtree, shares: an open file, a pipe, an epoll set, what one watches, the signals that one tells of, the owner of a file, a pidfd, its fs context, its table of descriptors.
fn shared(kind: &str) -> Result<(c_int, &'static str)> {
    Ok(match kind {
        "file" => (0, "file is in use outside of the container too"),
        "memfd" => (0, "file of memory is in use outside of the container too"),
        "pipe" => (0, "pipe is in use outside of the container too"),
        "pipe_of_subtree" => (0, "pipe is in use outside of the tree too"),
        "end_of_subtree" | "epoll_of_subtree" => (0, "file is in use outside of the tree too"),
        "watched" => (0, " is not open in the tree, or is where the image goes"),
        "signals" => (0, " are those of a task outside of the tree"),
        "pidfd" => (0, "a pidfd of a process outside of the tree"),
        "owner" => (0, "its owner for signals (F_SETOWN) is outside of the tree"),
        "image" => (0, "the image or its log goes into that pipe"),
        "fs" => (
            libc::CLONE_FS,
            "fs context is in use outside of the container too",
        ),
        "files" => (
            libc::CLONE_FILES,
            "descriptor table is in use outside of the container too",
        ),
        other => return Err(Error::Argument(format!("kind={other}"))),
    })
}

fn own_file(fd: RawFd) -> fs::File {
    // SAFETY: it was just made, and nobody else closes it.
    unsafe { fs::File::from_raw_fd(fd) }
}

/// What the child keeps open of this file of its parent's, in its own way.
fn keep(kind: &str, own: RawFd) -> Result<RawFd> {
    match kind {
        // Its own opening of it is not shared, but what is open is.
        "memfd" | "pipe" | "pipe_of_subtree" => sys::open(&memfd::path_of(own), libc::O_RDONLY),
        "watched" => {
            let set = epoll::create()?;
            epoll::watch(set, own, epoll::IN, 1)?;
            Ok(set)
        }
        "fs" | "files" => Ok(-1),
        _ => Ok(own),
    }
}

/// A child is the init of a pid namespace of its own, and checkpoints itself as a whole container: what its parent shares with it refuses that, by name.
pub(crate) fn outside_user(stage: &mut Stage, args: &Args) -> Result<()> {
    let kind = args.text("kind", "file").to_owned();
    let (flags, line) = shared(&kind)?;
    let names = ["outside.img", "outside.log"].map(|name| Path::new(IMAGE_DIR).join(name));
    let create = |path: &Path| fs::File::create(path).map_err(Error::from_io("create"));
    let (image, log) = (
        create(&names[0])?.into_raw_fd(),
        create(&names[1])?.into_raw_fd(),
    );
    let (pipe, writer) = std::io::pipe().map_err(Error::from_io("pipe"))?;
    let own = match kind.as_str() {
        "memfd" => memfd::create(c"outside", 0)?,
        "pipe" | "pipe_of_subtree" | "end_of_subtree" | "image" => fs::File::from(
            pipe.try_clone()
                .map(OwnedFd::from)
                .map_err(Error::from_io("dup"))?,
        ),
        "epoll_of_subtree" | "signals" => own_file(epoll::create()?),
        "watched" => own_file(eventfds::create(0, 0)?),
        "owner" => own_file(owners::owned()?),
        "pidfd" => own_file(pidfds::open(sys::pid(), 0)?),
        _ => fs::File::open("/dev/null").map_err(Error::from_io("open"))?,
    };
    // Of the parent, which has it watched, by a set that it gives to the child.
    let signals = match kind.as_str() {
        "signals" => Some(own_file(signalfds::signalfd(-1, &[libc::SIGUSR2], 0)?)),
        _ => None,
    };
    if let Some(signals) = &signals {
        epoll::watch(own.as_raw_fd(), signals.as_raw_fd(), epoll::IN, 1)?;
    }
    let gate = signals.as_ref().map(|_| pipe);
    // What it cannot write to for ever: the reader is part of the image.
    let into = match kind.as_str() {
        "image" => writer.as_raw_fd(),
        _ => image,
    };
    let of = libc::c_long::from(kind.ends_with("_of_subtree"));
    let Some(pid) = sys::clone(libc::CLONE_NEWPID | flags)? else {
        if let Some(gate) = gate {
            let _ = sys::close(writer.as_raw_fd());
            let _ = sys::read(gate.as_raw_fd(), &mut [0]);
        }
        let shared = keep(&kind, own.as_raw_fd()).unwrap_or_else(|_| sys::exit(1));
        // Every file of the parent's is shared, too.
        let last = signals.as_ref().unwrap_or(&own).as_raw_fd();
        for fd in 0..=last {
            let stays = [into, log, shared].contains(&fd) || (signals.is_some() && fd == last);
            if !stays && kind != "files" && sys::is_open(fd) {
                let _ = sys::close(fd);
            }
        }
        let (into, log) = (c_long::from(into), c_long::from(log));
        // SAFETY: plain numbers; nobody restarts the image.
        let id = unsafe { libc::syscall(SYS_CHECKPOINT, 0, into, of, log) };
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        sys::exit(if id > 0 { 0 } else { errno })
    };
    let held = if signals.is_some() {
        drop((own, signals, writer));
        None
    } else {
        Some((own, writer))
    };
    let status = sys::wait(pid)?;
    let text = fs::read_to_string(&names[1]).map_err(Error::from_io("read"))?;
    for name in &names {
        fs::remove_file(name).map_err(Error::from_io("remove"))?;
    }
    sys::close(image)?;
    sys::close(log)?;
    drop(held);
    stage.equal(
        "errno of the checkpoint",
        &status,
        &sys::Status::Exited(libc::EBUSY),
    );
    stage.check("its log", text.contains(line), &text);
    stage.hold()
}
