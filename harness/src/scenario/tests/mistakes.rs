//! Snippets with their mistakes.

use super::*;

#[test]
fn mistakes_in_a_file() {
    check(
        "",
        &[
            "f.yaml:1:1: expected a scenario file, which is a mapping with the keys family, about, defaults, scenarios, found nothing",
        ],
    );
    check(
        "family: g\nabout: [x]\nscenario: []\n",
        &[
            "f.yaml:1:1: a scenario file needs \"scenarios\": a list of scenarios",
            "f.yaml:1:9: expected f, as the file is called, found \"g\"",
            "f.yaml:2:8: expected a sentence that a kernel developer understands, with its full stop, found a list",
            "f.yaml:3:1: a scenario file has no key \"scenario\"; the nearest is scenarios",
        ],
    );
    check(
        &format!("{HEAD}scenarios: []"),
        &["f.yaml:3:12: expected a list of scenarios, found an empty list"],
    );
    check(
        &format!(
            "{HEAD}defaults: {{timeout: 20, timeout: 30s, workload: x, checkpoint: all}}\nscenarios: [5]"
        ),
        &[
            "f.yaml:3:21: expected a time of at most an hour such as 500ms, 20s or 2m, found \"20\"",
            "f.yaml:3:25: \"timeout\" is here twice, first in line 3",
            "f.yaml:3:39: the block of defaults has no key \"workload\"; it has archs, checkpoint, restart, caller, pids, timeout, needs",
            "f.yaml:3:64: expected container, subtree or self, found \"all\"",
            "f.yaml:4:13: expected a scenario, which is a mapping with the keys name, about, workload, exec, axes, archs, checkpoint, restart, caller, pids, timeout, needs, generations, freeze, tamper, faults, disturb, expect, known_failure, found \"5\"",
        ],
    );
    check(
        &format!("{HEAD}scenarios:\n  - name: [x\n"),
        &["f.yaml:5:1: this is not YAML: while parsing a flow sequence, expected ',' or ']'"],
    );
}

#[test]
fn mistakes_in_several_scenarios_are_reported_together() {
    check(
        &format!(
            "{HEAD}scenarios:
  - {{name: a, about: One., workload: memory::hole}}
  - {{name: B_, about: no stop, workload: zzzz}}
  - {{name: a, about: Three., workload: memory::holes, tiemout: 1s}}
  - {{}}
"
        ),
        &[
            "f.yaml:4:38: no workload is called \"memory::hole\"; the nearest is memory::holes",
            "f.yaml:5:12: expected a name of small letters, digits and hyphens such as three-levels, found \"B_\"",
            "f.yaml:5:23: expected a sentence that a kernel developer understands, with its full stop, found \"no stop\"",
            "f.yaml:5:42: no workload is called \"zzzz\"",
            "f.yaml:6:12: the scenario in line 4 is called \"a\" too",
            "f.yaml:6:55: a scenario has no key \"tiemout\"; the nearest is timeout",
            "f.yaml:7:5: a scenario needs \"name\": a name of small letters, digits and hyphens such as three-levels",
            "f.yaml:7:5: a scenario needs \"about\": a sentence that a kernel developer understands, with its full stop",
            "f.yaml:7:5: a scenario needs \"workload\": the name of a function in guests/workloads, FAMILY::NAME",
        ],
    );
}

/// One mistake, at a column of the line of the first key but `checkpoint`.
fn check_one(keys: &str, mistake: &str) {
    let line = 7 + usize::from(keys.starts_with("checkpoint"));
    check_scenario(keys, &[&format!("f.yaml:{line}:{mistake}")]);
}

#[test]
fn mistakes_in_a_scenario() {
    for (keys, mistake) in [
        (
            "archs: [amd64]",
            "13: expected x86_32, x86_64, s390x or ppc64, found \"amd64\"",
        ),
        (
            "archs: []",
            "12: expected a list of architectures such as [x86_64, s390x], found an empty list",
        ),
        (
            "archs: s390x",
            "12: expected a list of architectures such as [x86_64, s390x], found \"s390x\"",
        ),
        (
            "archs: [s390x, s390x]",
            "20: \"s390x\" is in this list twice",
        ),
        ("restart:", "12: expected fresh or same, found nothing"),
        (
            "timeout: 2h",
            "14: expected a time of at most an hour such as 500ms, 20s or 2m, found \"2h\"",
        ),
        (
            "needs: [UNIX]",
            "13: expected a kernel symbol such as CONFIG_UNIX, found \"UNIX\"",
        ),
        (
            "generations: 0",
            "18: expected a number from 1 to 1000, found \"0\"",
        ),
        (
            "generations: many",
            "18: expected a number from 1 to 1000, found \"many\"",
        ),
        ("freeze: no", "13: expected true or false, found \"no\""),
        (
            "freeze: false",
            "13: what is not frozen must be refused: expected expect: {refuse: {by: checkpoint}} beside it",
        ),
        (
            "checkpoint: self\nexpect: { refuse: { by: checkpoint, errno: EBUSY } }",
            "13: a task that checkpoints itself judges that itself: expected checkpoint: container or subtree beside a refused checkpoint",
        ),
        (
            "checkpoint: subtree\ncaller: unprivileged",
            "13: who is in a user namespace may choose pids in a container of their own only: expected checkpoint: container beside it",
        ),
        (
            "pids: new",
            "11: in a container all pids are free: expected checkpoint: subtree beside it",
        ),
        (
            "checkpoint: subtree\npids: new\ngenerations: 2",
            "11: a state is told by the pids of one image: expected one generation beside it",
        ),
        ("pids: old", "11: expected image or new, found \"old\""),
        (
            "caller: me",
            "13: expected root, unprivileged or outside, found \"me\"",
        ),
        (
            "checkpoint: self\nfreeze: false",
            "13: a task that checkpoints itself is never frozen: remove this",
        ),
        (
            "axes: {}",
            "11: expected axes, each a list of values, such as {size: [4096, 65536]}, found a mapping",
        ),
        (
            "axes: {size: [1]}",
            "12: simple::counter takes no argument \"size\"; it takes none: remove the axis",
        ),
    ] {
        check_one(keys, mistake);
    }
}

#[test]
fn mistakes_in_what_fails_on_purpose() {
    for (keys, mistake) in [
        (
            "faults: some",
            "13: expected each-allocation, found \"some\"",
        ),
        (
            "faults: each-allocation\nexpect: {refuse: {by: restart}}",
            "13: what is refused anyway does not show whether a failed allocation is: remove one of the two",
        ),
        (
            "faults: each-allocation\ncheckpoint: self",
            "13: a task that checkpoints itself does it once: expected checkpoint: container or subtree beside faults",
        ),
    ] {
        check_one(keys, mistake);
    }
}

#[test]
fn mistakes_in_what_is_expected() {
    for (keys, mistake) in [
        (
            "tamper: {flip: each-record}",
            "13: a damaged image must be refused: expected expect: {refuse: {by: restart}} beside it",
        ),
        (
            "tamper: {flip: all}",
            "20: expected each-record, found \"all\"",
        ),
        (
            "tamper: {flip: each-record, arch: foreign}",
            "13: expected {arch: foreign}, {byte-order: swapped}, {truncate: each-record}, {flip: each-record} or {forge: [...]}, found 2 keys",
        ),
        (
            "tamper: {cut: x}",
            "14: expected {arch: foreign}, {byte-order: swapped}, {truncate: each-record}, {flip: each-record} or {forge: [...]}, found \"cut\"",
        ),
        (
            "tamper: flip",
            "13: expected {arch: foreign}, {byte-order: swapped}, {truncate: each-record}, {flip: each-record} or {forge: [...]}, found \"flip\"",
        ),
        (
            "tamper: {flip: each-record}\nexpect: {refuse: {by: checkpoint}}",
            "13: a damaged image must be refused: expected expect: {refuse: {by: restart}} beside it",
        ),
        (
            "tamper: {forge: []}",
            "21: expected a list of forgeries such as [{record: FILES, field: objref, set: 0, log: TEXT}], found an empty list",
        ),
        (
            "tamper: {forge: [{record: FILE, field: paht, set: 0, log: x}]}",
            "44: FILE has no field \"paht\"; the nearest is path[0]",
        ),
        (
            "tamper: {forge: [{record: FILEZ, field: pos, set: 0, log: x}]}",
            "31: no record is called \"FILEZ\"; the nearest is FILE",
        ),
        (
            "tamper: {forge: [{record: FILE, field: pos, log: x}]}",
            "22: a forgery has one of set, add, or, copy or whole, found 0",
        ),
        (
            "tamper: {forge: [{record: FILE, field: pos, set: 0, add: 1, log: x}]}",
            "22: a forgery has one of set, add, or, copy or whole, found 2",
        ),
        (
            "tamper: {forge: [{record: FILE, field: pos, set: many, log: x}]}",
            "54: expected a number such as -1, 4096 or 0x1000, found \"many\"",
        ),
        (
            "tamper: {forge: [{record: FILE, field: pos, or: -1, log: x}]}",
            "53: expected the bits, such as 0x80, found \"-1\"",
        ),
        (
            "tamper: {forge: [{record: FILE, field: pos, whole: removed, log: x}]}",
            "44: the whole record is forged: remove this",
        ),
        (
            "tamper: {forge: [{record: FILE, whole: removed}]}",
            "22: a forgery needs \"log\": a part of the line with which it is refused",
        ),
        (
            "tamper: {forge: [{record: FILE, with: [{record: FILE, log: x, whole: removed}], whole: removed, log: x}]}",
            "59: a change has no key \"log\"; it has record, nth, field, set, add, or, copy, whole",
        ),
        (
            "expect: fail",
            "13: expected pass or {refuse: ...}, found \"fail\"",
        ),
        (
            "expect: {refuse: {errno: EBUSY}}",
            "22: a refusal needs \"by\": checkpoint or restart",
        ),
        (
            "expect: {refuse: {by: kernel}}",
            "27: expected checkpoint or restart, found \"kernel\"",
        ),
        (
            "expect: {refuse: {by: restart, errno: EBUSSY}}",
            "43: expected the name of an error such as EBUSY, found \"EBUSSY\"; the nearest is EBUSY",
        ),
        (
            "expect: {refuse: {by: restart, errno: 16}}",
            "43: expected the name of an error such as EBUSY, found \"16\"",
        ),
        (
            "expect: {refuse: {by: restart, log: ' '}}",
            "41: expected a part of a line of the kernel's log, found \" \"",
        ),
        (
            "expect: {}",
            "13: an expectation needs \"refuse\": what refuses, {by: checkpoint, errno: EBUSY, log: TEXT}",
        ),
        (
            "generations: 2\nexpect: {refuse: {by: restart}}",
            "18: what is refused has no generations: remove one of the two",
        ),
    ] {
        check_one(keys, mistake);
    }
}

#[test]
fn axes_are_those_that_the_workload_takes() {
    let axes = |axes: &str| {
        parse(&format!(
            "{HEAD}scenarios:\n- {{name: a, about: One., workload: memory::holes, axes: {axes}}}"
        ))
    };
    let matrix = axes("{step: [8, 16], mib: [1, 0x2]}").unwrap();
    let cases = matrix.cases(Flavor::Fast);
    let names: Vec<_> = cases.iter().map(Case::name).take(4).collect();
    assert_eq!(
        names,
        [
            "a[step=8,mib=1]",
            "a[step=8,mib=0x2]",
            "a[step=16,mib=1]",
            "a[step=16,mib=0x2]"
        ]
    );
    assert_eq!(cases.len(), 4 * 4);
    assert_eq!(cases[1].args, cases[1].axes);
    for (text, mistake) in [
        (
            "{setp: [1]}",
            "58: memory::holes takes no argument \"setp\"; the nearest is step",
        ),
        (
            "{step: []}",
            "64: expected the values of step, a list such as [1, 2], found an empty list",
        ),
        (
            "{step: 8}",
            "64: expected the values of step, a list such as [1, 2], found \"8\"",
        ),
        ("{step: [8, 8]}", "68: \"8\" is in this list twice"),
        (
            "{step: ['a/b']}",
            "65: expected a value of letters, digits and any of . _ + -, found \"a/b\"",
        ),
        (
            "{step: [8], step: [9]}",
            "69: \"step\" is here twice, first in line 4",
        ),
    ] {
        assert_eq!(axes(text).unwrap_err(), [format!("f.yaml:4:{mistake}")]);
    }
}
