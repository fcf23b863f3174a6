//! From YAML values to Rust values: what does not fit is reported with its place, and reading goes on.

use std::path::Path;

use super::ScenarioError;
use super::words::remedy;
use super::yaml::{Mistake, Node, Place, Value};

/// Collects the mistakes of one file.
pub(super) struct Report<'a> {
    file: &'a Path,
    mistakes: &'a mut Vec<ScenarioError>,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a Path, mistakes: &'a mut Vec<ScenarioError>) -> Self {
        Self { file, mistakes }
    }

    pub(super) fn at(&mut self, place: Place, message: impl Into<String>) {
        self.add(Mistake {
            place,
            message: message.into(),
        });
    }

    pub(super) fn add(&mut self, mistake: Mistake) {
        self.mistakes.push(ScenarioError {
            file: self.file.to_owned(),
            line: mistake.place.line,
            column: mistake.place.column,
            message: mistake.message,
        });
    }

    /// How many there are so far.
    pub(super) fn count(&self) -> usize {
        self.mistakes.len()
    }

    /// `expected X, found Y`.
    pub(super) fn expected(&mut self, what: &str, node: &Node) {
        self.at(node.place, format!("expected {what}, found {}", node.value));
    }
}

/// The keys of a mapping, all of them known and each there once.
pub(super) struct Fields<'a> {
    what: &'static str,
    place: Place,
    entries: Vec<(&'a str, &'a Node)>,
}

impl<'a> Fields<'a> {
    /// Where the mapping begins.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Take a mapping apart; `what` it is, with its article.
    pub(super) fn open(
        node: &'a Node,
        what: &'static str,
        known: &[&'static str],
        report: &mut Report,
    ) -> Option<Self> {
        let Value::Mapping(mapping) = &node.value else {
            let keys = known.join(", ");
            report.expected(
                &format!("{what}, which is a mapping with the keys {keys}"),
                node,
            );
            return None;
        };
        let entries = distinct(mapping, report);
        let (entries, unknown): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|(key, ..)| known.contains(key));
        for (key, place, _) in unknown {
            let remedy = remedy(key, known.iter().copied(), "it has");
            report.at(place, format!("{what} has no key {key:?}{remedy}"));
        }
        Some(Self {
            what,
            place: node.place,
            entries: entries
                .into_iter()
                .map(|(key, _, value)| (key, value))
                .collect(),
        })
    }

    /// The value of a key, if it is there.
    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        let entry = self.entries.iter().find(|(name, _)| *name == key);
        entry.map(|(_, value)| *value)
    }

    /// The value of a key that must be there; `expected` says what it would be.
    pub(super) fn need(&self, key: &str, expected: &str, report: &mut Report) -> Option<&'a Node> {
        let value = self.get(key);
        if value.is_none() {
            report.at(
                self.place,
                format!("{} needs {key:?}: {expected}", self.what),
            );
        }
        value
    }

    /// A text that must be there and has a form.
    pub(super) fn need_text(
        &self,
        key: &str,
        expected: &str,
        is: impl Fn(&str) -> bool,
        report: &mut Report,
    ) -> Option<(&'a str, Place)> {
        let node = self.need(key, expected, report)?;
        Some((text(node, expected, is, report)?, node.place))
    }
}

/// The entries whose keys are text and were not there before.
pub(super) fn distinct<'a>(
    mapping: &'a [(Node, Node)],
    report: &mut Report,
) -> Vec<(&'a str, Place, &'a Node)> {
    let mut entries: Vec<(&str, Place, &Node)> = Vec::new();
    for (key, value) in mapping {
        let Value::Scalar(name) = &key.value else {
            report.expected("a key", key);
            continue;
        };
        match entries.iter().find(|(known, ..)| known == name) {
            Some((_, first, _)) => report.at(
                key.place,
                format!("{name:?} is here twice, first in line {}", first.line),
            ),
            None => entries.push((name, key.place, value)),
        }
    }
    entries
}

/// A text of a form.
pub(super) fn text<'a>(
    node: &'a Node,
    expected: &str,
    is: impl Fn(&str) -> bool,
    report: &mut Report,
) -> Option<&'a str> {
    match &node.value {
        Value::Scalar(text) if is(text) => Some(text),
        _ => {
            report.expected(expected, node);
            None
        }
    }
}

/// The items of a list that has some.
pub(super) fn items<'a>(node: &'a Node, expected: &str, report: &mut Report) -> &'a [Node] {
    match &node.value {
        Value::List(nodes) if nodes.is_empty() => {
            report.at(
                node.place,
                format!("expected {expected}, found an empty list"),
            );
            &[]
        }
        Value::List(nodes) => nodes,
        _ => {
            report.expected(expected, node);
            &[]
        }
    }
}

/// A list of different values, each read by `item`.
pub(super) fn set<'a, T: PartialEq>(
    node: &'a Node,
    expected: &str,
    item: impl Fn(&'a Node, &mut Report) -> Option<T>,
    report: &mut Report,
) -> Vec<T> {
    let mut values = Vec::new();
    for node in items(node, expected, report) {
        match item(node, report) {
            Some(value) if values.contains(&value) => {
                report.at(node.place, format!("{} is in this list twice", node.value));
            }
            value => values.extend(value),
        }
    }
    values
}

/// One of a few words.
pub(super) fn choice<T: Copy>(node: &Node, words: &[(&str, T)], report: &mut Report) -> Option<T> {
    if let Value::Scalar(text) = &node.value
        && let Some((_, value)) = words.iter().find(|(word, _)| word == text)
    {
        return Some(*value);
    }
    let names: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    report.expected(&either(&names), node);
    None
}

/// `a, b or c`.
pub(super) fn either(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [word] => (*word).to_owned(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}
