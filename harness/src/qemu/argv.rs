//! Argument lists of QEMU: pure functions, each for one concern, with a reason beside each argument.

use std::os::fd::RawFd;
use std::path::Path;

use crossthaw_protocol::PORT_NAME;

use super::accel::Accel;
use super::spec::GuestSpec;
use crate::arch::Row;

/// Where a guest's memory is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Memory<'a> {
    /// Nobody else's, gone with the guest.
    Own,
    /// A file that what the guest writes goes to.
    Template(&'a Path),
    /// The same file, of which the guest has a private view.
    Clone(&'a Path),
    /// Shared with the process that serves a folder.
    Served,
}

/// Where the console goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Console<'a> {
    /// To a file, from its beginning.
    File(&'a Path),
    /// Both ways over an inherited socket.
    Socket(RawFd),
    /// The same, and what it says to a file, from its beginning.
    Logged(RawFd, &'a Path),
}

/// What PID 1 of the guest does (`guests/init/src/cmdline.rs`).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// Serves the harness.
    Agent,
    /// Gives a prompt on the console.
    Shell,
}

/// A folder of the host, for guests that are never saved: neither device can be migrated while it is mounted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Share<'a> {
    /// virtiofsd at the other end of an inherited socket. It does not swap bytes: guests of its own byte order only.
    Virtiofs(RawFd),
    /// QEMU's own 9p server, for any byte order.
    Plan9(&'a Path),
}

/// Words of an argument list.
type Argv = Vec<String>;

fn words<const N: usize>(words: [&str; N]) -> Argv {
    words.map(str::to_owned).to_vec()
}

/// A path inside an option with several values: a comma is doubled.
fn value(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// No device, window or configuration that is not named here.
pub(crate) fn bare() -> Argv {
    let mut argv = words(["-nodefaults", "-no-user-config"]);
    argv.extend(words(["-display", "none"]));
    // With `panic=-1`: a guest that panics ends its QEMU, and that is seen at once.
    argv.push("-no-reboot".to_owned());
    argv
}

/// The machine, its processors and its memory.
pub(crate) fn machine(spec: &GuestSpec, memory: Memory<'_>) -> Argv {
    let row = spec.row();
    // The machine takes its memory from the object below.
    let mut argv = words(["-M", &format!("{},memory-backend=ram", row.machine)]);
    let (accel, cpu) = match spec.accel {
        // Each processor is a thread of its own where guest and host allow it: QEMU's default.
        Accel::Tcg => ("tcg", row.cpu),
        // KVM cannot emulate another model than the host's.
        Accel::Kvm => ("kvm", Some("host")),
    };
    argv.extend(words(["-accel", accel]));
    if let Some(cpu) = cpu {
        argv.extend(words(["-cpu", cpu]));
    }
    argv.extend(words(["-smp", &spec.cpus.to_string()]));
    let size = format!("{}M", spec.memory_mib);
    argv.extend(words(["-m", &size]));
    let backend = match memory {
        Memory::Own => format!("memory-backend-ram,id=ram,size={size}"),
        // `share=on`: what the guest writes is in the file, which migration need not copy (`x-ignore-shared`).
        Memory::Template(file) => format!(
            "memory-backend-file,id=ram,size={size},share=on,mem-path={}",
            value(file)
        ),
        // `share=off`: a private mapping; nothing ever reaches the file. Before 8.2 QEMU opens it for writing all the same,
        // so the file's mode must allow that.
        Memory::Clone(file) => format!(
            "memory-backend-file,id=ram,size={size},share=off,mem-path={}",
            value(file)
        ),
        // vhost-user hands the memory to the other process as a descriptor.
        Memory::Served => format!("memory-backend-memfd,id=ram,size={size},share=on"),
    };
    argv.extend(words(["-object", &backend]));
    argv
}

/// The clock that the kernel reads once, at boot.
///
/// Every boot begins at the same moment, so that nothing a guest sees depends on the day. What runs afterwards is the guest's own time:
/// it stands still while a template lies in the store, and goes on in its clones where the template stopped.
pub(crate) fn clock() -> Argv {
    words(["-rtc", "base=2026-01-01T00:00:00,clock=vm"])
}

/// The kernel, its first file system and its arguments.
pub(crate) fn linux(spec: &GuestSpec, mode: Mode, share: Option<Share<'_>>) -> Argv {
    let row = spec.row();
    let mut append = vec![
        // Where the kernel says what it has to say.
        format!("console={}", row.console),
        // A panic reboots at once, which `-no-reboot` turns into the end of QEMU.
        "panic=-1".to_owned(),
    ];
    match mode {
        Mode::Agent => append.extend(words([
            // The agent's marks cut the console into trials; the default drops lines of user space beyond ten in 5 s.
            "printk.devkmsg=on",
            "crossthaw.mode=agent",
        ])),
        Mode::Shell => append.extend(words([
            // The prompt shares the console: warnings and worse only.
            "loglevel=5",
            "crossthaw.mode=shell",
        ])),
    }
    match share {
        Some(Share::Virtiofs(_)) => append.push("crossthaw.share=virtiofs".to_owned()),
        Some(Share::Plan9(_)) => append.push("crossthaw.share=9p".to_owned()),
        None => {}
    }
    append.extend(row.kernel_args.iter().map(|&word| word.to_owned()));
    append.extend(spec.extra.iter().cloned());
    let kernel = spec.kernel.display().to_string();
    let initramfs = spec.initramfs.display().to_string();
    words([
        "-kernel",
        &kernel,
        "-initrd",
        &initramfs,
        "-append",
        &append.join(" "),
    ])
}

/// The machine's console, which `-serial` is on each of them: 8250, SCLP, or the hypervisor's.
pub(crate) fn console(console: Console<'_>) -> Argv {
    let backend = match console {
        Console::File(path) => format!("file,id=console,path={}", value(path)),
        Console::Socket(fd) => format!("socket,id=console,fd={fd}"),
        Console::Logged(fd, path) => {
            format!("socket,id=console,fd={fd},logfile={}", value(path))
        }
    };
    words(["-chardev", &backend, "-serial", "chardev:console"])
}

/// The agent's port, over an inherited socket: no file to clash with another run's or to be left behind.
///
/// It is the only device. There is no virtio-rng: the kernel says `crng init done` before it starts init, by an instruction of the
/// processor or by its own jitter, and a device that feeds it on would tell the clones of one template apart.
pub(crate) fn agent_port(row: &Row, fd: RawFd) -> Argv {
    words([
        "-device",
        &format!("virtio-serial-{}", row.virtio_bus),
        "-chardev",
        &format!("socket,id=agent,fd={fd}"),
        "-device",
        // The guest finds it by this name.
        &format!("virtserialport,chardev=agent,name={PORT_NAME}"),
    ])
}

/// The monitor, over an inherited socket.
pub(crate) fn monitor(fd: RawFd) -> Argv {
    words([
        "-chardev",
        &format!("socket,id=monitor,fd={fd}"),
        "-mon",
        "chardev=monitor,mode=control",
    ])
}

/// Wait for the state of a template. Not named here: capabilities are to be set before it is read.
pub(crate) fn incoming() -> Argv {
    words(["-incoming", "defer"])
}

/// Wait, with processors stopped, for a debugger on this socket, which is made.
pub(crate) fn debugger(socket: &Path) -> Argv {
    let address = format!("unix:{},server=on,wait=off", value(socket));
    words(["-S", "-gdb", &address])
}

/// A folder of the host; the guest knows it by the tag `share`.
pub(crate) fn share(row: &Row, share: Share<'_>) -> Argv {
    match share {
        Share::Virtiofs(fd) => words([
            "-chardev",
            &format!("socket,id=share,fd={fd}"),
            "-device",
            &format!("vhost-user-fs-{},chardev=share,tag=share", row.virtio_bus),
        ]),
        Share::Plan9(dir) => words([
            "-fsdev",
            // Files are ours, whoever the guest says makes them: that needs no root and leaves no attributes behind.
            &format!(
                "local,id=share,path={},security_model=none,multidevs=remap",
                value(dir)
            ),
            "-device",
            &format!("virtio-9p-{},fsdev=share,mount_tag=share", row.virtio_bus),
        ]),
    }
}

/// Descriptors of QEMU's ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    /// The agent's port.
    pub(crate) agent: RawFd,
    /// The monitor.
    pub(crate) monitor: RawFd,
}

/// A guest whose agent serves the harness.
pub(crate) fn agent_guest(
    spec: &GuestSpec,
    memory: Memory<'_>,
    log: Console<'_>,
    ends: Ends,
) -> Vec<String> {
    let mut argv = vec![spec.qemu.display().to_string()];
    argv.extend(bare());
    argv.extend(machine(spec, memory));
    argv.extend(clock());
    argv.extend(linux(spec, Mode::Agent, None));
    argv.extend(console(log));
    argv.extend(agent_port(spec.row(), ends.agent));
    argv.extend(monitor(ends.monitor));
    if matches!(memory, Memory::Clone(_)) {
        argv.extend(incoming());
    }
    argv
}

/// A guest with a prompt on its console, and perhaps a folder of the host.
pub(crate) fn shell_guest(
    spec: &GuestSpec,
    terminal: RawFd,
    folder: Option<Share<'_>>,
) -> Vec<String> {
    let memory = match folder {
        Some(Share::Virtiofs(_)) => Memory::Served,
        Some(Share::Plan9(_)) | None => Memory::Own,
    };
    let mut argv = vec![spec.qemu.display().to_string()];
    argv.extend(bare());
    argv.extend(machine(spec, memory));
    argv.extend(linux(spec, Mode::Shell, folder));
    argv.extend(console(Console::Socket(terminal)));
    if let Some(folder) = folder {
        argv.extend(share(spec.row(), folder));
    }
    argv
}

/// What a template's key depends on: the argument list of its boot, without the places where files and sockets happen to be.
pub(crate) fn identity(spec: &GuestSpec) -> String {
    let nowhere = GuestSpec {
        qemu: spec.row().qemu.into(),
        kernel: "kernel".into(),
        initramfs: "initramfs".into(),
        ..spec.clone()
    };
    let ends = Ends {
        agent: 3,
        monitor: 4,
    };
    agent_guest(
        &nowhere,
        Memory::Template(Path::new("ram")),
        Console::File(Path::new("console")),
        ends,
    )
    .join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::spec::tests::spec;
    use super::*;
    use crate::arch::Arch;

    /// One argument and its value a line.
    fn lines(argv: &[String]) -> String {
        let (program, rest) = argv.split_first().unwrap();
        let word = |word: &String| match word.strip_prefix('-') {
            Some(_) => format!("\n{word}"),
            None => format!(" {word}"),
        };
        program.clone() + &rest.iter().map(word).collect::<String>()
    }

    const ENDS: Ends = Ends {
        agent: 10,
        monitor: 11,
    };

    #[test]
    fn a_template_boots_and_a_clone_starts_from_it() {
        let ram = Path::new("/t/ram");
        let log = Console::File(Path::new("/run/a,b/console"));
        for arch in Arch::ALL {
            let spec = spec(arch);
            let boot = agent_guest(&spec, Memory::Template(ram), log, ENDS);
            insta::assert_snapshot!(format!("template@{arch}"), lines(&boot));
            let clone = agent_guest(&spec, Memory::Clone(ram), log, ENDS);
            insta::assert_snapshot!(format!("clone@{arch}"), lines(&clone));
        }
    }

    #[test]
    fn a_shell_has_its_console_on_a_socket_and_a_folder() {
        for arch in Arch::ALL {
            let spec = spec(arch);
            let argv = shell_guest(&spec, 10, Some(Share::Plan9(Path::new("/a,b"))));
            insta::assert_snapshot!(format!("shell-9p@{arch}"), lines(&argv));
        }
        let argv = shell_guest(&spec(Arch::X86_64), 10, Some(Share::Virtiofs(11)));
        insta::assert_snapshot!("shell-virtiofs@x86_64", lines(&argv));
    }

    #[test]
    fn a_person_can_talk_to_a_console_that_is_kept_and_stop_a_guest() {
        let argv = console(Console::Logged(12, Path::new("/a,b/console"))).join(" ");
        let expected =
            "-chardev socket,id=console,fd=12,logfile=/a,,b/console -serial chardev:console";
        assert_eq!(argv, expected);
        let argv = debugger(Path::new("/tmp/gdb")).join(" ");
        assert_eq!(argv, "-S -gdb unix:/tmp/gdb,server=on,wait=off");
    }

    #[test]
    fn kvm_takes_the_hosts_processor() {
        let spec = GuestSpec {
            accel: Accel::Kvm,
            ..spec(Arch::X86_64)
        };
        let argv = machine(&spec, Memory::Own).join(" ");
        assert!(argv.contains("-accel kvm -cpu host"), "{argv}");
    }

    #[test]
    fn a_templates_identity_has_no_places_in_it() {
        let here = spec(Arch::S390x);
        let there = GuestSpec {
            kernel: "/elsewhere/bzImage".into(),
            qemu: "/opt/qemu-system-s390x".into(),
            ..here.clone()
        };
        let other = GuestSpec {
            extra: vec!["nosmp".to_owned()],
            ..here.clone()
        };
        assert_eq!(identity(&here), identity(&there));
        assert_ne!(identity(&here), identity(&other));
    }
}
