//! Guests that a person takes part in: stopped for a debugger, or with a console that can be talked to.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use crate::process::Cancel;
use crate::qemu::{self, GuestError, Stopped, Template};
use crate::trial::{Attendant, Guest, Phase, Source};

/// A guest of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one in which the workload is checkpointed.
    A,
    /// The one in which the image is restarted.
    B,
}

/// What the person wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A guest that waits for a debugger at its start, and has no time limit.
    Gdb(Which),
    /// A prompt before a phase begins; `None` where the trial fails.
    Shell(Option<Phase>),
}

/// A person and their wish.
pub struct Person {
    /// Who is told.
    pub attendant: Box<dyn Attendant + Send>,
    /// What they want.
    pub wish: Wish,
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Person")
            .field("wish", &self.wish)
            .finish_non_exhaustive()
    }
}

/// Clones of a template in which the person takes part.
pub(super) struct Attended<'a> {
    template: &'a Template,
    person: &'a Person,
    /// Folders of the debugger's sockets; they go with this.
    folders: Mutex<Vec<TempDir>>,
}

impl<'a> Attended<'a> {
    pub(super) fn new(template: &'a Template, person: &'a Person) -> Self {
        Self {
            template,
            person,
            folders: Mutex::default(),
        }
    }

    /// Whether the debugger is wanted in the guest with this console.
    fn is_stopped(&self, console: &Path) -> bool {
        let name = console.file_name().unwrap_or_default().to_string_lossy();
        match self.person.wish {
            Wish::Gdb(Which::A) => name.starts_with("console-a"),
            Wish::Gdb(Which::B) => name.starts_with("console-b"),
            Wish::Shell(_) => false,
        }
    }
}

impl Source for Attended<'_> {
    fn start(
        &self,
        console: &Path,
        cancel: &Cancel,
        retried: &mut dyn FnMut(String),
    ) -> Result<Box<dyn Guest>, GuestError> {
        let mut folder = None;
        if self.is_stopped(console) {
            let made = tempfile::Builder::new().prefix("crossthaw-gdb-").tempdir();
            folder = Some(made.map_err(|source| GuestError::File {
                what: "make a folder for the debugger's socket".to_owned(),
                source,
            })?);
        }
        let socket = folder.as_ref().map(|folder| folder.path().join("gdb"));
        let stopped = || {
            if let Some(socket) = &socket {
                self.person.attendant.stopped(socket);
            }
        };
        let attended = qemu::Attended {
            terminal: matches!(self.person.wish, Wish::Shell(_)),
            gdb: socket.as_ref().map(|socket| Stopped {
                socket,
                stopped: &stopped,
            }),
        };
        let agent = self
            .template
            .start_attended(console, cancel, attended, retried)?;
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        folders.extend(folder);
        Ok(Box::new(agent))
    }

    fn counts(&self) -> &[(String, u64)] {
        self.template.counts()
    }
}
