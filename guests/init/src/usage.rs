//! What the kernel has in use: counted before a trial and after it, where each count must be what it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crossthaw_protocol::IMAGE_DIR;

use crate::error::{AgentError, Context, Result};
use crate::mounts::{self, CGROUP_ROOT};
use crate::{reap, tree};

/// Between two counts: RCU and deferred work go on meanwhile.
const PAUSE: Duration = Duration::from_millis(10);

/// Caches of objects that belong to tasks, files, sockets, mounts and namespaces (`/proc/slabinfo`, which only SLUB with its checks has).
///
/// `filp` is counted, too. Those of general sizes are kmemleak's matter.
const CACHES: &[&str] = &[
    "UNIX",
    "anon_vma",
    "anon_vma_chain",
    "cred",
    "dnotify_mark",
    "dnotify_struct",
    "eventpoll_epi",
    "eventpoll_pwq",
    "fasync_cache",
    "file_lease_cache",
    "file_lock_cache",
    "file_lock_ctx",
    "files_cache",
    "fs_cache",
    "inotify_inode_mark",
    "mm_struct",
    "mnt_cache",
    "mqueue_inode_cache",
    "net_namespace",
    "nsproxy",
    "pid",
    "pid_2",
    "pid_3",
    "pid_namespace",
    "posix_timers_cache",
    "shmem_inode_cache",
    "sighand_cache",
    "signal_cache",
    "sigqueue",
    "sock_inode_cache",
    "task_struct",
    "time_namespace",
    "user_namespace",
    "uts_namespace",
    "vm_area_struct",
];

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).context(|| format!("read {path}"))
}

fn write(path: &str, text: &str) -> Result<()> {
    fs::write(path, text).context(|| format!("write {text} to {path}"))
}

/// Have the kernel not say each time that caches were dropped.
pub(crate) fn prepare() -> Result<()> {
    write("/proc/sys/vm/drop_caches", "4")
}

/// Count until nothing is above its value in `above`, or the time is over.
pub(crate) fn settled(above: &[(String, u64)], timeout: Duration) -> Result<Vec<(String, u64)>> {
    empty_folders()?;
    let before: BTreeMap<_, _> = above.iter().map(|(what, count)| (what, count)).collect();
    let deadline = Instant::now() + timeout;
    loop {
        let counts = count()?;
        // The first count has nothing to be compared with.
        let grown = |(what, count): &(String, u64)| {
            !above.is_empty() && before.get(what).is_none_or(|&before| count > before)
        };
        if !counts.iter().any(grown) || Instant::now() >= deadline {
            return Ok(counts);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Files of the trial and of the harness are no leak.
fn empty_folders() -> Result<()> {
    mounts::renew_scenario()?;
    for entry in fs::read_dir(IMAGE_DIR)
        .context(|| format!("list {IMAGE_DIR}"))?
        .flatten()
    {
        let path = entry.path();
        fs::remove_file(&path).context(|| format!("remove {}", path.display()))?;
    }
    // The tree's cgroup is made once.
    tree::prepare_cgroup().map(drop)
}

fn count() -> Result<Vec<(String, u64)>> {
    reap::collect();
    // Names and inodes that are only kept in case somebody asks again.
    write("/proc/sys/vm/drop_caches", "2")?;
    // Counters of each processor are summed up.
    write("/proc/sys/vm/stat_refresh", "1")?;
    let mut counts = vec![("tasks".to_owned(), threads()?)];
    let mut add = |what: &str, count: u64| counts.push((what.to_owned(), count));
    add("open files", field("/proc/sys/fs/file-nr", 0)?);
    let slabs_told = Path::new("/proc/slabinfo").exists();
    if !slabs_told {
        // Where SLUB tells, the files below that shrink its caches have inodes, too, and each kind has its cache.
        let inodes = "/proc/sys/fs/inode-nr";
        add(
            "inodes",
            field(inodes, 0)?.saturating_sub(field(inodes, 1)?),
        );
    }
    add("mounts", lines("/proc/self/mountinfo")?);
    add("cgroups", cgroups()?);
    for kind in ["shm", "sem", "msg"] {
        let path = format!("/proc/sysvipc/{kind}");
        // One line is the heading.
        add(&format!("System V {kind}"), lines(&path)?.saturating_sub(1));
    }
    let tables = named("/proc/meminfo", "PageTables:")?;
    let own = named("/proc/self/status", "VmPTE:")?;
    add("KiB of page tables", tables.saturating_sub(own));
    add(
        "KiB of memory without a purpose",
        purposeless(&read("/proc/meminfo")?)?,
    );
    for (protocol, sockets) in sockets(&read("/proc/net/protocols")?) {
        add(&format!("{protocol} sockets"), sockets);
    }
    // Last: what was opened above is closed again.
    if slabs_told {
        // In this order: opening a file takes an object of the last two.
        for cache in CACHES.iter().chain(&["filp", "names_cache"]) {
            let shrink = format!("/sys/kernel/slab/{cache}/shrink");
            if Path::new(&shrink).exists() {
                write(&shrink, "1")?;
            }
        }
        let areas = lines("/proc/self/maps")?;
        let kernel_threads = tree::kernel_threads()?;
        for (cache, objects) in slabs(&read("/proc/slabinfo")?) {
            let others = match cache.as_str() {
                // The agent's own mappings come and go with its memory.
                "vm_area_struct" => areas,
                // So do the kernel's workers with its work.
                "cred" | "pid" | "sighand_cache" | "signal_cache" | "task_struct" => kernel_threads,
                _ => 0,
            };
            counts.push((format!("{cache} objects"), objects.saturating_sub(others)));
        }
    }
    Ok(counts)
}

/// What is neither free nor counted as something: pages whose references were lost are.
fn purposeless(meminfo: &str) -> Result<u64> {
    let kib = |name: &str| {
        let line = meminfo
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        parse(
            "/proc/meminfo",
            line.and_then(|line| line.split_whitespace().next()),
        )
    };
    let mut left = kib("MemTotal")?;
    for name in [
        "MemFree",
        "Buffers",
        "Cached",
        "AnonPages",
        "Slab",
        "KernelStack",
        "PageTables",
        "Percpu",
    ] {
        left = left.saturating_sub(kib(name)?);
    }
    Ok(left)
}

/// Threads of everything but the kernel.
fn threads() -> Result<u64> {
    let survivors = tree::survivors()?;
    let of = |pid: i32| fs::read_dir(format!("/proc/{pid}/task")).map_or(1, Iterator::count);
    let threads: usize = survivors.iter().map(|&(pid, _)| of(pid)).sum();
    Ok(u64::try_from(threads + of(1)).unwrap_or(u64::MAX))
}

/// The root's `cgroup.stat`: those that live, and those that something still refers to.
fn cgroups() -> Result<u64> {
    let path = format!("{CGROUP_ROOT}/cgroup.stat");
    Ok(named(&path, "nr_descendants")? + named(&path, "nr_dying_descendants")?)
}

fn parse(path: &str, text: Option<&str>) -> Result<u64> {
    let number = text.and_then(|text| text.parse().ok());
    number.ok_or_else(|| AgentError::Refused(format!("{path} is not as expected: {text:?}")))
}

/// The field of this number, from 0.
fn field(path: &str, number: usize) -> Result<u64> {
    let text = read(path)?;
    parse(path, text.split_whitespace().nth(number))
}

/// What follows this name at the beginning of a line.
fn named(path: &str, name: &str) -> Result<u64> {
    let text = read(path)?;
    let words = text.lines().map(str::split_whitespace);
    let mut found = words.filter_map(|mut words| (words.next() == Some(name)).then_some(words));
    parse(path, found.next().and_then(|mut words| words.next()))
}

fn lines(path: &str) -> Result<u64> {
    let lines = read(path)?.lines().count();
    Ok(u64::try_from(lines).unwrap_or(u64::MAX))
}

/// Protocol and sockets of each line that counts them.
fn sockets(text: &str) -> Vec<(String, u64)> {
    let words = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    words
        .filter_map(|words| Some(((*words.first()?).to_owned(), words.get(2)?.parse().ok()?)))
        .collect()
}

/// Objects in use of each of [`CACHES`].
fn slabs(text: &str) -> Vec<(String, u64)> {
    let words = text.lines().map(str::split_whitespace);
    words
        .filter_map(|mut words| Some((words.next()?.to_owned(), words.next()?.parse().ok()?)))
        .filter(|(cache, _)| cache == "filp" || CACHES.contains(&cache.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_sockets_are_read_from_their_tables() {
        let text = "slabinfo - version: 2.1\n# name <active_objs> <num_objs>\ntask_struct 52 60 3000\nkmalloc-8 9 9 8\n";
        assert_eq!(slabs(text), [("task_struct".to_owned(), 52)]);
        let text = "protocol  size sockets  memory\nUNIX-STREAM 1024 3 -1 NI\nPING 900 -1 -1\n";
        assert_eq!(sockets(text), [("UNIX-STREAM".to_owned(), 3)]);
    }

    #[test]
    fn an_unexpected_file_is_named() {
        assert!(field("/proc/self/status", 0).is_err());
        assert!(named("/proc/meminfo", "MemTotal:").is_ok());
        let error = named("/proc/meminfo", "Nothing:").unwrap_err();
        assert!(error.to_string().contains("/proc/meminfo"), "{error}");
    }
}
