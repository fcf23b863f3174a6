//! Time calls through the vdso: its code is where it was, and its data is that of the kernel that runs now.

use std::ffi::CStr;
use std::ptr;
use std::time::Duration;

use crate::args::Args;
use crate::error::{Error, Result};
use crate::stage::Stage;
use crate::sys;

/// The time of a clock read three ways, in this order: from the kernel, through the vdso, from the kernel.
type Reading = [Duration; 3];

/// What a vdso calls its function.
const SYMBOLS: [&CStr; 2] = [c"__vdso_clock_gettime", c"__kernel_clock_gettime"];

/// How often each clock is read: a stale copy of the kernel's data may be right once.
const ROUNDS: usize = 50;

/// Calls the vdso's `clock_gettime` before and after: it agrees with the system call each time, and is where it was.
pub(crate) fn vdso(stage: &mut Stage, _args: &Args) -> Result<()> {
    let base = base()?;
    let function = Function::find(base)?;
    for clock in [libc::CLOCK_MONOTONIC, libc::CLOCK_REALTIME] {
        let reading = function.read(clock)?;
        if !in_order(reading) {
            return Err(Error::Situation(format!(
                "the vdso disagrees with the kernel before the freeze: {reading:?}"
            )));
        }
    }
    stage.hold()?;
    stage.equal("address in the auxiliary vector", &self::base()?, &base);
    for (name, clock) in [
        ("monotonic", libc::CLOCK_MONOTONIC),
        ("realtime", libc::CLOCK_REALTIME),
    ] {
        let mut wrong = Vec::new();
        for _ in 0..ROUNDS {
            let reading = function.read(clock)?;
            if !in_order(reading) {
                wrong.push(reading);
            }
            sys::pause();
        }
        stage.equal(
            &format!("{name}: readings out of order"),
            &wrong,
            &Vec::new(),
        );
    }
    Ok(())
}

/// Does the vdso's time lie between the kernel's?
fn in_order([first, middle, last]: Reading) -> bool {
    first <= middle && middle <= last
}

/// Where the vdso is.
pub(crate) fn base() -> Result<usize> {
    // SAFETY: plain numbers.
    let base = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    match usize::try_from(base) {
        Ok(base) if base != 0 => Ok(base),
        _ => Err(Error::Situation("no vdso".to_owned())),
    }
}

/// The vdso's `clock_gettime`.
struct Function {
    /// What a function pointer points at on ppc64: entry, TOC, environment. Elsewhere the entry alone is used.
    descriptor: Box<[usize; 3]>,
}

impl Function {
    /// Finds it in the vdso's symbol table.
    fn find(base: usize) -> Result<Self> {
        let entry = Elf { base }
            .symbol(&SYMBOLS)
            .ok_or_else(|| Error::Situation("the vdso has no clock_gettime".to_owned()))?;
        Ok(Self {
            descriptor: Box::new([entry, 0, 0]),
        })
    }

    /// Reads a clock both ways.
    fn read(&self, clock: libc::clockid_t) -> Result<Reading> {
        type ClockGettime = extern "C" fn(libc::clockid_t, *mut libc::timespec) -> i32;
        let code = if cfg!(target_arch = "powerpc64") {
            (&raw const *self.descriptor).expose_provenance()
        } else {
            self.descriptor[0]
        };
        // SAFETY: the vdso's function of this name has this signature, and is called as C functions are.
        let function: ClockGettime =
            unsafe { std::mem::transmute(ptr::with_exposed_provenance::<()>(code)) };
        let first = sys::kernel_time(clock)?;
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let failed = function(clock, &raw mut time);
        let last = sys::kernel_time(clock)?;
        if failed == 0 {
            Ok([first, sys::duration(time), last])
        } else {
            Err(Error::Situation(format!("the vdso returned {failed}")))
        }
    }
}

#[cfg(target_pointer_width = "32")]
use libc::{Elf32_Ehdr as Ehdr, Elf32_Phdr as Phdr, Elf32_Sym as Sym};
#[cfg(target_pointer_width = "64")]
use libc::{Elf64_Ehdr as Ehdr, Elf64_Phdr as Phdr, Elf64_Sym as Sym};

/// No table of a vdso comes near this; it ends loops over one that is broken.
const MOST_ENTRIES: usize = 4096;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const DT_HASH: usize = 4;
const DT_STRTAB: usize = 5;
const DT_SYMTAB: usize = 6;
const DT_GNU_HASH: usize = 0x6fff_fef5;

/// An ELF shared object in memory, whose kernel we trust.
struct Elf {
    base: usize,
}

impl Elf {
    /// A value at an address.
    fn at<T: Copy>(address: usize) -> T {
        // SAFETY: the callers stay inside of the tables that the vdso's own headers describe.
        unsafe { ptr::with_exposed_provenance::<T>(address).read_unaligned() }
    }

    /// The address of the first symbol of these names.
    fn symbol(&self, names: &[&CStr]) -> Option<usize> {
        let header: Ehdr = Self::at(self.base);
        let size = size_of::<Phdr>();
        let programs = (0..usize::from(header.e_phnum)).map(|index| {
            Self::at::<Phdr>(
                self.base + usize::try_from(header.e_phoff).unwrap_or(0) + index * size,
            )
        });
        let (mut bias, mut dynamic) = (None, None);
        for program in programs {
            match program.p_type {
                PT_LOAD if bias.is_none() => {
                    bias = Some(
                        self.base
                            .wrapping_add(to_usize(program.p_offset))
                            .wrapping_sub(to_usize(program.p_vaddr)),
                    );
                }
                PT_DYNAMIC => dynamic = Some(to_usize(program.p_offset)),
                _ => {}
            }
        }
        let (bias, dynamic) = (bias?, self.base + dynamic?);
        let entry = |tag: usize| {
            (0..MOST_ENTRIES)
                .map(|index| Self::at::<[usize; 2]>(dynamic + index * size_of::<[usize; 2]>()))
                .take_while(|[found, _]| *found != 0)
                .find(|[found, _]| *found == tag)
                .map(|[_, value]| bias.wrapping_add(value))
        };
        let (strings, symbols) = (entry(DT_STRTAB)?, entry(DT_SYMTAB)?);
        let count = entry(DT_HASH)
            .map(Self::hash_count)
            .or_else(|| entry(DT_GNU_HASH).map(Self::gnu_count))?;
        (0..count)
            .map(|index| Self::at::<Sym>(symbols + index * size_of::<Sym>()))
            .find_map(|symbol| {
                let name = ptr::with_exposed_provenance(strings + to_usize(symbol.st_name));
                // SAFETY: string tables end each name with zero.
                let name = unsafe { CStr::from_ptr(name) };
                (symbol.st_shndx != 0 && names.contains(&name))
                    .then(|| bias.wrapping_add(to_usize(symbol.st_value)))
            })
    }

    /// Symbols that a `DT_HASH` table covers. Its words are 64 bits wide on s390x.
    fn hash_count(table: usize) -> usize {
        if cfg!(target_arch = "s390x") {
            to_usize(Self::at::<[u64; 2]>(table)[1])
        } else {
            to_usize(Self::at::<[u32; 2]>(table)[1])
        }
    }

    /// Symbols that a `DT_GNU_HASH` table covers: the end of the longest chain.
    fn gnu_count(table: usize) -> usize {
        let [buckets, first, bloom, _] = Self::at::<[u32; 4]>(table).map(to_usize);
        let bucket_table = table + 16 + bloom * size_of::<usize>();
        let chains = bucket_table + buckets * 4;
        let last = (0..buckets)
            .map(|index| to_usize(Self::at::<u32>(bucket_table + index * 4)))
            .max()
            .unwrap_or(0);
        if last < first {
            return first;
        }
        (last..last + MOST_ENTRIES)
            .find(|index| Self::at::<u32>(chains + (index - first) * 4) & 1 == 1)
            .map_or(last, |index| index + 1)
    }
}

/// A number of an ELF structure, which fits because the object is in memory.
fn to_usize(value: impl TryInto<usize>) -> usize {
    value.try_into().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_checked() {
        let [a, b, c] = [1, 2, 3].map(Duration::from_secs);
        assert!(in_order([a, b, c]) && in_order([a, a, a]));
        assert!(!in_order([b, a, c]) && !in_order([a, c, b]));
    }

    #[test]
    fn the_hosts_vdso_is_read() {
        let function = Function::find(base().unwrap()).unwrap();
        assert!(in_order(function.read(libc::CLOCK_MONOTONIC).unwrap()));
    }

    #[test]
    fn unknown_symbols_are_not_found() {
        assert_eq!(
            Elf {
                base: base().unwrap()
            }
            .symbol(&[c"__vdso_no_such_thing"]),
            None
        );
    }
}
