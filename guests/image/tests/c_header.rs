//! The contract: the structs of the C header and those of this crate have the same fields at the same offsets.

use std::collections::HashMap;

use crossthaw_image::{LAYOUTS, Layout};

const HEADER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../kernels/checkpoint/include/uapi/linux/checkpoint.h"
);

/// A C struct: name, offset and size of each field, flexible arrays left out; its size.
#[derive(Debug)]
struct Struct {
    fields: Vec<(String, usize, usize)>,
    size: usize,
}

#[derive(Default)]
struct Parser {
    constants: HashMap<String, usize>,
    structs: HashMap<String, Struct>,
}

/// Words, braces, brackets, commas and semicolons; comments and preprocessor lines left out.
fn tokens(text: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("/*") {
        plain.push_str(before);
        plain.push(' ');
        rest = after.split_once("*/").expect("a comment ends").1;
    }
    plain.push_str(rest);
    let mut tokens = Vec::new();
    for line in plain
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
    {
        let mut word = String::new();
        for c in line.chars().chain([' ']) {
            if c.is_alphanumeric() || c == '_' {
                word.push(c);
                continue;
            }
            if !word.is_empty() {
                tokens.push(std::mem::take(&mut word));
            }
            if "{}[],;".contains(c) {
                tokens.push(c.to_string());
            }
        }
    }
    tokens
}

impl Parser {
    fn constants(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if words.next() == Some("#define")
                && let (Some(name), Some(value)) = (words.next(), words.next())
                && let Ok(value) = value.parse()
            {
                self.constants.insert(name.to_owned(), value);
            }
        }
    }

    /// Size and alignment of a type.
    fn size_of(&self, name: &str) -> (usize, usize) {
        match name {
            "__u8" | "char" => (1, 1),
            "__u16" => (2, 2),
            "__u32" | "__s32" => (4, 4),
            "__u64" | "__s64" => (8, 8),
            other => {
                let size = self
                    .structs
                    .get(other)
                    .unwrap_or_else(|| panic!("unknown type {other}"))
                    .size;
                (size, if size.is_multiple_of(8) { 8 } else { 4 })
            }
        }
    }

    /// The body of a struct, behind its opening brace; returns what follows the closing one.
    fn body<'a>(&self, mut rest: &'a [String]) -> (Struct, &'a [String]) {
        let mut fields = Vec::new();
        let (mut at, mut align) = (0usize, 1);
        while rest[0] != "}" {
            let ((size, field_align), mut tail) = if rest[0] == "struct" && rest[1] == "{" {
                let (inner, tail) = self.body(&rest[2..]);
                ((inner.size, 8), tail)
            } else if rest[0] == "struct" {
                (self.size_of(&rest[1]), &rest[2..])
            } else {
                (self.size_of(&rest[0]), &rest[1..])
            };
            // One or more declarators.
            loop {
                let name = tail[0].clone();
                tail = &tail[1..];
                let mut count = Some(1);
                if tail[0] == "[" {
                    let flexible = tail[1] == "]";
                    count = (!flexible)
                        .then(|| tail[1].parse().unwrap_or_else(|_| self.constants[&tail[1]]));
                    tail = &tail[if flexible { 2 } else { 3 }..];
                }
                assert_eq!(at % field_align, 0, "{name} has padding before it");
                align = align.max(field_align);
                if let Some(count) = count {
                    fields.push((name, at, size * count));
                    at += size * count;
                }
                let sign = tail[0].clone();
                tail = &tail[1..];
                if sign == ";" {
                    break;
                }
                assert_eq!(sign, ",");
            }
            rest = tail;
        }
        assert_eq!(at % align, 0, "the struct has padding at its end");
        (Struct { fields, size: at }, &rest[1..])
    }

    fn structs(&mut self, tokens: &[String]) {
        let mut rest = tokens;
        while let Some(at) = rest
            .windows(3)
            .position(|three| three[0] == "struct" && three[2] == "{")
        {
            let name = rest[at + 1].clone();
            let (body, after) = self.body(&rest[at + 3..]);
            self.structs.insert(name, body);
            rest = after;
        }
    }
}

fn parse() -> Parser {
    let text = std::fs::read_to_string(HEADER).expect("the header is where it belongs");
    let mut parser = Parser::default();
    parser.constants(&text);
    parser.structs(&tokens(&text));
    parser
}

#[test]
fn every_struct_has_the_layout_of_the_c_header() {
    let parser = parse();
    let mut seen = vec!["ckpt_hdr"];
    for layout in LAYOUTS {
        let Layout { name, fields, size } = layout();
        seen.push(name);
        let ours: Vec<_> = fields
            .into_iter()
            .map(|(name, at, size)| (name.trim_start_matches("r#").to_owned(), at, size))
            .collect();
        let theirs = &parser.structs[name];
        let own: Vec<_> = theirs
            .fields
            .iter()
            .filter(|(name, _, _)| name != "h")
            .cloned()
            .collect();
        assert_eq!(ours, own, "{name}");
        assert_eq!(size, theirs.size, "size of {name}");
    }
    let missing: Vec<_> = parser
        .structs
        .keys()
        .filter(|name| !seen.contains(&name.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "structs of the C header that are not read: {missing:?}"
    );
}

#[test]
fn every_record_type_of_the_c_header_has_a_name() {
    let text = std::fs::read_to_string(HEADER).expect("the header is where it belongs");
    let types: Vec<(&str, u32)> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("CKPT_REC_")?.strip_suffix(','))
        .filter_map(|line| line.split_once('='))
        .filter_map(|(name, value)| Some((name.trim(), value.trim().parse().ok()?)))
        .collect();
    assert!(types.len() >= 21, "the header's enum is found: {types:?}");
    for (name, number) in types {
        assert_eq!(crossthaw_image::record_type_name(number), Some(name));
    }
}
