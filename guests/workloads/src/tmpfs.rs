//! What is in a tmpfs that the process has mounted itself.

use std::collections::HashMap;
use std::ffi::{CStr, c_int};
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::args::Args;
use crate::error::{Error, Result};
use crate::memfd::{has, write};
use crate::mounts::{bind, folder, leave_namespace, mount, shown, unmount};
use crate::pattern;
use crate::stage::Stage;
use crate::sys::{self, Mapping, page_size};
use crate::unlinked::odd;

fn tmpfs(target: &str) -> Result<()> {
    mount("tmpfs", target, "tmpfs", 0, "size=24m")
}

fn create(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    options.open(path).map_err(Error::from_io("make a file"))
}

fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir(path).map_err(Error::from_io("make a folder"))
}

fn text(path: &Path, contents: &str) -> Result<()> {
    fs::write(path, contents).map_err(Error::from_io("write"))
}

fn mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(Error::from_io("chmod"))
}

fn special(path: &Path, mode: libc::mode_t, device: libc::dev_t) -> Result<()> {
    let path = sys::c_path(path)?;
    // SAFETY: the string ends with a zero byte.
    sys::check("mknod", unsafe { libc::mknod(path.as_ptr(), mode, device) }).map(drop)
}

/// Long ago, with a fraction of a second; so a time that nobody has set is noticed.
fn age(path: &Path, seconds: u64) -> Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, 123_456_789);
    let file = File::open(path).map_err(Error::from_io("open"))?;
    file.set_modified(time)
        .map_err(Error::from_io("set the time"))
}

/// A sum of all bytes that depends on their places.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The same of what was written to a file, and of where that is.
fn sum_of_file(path: &Path) -> Result<u64> {
    let file = File::open(path).map_err(Error::from_io("open"))?;
    let fd = file.as_raw_fd();
    let mut total = 0_u64;
    let mut bytes = vec![0; 64 << 10];
    let mut at = 0;
    // Behind the last data there is none: ENXIO.
    while let Ok(data) = sys::seek(fd, at, libc::SEEK_DATA) {
        let end = sys::seek(fd, data, libc::SEEK_HOLE)?;
        at = data;
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            let piece = bytes.len().min(left);
            let piece = &mut bytes[..piece];
            file.read_exact_at(piece, at.cast_unsigned())
                .map_err(Error::from_io("read"))?;
            total = sum(piece) ^ total.rotate_left(7) ^ at.cast_unsigned();
            at += i64::try_from(piece.len()).unwrap_or(i64::MAX);
        }
    }
    Ok(total)
}

fn described(path: &Path, name: &str, it: &Metadata) -> Result<String> {
    let inner = if it.is_symlink() {
        let target = fs::read_link(path).map_err(Error::from_io("read a link"))?;
        format!("{}", sum(target.as_os_str().as_encoded_bytes()))
    } else if it.is_file() {
        format!("{} blocks, {}", it.blocks(), sum_of_file(path)?)
    } else {
        String::new()
    };
    Ok(format!(
        "{name}: {:o} {}:{} links {} size {} device {} at {}.{} {inner}",
        it.mode(),
        it.uid(),
        it.gid(),
        it.nlink(),
        it.len(),
        it.rdev(),
        it.mtime(),
        it.mtime_nsec()
    ))
}

/// Everything below a folder, in the order in which it is read, and which names are of one file.
fn listing(root: &Path) -> Result<Vec<String>> {
    let mut all = Vec::new();
    let mut first = HashMap::new();
    let mut left = vec![(root.to_owned(), String::from("."))];
    while let Some((path, name)) = left.pop() {
        let it = fs::symlink_metadata(&path).map_err(Error::from_io("lstat"))?;
        let mut line = described(&path, &name, &it)?;
        if !it.is_dir() && it.nlink() > 1 {
            let same = first
                .entry((it.dev(), it.ino()))
                .or_insert_with(|| name.clone());
            line = format!("{line} is {same}");
        }
        all.push(line);
        if it.is_dir() {
            for entry in fs::read_dir(&path).map_err(Error::from_io("read a folder"))? {
                let entry = entry.map_err(Error::from_io("read a folder"))?;
                let inner = entry.file_name().to_string_lossy().into_owned();
                left.push((entry.path(), format!("{name}/{inner}")));
            }
        }
    }
    Ok(all)
}

/// Of all that the process has made in its folder.
fn all_listings(stage: &Stage) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for name in [
        "own", "part", "point", "whole", "first", "second", "outside",
    ] {
        let path = stage.path(name);
        if path.exists() {
            all.extend(listing(&path)?);
        }
    }
    Ok(all)
}

/// Files of all kinds that everybody may make.
fn plain(root: &Path) -> Result<()> {
    let at = |name: &str| root.join(name);
    for name in ["folder", "folder/inner", "folder/inner/empty", "closed"] {
        make_folder(&at(name))?;
    }
    let file = create(&at("folder/file"))?;
    write(&file, 0, 1, odd())?;
    write(&file, 8 * page_size(), 2, odd())?;
    file.set_len(40 * page_size() as u64 + 5)
        .map_err(Error::from_io("ftruncate"))?;
    text(&at("removed"), "gone")?;
    text(&at("short"), "a few bytes")?;
    text(&at("nothing"), "")?;
    fs::remove_file(at("removed")).map_err(Error::from_io("unlink"))?;
    fs::rename(at("short"), at("renamed")).map_err(Error::from_io("rename"))?;
    let link = |from: &str, to: &str| {
        fs::hard_link(at(from), at(to)).map_err(Error::from_io("make a second name"))
    };
    let leads = |name: &str, to: &str| symlink(to, at(name)).map_err(Error::from_io("symlink"));
    leads("link", "folder/file")?;
    leads("dangling", "/no/such/file")?;
    // More than is kept in the inode itself.
    leads("folder/far", &"far/".repeat(200))?;
    special(&at("fifo"), libc::S_IFIFO | 0o640, 0)?;
    special(&at("closed/socket"), libc::S_IFSOCK | 0o755, 0)?;
    link("folder/file", "folder/inner/second")?;
    link("renamed", "closed/third")?;
    link("fifo", "folder/fifo")?;
    link("link", "folder/link")?;
    mode(&at("folder/file"), 0o604)?;
    mode(&at("nothing"), 0o000)?;
    mode(&at("closed"), 0o1500)?;
    age(&at("folder/file"), 1_000_000_000)?;
    age(&at("folder"), 1_100_000_000)?;
    mode(root, 0o1751)?;
    age(root, 1_200_000_000)
}

/// ... and what takes privileges.
fn privileged(root: &Path) -> Result<()> {
    let at = |name: &str| root.join(name);
    special(&at("null"), libc::S_IFCHR | 0o666, libc::makedev(1, 3))?;
    special(&at("disk"), libc::S_IFBLK | 0o660, libc::makedev(7, 300))?;
    let give = |name: &str, uid: u32, gid: u32| {
        chown(at(name), Some(uid), Some(gid)).map_err(Error::from_io("chown"))
    };
    give("folder", 1, 2)?;
    give("folder/file", 3, 4)?;
    give("fifo", 5, 6)?;
    mode(&at("folder"), 0o2775)?;
    mode(&at("folder/file"), 0o6755)?;
    std::os::unix::fs::lchown(at("link"), Some(7), Some(8)).map_err(Error::from_io("lchown"))
}

fn deep(root: &Path) -> Result<()> {
    let mut at = root.to_owned();
    for level in 0..60 {
        at.push(format!("level-{level}-{}", "x".repeat(40)));
        make_folder(&at)?;
        text(&at.join("file"), &format!("at level {level}"))?;
    }
    Ok(())
}

fn many(root: &Path) -> Result<()> {
    for number in 0..60 {
        let at = root.join(format!("folder-{number}"));
        make_folder(&at)?;
        for number in 0..50 {
            text(&at.join(format!("file-{number}")), "")?;
        }
    }
    Ok(())
}

fn named(root: &Path) -> Result<()> {
    let longest = "n".repeat(255);
    for name in ["with space", "line\nbreak", "a\\b", "-", "...", &longest] {
        text(&root.join(name), name)?;
    }
    symlink("t".repeat(4095), root.join("longest link")).map_err(Error::from_io("symlink"))
}

fn large(root: &Path) -> Result<()> {
    let file = create(&root.join("file"))?;
    write(&file, 0, 3, 5 << 20)?;
    // Where 32 bits do not reach.
    let far = pattern::piece(4, 0, 3 << 20);
    file.write_all_at(&far, 5 << 30)
        .map_err(Error::from_io("write"))
}

/// Other file systems in it, and things from elsewhere.
fn nested(stage: &Stage, root: &Path) -> Result<()> {
    let at = |name: &str| root.join(name).to_string_lossy().into_owned();
    make_folder(&root.join("own"))?;
    make_folder(&root.join("covered"))?;
    text(&root.join("covered/file"), "below")?;
    make_folder(&root.join("from-outside"))?;
    text(&root.join("file"), "covered")?;
    tmpfs(&at("own"))?;
    text(&root.join("own/file"), "in the inner one")?;
    make_folder(&root.join("own/inner"))?;
    tmpfs(&at("covered"))?;
    let outside = folder(stage, "outside")?;
    text(&stage.path("outside/file"), "outside")?;
    bind(&outside, &at("from-outside"))?;
    bind(&format!("{outside}/file"), &at("file"))
}

/// What other things are mounted on is there, too.
fn uncover(stage: &mut Stage, root: &Path) -> Result<()> {
    for name in ["covered", "file"] {
        unmount(&root.join(name).to_string_lossy())?;
    }
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
    stage.equal("below a tmpfs", &read("covered/file").as_str(), &"below");
    stage.equal("below a file", &read("file").as_str(), &"covered");
    Ok(())
}

/// Parts of it are mounted, too.
fn parts(stage: &Stage, root: &Path) -> Result<()> {
    make_folder(&root.join("inner"))?;
    text(&root.join("inner/file"), "once")?;
    text(&root.join("file"), "twice")?;
    text(&stage.path("point"), "")?;
    let at = |name: &str| root.join(name).to_string_lossy().into_owned();
    bind(&at("inner"), &folder(stage, "part")?)?;
    bind(&at("file"), &stage.path("point").to_string_lossy())?;
    bind(&root.to_string_lossy(), &folder(stage, "whole")?)?;
    // What is mounted on a part is on no other mount of it.
    make_folder(&root.join("inner/deeper"))?;
    tmpfs(&stage.path("part/deeper").to_string_lossy())?;
    text(&stage.path("part/deeper/file"), "on a part")?;
    // A part that is covered by now where it came from.
    make_folder(&root.join("later"))?;
    text(&root.join("later/file"), "below")?;
    bind(&at("later"), &folder(stage, "first")?)?;
    tmpfs(&at("later"))?;
    bind(
        &stage.path("first").to_string_lossy(),
        &folder(stage, "second")?,
    )
}

fn set_attribute(path: &Path) -> Result<()> {
    const NAME: &CStr = c"trusted.name";
    let path = sys::c_path(path)?;
    // SAFETY: the strings and the value live.
    sys::check("setxattr", unsafe {
        libc::setxattr(path.as_ptr(), NAME.as_ptr(), c"value".as_ptr().cast(), 5, 0)
    })
    .map(drop)
}

/// What chattr(1) sets: `FS_NODUMP_FL`.
fn set_flag(path: &Path) -> Result<()> {
    let file = create(path)?;
    let flags: c_int = 0x40;
    // SAFETY: FS_IOC_SETFLAGS reads an int, whatever its number says.
    let ret = unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags) };
    sys::check("FS_IOC_SETFLAGS", ret).map(drop)
}

fn fill(stage: &Stage, root: &Path, what: &str) -> Result<()> {
    match what {
        "empty" => mode(root, 0o700).and_then(|()| age(root, 1_300_000_000)),
        "plain" => plain(root),
        "kinds" => plain(root).and_then(|()| privileged(root)),
        "deep" => deep(root),
        "many" => many(root),
        "named" => named(root),
        "large" => large(root),
        "nested" => nested(stage, root),
        "parts" => parts(stage, root),
        "part-alone" => {
            make_folder(&root.join("inner"))?;
            let inner = root.join("inner").to_string_lossy().into_owned();
            bind(&inner, &folder(stage, "part")?)?;
            unmount(&root.to_string_lossy())
        }
        "attribute" => {
            text(&root.join("file"), "")?;
            set_attribute(&root.join("file"))
        }
        "flag" => set_flag(&root.join("file")),
        other => Err(Error::Argument(format!("what={other}"))),
    }
}

/// All that is in one is there again, and in the same order.
pub(crate) fn contents(stage: &mut Stage, args: &Args) -> Result<()> {
    let what = args.text("what", "plain");
    tmpfs(&folder(stage, "own")?)?;
    let root = stage.path("own");
    fill(stage, &root, what)?;
    let (before, mounts) = (all_listings(stage)?, shown());
    stage.hold()?;
    let after = all_listings(stage)?;
    let differs = after.iter().zip(&before).find(|(one, other)| one != other);
    stage.equal("what is in it", &differs, &None);
    stage.equal("how much is in it", &after.len(), &before.len());
    stage.equal("mounts", &shown(), &mounts);
    if what == "nested" {
        uncover(stage, &root)?;
    }
    let new = text(&root.join("new"), "made afterwards");
    stage.works("a new file", new);
    Ok(())
}

/// The same without a container.
pub(crate) fn contents_apart(stage: &mut Stage, args: &Args) -> Result<()> {
    leave_namespace()?;
    contents(stage, args)
}

/// Files in it are open, mapped and deleted; one is the working directory.
pub(crate) fn open(stage: &mut Stage, _args: &Args) -> Result<()> {
    const READ_WRITE: c_int = libc::PROT_READ | libc::PROT_WRITE;
    tmpfs(&folder(stage, "own")?)?;
    let at = |name: &str| stage.path(&format!("own/{name}"));
    make_folder(&at("inner"))?;
    let mut file = create(&at("inner/file"))?;
    write(&file, 0, 1, odd())?;
    file.seek(SeekFrom::Start(77))
        .map_err(Error::from_io("seek"))?;
    let gone = create(&at("inner/gone"))?;
    write(&gone, 0, 2, odd())?;
    fs::remove_file(at("inner/gone")).map_err(Error::from_io("unlink"))?;
    let mapped = create(&at("mapped"))?;
    write(&mapped, 0, 3, 4 * page_size())?;
    let map = |kind| Mapping::new(4 * page_size(), READ_WRITE, kind, mapped.as_raw_fd(), 0);
    let (mut shared, mut private) = (map(libc::MAP_SHARED)?, map(libc::MAP_PRIVATE)?);
    private.page_mut(2).fill(9);
    shared.page_mut(1).fill(0x55);
    std::env::set_current_dir(at("inner")).map_err(Error::from_io("chdir"))?;
    stage.hold()?;
    let mut bytes = vec![0; 10];
    let read = file.read_exact(&mut bytes);
    stage.works("at the offset", read.map_err(Error::from_io("read")));
    let all = pattern::piece(1, 0, odd());
    stage.equal("at the offset", &bytes.as_slice(), &&all[77..87]);
    has(stage, "of one that is gone", &gone, 0, 2, odd());
    stage.equal("it is gone", &Path::new("gone").exists(), &false);
    let by_name = fs::read("file").map_err(Error::from_io("read"))?;
    stage.equal("by its name", &pattern::mismatch(&by_name, 1), &None);
    stage.equal("its length", &by_name.len(), &odd());
    stage.equal("private", &private.page(2)[7], &9);
    stage.equal("shared", &shared.page(1)[7], &0x55);
    shared.page_mut(3).fill(0x66);
    let mut byte = [0];
    let read = mapped.read_exact_at(&mut byte, 3 * page_size() as u64 + 5);
    stage.works("the file", read.map_err(Error::from_io("read")));
    stage.equal("the file has what is written to memory", &byte, &[0x66]);
    Ok(())
}

/// Some names of a folder that is open, one call's worth: as many as fit into a few bytes.
fn some_names(folder: &File) -> Result<Vec<String>> {
    let mut bytes = [0u8; 80];
    // SAFETY: the kernel writes no more than the buffer has.
    let read = unsafe {
        libc::syscall(
            libc::SYS_getdents64,
            folder.as_raw_fd(),
            bytes.as_mut_ptr(),
            bytes.len(),
        )
    };
    let read = sys::check("getdents64", c_int::try_from(read).unwrap_or(-1))?;
    let mut left = &bytes[..usize::try_from(read).unwrap_or(0)];
    let mut names = Vec::new();
    while left.len() > 19 {
        let len = usize::from(u16::from_ne_bytes([left[16], left[17]]));
        let name = CStr::from_bytes_until_nul(&left[19..len]).unwrap_or_default();
        names.push(name.to_string_lossy().into_owned());
        left = &left[len..];
    }
    Ok(names)
}

/// A folder is read in the middle; with `gaps` what was in it before is gone.
pub(crate) fn reading(stage: &mut Stage, args: &Args) -> Result<()> {
    tmpfs(&folder(stage, "own")?)?;
    let root = stage.path("own");
    let gaps = args.text("gaps", "no") == "yes";
    for number in 0..20 {
        text(&root.join(format!("file-{number:02}")), "")?;
    }
    for number in (0..20).filter(|_| gaps).step_by(3) {
        fs::remove_file(root.join(format!("file-{number:02}")))
            .map_err(Error::from_io("unlink"))?;
    }
    // All but the folder itself.
    let expected = listing(&root)?.len() - 1;
    let folder = File::open(&root).map_err(Error::from_io("open"))?;
    let mut names = Vec::new();
    for _ in 0..4 {
        names.extend(some_names(&folder)?);
    }
    let ended = File::open(&root).map_err(Error::from_io("open"))?;
    while !some_names(&ended)?.is_empty() {}
    stage.hold()?;
    let before = names.len();
    loop {
        let more = some_names(&folder)?;
        if more.is_empty() {
            break;
        }
        names.extend(more);
    }
    stage.check(
        "it was read in the middle",
        before > 4 && before < 20,
        &format!("{before}"),
    );
    names.retain(|name| name != "." && name != "..");
    stage.equal("names", &names.len(), &expected);
    names.sort();
    names.dedup();
    stage.equal("none twice", &names.len(), &expected);
    let nothing = some_names(&ended)?;
    stage.equal("behind the end", &nothing, &Vec::new());
    Ok(())
}
