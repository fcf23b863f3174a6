//! System V ipc objects and POSIX message queues of an ipc namespace.
//!
//! Not visible from outside: a shared memory segment that nobody has mapped (attaching it would change its times),
//! the order of those that wait, undo lists of semaphores, messages in a POSIX queue.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crossthaw_protocol::{Fields, Object};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use xxhash_rust::xxh64::Xxh64;

use super::text;
use super::translation::Translation;

/// Columns that hold pids.
const PIDS: [&str; 4] = ["cpid", "lpid", "lspid", "lrpid"];

/// `GETALL` and `MSG_COPY` of linux/sem.h and linux/msg.h.
const GETALL: libc::c_int = 13;
const MSG_COPY: libc::c_int = 0o40_000;

fn table(
    kind: &str,
    id: &str,
    translation: &Translation,
    more: impl Fn(&Fields) -> Fields,
) -> Vec<Object> {
    // A kernel without System V ipc.
    let Ok(text) = fs::read_to_string(format!("/proc/sysvipc/{kind}")) else {
        return Vec::new();
    };
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let object = |line: &str| {
        let fields = translation.fields(&text::columns(head, line), &PIDS);
        let name = fields.iter().find(|field| field.0 == id);
        let name = name.map_or_else(String::new, |field| field.1.clone());
        let more = more(&fields);
        Object {
            kind: kind.to_owned(),
            name,
            fields: fields.into_iter().chain(more).collect(),
        }
    };
    lines.map(object).collect()
}

fn number(fields: &Fields, name: &str) -> libc::c_int {
    let field = fields.iter().find(|field| field.0 == name);
    field.and_then(|field| field.1.parse().ok()).unwrap_or(0)
}

/// Values of all semaphores of a set.
fn semaphores(fields: &Fields) -> Fields {
    let count = usize::try_from(number(fields, "nsems")).unwrap_or(0);
    let mut values = vec![0u16; count];
    // SAFETY: GETALL fills as many shorts as the set has semaphores, which do not change their number.
    let ret = unsafe { libc::semctl(number(fields, "semid"), 0, GETALL, values.as_mut_ptr()) };
    if ret < 0 {
        return Vec::new();
    }
    let values: Vec<_> = values.iter().map(ToString::to_string).collect();
    vec![("values".to_owned(), values.join(" "))]
}

/// Types, sizes and hash of all messages of a queue, which stay there.
fn messages(fields: &Fields) -> Fields {
    let id = number(fields, "msqid");
    let mut hash = Xxh64::new(0);
    let mut types = Vec::new();
    // A type, as long as a pointer, and the text.
    let mut buffer = vec![0u8; size_of::<libc::c_long>() + (64 << 10)];
    for place in 0.. {
        let flags = MSG_COPY | libc::IPC_NOWAIT | libc::MSG_NOERROR;
        // SAFETY: the buffer has room for a type and as many bytes of text as are asked for.
        let len = unsafe { libc::msgrcv(id, buffer.as_mut_ptr().cast(), 64 << 10, place, flags) };
        let Ok(len) = usize::try_from(len) else {
            break;
        };
        let (kind, text) = buffer.split_at(size_of::<libc::c_long>());
        let kind = kind.try_into().map_or(0, libc::c_long::from_ne_bytes);
        types.push(format!("{kind}:{len}"));
        hash.update(&text[..len]);
    }
    vec![
        ("messages".to_owned(), types.join(" ")),
        ("contents".to_owned(), format!("{:016x}", hash.digest())),
    ]
}

/// A detached mount of the namespace's queues, which nobody else sees.
fn queues() -> rustix::io::Result<OwnedFd> {
    let context = fsopen("mqueue", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
}

/// Size limits of a queue: flags, messages, size of a message, messages in it.
fn limits(name: &str) -> Option<String> {
    let path = std::ffi::CString::new(name).ok()?;
    let mut attr = [0 as libc::c_long; 8];
    let none: *const libc::c_long = std::ptr::null();
    // SAFETY: the name ends with a zero byte; a mode and attributes are for a queue that is made, and the kernel would read the latter.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_mq_open,
            path.as_ptr(),
            libc::O_RDONLY | libc::O_NONBLOCK | libc::O_CLOEXEC,
            0,
            none,
        )
    };
    // SAFETY: the system call has just returned this descriptor, and nobody else knows it.
    let fd = (fd >= 0)
        .then(|| unsafe { OwnedFd::from_raw_fd(libc::c_int::try_from(fd).unwrap_or(-1)) })?;
    // SAFETY: attr has room for a struct mq_attr, eight longs.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mq_getsetattr,
            fd.as_raw_fd(),
            none,
            attr.as_mut_ptr(),
        )
    };
    (ret == 0).then(|| format!("messages {} of {} bytes, now {}", attr[1], attr[2], attr[3]))
}

fn queue(dir: &OwnedFd, name: &str, translation: &Translation) -> io::Result<Object> {
    let path = format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
    // QSIZE:129 NOTIFY:2 SIGNO:0 NOTIFY_PID:8260
    let text = fs::read_to_string(&path)?;
    let fields: Fields = text
        .split_whitespace()
        .filter_map(|word| word.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut fields = translation.fields(&fields, &["NOTIFY_PID"]);
    let stat = super::files::stat(&fs::symlink_metadata(&path)?);
    fields.extend(
        stat.into_iter()
            .filter(|field| field.0 == "mode" || field.0 == "owner"),
    );
    fields.extend(limits(name).map(|limits| ("limits".to_owned(), limits)));
    Ok(Object {
        kind: "mqueue".to_owned(),
        name: name.to_owned(),
        fields,
    })
}

/// The objects of the namespace that the agent is in.
pub(super) fn probe(translation: &Translation) -> Vec<Object> {
    let mut all = table("shm", "shmid", translation, |_| Vec::new());
    all.extend(table("sem", "semid", translation, semaphores));
    all.extend(table("msg", "msqid", translation, messages));
    // A kernel without POSIX message queues.
    let Ok(dir) = queues() else {
        return all;
    };
    let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
    let names = fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<_> = names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    all.extend(
        names
            .iter()
            .filter_map(|name| queue(&dir, name, translation).ok()),
    );
    all
}
