//! What images are made of for the scenarios that damage them.

use std::ffi::c_int;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::time::Duration;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::pattern;
use crate::stage::Stage;
use crate::sys::{self, Mapping, page_size};

/// Only to interrupt.
extern "C" fn nothing(_signal: c_int) {}

/// Two small processes that hold one of everything an image can describe: files of each kind, a private mapping with a written page, an alternate stack, a sleep with time left, floating point numbers.
pub(crate) fn rich(stage: &mut Stage, _args: &Args) -> Result<()> {
    let path = stage.path("data");
    fs::write(&path, pattern::piece(1, 0, 4 * page_size())).map_err(Error::from_io("write"))?;
    let file = File::open(&path).map_err(Error::from_io("open"))?;
    let dir = sys::open(&stage.path("."), libc::O_RDONLY | libc::O_DIRECTORY)?;
    let null = sys::open("/dev/null".as_ref(), libc::O_RDWR)?;
    let mut mapped = Mapping::new(
        4 * page_size(),
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE,
        file.as_raw_fd(),
        0,
    )?;
    pattern::fill(mapped.page_mut(2), 9);
    sys::handle(libc::SIGUSR2, nothing, libc::SA_ONSTACK, &[libc::SIGTERM])?;
    let child = stage.spawn("sleeper", |child| {
        sys::handle(libc::SIGUSR1, nothing, 0, &[])?;
        child.ready()?;
        sys::unblock(&[libc::SIGUSR1])?;
        let (time, mut left) = (
            sys::timespec(Duration::from_secs(3600)),
            sys::timespec(Duration::ZERO),
        );
        // SAFETY: both live.
        let returned = unsafe { libc::nanosleep(&raw const time, &raw mut left) };
        child.equal(
            "the sleep ends by the signal, with time left",
            &(returned, left.tv_sec > 0),
            &(-1, true),
        );
        Ok(())
    })?;
    stage.await_ready(&child)?;
    child.await_sleeping()?;
    stage.hold()?;
    stage.equal(
        "descriptors",
        &[file.as_raw_fd(), dir, null].map(sys::is_open),
        &[true; 3],
    );
    stage.equal(
        "the written page",
        &pattern::mismatch(mapped.page(2), 9),
        &None,
    );
    stage.equal(
        "the file's pages",
        &(mapped.page(1) == pattern::piece(1, page_size(), page_size())),
        &true,
    );
    child.resume()?;
    stage.join(&child)
}
