//! What a program may ask of an x86 processor.

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
use crate::sys;

/// A local descriptor table, a permission for I/O ports, or for all of them: `kind` is `descriptors`, `ports` or `level`.
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
pub(crate) fn processor(stage: &mut Stage, args: &Args) -> Result<()> {
    // struct user_desc of asm/ldt.h: entry 2, base, limit of so many pages; 32 bits, in pages, usable.
    let mut segment: [u32; 4] = [2, 0x1000, 0xf, 0x51];
    let modify = |function: usize, entries: &mut [u32]| {
        let arguments = [
            function,
            entries.as_mut_ptr().expose_provenance(),
            size_of_val(entries),
            0,
            0,
        ];
        // SAFETY: the kernel reads or writes no more than there is.
        unsafe { sys::raw("modify_ldt", libc::SYS_modify_ldt, arguments) }
    };
    let seen = || -> Result<[u32; 8]> {
        let mut table = [0; 8];
        modify(0, &mut table)?;
        Ok(table)
    };
    match args.text("kind", "descriptors") {
        "descriptors" => modify(1, &mut segment).map(drop)?,
        // SAFETY: plain numbers; nobody uses the port, where self-tests write their progress.
        "ports" => unsafe { sys::raw("ioperm", libc::SYS_ioperm, [0x80, 1, 1, 0, 0]) }.map(drop)?,
        // SAFETY: a plain number; nobody uses a port.
        "level" => unsafe { sys::raw("iopl", libc::SYS_iopl, [3, 0, 0, 0, 0]) }.map(drop)?,
        other => return Err(Error::Argument(format!("kind={other}"))),
    }
    let before = seen()?;
    stage.hold()?;
    stage.equal("local descriptors", &seen()?, &before);
    Ok(())
}

/// Other processors have none of it.
#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
pub(crate) fn processor(_stage: &mut Stage, _args: &Args) -> Result<()> {
    Err(Error::Situation("this processor is no x86".to_owned()))
}
