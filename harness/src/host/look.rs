//! Looks at the machine: its distribution, its programs, headers and compilers, what apt offers.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rayon::prelude::*;

use super::apt::{Plan, plan, policy_names};
use super::{Needs, Requirement, Sign, parse_policy, requirements};
use crate::guest::finds_libc;
use crate::guest::toolchain::Compilers;

/// Where apt keeps the lists of packages.
const APT_LISTS: &str = "/var/lib/apt/lists";

/// Lists older than this name packages that the archive no longer has.
const LISTS_AGE: Duration = Duration::from_secs(24 * 3600);

/// Where Debian hides virtiofsd, by release.
const VIRTIOFSD_FOLDERS: &[&str] = &["/usr/libexec", "/usr/lib/qemu"];

/// This machine.
#[derive(Clone, Debug)]
pub struct Host {
    path: Vec<PathBuf>,
    /// Its distribution, as it calls itself.
    pub distribution: String,
    /// Are packages installed with apt?
    pub apt: bool,
    /// May we install without sudo?
    pub root: bool,
}

impl Host {
    /// Look at it; `path` is the variable `PATH`.
    pub fn new(path: &OsStr) -> Self {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let mut host = Self {
            path: std::env::split_paths(path).collect(),
            distribution: os_field(&release, "PRETTY_NAME")
                .unwrap_or_else(|| "an unknown distribution".to_owned()),
            apt: is_debian(&release),
            root: rustix::process::geteuid().is_root(),
        };
        host.apt &= host.program("apt-get").is_some();
        host
    }

    /// Where a program is, if it is on `PATH`.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        self.path
            .iter()
            .map(|folder| folder.join(name))
            .find(|path| is_program(path))
    }

    /// Where virtiofsd is; it is not always on `PATH`.
    pub fn virtiofsd(&self) -> Option<PathBuf> {
        let hidden = || {
            VIRTIOFSD_FOLDERS
                .iter()
                .map(|folder| Path::new(folder).join("virtiofsd"))
                .find(|path| is_program(path))
        };
        self.program("virtiofsd").or_else(hidden)
    }

    /// What of this is not there, in order.
    pub fn lacks(&self, needs: &Needs) -> Vec<Requirement> {
        let compilers = OnceLock::new();
        requirements(needs)
            .into_par_iter()
            .filter(|requirement| !self.has(&requirement.sign, &compilers))
            .collect()
    }

    fn has(&self, sign: &Sign, compilers: &OnceLock<Compilers>) -> bool {
        match sign {
            Sign::Program(name) => self.program(name).is_some(),
            Sign::Header(name) => has_header(name).unwrap_or(false),
            Sign::StaticLibc(cc) => finds_libc(cc).unwrap_or(false),
            Sign::RustFor(arch) => {
                let compilers = compilers.get_or_init(Compilers::detect);
                compilers.choose(*arch).is_ok()
            }
            Sign::Virtiofsd => self.virtiofsd().is_some(),
        }
    }

    /// Are apt's lists missing, or older than a day?
    pub fn lists_stale(&self) -> bool {
        lists_stale(Path::new(APT_LISTS))
    }

    /// What to install for what is missing, from what apt offers now.
    pub fn plan(&self, missing: Vec<Requirement>) -> io::Result<Plan> {
        // apt speaks the user's language otherwise.
        let output = Command::new("apt-cache")
            .arg("policy")
            .args(policy_names(&missing))
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()?;
        let policy = parse_policy(&String::from_utf8_lossy(&output.stdout));
        Ok(plan(missing, &policy))
    }
}

/// Free bytes for us in the file system of this folder, or of the nearest one above that exists.
pub fn disk_free(path: &Path) -> io::Result<u64> {
    let exists = path.ancestors().find(|path| path.exists());
    let stat = rustix::fs::statvfs(exists.unwrap_or(Path::new("/")))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The first line of what a program says to `--version`.
pub fn version(program: &Path) -> io::Result<String> {
    let output = Command::new(program)
        .arg("--version")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().next() {
        Some(line) if output.status.success() => Ok(line.trim().to_owned()),
        _ => Err(io::Error::other(format!(
            "{} --version: {}",
            program.display(),
            output.status
        ))),
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Does the host's compiler find a header?
fn has_header(name: &str) -> io::Result<bool> {
    let status = Command::new("gcc")
        .args(["-fsyntax-only", "-x", "c", "-include", name, "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    Ok(status.success())
}

/// Debian or one of its children, by os-release(5).
fn is_debian(release: &str) -> bool {
    let like = |field| os_field(release, field).unwrap_or_default();
    [like("ID"), like("ID_LIKE")]
        .iter()
        .any(|value| value.split(' ').any(|word| word == "debian"))
}

fn os_field(release: &str, name: &str) -> Option<String> {
    release.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix('=')?;
        Some(value.trim_matches('"').to_owned())
    })
}

fn lists_stale(lists: &Path) -> bool {
    let times = fs::read_dir(lists).into_iter().flatten().flatten();
    let newest = times
        .filter(|entry| entry.file_name().to_string_lossy().ends_with("Release"))
        .filter_map(|entry| entry.metadata().ok()?.modified().ok())
        .max();
    // A time in the future is as good as now.
    newest.is_none_or(|time| time.elapsed().is_ok_and(|age| age > LISTS_AGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_and_its_children_are_known() {
        for (release, debian) in [
            (
                "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n",
                true,
            ),
            ("ID=ubuntu\nID_LIKE=debian\n", true),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", true),
            ("NAME=\"not debian\"\nID=fedora\n", false),
            ("", false),
        ] {
            assert_eq!(is_debian(release), debian, "{release}");
        }
    }

    #[test]
    fn programs_are_found_on_the_path() {
        let host = Host::new(OsStr::new("/nowhere:/bin"));
        assert_eq!(host.program("sh").as_deref(), Some(Path::new("/bin/sh")));
        assert_eq!(host.program("no-such-program"), None);
        assert_eq!(Host::new(OsStr::new("")).program("sh"), None);
    }

    #[test]
    fn lists_grow_old() {
        let lists = tempfile::tempdir().unwrap();
        assert!(lists_stale(lists.path()) && lists_stale(Path::new("/no/lists")));
        let file = fs::File::create(lists.path().join("deb_InRelease")).unwrap();
        assert!(!lists_stale(lists.path()));
        file.set_modified(std::time::SystemTime::now() - LISTS_AGE - Duration::from_secs(60))
            .unwrap();
        assert!(lists_stale(lists.path()));
    }

    #[test]
    fn a_folder_that_is_not_there_yet_has_space_too() {
        assert!(disk_free(Path::new("/tmp/not/there/yet")).unwrap() > 0);
    }
}
