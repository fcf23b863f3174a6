//! Goldens that no case compares itself with any more.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::GoldenError;
use crate::arch::Arch;
use crate::scenario::{Case, Expect};

/// A golden, or a pending one, without a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The file.
    pub path: PathBuf,
    /// Its name: `FAMILY/SCENARIO[AXES]`, with `@ARCH` where it is one architecture's own.
    pub name: String,
    /// Why nothing compares itself with it.
    pub reason: String,
}

fn snaps(dir: &Path, found: &mut Vec<PathBuf>) -> Result<(), GoldenError> {
    let failed = |source| GoldenError {
        what: "list",
        path: dir.to_owned(),
        source,
    };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.to_string_lossy();
        if path.is_dir() {
            snaps(&path, found)?;
        } else if name.ends_with(".snap") || name.ends_with(".snap.new") {
            found.push(path);
        }
    }
    Ok(())
}

fn reason(name: &str, cases: &BTreeMap<&str, Vec<&Case>>) -> Option<String> {
    let (common, arch) = match name.rsplit_once('@') {
        Some((common, arch)) => (common, Some(arch)),
        None => (name, None),
    };
    let Some(cases) = cases.get(common) else {
        return Some("there is no such case".to_owned());
    };
    if cases
        .iter()
        .all(|case| !matches!(case.expect, Expect::Pass))
    {
        return Some("the case is one that is refused: it has no golden".to_owned());
    }
    match arch.map(|arch| (arch, Arch::from_str(arch))) {
        Some((arch, Err(_))) => Some(format!("{arch} is no architecture")),
        Some((arch, Ok(known))) if cases.iter().all(|case| case.arch != known) => {
            Some(format!("the case does not run on {arch}"))
        }
        _ => None,
    }
}

/// The goldens below a folder that none of these cases, which must be all there are, has.
pub fn orphans(dir: &Path, cases: &[Case]) -> Result<Vec<Orphan>, GoldenError> {
    let mut by_name: BTreeMap<&str, Vec<&Case>> = BTreeMap::new();
    for case in cases {
        by_name
            .entry(case.id.without_arch())
            .or_default()
            .push(case);
    }
    let mut paths = Vec::new();
    snaps(dir, &mut paths)?;
    paths.sort();
    let orphan = |path: PathBuf| {
        let relative = path.strip_prefix(dir).unwrap_or(&path).to_string_lossy();
        let name = relative
            .trim_end_matches(".new")
            .trim_end_matches(".snap")
            .to_owned();
        let reason = reason(&name, &by_name)?;
        Some(Orphan { path, name, reason })
    };
    Ok(paths.into_iter().filter_map(orphan).collect())
}
