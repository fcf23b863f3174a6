//! Threads: each keeps its id, name, thread-local memory, stack, mask and alternate stack, and goes on with what it was waiting for.
//!
//! A thread says where it is in a [`Seat`] before it waits, and the next one is made when it sleeps: so the ids are the same in each run,
//! and no thread waits for another one's lock.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::{c_int, c_long};
use std::fs;
use std::hint::black_box;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::{Child, Stage};
use crate::sys::{self, Pid, Status};

/// Bytes of a thread's stack.
pub(crate) const STACK: usize = 256 << 10;

/// Bytes that a thread keeps on its stack while it waits.
const KEPT: usize = 2048;

/// A sleep that nobody waits for the end of.
const LONG: Duration = Duration::from_secs(3600);

thread_local! {
    /// Set by each thread to a value of its own.
    static MARKER: Cell<usize> = const { Cell::new(0) };
}

/// Only to interrupt.
extern "C" fn nothing(_signal: c_int) {}

/// Where a thread is: its id when it is about to wait, 0 before.
#[derive(Debug, Default)]
pub(crate) struct Seat(AtomicI32);

impl Seat {
    /// One that nobody has taken.
    pub(crate) const fn new() -> Self {
        Self(AtomicI32::new(0))
    }

    /// The calling thread is about to wait.
    pub(crate) fn take(&self) {
        self.0.store(sys::tid(), Ordering::SeqCst);
    }

    /// Waits until the thread has taken the seat and sleeps; returns its id.
    pub(crate) fn await_asleep(&self) -> Result<Pid> {
        loop {
            let tid = self.0.load(Ordering::SeqCst);
            if tid != 0 && sys::state(tid)? == 'S' && sys::is_blocked(tid)? {
                return Ok(tid);
            }
            sys::pause();
        }
    }
}

/// What threads wait for together.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    /// A closed one.
    pub(crate) const fn new() -> Self {
        Self {
            open: Mutex::new(false),
            opened: Condvar::new(),
        }
    }

    pub(crate) fn wait(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        while !*open {
            open = self
                .opened
                .wait(open)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(crate) fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }
}

/// The ids of this process's threads.
fn threads() -> Result<BTreeSet<Pid>> {
    let entries = fs::read_dir("/proc/self/task").map_err(Error::from_io("list the threads"))?;
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect())
}

/// A thread in a scope, with a small stack.
pub(crate) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    body: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK)
        .spawn_scoped(scope, body)
        .map_err(Error::from_io("start a thread"))
}

/// What a thread returned.
pub(crate) fn join<T>(handle: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    handle
        .join()
        .map_err(|_| Error::Situation("a thread panicked".to_owned()))?
}

/// What a thread says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    tid: Pid,
    pid: Pid,
    name: String,
    marker: usize,
    marker_at: usize,
    mask: u64,
    altstack: (usize, usize, c_int),
    robust_list: usize,
}

impl Identity {
    fn now() -> Result<Self> {
        let comm = fs::read_to_string("/proc/thread-self/comm")
            .map_err(Error::from_io("read the thread's name"))?;
        // SAFETY: all-zero bytes are a valid stack_t.
        let mut altstack: libc::stack_t = unsafe { std::mem::zeroed() };
        // SAFETY: the structure outlives the call.
        sys::check("sigaltstack", unsafe {
            libc::sigaltstack(std::ptr::null(), &raw mut altstack)
        })?;
        let (mut robust_list, mut len) = (0_usize, 0_usize);
        // SAFETY: both outlive the call.
        unsafe {
            sys::raw(
                "get_robust_list",
                libc::SYS_get_robust_list,
                [
                    0,
                    (&raw mut robust_list).addr(),
                    (&raw mut len).addr(),
                    0,
                    0,
                ],
            )?;
        }
        Ok(Self {
            tid: sys::tid(),
            pid: sys::pid(),
            name: comm.trim_end().to_owned(),
            marker: MARKER.get(),
            marker_at: MARKER.with(|marker| std::ptr::from_ref(marker).addr()),
            mask: sys::mask()?,
            altstack: (altstack.ss_sp.addr(), altstack.ss_size, altstack.ss_flags),
            robust_list,
        })
    }
}

/// Threads with names, masks, thread-local values and stacks of their own wait; each is what it was, and is joined with its own result.
/// One has ended before: it does not come back.
pub(crate) fn basic(stage: &mut Stage, args: &Args) -> Result<()> {
    let count = args.number("count", 4)?.min(250);
    sys::one_heap();
    let gate = Gate::default();
    let seats: Vec<Seat> = (0..count).map(|_| Seat::default()).collect();
    thread::scope(|scope| {
        join(spawn(scope, "short", || Ok(()))?)?;
        // It is joined a little before it is gone.
        while threads()?.len() > 1 {
            sys::pause();
        }
        let mut handles = Vec::new();
        for (index, seat) in seats.iter().enumerate() {
            let gate = &gate;
            let body = move || individual(index, seat, gate);
            handles.push(spawn(scope, &format!("thread-{index}"), body)?);
            seat.await_asleep()?;
        }
        let before = threads()?;
        stage.hold()?;
        stage.equal("threads", &threads()?, &before);
        stage.equal("how many", &before.len(), &(count + 1));
        gate.open();
        for (index, handle) in handles.into_iter().enumerate() {
            let (before, after, kept) = join(handle)?;
            stage.equal(&format!("thread {index}"), &after, &before);
            stage.equal(
                &format!("what thread {index} kept on its stack"),
                &kept,
                &vec![marker_byte(index); KEPT],
            );
        }
        // A thread is joined a little before it is gone.
        while threads()? != BTreeSet::from([sys::pid()]) {
            sys::pause();
        }
        Ok(())
    })
}

/// A byte that tells one thread from the next.
fn marker_byte(index: usize) -> u8 {
    u8::try_from(index % 251).unwrap_or_default() + 1
}

/// What each thread of [`basic`] does: what it was before and after, and what it kept on its stack.
fn individual(index: usize, seat: &Seat, gate: &Gate) -> Result<(Identity, Identity, Vec<u8>)> {
    MARKER.set(index + 1000);
    let kept = black_box([marker_byte(index); KEPT]);
    let blocked = c_int::try_from(index % 20).unwrap_or(0) + libc::SIGRTMIN();
    sys::block(&[blocked])?;
    let before = Identity::now()?;
    seat.take();
    gate.wait();
    Ok((before, Identity::now()?, black_box(&kept).to_vec()))
}

/// Threads that nobody joins: they go on, and end.
pub(crate) fn detached(stage: &mut Stage, _args: &Args) -> Result<()> {
    static GATE: Gate = Gate::new();
    static SEATS: [Seat; 3] = [const { Seat::new() }; 3];
    static DONE: AtomicUsize = AtomicUsize::new(0);
    sys::one_heap();
    for seat in &SEATS {
        thread::Builder::new()
            .stack_size(STACK)
            .spawn(|| {
                seat.take();
                GATE.wait();
                DONE.fetch_add(1, Ordering::SeqCst);
            })
            .map(drop)
            .map_err(Error::from_io("start a thread"))?;
        seat.await_asleep()?;
    }
    stage.hold()?;
    stage.equal("threads", &threads()?.len(), &(SEATS.len() + 1));
    GATE.open();
    while threads()?.len() > 1 {
        sys::pause();
    }
    stage.equal("have ended", &DONE.load(Ordering::SeqCst), &SEATS.len());
    Ok(())
}

/// The errno of a call that failed.
fn errno(returned: c_long) -> i32 {
    if returned == -1 {
        std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
    } else {
        0
    }
}

/// What ends a wait of [`blocked`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Gate,
    Signal(c_int),
    Child,
}

/// Each thread waits in another call, and each ends with its own result.
pub(crate) fn blocked(stage: &mut Stage, _args: &Args) -> Result<()> {
    sys::one_heap();
    sys::handle(libc::SIGUSR2, nothing, 0, &[])?;
    let taken = libc::SIGRTMIN() + 1;
    sys::block(&[libc::SIGUSR2, taken])?;
    let child = stage.spawn_ready("child", |child| {
        child.hold()?;
        child.check("is resumed", true, "");
        Ok(())
    })?;
    let gate = Gate::default();
    let wait: &(dyn Fn(&str) -> Result<i32> + Sync) = &|call| match call {
        "futex" => {
            gate.wait();
            Ok(0)
        }
        "nanosleep" => {
            sys::unblock(&[libc::SIGUSR2])?;
            let time = sys::timespec(LONG);
            // SAFETY: the time lives.
            let returned = unsafe { libc::nanosleep(&raw const time, std::ptr::null_mut()) };
            Ok(errno(returned.into()))
        }
        "poll" => {
            sys::unblock(&[libc::SIGUSR2])?;
            // SAFETY: no descriptors.
            Ok(errno(
                unsafe { libc::poll(std::ptr::null_mut(), 0, -1) }.into(),
            ))
        }
        "sigsuspend" => {
            sys::suspend(libc::SIGUSR2);
            Ok(libc::EINTR)
        }
        "sigtimedwait" => {
            sys::wait_signal(taken)?;
            Ok(taken)
        }
        _ => {
            // SAFETY: all-zero bytes are a valid siginfo_t, which outlives the call.
            let returned = unsafe {
                let mut info: libc::siginfo_t = std::mem::zeroed();
                let id = libc::id_t::try_from(child.pid).unwrap_or(0);
                let how = libc::WEXITED | libc::WNOWAIT;
                libc::waitid(libc::P_PID, id, &raw mut info, how)
            };
            Ok(errno(returned.into()))
        }
    };
    let calls = [
        ("futex", End::Gate, 0),
        ("nanosleep", End::Signal(libc::SIGUSR2), libc::EINTR),
        ("poll", End::Signal(libc::SIGUSR2), libc::EINTR),
        ("sigsuspend", End::Signal(libc::SIGUSR2), libc::EINTR),
        ("sigtimedwait", End::Signal(taken), taken),
        ("waitid", End::Child, 0),
    ];
    let seats = [const { Seat::new() }; 6];
    thread::scope(|scope| {
        let mut handles = Vec::new();
        for ((call, ..), seat) in calls.iter().zip(&seats) {
            let body = move || {
                seat.take();
                wait(call)
            };
            handles.push(spawn(scope, call, body)?);
            seat.await_asleep()?;
        }
        stage.hold()?;
        for (((call, end, result), seat), handle) in calls.iter().zip(&seats).zip(handles) {
            // A thread that makes its call anew is not in it at once, and a signal would interrupt nothing.
            let tid = seat.await_asleep()?;
            stage.equal(
                &format!("{call} has not ended"),
                &handle.is_finished(),
                &false,
            );
            match end {
                End::Gate => gate.open(),
                End::Signal(signal) => sys::kill_thread(tid, *signal)?,
                End::Child => child.resume()?,
            }
            stage.equal(&format!("result of {call}"), &join(handle)?, result);
        }
        stage.join(&child)
    })
}

/// Two threads with children: each child still belongs to the thread that forked it.
pub(crate) fn children(stage: &mut Stage, _args: &Args) -> Result<()> {
    sys::one_heap();
    let (gate, seats) = (Gate::default(), [const { Seat::new() }; 2]);
    let children: [Mutex<Option<Child>>; 2] = [const { Mutex::new(None) }; 2];
    let beside = stage.beside();
    thread::scope(|scope| {
        let mut handles = Vec::new();
        for (index, seat) in seats.iter().enumerate() {
            let (shared, children, gate) = (&beside, &children, &gate);
            let body = move || -> Result<[i32; 2]> {
                let child = shared.spawn_ready(&format!("child-{index}"), |child| {
                    child.hold()?;
                    child.check("is resumed", true, "");
                    Ok(())
                })?;
                *lock(&children[index]) = Some(child);
                seat.take();
                gate.wait();
                let pids = children
                    .each_ref()
                    .map(|child| lock(child).as_ref().map_or(0, |child| child.pid));
                Ok([own_child(pids[index]), own_child(pids[1 - index])])
            };
            handles.push(spawn(scope, &format!("parent-{index}"), body)?);
            seat.await_asleep()?;
        }
        stage.hold()?;
        gate.open();
        for (index, handle) in handles.into_iter().enumerate() {
            stage.equal(
                &format!("parent-{index} finds its child, and not the other one"),
                &join(handle)?,
                &[0, libc::ECHILD],
            );
        }
        for child in &children {
            let child = lock(child).take();
            let child = child.ok_or_else(|| Error::Situation("no child".to_owned()))?;
            child.resume()?;
            stage.join(&child)?;
        }
        Ok(())
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `__WNOTHREAD`: only children of the calling thread.
const NO_THREAD: c_int = 0x2000_0000;

/// 0 if this child, which lives, was forked by the calling thread, otherwise the errno.
fn own_child(pid: Pid) -> i32 {
    // SAFETY: a null status is allowed.
    let returned = unsafe {
        libc::waitpid(
            pid,
            std::ptr::null_mut(),
            libc::WNOHANG | libc::__WALL | NO_THREAD,
        )
    };
    errno(returned.into())
}

/// How a thread leaves its group in one respect.
type Prepare = fn(&Stage) -> Result<()>;

/// Threads with descriptors, a working directory and a umask, and user ids of their own.
pub(crate) fn unshared(stage: &mut Stage, _args: &Args) -> Result<()> {
    sys::one_heap();
    fs::create_dir(stage.path("elsewhere")).map_err(Error::from_io("make a directory"))?;
    fs::write(stage.path("file"), "of one thread").map_err(Error::from_io("write"))?;
    let gates: [Gate; 4] = std::array::from_fn(|_| Gate::default());
    let seats = [const { Seat::new() }; 4];
    let beside = stage.beside();
    let prepare: [(&str, Prepare); 4] = [
        ("shares", |_| Ok(())),
        ("files", |stage| {
            sys::unshare(libc::CLONE_FILES)?;
            let file = sys::open(&stage.path("file"), libc::O_RDONLY)?;
            // SAFETY: the number is not in use.
            sys::check("dup2", unsafe { libc::dup2(file, 77) })?;
            sys::seek(77, 3, libc::SEEK_SET)?;
            sys::close(file)
        }),
        ("fs", |stage| {
            sys::unshare(libc::CLONE_FS)?;
            let path = sys::c_path(&stage.path("elsewhere"))?;
            // SAFETY: the path lives.
            sys::check("chdir", unsafe { libc::chdir(path.as_ptr()) })?;
            // SAFETY: plain numbers.
            unsafe { libc::umask(0o051) };
            Ok(())
        }),
        // The system call: the C library's function would change all threads.
        ("ids", |_| {
            // SAFETY: plain numbers.
            unsafe { sys::raw("setresuid", SETRESUID, [1001, 1002, 1003, 0, 0]) }.map(drop)
        }),
    ];
    thread::scope(|scope| {
        let mut handles = Vec::new();
        for (((name, prepare), seat), gate) in prepare.into_iter().zip(&seats).zip(&gates) {
            let shared = &beside;
            let body = move || -> Result<(Own, Own)> {
                prepare(shared)?;
                let before = Own::now()?;
                seat.take();
                gate.wait();
                Ok((before, Own::now()?))
            };
            handles.push((name, gate, spawn(scope, name, body)?));
            seat.await_asleep()?;
        }
        let before = Own::now()?;
        stage.hold()?;
        stage.equal("the leader", &Own::now()?, &before);
        for (name, gate, handle) in handles {
            // One after the other: each opens files to look.
            gate.open();
            let (own, after) = join(handle)?;
            stage.equal(name, &after, &own);
            stage.equal(
                &format!("{name} is like the leader"),
                &(own == before),
                &(name == "shares"),
            );
        }
        Ok(())
    })
}

/// The call with 32-bit ids.
#[cfg(target_arch = "x86")]
const SETRESUID: c_long = libc::SYS_setresuid32;
/// The call with 32-bit ids.
#[cfg(not(target_arch = "x86"))]
const SETRESUID: c_long = libc::SYS_setresuid;

/// What a thread need not share with its group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Own {
    offset: Option<i64>,
    descriptors: usize,
    cwd: String,
    umask: String,
    ids: Vec<String>,
}

impl Own {
    fn now() -> Result<Self> {
        let link = fs::read_link("/proc/thread-self/cwd").map_err(Error::from_io("read cwd"))?;
        let status = fs::read_to_string("/proc/thread-self/status")
            .map_err(Error::from_io("read status"))?;
        let lines = |name: &'static str| status.lines().filter(move |line| line.starts_with(name));
        Ok(Self {
            offset: sys::is_open(77).then(|| sys::offset(77)).transpose()?,
            descriptors: (0..100).filter(|&fd| sys::is_open(fd)).count(),
            cwd: link.display().to_string(),
            umask: lines("Umask:").collect(),
            ids: lines("Uid:")
                .chain(lines("Cap"))
                .map(str::to_owned)
                .collect(),
        })
    }
}

/// A thread that is not the leader ends the whole process.
pub(crate) fn group_exit(stage: &mut Stage, _args: &Args) -> Result<()> {
    let child = stage.spawn_ready("child", |child| {
        sys::one_heap();
        let (never, seats) = (Gate::default(), [const { Seat::new() }; 2]);
        thread::scope(|scope| {
            let last = spawn(scope, "last", || {
                seats[0].take();
                sys::wait_signal(libc::SIGUSR1)?;
                sys::exit(17)
            })?;
            seats[0].await_asleep()?;
            spawn(scope, "waits", || {
                seats[1].take();
                never.wait();
            })?;
            seats[1].await_asleep()?;
            child.ready()?;
            join::<()>(last)
        })
    })?;
    stage.hold()?;
    child.resume()?;
    stage.equal("how it ended", &sys::wait(child.pid)?, &Status::Exited(17));
    Ok(())
}
