//! Stands for QEMU in host tests: speaks QMP and the agent's protocol, saves and loads, and fails on request.
//!
//! A word `fake=WHAT` among the kernel's arguments says how it misbehaves:
//! - `never-boots`: a line on the console, then silence
//! - `no-console`: silence
//! - `panics`: a kernel's last words, and the end
//! - `tainted`: boots, and complains on the way
//! - `disk-full`: the end by SIGBUS, as a write to a mapping without room behind it ends
//! - `cannot-save`: the device state does not fit
//! - `clone-hangs`: clones never answer
//! - `slow-boot`: a third of a second until the agent is there
//! - `no-kvm`: under KVM like `no-console`

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::{BorrowedFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, exit};
use std::time::Duration;

use crossthaw_protocol::{Reply, Request, VERSION, frame};
use serde_json::{Value, json};

/// What the RAM file begins with once a guest has booted; a clone looks for it.
const BOOTED: &[u8] = b"booted";
/// The device state.
const STATE: &[u8] = b"state of a fake";

/// The arguments that matter here.
struct Arguments {
    argv: Vec<String>,
}

impl Arguments {
    /// The value of an option, such as `-append`.
    fn value(&self, option: &str) -> &str {
        let at = self.argv.iter().position(|word| word == option);
        at.and_then(|at| self.argv.get(at + 1))
            .map_or("", String::as_str)
    }

    /// A property of the option whose value has this `id`, such as the `fd` of `socket,id=agent,fd=7`.
    fn property(&self, id: &str, name: &str) -> Option<&str> {
        let id = format!("id={id}");
        let option = self
            .argv
            .iter()
            .find(|word| word.split(',').any(|part| part == id))?;
        let prefix = format!("{name}=");
        option
            .split(',')
            .find_map(|part| part.strip_prefix(prefix.as_str()))
    }

    fn fake(&self, what: &str) -> bool {
        let wanted = format!("fake={what}");
        self.value("-append").split(' ').any(|word| word == wanted)
    }
}

fn socket(arguments: &Arguments, id: &str) -> UnixStream {
    let number = arguments
        .property(id, "fd")
        .and_then(|fd| fd.parse().ok())
        .unwrap_or_else(|| fail(&format!("no descriptor for {id}")));
    // SAFETY: the descriptor was inherited for this purpose, and nothing else in this process owns it.
    unsafe { UnixStream::from_raw_fd(number) }
}

fn fail(why: &str) -> ! {
    eprintln!("fake-qemu: {why}");
    exit(1)
}

fn say(arguments: &Arguments, line: &str) {
    if let Some(path) = arguments.property("console", "path") {
        let mut console = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap_or_else(|error| fail(&format!("{path}: {error}")));
        let _ = writeln!(console, "{line}\r");
    }
}

fn hang() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}

/// What a guest does before its agent answers.
fn boot(arguments: &Arguments) {
    if arguments.fake("no-console")
        || (arguments.fake("no-kvm") && arguments.value("-accel") == "kvm")
    {
        hang();
    }
    say(arguments, "Linux version 6.12.0-fake");
    if arguments.fake("never-boots") {
        hang();
    }
    if arguments.fake("panics") {
        say(arguments, "Kernel panic - not syncing: fake");
        exit(0);
    }
    if arguments.fake("disk-full") {
        // The first one only takes away the handler that Rust's runtime has for stacks that overflow.
        let own = rustix::process::getpid();
        loop {
            let _ = rustix::process::kill_process(own, rustix::process::Signal::BUS);
        }
    }
    if arguments.fake("slow-boot") {
        std::thread::sleep(Duration::from_millis(300));
    }
    let Some(path) = arguments.property("ram", "mem-path") else {
        return;
    };
    let size = arguments.value("-m").trim_end_matches('M');
    let size = size.parse::<u64>().unwrap_or(1) << 20;
    let written = File::create(path)
        .and_then(|ram| ram.set_len(size).and_then(|()| ram.write_all_at(BOOTED, 0)));
    written.unwrap_or_else(|error| fail(&format!("{path}: {error}")));
}

/// What a clone does before it runs.
fn load(arguments: &Arguments, uri: &str) {
    let number = uri.strip_prefix("fd:").and_then(|fd| fd.parse().ok());
    let number = number.unwrap_or_else(|| fail(&format!("cannot load from {uri}")));
    // SAFETY: the descriptor was inherited for this purpose and stays open.
    let state = unsafe { BorrowedFd::borrow_raw(number) };
    let mut state = File::from(
        state
            .try_clone_to_owned()
            .unwrap_or_else(|error| fail(&error.to_string())),
    );
    let mut bytes = Vec::new();
    let _ = state.seek(SeekFrom::Start(0));
    let _ = state.read_to_end(&mut bytes);
    let ram = arguments.property("ram", "mem-path").unwrap_or_default();
    let mut start = vec![0; BOOTED.len()];
    let read = File::open(ram).and_then(|mut ram| ram.read_exact(&mut start));
    if bytes != STATE || read.is_err() || start != BOOTED {
        fail("load of migration failed: Invalid argument");
    }
}

/// The file in `exec:cat > FILE`.
fn save(arguments: &Arguments, uri: &str) -> Value {
    if arguments.fake("cannot-save") {
        eprintln!("cat: write error: No space left on device");
        return json!({ "status": "failed", "error-desc": "Unable to write to command: Broken pipe" });
    }
    let Some(command) = uri.strip_prefix("exec:") else {
        fail(&format!("cannot save to {uri}"))
    };
    let piped = Command::new("sh")
        .args(["-c", command])
        .stdin(std::process::Stdio::piped())
        .spawn();
    let saved = piped.and_then(|mut child| {
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(STATE)?;
        }
        child.wait()
    });
    match saved {
        Ok(status) if status.success() => json!({ "status": "completed" }),
        other => json!({ "status": "failed", "error-desc": format!("{other:?}") }),
    }
}

/// Serve the monitor. A clone waits here for its state; `loaded` is called when it has it.
fn monitor(arguments: &Arguments, loaded: &dyn Fn()) {
    let mut out = socket(arguments, "monitor");
    let Ok(input) = out.try_clone() else { return };
    let _ = writeln!(out, "{}", json!({ "QMP": { "capabilities": [] } }));
    let mut saved = json!({});
    for line in BufReader::new(input).lines().map_while(Result::ok) {
        let command: Value = serde_json::from_str(&line).unwrap_or_default();
        let uri = command["arguments"]["uri"].as_str().unwrap_or_default();
        let answer = match command["execute"].as_str().unwrap_or_default() {
            "migrate" => {
                saved = save(arguments, uri);
                json!({})
            }
            "query-migrate" => saved.clone(),
            "migrate-incoming" => {
                load(arguments, uri);
                loaded();
                json!({})
            }
            _ => json!({}),
        };
        if writeln!(out, "{}", json!({ "return": answer })).is_err() {
            return;
        }
    }
}

/// Serve the agent's port.
fn agent(arguments: &Arguments) {
    let mut port = socket(arguments, "agent");
    while let Ok((nonce, request)) = frame::receive::<Request>(&mut port) {
        let replies = match request {
            Request::Hello { .. } => vec![Reply::Hello {
                version: VERSION,
                machine: "fake".to_owned(),
                release: "6.12.0-fake".to_owned(),
                page_size: 4096,
            }],
            Request::PullFile { path } => vec![
                Reply::Chunk {
                    bytes: if path.starts_with("/sys/") {
                        b"fake\n".to_vec()
                    } else {
                        fs::read(path).unwrap_or_default()
                    },
                },
                Reply::Chunk { bytes: Vec::new() },
                Reply::Done,
            ],
            Request::Taint => vec![Reply::Taint {
                mask: if arguments.fake("tainted") { 512 } else { 0 },
            }],
            Request::Count { .. } => vec![Reply::Counts { counts: Vec::new() }],
            Request::NoteUnreferenced => vec![Reply::Noted { noted: false }],
            Request::Unreferenced => vec![Reply::Unreferenced { reports: None }],
            _ => vec![Reply::Done],
        };
        for reply in replies {
            if frame::send(&mut port, nonce, &reply).is_err() {
                return;
            }
        }
    }
}

/// Serve the console with a prompt; every command works but `crash`.
fn shell(arguments: &Arguments) {
    let mut console = socket(arguments, "console");
    let _ = write!(console, "Linux version 6.12.0-fake\r\n/ # ");
    let mut line = String::new();
    let Ok(input) = console.try_clone() else {
        return;
    };
    for byte in BufReader::new(input).bytes().map_while(Result::ok) {
        match byte {
            // Ctrl-D.
            4 => return,
            b'\n' if line == "crash" => fail("crashed"),
            b'\n' => {
                let _ = write!(console, "{line}\r\ndid {line}\r\n/ # ");
                line.clear();
            }
            other => line.push(char::from(other)),
        }
    }
}

fn main() {
    let arguments = Arguments {
        argv: std::env::args().collect(),
    };
    if arguments.argv.iter().any(|word| word == "--version") {
        println!("fake QEMU version 1");
        return;
    }
    if arguments.value("-append").contains("crossthaw.mode=shell") {
        return shell(&arguments);
    }
    let clone = arguments.argv.iter().any(|word| word == "-incoming");
    if clone {
        say(&arguments, "clone");
        std::thread::scope(|scope| {
            monitor(&arguments, &|| {
                if !arguments.fake("clone-hangs") {
                    scope.spawn(|| agent(&arguments));
                }
            });
            hang();
        });
    }
    std::thread::scope(|scope| {
        scope.spawn(|| monitor(&arguments, &|| ()));
        boot(&arguments);
        agent(&arguments);
        hang();
    });
}
