//! What the first task of a container does before it becomes what it is to be.

use std::ffi::CStr;
use std::io;
use std::ptr;

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

/// Make the mounts of the caller's own mount namespace private and mount its pid namespace's `/proc`.
///
/// For a task that [`crate::fork::fork`] made with [`crate::fork::Namespaces::Container`]. No memory is allocated.
pub fn enter() -> io::Result<()> {
    // SAFETY: the strings end with a zero byte, and null is allowed for what a change of propagation does not use.
    check(unsafe {
        libc::mount(
            ptr::null(),
            ROOT.as_ptr(),
            ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            ptr::null(),
        )
    })?;
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
