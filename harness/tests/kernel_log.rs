//! The kernel oracle against a corpus of console logs: `corpus/NAME.log`, and what it is in `corpus/NAME.class`: the class and, in those
//! that LKDTM provoked on the debug kernels (`ARCH-lkdtm-ENTRY`), the report's first line without its time stamp.

use std::fs;
use std::path::Path;

use crossthaw_harness::oracle::kernel_log;

#[test]
fn every_log_of_the_corpus_has_its_class() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut logs = 0;
    let mut wrong = Vec::new();
    for entry in fs::read_dir(&corpus).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        logs += 1;
        let expected = fs::read_to_string(path.with_extension("class")).unwrap();
        let fault = kernel_log::judge(&fs::read_to_string(&path).unwrap());
        let found = fault.as_ref().map_or("none", |fault| fault.class.name());
        let (class, first) = expected
            .trim()
            .split_once('\n')
            .unwrap_or((expected.trim(), ""));
        if found != class {
            wrong.push(format!("{}: {found}, expected {class}", path.display()));
        }
        if let Some(fault) = fault {
            assert!(!fault.lines.is_empty(), "{}", path.display());
            let mut lines = fault.lines.iter();
            let begins = lines.find(|line| !line.contains("[ cut here ]"));
            assert!(
                begins.is_some_and(|line| line.ends_with(first)),
                "{}: {begins:?}, expected {first}",
                path.display()
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(logs >= 50, "only {logs} logs were found");
}
