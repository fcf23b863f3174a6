//! Owners of open files: who gets a signal when something happens to one, and what the signal says.

use std::ffi::{c_int, c_long};
use std::fs;
use std::os::fd::RawFd;
use std::path::Path;
use std::thread;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::memfd;
use crate::stage::{Child, Stage};
use crate::sys::{self, Pid};
use crate::threads::{self, Gate, Seat};

const F_SETOWN_EX: c_int = 15;
const F_GETOWN_EX: c_int = 16;
const F_GETOWNER_UIDS: c_int = 17;
const F_SETSIG: c_int = 10;
const F_GETSIG: c_int = 11;

const THREAD: c_int = 0;
const PROCESS: c_int = 1;
const GROUP: c_int = 2;

/// What the signals tell of; no descriptor has that number any more.
const NUMBER: RawFd = 77;

/// A user that is not root.
const SOMEBODY: u32 = 1000;

/// The signal that is sent instead of SIGIO, with details.
pub(crate) fn signal() -> c_int {
    libc::SIGRTMIN() + 3
}

/// What a signal of an open file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Told {
    pub(crate) signal: c_int,
    error: c_int,
    pub(crate) code: c_int,
    pub(crate) band: c_long,
    pub(crate) fd: RawFd,
}

impl Told {
    /// One with details.
    pub(crate) fn new(code: c_int, band: c_long, fd: RawFd) -> Self {
        Self {
            signal: signal(),
            error: 0,
            code,
            band,
            fd,
        }
    }

    /// That there is something to read.
    fn of_bytes(fd: RawFd) -> Self {
        const POLL_IN: c_int = 1;
        Self::new(POLL_IN, 0x41, fd)
    }

    /// That something happened, without details.
    fn of_something() -> Self {
        Self {
            signal: libc::SIGIO,
            code: libc::SI_KERNEL,
            ..Self::new(0, 0, 0)
        }
    }
}

/// Takes such a signal, if one is pending.
pub(crate) fn take() -> Result<Option<Told>> {
    let set = sys::set_of(&[signal(), libc::SIGIO]);
    let none = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: all-zero bytes are a valid siginfo_t, which is larger than what is read of it; everything outlives the call.
    let (taken, told) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let taken = libc::sigtimedwait(&raw const set, &raw mut info, &raw const none);
        (taken, (&raw const info).cast::<Told>().read())
    };
    if taken != -1 {
        return Ok(Some(told));
    }
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => Ok(None),
        _ => Err(Error::last("sigtimedwait")),
    }
}

/// Both wait until they are taken.
pub(crate) fn block() -> Result<()> {
    sys::block(&[signal(), libc::SIGIO])
}

/// `struct f_owner_ex`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Owner {
    kind: c_int,
    pid: Pid,
}

fn set_owner(fd: RawFd, kind: c_int, pid: Pid) -> Result<()> {
    let owner = Owner { kind, pid };
    // SAFETY: the structure lives.
    sys::check("F_SETOWN_EX", unsafe {
        libc::fcntl(fd, F_SETOWN_EX, &raw const owner)
    })
    .map(drop)
}

pub(crate) fn set_signal(fd: RawFd, signal: c_int) -> Result<()> {
    // SAFETY: plain numbers.
    sys::check("F_SETSIG", unsafe { libc::fcntl(fd, F_SETSIG, signal) }).map(drop)
}

/// A device that this process owns.
pub(crate) fn owned() -> Result<RawFd> {
    let fd = sys::open(Path::new("/dev/null"), libc::O_RDONLY)?;
    set_owner(fd, PROCESS, sys::pid())?;
    Ok(fd)
}

/// All that can be asked of an owner: who, set by whom, the signal, whether it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    owner: Owner,
    users: [u32; 2],
    signal: Option<c_int>,
    is_async: bool,
}

fn ask(fd: RawFd) -> Result<Asked> {
    let mut owner = Owner { kind: -1, pid: -1 };
    let mut users = [u32::MAX; 2];
    // SAFETY: the kernel fills what lives.
    unsafe {
        sys::check("F_GETOWN_EX", libc::fcntl(fd, F_GETOWN_EX, &raw mut owner))?;
        sys::check(
            "F_GETOWNER_UIDS",
            libc::fcntl(fd, F_GETOWNER_UIDS, users.as_mut_ptr()),
        )?;
    }
    let flags = sys::descriptor_flags(fd, libc::F_GETFL).unwrap_or(0);
    Ok(Asked {
        owner,
        users,
        signal: sys::descriptor_flags(fd, F_GETSIG),
        is_async: flags & libc::O_ASYNC != 0,
    })
}

/// Signals are sent from now on, and tell of a number that is free again.
fn announce(fd: RawFd, number: RawFd) -> Result<()> {
    let flags = sys::descriptor_flags(fd, libc::F_GETFL).unwrap_or(0);
    // SAFETY: plain numbers; nobody else uses that one.
    unsafe {
        sys::check("dup2", libc::dup2(fd, number))?;
        sys::check(
            "F_SETFL",
            libc::fcntl(number, libc::F_SETFL, flags | libc::O_ASYNC),
        )?;
    }
    sys::close(number)
}

/// A pipe whose owner, when it has one, is told of bytes.
fn announced(number: RawFd) -> Result<[RawFd; 2]> {
    let [out, into] = sys::pipe(libc::O_NONBLOCK)?;
    announce(out, number)?;
    set_signal(out, signal())?;
    Ok([out, into])
}

/// Whoever owns the end of a pipe is told that there is something in it: a process, a thread, a child that does not have it open, or a group that has lost its leader; one that is gone is not.
pub(crate) fn told(stage: &mut Stage, args: &Args) -> Result<()> {
    block()?;
    let [out, into] = announced(NUMBER)?;
    match args.text("who", "process") {
        "process" => {
            set_owner(out, PROCESS, sys::pid())?;
            let before = ask(out)?;
            stage.hold()?;
            stage.equal("the owner", &ask(out)?, &before);
            stage.equal("a signal without a cause", &take()?, &None);
            sys::write(into, b"x")?;
            stage.equal("told", &take()?, &Some(Told::of_bytes(NUMBER)));
        }
        "thread" => to_thread(stage, out, into)?,
        "child" => to_child(stage, out, into, PROCESS)?,
        "group" => to_child(stage, out, into, GROUP)?,
        "gone" => {
            let gone = stage.spawn("gone", |child| {
                child.check("it has run", true, "");
                Ok(())
            })?;
            set_owner(out, PROCESS, gone.pid)?;
            stage.join(&gone)?;
            let before = ask(out)?;
            stage.hold()?;
            stage.equal("the owner", &ask(out)?, &before);
            let nobody = Owner {
                kind: PROCESS,
                pid: 0,
            };
            stage.equal("nobody", &before.owner, &nobody);
            sys::write(into, b"x")?;
            stage.equal("told", &take()?, &None);
        }
        other => return Err(Error::Argument(format!("who={other}"))),
    }
    Ok(())
}

/// A thread that is not the first.
fn to_thread(stage: &mut Stage, out: RawFd, into: RawFd) -> Result<()> {
    sys::one_heap();
    let (seat, gate) = (Seat::default(), Gate::default());
    thread::scope(|scope| {
        let body = || {
            seat.take();
            gate.wait();
            Ok((take()?, sys::tid()))
        };
        let owner = threads::spawn(scope, "owner", body)?;
        set_owner(out, THREAD, seat.await_asleep()?)?;
        let before = ask(out)?;
        stage.hold()?;
        let after = ask(out)?;
        sys::write(into, b"x")?;
        stage.equal("another thread", &take()?, &None);
        gate.open();
        let (told, pid) = threads::join(owner)?;
        stage.equal("told", &told, &Some(Told::of_bytes(NUMBER)));
        // It may have another number.
        let owner = Owner { kind: THREAD, pid };
        stage.equal("the owner", &after, &Asked { owner, ..before });
        Ok(())
    })
}

/// A child that leads a process group, until it is resumed.
pub(crate) fn leader(stage: &Stage) -> Result<Child> {
    stage.spawn_ready("leader", |child| {
        sys::set_group(0, 0)?;
        child.hold()?;
        child.check("it has led", true, "");
        Ok(())
    })
}

/// A child, by its own number or by that of its group, whose leader has ended.
fn to_child(stage: &mut Stage, out: RawFd, into: RawFd, kind: c_int) -> Result<()> {
    let group = match kind {
        GROUP => Some(leader(stage)?),
        _ => None,
    };
    let id = group.as_ref().map(|leader| leader.pid);
    let child = stage.spawn_ready("child", |child| {
        if let Some(id) = id {
            sys::set_group(0, id)?;
        }
        sys::close(out)?;
        child.hold()?;
        child.equal("told", &take()?, &Some(Told::of_bytes(NUMBER)));
        Ok(())
    })?;
    set_owner(out, kind, id.unwrap_or(child.pid))?;
    if let Some(leader) = group {
        leader.resume()?;
        stage.join(&leader)?;
    }
    let before = ask(out)?;
    stage.hold()?;
    stage.equal("the owner", &ask(out)?, &before);
    sys::write(into, b"x")?;
    stage.equal("who is not the owner", &take()?, &None);
    child.resume()?;
    stage.join(&child)
}

/// A signal that was sent, and is pending, says what it said.
pub(crate) fn pending(stage: &mut Stage, _args: &Args) -> Result<()> {
    block()?;
    let [out, into] = announced(NUMBER)?;
    set_owner(out, PROCESS, sys::pid())?;
    sys::write(into, b"x")?;
    stage.hold()?;
    stage.equal("pending", &take()?, &Some(Told::of_bytes(NUMBER)));
    stage.equal("once", &take()?, &None);
    Ok(())
}

/// A fifo that is open at both ends, whose owner gets SIGIO.
pub(crate) fn fifo(stage: &mut Stage, _args: &Args) -> Result<()> {
    block()?;
    let path = stage.path("fifo");
    let name = sys::c_path(&path)?;
    // SAFETY: the path lives.
    sys::check("mkfifo", unsafe { libc::mkfifo(name.as_ptr(), 0o600) })?;
    let fd = sys::open(&path, libc::O_RDWR | libc::O_NONBLOCK)?;
    announce(fd, NUMBER)?;
    set_owner(fd, PROCESS, sys::pid())?;
    let before = ask(fd)?;
    stage.hold()?;
    stage.equal("the owner", &ask(fd)?, &before);
    stage.equal("a signal without a cause", &take()?, &None);
    sys::write(fd, b"x")?;
    stage.equal("told of bytes", &take()?, &Some(Told::of_something()));
    set_signal(fd, signal())?;
    sys::write(fd, b"x")?;
    stage.equal("the number", &take()?, &Some(Told::of_bytes(NUMBER)));
    Ok(())
}

/// The writer of a pipe is told that there is room in it again, and that nobody reads it.
pub(crate) fn writer(stage: &mut Stage, _args: &Args) -> Result<()> {
    const POLL_OUT: c_int = 2;
    block()?;
    let [out, into] = sys::pipe(libc::O_NONBLOCK)?;
    while sys::write(into, &[7; 4096]).is_ok() {}
    announce(into, NUMBER)?;
    set_signal(into, signal())?;
    set_owner(into, PROCESS, sys::pid())?;
    let told = Some(Told::new(POLL_OUT, 0x304, NUMBER));
    stage.hold()?;
    stage.equal("a signal without a cause", &take()?, &None);
    let mut room = vec![0; 1 << 16];
    sys::read(out, &mut room)?;
    stage.equal("there is room", &take()?, &told);
    sys::close(out)?;
    stage.equal("nobody reads", &take()?, &told);
    Ok(())
}

/// Owners of files that tell nothing, or nothing any more: a file, a device, a pipe without `O_ASYNC`; and owners that are nobody.
pub(crate) fn quiet(stage: &mut Stage, _args: &Args) -> Result<()> {
    block()?;
    let path = stage.path("file");
    fs::write(&path, b"its owner is told of nothing").map_err(Error::from_io("write"))?;
    let file = sys::open(&path, libc::O_RDONLY)?;
    set_owner(file, GROUP, sys::pid())?;
    set_signal(file, libc::SIGHUP)?;
    let device = sys::open(Path::new("/dev/urandom"), libc::O_RDONLY)?;
    set_owner(device, PROCESS, sys::pid())?;
    announce(device, NUMBER)?;
    let [out, into] = sys::pipe(0)?;
    set_owner(out, THREAD, sys::pid())?;
    // Whoever was asked for before, or nobody at all.
    let null = Path::new("/dev/null");
    let [given_up, only_signal, only_async, group] = [
        sys::open(null, libc::O_RDONLY)?,
        sys::open(null, libc::O_WRONLY)?,
        sys::pipe(0)?[0],
        sys::open(null, libc::O_RDWR)?,
    ];
    set_owner(given_up, PROCESS, sys::pid())?;
    set_owner(given_up, GROUP, 0)?;
    set_signal(only_signal, 64)?;
    announce(only_async, NUMBER)?;
    set_owner(group, GROUP, 0)?;
    // open(2) sets the flag, and nobody is told for all that.
    let opened = sys::open(&path, libc::O_RDONLY | libc::O_ASYNC)?;
    let [unread, unwritten] = sys::pipe(0)?;
    let reopened = sys::open(
        &memfd::path_of(unread),
        libc::O_RDONLY | libc::O_NONBLOCK | libc::O_ASYNC,
    )?;
    set_owner(reopened, PROCESS, sys::pid())?;
    let all = [
        opened,
        reopened,
        file,
        device,
        out,
        into,
        given_up,
        only_signal,
        only_async,
        group,
    ];
    let ask_all = || all.iter().map(|fd| ask(*fd)).collect::<Result<Vec<_>>>();
    let before = ask_all()?;
    stage.hold()?;
    stage.equal("the owners", &ask_all()?, &before);
    sys::write(into, b"x")?;
    stage.equal("without O_ASYNC", &take()?, &None);
    sys::write(unwritten, b"x")?;
    stage.equal("with that of open(2)", &take()?, &None);
    announce(out, NUMBER)?;
    sys::write(into, b"x")?;
    stage.equal("with it", &take()?, &Some(Told::of_something()));
    Ok(())
}

/// Signals are sent as the user who has set the owner: to who may get them from that one, and to nobody else.
pub(crate) fn user(stage: &mut Stage, _args: &Args) -> Result<()> {
    block()?;
    let [of_root, of_child] = [announced(NUMBER)?, announced(NUMBER + 1)?];
    let root = sys::pid();
    let child = stage.spawn_ready("child", |child| {
        let become_user = |real, effective| {
            // SAFETY: plain numbers.
            sys::check("setresuid", unsafe { libc::setresuid(real, effective, 0) })
        };
        become_user(SOMEBODY, SOMEBODY)?;
        set_owner(of_root[0], PROCESS, root)?;
        set_owner(of_child[0], PROCESS, sys::pid())?;
        become_user(SOMEBODY, 0)?;
        child.hold()?;
        let told = Told::of_bytes(NUMBER + 1);
        child.equal("told", &take()?, &Some(told));
        Ok(())
    })?;
    let before = [ask(of_root[0])?, ask(of_child[0])?];
    stage.equal("who", &before[0].users, &[SOMEBODY; 2]);
    stage.hold()?;
    stage.equal(
        "the owners",
        &[ask(of_root[0])?, ask(of_child[0])?],
        &before,
    );
    sys::write(of_root[1], b"x")?;
    sys::write(of_child[1], b"x")?;
    stage.equal("root is not told", &take()?, &None);
    child.resume()?;
    stage.join(&child)
}
