//! `image verify`: is it as `docs/image-format.md` says?

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use crossthaw_image::{Defect, Verified, VerifyError, verify};
use serde_json::json;

use super::open;
use crate::exit::{FAILED, OK};
use crate::output::{Format, quietly};

pub(super) fn run(file: &Path, format: Format) -> anyhow::Result<ExitCode> {
    let (name, from) = open(file)?;
    let found = match verify(from) {
        Ok(verified) => Ok(verified),
        Err(VerifyError::Defect(defect)) => Err(defect),
        Err(error) => return Err(anyhow::Error::new(error).context(format!("cannot read {name}"))),
    };
    let line = match format {
        Format::Text => text(&name, found.as_ref()),
        Format::Json => {
            json!({ "file": name, "valid": found.as_ref().ok(), "defect": found.as_ref().err() })
                .to_string()
        }
    };
    let mut out = io::stdout();
    quietly(writeln!(out, "{line}").map_err(Into::into))?;
    Ok(ExitCode::from(if found.is_ok() { OK } else { FAILED }))
}

fn text(name: &str, found: Result<&Verified, &Defect>) -> String {
    match found {
        Ok(it) => format!(
            "{name}: valid, {} tasks of {} in {} records and {} bytes",
            it.tasks,
            it.arch.name(),
            it.records,
            it.bytes
        ),
        Err(defect) => format!("{name}: {defect}"),
    }
}
