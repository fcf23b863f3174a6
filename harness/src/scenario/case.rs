//! One case: a scenario with one value chosen on each of its axes, on one architecture.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use chrono::NaiveDate;
use crossthaw_image::Forgery;
use crossthaw_protocol::{Caller, Disturbance, Pids};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::exec::Exec;
use crate::arch::Arch;
use crate::kernel::Flavor;

/// Name of a case, `s390x/pipes/full[size=4096]`: the same in every run, until the scenario is renamed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CaseId(String);

impl CaseId {
    pub(super) fn new(arch: Arch, family: &str, scenario: &str, axes: &[(String, String)]) -> Self {
        Self(format!("{arch}/{family}/{scenario}{}", brackets(axes)))
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `pipes`.
    pub fn family(&self) -> &str {
        self.without_arch()
            .split_once('/')
            .map_or("", |(family, _)| family)
    }

    /// `pipes/full[size=4096]`: what is the same on every architecture.
    pub fn without_arch(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(_, rest)| rest)
    }

    /// `s390x.pipes.full.size=4096`: for a folder; no two cases share one, and no shell takes it for a glob.
    pub fn file_name(&self) -> String {
        // None of the parts holds any of these characters: the files' check sees to it.
        self.0.replace(['/', '[', ','], ".").replace(']', "")
    }
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// `[size=4096,mode=fast]`; nothing without axes.
fn brackets(axes: &[(String, String)]) -> String {
    if axes.is_empty() {
        return String::new();
    }
    let values: Vec<_> = axes
        .iter()
        .map(|(axis, value)| format!("{axis}={value}"))
        .collect();
    format!("[{}]", values.join(","))
}

/// What is checkpointed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checkpoint {
    /// A container with namespaces of its own, whole, from outside.
    Container,
    /// A part of the guest's own tree, from outside.
    Subtree,
    /// The workload's own task, by itself.
    #[serde(rename = "self")]
    SelfTask,
}

/// Where the image is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// In a kernel that never saw the workload.
    Fresh,
    /// In the kernel where it ran, after the original was killed.
    Same,
}

/// What is done to the image before it is restarted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tamper {
    /// An image of another architecture takes its place.
    Foreign,
    /// An image of an architecture with the other byte order.
    ByteOrder,
    /// It ends before and within a record, once for each of its records.
    TruncateEachRecord,
    /// One byte is flipped, once for each of its records.
    FlipEachRecord,
    /// A record is changed and the checksum made right again, once for each of these.
    Forge(Vec<Forged>),
}

/// Changes of records that the restart must find out by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Forged {
    /// What is changed, one after the other.
    pub forgeries: Vec<Forgery>,
    /// The error's name, `EPERM`; the case's if `None`.
    pub errno: Option<String>,
    /// What a line of the log must contain, or of what the tool says if it refuses.
    pub log: String,
    /// The tool refuses, which reads the first two records itself.
    pub by_tool: bool,
}

impl Forged {
    /// What is changed, for messages.
    pub fn what(&self) -> String {
        let each: Vec<_> = self.forgeries.iter().map(Forgery::to_string).collect();
        each.join("; ")
    }
}

/// The step that refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// `checkpoint(2)`.
    Checkpoint,
    /// `restart(2)`.
    Restart,
}

/// How the case should end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// The tasks are restarted and are what they were.
    Pass,
    /// The kernel says no, and nothing is harmed or left.
    Refuse {
        /// The step that refuses.
        by: By,
        /// The error's name, `EBUSY`; any if `None`.
        errno: Option<String>,
        /// What a line of the log must contain; any if `None`.
        log: Option<String>,
    },
}

/// A failure that is known, and for how long it may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownFailure {
    /// Why it fails.
    pub reason: String,
    /// Where that is discussed.
    pub link: String,
    /// The last day on which it may fail; the files do not load afterwards.
    pub until: NaiveDate,
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// A workload of the project, `FAMILY::NAME`.
    Workload(String),
    /// A program that knows nothing of the project.
    Exec(Box<Exec>),
}

/// All that a trial needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Case {
    /// Its name.
    pub id: CaseId,
    /// The guest's architecture.
    pub arch: Arch,
    /// Stem of the scenario file's name.
    pub family: String,
    /// The scenario within its family.
    pub scenario: String,
    /// One sentence for a kernel developer.
    pub about: String,
    /// The chosen value of each axis, in the file's order.
    #[serde(serialize_with = "map")]
    pub axes: Vec<(String, String)>,
    /// The kernel's flavor.
    pub flavor: Flavor,
    /// One of how many allocations fails, where it has them fail.
    #[serde(skip)]
    pub fault_stride: NonZeroU32,
    /// What runs.
    #[serde(flatten)]
    pub subject: Subject,
    /// A workload's arguments, to be given as `KEY=VALUE`: the axes.
    #[serde(skip)]
    pub args: Vec<(String, String)>,
    /// What is checkpointed, and how.
    pub checkpoint: Checkpoint,
    /// Where it is restarted.
    pub restart: Restart,
    /// Who does that.
    pub caller: Caller,
    /// What its tasks are called after the restart.
    pub pids: Pids,
    /// Deadline of each wait in the trial: for ready, for the end, for an answer.
    #[serde(rename = "timeout_seconds", serialize_with = "seconds")]
    pub timeout: Duration,
    /// How often it is checkpointed and restarted, each time from the last restart; 1 or more.
    pub generations: u32,
    /// Whether the tree is frozen before the checkpoint.
    pub freeze: bool,
    /// What is done to the image.
    pub tamper: Option<Tamper>,
    /// Whether each allocation of a checkpoint and of a restart is made to fail before.
    pub faults: bool,
    /// What is done to the tree while it is checkpointed, again and again, before the checkpoint that counts.
    pub disturb: Vec<Disturbance>,
    /// How it should end.
    pub expect: Expect,
    /// The failure that is known on this architecture.
    pub known_failure: Option<KnownFailure>,
    /// Kernel symbols that must be set, `CONFIG_UNIX`.
    pub needs: Vec<String>,
    /// Where its goldens are; `None` for the project's own.
    pub goldens: Option<PathBuf>,
    /// Why it cannot run; see [`Case::check_needs`].
    pub skip: Option<String>,
}

impl Case {
    /// `full[size=4096]`: the scenario and its axes, as golden states are named.
    pub fn name(&self) -> String {
        format!("{}{}", self.scenario, brackets(&self.axes))
    }

    /// Skip it if the kernel lacks a symbol that it needs.
    pub fn check_needs(&mut self, is_set: impl Fn(&str) -> bool) {
        let missing = self.needs.iter().find(|symbol| !is_set(symbol));
        if let Some(symbol) = missing {
            self.skip = Some(format!("the kernel has no {symbol}"));
        }
    }
}

fn map<S: Serializer>(pairs: &[(String, String)], to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(Some(pairs.len()))?;
    for (key, value) in pairs {
        map.serialize_entry(key, value)?;
    }
    map.end()
}

fn seconds<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn ids_name_what_was_chosen() {
        for (axes, id, file_name) in [
            (
                pairs(&[]),
                "s390x/process_tree/three-levels",
                "s390x.process_tree.three-levels",
            ),
            (
                pairs(&[("size", "4096"), ("how", "a.b")]),
                "s390x/process_tree/three-levels[size=4096,how=a.b]",
                "s390x.process_tree.three-levels.size=4096.how=a.b",
            ),
        ] {
            let case = CaseId::new(Arch::S390x, "process_tree", "three-levels", &axes);
            assert_eq!(case.to_string(), id);
            assert_eq!(case.file_name(), file_name);
            assert_eq!(case.family(), "process_tree");
            assert_eq!(format!("s390x/{}", case.without_arch()), id);
        }
    }
}
