//! A tree that may be restarted with other pids: its tasks are what they were to each other.
//!
//! What a process has written down of pids may be wrong afterwards, so nobody here uses a number from before the checkpoint.

use std::collections::BTreeSet;
use std::ffi::c_int;
use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::thread::JoinHandleExt;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::pid_namespaces::{self, await_end};
use crate::posix_timers::{LONG, Notify, Timer};
use crate::stage::Stage;
use crate::sys::{self, Pid, Status};
use crate::threads::Seat;

/// The signal by which threads are resumed.
fn resume_signal() -> c_int {
    libc::SIGRTMIN() + 3
}

/// The signal of a timer.
fn timer_signal() -> c_int {
    libc::SIGRTMIN() + 4
}

/// A signal that is queued, with a value.
fn queued_signal() -> c_int {
    libc::SIGRTMIN() + 5
}

/// What was queued with it.
const VALUE: usize = 77;

/// The pids of the caller's children as they are now, the one that has been its child longest first.
fn children() -> Result<Vec<Pid>> {
    let path = "/proc/thread-self/children";
    let text = fs::read_to_string(path).map_err(Error::from_io("read a list of children"))?;
    let pid = |word: &str| {
        word.parse()
            .map_err(|_| Error::Situation(format!("no list of pids: {text:?}")))
    };
    text.split_whitespace().map(pid).collect()
}

/// Waits for a signal that is blocked, takes it, and tells which process sent it.
fn sender_of(signal: c_int) -> Pid {
    let set = sys::set_of(&[signal]);
    let mut info: MaybeUninit<libc::siginfo_t> = MaybeUninit::zeroed();
    // What freezes the process interrupts the wait.
    // SAFETY: both live, and the kernel fills in the second.
    while unsafe { libc::sigwaitinfo(&raw const set, info.as_mut_ptr()) } != signal {}
    // SAFETY: all-zero bytes are valid, and what the kernel wrote is.
    unsafe { info.assume_init().si_pid() }
}

/// What the calling process is among others, whatever they are called.
fn place() -> [(&'static str, bool); 4] {
    let (pid, parent) = (sys::pid(), sys::parent());
    // SAFETY: plain numbers.
    let own = unsafe { (libc::getpgid(0), libc::getsid(0)) };
    // SAFETY: plain numbers.
    let parents = unsafe { (libc::getpgid(parent), libc::getsid(parent)) };
    [
        ("leads its group", own.0 == pid),
        ("leads its session", own.1 == pid),
        ("is in its parent's group", own.0 == parents.0),
        ("is in its parent's session", own.1 == parents.1),
    ]
}

/// Is held, and is afterwards what it was before.
fn held(stage: &mut Stage) -> Result<()> {
    let before = place();
    stage.hold()?;
    stage.equal("place in the tree", &place(), &before);
    Ok(())
}

/// Resumes a child of the caller by what it is called now, and takes its report over.
fn finish(stage: &mut Stage, name: &str, pid: Pid) -> Result<()> {
    let child = stage.descendant(name, pid);
    child.resume()?;
    stage.join(&child)
}

/// The same with all children of the caller, which have these names.
fn resume_all(stage: &mut Stage, names: &[&str]) -> Result<()> {
    let pids = children()?;
    stage.equal("children", &pids.len(), &names.len());
    let mut all = names.iter().zip(pids);
    all.try_for_each(|(name, pid)| finish(stage, name, pid))
}

/// Groups and sessions, one without its leader, signals of members of the tree, a zombie: all find each other under their new pids.
pub(crate) fn family(stage: &mut Stage, _args: &Args) -> Result<()> {
    sys::block(&[libc::SIGCHLD, libc::SIGUSR2, queued_signal()])?;
    let root = stage.adopt_orphans()?;
    stage.spawn_ready("group", |group| {
        sys::set_group(0, 0)?;
        group.spawn_ready("member", held)?;
        held(group)?;
        resume_all(group, &["member"])
    })?;
    stage.spawn_ready("session", |session| {
        // SAFETY: plain numbers.
        sys::check("setsid", unsafe { libc::setsid() })?;
        session.spawn_ready("member", held)?;
        held(session)?;
        resume_all(session, &["member"])
    })?;
    let leader = stage.spawn("leader", |leader| {
        // SAFETY: plain numbers.
        sys::check("setsid", unsafe { libc::setsid() })?;
        leader.spawn("inner", |inner| {
            inner.await_adoption(root, ".inner")?;
            held(inner)
        })?;
        leader.check("has a child", children()?.len() == 1, "");
        Ok(())
    })?;
    stage.join(&leader)?;
    stage.await_descendant("leader.inner")?;
    let receiver = stage.spawn_ready("receiver", |receiver| {
        held(receiver)?;
        let sender = receiver.noted_pid(".sender-now")?;
        receiver.equal("sender", &sender_of(libc::SIGUSR2), &sender);
        receiver.equal("sender of a value", &sender_of(queued_signal()), &sender);
        Ok(())
    })?;
    stage.spawn_ready("sender", |sender| {
        sys::kill(receiver.pid, libc::SIGUSR2)?;
        sys::queue(receiver.pid, queued_signal(), VALUE)?;
        held(sender)?;
        sender.note_pid(".sender-now")
    })?;
    // Those of the leader's end and the like.
    while sys::pending()? & (1 << (libc::SIGCHLD - 1)) != 0 {
        sender_of(libc::SIGCHLD);
    }
    let Some(ended) = sys::fork()? else {
        sys::exit(7)
    };
    await_end(ended)?;
    held(stage)?;
    let pids = children()?;
    let names = ["group", "session", "leader.inner", "receiver", "sender"];
    let [others @ .., ended] = &pids[..] else {
        return Err(Error::Situation("no children".to_owned()));
    };
    stage.equal("children", &others.len(), &names.len());
    stage.equal("who has ended", &sender_of(libc::SIGCHLD), ended);
    stage.equal("the zombie", &sys::wait(*ended)?, &Status::Exited(7));
    // The receiver comes last: it asks who the sender is.
    for place in [0, 1, 2, 4, 3] {
        if let (Some(name), Some(&pid)) = (names.get(place), others.get(place)) {
            finish(stage, name, pid)?;
        }
    }
    fs::remove_file(stage.path(".sender-now")).map_err(Error::from_io("delete"))?;
    fs::remove_file(stage.path(".inner")).map_err(Error::from_io("delete"))
}

/// Where the threads are that wait to be resumed.
static SEATS: [Seat; 2] = [Seat::new(), Seat::new()];

/// Threads that the C library finds by the numbers that it has written down, one with a timer of its own and one with a signal in its queue.
pub(crate) fn threads(stage: &mut Stage, _args: &Args) -> Result<()> {
    let all = [resume_signal(), timer_signal(), queued_signal()];
    sys::block(&all)?;
    let mut threads = Vec::new();
    let mut tids = Vec::new();
    // SAFETY: takes nothing.
    let first = unsafe { libc::pthread_self() };
    for seat in &SEATS {
        threads.push(thread::spawn(move || {
            seat.take();
            let senders = [sender_of(resume_signal()), sender_of(queued_signal())];
            // SAFETY: the first thread joins this one.
            let told = unsafe { libc::pthread_kill(first, resume_signal()) };
            (sys::tid(), senders, told)
        }));
        tids.push(seat.await_asleep()?);
    }
    // In the queue of the second thread alone.
    sys::kill_thread(tids[1], queued_signal())?;
    let (say, said) = mpsc::channel();
    let alarmed = thread::spawn(move || {
        let _ = say.send(sys::tid());
        // The kernel sends it.
        let _nobody = sender_of(timer_signal());
        sys::tid()
    });
    let tid = said
        .recv()
        .map_err(|_| Error::Situation("a thread has not begun".to_owned()))?;
    let timer = Timer::new(
        libc::CLOCK_MONOTONIC,
        Notify::Thread(timer_signal(), tid),
        0,
    )?;
    let mut clock = 0;
    // SAFETY: the thread has not been joined, and the number is written to.
    let told = unsafe { libc::pthread_getcpuclockid(threads[0].as_pthread_t(), &raw mut clock) };
    stage.equal("pthread_getcpuclockid", &told, &0);
    let of_thread = Timer::new(clock, Notify::Nobody, 0)?;
    timer.set(0, LONG, Duration::ZERO)?;
    of_thread.set(0, LONG, Duration::ZERO)?;
    held(stage)?;
    let left = of_thread.get()?.0;
    stage.check(
        "CPU time is left",
        left > Duration::ZERO && left <= LONG,
        "",
    );
    timer.set(0, Duration::from_millis(1), Duration::ZERO)?;
    let pid = sys::pid();
    // SAFETY: the thread has not been joined; nothing but numbers.
    let told = unsafe { libc::pthread_kill(threads[0].as_pthread_t(), queued_signal()) };
    stage.equal("pthread_kill", &told, &0);
    for thread in &threads {
        // SAFETY: as above.
        let told = unsafe { libc::pthread_kill(thread.as_pthread_t(), resume_signal()) };
        stage.equal("pthread_kill", &told, &0);
    }
    let mut found = Vec::new();
    for thread in threads {
        let outcome = thread
            .join()
            .map_err(|_| Error::Situation("a thread panicked".to_owned()))?;
        let (tid, senders, told) = outcome;
        stage.equal("who has sent signals", &senders, &[pid; 2]);
        stage.equal("pthread_kill of the first thread", &told, &0);
        // Both threads have sent it the same signal, and each is queued.
        stage.equal("who has sent it", &sender_of(resume_signal()), &pid);
        found.push(tid);
    }
    let alarmed = alarmed
        .join()
        .map_err(|_| Error::Situation("a thread panicked".to_owned()))?;
    found.push(alarmed);
    found.push(pid);
    let different: BTreeSet<Pid> = found.iter().copied().collect();
    stage.equal("different numbers", &different.len(), &4);
    Ok(())
}

/// A pid namespace below it: its members keep their numbers in there.
pub(crate) fn nested(stage: &mut Stage, _args: &Args) -> Result<()> {
    let child = stage.spawn_with(
        "init",
        || sys::clone(libc::CLONE_NEWPID),
        |init| {
            let before = (sys::pid(), sys::parent());
            let below = init.spawn_ready("below", pid_namespaces::with_thread)?;
            init.hold()?;
            init.equal("pid and parent", &(sys::pid(), sys::parent()), &before);
            init.equal("these are", &before, &(1, 0));
            below.resume()?;
            init.join(&below)
        },
    )?;
    stage.await_ready(&child)?;
    held(stage)?;
    resume_all(stage, &["init"])
}
