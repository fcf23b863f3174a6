//! `setup`: install what is missing; `ensure`: the same for the verbs that need it.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use crossthaw_harness::arch::Arch;
use crossthaw_harness::host::{Host, Needs, Plan, Requirement, Step, Weight};

use crate::context::Context;
use crate::exit::{Exit, OK};

/// Seconds to wait for another run of apt.
const APT_LOCK_SECONDS: u32 = 300;

/// Install what is missing to build and run guests.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    /// For this architecture only (repeatable) [default: all].
    #[arg(long = "arch", value_name = "ARCH")]
    archs: Vec<Arch>,
}

/// Run the verb.
pub(crate) fn run(opts: Options, cx: &Context) -> anyhow::Result<ExitCode> {
    let Options { yes, archs } = opts;
    let needs = everything(&archs);
    let host = host();
    let missing = host.lacks(&needs);
    if missing.is_empty() {
        println!("nothing is missing");
    } else {
        install(cx, &host, &needs, missing, yes)?;
        println!("all is installed");
    }
    Ok(ExitCode::from(OK))
}

/// Make sure that the machine has what this work needs; `yes` installs it without asking.
///
/// What is only helpful comes along with what is needed, and stops nobody.
pub(crate) fn ensure(cx: &Context, needs: &Needs, yes: bool) -> anyhow::Result<()> {
    let host = host();
    let missing = host.lacks(needs);
    if missing.iter().any(is_needed) {
        install(cx, &host, needs, missing, yes)
    } else {
        Ok(())
    }
}

/// This machine.
pub(crate) fn host() -> Host {
    Host::new(&std::env::var_os("PATH").unwrap_or_default())
}

/// All work, for these architectures; none means all.
pub(crate) fn everything(archs: &[Arch]) -> Needs {
    let archs = if archs.is_empty() { &Arch::ALL } else { archs };
    Needs {
        archs: archs.to_vec(),
        steps: vec![Step::Kernel, Step::Guest, Step::Qemu, Step::Share],
    }
}

/// What is missing, one a line.
pub(crate) fn list<'a>(missing: impl IntoIterator<Item = &'a Requirement>) -> String {
    let lines = missing
        .into_iter()
        .map(|requirement| format!("\n  {}, for {}", requirement.sign, requirement.purpose));
    lines.collect::<Vec<_>>().concat()
}

fn is_needed(requirement: &Requirement) -> bool {
    requirement.weight == Weight::Needed
}

/// What a person on a machine without apt is told.
fn without_apt(host: &Host, missing: &[Requirement]) -> String {
    format!(
        "this machine ({}) has no apt, install by its own means:{}",
        host.distribution,
        list(missing)
    )
}

/// What is to be installed and how, before it is.
fn announce(host: &Host, plan: &Plan, stale: bool) -> String {
    // Lists that are not there know no package; setup fetches them before it plans.
    let line = if plan.unknown.is_empty() {
        plan.line(host.root, stale)
    } else {
        "cargo xtask setup --yes".to_owned()
    };
    format!(
        "missing:{}\nthis installs it:\n  {line}",
        list(&plan.missing)
    )
}

fn install(
    cx: &Context,
    host: &Host,
    needs: &Needs,
    missing: Vec<Requirement>,
    yes: bool,
) -> anyhow::Result<()> {
    if !host.apt {
        return Err(Exit::infra(without_apt(host, &missing)).into());
    }
    let mut plan = host.plan(missing).context("cannot run apt-cache")?;
    let stale = host.lists_stale() || !plan.unknown.is_empty();
    if !yes {
        let text = announce(host, &plan, stale);
        if !somebody_answers(cx) {
            return Err(Exit::infra(text).into());
        }
        if !ask(&text)? {
            return Err(Exit::infra("nothing was installed").into());
        }
    }
    if stale {
        apt(cx, host, &["apt-get".to_owned(), "update".to_owned()])?;
        plan = host.plan(plan.missing).context("cannot run apt-cache")?;
    }
    if !plan.unknown.is_empty() {
        return Err(Exit::infra(format!(
            "no package of {} has {}, which this needs:{}",
            host.distribution,
            plan.unknown.join(", "),
            list(&plan.missing)
        ))
        .into());
    }
    apt(cx, host, &plan.install())?;
    let missing: Vec<_> = host.lacks(needs).into_iter().filter(is_needed).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Exit::infra(format!(
        "apt is content, but this is still missing:{}",
        list(&missing)
    ))
    .into())
}

/// Is there a person to see a question and to answer it?
fn somebody_answers(cx: &Context) -> bool {
    cx.terminal && std::io::stdin().is_terminal()
}

fn ask(text: &str) -> anyhow::Result<bool> {
    eprint!("{text}\ninstall it now? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Run apt-get as root; what it says goes to standard error, since standard output may be events.
fn apt(cx: &Context, host: &Host, argv: &[String]) -> anyhow::Result<()> {
    let mut words: Vec<String> = Vec::new();
    if !host.root {
        if host.program("sudo").is_none() {
            let line = crossthaw_harness::process::shell_line(argv);
            let message = format!("there is no sudo: run this as root, then try again\n  {line}");
            return Err(Exit::infra(message).into());
        }
        words.push("sudo".to_owned());
        if !somebody_answers(cx) {
            // It must not wait for a password that nobody types.
            words.push("-n".to_owned());
        }
    }
    words.extend(["env", "DEBIAN_FRONTEND=noninteractive"].map(str::to_owned));
    let (apt, rest) = argv.split_first().context("an empty command")?;
    words.push(apt.clone());
    words.push("-q".to_owned());
    words.push(format!("--option=DPkg::Lock::Timeout={APT_LOCK_SECONDS}"));
    words.extend(rest.iter().cloned());
    let line = crossthaw_harness::process::shell_line(&words);
    eprintln!("+ {line}");
    let output = duct::cmd(&words[0], &words[1..])
        .stdin_null()
        .stdout_to_stderr()
        .unchecked()
        .run()
        .with_context(|| format!("cannot run {line}"))?;
    if cx.cancel.is_cancelled() {
        return Err(Exit::infra("cancelled").into());
    }
    if output.status.success() {
        return Ok(());
    }
    Err(Exit::infra(format!("{line} failed ({}): see above", output.status)).into())
}
