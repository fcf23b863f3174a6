//! A guest with a prompt on its console, and perhaps a folder of the host; never saved, never cloned.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::argv::{self, Share};
use super::error::GuestError;
use super::spec::GuestSpec;
use crate::arch::ByteOrder;
use crate::process::{Cancel, Process};

/// How long virtiofsd may take to say that it cannot work; then it is taken to serve.
const VIRTIOFSD_START: Duration = Duration::from_millis(200);

/// How a folder reaches the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// By this virtiofsd.
    Virtiofs(PathBuf),
    /// By QEMU's 9p server, and why not by virtiofsd.
    Plan9(String),
}

/// A running guest. It ends with the value, and virtiofsd with it.
#[derive(Debug)]
pub struct Shell {
    /// How the folder is served, if there is one.
    pub served: Option<Served>,
    pub(super) console: UnixStream,
    pub(super) process: Process,
    _virtiofsd: Option<Process>,
}

/// virtiofsd that serves, and the end that QEMU talks to.
type Server = (Process, UnixStream);

impl Shell {
    /// Start a guest, with this folder at `/share`; `virtiofsd` are the programs of that name, the first that works is taken.
    pub fn start(
        spec: &GuestSpec,
        folder: Option<&Path>,
        virtiofsd: &[PathBuf],
        cancel: &Cancel,
    ) -> Result<Self, GuestError> {
        let (console, terminal) = UnixStream::pair().map_err(socket)?;
        let number = terminal.as_raw_fd();
        let mut inherit: Vec<OwnedFd> = vec![terminal.into()];
        let (mut served, mut virtiofsd_process, mut share) = (None, None, None);
        if let Some(folder) = folder {
            match serve(spec, folder, virtiofsd, cancel)? {
                Ok((program, (process, stream))) => {
                    share = Some(Share::Virtiofs(stream.as_raw_fd()));
                    inherit.push(stream.into());
                    virtiofsd_process = Some(process);
                    served = Some(Served::Virtiofs(program));
                }
                Err(why) => {
                    share = Some(Share::Plan9(folder));
                    served = Some(Served::Plan9(why));
                }
            }
        }
        let argv = argv::shell_guest(spec, number, share);
        let process = Process::spawn(&argv, inherit, cancel)?;
        Ok(Self {
            served,
            console,
            process,
            _virtiofsd: virtiofsd_process,
        })
    }
}

fn socket(source: std::io::Error) -> GuestError {
    GuestError::File {
        what: "make a pair of sockets".to_owned(),
        source,
    }
}

/// virtiofsd for this folder, or why there is none.
fn serve(
    spec: &GuestSpec,
    folder: &Path,
    programs: &[PathBuf],
    cancel: &Cancel,
) -> Result<Result<(PathBuf, Server), String>, GuestError> {
    let here = if cfg!(target_endian = "big") {
        ByteOrder::Big
    } else {
        ByteOrder::Little
    };
    if spec.row().byte_order != here {
        return Ok(Err(format!(
            "{} has the other byte order than this host, which virtiofsd does not serve",
            spec.arch
        )));
    }
    let mut why = "virtiofsd is not installed".to_owned();
    for program in programs {
        let (listener, stream) = connected().map_err(socket)?;
        let argv = virtiofsd_argv(program, folder, listener.as_raw_fd());
        let mut process = Process::spawn(&argv, vec![listener.into()], cancel)?;
        if process.wait_end(VIRTIOFSD_START).is_none() {
            return Ok(Ok((program.clone(), (process, stream))));
        }
        why = format!("{} ended:{}", program.display(), process.errors());
    }
    Ok(Err(why))
}

/// A socket that listens, and one that is connected to it: its name is gone before anybody uses it.
fn connected() -> std::io::Result<(UnixListener, UnixStream)> {
    let folder = tempfile::tempdir()?;
    let name = folder.path().join("virtiofsd");
    let listener = UnixListener::bind(&name)?;
    let stream = UnixStream::connect(&name)?;
    Ok((listener, stream))
}

/// The program that came with QEMU up to 7.2 has other options than the one that replaced it.
fn virtiofsd_argv(program: &Path, folder: &Path, listener: i32) -> Vec<String> {
    let mut argv = vec![program.display().to_string(), format!("--fd={listener}")];
    if program.parent().is_some_and(|dir| dir.ends_with("qemu")) {
        // `chroot` works in containers too, where a namespace may not be made.
        let folder = folder.display();
        argv.extend(["-f", "-o", "sandbox=chroot", "-o"].map(str::to_owned));
        argv.push(format!("source={folder}"));
    } else {
        // Without root there is no sandbox; the guest is our own, and reaches what we reach.
        argv.push("--sandbox=none".to_owned());
        argv.push(format!("--shared-dir={}", folder.display()));
    }
    argv
}

#[cfg(test)]
mod tests {
    use super::super::spec::tests::spec;
    use super::*;
    use crate::arch::Arch;

    fn serve_with(arch: Arch, programs: &[&str]) -> Result<PathBuf, String> {
        let cancel = Cancel::new().unwrap();
        let programs: Vec<_> = programs.iter().map(PathBuf::from).collect();
        let server = serve(&spec(arch), Path::new("/tmp"), &programs, &cancel).unwrap();
        server.map(|(program, _)| program)
    }

    #[test]
    fn the_first_that_does_not_end_at_once_serves() {
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&path, mode).unwrap();
            path.display().to_string()
        };
        let bad = script("bad", "echo not as root >&2; exit 1");
        let good = script("good", "exec sleep 100");
        let served = serve_with(Arch::X86_64, &[&bad, &good]);
        assert_eq!(served, Ok(PathBuf::from(&good)));
        let why = serve_with(Arch::X86_64, &[&bad]).unwrap_err();
        assert!(why.ends_with("bad ended:\n  not as root"), "{why}");
    }

    #[test]
    fn what_virtiofsd_cannot_serve_goes_over_9p() {
        let why = serve_with(Arch::X86_64, &[]).unwrap_err();
        assert_eq!(why, "virtiofsd is not installed");
        let other = if cfg!(target_endian = "big") {
            Arch::X86_64
        } else {
            Arch::S390x
        };
        let why = serve_with(other, &["true"]).unwrap_err();
        assert!(why.contains("the other byte order"), "{why}");
    }

    #[test]
    fn both_kinds_of_virtiofsd_get_their_own_options() {
        let argv = |program| virtiofsd_argv(Path::new(program), Path::new("/d"), 5).join(" ");
        assert_eq!(
            argv("/usr/lib/qemu/virtiofsd"),
            "/usr/lib/qemu/virtiofsd --fd=5 -f -o sandbox=chroot -o source=/d"
        );
        assert_eq!(
            argv("/usr/libexec/virtiofsd"),
            "/usr/libexec/virtiofsd --fd=5 --sandbox=none --shared-dir=/d"
        );
    }
}
