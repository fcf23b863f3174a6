//! Pids of the agent's namespace to those of the tree's.

use std::collections::BTreeMap;

use crossthaw_image::renumber_clock;
use crossthaw_protocol::Fields;

use super::task::Task;
use crate::error::Result;

/// Translates pids into the tree's pid namespace.
#[derive(Debug)]
pub(crate) struct Translation {
    /// How deep the tree's pid namespace lies below the agent's.
    pub(super) level: usize,
    /// Pid as the agent sees it, to pid in the tree.
    pub(super) pids: BTreeMap<i32, i32>,
}

impl Translation {
    /// 0 for a task outside of the tree.
    pub(super) fn pid(&self, outer: i32) -> i32 {
        self.pids.get(&outer).copied().unwrap_or(0)
    }

    /// A pid as text; what is no positive number stays. A negative one is a process group.
    pub(super) fn pid_text(&self, text: &str) -> String {
        match text.trim().parse::<i32>() {
            Ok(pid) if pid > 0 => self.pid(pid).to_string(),
            Ok(group) if group < -1 => self.pid(-group).wrapping_neg().to_string(),
            _ => text.to_owned(),
        }
    }

    /// Of the numbers of a task in each pid namespace, the tree's; 0 where it is not one of the tree's tasks.
    pub(super) fn group(&self, numbers: &[i32]) -> i32 {
        numbers.first().map_or(0, |&outer| self.pid(outer))
    }

    /// The task's status with all pids translated.
    pub(super) fn status(&self, task: &Task) -> Result<Fields> {
        let translate = |(name, value): &(String, String)| {
            let value = match name.as_str() {
                "PPid" | "TracerPid" => self.pid_text(value),
                "Tgid" | "NStgid" => task.leader.to_string(),
                "Pid" | "NSpid" => task.inner.to_string(),
                "NSpgid" | "NSsid" => self.group(&task.numbers(name)?).to_string(),
                _ => value.clone(),
            };
            Ok((name.clone(), value))
        };
        let mut fields: Fields = task.status.iter().map(translate).collect::<Result<_>>()?;
        // What it is called in pid namespaces below that of the tree's root.
        for name in ["NStgid", "NSpid", "NSpgid", "NSsid"] {
            let numbers = task.numbers(name)?;
            let inner: Vec<_> = numbers
                .iter()
                .skip(self.level + 1)
                .map(i32::to_string)
                .collect();
            if !inner.is_empty() {
                fields.push((format!("{name}Inner"), inner.join(" ")));
            }
        }
        Ok(fields)
    }

    /// Fields of which some are pids as the agent sees them.
    pub(super) fn fields(&self, fields: &Fields, pids: &[&str]) -> Fields {
        let translate = |(name, value): &(String, String)| {
            let is_pid = pids.contains(&name.as_str());
            let value = if is_pid {
                self.pid_text(value)
            } else {
                value.clone()
            };
            (name.clone(), value)
        };
        fields.iter().map(translate).collect()
    }

    /// A timer: `notify` ends in `pid.N` or `tid.N`; `ClockID` has the number of a task in it, as its own process calls it.
    pub(super) fn timer(&self, timer: &Fields) -> Fields {
        let clock = |text: &str| match text.parse() {
            Ok(clock) if self.level == 0 => renumber_clock(clock, |pid| self.pid(pid)).to_string(),
            _ => text.to_owned(),
        };
        let translate = |(name, value): &(String, String)| {
            let value = match (name.as_str(), value.rsplit_once('.')) {
                ("notify", Some((kind, pid))) => format!("{kind}.{}", self.pid_text(pid)),
                ("ClockID", _) => clock(value),
                _ => value.clone(),
            };
            (name.clone(), value)
        };
        timer.iter().map(translate).collect()
    }

    /// A lock as /proc/locks and fdinfo show it: `1: POSIX  ADVISORY  WRITE 1234 00:1a:77 0 EOF`; `->` before what waits.
    ///
    /// The number in front only counts the lines. Returns the words with the pid translated.
    pub(super) fn lock(&self, line: &str) -> Vec<String> {
        let words = line.split_whitespace().skip(1);
        let (mut words, waits): (Vec<String>, _) = {
            let all: Vec<_> = words.map(str::to_owned).collect();
            let waits = all.first().is_some_and(|word| word == "->");
            (all.into_iter().skip(usize::from(waits)).collect(), waits)
        };
        if let Some(pid) = words.get_mut(3) {
            *pid = self.pid_text(pid);
        }
        if waits {
            words.insert(0, "waits".to_owned());
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::text;
    use super::*;

    fn translation() -> Translation {
        Translation {
            level: 1,
            pids: BTreeMap::from([(1234, 1), (1235, 2)]),
        }
    }

    fn task(status: &str) -> Task {
        Task {
            outer: 1235,
            inner: 2,
            leader: 2,
            leads: true,
            dir: PathBuf::new(),
            status: text::fields(status),
            stat: Vec::new(),
        }
    }

    #[test]
    fn pids_outside_the_tree_are_zero() {
        let translation = translation();
        assert_eq!((translation.pid(1235), translation.pid(1)), (2, 0));
        assert_eq!(
            (
                translation.group(&[1234, 1]),
                translation.group(&[900, 0]),
                translation.group(&[900])
            ),
            (1, 0, 0)
        );
        let texts = ["1235", "1", "0", "-1", "-1235", "x"].map(|text| translation.pid_text(text));
        assert_eq!(texts, ["2", "0", "0", "-1", "-2", "x"]);
    }

    #[test]
    fn every_pid_of_the_status_is_translated() {
        let text = "Name:\tx\nTgid:\t1235\nPid:\t1235\nPPid:\t1234\nTracerPid:\t0\nNStgid:\t1235\t2\nNSpid:\t1235\t2\nNSpgid:\t1234\t1\nNSsid:\t1\t0\n";
        let task = task(text);
        let status = translation().status(&task).unwrap();
        let values: Vec<&str> = status.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, ["x", "2", "2", "1", "0", "2", "2", "1", "0"]);
    }

    #[test]
    fn numbers_in_inner_namespaces_are_told_beside() {
        let text = "NStgid:\t1235\t2\t1\t8\nNSpid:\t1235\t2\t1\t9\nNSpgid:\t1234\t1\t0\t0\nNSsid:\t1\t0\t0\t0\n";
        let task = task(text);
        let status = translation().status(&task).unwrap();
        let inner: Vec<_> = status
            .iter()
            .filter(|(name, _)| name.ends_with("Inner"))
            .map(|(_, value)| value.as_str())
            .collect();
        assert_eq!(inner, ["1 8", "1 9", "0 0", "0 0"]);
    }

    #[test]
    fn pids_of_locks_timers_and_fields_are_translated() {
        let translation = translation();
        assert_eq!(
            translation
                .lock("1: POSIX  ADVISORY  WRITE 1235 00:1a:77 0 EOF")
                .join(" "),
            "POSIX ADVISORY WRITE 2 00:1a:77 0 EOF"
        );
        assert_eq!(
            translation
                .lock("1: -> FLOCK  ADVISORY  READ 1234 00:1a:77 0 EOF")
                .join(" "),
            "waits FLOCK ADVISORY READ 1 00:1a:77 0 EOF"
        );
        assert_eq!(
            translation.lock("2: OFDLCK ADVISORY READ -1 00:1a:77 0 9")[3],
            "-1"
        );
        let timer = vec![("notify".to_owned(), "signal/tid.1235".to_owned())];
        assert_eq!(translation.timer(&timer)[0].1, "signal/tid.2");
        let clock = |pid: i32| vec![("ClockID".to_owned(), ((!pid << 3) | 6).to_string())];
        let inner = translation.timer(&clock(1235));
        assert_eq!(inner, clock(1235), "as its own process calls it");
        let outermost = Translation {
            level: 0,
            ..translation
        };
        assert_eq!(outermost.timer(&clock(1235)), clock(2));
        assert_eq!(outermost.timer(&clock(0)), clock(0));
        let translation = outermost;
        let fields = [("Pid", "1234"), ("size", "1234")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        let fields = translation.fields(&fields.to_vec(), &["Pid"]);
        assert_eq!((fields[0].1.as_str(), fields[1].1.as_str()), ("1", "1234"));
    }
}
