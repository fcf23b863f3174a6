//! The oracle **refusal**: what the tools, the kernel's log and the image say when a checkpoint or a restart is refused.
//!
//! The kernel's form (kernels/checkpoint/kernel/checkpoint/log.c) is one line:
//! `checkpoint: error 16 (EBUSY): pid 4: fd 7: flock held`; the tools begin with `checkpoint: refused: EBUSY (...)`.

use crossthaw_image::{Image, Record};

/// The step that refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `checkpoint(2)`.
    Checkpoint,
    /// `restart(2)`.
    Restart,
}

impl Step {
    /// Name of the tool and of the system call.
    pub fn name(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Restart => "restart",
        }
    }
}

/// What a tool left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolEnd {
    /// Its exit code.
    pub code: i32,
    /// Its standard error.
    pub stderr: String,
    /// The kernel's log.
    pub log: String,
}

impl ToolEnd {
    /// What it said, for messages.
    pub fn said(&self) -> String {
        let said = format!("{}\n{}", self.stderr.trim_end(), self.log.trim_end());
        // The tools repeat the log.
        let mut lines: Vec<&str> = Vec::new();
        for line in said.lines().filter(|line| !line.is_empty()) {
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        format!("exit code {}\n{}", self.code, lines.join("\n"))
    }
}

/// What is expected.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Who refuses.
    pub step: Step,
    /// The error's name; any if `None`.
    pub errno: Option<&'a str>,
    /// What a line of the log contains; any if `None`.
    pub log: Option<&'a str>,
}

/// A line of the kernel's log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line<'a> {
    errno: i32,
    /// The error's name, where the kernel knows names.
    name: Option<&'a str>,
    whole: &'a str,
}

fn parse_line(step: Step, line: &str) -> Option<Line<'_>> {
    let rest = line
        .strip_prefix(step.name())?
        .strip_prefix(": error ")?
        .split_once(": ")?
        .0;
    let (number, name) = match rest.split_once(" (") {
        Some((number, name)) => (number, Some(name.strip_suffix(')')?)),
        None => (rest, None),
    };
    let errno = number.parse().ok().filter(|&errno| errno > 0)?;
    Some(Line {
        errno,
        name,
        whole: line,
    })
}

/// The error's name, or `errno N`, from the tool's words.
fn told_errno(step: Step, stderr: &str) -> Option<&str> {
    let prefix = format!("{}: refused: ", step.name());
    let rest = stderr.lines().find_map(|line| line.strip_prefix(&prefix))?;
    rest.split_once(" (").map(|(name, _)| name)
}

/// The first line of the kernel's log, if the tool's end is a refusal of the kernel's as it should be.
fn kernel_line<'a>(expected: &Expected<'_>, end: &'a ToolEnd) -> Result<Line<'a>, String> {
    let step = expected.step;
    let name = step.name();
    if end.code == 0 {
        return Err(format!("{name} was not refused"));
    }
    if end.code != 1 {
        return Err(format!("{name} ended by itself: {}", end.said()));
    }
    let Some(errno) = told_errno(step, &end.stderr) else {
        return Err(format!(
            "{name} failed, and it was not the kernel that refused: {}",
            end.said()
        ));
    };
    let mut lines = Vec::new();
    for line in end.log.lines() {
        let parsed = parse_line(step, line).ok_or_else(|| {
            format!("a line of the kernel's log has not the form `{name}: error N (NAME): ...`: {line:?}")
        })?;
        lines.push(parsed);
    }
    let Some(first) = lines.first() else {
        return Err(format!(
            "{name} was refused with {errno}, but the kernel's log is empty"
        ));
    };
    let in_log = first
        .name
        .map_or_else(|| format!("errno {}", first.errno), str::to_owned);
    if in_log != errno && first.name.is_some() {
        return Err(format!(
            "{name} was refused with {errno}, but the log says {in_log}: {}",
            first.whole
        ));
    }
    if let Some(wanted) = expected.errno
        && errno != wanted
    {
        return Err(format!(
            "{name} was refused with {errno}, expected {wanted}: {}",
            end.said()
        ));
    }
    if let Some(wanted) = expected.log
        && !lines.iter().any(|line| line.whole.contains(wanted))
    {
        return Err(format!(
            "no line of the kernel's log contains {wanted:?}: {}",
            end.log.trim_end()
        ));
    }
    Ok(lines.swap_remove(0))
}

/// A checkpoint was refused as expected, and its image ends with an ERROR record that says the same.
pub fn judge_checkpoint(
    expected: &Expected<'_>,
    end: &ToolEnd,
    image: &[u8],
) -> Result<(), String> {
    let line = kernel_line(expected, end)?;
    let image = Image::read(image)
        .map_err(|error| format!("the image of a refused checkpoint cannot be read: {error}"))?;
    let Some(Record::Error(record)) = image.records.last().map(|located| &located.record) else {
        return Err(
            "the image of a refused checkpoint does not end with an ERROR record".to_owned(),
        );
    };
    let text = record.text.as_str();
    let text = text.trim_end();
    if record.head.error != line.errno || text != line.whole {
        return Err(format!(
            "the ERROR record says errno {} and {text:?}, the log {:?}",
            record.head.error, line.whole
        ));
    }
    let object = format!("object {}: ", record.head.objref);
    for (what, number, named) in [
        (
            "pid",
            record.head.pid,
            text.contains(&format!("pid {}: ", record.head.pid)),
        ),
        ("object", record.head.objref, text.contains(&object)),
    ] {
        if number != 0 && !named {
            return Err(format!(
                "the ERROR record is about {what} {number}, and the line does not say so: {text:?}"
            ));
        }
    }
    Ok(())
}

/// An allocation of the kernel failed: it says so. Its log may lack a line, which takes memory, too.
///
/// A task that fails before it has arrived for a restart is one that never came.
pub fn judge_no_memory(step: Step, end: &ToolEnd) -> Result<(), String> {
    /// Also what the kernel's own functions return for files in memory, signals and timers, pipes, and locks.
    const NO_MEMORY: [&str; 5] = ["ENOMEM", "ENOSPC", "EAGAIN", "ENFILE", "ENOLCK"];
    let errno = told_errno(step, &end.stderr);
    let never_came =
        step == Step::Restart && errno == Some("ESRCH") && end.log.contains("exited before");
    let no_memory = errno.is_some_and(|errno| NO_MEMORY.contains(&errno));
    if end.code == 1 && (no_memory || never_came) {
        return Ok(());
    }
    let name = step.name();
    Err(format!(
        "{name} should be refused with ENOMEM, or work without it: {}",
        end.said()
    ))
}

/// A checkpoint that somebody disturbed: it says why it could not go on.
pub fn judge_disturbed(end: &ToolEnd) -> Result<(), String> {
    /// Not frozen, not still, gone, or not to be traced any more.
    const DISTURBED: [&str; 4] = ["EBUSY", "EAGAIN", "ESRCH", "EPERM"];
    let told = told_errno(Step::Checkpoint, &end.stderr);
    let disturbed = told.is_some_and(|errno| DISTURBED.contains(&errno));
    if end.code == 1 && disturbed && !end.log.trim().is_empty() {
        return Ok(());
    }
    let errnos = DISTURBED.join(", ");
    Err(format!(
        "checkpoint should be refused with one of {errnos}, and say why, or be right: {}",
        end.said()
    ))
}

/// Who may refuse an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuser {
    /// The kernel, with a line in its log.
    Kernel,
    /// The kernel, or the tool, which reads the first two records itself.
    KernelOrTool,
    /// The tool, which says what is wrong.
    Tool,
}

/// How the tool says that it cannot make the tree that the first two records describe; any other trouble of its own is no refusal.
const BY_TOOL: [&str; 4] = [
    "restart: cannot fork pid ",
    "restart: cannot map the ids of the user namespace: ",
    "restart: cannot set up what the tree has of its own: ",
    "restart: the root of the image is pid ",
];

/// A restart was refused as expected.
pub fn judge_restart(
    expected: &Expected<'_>,
    refuser: Refuser,
    end: &ToolEnd,
) -> Result<(), String> {
    let by_tool = end.code == 1
        && end.log.trim().is_empty()
        && BY_TOOL.iter().any(|begin| end.stderr.starts_with(begin))
        && told_errno(Step::Restart, &end.stderr).is_none();
    match refuser {
        Refuser::KernelOrTool if by_tool => Ok(()),
        Refuser::Tool => {
            let wanted = expected.log.unwrap_or_default();
            if by_tool && end.stderr.contains(wanted) {
                Ok(())
            } else {
                let said = end.said();
                Err(format!("the tool was to refuse with {wanted:?}: {said}"))
            }
        }
        Refuser::KernelOrTool | Refuser::Kernel => kernel_line(expected, end).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(code: i32, stderr: &str, log: &str) -> ToolEnd {
        ToolEnd {
            code,
            stderr: stderr.to_owned(),
            log: log.to_owned(),
        }
    }

    const LOG: &str = "checkpoint: error 16 (EBUSY): pid 4: fd 7: flock held\n";
    const ERR: &str = "checkpoint: refused: EBUSY (Device or resource busy)\ncheckpoint: error 16 (EBUSY): pid 4: fd 7: flock held\n  unlock it\n";

    #[track_caller]
    fn check(errno: Option<&str>, log: Option<&str>, end: &ToolEnd, wrong: Option<&str>) {
        let expected = Expected {
            step: Step::Checkpoint,
            errno,
            log,
        };
        let found = kernel_line(&expected, end).map(drop);
        match (&found, wrong) {
            (Ok(()), None) => {}
            (Err(message), Some(part)) => assert!(message.contains(part), "{message}"),
            _ => panic!("{found:?}, expected {wrong:?}"),
        }
    }

    #[test]
    fn the_errno_and_the_log_are_as_expected() {
        check(Some("EBUSY"), Some("flock"), &end(1, ERR, LOG), None);
        check(None, None, &end(1, ERR, LOG), None);
        let nameless = "checkpoint: error 16: pid 4: fd 7: flock held\n";
        check(Some("EBUSY"), Some("flock"), &end(1, ERR, nameless), None);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let busy = Some("EBUSY");
        check(busy, None, &end(0, "", ""), Some("was not refused"));
        check(busy, None, &end(139, "", ""), Some("ended by itself"));
        let message = "checkpoint: cannot create /images/x: ENOSPC (No space left)\n";
        check(
            busy,
            None,
            &end(1, message, ""),
            Some("not the kernel that refused"),
        );
        check(busy, None, &end(1, ERR, ""), Some("log is empty"));
        check(busy, None, &end(1, ERR, "odd\n"), Some("has not the form"));
        check(
            Some("EPERM"),
            None,
            &end(1, ERR, LOG),
            Some("expected EPERM"),
        );
        let other = "checkpoint: error 1 (EPERM): x\n";
        check(
            busy,
            None,
            &end(1, ERR, other),
            Some("but the log says EPERM"),
        );
        check(
            busy,
            Some("socket"),
            &end(1, ERR, LOG),
            Some("contains \"socket\""),
        );
    }

    #[test]
    fn the_tool_may_refuse_only_what_it_reads_itself() {
        let expected = Expected {
            step: Step::Restart,
            errno: None,
            log: None,
        };
        let by_tool = end(1, "restart: cannot fork pid 70000: EINVAL (x)\n", "");
        assert_eq!(
            judge_restart(&expected, Refuser::KernelOrTool, &by_tool),
            Ok(())
        );
        assert!(judge_restart(&expected, Refuser::Kernel, &by_tool).is_err());
        let by_kernel = end(
            1,
            "restart: refused: EINVAL (Invalid argument)\n",
            "restart: error 22 (EINVAL): record VMA at 66104: pid 1: x\n",
        );
        for refuser in [Refuser::Kernel, Refuser::KernelOrTool] {
            assert_eq!(judge_restart(&expected, refuser, &by_kernel), Ok(()));
        }
        let expected = Expected {
            log: Some("70000"),
            ..expected
        };
        assert_eq!(judge_restart(&expected, Refuser::Tool, &by_tool), Ok(()));
        assert!(judge_restart(&expected, Refuser::Tool, &by_kernel).is_err());
        let silent = end(1, "restart: refused: EINVAL (Invalid argument)\n", "");
        assert!(judge_restart(&expected, Refuser::KernelOrTool, &silent).is_err());
    }

    /// An image of two records: a header and an ERROR with this number and text.
    fn refused_image(errno: u32, text: &str) -> Vec<u8> {
        let mut header = Vec::new();
        header.extend(*b"crthaw\r\n");
        for word in [0x0102_0304u32, 1, 2, 8, 4096, 1, 3, 0] {
            header.extend(word.to_le_bytes());
        }
        header.resize(header.len() + 16 + 3 * 64, 0);
        let mut error = Vec::new();
        for word in [errno, 4, 0, u32::try_from(text.len() + 1).unwrap()] {
            error.extend(word.to_le_bytes());
        }
        error.extend(text.as_bytes());
        error.push(0);
        error.resize(error.len().next_multiple_of(8), 0);
        let mut image = Vec::new();
        for (kind, payload) in [(1u32, header), (20, error)] {
            image.extend(kind.to_le_bytes());
            image.extend(u32::try_from(payload.len() + 8).unwrap().to_le_bytes());
            image.extend(payload);
        }
        image
    }

    #[test]
    fn the_image_says_the_same_as_the_log() {
        let expected = Expected {
            step: Step::Checkpoint,
            errno: Some("EBUSY"),
            log: None,
        };
        let nameless = "checkpoint: error 16 (EBUSY): fd 7: flock held";
        let told = format!("checkpoint: refused: EBUSY (x)\n{nameless}\n");
        let found = judge_checkpoint(
            &expected,
            &end(1, &told, &format!("{nameless}\n")),
            &refused_image(16, nameless),
        );
        assert!(found.unwrap_err().contains("about pid 4"));
        let end = end(1, ERR, LOG);
        let judge = |image: &[u8]| judge_checkpoint(&expected, &end, image);
        assert_eq!(judge(&refused_image(16, LOG.trim_end())), Ok(()));
        for image in [
            refused_image(1, LOG.trim_end()),
            refused_image(16, "something else"),
            Vec::new(),
        ] {
            assert!(judge(&image).is_err());
        }
    }
}
