//! Sockets as `sock_diag(7)` shows them, `linux/sock_diag.h` and its like.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crossthaw_protocol::Fields;

use super::text;

/// `NETLINK_SOCK_DIAG` and `SOCK_DIAG_BY_FAMILY`.
const NETLINK_SOCK_DIAG: libc::c_int = 4;
const BY_FAMILY: u16 = 20;

/// `NLM_F_REQUEST | NLM_F_DUMP`, and the ends of an answer.
const REQUEST_DUMP: u16 = 0x301;
const ERROR: u16 = 2;
const DONE: u16 = 3;

const HEADER: usize = 16;

/// Everything that a family shows is asked for.
const ALL: u32 = u32::MAX;

fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
    word.map_or(0, u32::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> u16 {
    let half = bytes.get(at..at + 2).and_then(|half| half.try_into().ok());
    half.map_or(0, u16::from_ne_bytes)
}

/// A family: its request, the size of the fixed part of an answer, and what is in that.
struct Family {
    request: Vec<u8>,
    fixed: usize,
    /// Inode and fields of the fixed part.
    read: fn(&[u8]) -> (u64, Fields),
    /// Names of the attributes that are no plain bytes.
    attributes: &'static [(u16, &'static str)],
}

fn field(name: &str, value: impl std::fmt::Display) -> (String, String) {
    (name.to_owned(), format!("{value}"))
}

fn request(bytes: [u8; 4], words: &[u32]) -> Vec<u8> {
    let words = words.iter().flat_map(|word| word.to_ne_bytes());
    bytes.into_iter().chain(words).collect()
}

/// `AF_UNIX`: `struct unix_diag_req`, `struct unix_diag_msg`.
fn unix() -> Family {
    Family {
        // States, inode, what to show, cookie. UDIAG_SHOW_*: all but the last two bits that 6.12 knows cost nothing.
        request: request([1, 0, 0, 0], &[ALL, 0, 0x7f, ALL, ALL]),
        fixed: 16,
        read: |message| {
            let fields = vec![
                field("family", "unix"),
                field("type", message[1]),
                field("state", message[2]),
            ];
            (word(message, 4).into(), fields)
        },
        attributes: &[
            (0, "name"),
            (1, "file"),
            (2, "peer"),
            (3, "pending"),
            (4, "queues"),
            (5, "memory"),
            (6, "shutdown"),
            (7, "uid"),
        ],
    }
}

/// `AF_INET`, `AF_INET6`: `struct inet_diag_req_v2`, `struct inet_diag_msg`.
fn inet(family: u8, protocol: u8) -> Family {
    let mut body = request([family, protocol, 0xff, 0], &[ALL]);
    // A `struct inet_diag_sockid` that names no socket.
    body.extend([0u8; 40]);
    body.extend([0xff; 8]);
    Family {
        request: body,
        fixed: 72,
        read: |message| {
            let fields = vec![
                field("family", message[0]),
                field("state", message[1]),
                field("addresses", text::hex(&message[4..40])),
                field("interface", word(message, 40)),
                field("receive queue", word(message, 56)),
                field("send queue", word(message, 60)),
                field("owner", word(message, 64)),
            ];
            (word(message, 68).into(), fields)
        },
        attributes: &[],
    }
}

/// `AF_NETLINK`: `struct netlink_diag_req`, `struct netlink_diag_msg`.
fn netlink() -> Family {
    Family {
        // NDIAG_PROTO_ALL; inode, what to show (memory, groups, flags), cookie.
        request: request([16, 0xff, 0, 0], &[0, 0xb, ALL, ALL]),
        fixed: 28,
        read: |message| {
            let fields = vec![
                field("family", "netlink"),
                field("type", message[1]),
                field("protocol", message[2]),
                field("state", message[3]),
                field("port", word(message, 4)),
                field("peer port", word(message, 8)),
                field("peer group", word(message, 12)),
            ];
            (word(message, 16).into(), fields)
        },
        attributes: &[],
    }
}

/// `AF_PACKET`: `struct packet_diag_req`, `struct packet_diag_msg`.
fn packet() -> Family {
    Family {
        request: request([17, 0, 0, 0], &[0, 0x3f, ALL, ALL]),
        fixed: 16,
        read: |message| {
            let fields = vec![
                field("family", "packet"),
                field("type", message[1]),
                field("protocol", half(message, 2)),
            ];
            (word(message, 4).into(), fields)
        },
        attributes: &[],
    }
}

/// The attributes behind the fixed part.
fn attributes(mut bytes: &[u8], names: &[(u16, &str)]) -> Fields {
    let mut found = Vec::new();
    while bytes.len() >= 4 {
        let (len, kind) = (usize::from(half(bytes, 0)), half(bytes, 2));
        let Some(value) = bytes.get(4..len) else {
            break;
        };
        let name = names.iter().find(|row| row.0 == kind).map(|row| row.1);
        let value = match name {
            Some("name") => value
                .iter()
                .map(|&byte| if byte == 0 { '@' } else { char::from(byte) })
                .collect(),
            Some("peer" | "pending") => {
                let inodes = value
                    .chunks_exact(4)
                    .map(|inode| word(inode, 0).to_string());
                inodes.collect::<Vec<_>>().join(" ")
            }
            _ => text::hex(value),
        };
        let name = name.map_or_else(|| format!("attribute {kind}"), str::to_owned);
        found.push((name, value));
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// Take the messages of one datagram; true at the end of the answer.
fn take(mut bytes: &[u8], family: &Family, found: &mut BTreeMap<u64, Fields>) -> bool {
    while bytes.len() >= HEADER {
        let (len, kind) = (word(bytes, 0) as usize, half(bytes, 4));
        if kind == ERROR || kind == DONE {
            return true;
        }
        let Some(body) = bytes
            .get(HEADER..len)
            .filter(|body| body.len() >= family.fixed)
        else {
            return true;
        };
        let (fixed, rest) = body.split_at(family.fixed);
        let (inode, mut fields) = (family.read)(fixed);
        fields.extend(attributes(rest, family.attributes));
        found.insert(inode, fields);
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

fn ask(socket: &OwnedFd, family: &Family, found: &mut BTreeMap<u64, Fields>) {
    let len = u32::try_from(HEADER + family.request.len()).unwrap_or_default();
    let mut message = Vec::new();
    message.extend(len.to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST_DUMP.to_ne_bytes());
    // Sequence and port.
    message.extend([0u8; 8]);
    message.extend(&family.request);
    let fd = socket.as_raw_fd();
    // SAFETY: message is as long as is said.
    if unsafe { libc::send(fd, message.as_ptr().cast(), message.len(), 0) } < 0 {
        return;
    }
    let mut buffer = vec![0u8; 64 << 10];
    loop {
        // SAFETY: buffer has room for as many bytes as are asked for. An answer is there when the request was sent.
        let count = unsafe {
            libc::recv(
                fd,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
            )
        };
        match usize::try_from(count) {
            Ok(count) if count > 0 && !take(&buffer[..count], family, found) => {}
            _ => return,
        }
    }
}

/// All sockets of the network namespace that the agent is in, by inode; nothing where the kernel has no `sock_diag`.
pub(super) fn all() -> BTreeMap<u64, Fields> {
    let mut found = BTreeMap::new();
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: socket takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, NETLINK_SOCK_DIAG) };
    if fd < 0 {
        return found;
    }
    // SAFETY: the system call has just returned this descriptor, and nobody else knows it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let protocols = [libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_RAW]
        .map(|protocol| u8::try_from(protocol).unwrap_or(0));
    let inet = [2u8, 10]
        .into_iter()
        .flat_map(|family| protocols.map(|protocol| inet(family, protocol)));
    for family in [unix(), netlink(), packet()].into_iter().chain(inet) {
        ask(&socket, &family, &mut found);
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn inode(fd: &impl AsRawFd) -> u64 {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
        let link = link.to_str().unwrap();
        link.strip_prefix("socket:[")
            .unwrap()
            .strip_suffix(']')
            .unwrap()
            .parse()
            .unwrap()
    }

    #[test]
    fn a_pair_of_this_process_knows_each_other_where_the_kernel_tells() {
        let (one, two) = UnixStream::pair().unwrap();
        let found = all();
        // A host without unix_diag has nothing to say.
        if let Some(fields) = found.get(&inode(&one)) {
            assert!(fields.contains(&field("peer", inode(&two))), "{fields:?}");
        }
    }

    #[test]
    fn an_answer_is_taken_apart() {
        let mut message = Vec::new();
        let body_len = 16 + 8;
        message.extend(u32::to_ne_bytes(16 + body_len));
        message.extend(BY_FAMILY.to_ne_bytes());
        message.extend([0u8; 10]);
        message.extend([1, 1, 1, 0]);
        message.extend(77u32.to_ne_bytes());
        message.extend([0u8; 8]);
        message.extend(8u16.to_ne_bytes());
        message.extend(2u16.to_ne_bytes());
        message.extend(78u32.to_ne_bytes());
        let mut found = BTreeMap::new();
        assert!(!take(&message, &unix(), &mut found));
        let expected = [
            ("family", "unix"),
            ("type", "1"),
            ("state", "1"),
            ("peer", "78"),
        ];
        assert_eq!(found[&77], expected.map(|(name, value)| field(name, value)));
        message[4..6].copy_from_slice(&DONE.to_ne_bytes());
        assert!(take(&message, &unix(), &mut found));
    }
}
