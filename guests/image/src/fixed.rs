//! Fields of fixed width, in either byte order.

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};

/// Byte order of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ByteOrder {
    Little,
    Big,
}

/// Hands out the bytes of one record.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    order: ByteOrder,
}

/// The record ends before this field does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short(pub(crate) &'static str);

/// Where no name is known yet; who asked for the bytes gives it.
const UNNAMED: Short = Short("");

/// Names the field that was being read.
pub(crate) trait Named<T> {
    fn of(self, field: &'static str) -> Result<T, Short>;
}

impl<T> Named<T> for Result<T, Short> {
    fn of(self, field: &'static str) -> Self {
        self.map_err(|_| Short(field))
    }
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], order: ByteOrder) -> Self {
        Self { bytes, order }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Short> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(UNNAMED)?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| UNNAMED)
    }

    /// What is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// `count` values, as many as fit: a count beyond the record is an error before anything is allocated.
    pub(crate) fn list<T: Fixed>(&mut self, count: u32) -> Result<Vec<T>, Short> {
        let count = usize::try_from(count).map_err(|_| UNNAMED)?;
        if count
            .checked_mul(T::SIZE)
            .is_none_or(|len| len > self.bytes.len())
        {
            return Err(UNNAMED);
        }
        (0..count).map(|_| T::decode(self)).collect()
    }

    /// So many bytes.
    pub(crate) fn bytes(&mut self, len: u32) -> Result<Vec<u8>, Short> {
        let bytes = self.take(usize::try_from(len).map_err(|_| UNNAMED)?)?;
        Ok(bytes.to_vec())
    }

    /// Text of `len` bytes, its terminating zero included.
    pub(crate) fn text(&mut self, len: u32) -> Result<Name, Short> {
        self.bytes(len).map(Name)
    }
}

/// Text up to the first zero byte.
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end])
}

/// What a field holds, for comparisons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Number(i128),
    Bytes(Vec<u8>),
    /// A register, or the name of the object that an objref stands for.
    Word(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // What is small is a count or a number; what is large an address or bits.
            Self::Number(number) if *number < 0x1_0000 => write!(f, "{number}"),
            Self::Number(number) => write!(f, "{number:#x}"),
            Self::Bytes(bytes) => {
                let end = bytes.iter().rposition(|&byte| byte != 0);
                let text = &bytes[..end.map_or(0, |last| last + 1)];
                write!(f, "\"{}\"", text.escape_ascii())
            }
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// A field of a struct of the C header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldId<'a> {
    /// Name of the struct.
    pub(crate) of: &'static str,
    /// Name of the field in it.
    pub(crate) name: &'static str,
    /// The same with the index of an array, and below the field that holds the struct: `limits[3].soft`.
    pub(crate) path: &'a str,
}

/// Is told of each field and what it holds.
pub(crate) type Visit<'a> = dyn FnMut(FieldId<'_>, Value) + 'a;

/// A value that has the same size in every image.
pub(crate) trait Fixed: Sized {
    /// In bytes.
    const SIZE: usize;

    fn decode(from: &mut Cursor<'_>) -> Result<Self, Short>;

    fn encode(&self, order: ByteOrder, to: &mut Vec<u8>);

    /// Tell what this holds; `id` says whose it is.
    fn visit(&self, id: FieldId<'_>, to: &mut Visit<'_>);
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl Fixed for $type {
            const SIZE: usize = size_of::<$type>();

            fn decode(from: &mut Cursor<'_>) -> Result<Self, Short> {
                let bytes = from.array()?;
                Ok(match from.order {
                    ByteOrder::Little => <$type>::from_le_bytes(bytes),
                    ByteOrder::Big => <$type>::from_be_bytes(bytes),
                })
            }

            fn encode(&self, order: ByteOrder, to: &mut Vec<u8>) {
                match order {
                    ByteOrder::Little => to.extend(self.to_le_bytes()),
                    ByteOrder::Big => to.extend(self.to_be_bytes()),
                }
            }

            fn visit(&self, id: FieldId<'_>, to: &mut Visit<'_>) {
                to(id, Value::Number((*self).into()));
            }
        }
    )*};
}

numbers! { u8 u16 u32 i32 u64 i64 }

impl<T: Fixed, const N: usize> Fixed for [T; N] {
    const SIZE: usize = N * T::SIZE;

    fn decode(from: &mut Cursor<'_>) -> Result<Self, Short> {
        let list: Vec<T> = (0..N).map(|_| T::decode(from)).collect::<Result<_, _>>()?;
        list.try_into().map_err(|_| UNNAMED)
    }

    fn encode(&self, order: ByteOrder, to: &mut Vec<u8>) {
        for value in self {
            value.encode(order, to);
        }
    }

    fn visit(&self, id: FieldId<'_>, to: &mut Visit<'_>) {
        for (index, value) in self.iter().enumerate() {
            let path = &format!("{}[{index}]", id.path);
            value.visit(FieldId { path, ..id }, to);
        }
    }
}

/// `char name[N]`, padded with zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize>(pub [u8; N]);

impl<const N: usize> Text<N> {
    /// It, up to its first zero.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    /// It, up to its first zero; what is not UTF-8 is replaced.
    pub fn as_str(&self) -> Cow<'_, str> {
        lossy(&self.0)
    }
}

impl<const N: usize> Fixed for Text<N> {
    const SIZE: usize = N;

    fn decode(from: &mut Cursor<'_>) -> Result<Self, Short> {
        from.array().map(Self)
    }

    fn encode(&self, _: ByteOrder, to: &mut Vec<u8>) {
        to.extend(self.0);
    }

    fn visit(&self, id: FieldId<'_>, to: &mut Visit<'_>) {
        to(id, Value::Bytes(self.0.to_vec()));
    }
}

/// Text of any length, with the zero that ends it.
#[derive(Clone, PartialEq, Eq)]
pub struct Name(pub Vec<u8>);

impl Name {
    /// It, up to its first zero; what is not UTF-8 is replaced.
    pub fn as_str(&self) -> Cow<'_, str> {
        lossy(&self.0)
    }
}

impl<const N: usize> Serialize for Text<N> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.as_str())
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.as_str())
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// Name, offset and size in bytes of each field of a C struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Name of the struct in the C header.
    pub name: &'static str,
    /// Its fields, of a record without the header that all begin with.
    pub fields: Vec<(&'static str, usize, usize)>,
    /// Size of its fixed part.
    pub size: usize,
}

/// A field's name as C has it.
pub(crate) fn plain(name: &'static str) -> &'static str {
    name.trim_start_matches("r#")
}

/// The path of a field below another one.
pub(crate) fn below<'a>(path: &str, name: &'a str) -> Cow<'a, str> {
    if path.is_empty() {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(format!("{path}.{name}"))
    }
}

/// Declares a struct of the C header: its fixed fields in order, each at its natural alignment.
macro_rules! fixed {
    ($(#[$meta:meta])* $name:ident = $c_name:literal at $base:literal { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
        pub struct $name {
            $(pub $field: $type,)*
        }

        impl $crate::fixed::Fixed for $name {
            const SIZE: usize = 0 $(+ <$type as $crate::fixed::Fixed>::SIZE)*;

            fn decode(from: &mut $crate::fixed::Cursor<'_>) -> Result<Self, $crate::fixed::Short> {
                use $crate::fixed::Named as _;
                Ok(Self { $($field: <$type as $crate::fixed::Fixed>::decode(from).of($crate::fixed::plain(stringify!($field)))?,)* })
            }

            fn encode(&self, order: $crate::fixed::ByteOrder, to: &mut Vec<u8>) {
                $(self.$field.encode(order, to);)*
            }

            fn visit(&self, id: $crate::fixed::FieldId<'_>, to: &mut $crate::fixed::Visit<'_>) {
                $({
                    let name = $crate::fixed::plain(stringify!($field));
                    let path = &$crate::fixed::below(id.path, name);
                    self.$field.visit($crate::fixed::FieldId { of: $c_name, name, path }, to);
                })*
            }
        }

        impl $name {
            /// Where its fields are in the C struct.
            pub fn layout() -> $crate::fixed::Layout {
                let sizes = [$(($crate::fixed::plain(stringify!($field)), <$type as $crate::fixed::Fixed>::SIZE)),*];
                let mut at = $base;
                let place = |(field, size)| {
                    at += size;
                    (field, at - size, size)
                };
                let fields = sizes.map(place).to_vec();
                $crate::fixed::Layout { name: $c_name, fields, size: at }
            }
        }
    };
}

pub(crate) use fixed;
