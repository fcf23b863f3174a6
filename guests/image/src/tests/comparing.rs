//! Every kind of difference between two images, and every rule that excuses one.

use std::time::Duration;

use crate::rules::{How, RULES};
use crate::sample::{image, records, writer};
use crate::{Arch, Difference, Image, LAYOUTS, Record, compare, sealed};

/// The differences that a change of the sample's records makes.
fn differences(change: impl FnOnce(&mut Vec<Record>), passed: Option<Duration>) -> Vec<Difference> {
    let own = Image::read(image(Arch::X86_64).as_slice()).unwrap();
    let mut records = records(Arch::X86_64);
    change(&mut records);
    let bytes = writer(Arch::X86_64, &records).finish();
    let other = Image::read(bytes.as_slice()).unwrap();
    let mut found = compare(&own, &other, passed);
    // They follow from every other difference.
    found.retain(|it| it.record != "TRAILER");
    found
}

/// The differences that must not be, as text.
fn told(change: impl FnOnce(&mut Vec<Record>)) -> String {
    let found = differences(change, None);
    let found = found.iter().filter(|it| it.volatile.is_none());
    found.fold(String::new(), |text, it| text + &format!("{it}\n"))
}

/// Change all records of a kind.
macro_rules! each {
    ($kind:ident, |$it:ident| $change:expr) => {
        |records: &mut Vec<Record>| {
            for record in records {
                if let Record::$kind($it) = record {
                    $change;
                }
            }
        }
    };
}

#[test]
fn equal_images_do_not_differ() {
    for arch in Arch::ALL {
        let one = Image::read(image(arch).as_slice()).unwrap();
        assert_eq!(compare(&one, &one, None), []);
    }
}

#[test]
fn a_difference_names_object_field_before_and_after() {
    let table: [(String, &str); 9] = [
        (
            told(each!(Task, |it| if it.pid == 2 {
                it.personality = 1;
            })),
            "@@ task 2, TASK: personality\n-0\n+1\n",
        ),
        (
            told(each!(Task, |it| if it.pid == 2 {
                it.comm.0[0] = 0xff;
            })),
            "@@ task 2, TASK: comm\n-\"counter\"\n+\"\\xffounter\"\n",
        ),
        (
            told(each!(Sighand, |it| it.action.0[9].mask = 3)),
            "@@ task 1 sighand, SIGHAND: signal 10.mask\n-2048\n+3\n@@ task 2 sighand, SIGHAND: signal 10.mask\n-2048\n+3\n",
        ),
        (
            told(each!(Rlimits, |it| it.limits[7].hard = 9)),
            "@@ task 1, RLIMITS: limits[7].hard\n-0xffffffffffffffff\n+9\n@@ task 2, RLIMITS: limits[7].hard\n-0xffffffffffffffff\n+9\n",
        ),
        (
            told(each!(File, |it| if it.head.objref == 3 {
                it.head.pos = 8;
            })),
            "@@ task 1 fd 9, FILE: pos\n-7\n+8\n",
        ),
        (
            told(each!(Regset, |it| it.data[8] = 0)),
            "@@ task 1 NT_PRSTATUS, REGSET: r14\n-0x0707070707070707\n+0x0707070707070700\n@@ task 2 NT_PRSTATUS, REGSET: r14\n-0x0707070707070707\n+0x0707070707070700\n",
        ),
        (
            told(each!(Cred, |it| it.groups[0] = 21)),
            "@@ task 1 cred, CRED: groups[0]\n-20\n+21\n",
        ),
        (
            told(each!(Files, |it| it.fds[2].flags = 0)),
            "@@ task 1 files fd 9, FILES: flags\n-1\n+0\n",
        ),
        (
            told(each!(Cpu, |it| it.word[0] = 0x20_0000)),
            "@@ task 1, CPU: word[0] flags\n-0\n+0x200000\n@@ task 2, CPU: word[0] flags\n-0\n+0x200000\n",
        ),
    ];
    for (found, expected) in table {
        assert_eq!(found, expected);
    }
}

#[test]
fn sharing_is_compared_and_numbers_are_not() {
    // The second descriptor gets a file of its own, which looks the same.
    let found = told(|records| {
        let file = records.iter().position(|it| it.type_name() == "FILE");
        let mut own = records[file.unwrap()].clone();
        if let Record::File(it) = &mut own {
            it.head.objref = 20;
        }
        records.insert(file.unwrap(), own);
        each!(Files, |it| it.fds[1].file = 20)(records);
    });
    assert!(
        found.contains("@@ task 1 files fd 1, FILES: file\n-task 1 fd 0\n+task 1 fd 1\n"),
        "{found}"
    );
    assert!(
        found.contains("@@ task 1 fd 1, FILE\n-not there\n+there\n"),
        "{found}"
    );
    // The second task gets the first one's memory.
    let found = told(each!(TaskObjs, |it| it.mm = 7));
    assert!(
        found.contains("@@ task 2, TASK_OBJS: mm\n-task 2 mm\n+task 1 mm\n"),
        "{found}"
    );
    // Other numbers for the same objects.
    let found = told(|records| {
        each!(File, |it| if it.head.objref == 3 {
            it.head.objref = 33;
        })(records);
        each!(Files, |it| it.fds[2].file = 33)(records);
        each!(Lock, |it| if it.file == 3 {
            it.file = 33;
        })(records);
        each!(Lease, |it| it.file = 33)(records);
        // Its flags are none of a timer's.
        each!(Lease, |it| it.break_left -= 1)(records);
    });
    assert_eq!(found, "");
}

#[test]
fn memory_is_compared_by_address() {
    let found = told(each!(Pages, |it| if it.head.start == 0x9000 {
        it.data[0x123] = 1;
    }));
    let expected = "@@ task 1 mm, PAGES: contents at 0x9123, in the first of 1 pages that differ\n\
                    -a5 a5 a5 a5 a5 a5 a5 a5 a5 a5 a5 a5 a5 a5 a5 a5\n\
                    +01 a5 a5 a5 a5 a5 a5 a5 a5 a5 a5 a5 a5 a5 a5 a5\n";
    assert!(found.starts_with(expected), "{found}");
    let found = told(each!(Pages, |it| if it.head.start == 0x9000 {
        it.head.start = 0xa000;
    }));
    assert!(
        found.contains("page 0x9000, the first of 1 that one image has\n-a5"),
        "{found}"
    );
    assert!(
        found.contains("page 0xa000, the first of 1 that one image has\n-not there\n+a5"),
        "{found}"
    );
    // Runs of other lengths with the same contents.
    let runs = |split: bool| {
        let mut records = records(Arch::X86_64);
        records.retain(|it| !matches!(it, Record::Pages(it) if it.head.start == 0x2000));
        each!(Pages, |it| {
            it.head.nr_pages = 2;
            it.data.resize(8192, 0x11);
        })(&mut records);
        if split {
            for at in (0..records.len()).rev() {
                if let Record::Pages(it) = &mut records[at] {
                    let mut second = it.clone();
                    it.data.truncate(4096);
                    it.head.nr_pages = 1;
                    second.data.drain(..4096);
                    second.head.nr_pages = 1;
                    second.head.start += 4096;
                    records.insert(at + 1, Record::Pages(second));
                }
            }
        }
        Image::read(writer(Arch::X86_64, &records).finish().as_slice()).unwrap()
    };
    let found = compare(&runs(false), &runs(true), None);
    assert!(found.iter().all(|it| it.record == "TRAILER"), "{found:?}");
}

#[test]
fn mappings_are_compared_whatever_their_number() {
    let found = told(each!(Vma, |it| if it.kind == 1 {
        it.end = 0xc000;
    }));
    assert!(
        found.starts_with("@@ task 1 mm mapping 0x8000, VMA: end\n-45056\n+49152\n"),
        "{found}"
    );
    // The same memory in two mappings of the same kind.
    let found = told(|records| {
        each!(Mm, |it| it.head.nr_vmas = 4)(records);
        for at in (0..records.len()).rev() {
            if let Record::Vma(it) = &mut records[at]
                && it.kind == 1
            {
                let mut second = it.clone();
                it.end = 0x9000;
                second.start = 0x9000;
                records.insert(at + 1, Record::Vma(second));
            }
        }
    });
    assert_eq!(found, "");
}

#[test]
fn time_may_run_out_but_not_come_back() {
    let left = |time: i64, flags: u32, passed: Option<u64>| {
        let change = each!(RestartBlock, |it| {
            it.time_left = time;
            it.flags = flags;
        });
        let found = differences(change, passed.map(Duration::from_nanos));
        let found = found
            .into_iter()
            .find(|it| it.field.as_deref() == Some("time_left"));
        found.map(|it| it.volatile.is_some())
    };
    let before = 5_000_000_000;
    assert_eq!(left(before, 1, None), None);
    assert_eq!(left(before - 10, 1, None), Some(true));
    assert_eq!(left(before - 10, 1, Some(10)), Some(true));
    assert_eq!(left(before - 10, 1, Some(9)), Some(false));
    assert_eq!(left(before + 1, 1, None), Some(false));
    // A point in time stays where it is.
    assert_eq!(left(before - 10, 3, None), Some(false));
}

#[test]
fn only_the_mark_of_a_self_checkpoint_goes() {
    let marked = |before: u32, after: u32| {
        let image = |flags: u32| {
            let mut records = records(Arch::X86_64);
            each!(Cpu, |it| it.flags = flags)(&mut records);
            Image::read(writer(Arch::X86_64, &records).finish().as_slice()).unwrap()
        };
        let found = compare(&image(before), &image(after), None);
        let found = found
            .into_iter()
            .find(|it| it.field.as_deref() == Some("flags"));
        found.map(|it| it.volatile.is_some())
    };
    assert_eq!(marked(1, 1), None);
    assert_eq!(marked(1, 0), Some(true));
    assert_eq!(marked(0, 1), Some(false));
    assert_eq!(marked(3, 0), Some(false));
}

#[test]
fn only_the_units_of_the_msr_go() {
    let image = |msr: u64| {
        let arch = Arch::Ppc64;
        let mut records = records(arch);
        let at = 33 * 8;
        each!(Regset, |it| {
            it.data.resize(48 * 8, 0);
            it.head.size = 48 * 8;
            it.data[at..at + 8].copy_from_slice(&msr.to_be_bytes());
        })(&mut records);
        Image::read(writer(arch, &records).finish().as_slice()).unwrap()
    };
    let differs = |before: u64, after: u64| {
        let found = compare(&image(before), &image(after), None);
        let found = found
            .into_iter()
            .find(|it| it.field.as_deref() == Some("msr"));
        found.map(|it| it.volatile.is_some())
    };
    let before = 0x8000_0000_0280_f032;
    assert_eq!(differs(before, before), None);
    assert_eq!(differs(before, 0x8000_0000_0000_d032), Some(true));
    assert_eq!(differs(before, 0x8000_0000_0000_d432), Some(false));
    assert_eq!(differs(0x8000_0000_0000_d032, before), Some(false));
}

#[test]
fn another_order_is_a_difference() {
    let found = told(|records| {
        let at = records
            .iter()
            .position(|it| it.type_name() == "FS")
            .unwrap();
        records.swap(at, at + 1);
    });
    let expected = "@@ image, order: part";
    assert!(
        found.starts_with(expected) && found.lines().count() == 3,
        "{found}"
    );
}

#[test]
fn every_rule_names_a_field_and_has_a_reason() {
    let mut fields: Vec<(&str, &str)> = Vec::new();
    for layout in LAYOUTS {
        let layout = layout();
        fields.extend(
            layout
                .fields
                .iter()
                .map(|(field, _, _)| (layout.name, *field)),
        );
    }
    for (number, rule) in RULES.iter().enumerate() {
        let key = (rule.of, rule.name);
        let register = Arch::ALL.into_iter().any(|arch| {
            let pieces = crate::regs::pieces(arch, 1, 4096);
            rule.of == "NT_PRSTATUS"
                && pieces
                    .iter()
                    .any(|piece| piece.name.as_deref() == Some(rule.name))
        });
        assert!(fields.contains(&key) || register, "{key:?} is no field");
        assert!(!rule.reason.is_empty(), "{key:?} has no reason");
        let twice = RULES[..number]
            .iter()
            .any(|other| (other.of, other.name) == key);
        assert!(!twice, "{key:?} has two rules");
    }
    // Every number of an object is compared by what it stands for.
    for (of, field) in fields {
        let objref = matches!(field, "objref" | "exe")
            || of == "ckpt_rec_task_objs"
            || (of == "ckpt_rec_seccomp" && field == "before")
            || (of == "ckpt_rec_pid_ns" && field == "parent")
            || (matches!(of, "ckpt_fd" | "ckpt_rec_vma") && field == "file")
            || (of == "ckpt_rec_file" && matches!(field, "cred" | "object"))
            || (of == "ckpt_rec_pipe" && field == "cred")
            || (of == "ckpt_rec_epoll_item" && matches!(field, "file" | "sighand"))
            || (of == "ckpt_rec_lock" && matches!(field, "file" | "owner"))
            || (matches!(of, "ckpt_rec_lease" | "ckpt_rec_owner") && field == "file")
            || (of == "ckpt_rec_exit" && matches!(field, "cred" | "sighand"));
        let rule = crate::rules::rule(of, field);
        let is = rule.is_some_and(|rule| rule.how == How::Reference);
        assert_eq!(is, objref, "{of}.{field}");
    }
}

#[test]
fn every_field_that_is_not_excused_is_compared() {
    // One record of each kind, each field's first byte flipped.
    let arch = Arch::X86_64;
    let own = Image::read(image(arch).as_slice()).unwrap();
    let mut compared = 0;
    for layout in LAYOUTS {
        let layout = layout();
        for (field, at, _) in &layout.fields {
            let excused = crate::rules::rule(layout.name, field).map(|rule| rule.how);
            let Some(bytes) = flipped(layout.name, *at) else {
                continue;
            };
            let Ok(other) = Image::read(bytes.as_slice()) else {
                // The reader is not content with it: lengths, the magic, the architecture.
                continue;
            };
            compared += 1;
            let found = compare(&own, &other, None);
            // A count that contradicts its own record is an invalid image, which is told before.
            let bad = found.iter().any(|it| it.volatile.is_none()) || other.verify().is_err();
            assert_eq!(
                bad,
                !matches!(excused, Some(How::Volatile)),
                "{}.{field}: {found:?}",
                layout.name
            );
        }
    }
    assert!(compared > 100, "only {compared} fields");
}

/// The sample with the low bit of a byte of its first record of a struct flipped, and the trailer right.
fn flipped(of: &str, at: usize) -> Option<Vec<u8>> {
    let arch = Arch::X86_64;
    let name = of.strip_prefix("ckpt_rec_")?.to_uppercase();
    let records = records(arch);
    let place = records.iter().position(|it| it.type_name() == name)?;
    let before = writer(arch, &records[..place]).into_bytes().len();
    let mut bytes = writer(arch, &records).into_bytes();
    bytes[before + at] ^= 1;
    Some(sealed(arch.byte_order(), &bytes))
}
