//! Memory of the kernel that nobody refers to, in kernels with kmemleak (Documentation/dev-tools/kmemleak.rst).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Context, Result};
use crate::mounts::{DEBUGFS, Debugfs};

/// `MSECS_MIN_AGE` of mm/kmemleak.c and a little: what is younger is not reported, its pointer may be in a register.
const MIN_AGE: Duration = Duration::from_millis(5100);

fn file() -> PathBuf {
    Path::new(DEBUGFS).join("kmemleak")
}

fn tell(command: &str) -> Result<()> {
    let path = file();
    fs::write(&path, command).context(|| format!("write {command} to {}", path.display()))
}

/// The reports of blocks that are old enough; `None` without kmemleak.
///
/// Two scans: the first takes a checksum of each block, and only one that is the same at the second is reported.
pub(crate) fn scan() -> Result<Option<Vec<String>>> {
    let _mounted = Debugfs::mount()?;
    scan_mounted()
}

fn scan_mounted() -> Result<Option<Vec<String>>> {
    let path = file();
    if !path.exists() {
        return Ok(None);
    }
    tell("scan")?;
    std::thread::sleep(MIN_AGE);
    tell("scan")?;
    let text = fs::read(&path).context(|| format!("read {}", path.display()))?;
    Ok(Some(reports(&String::from_utf8_lossy(&text))))
}

/// What the boot has left is in every clone and no trial's: the kernel says on the console how much it is.
pub(crate) fn forget_boot() -> Result<()> {
    let _mounted = Debugfs::mount()?;
    match scan_mounted()? {
        Some(reports) if !reports.is_empty() => {
            for line in reports.iter().flat_map(|report| report.lines()) {
                crate::say(line);
            }
            tell("clear")
        }
        _ => Ok(()),
    }
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
