//! What fcntl, ioctl and socket options show of an open file, through a duplicate of the descriptor (`pidfd_getfd(2)`).
//!
//! Nothing is consumed: a pipe is read through tee(2), a socket with `MSG_PEEK`.

use std::fs::Metadata;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;

use crossthaw_protocol::Fields;
use xxhash_rust::xxh64::xxh64;

use super::task::Task;
use super::text;
use super::translation::Translation;

/// A pidfd of one thread, not of its leader; Linux 6.9.
const PIDFD_THREAD: libc::c_int = libc::O_EXCL;

/// `fcntl` requests of linux/fcntl.h.
const F_GETSIG: libc::c_int = 11;
const F_GETOWN_EX: libc::c_int = 16;
const F_GETLEASE: libc::c_int = 1025;
const F_GETPIPE_SZ: libc::c_int = 1032;
const F_GET_SEALS: libc::c_int = 1034;
const F_GET_RW_HINT: libc::c_int = 1035;

/// Options of `SOL_SOCKET` whose value is one number or a structure without pids, asm/socket.h.
///
/// Not `SO_ERROR`: reading it clears it.
const SOCKET_OPTIONS: [(&str, libc::c_int); 21] = [
    ("broadcast", libc::SO_BROADCAST),
    ("debug", libc::SO_DEBUG),
    ("domain", libc::SO_DOMAIN),
    ("dontroute", libc::SO_DONTROUTE),
    ("keepalive", libc::SO_KEEPALIVE),
    ("linger", libc::SO_LINGER),
    ("listening", libc::SO_ACCEPTCONN),
    ("mark", libc::SO_MARK),
    ("oobinline", libc::SO_OOBINLINE),
    ("passcred", libc::SO_PASSCRED),
    ("peek offset", libc::SO_PEEK_OFF),
    ("priority", libc::SO_PRIORITY),
    ("protocol", libc::SO_PROTOCOL),
    ("receive buffer", libc::SO_RCVBUF),
    ("receive low water", libc::SO_RCVLOWAT),
    ("receive timeout", libc::SO_RCVTIMEO),
    ("reuse address", libc::SO_REUSEADDR),
    ("send buffer", libc::SO_SNDBUF),
    ("send timeout", libc::SO_SNDTIMEO),
    ("timestamp", libc::SO_TIMESTAMP),
    ("type", libc::SO_TYPE),
];

fn owned(fd: libc::c_long) -> Option<OwnedFd> {
    let fd = libc::c_int::try_from(fd).ok().filter(|&fd| fd >= 0)?;
    // SAFETY: the system call has just returned this descriptor, and nobody else knows it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A handle on the task; none where the kernel cannot.
pub(super) fn pidfd(task: &Task) -> Option<OwnedFd> {
    let flags = if task.is_leader() { 0 } else { PIDFD_THREAD };
    // SAFETY: pidfd_open takes numbers only.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, task.outer, flags) })
}

fn fcntl(fd: &OwnedFd, request: libc::c_int) -> Option<libc::c_int> {
    // SAFETY: these requests take no argument.
    let value = unsafe { libc::fcntl(fd.as_raw_fd(), request) };
    (value >= 0).then_some(value)
}

/// Who gets SIGIO: kind of owner and its pid.
fn owner(fd: &OwnedFd, translation: &Translation) -> Option<String> {
    let mut owner = [0 as libc::c_int; 2];
    // SAFETY: F_GETOWN_EX fills a `struct f_owner_ex`, two ints.
    let ret = unsafe { libc::fcntl(fd.as_raw_fd(), F_GETOWN_EX, owner.as_mut_ptr()) };
    let kind = ["thread", "process", "group"].get(usize::try_from(owner[0]).ok()?)?;
    (ret == 0 && owner[1] != 0).then(|| format!("{kind} {}", translation.pid(owner[1])))
}

/// Bytes that wait to be read.
fn queued(fd: &OwnedFd) -> Option<libc::c_int> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD fills an int.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    (ret == 0).then_some(count)
}

/// Number and hash of the bytes in a pipe; none where this is not the end that is read.
fn pipe_contents(fd: &OwnedFd, capacity: libc::c_int) -> Option<String> {
    let (out, into) = rustix::pipe::pipe().ok()?;
    rustix::pipe::fcntl_setpipe_size(&into, usize::try_from(capacity).ok()?).ok()?;
    // SAFETY: both are pipes; tee takes numbers only.
    let count = unsafe {
        libc::tee(
            fd.as_raw_fd(),
            into.as_raw_fd(),
            usize::MAX >> 1,
            libc::SPLICE_F_NONBLOCK,
        )
    };
    drop(into);
    if count < 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EAGAIN) {
        return None;
    }
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut std::fs::File::from(out), &mut bytes).ok()?;
    Some(format!("{} bytes {:016x}", bytes.len(), xxh64(&bytes, 0)))
}

fn socket_option(fd: &OwnedFd, level: libc::c_int, option: libc::c_int) -> Option<Vec<u8>> {
    let mut value = vec![0u8; 256];
    let mut len = 256 as libc::socklen_t;
    // SAFETY: value has room for as many bytes as len says.
    let ret = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            option,
            value.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    value.truncate(len as usize);
    (ret == 0).then_some(value)
}

/// A number where it is one, digits where it is a structure.
fn option_text(value: &[u8]) -> String {
    match value.try_into() {
        Ok(bytes) => i32::from_ne_bytes(bytes).to_string(),
        Err(_) => text::hex(value),
    }
}

type NameCall =
    unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

/// An address: text where it is a path, digits where it is not.
fn address(fd: &OwnedFd, call: NameCall) -> Option<String> {
    let mut raw = [0u8; 128];
    let mut len = 128 as libc::socklen_t;
    // SAFETY: raw has room for as many bytes as len says.
    let ret = unsafe { call(fd.as_raw_fd(), raw.as_mut_ptr().cast(), &raw mut len) };
    let bytes = raw.get(..len as usize)?;
    let family = bytes.get(..2).and_then(|family| family.try_into().ok());
    let is_unix =
        family.is_some_and(|family| i32::from(u16::from_ne_bytes(family)) == libc::AF_UNIX);
    (ret == 0).then(|| match bytes.get(2..) {
        // A name in the abstract namespace begins with a zero byte.
        Some(path) if is_unix && path.first() != Some(&0) => {
            let path: Vec<u8> = path.iter().copied().take_while(|&byte| byte != 0).collect();
            format!("unix {}", String::from_utf8_lossy(&path))
        }
        _ => text::hex(bytes),
    })
}

/// Number and hash of what the first receive would return.
fn peek(fd: &OwnedFd) -> Option<String> {
    let mut bytes = vec![0u8; 256 << 10];
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: bytes has room for as many bytes as are asked for.
    let count = unsafe {
        libc::recv(
            fd.as_raw_fd(),
            bytes.as_mut_ptr().cast(),
            bytes.len(),
            flags,
        )
    };
    bytes.truncate(usize::try_from(count).ok()?);
    Some(format!("{} bytes {:016x}", bytes.len(), xxh64(&bytes, 0)))
}

fn socket(fd: &OwnedFd, translation: &Translation, add: &mut impl FnMut(&str, Option<String>)) {
    for (name, option) in SOCKET_OPTIONS {
        add(
            name,
            socket_option(fd, libc::SOL_SOCKET, option).map(|value| option_text(&value)),
        );
    }
    let filter = socket_option(fd, libc::SOL_SOCKET, libc::SO_GET_FILTER)
        .filter(|filter| !filter.is_empty());
    add("filter", filter.map(|filter| text::hex(&filter)));
    let peer = socket_option(fd, libc::SOL_SOCKET, libc::SO_PEERCRED).map(|value| {
        let words: Vec<i32> = value
            .chunks_exact(4)
            .filter_map(|word| Some(i32::from_ne_bytes(word.try_into().ok()?)))
            .collect();
        match words[..] {
            [pid, uid, gid] => format!("pid {} owner {uid}:{gid}", translation.pid(pid)),
            _ => text::hex(&value),
        }
    });
    add("peer", peer);
    add("address", address(fd, libc::getsockname));
    add("peer address", address(fd, libc::getpeername));
    add("queued", queued(fd).map(|count| count.to_string()));
    add("contents", peek(fd));
}

fn terminal(fd: &OwnedFd, translation: &Translation, add: &mut impl FnMut(&str, Option<String>)) {
    let mut settings = [0u8; 256];
    // SAFETY: TCGETS fills a struct ktermios of at most 60 bytes.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TCGETS as _, settings.as_mut_ptr()) };
    if ret != 0 {
        return;
    }
    add("termios", Some(text::hex(&settings[..60])));
    let mut size = [0u16; 4];
    // SAFETY: TIOCGWINSZ fills a struct winsize, four shorts.
    let ret = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ as _, size.as_mut_ptr()) };
    add("window", (ret == 0).then(|| format!("{size:?}")));
    for (name, request) in [("foreground", libc::TIOCGPGRP), ("session", libc::TIOCGSID)] {
        let mut pid: libc::c_int = 0;
        // SAFETY: both requests fill an int.
        let ret = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, &raw mut pid) };
        add(name, (ret == 0).then(|| translation.pid(pid).to_string()));
    }
    add("queued", queued(fd).map(|count| count.to_string()));
}

/// What can be asked of descriptor `fd` of a task.
pub(super) fn details(
    pidfd: &OwnedFd,
    fd: i32,
    meta: &Metadata,
    translation: &Translation,
) -> Fields {
    // SAFETY: pidfd_getfd takes numbers only.
    let copy = owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0) });
    let Some(copy) = copy else {
        return Vec::new();
    };
    let mut found = Fields::new();
    let mut add = |name: &str, value: Option<String>| {
        found.extend(value.map(|value| (name.to_owned(), value)));
    };
    add("owner", owner(&copy, translation));
    let number = |request| {
        fcntl(&copy, request)
            .filter(|&value| value != 0)
            .map(|value| value.to_string())
    };
    add("signal", number(F_GETSIG));
    add("hint", number(F_GET_RW_HINT));
    let kind = meta.file_type();
    if kind.is_file() {
        add(
            "seals",
            fcntl(&copy, F_GET_SEALS).map(|seals| format!("{seals:#x}")),
        );
        add(
            "lease",
            fcntl(&copy, F_GETLEASE).map(|lease| lease.to_string()),
        );
    } else if kind.is_fifo() {
        let capacity = fcntl(&copy, F_GETPIPE_SZ);
        add("capacity", capacity.map(|capacity| capacity.to_string()));
        add(
            "contents",
            capacity.and_then(|capacity| pipe_contents(&copy, capacity)),
        );
    } else if kind.is_socket() {
        socket(&copy, translation, &mut add);
    } else if kind.is_char_device() {
        terminal(&copy, translation, &mut add);
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn look(fd: &impl AsRawFd) -> Fields {
        let pid = std::process::id();
        let own = i32::try_from(pid).unwrap();
        let translation = Translation {
            level: 0,
            pids: BTreeMap::from([(own, 7)]),
        };
        // SAFETY: pidfd_open takes numbers only.
        let pidfd = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, own, 0) }).unwrap();
        let number = fd.as_raw_fd();
        let meta = std::fs::metadata(format!("/proc/self/fd/{number}")).unwrap();
        details(&pidfd, number, &meta, &translation)
    }

    #[track_caller]
    fn check(found: &Fields, name: &str, value: &str) {
        let field = found.iter().find(|field| field.0 == name);
        assert_eq!(
            field.map(|field| field.1.as_str()),
            Some(value),
            "{name} in {found:?}"
        );
    }

    #[test]
    fn a_pipe_keeps_what_was_looked_at() {
        let (mut out, mut into) = io::pipe().unwrap();
        into.write_all(b"hello").unwrap();
        let found = look(&out);
        check(&found, "capacity", "65536");
        check(
            &found,
            "contents",
            &format!("5 bytes {:016x}", xxh64(b"hello", 0)),
        );
        assert!(look(&into).iter().all(|field| field.0 != "contents"));
        drop(into);
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn a_socket_keeps_what_was_looked_at() {
        let (mut one, mut two) = UnixStream::pair().unwrap();
        two.write_all(b"hello").unwrap();
        let found = look(&one);
        check(&found, "type", &libc::SOCK_STREAM.to_string());
        check(&found, "queued", "5");
        check(
            &found,
            "contents",
            &format!("5 bytes {:016x}", xxh64(b"hello", 0)),
        );
        assert!(
            found
                .iter()
                .any(|(name, value)| name == "peer" && value.starts_with("pid 7 owner "))
        );
        let mut bytes = [0; 5];
        one.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
    }

    #[test]
    fn a_file_has_an_owner_and_no_contents() {
        let file = tempfile::tempfile().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        // SAFETY: F_SETOWN takes a pid.
        let ret = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETOWN, own) };
        assert_eq!(ret, 0);
        let found = look(&file);
        check(&found, "owner", "process 7");
        check(&found, "lease", "2");
        assert!(found.iter().all(|field| field.0 != "contents"));
    }
}
