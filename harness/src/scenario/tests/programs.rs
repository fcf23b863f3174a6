//! The block `exec`: what it says, and its mistakes.

use super::super::exec::{End, Left, Needed, Origin, Ready, Resume, Rootfs};
use super::*;

/// A family of one scenario `it` in `dir/f.yaml`, whose keys begin in line 6, in column 5.
fn read_exec(keys: &str) -> Result<Matrix, Vec<String>> {
    let keys = keys
        .lines()
        .fold(String::new(), |all, line| all + "    " + line + "\n");
    let text = format!("{HEAD}scenarios:\n  - name: it\n    about: It runs.\n{keys}");
    let mut mistakes = Vec::new();
    let scenarios = read(Path::new("dir/f.yaml"), &text, today(), &mut mistakes);
    if mistakes.is_empty() {
        return Ok(Matrix { scenarios });
    }
    mistakes.sort_by_key(|it| (it.line, it.column));
    Err(mistakes.iter().map(ToString::to_string).collect())
}

#[track_caller]
fn wrong(keys: &str, mistakes: &[&str]) {
    assert_eq!(read_exec(keys).unwrap_err(), mistakes, "{keys}");
}

#[track_caller]
fn cases(keys: &str, arch: Arch) -> Vec<(Case, Exec)> {
    let matrix = read_exec(keys).unwrap_or_else(|mistakes| panic!("{keys}: {mistakes:?}"));
    let cases = matrix.cases(Flavor::Fast).into_iter();
    let cases = cases.filter(|case| case.arch == arch);
    cases
        .map(|case| match case.subject.clone() {
            Subject::Exec(exec) => (case, *exec),
            Subject::Workload(name) => panic!("{name}"),
        })
        .collect()
}

#[test]
fn what_is_not_said_of_a_program_is_usual() {
    let [(case, exec)] = &cases("exec: {program: x, ready: {file: r}}", Arch::S390x)[..] else {
        panic!("one case is expected")
    };
    assert_eq!(case.checkpoint, Checkpoint::Subtree);
    assert_eq!(exec.origin, Origin::Program("dir/x".into()));
    assert_eq!(
        (exec.args.len(), exec.env.len(), exec.files.len()),
        (0, 0, 0)
    );
    assert_eq!((exec.user, &exec.rootfs), (None, &None));
    assert_eq!((exec.mount, exec.network), (false, false));
    assert_eq!(exec.resume, Resume::default());
    assert_eq!(exec.expect, Ending::usual());
    let site = &exec.site;
    assert_eq!((site.line, site.column), (6, 21));
}

#[test]
fn each_key_of_a_program_says_something() {
    let keys = "axes: {n: [3, 4]}
checkpoint: container
exec:
  program: bin/{arch}/x
  rootfs: roots/{arch}
  args: [-n, '{n}', '{{n}}']
  env: {A: 'b {n}', E: }
  user: 7:8
  files: [in.txt, {from: a, to: /etc/b, mode: 0600, owner: 1}]
  namespaces: [network, mount]
  ready: {file: r, line: 'up {n}'}
  resume: {signal: SIGHUP, touch: go}
  expect: {signal: KILL, file: {path: /var/out, contains: '{n}'}}";
    let all = cases(keys, Arch::Ppc64);
    assert_eq!(all.len(), 2);
    let (case, exec) = &all[1];
    assert_eq!(case.id.as_str(), "ppc64/f/it[n=4]");
    assert_eq!(case.checkpoint, Checkpoint::Container);
    assert_eq!(exec.origin, Origin::Program("dir/bin/ppc64/x".into()));
    assert_eq!(exec.rootfs, Some(Rootfs::Folder("dir/roots/ppc64".into())));
    assert_eq!(exec.args, ["-n", "4", "{n}"]);
    let env = [("A", "b 4"), ("E", "")];
    assert_eq!(exec.env, env.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert_eq!(exec.user, Some((7, 8)));
    let needed = |from: &str, to: &str, mode, owner, place: &Needed| Needed {
        from: from.into(),
        to: to.to_owned(),
        mode,
        owner,
        site: place.site.clone(),
    };
    assert_eq!(
        exec.files,
        [
            needed("dir/in.txt", "in.txt", None, None, &exec.files[0]),
            needed("dir/a", "/etc/b", Some(0o600), Some((1, 1)), &exec.files[1]),
        ]
    );
    assert!(exec.mount && exec.network);
    assert_eq!(
        exec.ready,
        Ready {
            file: Some("r".to_owned()),
            line: Some("up 4".to_owned()),
            pidfile: None,
        }
    );
    assert_eq!(
        exec.resume,
        Resume {
            signal: Some(1),
            touch: Some("go".to_owned()),
        }
    );
    assert_eq!(exec.expect.end, End::Signal(9));
    assert_eq!(
        exec.expect.file,
        Some(Left {
            path: "/var/out".to_owned(),
            contains: Some("4".to_owned()),
        })
    );
    let keys = "exec: {source: x.c, link: dynamic, rootfs: {libraries: [libc.so.6]}, ready: {pidfile: /run/x.pid}, expect: {exit: 3}}";
    let (_, exec) = &cases(keys, Arch::X86_64)[0];
    assert_eq!(
        exec.origin,
        Origin::Source {
            file: "dir/x.c".into(),
            dynamic: true
        }
    );
    assert_eq!(
        exec.rootfs,
        Some(Rootfs::Libraries(vec!["libc.so.6".to_owned()]))
    );
    assert_eq!(exec.ready.pidfile.as_deref(), Some("/run/x.pid"));
    assert_eq!(exec.expect.end, End::Exit(3));
    let keys = "exec: {program: /bin/x, rootfs: r, ready: {line: a}}";
    let (_, exec) = &cases(keys, Arch::X86_64)[0];
    assert_eq!(exec.origin, Origin::InRootfs("/bin/x".to_owned()));
}

#[test]
fn mistakes_in_a_program() {
    wrong(
        "exec: {}",
        &[
            "dir/f.yaml:6:11: a program needs \"program\": a program, relative to this file, or source: a C file",
            "dir/f.yaml:6:11: a program needs \"ready\": how it is seen that it is ready, {file: PATH}, {line: TEXT} or {pidfile: PATH}",
        ],
    );
    wrong(
        "exec: {progam: x, ready: {fiel: r}, resume: {signal: TREM}}",
        &[
            "dir/f.yaml:6:11: a program needs \"program\": a program, relative to this file, or source: a C file",
            "dir/f.yaml:6:12: a program has no key \"progam\"; the nearest is program",
            "dir/f.yaml:6:30: expected at least one of file, line and pidfile, found a mapping",
            "dir/f.yaml:6:31: readiness has no key \"fiel\"; the nearest is file",
            "dir/f.yaml:6:58: expected a signal such as TERM, found \"TREM\"; the nearest is TERM",
        ],
    );
    wrong(
        "workload: simple::counter\nexec: {program: x, source: x.c, ready: {file: r}}",
        &[
            "dir/f.yaml:6:15: a workload or a program runs: remove one of workload and exec",
            "dir/f.yaml:7:32: the program is built elsewhere, or compiled from a source: remove one of program and source",
        ],
    );
    wrong(
        "exec: {source: x.c, link: dynamic, ready: {file: ../r, pidfile: /run/p}}",
        &[
            "dir/f.yaml:6:31: a dynamic program needs its loader and libraries: expected rootfs beside it, such as rootfs: {libraries: [libc.so.6]}",
            "dir/f.yaml:6:54: expected a path in the folder in which the program starts, found \"../r\"",
        ],
    );
    wrong(
        "exec: {program: x, ready: {pidfile: /run/p}}",
        &[
            "dir/f.yaml:6:41: /run/p is outside of the folder in which the program starts, and only that travels: expected a relative path, or rootfs beside it",
        ],
    );
    wrong(
        "exec: {program: x, link: static, user: me, namespaces: [mnt], ready: {file: r}, expect: {exit: 256}, files: [{from: a, mode: rw}], env: [A]}",
        &[
            "dir/f.yaml:6:30: only a source is linked: remove this, or name a source",
            "dir/f.yaml:6:44: expected a user and a group by number, UID or UID:GID, found \"me\"",
            "dir/f.yaml:6:61: expected mount or network, found \"mnt\"",
            "dir/f.yaml:6:100: expected an exit status from 0 to 255, found \"256\"",
            "dir/f.yaml:6:130: expected permission bits in octal, such as 0644, found \"rw\"",
            "dir/f.yaml:6:141: expected variables, such as {LANG: C}, found a list",
        ],
    );
}

#[test]
fn names_in_braces_are_axes() {
    wrong(
        "axes: {size: [1, 2]}\nexec: {program: x, args: ['{siez}'], ready: {file: r}}",
        &[
            "dir/f.yaml:7:31: nothing is called {siez}; the nearest is size; a brace that stands for itself is doubled, {{",
        ],
    );
    wrong(
        "axes: {size: [1, 2]}\nexec: {program: x, ready: {file: r}}",
        &[
            "dir/f.yaml:7:11: all values of the axis size are one and the same program: expected {size} in its arguments, say",
        ],
    );
}

#[test]
fn what_a_program_cannot_be() {
    wrong(
        "checkpoint: self\nexec: {program: x, ready: {file: r}}",
        &[
            "dir/f.yaml:6:17: a program knows nothing of checkpoints: expected checkpoint: subtree or container beside exec",
        ],
    );
    wrong(
        "checkpoint: container\nexec: {program: x, ready: {pidfile: p}}",
        &[
            "dir/f.yaml:6:17: a program that daemonises ends as the init of a container, and the container with it: expected checkpoint: subtree beside a pid file",
        ],
    );
}

#[test]
fn the_page_on_programs_has_every_key_and_its_example_is_right() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/programs.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let mut mistakes = Vec::new();
    let scenarios = read(Path::new("suite.yaml"), example, today(), &mut mistakes);
    assert_eq!((mistakes, scenarios.len()), (Vec::new(), 1));
    for key in super::super::exec::KEYS {
        assert!(page.contains(&format!("\n| `{key}` | ")), "{key}");
    }
}

#[test]
fn other_folders_have_goldens_of_their_own_and_share_no_family() {
    let scratch = tempfile::tempdir().unwrap();
    let dirs = ["one", "two"].map(|name| scratch.path().join(name));
    let write = |dir: &Path, family: &str| {
        let text = format!(
            "family: {family}\nabout: A family.\nscenarios:\n  - {{name: a, about: It runs., exec: {{program: x, ready: {{file: r}}}}}}\n"
        );
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join(format!("{family}.yaml")), text).unwrap();
    };
    write(&dirs[0], "f");
    write(&dirs[1], "g");
    let named_twice = [dirs[0].clone(), dirs[1].clone(), dirs[0].clone()];
    let cases = load_others(&named_twice).unwrap().cases(Flavor::Fast);
    let seen: Vec<_> = cases
        .iter()
        .filter(|case| case.arch == Arch::S390x)
        .map(|case| (case.id.without_arch(), case.goldens.clone().unwrap()))
        .collect();
    assert_eq!(
        seen,
        [
            ("f/a", dirs[0].join("snapshots")),
            ("g/a", dirs[1].join("snapshots")),
        ]
    );
    write(&dirs[1], "f");
    let mistakes = load_others(&dirs).unwrap_err();
    assert_eq!(mistakes.len(), 1);
    let expected = format!(
        "{}: {} has a file of this name too",
        dirs[1].join("f.yaml").display(),
        dirs[0].display()
    );
    assert_eq!(mistakes[0].to_string(), expected);
}
