//! Values in a form that does not depend on the order in which a kernel has handed out its numbers.

use std::collections::BTreeMap;

/// Numbers of things by their first appearance, for each kind of thing.
#[derive(Debug, Default)]
pub(super) struct Canon(BTreeMap<&'static str, Vec<String>>);

/// Turns a value into its canonical form.
pub(super) type Normal = fn(&mut Canon, &str) -> String;

impl Canon {
    fn number(&mut self, kind: &'static str, key: &str) -> String {
        let known = self.0.entry(kind).or_default();
        let place = known.iter().position(|known| known == key);
        let place = place.unwrap_or_else(|| {
            known.push(key.to_owned());
            known.len() - 1
        });
        format!("#{}", place + 1)
    }
}

/// As it is.
pub(super) fn same(_: &mut Canon, value: &str) -> String {
    value.to_owned()
}

/// Words separated by one blank.
pub(super) fn words(_: &mut Canon, value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Offsets of clocks in seconds and nanoseconds: whether there is one.
pub(super) fn offsets(canon: &mut Canon, value: &str) -> String {
    let text = words(canon, value);
    // A zombie has no namespace any more.
    if text.is_empty() {
        return text;
    }
    let mut told: Vec<&str> = Vec::new();
    let mut words = text.split(' ');
    while let Some(clock) = words.next() {
        let offset = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        told.push(clock);
        told.push(if offset == ("0", "0") { "0 0" } else { "moved" });
    }
    told.join(" ")
}

/// A mount.
pub(super) fn mount(canon: &mut Canon, value: &str) -> String {
    canon.number("mount", value)
}

/// A device without hardware.
pub(super) fn device(canon: &mut Canon, value: &str) -> String {
    canon.number("device", value)
}

/// Peer groups of mounts: `shared:3 master:4`.
pub(super) fn peers(canon: &mut Canon, value: &str) -> String {
    let word = |word: &str| match word.split_once(':') {
        Some((kind, group)) => format!("{kind}:{}", canon.number("peer group", group)),
        None => word.to_owned(),
    };
    value.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// An inode and its device, `1a:77` as stat has it and `00:1a:77` as mappings and locks have it.
pub(super) fn inode(canon: &mut Canon, value: &str) -> String {
    let Some((device, inode)) = value.rsplit_once(':') else {
        return value.to_owned();
    };
    if inode == "0" {
        return "none".to_owned();
    }
    let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
    let device = match device.split_once(':') {
        Some((major, minor)) => number(major).zip(number(minor)).map(|(a, b)| (a << 8) | b),
        None => number(device),
    };
    canon.number("inode", &format!("{device:?}:{inode}"))
}

/// `net:[4026531840]`, or `outside`.
pub(super) fn namespace(canon: &mut Canon, value: &str) -> String {
    if value.contains('[') {
        canon.number("namespace", value)
    } else {
        value.to_owned()
    }
}

/// A link: `pipe:[77]` and `socket:[77]` have a number of the kernel's.
pub(super) fn link(canon: &mut Canon, value: &str) -> String {
    let number = |kind: &'static str, canon: &mut Canon| {
        let inode = value.strip_prefix(kind)?.strip_prefix(":[")?;
        Some(format!("{kind}:{}", canon.number(kind, inode)))
    };
    let found = number("pipe", canon).or_else(|| number("socket", canon));
    found.unwrap_or_else(|| value.to_owned())
}

/// A lock, the file being its sixth word: `POSIX ADVISORY WRITE 2 00:1a:77 0 EOF`; `waits` may be in front.
pub(super) fn lock(canon: &mut Canon, value: &str) -> String {
    let is_file = |word: &str| word.matches(':').count() == 2;
    let word = |word: &str| {
        if is_file(word) {
            inode(canon, word)
        } else {
            word.to_owned()
        }
    };
    value.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// What epoll and inotify watch: inode, device and file handle are numbers of a guest.
pub(super) fn watched(canon: &mut Canon, value: &str) -> String {
    let mut ino = "";
    let mut kept = Vec::new();
    for word in value.split_whitespace() {
        match word.split_once(':') {
            Some(("ino", number)) => ino = number,
            Some(("sdev", device)) => {
                kept.push(canon.number("watched", &format!("{device}:{ino}")));
            }
            Some(("fhandle-bytes" | "fhandle-type" | "f_handle", _)) => {}
            _ => kept.push(word.to_owned()),
        }
    }
    kept.join(" ")
}

/// The flags of a mapping without `sd`, soft-dirty: written since somebody asked, which is whenever it was restored.
pub(super) fn vm_flags(_: &mut Canon, value: &str) -> String {
    let flags = value.split_whitespace().filter(|&flag| flag != "sd");
    flags.collect::<Vec<_>>().join(" ")
}

/// Two words of i386's registers, the flags in the lower one, without RF (`X86_EFLAGS_RF`).
pub(super) fn without_rf(_: &mut Canon, value: &str) -> String {
    match u64::from_str_radix(value, 16) {
        Ok(words) => format!("{:016x}", words & !(1 << 16)),
        Err(_) => value.to_owned(),
    }
}

/// Names of the flags of a descriptor, open(2).
///
/// 040000 to 0400000 are left out: `O_DIRECT`, `O_LARGEFILE`, `O_DIRECTORY` and `O_NOFOLLOW` are other bits on powerpc, and only 64-bit kernels set `O_LARGEFILE` by themselves.
const FLAGS: [(u32, &str); 9] = [
    (0o2000, "append"),
    (0o4000, "nonblock"),
    (0o10_000, "dsync"),
    (0o20_000, "async"),
    (0o1_000_000, "noatime"),
    (0o2_000_000, "cloexec"),
    (0o4_000_000, "sync"),
    (0o10_000_000, "path"),
    (0o20_000_000, "tmpfile"),
];

/// The flags of a descriptor by name.
pub(super) fn open_flags(octal: &str) -> String {
    let Ok(flags) = u32::from_str_radix(octal, 8) else {
        return octal.to_owned();
    };
    let mut text = match flags & 3 {
        0 => "read",
        1 => "write",
        2 => "read-write",
        _ => "no-access",
    }
    .to_owned();
    for (bit, name) in FLAGS {
        if flags & bit != 0 {
            text.push(' ');
            text.push_str(name);
        }
    }
    text
}

/// Without the length of a time slice, which follows from the number of processors.
pub(super) fn scheduling(text: &str) -> String {
    let head = text.split_once(" runtime ");
    head.map_or(text, |(head, _)| head).to_owned()
}

/// The cgroup of a task; if that was removed, the one above it.
pub(super) fn cgroup(_: &mut Canon, value: &str) -> String {
    let above = value
        .strip_suffix(" (deleted)")
        .and_then(|gone| gone.rsplit_once('/'));
    above.map_or(value, |(above, _)| above).to_owned()
}

/// The cgroup of a task in that of its tree; `None` where it is the tree's, which is called `tree`.
pub(super) fn below_the_tree(text: &str) -> Option<String> {
    let (_, below) = text.split_once("/tree/")?;
    Some(below.to_owned())
}

/// What of a process's memory a core dump would hold, unless it is the usual or there is no memory.
pub(super) fn dump_filter(text: &str) -> Option<String> {
    (!matches!(text, "" | "00000033")).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_below_that_of_the_tree_are_told() {
        let found = ["0::/tree", "0::/tree/a/b", "0::/user/tree/a", "0::/"].map(below_the_tree);
        let expected = [None, Some("a/b"), Some("a"), None];
        assert_eq!(found, expected.map(|it| it.map(str::to_owned)));
    }

    #[test]
    fn numbers_go_by_first_appearance_in_each_kind() {
        let mut canon = Canon::default();
        let found = ["25", "31", "25"].map(|id| mount(&mut canon, id));
        assert_eq!(found, ["#1", "#2", "#1"]);
        assert_eq!(device(&mut canon, "0:31"), "#1");
    }

    #[test]
    fn an_inode_is_the_same_wherever_it_shows() {
        let mut canon = Canon::default();
        assert_eq!(inode(&mut canon, "1a:77"), "#1");
        assert_eq!(inode(&mut canon, "00:1a:77"), "#1");
        assert_eq!(inode(&mut canon, "00:1a:78"), "#2");
        assert_eq!(inode(&mut canon, "00:00:0"), "none");
        assert_eq!(
            lock(&mut canon, "POSIX ADVISORY WRITE 2 00:1a:78 0 EOF"),
            "POSIX ADVISORY WRITE 2 #2 0 EOF"
        );
    }

    #[test]
    fn flags_have_names() {
        for (octal, names) in [
            ("0100000", "read"),
            ("02102001", "write append cloexec"),
            ("0304002", "read-write nonblock"),
            ("odd", "odd"),
        ] {
            assert_eq!(open_flags(octal), names);
        }
    }
}
