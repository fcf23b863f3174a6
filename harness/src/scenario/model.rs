//! One scenario file: from its tree to a model in which nothing is wrong any more.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::NaiveDate;
use crossthaw_protocol::{Caller, Disturbance, Pids};
use crossthaw_workloads::{NAMES, keys};

use super::case::{By, Checkpoint, Expect, KnownFailure, Restart, Subject, Tamper};
use super::exec;
use super::expect::{expect, known_failure};
use super::fields::{Fields, Report, choice, distinct, items, set, text};
use super::tamper::tamper;
use super::words::{is_scenario, is_snake, is_symbol, is_value, remedy, time};
use super::yaml::{Node, Place, Value};
use crate::arch::Arch;

/// A scenario as its file has it, with the family's defaults.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) family: String,
    pub(super) name: String,
    pub(super) about: String,
    pub(super) subject: Subject,
    pub(super) axes: Vec<(String, Vec<String>)>,
    pub(super) settings: Settings,
    pub(super) generations: u32,
    pub(super) freeze: bool,
    pub(super) tamper: Option<Tamper>,
    pub(super) faults: bool,
    pub(super) disturb: Vec<Disturbance>,
    pub(super) expect: Expect,
    /// Where its goldens are; `None` for the project's own.
    pub(super) goldens: Option<PathBuf>,
    /// The architectures on which it is known.
    pub(super) known_failure: Option<(Vec<Arch>, KnownFailure)>,
}

/// What a family can say for all of its scenarios.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) archs: Vec<Arch>,
    /// `None` where nothing is said.
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) restart: Restart,
    pub(super) caller: Caller,
    pub(super) pids: Pids,
    pub(super) timeout: Duration,
    pub(super) needs: Vec<String>,
}

const FAMILY_KEYS: &[&str] = &["family", "about", "defaults", "scenarios"];
pub(super) const SETTINGS_KEYS: &[&str] = &[
    "archs",
    "checkpoint",
    "restart",
    "caller",
    "pids",
    "timeout",
    "needs",
];
pub(super) const SCENARIO_KEYS: &[&str] = &[
    "name",
    "about",
    "workload",
    "exec",
    "axes",
    "archs",
    "checkpoint",
    "restart",
    "caller",
    "pids",
    "timeout",
    "needs",
    "generations",
    "freeze",
    "tamper",
    "faults",
    "disturb",
    "expect",
    "known_failure",
];

/// Most generations: a trial of more is a benchmark.
const MOST_GENERATIONS: u32 = 1000;

/// Read a family; what is wrong goes to the report, and then what is returned is not whole.
pub(super) fn family(
    root: &Node,
    file: &Path,
    today: NaiveDate,
    report: &mut Report,
) -> Vec<Scenario> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let stem = &*stem;
    let Some(fields) = Fields::open(root, "a scenario file", FAMILY_KEYS, report) else {
        return Vec::new();
    };
    let expected = format!("{stem}, as the file is called");
    if fields
        .need_text("family", &expected, |name| name == stem, report)
        .is_some()
        && !is_snake(stem)
    {
        report.at(
            root.place,
            format!("expected a file name such as process_tree.yaml, found {stem}.yaml"),
        );
    }
    about(&fields, report);
    let mut defaults = Settings {
        archs: Arch::ALL.to_vec(),
        checkpoint: None,
        restart: Restart::Fresh,
        caller: Caller::Root,
        pids: Pids::Image,
        timeout: Duration::from_secs(30),
        needs: Vec::new(),
    };
    if let Some(node) = fields.get("defaults")
        && let Some(fields) = Fields::open(node, "the block of defaults", SETTINGS_KEYS, report)
    {
        defaults = settings(&fields, &defaults, report);
    }
    let expected = "a list of scenarios";
    let Some(node) = fields.need("scenarios", expected, report) else {
        return Vec::new();
    };
    let mut names: Vec<(String, Place)> = Vec::new();
    let mut scenarios = Vec::new();
    for node in items(node, expected, report) {
        let Some((scenario, place)) = scenario(node, file, &defaults, today, report) else {
            continue;
        };
        match names.iter().find(|(name, _)| *name == scenario.name) {
            Some((name, first)) => report.at(
                place,
                format!("the scenario in line {} is called {name:?} too", first.line),
            ),
            None => names.push((scenario.name.clone(), place)),
        }
        scenarios.push(scenario);
    }
    scenarios
}

fn about(fields: &Fields, report: &mut Report) -> Option<String> {
    let expected = "a sentence that a kernel developer understands, with its full stop";
    let sentence = |text: &str| text.trim().len() > 1 && text.ends_with('.');
    let (text, _) = fields.need_text("about", expected, sentence, report)?;
    Some(text.to_owned())
}

pub(super) fn archs(node: &Node, report: &mut Report) -> Vec<Arch> {
    let words = Arch::ALL.map(|arch| (arch.name(), arch));
    set(
        node,
        "a list of architectures such as [x86_64, s390x]",
        |node, report| choice(node, &words, report),
        report,
    )
}

fn settings(fields: &Fields, defaults: &Settings, report: &mut Report) -> Settings {
    let mut it = defaults.clone();
    if let Some(node) = fields.get("archs") {
        it.archs = archs(node, report);
    }
    if let Some(node) = fields.get("checkpoint") {
        let words = [
            ("container", Checkpoint::Container),
            ("subtree", Checkpoint::Subtree),
            ("self", Checkpoint::SelfTask),
        ];
        it.checkpoint = choice(node, &words, report).or(it.checkpoint);
    }
    if let Some(node) = fields.get("restart") {
        let words = [("fresh", Restart::Fresh), ("same", Restart::Same)];
        it.restart = choice(node, &words, report).unwrap_or(it.restart);
    }
    if let Some(node) = fields.get("caller") {
        let words = [
            ("root", Caller::Root),
            ("unprivileged", Caller::Unprivileged),
            ("outside", Caller::Outside),
        ];
        it.caller = choice(node, &words, report).unwrap_or(it.caller);
    }
    if let Some(node) = fields.get("pids") {
        let words = [("image", Pids::Image), ("new", Pids::New)];
        it.pids = choice(node, &words, report).unwrap_or(it.pids);
    }
    if let Some(node) = fields.get("timeout") {
        let expected = "a time of at most an hour such as 500ms, 20s or 2m";
        let text = text(node, expected, |text| time(text).is_some(), report);
        it.timeout = text.and_then(time).unwrap_or(it.timeout);
    }
    if let Some(node) = fields.get("needs") {
        let expected = "a kernel symbol such as CONFIG_UNIX";
        let symbol = |node, report: &mut Report| text(node, expected, is_symbol, report);
        let symbols = set(
            node,
            "a list of kernel symbols such as [CONFIG_UNIX]",
            symbol,
            report,
        );
        it.needs = symbols.into_iter().map(str::to_owned).collect();
    }
    it
}

/// Read a scenario; also where its name is.
fn scenario(
    node: &Node,
    file: &Path,
    defaults: &Settings,
    today: NaiveDate,
    report: &mut Report,
) -> Option<(Scenario, Place)> {
    let before = report.count();
    let fields = Fields::open(node, "a scenario", SCENARIO_KEYS, report)?;
    let expected = "a name of small letters, digits and hyphens such as three-levels";
    let name = fields.need_text("name", expected, is_scenario, report);
    let mut it = Scenario {
        family: file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        name: String::new(),
        about: about(&fields, report).unwrap_or_default(),
        subject: Subject::Workload(String::new()),
        axes: Vec::new(),
        settings: settings(&fields, defaults, report),
        generations: 1,
        freeze: true,
        tamper: None,
        faults: false,
        disturb: Vec::new(),
        expect: Expect::Pass,
        known_failure: None,
        goldens: None,
    };
    if let Some(node) = fields.get("exec") {
        program(node, file, &fields, &mut it, report);
    } else {
        let name = workload(&fields, report).unwrap_or_default();
        it.subject = Subject::Workload(name.to_owned());
        if let Some(node) = fields.get("axes") {
            it.axes = axes(node, name, report);
        }
    }
    if let Some(node) = fields.get("generations") {
        it.generations = generations(node, report).unwrap_or(it.generations);
    }
    if let Some(node) = fields.get("freeze") {
        let words = [("true", true), ("false", false)];
        it.freeze = choice(node, &words, report).unwrap_or(it.freeze);
    }
    if let Some(node) = fields.get("tamper") {
        it.tamper = tamper(node, report);
    }
    if let Some(node) = fields.get("faults") {
        it.faults = choice(node, &[("each-allocation", true)], report).unwrap_or(false);
    }
    if let Some(node) = fields.get("disturb") {
        it.disturb = set(
            node,
            "a list of disturbances such as [thaw, kill]",
            |node, report| choice(node, &Disturbance::ALL, report),
            report,
        );
    }
    if let Some(node) = fields.get("expect") {
        it.expect = expect(node, report).unwrap_or(it.expect);
    }
    if let Some(node) = fields.get("known_failure") {
        it.known_failure = known_failure(node, &it.settings.archs, today, report);
    }
    // What is wrong in itself need not be wrong together with others.
    if report.count() == before {
        together(&it, &fields, report);
    }
    let (name, place) = name?;
    name.clone_into(&mut it.name);
    Some((it, place))
}

/// What each key may be by itself, but not beside the others.
fn together(it: &Scenario, fields: &Fields, report: &mut Report) {
    let refuses = match it.expect {
        Expect::Pass => None,
        Expect::Refuse { by, .. } => Some(by),
    };
    let mistakes = [
        (
            "tamper",
            it.tamper.is_some() && refuses != Some(By::Restart),
            "a damaged image must be refused: expected expect: {refuse: {by: restart}} beside it",
        ),
        (
            "faults",
            it.faults && refuses.is_some(),
            "what is refused anyway does not show whether a failed allocation is: remove one of the two",
        ),
        (
            "faults",
            it.faults && it.checkpoint() == Checkpoint::SelfTask,
            "a task that checkpoints itself does it once: expected checkpoint: container or subtree beside faults",
        ),
        (
            "disturb",
            !it.disturb.is_empty()
                && (refuses.is_some() || it.checkpoint() == Checkpoint::SelfTask),
            "what is disturbed must be right, or refused for that: expected checkpoint: container or subtree, and no other refusal beside it",
        ),
        (
            "caller",
            it.settings.caller != Caller::Root && it.checkpoint() != Checkpoint::Container,
            "who is in a user namespace may choose pids in a container of their own only: expected checkpoint: container beside it",
        ),
        (
            "caller",
            it.settings.caller != Caller::Root && matches!(it.subject, Subject::Exec(_)),
            "programs are started by root, as another user if they say so: expected workload beside it",
        ),
        (
            "pids",
            it.settings.pids == Pids::New && it.checkpoint() != Checkpoint::Subtree,
            "in a container all pids are free: expected checkpoint: subtree beside it",
        ),
        (
            "pids",
            it.settings.pids == Pids::New && it.generations > 1,
            "a state is told by the pids of one image: expected one generation beside it",
        ),
        (
            "generations",
            fields.get("generations").is_some() && refuses.is_some(),
            "what is refused has no generations: remove one of the two",
        ),
        (
            "expect",
            refuses == Some(By::Checkpoint) && it.checkpoint() == Checkpoint::SelfTask,
            "a task that checkpoints itself judges that itself: expected checkpoint: container or subtree beside a refused checkpoint",
        ),
        (
            "freeze",
            !it.freeze && it.checkpoint() == Checkpoint::SelfTask,
            "a task that checkpoints itself is never frozen: remove this",
        ),
        (
            "freeze",
            !it.freeze && refuses != Some(By::Checkpoint),
            "what is not frozen must be refused: expected expect: {refuse: {by: checkpoint}} beside it",
        ),
    ];
    for (key, wrong, message) in mistakes {
        if wrong {
            // What the family's defaults say is wrong in this scenario.
            let place = fields.get(key).map_or(fields.place(), |node| node.place);
            report.at(place, message);
            return;
        }
    }
}

/// A program in the place of a workload.
fn program(node: &Node, file: &Path, fields: &Fields, it: &mut Scenario, report: &mut Report) {
    if let Some(node) = fields.get("workload") {
        let message = "a workload or a program runs: remove one of workload and exec";
        report.at(node.place, message);
    }
    if let Some(node) = fields.get("axes") {
        it.axes = axes(node, "", report);
    }
    let Some(exec) = exec::exec(node, file, &it.axes, report) else {
        return;
    };
    if let Some((axis, _)) = it.axes.iter().find(|(axis, _)| !exec.uses(axis)) {
        report.at(
            node.place,
            format!("all values of the axis {axis} are one and the same program: expected {{{axis}}} in its arguments, say"),
        );
    }
    let what_said = fields.get("checkpoint").map_or(node.place, |it| it.place);
    match it.settings.checkpoint {
        Some(Checkpoint::SelfTask) => report.at(
            what_said,
            "a program knows nothing of checkpoints: expected checkpoint: subtree or container beside exec",
        ),
        Some(Checkpoint::Container) if exec.ready.pidfile.is_some() => report.at(
            what_said,
            "a program that daemonises ends as the init of a container, and the container with it: expected checkpoint: subtree beside a pid file",
        ),
        _ => {}
    }
    it.subject = Subject::Exec(Box::new(exec));
}

impl Scenario {
    /// What is checkpointed: a workload's container, a program's subtree, unless something else is said.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        let usual = match self.subject {
            Subject::Workload(_) => Checkpoint::Container,
            Subject::Exec(_) => Checkpoint::Subtree,
        };
        self.settings.checkpoint.unwrap_or(usual)
    }
}

fn workload<'a>(fields: &Fields<'a>, report: &mut Report) -> Option<&'a str> {
    let expected = "the name of a function in guests/workloads, FAMILY::NAME";
    let (name, place) = fields.need_text("workload", expected, |_| true, report)?;
    if NAMES.contains(&name) {
        return Some(name);
    }
    let remedy = remedy(name, NAMES.iter().copied(), "");
    report.at(place, format!("no workload is called {name:?}{remedy}"));
    None
}

/// Axes in the file's order; without a workload it is not known which it takes.
fn axes(node: &Node, workload: &str, report: &mut Report) -> Vec<(String, Vec<String>)> {
    let expected = "axes, each a list of values, such as {size: [4096, 65536]}";
    let mapping = match &node.value {
        Value::Mapping(mapping) if !mapping.is_empty() => mapping,
        _ => {
            report.expected(expected, node);
            return Vec::new();
        }
    };
    let mut axes = Vec::new();
    for (axis, place, values) in distinct(mapping, report) {
        match keys(workload) {
            Some(keys) if !keys.contains(&axis) => {
                let remedy = match keys {
                    [] => "; it takes none: remove the axis".to_owned(),
                    _ => remedy(axis, keys.iter().copied(), "it takes"),
                };
                report.at(
                    place,
                    format!("{workload} takes no argument {axis:?}{remedy}"),
                );
            }
            _ => {}
        }
        let expected = format!("the values of {axis}, a list such as [1, 2]");
        let value = |node, report: &mut Report| {
            let expected = "a value of letters, digits and any of . _ + -";
            text(node, expected, is_value, report).map(str::to_owned)
        };
        axes.push((axis.to_owned(), set(values, &expected, value, report)));
    }
    axes
}

fn generations(node: &Node, report: &mut Report) -> Option<u32> {
    let number = |text: &str| {
        let number = text.parse().ok()?;
        (1..=MOST_GENERATIONS).contains(&number).then_some(number)
    };
    let expected = format!("a number from 1 to {MOST_GENERATIONS}");
    let text = text(node, &expected, |text| number(text).is_some(), report)?;
    number(text)
}
