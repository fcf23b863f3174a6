//! The timers of a guest that was saved and goes on as a clone.

use rustix::thread::{
    ClockId, CpuSet, clock_nanosleep_absolute, sched_getaffinity, sched_setaffinity,
};
use rustix::time::Timespec;

use crate::error::{AgentError, Context, Result};

/// Long past, and so before every timer that a processor can be waiting for.
const PAST: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1,
};

/// Make every processor program its timer anew.
///
/// QEMU under TCG does not save when a ppc64 processor's decrementer fires next (`decr_next` in hw/ppc/ppc.c, seen with 7.2).
/// In a clone the interrupt that the kernel waits for never comes, and the kernel programs no later one:
/// `hrtimer_reprogram()` takes what was programmed first to be still on its way.
/// A timer that has already expired goes before any other, is programmed on every architecture, and its interrupt looks after all that are due.
pub(crate) fn wake_timers() -> Result<()> {
    // In a thread, which is gone afterwards: the kernel remembers of a task and its children that somebody chose their processors.
    let thread = std::thread::Builder::new().spawn(visit_processors);
    match thread.context(|| "start a thread".to_owned())?.join() {
        Ok(outcome) => outcome,
        Err(_) => Err(AgentError::Refused(
            "the thread that wakes the timers panicked".to_owned(),
        )),
    }
}

fn visit_processors() -> Result<()> {
    let all = sched_getaffinity(None).context(|| "list the processors".to_owned())?;
    for cpu in (0..CpuSet::MAX_CPU).filter(|&cpu| all.is_set(cpu)) {
        let mut one = CpuSet::new();
        one.set(cpu);
        sched_setaffinity(None, &one).context(|| format!("move to processor {cpu}"))?;
        clock_nanosleep_absolute(ClockId::Monotonic, &PAST)
            .context(|| "wait for a time that is past".to_owned())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_returns_at_once_and_leaves_the_processors_as_they_were() {
        let before = sched_getaffinity(None).unwrap();
        let start = std::time::Instant::now();
        wake_timers().unwrap();
        assert!(start.elapsed() < std::time::Duration::from_secs(20));
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }
}
