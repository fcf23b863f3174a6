//! No byte makes the decoder panic, and what is written is what was read.

use proptest::prelude::*;
use proptest::sample::Index;

use crate::reader::{Image, Reader};
use crate::sample::{head, image, records, writer};
use crate::{Arch, compare, exercise, sealed};

/// All that the crate does, and JSON.
fn show(bytes: &[u8]) {
    exercise(bytes);
    for located in Reader::new(bytes).flatten() {
        serde_json::to_string(&located).unwrap();
    }
}

/// An image whose records are those of the sample, damaged and in another order, but with a trailer that is right.
fn shuffled(arch: Arch, moves: &[(Index, Index)], damage: &[(Index, u8)]) -> Vec<u8> {
    let mut records = records(arch);
    for (from, to) in moves {
        let record = records.remove(from.index(records.len()));
        records.insert(to.index(records.len()), record);
    }
    let mut bytes = writer(arch, &records).into_bytes();
    for (at, value) in damage {
        let at = at.index(bytes.len());
        bytes[at] = *value;
    }
    sealed(arch.byte_order(), &bytes)
}

/// Inputs on which the decoder failed once, each in its smallest form.
#[test]
fn what_failed_once_does_not_again() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
    for entry in std::fs::read_dir(folder).unwrap() {
        exercise(&std::fs::read(entry.unwrap().path()).unwrap());
    }
}

fn arch() -> impl Strategy<Value = Arch> {
    proptest::sample::select(Arch::ALL.to_vec())
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        show(&bytes);
    }

    #[test]
    fn no_damaged_image_panics(
        arch in arch(),
        damage in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..8),
        cut in any::<Index>(),
    ) {
        let mut bytes = image(arch);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        show(&bytes);
        show(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn no_image_with_a_right_checksum_panics(
        arch in arch(),
        moves in proptest::collection::vec((any::<Index>(), any::<Index>()), 0..4),
        damage in proptest::collection::vec((any::<Index>(), any::<u8>()), 0..4),
    ) {
        let bytes = shuffled(arch, &moves, &damage);
        show(&bytes);
        if let Ok(other) = Image::read(bytes.as_slice()) {
            let own = Image::read(image(arch).as_slice()).unwrap();
            let there = compare(&own, &other, None).len();
            let back = compare(&other, &own, None).len();
            assert_eq!(there, back);
        }
    }

    #[test]
    fn no_payload_panics(
        arch in arch(),
        number in 0u32..24,
        payload in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut bytes = writer(arch, &head(arch)).into_bytes();
        let len = u32::try_from(payload.len().next_multiple_of(8) + 8).unwrap();
        for word in [number, len] {
            bytes.extend(match arch.byte_order() {
                crate::ByteOrder::Little => word.to_le_bytes(),
                crate::ByteOrder::Big => word.to_be_bytes(),
            });
        }
        bytes.extend(&payload);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        show(&bytes);
        show(&sealed(arch.byte_order(), &bytes));
    }
}
