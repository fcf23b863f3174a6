//! An image that cannot be read twice, from its beginning.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, read, write};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::fork::{Fork, Forked, fork};

/// A pipe that gives the image anew, and the child that fills it.
#[derive(Debug)]
pub struct Replay {
    /// Where the kernel reads.
    pub image: OwnedFd,
    /// The child; it ends when all is read, or when nobody reads on.
    pub feeder: i32,
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match write(to, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn feed(
    head: &[u8],
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> Result<(), Errno> {
    write_all(to, head)?;
    loop {
        match read(from, &mut *buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => write_all(to, &buffer[..n])?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Fork a child that writes `head`, which was read from `from`, and then the rest of it into a pipe.
pub fn replay(head: &[u8], from: BorrowedFd<'_>) -> io::Result<Replay> {
    let (image, to) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut buffer = vec![0; 64 << 10];
    // SAFETY: the tool has one thread.
    match unsafe { fork(&Fork::PLAIN) }? {
        Forked::Parent(feeder) => Ok(Replay { image, feeder }),
        Forked::Child => {
            // Only the parent and the kernel read: when they stop, so does this.
            drop(image);
            let outcome = feed(head, from, to.as_fd(), &mut buffer);
            // SAFETY: ends this copy of the tool without running anything of the parent's.
            unsafe { libc::_exit(i32::from(outcome.is_err())) }
        }
    }
}
