//! `list`: every case.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use crossthaw_harness::scenario::Case;

use crate::context::Context;
use crate::output::{Format, quietly};
use crate::select::Select;

/// Show the cases that `test` would run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    select: Select,
    /// One name a line (in a terminal with what each is about), or one JSON object a line.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub(crate) fn run(opts: &Options, cx: &Context) -> anyhow::Result<ExitCode> {
    let Options { select, format } = opts;
    let cases = select.cases(cx)?;
    let out = std::io::stdout();
    let person = out.is_terminal();
    quietly(show(&cases, *format, person, &mut out.lock()))
}

fn show(cases: &[Case], format: Format, person: bool, to: &mut impl Write) -> anyhow::Result<()> {
    let widest = cases.iter().map(|case| case.id.as_str().len()).max();
    let width = widest.unwrap_or_default();
    for case in cases {
        match format {
            Format::Json => {
                serde_json::to_writer(&mut *to, case)?;
                writeln!(to)?;
            }
            Format::Text if person => writeln!(to, "{:width$}  {}", case.id, case.about)?,
            Format::Text => writeln!(to, "{}", case.id)?,
        }
    }
    to.flush()?;
    Ok(())
}
