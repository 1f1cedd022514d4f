//! Archives like MaxMind's and those of others, and hostile ones.

use flate2::{Compression, write::GzEncoder};
use std::io::{self, Read, Write};
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

/// A single file, gzipped.
///
/// # Panics
/// Never: it is written to memory.
#[must_use]
pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(bytes).and_then(|()| gz.finish()).expect("an archive")
}

/// A zip archive of one file beside a text.
///
/// # Panics
/// Never: it is written to memory.
#[must_use]
pub fn zip(path: &str, bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut list) = (Vec::new(), Vec::new());
    for (path, bytes) in [("README.txt", &b"text"[..]), (path, bytes)] {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), Compression::fast());
        let packed = deflate.write_all(bytes).and_then(|()| deflate.finish()).expect("an entry");
        let sizes = [packed.len(), bytes.len()].map(|size| (size as u32).to_le_bytes()).concat();
        let name = (path.len() as u16).to_le_bytes();
        let common = [&[0, 0, 8, 0, 0, 0, 0, 0][..], &crc.sum().to_le_bytes(), &sizes, &name, &[0, 0]].concat();
        let offset = (out.len() as u32).to_le_bytes();
        out.extend([&b"PK\x03\x04\x14\0"[..], &common, path.as_bytes(), &packed].concat());
        list.extend([&b"PK\x01\x02\x14\0\x14\0"[..], &common, &[0; 10], &offset, path.as_bytes()].concat());
    }
    let place = [list.len(), out.len()].map(|size| (size as u32).to_le_bytes()).concat();
    out.extend([&list[..], b"PK\x05\x06\0\0\0\0\x02\0\x02\0", &place, &[0, 0]].concat());
    out
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
