//! The one file of a kind in a zip archive.
//!
//! A small reader of our own: the list of entries may be as long as the file, and a general one takes it all into memory
//! before it can be asked how many there are, and tells entries by name, of which two may be the same. Here entries are
//! read one after the other, up to a limit. Sizes are what the list says, and the bytes must agree with it.

use std::io::{BufReader, Read, Seek, SeekFrom, Write};

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

use super::archive::MAX_ENTRIES;
use super::error::DownloadError;
use super::kind::{Kind, Unfit};
use super::limits::Limits;
use super::readers::{Capped, Noted, Trouble, copy};

const BROKEN: DownloadError = DownloadError::NotAnArchive("it is broken");
/// The end of the list, without a comment.
const END: usize = 22;
const MAX_COMMENT: usize = 0xffff;
/// This value says that the real one stands in an extension.
const ELSEWHERE: u32 = u32::MAX;

/// An entry as the list has it.
struct Entry {
    flags: u16,
    method: u16,
    crc: u32,
    compressed: u64,
    expanded: u64,
    offset: u64,
    made_on_unix: bool,
    attributes: u32,
    is_named: bool,
}

/// Copies the file of that kind in the archive, which is `length` bytes long, into `out`, and tells its length.
///
/// # Errors
/// As for the other archives.
pub(super) fn find(
    mut packed: impl Read + Seek,
    length: u64,
    limits: &Limits,
    kind: Kind,
    out: &mut impl Write,
) -> Result<u64, DownloadError> {
    let (count, at) = list(&mut packed, length)?;
    if count > MAX_ENTRIES as u64 {
        return Err(DownloadError::Contents("it holds too many files"));
    }
    go(&mut packed, at, length)?;
    let mut entries = BufReader::new(&mut packed);
    let mut found: Option<Entry> = None;
    for _ in 0..count {
        let entry = entry(&mut entries, kind)?;
        if entry.is_named && found.replace(entry).is_some() {
            return Err(kind.refused(Unfit::Many));
        }
    }
    let entry = found.ok_or_else(|| kind.refused(Unfit::Missing))?;
    if entry.made_on_unix && !matches!(entry.attributes >> 28, 0 | 0o10) {
        return Err(kind.refused(Unfit::Special));
    }
    if entry.flags & 1 != 0 {
        return Err(kind.refused(Unfit::Encrypted));
    }
    // What may come out depends on this: it must be there.
    if entry.offset.checked_add(entry.compressed).is_none_or(|end| end > length) {
        return Err(BROKEN);
    }
    if entry.expanded > limits.most(entry.compressed) {
        return Err(DownloadError::TooLarge("the content of the archive"));
    }
    content(packed, length, &entry, limits, kind, out)
}

/// A place that is not in the file is the archive's fault, and not the disk's.
fn go(packed: &mut impl Seek, at: u64, length: u64) -> Result<(), DownloadError> {
    if at > length {
        return Err(BROKEN);
    }
    packed.seek(SeekFrom::Start(at))?;
    Ok(())
}

/// How many entries there are, and where the first one stands.
fn list(packed: &mut (impl Read + Seek), length: u64) -> Result<(u64, u64), DownloadError> {
    let tail_length = length.min((END + MAX_COMMENT) as u64);
    packed.seek(SeekFrom::Start(length - tail_length))?;
    let mut tail = Vec::new();
    packed.by_ref().take(tail_length).read_to_end(&mut tail)?;
    // Its comment may look like an end itself: the one counts that reaches exactly to the end of the file.
    let end = (0..=tail.len().saturating_sub(END)).rev().find(|at| {
        let end = &tail[*at..];
        end.starts_with(b"PK\x05\x06")
            && u16_at(end, 20).is_ok_and(|comment| at + END + usize::from(comment) == tail.len())
    });
    let end_at = end.ok_or(BROKEN)?;
    let end = &tail[end_at..];
    let (count, offset) = (u16_at(end, 10)?, u32_at(end, 16)?);
    if count != u16::MAX && offset != ELSEWHERE {
        return Ok((count.into(), offset.into()));
    }
    // zip64: a locator stands before the end, and says where the larger end is.
    let locator = end_at.checked_sub(20).and_then(|at| tail.get(at..end_at)).filter(|l| l.starts_with(b"PK\x06\x07"));
    let Some(locator) = locator else { return Ok((count.into(), offset.into())) };
    go(packed, u64_at(locator, 8)?, length)?;
    let mut large = [0; 56];
    packed.read_exact(&mut large).map_err(|_| BROKEN)?;
    if !large.starts_with(b"PK\x06\x06") {
        return Err(BROKEN);
    }
    Ok((u64_at(&large, 32)?, u64_at(&large, 48)?))
}

fn entry(list: &mut impl Read, kind: Kind) -> Result<Entry, DownloadError> {
    let mut head = [0; 46];
    list.read_exact(&mut head).map_err(|_| BROKEN)?;
    if !head.starts_with(b"PK\x01\x02") {
        return Err(BROKEN);
    }
    let mut field = |at| -> Result<Vec<u8>, DownloadError> {
        let mut bytes = vec![0; u16_at(&head, at)?.into()];
        list.read_exact(&mut bytes).map_err(|_| BROKEN)?;
        Ok(bytes)
    };
    let (name, extra, _comment) = (field(28)?, field(30)?, field(32)?);
    let wide = wide(&extra).unwrap_or_default();
    let mut wide = wide.chunks_exact(8).map(|eight| eight.try_into().map(u64::from_le_bytes).unwrap_or_default());
    // In this order, and only those that did not fit.
    let mut value = |at| -> Result<u64, DownloadError> {
        match u32_at(&head, at)? {
            ELSEWHERE => wide.next().ok_or(BROKEN),
            fits => Ok(fits.into()),
        }
    };
    let (expanded, compressed, offset) = (value(24)?, value(20)?, value(42)?);
    Ok(Entry {
        flags: u16_at(&head, 8)?,
        method: u16_at(&head, 10)?,
        crc: u32_at(&head, 16)?,
        compressed,
        expanded,
        offset,
        made_on_unix: head[5] == 3,
        attributes: u32_at(&head, 38)?,
        is_named: kind.is_named(&name),
    })
}

/// The extension with sizes of 64 bits.
fn wide(mut extra: &[u8]) -> Option<&[u8]> {
    loop {
        let (kind, length) = (u16_at(extra, 0).ok()?, usize::from(u16_at(extra, 2).ok()?));
        let content = extra.get(4..4 + length)?;
        if kind == 1 {
            return Some(content);
        }
        extra = &extra[4 + length..];
    }
}

fn content(
    mut packed: impl Read + Seek,
    length: u64,
    entry: &Entry,
    limits: &Limits,
    kind: Kind,
    out: &mut impl Write,
) -> Result<u64, DownloadError> {
    let mut local = [0; 30];
    go(&mut packed, entry.offset, length)?;
    packed.read_exact(&mut local).map_err(|_| BROKEN)?;
    if !local.starts_with(b"PK\x03\x04") {
        return Err(BROKEN);
    }
    // Name and extension stand here once more, and may be of other lengths than in the list.
    let skipped = u64::from(u16_at(&local, 26)?) + u64::from(u16_at(&local, 28)?);
    go(&mut packed, entry.offset.saturating_add(30 + skipped), length)?;
    let trouble = Trouble::default();
    let from_disk = Noted { inner: packed.take(entry.compressed), trouble: &trouble };
    let most = limits.most(entry.compressed);
    let mut sum = Summed { inner: out, crc: Crc::new() };
    let copied = match entry.method {
        0 => copy(&mut Capped { inner: from_disk, left: most, trouble: &trouble }, &mut sum),
        8 => {
            let inner = DeflateDecoder::new(BufReader::with_capacity(1 << 16, from_disk));
            copy(&mut Capped { inner, left: most, trouble: &trouble }, &mut sum)
        }
        _ => return Err(kind.refused(Unfit::Packing)),
    };
    let copied = copied.map_err(|error| trouble.explain(error))?;
    if copied != entry.expanded || sum.crc.sum() != entry.crc {
        return Err(DownloadError::NotAnArchive("its file is not what its directory says"));
    }
    Ok(copied)
}

/// Sums up what passes.
struct Summed<'a, W> {
    inner: &'a mut W,
    crc: Crc,
}

impl<W: Write> Write for Summed<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.crc.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], DownloadError> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().ok_or(BROKEN)
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, DownloadError> {
    bytes_at(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, DownloadError> {
    bytes_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, DownloadError> {
    bytes_at(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
pub(super) mod tests;
