//! System calls in the form the workloads want them: typed, with errors, interrupted waits taken up again.

use std::ffi::{CString, c_int, c_long, c_short, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::time::Duration;

use crate::error::{Error, Result};

/// A process id.
pub(crate) type Pid = libc::pid_t;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// It exited with this code.
    Exited(i32),
    /// This signal killed it.
    Killed(i32),
}

impl Status {
    /// Reads what waitpid(2) stores.
    fn of(raw: c_int) -> Self {
        if libc::WIFEXITED(raw) {
            Self::Exited(libc::WEXITSTATUS(raw))
        } else {
            Self::Killed(libc::WTERMSIG(raw))
        }
    }
}

/// Result of a C library function that returns -1 on failure.
pub(crate) fn check(call: &'static str, returned: c_int) -> Result<c_int> {
    if returned == -1 {
        Err(Error::last(call))
    } else {
        Ok(returned)
    }
}

/// A system call that the C library has no function for, or whose function does more.
///
/// # Safety
/// As of the system call: each pointer among the arguments must be good for what the kernel does with it.
pub(crate) unsafe fn raw(
    call: &'static str,
    number: c_long,
    arguments: [usize; 5],
) -> Result<usize> {
    // SAFETY: passed on to the caller.
    let returned = unsafe {
        libc::syscall(
            number,
            arguments[0],
            arguments[1],
            arguments[2],
            arguments[3],
            arguments[4],
        )
    };
    // Addresses above LONG_MAX are negative longs, but -1 is always an error.
    if returned == -1 {
        Err(Error::last(call))
    } else {
        Ok(returned.cast_unsigned().try_into().unwrap_or(usize::MAX))
    }
}

/// prctl(2) of an option that takes one number and returns one.
pub(crate) fn prctl(option: c_int, value: usize) -> Result<usize> {
    let option = usize::try_from(option).unwrap_or(0);
    // SAFETY: the options used here take and return plain numbers.
    unsafe { raw("prctl", libc::SYS_prctl, [option, value, 0, 0, 0]) }
}

/// mseal(2), which has one number everywhere.
pub(crate) fn seal(start: usize, len: usize) -> Result<()> {
    const MSEAL: c_long = 462;
    // SAFETY: plain numbers; what is sealed stays mapped.
    unsafe { raw("mseal", MSEAL, [start, len, 0, 0, 0]) }.map(drop)
}

/// Leaves what the calling thread shares with others, as the `CLONE_*` flags say.
pub(crate) fn unshare(what: c_int) -> Result<()> {
    // SAFETY: plain numbers; only the calling thread is meant.
    check("unshare", unsafe { libc::unshare(what) }).map(drop)
}

/// fork(2): the child's pid in the parent, `None` in the child.
pub(crate) fn fork() -> Result<Option<Pid>> {
    // SAFETY: the program has one thread, so the child's memory is consistent.
    let pid = check("fork", unsafe { libc::fork() })?;
    Ok((pid != 0).then_some(pid))
}

/// clone3(2) with these `CLONE_*` flags, like [`fork`]; flags that share memory or need a stack are not for this function.
pub(crate) fn clone(flags: c_int) -> Result<Option<Pid>> {
    clone_with_signal(flags, libc::SIGCHLD)
}

/// The same with a child that sends another signal when it ends, or none if it is 0; such a child only [`wait`] finds.
pub(crate) fn clone_with_signal(flags: c_int, exit_signal: c_int) -> Result<Option<Pid>> {
    let exit_signal = u64::from(exit_signal.unsigned_abs());
    // struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls.
    let arguments: [u64; 8] = [
        u64::from(flags.cast_unsigned()),
        0,
        0,
        0,
        exit_signal,
        0,
        0,
        0,
    ];
    // SAFETY: the structure outlives the call; without CLONE_VM the child has its own copy of everything it stands on.
    let pid = unsafe {
        raw(
            "clone3",
            libc::SYS_clone3,
            [
                arguments.as_ptr().expose_provenance(),
                size_of_val(&arguments),
                0,
                0,
                0,
            ],
        )?
    };
    Ok((pid != 0).then_some(Pid::try_from(pid).unwrap_or(Pid::MAX)))
}

/// Ends the process at once.
pub(crate) fn exit(code: c_int) -> ! {
    // SAFETY: runs nothing of this process.
    unsafe { libc::_exit(code) }
}

/// Ends the calling thread only; what lies on its stack is still there for the others.
pub(crate) fn exit_thread(code: c_int) -> ! {
    // SAFETY: plain numbers.
    unsafe { libc::syscall(libc::SYS_exit, code) };
    unreachable!("exit(2) returned")
}

/// The caller's pid.
pub(crate) fn pid() -> Pid {
    // SAFETY: always succeeds.
    unsafe { libc::getpid() }
}

/// The parent's pid; 0 if it is in another pid namespace.
pub(crate) fn parent() -> Pid {
    // SAFETY: always succeeds.
    unsafe { libc::getppid() }
}

/// Waits for a child to end, whatever signal it sends.
pub(crate) fn wait(pid: Pid) -> Result<Status> {
    loop {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        match check("waitpid", unsafe {
            libc::waitpid(pid, &raw mut status, libc::__WALL)
        }) {
            Ok(_) => return Ok(Status::of(status)),
            Err(Error::Call { source, .. }) if source.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// How a child ended, if it did.
pub(crate) fn try_wait(pid: Pid) -> Result<Option<Status>> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let found = check("waitpid", unsafe {
        libc::waitpid(pid, &raw mut status, libc::WNOHANG | libc::__WALL)
    })?;
    Ok((found != 0).then(|| Status::of(status)))
}

/// kill(2); negative pids are process groups.
pub(crate) fn kill(pid: Pid, signal: c_int) -> Result<()> {
    // SAFETY: plain numbers.
    check("kill", unsafe { libc::kill(pid, signal) }).map(drop)
}

/// The calling thread's id.
pub(crate) fn tid() -> Pid {
    // SAFETY: always succeeds.
    let tid = unsafe { libc::syscall(libc::SYS_gettid) };
    Pid::try_from(tid).unwrap_or(0)
}

/// A signal for one thread of this process.
pub(crate) fn kill_thread(tid: Pid, signal: c_int) -> Result<()> {
    // SAFETY: plain numbers.
    let returned = unsafe { libc::syscall(libc::SYS_tgkill, c_long::from(pid()), tid, signal) };
    if returned == -1 {
        Err(Error::last("tgkill"))
    } else {
        Ok(())
    }
}

/// `setpgid(2)`: puts a process into a group; 0 is the calling one, and the group that it leads.
pub(crate) fn set_group(pid: Pid, group: Pid) -> Result<()> {
    // SAFETY: plain numbers.
    check("setpgid", unsafe { libc::setpgid(pid, group) }).map(drop)
}

/// Sends a signal with a value to a process.
pub(crate) fn queue(pid: Pid, signal: c_int, value: usize) -> Result<()> {
    let value = libc::sigval {
        sival_ptr: ptr::without_provenance_mut(value),
    };
    // SAFETY: the value is a number, which nobody takes for an address.
    check("sigqueue", unsafe { libc::sigqueue(pid, signal, value) }).map(drop)
}

/// All threads take their memory from one heap: how many heaps there are depends on who comes first.
pub(crate) fn one_heap() {
    // SAFETY: plain numbers; only where new threads allocate from changes.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// A set of signals.
pub(crate) fn set_of(signals: &[c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set before it is read.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}

/// Bit N-1 for each signal N of a set.
fn bits_of(set: &libc::sigset_t) -> u64 {
    // SAFETY: reads the set.
    (1..=64)
        .filter(|signal| unsafe { libc::sigismember(set, *signal) } == 1)
        .fold(0, |bits, signal| bits | 1 << (signal - 1))
}

/// Adds signals to the mask.
pub(crate) fn block(signals: &[c_int]) -> Result<()> {
    let set = set_of(signals);
    // SAFETY: the set outlives the call.
    check("sigprocmask", unsafe {
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut())
    })
    .map(drop)
}

/// Takes signals out of the mask.
pub(crate) fn unblock(signals: &[c_int]) -> Result<()> {
    let set = set_of(signals);
    // SAFETY: the set outlives the call.
    check("sigprocmask", unsafe {
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut())
    })
    .map(drop)
}

/// The mask: bit N-1 for signal N.
pub(crate) fn mask() -> Result<u64> {
    let mut set = set_of(&[]);
    // SAFETY: the set outlives the call.
    check("sigprocmask", unsafe {
        libc::sigprocmask(libc::SIG_BLOCK, ptr::null(), &raw mut set)
    })?;
    Ok(bits_of(&set))
}

/// Pending signals: bit N-1 for signal N.
pub(crate) fn pending() -> Result<u64> {
    let mut set = set_of(&[]);
    // SAFETY: the set outlives the call.
    check("sigpending", unsafe { libc::sigpending(&raw mut set) })?;
    Ok(bits_of(&set))
}

/// Waits for a blocked signal and takes it. A freeze interrupts the wait, which then goes on.
pub(crate) fn wait_signal(signal: c_int) -> Result<()> {
    let set = set_of(&[signal]);
    loop {
        // SAFETY: the set outlives the call.
        let taken = unsafe { libc::sigtimedwait(&raw const set, ptr::null_mut(), ptr::null()) };
        if taken == signal {
            return Ok(());
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Err(Error::last("sigtimedwait"));
        }
    }
}

/// `rt_sigsuspend(2)`: sleeps with only `open` unblocked until a handler ran.
pub(crate) fn suspend(open: c_int) {
    let mut set = set_of(&[]);
    // SAFETY: the set outlives the calls; sigsuspend always returns -1.
    unsafe {
        libc::sigfillset(&raw mut set);
        libc::sigdelset(&raw mut set, open);
        libc::sigsuspend(&raw const set);
    }
}

/// A handler that gets the signal's number.
pub(crate) type Handler = extern "C" fn(c_int);

/// A handler that gets details: `siginfo_t` and `ucontext_t`.
pub(crate) type DetailedHandler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// Sets a signal's handler; `flags` without `SA_SIGINFO`, `masked` are blocked while it runs.
pub(crate) fn handle(
    signal: c_int,
    handler: Handler,
    flags: c_int,
    masked: &[c_int],
) -> Result<()> {
    set_action(
        signal,
        (handler as *const ()).expose_provenance(),
        flags,
        masked,
    )
}

/// Sets a signal's handler that gets details.
pub(crate) fn handle_detailed(signal: c_int, handler: DetailedHandler, flags: c_int) -> Result<()> {
    set_action(
        signal,
        (handler as *const ()).expose_provenance(),
        flags | libc::SA_SIGINFO,
        &[],
    )
}

/// Sets a signal's action: a handler's address, `SIG_DFL` or `SIG_IGN`.
pub(crate) fn set_action(
    signal: c_int,
    handler: libc::sighandler_t,
    flags: c_int,
    masked: &[c_int],
) -> Result<()> {
    // SAFETY: all-zero bytes are a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    action.sa_mask = set_of(masked);
    // SAFETY: the structure outlives the call; handlers here touch atomics and make system calls only.
    check("sigaction", unsafe {
        libc::sigaction(signal, &raw const action, ptr::null_mut())
    })
    .map(drop)
}

/// A signal's action: handler, flags, mask. `None` for signals that the C library keeps to itself.
pub(crate) fn action(signal: c_int) -> Option<(usize, c_int, u64)> {
    // SAFETY: all-zero bytes are a valid sigaction, which outlives the call.
    let (returned, action) = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        (
            libc::sigaction(signal, ptr::null(), &raw mut action),
            action,
        )
    };
    (returned == 0).then(|| {
        (
            action.sa_sigaction,
            action.sa_flags,
            bits_of(&action.sa_mask),
        )
    })
}

/// Size of a page in bytes.
pub(crate) fn page_size() -> usize {
    // SAFETY: plain numbers.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Time on a clock since its epoch.
pub(crate) fn clock(clock: libc::clockid_t) -> Result<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` outlives the call.
    check("clock_gettime", unsafe {
        libc::clock_gettime(clock, &raw mut time)
    })?;
    Ok(duration(time))
}

/// The same as the kernel says it, and not the vdso.
pub(crate) fn kernel_time(clock: libc::clockid_t) -> Result<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let arguments = [
        usize::try_from(clock).unwrap_or(0),
        (&raw mut time).expose_provenance(),
        0,
        0,
        0,
    ];
    // SAFETY: the kernel writes one timespec of the C library's size.
    unsafe { raw("clock_gettime", libc::SYS_clock_gettime, arguments)? };
    Ok(duration(time))
}

/// A timespec as a duration; nothing for negative ones.
pub(crate) fn duration(time: libc::timespec) -> Duration {
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// A duration as a timespec.
pub(crate) fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().cast_signed().into(),
    }
}

/// CPU time that another process has used.
pub(crate) fn cpu_time(pid: Pid) -> Result<Duration> {
    // CPUCLOCK_SCHED of the process, as clock_getcpuclockid(3) computes it.
    clock((!pid << 3) | 2)
}

/// The state letter of a process in `/proc/PID/stat`.
pub(crate) fn state(pid: Pid) -> Result<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_err(Error::from_io("read /proc/PID/stat"))?;
    state_in(&stat)
        .ok_or_else(|| Error::Situation(format!("/proc/{pid}/stat has no state: {stat:?}")))
}

/// Whether a thread of this process has left its processor: it may say that it sleeps while it still queues itself.
pub(crate) fn is_blocked(tid: Pid) -> Result<bool> {
    let call = std::fs::read_to_string(format!("/proc/self/task/{tid}/syscall"))
        .map_err(Error::from_io("read /proc/self/task/TID/syscall"))?;
    Ok(call.trim_end() != "running")
}

/// Whether a process has left its processor in this system call.
pub(crate) fn waits_in(pid: Pid, call: c_long) -> Result<bool> {
    let now = std::fs::read_to_string(format!("/proc/{pid}/syscall"))
        .map_err(Error::from_io("read /proc/PID/syscall"))?;
    Ok(now.split_whitespace().next() == Some(&*call.to_string()))
}

/// A field of `/proc/PID/status`, without the blanks around it; a thread's id serves, too.
pub(crate) fn status_field(pid: Pid, name: &str) -> Result<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(Error::from_io("read /proc/PID/status"))?;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(|value| value.trim().to_owned())
        .ok_or_else(|| Error::Situation(format!("/proc/{pid}/status has no {name}")))
}

/// The letter behind the name, which may itself hold parentheses and blanks.
fn state_in(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The flags that fcntl(2) reads from a descriptor with `F_GETFD` or `F_GETFL`, or `None` if it is closed.
pub(crate) fn descriptor_flags(fd: c_int, command: c_int) -> Option<c_int> {
    // SAFETY: plain numbers.
    let flags = unsafe { libc::fcntl(fd, command) };
    (flags != -1).then_some(flags)
}

/// Is the descriptor open?
pub(crate) fn is_open(fd: c_int) -> bool {
    descriptor_flags(fd, libc::F_GETFD).is_some()
}

/// The offset of a descriptor.
pub(crate) fn offset(fd: c_int) -> Result<i64> {
    seek(fd, 0, libc::SEEK_CUR)
}

/// Moves the offset of a descriptor.
pub(crate) fn seek(fd: c_int, to: i64, whence: c_int) -> Result<i64> {
    // SAFETY: plain numbers.
    let at = unsafe { libc::lseek64(fd, to, whence) };
    if at == -1 {
        Err(Error::last("lseek"))
    } else {
        Ok(at)
    }
}

/// Reads once from a descriptor.
pub(crate) fn read(fd: c_int, bytes: &mut [u8]) -> Result<usize> {
    // SAFETY: the buffer is as long as said.
    let count = unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()) };
    usize::try_from(count).map_err(|_| Error::last("read"))
}

/// Writes once to a descriptor.
pub(crate) fn write(fd: c_int, bytes: &[u8]) -> Result<usize> {
    // SAFETY: the buffer is as long as said.
    let count = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    usize::try_from(count).map_err(|_| Error::last("write"))
}

/// What poll(2) says of a descriptor within a time in milliseconds: 0 for now, -1 for any.
pub(crate) fn poll(fd: c_int, events: c_short, timeout: c_int) -> Result<c_short> {
    let mut poll = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: one descriptor, which lives.
    check("poll", unsafe { libc::poll(&raw mut poll, 1, timeout) })?;
    Ok(poll.revents)
}

/// What a call returned, or the errno of one that failed, 0 where something else did.
pub(crate) fn outcome<T>(returned: Result<T>) -> Result<T, i32> {
    returned.map_err(|error| match error {
        Error::Call { source, .. } => source.raw_os_error().unwrap_or(0),
        _ => 0,
    })
}

/// The ends of a pipe: what comes out of it, and what goes into it.
pub(crate) fn pipe(flags: c_int) -> Result<[c_int; 2]> {
    let mut ends = [0; 2];
    // SAFETY: the kernel writes two numbers.
    check("pipe2", unsafe { libc::pipe2(ends.as_mut_ptr(), flags) })?;
    Ok(ends)
}

/// The number that an eventfd or a timerfd gives.
pub(crate) fn read_number(fd: c_int) -> Result<u64> {
    let mut bytes = [0; 8];
    read(fd, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Status and descriptor flags of each.
pub(crate) fn flags_of<const N: usize>(fds: [c_int; N]) -> [[Option<c_int>; 2]; N] {
    fds.map(|fd| [libc::F_GETFL, libc::F_GETFD].map(|which| descriptor_flags(fd, which)))
}

/// Closes a descriptor.
pub(crate) fn close(fd: c_int) -> Result<()> {
    // SAFETY: the callers own the number.
    check("close", unsafe { libc::close(fd) }).map(drop)
}

/// Opens a path.
pub(crate) fn open(path: &Path, flags: c_int) -> Result<c_int> {
    let path = c_path(path)?;
    // SAFETY: the path outlives the call.
    check("open", unsafe { libc::open64(path.as_ptr(), flags, 0o644) })
}

/// A path for the C library.
pub(crate) fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::Situation(format!("zero byte in {}", path.display())))
}

/// Sleeps a little between two looks at something that another process does.
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}

/// Memory of its own, unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: *mut u8,
    len: usize,
}

impl Mapping {
    /// Private anonymous memory, readable and writable, of so many pages.
    pub(crate) fn anonymous(pages: usize) -> Result<Self> {
        Self::new(
            pages * page_size(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    }

    /// Anything else that mmap(2) does; `offset` is in bytes.
    pub(crate) fn new(
        len: usize,
        protection: c_int,
        flags: c_int,
        fd: c_int,
        offset: i64,
    ) -> Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses touches nothing that exists.
        let start = unsafe { libc::mmap64(ptr::null_mut(), len, protection, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            Err(Error::last("mmap"))
        } else {
            Ok(Self {
                start: start.cast(),
                len,
            })
        }
    }

    /// Its first address.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Its first address as a number.
    pub(crate) fn address(&self) -> usize {
        self.start.addr()
    }

    /// The bytes of a range, which must be readable.
    pub(crate) fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        assert!(offset + len <= self.len, "range outside of the mapping");
        // SAFETY: inside the mapping, which lives as long as `self`; nothing else writes to it meanwhile.
        unsafe { std::slice::from_raw_parts(self.start.add(offset), len) }
    }

    /// The bytes of a range, which must be writable.
    pub(crate) fn bytes_mut(&mut self, offset: usize, len: usize) -> &mut [u8] {
        assert!(offset + len <= self.len, "range outside of the mapping");
        // SAFETY: inside the mapping, which is borrowed for as long as the slice lives.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(offset), len) }
    }

    /// One page, by its number.
    pub(crate) fn page(&self, page: usize) -> &[u8] {
        self.bytes(page * page_size(), page_size())
    }

    /// One page to write to, by its number.
    pub(crate) fn page_mut(&mut self, page: usize) -> &mut [u8] {
        self.bytes_mut(page * page_size(), page_size())
    }

    /// The first of so many pages, which must be there.
    fn pages(&self, page: usize, pages: usize) -> *mut c_void {
        assert!(
            (page + pages) * page_size() <= self.len,
            "pages outside of the mapping"
        );
        // SAFETY: inside the mapping.
        unsafe { self.start.add(page * page_size()) }.cast()
    }

    /// mprotect(2) on so many pages from a page on.
    pub(crate) fn protect(&mut self, page: usize, pages: usize, protection: c_int) -> Result<()> {
        let start = self.pages(page, pages);
        // SAFETY: inside the mapping, of which no slice is borrowed.
        check("mprotect", unsafe {
            libc::mprotect(start, pages * page_size(), protection)
        })
        .map(drop)
    }

    /// madvise(2) on so many pages from a page on.
    pub(crate) fn advise(&mut self, page: usize, pages: usize, advice: c_int) -> Result<()> {
        let start = self.pages(page, pages);
        // SAFETY: inside the mapping, of which no slice is borrowed.
        check("madvise", unsafe {
            libc::madvise(start, pages * page_size(), advice)
        })
        .map(drop)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_behind_the_last_parenthesis() {
        assert_eq!(state_in("12 (a) b) S 1 12"), Some('S'));
        assert_eq!(state_in("12 (x"), None);
    }

    #[test]
    fn statuses() {
        assert_eq!(Status::of(3 << 8), Status::Exited(3));
        assert_eq!(Status::of(11), Status::Killed(11));
    }

    #[test]
    fn a_childs_end_is_seen() {
        let Some(pid) = fork().unwrap() else { exit(9) };
        assert_eq!(wait(pid).unwrap(), Status::Exited(9));
    }
}
