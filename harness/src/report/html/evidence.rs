//! What is needed to look into each failure: what differs, the console, the command that repeats it.

use std::fmt::{self, Write as _};

use super::{Href, Text, Time, anchor};
use crate::report::results::{command, label, message};
use crate::report::{CaseResult, Distribution, Finished, Run};

/// Trials of one case that ended in the same way and are shown; all are in the run's folder.
const ALIKE: usize = 3;

/// Each failure with all that is needed to look into it.
pub(super) fn write_failures(page: &mut String, failed: &[&CaseResult], run: &Run) -> fmt::Result {
    if failed.is_empty() {
        return Ok(());
    }
    writeln!(page, "<section>\n<h2>Evidence</h2>")?;
    for case in failed {
        let mut trials: Vec<_> = case.trials.iter().filter(|trial| trial.failed()).collect();
        trials.sort_by_key(|trial| trial.round);
        let kinds = Distribution::of(&case.trials).kinds;
        let among_first = |trial: &&&Finished| {
            trial.round.is_none_or(|round| {
                let mut first = kinds.iter().flat_map(|kind| kind.rounds.iter().take(ALIKE));
                first.any(|shown| *shown == round)
            })
        };
        let shown: Vec<_> = trials.iter().filter(among_first).collect();
        for trial in &shown {
            write_failure(page, case, trial, run)?;
        }
        let more = trials.len() - shown.len();
        if more > 0 {
            writeln!(
                page,
                "<p>{more} more of {} ended in the same ways; their evidence is in <code>trials/</code>.</p>",
                Text(&case.plan.id)
            )?;
        }
    }
    writeln!(page, "</section>")
}

fn write_failure(
    page: &mut String,
    case: &CaseResult,
    finished: &Finished,
    run: &Run,
) -> fmt::Result {
    let Finished {
        case: _,
        round: _,
        verdict,
        time,
        phases,
        folder,
        diff,
        console,
        retries,
    } = finished;
    let id = case.trial_name(finished, run.is_repeated());
    let (kind, anchor) = (verdict.kind(), anchor(case, finished));
    writeln!(
        page,
        "<article id=\"{}\">\n<h3><span class=\"chip {kind}\">{}</span> {}</h3>\n<p class=\"about\">{}</p>",
        Text(anchor),
        Text(label(verdict)),
        Text(id),
        Text(&case.plan.about),
    )?;
    // A short diff is part of the message, too; here it has a place and colours of its own.
    let message = match diff {
        Some(diff) => message(verdict).replace(diff.trim_end(), "(see below)"),
        None => message(verdict),
    };
    writeln!(page, "<pre class=\"message\">{}</pre>", Text(message))?;
    writeln!(
        page,
        "<p>Repeat it:</p>\n<pre class=\"command\">{}</pre>",
        Text(command(case, finished, run))
    )?;
    if let Some(folder) = folder {
        // Relative, so that the link holds when the run's folder is moved or fetched from a CI server.
        let link = folder.strip_prefix(&run.dir).unwrap_or(folder).display();
        writeln!(
            page,
            "<p>Evidence: <a href=\"{}/\">{}</a></p>",
            Href(link.to_string()),
            Text(link)
        )?;
    }
    for why in retries {
        writeln!(page, "<p>Done once more: {}</p>", Text(why))?;
    }
    if let Some(diff) = diff {
        write!(
            page,
            "<details open><summary>What differs</summary><pre class=\"diff\">"
        )?;
        for line in diff.lines() {
            let class = match line.as_bytes().first() {
                Some(b'+') => "add",
                Some(b'-') => "del",
                Some(b'@') => "hunk",
                _ => "same",
            };
            // The style makes each a line; a line break between them would make two.
            write!(page, "<span class=\"{class}\">{}</span>", Text(line))?;
        }
        writeln!(page, "</pre></details>")?;
    }
    if !console.is_empty() {
        let lines = Text(console.join("\n"));
        writeln!(
            page,
            "<details open><summary>Last lines of the console</summary>\n<pre class=\"console\">{lines}</pre></details>"
        )?;
    }
    write!(page, "<p class=\"phases\">{} in all", Time(*time))?;
    for (phase, time) in phases {
        write!(page, ", {} {}", Text(phase), Time(*time))?;
    }
    writeln!(page, "</p>\n</article>")
}
