//! Guests that boot, are saved, cloned, die and hang: all with a fake QEMU, through the library's own doors.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossthaw_harness::arch::Arch;
use crossthaw_harness::process::Cancel;
use crossthaw_harness::qemu::{
    Accel, CPUS, End, GuestError, GuestSpec, Input, Shell, Template, accel, boot, qemu_version,
};
use crossthaw_harness::store::{KeyBuilder, Store};
use crossthaw_protocol::{Reply, Request};

const SOON: Duration = Duration::from_secs(20);

/// A store, a guest and a run of its own.
struct Room {
    scratch: tempfile::TempDir,
    store: Store,
    cancel: Cancel,
    spec: GuestSpec,
}

impl Room {
    /// A guest that misbehaves like this; the empty word for one that does not.
    fn new(fake: &str) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let cancel = Cancel::new().unwrap();
        let store = Store::open(scratch.path()).unwrap().cancelled_by(&cancel);
        let qemu = PathBuf::from(env!("CARGO_BIN_EXE_fake-qemu"));
        let spec = GuestSpec {
            arch: Arch::X86_64,
            kernel: "kernel".into(),
            initramfs: "initramfs".into(),
            kernel_key: KeyBuilder::new("kernel").finish(),
            guest_key: KeyBuilder::new("guest").finish(),
            memory_mib: 1,
            cpus: CPUS,
            accel: Accel::Tcg,
            qemu_version: qemu_version(&qemu).unwrap(),
            qemu,
            extra: vec![format!("fake={fake}")],
            boot_time: SOON,
        };
        Self {
            scratch,
            store,
            cancel,
            spec,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn template(&self) -> Result<Template, GuestError> {
        Template::get(&self.store, &self.spec, &self.cancel)
    }

    fn failure(&self) -> GuestError {
        let failure = self.template().unwrap_err();
        // Nothing is published, nothing is left, nothing lives.
        let left = |name: &str| {
            fs::read_dir(self.path(name)).map_or(0, |entries| entries.flatten().count())
        };
        assert_eq!((left("scratch"), left("artifacts/template")), (0, 0));
        assert!(self.cancel.live().is_empty());
        failure
    }
}

fn alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_template_is_made_once_and_its_clones_answer() {
    let room = Room::new("");
    let template = room.template().unwrap();
    assert!(template.built());
    let console = fs::read_to_string(template.boot_console()).unwrap();
    assert_eq!(console, "Linux version 6.12.0-fake\r\n");
    assert!(!room.template().unwrap().built());
    for n in 0..3 {
        let log = room.path(&format!("console-{n}"));
        let mut agent = template.start(&log, &room.cancel).unwrap();
        let taint = agent.request(&Request::Taint, SOON).unwrap();
        assert_eq!(taint, Reply::Taint { mask: 0 });
        assert_eq!(fs::read_to_string(log).unwrap(), "clone\r\n");
    }
    assert!(room.cancel.live().is_empty());
}

#[test]
fn what_a_template_is_made_of_is_in_its_key() {
    let room = Room::new("");
    room.template().unwrap();
    let changes: [&dyn Fn(&mut GuestSpec); 5] = [
        &|spec| spec.memory_mib = 2,
        &|spec| spec.kernel_key = KeyBuilder::new("other").finish(),
        &|spec| spec.guest_key = KeyBuilder::new("other").finish(),
        &|spec| "QEMU 99".clone_into(&mut spec.qemu_version),
        &|spec| spec.extra.push("nosmp".to_owned()),
    ];
    for (n, change) in changes.iter().enumerate() {
        let mut spec = room.spec.clone();
        change(&mut spec);
        let template = Template::get(&room.store, &spec, &room.cancel).unwrap();
        assert!(template.built(), "change {n}");
    }
    let mut moved = room.spec.clone();
    moved.kernel = "elsewhere/kernel".into();
    assert!(
        !Template::get(&room.store, &moved, &room.cancel)
            .unwrap()
            .built()
    );
}

#[test]
fn a_guest_that_never_boots_is_late_and_leaves_its_console() {
    let mut room = Room::new("never-boots");
    room.spec.boot_time = Duration::from_millis(200);
    let error = room.failure();
    let GuestError::TimedOut { phase, console, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*phase, "boot");
    assert_eq!(console.lines, ["Linux version 6.12.0-fake"]);
    let kept = fs::read_to_string(&console.path).unwrap();
    assert_eq!(kept, "Linux version 6.12.0-fake\r\n");
}

#[test]
fn a_guest_that_panics_is_dead_at_once() {
    let room = Room::new("panics");
    let start = Instant::now();
    let error = room.failure();
    assert!(start.elapsed() < SOON);
    let GuestError::Died { phase, console, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*phase, "boot");
    let last = console.lines.last().map(String::as_str);
    assert_eq!(last, Some("Kernel panic - not syncing: fake"));
}

#[test]
fn a_kernel_that_complains_while_it_boots_is_no_template() {
    let error = Room::new("tainted").failure();
    assert!(
        matches!(error, GuestError::Agent { phase: "boot", .. }),
        "{error}"
    );
    assert!(error.to_string().contains("Taint { mask: 512 }"), "{error}");
}

#[test]
fn a_full_disk_is_told_apart() {
    for fake in ["disk-full", "cannot-save"] {
        let error = Room::new(fake).failure();
        assert!(matches!(error, GuestError::DiskFull { .. }), "{error}");
    }
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let mut room = Room::new("");
    room.spec.qemu = "/no/qemu-system-fake".into();
    let error = room.failure().to_string();
    assert!(
        error.starts_with("cannot start /no/qemu-system-fake -nodefaults"),
        "{error}"
    );
}

#[test]
fn a_guest_that_is_killed_in_the_middle_is_dead() {
    let room = Room::new("");
    let template = room.template().unwrap();
    let mut agent = template.start(&room.path("console"), &room.cancel).unwrap();
    agent.process().kill();
    let error = agent.request(&Request::Probe, SOON).unwrap_err();
    assert!(
        matches!(error, GuestError::Died { phase: "probe", .. }),
        "{error}"
    );
}

#[test]
fn a_damaged_template_is_made_anew() {
    for file in ["ram", "state"] {
        let room = Room::new("");
        let dir = room.template().unwrap().boot_console();
        let path = dir.with_file_name(file);
        let size = path.metadata().unwrap().len();
        fs::write(&path, vec![7; usize::try_from(size).unwrap()]).unwrap();
        let template = room.template().unwrap();
        assert!(template.built(), "{file}");
        template.start(&room.path("console"), &room.cancel).unwrap();
    }
}

#[test]
fn damage_behind_our_back_is_the_clones_failure() {
    let room = Room::new("");
    let template = room.template().unwrap();
    fs::write(template.boot_console().with_file_name("state"), "other").unwrap();
    let error = template
        .start(&room.path("console"), &room.cancel)
        .unwrap_err();
    assert!(
        matches!(error, GuestError::Died { phase: "clone", .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("load of migration failed"),
        "{error}"
    );
}

#[test]
fn two_that_want_the_same_template_boot_one_guest() {
    let room = Room::new("slow-boot");
    let built: Vec<_> = std::thread::scope(|scope| {
        let get = || scope.spawn(|| room.template().unwrap().built());
        let threads = [get(), get(), get()];
        threads.map(|thread| thread.join().unwrap()).to_vec()
    });
    assert_eq!(built.iter().filter(|&&built| built).count(), 1);
}

#[test]
fn cancelling_ends_boots_and_clones_and_kills_them() {
    let room = Room::new("never-boots");
    let other = room.cancel.clone();
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while other.live().is_empty() {
                std::thread::sleep(Duration::from_millis(5));
            }
            other.cancel();
        });
        assert!(matches!(room.failure(), GuestError::Cancelled));
    });
    assert!(start.elapsed() < SOON);
}

#[test]
fn no_guest_outlives_its_value() {
    let room = Room::new("");
    let mut agent = boot(&room.spec, &room.path("console"), &room.cancel).unwrap();
    let pid = agent.process().id();
    assert!(alive(pid));
    drop(agent);
    assert!(!alive(pid));
}

#[test]
fn a_shell_carries_out_commands_and_says_how_it_ended() {
    let check = |commands: &str, wanted: &str, over: bool| {
        let room = Room::new("");
        let (input, mut writer) = std::io::pipe().unwrap();
        writer.write_all(commands.as_bytes()).unwrap();
        drop(writer);
        let mut shell = Shell::start(&room.spec, None, &[], &room.cancel).unwrap();
        let mut output = Vec::new();
        let end = shell
            .talk(input.as_fd(), &mut output, Input::Commands)
            .unwrap();
        assert_eq!(String::from_utf8(output).unwrap(), wanted);
        assert_eq!(end == End::Over, over, "{end:?}");
        drop(shell);
        assert!(room.cancel.live().is_empty());
    };
    let start = "Linux version 6.12.0-fake\r\n/ # ";
    check("", start, true);
    check(
        "ls\nps",
        &format!("{start}ls\r\ndid ls\r\n/ # ps\r\ndid ps\r\n/ # "),
        true,
    );
    check("crash\n", start, false);
}

#[test]
fn the_ram_file_is_sparse_and_clones_leave_it_alone() {
    let room = Room::new("");
    let template = room.template().unwrap();
    let ram = template.boot_console().with_file_name("ram");
    let before = ram.metadata().unwrap();
    assert!(before.blocks() * 512 < before.len() / 2);
    template.start(&room.path("console"), &room.cancel).unwrap();
    let after = ram.metadata().unwrap();
    assert_eq!(
        (before.mtime_nsec(), before.ctime_nsec()),
        (after.mtime_nsec(), after.ctime_nsec())
    );
}

#[test]
fn kvm_counts_only_if_a_guest_answers_under_it() {
    let check = |fake: &str, wanted: Accel, remembered: bool| {
        let mut room = Room::new(fake);
        room.spec.boot_time = Duration::from_millis(400);
        let console = room.path("console");
        if accel::known(&room.store, room.spec.arch, &room.spec.qemu_version).is_some() {
            // This host has no KVM for it: nothing to find out.
            return;
        }
        let choice = accel::choose(&room.store, &room.spec, &console, &room.cancel).unwrap();
        assert_eq!(choice.accel, wanted, "{fake}: {}", choice.reason);
        let known = accel::known(&room.store, room.spec.arch, &room.spec.qemu_version);
        assert_eq!(known, remembered.then_some(choice), "{fake}");
    };
    check("", Accel::Kvm, true);
    check("no-kvm", Accel::Tcg, true);
    // A kernel that boots with neither says nothing about the host.
    check("never-boots", Accel::Tcg, false);
}
