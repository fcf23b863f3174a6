//! Globs, architectures and partitions.

use super::*;

fn selection(scenarios: &[&str], archs: &[Arch], partition: Option<&str>) -> Selection {
    Selection {
        archs: archs.to_vec(),
        scenarios: scenarios.iter().map(|&glob| glob.to_owned()).collect(),
        partition: partition.map(|text| text.parse().unwrap()),
        flavor: Flavor::Fast,
        fault_stride: None,
    }
}

#[test]
fn globs_and_architectures_select() {
    let matrix = own();
    let s390x = [Arch::S390x];
    let select = |globs: &[&str]| -> Vec<String> {
        let cases = matrix.select(&selection(globs, &s390x, None)).unwrap();
        cases
            .iter()
            .map(|case| case.id.without_arch().to_owned())
            .collect()
    };
    assert_eq!(select(&["files/dup"]), ["files/dup"]);
    assert_eq!(select(&["s390x/files/dup"]), ["files/dup"]);
    assert_eq!(
        select(&["registers/fpu"]),
        ["registers/fpu[hold=spin]", "registers/fpu[hold=blocked]"]
    );
    assert_eq!(
        select(&["registers/fpu[hold=spin]"]),
        ["registers/fpu[hold=spin]"]
    );
    assert_eq!(select(&["registers/{gpr,fpu}[*=blocked]"]).len(), 2);
    assert_eq!(
        select(&["*/offset", "files/dup"]),
        ["files/offset", "files/dup"]
    );
    assert_eq!(select(&["*"]), select(&[]));
    let all = matrix
        .select(&selection(&["files/dup"], &[], None))
        .unwrap();
    let archs: Vec<_> = all.iter().map(|case| case.arch).collect();
    assert_eq!(archs, Arch::ALL);
}

#[test]
fn what_selects_nothing_is_an_error_that_helps() {
    let near = |glob: &str| {
        own()
            .select(&selection(&[glob, "files/dup"], &[], None))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        near("file/dup"),
        "no scenario matches \"file/dup\"; did you mean files/dup, files/gaps or files/*?"
    );
    assert!(near("memory").contains("memory/*"), "{}", near("memory"));
    assert!(
        near("counter").contains("simple/counter"),
        "{}",
        near("counter")
    );
    assert_eq!(
        near("registers/fpu[hold=spinn]"),
        "no scenario matches \"registers/fpu[hold=spinn]\"; did you mean registers/fpu, registers/gpr or registers/*?"
    );
    assert!(near("zzzzzz").ends_with("`cargo xtask list` shows all"));
    assert!(near("{a").contains("is not a glob: "));
    let matrix = scenario("archs: [s390x]").unwrap();
    let there = matrix.select(&selection(&["f/*"], &[Arch::Ppc64, Arch::X86_32], None));
    assert_eq!(
        there.unwrap_err().to_string(),
        "no scenario that matches f/* runs on ppc64, x86_32: there is s390x/f/counter"
    );
    assert_eq!(
        matrix
            .select(&selection(&[], &[], Some("2/2")))
            .unwrap_err()
            .to_string(),
        "partition 2/2 is empty: there are only 1 cases to deal out"
    );
}

#[test]
fn partitions_are_disjoint_and_together_all() {
    let matrix = own();
    let mut parts: Vec<_> = ["1/3", "2/3", "3/3"]
        .iter()
        .flat_map(|part| matrix.select(&selection(&[], &[], Some(part))).unwrap())
        .map(|case| case.id)
        .collect();
    let mut all: Vec<_> = matrix
        .cases(Flavor::Fast)
        .into_iter()
        .map(|case| case.id)
        .collect();
    parts.sort();
    all.sort();
    assert_eq!(parts, all);
    for text in ["0/3", "4/3", "1", "1/", "a/b", "1/0", "-1/2"] {
        assert!(text.parse::<Partition>().is_err(), "{text}");
    }
    assert_eq!("2/3".parse::<Partition>().unwrap().to_string(), "2/3");
}
