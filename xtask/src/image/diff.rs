//! `image diff`: in which fields do two images differ?

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crossthaw_image::{Difference, Image, ImageError, compare};

use super::open;
use crate::exit::{Exit, FAILED, OK};
use crate::output::{Format, quietly};

pub(super) fn run(
    before: &Path,
    after: &Path,
    passed: Option<Duration>,
    all: bool,
    format: Format,
) -> anyhow::Result<ExitCode> {
    if before == Path::new("-") && after == Path::new("-") {
        return Err(Exit::usage("only one of the images can come from standard input").into());
    }
    let differences = compare(&read(before)?, &read(after)?, passed);
    let failed = differences.iter().any(|it| it.volatile.is_none());
    let shown = differences.iter().filter(|it| all || it.volatile.is_none());
    quietly(write(
        shown,
        format,
        &mut io::BufWriter::new(io::stdout().lock()),
    ))?;
    Ok(ExitCode::from(if failed { FAILED } else { OK }))
}

fn read(file: &Path) -> anyhow::Result<Image> {
    let (name, from) = open(file)?;
    Image::read(from).map_err(|error| match error {
        ImageError::Io(error) => anyhow::Error::new(error).context(format!("cannot read {name}")),
        error => Exit::usage(format!(
            "{name}: {error}; see cargo xtask image verify {name}"
        ))
        .into(),
    })
}

fn write<'a>(
    differences: impl Iterator<Item = &'a Difference>,
    format: Format,
    to: &mut impl Write,
) -> anyhow::Result<()> {
    for difference in differences {
        match format {
            Format::Text => writeln!(to, "{difference}")?,
            Format::Json => writeln!(to, "{}", serde_json::to_string(difference)?)?,
        }
    }
    to.flush()?;
    Ok(())
}
