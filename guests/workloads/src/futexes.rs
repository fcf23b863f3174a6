//! Futexes, and what the C library builds of them: mutexes of each kind, condition variables, barriers and semaphores, held and waited for.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys::{self, Mapping, Status, page_size};
use crate::threads::{Seat, join, spawn};

/// A deadline that nobody waits for.
const LONG: Duration = Duration::from_secs(3600);

/// Result of a pthread function, which returns its error.
fn pthread(call: &'static str, returned: c_int) -> Result<()> {
    if returned == 0 {
        return Ok(());
    }
    let source = std::io::Error::from_raw_os_error(returned);
    Err(Error::Call { call, source })
}

/// A mutex of the C library's.
#[repr(transparent)]
struct Mutex(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: that is what it is for.
unsafe impl Sync for Mutex {}

/// What a mutex is made as.
#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    rules: c_int,
    robust: bool,
    inherits: bool,
    shared: bool,
}

impl Kind {
    fn of(args: &Args) -> Result<Self> {
        let kind = args.text("kind", "normal").to_owned();
        Ok(match kind.as_str() {
            "normal" => Self::default(),
            "recursive" => Self {
                rules: libc::PTHREAD_MUTEX_RECURSIVE,
                ..Self::default()
            },
            "errorcheck" => Self {
                rules: libc::PTHREAD_MUTEX_ERRORCHECK,
                ..Self::default()
            },
            "robust" => Self {
                robust: true,
                ..Self::default()
            },
            "inherit" => Self {
                inherits: true,
                ..Self::default()
            },
            "robust_inherit" => Self {
                robust: true,
                inherits: true,
                ..Self::default()
            },
            other => return Err(Error::Argument(format!("kind={other}"))),
        })
    }
}

impl Mutex {
    fn new(kind: Kind) -> Result<Self> {
        let mutex = Self(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
        mutex.init(kind)?;
        Ok(mutex)
    }

    fn init(&self, kind: Kind) -> Result<()> {
        let mut attributes = MaybeUninit::uninit();
        let shared = if kind.shared {
            libc::PTHREAD_PROCESS_SHARED
        } else {
            libc::PTHREAD_PROCESS_PRIVATE
        };
        let robust = if kind.robust {
            libc::PTHREAD_MUTEX_ROBUST
        } else {
            libc::PTHREAD_MUTEX_STALLED
        };
        let protocol = if kind.inherits {
            libc::PTHREAD_PRIO_INHERIT
        } else {
            libc::PTHREAD_PRIO_NONE
        };
        // SAFETY: the attributes are made before they are used; nobody uses the mutex yet.
        unsafe {
            let attributes = attributes.as_mut_ptr();
            pthread("mutexattr_init", libc::pthread_mutexattr_init(attributes))?;
            let set = libc::pthread_mutexattr_settype(attributes, kind.rules);
            pthread("mutexattr_settype", set)?;
            let set = libc::pthread_mutexattr_setpshared(attributes, shared);
            pthread("mutexattr_setpshared", set)?;
            let set = libc::pthread_mutexattr_setrobust(attributes, robust);
            pthread("mutexattr_setrobust", set)?;
            let set = libc::pthread_mutexattr_setprotocol(attributes, protocol);
            pthread("mutexattr_setprotocol", set)?;
            let made = libc::pthread_mutex_init(self.0.get(), attributes);
            pthread("mutex_init", made)
        }
    }

    /// The result of a call on it: 0 or an error.
    fn lock(&self) -> c_int {
        // SAFETY: it was made, and does not move while it is held.
        unsafe { libc::pthread_mutex_lock(self.0.get()) }
    }

    fn try_lock(&self) -> c_int {
        // SAFETY: as above.
        unsafe { libc::pthread_mutex_trylock(self.0.get()) }
    }

    fn unlock(&self) -> c_int {
        // SAFETY: as above.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) }
    }

    fn consistent(&self) -> c_int {
        // SAFETY: as above.
        unsafe { libc::pthread_mutex_consistent(self.0.get()) }
    }
}

/// A mutex is held by one thread, and another one waits for it: it is held as before, by its rules, and the other one gets it.
pub(crate) fn mutex(stage: &mut Stage, args: &Args) -> Result<()> {
    sys::one_heap();
    let kind = Kind::of(args)?;
    let mutex = Mutex::new(kind)?;
    let seat = Seat::default();
    pthread("mutex_lock", mutex.lock())?;
    thread::scope(|scope| {
        let waiter = spawn(scope, "waiter", || {
            seat.take();
            let got = mutex.lock();
            let again = mutex.try_lock();
            if again == 0 {
                mutex.unlock();
            }
            Ok((got, again, mutex.unlock()))
        })?;
        seat.await_asleep()?;
        stage.hold()?;
        let again = match kind.rules {
            libc::PTHREAD_MUTEX_RECURSIVE => 0,
            _ => libc::EBUSY,
        };
        stage.equal("tried by its owner", &mutex.try_lock(), &again);
        if again == 0 {
            stage.equal("unlocked once", &mutex.unlock(), &0);
        }
        if kind.rules == libc::PTHREAD_MUTEX_ERRORCHECK {
            stage.equal("locked by its owner", &mutex.lock(), &libc::EDEADLK);
        }
        stage.equal("unlocked", &mutex.unlock(), &0);
        stage.equal("the other thread", &join(waiter)?, &(0, again, 0));
        if kind.rules == libc::PTHREAD_MUTEX_ERRORCHECK {
            stage.equal("unlocked once more", &mutex.unlock(), &libc::EPERM);
        }
        Ok(())
    })
}

/// The owner of a robust mutex ends without unlocking it: the one that waits for it is told, and makes it good.
pub(crate) fn robust(stage: &mut Stage, args: &Args) -> Result<()> {
    sys::one_heap();
    let mutex = Mutex::new(Kind {
        robust: true,
        inherits: args.text("protocol", "none") == "inherit",
        ..Kind::default()
    })?;
    let (owner_seat, seat, open) = (Seat::default(), Seat::default(), AtomicU32::new(0));
    thread::scope(|scope| {
        let owner = spawn(scope, "owner", || {
            let got = mutex.lock();
            owner_seat.take();
            while open.load(Ordering::SeqCst) == 0 {
                let _ = wait(&open, 0);
            }
            Ok(got)
        })?;
        owner_seat.await_asleep()?;
        let waiter = spawn(scope, "waiter", || {
            seat.take();
            let got = mutex.lock();
            Ok((got, mutex.consistent(), mutex.unlock()))
        })?;
        seat.await_asleep()?;
        stage.hold()?;
        stage.equal("it is held", &mutex.try_lock(), &libc::EBUSY);
        open.store(1, Ordering::SeqCst);
        wake(&open, 1)?;
        stage.equal("its owner", &join(owner)?, &0);
        stage.equal(
            "the other thread",
            &join(waiter)?,
            &(libc::EOWNERDEAD, 0, 0),
        );
        stage.equal("it is good again", &mutex.lock(), &0);
        stage.equal("unlocked", &mutex.unlock(), &0);
        Ok(())
    })
}

/// Processes: a child holds a robust mutex in shared memory and is killed; its parent, which waits for it, is told.
pub(crate) fn processes(stage: &mut Stage, args: &Args) -> Result<()> {
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let memory = Mapping::new(page_size(), rights, flags, -1, 0)?;
    // SAFETY: aligned memory of its own, which lives until the end and is made a mutex before it is used.
    let mutex = unsafe { &*memory.start().cast::<c_void>().cast::<Mutex>() };
    mutex.init(Kind {
        robust: true,
        shared: true,
        inherits: args.text("protocol", "none") == "inherit",
        ..Kind::default()
    })?;
    let owner = stage.spawn_ready("owner", |child| {
        pthread("mutex_lock", mutex.lock())?;
        child.hold()?;
        child.check("is not resumed", false, "it is");
        Ok(())
    })?;
    let waiter = stage.spawn("waiter", |child| {
        child.equal("lock", &mutex.lock(), &libc::EOWNERDEAD);
        child.equal("made good", &mutex.consistent(), &0);
        child.equal("unlock", &mutex.unlock(), &0);
        Ok(())
    })?;
    waiter.await_sleeping()?;
    stage.hold()?;
    waiter.check_asleep(stage)?;
    stage.equal("it is held", &mutex.try_lock(), &libc::EBUSY);
    sys::kill(owner.pid, libc::SIGKILL)?;
    let end = sys::wait(owner.pid)?;
    stage.equal("the owner's end", &end, &Status::Killed(libc::SIGKILL));
    stage.join(&waiter)?;
    stage.equal("it is good again", &mutex.lock(), &0);
    Ok(())
}

/// Threads that say in their seats that they are about to wait, and wait; each is made when the one before sleeps.
fn waiters<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    seats: &'scope [Seat],
    body: impl Fn(usize, &Seat) -> Result<T> + Copy + Send + 'scope,
) -> Result<Vec<ScopedJoinHandle<'scope, Result<T>>>> {
    let start = |(number, seat): (usize, &'scope Seat)| {
        let waiter = spawn(scope, &format!("waiter{number}"), move || {
            body(number, seat)
        })?;
        seat.await_asleep()?;
        Ok(waiter)
    };
    seats.iter().enumerate().map(start).collect()
}

/// Threads wait for a condition: one for as long as it takes, one until a point in time that does not come.
pub(crate) fn condition(stage: &mut Stage, _args: &Args) -> Result<()> {
    struct Condition(UnsafeCell<libc::pthread_cond_t>);
    // SAFETY: that is what it is for.
    unsafe impl Sync for Condition {}
    sys::one_heap();
    let mutex = Mutex::new(Kind::default())?;
    let condition = Condition(UnsafeCell::new(libc::PTHREAD_COND_INITIALIZER));
    let (condition, mutex) = (&condition, &mutex);
    let come = &AtomicI32::new(0);
    let until = sys::timespec(sys::clock(libc::CLOCK_REALTIME)? + LONG);
    let seats = [Seat::default(), Seat::default()];
    thread::scope(|scope| {
        let waiters = waiters(scope, &seats, move |number, seat| {
            pthread("mutex_lock", mutex.lock())?;
            seat.take();
            let mut returned = 0;
            while come.load(Ordering::SeqCst) == 0 && returned == 0 {
                let (at, held) = (condition.0.get(), mutex.0.get());
                // SAFETY: both live, and the mutex is held.
                returned = unsafe {
                    if number == 0 {
                        libc::pthread_cond_wait(at, held)
                    } else {
                        libc::pthread_cond_timedwait(at, held, &raw const until)
                    }
                };
            }
            Ok((returned, mutex.unlock()))
        })?;
        stage.hold()?;
        pthread("mutex_lock", mutex.lock())?;
        come.store(1, Ordering::SeqCst);
        // SAFETY: it lives.
        let told = unsafe { libc::pthread_cond_broadcast(condition.0.get()) };
        stage.equal("broadcast", &told, &0);
        stage.equal("unlocked", &mutex.unlock(), &0);
        for (number, waiter) in waiters.into_iter().enumerate() {
            stage.equal(&format!("waiter {number}"), &join(waiter)?, &(0, 0));
        }
        Ok(())
    })
}

/// futex(2) on a word of this process.
fn futex(word: &AtomicU32, operation: c_int, value: u32, more: [usize; 3]) -> Result<usize> {
    let operation = operation | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the words live, and no timeout is given.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            operation,
            value,
            more[0],
            more[1],
            more[2],
        )
    };
    usize::try_from(returned).map_err(|_| Error::last("futex"))
}

fn wait(word: &AtomicU32, value: u32) -> Result<usize> {
    futex(word, libc::FUTEX_WAIT, value, [0; 3])
}

fn wake(word: &AtomicU32, count: u32) -> Result<usize> {
    futex(word, libc::FUTEX_WAKE, count, [0; 3])
}

/// Waiters with different bits, of whom only the right one is woken.
pub(crate) fn bitset(stage: &mut Stage, _args: &Args) -> Result<()> {
    sys::one_heap();
    let word = &AtomicU32::new(3);
    let seats = [Seat::default(), Seat::default(), Seat::default()];
    let order = &AtomicI32::new(0);
    thread::scope(|scope| {
        let waiters = waiters(scope, &seats, move |number, seat| {
            seat.take();
            let returned = futex(word, libc::FUTEX_WAIT_BITSET, 3, [0, 0, 1 << number]);
            Ok((returned?, order.fetch_add(1, Ordering::SeqCst)))
        })?;
        stage.hold()?;
        for seat in &seats {
            seat.await_asleep()?;
        }
        for (place, number) in [1, 2, 0].into_iter().enumerate() {
            let woken = futex(word, libc::FUTEX_WAKE_BITSET, 9, [0, 0, 1 << number])?;
            stage.equal(&format!("woken by bit {number}"), &woken, &1);
            while usize::try_from(order.load(Ordering::SeqCst)) != Ok(place + 1) {
                sys::pause();
            }
        }
        for (waiter, place) in waiters.into_iter().zip([2, 0, 1]) {
            stage.equal("a waiter", &join(waiter)?, &(0, place));
        }
        Ok(())
    })
}

/// Three waiters: one is woken, the others go to another word, and are woken there.
pub(crate) fn requeue(stage: &mut Stage, _args: &Args) -> Result<()> {
    sys::one_heap();
    let (word, other) = (&AtomicU32::new(5), &AtomicU32::new(6));
    let seats = [Seat::default(), Seat::default(), Seat::default()];
    thread::scope(|scope| {
        let waiters = waiters(scope, &seats, move |_, seat| {
            seat.take();
            wait(word, 5)
        })?;
        stage.hold()?;
        for seat in &seats {
            seat.await_asleep()?;
        }
        let more = [9, other.as_ptr().expose_provenance(), 5];
        let done = futex(word, libc::FUTEX_CMP_REQUEUE, 1, more)?;
        stage.equal("woken and moved", &done, &3);
        stage.equal("left at the first word", &wake(word, 9)?, &0);
        stage.equal("woken at the second", &wake(other, 9)?, &2);
        for waiter in waiters {
            stage.equal("a waiter", &join(waiter)?, &0);
        }
        Ok(())
    })
}

/// A thread waits for two futexes at once with `futex_waitv(2)`: the second one wakes it.
pub(crate) fn waitv(stage: &mut Stage, _args: &Args) -> Result<()> {
    /// `struct futex_waitv`.
    #[repr(C)]
    struct Waited {
        value: u64,
        address: u64,
        flags: u32,
        reserved: u32,
    }
    /// `FUTEX2_SIZE_U32` and `FUTEX2_PRIVATE`.
    const FLAGS: u32 = 2 | 128;
    sys::one_heap();
    let words = [AtomicU32::new(1), AtomicU32::new(2)];
    let words = &words;
    let seat = Seat::default();
    thread::scope(|scope| {
        let waiter = spawn(scope, "waiter", || {
            let waited = [0, 1].map(|number| Waited {
                value: number + 1,
                address: words[usize::try_from(number).unwrap_or(0)]
                    .as_ptr()
                    .expose_provenance() as u64,
                flags: FLAGS,
                reserved: 0,
            });
            seat.take();
            // SAFETY: all lives until the call returns; no timeout is given.
            let returned =
                unsafe { libc::syscall(libc::SYS_futex_waitv, &raw const waited, 2, 0, 0, 0) };
            usize::try_from(returned).map_err(|_| Error::last("futex_waitv"))
        })?;
        seat.await_asleep()?;
        stage.hold()?;
        seat.await_asleep()?;
        words[1].store(7, Ordering::SeqCst);
        stage.equal("woken", &wake(&words[1], 9)?, &1);
        stage.equal("which", &join(waiter)?, &1);
        Ok(())
    })
}

/// A barrier that one more thread opens, and a semaphore that another thread waits for.
pub(crate) fn barrier(stage: &mut Stage, _args: &Args) -> Result<()> {
    struct Shared(
        UnsafeCell<MaybeUninit<libc::pthread_barrier_t>>,
        UnsafeCell<MaybeUninit<libc::sem_t>>,
    );
    // SAFETY: both are for that.
    unsafe impl Sync for Shared {}
    sys::one_heap();
    let shared = Shared(
        UnsafeCell::new(MaybeUninit::uninit()),
        UnsafeCell::new(MaybeUninit::uninit()),
    );
    let shared = &shared;
    let barrier = || shared.0.get().cast::<libc::pthread_barrier_t>();
    let semaphore = || shared.1.get().cast::<libc::sem_t>();
    // SAFETY: both live until the threads have ended, and are made before they are used.
    unsafe {
        let made = libc::pthread_barrier_init(barrier(), std::ptr::null(), 3);
        pthread("barrier_init", made)?;
        sys::check("sem_init", libc::sem_init(semaphore(), 0, 0))?;
    }
    let seats = [Seat::default(), Seat::default(), Seat::default()];
    thread::scope(|scope| {
        let mut waiters = waiters(scope, &seats, move |number, seat| {
            seat.take();
            // SAFETY: both were made.
            Ok(unsafe {
                if number == 2 {
                    libc::sem_wait(shared.1.get().cast())
                } else {
                    libc::pthread_barrier_wait(shared.0.get().cast())
                }
            })
        })?;
        stage.hold()?;
        // SAFETY: both were made.
        let mut serial = unsafe {
            sys::check("sem_post", libc::sem_post(semaphore()))?;
            vec![libc::pthread_barrier_wait(barrier())]
        };
        let semaphores = waiters.pop().map(join).transpose()?;
        stage.equal("the semaphore", &semaphores, &Some(0));
        for waiter in waiters {
            serial.push(join(waiter)?);
        }
        serial.sort_unstable();
        let expected = vec![libc::PTHREAD_BARRIER_SERIAL_THREAD, 0, 0];
        stage.equal("the barrier", &serial, &expected);
        Ok(())
    })
}
