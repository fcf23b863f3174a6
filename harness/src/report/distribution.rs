//! How the trials of one case are distributed: by outcome, and in time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::Finished;
use super::event::seconds;
use super::results::{headline, label};

/// Rounds that a line of text names.
const ROUNDS: usize = 8;

/// The trials of one case.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Distribution {
    /// How many ended.
    pub trials: usize,
    /// How many of each verdict.
    pub verdicts: BTreeMap<&'static str, usize>,
    /// What those that did not pass have in common, the most frequent first.
    pub kinds: Vec<Kind>,
    /// How long those that were tried took; `None` if none was.
    pub seconds: Option<Spread>,
    /// Parts of them that were done once more, see [`super::Event::TrialRetried`].
    pub retries: usize,
}

/// Trials that ended in the same way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kind {
    /// The verdict, and which oracle, class or phase: `fail (state)`.
    pub label: String,
    /// What the first of them says, its first line; the others say the same but for numbers.
    pub message: String,
    /// How many there are.
    pub count: usize,
    /// Their rounds, in order.
    pub rounds: Vec<u32>,
}

/// Durations, by nearest rank: each is the one of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// The shortest.
    #[serde(serialize_with = "seconds::serialize")]
    pub min: Duration,
    /// Half of them are not longer.
    #[serde(serialize_with = "seconds::serialize")]
    pub median: Duration,
    /// Nine tenths of them are not longer.
    #[serde(serialize_with = "seconds::serialize")]
    pub p90: Duration,
    /// The longest.
    #[serde(serialize_with = "seconds::serialize")]
    pub max: Duration,
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let rank = |tenths: usize| times.get((times.len() * tenths).div_ceil(10).max(1) - 1);
        Some(Self {
            min: *times.first()?,
            median: *rank(5)?,
            p90: *rank(9)?,
            max: *times.last()?,
        })
    }
}

impl Distribution {
    /// Of these trials.
    pub fn of(trials: &[Finished]) -> Self {
        let mut it = Self::default();
        let mut sorted: Vec<_> = trials.iter().collect();
        sorted.sort_by_key(|trial| trial.round);
        let mut times = Vec::new();
        let mut shapes: Vec<(String, String)> = Vec::new();
        for trial in sorted {
            let kind = trial.verdict.kind();
            it.trials += 1;
            it.retries += trial.retries.len();
            *it.verdicts.entry(kind).or_default() += 1;
            times.extend(trial.round.map(|_| trial.time));
            if kind == "pass" {
                continue;
            }
            let (label, message) = (label(&trial.verdict), headline(&trial.verdict));
            let shape = (label.clone(), without_numbers(&message));
            let at = shapes.iter().position(|known| *known == shape);
            let at = at.unwrap_or_else(|| {
                shapes.push(shape);
                it.kinds.push(Kind {
                    label,
                    message,
                    count: 0,
                    rounds: Vec::new(),
                });
                it.kinds.len() - 1
            });
            it.kinds[at].count += 1;
            it.kinds[at].rounds.extend(trial.round);
        }
        it.kinds.sort_by_key(|kind| std::cmp::Reverse(kind.count));
        it.seconds = Spread::of(times);
        it
    }

    /// `18 passed, 1 failed, 1 timeout`.
    pub fn counts(&self) -> String {
        let counts = self.verdicts.iter().map(|(kind, count)| match *kind {
            "pass" => (0, format!("{count} passed")),
            "fail" => (1, format!("{count} failed")),
            "skip" => (3, format!("{count} skipped")),
            other => (2, format!("{count} {other}")),
        });
        let mut counts: Vec<_> = counts.collect();
        counts.sort();
        let counts: Vec<_> = counts.into_iter().map(|(_, text)| text).collect();
        counts.join(", ")
    }
}

impl Kind {
    /// `rounds 3, 7`; the first few of many.
    pub fn rounds(&self) -> String {
        let named: Vec<_> = self
            .rounds
            .iter()
            .take(ROUNDS)
            .map(u32::to_string)
            .collect();
        let more = if self.rounds.len() > ROUNDS {
            ", ..."
        } else {
            ""
        };
        match self.rounds.len() {
            0 => "not tried".to_owned(),
            1 => format!("round {}", named.join("")),
            _ => format!("rounds {}{more}", named.join(", ")),
        }
    }
}

/// What two messages have in common that differ in pids, addresses and times only.
fn without_numbers(text: &str) -> String {
    let mut shape = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest
            .find(|c: char| c.is_ascii_alphanumeric() != first.is_ascii_alphanumeric())
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let digits = word.strip_prefix("0x").unwrap_or(word);
        let number = digits.bytes().all(|byte| byte.is_ascii_digit())
            || ((digits.len() < word.len() || digits.len() >= 8)
                && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        shape += if number && first.is_ascii_alphanumeric() {
            "N"
        } else {
            word
        };
        rest = after;
    }
    // The kernel pads its times.
    let words: Vec<_> = shape.split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{Oracle, Verdict};
    use crate::report::tests::finished;

    fn trial(round: u32, millis: u64, verdict: Verdict) -> Finished {
        Finished {
            round: Some(round),
            time: Duration::from_millis(millis),
            ..finished("s390x/pipes/full", verdict)
        }
    }

    fn fail(message: &str) -> Verdict {
        Verdict::Fail {
            oracle: Oracle::State,
            message: message.to_owned(),
        }
    }

    #[test]
    fn numbers_do_not_tell_two_messages_apart() {
        for (one, other, same) in [
            ("task 3: pos: 17 -> 0", "task 12: pos: 4096 -> 0", true),
            ("at ffff88800a0b1c2d", "at ffff888012345678", true),
            ("[ 12.345678] at 0xabc", "[    1.000001] at 0xdef", true),
            ("fd 3: deadbeef", "fd 3: feed", false),
            ("fd 3: pos", "fd 3: flags", false),
            ("s0.json: é", "s1.json: é", false),
        ] {
            assert_eq!(
                without_numbers(one) == without_numbers(other),
                same,
                "{one}"
            );
        }
    }

    #[test]
    fn trials_are_told_apart_by_what_they_say() {
        let late = || Verdict::Timeout {
            phase: "restart".to_owned(),
        };
        let trials = [
            trial(2, 20, fail("task 3: pos: 1")),
            trial(1, 10, Verdict::Pass),
            trial(3, 30, late()),
            trial(5, 50, Verdict::Pass),
            trial(4, 40, fail("task 9: pos: 2\nmore")),
        ];
        let found = Distribution::of(&trials);
        assert_eq!(found.counts(), "2 passed, 2 failed, 1 timeout");
        let kinds = found.kinds.iter();
        let kinds: Vec<_> = kinds
            .map(|kind| (&*kind.label, &*kind.message, kind.rounds()))
            .collect();
        let expected = [
            ("fail (state)", "task 3: pos: 1", "rounds 2, 4".to_owned()),
            (
                "timeout (restart)",
                "nothing happened in time during restart",
                "round 3".to_owned(),
            ),
        ];
        assert_eq!(kinds, expected);
        let spread = found.seconds.unwrap();
        let millis = [spread.min, spread.median, spread.p90, spread.max];
        assert_eq!(millis.map(|time| time.as_millis()), [10, 30, 50, 50]);
    }

    #[test]
    fn a_case_that_was_not_tried_has_no_durations() {
        let mut skipped = trial(
            1,
            0,
            Verdict::Skip {
                reason: "no".to_owned(),
            },
        );
        skipped.round = None;
        let found = Distribution::of(&[skipped]);
        assert_eq!(
            (found.counts().as_str(), found.seconds),
            ("1 skipped", None)
        );
        assert_eq!(found.kinds[0].rounds(), "not tried");
    }

    #[test]
    fn ranks_are_those_of_trials() {
        let times = |n: u64| (1..=n).map(Duration::from_secs).collect();
        for (n, median, p90) in [(1, 1, 1), (2, 1, 2), (10, 5, 9), (11, 6, 10)] {
            let spread = Spread::of(times(n)).unwrap();
            assert_eq!(
                (spread.median.as_secs(), spread.p90.as_secs()),
                (median, p90)
            );
        }
    }
}
