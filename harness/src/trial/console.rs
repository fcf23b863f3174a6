//! A guest's console, as far as it is written.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use crossthaw_protocol::EXPLAINS;
use rustix::event::PollFlags;
use rustix::fs::inotify;

use crate::process::{Cancel, Wake, wait};

/// What is there; a console that cannot be read has nothing.
pub(super) fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What the kernel said of its own accord: what a late guest explains comes after that, is long, and full of traces.
pub(super) fn said(path: &Path) -> String {
    let mut text = read(path);
    if let Some(end) = text.find(EXPLAINS) {
        let end = text[..end].rfind('\n').map_or(end, |end| end + 1);
        text.truncate(end);
    }
    text
}

/// Wait until the console has this text in it; what it has then, or when the time is over.
///
/// A console may be late: the one of s390 collects output for a tenth of a second.
pub(super) fn read_up_to(path: &Path, text: &str, time: Duration, cancel: &Cancel) -> String {
    let deadline = Instant::now() + time;
    // Watched before it is read, so that nothing is missed between the two.
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
        .and_then(|watch| {
            inotify::add_watch(&watch, path, inotify::WatchFlags::MODIFY)?;
            Ok(watch)
        });
    loop {
        let console = read(path);
        let Ok(watch) = &watch else { return console };
        if console.contains(text) {
            return console;
        }
        match wait(&[(watch.as_fd(), PollFlags::IN)], cancel, deadline) {
            Wake::Ready => {
                let mut events = [0u8; 4096];
                while rustix::io::read(watch, &mut events).is_ok_and(|n| n > 0) {}
            }
            Wake::Late | Wake::Cancelled => return read(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_late_console_is_waited_for() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("console");
        let mut file = fs::File::create(&path).unwrap();
        let writer = std::thread::spawn(move || {
            for word in ["one\n", "two\n", "three\n"] {
                std::thread::sleep(Duration::from_millis(5));
                file.write_all(word.as_bytes()).unwrap();
            }
        });
        let cancel = Cancel::new().unwrap();
        let console = read_up_to(&path, "three", Duration::from_secs(20), &cancel);
        assert_eq!(console, "one\ntwo\nthree\n");
        writer.join().unwrap();
    }

    #[test]
    fn a_mark_that_does_not_come_and_a_file_that_is_not_there_are_no_hang() {
        let cancel = Cancel::new().unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("console");
        fs::write(&path, "one").unwrap();
        let console = read_up_to(&path, "two", Duration::from_millis(5), &cancel);
        assert_eq!(console, "one");
        let none = scratch.path().join("none");
        assert_eq!(
            read_up_to(&none, "two", Duration::from_secs(20), &cancel),
            ""
        );
    }
}
