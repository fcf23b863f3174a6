//! How a case should end, and what is known to fail.

use chrono::NaiveDate;

use super::case::{By, Expect, KnownFailure};
use super::fields::{Fields, Report, choice, text};
use super::model::archs;
use super::words::{errnos, remedy};
use super::yaml::{Node, Value};
use crate::arch::Arch;

/// How it should end.
pub(super) fn expect(node: &Node, report: &mut Report) -> Option<Expect> {
    if let Value::Scalar(_) = &node.value {
        return text(node, "pass or {refuse: ...}", |text| text == "pass", report)
            .map(|_| Expect::Pass);
    }
    let fields = Fields::open(node, "an expectation", &["refuse"], report)?;
    let expected = "what refuses, {by: checkpoint, errno: EBUSY, log: TEXT}";
    let node = fields.need("refuse", expected, report)?;
    let fields = Fields::open(node, "a refusal", &["by", "errno", "log"], report)?;
    let errno = fields.get("errno").and_then(|node| errno(node, report));
    let log = fields.get("log").and_then(|node| {
        text(
            node,
            "a part of a line of the kernel's log",
            |text| !text.trim().is_empty(),
            report,
        )
    });
    let by = fields.need("by", "checkpoint or restart", report)?;
    Some(Expect::Refuse {
        by: choice(
            by,
            &[("checkpoint", By::Checkpoint), ("restart", By::Restart)],
            report,
        )?,
        errno,
        log: log.map(str::to_owned),
    })
}

pub(super) fn errno(node: &Node, report: &mut Report) -> Option<String> {
    let name = text(node, "the name of an error such as EBUSY", |_| true, report)?;
    if errnos().any(|known| known == name) {
        return Some(name.to_owned());
    }
    let remedy = remedy(name, errnos(), "");
    report.at(
        node.place,
        format!("expected the name of an error such as EBUSY, found {name:?}{remedy}"),
    );
    None
}

/// A failure that is known, and on which of the scenario's architectures.
pub(super) fn known_failure(
    node: &Node,
    archs_of_scenario: &[Arch],
    today: NaiveDate,
    report: &mut Report,
) -> Option<(Vec<Arch>, KnownFailure)> {
    let keys = ["archs", "reason", "link", "until"];
    let fields = Fields::open(node, "a known failure", &keys, report)?;
    let mut on = archs_of_scenario.to_vec();
    if let Some(node) = fields.get("archs") {
        on = archs(node, report);
        if let Some(arch) = on.iter().find(|arch| !archs_of_scenario.contains(arch)) {
            report.at(node.place, format!("the scenario does not run on {arch}"));
        }
    }
    let reason = fields.need_text(
        "reason",
        "why it fails",
        |text| !text.trim().is_empty(),
        report,
    );
    let url = |text: &str| text.starts_with("https://") || text.starts_with("http://");
    let link = fields.need_text("link", "where that is discussed, https://...", url, report);
    let date = |text: &str| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    let expected = "the last day on which it may fail, YYYY-MM-DD";
    let until = fields.need_text(
        "until",
        expected,
        |text| text.len() == 10 && date(text).is_some(),
        report,
    );
    let (until, place) = until?;
    let until = date(until)?;
    if until < today {
        report.at(place, format!("this known failure has expired, today is {today}: repair it, or give a new date and reason"));
    }
    let failure = KnownFailure {
        reason: reason?.0.to_owned(),
        link: link?.0.to_owned(),
        until,
    };
    Some((on, failure))
}
