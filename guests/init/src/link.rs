//! One connection after another: the nonce decides which frames count.
//!
//! The harness chooses a nonce in its first frame, a Hello. A clone starts from a guest that has already answered another harness:
//! a Hello with another nonce begins a new connection wherever it comes, and what else carries a foreign nonce is dropped.

use std::io::{Read, Write};

use crossthaw_protocol::frame::{self, FrameError};
use crossthaw_protocol::{CHUNK, Entry, Reply, Request};

use crate::error::{AgentError, Result};

/// The agent's end of the connection.
#[derive(Debug)]
pub(crate) struct Link<P> {
    port: P,
    nonce: Option<u64>,
    /// A Hello that came in the middle of a stream.
    pending: Option<Request>,
}

impl<P: Read + Write> Link<P> {
    /// Nobody is connected yet.
    pub(crate) fn new(port: P) -> Self {
        Self {
            port,
            nonce: None,
            pending: None,
        }
    }

    /// The next frame of the connection, or of a new one.
    fn receive(&mut self) -> Result<Request> {
        loop {
            match frame::receive::<Request>(&mut self.port) {
                Ok((nonce, request @ Request::Hello { .. })) => {
                    self.nonce = Some(nonce);
                    return Ok(request);
                }
                Ok((nonce, request)) if self.nonce == Some(nonce) => return Ok(request),
                Err(FrameError::Io(source)) => {
                    return Err(AgentError::Io {
                        what: "read the port".to_owned(),
                        source,
                    });
                }
                Err(error) if self.nonce.is_some() => {
                    self.send(&Reply::Failed {
                        message: format!("cannot understand a request: {error}"),
                    })?;
                }
                // Another connection's, or noise before the first.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Wait for a request. A stray chunk belongs to a request that failed, and is dropped.
    pub(crate) fn request(&mut self) -> Result<Request> {
        loop {
            let request = match self.pending.take() {
                Some(request) => request,
                None => self.receive()?,
            };
            if !matches!(request, Request::Chunk { .. }) {
                return Ok(request);
            }
        }
    }

    /// Wait for the next chunk of the stream that the request announced; empty at its end.
    pub(crate) fn chunk(&mut self) -> Result<Vec<u8>> {
        if self.pending.is_some() {
            return Err(AgentError::Interrupted);
        }
        match self.receive()? {
            Request::Chunk { bytes } => Ok(bytes),
            request @ Request::Hello { .. } => {
                self.pending = Some(request);
                Err(AgentError::Interrupted)
            }
            other => Err(AgentError::Refused(format!(
                "a chunk is expected, not {other:?}"
            ))),
        }
    }

    /// Wait for the next part of a list of entries.
    pub(crate) fn more_entries(&mut self) -> Result<Vec<Entry>> {
        if self.pending.is_some() {
            return Err(AgentError::Interrupted);
        }
        match self.receive()? {
            Request::MoreEntries { entries } => Ok(entries),
            request @ Request::Hello { .. } => {
                self.pending = Some(request);
                Err(AgentError::Interrupted)
            }
            other => Err(AgentError::Refused(format!(
                "further entries are expected, not {other:?}"
            ))),
        }
    }

    /// Take a stream to its end, giving its chunks to `sink` until that fails; its first failure is returned.
    pub(crate) fn take_stream(&mut self, mut sink: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut outcome = Ok(());
        loop {
            let bytes = self.chunk()?;
            if bytes.is_empty() {
                return outcome;
            }
            if outcome.is_ok() {
                outcome = sink(&bytes);
            }
        }
    }

    /// Send a reply; one that is too long for a frame becomes a failure.
    pub(crate) fn send(&mut self, reply: &Reply) -> Result<()> {
        Ok(frame::send(
            &mut self.port,
            self.nonce.unwrap_or_default(),
            reply,
        )?)
    }

    /// Send a reader's bytes as a stream of chunks; returns how many bytes there were.
    pub(crate) fn send_stream(&mut self, mut from: impl Read) -> Result<u64> {
        let mut total = 0;
        loop {
            let mut bytes = Vec::with_capacity(CHUNK);
            let outcome = from.by_ref().take(CHUNK as u64).read_to_end(&mut bytes);
            total += bytes.len() as u64;
            let end = bytes.is_empty();
            if !end {
                self.send(&Reply::Chunk { bytes })?;
            }
            if let Err(source) = outcome {
                self.send(&Reply::Chunk { bytes: Vec::new() })?;
                return Err(AgentError::Io {
                    what: format!("read on after {total} bytes"),
                    source,
                });
            }
            if end {
                self.send(&Reply::Chunk { bytes: Vec::new() })?;
                return Ok(total);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io;

    use super::*;

    /// Replays requests and keeps what is sent.
    #[derive(Default)]
    struct Wire {
        input: VecDeque<u8>,
        output: Vec<u8>,
    }

    impl Wire {
        fn with(frames: &[(u64, Request)]) -> Self {
            let mut input = Vec::new();
            for (nonce, request) in frames {
                frame::send(&mut input, *nonce, request).unwrap();
            }
            Self {
                input: input.into(),
                output: Vec::new(),
            }
        }
    }

    impl Read for Wire {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.input.read(out)
        }
    }

    impl Write for Wire {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.output.write(data)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const HELLO: Request = Request::Hello { version: 1 };

    fn chunk(bytes: &[u8]) -> Request {
        Request::Chunk {
            bytes: bytes.to_vec(),
        }
    }

    #[test]
    fn frames_of_another_connection_are_dropped() {
        let mut link = Link::new(Wire::with(&[
            (3, Request::Freeze),
            (7, HELLO),
            (3, Request::Thaw),
            (7, Request::Taint),
        ]));
        assert_eq!(link.request().unwrap(), HELLO);
        assert_eq!(link.request().unwrap(), Request::Taint);
    }

    #[test]
    fn a_hello_takes_over_in_the_middle_of_a_stream() {
        let mut link = Link::new(Wire::with(&[
            (7, HELLO),
            (7, chunk(b"a")),
            (9, HELLO),
            (7, chunk(b"b")),
            (9, Request::Taint),
        ]));
        assert_eq!(link.request().unwrap(), HELLO);
        let mut seen = Vec::new();
        let outcome = link.take_stream(|bytes| {
            seen.extend_from_slice(bytes);
            Ok(())
        });
        assert!(matches!(outcome, Err(AgentError::Interrupted)));
        assert_eq!(seen, b"a");
        assert_eq!(link.request().unwrap(), HELLO);
        assert_eq!(link.request().unwrap(), Request::Taint);
        link.send(&Reply::Done).unwrap();
        let (nonce, reply): (u64, Reply) =
            frame::receive(&mut link.port.output.as_slice()).unwrap();
        assert_eq!((nonce, reply), (9, Reply::Done));
    }

    #[test]
    fn a_stream_is_drained_after_its_sink_failed() {
        let mut link = Link::new(Wire::with(&[
            (7, HELLO),
            (7, chunk(b"a")),
            (7, chunk(b"b")),
            (7, chunk(b"")),
            (7, Request::Taint),
        ]));
        assert_eq!(link.request().unwrap(), HELLO);
        let outcome = link.take_stream(|_| Err(AgentError::Refused("disk full".to_owned())));
        assert!(matches!(outcome, Err(AgentError::Refused(_))));
        assert_eq!(link.request().unwrap(), Request::Taint);
    }

    #[test]
    fn a_stream_is_sent_in_chunks_and_ends_with_an_empty_one() {
        let mut link = Link::new(Wire::with(&[(7, HELLO)]));
        link.request().unwrap();
        let data = vec![5u8; CHUNK + 1];
        assert_eq!(link.send_stream(data.as_slice()).unwrap(), CHUNK as u64 + 1);
        let mut wire = link.port.output.as_slice();
        let mut lengths = Vec::new();
        while !wire.is_empty() {
            let (_, Reply::Chunk { bytes }) = frame::receive(&mut wire).unwrap() else {
                panic!("a chunk is expected")
            };
            lengths.push(bytes.len());
        }
        assert_eq!(lengths, [CHUNK, 1, 0]);
    }
}
