//! What a program may ask of an x86 processor.

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
use crate::sys;

/// A permission for one I/O port, or for all of them: `kind` is `ports` or `level`.
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
pub(crate) fn processor(stage: &mut Stage, args: &Args) -> Result<()> {
    match args.text("kind", "ports") {
        // SAFETY: plain numbers; nobody uses the port, where self-tests write their progress.
        "ports" => unsafe { sys::raw("ioperm", libc::SYS_ioperm, [0x80, 1, 1, 0, 0]) }.map(drop)?,
        // SAFETY: a plain number; nobody uses a port.
        "level" => unsafe { sys::raw("iopl", libc::SYS_iopl, [3, 0, 0, 0, 0]) }.map(drop)?,
        other => return Err(Error::Argument(format!("kind={other}"))),
    }
    stage.hold()?;
    stage.check("runs on", true, "");
    Ok(())
}

/// Other processors have none of it.
#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
pub(crate) fn processor(_stage: &mut Stage, _args: &Args) -> Result<()> {
    Err(Error::Situation("this processor is no x86".to_owned()))
}
