//! Figures and how they are shown: a row a figure, a column an architecture.

use std::fmt::Write as _;
use std::time::Duration;

use crossthaw_harness::arch::Arch;
use serde::{Deserialize, Serialize};

use super::seconds;

/// What each figure may be at most, in seconds: section 9 of the design.
const BUDGETS: &[(&str, f64)] = &[
    ("template", 5.0),
    ("clone, median", 0.15),
    ("trial, beyond its workload", 0.6),
];

/// One number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Figure {
    pub(super) arch: Arch,
    pub(super) what: String,
    pub(super) seconds: f64,
}

/// The run that the trials' times are of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    pub(super) id: String,
    pub(super) trials: usize,
    pub(super) seconds: f64,
}

/// All of them, in the order in which they were found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Figures {
    pub(super) figures: Vec<Figure>,
    pub(super) run: Option<Run>,
}

/// What is said of many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Statistics {
    pub(super) median: Duration,
    pub(super) p90: Duration,
}

impl Statistics {
    /// Of these; nearest rank, so each is a time that was measured. Zero if there are none.
    pub(super) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let rank = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100);
            times.get(rank.saturating_sub(1)).copied()
        };
        Self {
            median: rank(50).unwrap_or_default(),
            p90: rank(90).unwrap_or_default(),
        }
    }
}

impl Figures {
    pub(super) fn add(&mut self, arch: Arch, what: &str, time: Duration) {
        self.figures.push(Figure {
            arch,
            what: what.to_owned(),
            seconds: seconds(time),
        });
    }

    fn get(&self, arch: Arch, what: &str) -> Option<f64> {
        self.figures
            .iter()
            .find(|figure| figure.arch == arch && figure.what == what)
            .map(|figure| figure.seconds)
    }

    /// For people: seconds, the budget, `!` where it is missed, and the change from before.
    pub(super) fn table(&self, before: Option<&Self>) -> String {
        let archs: Vec<_> = Arch::ALL
            .into_iter()
            .filter(|&arch| self.figures.iter().any(|figure| figure.arch == arch))
            .collect();
        let mut rows: Vec<&str> = Vec::new();
        // Budgets first, then the rest as it comes.
        let budgets = BUDGETS.iter().map(|(what, _)| *what);
        for what in budgets.chain(self.figures.iter().map(|figure| figure.what.as_str())) {
            let there = self.figures.iter().any(|figure| figure.what == what);
            if there && !rows.contains(&what) {
                rows.push(what);
            }
        }
        let mut lines = vec![header(&archs)];
        for what in rows {
            let budget = BUDGETS.iter().find(|(name, _)| *name == what);
            let budget = budget.map(|(_, seconds)| *seconds);
            let mut line = format!("{what:<28}");
            for &arch in &archs {
                let now = self.get(arch, what);
                let then = before.and_then(|before| before.get(arch, what));
                let _ = write!(line, "{:>16}", cell(now, then, budget));
            }
            if let Some(budget) = budget {
                let _ = write!(line, "{budget:>10.3}");
            }
            lines.push(line);
        }
        match &self.run {
            Some(Run {
                id,
                trials,
                seconds,
            }) => lines.push(format!(
                "trials: medians of run {id}, {trials} trials in {seconds:.1} s"
            )),
            None => lines.push("trials: no run yet, `cargo xtask test` makes one".to_owned()),
        }
        lines.join("\n") + "\n"
    }
}

fn header(archs: &[Arch]) -> String {
    let mut line = format!("{:<28}", "seconds");
    for arch in archs {
        let _ = write!(line, "{arch:>16}");
    }
    line + &format!("{:>10}", "at most")
}

fn cell(now: Option<f64>, then: Option<f64>, budget: Option<f64>) -> String {
    let Some(now) = now else { return String::new() };
    let missed = budget.is_some_and(|budget| now > budget);
    let mark = if missed { "!" } else { "" };
    let change = then
        .filter(|&then| then > 0.0)
        .map_or_else(String::new, |then| {
            format!(" {:+.0}%", (now / then - 1.0) * 100.0)
        });
    format!("{mark}{now:.3}{change}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(times: &[u64]) -> Vec<Duration> {
        times.iter().map(|&n| Duration::from_millis(n)).collect()
    }

    #[test]
    fn ranks_are_times_that_were_measured() {
        let check = |times: &[u64], median, p90| {
            let wanted = Statistics {
                median: Duration::from_millis(median),
                p90: Duration::from_millis(p90),
            };
            assert_eq!(Statistics::of(millis(times)), wanted);
        };
        check(&[], 0, 0);
        check(&[7], 7, 7);
        check(&[3, 1, 2], 2, 3);
        check(&[10, 9, 8, 7, 6, 5, 4, 3, 2, 1], 5, 9);
    }

    #[test]
    fn the_table_marks_what_is_missed_and_what_changed() {
        let mut then = Figures::default();
        then.add(Arch::X86_64, "clone, median", Duration::from_millis(100));
        let mut now = Figures::default();
        now.add(Arch::Ppc64, "restart", Duration::from_millis(30));
        now.add(Arch::X86_64, "clone, median", Duration::from_millis(150));
        now.add(Arch::Ppc64, "clone, median", Duration::from_millis(151));
        now.run = Some(Run {
            id: "7".to_owned(),
            trials: 2,
            seconds: 1.5,
        });
        let table = now.table(Some(&then));
        let lines: Vec<Vec<_>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0], ["seconds", "x86_64", "ppc64", "at", "most"]);
        assert_eq!(
            lines[1],
            ["clone,", "median", "0.150", "+50%", "!0.151", "0.150"]
        );
        assert_eq!(lines[2], ["restart", "0.030"]);
        let text = serde_json::to_string(&now).unwrap();
        assert_eq!(serde_json::from_str::<Figures>(&text).unwrap(), now);
    }
}
