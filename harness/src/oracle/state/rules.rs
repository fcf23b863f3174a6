//! What becomes of each field of a state: one rule a field, with its reason and an example.
//!
//! What no rule names, such as what a later kernel adds, is compared as it is between two states of one architecture.

mod objects;
mod task;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::Form;
use super::canon::{Canon, Normal, same};

/// What a field is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Compared everywhere, and in the golden.
    Always,
    /// Compared between two states of one architecture; in no golden.
    OneArch,
    /// As `OneArch`, but it changes as the task runs on.
    OneMoment,
    /// As `Always`, but not where the image holds other tasks than the state.
    Relation,
    /// Not compared.
    Never,
}

/// One field, or all whose names begin with what stands before a `*`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// `FAMILY.FIELD`.
    field: &'static str,
    used: Use,
    normal: Normal,
    /// A further change for the golden; `None`: it is not in it.
    golden: fn(&str) -> Option<String>,
    /// Why it is not compared everywhere, or not as it is.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for readers; a test asks for it")
    )]
    reason: &'static str,
    /// A value as the probe has it, and as two states of one moment are compared in.
    example: (&'static str, &'static str),
}

const fn rule(field: &'static str, used: Use, reason: &'static str, example: &'static str) -> Rule {
    Rule {
        field,
        used,
        normal: same,
        golden: |value| Some(value.to_owned()),
        reason,
        example: (example, example),
    }
}

/// Compared everywhere, as it is.
const fn always(field: &'static str, example: &'static str) -> Rule {
    rule(field, Use::Always, "", example)
}

const fn one_arch(field: &'static str, reason: &'static str, example: &'static str) -> Rule {
    rule(field, Use::OneArch, reason, example)
}

const fn one_moment(field: &'static str, reason: &'static str, example: &'static str) -> Rule {
    rule(field, Use::OneMoment, reason, example)
}

const fn relation(field: &'static str, reason: &'static str, example: &'static str) -> Rule {
    rule(field, Use::Relation, reason, example)
}

const fn never(field: &'static str, reason: &'static str, example: &'static str) -> Rule {
    Rule {
        example: (example, ""),
        ..rule(field, Use::Never, reason, example)
    }
}

impl Rule {
    /// Compared in a canonical form: what the example becomes, and why.
    const fn as_(self, normal: Normal, example: &'static str, reason: &'static str) -> Self {
        Self {
            normal,
            reason,
            example: (self.example.0, example),
            ..self
        }
    }

    /// The golden has less of it.
    const fn in_golden(self, golden: fn(&str) -> Option<String>, reason: &'static str) -> Self {
        Self {
            golden,
            reason,
            ..self
        }
    }

    fn is_in(&self, form: Form) -> bool {
        match form {
            Form::Full => self.used != Use::Never,
            Form::Apart => matches!(self.used, Use::Always | Use::OneArch),
            Form::Golden => matches!(self.used, Use::Always | Use::Relation),
        }
    }
}

const UNKNOWN: Rule = one_arch(
    "*",
    "no rule names it; it is compared, but changes no golden",
    "x",
);

/// The rules by name, and those with a `*`, the longest first.
struct Table {
    exact: BTreeMap<&'static str, &'static Rule>,
    families: Vec<(&'static str, &'static Rule)>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let all = || task::RULES.iter().chain(objects::RULES);
    let family = |rule: &'static Rule| Some((rule.field.strip_suffix('*')?, rule));
    let mut families: Vec<_> = all().filter_map(family).collect();
    // The longest name is the closest.
    families.sort_by_key(|(head, _)| Reverse(head.len()));
    Table {
        exact: all().map(|rule| (rule.field, rule)).collect(),
        families,
    }
});

fn find(key: &str) -> &'static Rule {
    let Table { exact, families } = &*TABLE;
    let family = || families.iter().find(|(head, _)| key.starts_with(head));
    exact
        .get(key)
        .copied()
        .or_else(|| family().map(|(_, rule)| *rule))
        .unwrap_or(&UNKNOWN)
}

/// The value of a field in a form; `None` where it is not part of it.
pub(super) fn apply(key: &str, value: &str, form: Form, canon: &mut Canon) -> Option<String> {
    let rule = find(key);
    if !rule.is_in(form) {
        return None;
    }
    let value = (rule.normal)(canon, value);
    if form == Form::Golden {
        (rule.golden)(&value)
    } else {
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn rules() -> impl Iterator<Item = &'static Rule> {
        task::RULES.iter().chain(objects::RULES)
    }

    #[test]
    fn every_rule_has_an_example_that_it_turns_into_what_it_says() {
        for rule in rules() {
            let (before, after) = rule.example;
            assert!(!before.is_empty(), "{}: no example", rule.field);
            let key = rule.field.replace('*', "x");
            let found = apply(&key, before, Form::Full, &mut Canon::default());
            assert_eq!(found.unwrap_or_default(), after, "{}", rule.field);
        }
    }

    #[test]
    fn every_rule_that_leaves_something_out_or_changes_it_has_a_reason() {
        for rule in rules() {
            let (before, after) = rule.example;
            let plain = rule.used == Use::Always
                && before == after
                && (rule.golden)(before).as_deref() == Some(before);
            assert_eq!(
                plain,
                rule.reason.is_empty(),
                "{}: {}",
                rule.field,
                rule.reason
            );
        }
    }

    #[test]
    fn no_field_has_two_rules() {
        let names: BTreeSet<_> = rules().map(|rule| rule.field).collect();
        assert_eq!(names.len(), rules().count());
    }

    #[test]
    fn the_closest_rule_counts_and_an_unknown_field_is_compared_but_changes_no_golden() {
        assert_eq!(find("limit.Max processes").field, "limit.Max processes");
        assert_eq!(find("limit.Max of something").field, "limit.*");
        let see = |form| apply("status.New", "1", form, &mut Canon::default());
        assert_eq!(
            (see(Form::Full), see(Form::Golden)),
            (Some("1".to_owned()), None)
        );
    }
}
