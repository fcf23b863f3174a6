//! The mounts of the tree's mount namespaces.

use crossthaw_protocol::Object;

use super::task::Task;
use crate::error::Result;

/// `/proc/PID/mountinfo`, proc(5). Identities stay as the kernel has them.
fn mount(line: &str) -> Option<Object> {
    let (head, tail) = line.split_once(" - ")?;
    let mut head = head.split(' ');
    let mut next = || head.next();
    let (id, parent, device, root, point, options) =
        (next()?, next()?, next()?, next()?, next()?, next()?);
    let propagation: Vec<_> = head.collect();
    let mut tail = tail.splitn(3, ' ');
    let fields = [
        ("id", id.to_owned()),
        ("parent", parent.to_owned()),
        ("device", device.to_owned()),
        ("root", root.to_owned()),
        ("options", options.to_owned()),
        ("propagation", propagation.join(" ")),
        ("type", tail.next()?.to_owned()),
        ("source", tail.next()?.to_owned()),
        ("super options", tail.next().unwrap_or_default().to_owned()),
    ];
    Some(Object {
        kind: "mount".to_owned(),
        name: point.to_owned(),
        fields: fields.map(|(name, value)| (name.to_owned(), value)).into(),
    })
}

/// The mounts that this task sees, in the kernel's order.
pub(super) fn probe(task: &Task) -> Result<Vec<Object>> {
    Ok(task.read("mountinfo")?.lines().filter_map(mount).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_taken_apart() {
        let found = mount("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue").unwrap();
        assert_eq!(
            (found.kind.as_str(), found.name.as_str()),
            ("mount", "/mnt2")
        );
        let values: Vec<_> = found.fields.iter().map(|field| field.1.as_str()).collect();
        let expected = [
            "36",
            "35",
            "98:0",
            "/mnt1",
            "rw,noatime",
            "master:1 shared:2",
            "ext3",
            "/dev/root",
            "rw,errors=continue",
        ];
        assert_eq!(values, expected);
        assert!(mount("garbage").is_none());
    }
}
