//! The text of `/proc` files, taken apart.

/// One mapping of `/proc/PID/smaps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) perms: String,
    pub(crate) offset: u64,
    /// The inode; 0 for what is no file's.
    pub(crate) inode: u64,
    pub(crate) name: String,
    pub(crate) vm_flags: String,
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
    let _device = words.next()?;
    let inode = words.next()?.parse().ok()?;
    let name = words.next().unwrap_or_default().trim().to_owned();
    Some(Mapping {
        start,
        end,
        perms,
        offset,
        inode,
        name,
        vm_flags: String::new(),
    })
}

/// `/proc/PID/smaps`: mappings with their flags.
pub(crate) fn mappings(text: &str) -> Vec<Mapping> {
    let mut all: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            if let Some(last) = all.last_mut() {
                flags.trim().clone_into(&mut last.vm_flags);
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
            (all[0].name.as_str(), all[0].vm_flags.as_str()),
            ("/bin/a b (deleted)", "rd ex mr mw me")
        );
        assert_eq!(
            (
                all[1].name.as_str(),
                all[1].perms.as_str(),
                all[1].vm_flags.as_str()
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
}
