//! Allocations of the kernel that fail on purpose, in kernels with fault injection (`fail-nth` of
//! Documentation/fault-injection/fault-injection.rst).

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use rustix::fs::{Mode, OFlags};

use crate::cgroups::Cgroups;
use crate::errno;

/// How many of the calling thread's allocations are left until one fails, or 0.
const OWN: &CStr = c"/proc/thread-self/fail-nth";

/// The allocation of a restart that is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Whose it is: a process of the image, or 0 for the task that coordinates.
    pub pid: i32,
    /// Which of those in its call of `restart(2)`, from 1.
    pub nth: u32,
}

/// The kernel does not let allocations fail.
#[derive(Debug, thiserror::Error)]
#[error("cannot have an allocation fail, which needs a kernel with fault injection (CONFIG_FAULT_INJECTION): {}", errno::describe(.0))]
pub struct NoFault(#[from] io::Error);

/// An allocation of the calling thread that is to fail.
#[derive(Debug)]
pub struct Armed {
    file: File,
}

impl Armed {
    /// Have an allocation of the calling thread fail in the system call that comes next. No memory is allocated.
    pub fn arm(nth: u32) -> io::Result<Self> {
        // What looks later must not make an allocation of the kernel's for that.
        let file = rustix::fs::open(OWN, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        let file = File::from(file);
        let mut digits = [0; 10];
        let mut rest = &mut digits[..];
        write!(rest, "{nth}")?;
        let unused = rest.len();
        file.write_all_at(&digits[..digits.len() - unused], 0)?;
        Ok(Self { file })
    }

    /// Has it failed? From here on none will.
    pub fn reached(self) -> io::Result<bool> {
        let mut text = [0; 16];
        let read = self.file.read_at(&mut text, 0)?;
        self.file.write_all_at(b"0", 0)?;
        Ok(left(&text[..read])? == 0)
    }
}

fn left(text: &[u8]) -> io::Result<u32> {
    let text = str::from_utf8(text).unwrap_or_default();
    text.trim().parse().map_err(io::Error::other)
}

/// Has the allocation of the one task of these cgroups that was to have it failed? From here on none will.
pub(crate) fn reached_in(cgroups: &Cgroups) -> io::Result<bool> {
    let mut reached = true;
    for tid in cgroups.threads()? {
        let path = format!("/proc/{tid}/fail-nth");
        if left(&fs::read(&path)?)? != 0 {
            reached = false;
            fs::write(&path, "0")?;
        }
    }
    Ok(reached)
}

/// How the tools say, on a line of standard error, whether it failed.
pub fn told(nth: u32, reached: bool) -> String {
    let what = if reached { "failed" } else { "was not reached" };
    format!("allocation {nth} {what}")
}
