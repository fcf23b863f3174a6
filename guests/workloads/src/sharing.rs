//! Processes that share memory, signal actions, descriptors or directories without being threads of one group: what one of them changes the others have, and nothing else.

use std::ffi::c_int;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::{Child, Stage};
use crate::sys::{self, Pid};
use crate::threads::{self, Gate, Seat};

/// The last step that wrote to this memory.
static LAST: AtomicUsize = AtomicUsize::new(0);

/// The first of the descriptors that the steps open, one each.
const FIRST: c_int = 70;

/// How many steps there are.
const STEPS: usize = 4;

extern "C" fn first(_signal: c_int) {}
extern "C" fn second(signal: c_int) {
    LAST.fetch_add(signal.unsigned_abs() as usize, Ordering::SeqCst);
}
extern "C" fn third(signal: c_int) {
    LAST.fetch_add(2 * signal.unsigned_abs() as usize, Ordering::SeqCst);
}
extern "C" fn fourth(signal: c_int) {
    LAST.fetch_add(3 * signal.unsigned_abs() as usize, Ordering::SeqCst);
}

/// A handler for each step, all different.
const HANDLERS: [sys::Handler; STEPS] = [first, second, third, fourth];

/// Which step was the last that a process sees in each respect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    memory: usize,
    /// The kernel keeps one for all who share memory.
    oom_score: usize,
    action: usize,
    descriptor: usize,
    directory: usize,
}

/// Changes everything that can be shared.
fn step(stage: &Stage, number: usize) -> Result<()> {
    LAST.store(number, Ordering::SeqCst);
    fs::write("/proc/self/oom_score_adj", (100 * number).to_string())
        .map_err(Error::from_io("write oom_score_adj"))?;
    sys::handle(libc::SIGUSR2, HANDLERS[number - 1], 0, &[])?;
    let file = sys::open(&stage.path(&format!("{number}")), libc::O_RDONLY)?;
    let place = FIRST + c_int::try_from(number).unwrap_or(0);
    // SAFETY: nothing else uses these numbers.
    sys::check("dup2", unsafe { libc::dup2(file, place) })?;
    sys::close(file)?;
    std::env::set_current_dir(stage.path(&format!("{number}"))).map_err(Error::from_io("chdir"))
}

impl Seen {
    fn now() -> Result<Self> {
        let score = fs::read_to_string("/proc/self/oom_score_adj")
            .map_err(Error::from_io("read oom_score_adj"))?;
        let score: usize = score.trim().parse().unwrap_or(usize::MAX);
        let handler = sys::action(libc::SIGUSR2).map_or(0, |action| action.0);
        let known = |one: &sys::Handler| (*one as *const ()).addr() == handler;
        let cwd = fs::read_link("/proc/self/cwd").map_err(Error::from_io("read cwd"))?;
        let name = cwd.file_name().and_then(|name| name.to_str()).unwrap_or("");
        let open = |number: &usize| sys::is_open(FIRST + c_int::try_from(*number).unwrap_or(0));
        Ok(Self {
            memory: LAST.load(Ordering::SeqCst),
            oom_score: score / 100,
            action: HANDLERS.iter().position(known).map_or(0, |at| at + 1),
            descriptor: (1..=STEPS).rev().find(open).unwrap_or(0),
            directory: name.parse().unwrap_or(0),
        })
    }
}

/// What two processes share, as the flags of clone(2) say.
#[derive(Clone, Copy, Debug)]
struct Shared(c_int);

impl Shared {
    fn of(args: &Args) -> Result<Self> {
        let shared = |key: &str, flag| match args.text(key, "shared") {
            "shared" => Ok(flag),
            "own" => Ok(0),
            other => Err(Error::Argument(format!("{key}={other}"))),
        };
        let memory = match args.text("memory", "with_actions") {
            "own" => 0,
            "shared" => libc::CLONE_VM,
            "with_actions" => libc::CLONE_VM | libc::CLONE_SIGHAND,
            other => return Err(Error::Argument(format!("memory={other}"))),
        };
        let files = shared("files", libc::CLONE_FILES)?;
        Ok(Self(memory | files | shared("fs", libc::CLONE_FS)?))
    }

    /// What a process sees whose own last step was `own`, when that of both was `any`.
    fn expected(self, own: usize, any: usize) -> Seen {
        let pick = |flag: c_int| if self.0 & flag == 0 { own } else { any };
        Seen {
            memory: pick(libc::CLONE_VM),
            oom_score: pick(libc::CLONE_VM),
            action: pick(libc::CLONE_SIGHAND),
            descriptor: pick(libc::CLONE_FILES),
            directory: pick(libc::CLONE_FS),
        }
    }
}

/// Parent and child share what the arguments say: `memory` is `own`, `shared` or `with_actions`; `files` and `fs` are `own` or `shared`.
pub(crate) fn mixed(stage: &mut Stage, args: &Args) -> Result<()> {
    let shared = Shared::of(args)?;
    sys::one_heap();
    for number in 1..=STEPS {
        fs::create_dir(stage.path(&format!("{number}"))).map_err(Error::from_io("mkdir"))?;
    }
    step(stage, 1)?;
    let body = move |child: &mut Stage| {
        step(child, 2)?;
        child.hold()?;
        let expected = shared.expected(2, 3);
        child.equal("what the child sees", &Seen::now()?, &expected);
        step(child, 4)
    };
    let child = if shared.0 & libc::CLONE_VM == 0 {
        stage.spawn_with("child", || sys::clone(shared.0), body)?
    } else {
        stage.spawn_beside("child", shared.0, body)?
    };
    stage.await_ready(&child)?;
    stage.hold()?;
    let expected = shared.expected(1, 2);
    stage.equal("what the parent sees", &Seen::now()?, &expected);
    step(stage, 3)?;
    child.resume()?;
    stage.join(&child)?;
    // The score goes with the memory, and that with whoever is left.
    let expected = shared.expected(3, 4);
    stage.equal("what the child has left", &Seen::now()?, &expected);
    Ok(())
}

/// A process that shares memory and signal actions with its parent has threads of its own, and so has the parent: one gate holds them all.
pub(crate) fn with_threads(stage: &mut Stage, _args: &Args) -> Result<()> {
    static GATE: Gate = Gate::new();
    static SEATS: [Seat; 3] = [const { Seat::new() }; 3];
    sys::one_heap();
    let child = stage.spawn_beside("child", libc::CLONE_SIGHAND, |child| {
        thread::scope(|scope| {
            let mut handles = Vec::new();
            for (number, seat) in SEATS.iter().enumerate().skip(1) {
                let body = || {
                    seat.take();
                    GATE.wait();
                    Ok(sys::pid())
                };
                handles.push(threads::spawn(scope, &format!("of-child-{number}"), body)?);
                seat.await_asleep()?;
            }
            child.hold()?;
            for handle in handles {
                let process = threads::join(handle)?;
                child.equal("a thread's process", &process, &sys::pid());
            }
            Ok(())
        })
    })?;
    stage.await_ready(&child)?;
    let thread = thread::Builder::new().stack_size(threads::STACK);
    let thread = thread
        .spawn(|| {
            SEATS[0].take();
            GATE.wait();
            sys::pid()
        })
        .map_err(Error::from_io("start a thread"))?;
    SEATS[0].await_asleep()?;
    stage.hold()?;
    child.resume()?;
    GATE.open();
    let process: Option<Pid> = thread.join().ok();
    stage.equal(
        "the process of the parent's thread",
        &process,
        &Some(sys::pid()),
    );
    stage.join(&child)
}

/// Two processes share the memory of a third that has ended: nobody whom it belonged to first is left.
pub(crate) fn survivors(stage: &mut Stage, _args: &Args) -> Result<()> {
    const NAMES: [&str; 2] = ["first", "second"];
    sys::one_heap();
    let root = stage.adopt_orphans()?;
    let middle = stage.spawn("middle", |middle| {
        for (number, name) in NAMES.into_iter().enumerate() {
            let child = middle.spawn_beside(name, libc::CLONE_SIGHAND, move |child| {
                child.await_adoption(root, name)?;
                child.hold()?;
                child.equal("what was written", &LAST.load(Ordering::SeqCst), &number);
                LAST.store(number + 1, Ordering::SeqCst);
                Ok(())
            })?;
            middle.check("has a child", child.pid > 0, "");
        }
        Ok(())
    })?;
    stage.join(&middle)?;
    let mut children: Vec<Child> = Vec::new();
    for name in NAMES {
        let name_below = format!("middle.{name}");
        stage.await_descendant(&name_below)?;
        children.push(stage.descendant(&name_below, stage.noted_pid(name)?));
    }
    stage.hold()?;
    for child in &children {
        child.resume()?;
        stage.join(child)?;
    }
    stage.equal("memory of the root", &LAST.load(Ordering::SeqCst), &0);
    Ok(())
}
