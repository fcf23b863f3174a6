//! What each form sees.

use crossthaw_protocol::{
    FdState, Fields, Filter, MapState, Object, RegisterSet, SignalState, TaskState,
};
use serde_json::Value;

use super::*;

fn pairs(text: &str) -> Fields {
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
        file: ("00:02".to_owned(), u64::from(name.starts_with('/'))),
        smaps: pairs("VmFlags rd mr mw me sd"),
        hash,
        anon_pages: 1,
    }
}

pub(crate) fn fd(fd: i32, link: &str, same_as: (i32, i32)) -> FdState {
    FdState {
        fd,
        link: link.to_owned(),
        info: pairs("pos 0\nflags 0100002\nmnt_id 25\nino 7"),
        stat: pairs("mode 0644\ninode 1a:7"),
        details: pairs("capacity 4096"),
        same_as,
    }
}

pub(crate) fn task(pid: i32, parent: i32) -> TaskState {
    TaskState {
        pid,
        tgid: pid,
        ppid: parent,
        pgid: 1,
        sid: 1,
        comm: "workloads".to_owned(),
        cmdline: vec!["workloads".to_owned(), "simple::counter".to_owned()],
        environ: vec!["A=1".to_owned()],
        status: pairs(
            "Name workloads\nUmask 0022\nUid 0\t0\t0\t0\nVmSize 900 kB\nVmRSS 70 kB\nSigBlk 0000000000000200\nvoluntary_ctxt_switches 7",
        ),
        stat: pairs("nice 0\nstarttime 99"),
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
        links: pairs("cwd /scenario\nroot /\nexe /bin/workloads"),
        attributes: pairs("timerslack_ns 50000"),
        namespaces: pairs("mnt mnt:[4026531841]\nnet outside"),
        shares: Vec::new(),
        timers: vec![pairs("ID 0\nsignal 14/0\nnotify signal/pid.1")],
        signals: vec![SignalState {
            shared: true,
            number: 10,
            code: 0,
            errno: 0,
            rest: "01".to_owned(),
        }],
        filters: vec![Filter {
            instructions: 8,
            hash: 77,
            flags: 0,
        }],
        registers: vec![RegisterSet {
            note: 1,
            size: 216,
            words: vec![(8, 1)],
        }],
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
    }
}

pub(crate) fn state() -> State {
    let object = |kind: &str, name: &str, fields: &str| Object {
        kind: kind.to_owned(),
        name: name.to_owned(),
        fields: pairs(fields),
    };
    State {
        tasks: vec![task(1, 0), task(2, 1)],
        objects: vec![
            object("mount", "/", "id 25\nparent 1\ntype rootfs"),
            object("file", "data", "type regular\nsize 5\ninode 1a:7"),
        ],
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
    check(|task| task.fds[1].info[3].1 = "99".to_owned(), false, false);
    check(|task| task.maps[3].hash = Some(9), false, false);
    check(
        |task| task.maps[0].smaps = pairs("VmFlags rd mr mw me"),
        false,
        false,
    );
    check(|task| status(task, "VmSize"), true, false);
    check(|task| status(task, "SigBlk"), true, true);
}

#[test]
fn other_numbers_for_the_same_things_are_not_seen() {
    let (before, mut after) = (state(), state());
    for task in &mut after.tasks {
        task.namespaces[0].1 = "mnt:[4026531999]".to_owned();
        for fd in &mut task.fds {
            fd.info[2].1 = "99".to_owned();
            fd.stat[1].1 = "2b:9".to_owned();
        }
    }
    after.objects[0].fields[0].1 = "99".to_owned();
    after.objects[1].fields[2].1 = "2b:9".to_owned();
    assert_eq!(compare(Form::Full, ("S0", &before), ("S1", &after)), None);
    // One of them is another file now.
    after.tasks[1].fds[1].stat[1].1 = "2b:10".to_owned();
    assert!(compare(Form::Full, ("S0", &before), ("S1", &after)).is_some());
}

#[test]
fn everything_else_is_seen() {
    check(|task| task.comm = "x".to_owned(), true, true);
    check(|task| task.cmdline.clear(), true, true);
    check(|task| task.environ.clear(), true, true);
    check(|task| task.ppid = 0, true, false);
    check(|task| task.sid = 2, true, false);
    check(|task| task.links[0].1 = "/".to_owned(), true, true);
    check(|task| task.limits[1].1 = "1".to_owned(), true, true);
    check(|task| task.auxv[0].1 = 1, true, true);
    check(|task| task.registers[0].words[0].1 = 2, true, false);
    check(|task| task.registers[0].words.clear(), true, false);
    check(|task| task.signals.clear(), true, true);
    check(|task| task.filters[0].hash = 1, true, true);
    check(|task| task.filters[0].flags = 2, true, true);
    check(|task| task.maps[0].hash = Some(9), true, true);
    check(|task| task.maps[1].hash = Some(9), true, false);
    check(|task| task.maps[1].end += 0x1000, true, false);
    check(|task| task.maps[2].anon_pages = 2, true, false);
    check(|task| task.maps[0].start -= 0x1000, true, true);
    check(|task| task.fds[1].same_as = (1, 3), true, false);
    check(|task| task.fds[1].info[0].1 = "7".to_owned(), true, true);
    check(|task| task.fds[1].info[2].1 = "26".to_owned(), true, true);
    check(|task| drop(task.fds.pop()), true, true);
}

/// Places of all values in a document, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{place}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, item) in fields {
                places(item, &format!("{at}/{name}"), found);
            }
        }
        _ => found.push(at.to_owned()),
    }
}

/// Whatever the probe sends is compared, or a rule says why it is not: no field is forgotten.
#[test]
fn every_value_of_the_state_is_compared_or_has_a_rule_against_it() {
    let before = state();
    let document = serde_json::to_value(&before).unwrap();
    let mut all = Vec::new();
    places(&document, "", &mut all);
    let mut unseen = Vec::new();
    for place in all {
        let mut changed = document.clone();
        let value = changed.pointer_mut(&place).unwrap();
        *value = match value {
            Value::String(text) => format!("{text}7").into(),
            Value::Number(number) => (number.as_u64().unwrap() + 7).into(),
            Value::Bool(flag) => (!*flag).into(),
            other => panic!("{other} at {place}"),
        };
        let after: State = serde_json::from_value(changed).unwrap();
        if compare(Form::Full, ("S0", &before), ("S1", &after)).is_none() {
            unseen.push(place);
        }
    }
    let of_both = |places: &[&str]| -> Vec<String> {
        let of = |task: i32| {
            places
                .iter()
                .map(move |place| format!("/tasks/{task}/{place}"))
        };
        of(0).chain(of(1)).collect()
    };
    let mut expected = of_both(&[
        "fds/0/info/3/1",
        "fds/1/info/3/1",
        "maps/3/anon_pages",
        "maps/3/hash",
        "stat/1/1",
        "status/4/1",
        "status/6/1",
    ]);
    // A single thing of its kind has number 1 whatever the kernel calls it, as long as it is the same in all places.
    unseen.retain(|place| {
        !place.contains("namespaces/0/1") && !place.contains("/objects/0/fields/1/1")
    });
    unseen.sort();
    expected.sort();
    assert_eq!(unseen, expected);
}

#[test]
fn a_task_that_is_gone_is_seen_and_one_outside_of_the_image_is_not() {
    let (before, mut after) = (state(), state());
    after.tasks.remove(0);
    assert!(compare(Form::Full, ("S0", &before), ("S1", &after)).is_some());
    assert!(compare(Form::Apart, ("S1", &after), ("S0", &before)).is_some());
    let one_arch = compare(Form::Apart, ("S0", &before), ("S1", &after));
    assert_eq!(one_arch, None);
}

#[test]
fn a_difference_is_a_unified_diff() {
    let (before, mut after) = (state(), state());
    after.tasks[0].comm = "other".to_owned();
    let diff = compare(Form::Full, ("S0", &before), ("S1", &after)).unwrap();
    for line in [
        "--- S0",
        "+++ S1",
        "-task 1 comm \"workloads\"",
        "+task 1 comm \"other\"",
    ] {
        assert!(diff.lines().any(|found| found == line), "{line} in\n{diff}");
    }
}
