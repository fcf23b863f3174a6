//! The oracle **kernel**: faults that a kernel reports on its console, and new taint.
//!
//! Patterns are those of Linux 6.12; each is anchored in the message, behind its time stamp, so that a word alone is no fault.

mod forms;
mod trace;

use std::fmt;

use forms::FORMS;
pub use trace::{Symbolised, symbolise};

/// Lines of a report that a verdict carries.
const LINES: usize = 40;

/// A report may begin this many lines before the line that tells its class.
const BEFORE: usize = 3;

/// The line that begins many reports.
const CUT_HERE: &str = "------------[ cut here ]------------";

/// What kind of fault a kernel reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The kernel gave up.
    Panic,
    /// A trap in kernel mode.
    Oops,
    /// `BUG()`, or a `BUG:` of no other class.
    Bug,
    /// `WARN()`.
    Warning,
    /// A lock taken in a way that can deadlock, or held too long.
    Lockdep,
    /// RCU used without protection.
    Rcu,
    /// Memory used out of bounds or after it was freed.
    Kasan,
    /// Undefined behaviour.
    Ubsan,
    /// A CPU that does not let RCU go on.
    RcuStall,
    /// A CPU that does not schedule.
    SoftLockup,
    /// A CPU that takes no interrupts.
    HardLockup,
    /// A task that sleeps without end.
    HungTask,
    /// A reference count that went wrong.
    Refcount,
    /// A list whose links are broken.
    List,
    /// Sleeping or scheduling where that is forbidden.
    AtomicSleep,
    /// A slab object that was overwritten or freed twice.
    Slab,
    /// A page in a state that cannot be.
    BadPage,
    /// Memory that nobody refers to.
    MemoryLeak,
    /// An allocation that could not be served.
    Allocation,
    /// Tasks killed for want of memory.
    OutOfMemory,
    /// A stack trace under a headline that is not known.
    Trace,
    /// A taint flag without a report.
    Taint,
}

impl Class {
    /// Its name in verdicts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Oops => "oops",
            Self::Bug => "bug",
            Self::Warning => "warning",
            Self::Lockdep => "lockdep",
            Self::Rcu => "rcu",
            Self::Kasan => "kasan",
            Self::Ubsan => "ubsan",
            Self::RcuStall => "rcu-stall",
            Self::SoftLockup => "soft-lockup",
            Self::HardLockup => "hard-lockup",
            Self::HungTask => "hung-task",
            Self::Refcount => "refcount",
            Self::List => "list-corruption",
            Self::AtomicSleep => "atomic-sleep",
            Self::Slab => "slab",
            Self::BadPage => "bad-page",
            Self::MemoryLeak => "memory-leak",
            Self::Allocation => "allocation",
            Self::OutOfMemory => "out-of-memory",
            Self::Trace => "trace",
            Self::Taint => "taint",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a kernel reports of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its kind.
    pub class: Class,
    /// The report's first lines.
    pub lines: Vec<String>,
}

/// A line without its carriage return, log level, time stamp and caller: `<4>[    1.234567] [    T7] `.
fn message(line: &str) -> &str {
    let mut rest = line.trim_end_matches('\r').trim_start();
    let bracketed = |text: &str, inner: &dyn Fn(&str) -> bool| {
        let close = text.find(']')?;
        let open = text.strip_prefix('[')?;
        inner(open.get(..close - 1)?.trim()).then(|| close + 1)
    };
    if let Some((level, after)) = rest.strip_prefix('<').and_then(|text| text.split_once('>'))
        && level.parse::<u16>().is_ok()
    {
        rest = after;
    }
    let is_time = |text: &str| {
        text.split_once('.').is_some_and(|(whole, part)| {
            [whole, part]
                .iter()
                .all(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        })
    };
    if let Some(end) = bracketed(rest, &is_time) {
        rest = rest[end..].trim_start();
    }
    let is_caller = |text: &str| {
        text.strip_prefix(['T', 'C'])
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    if let Some(end) = bracketed(rest, &is_caller) {
        rest = rest[end..].trim_start();
    }
    rest
}

fn class(line: &str) -> Option<Class> {
    let message = message(line);
    FORMS
        .iter()
        .find(|(_, form)| form.matches(message))
        .map(|&(class, _)| class)
}

/// The first fault that is reported in this text: what follows is often a consequence of it.
pub fn judge(console: &str) -> Option<Fault> {
    judge_but(console, None)
}

/// The first fault of another class than the one that was asked for, whose traces are no faults either.
pub fn judge_but(console: &str, asked: Option<Class>) -> Option<Fault> {
    let lines: Vec<&str> = console.lines().collect();
    let mut last_asked = None;
    let (at, class) = lines.iter().enumerate().find_map(|(at, line)| {
        let class = class(line)?;
        if Some(class) == asked {
            last_asked = Some(at);
            return None;
        }
        let asked_before = last_asked.take().is_some_and(|last| at - last <= BEFORE);
        let is_asked = class == Class::Trace && asked_before;
        (!is_asked).then_some((at, class))
    })?;
    let begin = (at.saturating_sub(BEFORE)..at)
        .rev()
        .find(|&at| message(lines[at]) == CUT_HERE)
        .unwrap_or(at);
    let lines = lines[begin..]
        .iter()
        .take(LINES)
        .map(|line| line.trim_end_matches('\r').to_owned())
        .collect();
    Some(Fault { class, lines })
}

/// Letter and meaning of each bit of the taint mask, Documentation/admin-guide/tainted-kernels.rst.
const TAINTS: [(char, &str); 19] = [
    ('P', "a proprietary module was loaded"),
    ('F', "a module was force loaded"),
    ('S', "the kernel runs on an out of specification system"),
    ('R', "a module was force unloaded"),
    ('M', "the processor reported a machine check"),
    (
        'B',
        "a bad page was referenced, or some unexpected page flags",
    ),
    ('U', "taint was requested by a program"),
    ('D', "the kernel died recently: there was an Oops or BUG"),
    ('A', "an ACPI table was overridden"),
    ('W', "the kernel issued a warning"),
    ('C', "a staging driver was loaded"),
    (
        'I',
        "a workaround for a bug in platform firmware was applied",
    ),
    ('O', "an externally built module was loaded"),
    ('E', "an unsigned module was loaded"),
    ('L', "a soft lockup occurred"),
    ('K', "the kernel was live patched"),
    ('X', "an auxiliary taint of the distribution"),
    (
        'T',
        "the kernel was built with the struct randomization plugin",
    ),
    ('N', "an in-kernel test was run"),
];

/// Taint: a sound kernel has none, from its boot on.
pub fn judge_taint(mask: u64) -> Option<Fault> {
    if mask == 0 {
        return None;
    }
    let mut lines = vec![format!("the kernel is tainted: {mask:#x}")];
    let bits = (0..64).filter(|bit| mask & (1 << bit) != 0);
    lines.extend(bits.map(|bit| match TAINTS.get(bit) {
        Some((letter, meaning)) => format!("{letter}: {meaning}"),
        None => format!("bit {bit}"),
    }));
    Some(Fault {
        class: Class::Taint,
        lines,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_what_follows_the_stamps() {
        for line in [
            "BUG: x",
            "BUG: x\r",
            "[    1.234567] BUG: x",
            "[12345.000001][    T7] BUG: x",
            "[    1.234567] [   C0] BUG: x",
            "<4>[    1.234567] BUG: x",
        ] {
            assert_eq!(message(line), "BUG: x", "{line:?}");
        }
        for line in ["[ BUG: Invalid wait context ]", "[#1] x", "[1.2", "<x> y"] {
            assert_eq!(message(line), line);
        }
    }

    #[test]
    fn a_report_begins_at_its_cut() {
        let text = "a\n[    1.0] ------------[ cut here ]------------\r\n[    1.0] refcount_t: underflow; use-after-free.\r\n[    1.0] WARNING: CPU: 0 PID: 1 at lib/refcount.c:28 x+0x1/0x2\r\n";
        let fault = judge(text).unwrap();
        assert_eq!((fault.class, fault.lines.len()), (Class::Refcount, 3));
        assert_eq!(
            fault.lines[0],
            "[    1.0] ------------[ cut here ]------------"
        );
    }

    #[test]
    fn taint_is_told_by_its_letters() {
        assert_eq!(judge_taint(0), None);
        let fault = judge_taint(0x280).unwrap();
        assert_eq!(fault.class, Class::Taint);
        assert!(fault.lines[1].starts_with("D: "), "{fault:?}");
        assert!(fault.lines[2].starts_with("W: "), "{fault:?}");
    }
}
