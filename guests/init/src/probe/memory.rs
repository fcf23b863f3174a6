//! Mappings and the hash of what they hold.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::{io, mem};

use crossthaw_protocol::MapState;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use xxhash_rust::xxh64::{Xxh64, xxh64};

use super::Task;
use super::text::{self, Mapping};
use crate::error::{Context, Result};

/// Bytes read at once.
const BATCH: usize = 256 << 10;

/// Ranges that one scan returns at most.
const RANGES: usize = 512;

/// `PAGE_IS_*` of linux/fs.h.
const IS_FILE: u64 = 1 << 2;
const IS_PRESENT: u64 = 1 << 3;
const IS_SWAPPED: u64 = 1 << 4;
const IS_ZERO: u64 = 1 << 5;

/// `struct page_region` of linux/fs.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// `struct pm_scan_arg` of linux/fs.h.
#[repr(C)]
#[derive(Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `PAGEMAP_SCAN`, an ioctl of `/proc/PID/pagemap`.
const PAGEMAP_SCAN: Opcode = opcode::read_write::<Scan>(b'f', 16);

/// Ranges of pages that are anonymous memory: touched, and not the shared page of zeros.
fn anonymous(pagemap: &File, start: u64, end: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut ranges = Vec::new();
    let mut at = start;
    while at < end {
        let mut regions = vec![Region::default(); RANGES];
        let mut scan = Scan {
            size: size_of::<Scan>() as u64,
            start: at,
            end,
            vec: regions.as_mut_ptr() as u64,
            vec_len: RANGES as u64,
            // Not a file's page and not the page of zeros ...
            category_inverted: IS_FILE | IS_ZERO,
            category_mask: IS_FILE | IS_ZERO,
            // ... but there, in memory or in swap.
            category_anyof_mask: IS_PRESENT | IS_SWAPPED,
            return_mask: IS_PRESENT,
            ..Scan::default()
        };
        // SAFETY: the argument is what PAGEMAP_SCAN takes, and its vector has room for as many regions as it says.
        unsafe {
            ioctl(
                pagemap.as_fd(),
                Updater::<PAGEMAP_SCAN, Scan>::new(&mut scan),
            )
        }?;
        let found = regions.iter().take_while(|region| region.end != 0);
        ranges.extend(found.map(|region| (region.start, region.end)));
        // Where the kernel fills the vector in several rounds, Linux 6.12 leaves the end of an earlier one in walk_end.
        let last = ranges.last().map_or(at, |&(_, end)| end);
        let reached = scan.walk_end.max(last);
        if reached <= at {
            break;
        }
        at = reached;
    }
    Ok(ranges)
}

/// What a walk over a mapping's pages found.
struct Contents {
    hash: Xxh64,
    /// Pages that could be read.
    read: u64,
    /// Pages among them that are not all zero.
    filled: u64,
}

/// Hashes the pages of one mapping.
struct Walk<'a> {
    mem: &'a File,
    mapping: &'a Mapping,
    page_size: usize,
    contents: Contents,
}

fn is_zero(page: &[u8]) -> bool {
    // SAFETY: any bytes are a valid u128.
    let (head, words, tail) = unsafe { page.align_to::<u128>() };
    words.iter().all(|&word| word == 0) && head.iter().chain(tail).all(|&byte| byte == 0)
}

impl Walk<'_> {
    fn add(&mut self, address: u64, page: &[u8]) {
        self.contents.read += 1;
        if is_zero(page) {
            return;
        }
        self.contents.filled += 1;
        let index = (address - self.mapping.start) / self.page_size as u64;
        self.contents.hash.update(&index.to_le_bytes());
        self.contents.hash.update(&xxh64(page, 0).to_le_bytes());
    }

    /// Hash a range; pages that cannot be read count as holes.
    fn range(&mut self, start: u64, end: u64, buffer: &mut [u8]) {
        let mut at = start;
        while at < end {
            let want = usize::try_from(end - at)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let batch = &mut buffer[..want];
            if self.mem.read_exact_at(batch, at).is_ok() {
                for (address, page) in (at..)
                    .step_by(self.page_size)
                    .zip(batch.chunks(self.page_size))
                {
                    self.add(address, page);
                }
            } else {
                for address in (at..at + want as u64).step_by(self.page_size) {
                    let page = &mut batch[..self.page_size];
                    if self.mem.read_exact_at(page, address).is_ok() {
                        self.add(address, page);
                    }
                }
            }
            at += want as u64;
        }
    }
}

fn scan(pagemap: &File, task: &Task, mapping: &Mapping) -> Result<Vec<(u64, u64)>> {
    anonymous(pagemap, mapping.start, mapping.end)
        .context(|| format!("scan {:#x} of pid {}", mapping.start, task.outer))
}

/// The mappings of a task, in address order.
pub(super) fn probe(task: &Task) -> Result<Vec<MapState>> {
    let open = |name: &str| {
        let path = task.dir.join(name);
        File::open(&path).context(|| format!("open {}", path.display()))
    };
    let (mem, pagemap) = (open("mem")?, open("pagemap")?);
    let page_size = rustix::param::page_size();
    let mut buffer = vec![0; BATCH.next_multiple_of(page_size)];
    let mut maps = Vec::new();
    for mapping in text::mappings(&task.read("smaps")?) {
        // The vdso's pages are the kernel's; x86's gate page even lies outside what a task can map.
        let is_kernel = mapping.name.starts_with("[v");
        let ranges = if is_kernel {
            Vec::new()
        } else {
            scan(&pagemap, task, &mapping)?
        };
        let present = ranges
            .iter()
            .map(|(start, end)| (end - start) / page_size as u64)
            .sum();
        let (hash, anon_pages) = if mapping.perms.starts_with('r') {
            let mut walk = Walk {
                mem: &mem,
                mapping: &mapping,
                page_size,
                contents: Contents {
                    hash: Xxh64::new(0),
                    read: 0,
                    filled: 0,
                },
            };
            let is_anonymous = mapping.inode == 0 && !is_kernel;
            if is_anonymous {
                for &(start, end) in &ranges {
                    walk.range(start, end, &mut buffer);
                }
            } else {
                walk.range(mapping.start, mapping.end, &mut buffer);
            }
            let Contents { hash, read, filled } = walk.contents;
            let readable = is_anonymous || read > 0;
            (
                readable.then(|| hash.digest()),
                if is_anonymous { filled } else { present },
            )
        } else {
            (None, present)
        };
        maps.push(state(mapping, hash, anon_pages));
    }
    Ok(maps)
}

fn state(mut mapping: Mapping, hash: Option<u64>, anon_pages: u64) -> MapState {
    MapState {
        start: mapping.start,
        end: mapping.end,
        perms: mem::take(&mut mapping.perms),
        offset: mapping.offset,
        name: mem::take(&mut mapping.name),
        vm_flags: mem::take(&mut mapping.vm_flags),
        hash,
        anon_pages,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_found_at_any_alignment() {
        let mut page = vec![0u8; 4097];
        assert!(is_zero(&page[1..]) && is_zero(&page[..5]));
        page[4096] = 1;
        assert!(!is_zero(&page[1..]) && is_zero(&page[..4096]));
    }
}
