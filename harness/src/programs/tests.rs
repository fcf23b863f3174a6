//! Programs that can and cannot be staged, with the words that are said.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crossthaw_protocol::EntryKind;

use super::*;
use crate::guest::elf::tests::tiny;
use crate::process::Cancel;
use crate::scenario::{End, Left, Needed, Ready};
use crate::store::Store;

/// A folder of programs, and a store.
struct Room {
    scratch: tempfile::TempDir,
    ctx: BuildContext,
}

impl Room {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let cancel = Cancel::new().unwrap();
        let ctx = BuildContext {
            repo: scratch.path().to_owned(),
            store: Store::open(&scratch.path().join("store")).unwrap(),
            jobs: 1,
            cancel,
        };
        Self { scratch, ctx }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// What is said of it, without the folder.
    fn said(&self, arch: Arch, exec: &Exec) -> String {
        let said = match stage(&self.ctx, arch, exec) {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.to_string(),
        };
        said.replace(&format!("{}/", self.scratch.path().display()), "")
    }
}

fn site() -> Site {
    Site {
        file: "f.yaml".into(),
        line: 3,
        column: 9,
    }
}

fn program(path: impl Into<PathBuf>) -> Exec {
    Exec {
        origin: Origin::Program(path.into()),
        args: vec!["-x".to_owned()],
        env: vec![("A".to_owned(), "b".to_owned())],
        user: None,
        files: Vec::new(),
        rootfs: None,
        mount: false,
        network: false,
        ready: Ready {
            file: None,
            line: Some("up".to_owned()),
            pidfile: Some("p".to_owned()),
        },
        resume: Resume::default(),
        expect: Ending {
            end: End::Exit(0),
            file: None,
        },
        site: site(),
    }
}

fn needed(from: PathBuf, to: &str) -> Needed {
    Needed {
        from,
        to: to.to_owned(),
        mode: None,
        owner: None,
        site: site(),
    }
}

/// `MODE UID:GID PATH` of each entry.
fn listing(folder: &Folder) -> Vec<String> {
    let entries = folder.entries.iter();
    entries
        .map(|(entry, bytes)| {
            let kind = match &entry.kind {
                EntryKind::Directory => "/".to_owned(),
                EntryKind::Regular { size } => {
                    assert_eq!(*size, bytes.len() as u64);
                    String::new()
                }
                EntryKind::Symlink { target } => format!(" -> {target}"),
                EntryKind::Fifo => "|".to_owned(),
                EntryKind::Link { to } => format!(" = {to}"),
            };
            format!(
                "{:o} {}:{} {}{kind}",
                entry.mode, entry.uid, entry.gid, entry.path
            )
        })
        .collect()
}

#[test]
fn a_static_program_of_the_right_machine_is_laid_out_with_its_files() {
    let room = Room::new();
    let elf = tiny(Arch::S390x.row().elf, None);
    let mut exec = program(room.write("bin/x", &elf));
    exec.user = Some((7, 8));
    let data = needed(room.write("in/data", b"1"), "sub/data");
    let folder = needed(room.path("in"), "all");
    exec.files = vec![
        Needed {
            mode: Some(0o600),
            owner: Some((1, 2)),
            ..data
        },
        folder,
    ];
    symlink("data", room.path("in/link")).unwrap();
    fs::hard_link(room.path("in/data"), room.path("in/more")).unwrap();
    let staged = stage(&room.ctx, Arch::S390x, &exec).unwrap();
    let seen = listing(&staged.folder);
    let seen: Vec<_> = seen
        .iter()
        .map(|line| line.split_once(' ').unwrap().1)
        .collect();
    assert_eq!(
        seen,
        [
            "7:8 all/",
            "7:8 all/data",
            "7:8 all/link -> data",
            "7:8 all/more = all/data",
            "1:2 sub/",
            "1:2 sub/data",
            "7:8 x"
        ]
    );
    assert!(listing(&staged.folder)[6].starts_with("755 "));
    assert!(listing(&staged.folder)[5].starts_with("600 "));
    assert_eq!(
        (&*staged.program.path, staged.program.argv.len()),
        ("./x", 2)
    );
    assert_eq!(staged.program.env[1].0, "PATH");
    assert_eq!(
        staged.ready.line,
        Some(("stdout".to_owned(), "up".to_owned()))
    );
    assert_eq!(staged.ready.pidfile.as_deref(), Some("p"));
}

#[test]
fn what_the_guest_cannot_run_is_told_with_the_remedy() {
    let room = Room::new();
    let elf = |arch: Arch, interpreter| tiny(arch.row().elf, interpreter);
    let foreign = program(room.write("foreign", &elf(Arch::X86_64, None)));
    let said = room.said(Arch::S390x, &foreign);
    assert!(
        said.starts_with("f.yaml:3:9: foreign: wanted a 64-bit big-endian program for machine 22 (S390), found a 64-bit little-endian program for machine 62 (X86_64): build it for s390x"),
        "{said}"
    );
    let dynamic = program(room.write("dynamic", &elf(Arch::X86_64, Some("/lib/ld.so"))));
    let said = room.said(Arch::X86_64, &dynamic);
    assert!(
        said.starts_with("f.yaml:3:9: the program is dynamic and asks for the loader /lib/ld.so, which the guest has not: link it with -static, or say rootfs:"),
        "{said}"
    );
    let script = program(room.write("script", b"#!/bin/sh\n"));
    let said = room.said(Arch::X86_64, &script);
    assert!(
        said.ends_with("it is a script, and the guest has no interpreter"),
        "{said}"
    );
    let said = room.said(Arch::X86_64, &program(room.path("none")));
    assert!(said.starts_with("f.yaml:3:9: cannot read none: "), "{said}");
}

#[test]
fn a_root_file_system_is_looked_into_as_the_guest_will() {
    let room = Room::new();
    let loader = tiny(Arch::X86_64.row().elf, Some("/lib/ld.so"));
    room.write("root/usr/bin/x", &loader);
    room.write("root/usr/lib/ld.so", b"");
    symlink("/usr/bin", room.path("root/bin")).unwrap();
    let mut exec = program("");
    exec.origin = Origin::InRootfs("/bin/x".to_owned());
    exec.rootfs = Some(Rootfs::Folder(room.path("root")));
    exec.expect.file = Some(Left {
        path: "/run/out".to_owned(),
        contains: None,
    });
    assert_eq!(
        room.said(Arch::X86_64, &exec),
        "f.yaml:3:9: the program asks for the loader /lib/ld.so, which is not in root"
    );
    // Absolute, and still not this machine's.
    symlink("/usr/lib", room.path("root/lib")).unwrap();
    let staged = stage(&room.ctx, Arch::X86_64, &exec).unwrap();
    let names: Vec<_> = staged
        .folder
        .entries
        .iter()
        .map(|(it, _)| &*it.path)
        .collect();
    assert_eq!(
        names,
        [
            "bin",
            "dev",
            "lib",
            "proc",
            "scenario",
            "tmp",
            "usr",
            "usr/bin",
            "usr/bin/x",
            "usr/lib",
            "usr/lib/ld.so"
        ]
    );
    assert_eq!(staged.program.path, "/bin/x");
    assert!(staged.program.surroundings.rootfs);
    assert_eq!(staged.ready.pidfile.as_deref(), Some("scenario/p"));
    assert_eq!(staged.expect.file.unwrap().path, "run/out");
    assert_eq!(staged.output, ["scenario/stdout", "scenario/stderr"]);

    exec.origin = Origin::InRootfs("/sbin/x".to_owned());
    let said = room.said(Arch::X86_64, &exec);
    assert!(
        said.starts_with("f.yaml:3:9: /sbin/x is not in root: "),
        "{said}"
    );
    symlink("loop", room.path("root/loop")).unwrap();
    exec.origin = Origin::InRootfs("/loop".to_owned());
    let said = room.said(Arch::X86_64, &exec);
    assert!(said.ends_with("too many symbolic links"), "{said}");
    fs::remove_file(room.path("root/loop")).unwrap();
    room.write("root/dev", b"");
    exec.origin = Origin::InRootfs("/bin/x".to_owned());
    let said = room.said(Arch::X86_64, &exec);
    assert!(said.contains("root/dev is in the way"), "{said}");
}

#[test]
fn names_that_collide_and_folders_that_are_too_big_are_told() {
    let room = Room::new();
    let elf = tiny(Arch::X86_64.row().elf, None);
    let exec = program(room.write("x", &elf));
    let with = |file| Exec {
        files: vec![file],
        ..exec.clone()
    };
    let twice = with(needed(room.write("y", b""), "x"));
    assert_eq!(
        room.said(Arch::X86_64, &twice),
        "f.yaml:3:9: two files are called x in the folder"
    );
    let output = with(needed(room.path("y"), "stdout"));
    assert_eq!(
        room.said(Arch::X86_64, &output),
        "f.yaml:3:9: stdout is where the program's own output goes: choose another name"
    );
    let big = fs::File::create(room.path("big")).unwrap();
    big.set_len(MOST_BYTES + 1).unwrap();
    let said = room.said(Arch::X86_64, &with(needed(room.path("big"), "big")));
    assert!(said.contains("more than 128 MiB"), "{said}");
    fs::create_dir(room.path("all")).unwrap();
    fs::rename(room.path("big"), room.path("all/big")).unwrap();
    let said = room.said(Arch::X86_64, &with(needed(room.path("all"), "all")));
    assert!(said.contains("more than 128 MiB"), "{said}");
}

/// The compiler of this machine: what the whole project needs anyway.
#[test]
fn a_source_is_compiled_once_and_its_mistakes_are_told() {
    let room = Room::new();
    let source = room.write(
        "it.c",
        b"#include \"it.h\"\nint main(void) { return CODE; }\n",
    );
    room.write("it.h", b"#define CODE 3\n");
    let exec = Exec {
        origin: Origin::Source {
            file: source,
            dynamic: false,
        },
        ..program("")
    };
    let bytes = |exec: &Exec| {
        let staged = stage(&room.ctx, Arch::X86_64, exec).unwrap();
        let (entry, bytes) = &staged.folder.entries[0];
        assert_eq!((&*entry.path, &*staged.program.path), ("it", "./it"));
        bytes.clone()
    };
    let first = bytes(&exec);
    assert_eq!(bytes(&exec), first);
    // A header is part of it.
    room.write("it.h", b"#define CODE 4\n");
    assert_ne!(bytes(&exec), first);
    room.write("it.h", b"#define CODE four\n");
    let said = room.said(Arch::X86_64, &exec);
    assert!(
        said.starts_with("f.yaml:3:9: gcc cannot compile it.c for x86_64:\n"),
        "{said}"
    );
    assert!(said.contains("four"), "{said}");
    fs::remove_file(room.path("it.c")).unwrap();
    let said = room.said(Arch::X86_64, &exec);
    assert!(said.starts_with("f.yaml:3:9: cannot read it.c: "), "{said}");
}

/// The project's own programs have no warning.
#[test]
fn our_programs_compile_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/programs");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "c") {
            continue;
        }
        count += 1;
        let output = crate::guest::toolchain::scrubbed("gcc")
            .args([
                "-std=gnu17",
                "-O1",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-fsyntax-only",
            ])
            .arg(&path)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            fs::read_to_string(&path).unwrap().starts_with("// SPDX-"),
            "{}",
            path.display()
        );
    }
    assert!(count >= 10, "{count}");
}
