//! The oracle **state**: what the probe saw, as stable text that can be compared and reviewed.
//!
//! Three forms, from most to least complete:
//! - [`Form::Full`] for two states of one moment on one architecture: everything but what is volatile;
//! - [`Form::Apart`] for two states of one task at different moments (it checkpointed itself and ran on before it was frozen):
//!   no contents of memory that it writes, no sizes of what grows, no relations to tasks that are not in the image;
//! - [`Form::Golden`] for all architectures: no addresses, no contents, no sizes that depend on the architecture.

/// A line; writing to a string cannot fail.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => {{
        use std::fmt::Write as _;
        let _ = writeln!($out, $($arg)*);
    }};
}

mod canon;
mod facts;
mod golden_form;
mod rules;
#[cfg(test)]
pub(crate) mod tests;

use crossthaw_protocol::State;
use similar::TextDiff;

use canon::Canon;
pub use golden_form::golden;

/// How complete a normal form is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One moment, one architecture.
    Full,
    /// One architecture, two moments.
    Apart,
    /// For review, on all architectures.
    Golden,
}

/// Lines of context in a diff.
const CONTEXT: usize = 3;

/// What differs, as a unified diff; `None` if nothing does.
pub fn diff(old: (&str, &str), new: (&str, &str)) -> Option<String> {
    if old.1 == new.1 {
        return None;
    }
    let diff = TextDiff::from_lines(old.1, new.1);
    let mut unified = diff.unified_diff();
    Some(
        unified
            .context_radius(CONTEXT)
            .header(old.0, new.0)
            .to_string(),
    )
}

/// Compare the state before with the state after, as completely as the form allows.
pub fn compare(form: Form, before: (&str, &State), after: (&str, &State)) -> Option<String> {
    // What checkpointed itself has taken itself alone.
    let of_interest = |pid: Option<i32>| {
        form == Form::Full || pid.is_none_or(|pid| after.1.tasks.iter().any(|task| task.pid == pid))
    };
    diff(
        (before.0, &text(before.1, form, of_interest)),
        (after.0, &text(after.1, form, |_| true)),
    )
}

/// One fact a line; each line says what it is about.
fn text(state: &State, form: Form, of_interest: impl Fn(Option<i32>) -> bool) -> String {
    let mut canon = Canon::default();
    let mut out = String::new();
    for fact in facts::all(state) {
        if !of_interest(fact.task) {
            continue;
        }
        let Some(value) = rules::apply(&fact.key, &fact.value, form, &mut canon) else {
            continue;
        };
        let task = fact.task.map(|pid| format!("task {pid} "));
        let thing = match (&*fact.thing, fact.family()) {
            ("", "task") => String::new(),
            ("", family) => format!("{family} "),
            (thing, _) => format!("{thing} "),
        };
        line!(
            out,
            "{}{thing}{} {value}",
            task.unwrap_or_default(),
            fact.field()
        );
    }
    out
}
