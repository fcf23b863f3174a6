//! Huge pages for those who ask for them.

use std::fs;
use std::path::Path;

use crate::error::{Context, Result};

/// Says who gets huge pages.
const ENABLED: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// How much memory is kept free: more where there are huge pages, which a small guest cannot do without.
const KEPT_FREE: &str = "/proc/sys/vm/min_free_kbytes";

fn write(path: &str, text: &str) -> Result<()> {
    fs::write(path, text).context(|| format!("write {path}"))
}

/// `madvise(2)` gives them; a kernel with less than 512 MiB sets out with none at all. Nothing in a kernel that has no huge pages.
pub(crate) fn prepare() -> Result<()> {
    if !Path::new(ENABLED).exists() {
        return Ok(());
    }
    let kept = fs::read_to_string(KEPT_FREE).context(|| format!("read {KEPT_FREE}"))?;
    write(ENABLED, "madvise")?;
    write(KEPT_FREE, kept.trim())
}
