//! Epoll sets: what they watch and for which events, what is ready in which order, and what was told already.

use std::ffi::c_int;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::args::Args;
use crate::error::{Error, Result};
use crate::eventfds;
use crate::signalfds;
use crate::stage::Stage;
use crate::sys::{self, Pid};
use crate::timerfds;

pub(crate) const IN: u32 = libc::EPOLLIN.cast_unsigned();
const OUT: u32 = libc::EPOLLOUT.cast_unsigned();
const EDGE: u32 = libc::EPOLLET.cast_unsigned();
const ONCE: u32 = libc::EPOLLONESHOT.cast_unsigned();
const EXCLUSIVE: u32 = libc::EPOLLEXCLUSIVE.cast_unsigned();
const WAKEUP: u32 = libc::EPOLLWAKEUP.cast_unsigned();

/// What a set tells: the data of an item, and its events.
pub(crate) type Told = Vec<(u64, u32)>;

pub(crate) fn create() -> Result<RawFd> {
    // SAFETY: plain numbers.
    sys::check("epoll_create1", unsafe { libc::epoll_create1(0) })
}

fn control(set: RawFd, how: c_int, fd: RawFd, events: u32, data: u64) -> Result<()> {
    let mut event = libc::epoll_event { events, u64: data };
    // SAFETY: the event lives.
    sys::check("epoll_ctl", unsafe {
        libc::epoll_ctl(set, how, fd, &raw mut event)
    })
    .map(drop)
}

pub(crate) fn watch(set: RawFd, fd: RawFd, events: u32, data: u64) -> Result<()> {
    control(set, libc::EPOLL_CTL_ADD, fd, events, data)
}

/// Also enables one that was to tell once.
fn change(set: RawFd, fd: RawFd, events: u32, data: u64) -> Result<()> {
    control(set, libc::EPOLL_CTL_MOD, fd, events, data)
}

/// Waits for so many ms, -1 for ever, with the signals in the mask blocked; the freezer may interrupt it.
fn wait(set: RawFd, timeout: c_int, mask: Option<&libc::sigset_t>) -> Result<Told> {
    const MOST: usize = 1000;
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; MOST];
    let mask = mask.map_or(std::ptr::null(), |mask| &raw const *mask);
    let most = c_int::try_from(MOST).unwrap_or(c_int::MAX);
    // SAFETY: the kernel writes no more than there is room for.
    let count = sys::check("epoll_pwait", unsafe {
        libc::epoll_pwait(set, events.as_mut_ptr(), most, timeout, mask)
    })?;
    events.truncate(usize::try_from(count).unwrap_or(0));
    Ok(events
        .iter()
        .map(|event| (event.u64, event.events))
        .collect())
}

/// What is to be told now.
pub(crate) fn told(set: RawFd) -> Result<Told> {
    wait(set, 0, None)
}

/// Waits until there is something to tell.
fn await_told(set: RawFd) -> Result<Told> {
    loop {
        match sys::outcome(wait(set, -1, None)) {
            Ok(told) => return Ok(told),
            Err(libc::EINTR) => {}
            Err(errno) => return Err(Error::Situation(format!("epoll_wait: errno {errno}"))),
        }
    }
}

/// An eventfd with a number in it, or none.
fn eventfd(count: u64) -> Result<RawFd> {
    eventfds::create(count, libc::EFD_NONBLOCK)
}

fn no_params() -> libc::epoll_params {
    // SAFETY: the structure is numbers only.
    unsafe { std::mem::zeroed() }
}

/// Nothing is watched, and how to poll devices was said; one can be added.
pub(crate) fn empty(stage: &mut Stage, _args: &Args) -> Result<()> {
    let set = create()?;
    let mut params = no_params();
    params.busy_poll_usecs = 17;
    params.busy_poll_budget = 8;
    params.prefer_busy_poll = 1;
    // SAFETY: the structure lives.
    sys::check("EPIOCSPARAMS", unsafe {
        libc::ioctl(set, libc::EPIOCSPARAMS, &raw const params)
    })?;
    let flags = || sys::flags_of([set]);
    let before = flags();
    stage.hold()?;
    stage.equal("flags", &flags(), &before);
    let mut found = no_params();
    // SAFETY: the kernel writes one structure.
    sys::check("EPIOCGPARAMS", unsafe {
        libc::ioctl(set, libc::EPIOCGPARAMS, &raw mut found)
    })?;
    stage.equal(
        "how to poll",
        &(
            found.busy_poll_usecs,
            found.busy_poll_budget,
            found.prefer_busy_poll,
        ),
        &(17, 8, 1),
    );
    stage.equal("nothing", &told(set)?, &Vec::new());
    watch(set, eventfd(1)?, IN, 5)?;
    stage.equal("one that was added", &told(set)?, &vec![(5, IN)]);
    Ok(())
}

/// Data that uses all bits.
fn data(number: usize) -> u64 {
    let number = number as u64;
    number << 32 | (!number & 0xffff_ffff)
}

/// Many are watched, of which some are ready, in an order of their own.
pub(crate) fn many(stage: &mut Stage, args: &Args) -> Result<()> {
    let count = args.number("count", 200)?;
    let set = create()?;
    let mut fds = Vec::new();
    for number in 0..count {
        let fd = eventfd(0)?;
        watch(set, fd, IN, data(number))?;
        fds.push((number, fd));
    }
    let order: Vec<_> = (0..count / 2).map(|nth| fds[nth * 37 % count]).collect();
    for (_, fd) in &order {
        eventfds::add(*fd, 1)?;
    }
    stage.hold()?;
    let expected: Told = order
        .iter()
        .map(|(number, _)| (data(*number), IN))
        .collect();
    stage.equal("what is ready", &told(set)?, &expected);
    for (_, fd) in &order {
        sys::read_number(*fd)?;
    }
    stage.equal("nothing any more", &told(set)?, &Vec::new());
    for (_, fd) in fds.iter().rev() {
        eventfds::add(*fd, 1)?;
    }
    let expected: Told = fds
        .iter()
        .rev()
        .map(|(number, _)| (data(*number), IN))
        .collect();
    stage.equal("all of them", &told(set)?, &expected);
    Ok(())
}

/// Files that are watched by many numbers each, which are free again.
pub(crate) fn thousands(stage: &mut Stage, _args: &Args) -> Result<()> {
    const FILES: usize = 16;
    const NUMBERS: c_int = 128;
    let set = create()?;
    let mut fds = Vec::new();
    for file in 0..FILES {
        let fd = eventfd(u64::from(file == 5))?;
        for number in 100..100 + NUMBERS {
            // SAFETY: plain numbers; nothing is open there.
            sys::check("dup2", unsafe { libc::dup2(fd, number) })?;
            watch(set, number, IN, data(file))?;
            sys::close(number)?;
        }
        fds.push(fd);
    }
    stage.hold()?;
    let all_of = |file: usize| vec![(data(file), IN); 128];
    stage.equal("one of them is ready", &told(set)?, &all_of(5));
    sys::read_number(fds[5])?;
    eventfds::add(fds[9], 1)?;
    stage.equal("another one", &told(set)?, &all_of(9));
    sys::close(fds[9])?;
    stage.equal("it is gone", &told(set)?, &Vec::new());
    Ok(())
}

/// Ends of pipes, a fifo and timers, each with something to tell, or later.
pub(crate) fn targets(stage: &mut Stage, _args: &Args) -> Result<()> {
    let set = create()?;
    let pipe = || sys::pipe(libc::O_NONBLOCK);
    let ([full, into_full], [empty_pipe, into_empty]) = (pipe()?, pipe()?);
    let ([dead, into_dead], [gone, into_lost]) = (pipe()?, pipe()?);
    let all_of_it = vec![7; 1 << 16];
    sys::write(into_full, &all_of_it)?;
    sys::close(into_dead)?;
    sys::close(gone)?;
    let path = stage.path("fifo");
    let name = sys::c_path(&path)?;
    // SAFETY: the path lives.
    sys::check("mkfifo", unsafe { libc::mkfifo(name.as_ptr(), 0o600) })?;
    let fifo = sys::open(&path, libc::O_RDWR | libc::O_NONBLOCK)?;
    let (expired, later) = (timerfds::short()?, timerfds::long()?);
    sys::poll(expired, libc::POLLIN, -1)?;
    watch(set, expired, IN | EDGE, 1)?;
    let before = told(set)?;
    for (data, fd, events) in [
        (2, full, IN),
        (3, into_full, OUT),
        (4, empty_pipe, IN),
        (5, into_empty, OUT),
        (6, dead, IN),
        (7, into_lost, OUT),
        (8, fifo, IN),
        (9, later, IN | EDGE),
    ] {
        watch(set, fd, events, data)?;
    }
    let (err, hup) = (
        libc::EPOLLERR.cast_unsigned(),
        libc::EPOLLHUP.cast_unsigned(),
    );
    stage.hold()?;
    stage.equal("the timer that has expired", &before, &vec![(1, IN)]);
    let ready = vec![(2, IN), (5, OUT), (6, hup), (7, OUT | err)];
    stage.equal("what is ready", &told(set)?, &ready);
    sys::write(into_empty, b"x")?;
    sys::write(fifo, b"y")?;
    let mut bytes = vec![0; all_of_it.len()];
    stage.equal(
        "what was in the pipe",
        &sys::read(full, &mut bytes)?,
        &all_of_it.len(),
    );
    let ready = vec![
        (5, OUT),
        (6, hup),
        (7, OUT | err),
        (4, IN),
        (8, IN),
        (3, OUT),
    ];
    stage.equal("what is ready now", &told(set)?, &ready);
    timerfds::expire(later)?;
    sys::poll(later, libc::POLLIN, -1)?;
    let last = told(set)?.last().copied();
    stage.equal("the other timer", &last, &Some((9, IN)));
    Ok(())
}

/// Ready or not, told or not, each as level, edge, once, and one waiter at a time.
pub(crate) fn modes(stage: &mut Stage, _args: &Args) -> Result<()> {
    let set = create()?;
    // What is told before.
    let [edge, once, edge_once, room] = [eventfd(1), eventfd(1), eventfd(1), eventfd(0)];
    let (edge, once, edge_once, room) = (edge?, once?, edge_once?, room?);
    watch(set, edge, IN | EDGE, 1)?;
    watch(set, once, IN | ONCE, 2)?;
    watch(set, edge_once, IN | EDGE | ONCE, 3)?;
    watch(set, room, IN | OUT | EDGE, 4)?;
    let before = told(set)?;
    // What is still to be told, or not there yet.
    let (level, new_edge, new_once, sole) = (eventfd(1)?, eventfd(1)?, eventfd(1)?, eventfd(1)?);
    let (idle, idle_edge, idle_sole) = (eventfd(0)?, eventfd(0)?, eventfd(0)?);
    watch(set, sole, IN | EXCLUSIVE, 5)?;
    watch(set, new_once, IN | ONCE, 6)?;
    watch(set, new_edge, IN | EDGE, 7)?;
    watch(set, level, IN, 8)?;
    watch(set, idle, IN, 9)?;
    watch(set, idle_edge, IN | EDGE, 10)?;
    watch(set, idle_sole, IN | EXCLUSIVE, 11)?;
    stage.hold()?;
    stage.equal(
        "told before",
        &before,
        &vec![(1, IN), (2, IN), (3, IN), (4, OUT)],
    );
    let both = vec![(5, IN), (8, IN)];
    let expected = vec![(5, IN), (6, IN), (7, IN), (8, IN)];
    stage.equal("what was not told yet", &told(set)?, &expected);
    stage.equal("what has a level", &told(set)?, &both);
    for fd in [level, sole] {
        sys::read_number(fd)?;
    }
    stage.equal("nothing any more", &told(set)?, &Vec::new());
    for fd in [idle_sole, idle_edge, idle, edge, once, edge_once, room] {
        eventfds::add(fd, 1)?;
    }
    let expected = vec![(11, IN), (10, IN), (9, IN), (1, IN), (4, IN | OUT)];
    stage.equal("what has come", &told(set)?, &expected);
    change(set, once, IN | ONCE, 12)?;
    change(set, edge_once, IN | EDGE | ONCE, 13)?;
    let expected = vec![(11, IN), (9, IN), (12, IN), (13, IN)];
    stage.equal("what was enabled again", &told(set)?, &expected);
    for fd in [idle_sole, idle] {
        control(set, libc::EPOLL_CTL_DEL, fd, 0, 0)?;
    }
    stage.equal("what was taken out", &told(set)?, &Vec::new());
    Ok(())
}

/// Two sets watch a file so that one waiter is woken: who has waited was told, and the other set is not ready, though the file is.
pub(crate) fn exclusive(stage: &mut Stage, _args: &Args) -> Result<()> {
    let [first, second] = [create()?, create()?];
    let fd = eventfd(0)?;
    watch(first, fd, IN | EXCLUSIVE, 1)?;
    watch(second, fd, IN | EXCLUSIVE, 2)?;
    let child = stage.spawn("waiter", |child| {
        child.equal("told", &await_told(first)?, &vec![(1, IN)]);
        child.hold()?;
        child.equal("still", &told(first)?, &vec![(1, IN)]);
        Ok(())
    })?;
    while !sys::waits_in(child.pid, libc::SYS_epoll_pwait)? {
        child.alive()?;
        std::thread::yield_now();
    }
    eventfds::add(fd, 1)?;
    stage.await_ready(&child)?;
    stage.hold()?;
    stage.equal("who was not woken", &told(second)?, &Vec::new());
    child.resume()?;
    stage.join(&child)?;
    // Nobody waits: all are told.
    eventfds::add(fd, 1)?;
    stage.equal("the second time", &told(second)?, &vec![(2, IN)]);
    stage.equal("the other set", &told(first)?, &vec![(1, IN)]);
    Ok(())
}

/// Sets in sets: what is ready below is ready above, and an edge that was told is not told again.
pub(crate) fn nested(stage: &mut Stage, _args: &Args) -> Result<()> {
    let [top, middle, bottom] = [create()?, create()?, create()?];
    let (ready, idle) = (eventfd(1)?, eventfd(0)?);
    watch(top, middle, IN, 1)?;
    watch(middle, bottom, IN, 2)?;
    watch(bottom, ready, IN, 3)?;
    watch(bottom, idle, IN, 4)?;
    let [edges, below] = [create()?, create()?];
    let source = eventfd(1)?;
    watch(below, source, IN, 5)?;
    watch(edges, below, IN | EDGE, 6)?;
    let before = told(edges)?;
    let [quiet, silent] = [create()?, create()?];
    let later = eventfd(0)?;
    watch(quiet, silent, IN | EDGE, 7)?;
    watch(silent, later, IN, 8)?;
    stage.hold()?;
    stage.equal("the edge", &before, &vec![(6, IN)]);
    for (name, set, number) in [
        ("top", top, 1),
        ("middle", middle, 2),
        ("bottom", bottom, 3),
    ] {
        stage.equal(name, &told(set)?, &vec![(number, IN)]);
    }
    sys::read_number(ready)?;
    stage.equal("nothing above", &told(top)?, &Vec::new());
    eventfds::add(idle, 1)?;
    stage.equal("above again", &told(top)?, &vec![(1, IN)]);
    stage.equal("below again", &told(bottom)?, &vec![(4, IN)]);
    stage.equal("an edge that was told", &told(edges)?, &Vec::new());
    stage.equal("what is below it", &told(below)?, &vec![(5, IN)]);
    eventfds::add(source, 1)?;
    stage.equal("a new edge", &told(edges)?, &vec![(6, IN)]);
    stage.equal("nothing", &told(quiet)?, &Vec::new());
    eventfds::add(later, 1)?;
    stage.equal("the first edge", &told(quiet)?, &vec![(7, IN)]);
    // Not in a circle.
    let circle = sys::outcome(watch(bottom, top, IN, 9));
    stage.equal("a circle", &circle, &Err(libc::ELOOP));
    Ok(())
}

/// A signalfd that is watched tells of the signals of whoever had it watched: this process, a child, and one that is gone.
pub(crate) fn signals(stage: &mut Stage, _args: &Args) -> Result<()> {
    let [own, of_child, of_nobody, looks_once] = [create()?, create()?, create()?, create()?];
    sys::block(&[libc::SIGUSR1])?;
    let fd = signalfds::signalfd(-1, &[libc::SIGUSR1], libc::SFD_NONBLOCK)?;
    watch(own, fd, IN, 1)?;
    let gone = stage.spawn("gone", |child| {
        watch(of_nobody, fd, IN, 3)?;
        watch(looks_once, fd, IN, 4)?;
        child.equal("nothing", &told(of_nobody)?, &Vec::new());
        Ok(())
    })?;
    stage.join(&gone)?;
    // Its end is told to the set, which takes another look at the file.
    let before = told(of_nobody)?;
    let child = stage.spawn_ready("child", |child| {
        watch(of_child, fd, IN, 2)?;
        child.hold()?;
        sys::kill(sys::pid(), libc::SIGUSR1)?;
        child.equal("its own", &told(of_child)?, &vec![(2, IN)]);
        Ok(())
    })?;
    stage.hold()?;
    sys::kill(sys::pid(), libc::SIGUSR1)?;
    stage.equal("of nobody, before", &before, &Vec::new());
    stage.equal("of nobody", &told(of_nobody)?, &Vec::new());
    stage.equal("after the other look", &told(looks_once)?, &vec![(4, IN)]);
    stage.equal("of the child", &told(of_child)?, &Vec::new());
    stage.equal("its own", &told(own)?, &vec![(1, IN)]);
    child.resume()?;
    stage.join(&child)
}

/// A number that is free again, and is used for another file: the set watches both by it. And a file that only a child, which comes later, still has open.
pub(crate) fn closed(stage: &mut Stage, _args: &Args) -> Result<()> {
    let set = create()?;
    let first = eventfd(1)?;
    // SAFETY: plain numbers.
    let copy = sys::check("dup", unsafe { libc::dup(first) })?;
    watch(set, first, IN, 1)?;
    sys::close(first)?;
    let second = eventfd(1)?;
    stage.equal("the number", &second, &first);
    watch(set, second, IN, 2)?;
    let childs = eventfd(0)?;
    let seen = eventfds::create(0, 0)?;
    watch(set, childs, IN | EDGE, 3)?;
    let child = stage.spawn_ready("child", |child| {
        child.hold()?;
        eventfds::add(childs, 1)?;
        // At its end the file is closed, and nobody is told of it any more.
        child.equal("its parent was told", &sys::read_number(seen)?, &1);
        Ok(())
    })?;
    sys::close(childs)?;
    stage.hold()?;
    let both = vec![(1, IN), (2, IN)];
    stage.equal("both", &told(set)?, &both);
    child.resume()?;
    await_item(set, (3, IN))?;
    eventfds::add(seen, 1)?;
    stage.join(&child)?;
    stage.equal("both are left", &told(set)?, &both);
    sys::close(copy)?;
    stage.equal("one is left", &told(set)?, &vec![(2, IN)]);
    Ok(())
}

/// What comes beside others that are ready all the time.
fn await_item(set: RawFd, item: (u64, u32)) -> Result<()> {
    while !told(set)?.contains(&item) {
        std::thread::yield_now();
    }
    Ok(())
}

static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: c_int) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// Waits with no signal blocked until there is something to tell.
fn wait_open(set: RawFd) -> Result<Told> {
    let none = sys::set_of(&[]);
    loop {
        match sys::outcome(wait(set, -1, Some(&none))) {
            Ok(told) => return Ok(told),
            Err(libc::EINTR) => {}
            Err(errno) => return Err(Error::Situation(format!("epoll_pwait: errno {errno}"))),
        }
    }
}

fn wait_somehow(child: &mut Stage, how: &str, set: RawFd) -> Result<()> {
    let expected = vec![(1, IN)];
    match how {
        "wait" => child.equal("told", &await_told(set)?, &expected),
        "pwait" => {
            sys::block(&[libc::SIGUSR1])?;
            let mask = sys::mask()?;
            sys::handle(libc::SIGUSR1, count, 0, &[])?;
            child.ready()?;
            child.equal("told", &wait_open(set)?, &expected);
            let handled = HANDLED.load(Ordering::Relaxed);
            child.equal("signals that came meanwhile", &handled, &1);
            child.equal("the mask", &sys::mask()?, &mask);
        }
        "poll" => {
            child.equal("ready", &sys::poll(set, libc::POLLIN, -1)?, &libc::POLLIN);
            child.equal("told", &told(set)?, &expected);
        }
        other => return Err(Error::Argument(format!("how={other}"))),
    }
    Ok(())
}

/// Until the child has taken the signal that was sent to it.
fn await_taken(pid: Pid) -> Result<()> {
    while sys::status_field(pid, "ShdPnd")?
        .bytes()
        .any(|digit| digit != b'0')
    {
        std::thread::yield_now();
    }
    Ok(())
}

/// A child waits for something to tell.
pub(crate) fn blocked(stage: &mut Stage, args: &Args) -> Result<()> {
    let how = args.text("how", "wait").to_owned();
    let set = create()?;
    let fd = eventfd(0)?;
    watch(set, fd, IN, 1)?;
    let child = stage.spawn("waiter", |child| {
        if how != "pwait" {
            child.ready()?;
        }
        wait_somehow(child, &how, set)
    })?;
    stage.hold_waiting(&child)?;
    if how == "pwait" {
        sys::kill(child.pid, libc::SIGUSR1)?;
        await_taken(child.pid)?;
    }
    eventfds::add(fd, 1)?;
    stage.join(&child)
}

/// What is watched is to keep the machine from sleeping, and is watched as any other.
pub(crate) fn wakeup(stage: &mut Stage, _args: &Args) -> Result<()> {
    let set = create()?;
    let (ready, idle) = (eventfd(1)?, eventfd(0)?);
    watch(set, ready, IN | WAKEUP, 1)?;
    watch(set, idle, IN | EDGE | WAKEUP, 2)?;
    stage.hold()?;
    stage.equal("ready", &told(set)?, &vec![(1, IN)]);
    eventfds::add(idle, 1)?;
    stage.equal("both", &told(set)?, &vec![(1, IN), (2, IN)]);
    Ok(())
}
