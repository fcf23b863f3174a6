//! Files and lines of what a kernel's traces name, from its vmlinux.
//!
//! A trace says `function+0x1c/0x40`, an offset into a function, so it does not matter where the kernel ran.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use addr2line::Loader;
use goblin::elf::Elf;
use goblin::elf::section_header::SHF_EXECINSTR;
use goblin::elf::sym::{STT_FILE, STT_SECTION};

/// A function that every kernel has, and its file: the folder above is the tree's.
const KNOWN: (&str, &str) = ("start_kernel", "init/main.c");

/// Why a vmlinux tells nothing.
#[derive(Debug, thiserror::Error)]
pub enum SymbolsError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no ELF file, or a broken one.
    #[error("cannot use {}: {why}", path.display())]
    Elf {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// A place in a trace: `function+offset/size`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The function as the kernel calls it.
    pub function: &'a str,
    /// Bytes from its beginning.
    pub offset: u64,
    /// Bytes to the next symbol.
    pub size: u64,
    /// Is it where a call returns to? The call is before it, and may be the last of another line.
    pub returns: bool,
}

/// A frame of a place: the innermost inlined function first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The function, as the source calls it.
    pub function: String,
    /// Its file, relative to the tree; `None` without debug information.
    pub file: Option<String>,
    /// The line; `None` where the compiler names none.
    pub line: Option<u32>,
}

impl std::fmt::Display for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            function,
            file,
            line,
        } = self;
        write!(f, "{function}")?;
        match (file, line) {
            (Some(file), Some(line)) => write!(f, " at {file}:{line}"),
            (Some(file), None) => write!(f, " at {file}"),
            (None, _) => Ok(()),
        }
    }
}

impl Frame {
    /// Is it in the checkpoint/restart source (`kernels/checkpoint`)?
    pub fn is_ours(&self) -> bool {
        self.file.as_deref().is_some_and(|file| {
            file.starts_with("kernel/checkpoint/")
                || (file.starts_with("arch/") && file.ends_with("/kernel/checkpoint.c"))
        })
    }
}

/// The symbols of one vmlinux, and its debug information if it has any.
pub struct Symbols {
    /// Address, and bytes to the next symbol, of each function of a name.
    functions: HashMap<String, Vec<(u64, u64)>>,
    loader: Loader,
    /// The tree's folder with a slash, as the debug information has it.
    root: String,
    lines: bool,
}

impl std::fmt::Debug for Symbols {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Symbols")
            .field("functions", &self.functions.len())
            .field("root", &self.root)
            .field("lines", &self.lines)
            .finish_non_exhaustive()
    }
}

impl Symbols {
    /// Of this vmlinux. What is read of the debug information is read when it is asked for.
    pub fn load(vmlinux: &Path) -> Result<Self, SymbolsError> {
        let path = || vmlinux.to_owned();
        let wrong = |why: String| SymbolsError::Elf { path: path(), why };
        let bytes = fs::read(vmlinux).map_err(|source| SymbolsError::Read {
            path: path(),
            source,
        })?;
        let elf = Elf::parse(&bytes).map_err(|error| wrong(error.to_string()))?;
        let lines = elf
            .section_headers
            .iter()
            .any(|header| elf.shdr_strtab.get_at(header.sh_name) == Some(".debug_line"));
        let functions = functions(&elf);
        drop(elf);
        drop(bytes);
        let loader = Loader::new(vmlinux).map_err(|error| wrong(error.to_string()))?;
        let mut symbols = Self {
            functions,
            loader,
            root: String::new(),
            lines,
        };
        symbols.root = symbols.find_root().unwrap_or_default();
        Ok(symbols)
    }

    /// Does it know files and lines? The flavor `fast` has functions only.
    pub fn has_lines(&self) -> bool {
        self.lines
    }

    fn find_root(&self) -> Option<String> {
        let (name, file) = KNOWN;
        let &(address, _) = self.functions.get(name)?.first()?;
        let location = self.loader.find_location(address).ok()??;
        Some(location.file?.strip_suffix(file)?.to_owned())
    }

    /// The address of a place: that of the only function of this name, or of the one whose size it has.
    fn address(&self, place: &Place<'_>) -> Option<u64> {
        let candidates = self.functions.get(place.function)?;
        let distance = |&&(_, size): &&(u64, u64)| size.abs_diff(place.size);
        let (start, _) = candidates.iter().min_by_key(distance)?;
        let back = u64::from(place.returns && place.offset > 0);
        start.checked_add(place.offset - back)
    }

    /// The frames of a place; none if there is no such function.
    pub fn frames(&self, place: &Place<'_>) -> Vec<Frame> {
        let Some(address) = self.address(place) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        if let Ok(mut frames) = self.loader.find_frames(address) {
            while let Ok(Some(frame)) = frames.next() {
                let name = frame.function.as_ref().and_then(|name| {
                    let name = name.raw_name().ok()?;
                    Some(name.into_owned())
                });
                let location = frame.location.as_ref();
                found.push(Frame {
                    function: name.unwrap_or_else(|| place.function.to_owned()),
                    file: location
                        .and_then(|it| it.file)
                        .map(|file| self.relative(file)),
                    line: location.and_then(|it| it.line).filter(|&line| line > 0),
                });
            }
        }
        found
    }

    fn relative(&self, file: &str) -> String {
        let file = file.strip_prefix(&self.root).unwrap_or(file);
        file.strip_prefix("./").unwrap_or(file).to_owned()
    }
}

/// What lies in code, by name: address and bytes to the next one, as kallsyms counts them.
fn functions(elf: &Elf<'_>) -> HashMap<String, Vec<(u64, u64)>> {
    let in_code = |section: usize| {
        elf.section_headers
            .get(section)
            .is_some_and(|header| header.sh_flags & u64::from(SHF_EXECINSTR) != 0)
    };
    let symbols = elf.syms.iter().filter(|symbol| {
        !matches!(symbol.st_type(), STT_FILE | STT_SECTION) && in_code(symbol.st_shndx)
    });
    let mut named: Vec<(u64, &str)> = symbols
        .filter_map(|symbol| {
            let name = elf.strtab.get_at(symbol.st_name)?;
            // The first ABI of 64-bit powerpc has a dot before a function's code.
            let name = name.strip_prefix('.').unwrap_or(name);
            // Local labels are not in kallsyms.
            (!name.is_empty() && !name.starts_with('L')).then_some((symbol.st_value, name))
        })
        .collect();
    named.sort_unstable();
    let mut functions: HashMap<String, Vec<(u64, u64)>> = HashMap::new();
    for (at, &(address, name)) in named.iter().enumerate() {
        let next = named[at..].iter().find(|&&(next, _)| next > address);
        let size = next.map_or(0, |&(next, _)| next - address);
        functions
            .entry(name.to_owned())
            .or_default()
            .push((address, size));
    }
    functions
}
