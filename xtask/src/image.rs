//! `image`: what is in a checkpoint image, is it valid, and how do two differ.

mod diff;
mod verify;

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;
use crossthaw_image::{Image, ImageError, Located, Reader};

use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Format, quietly};

/// Look into checkpoint images of any architecture.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show every record of an image.
    Show {
        /// The image; `-` reads it from standard input.
        file: PathBuf,
        /// A record a line with details below it, or one JSON document.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Check structure, order, references and checksum of an image; the exit code is 1 if it is not valid.
    Verify {
        /// The image; `-` reads it from standard input.
        file: PathBuf,
        /// A line, or one JSON object.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
    /// Show in which fields two images differ; the exit code is 1 if there is one.
    ///
    /// Objects are compared by the first task that mentions them, contents of memory by address.
    Diff {
        /// The image that was restarted.
        before: PathBuf,
        /// The image of the restored tree.
        after: PathBuf,
        /// Show fields that may differ, too, each with the reason.
        #[arg(long)]
        all: bool,
        /// Seconds by which a sleep may have less time left; any number if this is not given.
        #[arg(long, value_name = "SECONDS")]
        passed: Option<u64>,
        /// Three lines a difference, or one JSON object a line.
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
}

pub(crate) fn run(opts: &Options, _cx: &Context) -> anyhow::Result<ExitCode> {
    let Options { action } = opts;
    match action {
        Action::Show { file, format } => {
            let (name, from) = open(file)?;
            let mut to = io::BufWriter::new(io::stdout().lock());
            quietly(show(&name, from, *format, &mut to))
        }
        Action::Verify { file, format } => verify::run(file, *format),
        Action::Diff {
            before,
            after,
            all,
            passed,
            format,
        } => {
            let passed = passed.map(Duration::from_secs);
            diff::run(before, after, passed, *all, *format)
        }
    }
}

fn open(file: &Path) -> anyhow::Result<(String, Box<dyn Read>)> {
    if file == Path::new("-") {
        return Ok(("standard input".to_owned(), Box::new(io::stdin().lock())));
    }
    let name = file.display().to_string();
    let open = || {
        let opened = File::open(file)?;
        // Opening a folder succeeds; reading it says something that nobody understands.
        if opened.metadata()?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        Ok(opened)
    };
    let opened = open().map_err(|error| Exit::usage(format!("cannot open {name}: {error}")))?;
    Ok((name, Box::new(BufReader::new(opened))))
}

/// Show what can be read; a damaged image is shown as far as it goes, in text.
fn show(name: &str, from: impl Read, format: Format, to: &mut impl Write) -> anyhow::Result<()> {
    let mut reader = Reader::new(from);
    let mut records = Vec::new();
    let mut at = 0;
    let mut number = 0;
    while let Some(item) = reader.next() {
        number += 1;
        let located = match item {
            Ok(located) => located,
            Err(error) => {
                to.flush()?;
                return Err(damaged(name, number, at, error));
            }
        };
        at = located.at + u64::from(located.len);
        match format {
            Format::Text => line(&reader, &located, to)?,
            Format::Json => records.push(located),
        }
    }
    if let (Format::Json, Some(arch), Some(byte_order)) =
        (format, reader.arch(), reader.byte_order())
    {
        let image = Image {
            byte_order,
            arch,
            records,
        };
        serde_json::to_writer(&mut *to, &image)?;
        writeln!(to)?;
    }
    to.flush().context("cannot write")
}

fn line<R: Read>(reader: &Reader<R>, located: &Located, to: &mut impl Write) -> io::Result<()> {
    match (reader.arch(), reader.byte_order()) {
        (Some(arch), Some(order)) => writeln!(to, "{}", located.text(arch, order)),
        _ => unreachable!("the reader knows both once it has handed out the header"),
    }
}

/// Which record is wrong, and where it begins.
fn damaged(name: &str, number: usize, at: u64, error: ImageError) -> anyhow::Error {
    match error {
        ImageError::Io(error) => {
            anyhow::Error::new(error).context(format!("cannot read {name} at byte {at}"))
        }
        ImageError::NotAnImage => Exit::usage(format!("{name} is not a checkpoint image")).into(),
        error => Exit::usage(format!(
            "{name} is damaged in record {number}, which begins at byte {at}: {error}"
        ))
        .into(),
    }
}
