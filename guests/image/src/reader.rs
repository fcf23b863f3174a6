//! The stream of records.

use std::io::{self, Read};

use serde::Serialize;
use xxhash_rust::xxh64::Xxh64;

use crate::fixed::{ByteOrder, Cursor};
use crate::records::{Arch, Header, Record, Shape, type_name};

/// `CKPT_MAGIC`.
pub(crate) const MAGIC: [u8; 8] = *b"crthaw\r\n";

/// `CKPT_BYTE_ORDER`.
pub(crate) const BYTE_ORDER: u32 = 0x0102_0304;

/// `CKPT_FORMAT_VERSION`.
pub(crate) const VERSION: u32 = 1;

/// Longest record: a megabyte of pages behind their head.
const LONGEST: u32 = (1 << 20) + 24;

/// Number of the HEADER record.
pub(crate) const HEADER: u32 = 1;

/// Number of the TRAILER record.
pub(crate) const TRAILER: u32 = 21;

/// What is wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The source failed.
    #[error("cannot read the image")]
    Io(#[from] io::Error),
    /// It does not begin with a HEADER record.
    #[error("this is not a checkpoint image")]
    NotAnImage,
    /// A later version of the format.
    #[error("format version {0}; this reader knows {VERSION}")]
    Version(u32),
    /// An architecture that this reader does not know.
    #[error("unknown architecture {0}")]
    Arch(u32),
    /// The second record is not the TREE.
    #[error("a TREE record must follow the header")]
    NoTree,
    /// It ends too early.
    #[error("the image is truncated at byte {at}, in {within}")]
    Truncated {
        /// Length of what is there.
        at: u64,
        /// The record that should be there.
        within: &'static str,
    },
    /// A record of an unknown type or an impossible length.
    #[error("byte {at}: no record has type {number} and length {len}")]
    BadRecord {
        /// Offset of the record.
        at: u64,
        /// Its type.
        number: u32,
        /// Its length.
        len: u32,
    },
    /// A record that ends before its fields do.
    #[error("byte {at}: the {name} record of {len} bytes is too short, it ends in {field}")]
    Short {
        /// Offset of the record.
        at: u64,
        /// Its type.
        name: &'static str,
        /// Its length.
        len: u32,
        /// The field that is not whole.
        field: &'static str,
    },
    /// A record that goes on behind its last field.
    #[error("byte {at}: the {name} record of {len} bytes is too long")]
    Long {
        /// Offset of the record.
        at: u64,
        /// Its type.
        name: &'static str,
        /// Its length.
        len: u32,
    },
    /// A record with something behind its last field, where zeros fill it up to a multiple of eight bytes.
    #[error("byte {at}: the {name} record is padded with something else than zeros")]
    Padding {
        /// Offset of the record.
        at: u64,
        /// Its type.
        name: &'static str,
    },
    /// The trailer disagrees with what came before it.
    #[error("{what} is {found:#x}, the trailer says {expected:#x}")]
    Trailer {
        /// What is compared.
        what: &'static str,
        /// The field that has it.
        field: &'static str,
        /// As the trailer has it.
        expected: u64,
        /// As it is.
        found: u64,
    },
    /// Bytes after the trailer, or after the error of a failed checkpoint.
    #[error("there is something behind the last record, {last}, at byte {at}")]
    Behind {
        /// Where the last record ends.
        at: u64,
        /// Name of its type.
        last: &'static str,
    },
}

/// A record and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Located {
    /// Offset of its first byte in the image.
    pub at: u64,
    /// Its length in bytes.
    pub len: u32,
    /// The record.
    #[serde(flatten)]
    pub record: Record,
}

/// An iterator over the records of an image: the trailer is the last; after an error there is nothing more.
///
/// A record is handed out as soon as it is read; the checksum is only known to be right when the iterator ends without an error.
pub struct Reader<R> {
    from: R,
    at: u64,
    order: Option<ByteOrder>,
    arch: Option<Arch>,
    checksum: Xxh64,
    done: bool,
}

impl<R> std::fmt::Debug for Reader<R> {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Reader")
            .field("at", &self.at)
            .field("order", &self.order)
            .field("arch", &self.arch)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl<R: Read> Reader<R> {
    /// Nothing is read yet.
    pub fn new(from: R) -> Self {
        Self {
            from,
            at: 0,
            order: None,
            arch: None,
            checksum: Xxh64::new(0),
            done: false,
        }
    }

    /// Byte order of the image; known after the first record.
    pub fn byte_order(&self) -> Option<ByteOrder> {
        self.order
    }

    /// Architecture of the image; known after the first record.
    pub fn arch(&self) -> Option<Arch> {
        self.arch
    }

    /// Append up to `len` bytes to `buffer`; fewer only at the end of the source.
    fn fill(&mut self, buffer: &mut Vec<u8>, len: u64) -> Result<(), ImageError> {
        self.from.by_ref().take(len).read_to_end(buffer)?;
        Ok(())
    }

    /// Read one record whole.
    fn record(&mut self) -> Result<Located, ImageError> {
        let at = self.at;
        let mut bytes = Vec::new();
        self.fill(&mut bytes, 8)?;
        let head: [u8; 8] = match bytes[..].try_into() {
            Ok(head) => head,
            Err(_) if at == 0 => return Err(ImageError::NotAnImage),
            Err(_) => {
                return Err(ImageError::Truncated {
                    at: at + bytes.len() as u64,
                    within: "a record's header",
                });
            }
        };
        let order = match self.order {
            Some(order) => order,
            None if head[..4] == HEADER.to_le_bytes() => ByteOrder::Little,
            None if head[..4] == HEADER.to_be_bytes() => ByteOrder::Big,
            None => return Err(ImageError::NotAnImage),
        };
        let (number, len) = match order {
            ByteOrder::Little => (
                u32::from_le_bytes([head[0], head[1], head[2], head[3]]),
                u32::from_le_bytes([head[4], head[5], head[6], head[7]]),
            ),
            ByteOrder::Big => (
                u32::from_be_bytes([head[0], head[1], head[2], head[3]]),
                u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
            ),
        };
        let bad = ImageError::BadRecord { at, number, len };
        let Some(name) = type_name(number).filter(|_| (8..=LONGEST).contains(&len) && len % 8 == 0)
        else {
            return Err(bad);
        };
        self.fill(&mut bytes, u64::from(len) - 8)?;
        if bytes.len() as u64 != u64::from(len) {
            return Err(ImageError::Truncated {
                at: at + bytes.len() as u64,
                within: name,
            });
        }
        let record =
            Record::decode(number, &mut Cursor::new(&bytes[8..], order)).map_err(|shape| {
                match shape {
                    Shape::Unknown => bad,
                    Shape::Short(field) => ImageError::Short {
                        at,
                        name,
                        len,
                        field,
                    },
                    Shape::Long => ImageError::Long { at, name, len },
                    Shape::Padding => ImageError::Padding { at, name },
                }
            })?;
        self.order = Some(order);
        if number != TRAILER {
            self.checksum.update(&bytes);
            self.at += u64::from(len);
        }
        Ok(Located { at, len, record })
    }

    fn check_header(&mut self, header: &Header) -> Result<(), ImageError> {
        if header.magic != MAGIC || header.byte_order != BYTE_ORDER {
            return Err(ImageError::NotAnImage);
        }
        if header.version != VERSION {
            return Err(ImageError::Version(header.version));
        }
        self.arch = Some(Arch::from_number(header.arch).ok_or(ImageError::Arch(header.arch))?);
        Ok(())
    }

    /// The trailer has been read: is it right, and the last?
    fn check_end(&mut self, trailer: &crate::Trailer, len: u32) -> Result<(), ImageError> {
        let found = u64::from_le_bytes(trailer.magic);
        if trailer.magic != MAGIC {
            return Err(ImageError::Trailer {
                what: "the magic",
                field: "magic",
                expected: found,
                found: u64::from_le_bytes(MAGIC),
            });
        }
        if trailer.bytes != self.at {
            return Err(ImageError::Trailer {
                what: "the length",
                field: "bytes",
                expected: trailer.bytes,
                found: self.at,
            });
        }
        let found = self.checksum.digest();
        if trailer.checksum != found {
            return Err(ImageError::Trailer {
                what: "the checksum",
                field: "checksum",
                expected: trailer.checksum,
                found,
            });
        }
        self.check_last(self.at + u64::from(len), "TRAILER")
    }

    /// Nothing may follow the last record, which ends there.
    fn check_last(&mut self, at: u64, last: &'static str) -> Result<(), ImageError> {
        let mut behind = Vec::new();
        self.fill(&mut behind, 1)?;
        if behind.is_empty() {
            Ok(())
        } else {
            Err(ImageError::Behind { at, last })
        }
    }
}

/// What [`Reader`] still has to say after the trailer was handed out.
impl<R: Read> Reader<R> {
    fn step(&mut self) -> Result<Option<Located>, ImageError> {
        let located = self.record()?;
        match &located.record {
            Record::Header(header) if located.at == 0 => self.check_header(header)?,
            Record::Header(_) => {
                return Err(ImageError::BadRecord {
                    at: located.at,
                    number: HEADER,
                    len: located.len,
                });
            }
            _ if located.at == 0 => return Err(ImageError::NotAnImage),
            Record::Trailer(trailer) => {
                let trailer = trailer.clone();
                self.check_end(&trailer, located.len)?;
                self.done = true;
            }
            // The image of a failed checkpoint has no trailer.
            Record::Error(_) => {
                self.check_last(self.at, "ERROR")?;
                self.done = true;
            }
            _ => {}
        }
        Ok(Some(located))
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Located, ImageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.step().transpose();
        if matches!(item, Some(Err(_))) {
            self.done = true;
        }
        item
    }
}

/// A whole image that is intact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Image {
    /// Byte order.
    pub byte_order: ByteOrder,
    /// Architecture.
    pub arch: Arch,
    /// All records: the first is the header; the last the trailer, or the error of a failed checkpoint.
    pub records: Vec<Located>,
}

impl Image {
    /// Read and check everything.
    pub fn read(from: impl Read) -> Result<Self, ImageError> {
        let mut reader = Reader::new(from);
        let records = reader.by_ref().collect::<Result<Vec<_>, _>>()?;
        match (reader.order, reader.arch) {
            (Some(byte_order), Some(arch)) => Ok(Self {
                byte_order,
                arch,
                records,
            }),
            _ => Err(ImageError::NotAnImage),
        }
    }

    /// The header.
    pub fn header(&self) -> &Header {
        match self.records.first().map(|located| &located.record) {
            Some(Record::Header(header)) => header,
            _ => unreachable!("the reader hands out nothing before the header"),
        }
    }
}
