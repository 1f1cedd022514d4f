use std::io::{self, Cursor};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tar::{Builder, EntryType, Header};

use super::super::archive::MAX_ENTRIES;
use super::*;

/// An archive of entries as they are given, which [`Builder`] would not take from a path.
pub(crate) fn pack(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    for (name, kind, bytes) in entries {
        let mut header = Header::new_ustar();
        // As the name stands, `../` and all.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        if matches!(kind, EntryType::Symlink | EntryType::Link) {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

fn unpack(archive: &[u8], limits: &Limits) -> Result<Vec<u8>, DownloadError> {
    let mut out = Vec::new();
    let length = extract(Cursor::new(archive), archive.len() as u64, limits, Kind::Database, false, &mut out)?;
    assert_eq!(length, out.len() as u64);
    Ok(out)
}

const FILE: EntryType = EntryType::Regular;

#[test]
fn the_one_database_is_found_among_the_texts() {
    let archive = pack(&[
        ("GeoLite2-ASN_20240102/", EntryType::Directory, b""),
        ("GeoLite2-ASN_20240102/COPYRIGHT.txt", FILE, b"text"),
        ("GeoLite2-ASN_20240102/GeoLite2-ASN.mmdb", FILE, b"database"),
        ("GeoLite2-ASN_20240102/LICENSE.txt", FILE, b"text"),
    ]);
    assert_eq!(unpack(&archive, &Limits::default()).unwrap(), b"database");
}

#[test]
fn a_path_in_the_archive_is_only_a_name() {
    for name in ["../../../../etc/cron.d/x.mmdb", "/etc/passwd.mmdb", ".mmdb"] {
        assert_eq!(unpack(&pack(&[(name, FILE, b"database")]), &Limits::default()).unwrap(), b"database");
    }
}

#[test]
fn what_is_not_exactly_one_regular_database_is_refused() {
    let refused = |entries: &[(&str, EntryType, &[u8])]| {
        let error = unpack(&pack(entries), &Limits::default()).unwrap_err();
        assert!(matches!(error, DownloadError::Contents(_)), "{error:?}");
    };
    refused(&[]);
    refused(&[("README", FILE, b"text")]);
    refused(&[("a.mmdb", FILE, b"one"), ("b.mmdb", FILE, b"two")]);
    refused(&[("a.mmdb", FILE, b"one"), ("a.mmdb", FILE, b"two")]);
    refused(&[("a.mmdb", FILE, b"one"), ("b.mmdb", EntryType::Symlink, b"")]);
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::Directory,
        EntryType::Continuous,
        EntryType::GNUSparse,
    ] {
        refused(&[("a.mmdb", kind, b"")]);
    }
    let many: Vec<_> = (0..=MAX_ENTRIES).map(|_| ("x", FILE, &b""[..])).collect();
    refused(&many);
}

#[test]
fn extensions_do_not_rename_an_entry() {
    let renamed = pack(&[("././@LongLink", EntryType::GNULongName, b"evil.mmdb\0"), ("good.txt", FILE, b"text")]);
    assert!(matches!(unpack(&renamed, &Limits::default()), Err(DownloadError::Contents(_))));
    let renamed = pack(&[("x", EntryType::XHeader, b"18 path=evil.mmdb\n"), ("good.txt", FILE, b"text")]);
    assert!(matches!(unpack(&renamed, &Limits::default()), Err(DownloadError::Contents(_))));
}

#[test]
fn extensions_and_what_macos_packs_beside_a_file_are_no_database() {
    let times = b"30 mtime=1704153600.123456789\n";
    let macos = b"\0\x05\x16\x07\0\x02\0\0Mac OS X";
    let files = [
        ("x", EntryType::XGlobalHeader, &b"14 comment=abc\n"[..]),
        ("./PaxHeaders/x.mmdb", EntryType::XHeader, times),
        ("././@LongLink.mmdb", EntryType::GNULongName, b"x/x.mmdb\0"),
        ("x/._x.mmdb", FILE, macos),
        ("__MACOSX/x.mmdb", FILE, macos),
        ("x/x.mmdb", FILE, b"database"),
    ];
    for (kind, plain) in [(Kind::Database, false), (Kind::Database, true), (Kind::List, true)] {
        let (archive, mut out) = (pack(&files), Vec::new());
        let length = archive.len() as u64;
        extract(Cursor::new(archive), length, &Limits::default(), kind, plain, &mut out).unwrap();
        assert_eq!(out, b"database");
    }
    assert!(matches!(unpack(&pack(&files[..5]), &Limits::default()), Err(DownloadError::Contents(_))));
}

#[test]
fn a_bomb_ends_at_the_limit() {
    let bomb = pack(&[("a.mmdb", FILE, &vec![0; 20 << 20])]);
    assert!(bomb.len() < 64 << 10);
    let ratio = unpack(&bomb, &Limits::default()).unwrap_err();
    assert!(matches!(ratio, DownloadError::TooLarge(_)), "{ratio:?}");
    let wide = Limits { ratio: u64::MAX, ..Limits::default() };
    assert_eq!(unpack(&bomb, &wide).unwrap().len(), 20 << 20);
    let size = unpack(&bomb, &Limits { expanded: 10 << 20, ..wide }).unwrap_err();
    assert!(matches!(size, DownloadError::TooLarge(_)), "{size:?}");
    // Skipped bytes count, too.
    let hidden = pack(&[("a.txt", FILE, &vec![0; 20 << 20]), ("a.mmdb", FILE, b"database")]);
    assert!(matches!(unpack(&hidden, &Limits::default()), Err(DownloadError::TooLarge(_))));
    // A name of 20 MB is not kept in memory.
    let name = pack(&[("x", EntryType::GNULongName, &vec![b'x'; 20 << 20]), ("a.mmdb", FILE, b"database")]);
    assert!(matches!(unpack(&name, &Limits::default()), Err(DownloadError::TooLarge(_))));
}

#[test]
fn an_archive_that_ends_early_is_refused() {
    // Noise, so that every byte of the archive matters.
    let noise: Vec<u8> = (0..50_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let archive = pack(&[("a.mmdb", FILE, &noise)]);
    assert_eq!(unpack(&archive, &Limits::default()).unwrap(), noise);
    for length in [0, 1, 2, 10, 20, archive.len() / 2, archive.len() * 9 / 10] {
        let error = unpack(&archive[..length], &Limits::default()).unwrap_err();
        assert!(matches!(error, DownloadError::NotAnArchive(_)), "{length}: {error:?}");
    }
    // A tar that ends inside the file, in a sound gzip stream.
    let mut tar = Vec::new();
    GzDecoder::new(&archive[..]).read_to_end(&mut tar).unwrap();
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(&tar[..tar.len() / 2]).unwrap();
    let error = unpack(&gz.finish().unwrap(), &Limits::default()).unwrap_err();
    assert!(matches!(error, DownloadError::NotAnArchive(_)), "{error:?}");
}

/// Fails after some bytes, as a disk does.
struct Failing<T>(T, usize);

impl<R: Read> Read for Failing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.1.min(buffer.len());
        if most == 0 {
            return Err(io::Error::from_raw_os_error(nix::libc::EIO));
        }
        let n = self.0.read(&mut buffer[..most])?;
        self.1 -= n;
        Ok(n)
    }
}

impl<R: Seek> Seek for Failing<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl<W: Write> Write for Failing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = self.1.min(bytes.len());
        if most == 0 {
            return Err(io::Error::from_raw_os_error(nix::libc::ENOSPC));
        }
        let n = self.0.write(&bytes[..most])?;
        self.1 -= n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_failing_disk_is_told_from_a_broken_archive() {
    let archive = pack(&[("a.mmdb", FILE, b"database")]);
    let (length, limits) = (archive.len() as u64, Limits::default());
    let reading =
        extract(Failing(Cursor::new(&archive[..]), 20), length, &limits, Kind::Database, false, &mut Vec::new());
    assert!(matches!(&reading, Err(DownloadError::Disk(e)) if e.raw_os_error() == Some(nix::libc::EIO)), "{reading:?}");
    let writing =
        extract(Cursor::new(&archive[..]), length, &limits, Kind::Database, false, &mut Failing(Vec::new(), 3));
    assert!(matches!(&writing, Err(DownloadError::Disk(e)) if e.raw_os_error() == Some(nix::libc::ENOSPC)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_an_archive_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = unpack(&bytes, &Limits::default());
    }

    #[test]
    fn any_bytes_inside_gzip_are_an_archive_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(&bytes).unwrap();
        let _ = unpack(&gz.finish().unwrap(), &Limits::default());
    }

    /// Near misses: headers whose sums are right, with sizes and kinds that are not.
    #[test]
    fn any_entries_are_taken_whole_or_refused(
        entries in prop::collection::vec(("[a-z./]{1,20}(\\.mmdb)?", any::<u8>(), any::<u64>(), any::<bool>(), 0usize..1500), 1..5),
    ) {
        let mut tar = Vec::new();
        for (name, kind, size, honest, length) in &entries {
            let mut header = Header::new_ustar();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(EntryType::new(if *honest { b'0' } else { *kind }));
            header.set_size(if *honest { *length as u64 } else { *size });
            header.set_cksum();
            tar.extend_from_slice(header.as_bytes());
            tar.extend(vec![b'x'; length.next_multiple_of(512)]);
        }
        let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
        gz.write_all(&tar).unwrap();
        if let Ok(found) = unpack(&gz.finish().unwrap(), &Limits::default()) {
            prop_assert!(found.len() <= tar.len());
        }
    }

    #[test]
    fn a_flipped_byte_never_panics(at in 0usize..200, with in any::<u8>()) {
        let mut archive = pack(&[("a.mmdb", FILE, b"database"), ("b.txt", FILE, b"text")]);
        let at = at % archive.len();
        archive[at] ^= with;
        let length = archive.len() as u64;
        let _ = extract(Cursor::new(archive), length, &Limits::default(), Kind::Database, false, &mut Vec::new());
    }
}

#[test]
fn all_members_of_a_gzip_are_read_and_what_fills_up_the_block_is_not() {
    let gz = |bytes: &[u8]| {
        let mut gz = GzEncoder::new(Vec::new(), Compression::best());
        io::Write::write_all(&mut gz, bytes).unwrap();
        gz.finish().unwrap()
    };
    for (rest, wanted) in [(gz(b"2.2.2.2\n"), &b"1.1.1.1\n2.2.2.2\n"[..]), (vec![0; 700], b"1.1.1.1\n")] {
        let packed = [gz(b"1.1.1.1\n"), rest].concat();
        let mut out = Vec::new();
        let length = packed.len() as u64;
        extract(Cursor::new(packed), length, &Limits::default(), Kind::List, true, &mut out).unwrap();
        assert_eq!(out, wanted);
    }
}
