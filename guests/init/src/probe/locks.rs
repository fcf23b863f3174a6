//! Locks on files: those that tasks of the tree hold or wait for, and those on files that they have open.

use std::collections::BTreeSet;
use std::fs;

use crossthaw_protocol::Object;

use super::translation::Translation;
use crate::error::{Context, Result};

fn lock(line: &str, translation: &Translation, files: &BTreeSet<String>) -> Option<Object> {
    let words = translation.lock(line);
    let waits = words.first()? == "waits";
    let [kind, mode, access, pid, file, start, end] = &words[usize::from(waits)..] else {
        return None;
    };
    if pid == "0" && !files.contains(file) {
        return None;
    }
    let fields = [
        ("kind", kind.as_str()),
        ("mode", mode),
        ("access", access),
        ("pid", pid),
        ("file", file),
        ("range", &format!("{start} {end}")),
        ("state", if waits { "waits" } else { "held" }),
    ];
    Some(Object {
        kind: "lock".to_owned(),
        name: String::new(),
        fields: fields
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    })
}

/// The locks of `/proc/locks` that concern the tree; `files` are those that it has open, as the kernel names them there.
pub(super) fn probe(translation: &Translation, files: &BTreeSet<String>) -> Result<Vec<Object>> {
    let path = "/proc/locks";
    let text = match fs::read_to_string(path) {
        // A kernel without file locking.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.context(|| format!("read {path}"))?,
    };
    let found = text
        .lines()
        .filter_map(|line| lock(line, translation, files));
    let mut found: Vec<_> = found.collect();
    // The kernel keeps a list for each processor.
    found.sort_by(|a, b| a.fields.cmp(&b.fields));
    Ok((0..)
        .zip(found)
        .map(|(place, lock): (u32, _)| Object {
            name: place.to_string(),
            ..lock
        })
        .collect())
}

/// A file as `/proc/locks` names it: major and minor number of its device in hex digits, inode.
pub(super) fn file(dev: u64, ino: u64) -> String {
    format!(
        "{:02x}:{:02x}:{ino}",
        libc::major(dev as _),
        libc::minor(dev as _)
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn locks_of_others_on_other_files_are_left_out() {
        let translation = Translation {
            level: 0,
            pids: BTreeMap::from([(12, 2)]),
        };
        let files = BTreeSet::from([file(0x1a, 77)]);
        let find = |line: &str| {
            let found = lock(line, &translation, &files)?;
            Some(
                found
                    .fields
                    .into_iter()
                    .map(|field| field.1)
                    .collect::<Vec<_>>()
                    .join(" "),
            )
        };
        let held = find("1: POSIX  ADVISORY  WRITE 12 00:1b:5 0 EOF");
        assert_eq!(
            held.as_deref(),
            Some("POSIX ADVISORY WRITE 2 00:1b:5 0 EOF held")
        );
        let waits = find("1: -> FLOCK  ADVISORY  READ 90 00:1a:77 0 EOF");
        assert_eq!(
            waits.as_deref(),
            Some("FLOCK ADVISORY READ 0 00:1a:77 0 EOF waits")
        );
        assert_eq!(find("1: POSIX  ADVISORY  WRITE 90 00:1b:5 0 EOF"), None);
    }
}
