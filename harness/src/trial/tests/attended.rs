//! Where a person has a prompt, with scripted guests.

use std::sync::Mutex;

use super::*;
use crate::qemu::{GuestError, Line};

/// Notes why there was a prompt.
#[derive(Default)]
struct Curious(Mutex<Vec<String>>);

impl Attendant for Curious {
    fn stopped(&self, _: &Path) {}

    fn prompt(&self, _: Line<'_>, _: &str) -> Result<(), GuestError> {
        unreachable!("a scripted guest has no console")
    }

    fn no_prompt(&self, why: &str) {
        self.0.lock().unwrap().push(why.to_owned());
    }
}

/// Where a person who waits for this is given a prompt, once, and what the verdict begins with.
#[track_caller]
fn check_prompt(rules: Vec<Rule>, at: Option<Phase>, whys: &[&str], verdict: &str, guest: usize) {
    let person = Curious::default();
    let fake = Fake::new(rules);
    let prompt = Some(Prompt {
        person: &person,
        at,
    });
    let tried = try_attended(&case(), &fake, true, prompt);
    assert_eq!(*person.0.lock().unwrap(), whys);
    let found = tried.outcome.verdict.to_string();
    assert!(found.starts_with(verdict), "{verdict} is expected: {found}");
    let shells: Vec<_> = tried
        .log
        .iter()
        .filter(|line| line.ends_with(" shell"))
        .collect();
    let expected: Vec<_> = whys.iter().map(|_| format!("{guest} shell")).collect();
    assert_eq!(shells, expected.iter().collect::<Vec<_>>());
}

#[test]
fn a_person_has_a_prompt_where_the_trial_fails_and_only_there() {
    let failed = |clone: &str| format!("{clone}: the trial has failed");
    check_prompt(Vec::new(), None, &[], "pass", 0);
    // What ends the trial, and what an oracle finds.
    let refused = || Answer(tool(1, "restart: refused: EINVAL (x)\n", ""));
    let rules = vec![rule(1, "restart", refused())];
    check_prompt(rules, None, &[&failed("console-b")], "fail (refusal)", 1);
    let bad = || {
        Answer(Reply::Exited {
            status: 0,
            report: Some("FAIL counter: 1\ndone\n".to_owned()),
        })
    };
    let rules = vec![rule(0, "exit", bad())];
    check_prompt(rules, None, &[&failed("console-a")], "fail (self)", 0);
    let rules = vec![rule(1, "exit", bad())];
    check_prompt(rules, None, &[&failed("console-b")], "fail (self)", 1);
    let left = || {
        let counts = vec![("mounts".to_owned(), 10)];
        rule(0, "count", Answer(Reply::Counts { counts }))
    };
    check_prompt(
        vec![left()],
        None,
        &[&failed("console-a")],
        "fail (leak)",
        0,
    );
}

#[test]
fn a_person_who_stops_at_the_scan_for_leaks_has_the_guest_after_its_last_action() {
    let person = Curious::default();
    let prompt = Some(Prompt {
        person: &person,
        at: Some(Phase::Leaks),
    });
    let tried = try_attended(&case(), &Fake::new(Vec::new()), true, prompt);
    assert_eq!(*person.0.lock().unwrap(), ["console-a: before leaks"]);
    let at = |what: &str| tried.log.iter().position(|line| line == what);
    assert!(at("0 exit").is_some() && at("0 exit") < at("0 shell"));
    assert_eq!(at("0 kmemleak"), None);
}

#[test]
fn a_person_has_a_prompt_before_a_phase() {
    for (phase, why, guest) in [
        (Phase::Freeze, "console-a: before freeze", 0),
        (Phase::Push, "console-b: before push", 1),
        (Phase::FinishAgain, "console-b: before finish-again", 1),
    ] {
        let verdict = format!("skip: stopped before {phase}, as asked for");
        check_prompt(Vec::new(), Some(phase), &[why], &verdict, guest);
    }
    // Not one that the trial does not come to.
    check_prompt(Vec::new(), Some(Phase::Damaged), &[], "pass", 0);
}
