//! How many trials run side by side.

use std::path::Path;

/// Memory that guests may use, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Memory(pub u64);

impl Memory {
    /// What is available here: to the machine, and to the control group that we are in (cgroup v2).
    pub fn available() -> Option<Self> {
        let machine = meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
        let group = group(Path::new("/sys/fs/cgroup"));
        Some(Self(group.map_or(machine, |group| group.min(machine))))
    }
}

/// `MemAvailable` of `proc_meminfo(5)`, in MiB.
fn meminfo(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib >> 10)
}

/// What the control group may still take, in MiB; `None` without a limit.
fn group(dir: &Path) -> Option<u64> {
    let read = |name: &str| -> Option<u64> {
        let text = std::fs::read_to_string(dir.join(name)).ok()?;
        text.trim().parse().ok()
    };
    Some(read("memory.max")?.saturating_sub(read("memory.current")?) >> 20)
}

/// Trials side by side: `jobs`, which is one a processor unless the user says something else, and no more than the memory holds.
///
/// `trial` is what a trial may need at worst: two guests, each with all of its memory touched.
pub fn width(jobs: usize, memory: Option<Memory>, trial: Memory) -> usize {
    let held = memory.map_or(usize::MAX, |memory| {
        usize::try_from(memory.0 / trial.0.max(1)).unwrap_or(usize::MAX)
    });
    jobs.min(held).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_and_memory_limit_the_trials() {
        let trial = Memory(600);
        for (jobs, memory, expected) in [
            (4, Some(24_000), 4),
            (64, Some(24_000), 40),
            (0, None, 1),
            (2, Some(100), 1),
        ] {
            let width = width(jobs, memory.map(Memory), trial);
            assert_eq!(width, expected, "{jobs} {memory:?}");
        }
    }

    #[test]
    fn memory_is_what_the_kernel_says() {
        assert_eq!(
            meminfo("MemTotal:  2 kB\nMemAvailable:   20480 kB\n"),
            Some(20)
        );
        let scratch = tempfile::tempdir().unwrap();
        assert_eq!(group(scratch.path()), None);
        for (max, current, expected) in [("max", "0", None), ("5242880", "1048576", Some(4))] {
            std::fs::write(scratch.path().join("memory.max"), max).unwrap();
            std::fs::write(scratch.path().join("memory.current"), current).unwrap();
            assert_eq!(group(scratch.path()), expected);
        }
    }
}
