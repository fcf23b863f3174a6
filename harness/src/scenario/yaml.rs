//! YAML as a tree in which every value knows its line and column.
//!
//! Scalars stay text as it is written: whether `1e3` is a number is for the reader of a key to say.

use std::fmt;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// Where something is; both counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// A mistake at a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) place: Place,
    pub(super) message: String,
}

/// A value and where it begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What a value is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Nothing,
    /// Anything else that is neither of the two below.
    Scalar(String),
    /// `[a, b]`.
    List(Vec<Node>),
    /// `{a: b}`, in the order of the file; a key may be there twice.
    Mapping(Vec<(Node, Node)>),
}

/// As "found ..." in a message.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Scalar(text) => write!(f, "{text:?}"),
            Self::List(_) => f.write_str("a list"),
            Self::Mapping(_) => f.write_str("a mapping"),
        }
    }
}

/// Deepest nesting: a scenario file needs five, and recursion must end.
const DEEPEST: usize = 32;

/// Read a file that holds one document.
pub(super) fn parse(text: &str) -> Result<Node, Mistake> {
    let mut tree = Tree {
        parser: Parser::new_from_str(text),
        place: Place { line: 1, column: 1 },
    };
    let nothing = Node {
        place: tree.place,
        value: Value::Nothing,
    };
    loop {
        match tree.next()? {
            Event::StreamStart | Event::Nothing => {}
            Event::DocumentStart(_) => break,
            _ => return Ok(nothing),
        }
    }
    let event = tree.next()?;
    let root = tree.node(event, 0)?;
    tree.next()?;
    match tree.next()? {
        Event::StreamEnd => Ok(root),
        _ => Err(tree.mistake("expected the end of the file, found a second document")),
    }
}

struct Tree<'input> {
    parser: Parser<'input, saphyr_parser::StrInput<'input>>,
    /// Of the last event.
    place: Place,
}

fn place(span: Span) -> Place {
    Place {
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

impl<'input> Tree<'input> {
    fn mistake(&self, message: impl Into<String>) -> Mistake {
        Mistake {
            place: self.place,
            message: message.into(),
        }
    }

    fn next(&mut self) -> Result<Event<'input>, Mistake> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.place = place(span);
                Ok(event)
            }
            Some(Err(error)) => {
                self.place = Place {
                    line: error.marker().line(),
                    column: error.marker().col() + 1,
                };
                Err(self.mistake(format!("this is not YAML: {}", error.info())))
            }
            None => Ok(Event::StreamEnd),
        }
    }

    /// The value that begins with this event.
    fn node(&mut self, event: Event<'input>, depth: usize) -> Result<Node, Mistake> {
        let place = self.place;
        if depth > DEEPEST {
            return Err(self.mistake("nested too deeply"));
        }
        let value = match event {
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                return Err(self.mistake("tags have no meaning here: remove it"));
            }
            // An anchor alone does no harm, and is found when it is used.
            Event::Alias(_) => {
                return Err(self.mistake("aliases have no meaning here: write the value out"));
            }
            Event::Scalar(text, ScalarStyle::Plain, ..)
                if matches!(&*text, "" | "~" | "null" | "Null" | "NULL") =>
            {
                Value::Nothing
            }
            Event::Scalar(text, ..) => Value::Scalar(text.into_owned()),
            Event::SequenceStart(..) => {
                let mut list = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => break Value::List(list),
                        event => list.push(self.node(event, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut mapping = Vec::new();
                loop {
                    match self.next()? {
                        Event::MappingEnd => break Value::Mapping(mapping),
                        event => {
                            let key = self.node(event, depth + 1)?;
                            let event = self.next()?;
                            mapping.push((key, self.node(event, depth + 1)?));
                        }
                    }
                }
            }
            _ => Value::Nothing,
        };
        Ok(Node { place, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(node: &Node) -> String {
        let at = format!("{}:{}", node.place.line, node.place.column);
        match &node.value {
            Value::Nothing => format!("{at} nothing"),
            Value::Scalar(text) => format!("{at} {text}"),
            Value::List(list) => {
                let items: Vec<_> = list.iter().map(outline).collect();
                format!("{at} [{}]", items.join(", "))
            }
            Value::Mapping(mapping) => {
                let items: Vec<_> = mapping
                    .iter()
                    .map(|(key, value)| format!("{} = {}", outline(key), outline(value)))
                    .collect();
                format!("{at} {{{}}}", items.join(", "))
            }
        }
    }

    #[test]
    fn every_value_has_its_place() {
        for (text, expected) in [
            (
                "a: 1\nb:\n  - x\n  - {c: \"y\"}\n",
                "1:1 {1:1 a = 1:4 1, 2:1 b = 3:3 [3:5 x, 4:5 {4:6 c = 4:9 y}]}",
            ),
            ("a: 1\na: 2\n", "1:1 {1:1 a = 1:4 1, 2:1 a = 2:4 2}"),
            ("# ü\nü: 0x1F", "2:1 {2:1 ü = 2:4 0x1F}"),
            ("'~'", "1:1 ~"),
            ("~", "1:1 nothing"),
            ("", "1:1 nothing"),
        ] {
            assert_eq!(outline(&parse(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_has_a_place_too() {
        for (text, line, part) in [
            ("a: [1, 2\nb: 3\n", 2, "this is not YAML"),
            ("a: 1\n\tb: 2\n", 1, "this is not YAML"),
            ("a: &x 1\nb: *x\n", 2, "aliases"),
            ("a: !!str 1\n", 1, "tags"),
            ("a: 1\n---\nb: 2\n", 2, "second document"),
        ] {
            let mistake = parse(text).unwrap_err();
            assert_eq!(mistake.place.line, line, "{text}: {mistake:?}");
            assert!(mistake.message.contains(part), "{text}: {mistake:?}");
        }
        assert!(
            parse(&"[".repeat(100))
                .unwrap_err()
                .message
                .contains("deep")
        );
    }
}
