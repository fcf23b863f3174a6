//! What lives in the ipc namespace, and asynchronous I/O.

use std::ffi::{CStr, c_int};
use std::ptr;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys;

/// A new set of one semaphore.
fn semaphore() -> Result<c_int> {
    // SAFETY: plain numbers.
    sys::check("semget", unsafe {
        libc::semget(libc::IPC_PRIVATE, 1, libc::IPC_CREAT | 0o600)
    })
}

/// Adds to the semaphore of a set.
fn add(set: c_int, number: i16, flags: c_int) -> Result<()> {
    let mut operation = libc::sembuf {
        sem_num: 0,
        sem_op: number,
        sem_flg: i16::try_from(flags).unwrap_or(0),
    };
    // SAFETY: one operation, which lives.
    sys::check("semop", unsafe { libc::semop(set, &raw mut operation, 1) }).map(drop)
}

/// Removes a set.
fn remove(set: c_int) -> Result<()> {
    // SAFETY: the command takes no argument.
    sys::check("semctl", unsafe { libc::semctl(set, 0, libc::IPC_RMID) }).map(drop)
}

/// A set of semaphores.
pub(crate) fn semaphores(stage: &mut Stage, _args: &Args) -> Result<()> {
    let set = semaphore()?;
    add(set, 5, 0)?;
    stage.hold()?;
    // SAFETY: the command takes no argument.
    let value = unsafe { libc::semctl(set, 0, libc::GETVAL) };
    stage.equal("value", &value, &5);
    remove(set)
}

/// What is to be undone when the process ends.
pub(crate) fn semaphore_undo(stage: &mut Stage, _args: &Args) -> Result<()> {
    let set = semaphore()?;
    add(set, 5, libc::SEM_UNDO)?;
    stage.hold()?;
    stage.works(
        "the set can be used",
        add(set, 1, libc::SEM_UNDO).and_then(|()| remove(set)),
    );
    Ok(())
}

/// A message of a System V queue: its type and one byte.
#[repr(C)]
struct Message {
    kind: libc::c_long,
    byte: u8,
}

/// A System V queue with a message in it.
pub(crate) fn message_queue(stage: &mut Stage, _args: &Args) -> Result<()> {
    let sent = Message { kind: 3, byte: 77 };
    let mut received = Message { kind: 0, byte: 0 };
    // SAFETY: both messages live and have one byte of text.
    unsafe {
        let queue = sys::check(
            "msgget",
            libc::msgget(libc::IPC_PRIVATE, libc::IPC_CREAT | 0o600),
        )?;
        sys::check(
            "msgsnd",
            libc::msgsnd(queue, (&raw const sent).cast(), 1, 0),
        )?;
        stage.hold()?;
        let len = libc::msgrcv(queue, (&raw mut received).cast(), 1, 0, libc::IPC_NOWAIT);
        stage.equal("length", &len, &1);
        sys::check(
            "msgctl",
            libc::msgctl(queue, libc::IPC_RMID, ptr::null_mut()),
        )?;
    }
    stage.equal("type and text", &(received.kind, received.byte), &(3, 77));
    Ok(())
}

/// A POSIX queue with a message in it, which nobody has open.
pub(crate) fn posix_queue(stage: &mut Stage, _args: &Args) -> Result<()> {
    const NAME: &CStr = c"/crossthaw";
    let open = |flags: c_int| {
        // SAFETY: the name lives; the last two are for a new queue.
        sys::check("mq_open", unsafe {
            libc::mq_open(
                NAME.as_ptr(),
                flags,
                0o600 as libc::c_uint,
                ptr::null_mut::<libc::mq_attr>(),
            )
        })
    };
    let queue = open(libc::O_RDWR | libc::O_CREAT)?;
    let text = b"waiting";
    // SAFETY: the text lives.
    sys::check("mq_send", unsafe {
        libc::mq_send(queue, text.as_ptr().cast(), text.len(), 1)
    })?;
    // SAFETY: the descriptor is ours.
    sys::check("mq_close", unsafe { libc::mq_close(queue) })?;
    stage.hold()?;
    let queue = open(libc::O_RDONLY)?;
    // The default size of a message.
    let mut buffer = vec![0_u8; 8192];
    // SAFETY: the buffer lives.
    let len = unsafe {
        libc::mq_receive(
            queue,
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            ptr::null_mut(),
        )
    };
    let len = usize::try_from(len).map_err(|_| Error::last("mq_receive"))?;
    stage.equal("message", &&buffer[..len], &&text[..]);
    // SAFETY: the name lives.
    sys::check("mq_unlink", unsafe { libc::mq_unlink(NAME.as_ptr()) }).map(drop)
}

/// A context for asynchronous I/O.
pub(crate) fn aio(stage: &mut Stage, _args: &Args) -> Result<()> {
    let mut context = 0_usize;
    // SAFETY: the kernel writes one number.
    unsafe {
        sys::raw(
            "io_setup",
            libc::SYS_io_setup,
            [4, (&raw mut context).expose_provenance(), 0, 0, 0],
        )?
    };
    stage.hold()?;
    // SAFETY: plain numbers.
    stage.works("io_destroy", unsafe {
        sys::raw("io_destroy", libc::SYS_io_destroy, [context, 0, 0, 0, 0])
    });
    Ok(())
}
