//! One file of a list: from bytes to disjoint, sorted ranges. Its first bytes tell whether it is JSON or a text; a file
//! that is packed, binary or a web page is refused with that reason.

use std::io::{self, BufRead};

use super::parsed::{Parsed, Room};
use super::text::Unread;
use super::{json, text};

/// No list that anyone publishes comes near; a larger file is a mistake.
pub const MOST_BYTES: u64 = 1 << 30;

/// The beginnings of files that have to be unpacked first.
const PACKED: [(&[u8], &str); 5] = [
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "zip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
];

/// Reads a list. `breathe` is called now and then, and may leave by unwinding.
///
/// # Errors
/// [`Unread`].
pub fn read(source: &mut dyn BufRead, room: Room, breathe: &dyn Fn()) -> Result<Parsed, Unread> {
    let (first, packed) = loop {
        match source.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
            Ok(start) => {
                let packed = PACKED.iter().find(|(mark, _)| start.starts_with(mark)).map(|(_, name)| *name);
                let content = start.strip_prefix("\u{feff}".as_bytes()).unwrap_or(start);
                break (content.iter().copied().find(|byte| !byte.is_ascii_whitespace()), packed);
            }
        }
    };
    if let Some(packed) = packed {
        return Err(Unread::Refused(format!("packed with {packed}: it has to be unpacked first")));
    }
    let parsed = match first {
        Some(b'{' | b'[') => {
            skip_mark(source)?;
            json::read(source, room, breathe)?
        }
        _ => text::read(source, room, breathe)?,
    };
    breathe();
    Ok(parsed.finish())
}

/// Skips a byte order mark.
fn skip_mark(source: &mut dyn BufRead) -> io::Result<()> {
    let mark = "\u{feff}".len();
    if source.fill_buf()?.starts_with("\u{feff}".as_bytes()) {
        source.consume(mark);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
