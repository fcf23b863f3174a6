//! Is an image that of a checkpoint that failed?

use std::io::{BufReader, Read};

use crossthaw_image::{ErrorRecord, ImageError, Reader, Record};

use crate::coordinate::hint;
use crate::{errno, remedy};

/// Why an image is of no use.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The checkpoint failed, and its image ends with the reason.
    #[error("the checkpoint failed: {}{}", said(.0), hint(remedy::checkpoint(&reason(.0))))]
    Failed(ErrorRecord),
    /// The image could not be read.
    #[error("cannot read the image: {}", errno::describe(.0))]
    Read(std::io::Error),
    /// The image is damaged.
    #[error("the image is damaged: {0}\n  `cargo xtask image verify` tells more")]
    Damaged(ImageError),
}

fn reason(record: &ErrorRecord) -> std::io::Error {
    std::io::Error::from_raw_os_error(record.head.error)
}

/// The kernel's words, which may come from anywhere and go to a terminal; its error where there are none.
fn said(record: &ErrorRecord) -> String {
    let text = record.text.as_str();
    if text.is_empty() {
        errno::describe(&reason(record))
    } else {
        text.escape_debug().to_string()
    }
}

/// Read all records.
pub fn inspect(image: impl Read) -> Result<(), InspectError> {
    for record in Reader::new(BufReader::new(image)) {
        match record.map(|located| located.record) {
            Ok(Record::Error(record)) => return Err(InspectError::Failed(record)),
            Ok(_) => {}
            Err(ImageError::Io(error)) => return Err(InspectError::Read(error)),
            Err(error) => return Err(InspectError::Damaged(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossthaw_image::{Arch, sample};

    fn check(image: &[u8], expected: Result<(), &str>) {
        let outcome = inspect(image).map_err(|error| error.to_string());
        match (outcome, expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            (outcome, expected) => panic!("{outcome:?}, not {expected:?}"),
        }
    }

    fn failed(errno: i32, text: &str) -> Vec<u8> {
        let mut records = sample::head(Arch::S390x);
        records.push(sample::error(errno, text));
        sample::writer(Arch::S390x, &records).into_bytes()
    }

    #[test]
    fn the_reason_of_a_failed_checkpoint_is_told() {
        let line = "checkpoint: error 16 (EBUSY): pid 4: fd 7: flock held";
        check(&failed(16, line), Err(line));
        check(&failed(16, line), Err("freeze the cgroup"));
        check(&failed(1, ""), Err("EPERM"));
        check(&failed(16, "odd \u{1b}[2J"), Err("odd \\u{1b}[2J"));
    }

    #[test]
    fn other_images_pass_if_they_are_whole() {
        let image = sample::image(Arch::Ppc64);
        check(&image, Ok(()));
        check(&image[..image.len() - 8], Err("truncated"));
        check(b"no image", Err("damaged"));
        check(b"", Err("damaged"));
    }
}
