//! Files of memory: contents, holes and size, name, permissions and seals, however often they are open or mapped.

use std::ffi::{CStr, c_int, c_uint};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::pattern;
use crate::stage::Stage;
use crate::sys::{self, Mapping, Status, page_size};

const READ_WRITE: c_int = libc::PROT_READ | libc::PROT_WRITE;

/// A new one.
pub(crate) fn create(name: &CStr, flags: c_uint) -> Result<File> {
    // SAFETY: the name lives.
    let fd = sys::check("memfd_create", unsafe {
        libc::memfd_create(name.as_ptr(), flags)
    })?;
    // SAFETY: the descriptor is new.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// An offset as system calls have it.
fn signed(offset: usize) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

/// The path by which it is opened once more.
pub(crate) fn path_of(fd: RawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{fd}"))
}

/// The name that /proc/PID/fd shows.
pub(crate) fn link(fd: RawFd) -> Result<String> {
    let link = fs::read_link(path_of(fd)).map_err(Error::from_io("read the link"))?;
    Ok(link.display().to_string())
}

pub(crate) fn write(file: &File, offset: usize, seed: u64, len: usize) -> Result<()> {
    file.write_all_at(&pattern::piece(seed, 0, len), offset as u64)
        .map_err(Error::from_io("write"))
}

/// Reports whether a range has the pattern of a seed.
pub(crate) fn has(
    stage: &mut Stage,
    name: &str,
    file: &File,
    offset: usize,
    seed: u64,
    len: usize,
) {
    let mut bytes = vec![0; len];
    let read = file.read_exact_at(&mut bytes, offset as u64);
    stage.works(name, read.map_err(Error::from_io("read")));
    stage.equal(name, &pattern::mismatch(&bytes, seed), &None);
}

/// The seals, as `F_GET_SEALS` says.
fn seals(file: &File) -> c_int {
    // SAFETY: plain numbers.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) }
}

/// What fstat(2) tells of it that stays the same; blocks are of 512 bytes.
fn facts(file: &File) -> Result<[i64; 7]> {
    let data = file.metadata().map_err(Error::from_io("stat"))?;
    let size = i64::try_from(data.size()).unwrap_or(-1);
    let blocks = i64::try_from(data.blocks()).unwrap_or(-1);
    let nlink = i64::try_from(data.nlink()).unwrap_or(-1);
    Ok([
        size,
        blocks,
        nlink,
        data.permissions().mode().into(),
        data.uid().into(),
        data.gid().into(),
        data.mtime_nsec() + data.mtime() * 1_000_000_000,
    ])
}

/// One with a hole, and an end within a page, is open as it was created, by dup, and twice more; a child has inherited it all.
pub(crate) fn contents(stage: &mut Stage, _args: &Args) -> Result<()> {
    let page = page_size();
    let file = create(c"contents of this", libc::MFD_CLOEXEC)?;
    let fd = file.as_raw_fd();
    write(&file, 0, 1, page)?;
    write(&file, 2 * page, 2, 100)?;
    // SAFETY: plain numbers.
    sys::check("fchmod", unsafe { libc::fchmod(fd, 0o640) })?;
    let reader = sys::open(&path_of(fd), libc::O_RDONLY)?;
    let appender = sys::open(&path_of(fd), libc::O_WRONLY | libc::O_APPEND)?;
    // SAFETY: plain numbers.
    let copy = sys::check("dup", unsafe { libc::dup(fd) })?;
    sys::seek(fd, 10, libc::SEEK_SET)?;
    sys::seek(reader, 20, libc::SEEK_SET)?;
    let child = stage.spawn_ready("child", |child| {
        child.hold()?;
        has(child, "the last", &file, 0, 3, page);
        child.equal("offset", &sys::offset(fd)?, &30);
        sys::write(appender, b"behind it")?;
        Ok(())
    })?;
    let all = [fd, copy, reader, appender];
    let flags = || sys::flags_of(all);
    let links = || -> Result<Vec<String>> { all.into_iter().map(link).collect() };
    let before = (flags(), links()?, facts(&file)?, seals(&file));
    stage.hold()?;
    let after = (flags(), links()?, facts(&file)?, seals(&file));
    stage.equal("flags, names, facts, seals", &after, &before);
    has(stage, "the first page", &file, 0, 1, page);
    has(stage, "the last bytes", &file, 2 * page, 2, 100);
    let mut hole = vec![1; page];
    file.read_exact_at(&mut hole, page as u64)
        .map_err(Error::from_io("read"))?;
    stage.check("the hole", hole.iter().all(|byte| *byte == 0), "not zero");
    let offsets = all.map(|fd| sys::offset(fd).ok());
    let expected = [Some(10), Some(10), Some(20), Some(0)];
    stage.equal("offsets", &offsets, &expected);
    write(&file, 0, 3, page)?;
    sys::seek(copy, 30, libc::SEEK_SET)?;
    child.resume()?;
    stage.join(&child)?;
    let mut end = [0; 9];
    sys::seek(reader, -9, libc::SEEK_END)?;
    sys::read(reader, &mut end)?;
    stage.equal("what the child has appended", &&end, &b"behind it");
    Ok(())
}

/// Parent and child have it mapped, shared and privately, and nobody has it open any more.
pub(crate) fn mapped(stage: &mut Stage, _args: &Args) -> Result<()> {
    let page = page_size();
    let file = create(c"mapped", 0)?;
    for number in 0..4 {
        write(&file, number * page, 10 + number as u64, page)?;
    }
    let map = |flags, offset: usize| {
        let fd = file.as_raw_fd();
        Mapping::new(2 * page, READ_WRITE, flags, fd, signed(offset * page))
    };
    let mut shared = map(libc::MAP_SHARED, 0)?;
    let mut private = map(libc::MAP_PRIVATE, 1)?;
    let tail = map(libc::MAP_SHARED, 2)?;
    pattern::fill(private.page_mut(0), 20);
    drop(file);
    let child = stage.spawn_ready("child", |child| {
        pattern::fill(private.page_mut(1), 21);
        child.hold()?;
        let found = [shared.page(0), private.page(0), private.page(1)];
        let found: Vec<_> = found
            .into_iter()
            .zip([30, 20, 21])
            .map(|(page, seed)| pattern::mismatch(page, seed))
            .collect();
        child.equal("pages", &found, &vec![None; 3]);
        pattern::fill(shared.page_mut(1), 31);
        Ok(())
    })?;
    stage.hold()?;
    let before = [
        (shared.page(0), 10),
        (shared.page(1), 11),
        (tail.page(1), 13),
    ];
    for (page, seed) in before {
        let name = format!("the page of seed {seed}");
        stage.equal(&name, &pattern::mismatch(page, seed), &None);
    }
    let own = [(private.page(0), 20), (private.page(1), 12)];
    for (page, seed) in own {
        let name = format!("the private page of seed {seed}");
        stage.equal(&name, &pattern::mismatch(page, seed), &None);
    }
    pattern::fill(shared.page_mut(0), 30);
    child.resume()?;
    stage.join(&child)?;
    stage.equal(
        "the child's last",
        &pattern::mismatch(shared.page(1), 31),
        &None,
    );
    Ok(())
}

/// The errno of a call that failed, 0 of one that did not.
fn outcome(returned: c_int) -> i32 {
    if returned == -1 {
        io::Error::last_os_error().raw_os_error().unwrap_or(0)
    } else {
        0
    }
}

/// One that is sealed, as `seals` says, after it was mapped for reading; what the seals refuse is refused, and nothing else.
pub(crate) fn sealed(stage: &mut Stage, args: &Args) -> Result<()> {
    let which = args.text("seals", "size").to_owned();
    let (flags, add) = match which.as_str() {
        "none" => (0, 0),
        "size" => (
            libc::MFD_ALLOW_SEALING,
            libc::F_SEAL_SHRINK | libc::F_SEAL_GROW,
        ),
        "write" => (
            libc::MFD_ALLOW_SEALING,
            libc::F_SEAL_WRITE | libc::F_SEAL_SEAL,
        ),
        "future_write" => (libc::MFD_ALLOW_SEALING, libc::F_SEAL_FUTURE_WRITE),
        "exec" => (libc::MFD_NOEXEC_SEAL, 0),
        other => return Err(Error::Argument(format!("seals={other}"))),
    };
    let page = page_size();
    let file = create(c"sealed", flags)?;
    let fd = file.as_raw_fd();
    write(&file, 0, 5, 2 * page)?;
    let map = |protection| Mapping::new(2 * page, protection, libc::MAP_SHARED, fd, 0);
    let mut early = match which.as_str() {
        // It refuses to come while anybody could write.
        "write" => None,
        _ => Some(map(READ_WRITE)?),
    };
    if add != 0 {
        // SAFETY: plain numbers.
        sys::check("F_ADD_SEALS", unsafe {
            libc::fcntl(fd, libc::F_ADD_SEALS, add)
        })?;
    }
    let mut late = map(libc::PROT_READ)?;
    let before = (seals(&file), facts(&file)?);
    stage.hold()?;
    stage.equal("seals and facts", &(seals(&file), facts(&file)?), &before);
    has(stage, "contents", &file, 0, 5, 2 * page);
    let size = signed(2 * page);
    // SAFETY: plain numbers.
    let refused = unsafe {
        [
            outcome(libc::fcntl(fd, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK)),
            outcome(libc::fchmod(fd, 0o777)),
            outcome(libc::ftruncate64(fd, size + 1)),
            outcome(libc::ftruncate64(fd, size)),
            file.write_at(b"x", 9)
                .map_or_else(|error| error.raw_os_error().unwrap_or(-1), |_| 0),
        ]
    };
    let no = libc::EPERM;
    let expected = match which.as_str() {
        "size" => [0, 0, no, 0, 0],
        "write" => [no, 0, 0, 0, no],
        "future_write" => [0, 0, 0, no, no],
        "exec" => [0, no, 0, no, 0],
        _ => [no, 0, 0, 0, 0],
    };
    stage.equal("errnos", &refused, &expected);
    let may_write = late.protect(0, 1, READ_WRITE).is_ok();
    let expected = !matches!(which.as_str(), "write" | "future_write");
    stage.equal("the late mapping may be written to", &may_write, &expected);
    if let Some(early) = &mut early {
        pattern::fill(early.page_mut(1), 6);
        stage.equal(
            "written through the early mapping",
            &pattern::mismatch(late.page(1), 6),
            &None,
        );
    }
    Ok(())
}

/// A program in one that is open for writing runs, since `memfd_create(2)` does not count as a writer; in one that was opened once more for writing it does not.
pub(crate) fn program(stage: &mut Stage, _args: &Args) -> Result<()> {
    let own = fs::read("/proc/self/exe").map_err(Error::from_io("read the program"))?;
    let file = create(c"program", 0)?;
    file.write_all_at(&own, 0)
        .map_err(Error::from_io("write"))?;
    drop(own);
    let run = || -> Result<Status> {
        let Some(pid) = sys::fork()? else {
            let path = sys::c_path(&path_of(file.as_raw_fd()))?;
            let words = [c"workloads".as_ptr(), c"--none".as_ptr(), std::ptr::null()];
            // SAFETY: the path and the words live until the program is replaced.
            unsafe { libc::execv(path.as_ptr(), words.as_ptr()) };
            sys::exit(outcome(-1))
        };
        sys::wait(pid)
    };
    // What the program says to words that it does not know.
    let usage = Status::Exited(2);
    stage.hold()?;
    stage.equal("it runs", &run()?, &usage);
    let writer = sys::open(&path_of(file.as_raw_fd()), libc::O_RDWR)?;
    stage.equal(
        "while it is open for writing",
        &run()?,
        &Status::Exited(libc::ETXTBSY),
    );
    sys::close(writer)?;
    stage.equal("it runs again", &run()?, &usage);
    Ok(())
}

/// The same, where the second opening is from before.
pub(crate) fn busy_program(stage: &mut Stage, _args: &Args) -> Result<()> {
    let file = create(c"busy", 0)?;
    file.write_all_at(b"#!/no/such/program\n", 0)
        .map_err(Error::from_io("write"))?;
    let writer = sys::open(&path_of(file.as_raw_fd()), libc::O_RDWR)?;
    let run = || -> Result<i32> {
        let path = sys::c_path(&path_of(file.as_raw_fd()))?;
        let words = [c"busy".as_ptr(), std::ptr::null()];
        // SAFETY: the path and the words live; it does not succeed.
        unsafe { libc::execv(path.as_ptr(), words.as_ptr()) };
        Ok(outcome(-1))
    };
    stage.hold()?;
    stage.equal("while it is open for writing", &run()?, &libc::ETXTBSY);
    sys::close(writer)?;
    stage.equal("and then", &run()?, &libc::ENOENT);
    Ok(())
}

/// One of many MiB, every page written, or of as many with a page at its begin, in the middle and at its end.
pub(crate) fn large(stage: &mut Stage, args: &Args) -> Result<()> {
    let page = page_size();
    let (mib, sparse) = (args.number("mib", 8)?, args.number("sparse", 1024)?);
    let full = create(c"full", 0)?;
    write(&full, 0, 7, mib << 20)?;
    let holes = create(c"holes", 0)?;
    let places = [0, (sparse << 20) / 2, (sparse << 20) - page];
    for place in places {
        write(&holes, place, 8 + place as u64, page)?;
    }
    let before = (facts(&full)?, facts(&holes)?);
    stage.hold()?;
    stage.equal("facts", &(facts(&full)?, facts(&holes)?), &before);
    has(stage, "contents", &full, 0, 7, mib << 20);
    for place in places {
        has(
            stage,
            &format!("at {place:#x}"),
            &holes,
            place,
            8 + place as u64,
            page,
        );
    }
    Ok(())
}
