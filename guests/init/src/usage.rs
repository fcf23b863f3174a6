//! What the kernel has in use: counted before a trial and after it, where each count must be what it was.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use crossthaw_protocol::IMAGE_DIR;
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::error::{AgentError, Context, Result};
use crate::mounts::{self, CGROUP_ROOT, DEBUGFS, Debugfs};
use crate::{reap, tree};

/// Between two counts: RCU and deferred work go on meanwhile.
const PAUSE: Duration = Duration::from_millis(10);

/// So often in a row dropping caches must have dropped nothing.
const DROPS: u32 = 3;

/// Traces that are shown of those who allocate from a cache.
const TRACES: usize = 3;

/// Ends what is counted of a cache.
const OBJECTS: &str = " objects";

/// Objects of each cache.
const SLABS: &str = "/proc/slabinfo";

/// The cache of open files.
const FILES: &str = "filp";

/// What is in use, and how many.
type Counts = BTreeMap<String, u64>;

pub(crate) fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).context(|| format!("read {path}"))
}

pub(crate) fn write(path: &str, text: &str) -> Result<()> {
    fs::write(path, text).context(|| format!("write {text} to {path}"))
}

/// What would else happen once, in the first trial.
pub(crate) fn prepare() -> Result<()> {
    // Have the kernel not say each time that caches were dropped.
    write("/proc/sys/vm/drop_caches", "4")?;
    if !Path::new(SLABS).exists() {
        return Ok(());
    }
    // Where caches are counted. The probe joins the namespaces of trees and comes back: from the first time on the agent has an nsproxy
    // of its own, and not the one of the boot, which no cache has.
    // A network namespace that nobody is in any more is only freed when the next one ends: that of the last trial is there, or this one.
    // SAFETY: the thread leaves no table of descriptors.
    std::thread::spawn(|| unsafe { unshare_unsafe(UnshareFlags::NEWNET) })
        .join()
        .unwrap_or(Err(Errno::CANCELED))
        .context(|| "make a network namespace".to_owned())?;
    let path = "/proc/self/ns/uts";
    let uts = File::open(path).context(|| format!("open {path}"))?;
    let kind = LinkNameSpaceType::HostNameAndNISDomainName;
    move_into_link_name_space(uts.as_fd(), Some(kind)).context(|| format!("join {path}"))
}

/// Count until nothing is above its value in `above`, or the time is over.
pub(crate) fn settled(above: &[(String, u64)], timeout: Duration) -> Result<Vec<(String, u64)>> {
    empty_folders()?;
    let before: Counts = above.iter().cloned().collect();
    let deadline = Instant::now() + timeout;
    loop {
        let counts = count(&before)?;
        // The first count has nothing to be compared with. Later ones may know more: a cache for pids is made when a container is.
        let had = |what: &str| before.get(what).copied().unwrap_or_default();
        let grown = |(what, count): &(String, u64)| !above.is_empty() && *count > had(what);
        if !counts.iter().any(grown) {
            return Ok(counts);
        }
        if Instant::now() >= deadline {
            let grown = counts.iter().filter(|count| grown(count));
            grown.for_each(|(what, _)| say_who_allocates(what));
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
    // Files of the tree's cgroup that somebody has looked at have inodes as long as it is there.
    tree::renew_cgroup()
}

/// Have the console tell who allocated the youngest objects of a cache, where SLUB keeps that.
fn say_who_allocates(what: &str) {
    let Some(cache) = what.strip_suffix(OBJECTS) else {
        return;
    };
    let Ok(_mounted) = Debugfs::mount() else {
        return;
    };
    let path = format!("{DEBUGFS}/slab/{cache}/alloc_traces");
    let traces = fs::read_to_string(path).unwrap_or_default();
    for trace in youngest(&traces) {
        trace.lines().for_each(crate::say);
    }
}

/// A few of the traces in a file of SLUB, which are separated by empty lines: those of which an object is youngest.
fn youngest(traces: &str) -> Vec<&str> {
    let age = |trace: &str| -> Option<u64> {
        let (_, rest) = trace.split_once(" age=")?;
        rest.split(['/', ' ']).next()?.parse().ok()
    };
    let mut aged: Vec<_> = traces
        .split("\n\n")
        .filter_map(|trace| Some((age(trace)?, trace)))
        .collect();
    aged.sort_by_key(|&(age, _)| age);
    aged.into_iter()
        .take(TRACES)
        .map(|(_, trace)| trace)
        .collect()
}

/// Count what is in use. A cache is only shrunk, which takes time, if it seems to have more than `before`.
fn count(before: &Counts) -> Result<Vec<(String, u64)>> {
    reap::collect();
    // Names and inodes that are only kept in case somebody asks again.
    write("/proc/sys/vm/drop_caches", "2")?;
    let slabs_told = Path::new(SLABS).exists();
    let mut inodes_left = None;
    if !slabs_told {
        drop_caches()?;
        // Before anybody is looked at by /proc, who may be a worker that has just come and gets inodes by that.
        inodes_left = Some(inodes()?);
    }
    // Counters of each processor are summed up.
    write("/proc/sys/vm/stat_refresh", "1")?;
    let mut counts = vec![("tasks".to_owned(), threads()?)];
    let mut add = |what: &str, count: u64| counts.push((what.to_owned(), count));
    add("open files", field("/proc/sys/fs/file-nr", 0)?);
    // Where SLUB tells, the files below that shrink its caches have inodes, too, and each kind has its cache.
    if let Some(count) = inodes_left {
        add("inodes", count);
    }
    add("mounts", lines("/proc/self/mountinfo")?);
    add("cgroups", cgroups()?);
    for kind in ["shm", "sem", "msg"] {
        let path = format!("/proc/sysvipc/{kind}");
        // One line is the heading.
        add(&format!("System V {kind}"), lines(&path)?.saturating_sub(1));
    }
    let tables = named("/proc/meminfo", "PageTables:")?;
    // The agent's own, which grow with what it was told. On s390x a table fills half of its page.
    let halves = if cfg!(target_arch = "s390x") { 2 } else { 1 };
    let own = named("/proc/self/status", "VmPTE:")? * halves;
    add("KiB of page tables", tables.saturating_sub(own));
    add(
        "KiB of memory without a purpose",
        purposeless(&read("/proc/meminfo")?)?,
    );
    for (protocol, sockets) in sockets(&read("/proc/net/protocols")?) {
        add(&format!("{protocol} sockets"), sockets);
    }
    if slabs_told {
        let objects = objects(before)?.into_iter();
        counts.extend(objects.map(|(cache, count)| (format!("{cache}{OBJECTS}"), count)));
    }
    Ok(counts)
}

/// Inodes in use.
fn inodes() -> Result<u64> {
    let path = "/proc/sys/fs/inode-nr";
    Ok(field(path, 0)?.saturating_sub(field(path, 1)?))
}

/// Give up what the kernel has kept when it was asked for the first time: names and inodes that somebody has asked for again, and, where
/// there is little to be had, whatever it has not come to.
fn drop_caches() -> Result<()> {
    let mut same = 0;
    let mut last = u64::MAX;
    while same < DROPS {
        write("/proc/sys/vm/drop_caches", "2")?;
        let now = inodes()?;
        same = if now < last { 0 } else { same + 1 };
        last = now;
    }
    Ok(())
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

/// Objects in use, but for those that come and go whatever a trial does.
///
/// What was freed counts as in use until its cache is shrunk, as long as KASAN has it in its quarantine. That takes time, so it is only done
/// where there seems to be more than `before`.
fn objects(before: &Counts) -> Result<Vec<(String, u64)>> {
    let mut table = open(SLABS, OpenOptions::new().read(true))?;
    let mut last = open(&shrinks(FILES), OpenOptions::new().write(true))?;
    let areas = lines("/proc/self/maps")?;
    let kernel_threads = tree::kernel_threads()?;
    for (cache, seems) in slabs(&read_again(&mut table)?) {
        let had = before.get(&format!("{cache}{OBJECTS}"));
        let path = shrinks(&cache);
        if had.is_none_or(|&had| seems > had) && Path::new(&path).exists() {
            write(&path, "1")?;
        }
    }
    // The files above, of which there are more where there are more threads, are closed. They are freed after a grace period of RCU;
    // who waits for the one after that knows that it is done.
    for _ in 0..2 {
        grace_period()?;
    }
    last.write_all(b"1").context(|| format!("shrink {FILES}"))?;
    let mut objects = slabs(&read_again(&mut table)?);
    for (cache, count) in &mut objects {
        let others = match cache.as_str() {
            // The agent's own mappings come and go with its memory.
            "vm_area_struct" => areas,
            // So do the kernel's workers with its work.
            "cred" | "pid" | "sighand_cache" | "signal_cache" | "task_struct" => kernel_threads,
            _ => 0,
        };
        *count = count.saturating_sub(others);
    }
    Ok(objects)
}

/// The file that has a cache, and KASAN's quarantine, give up what was freed.
fn shrinks(cache: &str) -> String {
    format!("/sys/kernel/slab/{cache}/shrink")
}

fn open(path: &str, options: &OpenOptions) -> Result<File> {
    options.open(path).context(|| format!("open {path}"))
}

fn read_again(file: &mut File) -> Result<String> {
    let mut text = String::new();
    file.rewind()
        .and_then(|()| file.read_to_string(&mut text))
        .context(|| format!("read {SLABS}"))?;
    Ok(text)
}

/// Wait until RCU has had one.
fn grace_period() -> Result<()> {
    // SAFETY: membarrier(2) has no argument that is a pointer.
    let outcome = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if outcome < 0 {
        return Err(io::Error::last_os_error()).context(|| "membarrier".to_owned());
    }
    Ok(())
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

/// Objects in use of each of [`crossthaw_protocol::COUNTED_CACHES`].
fn slabs(text: &str) -> Vec<(String, u64)> {
    let words = text.lines().map(str::split_whitespace);
    words
        .filter_map(|mut words| Some((words.next()?.to_owned(), words.next()?.parse().ok()?)))
        .filter(|(cache, _)| crossthaw_protocol::COUNTED_CACHES.contains(&cache.as_str()))
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
    fn the_youngest_objects_are_shown() {
        let traces = "      9 f+0x1/0x2 age=70/80/90 pid=1\n        f\n\n      1 g+0x1/0x2 age=7 pid=1\n        g\n\nNo data\n";
        let shown = youngest(traces);
        assert_eq!(shown.len(), 2);
        assert!(shown[0].contains("g+0x1") && shown[1].contains("age=70"));
        assert!(youngest("No data\n").is_empty());
    }

    #[test]
    fn an_unexpected_file_is_named() {
        assert!(field("/proc/self/status", 0).is_err());
        assert!(named("/proc/meminfo", "MemTotal:").is_ok());
        let error = named("/proc/meminfo", "Nothing:").unwrap_err();
        assert!(error.to_string().contains("/proc/meminfo"), "{error}");
    }
}
