//! What differs between two images: the one that was restarted, and the one of the restored tree.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::facts::{Fact, Facts, Memory, Part};
use crate::fixed::Value;
use crate::reader::Image;
use crate::rules::{How, rule};

/// Bytes that are shown of memory that differs.
const SHOWN: usize = 16;

/// `CKPT_RESTART_ABSOLUTE`.
const ABSOLUTE: i128 = 2;

/// `CKPT_CPU_SELF`.
const SELF: i128 = 1;

/// A field that is not the same in two images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Whose it is: `task 5`, `task 5 fd 3`, `task 5 mm mapping 0x400000`.
    pub object: String,
    /// Type of the record that holds it.
    pub record: &'static str,
    /// The field or register; `None` where the whole object is in one image only.
    pub field: Option<String>,
    /// What it is in the first image; `None` where it is not there.
    pub before: Option<String>,
    /// What it is in the second image; `None` where it is not there.
    pub after: Option<String>,
    /// Why it may differ; `None` where it must not.
    pub volatile: Option<&'static str>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@@ {}, {}", self.object, self.record)?;
        if let Some(field) = &self.field {
            write!(f, ": {field}")?;
        }
        if let Some(reason) = self.volatile {
            write!(f, " (volatile: {reason})")?;
        }
        let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "not there".to_owned());
        write!(f, "\n-{}\n+{}", side(&self.before), side(&self.after))
    }
}

/// Compare an image with that of the tree that was restarted from it.
///
/// `passed` bounds how much less time a sleep may have left; `None` if it is not known.
/// What may differ is told too, with its reason.
pub fn compare(before: &Image, after: &Image, passed: Option<Duration>) -> Vec<Difference> {
    let (first, second) = (Facts::of(before), Facts::of(after));
    let mut found = parts(&first.parts, &second.parts, passed);
    found.extend(order(&first.parts, &second.parts));
    let nothing = Memory::new();
    let names: HashSet<&String> = first.memory.keys().chain(second.memory.keys()).collect();
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort();
    for name in names {
        let side = |facts: &'_ Facts<'_>| facts.memory.get(name).map(Memory::len);
        if side(&first).is_none() && side(&second).is_none() {
            continue;
        }
        let one = first.memory.get(name).unwrap_or(&nothing);
        let other = second.memory.get(name).unwrap_or(&nothing);
        found.extend(memory(name, one, other));
    }
    found
}

/// Objects in their order; what only the second image has comes last.
fn parts(first: &[Part], second: &[Part], passed: Option<Duration>) -> Vec<Difference> {
    let mut others: HashMap<Key<'_>, &Part> = keys(second).zip(second).collect();
    let mut found = Vec::new();
    for (key, part) in keys(first).zip(first) {
        match others.remove(&key) {
            Some(other) => found.extend(fields(part, other, passed)),
            None => found.push(whole(part, Some("there"), None)),
        }
    }
    let left = keys(second).zip(second);
    let left = left.filter(|(key, _)| others.contains_key(key));
    found.extend(left.map(|(_, part)| whole(part, None, Some("there"))));
    found
}

/// Object, record, and how many there were before with both the same.
type Key<'a> = (&'a str, &'static str, usize);

fn keys(parts: &[Part]) -> impl Iterator<Item = Key<'_>> {
    let mut seen: HashMap<(&str, &str), usize> = HashMap::new();
    parts.iter().map(move |part| {
        let count = seen.entry((&part.object, part.record)).or_default();
        *count += 1;
        (&*part.object, part.record, *count)
    })
}

fn whole(part: &Part, before: Option<&str>, after: Option<&str>) -> Difference {
    Difference {
        object: part.object.clone(),
        record: part.record,
        field: None,
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
        volatile: None,
    }
}

fn fields(part: &Part, other: &Part, passed: Option<Duration>) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut push = |fact: &Fact, before: Option<&Fact>, after: Option<&Fact>| {
        // Of what others have used nothing more comes.
        let others = fact.of == "ckpt_usage" && !fact.path.starts_with("task.");
        let rule = rule(&fact.of, &fact.name).filter(|_| !others);
        let excused = rule.is_some_and(|rule| match rule.how {
            How::Reference | How::Merged => false,
            How::Volatile => true,
            How::Remaining => {
                !is_absolute(part) && !is_absolute(other) && ran_out(before, after, passed)
            }
            How::Advancing => ran_out(after, before, passed),
            How::Growing => matches!((number(before), number(after)), (Some(before), Some(after)) if after >= before),
            How::BitsGo(bits) => match (register(before), register(after)) {
                (Some(before), Some(after)) => {
                    before & !bits == after & !bits && after & !before == 0
                }
                _ => false,
            },
            How::SelfMark => number(before) == number(after).map(|flags| flags | SELF),
        });
        found.push(Difference {
            object: part.object.clone(),
            record: part.record,
            field: Some(fact.path.clone()),
            before: before.map(|fact| fact.value.to_string()),
            after: after.map(|fact| fact.value.to_string()),
            volatile: rule.filter(|_| excused).map(|rule| rule.reason),
        });
    };
    let mut places = 0..other.facts.len().max(part.facts.len());
    // Two parts of one kind nearly always have the same fields in the same order.
    if places.all(|at| match (part.facts.get(at), other.facts.get(at)) {
        (Some(one), Some(two)) => one.path == two.path,
        _ => false,
    }) {
        for (one, two) in part.facts.iter().zip(&other.facts) {
            if one.value != two.value {
                push(one, Some(one), Some(two));
            }
        }
        return found;
    }
    let by_path = |part: &Part, path: &str| part.facts.iter().position(|fact| fact.path == path);
    for one in &part.facts {
        let two = by_path(other, &one.path).map(|at| &other.facts[at]);
        if two.is_none_or(|two| two.value != one.value) {
            push(one, Some(one), two);
        }
    }
    for two in &other.facts {
        if by_path(part, &two.path).is_none() {
            push(two, None, Some(two));
        }
    }
    found
}

/// Is the time of this restart block, timer or timerfd a point in time? That of a lease never is.
fn is_absolute(part: &Part) -> bool {
    if part.record == "LEASE" {
        return false;
    }
    let flags = part.facts.iter().find(|fact| fact.path == "flags");
    matches!(flags, Some(Fact { value: Value::Number(flags), .. }) if flags & ABSOLUTE != 0)
}

fn number(fact: Option<&Fact>) -> Option<i128> {
    match fact?.value {
        Value::Number(number) => Some(number),
        _ => None,
    }
}

fn register(fact: Option<&Fact>) -> Option<u64> {
    match &fact?.value {
        Value::Word(word) => u64::from_str_radix(word.strip_prefix("0x")?, 16).ok(),
        _ => None,
    }
}

/// Is there less time than before, and by no more than has passed?
fn ran_out(before: Option<&Fact>, after: Option<&Fact>, passed: Option<Duration>) -> bool {
    let (Some(before), Some(after)) = (number(before), number(after)) else {
        return false;
    };
    let most = passed.and_then(|passed| i128::try_from(passed.as_nanos()).ok());
    (0..=most.unwrap_or(i128::MAX)).contains(&(before - after))
}

/// Are the same objects in another order?
fn order(first: &[Part], second: &[Part]) -> Option<Difference> {
    let (one, two): (Vec<_>, Vec<_>) = (keys(first).collect(), keys(second).collect());
    let all: HashSet<_> = one.iter().collect();
    if one.len() != two.len() || !two.iter().all(|key| all.contains(key)) {
        // That there are others was told.
        return None;
    }
    let (place, (a, b)) = one
        .iter()
        .zip(&two)
        .enumerate()
        .find(|(_, (one, two))| one != two)?;
    let text = |key: &Key<'_>| Some(format!("{}, {}", key.0, key.1));
    Some(Difference {
        object: "image".to_owned(),
        record: "order",
        field: Some(format!("part {place}")),
        before: text(a),
        after: text(b),
        volatile: None,
    })
}

/// Two address spaces of one name: the first byte that differs, and pages that only one of them has.
fn memory(name: &str, first: &Memory<'_>, second: &Memory<'_>) -> Vec<Difference> {
    let differ: Vec<(u64, usize, &[u8], &[u8])> = first
        .iter()
        .filter_map(|(&start, &one)| {
            let two = *second.get(&start)?;
            let at = (one != two).then(|| one.iter().zip(two).position(|(a, b)| a != b))?;
            Some((start, at.unwrap_or(one.len().min(two.len())), one, two))
        })
        .collect();
    let only = |one: &Memory<'_>, other: &Memory<'_>| -> Vec<u64> {
        let pages = one.keys().filter(|start| !other.contains_key(start));
        pages.copied().collect()
    };
    let mut found = Vec::new();
    let mut push = |field: String, before: Option<String>, after: Option<String>| {
        found.push(Difference {
            object: name.to_owned(),
            record: "PAGES",
            field: Some(field),
            before,
            after,
            volatile: None,
        });
    };
    if let Some(&(start, at, one, two)) = differ.first() {
        let field = format!(
            "contents at {:#x}, in the first of {} pages that differ",
            start.wrapping_add(at as u64),
            differ.len()
        );
        push(field, Some(hex(one, at)), Some(hex(two, at)));
    }
    for (pages, is_before) in [(only(first, second), true), (only(second, first), false)] {
        let Some(&start) = pages.first() else {
            continue;
        };
        let side = if is_before { first } else { second };
        let field = format!(
            "page {start:#x}, the first of {} that one image has",
            pages.len()
        );
        let bytes = side.get(&start).map(|page| hex(page, 0));
        let (before, after) = if is_before {
            (bytes, None)
        } else {
            (None, bytes)
        };
        push(field, before, after);
    }
    found
}

fn hex(page: &[u8], at: usize) -> String {
    let bytes = page.iter().skip(at).take(SHOWN);
    let bytes: Vec<String> = bytes.map(|byte| format!("{byte:02x}")).collect();
    bytes.join(" ")
}
