//! From the block `exec` to a program of which nothing is wrong.

use std::path::{Path, PathBuf};

use super::super::fields::{Fields, Report, choice, distinct, items, set, text};
use super::super::template::Template;
use super::super::words::{is_environment, mode, owner, remedy, signal, signals};
use super::super::yaml::{Node, Place, Value};
use super::{End, Ending, Exec, Left, Needed, Origin, Ready, Resume, Rootfs, Site};

pub(in crate::scenario) const KEYS: &[&str] = &[
    "program",
    "source",
    "link",
    "args",
    "files",
    "env",
    "user",
    "rootfs",
    "namespaces",
    "ready",
    "resume",
    "expect",
];

/// Reads one `exec`; templates know the axes.
struct Reader<'a> {
    file: &'a Path,
    axes: &'a [(String, Vec<String>)],
}

/// Read the block `exec`; `None` where something in it is wrong.
pub(in crate::scenario) fn exec(
    node: &Node,
    file: &Path,
    axes: &[(String, Vec<String>)],
    report: &mut Report,
) -> Option<Exec> {
    let before = report.count();
    let reader = Reader { file, axes };
    let exec = reader.exec(node, report)?;
    (report.count() == before).then_some(exec)
}

impl Reader<'_> {
    fn site(&self, place: Place) -> Site {
        Site {
            file: self.file.to_owned(),
            line: place.line,
            column: place.column,
        }
    }

    /// A text in which `{arch}` and the axes stand for their values; checked here, filled in by [`Exec::fill`].
    fn template<'n>(
        &self,
        node: &'n Node,
        expected: &str,
        is: impl Fn(&str) -> bool,
        report: &mut Report,
    ) -> Option<&'n str> {
        let found = text(node, expected, is, report)?;
        let names = self.axes.iter().map(|(axis, _)| axis.as_str());
        let names = names.chain(["arch"]);
        let template = Template::new(found);
        let wrong = template
            .names()
            .find(|name| !names.clone().any(|known| known == *name));
        let Some(name) = wrong else {
            return Some(found);
        };
        let remedy = remedy(name, names, "there are");
        report.at(
            node.place,
            format!("nothing is called {{{name}}}{remedy}; a brace that stands for itself is doubled, {{{{"),
        );
        None
    }

    /// A file of this machine, relative to the scenario file.
    fn host_path(&self, node: &Node, expected: &str, report: &mut Report) -> Option<PathBuf> {
        let path = self.template(node, expected, |path| !path.is_empty(), report)?;
        Some(self.file.parent().unwrap_or(Path::new("")).join(path))
    }

    /// A path in the guest: relative and within the folder, or absolute in a root file system.
    fn guest_path(&self, node: &Node, rootfs: bool, report: &mut Report) -> Option<String> {
        let expected = "a path in the folder in which the program starts";
        let path = self.template(node, expected, |path| !path.trim().is_empty(), report)?;
        let absolute = path.starts_with('/');
        let inside = Path::new(path).components().all(|part| {
            use std::path::Component::{CurDir, Normal, RootDir};
            matches!(part, CurDir | Normal(_) | RootDir)
        });
        if absolute && !rootfs {
            let message = format!(
                "{path} is outside of the folder in which the program starts, and only that travels: expected a relative path, or rootfs beside it"
            );
            report.at(node.place, message);
            return None;
        }
        if !inside {
            report.at(node.place, format!("expected {expected}, found {path:?}"));
            return None;
        }
        Some(path.trim_start_matches("./").to_owned())
    }

    fn exec(&self, node: &Node, report: &mut Report) -> Option<Exec> {
        let fields = Fields::open(node, "a program", KEYS, report)?;
        let rootfs = fields.get("rootfs");
        let in_rootfs = rootfs.is_some();
        let rootfs = rootfs.and_then(|node| self.rootfs(node, report));
        let origin = self.origin(&fields, in_rootfs, report);
        let texts = |key: &str, what: &str, report: &mut Report| {
            let Some(node) = fields.get(key) else {
                return Vec::new();
            };
            if matches!(&node.value, Value::List(list) if list.is_empty()) {
                return Vec::new();
            }
            let found = items(node, &format!("a list of {what}s"), report).iter();
            let found = found.filter_map(|node| self.template(node, what, |_| true, report));
            found.map(str::to_owned).collect()
        };
        let args = texts("args", "argument", report);
        let env = fields
            .get("env")
            .map_or_else(Vec::new, |node| self.env(node, report));
        let user = fields.get("user").and_then(|node| user(node, report));
        let files = fields
            .get("files")
            .map_or_else(Vec::new, |node| self.files(node, in_rootfs, report));
        let (mut mount, mut network) = (false, false);
        if let Some(node) = fields.get("namespaces") {
            let words = [("mount", true), ("network", false)];
            let word = |node, report: &mut Report| choice(node, &words, report);
            let chosen = set(node, "a list of mount and network", word, report);
            (mount, network) = (chosen.contains(&true), chosen.contains(&false));
        }
        let expected =
            "how it is seen that it is ready, {file: PATH}, {line: TEXT} or {pidfile: PATH}";
        let ready = fields
            .need("ready", expected, report)
            .and_then(|node| self.ready(node, in_rootfs, report));
        let resume = fields
            .get("resume")
            .map_or(Some(Resume::default()), |node| {
                self.resume(node, in_rootfs, report)
            });
        let expect = fields.get("expect").map_or(Some(Ending::usual()), |node| {
            self.ending(node, in_rootfs, report)
        });
        let (origin, place) = origin?;
        Some(Exec {
            origin,
            args,
            env,
            user,
            files,
            rootfs,
            mount,
            network,
            ready: ready?,
            resume: resume?,
            expect: expect?,
            site: self.site(place),
        })
    }

    fn origin(
        &self,
        fields: &Fields,
        in_rootfs: bool,
        report: &mut Report,
    ) -> Option<(Origin, Place)> {
        let link = fields.get("link");
        if let (Some(source), Some(_)) = (fields.get("source"), fields.get("program")) {
            let message = "the program is built elsewhere, or compiled from a source: remove one of program and source";
            report.at(source.place, message);
            return None;
        }
        if let Some(node) = fields.get("source") {
            let file = self.host_path(node, "a C file, relative to this one", report)?;
            let words = [("static", false), ("dynamic", true)];
            let dynamic = link.map_or(Some(false), |node| choice(node, &words, report))?;
            if let Some(link) = link
                && dynamic
                && !in_rootfs
            {
                let message = "a dynamic program needs its loader and libraries: expected rootfs beside it, such as rootfs: {libraries: [libc.so.6]}";
                report.at(link.place, message);
            }
            return Some((Origin::Source { file, dynamic }, node.place));
        }
        if let Some(link) = link {
            report.at(
                link.place,
                "only a source is linked: remove this, or name a source",
            );
        }
        let expected = "a program, relative to this file, or source: a C file";
        let node = fields.need("program", expected, report)?;
        let is_inside = matches!(&node.value, Value::Scalar(path) if path.starts_with('/'));
        let origin = if in_rootfs && is_inside {
            Origin::InRootfs(self.guest_path(node, true, report)?)
        } else {
            Origin::Program(self.host_path(node, expected, report)?)
        };
        Some((origin, node.place))
    }

    fn rootfs(&self, node: &Node, report: &mut Report) -> Option<Rootfs> {
        let expected = "a folder, or {libraries: [libc.so.6]}";
        if let Value::Scalar(_) = &node.value {
            return Some(Rootfs::Folder(self.host_path(node, expected, report)?));
        }
        let fields = Fields::open(node, "a root file system", &["libraries"], report)?;
        let expected = "a list of libraries of the cross compiler such as [libc.so.6]";
        let node = fields.need("libraries", expected, report)?;
        let name = |node, report: &mut Report| {
            let is = |name: &str| !name.is_empty() && !name.contains('/');
            text(node, "the name of a library such as libm.so.6", is, report).map(str::to_owned)
        };
        Some(Rootfs::Libraries(set(node, expected, name, report)))
    }

    fn env(&self, node: &Node, report: &mut Report) -> Vec<(String, String)> {
        let Value::Mapping(mapping) = &node.value else {
            report.expected("variables, such as {LANG: C}", node);
            return Vec::new();
        };
        let mut env = Vec::new();
        for (name, place, value) in distinct(mapping, report) {
            if !is_environment(name) {
                let message = format!("expected the name of a variable, found {name:?}");
                report.at(place, message);
            }
            let expected = "the variable's value";
            // A value that YAML takes for nothing is an empty one.
            if value.value == Value::Nothing {
                env.push((name.to_owned(), String::new()));
            } else if let Some(value) = self.template(value, expected, |_| true, report) {
                env.push((name.to_owned(), value.to_owned()));
            }
        }
        env
    }

    fn files(&self, node: &Node, rootfs: bool, report: &mut Report) -> Vec<Needed> {
        let expected =
            "a list of files, each a path or {from: PATH, to: PATH, mode: 0644, owner: UID:GID}";
        let nodes = items(node, expected, report);
        let files = nodes
            .iter()
            .filter_map(|node| self.needed(node, rootfs, report));
        files.collect()
    }

    fn needed(&self, node: &Node, rootfs: bool, report: &mut Report) -> Option<Needed> {
        let expected = "a file or folder, relative to this one";
        let mut it = Needed {
            from: PathBuf::new(),
            to: String::new(),
            mode: None,
            owner: None,
            site: self.site(node.place),
        };
        let from = if let Value::Scalar(_) = &node.value {
            node
        } else {
            let keys = &["from", "to", "mode", "owner"];
            let fields = Fields::open(node, "a file", keys, report)?;
            if let Some(node) = fields.get("to") {
                it.to = self.guest_path(node, rootfs, report)?;
            }
            if let Some(node) = fields.get("mode") {
                let expected = "permission bits in octal, such as 0644";
                let text = text(node, expected, |text| mode(text).is_some(), report)?;
                it.mode = mode(text);
            }
            it.owner = fields.get("owner").and_then(|node| user(node, report));
            fields.need("from", expected, report)?
        };
        it.from = self.host_path(from, expected, report)?;
        if it.to.is_empty() {
            let name = it.from.file_name()?;
            it.to = name.to_string_lossy().into_owned();
        }
        Some(it)
    }

    fn ready(&self, node: &Node, rootfs: bool, report: &mut Report) -> Option<Ready> {
        let fields = Fields::open(node, "readiness", &["file", "line", "pidfile"], report)?;
        let mut path = |key| match fields.get(key) {
            Some(node) => self.guest_path(node, rootfs, report).map(Some),
            None => Some(None),
        };
        let (file, pidfile) = (path("file")?, path("pidfile")?);
        let line = match fields.get("line") {
            Some(node) => {
                let expected = "a part of a line that the program prints";
                let is = |text: &str| !text.is_empty();
                Some(self.template(node, expected, is, report)?.to_owned())
            }
            None => None,
        };
        let ready = Ready {
            file,
            line,
            pidfile,
        };
        if ready == Ready::default() {
            report.expected("at least one of file, line and pidfile", node);
            return None;
        }
        Some(ready)
    }

    fn resume(&self, node: &Node, rootfs: bool, report: &mut Report) -> Option<Resume> {
        let fields = Fields::open(node, "what lets it go on", &["signal", "touch"], report)?;
        let number = match fields.get("signal") {
            Some(node) => Some(signal_number(node, report)?),
            None => None,
        };
        let touch = match fields.get("touch") {
            Some(node) => Some(self.guest_path(node, rootfs, report)?),
            None => None,
        };
        let resume = Resume {
            signal: number,
            touch,
        };
        if resume == Resume::default() {
            report.expected("at least one of signal and touch", node);
            return None;
        }
        Some(resume)
    }

    fn ending(&self, node: &Node, rootfs: bool, report: &mut Report) -> Option<Ending> {
        let fields = Fields::open(node, "an ending", &["exit", "signal", "file"], report)?;
        let end = match (fields.get("exit"), fields.get("signal")) {
            (Some(_), Some(node)) => {
                report.at(
                    node.place,
                    "it exits or is killed: remove one of exit and signal",
                );
                return None;
            }
            (Some(node), None) => {
                let expected = "an exit status from 0 to 255";
                let is = |text: &str| text.parse::<u8>().is_ok();
                End::Exit(text(node, expected, is, report)?.parse().ok()?)
            }
            (None, Some(node)) => End::Signal(signal_number(node, report)?),
            (None, None) => End::Exit(0),
        };
        let file = match fields.get("file") {
            Some(node) => {
                let fields =
                    Fields::open(node, "a file that is left", &["path", "contains"], report)?;
                let path = fields.need("path", "a path in the folder", report)?;
                let contains = match fields.get("contains") {
                    Some(node) => {
                        let expected = "a part of the file's text";
                        let is = |text: &str| !text.is_empty();
                        Some(self.template(node, expected, is, report)?.to_owned())
                    }
                    None => None,
                };
                Some(Left {
                    path: self.guest_path(path, rootfs, report)?,
                    contains,
                })
            }
            None => None,
        };
        Some(Ending { end, file })
    }
}

fn user(node: &Node, report: &mut Report) -> Option<(u32, u32)> {
    let expected = "a user and a group by number, UID or UID:GID";
    owner(text(node, expected, |text| owner(text).is_some(), report)?)
}

fn signal_number(node: &Node, report: &mut Report) -> Option<i32> {
    let expected = "a signal such as TERM";
    let name = text(node, expected, |_| true, report)?;
    let number = signal(name);
    if number.is_none() {
        let remedy = remedy(name, signals(), "");
        report.at(
            node.place,
            format!("expected {expected}, found {name:?}{remedy}"),
        );
    }
    number
}
