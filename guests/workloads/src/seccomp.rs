//! Filters on system calls, and strict mode: what a task gave up it does not get back, and no more is taken from it.

use std::fs;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_TRAP, c_int, c_long, sock_filter};

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys::{self, Pid, Status};
use crate::threads::{Gate, Seat, join, spawn};

/// `BPF_LD | BPF_W | BPF_ABS`: a word of struct `seccomp_data`.
const LOAD: u16 = 0x20;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
const EQUAL: u16 = 0x15;
/// `BPF_RET | BPF_K`.
const RETURN: u16 = 0x06;

/// Offset of the number of the system call in struct `seccomp_data`.
const NUMBER: u32 = 0;

/// openat2(2), which nothing else here uses, and which has this number everywhere.
const PROBE: c_long = 437;

/// faccessat2(2), likewise.
const OTHER: c_long = 439;

fn insn(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Has a filter answer one system call, and let all others pass.
fn answer(call: c_long, action: u32) -> Result<()> {
    let number = u32::try_from(call).unwrap_or(u32::MAX);
    install(
        &mut [
            insn(LOAD, 0, 0, NUMBER),
            insn(EQUAL, 0, 1, number),
            insn(RETURN, 0, 0, action),
            insn(RETURN, 0, 0, SECCOMP_RET_ALLOW),
        ],
        0,
    )
    .map(drop)
}

/// Makes a program the last filter; returns what seccomp(2) does.
pub(crate) fn install(insns: &mut [sock_filter], flags: libc::c_ulong) -> Result<usize> {
    let program = libc::sock_fprog {
        len: u16::try_from(insns.len()).unwrap_or(u16::MAX),
        filter: insns.as_mut_ptr(),
    };
    let arguments = [
        libc::SECCOMP_SET_MODE_FILTER as usize,
        usize::try_from(flags).unwrap_or(usize::MAX),
        (&raw const program).expose_provenance(),
        0,
        0,
    ];
    // SAFETY: the kernel copies the program, which lives.
    unsafe { sys::raw("seccomp", libc::SYS_seccomp, arguments) }
}

/// A program that lets all pass.
pub(crate) fn allow() -> [sock_filter; 1] {
    [insn(RETURN, 0, 0, SECCOMP_RET_ALLOW)]
}

/// The errno of a call that has no valid arguments: EINVAL where it passes, else what the filter says.
fn probe(call: c_long) -> c_int {
    let arguments: [c_long; 4] = [-1, 0, 0, if call == PROBE { 0 } else { -1 }];
    let [directory, path, how, last] = arguments;
    // SAFETY: a size that is none and flags that are none are told before anything else is looked at.
    let returned = unsafe { libc::syscall(call, directory, path, how, last) };
    if returned >= 0 {
        return 0;
    }
    std::io::Error::last_os_error().raw_os_error().unwrap_or(-1)
}

/// How many filters `/proc` says there are, and the mode.
fn told(pid: Pid) -> Result<(String, String)> {
    Ok((
        sys::status_field(pid, "Seccomp")?,
        sys::status_field(pid, "Seccomp_filters")?,
    ))
}

fn check_told(stage: &mut Stage, mode: &str, filters: &str) -> Result<()> {
    let expected = (mode.to_owned(), filters.to_owned());
    stage.equal("mode and filters", &told(sys::tid())?, &expected);
    Ok(())
}

/// A parent with one filter; a child that inherited it and has two of its own, the last of which wins where it is stricter; a child without one.
pub(crate) fn chain(stage: &mut Stage, _args: &Args) -> Result<()> {
    let free = stage.spawn_ready("free", |child| {
        child.hold()?;
        child.equal("the call", &probe(PROBE), &libc::EINVAL);
        check_told(child, "0", "0")
    })?;
    answer(PROBE, SECCOMP_RET_ERRNO | 1)?;
    let same = stage.spawn_ready("same", |child| {
        child.hold()?;
        child.equal("the call", &probe(PROBE), &1);
        check_told(child, "2", "1")
    })?;
    let more = stage.spawn_ready("more", |child| {
        // It allows all, and is asked all the same.
        install(&mut allow(), libc::SECCOMP_FILTER_FLAG_LOG)?;
        answer(OTHER, SECCOMP_RET_ERRNO | 2)?;
        child.hold()?;
        child.equal("the call", &probe(PROBE), &1);
        child.equal("the other call", &probe(OTHER), &2);
        check_told(child, "2", "3")?;
        // Children inherit what was restored.
        let Some(last) = sys::fork()? else {
            sys::exit(probe(PROBE))
        };
        child.equal("a new child", &sys::wait(last)?, &Status::Exited(1));
        Ok(())
    })?;
    stage.hold()?;
    stage.equal("the call", &probe(PROBE), &1);
    check_told(stage, "2", "1")?;
    for child in [&free, &same, &more] {
        child.resume()?;
        stage.join(child)?;
    }
    // One more goes behind what was restored.
    answer(OTHER, SECCOMP_RET_ERRNO | 3)?;
    check_told(stage, "2", "2")
}

/// As many instructions as a program may have.
const MOST: usize = 4096;

/// A filter that jumps over all that a program may hold, with its last instruction deciding.
pub(crate) fn long(stage: &mut Stage, _args: &Args) -> Result<()> {
    let number = u32::try_from(PROBE).unwrap_or(u32::MAX);
    let mut insns = vec![insn(LOAD, 0, 0, NUMBER)];
    // Each goes on to the next, whatever the number is.
    insns.extend((0..MOST - 4).map(|place| insn(EQUAL, 0, 0, u32::try_from(place).unwrap_or(0))));
    insns.extend([
        insn(EQUAL, 0, 1, number),
        insn(RETURN, 0, 0, SECCOMP_RET_ERRNO | 7),
        insn(RETURN, 0, 0, SECCOMP_RET_ALLOW),
    ]);
    install(&mut insns, 0)?;
    stage.hold()?;
    stage.equal("the call", &probe(PROBE), &7);
    check_told(stage, "2", "1")
}

/// Signals of the trapped calls.
static TRAPPED: AtomicI32 = AtomicI32::new(0);

extern "C" fn note(_signal: c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel hands it over for as long as the handler runs.
    let code = unsafe { (*info).si_code };
    TRAPPED.store(code, Ordering::SeqCst);
}

/// `SYS_SECCOMP` of include/uapi/asm-generic/siginfo.h.
const BY_SECCOMP: c_int = 1;

/// A filter that sends a signal, and a child of one that kills: what the filter does is done after the restart.
pub(crate) fn trap(stage: &mut Stage, _args: &Args) -> Result<()> {
    let killed = stage.spawn_ready("killed", |child| {
        answer(PROBE, libc::SECCOMP_RET_KILL_PROCESS)?;
        child.hold()?;
        probe(PROBE);
        Ok(())
    })?;
    sys::handle_detailed(libc::SIGSYS, note, 0)?;
    answer(PROBE, SECCOMP_RET_TRAP)?;
    stage.hold()?;
    probe(PROBE);
    stage.equal("the signal", &TRAPPED.load(Ordering::SeqCst), &BY_SECCOMP);
    killed.resume()?;
    let status = sys::wait(killed.pid)?;
    stage.equal(
        "the child is killed",
        &status,
        &Status::Killed(libc::SIGSYS),
    );
    Ok(())
}

/// Threads with filters of their own, behind that of their process.
pub(crate) fn threads(stage: &mut Stage, _args: &Args) -> Result<()> {
    sys::one_heap();
    let gates: [Gate; 3] = std::array::from_fn(|_| Gate::default());
    let seats: [Seat; 3] = std::array::from_fn(|_| Seat::default());
    answer(OTHER, SECCOMP_RET_ERRNO | 9)?;
    thread::scope(|scope| {
        let mut handles = Vec::new();
        for (own, (seat, gate)) in (0..3).zip(seats.iter().zip(&gates)) {
            let body = move || -> Result<(c_int, (String, String))> {
                for number in 0..own {
                    answer(PROBE, SECCOMP_RET_ERRNO | (20 + number))?;
                }
                seat.take();
                gate.wait();
                Ok((probe(PROBE), told(sys::tid())?))
            };
            handles.push((own, gate, spawn(scope, &format!("thread{own}"), body)?));
            seat.await_asleep()?;
        }
        stage.hold()?;
        stage.equal("the leader", &probe(PROBE), &libc::EINVAL);
        check_told(stage, "2", "1")?;
        for (own, gate, handle) in handles {
            gate.open();
            // Of answers that are as strict the last filter's is given.
            let errno = if own == 0 {
                libc::EINVAL
            } else {
                19 + own.cast_signed()
            };
            let filters = (own + 1).to_string();
            let expected = (errno, ("2".to_owned(), filters));
            stage.equal(&format!("thread {own}"), &join(handle)?, &expected);
        }
        Ok(())
    })
}

/// What a task in strict mode does: it reads a file until there is something in it, and then ends, or asks for its pid, which it may not.
fn strictly(file: c_int, obeys: bool) -> ! {
    let mut byte = 0_u8;
    // SAFETY: plain numbers, and a byte that lives; none of it returns to code that does more.
    unsafe {
        if libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) == 0 {
            while libc::read(file, (&raw mut byte).cast(), 1) == 0 {}
            if obeys {
                libc::syscall(libc::SYS_exit, 5);
            }
            libc::syscall(libc::SYS_getpid);
        }
    }
    sys::exit(6)
}

/// Two tasks in strict mode, which may read, write and end: one does no more than that.
pub(crate) fn strict(stage: &mut Stage, _args: &Args) -> Result<()> {
    let path = stage.path("word");
    fs::write(&path, "").map_err(Error::from_io("write"))?;
    let mut children = Vec::new();
    for obeys in [true, false] {
        let Some(child) = sys::fork()? else {
            let file = sys::open(&path, libc::O_RDONLY).unwrap_or(-1);
            strictly(file, obeys)
        };
        children.push((obeys, child));
    }
    let strict = ("1".to_owned(), "0".to_owned());
    for (_, child) in &children {
        while told(*child)? != strict {
            thread::yield_now();
        }
    }
    stage.hold()?;
    for (_, child) in &children {
        stage.equal("the mode", &told(*child)?, &strict);
    }
    fs::write(&path, "go").map_err(Error::from_io("write"))?;
    for (obeys, child) in children {
        let expected = if obeys {
            Status::Exited(5)
        } else {
            Status::Killed(libc::SIGKILL)
        };
        let name = if obeys {
            "reads and ends"
        } else {
            "asks for its pid"
        };
        stage.equal(name, &sys::wait(child)?, &expected);
    }
    Ok(())
}
