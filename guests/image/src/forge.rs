//! Images with one field changed and a checksum that is right again: what a reader must find out by itself.

use std::fmt;
use std::ops::Range;

use serde::{Serialize, Serializer};
use xxhash_rust::xxh64::xxh64;

use crate::fixed::{ByteOrder, Fixed as _, Layout};
use crate::reader::{Image, Located};
use crate::records::{LAYOUTS, PidId, Record, Rlimit, Sigaction, type_name};
use crate::regs;

/// Bytes of the header of a record: its type and its length.
const HEAD: usize = 8;

/// Where a field is in its record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum At {
    /// At these bytes, its header included.
    Bytes(Range<usize>),
    /// In the data of a register set.
    Register(String),
}

/// A number in a type of record, by its path in the C header: `pid`, `h.len`, `fds[2].fd`, `path[0]`; in REGSET also the name of a register.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    path: String,
    at: At,
}

/// What is done to a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// The field has this value.
    Set(Field, i128),
    /// This is added to it, modulo its size.
    Add(Field, i128),
    /// These bits are set, too.
    Or(Field, u64),
    /// It has the value of the second one.
    Copy(Field, Field),
    /// The record is not there.
    Remove,
    /// The record is there twice.
    Repeat,
}

/// A change of one record of an image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Forgery {
    /// Type of the record, `FILES`.
    pub record: String,
    /// Which of them, from 0.
    pub nth: usize,
    /// What is done to it.
    pub change: Change,
}

impl fmt::Display for Forgery {
    /// `FILES 0: fds[1].fd set to 70000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.record, self.nth)?;
        match &self.change {
            Change::Set(field, value) => write!(f, "{} set to {value}", field.path),
            Change::Add(field, value) => write!(f, "{value} added to {}", field.path),
            Change::Or(field, bits) => write!(f, "bits {bits:#x} set in {}", field.path),
            Change::Copy(field, from) => write!(f, "{} copied to {}", from.path, field.path),
            Change::Remove => f.write_str("removed"),
            Change::Repeat => f.write_str("repeated"),
        }
    }
}

impl Serialize for Forgery {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Why an image cannot be forged so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForgeError {
    /// No type of record has this name.
    #[error("no record is called {0:?}")]
    Record(String),
    /// The record has no such number.
    #[error("{record} has no field {path:?}")]
    Field {
        /// Type of the record.
        record: String,
        /// The field.
        path: String,
    },
    /// The image has too few of them.
    #[error("the image has {found} {record} records, not a number {nth} (counted from 0)")]
    Missing {
        /// Type of the record.
        record: String,
        /// The one that is asked for.
        nth: usize,
        /// How many there are.
        found: usize,
    },
    /// The record of this image ends before the field does.
    #[error("this {record} has no {path}: it is {len} bytes long")]
    Short {
        /// Type of the record.
        record: String,
        /// The field.
        path: String,
        /// Length of the record in bytes.
        len: usize,
    },
    /// The value is too large for the field, or the two fields differ in size.
    #[error("{path} has {size} bytes, in which {what} does not fit")]
    Size {
        /// The field.
        path: String,
        /// Its bytes.
        size: usize,
        /// What was to go there.
        what: String,
    },
    /// Nothing is different afterwards.
    #[error("{0} has this value already")]
    Same(String),
    /// The next change has nothing to go by.
    #[error(
        "with {done} the image cannot be read any more, so nothing else can be changed in it: {why}"
    )]
    Unreadable {
        /// The change before.
        done: String,
        /// What the reader says.
        why: String,
    },
}

/// The names of all types of records.
pub fn record_names() -> impl Iterator<Item = &'static str> + Clone {
    (1..).map_while(type_name)
}

/// The layout of a record's fixed part.
fn layout(record: &str) -> Option<Layout> {
    let name = format!("ckpt_rec_{}", record.to_lowercase());
    let mut layouts = LAYOUTS.iter().map(|layout| layout());
    layouts.find(|layout| layout.name == name)
}

/// A list: the field, bytes of an element, and the element's own fields.
type List = (&'static str, usize, Option<fn() -> Layout>);

/// The lists of a record: what follows its fixed part, or is in it.
fn elements(record: &str) -> &'static [List] {
    use crate::records::{Fd, Insn, Itimer, PosixTimer, Siginfo, TreeTask, Usage};
    match record {
        "HEADER" => &[
            ("magic", 1, None),
            ("release", 1, None),
            ("build", 1, None),
            ("machine", 1, None),
        ],
        "TREE" => &[("tasks", TreeTask::SIZE, Some(TreeTask::layout))],
        "TASK" => &[("comm", 1, None)],
        "RLIMITS" => &[("limits", Rlimit::SIZE, Some(Rlimit::layout))],
        "CPU" => &[("word", 8, None)],
        "REGSET" | "PAGES" | "PIPE_BUF" => &[("data", 1, None)],
        "FILE" | "UNLINKED" | "PIPE" => &[("path", 1, None)],
        "MEMFD" | "VMA" | "CGROUP" => &[("name", 1, None)],
        "USAGE" => &[
            ("task", Usage::SIZE, Some(Usage::layout)),
            ("exited", Usage::SIZE, Some(Usage::layout)),
            ("children", Usage::SIZE, Some(Usage::layout)),
        ],
        "PID_NS" => &[("ids", PidId::SIZE, Some(PidId::layout))],
        "FILES" => &[("fds", Fd::SIZE, Some(Fd::layout))],
        "FS" => &[("paths", 1, None)],
        "MOUNT" | "NODE" => &[("names", 1, None)],
        "SIGHAND" => &[("action", Sigaction::SIZE, Some(Sigaction::layout))],
        "CRED" => &[("groups", 4, None)],
        "MM" => &[("auxv", 8, None)],
        "LDT" => &[("entries", 8, None)],
        "ERROR" => &[("text", 1, None)],
        "TRAILER" => &[("magic", 1, None)],
        "PENDING" => &[("infos", Siginfo::SIZE, Some(Siginfo::layout))],
        "POSIX_TIMERS" => &[("timers", PosixTimer::SIZE, Some(PosixTimer::layout))],
        "SECCOMP" => &[("insns", Insn::SIZE, Some(Insn::layout))],
        "UTS_NS" => &[("nodename", 1, None), ("domainname", 1, None)],
        "ITIMERS" => &[("timers", Itimer::SIZE, Some(Itimer::layout))],
        _ => &[],
    }
}

/// The bytes of a field of a struct that begins at `base`.
fn member(layout: &Layout, base: usize, name: &str) -> Option<Range<usize>> {
    let (_, at, size) = layout.fields.iter().find(|(field, ..)| *field == name)?;
    Some(base + at..base + at + size)
}

fn bytes_of(record: &str, path: &str) -> Option<Range<usize>> {
    match path {
        "h.type" => return Some(0..4),
        "h.len" => return Some(4..HEAD),
        _ => {}
    }
    let layout = layout(record)?;
    let Some((name, rest)) = path.split_once('[') else {
        let list = elements(record).iter().any(|(name, ..)| *name == path);
        return member(&layout, 0, path).filter(|_| !list);
    };
    let (index, rest) = rest.split_once(']')?;
    let index: usize = index.parse().ok().filter(|&index| index < 1 << 20)?;
    let (_, size, fields) = elements(record).iter().find(|(field, ..)| *field == name)?;
    // A list that is no part of the fixed one follows it.
    let (begin, end) = match member(&layout, 0, name) {
        Some(list) => (list.start, list.end),
        None => (layout.size, usize::MAX),
    };
    let at = begin + index * size;
    if at + size > end {
        return None;
    }
    match (fields, rest.strip_prefix('.')) {
        (None, None) if rest.is_empty() => Some(at..at + size),
        (Some(fields), Some(name)) => member(&fields(), at, name),
        _ => None,
    }
}

impl Field {
    /// A field of a type of record.
    ///
    /// # Errors
    ///
    /// If there is no such record or field.
    pub fn new(record: &str, path: &str) -> Result<Self, ForgeError> {
        if !record_names().any(|name| name == record) {
            return Err(ForgeError::Record(record.to_owned()));
        }
        let at = match bytes_of(record, path) {
            Some(bytes) => At::Bytes(bytes),
            None if record == "REGSET" && regs::is_register(path) => At::Register(path.to_owned()),
            None => {
                return Err(ForgeError::Field {
                    record: record.to_owned(),
                    path: path.to_owned(),
                });
            }
        };
        let path = path.to_owned();
        Ok(Self { path, at })
    }

    /// The names of a record's fields, lists with an index.
    pub fn names(record: &str) -> Vec<String> {
        let lists = elements(record);
        let mut names = vec!["h.type".to_owned(), "h.len".to_owned()];
        let fixed = layout(record).map_or_else(Vec::new, |layout| layout.fields);
        let plain = fixed.iter().map(|(name, ..)| *name);
        let is_list = |name: &&str| lists.iter().any(|(list, ..)| list == name);
        names.extend(plain.filter(|name| !is_list(name)).map(str::to_owned));
        for (list, _, fields) in lists {
            match fields {
                None => names.push(format!("{list}[0]")),
                Some(fields) => names.extend(
                    fields()
                        .fields
                        .iter()
                        // What is longer than a number cannot be set to one.
                        .filter(|(.., size)| *size <= 8)
                        .map(|(name, ..)| format!("{list}[0].{name}")),
                ),
            }
        }
        names
    }

    /// Where it is in the image.
    fn find(&self, image: &Image, located: &Located) -> Result<Range<usize>, ForgeError> {
        let len = usize::try_from(located.len).unwrap_or(usize::MAX);
        let base = usize::try_from(located.at).unwrap_or(usize::MAX);
        let bytes = match (&self.at, &located.record) {
            (At::Bytes(bytes), _) => Some(bytes.clone()),
            (At::Register(name), Record::Regset(regset)) => {
                let head = HEAD + 8;
                let pieces = regs::pieces(image.arch, regset.head.note, regset.data.len());
                let piece = pieces.into_iter().find(|it| it.name.as_ref() == Some(name));
                piece.map(|it| head + it.bytes.start..head + it.bytes.end)
            }
            (At::Register(_), _) => None,
        };
        match bytes.filter(|bytes| bytes.end <= len) {
            Some(bytes) => Ok(base + bytes.start..base + bytes.end),
            None => Err(ForgeError::Short {
                record: located.record.type_name().to_owned(),
                path: self.path.clone(),
                len,
            }),
        }
    }

    fn does_not_fit(&self, size: usize, what: &dyn fmt::Display) -> ForgeError {
        ForgeError::Size {
            path: self.path.clone(),
            size,
            what: what.to_string(),
        }
    }

    fn put(&self, to: &mut [u8], order: ByteOrder, value: u64) -> Result<(), ForgeError> {
        let bytes = value.to_be_bytes();
        let size = to.len();
        let Some((zeros, low)) = bytes.len().checked_sub(size).map(|at| bytes.split_at(at)) else {
            return Err(self.does_not_fit(size, &"a number"));
        };
        if zeros.iter().any(|&byte| byte != 0) {
            return Err(self.does_not_fit(size, &value));
        }
        to.copy_from_slice(low);
        if order == ByteOrder::Little {
            to.reverse();
        }
        Ok(())
    }

    fn get(&self, from: &[u8], order: ByteOrder) -> Result<u64, ForgeError> {
        if from.len() > 8 {
            return Err(self.does_not_fit(from.len(), &"a number"));
        }
        let shift = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Ok(match order {
            ByteOrder::Little => from.iter().rev().fold(0, shift),
            ByteOrder::Big => from.iter().fold(0, shift),
        })
    }
}

/// The value modulo the field's size; `None` if it is not one of the field's, signed or not.
fn fit(value: i128, size: usize, wrap: bool) -> Option<u64> {
    let bits = 8 * size;
    let range = -(1i128 << (bits - 1))..1i128 << bits;
    let low = value.rem_euclid(1i128 << bits);
    (wrap || range.contains(&value)).then(|| u64::try_from(low).ok())?
}

impl Change {
    /// Change one field of the image.
    fn field(&self, bytes: &mut [u8], image: &Image, located: &Located) -> Result<(), ForgeError> {
        let order = image.byte_order;
        let (field, Some(value)) = (match self {
            Self::Set(field, value) => {
                let size = field.find(image, located)?.len();
                (field, fit(*value, size, false))
            }
            Self::Add(field, value) => {
                let at = field.find(image, located)?;
                let size = at.len();
                let before = field.get(&bytes[at], order)?;
                (field, fit(i128::from(before) + value, size, true))
            }
            Self::Or(field, bits) => {
                let at = field.find(image, located)?;
                (field, Some(field.get(&bytes[at], order)? | bits))
            }
            Self::Copy(field, from) => {
                let at = from.find(image, located)?;
                (field, Some(from.get(&bytes[at], order)?))
            }
            Self::Remove | Self::Repeat => return Ok(()),
        }) else {
            return Err(self.too_large(image, located));
        };
        let at = field.find(image, located)?;
        let to = &mut bytes[at];
        let before = to.to_vec();
        field.put(to, order, value)?;
        if *to == *before {
            return Err(ForgeError::Same(field.path.clone()));
        }
        Ok(())
    }

    fn too_large(&self, image: &Image, located: &Located) -> ForgeError {
        match self {
            Self::Set(field, value) | Self::Add(field, value) => {
                let size = field.find(image, located).map_or(0, |at| at.len());
                field.does_not_fit(size, &value)
            }
            _ => unreachable!("only numbers of the forger's own can be too large"),
        }
    }
}

/// The image with this change, its trailer right again unless it is the one that is changed; the bytes are those that the image was read from.
///
/// # Errors
///
/// If the image has no such record or field, or the change is none.
pub fn forge(bytes: &[u8], image: &Image, forgery: &Forgery) -> Result<Vec<u8>, ForgeError> {
    let Forgery {
        record,
        nth,
        change,
    } = forgery;
    let mut found = image
        .records
        .iter()
        .filter(|located| located.record.type_name() == record);
    let Some(located) = found.nth(*nth) else {
        let all = image.records.iter();
        return Err(ForgeError::Missing {
            record: record.clone(),
            nth: *nth,
            found: all.filter(|it| it.record.type_name() == record).count(),
        });
    };
    let at = usize::try_from(located.at).unwrap_or(usize::MAX);
    let end = at.saturating_add(usize::try_from(located.len).unwrap_or(usize::MAX));
    let mut forged = bytes.to_vec();
    match change {
        Change::Remove => drop(forged.drain(at..end)),
        Change::Repeat => {
            let copy = bytes[at..end].to_vec();
            forged.splice(end..end, copy);
        }
        change => change.field(&mut forged, image, located)?,
    }
    if record != "TRAILER" {
        reseal(&mut forged, image.byte_order);
    }
    Ok(forged)
}

/// As [`forge`], with several changes: each counts in the image that the one before has left.
///
/// # Errors
///
/// As [`forge`]; and if an image with one of the changes, but the last, cannot be read.
pub fn forge_all(
    bytes: &[u8],
    image: &Image,
    forgeries: &[Forgery],
) -> Result<Vec<u8>, ForgeError> {
    let Some((last, first)) = forgeries.split_last() else {
        return Ok(bytes.to_vec());
    };
    let mut forged = bytes.to_vec();
    let mut read = image.clone();
    for forgery in first {
        forged = forge(&forged, &read, forgery)?;
        read = Image::read(forged.as_slice()).map_err(|error| ForgeError::Unreadable {
            done: forgery.to_string(),
            why: error.to_string(),
        })?;
    }
    forge(&forged, &read, last)
}

/// Make the trailer say what is before it.
fn reseal(bytes: &mut [u8], order: ByteOrder) {
    const TRAILER: usize = HEAD + 24;
    let Some(at) = bytes.len().checked_sub(TRAILER) else {
        return;
    };
    let (before, trailer) = bytes.split_at_mut(at);
    let mut sums = Vec::new();
    (before.len() as u64).encode(order, &mut sums);
    xxh64(before, 0).encode(order, &mut sums);
    trailer[HEAD + 8..].copy_from_slice(&sums);
}

#[cfg(test)]
mod tests;
