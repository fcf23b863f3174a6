//! The text of `/proc` files, taken apart.

use crossthaw_protocol::Fields;

/// One mapping of `/proc/PID/smaps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) perms: String,
    pub(crate) offset: u64,
    /// The device of the file.
    pub(crate) device: String,
    /// The inode; 0 for what is no file's.
    pub(crate) inode: u64,
    pub(crate) name: String,
    /// Further lines that are no counters.
    pub(crate) details: Fields,
}

/// Names of the fields of `/proc/PID/stat` behind the command, proc(5).
const STAT: [&str; 50] = [
    "state",
    "ppid",
    "pgrp",
    "session",
    "tty_nr",
    "tpgid",
    "flags",
    "minflt",
    "cminflt",
    "majflt",
    "cmajflt",
    "utime",
    "stime",
    "cutime",
    "cstime",
    "priority",
    "nice",
    "num_threads",
    "itrealvalue",
    "starttime",
    "vsize",
    "rss",
    "rsslim",
    "startcode",
    "endcode",
    "startstack",
    "kstkesp",
    "kstkeip",
    "signal",
    "blocked",
    "sigignore",
    "sigcatch",
    "wchan",
    "nswap",
    "cnswap",
    "exit_signal",
    "processor",
    "rt_priority",
    "policy",
    "delayacct_blkio_ticks",
    "guest_time",
    "cguest_time",
    "start_data",
    "end_data",
    "start_brk",
    "arg_start",
    "arg_end",
    "env_start",
    "env_end",
    "exit_code",
];

/// `/proc/PID/stat`; what a later kernel adds is called `field N`.
pub(crate) fn stat(text: &str) -> Fields {
    // The command may hold blanks and parentheses.
    let tail = text.rsplit_once(')').map_or("", |(_, tail)| tail);
    let name = |at: usize| {
        let known = STAT.get(at).map(|&name| name.to_owned());
        known.unwrap_or_else(|| format!("field {}", at + 3))
    };
    let values = tail.split_whitespace().enumerate();
    values
        .map(|(at, value)| (name(at), value.to_owned()))
        .collect()
}

/// Bytes as hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The words of a line, named by the head of its table.
pub(crate) fn columns(names: &str, line: &str) -> Fields {
    let names = names.split_whitespace();
    let values = line.split_whitespace();
    names
        .zip(values)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// `/proc/PID/timers`: one list of fields a timer, each beginning with its `ID`.
pub(crate) fn timers(text: &str) -> Vec<Fields> {
    let mut all: Vec<Fields> = Vec::new();
    for (name, value) in fields(text) {
        if name == "ID" {
            all.push(Vec::new());
        }
        if let Some(last) = all.last_mut() {
            last.push((name, value));
        }
    }
    all
}

/// `name: value` lines.
pub(crate) fn fields(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        line.split_once(':')
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// Numbers separated by blanks; `None` if one is none.
pub(crate) fn numbers(text: &str) -> Option<Vec<i32>> {
    text.split_whitespace()
        .map(|word| word.parse().ok())
        .collect()
}

/// Arguments, each ended by a zero byte.
pub(crate) fn arguments(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    text.strip_suffix('\0')
        .unwrap_or(text)
        .split('\0')
        .map(str::to_owned)
        .collect()
}

/// `/proc/PID/limits`: columns of 25, 20, 20 and 10 characters, each followed by a blank.
pub(crate) fn limits(text: &str) -> Vec<(String, String, String)> {
    let column = |line: &str, from: usize, len: usize| {
        line.get(from..line.len().min(from + len))
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    text.lines()
        .skip(1)
        .map(|line| {
            (
                column(line, 0, 25),
                column(line, 26, 20),
                column(line, 47, 20),
            )
        })
        .collect()
}

/// Key and value pairs in words of this machine, up to `AT_NULL`.
pub(crate) fn auxv(bytes: &[u8]) -> Vec<(u64, u64)> {
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, usize::from_ne_bytes) as u64;
    let pairs = bytes
        .chunks_exact(2 * size_of::<usize>())
        .map(|pair| pair.split_at(size_of::<usize>()));
    pairs
        .map(|(key, value)| (word(key), word(value)))
        .take_while(|&(key, _)| key != 0)
        .collect()
}

/// A line `start-end perms offset dev inode name`.
fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let (start, end) = (
        u64::from_str_radix(start, 16).ok()?,
        u64::from_str_radix(end, 16).ok()?,
    );
    let perms = words.next()?.to_owned();
    let offset = u64::from_str_radix(words.next()?, 16).ok()?;
    let device = words.next()?.to_owned();
    let inode = words.next()?.parse().ok()?;
    let name = words.next().unwrap_or_default().trim().to_owned();
    Some(Mapping {
        start,
        end,
        perms,
        offset,
        device,
        inode,
        name,
        details: Vec::new(),
    })
}

/// Lines of `/proc/PID/smaps` that count what is in memory at the moment, which a read changes.
///
/// `Size` is the range itself; `PAGEMAP_SCAN` counts the pages that are the task's own.
const COUNTERS: [&str; 19] = [
    "Size",
    "Rss",
    "Pss",
    "Pss_Dirty",
    "Shared_Clean",
    "Shared_Dirty",
    "Private_Clean",
    "Private_Dirty",
    "Referenced",
    "Anonymous",
    "KSM",
    "LazyFree",
    "AnonHugePages",
    "ShmemPmdMapped",
    "FilePmdMapped",
    "Shared_Hugetlb",
    "Private_Hugetlb",
    "Swap",
    "SwapPss",
];

/// `/proc/PID/smaps`: mappings with what is said of each but for counters.
pub(crate) fn mappings(text: &str) -> Vec<Mapping> {
    let mut all: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        // A range has a dash before any colon, and lower-case digits; a field begins with a capital letter.
        let is_field = line.starts_with(|first: char| first.is_ascii_uppercase());
        if let Some((name, value)) = line.split_once(':').filter(|_| is_field) {
            if let Some(last) = all.last_mut().filter(|_| !COUNTERS.contains(&name)) {
                last.details
                    .push((name.to_owned(), value.trim().to_owned()));
            }
        } else if let Some(mapping) = mapping(line) {
            all.push(mapping);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_by_column() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max cpu time              unlimited            unlimited            seconds   \n\
                    Max open files            1024                 4096                 files     \n\
                    Max nice priority         0                    0                    \n";
        let expected = [
            ("Max cpu time", "unlimited", "unlimited"),
            ("Max open files", "1024", "4096"),
            ("Max nice priority", "0", "0"),
        ];
        let expected: Vec<_> = expected
            .map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()))
            .into();
        assert_eq!(limits(text), expected);
    }

    #[test]
    fn mappings_carry_their_flags_and_odd_names() {
        let text = "00400000-00401000 r-xp 00001000 00:01 77                       /bin/a b (deleted)\n\
                    Size:                  4 kB\n\
                    VmFlags: rd ex mr mw me \n\
                    7fff0000-7fff2000 rw-p 00000000 00:00 0 \n\
                    Rss:                   4 kB\n\
                    VmFlags: rd wr mr mw me ac \n";
        let all = mappings(text);
        assert_eq!(all.len(), 2);
        assert_eq!(
            (all[0].start, all[0].end, all[0].offset, all[0].inode),
            (0x40_0000, 0x40_1000, 0x1000, 77)
        );
        assert_eq!(
            (all[0].name.as_str(), &all[0].details[..]),
            (
                "/bin/a b (deleted)",
                &[("VmFlags".into(), "rd ex mr mw me".into())][..]
            )
        );
        assert_eq!(
            (
                all[1].name.as_str(),
                all[1].perms.as_str(),
                all[1].details[0].1.as_str()
            ),
            ("", "rw-p", "rd wr mr mw me ac")
        );
    }

    #[test]
    fn arguments_may_be_empty_and_lack_the_last_zero() {
        assert!(arguments("").is_empty());
        assert_eq!(arguments("a\0\0b\0"), ["a", "", "b"]);
        assert_eq!(arguments("title"), ["title"]);
    }

    #[test]
    fn auxv_ends_at_its_null_entry() {
        let words: Vec<u8> = [6usize, 4096, 0, 0, 9, 9]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        assert_eq!(auxv(&words), [(6, 4096)]);
        assert!(auxv(&words[..5]).is_empty());
    }

    #[test]
    fn fields_and_numbers() {
        assert_eq!(
            fields("pos:\t0\nflags:\t0100002\nodd line\n"),
            [
                ("pos".into(), "0".into()),
                ("flags".into(), "0100002".into())
            ]
        );
        assert_eq!(numbers("12\t1"), Some(vec![12, 1]));
        assert_eq!(numbers("12 x"), None);
    }

    #[test]
    fn stat_has_names_whatever_the_command_is_called() {
        let text = "7 (a) b (c)) S 2 0 0 34816 -1 4194560 1 2 3 4 5 6 7 8 20 -5 1 0 99";
        let fields = stat(text);
        let find = |name: &str| {
            fields
                .iter()
                .find(|field| field.0 == name)
                .unwrap()
                .1
                .as_str()
        };
        assert_eq!(
            (find("state"), find("ppid"), find("nice"), find("starttime")),
            ("S", "2", "-5", "99")
        );
        let many = format!("1 (x){}", " 0".repeat(51));
        assert_eq!(stat(&many)[49].0, "exit_code");
        assert_eq!(stat(&many)[50].0, "field 53");
    }

    #[test]
    fn timers_begin_with_their_id() {
        let text = "ID: 1\nsignal: 60/00007fff86e452a8\nnotify: signal/pid.2634\nClockID: 0\nID: 0\nsignal: 1/0\n";
        let all = timers(text);
        assert_eq!((all.len(), all[0].len(), all[1].len()), (2, 4, 2));
        assert_eq!(all[0][2], ("notify".into(), "signal/pid.2634".into()));
    }

    #[test]
    fn columns_are_named_by_the_head_of_the_table() {
        let fields = columns("Num RefCount  Path", "001: 2");
        assert_eq!(
            fields,
            [
                ("Num".into(), "001:".into()),
                ("RefCount".into(), "2".into())
            ]
        );
        assert_eq!(hex(&[0, 0xab]), "00ab");
    }
}
