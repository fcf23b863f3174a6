//! What a run found, in its own folder: one line a case, so that an artifact of CI is enough to review it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::GoldenError;
use crate::arch::Arch;

/// Its name in the run's folder.
pub const RECORD: &str = "goldens.jsonl";

/// What was found of one case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// `FAMILY/SCENARIO[AXES]`.
    pub name: String,
    /// On which architecture.
    pub arch: Arch,
    /// Its state; `None` where it was the golden.
    pub state: Option<String>,
}

/// Add a line.
pub(super) fn append(
    path: &Path,
    name: &str,
    arch: Arch,
    state: Option<&str>,
) -> Result<(), GoldenError> {
    let failed = |source| GoldenError {
        what: "write",
        path: path.to_owned(),
        source,
    };
    let line = Found {
        name: name.to_owned(),
        arch,
        state: state.map(str::to_owned),
    };
    let mut text = serde_json::to_string(&line).map_err(|error| failed(error.into()))?;
    text.push('\n');
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

/// What the run in this folder found, in its order.
pub fn recorded(run: &Path) -> Result<Vec<Found>, GoldenError> {
    let path = run.join(RECORD);
    let failed = |source| GoldenError {
        what: "read",
        path: path.clone(),
        source,
    };
    let text = fs::read_to_string(&path).map_err(failed)?;
    let found = |line: &str| {
        let found: Found = serde_json::from_str(line)?;
        let name = &found.name;
        // It becomes part of a path.
        let parts = name.split('/');
        if parts.clone().count() != 2
            || parts
                .into_iter()
                .any(|part| part.is_empty() || part.starts_with('.'))
        {
            return Err(std::io::Error::other(format!(
                "{name:?} is no FAMILY/SCENARIO"
            )));
        }
        Ok(found)
    };
    text.lines()
        .map(found)
        .collect::<Result<_, _>>()
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_leads_elsewhere_is_refused() {
        let run = tempfile::tempdir().unwrap();
        for name in ["../x", "a/../../x", "/a/b", "a"] {
            let line = format!("{{\"name\":{name:?},\"arch\":\"s390x\",\"state\":\"x\"}}\n");
            fs::write(run.path().join(RECORD), line).unwrap();
            assert!(recorded(run.path()).is_err(), "{name}");
        }
        let line = "{\"name\":\"a/b\",\"arch\":\"vax\"}\n";
        fs::write(run.path().join(RECORD), line).unwrap();
        assert!(recorded(run.path()).is_err());
    }
}
