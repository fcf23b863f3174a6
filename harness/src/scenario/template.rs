//! Texts in which `{NAME}` stands for a value, and `{{` and `}}` for braces.

/// A text, taken apart.
pub(super) struct Template(Vec<Part>);

enum Part {
    Text(String),
    Name(String),
}

/// Does the text depend on this name?
pub(super) fn uses(text: &str, name: &str) -> bool {
    Template::new(text).names().any(|used| used == name)
}

impl Template {
    /// Braces around anything but a name such as `arch` stand for themselves.
    pub(super) fn new(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let double = rest.starts_with("{{") || rest.starts_with("}}");
            if let Some((name, behind)) = name(rest).filter(|_| !double) {
                parts.push(Part::Text(std::mem::take(&mut plain)));
                parts.push(Part::Name(name.to_owned()));
                rest = behind;
            } else {
                plain.push(first);
                rest = &rest[first.len_utf8() * if double { 2 } else { 1 }..];
            }
        }
        parts.push(Part::Text(plain));
        Self(parts)
    }

    /// The names in it.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Name(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// With these values; a name that has none is left as it is.
    pub(super) fn fill(&self, values: &[(&str, &str)]) -> String {
        let value = |name: &str| values.iter().find(|(known, _)| *known == name);
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Name(name) => match value(name) {
                    Some((_, value)) => (*value).to_owned(),
                    None => format!("{{{name}}}"),
                },
            })
            .collect()
    }
}

/// `{NAME}` at the beginning, and what follows.
fn name(text: &str) -> Option<(&str, &str)> {
    let (name, behind) = text.strip_prefix('{')?.split_once('}')?;
    super::words::is_snake(name).then_some((name, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_values_and_other_braces_stand_for_themselves() {
        let values = [("arch", "s390x"), ("size", "4096")];
        for (text, expected) in [
            ("bin/{arch}/x", "bin/s390x/x"),
            ("{size}{size}", "40964096"),
            ("{{arch}}", "{arch}"),
            ("{{{arch}}}", "{s390x}"),
            ("awk '{ print }'", "awk '{ print }'"),
            ("{", "{"),
            ("a}b{c", "a}b{c"),
            ("{other}", "{other}"),
            ("ü{size}ü", "ü4096ü"),
        ] {
            assert_eq!(Template::new(text).fill(&values), expected, "{text}");
        }
        assert!(uses("--{size}", "size") && !uses("{{size}}", "size"));
    }
}
