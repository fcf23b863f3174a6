//! Mappings and the hash of what they hold.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use crossthaw_protocol::MapState;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use xxhash_rust::xxh64::{Xxh64, xxh64};

use super::text::{self, Mapping};
use super::{Renamed, Task};
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

/// Ranges of pages that are anonymous memory: touched, and not the shared page of zeros, unless that hides what a file has.
fn anonymous(pagemap: &File, start: u64, end: u64, of_file: bool) -> io::Result<Vec<(u64, u64)>> {
    let not = if of_file { IS_FILE } else { IS_FILE | IS_ZERO };
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
            category_inverted: not,
            category_mask: not,
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
    /// As it is called in the tree.
    task: i32,
    renamed: Option<&'a Renamed>,
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

    /// Hash a range of the task's memory; pages that cannot be read count as holes.
    fn range(&mut self, start: u64, end: u64, buffer: &mut [u8]) {
        let mut at = start;
        while at < end {
            let want = usize::try_from(end - at)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let batch = &mut buffer[..want];
            if self.mem.read_exact_at(batch, at).is_ok() {
                if let Some(renamed) = self.renamed {
                    renamed.memory(self.task, at, batch);
                }
                self.pages(at, batch);
            } else {
                for address in (at..at + want as u64).step_by(self.page_size) {
                    let page = &mut batch[..self.page_size];
                    if self.mem.read_exact_at(page, address).is_ok() {
                        if let Some(renamed) = self.renamed {
                            renamed.memory(self.task, address, page);
                        }
                        self.add(address, page);
                    }
                }
            }
            at += want as u64;
        }
    }

    fn pages(&mut self, start: u64, batch: &[u8]) {
        let addresses = (start..).step_by(self.page_size);
        for (address, page) in addresses.zip(batch.chunks(self.page_size)) {
            self.add(address, page);
        }
    }

    /// Hash a range as it is in the file behind it, which maps nothing into the task; zeros follow its end.
    fn file_range(
        &mut self,
        file: &File,
        start: u64,
        end: u64,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        let mut at = start;
        while at < end {
            let want = usize::try_from(end - at)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let batch = &mut buffer[..want];
            let offset = self.mapping.offset + (at - self.mapping.start);
            let mut filled = 0;
            while filled < want {
                match file.read_at(&mut batch[filled..], offset + filled as u64)? {
                    0 => break,
                    more => filled += more,
                }
            }
            batch[filled..].fill(0);
            self.pages(at, batch);
            at += want as u64;
        }
        Ok(())
    }
}

/// The file behind a mapping, if it is a regular one.
fn backing(task: &Task, mapping: &Mapping) -> Option<File> {
    if mapping.inode == 0 {
        return None;
    }
    let Mapping { start, end, .. } = mapping;
    let path = task.dir.join(format!("map_files/{start:x}-{end:x}"));
    // What is no regular file may do things when it is opened.
    path.metadata().ok().filter(Metadata::is_file)?;
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NOATIME);
    options.open(&path).ok()
}

/// Ranges of a mapping that the file behind it has data for, as addresses.
fn data(file: &File, mapping: &Mapping, page_size: u64) -> io::Result<Vec<(u64, u64)>> {
    let end = mapping.offset + (mapping.end - mapping.start);
    let mut ranges = Vec::new();
    let mut at = mapping.offset;
    while at < end {
        at = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let hole = rustix::fs::seek(file, SeekFrom::Hole(at))?;
        let address = |offset: u64| mapping.start + (offset.min(end) - mapping.offset);
        let (first, last) = (at / page_size * page_size, hole.next_multiple_of(page_size));
        if first < end {
            ranges.push((address(first), address(last)));
        }
        at = last;
    }
    Ok(ranges)
}

/// What is left of ranges when others are taken out; both in order and without overlap.
fn without(ranges: &[(u64, u64)], taken: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut left = Vec::new();
    for &(start, end) in ranges {
        let mut at = start;
        for &(from, to) in taken.iter().filter(|&&(from, to)| to > start && from < end) {
            if at < from {
                left.push((at, from));
            }
            at = at.max(to);
        }
        if at < end {
            left.push((at, end));
        }
    }
    left
}

/// Where the contents of a mapping are.
struct Plan {
    /// In the task: pages of its own, or all of it.
    own: Vec<(u64, u64)>,
    /// In the file behind it.
    shared: Option<(File, Vec<(u64, u64)>)>,
}

fn scan(pagemap: &File, task: &Task, mapping: &Mapping) -> Result<Vec<(u64, u64)>> {
    anonymous(pagemap, mapping.start, mapping.end, mapping.inode != 0)
        .context(|| format!("scan {:#x} of pid {}", mapping.start, task.outer))
}

/// The kernel's own pages: the vdso and what lies beside it; x86's gate page even lies outside what a task can map.
fn is_kernels(mapping: &Mapping) -> bool {
    mapping.name.starts_with("[v")
}

fn plan(pagemap: &File, task: &Task, mapping: &Mapping, page_size: u64) -> Result<Plan> {
    let whole = || vec![(mapping.start, mapping.end)];
    if is_kernels(mapping) {
        return Ok(Plan {
            own: whole(),
            shared: None,
        });
    }
    let own = scan(pagemap, task, mapping)?;
    if mapping.inode == 0 {
        return Ok(Plan { own, shared: None });
    }
    let file = backing(task, mapping).and_then(|file| {
        let data = data(&file, mapping, page_size).ok()?;
        Some((file, without(&data, &own)))
    });
    Ok(match file {
        Some(shared) => Plan {
            own,
            shared: Some(shared),
        },
        // What is behind it cannot be opened: as the task sees it.
        None => Plan {
            own: whole(),
            shared: None,
        },
    })
}

/// The mappings of a task, in address order.
pub(super) fn probe(task: &Task, renamed: Option<&Renamed>) -> Result<Vec<MapState>> {
    let open = |name: &str| {
        let path = task.dir.join(name);
        File::open(&path).context(|| format!("open {}", path.display()))
    };
    let (mem, pagemap) = (open("mem")?, open("pagemap")?);
    let page_size = rustix::param::page_size();
    let mut buffer = vec![0; BATCH.next_multiple_of(page_size)];
    let mut maps = Vec::new();
    for mapping in text::mappings(&task.read("smaps")?) {
        let Plan { own, shared } = plan(&pagemap, task, &mapping, page_size as u64)?;
        let mut walk = Walk {
            mem: &mem,
            mapping: &mapping,
            page_size,
            task: task.inner,
            renamed,
            contents: Contents {
                hash: Xxh64::new(0),
                read: 0,
                filled: 0,
            },
        };
        let mut parts: Vec<(u64, u64, Option<&File>)> =
            own.iter().map(|&(start, end)| (start, end, None)).collect();
        if let Some((file, ranges)) = &shared {
            parts.extend(ranges.iter().map(|&(start, end)| (start, end, Some(file))));
        }
        parts.sort_unstable_by_key(|part| part.0);
        for &(start, end, file) in &parts {
            match file {
                None => walk.range(start, end, &mut buffer),
                Some(file) => walk
                    .file_range(file, start, end, &mut buffer)
                    .context(|| format!("read the file behind {start:#x} of pid {}", task.outer))?,
            }
        }
        let Contents { hash, read, filled } = walk.contents;
        let hash = (parts.is_empty() || read > 0).then(|| hash.digest());
        let pages = own
            .iter()
            .map(|(start, end)| (end - start) / page_size as u64);
        let anon_pages = if mapping.inode == 0 {
            filled
        } else if shared.is_some() {
            pages.sum()
        } else {
            0
        };
        maps.push(state(mapping, hash, anon_pages));
    }
    Ok(maps)
}

fn state(mapping: Mapping, hash: Option<u64>, anon_pages: u64) -> MapState {
    let Mapping {
        start,
        end,
        perms,
        offset,
        device,
        inode,
        name,
        details,
    } = mapping;
    MapState {
        start,
        end,
        perms,
        offset,
        name,
        file: (device, inode),
        smaps: details,
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

    #[test]
    fn ranges_are_cut() {
        let cut = |taken: &[(u64, u64)]| without(&[(10, 20), (30, 40)], taken);
        assert_eq!(cut(&[]), [(10, 20), (30, 40)]);
        assert_eq!(
            cut(&[(0, 12), (15, 16), (19, 31)]),
            [(12, 15), (16, 19), (31, 40)]
        );
        assert_eq!(cut(&[(0, 50)]), []);
    }

    #[test]
    fn a_hole_in_a_file_has_no_data() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"x", 1 << 20).unwrap();
        let mapping = Mapping {
            start: 0x10_0000,
            end: 0x40_0000,
            perms: "r--s".to_owned(),
            offset: 0,
            device: String::new(),
            inode: 1,
            name: String::new(),
            details: Vec::new(),
        };
        let ranges = data(&file, &mapping, 4096).unwrap();
        assert!(
            ranges.contains(&(0x20_0000, 0x20_1000)) || ranges == [(0x10_0000, 0x20_1000)],
            "{ranges:x?}"
        );
    }
}
