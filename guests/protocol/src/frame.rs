//! Frames: a 16-byte header and a payload.
//!
//! Header, little-endian: magic `XTHW` (4 bytes), payload length (4), nonce (8).
//! The harness chooses the nonce of a connection in its first frame; the agent repeats it in every frame.
//! A reader that sees another magic or nonce skips to the next magic: what an earlier connection left in the port is not mistaken for an answer.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::MAX_FRAME;

/// First bytes of every frame.
pub const MAGIC: [u8; 4] = *b"XTHW";

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The port failed or was closed.
    #[error("the agent's port failed")]
    Io(#[from] io::Error),
    /// A length field beyond [`MAX_FRAME`].
    #[error("frame of {0} bytes, at most {MAX_FRAME} are allowed")]
    TooLong(usize),
    /// The payload is no message.
    #[error("frame holds no message")]
    Payload(#[from] postcard::Error),
}

/// Write one message, with one `write` call for header and payload.
pub fn send(port: &mut impl Write, nonce: u64, message: &impl Serialize) -> Result<(), FrameError> {
    let mut frame = vec![0u8; 16];
    frame = postcard::to_extend(message, frame)?;
    let len = frame.len() - 16;
    let Some(len) = u32::try_from(len).ok().filter(|_| len <= MAX_FRAME) else {
        return Err(FrameError::TooLong(len));
    };
    frame[0..4].copy_from_slice(&MAGIC);
    frame[4..8].copy_from_slice(&len.to_le_bytes());
    frame[8..16].copy_from_slice(&nonce.to_le_bytes());
    port.write_all(&frame)?;
    port.flush()?;
    Ok(())
}

/// Read the next message and its nonce, skipping bytes until a magic is seen.
pub fn receive<M: DeserializeOwned>(port: &mut impl Read) -> Result<(u64, M), FrameError> {
    let mut window = [0u8; 4];
    port.read_exact(&mut window)?;
    while window != MAGIC {
        window.rotate_left(1);
        port.read_exact(&mut window[3..])?;
    }
    let mut rest = [0u8; 12];
    port.read_exact(&mut rest)?;
    let [l0, l1, l2, l3, nonce @ ..] = rest;
    let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if len > MAX_FRAME {
        return Err(FrameError::TooLong(len));
    }
    let mut payload = vec![0u8; len];
    port.read_exact(&mut payload)?;
    Ok((u64::from_le_bytes(nonce), postcard::from_bytes(&payload)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reply, Request};

    #[test]
    fn a_frame_comes_back_and_garbage_before_it_is_skipped() {
        let mut wire = b"boot noise XTH".to_vec();
        send(&mut wire, 7, &Request::Hello { version: 1 }).unwrap();
        let (nonce, message): (u64, Request) = receive(&mut wire.as_slice()).unwrap();
        assert_eq!((nonce, message), (7, Request::Hello { version: 1 }));
    }

    #[test]
    fn an_oversized_length_is_refused() {
        let mut wire = MAGIC.to_vec();
        wire.extend([0xff; 12]);
        assert!(matches!(
            receive::<Reply>(&mut wire.as_slice()),
            Err(FrameError::TooLong(_))
        ));
    }
}
