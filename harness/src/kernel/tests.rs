//! Kernel builds end to end, with a make that only pretends to compile.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Mutex;

use super::*;
use crate::process::Cancel;
use crate::store::Store;

/// Compiles `.c` into `.o` where the object is older or missing, and logs as kbuild does.
const MAKE: &str = r#"#!/bin/sh
for target; do :; done
case $target in
mrproper) find . -name '*.o' -delete; rm .config ;;
tinyconfig) echo "CONFIG_64BIT=y" > .config ;;
olddefconfig) grep -v GONE .config > .config.new; mv .config.new .config ;;
*)
    for source in $(find . -name '*.c' | sort); do
        object=${source%.c}.o
        [ "$object" -nt "$source" ] && continue
        echo "  CC      ${object#./}"
        if grep -q BAD "$source"; then
            echo "${source#./}:1:1: error: expected ';' before 'BAD'"
            echo "    1 | BAD"
            exit 2
        fi
        if grep -q HANG "$source"; then
            echo half > "$object"
            sleep 100
        fi
        if grep -q FULL "$source"; then
            cat "$source" > /dev/full || exit 2
        fi
        cp "$source" "$object"
    done
    mkdir -p arch/x86/boot
    cat $(find . -name '*.o' | sort) > vmlinux
    cp vmlinux arch/x86/boot/bzImage
    touch System.map
    ;;
esac
"#;

const PATCH: &str = "\
Hook

--- a/kernel/fork.c
+++ b/kernel/fork.c
@@ -1,3 +1,4 @@
 one
+hook
 two
 three
";

const OURS: &str = "kernels/checkpoint/kernel/checkpoint";

/// A checkout, a kernel tree, a store, and tools.
struct World {
    scratch: tempfile::TempDir,
    ctx: BuildContext,
    tools: Tools,
    told: Mutex<Vec<Progress>>,
}

impl World {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        let mut tools = Tools::system();
        let script = root.join("make");
        fs::write(&script, MAKE).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        tools.make = script.to_str().unwrap().to_owned();
        tools.ccache = "/no/ccache".to_owned();
        tools.installed = "/no/installed.tar.xz".into();
        let world = Self {
            ctx: BuildContext {
                repo: root.join("repo"),
                store: Store::open(&root.join("cache")).unwrap(),
                jobs: 2,
                cancel: Cancel::new().unwrap(),
            },
            scratch,
            tools,
            told: Mutex::default(),
        };
        world.write(
            "repo/kernels/configs/common.config",
            "CONFIG_CHECKPOINT=y\n",
        );
        world.write("repo/kernels/configs/x86_64.config", "CONFIG_64BIT=y\n");
        world.write("repo/kernels/patches/6.12/0001-hook.patch", PATCH);
        world.ours("mm.c", "mm");
        world.ours("files.c", "files");
        world.write("linux/Kconfig", "config");
        world.write("linux/kernel/fork.c", "one\ntwo\nthree\n");
        world
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.scratch.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Write a file of the overlay.
    fn ours(&self, name: &str, text: &str) {
        self.write(&format!("repo/{OURS}/{name}"), text);
    }

    fn linux(&self) -> Source {
        Source::Path(self.scratch.path().join("linux"))
    }

    fn build_from(&self, source: &Source) -> Result<Kernel, KernelError> {
        let tell = |event| self.told.lock().unwrap().push(event);
        self.told.lock().unwrap().clear();
        let (arch, flavor) = (Arch::X86_64, Flavor::Fast);
        build_with(&self.ctx, &self.tools, arch, flavor, source, &tell)
    }

    fn build(&self) -> Result<Kernel, KernelError> {
        self.build_from(&self.linux())
    }

    /// What the build says to a person.
    fn message(&self) -> String {
        let error = self.build().unwrap_err().to_string();
        error.replace(self.ctx.store.root().to_str().unwrap(), "CACHE")
    }

    /// The objects that the last build compiled.
    fn compiled(&self) -> Vec<String> {
        let log = fs::read_to_string(self.work().join("build.log")).unwrap();
        let objects = log
            .lines()
            .filter_map(|line| line.strip_prefix("  CC      "));
        objects.map(str::to_owned).collect()
    }

    fn work(&self) -> PathBuf {
        let mut works = fs::read_dir(self.ctx.store.root().join("work")).unwrap();
        let work = works.next().unwrap().unwrap().path();
        assert!(works.next().is_none(), "one work tree serves all builds");
        work
    }
}

#[test]
fn a_kernel_is_built_once() {
    let world = World::new();
    let first = world.build().unwrap();
    assert!(first.built);
    let image = fs::read_to_string(&first.image).unwrap();
    assert_eq!(image, "filesmmone\nhook\ntwo\nthree\n");
    let config = fs::read_to_string(first.image.with_file_name("config")).unwrap();
    assert!(config.contains("CONFIG_CHECKPOINT=y"));
    let what = "kernel x86_64 fast".to_owned();
    assert_eq!(world.told.lock().unwrap()[0], Progress::Started { what });
    let again = world.build().unwrap();
    assert!(!again.built && again.key == first.key);
    assert_eq!(*world.told.lock().unwrap(), []);
    // The user's tree is as it was.
    let theirs = fs::read_to_string(world.scratch.path().join("linux/kernel/fork.c")).unwrap();
    assert_eq!(theirs, "one\ntwo\nthree\n");
}

#[test]
fn only_what_was_touched_is_compiled_again() {
    let world = World::new();
    let first = world.build().unwrap();
    assert_eq!(world.compiled().len(), 3);
    let object = world.work().join("tree/kernel/checkpoint/files.o");
    let inode = |path: &Path| path.metadata().unwrap().ino();
    let before = inode(&object);
    world.ours("mm.c", "mm, changed");
    let second = world.build().unwrap();
    assert!(second.built && second.key != first.key);
    assert_eq!(world.compiled(), ["kernel/checkpoint/mm.o"]);
    assert_eq!(inode(&object), before);
    // Back again: the first kernel is still there.
    world.ours("mm.c", "mm");
    assert!(!world.build().unwrap().built);
}

#[test]
fn a_file_that_vanished_from_the_overlay_vanishes_from_the_tree() {
    let world = World::new();
    world.build().unwrap();
    fs::remove_file(world.ctx.repo.join(OURS).join("files.c")).unwrap();
    world.build().unwrap();
    let ours = world.work().join("tree/kernel/checkpoint");
    assert!(!ours.join("files.c").exists() && ours.join("mm.c").exists());
}

#[test]
fn a_changed_source_or_patch_begins_a_fresh_tree() {
    let world = World::new();
    world.build().unwrap();
    let patched = PATCH.replace("+hook", "+hook, changed");
    world.write("repo/kernels/patches/6.12/0001-hook.patch", &patched);
    let image = fs::read_to_string(world.build().unwrap().image).unwrap();
    assert_eq!(image, "filesmmone\nhook, changed\ntwo\nthree\n");
    assert_eq!(world.compiled().len(), 3);
    world.write("linux/kernel/fork.c", "one\ntwo\nthree\nfour\n");
    world.build().unwrap();
    assert_eq!(world.compiled().len(), 3);
}

#[test]
fn a_patch_in_the_folder_of_a_flavor_is_for_that_flavor_alone() {
    let world = World::new();
    let debug = PATCH.replace("+hook", "+checked");
    world.write("repo/kernels/patches/6.12/debug/0001-check.patch", &debug);
    let image = fs::read_to_string(world.build().unwrap().image).unwrap();
    assert_eq!(image, "filesmmone\nhook\ntwo\nthree\n");
    assert!(Flavor::Debug.has(Path::new("debug/0001-check.patch")));
    assert!(Flavor::Debug.has(Path::new("0001-hook.patch")));
}

#[test]
fn a_patch_that_does_not_apply_names_patch_and_hunk() {
    let world = World::new();
    world.write("linux/kernel/fork.c", "one\n2\nthree\n");
    assert_eq!(
        world.message(),
        "kernels/patches/6.12/0001-hook.patch does not apply to this kernel source (docs/porting.md says how to refresh it)
  kernel/fork.c: hunk 1 at line 1"
    );
    assert!(!world.work().join("tree").exists());
    world.write("linux/kernel/fork.c", "one\ntwo\nthree\n");
    assert!(world.build().unwrap().built);
}

#[test]
fn the_overlay_does_not_replace_the_kernels_own_files() {
    let world = World::new();
    world.write("repo/kernels/checkpoint/kernel/fork.c", "ours");
    let message = world.message();
    assert!(message.starts_with("kernels/checkpoint/kernel/fork.c is a file of the kernel's own"));
    // Once more: the failed attempt did not make it ours.
    assert_eq!(world.message(), message);
    fs::remove_file(world.ctx.repo.join("kernels/checkpoint/kernel/fork.c")).unwrap();
    assert!(world.build().unwrap().built);
}

#[test]
fn what_was_built_in_the_users_tree_stays_there() {
    let world = World::new();
    world.write("linux/.config", "CONFIG_OLD=y");
    world.write("linux/kernel/stale.o", "stale");
    let kernel = world.build().unwrap();
    let image = fs::read_to_string(&kernel.image).unwrap();
    assert_eq!(image, "filesmmone\nhook\ntwo\nthree\n");
    assert!(world.scratch.path().join("linux/kernel/stale.o").exists());
}

#[test]
fn a_symbol_that_vanished_names_the_line_that_requests_it() {
    let world = World::new();
    let fragment = "CONFIG_CHECKPOINT=y\nCONFIG_GONE=y\n";
    world.write("repo/kernels/configs/common.config", fragment);
    assert_eq!(
        world.message(),
        "x86_64: symbols are not as requested; request what they depend on as well
  CONFIG_GONE: wanted y, got no such symbol (kernels/configs/common.config:2)"
    );
}

#[test]
fn a_failed_build_shows_the_compilers_error_and_the_log() {
    let world = World::new();
    world.build().unwrap();
    world.ours("mm.c", "BAD");
    let work = world.work();
    let name = work.file_name().unwrap().to_str().unwrap();
    assert_eq!(
        world.message(),
        format!(
            "x86_64 fast: the kernel does not build (exit status: 2)
  {OURS}/mm.c:1:1: error: expected ';' before 'BAD'
      1 | BAD
  the whole log: CACHE/work/{name}/build.log"
        )
    );
    world.ours("mm.c", "mended");
    world.build().unwrap();
    assert_eq!(world.compiled(), ["kernel/checkpoint/mm.o"]);
}

#[test]
fn a_full_disk_is_told_apart_from_a_bad_source() {
    let world = World::new();
    world.ours("mm.c", "FULL");
    let error = world.build().unwrap_err();
    assert!(
        matches!(error, KernelError::Store(StoreError::DiskFull { .. })),
        "{error}"
    );
}

#[test]
fn half_an_object_of_a_killed_make_is_not_taken_for_a_whole_one() {
    let mut world = World::new();
    world.build().unwrap();
    let object = world.work().join("tree/kernel/checkpoint/mm.o");
    world.ours("mm.c", "HANG");
    let cancel = world.ctx.cancel.clone();
    let watched = object.clone();
    let killer = std::thread::spawn(move || {
        while fs::read(&watched).is_ok_and(|now| now != b"half\n") {
            std::thread::sleep(Duration::from_millis(5));
        }
        cancel.cancel();
    });
    assert!(matches!(world.build(), Err(KernelError::Cancelled)));
    killer.join().unwrap();
    assert_eq!(fs::read(&object).unwrap(), b"half\n");
    world.ctx.cancel = Cancel::new().unwrap();
    world.ours("mm.c", "whole");
    // As old as the source was before: only the state tells that the object is not whole.
    let image = fs::read_to_string(world.build().unwrap().image).unwrap();
    assert_eq!(image, "fileswholeone\nhook\ntwo\nthree\n");
    assert_eq!(world.compiled(), ["kernel/checkpoint/mm.o"]);
}

#[test]
fn a_tarball_and_the_tree_in_it_give_the_same_kernel() {
    let world = World::new();
    let tree = fs::read(world.build().unwrap().image).unwrap();
    let root = world.scratch.path();
    for (name, option) in [("linux.tar.gz", "--gzip"), ("linux.tar.xz", "--xz")] {
        let path = root.join(name);
        let argv = ["tar", option, "-cf", path.to_str().unwrap(), "linux"];
        tools::read(&argv, root).unwrap();
        let kernel = world.build_from(&Source::Path(path)).unwrap();
        assert_eq!(fs::read(kernel.image).unwrap(), tree);
    }
}

#[test]
fn a_git_tree_counts_with_what_is_not_committed() {
    let world = World::new();
    let linux = world.scratch.path().join("linux");
    let git = |arguments: &[&str]| {
        let identity = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost"];
        tools::read(&[&identity, arguments].concat(), &linux).unwrap();
    };
    git(&["init", "--quiet"]);
    world.write("linux/.gitignore", "*.o\n");
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "all"]);
    let first = world.build().unwrap().key;
    world.write("linux/kernel/fork.o", "ignored");
    assert_eq!(world.build().unwrap().key, first);
    world.write("linux/kernel/exit.c", "exit");
    let second = world.build().unwrap();
    assert_ne!(second.key, first);
    assert!(fs::read_to_string(second.image).unwrap().contains("exit"));
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "more"]);
    fs::remove_file(linux.join("kernel/exit.c")).unwrap();
    let third = world.build().unwrap();
    assert!(!fs::read_to_string(third.image).unwrap().contains("exit"));
}

#[test]
fn what_is_no_source_is_named() {
    let world = World::new();
    let root = world.scratch.path();
    let message = |path: &Path| {
        let error = world
            .build_from(&Source::Path(path.to_owned()))
            .unwrap_err();
        error.to_string().replace(root.to_str().unwrap(), "ROOT")
    };
    let expected = "the kernel source ROOT/gone is not there: expected a tarball or a tree";
    assert_eq!(message(&root.join("gone")), expected);
    let expected = "the kernel source ROOT/repo is no kernel tree: it has no Kconfig";
    assert_eq!(message(&root.join("repo")), expected);
    world.write("text", "no tarball");
    let message = message(&root.join("text"));
    assert!(
        message.contains("does not look like a tar archive"),
        "{message}"
    );
}

#[test]
fn debians_package_is_fetched_once() {
    let mut world = World::new();
    let root = world.scratch.path().to_owned();
    let tool = |name: &str, script: &str| {
        let path = root.join(name);
        fs::write(&path, format!("#!/bin/sh\nset -e\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let rooted = root.display();
    world.tools.apt_get = tool(
        "apt-get",
        "echo once >> ../../../fetched; touch linux-source-6.12_1%3a6.12.9-1_all.deb",
    );
    world.tools.dpkg_deb = tool(
        "dpkg-deb",
        &format!(
            "mkdir -p $3/usr/src; tar -C {rooted} -cJf $3/usr/src/linux-source-6.12.tar.xz linux"
        ),
    );
    let kernel = world.build_from(&Source::Debian).unwrap();
    assert!(kernel.built);
    assert!(!world.build_from(&Source::Debian).unwrap().built);
    assert_eq!(world.ctx.store.note(PACKAGE).as_deref(), Some("1:6.12.9-1"));
    let fetched = fs::read_to_string(root.join("fetched")).unwrap();
    assert_eq!(fetched, "once\n");

    world.tools.apt_get = tool("apt-get", "echo 'E: Unable to locate package'; exit 100");
    fs::remove_file(world.ctx.store.root().join("notes").join(PACKAGE)).unwrap();
    let message = world.build_from(&Source::Debian).unwrap_err().to_string();
    assert!(
        message.ends_with("\n  E: Unable to locate package"),
        "{message}"
    );
}

#[test]
fn flavors_are_found_by_name() {
    for flavor in [Flavor::Fast, Flavor::Debug] {
        assert_eq!(flavor.to_string().parse(), Ok(flavor));
    }
    assert!("slow".parse::<Flavor>().is_err());
}

#[test]
fn a_changed_source_is_built_beside_the_store_and_the_true_one_comes_back() {
    let world = World::new();
    let file = PathBuf::from("kernel/checkpoint/mm.c");
    let changed = |text: &str, name: &str| {
        let out = world.scratch.path().join(name);
        fs::create_dir(&out).unwrap();
        changed::build_changed_with(
            &world.ctx,
            &world.tools,
            (Arch::X86_64, Flavor::Fast),
            &world.linux(),
            &Changes::from([(file.clone(), text.into())]),
            &out,
            &|_| (),
        )
    };
    let artifacts = || fs::read_dir(world.ctx.store.root().join("artifacts/kernel")).unwrap();
    let truth = world.build().unwrap();
    let mutant = changed("mutant", "one").unwrap();
    assert_ne!(mutant.key, truth.key);
    let image = fs::read_to_string(mutant.image).unwrap();
    assert_eq!(image, "filesmutantone\nhook\ntwo\nthree\n");
    assert_eq!(world.compiled(), ["kernel/checkpoint/mm.o"]);
    assert_eq!(artifacts().count(), 1, "only the true kernel is kept");
    // What does not compile leaves the tree no worse.
    assert!(matches!(
        changed("BAD", "two"),
        Err(KernelError::Build { .. })
    ));
    assert_eq!(world.build().unwrap().key, truth.key);
    world.ours("files.c", "others");
    let next = fs::read_to_string(world.build().unwrap().image).unwrap();
    assert_eq!(next, "othersmmone\nhook\ntwo\nthree\n");
    assert_eq!(
        world.compiled(),
        ["kernel/checkpoint/files.o", "kernel/checkpoint/mm.o"]
    );
}

#[test]
fn a_kernel_that_runs_elsewhere_says_so_in_its_configuration() {
    let s390 = "CONFIG_RELOCATABLE=y\nCONFIG_KERNEL_IMAGE_BASE=0x3FFE0000000\n";
    for (config, offset) in [(s390, 0x3ff_e000_0000), ("CONFIG_64BIT=y\n", 0), ("", 0)] {
        assert_eq!(offset_in(config), offset);
    }
}
