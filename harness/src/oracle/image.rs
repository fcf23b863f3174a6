//! The oracle **image**: a checkpoint's image is whole and valid, and that of the restored tree, still frozen, is equal to the one that was restarted.
//!
//! What may differ, and why, is declared beside the decoder: guests/image/src/rules.rs.
//! A task that checkpointed itself is compared as every other: it is restored at the moment of its own checkpoint, and frozen before it runs on.

use std::time::Duration;

use crossthaw_image::{Image, Record, compare};

use crate::arch::Arch;

/// Decode the image of a checkpoint that was not refused.
pub fn decode(arch: Arch, image: &[u8]) -> Result<Image, String> {
    let image = Image::read(image).map_err(|error| format!("the image cannot be read: {error}"))?;
    if image.arch.name() != arch.name() {
        return Err(format!(
            "the image says that it is of {}",
            image.arch.name()
        ));
    }
    if let Some(Record::Error(_)) = image.records.last().map(|located| &located.record) {
        return Err("the image ends with an error, but the checkpoint was not refused".to_owned());
    }
    match image.verify() {
        Ok(_) => Ok(image),
        Err(defect) => Err(format!("the image is not valid: {defect}")),
    }
}

/// The difference of two images as a diff; `None` if they are equal.
///
/// `passed` is the time from the restart to the second checkpoint, on the host: a sleep may have so much less left.
pub fn diff(before: &Image, after: &Image, passed: Duration) -> Option<String> {
    let differences = compare(before, after, Some(passed));
    let lines: Vec<String> = differences
        .iter()
        .filter(|difference| difference.volatile.is_none())
        .map(|difference| format!("{difference}\n"))
        .collect();
    let sides = "--- the image that was restarted\n+++ the image of the restored tree\n";
    (!lines.is_empty()).then(|| sides.to_owned() + &lines.concat())
}

#[cfg(test)]
mod tests {
    use crossthaw_image::sample;

    use super::*;

    fn changed(change: impl Fn(&mut Record)) -> Image {
        let mut records = sample::records(crossthaw_image::Arch::Ppc64);
        records.iter_mut().for_each(change);
        let bytes = sample::writer(crossthaw_image::Arch::Ppc64, &records).finish();
        Image::read(bytes.as_slice()).unwrap()
    }

    #[test]
    fn what_is_no_whole_image_says_why() {
        let good = sample::image(crossthaw_image::Arch::S390x);
        assert!(decode(Arch::S390x, &good).is_ok());
        let mut records = sample::head(crossthaw_image::Arch::S390x);
        records.push(sample::error(16, "flocked"));
        let failed = sample::writer(crossthaw_image::Arch::S390x, &records).into_bytes();
        records.pop();
        let empty = sample::writer(crossthaw_image::Arch::S390x, &records).finish();
        for (arch, bytes, part) in [
            (Arch::S390x, &b"garbage"[..], "cannot be read"),
            (Arch::S390x, &good[..good.len() - 32], "cannot be read"),
            (Arch::Ppc64, &good, "is of s390x"),
            (Arch::S390x, &failed, "ends with an error"),
            (
                Arch::S390x,
                &empty,
                "is not valid: byte 5664, TRAILER, h.type",
            ),
        ] {
            let error = decode(arch, bytes).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn differences_are_a_diff_and_what_is_volatile_is_none() {
        let same = changed(|_| {});
        let limit = Duration::from_secs(1);
        let later = |record: &mut Record| match record {
            Record::Header(it) => (it.id, it.time) = (9, 9),
            Record::RestartBlock(it) => it.time_left -= 1_000_000_000,
            _ => {}
        };
        assert_eq!(diff(&same, &changed(later), limit), None);
        let too_late = |record: &mut Record| {
            if let Record::RestartBlock(it) = record {
                it.time_left -= 1_000_000_001;
            }
        };
        assert!(diff(&same, &changed(too_late), limit).is_some());
        let other = |record: &mut Record| {
            if let Record::Fs(it) = record {
                it.head.umask = 7;
            }
        };
        assert_eq!(
            diff(&same, &changed(other), limit).as_deref(),
            Some(
                "--- the image that was restarted\n+++ the image of the restored tree\n@@ task 1 fs, FS: umask\n-18\n+7\n"
            )
        );
    }
}
