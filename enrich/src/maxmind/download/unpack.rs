//! From what was downloaded to the one file in it: `.tar.gz`, `.gz`, `.zip`, or the file itself. The bytes tell which, not
//! a name: servers name files as they like.

use std::io::{BufReader, Read, Seek, SeekFrom, Write};

use super::error::DownloadError;
use super::gzip::Members;
use super::kind::Kind;
use super::limits::Limits;
use super::readers::{Capped, Noted, Trouble, copy};
use super::{archive, zip};

const BROKEN: DownloadError = DownloadError::NotAnArchive("it is broken");

/// The first bytes of a file.
const START: usize = 512;

/// Copies the one file of a kind in `packed`, which is `compressed` bytes long, into `out`, and tells its length. Where it
/// `may_be_plain`, it need not stand in an archive.
///
/// # Errors
/// [`DownloadError::NotAnArchive`], [`DownloadError::Contents`] where there is not exactly one regular file of the kind,
/// [`DownloadError::TooLarge`], and [`DownloadError::Disk`] where either side cannot be read or written. `out` holds
/// something unfinished then.
pub(super) fn extract(
    mut packed: impl Read + Seek,
    compressed: u64,
    limits: &Limits,
    kind: Kind,
    may_be_plain: bool,
    out: &mut impl Write,
) -> Result<u64, DownloadError> {
    let start = peek(&mut packed)?;
    packed.seek(SeekFrom::Start(0))?;
    match start.as_slice() {
        [0x1f, 0x8b, ..] => {
            let trouble = Trouble::default();
            let from_disk = BufReader::with_capacity(1 << 16, Noted { inner: packed, trouble: &trouble });
            let inner = Members::new(from_disk);
            let expanded = Capped { inner, left: limits.most(compressed), trouble: &trouble };
            in_gzip(expanded, kind, may_be_plain, out).map_err(|error| trouble.explain(error))
        }
        [b'P', b'K', 3 | 5, ..] => zip::find(packed, compressed, limits, kind, out),
        _ if !may_be_plain => Err(BROKEN),
        _ if compressed > limits.expanded => Err(DownloadError::TooLarge("the file")),
        start if is_text_of_the_web(start) => Err(DownloadError::Page),
        _ => {
            let trouble = Trouble::default();
            copy(&mut Noted { inner: packed, trouble: &trouble }, out).map_err(|error| trouble.explain(error))
        }
    }
}

/// A tar archive, or a file alone.
fn in_gzip(
    mut expanded: impl Read,
    kind: Kind,
    may_be_plain: bool,
    out: &mut impl Write,
) -> Result<u64, DownloadError> {
    let start = peek(&mut expanded).map_err(|_| BROKEN)?;
    let whole = start.as_slice().chain(expanded);
    if is_tar(&start) || !may_be_plain {
        return archive::find(whole, kind, out);
    }
    if is_text_of_the_web(&start) { Err(DownloadError::Page) } else { copy(&mut { whole }, out) }
}

fn peek(from: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(START);
    from.take(START as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// By the sum in its first header, which all kinds of tar have. An archive of nothing begins with zeros.
fn is_tar(start: &[u8]) -> bool {
    let Some(block) = start.first_chunk::<START>() else { return false };
    if block.iter().all(|byte| *byte == 0) {
        return true;
    }
    let header = tar::Header::from_byte_slice(block);
    let sum = |byte: &u8| u32::from(*byte);
    let counted: u32 = block[..148].iter().map(sum).sum::<u32>() + 8 * 32 + block[156..].iter().map(sum).sum::<u32>();
    header.cksum().is_ok_and(|said| said == counted)
}

/// A page, or the XML of a store's error: neither has a place in a file of ours.
fn is_text_of_the_web(start: &[u8]) -> bool {
    let text = start.strip_prefix("\u{feff}".as_bytes()).unwrap_or(start);
    let text = text.trim_ascii_start();
    let second = text.get(1).copied().unwrap_or_default();
    text.first() == Some(&b'<') && (second.is_ascii_alphabetic() || second == b'!' || second == b'?')
}

#[cfg(test)]
pub(super) mod tests;
