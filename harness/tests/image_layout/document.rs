//! The tables of `docs/image-format.md`.

use std::path::Path;

use super::Expected;

/// A row of a struct's table.
pub(crate) struct Row {
    pub(crate) at: usize,
    /// `None` for what goes on to the end of the record.
    pub(crate) size: Option<usize>,
    kind: String,
    pub(crate) name: String,
    /// What follows the type in C: nothing, `[N]` or `[]`.
    array: String,
    pub(crate) meaning: String,
}

/// A struct.
pub(crate) struct Part {
    name: String,
    pub(crate) size: usize,
    pub(crate) rows: Vec<Row>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Document {
    pub(crate) parts: Vec<Part>,
    /// Name and number of each record.
    pub(crate) records: Vec<(String, u32)>,
    /// Constants that are numbers.
    pub(crate) constants: Vec<Expected>,
}

fn row(cells: &[&str]) -> Option<Row> {
    let [at, size, kind, field, meaning] = cells else {
        return None;
    };
    let (name, array) = field.split_at(field.find('[').unwrap_or(field.len()));
    Some(Row {
        at: at.parse().ok()?,
        size: size.parse().ok(),
        kind: (*kind).to_owned(),
        name: name.to_owned(),
        array: array.to_owned(),
        meaning: (*meaning).to_owned(),
    })
}

fn constant(cells: &[&str]) -> Option<Expected> {
    let [name, value, _] = cells else { return None };
    let value = match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => value.parse(),
    };
    Some(((*name).to_owned(), value.ok()?))
}

impl Document {
    pub(crate) fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let mut all = Self::default();
        let mut constants = false;
        for line in text.lines() {
            if let Some(heading) = line.strip_prefix("## ") {
                constants = heading == "Constants";
            }
            if let Some((name, number)) =
                line.strip_prefix("### ").and_then(|it| it.split_once(": "))
            {
                all.records.push((name.to_owned(), number.parse().unwrap()));
            }
            all.struct_begins(line);
            let cells: Vec<&str> = line
                .trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().trim_matches('`'))
                .collect();
            if constants {
                all.constants.extend(constant(&cells));
            } else if let (Some(row), Some(part)) = (row(&cells), all.parts.last_mut()) {
                part.rows.push(row);
            }
        }
        all
    }

    /// `` `struct NAME`, N bytes`` of a record, or `### ` and the name, and the bytes in a line below.
    fn struct_begins(&mut self, line: &str) {
        let named = line.trim_start_matches("### ").strip_prefix("`struct ");
        if let Some((name, rest)) = named.and_then(|rest| rest.split_once('`')) {
            let rest = rest.trim_start_matches(", ");
            self.parts.push(Part {
                name: name.to_owned(),
                size: bytes(rest).unwrap_or_default(),
                rows: Vec::new(),
            });
        } else if let (Some(size), Some(part)) = (bytes(line), self.parts.last_mut())
            && part.rows.is_empty()
        {
            part.size = size;
        }
    }

    /// The struct of this name.
    pub(crate) fn part(&self, name: &str) -> &Part {
        let found = self.parts.iter().find(|part| part.name == name);
        found.unwrap_or_else(|| panic!("the document has no struct {name}"))
    }

    /// That each field has its type in C.
    pub(crate) fn types(&self) -> Vec<Expected> {
        let mut all = Vec::new();
        for part in &self.parts {
            for row in &part.rows {
                let kind = match row.kind.as_str() {
                    "u8" | "u16" | "u32" | "u64" | "s32" | "s64" => format!("__{}", row.kind),
                    "char" => "char".to_owned(),
                    // A struct without a name, whose size is compared.
                    anonymous if anonymous.starts_with('{') => continue,
                    name => format!("struct {name}"),
                };
                // What follows a run of pages is no member in C.
                if part.name == "ckpt_rec_pages" && row.array == "[]" {
                    continue;
                }
                let kind = format!("{kind}{}", row.array);
                let member = format!("((struct {} *)0)->{}", part.name, row.name);
                let same = format!("__builtin_types_compatible_p(__typeof__({member}), {kind})");
                all.push((same, 1));
            }
        }
        assert!(all.len() > 100, "the tables of fields are found");
        all
    }
}

/// `N bytes` at the beginning of a line.
fn bytes(line: &str) -> Option<usize> {
    let (number, rest) = line.split_once(' ')?;
    rest.starts_with("bytes").then(|| number.parse().ok())?
}
