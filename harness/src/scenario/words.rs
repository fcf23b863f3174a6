//! The small words of scenario files: names, times, errors, and which known word an unknown one is nearest to.

use std::time::Duration;

/// Names of error numbers, as <asm-generic/errno-base.h> and <asm-generic/errno.h> have them; aliases are left out.
const ERRNOS: &str = "EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST \
    EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE EDEADLK \
    ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG EUNATCH ENOCSI EL2HLT EBADE EBADR \
    EXFULL ENOANO EBADRQC EBADSLT EBFONT ENOSTR ENODATA ETIME ENOSR ENONET ENOPKG EREMOTE ENOLINK EADV ESRMNT ECOMM EPROTO EMULTIHOP \
    EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC ELIBBAD ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS ENOTSOCK \
    EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE \
    EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETOOMANYREFS ETIMEDOUT \
    ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL EISNAM EREMOTEIO EDQUOT ENOMEDIUM \
    EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD ENOTRECOVERABLE ERFKILL EHWPOISON";

/// Names of the signals 1 to 31, without `SIG`; the four architectures number them alike (<asm-generic/signal.h> and theirs).
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The names of the signals.
pub(super) fn signals() -> impl Iterator<Item = &'static str> + Clone {
    SIGNALS.into_iter()
}

/// `TERM`, `SIGTERM` or `15`; real-time signals only by number.
pub(super) fn signal(text: &str) -> Option<i32> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let number = match SIGNALS.iter().position(|known| *known == name) {
        Some(place) => i32::try_from(place + 1).ok()?,
        None => text.parse().ok()?,
    };
    (1..=64).contains(&number).then_some(number)
}

/// `-1`, `4096` or `0x1000`, of at most 64 bits.
pub(super) fn number(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let magnitude = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => digits.parse::<u64>().ok(),
    };
    let magnitude = i128::from(magnitude.filter(|_| !digits.contains('+'))?);
    Some(if negative { -magnitude } else { magnitude })
}

/// `0644` or `644`, in octal.
pub(super) fn mode(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| digits)?;
    (mode <= 0o7777).then_some(mode)
}

/// `UID`, which is also the group, or `UID:GID`.
pub(super) fn owner(text: &str) -> Option<(u32, u32)> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // The last one means "leave it as it is".
        let number = text.parse().ok().filter(|number| *number != u32::MAX);
        number.filter(|_| digits)
    };
    match text.split_once(':') {
        Some((uid, gid)) => Some((number(uid)?, number(gid)?)),
        None => number(text).map(|id| (id, id)),
    }
}

/// `LD_LIBRARY_PATH`
pub(super) fn is_environment(text: &str) -> bool {
    !text.is_empty() && !text.contains(['=', '\0'])
}

/// The name of every error number.
pub(super) fn errnos() -> impl Iterator<Item = &'static str> + Clone {
    ERRNOS.split_ascii_whitespace()
}

/// `500ms`, `20s` or `2m`; more than nothing and at most an hour.
pub(super) fn time(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return None,
    };
    let time = Duration::from_millis(number.checked_mul(milliseconds)?);
    (!time.is_zero() && time <= Duration::from_secs(3600)).then_some(time)
}

/// A word of these characters that begins with a letter.
fn word(text: &str, first: impl Fn(char) -> bool, others: impl Fn(char) -> bool) -> bool {
    text.starts_with(first) && text.chars().all(others)
}

/// `three-levels`
pub(super) fn is_scenario(text: &str) -> bool {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    word(text, lower, |c| lower(c) || c == '-')
}

/// `process_tree`, also the name of an axis.
pub(super) fn is_snake(text: &str) -> bool {
    word(
        text,
        |c| c.is_ascii_lowercase(),
        |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_',
    )
}

/// What can be chosen on an axis: no character of it has a meaning in an id, a path, a glob or a shell.
pub(super) fn is_value(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric();
    word(text, plain, |c| {
        plain(c) || matches!(c, '_' | '-' | '.' | '+')
    })
}

/// `CONFIG_UNIX`
pub(super) fn is_symbol(text: &str) -> bool {
    text.strip_prefix("CONFIG_").is_some_and(|name| {
        let plain = |c: char| c.is_ascii_alphanumeric();
        word(name, plain, |c| plain(c) || c == '_')
    })
}

/// How alike two words are, from 0 to 1.
pub(super) fn likeness(one: &str, other: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(one, other).max(strsim::jaro_winkler(one, other) - 0.15)
}

/// The known words that are most like this one, best first, at most `count`.
pub fn nearest<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
    count: usize,
) -> Vec<&'a str> {
    // Of `family/scenario` somebody may have said the latter alone.
    let last = |candidate: &'a str| candidate.rsplit('/').next().unwrap_or(candidate);
    let rate = |candidate: &'a str| likeness(word, candidate).max(likeness(word, last(candidate)));
    let mut rated: Vec<_> = known
        .into_iter()
        .map(|candidate| (rate(candidate), candidate))
        .filter(|(rating, _)| *rating >= 0.5)
        .collect();
    rated.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    rated.dedup_by_key(|(_, candidate)| *candidate);
    rated.truncate(count);
    rated.into_iter().map(|(_, candidate)| candidate).collect()
}

/// `; the nearest is WORD`, or the whole choice if nothing is near.
pub(super) fn remedy<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
    all: &str,
) -> String {
    match nearest(word, known.clone(), 1)[..] {
        [candidate] => format!("; the nearest is {candidate}"),
        _ if all.is_empty() => String::new(),
        _ => format!(
            "; {all} {}",
            known.into_iter().collect::<Vec<_>>().join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_an_end() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("20s", 20_000),
            ("2m", 120_000),
            ("60m", 3_600_000),
        ] {
            assert_eq!(time(text), Some(Duration::from_millis(milliseconds)));
        }
        for text in [
            "20",
            "s",
            "",
            "0s",
            "-1s",
            "1.5s",
            "20 s",
            "1h",
            "61m",
            "99999999999999999999s",
            "18446744073709551615m",
        ] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn names_are_safe_in_paths_and_ids() {
        assert!(is_scenario("three-levels") && is_scenario("2-levels"));
        assert!(
            ["", "-a", "a_b", "A", "a/b", "a b"]
                .iter()
                .all(|name| !is_scenario(name))
        );
        assert!(is_snake("process_tree") && !is_snake("process-tree") && !is_snake("_x"));
        assert!(is_value("1.5") && is_value("clock_nanosleep") && is_value("4096"));
        assert!(
            ["", "a,b", "a=b", "a]", "a/b", "*", "..", "-x"]
                .iter()
                .all(|value| !is_value(value))
        );
        assert!(is_symbol("CONFIG_UNIX") && is_symbol("CONFIG_64BIT"));
        assert!(!is_symbol("UNIX") && !is_symbol("CONFIG_") && !is_symbol("CONFIG_A=y"));
    }

    #[test]
    fn signals_modes_and_owners_are_read() {
        assert_eq!(
            ["TERM", "SIGUSR1", "9", "34"].map(signal),
            [15, 10, 9, 34].map(Some)
        );
        assert_eq!(["term", "0", "65", "SIG", ""].map(signal), [None; 5]);
        assert_eq!(
            ["0644", "755", "4755"].map(mode),
            [0o644, 0o755, 0o4755].map(Some)
        );
        assert_eq!(["", "9", "10000", "+644", "rw"].map(mode), [None; 5]);
        assert_eq!(["7", "1:2"].map(owner), [Some((7, 7)), Some((1, 2))]);
        assert_eq!(
            ["", "a", "1:", ":1", "-1", "4294967295"].map(owner),
            [None; 6]
        );
    }

    #[test]
    fn near_words_are_found() {
        let known = [
            "memory::holes",
            "memory::heap",
            "files::dup",
            "simple::counter",
        ];
        assert_eq!(nearest("memory::hole", known, 1), ["memory::holes"]);
        assert_eq!(nearest("simple::countre", known, 1), ["simple::counter"]);
        assert!(nearest("zzz", known, 1).is_empty());
        let known = ["mounts/over", "simple/counter"];
        assert_eq!(nearest("counter", known, 1), ["simple/counter"]);
        assert_eq!(
            remedy("timeot", ["timeout", "about"], "there are"),
            "; the nearest is timeout"
        );
        assert_eq!(remedy("zzz", ["a", "b"], "there are"), "; there are a, b");
        assert!(errnos().any(|name| name == "EBUSY") && errnos().count() > 120);
    }
}
