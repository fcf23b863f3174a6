//! The store when things go wrong: damage, full disks, killed runs, two runs at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(&scratch.path().join("cache")).unwrap();
    (scratch, store)
}

fn key(text: &str) -> Key {
    KeyBuilder::new("test").text("text", text).finish()
}

fn fill(text: &str) -> impl FnOnce(&Path) -> Result<(), StoreError> {
    move |dir| {
        let path = dir.join("image");
        fs::write(&path, text).map_err(|error| StoreError::file(&path, "write", error))
    }
}

fn entries(store: &Store, folder: &str) -> usize {
    fs::read_dir(store.root().join(folder)).unwrap().count()
}

#[test]
fn what_was_built_is_found_again() {
    let (_scratch, store) = store();
    let key = key("a");
    assert!(store.get("kernel", &key).unwrap().is_none());
    let first = store.get_or_build("kernel", &key, fill("1")).unwrap();
    let again = store.get_or_build("kernel", &key, fill("2")).unwrap();
    assert!(first.built && !again.built);
    assert_eq!(fs::read(again.dir.join("image")).unwrap(), b"1");
    assert!(store.get("guest", &key).unwrap().is_none());
}

#[test]
fn a_damaged_artifact_is_kept_apart_and_built_anew() {
    let (_scratch, store) = store();
    let key = key("a");
    let first = store.get_or_build("kernel", &key, fill("sound")).unwrap();
    for damage in ["s0und", "", "sound but longer"] {
        fs::write(first.dir.join("image"), damage).unwrap();
        assert!(store.get("kernel", &key).unwrap().is_none());
        let again = store.get_or_build("kernel", &key, fill("sound")).unwrap();
        assert!(again.built);
        assert_eq!(fs::read(again.dir.join("image")).unwrap(), b"sound");
        let kept = store.root().join("corrupt").join(lock_name("kernel", &key));
        assert_eq!(fs::read_to_string(kept.join("image")).unwrap(), damage);
    }
    assert_eq!(entries(&store, "corrupt"), 1);
}

#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    let (_scratch, store) = store();
    let kept = store.get_or_build("kernel", &key("a"), fill("1")).unwrap();
    let full = |dir: &Path| {
        fs::write(dir.join("part"), "half of it").unwrap();
        let path = Path::new("/dev/full");
        fs::write(path, "the rest").map_err(|error| StoreError::file(path, "write", error))
    };
    let error = store.get_or_build("kernel", &key("b"), full).unwrap_err();
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    assert!(error.to_string().contains("free some space"));
    assert!(store.get("kernel", &key("b")).unwrap().is_none());
    assert_eq!(entries(&store, "scratch"), 0);
    assert!(kept.dir.join("image").exists());
    assert!(
        store
            .get_or_build("kernel", &key("b"), fill("2"))
            .unwrap()
            .built
    );
}

#[test]
fn two_runs_build_once() {
    let (scratch, store) = store();
    let builds = AtomicUsize::new(0);
    let run = || {
        // Each opens the store for itself, as another process would.
        let store = Store::open(&scratch.path().join("cache")).unwrap();
        let build = |dir: &Path| {
            builds.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(100));
            fill("1")(dir)
        };
        let artifact = store.get_or_build("kernel", &key("a"), build).unwrap();
        assert_eq!(fs::read(artifact.dir.join("image")).unwrap(), b"1");
        artifact.built
    };
    let built = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        runs.into_iter()
            .map(|run| run.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert_eq!(builds.load(Ordering::SeqCst), 1);
    assert_eq!(built.iter().filter(|&&built| built).count(), 1);
    drop(store);
}

#[test]
fn what_a_killed_run_left_is_swept_but_not_what_is_being_built() {
    let (scratch, store) = store();
    let cache = scratch.path().join("cache");
    fs::create_dir(
        cache
            .join("scratch")
            .join(lock_name("kernel", &key("dead"))),
    )
    .unwrap();
    let build = |dir: &Path| {
        let other = Store::open(&cache)?;
        assert_eq!(entries(&other, "scratch"), 1);
        assert!(dir.is_dir());
        fill("1")(dir)
    };
    store.get_or_build("kernel", &key("a"), build).unwrap();
    assert_eq!(entries(&store, "scratch"), 0);
}

#[test]
fn a_wait_for_another_run_ends_when_cancelled() {
    let (_scratch, store) = store();
    let held = store.work_dir("tree").unwrap();
    assert!(held.path().is_dir());
    let cancel = Cancel::new().unwrap();
    let waiting = store.clone().cancelled_by(&cancel);
    let start = Instant::now();
    let error = std::thread::scope(|scope| {
        let wait = scope.spawn(|| waiting.work_dir("tree").unwrap_err());
        cancel.cancel();
        wait.join().unwrap()
    });
    assert!(matches!(error, StoreError::Cancelled));
    assert!(start.elapsed() < Duration::from_secs(20));
    drop(held);
    store.work_dir("tree").unwrap();
}

#[test]
fn notes_are_kept() {
    let (_scratch, store) = store();
    assert_eq!(store.note("version"), None);
    store.set_note("version", "6.12.1").unwrap();
    store.set_note("version", "6.12.2").unwrap();
    assert_eq!(store.note("version").as_deref(), Some("6.12.2"));
}

#[test]
fn a_throwaway_goes_away_with_its_owner_or_at_the_next_start() {
    let (_scratch, store) = store();
    let thrown = store.throwaway("mutant").unwrap();
    let artifact = thrown.store().get_or_build("kernel", &key("a"), fill("1"));
    let dir = artifact.unwrap().dir;
    assert!(dir.starts_with(thrown.dir()) && dir.join("image").exists());
    // Somebody else's start leaves it alone.
    Store::open(store.root()).unwrap();
    assert!(dir.exists());
    drop(thrown);
    assert_eq!(entries(&store, "scratch"), 0);
    assert!(store.get("kernel", &key("a")).unwrap().is_none());
    // As a run leaves it that was killed.
    fs::create_dir_all(store.root().join("scratch/throwaway-mutant/store")).unwrap();
    Store::open(store.root()).unwrap();
    assert_eq!(entries(&store, "scratch"), 0);
}

#[test]
fn only_what_nobody_used_for_long_is_removed() {
    let (_scratch, store) = store();
    let day = Duration::from_secs(24 * 3600);
    let (old, new) = (key("old"), key("new"));
    for key in [&old, &new] {
        store.get_or_build("kernel", key, fill("1")).unwrap();
    }
    drop(store.work_dir("tree").unwrap());
    let date = |path: PathBuf| {
        let file = File::open(path).unwrap();
        let then = std::time::SystemTime::now() - 2 * day;
        file.set_modified(then).unwrap();
    };
    assert_eq!(store.unused(day).unwrap().len(), 0);
    for key in [&old, &new] {
        date(store.artifact_dir("kernel", key));
    }
    date(store.root().join("locks/work-tree"));
    let unused = store.unused(day).unwrap();
    let kinds: Vec<_> = unused.iter().map(|it| it.kind.as_str()).collect();
    assert_eq!(kinds, ["kernel", "kernel", "work"]);
    assert!(unused[0].bytes > 0);
    // Used after it was looked for, or just now.
    store.get("kernel", &new).unwrap().unwrap();
    let held = store.work_dir("tree").unwrap();
    let removed: Vec<_> = unused
        .iter()
        .map(|it| store.remove(it, day).unwrap())
        .collect();
    assert_eq!(removed.iter().filter(|&&removed| removed).count(), 1);
    drop(held);
    assert!(store.get("kernel", &old).unwrap().is_none());
    assert!(store.get("kernel", &new).unwrap().is_some());
    assert!(store.root().join("work/tree").is_dir());
}
