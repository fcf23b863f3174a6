//! One JSON object a line: to a file that survives a full disk, or to any writer.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::text::told;
use super::{Event, ReportError, Sink};

fn line(event: &Event) -> Result<Vec<u8>, ReportError> {
    let mut line = serde_json::to_vec(event).map_err(|source| ReportError::Format {
        format: "an event as JSON",
        source: source.into(),
    })?;
    line.push(b'\n');
    Ok(line)
}

/// Events to a writer, for programs that read along.
pub struct JsonLines<W>(pub W);

impl<W: Write + Send> Sink for JsonLines<W> {
    fn take(&mut self, event: &Event) -> Result<(), ReportError> {
        let line = line(event)?;
        told(self.0.write_all(&line).and_then(|()| self.0.flush()))
    }
}

/// `events.jsonl`: whole lines only, also when the disk is full for a while.
pub struct EventsFile {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines in the file.
    good: u64,
    /// Lines that did not fit yet.
    pending: Vec<u8>,
}

impl EventsFile {
    /// Make the file.
    pub fn create(dir: &Path) -> Result<Self, ReportError> {
        let path = dir.join("events.jsonl");
        let file =
            File::create(&path).map_err(|source| ReportError::file("make", &path, source))?;
        Ok(Self {
            path,
            file,
            good: 0,
            pending: Vec::new(),
        })
    }
}

impl Sink for EventsFile {
    fn take(&mut self, event: &Event) -> Result<(), ReportError> {
        self.pending.extend(line(event)?);
        match self.file.write_all_at(&self.pending, self.good) {
            Ok(()) => {
                self.good += self.pending.len() as u64;
                self.pending.clear();
                Ok(())
            }
            Err(source) => {
                // Half a line is worse than none; if even that fails, the next attempt writes over it.
                let _ = self.file.set_len(self.good);
                Err(ReportError::file("write", &self.path, source))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{finished, planned};

    #[test]
    fn events_come_back_from_their_lines() {
        let events = [
            Event::RunStarted {
                id: "1".to_owned(),
                dir: "/runs/1".into(),
                started: "2026-01-01T00:00:00Z".to_owned(),
                archs: vec![crate::arch::Arch::S390x],
                cases: vec![planned("s390x/pipes/full[size=4096]")],
                rounds: Some(1),
            },
            Event::TrialFinished(Box::new(finished(
                "s390x/pipes/full[size=4096]",
                crate::oracle::Verdict::Pass,
            ))),
        ];
        let mut sink = JsonLines(Vec::new());
        for event in &events {
            sink.take(event).unwrap();
        }
        let text = String::from_utf8(sink.0).unwrap();
        let back: Vec<Event> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(back, events);
        assert!(
            text.contains(r#""phases":[{"phase":"clone","seconds":0.1}"#),
            "{text}"
        );
    }

    #[test]
    fn a_full_disk_is_named_and_its_lines_are_written_when_there_is_space_again() {
        let scratch = tempfile::tempdir().unwrap();
        let mut sink = EventsFile::create(scratch.path()).unwrap();
        let event = |n: usize| Event::RunFinished {
            passed: n,
            failed: 0,
            skipped: 0,
            unfinished: 0,
            stopped: false,
            time: std::time::Duration::ZERO,
        };
        sink.take(&event(1)).unwrap();
        let good = std::mem::replace(&mut sink.file, File::create("/dev/full").unwrap());
        let error = sink.take(&event(2)).unwrap_err();
        assert!(matches!(error, ReportError::DiskFull { .. }), "{error}");
        sink.file = good;
        let text = || std::fs::read_to_string(scratch.path().join("events.jsonl")).unwrap();
        assert_eq!(text().lines().count(), 1);
        sink.take(&event(3)).unwrap();
        let passed: Vec<_> = text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect::<Vec<Event>>();
        assert_eq!(passed, [event(1), event(2), event(3)]);
    }
}
