//! What a trial was made of, in its folder: enough to repeat it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::arch::Arch;
use crate::kernel::{Flavor, Source};
use crate::qemu::{Accel, Template};
use crate::scenario::{Case, CaseId};

/// The file in the trial's folder.
pub const RECIPE: &str = "repeat.json";

/// Raised when the file gets another meaning.
const FORM: u32 = 1;

/// All that a trial depends on. There is no seed among it: clones of one template start with the same random state, and nothing else is drawn by lot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    form: u32,
    /// The version of the harness.
    pub version: String,
    /// The case's name.
    pub id: CaseId,
    /// The guest's architecture.
    pub arch: Arch,
    /// The kernel's flavor.
    pub flavor: Flavor,
    /// The case as it was resolved, with the value on each axis.
    pub case: Value,
    /// Key of the kernel in the store.
    pub kernel: String,
    /// Where its source came from, unless that is Debian's package.
    pub kernel_source: Option<PathBuf>,
    /// Key of the guest image in the store.
    pub guest: String,
    /// Key of the template in the store.
    pub template: String,
    /// What QEMU said of its version.
    pub qemu: String,
    /// `tcg` or `kvm`.
    pub accel: String,
    /// The command of a clone.
    pub command: String,
}

/// Why there is no recipe.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// It cannot be read.
    #[error("cannot read {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is none of ours.
    #[error("{} is not what this version writes: {why}", .path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl Recipe {
    /// Of a trial that is about to begin.
    pub fn new(case: &Case, flavor: Flavor, source: &Source, template: &Template) -> Self {
        let spec = template.spec();
        Self {
            form: FORM,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            id: case.id.clone(),
            arch: case.arch,
            flavor,
            case: resolved(case),
            kernel: spec.kernel_key.as_str().to_owned(),
            kernel_source: match source {
                Source::Path(path) => Some(path.clone()),
                Source::Debian => None,
            },
            guest: spec.guest_key.as_str().to_owned(),
            template: template.key().as_str().to_owned(),
            qemu: spec.qemu_version.clone(),
            accel: match spec.accel {
                Accel::Tcg => "tcg",
                Accel::Kvm => "kvm",
            }
            .to_owned(),
            command: template.clone_command(Path::new("console.log")),
        }
    }

    /// Write it into a trial's folder.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        fs::write(dir.join(RECIPE), text)
    }

    /// The one of a trial's folder.
    pub fn read(dir: &Path) -> Result<Self, RecipeError> {
        let path = dir.join(RECIPE);
        let text = fs::read(&path).map_err(|source| RecipeError::File {
            path: path.clone(),
            source,
        })?;
        let recipe: Self = serde_json::from_slice(&text).map_err(|error| RecipeError::Form {
            path: path.clone(),
            why: error.to_string(),
        })?;
        if recipe.form == FORM {
            Ok(recipe)
        } else {
            let why = format!("its form is {}, not {FORM}", recipe.form);
            Err(RecipeError::Form { path, why })
        }
    }

    /// The folder of scenario files that it came from; `None` for the project's own.
    pub fn scenario_dir(&self) -> Option<&Path> {
        Path::new(self.case.get("goldens")?.as_str()?).parent()
    }

    /// Fields of the case that are others now, as `NAME: BEFORE -> NOW`.
    pub fn changes(&self, now: &Case) -> Vec<String> {
        let now = resolved(now);
        let fields = |value: &Value| value.as_object().cloned().unwrap_or_default();
        let (before, now) = (fields(&self.case), fields(&now));
        let mut names: Vec<_> = before.keys().chain(now.keys()).collect();
        names.sort();
        names.dedup();
        // What people read decides nothing.
        let names = names.into_iter().filter(|name| *name != "about");
        let null = Value::Null;
        names
            .filter_map(|name| {
                let (before, now) = (
                    before.get(name).unwrap_or(&null),
                    now.get(name).unwrap_or(&null),
                );
                (before != now).then(|| format!("{name}: {before} -> {now}"))
            })
            .collect()
    }
}

/// The case as data.
fn resolved(case: &Case) -> Value {
    // Nothing in a case cannot be written as JSON.
    serde_json::to_value(case).unwrap_or_default()
}
