//! `report.html`: one page without external resources; colours never stand alone, the words are there too.

mod distribution;
mod evidence;

use std::fmt::{self, Display, Write as _};
use std::time::Duration;

use super::results::{headline, label, message};
use super::{BuildResult, CaseResult, Finished, Results};
use crate::arch::Arch;

const STYLE: &str = include_str!("report.css");

/// Cases that are listed above the matrix without being asked for.
const INDEX: usize = 20;

/// Text that is shown as it is, whatever it holds.
struct Text<T>(T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string().chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // Escape sequences of a console; a browser would show a box or nothing.
                c if c.is_control() && c != '\n' && c != '\t' => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A path as part of an address: the name of a round holds the character that begins a fragment.
struct Href(String);

impl Display for Href {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.replace('%', "%25").replace('#', "%23");
        Text(path.replace('?', "%3F")).fmt(f)
    }
}

/// `0.42 s`, `3 min 12 s`.
struct Time(Duration);

impl Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            0..10 => write!(f, "{:.2} s", self.0.as_secs_f64()),
            10..100 => write!(f, "{:.0} s", self.0.as_secs_f64()),
            seconds => write!(f, "{} min {:02} s", seconds / 60, seconds % 60),
        }
    }
}

/// The whole page.
pub(super) fn render(results: &Results) -> String {
    let mut page = String::new();
    // Writing to a string does not fail.
    let _ = write_page(&mut page, results);
    page
}

fn write_page(page: &mut String, results: &Results) -> fmt::Result {
    let failed: Vec<_> = results.cases.iter().filter(|case| case.failed()).collect();
    let run = &results.run;
    let id = Text(&run.id);
    let state = match (run.complete, run.failed) {
        (false, _) => "cut short".to_owned(),
        (true, _) if run.stopped => "stopped at a failure".to_owned(),
        (true, 0) => "all passed".to_owned(),
        (true, n) => format!("{n} failed"),
    };
    writeln!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{state}: crossthaw run {id}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<h1>crossthaw <span>run {id}</span></h1>\n<p class=\"counts\">"
    )?;
    for (count, word, class) in [
        (run.passed, "passed", "pass"),
        (run.failed, "failed", "fail"),
        (run.skipped, "skipped", "skip"),
        (run.unfinished, "without a verdict", "none"),
    ] {
        if count > 0 || word != "without a verdict" {
            let class = if count == 0 { "zero" } else { class };
            writeln!(
                page,
                "<span class=\"chip {class}\"><b>{count}</b> {word}</span>"
            )?;
        }
    }
    let (started, time) = (Text(&run.started), Time(run.time));
    writeln!(
        page,
        "</p>\n<p class=\"when\">started {started}, took {time}</p>"
    )?;
    if run.unfinished > 0 {
        let n = run.unfinished;
        writeln!(
            page,
            "<p class=\"banner\">This run was cut short: trials without a verdict: {n}.</p>"
        )?;
    }
    if run.retries > 0 {
        let n = run.retries;
        writeln!(
            page,
            "<p class=\"banner\">Guests that were started once more, since QEMU crashed before they ran: {n}.</p>"
        )?;
    }
    writeln!(page, "</header>\n<main>")?;
    write_index(page, &failed)?;
    write_matrix(page, results)?;
    distribution::write(page, results)?;
    write_builds(page, &run.builds, &run.archs)?;
    evidence::write_failures(page, &failed, run)?;
    writeln!(page, "</main>\n</body>\n</html>")
}

/// A trial's anchor; ids hold no character that an attribute or a fragment would not take.
fn anchor(case: &CaseResult, trial: &Finished) -> String {
    let name = case.plan.id.file_name();
    match trial.round {
        None | Some(1) => format!("case-{name}"),
        Some(round) => format!("case-{name}.round-{round}"),
    }
}

/// What went wrong, a line a case.
fn write_index(page: &mut String, failed: &[&CaseResult]) -> fmt::Result {
    if failed.is_empty() {
        return Ok(());
    }
    // A long list would push the matrix out of sight.
    let open = if failed.len() > INDEX { "" } else { " open" };
    writeln!(
        page,
        "<section>\n<h2>Did not pass</h2>\n<details{open}><summary>{} cases</summary>\n<ul class=\"index\">",
        failed.len()
    )?;
    for case in failed {
        let Some(finished) = case.finished() else {
            continue;
        };
        writeln!(
            page,
            "<li><span class=\"chip {}\">{}</span> <a href=\"#{}\">{}</a> <span class=\"what\">{}</span></li>",
            finished.verdict.kind(),
            Text(label(&finished.verdict)),
            Text(anchor(case, finished)),
            Text(&case.plan.id),
            Text(headline(&finished.verdict)),
        )?;
    }
    writeln!(page, "</ul>\n</details>\n</section>")
}

/// Scenarios down, architectures across.
fn write_matrix(page: &mut String, results: &Results) -> fmt::Result {
    let archs = &results.run.archs;
    writeln!(page, "<section>\n<h2>Matrix</h2>")?;
    if results.run.failed > 0 {
        writeln!(
            page,
            "<label><input type=\"checkbox\" id=\"only\"> only scenarios that did not pass everywhere</label>"
        )?;
    }
    writeln!(
        page,
        "<table class=\"matrix\">\n<thead><tr><th scope=\"col\">scenario</th>"
    )?;
    for &arch in archs {
        let of_arch = || {
            results
                .cases
                .iter()
                .filter(move |case| case.plan.arch == arch)
        };
        let passed = of_arch().filter(|case| case.kind() == Some("pass")).count();
        let all = of_arch().count();
        writeln!(
            page,
            "<th scope=\"col\">{arch}<br><small>{passed} of {all} passed</small></th>"
        )?;
    }
    writeln!(page, "</tr></thead>")?;
    let mut families: Vec<&str> = Vec::new();
    for case in &results.cases {
        if !families.contains(&&*case.plan.family) {
            families.push(&case.plan.family);
        }
    }
    for family in families {
        let cases: Vec<_> = results
            .cases
            .iter()
            .filter(|case| case.plan.family == family)
            .collect();
        write_family(page, family, &cases, archs)?;
    }
    writeln!(page, "</table>\n</section>")
}

fn write_family(
    page: &mut String,
    family: &str,
    cases: &[&CaseResult],
    archs: &[Arch],
) -> fmt::Result {
    let mut rows: Vec<&str> = Vec::new();
    for case in cases {
        let row = case.plan.id.without_arch();
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    let whole = cases.iter().all(|case| case.kind() == Some("pass"));
    let columns = archs.len() + 1;
    let class = if whole { " class=\"whole\"" } else { "" };
    writeln!(
        page,
        "<tbody{class}>\n<tr class=\"family\"><th colspan=\"{columns}\" scope=\"rowgroup\">{}</th></tr>",
        Text(family)
    )?;
    for row in rows {
        let of_row: Vec<_> = cases
            .iter()
            .filter(|case| case.plan.id.without_arch() == row)
            .collect();
        let whole = of_row.iter().all(|case| case.kind() == Some("pass"));
        let class = if whole { " class=\"whole\"" } else { "" };
        let name = row
            .strip_prefix(family)
            .unwrap_or(row)
            .trim_start_matches('/');
        let about = of_row.first().map_or("", |case| &*case.plan.about);
        write!(
            page,
            "<tr{class}><th scope=\"row\"><code>{}</code><span class=\"about\">{}</span></th>",
            Text(name),
            Text(about)
        )?;
        for &arch in archs {
            let case = of_row.iter().find(|case| case.plan.arch == arch);
            write_cell(page, case.copied().copied())?;
        }
        writeln!(page, "</tr>")?;
    }
    writeln!(page, "</tbody>")
}

fn write_cell(page: &mut String, case: Option<&CaseResult>) -> fmt::Result {
    let Some(case) = case else {
        return write!(page, "<td class=\"absent\">not planned</td>");
    };
    let Some(finished) = case.finished() else {
        return write!(page, "<td class=\"none\">no verdict</td>");
    };
    if case.trials.len() > 1 {
        let failed = case.trials.iter().filter(|trial| trial.failed()).count();
        let (kind, all) = (finished.verdict.kind(), case.trials.len());
        return if failed > 0 {
            let anchor = Text(anchor(case, finished));
            write!(
                page,
                "<td class=\"{kind}\"><a href=\"#{anchor}\">{failed} of {all} failed</a></td>"
            )
        } else {
            write!(
                page,
                "<td class=\"{kind}\">{kind} <small>{all} times</small></td>"
            )
        };
    }
    let (kind, label, time) = (
        finished.verdict.kind(),
        Text(label(&finished.verdict)),
        Time(finished.time),
    );
    if case.failed() {
        write!(
            page,
            "<td class=\"{kind}\"><a href=\"#{}\">{label}</a> <small>{time}</small></td>",
            Text(anchor(case, finished))
        )
    } else {
        let why = Text(message(&finished.verdict));
        write!(
            page,
            "<td class=\"{kind}\" title=\"{why}\">{label} <small>{time}</small></td>"
        )
    }
}

/// What was made for the trials.
fn write_builds(page: &mut String, builds: &[BuildResult], archs: &[Arch]) -> fmt::Result {
    if builds.is_empty() {
        return Ok(());
    }
    writeln!(page, "<section>\n<h2>Builds</h2>\n<table class=\"builds\">")?;
    for &arch in archs {
        write!(page, "<tr><th scope=\"row\">{arch}</th>")?;
        for build in builds.iter().filter(|build| build.arch == arch) {
            let (name, time) = (build.what.name(), Time(build.time));
            let (class, what) = match (&build.error, build.built) {
                (Some(_), _) => (" class=\"fail\"", "failed after"),
                (None, true) => ("", "made in"),
                (None, false) => ("", "from the store,"),
            };
            write!(page, "<td{class}>{name}: {what} {time}</td>")?;
        }
        writeln!(page, "</tr>")?;
    }
    writeln!(page, "</table>")?;
    for build in builds {
        if let Some(error) = &build.error {
            let (arch, name) = (build.arch, build.what.name());
            writeln!(
                page,
                "<h3>{arch}: {name} failed</h3>\n<pre>{}</pre>",
                Text(error)
            )?;
        }
    }
    writeln!(page, "</section>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_wrote_is_text_and_nothing_else() {
        for (text, html) in [
            ("<script>'&\"", "&lt;script&gt;&#39;&amp;&quot;"),
            ("a\tb\nc", "a\tb\nc"),
            ("\x1b[31mred\r", "\u{fffd}[31mred\u{fffd}"),
        ] {
            assert_eq!(Text(text).to_string(), html);
        }
    }

    #[test]
    fn times_are_read_at_a_glance() {
        for (millis, text) in [(421, "0.42 s"), (12_345, "12 s"), (192_000, "3 min 12 s")] {
            assert_eq!(Time(Duration::from_millis(millis)).to_string(), text);
        }
    }

    #[test]
    fn a_page_of_several_rounds_has_the_distribution_and_links_that_hold() {
        let page = render(&crate::report::tests::repeated());
        for part in [
            "<td>2 passed, 1 timeout<br><small>1 \u{d7} timeout (restart): nothing happened in time during restart (round 2)</small></td><td>0.42 s</td>",
            "<td colspan=\"4\">not tried</td>",
            "<a href=\"#case-x86_64.files.offset.round-2\">1 of 3 failed</a>",
            "<article id=\"case-x86_64.files.offset.round-2\">",
            "x86_64/files/offset#2</h3>",
            "<a href=\"trials/x86_64.files.offset%232/\">trials/x86_64.files.offset#2</a>",
        ] {
            assert!(page.contains(part), "{part} in\n{page}");
        }
    }

    #[test]
    fn the_page_is_whole_and_needs_nothing_else() {
        let page = render(&crate::report::tests::sample());
        for part in [
            "<title>cut short: crossthaw run 20260101-000000</title>",
            "<a href=\"#case-x86_64.files.offset\">fail (state)</a>",
            "<article id=\"case-x86_64.files.offset\">",
            "<span class=\"del\">-  pos: 17</span><span class=\"add\">+  pos: 0</span>",
            "<a href=\"trials/x/\">",
            "BUG: &lt;bad&gt; page state",
            "timeout (restart)",
            "QEMU ended (signal: 9)",
            "title=\"the kernel has no CONFIG_PIPE\">skip",
            "no verdict",
            "not planned",
            "trials without a verdict: 1",
            "mm.c:1: error: &lt;stdin&gt;",
            "cargo xtask repeat 20260101-000000/x86_64/files/offset</pre>",
            "cargo xtask test --scenario",
        ] {
            assert!(page.contains(part), "{part} in\n{page}");
        }
        for outside in ["http", "src=", "<link", "@import", "url("] {
            assert!(!page.contains(outside), "{outside} in\n{page}");
        }
    }
}
