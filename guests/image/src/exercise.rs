//! Everything that this crate does with an image, for tests of what no image may break.

use xxhash_rust::xxh64::xxh64;

use crate::fixed::ByteOrder;
use crate::reader::{HEADER, Image, MAGIC, Reader, TRAILER};
use crate::records::{Record, Trailer};
use crate::{compare, verify};

/// Read, show, verify, rewrite and compare these bytes, as they are and with a trailer that is right.
///
/// # Panics
///
/// If the crate contradicts itself, or has a bug.
pub fn exercise(bytes: &[u8]) {
    once(bytes);
    if let Some(sealed) = seal(bytes) {
        once(&sealed);
    }
}

fn once(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    while let Some(item) = reader.next() {
        match (item, reader.arch(), reader.byte_order()) {
            (Ok(located), Some(arch), Some(order)) => {
                assert!(!located.text(arch, order).is_empty());
            }
            (Ok(_), ..) => panic!("a record came before the header"),
            (Err(error), ..) => assert!(!error.to_string().is_empty()),
        }
    }
    let valid = verify(bytes);
    let Ok(image) = Image::read(bytes) else {
        assert!(valid.is_err(), "what cannot be read is valid");
        return;
    };
    assert_eq!(image.verify().ok(), valid.ok());
    assert_eq!(compare(&image, &image, None), []);
    assert_eq!(image.encode(image.byte_order), bytes);
    let other = match image.byte_order {
        ByteOrder::Little => ByteOrder::Big,
        ByteOrder::Big => ByteOrder::Little,
    };
    let swapped = image.encode(other);
    match Image::read(swapped.as_slice()) {
        Ok(swapped) => {
            // Registers are bytes, and so read as other numbers.
            let differs = compare(&image, &swapped, None);
            let differs = differs
                .iter()
                .find(|it| it.volatile.is_none() && it.record != "REGSET");
            assert_eq!(differs, None);
        }
        Err(error) => panic!("in the other byte order: {error}"),
    }
}

/// The records of an image with a trailer that fits them; `None` if they do not reach to a trailer.
fn seal(bytes: &[u8]) -> Option<Vec<u8>> {
    let order = match bytes.first_chunk()? {
        head if *head == HEADER.to_le_bytes() => ByteOrder::Little,
        head if *head == HEADER.to_be_bytes() => ByteOrder::Big,
        _ => return None,
    };
    let word = |at: usize| {
        let word: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(match order {
            ByteOrder::Little => u32::from_le_bytes(word),
            ByteOrder::Big => u32::from_be_bytes(word),
        })
    };
    let mut at = 0;
    while word(at)? != TRAILER {
        let len = usize::try_from(word(at + 4)?).ok()?;
        at = at.checked_add(len.max(8))?;
    }
    Some(sealed(order, bytes.get(..at)?))
}

/// Records with a trailer that fits them.
pub fn sealed(order: ByteOrder, records: &[u8]) -> Vec<u8> {
    let mut bytes = records.to_vec();
    let trailer = Trailer {
        magic: MAGIC,
        bytes: bytes.len() as u64,
        checksum: xxh64(&bytes, 0),
    };
    Record::Trailer(trailer).encode(order, &mut bytes);
    bytes
}
