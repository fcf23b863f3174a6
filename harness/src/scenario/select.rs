//! Which cases to run: by architecture, by glob, by partition.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};

use super::Matrix;
use super::case::{Case, CaseId, Subject};
use super::fields::either;
use super::model::Scenario;
use super::words::nearest;
use crate::arch::Arch;
use crate::kernel::Flavor;

/// One of several parts into which the selected cases are dealt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Which part, from 1.
    pub index: NonZeroU32,
    /// Of how many.
    pub count: NonZeroU32,
}

/// Not a partition.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a partition M/N with M from 1 to N, such as 2/3, found {0:?}")]
pub struct PartitionError(String);

impl FromStr for Partition {
    type Err = PartitionError;

    fn from_str(text: &str) -> Result<Self, PartitionError> {
        let parse = || {
            let (index, count) = text.split_once('/')?;
            let index: NonZeroU32 = index.parse().ok()?;
            let count: NonZeroU32 = count.parse().ok()?;
            (index <= count).then_some(Self { index, count })
        };
        parse().ok_or_else(|| PartitionError(text.to_owned()))
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

/// What the command line selects.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The architectures; all if empty.
    pub archs: Vec<Arch>,
    /// Globs, of which one must match; all cases if empty.
    ///
    /// A glob is held against `pipes/full`, `pipes/full[size=4096]` and the whole id.
    /// `*` also matches `/`; brackets stand for themselves.
    pub scenarios: Vec<String>,
    /// The part of what the above select.
    pub partition: Option<Partition>,
    /// The flavor in which the cases run.
    pub flavor: Flavor,
    /// One of how many allocations fails in a case that has them fail; as usual in the flavor if `None`.
    pub fault_stride: Option<NonZeroU32>,
}

/// Why a selection cannot be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// A glob that is none.
    #[error("{glob:?} is not a glob: {reason}")]
    Glob {
        /// As it was given.
        glob: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A glob that matches nothing at all.
    #[error("no scenario matches {glob:?}{}", near_misses(near))]
    NoMatch {
        /// As it was given.
        glob: String,
        /// What may have been meant.
        near: Vec<String>,
    },
    /// A glob that matches no mutant.
    #[error("no mutant matches {glob:?}; `cargo xtask mutants --list` shows all")]
    NoMutant {
        /// As it was given.
        glob: String,
    },
    /// There are such scenarios, but not on these architectures.
    #[error(
        "no scenario that matches {} runs on {}: {}",
        names(globs),
        names(archs),
        ids(cases)
    )]
    NotThere {
        /// The globs.
        globs: Vec<String>,
        /// The architectures that were asked for.
        archs: Vec<Arch>,
        /// Where they run.
        cases: Vec<CaseId>,
    },
    /// More parts than cases.
    #[error("partition {partition} is empty: there are only {cases} cases to deal out")]
    EmptyPartition {
        /// As it was given.
        partition: Partition,
        /// How many cases there are in all parts.
        cases: usize,
    },
}

fn names<T: ToString>(words: &[T]) -> String {
    let words: Vec<_> = words.iter().map(ToString::to_string).collect();
    words.join(", ")
}

fn ids(cases: &[CaseId]) -> String {
    match cases {
        [] => "there is none".to_owned(),
        [first, rest @ ..] if rest.len() > 2 => {
            format!("there are {first} and {} others", rest.len())
        }
        _ => format!("there is {}", names(cases)),
    }
}

fn near_misses(near: &[String]) -> String {
    match near {
        [] => "; `cargo xtask list` shows all".to_owned(),
        near => {
            let near: Vec<_> = near.iter().map(String::as_str).collect();
            format!("; did you mean {}?", either(&near))
        }
    }
}

/// A glob in which `[` and `]` stand for themselves, as they do in the names of cases.
pub(crate) fn glob(text: &str) -> Result<GlobMatcher, SelectError> {
    let mut pattern = String::new();
    for character in text.chars() {
        match character {
            '[' => pattern.push_str("[[]"),
            ']' => pattern.push_str("[]]"),
            other => pattern.push(other),
        }
    }
    let glob = GlobBuilder::new(&pattern).literal_separator(false).build();
    let glob = glob.map_err(|error| SelectError::Glob {
        glob: text.to_owned(),
        reason: error.kind().to_string(),
    })?;
    Ok(glob.compile_matcher())
}

fn matches(glob: &GlobMatcher, case: &Case) -> bool {
    let scenario = format!("{}/{}", case.family, case.scenario);
    [&*scenario, case.id.without_arch(), case.id.as_str()]
        .iter()
        .any(|name| glob.is_match(name))
}

impl Matrix {
    /// Every case of the matrix: by architecture, and then in the order of the files.
    pub fn cases(&self, flavor: Flavor) -> Vec<Case> {
        let on = |arch| {
            let scenarios = self.scenarios.iter();
            let scenarios = scenarios.filter(move |it| it.settings.archs.contains(&arch));
            scenarios.flat_map(move |it| expand(it, arch, flavor))
        };
        Arch::ALL.into_iter().flat_map(on).collect()
    }

    /// The cases of a selection, in the order of [`Matrix::cases`]; there is at least one.
    pub fn select(&self, selection: &Selection) -> Result<Vec<Case>, SelectError> {
        let Selection {
            archs,
            scenarios,
            partition,
            flavor,
            fault_stride,
        } = selection;
        let globs = scenarios
            .iter()
            .map(|text| Ok((text, glob(text)?)))
            .collect::<Result<Vec<_>, _>>()?;
        let mut cases = self.cases(*flavor);
        if let Some(stride) = *fault_stride {
            for case in &mut cases {
                case.fault_stride = stride;
            }
        }
        for (text, glob) in &globs {
            if !cases.iter().any(|case| matches(glob, case)) {
                return Err(self.no_match(text));
            }
        }
        cases.retain(|case| globs.is_empty() || globs.iter().any(|(_, glob)| matches(glob, case)));
        let anywhere: Vec<_> = cases.iter().map(|case| case.id.clone()).collect();
        cases.retain(|case| archs.is_empty() || archs.contains(&case.arch));
        if cases.is_empty() {
            return Err(SelectError::NotThere {
                globs: scenarios.clone(),
                archs: archs.clone(),
                cases: anywhere,
            });
        }
        match partition {
            Some(partition) => part(cases, *partition),
            None => Ok(cases),
        }
    }

    fn no_match(&self, text: &str) -> SelectError {
        let families: Vec<_> = self
            .scenarios
            .iter()
            .map(|it| format!("{}/*", it.family))
            .collect();
        let scenarios: Vec<_> = self
            .scenarios
            .iter()
            .map(|it| format!("{}/{}", it.family, it.name))
            .collect();
        let known = families.iter().chain(&scenarios).map(String::as_str);
        // Without what differs from name to name.
        let bare = text.split('[').next().unwrap_or_default();
        let near = nearest(bare, known, 3);
        SelectError::NoMatch {
            glob: text.to_owned(),
            near: near.into_iter().map(str::to_owned).collect(),
        }
    }
}

/// Deal the cases out, so that each part has some of each architecture and family.
fn part(cases: Vec<Case>, partition: Partition) -> Result<Vec<Case>, SelectError> {
    let all = cases.len();
    let (index, count) = (
        partition.index.get() as usize,
        partition.count.get() as usize,
    );
    let part: Vec<_> = cases.into_iter().skip(index - 1).step_by(count).collect();
    if part.is_empty() {
        return Err(SelectError::EmptyPartition {
            partition,
            cases: all,
        });
    }
    Ok(part)
}

/// Every choice of one value on each axis; the last axis changes first.
fn choices(axes: &[(String, Vec<String>)]) -> Vec<Vec<(String, String)>> {
    axes.iter()
        .fold(vec![Vec::new()], |choices, (axis, values)| {
            let extend = |choice: Vec<(String, String)>| {
                values.iter().map(move |value| {
                    let mut longer = choice.clone();
                    longer.push((axis.clone(), value.clone()));
                    longer
                })
            };
            choices.into_iter().flat_map(extend).collect()
        })
}

fn expand(it: &Scenario, arch: Arch, flavor: Flavor) -> Vec<Case> {
    let case = |axes: Vec<(String, String)>| Case {
        id: CaseId::new(arch, &it.family, &it.name, &axes),
        arch,
        family: it.family.clone(),
        scenario: it.name.clone(),
        about: it.about.clone(),
        args: axes.clone(),
        subject: match &it.subject {
            Subject::Workload(name) => Subject::Workload(name.clone()),
            Subject::Exec(exec) => Subject::Exec(Box::new(exec.fill(arch, &axes))),
        },
        axes,
        flavor,
        fault_stride: flavor.fault_stride(),
        goldens: it.goldens.clone(),
        checkpoint: it.checkpoint(),
        restart: it.settings.restart,
        caller: it.settings.caller,
        pids: it.settings.pids,
        timeout: it.settings.timeout,
        generations: it.generations,
        freeze: it.freeze,
        tamper: it.tamper.clone(),
        faults: it.faults,
        disturb: it.disturb.clone(),
        expect: it.expect.clone(),
        known_failure: it
            .known_failure
            .as_ref()
            .filter(|(archs, _)| archs.contains(&arch))
            .map(|(_, failure)| failure.clone()),
        needs: it.settings.needs.clone(),
        skip: None,
    };
    choices(&it.axes).into_iter().map(case).collect()
}
