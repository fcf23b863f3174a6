//! What is known from an earlier run: notes of the store, one a mutant and architecture, with the hash of all that it depends on.

use serde::{Deserialize, Serialize};

use super::{Meaning, Mutant, Row};
use crate::arch::Arch;
use crate::kernel::Flavor;
use crate::scenario::{Case, CaseId};
use crate::store::{Key, KeyBuilder, Store, StoreError};

/// What a trial's verdict depends on beside the kernel and the case.
#[derive(Clone, Debug)]
pub(super) struct Base {
    /// The guest's programs.
    pub(super) guest: Key,
    /// QEMU's version.
    pub(super) qemu: String,
    /// The harness itself: its oracles.
    pub(super) harness: Key,
    /// The golden states.
    pub(super) goldens: Key,
}

impl Base {
    fn key(&self, purpose: &str, kernel: &Key) -> KeyBuilder {
        let Self {
            guest,
            qemu,
            harness,
            goldens,
        } = self;
        KeyBuilder::new(purpose)
            .text("kernel", kernel.as_str())
            .text("guest", guest.as_str())
            .text("qemu", qemu)
            .text("harness", harness.as_str())
            .text("goldens", goldens.as_str())
    }

    /// Names the measurement of a mutant.
    pub(super) fn of_mutant(&self, kernel: &Key, mutant: &Mutant, cases: &[Case]) -> Key {
        let hangs = if mutant.hangs { "yes" } else { "no" };
        let mut key = self.key("mutant", kernel).text("hangs", hangs);
        for case in cases {
            key = key.bytes("case", &contents(case));
        }
        key.finish()
    }
}

/// All that a case says; a value that serde cannot write is none that a file had.
fn contents(case: &Case) -> Vec<u8> {
    serde_json::to_vec(case).unwrap_or_default()
}

/// A mutant that was caught.
#[derive(Serialize, Deserialize)]
struct Noted {
    key: String,
    row: Row,
}

fn mutant_note(mutant: &Mutant, arch: Arch) -> String {
    format!("mutant-{arch}-{}-{}", mutant.flavor, mutant.id.file_name())
}

/// The row of an earlier run in which the same mutant was caught.
pub(super) fn row(store: &Store, mutant: &Mutant, arch: Arch, key: &Key) -> Option<Row> {
    let note = store.note(&mutant_note(mutant, arch))?;
    let Noted { key: of, row } = serde_json::from_str(&note).ok()?;
    (of == key.as_str()).then_some(Row { known: true, ..row })
}

/// Note a row if the mutant was caught: what was not is looked at again each time.
pub(super) fn note_row(
    store: &Store,
    mutant: &Mutant,
    key: &Key,
    row: &Row,
) -> Result<(), StoreError> {
    if row.outcome.meaning() != Meaning::Good {
        return Ok(());
    }
    let noted = Noted {
        key: key.as_str().to_owned(),
        row: row.clone(),
    };
    let text = serde_json::to_string(&noted).unwrap_or_default();
    store.set_note(&mutant_note(mutant, row.arch), &text)
}

/// Cases that the true kernel passes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Passed {
    key: String,
    /// Hashes of the cases.
    cases: Vec<String>,
}

impl Passed {
    /// Those of earlier runs of this kernel.
    pub(super) fn load(store: &Store, arch: Arch, flavor: Flavor, base: &Base, of: &Key) -> Self {
        let key = base.key("passed", of).finish();
        let note = store.note(&Self::note(arch, flavor));
        let known = note.and_then(|text| serde_json::from_str::<Self>(&text).ok());
        known
            .filter(|known| known.key == key.as_str())
            .unwrap_or_else(|| Self {
                key: key.as_str().to_owned(),
                cases: Vec::new(),
            })
    }

    fn note(arch: Arch, flavor: Flavor) -> String {
        format!("mutants-passed-{arch}-{flavor}")
    }

    fn hash(case: &Case) -> String {
        let key = KeyBuilder::new("case").bytes("case", &contents(case));
        key.finish().to_string()
    }

    /// Does the true kernel pass this case?
    pub(super) fn has(&self, case: &Case) -> bool {
        self.cases.contains(&Self::hash(case))
    }

    /// It does.
    pub(super) fn add(&mut self, cases: &[Case], id: &CaseId) {
        let case = cases.iter().find(|case| case.id == *id);
        self.cases.extend(case.map(Self::hash));
    }

    /// Write it down.
    pub(super) fn save(&self, store: &Store, arch: Arch, flavor: Flavor) -> Result<(), StoreError> {
        let text = serde_json::to_string(self).unwrap_or_default();
        store.set_note(&Self::note(arch, flavor), &text)
    }
}
