//! Processes that share the memory of the one that makes them.

use std::ffi::{c_int, c_void};
use std::hint;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;

use crate::error::{Error, Result};
use crate::sys::{self, Mapping, Pid};
use crate::threads::{STACK, Seat};

/// Pages of the child's stack.
const STACK_PAGES: usize = 64;

/// What the three who take part tell each other.
#[derive(Debug, Default)]
struct Talk {
    /// Of the thread that makes the child, then waits for its end.
    carrier: Seat,
    /// The child's pid, or what clone(2) failed with as a negative number.
    pid: AtomicI32,
    /// The carrier sleeps: its thread-local memory is the child's.
    begin: AtomicBool,
}

/// What the child does; returns its exit code.
type Body = Box<dyn FnOnce() -> c_int + Send>;

/// The child's first function.
extern "C" fn first(argument: *mut c_void) -> c_int {
    // SAFETY: `start` made it of a box, for this call alone.
    let (talk, body) = *unsafe { Box::from_raw(argument.cast::<(Arc<Talk>, Body)>()) };
    // No system call that can fail: the carrier's errno is not ours yet.
    while !talk.begin.load(Ordering::SeqCst) {
        hint::spin_loop();
    }
    sys::exit(body())
}

/// Starts a process that shares the caller's memory and runs `body`; `flags` of clone(2) may say what else it shares.
///
/// The C library keeps memory for each thread, and two tasks must not use the same: the child uses that of a thread which sleeps in a system call until the child has ended.
pub(super) fn start(flags: c_int, body: impl FnOnce() -> c_int + Send + 'static) -> Result<Pid> {
    let talk = Arc::new(Talk::default());
    let stack = Mapping::anonymous(STACK_PAGES)?;
    let top = stack.address() + stack.len() - 512;
    // The child needs it for as long as it lives.
    mem::forget(stack);
    let argument: Box<(Arc<Talk>, Body)> = Box::new((Arc::clone(&talk), Box::new(body)));
    let argument = Box::into_raw(argument).expose_provenance();
    let carried = Arc::clone(&talk);
    thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            let flags = libc::CLONE_VM | libc::SIGCHLD | flags;
            carried.carrier.take();
            // SAFETY: the child has a stack of its own, and waits before it touches what is this thread's.
            let pid = unsafe {
                libc::clone(
                    first,
                    std::ptr::with_exposed_provenance_mut(top),
                    flags,
                    std::ptr::with_exposed_provenance_mut(argument),
                )
            };
            let failed = std::io::Error::last_os_error().raw_os_error();
            let told = if pid == -1 { -failed.unwrap_or(1) } else { pid };
            carried.pid.store(told, Ordering::SeqCst);
            if let Ok(id) = libc::id_t::try_from(told) {
                // SAFETY: a null siginfo is allowed by the system call.
                unsafe {
                    libc::syscall(
                        libc::SYS_waitid,
                        libc::P_PID,
                        id,
                        std::ptr::null::<c_void>(),
                        libc::WEXITED | libc::WNOWAIT,
                        std::ptr::null::<c_void>(),
                    )
                };
            }
        })
        .map_err(Error::from_io("start a thread"))?;
    let pid = loop {
        match talk.pid.load(Ordering::SeqCst) {
            0 => sys::pause(),
            error @ ..0 => {
                return Err(Error::Situation(format!("clone: errno {}", -error)));
            }
            pid => break pid,
        }
    };
    talk.carrier.await_asleep()?;
    talk.begin.store(true, Ordering::SeqCst);
    Ok(pid)
}
