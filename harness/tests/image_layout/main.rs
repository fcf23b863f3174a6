//! The C header, compiled for each architecture, has the structs, offsets, sizes and constants that `docs/image-format.md` and the decoder say.
//!
//! Nothing is run: the compiler puts the numbers into a section of an object file.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod document;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crossthaw_harness::arch::{Arch, ByteOrder};
use crossthaw_image::{LAYOUTS, record_type_name};
use document::Document;
use goblin::elf::Elf;

/// The section with the numbers.
const SECTION: &str = "crossthaw_layout";

fn repo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// An expression of C and what it must be.
type Expected = (String, u64);

/// Sizes and offsets of the decoder's structs.
fn layouts() -> Vec<Expected> {
    let mut all = Vec::new();
    for layout in LAYOUTS {
        let layout = layout();
        let name = match layout.name {
            // It has no name in C.
            "limits" => continue,
            name => name,
        };
        all.push((format!("sizeof(struct {name})"), layout.size as u64));
        for (field, at, size) in layout.fields {
            let whole = format!("(((struct {name} *)0)->{field})");
            all.push((
                format!("__builtin_offsetof(struct {name}, {field})"),
                at as u64,
            ));
            all.push((format!("sizeof{whole}"), size as u64));
        }
    }
    all
}

/// The C program whose section holds the numbers.
fn program(expected: &[Expected]) -> String {
    let mut text = "#include <linux/checkpoint.h>\n".to_owned();
    let _ = writeln!(
        text,
        "const unsigned long long numbers[] __attribute__((section(\"{SECTION}\"))) = {{"
    );
    for (expression, _) in expected {
        let _ = writeln!(text, "\t(unsigned long long)({expression}),");
    }
    text + "};\n"
}

/// The numbers, as this architecture's compiler has them.
fn numbers(arch: Arch, source: &Path, dir: &Path) -> Vec<u64> {
    let cc = arch.row().guest_cc;
    let object = dir.join(format!("{arch}.o"));
    let output = Command::new(cc)
        .args(["-x", "c", "-std=gnu11", "-Werror", "-c"])
        .arg("-I")
        .arg(repo().join("kernels/checkpoint/include/uapi"))
        .arg(source)
        .arg("-o")
        .arg(&object)
        .output()
        .unwrap_or_else(|error| {
            let packages = arch.row().guest_packages.join(" ");
            panic!("cannot run {cc}, the compiler for {arch}: {error}; install {packages}: cargo xtask setup")
        });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{cc} is not content with the header:\n{said}"
    );
    let bytes = std::fs::read(&object).unwrap();
    let elf = Elf::parse(&bytes).unwrap();
    assert_eq!(
        elf.header.e_machine,
        arch.row().elf.machine,
        "{cc} compiles for {arch}"
    );
    let section = elf
        .section_headers
        .iter()
        .find(|header| elf.shdr_strtab.get_at(header.sh_name) == Some(SECTION))
        .unwrap();
    let words = bytes[section.file_range().unwrap()].chunks_exact(8);
    let number = |word: &[u8]| {
        let word = word.try_into().unwrap();
        match arch.row().byte_order {
            ByteOrder::Little => u64::from_le_bytes(word),
            ByteOrder::Big => u64::from_be_bytes(word),
        }
    };
    words.map(number).collect()
}

#[test]
fn the_c_header_has_the_same_layout_on_every_architecture() {
    let document = Document::read(&repo().join("docs/image-format.md"));
    let expected = [layouts(), document.types(), document.constants.clone()].concat();
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("layout.c");
    std::fs::write(&source, program(&expected)).unwrap();
    for arch in Arch::ALL {
        let found = numbers(arch, &source, scratch.path());
        assert_eq!(found.len(), expected.len(), "{arch}");
        for ((expression, expected), found) in expected.iter().zip(found) {
            assert_eq!(found, *expected, "{expression} on {arch}");
        }
    }
}

#[test]
fn the_document_has_the_fields_of_the_decoder() {
    let document = Document::read(&repo().join("docs/image-format.md"));
    let mut layouts = 0;
    for layout in LAYOUTS {
        let layout = layout();
        if layout.name == "limits" {
            continue;
        }
        layouts += 1;
        let part = document.part(layout.name);
        assert_eq!(part.size, layout.size, "size of {}", layout.name);
        let rows: Vec<_> = part
            .rows
            .iter()
            .filter(|row| row.name != "h")
            .filter_map(|row| Some((row.name.as_str(), row.at, row.size?)))
            .collect();
        assert_eq!(rows, layout.fields, "{}", layout.name);
        for row in &part.rows {
            assert!(
                !row.meaning.is_empty(),
                "{}.{} has no meaning",
                layout.name,
                row.name
            );
        }
    }
    assert_eq!(
        document.parts.len(),
        layouts,
        "each part of the document is a struct"
    );
    let numbers: Vec<_> = document.records.iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers, (1..=48).collect::<Vec<u32>>());
    for (name, number) in &document.records {
        assert_eq!(record_type_name(*number), Some(name.as_str()));
    }
    assert_eq!(record_type_name(49), None);
}

#[test]
fn the_document_has_all_constants_of_the_header() {
    let header = repo().join("kernels/checkpoint/include/uapi/linux/checkpoint.h");
    let text = std::fs::read_to_string(header).unwrap();
    let name = |line: &str| {
        let line = line.trim();
        let name = match line.strip_prefix("#define ") {
            Some(rest) => rest.split_whitespace().next()?,
            None => line.split_once('=').map(|(name, _)| name.trim())?,
        };
        let constant = name.starts_with("CKPT_")
            || name.starts_with("CHECKPOINT_")
            || name.starts_with("RESTART_");
        (constant && !name.starts_with("CKPT_REC_") && name != "CKPT_MAGIC")
            .then(|| name.to_owned())
    };
    let mut theirs: Vec<String> = text.lines().filter_map(name).collect();
    let document = Document::read(&repo().join("docs/image-format.md"));
    let mut ours: Vec<String> = document
        .constants
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    theirs.sort();
    ours.sort();
    assert_eq!(ours, theirs);
}
