//! Images for tests: every record once, in any architecture's clothes.

use xxhash_rust::xxh64::xxh64;

use crate::fixed::{ByteOrder, Fixed, Text};
use crate::reader::{Image, Reader};
use crate::records::{
    Actions, Arch, Cpu, CredHead, ErrorHead, Fd, FileHead, FilesHead, FsHead, Header, MmEnd,
    MmHead, PagesHead, RegsetHead, RestartBlock, Rlimit, Rlimits, Sigaction, Sighand, Signals,
    Task, TaskEnd, TaskObjs, Trailer, TreeHead, TreeTask, Vma,
};
use crate::{ImageError, Record};

/// Collects records.
pub(crate) struct Writer {
    order: ByteOrder,
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn record(&mut self, number: u32, fixed: &impl Fixed, rest: &[u8]) {
        let mut payload = Vec::new();
        fixed.encode(self.order, &mut payload);
        payload.extend(rest);
        payload.resize(payload.len().next_multiple_of(8), 0);
        number.encode(self.order, &mut self.bytes);
        u32::try_from(payload.len() + 8)
            .unwrap()
            .encode(self.order, &mut self.bytes);
        self.bytes.extend(payload);
    }

    fn list<T: Fixed>(&self, list: &[T]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for value in list {
            value.encode(self.order, &mut bytes);
        }
        bytes
    }
}

fn header(arch: u32, word_size: u32) -> Header {
    let text = |text: &str| text.to_owned();
    Header {
        magic: *b"crthaw\r\n",
        byte_order: 0x0102_0304,
        version: 1,
        arch,
        word_size,
        page_size: 4096,
        flags: 1,
        id: 3,
        pad: 0,
        features: 0,
        time: 1_700_000_000_000_000_000,
        release: Text(text("6.12.117")),
        build: Text(text("#1 SMP")),
        machine: Text(text("m")),
    }
}

/// The head of an image.
pub(crate) fn begin(arch: Arch) -> Writer {
    let (number, word_size, order) = match arch {
        Arch::X86_32 => (1, 4, ByteOrder::Little),
        Arch::X86_64 => (2, 8, ByteOrder::Little),
        Arch::S390x => (3, 8, ByteOrder::Big),
        Arch::Ppc64 => (4, 8, ByteOrder::Big),
    };
    let mut to = Writer {
        order,
        bytes: Vec::new(),
    };
    to.record(1, &header(number, word_size), &[]);
    let task = TreeTask {
        pid: 1,
        tgid: 1,
        ppid: 0,
        pgid: 1,
        sid: 1,
        exit_signal: 17,
    };
    let tasks = to.list(&[
        task,
        TreeTask {
            pid: 2,
            tgid: 2,
            ppid: 1,
            ..task
        },
    ]);
    to.record(
        2,
        &TreeHead {
            nr_tasks: 2,
            pad: 0,
        },
        &tasks,
    );
    to
}

fn objects(to: &mut Writer) {
    let file = FileHead {
        objref: 1,
        kind: 1,
        flags: 0o100_002,
        rdev_major: 0,
        rdev_minor: 0,
        cred: 2,
        mode: 0o100_644,
        path_len: 5,
        pos: 7,
        size: 9,
    };
    to.record(11, &file, b"/a/b\0");
    let fds = to.list(&[
        Fd {
            fd: 0,
            file: 1,
            flags: 0,
            pad: 0,
        },
        Fd {
            fd: 9,
            file: 1,
            flags: 1,
            pad: 0,
        },
    ]);
    to.record(
        12,
        &FilesHead {
            objref: 3,
            nr_fds: 2,
        },
        &fds,
    );
    to.record(
        13,
        &FsHead {
            objref: 4,
            umask: 0o22,
            root_len: 2,
            cwd_len: 10,
        },
        b"/\0/scenario\0",
    );
    let none = Sigaction {
        handler: 0,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
    let mut action = [none; 64];
    action[9] = Sigaction {
        handler: 0x40_0000,
        flags: 4,
        restorer: 0x40_1000,
        mask: 1 << 11,
    };
    to.record(
        14,
        &Sighand {
            objref: 5,
            pad: 0,
            action: Actions(action),
        },
        &[],
    );
    memory(to);
}

/// Credentials and an address space.
fn memory(to: &mut Writer) {
    let cred = CredHead {
        objref: 2,
        securebits: 0,
        uid: 0,
        euid: 0,
        suid: 0,
        fsuid: 0,
        gid: 0,
        egid: 0,
        sgid: 0,
        fsgid: 0,
        cap_inheritable: 0,
        cap_permitted: 7,
        cap_effective: 7,
        cap_bset: 7,
        cap_ambient: 0,
        nr_groups: 2,
        pad: 0,
    };
    let groups = to.list(&[4u32, 20]);
    to.record(15, &cred, &groups);
    let mm = MmHead {
        objref: 6,
        exe: 1,
        start_code: 1,
        end_code: 2,
        start_data: 3,
        end_data: 4,
        start_brk: 5,
        brk: 6,
        start_stack: 7,
        arg_start: 8,
        arg_end: 9,
        env_start: 10,
        env_end: 11,
        mmap_base: 12,
        vdso_start: 13,
        vdso_len: 14,
        vdso_hash: 15,
        nr_vmas: 1,
        dumpable: 1,
        nr_auxv: 4,
        pad: 0,
    };
    let auxv = to.list(&[6u64, 4096, 0, 0]);
    to.record(16, &mm, &auxv);
    to.record(
        17,
        &Vma {
            kind: 1,
            flags: 0x3b,
            start: 0x1000,
            end: 0x3000,
            pgoff: 0,
            file: 0,
            pad: 0,
        },
        &[],
    );
    to.record(
        18,
        &PagesHead {
            start: 0x2000,
            nr_pages: 1,
            pad: 0,
        },
        &[0x5a; 64],
    );
    to.record(19, &MmEnd { objref: 6, pad: 0 }, &[]);
}

/// An image with every record but ERROR.
pub(crate) fn image(arch: Arch) -> Vec<u8> {
    let mut to = begin(arch);
    let task = Task {
        pid: 1,
        personality: 0,
        comm: Text("counter".to_owned()),
        set_child_tid: 0,
        clear_child_tid: 0x10,
        robust_list: 0x20,
        rseq: 0x30,
        robust_list_len: 24,
        rseq_len: 32,
        rseq_sig: 0x5305_3053,
        pad: 0,
    };
    to.record(3, &task, &[]);
    objects(&mut to);
    to.record(
        4,
        &TaskObjs {
            cred: 2,
            files: 3,
            fs: 4,
            sighand: 5,
            mm: 6,
            pad: 0,
        },
        &[],
    );
    to.record(
        6,
        &Rlimits {
            limits: [Rlimit {
                soft: 1024,
                hard: u64::MAX,
            }; 16],
        },
        &[],
    );
    to.record(
        7,
        &Signals {
            blocked: 1,
            saved_mask: 0,
            flags: 0,
            altstack_flags: 2,
            altstack_sp: 0,
            altstack_size: 0,
        },
        &[],
    );
    let block = RestartBlock {
        kind: 1,
        clock: 1,
        uaddr: 0x50,
        time_left: 5,
        arch_data: 0,
        flags: 1,
        r#type: 1,
        val: 0,
        bitset: 0,
        futex_flags: 0,
        pad: 0,
    };
    to.record(8, &block, &[]);
    to.record(
        9,
        &Cpu {
            syscall: -1,
            flags: 0,
            word: [0; 6],
        },
        &[],
    );
    to.record(
        10,
        &RegsetHead {
            note: 1,
            size: 17 * 4,
        },
        &[7; 17 * 4],
    );
    to.record(5, &TaskEnd { pid: 1, pad: 0 }, &[]);
    let trailer = Trailer {
        magic: *b"crthaw\r\n",
        bytes: to.bytes.len() as u64,
        checksum: xxh64(&to.bytes, 0),
    };
    to.record(21, &trailer, &[]);
    to.bytes
}

const ALL: [Arch; 4] = [Arch::X86_32, Arch::X86_64, Arch::S390x, Arch::Ppc64];

#[test]
fn images_of_all_architectures_decode_to_the_same_records() {
    let images: Vec<Image> = ALL
        .iter()
        .map(|&arch| Image::read(image(arch).as_slice()).unwrap())
        .collect();
    for (image, arch) in images.iter().zip(ALL) {
        assert_eq!(image.arch, arch);
        assert_eq!(image.header().release.0, "6.12.117");
        assert_eq!(
            image.records[1..]
                .iter()
                .map(|located| located.record.type_number())
                .collect::<Vec<_>>(),
            [
                2, 3, 11, 12, 13, 14, 15, 16, 17, 18, 19, 4, 6, 7, 8, 9, 10, 5, 21
            ]
        );
        // All but the header, which differs, and the trailer's checksum over it.
        let inner = |image: &Image| image.records[1..image.records.len() - 1].to_vec();
        assert_eq!(inner(image), inner(&images[0]));
    }
}

#[test]
fn text_and_json_name_what_is_there() {
    let image = Image::read(image(Arch::S390x).as_slice()).unwrap();
    let text = image.to_string();
    for part in [
        "version 1 s390x big-endian",
        "pid 2 tgid 2 ppid 1",
        "\"/a/b\"",
        "signal 10 handler 0x400000",
        "cwd \"/scenario\"",
        "nanosleep",
        "psw.mask=0x07070707",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let json = serde_json::to_value(&image).unwrap();
    assert_eq!(json["records"][1]["record"], "TREE");
    assert_eq!(json["records"][1]["tasks"][1]["pid"], 2);
    assert_eq!(json["arch"], "s390x");
}

#[test]
fn an_image_of_a_failed_checkpoint_ends_with_its_error() {
    let mut to = begin(Arch::Ppc64);
    to.record(
        20,
        &ErrorHead {
            error: 16,
            pid: 4,
            objref: 0,
            text_len: 8,
        },
        b"flocked\0",
    );
    let image = Image::read(to.bytes.as_slice()).unwrap();
    let Some(Record::Error(error)) = image.records.last().map(|located| &located.record) else {
        panic!("an ERROR record is expected")
    };
    assert_eq!((error.head.error, error.text.as_str()), (16, "flocked"));
}

#[test]
fn damage_is_found_wherever_it_is() {
    for arch in [Arch::X86_64, Arch::S390x] {
        let intact = image(arch);
        for at in 0..intact.len() {
            let mut bytes = intact.clone();
            bytes[at] ^= 1 << (at % 8);
            assert!(
                Image::read(bytes.as_slice()).is_err(),
                "a flipped bit in byte {at} goes unnoticed"
            );
        }
        for len in 0..intact.len() {
            assert!(
                Image::read(&intact[..len]).is_err(),
                "{len} of {} bytes are taken for all",
                intact.len()
            );
        }
        let mut longer = intact.clone();
        longer.push(0);
        assert!(matches!(
            Image::read(longer.as_slice()),
            Err(ImageError::Behind(_))
        ));
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Read as much as there is, and show it.
    fn show(bytes: &[u8]) {
        let mut reader = Reader::new(bytes);
        while let Some(item) = reader.next() {
            match (item, reader.arch(), reader.byte_order()) {
                (Ok(located), Some(arch), Some(order)) => {
                    assert!(!located.text(arch, order).is_empty());
                    serde_json::to_string(&located).unwrap();
                }
                (Ok(_), ..) => panic!("a record came before the header"),
                (Err(error), ..) => assert!(!error.to_string().is_empty()),
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            show(&bytes);
        }

        #[test]
        fn no_damaged_image_panics(arch in proptest::sample::select(ALL.to_vec()), damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut in any::<prop::sample::Index>()) {
            let mut bytes = image(arch);
            for (at, value) in damage {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            show(&bytes);
            show(&bytes[..cut.index(bytes.len())]);
        }

        #[test]
        fn no_payload_panics(number in 0u32..24, payload in proptest::collection::vec(any::<u8>(), 0..3000)) {
            for arch in [Arch::X86_32, Arch::Ppc64] {
                let mut to = begin(arch);
                to.record(number, &[0u8; 0], &payload);
                show(&to.bytes);
            }
        }
    }
}
