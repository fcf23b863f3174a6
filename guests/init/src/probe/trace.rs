//! What ptrace(2) shows: registers, queued signals, seccomp filters.
//!
//! A task in the cgroup v2 freezer waits inside `get_signal()`. `PTRACE_SEIZE` and `PTRACE_INTERRUPT` wake it there,
//! it stops in the same loop, and after `PTRACE_DETACH` it goes back to the freezer without having left the loop:
//! no user instruction runs and no system call is restarted (`get_signal` and `do_freezer_trap` of kernel/signal.c).
//! What does not wait there is left alone: a vfork parent, which no trap reaches, and a stopped or traced task.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use std::{io, ptr};

use crossthaw_protocol::{Fields, Filter, RegisterSet, SignalState};
use xxhash_rust::xxh64::xxh64;

use super::{Renamed, Task};
use crate::error::{AgentError, Context, Result};

/// How long a frozen task may take to stop, and to be frozen again.
const DEADLINE: Duration = Duration::from_secs(5);

/// Bytes of the largest register set; x86's XSTATE with AMX is 11 KiB.
const LARGEST: usize = 32 << 10;

/// Types of notes that some architecture has, linux/elf.h.
fn notes() -> impl Iterator<Item = u32> {
    let others = [0x100..=0x112, 0x200..=0x204, 0x300..=0x30d];
    // NT_PRSTATUS, NT_PRFPREG, NT_PRXFPREG.
    [1, 2, 0x46e6_2b7f]
        .into_iter()
        .chain(others.into_iter().flatten())
}

/// Requests, linux/ptrace.h; the C libraries disagree about their type.
const DETACH: u32 = 17;
const GETREGSET: u32 = 0x4204;
const SEIZE: u32 = 0x4206;
const INTERRUPT: u32 = 0x4207;
const PEEKSIGINFO: u32 = 0x4209;
const SECCOMP_GET_FILTER: u32 = 0x420c;
const SECCOMP_GET_METADATA: u32 = 0x420d;
const GET_RSEQ_CONFIGURATION: u32 = 0x420f;
const PEEKSIGINFO_SHARED: u32 = 1;

/// What ptrace showed of one task.
#[derive(Debug, Default)]
pub(super) struct Traced {
    pub(super) registers: Vec<RegisterSet>,
    pub(super) signals: Vec<SignalState>,
    pub(super) filters: Vec<Filter>,
    pub(super) attributes: Fields,
}

/// One request; `None` where the kernel refuses it.
fn ptrace(request: u32, pid: i32, addr: usize, data: *mut libc::c_void) -> Option<libc::c_long> {
    // SAFETY: for each request used here, data is null or points to memory of the size that it says or that addr says.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_ptrace,
            request as usize,
            libc::c_long::from(pid),
            addr,
            data,
        )
    };
    (ret != -1).then_some(ret)
}

fn words(bytes: &[u8]) -> Vec<(u32, u64)> {
    let word = |(place, bytes): (u32, &[u8])| {
        let mut whole = [0; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        (place, u64::from_ne_bytes(whole))
    };
    let places = (0..).step_by(8);
    let all = places.zip(bytes.chunks(8)).map(word);
    all.filter(|&(_, value)| value != 0).collect()
}

/// A register set; an error where the task, or the architecture, has none of this type.
fn register_set(pid: i32, note: u32, buffer: &mut [u8]) -> io::Result<RegisterSet> {
    let mut io = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    ptrace(GETREGSET, pid, note as usize, (&raw mut io).cast())
        .ok_or_else(io::Error::last_os_error)?;
    let bytes = &buffer[..io.iov_len];
    Ok(RegisterSet {
        note,
        size: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        words: words(bytes),
    })
}

/// All register sets of a task. What the architecture does not know is not asked for again.
fn registers(pid: i32, notes: &mut Vec<u32>, buffer: &mut [u8]) -> Vec<RegisterSet> {
    let mut found = Vec::new();
    notes.retain(|&note| match register_set(pid, note, buffer) {
        Ok(set) => {
            found.push(set);
            true
        }
        Err(error) => error.raw_os_error() != Some(libc::EINVAL),
    });
    found
}

/// `struct ptrace_peeksiginfo_args` of linux/ptrace.h.
#[repr(C)]
struct PeekArgs {
    offset: u64,
    flags: u32,
    count: i32,
}

/// Size of `siginfo_t` on every architecture.
const SIGINFO: usize = 128;
/// Signals that are fetched at once.
const SIGNALS: usize = 32;

/// A `siginfo_t`; its first three words are number, errno and code.
fn signal(info: &[u8], shared: bool) -> SignalState {
    let word = |at: usize| {
        let bytes = info.get(at..at + 4).and_then(|word| word.try_into().ok());
        bytes.map_or(0, i32::from_ne_bytes)
    };
    let rest = info.get(12..).unwrap_or_default();
    let used = rest
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |at| at + 1);
    SignalState {
        shared,
        number: word(0),
        errno: word(4),
        code: word(8),
        rest: super::text::hex(&rest[..used]),
    }
}

fn queue(pid: i32, shared: bool, renamed: Option<&Renamed>, found: &mut Vec<SignalState>) {
    let mut args = PeekArgs {
        offset: 0,
        flags: if shared { PEEKSIGINFO_SHARED } else { 0 },
        count: 32,
    };
    let mut infos = vec![0u8; SIGNALS * SIGINFO];
    loop {
        let at = (&raw mut args) as usize;
        let Some(count) = ptrace(PEEKSIGINFO, pid, at, infos.as_mut_ptr().cast()) else {
            return;
        };
        let count = usize::try_from(count).unwrap_or(0);
        for info in infos.chunks_mut(SIGINFO).take(count) {
            if let Some(renamed) = renamed {
                renamed.sender(info);
            }
            found.push(signal(info, shared));
        }
        if count < SIGNALS {
            return;
        }
        args.offset += count as u64;
    }
}

/// A struct `sock_filter`, the same on every architecture: a program has one hash.
fn instruction(word: u64) -> [u8; 8] {
    let [code0, code1, jt, jf, k0, k1, k2, k3] = word.to_ne_bytes();
    let [code0, code1] = u16::from_ne_bytes([code0, code1]).to_le_bytes();
    let [k0, k1, k2, k3] = u32::from_ne_bytes([k0, k1, k2, k3]).to_le_bytes();
    [code0, code1, jt, jf, k0, k1, k2, k3]
}

/// The seccomp filters, newest first.
fn filters(pid: i32) -> Vec<Filter> {
    let mut all = Vec::new();
    while let Some(count) = ptrace(SECCOMP_GET_FILTER, pid, all.len(), ptr::null_mut()) {
        let count = u32::try_from(count).unwrap_or(0);
        // An instruction of classic BPF: 8 bytes.
        let mut program = vec![0u64; count as usize];
        if ptrace(
            SECCOMP_GET_FILTER,
            pid,
            all.len(),
            program.as_mut_ptr().cast(),
        )
        .is_none()
        {
            break;
        }
        let bytes: Vec<u8> = program.iter().flat_map(|word| instruction(*word)).collect();
        // struct seccomp_metadata: which filter, and its flags.
        let mut metadata = [all.len() as u64, 0];
        let size = size_of_val(&metadata);
        ptrace(
            SECCOMP_GET_METADATA,
            pid,
            size,
            metadata.as_mut_ptr().cast(),
        );
        all.push(Filter {
            instructions: count,
            hash: xxh64(&bytes, 0),
            flags: metadata[1],
        });
    }
    all
}

/// The area for restartable sequences: address, size, signature, flags.
fn rseq(pid: i32) -> Option<(String, String)> {
    // struct ptrace_rseq_configuration: u64 pointer; u32 size, signature, flags, pad.
    let mut raw = [0u64; 3];
    let size = size_of_val(&raw);
    ptrace(GET_RSEQ_CONFIGURATION, pid, size, raw.as_mut_ptr().cast())?;
    let bytes: Vec<u8> = raw.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let word = |at: usize| {
        let bytes = bytes[at..at + 4].try_into();
        bytes.map_or(0, u32::from_ne_bytes)
    };
    let text = format!(
        "{:#x} size {} signature {:#x} flags {:#x}",
        raw[0],
        word(8),
        word(12),
        word(16)
    );
    Some(("rseq".to_owned(), text))
}

/// Wait until a seized task has stopped.
fn wait_stopped(pid: i32, deadline: Instant) -> Result<()> {
    loop {
        let mut status = 0;
        // SAFETY: status is a valid place for the result.
        let found = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG | libc::__WALL) };
        if found == pid && libc::WIFSTOPPED(status) {
            return Ok(());
        }
        if found != 0 {
            return Err(io::Error::last_os_error())
                .context(|| format!("stop pid {pid} for a look at its registers"));
        }
        pause(deadline, || format!("the stop of pid {pid}"))?;
    }
}

fn pause(deadline: Instant, what: impl FnOnce() -> String) -> Result<()> {
    if Instant::now() >= deadline {
        return Err(AgentError::Late {
            what: what(),
            seconds: DEADLINE.as_secs(),
        });
    }
    std::thread::sleep(Duration::from_micros(100));
    Ok(())
}

/// Seized tasks, which are let go whatever happens.
struct Seized(Vec<i32>);

impl Drop for Seized {
    fn drop(&mut self) {
        for &pid in &self.0 {
            ptrace(DETACH, pid, 0, ptr::null_mut());
        }
    }
}

/// Look at the tasks that the freezer holds; by pid as the agent sees it.
pub(super) fn probe(tasks: &[Task], renamed: Option<&Renamed>) -> Result<BTreeMap<i32, Traced>> {
    let deadline = Instant::now() + DEADLINE;
    let mut seized = Seized(Vec::new());
    for task in tasks.iter().filter(|task| task.is_in_freezer()) {
        if ptrace(SEIZE, task.outer, 0, ptr::null_mut()).is_some() {
            seized.0.push(task.outer);
            ptrace(INTERRUPT, task.outer, 0, ptr::null_mut());
        }
    }
    let mut notes: Vec<u32> = notes().collect();
    let mut buffer = vec![0u8; LARGEST];
    let mut found = BTreeMap::new();
    for &pid in &seized.0 {
        wait_stopped(pid, deadline)?;
        let registers = registers(pid, &mut notes, &mut buffer);
        let mut signals = Vec::new();
        queue(pid, false, renamed, &mut signals);
        queue(pid, true, renamed, &mut signals);
        let traced = Traced {
            registers,
            signals,
            filters: filters(pid),
            attributes: rseq(pid).into_iter().collect(),
        };
        found.insert(pid, traced);
    }
    drop(seized);
    for task in tasks.iter().filter(|task| found.contains_key(&task.outer)) {
        while !task.is_asleep()? {
            pause(deadline, || {
                format!("the return of pid {} to the freezer", task.outer)
            })?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_words_are_left_out_and_a_half_one_is_filled() {
        let mut bytes = [0u8; 20];
        bytes[8..16].copy_from_slice(&7u64.to_ne_bytes());
        bytes[16] = 1;
        let last = u64::from_ne_bytes([1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(words(&bytes), [(8, 7), (16, last)]);
    }

    #[test]
    fn a_siginfo_is_taken_apart() {
        let mut info = [0u8; SIGINFO];
        info[0..4].copy_from_slice(&10i32.to_ne_bytes());
        info[8..12].copy_from_slice(&(-1i32).to_ne_bytes());
        info[12..14].copy_from_slice(&[0xab, 1]);
        let expected = SignalState {
            shared: true,
            number: 10,
            code: -1,
            errno: 0,
            rest: "ab01".to_owned(),
        };
        assert_eq!(signal(&info, true), expected);
    }
}
