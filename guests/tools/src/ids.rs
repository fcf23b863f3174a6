//! Who is who in a user namespace: the maps of `user_namespaces(7)`.

use std::fmt::Write as _;
use std::{fs, io};

/// A range of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first, as the namespace calls it.
    pub inside: u32,
    /// The same, as the caller calls it.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// Read a range from `INSIDE:OUTSIDE:COUNT`.
pub fn parse(text: &str) -> Result<Range, String> {
    let numbers: Result<Vec<u32>, _> = text.split(':').map(str::parse).collect();
    match numbers.as_deref() {
        Ok(&[inside, outside, count])
            if count > 0
                && inside.checked_add(count).is_some()
                && outside.checked_add(count).is_some() =>
        {
            Ok(Range {
                inside,
                outside,
                count,
            })
        }
        _ => Err("a range of ids is INSIDE:OUTSIDE:COUNT, such as 0:100000:65536".to_owned()),
    }
}

/// All users and groups of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMaps {
    /// Users, at least one range.
    pub users: Vec<Range>,
    /// Groups, at least one range.
    pub groups: Vec<Range>,
}

/// As the file has it.
fn lines(ranges: &[Range]) -> String {
    ranges.iter().fold(String::new(), |mut text, range| {
        let Range {
            inside,
            outside,
            count,
        } = range;
        let _ = writeln!(text, "{inside} {outside} {count}");
        text
    })
}

impl IdMaps {
    /// The user and the group with the least ids that are there: root if possible.
    fn least(&self) -> [Range; 2] {
        let none = Range {
            inside: 0,
            outside: 0,
            count: 1,
        };
        [&self.users, &self.groups].map(|ranges| {
            let least = ranges.iter().min_by_key(|range| range.inside);
            least.copied().unwrap_or(none)
        })
    }

    /// A user and a group that are there, as the namespace calls them.
    pub fn first(&self) -> (u32, u32) {
        let [user, group] = self.least();
        (user.inside, group.inside)
    }

    /// The same as the caller calls them.
    pub fn outside(&self) -> (u32, u32) {
        let [user, group] = self.least();
        (user.outside, group.outside)
    }

    /// Map the ids of the namespace that this child has made.
    pub fn write(&self, pid: i32) -> io::Result<()> {
        fs::write(format!("/proc/{pid}/uid_map"), lines(&self.users))?;
        fs::write(format!("/proc/{pid}/gid_map"), lines(&self.groups))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(u32, u32, u32)>) {
        let range = parse(text).ok();
        let found = range.map(|it| (it.inside, it.outside, it.count));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn ranges_are_read() {
        check("0:100000:65536", Some((0, 100_000, 65536)));
        check("5:0:1", Some((5, 0, 1)));
        check("0:0:0", None);
        check("1:4294967295:1", None);
        check("0:100000", None);
        check("0:1:2:3", None);
        check("a:1:2", None);
        check("", None);
    }

    #[test]
    fn maps_are_written_as_the_kernel_reads_them() {
        let range = |text| parse(text).unwrap();
        let maps = IdMaps {
            users: vec![range("1:100000:10"), range("0:1000:1")],
            groups: vec![range("7:8:9")],
        };
        assert_eq!((maps.first(), maps.outside()), ((0, 7), (1000, 8)));
        assert_eq!(lines(&maps.users), "1 100000 10\n0 1000 1\n");
    }
}
