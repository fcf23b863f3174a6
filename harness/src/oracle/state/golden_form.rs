//! The reviewed form of a state: the same text on every architecture, short enough to be read.

use std::collections::{BTreeMap, BTreeSet};

use crossthaw_protocol::{FdState, MapState, State, TaskState};

use super::{Form, rules};

/// Lines of a golden; what is beyond is a hash.
const LINES: usize = 200;

/// Names of tasks: their pids in a container, where nobody else takes one; else their places, since kernel threads take pids too.
struct Names(BTreeMap<i32, i32>);

impl Names {
    fn new(state: &State) -> Self {
        let container = state.tasks.first().is_some_and(|task| task.pid == 1);
        let name =
            |(place, task): (i32, &TaskState)| (task.pid, if container { task.pid } else { place });
        Self((1..).zip(&state.tasks).map(name).collect())
    }

    /// 0 for a task outside of the tree.
    fn of(&self, pid: i32) -> i32 {
        self.0.get(&pid).copied().unwrap_or(0)
    }
}

/// Names of the flags of a descriptor, open(2).
///
/// 040000 to 0400000 are left out: `O_DIRECT`, `O_LARGEFILE`, `O_DIRECTORY` and `O_NOFOLLOW` are other bits on powerpc, and only 64-bit kernels set `O_LARGEFILE` by themselves.
const FLAGS: [(u32, &str); 9] = [
    (0o2000, "append"),
    (0o4000, "nonblock"),
    (0o10_000, "dsync"),
    (0o20_000, "async"),
    (0o1_000_000, "noatime"),
    (0o2_000_000, "cloexec"),
    (0o4_000_000, "sync"),
    (0o10_000_000, "path"),
    (0o20_000_000, "tmpfile"),
];

fn flags(octal: &str) -> String {
    let Ok(flags) = u32::from_str_radix(octal, 8) else {
        return octal.to_owned();
    };
    let mut text = match flags & 3 {
        0 => "read",
        1 => "write",
        2 => "read-write",
        _ => "no-access",
    }
    .to_owned();
    for (bit, name) in FLAGS {
        if flags & bit != 0 {
            text.push(' ');
            text.push_str(name);
        }
    }
    text
}

fn fd_line(fd: &FdState, names: &Names) -> String {
    let info = fd
        .info
        .iter()
        .filter_map(|(name, value)| match name.as_str() {
            "flags" => Some(format!(" {}", flags(value))),
            _ if rules::fdinfo(name, Form::Golden) => Some(format!(" {name} {value}")),
            _ => None,
        });
    let info: String = info.collect();
    let (pid, number) = fd.same_as;
    format!(
        "fd {} {}{info} file {}:{number}",
        fd.fd,
        fd.link,
        names.of(pid)
    )
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

fn task_lines(task: &TaskState, names: &Names) -> Vec<String> {
    let mut lines = vec![
        format!("comm {:?}", task.comm),
        format!("arguments {:?}", task.cmdline),
    ];
    lines.extend(
        task.links
            .iter()
            .map(|(name, target)| format!("{name} {target}")),
    );
    let status = task.status.iter();
    lines.extend(
        status
            .filter(|(name, _)| rules::status(name, Form::Golden))
            .map(|(name, value)| {
                let words: Vec<_> = value.split_whitespace().collect();
                format!("status {name} {}", words.join(" "))
                    .trim_end()
                    .to_owned()
            }),
    );
    let limits = task.limits.iter();
    lines.extend(
        limits
            .filter(|(name, _, _)| rules::limit(name, Form::Golden))
            .map(|(name, soft, hard)| format!("limit {name}: {soft}, at most {hard}")),
    );
    lines.extend(
        task.attributes
            .iter()
            .map(|(name, value)| format!("{name} {value}")),
    );
    lines.extend(map_lines(task));
    lines.extend(task.fds.iter().map(|fd| fd_line(fd, names)));
    lines
}

/// The golden form of a state.
///
/// The first task is shown whole, the others by what they differ in from it.
pub fn golden(state: &State) -> String {
    let names = Names::new(state);
    let mut out = String::new();
    let mut first: Option<Vec<String>> = None;
    for task in &state.tasks {
        let lines = task_lines(task, &names);
        let [pid, parent, group, session] =
            [task.pid, task.ppid, task.pgid, task.sid].map(|pid| names.of(pid));
        line!(
            out,
            "task {pid} parent {parent} group {group} session {session}"
        );
        match &first {
            None => lines.iter().for_each(|text| line!(out, "  {text}")),
            Some(first) => {
                let gone = first.iter().filter(|text| !lines.contains(text));
                gone.for_each(|text| line!(out, "  - {text}"));
                let new = lines.iter().filter(|text| !first.contains(text));
                new.for_each(|text| line!(out, "  + {text}"));
            }
        }
        first.get_or_insert(lines);
    }
    shorten(&out)
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
    use super::super::tests::{fd, map, state, task};
    use super::*;

    #[test]
    fn the_first_task_is_whole_and_the_others_are_what_differs() {
        insta::assert_snapshot!(golden(&state()), @r#"
        task 1 parent 0 group 1 session 1
          comm "workloads"
          arguments ["workloads", "simple::counter"]
          cwd /scenario
          root /
          exe /bin/workloads
          status Umask 0022
          status Uid 0 0 0 0
          status SigBlk 0000000000000200
          limit Max open files: 1024, at most 4096
          timerslack_ns 50000
          map [heap] rw-p
          map anonymous rw-p
          map program
          fd 0 /dev/null pos 0 read-write file 1:0
          fd 3 /scenario/data pos 0 read-write file 1:3
        task 2 parent 1 group 1 session 1
          - fd 3 /scenario/data pos 0 read-write file 1:3
          + fd 3 /scenario/data pos 0 read-write file 2:3
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
        task.limits[1].1 = "1".to_owned();
        task.status[3].1 = "1000 kB".to_owned();
        // O_LARGEFILE of another architecture.
        task.fds[0].info[1].1 = "0200002".to_owned();
        assert_eq!(golden(&other), golden(&state()));
    }

    #[test]
    fn a_subtree_has_places_for_pids() {
        let state = |root: i32, gap: i32| {
            let mut tasks = vec![task(root, 0), task(root + gap, root)];
            for task in &mut tasks {
                task.pgid = root;
                task.sid = 0;
                task.fds = vec![fd(0, "/dev/null", (root, 0))];
            }
            State { tasks }
        };
        assert_eq!(golden(&state(1001, 1)), golden(&state(1002, 5)));
        assert!(golden(&state(1001, 1)).contains("task 2 parent 1 group 1 session 0\n"));
    }

    #[test]
    fn flags_have_names() {
        for (octal, names) in [
            ("0100000", "read"),
            ("02102001", "write append cloexec"),
            ("0304002", "read-write nonblock"),
            ("odd", "odd"),
        ] {
            assert_eq!(flags(octal), names);
        }
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
