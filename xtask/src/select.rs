//! Which cases a verb is about: the same options everywhere.

use std::num::NonZeroU32;
use std::path::PathBuf;

use crossthaw_harness::arch::Arch;
use crossthaw_harness::kernel::Flavor;
use crossthaw_harness::scenario::{
    self, Case, Matrix, Partition, ScenarioError, SelectError, Selection,
};

use crate::context::Context;
use crate::exit::Exit;

/// Which cases.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Selection")]
pub(crate) struct Select {
    /// Only this architecture (repeatable): `x86_32`, `x86_64`, `s390x` or `ppc64`.
    #[arg(long = "arch", value_name = "ARCH")]
    pub(crate) archs: Vec<Arch>,
    /// Only scenarios that match, such as 'memory/*', files/dup or 'registers/fpu[hold=spin]' (repeatable).
    #[arg(long = "scenario", value_name = "GLOB")]
    pub(crate) scenarios: Vec<String>,
    /// Scenario files of this folder in the place of the project's (repeatable).
    #[arg(long = "scenario-dir", value_name = "DIR")]
    pub(crate) scenario_dirs: Vec<PathBuf>,
    /// The kernel's flavor: `fast` or `debug`.
    #[arg(long, value_name = "FLAVOR", default_value = "fast")]
    pub(crate) flavor: Flavor,
    /// Where a case has allocations fail, one of N: 3 for each third, another one in each case [default: 1, in `debug` 7].
    #[arg(long = "fail-each", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) fault_stride: Option<u32>,
    /// Only part M of N, into which the cases are dealt.
    #[arg(long, value_name = "M/N")]
    pub(crate) partition: Option<Partition>,
}

impl Select {
    /// Everything.
    pub(crate) fn all() -> Self {
        Self {
            archs: Vec::new(),
            scenarios: Vec::new(),
            scenario_dirs: Vec::new(),
            flavor: Flavor::Fast,
            fault_stride: None,
            partition: None,
        }
    }

    /// The architectures that are asked for, in their usual order, each once.
    pub(crate) fn archs(&self) -> Vec<Arch> {
        let asked = |arch: &Arch| self.archs.is_empty() || self.archs.contains(arch);
        Arch::ALL.into_iter().filter(asked).collect()
    }

    /// The folders of scenario files that are not the project's; whatever way they are named, the same folder has one name.
    pub(crate) fn folders(&self) -> anyhow::Result<Vec<PathBuf>> {
        let dirs = self.scenario_dirs.iter().map(|dir| {
            dir.canonicalize()
                .map_err(|error| Exit::usage(format!("--scenario-dir {}: {error}", dir.display())))
        });
        Ok(dirs.collect::<Result<_, _>>()?)
    }

    /// The selected cases, of which there is at least one.
    pub(crate) fn cases(&self, cx: &Context) -> anyhow::Result<Vec<Case>> {
        let loaded = if self.scenario_dirs.is_empty() {
            matrix(cx)
        } else {
            scenario::load_others(&self.folders()?)
        };
        let matrix = loaded.map_err(|mistakes| mistaken(&mistakes))?;
        let selection = Selection {
            archs: self.archs.clone(),
            scenarios: self.scenarios.clone(),
            partition: self.partition,
            flavor: self.flavor,
            fault_stride: self.fault_stride.and_then(NonZeroU32::new),
        };
        let cases = matrix.select(&selection).map_err(|error| match error {
            SelectError::Glob { .. } => Exit::usage(error.to_string()),
            SelectError::NoMatch { .. }
            | SelectError::NotThere { .. }
            | SelectError::NoMutant { .. }
            | SelectError::EmptyPartition { .. } => Exit::nothing(error.to_string()),
        })?;
        Ok(cases)
    }
}

/// The scenario files cannot be used.
pub(crate) fn mistaken(mistakes: &[ScenarioError]) -> Exit {
    let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    Exit::usage(format!(
        "the scenario files have mistakes:\n{}",
        lines.join("\n")
    ))
}

/// The project's scenario files; mistakes name them from the checkout on, as an editor takes them.
pub(crate) fn matrix(cx: &Context) -> Result<Matrix, Vec<ScenarioError>> {
    scenario::load(&cx.repo.join("scenarios")).map_err(|mut mistakes| {
        for mistake in &mut mistakes {
            if let Ok(file) = mistake.file.strip_prefix(&cx.repo) {
                mistake.file = file.to_owned();
            }
        }
        mistakes
    })
}
