//! The virtio-serial port: found by name, read with patience.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use crossthaw_protocol::PORT_NAME;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::reap;

/// Where the kernel lists the ports.
const PORTS: &str = "/sys/class/virtio-ports";

/// How long to wait before looking again for what the host has not provided yet.
const PATIENCE: Duration = Duration::from_millis(5);

/// The open port. Reading never ends: while no host is connected it waits.
#[derive(Debug)]
pub(crate) struct Port {
    file: File,
    buffer: Vec<u8>,
    at: usize,
}

fn find() -> Option<PathBuf> {
    for entry in fs::read_dir(PORTS).ok()?.flatten() {
        let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim_end() == PORT_NAME {
            return Some(PathBuf::from("/dev").join(entry.file_name()));
        }
    }
    None
}

/// Wait for the port and open it; complains once a second through `complain`.
pub(crate) fn open(mut complain: impl FnMut(&str)) -> Port {
    for attempt in 1u64.. {
        let opened = match find() {
            None => Err(format!("no virtio-serial port is called {PORT_NAME}")),
            Some(path) => OpenOptions::new()
                .read(true)
                .write(true)
                .open(&path)
                .map_err(|error| format!("cannot open {}: {error}", path.display())),
        };
        match opened {
            Ok(file) => {
                return Port {
                    file,
                    buffer: Vec::new(),
                    at: 0,
                };
            }
            Err(why) if attempt.is_multiple_of(200) => complain(&why),
            Err(_) => {}
        }
        std::thread::sleep(PATIENCE);
    }
    unreachable!("the loop above has no end")
}

impl Port {
    /// Wait until the port has data, reaping children meanwhile.
    fn wait(&self) -> io::Result<()> {
        loop {
            let mut fds = vec![PollFd::new(&self.file, PollFlags::IN)];
            fds.extend(reap::signal().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let port = fds[0].revents();
            if fds.get(1).is_some_and(|fd| !fd.revents().is_empty()) {
                reap::collect();
            }
            if port.contains(PollFlags::IN) {
                return Ok(());
            }
            if !port.is_empty() {
                // Hung up: nobody is connected.
                std::thread::sleep(PATIENCE);
            }
        }
    }
}

impl Read for Port {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.buffer.len() {
            self.wait()?;
            self.buffer.resize(64 << 10, 0);
            self.at = 0;
            let read = match self.file.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                other => other?,
            };
            self.buffer.truncate(read);
        }
        let n = out.len().min(self.buffer.len() - self.at);
        out[..n].copy_from_slice(&self.buffer[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

impl Write for Port {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.file.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
