//! Pid namespaces below that of the root: every task keeps its number in each of them.
//!
//! `/proc` shows the numbers of the root's namespace, so nobody in here looks another process up there.

use std::fs;
use std::sync::mpsc;
use std::thread;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::process_tree::Relations;
use crate::stage::{Child, Stage};
use crate::sys::{self, Pid, Status};

/// What all members of a namespace check.
fn held(stage: &mut Stage) -> Result<()> {
    let before = Relations::now();
    stage.hold()?;
    stage.equal("pid, parent, group and session", &Relations::now(), &before);
    Ok(())
}

/// A process with a thread, in a group of its own.
pub(crate) fn with_thread(stage: &mut Stage) -> Result<()> {
    sys::set_group(0, 0)?;
    let (say, said) = mpsc::channel();
    let (resume, resumed) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let _ = say.send(sys::tid());
        let _ = resumed.recv();
        sys::tid()
    });
    let before = said
        .recv()
        .map_err(|_| Error::Situation("the thread has not begun".to_owned()))?;
    held(stage)?;
    let _ = resume.send(());
    let after = thread
        .join()
        .map_err(|_| Error::Situation("the thread panicked".to_owned()))?;
    stage.equal("id of the thread", &after, &before);
    stage.check("it is another than the process's", before != sys::pid(), "");
    Ok(())
}

/// Who is below the init of a namespace.
struct Members {
    /// Resumed by their pids.
    children: Vec<Child>,
    /// A process whose parent has ended.
    orphan: Pid,
    /// A process in a session whose leader has ended.
    leaderless: Pid,
    ended: Pid,
}

impl Members {
    fn new(init: &mut Stage, how: How, deeper: usize) -> Result<Self> {
        let mut children = vec![
            init.spawn_ready("plain", held)?,
            init.spawn_ready("threads", with_thread)?,
            init.spawn_ready("session", |session| {
                // SAFETY: plain numbers.
                sys::check("setsid", unsafe { libc::setsid() })?;
                held(session)
            })?,
        ];
        let parent = init.spawn("parent", |parent| {
            let orphan = parent.spawn("orphan", |orphan| {
                orphan.await_adoption(1, "orphan")?;
                held(orphan)
            })?;
            parent.check("has a child", orphan.pid > 1, "");
            Ok(())
        })?;
        init.join(&parent)?;
        init.await_descendant("parent.orphan")?;
        let leader = init.spawn("leader", |leader| {
            // SAFETY: plain numbers.
            sys::check("setsid", unsafe { libc::setsid() })?;
            let inner = leader.spawn("inner", |inner| {
                inner.await_adoption(1, "inner")?;
                held(inner)
            })?;
            leader.check("has a child", inner.pid > 1, "");
            Ok(())
        })?;
        init.join(&leader)?;
        init.await_descendant("leader.inner")?;
        if deeper > 0 {
            children.push(maker(init, how, deeper - 1)?);
        }
        let Some(ended) = sys::fork()? else {
            sys::exit(7)
        };
        await_end(ended)?;
        Ok(Self {
            children,
            orphan: init.noted_pid("orphan")?,
            leaderless: init.noted_pid("inner")?,
            ended,
        })
    }

    /// By the numbers that their init knows.
    fn check(self, init: &mut Stage) -> Result<()> {
        init.equal("the zombie", &sys::wait(self.ended)?, &Status::Exited(7));
        for child in self.children {
            child.resume()?;
            init.join(&child)?;
        }
        for (name, pid) in [
            ("parent.orphan", self.orphan),
            ("leader.inner", self.leaderless),
        ] {
            let child = init.descendant(name, pid);
            child.resume()?;
            init.join(&child)?;
        }
        init.check("all have gone", sys::try_wait(-1).is_err(), "not all");
        let Some(new) = sys::fork()? else {
            sys::exit(i32::from(sys::parent() != 1))
        };
        init.equal("a new child", &sys::wait(new)?, &Status::Exited(0));
        init.check("its number is in use once", new > 1, "it is not");
        Ok(())
    }
}

/// Waits until a child has ended, and leaves it there.
pub(crate) fn await_end(pid: Pid) -> Result<()> {
    let id = libc::id_t::try_from(pid).unwrap_or_default();
    // SAFETY: the kernel fills it in, whatever it was.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: it lives.
    sys::check("waitid", unsafe {
        libc::waitid(
            libc::P_PID,
            id,
            &raw mut info,
            libc::WEXITED | libc::WNOWAIT,
        )
    })
    .map(drop)
}

/// How a namespace is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// By who forks the init, which stays where it is.
    Clone,
    /// For all children to come of who forks the init.
    Unshare,
}

impl How {
    fn parse(args: &Args) -> Result<Self> {
        match args.text("how", "clone") {
            "clone" => Ok(Self::Clone),
            "unshare" => Ok(Self::Unshare),
            other => Err(Error::Argument(format!("how={other}"))),
        }
    }
}

/// Forks the init of a new namespace.
fn init(stage: &Stage, how: How, body: impl FnOnce(&mut Stage) -> Result<()>) -> Result<Child> {
    let flags = match how {
        How::Clone => libc::CLONE_NEWPID,
        How::Unshare => {
            sys::unshare(libc::CLONE_NEWPID)?;
            0
        }
    };
    let child = stage.spawn_with("init", || sys::clone(flags), body)?;
    stage.await_ready(&child)?;
    Ok(child)
}

/// A process with a namespace below it, `deeper` more in that one, and an init that has ended.
fn maker(stage: &Stage, how: How, deeper: usize) -> Result<Child> {
    stage.spawn_ready("maker", |maker| {
        let Some(ended) = sys::clone(libc::CLONE_NEWPID)? else {
            sys::exit(sys::pid() + 20)
        };
        await_end(ended)?;
        let child = init(maker, how, |init| {
            let before = (sys::pid(), sys::parent());
            let members = Members::new(init, how, deeper)?;
            init.hold()?;
            init.equal("pid and parent", &(sys::pid(), sys::parent()), &before);
            init.equal("these are", &before, &(1, 0));
            members.check(init)
        })?;
        held(maker)?;
        maker.equal(
            "an init that ended",
            &sys::wait(ended)?,
            &Status::Exited(21),
        );
        if how == How::Unshare {
            // It comes into the namespace, where nobody sees its parent.
            let Some(next) = sys::fork()? else {
                sys::exit(i32::from(sys::pid() <= 1 || sys::parent() != 0))
            };
            maker.equal("the next child", &sys::wait(next)?, &Status::Exited(0));
        }
        child.resume()?;
        maker.join(&child)
    })
}

/// Processes, threads, groups, sessions and zombies in a pid namespace, `deeper` more of which are inside of it; `how` is `clone` or `unshare`.
pub(crate) fn nested(stage: &mut Stage, args: &Args) -> Result<()> {
    let how = How::parse(args)?;
    let deeper = args.number("deeper", 0)?;
    let plain = stage.spawn_ready("plain", held)?;
    let maker = maker(stage, how, deeper)?;
    held(stage)?;
    for child in [&plain, &maker] {
        child.resume()?;
        stage.join(child)?;
    }
    Ok(())
}

/// An init that is killed takes the whole namespace with it.
pub(crate) fn killed(stage: &mut Stage, _args: &Args) -> Result<()> {
    let child = init(stage, How::Clone, |init| {
        init.spawn_ready("first", held)?;
        init.spawn_ready("second", |second| {
            second.spawn_ready("inner", held)?;
            held(second)
        })?;
        held(init)
    })?;
    held(stage)?;
    sys::kill(child.pid, libc::SIGKILL)?;
    stage.equal(
        "the init",
        &sys::wait(child.pid)?,
        &Status::Killed(libc::SIGKILL),
    );
    // It has waited for all of them, and the numbers are free here, too.
    let last = child.pid + 3;
    let left: Vec<Pid> = (child.pid..=last)
        .filter(|&pid| sys::kill(pid, 0).is_ok())
        .collect();
    stage.equal("left of it", &left, &Vec::new());
    Ok(())
}

/// What programs in files of memory are allowed, in the caller's pid namespace.
const SETTING: &str = "/proc/sys/vm/memfd_noexec";

/// `MFD_EXEC` of linux/memfd.h.
const EXEC: libc::c_uint = 0x10;

/// `F_SEAL_EXEC` of linux/fcntl.h.
const SEAL_EXEC: libc::c_int = 0x20;

fn setting() -> Result<String> {
    let text = fs::read_to_string(SETTING).map_err(Error::from_io("read a setting"))?;
    Ok(text.trim().to_owned())
}

fn set(value: &str) -> Result<()> {
    fs::write(SETTING, value).map_err(Error::from_io("change a setting"))
}

fn memfd(flags: libc::c_uint) -> Result<libc::c_int> {
    // SAFETY: the name ends with a zero byte.
    sys::check("memfd_create", unsafe {
        libc::memfd_create(c"noexec".as_ptr(), flags)
    })
}

fn mode(fd: libc::c_int) -> Result<libc::mode_t> {
    // SAFETY: all-zero bytes are a valid stat, which the kernel fills in.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: it lives.
    sys::check("fstat", unsafe { libc::fstat(fd, &raw mut stat) })?;
    Ok(stat.st_mode & 0o777)
}

/// `vm.memfd_noexec` of a container, and a stricter one of a namespace in it, set when there is a file that it would not have allowed.
pub(crate) fn noexec(stage: &mut Stage, _args: &Args) -> Result<()> {
    let early = memfd(EXEC)?;
    set("1")?;
    let child = init(stage, How::Clone, |init| {
        init.equal("inherited", &setting()?, &"1".to_owned());
        let early = memfd(EXEC)?;
        set("2")?;
        init.hold()?;
        init.equal("mode of its early file", &mode(early)?, &0o777);
        init.equal("setting", &setting()?, &"2".to_owned());
        init.check("no program may be made", memfd(EXEC).is_err(), "it may");
        set("1")?;
        init.equal("made less strict", &setting()?, &"1".to_owned());
        Ok(())
    })?;
    stage.hold()?;
    stage.equal("setting", &setting()?, &"1".to_owned());
    stage.equal("mode of the early file", &mode(early)?, &0o777);
    let late = memfd(0)?;
    let seals = sys::descriptor_flags(late, libc::F_GET_SEALS);
    let sealed = seals.is_some_and(|seals| seals & SEAL_EXEC != 0);
    stage.check("a late file is no program", sealed, "it is");
    child.resume()?;
    stage.join(&child)
}

/// A second child of who made the namespace: it has come in from outside.
pub(crate) fn entered(stage: &mut Stage, _args: &Args) -> Result<()> {
    let maker = stage.spawn_ready("maker", |maker| {
        let first = init(maker, How::Unshare, held)?;
        let second = maker.spawn_ready("second", held)?;
        held(maker)?;
        for child in [&second, &first] {
            child.resume()?;
            maker.join(child)?;
        }
        Ok(())
    })?;
    held(stage)?;
    maker.resume()?;
    stage.join(&maker)
}
