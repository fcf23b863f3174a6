//! Traces with files and lines: what a console says, and below each place in the code where that is.

use crate::kernel::symbols::{Frame, Place, Symbols};

/// Words that name where a processor was, and not where a call returns to.
const EXACT: [&str; 6] = ["RIP", "EIP", "NIP", "Krnl PSW", "WARNING", "PC is at"];

/// Frames of our own code that a verdict shows.
const SHOWN: usize = 6;

/// The places that a line names, `function+0x1c/0x40`.
pub(super) fn places(line: &str) -> impl Iterator<Item = Place<'_>> {
    let exact = EXACT.iter().any(|word| line.contains(word));
    let words = line.split(|c: char| c.is_whitespace() || "[]()<>,;:\"'".contains(c));
    words.filter_map(move |word| {
        let (function, rest) = word.split_once("+0x")?;
        let (offset, size) = rest.split_once("/0x")?;
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        (!function.is_empty()).then_some(Place {
            function,
            offset: hex(offset)?,
            size: hex(size)?,
            returns: !exact,
        })
    })
}

/// A console with the frames of each place below the line that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbolised {
    /// All lines; empty if no line names a place.
    pub text: String,
    /// The first frames that are in the checkpoint/restart source, `function at file:line`.
    pub ours: Vec<String>,
}

/// Add files and lines to a console.
pub fn symbolise(console: &str, symbols: &Symbols) -> Symbolised {
    with(console, symbols.has_lines(), |place| symbols.frames(place))
}

fn with(console: &str, lines: bool, frames: impl Fn(&Place<'_>) -> Vec<Frame>) -> Symbolised {
    let mut text = String::new();
    let mut ours: Vec<String> = Vec::new();
    let mut named = false;
    if !lines {
        text += "the kernel has no debug information: functions only; the flavor debug has files and lines\n";
    }
    for line in console.lines() {
        text += line.trim_end_matches('\r');
        text.push('\n');
        for place in places(line) {
            named = true;
            for (depth, frame) in frames(&place).iter().enumerate() {
                let by = if depth == 0 { "" } else { "inlined by " };
                if frame.file.is_some() {
                    text.extend(["\t\t", by, &frame.to_string(), "\n"]);
                }
                let shown = frame.to_string();
                if frame.is_ours() && ours.len() < SHOWN && !ours.contains(&shown) {
                    ours.push(shown);
                }
            }
        }
    }
    if !named {
        text.clear();
    }
    Symbolised { text, ours }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &[(&str, u64, u64, bool)]) {
        let found: Vec<_> = places(line)
            .map(|place| (place.function, place.offset, place.size, place.returns))
            .collect();
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn places_are_found_in_the_form_of_each_architecture() {
        check(
            "[    1.7]  ? panic+0xf8/0x286",
            &[("panic", 0xf8, 0x286, true)],
        );
        check(
            "RIP: 0010:mm_restore.isra.0+0x1c/0x40",
            &[("mm_restore.isra.0", 0x1c, 0x40, false)],
        );
        check(
            "[    0.6]  [<000003ffe01492e2>] panic+0x112/0x2f8 ",
            &[("panic", 0x112, 0x2f8, true)],
        );
        check(
            "[    0.6]  ([<000003ffe01492e2>] panic+0x112/0x2f8)",
            &[("panic", 0x112, 0x2f8, true)],
        );
        check(
            "Krnl PSW : 0704c00180000000 000003ffe0312f64 (sysrq_handle_crash+0x24/0x28)",
            &[("sysrq_handle_crash", 0x24, 0x28, false)],
        );
        check(
            "[c000000001067ac0] [c0000000000682f0] panic+0x144/0x3d0 (unreliable)",
            &[("panic", 0x144, 0x3d0, true)],
        );
        check(
            "NIP [c00000000028f95c] sysrq_handle_crash+0x20/0x24",
            &[("sysrq_handle_crash", 0x20, 0x24, false)],
        );
        check(
            "restart/88 holds &mm->mmap_lock, at: a+0x1/0x2, b+0x3/0x4",
            &[("a", 1, 2, true), ("b", 3, 4, true)],
        );
        for line in ["a+0x1", "+0x1/0x2", "1+0xz/0x2", "pc 0x1/0x2", "a +0x1/0x2"] {
            check(line, &[]);
        }
    }

    #[test]
    fn frames_stand_below_their_line_and_our_own_are_told() {
        let frame = |function: &str, file: &str| Frame {
            function: function.to_owned(),
            file: Some(file.to_owned()),
            line: Some(7),
        };
        let found = with("x\r\n a+0x1/0x2\n b+0x1/0x2\n", true, |place| {
            match place.function {
                "a" => vec![
                    frame("inner", "kernel/checkpoint/mm.c"),
                    frame("a", "arch/s390/kernel/checkpoint.c"),
                ],
                _ => vec![frame("b", "kernel/fork.c")],
            }
        });
        assert_eq!(
            found.text,
            "x\n a+0x1/0x2\n\t\tinner at kernel/checkpoint/mm.c:7\n\t\tinlined by a at arch/s390/kernel/checkpoint.c:7\n b+0x1/0x2\n\t\tb at kernel/fork.c:7\n"
        );
        assert_eq!(
            found.ours,
            [
                "inner at kernel/checkpoint/mm.c:7",
                "a at arch/s390/kernel/checkpoint.c:7"
            ]
        );
        assert_eq!(with("nothing\n", true, |_| Vec::new()).text, "");
    }
}
