//! Checkpoints that somebody disturbs.

use crossthaw_protocol::Disturbance;

use super::*;

fn disturbed(what: &[Disturbance]) -> Case {
    Case {
        disturb: what.to_vec(),
        ..case()
    }
}

const THAW: &[Disturbance] = &[Disturbance::Thaw];
const KILL: &[Disturbance] = &[Disturbance::Kill];

/// Checkpoints that nobody disturbs, before the others.
const MEASURED: usize = 4;

#[test]
fn what_was_done_in_spite_of_it_is_restarted() {
    let all = Disturbance::ALL.map(|(_, what)| what);
    let tried = check(&disturbed(&all), Vec::new(), "pass", "");
    let count = |what: &str| tried.log.iter().filter(|line| *line == what).count();
    // Twelve of each of three, three that kill, and what any trial does.
    assert_eq!(count("0 checkpoint"), MEASURED + 3 * 12 + 3 + 1);
    assert_eq!((count("1 restart"), count("1 exit")), (3 + 1, 3 + 1));
    let told = std::fs::read_to_string(tried.dir().join("disturbed.txt")).unwrap();
    assert_eq!(told.matches("is not frozen by").count(), 3 * 12, "{told}");
    assert_eq!(told.matches("it is done").count(), 3, "{told}");
}

#[test]
fn what_is_neither_refused_nor_right_is_found() {
    let answer = |code, stderr: &str, log: &str| Answer(tool(code, stderr, log));
    let leaves = |stderr, log| Refuses(stderr, log, refused_image(16, "checkpoint: error"));
    let refused = "checkpoint: refused: EBUSY (Device or resource busy)\n";
    let log = "checkpoint: error 16 (EBUSY): pid 4: did not stay frozen\n";
    for (what, rules, part) in [
        (
            THAW,
            vec![nth(0, "checkpoint", MEASURED, answer(0, "", ""))],
            "Thaw: no checkpoint of 60 noticed it",
        ),
        (
            THAW,
            vec![nth(0, "checkpoint", MEASURED, leaves(refused, ""))],
            "should be refused with one of EBUSY",
        ),
        (
            THAW,
            vec![nth(
                0,
                "checkpoint",
                MEASURED,
                leaves("checkpoint: refused: EFAULT (Bad address)\n", log),
            )],
            "should be refused with one of EBUSY",
        ),
        (
            THAW,
            vec![nth(
                0,
                "checkpoint",
                MEASURED,
                Refuses(refused, log, image()),
            )],
            "the tool has failed, and left a whole image",
        ),
        (
            KILL,
            vec![rule(
                1,
                "restart",
                answer(1, "restart: refused: EINVAL (x)\n", ""),
            )],
            "that was image-disturbed-0: Kill 0, after ",
        ),
    ] {
        check(&disturbed(what), rules, "fail (refusal)", part);
    }
}
