//! Descriptors: numbers, offsets, flags, sharing, and what they stand for.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, c_int};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::pattern;
use crate::stage::Stage;
use crate::sys::{self, Status};

/// Argument of the program by which [`close_on_exec`] calls it again.
pub(crate) const PROBE: &str = "--open-descriptors";

/// Writes a file with a pattern.
fn patterned(path: &Path, seed: u64, len: usize) -> Result<()> {
    fs::write(path, pattern::piece(seed, 0, len)).map_err(Error::from_io("write a file"))
}

/// Moves a descriptor to a number that is free.
fn move_to(fd: c_int, number: c_int) -> Result<c_int> {
    if fd == number {
        return Ok(number);
    }
    // SAFETY: plain numbers; the callers own both.
    sys::check("dup2", unsafe { libc::dup2(fd, number) })?;
    sys::close(fd)?;
    Ok(number)
}

/// Offsets in the middle of a file and far behind its end, and the status flags: reads and writes go on where they were.
pub(crate) fn offset(stage: &mut Stage, _args: &Args) -> Result<()> {
    const FAR: i64 = 5 << 30;
    let path = stage.path("data");
    patterned(&path, 1, 4096)?;
    let reader = sys::open(&path, libc::O_RDONLY | libc::O_NONBLOCK)?;
    let writer = sys::open(&path, libc::O_WRONLY | libc::O_DSYNC)?;
    let both = sys::open(&path, libc::O_RDWR | libc::O_SYNC | libc::O_NOATIME)?;
    let far = sys::open(&path, libc::O_RDWR)?;
    sys::read(reader, &mut [0; 1234])?;
    sys::seek(writer, 100, libc::SEEK_SET)?;
    sys::seek(both, 2000, libc::SEEK_SET)?;
    sys::seek(far, FAR, libc::SEEK_SET)?;
    let flags = || [reader, writer, both, far].map(|fd| sys::descriptor_flags(fd, libc::F_GETFL));
    let before = flags();
    stage.hold()?;
    stage.equal("status flags", &flags(), &before);
    let mut bytes = [0; 50];
    stage.works("read", sys::read(reader, &mut bytes));
    stage.equal(
        "the next bytes",
        &bytes.as_slice(),
        &pattern::piece(1, 1234, 50).as_slice(),
    );
    stage.works("write", sys::write(writer, b"here"));
    stage.works("write", sys::write(both, b"there"));
    stage.equal("far offset", &sys::offset(far)?, &FAR);
    let mut expected = pattern::piece(1, 0, 4096);
    expected[100..104].copy_from_slice(b"here");
    expected[2000..2005].copy_from_slice(b"there");
    let found = fs::read(&path).map_err(Error::from_io("read"))?;
    stage.equal(
        "where the writes landed",
        &found
            .iter()
            .zip(&expected)
            .position(|(found, expected)| found != expected),
        &None,
    );
    stage.equal("size", &found.len(), &4096);
    stage.equal(
        "the writer cannot read",
        &sys::read(writer, &mut bytes).is_err(),
        &true,
    );
    stage.equal(
        "the reader cannot write",
        &sys::write(reader, b"x").is_err(),
        &true,
    );
    Ok(())
}

/// `O_APPEND`: writes go to the end, also when another process has moved it.
pub(crate) fn append(stage: &mut Stage, _args: &Args) -> Result<()> {
    let path = stage.path("log");
    let mut log = File::options()
        .append(true)
        .create(true)
        .open(&path)
        .map_err(Error::from_io("open"))?;
    log.write_all(b"one\n").map_err(Error::from_io("write"))?;
    let other = stage.spawn_ready("other", |other| {
        other.hold()?;
        let mut file = File::options()
            .write(true)
            .open(other.path("log"))
            .map_err(Error::from_io("open"))?;
        let written = file
            .write_all(b"ONE\ntwo\nthree\n")
            .map_err(Error::from_io("write"));
        other.works("second writer", written);
        Ok(())
    })?;
    stage.hold()?;
    other.resume()?;
    stage.join(&other)?;
    stage.works("write", sys::write(log.as_raw_fd(), b"four\n"));
    let text = fs::read_to_string(&path).map_err(Error::from_io("read"))?;
    stage.equal("contents", &text.as_str(), &"ONE\ntwo\nthree\nfour\n");
    stage.equal(
        "O_APPEND",
        &sys::descriptor_flags(log.as_raw_fd(), libc::F_GETFL).map(|flags| flags & libc::O_APPEND),
        &Some(libc::O_APPEND),
    );
    Ok(())
}

/// Descriptors 5, 200 and 1000: these numbers and no others are open.
pub(crate) fn gaps(stage: &mut Stage, _args: &Args) -> Result<()> {
    let numbers: [RawFd; 3] = [5, 200, 1000];
    for number in numbers {
        let path = stage.path(&format!("file-{number}"));
        patterned(&path, u64::from(number.unsigned_abs()), 64)?;
        move_to(sys::open(&path, libc::O_RDONLY)?, number)?;
    }
    let open = || {
        (0..1024)
            .filter(|fd| sys::is_open(*fd))
            .collect::<Vec<RawFd>>()
    };
    let before = open();
    stage.hold()?;
    stage.equal("open descriptors", &open(), &before);
    for number in numbers {
        let mut bytes = [0; 64];
        stage.works("read", sys::read(number, &mut bytes));
        stage.equal(
            &format!("contents of {number}"),
            &pattern::mismatch(&bytes, u64::from(number.unsigned_abs())),
            &None,
        );
    }
    let lowest = (0..1024).find(|fd| !before.contains(fd)).unwrap_or(0);
    let next = sys::open(&stage.path("file-5"), libc::O_RDONLY)?;
    stage.equal("the next number is the lowest free one", &next, &lowest);
    Ok(())
}

/// An offset shared by dup and fork moves for all that share it; that of a second open does not.
pub(crate) fn dup(stage: &mut Stage, _args: &Args) -> Result<()> {
    let path = stage.path("shared");
    patterned(&path, 2, 1000)?;
    let fd = sys::open(&path, libc::O_RDONLY)?;
    // SAFETY: plain numbers.
    let twin = sys::check("dup", unsafe { libc::dup(fd) })?;
    let apart = sys::open(&path, libc::O_RDONLY)?;
    sys::seek(fd, 100, libc::SEEK_SET)?;
    sys::seek(apart, 500, libc::SEEK_SET)?;
    let child = stage.spawn_ready("child", |child| {
        child.hold()?;
        child.equal("offset moved by the parent", &sys::offset(fd)?, &110);
        child.equal("offset of the dup", &sys::offset(twin)?, &110);
        child.equal("offset of the other open", &sys::offset(apart)?, &500);
        sys::seek(twin, 777, libc::SEEK_SET)?;
        sys::seek(apart, 600, libc::SEEK_SET)?;
        Ok(())
    })?;
    stage.hold()?;
    let mut bytes = [0; 10];
    stage.works("read", sys::read(fd, &mut bytes));
    stage.equal(
        "bytes at the offset",
        &bytes.as_slice(),
        &pattern::piece(2, 100, 10).as_slice(),
    );
    stage.equal("offset of the dup", &sys::offset(twin)?, &110);
    stage.equal("offset of the other open", &sys::offset(apart)?, &500);
    child.resume()?;
    stage.join(&child)?;
    stage.equal("offset moved by the child", &sys::offset(fd)?, &777);
    stage.equal(
        "offset of the other open, moved by the child",
        &sys::offset(apart)?,
        &600,
    );
    Ok(())
}

/// Two processes share one table: what one opens or closes, the other sees.
pub(crate) fn shared_table(stage: &mut Stage, _args: &Args) -> Result<()> {
    const FROM_CHILD: RawFd = 40;
    let path = stage.path("table");
    patterned(&path, 3, 100)?;
    let first = move_to(sys::open(&path, libc::O_RDONLY)?, 20)?;
    let child = stage.spawn_with(
        "child",
        || sys::clone(libc::CLONE_FILES),
        |child| {
            child.hold()?;
            child.equal("what the parent closed", &sys::is_open(first), &false);
            child.works(
                "open",
                sys::open(&child.path("table"), libc::O_RDONLY)
                    .and_then(|fd| move_to(fd, FROM_CHILD)),
            );
            sys::seek(FROM_CHILD, 30, libc::SEEK_SET)?;
            Ok(())
        },
    )?;
    stage.await_ready(&child)?;
    stage.equal(
        "open in the shared table",
        &(sys::is_open(first), sys::is_open(FROM_CHILD)),
        &(true, false),
    );
    stage.hold()?;
    stage.equal(
        "open after the freeze",
        &(sys::is_open(first), sys::is_open(FROM_CHILD)),
        &(true, false),
    );
    sys::close(first)?;
    child.resume()?;
    stage.join(&child)?;
    let mut bytes = [0; 10];
    if stage
        .works(
            "read what the child opened",
            sys::read(FROM_CHILD, &mut bytes),
        )
        .is_some()
    {
        stage.equal(
            "its contents",
            &bytes.as_slice(),
            &pattern::piece(3, 30, 10).as_slice(),
        );
    }
    Ok(())
}

/// Close-on-exec is a descriptor's own flag, not its file's: exec closes the right ones.
pub(crate) fn close_on_exec(stage: &mut Stage, _args: &Args) -> Result<()> {
    let path = stage.path("kept");
    patterned(&path, 4, 100)?;
    let closing = move_to(sys::open(&path, libc::O_RDONLY)?, 10)?;
    let staying = move_to(sys::open(&path, libc::O_RDONLY)?, 11)?;
    // A descriptor that stays, of the file whose other descriptor closes; and the other way round.
    for (from, to, cloexec) in [
        (closing, 12, false),
        (staying, 13, true),
        (closing, 10, true),
    ] {
        // SAFETY: plain numbers.
        unsafe {
            libc::dup2(from, to);
            libc::fcntl(
                to,
                libc::F_SETFD,
                if cloexec { libc::FD_CLOEXEC } else { 0 },
            );
        }
    }
    let flags = || {
        (10..14)
            .map(|fd| sys::descriptor_flags(fd, libc::F_GETFD))
            .collect::<Vec<_>>()
    };
    let before = flags();
    if before != [Some(1), Some(0), Some(0), Some(1)] {
        return Err(Error::Situation(format!("flags {before:?}")));
    }
    stage.hold()?;
    stage.equal("flags", &flags(), &before);
    let Some(pid) = sys::fork()? else {
        exec_probe(&["11", "12"])
    };
    stage.equal(
        "descriptors that exec left open",
        &sys::wait(pid)?,
        &Status::Exited(0),
    );
    Ok(())
}

/// Replaces the process by this program, which checks that of 10 to 13 just these are open.
fn exec_probe(open: &[&str]) -> ! {
    let arguments: Vec<std::ffi::CString> = ["workloads", PROBE]
        .iter()
        .chain(open)
        .filter_map(|argument| std::ffi::CString::new(*argument).ok())
        .collect();
    let mut pointers: Vec<_> = arguments.iter().map(|argument| argument.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: strings that end with zero, in an array that ends with null.
    unsafe { libc::execv(c"/proc/self/exe".as_ptr(), pointers.as_ptr()) };
    sys::exit(3)
}

/// Exit code 0 if of the descriptors 10 to 13 just the named ones are open.
pub(crate) fn probe_descriptors(expected: &[String]) -> ExitCode {
    let open: Vec<String> = (10..14)
        .filter(|fd| sys::is_open(*fd))
        .map(|fd| fd.to_string())
        .collect();
    ExitCode::from(if open == expected { 0 } else { 4 })
}

/// Entries in [`readdir`].
const ENTRIES: usize = 50;

/// A half-read directory: the rest comes, and no name twice.
pub(crate) fn readdir(stage: &mut Stage, _args: &Args) -> Result<()> {
    let dir = stage.path("many");
    fs::create_dir(&dir).map_err(Error::from_io("mkdir"))?;
    let names: BTreeSet<String> = (0..ENTRIES)
        .map(|index| format!("entry-{index:02}"))
        .collect();
    for name in &names {
        fs::write(dir.join(name), "").map_err(Error::from_io("write"))?;
    }
    let fd = sys::open(&dir, libc::O_RDONLY | libc::O_DIRECTORY)?;
    let first = entries(fd)?;
    if first.is_empty() || first.len() >= ENTRIES {
        return Err(Error::Situation(format!("{} entries at once", first.len())));
    }
    let offset = sys::offset(fd)?;
    stage.hold()?;
    stage.equal("offset", &sys::offset(fd)?, &offset);
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = first;
    while !found.is_empty() {
        for name in found.drain(..).filter(|name| name != "." && name != "..") {
            *times.entry(name).or_default() += 1;
        }
        found = entries(fd)?;
    }
    stage.equal(
        "names seen twice",
        &times
            .iter()
            .filter(|(_, times)| **times != 1)
            .collect::<Vec<_>>(),
        &Vec::new(),
    );
    stage.equal(
        "names never seen",
        &names
            .iter()
            .filter(|name| !times.contains_key(*name))
            .collect::<Vec<_>>(),
        &Vec::new(),
    );
    stage.equal(
        "other names",
        &times
            .keys()
            .filter(|name| !names.contains(*name))
            .collect::<Vec<_>>(),
        &Vec::new(),
    );
    Ok(())
}

/// Some names from getdents64(2); none at the end.
fn entries(fd: RawFd) -> Result<Vec<String>> {
    let mut bytes = [0_u8; 640];
    let arguments = [
        usize::try_from(fd).unwrap_or(usize::MAX),
        bytes.as_mut_ptr().expose_provenance(),
        bytes.len(),
        0,
        0,
    ];
    // SAFETY: the buffer is as long as said.
    let len = unsafe { sys::raw("getdents64", libc::SYS_getdents64, arguments)? };
    Ok(names_in(&bytes[..len]))
}

/// The names in a buffer of `struct linux_dirent64`: inode and offset of 8 bytes each, length of 2, type of 1, name.
fn names_in(mut bytes: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    while bytes.len() > 19 {
        let len = usize::from(u16::from_ne_bytes([bytes[16], bytes[17]]));
        let name: Vec<u8> = bytes[19..len]
            .iter()
            .copied()
            .take_while(|byte| *byte != 0)
            .collect();
        names.push(String::from_utf8_lossy(&name).into_owned());
        bytes = &bytes[len..];
    }
    names
}

/// The null, zero, full and random devices do what they are for.
pub(crate) fn devices(stage: &mut Stage, _args: &Args) -> Result<()> {
    let paths = [
        "/dev/null",
        "/dev/zero",
        "/dev/full",
        "/dev/random",
        "/dev/urandom",
    ]
    .map(PathBuf::from);
    let mut fds = [0; 5];
    for (fd, path) in fds.iter_mut().zip(&paths) {
        *fd = sys::open(path, libc::O_RDWR)?;
    }
    let [null, zero, full, random, urandom] = fds;
    stage.hold()?;
    let mut bytes = [0xff; 64];
    stage.equal("null reads", &sys::read(null, &mut bytes)?, &0);
    stage.equal("null writes", &sys::write(null, &bytes)?, &64);
    stage.equal(
        "zero reads",
        &(sys::read(zero, &mut bytes)?, bytes == [0; 64]),
        &(64, true),
    );
    let refused = match sys::write(full, &bytes) {
        Err(Error::Call { source, .. }) => source.raw_os_error(),
        _ => None,
    };
    stage.equal("full writes", &refused, &Some(libc::ENOSPC));
    for (name, fd) in [("random", random), ("urandom", urandom)] {
        let mut again = [0; 64];
        let count = sys::read(fd, &mut bytes)?.min(sys::read(fd, &mut again)?);
        stage.check(
            &format!("{name} reads"),
            count == 64 && bytes != again && bytes != [0; 64],
            &format!("{count} bytes"),
        );
    }
    Ok(())
}

/// Opened through a symbolic link that points elsewhere afterwards: it is still the first file.
pub(crate) fn symlink(stage: &mut Stage, _args: &Args) -> Result<()> {
    for (name, text) in [("first", "first file"), ("second", "second file")] {
        fs::write(stage.path(name), text).map_err(Error::from_io("write"))?;
    }
    let link = stage.path("link");
    std::os::unix::fs::symlink("first", &link).map_err(Error::from_io("symlink"))?;
    let mut file = File::open(&link).map_err(Error::from_io("open"))?;
    fs::remove_file(&link).map_err(Error::from_io("unlink"))?;
    std::os::unix::fs::symlink("second", &link).map_err(Error::from_io("symlink"))?;
    stage.hold()?;
    let mut text = String::new();
    stage.works(
        "read",
        file.read_to_string(&mut text)
            .map_err(Error::from_io("read")),
    );
    stage.equal("contents", &text.as_str(), &"first file");
    let inode = |path: PathBuf| {
        fs::metadata(path)
            .map(|data| data.ino())
            .map_err(Error::from_io("stat"))
    };
    let open = file.metadata().map_err(Error::from_io("stat"))?.ino();
    stage.equal("inode", &open, &inode(stage.path("first"))?);
    stage.check("not the link's inode", open != inode(link)?, "the same");
    Ok(())
}

/// A file with two names and an attribute, open by each name.
pub(crate) fn names(stage: &mut Stage, _args: &Args) -> Result<()> {
    const ATTRIBUTE: &CStr = c"user.crossthaw";
    let paths = ["one", "two"].map(|name| stage.path(name));
    fs::write(&paths[0], "both").map_err(Error::from_io("write"))?;
    fs::hard_link(&paths[0], &paths[1]).map_err(Error::from_io("link"))?;
    let write = |path: &PathBuf| File::options().write(true).open(path);
    let first = write(&paths[0]).map_err(Error::from_io("open"))?;
    let mut second = File::open(&paths[1]).map_err(Error::from_io("open"))?;
    let value = b"kept";
    sys::check("fsetxattr", unsafe {
        // SAFETY: the name ends with a zero byte, and the value has this length.
        libc::fsetxattr(
            first.as_raw_fd(),
            ATTRIBUTE.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    })?;
    stage.hold()?;
    stage.works("write", sys::write(first.as_raw_fd(), b"BOTH"));
    let mut text = String::new();
    stage.works(
        "read",
        second
            .read_to_string(&mut text)
            .map_err(Error::from_io("read")),
    );
    stage.equal("contents", &text.as_str(), &"BOTH");
    let meta = second.metadata().map_err(Error::from_io("stat"))?;
    stage.equal("names", &meta.nlink(), &2);
    let mut found = [0_u8; 16];
    // SAFETY: the name ends with a zero byte, and the place has this length.
    let len = unsafe {
        libc::fgetxattr(
            second.as_raw_fd(),
            ATTRIBUTE.as_ptr(),
            found.as_mut_ptr().cast(),
            found.len(),
        )
    };
    let found = usize::try_from(len).ok().map(|len| &found[..len]);
    stage.equal("attribute", &found, &Some(&value[..]));
    Ok(())
}

/// Working directory, root and umask, of one process each, and shared by two.
pub(crate) fn cwd_root_umask(stage: &mut Stage, _args: &Args) -> Result<()> {
    for dir in ["deep/er", "jail/inner", "third"] {
        fs::create_dir_all(stage.path(dir)).map_err(Error::from_io("mkdir"))?;
    }
    fs::write(stage.path("jail/marker"), "in jail").map_err(Error::from_io("write"))?;
    let away = stage.spawn_ready("away", |away| {
        std::env::set_current_dir(away.path("deep/er")).map_err(Error::from_io("chdir"))?;
        // SAFETY: plain numbers.
        unsafe { libc::umask(0o027) };
        away.hold()?;
        away.equal("working directory", &current_dir()?, &away.path("deep/er"));
        File::options()
            .write(true)
            .create_new(true)
            .mode(0o666)
            .open("made")
            .map_err(Error::from_io("open"))?;
        let mode = fs::metadata(away.path("deep/er/made"))
            .map_err(Error::from_io("stat"))?
            .permissions()
            .mode();
        away.equal("mode of a new file", &(mode & 0o777), &0o640);
        Ok(())
    })?;
    // Both are children of the root: the second shares what the first has. It says so by the file, which the first one's directory names.
    let sharer = stage.spawn_ready("sharer", |sharer| {
        std::env::set_current_dir(sharer.path("deep")).map_err(Error::from_io("chdir"))?;
        let partner = sharer.spawn_with(
            "partner",
            || sys::clone(libc::CLONE_FS),
            |partner| {
                partner.hold()?;
                partner.equal(
                    "directory that the other one changed",
                    &current_dir()?,
                    &partner.path("third"),
                );
                // SAFETY: plain numbers.
                unsafe { libc::umask(0o011) };
                Ok(())
            },
        )?;
        sharer.await_ready(&partner)?;
        sharer.hold()?;
        sharer.equal("working directory", &current_dir()?, &sharer.path("deep"));
        std::env::set_current_dir(sharer.path("third")).map_err(Error::from_io("chdir"))?;
        partner.resume()?;
        sharer.join(&partner)?;
        // SAFETY: plain numbers.
        sharer.equal(
            "umask that the other one changed",
            &unsafe { libc::umask(0) },
            &0o011,
        );
        Ok(())
    })?;
    let jail = stage.path("jail");
    let mut jailed = stage.spawn("jailed", |jailed| {
        jailed.ready()?;
        std::os::unix::fs::chroot(jailed.path("jail")).map_err(Error::from_io("chroot"))?;
        std::env::set_current_dir("/inner").map_err(Error::from_io("chdir"))?;
        jailed.report_to(PathBuf::from("/report"));
        jailed.wait_resume()?;
        jailed.equal(
            "working directory",
            &current_dir()?,
            &PathBuf::from("/inner"),
        );
        jailed.equal(
            "the root's marker",
            &fs::read_to_string("/marker").ok().as_deref(),
            &Some("in jail"),
        );
        jailed.equal(
            "what lies above the root",
            &fs::read_to_string("/../../marker").ok().as_deref(),
            &Some("in jail"),
        );
        Ok(())
    })?;
    jailed.reports_to(jail.join("report"));
    stage.await_ready(&jailed)?;
    jailed.await_sleeping()?;
    let before = current_dir()?;
    stage.hold()?;
    stage.equal("the root process's directory", &current_dir()?, &before);
    for child in [away, sharer, jailed] {
        child.resume()?;
        stage.join(&child)?;
    }
    Ok(())
}

/// The working directory.
fn current_dir() -> Result<PathBuf> {
    std::env::current_dir().map_err(Error::from_io("getcwd"))
}

/// Writes at an offset without moving anything.
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> Result<()> {
    file.write_all_at(bytes, offset)
        .map_err(Error::from_io("pwrite"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_entries_are_taken_apart() {
        let entry = |name: &str, len: u16| {
            let mut bytes = vec![0; 16];
            bytes.extend(len.to_ne_bytes());
            bytes.push(8);
            bytes.extend(name.as_bytes());
            bytes.resize(usize::from(len), 0);
            bytes
        };
        let bytes = [entry("a", 24), entry("longer-name", 32)].concat();
        assert_eq!(names_in(&bytes), ["a", "longer-name"]);
        assert!(names_in(&[]).is_empty());
    }
}
