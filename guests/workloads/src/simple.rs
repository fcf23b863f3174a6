//! One or two tasks: a loop, a system call, a name, a task that checkpoints itself.

use std::ffi::{c_int, c_long};
use std::fs;
use std::os::fd::{IntoRawFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossthaw_protocol::IMAGE_DIR;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys::{self, Status};

/// Set by the handler of SIGUSR1.
static RESUMED: AtomicBool = AtomicBool::new(false);

/// Notes that SIGUSR1 came.
extern "C" fn resumed(_signal: c_int) {
    RESUMED.store(true, Ordering::Relaxed);
}

/// How far the counter has to come before it says that it is ready.
const FLOOR: u64 = 200_000;

/// A child counts in memory and in a local variable, without system calls: both go on from where they were.
pub(crate) fn counter(stage: &mut Stage, _args: &Args) -> Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let child = stage.spawn("counter", |child| {
        sys::handle(libc::SIGUSR1, resumed, 0, &[])?;
        let mut local = 0_u64;
        while local < FLOOR {
            local = step(local, &COUNT);
        }
        child.ready()?;
        sys::unblock(&[libc::SIGUSR1])?;
        while !RESUMED.load(Ordering::Relaxed) {
            local = step(local, &COUNT);
        }
        child.check(
            "goes on from where it was",
            local > FLOOR,
            &format!("{local}, was above {FLOOR}"),
        );
        child.equal(
            "memory agrees with the local variable",
            &COUNT.load(Ordering::Relaxed),
            &local,
        );
        Ok(())
    })?;
    stage.await_ready(&child)?;
    child.await_spinning()?;
    stage.hold()?;
    child.resume()?;
    stage.join(&child)
}

/// Counts in both places.
fn step(local: u64, memory: &AtomicU64) -> u64 {
    let next = local + 1;
    memory.store(memory.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    std::hint::black_box(next)
}

/// A task that has to be blocked for long.
const LONG: Duration = Duration::from_secs(3600);

/// A child is frozen in the system call that `call` names, which goes on afterwards and ends as it would have.
pub(crate) fn blocked(stage: &mut Stage, args: &Args) -> Result<()> {
    match args.text("call", "sigsuspend") {
        "waitpid" => blocked_in_wait(stage),
        "sigtimedwait" => blocked_until(stage, |_| {
            sys::wait_signal(libc::SIGUSR1)?;
            RESUMED.store(true, Ordering::Relaxed);
            Ok(())
        }),
        "sigsuspend" => blocked_until(stage, |_| {
            sys::suspend(libc::SIGUSR1);
            Ok(())
        }),
        "futex" => blocked_until(stage, |child| {
            let word = 17_u32;
            // SAFETY: plain numbers and a word that lives; FUTEX_WAIT | FUTEX_PRIVATE_FLAG without a timeout.
            let ended = interrupted(|| unsafe {
                libc::syscall(libc::SYS_futex, &raw const word, 128, 17, 0, 0, 0)
            })?;
            child.equal("ends with", &ended, &Some(libc::EINTR));
            Ok(())
        }),
        "ppoll" => blocked_until(stage, |child| {
            let time = sys::timespec(LONG);
            let ended = interrupted(|| {
                let none = std::ptr::null_mut();
                // SAFETY: no descriptors and no mask; the time lives.
                unsafe { libc::ppoll(none, 0, &raw const time, std::ptr::null()) }.into()
            })?;
            child.equal("ends with", &ended, &Some(libc::EINTR));
            Ok(())
        }),
        other => Err(Error::Argument(format!("call={other}"))),
    }
}

/// Makes a call with SIGUSR1 unblocked; the errno that ended it, `None` for success.
fn interrupted(call: impl FnOnce() -> c_long) -> Result<Option<i32>> {
    sys::unblock(&[libc::SIGUSR1])?;
    let returned = call();
    let errno = std::io::Error::last_os_error().raw_os_error();
    Ok(if returned == -1 { errno } else { None })
}

/// A child sleeps in `call` until its handler of SIGUSR1 has run.
fn blocked_until(stage: &mut Stage, call: impl FnOnce(&mut Stage) -> Result<()>) -> Result<()> {
    let child = stage.spawn("sleeper", |child| {
        sys::handle(libc::SIGUSR1, resumed, 0, &[])?;
        child.ready()?;
        call(child)?;
        child.check(
            "ends when the signal comes, not before",
            RESUMED.load(Ordering::Relaxed),
            "the call ended without the signal",
        );
        Ok(())
    })?;
    stage.hold_waiting(&child)?;
    child.resume()?;
    stage.join(&child)
}

/// A child waits for its own child, which ends after the freeze.
fn blocked_in_wait(stage: &mut Stage) -> Result<()> {
    let child = stage.spawn("waiter", |waiter| {
        let inner = waiter.spawn_ready("inner", |inner| {
            inner.hold()?;
            sys::exit(77)
        })?;
        // The root resumes the inner one by this number.
        fs::write(waiter.path("inner"), inner.pid.to_string()).map_err(Error::from_io("write"))?;
        waiter.ready()?;
        let status = sys::wait(inner.pid)?;
        waiter.equal("the child's end", &status, &Status::Exited(77));
        Ok(())
    })?;
    stage.hold_waiting(&child)?;
    let inner = fs::read_to_string(stage.path("inner")).map_err(Error::from_io("read"))?;
    let inner = inner
        .parse()
        .map_err(|_| Error::Situation(format!("no pid: {inner:?}")))?;
    sys::kill(inner, libc::SIGUSR1)?;
    stage.join(&child)
}

/// The task's name, arguments, environment, auxiliary vector and executable, as the kernel shows them.
pub(crate) fn identity(stage: &mut Stage, _args: &Args) -> Result<()> {
    // SAFETY: a string that ends with zero and fits.
    sys::check("prctl", unsafe {
        libc::prctl(libc::PR_SET_NAME, c"over (the) ice".as_ptr())
    })?;
    let before = seen()?;
    stage.hold()?;
    let after = seen()?;
    for ((name, before), (_, after)) in before.iter().zip(&after) {
        stage.equal(name, after, before);
    }
    let mut name = [0_u8; 16];
    // SAFETY: the kernel writes 16 bytes.
    stage.works(
        "prctl",
        sys::check("prctl", unsafe {
            libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr())
        }),
    );
    stage.equal("name", &name.as_slice(), &b"over (the) ice\0\0".as_slice());
    Ok(())
}

/// What `/proc/self` shows.
fn seen() -> Result<Vec<(&'static str, Vec<u8>)>> {
    let mut seen = Vec::new();
    for name in ["comm", "cmdline", "environ", "auxv", "personality"] {
        seen.push((
            name,
            fs::read(format!("/proc/self/{name}")).map_err(Error::from_io("read /proc/self"))?,
        ));
    }
    for name in ["exe", "cwd", "root"] {
        let target = fs::read_link(format!("/proc/self/{name}"))
            .map_err(Error::from_io("readlink /proc/self"))?;
        seen.push((name, target.into_os_string().into_encoded_bytes()));
    }
    Ok(seen)
}

/// Number of checkpoint(2), on every architecture.
pub(crate) const SYS_CHECKPOINT: c_long = 500;

/// Flag of checkpoint(2): the task need not be a container's init.
const CHECKPOINT_SUBTREE: c_long = 1;

/// checkpoint(2) of the tree below a task, or with 0 of the calling task itself, as the system call returns.
pub(crate) fn checkpoint(pid: sys::Pid, fd: RawFd) -> c_long {
    // SAFETY: plain numbers; what happens to the copy is what the callers are about.
    unsafe {
        libc::syscall(
            SYS_CHECKPOINT,
            c_long::from(pid),
            c_long::from(fd),
            CHECKPOINT_SUBTREE,
            -1,
        )
    }
}

/// checkpoint(2) of the calling task itself: an id above 0 in the task that called, 0 in its restored copy.
fn checkpoint_self(fd: RawFd) -> Result<c_long> {
    let id = checkpoint(0, fd);
    if id == -1 {
        Err(Error::last("checkpoint"))
    } else {
        Ok(id)
    }
}

/// The image that the harness fetches.
fn image_path() -> std::path::PathBuf {
    Path::new(IMAGE_DIR).join("self.img")
}

/// Checks what checkpoint(2) returned. Which copy this is, the folder tells: the first one leaves a mark, and the folder of the second one has it.
fn check_result(stage: &mut Stage, id: c_long, fd: RawFd, memory: &[u8]) -> Result<()> {
    let mark = stage.path("lived-on");
    if mark.exists() {
        stage.equal("result in the restored copy", &id, &0);
        stage.check(
            "the image's descriptor is closed in the restored copy",
            !sys::is_open(fd),
            "it is open",
        );
    } else {
        stage.check("result in the task that called", id > 0, &format!("{id}"));
        stage.check(
            "the image's descriptor stays open",
            sys::is_open(fd),
            "it is closed",
        );
        // A pipe has no position.
        if let Ok(position) = sys::offset(fd) {
            let length = sys::seek(fd, 0, libc::SEEK_END)?;
            stage.check(
                "the descriptor's position is behind the image",
                position > 0 && position == length,
                &format!("{position} of {length}"),
            );
        }
        sys::close(fd)?;
        fs::write(mark, "").map_err(Error::from_io("write"))?;
    }
    stage.equal("memory", &crate::pattern::mismatch(memory, 5), &None);
    Ok(())
}

/// The root checkpoints itself into a file.
pub(crate) fn self_file(stage: &mut Stage, _args: &Args) -> Result<()> {
    checkpoint_into_file(stage)?;
    stage.hold()
}

/// The calling process checkpoints itself into a file; what it and its restored copy see of that is checked.
pub(crate) fn checkpoint_into_file(stage: &mut Stage) -> Result<()> {
    let memory = crate::pattern::piece(5, 0, 100_000);
    let fd = fs::File::create(image_path())
        .map_err(Error::from_io("create the image"))?
        .into_raw_fd();
    let id = checkpoint_self(fd)?;
    check_result(stage, id, fd, &memory)
}

/// A child checkpoints itself into a pipe; its parent, which is not part of the image, stores what comes out.
///
/// In the restored copy the child is the tree's root, and reports as such.
pub(crate) fn self_pipe(stage: &mut Stage, _args: &Args) -> Result<()> {
    let [out, into] = sys::pipe(0)?;
    let report = stage.path(crossthaw_protocol::REPORT_FILE);
    let child = stage.spawn("streamer", |child| {
        sys::close(out)?;
        child.report_to(report);
        let memory = crate::pattern::piece(5, 0, 100_000);
        let id = checkpoint_self(into)?;
        check_result(child, id, into, &memory)?;
        child.wait_resume()?;
        Ok(())
    })?;
    sys::close(into)?;
    let mut image = fs::File::create(image_path()).map_err(Error::from_io("create the image"))?;
    let copied = drain(out, &mut image)?;
    sys::close(out)?;
    if copied == 0 {
        return Err(Error::Situation("nothing came out of the pipe".to_owned()));
    }
    stage.hold()?;
    child.resume()?;
    let status = sys::wait(child.pid)?;
    stage.absorb(&child)?;
    stage.equal("the streamer's end", &status, &Status::Exited(0));
    Ok(())
}

/// Copies a pipe to a file until its writers are gone; how many bytes there were.
fn drain(pipe: RawFd, file: &mut fs::File) -> Result<u64> {
    let mut bytes = vec![0; 64 << 10];
    let mut total = 0;
    loop {
        let count = sys::read(pipe, &mut bytes)?;
        if count == 0 {
            return Ok(total);
        }
        std::io::Write::write_all(file, &bytes[..count])
            .map_err(Error::from_io("write the image"))?;
        total += count as u64;
    }
}
