//! `doctor`: what this machine has and lacks for each architecture, and the remedy.

use std::io::{self, Write as _};
use std::process::ExitCode;

use crossthaw_harness::arch::Arch;
use crossthaw_harness::guest::toolchain::Compilers;
use crossthaw_harness::host::{Host, Requirement, Sign, Weight, disk_free, version};
use crossthaw_harness::qemu::{Accel, accel, qemu_version};
use crossthaw_harness::store::Store;

use crate::context::Context;
use crate::exit::{INFRA, OK};
use crate::setup::{everything, host};

/// Free space below which a first run of all architectures may not end: kernel trees, objects, runs.
const DISK_WANTED: u64 = 15 << 30;

/// Show what this machine has and lacks.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// For this architecture only (repeatable) [default: all].
    #[arg(long = "arch", value_name = "ARCH")]
    archs: Vec<Arch>,
}

/// A line of the table.
struct Line {
    what: String,
    state: State,
    text: String,
}

/// Is it as it should be?
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    /// It works, but not as well as it could.
    Note,
    Missing,
}

impl Line {
    fn new(what: impl Into<String>, state: State, text: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            state,
            text: text.into(),
        }
    }
}

/// Run the verb.
pub(crate) fn run(opts: Options, cx: &Context) -> anyhow::Result<ExitCode> {
    let Options { archs } = opts;
    let needs = everything(&archs);
    let host = host();
    let missing = host.lacks(&needs);
    let store = Store::open(&cx.cache).map_err(anyhow::Error::from);
    let compilers = Compilers::known();
    // Locked once, and an error if nobody reads on.
    let mut out = io::stdout().lock();
    writeln!(out, "{}", host.distribution)?;
    for &arch in &needs.archs {
        writeln!(out, "\n{arch}")?;
        print(
            &mut out,
            &architecture(&host, store.as_ref().ok(), &compilers, arch),
        )?;
    }
    let mut common = common(&host, &missing, cx);
    if let Err(error) = &store {
        common.push(Line::new("cache", State::Missing, format!("{error:#}")));
    }
    writeln!(out, "\nall architectures")?;
    print(&mut out, &common)?;
    let lacking = missing
        .iter()
        .filter(|requirement| requirement.weight == Weight::Needed);
    let list = crate::setup::list(lacking);
    if !list.is_empty() {
        writeln!(
            out,
            "\nmissing:{list}\n\nthe remedy: {}",
            remedy(&host, missing)
        )?;
    } else if common.iter().all(|line| line.state != State::Missing) {
        writeln!(out, "\nall is there")?;
        return Ok(ExitCode::from(OK));
    }
    Ok(ExitCode::from(INFRA))
}

/// How to get what is missing.
fn remedy(host: &Host, missing: Vec<Requirement>) -> String {
    if !host.apt {
        return format!("install it by the means of {}", host.distribution);
    }
    match host.plan(missing) {
        Ok(plan) if plan.unknown.is_empty() => format!(
            "`cargo xtask setup`, which runs\n  {}",
            plan.line(host.root, host.lists_stale())
        ),
        _ => "`cargo xtask setup`, which fetches apt's lists first".to_owned(),
    }
}

fn architecture(
    host: &Host,
    store: Option<&Store>,
    compilers: &Compilers,
    arch: Arch,
) -> Vec<Line> {
    let row = arch.row();
    let kernel = format!("{}gcc", row.cross_compile);
    vec![
        program(host, "kernel compiler", &kernel),
        program(host, "guest linker", row.guest_cc),
        match compilers.choose(arch) {
            Ok(toolchain) => Line::new("guest compiler", State::Good, toolchain.to_string()),
            Err(error) => Line::new("guest compiler", State::Missing, error.to_string()),
        },
        program(host, "QEMU", row.qemu),
        acceleration(host, store, arch),
    ]
}

/// A program's path and the first line of its `--version`.
fn program(host: &Host, what: &str, name: &str) -> Line {
    let Some(path) = host.program(name) else {
        return Line::new(what, State::Missing, format!("there is no {name} on PATH"));
    };
    match version(&path) {
        Ok(version) => Line::new(what, State::Good, format!("{version} ({})", path.display())),
        Err(error) => Line::new(what, State::Missing, error.to_string()),
    }
}

/// KVM or TCG, and why. Only a boot can tell; `test` does it, and this shows what it found.
fn acceleration(host: &Host, store: Option<&Store>, arch: Arch) -> Line {
    let version = host
        .program(arch.row().qemu)
        .and_then(|path| qemu_version(&path).ok());
    let known = store
        .zip(version)
        .and_then(|(store, version)| accel::known(store, arch, &version));
    match known {
        Some(choice) => {
            let possible = arch.row().kvm_hosts.contains(&std::env::consts::ARCH);
            let state = if possible && choice.accel == Accel::Tcg {
                State::Note
            } else {
                State::Good
            };
            let text = format!("{}: {}", choice.accel, choice.reason);
            Line::new("acceleration", state, text)
        }
        None => Line::new(
            "acceleration",
            State::Note,
            "not known yet: `cargo xtask test` tries KVM once, with a deadline, and falls back to tcg",
        ),
    }
}

fn common(host: &Host, missing: &[Requirement], cx: &Context) -> Vec<Line> {
    let mut lines = Vec::new();
    let tools: Vec<_> = missing
        .iter()
        .filter(|requirement| requirement.purpose == "every kernel")
        .map(|requirement| requirement.sign.to_string())
        .collect();
    lines.push(if tools.is_empty() {
        Line::new("kernel tools", State::Good, "all there")
    } else {
        Line::new("kernel tools", State::Missing, tools.join(", "))
    });
    lines.push(match host.program("ccache") {
        Some(path) => Line::new("ccache", State::Good, path.display().to_string()),
        None => Line::new(
            "ccache",
            State::Note,
            "none: kernels take longer to build again",
        ),
    });
    if let Some(path) = host.virtiofsd() {
        lines.push(Line::new(
            "virtiofsd",
            State::Good,
            path.display().to_string(),
        ));
    } else if missing
        .iter()
        .any(|requirement| requirement.sign == Sign::Virtiofsd)
    {
        lines.push(Line::new(
            "virtiofsd",
            State::Missing,
            "none: `shell --share` needs it",
        ));
    }
    let cache = cx.cache.display();
    lines.push(match disk_free(&cx.cache) {
        Ok(bytes) => {
            let enough = bytes >= DISK_WANTED;
            let state = if enough { State::Good } else { State::Note };
            let wanted = DISK_WANTED >> 30;
            let free = bytes >> 30;
            let text = format!("{cache}: {free} GiB free, a first run takes up to {wanted}");
            Line::new("cache", state, text)
        }
        Err(error) => Line::new("cache", State::Missing, format!("{cache}: {error}")),
    });
    lines
}

fn print(out: &mut impl io::Write, lines: &[Line]) -> io::Result<()> {
    for Line { what, state, text } in lines {
        let mark = match state {
            State::Good => "ok",
            State::Note => "note",
            State::Missing => "MISSING",
        };
        writeln!(out, "  {mark:7}  {what:16}  {text}")?;
    }
    Ok(())
}
