//! Times of the latest run's trials, from its `results.json`.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use crossthaw_harness::arch::Arch;
use serde::Deserialize;

use super::figures::{Figures, Run, Statistics};

/// The phases that are the machinery's own, which a budget is set for; the others are as long as the workload wants.
const OWN: &[&str] = &[
    "clone",
    "probe",
    "checkpoint",
    "clone-again",
    "restart",
    "probe-again",
    "checkpoint-again",
];

/// As much of the file as is needed here.
#[derive(Debug, Deserialize)]
struct Results {
    run: RunLine,
    cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
struct RunLine {
    id: String,
    seconds: f64,
}

#[derive(Debug, Deserialize)]
struct Case {
    arch: Arch,
    #[serde(default)]
    phases: Vec<Phase>,
}

#[derive(Debug, Deserialize)]
struct Phase {
    phase: String,
    seconds: f64,
}

impl Case {
    /// Time in phases of this name; `None` if there was none.
    fn time(&self, name: &str) -> Option<Duration> {
        let times = self.phases.iter().filter(|phase| phase.phase == name);
        times
            .filter_map(|phase| Duration::try_from_secs_f64(phase.seconds).ok())
            .reduce(|sum, time| sum + time)
    }

    /// Time in all of the machinery's phases; `None` unless each of them was gone through.
    fn own(&self) -> Option<Duration> {
        OWN.iter().map(|name| self.time(name)).sum()
    }
}

/// What the run shows; nothing if there is none.
pub(super) fn figures(path: &Path) -> anyhow::Result<Figures> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Figures::default()),
        other => other.with_context(|| format!("cannot read {}", path.display()))?,
    };
    parse(&text).with_context(|| format!("cannot understand {}", path.display()))
}

fn parse(text: &str) -> serde_json::Result<Figures> {
    let results: Results = serde_json::from_str(text)?;
    let tried = results.cases.iter().filter(|case| !case.phases.is_empty());
    let mut figures = Figures {
        run: Some(Run {
            id: results.run.id,
            trials: tried.count(),
            seconds: results.run.seconds,
        }),
        ..Figures::default()
    };
    for arch in Arch::ALL {
        let cases: Vec<_> = results
            .cases
            .iter()
            .filter(|case| case.arch == arch)
            .collect();
        let mut names: Vec<&str> = Vec::new();
        for phase in cases.iter().flat_map(|case| &case.phases) {
            if !names.contains(&phase.phase.as_str()) {
                names.push(&phase.phase);
            }
        }
        let own: Vec<_> = cases.iter().filter_map(|case| case.own()).collect();
        if !own.is_empty() {
            figures.add(
                arch,
                "trial, beyond its workload",
                Statistics::of(own).median,
            );
        }
        for name in names {
            let times = cases.iter().filter_map(|case| case.time(name)).collect();
            figures.add(
                arch,
                &format!("trial: {name}"),
                Statistics::of(times).median,
            );
        }
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_by_architecture_and_phase() {
        let phases = |times: &[(&str, f64)]| {
            let phase = |(phase, seconds): &(&str, f64)| {
                format!(r#"{{"phase":"{phase}","seconds":{seconds}}}"#)
            };
            let phases: Vec<_> = times.iter().map(phase).collect();
            format!(
                r#"{{"case":"x","arch":"s390x","verdict":"pass","phases":[{}]}}"#,
                phases.join(",")
            )
        };
        let whole: Vec<_> = OWN.iter().map(|name| (*name, 0.125)).collect();
        let text = format!(
            r#"{{"run":{{"id":"7","seconds":2.5,"passed":2}},"cases":[{},{},{{"case":"y","arch":"ppc64","verdict":"skip"}}]}}"#,
            phases(&whole),
            phases(&[("clone", 0.5), ("clone", 0.25)]),
        );
        let figures = parse(&text).unwrap();
        let get = |what: &str| {
            let mut found = figures.figures.iter().filter(|figure| figure.what == what);
            found.next().map(|figure| (figure.arch, figure.seconds))
        };
        assert_eq!(
            get("trial, beyond its workload"),
            Some((Arch::S390x, 0.875))
        );
        assert_eq!(get("trial: clone"), Some((Arch::S390x, 0.125)));
        assert_eq!(figures.run.unwrap().trials, 2);
    }

    #[test]
    fn no_run_has_no_figures() {
        let none = figures(Path::new("/no/results.json")).unwrap();
        assert_eq!(none, Figures::default());
    }
}
