//! Memory of the kernel that nobody refers to, in kernels with kmemleak (Documentation/dev-tools/kmemleak.rst).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Context, Result};
use crate::mounts::{DEBUGFS, Debugfs};
use crate::usage;

/// `MSECS_MIN_AGE` of mm/kmemleak.c and a little: what is younger is not reported, its pointer may be in a register.
const MIN_AGE: Duration = Duration::from_millis(5100);

fn file() -> PathBuf {
    Path::new(DEBUGFS).join("kmemleak")
}

fn tell(command: &str) -> Result<()> {
    let path = file();
    fs::write(&path, command).context(|| format!("write {command} to {}", path.display()))
}

/// How many blocks the last scan has found no pointer to; of a patch of the debug flavor.
const SUSPECTS: &str = "/sys/module/kmemleak/parameters/suspects";

/// A first scan, which took a checksum of each block that nobody refers to: only one that is the same at the second is reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noted {
    since: Instant,
}

/// The first scan; `None` without kmemleak, and where it has found a pointer to every block: then there is nothing to be reported.
pub(crate) fn note() -> Result<Option<Noted>> {
    let _mounted = Debugfs::mount()?;
    if !file().exists() {
        return Ok(None);
    }
    let since = Instant::now();
    tell("scan")?;
    let suspects = usage::read(SUSPECTS)?;
    if suspects.trim() == "0" {
        return Ok(None);
    }
    crate::say(&format!(
        "kmemleak has found no pointer to {} blocks, and looks again",
        suspects.trim()
    ));
    Ok(Some(Noted { since }))
}

impl Noted {
    /// The second scan, as soon as all that was allocated before the first is old enough, and what it reports.
    pub(crate) fn reports(self) -> Result<Vec<String>> {
        let _mounted = Debugfs::mount()?;
        std::thread::sleep(MIN_AGE.saturating_sub(self.since.elapsed()));
        tell("scan")?;
        let path = file();
        let text = fs::read(&path).context(|| format!("read {}", path.display()))?;
        Ok(reports(&String::from_utf8_lossy(&text)))
    }
}

/// What the boot has left is in every clone and no trial's: the kernel says on the console how much it is.
///
/// Stacks are no reason to hold memory from here on: what lies on them is often old and hides a leak, and no thread of the kernel
/// sleeps for 5 s with the only pointer to a block. It is a third of a scan's time, too.
pub(crate) fn prepare() -> Result<()> {
    let _mounted = Debugfs::mount()?;
    if !file().exists() {
        return Ok(());
    }
    tell("stack=off")?;
    let reports = note()?.map_or(Ok(Vec::new()), Noted::reports)?;
    if reports.is_empty() {
        return Ok(());
    }
    for line in reports.iter().flat_map(|report| report.lines()) {
        crate::say(line);
    }
    tell("clear")
}

/// Each begins with `unreferenced object`, its further lines are indented.
fn reports(text: &str) -> Vec<String> {
    let mut reports: Vec<String> = Vec::new();
    for line in text.lines() {
        match reports.last_mut() {
            Some(report) if line.starts_with(' ') => {
                report.push('\n');
                report.push_str(line);
            }
            _ => reports.push(line.to_owned()),
        }
    }
    reports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_headline_and_what_is_indented() {
        let text = "unreferenced object 0xff (size 64):\n  comm \"restart\", pid 7\n    [<0>] f+0x1/0x2\nunreferenced object 0xfe (size 8):\n  comm\n";
        let found = reports(text);
        assert_eq!(found.len(), 2);
        assert!(
            found[0].ends_with("f+0x1/0x2") && found[1].starts_with("unreferenced object 0xfe")
        );
        assert!(reports("").is_empty());
    }
}
