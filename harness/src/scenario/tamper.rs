//! What is done to an image before it is restarted.

use crossthaw_image::{Change, Field, ForgeError, Forgery, record_names};

use super::case::{Forged, Tamper};
use super::expect::errno;
use super::fields::{Fields, Report, choice, either, items, text};
use super::words::{number, remedy};
use super::yaml::{Node, Value};

/// What is done to the image.
pub(super) fn tamper(node: &Node, report: &mut Report) -> Option<Tamper> {
    const KINDS: [(&str, &str, Tamper); 4] = [
        ("arch", "foreign", Tamper::Foreign),
        ("byte-order", "swapped", Tamper::ByteOrder),
        ("truncate", "each-record", Tamper::TruncateEachRecord),
        ("flip", "each-record", Tamper::FlipEachRecord),
    ];
    let mut forms: Vec<_> = KINDS
        .iter()
        .map(|(key, value, _)| format!("{{{key}: {value}}}"))
        .collect();
    forms.push("{forge: [...]}".to_owned());
    let forms: Vec<_> = forms.iter().map(String::as_str).collect();
    let forms = either(&forms);
    let Value::Mapping(mapping) = &node.value else {
        report.expected(&forms, node);
        return None;
    };
    let [(key, value)] = &mapping[..] else {
        report.at(
            node.place,
            format!("expected {forms}, found {} keys", mapping.len()),
        );
        return None;
    };
    let Value::Scalar(name) = &key.value else {
        report.expected(&forms, key);
        return None;
    };
    if name == "forge" {
        let expected =
            "a list of forgeries such as [{record: FILES, field: objref, set: 0, log: TEXT}]";
        let nodes = items(value, expected, report).iter();
        let forged: Vec<_> = nodes.filter_map(|node| forged(node, report)).collect();
        return Some(Tamper::Forge(forged));
    }
    let Some((_, word, _)) = KINDS.iter().find(|(kind, ..)| kind == name) else {
        report.expected(&forms, key);
        return None;
    };
    choice(value, &[(*word, ())], report)?;
    KINDS
        .into_iter()
        .find_map(|(kind, _, tamper)| (kind == name).then_some(tamper))
}

/// Keys that say what is changed.
const CHANGE_KEYS: [&str; 8] = [
    "record", "nth", "field", "set", "add", "or", "copy", "whole",
];

/// One forgery: the record, what is changed in it, and how the kernel says so.
fn forged(node: &Node, report: &mut Report) -> Option<Forged> {
    let keys = [&CHANGE_KEYS[..], &["with", "errno", "log", "by"]].concat();
    let fields = Fields::open(node, "a forgery", &keys, report)?;
    let mut forgeries = Vec::new();
    if let Some(with) = fields.get("with") {
        let expected = "a list of changes such as [{record: SIGHAND, nth: 1, whole: removed}]";
        for node in items(with, expected, report) {
            let fields = Fields::open(node, "a change", &CHANGE_KEYS, report)?;
            forgeries.push(forgery(&fields, node, report)?);
        }
    }
    let last = forgery(&fields, node, report);
    let errno = fields.get("errno").and_then(|node| errno(node, report));
    let by_tool = match fields.get("by") {
        None => Some(false),
        Some(node) => choice(node, &[("kernel", false), ("tool", true)], report),
    };
    let expected = "a part of the line with which it is refused";
    let (log, _) = fields.need_text("log", expected, |text| !text.trim().is_empty(), report)?;
    forgeries.push(last?);
    Some(Forged {
        forgeries,
        errno,
        log: log.to_owned(),
        by_tool: by_tool?,
    })
}

/// A record, and what is changed in it.
fn forgery(fields: &Fields, node: &Node, report: &mut Report) -> Option<Forgery> {
    let (record, place) =
        fields.need_text("record", "a type of record, FILES", |_| true, report)?;
    if !record_names().any(|name| name == record) {
        let remedy = remedy(record, record_names(), "");
        report.at(place, format!("no record is called {record:?}{remedy}"));
        return None;
    }
    let nth = match fields.get("nth") {
        None => Some(0),
        Some(node) => {
            let is = |text: &str| text.parse::<usize>().is_ok();
            text(node, "a number, 0 for the first of its type", is, report)
                .and_then(|text| text.parse().ok())
        }
    };
    let change = change(fields, node, record, report);
    Some(Forgery {
        record: record.to_owned(),
        nth: nth?,
        change: change?,
    })
}

/// What is changed: exactly one thing.
fn change(fields: &Fields, node: &Node, record: &str, report: &mut Report) -> Option<Change> {
    const HOW: [&str; 5] = ["set", "add", "or", "copy", "whole"];
    let said: Vec<_> = HOW
        .into_iter()
        .filter_map(|how| Some((how, fields.get(how)?)))
        .collect();
    let [(how, value)] = said[..] else {
        report.at(
            node.place,
            format!(
                "a forgery has one of {}, found {}",
                either(&HOW),
                said.len()
            ),
        );
        return None;
    };
    if how == "whole" {
        if let Some(field) = fields.get("field") {
            report.at(field.place, "the whole record is forged: remove this");
            return None;
        }
        let removed = choice(value, &[("removed", true), ("repeated", false)], report)?;
        return Some(if removed {
            Change::Remove
        } else {
            Change::Repeat
        });
    }
    let path = fields.need("field", "a field of the record, as in the C header", report)?;
    let field = field(record, path, report)?;
    if how == "copy" {
        return Some(Change::Copy(field, self::field(record, value, report)?));
    }
    let expected = match how {
        "or" => "the bits, such as 0x80",
        _ => "a number such as -1, 4096 or 0x1000",
    };
    let is = |text: &str| number(text).is_some_and(|it| how != "or" || u64::try_from(it).is_ok());
    let number = number(text(value, expected, is, report)?)?;
    Some(match how {
        "set" => Change::Set(field, number),
        "add" => Change::Add(field, number),
        _ => Change::Or(field, u64::try_from(number).ok()?),
    })
}

fn field(record: &str, node: &Node, report: &mut Report) -> Option<Field> {
    let path = text(
        node,
        "a field of the record, as in the C header",
        |_| true,
        report,
    )?;
    match Field::new(record, path) {
        Ok(field) => Some(field),
        Err(error) => {
            let known = Field::names(record);
            let remedy = match error {
                ForgeError::Field { .. } => {
                    remedy(path, known.iter().map(String::as_str), "it has")
                }
                _ => String::new(),
            };
            report.at(node.place, format!("{error}{remedy}"));
            None
        }
    }
}
