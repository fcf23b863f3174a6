//! Huge pages for those who ask for them.

use std::path::Path;

use crate::error::Result;
use crate::usage::{read, write};

/// Says who gets huge pages.
const ENABLED: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// How much memory is kept free: more where there are huge pages, which a small guest cannot do without.
const KEPT_FREE: &str = "/proc/sys/vm/min_free_kbytes";

/// `madvise(2)` gives them; a kernel with less than 512 MiB sets out with none at all. Nothing in a kernel that has no huge pages.
pub(crate) fn prepare() -> Result<()> {
    if !Path::new(ENABLED).exists() {
        return Ok(());
    }
    let kept = read(KEPT_FREE)?;
    write(ENABLED, "madvise")?;
    write(KEPT_FREE, kept.trim())
}
