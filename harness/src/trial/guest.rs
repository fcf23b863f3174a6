//! What a trial asks of a guest: the real one under QEMU, or a scripted one in tests.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use crossthaw_protocol::{Reply, Request};

use crate::process::Cancel;
use crate::qemu::{Agent, Attended, Folder, GuestError, Line, Template};

/// A guest whose agent has answered; it ends with the value.
pub trait Guest: Debug + Send {
    /// Send a request that is answered by one reply.
    fn request(&mut self, request: &Request, time: Duration) -> Result<Reply, GuestError>;
    /// Fetch a file.
    fn pull_file(&mut self, path: &str, time: Duration) -> Result<Vec<u8>, GuestError>;
    /// Write a file.
    fn push_file(&mut self, path: &str, bytes: &[u8], time: Duration) -> Result<(), GuestError>;
    /// Fetch the scenario's folder.
    fn pull_folder(&mut self, time: Duration) -> Result<Folder, GuestError>;
    /// Replace the scenario's folder.
    fn push_folder(&mut self, folder: &Folder, time: Duration) -> Result<(), GuestError>;
    /// What a guest does that is late, for a person; more of it may come to the console.
    fn explain(&mut self, time: Duration) -> String;
    /// Give a person a prompt until the guest is off or the person leaves; false if that is not possible with this guest.
    fn prompt(
        &mut self,
        person: &dyn Attendant,
        why: &str,
        time: Duration,
    ) -> Result<bool, GuestError>;
}

/// A person who looks into a trial.
pub trait Attendant: Sync {
    /// A guest waits on this socket for a debugger.
    fn stopped(&self, gdb: &Path);
    /// A shell is on this console, for this reason; returns when the person is done with it.
    fn prompt(&self, line: Line<'_>, why: &str) -> Result<(), GuestError>;
    /// There is no prompt, and why.
    fn no_prompt(&self, why: &str);
}

/// Where guests come from.
pub trait Source: Sync {
    /// Start one; its console goes to that file, and `retried` is told why a start is tried once more.
    fn start(
        &self,
        console: &Path,
        cancel: &Cancel,
        retried: &mut dyn FnMut(String),
    ) -> Result<Box<dyn Guest>, GuestError>;

    /// What each of them has in use before its first action.
    fn counts(&self) -> &[(String, u64)];
}

impl Guest for Agent {
    fn request(&mut self, request: &Request, time: Duration) -> Result<Reply, GuestError> {
        Self::request(self, request, time)
    }

    fn pull_file(&mut self, path: &str, time: Duration) -> Result<Vec<u8>, GuestError> {
        let path = path.to_owned();
        self.pull(&Request::PullFile { path }, time)
    }

    fn push_file(&mut self, path: &str, bytes: &[u8], time: Duration) -> Result<(), GuestError> {
        Self::push_file(self, path, 0o600, bytes, time)
    }

    fn pull_folder(&mut self, time: Duration) -> Result<Folder, GuestError> {
        Self::pull_folder(self, time)
    }

    fn push_folder(&mut self, folder: &Folder, time: Duration) -> Result<(), GuestError> {
        Self::push_folder(self, folder, time)
    }

    fn explain(&mut self, time: Duration) -> String {
        Self::explain(self, time)
    }

    fn prompt(
        &mut self,
        person: &dyn Attendant,
        why: &str,
        time: Duration,
    ) -> Result<bool, GuestError> {
        match Self::prompt(self, time)? {
            Some(line) => person.prompt(line, why).map(|()| true),
            None => Ok(false),
        }
    }
}

impl Source for Template {
    fn start(
        &self,
        console: &Path,
        cancel: &Cancel,
        retried: &mut dyn FnMut(String),
    ) -> Result<Box<dyn Guest>, GuestError> {
        let agent = self.start_attended(console, cancel, Attended::default(), retried)?;
        Ok(Box::new(agent))
    }

    fn counts(&self) -> &[(String, u64)] {
        Self::counts(self)
    }
}
