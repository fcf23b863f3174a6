//! What the first task of a tree does before it becomes what it is to be.

use std::ffi::CStr;
use std::io;
use std::ptr;

use crate::fork::{Kind, Namespaces, Private};

const ROOT: &CStr = c"/";
const PROC: &CStr = c"/proc";
const PROC_TYPE: &CStr = c"proc";

fn check(ret: libc::c_int) -> io::Result<()> {
    if ret == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Become this user and group, without other groups, for good. The caller has one thread; no memory is allocated.
pub fn become_ids(user: u32, group: u32) -> io::Result<()> {
    // SAFETY: an empty list of groups, and numbers.
    unsafe {
        check(libc::setgroups(0, ptr::null()))?;
        check(libc::setresgid(group, group, group))?;
        check(libc::setresuid(user, user, user))
    }
}

/// Take over the namespaces that [`crate::fork::fork`] gave the calling task:
/// mounts are made private in a mount namespace of its own, `root` becomes the root directory,
/// and in a pid namespace of its own, as a container has one, `/proc` is made anew. No memory is allocated.
pub fn enter(namespaces: Namespaces, private: Private, root: Option<&CStr>) -> io::Result<()> {
    let container = namespaces == Namespaces::Container;
    let pid = container || private.has(Kind::Pid);
    if private.has(Kind::Cgroup) {
        // SAFETY: takes a number, and nothing of the memory is shared.
        check(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) })?;
    }
    if pid || private.has(Kind::Mount) {
        // SAFETY: the string ends with a zero byte, and null is allowed for what a change of propagation does not use.
        check(unsafe {
            libc::mount(
                ptr::null(),
                ROOT.as_ptr(),
                ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                ptr::null(),
            )
        })?;
    }
    if let Some(root) = root {
        // SAFETY: a CStr ends with a zero byte.
        check(unsafe { libc::chroot(root.as_ptr()) })?;
        // SAFETY: the string ends with a zero byte.
        check(unsafe { libc::chdir(ROOT.as_ptr()) })?;
    }
    if !pid {
        return Ok(());
    }
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // SAFETY: the strings end with a zero byte; proc takes no data.
    check(unsafe {
        libc::mount(
            PROC_TYPE.as_ptr(),
            PROC.as_ptr(),
            PROC_TYPE.as_ptr(),
            flags,
            ptr::null(),
        )
    })
}
