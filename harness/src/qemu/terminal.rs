//! A guest's console that a person may come to later: until then what it says is only in its log.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often it is looked whether somebody has come.
const LOOK: Duration = Duration::from_millis(50);

/// The host's end. A console that nobody reads would hold its guest up.
#[derive(Debug)]
pub(super) struct Terminal {
    console: UnixStream,
    wanted: Arc<AtomicBool>,
    drain: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Throw away what comes until [`Terminal::take`].
    pub(super) fn new(console: UnixStream) -> io::Result<Self> {
        let mut theirs = console.try_clone()?;
        theirs.set_read_timeout(Some(LOOK))?;
        let wanted = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&wanted);
        let drain = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !seen.load(Ordering::Relaxed) {
                match theirs.read(&mut buffer) {
                    // QEMU has ended.
                    Ok(0) => return,
                    Ok(_) => {}
                    Err(error) => match error.kind() {
                        io::ErrorKind::WouldBlock
                        | io::ErrorKind::TimedOut
                        | io::ErrorKind::Interrupted => {}
                        _ => return,
                    },
                }
            }
        });
        Ok(Self {
            console,
            wanted,
            drain: Some(drain),
        })
    }

    /// The console, for whoever has come.
    pub(super) fn take(&mut self) -> &mut UnixStream {
        self.stop();
        &mut self.console
    }

    fn stop(&mut self) {
        self.wanted.store(true, Ordering::Relaxed);
        if let Some(drain) = self.drain.take() {
            // It does not panic.
            let _ = drain.join();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn nothing_is_held_up_until_somebody_comes() {
        let (mine, mut guest) = UnixStream::pair().unwrap();
        let mut terminal = Terminal::new(mine).unwrap();
        // More than a socket holds.
        guest.write_all(&vec![b'x'; 4 << 20]).unwrap();
        let console = terminal.take();
        // The socket may still be full of what nobody wanted.
        let writer = std::thread::spawn(move || {
            guest.write_all(b"prompt").unwrap();
            guest
        });
        let mut all = Vec::new();
        while !all.ends_with(b"prompt") {
            let mut buffer = [0; 4096];
            let n = console.read(&mut buffer).unwrap_or(0);
            all.extend_from_slice(&buffer[..n]);
        }
        let mut guest = writer.join().unwrap();
        console.write_all(b"ls").unwrap();
        let mut typed = [0; 2];
        guest.read_exact(&mut typed).unwrap();
        assert_eq!(&typed, b"ls");
    }
}
