//! Damaged images: cut or flipped once in each record, or of another architecture. Pure functions on bytes.

use crossthaw_image::{ByteOrder, Header, Image, Located, Trailer};
use xxhash_rust::xxh64::xxh64;

use crate::arch::Arch;
use crate::oracle::refusal::Refuser;

/// One way in which an image is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// What was done, for messages: `TASK at 264: cut after 12 of 120 bytes`.
    pub(super) what: String,
    /// Who may refuse it.
    pub(super) refuser: Refuser,
    /// How the bytes are made from the intact ones.
    how: How,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum How {
    Cut { at: usize },
    Flip { at: usize, bit: u8 },
    Other(Vec<u8>),
}

impl Damage {
    /// The damaged image.
    pub(super) fn apply(&self, intact: &[u8]) -> Vec<u8> {
        match &self.how {
            How::Cut { at } => intact[..*at].to_vec(),
            How::Flip { at, bit } => {
                let mut bytes = intact.to_vec();
                bytes[*at] ^= 1 << bit;
                bytes
            }
            How::Other(bytes) => bytes.clone(),
        }
    }
}

/// Bytes of the header of a record: its type and its length.
const RECORD_HEADER: usize = 8;

/// A place in a record of this length, by the record's number.
///
/// Every fourth is in the record's header; the others are spread over the rest by the golden ratio.
fn place(number: usize, len: usize) -> usize {
    if number % 4 == 3 || len <= RECORD_HEADER {
        return (number / 4) % RECORD_HEADER.min(len);
    }
    // 2^32 divided by the golden ratio: successive numbers fall far from each other.
    let spread = u32::try_from(number + 1)
        .unwrap_or(u32::MAX)
        .wrapping_mul(0x9e37_79b9);
    let rest = (len - RECORD_HEADER) as u64;
    RECORD_HEADER + usize::try_from((u64::from(spread) * rest) >> 32).unwrap_or(0)
}

fn each(image: &Image, damage: impl Fn(usize, &Located, usize, usize) -> Damage) -> Vec<Damage> {
    let records = image.records.iter().enumerate();
    records
        .filter_map(|(number, located)| {
            let at = usize::try_from(located.at).ok()?;
            let len = usize::try_from(located.len).ok()?;
            Some(damage(number, located, at, len))
        })
        .collect()
}

/// The tool reads the header and the tree, and the kernel all.
fn refuser(number: usize) -> Refuser {
    if number < 2 {
        Refuser::KernelOrTool
    } else {
        Refuser::Kernel
    }
}

/// The image cut inside each of its records.
pub(super) fn cuts(image: &Image) -> Vec<Damage> {
    each(image, |number, located, at, len| {
        let within = place(number, len).max(1);
        Damage {
            what: format!(
                "{} at {at}: cut after {within} of {len} bytes",
                located.record.type_name()
            ),
            refuser: refuser(number),
            how: How::Cut { at: at + within },
        }
    })
}

/// One bit flipped in each record.
pub(super) fn flips(image: &Image) -> Vec<Damage> {
    each(image, |number, located, at, len| {
        let within = place(number, len);
        let bit = u8::try_from(number % 8).unwrap_or(0);
        Damage {
            what: format!(
                "{} at {at}: bit {bit} of byte {within} flipped",
                located.record.type_name()
            ),
            refuser: refuser(number),
            how: How::Flip {
                at: at + within,
                bit,
            },
        }
    })
}

/// An image of another architecture.
pub(super) fn foreign(image: Vec<u8>) -> Damage {
    Damage {
        what: "image of another architecture".to_owned(),
        refuser: Refuser::Kernel,
        how: How::Other(image),
    }
}

/// Place and size of a field in a record.
fn field(layout: &crossthaw_image::Layout, name: &str) -> Option<(usize, usize)> {
    let found = layout.fields.iter().find(|(field, _, _)| *field == name);
    found.map(|&(_, at, size)| (at, size))
}

fn put(bytes: &mut [u8], at: usize, size: usize, value: u64, order: ByteOrder) -> Option<()> {
    let place = bytes.get_mut(at..at + size)?;
    match order {
        ByteOrder::Little => place.copy_from_slice(&value.to_le_bytes()[..size]),
        ByteOrder::Big => place.copy_from_slice(&value.to_be_bytes()[8 - size..]),
    }
    Some(())
}

/// An image that claims to be of the other architecture with its byte order, and is sound apart from that: its checksum is right.
pub(super) fn disguise(image: &Image, intact: &[u8]) -> Option<Vec<u8>> {
    let own = Arch::ALL
        .into_iter()
        .find(|arch| arch.name() == image.arch.name())?;
    let other = Arch::ALL
        .into_iter()
        .find(|arch| *arch != own && arch.row().byte_order == own.row().byte_order)?;
    // `enum ckpt_arch` begins with 1.
    let number = (1..16).find(|&number| {
        crossthaw_image::Arch::from_number(number).is_some_and(|arch| arch.name() == other.name())
    })?;
    let order = image.byte_order;
    let mut bytes = intact.to_vec();
    let header = Header::layout();
    for (name, value) in [
        ("arch", u64::from(number)),
        ("word_size", other.row().word_size.into()),
    ] {
        let (at, size) = field(&header, name)?;
        put(&mut bytes, at, size, value, order)?;
    }
    let trailer = usize::try_from(image.records.last()?.at).ok()?;
    let checksum = xxh64(bytes.get(..trailer)?, 0);
    let (at, size) = field(&Trailer::layout(), "checksum")?;
    put(&mut bytes, trailer + at, size, checksum, order)?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::fake;
    use super::*;

    #[test]
    fn every_record_is_damaged_once_and_inside() {
        let bytes = fake::image();
        let image = Image::read(bytes.as_slice()).unwrap();
        for all in [cuts(&image), flips(&image)] {
            assert_eq!(all.len(), image.records.len());
            for (damage, located) in all.iter().zip(&image.records) {
                let (start, end) = (located.at, located.at + u64::from(located.len));
                let at = match damage.how {
                    How::Cut { at } => {
                        assert!(at as u64 > start && (at as u64) < end, "{damage:?}");
                        continue;
                    }
                    How::Flip { at, .. } => at as u64,
                    How::Other(_) => unreachable!(),
                };
                assert!((start..end).contains(&at), "{damage:?}");
            }
        }
    }

    #[test]
    fn no_damaged_image_can_be_read() {
        let bytes = fake::image();
        let image = Image::read(bytes.as_slice()).unwrap();
        for damage in cuts(&image).into_iter().chain(flips(&image)) {
            let damaged = damage.apply(&bytes);
            assert!(Image::read(damaged.as_slice()).is_err(), "{damage:?}");
        }
    }

    #[test]
    fn places_are_spread_over_headers_and_payloads() {
        let places: Vec<usize> = (0..400).map(|number| place(number, 4120)).collect();
        assert!((0..RECORD_HEADER).all(|at| places.contains(&at)));
        for part in 0..16 {
            let part = RECORD_HEADER + part * 257..RECORD_HEADER + (part + 1) * 257;
            assert!(places.iter().any(|at| part.contains(at)), "{part:?}");
        }
        assert!((0..400).all(|number| (0..40).contains(&place(number, 40))));
    }

    #[test]
    fn a_disguised_image_is_sound_and_another_architectures() {
        let bytes = fake::image();
        let image = Image::read(bytes.as_slice()).unwrap();
        let disguised = disguise(&image, &bytes).unwrap();
        let read = Image::read(disguised.as_slice()).unwrap();
        assert_eq!(
            (image.arch, read.arch),
            (crossthaw_image::Arch::X86_64, crossthaw_image::Arch::X86_32)
        );
        assert_eq!(
            read.records[1..read.records.len() - 1],
            image.records[1..image.records.len() - 1]
        );
    }
}
