//! Forgeries of the sample images of all architectures.

use super::*;
use crate::records::Arch;
use crate::sample;

fn forged(arch: Arch, record: &str, change: Change) -> Result<Image, ForgeError> {
    let bytes = sample::image(arch);
    let image = Image::read(bytes.as_slice()).unwrap();
    let record = record.to_owned();
    let forgery = Forgery {
        record,
        nth: 0,
        change,
    };
    let bytes = forge(&bytes, &image, &forgery)?;
    // The length of the whole and the checksum are right, whatever the records say.
    Ok(Image::read(bytes.as_slice()).unwrap())
}

fn field(record: &str, path: &str) -> Field {
    Field::new(record, path).unwrap()
}

#[test]
fn every_field_of_every_record_is_found() {
    for record in record_names() {
        let names = Field::names(record);
        assert!(names.len() > 2, "{record}");
        for name in names {
            let found = Field::new(record, &name).unwrap();
            let At::Bytes(bytes) = found.at else {
                unreachable!()
            };
            assert!(
                [1, 2, 4, 8].contains(&bytes.len()),
                "{record}.{name}: {bytes:?}"
            );
        }
    }
}

#[test]
fn a_number_is_changed_in_the_image_s_byte_order() {
    for arch in Arch::ALL {
        let change = Change::Set(field("TASK_OBJS", "files"), -2);
        let image = forged(arch, "TASK_OBJS", change).unwrap();
        let found = image.records.iter().find_map(|it| match &it.record {
            Record::TaskObjs(objs) => Some(objs.files),
            _ => None,
        });
        assert_eq!(found, Some(-2));
        let change = Change::Copy(field("TASK_OBJS", "mm"), field("TASK_OBJS", "fs"));
        let image = forged(arch, "TASK_OBJS", change).unwrap();
        let same = image
            .records
            .iter()
            .any(|it| matches!(&it.record, Record::TaskObjs(objs) if objs.fs == objs.mm));
        assert!(same);
        let change = Change::Or(field("SIGHAND", "action[9].flags"), 1 << 40);
        let image = forged(arch, "SIGHAND", change).unwrap();
        let flags = image.records.iter().find_map(|it| match &it.record {
            Record::Sighand(it) => Some(it.action.0[9].flags),
            _ => None,
        });
        assert_eq!(flags.map(|flags| flags >> 40), Some(1));
    }
}

#[test]
fn a_record_is_removed_or_repeated() {
    let count = |image: &Image| {
        let all = image.records.iter();
        all.filter(|it| it.record.type_name() == "SIGNALS").count()
    };
    let whole = Image::read(sample::image(Arch::S390x).as_slice()).unwrap();
    let removed = forged(Arch::S390x, "SIGNALS", Change::Remove).unwrap();
    let repeated = forged(Arch::S390x, "SIGNALS", Change::Repeat).unwrap();
    let counts = [&removed, &whole, &repeated].map(count);
    assert_eq!(counts, [counts[1] - 1, counts[1], counts[1] + 1]);
}

#[test]
fn what_is_not_there_is_told() {
    let check = |record: &str, path: &str, message: &str| {
        assert_eq!(Field::new(record, path).unwrap_err().to_string(), message);
    };
    check("FILEZ", "pid", "no record is called \"FILEZ\"");
    check("FILES", "pid", "FILES has no field \"pid\"");
    check(
        "RLIMITS",
        "limits[16].soft",
        "RLIMITS has no field \"limits[16].soft\"",
    );
    check("RLIMITS", "limits[3]", "RLIMITS has no field \"limits[3]\"");
    check("CPU", "word", "CPU has no field \"word\"");
    assert!(Field::new("REGSET", "psw.mask").is_ok());
    let check = |record: &str, change: Change, message: &str| {
        let error = forged(Arch::X86_64, record, change).unwrap_err();
        assert_eq!(error.to_string(), message);
    };
    let fd = field("FILES", "fds[99].fd");
    let at = Change::Set(fd, 1);
    let error = forged(Arch::X86_64, "FILES", at).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("this FILES has no fds[99].fd")
    );
    check(
        "TASK",
        Change::Set(field("TASK", "pad"), 1 << 32),
        "pad has 4 bytes, in which 4294967296 does not fit",
    );
    check(
        "TASK",
        Change::Set(field("TASK", "pad"), 0),
        "pad has this value already",
    );
    check(
        "ERROR",
        Change::Remove,
        "the image has 0 ERROR records, not a number 0 (counted from 0)",
    );
}

#[test]
fn changes_follow_each_other() {
    let bytes = sample::image(Arch::Ppc64);
    let image = Image::read(bytes.as_slice()).unwrap();
    let change = |record: &str, nth, change| Forgery {
        record: record.to_owned(),
        nth,
        change,
    };
    let removed = change("SIGHAND", 0, Change::Remove);
    let set = change("SIGHAND", 0, Change::Set(field("SIGHAND", "objref"), 77));
    let forged = forge_all(&bytes, &image, &[removed.clone(), set.clone()]).unwrap();
    let found: Vec<i32> = Image::read(forged.as_slice())
        .unwrap()
        .records
        .iter()
        .filter_map(|it| match &it.record {
            Record::Sighand(it) => Some(it.objref),
            _ => None,
        })
        .collect();
    // The second became the first.
    assert_eq!(found, [77]);
    assert_eq!(forge_all(&bytes, &image, &[]).unwrap(), bytes);
    let broken = change("TASK", 0, Change::Set(field("TASK", "h.len"), 0));
    let error = forge_all(&bytes, &image, &[broken, set]).unwrap_err();
    assert!(
        matches!(&error, ForgeError::Unreadable { done, .. } if done == "TASK 0: h.len set to 0"),
        "{error}"
    );
}
