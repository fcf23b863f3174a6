//! A state as a list of facts: what is said of which thing, one value each.
//!
//! Every struct is taken apart by name, so that a new field does not compile until it is a fact.

use std::collections::BTreeMap;
use std::fmt::Display;

use crossthaw_protocol::{
    FdState, Fields, Filter, MapState, Object, RegisterSet, SignalState, State, TaskState,
};

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    /// The task that it is about; `None` for what belongs to the tree.
    pub(super) task: Option<i32>,
    /// The thing: empty for a task itself, `fd 3`, `mount /proc`, ...
    pub(super) thing: String,
    /// `FAMILY.FIELD`, as the rules name it.
    pub(super) key: String,
    pub(super) value: String,
}

impl Fact {
    pub(super) fn family(&self) -> &str {
        self.key.split_once('.').map_or("", |(family, _)| family)
    }

    pub(super) fn field(&self) -> &str {
        self.key
            .split_once('.')
            .map_or(&*self.key, |(_, field)| field)
    }
}

/// Collects facts about one thing.
struct Collector<'a> {
    facts: &'a mut Vec<Fact>,
    task: Option<i32>,
    thing: String,
}

impl Collector<'_> {
    fn add(&mut self, key: String, value: impl Display) {
        self.facts.push(Fact {
            task: self.task,
            thing: self.thing.clone(),
            key,
            value: value.to_string(),
        });
    }

    fn fields(&mut self, family: &str, fields: &Fields) {
        for (name, value) in fields {
            self.add(format!("{family}.{name}"), value);
        }
    }

    fn about(&mut self, thing: String) -> Collector<'_> {
        Collector {
            facts: self.facts,
            task: self.task,
            thing,
        }
    }
}

/// All that the probe saw, in its order.
pub(super) fn all(state: &State) -> Vec<Fact> {
    let State { tasks, objects } = state;
    let mut facts = Vec::new();
    for state in tasks {
        let mut out = Collector {
            facts: &mut facts,
            task: Some(state.pid),
            thing: String::new(),
        };
        task(state, &mut out);
    }
    let mut places: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for object in objects {
        let Object { kind, name, fields } = object;
        let place = places.entry((kind, name)).or_default();
        *place += 1;
        // Mounts may lie on each other.
        let another = match place {
            1 => String::new(),
            more => format!(" ({more})"),
        };
        let mut out = Collector {
            facts: &mut facts,
            task: None,
            thing: format!("{kind} {name}{another}").trim_end().to_owned(),
        };
        // What a workload keeps for itself has rules of its own.
        let family = match &**kind {
            "file" if name.starts_with('.') => "hidden",
            "file" if is_laid_out_program(fields) => "program",
            kind => kind,
        };
        // That it is there is a fact, too.
        out.add(format!("{family}.name"), name);
        out.fields(family, fields);
    }
    facts
}

/// A program or library that the harness laid out: its files have the time zero, what the tree writes has that of a run.
fn is_laid_out_program(fields: &Fields) -> bool {
    let has = |name: &str, value: &str| fields.iter().any(|(n, v)| n == name && v == value);
    has("format", "ELF") && has("changed", "0.000000000")
}

fn task(state: &TaskState, out: &mut Collector<'_>) {
    let TaskState {
        pid,
        tgid,
        ppid,
        pgid,
        sid,
        comm,
        cmdline,
        environ,
        status,
        stat,
        limits,
        links,
        attributes,
        namespaces,
        shares,
        timers,
        signals,
        filters,
        registers,
        maps,
        fds,
        auxv,
    } = state;
    let relations = [
        ("pid", pid),
        ("leader", tgid),
        ("parent", ppid),
        ("group", pgid),
        ("session", sid),
    ];
    for (name, value) in relations {
        out.add(format!("task.{name}"), value);
    }
    out.add("task.comm".to_owned(), format!("{comm:?}"));
    out.add("task.arguments".to_owned(), format!("{cmdline:?}"));
    out.add("task.environment".to_owned(), format!("{environ:?}"));
    out.fields("link", links);
    out.fields("namespace", namespaces);
    for (name, pid) in shares {
        out.add(format!("shares.{name}"), pid);
    }
    out.fields("status", status);
    out.fields("stat", stat);
    for (name, soft, hard) in limits {
        out.add(format!("limit.{name}"), format!("{soft}, at most {hard}"));
    }
    out.fields("attribute", attributes);
    for timer in timers {
        let id = timer.first().map_or("", |(_, id)| id.as_str());
        out.about(format!("timer {id}")).fields("timer", timer);
    }
    for (place, signal) in signals.iter().enumerate() {
        queued(signal, &mut out.about(format!("queued signal {place}")));
    }
    for (place, filter) in filters.iter().enumerate() {
        let Filter {
            instructions,
            hash,
            flags,
        } = filter;
        out.add(
            format!("seccomp.filter {place}"),
            format!("{instructions} instructions {hash:016x} flags {flags:#x}"),
        );
    }
    for set in registers {
        registers_of(set, out);
    }
    for map in maps {
        mapping(map, out);
    }
    for fd in fds {
        descriptor(fd, &mut out.about(format!("fd {}", fd.fd)));
    }
    for (key, value) in auxv {
        out.add(format!("auxv.{key}"), format!("{value:#x}"));
    }
}

fn queued(signal: &SignalState, out: &mut Collector<'_>) {
    let SignalState {
        shared,
        number,
        code,
        errno,
        rest,
    } = signal;
    let queue = if *shared { "process" } else { "thread" };
    out.add("signal.queue".to_owned(), queue);
    out.add("signal.number".to_owned(), number);
    out.add("signal.code".to_owned(), code);
    out.add("signal.errno".to_owned(), errno);
    out.add("signal.rest".to_owned(), rest);
}

fn registers_of(set: &RegisterSet, out: &mut Collector<'_>) {
    let RegisterSet { note, size, words } = set;
    let name = crossthaw_image::note_name(*note);
    let name = name.map_or_else(|| format!("note {note:#x}"), str::to_owned);
    let mut out = out.about(format!("registers {name}"));
    // The same note has another layout on another architecture, and most often another size.
    out.add(format!("register.{name}/{size} is"), "there");
    for (place, value) in words {
        out.add(
            format!("register.{name}/{size} +{place:#x}"),
            format!("{value:016x}"),
        );
    }
}

fn mapping(map: &MapState, out: &mut Collector<'_>) {
    let MapState {
        start,
        end,
        perms,
        offset,
        name,
        file: (device, inode),
        smaps,
        hash,
        anon_pages,
    } = map;
    // What is memory that the task fills and what is the kernel's own have rules of their own.
    let family = match name.as_str() {
        "" | "[heap]" | "[stack]" => "memory",
        name if name.starts_with("[vvar") => "clock",
        _ if perms.contains('w') => "written",
        _ => "map",
    };
    let mut out = out.about(format!("map {start:#x}"));
    let mut add = |field: &str, value: String| out.add(format!("{family}.{field}"), value);
    add("end", format!("{end:#x}"));
    add("perms", perms.clone());
    add("offset", format!("{offset:#x}"));
    add("name", format!("{name:?}"));
    add("file", format!("{device}:{inode}"));
    add(
        "contents",
        hash.map_or_else(|| "unreadable".to_owned(), |hash| format!("{hash:016x}")),
    );
    add("own", anon_pages.to_string());
    for (name, value) in smaps {
        add(name, value.clone());
    }
}

fn descriptor(fd: &FdState, out: &mut Collector<'_>) {
    let FdState {
        fd: _,
        link,
        info,
        stat,
        details,
        same_as: (pid, number),
    } = fd;
    out.add("fd.link".to_owned(), link);
    out.fields("fdinfo", info);
    out.fields("fdstat", stat);
    out.fields("open", details);
    out.add("fd.same as".to_owned(), format!("{pid}:{number}"));
}
