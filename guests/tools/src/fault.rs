//! Allocations of the kernel that fail on purpose, in kernels with fault injection (`fail-nth` of
//! Documentation/fault-injection/fault-injection.rst).

use std::ffi::CStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{Mode, OFlags};

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

/// Have an allocation of the calling thread fail in the system call that comes next. No memory is allocated.
pub(crate) fn arm_member(nth: u32) -> io::Result<()> {
    let file = rustix::fs::open(OWN, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut digits = [0; 10];
    let mut at = digits.len();
    let mut rest = nth;
    while rest > 0 || at == digits.len() {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    rustix::io::write(file.as_fd(), &digits[at..])?;
    Ok(())
}

/// An allocation of the calling thread that is to fail.
#[derive(Debug)]
pub struct Armed {
    file: File,
}

impl Armed {
    /// Have an allocation of the calling thread fail in the system call that comes next.
    pub fn arm(nth: u32) -> io::Result<Self> {
        let path = OWN.to_string_lossy();
        // What looks later must not make an allocation for that.
        let file = OpenOptions::new().read(true).write(true).open(&*path)?;
        file.write_all_at(nth.to_string().as_bytes(), 0)?;
        Ok(Self { file })
    }

    /// Has it failed? From here on none will.
    pub fn reached(self) -> io::Result<bool> {
        let mut text = [0; 16];
        let read = self.file.read_at(&mut text, 0)?;
        self.file.write_all_at(b"0", 0)?;
        Ok(left(&text[..read]) == 0)
    }
}

fn left(text: &[u8]) -> u32 {
    let text = str::from_utf8(text).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// Has the allocation of the one task of this cgroup that was to have it failed? From here on none will.
pub(crate) fn reached_in(cgroup: BorrowedFd<'_>) -> io::Result<bool> {
    let threads = rustix::fs::openat(
        cgroup,
        c"cgroup.threads",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut reached = true;
    for tid in io::read_to_string(File::from(threads))?.lines() {
        let path = format!("/proc/{tid}/fail-nth");
        if left(&fs::read(&path)?) != 0 {
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
