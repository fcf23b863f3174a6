//! Fields of fixed width, in either byte order.

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

/// The record ends before the field does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short;

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], order: ByteOrder) -> Self {
        Self { bytes, order }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Short> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(Short)?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| Short)
    }

    /// What is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// `count` values, as many as fit: a count beyond the record is an error before anything is allocated.
    pub(crate) fn list<T: Fixed>(&mut self, count: u32) -> Result<Vec<T>, Short> {
        let count = usize::try_from(count).map_err(|_| Short)?;
        if count
            .checked_mul(T::SIZE)
            .is_none_or(|len| len > self.bytes.len())
        {
            return Err(Short);
        }
        (0..count).map(|_| T::decode(self)).collect()
    }

    /// Text of `len` bytes, its terminating zero included.
    pub(crate) fn text(&mut self, len: u32) -> Result<String, Short> {
        let bytes = self.take(usize::try_from(len).map_err(|_| Short)?)?;
        Ok(lossy(bytes))
    }
}

/// Text up to the first zero byte.
fn lossy(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// A value that has the same size in every image.
pub(crate) trait Fixed: Sized {
    /// In bytes.
    const SIZE: usize;

    fn decode(from: &mut Cursor<'_>) -> Result<Self, Short>;

    #[cfg(test)]
    fn encode(&self, order: ByteOrder, to: &mut Vec<u8>);
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

            #[cfg(test)]
            fn encode(&self, order: ByteOrder, to: &mut Vec<u8>) {
                match order {
                    ByteOrder::Little => to.extend(self.to_le_bytes()),
                    ByteOrder::Big => to.extend(self.to_be_bytes()),
                }
            }
        }
    )*};
}

numbers! { u8 u32 i32 u64 i64 }

impl<T: Fixed, const N: usize> Fixed for [T; N] {
    const SIZE: usize = N * T::SIZE;

    fn decode(from: &mut Cursor<'_>) -> Result<Self, Short> {
        let list: Vec<T> = (0..N).map(|_| T::decode(from)).collect::<Result<_, _>>()?;
        list.try_into().map_err(|_| Short)
    }

    #[cfg(test)]
    fn encode(&self, order: ByteOrder, to: &mut Vec<u8>) {
        for value in self {
            value.encode(order, to);
        }
    }
}

/// `char name[N]`, padded with zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<const N: usize>(pub String);

impl<const N: usize> Serialize for Text<N> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<const N: usize> Fixed for Text<N> {
    const SIZE: usize = N;

    fn decode(from: &mut Cursor<'_>) -> Result<Self, Short> {
        Ok(Self(lossy(&from.array::<N>()?)))
    }

    #[cfg(test)]
    fn encode(&self, _: ByteOrder, to: &mut Vec<u8>) {
        let mut bytes = self.0.clone().into_bytes();
        bytes.resize(N, 0);
        to.extend(bytes);
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
                Ok(Self { $($field: <$type as $crate::fixed::Fixed>::decode(from)?,)* })
            }

            #[cfg(test)]
            fn encode(&self, order: $crate::fixed::ByteOrder, to: &mut Vec<u8>) {
                $(self.$field.encode(order, to);)*
            }
        }

        impl $name {
            /// Where its fields are in the C struct.
            pub fn layout() -> $crate::fixed::Layout {
                let sizes = [$((stringify!($field), <$type as $crate::fixed::Fixed>::SIZE)),*];
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
