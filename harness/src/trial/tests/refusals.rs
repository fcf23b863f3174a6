//! Checkpoints and restarts that must be refused.

use crossthaw_image::{Change, Field, Forgery};

use super::*;
use crate::scenario::Forged;

const BUSY: &str = "checkpoint: error 16 (EBUSY): pid 4: fd 7: flock held";

#[test]
fn a_refused_checkpoint_passes_if_it_should_be_and_harms_nothing() {
    let case = Case {
        expect: refuse(By::Checkpoint, "EBUSY", "flock"),
        ..case()
    };
    let refuses = || {
        Refuses(
            "checkpoint: refused: EBUSY (x)\n",
            BUSY,
            refused_image(16, BUSY),
        )
    };
    let tried = check(&case, vec![rule(0, "checkpoint", refuses())], "pass", "");
    assert!(!tried.log.contains(&"1 clone".to_owned()));
    let unfrozen = Case {
        freeze: false,
        ..case.clone()
    };
    let tried = check(
        &unfrozen,
        vec![rule(0, "checkpoint", refuses())],
        "pass",
        "",
    );
    let log = tried.log.join(", ");
    assert!(
        !log.contains("freeze") && !log.contains("thaw") && !log.contains("probe"),
        "{log}"
    );
    let mut harmed = crate::oracle::state::tests::state();
    harmed.tasks[0].fds.clear();
    for (rules, kind, part) in [
        (Vec::new(), "fail (refusal)", "was not refused"),
        (
            vec![
                rule(0, "checkpoint", refuses()),
                nth(0, "probe", 1, Answer(Reply::State { state: harmed })),
            ],
            "fail (state)",
            "a refused checkpoint changed the tasks",
        ),
        (
            vec![rule(
                0,
                "checkpoint",
                Refuses("checkpoint: refused: EBUSY (x)\n", BUSY, image()),
            )],
            "fail (refusal)",
            "ERROR record",
        ),
        (
            vec![
                rule(0, "checkpoint", refuses()),
                rule(
                    0,
                    "exit",
                    Answer(Reply::Exited {
                        status: 9,
                        report: None,
                    }),
                ),
            ],
            "fail (self)",
            "no report",
        ),
    ] {
        check(&case, rules, kind, part);
    }
}

fn damaged(tamper: Tamper) -> Case {
    Case {
        tamper: Some(tamper),
        expect: refuse(By::Restart, "EINVAL", ""),
        ..case()
    }
}

/// Records of the fake's image.
const RECORDS: usize = 102;

#[test]
fn damaged_images_are_refused_one_by_one_and_the_whole_one_restarts() {
    for (tamper, attempts) in [
        (Tamper::Foreign, 1),
        (Tamper::ByteOrder, 1),
        (Tamper::TruncateEachRecord, 2 * RECORDS),
        (Tamper::FlipEachRecord, RECORDS),
    ] {
        let tried = check(&damaged(tamper.clone()), Vec::new(), "pass", "");
        let count = |what: &str| tried.log.iter().filter(|line| line == &what).count();
        assert_eq!(
            (count("1 restart"), count("1 survivors"), count("1 exit")),
            (attempts + 1, attempts, 1),
            "{tamper:?}"
        );
    }
}

fn forged(record: &str, change: Change, log: &str) -> Forged {
    Forged {
        forgeries: vec![Forgery {
            record: record.to_owned(),
            nth: 0,
            change,
        }],
        errno: None,
        log: log.to_owned(),
        by_tool: false,
    }
}

#[test]
fn a_forged_image_is_refused_with_the_line_that_is_expected_of_it() {
    let pid = || Field::new("TASK", "pid").unwrap();
    for (forged, kind, part) in [
        (forged("TASK", Change::Set(pid(), 99), "bad"), "pass", ""),
        (
            forged("TASK", Change::Set(pid(), 99), "another"),
            "fail (refusal)",
            "TASK 0: pid set to 99: no line of the kernel's log contains \"another\"",
        ),
        (
            forged("ERROR", Change::Remove, "x"),
            "fail (refusal)",
            "ERROR 0: removed: the image has 0 ERROR records",
        ),
    ] {
        check(
            &damaged(Tamper::Forge(vec![forged])),
            Vec::new(),
            kind,
            part,
        );
    }
}

#[test]
fn a_damaged_image_that_does_harm_fails() {
    let flip = damaged(Tamper::FlipEachRecord);
    let einval = "restart: error 22 (EINVAL): x\n";
    let left = Reply::Tasks {
        tasks: vec![(9, "restart".to_owned())],
    };
    for (rules, kind, part) in [
        (
            vec![rule(1, "restart", Answer(tool(0, "", "")))],
            "fail (refusal)",
            "HEADER at 0: bit 0 of byte",
        ),
        (
            vec![nth(
                1,
                "restart",
                5,
                Answer(tool(1, "restart: refused: EINVAL (x)\n", "")),
            )],
            "fail (refusal)",
            "log is empty",
        ),
        (
            vec![nth(
                1,
                "restart",
                5,
                Answer(tool(1, "restart: refused: EPERM (x)\n", einval)),
            )],
            "fail (refusal)",
            "but the log says EINVAL",
        ),
        (
            vec![rule(1, "survivors", Answer(left))],
            "fail (refusal)",
            "tasks are left: 9 restart",
        ),
        (vec![nth(1, "restart", 9, Hangs)], "timeout (damaged)", ""),
        (
            vec![nth(
                1,
                "restart",
                9,
                SaysAndDies("BUG: unable to handle page fault for address: 0"),
            )],
            "kernel-fault (oops)",
            "",
        ),
        (
            vec![nth(
                1,
                "restart",
                RECORDS,
                Answer(tool(1, "restart: refused: EINVAL (x)\n", einval)),
            )],
            "fail (refusal)",
            "the restart was refused, and should not be",
        ),
    ] {
        check(&flip, rules, kind, part);
    }
}

#[test]
fn an_image_may_have_to_be_refused_as_it_is() {
    let case = Case {
        expect: refuse(By::Restart, "EINVAL", "bad"),
        ..case()
    };
    let refused = tool(
        1,
        "restart: refused: EINVAL (x)\n",
        "restart: error 22 (EINVAL): bad\n",
    );
    check(&case, vec![rule(1, "restart", Answer(refused))], "pass", "");
    check(
        &case,
        Vec::new(),
        "fail (refusal)",
        "restart was not refused",
    );
}
