//! How many trials run side by side.

use std::path::Path;

/// Memory that guests may use, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Trials side by side: one a processor, or `jobs` where that is given, and no more than the memory holds.
///
/// `trial` is what a trial may need at worst: two guests, each with all of its memory touched.
pub fn width(jobs: Option<usize>, cores: usize, memory: Option<Memory>, trial: Memory) -> usize {
    let held = memory.map_or(usize::MAX, |memory| {
        usize::try_from(memory.0 / trial.0.max(1)).unwrap_or(usize::MAX)
    });
    jobs.unwrap_or(cores).min(held).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_memory_and_the_user_limit_the_trials() {
        let trial = Memory(600);
        for (jobs, cores, memory, expected) in [
            (None, 4, Some(24_000), 4),
            (None, 64, Some(24_000), 40),
            (Some(2), 64, Some(24_000), 2),
            (Some(8), 2, Some(24_000), 8),
            (Some(0), 2, None, 1),
            (None, 2, Some(100), 1),
        ] {
            let width = width(jobs, cores, memory.map(Memory), trial);
            assert_eq!(width, expected, "{jobs:?} {cores} {memory:?}");
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
