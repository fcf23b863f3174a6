//! Outcomes and durations of each case, in a run of several rounds.

use std::fmt::{self, Write as _};

use super::{Text, Time};
use crate::report::{Distribution, Results};

/// A row a case; nothing in a run of one round.
pub(super) fn write(page: &mut String, results: &Results) -> fmt::Result {
    if !results.run.is_repeated() {
        return Ok(());
    }
    writeln!(
        page,
        "<section>\n<h2>Distribution</h2>\n<table class=\"builds\">\n<thead><tr><th scope=\"col\">case</th><th scope=\"col\">outcomes</th>\
         <th scope=\"col\">min</th><th scope=\"col\">median</th><th scope=\"col\">p90</th><th scope=\"col\">max</th></tr></thead>"
    )?;
    for case in &results.cases {
        let all = Distribution::of(&case.trials);
        write!(
            page,
            "<tr><th scope=\"row\"><code>{}</code></th><td>{}",
            Text(&case.plan.id),
            all.counts()
        )?;
        for kind in &all.kinds {
            write!(
                page,
                "<br><small>{} \u{d7} {}: {} ({})</small>",
                kind.count,
                Text(&kind.label),
                Text(&kind.message),
                kind.rounds()
            )?;
        }
        if all.retries > 0 {
            write!(page, "<br><small>done once more: {}</small>", all.retries)?;
        }
        write!(page, "</td>")?;
        match all.seconds {
            Some(spread) => {
                for time in [spread.min, spread.median, spread.p90, spread.max] {
                    write!(page, "<td>{}</td>", Time(time))?;
                }
            }
            None => write!(page, "<td colspan=\"4\">not tried</td>")?,
        }
        writeln!(page, "</tr>")?;
    }
    writeln!(page, "</table>\n</section>")
}
