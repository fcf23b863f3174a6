//! The reviewed form of a state: the same text on every architecture, short enough to be read.

use std::collections::{BTreeMap, BTreeSet};

use crossthaw_image::renumber_clock;
use crossthaw_protocol::{MapState, State, TaskState};

use super::facts::{self, Fact};
use super::{Canon, Form, rules};

/// Lines of a golden; what is beyond is a hash.
const LINES: usize = 200;

/// Names of tasks: their pids in a container, where nobody else takes one; else their places, since kernel threads take pids too.
struct Names {
    by_pid: BTreeMap<i32, i32>,
    container: bool,
}

impl Names {
    fn new(state: &State) -> Self {
        let container = state.tasks.first().is_some_and(|task| task.pid == 1);
        let name =
            |(place, task): (i32, &TaskState)| (task.pid, if container { task.pid } else { place });
        Self {
            by_pid: (1..).zip(&state.tasks).map(name).collect(),
            container,
        }
    }

    /// A process group or session, whose leader may be gone.
    fn of_group(&self, id: i32) -> i32 {
        if self.container { id } else { self.of(id) }
    }

    /// 0 for a task outside of the tree.
    fn of(&self, pid: i32) -> i32 {
        self.by_pid.get(&pid).copied().unwrap_or(0)
    }

    fn text(&self, pid: &str) -> String {
        pid.parse()
            .map_or_else(|_| pid.to_owned(), |pid| self.of(pid).to_string())
    }

    /// A value with the pids in it by name.
    fn value(&self, key: &str, value: &str) -> String {
        match key {
            "fd.same as" => match value.split_once(':') {
                Some((pid, fd)) => format!("{}:{fd}", self.text(pid)),
                None => value.to_owned(),
            },
            "timer.ClockID" => value.parse().map_or_else(
                |_| value.to_owned(),
                |clock| renumber_clock(clock, |pid| self.of(pid)).to_string(),
            ),
            "timer.notify" => match value.rsplit_once('.') {
                Some((kind, pid)) => format!("{kind}.{}", self.text(pid)),
                None => value.to_owned(),
            },
            "lock.pid" | "open.foreground" | "open.session" => self.text(value),
            "open.owner" => match value.rsplit_once(' ') {
                Some((kind, pid)) => format!("{kind} {}", self.text(pid)),
                None => value.to_owned(),
            },
            // POSIX ADVISORY WRITE PID FILE FROM TO
            "fdinfo.lock" => {
                let words = value.split(' ').enumerate();
                let name = |(place, word): (usize, &str)| match place {
                    3 => self.text(word),
                    _ => word.to_owned(),
                };
                words.map(name).collect::<Vec<_>>().join(" ")
            }
            _ => value.to_owned(),
        }
    }
}

/// Is it called as shared libraries are, `libc.so.6` or `ld64.so.1`?
fn is_library(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.split_once(".so")
        .is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('.'))
}

/// What a thing is called: each architecture has a name of its own for the loader, `ld-linux.so.2` or `ld64.so.1`.
fn called(fact: &Fact) -> String {
    match fact.thing.rsplit_once('/') {
        Some((folder, name))
            if fact.family() == "program" && name.starts_with("ld") && is_library(name) =>
        {
            format!("{folder}/(loader)")
        }
        _ => fact.thing.clone(),
    }
}

/// Mappings without addresses: how memory is cut into mappings differs between architectures, what kinds there are does not.
fn map_lines(task: &TaskState) -> Vec<String> {
    let exe = task.links.iter().find(|(name, _)| name == "exe");
    let exe = exe.map_or("", |(_, target)| target.as_str());
    let line = |map: &MapState| match map.name.as_str() {
        // The gate page and the pages of the clock are where an architecture puts them.
        name if name.starts_with("[vvar") || name == "[vsyscall]" => None,
        // The linker of each architecture lays out the program in its own way.
        name if name == exe => Some("map program".to_owned()),
        // As it does its loader and libraries, which are those of the machine that runs the tests.
        name if is_library(name) => Some("map library".to_owned()),
        "" => Some(format!("map anonymous {}", map.perms)),
        name if name.starts_with('[') => Some(format!("map {name} {}", map.perms)),
        name => Some(format!(
            "map {name} {} offset {:#x} {} bytes, {} pages of its own",
            map.perms,
            map.offset,
            map.end - map.start,
            map.anon_pages
        )),
    };
    let lines: BTreeSet<String> = task.maps.iter().filter_map(line).collect();
    lines.into_iter().collect()
}

/// Families of which all fields of a task share one line.
const JOINED: [&str; 2] = ["namespace", "stat"];

/// Fields that need no name in their line.
const PLAIN: [&str; 2] = ["fd.link", "fdinfo.flags"];

/// Lines of one task, or of the tree: what is one thing is one line, and so is a field of a task itself.
fn lines(facts: &[Fact], names: &Names, canon: &mut Canon) -> Vec<String> {
    let mut lines: Vec<(String, String)> = Vec::new();
    for fact in facts {
        // The first line has them.
        let in_first = match fact.family() {
            "task" => !matches!(fact.field(), "comm" | "arguments" | "environment"),
            family => family == "shares",
        };
        if in_first {
            continue;
        }
        let Some(value) = rules::apply(&fact.key, &fact.value, Form::Golden, canon) else {
            continue;
        };
        let value = names.value(&fact.key, &value);
        if value.is_empty() && !fact.thing.is_empty() {
            continue;
        }
        let field = fact.field();
        let (line, text) = match fact.family() {
            _ if !fact.thing.is_empty() && PLAIN.contains(&&*fact.key) => (called(fact), value),
            _ if !fact.thing.is_empty() => (called(fact), format!("{field} {value}")),
            family if JOINED.contains(&family) => (family.to_owned(), format!("{field} {value}")),
            "task" | "attribute" | "link" => (field.to_owned(), value),
            "limit" => (format!("limit {field}:"), value),
            family => (format!("{family} {field}"), value),
        };
        match lines.iter_mut().rev().find(|(known, _)| *known == line) {
            Some((_, known)) => {
                known.push(' ');
                known.push_str(&text);
            }
            None => lines.push((line, text)),
        }
    }
    let whole = |(line, text): (String, String)| format!("{line} {text}").trim_end().to_owned();
    lines.into_iter().map(whole).collect()
}

/// What a task is, as far as it says which lines it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Process,
    Thread,
    Zombie,
}

impl Kind {
    fn of(task: &TaskState) -> Self {
        if !task.links.iter().any(|(name, _)| name == "root") {
            Self::Zombie
        } else if task.pid != task.tgid {
            Self::Thread
        } else {
            Self::Process
        }
    }
}

/// The golden form of a state.
///
/// The first task is shown whole, the others by what they differ in from the first of their kind, and the first of a kind from the first of
/// all; then what belongs to the tree.
pub fn golden(state: &State) -> String {
    shorten(&whole(state))
}

/// The golden form without a limit to its length.
fn whole(state: &State) -> String {
    let names = Names::new(state);
    let facts = facts::all(state);
    let mut canon = Canon::default();
    let mut out = String::new();
    // The first task of each kind, and its lines.
    let mut shown: Vec<(Kind, i32, Vec<String>)> = Vec::new();
    let about = |pid: Option<i32>| {
        let facts = facts.iter().filter(move |fact| fact.task == pid);
        facts.cloned().collect::<Vec<_>>()
    };
    for task in &state.tasks {
        let mut lines = lines(&about(Some(task.pid)), &names, &mut canon);
        lines.extend(map_lines(task));
        let [pid, parent] = [task.pid, task.ppid].map(|pid| names.of(pid));
        let [group, session] = [task.pgid, task.sid].map(|id| names.of_group(id));
        let thread = match names.of(task.tgid) {
            leader if leader == pid => String::new(),
            leader => format!(" thread of {leader}"),
        };
        let shares = task.shares.iter();
        let shares = shares.map(|(what, pid)| format!(" {what} of {}", names.of(*pid)));
        let shares: String = shares.collect();
        let kind = Kind::of(task);
        let of_kind = shown.iter().find(|(known, ..)| *known == kind);
        let like = match of_kind {
            Some((_, like, _)) if kind != Kind::Process => format!(" like {like}"),
            _ => String::new(),
        };
        line!(
            out,
            "task {pid} parent {parent} group {group} session {session}{thread}{shares}{like}"
        );
        match of_kind.or(shown.first()) {
            None => lines.iter().for_each(|text| line!(out, "  {text}")),
            Some((.., first)) => {
                let gone = first.iter().filter(|text| !lines.contains(text));
                gone.for_each(|text| line!(out, "  - {text}"));
                let new = lines.iter().filter(|text| !first.contains(text));
                new.for_each(|text| line!(out, "  + {text}"));
            }
        }
        if of_kind.is_none() {
            shown.push((kind, pid, lines));
        }
    }
    let mut of_tree = about(None);
    // Tasks that run side by side make their files in any order.
    of_tree.sort_by(|a, b| folder_order(a).cmp(&folder_order(b)));
    for text in lines(&of_tree, &names, &mut canon) {
        line!(out, "{text}");
    }
    out
}

/// Files go by name, behind everything else, which stays in its order.
fn folder_order(fact: &Fact) -> Option<&str> {
    matches!(fact.family(), "file" | "program" | "hidden").then_some(&*fact.thing)
}

fn shorten(text: &str) -> String {
    let Some((at, _)) = text.match_indices('\n').nth(LINES - 1) else {
        return text.to_owned();
    };
    let (shown, rest) = text.split_at(at + 1);
    if rest.is_empty() {
        return text.to_owned();
    }
    format!(
        "{shown}and {} more lines, blake3 {}\n",
        rest.lines().count(),
        blake3::hash(rest.as_bytes()).to_hex()
    )
}

#[cfg(test)]
mod tests {
    use crossthaw_protocol::Object;

    use super::super::tests::{fd, map, state, task};
    use super::*;

    #[test]
    fn the_first_task_is_whole_and_the_others_are_what_differs() {
        insta::assert_snapshot!(golden(&state()), @r#"
        task 1 parent 0 group 1 session 1
          comm "workloads"
          arguments ["workloads", "simple::counter"]
          environment ["A=1"]
          cwd /scenario
          root /
          exe /bin/workloads
          namespace mnt #1 net outside
          status Umask 0022
          status Uid 0 0 0 0
          status SigBlk 0000000000000200
          stat nice 0
          limit Max open files: 1024, at most 4096
          timerslack_ns 50000
          timer 0 ID 0 notify signal/pid.1
          queued signal 0 queue process number 10 code 0 errno 0
          seccomp filter 0 8 instructions 000000000000004d flags 0x0
          fd 0 /dev/null pos 0 read-write mnt_id #1 mode 0644 inode #1 capacity 4096 same as 1:0
          fd 3 /scenario/data pos 0 read-write mnt_id #1 mode 0644 inode #1 capacity 4096 same as 1:3
          map [heap] rw-p
          map anonymous rw-p
          map program
        task 2 parent 1 group 1 session 1
          - fd 3 /scenario/data pos 0 read-write mnt_id #1 mode 0644 inode #1 capacity 4096 same as 1:3
          + fd 3 /scenario/data pos 0 read-write mnt_id #1 mode 0644 inode #1 capacity 4096 same as 2:3
        mount / id #1 parent #2 type rootfs
        file data type regular size 5 inode #1
        "#);
    }

    #[test]
    fn addresses_contents_and_counters_do_not_show() {
        let mut other = state();
        let task = &mut other.tasks[0];
        task.maps[1].hash = Some(77);
        task.maps[0].start = 0x1000;
        // A program of more pieces, and memory in more mappings.
        task.maps
            .push(map(0x90_0000, "r--p", "/bin/workloads", Some(7)));
        task.maps.push(map(0x95_0000, "rw-p", "", Some(8)));
        task.auxv.clear();
        task.registers.clear();
        task.limits[1].1 = "1".to_owned();
        task.status[3].1 = "1000 kB".to_owned();
        // O_LARGEFILE of another architecture.
        task.fds[0].info[1].1 = "0200002".to_owned();
        assert_eq!(golden(&other), golden(&state()));
    }

    #[test]
    fn a_program_that_was_laid_out_has_neither_size_nor_contents() {
        let fields = |size: &str, hash: &str, changed: &str, elf: bool| {
            let all = [
                ("type", "regular"),
                ("mode", "0755"),
                ("size", size),
                ("inode", "1a:9"),
                ("changed", changed),
                ("contents", hash),
                ("format", "ELF"),
            ];
            let pairs = all.iter().take(if elf { 7 } else { 6 });
            let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            pairs.collect::<Vec<_>>()
        };
        let with = |fields| {
            let mut state = state();
            state.objects.push(Object {
                kind: "file".to_owned(),
                name: "sleeper".to_owned(),
                fields,
            });
            state
        };
        let laid_out = "0.000000000";
        let (one, other) = (
            with(fields("8", "aa", laid_out, true)),
            with(fields("9", "bb", laid_out, true)),
        );
        assert_eq!(golden(&one), golden(&other));
        assert!(
            golden(&one).ends_with("file sleeper type regular mode 0755 inode #2 format ELF\n"),
            "{}",
            golden(&one)
        );
        // Between two states it counts.
        let diff = super::super::compare(Form::Full, ("one", &one), ("other", &other));
        assert!(diff.is_some());
        // What the tree itself wrote, or is no program, has both.
        for (changed, elf) in [("7.000000000", true), (laid_out, false)] {
            let one = golden(&with(fields("8", "aa", changed, elf)));
            assert_ne!(one, golden(&with(fields("9", "aa", changed, elf))));
            assert_ne!(one, golden(&with(fields("8", "bb", changed, elf))));
        }
    }

    #[test]
    fn the_loader_has_one_name() {
        let with = |name: &str, changed: &str| {
            let mut state = state();
            let fields = [("format", "ELF"), ("changed", changed)];
            let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
            state.objects.push(Object {
                kind: "file".to_owned(),
                name: name.to_owned(),
                fields: fields.to_vec(),
            });
            golden(&state)
        };
        let laid_out = "0.000000000";
        for name in ["lib/ld-linux-x86-64.so.2", "lib/ld64.so.1"] {
            assert!(with(name, laid_out).contains("file lib/(loader) format ELF\n"));
        }
        for (name, changed) in [
            ("lib/ld64.so.1", "7.000000000"),
            ("lib/libc.so.6", laid_out),
            ("lib/ldd", laid_out),
        ] {
            assert!(with(name, changed).contains(&format!("file {name} format ELF\n")));
        }
    }

    #[test]
    fn libraries_are_one_line() {
        for (name, expected) in [
            ("/scenario/lib/libc.so.6", true),
            ("/lib/ld64.so.1", true),
            ("/lib/libx.so", true),
            ("/scenario/data.sorted", false),
            ("/a.so.d/data", false),
        ] {
            let mut state = state();
            state.tasks[0]
                .maps
                .push(map(0x90_0000, "r--p", name, Some(7)));
            let golden = golden(&state);
            assert_eq!(golden.contains("map library\n"), expected, "{name}");
            assert_eq!(
                golden.contains(&format!("map {name} ")),
                !expected,
                "{name}"
            );
        }
    }

    #[test]
    fn a_subtree_has_places_for_pids() {
        let state = |root: i32, gap: i32| {
            let mut tasks = vec![task(root, 0), task(root + gap, root)];
            for task in &mut tasks {
                task.pgid = root;
                task.sid = 0;
                task.shares = vec![("files".to_owned(), root)];
                task.fds = vec![fd(0, "/dev/null", (root, 0))];
            }
            State {
                tasks,
                objects: state().objects,
            }
        };
        assert_eq!(golden(&state(1001, 1)), golden(&state(1002, 5)));
        assert!(golden(&state(1001, 1)).contains("task 2 parent 1 group 1 session 0 files of 1\n"));
    }

    #[test]
    fn long_states_end_in_a_hash() {
        let mut long = state();
        long.tasks[0].fds = (0..1000).map(|n| fd(n, "/dev/null", (1, n))).collect();
        let text = golden(&long);
        assert_eq!(text.lines().count(), LINES + 1);
        long.tasks[0].fds[900].link = "/dev/zero".to_owned();
        assert_ne!(golden(&long), text);
    }
}
