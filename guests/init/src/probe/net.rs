//! Sockets that the tree has open: `/proc/PID/net`, and `sock_diag(7)` where the kernel has it.
//!
//! A socket is named by its first descriptor, `PID:FD`. A kernel without a family has neither table nor answers.

use std::collections::BTreeMap;

use crossthaw_protocol::{Fields, Object, TaskState};

use super::namespaces::{self, Kind};
use super::sock_diag;
use super::task::Task;
use super::text;
use crate::error::Result;

/// Tables below `/proc/PID/net` and the names of their columns, where the head of the table has them not word by word.
const TABLES: [(&str, &str); 10] = [
    ("unix", ""),
    ("netlink", ""),
    ("packet", ""),
    ("tcp", INET),
    ("tcp6", INET),
    ("udp", INET),
    ("udp6", INET),
    ("raw", INET),
    ("raw6", INET),
    ("icmp", INET),
];

const INET: &str = "sl local_address rem_address st queues timer retrnsmt uid timeout inode ref pointer rto ato quick_pingpong cwnd ssthresh";

/// Inodes of sockets and the first descriptor of each.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<u64, String>);

impl Names {
    pub(super) fn new(tasks: &[TaskState]) -> Self {
        let mut names = BTreeMap::new();
        for task in tasks {
            for fd in &task.fds {
                let inode = fd
                    .link
                    .strip_prefix("socket:[")
                    .and_then(|rest| rest.strip_suffix(']'));
                if let Some(inode) = inode.and_then(|inode| inode.parse().ok()) {
                    names
                        .entry(inode)
                        .or_insert_with(|| format!("{}:{}", task.pid, fd.fd));
                }
            }
        }
        Self(names)
    }

    /// The name of a socket of the tree.
    pub(super) fn of(&self, inode: u64) -> Option<&str> {
        self.0.get(&inode).map(String::as_str)
    }
}

fn rows(kind: &str, columns: &str, text: &str, names: &Names) -> Vec<Object> {
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let columns = if columns.is_empty() { head } else { columns };
    let row = |line: &str| {
        let fields = text::columns(columns, line);
        let inode = fields
            .iter()
            .find(|field| field.0.eq_ignore_ascii_case("inode"))?;
        let name = names.of(inode.1.parse().ok()?)?.to_owned();
        Some(Object {
            kind: kind.to_owned(),
            name,
            fields,
        })
    };
    lines.filter_map(row).collect()
}

/// The sockets of the network namespace of this task that the tree has open.
pub(super) fn probe(task: &Task, names: &Names) -> Result<Vec<Object>> {
    if names.0.is_empty() {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    for (kind, columns) in TABLES {
        // A kernel without this family has no such file.
        if let Ok(text) = task.read(&format!("net/{kind}")) {
            all.extend(rows(kind, columns, &text, names));
        }
    }
    let diag: BTreeMap<u64, Fields> = namespaces::inside(task, Kind::Net, sock_diag::all)?;
    for (inode, fields) in diag {
        if let Some(name) = names.of(inode) {
            all.push(Object {
                kind: "socket".to_owned(),
                name: name.to_owned(),
                fields: fields
                    .into_iter()
                    .map(|field| named(field, names))
                    .collect(),
            });
        }
    }
    all.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
    Ok(all)
}

/// An inode of another socket becomes its name; 0 where it is outside of the tree.
fn named((field, value): (String, String), names: &Names) -> (String, String) {
    if field != "peer" && field != "pending" {
        return (field, value);
    }
    let inodes = value.split(' ').filter_map(|inode| inode.parse().ok());
    let inodes: Vec<_> = inodes.map(|inode| names.of(inode).unwrap_or("0")).collect();
    (field, inodes.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_tree_are_named_by_their_descriptor() {
        let names = Names(BTreeMap::from([(77, "1:5".to_owned())]));
        let text = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                    00000000aa: 00000002 00000000 00010000 0001 01 77 /run/x\n\
                    00000000bb: 00000002 00000000 00010000 0001 01 78\n";
        let found = rows("unix", "", text, &names);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].name, "1:5");
        assert_eq!(found[0].fields[7], ("Path".to_owned(), "/run/x".to_owned()));
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                    0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 00 100\n";
        let found = rows("tcp", INET, text, &names);
        assert_eq!(found[0].fields[3], ("st".to_owned(), "0A".to_owned()));
        let peer = named(("peer".to_owned(), "77 78".to_owned()), &names);
        assert_eq!(peer.1, "1:5 0");
    }
}
