//! Checkpoint after checkpoint of what was restarted.

use std::ffi::c_int;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::args::Args;
use crate::error::{Error, Result};
use crate::files;
use crate::stage::Stage;
use crate::sys;

/// Set by the handler of SIGUSR1.
static RESUMED: AtomicBool = AtomicBool::new(false);

/// Notes that SIGUSR1 came.
extern "C" fn resumed(_signal: c_int) {
    RESUMED.store(true, Ordering::Relaxed);
}

/// Counts between two lines in the progress file.
const STRIDE: u64 = 1 << 12;

/// Words in [`counter`]'s memory, all of which count.
const COPIES: usize = 64;

/// A root that never stops counting, and writes to a file how far it is.
///
/// A name with a dot keeps its contents out of the golden: how far it is at the checkpoint is chance.
/// The file is from the same moment as the memory, in each generation: it never shows another value than the one that was written last, so neither of the two can go back behind the other.
pub(crate) fn counter(stage: &mut Stage, _args: &Args) -> Result<()> {
    sys::handle(libc::SIGUSR1, resumed, 0, &[])?;
    sys::unblock(&[libc::SIGUSR1])?;
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(stage.path(".progress"))
        .map_err(Error::from_io("open"))?;
    let mut copies = vec![0_u64; COPIES];
    let mut written = 0_u64;
    write(&file, written)?;
    let mut faults = Vec::new();
    let mut ready = false;
    while !RESUMED.load(Ordering::Relaxed) {
        for _ in 0..STRIDE {
            for copy in std::hint::black_box(&mut copies) {
                *copy += 1;
            }
        }
        faults.extend(fault(&copies, written, read(&file)?));
        faults.truncate(5);
        written += STRIDE;
        write(&file, written)?;
        if written >= 16 * STRIDE && !ready {
            stage.ready()?;
            ready = true;
        }
    }
    stage.equal("faults", &faults, &Vec::new());
    stage.check(
        "goes on from where it was",
        written > 15 * STRIDE,
        &format!("{written}"),
    );
    stage.equal("progress in the file", &read(&file)?, &written);
    stage.equal(
        "all copies",
        &copies.iter().all(|copy| *copy == written),
        &true,
    );
    Ok(())
}

/// What is wrong after a stride: every copy has to be one stride ahead of what was written, and that has to be in the file.
fn fault(copies: &[u64], written: u64, in_file: u64) -> Option<String> {
    let odd = copies.iter().find(|copy| **copy != written + STRIDE);
    (odd.is_some() || in_file != written)
        .then(|| format!("{odd:?} at {written}, {in_file} in the file"))
}

/// Writes the progress, in 20 digits.
fn write(file: &File, count: u64) -> Result<()> {
    files::write_at(file, format!("{count:020}").as_bytes(), 0)
}

/// Reads the progress.
fn read(file: &File) -> Result<u64> {
    let mut digits = [0; 20];
    file.read_exact_at(&mut digits, 0)
        .map_err(Error::from_io("pread"))?;
    String::from_utf8_lossy(&digits)
        .parse()
        .map_err(|_| Error::Situation(format!("no number in the progress file: {digits:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_found() {
        let good = [2 * STRIDE; 4];
        assert_eq!(fault(&good, STRIDE, STRIDE), None);
        assert!(fault(&good, STRIDE, 0).is_some(), "the file is behind");
        assert!(
            fault(&good, 2 * STRIDE, 2 * STRIDE).is_some(),
            "memory is behind"
        );
        assert!(
            fault(&[2 * STRIDE, 2 * STRIDE - 1], STRIDE, STRIDE).is_some(),
            "one copy is behind"
        );
    }
}
