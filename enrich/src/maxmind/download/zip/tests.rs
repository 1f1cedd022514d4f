use std::io::Cursor;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use proptest::prelude::*;

use super::*;

/// One entry, with what its headers say where that is not the truth.
#[derive(Clone)]
pub(crate) struct Packed {
    name: String,
    method: u16,
    flags: u16,
    attributes: u32,
    bytes: Vec<u8>,
    said: Option<u64>,
    crc: Option<u32>,
    wide: bool,
}

pub(crate) fn entry(name: &str, bytes: &[u8]) -> Packed {
    let attributes = 0o100_644 << 16;
    let (bytes, name) = (bytes.to_vec(), name.to_owned());
    Packed { name, method: 8, flags: 0, attributes, bytes, said: None, crc: None, wide: false }
}

pub(crate) fn zip(entries: &[Packed]) -> Vec<u8> {
    let (mut out, mut list) = (Vec::new(), Vec::new());
    for packed in entries {
        let mut crc = Crc::new();
        crc.update(&packed.bytes);
        let stored = if packed.method == 8 {
            let mut deflate = DeflateEncoder::new(Vec::new(), Compression::best());
            deflate.write_all(&packed.bytes).unwrap();
            deflate.finish().unwrap()
        } else {
            packed.bytes.clone()
        };
        let expanded = packed.said.unwrap_or(packed.bytes.len() as u64);
        let offset = out.len() as u64;
        let extra = match packed.wide {
            true => [
                &[1, 0, 24, 0][..],
                &expanded.to_le_bytes(),
                &(stored.len() as u64).to_le_bytes(),
                &offset.to_le_bytes(),
            ]
            .concat(),
            false => Vec::new(),
        };
        let size = |value: u64| if packed.wide { [0xff; 4] } else { (value as u32).to_le_bytes() };
        let common = [
            &packed.flags.to_le_bytes()[..],
            &packed.method.to_le_bytes(),
            &[0; 4],
            &packed.crc.unwrap_or(crc.sum()).to_le_bytes(),
            &size(stored.len() as u64),
            &size(expanded),
            &(packed.name.len() as u16).to_le_bytes(),
        ]
        .concat();
        out.extend([&b"PK\x03\x04\x14\0"[..], &common, &[3, 0], packed.name.as_bytes(), b"xyz", &stored].concat());
        list.extend([&b"PK\x01\x02\x14\x03\x14\0"[..], &common, &(extra.len() as u16).to_le_bytes(), &[0; 6]].concat());
        list.extend([&packed.attributes.to_le_bytes()[..], &size(offset), packed.name.as_bytes(), &extra].concat());
    }
    let (count, at, length) = (entries.len(), out.len(), list.len());
    out.extend(list);
    let wide = entries.iter().any(|entry| entry.wide);
    if wide {
        let end = out.len() as u64;
        out.extend([&b"PK\x06\x06"[..], &44u64.to_le_bytes(), &[0; 12]].concat());
        for value in [count, count, length, at] {
            out.extend((value as u64).to_le_bytes());
        }
        out.extend([&b"PK\x06\x07\0\0\0\0"[..], &end.to_le_bytes(), &[1, 0, 0, 0]].concat());
    }
    let short = |value: usize| if wide { [0xff; 2] } else { (value as u16).to_le_bytes() };
    let long = |value: usize| if wide { [0xff; 4] } else { (value as u32).to_le_bytes() };
    out.extend([&b"PK\x05\x06\0\0\0\0"[..], &short(count), &short(count), &long(length), &long(at), &[0; 2]].concat());
    out
}

fn unpack(archive: &[u8], limits: &Limits) -> Result<Vec<u8>, DownloadError> {
    let mut out = Vec::new();
    let length = find(Cursor::new(archive), archive.len() as u64, limits, Kind::Database, &mut out)?;
    assert_eq!(length, out.len() as u64);
    Ok(out)
}

fn of(entries: &[Packed]) -> Result<Vec<u8>, DownloadError> {
    unpack(&zip(entries), &Limits::default())
}

#[test]
fn the_one_database_is_found_packed_or_stored_small_or_wide() {
    let text = entry("x/README.txt", b"text");
    for (method, wide) in [(8, false), (0, false), (8, true), (0, true)] {
        let database = Packed { method, wide, ..entry("x/IP2LOCATION-LITE-DB11.MMDB", b"database") };
        assert_eq!(of(&[text.clone(), database.clone(), text.clone()]).unwrap(), b"database");
        let mut commented = zip(std::slice::from_ref(&database));
        let at = commented.len() - 2;
        commented[at..].copy_from_slice(&26u16.to_le_bytes());
        // A comment that looks like an end of its own.
        commented.extend(b"PK\x05\x06 and twenty-two more.");
        commented.resize(at + 2 + 26, b'.');
        assert_eq!(unpack(&commented, &Limits::default()).unwrap(), b"database");
    }
    for name in ["../../etc/cron.d/x.mmdb", "/etc/x.mmdb", ".mmdb"] {
        assert_eq!(of(&[entry(name, b"database")]).unwrap(), b"database", "a path is only a name");
    }
}

#[test]
fn what_is_not_exactly_one_regular_database_is_refused() {
    let database = entry("x.mmdb", b"database");
    let refused = |entries: &[Packed]| {
        let error = of(entries).unwrap_err();
        assert!(matches!(error, DownloadError::Contents(_)), "{error:?}");
    };
    refused(&[]);
    refused(&[entry("README", b"text")]);
    refused(&[database.clone(), entry("y.mmdb", b"other")]);
    refused(&[database.clone(), database.clone()]);
    for kind in [0o120_777, 0o040_755, 0o060_644] {
        refused(&[Packed { attributes: kind << 16, ..database.clone() }]);
    }
    refused(&[Packed { flags: 1, ..database.clone() }]);
    refused(&[Packed { method: 12, ..database.clone() }]);
    refused(&vec![entry("x", b""); MAX_ENTRIES + 1]);
}

#[test]
fn headers_that_lie_are_found_out() {
    let database = entry("x.mmdb", b"database");
    for said in [0, 7, 9] {
        let error = of(&[Packed { said: Some(said), ..database.clone() }]).unwrap_err();
        assert!(matches!(error, DownloadError::NotAnArchive(_)), "{said}: {error:?}");
    }
    assert!(matches!(of(&[Packed { crc: Some(1), ..database.clone() }]), Err(DownloadError::NotAnArchive(_))));
    let mut many = zip(std::slice::from_ref(&database));
    let at = many.len() - 12;
    many[at..at + 2].copy_from_slice(&2u16.to_le_bytes());
    assert!(matches!(unpack(&many, &Limits::default()), Err(DownloadError::NotAnArchive(_))));
}

#[test]
fn a_bomb_ends_at_the_limit() {
    let zeros = vec![0; 20 << 20];
    for wide in [false, true] {
        let bomb = Packed { wide, ..entry("x.mmdb", &zeros) };
        let refused = |bomb: &Packed, limits: &Limits| {
            let error = unpack(&zip(std::slice::from_ref(bomb)), limits).unwrap_err();
            assert!(matches!(error, DownloadError::TooLarge(_)), "{error:?}");
        };
        refused(&bomb, &Limits::default());
        // One that says it is small.
        refused(&Packed { said: Some(1000), ..bomb.clone() }, &Limits::default());
        let open = Limits { ratio: u64::MAX, ..Limits::default() };
        assert_eq!(unpack(&zip(std::slice::from_ref(&bomb)), &open).unwrap().len(), zeros.len());
        refused(&bomb, &Limits { expanded: 10 << 20, ..open });
        refused(&Packed { said: Some(u64::from(u32::MAX) - 1), ..bomb }, &open);
    }
    // A list of very many entries is not read.
    let mut end = b"PK\x06\x06".to_vec();
    end.extend([&44u64.to_le_bytes()[..], &[0; 12], &[0xff; 32]].concat());
    end.extend([&b"PK\x06\x07\0\0\0\0"[..], &0u64.to_le_bytes(), &[1, 0, 0, 0]].concat());
    end.extend([&b"PK\x05\x06\0\0\0\0"[..], &[0xff; 12], &[0; 2]].concat());
    assert!(matches!(unpack(&end, &Limits::default()), Err(DownloadError::Contents("it holds too many files"))));
}

/// An archive of one wide entry, `x.mmdb`, each time with this value in another place.
fn wide_values(archive: &[u8], value: u64) -> impl Iterator<Item = Vec<u8>> {
    let archive = archive.to_vec();
    let at = |mark: &[u8], skip| archive.windows(mark.len()).position(|found| found == mark).unwrap() + skip;
    // The offset and the size of the entry, the place of the list, and that of the larger end.
    let list = at(b"PK\x01\x02", 46 + "x.mmdb".len() + 4);
    let places = [list + 16, list + 8, at(b"PK\x06\x06", 48), at(b"PK\x06\x07", 8)];
    places.into_iter().map(move |place| {
        let mut changed = archive.clone();
        changed[place..place + 8].copy_from_slice(&value.to_le_bytes());
        changed
    })
}

#[test]
fn a_place_that_is_not_in_the_archive_is_no_error_of_the_disk() {
    use crate::secrets::fake::Directory;
    let (directory, limits) = (Directory::new(), Limits::default());
    let sound = zip(&[Packed { wide: true, ..entry("x.mmdb", b"database") }]);
    for value in [sound.len() as u64 + 1, u64::MAX / 2 + 1, u64::MAX] {
        for archive in wide_values(&sound, value) {
            let file = std::fs::File::open(directory.write("x.zip", &archive)).unwrap();
            let error = find(file, archive.len() as u64, &limits, Kind::Database, &mut Vec::new()).unwrap_err();
            assert!(matches!(error, DownloadError::NotAnArchive(_)), "{value}: {error:?}");
        }
    }
}

#[test]
fn a_bomb_cannot_say_that_it_is_packed_large() {
    let bomb = zip(&[Packed { wide: true, ..entry("x.mmdb", &vec![0; 20 << 20]) }]);
    let packed_large = wide_values(&bomb, 1 << 30).nth(1).unwrap();
    let error = unpack(&packed_large, &Limits::default()).unwrap_err();
    assert!(matches!(error, DownloadError::NotAnArchive(_)), "{error:?}");
}

#[test]
fn an_archive_that_ends_early_is_refused() {
    let noise: Vec<u8> = (0..50_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for method in [0, 8] {
        let archive = zip(&[Packed { method, ..entry("x.mmdb", &noise) }]);
        assert_eq!(unpack(&archive, &Limits::default()).unwrap(), noise);
        for length in [0, 1, 4, 30, archive.len() / 2, archive.len() - 1] {
            let error = unpack(&archive[..length], &Limits::default()).unwrap_err();
            assert!(matches!(error, DownloadError::NotAnArchive(_)), "{length}: {error:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_an_archive_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = unpack(&[&b"PK\x03\x04"[..], &bytes].concat(), &Limits::default());
    }

    /// Near misses: one byte of a sound archive is another one.
    #[test]
    fn any_archive_is_taken_whole_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>(), wide in any::<bool>()) {
        let mut archive = zip(&[entry("README", b"text"), Packed { wide, ..entry("x.mmdb", b"database") }]);
        let at = at.index(archive.len());
        archive[at] = byte;
        if let Ok(content) = unpack(&archive, &Limits::default()) {
            prop_assert_eq!(content, b"database");
        }
    }
}
