//! Allocations that fail.

use super::*;
use crate::trial::fake::ALLOCATIONS;

fn failing() -> Case {
    Case {
        faults: true,
        ..case()
    }
}

#[test]
fn each_allocation_fails_once_and_then_the_trial_goes_on() {
    let tried = check(&failing(), Vec::new(), "pass", "");
    let count = |what: &str| tried.log.iter().filter(|line| *line == what).count();
    // Each of them, one that is not reached, and what any trial does.
    let each = ALLOCATIONS as usize + 1;
    assert_eq!(count("0 checkpoint"), each + 1);
    let restarts = count("1 restart") - 1;
    assert!(
        restarts.is_multiple_of(each) && restarts > each,
        "{restarts}"
    );
    let told = std::fs::read_to_string(tried.dir().join("faults.txt")).unwrap();
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines.len(), restarts / each + 1, "{told}");
    assert!(
        lines[0].starts_with("a checkpoint: 4 allocations"),
        "{told}"
    );
    assert!(
        lines[1].starts_with("the coordinator of a restart: 4"),
        "{told}"
    );
    assert!(lines[2].starts_with("the restart of pid "), "{told}");
}

#[test]
fn one_of_seven_fails_where_that_is_asked_for() {
    let tried = check(
        &Case {
            fault_stride: Flavor::Debug.fault_stride(),
            ..failing()
        },
        Vec::new(),
        "pass",
        "",
    );
    let count = |what: &str| tried.log.iter().filter(|line| *line == what).count();
    // One or two that fail, one that is not reached, and what any trial does.
    let checkpoints = count("0 checkpoint");
    assert!((3..=4).contains(&checkpoints), "{checkpoints}");
    let told = std::fs::read_to_string(tried.dir().join("faults.txt")).unwrap();
    assert!(told.lines().count() > 2, "{told}");
}

#[test]
fn a_failed_allocation_is_told_and_leaves_nothing() {
    let tool = |code, stderr: &str| Answer(tool(code, stderr, ""));
    let told = "checkpoint: allocation 4 was not reached\n";
    let tasks = vec![(7, "workloads".to_owned())];
    for (rules, part) in [
        (
            vec![nth(
                0,
                "checkpoint",
                1,
                tool(1, "checkpoint: refused: EIO (x)\n"),
            )],
            "a checkpoint, allocation 1 failed: checkpoint should be refused with ENOMEM",
        ),
        (
            vec![nth(0, "checkpoint", 1, tool(0, ""))],
            "the tool does not say whether the allocation failed",
        ),
        (
            vec![nth(0, "checkpoint", 4, tool(0, told))],
            "a checkpoint has only 3 allocations",
        ),
        (
            vec![nth(0, "checkpoint", 2, Leaves(grown()))],
            "the tool does not say whether the allocation failed",
        ),
        (
            vec![nth(
                0,
                "checkpoint",
                1,
                Refuses(
                    "checkpoint: refused: ENOMEM (Cannot allocate memory)\n",
                    "",
                    image(),
                ),
            )],
            "a checkpoint, allocation 1 failed: the tool has failed, and left a whole image",
        ),
        (
            vec![rule(
                1,
                "restart",
                tool(1, "restart: refused: ENOMEM (x)\n"),
            )],
            "the coordinator of a restart does not come to an end of its allocations",
        ),
        (
            vec![rule(1, "survivors", Answer(Reply::Tasks { tasks }))],
            "tasks are left: 7 workloads",
        ),
        (
            vec![nth(1, "restart", 3, Hangs)],
            "the trial ended when allocation 4 of the coordinator of a restart failed",
        ),
    ] {
        check(&failing(), rules, "fail (refusal)", part);
    }
}

#[test]
fn what_is_done_without_is_what_it_would_have_been() {
    let mut harmed = crate::oracle::state::tests::state();
    harmed.tasks[0].fds.clear();
    let harmed = || {
        Answer(Reply::State {
            state: harmed.clone(),
        })
    };
    for (rules, part) in [
        (
            vec![nth(0, "probe", 1, harmed())],
            "checkpoints that failed changed the tasks",
        ),
        (
            vec![rule(1, "probe", harmed())],
            "a restart that did without changed the tasks",
        ),
    ] {
        check(&failing(), rules, "fail (state)", part);
    }
}

#[test]
fn messages_about_failed_allocations_are_no_faults_where_they_were_asked_for() {
    let text = "restart: vmalloc error: size 4096, failed to allocated page array size 8\nCPU: 1 PID: 7\nCall Trace:\n";
    let rules = || vec![nth(1, "restart", 2, Says(text))];
    check(&failing(), rules(), "pass", "");
    check(
        &case(),
        vec![rule(1, "restart", Says(text))],
        "kernel-fault",
        "allocation",
    );
    let more = "vmalloc error: size 4096\nCall Trace:\nCall Trace:\n";
    let rules = vec![rule(1, "restart", Says(more))];
    check(&failing(), rules, "kernel-fault", "trace");
}
