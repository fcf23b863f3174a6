//! The shell's own commands.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::parse::Builtin;
use crate::cgroup::Cgroup;
use crate::error::{Context, Result};
use crate::mounts::CGROUP_ROOT;

const HELP: &str = "\
cd [DIR], pwd, ls [PATH...], cat FILE..., mkdir DIR, rm FILE..., echo [WORD...]
ps, kill [-SIGNAL] PID...
mount                  what is mounted
join CGROUP PID        move a task into a cgroup below /sys/fs/cgroup, made if needed
freeze CGROUP, thaw CGROUP
PROGRAM [ARG...] [> FILE | >> FILE] [&]   a program of /bin or, with a slash, of that path
exit                   power the guest off";

/// Carry out a command; returns its exit code.
pub(super) fn run(builtin: Builtin) -> Result<i32> {
    match builtin {
        Builtin::Help => println!("{HELP}"),
        Builtin::Cd(path) => {
            std::env::set_current_dir(&path).context(|| format!("change to {path}"))?;
        }
        Builtin::Pwd => println!(
            "{}",
            std::env::current_dir()
                .context(|| "find the working directory".to_owned())?
                .display()
        ),
        Builtin::Ls(paths) if paths.is_empty() => ls(Path::new("."))?,
        Builtin::Ls(paths) => paths.iter().try_for_each(|path| ls(Path::new(path)))?,
        Builtin::Cat(paths) => paths.iter().try_for_each(|path| cat(Path::new(path)))?,
        Builtin::Mount => cat(Path::new("/proc/mounts"))?,
        Builtin::Ps => ps()?,
        Builtin::Echo(words) => println!("{}", words.join(" ")),
        Builtin::Mkdir(path) => fs::create_dir_all(&path).context(|| format!("create {path}"))?,
        Builtin::Rm(paths) => paths
            .iter()
            .try_for_each(|path| fs::remove_file(path).context(|| format!("remove {path}")))?,
        Builtin::Kill { signal, pids } => pids.into_iter().try_for_each(|pid| kill(signal, pid))?,
        Builtin::Freeze(cgroup) => Cgroup::at(cgroup_path(&cgroup)).freeze()?,
        Builtin::Thaw(cgroup) => Cgroup::at(cgroup_path(&cgroup)).thaw()?,
        Builtin::Join { cgroup, pid } => {
            let path = cgroup_path(&cgroup);
            fs::create_dir_all(&path).context(|| format!("create cgroup {}", path.display()))?;
            let procs = path.join("cgroup.procs");
            fs::write(&procs, pid.to_string())
                .context(|| format!("write {pid} to {}", procs.display()))?;
        }
    }
    Ok(0)
}

fn cgroup_path(name: &str) -> PathBuf {
    Path::new(CGROUP_ROOT).join(name)
}

fn kill(signal: i32, pid: i32) -> Result<()> {
    // SAFETY: numbers only.
    if unsafe { libc::kill(pid, signal) } == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error()).context(|| format!("send signal {signal} to pid {pid}"))
}

fn cat(path: &Path) -> Result<()> {
    let mut file = File::open(path).context(|| format!("open {}", path.display()))?;
    let mut out = io::stdout().lock();
    io::copy(&mut file, &mut out).context(|| format!("show {}", path.display()))?;
    let _ = out.flush();
    Ok(())
}

fn ls(path: &Path) -> Result<()> {
    let meta = fs::symlink_metadata(path).context(|| format!("look at {}", path.display()))?;
    if !meta.is_dir() {
        return line(path, &path.display().to_string());
    }
    let names = fs::read_dir(path).and_then(|all| {
        all.map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<Vec<_>>>()
    });
    let mut names = names.context(|| format!("list {}", path.display()))?;
    names.sort_unstable();
    names
        .iter()
        .try_for_each(|name| line(&path.join(name), &name.to_string_lossy()))
}

fn line(path: &Path, name: &str) -> Result<()> {
    let meta = fs::symlink_metadata(path).context(|| format!("look at {}", path.display()))?;
    let kind = match meta.mode() & libc::S_IFMT {
        libc::S_IFDIR => 'd',
        libc::S_IFLNK => 'l',
        libc::S_IFCHR => 'c',
        libc::S_IFBLK => 'b',
        libc::S_IFIFO => 'p',
        libc::S_IFSOCK => 's',
        _ => '-',
    };
    let target = fs::read_link(path)
        .map(|target| format!(" -> {}", target.display()))
        .unwrap_or_default();
    println!(
        "{kind}{:04o} {:>5} {:>5} {:>10} {name}{target}",
        meta.mode() & 0o7777,
        meta.uid(),
        meta.gid(),
        meta.len()
    );
    Ok(())
}

fn ps() -> Result<()> {
    let mut pids: Vec<i32> = fs::read_dir("/proc")
        .context(|| "list /proc".to_owned())?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    println!("{:>6} {:>6} S {:<16} COMMAND", "PID", "PPID", "CGROUP");
    for pid in pids {
        let read =
            |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let arguments = read("cmdline").replace('\0', " ");
        // Kernel threads have none.
        if arguments.is_empty() {
            continue;
        }
        let status = read("status");
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_default()
                .trim()
        };
        let state = field("State:").get(..1).unwrap_or_default();
        let cgroup = read("cgroup");
        let cgroup = cgroup.trim().trim_start_matches("0::");
        println!(
            "{pid:>6} {:>6} {state} {cgroup:<16} {arguments}",
            field("PPid:")
        );
    }
    Ok(())
}
