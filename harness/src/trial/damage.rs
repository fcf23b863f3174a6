//! Damaged images: cut or flipped once in each record, forged, or of another architecture. Pure functions on bytes.

use crossthaw_image::{Arch, ForgeError, Forgery, Image, Located, Record, forge_all};

use crate::oracle::refusal::Refuser;
use crate::scenario::Forged;

/// One way in which an image is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// What was done, for messages: `TASK at 264: cut after 12 of 120 bytes`.
    pub(super) what: String,
    /// Who may refuse it.
    pub(super) refuser: Refuser,
    /// The errno and a part of the line that it brings; those of the case where nothing is said.
    pub(super) expected: Option<(Option<String>, String)>,
    /// How the bytes are made from the intact ones.
    how: How,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum How {
    Cut { at: usize },
    Flip { at: usize, bit: u8 },
    Other(Vec<u8>),
    Forged(Vec<Forgery>),
}

impl Damage {
    /// The damaged image; `image` is what the intact bytes say.
    pub(super) fn apply(&self, intact: &[u8], image: &Image) -> Result<Vec<u8>, ForgeError> {
        Ok(match &self.how {
            How::Cut { at } => intact[..*at].to_vec(),
            How::Flip { at, bit } => {
                let mut bytes = intact.to_vec();
                bytes[*at] ^= 1 << bit;
                bytes
            }
            How::Other(bytes) => bytes.clone(),
            How::Forged(forgeries) => forge_all(intact, image, forgeries)?,
        })
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

/// The image cut before and inside each of its records: without its trailer, too, and with nothing left.
pub(super) fn cuts(image: &Image) -> Vec<Damage> {
    let before = each(image, |number, located, at, _| Damage {
        what: format!("cut before {} at {at}", located.record.type_name()),
        refuser: refuser(number),
        expected: None,
        how: How::Cut { at },
    });
    let inside = each(image, |number, located, at, len| {
        let within = place(number, len).max(1);
        Damage {
            what: format!(
                "{} at {at}: cut after {within} of {len} bytes",
                located.record.type_name()
            ),
            refuser: refuser(number),
            expected: None,
            how: How::Cut { at: at + within },
        }
    });
    before.into_iter().chain(inside).collect()
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
            expected: None,
            how: How::Flip {
                at: at + within,
                bit,
            },
        }
    })
}

/// The records changed one after the other, each with a checksum that is right.
pub(super) fn forgeries(forged: &[Forged]) -> Vec<Damage> {
    let damage = |forged: &Forged| Damage {
        what: forged.what(),
        refuser: if forged.by_tool {
            Refuser::Tool
        } else {
            Refuser::Kernel
        },
        expected: Some((forged.errno.clone(), forged.log.clone())),
        how: How::Forged(forged.forgeries.clone()),
    };
    forged.iter().map(damage).collect()
}

/// Whose image a foreign one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    /// Of another architecture with the same byte order.
    SameOrder,
    /// Of an architecture with the other one.
    OtherOrder,
}

/// An image of another architecture: valid there, as far as a decoder can tell.
pub(super) fn foreign(image: &Image, whose: Foreign) -> Option<Damage> {
    let same = whose == Foreign::SameOrder;
    let other = Arch::ALL
        .into_iter()
        .find(|arch| *arch != image.arch && (arch.byte_order() == image.byte_order) == same)?;
    Some(Damage {
        what: format!("image of {}", other.name()),
        refuser: Refuser::Kernel,
        expected: None,
        how: How::Other(as_of(image, other)),
    })
}

/// The image as if a kernel of this architecture had written it: its byte order and checksum are right.
fn as_of(image: &Image, arch: Arch) -> Vec<u8> {
    let mut image = image.clone();
    for located in &mut image.records {
        if let Record::Header(header) = &mut located.record {
            header.arch = arch.number();
            header.word_size = arch.word_size();
        }
    }
    image.encode(arch.byte_order())
}

#[cfg(test)]
mod tests {
    use crossthaw_image::ByteOrder;

    use super::super::fake;
    use super::*;

    #[test]
    fn every_record_is_damaged_once_and_inside() {
        let bytes = fake::image();
        let image = Image::read(bytes.as_slice()).unwrap();
        let all = flips(&image);
        assert_eq!(all.len(), image.records.len());
        for (damage, located) in all.iter().zip(&image.records) {
            let How::Flip { at, .. } = damage.how else {
                unreachable!()
            };
            let record = located.at..located.at + u64::from(located.len);
            assert!(record.contains(&(at as u64)), "{damage:?}");
        }
    }

    #[test]
    fn every_record_is_cut_off_and_cut_in_two() {
        let bytes = fake::image();
        let image = Image::read(bytes.as_slice()).unwrap();
        let all = cuts(&image);
        let (before, inside) = all.split_at(image.records.len());
        assert_eq!(before.len(), inside.len());
        for ((before, inside), located) in before.iter().zip(inside).zip(&image.records) {
            let record = located.at + 1..located.at + u64::from(located.len);
            assert_eq!(
                before.apply(&bytes, &image).unwrap().len() as u64,
                located.at
            );
            assert!(record.contains(&(inside.apply(&bytes, &image).unwrap().len() as u64)));
        }
    }

    #[test]
    fn no_damaged_image_can_be_read() {
        let bytes = fake::image();
        let image = Image::read(bytes.as_slice()).unwrap();
        for damage in cuts(&image).into_iter().chain(flips(&image)) {
            let damaged = damage.apply(&bytes, &image).unwrap();
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
    fn a_foreign_image_is_sound_and_another_architectures() {
        let bytes = fake::image();
        let image = Image::read(bytes.as_slice()).unwrap();
        let read = [Foreign::SameOrder, Foreign::OtherOrder].map(|whose| {
            let damage = foreign(&image, whose).unwrap();
            Image::read(damage.apply(&bytes, &image).unwrap().as_slice()).unwrap()
        });
        let what = read.each_ref().map(|it| (it.arch, it.byte_order));
        assert_eq!(
            what,
            [
                (Arch::X86_32, ByteOrder::Little),
                (Arch::S390x, ByteOrder::Big)
            ]
        );
        let inner = |image: &Image| image.records[1..image.records.len() - 1].to_vec();
        for other in &read {
            assert!(other.verify().is_ok());
            assert_eq!(inner(other), inner(&image));
        }
    }
}
