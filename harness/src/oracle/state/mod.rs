//! The oracle **state**: what the probe saw, as stable text that can be compared and reviewed.
//!
//! Three forms, from most to least complete:
//! - [`Form::Full`] for two states of one moment on one architecture: everything but what is volatile;
//! - [`Form::Apart`] for two states of one task at different moments (it checkpointed itself and ran on before it was frozen):
//!   no contents of memory that it writes, no sizes of what grows, no relations to tasks that are not in the image;
//! - [`Form::Golden`] for all architectures: no addresses, no contents, no sizes that depend on the architecture.

/// A line; writing to a string cannot fail.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => {{
        use std::fmt::Write as _;
        let _ = writeln!($out, $($arg)*);
    }};
}

mod golden_form;
mod rules;

use crossthaw_protocol::{FdState, MapState, State, TaskState};
use similar::TextDiff;

pub use golden_form::golden;

/// How complete a normal form is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One moment, one architecture.
    Full,
    /// One architecture, two moments.
    Apart,
    /// For review, on all architectures.
    Golden,
}

/// Lines of context in a diff.
const CONTEXT: usize = 3;

/// What differs, as a unified diff; `None` if nothing does.
pub fn diff(old: (&str, &str), new: (&str, &str)) -> Option<String> {
    if old.1 == new.1 {
        return None;
    }
    let diff = TextDiff::from_lines(old.1, new.1);
    let mut unified = diff.unified_diff();
    Some(
        unified
            .context_radius(CONTEXT)
            .header(old.0, new.0)
            .to_string(),
    )
}

/// Compare the state before with the state after, as completely as the form allows.
pub fn compare(form: Form, before: (&str, &State), after: (&str, &State)) -> Option<String> {
    // What checkpointed itself has taken itself alone.
    let of_interest = |task: &&TaskState| {
        form == Form::Full || after.1.tasks.iter().any(|other| other.pid == task.pid)
    };
    let before_text = text(before.1.tasks.iter().filter(of_interest), form);
    let after_text = text(after.1.tasks.iter(), form);
    diff((before.0, &before_text), (after.0, &after_text))
}

fn text<'a>(tasks: impl Iterator<Item = &'a TaskState>, form: Form) -> String {
    let mut out = String::new();
    for task in tasks {
        task_text(task, form, &mut out);
    }
    out
}

fn task_text(task: &TaskState, form: Form, out: &mut String) {
    match form {
        Form::Full | Form::Golden => line!(
            out,
            "task {} parent {} group {} session {}",
            task.pid,
            task.ppid,
            task.pgid,
            task.sid
        ),
        Form::Apart => line!(out, "task {}", task.pid),
    }
    line!(out, "  comm {:?}", task.comm);
    line!(out, "  arguments {:?}", task.cmdline);
    for (name, target) in &task.links {
        line!(out, "  {name} {target}");
    }
    for (name, value) in &task.status {
        if rules::status(name, form) {
            line!(out, "  status {name} {value}");
        }
    }
    for (name, soft, hard) in &task.limits {
        if rules::limit(name, form) {
            line!(out, "  limit {name}: {soft}, at most {hard}");
        }
    }
    for (name, value) in &task.attributes {
        line!(out, "  {name} {value}");
    }
    for (key, value) in &task.auxv {
        line!(out, "  auxv {key} {value:#x}");
    }
    for map in &task.maps {
        map_text(map, form, out);
    }
    for fd in &task.fds {
        fd_text(fd, form, out);
    }
}

/// The flags of a mapping without those that are volatile.
fn vm_flags(map: &MapState) -> String {
    // Soft-dirty: written since somebody asked, which is whenever it was restored.
    let flags = map.vm_flags.split_whitespace().filter(|&flag| flag != "sd");
    flags.collect::<Vec<_>>().join(" ")
}

/// Is this memory that the kernel fills with the time?
fn is_clock(map: &MapState) -> bool {
    map.name.starts_with("[vvar")
}

fn map_text(map: &MapState, form: Form, out: &mut String) {
    let writable = map.perms.contains('w');
    let grows = map.name.is_empty() || map.name == "[heap]" || map.name == "[stack]";
    if form == Form::Apart && grows {
        return;
    }
    let hash = match map.hash {
        _ if is_clock(map) || (form == Form::Apart && writable) => String::new(),
        Some(hash) => format!(" contents {hash:016x} own {}", map.anon_pages),
        None => format!(" unreadable own {}", map.anon_pages),
    };
    line!(
        out,
        "  map {:#x}-{:#x} {} {:#x} {:?} [{}]{hash}",
        map.start,
        map.end,
        map.perms,
        map.offset,
        map.name,
        vm_flags(map)
    );
}

fn fd_text(fd: &FdState, form: Form, out: &mut String) {
    let info: Vec<String> = fd
        .info
        .iter()
        .filter(|(name, _)| rules::fdinfo(name, form))
        .map(|(name, value)| format!(" {name} {value}"))
        .collect();
    let file = match form {
        Form::Full | Form::Golden => format!(" file {}:{}", fd.same_as.0, fd.same_as.1),
        Form::Apart => String::new(),
    };
    line!(out, "  fd {} {}{}{file}", fd.fd, fd.link, info.concat());
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        text.lines()
            .filter_map(|line| line.trim().split_once(' '))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    pub(crate) fn map(start: u64, perms: &str, name: &str, hash: Option<u64>) -> MapState {
        MapState {
            start,
            end: start + 0x2000,
            perms: perms.to_owned(),
            offset: 0,
            name: name.to_owned(),
            vm_flags: "rd mr mw me sd".to_owned(),
            hash,
            anon_pages: 1,
        }
    }

    pub(crate) fn fd(fd: i32, link: &str, same_as: (i32, i32)) -> FdState {
        FdState {
            fd,
            link: link.to_owned(),
            info: pairs("pos 0\nflags 0100002\nmnt_id 25\nino 7"),
            same_as,
        }
    }

    pub(crate) fn task(pid: i32, parent: i32) -> TaskState {
        TaskState {
            pid,
            ppid: parent,
            pgid: 1,
            sid: 1,
            comm: "workloads".to_owned(),
            cmdline: vec!["workloads".to_owned(), "simple::counter".to_owned()],
            status: pairs(
                "Name workloads\nUmask 0022\nUid 0\t0\t0\t0\nVmSize 900 kB\nVmRSS 70 kB\nSigBlk 0000000000000200\nvoluntary_ctxt_switches 7",
            ),
            limits: vec![
                (
                    "Max open files".to_owned(),
                    "1024".to_owned(),
                    "4096".to_owned(),
                ),
                (
                    "Max processes".to_owned(),
                    "900".to_owned(),
                    "900".to_owned(),
                ),
            ],
            links: vec![
                ("cwd".to_owned(), "/scenario".to_owned()),
                ("root".to_owned(), "/".to_owned()),
                ("exe".to_owned(), "/bin/workloads".to_owned()),
            ],
            maps: vec![
                map(0x40_0000, "r-xp", "/bin/workloads", Some(1)),
                map(0x50_0000, "rw-p", "[heap]", Some(2)),
                map(0x60_0000, "rw-p", "", Some(3)),
                map(0x70_0000, "r--p", "[vvar]", Some(4)),
            ],
            fds: vec![
                fd(0, "/dev/null", (1, 0)),
                fd(3, "/scenario/data", (pid, 3)),
            ],
            auxv: vec![(6, 4096)],
            attributes: vec![("timerslack_ns".to_owned(), "50000".to_owned())],
        }
    }

    pub(crate) fn state() -> State {
        State {
            tasks: vec![task(1, 0), task(2, 1)],
        }
    }

    /// Whether each form sees a change.
    #[track_caller]
    fn check(change: impl Fn(&mut TaskState), full: bool, apart: bool) {
        let (before, mut after) = (state(), state());
        change(&mut after.tasks[1]);
        let differs = |form| compare(form, ("S0", &before), ("S1", &after)).is_some();
        assert_eq!(
            (differs(Form::Full), differs(Form::Apart)),
            (full, apart),
            "full, apart"
        );
    }

    #[test]
    fn equal_states_are_equal() {
        check(|_| {}, false, false);
    }

    #[test]
    fn what_is_volatile_is_not_seen() {
        let status = |task: &mut TaskState, field: &str| {
            let found = task.status.iter_mut().find(|(name, _)| name == field);
            found.unwrap().1 = "9".to_owned();
        };
        check(|task| status(task, "VmRSS"), false, false);
        check(|task| status(task, "voluntary_ctxt_switches"), false, false);
        check(|task| task.fds[1].info[2].1 = "99".to_owned(), false, false);
        check(|task| task.fds[1].info[3].1 = "99".to_owned(), false, false);
        check(|task| task.maps[3].hash = Some(9), false, false);
        check(
            |task| task.maps[0].vm_flags = "rd mr mw me".to_owned(),
            false,
            false,
        );
        check(|task| status(task, "VmSize"), true, false);
        check(|task| status(task, "SigBlk"), true, true);
    }

    #[test]
    fn everything_else_is_seen() {
        check(|task| task.comm = "x".to_owned(), true, true);
        check(|task| task.cmdline.clear(), true, true);
        check(|task| task.ppid = 0, true, false);
        check(|task| task.sid = 2, true, false);
        check(|task| task.links[0].1 = "/".to_owned(), true, true);
        check(|task| task.limits[1].1 = "1".to_owned(), true, true);
        check(|task| task.auxv[0].1 = 1, true, true);
        check(|task| task.maps[0].hash = Some(9), true, true);
        check(|task| task.maps[1].hash = Some(9), true, false);
        check(|task| task.maps[1].end += 0x1000, true, false);
        check(|task| task.maps[2].anon_pages = 2, true, false);
        check(|task| task.maps[0].start -= 0x1000, true, true);
        check(|task| task.fds[1].same_as = (1, 3), true, false);
        check(|task| task.fds[1].info[0].1 = "7".to_owned(), true, true);
        check(|task| drop(task.fds.pop()), true, true);
    }

    #[test]
    fn a_task_that_is_gone_is_seen_and_one_outside_of_the_image_is_not() {
        let (before, mut after) = (state(), state());
        after.tasks.remove(0);
        assert!(compare(Form::Full, ("S0", &before), ("S1", &after)).is_some());
        assert_eq!(compare(Form::Apart, ("S0", &before), ("S1", &after)), None);
        assert!(compare(Form::Apart, ("S1", &after), ("S0", &before)).is_some());
    }

    #[test]
    fn a_difference_is_a_unified_diff() {
        let (before, mut after) = (state(), state());
        after.tasks[0].comm = "other".to_owned();
        let diff = compare(Form::Full, ("S0", &before), ("S1", &after)).unwrap();
        for line in [
            "--- S0",
            "+++ S1",
            "-  comm \"workloads\"",
            "+  comm \"other\"",
        ] {
            assert!(diff.lines().any(|found| found == line), "{line} in\n{diff}");
        }
    }
}
