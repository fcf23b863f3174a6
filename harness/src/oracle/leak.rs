//! The oracle **kernel**: files and memory that do not come back after many refused restarts.
//!
//! A figure of the whole guest is noisy, so only what every attempt would have to lose is called a leak.

/// What a guest has in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Open files, `/proc/sys/fs/file-nr`.
    pub files: u64,
    /// Memory that is neither free nor a cache, in KiB, `/proc/meminfo` and `/proc/zoneinfo`.
    pub memory_kib: u64,
}

/// Open files more than before that are no leak: the kernel's counter is out by up to 32 on each of two processors.
const FILES: u64 = 64;

/// Growth that is no leak, in KiB: slabs that are partly used, freeing that waits for RCU.
const MEMORY_KIB: u64 = 2048;

/// Growth for each attempt that is no leak, in KiB.
const MEMORY_KIB_EACH: u64 = 4;

/// Size of a page in KiB, on all architectures.
const PAGE_KIB: u64 = 4;

/// Free pages that each CPU keeps at hand, which `MemFree` does not count: some hundreds of them.
fn at_hand(zoneinfo: &str) -> Option<u64> {
    let pages = zoneinfo
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("count:"));
    let pages: Vec<u64> = pages
        .map(|count| count.trim().parse().ok())
        .collect::<Option<_>>()?;
    (!pages.is_empty()).then(|| pages.into_iter().sum())
}

/// Read the texts of `/proc/sys/fs/file-nr`, `/proc/meminfo` and `/proc/zoneinfo`.
pub fn parse(file_nr: &str, meminfo: &str, zoneinfo: &str) -> Option<Usage> {
    let field = |name: &str| {
        let rest = meminfo
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    };
    // The images and the scenario's folder are in `Cached`.
    let unused = ["MemFree", "Buffers", "Cached", "SReclaimable"]
        .iter()
        .filter_map(|name| field(name))
        .sum::<u64>()
        + at_hand(zoneinfo)? * PAGE_KIB;
    Some(Usage {
        files: file_nr.split_whitespace().next()?.parse().ok()?,
        memory_kib: field("MemTotal")?.saturating_sub(unused),
    })
}

/// What so many attempts that fail, `what`, have not given back.
pub fn judge(before: Usage, after: Usage, attempts: u64, what: &str) -> Result<(), String> {
    let files = after.files.saturating_sub(before.files);
    let memory = after.memory_kib.saturating_sub(before.memory_kib);
    let mut lost = Vec::new();
    if files > FILES {
        lost.push(format!("{files} open files"));
    }
    if memory > MEMORY_KIB + MEMORY_KIB_EACH * attempts {
        lost.push(format!("{memory} KiB of memory"));
    }
    if lost.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "after {attempts} {what} the kernel has not got back {}",
            lost.join(" and ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:         245000 kB\nMemFree:          180000 kB\nMemAvailable:     190000 kB\nBuffers:               0 kB\nCached:            30000 kB\nSwapCached:            0 kB\nSReclaimable:       5000 kB\n";

    const ZONEINFO: &str = "Node 0, zone      DMA\n  pages free     3840\n  pagesets\n    cpu: 0\n              count:    100\n              high:     308\n    cpu: 1\n              count:    150\n              high:     308\n  vm stats threshold: 4\n";

    #[test]
    fn usage_is_read_from_proc() {
        let usage = parse("96\t0\t24000\n", MEMINFO, ZONEINFO);
        assert_eq!(
            usage,
            Some(Usage {
                files: 96,
                memory_kib: 29000
            })
        );
        assert_eq!(parse("", MEMINFO, ZONEINFO), None);
        assert_eq!(parse("96\t0\t24000\n", "", ZONEINFO), None);
        assert_eq!(parse("96\t0\t24000\n", MEMINFO, ""), None);
    }

    #[test]
    fn only_what_every_attempt_loses_is_a_leak() {
        let before = Usage {
            files: 90,
            memory_kib: 30000,
        };
        for (files, memory_kib, wrong) in [
            (90, 30000, None),
            (80, 20000, None),
            (154, 32448, None),
            (190, 30000, Some("100 open files")),
            (90, 36000, Some("6000 KiB of memory")),
            (190, 36000, Some("100 open files and 6000 KiB of memory")),
        ] {
            let after = Usage { files, memory_kib };
            let found = judge(before, after, 100, "refused restarts");
            match wrong {
                None => assert_eq!(found, Ok(())),
                Some(part) => assert!(found.unwrap_err().ends_with(part)),
            }
        }
    }
}
