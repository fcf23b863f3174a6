//! Descriptors and what hangs on them.

use std::ffi::c_int;
use std::fs;
use std::io;
use std::os::fd::{IntoRawFd, RawFd};
use std::thread;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::memfd;
use crate::owners;
use crate::pidfds;
use crate::stage::Stage;
use crate::sys;
use crate::threads::{self, Gate, Seat};

/// Something to send through a thing that carries bytes.
const BYTES: &[u8] = b"0123456789abcdef";

/// Checks that the bytes come out of a descriptor.
fn check_bytes(stage: &mut Stage, fd: RawFd) -> Result<()> {
    let mut bytes = [0; BYTES.len()];
    let count = sys::read(fd, &mut bytes)?;
    stage.equal("bytes", &&bytes[..count], &BYTES);
    Ok(())
}

/// A named pipe with bytes in it, whose name was deleted, or which has two.
pub(crate) fn fifo(stage: &mut Stage, args: &Args) -> Result<()> {
    let (path, other) = (stage.path("fifo"), stage.path("other"));
    let name = sys::c_path(&path)?;
    // SAFETY: the path lives.
    sys::check("mkfifo", unsafe { libc::mkfifo(name.as_ptr(), 0o600) })?;
    let fd = sys::open(&path, libc::O_RDWR)?;
    match args.text("kind", "deleted") {
        "deleted" => fs::remove_file(&path).map_err(Error::from_io("remove"))?,
        "linked" => fs::hard_link(&path, &other).map_err(Error::from_io("link"))?,
        other => return Err(Error::Argument(format!("kind={other}"))),
    }
    sys::write(fd, BYTES)?;
    stage.hold()?;
    check_bytes(stage, fd)
}

/// A pair of sockets with bytes on the way.
pub(crate) fn socket(stage: &mut Stage, _args: &Args) -> Result<()> {
    let mut ends = [0; 2];
    // SAFETY: the kernel writes two numbers.
    sys::check("socketpair", unsafe {
        libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, ends.as_mut_ptr())
    })?;
    sys::write(ends[1], BYTES)?;
    stage.hold()?;
    check_bytes(stage, ends[0])
}

/// A file of memory that is set-user-id.
pub(crate) fn memfd(stage: &mut Stage, _args: &Args) -> Result<()> {
    let fd = memfd::create(c"crossthaw", 0)?.into_raw_fd();
    sys::write(fd, BYTES)?;
    // SAFETY: plain numbers.
    sys::check("fchmod", unsafe { libc::fchmod(fd, 0o4755) })?;
    sys::seek(fd, 0, libc::SEEK_SET)?;
    stage.hold()?;
    check_bytes(stage, fd)
}

/// A file of procfs.
pub(crate) fn proc_file(stage: &mut Stage, _args: &Args) -> Result<()> {
    let fd = sys::open("/proc/self/comm".as_ref(), libc::O_RDONLY)?;
    stage.hold()?;
    let mut bytes = [0; 32];
    let count = sys::read(fd, &mut bytes)?;
    stage.equal("comm", &&bytes[..count], &b"workloads\n".as_slice());
    Ok(())
}

/// A character device that is more than memory.
pub(crate) fn device(stage: &mut Stage, _args: &Args) -> Result<()> {
    let fd = sys::open("/dev/kmsg".as_ref(), libc::O_WRONLY)?;
    stage.hold()?;
    stage.equal("open", &sys::is_open(fd), &true);
    Ok(())
}

/// A descriptor for page faults.
pub(crate) fn userfaultfd(stage: &mut Stage, _args: &Args) -> Result<()> {
    let flags = usize::try_from(libc::O_NONBLOCK).unwrap_or(0);
    // SAFETY: plain numbers.
    let fd = unsafe { sys::raw("userfaultfd", libc::SYS_userfaultfd, [flags, 0, 0, 0, 0])? };
    let fd = i32::try_from(fd).unwrap_or(-1);
    stage.hold()?;
    // It has not been told which interface is to be spoken.
    let refused = sys::read(fd, &mut [0; 32]).map_err(|error| error.line());
    let text = io::Error::from_raw_os_error(libc::EINVAL).to_string();
    stage.equal("an event", &refused, &Err(format!("read failed: {text}")));
    Ok(())
}

/// A watch on a directory.
pub(crate) fn inotify(stage: &mut Stage, _args: &Args) -> Result<()> {
    let dir = stage.path("watched");
    fs::create_dir(&dir).map_err(Error::from_io("mkdir"))?;
    let path = sys::c_path(&dir)?;
    // SAFETY: plain numbers; the path lives.
    let fd = unsafe {
        let fd = sys::check("inotify_init1", libc::inotify_init1(libc::IN_NONBLOCK))?;
        sys::check(
            "inotify_add_watch",
            libc::inotify_add_watch(fd, path.as_ptr(), libc::IN_CREATE),
        )?;
        fd
    };
    stage.hold()?;
    fs::write(dir.join("new"), "").map_err(Error::from_io("write"))?;
    let mut event = [0; 256];
    stage.check(
        "an event comes",
        sys::read(fd, &mut event).is_ok_and(|count| count > 0),
        "none",
    );
    Ok(())
}

/// A pidfd of a thread that is not the first.
pub(crate) fn pidfd(stage: &mut Stage, _args: &Args) -> Result<()> {
    sys::one_heap();
    let (seat, gate) = (Seat::default(), Gate::default());
    thread::scope(|scope| {
        let body = || {
            seat.take();
            gate.wait();
            Ok(())
        };
        let handle = threads::spawn(scope, "other", body)?;
        let fd = pidfds::open(seat.await_asleep()?, libc::O_EXCL)?;
        stage.hold()?;
        stage.works("pidfd_send_signal", pidfds::signal(fd, 0));
        gate.open();
        threads::join(handle)
    })
}

/// A pidfd of the first process of a group, which is gone, and the group is not.
pub(crate) fn pidfd_group(stage: &mut Stage, _args: &Args) -> Result<()> {
    let leader = owners::leader(stage)?;
    let fd = pidfds::open(leader.pid, 0)?;
    let member = stage.spawn_ready("member", |child| {
        sys::set_group(0, leader.pid)?;
        child.hold()?;
        child.check("resumed", true, "");
        Ok(())
    })?;
    leader.resume()?;
    stage.join(&leader)?;
    stage.hold()?;
    let gone = sys::outcome(pidfds::signal(fd, 0));
    stage.equal("the process", &gone, &Err(libc::ESRCH));
    member.resume()?;
    stage.join(&member)
}

/// A directory that sends a signal when it changes.
pub(crate) fn dnotify(stage: &mut Stage, _args: &Args) -> Result<()> {
    const DN_CREATE: c_int = 4;
    let dir = stage.path("watched");
    fs::create_dir(&dir).map_err(Error::from_io("mkdir"))?;
    sys::block(&[libc::SIGIO])?;
    let fd = sys::open(&dir, libc::O_RDONLY | libc::O_DIRECTORY)?;
    // SAFETY: plain numbers.
    sys::check("fcntl", unsafe {
        libc::fcntl(fd, libc::F_NOTIFY, DN_CREATE)
    })?;
    stage.hold()?;
    fs::write(dir.join("new"), "").map_err(Error::from_io("write"))?;
    stage.equal(
        "pending signals",
        &sys::pending()?,
        &(1 << (libc::SIGIO - 1)),
    );
    Ok(())
}
