//! A file from networks and records: collects, then builds the tree from short to long prefixes, so that
//! the order of inserts does not matter.

use super::encode::DataSection;
use super::tree::Tree;
use super::value::Value;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The languages that GeoLite2 files have names in.
const LANGUAGES: [&str; 8] = ["de", "en", "es", "fr", "ja", "pt-BR", "ru", "zh-CN"];

/// A file in the making.
///
/// ```
/// use asn_inventory_tests::mmdb::MmdbWriter;
/// use serde_json::json;
///
/// let path = std::env::temp_dir().join(format!("doc.{}.mmdb", std::process::id()));
/// MmdbWriter::new("GeoLite2-City", 1_790_000_000)
///     .insert("81.2.69.0/24", json!({"country": {"iso_code": "GB"}}))
///     .insert("81.2.69.142/32", json!({"country": {"iso_code": "GB"}, "city": {"names": {"en": "London"}}}))
///     .write(&path)
///     .unwrap();
/// # std::fs::remove_file(&path).unwrap();
/// ```
pub struct MmdbWriter {
    edition: String,
    build_epoch: u64,
    record_size: Option<u16>,
    optional: Option<Vec<(String, Value)>>,
    networks: Vec<(u32, u128, Value)>,
}

impl MmdbWriter {
    /// A file of this `database_type` (as `GeoLite2-City`), built at `build_epoch` (seconds since 1970).
    #[must_use]
    pub fn new(edition: &str, build_epoch: u64) -> Self {
        MmdbWriter {
            edition: edition.to_string(),
            build_epoch,
            record_size: None,
            optional: None,
            networks: Vec::new(),
        }
    }

    /// 24, 28 or 32 bits; default: the smallest that fits.
    #[must_use]
    pub fn record_size(mut self, bits: u16) -> Self {
        self.record_size = Some(bits);
        self
    }

    /// Metadata in place of `description` and `languages`, which a file need not have.
    #[must_use]
    pub fn optional_metadata(mut self, optional: &[(&str, Value)]) -> Self {
        let owned = optional.iter().map(|(key, value)| ((*key).to_string(), value.clone()));
        self.optional = Some(owned.collect());
        self
    }

    /// Gives a network, IPv4 or IPv6 in CIDR notation, its record. A longer prefix wins over a shorter
    /// one, and of the same network the last.
    ///
    /// # Panics
    /// When `network` is none.
    #[must_use]
    pub fn insert(mut self, network: &str, record: impl Into<Value>) -> Self {
        self.add(network, record);
        self
    }

    /// As [`Self::insert`], for loops.
    ///
    /// # Panics
    /// When `network` is none.
    pub fn add(&mut self, network: &str, record: impl Into<Value>) {
        let (address, length) = parse(network).unwrap_or_else(|| panic!("{network}: no network"));
        self.networks.push((length, address, record.into()));
    }

    /// Writes the file, complete or not at all (a temporary file, renamed).
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(mut self, path: &Path) -> io::Result<()> {
        self.networks.sort_by_key(|(length, address, _)| (*length, *address));
        let mut data = DataSection::with_pointers();
        let mut tree = Tree::default();
        for (length, address, record) in &self.networks {
            tree.insert(*address, *length, data.record(record));
        }
        let header = Header {
            edition: &self.edition,
            description: "test data, not real locations",
            build_epoch: self.build_epoch,
            record_size: self.record_size,
            optional: self.optional.as_deref(),
        };
        write_file(path, tree, &data, &header)
    }

    /// Puts the file at `path` in one step, as an operator's of an hour ago: see [`age`].
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn install(self, path: &Path) {
        let ready = path.with_extension("ready");
        self.write(&ready).expect("a file");
        age(&ready);
        std::fs::rename(ready, path).expect("renamed");
    }
}

/// As if the file had been written an hour ago: a fresh one is given time to grow.
///
/// # Panics
/// When there is no such file.
pub fn age(file: &Path) {
    let open = File::options().append(true).open(file).expect("a file");
    open.set_modified(SystemTime::now() - Duration::from_secs(3600)).expect("an older date");
}

/// The metadata beside the tree's own figures.
pub(super) struct Header<'a> {
    pub edition: &'a str,
    pub description: &'a str,
    pub build_epoch: u64,
    pub record_size: Option<u16>,
    pub optional: Option<&'a [(String, Value)]>,
}

/// Writes a whole file.
pub(super) fn write_file(path: &Path, mut tree: Tree, data: &DataSection, header: &Header<'_>) -> io::Result<()> {
    tree.alias_ipv4();
    let needed = tree.record_size(data.bytes().len());
    let size = header.record_size.unwrap_or(needed);
    assert!(size >= needed, "branches of {size} bits are too short here");
    let part = path.with_extension("mmdb.part");
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&part)?);
    tree.write(size, &mut out)?;
    out.write_all(&[0; 16])?;
    out.write_all(data.bytes())?;
    out.write_all(b"\xab\xcd\xefMaxMind.com")?;
    let mut metadata = DataSection::default();
    let usual = || {
        vec![
            ("description".to_string(), Value::map([("en", Value::text(header.description))])),
            ("languages".to_string(), Value::Array(LANGUAGES.map(Value::text).to_vec())),
        ]
    };
    let Value::Map(mut pairs) = Value::map([
        ("binary_format_major_version", Value::U16(2)),
        ("binary_format_minor_version", Value::U16(0)),
        ("build_epoch", Value::U64(header.build_epoch)),
        ("database_type", Value::text(header.edition)),
        ("ip_version", Value::U16(6)),
        ("node_count", Value::U32(tree.len() as u32)),
        ("record_size", Value::U16(size)),
    ]) else {
        unreachable!("a map")
    };
    pairs.extend(header.optional.map_or_else(usual, <[_]>::to_vec));
    metadata.put(&Value::Map(pairs));
    out.write_all(metadata.bytes())?;
    out.flush()?;
    std::fs::rename(part, path)
}

/// Address and length in the IPv6 tree. Host bits are cut off.
fn parse(network: &str) -> Option<(u128, u32)> {
    let (address, length) = network.split_once('/')?;
    let length: u32 = length.parse().ok()?;
    let (address, length) = match address.parse().ok()? {
        IpAddr::V4(v4) if length <= 32 => (u128::from(u32::from(v4)), length + 96),
        IpAddr::V6(v6) if length <= 128 => (u128::from(v6), length),
        _ => return None,
    };
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    Some((address & mask, length))
}
