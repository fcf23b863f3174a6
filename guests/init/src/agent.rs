//! Carrying out requests, one at a time.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossthaw_protocol::{
    Disturb, EXPLAINED, EXPLAINS, Enclosure, Fault, IMAGE_DIR, Pids, Reply, Request, SCENARIO_DIR,
    Surroundings, VERSION,
};
use rustix::fs::{Mode, OFlags};

use crate::disturb::Disturber;
use crate::error::{AgentError, Context, Result};
use crate::kmemleak::Noted;
use crate::link::Link;
use crate::owner::{self, Owner};
use crate::tree::{self, Tree};
use crate::{clock, folder, kmemleak, probe, program, reap, shell, spawn, usage};

/// What the agent knows from one request to the next.
#[derive(Debug, Default)]
pub(crate) struct Agent {
    tree: Option<Tree>,
    noted: Option<Noted>,
}

/// Serve requests for ever. Returns when the port fails.
pub(crate) fn serve<P: Read + Write>(link: &mut Link<P>) -> AgentError {
    let mut agent = Agent::default();
    loop {
        let outcome = link.request().and_then(|request| {
            let reply = match agent.handle(request, link) {
                Ok(reply) => reply,
                Err(AgentError::Interrupted) => return Ok(()),
                Err(error) => Reply::Failed {
                    message: error.to_string(),
                },
            };
            match link.send(&reply) {
                Err(AgentError::Frame(
                    error @ crossthaw_protocol::frame::FrameError::TooLong(_),
                )) => link.send(&Reply::Failed {
                    message: format!("the answer is too long: {error}"),
                }),
                other => other,
            }
        });
        match outcome {
            Ok(()) | Err(AgentError::Interrupted) => {}
            Err(error) => return error,
        }
    }
}

fn no_tree() -> AgentError {
    AgentError::Refused("no tree was started".to_owned())
}

fn image_path(name: &str) -> Result<PathBuf> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(AgentError::Refused(format!(
            "{name:?} is not the name of an image"
        )));
    }
    Ok(Path::new(IMAGE_DIR).join(name))
}

fn read_lossy(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// A tool that runs, and writes the kernel's log to a file.
struct Tool<'a> {
    running: spawn::Running,
    log: &'a Path,
}

impl<'a> Tool<'a> {
    fn start(argv: &[String], log: &'a Path, owner: Option<&Owner>) -> Result<Self> {
        // What an earlier run left is not this one's.
        let _ = fs::remove_file(log);
        let running = spawn::Running::start(argv, owner)?;
        Ok(Self { running, log })
    }

    /// Wait for its end.
    fn end(self) -> Result<Reply> {
        let output = self.running.end()?;
        Ok(Reply::Tool {
            code: output.code,
            stdout: output.stdout,
            stderr: output.stderr,
            log: read_lossy(self.log),
        })
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

impl Agent {
    fn tree(&self) -> Result<&Tree> {
        self.tree.as_ref().ok_or_else(no_tree)
    }

    fn started(&mut self, tree: Tree) -> Reply {
        let pid = tree.root;
        self.tree = Some(tree);
        Reply::Started { pid }
    }

    fn handle<P: Read + Write>(&mut self, request: Request, link: &mut Link<P>) -> Result<Reply> {
        match request {
            Request::Hello { version } => hello(version),
            Request::Start {
                enclosure,
                surroundings,
                argv,
            } => Ok(self.started(Tree::start(enclosure, surroundings, &argv)?)),
            Request::StartProgram { enclosure, program } => {
                Ok(self.started(Tree::start_program(enclosure, &program)?))
            }
            Request::WaitProgram { ready, timeout_ms } => self
                .tree
                .as_mut()
                .ok_or_else(no_tree)?
                .wait_program(&ready, Duration::from_millis(timeout_ms)),
            Request::ResumeProgram { signal, touch } => self
                .tree()?
                .resume_program(signal, touch.as_deref())
                .map(|()| Reply::Done),
            Request::WaitReady { timeout_ms } => {
                self.tree()?.wait_ready(Duration::from_millis(timeout_ms))
            }
            Request::Freeze => self.tree()?.cgroup.freeze().map(|()| Reply::Done),
            Request::Thaw => self.tree()?.cgroup.thaw().map(|()| Reply::Done),
            Request::Resume => self.tree()?.resume().map(|()| Reply::Done),
            Request::Probe => {
                let tree = self.tree()?;
                Ok(Reply::State {
                    state: probe::probe(
                        tree.root,
                        &tree.cgroup.procs()?,
                        tree.cgroup.path(),
                        tree.renamed.as_ref(),
                    )?,
                })
            }
            Request::Checkpoint {
                name,
                fail_nth,
                disturb,
            } => self.checkpoint(&name, fail_nth, disturb),
            Request::Restart {
                name,
                enclosure,
                surroundings,
                fault,
            } => self.restart(&name, enclosure, surroundings, fault),
            Request::WaitExit { timeout_ms } => {
                self.tree()?.wait_exit(Duration::from_millis(timeout_ms))
            }
            Request::Kill => {
                if let Some(tree) = &mut self.tree {
                    tree.cgroup.kill()?;
                    tree.owner = None;
                }
                Ok(Reply::Done)
            }
            Request::Survivors => Ok(Reply::Tasks {
                tasks: tree::survivors()?,
            }),
            Request::PullFolder => folder::pull(link).map(|()| Reply::Done),
            Request::PushFolder { entries, more } => {
                folder::push(link, entries, more).map(|()| Reply::Done)
            }
            Request::PullFile { path } => {
                let file = if path.starts_with('/') {
                    fs::File::open(&path).context(|| format!("open {path}"))?
                } else {
                    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
                    let opened = program::open(&path, flags, Mode::empty());
                    opened.context(|| format!("open {path}"))?.into()
                };
                link.send_stream(file)?;
                Ok(Reply::Done)
            }
            Request::PushFile { path, mode } => {
                push_file(link, Path::new(&path), mode).map(|()| Reply::Done)
            }
            Request::Chunk { .. } | Request::MoreEntries { .. } => {
                Err(AgentError::Refused("a chunk without a stream".to_owned()))
            }
            Request::Mark { text } => mark(&text).map(|()| Reply::Done),
            Request::Taint => taint(),
            Request::Count { above, timeout_ms } => self.count(&above, timeout_ms),
            Request::NoteUnreferenced => {
                self.noted = kmemleak::note()?;
                let noted = self.noted.is_some();
                Ok(Reply::Noted { noted })
            }
            Request::Unreferenced => {
                let reports = self.noted.take().map(Noted::reports).transpose()?;
                Ok(Reply::Unreferenced { reports })
            }
            Request::Explain => explain().map(|()| Reply::Done),
            Request::Shell => shell::attend().map(|()| Reply::Done),
        }
    }

    fn count(&mut self, above: &[(String, u64)], timeout_ms: u64) -> Result<Reply> {
        // What the owner of a tree that has ended still has is no leak.
        if let Some(tree) = &mut self.tree {
            tree.owner = None;
        }
        let counts = usage::settled(above, Duration::from_millis(timeout_ms))?;
        Ok(Reply::Counts { counts })
    }

    fn checkpoint(
        &self,
        name: &str,
        fail_nth: Option<u32>,
        disturb: Option<Disturb>,
    ) -> Result<Reply> {
        let tree = self.tree()?;
        let image = image_path(name)?;
        let log = image.with_file_name(format!("{name}.log"));
        let mut command = [
            "checkpoint",
            "--output",
            &text(&image),
            "--log",
            &text(&log),
        ]
        .map(str::to_owned)
        .to_vec();
        if tree.enclosure == Enclosure::Container {
            command.push("--container".to_owned());
        }
        if let Some(nth) = fail_nth {
            command.push(format!("--fail-nth={nth}"));
        }
        command.push(tree.root.to_string());
        let disturber = disturb
            .map(|disturb| Disturber::start(tree, disturb))
            .transpose()?;
        let later = disturb.map_or(0, |disturb| disturb.tool_after_us);
        std::thread::sleep(Duration::from_micros(later));
        let reply = Tool::start(&command, &log, tree.owner.as_ref()).and_then(Tool::end);
        if let Some(disturber) = disturber {
            disturber.end(tree)?;
        }
        reply
    }

    fn restart(
        &mut self,
        name: &str,
        enclosure: Enclosure,
        surroundings: Surroundings,
        fault: Option<Fault>,
    ) -> Result<Reply> {
        let image = image_path(name)?;
        let log = image.with_file_name(format!("{name}.log"));
        self.tree = None;
        let owner = Owner::of(surroundings.caller)?;
        let cgroup = tree::prepare_cgroup(owner.as_ref())?;
        let mut command = [
            "restart",
            "--input",
            &text(&image),
            "--log",
            &text(&log),
            "--frozen",
            "--detach",
            "--cgroup",
            &text(cgroup.path()),
        ]
        .map(str::to_owned)
        .to_vec();
        if enclosure == Enclosure::Container {
            command.push("--container".to_owned());
        }
        program::prepare(surroundings)?;
        let Surroundings {
            mount,
            network,
            rootfs,
            caller: _,
            pids,
        } = surroundings;
        let root = format!("--root={SCENARIO_DIR}");
        for (wanted, option) in [(mount, "--mount"), (network, "--network"), (rootfs, &root)] {
            if wanted {
                command.push(option.to_owned());
            }
        }
        if pids == Pids::New {
            command.push("--no-pids".to_owned());
        }
        command.extend(owner::options_of(surroundings.caller)?);
        if let Some(Fault { pid, nth }) = fault {
            command.push(format!("--fail-nth={nth}"));
            command.push(format!("--fail-pid={pid}"));
        }
        // The root's pid is the image's, and any earlier child may have had it.
        reap::forget_all();
        let reply = Tool::start(&command, &log, owner.as_ref())?.end()?;
        if let Reply::Tool {
            code: 0, stdout, ..
        } = &reply
        {
            let root = stdout.trim().parse().map_err(|_| AgentError::Parse {
                what: "the output of restart",
                text: stdout.clone(),
            })?;
            let tree = self.tree.insert(Tree {
                root,
                enclosure,
                cgroup,
                owner,
                renamed: None,
            });
            if pids == Pids::New {
                tree.renamed = Some(probe::Renamed::of(root, &image)?);
            }
        }
        Ok(reply)
    }
}

fn hello(version: u32) -> Result<Reply> {
    if version != VERSION {
        return Err(AgentError::Refused(format!(
            "the agent speaks version {VERSION} of the protocol, not {version}: rebuild the guest image"
        )));
    }
    // A hello is the first thing that a clone hears.
    clock::wake_timers()?;
    let uname = rustix::system::uname();
    let page_size = u32::try_from(rustix::param::page_size()).unwrap_or_default();
    Ok(Reply::Hello {
        version: VERSION,
        machine: uname.machine().to_string_lossy().into_owned(),
        release: uname.release().to_string_lossy().into_owned(),
        page_size,
    })
}

/// Write what follows as chunks to a file, replacing it.
fn push_file<P: Read + Write>(link: &mut Link<P>, path: &Path, mode: u32) -> Result<()> {
    let what = || format!("write {}", path.display());
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .context(what);
    link.take_stream(|bytes| match &mut file {
        Ok(file) => file.write_all(bytes).context(what),
        Err(_) => Ok(()),
    })?;
    let file = file?;
    file.set_permissions(fs::Permissions::from_mode(mode))
        .context(|| format!("set the mode of {}", path.display()))
}

/// Write a line to the kernel's log.
pub(crate) fn mark(text: &str) -> Result<()> {
    fs::write("/dev/kmsg", format!("{}\n", text.replace('\n', " ")))
        .context(|| "write to /dev/kmsg".to_owned())
}

/// Tasks with their stacks, then timers, see Documentation/admin-guide/sysrq.rst of the kernel.
fn explain() -> Result<()> {
    let path = "/proc/sysrq-trigger";
    mark(EXPLAINS)?;
    for key in ["t", "q"] {
        fs::write(path, key).context(|| format!("write {key} to {path}"))?;
    }
    mark(EXPLAINED)
}

fn taint() -> Result<Reply> {
    let path = "/proc/sys/kernel/tainted";
    let text = fs::read_to_string(path).context(|| format!("read {path}"))?;
    match text.trim().parse() {
        Ok(mask) => Ok(Reply::Taint { mask }),
        Err(_) => Err(AgentError::Parse { what: path, text }),
    }
}
