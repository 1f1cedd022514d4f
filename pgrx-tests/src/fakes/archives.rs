//! Archives (`.tar.gz`) like MaxMind's, and hostile ones.

use flate2::{Compression, write::GzEncoder};
use std::io::{self, Read};
pub use tar::EntryType;

/// The entries of an archive: path, type, content or, for a link, the target.
pub type Entry<'a> = (&'a str, EntryType, &'a [u8]);

/// Packs entries as they are, with any paths.
///
/// # Panics
/// When a path or a target is too long for a header.
#[must_use]
pub fn pack(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for &(path, kind, bytes) in entries {
        let link = kind.is_symlink() || kind.is_hard_link();
        let size = if link { 0 } else { bytes.len() as u64 };
        let mut header = header(path, kind, size);
        if link {
            let field = &mut header.as_gnu_mut().expect("a GNU header").linkname;
            field[..bytes.len()].copy_from_slice(bytes);
            header.set_cksum();
        }
        tar.append(&header, &bytes[..size as usize]).expect("an entry");
    }
    finish(tar)
}

/// A database of `size` zeros: some thousandth of that as an archive.
///
/// # Panics
/// Never: it is written to memory.
#[must_use]
pub fn bomb(path: &str, size: u64) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    tar.append(&header(path, EntryType::Regular, size), io::repeat(0).take(size)).expect("an entry");
    finish(tar)
}

fn finish(tar: tar::Builder<GzEncoder<Vec<u8>>>) -> Vec<u8> {
    tar.into_inner().and_then(GzEncoder::finish).expect("an archive")
}

/// `set_path` refuses the paths that matter here.
fn header(path: &str, kind: EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().expect("a GNU header").name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header
}
