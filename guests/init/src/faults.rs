//! Allocations that fail, in kernels with fault injection (Documentation/fault-injection/fault-injection.rst).

use std::path::Path;

use crate::error::Result;
use crate::mounts::{DEBUGFS, Debugfs};
use crate::usage::write;

/// What is set so that a task can have any of its allocations fail: also those that may wait, of a single page, or of a user's memory; and nothing is printed.
const SETTINGS: &[(&str, &str)] = &[
    ("failslab/ignore-gfp-wait", "N"),
    ("failslab/verbose", "0"),
    ("fail_page_alloc/ignore-gfp-wait", "N"),
    ("fail_page_alloc/ignore-gfp-highmem", "N"),
    ("fail_page_alloc/min-order", "0"),
    ("fail_page_alloc/verbose", "0"),
];

/// No allocation fails before a task asks for it. Nothing in a kernel without fault injection.
pub(crate) fn prepare() -> Result<()> {
    let Some(_debugfs) = Debugfs::mount()? else {
        return Ok(());
    };
    for (name, value) in SETTINGS {
        let path = format!("{DEBUGFS}/{name}");
        if Path::new(&path).exists() {
            write(&path, value)?;
        }
    }
    Ok(())
}
