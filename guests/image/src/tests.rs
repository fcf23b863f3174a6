//! Tests of reading, writing and showing.

mod comparing;
mod properties;
mod verifying;

use crate::fixed::ByteOrder;
use crate::reader::{Image, ImageError};
use crate::sample::{error, head, image, writer};
use crate::{Arch, Record};

fn read(arch: Arch) -> Image {
    Image::read(image(arch).as_slice()).unwrap()
}

#[test]
fn images_of_all_architectures_decode_to_the_same_records() {
    let images: Vec<Image> = Arch::ALL.into_iter().map(read).collect();
    for (image, arch) in images.iter().zip(Arch::ALL) {
        assert_eq!(image.arch, arch);
        assert_eq!(image.header().release.as_str(), "6.12.117");
        let kinds: Vec<u32> = image
            .records
            .iter()
            .map(|located| located.record.type_number())
            .collect();
        let memory = [16, 17, 18, 17, 18, 17, 38, 19];
        let own = [4, 6, 25, 7, 23, 24, 28, 8, 9, 10, 5];
        let parts: [&[u32]; 12] = [
            &[
                1, 2, 34, 34, 36, 36, 39, 40, 40, 40, 18, 27, 40, 40, 39, 3, 35, 15, 11, 11, 33,
                18, 27, 11, 37, 18, 27, 11, 41, 42, 42, 11, 43, 11, 11, 11, 11, 11, 12, 13, 14,
            ],
            &[26, 18, 27],
            &memory,
            &[29, 30],
            &own,
            &[3, 35, 14],
            &memory,
            &[31, 32, 32],
            &own,
            &[3, 35, 22, 5],
            &[44, 45, 45, 46, 46, 47, 48],
            &[21],
        ];
        assert_eq!(kinds, parts.concat());
        // All but the header, which differs, and the trailer's checksum over it.
        let inner = |image: &Image| image.records[1..image.records.len() - 1].to_vec();
        assert_eq!(inner(image), inner(&images[0]));
    }
}

#[test]
fn an_image_is_written_as_it_was_read() {
    for arch in Arch::ALL {
        let bytes = image(arch);
        let read = Image::read(bytes.as_slice()).unwrap();
        assert_eq!(read.encode(arch.byte_order()), bytes);
    }
}

#[test]
fn the_other_byte_order_holds_the_same() {
    for arch in Arch::ALL {
        let own = read(arch);
        let order = match own.byte_order {
            ByteOrder::Little => ByteOrder::Big,
            ByteOrder::Big => ByteOrder::Little,
        };
        let swapped = Image::read(own.encode(order).as_slice()).unwrap();
        assert_eq!(swapped.byte_order, order);
        let inner = |image: &Image| image.records[..image.records.len() - 1].to_vec();
        assert_eq!(inner(&swapped), inner(&own));
    }
}

#[test]
fn text_and_json_name_what_is_there() {
    let image = read(Arch::S390x);
    let text = image.to_string();
    for part in [
        "version 1 s390x big-endian",
        "pid 2 tgid 2 ppid 1",
        "\"/a/b\"",
        "signal 10 handler 0x400000",
        "cwd \"/scenario\"",
        "nanosleep",
        "psw.mask=0x07070707",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let json = serde_json::to_value(&image).unwrap();
    assert_eq!(json["records"][1]["record"], "TREE");
    assert_eq!(json["records"][1]["tasks"][1]["pid"], 2);
    assert_eq!(json["arch"], "s390x");
}

#[test]
fn an_image_of_a_failed_checkpoint_ends_with_its_error() {
    let mut records = head(Arch::Ppc64);
    records.push(error(16, "flocked"));
    let bytes = writer(Arch::Ppc64, &records).into_bytes();
    let image = Image::read(bytes.as_slice()).unwrap();
    let Some(Record::Error(error)) = image.records.last().map(|located| &located.record) else {
        panic!("an ERROR record is expected")
    };
    assert_eq!((error.head.error, &*error.text.as_str()), (16, "flocked"));
}

/// Places of an image that are worth damaging: all but the insides of its pages, of which there are a few.
fn places(len: usize) -> impl Iterator<Item = usize> {
    (0..len).filter(move |at| *at < 6000 || at % 97 == 0 || *at > len - 2000)
}

#[test]
fn damage_is_found_wherever_it_is() {
    for arch in [Arch::X86_64, Arch::S390x] {
        let intact = image(arch);
        for at in places(intact.len()) {
            let mut bytes = intact.clone();
            bytes[at] ^= 1 << (at % 8);
            assert!(
                Image::read(bytes.as_slice()).is_err(),
                "a flipped bit in byte {at} goes unnoticed"
            );
            assert!(
                Image::read(&intact[..at]).is_err(),
                "{at} of {} bytes are taken for all",
                intact.len()
            );
        }
        let mut longer = intact.clone();
        longer.push(0);
        assert!(matches!(
            Image::read(longer.as_slice()),
            Err(ImageError::Behind {
                last: "TRAILER",
                ..
            })
        ));
    }
}
